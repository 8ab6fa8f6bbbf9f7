/* One operation as one non-blocking system call. */
#include "io/loop.h"
#include "io/memory.h"
#include "io/pipes.h"
#include "io/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define SEND_IOV_MAX 64

static int attempt_accept(struct tni_fd *fd)
{
	for (;;) {
		int peer = accept4(fd->fd, NULL, NULL, SOCK_CLOEXEC);

		/* A client that gave up while it waited is no failure of the listener's. */
		if (peer < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO))
			continue;
		return peer < 0 ? -errno : peer;
	}
}

/* Made again while it is under way it says EALREADY, and EISCONN once it is done:
 * an interrupted one goes on as well. */
static int connect_now(struct tni_fd *fd, const struct tni_op *op)
{
	int rc;

	do
		rc = connect(fd->fd, (const struct sockaddr *)(const void *)op->addr->bytes, op->addr->len);
	while (rc < 0 && errno == EINTR);
	if (rc == 0 || errno == EISCONN)
		return 0;
	/* A Unix listener with a full backlog says EAGAIN, which no event will follow. */
	if (errno == EAGAIN)
		return -EBUSY;
	return errno == EALREADY || errno == EINPROGRESS ? -EAGAIN : -errno;
}

/* SO_ERROR tells why it failed. */
static int attempt_connect(struct tni_fd *fd, const struct tni_op *op)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (op->state == TNI_IDLE)
		return connect_now(fd, op);
	if (getsockopt(fd->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return err ? -err : connect_now(fd, op);
}

/* Most messages fit a large block; a longer one spills over, and both parts become one block of its own. */
static struct tni_blk *join_spill(struct tn_loop *loop, struct tni_blk *blk, size_t len)
{
	struct tni_blk *whole = tni_blk_new(len);

	if (whole) {
		memcpy(whole->data, blk->data, blk->cap);
		memcpy(whole->data + blk->cap, loop->overflow, len - blk->cap);
	}
	tni_blk_unref(blk);
	return whole;
}

/* So many empty packets in a row are passed over before others have their turn. */
#define EMPTY_MAX 64

/* An empty packet reads as the end does; what is the end has no more behind it. */
static bool is_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};
	int queued = 0;

	if (poll(&p, 1, 0) < 0 || !(p.revents & (POLLRDHUP | POLLHUP | POLLERR)))
		return false;
	return ioctl(fd, SIOCINQ, &queued) < 0 || queued == 0;
}

static int recv_message(struct tn_loop *loop, struct tni_fd *fd, struct tni_blk *blk)
{
	struct iovec iov[2];
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n;

	if (!loop->overflow)
		loop->overflow = malloc(TNI_OVERFLOW_CAP);
	if (!loop->overflow)
		return -ENOBUFS;
	iov[0] = (struct iovec){.iov_base = blk->data, .iov_len = blk->cap};
	iov[1] = (struct iovec){.iov_base = loop->overflow, .iov_len = TNI_OVERFLOW_CAP};
	for (int i = 0; (n = recvmsg(fd->fd, &msg, MSG_DONTWAIT)) == 0 && !is_end(fd->fd); i++)
		if (i == EMPTY_MAX)
			return TNI_TRY_SOON;
	if (n >= 0 && msg.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	return n < 0 ? -errno : (int)n;
}

static int recv_bytes(const struct tn_loop *loop, struct tni_fd *fd, struct tni_blk *blk)
{
	size_t cap = loop->limit ? loop->limit : blk->cap;
	ssize_t n = fd->flags & TNI_FD_FILE ? read(fd->fd, blk->data, cap) : recv(fd->fd, blk->data, cap, MSG_DONTWAIT);

	/* A terminal whose other side has gone reads as EIO: its end of file. */
	if (n < 0 && errno == EIO && fd->flags & TNI_FD_FILE)
		return isatty(fd->fd) ? 0 : -EIO;
	return n < 0 ? -errno : (int)n;
}

static int attempt_recv(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct tni_blk *blk = tni_blk_get(&loop->mem.large);
	int res;

	if (!blk)
		return -ENOBUFS;
	do
		res = fd->flags & TNI_FD_MESSAGES ? recv_message(loop, fd, blk) : recv_bytes(loop, fd, blk);
	while (res == -EINTR);
	if (res > 0 && (uint32_t)res > blk->cap) {
		blk = join_spill(loop, blk, (size_t)res);
		if (!blk)
			return -ENOMEM; /* the message is gone: an error of the connection, not a pause */
	}
	if (res <= 0) {
		tni_blk_unref(blk);
		return res;
	}
	blk->used = (uint32_t)res;
	op->blk = blk;
	return res;
}

/*
 * write(2) and splice(2) know no MSG_NOSIGNAL: the signal is held off, and taken back if it came from here. That takes
 * two system calls. Most programs have it ignored, which is looked at once a turn.
 */
struct quiet {
	sigset_t pipe_only, before;
	bool ignored, pending;
};

static bool pipe_signal_is_ignored(struct tn_loop *loop)
{
	struct sigaction action;

	if (!loop->sigpipe_known)
		loop->sigpipe_ignored = sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
	loop->sigpipe_known = true;
	return loop->sigpipe_ignored;
}

static void quiet_begin(struct tn_loop *loop, struct quiet *q)
{
	sigset_t pending;

	q->ignored = pipe_signal_is_ignored(loop);
	if (q->ignored)
		return;
	sigemptyset(&q->pipe_only);
	sigaddset(&q->pipe_only, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &q->pipe_only, &q->before);
	/* Where it was not held off before, none can be waiting. */
	q->pending = sigismember(&q->before, SIGPIPE) && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE);
}

static void quiet_end(struct quiet *q, bool broken)
{
	struct timespec now = {0};
	int err = errno;

	if (q->ignored)
		return;
	if (broken && !q->pending)
		while (sigtimedwait(&q->pipe_only, NULL, &now) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &q->before, NULL);
	errno = err;
}

static ssize_t write_quietly(struct tn_loop *loop, int sysfd, const struct iovec *iov, int count)
{
	struct quiet q;
	ssize_t n;

	quiet_begin(loop, &q);
	n = writev(sysfd, iov, count);
	quiet_end(&q, n < 0 && errno == EPIPE);
	return n;
}

static int attempt_send(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct iovec iov[SEND_IOV_MAX];
	struct msghdr msg = {.msg_iov = iov};
	const struct tni_slice *s = op->buf->head;
	ssize_t n;

	do {
		iov[msg.msg_iovlen++] = (struct iovec){.iov_base = s->data, .iov_len = s->len};
		if (s->end && fd->flags & TNI_FD_MESSAGES)
			break;
		s = s->next;
	} while (s && msg.msg_iovlen < SEND_IOV_MAX && !loop->limit);
	if (loop->limit && iov[0].iov_len > loop->limit)
		iov[0].iov_len = loop->limit;
	do {
		if (fd->flags & TNI_FD_FILE)
			n = write_quietly(loop, fd->fd, iov, (int)msg.msg_iovlen);
		else if (msg.msg_iovlen == 1)
			n = send(fd->fd, iov[0].iov_base, iov[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			n = sendmsg(fd->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

/* As much as a pipe may ever hold. */
#define SPLICE_MAX (1 << 20)

static int attempt_splice_in(const struct tn_loop *loop, const struct tni_fd *fd, const struct tni_op *op)
{
	ssize_t n;

	do
		n = splice(fd->fd, NULL, op->pipe->wr, NULL, loop->limit ? loop->limit : SPLICE_MAX, SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

static int attempt_splice_out(struct tn_loop *loop, const struct tni_fd *fd, const struct tni_op *op)
{
	size_t len = loop->limit && loop->limit < op->pipe->len ? loop->limit : op->pipe->len;
	struct quiet q;
	ssize_t n;

	quiet_begin(loop, &q);
	do
		n = splice(op->pipe->rd, NULL, fd->fd, NULL, len, SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	quiet_end(&q, n < 0 && errno == EPIPE);
	return n < 0 ? -errno : (int)n;
}

static int attempt_recvmm(struct tni_fd *fd, struct tni_op *op)
{
	int n;

	do
		n = recvmmsg(fd->fd, op->mm->v, op->mm->n, MSG_DONTWAIT, NULL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int attempt_sendmm(struct tni_fd *fd, struct tni_op *op)
{
	int n;

	do
		n = sendmmsg(fd->fd, op->mm->v, op->mm->n, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN && fd->flags & TNI_FD_NOWAIT)
		return -ENOBUFS;
	return n < 0 ? -errno : n;
}

static int attempt_poll(struct tni_fd *fd, short events)
{
	struct pollfd p = {.fd = fd->fd, .events = events};
	int n;

	do
		n = poll(&p, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == 0 ? -EAGAIN : p.revents;
}

int tni_attempt(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct tni_memory *memory = tni_memory_of(fd);
	int res;

	if (memory)
		return memory->ops->attempt(loop, memory, op);
	switch (op->kind) {
	case TNI_OP_ACCEPT:
		res = attempt_accept(fd);
		break;
	case TNI_OP_CONNECT:
		res = attempt_connect(fd, op);
		break;
	case TNI_OP_RECV:
		res = attempt_recv(loop, fd, op);
		break;
	case TNI_OP_SEND:
		res = attempt_send(loop, fd, op);
		break;
	case TNI_OP_RECVMM:
		res = attempt_recvmm(fd, op);
		break;
	case TNI_OP_SENDMM:
		res = attempt_sendmm(fd, op);
		break;
	case TNI_OP_SPLICE_IN:
		res = attempt_splice_in(loop, fd, op);
		break;
	case TNI_OP_SPLICE_OUT:
		res = attempt_splice_out(loop, fd, op);
		break;
	case TNI_OP_POLL_IN:
		res = attempt_poll(fd, POLLIN | POLLRDHUP);
		break;
	case TNI_OP_POLL_OUT:
		res = attempt_poll(fd, POLLOUT);
		break;
	default:
		res = -EINVAL;
	}
	return res == -EWOULDBLOCK ? -EAGAIN : res;
}
