/* Sending: what a user's calls put into a connection's queue. */
#include "base/err.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "conn/tap.h"

#include <errno.h>

/* So much goes out inside callbacks in one turn before they are told to wait for on_drain: a peer that reads as fast as
 * they send must not keep the loop there for ever. */
#define PUSHED_MAX (1U << 20)

static int may_send(const struct tn_conn *c)
{
	return c->flags & (TNI_DEAD | TNI_CLOSING | TNI_FIN_WANTED) ? TN_ESTATE : 0;
}

/*
 * What passes the mark within one turn goes to the kernel now, so that a full queue is the peer's doing. This runs
 * inside a call of the user's: nobody is called back, what it finds is told from the task.
 */
static void push(struct tn_conn *c)
{
	size_t before = tni_conn_queued(c);

	if (!(c->flags & TNI_OPEN) || c->flags & TNI_DEAD)
		return;
	c->kind->flush(c, true);
	if (tni_conn_queued(c) < before)
		c->loop->pushed += before - tni_conn_queued(c);
}

/* A shorter message behind one that was refused would leave a hole that its receiver cannot see. */
static bool is_full(const struct tn_conn *c)
{
	return c->flags & TNI_FULL && tni_conn_queued(c) > c->ep->queue / 2;
}

/* What a queue has refused. */
static int refused(struct tn_conn *c, int rc)
{
	if (rc == -ENOBUFS) {
		c->flags |= TNI_OWE_DRAIN | TNI_FULL;
		tni_join_full(c);
		tni_conn_run_soon(c); /* on_drain may be due already */
		return tni_err(TN_EFULL, "%s: the queue is full", c->ep->url);
	}
	if (rc == TN_EFORMAT || rc == TN_ETOOBIG) /* the frame has said what is wrong with it */
		return tni_err_prefix(rc, "%s: send", c->ep->url);
	return tni_err(rc, "%s: send: %s", c->ep->url, tn_strerror(rc));
}

/* The queue is at its mark. */
static int passed_mark(struct tn_conn *c)
{
	push(c);
	if (tni_conn_queued(c) < c->ep->queue && c->loop->pushed < PUSHED_MAX)
		return 0;
	c->flags |= TNI_OWE_DRAIN;
	tni_join_full(c);
	return 1;
}

/* What a queue's answer means to the sender. 1: a datagram that is lost already, which is no fault of its sender's. */
static inline int queued_result(struct tn_conn *c, int rc)
{
	size_t queued;

	if (rc < 0)
		return refused(c, rc);
	queued = tni_conn_queued(c);
	c->msgs_out += rc == 0;
	tni_conn_count_queued(c, rc == 0, queued);
	if (c->flags & TNI_DELIVERING)
		c->flags |= TNI_SELF_FED;
	tni_conn_run_soon(c);
	return queued < c->ep->queue ? 0 : passed_mark(c);
}

int tn_replyv(struct tn_conn *c, const struct tn_msg *msg, const struct iovec *iov, int count)
{
	int rc = may_send(c);

	if (rc < 0)
		return tni_err(rc, "%s: send: the connection is closing", c->ep->url);
	if (count > TNI_PIECES_MAX)
		return tni_err(-EINVAL, "%s: send: more than %d pieces", c->ep->url, TNI_PIECES_MAX);
	if (is_full(c))
		rc = -ENOBUFS;
	else
		rc = (tni_conn_is_tapped(c) ? tni_tap_put : c->kind->put)(c, msg, iov, count);
	return queued_result(c, rc);
}

int tn_sendv(struct tn_conn *c, const struct iovec *iov, int count)
{
	return tn_replyv(c, NULL, iov, count);
}

int tn_reply(struct tn_conn *c, const struct tn_msg *msg, const void *data, size_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	return tn_replyv(c, msg, &iov, 1);
}

int tn_send(struct tn_conn *c, const void *data, size_t len)
{
	return tn_reply(c, NULL, data, len);
}

int tn_send_as(struct tn_conn *c, enum tn_msg_kind kind, const void *data, size_t len)
{
	const struct tn_msg as = {.kind = kind};

	return tn_reply(c, &as, data, len);
}

/* A message whose bytes the queue may refer to. It is put there by copying where that cannot be, or does not pay. */
static int send_view(struct tn_conn *c, const struct tn_msg *msg, const struct tni_view *view)
{
	int rc = 1;

	if (c->kind->link && may_send(c) == 0)
		rc = is_full(c) ? -ENOBUFS : c->kind->link(c, msg->kind, view);
	if (rc == 0)
		tni_tap(c, TN_TAP_OUT, msg, 0);
	return rc == 1 ? tn_reply(c, msg, msg->data, msg->len) : queued_result(c, rc);
}

int tn_forward(struct tn_conn *c, const struct tn_msg *msg)
{
	const struct tni_view *view = msg->block;

	return view ? send_view(c, msg, view) : tn_reply(c, msg, msg->data, msg->len);
}

int tn_send_shared(struct tn_conn *c, struct tn_shared *shared)
{
	unsigned char *data = shared->blk.data;
	size_t len = shared->blk.used;
	const struct tn_msg msg = {.data = data, .len = len, .kind = (enum tn_msg_kind)shared->kind};
	const struct tni_view view = {
		.data = data, .len = len, .raw = data, .taken = len, .blk = &shared->blk, .shared = shared};

	return send_view(c, &msg, &view);
}

int tn_flush(struct tn_conn *c)
{
	if (c->flags & (TNI_DEAD | TNI_WRITE_LOST))
		return TN_ESTATE;
	push(c);
	tni_conn_run_soon(c); /* a send that was taken back tells nobody that it is done */
	return tni_conn_queued(c) > 0;
}
