/*
 * Sets of addresses: single ones and networks (192.0.2.0/24, 2001:db8::/32), and whoever comes through a Unix socket
 * (unix), and those that are everybody's (public). An IPv4 address in IPv6's words (::ffff:192.0.2.1) is that IPv4
 * address everywhere here.
 */
#ifndef TNI_NET_CIDR_H
#define TNI_NET_CIDR_H

#include "net/addr.h"

/* From the first to the last address: the family's byte (4 or 6), then the address, filled with zero bytes. */
struct tni_cidr {
	unsigned char first[17], last[17];
};

/* A user or group, whose processes come through Unix sockets. */
struct tni_owner {
	bool group;
	uint32_t id;
};

/* All zero: empty. */
struct tni_cidrs {
	struct tni_cidr *list;
	size_t count, cap;
	bool has_unix;
	bool has_public; /* every IP address that is not special (net/special.h) */
	struct tni_owner *owners;
	size_t nowners;
};

/* Reads one item, as it stands in a list. 0, or TN_EURL with what is wrong. */
int tni_cidr_parse(struct tni_cidr *cidr, const char *text, size_t len);

/* Adds one item, `unix`, `public`, `user:` and `group:` included. 0, TN_EURL with what is wrong, or -ENOMEM. */
int tni_cidrs_add(struct tni_cidrs *set, const char *text, size_t len);

/* After the last one was added, before the first is looked for. */
void tni_cidrs_sort(struct tni_cidrs *set);

/* Whether an address is in the set. Unnamed ones are those of Unix sockets. */
bool tni_cidrs_have(const struct tni_cidrs *set, const struct tn_addr *addr);

/* Whether the process at the other end of a connected Unix socket is one of the set's users, or in one of its groups.
 */
bool tni_cidrs_have_owner(const struct tni_cidrs *set, int fd);

void tni_cidrs_free(struct tni_cidrs *set);

#endif
