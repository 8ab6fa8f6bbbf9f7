#include "lane.h"

#include <stdatomic.h>
#include <stddef.h>

#include "common/complain.h"
#include "common/workers.h"
#include "tenon.h"

#define TICK_MS 100

static _Thread_local struct lane {
	struct tn_loop *loop;
	struct member *first;
	member_tick tick;
	struct tn_timer *timer;
	bool timed;
} lane;

static _Atomic(bool) draining;

static void tick(void *arg);

static void run(struct tn_loop *loop)
{
	lane.loop = loop;
	if (lane.timer || !lane.first || !(lane.timed || draining))
		return;
	if (tn_timer_start(loop, TICK_MS, tick, NULL, &lane.timer) < 0)
		complain("%s", tn_errmsg());
}

void lane_each(void (*fn)(struct member *member, void *arg), void *arg)
{
	for (struct member *member = lane.first, *next; member; member = next) {
		next = member->next;
		fn(member, arg);
	}
}

/* A member may end itself, but no other. */
static void tick(void *arg)
{
	uint64_t now = tn_loop_now(lane.loop);

	(void)arg;
	lane.timer = NULL;
	for (struct member *member = lane.first, *next; member; member = next) {
		next = member->next;
		lane.tick(member, now, draining);
	}
	lane.timed = lane.timed && lane.first;
	run(lane.loop);
}

void lane_join(struct tn_loop *loop, struct member *member, member_tick on_tick)
{
	lane.tick = on_tick;
	member->next = lane.first;
	member->link = &lane.first;
	if (lane.first)
		lane.first->link = &member->next;
	lane.first = member;
	run(loop);
}

void lane_leave(struct member *member)
{
	*member->link = member->next;
	if (member->next)
		member->next->link = member->link;
}

void lane_start_ticking(struct tn_loop *loop)
{
	lane.timed = true;
	run(loop);
}

static void drain(void *arg)
{
	(void)arg;
	if (lane.loop)
		run(lane.loop);
}

/* A loop that has gone has no sessions. */
void lanes_drain(void)
{
	draining = true;
	for (int i = 0; i < workers_count(); i++)
		(void)workers_post_to(i, drain, NULL);
}
