/*
 * The pump: moves a connection's messages to its user, and what is queued to the engine.
 *
 * Invariants, asserted here and in conn/end.c:
 *  1. at most one send and one receive are in flight per connection;
 *  2. a receive is armed iff the hold mask is 0 (in a handshake: or only its user or its path holds it);
 *  3. memory is freed only when nothing is in flight;
 *  4. user code runs only from the ready queue (tni_conn_run), never inside a submit or a completion;
 *  5. on_close runs exactly once, last;
 *  6. what is in flight is known by slot and generation, never by descriptor (io/fd.c);
 *  7. a connection that starved for memory runs again when some has come back (tni_loop_starve).
 */
#include "conn/pump.h"

#include "conn/heartbeat.h"
#include "conn/program.h"
#include "conn/server.h"
#include "conn/tap.h"

#include <assert.h>
#include <errno.h>

/* What ends with the connection begins with it. */
static void begin_beating(struct tn_conn *c)
{
#ifdef TNI_HAVE_RECONNECT
	if (tni_heartbeat_begin(c) < 0)
		tni_conn_fail(c, -ENOMEM, "heartbeat");
#else
	(void)c;
#endif
}

static void tell_open(struct tn_conn *c)
{
	if (!(c->flags & TNI_TELL_OPEN))
		return;
	c->flags &= ~(uint32_t)TNI_TELL_OPEN;
	if (c->flags & (TNI_DEAD | TNI_UNTOLD))
		return;
	c->flags |= TNI_OPEN;
	if (c->flags & TNI_CLOSING && !c->part)
		return; /* its user has closed it, and waits for on_close alone */
	if (c->part && c->kind->ends)
		tni_watch_open(c);
	begin_beating(c);
	if (tni_conn_handler(c)->on_open)
		tni_conn_handler(c)->on_open(c, c->arg);
}

/* Who is told of the peer's end. NULL: nobody, and it is answered by ours. */
static void (*end_handler(const struct tn_conn *c))(struct tn_conn *, void *)
{
	return tni_conn_is_cut(c) ? tni_conn_handler(c)->on_cut : tni_conn_handler(c)->on_end;
}

static void tell_end(struct tn_conn *c)
{
	void (*told)(struct tn_conn *, void *) = end_handler(c);

	if ((c->flags & (TNI_RX_END | TNI_END_TOLD)) != TNI_RX_END || c->rx.head || !tni_conn_may_deliver(c))
		return;
	c->flags |= TNI_END_TOLD;
	if (!tni_conn_is_cut(c))
		tni_tap(c, TN_TAP_IN_END, NULL, 0);
	if (told)
		told(c, c->arg);
	else if (!tni_conn_is_owed(c))
		tni_conn_close(c);
}

static void tell_drain(struct tn_conn *c)
{
	if (!(c->flags & TNI_OWE_DRAIN) || tni_conn_queued(c) > c->ep->queue / 2 || c->flags & (TNI_DEAD | TNI_CLOSING))
		return;
	if (c->layered && !tni_layered_is_open(c->layered))
		return; /* the queue was dropped: it never opened, and on_close is all that it tells */
	c->flags &= ~(uint32_t)(TNI_OWE_DRAIN | TNI_FULL);
	if (tni_conn_handler(c)->on_drain)
		tni_conn_handler(c)->on_drain(c, c->arg);
	/* What it sent goes out in the next turn: a fast peer must not keep this loop here for ever. */
	if (tni_conn_queued(c) || c->flags & TNI_OWE_DRAIN)
		tni_loop_later(c->loop, &c->task);
}

/* Our direction is to end, and nothing is queued any more. */
static bool owes_fin(const struct tn_conn *c)
{
	return (c->flags & (TNI_FIN_WANTED | TNI_FIN_SENT)) == TNI_FIN_WANTED && !tni_conn_queued(c) &&
	       !tni_conn_puts_fin_off(c);
}

static void send_fin(struct tn_conn *c)
{
	if (c->flags & TNI_DEAD)
		return;
	if (c->flags & TNI_ENDS_BY_RESET) {
		if (c->flags & TNI_FIN_WANTED && !tni_conn_queued(c)) { /* also where our direction has ended before */
			tni_conn_close(c); /* only tn_finish() may have been called: this sets the deadline */
			tni_conn_end_by_reset(c);
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
	tni_tap(c, TN_TAP_OUT_END, NULL, 0);
	if (c->kind->shut)
		c->kind->shut(c);
	if ((c->flags & (TNI_CLOSING | TNI_DEAD)) == TNI_CLOSING)
		tni_loop_timer(c->loop, &c->timer, TNI_LINGER_NS / 4);
}

/* Orderly close: all sent and our FIN is out. Gone when the peer has ended too, or has been waited for enough. */
static bool closing_is_done(const struct tn_conn *c)
{
	if (!(c->flags & TNI_FIN_SENT) || c->flags & TNI_ENDS_BY_RESET)
		return false;
	if (c->layered && !tni_layered_is_over(c->layered))
		return false;
	return c->flags & TNI_RX_END || !c->kind->awaits_end;
}

static void close_if_done(struct tn_conn *c)
{
	bool over = closing_is_done(c) && (c->flags & TNI_CLOSING || c->flags & TNI_END_TOLD);

	if (over && !tni_extra_is_awaited(c) && !tni_conn_queued(c) && !(c->flags & TNI_DEAD))
		tni_conn_fail(c, 0, NULL);
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
	if (tni_conn_queued(c))
		c->hold &= (uint8_t)~TNI_HOLD_CLOSED;
	else
		c->hold |= TNI_HOLD_CLOSED;
}

/* Only a full submission queue refuses; then it is tried again in the next turn. */
static void cancel_op(struct tn_conn *c, struct tni_op *op)
{
	if (tni_cancel(c->loop, &c->io, op) < 0)
		tni_loop_later(c->loop, &c->task);
}

/* A handshake goes on while its user does not want messages yet. */
static bool is_held(const struct tn_conn *c)
{
	if (!c->layered)
		return c->hold;
	return tni_layered_is_behind(c) ||
	       (c->hold && (c->hold & ~(TNI_HOLD_USER | TNI_HOLD_FLOW) || tni_layered_is_open(c->layered)));
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
	if (rd->state == TNI_ARMED && tni_join_reads_otherwise(c))
		cancel_op(c, rd);
	if (rd->state != TNI_IDLE)
		return;
	rc = c->kind->receive(c);
	if (rc < 0)
		tni_conn_fail(c, rc, "read");
	assert(c->flags & TNI_DEAD || (rd->state == TNI_ARMED) == !is_held(c));
}

/*
 * There is something to hand over, the peer's end included. Asked only where something held it: what was not held and
 * is there all the same is part of a message, and its rest brings us back.
 */
static bool owes_delivery(const struct tn_conn *c)
{
	return tni_conn_may_deliver(c) &&
	       (c->kind->has_received(c) || (c->flags & (TNI_RX_END | TNI_END_TOLD)) == TNI_RX_END);
}

static bool bury(struct tn_conn *c)
{
	if (!(c->flags & TNI_DEAD))
		return false;
	if (c->io.slot) {
		cancel_op(c, &c->io.rd);
		cancel_op(c, &c->io.wr);
	}
	if (!tni_conn_in_flight(c)) {
		if (tni_exec_lingers(c))
			return true;
		tni_conn_finish(c, false);
	} else if (!(c->flags & TNI_DYING)) {
		c->flags |= TNI_DYING;
		c->loop->dying++;
	}
	return true;
}

/* What tell_end() has put off, once nothing is owed any more. */
static void close_put_off(struct tn_conn *c)
{
	if ((c->flags & (TNI_END_TOLD | TNI_WRITE_ONLY)) == TNI_END_TOLD && !end_handler(c) && !tni_conn_is_owed(c))
		tni_conn_close(c);
}

/* A layer may have told by now whose it is. */
static void admit(struct tn_conn *c)
{
	int rc = tni_conn_admit(c);

	if (rc == TN_ELIMIT || rc == -EACCES)
		tni_conn_turn_away(c);
	else if (rc < 0)
		tni_conn_abandon(c);
}

static void tell_pong(struct tn_conn *c)
{
	const struct tn_handler *handler = tni_conn_handler(c);
	uint64_t round_ns = 0;

	if (c->layered && handler->on_pong && !(c->flags & (TNI_DEAD | TNI_CLOSING)))
		round_ns = tni_layered_take_round(c);
	if (round_ns)
		handler->on_pong(c, round_ns, c->arg);
}

#ifdef __OPTIMIZE_SIZE__

/* The long way does the same. */
static bool run_plainly(const struct tn_conn *c)
{
	(void)c;
	return false;
}

#else

/* What a connection may be while nothing is due but messages that come and go. */
#define PLAIN_FLAGS \
	(uint32_t)(TNI_COUNTED | TNI_ADMITTED | TNI_UNTOLD | TNI_OPEN | TNI_EXTRA | TNI_HELD_BACK | TNI_SELF_FED)

static bool is_plain(const struct tn_conn *c)
{
	const struct tni_extra *x = tni_extra_of(c);

	return !(c->flags & ~PLAIN_FLAGS) && !c->hold && !c->layered && tni_kind_is_stream(c->kind) &&
	       c->io.rd.state == TNI_ARMED && c->io.rd.kind == TNI_OP_RECV && !(x && (x->splices || x->seldom));
}

static void update_self_fed(struct tn_conn *c)
{
	if (c->flags & TNI_SELF_FED)
		tni_conn_update_hold(c);
}

/*
 * The short way of nearly all runs: what has come is handed over, what is queued goes out. Nobody waits, no end is due,
 * and nothing is held. False: there is more to do, or has come to be; then all is gone through, from the start.
 */
static bool run_plainly(struct tn_conn *c)
{
	update_self_fed(c);
	if (!is_plain(c))
		return false;
	c->flags |= TNI_RUNNING;
	if (c->rx.head) {
		c->flags |= TNI_DELIVERING;
		c->kind->deliver(c);
		c->flags &= ~(uint32_t)TNI_DELIVERING;
	}
	if (c->tx.head)
		c->kind->flush(c, false);
	c->flags &= ~(uint32_t)TNI_RUNNING;
	update_self_fed(c);
	return is_plain(c);
}

#endif

void tni_conn_run(struct tni_task *task)
{
	struct tn_conn *c = tni_container_of(task, struct tn_conn, task);
	bool held = false;

	if (c->flags & TNI_DIALLING || run_plainly(c))
		return;
	c->flags |= TNI_RUNNING;
	c->hold &= (uint8_t)~TNI_HOLD_STARVED;
	if (c->layered) {
		tni_conn_update_hold(c);
		held = !tni_conn_may_deliver(c);
		tni_layered_up(c);
		if (c->part && !(c->flags & (TNI_ADMITTED | TNI_CLOSING | TNI_DEAD)))
			admit(c);
	}
	tell_open(c);
	tni_conn_update_hold(c);
	c->flags |= TNI_DELIVERING;
	c->kind->deliver(c);
	c->flags &= ~(uint32_t)TNI_DELIVERING;
	held = held || !tni_conn_may_deliver(c);
	if (c->flags & TNI_READ_LOST && !tni_conn_is_held_unread(c))
		tni_conn_fail(c, c->err, c->failed_at);
	if (c->layered)
		tni_layered_settle(c);
	tell_pong(c);
	tell_end(c);
	if (c->flags & TNI_CLOSING)
		tni_buf_clear(&c->rx);
	c->kind->flush(c, false);
	send_fin(c);
	tell_drain(c);
	tni_conn_update_hold(c);
	close_if_done(c);
	leave_unread(c);
	if (c->layered && !(c->flags & TNI_DEAD)) {
		tni_layered_arm(c);
		tni_layered_leave(c);
	}
	if (!(c->flags & TNI_DEAD))
		arm_or_hold(c);
	c->flags &= ~(uint32_t)TNI_RUNNING;
	if (c->flags & TNI_EXTRA) {
		tni_extra_run(c);
		close_put_off(c);
	}
	if (bury(c))
		return;
	/* A receive that starved or a queue that emptied while this ran has set new work. */
	if (c->hold & TNI_HOLD_STARVED)
		tni_loop_starve(c->loop, &c->task);
	else if (((held || tni_layered_has_more(c)) && (owes_delivery(c) || tni_layered_owes(c))) ||
		 (owes_fin(c) && tni_layered_may_shut(c)))
		tni_loop_later(c->loop, &c->task);
}

void tn_pause(struct tn_conn *c)
{
	tni_conn_hold_back(c, TNI_HOLD_USER);
	tni_conn_run_soon(c);
}

void tn_resume(struct tn_conn *c)
{
	if (c->hold & TNI_HOLD_USER)
		c->active_ns = c->loop->now_ns; /* the silence until now was ours */
	c->hold &= (uint8_t)~TNI_HOLD_USER;
	tni_conn_run_soon(c);
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
	close_put_off(c);
}
