/* Which of several addresses to try first: RFC 6724, destination address selection. */
#ifndef TNI_NET_ORDER_H
#define TNI_NET_ORDER_H

#include "tenon.h"

/*
 * Sorts addresses by RFC 6724 section 6, with its default policy table; equal ones keep their order. The source address
 * of each is asked of the kernel (connect(2) on a UDP socket, which sends nothing). Rules 3, 4 and 7 (deprecated, home
 * and native addresses) are left out, and rule 9 counts for IPv6 only. Without memory nothing is moved.
 */
void tni_order_addrs(struct tn_addr *addrs, int n);

/* Does a pair of destination and source come before another? < 0, 0, > 0. `from` is empty where there is no source. */
int tni_order_compare(const struct tn_addr *to_a, const struct tn_addr *from_a, const struct tn_addr *to_b,
		      const struct tn_addr *from_b);

#endif
