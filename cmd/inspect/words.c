#include "words.h"

#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>

#include "common/text.h"
#include "sock.h"
#include "tenon.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* ---- kinds ---- */

struct name {
	int family, type, protocol; /* -1: any */
	const char *name;
};

static const struct name kinds[] = {
	{AF_INET, SOCK_STREAM, IPPROTO_TCP, "tcp"},
	{AF_INET, SOCK_STREAM, IPPROTO_MPTCP, "mptcp"},
	{AF_INET, -1, IPPROTO_SCTP, "sctp"},
	{AF_INET, SOCK_DGRAM, IPPROTO_UDP, "udp"},
	{AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, "udplite"},
	{AF_INET, SOCK_DGRAM, IPPROTO_ICMP, "icmp"},
	{AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6, "icmp"},
	{AF_UNIX, SOCK_STREAM, -1, "unix"},
	{AF_UNIX, SOCK_DGRAM, -1, "unix-dgram"},
	{AF_UNIX, SOCK_SEQPACKET, -1, "unix-seqpacket"},
	{AF_VSOCK, SOCK_STREAM, -1, "vsock"},
	{AF_VSOCK, SOCK_DGRAM, -1, "vsock-dgram"},
	{AF_VSOCK, SOCK_SEQPACKET, -1, "vsock-seqpacket"},
	{AF_PACKET, SOCK_RAW, -1, "packet"},
	{AF_PACKET, SOCK_DGRAM, -1, "packet-dgram"},
	{AF_NETLINK, -1, NETLINK_ROUTE, "netlink route"},
	{AF_NETLINK, -1, NETLINK_SOCK_DIAG, "netlink sock_diag"},
	{AF_NETLINK, -1, NETLINK_KOBJECT_UEVENT, "netlink uevent"},
	{AF_NETLINK, -1, NETLINK_GENERIC, "netlink generic"},
	{AF_NETLINK, -1, NETLINK_AUDIT, "netlink audit"},
	{AF_NETLINK, -1, NETLINK_XFRM, "netlink xfrm"},
	{AF_NETLINK, -1, NETLINK_NETFILTER, "netlink netfilter"},
	{AF_NETLINK, -1, NETLINK_CONNECTOR, "netlink connector"},
	{AF_NETLINK, -1, NETLINK_SELINUX, "netlink selinux"},
};

#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

const char *sock_kind(const struct sock *sock, char *out, size_t cap)
{
	int family = sock->family == AF_INET6 ? AF_INET : sock->family;

	for (size_t i = 0; i < NKINDS; i++)
		if (kinds[i].family == family && (kinds[i].type < 0 || kinds[i].type == sock->type) &&
		    (kinds[i].protocol < 0 || kinds[i].protocol == sock->protocol)) {
			snprintf(out, cap, "%s", kinds[i].name);
			return out;
		}
	if (family == AF_INET && sock->type == SOCK_RAW)
		snprintf(out, cap, "raw %d", sock->protocol);
	else if (family == AF_NETLINK)
		snprintf(out, cap, "netlink %d", sock->protocol);
	else
		snprintf(out, cap, "family %d", sock->family);
	return out;
}

/* ---- addresses ---- */

static const char *packet_text(const struct sock_addr *addr, char *out, size_t cap)
{
	const struct sockaddr_ll *ll = (const struct sockaddr_ll *)&addr->sa;
	unsigned protocol = ntohs(ll->sll_protocol);
	char name[IF_NAMESIZE];

	if (!ll->sll_ifindex)
		snprintf(name, sizeof(name), "any");
	else if (!if_indextoname((unsigned)ll->sll_ifindex, name))
		snprintf(name, sizeof(name), "%d", ll->sll_ifindex);
	if (protocol == 0)
		snprintf(out, cap, "%s, no protocol", name);
	else if (protocol == 3)
		snprintf(out, cap, "%s, every protocol", name);
	else
		snprintf(out, cap, "%s, protocol 0x%04x", name, protocol);
	return out;
}

static const char *netlink_text(const struct sock_addr *addr, char *out, size_t cap)
{
	const struct sockaddr_nl *nl = (const struct sockaddr_nl *)&addr->sa;

	if (nl->nl_groups)
		snprintf(out, cap, "port %u, groups 0x%x", nl->nl_pid, nl->nl_groups);
	else
		snprintf(out, cap, nl->nl_pid ? "port %u" : "kernel", nl->nl_pid);
	return out;
}

static void vsock_number(uint32_t number, bool is_cid, char *out, size_t cap)
{
	if (number == ~0U)
		snprintf(out, cap, "*");
	else if (is_cid && number == VMADDR_CID_HOST)
		snprintf(out, cap, "host");
	else if (is_cid && number == 1)
		snprintf(out, cap, "local");
	else
		snprintf(out, cap, "%u", number);
}

static const char *vsock_text(const struct sock_addr *addr, char *out, size_t cap)
{
	const struct sockaddr_vm *vm = (const struct sockaddr_vm *)&addr->sa;
	char cid[16], port[16];

	vsock_number(vm->svm_cid, true, cid, sizeof(cid));
	vsock_number(vm->svm_port, false, port, sizeof(port));
	snprintf(out, cap, "%s:%s", cid, port);
	return out;
}

/* Where there are no ports, what the kernel keeps in their place is the protocol's number, or an identifier. */
static bool has_ports(const struct sock *sock)
{
	return sock->type != SOCK_RAW && sock->protocol != IPPROTO_ICMP && sock->protocol != IPPROTO_ICMPV6;
}

static const char *ip_text(const struct sock *sock, const struct sock_addr *addr, char *out, size_t cap)
{
	struct sock_addr shown = *addr;
	struct tn_addr tn = {.len = addr->len};

	if (!has_ports(sock))
		((struct sockaddr_in *)&shown.sa)->sin_port = 0; /* at the same place in both */
	memcpy(tn.bytes, &shown.sa, addr->len < sizeof(tn.bytes) ? addr->len : sizeof(tn.bytes));
	return tn_addr_text(&tn, out, cap);
}

/* Sockets of Unix may have a name of any bytes. */
static const char *unix_text(const struct sock_addr *addr, char *out, size_t cap)
{
	struct tn_addr tn = {.len = addr->len};

	memcpy(tn.bytes, &addr->sa, addr->len < sizeof(tn.bytes) ? addr->len : sizeof(tn.bytes));
	if (tn.len <= sizeof(sa_family_t))
		out[0] = '\0';
	else
		tn_addr_text(&tn, out, cap);
	for (char *c = out; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return out;
}

const char *sock_addr_text(const struct sock *sock, const struct sock_addr *addr, char *out, size_t cap)
{
	out[0] = '\0';
	if (!addr->len)
		return out;
	switch (addr->sa.ss_family) {
	case AF_INET:
	case AF_INET6:
		return ip_text(sock, addr, out, cap);
	case AF_UNIX:
		return unix_text(addr, out, cap);
	case AF_PACKET:
		return packet_text(addr, out, cap);
	case AF_NETLINK:
		return netlink_text(addr, out, cap);
	case AF_VSOCK:
		return vsock_text(addr, out, cap);
	default:
		return out;
	}
}

void sock_clean(char *said, size_t cap)
{
	struct text text = {0};

	text_clean(&text, said);
	text_bytes(&text, "", 1);
	snprintf(said, cap, "%s", text.failed ? "?" : text.data);
	text_free(&text);
}
