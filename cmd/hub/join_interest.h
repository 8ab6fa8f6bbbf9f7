/*
 * What the hub's own subscribers want of a cluster: each pattern, and each pattern of a queue group, is subscribed to
 * there once, however many want it here. Pure.
 *
 * A cluster sends a message once for each of our patterns that it fits. One of them, the one that has been there
 * longest, stands for it; the others are copies.
 */
#ifndef TENON_HUB_JOIN_INTEREST_H
#define TENON_HUB_JOIN_INTEREST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "door.h"
#include "topics/topics.h"

struct join_want {
	struct topic_sub in;    /* first */
	struct join_want *next; /* of the bucket */
	struct join_want *newer, *older;
	uint64_t sid; /* its name there: a later one is greater */
	uint64_t refs, hash;
	uint64_t since;             /* the user's: 0 at first */
	struct span pattern, group; /* behind it */
	char bytes[];
};

struct join_interest {
	struct topics *topics;
	struct topic_match match;
	struct join_want **buckets;
	size_t nbuckets, count;
	struct join_want *oldest, *newest; /* in the order of their names */
	uint64_t sids;
};

/* Returns 0 or -ENOMEM. `seed` as that of topics_new(). */
int join_interest_new(struct join_interest *interest, uint64_t seed);
void join_interest_free(struct join_interest *interest);

/* One more wants it, or no more. Each returns it if it is to be subscribed to there now, or NULL; without memory also.
 */
struct join_want *join_interest_add(struct join_interest *interest, struct span pattern, struct span group);
/* The same the other way. Returns the name that is to be unsubscribed, and whether it was a group's; 0: none. */
uint64_t join_interest_drop(struct join_interest *interest, struct span pattern, struct span group, bool *grouped);

/* Which one stands for a topic, of those without a group. NULL: none. */
const struct join_want *join_interest_first(struct join_interest *interest, struct span topic);
/* That with this name, if a topic fits it. */
const struct join_want *join_interest_named(struct join_interest *interest, struct span topic, uint64_t sid);

#endif
