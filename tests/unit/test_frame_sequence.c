/* JSON, CBOR and MessagePack, one message behind the other, cut at every position and fed byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "frame/frame.h"
#include "tenon.h"

#include <string.h>

static struct tni_mem mem;
static struct tn_buf buf;
static struct tni_frame frame;

static int setup(void **state)
{
	(void)state;
	tni_mem_init(&mem);
	tni_buf_init(&buf, &mem, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tni_frame_free(&frame);
	tni_buf_clear(&buf);
	if (mem.nslices_out || mem.small.nout || mem.large.nout)
		return -1;
	tni_mem_free(&mem);
	return 0;
}

static void begin(const char *name)
{
	tni_frame_free(&frame);
	tni_buf_clear(&buf);
	frame = (struct tni_frame){.max = 4096};
	assert_int_equal(tni_frame_find(name, &frame), 0);
}

/* A piece of its own, as a read brings it. */
static void receive(const void *data, size_t len)
{
	struct tni_blk *blk = tni_blk_get(&mem.small);

	assert_non_null(blk);
	assert_true(len <= 512);
	blk->used = (uint32_t)len;
	memcpy(blk->data, data, len);
	assert_int_equal(tni_buf_give(&buf, blk), 0);
}

struct sample {
	const char *data;
	size_t len;
	struct {
		const char *data;
		size_t len;
	} messages[12]; /* up to one of no length */
	size_t at_end;  /* of them, how many only the end of the stream completes */
};

#define LITERAL(text) text, sizeof(text) - 1
#define M(text)               \
	{                     \
		LITERAL(text) \
	}

static const struct sample json = {
	LITERAL(" {\"a\":\"}\\\"\\\\\"}[[],{}]\n\t\"x \\\\\" 12 true\"y\"null,\xef\xbb\xbf[1]-1.5e3"),
	{M("{\"a\":\"}\\\"\\\\\"}"), M("[[],{}]"), M("\"x \\\\\""), M("12"), M("true"), M("\"y\""), M("null"), M(","),
	 M("\xef\xbb\xbf[1]"), M("-1.5e3")},
	1,
};

/* Record separators between messages are passed over by both frames of JSON. */
static const struct sample separated = {
	LITERAL("\x1e{\"a\":1}\n\x1e\x1e [2]\n\x1e 3\n\x1e\"x\"\x1etrue \x1e"),
	{M("{\"a\":1}"), M("[2]"), M("3"), M("\"x\""), M("true")},
	0,
};

/* RFC 7464: a text that was cut short ends at the next separator;
 * a number without white space behind it may be such. */
static const struct sample resynchronized = {
	LITERAL("junk\n\x1e{\"a\":[1\x1e{\"b\":2}\n\x1e\"cut\x1e"
		"12\x1e"
		"3\n\x1etru\x1enull\n"),
	{M("junk"), M("{\"a\":[1"), M("{\"b\":2}"), M("\"cut"), M("12\x1e"), M("3"), M("tru\x1e"), M("null")},
	0,
};

static const struct sample cbor = {
	LITERAL("\x00\x18\xff\x19\x01\x02\x82\x01\x62hi\xa1\x61k\x82\x00\xf6\x9f\x01\x82\x02\x9f\xff\xff"
		"\x5f\x41x\x40\xff\xc1\x1a\x00\x00\x00\x01\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00\xbf\xff\x58\x03"
		"abc\x80"),
	{M("\x00"), M("\x18\xff"), M("\x19\x01\x02"), M("\x82\x01\x62hi"), M("\xa1\x61k\x82\x00\xf6"),
	 M("\x9f\x01\x82\x02\x9f\xff\xff"), M("\x5f\x41x\x40\xff"), M("\xc1\x1a\x00\x00\x00\x01"),
	 M("\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00"), M("\xbf\xff"),
	 M("\x58\x03"
	   "abc"),
	 M("\x80")},
	0,
};

static const struct sample msgpack = {
	LITERAL("\x01\xe0\x82\xa1"
		"a\x92\x01\x02\xa1"
		"b\xc0\xd9\x02hi\xc4\x03"
		"abc\xcb\x00\x01\x02\x03\x04\x05\x06\x07\xd4\x05x"
		"\xc7\x02\x07yz\xdc\x00\x02\xc2\xc3\xde\x00\x01\x01\x90\xdf\x00\x00\x00\x00\xda\x00\x00"),
	{M("\x01"), M("\xe0"),
	 M("\x82\xa1"
	   "a\x92\x01\x02\xa1"
	   "b\xc0"),
	 M("\xd9\x02hi"),
	 M("\xc4\x03"
	   "abc"),
	 M("\xcb\x00\x01\x02\x03\x04\x05\x06\x07"), M("\xd4\x05x"), M("\xc7\x02\x07yz"), M("\xdc\x00\x02\xc2\xc3"),
	 M("\xde\x00\x01\x01\x90"), M("\xdf\x00\x00\x00\x00"), M("\xda\x00\x00")},
	0,
};

/* The largest heads that hold their number themselves, and those next to them. */
#define ITEMS_15 "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
#define ITEMS_23 ITEMS_15 "\x01\x02\x03\x04\x05\x06\x07\x08"
#define ITEMS_31 ITEMS_23 "\x01\x02\x03\x04\x05\x06\x07\x08"

static const struct sample msgpack_heads = {
	LITERAL("\x7f"
		"\x8f" ITEMS_15 ITEMS_15 "\x90"
		"\x9f" ITEMS_15 "\xa0"
		"\xbf" ITEMS_31 "\xc0\xe0\xff"),
	{M("\x7f"), M("\x8f" ITEMS_15 ITEMS_15), M("\x90"), M("\x9f" ITEMS_15), M("\xa0"), M("\xbf" ITEMS_31),
	 M("\xc0"), M("\xe0"), M("\xff")},
	0,
};

static const struct sample cbor_heads = {
	LITERAL("\x17\x37\x40\x57" ITEMS_23 "\x60\x77" ITEMS_23 "\x80\x97" ITEMS_23 "\xa0\xb7" ITEMS_23 ITEMS_23
		"\xd7\xf7"),
	{M("\x17"), M("\x37"), M("\x40"), M("\x57" ITEMS_23), M("\x60"), M("\x77" ITEMS_23), M("\x80"),
	 M("\x97" ITEMS_23), M("\xa0"), M("\xb7" ITEMS_23 ITEMS_23), M("\xd7\xf7")},
	0,
};

static size_t count_of(const struct sample *sample)
{
	size_t n = 0;

	while (n < 12 && sample->messages[n].len)
		n++;
	return n;
}

/* Takes what there is and compares it with what must come; returns how many have come by then. */
static size_t take(const struct sample *sample, size_t n, bool over)
{
	struct tni_view view;
	int rc;

	while ((rc = frame.ops->next(&frame, &buf, &view)) > 0 ||
	       (over && rc == 0 && (rc = frame.ops->end(&frame, &buf, &view)) > 0)) {
		assert_true(n < count_of(sample));
		assert_int_equal(view.len, sample->messages[n].len);
		assert_memory_equal(view.data, sample->messages[n].data, view.len);
		tni_buf_consume(&buf, view.taken);
		n++;
	}
	assert_int_equal(rc, 0);
	return n;
}

static void split_everywhere(const char *name, const struct sample *sample)
{
	size_t n;

	for (size_t cut = 0; cut <= sample->len; cut++) {
		begin(name);
		if (cut)
			receive(sample->data, cut);
		n = take(sample, 0, false);
		if (cut < sample->len)
			receive(sample->data + cut, sample->len - cut);
		n = take(sample, n, false);
		assert_int_equal(n, count_of(sample) - sample->at_end);
		assert_int_equal(take(sample, n, true), count_of(sample));
		assert_int_equal(buf.len, 0);
		assert_null(frame.scratch);
	}
	begin(name);
	n = 0;
	for (size_t i = 0; i < sample->len; i++) {
		receive(sample->data + i, 1);
		n = take(sample, n, false);
	}
	assert_int_equal(take(sample, n, true), count_of(sample));
}

static void test_json(void **state)
{
	(void)state;
	split_everywhere("json", &json);
}

static void test_json_seq(void **state)
{
	(void)state;
	split_everywhere("json", &separated);
	split_everywhere("json-seq", &separated);
	split_everywhere("json-seq", &resynchronized);
}

static void test_cbor(void **state)
{
	(void)state;
	split_everywhere("cbor", &cbor);
	split_everywhere("cbor", &cbor_heads);
}

static void test_msgpack(void **state)
{
	(void)state;
	split_everywhere("msgpack", &msgpack);
	split_everywhere("msgpack", &msgpack_heads);
}

/* A message is handed over with its last byte, not with the next one's first. */
static void test_nothing_waits(void **state)
{
	static const struct sample one = {LITERAL("{\"a\":[1]}"), {M("{\"a\":[1]}")}, 0};

	(void)state;
	begin("json");
	receive(one.data, one.len);
	assert_int_equal(take(&one, 0, false), 1);
}

static int verdict(const char *name, const void *data, size_t len, bool over)
{
	struct tni_view view;
	int rc;

	begin(name);
	receive(data, len);
	rc = frame.ops->next(&frame, &buf, &view);
	return rc == 0 && over ? frame.ops->end(&frame, &buf, &view) : rc;
}

static void test_refused(void **state)
{
	unsigned char deep[200];
	static const struct {
		const char *frame, *data;
		size_t len;
		int err;
		long at;
	} bad[] = {
		{"cbor", LITERAL("\x82\x01\x1c"), TN_EFORMAT, 2},
		{"cbor", LITERAL("\xff"), TN_EFORMAT, 0},
		{"cbor", LITERAL("\x9f\x82\x01\xff"), TN_EFORMAT, 3},
		{"cbor", LITERAL("\x1f"), TN_EFORMAT, 0},
		{"cbor", LITERAL("\xdf"), TN_EFORMAT, 0},
		{"cbor", LITERAL("\x5b\xff\xff\xff\xff\xff\xff\xff\xff"), TN_ETOOBIG, -1},
		{"cbor", LITERAL("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), TN_ETOOBIG, -1},
		{"cbor", LITERAL("\xbb\x80\x00\x00\x00\x00\x00\x00\x00"), TN_ETOOBIG, -1},
		{"cbor", LITERAL("\x59\x10\x01"), TN_ETOOBIG, -1},
		{"msgpack", LITERAL("\x92\x01\xc1"), TN_EFORMAT, 2},
		{"msgpack", LITERAL("\xdb\xff\xff\xff\xff"), TN_ETOOBIG, -1},
		{"msgpack", LITERAL("\xdf\xff\xff\xff\xff"), TN_ETOOBIG, -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(verdict(bad[i].frame, bad[i].data, bad[i].len, false), bad[i].err);
		assert_int_equal(tn_errpos(), bad[i].at);
	}
	memset(deep, 0x9f, sizeof(deep));
	assert_int_equal(verdict("cbor", deep, sizeof(deep), false), TN_EDEPTH);
	assert_int_equal(tn_errpos(), 128);
	assert_int_equal(verdict("cbor", deep, 128, false), 0);
	assert_int_equal(verdict("cbor", "\x82\x01", 2, true), TN_ETRUNC);
	assert_int_equal(verdict("msgpack", "\xa3hi", 3, true), TN_ETRUNC);
}

/* An unfinished value goes to the codec, which knows best what is missing; but not without end. */
static void test_unfinished_json(void **state)
{
	char more[512];

	(void)state;
	assert_int_equal(verdict("json", "{\"a\":[1", 7, true), 1);
	assert_int_equal(verdict("json", " \n ", 3, true), 0);
	assert_int_equal(verdict("json-seq", "\x1e{", 2, true), 1);
	assert_int_equal(verdict("json-seq", "\x1e", 1, true), 0);
	assert_int_equal(verdict("json-seq",
				 "\x1e"
				 "12",
				 3, true),
			 TN_ETRUNC);
	memset(more, 'x', sizeof(more));
	assert_int_equal(verdict("json", "\"", 1, false), 0);
	for (int i = 0; i < 7; i++) {
		struct tni_view view;

		receive(more, sizeof(more));
		assert_int_equal(frame.ops->next(&frame, &buf, &view), 0);
	}
	{
		struct tni_view view;

		receive(more, sizeof(more));
		assert_int_equal(frame.ops->next(&frame, &buf, &view), TN_ETOOBIG);
	}
}

static void test_put(void **state)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t) "[1]", .iov_len = 3};

	(void)state;
	begin("json");
	assert_int_equal(frame.ops->put(&frame, &buf, &iov, 1), 0);
	assert_int_equal(buf.len, 4);
	assert_memory_equal(tni_buf_pullup(&buf, 4), "[1]\n", 4);
	begin("json-seq");
	assert_int_equal(frame.ops->put(&frame, &buf, &iov, 1), 0);
	assert_int_equal(buf.len, 5);
	assert_memory_equal(tni_buf_pullup(&buf, 5), "\x1e[1]\n", 5);
	begin("cbor");
	assert_int_equal(frame.ops->put(&frame, &buf, &iov, 1), 0);
	assert_int_equal(buf.len, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_seq),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_cbor),
		cmocka_unit_test(test_msgpack),
		cmocka_unit_test(test_nothing_waits),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_unfinished_json),
		cmocka_unit_test(test_put),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
