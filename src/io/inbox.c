/* What other threads say to a loop: call this, stop. */
#include "io/inbox.h"

#include "base/err.h"
#include "io/memory.h"
#include "io/turn.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct tni_post tni_inbox_closed;

/* ---- the loop's side ---- */

static void run_all(struct tn_loop *loop, struct tni_post *post)
{
	struct tni_post *oldest = NULL;
	bool quiet;

	while (post) { /* newest first: reverse it */
		struct tni_post *next = post->next;

		post->next = oldest;
		oldest = post;
		post = next;
	}
	while (oldest) {
		post = oldest;
		oldest = post->next;
		quiet = post->quiet;
		loop->tasks_run++; /* tn_loop_step() must not sleep on what this has done */
		post->run(post);
		if (!quiet)
			tni_loop_settle(loop);
	}
	tni_loop_settle(loop);
}

void tni_inbox_run(struct tn_loop *loop)
{
	if (!tni_inbox_is_empty(loop->inbox))
		run_all(loop, atomic_exchange(&loop->inbox->newest, NULL));
}

static void wake_done(struct tni_op *op, int res)
{
	struct tni_fd *fd = tni_container_of(op, struct tni_fd, rd);
	struct tn_loop *loop = tni_container_of(fd, struct tn_loop, wake);
	uint64_t count;

	(void)res;
	if (!op->more) /* an error: it is watched all the same */
		(void)tni_submit(loop, fd, op, TNI_OP_POLL_IN);
	while (read(fd->fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	tni_inbox_run(loop);
}

static void write_wake(struct tni_inbox *inbox)
{
	uint64_t one = 1;

	while (write(inbox->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

int tni_inbox_wait(struct tn_loop *loop, uint64_t timeout_ns)
{
	struct tni_inbox *inbox = loop->inbox;
	int rc;

	if (!timeout_ns && tni_memory_is_enough(loop, loop->now_ns))
		return 0;
	if (!timeout_ns) {
		loop->asked_ns = loop->now_ns;
		return loop->engine->wait(loop, 0);
	}
	if (!tni_memory_sleep(loop))
		return loop->engine->wait(loop, 0);
	/* Who puts something looks whether we sleep, and we look for something once they can see that we do. */
	atomic_store(&inbox->asleep, true);
	rc = loop->engine->wait(loop, tni_inbox_is_empty(inbox) ? timeout_ns : 0);
	atomic_store_explicit(&inbox->asleep, false, memory_order_relaxed);
	return rc;
}

void tni_inbox_enter(struct tn_loop *loop)
{
	atomic_store_explicit(&loop->inbox->runner, (uintptr_t)pthread_self(), memory_order_relaxed);
	atomic_store_explicit(&loop->inbox->asleep, false, memory_order_relaxed);
}

void tni_inbox_leave(struct tn_loop *loop)
{
	atomic_store_explicit(&loop->inbox->runner, 0, memory_order_relaxed);
	atomic_store(&loop->inbox->asleep, true);
	if (!tni_inbox_is_empty(loop->inbox)) /* who put it saw the loop awake */
		write_wake(loop->inbox);
}

bool tni_inbox_is_mine(struct tni_inbox *inbox)
{
	return atomic_load_explicit(&inbox->runner, memory_order_relaxed) == (uintptr_t)pthread_self();
}

int tni_inbox_open(struct tn_loop *loop)
{
	static const struct tni_fd_done done = {.rd = wake_done};
	int fd, rc;

	loop->inbox = calloc(1, sizeof(*loop->inbox));
	if (!loop->inbox)
		return tni_err(-ENOMEM, "new loop: out of memory");
	atomic_store(&loop->inbox->refs, 1);
	atomic_store(&loop->inbox->asleep, true);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return tni_err(-errno, "eventfd: %s", tn_strerror(-errno));
	loop->inbox->wake_fd = fd;
	tni_fd_init(&loop->wake, fd, TNI_FD_POLLED);
	loop->wake.done = &done;
	rc = tni_submit(loop, &loop->wake, &loop->wake.rd, TNI_OP_POLL_IN);
	return rc < 0 ? tni_err(rc, "engine %s: %s", loop->engine->name, tn_strerror(rc)) : 0;
}

void tni_inbox_close(struct tn_loop *loop)
{
	struct tni_inbox *inbox = loop->inbox;

	run_all(loop, atomic_exchange(&inbox->newest, &tni_inbox_closed));
	atomic_store(&inbox->asleep, false); /* nobody writes to the descriptor from now on, but for those who do now */
	/* Who told it to stop, or posted what ended it, may not have come back from waking it yet. */
	while (atomic_load(&inbox->callers))
		sched_yield();
	if (loop->wake.fd >= 0) {
		tni_cancel(loop, &loop->wake, &loop->wake.rd);
		tni_fd_close(loop, &loop->wake);
	}
	atomic_store_explicit(&inbox->runner, 0, memory_order_relaxed);
	loop->inbox = NULL;
	tni_inbox_unref(inbox);
}

void tni_inbox_unref(struct tni_inbox *inbox)
{
	if (atomic_fetch_sub(&inbox->refs, 1) == 1)
		free(inbox);
}

/* ---- everybody's ---- */

int tni_inbox_put(struct tni_inbox *inbox, struct tni_post *post)
{
	struct tni_post *before = atomic_load_explicit(&inbox->newest, memory_order_relaxed);

	do {
		if (before == &tni_inbox_closed)
			return TN_ESTATE;
		post->next = before;
	} while (!atomic_compare_exchange_weak(&inbox->newest, &before, post));
	if (before || !atomic_load(&inbox->asleep))
		return 0; /* who put the first one has seen to it, or the loop looks by itself before it sleeps */
	atomic_fetch_add(&inbox->callers, 1);
	if (atomic_exchange(&inbox->asleep, false))
		write_wake(inbox);
	atomic_fetch_sub(&inbox->callers, 1);
	return 0;
}

void tn_loop_stop(struct tn_loop *loop)
{
	struct tni_inbox *inbox = loop->inbox;

	atomic_fetch_add(&inbox->callers, 1);
	atomic_store(&loop->stop, true);
	write_wake(inbox);
	atomic_fetch_sub(&inbox->callers, 1);
}

int tni_loop_put(struct tn_loop *loop, struct tni_post *post)
{
	struct tni_inbox *inbox = loop->inbox;
	int rc;

	atomic_fetch_add(&inbox->callers, 1);
	rc = tni_inbox_put(inbox, post);
	atomic_fetch_sub(&inbox->callers, 1);
	return rc;
}

struct call {
	struct tni_post post;
	void (*fn)(void *arg);
	void *arg;
};

static void run_call(struct tni_post *post)
{
	struct call *call = tni_container_of(post, struct call, post), copy = *call;

	free(call);
	copy.fn(copy.arg);
}

int tn_loop_post(struct tn_loop *loop, void (*fn)(void *arg), void *arg)
{
	struct call *call = malloc(sizeof(*call));
	int rc;

	if (!call)
		return tni_err(-ENOMEM, "post: out of memory");
	*call = (struct call){.post.run = run_call, .fn = fn, .arg = arg};
	rc = tni_loop_put(loop, &call->post);
	if (rc < 0) {
		free(call);
		return tni_err(rc, "post: the loop is being freed");
	}
	return 0;
}
