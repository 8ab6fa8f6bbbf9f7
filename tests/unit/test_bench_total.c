/* The columns of a measurement: a run of hours keeps no more of them than a picture can show, and loses nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "../../cmd/bench.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hours),
		cmocka_unit_test(test_runs_stay_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
