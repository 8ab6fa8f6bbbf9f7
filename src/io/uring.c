/*
 * The io_uring engine. Small messages: multishot accept, multishot receive into a ring of provided buffers, sends
 * gathered into one submission a turn. What readiness serves better goes through io/ready.c, fed by poll requests: bulk
 * streams (a ring of buffers cycles through all its memory and leaves the cache; one hot block does not), datagram
 * batches, message sockets, pipes and files. A stream moves between the two by itself: to readiness when it fills whole
 * ring buffers or finds the ring empty, back when its reads have become small.
 */
#include "io/uring_state.h"

#include <poll.h>
#include <string.h>

/* So many small reads in a row, each at most this long, bring a stream back from readiness to the ring. */
#define SMALL_STREAK 32
#define SMALL_READ 4096

/* ---- completions ---- */

/* What the ring stopped doing goes on by readiness. The socket is tried at once: it may have more already. */
static void go_ready(struct tn_loop *loop, struct tni_fd *fd)
{
	int rc;

	if (fd->mode != MODE_OUTSIDE)
		fd->mode = MODE_READY;
	fd->streak = 0;
	fd->ready |= TNI_RD;
	rc = tni_ready_submit(loop, fd, &fd->rd);
	if (rc < 0)
		tni_complete(loop, fd, &fd->rd, rc, false);
}

static void leave_ring(struct tn_loop *loop, struct tni_fd *fd)
{
	if (tni_uring_cancel_request(loop, fd, RQ_RECV) == 0)
		fd->mode = MODE_LEAVING;
}

/* After a multishot request has ended by itself: goes on unless its owner cancelled it. */
static void rearm(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op, unsigned cqe_flags)
{
	int rc = op->kind == TNI_OP_ACCEPT ? tni_uring_accept(loop, fd)
					   : tni_uring_recv(loop, fd, !(cqe_flags & IORING_CQE_F_SOCK_NONEMPTY));

	if (rc < 0)
		tni_complete(loop, fd, op, rc, false);
}

static void on_recv_data(struct tn_loop *loop, struct tni_fd *fd, int res, unsigned flags)
{
	struct tni_op *op = &fd->rd;
	uint64_t key = tni_slot_key(loop, fd);
	bool full = (unsigned)res == ((struct uring_state *)loop->engine_state)->size.buf_cap,
	     armed = op->state == TNI_ARMED, left = !op->in_kernel && fd->mode == MODE_LEAVING;

	if (left)
		fd->mode = MODE_READY;
	tni_complete(loop, fd, op, res, armed || op->in_kernel);
	if (tni_slot_find(loop, key) != fd || op->state != TNI_ARMED)
		return;
	if (!op->in_kernel && (full || left))
		go_ready(loop, fd);
	else if (!op->in_kernel)
		rearm(loop, fd, op, flags);
	else if (full && fd->mode == MODE_RING)
		leave_ring(loop, fd);
}

/* The request has ended, which says nothing about the socket. */
static bool is_mere_end(int res)
{
	return res == -ENOBUFS || res == -ECANCELED || res == -EAGAIN || res == -EINTR;
}

static void on_recv(struct tn_loop *loop, struct tni_fd *fd, int res, unsigned flags)
{
	struct uring_state *st = loop->engine_state;
	struct tni_op *op = &fd->rd;

	op->in_kernel = flags & IORING_CQE_F_MORE;
	if (res > 0 && flags & IORING_CQE_F_BUFFER) {
		op->blk = tni_uring_buf_take(st, flags >> IORING_CQE_BUFFER_SHIFT, res);
		on_recv_data(loop, fd, res, flags);
		return;
	}
	if (flags & IORING_CQE_F_BUFFER) /* an end of stream that took a buffer along */
		tni_blk_unref(tni_uring_buf_take(st, flags >> IORING_CQE_BUFFER_SHIFT, 0));
	if (fd->mode == MODE_LEAVING)
		fd->mode = MODE_READY;
	if (is_mere_end(res) && op->state == TNI_ARMED)
		go_ready(loop, fd);
	else
		tni_complete(loop, fd, op, is_mere_end(res) ? -ECANCELED : res, false); /* last: fd may be freed now */
}

/* As a batch of one, in the loop's own buffer: the ring has this one back at once. */
static void take_dgram(struct tn_loop *loop, struct tni_op *op, int len, unsigned flags)
{
	struct mmsghdr *m = &op->mm->v[0];
	unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;

	m->msg_len = (unsigned)len;
	m->msg_hdr.msg_flags = 0;
	m->msg_hdr.msg_namelen = 0; /* the ring tells nothing of a datagram but its bytes */
	m->msg_hdr.msg_controllen = 0;
	if (!(flags & IORING_CQE_F_BUFFER))
		return;
	memcpy(m->msg_hdr.msg_iov->iov_base, tni_uring_dgram(loop->engine_state, id), (size_t)len);
	tni_uring_dgram_put(loop->engine_state, id);
}

static void on_dgram(struct tn_loop *loop, struct tni_fd *fd, int res, unsigned flags)
{
	struct tni_op *op = &fd->rd;
	uint64_t key = tni_slot_key(loop, fd);

	op->in_kernel = flags & IORING_CQE_F_MORE;
	if (res < 0) {
		if (is_mere_end(res) && op->state == TNI_ARMED)
			go_ready(loop, fd);
		else
			tni_complete(loop, fd, op, is_mere_end(res) ? -ECANCELED : res, false);
		return;
	}
	take_dgram(loop, op, res, flags);
	tni_complete(loop, fd, op, 1, op->state == TNI_ARMED || op->in_kernel);
	tni_loop_settle(loop); /* before the next of this turn, whosever it is, takes the same place */
	if (tni_slot_find(loop, key) != fd || op->state != TNI_ARMED || op->in_kernel)
		return;
	res = tni_uring_recv_dgrams(loop, fd);
	if (res < 0)
		tni_complete(loop, fd, op, res, false);
}

static void on_accept(struct tn_loop *loop, struct tni_fd *fd, int res, unsigned flags)
{
	struct tni_op *op = &fd->rd;
	uint64_t key = tni_slot_key(loop, fd);
	bool again = res == -ECONNABORTED || res == -EINTR || res == -EAGAIN || res == -EPROTO ||
		     (res == -ECANCELED && op->state == TNI_ARMED); /* not by us: the listener goes on */

	op->in_kernel = flags & IORING_CQE_F_MORE;
	if (again && op->state == TNI_CANCELLING)
		tni_complete(loop, fd, op, -ECANCELED, op->in_kernel);
	else if (!again)
		tni_complete(loop, fd, op, res, op->in_kernel || (res >= 0 && op->state == TNI_ARMED));
	if (tni_slot_find(loop, key) == fd && op->state == TNI_ARMED && !op->in_kernel)
		rearm(loop, fd, op, flags);
}

static void on_send(struct tn_loop *loop, struct tni_fd *fd, int res)
{
	struct tni_op *op = &fd->wr;

	op->in_kernel = false;
	if (op->kind == TNI_OP_SENDMM && res >= 0) /* which tells how many, not how long */
		res = 1;
	if ((res == -EAGAIN || res == -EINTR) && op->state == TNI_ARMED) {
		/* A Unix stream, or a descriptor somebody made non-blocking: the ring does not wait for those. */
		int rc = tni_ready_submit(loop, fd, op);

		if (rc == 0)
			return;
		res = rc < 0 ? rc : op->res;
	}
	if (res == -EAGAIN) /* it would have had to wait, and is not wanted any more */
		res = -ECANCELED;
	tni_complete(loop, fd, op, res, false);
}

/* A stream whose reads have become small goes back to the ring. */
static void maybe_return(struct tn_loop *loop, struct tni_fd *fd)
{
	if (fd->mode != MODE_READY || fd->flags & TNI_FD_POLLED || fd->streak < SMALL_STREAK ||
	    fd->rd.state != TNI_ARMED || fd->rd.kind != TNI_OP_RECV || fd->ready & TNI_HUP)
		return;
	if (tni_uring_cancel_request(loop, fd, RQ_POLL_IN) < 0)
		return;
	fd->armed_events &= (uint8_t)~TNI_RD;
	fd->ready &= (uint8_t)~TNI_RD;
	fd->mode = MODE_RING;
	if (tni_uring_recv(loop, fd, false) < 0)
		go_ready(loop, fd);
}

static void on_poll(struct tn_loop *loop, struct tni_fd *fd, unsigned dir, int res, unsigned flags)
{
	uint64_t key = tni_slot_key(loop, fd);
	unsigned bits = 0;

	if (!(flags & IORING_CQE_F_MORE) && fd->mode != MODE_OUTSIDE) {
		fd->armed_events &= (uint8_t)~dir;
		/* A completion queue that overflows ends every multishot request. */
		if (dir == TNI_RD && fd->rd.state == TNI_ARMED && !fd->rd.in_kernel &&
		    tni_uring_poll(loop, fd, dir) < 0)
			bits |= TNI_HUP; /* read on until that is asked for again, or is an error */
	}
	if (res < 0 || res & (POLLHUP | POLLERR | POLLRDHUP))
		bits |= TNI_HUP;
	if (res > 0 && res & POLLIN)
		bits |= TNI_RD;
	if (res > 0 && res & POLLOUT)
		bits |= TNI_WR;
	tni_ready_event(loop, fd, bits);
	if (tni_slot_find(loop, key) == fd)
		maybe_return(loop, fd);
}

/*
 * The peer has gone: the rest, and the end itself, is read by readiness, now or when somebody wants it. Armed once: HUP
 * stays set.
 */
static void on_hangup(struct tn_loop *loop, struct tni_fd *fd, int res)
{
	if (res == -ECANCELED)
		return;
	fd->ready |= TNI_HUP;
	if (fd->mode != MODE_RING || fd->rd.kind != TNI_OP_RECV)
		return;
	if (!fd->rd.in_kernel)
		fd->mode = MODE_READY;
	else if (fd->rd.state == TNI_CANCELLING)
		fd->mode = MODE_LEAVING;
	else
		leave_ring(loop, fd);
}

/* Counts what the fault engine has brought about. */
static void note_bends(const struct tni_fault *fault, const struct tni_fd *fd, enum request kind,
		       const struct io_uring_cqe *cqe)
{
	if (kind == RQ_RECV && cqe->res == -ENOBUFS)
		fault->bent(TNI_BEND_NO_BUFFER);
	else if ((kind == RQ_RECV || kind == RQ_ACCEPT) && !(cqe->flags & IORING_CQE_F_MORE) && cqe->res &&
		 fd->rd.state == TNI_ARMED)
		fault->bent(TNI_BEND_ENDED);
}

/*
 * The fault engine's error in the place of the kernel's. A request that goes on is told to end, so that the kernel's
 * word on that can stand for it: nothing is lost that had come before.
 */
static int fail_instead(struct tn_loop *loop, struct tni_fd *fd, enum request kind, const struct io_uring_cqe *cqe)
{
	struct uring_state *st = loop->engine_state;
	bool more = cqe->flags & IORING_CQE_F_MORE, to_fail = st->to_fail == cqe->user_data && !more;

	if (kind == RQ_IGNORED)
		return cqe->res;
	note_bends(loop->fault, fd, kind, cqe);
	if (to_fail)
		st->to_fail = 0;
	if (cqe->res == -ENOENT || (to_fail && cqe->res < 0))
		return loop->fault->error(loop);
	if (more && !st->to_fail && loop->fault->strikes(loop, tni_uring_op_kind(fd, kind)) &&
	    tni_uring_cancel_request(loop, fd, kind) == 0)
		st->to_fail = cqe->user_data;
	return cqe->res;
}

static void on_cqe(struct tn_loop *loop, const struct io_uring_cqe *cqe)
{
	struct uring_state *st = loop->engine_state;
	uint64_t key = cqe->user_data;
	enum request kind = (enum request)(key >> KIND_SHIFT & 0xff);
	struct tni_fd *fd = tni_slot_find(loop, (key & SLOT_MASK) | (key >> 32 << 32));
	int res = fd && loop->fault ? fail_instead(loop, fd, kind, cqe) : cqe->res;

	if (!fd) {
		if (key == st->to_fail)
			st->to_fail = 0;
		if (kind == RQ_RECV && cqe->flags & IORING_CQE_F_BUFFER)
			tni_blk_unref(tni_uring_buf_take(st, cqe->flags >> IORING_CQE_BUFFER_SHIFT, 0));
		if (kind == RQ_DGRAM && cqe->flags & IORING_CQE_F_BUFFER)
			tni_uring_dgram_put(st, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
		if (kind == RQ_ACCEPT && cqe->res >= 0)
			close(cqe->res);
		return;
	}
	switch (kind) {
	case RQ_RECV:
		on_recv(loop, fd, res, cqe->flags);
		break;
	case RQ_DGRAM:
		on_dgram(loop, fd, res, cqe->flags);
		break;
	case RQ_SEND:
		on_send(loop, fd, res);
		break;
	case RQ_ACCEPT:
		on_accept(loop, fd, res, cqe->flags);
		break;
	case RQ_POLL_IN:
		if (fd->armed_events & TNI_RD)
			on_poll(loop, fd, TNI_RD, res, cqe->flags);
		break;
	case RQ_POLL_OUT:
		on_poll(loop, fd, TNI_WR, res, cqe->flags);
		break;
	case RQ_POLL_HUP:
		on_hangup(loop, fd, res);
		break;
	case RQ_IGNORED:
		break;
	}
}

static int enter(struct uring_state *st, uint64_t timeout_ns)
{
	struct __kernel_timespec ts = {.tv_sec = (int64_t)(timeout_ns / TNI_NS_PER_S),
				       .tv_nsec = (int64_t)(timeout_ns % TNI_NS_PER_S)};
	struct io_uring_cqe *unused;
	int rc = tni_uring_enable(st);

	if (rc == 0 && st->nearly)
		rc = tni_uring_put_early(st);
	if (rc < 0)
		return rc;
	if (io_uring_cq_ready(&st->ring))
		timeout_ns = 0;
	if (timeout_ns == TNI_NEVER)
		rc = io_uring_submit_and_wait(&st->ring, 1);
	else if (timeout_ns)
		rc = io_uring_submit_and_wait_timeout(&st->ring, &unused, 1, &ts, NULL);
	else if (io_uring_sq_ready(&st->ring) ||
		 IO_URING_READ_ONCE(*st->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
		rc = io_uring_submit_and_get_events(&st->ring);
	else
		return 0; /* looked into shared memory only: what makes spinning cheap */
	if (!io_uring_sq_ready(&st->ring))
		st->nscratch = 0;
	return rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN || rc > 0 ? 0 : rc;
}

#define CQE_BATCH 32

/* A turn takes no more than about so many: timers and what was put off want their turn, too. */
#define TURN_CQES 1024

/* What is there by now. Returns how many. */
static unsigned take_cqes(struct tn_loop *loop)
{
	struct uring_state *st = loop->engine_state;
	struct io_uring_cqe *cqes[CQE_BATCH];
	unsigned n, left = io_uring_cq_ready(&st->ring), all = left;

	if (left)
		loop->now_ns = tni_clock_ns();
	for (; left; left -= n) {
		n = io_uring_peek_batch_cqe(&st->ring, cqes, left < CQE_BATCH ? left : CQE_BATCH);
		if (!n)
			break;
		for (unsigned i = 0; i < n; i++)
			on_cqe(loop, cqes[i]);
		io_uring_cq_advance(&st->ring, n);
		tni_loop_settle(loop);
	}
	return all;
}

/*
 * One call of the kernel's posts only so many completions (20 from Linux 6.14 on), however many are due. Where a turn
 * has much else to do, such as handshakes, those behind would wait for many turns: more calls are made in one turn.
 */
static int wait_ring(struct tn_loop *loop, uint64_t timeout_ns, unsigned *taken)
{
	struct uring_state *st = loop->engine_state;
	unsigned n;
	int rc;

	*taken = 0;
	if (loop->fault && IO_URING_READ_ONCE(*st->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW)
		loop->fault->bent(TNI_BEND_OVERFLOW);
	do {
		rc = enter(st, timeout_ns);
		if (rc < 0)
			return rc;
		n = take_cqes(loop);
		*taken += n;
		timeout_ns = 0;
	} while (n && *taken < TURN_CQES && IO_URING_READ_ONCE(*st->ring.sq.kflags) & IORING_SQ_TASKRUN);
	return 0;
}

static int uring_wait(struct tn_loop *loop, uint64_t timeout_ns)
{
	const struct uring_state *st = loop->engine_state;
	bool outside = st->epoll_fd >= 0 && timeout_ns;
	unsigned taken;
	int rc = wait_ring(loop, outside ? 0 : timeout_ns, &taken);

	if (rc < 0 || !outside || taken)
		return rc;
	rc = tni_uring_wait_outside(loop, timeout_ns);
	return rc < 0 ? rc : wait_ring(loop, 0, &taken);
}

static int uring_attempt(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	int res = tni_attempt(loop, fd, op);

	if (fd->mode == MODE_READY && op->kind == TNI_OP_RECV && res > 0) {
		if (res > SMALL_READ)
			fd->streak = 0;
		else if (fd->streak < SMALL_STREAK)
			fd->streak++;
	}
	return res;
}

static int open_sized(struct tn_loop *loop, const struct ring_size *size)
{
	struct uring_state *st;
	int rc = tni_uring_works();

	if (rc == 0)
		rc = tni_uring_new(&loop->mem, size, &st);
	if (rc == 0)
		loop->engine_state = st;
	return rc;
}

static int uring_open(struct tn_loop *loop, uint64_t seed)
{
	(void)seed;
	return open_sized(loop, &tni_uring_full);
}

int tni_uring_open_small(struct tn_loop *loop)
{
	static const struct ring_size small = {8, 16, 4, 64};

	return open_sized(loop, &small);
}

static void uring_close(struct tn_loop *loop)
{
	tni_uring_free(loop->engine_state);
}

const struct tni_engine_ops tni_engine_uring = {
	.name = "uring",
	.open = uring_open,
	.submit = tni_uring_submit,
	.cancel = tni_uring_cancel,
	.release = tni_uring_release,
	.wait = uring_wait,
	.close = uring_close,
	.recall = tni_uring_recall,
	.watch = tni_uring_watch,
	.attempt = uring_attempt,
	.open_pollable = tni_uring_open_pollable,
	.after_turn = tni_uring_after_turn,
	.owes = tni_uring_owes,
};
