/*
 * When memory for received bytes runs out: the tasks that wait for it, and for how long waiting makes sense. And when
 * there is more than is needed: it is given back.
 */
#include "io/turn.h"

static void requeue_starved(struct tn_loop *loop)
{
	tni_list_move(&loop->starved, &loop->ready);
	loop->mem.starved = 0;
	tni_loop_untimer(loop, &loop->starved_retry);
}

static void retry(struct tni_timer *timer)
{
	requeue_starved(tni_container_of(timer, struct tn_loop, starved_retry));
}

static void memory_returned(void *arg)
{
	requeue_starved(arg);
}

#define TRIM_NS TNI_NS_PER_S

static void trim(struct tni_timer *timer)
{
	struct tn_loop *loop = tni_container_of(timer, struct tn_loop, trim);

	loop->mem.grown = tni_mem_trim(&loop->mem);
	if (loop->mem.grown)
		tni_loop_timer(loop, &loop->trim, TRIM_NS);
}

static void memory_grew(void *arg)
{
	struct tn_loop *loop = arg;

	tni_loop_timer(loop, &loop->trim, TRIM_NS);
}

void tni_shortage_init(struct tn_loop *loop)
{
	tni_list_init(&loop->starved);
	loop->starved_retry.fire = retry;
	loop->trim.fire = trim;
	loop->mem.on_return = memory_returned;
	loop->mem.on_growth = memory_grew;
	loop->mem.arg = loop;
}

/* A pause of a shortage that is longer than this ends it; a shortage that is longer is not waited out. */
#define SHORTAGE_PAUSE_NS TNI_NS_PER_S
#define SHORTAGE_MAX_NS (5 * TNI_NS_PER_S)

bool tni_loop_lacks_memory(const struct tn_loop *loop)
{
	return loop->now_ns - loop->short_ns < SHORTAGE_PAUSE_NS &&
	       loop->now_ns - loop->short_since_ns > SHORTAGE_MAX_NS;
}

void tni_loop_starve(struct tn_loop *loop, struct tni_task *task)
{
	if (loop->now_ns - loop->short_ns > SHORTAGE_PAUSE_NS)
		loop->short_since_ns = loop->now_ns;
	loop->short_ns = loop->now_ns;
	if (!tni_list_empty(&task->node))
		return;
	tni_list_add_tail(&loop->starved, &task->node);
	loop->mem.starved = 1;
	/* In case nothing of ours is out that could come back: then only time can help. */
	if (!tni_timer_armed(&loop->starved_retry))
		tni_loop_timer(loop, &loop->starved_retry, 10 * TNI_NS_PER_MS);
}
