/*
 * WebSocket: whatever the peer sends, in whatever pieces it comes, the messages, the answers and the verdict are the
 * same. The first byte chooses the role, and whether the handshake is part of it.
 */
#include "fuzz.h"

#include "base/utf8.h"
#include "web/websocket.h"

#define MAX 5000
#define OPENING                                                                                                   \
	"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

static struct tni_mem mem;

struct run {
	struct tn_buf in, out, net;
	int rc;
	bool open, ended;
};

static void feed(struct tni_layer *layer, struct run *run, const void *data, size_t len, size_t step)
{
	for (size_t at = 0; at < len && run->rc == 0; at += step) {
		CHECK(tni_buf_append(&run->in, (const char *)data + at, len - at < step ? len - at : step, false) == 0);
		run->rc = layer->ops->up(layer, &run->in, &run->out, &run->net, run->out.len + (1 << 22));
		if (run->rc == 0 && layer->broken) {
			run->rc = layer->ops->cut(layer);
			CHECK(run->rc < 0 && layer->ops->shut(layer, &run->net) == 0);
		}
	}
}

static void run_with(struct run *run, const uint8_t *data, size_t len, bool shake, size_t step)
{
	static const struct tni_ws_config server = {.server = true, .max = MAX, .deflate = true, .path = "/"};
	struct tni_layer *layer;

	*run = (struct run){0};
	tni_buf_init(&run->in, &mem, SIZE_MAX);
	tni_buf_init(&run->out, &mem, SIZE_MAX);
	tni_buf_init(&run->net, &mem, SIZE_MAX);
	CHECK(tni_ws_new(&server, NULL, &layer) == 0);
	if (shake)
		feed(layer, run, OPENING, sizeof(OPENING) - 1, SIZE_MAX / 2);
	CHECK(run->rc == 0);
	feed(layer, run, data, len, step);
	run->open = layer->open;
	run->ended = layer->ended;
	layer->ops->free(layer);
}

static void check_messages(const struct run *run)
{
	static unsigned char text[MAX];
	size_t len = 0;

	for (const struct tni_slice *s = run->out.head; s; s = s->next) {
		CHECK(len + s->len <= MAX);
		memcpy(text + len, s->data, s->len);
		len += s->len;
		if (!s->end)
			continue;
		CHECK(s->end == (1 | TNI_MARK_TEXT) || s->end == (1 | TNI_MARK_BINARY));
		CHECK(s->end & TNI_MARK_BINARY || tni_utf8_check(text, len) == len);
		len = 0;
	}
}

/* The bytes of whole messages. */
static size_t whole_len(const struct tn_buf *buf)
{
	size_t len = 0, whole = 0;

	for (const struct tni_slice *s = buf->head; s; s = s->next) {
		len += s->len;
		if (s->end)
			whole = len;
	}
	return whole;
}

static void check_same(struct tn_buf *a, struct tn_buf *b, size_t len)
{
	unsigned char *p = tni_buf_pullup(a, len), *q = tni_buf_pullup(b, len);

	CHECK(len == 0 || (p && q && memcmp(p, q, len) == 0));
}

static void clear(struct run *run)
{
	tni_buf_clear(&run->in);
	tni_buf_clear(&run->out);
	tni_buf_clear(&run->net);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool shake = !size || !(data[0] & 1);
	struct run whole, pieces;

	if (!mem.small.cap)
		tni_mem_init(&mem);
	if (!size)
		return 0;
	run_with(&whole, data + 1, size - 1, shake, SIZE_MAX / 2);
	run_with(&pieces, data + 1, size - 1, shake, 1 + data[0] / 2);
	check_messages(&whole);
	check_messages(&pieces);
	CHECK((whole.rc < 0) == (pieces.rc < 0) && whole.ended == pieces.ended);
	if (!whole.open) { /* the words of a refusal repeat what had come */
		clear(&whole);
		clear(&pieces);
		return 0;
	}
	CHECK(whole.rc == pieces.rc);
	CHECK(whole_len(&whole.out) == whole_len(&pieces.out) && whole.net.len == pieces.net.len);
	check_same(&whole.out, &pieces.out, whole_len(&whole.out));
	check_same(&whole.net, &pieces.net, whole.net.len);
	clear(&whole);
	clear(&pieces);
	CHECK(mem.nslices_out == 0);
	return 0;
}
