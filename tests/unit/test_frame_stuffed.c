/* COBS and SLIP: the vectors of their texts, and streams that break their rules. */
#include "test_frame.h"

/* Bytes that count upwards from `first`: the examples with long runs are made of them. */
static void count_up(unsigned char *out, size_t len, unsigned first)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (unsigned char)(first + i);
}

/* Cheshire and Baker's rules on short messages: the code counts the bytes to the next zero. */
static void test_cobs_known(void **state)
{
	(void)state;
	check_known("cobs", B(""), B("\1\0"));
	check_known("cobs", B("\0"), B("\1\1\0"));
	check_known("cobs", B("\0\0"), B("\1\1\1\0"));
	check_known("cobs", B("\0\x11\0"), B("\1\2\x11\1\0"));
	check_known("cobs", B("\x11\x22\0\x33"), B("\3\x11\x22\2\x33\0"));
	check_known("cobs", B("\x11\x22\x33\x44"), B("\5\x11\x22\x33\x44\0"));
	check_known("cobs", B("\x11\0\0\0"), B("\2\x11\1\1\1\0"));
	/* The paper's figure: the start of an IP packet */
	check_known("cobs", B("\x45\0\0\x2c\x4c\x79\0\0\x40\6\x4f\x37"),
		    B("\2\x45\1\4\x2c\x4c\x79\1\5\x40\6\x4f\x37\0"));
}

/* A run of 254 bytes has no zero behind it, and what follows starts anew. */
static void test_cobs_long_runs(void **state)
{
	unsigned char msg[300], framed[300];

	(void)state;
	/* 01 .. FE */
	count_up(msg, 254, 1);
	framed[0] = 0xff;
	memcpy(framed + 1, msg, 254);
	framed[255] = 0;
	check_known("cobs", msg, 254, framed, 256);
	/* 00 01 .. FE */
	msg[0] = 0;
	count_up(msg + 1, 254, 1);
	framed[0] = 1;
	framed[1] = 0xff;
	memcpy(framed + 2, msg + 1, 254);
	framed[256] = 0;
	check_known("cobs", msg, 255, framed, 257);
	/* 01 .. FF */
	count_up(msg, 255, 1);
	framed[0] = 0xff;
	memcpy(framed + 1, msg, 254);
	memcpy(framed + 255, "\2\xff\0", 3);
	check_known("cobs", msg, 255, framed, 258);
	/* 02 .. FF 00 */
	count_up(msg, 255, 2);
	framed[0] = 0xff;
	memcpy(framed + 1, msg, 254);
	memcpy(framed + 255, "\1\1\0", 3);
	check_known("cobs", msg, 255, framed, 258);
	/* 03 .. FF 00 01 */
	count_up(msg, 255, 3);
	framed[0] = 0xfe;
	memcpy(framed + 1, msg, 253);
	memcpy(framed + 254, "\2\1\0", 3);
	check_known("cobs", msg, 255, framed, 257);
}

/* Encoders that put a code behind a last run of 254 are right as well. */
static void test_cobs_read_only_forms(void **state)
{
	unsigned char framed[257];
	char text[255];
	size_t len;

	(void)state;
	memset(text, 'x', 254);
	text[254] = '\0';
	framed[0] = 0xff;
	memcpy(framed + 1, text, 254);
	framed[255] = 1;
	framed[256] = 0;
	len = sizeof(framed);
	check_stream("cobs", 254, framed, len, 0, text, NULL);
}

static void test_cobs_bad(void **state)
{
	(void)state;
	check_stream("cobs", 100, B("\2a\0\3a\0\2a\0"), TN_EFORMAT, "a", NULL);
	assert_says("frame cobs: a run goes beyond");
	check_stream("cobs", 100,
		     B("\2a\0\xff"
		       "abc\0"),
		     TN_EFORMAT, "a", NULL);
	check_stream("cobs", 100, B("\2a\0\2\0"), TN_EFORMAT, "a", NULL);
	check_stream("cobs", 100, B("\2a\0\0"), TN_EFORMAT, "a", NULL);
	assert_says("frame cobs: a zero byte with nothing in front");
	check_stream("cobs", 100, B("\2a\0\2b"), TN_ETRUNC, "a", NULL);
	check_stream("cobs", 100, B("\1"), TN_ETRUNC, NULL);
}

/* RFC 1055: END is C0, ESC is DB; DB DC stands for C0, DB DD for DB. A frame begins with an END as well. */
static void test_slip_known(void **state)
{
	(void)state;
	check_known("slip", B("hello"), B("\xc0hello\xc0"));
	check_known("slip", B("\xc0"), B("\xc0\xdb\xdc\xc0"));
	check_known("slip", B("\xdb"), B("\xc0\xdb\xdd\xc0"));
	check_known("slip", B("\xdb\xdc\xdd\xc0"), B("\xc0\xdb\xdd\xdc\xdd\xdb\xdc\xc0"));
	check_known("slip", B("a\0b"),
		    B("\xc0"
		      "a\0b\xc0"));
	/* without the END in front, and with several */
	check_stream("slip", 100,
		     B("ab\xc0\xc0\xc0"
		       "cd\xc0"
		       "ef\xc0\xc0"),
		     0, "ab", "cd", "ef", NULL);
	check_stream("slip", 100, B("\xc0\xc0\xc0"), 0, NULL);
	assert_int_equal(put_one("slip", B("")), TN_EFORMAT);
	assert_says("frame slip: an empty message");
}

static void test_slip_bad(void **state)
{
	(void)state;
	check_stream("slip", 100,
		     B("a\xc0"
		       "b\xdb"
		       "c\xc0"
		       "d\xc0"),
		     TN_EFORMAT, "a", NULL);
	assert_says("frame slip: an escape byte");
	check_stream("slip", 100,
		     B("a\xc0"
		       "b\xdb\xc0"),
		     TN_EFORMAT, "a", NULL);
	check_stream("slip", 100, B("\xdb\xdb\xdc\xc0"), TN_EFORMAT, NULL);
	check_stream("slip", 100,
		     B("a\xc0"
		       "b"),
		     TN_ETRUNC, "a", NULL);
	check_stream("slip", 100,
		     B("a\xc0"
		       "b\xdb"),
		     TN_ETRUNC, "a", NULL);
	check_stream("slip", 100,
		     B("a\xc0\xc0"
		       "b\xdb\xdc"),
		     TN_ETRUNC, "a", NULL);
}

/* The bound is on the message, not on its stuffed form: the worst of both forms of a longest one passes. */
static void test_max(void **state)
{
	char most[4 * 255], msg[255] = "";

	(void)state;
	memset(msg, 'x', 254);
	memset(most, 'x', sizeof(most));
	most[0] = '\xff';
	memcpy(most + 255, "\1\0", 2);
	check_stream("cobs", 254, most, 257, 0, msg, NULL);
	memcpy(most + 255, "\2x\0", 3);
	check_stream("cobs", 254, most, 258, TN_ETOOBIG, NULL);
	check_stream("cobs", 3, B("\4abc\0\5abcd\0"), TN_ETOOBIG, "abc", NULL);
	check_stream("cobs", 3, B("\4abc\0\5abcde"), TN_ETOOBIG, "abc", NULL);
	check_stream("slip", 3,
		     B("abc\xc0"
		       "abcd\xc0"),
		     TN_ETOOBIG, "abc", NULL);
	assert_says("message of 4 bytes is too large: at most 3");
	check_stream("slip", 3, B("\xdb\xdc\xdb\xdc\xdb\xdd\xc0\xdb\xdc\xdb\xdc\xdb\xdc\xdb\xdc\xc0"), TN_ETOOBIG,
		     "\xc0\xc0\xdb", NULL);
	check_stream("slip", 3, B("abcdefg"), TN_ETOOBIG, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cobs_known),
		cmocka_unit_test(test_cobs_long_runs),
		cmocka_unit_test(test_cobs_read_only_forms),
		cmocka_unit_test(test_cobs_bad),
		cmocka_unit_test(test_slip_known),
		cmocka_unit_test(test_slip_bad),
		cmocka_unit_test(test_max),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
