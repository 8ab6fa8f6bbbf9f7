/* The timer heap: directed tests, then long random runs against a list that is searched from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/list.h"
#include "io/timer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* A timer that writes its name down when it fires. */
struct named {
	struct tni_timer timer;
	int name;
};

static struct tni_timers timers;
static char fired[64];
static size_t nfired;

static void note(struct tni_timer *timer)
{
	struct named *named = tni_container_of(timer, struct named, timer);

	assert_false(tni_timer_armed(timer));
	fired[nfired++] = (char)named->name;
	fired[nfired] = '\0';
}

static int setup(void **state)
{
	(void)state;
	timers.root = NULL;
	nfired = 0;
	fired[0] = '\0';
	return 0;
}

#define NAMED(c) ((struct named){.timer.fire = note, .name = (c)})

/* ---- directed ---- */

static void test_none(void **state)
{
	struct named a = NAMED('a');

	(void)state;
	assert_true(tni_timers_next(&timers) == TNI_NEVER);
	tni_timers_run(&timers, UINT64_MAX);
	assert_false(tni_timer_armed(&a.timer));
	tni_timer_disarm(&timers, &a.timer);
	assert_true(tni_timers_next(&timers) == TNI_NEVER);
}

static void test_due(void **state)
{
	struct named a = NAMED('a');

	(void)state;
	tni_timer_arm(&timers, &a.timer, 100);
	assert_true(tni_timer_armed(&a.timer));
	assert_int_equal(tni_timers_next(&timers), 100);
	tni_timers_run(&timers, 99);
	assert_string_equal(fired, "");
	assert_true(tni_timer_armed(&a.timer));
	tni_timers_run(&timers, 100);
	assert_string_equal(fired, "a");
	assert_false(tni_timer_armed(&a.timer));
	tni_timers_run(&timers, 200);
	assert_string_equal(fired, "a");
	assert_true(tni_timers_next(&timers) == TNI_NEVER);
}

static void test_in_order(void **state)
{
	static const uint64_t when[] = {70, 20, 50, 10, 60, 40, 30};
	struct named t[7];

	(void)state;
	for (int i = 0; i < 7; i++) {
		t[i] = NAMED('0' + (int)when[i] / 10);
		tni_timer_arm(&timers, &t[i].timer, when[i]);
	}
	tni_timers_run(&timers, 45);
	assert_string_equal(fired, "1234");
	assert_int_equal(tni_timers_next(&timers), 50);
	tni_timers_run(&timers, 1000);
	assert_string_equal(fired, "1234567");
}

static void test_ends_of_time(void **state)
{
	struct named a = NAMED('a'), b = NAMED('b'), c = NAMED('c');

	(void)state;
	tni_timer_arm(&timers, &c.timer, UINT64_MAX);
	tni_timer_arm(&timers, &a.timer, 0);
	tni_timer_arm(&timers, &b.timer, (uint64_t)INT64_MAX + 1); /* no signed comparison */
	assert_int_equal(tni_timers_next(&timers), 0);
	tni_timers_run(&timers, 0);
	assert_string_equal(fired, "a");
	tni_timers_run(&timers, UINT64_MAX - 1);
	assert_string_equal(fired, "ab");
	tni_timers_run(&timers, UINT64_MAX);
	assert_string_equal(fired, "abc");
}

static void test_disarm(void **state)
{
	struct named a = NAMED('a'), b = NAMED('b'), c = NAMED('c');

	(void)state;
	tni_timer_arm(&timers, &a.timer, 1);
	tni_timer_arm(&timers, &b.timer, 2);
	tni_timer_arm(&timers, &c.timer, 3);
	tni_timer_disarm(&timers, &a.timer);
	assert_false(tni_timer_armed(&a.timer));
	assert_true(tni_timer_armed(&b.timer) && tni_timer_armed(&c.timer));
	assert_int_equal(tni_timers_next(&timers), 2);
	tni_timer_disarm(&timers, &a.timer);
	tni_timer_disarm(&timers, &c.timer);
	assert_int_equal(tni_timers_next(&timers), 2);
	tni_timer_disarm(&timers, &b.timer);
	assert_true(tni_timers_next(&timers) == TNI_NEVER);
	tni_timers_run(&timers, UINT64_MAX);
	assert_string_equal(fired, "");
}

static void test_rearm(void **state)
{
	struct named a = NAMED('a'), b = NAMED('b');

	(void)state;
	tni_timer_arm(&timers, &a.timer, 10);
	tni_timer_arm(&timers, &b.timer, 20);
	tni_timer_arm(&timers, &a.timer, 30); /* later */
	assert_int_equal(tni_timers_next(&timers), 20);
	tni_timers_run(&timers, 20);
	assert_string_equal(fired, "b");
	tni_timer_arm(&timers, &b.timer, 40);
	tni_timer_arm(&timers, &b.timer, 25); /* earlier */
	tni_timer_arm(&timers, &b.timer, 25); /* the same */
	tni_timers_run(&timers, 50);
	assert_string_equal(fired, "bba");
}

/* ---- from inside fire ---- */

struct repeating {
	struct tni_timer timer;
	uint64_t period;
	int left, nfired;
};

static void repeat(struct tni_timer *timer)
{
	struct repeating *r = tni_container_of(timer, struct repeating, timer);

	r->nfired++;
	if (r->left-- > 0)
		tni_timer_arm(&timers, timer, timer->when_ns + r->period);
}

static void test_rearms_itself(void **state)
{
	struct repeating r = {.timer.fire = repeat, .period = 10, .left = 5};
	struct named b = NAMED('b');

	(void)state;
	tni_timer_arm(&timers, &r.timer, 10);
	tni_timer_arm(&timers, &b.timer, 25);
	tni_timers_run(&timers, 10);
	assert_int_equal(r.nfired, 1);
	assert_true(tni_timer_armed(&r.timer));
	assert_int_equal(tni_timers_next(&timers), 20);
	/* What comes due by the re-arming is due. */
	tni_timers_run(&timers, 40);
	assert_int_equal(r.nfired, 4);
	assert_string_equal(fired, "b");
	tni_timers_run(&timers, 1000);
	assert_int_equal(r.nfired, 6);
	assert_false(tni_timer_armed(&r.timer));
}

static void test_rearms_itself_for_now(void **state)
{
	struct repeating r = {.timer.fire = repeat, .period = 0, .left = 3};

	(void)state;
	tni_timer_arm(&timers, &r.timer, 10);
	tni_timers_run(&timers, 10);
	assert_int_equal(r.nfired, 4);
	assert_true(tni_timers_next(&timers) == TNI_NEVER);
}

static struct named *victim;

static void disarm_victim(struct tni_timer *timer)
{
	note(timer);
	tni_timer_disarm(&timers, &victim->timer);
}

static void test_disarms_another_that_is_due(void **state)
{
	struct named a = NAMED('a'), b = NAMED('b'), c = NAMED('c');

	(void)state;
	a.timer.fire = disarm_victim;
	victim = &b;
	tni_timer_arm(&timers, &a.timer, 1);
	tni_timer_arm(&timers, &b.timer, 2);
	tni_timer_arm(&timers, &c.timer, 3);
	tni_timers_run(&timers, 10);
	assert_string_equal(fired, "ac");
}

static void free_itself(struct tni_timer *timer)
{
	note(timer);
	free(tni_container_of(timer, struct named, timer));
}

static void test_frees_itself(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct named *named = malloc(sizeof(*named));

		*named = NAMED('a' + i);
		named->timer.fire = free_itself;
		tni_timer_arm(&timers, &named->timer, (uint64_t)i);
	}
	tni_timers_run(&timers, 10);
	assert_string_equal(fired, "abc");
}

/* ---- against a list ---- */

#define NRANDOM 200

struct watched {
	struct tni_timer timer;
	uint64_t when; /* the reference: TNI_NEVER when it is not armed */
};

static struct watched watched[NRANDOM];
static uint64_t random_seed, run_now, last_fired;
static bool rearming;

static uint64_t earliest(void)
{
	uint64_t when = TNI_NEVER;

	for (int i = 0; i < NRANDOM; i++)
		if (watched[i].when < when)
			when = watched[i].when;
	return when;
}

static void check_all(void)
{
	assert_true(tni_timers_next(&timers) == earliest());
	for (int i = 0; i < NRANDOM; i++)
		assert_true(tni_timer_armed(&watched[i].timer) == (watched[i].when != TNI_NEVER));
}

static void arm_watched(struct watched *w, uint64_t when)
{
	w->when = when;
	tni_timer_arm(&timers, &w->timer, when);
}

static void disarm_watched(struct watched *w)
{
	w->when = TNI_NEVER;
	tni_timer_disarm(&timers, &w->timer);
}

/* Now and then arms itself again, disarms or re-arms another: all that may be done in a callback. */
static void fire_watched(struct tni_timer *timer)
{
	struct watched *w = tni_container_of(timer, struct watched, timer);
	struct watched *other = &watched[next_random(&random_seed) % NRANDOM];

	assert_false(tni_timer_armed(timer));
	assert_true(w->when <= run_now);
	assert_true(w->when == earliest());
	assert_true(w->when >= last_fired);
	last_fired = w->when;
	w->when = TNI_NEVER;
	if (!rearming)
		return;
	switch (next_random(&random_seed) % 6) {
	case 0:
		arm_watched(w, last_fired + 1 + next_random(&random_seed) % 50);
		break;
	case 1:
		disarm_watched(other);
		break;
	case 2:
		arm_watched(other, last_fired + next_random(&random_seed) % 50);
		break;
	default:
		break;
	}
}

static void random_step(uint64_t *now, uint64_t spread)
{
	struct watched *w = &watched[next_random(&random_seed) % NRANDOM];

	switch (next_random(&random_seed) % 8) {
	case 0:
	case 1:
		disarm_watched(w);
		break;
	case 2:
		run_now = *now += next_random(&random_seed) % (spread / 4 + 1);
		last_fired = 0;
		tni_timers_run(&timers, *now);
		assert_true(tni_timers_next(&timers) > *now);
		break;
	default:
		arm_watched(w, *now + 1 + next_random(&random_seed) % spread);
	}
}

static void random_run(uint64_t seed, uint64_t spread, bool in_fire)
{
	uint64_t now = 1000;

	random_seed = seed;
	rearming = in_fire;
	timers.root = NULL;
	for (int i = 0; i < NRANDOM; i++)
		watched[i] = (struct watched){.timer.fire = fire_watched, .when = TNI_NEVER};
	for (int i = 0; i < 5000; i++) {
		random_step(&now, spread);
		check_all();
	}
	rearming = false;
	run_now = UINT64_MAX;
	last_fired = 0;
	tni_timers_run(&timers, UINT64_MAX);
	check_all();
	assert_true(tni_timers_next(&timers) == TNI_NEVER);
}

static void test_random_runs(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		random_run(seed, 10000, false);
		random_run(seed, 10, false); /* many at the same time */
		random_run(seed, 500, true);
	}
}

/* ---- many ---- */

#define NMANY 100000

static size_t nmany_fired;
static uint64_t many_last;
static bool many_in_order, many_all_fired; /* asserted by the main thread: cmocka knows no other */

static void count(struct tni_timer *timer)
{
	if (timer->when_ns < many_last)
		many_in_order = false;
	many_last = timer->when_ns;
	nmany_fired++;
}

static uint64_t when_of(int shape, uint64_t i)
{
	switch (shape) {
	case 0:
		return i;
	case 1:
		return NMANY - i;
	case 2:
		return 7;
	default:
		return next_random(&random_seed) % NMANY;
	}
}

/* Arms all, disarms every third and the root a thousand times, fires the rest. */
static void run_many(struct tni_timer *many, int shape)
{
	size_t narmed = NMANY;

	timers.root = NULL;
	random_seed = 1;
	many_last = nmany_fired = 0;
	for (size_t i = 0; i < NMANY; i++) {
		many[i] = (struct tni_timer){.fire = count};
		tni_timer_arm(&timers, &many[i], when_of(shape, i));
	}
	for (size_t i = 0; i < NMANY; i += 3, narmed--)
		tni_timer_disarm(&timers, &many[i]);
	for (int i = 0; i < 1000; i++, narmed--)
		tni_timer_disarm(&timers, timers.root);
	tni_timers_run(&timers, UINT64_MAX);
	if (nmany_fired != narmed || timers.root)
		many_all_fired = false;
}

static void *run_shapes(void *many)
{
	many_in_order = many_all_fired = true;
	for (int shape = 0; shape < 4; shape++)
		run_many(many, shape);
	return NULL;
}

/* On a stack on which a recursion over the heap would not end well. */
static void test_many_on_a_small_stack(void **state)
{
	struct tni_timer *many = malloc(NMANY * sizeof(*many));
	pthread_attr_t attr;
	pthread_t thread;

	(void)state;
	assert_non_null(many);
	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, 256 * 1024), 0);
	assert_int_equal(pthread_create(&thread, &attr, run_shapes, many), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(many_in_order);
	assert_true(many_all_fired);
	pthread_attr_destroy(&attr);
	free(many);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_none),
		TEST(test_due),
		TEST(test_in_order),
		TEST(test_ends_of_time),
		TEST(test_disarm),
		TEST(test_rearm),
		TEST(test_rearms_itself),
		TEST(test_rearms_itself_for_now),
		TEST(test_disarms_another_that_is_due),
		TEST(test_frees_itself),
		TEST(test_random_runs),
		TEST(test_many_on_a_small_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
