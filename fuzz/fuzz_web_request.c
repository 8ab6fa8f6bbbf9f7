/*
 * HTTP of a server: whatever the client sends, in whatever pieces it comes, the requests that are handed up and the
 * verdict are the same, and what is handed up is what has come, byte for byte.
 */
#include "fuzz.h"

#include "web/request.h"

static struct tni_mem mem;

struct run {
	struct tn_buf in, out, net;
	size_t messages, whole; /* the bytes of whole messages */
	bool broken;
};

static void run_with(struct run *run, const uint8_t *data, size_t len, size_t step, size_t max)
{
	static const char *const hosts[] = {"a", NULL};
	static const struct tni_ws_config server = {.server = true, .max = 300, .hosts = hosts};
	struct tni_layer *layer;
	size_t bytes = 0;

	*run = (struct run){0};
	tni_buf_init(&run->in, &mem, SIZE_MAX);
	tni_buf_init(&run->out, &mem, SIZE_MAX);
	tni_buf_init(&run->net, &mem, SIZE_MAX);
	CHECK(tni_requests_new(&server, &layer) == 0);
	for (size_t at = 0; at < len && !layer->broken; at += step) {
		size_t before = SIZE_MAX;

		CHECK(tni_buf_append(&run->in, data + at, len - at < step ? len - at : step, false) == 0);
		while (!layer->broken && before != run->in.len) {
			before = run->in.len;
			CHECK(layer->ops->up(layer, &run->in, &run->out, &run->net, run->out.len + max) == 0);
		}
	}
	CHECK(!run->net.len);
	run->broken = layer->broken;
	CHECK(layer->broken || run->out.len + run->in.len == len);
	if (layer->broken) {
		CHECK(layer->ops->cut(layer) < 0);
		CHECK(layer->ops->shut(layer, &run->net) == 0 && run->net.len > 0);
	}
	for (const struct tni_slice *s = run->out.head; s; s = s->next) {
		bytes += s->len;
		if (s->end) {
			run->messages++;
			run->whole = bytes;
		}
	}
	layer->ops->free(layer);
}

static void clear(struct run *run)
{
	tni_buf_clear(&run->in);
	tni_buf_clear(&run->out);
	tni_buf_clear(&run->net);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run whole, pieces;

	if (!mem.small.cap)
		tni_mem_init(&mem);
	if (!size)
		return 0;
	run_with(&whole, data + 1, size - 1, SIZE_MAX / 2, SIZE_MAX / 2);
	run_with(&pieces, data + 1, size - 1, 1 + data[0] % 16, 1 + data[0] / 16);
	CHECK(whole.broken == pieces.broken && whole.messages == pieces.messages && whole.whole == pieces.whole);
	if (whole.whole) {
		CHECK(memcmp(tni_buf_pullup(&whole.out, whole.whole), data + 1, whole.whole) == 0);
		CHECK(memcmp(tni_buf_pullup(&pieces.out, whole.whole), data + 1, whole.whole) == 0);
	}
	clear(&whole);
	clear(&pieces);
	CHECK(mem.nslices_out == 0);
	return 0;
}
