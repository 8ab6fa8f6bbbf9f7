/* --rate and --interval: when the next piece, and the next message, may go out. */
#ifndef TENON_TALK_THROTTLE_H
#define TENON_TALK_THROTTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct throttle {
	uint64_t rate;        /* bytes a second; 0: as fast as it goes */
	uint64_t interval_ns; /* from the begin of a message to that of the next, at least */
	uint64_t piece_due_ns, message_due_ns;
};

/* Whether the user has set one of them. */
bool throttle_wanted(const struct throttle *throttle);

/* The most bytes of a stream that go out at one time, so that a low rate is not one burst and a long silence. */
size_t throttle_piece(const struct throttle *throttle);

/* A message begins now. */
void throttle_begin(struct throttle *throttle, uint64_t now_ns);

/* So many bytes have been handed over now. */
void throttle_passed(struct throttle *throttle, size_t len, uint64_t now_ns);

/* How long the next piece has to wait, or a piece with which a message begins; 0: not at all. */
uint64_t throttle_wait_ns(const struct throttle *throttle, bool begins, uint64_t now_ns);

#endif
