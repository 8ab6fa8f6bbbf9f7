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

/* Takes the layer in every case. */
static int put_below(struct tn_conn *c, struct tni_layer *layer)
{
	struct tni_layered *l = calloc(1, sizeof(*l));

	if (!l) {
		layer->ops->free(layer);
		return tni_err(-ENOMEM, "TLS: out of memory");
	}
	l->layer = layer;
	tni_buf_init(&l->in, &c->loop->mem, SIZE_MAX);
	tni_buf_init(&l->wire, &c->loop->mem, SIZE_MAX);
	l->tx_max = c->tx.max;
	tni_list_init(&l->costly.node);
	l->costly.task = &c->task;
	c->layered = l;
	return 0;
}

int tni_layered_new(struct tn_conn *c, struct tni_creds *creds, const char *host)
{
	struct tni_layer *layer;
	int rc = tni_tls_new(creds, host, &layer);

	return rc < 0 ? rc : put_below(c, layer);
}

int tni_layered_join(struct tn_conn *c, struct tni_layer *layer, struct tn_conn *socket)
{
	if (put_below(c, layer) < 0 || tni_lossy_new(c, socket) < 0)
		return tni_err(-ENOMEM, "DTLS: out of memory");
	return 0;
}

static int new_lossy(struct tn_conn *c, struct tni_creds *creds, const char *host)
{
	struct tni_layer *layer;
	int rc = tni_dtls_dial(creds, host, &layer);

	return rc < 0 ? rc : tni_layered_join(c, layer, c);
}

const struct tn_buf *tni_layered_first(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (!l || !l->lossy || l->layer->ops->open(l->layer, &l->wire) < 0)
		return NULL;
	l->begun = true;
	return &l->wire;
}

int tni_layered_dial(struct tn_conn *c)
{
	const char *host = c->ep->scheme->place == TNI_AT_HOST && *c->ep->host ? c->ep->host : "localhost";
	const struct tni_creds_spec *spec = &c->ep->tls;
	struct tni_creds *creds;
	int rc;

	if (!c->ep->scheme->secure)
		return 0;
	if (spec->verify == TNI_VERIFY_OFF && !spec->pin)
		tni_log(true, "%s: the server is not verified (verify=off): it could be anybody", c->ep->url);
	rc = tni_endpoint_creds(c->ep, &creds);
	if (rc < 0)
		return rc;
	rc = spec->datagrams ? new_lossy(c, creds, host) : tni_layered_new(c, creds, host);
	return rc < 0 ? rc : tni_tls_resume(c->layered->layer, c->ep->url);
}

void tni_layered_free(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (!l)
		return;
	tni_loop_cost_no_more(c->loop, &l->costly);
	if (l->lossy)
		tni_lossy_free(c);
	l->layer->ops->free(l->layer);
	tni_buf_clear(&l->in);
	tni_buf_clear(&l->wire);
	free(l->words);
	free(l);
	c->layered = NULL;
}

static void note_failure(struct tni_layered *l, int err)
{
	l->err = err;
	l->words = strdup(tn_errmsg());
}

void tni_layered_start(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	int rc = l->begun ? 0 : l->layer->ops->open(l->layer, &l->wire);

	if (l->begun)
		tni_buf_clear(&l->wire);
	if (rc < 0)
		note_failure(l, rc);
	if (!(c->flags & TNI_CLOSING)) /* the timer is the drain's then */
		tni_loop_timer(c->loop, &c->timer, c->ep->handshake_ns);
}

void tni_layered_timeout(struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;
	const char *why = tni_tls_heard(l->layer) ? "the peer has not completed it" : "the peer has said nothing";
	char after[32], silence[400], *words;

	tni_format_duration(c->ep->handshake_ns, after, sizeof(after));
	if (l->lossy)
		why = tni_dtls_silence(l->layer, silence, sizeof(silence));
	if (!tni_list_empty(&l->costly.node))
		why = "so many others began at once that it was not its turn";
	if (asprintf(&words, "%s handshake: %s within %s", l->lossy ? "DTLS" : "TLS", why, after) < 0)
		words = NULL;
	if (c->err) { /* what failed first has words of its own */
		free(words);
		words = NULL;
	}
	if (words)
		c->flags |= TNI_DESCRIBED;
	tni_conn_fail(c, -ETIMEDOUT, words);
}

void tni_layered_tick(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	int rc = tni_dtls_tick(l->layer, &l->wire);

	if (rc < 0 && !l->err)
		note_failure(l, rc);
}

bool tni_layered_wants(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && !(c->flags & TNI_DEAD) && !l->layer->open && !l->failed && c->tx.head;
}

int tni_layered_take(struct tn_conn *c, struct tni_blk *blk)
{
	return tni_buf_give(&c->layered->in, blk);
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

/*
 * The bytes from the socket have ended. A client that connects and leaves without a word (a probe) is no trouble.
 * Without the layer's own end the peer may have been cut off, which its user is told; what it said before is still
 * answered.
 */
static void ended(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (l->layer->ended || l->err || c->flags & TNI_RX_END)
		return;
	if (c->part && !tni_tls_heard(l->layer)) {
		c->flags |= TNI_RX_END;
		tn_close(c);
	} else if (l->layer->open) {
		tni_conn_keep_reason(c, l->layer->ops->cut(l->layer));
		c->flags |= TNI_RX_END;
	} else {
		note_failure(l, l->layer->ops->cut(l->layer));
	}
}

bool tni_layered_is_behind(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && !tni_list_empty(&l->costly.node) && l->in.len >= BEHIND_MAX;
}

/* A step of a handshake counts; what an open connection carries does not. */
static int go_up(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	bool shaking = !l->layer->open;
	uint64_t since_ns = shaking ? tni_clock_ns() : 0;
	int rc = l->layer->ops->up(l->layer, &l->in, &c->rx, &l->wire);

	if (shaking)
		tni_loop_cost(c->loop, tni_clock_ns() - since_ns);
	return rc;
}

static bool must_wait(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	return !l->layer->open && (l->in.head || l->lossy) && !tni_loop_may_cost(c->loop, &l->costly);
}

/* It has waited for its turn, and its client has gone meanwhile: to begin its handshake would be work for nobody. */
static bool has_left_the_queue(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return c->loop->its_turn == &l->costly && l->eof && c->part && !tni_tls_heard(l->layer);
}

void tni_layered_up(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	bool was_open = l->layer->open, parting = l->lossy && c->flags & TNI_CLOSING;
	uint32_t before = c->rx.len;
	int rc;

	if (c->flags & TNI_DEAD || (l->lossy && was_open && !l->in.head))
		return;
	if (l->failed || (c->flags & TNI_CLOSING && !tni_layered_wants(c) && !parting)) {
		tni_buf_clear(&l->in);
		if (l->eof)
			c->flags |= TNI_RX_END;
		return;
	}
	if (l->err || (was_open && !tni_conn_may_deliver(c) && !parting)) {
		tni_buf_compact(&l->in);
		return;
	}
	if (must_wait(c))
		return;
	if (has_left_the_queue(c)) {
		tni_buf_clear(&l->in);
		note_failure(l, l->layer->ops->cut(l->layer));
		return;
	}
	rc = go_up(c);
	c->bytes_in += c->rx.len - before;
	if (l->lossy && (!was_open || l->layer->ended || c->rx.len != before))
		c->active_ns = c->loop->now_ns; /* other datagrams may be anybody's */
	if (!was_open && l->layer->open)
		opened(c);
	if (rc < 0 && parting && was_open)
		l->layer->ended = true; /* of no matter to a connection that closes */
	else if (rc < 0)
		note_failure(l, rc);
	else if (l->eof)
		ended(c);
	if (l->layer->ended) {
		c->flags |= TNI_RX_END;
		c->hold |= TNI_HOLD_CLOSED;
	}
}

void tni_layered_settle(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (!l->err || l->failed || (c->rx.head && l->layer->open && c->hold & (TNI_HOLD_USER | TNI_HOLD_TXFULL)))
		return;
	l->failed = true;
	if (l->eof || l->lossy)
		c->flags |= TNI_RX_END; /* nothing that is worth waiting for comes */
	tni_buf_clear(&c->tx);          /* cannot be sent any more */
	tni_err(l->err, "%s", l->words ? l->words : tn_strerror(l->err));
	tni_conn_refuse_rest(c, l->err);
}

/* What waits on the wire counts as queued. */
static void bound_tx(struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	c->tx.max = l->tx_max > l->wire.len ? l->tx_max - l->wire.len : 0;
}

void tni_layered_mute(struct tn_conn *c)
{
	c->layered->shut = true;
	tni_buf_clear(&c->layered->wire);
	bound_tx(c);
}

struct tn_buf *tni_layered_seal(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	uint32_t before = c->tx.len;
	int rc = 0;

	if (c->flags & TNI_WRITE_LOST) {
		tni_layered_mute(c); /* what the layer answers by itself cannot go either */
	} else if (l->layer->open && !l->err) {
		if (c->tx.head && l->wire.len < WIRE_MAX)
			rc = l->layer->ops->down(l->layer, &c->tx, &l->wire, WIRE_MAX);
		c->bytes_out += before - c->tx.len;
		if (rc == 0 && !c->tx.head && !l->shut &&
		    (c->flags & (TNI_FIN_WANTED | TNI_ENDS_BY_RESET)) == TNI_FIN_WANTED) {
			l->shut = true;
			l->bye = l->wire.len;
			rc = l->layer->ops->shut(l->layer, &l->wire);
			l->bye = l->wire.len - l->bye;
			if (rc == 0 && l->lossy)
				tni_lossy_note_bye(c);
		}
		if (rc < 0) {
			note_failure(l, rc);
			tni_layered_settle(c);
		}
	}
	bound_tx(c);
	return &l->wire;
}

bool tni_layered_lost_nothing(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && l->shut && !c->tx.head && l->wire.len <= l->bye;
}

bool tni_layered_is_shut(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l->shut || l->failed || (c->flags & TNI_CLOSING && !l->layer->open);
}

bool tni_layered_may_shut(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return !l || tni_layered_is_shut(c) || (l->layer->open && !l->err);
}

void tni_layered_sent(struct tn_conn *c, size_t len)
{
	tni_buf_consume(&c->layered->wire, len);
	bound_tx(c);
}

bool tni_layered_has_part(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && l->layer->open && !l->lossy && (l->in.head || tni_tls_has_part(l->layer));
}

bool tni_layered_owes(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && !l->failed && tni_conn_may_deliver(c) &&
	       (l->in.head || l->err || (l->eof && !(c->flags & TNI_RX_END)));
}

/* ---- asking ---- */

int tn_conn_security(const struct tn_conn *c, struct tn_security *security)
{
	if (!c->layered)
		return tni_err(-EOPNOTSUPP, "%s: this connection is not secured", c->ep->url);
	if (!c->layered->layer->open)
		return tni_err(TN_ESTATE, "%s: the handshake is not done", c->ep->url);
	tni_tls_describe(c->layered->layer, security);
	return 0;
}

int tn_conn_peer_cert(const struct tn_conn *c, int index, unsigned char **der, size_t *len)
{
	int rc;

	if (!c->layered)
		return tni_err(-EOPNOTSUPP, "%s: this connection is not secured", c->ep->url);
	rc = tni_tls_peer_cert(c->layered->layer, index, der, len);
	return rc < 0 ? tni_err(rc, "%s: %s", c->ep->url,
				rc == -ENOENT ? "the peer has shown no such certificate" : "out of memory")
		      : 0;
}
