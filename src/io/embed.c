/* A loop inside another one: what that has to watch, and when to step. */
#include "base/err.h"
#include "io/memory.h"
#include "io/turn.h"

#include <limits.h>

static bool owes(const struct tn_loop *loop)
{
	return loop->engine->owes && loop->engine->owes(loop);
}

int tn_loop_fd(struct tn_loop *loop)
{
	int fd;

	if (loop->embed.on && !pthread_equal(loop->embed.thread, pthread_self()))
		return tni_err(TN_ESTATE, "the loop is embedded in that of another thread");
	if (loop->embed.on)
		return loop->embed.fd;
	fd = loop->engine->open_pollable(loop);
	if (fd < 0)
		return tni_err(fd, "engine %s: a descriptor to poll: %s", loop->engine->name, tn_strerror(fd));
	loop->embed = (struct tni_embed){.on = true, .fd = fd, .thread = pthread_self()};
	return fd;
}

uint64_t tn_loop_deadline(const struct tn_loop *loop)
{
	if (loop->spin.again || tni_memory_is_hot(loop) || !tni_inbox_is_empty(loop->inbox) || owes(loop))
		return 0;
	return tni_loop_due(loop);
}

int tn_loop_timeout_ms(const struct tn_loop *loop)
{
	uint64_t deadline = tn_loop_deadline(loop), now = deadline && deadline != TNI_NEVER ? tni_clock_ns() : 0, ms;

	if (deadline == TNI_NEVER)
		return -1;
	if (deadline <= now)
		return 0;
	ms = (deadline - now - 1) / TNI_NS_PER_MS + 1;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* What callbacks have sent goes to the kernel in this turn; who never comes to an end goes on in the next one. */
#define FLUSHES 4

int tni_embed_turned(struct tn_loop *loop, uint64_t completions)
{
	const struct tni_engine_ops *engine = loop->engine;
	int rc = 0;

	for (int i = 0; rc >= 0 && i < FLUSHES && (i == 0 || owes(loop)); i++) {
		if (owes(loop))
			rc = engine->wait(loop, 0);
		tni_loop_settle(loop);
		if (rc >= 0 && engine->after_turn)
			rc = engine->after_turn(loop);
		tni_loop_settle(loop);
	}
	tni_spin_turned(loop, loop->completions != completions);
	if (!loop->spin.again)
		(void)tni_memory_sleep(loop); /* what it finds is pending */
	return rc;
}
