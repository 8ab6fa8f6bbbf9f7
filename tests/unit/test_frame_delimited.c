/* Messages that end with a byte: lines of both kinds, and zero-terminated records. */
#include "test_frame.h"

static void test_lines(void **state)
{
	(void)state;
	check_known("line", B("hello"), B("hello\n"));
	check_known("line", B(""), B("\n"));
	check_known("line", B("nul \0 and high \xff bytes"), B("nul \0 and high \xff bytes\n"));
	check_known("crlf", B("hello"), B("hello\r\n"));
	check_known("crlf", B(""), B("\r\n"));
	check_known("nul", B("hello\r\n"), B("hello\r\n\0"));
	check_known("nul", B(""), B("\0"));
}

static void test_both_line_ends_are_read(void **state)
{
	(void)state;
	check_stream("line", 100, B("a\nb\r\n\n\r\nc\rd\n"), 0, "a", "b", "", "", "c\rd", NULL);
	check_stream("crlf", 100, B("a\nb\r\n\n\r\nc\rd\r\n"), 0, "a", "b", "", "", "c\rd", NULL);
	check_stream("line", 100, B("two\r\r\n"), 0, "two\r", NULL);
}

/* A reader takes one CR off, so there must be one to take off. */
static void test_a_cr_at_the_end_of_a_message_survives(void **state)
{
	(void)state;
	check_known("line", B("two\r"), B("two\r\r\n"));
	check_known("line", B("\r"), B("\r\r\n"));
	check_known("line", B("two\r\r"), B("two\r\r\r\n"));
	check_known("crlf", B("two\r"), B("two\r\r\n"));
}

/* The end of the last message may be missing: that is how editors leave files. */
static void test_the_last_may_lack_its_end(void **state)
{
	(void)state;
	check_stream("line", 100, B("a\nb"), 0, "a", "b", NULL);
	check_stream("line", 100, B("a\n"), 0, "a", NULL);
	check_stream("line", 100, B(""), 0, NULL);
	check_stream("crlf", 100, B("a\r\nb"), 0, "a", "b", NULL);
	check_stream("nul", 4, B("a\0b"), 0, "a", "b", NULL);
	check_stream("line", 100, B("a\r"), 0, "a\r", NULL);
}

static void test_max(void **state)
{
	(void)state;
	check_stream("line", 5, B("12345\n12345\r\n12345"), 0, "12345", "12345", "12345", NULL);
	check_stream("line", 5, B("1\n123456\n2\n"), TN_ETOOBIG, "1", NULL);
	assert_says("message of 6 bytes is too large: at most 5");
	check_stream("line", 5, B("123456\r\n"), TN_ETOOBIG, NULL);
	check_stream("line", 5, B("123456"), TN_ETOOBIG, NULL);
	check_stream("line", 5, B("12345\r"), TN_ETOOBIG, NULL);
	check_stream("line", 5, B("1234567890"), TN_ETOOBIG, NULL);
	check_stream("crlf", 5, B("12345\r\n12345\n123456\n"), TN_ETOOBIG, "12345", "12345", NULL);
	check_stream("nul", 5,
		     B("12345\0"
		       "123456\0"),
		     TN_ETOOBIG, "12345", NULL);
	check_stream("nul", 5,
		     B("12345\0"
		       "123456"),
		     TN_ETOOBIG, "12345", NULL);
}

/* Where a format holds nothing in white space, a blank line is no message, however it is cut. */
static void test_blank_lines_are_passed_over(void **state)
{
	static const char text[] = "\n \t\r\none\n\r\n\n two \n   \nthree\n\t ";
	static const char *const lines[] = {"one", " two ", "three"};

	(void)state;
	for (size_t piece = 1; piece <= sizeof(text) - 1; piece++) {
		struct record wanted = {0};
		struct line line;

		for (size_t i = 0; i < 3; i++)
			record_msg(&wanted, lines[i], strlen(lines[i]));
		line_open(&line, "line", 100);
		line.frame.skips_blank = true;
		feed_by(&line, text, sizeof(text) - 1, piece, piece % 2);
		compare("line", &line, &wanted, "in pieces of", piece);
		line_close(&line);
		record_free(&wanted);
	}
	check_stream("line", 100, B("\n \na\n"), 0, "", " ", "a", NULL);
}

static void test_put_refuses_the_end_inside(void **state)
{
	(void)state;
	assert_int_equal(put_one("line", B("a\nb")), TN_EFORMAT);
	assert_says("frame line");
	assert_int_equal(put_one("line", B("\n")), TN_EFORMAT);
	assert_int_equal(put_one("crlf", B("a\r\n")), TN_EFORMAT);
	assert_int_equal(put_one("nul", B("a\0b")), TN_EFORMAT);
	assert_says("frame nul");
	assert_int_equal(put_one("nul", B("a\nb")), 0);
	assert_int_equal(put_one("line", B("a\rb")), 0);
}

/* What was looked through once is not looked through again: 1 MiB in pieces of 16 bytes must not take a minute. */
static void test_a_long_line_in_small_pieces(void **state)
{
	static char text[MAX_ANY + 1];
	struct line line;

	(void)state;
	memset(text, 'x', MAX_ANY);
	text[MAX_ANY] = '\n';
	line_open(&line, "line", MAX_ANY);
	for (size_t at = 0; at < sizeof(text); at += 16) {
		line_feed(&line, text + at, sizeof(text) - at < 16 ? sizeof(text) - at : 16, true);
		if (at + 16 < sizeof(text))
			assert_int_equal(line.frame.scanned, at + 16);
	}
	assert_int_equal(line.got.nmsgs, 1);
	assert_int_equal(line.got.len, sizeof(size_t) + MAX_ANY);
	assert_int_equal(line.frame.scanned, 0);
	line_close(&line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_both_line_ends_are_read),
		cmocka_unit_test(test_a_cr_at_the_end_of_a_message_survives),
		cmocka_unit_test(test_the_last_may_lack_its_end),
		cmocka_unit_test(test_max),
		cmocka_unit_test(test_blank_lines_are_passed_over),
		cmocka_unit_test(test_put_refuses_the_end_inside),
		cmocka_unit_test(test_a_long_line_in_small_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
