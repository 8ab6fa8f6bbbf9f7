#include "net/special.h"

#include "net/addr.h"

#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

struct block {
	unsigned char first[16];
	unsigned bits;
};

static const struct block special4[] = {
	{{0}, 8},             /* this network */
	{{10}, 8},            /* private (RFC 1918) */
	{{100, 64}, 10},      /* shared, of carriers (RFC 6598) */
	{{127}, 8},           /* loopback */
	{{169, 254}, 16},     /* link-local, and what clouds tell their machines */
	{{172, 16}, 12},      /* private */
	{{192, 0, 0}, 24},    /* of protocols */
	{{192, 0, 2}, 24},    /* documentation */
	{{192, 88, 99}, 24},  /* 6to4's relays, which are no more */
	{{192, 168}, 16},     /* private */
	{{198, 18}, 15},      /* measuring */
	{{198, 51, 100}, 24}, /* documentation */
	{{203, 0, 113}, 24},  /* documentation */
	{{224}, 4},           /* groups */
	{{240}, 4},           /* reserved, and broadcast */
};

/* What 2000::/3 has that is not for everybody. 2001::/23 is of protocols: Teredo, ORCHID, benchmarking. */
static const struct block special6[] = {
	{{0x20, 0x01}, 23},
	{{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
	{{0x3f, 0xff}, 20},             /* documentation */
};

static const struct block global6 = {{0x20}, 3};
static const struct block sixtofour = {{0x20, 0x02}, 16};            /* RFC 3056 */
static const struct block nat64 = {{0, 0x64, 0xff, 0x9b}, 96};       /* RFC 6052 */
static const struct block mapped = {{[10] = 0xff, [11] = 0xff}, 96}; /* RFC 4291 */

static bool is_in(const unsigned char *ip, const struct block *block)
{
	unsigned whole = block->bits / 8, rest = block->bits % 8;

	return !memcmp(ip, block->first, whole) && (!rest || (ip[whole] ^ block->first[whole]) >> (8 - rest) == 0);
}

static bool is_in_any(const unsigned char *ip, const struct block *blocks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (is_in(ip, &blocks[i]))
			return true;
	return false;
}

static const unsigned char *ip_of(const struct tn_addr *addr)
{
	const struct sockaddr_in6 *in6 = (const void *)tn_addr_sockaddr(addr);
	const struct sockaddr_in *in = (const void *)in6;

	return tni_addr_family(addr) == AF_INET ? (const void *)&in->sin_addr : (const void *)&in6->sin6_addr;
}

bool tni_addr_inner(const struct tn_addr *addr, struct tn_addr *inner)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	const unsigned char *ip = ip_of(addr);

	if (tni_addr_family(addr) != AF_INET6)
		return false;
	if (is_in(ip, &sixtofour))
		memcpy(&in.sin_addr, ip + 2, 4);
	else if (is_in(ip, &nat64) || is_in(ip, &mapped))
		memcpy(&in.sin_addr, ip + 12, 4);
	else
		return false;
	tni_addr_from(inner, (const struct sockaddr *)(const void *)&in, sizeof(in));
	return true;
}

bool tni_addr_is_special(const struct tn_addr *addr)
{
	struct tn_addr inner;

	if (tni_addr_inner(addr, &inner))
		return tni_addr_is_special(&inner);
	if (tni_addr_family(addr) == AF_INET)
		return is_in_any(ip_of(addr), special4, sizeof(special4) / sizeof(special4[0]));
	return tni_addr_family(addr) != AF_INET6 || !is_in(ip_of(addr), &global6) ||
	       is_in_any(ip_of(addr), special6, sizeof(special6) / sizeof(special6[0]));
}
