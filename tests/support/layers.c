#include "layers.h"

#include "base/err.h"
#include "base/list.h"

#include "tenon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 100
#define BEAT_NS UINT64_C(2000000)
#define HEADER "HEADER 1\n"
#define NAME "PEER 192.0.2.1\n"
#define NONE UINT32_MAX

const char *const layer_names[] = {"talks",   "beats",  "leaves", "expands", "messages",
				   "endless", "always", "asks",   "fails",   "names"};
unsigned layer_ticks, layer_failing_step;

struct test_layer {
	struct tni_layer layer;
	enum layer_sort sort;
	bool dialled;
	unsigned chunks;    /* sent */
	uint64_t beat_ns;   /* BEATS: when the next is due */
	unsigned char byte; /* EXPANDS: what is repeated */
	/* EXPANDS: so often still. MESSAGES: bytes of a message that are to come; NONE: no head has come */
	uint32_t left;
	struct sockaddr_in peer; /* NAMES: sin_family is 0 as long as none is known */
};

static struct test_layer *of(struct tni_layer *layer)
{
	return tni_container_of(layer, struct test_layer, layer);
}

static int put(struct tn_buf *buf, const void *data, size_t len)
{
	return tni_buf_append(buf, data, len, false) < 0 ? tni_err(-ENOMEM, "out of memory") : 0;
}

static int fails_in(const struct test_layer *t, unsigned step)
{
	return t->sort == LAYER_FAILS && layer_failing_step == step ? tni_err(TN_EFORMAT, "it fails in step %u", step)
								    : 0;
}

/* ---- frames: D length bytes, P (a question), R (its answer), H (the handshake), E (the last word) ---- */

static int talk_up(struct test_layer *t, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	int rc = 0;

	while (rc == 0 && in->head && !t->layer.ended && out->len < max) {
		unsigned char kind = *in->head->data;
		const unsigned char *head;

		if (kind == 'D') {
			size_t len;

			head = tni_buf_pullup(in, 2);
			if (!head || in->len < 2U + head[1])
				break;
			len = head[1];
			tni_buf_consume(in, 2);
			rc = tni_buf_move(out, in, len) < 0 ? tni_err(-ENOMEM, "out of memory") : 0;
			continue;
		}
		tni_buf_consume(in, 1);
		if (kind == 'P')
			rc = put(net, "R", 1);
		else if (kind == 'H')
			t->layer.open = true;
		else if (kind == 'E')
			t->layer.ended = true;
		else if (kind != 'R')
			rc = tni_err(TN_EFORMAT, "what has come is none of the layer's");
	}
	return rc;
}

static int talk_down(struct test_layer *t, struct tn_buf *in, struct tn_buf *net, size_t max)
{
	int rc = 0;

	while (rc == 0 && in->head && net->len < max) {
		unsigned char head[2] = {'D', (unsigned char)(in->len < CHUNK ? in->len : CHUNK)};

		rc = put(net, head, 2);
		if (rc == 0 && tni_buf_move(net, in, head[1]) < 0)
			rc = tni_err(-ENOMEM, "out of memory");
		if (rc == 0 && ++t->chunks % 7 == 0)
			rc = put(net, "P", 1);
	}
	return rc;
}

/* ---- a header, once ---- */

static int leave_up(struct test_layer *t, struct tn_buf *in)
{
	const unsigned char *head = tni_buf_pullup(in, sizeof(HEADER) - 1);

	if (!head)
		return 0;
	if (memcmp(head, HEADER, sizeof(HEADER) - 1) != 0)
		return tni_err(TN_EFORMAT, "there is no header");
	tni_buf_consume(in, sizeof(HEADER) - 1);
	t->layer.open = t->layer.done = true;
	return 0;
}

/* ---- a header that names the peer ---- */

static int name_up(struct test_layer *t, struct tn_buf *in)
{
	const unsigned char *head = tni_buf_pullup(in, in->len), *end;
	char name[INET_ADDRSTRLEN] = "";

	end = head ? memchr(head, '\n', in->len) : NULL;
	if (!end)
		return 0;
	if (end - head < 5 || end - head - 5 >= (long)sizeof(name) || memcmp(head, "PEER ", 5) != 0)
		return tni_err(TN_EFORMAT, "there is no header");
	memcpy(name, head + 5, (size_t)(end - head - 5));
	if (inet_pton(AF_INET, name, &t->peer.sin_addr) == 1)
		t->peer.sin_family = AF_INET;
	t->peer.sin_port = htons(7);
	tni_buf_consume(in, (size_t)(end - head) + 1);
	t->layer.open = t->layer.done = true;
	return 0;
}

static int name_peer(const struct test_layer *t, struct tn_addr *peer)
{
	if (t->sort != LAYER_NAMES || t->dialled)
		return -EOPNOTSUPP;
	if (!t->peer.sin_family)
		return -EAGAIN;
	*peer = (struct tn_addr){.len = sizeof(t->peer)};
	memcpy(peer->bytes, &t->peer, sizeof(t->peer));
	return 0;
}

/* ---- runs: a byte and how often, 16 bits ---- */

static int expand_up(struct test_layer *t, struct tn_buf *in, struct tn_buf *out, size_t max)
{
	static unsigned char piece[4096];
	int rc = 0;

	while (rc == 0 && out->len < max) {
		const unsigned char *head = t->left ? NULL : tni_buf_pullup(in, 3);
		size_t len;

		if (head) {
			t->byte = head[0];
			t->left = (uint32_t)head[1] << 8 | head[2];
			tni_buf_consume(in, 3);
		}
		if (!t->left)
			break;
		len = t->left < sizeof(piece) ? t->left : sizeof(piece);
		memset(piece, t->byte, len);
		rc = put(out, piece, len);
		t->left -= (uint32_t)len;
	}
	return rc;
}

static int expand_down(struct tn_buf *in, struct tn_buf *net, size_t max)
{
	int rc = 0;

	while (rc == 0 && in->head && net->len < max) {
		const struct tni_slice *s = in->head;
		unsigned run = 1, most = s->len < UINT16_MAX ? (unsigned)s->len : UINT16_MAX;
		unsigned char head[3];

		if (most > 1 && memcmp(s->data, s->data + 1, most - 1) == 0)
			run = most;
		while (run < most && s->data[run] == *s->data)
			run++;
		head[0] = *s->data;
		head[1] = (unsigned char)(run >> 8);
		head[2] = (unsigned char)run;
		rc = put(net, head, 3);
		if (rc == 0)
			tni_buf_consume(in, run);
	}
	return rc;
}

/* ---- messages: length, 32 bits; NONE: the last word ---- */

static int message_up(struct test_layer *t, struct tn_buf *in, struct tn_buf *out, size_t max)
{
	int rc = 0;

	while (rc == 0 && !t->layer.ended && out->len < max) {
		const unsigned char *data;

		if (t->left == NONE) {
			uint32_t len;

			data = tni_buf_pullup(in, 4);
			if (!data)
				break;
			memcpy(&len, data, 4);
			tni_buf_consume(in, 4);
			t->layer.ended = len == NONE;
			t->left = len;
			continue;
		}
		if (in->len < t->left)
			break;
		data = tni_buf_pullup(in, t->left);
		if (tni_buf_append(out, data ? data : (const unsigned char *)"", t->left, true) < 0)
			rc = tni_err(-ENOMEM, "out of memory");
		tni_buf_consume(in, t->left);
		t->left = NONE;
	}
	return rc;
}

static int message_down(struct tn_buf *in, struct tn_buf *net, size_t max)
{
	int rc = 0;

	while (rc == 0 && in->head && net->len < max) {
		uint32_t len = (uint32_t)tni_buf_message(in, NULL);

		rc = put(net, &len, 4);
		for (uint32_t left = len; rc == 0 && left;) {
			uint32_t part = in->head->len < left ? in->head->len : left;

			rc = put(net, in->head->data, part);
			tni_buf_consume(in, part);
			left -= part;
		}
	}
	return rc;
}

/* ---- the contract ---- */

static int layer_open(struct tni_layer *layer, struct tn_buf *net)
{
	struct test_layer *t = of(layer);

	switch (t->sort) {
	case LAYER_TALKS:
	case LAYER_BEATS:
		return put(net, "H", 1);
	case LAYER_LEAVES:
		if (!t->dialled)
			return 0;
		layer->open = layer->done = true;
		return put(net, HEADER, sizeof(HEADER) - 1);
	case LAYER_NAMES:
		if (!t->dialled)
			return 0;
		layer->open = layer->done = true;
		return put(net, NAME, sizeof(NAME) - 1);
	default:
		layer->open = true;
		return fails_in(t, 0);
	}
}

/* The hostile ones hand through, but for what they do besides. */
static int hand_up(struct test_layer *t, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	static const unsigned char much[4096];
	int rc = fails_in(t, 1);

	if (t->sort == LAYER_ENDLESS && (in->head || t->left)) {
		t->left = 1;
		while (rc == 0 && out->len < max)
			rc = put(out, much, sizeof(much));
		return rc;
	}
	for (uint32_t i = 0; t->sort == LAYER_ASKS && rc == 0 && i < in->len; i++)
		rc = put(net, much, sizeof(much));
	if (rc == 0 && tni_buf_move(out, in, in->len) < 0)
		rc = tni_err(-ENOMEM, "out of memory");
	return rc;
}

static int layer_up(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	struct test_layer *t = of(layer);

	switch (t->sort) {
	case LAYER_TALKS:
	case LAYER_BEATS:
		return talk_up(t, in, out, net, max);
	case LAYER_LEAVES:
		return leave_up(t, in);
	case LAYER_NAMES:
		return name_up(t, in);
	case LAYER_EXPANDS:
		return expand_up(t, in, out, max);
	case LAYER_MESSAGES:
		return message_up(t, in, out, max);
	default:
		return hand_up(t, in, out, net, max);
	}
}

static int layer_down(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *net, size_t max)
{
	struct test_layer *t = of(layer);
	int rc;

	switch (t->sort) {
	case LAYER_TALKS:
	case LAYER_BEATS:
		return talk_down(t, in, net, max);
	case LAYER_EXPANDS:
		return expand_down(in, net, max);
	case LAYER_MESSAGES:
		return message_down(in, net, max);
	default:
		rc = fails_in(t, 2);
		if (rc == 0 && tni_buf_move(net, in, in->len) < 0)
			rc = tni_err(-ENOMEM, "out of memory");
		return rc;
	}
}

static int layer_shut(struct tni_layer *layer, struct tn_buf *net)
{
	struct test_layer *t = of(layer);
	uint32_t none = NONE;

	switch (t->sort) {
	case LAYER_TALKS:
	case LAYER_BEATS:
		return put(net, "E", 1);
	case LAYER_MESSAGES:
		return put(net, &none, 4);
	default:
		return fails_in(t, 3);
	}
}

/* Those without a last word end as the bytes do. */
static int layer_cut(struct tni_layer *layer)
{
	switch (of(layer)->sort) {
	case LAYER_TALKS:
	case LAYER_BEATS:
	case LAYER_LEAVES:
	case LAYER_MESSAGES:
		return tni_err(TN_ECUT, "the connection ended without the last word of a layer");
	default:
		return 0;
	}
}

static uint64_t layer_due_ns(struct tni_layer *layer, uint64_t now_ns)
{
	struct test_layer *t = of(layer);
	bool beats = t->sort == LAYER_BEATS && layer->open && !layer->ended;

	if (t->sort == LAYER_ALWAYS)
		return now_ns;
	if (!beats && (t->sort != LAYER_FAILS || layer_failing_step != 4))
		return UINT64_MAX;
	if (!t->beat_ns)
		t->beat_ns = now_ns + BEAT_NS;
	return t->beat_ns;
}

static int layer_tick(struct tni_layer *layer, struct tn_buf *net, uint64_t now_ns)
{
	struct test_layer *t = of(layer);

	layer_ticks++;
	t->beat_ns = now_ns + BEAT_NS;
	return t->sort == LAYER_BEATS ? put(net, "P", 1) : fails_in(t, 4);
}

static int layer_query(const struct tni_layer *layer, enum tni_question what, void *answer)
{
	const struct test_layer *t = of((struct tni_layer *)(uintptr_t)layer);

	if (what == TNI_ASK_PEER)
		return name_peer(t, answer);
	if (what != TNI_ASK_PART)
		return -EOPNOTSUPP;
	return t->sort == LAYER_EXPANDS ? t->left != 0 : t->sort == LAYER_MESSAGES && t->left != NONE;
}

static void layer_free(struct tni_layer *layer)
{
	free(of(layer));
}

#define OPS(is_messages)                                                                                          \
	{                                                                                                         \
		.name = "test", .opening = "test handshake", .messages = is_messages, .open = layer_open,         \
		.up = layer_up, .down = layer_down, .shut = layer_shut, .cut = layer_cut, .due_ns = layer_due_ns, \
		.tick = layer_tick, .query = layer_query, .free = layer_free                                      \
	}

struct tni_layer *layer_make(enum layer_sort sort, bool dialled)
{
	static const struct tni_layer_ops bytes = OPS(false), messages = OPS(true);
	struct test_layer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->layer.ops = sort == LAYER_MESSAGES ? &messages : &bytes;
	t->sort = sort;
	t->dialled = dialled;
	t->left = sort == LAYER_MESSAGES ? NONE : 0;
	return &t->layer;
}
