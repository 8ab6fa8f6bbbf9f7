/* Sizes and durations, read and written, and the nearest word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/units.h"
#include "tenon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define US UINT64_C(1000)
#define MS (1000 * US)
#define S (1000 * MS)
#define M (60 * S)
#define H (60 * M)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct reading {
	const char *text;
	int rc;
	uint64_t value;
};

typedef int parse_fn(const char *text, uint64_t *value);

/* A failed call leaves the value alone. */
static void check_readings(parse_fn *parse, const struct reading *r, size_t n)
{
	for (; n; n--, r++) {
		uint64_t value = 0xabcdef, want = r->rc ? 0xabcdef : r->value;
		int rc = parse(r->text, &value);

		if (rc != r->rc || value != want)
			fail_msg("'%s': %d, %" PRIu64 "; not %d, %" PRIu64, r->text, rc, value, r->rc, want);
	}
}

static void test_sizes(void **state)
{
	static const struct reading readings[] = {
		{"0", 0, 0},
		{"1", 0, 1},
		{"007", 0, 7},
		{"4096", 0, 4096},
		{"4096B", 0, 4096},
		{"64KiB", 0, 64 * KIB},
		{"1MiB", 0, MIB},
		{"2GiB", 0, 2 * GIB},
		{"5TiB", 0, 5 * 1024 * GIB},
		{"6PiB", 0, 6 * 1024 * 1024 * GIB},
		{"7T", 0, 7 * 1024 * GIB},
		{"8P", 0, 8 * 1024 * 1024 * GIB},
		{"64k", 0, 64 * KIB},
		{"64K", 0, 64 * KIB},
		{"3M", 0, 3 * MIB},
		{"3G", 0, 3 * GIB},
		{"0GiB", 0, 0},
		/* Fractions are cut off at a whole byte. */
		{"1.5KiB", 0, 1536},
		{".5KiB", 0, 512},
		{"1.KiB", 0, 1024},
		{"0.001k", 0, 1},
		{"0.0001k", 0, 0},
		{"1.9", 0, 1},
		{"0.000000001GiB", 0, 1},
		{"1.00000000000000000000000000000KiB", 0, 1024},
		{"0.99999999999999999999999999999", 0, 0},
		/* As large as can be. */
		{"18446744073709551615", 0, UINT64_MAX},
		{"17179869183GiB", 0, 17179869183 * GIB},
		{"17179869183.999999999GiB", 0, 17179869183 * GIB + 1073741822},
		{"000000000000000000000000000000000000001", 0, 1},
		{"18446744073709551616", -ERANGE, 0},
		{"184467440737095516150", -ERANGE, 0},
		{"17179869184GiB", -ERANGE, 0},
		{"18014398509481984KiB", -ERANGE, 0},
		{"99999999999999999999999999999999999999999", -ERANGE, 0},
	};

	(void)state;
	check_readings(tn_parse_size, readings, COUNT(readings));
}

static void test_sizes_that_are_none(void **state)
{
	static const char *const junk[] = {
		"",      " ",     "x",    "KiB",      ".",    ".KiB", "-1",        "+1",    " 1",
		"1 ",    "1 KiB", "1kb",  "1KB",      "1kib", "1KIB", "1Ki",       "1KiBs", "1b",
		"1g",    "1E",    "1EiB", "1e3",      "0x10", "1,5",  "1..5",      "1.2.3", "1.5.KiB",
		"1KiB2", "1s",    "1\n",  "\xd9\xa1", "inf",  "nan",  "64KiB\x01",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(junk); i++)
		check_readings(tn_parse_size, &(struct reading){junk[i], -EINVAL, 0}, 1);
}

static void test_durations(void **state)
{
	static const struct reading readings[] = {
		{"0", 0, 0},
		{"1", 0, S}, /* without a unit, seconds */
		{"30", 0, 30 * S},
		{"1ns", 0, 1},
		{"250us", 0, 250 * US},
		{"20ms", 0, 20 * MS},
		{"1s", 0, S},
		{"2m", 0, 2 * M},
		{"1h", 0, H},
		{"1.5s", 0, 1500 * MS},
		{".5", 0, 500 * MS},
		{"1.", 0, S},
		{"0.25ms", 0, 250 * US},
		{"1.5m", 0, 90 * S},
		{"1.5h", 0, 90 * M},
		{"0.000000001s", 0, 1},
		{"0.0000000009s", 0, 0}, /* cut off, not rounded */
		{"1.9ns", 0, 1},
		{"1.234567890123s", 0, 1234567890},
		{"18446744073709551615ns", 0, UINT64_MAX},
		{"18446744073.709551615s", 0, UINT64_MAX},
		{"5124095h", 0, 5124095 * H},
		{"18446744073709551616ns", -ERANGE, 0},
		{"18446744073.709551616s", -ERANGE, 0},
		{"18446744074", -ERANGE, 0},
		{"5124096h", -ERANGE, 0},
		{"18446744073709551615h", -ERANGE, 0},
	};

	(void)state;
	check_readings(tn_parse_duration, readings, COUNT(readings));
}

/* The ninth digit is the last that matters of seconds, but not of what is longer. */
static void test_fine_fractions(void **state)
{
	static const struct reading durations[] = {
		{"0.0000000001h", 0, 360},
		{"0.0000000001m", 0, 6},
		{"0.000000000001h", 0, 3},
		{"1.0000000001h", 0, H + 360},
		{"1.00000000010000000000000000000000000000h", 0, H + 360},
	};
	static const struct reading sizes[] = {
		{"18446744073709551615.0", 0, UINT64_MAX},
		{"18446744073709551615.9", 0, UINT64_MAX},
		{"18014398509481983.000KiB", 0, 18014398509481983 * KIB},
	};

	(void)state;
	check_readings(tn_parse_duration, durations, COUNT(durations));
	check_readings(tn_parse_size, sizes, COUNT(sizes));
}

static void test_durations_that_are_none(void **state)
{
	static const char *const junk[] = {
		"",     " ",     "s",   ".",    ".s",         "-1s",  "+1s",  " 1s", "1s ",
		"1 s",  "1S",    "1MS", "1M",   "1H",         "1sec", "1min", "1d",  "1.2.3s",
		"1e3s", "1m30s", "1h1", "0x1s", "1\xc2\xb5s", "1KiB", "soon",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(junk); i++)
		check_readings(tn_parse_duration, &(struct reading){junk[i], -EINVAL, 0}, 1);
}

/* ---- writing ---- */

struct writing {
	uint64_t value;
	const char *text;
};

typedef const char *format_fn(uint64_t value, char *out, size_t cap);

static void check_writings(format_fn *format, const struct writing *w, size_t n)
{
	char out[64];

	for (; n; n--, w++) {
		memset(out, 'x', sizeof(out));
		assert_ptr_equal(format(w->value, out, sizeof(out)), out);
		assert_string_equal(out, w->text);
	}
}

static void test_format_duration(void **state)
{
	static const struct writing writings[] = {
		{0, "0"},
		{1, "1ns"},
		{999, "999ns"},
		{US, "1us"},
		{1001, "1.001us"},
		{1010, "1.01us"},
		{1100, "1.1us"},
		{1500, "1.5us"},
		{999999, "999.999us"},
		{MS, "1ms"},
		{20 * MS, "20ms"},
		{1050 * US, "1.05ms"},
		{S - 1, "999.999ms"}, /* cut off, not rounded: never more than it is */
		{S, "1s"},
		{1500 * MS, "1.5s"},
		{1005 * MS, "1.005s"},
		{S + 1, "1s"},
		{59 * S, "59s"},
		{M, "1m"},
		{61 * S, "61s"},
		{M + 500 * MS, "60.5s"},
		{90 * M, "90m"},
		{H, "1h"},
		{H + S, "3601s"},
		{1000 * H, "1000h"},
		{UINT64_MAX, "18446744073.709s"},
	};

	(void)state;
	check_writings(tni_format_duration, writings, COUNT(writings));
}

static void test_format_size(void **state)
{
	static const struct writing writings[] = {
		{0, "0"},
		{1, "1"},
		{1000, "1000"},
		{KIB - 1, "1023"},
		{KIB, "1KiB"},
		{KIB + 1, "1025"},
		{64 * KIB, "64KiB"},
		{1536 * KIB, "1536KiB"},
		{MIB, "1MiB"},
		{1025 * MIB, "1025MiB"},
		{GIB, "1GiB"},
		{1024 * GIB, "1TiB"},
		{1023 * 1024 * GIB, "1023TiB"},
		{1024 * 1024 * GIB, "1PiB"},
		{UINT64_MAX, "18446744073709551615"},
		{UINT64_MAX << 30, "17179869183GiB"},
	};

	(void)state;
	check_writings(tni_format_size, writings, COUNT(writings));
}

/* Short of room they are cut off like snprintf(3), and nothing is written behind it. */
static void test_format_into_little(void **state)
{
	char out[8];

	(void)state;
	for (size_t cap = 1; cap <= 4; cap++) {
		memset(out, 'x', sizeof(out));
		tni_format_duration(1005 * MS, out, cap);
		assert_memory_equal(out, "1.005s", cap - 1);
		assert_int_equal(out[cap - 1], '\0');
		assert_int_equal(out[cap], 'x');
		memset(out, 'x', sizeof(out));
		tni_format_size(64 * KIB, out, cap);
		assert_memory_equal(out, "64KiB", cap - 1);
		assert_int_equal(out[cap - 1], '\0');
		assert_int_equal(out[cap], 'x');
	}
}

static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* Numbers of every magnitude, many of them round. */
static uint64_t random_value(uint64_t *seed, uint64_t round)
{
	uint64_t value = next_random(seed) >> (next_random(seed) % 64);

	return next_random(seed) % 2 && value > round ? value - value % round : value;
}

static void test_sizes_there_and_back(void **state)
{
	uint64_t seed = 1, back;
	char out[64];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		uint64_t value = random_value(&seed, i % 3 ? KIB : MIB);

		assert_int_equal(tn_parse_size(tni_format_size(value, out, sizeof(out)), &back), 0);
		assert_true(back == value);
	}
}

/* What is written has at least three significant digits, and is exact where three digits after the point can be. */
static void test_durations_there_and_back(void **state)
{
	uint64_t seed = 2, back, again;
	char out[64], second[64];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		uint64_t value = random_value(&seed, i % 3 ? MS : 100 * US);

		assert_int_equal(tn_parse_duration(tni_format_duration(value, out, sizeof(out)), &back), 0);
		assert_true(back <= value && value - back <= value / 1000);
		if (value < MS || value % MS == 0)
			assert_true(back == value);
		/* Written once more it says the same. */
		assert_string_equal(tni_format_duration(back, second, sizeof(second)), out);
		assert_int_equal(tn_parse_duration(second, &again), 0);
		assert_true(again == back);
	}
}

/* ---- the nearest word ---- */

static const char *const words[] = {
	"nodelay",
	"keepalive",
	"keepidle",
	"keepintvl",
	"tcp",
	"udp",
	"unix",
	"rcvbuf",
	"sndbuf",
	"ttl",
	"v6only",
	"",
	"a_word_that_is_longer_than_thirty_two_letters",
};

static void assert_nearest(const char *word, const char *want)
{
	const char *got = tn_nearest(word, words, COUNT(words));

	if (want == got || (want && got && !strcmp(want, got)))
		return;
	fail_msg("'%s': %s, not %s", word, got ? got : "NULL", want ? want : "NULL");
}

static void test_nearest(void **state)
{
	(void)state;
	assert_nearest("nodelay", "nodelay");
	assert_nearest("nodlay", "nodelay");   /* one missing */
	assert_nearest("nodellay", "nodelay"); /* one too many */
	assert_nearest("modelay", "nodelay");  /* another */
	assert_nearest("ondelay", "nodelay");  /* two swapped */
	assert_nearest("nodelya", "nodelay");
	assert_nearest("no_dealy", "nodelay"); /* two mistakes */
	assert_nearest("keepalve", "keepalive");
	assert_nearest("kepalvie", "keepalive");
	assert_nearest("keepidel", "keepidle");
	assert_nearest("keepinterval", "keepintvl"); /* three in a long word */
	assert_nearest("tpc", "tcp");
	assert_nearest("tc", "tcp");
	assert_nearest("upd", "udp");
	assert_nearest("v6onyl", "v6only");
	assert_nearest("rcvbuff", "rcvbuf");
}

static void test_none_is_near(void **state)
{
	(void)state;
	assert_nearest("", NULL);
	assert_nearest("x", NULL);
	assert_nearest("xyz", NULL);
	assert_nearest("completely", NULL);
	assert_nearest("certificate", NULL);
	assert_nearest("delay", "nodelay"); /* two missing of a short word are as far as it goes */
	assert_nearest("lay", NULL);
	assert_nearest("keepx", NULL);
	/* A word of which nothing is left is no likely one. */
	assert_nearest("tt", "ttl");
	assert_nearest("q", NULL);
	assert_null(tn_nearest("tcp", words, 0));
}

static void test_nearest_takes_the_nearer_and_the_first(void **state)
{
	static const char *const alike[] = {"cart", "cast", "case", "care", "core"};

	(void)state;
	assert_string_equal(tn_nearest("care", alike, 5), "care");
	assert_string_equal(tn_nearest("cace", alike, 5), "case"); /* case and care are as near: the first */
	assert_string_equal(tn_nearest("corf", alike, 5), "core");
	assert_string_equal(tn_nearest("casse", alike, 5), "case");
	assert_ptr_equal(tn_nearest("cast", alike, 5), alike[1]);
	assert_ptr_equal(tn_nearest("acst", alike, 5), alike[1]);
	assert_string_equal(tn_nearest("care", (const char *const[]){"acre", "care"}, 2), "care");
}

static void test_nearest_of_long_words(void **state)
{
	static const char *const just[] = {"abcdefghijklmnopqrstuvwxyz012345"};

	(void)state;
	/* 32 letters are looked at, more are not. */
	assert_ptr_equal(tn_nearest("abcdefghijklmnopqrstuvwxyz012345", just, 1), just[0]);
	assert_ptr_equal(tn_nearest("bacdefghijklmnopqrstuvwxyz01235", just, 1), just[0]);
	assert_null(tn_nearest("abcdefghijklmnopqrstuvwxyz0123456", just, 1));
	assert_nearest("a_word_that_is_longer_than_thirty_two_letters", NULL);
	assert_nearest("a_word_that_is_longer_than_thirt", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_sizes_that_are_none),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_fine_fractions),
		cmocka_unit_test(test_durations_that_are_none),
		cmocka_unit_test(test_format_duration),
		cmocka_unit_test(test_format_size),
		cmocka_unit_test(test_format_into_little),
		cmocka_unit_test(test_sizes_there_and_back),
		cmocka_unit_test(test_durations_there_and_back),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_none_is_near),
		cmocka_unit_test(test_nearest_takes_the_nearer_and_the_first),
		cmocka_unit_test(test_nearest_of_long_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
