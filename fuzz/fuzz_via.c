/*
 * What a proxy answers to its client: nothing is read behind the end, and the same is understood whether it comes at
 * once or byte by byte. The first byte chooses the protocol and who asks.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "proxy/via.h"

struct outcome {
	int rc;
	bool done;
	size_t rest;
	char words[256];
};

static struct outcome play(int choice, const uint8_t *data, size_t size, size_t step)
{
	static const enum tni_via_kind kinds[] = {TNI_VIA_SOCKS4A, TNI_VIA_SOCKS5H, TNI_VIA_HTTP, TNI_VIA_SOCKS5};
	struct tni_login login = {NULL, NULL};
	struct outcome outcome = {.rc = 0};
	struct tni_layer *layer;
	struct tni_words words;
	struct tn_buf in, net;
	struct tni_mem mem;

	tni_mem_init(&mem);
	tni_buf_init(&in, &mem, SIZE_MAX);
	tni_buf_init(&net, &mem, SIZE_MAX);
	if (choice & 4) {
		login.user = fuzz_string((const uint8_t *)"user", 4);
		login.password = fuzz_string((const uint8_t *)"secret", 6);
	}
	CHECK(tni_via_new(kinds[choice & 3], "example.org", 443, &login, &layer) == 0);
	CHECK(layer->ops->open(layer, &net) == 0);
	for (size_t at = 0; at < size; at += step) {
		size_t n = size - at < step ? size - at : step;

		CHECK(tni_buf_append(&in, data + at, n, false) == 0);
		if (outcome.rc == 0 && !layer->done)
			outcome.rc = layer->ops->up(layer, &in, &net, &net, SIZE_MAX);
	}
	CHECK(net.len < 1024);
	outcome.done = layer->done;
	outcome.rest = layer->done ? in.len : 0;
	if (outcome.rc == 0 && !layer->done) {
		CHECK(layer->ops->query(layer, TNI_ASK_SILENCE, &words) == 0);
		CHECK(layer->ops->cut(layer) < 0);
		CHECK(in.len < 16384);
	}
	if (outcome.rc < 0)
		snprintf(outcome.words, sizeof(outcome.words), "%s", tn_errmsg());
	CHECK(!strstr(outcome.words, "secret") || memmem(data, size, "secret", 6));
	layer->ops->free(layer);
	tni_buf_clear(&in);
	tni_buf_clear(&net);
	tni_mem_free(&mem);
	return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, bytes;

	if (!size || size > 16384)
		return 0;
	whole = play(data[0], data + 1, size - 1, size);
	bytes = play(data[0], data + 1, size - 1, 1);
	CHECK(whole.done == bytes.done && whole.rest == bytes.rest);
	CHECK((whole.rc < 0) == (bytes.rc < 0));
	return 0;
}
