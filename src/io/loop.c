#include "io/loop.h"

#include "base/err.h"
#include "io/memory.h"
#include "io/pipes.h"
#include "io/ready.h"
#include "io/turn.h"

#include <errno.h>
#include <stdlib.h>

/* ---- turning ---- */

void tni_loop_settle(struct tn_loop *loop)
{
	struct tni_list *node;

	while ((node = tni_list_pop(&loop->ready))) {
		struct tni_task *task = tni_container_of(node, struct tni_task, node);

		loop->tasks_run++;
		task->run(task);
	}
}

static uint64_t wait_time(const struct tn_loop *loop, uint64_t until_ns)
{
	uint64_t next = tni_loop_due(loop);

	if (until_ns < next)
		next = until_ns;
	if (next == TNI_NEVER)
		return TNI_NEVER;
	return next > loop->now_ns ? next - loop->now_ns : 0;
}

/*
 * A turn inside a turn would hand out the same completions twice, overwrite the list of events that is being worked
 * through, and run a connection's task inside itself.
 */
static int begin_turn(struct tn_loop *loop)
{
	if (loop->embed.on && !pthread_equal(loop->embed.thread, pthread_self()))
		return tni_err(TN_ESTATE, "the loop is embedded in that of another thread, which alone may step it");
	if (loop->turning)
		return tni_err(TN_ESTATE, "the loop runs already: a callback cannot run it again");
	loop->turning = true;
	tni_inbox_enter(loop);
	return 0;
}

static void end_turn(struct tn_loop *loop)
{
	loop->turning = false;
	tni_inbox_leave(loop);
}

/* What needs no event: timers, tasks, descriptors known to have more. */
static void do_due(struct tn_loop *loop)
{
	loop->now_ns = tni_clock_ns();
	loop->costly_ns = 0;
	loop->pushed = 0;
	loop->sigpipe_known = false;
	tni_inbox_run(loop);
	tni_list_move(&loop->later, &loop->ready);
	tni_timers_run(&loop->timers, loop->now_ns);
	tni_loop_settle(loop);
	tni_costly_run(loop);
	tni_ready_pending(loop);
	tni_memory_turn(loop);
}

/* What has been posted is something that is left to be done. */
static bool has_work(struct tn_loop *loop)
{
	return loop->alive || !tni_inbox_is_empty(loop->inbox);
}

static int engine_failed(const struct tn_loop *loop, int rc)
{
	return tni_err(rc, "engine %s: waiting for events: %s", loop->engine->name, tn_strerror(rc));
}

static int wait_events(struct tn_loop *loop, uint64_t until_ns)
{
	uint64_t timeout_ns = wait_time(loop, loop->alive && tni_inbox_is_empty(loop->inbox) ? until_ns : 0);
	int rc = timeout_ns && loop->spin.max_ns ? tni_spin_wait(loop, timeout_ns) : tni_inbox_wait(loop, timeout_ns);

	tni_loop_settle(loop);
	return rc < 0 ? engine_failed(loop, rc) : rc;
}

/* So many turns a loop that ends still makes for connections that have been told to end at once. */
#define LAST_TURNS 100

/*
 * What was posted before is called, and what the engine has yet to tell the kernel is told: a closed socket that a
 * request of the ring's still holds would say nothing to its peer.
 */
static int take_leave(struct tn_loop *loop)
{
	bool last = false;
	int rc = 0;

	tni_inbox_run(loop);
	for (int i = 0; rc >= 0 && !last && i < LAST_TURNS; i++) {
		last = !loop->dying;
		if (!last)
			tni_list_move(&loop->later, &loop->ready);
		tni_loop_settle(loop);
		rc = loop->engine->wait(loop, last ? 0 : TNI_NS_PER_MS);
		tni_loop_settle(loop);
	}
	return rc < 0 ? engine_failed(loop, rc) : 0;
}

/* An embedded loop does not wait for what is dying: it is stepped again. */
static int end_embedded_turn(struct tn_loop *loop, uint64_t completions)
{
	int rc = tni_embed_turned(loop, completions);

	end_turn(loop);
	return rc < 0 ? engine_failed(loop, rc) : has_work(loop) || loop->dying;
}

int tn_loop_step_until(struct tn_loop *loop, uint64_t until_ns)
{
	uint64_t before = loop->tasks_run, completions = loop->completions;
	int rc = begin_turn(loop);

	if (rc < 0)
		return rc;
	do_due(loop);
	/* Something has happened already: its caller, who may have waited for just that,
	 * gets it back without a sleep. */
	rc = wait_events(loop, loop->tasks_run == before ? until_ns : 0);
	if (rc >= 0 && loop->embed.on)
		return end_embedded_turn(loop, completions);
	if (rc >= 0 && !has_work(loop))
		rc = take_leave(loop);
	end_turn(loop);
	return rc < 0 ? rc : has_work(loop);
}

int tn_loop_step(struct tn_loop *loop, int timeout_ms)
{
	if (timeout_ms < 0)
		return tn_loop_step_until(loop, TNI_NEVER);
	return tn_loop_step_until(loop, timeout_ms ? tni_clock_ns() + (uint64_t)timeout_ms * TNI_NS_PER_MS : 0);
}

int tn_loop_run(struct tn_loop *loop)
{
	int rc = begin_turn(loop);

	if (rc < 0)
		return rc;
	while (rc >= 0 && has_work(loop) && !atomic_load(&loop->stop)) {
		do_due(loop);
		rc = wait_events(loop,
				 atomic_load(&loop->stop) ? 0 : TNI_NEVER); /* its wake-up may have been read already */
	}
	if (rc >= 0)
		rc = take_leave(loop);
	atomic_store(&loop->stop, false);
	if (rc >= 0 && loop->embed.on)
		rc = tni_embed_turned(loop, loop->completions);
	end_turn(loop);
	return rc;
}

/* ---- life ---- */

int tn_loop_new(struct tn_loop **out, const char *engine)
{
	struct tn_loop *loop = calloc(1, sizeof(*loop));
	int rc;

	if (!loop)
		return tni_err(-ENOMEM, "new loop: out of memory");
	tni_mem_init(&loop->mem);
	tni_shortage_init(loop);
	tni_list_init(&loop->ready);
	tni_list_init(&loop->later);
	tni_list_init(&loop->costly);
	tni_list_init(&loop->hot);
	tni_list_init(&loop->owned);
	tni_list_init(&loop->helpers);
	loop->spin.max_ns = TNI_SPIN_AUTO_NS;
	loop->now_ns = tni_clock_ns();
	loop->wake.fd = -1;
	rc = tni_engine_choose(loop, engine);
	if (rc < 0) {
		tni_mem_free(&loop->mem);
		free(loop);
		return rc;
	}
	rc = tni_inbox_open(loop);
	if (rc < 0) {
		tn_loop_free(loop);
		return rc;
	}
	*out = loop;
	return 0;
}

static void destroy_all(struct tni_list *list)
{
	struct tni_list all, *node;

	tni_list_init(&all);
	tni_list_move(list, &all);
	while ((node = tni_list_pop(&all))) {
		struct tni_owned *owned = tni_container_of(node, struct tni_owned, node);

		tni_list_add_tail(list, node);
		owned->destroy(owned);
	}
}

/*
 * What is destroyed takes itself off the list, perhaps after a few turns to complete what the kernel holds. Timers and
 * polls come last: an on_close may stop its own.
 */
static void end_owned(struct tn_loop *loop)
{
	for (int round = 0; round < 1000 && !tni_list_empty(&loop->owned); round++) {
		tni_inbox_enter(loop);
		destroy_all(&loop->owned);
		tni_loop_settle(loop);
		if (!tni_list_empty(&loop->owned))
			tn_loop_step(loop, 10);
	}
	tni_inbox_enter(loop);
	destroy_all(&loop->helpers);
}

void tn_loop_free(struct tn_loop *loop)
{
	if (!loop)
		return;
	loop->ending = true;
	loop->embed.on = false; /* it may be freed by another thread than that which embedded it */
	if (loop->inbox) {
		tni_inbox_enter(loop); /* callbacks run as in a turn: who waited for the loop would wait for itself */
		tni_inbox_run(loop);
		end_owned(loop);
		/* What callbacks posted meanwhile; one that posts itself for ever is not followed for ever. */
		for (int round = 0; round < 1000 && !tni_inbox_is_empty(loop->inbox); round++)
			tni_inbox_run(loop);
		tni_inbox_close(loop);
	}
	loop->engine->close(loop);
	tni_pipes_free(loop);
	tni_mem_free(&loop->mem);
	free(loop->slots);
	free(loop->overflow);
	free(loop->dgram_batch);
	free(loop->encoded.data);
	free(loop);
}

const char *tn_loop_engine(const struct tn_loop *loop)
{
	return loop->engine->name;
}

uint64_t tn_loop_now(const struct tn_loop *loop)
{
	return loop->now_ns;
}
