#include "conn/layered.h"

#include "base/err.h"
#include "base/log.h"
#include "base/units.h"
#include "conn/lossy.h"
#include "conn/server.h"
#include "secure/dtls.h"
#include "secure/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The wire takes no more past this: bytes are sealed when they can leave,
 * while the processor's cache still holds them. */
#define WIRE_MAX (64 * 1024)

/* So much is read ahead of a handshake that waits for its turn. */
#define BEHIND_MAX (32 * 1024)

static void tick(struct tni_timer *timer);

static struct tni_layered *layered_of(struct tn_conn *c)
{
	struct tni_layered *l = c->layered ? c->layered : calloc(1, sizeof(*l));

	if (!l || c->layered)
		return l;
	tni_chain_init(&l->chain, &c->loop->mem);
	l->tx_max = c->tx.max;
	l->tick.fire = tick;
	l->conn = c;
	tni_list_init(&l->costly.node);
	l->costly.task = &c->task;
	c->layered = l;
	return l;
}

int tni_layered_push(struct tn_conn *c, struct tni_layer *layer)
{
	struct tni_layered *l = layered_of(c);
	const char *name = layer->ops->name;

	if (!l) {
		layer->ops->free(layer);
		return tni_err(-ENOMEM, "%s: out of memory", name);
	}
	return tni_chain_push(&l->chain, layer);
}

/* A test's own layers, above all others. */
static int push_extra(struct tn_conn *c)
{
	return c->loop->extra_layers ? c->loop->extra_layers(c) : 0;
}

int tni_layered_accept(struct tn_conn *c, struct tni_creds *creds)
{
	struct tni_layer *layer;
	int rc = creds ? tni_tls_new(creds, NULL, &layer) : 0;

	if (rc == 0 && creds)
		rc = tni_layered_push(c, layer);
	return rc < 0 ? rc : push_extra(c);
}

int tni_layered_join(struct tn_conn *c, struct tni_layer *layer, struct tn_conn *socket)
{
	int rc = tni_layered_push(c, layer);

	if (rc < 0)
		return rc;
	c->layered->chain.repeats = true;
	return tni_lossy_new(c, socket);
}

const struct tn_buf *tni_layered_first(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (!l || !l->lossy || tni_chain_open(&l->chain) < 0)
		return NULL;
	l->begun = true;
	return tni_layered_wire(l);
}

int tni_layered_dial(struct tn_conn *c)
{
	const char *host = c->ep->scheme->place == TNI_AT_HOST && *c->ep->host ? c->ep->host : "localhost";
	const struct tni_creds_spec *spec = &c->ep->tls;
	struct tni_creds *creds;
	struct tni_layer *layer;
	int rc;

	if (!c->ep->scheme->secure)
		return tni_scheme_is_dgram(c->ep->scheme) ? 0 : push_extra(c);
	if (spec->verify == TNI_VERIFY_OFF && !spec->pin)
		tni_log(true, "%s: the server is not verified (verify=off): it could be anybody", c->ep->url);
	rc = tni_endpoint_creds(c->ep, &creds);
	if (rc < 0)
		return rc;
	rc = spec->datagrams ? tni_dtls_dial(creds, host, &layer) : tni_tls_new(creds, host, &layer);
	if (rc < 0)
		return rc;
	rc = tni_tls_resume(layer, c->ep->url);
	if (rc < 0) {
		layer->ops->free(layer);
		return rc;
	}
	if (spec->datagrams)
		return tni_layered_join(c, layer, c);
	rc = tni_layered_push(c, layer);
	return rc < 0 ? rc : push_extra(c);
}

void tni_layered_free(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (!l)
		return;
	tni_loop_cost_no_more(c->loop, &l->costly);
	tni_loop_untimer(c->loop, &l->tick);
	if (l->lossy)
		tni_lossy_free(c);
	tni_chain_free(&l->chain);
	free(l->words);
	free(l);
	c->layered = NULL;
}

static void note_failure(struct tni_layered *l, int err)
{
	l->err = err;
	l->words = strdup(tn_errmsg());
}

static void opened(struct tn_conn *c)
{
	c->flags |= TNI_TELL_OPEN;
	c->opened_ns = c->loop->now_ns;
	if (c->flags & (TNI_CLOSING | TNI_WRITE_LOST)) /* the timer is theirs */
		return;
	tni_loop_untimer(c->loop, &c->timer);
	if (c->ep->idle_ns)
		tni_loop_timer(c->loop, &c->timer, c->ep->idle_ns);
}

void tni_layered_start(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	int rc = l->begun ? 0 : tni_chain_open(&l->chain);

	if (l->begun)
		tni_buf_clear(tni_layered_wire(l));
	if (rc < 0)
		note_failure(l, rc);
	if (rc == 0 && tni_layered_is_open(l))
		opened(c);
	else if (!(c->flags & TNI_CLOSING)) /* the timer is the drain's then */
		tni_loop_timer(c->loop, &c->timer, c->ep->handshake_ns);
}

const char *tni_layered_step(const struct tn_conn *c, const char *step)
{
	const struct tni_layer *opening = c->layered ? tni_chain_opening(&c->layered->chain) : NULL;

	return opening ? opening->ops->opening : step;
}

void tni_layered_timeout(struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;
	const char *why = l->heard ? "the peer has not completed it" : "the peer has said nothing";
	struct tni_words silence;
	char after[32], *words;

	tni_format_duration(c->ep->handshake_ns, after, sizeof(after));
	if (tni_chain_query(&l->chain, TNI_ASK_SILENCE, &silence) == 0)
		why = silence.text;
	if (!tni_list_empty(&l->costly.node))
		why = "so many others began at once that it was not its turn";
	if (asprintf(&words, "%s: %s within %s", tni_layered_step(c, "opening"), why, after) < 0)
		words = NULL;
	if (c->err) { /* what failed first has words of its own */
		free(words);
		words = NULL;
	}
	if (words)
		c->flags |= TNI_DESCRIBED;
	tni_conn_fail(c, -ETIMEDOUT, words);
}

/* ---- time ---- */

static void tick(struct tni_timer *timer)
{
	struct tni_layered *l = tni_container_of(timer, struct tni_layered, tick);
	uint64_t now_ns = tni_clock_ns();
	int rc = 0;

	if (!l->err && tni_chain_due_ns(&l->chain, now_ns) != UINT64_MAX)
		rc = tni_chain_tick(&l->chain, now_ns);
	else if (l->lossy)
		tni_lossy_repeat_bye(l->lossy);
	if (rc < 0 && !l->err)
		note_failure(l, rc);
	tni_loop_ready(l->conn->loop, &l->conn->task);
}

void tni_layered_arm(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	uint64_t now_ns, due_ns;

	if (!l->chain.ticks && !l->lossy)
		return;
	now_ns = tni_clock_ns();
	due_ns = l->err ? UINT64_MAX : tni_chain_due_ns(&l->chain, now_ns);
	if (due_ns != UINT64_MAX)
		tni_loop_timer(c->loop, &l->tick, due_ns > now_ns ? due_ns - now_ns : 0);
	else if (!l->lossy || !tni_lossy_may_say_bye(l->lossy))
		tni_loop_untimer(c->loop, &l->tick);
	else if (!tni_timer_armed(&l->tick))
		tni_loop_timer(c->loop, &l->tick, tni_lossy_bye_ns(l->lossy));
}

bool tni_layered_wants(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && !(c->flags & TNI_DEAD) && !tni_layered_is_open(l) && !l->failed && c->tx.head;
}

int tni_layered_take(struct tn_conn *c, struct tni_blk *blk)
{
	return tni_buf_give(tni_layered_in(c->layered), blk);
}

/*
 * The bytes from the socket have ended, or those from a layer below another. A client that connects and leaves
 * without a word (a probe) is no trouble. Without a layer's own end the peer may have been cut off, which its user is
 * told; what it said before is still answered.
 */
static void meet_end(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	bool open = tni_layered_is_open(l);
	int rc;

	if (l->err || c->flags & TNI_RX_END || l->chain.more || tni_chain_has_ended(&l->chain))
		return;
	if (tni_layered_eof(l) && c->part && !l->heard) {
		c->flags |= TNI_RX_END;
		tn_close(c);
		return;
	}
	rc = tni_chain_cut(&l->chain);
	if (rc < 0 && open)
		tni_conn_keep_reason(c, rc);
	else if (rc < 0)
		note_failure(l, rc);
}

bool tni_layered_is_behind(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && !tni_list_empty(&l->costly.node) && tni_layered_in(l)->len >= BEHIND_MAX;
}

/* A step of a handshake counts; what an open connection carries does not. */
static int go_up(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	bool shaking = !tni_layered_is_open(l);
	uint64_t since_ns = shaking ? tni_clock_ns() : 0;
	int rc;

	l->heard |= tni_layered_in(l)->head != NULL;
	rc = tni_chain_up(&l->chain, &c->rx);
	if (shaking)
		tni_loop_cost(c->loop, tni_clock_ns() - since_ns);
	return rc;
}

static bool must_wait(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	return !tni_layered_is_open(l) && (tni_layered_in(l)->head || l->lossy) &&
	       !tni_loop_may_cost(c->loop, &l->costly);
}

/* It has waited for its turn, and its client has gone meanwhile: to begin its handshake would be work for nobody. */
static bool has_left_the_queue(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return c->loop->its_turn == &l->costly && tni_layered_eof(l) && c->part && !l->heard;
}

void tni_layered_up(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	bool was_open = tni_layered_is_open(l), parting = l->lossy && c->flags & TNI_CLOSING;
	struct tn_buf *in = tni_layered_in(l);
	uint32_t before = c->rx.len;
	int rc;

	if (c->flags & TNI_DEAD || (l->lossy && was_open && !in->head))
		return;
	if (l->failed || (c->flags & TNI_CLOSING && !tni_layered_wants(c) && !parting)) {
		tni_buf_clear(in);
		if (tni_layered_eof(l))
			c->flags |= TNI_RX_END;
		return;
	}
	if (l->err || (was_open && !tni_conn_may_deliver(c) && !parting)) {
		tni_buf_compact(in);
		return;
	}
	if (must_wait(c))
		return;
	if (has_left_the_queue(c)) {
		tni_buf_clear(in);
		note_failure(l, tni_chain_cut(&l->chain));
		return;
	}
	rc = go_up(c);
	c->bytes_in += c->rx.len - before;
	if (l->lossy && (!was_open || tni_chain_has_ended(&l->chain) || c->rx.len != before))
		c->active_ns = c->loop->now_ns; /* other datagrams may be anybody's */
	if (c->flags & TNI_REFUSED)
		tni_buf_clear(&c->rx); /* it came behind the message that was refused */
	if (!was_open && tni_layered_is_open(l))
		opened(c);
	if (rc < 0 && parting && was_open)
		l->chain.top->layer->ended = true; /* of no matter to a connection that closes */
	else if (rc < 0)
		note_failure(l, rc);
	else
		meet_end(c);
	if (tni_chain_has_ended(&l->chain))
		c->flags |= TNI_RX_END;
	if (tni_layered_is_over(l))
		c->hold |= TNI_HOLD_CLOSED;
}

void tni_layered_settle(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (!l->err || l->failed ||
	    (c->rx.head && tni_layered_is_open(l) && c->hold & (TNI_HOLD_USER | TNI_HOLD_TXFULL)))
		return;
	l->failed = true;
	if (tni_layered_eof(l) || l->lossy)
		c->flags |= TNI_RX_END; /* nothing that is worth waiting for comes */
	tni_buf_clear(&c->tx);          /* cannot be sent any more */
	tni_err(l->err, "%s", l->words ? l->words : tn_strerror(l->err));
	tni_conn_refuse_rest(c, l->err);
}

/* What the chain holds counts as queued. */
static void bound_tx(struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;
	size_t held = tni_chain_queued(&l->chain);

	c->tx.max = l->tx_max > held ? (uint32_t)(l->tx_max - held) : 0;
}

void tni_layered_mute(struct tn_conn *c)
{
	tni_chain_mute(&c->layered->chain);
	bound_tx(c);
}

static int say_last_words(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	struct tn_buf *wire = tni_layered_wire(l);
	uint32_t before = wire->len;
	int rc = tni_chain_shut(&l->chain);

	if (!tni_chain_is_shut(&l->chain))
		return rc;
	l->bye = wire->len - before;
	if (rc == 0 && l->lossy)
		tni_lossy_note_bye(c);
	return rc;
}

struct tn_buf *tni_layered_seal(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	uint32_t before = c->tx.len;
	int rc = 0;

	if (c->flags & TNI_WRITE_LOST || (c->flags & TNI_FIN_SENT && !l->lossy)) {
		tni_layered_mute(c); /* what the layers answer by themselves cannot go either */
	} else if (!l->err) {
		rc = tni_chain_down(&l->chain, &c->tx, WIRE_MAX);
		c->bytes_out += before - c->tx.len;
		if (rc == 0 && tni_layered_is_open(l) && !c->tx.head && !tni_chain_is_shut(&l->chain) &&
		    (c->flags & (TNI_FIN_WANTED | TNI_ENDS_BY_RESET)) == TNI_FIN_WANTED)
			rc = say_last_words(c);
		if (rc < 0) { /* perhaps inside a call of the user's, who is told from the task */
			note_failure(l, rc);
			tni_loop_later(c->loop, &c->task);
		}
	}
	bound_tx(c);
	return tni_layered_wire(l);
}

bool tni_layered_lost_nothing(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && tni_chain_is_shut(&l->chain) && !c->tx.head && tni_chain_queued(&l->chain) <= l->bye;
}

bool tni_layered_is_shut(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return tni_chain_is_shut(&l->chain) || l->failed || (c->flags & TNI_CLOSING && !tni_layered_is_open(l));
}

bool tni_layered_may_shut(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return !l || tni_layered_is_shut(c) || (tni_layered_is_open(l) && !l->err);
}

void tni_layered_sent(struct tn_conn *c, size_t len)
{
	tni_buf_consume(tni_layered_wire(c->layered), len);
	bound_tx(c);
}

bool tni_layered_has_part(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && tni_layered_is_open(l) && !l->lossy && tni_chain_has_part(&l->chain);
}

bool tni_layered_has_more(const struct tn_conn *c)
{
	return c->layered && c->layered->chain.more && !(c->flags & TNI_DEAD);
}

bool tni_layered_owes(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && !l->failed && tni_conn_may_deliver(c) &&
	       (tni_layered_in(l)->head || l->chain.more || l->err || (tni_layered_eof(l) && !(c->flags & TNI_RX_END)));
}

void tni_layered_leave(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	uint32_t tx_max = l->tx_max;
	bool eof = tni_layered_eof(l);

	if (l->err || tni_op_busy(&c->io.wr))
		return;
	tni_chain_leave(&l->chain);
	if (l->chain.bottom)
		return;
	tni_layered_free(c);
	c->tx.max = tx_max;
	if (eof)
		c->flags |= TNI_RX_END;
}

/* ---- asking ---- */

int tn_conn_security(const struct tn_conn *c, struct tn_security *security)
{
	int rc;

	if (!c->layered)
		return tni_err(-EOPNOTSUPP, "%s: this connection is not secured", c->ep->url);
	if (!tni_layered_is_open(c->layered))
		return tni_err(TN_ESTATE, "%s: the handshake is not done", c->ep->url);
	rc = tni_chain_query(&c->layered->chain, TNI_ASK_SECURITY, security);
	return rc < 0 ? tni_err(rc, "%s: this connection is not secured", c->ep->url) : 0;
}

int tn_conn_peer_cert(const struct tn_conn *c, int index, unsigned char **der, size_t *len)
{
	struct tni_cert_question q = {.index = index, .der = der, .len = len};
	int rc = c->layered ? tni_chain_query(&c->layered->chain, TNI_ASK_CERT, &q) : -EOPNOTSUPP;

	if (rc == -EOPNOTSUPP)
		return tni_err(rc, "%s: this connection is not secured", c->ep->url);
	return rc < 0 ? tni_err(rc, "%s: %s", c->ep->url,
				rc == -ENOENT ? "the peer has shown no such certificate" : "out of memory")
		      : 0;
}
