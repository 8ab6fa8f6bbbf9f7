/* Length prefixes of every kind, and messages of one length. What is claimed must never be believed in memory. */
#include "test_frame.h"

/* ---- the largest allocation (link with -Wl,--wrap=malloc) ---- */

static size_t largest;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	if (size > largest)
		largest = size;
	return __real_malloc(size);
}

/* ---- what the bytes are ---- */

static void test_prefixes(void **state)
{
	(void)state;
	check_known("u8", B("hello"), B("\5hello"));
	check_known("u16", B("hello"), B("\0\5hello"));
	check_known("u32", B("hello"), B("\0\0\0\5hello"));
	check_known("u64", B("hello"), B("\0\0\0\0\0\0\0\5hello"));
	check_known("u16le", B("hello"), B("\5\0hello"));
	check_known("u32le", B("hello"), B("\5\0\0\0hello"));
	check_known("u64le", B("hello"), B("\5\0\0\0\0\0\0\0hello"));
	check_known("u8", B(""), B("\0"));
	check_known("u16", B(""), B("\0\0"));
	check_known("u64le", B(""), B("\0\0\0\0\0\0\0\0"));
}

/* 0x0102 bytes: the order shows, and every byte of the prefix beyond the first counts. */
static void test_prefixes_of_more_than_a_byte(void **state)
{
	static const struct {
		const char *name, *prefix;
		size_t len;
	} rows[] = {
		{"u16", B("\1\2")},       {"u16le", B("\2\1")},           {"u32", B("\0\0\1\2")},
		{"u32le", B("\2\1\0\0")}, {"u64", B("\0\0\0\0\0\0\1\2")}, {"u64le", B("\2\1\0\0\0\0\0\0")},
		{"varint", B("\x82\2")},  {"netstring", B("258:")},
	};
	char msg[258], framed[300];

	(void)state;
	memset(msg, '*', sizeof(msg));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t tail = !strcmp(rows[i].name, "netstring");

		memcpy(framed, rows[i].prefix, rows[i].len);
		memcpy(framed + rows[i].len, msg, sizeof(msg));
		framed[rows[i].len + sizeof(msg)] = ',';
		check_known(rows[i].name, msg, sizeof(msg), framed, rows[i].len + sizeof(msg) + tail);
	}
}

static void test_longest_of_a_prefix(void **state)
{
	static char msg[65536], framed[65536 + 2];

	(void)state;
	memset(msg, '.', sizeof(msg));
	memset(framed, '.', sizeof(framed));
	framed[0] = '\xff';
	check_known("u8", msg, 255, framed, 256);
	assert_int_equal(put_one("u8", msg, 256), TN_ETOOBIG);
	assert_says("frame u8: a message of 256 bytes");
	assert_int_equal(put_one("u16", msg, 65535), 0);
	assert_int_equal(put_one("u16", msg, 65536), TN_ETOOBIG);
	assert_int_equal(put_one("u16le", msg, 65536), TN_ETOOBIG);
	assert_int_equal(put_one("u32", msg, 65536), 0);
}

/* protobuf, "Encoding": 1 is 01, 150 is 96 01, 300 is AC 02. */
static void test_varint(void **state)
{
	static char framed[2 + 300];

	(void)state;
	check_known("varint", B("x"), B("\1x"));
	check_known("varint", B(""), B("\0"));
	memset(framed, 'v', sizeof(framed));
	memcpy(framed, "\x96\1", 2);
	check_known("varint", framed + 2, 150, framed, 2 + 150);
	memcpy(framed, "\xac\2", 2);
	check_known("varint", framed + 2, 300, framed, 2 + 300);
	framed[1] = 127;
	check_known("varint", framed + 2, 127, framed + 1, 1 + 127);
	memcpy(framed, "\x80\1", 2);
	check_known("varint", framed + 2, 128, framed, 2 + 128);
	/* Longer than need be is read, as protobuf's own reader does. */
	check_stream("varint", 100, B("\x83\0abc\x80\0\x81\x80\x80\x80\x80\x80\x80\x80\x80\0x"), 0, "abc", "", "x",
		     NULL);
}

static void test_varint_that_is_none(void **state)
{
	(void)state;
	/* An eleventh byte, and bits past the 64th */
	check_stream("varint", 100, B("\1x\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"), TN_EFORMAT, "x", NULL);
	assert_says("frame varint");
	check_stream("varint", 100, B("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"), TN_EFORMAT, NULL);
	check_stream("varint", 100, B("\x80\x80\x80\x80\x80\x80\x80\x80\x80\2"), TN_EFORMAT, NULL);
	/* 2^63, which fits, is only too much */
	check_stream("varint", 100, B("\x80\x80\x80\x80\x80\x80\x80\x80\x80\1"), TN_ETOOBIG, NULL);
	check_stream("varint", 100, B("\x80\x80"), TN_ETRUNC, NULL);
}

/* https://cr.yp.to/proto/netstrings.txt: "hello world!" and the empty string. */
static void test_netstring(void **state)
{
	(void)state;
	check_known("netstring", B("hello world!"),
		    B("\x31\x32\x3a\x68\x65\x6c\x6c\x6f\x20\x77\x6f\x72\x6c\x64\x21\x2c"));
	check_known("netstring", B(""), B("0:,"));
	check_stream("netstring", 100, B("1:,,1::,3:3:,,"), 0, ",", ":", "3:,", NULL);
}

static void test_netstring_that_is_none(void **state)
{
	(void)state;
	check_stream("netstring", 100, B("1:a,03:abc,"), TN_EFORMAT, "a", NULL);
	assert_says("leading zero");
	check_stream("netstring", 100, B("00:,"), TN_EFORMAT, NULL);
	check_stream("netstring", 100, B("01"), TN_EFORMAT, NULL);
	check_stream("netstring", 100, B("1:a,3:abc;"), TN_EFORMAT, "a", NULL);
	assert_says("','");
	check_stream("netstring", 100, B("1:ab,"), TN_EFORMAT, NULL);
	check_stream("netstring", 100, B(":abc,"), TN_EFORMAT, NULL);
	assert_says("digits");
	check_stream("netstring", 100, B("3;abc,"), TN_EFORMAT, NULL);
	check_stream("netstring", 100, B("+3:abc,"), TN_EFORMAT, NULL);
	check_stream("netstring", 100, B("-3:abc,"), TN_EFORMAT, NULL);
	check_stream("netstring", 100, B(" 3:abc,"), TN_EFORMAT, NULL);
	check_stream("netstring", 100, B("\0"), TN_EFORMAT, NULL);
	check_stream("netstring", 100, B("11111111111:"), TN_EFORMAT, NULL);
	check_stream("netstring", 100, B("9999999999:"), TN_ETOOBIG, NULL);
}

static void test_fixed(void **state)
{
	struct tni_frame frame = {.max = 100};

	(void)state;
	check_stream("fixed:4", 100, B("abcdefgh"), 0, "abcd", "efgh", NULL);
	check_stream("fixed:1", 100, B("abc"), 0, "a", "b", "c", NULL);
	check_stream("fixed:4", 4, B("abcd"), 0, "abcd", NULL);
	check_stream("fixed:4", 100, B("abcdef"), TN_ETRUNC, "abcd", NULL);
	check_known("fixed:4", B("abcd"), B("abcd"));
	assert_int_equal(put_one("fixed:4", B("abc")), TN_EFORMAT);
	assert_says("frame fixed:4: a message of 3 bytes");
	assert_int_equal(put_one("fixed:4", B("abcde")), TN_EFORMAT);
	assert_int_equal(put_one("fixed:4", B("")), TN_EFORMAT);
	assert_int_equal(tni_frame_find("fixed", &frame), TN_EURL);
	assert_int_equal(tni_frame_find("fixed:", &frame), TN_EURL);
	assert_int_equal(tni_frame_find("fixed:0", &frame), TN_EURL);
	assert_int_equal(tni_frame_find("fixed:-4", &frame), TN_EURL);
	assert_int_equal(tni_frame_find("fixed:2GiB", &frame), TN_EURL);
	assert_int_equal(tni_frame_find("fixed:1KiB", &frame), 0);
	assert_string_equal(frame.ops->name, "fixed:1024");
	tni_frame_drop(&frame);
}

static void test_max(void **state)
{
	(void)state;
	check_stream("u8", 5,
		     B("\5"
		       "12345"
		       "\6"
		       "123456"),
		     TN_ETOOBIG, "12345", NULL);
	assert_says("message of 6 bytes is too large: at most 5");
	check_stream("u16", 5,
		     B("\0\5"
		       "12345"
		       "\0\6"),
		     TN_ETOOBIG, "12345", NULL);
	check_stream("u16le", 5,
		     B("\5\0"
		       "12345"
		       "\6\0"),
		     TN_ETOOBIG, "12345", NULL);
	check_stream("u32", 5,
		     B("\0\0\0\5"
		       "12345"
		       "\0\0\0\6"),
		     TN_ETOOBIG, "12345", NULL);
	check_stream("u32le", 5,
		     B("\5\0\0\0"
		       "12345"
		       "\6\0\0\0"),
		     TN_ETOOBIG, "12345", NULL);
	check_stream("u64", 5,
		     B("\0\0\0\0\0\0\0\5"
		       "12345"
		       "\0\0\0\0\0\0\0\6"),
		     TN_ETOOBIG, "12345", NULL);
	check_stream("u64le", 5,
		     B("\5\0\0\0\0\0\0\0"
		       "12345"
		       "\6\0\0\0\0\0\0\0"),
		     TN_ETOOBIG, "12345", NULL);
	check_stream("varint", 5,
		     B("\5"
		       "12345"
		       "\6"),
		     TN_ETOOBIG, "12345", NULL);
	check_stream("netstring", 5, B("5:12345,6:"), TN_ETOOBIG, "12345", NULL);
	/* Nothing is said before the whole prefix is there */
	check_stream("u32", 5, B("\0\0\1"), TN_ETRUNC, NULL);
}

/* The end of the stream at every place inside a message, which starts anew at each. */
static void test_truncated(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
	} rows[] = {
		{"u8", B("\3abc")},
		{"u16", B("\0\3abc")},
		{"u32", B("\0\0\0\3abc")},
		{"u64", B("\0\0\0\0\0\0\0\3abc")},
		{"u16le", B("\3\0abc")},
		{"u32le", B("\3\0\0\0abc")},
		{"u64le", B("\3\0\0\0\0\0\0\0abc")},
		{"varint", B("\x83\0abc")},
		{"netstring", B("3:abc,")},
		{"fixed:3", B("abc")},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		check_stream(rows[i].name, 100, rows[i].bytes, 0, 0, NULL);
		for (size_t at = 1; at < rows[i].len; at++) {
			check_stream(rows[i].name, 100, rows[i].bytes, at, TN_ETRUNC, NULL);
			assert_says("ended inside a message");
			assert_says(rows[i].name[0] == 'f' ? "fixed" : rows[i].name);
		}
		check_stream(rows[i].name, 100, rows[i].bytes, rows[i].len, 0, "abc", NULL);
	}
}

/* ---- claims ---- */

/* A few bytes that promise a lot: refused, or with a bound beyond them awaited; never allocated. */
static void test_a_claim_is_not_allocated(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
		int err; /* even with the highest bound */
	} rows[] = {
		{"u32",
		 B("\x3f\xff\xff\xff"
		   "abc"),
		 0},
		{"u32",
		 B("\xff\xff\xff\xff"
		   "abc"),
		 TN_ETOOBIG},
		{"u32le",
		 B("\xff\xff\xff\x3f"
		   "abc"),
		 0},
		{"u64",
		 B("\0\0\0\1\0\0\0\0"
		   "abc"),
		 TN_ETOOBIG},
		{"u64",
		 B("\x80\0\0\0\0\0\0\0"
		   "abc"),
		 TN_ETOOBIG},
		{"u64",
		 B("\xff\xff\xff\xff\xff\xff\xff\xff"
		   "abc"),
		 TN_ETOOBIG},
		{"u64",
		 B("\xff\xff\xff\xff\xff\xff\xff\xf0"
		   "abc"),
		 TN_ETOOBIG},
		{"u64le",
		 B("\xf8\xff\xff\xff\xff\xff\xff\xff"
		   "abc"),
		 TN_ETOOBIG},
		{"varint",
		 B("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"
		   "abc"),
		 TN_ETOOBIG},
		{"varint",
		 B("\xff\xff\xff\xff\3"
		   "abc"),
		 0},
		{"netstring", B("1073741823:abc"), 0},
		{"netstring", B("4294967296:abc"), TN_ETOOBIG},
		{"fixed:1GiB", B("abc"), 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int copied = 0; copied < 2; copied++) {
			struct line line;

			line_open(&line, rows[i].name, 1 << 30);
			largest = 0;
			for (size_t at = 0; at < rows[i].len; at++)
				line_feed(&line, rows[i].bytes + at, 1, copied);
			assert_int_equal(line.got.err, rows[i].err);
			line_end(&line);
			assert_int_equal(line.got.err, rows[i].err ? rows[i].err : TN_ETRUNC);
			assert_int_equal(line.got.nmsgs, 0);
			assert_true(largest <= TNI_LARGE_CAP + sizeof(struct tni_blk));
			line_close(&line);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_prefixes_of_more_than_a_byte),
		cmocka_unit_test(test_longest_of_a_prefix),
		cmocka_unit_test(test_varint),
		cmocka_unit_test(test_varint_that_is_none),
		cmocka_unit_test(test_netstring),
		cmocka_unit_test(test_netstring_that_is_none),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_max),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_a_claim_is_not_allocated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
