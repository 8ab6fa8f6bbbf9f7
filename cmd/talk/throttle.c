#include "throttle.h"

#include "common/clock.h"

#define PIECES 20                    /* of a stream in a second, at least */
#define PIECE_MAX ((size_t)64 << 10) /* as much as is read at one time anyhow */
#define LATE_NS (NS_PER_S / PIECES)  /* a delay of so much is made up for: timers are late, the rate is not low */

bool throttle_wanted(const struct throttle *throttle)
{
	return throttle->rate || throttle->interval_ns;
}

size_t throttle_piece(const struct throttle *throttle)
{
	uint64_t piece = throttle->rate / PIECES;

	if (!throttle->rate || piece > PIECE_MAX)
		return PIECE_MAX;
	return piece ? (size_t)piece : 1;
}

void throttle_begin(struct throttle *throttle, uint64_t now)
{
	throttle->message_due_ns = now + throttle->interval_ns;
}

void throttle_passed(struct throttle *throttle, size_t len, uint64_t now)
{
	uint64_t earliest = now > LATE_NS ? now - LATE_NS : 0;

	if (!throttle->rate)
		return;
	/* The first piece is not late: there is nothing to make up for */
	if (!throttle->piece_due_ns)
		throttle->piece_due_ns = now;
	else if (throttle->piece_due_ns < earliest)
		throttle->piece_due_ns = earliest;
	throttle->piece_due_ns += (uint64_t)((double)len * (double)NS_PER_S / (double)throttle->rate);
}

uint64_t throttle_wait_ns(const struct throttle *throttle, bool begins, uint64_t now)
{
	uint64_t due = throttle->piece_due_ns;

	if (begins && throttle->message_due_ns > due)
		due = throttle->message_due_ns;
	return due > now ? due - now : 0;
}
