/* WebSocket: what we send, from messages to frames. */
#include "web/ws.h"

#include "base/shared.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* So much of a message is taken at a time; compressed, each piece is a frame. */
#define PIECE_MAX (64 * 1024)

/* ---- masking ---- */

/* What a client sends is masked (RFC 6455 5.3), so that nobody makes a proxy see what looks like HTTP. */
void tni_ws_mask(const unsigned char mask[4], unsigned *mask_at, unsigned char *p, size_t len)
{
	unsigned char turned[8];
	uint64_t wide, word;
	size_t i = 0;

	for (unsigned j = 0; j < sizeof(turned); j++)
		turned[j] = mask[(*mask_at + j) & 3];
	memcpy(&wide, turned, sizeof(wide));
	for (; len - i >= 4 * sizeof(wide); i += 4 * sizeof(wide)) {
		uint64_t words[4];

		memcpy(words, p + i, sizeof(words));
		for (int j = 0; j < 4; j++)
			words[j] ^= wide;
		memcpy(p + i, words, sizeof(words));
	}
	for (; len - i >= sizeof(wide); i += sizeof(wide)) {
		memcpy(&word, p + i, sizeof(word));
		word ^= wide;
		memcpy(p + i, &word, sizeof(word));
	}
	for (; i < len; i++)
		p[i] ^= turned[i & 7];
	*mask_at = (unsigned)((*mask_at + len) & 3);
}

/* A client's, otherwise none. Nobody may be able to guess it; a call for each would cost more than a message. */
static int new_mask(const struct ws *w, unsigned char mask[4])
{
	static _Thread_local unsigned char random[256];
	static _Thread_local size_t left;

	if (w->config->server)
		return 0;
	if (!left) {
		if (getentropy(random, sizeof(random)) < 0)
			return tni_err(-errno, "no random bytes: %s", strerror(errno));
		left = sizeof(random);
	}
	memcpy(mask, random + sizeof(random) - left, 4);
	left -= 4;
	return 0;
}

/* ---- frames of ours ---- */

/* Writes the head of a frame; `mask` NULL: a server's. Returns its length. */
static size_t write_head(unsigned char *head, unsigned first, uint64_t len, const unsigned char *mask)
{
	unsigned masked = mask ? MASKED : 0;
	size_t n = 2;

	head[0] = (unsigned char)first;
	if (len < 126) {
		head[1] = (unsigned char)(masked | len);
	} else if (len <= UINT16_MAX) {
		head[1] = (unsigned char)(masked | 126);
		head[n++] = (unsigned char)(len >> 8);
		head[n++] = (unsigned char)len;
	} else {
		head[1] = (unsigned char)(masked | 127);
		for (int shift = 56; shift >= 0; shift -= 8)
			head[n++] = (unsigned char)(len >> shift);
	}
	if (mask) {
		memcpy(head + n, mask, 4);
		n += 4;
	}
	return n;
}

static size_t put_head(const struct ws *w, unsigned char *head, unsigned first, uint64_t len,
		       const unsigned char mask[4])
{
	return write_head(head, first, len, w->config->server ? NULL : mask);
}

/* Nothing may stand within a frame. Of several pings the last one is answered, as RFC 6455 5.5.3 allows. */
static void put_off(struct ws *w, unsigned opcode, const void *data, size_t len)
{
	w->out->ping_later |= opcode == OP_PING;
	if (opcode != OP_PONG)
		return;
	w->out->pong_later = true;
	w->out->pong_len = (unsigned char)len;
	memcpy(w->out->pong, data, len);
}

int tni_ws_put_control(struct ws *w, struct tn_buf *net, unsigned opcode, const void *data, size_t len)
{
	unsigned char frame[HEAD_MAX + CONTROL_MAX], mask[4] = {0};
	unsigned at = 0;
	size_t n;

	if (w->our_code)
		return 0; /* behind Close nothing is said */
	if (w->out && w->out->sending && !w->out->packing) {
		put_off(w, opcode, data, len);
		return 0;
	}
	if (new_mask(w, mask) < 0)
		return -EIO;
	n = put_head(w, frame, FIN | opcode, len, mask);
	memcpy(frame + n, data, len);
	if (!w->config->server)
		tni_ws_mask(mask, &at, frame + n, len);
	return tni_buf_append(net, frame, n + len, false) < 0 ? tni_ws_no_memory() : 0;
}

int tni_ws_put_close(struct ws *w, struct tn_buf *net, unsigned code, const char *reason)
{
	unsigned char data[CONTROL_MAX] = {(unsigned char)(code >> 8), (unsigned char)code};
	size_t len = code == TNI_WS_NO_CODE ? 0 : 2;
	int rc;

	if (len && reason) {
		memcpy(data + len, reason, strlen(reason));
		len += strlen(reason);
	}
	rc = tni_ws_put_control(w, net, OP_CLOSE, data, len);
	w->our_code = (uint16_t)code;
	return rc;
}

/* ---- messages of ours ---- */

/* The whole message in one piece behind its head. */
static int send_copied(struct ws *w, const unsigned char *head, size_t head_len, struct tn_buf *in, struct tn_buf *net,
		       size_t len)
{
	unsigned char frame[HEAD_MAX + COPY_MAX];
	size_t n = head_len;

	memcpy(frame, head, head_len);
	for (const struct tni_slice *s = in->head; n < head_len + len; s = s->next) {
		memcpy(frame + n, s->data, s->len);
		n += s->len;
	}
	if (!w->config->server)
		tni_ws_mask(w->out->out_mask, &w->out->out_mask_at, frame + head_len, len);
	if (tni_buf_append(net, frame, n, false) < 0)
		return tni_ws_no_memory();
	tni_buf_consume(in, len);
	return 0;
}

/* ---- messages that are shared ---- */

struct shared_frame {
	unsigned opcode;
	bool packed;
	int bits; /* of the compressor's window */
};

/* Compresses all of a message as one that begins anew. */
static int pack_shared(const struct tn_shared *shared, int bits, struct tn_buf *packed)
{
	struct tni_blk *blk = (struct tni_blk *)(uintptr_t)&shared->blk;
	struct tni_deflater deflater = {.bits = bits, .fresh = true};
	struct tn_buf in;
	int rc;

	tni_buf_init(&in, packed->mem, SIZE_MAX);
	rc = tni_buf_link(&in, blk, blk->data, blk->used, false);
	if (rc == 0)
		rc = tni_deflate(&deflater, &in, blk->used, true, packed);
	tni_buf_clear(&in);
	tni_deflate_free(&deflater);
	return rc;
}

static int make_frame(const struct tn_shared *shared, struct tn_buf *out, void *arg)
{
	const struct shared_frame *frame = arg;
	unsigned char head[HEAD_MAX];
	struct tn_buf packed;
	size_t n;
	int rc;

	if (!frame->packed) {
		n = write_head(head, FIN | frame->opcode, shared->blk.used, NULL);
		rc = tni_buf_append(out, head, n, false);
		return rc == 0 ? tni_buf_append(out, shared->blk.data, shared->blk.used, false) : rc;
	}
	tni_buf_init(&packed, out->mem, SIZE_MAX);
	rc = pack_shared(shared, frame->bits, &packed);
	n = write_head(head, FIN | COMPRESSED | frame->opcode, packed.len, NULL);
	if (rc == 0)
		rc = tni_buf_append(out, head, n, false);
	if (rc == 0 && tni_buf_move(out, &packed, packed.len) < 0)
		rc = -ENOMEM;
	tni_buf_clear(&packed);
	return rc;
}

/*
 * The next piece of a long frame. A long frame at once would be taken for answers that the peer does not read. The
 * message stays at the front until all of its frame has gone.
 */
static int send_form(struct ws *w, struct tn_buf *in, struct tn_buf *net)
{
	size_t n = w->out->sending < PIECE_MAX ? (size_t)w->out->sending : PIECE_MAX, rest = in->head->len;

	if (tni_buf_link(net, w->out->form, w->out->form->data + w->out->form->used - w->out->sending, n, false) < 0)
		return tni_ws_no_memory();
	w->out->sending -= n;
	tni_buf_consume(in, !w->out->sending ? rest : n < rest ? n : rest - 1);
	if (!w->out->sending) {
		tni_blk_unref(w->out->form);
		w->out->form = NULL;
	}
	return 0;
}

/* A server's frames are not masked: one is made for all connections that agree upon the same compression. */
static int send_shared(struct ws *w, struct tn_shared *shared, struct shared_frame *frame, struct tn_buf *in,
		       struct tn_buf *net)
{
	/* None of a frame's, which begin with a letter. */
	const char name[] = {':', (char)('0' + frame->opcode), (char)(frame->packed ? 'a' + frame->bits : '-'), '\0'};
	struct tni_blk *blk;
	int rc;

	rc = tni_shared_form(shared, name, net->mem, make_frame, frame, &blk);
	if (rc == 0 && blk->used > PIECE_MAX) {
		w->out->form = tni_blk_ref(blk);
		w->out->sending = blk->used;
		return 0;
	}
	if (rc == 0 && blk->used <= TNI_SHARED_COPY_MAX && net->head)
		rc = tni_buf_append(net, blk->data, blk->used, false);
	else if (rc == 0)
		rc = tni_buf_link(net, blk, blk->data, blk->used, false);
	if (rc < 0)
		return tni_ws_no_memory();
	tni_buf_consume(in, in->head->len);
	return 0;
}

/* The message at the front, if it can leave as others' do. */
static struct tn_shared *shared_front(const struct ws *w, const struct tn_buf *in, bool packs)
{
	return w->config->server && in->head->end && (!packs || w->out->deflater.fresh) ? tni_shared_of_slice(in->head)
											: NULL;
}

/* ---- one message after the other ---- */

static int begin_message(struct ws *w, struct tn_buf *in, struct tn_buf *net)
{
	unsigned char head[HEAD_MAX];
	uint32_t mark;
	size_t len = tni_buf_message(in, &mark), n;
	struct tn_shared *shared;
	unsigned opcode;
	bool packs;

	if (!mark)
		return 1;
	opcode = mark & TNI_MARK_TEXT     ? OP_TEXT
		 : mark & TNI_MARK_BINARY ? OP_BINARY
		 : w->config->text        ? OP_TEXT
					  : OP_BINARY;
	packs = w->deflate && len >= w->config->deflate_min && len;
	shared = shared_front(w, in, packs);
	if (shared)
		return send_shared(w, shared, &(struct shared_frame){opcode, packs, w->out->deflater.bits}, in, net);
	w->out->out_mask_at = 0;
	if (packs) {
		w->out->packing = true;
		w->out->packed_head = (unsigned char)(COMPRESSED | opcode);
		w->out->sending = len;
		return 0;
	}
	if (new_mask(w, w->out->out_mask) < 0)
		return -EIO;
	n = put_head(w, head, FIN | opcode, len, w->out->out_mask);
	if (len <= COPY_MAX)
		return send_copied(w, head, n, in, net, len);
	if (tni_buf_append(net, head, n, false) < 0)
		return tni_ws_no_memory();
	w->out->sending = len;
	return 0;
}

/* Copies and masks the front of the queue: the same block may be on its way to others. */
static int send_masked(struct ws *w, struct tn_buf *in, struct tn_buf *net)
{
	struct tni_blk *blk = tni_blk_get(&net->mem->large);

	if (!blk)
		return tni_ws_no_memory();
	while (w->out->sending && in->head && blk->used < blk->cap) {
		size_t n = in->head->len;

		if (n > w->out->sending)
			n = (size_t)w->out->sending;
		if (n > blk->cap - blk->used)
			n = blk->cap - blk->used;
		memcpy(blk->data + blk->used, in->head->data, n);
		blk->used += (uint32_t)n;
		w->out->sending -= n;
		tni_buf_consume(in, n);
	}
	tni_ws_mask(w->out->out_mask, &w->out->out_mask_at, blk->data, blk->used);
	return tni_buf_give(net, blk) < 0 ? tni_ws_no_memory() : 0;
}

/* Puts a frame of bytes that are ours alone. */
static int put_packed(struct ws *w, struct tn_buf *packed, bool last, struct tn_buf *net)
{
	unsigned char head[HEAD_MAX];
	size_t n;

	w->out->out_mask_at = 0;
	if (new_mask(w, w->out->out_mask) < 0)
		return -EIO;
	n = put_head(w, head, (last ? FIN : 0U) | w->out->packed_head, packed->len, w->out->out_mask);
	w->out->packed_head = OP_MORE;
	for (struct tni_slice *s = packed->head; s && !w->config->server; s = s->next)
		tni_ws_mask(w->out->out_mask, &w->out->out_mask_at, s->data, s->len);
	return tni_buf_append(net, head, n, false) < 0 || tni_buf_move(net, packed, packed->len) < 0
		       ? tni_ws_no_memory()
		       : 0;
}

/* The next piece of a message that is compressed. */
static int send_packed(struct ws *w, struct tn_buf *in, struct tn_buf *net)
{
	size_t n = w->out->sending < PIECE_MAX ? (size_t)w->out->sending : PIECE_MAX;
	bool last = n == w->out->sending;
	struct tn_buf packed;
	int rc;

	tni_buf_init(&packed, net->mem, SIZE_MAX);
	rc = tni_deflate(&w->out->deflater, in, n, last, &packed);
	w->out->sending -= n;
	if (rc == 0 && (packed.len || last))
		rc = put_packed(w, &packed, last, net);
	tni_buf_clear(&packed);
	if (last) {
		tni_deflate_rest(&w->out->deflater);
		w->out->packing = false;
	}
	return rc;
}

static int send_linked(struct ws *w, struct tn_buf *in, struct tn_buf *net)
{
	size_t n = w->out->sending < in->head->len ? (size_t)w->out->sending : in->head->len;

	if (n > PIECE_MAX)
		n = PIECE_MAX;
	if (tni_buf_move(net, in, n) < 0)
		return tni_ws_no_memory();
	net->tail->end = 0; /* the bytes of a stream */
	w->out->sending -= n;
	return 0;
}

static int put_what_waits(struct ws *w, struct tn_buf *net)
{
	int rc = w->out->pong_later ? tni_ws_put_control(w, net, OP_PONG, w->out->pong, w->out->pong_len) : 0;

	if (rc == 0 && w->out->ping_later)
		rc = tni_ws_put_control(w, net, OP_PING, "", 0);
	w->out->ping_later = w->out->pong_later = false;
	return rc;
}

void tni_ws_forget_out(struct ws *w)
{
	if (!w->out)
		return;
	if (w->out->form)
		tni_blk_unref(w->out->form);
	tni_deflate_free(&w->out->deflater);
	free(w->out);
	w->out = NULL;
}

static bool is_part(const struct ws_writing *out)
{
	return out->sending || out->packing || out->deflater.press;
}

/* What has gone in part goes from the stack to memory of its own, or is over and gives that back. */
static int keep(struct ws *w, struct ws_writing *local)
{
	struct ws_writing *kept = w->out == local && is_part(local) ? malloc(sizeof(*kept)) : NULL;

	if (w->out != local && !is_part(w->out)) {
		tni_ws_forget_out(w);
	} else if (kept) {
		memcpy(kept, local, sizeof(*kept));
		w->out = kept;
	} else if (w->out == local) {
		if (local->form)
			tni_blk_unref(local->form);
		tni_deflate_free(&local->deflater);
		w->out = NULL;
		return is_part(local) ? tni_ws_no_memory() : 0;
	}
	return 0;
}

static int write_step(struct ws *w, struct tn_buf *in, struct tn_buf *net)
{
	if (!w->out->sending)
		return begin_message(w, in, net);
	if (w->out->form)
		return send_form(w, in, net);
	if (w->out->packing)
		return send_packed(w, in, net);
	return w->config->server ? send_linked(w, in, net) : send_masked(w, in, net);
}

int tni_ws_write(struct ws *w, struct tn_buf *in, struct tn_buf *net, size_t max)
{
	struct ws_writing local;
	int rc = 0, kept;

	if (!w->out) {
		memset(&local, 0, offsetof(struct ws_writing, pong));
		local.deflater = (struct tni_deflater){.bits = w->deflate_bits, .fresh = w->deflate_fresh};
		/* cppcheck-suppress autoVariables; keep() takes it away again */
		w->out = &local;
	}
	while (rc == 0 && in->head && net->len < max) {
		rc = write_step(w, in, net);
		if (rc == 0 && !w->out->sending)
			rc = put_what_waits(w, net);
	}
	kept = keep(w, &local);
	return rc < 0 ? rc : kept;
}
