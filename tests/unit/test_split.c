/* Messages without a connection: the same frames and formats as an endpoint's, however the bytes come. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tenon_value.h"

/* What comes out, each message in brackets, then the last code. */
static int gather(struct tn_split *split, char *out)
{
	const void *data;
	size_t len;
	int rc;

	out += strlen(out);
	while ((rc = tn_split_next(split, &data, &len)) > 0) {
		*out++ = '[';
		memcpy(out, data, len);
		out += len;
		*out++ = ']';
		*out = 0;
	}
	return rc;
}

/* The stream fed in pieces of every size. */
static void check(const char *url, const void *stream, size_t len, const char *wanted, int ends)
{
	for (size_t step = 1; step <= len; step++) {
		struct tn_split *split;
		char out[512] = "";
		int rc = 0;

		assert_int_equal(tn_split_new(url, &split), 0);
		for (size_t at = 0; at < len && rc == 0; at += step) {
			assert_int_equal(
				tn_split_feed(split, (const char *)stream + at, len - at < step ? len - at : step), 0);
			rc = gather(split, out);
		}
		if (rc == 0) {
			tn_split_end(split);
			rc = gather(split, out);
		}
		assert_string_equal(out, wanted);
		assert_int_equal(rc, ends);
		tn_split_free(split);
	}
}

static void test_frames(void **state)
{
	(void)state;
	check("tcp://localhost:1?frame=line", "ab\ncd\r\n\nef", 10, "[ab][cd][][ef]", 0);
	check("tcp://localhost:1?frame=u16", "\0\2ab\0\0\0\1c", 9, "[ab][][c]", 0);
	check("tcp://localhost:1?frame=u16", "\0\2ab\0\5c", 7, "[ab]", TN_ETRUNC);
	check("tcp://localhost:1?frame=u32&max=3", "\0\0\0\2ab\0\0\0\4wxyz", 14, "[ab]", TN_ETOOBIG);
	check("tcp://localhost:1?frame=netstring", "2:ab,x", 6, "[ab]", TN_EFORMAT);
	check("tcp://localhost:1?format=json", "{\"a\":1} [2] 3", 13, "[{\"a\":1}][[2]][3]", 0);
	check("unix:/run/x?frame=cobs", "\3ab\0\1\0", 6, "[ab][]", 0);
}

/* One side of a WebSocket, from its head on or from any frame. */
static void test_websocket(void **state)
{
	static const char request[] = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"
				      "\x81\x82\1\2\3\4``\x82\x80\1\2\3\4\x89\x80\1\2\3\4"
				      "\1\x81\0\0\0\0x\x80\x81\0\0\0\0y\x88\x84\0\0\0\0\x0f\xa1ok";
	static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\n\r\n"
				     "\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\x88\0"; /* RFC 7692 7.2.3.1 */
	struct tn_split *split;
	const char *reason;
	char out[100] = "";

	(void)state;
	check("ws://localhost:1", request, sizeof(request) - 1, "[ab][][xy]", 0);
	check("ws://localhost:1", answer, sizeof(answer) - 1, "[Hello]", 0);
	check("ws://localhost:1", "\x81\1a\x82\1b", 6, "[a][b]", 0);
	check("ws://localhost:1", "\x81\1a\x82\2b", 6, "[a]", TN_ETRUNC);
	check("ws://localhost:1", "\x81\1a\x83\1b", 6, "[a]", TN_EFORMAT);
	check("ws://localhost:1?max=1", "\x81\1a\x82\2bc", 7, "[a]", TN_ETOOBIG);
	check("ws://localhost:1", "HTTP/1.1 403 Forbidden\r\n\r\nno", 28, "", -ECONNREFUSED);

	assert_int_equal(tn_split_new("ws://localhost:1", &split), 0);
	assert_int_equal(tn_split_feed(split, request, sizeof(request) - 1), 0);
	assert_int_equal(tn_split_next(split, &(const void *){NULL}, &(size_t){0}), 1);
	assert_int_equal(tn_split_kind(split), TN_MSG_TEXT);
	assert_int_equal(tn_split_next(split, &(const void *){NULL}, &(size_t){0}), 1);
	assert_int_equal(tn_split_kind(split), TN_MSG_BINARY);
	assert_int_equal(tn_split_closed(split, &reason), 0);
	assert_int_equal(gather(split, out), 0);
	assert_int_equal(tn_split_kind(split), TN_MSG_ANY);
	assert_int_equal(tn_split_closed(split, &reason), 4001);
	assert_string_equal(reason, "ok");
	tn_split_reset(split);
	assert_int_equal(tn_split_closed(split, &reason), 0);
	assert_int_equal(tn_split_feed(split, answer, sizeof(answer) - 1), 0);
	assert_int_equal(gather(split, out), 0);
	assert_int_equal(tn_split_closed(split, &reason), 1005);
	tn_split_free(split);
}

static void test_pieces(void **state)
{
	struct tn_split *split;
	char out[64] = "";

	(void)state;
	assert_int_equal(tn_split_new("tcp://localhost:1", &split), 0);
	assert_string_equal(tn_split_frame(split), "none");
	assert_null(tn_split_format(split));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tn_split_feed(split, "piece", 5), 0);
		assert_int_equal(tn_split_feed(split, "", 0), 0);
		assert_int_equal(gather(split, out), 0);
	}
	assert_string_equal(out, "[piece][piece][piece]");
	tn_split_free(split);
}

/* Behind an error nothing comes until it is told to forget. */
static void test_reset(void **state)
{
	struct tn_split *split;
	const void *data;
	size_t len;
	char out[64] = "";

	(void)state;
	assert_int_equal(tn_split_new("tcp://localhost:1?frame=netstring", &split), 0);
	tn_split_feed(split, "nonsense", 8);
	assert_int_equal(tn_split_next(split, &data, &len), TN_EFORMAT);
	assert_int_equal(tn_split_next(split, &data, &len), TN_EFORMAT);
	assert_int_equal(tn_split_waiting(split), 8);
	tn_split_reset(split);
	assert_int_equal(tn_split_waiting(split), 0);
	assert_int_equal(tn_split_memory(split), 0);
	tn_split_feed(split, "2:ok,", 5);
	assert_int_equal(gather(split, out), 0);
	assert_string_equal(out, "[ok]");
	tn_split_free(split);
}

/* Found by fuzz_split: asked again, a frame that had begun in an earlier piece went on behind its mistake. */
static void test_a_mistake_stays(void **state)
{
	static const struct {
		const char *url, *first, *rest;
		size_t first_len, rest_len;
		int err;
	} mistakes[] = {
		{"tcp://localhost:1?frame=cbor", "\x7a\x61", "\x61\0\0\0\0\x82\x01", 2, 7, TN_ETOOBIG},
		{"tcp://localhost:1?frame=cbor", "\x82\x01", "\x1c\x01\x01", 2, 3, TN_EFORMAT},
		{"tcp://localhost:1?frame=msgpack", "\x92\x01", "\xc1\x01\x01", 2, 3, TN_EFORMAT},
	};
	struct tn_split *split;
	const void *data;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		assert_int_equal(tn_split_new(mistakes[i].url, &split), 0);
		tn_split_feed(split, mistakes[i].first, mistakes[i].first_len);
		assert_int_equal(tn_split_next(split, &data, &len), 0);
		tn_split_feed(split, mistakes[i].rest, mistakes[i].rest_len);
		for (int again = 0; again < 3; again++)
			assert_int_equal(tn_split_next(split, &data, &len), mistakes[i].err);
		tn_split_free(split);
	}
}

static void test_memory(void **state)
{
	struct tn_split *split;
	char piece[1000] = {0};
	const void *data;
	size_t len;

	(void)state;
	assert_int_equal(tn_split_new("tcp://localhost:1?frame=u32", &split), 0);
	assert_int_equal(tn_split_memory(split), 0);
	tn_split_feed(split, "\0\1\0\0", 4);
	for (int i = 0; i < 65; i++) {
		assert_int_equal(tn_split_next(split, &data, &len), 0);
		tn_split_feed(split, piece, sizeof(piece));
	}
	assert_int_equal(tn_split_waiting(split), 65004);
	assert_in_range(tn_split_memory(split), 65004, 4 * 65004);
	tn_split_feed(split, piece, 536);
	assert_int_equal(tn_split_next(split, &data, &len), 1);
	assert_int_equal(len, 65536);
	assert_int_equal(tn_split_next(split, &data, &len), 0);
	assert_int_equal(tn_split_memory(split), 0);
	tn_split_free(split);
}

static void test_others_of_its_kind(void **state)
{
	struct tn_split *split, *others[3];
	struct tn_value *value = NULL;
	const void *data;
	size_t len;
	int64_t number = 0;

	(void)state;
	assert_int_equal(tn_split_new("tcp://localhost:1?frame=u8&format=cbor", &split), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tn_split_another(split, &others[i]), 0);
	tn_split_free(split); /* they outlive it */
	for (int i = 0; i < 3; i++)
		tn_split_feed(others[i], (char[]){2, 0x18, (char)(40 + i)}, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tn_split_next(others[i], &data, &len), 1);
		assert_string_equal(tn_split_format(others[i]), "cbor");
		assert_int_equal(tn_split_value(others[i], data, len, &value), 0);
		assert_int_equal(tn_value_int(value, &number), 0);
		assert_int_equal(number, 40 + i);
		assert_int_equal(tn_split_value(others[i], "\x1c", 1, &value), TN_EFORMAT);
	}
	tn_value_free(value);
	for (int i = 0; i < 3; i++)
		tn_split_free(others[i]);
	tn_split_free(NULL);
}

static void test_bad_urls(void **state)
{
	struct tn_split *split;
	struct tn_value *value = NULL;

	(void)state;
	assert_int_equal(tn_split_new("tcp://localhost:1?frame=lime", &split), TN_EURL);
	assert_non_null(strstr(tn_errmsg(), "line"));
	assert_int_equal(tn_split_new("nothing", &split), TN_EURL);
	assert_int_equal(tn_split_new("tcp://*:1?backlog=5", &split), 0); /* only good for serving */
	assert_int_equal(tn_split_value(split, "1", 1, &value), -EINVAL);
	tn_split_free(split);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_a_mistake_stays),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_others_of_its_kind),
		cmocka_unit_test(test_bad_urls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
