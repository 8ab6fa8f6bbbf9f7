/*
 * Names to addresses, by c-ares, without blocking the loop. /etc/hosts comes first: a name that stands there is looked
 * up nowhere else, in neither family. Then DNS, as /etc/resolv.conf says. Each loop has one c-ares channel, made on
 * first use; a loop's lookups belong to its thread.
 */
#ifndef TNI_NET_RESOLVE_H
#define TNI_NET_RESOLVE_H

#include "tenon.h"

#define TNI_LOOKUP_MAX 16 /* addresses that one lookup gives at most */

/* A lookup has ended. err 0: `n` addresses (at least one), sorted as RFC 6724 says, valid during the call. Otherwise a
 * negative code, with the detail in tn_errmsg(). */
typedef void tni_lookup_done(void *arg, int err, const struct tn_addr *addrs, int n);

struct tni_lookup; /* one lookup in progress */

/*
 * What needs no lookup: a literal, localhost and the names below it (RFC 6761: the loopback addresses, IPv6 first), and
 * "" which stands for localhost. family: AF_UNSPEC, AF_INET or AF_INET6. Returns the number of addresses; 0: it is a
 * name to look up; TN_EURL: a literal of the other family.
 */
int tni_resolve_known(const char *host, int family, int port, struct tn_addr addrs[2]);

/*
 * Looks up a name's addresses of one family (AF_INET or AF_INET6). done(arg, ...) is called exactly once, from a task
 * of the ready queue, never from inside this call, with err TN_ENAME (no such name, or no address of this family),
 * -ETIMEDOUT (no name server answered), TN_ERESOLVE or -ENOMEM. A lookup does not keep the loop running: its owner
 * does. The same owner must cancel it if done has not been called when it ends, even if it ends after the loop's
 * resolver: done is not called by tn_loop_free(). Errors at once: -ENOMEM, TN_ERESOLVE.
 */
int tni_lookup_start(struct tn_loop *loop, const char *host, int family, int port, tni_lookup_done *done, void *arg,
		     struct tni_lookup **out);

/* Ends a lookup: done will not be called. Other lookups are not disturbed. NULL is allowed. */
void tni_lookup_cancel(struct tni_lookup *lookup);

/*
 * Blocks, for set-up time (serving a host name), at most `timeout_ms` (-1: as long as c-ares takes). Fills `addrs` with
 * the addresses of one family, or with AF_UNSPEC of both, sorted as RFC 6724 says. Returns how many (at least 1, at
 * most `max`), TN_EURL (a literal of the other family), TN_ENAME, TN_ERESOLVE, -ETIMEDOUT or -ENOMEM.
 */
int tni_resolve_now(const char *host, int family, int port, int timeout_ms, struct tn_addr *addrs, int max);

/* The same with name servers of the caller's, as below; NULL: those of the system. */
int tni_resolve_now_at(const char *servers, const char *host, int family, int port, int timeout_ms,
		       struct tn_addr *addrs, int max);

/* Asks these name servers, "address[:port],...", from now on. Errors: -EINVAL, -EBUSY while lookups are under way,
 * -ENOMEM, TN_ERESOLVE. */
int tni_resolver_set_servers(struct tn_loop *loop, const char *servers);

#endif
