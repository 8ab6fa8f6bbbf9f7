/* The epoll engine: edge-triggered, each descriptor added once, completion emulated by io/ready.c. */
#include "io/loop.h"
#include "io/ready.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_MAX 256

struct epoll_state {
	int fd;
	bool coarse; /* epoll_pwait2(2) is refused */
	struct epoll_event events[EVENTS_MAX];
};

static int epoll_engine_open(struct tn_loop *loop, uint64_t seed)
{
	struct epoll_state *st = calloc(1, sizeof(*st));

	(void)seed;
	if (!st)
		return -ENOMEM;
	st->fd = epoll_create1(EPOLL_CLOEXEC);
	if (st->fd < 0) {
		free(st);
		return -errno;
	}
	loop->engine_state = st;
	return 0;
}

static void epoll_engine_close(struct tn_loop *loop)
{
	struct epoll_state *st = loop->engine_state;

	close(st->fd);
	free(st);
}

/*
 * Writability is asked for from the first time a send had to wait. It then stays: a TCP socket says so only after it
 * was full.
 */
static int epoll_watch(struct tn_loop *loop, struct tni_fd *fd, unsigned want)
{
	struct epoll_state *st = loop->engine_state;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
	unsigned have = fd->armed_events;

	want |= have | TNI_RD;
	if (want == have)
		return 0;
	if (want & TNI_WR)
		ev.events |= EPOLLOUT;
	ev.data.u64 = tni_slot_key(loop, fd);
	if (epoll_ctl(st->fd, have ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd->fd, &ev) < 0)
		return -errno;
	fd->armed_events = (uint8_t)want;
	return 0;
}

static void epoll_release(struct tn_loop *loop, struct tni_fd *fd)
{
	struct epoll_state *st = loop->engine_state;
	struct epoll_event unused;

	/* Explicitly: a descriptor that somebody else shares would stay in the set after our close(). */
	if (fd->armed_events)
		epoll_ctl(st->fd, EPOLL_CTL_DEL, fd->fd, &unused);
	tni_ready_release(loop, fd);
}

static unsigned event_bits(uint32_t events)
{
	unsigned bits = 0;

	if (events & EPOLLIN)
		bits |= TNI_RD;
	if (events & EPOLLOUT)
		bits |= TNI_WR;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		bits |= TNI_HUP;
	return bits;
}

/* In nanoseconds where the kernel takes them (5.11), otherwise in milliseconds. */
static int wait_for(struct epoll_state *st, uint64_t timeout_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(timeout_ns / TNI_NS_PER_S),
			      .tv_nsec = (long)(timeout_ns % TNI_NS_PER_S)};
	int timeout_ms = -1, n;

	if (timeout_ns && timeout_ns != TNI_NEVER && !st->coarse) {
		n = epoll_pwait2(st->fd, st->events, EVENTS_MAX, &ts, NULL);
		if (n >= 0 || (errno != ENOSYS && errno != EPERM))
			return n;
		st->coarse = true;
	}
	if (timeout_ns != TNI_NEVER) /* rounded up, so that a timer is due when we wake for it */
		timeout_ms = timeout_ns > 3600 * TNI_NS_PER_S ? 3600000 : (int)((timeout_ns + 999999) / TNI_NS_PER_MS);
	return epoll_wait(st->fd, st->events, EVENTS_MAX, timeout_ms);
}

static int epoll_engine_wait(struct tn_loop *loop, uint64_t timeout_ns)
{
	struct epoll_state *st = loop->engine_state;
	int n = wait_for(st, timeout_ns);

	if (n > 0)
		loop->now_ns = tni_clock_ns();
	for (int i = 0; i < n; i++) {
		struct tni_fd *fd = tni_slot_find(loop, st->events[i].data.u64);

		if (fd)
			tni_ready_event(loop, fd, event_bits(st->events[i].events));
	}
	return n < 0 && errno != EINTR ? -errno : 0;
}

/* It is readable as long as epoll_wait(2) has something to tell. */
static int epoll_open_pollable(struct tn_loop *loop)
{
	return ((struct epoll_state *)loop->engine_state)->fd;
}

const struct tni_engine_ops tni_engine_epoll = {
	.name = "epoll",
	.open = epoll_engine_open,
	.submit = tni_ready_submit,
	.cancel = tni_ready_cancel,
	.release = epoll_release,
	.wait = epoll_engine_wait,
	.close = epoll_engine_close,
	.watch = epoll_watch,
	.attempt = tni_attempt,
	.open_pollable = epoll_open_pollable,
};
