/* WebSocket: what the peer sends, from frames to messages. */
#include "web/ws.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The peer has broken a rule. What came before is still answered; then shut() says the code, and cut() has the words
 * for us.
 */
static int broken(struct ws *w, unsigned code, int err, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static int broken(struct ws *w, unsigned code, int err, const char *fmt, ...)
{
	struct ws_seldom *seldom = tni_ws_seldom(w);
	va_list args;

	va_start(args, fmt);
	if (seldom && vasprintf(&seldom->words, fmt, args) < 0)
		seldom->words = NULL;
	va_end(args);
	if (seldom)
		seldom->err = err;
	w->layer.broken = true;
	w->code = (uint16_t)code;
	return err;
}

/* ---- frames of the peer's ---- */

/* The peer has found a fault, ours or its own. A program's codes (from 3000) are for the program to understand. */
static bool is_complaint(unsigned code)
{
	return code == TNI_WS_PROTOCOL || code == TNI_WS_UNSUPPORTED || (code >= TNI_WS_BAD_DATA && code < 3000);
}

static int complained(struct ws *w)
{
	static const char *const words[] = {
		[TNI_WS_PROTOCOL - 1000] = "a rule of WebSocket was broken",
		[TNI_WS_UNSUPPORTED - 1000] = "it does not take messages of this kind",
		[TNI_WS_BAD_DATA - 1000] = "a message was not what it must be",
		[TNI_WS_POLICY - 1000] = "its rules do not allow this",
		[TNI_WS_TOO_BIG - 1000] = "a message was too long",
		[TNI_WS_NO_EXTENSION - 1000] = "it misses an extension",
		[TNI_WS_INTERNAL - 1000] = "it has failed itself",
		[1012 - 1000] = "it starts again",
		[1013 - 1000] = "it has too much to do",
		[1014 - 1000] = "what stands behind it has failed",
	};
	const char *said = w->seldom ? w->seldom->peer_reason : NULL;
	char reason[CONTROL_MAX] = "";

	/* As words it must not end a line, nor move a terminal's cursor. */
	for (size_t i = 0; said && said[i]; i++)
		reason[i] = (unsigned char)said[i] < ' ' || said[i] == 0x7f ? '?' : said[i];
	return broken(w, w->peer_code, -ECONNRESET, "the peer has closed with %u (%s)%s%s", w->peer_code,
		      words[w->peer_code - 1000], *reason ? ": " : "", reason);
}

static int met_close(struct ws *w)
{
	unsigned code =
		w->in->control_len >= 2 ? (unsigned)(w->in->control[0] << 8 | w->in->control[1]) : TNI_WS_NO_CODE;

	if (w->in->control_len == 1 || (w->in->control_len && !tni_ws_is_close_code(code)))
		return broken(w, TNI_WS_PROTOCOL, TN_EFORMAT, "the peer's Close has no valid code");
	if (w->in->control_len > 2) {
		size_t len = w->in->control_len - 2U;
		struct ws_seldom *seldom;

		if (tni_utf8_check(w->in->control + 2, len) != len)
			return broken(w, TNI_WS_BAD_DATA, TN_EFORMAT, "the reason of the peer's Close is not UTF-8");
		seldom = tni_ws_seldom(w);
		if (!seldom || !(seldom->peer_reason = tni_http_copy((const char *)w->in->control + 2, len)))
			return tni_ws_no_memory();
	}
	w->peer_code = (uint16_t)code;
	if (is_complaint(code))
		return complained(w);
	if (w->in->kind)
		return broken(w, code, TN_ETRUNC,
			      "the peer's Close comes within a message"); /* it may; none is whole */
	w->layer.ended = true;
	return 0;
}

static int met_control(struct ws *w, struct tn_buf *net)
{
	if (w->in->opcode == OP_PING)
		return tni_ws_put_control(w, net, OP_PONG, w->in->control, w->in->control_len);
	if (w->in->opcode == OP_CLOSE)
		return met_close(w);
	w->answered |= w->asked;
	return 0;
}

static int check_head(struct ws *w, const unsigned char *head)
{
	unsigned opcode = head[0] & 0x0f;
	bool masked = head[1] & MASKED, control = opcode >= OP_CLOSE;
	bool may_pack = w->deflate && (opcode == OP_TEXT || opcode == OP_BINARY);

	if (head[0] & RESERVED & ~(may_pack ? COMPRESSED : 0))
		return broken(w, TNI_WS_PROTOCOL, TN_EFORMAT, "a reserved bit is set");
	if ((opcode > OP_BINARY && !control) || opcode > OP_PONG)
		return broken(w, TNI_WS_PROTOCOL, TN_EFORMAT, "there is no opcode %u", opcode);
	if (masked != w->config->server)
		return broken(w, TNI_WS_PROTOCOL, TN_EFORMAT,
			      masked ? "a server's frame is masked" : "a client's frame is not masked");
	if (control && (!(head[0] & FIN) || (head[1] & 0x7f) > CONTROL_MAX))
		return broken(w, TNI_WS_PROTOCOL, TN_EFORMAT, "a control frame is longer than %d bytes or in pieces",
			      CONTROL_MAX);
	if (opcode == OP_MORE && !w->in->kind)
		return broken(w, TNI_WS_PROTOCOL, TN_EFORMAT, "a message goes on that has not begun");
	if ((opcode == OP_TEXT || opcode == OP_BINARY) && w->in->kind)
		return broken(w, TNI_WS_PROTOCOL, TN_EFORMAT, "a message begins within another");
	return 0;
}

static int too_long(struct ws *w)
{
	return broken(w, TNI_WS_TOO_BIG, TN_ETOOBIG, "a message is longer than %zu bytes (see key max)",
		      w->config->max);
}

/* 1: a head has been read; 0: it is not whole. */
static int read_head(struct ws *w, struct tn_buf *in)
{
	const unsigned char *head = tni_buf_front(in, 2);
	size_t need = 2, wide;
	uint64_t len;
	bool packed;
	int rc;

	if (!head)
		return in->len < need ? 0 : tni_ws_no_memory();
	rc = check_head(w, head);
	if (rc < 0)
		return rc;
	len = head[1] & 0x7f;
	wide = len == 126 ? 2 : len == 127 ? 8 : 0;
	need += wide + (head[1] & MASKED ? 4 : 0);
	head = tni_buf_front(in, need);
	if (!head)
		return in->len < need ? 0 : tni_ws_no_memory();
	if (wide) {
		len = 0;
		for (size_t i = 0; i < wide; i++)
			len = len << 8 | head[2 + i];
		if (len < (wide == 2 ? 126 : 65536) || len >> 63)
			return broken(w, TNI_WS_PROTOCOL, TN_EFORMAT, "a length is not written as RFC 6455 5.2 says");
	}
	packed = head[0] & COMPRESSED;
	w->in->opcode = head[0] & 0x0f;
	w->in->fin = head[0] & FIN;
	w->in->left = len;
	w->in->control_len = 0;
	w->in->mask_at = 0;
	if (head[1] & MASKED)
		memcpy(w->in->mask, head + need - 4, 4);
	tni_buf_consume(in, need);
	w->in->in_frame = true;
	if (w->in->opcode >= OP_CLOSE)
		return 1;
	if (w->in->opcode != OP_MORE) {
		w->in->kind = w->in->opcode;
		w->in->length = w->in->plain_length = 0;
		w->in->text.len = 0;
		w->in->packed = packed;
	}
	w->in->tail = w->in->fin && w->in->packed ? sizeof(TNI_DEFLATE_TAIL) - 1 : 0;
	if (len > w->config->max - w->in->length)
		return too_long(w);
	w->in->length += len;
	return 1;
}

/* Moves the front, which lies in one piece. What is `little` is copied: it must not hold the block that it came in. */
static int hand_up(struct tn_buf *from, struct tn_buf *out, size_t n, bool little)
{
	if (!little)
		return tni_buf_move(out, from, n) < 0 ? tni_ws_no_memory() : 0;
	if (tni_buf_append(out, from->head->data, n, false) < 0)
		return tni_ws_no_memory();
	tni_buf_consume(from, n);
	return 0;
}

/* Decompresses into a queue of its own, so that a text can be looked at. */
static int unpack(struct ws *w, const unsigned char *data, size_t len, size_t *taken, struct tn_buf *out, size_t max)
{
	size_t room = w->config->max - w->in->plain_length + 1;
	struct tn_buf plain;
	int rc;

	tni_buf_init(&plain, out->mem, SIZE_MAX);
	rc = tni_inflate(&w->in->inflater, data, len, taken, &plain, room < max - out->len ? room : max - out->len);
	w->in->more = rc == 1;
	w->in->plain_length += plain.len;
	if (rc == TN_EFORMAT)
		rc = broken(w, TNI_WS_BAD_DATA, rc, "a message is not compressed as RFC 7692 says");
	else if (rc >= 0 && w->in->plain_length > w->config->max)
		rc = too_long(w);
	for (const struct tni_slice *s = plain.head; s && rc >= 0 && w->in->kind == OP_TEXT; s = s->next)
		if (!tni_utf8_goes_on(&w->in->text, s->data, s->len))
			rc = broken(w, TNI_WS_BAD_DATA, TN_EFORMAT, "a text is not UTF-8");
	while (rc >= 0 && plain.head)
		rc = hand_up(&plain, out, plain.head->len, plain.head->len <= plain.head->blk->cap / 4);
	tni_buf_clear(&plain);
	return rc < 0 ? rc : 0;
}

static int read_packed(struct ws *w, struct tn_buf *in, struct tn_buf *out, size_t max)
{
	unsigned char *p = w->in->left ? in->head->data : NULL;
	size_t n = w->in->left ? in->head->len : 0, taken = 0;
	int rc;

	if (n > w->in->left)
		n = (size_t)w->in->left;
	if (w->config->server && n > w->in->clear) {
		tni_ws_mask(w->in->mask, &w->in->mask_at, p + w->in->clear, n - w->in->clear);
		w->in->clear = n;
	}
	rc = unpack(w, p, n, &taken, out, max);
	if (rc < 0)
		return rc;
	tni_buf_consume(in, taken);
	w->in->left -= taken;
	w->in->clear -= w->config->server ? taken : 0;
	return 0;
}

static int read_payload(struct ws *w, struct tn_buf *in, struct tn_buf *out)
{
	unsigned char *p = in->head->data;
	size_t n = w->in->left < in->head->len ? (size_t)w->in->left : in->head->len;

	if (w->config->server)
		tni_ws_mask(w->in->mask, &w->in->mask_at, p, n);
	w->in->left -= n;
	if (w->in->opcode >= OP_CLOSE) {
		memcpy(w->in->control + w->in->control_len, p, n);
		w->in->control_len = (unsigned char)(w->in->control_len + n);
		tni_buf_consume(in, n);
		return 0;
	}
	if (w->in->kind == OP_TEXT && !tni_utf8_goes_on(&w->in->text, p, n))
		return broken(w, TNI_WS_BAD_DATA, TN_EFORMAT, "a text is not UTF-8");
	return hand_up(in, out, n, n <= COPY_MAX && (w->in->left || !w->in->fin)); /* where its rest is waited for */
}

static int end_frame(struct ws *w, struct tn_buf *out, struct tn_buf *net)
{
	w->in->in_frame = false;
	if (w->in->opcode >= OP_CLOSE)
		return met_control(w, net);
	if (!w->in->fin)
		return 0;
	if (w->in->packed && !tni_inflate_is_whole(&w->in->inflater))
		return broken(w, TNI_WS_BAD_DATA, TN_EFORMAT, "a compressed message ends early");
	if (w->in->kind == OP_TEXT && w->in->text.len)
		return broken(w, TNI_WS_BAD_DATA, TN_EFORMAT, "a text ends within a character");
	if (tni_buf_append(out, "", 0, true) < 0)
		return tni_ws_no_memory();
	out->tail->end |= w->in->kind == OP_TEXT ? TNI_MARK_TEXT : TNI_MARK_BINARY;
	w->in->kind = 0;
	tni_inflate_rest(&w->in->inflater);
	return 0;
}

/* 1: it has come further; 0: more has to come. */
static int read_step(struct ws *w, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	static const unsigned char tail[] = TNI_DEFLATE_TAIL;
	bool packed = w->in->in_frame && w->in->opcode < OP_CLOSE && w->in->packed;
	size_t taken;
	int rc;

	if (!w->in->in_frame)
		return in->head ? read_head(w, in) : 0;
	if (packed && w->in->more && (w->in->left ? !in->head : !w->in->tail)) {
		rc = unpack(w, NULL, 0, &taken, out, max);
	} else if (w->in->left) {
		if (!in->head)
			return 0;
		rc = packed ? read_packed(w, in, out, max) : read_payload(w, in, out);
	} else if (packed && w->in->tail) {
		rc = unpack(w, tail + sizeof(tail) - 1 - w->in->tail, w->in->tail, &taken, out, max);
		w->in->tail -= (unsigned char)taken;
	} else {
		rc = end_frame(w, out, net);
	}
	return rc < 0 ? rc : 1;
}

void tni_ws_forget_in(struct ws *w)
{
	if (!w->in)
		return;
	tni_inflate_free(&w->in->inflater);
	free(w->in);
	w->in = NULL;
}

static bool is_part(const struct ws_reading *in)
{
	return in->in_frame || in->kind || in->inflater.press;
}

/* What has come in part goes from the stack to memory of its own, or is over and gives that back. */
static int keep(struct ws *w, struct ws_reading *local)
{
	struct ws_reading *kept = w->in == local && is_part(local) ? malloc(sizeof(*kept)) : NULL;

	if (w->in != local && !is_part(w->in)) {
		tni_ws_forget_in(w);
	} else if (kept) {
		memcpy(kept, local, sizeof(*kept));
		w->in = kept;
	} else if (w->in == local) {
		tni_inflate_free(&local->inflater);
		w->in = NULL;
		return is_part(local) ? tni_ws_no_memory() : 0;
	}
	return 0;
}

int tni_ws_read(struct ws *w, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	struct ws_reading local;
	int rc = 1, kept;

	if (!w->in) {
		memset(&local, 0, offsetof(struct ws_reading, control));
		local.inflater.fresh = w->inflate_fresh;
		/* cppcheck-suppress autoVariables; keep() takes it away again */
		w->in = &local;
	}
	while (rc > 0 && !w->layer.ended && out->len < max)
		rc = read_step(w, in, out, net, max);
	kept = keep(w, &local);
	return rc < 0 ? rc : kept;
}
