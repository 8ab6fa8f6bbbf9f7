/*
 * Timers of one loop: a pairing heap whose nodes live inside their owners, so that arming a timer cannot fail.
 * Arming and disarming cost O(log n) amortised, the next expiry O(1).
 */
#ifndef TNI_IO_TIMER_H
#define TNI_IO_TIMER_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

/* A deadline that is met so late, since the process or the machine had other things to do, says nothing of the peer:
 * what has arrived meanwhile is looked at first. */
#define TNI_LATE_NS (50 * TNI_NS_PER_MS)

struct tni_timer {
	struct tni_timer *child, *next, *prev; /* prev: the parent for a first child */
	uint64_t when_ns;
	void (*fire)(struct tni_timer *timer);
};

struct tni_timers {
	struct tni_timer *root;
};

static inline bool tni_timer_armed(const struct tni_timer *timer)
{
	return timer->prev != 0;
}

/* (Re-)arms the timer for the absolute time `when_ns`. */
void tni_timer_arm(struct tni_timers *timers, struct tni_timer *timer, uint64_t when_ns);

/* Disarms it; nothing happens when it is not armed. */
void tni_timer_disarm(struct tni_timers *timers, struct tni_timer *timer);

/* Fires, in order, what is due at `now_ns`. A timer is disarmed before it fires and may arm itself again. */
void tni_timers_run(struct tni_timers *timers, uint64_t now_ns);

/* When the next timer is due, or TNI_NEVER. */
uint64_t tni_timers_next(const struct tni_timers *timers);

#endif
