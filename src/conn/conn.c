/*
 * A connection's life and the pump that moves its messages.
 *
 * Invariants, asserted below:
 *  1. at most one send and one receive are in flight per connection;
 *  2. a receive is armed iff the hold mask is 0 (in a handshake: or only its user holds it);
 *  3. memory is freed only when nothing is in flight;
 *  4. user code runs only from the ready queue (conn_run), never inside a submit or a completion;
 *  5. on_close runs exactly once, last;
 *  6. what is in flight is known by slot and generation, never by descriptor (io/loop.c);
 *  7. a connection that starved for memory runs again when some has come back (tni_loop_starve).
 */
#include "conn/conn.h"

#include "base/err.h"
#include "conn/format.h"
#include "conn/layered.h"
#include "conn/lossy.h"
#include "conn/peers.h"
#include "conn/server.h"
#include "net/listen.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A message up to this long is cheaper copied than linked. */
#define COPY_MAX 1024

/* After our FIN, how long a silent peer is waited for, so that a reset does not destroy what it has yet to read. */
#define LINGER_NS TNI_NS_PER_S

/* How often the kernel is asked whether the peer has all, before a reset. */
#define RESET_POLL_NS (10 * TNI_NS_PER_MS)

/* So much goes out inside callbacks in one turn before they are told to wait for on_drain: a peer that reads as fast as
 * they send must not keep the loop there for ever. */
#define PUSHED_MAX (1U << 20)

static_assert(sizeof(struct tn_conn) <= 440, "an idle connection costs at most 512 bytes, slot and allocator included");

static void conn_run(struct tni_task *task);
static void timer_fired(struct tni_timer *timer);
static void recv_done(struct tni_op *op, int res);
static void send_done(struct tni_op *op, int res);

/* With an end, and so on: bytes, or packets. Otherwise its messages are a socket's datagrams. */
static bool is_stream(const struct tn_conn *c)
{
	return !c->dgram || c->layered;
}

static bool in_flight(const struct tn_conn *c)
{
	return tni_op_busy(&c->io.rd) || tni_op_busy(&c->io.wr);
}

static void run_soon(struct tn_conn *c)
{
	if (!(c->flags & TNI_RUNNING))
		tni_loop_ready(c->loop, &c->task);
}

/* ---- ending ---- */

/* Marks it dead: nothing more is read, sent or handed over; it goes once nothing is in flight. */
void tni_conn_fail(struct tn_conn *c, int err, const char *failed_at)
{
	if (c->flags & TNI_DEAD)
		return;
	if (c->dial)
		tni_dial_cancel(c->dial);
	c->dial = NULL;
	c->flags |= TNI_DEAD;
	c->hold |= TNI_HOLD_CLOSED;
	if (!c->err) { /* the first reason is the reason */
		c->err = err;
		c->failed_at = (char *)(uintptr_t)failed_at;
	}
	tni_loop_untimer(c->loop, &c->timer);
	run_soon(c);
}

static void describe_end(const struct tn_conn *c)
{
	struct tn_conn_info info;

	if (c->err == 0) {
		tni_err(0, "ended");
		return;
	}
	tn_conn_info(c, &info);
	tni_err(c->err, "%s: %s%s%s", c->part && info.peer[0] ? info.peer : c->ep->url,
		c->failed_at ? c->failed_at : "", c->failed_at && !(c->flags & TNI_DESCRIBED) ? ": " : "",
		c->flags & TNI_DESCRIBED ? "" : tn_strerror(c->err));
}

/* A socket of bytes or packets: neither a file nor datagrams, with or without DTLS. */
static bool can_reset(const struct tn_conn *c)
{
	return c->io.fd >= 0 && !c->dgram && !(c->io.flags & TNI_FD_FILE);
}

static void reset_on_close(const struct tn_conn *c)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	if (can_reset(c))
		(void)setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void tell_close(struct tn_conn *c)
{
	if (c->part && !(c->flags & TNI_OPEN))
		return; /* gone before its server's user knew of it */
	if (c->part && c->flags & TNI_ACCEPTED && c->part->server->watch.on_close)
		c->part->server->watch.on_close(c, c->err, c->part->server->watch_arg);
	if (c->user->handler.on_close)
		c->user->handler.on_close(c, c->err, c->user->arg);
}

/* Whose on_close runs on this thread, and where it was bound: its descriptor has gone. */
static _Thread_local struct closing {
	const struct tn_conn *conn;
	struct tn_addr local;
} closing;

/* Where it is bound; for those that share a socket, where that is. */
static bool local_of(const struct tn_conn *c, struct tn_addr *addr)
{
	const struct tn_conn *s = tni_conn_socket(c);
	struct tn_addr pair;

	if (!s || s->io.fd < 0 || s->io.flags & TNI_FD_FILE || tni_addr_local(s->io.fd, addr) < 0)
		return false;
	if (s != c) { /* the address that its peer speaks to, of those that the socket has */
		tni_peers_addr(c, &pair);
		(void)tni_addr_from_local(addr, &pair, tni_addr_port(addr));
	}
	return true;
}

static size_t queued(const struct tn_conn *c)
{
	size_t below = c->dgram ? c->dgram->tx.buf.len : 0;

	return c->layered ? c->tx.len + tni_chain_queued(&c->layered->chain) + below : c->dgram ? below : c->tx.len;
}

/* Its peer does not have, or has not been asked for, all that belongs to it. */
static bool is_unfinished(const struct tn_conn *c)
{
	return queued(c) || c->held || c->hold & TNI_HOLD_USER;
}

/* The last step. `described`: the detail of the failure stands already (a dial's). */
static void finish(struct tn_conn *c, bool described)
{
	struct tni_part *part = c->part;
	struct closing outer = closing;

	assert(!in_flight(c)); /* invariants 1 and 3 */
	tni_loop_untimer(c->loop, &c->timer);
	/* An end in good order would tell the peer that this was all. */
	if (c->flags & (TNI_RESET | TNI_ENDS_BY_RESET) || (c->err && is_unfinished(c)))
		reset_on_close(c);
	if (local_of(c, &closing.local))
		closing.conn = c;
	if (c->dgram)
		tni_dgram_end(c);
	if (c->layered && c->layered->lossy)
		tni_lossy_part(c);
	else if (c->dgram && c->dgram->peers)
		tni_peers_end(c);
	tni_fd_close(c->loop, &c->io);
	if (!described)
		describe_end(c);
	if (!(c->flags & (TNI_UNTOLD | TNI_SOCKET))) /* invariant 5 */
		tell_close(c);
	closing = outer;
	if (c->layered && part && c->err && c->err != -ECANCELED && !(c->flags & TNI_OPEN))
		tni_trouble_note(part, c->err);
	tni_list_del(&c->task.node);
	tni_list_del(&c->owned.node);
	tni_buf_clear(&c->rx);
	tni_buf_clear(&c->tx);
	tni_dgram_free(c);
	tni_layered_free(c);
	tni_frame_free(&c->frame);
	if (c->flags & TNI_DESCRIBED)
		free(c->failed_at);
	c->loop->alive--;
	c->loop->dying -= (c->flags & TNI_DYING) != 0;
	if (part) {
		tni_part_conn_gone(part, c);
	} else {
		tni_endpoint_free(c->ep);
		free((void *)(uintptr_t)c->user);
	}
	free(c);
}

/* Only a full submission queue refuses; then it is tried again in the next turn. */
static void cancel_op(struct tn_conn *c, struct tni_op *op)
{
	if (tni_cancel(c->loop, &c->io, op) < 0)
		tni_loop_later(c->loop, &c->task);
}

static bool bury(struct tn_conn *c)
{
	if (!(c->flags & TNI_DEAD))
		return false;
	if (c->io.slot) {
		cancel_op(c, &c->io.rd);
		cancel_op(c, &c->io.wr);
	}
	if (!in_flight(c)) {
		finish(c, false);
	} else if (!(c->flags & TNI_DYING)) {
		c->flags |= TNI_DYING;
		c->loop->dying++;
	}
	return true;
}

/* Orderly close: all sent and our FIN is out. Gone when the peer has ended too, or has been waited for enough. */
static bool closing_is_done(const struct tn_conn *c)
{
	if (!(c->flags & TNI_FIN_SENT) || c->flags & TNI_ENDS_BY_RESET)
		return false;
	if (c->layered && !tni_layered_is_over(c->layered))
		return false;
	return c->flags & TNI_RX_END || !is_stream(c) || c->io.flags & TNI_FD_FILE;
}

static bool kernel_has_unsent(const struct tn_conn *c)
{
	int queued = 0;

	return ioctl(c->io.fd, SIOCOUTQ, &queued) == 0 && queued > 0;
}

/* While open: idle, or the deadline of a message, whichever comes first. */
static void arm_open(struct tn_conn *c, uint64_t idle_at_ns)
{
	uint64_t at = c->deadline_ns && c->deadline_ns < idle_at_ns ? c->deadline_ns : idle_at_ns;

	if (at != TNI_NEVER)
		tni_timer_arm(&c->loop->timers, &c->timer, at);
}

static bool kernel_has_unread(const struct tn_conn *c)
{
	int unread = 0;

	return !(c->flags & TNI_RX_END) && ioctl(c->io.fd, FIONREAD, &unread) == 0 && unread > 0;
}

/* What the peer said that has not been handed over, here or in the kernel. */
static bool has_unread(const struct tn_conn *c)
{
	return c->rx.head || (c->layered && tni_layered_in(c->layered)->head) || kernel_has_unread(c);
}

static bool is_held_unread(const struct tn_conn *c)
{
	return c->hold & (TNI_HOLD_USER | TNI_HOLD_TXFULL) && !(c->flags & (TNI_DEAD | TNI_CLOSING)) && has_unread(c);
}

/* Nothing has come for a while, and nothing has that a late turn is still to read. */
static bool is_silent(const struct tn_conn *c, uint64_t now)
{
	return now - c->active_ns >= LINGER_NS && !kernel_has_unread(c);
}

/* After a failed write: reading goes on until the peer has been silent for a while. What its user does not read yet
 * waits, and so does what there is no memory for. */
static void lost_writing_is_due(struct tn_conn *c, uint64_t now)
{
	if (is_held_unread(c) || (!(c->hold & ~TNI_HOLD_STARVED) && !is_silent(c, now)))
		tni_loop_timer(c->loop, &c->timer, LINGER_NS / 4);
	else
		tni_conn_fail(c, c->err, c->failed_at);
}

/*
 * In place of a FIN, which would tell the peer that all it sent was taken. A reset discards what the kernel has not yet
 * brought to the peer, so that is waited for. What the peer still sends is left unread: closing a Unix socket then is a
 * reset, too.
 */
static void end_by_reset(struct tn_conn *c)
{
	c->flags |= TNI_FIN_SENT;
	c->hold |= TNI_HOLD_CLOSED;
	if (kernel_has_unsent(c) && c->loop->now_ns < c->deadline_ns) {
		tni_loop_timer(c->loop, &c->timer, RESET_POLL_NS);
		return;
	}
	tni_conn_fail(c, 0, NULL);
}

/* The drain deadline, then the linger steps after our FIN. */
static void closing_is_due(struct tn_conn *c, uint64_t now)
{
	if (!(c->flags & TNI_FIN_SENT)) {
		c->flags |= TNI_RESET;
		tni_conn_fail(c, TN_EDRAIN, "close");
	} else if (c->flags & TNI_ENDS_BY_RESET) {
		end_by_reset(c);
	} else if (now >= c->deadline_ns || (is_silent(c, now) && !kernel_has_unsent(c))) {
		tni_conn_fail(c, 0, NULL);
	} else {
		tni_loop_timer(c->loop, &c->timer, LINGER_NS / 4);
	}
}

/* Once for each deadline: a loop that is late always must not keep what is due for ever. */
static bool is_met_late(struct tn_conn *c, uint64_t now)
{
	bool late = now - c->timer.when_ns >= TNI_LATE_NS && !(c->flags & TNI_MET_LATE);

	c->flags = late ? c->flags | TNI_MET_LATE : c->flags & ~(unsigned)TNI_MET_LATE;
	return late;
}

/*
 * One timer serves in turn: what ends it while open (lazily: traffic only notes the time), the drain deadline once
 * closing, and the linger steps after our FIN.
 */
static void timer_fired(struct tni_timer *timer)
{
	struct tn_conn *c = tni_container_of(timer, struct tn_conn, timer);
	uint64_t now = c->loop->now_ns;

	if (c->flags & TNI_CLOSING)
		closing_is_due(c, now);
	else if (c->flags & TNI_WRITE_LOST)
		lost_writing_is_due(c, now);
	else if (is_met_late(c, now))
		tni_loop_timer(c->loop, &c->timer, TNI_LATE_NS / 5);
	else if (c->layered && !tni_layered_is_open(c->layered))
		tni_layered_timeout(c);
	else if (c->deadline_ns && now >= c->deadline_ns)
		tni_conn_fail(c, -ETIMEDOUT, "a message that is not whole (key request)");
	else if (c->ep->idle_ns && now - c->active_ns >= c->ep->idle_ns)
		tni_conn_fail(c, TN_EIDLE, NULL);
	else
		arm_open(c, c->ep->idle_ns ? c->active_ns + c->ep->idle_ns : TNI_NEVER);
}

/* ---- engine side: no user code here (invariant 4) ---- */

/* A block that brings little to a message that waits for its rest is copied: many such would hold much memory. */
static int keep(struct tn_conn *c, struct tni_blk *blk)
{
	int rc;

	if (!c->rx.head || blk->used > COPY_MAX || c->io.flags & TNI_FD_MESSAGES)
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
	if (err == -ENOTCONN && c->flags & TNI_ACCEPTED)
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

	if (res == -ENOBUFS && tni_loop_is_dry(c->loop))
		res = -ENOMEM;
	if (res != -ENOBUFS)
		c->active_ns = c->loop->now_ns;
	if (res > 0) {
		if (!c->layered)
			c->bytes_in += (uint64_t)res;
		if (!is_wanted(c))
			tni_blk_unref(op->blk);
		else if ((c->layered ? tni_layered_take(c, op->blk) : keep(c, op->blk)) < 0)
			tni_conn_fail(c, -ENOMEM, "read");
	} else if (res == 0 && was_reset(c)) {
		lose_reading(c, c->err);
	} else if (res == 0) {
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
	run_soon(c);
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
	tni_buf_clear(&c->tx);
	if (c->layered)
		tni_layered_mute(c);
	tni_loop_timer(c->loop, &c->timer, LINGER_NS);
}

static void sent(struct tn_conn *c, int res)
{
	if (res >= 0) {
		c->active_ns = c->loop->now_ns;
		if (c->layered) {
			tni_layered_sent(c, (size_t)res);
			return;
		}
		c->bytes_out += (uint64_t)res;
		tni_buf_consume(&c->tx, (size_t)res);
	} else if (res == -EPIPE && tni_layered_lost_nothing(c)) {
		tni_layered_mute(c); /* as with a FIN: that it cannot be sent is no failure */
	} else if ((res == -EPIPE || res == -ECONNRESET) && !(c->flags & (TNI_DEAD | TNI_CLOSING)) &&
		   (!(c->flags & TNI_RX_END) || c->rx.head)) {
		lose_writing(c, res);
	} else if (res != -ECANCELED) {
		tni_conn_fail(c, res, "write");
	}
}

static void send_done(struct tni_op *op, int res)
{
	struct tn_conn *c = tni_conn_of_wr(op);

	sent(c, res);
	run_soon(c);
}

/* ---- the pump ---- */

static bool may_deliver(const struct tn_conn *c)
{
	return !(c->flags & (TNI_DEAD | TNI_CLOSING)) && !(c->hold & (TNI_HOLD_USER | TNI_HOLD_TXFULL));
}

bool tni_conn_may_deliver(const struct tn_conn *c)
{
	return may_deliver(c);
}

static void hold_back(struct tn_conn *c, enum tni_hold why)
{
	c->hold |= (uint8_t)why;
	c->flags |= TNI_HELD_BACK;
}

/*
 * A connection that answers faster than its peer reads must not read more. One whose queue is filled otherwise (by the
 * other side of a relay, by a client that pushes while its peer answers) goes on reading: two ends that hold their
 * reading until the other has read would wait for each other for ever.
 */
static void update_hold(struct tn_conn *c)
{
	if (queued(c) <= c->ep->queue / 2) {
		c->hold &= (uint8_t)~TNI_HOLD_TXFULL;
		c->flags &= ~(uint32_t)TNI_SELF_FED;
	} else if (queued(c) >= c->ep->queue && c->flags & TNI_SELF_FED) {
		hold_back(c, TNI_HOLD_TXFULL);
	}
}

static void say_again(int err, const char *why, long at)
{
	if (strcmp(tn_errmsg(), why) != 0 || tn_errpos() != at)
		tni_err(err, "%s", why);
	tni_err_at(at);
}

/* Those who are told may call the library, which must not cost the reason its words. */
static void tell_bad(struct tn_conn *c, const struct tn_msg *msg, int err)
{
	const struct tn_watch *watch = c->part ? &c->part->server->watch : NULL;
	long at = tn_errpos();
	char why[512];

	*stpncpy(why, tn_errmsg(), sizeof(why) - 1) = '\0';
	if (watch && watch->on_bad) {
		watch->on_bad(c, msg, err, c->part->server->watch_arg);
		say_again(err, why, at);
	}
	if (c->user->handler.on_bad) {
		c->user->handler.on_bad(c, msg, err, c->user->arg);
		say_again(err, why, at);
	}
}

bool tni_conn_takes(struct tn_conn *c, const struct tn_msg *msg, int *err)
{
	*err = tni_format_check(c->ep, msg->data, msg->len);
	if (*err == 0)
		return true;
	tell_bad(c, msg, *err);
	if (c->ep->bad == TNI_BAD_SKIP || (c->ep->bad == TNI_BAD_ASK && c->user->handler.on_bad))
		*err = 0;
	return false;
}

/* Returns < 0 when the message is bad and nothing behind it is to be read. */
static int hand_over(struct tn_conn *c, const struct tni_view *view)
{
	struct tn_msg msg = {.data = view->data, .len = view->len, .block = (void *)(uintptr_t)view};
	int err;

	c->msgs_in++;
	if (c->ep->codec && !tni_conn_takes(c, &msg, &err))
		return err;
	if (c->user->handler.on_msg)
		c->user->handler.on_msg(c, &msg, c->user->arg);
	return 0;
}

void tni_conn_keep_reason(struct tn_conn *c, int err)
{
	/* As in fail_reading(): a broken pipe is what writing hears of a reason that reading finds. */
	if (c->flags & TNI_WRITE_LOST && c->err == -EPIPE)
		c->err = 0;
	if (c->err)
		return;
	c->err = err;
	c->failed_at = strdup(tn_errmsg());
	if (c->failed_at)
		c->flags |= TNI_DESCRIBED;
}

/* Replies to what came before are still owed (tn_conn_hold()), and the user can be told that no more comes. */
static bool owes_before_refusal(const struct tn_conn *c)
{
	return c->held && c->user->handler.on_cut &&
	       !(c->flags & (TNI_CLOSING | TNI_DEAD | TNI_WRITE_LOST | TNI_END_TOLD | TNI_REFUSED));
}

static void cut_after_refusal(struct tn_conn *c)
{
	tni_buf_clear(&c->rx);
	c->flags |= TNI_REFUSED | TNI_END_TOLD;
	c->user->handler.on_cut(c, c->user->arg);
}

void tni_conn_refuse_rest(struct tn_conn *c, int err)
{
	tni_conn_keep_reason(c, err);
	/* Without memory it is not the peer's doing, and an end in good order would tell it that all is well. */
	if (err == -ENOMEM)
		tni_conn_kill(c, err);
	else if (owes_before_refusal(c))
		cut_after_refusal(c);
	else
		tn_close(c);
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
	if (!may_deliver(c) || !(part || tni_layered_has_part(c))) {
		c->deadline_ns = 0;
		return;
	}
	if (c->deadline_ns && !whole)
		return;
	c->deadline_ns = tni_ns_add(c->loop->now_ns, c->ep->request_ns);
	if (!tni_timer_armed(&c->timer) || c->timer.when_ns > c->deadline_ns)
		tni_timer_arm(&c->loop->timers, &c->timer, c->deadline_ns);
}

/* The peer's bytes have ended without the word of its layer (TLS: close_notify) that says so. */
static bool is_cut(const struct tn_conn *c)
{
	return c->flags & TNI_RX_END && c->err == TN_ECUT;
}

/* A message that a layer has made. As the frames' next(). */
static int next_marked(struct tn_conn *c, struct tni_view *view)
{
	bool whole;
	size_t len = tni_buf_message(&c->rx, &whole);
	unsigned char *data;

	if (len > c->frame.max)
		return tni_frame_too_big(&c->frame, len);
	if (!whole)
		return 0;
	data = tni_buf_front(&c->rx, len);
	if (!data)
		return -ENOMEM;
	tni_view_set(view, &c->rx, data, len, len);
	return 1;
}

static int next_message(struct tn_conn *c, struct tni_view *view)
{
	if (c->layered && tni_layered_has_messages(c->layered))
		return next_marked(c, view);
	if (c->io.flags & TNI_FD_MESSAGES && c->rx.head->len > c->frame.max)
		return tni_frame_too_big(&c->frame, c->rx.head->len); /* a packet is not to be cut */
	return c->frame.ops->next(&c->frame, &c->rx, view);
}

static void deliver_stream(struct tn_conn *c)
{
	uint64_t before = c->msgs_in;
	struct tni_view view;
	bool part = false;
	int rc = 0;

	while (c->rx.head && may_deliver(c)) {
		rc = next_message(c, &view);
		if (rc == 0 && is_cut(c))
			tni_buf_clear(&c->rx); /* nobody knows whether the last piece is a whole message */
		else if (rc == 0 && c->flags & TNI_RX_END)
			rc = c->frame.ops->end(&c->frame, &c->rx, &view);
		part = rc == 0;
		if (rc <= 0)
			break;
		view.ops = c->frame.ops;
		view.size = c->frame.size;
		/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): 1 says that the view is set */
		view.more = c->rx.head->len > view.taken;
		rc = hand_over(c, &view);
		tni_buf_consume(&c->rx, view.taken);
		if (rc < 0)
			break;
		update_hold(c);
	}
	if (rc < 0) {
		if (can_reset(c))
			c->flags |= TNI_ENDS_BY_RESET;
		tni_conn_refuse_rest(c, rc);
	}
	if (!part || !c->rx.head)
		tni_frame_free(&c->frame); /* an idle connection keeps no memory of its last message */
	tni_buf_compact(&c->rx);
	if (c->ep->request_ns && c->part)
		watch_message(c, part && c->rx.head, c->msgs_in != before);
}

/* Who is told of the peer's end. NULL: nobody, and it is answered by ours. */
static void (*end_handler(const struct tn_conn *c))(struct tn_conn *, void *)
{
	return is_cut(c) ? c->user->handler.on_cut : c->user->handler.on_end;
}

static void tell_end(struct tn_conn *c)
{
	void (*told)(struct tn_conn *, void *) = end_handler(c);

	if ((c->flags & (TNI_RX_END | TNI_END_TOLD)) != TNI_RX_END || c->rx.head || !may_deliver(c))
		return;
	c->flags |= TNI_END_TOLD;
	if (told)
		told(c, c->user->arg);
	else if (!c->held)
		tn_close(c);
}

static void note_send(struct tn_conn *c)
{
	if (!c->err)
		c->sent_ns = c->loop->now_ns;
}

/* `now`: by calls of its own, not with what else leaves at the end of the turn. */
static void flush_stream(struct tn_conn *c, bool now)
{
	int rc;

	if (c->layered && c->layered->lossy) {
		tni_lossy_flush(c);
		return;
	}
	if (c->flags & TNI_SEND_FAILED && !now) {
		c->flags &= ~(uint32_t)TNI_SEND_FAILED;
		sent(c, c->io.wr.res);
	}
	while (!tni_op_busy(&c->io.wr) && !(c->flags & (TNI_DEAD | TNI_SEND_FAILED))) { /* invariant 1 */
		c->io.wr.buf = c->layered ? tni_layered_seal(c) : &c->tx;
		if (!c->io.wr.buf->head)
			break;
		note_send(c);
		rc = now ? tni_submit_now(c->loop, &c->io, &c->io.wr, TNI_OP_SEND)
			 : tni_submit(c->loop, &c->io, &c->io.wr, TNI_OP_SEND);
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

/* Our direction is to end, and nothing is queued any more. */
static bool owes_fin(const struct tn_conn *c)
{
	return (c->flags & (TNI_FIN_WANTED | TNI_FIN_SENT)) == TNI_FIN_WANTED && !queued(c);
}

static void send_fin(struct tn_conn *c)
{
	if (c->flags & TNI_DEAD)
		return;
	if (c->flags & TNI_ENDS_BY_RESET) {
		if (c->flags & TNI_FIN_WANTED && !queued(c)) { /* also where our direction has ended before */
			tn_close(c); /* only tn_finish() may have been called: this sets the deadline */
			end_by_reset(c);
		}
		return;
	}
	if (!owes_fin(c))
		return;
	/* A layer has something to say first; before its handshake is done, that waits for the handshake. */
	if (c->layered && !tni_layered_is_shut(c))
		return;
	c->flags |= TNI_FIN_SENT;
	c->active_ns = c->loop->now_ns;
	if (c->io.flags & TNI_FD_FILE) {
		if (c->flags & TNI_WRITE_ONLY) /* a pipe's end is told by closing it */
			tni_conn_fail(c, 0, NULL);
		return;
	}
	/* ENOTCONN: the peer has gone; the read tells how. */
	if (!c->dgram && c->io.fd >= 0 && shutdown(c->io.fd, SHUT_WR) < 0 && errno != ENOTCONN)
		tni_conn_fail(c, -errno, "shutdown");
	if ((c->flags & (TNI_CLOSING | TNI_DEAD)) == TNI_CLOSING)
		tni_loop_timer(c->loop, &c->timer, LINGER_NS / 4);
}

static void tell_drain(struct tn_conn *c)
{
	if (!(c->flags & TNI_OWE_DRAIN) || queued(c) > c->ep->queue / 2 || c->flags & (TNI_DEAD | TNI_CLOSING))
		return;
	if (c->layered && !tni_layered_is_open(c->layered))
		return; /* the queue was dropped: it never opened, and on_close is all that it tells */
	c->flags &= ~(uint32_t)(TNI_OWE_DRAIN | TNI_FULL);
	if (c->user->handler.on_drain)
		c->user->handler.on_drain(c, c->user->arg);
	/* What it sent goes out in the next turn: a fast peer must not keep this loop here for ever. */
	if (queued(c) || c->flags & TNI_OWE_DRAIN)
		tni_loop_later(c->loop, &c->task);
}

/* A handshake goes on while its user does not want messages yet. */
static bool is_held(const struct tn_conn *c)
{
	if (tni_layered_is_behind(c))
		return true;
	return c->hold && !(c->hold == TNI_HOLD_USER && c->layered && !tni_layered_is_open(c->layered));
}

/* Invariant 2. Ops in cancellation are left alone: their completion runs this again. */
static void arm_or_hold(struct tn_conn *c)
{
	struct tni_op *rd = &c->io.rd;
	int rc;

	if (c->io.fd < 0)
		return; /* what comes is brought by the socket that it shares */
	if (is_held(c)) {
		if (rd->state == TNI_ARMED)
			cancel_op(c, rd);
		return;
	}
	if (rd->state != TNI_IDLE)
		return;
	rc = tni_submit(c->loop, &c->io, rd, c->dgram ? TNI_OP_RECVMM : TNI_OP_RECV);
	if (rc < 0 && c->dgram && !c->dgram->connected)
		c->hold |= TNI_HOLD_STARVED; /* it is a server's door for all, and is tried again */
	else if (rc < 0)
		tni_conn_fail(c, rc, "read");
	assert(c->flags & TNI_DEAD || (rd->state == TNI_ARMED) == !is_held(c));
}

static void tell_open(struct tn_conn *c)
{
	if (!(c->flags & TNI_TELL_OPEN))
		return;
	c->flags &= ~(uint32_t)TNI_TELL_OPEN;
	if (c->flags & (TNI_DEAD | TNI_UNTOLD | TNI_SOCKET))
		return;
	c->flags |= TNI_OPEN;
	if (c->flags & TNI_ACCEPTED && c->part->server->watch.on_open)
		c->part->server->watch.on_open(c, c->part->server->watch_arg);
	if (c->user->handler.on_open)
		c->user->handler.on_open(c, c->user->arg);
}

static void close_if_done(struct tn_conn *c)
{
	bool over = closing_is_done(c) && (c->flags & TNI_CLOSING || c->flags & TNI_END_TOLD);

	if (over && !queued(c) && !(c->flags & TNI_DEAD))
		tni_conn_fail(c, 0, NULL);
}

/*
 * There is something to hand over, the peer's end included. Asked only where something held it: what was not held and
 * is there all the same is part of a message, and its rest brings us back.
 */
static bool owes_delivery(const struct tn_conn *c)
{
	bool received = is_stream(c) ? c->rx.head != NULL : c->dgram->stash.count;

	return may_deliver(c) && (received || (c->flags & (TNI_RX_END | TNI_END_TOLD)) == TNI_RX_END);
}

/*
 * Behind a refused message, while replies are owed: what is left unread makes closing a Unix socket a reset. As long as
 * replies do not leave it is read and dropped: the peer may be one that reads only when it has written all.
 */
static void leave_unread(struct tn_conn *c)
{
	const uint32_t refused = TNI_REFUSED | TNI_ENDS_BY_RESET;

	if ((c->flags & (refused | TNI_RX_END | TNI_FIN_SENT)) != refused ||
	    !(c->io.flags & (TNI_FD_UNIX | TNI_FD_MESSAGES)))
		return;
	if (queued(c))
		c->hold &= (uint8_t)~TNI_HOLD_CLOSED;
	else
		c->hold |= TNI_HOLD_CLOSED;
}

static void conn_run(struct tni_task *task)
{
	struct tn_conn *c = tni_container_of(task, struct tn_conn, task);
	bool held = false;

	if (c->dial)
		return;
	c->flags |= TNI_RUNNING;
	c->hold &= (uint8_t)~TNI_HOLD_STARVED;
	if (c->layered) {
		update_hold(c);
		held = !may_deliver(c);
		tni_layered_up(c);
	}
	tell_open(c);
	update_hold(c);
	c->flags |= TNI_DELIVERING;
	if (is_stream(c))
		deliver_stream(c);
	else
		tni_dgram_deliver(c);
	c->flags &= ~(uint32_t)TNI_DELIVERING;
	held = held || !may_deliver(c);
	if (c->flags & TNI_READ_LOST && !is_held_unread(c))
		tni_conn_fail(c, c->err, c->failed_at);
	if (c->layered)
		tni_layered_settle(c);
	tell_end(c);
	if (c->flags & TNI_CLOSING)
		tni_buf_clear(&c->rx);
	if (is_stream(c))
		flush_stream(c, false);
	else
		tni_dgram_flush(c);
	send_fin(c);
	tell_drain(c);
	update_hold(c);
	close_if_done(c);
	leave_unread(c);
	if (c->layered && !(c->flags & TNI_DEAD)) {
		tni_layered_arm(c);
		tni_layered_leave(c);
	}
	if (!(c->flags & TNI_DEAD))
		arm_or_hold(c);
	c->flags &= ~(uint32_t)TNI_RUNNING;
	if (bury(c))
		return;
	/* A receive that starved or a queue that emptied while this ran has set new work. */
	if (c->hold & TNI_HOLD_STARVED)
		tni_loop_starve(c->loop, &c->task);
	else if (((held || tni_layered_has_more(c)) && (owes_delivery(c) || tni_layered_owes(c))) ||
		 (owes_fin(c) && tni_layered_may_shut(c)))
		tni_loop_later(c->loop, &c->task);
}

/* ---- birth ---- */

static _Atomic(uint64_t) last_id;

static struct tn_conn *conn_new(struct tn_loop *loop, struct tni_endpoint *ep)
{
	struct tn_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->loop = loop;
	c->ep = ep;
	c->id = atomic_fetch_add(&last_id, 1) + 1;
	c->task.run = conn_run;
	tni_list_init(&c->task.node);
	tni_list_init(&c->owned.node);
	c->timer.fire = timer_fired;
	c->frame = ep->frame;
	c->hold = TNI_HOLD_CLOSED;
	c->opened_ns = c->active_ns = loop->now_ns;
	tni_buf_init(&c->rx, &loop->mem, SIZE_MAX); /* bounded by not reading */
	/* The mark, and one whole message past it with what its frame adds. */
	tni_buf_init(&c->tx, &loop->mem, (size_t)ep->queue + tni_frame_room(&ep->frame));
	tni_fd_init(&c->io, -1, 0);
	loop->alive++;
	return c;
}

static void conn_destroy(struct tni_owned *owned)
{
	tni_conn_kill(tni_container_of(owned, struct tn_conn, owned), -ECANCELED);
}

void tni_conn_kill(struct tn_conn *c, int err)
{
	c->flags |= TNI_RESET;
	tni_conn_fail(c, err, NULL);
}

void tni_conn_cut(struct tn_conn *c, int err)
{
	if (c->flags & TNI_CLOSING && c->flags & TNI_FIN_SENT && !queued(c) && !(is_stream(c) && kernel_has_unsent(c)))
		tni_conn_fail(c, 0, NULL);
	else
		tni_conn_kill(c, err);
}

bool tni_conn_is_quiet(const struct tn_conn *c)
{
	uint64_t quiet_ns = c->flags & TNI_HELD_BACK ? TNI_NS_PER_S : TNI_QUIET_NS;

	return c->loop->now_ns - c->active_ns >= quiet_ns && !c->hold && !c->held && !c->rx.head && !queued(c) &&
	       !(c->flags & TNI_RX_END) && !tni_layered_has_part(c) && !kernel_has_unread(c);
}

static void note_peer(struct tn_conn *c, const struct tn_addr *addr)
{
	if (addr->len && addr->len <= sizeof(c->peer) && tni_addr_family(addr) != AF_UNIX) {
		memcpy(c->peer, addr->bytes, addr->len);
		c->peer_len = (uint8_t)addr->len;
	}
}

uint64_t tni_conn_source(const struct tn_conn *c)
{
	struct tn_addr addr;

	if (!c->peer_len)
		return c->uid;
	tni_addr_from(&addr, (const struct sockaddr *)(const void *)c->peer, c->peer_len);
	return tni_source_of(&addr);
}

static void opened(struct tn_conn *c)
{
	c->opened_ns = c->active_ns = c->loop->now_ns;
	c->hold &= (uint8_t)~TNI_HOLD_CLOSED;
	if (c->flags & TNI_WRITE_ONLY) { /* nothing will ever come: an end at once, for a handler that asks for one */
		c->flags |= c->user->handler.on_end ? TNI_RX_END : TNI_RX_END | TNI_END_TOLD;
		c->hold |= TNI_HOLD_CLOSED;
	}
	if (c->flags & TNI_READ_ONLY)
		c->flags |= TNI_FIN_WANTED | TNI_FIN_SENT;
	if (c->layered)
		tni_layered_start(c);
	else
		c->flags |= TNI_TELL_OPEN;
	if (c->ep->idle_ns && is_stream(c) && !c->layered &&
	    !(c->flags & TNI_CLOSING)) /* the timer is the drain's then */
		tni_loop_timer(c->loop, &c->timer, c->ep->idle_ns);
	tni_loop_ready(c->loop, &c->task);
}

static void set_stream(struct tn_conn *c, int fd, unsigned fd_flags)
{
	tni_fd_init(&c->io, fd, fd_flags);
	c->io.rd.done = recv_done;
	c->io.wr.done = send_done;
}

static unsigned stream_fd_flags(const struct tni_endpoint *ep)
{
	if (ep->scheme->type == SOCK_SEQPACKET)
		return TNI_FD_MESSAGES;
	return ep->scheme->kinds == TNI_SK_UNIX_STREAM ? TNI_FD_UNIX : 0;
}

struct tn_conn *tni_conn_accept(struct tni_part *part, int fd, const struct tn_addr *peer, uint64_t source,
				unsigned flags)
{
	struct tn_conn *c = conn_new(part->loop, part->ep);

	if (!c)
		return NULL;
	c->part = part;
	c->user = &part->server->user;
	c->flags |= flags;
	set_stream(c, fd, stream_fd_flags(part->ep));
	note_peer(c, peer);
	if (!c->peer_len)
		c->uid = (uint32_t)source;
	if (part->ep->noptions)
		tni_endpoint_prepare_accepted(part->ep, fd,
					      c->peer_len ? ((const struct sockaddr *)(const void *)c->peer)->sa_family
							  : AF_UNIX);
	tni_list_add_tail(&part->conns, &c->owned.node);
	if (!(flags & TNI_UNTOLD) &&
	    tni_layered_accept(c, part->server->creds ? tni_server_creds(part->server) : NULL) < 0) {
		tni_conn_fail(c, -ENOMEM, tni_layered_step(c, "opening"));
		return c;
	}
	opened(c);
	if (flags & TNI_UNTOLD)
		tn_close(c);
	return c;
}

struct tn_conn *tni_conn_accept_peer(struct tn_conn *socket, const struct tn_addr *peer, struct tni_layer *layer)
{
	struct tn_conn *c = conn_new(socket->loop, socket->ep);

	if (!c) {
		layer->ops->free(layer);
		return NULL;
	}
	c->part = socket->part;
	c->user = socket->user;
	note_peer(c, peer);
	tni_list_add_tail(&c->part->conns, &c->owned.node);
	if (tni_layered_join(c, layer, socket) < 0) {
		c->flags |= TNI_SOCKET;
		tni_conn_fail(c, -ENOMEM, NULL);
		return NULL;
	}
	tni_fd_init(&c->io, -1, TNI_FD_MESSAGES);
	c->flags |= TNI_ACCEPTED;
	opened(c);
	return c;
}

struct tn_conn *tni_conn_serve_dgram(struct tni_part *part, int fd)
{
	struct tn_conn *c = conn_new(part->loop, part->ep);
	struct tn_addr peer;
	bool connected;

	if (!c) {
		close(fd);
		return NULL;
	}
	c->part = part;
	c->user = &part->server->user;
	tni_list_add_tail(&part->conns, &c->owned.node);
	/* An inherited one may be connected: then all it says goes to its one peer. */
	connected = tni_addr_peer(fd, &peer) == 0;
	tni_fd_init(&c->io, fd, part->ep->scheme->kinds & TNI_SK_UNIX_DGRAM && !connected ? TNI_FD_NOWAIT : 0);
	if (part->ep->scheme->secure)
		c->flags |= TNI_SOCKET;
	if (tni_dgram_open(c, connected) < 0 || (part->ep->scheme->secure && tni_peers_new(c) < 0)) {
		tni_conn_fail(c, -ENOMEM, "open");
		return NULL;
	}
	opened(c);
	return c;
}

/* ---- dialling ---- */

static int open_connected(struct tn_conn *c, int fd, int type)
{
	struct tn_addr addr;
	int rc = 0;

	bool is_unix = tni_addr_local(fd, &addr) == 0 && tni_addr_family(&addr) == AF_UNIX;

	if (type == SOCK_DGRAM) {
		tni_fd_init(&c->io, fd, c->layered ? TNI_FD_MESSAGES : 0);
		rc = tni_dgram_open(c, !c->dgram || !c->dgram->many.len);
	} else {
		set_stream(c, fd, type == SOCK_SEQPACKET ? TNI_FD_MESSAGES : is_unix ? TNI_FD_UNIX : 0);
	}
	if (tni_addr_peer(fd, &addr) == 0)
		note_peer(c, &addr);
	else if (c->dgram)
		note_peer(c, &c->dgram->many);
	opened(c);
	return rc;
}

static void dialled(void *arg, int fd)
{
	struct tn_conn *c = arg;

	c->dial = NULL;
	if (fd < 0) {
		c->flags |= TNI_DEAD;
		c->err = fd;
		finish(c, true);
		return;
	}
	if (open_connected(c, fd, c->ep->scheme->type) < 0)
		tni_conn_fail(c, -ENOMEM, "open");
}

static int prepare_dialled(int fd, int family, void *arg)
{
	struct tn_conn *c = arg;

	return tni_endpoint_prepare(fd, family, c->ep);
}

static int open_dialled(int family, void *arg)
{
	struct tn_conn *c = arg;

	return tni_endpoint_open(family, c->ep);
}

/* There is no connecting to a neighbour: it is bound to its interface, and the rest is net/raw's. */
static int open_link(struct tn_conn *c)
{
	struct tni_listen_spec spec = {.mode = -1,
				       .user = -1,
				       .group = -1,
				       .type = SOCK_DGRAM,
				       .open = tni_endpoint_open,
				       .prepare = tni_endpoint_prepare,
				       .arg = c->ep};
	struct tn_addr addr;
	int fd = tni_raw_interface(&addr, c->ep->host, c->ep->protocol);

	if (fd == 0)
		fd = tni_listen_open(&spec, &addr);
	if (fd < 0)
		return tni_err_prefix(fd, "%s", c->ep->url);
	return open_connected(c, fd, SOCK_DGRAM) < 0 ? tni_err(-ENOMEM, "%s: out of memory", c->ep->url) : 0;
}

static int start_dial(struct tn_conn *c)
{
	struct tni_endpoint *ep = c->ep;
	struct tn_addr path;
	struct tni_dial_spec spec = {.host = ep->host,
				     .port = ep->port,
				     .family = ep->scheme->family,
				     .type = ep->scheme->type,
				     .protocol = ep->scheme->protocol,
				     .portless = ep->scheme->place == TNI_AT_ADDR,
				     .open = tni_scheme_raw(ep->scheme) ? open_dialled : NULL,
				     .prepare = prepare_dialled,
				     .lookup_ns = &ep->lookup_ns,
				     .timeout_ns = ep->connect_ns,
				     .name = ep->url};

	/* A secured connection is one peer's. */
	if (tni_scheme_is_dgram(ep->scheme) && ep->scheme->place != TNI_AT_PATH) {
		if (tni_dgram_open(c, true) < 0)
			return tni_err(-ENOMEM, "%s: out of memory", ep->url);
		spec.many = &c->dgram->many;
	}
	if (ep->scheme->place == TNI_AT_PATH) {
		tni_addr_unix(&path, ep->host, ep->host_len);
		spec.addr = &path;
	}
	spec.first = tni_layered_first(c);
	if (spec.first && ep->handshake_ns < spec.timeout_ns)
		spec.timeout_ns = ep->handshake_ns;
	if (ep->bind && tni_addr_family(&ep->bind_addr) != AF_UNSPEC)
		spec.family = tni_addr_family(&ep->bind_addr);
	return tni_dial_start(c->loop, &spec, dialled, c, &c->dial);
}

/* Opening these again gives the very same pipe or terminal; of other devices, a pty's master too, another one. */
static bool may_reopen(int fd)
{
	unsigned number;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	return S_ISFIFO(st.st_mode) || (isatty(fd) && ioctl(fd, TIOCGPTN, &number) < 0);
}

/* A terminal that names another's, as /dev/tty does, may have come to name a different one. */
static bool is_same_terminal(int a, int b)
{
	unsigned da = 0, db = 0;

	return !isatty(a) || (ioctl(a, TIOCGDEV, &da) == 0 && ioctl(b, TIOCGDEV, &db) == 0 && da == db);
}

/*
 * A pipe or terminal may be shared with others who do not expect O_NONBLOCK: it gets a description of its own under the
 * same number. Where that cannot be had, the flag is set and taken back at the end. Returns flags for tni_fd_init().
 */
static int make_nonblocking(int fd, int flags)
{
	char path[64];
	int mine;

	if (flags & O_NONBLOCK)
		return TNI_FD_FILE;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	mine = may_reopen(fd) ? open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY) : -1;
	if (mine >= 0 && is_same_terminal(fd, mine) && dup3(mine, fd, O_CLOEXEC) >= 0) {
		close(mine);
		return TNI_FD_FILE;
	}
	if (mine >= 0)
		close(mine);
	return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : TNI_FD_FILE | TNI_FD_RESTORE;
}

static int adopt_file(struct tn_conn *c, int fd, mode_t mode)
{
	int is = fcntl(fd, F_GETFL), access = is & O_ACCMODE;
	int flags = is < 0 ? -errno : S_ISFIFO(mode) || S_ISCHR(mode) ? make_nonblocking(fd, is) : TNI_FD_FILE;

	if (flags < 0)
		return tni_err(flags, "%s: %s", c->ep->url, tn_strerror(flags));
	if (access == O_RDONLY)
		c->flags |= TNI_READ_ONLY;
	else if (access == O_WRONLY || c->ep->fd == STDOUT_FILENO || c->ep->fd == STDERR_FILENO)
		c->flags |= TNI_WRITE_ONLY; /* a terminal's three descriptors are one, open for both */
	else if (c->ep->fd == STDIN_FILENO)
		c->flags |= TNI_READ_ONLY;
	set_stream(c, fd, (unsigned)flags);
	opened(c);
	return 0;
}

static int adopt(struct tn_conn *c)
{
	int fd = c->ep->fd, type = 0, listening = 0;
	struct tn_addr addr;
	socklen_t len = sizeof(type);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return errno == EBADF
			       ? tni_err(-EBADF, "%s: no descriptor with this number was handed over", c->ep->url)
			       : tni_err(-errno, "%s: %s", c->ep->url, tn_strerror(-errno));
	if (!S_ISSOCK(st.st_mode))
		return adopt_file(c, fd, st.st_mode);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return tni_err(-errno, "%s: %s", c->ep->url, tn_strerror(-errno));
	if (listening)
		return tni_err(-EINVAL, "%s: this socket listens; serve it", c->ep->url);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (type == SOCK_RAW)
		type = SOCK_DGRAM; /* as far as the pump is concerned */
	if (tni_addr_local(fd, &addr) < 0 || tni_endpoint_prepare(fd, tni_addr_family(&addr), c->ep) < 0)
		return tni_err_prefix(-EINVAL, "%s", c->ep->url);
	if (open_connected(c, fd, type) < 0)
		return -ENOMEM;
	if (fcntl(fd, F_GETFL) & O_NONBLOCK)
		c->io.flags |= TNI_FD_POLLED; /* the ring does not wait on those */
	return 0;
}

int tn_dial(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg, struct tn_conn **out)
{
	struct tni_user *user;
	struct tni_endpoint *ep;
	struct tn_conn *c;
	int rc;

	if (loop->ending)
		return tni_err(TN_ESTATE, "%s: the loop is being freed", url);
	rc = tni_endpoint_new(url, TN_DIAL, &ep);
	if (rc < 0)
		return rc;
	user = malloc(sizeof(*user));
	c = user ? conn_new(loop, ep) : NULL;
	if (!c) {
		free(user);
		tni_endpoint_free(ep);
		return tni_err(-ENOMEM, "%s: out of memory", url);
	}
	*user = (struct tni_user){.handler = *handler, .arg = arg};
	c->user = user;
	c->owned.destroy = conn_destroy;
	tni_list_add_tail(&loop->owned, &c->owned.node);
	if (ep->spin_ns != TNI_NEVER)
		loop->spin.max_ns = ep->spin_ns;
	rc = tni_layered_dial(c);
	if (rc == 0)
		rc = ep->scheme->place == TNI_AT_FD     ? adopt(c)
		     : ep->scheme->place == TNI_AT_LINK ? open_link(c)
							: start_dial(c);
	if (rc < 0) {
		c->flags |= TNI_UNTOLD; /* the caller is told by the return value, not by on_close */
		finish(c, true);
		return rc;
	}
	if (out)
		*out = c;
	return 0;
}

/* ---- sending ---- */

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
	size_t before = queued(c);

	/* A network takes any number of datagrams and loses them: DTLS leaves the rest of the loop its turn. */
	if (!(c->flags & TNI_OPEN) || c->flags & TNI_DEAD || (c->layered && c->layered->lossy))
		return;
	tni_recall(c->loop, &c->io);
	if (is_stream(c))
		flush_stream(c, true);
	else
		tni_dgram_flush(c);
	if (queued(c) < before)
		c->loop->pushed += before - queued(c);
}

/* A shorter message behind one that was refused would leave a hole that its receiver cannot see. */
static bool is_full(const struct tn_conn *c)
{
	return c->flags & TNI_FULL && queued(c) > c->ep->queue / 2;
}

/* What a queue's answer means to the sender. 1: a datagram that is lost already, which is no fault of its sender's. */
static int queued_result(struct tn_conn *c, int rc)
{
	if (rc == -ENOBUFS) {
		c->flags |= TNI_OWE_DRAIN | TNI_FULL;
		run_soon(c); /* on_drain may be due already */
		return tni_err(TN_EFULL, "%s: the queue is full", c->ep->url);
	}
	if (rc == TN_EFORMAT || rc == TN_ETOOBIG) /* the frame has said what is wrong with it */
		return tni_err_prefix(rc, "%s: send", c->ep->url);
	if (rc < 0)
		return tni_err(rc, "%s: send: %s", c->ep->url, tn_strerror(rc));
	c->msgs_out += rc == 0;
	if (c->flags & TNI_DELIVERING)
		c->flags |= TNI_SELF_FED;
	run_soon(c);
	if (queued(c) < c->ep->queue)
		return 0;
	push(c);
	if (queued(c) < c->ep->queue && c->loop->pushed < PUSHED_MAX)
		return 0;
	c->flags |= TNI_OWE_DRAIN;
	return 1;
}

/* Known of the descriptor, and before there is one of the scheme. */
static bool keeps_packets(const struct tn_conn *c)
{
	return c->io.flags & TNI_FD_MESSAGES || tni_scheme_is_packets(c->ep->scheme) ||
	       (c->layered && tni_layered_has_messages(c->layered));
}

/* Without a frame and packets there are no messages for key max to limit. */
static bool has_messages(const struct tn_conn *c)
{
	return keeps_packets(c) || c->frame.ops->put != tni_none_put;
}

static bool is_too_long(const struct tn_conn *c, size_t len)
{
	return len > c->frame.max && has_messages(c);
}

/* Bytes that begin below the mark are taken, however many. Returns the maximum that is to be set back afterwards. */
static uint32_t open_for_bytes(struct tn_conn *c)
{
	uint32_t max = c->tx.max;

	if (!has_messages(c) && queued(c) < c->ep->queue)
		c->tx.max = UINT32_MAX;
	return max;
}

static int put_bytes(struct tn_conn *c, const struct iovec *iov, int count)
{
	uint32_t max;
	int rc;

	if (tni_iov_len(iov, count) > UINT32_MAX / 2)
		return -EMSGSIZE;
	max = open_for_bytes(c);
	rc = tni_buf_appendv(&c->tx, iov, count, false);
	c->tx.max = max;
	return rc;
}

static int put_stream(struct tn_conn *c, const struct iovec *iov, int count)
{
	size_t len = tni_iov_len(iov, count);
	int rc = c->layered && c->layered->lossy ? tni_lossy_fits(len) : 0;

	if (!has_messages(c))
		return put_bytes(c, iov, count);
	if (is_too_long(c, len))
		return tni_frame_too_big(&c->frame, len);
	if (rc < 0)
		return rc;
	if (keeps_packets(c) && !len)
		return tni_err(TN_EFORMAT, "an empty message on unix-seqpacket is the end of the stream to its reader");
	if (keeps_packets(c))
		return tni_buf_appendv(&c->tx, iov, count, true);
	return c->frame.ops->put(&c->frame, &c->tx, iov, count);
}

int tn_replyv(struct tn_conn *c, const struct tn_msg *msg, const struct iovec *iov, int count)
{
	int rc = may_send(c);

	if (rc < 0)
		return tni_err(rc, "%s: send: the connection is closing", c->ep->url);
	if (count > TNI_PIECES_MAX)
		return tni_err(-EINVAL, "%s: send: more than %d pieces", c->ep->url, TNI_PIECES_MAX);
	if (tni_scheme_is_dgram(c->ep->scheme) && !c->dgram && !c->dial)
		return tni_err(TN_ESTATE, "%s: send: not open", c->ep->url);
	if (tni_scheme_is_dgram(c->ep->scheme) && !c->dgram && tni_dgram_open(c, true) < 0)
		return tni_err(-ENOMEM, "%s: send: out of memory", c->ep->url);
	rc = is_full(c) ? -ENOBUFS : is_stream(c) ? put_stream(c, iov, count) : tni_dgram_put(c, msg, iov, count);
	return queued_result(c, rc);
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

/*
 * Linking pays for long messages, and for short ones that go on where the last one ended: what a burst brought in one
 * block then leaves as one piece. A lone short message is copied: it must not hold a big block for a slow peer.
 */
static bool worth_linking(const struct tn_conn *c, const struct tni_view *view)
{
	if (!view->raw || view->ops != c->frame.ops || view->size != c->frame.size)
		return false;
	return view->taken > COPY_MAX || view->more || tni_buf_goes_on(&c->tx, view->blk, view->raw);
}

int tn_forward(struct tn_conn *c, const struct tn_msg *msg)
{
	const struct tni_view *view = msg->block;
	uint32_t max;
	int rc;

	if (!view || c->ep->scheme->type == SOCK_DGRAM || c->dgram || keeps_packets(c) || may_send(c) < 0 ||
	    is_too_long(c, view->len) || !worth_linking(c, view))
		return tn_reply(c, msg, msg->data, msg->len);
	if (is_full(c))
		return queued_result(c, -ENOBUFS);
	max = open_for_bytes(c);
	rc = tni_buf_link(&c->tx, view->blk, view->raw, view->taken, false);
	c->tx.max = max;
	return queued_result(c, rc);
}

/* ---- control ---- */

int tn_finish(struct tn_conn *c)
{
	if (c->flags & (TNI_DEAD | TNI_CLOSING))
		return TN_ESTATE;
	if (is_stream(c) && !tni_scheme_is_dgram(c->ep->scheme)) {
		c->flags |= TNI_FIN_WANTED;
		run_soon(c);
	}
	return 0;
}

void tn_pause(struct tn_conn *c)
{
	hold_back(c, TNI_HOLD_USER);
	run_soon(c);
}

void tn_resume(struct tn_conn *c)
{
	if (c->hold & TNI_HOLD_USER)
		c->active_ns = c->loop->now_ns; /* the silence until now was ours */
	c->hold &= (uint8_t)~TNI_HOLD_USER;
	run_soon(c);
}

void tn_conn_hold(struct tn_conn *c)
{
	if (c->held < UINT16_MAX)
		c->held++;
}

void tn_conn_release(struct tn_conn *c)
{
	if (!c->held || c->held == UINT16_MAX || --c->held)
		return;
	c->active_ns = c->loop->now_ns;
	/* What tell_end() has put off. */
	if ((c->flags & (TNI_END_TOLD | TNI_WRITE_ONLY)) == TNI_END_TOLD && !end_handler(c))
		tn_close(c);
}

/* Dialled, and nobody knows of it yet. A handshake that has failed still has an alert to send. */
static bool is_unopened(const struct tn_conn *c)
{
	return c->dial || (c->layered && c->layered->lossy && !c->layered->failed && !c->part &&
			   !(c->flags & (TNI_OPEN | TNI_TELL_OPEN)));
}

void tn_close(struct tn_conn *c)
{
	if (c->flags & (TNI_DEAD | TNI_CLOSING))
		return;
	c->flags |= TNI_CLOSING | TNI_FIN_WANTED;
	if (is_unopened(c) && !(c->layered ? c->tx.len : queued(c))) { /* a handshake's own bytes are for nobody now */
		tni_conn_fail(c, 0, NULL);
		return;
	}
	/* Reading goes on: what still comes is dropped (in the task: a view that on_msg holds stays valid), and the
	 * peer's end is awaited. */
	c->hold &= (uint8_t) ~(TNI_HOLD_USER | TNI_HOLD_TXFULL);
	c->deadline_ns = tni_ns_add(tni_clock_ns(), c->ep->drain_ns);
	/* What a datagram socket does to try again (conn/dgram.c) is bounded by itself. */
	if (!tni_scheme_is_dgram(c->ep->scheme) && is_stream(c))
		tni_loop_timer(c->loop, &c->timer, c->flags & TNI_FIN_SENT ? LINGER_NS / 4 : c->ep->drain_ns);
	run_soon(c);
}

void tn_abort(struct tn_conn *c, int err)
{
	tni_conn_kill(c, err);
}

/* ---- asking ---- */

void tn_conn_set_data(struct tn_conn *c, void *data)
{
	c->data = data;
}

void *tn_conn_data(const struct tn_conn *c)
{
	return c->data;
}

uint64_t tn_conn_id(const struct tn_conn *c)
{
	return c->id;
}

struct tn_loop *tn_conn_loop(const struct tn_conn *c)
{
	return c->loop;
}

struct tn_server *tn_conn_server(const struct tn_conn *c)
{
	return c->part ? c->part->server : NULL;
}

size_t tn_conn_queued(const struct tn_conn *c)
{
	return queued(c);
}

static void peer_of(const struct tn_conn *c, struct tn_addr *addr)
{
	addr->len = 0;
	if (c->peer_len)
		tni_addr_from(addr, (const struct sockaddr *)(const void *)c->peer, c->peer_len);
	else if (c->io.fd >= 0 && !(c->io.flags & TNI_FD_FILE))
		(void)tni_addr_peer(c->io.fd, addr);
}

static int fd_of(const struct tn_conn *c)
{
	const struct tn_conn *s = tni_conn_socket(c);

	return s ? s->io.fd : -1;
}

/* `dropped`: of these, by the kernel. A socket that connections share counts for none of them. */
static uint64_t lost(const struct tn_conn *c, uint64_t *dropped)
{
	uint64_t all = c->layered && c->layered->lossy ? c->layered->lossy->lost : 0;

	*dropped = 0;
	if (c->dgram)
		tni_dgram_ask_dropped(c, dropped);
	return all + *dropped + (c->dgram ? c->dgram->lost : 0);
}

int tn_msg_local(const struct tn_conn *c, const struct tn_msg *msg, struct tn_addr *local)
{
	const struct tn_addr *peer = msg->peer;

	*local = (struct tn_addr){0};
	if (!local_of(c, local))
		return tni_err(-EOPNOTSUPP, "%s: no address of a socket", c->ep->url);
	if (!peer || !c->dgram || !c->dgram->tells_local)
		return 0;
	if (!tni_addr_from_local(local, peer, tni_addr_port(local)))
		local->len = 0;
	return peer->local.to_many;
}

/* Of a send that is in flight. */
static uint64_t stalled_ns(const struct tn_conn *c)
{
	uint64_t now = tni_clock_ns();

	return is_stream(c) && tni_op_busy(&c->io.wr) && !c->dgram && !c->err && now > c->sent_ns ? now - c->sent_ns
												  : 0;
}

int tn_conn_peer(const struct tn_conn *c, struct tn_addr *addr)
{
	addr->len = 0;
	if (c->dgram && !c->dgram->connected)
		return -ENOTCONN;
	peer_of(c, addr);
	return addr->len || c->io.fd >= 0 || c->flags & TNI_OPEN ? 0 : -ENOTCONN;
}

int tn_conn_local(const struct tn_conn *c, struct tn_addr *addr)
{
	addr->len = 0;
	if (local_of(c, addr))
		return 0;
	if (closing.conn != c)
		return -ENOTCONN;
	*addr = closing.local;
	return 0;
}

void tn_conn_info(const struct tn_conn *c, struct tn_conn_info *info)
{
	struct tn_addr addr = {0};
	uint64_t dropped;

	*info = (struct tn_conn_info){
		.bytes_in = c->bytes_in,
		.bytes_out = c->bytes_out,
		.msgs_in = c->msgs_in,
		.msgs_out = c->msgs_out,
		.lost = lost(c, &dropped),
		.dropped = dropped,
		.opened_ns = c->opened_ns,
		.lookup_ns = c->ep->lookup_ns,
		.stalled_ns = stalled_ns(c),
		.fd = fd_of(c),
	};
	if (local_of(c, &addr))
		tni_endpoint_url_of(c->ep, &addr, info->local, sizeof(info->local));
	else if (closing.conn == c)
		tni_endpoint_url_of(c->ep, &closing.local, info->local, sizeof(info->local));
	if (c->dgram && !c->dgram->connected && !c->dgram->many.len)
		return;
	info->many = c->dgram && c->dgram->many.len;
	peer_of(c, &addr);
	if (c->ep->scheme->place == TNI_AT_PATH && addr.len <= sizeof(sa_family_t) && c->part == NULL)
		snprintf(info->peer, sizeof(info->peer), "%s", c->ep->url);
	else
		tni_endpoint_url_of(c->ep, &addr, info->peer, sizeof(info->peer));
}

int tn_conn_option(const struct tn_conn *c, const char *key, char *value, size_t cap)
{
	return tni_endpoint_read_option(c->ep, fd_of(c), key, value, cap);
}
