#include "conn/again.h"

#include "base/err.h"
#include "base/random.h"
#include "conn/heartbeat.h"
#include "conn/pump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tni_again {
	struct tni_timer timer; /* between two attempts */
	struct tn_conn *conn;
	uint64_t pause_ns;  /* the longest that the next pause may be; 0: the first one */
	uint64_t msgs_told; /* messages sent before the last loss */
	uint64_t dropped;   /* bytes of them that were queued when writing failed */
	struct tn_buf kept; /* what waits for a connection, while an attempt ends that has failed */
	unsigned failed;    /* attempts in a row */
	bool ended;         /* by its user */
};

static struct tni_again *again_of(const struct tn_conn *c)
{
	const struct tni_seldom *s = tni_seldom_of(c);

	return s ? s->again : NULL;
}

/* ---- the next attempt ---- */

static void due(struct tni_timer *timer)
{
	struct tn_conn *c = tni_container_of(timer, struct tni_again, timer)->conn;
	int rc;

	if (c->flags & TNI_DEAD)
		return; /* its user has ended it in this turn: its task is about to */
	rc = tni_conn_redial(c);
	if (rc == 0)
		return;
	c->flags &= ~(uint32_t)TNI_DIALLING;
	c->flags |= TNI_DEAD;
	c->err = rc;
	tni_conn_finish(c, true);
}

/* From half of the pause to all of it: clients that have lost the same server do not come back at once. */
static uint64_t jittered(uint64_t pause_ns)
{
	uint64_t random = 0;

	(void)tni_random(&random, sizeof(random));
	return pause_ns / 2 + random % (pause_ns / 2 + 1);
}

/* A connection that held for longer than the last pause begins anew; one that is lost at once has not come back. */
static uint64_t next_pause(struct tni_again *a, const struct tni_endpoint *ep, uint64_t open_ns)
{
	if (open_ns > a->pause_ns)
		a->pause_ns = 0;
	a->pause_ns = a->pause_ns ? a->pause_ns * 2 : ep->access->again_least_ns;
	if (a->pause_ns > ep->access->again_most_ns)
		a->pause_ns = ep->access->again_most_ns;
	return jittered(a->pause_ns);
}

/* ---- a loss ---- */

/* What waits for a connection is put by while an attempt ends, so that it does not wait for that to go out. */
static void put_by(struct tni_again *a, struct tn_conn *c)
{
	(void)tni_buf_move(&a->kept, &c->tx, UINT32_MAX);
}

void tni_again_drop(struct tn_conn *c, size_t len)
{
	struct tni_again *a = again_of(c);

	if (tni_again_may(c) && !(c->flags & TNI_OPEN))
		put_by(a, c);
	else if (a)
		a->dropped += len;
	tni_buf_clear(&c->tx);
}

static struct tn_loss loss_of(struct tn_conn *c, struct tni_again *a)
{
	bool was_open = c->flags & TNI_OPEN;
	uint64_t open_ns = was_open ? c->loop->now_ns - c->opened_ns : 0;
	struct tn_loss loss = {.was_open = was_open};

	a->failed = was_open ? 0 : a->failed + 1;
	loss.failed = a->failed;
	loss.again_ns = next_pause(a, c->ep, open_ns);
	if (was_open) { /* nobody could say which part of what was queued has gone out */
		loss.msgs = c->msgs_out - a->msgs_told;
		loss.unsent = a->dropped + tni_conn_queued(c);
		a->dropped = 0;
		a->msgs_told = c->msgs_out;
		tni_buf_clear(&c->tx);
	}
	return loss;
}

static void stop_beating(struct tn_conn *c)
{
	struct tni_seldom *s = tni_extra_in(c)->seldom;

	tni_heartbeat_free(c->loop, s->heartbeat);
	s->heartbeat = NULL;
}

/* As tni_conn_new() makes it, but for what its user has of it. */
static void begin_anew(struct tn_conn *c, struct tni_again *a)
{
	if (c->flags & TNI_DESCRIBED)
		free(c->failed_at);
	c->loop->dying -= (c->flags & TNI_DYING) != 0;
	if (c->flags & TNI_OPEN)
		c->flags &= ~(uint32_t)TNI_FULL; /* otherwise what made it full is still there */
	c->flags = (c->flags & (TNI_EXTRA | TNI_TAPPED | TNI_OWE_DRAIN | TNI_FULL)) | TNI_DIALLING;
	c->hold = (c->hold & TNI_HOLD_USER) | TNI_HOLD_CLOSED;
	c->err = 0;
	c->failed_at = NULL;
	c->dial = NULL;
	c->deadline_ns = 0;
	c->peer_len = 0;
	c->uid = 0;
	stop_beating(c);
	put_by(a, c);
	c->tx = a->kept;
	c->tx.max = c->ep->queue + tni_frame_room(&c->ep->frame);
	tni_buf_init(&a->kept, &c->loop->mem, SIZE_MAX);
	tni_buf_clear(&c->rx);
	tni_layered_free(c);
	tni_frame_free(&c->frame);
	c->frame = c->ep->frame;
	tni_fd_init(&c->io, -1, 0);
}

static bool is_in_path(const struct tn_conn *c)
{
	const struct tni_extra *x = tni_extra_in(c);

	return x->source || x->from;
}

static bool is_over(const struct tn_conn *c, const struct tni_again *a)
{
	int tries = c->ep->access->again_tries;

	return a->ended || c->flags & TNI_UNTOLD || c->loop->ending || is_in_path(c) ||
	       (tries && !(c->flags & TNI_OPEN) && a->failed + 1 >= (unsigned)tries);
}

/* The words of the loss stand for on_lost too. */
static void end_waits(struct tn_conn *c, int err)
{
	char why[512];

	*stpncpy(why, tn_errmsg(), sizeof(why) - 1) = '\0';
	tni_extra_end_waits(c, err ? err : -ECONNRESET);
	tni_err(err, "%s", why);
}

bool tni_again_take(struct tn_conn *c)
{
	struct tni_again *a = again_of(c);
	const struct tn_handler *handler;
	struct tn_loss loss;
	int err = c->err;

	if (!a || is_over(c, a))
		return false;
	loss = loss_of(c, a);
	begin_anew(c, a);
	tni_loop_timer(c->loop, &a->timer, loss.again_ns);
	if (loss.was_open)
		end_waits(c, err);
	handler = tni_conn_handler(c);
	if (handler->on_lost)
		handler->on_lost(c, err, &loss, c->arg);
	if (tni_extra_in(c)->seldom->handle)
		tni_handle_run(tni_extra_in(c)->seldom->handle);
	return true;
}

/* ---- its life ---- */

int tni_again_begin(struct tn_conn *c)
{
	struct tni_seldom *s;

	if (!tni_endpoint_comes_back(c->ep))
		return 0;
	if (!tni_conn_handler(c)->on_lost)
		return tni_err(TN_EURL, "%s: key 'reconnect': this program does not dial again", c->ep->url);
	s = tni_seldom_get(c);
	s = s && (s->again = calloc(1, sizeof(*s->again))) ? s : NULL;
	if (!s)
		return tni_err(-ENOMEM, "%s: out of memory", c->ep->url);
	s->again->conn = c;
	s->again->timer.fire = due;
	tni_buf_init(&s->again->kept, &c->loop->mem, SIZE_MAX);
	return 0;
}

bool tni_again_may(const struct tn_conn *c)
{
	const struct tni_again *a = again_of(c);

	return a && !a->ended;
}

void tni_again_end(const struct tn_conn *c)
{
	struct tni_again *a = again_of(c);

	if (a)
		a->ended = true;
}

void tni_again_free(struct tn_loop *loop, struct tni_again *a)
{
	if (!a)
		return;
	tni_loop_untimer(loop, &a->timer);
	tni_buf_clear(&a->kept);
	free(a);
}
