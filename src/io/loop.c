#include "io/loop.h"

#include "base/err.h"
#include "base/log.h"
#include "io/fault.h"
#include "io/ready.h"
#include "io/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- slots ---- */

static int grow_slots(struct tn_loop *loop)
{
	uint32_t n = loop->cap_slots ? loop->cap_slots * 2 : 64;
	struct tni_slot *slots = n > 1U << 24 ? NULL : realloc(loop->slots, n * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	loop->slots = slots;
	loop->cap_slots = n;
	if (!loop->nslots)
		slots[loop->nslots++] = (struct tni_slot){0}; /* slot 0 is nobody's */
	return 0;
}

int tni_slot_take(struct tn_loop *loop, struct tni_fd *fd)
{
	uint32_t i = loop->free_slot;

	if (i) {
		loop->free_slot = loop->slots[i].next_free;
	} else {
		if (loop->nslots == loop->cap_slots && grow_slots(loop) < 0)
			return -ENOMEM;
		i = loop->nslots++;
		loop->slots[i] = (struct tni_slot){0};
	}
	loop->slots[i].fd = fd;
	fd->slot = i;
	return 0;
}

void tni_slot_drop(struct tn_loop *loop, struct tni_fd *fd)
{
	struct tni_slot *slot = &loop->slots[fd->slot];

	if (!fd->slot)
		return;
	slot->fd = NULL;
	slot->generation++;
	slot->next_free = loop->free_slot;
	loop->free_slot = fd->slot;
	fd->slot = 0;
}

uint64_t tni_slot_key(const struct tn_loop *loop, const struct tni_fd *fd)
{
	return (uint64_t)loop->slots[fd->slot].generation << 32 | fd->slot;
}

struct tni_fd *tni_slot_find(const struct tn_loop *loop, uint64_t key)
{
	uint32_t i = (uint32_t)key;

	if (i >= loop->nslots || loop->slots[i].generation != (uint32_t)(key >> 32))
		return NULL;
	return loop->slots[i].fd;
}

/* ---- descriptors ---- */

/* Regular files, /dev/null and their like cannot: epoll_ctl(2) knows. Without a descriptor for it, stat(2) must do. */
static bool can_poll(int sysfd)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct stat st;
	bool can;

	if (epfd < 0)
		return fstat(sysfd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode));
	can = epoll_ctl(epfd, EPOLL_CTL_ADD, sysfd, &ev) == 0 || errno != EPERM;
	close(epfd);
	return can;
}

void tni_fd_init(struct tni_fd *fd, int sysfd, unsigned flags)
{
	*fd = (struct tni_fd){.fd = sysfd, .flags = (uint8_t)flags};
	tni_list_init(&fd->pending);
	if (flags & TNI_FD_FILE && !can_poll(sysfd)) {
		fd->flags |= TNI_FD_ALWAYS;
		fd->ready = TNI_RD | TNI_WR;
	}
}

int tni_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op, enum tni_op_kind kind)
{
	op->kind = (uint8_t)kind;
	return loop->engine->submit(loop, fd, op);
}

int tni_submit_now(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op, enum tni_op_kind kind)
{
	op->kind = (uint8_t)kind;
	op->res = tni_attempt(loop, fd, op);
	return op->res == -EAGAIN ? 0 : TNI_DONE;
}

void tni_recall(struct tn_loop *loop, struct tni_fd *fd)
{
	if (fd->wr.state == TNI_ARMED && fd->wr.in_kernel && loop->engine->recall)
		loop->engine->recall(loop, fd);
}

int tni_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	if (op->state == TNI_IDLE)
		return TNI_DONE;
	if (op->state == TNI_CANCELLING)
		return 0;
	return loop->engine->cancel(loop, fd, op);
}

/* The numbers 0, 1 and 2 never fall vacant: a socket that came to be descriptor 1 would be printed into. */
static void close_number(int sysfd)
{
	int null = sysfd <= STDERR_FILENO ? open("/dev/null", O_RDWR | O_CLOEXEC) : -1;

	if (null < 0) {
		close(sysfd);
		return;
	}
	dup2(null, sysfd);
	close(null);
}

void tni_fd_release(struct tn_loop *loop, struct tni_fd *fd)
{
	if (!fd->slot)
		return;
	loop->engine->release(loop, fd);
	tni_slot_drop(loop, fd);
}

void tni_fd_close(struct tn_loop *loop, struct tni_fd *fd)
{
	int flags;

	if (fd->fd < 0)
		return;
	tni_fd_release(loop, fd);
	flags = fd->flags & TNI_FD_RESTORE ? fcntl(fd->fd, F_GETFL) : -1;
	if (flags >= 0)
		fcntl(fd->fd, F_SETFL, flags & ~O_NONBLOCK);
	close_number(fd->fd);
	fd->fd = -1;
}

/* ---- memory that ran out ---- */

static void requeue(struct tni_list *from, struct tni_list *to)
{
	struct tni_list *node;

	while ((node = tni_list_pop(from)))
		tni_list_add_tail(to, node);
}

static void requeue_starved(struct tn_loop *loop)
{
	requeue(&loop->starved, &loop->ready);
	loop->mem.starved = 0;
	tni_loop_untimer(loop, &loop->starved_retry);
}

static void starved_retry(struct tni_timer *timer)
{
	requeue_starved(tni_container_of(timer, struct tn_loop, starved_retry));
}

static void memory_returned(void *arg)
{
	requeue_starved(arg);
}

/* A pause of a shortage that is longer than this ends it; a shortage that is longer is not waited out. */
#define DRY_PAUSE_NS TNI_NS_PER_S
#define DRY_MAX_NS (5 * TNI_NS_PER_S)

bool tni_loop_is_dry(const struct tn_loop *loop)
{
	return loop->now_ns - loop->dry_ns < DRY_PAUSE_NS && loop->now_ns - loop->dry_since_ns > DRY_MAX_NS;
}

void tni_loop_starve(struct tn_loop *loop, struct tni_task *task)
{
	if (loop->now_ns - loop->dry_ns > DRY_PAUSE_NS)
		loop->dry_since_ns = loop->now_ns;
	loop->dry_ns = loop->now_ns;
	if (!tni_list_empty(&task->node))
		return;
	tni_list_add_tail(&loop->starved, &task->node);
	loop->mem.starved = 1;
	/* In case nothing of ours is out that could come back: then only time can help. */
	if (!tni_timer_armed(&loop->starved_retry))
		tni_loop_timer(loop, &loop->starved_retry, 10 * TNI_NS_PER_MS);
}

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

/*
 * A handshake takes 0.2 to 5 ms, and in one turn hundreds may begin. The connections of the loop that are open wait for
 * no more than this and the handshake that it ends with.
 */
#define COSTLY_MAX_NS TNI_NS_PER_MS

bool tni_loop_may_cost(struct tn_loop *loop, struct tni_costly *costly)
{
	if (loop->its_turn == costly)
		return true;
	if (!tni_list_empty(&costly->node))
		return false;
	if (tni_list_empty(&loop->costly) && loop->costly_ns < COSTLY_MAX_NS)
		return true;
	tni_list_add_tail(&loop->costly, &costly->node);
	loop->ncostly++;
	return false;
}

void tni_loop_cost_no_more(struct tn_loop *loop, struct tni_costly *costly)
{
	if (tni_list_empty(&costly->node))
		return;
	tni_list_del(&costly->node);
	loop->ncostly--;
}

static void run_costly(struct tn_loop *loop)
{
	struct tni_list *node;

	while (loop->costly_ns < COSTLY_MAX_NS && (node = tni_list_pop(&loop->costly))) {
		loop->ncostly--;
		loop->its_turn = tni_container_of(node, struct tni_costly, node);
		tni_loop_ready(loop, loop->its_turn->task);
		tni_loop_settle(loop);
		loop->its_turn = NULL;
	}
}

static void run_inbox(struct tn_loop *loop)
{
	struct tni_post *post, *oldest = NULL;
	bool kept;

	atomic_store(&loop->wake_sent, false);
	post = atomic_exchange(&loop->inbox, NULL);
	while (post) { /* newest first: turn it round */
		struct tni_post *next = post->next;

		post->next = oldest;
		oldest = post;
		post = next;
	}
	while (oldest) {
		post = oldest;
		oldest = post->next;
		loop->tasks_run++; /* tn_loop_step() must not sleep on what this has done */
		kept = post->kept; /* the call may end its owner */
		post->fn(post->arg);
		if (!kept)
			free(post);
		tni_loop_settle(loop);
	}
}

static void drop_inbox(struct tn_loop *loop)
{
	struct tni_post *post = atomic_exchange(&loop->inbox, NULL), *next;

	for (; post; post = next) {
		next = post->next;
		if (!post->kept)
			free(post);
	}
}

static void wake_done(struct tni_op *op, int res)
{
	struct tni_fd *fd = tni_container_of(op, struct tni_fd, rd);
	struct tn_loop *loop = tni_container_of(fd, struct tn_loop, wake);
	uint64_t count;

	(void)res;
	if (!op->more) /* an error: the door stays open all the same */
		(void)tni_submit(loop, fd, op, TNI_OP_POLL_IN);
	while (read(fd->fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	run_inbox(loop);
}

static void wake(struct tn_loop *loop)
{
	uint64_t one = 1;

	if (atomic_exchange(&loop->wake_sent, true))
		return;
	while (write(loop->wake.fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static uint64_t wait_time(const struct tn_loop *loop, uint64_t until_ns)
{
	uint64_t next = tni_timers_next(&loop->timers);

	if (!tni_list_empty(&loop->pending) || !tni_list_empty(&loop->later) || !tni_list_empty(&loop->ready) ||
	    !tni_list_empty(&loop->costly))
		return 0;
	if (until_ns < next)
		next = until_ns;
	if (next == TNI_NEVER)
		return TNI_NEVER;
	return next > loop->now_ns ? next - loop->now_ns : 0;
}

/*
 * Adaptive spin. A sleep and its wake cost tens of microseconds; when the recent idle gaps were about that short,
 * polling for a bounded while is cheaper and far quicker. Credit is earned by short gaps, lost by a long one; a spin
 * that finds nothing is paid for by sleeping through the next gaps, 1, 2, 4 ... of them. So an idle loop, and one that
 * shares its processor with the peer it waits for, soon sleep at once.
 */
#define SPIN_AUTO_NS (60 * TNI_NS_PER_US)
#define SPIN_CREDIT 2
#define SPIN_BACKOFF_MAX 128

static bool spin_wanted(struct tni_spin *spin, uint64_t timeout_ns)
{
	/* A short timer is not worth it; with a long spin (key spin) a longer one is, as far as it goes. */
	if (!spin->max_ns || spin->credit < SPIN_CREDIT || (timeout_ns < spin->max_ns && timeout_ns < SPIN_AUTO_NS))
		return false;
	if (spin->skip) {
		spin->skip--;
		return false;
	}
	return true;
}

static int spin_until_event(struct tn_loop *loop, uint64_t idle_since, uint64_t timeout_ns, bool *found)
{
	uint64_t most_ns = timeout_ns < loop->spin.max_ns ? timeout_ns : loop->spin.max_ns;
	uint64_t before = loop->completions, vain_since = 0, now = 0;
	int rc;

	do {
		rc = loop->engine->wait(loop, 0);
		if (rc < 0 || loop->completions != before) {
			loop->spin.vain_ns += now - vain_since;
			loop->spin.backoff = 0;
			*found = true;
			return rc;
		}
		now = tni_clock_ns();
		if (!vain_since) /* the first poll may have carried out what was submitted: that was no waiting */
			vain_since = now;
	} while (now - idle_since < most_ns && !atomic_load(&loop->stop));
	loop->spin.vain_ns += now - vain_since;
	if (most_ns < loop->spin.max_ns)
		return 0; /* ended by a timer: no sign that spinning is in vain */
	loop->spin.backoff = loop->spin.backoff ? loop->spin.backoff * 2 : 1;
	if (loop->spin.backoff > SPIN_BACKOFF_MAX)
		loop->spin.backoff = SPIN_BACKOFF_MAX;
	loop->spin.skip = loop->spin.backoff;
	return 0;
}

static int wait_idle(struct tn_loop *loop, uint64_t timeout_ns)
{
	struct tni_spin *spin = &loop->spin;
	uint64_t idle_since = tni_clock_ns(), spun_ns;
	bool found = false;
	int rc;

	if (spin_wanted(spin, timeout_ns)) {
		rc = spin_until_event(loop, idle_since, timeout_ns, &found);
		if (found)
			return rc;
		spun_ns = tni_clock_ns() - idle_since;
		if (timeout_ns != TNI_NEVER)
			timeout_ns = spun_ns < timeout_ns ? timeout_ns - spun_ns : 0;
	}
	rc = loop->engine->wait(loop, timeout_ns);
	if (tni_clock_ns() - idle_since > 2 * spin->max_ns)
		spin->credit = 0;
	else if (spin->credit < SPIN_CREDIT)
		spin->credit++;
	return rc;
}

/*
 * A turn inside a turn would hand out the same completions twice, overwrite the list of events that is being worked
 * through, and run a connection's task inside itself.
 */
static int begin_turn(struct tn_loop *loop)
{
	if (loop->turning)
		return tni_err(TN_ESTATE, "the loop runs already: a callback cannot run it again");
	loop->turning = true;
	return 0;
}

/* What needs no event: timers, tasks, descriptors known to have more. */
static void do_due(struct tn_loop *loop)
{
	loop->now_ns = tni_clock_ns();
	loop->costly_ns = 0;
	loop->pushed = 0;
	if (atomic_load(&loop->inbox))
		run_inbox(loop);
	requeue(&loop->later, &loop->ready);
	tni_timers_run(&loop->timers, loop->now_ns);
	tni_loop_settle(loop);
	run_costly(loop);
	tni_ready_pending(loop);
}

/* What has been posted is something that is left to be done. */
static bool has_work(struct tn_loop *loop)
{
	return loop->alive || atomic_load(&loop->inbox);
}

static int wait_events(struct tn_loop *loop, uint64_t until_ns)
{
	uint64_t timeout_ns = wait_time(loop, loop->alive && !atomic_load(&loop->inbox) ? until_ns : 0);
	int rc = timeout_ns && loop->spin.max_ns ? wait_idle(loop, timeout_ns) : loop->engine->wait(loop, timeout_ns);

	tni_loop_settle(loop);
	return rc < 0 ? tni_err(rc, "engine %s: waiting for events: %s", loop->engine->name, tn_strerror(rc)) : rc;
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

	if (atomic_load(&loop->inbox))
		run_inbox(loop);
	for (int i = 0; rc >= 0 && !last && i < LAST_TURNS; i++) {
		last = !loop->dying;
		if (!last)
			requeue(&loop->later, &loop->ready);
		tni_loop_settle(loop);
		rc = loop->engine->wait(loop, last ? 0 : TNI_NS_PER_MS);
		tni_loop_settle(loop);
	}
	return rc < 0 ? tni_err(rc, "engine %s: waiting for events: %s", loop->engine->name, tn_strerror(rc)) : 0;
}

int tn_loop_step_until(struct tn_loop *loop, uint64_t until_ns)
{
	uint64_t before = loop->tasks_run;
	int rc = begin_turn(loop);

	if (rc < 0)
		return rc;
	do_due(loop);
	/* Something has happened already: its caller, who may have waited for just that,
	 * gets it back without a sleep. */
	rc = wait_events(loop, loop->tasks_run == before ? until_ns : 0);
	if (rc >= 0 && !has_work(loop))
		rc = take_leave(loop);
	loop->turning = false;
	return rc < 0 ? rc : has_work(loop);
}

int tn_loop_step(struct tn_loop *loop, int timeout_ms)
{
	if (timeout_ms < 0)
		return tn_loop_step_until(loop, TNI_NEVER);
	return tn_loop_step_until(loop, timeout_ms ? tni_clock_ns() + (uint64_t)timeout_ms * TNI_NS_PER_MS : 0);
}

uint64_t tn_loop_spun_ns(const struct tn_loop *loop)
{
	return loop->spin.vain_ns;
}

int tn_loop_run(struct tn_loop *loop)
{
	int rc = begin_turn(loop);

	if (rc < 0)
		return rc;
	while (rc >= 0 && has_work(loop) && !atomic_load(&loop->stop)) {
		do_due(loop);
		rc = wait_events(loop,
				 atomic_load(&loop->stop) ? 0 : TNI_NEVER); /* its wake may have been eaten already */
	}
	if (rc >= 0)
		rc = take_leave(loop);
	atomic_store(&loop->stop, false);
	loop->turning = false;
	return rc;
}

void tn_loop_stop(struct tn_loop *loop)
{
	atomic_fetch_add(&loop->callers, 1);
	atomic_store(&loop->stop, true);
	wake(loop);
	atomic_fetch_sub(&loop->callers, 1);
}

static void put_post(struct tn_loop *loop, struct tni_post *post)
{
	atomic_fetch_add(&loop->callers, 1);
	post->next = atomic_load(&loop->inbox);
	while (!atomic_compare_exchange_weak(&loop->inbox, &post->next, post))
		;
	wake(loop);
	atomic_fetch_sub(&loop->callers, 1);
}

int tn_loop_post(struct tn_loop *loop, void (*fn)(void *arg), void *arg)
{
	struct tni_post *post = malloc(sizeof(*post));

	if (!post)
		return -ENOMEM;
	*post = (struct tni_post){.fn = fn, .arg = arg};
	put_post(loop, post);
	return 0;
}

void tni_loop_post_kept(struct tn_loop *loop, struct tni_post *post, void (*fn)(void *arg), void *arg)
{
	*post = (struct tni_post){.fn = fn, .arg = arg, .kept = true};
	put_post(loop, post);
}

/* ---- life ---- */

static int open_engine(struct tn_loop *loop, const struct tni_engine_ops *engine, uint64_t seed)
{
	loop->engine = engine;
	return engine->open(loop, seed);
}

/* One that no system refuses: what fails is for want of memory or descriptors. */
static int open_sure(struct tn_loop *loop, const struct tni_engine_ops *engine, uint64_t seed)
{
	int rc = open_engine(loop, engine, seed);

	return rc < 0 ? tni_err(rc, "engine %s: %s", engine->name, tn_strerror(rc)) : 0;
}

#ifdef TNI_HAVE_URING
/* Once, however many loops there are. 0: the ring was not even asked for. */
static void tell_why_epoll(int rc)
{
	static _Atomic(int) told = 1;

	if (atomic_exchange(&told, rc) == rc)
		return;
	if (rc == 0)
		tni_log(false, "engine uring: not chosen on a Linux before 6.6; epoll serves");
	else
		tni_log(false, "engine uring: the system refuses io_uring: %s; epoll serves", tn_strerror(rc));
}

/* False: epoll is to serve, and the curious have been told why. */
static bool open_best(struct tn_loop *loop)
{
	int rc;

	if (!tni_uring_is_ripe()) {
		tell_why_epoll(0);
		return false;
	}
	rc = open_engine(loop, &tni_engine_uring, 0);
	if (rc < 0)
		tell_why_epoll(rc);
	return rc == 0;
}
#endif

static int choose_engine(struct tn_loop *loop, const char *name)
{
	int rc;

	if (!name)
		name = getenv("TENON_ENGINE");
	if (!name || !*name || !strcmp(name, "auto")) {
#ifdef TNI_HAVE_URING
		if (open_best(loop))
			return 0;
#endif
		return open_sure(loop, &tni_engine_epoll, 0);
	}
	if (!strcmp(name, "epoll"))
		return open_sure(loop, &tni_engine_epoll, 0);
	if (!strncmp(name, "sim", 3) && (name[3] == '\0' || name[3] == ':'))
		return open_sure(loop, &tni_engine_sim, name[3] ? strtoull(name + 4, NULL, 10) : 1);
	if (!strncmp(name, "fault:", 6)) {
		rc = tni_fault_open(loop, name + 6);
		return rc < 0 ? tni_err(rc, "engine %s: %s", name, tn_strerror(rc)) : 0;
	}
	if (!strcmp(name, "uring")) {
#ifdef TNI_HAVE_URING
		rc = open_engine(loop, &tni_engine_uring, 0);
		if (rc < 0)
			tni_err(rc, "engine uring: the system refuses io_uring: %s", tn_strerror(rc));
		return rc;
#else
		return tni_err(-EOPNOTSUPP, "engine uring: this build has no liburing");
#endif
	}
	(void)rc;
	return tni_err(-ENOENT, "engine %s: no such engine; there are auto, uring and epoll", name);
}

static int open_wake(struct tn_loop *loop)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), rc;

	if (fd < 0)
		return tni_err(-errno, "eventfd: %s", tn_strerror(-errno));
	tni_fd_init(&loop->wake, fd, TNI_FD_POLLED);
	loop->wake.rd.done = wake_done;
	rc = tni_submit(loop, &loop->wake, &loop->wake.rd, TNI_OP_POLL_IN);
	return rc < 0 ? tni_err(rc, "engine %s: %s", loop->engine->name, tn_strerror(rc)) : 0;
}

int tn_loop_new(struct tn_loop **out, const char *engine)
{
	struct tn_loop *loop = calloc(1, sizeof(*loop));
	int rc;

	if (!loop)
		return tni_err(-ENOMEM, "new loop: out of memory");
	tni_mem_init(&loop->mem);
	loop->mem.on_return = memory_returned;
	loop->mem.arg = loop;
	tni_list_init(&loop->ready);
	tni_list_init(&loop->later);
	tni_list_init(&loop->pending);
	tni_list_init(&loop->starved);
	tni_list_init(&loop->costly);
	tni_list_init(&loop->owned);
	tni_list_init(&loop->helpers);
	loop->starved_retry.fire = starved_retry;
	loop->spin.max_ns = SPIN_AUTO_NS;
	loop->now_ns = tni_clock_ns();
	loop->wake.fd = -1;
	rc = choose_engine(loop, engine);
	if (rc < 0) {
		tni_mem_free(&loop->mem);
		free(loop);
		return rc;
	}
	rc = open_wake(loop);
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
	requeue(list, &all);
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
		destroy_all(&loop->owned);
		tni_loop_settle(loop);
		if (!tni_list_empty(&loop->owned))
			tn_loop_step(loop, 10);
	}
	destroy_all(&loop->helpers);
}

void tn_loop_free(struct tn_loop *loop)
{
	if (!loop)
		return;
	loop->ending = true;
	run_inbox(loop);
	end_owned(loop);
	/* What callbacks posted meanwhile; one that posts itself for ever is not followed for ever. */
	for (int round = 0; round < 1000 && atomic_load(&loop->inbox); round++)
		run_inbox(loop);
	/* Who told it to stop, or posted what ended it, may not have come back from waking it yet. */
	while (atomic_load(&loop->callers))
		sched_yield();
	drop_inbox(loop);
	if (loop->wake.fd >= 0) {
		tni_cancel(loop, &loop->wake, &loop->wake.rd);
		tni_fd_close(loop, &loop->wake);
	}
	loop->engine->close(loop);
	tni_mem_free(&loop->mem);
	free(loop->slots);
	free(loop->spill);
	free(loop->dgram_batch);
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

/* ---- timers and polls of the user's ---- */

struct tn_timer {
	struct tni_owned owned;
	struct tni_timer timer;
	struct tni_task task;
	struct tn_loop *loop;
	void (*fn)(void *arg);
	void *arg;
};

static void timer_free(struct tn_timer *t)
{
	tni_loop_untimer(t->loop, &t->timer);
	tni_list_del(&t->task.node);
	tni_list_del(&t->owned.node);
	t->loop->alive--;
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

static void timer_run(struct tni_task *task)
{
	struct tn_timer *t = tni_container_of(task, struct tn_timer, task);
	void (*fn)(void *arg) = t->fn;
	void *arg = t->arg;

	timer_free(t);
	fn(arg);
}

int tn_timer_start(struct tn_loop *loop, uint64_t delay_ms, void (*fn)(void *arg), void *arg, struct tn_timer **out)
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
	loop->alive++;
	tni_loop_timer(loop, &t->timer, tni_ns_of_ms(delay_ms));
	if (out)
		*out = t;
	return 0;
}

void tn_timer_stop(struct tn_timer *t)
{
	if (t)
		timer_free(t);
}

struct tn_poll {
	struct tni_owned owned;
	struct tni_fd fd;
	struct tni_task task;
	struct tn_loop *loop;
	void (*fn)(void *arg);
	void *arg;
};

static void poll_done(struct tni_op *op, int res)
{
	struct tni_fd *fd = tni_container_of(op, struct tni_fd, rd);
	struct tn_poll *p = tni_container_of(fd, struct tn_poll, fd);

	(void)res;
	tni_loop_ready(p->loop, &p->task);
}

static void poll_run(struct tni_task *task)
{
	struct tn_poll *p = tni_container_of(task, struct tn_poll, task);

	if (!tni_op_busy(&p->fd.rd)) /* an error, which the call below may find for itself */
		(void)tni_submit(p->loop, &p->fd, &p->fd.rd, TNI_OP_POLL_IN);
	p->fn(p->arg);
}

/* A readiness operation ends at once when cancelled. */
static void poll_free(struct tn_poll *p)
{
	tni_cancel(p->loop, &p->fd, &p->fd.rd);
	tni_fd_close(p->loop, &p->fd);
	tni_list_del(&p->task.node);
	tni_list_del(&p->owned.node);
	p->loop->alive--;
	free(p);
}

static void poll_destroy(struct tni_owned *owned)
{
	poll_free(tni_container_of(owned, struct tn_poll, owned));
}

int tn_poll_start(struct tn_loop *loop, int fd, void (*fn)(void *arg), void *arg, struct tn_poll **out)
{
	struct tn_poll *p;
	int rc, own;

	if (!can_poll(fd))
		return tni_err(-EPERM, "descriptor %d cannot be polled: it is a regular file or the like", fd);
	/* Under a number of its own: epoll takes each once, and a connection or another poll may have this one. */
	own = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (own < 0)
		return tni_err(-errno, "poll of descriptor %d: %s", fd, tn_strerror(-errno));
	p = calloc(1, sizeof(*p));
	if (!p) {
		close(own);
		return tni_err(-ENOMEM, "poll: out of memory");
	}
	p->loop = loop;
	p->fn = fn;
	p->arg = arg;
	p->owned.destroy = poll_destroy;
	p->task.run = poll_run;
	tni_list_init(&p->task.node);
	tni_fd_init(&p->fd, own, TNI_FD_POLLED);
	p->fd.rd.done = poll_done;
	tni_list_add_tail(&loop->helpers, &p->owned.node);
	loop->alive++;
	rc = tni_submit(loop, &p->fd, &p->fd.rd, TNI_OP_POLL_IN);
	if (rc < 0) {
		poll_free(p);
		return tni_err(rc, "poll of descriptor %d: %s", fd, tn_strerror(rc));
	}
	if (out)
		*out = p;
	return 0;
}

void tn_poll_stop(struct tn_poll *p)
{
	if (p)
		poll_free(p);
}
