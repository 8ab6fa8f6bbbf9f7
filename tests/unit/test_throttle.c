/* --rate and --interval of send and connect: how much at a time, and how long until the next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/clock.h"
#include "talk/throttle.h"

#define MS (NS_PER_S / 1000)
#define START (5 * NS_PER_S)

static void test_pieces(void **state)
{
	static const struct {
		uint64_t rate;
		size_t piece;
	} rows[] = {{0, 65536}, {1, 1},           {19, 1},          {20, 1},          {39, 1},
		    {40, 2},    {1310719, 65535}, {1310720, 65536}, {1310740, 65536}, {UINT64_C(1) << 40, 65536}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(throttle_piece(&(struct throttle){.rate = rows[i].rate}), rows[i].piece);
	assert_false(throttle_wanted(&(struct throttle){0}));
	assert_true(throttle_wanted(&(struct throttle){.rate = 1}));
	assert_true(throttle_wanted(&(struct throttle){.interval_ns = 1}));
}

/* Each piece is paid for in time. A timer that is late by less than a twentieth of a second costs nothing, since what
 * comes behind is early; what is more is not made up for in one go. */
static void test_rate(void **state)
{
	struct throttle t = {.rate = 1000};
	uint64_t now = START, sent = 0;

	(void)state;
	assert_int_equal(throttle_wait_ns(&t, true, now), 0);
	throttle_passed(&t, 100, now);
	assert_int_equal(throttle_wait_ns(&t, false, now), 100 * MS);
	assert_int_equal(throttle_wait_ns(&t, true, now), 100 * MS);
	assert_int_equal(throttle_wait_ns(&t, false, now + 99 * MS), MS);
	now += 100 * MS;
	assert_int_equal(throttle_wait_ns(&t, false, now), 0);
	now += 30 * MS;
	assert_int_equal(throttle_wait_ns(&t, false, now), 0);
	throttle_passed(&t, 100, now);
	assert_int_equal(throttle_wait_ns(&t, false, now), 70 * MS);
	now += 70 * MS + 50 * MS;
	throttle_passed(&t, 100, now);
	assert_int_equal(throttle_wait_ns(&t, false, now), 50 * MS);
	now += NS_PER_S;
	throttle_passed(&t, 100, now);
	assert_int_equal(throttle_wait_ns(&t, false, now), 50 * MS);
	t = (struct throttle){.rate = 1000};
	for (now = START; now < START + 10 * NS_PER_S; now += throttle_wait_ns(&t, false, now) + 7 * MS) {
		throttle_passed(&t, throttle_piece(&t), now);
		sent += throttle_piece(&t);
	}
	assert_in_range(sent, 9950, 10050);
	t = (struct throttle){0};
	throttle_passed(&t, 1000000, START);
	assert_int_equal(throttle_wait_ns(&t, false, START), 0);
}

/* Where a message begins both count, and only there the interval. */
static void test_interval(void **state)
{
	struct throttle t = {.interval_ns = 300 * MS, .rate = 1000};

	(void)state;
	throttle_begin(&t, START);
	assert_int_equal(throttle_wait_ns(&t, true, START), 300 * MS);
	assert_int_equal(throttle_wait_ns(&t, false, START), 0);
	throttle_passed(&t, 100, START);
	assert_int_equal(throttle_wait_ns(&t, true, START), 300 * MS);
	assert_int_equal(throttle_wait_ns(&t, false, START), 100 * MS);
	throttle_passed(&t, 300, START);
	assert_int_equal(throttle_wait_ns(&t, true, START), 400 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_interval),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
