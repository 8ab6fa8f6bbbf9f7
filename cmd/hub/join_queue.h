/*
 * What waits to go up to a cluster: whole operations, in pieces that each go as one. Bounded; what does not fit is not
 * taken. Pure.
 */
#ifndef TENON_HUB_JOIN_QUEUE_H
#define TENON_HUB_JOIN_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec;

struct join_piece {
	struct join_piece *next;
	size_t len, cap;
	uint32_t messages;
	char data[];
};

struct join_queue {
	struct join_piece *first, *last;
	size_t bytes, limit; /* what keeps them included */
	uint64_t messages;
};

/* Adds one message. False: it does not fit, or there is no memory. */
bool join_queue_put(struct join_queue *queue, const struct iovec *iov, int count);
/* Takes the first piece away, which has been sent. */
void join_queue_drop(struct join_queue *queue);
void join_queue_free(struct join_queue *queue);

#endif
