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

/* The size of a message. */
size_t payload_size(const struct plan *plan, const struct message_id *id);

/* How long the next message waits after the reply to this one. */
uint64_t payload_think_ns(const struct plan *plan, const struct message_id *id);

/* Writes its number into the template, which then is the message. */
void payload_number(struct plan *plan, char *data, const struct message_id *id);

/* Finds the number in a reply. `id` is of the message that it is most likely for. */
bool payload_find(const struct plan *plan, const void *reply, size_t len, const struct message_id *id,
		  uint64_t *number);

/* Whether these bytes are what stands at `offset` of the message. */
bool payload_matches(const struct plan *plan, const struct message_id *id, size_t offset, const void *data, size_t len);

#endif
