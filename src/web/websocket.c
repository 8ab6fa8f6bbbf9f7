#include "web/websocket.h"

#include "web/login.h"
#include "web/ws.h"

#include <stdlib.h>
#include <string.h>

/* ---- the handshake ---- */

static int ws_open(struct tni_layer *layer, struct tn_buf *net)
{
	struct ws *w = tni_ws_of(layer);
	int rc;

	if (w->config->server)
		return 0;
	rc = tni_ws_seldom(w) ? tni_ws_ask(w->config, w->authorization, w->seldom->key, net)
			      : tni_err(-ENOMEM, "out of memory");
	tni_login_wipe(w->authorization);
	w->authorization = NULL;
	return rc < 0 ? tni_err_prefix(rc, "WebSocket") : 0;
}

void tni_ws_authorize(struct tni_layer *layer, char *authorization)
{
	tni_ws_of(layer)->authorization = authorization;
}

struct ws_seldom *tni_ws_seldom(struct ws *w)
{
	if (!w->seldom)
		w->seldom = calloc(1, sizeof(*w->seldom));
	return w->seldom;
}

void tni_ws_move(struct tni_layer *layer, const struct tni_ws_config *config)
{
	tni_ws_of(layer)->config = config;
}

/* What of the agreement is to be kept. Takes agreed->target. */
static int agree(struct ws *w, const struct tni_ws_agreed *agreed)
{
	const struct tni_deflate_params *params = &agreed->params;
	bool server = w->config->server, plain = agreed->target && !strcmp(agreed->target, w->config->path);
	bool timed = w->config->ping_ns || w->config->dead_ns;
	struct ws_seldom *seldom;

	w->deflate = agreed->deflate;
	w->deflate_bits = (uint16_t)(server ? params->server_bits : params->client_bits) & 15;
	w->deflate_fresh = server ? params->server_fresh : params->client_fresh;
	w->inflate_fresh = server ? params->client_fresh : params->server_fresh;
	w->layer.timeless = !timed;
	seldom = timed || agreed->subprotocol || (agreed->target && !plain) ? tni_ws_seldom(w) : NULL;
	if (seldom) {
		seldom->subprotocol = agreed->subprotocol;
		seldom->target = plain ? NULL : agreed->target;
	}
	if (plain || !seldom)
		free(agreed->target);
	if (!seldom && w->seldom && !w->seldom->reason) { /* it was for the key */
		free(w->seldom);
		w->seldom = NULL;
	}
	return seldom || !(timed || agreed->subprotocol || (agreed->target && !plain)) ? 0 : tni_ws_no_memory();
}

static int read_opening(struct ws *w, struct tn_buf *in, struct tn_buf *net)
{
	size_t len = in->len < TNI_HTTP_MAX ? in->len : TNI_HTTP_MAX;
	const char *data = (const char *)tni_buf_pullup(in, len);
	struct tni_ws_agreed agreed = {0};
	int rc;
	long n;

	if (!data)
		return tni_ws_no_memory();
	n = w->config->server ? tni_ws_answer(&w->config, w->who, data, len, net, &agreed)
			      : tni_ws_read_answer(w->config, w->seldom->key, data, len, &agreed);
	if (n <= 0)
		free(agreed.target);
	if (n < 0)
		return tni_err_prefix((int)n, "WebSocket");
	tni_buf_consume(in, (size_t)n);
	if (n == 0)
		return 0;
	rc = agree(w, &agreed);
	w->in = NULL;
	w->layer.open = true;
	return rc;
}

static int ws_up(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	struct ws *w = tni_ws_of(layer);
	int rc;

	w->heard |= in->head != NULL;
	if (in->head && !layer->open) {
		rc = read_opening(w, in, net);
		if (rc < 0 || !layer->open)
			return rc;
	}
	rc = layer->open ? tni_ws_read(w, in, out, net, max) : 0;
	if (layer->ended)
		tni_buf_clear(in); /* what comes behind Close is nobody's */
	return layer->broken ? 0 : rc;
}

static int ws_down(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *net, size_t max)
{
	return tni_ws_write(tni_ws_of(layer), in, net, max);
}

/* ---- the end ---- */

static int ws_shut(struct tni_layer *layer, struct tn_buf *net)
{
	struct ws *w = tni_ws_of(layer);

	if (w->our_code)
		return 0;
	if (w->peer_code && !w->code)
		return tni_ws_put_close(w, net, w->peer_code, NULL);
	return tni_ws_put_close(w, net, w->code ? w->code : TNI_WS_NORMAL, w->seldom ? w->seldom->reason : NULL);
}

int tni_ws_cut(struct tni_layer *layer)
{
	const struct ws *w = tni_ws_of(layer);

	if (layer->broken)
		return tni_err(w->seldom ? w->seldom->err : TN_EFORMAT, "WebSocket: %s",
			       w->seldom && w->seldom->words ? w->seldom->words : "the peer has broken a rule");
	if (layer->open)
		return tni_err(TN_ECUT, "WebSocket: the peer's bytes have ended without a Close");
	return w->config->server ? tni_err(TN_EFORMAT, "WebSocket: the client has gone before its request was whole")
				 : tni_err(-ECONNRESET, "WebSocket: the server has gone without a whole answer");
}

/* What is refused above: the peer is told in its own words, and need not be reset. */
static void ws_refuse(struct tni_layer *layer, int err)
{
	struct ws *w = tni_ws_of(layer);

	w->code = err == TN_ETOOBIG ? TNI_WS_TOO_BIG : err == -ECANCELED ? TNI_WS_GOING_AWAY : TNI_WS_BAD_DATA;
	if (err == -ECANCELED && tni_ws_seldom(w) && !w->seldom->reason)
		w->seldom->reason = strdup("the server ends"); /* without memory the code alone */
}

int tni_ws_set_close(struct tni_layer *layer, int code, const char *reason)
{
	struct ws *w = tni_ws_of(layer);
	size_t len = reason ? strlen(reason) : 0;
	char *copy = NULL;

	if (code < 0 || !tni_ws_is_close_code((unsigned)code))
		return tni_err(TN_EFORMAT,
			       "%d is no code that a Close may have: 1000 to 1003, 1007 to 1014, 3000 to 4999", code);
	if (len > CONTROL_MAX - 2 || tni_utf8_check(reason, len) != len)
		return tni_err(TN_EFORMAT, "the reason of a Close is at most %d bytes of UTF-8", CONTROL_MAX - 2);
	if (len && !(tni_ws_seldom(w) && (copy = strdup(reason))))
		return tni_ws_no_memory(); /* cppcheck-suppress memleak; there is no copy */
	if (w->seldom) {
		free(w->seldom->reason);
		w->seldom->reason = copy;
	}
	w->code = (uint16_t)code;
	return 0; /* cppcheck-suppress memleak; with a copy there is w->seldom, which has it now */
}

/* ---- time ---- */

/* Any byte of the peer's shows that it is there. */
static void note_heard(struct ws *w, uint64_t now_ns)
{
	if (w->heard || !w->seldom->heard_ns)
		w->seldom->heard_ns = now_ns;
	w->heard = false;
}

static uint64_t first_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t ws_due_ns(struct tni_layer *layer, uint64_t now_ns)
{
	struct ws *w = tni_ws_of(layer);
	uint64_t due = UINT64_MAX;

	if (!layer->open || layer->ended || layer->broken || w->our_code)
		return UINT64_MAX;
	note_heard(w, now_ns);
	if (w->answered || (w->wanted && !w->asked))
		return now_ns;
	if (layer->unread) {
		w->heard = true; /* the silence begins when it is read again */
		return UINT64_MAX;
	}
	if (w->config->dead_ns)
		due = w->seldom->heard_ns + w->config->dead_ns;
	if (w->config->ping_ns && !w->asked)
		due = first_of(due, w->seldom->heard_ns + w->config->ping_ns);
	return due;
}

static int ws_tick(struct tni_layer *layer, struct tn_buf *net, uint64_t now_ns)
{
	struct ws *w = tni_ws_of(layer);

	if (w->answered) {
		w->seldom->round_ns = now_ns - w->seldom->asked_ns;
		w->asked = w->answered = false;
		w->measured = true;
		return 0;
	}
	if (w->config->dead_ns && now_ns >= w->seldom->heard_ns + w->config->dead_ns) {
		(void)tni_ws_put_close(w, net, TNI_WS_GOING_AWAY, "nothing was heard");
		return tni_err(-ETIMEDOUT, "WebSocket: the peer has been silent for %llu ms",
			       (unsigned long long)((now_ns - w->seldom->heard_ns) / 1000000));
	}
	if (!w->asked && (w->wanted || (w->config->ping_ns && now_ns >= w->seldom->heard_ns + w->config->ping_ns))) {
		w->asked = true;
		w->wanted = false;
		w->seldom->asked_ns = now_ns;
		return tni_ws_put_control(w, net, OP_PING, "", 0);
	}
	return 0;
}

int tni_ws_ping(struct tni_layer *layer)
{
	struct ws *w = tni_ws_of(layer);

	if (!layer->open || layer->ended || layer->broken || w->our_code)
		return tni_err(TN_ESTATE, "WebSocket: it is not open");
	if (!tni_ws_seldom(w))
		return tni_ws_no_memory();
	layer->timeless = false;
	w->wanted = true;
	return 0;
}

uint64_t tni_ws_take_round(struct tni_layer *layer)
{
	struct ws *w = tni_ws_of(layer);
	uint64_t ns = w->measured ? w->seldom->round_ns : 0;

	w->measured = false;
	return ns;
}

/* ---- asking ---- */

int tni_ws_query(const struct tni_layer *layer, enum tni_question what, void *answer)
{
	static const struct ws_seldom nothing;
	const struct ws *w = tni_ws_of(layer);
	const struct ws_seldom *seldom = w->seldom ? w->seldom : &nothing;
	struct tni_ws_facts *facts = answer;

	if (what == TNI_ASK_PART)
		return layer->open && w->in && (w->in->kind || w->in->in_frame);
	if (what != TNI_ASK_WEBSOCKET)
		return -EOPNOTSUPP;
	*facts = (struct tni_ws_facts){
		.subprotocol = seldom->subprotocol ? seldom->subprotocol : "",
		.target = seldom->target ? seldom->target : w->config->path,
		.peer_code = w->peer_code ? w->peer_code : TNI_WS_ABNORMAL,
		.peer_reason = seldom->peer_reason ? seldom->peer_reason : "",
		.deflate = w->deflate,
		.our_code = w->our_code,
		.round_ns = seldom->round_ns,
		.layer = (struct tni_layer *)(uintptr_t)layer,
	};
	return 0;
}

void tni_ws_free(struct tni_layer *layer)
{
	struct ws *w = tni_ws_of(layer);

	if (layer->open)
		tni_ws_forget_in(w);
	else if (!w->config->server)
		tni_login_wipe(w->authorization);
	tni_ws_forget_out(w);
	if (w->seldom) {
		free(w->seldom->target);
		free(w->seldom->reason);
		free(w->seldom->peer_reason);
		free(w->seldom->words);
		free(w->seldom);
	}
	free(w);
}

static const struct tni_layer_ops ws_ops = {
	.name = "WebSocket",
	.opening = "WebSocket handshake",
	.messages = true,
	.open = ws_open,
	.up = ws_up,
	.down = ws_down,
	.shut = ws_shut,
	.cut = tni_ws_cut,
	.due_ns = ws_due_ns,
	.tick = ws_tick,
	.refuse = ws_refuse,
	.query = tni_ws_query,
	.free = tni_ws_free,
};

int tni_ws_new(const struct tni_ws_config *config, void *who, struct tni_layer **out)
{
	struct ws *w = calloc(1, sizeof(*w));

	if (!w)
		return tni_ws_no_memory();
	w->layer.ops = &ws_ops;
	w->layer.timeless = true; /* until it is open */
	w->config = config;
	if (config->server)
		w->who = who;
	*out = &w->layer;
	return 0;
}
