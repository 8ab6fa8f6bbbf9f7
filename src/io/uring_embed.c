/*
 * The io_uring engine of a loop inside another one. What that watches is an epoll set, for two reasons, both seen on
 * Linux 6.18. The ring's own descriptor wakes nobody who waits for it by epoll(7) when work comes for a ring with
 * IORING_SETUP_DEFER_TASKRUN. An eventfd that is registered with the ring is written to when work comes, but for work
 * that a write to another eventfd brings: the kernel puts that off, and does so only once. So the set has the
 * registered eventfd, and beside it all descriptors that may be eventfds: those that are polled for readiness only.
 *
 * All is edge-triggered: the set is readable until what it tells has been taken from it, and that is done once, at the
 * end of each turn. The registered eventfd is never read.
 */
#include "io/uring_state.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define EVENTS_MAX 64
#define KEY_OF_RING 0 /* slot 0 is nobody's */

bool tni_uring_is_outside(const struct tn_loop *loop, const struct tni_fd *fd)
{
	const struct uring_state *st = loop->engine_state;

	/* What is in the set stays there: splicing makes a socket one that is polled only for a while (conn/join.c). */
	return fd->mode == MODE_OUTSIDE || (st->epoll_fd >= 0 && fd->flags & (TNI_FD_POLLED | TNI_FD_FILE));
}

int tni_uring_watch_outside(struct tn_loop *loop, struct tni_fd *fd, unsigned want)
{
	struct uring_state *st = loop->engine_state;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
	bool is_in = fd->mode == MODE_OUTSIDE;
	unsigned have = fd->armed_events;

	want |= have | TNI_RD;
	if (is_in && want == have)
		return 0;
	if (want & TNI_WR)
		ev.events |= EPOLLOUT;
	ev.data.u64 = tni_slot_key(loop, fd);
	if (epoll_ctl(st->epoll_fd, is_in ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd->fd, &ev) < 0)
		return -errno;
	fd->mode = MODE_OUTSIDE;
	fd->armed_events = (uint8_t)want;
	return 0;
}

void tni_uring_leave_outside(struct tn_loop *loop, struct tni_fd *fd)
{
	const struct uring_state *st = loop->engine_state;
	struct epoll_event unused;

	epoll_ctl(st->epoll_fd, EPOLL_CTL_DEL, fd->fd, &unused);
}

/* Those that the ring polls already. Its requests stay, and tell nothing that is not known. */
static int move_outside(struct tn_loop *loop)
{
	int rc = 0;

	for (uint32_t i = 1; i < loop->nslots && rc == 0; i++) {
		struct tni_fd *fd = loop->slots[i].fd;

		if (fd && fd->armed_events && tni_uring_is_outside(loop, fd))
			rc = tni_uring_watch_outside(loop, fd, 0);
	}
	return rc;
}

static int open_set(struct tn_loop *loop)
{
	struct uring_state *st = loop->engine_state;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = KEY_OF_RING};
	int rc;

	st->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (st->epoll_fd < 0)
		return -errno;
	st->event_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); /* 1: what came before is looked for */
	if (st->event_fd < 0 || epoll_ctl(st->epoll_fd, EPOLL_CTL_ADD, st->event_fd, &ev) < 0)
		return -errno;
	rc = move_outside(loop);
	return rc < 0 ? rc : io_uring_register_eventfd(&st->ring, st->event_fd);
}

/* It could not be had. The ring polls again what has been moved. */
static void undo_set(struct tn_loop *loop)
{
	struct uring_state *st = loop->engine_state;

	if (st->event_fd >= 0)
		close(st->event_fd);
	if (st->epoll_fd >= 0)
		close(st->epoll_fd);
	st->epoll_fd = st->event_fd = -1;
	for (uint32_t i = 1; i < loop->nslots; i++) {
		struct tni_fd *fd = loop->slots[i].fd;

		if (!fd || fd->mode != MODE_OUTSIDE)
			continue;
		fd->mode = MODE_RING;
		fd->armed_events = 0;
		if (fd->rd.state == TNI_ARMED)
			(void)tni_uring_poll(loop, fd, TNI_RD);
		if (fd->wr.state == TNI_ARMED)
			(void)tni_uring_poll(loop, fd, TNI_WR);
	}
}

int tni_uring_open_pollable(struct tn_loop *loop)
{
	const struct uring_state *st = loop->engine_state;
	int rc = open_set(loop);

	if (rc == 0)
		return st->epoll_fd;
	undo_set(loop);
	return rc;
}

static unsigned event_bits(uint32_t events)
{
	return (events & EPOLLIN ? TNI_RD : 0) | (events & EPOLLOUT ? TNI_WR : 0) |
	       (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) ? TNI_HUP : 0);
}

static bool has_events(const struct uring_state *st)
{
	return io_uring_cq_ready(&st->ring) ||
	       IO_URING_READ_ONCE(*st->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* What comes to the ring after the set was asked makes the set readable; what came before is seen here. */
int tni_uring_after_turn(struct tn_loop *loop)
{
	struct uring_state *st = loop->engine_state;
	struct epoll_event events[EVENTS_MAX];
	uint64_t one = 1;
	int n = epoll_wait(st->epoll_fd, events, EVENTS_MAX, 0);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		struct tni_fd *fd = events[i].data.u64 ? tni_slot_find(loop, events[i].data.u64) : NULL;

		if (fd)
			tni_ready_event(loop, fd, event_bits(events[i].events));
	}
	if (has_events(st))
		while (write(st->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
	return 0;
}

/* Requests of which the kernel has not been told. */
bool tni_uring_owes(const struct tn_loop *loop)
{
	const struct uring_state *st = loop->engine_state;

	return st->nearly || io_uring_sq_ready(&st->ring);
}

int tni_uring_wait_outside(struct tn_loop *loop, uint64_t timeout_ns)
{
	struct pollfd p = {.fd = ((struct uring_state *)loop->engine_state)->epoll_fd, .events = POLLIN};
	struct timespec ts = {.tv_sec = (time_t)(timeout_ns / TNI_NS_PER_S),
			      .tv_nsec = (long)(timeout_ns % TNI_NS_PER_S)};

	if (ppoll(&p, 1, timeout_ns == TNI_NEVER ? NULL : &ts, NULL) < 0 && errno != EINTR)
		return -errno;
	loop->now_ns = tni_clock_ns();
	return tni_uring_after_turn(loop);
}
