/* Messages that end with a delimiter of 1 to 16 bytes, cut off or kept. */
#include "test_frame.h"

static void test_cut_and_kept(void **state)
{
	(void)state;
	check_known("until:\\r\\n", B("hello"), B("hello\r\n"));
	check_known("until:\\r\\n,keep=on", B("hello\r\n"), B("hello\r\n"));
	check_known("until:\\r\\n", B(""), B("\r\n"));
	check_known("until:\\r\\n\\r\\n", B("GET / HTTP/1.0\r\nHost: x"), B("GET / HTTP/1.0\r\nHost: x\r\n\r\n"));
	check_known("until:\\0", B("a\nb"), B("a\nb\0"));
	check_known("until:--\\x2c\\\\--", B("a,b"), B("a,b--,\\--"));
	check_known("until:0123456789abcdef", B("x0123456789abcde"), B("x0123456789abcde0123456789abcdef"));
	check_known("until:;,keep=on", B(";"), B(";"));
}

/* STOMP 1.2: a frame ends with a zero byte; line feeds between frames are heart-beats. */
static void test_stomp(void **state)
{
	(void)state;
	check_known("until:\\0", B("SEND\ndestination:/queue/a\n\nhello"), B("SEND\ndestination:/queue/a\n\nhello\0"));
	check_stream("until:\\0", 100, B("SEND\n\nhi\0\n\nDISCONNECT\n\n\0"), 0, "SEND\n\nhi", "\n\nDISCONNECT\n\n",
		     NULL);
}

/* Beginnings of the delimiter that do not go on as it does, over every cut. */
static void test_near_misses(void **state)
{
	(void)state;
	check_stream("until:\\r\\n\\r\\n", 100, B("a\r\nb\r\r\n\r\nc\r\n\r\n\r\n"), TN_ETRUNC, "a\r\nb\r", "c", NULL);
	check_stream("until:aab", 100, B("aaabaaaabaab"), 0, "a", "aa", "", NULL);
	check_stream("until:aab,keep", 100, B("aaabaaaabaab"), 0, "aaab", "aaaab", "aab", NULL);
	check_stream("until:abab", 100, B("abaababababa"), TN_ETRUNC, "aba", "", NULL);
	check_stream("until:aaaaaaaaaaaaaaab", 100, B("aaaaaaaaaaaaaaaaaaaaaaaaaaab"), 0, "aaaaaaaaaaaa", NULL);
}

static void test_max_and_ends(void **state)
{
	(void)state;
	check_stream("until:<>", 5, B("12345<>12345<>"), 0, "12345", "12345", NULL);
	check_stream("until:<>", 5, B("1<>123456<>"), TN_ETOOBIG, "1", NULL);
	assert_says("message of 6 bytes is too large: at most 5");
	check_stream("until:<>", 5, B("1<>12345<"), TN_ETRUNC, "1", NULL);
	check_stream("until:<>", 5, B("1<>12345<1"), TN_ETOOBIG, "1", NULL);
	check_stream("until:<>,keep=on", 5, B("123<>123<>"), 0, "123<>", "123<>", NULL);
	check_stream("until:<>,keep=on", 5, B("1<>1234<>"), TN_ETOOBIG, "1<>", NULL);
	assert_says("message of 6 bytes is too large: at most 5");
	check_stream("until:<>,keep=on", 5, B("1234"), TN_ETRUNC, NULL);
	check_stream("until:<>,keep=on", 5, B("12345"), TN_ETOOBIG, NULL);
}

/* What is sent must be found again as the same: also where the message's last bytes begin the delimiter. */
static void test_put_refuses(void **state)
{
	(void)state;
	assert_int_equal(put_one("until:\\r\\n", B("a\r\nb")), TN_EFORMAT);
	assert_says("frame until:\\r\\n: the delimiter would be found at byte 1 of the message");
	assert_int_equal(put_one("until:\\r\\n", B("a\r\n")), TN_EFORMAT);
	assert_int_equal(put_one("until:\\r\\n", B("a\r")), 0);
	assert_int_equal(put_one("until:aba", B("xab")), TN_EFORMAT);
	assert_says("at byte 1");
	assert_int_equal(put_one("until:aba", B("xa")), 0);
	assert_int_equal(put_one("until:aab", B("xaa")), 0);
	assert_int_equal(put_one("until:\\r\\n,keep=on", B("a")), TN_EFORMAT);
	assert_says("the message does not end with the delimiter");
	assert_int_equal(put_one("until:\\r\\n,keep=on", B("")), TN_EFORMAT);
	assert_int_equal(put_one("until:\\r\\n,keep=on", B("a\r\nb\r\n")), TN_EFORMAT);
	assert_says("at byte 1");
	assert_int_equal(put_one("until:\\r\\n,keep=on", B("a\r\nb")), TN_EFORMAT);
	assert_int_equal(put_one("until:\\r\\n,keep=on", B("ab\r\n")), 0);
}

/* However the pieces of a message are cut, the delimiter in it is seen. */
static void test_put_looks_over_pieces(void **state)
{
	char msg[] = "one--two";
	struct iovec iov[TNI_PIECES_MAX];
	struct line line;
	struct tn_buf out;

	(void)state;
	line_open(&line, "until:--", MAX_ANY);
	tni_buf_init(&out, &line.mem, SIZE_MAX);
	for (size_t i = 0; i < TNI_PIECES_MAX; i++)
		iov[i] = (struct iovec){.iov_base = msg + i / 2, .iov_len = i % 2};
	assert_int_equal(line.frame.ops->put(&line.frame, &out, iov, TNI_PIECES_MAX), TN_EFORMAT);
	msg[3] = 'x';
	assert_int_equal(line.frame.ops->put(&line.frame, &out, iov, TNI_PIECES_MAX), 0);
	assert_int_equal(out.len, 10);
	assert_memory_equal(tni_buf_pullup(&out, 10), "onex-two--", 10);
	tni_buf_clear(&out);
	line_close(&line);
}

/* What was looked through once is not looked through again. */
static void test_a_long_message_in_small_pieces(void **state)
{
	static char text[MAX_ANY + 2];
	struct line line;

	(void)state;
	memset(text, '\r', MAX_ANY);
	memcpy(text + MAX_ANY, "\r\n", 2);
	line_open(&line, "until:\\r\\n", MAX_ANY);
	for (size_t at = 0; at < sizeof(text); at += 16) {
		line_feed(&line, text + at, sizeof(text) - at < 16 ? sizeof(text) - at : 16, true);
		if (at + 16 < sizeof(text))
			assert_int_equal(line.frame.scanned, at + 15);
	}
	assert_int_equal(line.got.nmsgs, 1);
	assert_int_equal(line.got.len, sizeof(size_t) + MAX_ANY);
	assert_int_equal(line.frame.scanned, 0);
	line_close(&line);
}

/* ---- what a URL says ---- */

static void test_words(void **state)
{
	static const struct bad_frame rows[] = {
		{"until", "until alone does not say enough: until:\\r\\n", -1},
		{"until:", "where is the delimiter?", 6},
		{"until:,keep", "(a comma is \\x2c)", 6},
		{"until:\\", "behind \\ stands r, n, t, 0, \\ or x and two hexadecimal digits", 6},
		{"until:ab\\q", "behind \\ stands", 8},
		{"until:\\x4", "behind \\ stands", 6},
		{"until:\\xg0", "behind \\ stands", 6},
		{"until:\\x", "behind \\ stands", 6},
		{"until:12345678901234567", "a delimiter has at most 16 bytes", 22},
		{"until:a,", "behind the delimiter stands keep=on, keep=off or nothing", 8},
		{"until:a,b", "behind the delimiter stands keep=on", 8},
		{"until:a,keep=on,keep=on", "behind the delimiter stands keep=on", 8},
		{"until:a,keep=yes", "keep is on or off", 13},
	};

	(void)state;
	check_refused(rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_names(void **state)
{
	static const struct named_frame rows[] = {
		{"until:\\x0d\\x0A", "until:\\r\\n", 0},
		{"until:\r\n,keep=0", "until:\\r\\n", 0},
		{"until:\\t\\0 \\\\\\x2c,keep=1", "until:\\x09\\x00\\x20\\x5c\\x2c,keep=on", 5},
		{"until:;:=", "until:;:=", 0},
		{"until:\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff,keep",
		 "until:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff,keep=on", 16},
	};

	(void)state;
	check_names(rows, sizeof(rows) / sizeof(rows[0]));
}

/* ---- any delimiter ---- */

/* Of few letters, so that a delimiter and its beginnings are everywhere; a plain search says what must come out. */
static void test_any_delimiter(void **state)
{
	uint64_t seed = 12;
	int carried = 0;

	(void)state;
	for (int turn = 0; turn < 3000; turn++) {
		char end[17] = "", name[40], msg[60], sent[80];
		size_t n = 1 + next_random(&seed) % (turn % 2 ? 3 : 16), len = next_random(&seed) % sizeof(msg);
		bool keep = next_random(&seed) % 2, fits;

		for (size_t i = 0; i < n; i++)
			end[i] = (char)('a' + next_random(&seed) % 2);
		for (size_t i = 0; i < len; i++)
			msg[i] = (char)('a' + next_random(&seed) % 2 + (next_random(&seed) % 8 == 0));
		if (keep && len >= n)
			memcpy(msg + len - n, end, n);
		/* cppcheck-suppress uninitvar; as much of it as is copied has been written */
		memcpy(sent, msg, len);
		if (!keep)
			memcpy(sent + len, end, n);
		fits = memmem(sent, keep ? len : len + n, end, n) == sent + len - (keep ? n : 0);
		snprintf(name, sizeof(name), "until:%s,keep=%d", end, keep);
		if (fits)
			check_known(name, msg, len, sent, keep ? len : len + n);
		else
			assert_int_equal(put_one(name, msg, len), TN_EFORMAT);
		carried += fits;
	}
	assert_true(carried > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_and_kept),
		cmocka_unit_test(test_stomp),
		cmocka_unit_test(test_near_misses),
		cmocka_unit_test(test_max_and_ends),
		cmocka_unit_test(test_put_refuses),
		cmocka_unit_test(test_put_looks_over_pieces),
		cmocka_unit_test(test_a_long_message_in_small_pieces),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_any_delimiter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
