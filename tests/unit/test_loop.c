/*
 * What a loop keeps by itself: which engine it has, who has which slot, pipes, since when memory has been short, who
 * wakes it, and when it looks again and again before it sleeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../support/descriptors.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/loop.h"
#include "io/memory.h"
#include "io/pipes.h"
#include "io/ready.h"
#include "io/turn.h"
#include "tenon.h"

static void test_engine_names(void **state)
{
	static const char *const names[] = {"epoll",
					    "sim",
					    "sim:7",
					    "fault:epoll",
					    "fault:epoll:3",
					    "fault:epoll:0:recv=EIO@2",
					    "fault:epoll:0:sendmm=ENOBUFS@1+"};
	static const char *const none[] = {"epol",
					   "epolls",
					   "simple",
					   "sims",
					   "si",
					   "fault:",
					   "fault:epolls",
					   "uring2",
					   "fault:epoll:0:recv=EIO",
					   "fault:epoll:0:recv=EIO@0",
					   "fault:epoll:0:rec=EIO@1",
					   "fault:epoll:0:recv=NONE@1"};
	struct tn_loop *loop;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (tn_loop_new(&loop, names[i]) != 0)
			fail_msg("%s: %s", names[i], tn_errmsg());
		assert_memory_equal(tn_loop_engine(loop), names[i], 3);
		if (!strncmp(names[i], "sim", 3)) /* what happens must not depend on how fast this machine is */
			assert_true(loop->spin.max_ns == 0);
		tn_loop_free(loop);
	}
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		if (tn_loop_new(&loop, none[i]) != -ENOENT)
			fail_msg("%s is an engine", none[i]);
}

/* A key that the kernel gives back names a descriptor in a slot, not who has the slot later. */
static void test_slots_taken_again(void **state)
{
	struct tni_fd first = {.fd = -1}, second = {.fd = -1}, other = {.fd = -1};
	struct tn_loop *loop;
	uint64_t key, next;

	(void)state;
	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	assert_int_equal(tni_slot_take(loop, &other), 0);
	assert_int_equal(tni_slot_take(loop, &first), 0);
	key = tni_slot_key(loop, &first);
	assert_ptr_equal(tni_slot_find(loop, key), &first);
	tni_slot_drop(loop, &first);
	assert_null(tni_slot_find(loop, key));
	assert_int_equal(tni_slot_take(loop, &second), 0);
	next = tni_slot_key(loop, &second);
	assert_int_equal((uint32_t)next, (uint32_t)key); /* the same slot */
	assert_true(next != key);
	assert_null(tni_slot_find(loop, key));
	assert_ptr_equal(tni_slot_find(loop, next), &second);
	assert_ptr_equal(tni_slot_find(loop, tni_slot_key(loop, &other)), &other);
	assert_null(tni_slot_find(loop, UINT32_MAX));
	tni_slot_drop(loop, &second);
	tni_slot_drop(loop, &other);
	tn_loop_free(loop);
}

#define MANY 200

/* The next to be tried, of those that were pending when the round began. */
static struct tni_fd *begin_round(struct tn_loop *loop, uint32_t *round)
{
	*round = loop->pending;
	loop->pending = loop->last_pending = 0;
	return tni_slot_pop_pending(loop, round);
}

/* In the order in which they came, each once; whoever has gone meanwhile is left out, and its slot is nobody else's
 * until then. */
static void test_pending_in_order(void **state)
{
	struct tni_fd fds[MANY] = {0}, late = {0};
	struct tn_loop *loop;
	uint32_t round, dropped;

	(void)state;
	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(tni_slot_take(loop, &fds[i]), 0);
		assert_true(fds[i].slot > 0 && (!i || fds[i].slot != fds[i - 1].slot));
	}
	for (int i = 0; i < MANY; i++)
		assert_ptr_equal(tni_slot_find(loop, tni_slot_key(loop, &fds[i])), &fds[i]);
	assert_true(tn_loop_step(loop, 0) >= 0); /* its own */
	assert_int_equal(loop->pending, 0);
	for (int i = 5; i < 10; i++) {
		tni_slot_put_pending(loop, &fds[i]);
		tni_slot_put_pending(loop, &fds[5]); /* which is there already */
	}
	dropped = fds[7].slot;
	tni_slot_drop(loop, &fds[7]);
	tni_slot_drop(loop, &fds[9]);
	assert_int_equal(tni_slot_take(loop, &late), 0);
	assert_true(late.slot != dropped);
	assert_ptr_equal(begin_round(loop, &round), &fds[5]);
	tni_slot_put_pending(loop, &fds[5]); /* for the next round */
	assert_ptr_equal(tni_slot_pop_pending(loop, &round), &fds[6]);
	assert_ptr_equal(tni_slot_pop_pending(loop, &round), &fds[8]);
	assert_null(tni_slot_pop_pending(loop, &round));
	assert_int_equal(tni_slot_take(loop, &fds[7]), 0);
	assert_int_equal(tni_slot_take(loop, &fds[9]), 0);
	assert_true(fds[7].slot == dropped || fds[9].slot == dropped);
	assert_ptr_equal(begin_round(loop, &round), &fds[5]);
	assert_null(tni_slot_pop_pending(loop, &round));
	for (int i = 0; i < MANY; i++)
		tni_slot_drop(loop, &fds[i]);
	tni_slot_drop(loop, &late);
	tn_loop_free(loop);
}

/* ---- pipes ---- */

#define PIPES 64

static void test_pipes(void **state)
{
	struct tni_pipe *pipes[PIPES], *first;
	struct tn_loop *loop;
	int before, fd;
	char byte;

	(void)state;
	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	before = support_count_fds();
	for (int i = 0; i < PIPES; i++) {
		pipes[i] = tni_pipe_get(loop);
		assert_non_null(pipes[i]);
		assert_int_equal(pipes[i]->len, 0);
		assert_int_equal(write(pipes[i]->wr, &(char){(char)i}, 1), 1);
	}
	assert_null(tni_pipe_get(loop)); /* as many as there may be */
	assert_int_equal(support_count_fds(), before + 2 * PIPES);
	for (int i = 0; i < PIPES; i++) {
		assert_int_equal(read(pipes[i]->rd, &byte, 1), 1);
		assert_int_equal(byte, i);
		assert_int_equal(read(pipes[i]->rd, &byte, 1), -1); /* nobody waits in it */
		assert_int_equal(errno, EAGAIN);
	}
	/* One that holds something is no use to the next; others are, up to eight. */
	fd = pipes[0]->rd;
	pipes[0]->len = 1;
	tni_pipe_put(loop, pipes[0]);
	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, EBADF);
	first = pipes[1];
	tni_pipe_put(loop, pipes[1]);
	assert_ptr_equal(tni_pipe_get(loop), first);
	for (int i = 1; i < 40; i++)
		tni_pipe_put(loop, pipes[i]);
	assert_int_equal(support_count_fds(), before + 2 * (PIPES - 40 + 8));
	for (int i = 1; i < 40; i++)
		assert_non_null(pipes[i] = tni_pipe_get(loop));
	assert_non_null(pipes[0] = tni_pipe_get(loop));
	assert_null(tni_pipe_get(loop));
	for (int i = 0; i < PIPES; i++)
		tni_pipe_put(loop, pipes[i]);
	assert_int_equal(support_count_fds(), before); /* nobody uses one any more */
	assert_non_null(pipes[0] = tni_pipe_get(loop));
	tni_pipe_put(loop, pipes[0]);
	tn_loop_free(loop);
}

/* ---- an engine that sees no events by itself, and a clock that nothing else on the machine puts on ---- */

static struct {
	struct tni_engine_ops ops;
	int looks, sleeps; /* since the last count */
	uint64_t last_ns;  /* how long it was to sleep */
	bool was_asleep;
	int event_at; /* the look that finds one; 0: none does */
	unsigned sleep_ms;
	uint64_t now_ns; /* 0: it is the system's time */
} mute;

/* Link with -Wl,--wrap=clock_gettime. */
int __real_clock_gettime(clockid_t id, struct timespec *now);
int __wrap_clock_gettime(clockid_t id, struct timespec *now);

/* A microsecond a look. */
int __wrap_clock_gettime(clockid_t id, struct timespec *now)
{
	if (!mute.now_ns)
		return __real_clock_gettime(id, now);
	mute.now_ns += TNI_NS_PER_US;
	*now = (struct timespec){.tv_sec = (time_t)(mute.now_ns / TNI_NS_PER_S),
				 .tv_nsec = (long)(mute.now_ns % TNI_NS_PER_S)};
	return 0;
}

static int mute_wait(struct tn_loop *loop, uint64_t timeout_ns)
{
	if (timeout_ns) {
		mute.sleeps++;
		mute.last_ns = timeout_ns;
		mute.was_asleep = loop->inbox->asleep;
		mute.now_ns += mute.sleep_ms * TNI_NS_PER_MS;
	} else if (++mute.looks == mute.event_at) {
		loop->completions++;
	}
	return 0;
}

static struct tn_loop *mute_loop(void)
{
	struct tn_loop *loop;

	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	memset(&mute, 0, sizeof(mute));
	mute.ops = *loop->engine;
	mute.ops.wait = mute_wait;
	mute.now_ns = tni_clock_ns();
	loop->engine = &mute.ops;
	tni_inbox_enter(loop);
	return loop;
}

static void mute_free(struct tn_loop *loop)
{
	tn_loop_free(loop);
	mute.now_ns = 0;
}

/* Whether it looked again and again; it sleeps where that finds nothing. */
static bool spun(struct tn_loop *loop, uint64_t timeout_ns)
{
	mute.looks = mute.sleeps = 0;
	assert_int_equal(tni_spin_wait(loop, timeout_ns), 0);
	return mute.looks > 1;
}

#define SPIN_NS (2 * TNI_NS_PER_MS)

static void test_spinning_is_earned_and_paid_for(void **state)
{
	struct tn_loop *loop = mute_loop();

	(void)state;
	loop->spin.max_ns = SPIN_NS;
	assert_false(spun(loop, TNI_NEVER));
	assert_false(spun(loop, TNI_NEVER));
	assert_int_equal(mute.sleeps, 1);
	assert_true(mute.last_ns == TNI_NEVER);
	for (int wait = 1; wait <= 4; wait *= 2) { /* two short gaps: it pays perhaps; each time in vain is dearer */
		uint64_t idle = tn_loop_spun_ns(loop);

		assert_true(spun(loop, TNI_NEVER));
		assert_int_equal(mute.sleeps, 1);
		assert_true(tn_loop_spun_ns(loop) - idle > SPIN_NS / 2);
		for (int i = 0; i < wait; i++)
			assert_false(spun(loop, TNI_NEVER));
	}
	/* Found: no sleep, and nothing to be paid for; the time until then was waiting, too. */
	mute.event_at = 3;
	for (int i = 0; i < 3; i++) {
		uint64_t idle = tn_loop_spun_ns(loop);

		assert_true(spun(loop, TNI_NEVER));
		assert_int_equal(mute.looks, 3);
		assert_int_equal(mute.sleeps, 0);
		assert_true(tn_loop_spun_ns(loop) > idle);
	}
	mute.event_at = 0;
	assert_true(spun(loop, TNI_NEVER));
	assert_false(spun(loop, TNI_NEVER));
	assert_true(spun(loop, TNI_NEVER));
	loop->spin.backoff = 100; /* there is a most */
	loop->spin.skip = 0;
	assert_true(spun(loop, TNI_NEVER));
	assert_int_equal(loop->spin.skip, 128);
	loop->spin.skip = 0;
	/* A long gap: all of it is to be earned again. */
	mute.sleep_ms = 200;
	spun(loop, TNI_NEVER);
	mute.sleep_ms = 0;
	loop->spin.skip = 0;
	assert_false(spun(loop, TNI_NEVER));
	assert_false(spun(loop, TNI_NEVER));
	assert_true(spun(loop, TNI_NEVER));
	loop->spin.max_ns = 0;
	assert_false(spun(loop, TNI_NEVER));
	mute_free(loop);
}

static void post_nothing(void *arg)
{
	(void)arg;
}

static void test_spinning_ends_for_what_is_due(void **state)
{
	struct tn_loop *loop = mute_loop();

	(void)state;
	loop->spin.max_ns = SPIN_NS;
	spun(loop, TNI_NEVER);
	spun(loop, TNI_NEVER);
	assert_false(spun(loop, 50 * TNI_NS_PER_US)); /* not worth it */
	assert_int_equal(mute.sleeps, 1);
	assert_true(spun(loop, 200 * TNI_NS_PER_US)); /* as far as it goes, which is no sign that it is in vain */
	assert_int_equal(mute.sleeps, 0);
	assert_true(spun(loop, SPIN_NS * 50));
	assert_int_equal(mute.sleeps, 1); /* for the rest of the time */
	assert_in_range(mute.last_ns, SPIN_NS, SPIN_NS * 49);
	loop->spin.skip = 0;
	assert_int_equal(tn_loop_post(loop, post_nothing, NULL), 0);
	assert_false(spun(loop, TNI_NEVER));
	assert_int_equal(mute.looks, 1);
	assert_int_equal(mute.sleeps, 0);
	tni_inbox_run(loop);
	loop->spin.skip = 0;
	atomic_store(&loop->stop, true);
	assert_false(spun(loop, TNI_NEVER));
	assert_int_equal(mute.looks, 1);
	mute_free(loop);
}

/* The same in a turn: a loop that waits for something looks before it sleeps, where that is to pay. */
static void test_a_turn_looks_before_it_sleeps(void **state)
{
	struct tn_loop *loop = mute_loop();

	(void)state;
	loop->spin.max_ns = SPIN_NS;
	loop->alive++;
	for (int i = 0; i < 3; i++) {
		mute.looks = mute.sleeps = 0;
		assert_true(tn_loop_step(loop, 1000) >= 0);
		assert_int_equal(mute.looks > 1, i == 2);
		assert_int_equal(mute.sleeps, 1);
	}
	mute.looks = mute.sleeps = 0;
	assert_true(tn_loop_step(loop, 0) >= 0);
	assert_int_equal(mute.looks, 1);
	assert_int_equal(mute.sleeps, 0);
	loop->alive--;
	mute_free(loop);
}

/* Whether an embedded loop wants to be stepped again at once, `ago` after its last turn with events. */
static bool again(struct tn_loop *loop, bool found, uint64_t ago_ns)
{
	loop->now_ns = tni_clock_ns();
	loop->spin.quiet_ns = loop->now_ns - ago_ns;
	tni_spin_turned(loop, found);
	return loop->spin.again;
}

static void test_spinning_of_an_embedder(void **state)
{
	struct tn_loop *loop = mute_loop();

	(void)state;
	loop->spin.max_ns = 0;
	assert_false(again(loop, true, 0));
	loop->spin.max_ns = 10 * TNI_NS_PER_S; /* the clock counts from the machine's start, which may be minutes ago */
	assert_false(again(loop, true, 0));
	assert_true(again(loop, true, 0));
	assert_true(again(loop, false, TNI_NS_PER_S)); /* it goes on looking */
	assert_int_equal(loop->spin.skip, 0);
	assert_true(again(loop, true, TNI_NS_PER_S));
	assert_true(tn_loop_spun_ns(loop) >= TNI_NS_PER_S);
	assert_false(again(loop, false, loop->spin.max_ns)); /* in vain */
	assert_int_equal(loop->spin.skip, 1);
	assert_false(again(loop, true, TNI_NS_PER_S));
	assert_true(again(loop, true, TNI_NS_PER_S));
	assert_false(again(loop, true, 3 * loop->spin.max_ns)); /* a long gap */
	assert_false(again(loop, true, 0));
	assert_true(again(loop, true, 0));
	loop->spin.again = false;
	tni_loop_timer(loop, &loop->trim, 10 * TNI_NS_PER_US); /* what is due soon is worth none */
	assert_false(again(loop, true, 0));
	tni_loop_untimer(loop, &loop->trim);
	mute_free(loop);
}

/* ---- waking ---- */

/* How often it has been woken since the last count. */
static uint64_t wakes(const struct tn_loop *loop)
{
	uint64_t n = 0;

	return read(loop->inbox->wake_fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void test_who_wakes_the_loop(void **state)
{
	struct tn_loop *loop = mute_loop();

	(void)state;
	/* Inside a turn it looks by itself, and behind it for what came last. */
	assert_true(tni_inbox_is_mine(loop->inbox));
	assert_int_equal(tn_loop_post(loop, post_nothing, NULL), 0);
	assert_int_equal(wakes(loop), 0);
	mute.looks = mute.sleeps = 0;
	assert_int_equal(tni_inbox_wait(loop, TNI_NEVER), 0); /* there is something: it does not sleep */
	assert_int_equal(mute.sleeps, 0);
	tni_inbox_leave(loop);
	assert_false(tni_inbox_is_mine(loop->inbox));
	assert_int_equal(wakes(loop), 1);
	/* Outside, the first that puts something wakes it; and so again when that has been taken. */
	tni_inbox_enter(loop);
	tni_inbox_run(loop);
	tni_inbox_leave(loop);
	assert_int_equal(wakes(loop), 0);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++)
			assert_int_equal(tn_loop_post(loop, post_nothing, NULL), 0);
		assert_int_equal(wakes(loop), 1);
		tni_inbox_enter(loop);
		tni_inbox_run(loop);
		tni_inbox_leave(loop);
	}
	/* While it sleeps everybody can see that. */
	tni_inbox_enter(loop);
	assert_int_equal(tni_inbox_wait(loop, TNI_NS_PER_MS), 0);
	assert_int_equal(mute.sleeps, 1);
	assert_true(mute.was_asleep);
	assert_int_equal(tn_loop_post(loop, post_nothing, NULL), 0);
	assert_int_equal(wakes(loop), 0);
	tni_inbox_run(loop);
	/* Told to stop, it is woken in any case. */
	tn_loop_stop(loop);
	tn_loop_stop(loop);
	assert_int_equal(wakes(loop), 2);
	mute_free(loop);
}

/* ---- memory ---- */

static void nothing(struct tni_task *task)
{
	(void)task;
}

static int nruns;

static void count_run(struct tni_task *task)
{
	(void)task;
	nruns++;
}

/* Who waits for memory runs when some has come back, once; or when there is nothing of ours that could, soon. */
static void test_who_waits_for_memory(void **state)
{
	struct tni_task task = {.run = count_run};
	struct tni_blk *blk;
	struct tn_loop *loop;

	(void)state;
	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	tni_list_init(&task.node);
	blk = tni_blk_get(&loop->mem.large);
	assert_non_null(blk);
	nruns = 0;
	tni_loop_starve(loop, &task);
	tni_loop_starve(loop, &task);
	tni_loop_settle(loop);
	assert_int_equal(nruns, 0);
	tni_blk_unref(blk);
	tni_loop_settle(loop);
	assert_int_equal(nruns, 1);
	assert_false(tni_timer_armed(&loop->starved_retry));
	tni_blk_unref(tni_blk_get(&loop->mem.large)); /* nobody waits now */
	tni_loop_settle(loop);
	assert_int_equal(nruns, 1);
	loop->alive++;
	tni_loop_starve(loop, &task);
	for (int i = 0; i < 1000 && nruns == 1; i++)
		assert_true(tn_loop_step(loop, 10) >= 0);
	assert_int_equal(nruns, 2);
	loop->alive--;
	tn_loop_free(loop);
}

/* Memory that is short for more than five seconds, with no second between, is not waited for any longer. */
static void test_a_shortage_that_lasts(void **state)
{
	struct tni_task task = {.run = nothing};
	struct tn_loop *loop;
	uint64_t start;

	(void)state;
	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	tni_list_init(&task.node);
	start = loop->now_ns + 100 * TNI_NS_PER_S;
	loop->now_ns = start;
	assert_false(tni_loop_lacks_memory(loop));
	for (unsigned half = 0; half <= 10; half++) {
		loop->now_ns = start + half * TNI_NS_PER_S / 2;
		tni_loop_starve(loop, &task);
		assert_false(tni_loop_lacks_memory(loop));
	}
	loop->now_ns += TNI_NS_PER_S / 2;
	tni_loop_starve(loop, &task);
	assert_true(tni_loop_lacks_memory(loop));
	/* It is over when a second has passed without; the next one begins anew. */
	loop->now_ns += 2 * TNI_NS_PER_S;
	assert_false(tni_loop_lacks_memory(loop));
	tni_loop_starve(loop, &task);
	assert_false(tni_loop_lacks_memory(loop));
	tni_list_del(&task.node);
	tn_loop_free(loop);
}

/* ---- descriptors whose bytes go through memory ---- */

#ifdef TNI_HAVE_SHM

/* The other side of one, as the test plays it. */
struct far {
	struct tni_memory memory;
	struct tni_fd io;
	int pipe[2];
	bool news, news_as_it_sleeps;
	int news_at; /* the look that finds some; 0: none does */
	int looks, sleeps, wakes, results;
	unsigned asleep_for;
};

static struct far *far_of(const struct tni_memory *m)
{
	return (struct far *)(uintptr_t)tni_container_of(m, struct far, memory);
}

static int far_attempt(struct tn_loop *loop, struct tni_memory *m, struct tni_op *op)
{
	struct far *f = far_of(m);

	if (!f->news)
		return -EAGAIN;
	f->news = false;
	op->blk = tni_blk_get(&loop->mem.large);
	assert_non_null(op->blk);
	op->blk->used = 1;
	return 1;
}

static unsigned far_look(const struct tni_memory *m, unsigned want)
{
	struct far *f = far_of(m);

	assert_int_equal(want, TNI_RD);
	f->looks++;
	f->news = f->news || f->looks == f->news_at;
	return f->news ? TNI_RD : 0;
}

static void far_sleep(struct tni_memory *m, unsigned want)
{
	struct far *f = far_of(m);

	f->sleeps++;
	f->asleep_for = want;
	f->news = f->news || f->news_as_it_sleeps;
	f->news_as_it_sleeps = false;
}

static void far_wake(struct tni_memory *m)
{
	far_of(m)->wakes++;
	far_of(m)->asleep_for = 0;
}

static void far_done(struct tni_op *op, int res)
{
	struct tni_fd *io = tni_container_of(op, struct tni_fd, rd);

	assert_int_equal(res, 1);
	far_of(tni_memory_of(io))->results++;
	tni_blk_unref(op->blk);
}

/* Somebody reads from it: it is hot. */
static void far_begin(struct tn_loop *loop, struct far *f)
{
	static const struct tni_memory_ops ops = {
		.attempt = far_attempt, .look = far_look, .sleep = far_sleep, .wake = far_wake};

	*f = (struct far){.memory = {.done = {.rd = far_done}, .ops = &ops, .fd = &f->io}};
	tni_list_init(&f->memory.node);
	assert_int_equal(pipe(f->pipe), 0);
	tni_fd_init(&f->io, f->pipe[0], TNI_FD_MEMORY | TNI_FD_POLLED);
	f->io.done = &f->memory.done;
	assert_int_equal(tni_submit(loop, &f->io, &f->io.rd, TNI_OP_RECV), 0);
	assert_int_equal(f->wakes, 1);
	assert_true(tni_memory_is_hot(loop));
}

static void far_end(struct tn_loop *loop, struct far *f)
{
	tni_list_del(&f->memory.node);
	tni_cancel(loop, &f->io, &f->io.rd);
	tni_fd_close(loop, &f->io);
	close(f->pipe[1]);
}

/* Looked at in each turn, until nothing was there for 64 of them; then it is asleep, unless something comes just then.
 */
static void test_memory_cools_down(void **state)
{
	struct tn_loop *loop = mute_loop();
	struct far f;

	(void)state;
	far_begin(loop, &f);
	for (int round = 0; round < 2; round++) {
		f.looks = f.sleeps = 0;
		for (int turn = 1; turn < 64; turn++) {
			tni_memory_turn(loop);
			assert_int_equal(f.looks, turn);
		}
		if (round == 0) {
			f.news = true; /* in the last turn: the count begins anew */
			tni_memory_turn(loop);
			assert_int_equal(f.results, 1);
			assert_int_equal(f.sleeps, 0);
		}
	}
	assert_true(tni_memory_is_hot(loop));
	for (int i = 0; i < 100; i++)
		tni_memory_look(loop); /* no turn, but a spin */
	assert_int_equal(f.sleeps, 0);
	assert_true(tni_memory_is_hot(loop));
	tni_memory_turn(loop);
	assert_int_equal(f.sleeps, 1);
	assert_int_equal(f.asleep_for, TNI_RD);
	assert_false(tni_memory_is_hot(loop));
	f.looks = 0;
	tni_memory_turn(loop);
	tni_memory_look(loop);
	assert_int_equal(f.looks, 0);
	/* The descriptor tells: it is hot again, for another 64 turns. */
	f.news = true;
	tni_ready_event(loop, &f.io, TNI_RD);
	assert_int_equal(f.results, 2);
	assert_int_equal(f.wakes, 2);
	assert_int_equal(f.asleep_for, 0);
	for (int turn = 1; turn < 64; turn++)
		tni_memory_turn(loop);
	assert_int_equal(f.sleeps, 1);
	f.news_as_it_sleeps = true;
	tni_memory_turn(loop);
	assert_int_equal(f.sleeps, 2);
	assert_int_equal(f.wakes, 3);
	assert_true(tni_memory_is_hot(loop));
	tni_memory_turn(loop);
	assert_int_equal(f.results, 3);
	/* Nobody waits: it is not looked at. */
	tni_cancel(loop, &f.io, &f.io.rd);
	f.looks = 0;
	tni_memory_turn(loop);
	assert_int_equal(f.looks, 0);
	assert_false(tni_memory_is_hot(loop));
	far_end(loop, &f);
	mute_free(loop);
}

/* A loop that sleeps tells all of them, and does not where something has come. */
static void test_memory_before_the_loop_sleeps(void **state)
{
	struct tn_loop *loop = mute_loop();
	struct far quiet, lively;

	(void)state;
	tni_ready_pending(loop); /* its own */
	far_begin(loop, &quiet);
	far_begin(loop, &lively);
	assert_int_equal(tni_inbox_wait(loop, TNI_NEVER), 0);
	assert_int_equal(mute.sleeps, 1);
	assert_int_equal(quiet.asleep_for, TNI_RD);
	assert_int_equal(lively.asleep_for, TNI_RD);
	assert_false(tni_memory_is_hot(loop));
	tni_memory_heat(loop, &quiet.memory);
	tni_memory_heat(loop, &lively.memory);
	lively.news_as_it_sleeps = true;
	mute.sleeps = mute.looks = 0;
	assert_int_equal(tni_inbox_wait(loop, TNI_NEVER), 0);
	assert_int_equal(mute.sleeps, 0);
	assert_int_equal(mute.looks, 1);
	assert_int_equal(quiet.asleep_for, TNI_RD);
	assert_int_equal(lively.asleep_for, 0);
	assert_int_equal(lively.results, 0); /* it is the next turn's */
	assert_int_equal(tni_ready_pending(loop), 1);
	assert_int_equal(lively.results, 1);
	assert_int_equal(quiet.results, 0);
	far_end(loop, &quiet);
	far_end(loop, &lively);
	mute_free(loop);
}

static bool owes_something(const struct tn_loop *loop)
{
	(void)loop;
	return true;
}

/* What comes through memory at once costs no system call; but sockets have their turn every 20 us. */
static void test_memory_while_it_spins(void **state)
{
	struct tn_loop *loop = mute_loop();
	struct far f;

	(void)state;
	far_begin(loop, &f);
	assert_true(tni_memory_is_enough(loop, loop->asked_ns + 19999));
	assert_false(tni_memory_is_enough(loop, loop->asked_ns + 20000));
	mute.ops.owes = owes_something;
	assert_false(tni_memory_is_enough(loop, loop->asked_ns));
	mute.ops.owes = NULL;
	loop->spin = (struct tni_spin){.max_ns = SPIN_NS, .credit = 2, .backoff = 4};
	f.news_at = 5;
	loop->asked_ns = loop->now_ns;
	assert_int_equal(tni_spin_wait(loop, TNI_NEVER), 0);
	assert_int_equal(f.results, 1);
	assert_int_equal(mute.looks + mute.sleeps, 0);
	assert_int_equal(loop->spin.backoff, 0); /* it has paid */
	f.looks = 0;
	f.news_at = 100;
	assert_int_equal(tni_spin_wait(loop, TNI_NEVER), 0);
	assert_int_equal(f.results, 2);
	assert_int_equal(mute.sleeps, 0);
	far_end(loop, &f);
	assert_false(tni_memory_is_enough(loop, loop->asked_ns));
	mute_free(loop);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_engine_names),
		cmocka_unit_test(test_slots_taken_again),
		cmocka_unit_test(test_pending_in_order),
		cmocka_unit_test(test_pipes),
		cmocka_unit_test(test_spinning_is_earned_and_paid_for),
		cmocka_unit_test(test_spinning_ends_for_what_is_due),
		cmocka_unit_test(test_a_turn_looks_before_it_sleeps),
		cmocka_unit_test(test_spinning_of_an_embedder),
		cmocka_unit_test(test_who_wakes_the_loop),
		cmocka_unit_test(test_who_waits_for_memory),
		cmocka_unit_test(test_a_shortage_that_lasts),
#ifdef TNI_HAVE_SHM
		cmocka_unit_test(test_memory_cools_down),
		cmocka_unit_test(test_memory_before_the_loop_sleeps),
		cmocka_unit_test(test_memory_while_it_spins),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
