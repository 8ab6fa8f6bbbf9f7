/*
 * Numbers of messages, by which their gaps are found: a hub numbers what it publishes to each topic, and whoever gets
 * all of a topic sees what is missing. Both sides keep the last number of so many topics as fit, and forget the one
 * that was used the longest time ago: what a hub has forgotten gets another epoch. Pure.
 */
#ifndef TENON_HUB_JOIN_NUMBERS_H
#define TENON_HUB_JOIN_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

#include "door.h"

#define JOIN_NUMBERS_MAX 65536 /* topics */

struct join_number {
	struct join_number *next;          /* of the bucket */
	struct join_number *newer, *older; /* used after it, and before */
	uint64_t hash, epoch, number, at;
	size_t len;
	char key[];
};

struct join_numbers {
	struct join_number **buckets;
	struct join_number *oldest, *newest;
	size_t count, most;
	uint64_t epochs; /* the last one that was given */
	uint64_t uses;
};

/* `most`: topics that are kept. Returns 0 or -ENOMEM. */
int join_numbers_new(struct join_numbers *numbers, size_t most);
void join_numbers_free(struct join_numbers *numbers);

/* The next number of a topic. `clock`: a number that grows from one start of the program to the next, for epochs.
 * False: no memory. */
bool join_numbers_give(struct join_numbers *numbers, struct span topic, uint64_t clock, uint64_t *epoch,
		       uint64_t *number);

enum join_seen { JOIN_NEXT, JOIN_GAP, JOIN_AGAIN };

/*
 * A message has come. `since`: what join_numbers_now() was when all of this topic was asked for; what was seen before
 * that says nothing. JOIN_GAP: `*missed` messages in front of it have not come; JOIN_AGAIN: it, or a later one, has
 * come before.
 */
enum join_seen join_numbers_see(struct join_numbers *numbers, struct span publisher, struct span topic, uint64_t epoch,
				uint64_t number, uint64_t since, uint64_t *missed);
uint64_t join_numbers_now(const struct join_numbers *numbers);

#endif
