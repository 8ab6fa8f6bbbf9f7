#include "net/order.h"

#include "net/addr.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Every address as an IPv6 one, IPv4 as ::ffff:a.b.c.d, as the RFC does. */
static struct in6_addr as_ipv6(const struct tn_addr *addr)
{
	struct in6_addr ip = {0};

	if (tni_addr_family(addr) == AF_INET6)
		return ((const struct sockaddr_in6 *)(const void *)addr->bytes)->sin6_addr;
	ip.s6_addr[10] = ip.s6_addr[11] = 0xff;
	memcpy(ip.s6_addr + 12, &((const struct sockaddr_in *)(const void *)addr->bytes)->sin_addr, 4);
	return ip;
}

struct policy {
	unsigned char prefix[16];
	int bits, precedence, label;
};

/* RFC 6724 section 2.1; the longest prefix first, so the first that fits counts. */
static const struct policy policies[] = {
	{{[15] = 1}, 128, 50, 0},                /* ::1 */
	{{[10] = 0xff, [11] = 0xff}, 96, 35, 4}, /* ::ffff:0:0/96: IPv4 */
	{{0}, 96, 1, 3},                         /* ::/96 */
	{{0x20, 0x01, 0x00, 0x00}, 32, 5, 5},    /* Teredo */
	{{0x20, 0x02}, 16, 30, 2},               /* 6to4 */
	{{0x3f, 0xfe}, 16, 1, 12},               /* 6bone */
	{{0xfe, 0xc0}, 10, 1, 11},               /* site-local */
	{{0xfc}, 7, 3, 13},                      /* unique local */
	{{0}, 0, 40, 1},
};

static int common_bits(const unsigned char *a, const unsigned char *b)
{
	int bits = 0;

	while (bits < 128 && !((a[bits / 8] ^ b[bits / 8]) & 0x80 >> bits % 8))
		bits++;
	return bits;
}

static const struct policy *policy_of(const struct in6_addr *ip)
{
	const struct policy *p = policies;

	while (common_bits(p->prefix, ip->s6_addr) < p->bits)
		p++;
	return p;
}

enum { LINK_LOCAL = 2, SITE_LOCAL = 5, GLOBAL = 14 };

/* RFC 6724 section 3.1 and 3.2 */
static int scope_of(const struct in6_addr *ip)
{
	const unsigned char *b = ip->s6_addr;

	if (IN6_IS_ADDR_V4MAPPED(ip))
		return b[12] == 127 || (b[12] == 169 && b[13] == 254) ? LINK_LOCAL : GLOBAL;
	if (b[0] == 0xff)
		return b[1] & 15;
	if (IN6_IS_ADDR_LOOPBACK(ip) || IN6_IS_ADDR_LINKLOCAL(ip))
		return LINK_LOCAL;
	return IN6_IS_ADDR_SITELOCAL(ip) ? SITE_LOCAL : GLOBAL;
}

static int yes_first(bool a, bool b)
{
	return (int)b - (int)a;
}

int tni_order_compare(const struct tn_addr *to_a, const struct tn_addr *from_a, const struct tn_addr *to_b,
		      const struct tn_addr *from_b)
{
	struct in6_addr a = as_ipv6(to_a), b = as_ipv6(to_b), sa, sb;
	const struct policy *pa = policy_of(&a), *pb = policy_of(&b);
	int rc = yes_first(from_a->len, from_b->len); /* rule 1: can be reached */

	if (rc || !from_a->len)
		return rc ? rc : pb->precedence - pa->precedence;
	sa = as_ipv6(from_a);
	sb = as_ipv6(from_b);
	rc = yes_first(scope_of(&a) == scope_of(&sa), scope_of(&b) == scope_of(&sb)); /* rule 2 */
	if (!rc)
		rc = yes_first(pa->label == policy_of(&sa)->label, pb->label == policy_of(&sb)->label); /* rule 5 */
	if (!rc)
		rc = pb->precedence - pa->precedence; /* rule 6 */
	if (!rc)
		rc = scope_of(&a) - scope_of(&b); /* rule 8 */
	if (!rc && tni_addr_family(to_a) == AF_INET6 && tni_addr_family(to_b) == AF_INET6)
		rc = common_bits(b.s6_addr, sb.s6_addr) - common_bits(a.s6_addr, sa.s6_addr); /* rule 9 */
	return rc;
}

struct pair {
	struct tn_addr to, from;
	int at;
};

static int by_rules(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int rc = tni_order_compare(&x->to, &x->from, &y->to, &y->from);

	return rc ? rc : x->at - y->at; /* rule 10 */
}

/* With no port, connect(2) would not say. The first connect binds the socket: each address has one of its own. */
static void find_source(struct pair *pair)
{
	struct tn_addr to = pair->to;
	int fd = socket(tni_addr_family(&to), SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (!tni_addr_port(&to))
		tni_addr_set_port(&to, 9);
	if (connect(fd, tn_addr_sockaddr(&to), to.len) == 0)
		(void)tni_addr_local(fd, &pair->from);
	close(fd);
}

void tni_order_addrs(struct tn_addr *addrs, int n)
{
	struct pair *pairs = n > 1 ? calloc((size_t)n, sizeof(*pairs)) : NULL;

	if (!pairs)
		return;
	for (int i = 0; i < n; i++) {
		pairs[i].to = addrs[i];
		pairs[i].at = i;
		find_source(&pairs[i]);
	}
	qsort(pairs, (size_t)n, sizeof(*pairs), by_rules);
	for (int i = 0; i < n; i++)
		addrs[i] = pairs[i].to;
	free(pairs);
}
