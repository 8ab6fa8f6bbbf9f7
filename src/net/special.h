/*
 * Addresses that are not everybody's: this host, private and shared networks, links, groups, documentation, tests (the
 * IANA IPv4 and IPv6 Special-Purpose Address Registries, RFC 6890). Whoever connects for strangers must not let them
 * reach these.
 */
#ifndef TNI_NET_SPECIAL_H
#define TNI_NET_SPECIAL_H

#include "tenon.h"

#include <stdbool.h>

/*
 * Whether an address is of these. One of IPv6 that leads to one of IPv4 (mapped, 6to4, NAT64) counts as that one; those
 * of IPv6 that are not assigned to anybody's use (all outside of 2000::/3) count too.
 */
bool tni_addr_is_special(const struct tn_addr *addr);

/* The IPv4 address that one of IPv6 leads to. False: it leads to none. */
bool tni_addr_inner(const struct tn_addr *addr, struct tn_addr *inner);

#endif
