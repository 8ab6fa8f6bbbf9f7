#include "io/timer.h"

#include "base/clock.h"

#include <stddef.h>

/* The root's prev points to itself: that is how an armed timer is told from a disarmed one. */

static struct tni_timer *meld(struct tni_timer *a, struct tni_timer *b)
{
	if (!a || !b)
		return a ? a : b;
	if (b->when_ns < a->when_ns) {
		struct tni_timer *t = a;

		a = b;
		b = t;
	}
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	b->prev = a;
	a->child = b;
	a->next = NULL;
	return a;
}

/* Two passes over a list of siblings: pairs from the left, then melds the pairs from the right. No recursion. */
static struct tni_timer *meld_siblings(struct tni_timer *first)
{
	struct tni_timer *pairs = NULL, *root = NULL;

	while (first) {
		struct tni_timer *a = first, *b = a->next;

		first = b ? b->next : NULL;
		a = meld(a, b); /* which leaves no sibling */
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct tni_timer *next = pairs->next;

		pairs->next = NULL;
		root = meld(root, pairs);
		pairs = next;
	}
	return root;
}

static void set_root(struct tni_timers *timers, struct tni_timer *root)
{
	timers->root = root;
	if (root) {
		root->next = NULL;
		root->prev = root;
	}
}

void tni_timer_disarm(struct tni_timers *timers, struct tni_timer *timer)
{
	struct tni_timer *children;

	if (!tni_timer_armed(timer))
		return;
	children = meld_siblings(timer->child);
	if (timers->root == timer) {
		set_root(timers, children);
	} else {
		if (timer->prev->child == timer)
			timer->prev->child = timer->next;
		else
			timer->prev->next = timer->next;
		if (timer->next)
			timer->next->prev = timer->prev;
		set_root(timers, meld(timers->root, children));
	}
	timer->child = timer->next = timer->prev = NULL;
}

void tni_timer_arm(struct tni_timers *timers, struct tni_timer *timer, uint64_t when_ns)
{
	tni_timer_disarm(timers, timer);
	timer->when_ns = when_ns;
	set_root(timers, meld(timers->root, timer));
}

void tni_timers_run(struct tni_timers *timers, uint64_t now_ns)
{
	while (timers->root && timers->root->when_ns <= now_ns) {
		struct tni_timer *timer = timers->root;

		tni_timer_disarm(timers, timer);
		timer->fire(timer);
	}
}

uint64_t tni_timers_next(const struct tni_timers *timers)
{
	return timers->root ? timers->root->when_ns : TNI_NEVER;
}
