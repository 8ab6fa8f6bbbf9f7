/*
 * Names to addresses without blocking the loop: what getaddrinfo(3) finds is found, with three differences. localhost
 * and the names below it are looked up nowhere but in hosts(5); one family is reported while the other is still asked;
 * a name server is given 2, 4 and 8 seconds where resolv.conf(5) does not say otherwise.
 *
 * Without c-ares (net/resolve_thread.c) all names are left to getaddrinfo(3) in a thread. With it (net/resolve.c)
 * nsswitch.conf(5) says which services are asked. files and dns are asked here (DNS by c-ares); a line with anything
 * else is left to getaddrinfo(3) in a thread (net/foreign.h). Both families of a name are asked for together, and DNS'
 * search list is walked once for both. Each loop has c-ares channels, made on first use; a loop's lookups belong to
 * its thread.
 */
#ifndef TNI_NET_RESOLVE_H
#define TNI_NET_RESOLVE_H

#include "tenon.h"

#include <stdbool.h>

/*
 * News of a lookup. err 0: addresses, sorted as RFC 6724 says, valid until this function returns or cancels the lookup.
 * With `more`, they are those of one family and the other is still asked for: another call follows, the last one, which
 * brings what was found besides (n may be 0). Otherwise there is one call. err < 0: a code with the detail in
 * tn_errmsg(), and n is 0.
 */
typedef void tni_lookup_done(void *arg, int err, const struct tn_addr *addrs, int n, bool more);

struct tni_lookup; /* one lookup in progress */

/*
 * What needs no lookup: a literal, localhost (RFC 6761: the loopback addresses, IPv6 first), and "" which stands for
 * localhost. family: AF_UNSPEC, AF_INET or AF_INET6. Returns the number of addresses; 0: it is a
 * name to look up; TN_EURL: a literal of the other family.
 */
int tni_resolve_known(const char *host, int family, int port, struct tn_addr addrs[2]);

/*
 * Looks up a name's addresses of one family (AF_INET, AF_INET6) or both (AF_UNSPEC). done(arg, ...) is called from a
 * task of the ready queue, never from inside this call, with err TN_ENAME (no such name, or no address of this family),
 * -ETIMEDOUT (no name server answered), TN_ERESOLVE or -ENOMEM. A lookup does not keep the loop running: its owner
 * does. The same owner must cancel it if done has not been called when it ends, even if it ends after the loop's
 * resolver: done is not called by tn_loop_free(). Errors at once: -ENOMEM.
 */
int tni_lookup_start(struct tn_loop *loop, const char *host, int family, int port, tni_lookup_done *done, void *arg,
		     struct tni_lookup **out);

/* Ends a lookup: done will not be called. Other lookups are not disturbed. NULL is allowed. */
void tni_lookup_cancel(struct tni_lookup *lookup);

/*
 * Blocks, for set-up time (serving a host name), at most `timeout_ms` (-1: as long as c-ares takes). `addrs` becomes an
 * array of the addresses of one family, or with AF_UNSPEC of both, sorted as RFC 6724 says; it is the caller's to free.
 * Returns how many (at least 1), TN_EURL (a literal of the other family), TN_ENAME, TN_ERESOLVE, -ETIMEDOUT or -ENOMEM.
 */
int tni_resolve_now(const char *host, int family, int port, int timeout_ms, struct tn_addr **addrs);

/* The same with name servers of the caller's, as below; NULL: those of the system. */
int tni_resolve_now_at(const char *servers, const char *host, int family, int port, int timeout_ms,
		       struct tn_addr **addrs);

/* Asks these name servers, "address[:port],...", from now on. Errors: -EINVAL, -EBUSY while lookups are under way,
 * -ENOMEM, TN_ERESOLVE. */
int tni_resolver_set_servers(struct tn_loop *loop, const char *servers);

#endif
