/*
 * The exchange: the hub's clients, who of them has subscribed to what, and how a message gets from one to many. The
 * tree of topics is one for all loops; each client lives on one loop. A message is matched on its publisher's loop, and
 * crosses to each other loop once, however many subscribers it has there.
 */
#ifndef TENON_HUB_EXCHANGE_H
#define TENON_HUB_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "door.h"

struct exchange_counts;
struct tn_handler;
struct tn_loop;

/* Makes what all loops share. Returns 0 or a negative code. */
int exchange_new(struct tn_loop *const *loops, int count);
void exchange_free(void);

/* On each thread: before its loop runs, and after it. */
void exchange_begin(int index);
void exchange_end(int index);

/* What a listener's `arg` begins with. */
struct exchange_listener {
	const struct door *door;
	bool secure;         /* TLS is there before the door says a word */
	bool late, optional; /* TLS begins when the door has said its first words; and the client may do without */
};
extern const struct tn_handler exchange_handler;

/* The hub ends soon: all clients are told. From the first loop's thread. */
void exchange_leave(void);

/* The file of users was read again. From any thread. */
void exchange_users_changed(void);
/* Before it is read again: users who were replaced are freed, where no client refers to them any more. On one thread.
 */
void exchange_users_settle(void);

/*
 * What is beside the hub: a cluster that it has joined, which gets what is published here and is asked for what
 * somebody wants here. It is called on the first loop, but for goes().
 */
struct outside {
	bool chooses; /* one of a queue group's members here and there: so messages that go there are given to none here
		       */
	/* Whether messages of a topic go there. From any thread. */
	bool (*goes)(struct span topic);
	/* One more wants a pattern, or no more; of a group, if that has a length. The tree is locked meanwhile. */
	void (*wants)(struct span pattern, struct span group, bool more);
	/* A message that was published here; `takers` have got it already. */
	void (*take)(const struct message *message);
	/* The turn ends: what take() was given may leave. */
	void (*flush)(void);
};

/* Before the loops run. It outlives them. */
void exchange_set_outside(const struct outside *outside);

/*
 * A message has come from there: it is given to all here, except to queue groups; or, if there is a group, to one of
 * that. On the first loop. False: the payload is not what the topic's format allows.
 */
bool exchange_bring(struct message *message, const struct span *group);
/* What it has been given for this loop's clients leaves. */
void exchange_turn(void);
/* Whether other loops are behind, so that no more should be brought for now. */
bool exchange_is_behind(void);

void exchange_count(struct exchange_counts *counts);

/* The patterns that most have subscribed to, the busiest first: 20 at most. Of very many, only some are looked at. */
void exchange_topics(void (*fn)(const char *pattern, size_t len, uint32_t count, void *arg), void *arg);

#endif
