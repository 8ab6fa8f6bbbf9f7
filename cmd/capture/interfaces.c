/* capture --list: what getifaddrs(3) knows of the interfaces of this network namespace. */
#include "interfaces.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_packet.h>

#include "common/complain.h"
#include "common/json.h"
#include "common/output.h"
#include "common/paint.h"
#include "common/settings.h"
#include "common/status.h"
#include "common/text.h"

/* The entries of getifaddrs(3) come in no order that holds: each interface's packet address stands for it. */
static bool is_interface(const struct ifaddrs *entry)
{
	return entry->ifa_addr && entry->ifa_addr->sa_family == AF_PACKET;
}

static bool has_address(const struct ifaddrs *entry, const char *name)
{
	return entry->ifa_addr && strcmp(entry->ifa_name, name) == 0 &&
	       (entry->ifa_addr->sa_family == AF_INET || entry->ifa_addr->sa_family == AF_INET6);
}

static const char *state_of(unsigned flags)
{
	if (!(flags & IFF_UP))
		return "down";
	return flags & IFF_RUNNING ? "up" : "no-carrier"; /* RFC 2863's operational state, by netdevice(7) */
}

static unsigned bits_of(const struct sockaddr *mask)
{
	const unsigned char *byte;
	size_t len = 4;
	unsigned bits = 0;

	if (!mask)
		return 0;
	byte = (const unsigned char *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr;
	if (mask->sa_family == AF_INET6) {
		byte = ((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr.s6_addr;
		len = 16;
	}
	for (size_t i = 0; i < len; i++)
		bits += (unsigned)__builtin_popcount(byte[i]);
	return bits;
}

/* As ip(8) writes it: 10.9.0.1/24, without brackets and scope. */
static void address_text(const struct ifaddrs *entry, char *out, size_t cap)
{
	const void *address = &((const struct sockaddr_in *)(const void *)entry->ifa_addr)->sin_addr;
	char text[INET6_ADDRSTRLEN];

	if (entry->ifa_addr->sa_family == AF_INET6)
		address = &((const struct sockaddr_in6 *)(const void *)entry->ifa_addr)->sin6_addr;
	inet_ntop(entry->ifa_addr->sa_family, address, text, sizeof(text));
	snprintf(out, cap, "%s/%u", text, bits_of(entry->ifa_netmask));
}

static void link_text(const struct ifaddrs *entry, char *out, size_t cap)
{
	const struct sockaddr_ll *ll = (const struct sockaddr_ll *)(const void *)entry->ifa_addr;
	size_t used = 0;

	out[0] = '\0';
	if (entry->ifa_flags & IFF_LOOPBACK)
		return;
	for (int i = 0; i < ll->sll_halen && i < (int)sizeof(ll->sll_addr) && used < cap; i++)
		used += (size_t)snprintf(out + used, cap - used, "%s%02x", i ? ":" : "", ll->sll_addr[i]);
}

/* 0: it has gone in the meantime. */
static unsigned mtu_of(const char *name)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	unsigned mtu = 0;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0)
		mtu = (unsigned)request.ifr_mtu;
	if (fd >= 0)
		close(fd);
	return mtu;
}

static void list_json(const struct ifaddrs *all, const struct ifaddrs *entry)
{
	const struct sockaddr_ll *ll = (const struct sockaddr_ll *)(const void *)entry->ifa_addr;
	char text[64];
	struct text line = {0};

	json_begin(&line, NULL);
	json_text(&line, "name", entry->ifa_name);
	json_number(&line, "index", (unsigned)ll->sll_ifindex);
	json_text(&line, "state", state_of(entry->ifa_flags));
	json_bool(&line, "loopback", entry->ifa_flags & IFF_LOOPBACK);
	json_number(&line, "mtu", mtu_of(entry->ifa_name));
	link_text(entry, text, sizeof(text));
	json_text(&line, "link_address", *text ? text : NULL);
	json_list(&line, "addresses");
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		if (!has_address(i, entry->ifa_name))
			continue;
		address_text(i, text, sizeof(text));
		json_text(&line, NULL, text);
	}
	json_list_end(&line);
	json_line(&line);
}

/* A name has any bytes but blanks and slashes. */
static void put_name(struct text *out, const char *name, int width)
{
	size_t at = out->len;

	text_clean(out, name);
	text_add(out, "%*s", width > (int)(out->len - at) ? width - (int)(out->len - at) : 0, "");
}

static void list_line(const struct ifaddrs *all, const struct ifaddrs *entry, int width, struct text *out)
{
	char text[64];

	put_name(out, entry->ifa_name, width);
	link_text(entry, text, sizeof(text));
	text_add(out, "  %-10s  %5u  %-17s", state_of(entry->ifa_flags), mtu_of(entry->ifa_name), *text ? text : "-");
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		if (!has_address(i, entry->ifa_name))
			continue;
		address_text(i, text, sizeof(text));
		text_add(out, "  %s", text);
	}
	while (out->len && out->data[out->len - 1] == ' ')
		out->len--;
	text_add(out, "\n");
}

static int list_table(const struct ifaddrs *all)
{
	struct text out = {0};
	int width = sizeof("INTERFACE") - 1, err;

	for (const struct ifaddrs *i = all; i; i = i->ifa_next)
		if (is_interface(i) && (int)strlen(i->ifa_name) > width)
			width = (int)strlen(i->ifa_name);
	text_add(&out, "%s%-*s  %-10s  %5s  %-17s  ADDRESSES%s\n", paint_code(STDOUT_FILENO, PAINT_DIM), width,
		 "INTERFACE", "STATE", "MTU", "LINK", paint_code(STDOUT_FILENO, PAINT_NONE));
	for (const struct ifaddrs *i = all; i; i = i->ifa_next)
		if (is_interface(i))
			list_line(all, i, width, &out);
	err = out_text(&out);
	return err < 0 && err != -EPIPE ? STATUS_FAILED : STATUS_DONE;
}

int interfaces_list(void)
{
	struct ifaddrs *all;
	int status = STATUS_DONE;

	if (getifaddrs(&all) < 0)
		return complain_library(-errno, NULL);
	if (settings.json) {
		for (const struct ifaddrs *i = all; i && !out_lost(); i = i->ifa_next)
			if (is_interface(i))
				list_json(all, i);
	} else {
		status = list_table(all);
	}
	freeifaddrs(all);
	return status;
}

bool interfaces_is_loopback(const char *name)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool is = false;

	if (strlen(name) < sizeof(request.ifr_name)) {
		memcpy(request.ifr_name, name, strlen(name));
		is = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0 && request.ifr_flags & IFF_LOOPBACK;
	}
	if (fd >= 0)
		close(fd);
	return is;
}
