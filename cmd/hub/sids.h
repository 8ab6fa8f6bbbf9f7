/* A client's subscriptions by their names: open addressing. */
#ifndef TENON_HUB_SIDS_H
#define TENON_HUB_SIDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "topics/topics.h"

struct client;

/*
 * One subscription. It lives on its client's loop. What other loops have matched may still be on its way to it when it
 * has gone: then `client` is NULL, and it is freed behind that.
 */
struct subscription {
	struct topic_sub in; /* first */
	uint32_t max;        /* messages, from the first on; 0: no end. Written under the lock of the tree */
	struct client *client;
	uint32_t delivered;       /* to UINT32_MAX, where it stays */
	_Atomic(uint32_t) chosen; /* with several loops: the same, with those that are on their way from others */
	uint16_t sid_len : 15;
	uint16_t own : 1; /* to its client's own inbox */
	char sid[];
};

struct sids {
	struct subscription **at;
	uint32_t cap, count;
};

/* NULL: there is none. */
struct subscription *sids_find(const struct sids *sids, const char *sid, size_t len);
/* Adds one that is not there. False: no memory. */
bool sids_add(struct sids *sids, struct subscription *sub);
void sids_remove(struct sids *sids, const struct subscription *sub);
void sids_free(struct sids *sids);

#endif
