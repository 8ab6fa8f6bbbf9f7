/*
 * The schedule of Happy Eyeballs (RFC 8305): which address is tried next, and when. Without sockets and without a
 * clock.
 */
#ifndef TNI_NET_RACE_H
#define TNI_NET_RACE_H

#include "base/clock.h"
#include "tenon.h"

#include <stdbool.h>

#define TNI_RACE_RESOLUTION_NS (50 * TNI_NS_PER_MS) /* RFC 8305 section 3: IPv4 addresses wait for IPv6 ones */
#define TNI_RACE_ATTEMPT_NS (250 * TNI_NS_PER_MS)   /* section 5: between two attempts */

enum tni_race_step {
	TNI_RACE_START, /* try this address now */
	TNI_RACE_WAIT,  /* nothing to start before a time, or before something happens */
	TNI_RACE_LOST,  /* nothing is left: no address, no lookup, no attempt */
};

struct tni_race {
	struct tn_addr *addrs[2]; /* [0]: IPv6, [1]: all others */
	int n[2], next[2];
	bool asked[2];          /* a lookup is under way */
	bool started;           /* an attempt has been */
	int turn;               /* whose turn it is, if there is one */
	int pending;            /* attempts under way */
	uint64_t not_before_ns; /* the next attempt */
};

/* `first`: the family to start with. Free it with tni_race_free(). */
void tni_race_init(struct tni_race *race, int first);
void tni_race_free(struct tni_race *race);

/* A lookup of this family is under way: tni_race_answer() will follow. */
void tni_race_expect(struct tni_race *race, int family);

/* Adds addresses of one family, which are copied; those already there are left out. Also ends what tni_race_expect()
 * announced; n may be 0. Returns 0 or -ENOMEM. */
int tni_race_answer(struct tni_race *race, int family, const struct tn_addr *addrs, int n, uint64_t now_ns);

/* Which family to start with, if nothing has started yet. */
void tni_race_first(struct tni_race *race, int family);

/* What to do at this time. START gives `addr`, whose attempt counts as under way from then on. WAIT gives `when_ns`,
 * TNI_NEVER when only an event can help. */
enum tni_race_step tni_race_next(struct tni_race *race, uint64_t now_ns, const struct tn_addr **addr,
				 uint64_t *when_ns);

/* An attempt has failed. */
void tni_race_failed(struct tni_race *race);

#endif
