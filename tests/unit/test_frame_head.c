/* A length anywhere in a header: protocols that have one, what a URL says of it, and random headers. */
#include "test_frame.h"

#include <stdio.h>

/* ---- protocols ---- */

static void test_protocols(void **state)
{
	(void)state;
	/* DNS over TCP, RFC 1035 4.2.2: two bytes, the message behind them */
	check_known("head:size=2", B("\x12\x34\1\0\0\1\0\0\0\0\0\0\0\0\2\0\1"),
		    B("\0\x11\x12\x34\1\0\0\1\0\0\0\0\0\0\0\0\2\0\1"));
	/* Modbus TCP: transaction, protocol, length of the unit and what follows it */
	check_known("head:offset=4,size=2,keep=on", B("\0\1\0\0\0\6\x11\3\0\x6b\0\3"),
		    B("\0\1\0\0\0\6\x11\3\0\x6b\0\3"));
	check_known("head:offset=4,size=2", B("\x11\3\0\x6b\0\3"), B("\0\0\0\0\0\6\x11\3\0\x6b\0\3"));
	/* The same with the unit in the header: its byte is counted */
	check_known("head:offset=4,size=2,header=7,adjust=-1", B("\3\0\x6b\0\3"), B("\0\0\0\0\0\6\0\3\0\x6b\0\3"));
	/* MQTT 3.1.1, 2.2: type and flags, the remaining length as a varint. CONNECT, and PINGREQ */
	check_known("head:offset=1,size=varint,keep=on", B("\x10\x10\0\4MQTT\4\2\0\x3c\0\4test"),
		    B("\x10\x10\0\4MQTT\4\2\0\x3c\0\4test"));
	check_known("head:offset=1,size=varint,keep=on", B("\xc0\0"), B("\xc0\0"));
	/* PostgreSQL: a type, a length that counts itself. Query */
	check_known("head:offset=1,size=4,adjust=-4,keep=on", B("Q\0\0\0\x0dSELECT 1\0"), B("Q\0\0\0\x0dSELECT 1\0"));
	/* OpenFlow: version, type, a length that counts the whole header, 8 bytes. Hello */
	check_known("head:offset=2,size=2,header=8,adjust=-8,keep=on", B("\4\0\0\x08\0\0\0\1"),
		    B("\4\0\0\x08\0\0\0\1"));
	/* HTTP/2, RFC 9113 4.1: three bytes at the front of nine. PING */
	check_known("head:size=3,header=9,keep=on", B("\0\0\x08\6\0\0\0\0\0abcdefgh"),
		    B("\0\0\x08\6\0\0\0\0\0abcdefgh"));
	/* TLS records, RFC 8446 5.1 */
	check_known("head:offset=3,size=2,keep=on", B("\x15\3\3\0\2\1\0"), B("\x15\3\3\0\2\1\0"));
	/* MySQL: three bytes, little-endian, and a number. COM_PING */
	check_known("head:size=3,endian=little,header=4,keep=on", B("\1\0\0\0\x0e"), B("\1\0\0\0\x0e"));
	/* 9P: four bytes, little-endian, that count themselves */
	check_known("head:size=4,endian=little,adjust=-4", B("\x64\xff\xff"), B("\7\0\0\0\x64\xff\xff"));
}

/* However often one comes behind the other, and however it is cut. */
static void test_streams(void **state)
{
	(void)state;
	check_stream("head:offset=1,size=varint,keep=on", 100, B("\x30\3abc\xc0\1x"), 0, "\x30\3abc", "\xc0\1x", NULL);
	check_stream("head:size=2,adjust=-2", 100, B("\0\5abc\0\2\0\4de"), 0, "abc", "", "de", NULL);
	check_stream("head:size=1,header=3", 100, B("\2xyab\1zzc"), 0, "ab", "c", NULL);
}

/* ---- lengths that are wrong ---- */

static void test_refused(void **state)
{
	(void)state;
	check_stream("head:size=2,adjust=-2", 100, B("\0\3a\0\1b"), TN_EFORMAT, "a", NULL);
	assert_says("a length of 1, and it counts 2 bytes of the header");
	check_stream("head:size=2,adjust=-2", 100, B("\0\3a\0"), TN_ETRUNC, "a", NULL);
	check_stream("head:size=2", 5, B("\0\5abcde\0\6abcdef"), TN_ETOOBIG, "abcde", NULL);
	assert_says("message of 6 bytes is too large: at most 5");
	check_stream("head:offset=1,size=1,keep=on", 5, B("x\3abcx\4abcd"), TN_ETOOBIG, "x\3abc", NULL);
	assert_says("message of 6 bytes is too large: at most 5");
	check_stream("head:size=2,adjust=3", 5, B("\0\2abcde\0\3"), TN_ETOOBIG, "abcde", NULL);
	check_stream("head:size=8,adjust=1073741824", 1 << 30, B("\xff\xff\xff\xff\xff\xff\xff\xff"), TN_ETOOBIG, NULL);
	check_stream("head:size=8", 1 << 30, B("\x80\0\0\0\0\0\0\0"), TN_ETOOBIG, NULL);
	check_stream("head:size=8,adjust=-9", 1 << 30, B("\x7f\xff\xff\xff\xff\xff\xff\xff"), TN_ETOOBIG, NULL);
	check_stream("head:offset=1,size=varint", 100, B("x\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"), TN_ETOOBIG, NULL);
	check_stream("head:offset=1,size=varint", 100, B("x\xff\xff\xff\xff\xff\xff\xff\xff\xff\2"), TN_EFORMAT, NULL);
	assert_says("frame head:offset=1,size=varint: a length of more than 64 bits");
	check_stream("head:offset=1,size=varint", 100, B("x\x80"), TN_ETRUNC, NULL);
}

static void test_put_refuses(void **state)
{
	char msg[300] = "";

	(void)state;
	assert_int_equal(put_one("head:size=1", msg, 256), TN_ETOOBIG);
	assert_says("frame head:size=1: a message of 256 bytes has no such length");
	assert_int_equal(put_one("head:size=1,adjust=-1", msg, 255), TN_ETOOBIG);
	assert_int_equal(put_one("head:size=1,adjust=-1", msg, 254), 0);
	assert_int_equal(put_one("head:size=1,adjust=4", msg, 3), TN_EFORMAT);
	assert_says("3 bytes behind the header are too few: the length would be -1");
	assert_int_equal(put_one("head:size=1,adjust=4", msg, 259), 0);
	assert_int_equal(put_one("head:size=2,header=4,keep=on", msg, 3), TN_EFORMAT);
	assert_says("a message of 3 bytes is shorter than its header");
	assert_int_equal(put_one("head:offset=1,size=varint,keep=on", msg, 1), TN_EFORMAT);
	assert_says("shorter than its header");
	assert_int_equal(put_one("head:offset=1,size=varint,keep=on", B("x\x80\x80")), TN_EFORMAT);
	assert_int_equal(put_one("head:offset=1,size=varint,keep=on", B("x\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")),
			 TN_EFORMAT);
}

/* The program gives the header; the length in it is filled in, whatever stood there. */
static void fill(const char *name, const void *msg, size_t len, const void *framed, size_t framed_len)
{
	struct iovec iov[3] = {
		{(void *)(uintptr_t)msg, 1}, {(char *)(uintptr_t)msg + 1, 0}, {(char *)(uintptr_t)msg + 1, len - 1}};
	struct line line;
	struct tn_buf out;

	line_open(&line, name, MAX_ANY);
	tni_buf_init(&out, &line.mem, SIZE_MAX);
	assert_int_equal(line.frame.ops->put(&line.frame, &out, iov, 3), 0);
	assert_int_equal(out.len, framed_len);
	assert_memory_equal(tni_buf_pullup(&out, framed_len), framed, framed_len);
	tni_buf_clear(&out);
	line_close(&line);
}

static void test_a_kept_length_is_filled_in(void **state)
{
	char msg[300] = "x", framed[302] = "x\xaa\2";

	(void)state;
	fill("head:offset=4,size=2,keep=on", B("\0\1\0\0\xff\xffhello"), B("\0\1\0\0\0\5hello"));
	fill("head:offset=1,size=4,adjust=-4,keep=on", B("Q\0\0\0\0SELECT 1"), B("Q\0\0\0\x0cSELECT 1"));
	fill("head:size=2,endian=little,header=4,keep=on", B("??AB"), B("\0\0AB"));
	fill("head:offset=1,size=varint,keep=on", B("x\0hello"), B("x\5hello"));
	fill("head:offset=1,size=varint,keep=on", B("x\x85\x80\x80\0hello"), B("x\5hello"));
	fill("head:offset=1,size=varint,keep=on", msg, sizeof(msg), framed,
	     301); /* one byte longer than it was given */
}

/* So it can become longer than max: that is told to the sender, not to the receiver. */
static void test_a_length_that_grows_passes_max(void **state)
{
	char msg[300] = "x";
	struct iovec iov = {msg, sizeof(msg)};
	struct line line;
	struct tn_buf out;

	(void)state;
	line_open(&line, "head:offset=1,size=varint,keep=on", sizeof(msg));
	tni_buf_init(&out, &line.mem, SIZE_MAX);
	assert_int_equal(line.frame.ops->put(&line.frame, &out, &iov, 1), TN_ETOOBIG);
	assert_int_equal(out.len, 0);
	line_close(&line);
}

/* A header that is cut off and not all zero is not passed on as it stands: see check_raw() in frame_model.h. */
static void test_other_bytes_of_a_header(void **state)
{
	static const char bytes[] = "\1\0\2ab\0\0\1c";
	struct tni_view view;
	struct line line;
	struct tni_blk *blk;

	(void)state;
	line_open(&line, "head:offset=2,size=1", MAX_ANY);
	blk = tni_blk_get(&line.mem.small);
	assert_non_null(blk);
	memcpy(blk->data, bytes, sizeof(bytes) - 1);
	blk->used = sizeof(bytes) - 1;
	assert_int_equal(tni_buf_give(&line.in, blk), 0);
	assert_int_equal(line.frame.ops->next(&line.frame, &line.in, &view), 1);
	assert_null(view.raw);
	take_msg(&line, &view);
	assert_int_equal(line.frame.ops->next(&line.frame, &line.in, &view), 1);
	assert_ptr_equal(view.raw, blk->data + 5);
	take_msg(&line, &view);
	line_close(&line);
}

/* ---- what a URL says ---- */

static void test_words(void **state)
{
	static const struct bad_frame rows[] = {
		{"head", "head alone does not say enough: head:size=2", -1},
		{"head:", "'' is no part of a header", 5},
		{"head:offset=2", "how long is the length? Add size=1 to size=8, or size=varint", 5},
		{"head:size=0", "size is 1 to 8 (bytes of the length), or varint", 10},
		{"head:size=9", "size is 1 to 8", 10},
		{"head:size=", "size is 1 to 8", 10},
		{"head:size", "size is 1 to 8", 5},
		{"head:size=2,", "'' is no part of a header", 12},
		{"head:size=2,size=2", "size stands here twice", 12},
		{"head:size=2,ofset=1", "did you mean offset", 12},
		{"head:size=2,xyz=1", "there are offset, size, endian, adjust, header and keep", 12},
		{"head:size=2,endian=middle", "endian is big or little", 19},
		{"head:size=2,endian", "endian is big or little", 12},
		{"head:size=2,offset=257", "offset is a number from 0 to 256", 19},
		{"head:size=2,offset=-1", "offset is a number", 19},
		{"head:size=2,offset=1x", "offset is a number", 19},
		{"head:size=2,offset=99999999999999999999", "offset is a number", 19},
		{"head:size=2,offset=255", "a header has at most 256 bytes", 12},
		{"head:size=2,header=0", "header is a number from 1 to 256", 19},
		{"head:size=2,header=1", "the length ends with byte 2, outside of this header", 12},
		{"head:size=2,offset=3,header=4", "the length ends with byte 5", 21},
		{"head:size=2,adjust=", "adjust is a number from -1073741824 to 1073741824", 19},
		{"head:size=2,adjust=-", "adjust is a number", 19},
		{"head:size=2,adjust=1073741825", "adjust is a number", 19},
		{"head:size=1,adjust=-256", "no length of this size is as large", 12},
		{"head:size=2,keep=maybe", "keep is on or off", 17},
		{"head:size=varint,endian=big", "a varint has no order of bytes", 17},
		{"head:size=varint,header=4", "a varint ends the header; what follows it is counted with adjust", 17},
	};

	(void)state;
	check_refused(rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_names(void **state)
{
	static const struct named_frame rows[] = {
		{"head:size=4", "head:size=4", 0},
		{"head:offset=0,size=4,endian=big,adjust=0,header=4,keep=0", "head:size=4", 0},
		{"head:keep,header=12,size=2,offset=3,endian=little,adjust=-5",
		 "head:offset=3,size=2,endian=little,adjust=-5,header=12,keep=on", 12},
		{"head:size=varint,offset=256,adjust=1073741824,keep=1",
		 "head:offset=256,size=varint,adjust=1073741824,keep=on", 1073741824 + 257},
		{"head:offset=254,size=2,keep=off", "head:offset=254,size=2", 0},
		{"head:size=1,adjust=-255", "head:size=1,adjust=-255", 0},
	};

	(void)state;
	check_names(rows, sizeof(rows) / sizeof(rows[0]));
}

/* ---- any header ---- */

static void draw_name(char *name, size_t cap, uint64_t *seed)
{
	unsigned offset = (unsigned)(next_random(seed) % 20), width = (unsigned)(next_random(seed) % 9);
	unsigned header = offset + width + (unsigned)(next_random(seed) % 3 ? 0 : next_random(seed) % 30);
	int adjust = next_random(seed) % 2 ? 0 : (int)(next_random(seed) % 40) - 30;
	const char *keep = next_random(seed) % 2 ? "on" : "off";

	if (width)
		snprintf(name, cap, "head:offset=%u,size=%u,endian=%s,adjust=%d,header=%u,keep=%s", offset, width,
			 next_random(seed) % 2 ? "big" : "little", adjust, header, keep);
	else
		snprintf(name, cap, "head:offset=%u,size=varint,adjust=%d,keep=%s", offset, adjust, keep);
}

static int put_msg(struct line *line, struct tn_buf *out, const void *msg, size_t len)
{
	struct iovec iov[3] = {{(void *)(uintptr_t)msg, len / 4},
			       {(char *)(uintptr_t)msg + len / 4, len / 4},
			       {(char *)(uintptr_t)msg + len / 4 * 2, len - len / 4 * 2}};

	return line->frame.ops->put(&line->frame, out, iov, 3);
}

/* What put() has written comes out as one message: the same, but for a kept length, which is then the right one. */
static void go_and_come(struct line *line, struct tn_buf *out, const void *msg, size_t len, bool may_change)
{
	size_t from = line->got.len, before = line->got.nmsgs;
	const unsigned char *came;

	line_feed(line, tni_buf_pullup(out, out->len), out->len / 2, true);
	assert_int_equal(line->got.nmsgs, before);
	line_feed(line, tni_buf_pullup(out, out->len) + out->len / 2, out->len - out->len / 2, true);
	assert_int_equal(line->got.err, 0);
	assert_int_equal(line->got.nmsgs, before + 1);
	came = line->got.bytes + from + sizeof(size_t);
	if (!may_change) {
		assert_int_equal(line->got.len - from - sizeof(size_t), len);
		assert_memory_equal(came, msg, len);
	}
	tni_buf_clear(out);
}

static void test_any_header(void **state)
{
	uint64_t seed = 11;
	int carried = 0;

	(void)state;
	for (int turn = 0; turn < 3000; turn++) {
		char name[120], msg[700], again[720];
		struct line line;
		struct tn_buf out;
		size_t len = next_random(&seed) % (next_random(&seed) % 2 ? 20 : sizeof(msg));
		int rc;

		draw_name(name, sizeof(name), &seed);
		for (size_t i = 0; i < len; i++)
			msg[i] = (char)next_random(&seed);
		line_open(&line, name, MAX_ANY);
		tni_buf_init(&out, &line.mem, SIZE_MAX);
		rc = put_msg(&line, &out, msg, len);
		assert_true(rc == 0 || ((rc == TN_EFORMAT || rc == TN_ETOOBIG) && !out.len));
		assert_true(out.len <= len + TNI_HEADER_MAX + 10);
		carried += rc == 0;
		if (rc == 0 && out.len > 1) {
			go_and_come(&line, &out, msg, len, strstr(name, "keep=on"));
			len = line.got.len - sizeof(size_t);
			memcpy(again, line.got.bytes + sizeof(size_t), len);
			assert_int_equal(put_msg(&line, &out, again, len), 0);
			go_and_come(&line, &out, again, len, false);
		}
		tni_buf_clear(&out);
		line_close(&line);
	}
	assert_true(carried > 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocols),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_put_refuses),
		cmocka_unit_test(test_a_kept_length_is_filled_in),
		cmocka_unit_test(test_a_length_that_grows_passes_max),
		cmocka_unit_test(test_other_bytes_of_a_header),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_any_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
