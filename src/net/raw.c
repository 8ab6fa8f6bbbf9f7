#include "net/raw.h"

#include "base/clock.h"
#include "base/err.h"
#include "net/netns.h"

#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/icmp.h>
#include <linux/if_packet.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

#define ETHERNET_LEN 6

/* ---- names of protocols ---- */

struct protocol {
	const char *name;
	int number;
};

static const struct protocol ip_protocols[] = {
	{"icmp", 1}, {"igmp", 2},    {"ipip", 4},  {"tcp", 6},    {"udp", 17},   {"gre", 47}, {"esp", 50},
	{"ah", 51},  {"icmpv6", 58}, {"ospf", 89}, {"vrrp", 112}, {"sctp", 132}, {NULL, 0},
};

static const struct protocol ether_types[] = {
	{"all", ETH_P_ALL},   {"ip", ETH_P_IP},          {"arp", ETH_P_ARP}, {"vlan", ETH_P_8021Q},
	{"ipv6", ETH_P_IPV6}, {"lldp", 0x88cc},          {"eapol", 0x888e},  {"ptp", 0x88f7},
	{"mpls", 0x8847},     {"pppoe-session", 0x8864}, {NULL, 0},
};

int tni_raw_protocol(enum tni_raw_kind kind, const char *text)
{
	const struct protocol *p = kind == TNI_RAW_PACKET ? ether_types : ip_protocols;
	long least = 1, most = kind == TNI_RAW_PACKET ? 0xffff : 255, number;
	char *end;

	for (; p->name; p++)
		if (!strcasecmp(p->name, text))
			return p->number;
	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	number = strtol(text, &end, text[1] == 'x' || text[1] == 'X' ? 16 : 10);
	return errno || *end || number < least || number > most ? -EINVAL : (int)number;
}

/* ---- opening ---- */

#define REMEDY "as root, or once: setcap cap_net_raw+ep FILE-OF-THE-PROGRAM"

static int socket_of(int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	return fd < 0 ? -errno : fd;
}

static bool is_forbidden(int rc)
{
	return rc == -EPERM || rc == -EACCES;
}

static int open_packet(const struct tni_raw_spec *spec)
{
	/* Without a protocol it hears nothing before it is bound to its interface */
	int fd = socket_of(AF_PACKET, spec->frames ? SOCK_RAW : SOCK_DGRAM, 0), on = 1;

	if (is_forbidden(fd))
		return tni_err(fd, "a packet socket needs the capability CAP_NET_RAW (%s)", REMEDY);
	if (fd < 0)
		return tni_err(fd, "socket: %s", tn_strerror(fd));
	(void)setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)); /* since Linux 4.20 */
	return fd;
}

static int open_ip(const struct tni_raw_spec *spec, int family)
{
	int fd = socket_of(family, SOCK_RAW, spec->protocol);

	if (is_forbidden(fd))
		return tni_err(fd, "a raw socket needs the capability CAP_NET_RAW (%s)", REMEDY);
	return fd < 0 ? tni_err(fd, "socket: %s", tn_strerror(fd)) : fd;
}

/* The answers to our own questions are all that a ping socket would hear. */
static void hear_replies_only(int fd, int family)
{
	struct icmp_filter filter4 = {.data = ~(1U << ICMP_ECHOREPLY)};
	struct icmp6_filter filter6;

	if (family == AF_INET) {
		(void)setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter4, sizeof(filter4));
		return;
	}
	ICMP6_FILTER_SETBLOCKALL(&filter6);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter6);
	(void)setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter6, sizeof(filter6));
}

static int open_icmp(const struct tni_raw_spec *spec, int family)
{
	int protocol = family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	int fd = spec->serving ? -EACCES : socket_of(family, SOCK_DGRAM, protocol);

	if (fd >= 0 || !is_forbidden(fd))
		return fd < 0 ? tni_err(fd, "socket: %s", tn_strerror(fd)) : fd;
	fd = socket_of(family, SOCK_RAW, protocol);
	if (is_forbidden(fd) && spec->serving)
		return tni_err(fd, "hearing ICMP needs the capability CAP_NET_RAW (%s)", REMEDY);
	if (is_forbidden(fd))
		return tni_err(
			fd,
			"a ping socket needs a group of the range in sysctl net.ipv4.ping_group_range (as root: "
			"sysctl -w net.ipv4.ping_group_range='0 2147483647'), a raw one the capability CAP_NET_RAW "
			"(%s)",
			REMEDY);
	if (fd < 0)
		return tni_err(fd, "socket: %s", tn_strerror(fd));
	if (!spec->serving)
		hear_replies_only(fd, family);
	return fd;
}

int tni_raw_open(const struct tni_raw_spec *spec, int family)
{
	if (spec->kind == TNI_RAW_PACKET)
		return open_packet(spec);
	return spec->kind == TNI_RAW_ICMP ? open_icmp(spec, family) : open_ip(spec, family);
}

/* ---- addresses of interfaces and neighbours ---- */

int tni_raw_interface(struct tn_addr *addr, const char *name, int protocol)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol)};
	struct if_nameindex *all, *one;
	char list[256] = "";

	if (strcmp(name, "*") != 0)
		ll.sll_ifindex = (int)if_nametoindex(name);
	if (ll.sll_ifindex || !strcmp(name, "*")) {
		tni_addr_from(addr, (struct sockaddr *)&ll, sizeof(ll));
		return 0;
	}
	all = if_nameindex();
	for (one = all; one && one->if_index && strlen(list) + IF_NAMESIZE + 3 < sizeof(list); one++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", one == all ? "; there are " : ", ",
			 one->if_name);
	if (all)
		if_freenameindex(all);
	return tni_err(-ENODEV, "no interface '%.64s'%s", name, list);
}

int tni_raw_neighbour(struct tn_addr *addr, const struct tn_addr *at, const char *text)
{
	struct sockaddr_ll ll;
	unsigned byte[ETHERNET_LEN];
	int end = 0;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &byte[0], &byte[1], &byte[2], &byte[3], &byte[4], &byte[5],
		   &end) != ETHERNET_LEN ||
	    text[end] || strspn(text, "0123456789abcdefABCDEF:") != strlen(text))
		return -EINVAL;
	memset(&ll, 0, sizeof(ll));
	memcpy(&ll, at->bytes, at->len < sizeof(ll) ? at->len : sizeof(ll));
	ll.sll_family = AF_PACKET;
	ll.sll_halen = ETHERNET_LEN;
	for (int i = 0; i < ETHERNET_LEN; i++)
		ll.sll_addr[i] = (unsigned char)byte[i];
	tni_addr_from(addr, (struct sockaddr *)&ll, sizeof(ll));
	return 0;
}

/* ---- an open socket ---- */

/*
 * A socket that sends to an address of its own machine hears that itself, and a handler that answers would answer
 * itself for ever. What it has sent there is remembered, and dropped once when it is heard.
 */
#define ECHOES 1024
#define ECHO_PLACES 64 /* how far from its own place one may stand */
#define ECHO_NS TNI_NS_PER_S

struct echo {
	uint64_t hash, until_ns;
	unsigned count;
};

struct tni_raw {
	int family, protocol;
	bool raw;    /* SOCK_RAW */
	bool sums;   /* ICMP's checksum is ours to make */
	bool strip;  /* the IP header is no part of the message */
	bool header; /* it is, and stands in front */
	bool own_id; /* as a ping socket would: its questions have `id`, and so have the answers that it hears */
	uint16_t id;
	struct tn_addr to, local, told;
	const char *netns; /* that it was made in; NULL: the caller's */
	bool connected, told_comes_back;
	bool echoing;               /* there is something in here */
	struct echo echoes[ECHOES]; /* by hash; what finds no place takes another's */
};

static int number_of(int fd, int level, int name)
{
	int number = 0;
	socklen_t len = sizeof(number);

	return getsockopt(fd, level, name, &number, &len) < 0 ? 0 : number;
}

static int interface_of(const struct tn_addr *addr)
{
	return ((const struct sockaddr_ll *)(const void *)addr->bytes)->sll_ifindex;
}

static bool is_loopback(int index)
{
	struct ifreq request = {0};
	int fd = socket_of(AF_INET, SOCK_DGRAM, 0);
	bool loopback = true;

	if (fd >= 0 && if_indextoname((unsigned)index, request.ifr_name) && ioctl(fd, SIOCGIFFLAGS, &request) == 0)
		loopback = request.ifr_flags & IFF_LOOPBACK;
	if (fd >= 0)
		close(fd);
	return loopback;
}

static bool is_same(struct tn_addr a, struct tn_addr b)
{
	tni_addr_set_port(&a, 0);
	tni_addr_set_port(&b, 0);
	return a.len == b.len && !memcmp(a.bytes, b.bytes, a.len);
}

/* A socket that is bound to an address hears nothing but what goes there. */
static bool comes_back_from(const struct tn_addr *local, const struct tn_addr *to)
{
	struct tn_addr any;

	tni_addr_any(&any, tni_addr_family(local), 0);
	return is_same(*local, *to) || (is_same(*local, any) && tni_addr_is_ours(to));
}

/* Whether what goes there is heard here: its own network knows, and no other. */
static bool ask_network(const struct tni_raw *raw, const struct tn_addr *to)
{
	int home = -1;
	bool back;

	if (tni_netns_enter(raw->netns, &home) < 0)
		return true;
	back = raw->family == AF_PACKET ? is_loopback(interface_of(to)) : comes_back_from(&raw->local, to);
	tni_netns_leave(home);
	return back;
}

static bool is_icmp(const struct tni_raw *raw)
{
	return raw->family != AF_PACKET && (raw->protocol == IPPROTO_ICMP || raw->protocol == IPPROTO_ICMPV6);
}

/* Of a socket of our own: another in its place would need luck to be taken for it. */
static uint16_t fresh_id(void)
{
	static _Atomic(unsigned) count;

	return (uint16_t)((unsigned)getpid() * 31U + ++count);
}

int tni_raw_new(int fd, enum tni_raw_kind kind, bool connected, const struct tn_addr *to, const char *netns,
		struct tni_raw **out)
{
	int family = number_of(fd, SOL_SOCKET, SO_DOMAIN), type = number_of(fd, SOL_SOCKET, SO_TYPE);
	struct tni_raw *raw;

	*out = NULL;
	if (family != AF_PACKET && (type != SOCK_RAW || (family != AF_INET && family != AF_INET6)))
		return 0;
	raw = calloc(1, sizeof(*raw));
	if (!raw)
		return -ENOMEM;
	raw->family = family;
	raw->raw = type == SOCK_RAW;
	raw->protocol = number_of(fd, SOL_SOCKET, SO_PROTOCOL);
	raw->header = family == AF_INET && number_of(fd, IPPROTO_IP, IP_HDRINCL);
	raw->strip = family == AF_INET && !raw->header;
	raw->connected = connected;
	raw->netns = netns;
	raw->sums = kind == TNI_RAW_ICMP && family == AF_INET;
	raw->own_id = kind == TNI_RAW_ICMP && (connected || (to && to->len));
	raw->id = fresh_id();
	if (tni_addr_local(fd, &raw->local) == 0 && connected)
		raw->told_comes_back = family == AF_PACKET
					       ? ask_network(raw, &raw->local)
					       : tni_addr_peer(fd, &raw->told) == 0 && ask_network(raw, &raw->told);
	if (to)
		raw->to = *to;
	*out = raw;
	return 0;
}

void tni_raw_free(struct tni_raw *raw)
{
	free(raw);
}

const struct tn_addr *tni_raw_to(const struct tni_raw *raw)
{
	return raw->to.len && !raw->raw ? &raw->to : NULL;
}

/* ---- what it has said itself ---- */

/* FNV-1a. Without the checksum of ICMP, which the kernel may have put in. */
static uint64_t hash_of(const struct tni_raw *raw, const unsigned char *data, size_t len)
{
	uint64_t hash = 0xcbf29ce484222325;
	size_t skip = raw->header && len ? (size_t)(data[0] & 15) * 4 : 0; /* the kernel fills in some of it */

	for (size_t i = skip; i < len; i++)
		if (!is_icmp(raw) || i < skip + 2 || i > skip + 3)
			hash = (hash ^ data[i]) * 0x100000001b3;
	return hash ^ len;
}

static bool comes_back(struct tni_raw *raw, const struct tn_addr *to)
{
	if (!raw->connected && (raw->told.len != to->len || memcmp(raw->told.bytes, to->bytes, to->len) != 0)) {
		raw->told = *to;
		raw->told_comes_back = ask_network(raw, to);
	}
	return raw->told_comes_back;
}

static bool is_awaited(const struct echo *echo, uint64_t now)
{
	return echo->count && echo->until_ns > now;
}

/* Where a hash stands, or can be put: `*free` gets a place near its own that nothing awaited stands in. */
static struct echo *find_echo(struct tni_raw *raw, uint64_t hash, uint64_t now, struct echo **free)
{
	*free = NULL;
	for (size_t i = 0; i < ECHO_PLACES; i++) {
		struct echo *echo = &raw->echoes[(hash + i) % ECHOES];

		if (!is_awaited(echo, now))
			*free = *free ? *free : echo;
		else if (echo->hash == hash)
			return echo;
	}
	return NULL;
}

static void remember(struct tni_raw *raw, const unsigned char *data, size_t len)
{
	uint64_t hash = hash_of(raw, data, len), now = tni_clock_ns();
	struct echo *free, *echo = find_echo(raw, hash, now, &free);

	if (!echo) {
		echo = free ? free : &raw->echoes[hash % ECHOES];
		*echo = (struct echo){.hash = hash};
	}
	echo->count++;
	echo->until_ns = now + ECHO_NS;
	raw->echoing = true;
}

static bool is_own_echo(struct tni_raw *raw, const unsigned char *data, size_t len)
{
	struct echo *free, *echo;

	if (!raw->echoing)
		return false;
	echo = find_echo(raw, hash_of(raw, data, len), tni_clock_ns(), &free);
	if (echo)
		echo->count--;
	return echo;
}

/* ---- receiving and sending ---- */

static bool is_from(const struct tn_addr *from, const struct tn_addr *peer)
{
	const struct sockaddr_ll *a = (const struct sockaddr_ll *)(const void *)from->bytes;
	const struct sockaddr_ll *b = (const struct sockaddr_ll *)(const void *)peer->bytes;

	if (!peer->len || b->sll_addr[0] & 1) /* a group may be answered by anybody */
		return true;
	return a->sll_halen == b->sll_halen && !memcmp(a->sll_addr, b->sll_addr, b->sll_halen);
}

static bool is_own_reply(const struct tni_raw *raw, const unsigned char *data, size_t len)
{
	unsigned char reply = raw->family == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;

	return len >= 8 && data[0] == reply && (data[4] << 8 | data[5]) == raw->id;
}

bool tni_raw_take(struct tni_raw *raw, const struct tn_addr *from, const void **data, size_t *len)
{
	const unsigned char *bytes = *data;
	size_t header = raw->strip && *len ? (size_t)(bytes[0] & 15) * 4 : 0;

	if (header > *len)
		return false;
	*data = bytes + header;
	*len -= header;
	if (raw->family == AF_PACKET && !is_from(from, &raw->to))
		return false;
	if (raw->own_id && !is_own_reply(raw, *data, *len))
		return false;
	return !is_own_echo(raw, *data, *len);
}

/* RFC 1071. */
static uint16_t checksum(const unsigned char *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(data[i] << 8 | data[i + 1]);
	if (len & 1)
		sum += (uint32_t)data[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void tni_raw_give(struct tni_raw *raw, const struct tn_addr *to, unsigned char *data, size_t len)
{
	uint16_t sum;

	if (raw->own_id && len >= 8) {
		data[4] = (unsigned char)(raw->id >> 8);
		data[5] = (unsigned char)raw->id;
	}
	if (raw->sums && len >= 4) {
		data[2] = data[3] = 0;
		sum = checksum(data, len);
		data[2] = (unsigned char)(sum >> 8);
		data[3] = (unsigned char)sum;
	}
	if (comes_back(raw, to))
		remember(raw, data, len);
}
