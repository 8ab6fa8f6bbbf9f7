#include "net/addr.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/if_packet.h>

static struct sockaddr_in *as_in(const struct tn_addr *addr)
{
	return (struct sockaddr_in *)(uintptr_t)addr->bytes;
}

static struct sockaddr_in6 *as_in6(const struct tn_addr *addr)
{
	return (struct sockaddr_in6 *)(uintptr_t)addr->bytes;
}

const struct sockaddr *tn_addr_sockaddr(const struct tn_addr *addr)
{
	return (const struct sockaddr *)(uintptr_t)addr->bytes;
}

void tni_addr_from(struct tn_addr *addr, const struct sockaddr *sa, socklen_t len)
{
	addr->len = len < sizeof(addr->bytes) ? len : (uint32_t)sizeof(addr->bytes);
	memcpy(addr->bytes, sa, addr->len);
	memset(&addr->local, 0, sizeof(addr->local));
}

static void set_in(struct tn_addr *addr, struct in_addr ip, int port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = ip};

	tni_addr_from(addr, (struct sockaddr *)&in, sizeof(in));
}

static void set_in6(struct tn_addr *addr, struct in6_addr ip, int port, uint32_t scope)
{
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = ip, .sin6_scope_id = scope};

	tni_addr_from(addr, (struct sockaddr *)&in6, sizeof(in6));
}

/* An interface's name, or its number. 0: there is none. */
static uint32_t zone_index(const char *zone)
{
	uint32_t index = if_nametoindex(zone);
	unsigned long number;
	char *end;

	if (index || *zone < '0' || *zone > '9')
		return index;
	number = strtoul(zone, &end, 10);
	return *end || number > UINT32_MAX ? 0 : (uint32_t)number;
}

int tni_addr_literal(struct tn_addr *addr, const char *host, int port)
{
	char bare[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
	struct in_addr ip4;
	struct in6_addr ip6;
	uint32_t scope = 0;
	char *zone;

	if (inet_pton(AF_INET, host, &ip4) == 1) {
		set_in(addr, ip4, port);
		return 0;
	}
	if (strlen(host) >= sizeof(bare))
		return -EINVAL;
	memcpy(bare, host, strlen(host) + 1);
	zone = strchr(bare, '%');
	if (zone) {
		*zone++ = '\0';
		scope = zone_index(zone);
		if (!scope)
			return -EINVAL;
	}
	if (inet_pton(AF_INET6, bare, &ip6) != 1)
		return -EINVAL;
	set_in6(addr, ip6, port, scope);
	return 0;
}

bool tni_addr_equal(const struct tn_addr *a, const struct tn_addr *b)
{
	return a->len == b->len && !memcmp(a->bytes, b->bytes, a->len);
}

void tni_addr_unmap(struct tn_addr *addr)
{
	struct in_addr ip;

	if (tni_addr_family(addr) != AF_INET6)
		return;
	if (IN6_IS_ADDR_LOOPBACK(&as_in6(addr)->sin6_addr)) {
		tni_addr_loopback(addr, AF_INET, tni_addr_port(addr));
	} else if (IN6_IS_ADDR_V4MAPPED(&as_in6(addr)->sin6_addr)) {
		memcpy(&ip, as_in6(addr)->sin6_addr.s6_addr + 12, sizeof(ip));
		set_in(addr, ip, tni_addr_port(addr));
	}
}

/* The last label of a name, the dot at its end aside, is a number: no domain is called so (RFC 1123, 2.1). */
static bool ends_in_number(const char *host)
{
	size_t len = strlen(host), start;

	if (len && host[len - 1] == '.')
		len--;
	for (start = len; start && host[start - 1] != '.'; start--)
		;
	if (start == len)
		return false;
	if (len - start >= 2 && host[start] == '0' && (host[start + 1] | 0x20) == 'x')
		return strspn(host + start + 2, "0123456789abcdefABCDEF") >= len - start - 2;
	return strspn(host + start, "0123456789") >= len - start;
}

static int check_ipv6(const char *host)
{
	const char *zone = strchr(host, '%');
	char bare[INET6_ADDRSTRLEN];
	struct in6_addr ip;
	size_t len = zone ? (size_t)(zone - host) : strlen(host);

	snprintf(bare, sizeof(bare), "%.*s", (int)len, host);
	if (len >= sizeof(bare) || inet_pton(AF_INET6, bare, &ip) != 1)
		return tni_err(TN_EURL, "'%.60s' is not an IPv6 address", host);
	return tni_err(TN_EURL, "there is no interface '%.60s' here (`ip link` lists them)", zone ? zone + 1 : "");
}

int tni_addr_check_host(const char *host)
{
	struct tn_addr addr;

	if (tni_addr_literal(&addr, host, 0) == 0)
		return 0;
	if (strchr(host, ':'))
		return check_ipv6(host);
	if (ends_in_number(host))
		return tni_err(
			TN_EURL,
			"'%.60s' is not an IPv4 address: write four numbers from 0 to 255 without leading zeros, "
			"as in 127.0.0.1",
			host);
	if (strchr(host, '%'))
		return tni_err(TN_EURL, "only an IPv6 address in brackets has an interface: [fe80::1%%eth0]");
	return 0;
}

int tni_addr_unix(struct tn_addr *addr, const char *path, size_t len)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	if (len > sizeof(un.sun_path) - (len && path[0] != '@'))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, len);
	if (len && path[0] == '@')
		un.sun_path[0] = '\0';
	else if (len)
		len++; /* the path's zero byte is counted, an abstract name's end is not */
	tni_addr_from(addr, (struct sockaddr *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	return 0;
}

void tni_addr_loopback(struct tn_addr *addr, int family, int port)
{
	if (family == AF_INET)
		set_in(addr, (struct in_addr){htonl(INADDR_LOOPBACK)}, port);
	else
		set_in6(addr, in6addr_loopback, port, 0);
}

void tni_addr_any(struct tn_addr *addr, int family, int port)
{
	if (family == AF_INET)
		set_in(addr, (struct in_addr){htonl(INADDR_ANY)}, port);
	else
		set_in6(addr, in6addr_any, port, 0);
}

int tni_addr_family(const struct tn_addr *addr)
{
	return addr->len < sizeof(sa_family_t) ? AF_UNSPEC : tn_addr_sockaddr(addr)->sa_family;
}

int tni_addr_port(const struct tn_addr *addr)
{
	if (tni_addr_family(addr) == AF_INET)
		return ntohs(as_in(addr)->sin_port);
	if (tni_addr_family(addr) == AF_INET6)
		return ntohs(as_in6(addr)->sin6_port);
	return -1;
}

void tni_addr_set_port(struct tn_addr *addr, int port)
{
	if (tni_addr_family(addr) == AF_INET)
		as_in(addr)->sin_port = htons((uint16_t)port);
	else if (tni_addr_family(addr) == AF_INET6)
		as_in6(addr)->sin6_port = htons((uint16_t)port);
}

static bool is_mapped(const struct tn_addr *addr)
{
	return tni_addr_family(addr) == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&as_in6(addr)->sin6_addr);
}

/* The four bytes of IPv4's address, mapped or not; NULL: it is none. */
static const unsigned char *ip4_of(const struct tn_addr *addr)
{
	if (is_mapped(addr))
		return as_in6(addr)->sin6_addr.s6_addr + 12;
	return tni_addr_family(addr) == AF_INET ? (const unsigned char *)&as_in(addr)->sin_addr : NULL;
}

bool tni_addr_is_mapped(const struct tn_addr *addr)
{
	return is_mapped(addr);
}

bool tni_addr_is_multicast(const struct tn_addr *addr)
{
	const unsigned char *ip4 = ip4_of(addr);

	if (ip4)
		return (ip4[0] & 0xf0) == 0xe0;
	return tni_addr_family(addr) == AF_INET6 && IN6_IS_ADDR_MULTICAST(&as_in6(addr)->sin6_addr);
}

bool tni_addr_is_any(const struct tn_addr *addr)
{
	static const unsigned char zero[4];
	const unsigned char *ip4 = ip4_of(addr);

	if (ip4)
		return memcmp(ip4, zero, sizeof(zero)) == 0;
	return tni_addr_family(addr) == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&as_in6(addr)->sin6_addr);
}

bool tni_addr_is_ours(const struct tn_addr *addr)
{
	struct tn_addr bare = *addr;
	int fd = socket(tni_addr_family(addr), SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return true;
	tni_addr_set_port(&bare, 0);
	rc = bind(fd, tn_addr_sockaddr(&bare), bare.len);
	close(fd);
	return rc == 0;
}

bool tni_addr_from_local(struct tn_addr *addr, const struct tn_addr *peer, int port)
{
	const struct tn_local *local = &peer->local;
	struct in6_addr ip6 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
	struct in_addr ip4;

	if (local->len == sizeof(ip6)) {
		memcpy(&ip6, local->ip, sizeof(ip6));
	} else if (local->len == sizeof(ip4)) {
		memcpy(&ip4, local->ip, sizeof(ip4));
		memcpy(ip6.s6_addr + 12, local->ip, sizeof(ip4));
	} else {
		return false;
	}
	if (local->len == sizeof(ip4) && tni_addr_family(peer) == AF_INET)
		set_in(addr, ip4, port);
	else
		set_in6(addr, ip6, port, local->index);
	return true;
}

bool tni_addr_is_localhost(const char *host, bool below)
{
	static const char name[] = "localhost";
	size_t len = strlen(host), n = sizeof(name) - 1;

	if (len && host[len - 1] == '.')
		len--;
	if (len < n || strncasecmp(host + len - n, name, n) != 0)
		return false;
	return len == n || (below && host[len - n - 1] == '.');
}

static int name_of(int fd, struct tn_addr *addr, int (*get)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	addr->len = 0;
	if (get(fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	tni_addr_from(addr, (struct sockaddr *)&sa, len);
	return 0;
}

int tni_addr_local(int fd, struct tn_addr *addr)
{
	return name_of(fd, addr, getsockname);
}

/*
 * Of a TCP connection that was reset, getpeername(2) knows nothing. This option still does, as accept(2) would. It
 * wants no more than it has.
 */
static int peer_name(int fd, struct sockaddr *addr, socklen_t *len)
{
	int family = 0;
	socklen_t size = sizeof(family);

	if (getpeername(fd, addr, len) == 0)
		return 0;
	if (errno != ENOTCONN || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0)
		return -1;
	if (family != AF_INET && family != AF_INET6) {
		errno = ENOTCONN;
		return -1;
	}
	*len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	return getsockopt(fd, SOL_SOCKET, SO_PEERNAME, addr, len);
}

int tni_addr_peer(int fd, struct tn_addr *addr)
{
	return name_of(fd, addr, peer_name);
}

/* Behind any IP address, in the same bytes: a copy of the struct has both. */
#define VIA_AT 64

static_assert(VIA_AT + sizeof(struct sockaddr_in6) <= sizeof(((struct tn_addr *)0)->bytes), "both fit");

void tni_addr_set_via(struct tn_addr *addr, const struct tn_addr *via)
{
	if (addr->len > VIA_AT)
		addr->len = 0; /* a Unix socket's path, which nothing is sent to */
	memcpy(addr->bytes + VIA_AT, via->bytes, via->len);
	addr->local = via->local;
	addr->local.via = (uint8_t)via->len;
}

bool tni_addr_via(const struct tn_addr *addr, struct tn_addr *via)
{
	if (!addr->local.via)
		return false;
	tni_addr_from(via, (const struct sockaddr *)(const void *)(addr->bytes + VIA_AT), addr->local.via);
	via->local = addr->local;
	via->local.via = 0;
	return true;
}

static void text_in6(const struct tn_addr *addr, char *out, size_t cap)
{
	char ip[INET6_ADDRSTRLEN], zone[IF_NAMESIZE + 1] = "";
	uint32_t scope = as_in6(addr)->sin6_scope_id;

	inet_ntop(AF_INET6, &as_in6(addr)->sin6_addr, ip, sizeof(ip));
	if (scope) {
		zone[0] = '%';
		if (!if_indextoname(scope, zone + 1))
			snprintf(zone, sizeof(zone), "%%%u", scope);
	}
	if (tni_addr_port(addr))
		snprintf(out, cap, "[%s%s]:%d", ip, zone, tni_addr_port(addr));
	else
		snprintf(out, cap, "[%s%s]", ip, zone);
}

static void text_packet(const struct tn_addr *addr, char *out, size_t cap)
{
	const struct sockaddr_ll *ll = (const struct sockaddr_ll *)(uintptr_t)addr->bytes;
	char name[IF_NAMESIZE];
	size_t at = 0;

	for (size_t i = 0; i < ll->sll_halen && i < sizeof(ll->sll_addr) && at + 4 < cap; i++)
		at += (size_t)snprintf(out + at, cap - at, "%s%02x", i ? ":" : "", ll->sll_addr[i]);
	if (!if_indextoname((unsigned)ll->sll_ifindex, name))
		snprintf(name, sizeof(name), "%d", ll->sll_ifindex);
	snprintf(out + at, cap - at, "%%%s", name);
}

const char *tni_addr_path(const struct tn_addr *addr, size_t *len)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)(uintptr_t)addr->bytes;
	size_t start = offsetof(struct sockaddr_un, sun_path);

	if (tni_addr_family(addr) != AF_UNIX || addr->len <= start)
		return NULL;
	*len = addr->len - start;
	if (un->sun_path[0] != '\0') /* whether the zero byte behind it counts is the caller's of bind(2) choice */
		*len = strnlen(un->sun_path, *len);
	return un->sun_path;
}

static void text_unix(const struct tn_addr *addr, char *out, size_t cap)
{
	size_t len;
	const char *path = tni_addr_path(addr, &len);

	if (!path)
		snprintf(out, cap, "(unnamed)");
	else if (path[0] == '\0')
		snprintf(out, cap, "@%.*s", (int)(len - 1), path + 1);
	else
		snprintf(out, cap, "%.*s", (int)len, path);
}

const char *tn_addr_text(const struct tn_addr *addr, char *out, size_t cap)
{
	char ip[INET_ADDRSTRLEN];

	switch (tni_addr_family(addr)) {
	case AF_INET:
		inet_ntop(AF_INET, &as_in(addr)->sin_addr, ip, sizeof(ip));
		snprintf(out, cap, tni_addr_port(addr) ? "%s:%d" : "%s", ip, tni_addr_port(addr));
		break;
	case AF_INET6:
		text_in6(addr, out, cap);
		break;
	case AF_UNIX:
		text_unix(addr, out, cap);
		break;
	case AF_PACKET:
		text_packet(addr, out, cap);
		break;
	default:
		snprintf(out, cap, "(unnamed)");
	}
	return out;
}
