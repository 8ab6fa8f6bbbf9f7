#include "conn/layered.h"

#include "base/err.h"
#include "base/log.h"
#include "base/units.h"
#include "conn/again.h"
#include "conn/asked.h"
#include "conn/association.h"
#include "conn/proxied.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "conn/way.h"
#include "endpoint/via.h"
#include "endpoint/web.h"
#include "web/request.h"
#include "proxy/header.h"
#include "secure/dtls.h"
#include "secure/tls.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The wire takes no more past this: bytes are sealed when they can leave,
 * while the processor's cache still holds them. */
#define WIRE_MAX (64 * 1024)

/* So much is read ahead of a handshake that waits for its turn. */
#define BEHIND_MAX (32 * 1024)

static_assert(sizeof(struct tni_layered) <= 56, "an idle chain costs at most 64 bytes, allocator included");

static void tick(struct tni_timer *timer);

static struct tni_busy *busy_of(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (l->busy || !(l->busy = calloc(1, sizeof(*l->busy))))
		return l->busy;
	l->busy->tick.fire = tick;
	l->busy->conn = c;
	tni_list_init(&l->busy->costly.node);
	l->busy->costly.task = &c->task;
	return l->busy;
}

static void busy_free(struct tn_conn *c)
{
	struct tni_busy *busy = c->layered->busy;

	if (!busy)
		return;
	tni_loop_cost_no_more(c->loop, &busy->costly);
	tni_loop_untimer(c->loop, &busy->tick);
	tni_way_free(busy->way);
	if (busy->assoc)
		tni_assoc_free(c);
	free(busy->words);
	free(busy);
	c->layered->busy = NULL;
}

static struct tni_layered *layered_of(struct tn_conn *c)
{
	if (c->layered)
		return c->layered;
	c->layered = calloc(1, sizeof(*c->layered));
	if (!c->layered)
		return NULL;
	tni_chain_init(&c->layered->chain, &c->loop->mem);
	c->layered->tx_max = c->tx.max;
	if (!busy_of(c)) {
		free(c->layered);
		c->layered = NULL;
	}
	return c->layered;
}

int tni_layered_push(struct tn_conn *c, struct tni_layer *layer)
{
	struct tni_layered *l = layered_of(c);

	if (!l) {
		int rc = tni_err(-ENOMEM, "%s: out of memory", layer->ops->name);

		layer->ops->free(layer);
		return rc;
	}
	tni_chain_push(&l->chain, layer);
	return 0;
}

/* Key auth: a secret lives no longer than the request that it goes with. */
static int authorize(struct tn_conn *c, struct tni_layer *layer)
{
	struct tni_login login;
	char *value = NULL;
	int rc = tni_endpoint_login(c->ep, NULL, &login);

	if (rc == 0) {
		value = tni_login_authorization(&login);
		tni_login_free(&login);
		rc = value ? 0 : tni_err(-ENOMEM, "out of memory");
	}
	if (rc == 0)
		tni_ws_authorize(layer, value);
	else
		layer->ops->free(layer);
	return rc < 0 ? tni_err_prefix(rc, "%s", c->ep->url) : 0;
}

/* Above TLS, where there is any: WebSocket, HTTP, or a proxy's request; then a test's own layers. */
static int push_upper(struct tn_conn *c)
{
	struct tni_layer *layer = NULL;
	int rc = 0;

	if (c->ep->scheme->web == TNI_WEB_SOCKET)
		rc = tni_ws_new(&c->ep->web->config, c, &layer);
	else if (c->ep->scheme->web)
		rc = tni_requests_new(&c->ep->web->config, &layer);

	if (rc == 0 && layer && tni_endpoint_auth(c->ep))
		rc = authorize(c, layer);
	if (rc == 0 && c->ep->scheme->gate)
		rc = tni_asked_layer(c, &layer);
	if (rc == 0 && layer)
		rc = tni_layered_push(c, layer);
	return rc == 0 && c->loop->extra_layers ? c->loop->extra_layers(c) : rc;
}

/* A PROXY header, next to the socket. Datagrams have one each (conn/dgram.c). */
static int push_sender(struct tn_conn *c)
{
	const struct tni_proxy_told *told = tni_proxied_told(c);
	struct tni_layer *layer = NULL;
	int rc = told && c->kind->ends ? tni_proxy_sender(told->header, told->len, &layer) : 0;

	return rc == 0 && told && c->kind->ends ? tni_layered_push(c, layer) : rc;
}

static int push_reader(struct tn_conn *c)
{
	struct tni_layer *layer = NULL;
	int rc = c->ep->proxy ? tni_proxy_reader(&layer) : 0;

	return rc == 0 && c->ep->proxy ? tni_layered_push(c, layer) : rc;
}

int tni_layered_accept(struct tn_conn *c, struct tni_creds *creds)
{
	struct tni_layer *layer = NULL;
	int rc = push_reader(c);

	if (rc < 0)
		tni_creds_unref(creds);
	else
		rc = creds ? tni_tls_new(creds, NULL, &layer) : 0;
	if (rc == 0 && creds && c->part->server->tls_later)
		tni_tls_wait(layer, c->part->server->tls_optional);
	if (rc == 0 && creds)
		rc = tni_layered_push(c, layer);
	return rc < 0 ? rc : push_upper(c);
}

int tni_layered_join(struct tn_conn *c, struct tni_layer *layer, struct tn_conn *socket)
{
	int rc = tni_layered_push(c, layer);

	if (rc < 0 || !c->layered)
		return rc;
	c->layered->chain.repeats = true;
	return tni_assoc_new(c, socket);
}

const struct tn_buf *tni_layered_first(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (!l || !tni_layered_assoc(l) || tni_chain_open(&l->chain) < 0)
		return NULL;
	l->begun = true;
	return tni_layered_wire(l);
}

int tni_layered_dial(struct tn_conn *c)
{
	const char *host = tni_endpoint_host(c->ep);
	const struct tni_creds_spec *spec = c->ep->tls;
	struct tni_creds *creds;
	struct tni_layer *layer = NULL;
	int rc = tni_via_count(c->ep) ? tni_way_push(c) : 0;

	if (rc == 0)
		rc = push_sender(c);
	if (rc < 0)
		return rc;
	if (!c->ep->scheme->secure)
		return c->kind->ends ? push_upper(c) : 0; /* datagrams as they are have no layers */
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
	return rc < 0 ? rc : push_upper(c);
}

void tni_layered_free(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (!l)
		return;
	busy_free(c);
	tni_chain_free(&l->chain);
	free(l);
	c->layered = NULL;
}

static void note_failure(struct tn_conn *c, int err)
{
	struct tni_busy *busy = busy_of(c);

	c->layered->err = err;
	if (!busy)
		return;
	if (TNI_VIA_BUILT && c->layered->chain.hop)
		(void)tni_err_prefix(err, "%s", tni_way_label(c, c->layered->chain.hop));
	free(busy->words);
	busy->words = strdup(tn_errmsg());
}

/* How long the layers may take to open: as far as the target all of connecting together, then the handshake. */
static void arm_opening(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (!(c->flags & TNI_CLOSING)) /* the timer is the drain's then */
		tni_loop_timer(c->loop, &c->timer,
			       tni_way_of(l) ? tni_way_left_ns(tni_way_of(l)) : c->ep->handshake_ns);
}

/* Whether the proxies have connected: from then on it is the target that speaks. */
static void leave_way(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	const struct tni_layer *opening = tni_chain_opening(&l->chain);

	if (!tni_way_of(l) || (opening && opening->hop))
		return;
	tni_way_free(l->busy->way);
	l->busy->way = NULL;
	if (opening)
		arm_opening(c);
}

static void count_handshake(const struct tn_conn *c)
{
	const struct tni_layer *tls = tni_layered_tls(c);
	struct tn_security security;

	if (tls && tni_tls_is_plain(tls))
		return;
	tni_count(c->part, handshakes, 1);
	if (c->ep->scheme->secure && tn_conn_security(c, &security) == 0 && security.resumed)
		tni_count(c->part, resumed, 1);
}

static void opened(struct tn_conn *c)
{
	if (c->part)
		count_handshake(c);
	if (!(c->flags & TNI_OPEN)) { /* otherwise TLS has begun in the middle */
		c->flags |= TNI_TELL_OPEN;
		c->layers_us = 1 + tni_us_of(c->loop->now_ns - c->opened_ns);
		c->opened_ns = c->loop->now_ns;
	}
	if (tni_asked_waits(c))
		c->hold |= TNI_HOLD_USER;
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
		note_failure(c, rc);
	if (rc == 0 && tni_layered_is_open(l))
		opened(c);
	else
		arm_opening(c);
}

const char *tni_layered_step(const struct tn_conn *c, const char *step)
{
	const struct tni_layer *opening = c->layered ? tni_chain_opening(&c->layered->chain) : NULL;

	if (TNI_VIA_BUILT && opening && opening->hop)
		return tni_way_label(c, opening->hop);
	return opening ? opening->ops->opening : step;
}

void tni_layered_timeout(struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;
	const char *why = l->heard ? "the peer has not completed it" : "the peer has said nothing";
	uint64_t ns = tni_way_of(l) ? c->ep->connect_ns : c->ep->handshake_ns;
	const struct tni_layer *opening = tni_chain_opening(&l->chain);
	struct tni_words silence;
	char after[32], *words;
	int rc;

	tni_format_duration(ns, after, sizeof(after));
	if (TNI_VIA_BUILT && opening && opening->hop && opening->ops->query)
		rc = opening->ops->query(opening, TNI_ASK_SILENCE, &silence);
	else
		rc = tni_chain_query(&l->chain, TNI_ASK_SILENCE, &silence);
	if (rc == 0)
		why = silence.text;
	if (l->busy && !tni_list_empty(&l->busy->costly.node))
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

/* Nothing has been read since it was due, but what the peer said in time may be there. It is looked at again. */
static bool is_met_late(struct tni_layered *l, uint64_t now_ns)
{
	l->met_late = !l->met_late && now_ns - l->busy->tick.when_ns >= TNI_LATE_NS;
	return l->met_late;
}

static void tick(struct tni_timer *timer)
{
	struct tni_busy *busy = tni_container_of(timer, struct tni_busy, tick);
	struct tn_conn *c = busy->conn;
	struct tni_layered *l = c->layered;
	uint64_t now_ns = tni_clock_ns();
	int rc = 0;

	if (is_met_late(l, now_ns)) {
		tni_loop_timer(c->loop, &busy->tick, TNI_LATE_NS / 5);
		return;
	}
	if (!l->err && tni_chain_due_ns(&l->chain, now_ns) != UINT64_MAX)
		rc = tni_chain_tick(&l->chain, now_ns);
	else if (busy->assoc)
		tni_assoc_repeat(busy->assoc);
	if (rc < 0 && !l->err)
		note_failure(c, rc);
	tni_loop_ready(c->loop, &c->task);
}

/* It is open, and nothing of this is needed before a layer fails. */
static bool is_at_rest(const struct tn_conn *c)
{
	const struct tni_busy *busy = c->layered->busy;

	return tni_layered_is_open(c->layered) && !busy->assoc && !busy->words && tni_list_empty(&busy->costly.node) &&
	       c->loop->its_turn != &busy->costly;
}

void tni_layered_arm(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	struct tni_assoc *assoc = tni_layered_assoc(l);
	uint64_t now_ns, due_ns;
	struct tni_busy *busy;

	if (!tni_op_busy(&c->io.wr)) /* it may be what goes out */
		tni_chain_rest(&l->chain);
	if (!assoc && !tni_chain_is_timed(&l->chain)) {
		if (l->busy && is_at_rest(c))
			busy_free(c);
		return;
	}
	busy = busy_of(c);
	if (!busy) {
		note_failure(c, tni_err(-ENOMEM, "out of memory"));
		tni_loop_later(c->loop, &c->task);
		return;
	}
	now_ns = tni_clock_ns();
	tni_chain_set_unread(&l->chain, c->hold && tni_layered_is_open(l));
	due_ns = l->err ? UINT64_MAX : tni_chain_due_ns(&l->chain, now_ns);
	if (due_ns != UINT64_MAX)
		tni_loop_timer(c->loop, &busy->tick, due_ns > now_ns ? due_ns - now_ns : 0);
	else if (!assoc || !tni_assoc_may_repeat(assoc))
		tni_loop_untimer(c->loop, &busy->tick);
	else if (!tni_timer_armed(&busy->tick))
		tni_loop_timer(c->loop, &busy->tick, tni_assoc_repeat_ns(assoc));
}

bool tni_layered_wants(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && !(c->flags & TNI_DEAD) && !tni_layered_is_open(l) && !l->failed && c->tx.head;
}

int tni_layered_take(struct tn_conn *c, struct tni_blk *blk)
{
	struct tn_buf *in = tni_chain_in(&c->layered->chain);

	if (in)
		return tni_buf_give(in, blk);
	tni_blk_unref(blk);
	return -ENOMEM;
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
		tni_conn_close(c);
		return;
	}
	rc = tni_chain_cut(&l->chain);
	if (rc < 0 && open)
		tni_conn_keep_reason(c, rc);
	else if (rc < 0)
		note_failure(c, rc);
}

bool tni_layered_is_behind(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && l->busy && !tni_list_empty(&l->busy->costly.node) && tni_layered_in(l)->len >= BEHIND_MAX;
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

	return !tni_layered_is_open(l) && (tni_layered_in(l)->head || tni_layered_assoc(l)) &&
	       !tni_loop_may_cost(c->loop, &l->busy->costly);
}

/* It has waited for its turn, and its client has gone meanwhile: to begin its handshake would be work for nobody. */
static bool has_left_the_queue(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l->busy && c->loop->its_turn == &l->busy->costly && tni_layered_eof(l) && c->part && !l->heard;
}

void tni_layered_up(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	const struct tni_assoc *assoc = tni_layered_assoc(l);
	bool was_open = tni_layered_is_open(l), parting = assoc && c->flags & TNI_CLOSING;
	struct tn_buf *in = tni_layered_in(l);
	uint32_t before = c->rx.len;
	int rc;

	if (c->flags & TNI_DEAD || (assoc && was_open && !in->head))
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
	if (!was_open && c->rx.head) {
		note_failure(c, tni_err(TN_ETLS, "TLS handshake: the peer has sent more before TLS began"));
		tni_buf_clear(&c->rx);
		return;
	}
	if (must_wait(c))
		return;
	if (has_left_the_queue(c)) {
		tni_buf_clear(in);
		note_failure(c, tni_chain_cut(&l->chain));
		return;
	}
	rc = go_up(c);
	c->bytes_in += c->rx.len - before;
	tni_conn_count(c, bytes_in, c->rx.len - before);
	if (assoc && (!was_open || tni_chain_has_ended(&l->chain) || c->rx.len != before))
		c->active_ns = c->loop->now_ns; /* other datagrams may be anybody's */
	if (c->flags & TNI_REFUSED)
		tni_buf_clear(&c->rx); /* it came behind the message that was refused */
	leave_way(c);
	if (!was_open && tni_layered_is_open(l))
		opened(c);
	if (rc < 0 && parting && was_open)
		l->chain.top->ended = true; /* of no matter to a connection that closes */
	else if (rc < 0)
		note_failure(c, rc);
	else
		meet_end(c);
	if (tni_chain_has_ended(&l->chain))
		c->flags |= TNI_RX_END;
	if (tni_layered_is_over(l))
		c->hold |= TNI_HOLD_CLOSED;
}

void tni_layered_drop(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	l->failed = true;
	if (tni_layered_eof(l) || tni_layered_assoc(l))
		c->flags |= TNI_RX_END; /* nothing that is worth waiting for comes */
	tni_again_drop(c, c->tx.len);
}

/*
 * What came before a failure is handed over first, however long it is held. But the queue is not waited for when only
 * the layers could make room in it.
 */
static bool is_held_unread(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;
	bool drains = c->hold & TNI_HOLD_TXFULL && tni_layered_wire(l)->head;

	return c->rx.head && tni_layered_is_open(l) && (drains || c->hold & (TNI_HOLD_USER | TNI_HOLD_FLOW));
}

void tni_layered_settle(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;

	if (!l->err || l->failed || is_held_unread(c))
		return;
	if (c->flags & TNI_OPEN && l->err >= TN_EREPR && l->err <= TN_EFORMAT)
		tni_conn_count(c, bad, 1);
	tni_layered_drop(c);
	tni_err(l->err, "%s", l->busy && l->busy->words ? l->busy->words : tn_strerror(l->err));
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
	uint32_t before = tni_layered_wire(l)->len;
	int rc = tni_chain_shut(&l->chain);

	if (!tni_chain_is_shut(&l->chain))
		return rc;
	l->last_word = tni_layered_wire(l)->len - before;
	if (rc == 0 && tni_layered_assoc(l))
		tni_assoc_keep_notify(c);
	return rc;
}

struct tn_buf *tni_layered_seal(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	uint32_t before = c->tx.len;
	int rc = 0;

	if (c->flags & TNI_WRITE_LOST || (c->flags & TNI_FIN_SENT && !tni_layered_assoc(l))) {
		tni_layered_mute(c); /* what the layers answer by themselves cannot go either */
	} else if (!l->err) {
		rc = tni_chain_down(&l->chain, &c->tx, WIRE_MAX);
		c->bytes_out += before - c->tx.len;
		tni_conn_count(c, bytes_out, before - c->tx.len);
		if (rc == 0 && tni_layered_is_open(l) && !c->tx.head && !tni_chain_is_shut(&l->chain) &&
		    (c->flags & (TNI_FIN_WANTED | TNI_ENDS_BY_RESET)) == TNI_FIN_WANTED && !tni_conn_puts_fin_off(c))
			rc = say_last_words(c);
		if (rc < 0) { /* perhaps inside a call of the user's, who is told from the task */
			note_failure(c, rc);
			tni_loop_later(c->loop, &c->task);
		}
	}
	bound_tx(c);
	return tni_layered_wire(l);
}

bool tni_layered_lost_nothing(const struct tn_conn *c)
{
	const struct tni_layered *l = c->layered;

	return l && tni_chain_is_shut(&l->chain) && !c->tx.head && tni_chain_queued(&l->chain) <= l->last_word;
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

	return l && tni_layered_is_open(l) && !tni_layered_assoc(l) && tni_chain_has_part(&l->chain);
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

/* ---- TLS in the middle ---- */

#ifdef TNI_HAVE_TLS

struct tni_layer *tni_layered_tls(const struct tn_conn *c)
{
	struct tni_layer *layer = NULL;

	if (!c->layered || tni_chain_query(&c->layered->chain, TNI_ASK_TLS, &layer) < 0)
		return NULL;
	return layer == c->layered->chain.top ? layer : NULL;
}

#endif

int tni_layered_begin_tls(struct tn_conn *c, struct tni_layer *tls)
{
	struct tni_layered *l = c->layered;
	uint32_t before = c->tx.len;
	int rc = busy_of(c) ? tni_chain_down(&l->chain, &c->tx, SIZE_MAX) : tni_err(-ENOMEM, "out of memory");

	c->bytes_out += before - c->tx.len;
	tni_conn_count(c, bytes_out, before - c->tx.len);
	if (rc == 0)
		rc = tni_tls_begin(tls, tni_chain_net(&l->chain, tls));
	bound_tx(c);
	if (rc < 0)
		return rc;
	l->heard = false;
	arm_opening(c);
	tni_loop_later(c->loop, &c->task); /* also from its own task: what has come behind is looked at */
	return 0;
}

/* ---- asking ---- */

int tn_conn_security(const struct tn_conn *c, struct tn_security *security)
{
	int rc;

	if (!c->layered || !c->ep->scheme->secure)
		return tni_err(-EOPNOTSUPP, "%s: this connection is not secured", c->ep->url);
	if (!tni_layered_is_open(c->layered))
		return tni_err(TN_ESTATE, "%s: the handshake is not done", c->ep->url);
	rc = tni_chain_query(&c->layered->chain, TNI_ASK_SECURITY, security);
	return rc < 0 ? tni_err(rc, "%s: this connection is not secured", c->ep->url) : 0;
}

static int ask_websocket(const struct tn_conn *c, struct tni_ws_facts *facts)
{
	int rc = c->layered ? tni_chain_query(&c->layered->chain, TNI_ASK_WEBSOCKET, facts) : -EOPNOTSUPP;

	return rc < 0 ? tni_err(rc, "%s: this connection is not WebSocket", c->ep->url) : 0;
}

int tn_conn_websocket(const struct tn_conn *c, struct tn_websocket *ws)
{
	struct tni_ws_facts facts;
	int rc = ask_websocket(c, &facts);

	if (rc < 0)
		return rc;
	*ws = (struct tn_websocket){
		.subprotocol = facts.subprotocol,
		.target = facts.target,
		.deflate = facts.deflate,
		.peer_code = facts.peer_code,
		.peer_reason = facts.peer_reason,
		.our_code = facts.our_code,
		.round_ns = facts.round_ns,
	};
	return 0;
}

int tn_ping(struct tn_conn *c)
{
	struct tni_ws_facts facts;
	int rc = ask_websocket(c, &facts);

	if (rc == 0)
		rc = c->flags & (TNI_DEAD | TNI_CLOSING) ? TN_ESTATE : tni_ws_ping(facts.layer);
	if (rc == 0)
		tni_conn_run_soon(c);
	return rc;
}

uint64_t tni_layered_take_round(const struct tn_conn *c)
{
	struct tni_ws_facts facts;

	return tni_chain_query(&c->layered->chain, TNI_ASK_WEBSOCKET, &facts) == 0 ? tni_ws_take_round(facts.layer) : 0;
}

int tn_close_with(struct tn_conn *c, int code, const char *reason)
{
	struct tni_ws_facts facts;
	int rc = ask_websocket(c, &facts);

	if (rc == 0)
		rc = tni_ws_set_close(facts.layer, code, reason);
	if (rc == 0)
		tn_close(c);
	return rc;
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
