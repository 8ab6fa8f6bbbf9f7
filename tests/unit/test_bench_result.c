/* The columns of a measurement: a run of hours keeps no more of them than a picture can show, and loses nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <errno.h>
#include "common/sizes.h"
#include "bench/result.h"

#define SECONDS 5000

static struct column *second(struct result *result, unsigned i, unsigned round)
{
	struct column *column = result_column_new(result);

	assert_non_null(column);
	column->at_s = i;
	column->seconds = 1;
	column->round = round;
	column->messages = i;
	column->bytes = 10;
	column->errors = i % 3;
	column->p50_us = column->p99_us = column->max_us = i;
	column->heat[i % HEAT_ROWS] = 1;
	return column;
}

static void test_hours(void **state)
{
	struct result result = {0};
	uint64_t messages = 0, bytes = 0, errors = 0, heat = 0, expected_errors = 0;
	double seconds = 0;

	(void)state;
	for (unsigned i = 0; i < SECONDS; i++) {
		(void)second(&result, i, 0);
		expected_errors += i % 3;
		assert_true(result.ncolumns <= 2 * COLUMNS_MAX);
	}
	for (unsigned i = 0; i < result.ncolumns; i++) {
		const struct column *column = &result.columns[i];

		assert_true(column->at_s == seconds); /* one begins where the last ended */
		seconds += column->seconds;
		messages += column->messages;
		bytes += column->bytes;
		errors += column->errors;
		assert_true(column->max_us == seconds - 1 && column->p99_us == seconds - 1); /* the worst of it */
		assert_true(column->p50_us >= column->at_s && column->p50_us < seconds);
		for (unsigned row = 0; row < HEAT_ROWS; row++)
			heat += column->heat[row];
	}
	assert_true(seconds == SECONDS);
	assert_int_equal(messages, (uint64_t)SECONDS * (SECONDS - 1) / 2);
	assert_int_equal(bytes, 10 * SECONDS);
	assert_int_equal(errors, expected_errors);
	assert_int_equal(heat, SECONDS);
	result_free(&result);
}

/* What belongs to different runs is not joined, however they lie. */
static void test_runs_stay_apart(void **state)
{
	struct result result = {0};
	uint64_t messages[3] = {0}, expected[3] = {0};

	(void)state;
	for (unsigned i = 0; i < SECONDS; i++) {
		unsigned round = i < 333 ? 0 : i < 1400 ? 1 : 2;

		(void)second(&result, i, round);
		expected[round] += i;
	}
	for (unsigned i = 0; i < result.ncolumns; i++) {
		assert_true(result.columns[i].round < 3 &&
			    (!i || result.columns[i].round >= result.columns[i - 1].round));
		messages[result.columns[i].round] += result.columns[i].messages;
	}
	assert_memory_equal(messages, expected, sizeof(expected));
	result_free(&result);
}

/* ---- errors, by what they say ---- */

/* What is said beyond the sixteenth kind counts as that one. */
static void test_kinds(void **state)
{
	struct kinds kinds = {0}, both = {0};
	char words[200], longest[sizeof(kinds.list[0].text)];

	(void)state;
	for (unsigned i = 0; i < KINDS_MAX + 4; i++) {
		snprintf(words, sizeof(words), "kind %u", i);
		kinds_add(&kinds, words, i + 1);
		kinds_add(&kinds, "kind 0", 1);
	}
	assert_int_equal(kinds.n, KINDS_MAX);
	assert_int_equal(kinds.total, 20 * 21 / 2 + 20);
	assert_string_equal(kinds.list[0].text, "kind 0");
	assert_int_equal(kinds.list[0].count, 21);
	for (unsigned i = 1; i < KINDS_MAX - 1; i++)
		assert_int_equal(kinds.list[i].count, i + 1);
	assert_string_equal(kinds.list[KINDS_MAX - 1].text, "kind 15");
	assert_int_equal(kinds.list[KINDS_MAX - 1].count, 16 + 17 + 18 + 19 + 20);
	kinds_add(&both, "kind 3", 100);
	kinds_merge(&both, &kinds);
	assert_int_equal(both.total, kinds.total + 100);
	assert_string_equal(both.list[0].text, "kind 3");
	assert_int_equal(both.list[0].count, 104);
	/* Too long a text is cut, and not within a character. */
	memset(words, 'x', sizeof(words));
	memcpy(words + sizeof(longest) - 2, "\xc3\xa4", 3);
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 2] = '\0';
	both = (struct kinds){0};
	kinds_add(&both, words, 1);
	assert_string_equal(both.list[0].text, longest);
}

/* ---- the heat map's rows and slices ---- */

static void test_rows(void **state)
{
	(void)state;
	assert_int_equal(heat_row(0), 0);
	assert_int_equal(heat_row(999), 0);
	assert_int_equal(heat_row(UINT64_MAX), HEAT_ROWS - 1);
	for (unsigned row = 1; row < HEAT_ROWS; row++) {
		uint64_t least_ns = (uint64_t)ceil(heat_row_us(row) * 1000);

		assert_int_equal(heat_row(least_ns), row);
		assert_int_equal(heat_row(least_ns - 1), row - 1);
	}
}

static uint64_t in_slice(const struct slices *slices, unsigned i)
{
	uint64_t n = 0;

	for (unsigned row = 0; row < HEAT_ROWS; row++)
		n += slices->heat[i][row];
	return n;
}

/* One message in each slice, two in the first; a run of more slices than there are makes them wider. */
static void fill(struct slices *slices, unsigned count)
{
	assert_int_equal(slices_new(slices), 0);
	slices_add(slices, 0, 1000, 1);
	for (unsigned i = 0; i < count; i++)
		slices_add(slices, i * SLICE_NS + 1, 1000 * (1 + i % 2), 1);
}

static void test_slices_of_a_long_run(void **state)
{
	struct slices slices;

	(void)state;
	fill(&slices, SLICES_MAX);
	assert_int_equal(slices.width_ns, SLICE_NS);
	assert_int_equal(slices.count, SLICES_MAX);
	assert_int_equal(in_slice(&slices, 0), 2);
	slices_add(&slices, (uint64_t)SLICES_MAX * SLICE_NS, 1000, 1);
	assert_int_equal(slices.width_ns, 2 * SLICE_NS);
	assert_int_equal(slices.count, SLICES_MAX / 2 + 1);
	assert_int_equal(in_slice(&slices, 0), 3);
	for (unsigned i = 1; i < SLICES_MAX / 2; i++) {
		assert_int_equal(slices.heat[i][heat_row(1000)], 1);
		assert_int_equal(slices.heat[i][heat_row(2000)], 1);
		assert_int_equal(in_slice(&slices, i), 2);
	}
	assert_int_equal(in_slice(&slices, SLICES_MAX / 2), 1);
	/* Back to an earlier time */
	slices_add(&slices, 5 * SLICE_NS, 1000, 1);
	assert_int_equal(in_slice(&slices, 2), 3);
	slices_free(&slices);
}

/* Those of two threads: the finer are made as coarse, whichever they are. */
static void test_slices_merged(void **state)
{
	(void)state;
	for (int way = 0; way < 2; way++) {
		struct slices coarse = {0}, fine = {0};
		struct slices *to = way ? &fine : &coarse, *from = way ? &coarse : &fine;

		fill(&coarse, SLICES_MAX + 2);
		fill(&fine, 5);
		slices_merge(to, from);
		assert_int_equal(to->width_ns, 2 * SLICE_NS);
		assert_int_equal(to->count, SLICES_MAX / 2 + 1);
		assert_int_equal(in_slice(to, 0), 6);
		assert_int_equal(in_slice(to, 1), 4);
		assert_int_equal(in_slice(to, 2), 3);
		for (unsigned i = 3; i < to->count; i++)
			assert_int_equal(in_slice(to, i), 2);
		slices_free(&coarse);
		slices_free(&fine);
	}
}

/* Sizes as they are written, what is drawn of them, and what is no size. */
static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t min, max;
		const char *again;
	} rows[] = {
		{"64", 64, 64, "64"},
		{"1KiB-2KiB", 1024, 2048, "1024-2048"},
		{"100,50,200@3", 50, 200, "100@1,50@1,200@3"},
		{"200,100", 100, 200, "200@1,100@1"},
		{"7@5", 7, 7, "7"},
		{"exp:100", 12, 800, "exp:100"},
		{"1GiB", 1 << 30, 1 << 30, "1073741824"},
	};
	static const char *const none[] = {"",
					   "0",
					   "x",
					   "1073741825",
					   "2-1",
					   "1-",
					   "-1",
					   "1,",
					   ",1",
					   "1@0",
					   "1@x",
					   "1@",
					   "1@1000001",
					   "1@1x",
					   "1-2,3",
					   "exp:",
					   "exp:0",
					   "exp:134217729",
					   "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"};
	struct sizes sizes;
	char text[128];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(sizes_read(rows[i].text, rows[i].min == 7 ? 7 : 12, &sizes), 0);
		assert_int_equal(sizes.min, rows[i].min);
		assert_int_equal(sizes.max, rows[i].max);
		assert_string_equal(sizes_text(&sizes, text, sizeof(text)), rows[i].again);
		for (uint64_t n = 0; n < 1000; n++)
			assert_in_range(sizes_draw(&sizes, n * 0x9e3779b97f4a7c15), rows[i].min, rows[i].max);
	}
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		if (sizes_read(none[i], 1, &sizes) != -EINVAL)
			fail_msg("'%s' is taken", none[i]);
	assert_int_equal(sizes_read("11", 12, &sizes), -ERANGE);
	assert_int_equal(sizes_read("20,11", 12, &sizes), -ERANGE);
	assert_int_equal(sizes_read("exp:11", 12, &sizes), -ERANGE);
	assert_int_equal(sizes_read("100,50,200@3", 1, &sizes), 0);
	for (uint64_t n = 0; n < 10; n++)
		assert_int_equal(sizes_draw(&sizes, n), n % 5 == 0 ? 100 : n % 5 == 1 ? 50 : 200);
	assert_int_equal(sizes_read("10-12", 1, &sizes), 0);
	for (uint64_t n = 0; n < 10; n++)
		assert_int_equal(sizes_draw(&sizes, n), 10 + n % 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_hours),
		cmocka_unit_test(test_runs_stay_apart),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_slices_of_a_long_run),
		cmocka_unit_test(test_slices_merged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
