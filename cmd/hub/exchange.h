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

struct door;
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

void exchange_count(struct exchange_counts *counts);

/* The patterns that most have subscribed to, the busiest first: 20 at most. Of very many, only some are looked at. */
void exchange_topics(void (*fn)(const char *pattern, size_t len, uint32_t count, void *arg), void *arg);

#endif
