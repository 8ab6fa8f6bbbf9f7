/* How a connection ends: closed, failed or killed; and its last step. */
#include "base/err.h"
#include "conn/again.h"
#include "conn/dialler.h"
#include "conn/program.h"
#include "conn/proxied.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "conn/tap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Its user wants it to end: it is not dialled again. */
static void end_for_good(const struct tn_conn *c)
{
#ifdef TNI_HAVE_RECONNECT
	tni_again_end(c);
#else
	(void)c;
#endif
}

/* Marks it dead: nothing more is read, sent or handed over; it goes once nothing is in flight. */
void tni_conn_fail(struct tn_conn *c, int err, const char *failed_at)
{
	if (c->flags & TNI_DEAD)
		return;
	if (c->flags & TNI_DIALLING)
		tni_conn_stop_dialling(c);
	c->flags |= TNI_DEAD;
	c->hold |= TNI_HOLD_CLOSED;
	if (!c->err) { /* the first reason is the reason */
		c->err = err;
		c->failed_at = (char *)(uintptr_t)failed_at;
	}
	tni_loop_untimer(c->loop, &c->timer);
	tni_conn_run_soon(c);
}

void tni_conn_kill(struct tn_conn *c, int err)
{
	c->flags |= TNI_RESET;
	tni_exec_hurry(c);
	tni_conn_fail(c, err, NULL);
}

void tni_conn_cut(struct tn_conn *c, int err)
{
	if (c->flags & TNI_CLOSING && c->flags & TNI_FIN_SENT && !tni_conn_queued(c) &&
	    !(c->kind->ends && tni_conn_has_unsent(c)))
		tni_conn_fail(c, 0, NULL);
	else
		tni_conn_kill(c, err);
}

bool tni_conn_is_quiet(const struct tn_conn *c)
{
	uint64_t quiet_ns = c->flags & TNI_HELD_BACK ? TNI_NS_PER_S : TNI_QUIET_NS;

	return c->loop->now_ns - c->active_ns >= quiet_ns && !c->hold && !tni_conn_is_owed(c) && !c->rx.head &&
	       !tni_conn_queued(c) && !(c->flags & TNI_RX_END) && !tni_layered_has_part(c) &&
	       !(c->kind->is_needed && c->kind->is_needed(c)) && !tni_conn_has_unread(c);
}

/* Dialled, and nobody knows of it yet. A handshake that has failed still has an alert to send. */
static bool is_unopened(const struct tn_conn *c)
{
	return c->flags & TNI_DIALLING ||
	       (c->kind->unseen && !c->layered->failed && !c->part && !(c->flags & (TNI_OPEN | TNI_TELL_OPEN)));
}

/* A handshake's own bytes are for nobody now. */
static bool is_for_nobody(const struct tn_conn *c)
{
	return is_unopened(c) && !(c->layered ? c->tx.len : tni_conn_queued(c));
}

void tni_conn_close(struct tn_conn *c)
{
	if (c->flags & (TNI_DEAD | TNI_CLOSING))
		return;
	c->flags |= TNI_CLOSING | TNI_FIN_WANTED;
	if (is_for_nobody(c)) {
		tni_conn_fail(c, 0, NULL);
		return;
	}
	/* Reading goes on: what still comes is dropped (in the task: a view that on_msg holds stays valid), and the
	 * peer's end is awaited. */
	c->hold &= (uint8_t) ~(TNI_HOLD_USER | TNI_HOLD_TXFULL | TNI_HOLD_FLOW);
	c->deadline_ns = tni_ns_add(tni_clock_ns(), c->ep->drain_ns);
	tni_loop_timer(c->loop, &c->timer, c->flags & TNI_FIN_SENT ? TNI_LINGER_NS / 4 : c->ep->drain_ns);
	tni_conn_run_soon(c);
}

#ifdef TNI_HAVE_RECONNECT
void tn_close(struct tn_conn *c)
{
	end_for_good(c);
	tni_conn_close(c);
}
#endif

int tn_finish(struct tn_conn *c)
{
	end_for_good(c);
	if (c->flags & (TNI_DEAD | TNI_CLOSING))
		return TN_ESTATE;
	if (c->kind->ends) {
		c->flags |= TNI_FIN_WANTED;
		tni_conn_run_soon(c);
	}
	return 0;
}

void tni_conn_pass_error(struct tn_conn *c, int err)
{
	bool by_reset = c->kind->resets;

	if (c->flags & (TNI_DEAD | TNI_CLOSING | TNI_ENDS_BY_RESET))
		return;
	tni_conn_keep_reason(c, err);
	if (is_for_nobody(c) || c->flags & TNI_READ_ONLY) {
		tni_conn_fail(c, err, NULL);
	} else if (by_reset || c->flags & TNI_WRITE_ONLY) {
		c->flags |= TNI_REFUSED | TNI_FIN_WANTED | (by_reset ? TNI_ENDS_BY_RESET : 0);
		c->hold &= (uint8_t) ~(TNI_HOLD_USER | TNI_HOLD_TXFULL | TNI_HOLD_FLOW);
		tni_conn_run_soon(c);
	} else {
		tni_conn_close(c);
	}
}

void tn_abort(struct tn_conn *c, int err)
{
	end_for_good(c);
	tni_conn_kill(c, err);
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

static void reset_on_close(const struct tn_conn *c)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

#ifdef TNI_HAVE_SHM
	if (c->kind->reset) {
		c->kind->reset(c);
		return;
	}
#endif
	if (c->kind->resets && c->io.fd >= 0)
		(void)setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void tell_close(struct tn_conn *c)
{
	if (c->part && !(c->flags & TNI_OPEN))
		return; /* gone before its server's user knew of it */
	if (c->part && c->kind->ends)
		tni_watch_close(c, c->err);
	if (tni_conn_handler(c)->on_close)
		tni_conn_handler(c)->on_close(c, c->err, c->arg);
}

/* Its peer does not have, or has not been asked for, all that belongs to it. */
static bool is_unfinished(const struct tn_conn *c)
{
	return tni_conn_queued(c) || tni_conn_is_owed(c) || c->hold & (TNI_HOLD_USER | TNI_HOLD_FLOW);
}

/* Whose on_close runs on this thread, and where it was bound: its descriptor has gone. */
static _Thread_local struct closing {
	const struct tn_conn *conn;
	struct tn_addr local;
} closing;

bool tni_conn_closing_local(const struct tn_conn *c, struct tn_addr *addr)
{
	if (closing.conn != c)
		return false;
	*addr = closing.local;
	return true;
}

/* It has ended before it was done. */
static void note_handshake(struct tni_part *part, int err)
{
	if (err == -ETIMEDOUT)
		tni_count(part, handshakes_timed_out, 1);
	else
		tni_count(part, handshakes_failed, 1);
	tni_trouble_note(part, err);
}

/* The last step. `described`: the detail of the failure stands already (a dial's). */
void tni_conn_finish(struct tn_conn *c, bool described)
{
	struct tni_part *part = c->part;
	struct closing outer = closing;

	assert(!tni_conn_in_flight(c)); /* invariants 1 and 3 */
	tni_loop_untimer(c->loop, &c->timer);
	/* An end in good order would tell the peer that this was all. */
	if (c->flags & (TNI_RESET | TNI_ENDS_BY_RESET) || (c->err && is_unfinished(c)))
		reset_on_close(c);
	if (tni_conn_local_of(c, &closing.local))
		closing.conn = c;
	if (c->kind->leave)
		c->kind->leave(c);
	tni_fd_close(c->loop, &c->io);
	if (!described)
		describe_end(c);
	tni_tap(c, TN_TAP_CLOSED, NULL, c->err);
#ifdef TNI_HAVE_RECONNECT
	if (tni_again_take(c)) {
		closing = outer;
		return;
	}
#endif
	if (!(c->flags & TNI_UNTOLD)) /* invariant 5 */
		tell_close(c);
	closing = outer;
	if (c->layered && part && c->err && c->err != -ECANCELED && !(c->flags & (TNI_OPEN | TNI_UNTOLD)))
		note_handshake(part, c->err);
	if (c->flags & TNI_EXTRA)
		tni_extra_free(c);
	tni_list_del(&c->task.node);
	tni_list_del(&c->siblings);
	tni_buf_clear(&c->rx);
	tni_buf_clear(&c->tx);
	tni_dgram_free(c);
	tni_layered_free(c);
	tni_proxied_free(c);
	tni_frame_free(&c->frame);
	if (c->flags & TNI_DESCRIBED)
		free(c->failed_at);
	c->loop->alive -= !c->background;
	c->loop->dying -= (c->flags & TNI_DYING) != 0;
	if (part) {
		tni_part_conn_gone(part, c);
	} else {
		tni_endpoint_unref(c->ep);
		tni_dialler_unref(c->handler);
	}
	free(c);
}
