/* What only the system knows by name: algorithms, interfaces, and the groups that are joined on one. */
#include "net/sockopt_type.h"

#include "base/err.h"
#include "tenon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAID_MAX 512

/* ---- algorithms of congestion control ---------------------------------------------------------------------------- */

#define ALGORITHMS "/proc/sys/net/ipv4/tcp_available_congestion_control"

static void list_algorithms(char *out, size_t cap)
{
	FILE *file = fopen(ALGORITHMS, "re");

	out[0] = '\0';
	if (!file)
		return;
	if (!fgets(out, (int)cap, file))
		out[0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	fclose(file);
}

static bool is_listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; (p = strstr(p, name)); p += len)
		if ((p == list || p[-1] == ' ') && (p[len] == ' ' || !p[len]))
			return true;
	return false;
}

/* The kernel loads a module for a name that it does not know yet, if the caller may: only trying tells. */
static bool is_loadable(const char *name)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool known;

	if (fd < 0)
		return true;
	known = !setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) || errno != ENOENT;
	close(fd);
	return known;
}

static int parse_algorithm(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	char list[SAID_MAX];

	if (!*text || strlen(text) >= sizeof(val->text) || strpbrk(text, " \t\n"))
		return -EINVAL;
	list_algorithms(list, sizeof(list));
	if (!is_listed(list, text) && !is_loadable(text))
		return tni_err(TN_EURL, "%s: this kernel has no algorithm \"%s\"; it has %s", opt->key, text, list);
	memcpy(val->text, text, strlen(text) + 1);
	return 0;
}

static void expects_algorithm(const struct tni_sockopt *opt, char *out, size_t cap)
{
	char list[SAID_MAX];

	(void)opt;
	list_algorithms(list, sizeof(list));
	tni_opt_say(out, cap, "the name of an algorithm of this kernel: %s", list);
}

static void encode_text(const struct tni_sockopt *opt, int family, const struct tni_optval *val,
			struct tni_opt_raw *raw)
{
	(void)opt, (void)family;
	raw->len = (socklen_t)strlen(val->text) + 1;
	memcpy(raw->text, val->text, raw->len);
}

static void decode_text(const struct tni_sockopt *opt, int family, const struct tni_opt_raw *raw,
			struct tni_optval *val)
{
	(void)opt, (void)family;
	snprintf(val->text, sizeof(val->text), "%.*s", (int)(raw->len < 15 ? raw->len : 15), raw->text);
}

/* "any": an empty name unbinds a device. */
static void format_text(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	(void)opt;
	snprintf(out, cap, "%s", val->text[0] ? val->text : "any");
}

const struct tni_opt_type tni_opt_algorithm = {
	.parse = parse_algorithm,
	.expects = expects_algorithm,
	.encode = encode_text,
	.decode = decode_text,
	.format = format_text,
	.looks_up = true,
};

/* ---- interfaces -------------------------------------------------------------------------------------------------- */

static int no_interface(const struct tni_sockopt *opt, const char *text)
{
	struct if_nameindex *all = if_nameindex();
	char list[SAID_MAX] = "";

	for (struct if_nameindex *one = all; one && one->if_index; one++)
		tni_opt_say(list, sizeof(list), "%s%s", one == all ? "; there are " : ", ", one->if_name);
	if (all)
		if_freenameindex(all);
	return tni_err(TN_EURL, "%s: no interface \"%s\"%s", opt->key, text, list);
}

static bool has_address(const struct ifaddrs *one, int family, const void *addr)
{
	if (!one->ifa_addr || one->ifa_addr->sa_family != family)
		return false;
	if (family == AF_INET)
		return !memcmp(&((struct sockaddr_in *)(void *)one->ifa_addr)->sin_addr, addr, 4);
	return !memcmp(&((struct sockaddr_in6 *)(void *)one->ifa_addr)->sin6_addr, addr, 16);
}

/* IPv4 names an interface by one of its addresses: finds one. */
static void find_address(const struct ifaddrs *all, struct tni_optval *val)
{
	val->family = AF_INET;
	memset(val->addr, 0, sizeof(val->addr));
	for (const struct ifaddrs *one = all; one; one = one->ifa_next)
		if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && !strcmp(one->ifa_name, val->text)) {
			memcpy(val->addr, &((struct sockaddr_in *)(void *)one->ifa_addr)->sin_addr, 4);
			return;
		}
}

/* Finds the interface that is called so, or has this address. */
static bool find_interface(const char *text, struct tni_optval *val)
{
	unsigned char addr[16];
	int family = inet_pton(AF_INET, text, addr) == 1    ? AF_INET
		     : inet_pton(AF_INET6, text, addr) == 1 ? AF_INET6
							    : 0;
	struct ifaddrs *all = NULL, *one;

	if (getifaddrs(&all) < 0)
		return false;
	for (one = all; one; one = one->ifa_next)
		if (family ? has_address(one, family, addr) : !strcmp(one->ifa_name, text))
			break;
	if (one) {
		snprintf(val->text, sizeof(val->text), "%.15s", one->ifa_name);
		val->number = if_nametoindex(one->ifa_name);
		if (family == AF_INET) {
			val->family = AF_INET;
			memcpy(val->addr, addr, 4);
		} else {
			find_address(all, val);
		}
	}
	freeifaddrs(all);
	return one;
}

static int parse_device(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	if (!strcmp(text, "any"))
		return 0;
	if (!*text || strlen(text) >= sizeof(val->text))
		return -EINVAL;
	val->number = if_nametoindex(text);
	if (!val->number)
		return no_interface(opt, text);
	memcpy(val->text, text, strlen(text) + 1);
	return 0;
}

static void expects_device(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	tni_opt_say(out, cap, "the name of an interface, or any");
}

const struct tni_opt_type tni_opt_device = {
	.parse = parse_device,
	.expects = expects_device,
	.encode = encode_text,
	.decode = decode_text,
	.format = format_text,
	.looks_up = true,
};

static void index_to_name(uint32_t index, struct tni_optval *val)
{
	char name[IF_NAMESIZE];

	val->number = index;
	if (index && if_indextoname(index, name))
		memcpy(val->text, name, strlen(name) + 1);
	else if (index)
		snprintf(val->text, sizeof(val->text), "%" PRIu32, index);
}

/* IP_UNICAST_IF and IPV6_UNICAST_IF want the index in network byte order. */
static void encode_unicast(const struct tni_sockopt *opt, int family, const struct tni_optval *val,
			   struct tni_opt_raw *raw)
{
	(void)opt, (void)family;
	raw->len = sizeof(raw->i32);
	raw->i32 = (int32_t)htonl((uint32_t)val->number);
}

static void decode_unicast(const struct tni_sockopt *opt, int family, const struct tni_opt_raw *raw,
			   struct tni_optval *val)
{
	(void)opt, (void)family;
	index_to_name(ntohl((uint32_t)raw->i32), val);
}

const struct tni_opt_type tni_opt_unicast = {
	.parse = parse_device,
	.expects = expects_device,
	.encode = encode_unicast,
	.decode = decode_unicast,
	.format = format_text,
	.looks_up = true,
};

static int parse_multicast(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	if (!strcmp(text, "any"))
		return 0;
	if (!*text)
		return -EINVAL;
	return find_interface(text, val) ? 0 : no_interface(opt, text);
}

static void expects_multicast(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	tni_opt_say(out, cap, "the name or an address of an interface, or any");
}

/* With an index alone IPv4 would obey, but read back as "any". */
static void encode_multicast(const struct tni_sockopt *opt, int family, const struct tni_optval *val,
			     struct tni_opt_raw *raw)
{
	if (family == AF_INET6) {
		tni_opt_encode_number(opt, family, val, raw);
		return;
	}
	raw->len = sizeof(raw->mreqn);
	raw->mreqn = (struct ip_mreqn){.imr_ifindex = (int)val->number};
	memcpy(&raw->mreqn.imr_address, val->addr, 4);
}

static void decode_multicast(const struct tni_sockopt *opt, int family, const struct tni_opt_raw *raw,
			     struct tni_optval *val)
{
	(void)opt;
	if (family == AF_INET6) {
		index_to_name((uint32_t)raw->i32, val);
	} else if (raw->in.s_addr) {
		val->family = AF_INET;
		memcpy(val->addr, &raw->in, sizeof(raw->in));
	}
}

static void format_multicast(const struct tni_sockopt *opt, const struct tni_optval *val, char *out, size_t cap)
{
	char text[INET_ADDRSTRLEN];

	if (val->family == AF_INET && inet_ntop(AF_INET, val->addr, text, sizeof(text)))
		snprintf(out, cap, "%s", text);
	else
		format_text(opt, val, out, cap);
}

const struct tni_opt_type tni_opt_multicast = {
	.parse = parse_multicast,
	.expects = expects_multicast,
	.encode = encode_multicast,
	.decode = decode_multicast,
	.format = format_multicast,
	.looks_up = true,
};

/* ---- multicast groups: GROUP or GROUP@INTERFACE ------------------------------------------------------------------ */

static int parse_group(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	char group[INET6_ADDRSTRLEN];
	const char *at = strchrnul(text, '@');
	unsigned char addr[16] = {0};
	int family;

	if ((size_t)(at - text) >= sizeof(group))
		return -EINVAL;
	snprintf(group, sizeof(group), "%.*s", (int)(at - text), text);
	family = inet_pton(AF_INET, group, addr) == 1 ? AF_INET : inet_pton(AF_INET6, group, addr) == 1 ? AF_INET6 : 0;
	if (!family || (family == AF_INET ? (addr[0] & 0xf0) != 0xe0 : addr[0] != 0xff))
		return -EINVAL;
	if (*at && (!at[1] || !find_interface(at + 1, val)))
		return at[1] ? no_interface(opt, at + 1) : -EINVAL;
	val->family = family;
	memcpy(val->addr, addr, sizeof(addr));
	return 0;
}

/* SOURCE@GROUP or SOURCE@GROUP@INTERFACE. The source stands in val->text. */
static int parse_source(const struct tni_sockopt *opt, const char *text, struct tni_optval *val)
{
	const char *at = strchr(text, '@');
	unsigned char addr[16] = {0};
	char source[INET6_ADDRSTRLEN];
	int family, rc;

	if (!at || (size_t)(at - text) >= sizeof(source))
		return -EINVAL;
	snprintf(source, sizeof(source), "%.*s", (int)(at - text), text);
	family = inet_pton(AF_INET, source, addr) == 1    ? AF_INET
		 : inet_pton(AF_INET6, source, addr) == 1 ? AF_INET6
							  : 0;
	rc = family ? parse_group(opt, at + 1, val) : -EINVAL;
	if (rc < 0)
		return rc;
	memcpy(val->text, addr, sizeof(val->text));
	return val->family == family ? 0 : -EINVAL;
}

static void expects_source(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	tni_opt_say(out, cap,
		    "a source and a multicast group of the same IP version, and the interface to hear it on: "
		    "10.1.2.3@232.1.2.3@eth0");
}

static void put_address(struct sockaddr_storage *to, int family, const void *bytes)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	if (family == AF_INET) {
		memcpy(&in.sin_addr, bytes, sizeof(in.sin_addr));
		memcpy(to, &in, sizeof(in));
	} else {
		memcpy(&in6.sin6_addr, bytes, sizeof(in6.sin6_addr));
		memcpy(to, &in6, sizeof(in6));
	}
}

static void encode_source(const struct tni_sockopt *opt, int family, const struct tni_optval *val,
			  struct tni_opt_raw *raw)
{
	(void)opt, (void)family;
	raw->len = sizeof(raw->source);
	memset(&raw->source, 0, sizeof(raw->source));
	raw->source.gsr_interface = (uint32_t)val->number;
	put_address(&raw->source.gsr_group, val->family, val->addr);
	put_address(&raw->source.gsr_source, val->family, val->text);
}

const struct tni_opt_type tni_opt_source = {
	.parse = parse_source,
	.expects = expects_source,
	.encode = encode_source,
	.looks_up = true,
	.is_list = true,
};

static void expects_group(const struct tni_sockopt *opt, char *out, size_t cap)
{
	(void)opt;
	tni_opt_say(out, cap, "a multicast group, or one and the interface to hear it on: 239.1.2.3, ff02::1@eth0");
}

static void encode_group(const struct tni_sockopt *opt, int family, const struct tni_optval *val,
			 struct tni_opt_raw *raw)
{
	(void)opt, (void)family;
	if (val->family == AF_INET) {
		raw->len = sizeof(raw->mreqn);
		raw->mreqn = (struct ip_mreqn){.imr_ifindex = (int)val->number};
		memcpy(&raw->mreqn.imr_multiaddr, val->addr, 4);
	} else {
		raw->len = sizeof(raw->mreq6);
		raw->mreq6 = (struct ipv6_mreq){.ipv6mr_interface = (unsigned)val->number};
		memcpy(&raw->mreq6.ipv6mr_multiaddr, val->addr, 16);
	}
}

const struct tni_opt_type tni_opt_group = {
	.parse = parse_group,
	.expects = expects_group,
	.encode = encode_group,
	.looks_up = true,
	.is_list = true,
};
