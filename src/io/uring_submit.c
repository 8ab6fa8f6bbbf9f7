/* Requests of the io_uring engine. */
#include "io/uring_state.h"

#include <poll.h>
#include <stdlib.h>

/* ---- room in the submission queue ---- */

int tni_uring_put_early(struct uring_state *st)
{
	for (unsigned i = 0; i < st->nearly; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&st->ring);

		if (!sqe && io_uring_submit(&st->ring) >= 0)
			sqe = io_uring_get_sqe(&st->ring);
		if (!sqe)
			return -ENOMEM;
		*sqe = st->early[i];
	}
	free(st->early);
	st->early = NULL;
	st->nearly = st->cap_early = 0;
	return 0;
}

static struct io_uring_sqe *get_early(struct uring_state *st)
{
	if (st->nearly == st->cap_early) {
		unsigned cap = st->cap_early ? st->cap_early * 2 : SQ_ENTRIES;
		struct io_uring_sqe *grown = realloc(st->early, cap * sizeof(*grown));

		if (!grown)
			return NULL;
		st->early = grown;
		st->cap_early = cap;
	}
	return &st->early[st->nearly++];
}

static int submit_now(struct uring_state *st)
{
	int rc = tni_uring_enable(st);

	if (rc < 0)
		return rc;
	rc = tni_uring_put_early(st);
	if (rc < 0)
		return rc;
	rc = io_uring_submit(&st->ring);
	if (!io_uring_sq_ready(&st->ring)) /* otherwise some of the headers are still to be read */
		st->nscratch = 0;
	return rc;
}

/*
 * Before the loop runs the ring belongs to nobody: submitting would give it to this thread, and the one that runs the
 * loop would be refused. Requests for which there is no room wait until then.
 */
static struct io_uring_sqe *get_sqe(struct uring_state *st, bool runs)
{
	struct io_uring_sqe *sqe = st->nearly ? NULL : io_uring_get_sqe(&st->ring);

	if (!sqe && !st->enabled && !runs)
		return get_early(st);
	if (!sqe && submit_now(st) >= 0)
		sqe = io_uring_get_sqe(&st->ring);
	return sqe;
}

/* ---- one request ---- */

/*
 * The last step of preparing a request. One that the fault engine makes fail is never made: what goes in its place
 * finds nothing to cancel, and fail_instead() knows its result by that.
 */
static void name_request(struct tn_loop *loop, const struct tni_fd *fd, struct io_uring_sqe *sqe, enum request kind)
{
	if (loop->fault && loop->fault->strikes(loop, tni_uring_op_kind(fd, kind)))
		io_uring_prep_cancel64(sqe, ~0ULL, 0);
	sqe->user_data = tni_uring_key(loop, fd, kind);
}

int tni_uring_poll(struct tn_loop *loop, struct tni_fd *fd, unsigned want)
{
	struct uring_state *st = loop->engine_state;
	struct io_uring_sqe *sqe = get_sqe(st, loop->turning);

	if (!sqe)
		return -ENOMEM;
	if (want == TNI_RD) {
		io_uring_prep_poll_multishot(sqe, fd->fd, POLLIN | POLLRDHUP);
		name_request(loop, fd, sqe, RQ_POLL_IN);
	} else {
		io_uring_prep_poll_add(sqe, fd->fd, POLLOUT);
		name_request(loop, fd, sqe, RQ_POLL_OUT);
	}
	fd->armed_events |= (uint8_t)want;
	return 0;
}

/* io/ready.c asks for events; each poll request is armed at most once at a time. */
int tni_uring_watch(struct tn_loop *loop, struct tni_fd *fd, unsigned want)
{
	if (tni_uring_is_outside(loop, fd))
		return tni_uring_watch_outside(loop, fd, want);
	return fd->armed_events & want ? 0 : tni_uring_poll(loop, fd, want);
}

/*
 * A multishot receive that has read the last bytes goes to wait for more although a reset came with them (seen on Linux
 * 6.18), and since 6.17 also although the end of a Unix stream did (liburing issue 1549). It waits for ever: the socket
 * tells such a thing once. A poll for the hang-up tells; TCP's ends are not missed, and no reason to leave the ring.
 */
static int watch_hangup(struct tn_loop *loop, struct tni_fd *fd)
{
	struct io_uring_sqe *sqe;

	if (fd->armed_events & TNI_HUP)
		return 0;
	sqe = get_sqe(loop->engine_state, loop->turning);
	if (!sqe)
		return -ENOMEM;
	io_uring_prep_poll_add(sqe, fd->fd, fd->flags & TNI_FD_UNIX ? POLLRDHUP : 0);
	name_request(loop, fd, sqe, RQ_POLL_HUP);
	fd->armed_events |= TNI_HUP;
	return 0;
}

int tni_uring_cancel_request(struct tn_loop *loop, struct tni_fd *fd, enum request kind)
{
	struct io_uring_sqe *sqe = get_sqe(loop->engine_state, loop->turning);

	if (!sqe)
		return -ENOMEM;
	/* All: a poll that ended by itself just before it was told to may have a successor of the same name. */
	io_uring_prep_cancel64(sqe, tni_uring_key(loop, fd, kind), IORING_ASYNC_CANCEL_ALL);
	sqe->user_data = (uint64_t)RQ_IGNORED << KIND_SHIFT;
	return 0;
}

int tni_uring_recv(struct tn_loop *loop, struct tni_fd *fd, bool poll_first)
{
	int rc = watch_hangup(loop, fd);
	struct io_uring_sqe *sqe = rc < 0 ? NULL : get_sqe(loop->engine_state, loop->turning);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_recv_multishot(sqe, fd->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = RING_GROUP;
	if (poll_first)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	name_request(loop, fd, sqe, RQ_RECV);
	fd->rd.in_kernel = true;
	return 0;
}

int tni_uring_accept(struct tn_loop *loop, struct tni_fd *fd)
{
	struct io_uring_sqe *sqe = get_sqe(loop->engine_state, loop->turning);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_multishot_accept(sqe, fd->fd, NULL, NULL, SOCK_CLOEXEC);
	name_request(loop, fd, sqe, RQ_ACCEPT);
	fd->rd.in_kernel = true;
	return 0;
}

/*
 * A Unix stream's send that has to wait is not left to the ring: it may end up in a worker thread that blocks in the
 * socket, and there a cancellation does not find it (seen on Linux 6.18). on_send() goes on by readiness.
 */
static int send_flags(const struct tni_fd *fd)
{
	return fd->flags & TNI_FD_UNIX ? MSG_NOSIGNAL | MSG_DONTWAIT : MSG_NOSIGNAL;
}

static int submit_send(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct uring_state *st = loop->engine_state;
	const struct tni_slice *head = op->buf->head;
	struct io_uring_sqe *sqe = get_sqe(st, loop->turning);
	struct scratch_msg *m;
	size_t total;

	if (!sqe)
		return -ENOMEM;
	if (!head->next || loop->limit) {
		total = loop->limit && loop->limit < head->len ? loop->limit : head->len;
		io_uring_prep_send(sqe, fd->fd, head->data, total, send_flags(fd));
	} else {
		/* There are as many headers as submissions, and both are used up together. */
		m = &st->scratch[st->nscratch++ % SCRATCH_MSGS];
		m->msg = (struct msghdr){.msg_iov = m->iov};
		m->msg.msg_iovlen = (size_t)tni_buf_iov(op->buf, m->iov, SEND_IOV_MAX, &total);
		io_uring_prep_sendmsg(sqe, fd->fd, &m->msg, (unsigned)send_flags(fd));
	}
	name_request(loop, fd, sqe, RQ_SEND);
	op->in_kernel = true;
	return 0;
}

/*
 * Connected UDP sockets, each of which has few datagrams at a time: a client of many of them would make two calls for
 * every message. They receive by the ring until it runs out of buffers (then batches are worth more), and a single
 * datagram is sent by it; several are one call by themselves. One that would have to wait is on_send()'s to see to.
 */
static bool datagram_by_ring(const struct tni_fd *fd, const struct tni_op *op)
{
	if (!(fd->flags & TNI_FD_PEER))
		return false;
	if (op->kind == TNI_OP_SENDMM)
		return op->mm->n == 1 && op->mm->v[0].msg_hdr.msg_iovlen == 1;
	return op->kind == TNI_OP_RECVMM && fd->mode == MODE_RING && !(fd->flags & TNI_FD_JOINED);
}

int tni_uring_recv_dgrams(struct tn_loop *loop, struct tni_fd *fd)
{
	struct uring_state *st = loop->engine_state;
	int rc = st->dgrams ? 0 : tni_uring_open_dgrams(st);
	struct io_uring_sqe *sqe = rc < 0 ? NULL : get_sqe(st, loop->turning);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_recv_multishot(sqe, fd->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = DGRAM_GROUP;
	name_request(loop, fd, sqe, RQ_DGRAM);
	fd->rd.in_kernel = true;
	return 0;
}

static int submit_datagram(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	const struct iovec *iov = op->mm->v[0].msg_hdr.msg_iov;
	struct io_uring_sqe *sqe = get_sqe(loop->engine_state, loop->turning);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_send(sqe, fd->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	name_request(loop, fd, sqe, RQ_SEND);
	op->in_kernel = true;
	return 0;
}

static bool by_ring(const struct tni_fd *fd, const struct tni_op *op)
{
	if (fd->flags & (TNI_FD_FILE | TNI_FD_MESSAGES | TNI_FD_POLLED) || fd->mode != MODE_RING)
		return false;
	return op->kind == TNI_OP_ACCEPT || op->kind == TNI_OP_RECV || op->kind == TNI_OP_SEND;
}

int tni_uring_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	int rc;

	if (!by_ring(fd, op) && !datagram_by_ring(fd, op))
		return tni_ready_submit(loop, fd, op);
	if (!fd->slot) {
		rc = tni_slot_take(loop, fd);
		if (rc < 0)
			return rc;
	}
	if (op->kind == TNI_OP_ACCEPT)
		rc = tni_uring_accept(loop, fd);
	else if (op->kind == TNI_OP_RECV)
		rc = tni_uring_recv(loop, fd, true);
	else if (op->kind == TNI_OP_SENDMM)
		rc = submit_datagram(loop, fd, op);
	else if (op->kind == TNI_OP_RECVMM)
		rc = tni_uring_recv_dgrams(loop, fd);
	else
		rc = submit_send(loop, fd, op);
	if (rc == 0)
		op->state = TNI_ARMED;
	return rc;
}

int tni_uring_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	enum request kind = op->kind == TNI_OP_ACCEPT   ? RQ_ACCEPT
			    : op->kind == TNI_OP_RECV   ? RQ_RECV
			    : op->kind == TNI_OP_RECVMM ? RQ_DGRAM
							: RQ_SEND;
	int rc = 0;

	if (!op->in_kernel)
		return tni_ready_cancel(loop, fd, op);
	if (kind != RQ_RECV || fd->mode != MODE_LEAVING) /* otherwise it is being cancelled already */
		rc = tni_uring_cancel_request(loop, fd, kind);
	if (rc == 0)
		op->state = TNI_CANCELLING;
	return rc;
}

/* A request that is still in our half of the queue becomes one that does nothing. */
void tni_uring_recall(struct tn_loop *loop, struct tni_fd *fd)
{
	const struct io_uring_sq *sq = &((struct uring_state *)loop->engine_state)->ring.sq;
	uint64_t key = tni_uring_key(loop, fd, RQ_SEND);

	for (unsigned at = sq->sqe_head; at != sq->sqe_tail; at++) {
		struct io_uring_sqe *sqe = &sq->sqes[at & *sq->kring_mask];

		if (sqe->user_data != key || sqe->opcode == IORING_OP_ASYNC_CANCEL) /* the fault engine's */
			continue;
		io_uring_prep_cancel64(sqe, ~0ULL, 0);
		sqe->user_data = (uint64_t)RQ_IGNORED << KIND_SHIFT;
		fd->wr.in_kernel = false;
		fd->wr.state = TNI_IDLE;
		return;
	}
}

void tni_uring_release(struct tn_loop *loop, struct tni_fd *fd)
{
	struct uring_state *st = loop->engine_state;

	if (fd->mode == MODE_OUTSIDE)
		tni_uring_leave_outside(loop, fd);
	/* Poll requests touch no memory of ours: they are told to end, and their late events find no slot. */
	if (fd->armed_events & TNI_RD)
		tni_uring_cancel_request(loop, fd, RQ_POLL_IN);
	if (fd->armed_events & TNI_WR)
		tni_uring_cancel_request(loop, fd, RQ_POLL_OUT);
	if (fd->armed_events & TNI_HUP)
		tni_uring_cancel_request(loop, fd, RQ_POLL_HUP);
	/* A poll request holds the socket, and with it the address, beyond our close(): the next server wants to bind
	 * it. */
	if ((fd->rd.kind == TNI_OP_RECVMM || fd->rd.kind == TNI_OP_ACCEPT) && fd->armed_events && st->enabled)
		(void)io_uring_submit_and_get_events(&st->ring);
	tni_ready_release(loop, fd);
	fd->mode = MODE_RING;
}

void tni_uring_interrupt(struct tn_loop *loop, struct tni_fd *fd)
{
	if (fd->rd.in_kernel && fd->rd.state == TNI_ARMED && fd->mode == MODE_RING)
		(void)tni_uring_cancel_request(loop, fd, fd->rd.kind == TNI_OP_ACCEPT ? RQ_ACCEPT : RQ_RECV);
}
