/* Streams, of bytes or of packets: what has come, and what is to go. */
#include "base/err.h"
#include "base/utf8.h"
#include "conn/again.h"
#include "conn/program.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "conn/shm.h"
#include "conn/tap.h"
#include "endpoint/web.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* A message up to this long is cheaper copied than linked. */
#define COPY_MAX 1024

/* A block that brings little to a message that waits for its rest is copied: many such would hold much memory. */
static int keep(struct tn_conn *c, struct tni_blk *blk)
{
	int rc;

	if (!c->rx.head || blk->used > COPY_MAX || c->kind->messages)
		return tni_buf_give(&c->rx, blk);
	rc = tni_buf_append(&c->rx, blk->data, blk->used, false);
	tni_blk_unref(blk);
	return rc;
}

/* What came before, in the same turn perhaps, is handed over first. */
static void lose_reading(struct tn_conn *c, int err)
{
	if (!c->err) {
		c->err = err;
		c->failed_at = (char *)(uintptr_t) "read";
	}
	c->flags |= TNI_READ_LOST;
	c->hold |= TNI_HOLD_CLOSED;
}

static void fail_reading(struct tn_conn *c, int err)
{
	/* So MPTCP says of a client that has reset before it was accepted */
	if (err == -ENOTCONN && c->part)
		err = -ECONNRESET;
	/* Writing hears of a broken pipe when reading has had the reason, or is about to. */
	if ((c->flags & (TNI_WRITE_LOST | TNI_CLOSING)) == TNI_WRITE_LOST && c->err == -EPIPE)
		c->err = 0;
	if ((c->rx.head || (c->layered && tni_layered_in(c->layered)->head)) && !(c->flags & (TNI_CLOSING | TNI_DEAD)))
		lose_reading(c, err);
	else /* All was sent and ended before: that the peer then resets instead of ending is no failure. */
		tni_conn_fail(c, c->flags & TNI_CLOSING && c->flags & TNI_FIN_SENT ? 0 : err,
			      tni_layered_step(c, "read"));
}

/* A terminal's end is that it has gone: unplugged, or hung up by who has the other side. */
static bool has_hung_up(const struct tn_conn *c)
{
#ifdef TNI_HAVE_FILES
	return c->ep->scheme->place == TNI_AT_TTY;
#else
	(void)c;
	return false;
#endif
}

/* A reset tells of itself once: when writing has had it, reading finds what looks like an end in good order. */
static bool was_reset(const struct tn_conn *c)
{
	return c->flags & TNI_WRITE_LOST && c->err == -ECONNRESET;
}

/* After tn_close(), or a refused message, what comes is read only so that closing sends no reset. */
static bool is_wanted(const struct tn_conn *c)
{
	return !(c->flags & (TNI_CLOSING | TNI_DEAD | TNI_REFUSED)) || tni_layered_wants(c);
}

static void recv_done(struct tni_op *op, int res)
{
	struct tn_conn *c = tni_conn_of_rd(op);

	if (res == -ENOBUFS && tni_loop_lacks_memory(c->loop))
		res = -ENOMEM;
	if (res != -ENOBUFS)
		c->active_ns = c->loop->now_ns;
	if (res == -ECONNRESET && tni_conn_is_program(c))
		res = 0; /* it has ended, and not read all */
	if (op->kind == TNI_OP_SPLICE_IN && res && res != -ECANCELED) {
		res = tni_join_filled(c, res);
		if (res < 0)
			fail_reading(c, res);
	} else if (res > 0) {
		if (!c->layered) {
			c->bytes_in += (uint64_t)res;
			tni_conn_count(c, bytes_in, (uint64_t)res);
		}
		if (!is_wanted(c))
			tni_blk_unref(op->blk);
		else if ((c->layered ? tni_layered_take(c, op->blk) : keep(c, op->blk)) < 0)
			tni_conn_fail(c, -ENOMEM, "read");
	} else if (res == 0 && was_reset(c)) {
		lose_reading(c, c->err);
	} else if (res == 0 && has_hung_up(c)) {
		fail_reading(c, -EIO);
	} else if (res == 0) {
		if (tni_conn_is_program(c) && !tni_conn_queued(c)) /* otherwise sending finds that it is over */
			tni_exec_mute(c);
		if (c->layered)
			c->layered->chain.bottom->eof = true;
		else
			c->flags |= TNI_RX_END;
		c->hold |= TNI_HOLD_CLOSED;
	} else if (res == -ENOBUFS) {
		c->hold |= TNI_HOLD_STARVED;
		if (!(c->flags & TNI_RUNNING))
			tni_loop_starve(c->loop, &c->task);
		return;
	} else if (res != -ECANCELED) {
		fail_reading(c, res);
	}
	tni_conn_run_soon(c);
}

/*
 * The peer takes nothing more, but what it said before, perhaps just why, may be in our socket: it is read to its end.
 * A peer that goes on living without reading does not send an end, so its silence is not waited for long.
 */
static void lose_writing(struct tn_conn *c, int err)
{
	if (!c->err) { /* otherwise reading has found why in this turn */
		c->err = err;
		c->failed_at = (char *)(uintptr_t) "write";
	}
	c->flags |= TNI_WRITE_LOST | TNI_FIN_WANTED | TNI_FIN_SENT;
	c->active_ns = c->loop->now_ns;
	tni_again_drop(c, tni_conn_queued(c));
	tni_join_mute(c);
	if (c->layered)
		tni_layered_mute(c);
	tni_loop_timer(c->loop, &c->timer, TNI_LINGER_NS);
}

/* What cannot be done, and where it is known: what helps. */
static const char *failed_step(const struct tn_conn *c, int res)
{
#ifdef TNI_HAVE_SHM
	if (c->kind == &tni_kind_memory && res == -ENOMEM)
		return "memory for a ring (serve with a smaller key ring, or raise the cgroup's limit)";
#else
	(void)c;
	(void)res;
#endif
	return "write";
}

static void sent(struct tn_conn *c, int res)
{
	bool spliced = c->io.wr.kind == TNI_OP_SPLICE_OUT;

	if (spliced && res != -ECANCELED)
		res = tni_join_emptied(c, res);
	if (res >= 0) {
		c->active_ns = c->loop->now_ns;
		if (c->flags & TNI_EXTRA)
			tni_join_moved(c);
		if (c->layered) {
			tni_layered_sent(c, (size_t)res);
			return;
		}
		if (spliced)
			return;
		c->bytes_out += (uint64_t)res;
		tni_conn_count(c, bytes_out, (uint64_t)res);
		tni_buf_consume(&c->tx, (size_t)res);
	} else if ((res == -EPIPE || res == -ECONNRESET) && tni_conn_is_program(c)) {
		(void)shutdown(c->io.fd, SHUT_WR);
		tni_exec_mute(c);
	} else if (res == -EPIPE && tni_layered_lost_nothing(c)) {
		tni_layered_mute(c); /* as with a FIN: that it cannot be sent is no failure */
	} else if ((res == -EPIPE || res == -ECONNRESET) && !(c->flags & (TNI_DEAD | TNI_CLOSING)) &&
		   (!(c->flags & TNI_RX_END) || c->rx.head)) {
		lose_writing(c, res);
	} else if (res != -ECANCELED) {
		tni_conn_fail(c, res, failed_step(c, res));
	}
}

static void send_done(struct tni_op *op, int res)
{
	struct tn_conn *c = tni_conn_of_wr(op);

	sent(c, res);
	tni_conn_run_soon(c);
}

static const struct tni_fd_done done = {.rd = recv_done, .wr = send_done};

static int open_fd(struct tn_conn *c, int fd, unsigned fd_flags)
{
	tni_fd_init(&c->io, fd, fd_flags);
	c->io.done = &done;
	return 0;
}

static int open_packets(struct tn_conn *c, int fd, unsigned fd_flags)
{
	(void)fd_flags;
	return open_fd(c, fd, TNI_FD_MESSAGES);
}

static int receive(struct tn_conn *c)
{
	enum tni_op_kind kind = tni_join_read_kind(c);

	if (kind == TNI_OP_SPLICE_IN)
		c->io.rd.pipe = tni_join_pipe(c);
	return tni_submit(c->loop, &c->io, &c->io.rd, kind);
}

bool tni_stream_has_received(const struct tn_conn *c)
{
	return c->rx.head;
}

/*
 * What has begun must be whole in time, however lively its sender is: `whole` says that something was, since the last
 * look. While we are held it is not the peer who is late. A timer that stands is left where it is as long as it is
 * early enough: it will look again.
 */
static void watch_message(struct tn_conn *c, bool part, bool whole)
{
	if (c->flags & (TNI_CLOSING | TNI_DEAD | TNI_WRITE_LOST | TNI_RX_END))
		return;
	if (!tni_conn_may_deliver(c) || !(part || tni_layered_has_part(c))) {
		c->deadline_ns = 0;
		return;
	}
	if (c->deadline_ns && !whole)
		return;
	c->deadline_ns = tni_ns_add(c->loop->now_ns, c->ep->request_ns);
	if (!tni_timer_armed(&c->timer) || c->timer.when_ns > c->deadline_ns)
		tni_timer_arm(&c->loop->timers, &c->timer, c->deadline_ns);
}

/* A message that a layer has made. As the frames' next(). */
static int next_marked(struct tn_conn *c, struct tni_view *view)
{
	uint32_t mark;
	size_t len = tni_buf_message(&c->rx, &mark);
	unsigned char *data;

	if (len > c->frame.max)
		return tni_frame_too_big(&c->frame, len);
	if (!mark)
		return 0;
	data = tni_buf_front(&c->rx, len);
	if (!data)
		return -ENOMEM;
	tni_view_set(view, &c->rx, data, len, len);
	return 1;
}

/* Its messages are text or binary. */
static bool is_websocket(const struct tn_conn *c)
{
	return c->ep->scheme->web == TNI_WEB_SOCKET;
}

static bool layers_make_messages(const struct tn_conn *c)
{
	return c->layered && tni_layered_has_messages(c->layered);
}

static int next_message(struct tn_conn *c, struct tni_view *view)
{
	if (layers_make_messages(c))
		return next_marked(c, view);
	if (c->kind->messages && c->rx.head->len > c->frame.max)
		return tni_frame_too_big(&c->frame, c->rx.head->len); /* a packet is not to be cut */
	return c->frame.ops->next(&c->frame, &c->rx, view);
}

/* Returns < 0 when the message is bad and nothing behind it is to be read. */
static int hand_over(struct tn_conn *c, const struct tni_view *view)
{
	struct tn_msg msg = {.data = view->data, .len = view->len, .block = (void *)(uintptr_t)view};
	int err;

	c->msgs_in++;
	tni_conn_count(c, msgs_in, 1);
	if (is_websocket(c))
		msg.kind = c->rx.head->end & TNI_MARK_TEXT ? TN_MSG_TEXT : TN_MSG_BINARY;
	tni_tap(c, TN_TAP_IN, &msg, 0);
	if (c->ep->codec && !tni_conn_takes(c, &msg, &err))
		return err;
	if (tni_conn_handler(c)->on_msg)
		tni_conn_handler(c)->on_msg(c, &msg, c->arg);
	return 0;
}

void tni_stream_deliver(struct tn_conn *c)
{
	uint64_t before = c->msgs_in;
	struct tni_view view;
	bool part = false;
	int rc = 0;

	while (c->rx.head && tni_conn_may_deliver(c)) {
		rc = next_message(c, &view);
		if (rc == 0 && (tni_conn_is_cut(c) || (c->flags & TNI_RX_END && layers_make_messages(c))))
			tni_buf_clear(&c->rx); /* nobody knows whether the last piece is a whole message */
		else if (rc == 0 && c->flags & TNI_RX_END)
			rc = c->frame.ops->end(&c->frame, &c->rx, &view);
		part = rc == 0;
		if (rc < 0 && rc != -ENOMEM)
			tni_conn_count(c, bad, 1);
		if (rc <= 0)
			break;
		view.ops = c->frame.ops;
		/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): 1 says that the view is set */
		view.more = c->rx.head->len > view.taken;
		rc = hand_over(c, &view);
		tni_buf_consume(&c->rx, view.taken);
		if (rc < 0 || (c->layered && !tni_layered_is_open(c->layered))) /* tn_start_tls() */
			break;
		tni_conn_update_hold(c);
	}
	if (rc < 0) {
		if (!(c->layered && tni_chain_refuse(&c->layered->chain, rc)) && c->kind->resets)
			c->flags |= TNI_ENDS_BY_RESET;
		tni_conn_refuse_rest(c, rc);
	}
	if (!part || !c->rx.head)
		tni_frame_free(&c->frame); /* an idle connection keeps no memory of its last message */
	tni_buf_compact(&c->rx);
	if (c->ep->request_ns && c->part)
		watch_message(c, part && c->rx.head, c->msgs_in != before);
}

static void note_send(struct tn_conn *c)
{
	if (!c->err)
		c->sent_ns = c->loop->now_ns;
}

/* What is to go out next: what is queued, then what is in the pipe. */
static enum tni_op_kind next_send(struct tn_conn *c)
{
	c->io.wr.buf = c->layered ? tni_layered_seal(c) : &c->tx;
	if (c->io.wr.buf->head)
		return TNI_OP_SEND;
	if (!tni_extra_piped(c))
		return TNI_OP_NONE;
	c->io.wr.pipe = tni_extra_in(c)->seldom->pipe;
	return TNI_OP_SPLICE_OUT;
}

static void flush(struct tn_conn *c, bool now)
{
	int rc;

	if (now)
		tni_recall(c->loop, &c->io);
	if (c->flags & TNI_SEND_FAILED && !now) {
		c->flags &= ~(uint32_t)TNI_SEND_FAILED;
		sent(c, c->io.wr.res);
	}
	while (!tni_op_busy(&c->io.wr) && !(c->flags & (TNI_DEAD | TNI_SEND_FAILED))) { /* invariant 1 */
		enum tni_op_kind kind = next_send(c);

		if (kind == TNI_OP_NONE)
			break;
		note_send(c);
		rc = now ? tni_submit_now(c->loop, &c->io, &c->io.wr, kind)
			 : tni_submit(c->loop, &c->io, &c->io.wr, kind);
		if (rc == 0)
			break;
		if (rc < 0)
			c->io.wr.res = rc;
		if (now && c->io.wr.res < 0)
			c->flags |= TNI_SEND_FAILED;
		else
			sent(c, c->io.wr.res);
	}
}

bool tni_conn_has_messages(const struct tn_conn *c)
{
	return c->kind->messages || layers_make_messages(c) || c->frame.ops->put != tni_none_put;
}

/* Bytes that begin below the mark are taken, however many: returns the bound to be set meanwhile. */
static uint32_t bound_for_bytes(const struct tn_conn *c)
{
	return tni_conn_queued(c) < c->ep->queue ? UINT32_MAX : c->tx.max;
}

static int put_bytes(struct tn_conn *c, const struct iovec *iov, int count, size_t len)
{
	uint32_t max = c->tx.max;
	int rc;

	if (len > UINT32_MAX / 2)
		return -EMSGSIZE;
	c->tx.max = bound_for_bytes(c);
	rc = tni_buf_appendv(&c->tx, iov, count, false);
	c->tx.max = max;
	return rc;
}

int tni_stream_put_marked(struct tn_conn *c, const struct iovec *iov, int count, size_t len)
{
	return len > c->frame.max ? tni_frame_too_big(&c->frame, len) : tni_buf_appendv(&c->tx, iov, count, true);
}

static bool is_utf8(const struct iovec *iov, int count)
{
	struct tni_utf8_part part = {0};

	for (int i = 0; i < count; i++)
		if (!tni_utf8_goes_on(&part, iov[i].iov_base, iov[i].iov_len))
			return false;
	return part.len == 0;
}

static bool is_text(const struct tn_conn *c, enum tn_msg_kind kind)
{
	return kind == TN_MSG_TEXT || (kind == TN_MSG_ANY && c->ep->web->config.text);
}

/* A message with its kind. */
static int put_as(struct tn_conn *c, enum tn_msg_kind kind, const struct iovec *iov, int count, size_t len)
{
	bool text = is_text(c, kind);
	int rc;

	if (text && !is_utf8(iov, count))
		return TN_EUTF8;
	rc = tni_stream_put_marked(c, iov, count, len);
	if (rc == 0)
		c->tx.tail->end |= text ? TNI_MARK_TEXT : TNI_MARK_BINARY;
	return rc;
}

static int put_packet(struct tn_conn *c, const struct tn_msg *answered, const struct iovec *iov, int count)
{
	size_t len = tni_iov_len(iov, count);

	(void)answered;
	if (!len)
		return tni_err(TN_EFORMAT, "an empty message on unix-seqpacket is the end of the stream to its reader");
	return tni_stream_put_marked(c, iov, count, len);
}

static int put(struct tn_conn *c, const struct tn_msg *answered, const struct iovec *iov, int count)
{
	size_t len = tni_iov_len(iov, count);

	if (is_websocket(c))
		return put_as(c, answered ? answered->kind : TN_MSG_ANY, iov, count, len);
	if (c->ep->scheme->web == TNI_WEB_REQUESTS)
		return put_bytes(c, iov, count, len); /* key max limits what is asked, not what is answered */
	if (layers_make_messages(c))
		return tni_stream_put_marked(c, iov, count, len);
	if (c->frame.ops->put == tni_none_put)
		return put_bytes(c, iov, count, len); /* there are no messages for key max to limit */
	if (len > c->frame.max)
		return tni_frame_too_big(&c->frame, len);
	return c->frame.ops->put(&c->frame, &c->tx, iov, count);
}

/* ---- what the queue refers to ---- */

/*
 * Linking pays for long messages, and for short ones that go on where the last one ended: what a burst brought in one
 * block then leaves as one piece. A lone short message is copied: it must not hold a big block for a slow peer. One
 * that is shared holds nothing that is not there anyway.
 */
static bool worth_linking(const struct tn_conn *c, const struct tni_view *view)
{
	if (view->shared)
		return view->taken > TNI_SHARED_COPY_MAX || !c->tx.head;
	return view->taken > COPY_MAX || view->more || tni_buf_goes_on(&c->tx, view->blk, view->raw);
}

/* What was received stands there as our frame would put it. */
static bool is_as_sent(const struct tn_conn *c, const struct tni_view *view)
{
	if (!view->raw || (view->ops != c->frame.ops && strcmp(view->ops->name, c->frame.ops->name) != 0))
		return false;
	return !view->unsure || tni_frame_is_as_sent(&c->frame, view);
}

static int frame_form(const struct tn_shared *shared, struct tn_buf *out, void *arg)
{
	struct iovec iov = {.iov_base = shared->blk.data, .iov_len = shared->blk.used};
	struct tni_frame *frame = arg;

	return frame->ops->put(frame, out, &iov, 1);
}

/* A shared message in its frame. */
static int put_shared(struct tn_conn *c, const struct tni_view *view)
{
	struct tni_view framed = *view;
	int rc = tni_shared_form(view->shared, c->frame.ops->name, &c->loop->mem, frame_form, &c->frame, &framed.blk);

	if (rc < 0)
		return rc;
	framed.raw = framed.blk->data;
	framed.taken = framed.blk->used;
	if (worth_linking(c, &framed))
		return tni_buf_link(&c->tx, framed.blk, framed.raw, framed.taken, false);
	return tni_buf_append(&c->tx, framed.raw, framed.taken, false);
}

/* Messages that have no frame, but their ends marked: packets, and those that go through layers. */
int tni_stream_link_marked(struct tn_conn *c, enum tn_msg_kind kind, const struct tni_view *view)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)view->data, .iov_len = view->len};
	bool text = is_websocket(c) && is_text(c, kind);
	int rc;

	/* What a frame has put elsewhere (cobs) does not lie in the block. */
	if (!view->len || view->len > c->frame.max || !view->raw || (const unsigned char *)view->data < view->raw ||
	    view->raw + view->taken < (const unsigned char *)view->data + view->len)
		return 1;
	if (view->shared ? !worth_linking(c, view) : view->len <= COPY_MAX)
		return 1;
	if (text && !(view->shared ? tni_shared_is_utf8(view->shared) : is_utf8(&iov, 1)))
		return TN_EUTF8;
	rc = tni_buf_link(&c->tx, view->blk, (unsigned char *)(uintptr_t)view->data, view->len, true);
	if (rc == 0 && is_websocket(c))
		c->tx.tail->end |= text ? TNI_MARK_TEXT : TNI_MARK_BINARY;
	return rc;
}

static int put_linked(struct tn_conn *c, enum tn_msg_kind kind, const struct tni_view *view)
{
	bool framed = c->frame.ops->put != tni_none_put;
	uint32_t max = c->tx.max;
	int rc;

	if (layers_make_messages(c))
		return tni_stream_link_marked(c, kind, view);
	if (framed && view->len > c->frame.max)
		return 1;
	if (framed && view->shared)
		return put_shared(c, view);
	if (!worth_linking(c, view) || (!view->shared && !is_as_sent(c, view)))
		return 1;
	if (!framed)
		c->tx.max = bound_for_bytes(c);
	rc = tni_buf_link(&c->tx, view->blk, view->raw, view->taken, false);
	c->tx.max = max;
	return rc;
}

static void shut_socket(struct tn_conn *c)
{
	/* ENOTCONN: the peer has gone; the read tells how. */
	if (shutdown(c->io.fd, SHUT_WR) < 0 && errno != ENOTCONN)
		tni_conn_fail(c, -errno, "shutdown");
}

/* The end of a pipe is told by closing it. */
static void shut_file(struct tn_conn *c)
{
	if (c->flags & TNI_WRITE_ONLY)
		tni_conn_fail(c, 0, NULL);
}

#ifdef TNI_HAVE_FILES

static void leave_file(struct tn_conn *c)
{
	if (c->ep->scheme->place == TNI_AT_PTY)
		tni_pty_leave(c->ep->host, c->io.fd);
}

#endif

static void tell(const struct tn_conn *c, struct tn_conn_info *info)
{
	uint64_t now = tni_clock_ns();

	if (tni_op_busy(&c->io.wr) && !c->err && now > c->sent_ns)
		info->stalled_ns = now - c->sent_ns;
	tni_exec_tell(c, info);
}

const struct tni_kind tni_kind_bytes = {
	.ends = true,
	.awaits_end = true,
	.resets = true,
	.open = open_fd,
	.receive = receive,
	.deliver = tni_stream_deliver,
	.has_received = tni_stream_has_received,
	.put = put,
	.link = put_linked,
	.flush = flush,
	.shut = shut_socket,
	.info = tell,
};

#ifdef TNI_HAVE_SHM

static int open_memory(struct tn_conn *c, int fd, unsigned fd_flags)
{
	(void)fd_flags;
	return tni_shm_open(c, fd, &done);
}

const struct tni_kind tni_kind_memory = {
	.ends = true,
	.awaits_end = true,
	.resets = true,
	.open = open_memory,
	.receive = receive,
	.deliver = tni_stream_deliver,
	.has_received = tni_stream_has_received,
	.put = put,
	.link = put_linked,
	.flush = flush,
	.shut = tni_shm_shut,
	.reset = tni_shm_reset,
	.leave = tni_shm_leave,
	.unsent = tni_shm_unsent,
	.unread = tni_shm_has_unread,
	.error = tni_shm_error,
	.info = tell,
};

#endif

const struct tni_kind tni_kind_packets = {
	.ends = true,
	.awaits_end = true,
	.resets = true,
	.messages = true,
	.open = open_packets,
	.receive = receive,
	.deliver = tni_stream_deliver,
	.has_received = tni_stream_has_received,
	.put = put_packet,
	.link = tni_stream_link_marked,
	.flush = flush,
	.shut = shut_socket,
	.info = tell,
};

const struct tni_kind tni_kind_file = {
	.ends = true,
	.open = open_fd,
	.receive = receive,
	.deliver = tni_stream_deliver,
	.has_received = tni_stream_has_received,
	.put = put,
	.link = put_linked,
	.flush = flush,
	.shut = shut_file,
#ifdef TNI_HAVE_FILES
	.leave = leave_file,
#endif
	.info = tell,
};
