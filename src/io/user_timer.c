/* Timers of the user's: tn_timer_start(), tn_timer_repeat(). */
#include "base/err.h"
#include "io/loop.h"

#include <errno.h>
#include <stdlib.h>

struct tn_timer {
	struct tni_owned owned;
	struct tni_timer timer;
	struct tni_task task;
	struct tn_loop *loop;
	void (*fn)(void *arg);
	void *arg;
	uint64_t period_ns; /* 0: it is not armed again */
	bool once;          /* freed when it fires */
	bool background;    /* does not keep the loop running */
	bool counted;       /* among what keeps it running */
};

/* One that has fired counts until its task has run, which is in the same turn. */
static void count(struct tn_timer *t)
{
	bool counted = !t->background && tni_timer_armed(&t->timer);

	t->loop->alive += counted;
	t->loop->alive -= t->counted;
	t->counted = counted;
}

static void disarm(struct tn_timer *t)
{
	tni_loop_untimer(t->loop, &t->timer);
	tni_list_del(&t->task.node);
}

static void timer_free(struct tn_timer *t)
{
	disarm(t);
	count(t);
	tni_list_del(&t->owned.node);
	free(t);
}

static void timer_destroy(struct tni_owned *owned)
{
	timer_free(tni_container_of(owned, struct tn_timer, owned));
}

static void timer_fire(struct tni_timer *timer)
{
	struct tn_timer *t = tni_container_of(timer, struct tn_timer, timer);

	tni_loop_ready(t->loop, &t->task);
}

/* The next time of the series that is still to come: those that were missed are not made up for. */
static uint64_t next_time(const struct tn_timer *t)
{
	uint64_t now = tni_clock_ns(), when = tni_ns_add(t->timer.when_ns, t->period_ns);

	if (when > now)
		return when;
	return tni_ns_add(when, ((now - when) / t->period_ns + 1) * t->period_ns);
}

static void timer_run(struct tni_task *task)
{
	struct tn_timer *t = tni_container_of(task, struct tn_timer, task);
	void (*fn)(void *arg) = t->fn;
	void *arg = t->arg;

	if (t->once) {
		timer_free(t);
	} else {
		if (t->period_ns)
			tni_timer_arm(&t->loop->timers, &t->timer, next_time(t));
		count(t);
	}
	fn(arg);
}

static int timer_new(struct tn_loop *loop, void (*fn)(void *arg), void *arg, struct tn_timer **out)
{
	struct tn_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return tni_err(-ENOMEM, "timer: out of memory");
	*t = (struct tn_timer){.loop = loop, .fn = fn, .arg = arg};
	t->owned.destroy = timer_destroy;
	t->timer.fire = timer_fire;
	t->task.run = timer_run;
	tni_list_init(&t->task.node);
	tni_list_add_tail(&loop->helpers, &t->owned.node);
	*out = t;
	return 0;
}

int tn_timer_start(struct tn_loop *loop, uint64_t delay_ms, void (*fn)(void *arg), void *arg, struct tn_timer **out)
{
	struct tn_timer *t;
	int rc = timer_new(loop, fn, arg, &t);

	if (rc < 0)
		return rc;
	t->once = true;
	tn_timer_again(t, tni_ns_of_ms(delay_ms), 0);
	if (out)
		*out = t;
	return 0;
}

int tn_timer_repeat(struct tn_loop *loop, uint64_t delay_ns, uint64_t period_ns, void (*fn)(void *arg), void *arg,
		    struct tn_timer **out)
{
	int rc = timer_new(loop, fn, arg, out);

	if (rc == 0)
		tn_timer_again(*out, delay_ns, period_ns);
	return rc;
}

void tn_timer_again(struct tn_timer *t, uint64_t delay_ns, uint64_t period_ns)
{
	disarm(t);
	t->period_ns = period_ns;
	if (delay_ns != TNI_NEVER)
		tni_loop_timer(t->loop, &t->timer, delay_ns);
	count(t);
}

void tn_timer_keep_loop(struct tn_timer *t, bool keep)
{
	t->background = !keep;
	count(t);
}

void tn_timer_stop(struct tn_timer *t)
{
	if (t)
		timer_free(t);
}
