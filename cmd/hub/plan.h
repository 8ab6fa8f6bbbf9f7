/* How the exchange is to work: made of the command line, then read by all threads; and what it has counted. */
#ifndef TENON_HUB_PLAN_H
#define TENON_HUB_PLAN_H

#include <stddef.h>
#include <stdint.h>

/* What becomes of messages for a subscriber that reads too slowly. */
enum slow { SLOW_CUT, SLOW_OLDEST, SLOW_NEWEST, SLOW_LAST };

struct exchange_plan {
	uint32_t payload;     /* the longest message */
	size_t waits;         /* bytes that may wait for one subscriber, beyond its connection's queue */
	uint64_t deadline_ns; /* it may be full for so long; 0: for ever */
	enum slow slow;
	unsigned subscriptions; /* of one client; 0: no limit */
	const char *name;       /* of the hub; NULL: its id */
};

extern struct exchange_plan exchange_plan;

struct exchange_counts {
	uint64_t published, delivered, dropped, cut; /* slow clients that were cut off */
	uint64_t subscriptions;
};

#endif
