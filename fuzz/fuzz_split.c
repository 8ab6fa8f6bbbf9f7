/*
 * A stream taken apart without a connection, as tenon capture does it: the first byte chooses frame and format, the
 * second how the rest is cut. However it is cut, the same messages come out (frame=none has one a piece); each is read
 * by the format.
 */
#include "fuzz.h"

#include "tenon_value.h"

#include <errno.h>

static const char *const urls[] = {
	"tcp://localhost:1?frame=none&max=64",
	"tcp://localhost:1?frame=line&format=json&max=100",
	"tcp://localhost:1?frame=crlf&format=text",
	"tcp://localhost:1?frame=u32&format=cbor&max=1000",
	"tcp://localhost:1?frame=varint&format=msgpack",
	"tcp://localhost:1?frame=netstring&format=xml",
	"tcp://localhost:1?frame=cobs",
	"tcp://localhost:1?frame=slip",
	"tcp://localhost:1?frame=json",
	"tcp://localhost:1?frame=cbor&strict",
	"tcp://localhost:1?frame=msgpack",
	"tcp://localhost:1?frame=fixed:5",
	"tcp://localhost:1?frame=json-seq&format=json&max=100",
	"tcp://localhost:1?frame=line&format=xml",
	"tcp://localhost:1?frame=head:offset=1,size=2,adjust=-3,keep=on&max=100",
	"tcp://localhost:1?frame=until:%0a.%0a&format=text",
	"ws://localhost:1/?max=100",
	"ws://localhost:1/?format=json",
};

#define NURLS (sizeof(urls) / sizeof(urls[0]))

static struct tn_split *kinds[NURLS];

/* What came out, so that two ways can be compared. */
struct outcome {
	uint64_t sum;
	unsigned messages;
	int rc;
};

static void take(struct tn_split *split, struct outcome *out)
{
	struct tn_value *value = NULL;
	const void *data;
	size_t len;

	while ((out->rc = tn_split_next(split, &data, &len)) > 0) {
		int rc = tn_split_value(split, data, len, &value);

		CHECK(tn_split_format(split) ? rc <= 0 : rc == -EINVAL);
		tn_value_free(value);
		value = NULL;
		for (size_t i = 0; i < len; i++)
			out->sum = (out->sum ^ ((const uint8_t *)data)[i]) * 0x100000001b3;
		out->sum = (out->sum ^ len) * 0x100000001b3;
		out->messages++;
	}
	CHECK(tn_split_memory(split) >= tn_split_waiting(split));
}

static struct outcome run(struct tn_split *kind, const uint8_t *data, size_t size, size_t step)
{
	struct outcome out = {0};
	struct tn_split *split;

	CHECK(tn_split_another(kind, &split) == 0);
	for (size_t at = 0; at < size && out.rc >= 0; at += step) {
		CHECK(tn_split_feed(split, data + at, size - at < step ? size - at : step) == 0);
		take(split, &out);
	}
	if (out.rc >= 0) {
		tn_split_end(split);
		take(split, &out);
	}
	if (out.rc < 0)
		CHECK(tn_split_next(split, &(const void *){NULL}, &(size_t){0}) == out.rc);
	tn_split_reset(split);
	CHECK(tn_split_waiting(split) == 0 && tn_split_next(split, &(const void *){NULL}, &(size_t){0}) == 0);
	tn_split_free(split);
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, cut;
	size_t which;

	if (size < 2)
		return 0;
	which = data[0] % NURLS;
	if (!kinds[which])
		CHECK(tn_split_new(urls[which], &kinds[which]) == 0);
	whole = run(kinds[which], data + 2, size - 2, SIZE_MAX / 2);
	cut = run(kinds[which], data + 2, size - 2, 1U + data[1] % 64);
	if (which > 0)
		CHECK(whole.sum == cut.sum && whole.messages == cut.messages && whole.rc == cut.rc);
	return 0;
}
