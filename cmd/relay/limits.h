/*
 * Bytes a second, of a session and of all sessions of one address. Who has more to say is paused: nothing is dropped.
 */
#ifndef TENON_RELAY_LIMITS_H
#define TENON_RELAY_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What may pass: it fills with time, up to a fifth of a second's worth. */
struct bucket {
	int64_t left;
	uint64_t filled_ns; /* 0: not begun */
};

/* Takes `len` bytes. Returns whether nothing is left, so that the sender has to wait. `rate` 0: there is no limit. */
bool bucket_take(struct bucket *bucket, uint64_t rate, size_t len, uint64_t now_ns);

/* Whether something is left again. */
bool bucket_has(struct bucket *bucket, uint64_t rate, uint64_t now_ns);

/* What all sessions of an address share: one bucket for each direction, for all threads. */
struct share;

struct share *share_join(uint64_t source); /* NULL: no memory */
void share_leave(struct share *share);     /* NULL is allowed */
bool share_take(struct share *share, bool in, uint64_t rate, size_t len, uint64_t now_ns);
bool share_has(struct share *share, bool in, uint64_t rate, uint64_t now_ns);

#endif
