/* What is sent, and whether a reply is right. */
#ifndef TENON_BENCH_PAYLOAD_H
#define TENON_BENCH_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan.h"

#define NUMBER_LEN 12 /* characters that number a message */

struct message_id {
	uint64_t seed, conn, number;
};

/*
 * Makes the template: from a file, or of `size_max` characters that every frame and format can carry. Returns 0, or -1
 * after printing an error.
 */
int payload_make(struct plan *plan, const char *path);

size_t payload_size_drawn(const struct plan *plan, const struct message_id *id);

/* The size of a message. */
static inline size_t payload_size(const struct plan *plan, const struct message_id *id)
{
	return plan->payload.size_min == plan->payload.size_max ? plan->payload.size_max : payload_size_drawn(plan, id);
}

/* How long the next message waits after the reply to this one. */
uint64_t payload_think_ns(const struct plan *plan, const struct message_id *id);

/* Writes its number into the template, which then is the message. */
void payload_number(const struct plan *plan, char *data, const struct message_id *id);

/*
 * Writes messages that follow one another, from `first` on: at most `*n`, which becomes how many there were room for in
 * `cap` bytes. Returns their bytes. `data` is the template, and the last of them afterwards.
 */
size_t payload_write(const struct plan *plan, char *data, const struct message_id *first, uint64_t *n, char *to,
		     size_t cap);

/* How many of `n` messages that follow one another, all of one size, are not what came. `data` as for payload_write().
 */
uint64_t payload_wrong(const struct plan *plan, char *data, const struct message_id *first, uint64_t n,
		       const char *came);

/* Finds the number in a reply. `id` is of the message that it is most likely for. */
bool payload_find(const struct plan *plan, const void *reply, size_t len, const struct message_id *id,
		  uint64_t *number);

/* Whether these bytes are what stands at `offset` of the message. */
bool payload_matches(const struct plan *plan, const struct message_id *id, size_t offset, const void *data, size_t len);

#endif
