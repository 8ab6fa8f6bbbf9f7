/* A connection's timer: what it waits for at most, while it is open and while it closes. */
#include "conn/pump.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

/* How often the kernel is asked whether the peer has all, before a reset. */
#define RESET_POLL_NS (10 * TNI_NS_PER_MS)

bool tni_conn_has_unsent(const struct tn_conn *c)
{
	int queued = 0;

#ifdef TNI_HAVE_SHM
	if (c->kind->unsent)
		return c->kind->unsent(c);
#endif
	return ioctl(c->io.fd, SIOCOUTQ, &queued) == 0 && queued > 0;
}

bool tni_conn_has_unread(const struct tn_conn *c)
{
	int unread = 0;

#ifdef TNI_HAVE_SHM
	if (c->kind->unread)
		return c->kind->unread(c);
#endif
	return !(c->flags & TNI_RX_END) && ioctl(c->io.fd, FIONREAD, &unread) == 0 && unread > 0;
}

/* What the peer said that has not been handed over, here or in the kernel. */
static bool has_unread(const struct tn_conn *c)
{
	return c->rx.head || (c->layered && tni_layered_in(c->layered)->head) || tni_conn_has_unread(c);
}

bool tni_conn_is_held_unread(const struct tn_conn *c)
{
	return c->hold & (TNI_HOLD_USER | TNI_HOLD_TXFULL | TNI_HOLD_FLOW) && !(c->flags & (TNI_DEAD | TNI_CLOSING)) &&
	       has_unread(c);
}

/* Nothing has come for a while, and nothing has that a late turn is still to read. */
static bool is_silent(const struct tn_conn *c, uint64_t now)
{
	return now - c->active_ns >= TNI_LINGER_NS && !tni_conn_has_unread(c);
}

/* While open: idle, or the deadline of a message, whichever comes first. */
static void arm_open(struct tn_conn *c, uint64_t idle_at_ns)
{
	uint64_t at = c->deadline_ns && c->deadline_ns < idle_at_ns ? c->deadline_ns : idle_at_ns;

	if (at != TNI_NEVER)
		tni_timer_arm(&c->loop->timers, &c->timer, at);
}

/* After a failed write: reading goes on until the peer has been silent for a while. What its user does not read yet
 * waits, and so does what there is no memory for. */
static void lost_writing_is_due(struct tn_conn *c, uint64_t now)
{
	if (tni_conn_is_held_unread(c) || (!(c->hold & ~TNI_HOLD_STARVED) && !is_silent(c, now)))
		tni_loop_timer(c->loop, &c->timer, TNI_LINGER_NS / 4);
	else
		tni_conn_fail(c, c->err, c->failed_at);
}

/*
 * In place of a FIN, which would tell the peer that all it sent was taken. A reset discards what the kernel has not yet
 * brought to the peer, so that is waited for, unless the peer has reset, and takes nothing any more. What the peer
 * still sends is left unread: closing a Unix socket then is a reset, too.
 */
void tni_conn_end_by_reset(struct tn_conn *c)
{
	c->flags |= TNI_FIN_SENT;
	c->hold |= TNI_HOLD_CLOSED;
	if (tni_conn_has_unsent(c) && !tni_conn_has_error(c) && c->loop->now_ns < c->deadline_ns) {
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
		tni_conn_end_by_reset(c);
	} else if (now >= c->deadline_ns || (is_silent(c, now) && !tni_conn_has_unsent(c))) {
		tni_conn_fail(c, 0, NULL);
	} else {
		tni_loop_timer(c->loop, &c->timer, TNI_LINGER_NS / 4);
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
void tni_conn_timer_fired(struct tni_timer *timer)
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
