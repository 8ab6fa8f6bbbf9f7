/* Faults in simulated time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/chaos/chaos.h"
#include "relay/chaos/script.h"

#define MS UINT64_C(1000000)

static struct chaos_set set_of(const char *text)
{
	struct chaos_set set = {.count = 1};
	size_t at;
	const char *why = chaos_parse(text, &set.specs[0], &at);

	if (why)
		fail_msg("%s: %s at %zu", text, why, at);
	return set;
}

static struct chaos_pipe pipe_of(const struct chaos_set *set, enum chaos_carries carries)
{
	struct chaos_pipe pipe;

	chaos_pipe_begin(&pipe, set, 0, CHAOS_UP, carries, 0);
	return pipe;
}

/* The next of the pipe has to be this, at this time. */
static void expect(struct chaos_pipe *pipe, uint64_t due, enum chaos_what what, const char *data)
{
	struct chaos_item *item;

	assert_int_equal(chaos_due(pipe), due);
	if (due)
		assert_null(chaos_take(pipe, due - 1));
	item = chaos_take(pipe, due);
	assert_non_null(item);
	assert_int_equal(item->what, what);
	assert_int_equal(item->len, strlen(data));
	assert_memory_equal(item->data, data, item->len);
	free(item);
}

static void expect_nothing(struct chaos_pipe *pipe)
{
	assert_int_equal(chaos_due(pipe), CHAOS_NEVER);
	assert_int_equal(pipe->bytes, 0);
	chaos_pipe_free(pipe);
}

static void put(struct chaos_pipe *pipe, const char *text, uint64_t now)
{
	assert_int_equal(chaos_put(pipe, text, strlen(text), 0, now), 0);
}

static void test_nothing(void **state)
{
	struct chaos_pipe pipe = pipe_of(NULL, CHAOS_BYTES);

	(void)state;
	put(&pipe, "a", 5);
	assert_int_equal(chaos_end(&pipe, 6), 0);
	expect(&pipe, 5, CHAOS_DATA, "a");
	expect(&pipe, 6, CHAOS_END, "");
	expect_nothing(&pipe);
}

static void test_latency(void **state)
{
	struct chaos_set set = set_of("latency=10ms");
	struct chaos_pipe pipe = pipe_of(&set, CHAOS_BYTES);

	(void)state;
	put(&pipe, "a", 0);
	put(&pipe, "b", 3 * MS);
	assert_int_equal(chaos_end(&pipe, 3 * MS), 0);
	expect(&pipe, 10 * MS, CHAOS_DATA, "a");
	expect(&pipe, 13 * MS, CHAOS_DATA, "b");
	expect(&pipe, 13 * MS, CHAOS_END, "");
	expect_nothing(&pipe);
}

/* It stays within its bounds, and in order. */
static void test_jitter(void **state)
{
	struct chaos_set set = set_of("latency=10ms,jitter=5ms,seed=3");
	struct chaos_pipe pipe = pipe_of(&set, CHAOS_MESSAGES);
	uint64_t last = 0, least = UINT64_MAX, most = 0;

	(void)state;
	for (uint64_t i = 0; i < 1000; i++)
		put(&pipe, "x", i * 100 * MS);
	for (uint64_t i = 0; i < 1000; i++) {
		uint64_t due = chaos_due(&pipe), delay = due - i * 100 * MS;

		least = delay < least ? delay : least;
		most = delay > most ? delay : most;
		assert_true(due >= last);
		last = due;
		free(chaos_take(&pipe, due));
	}
	assert_in_range(least, 5 * MS, 6 * MS);
	assert_in_range(most, 14 * MS, 15 * MS);
	expect_nothing(&pipe);
}

static void test_bandwidth(void **state)
{
	struct chaos_set set = set_of("bandwidth=1000");
	struct chaos_pipe pipe = pipe_of(&set, CHAOS_BYTES);

	(void)state;
	put(&pipe, "0123456789", 0);
	put(&pipe, "abcde", 0);
	put(&pipe, "f", 100 * MS); /* what was not used is not saved up */
	expect(&pipe, 10 * MS, CHAOS_DATA, "0123456789");
	expect(&pipe, 15 * MS, CHAOS_DATA, "abcde");
	expect(&pipe, 101 * MS, CHAOS_DATA, "f");
	expect_nothing(&pipe);
}

/* What came in one piece does not come at once when the last of it may. */
static void test_bandwidth_pieces(void **state)
{
	struct chaos_set set = set_of("bandwidth=20");
	struct chaos_pipe pipe = pipe_of(&set, CHAOS_BYTES);

	(void)state;
	put(&pipe, "01234", 0);
	assert_int_equal(chaos_end(&pipe, 0), 0);
	expect(&pipe, 100 * MS, CHAOS_DATA, "01");
	expect(&pipe, 200 * MS, CHAOS_DATA, "23");
	expect(&pipe, 250 * MS, CHAOS_DATA, "4");
	expect(&pipe, 250 * MS, CHAOS_END, "");
	expect_nothing(&pipe);
	pipe = pipe_of(&set, CHAOS_MESSAGES); /* half a message is none */
	put(&pipe, "0123456789", 0);
	expect(&pipe, 500 * MS, CHAOS_DATA, "0123456789");
	expect_nothing(&pipe);
}

/* Each slice when all of it has gone through. */
static void test_bandwidth_slices(void **state)
{
	struct chaos_set set = set_of("bandwidth=20,slice=4,slice-delay=1s");
	struct chaos_pipe pipe = pipe_of(&set, CHAOS_BYTES);

	(void)state;
	put(&pipe, "01234567", 0);
	expect(&pipe, 200 * MS, CHAOS_DATA, "0123");
	expect(&pipe, 1200 * MS, CHAOS_DATA, "4567");
	expect_nothing(&pipe);
}

static void test_slices(void **state)
{
	struct chaos_set set = set_of("slice=4,slice-delay=1ms");
	struct chaos_pipe pipe = pipe_of(&set, CHAOS_BYTES);

	(void)state;
	put(&pipe, "0123456789", 0);
	expect(&pipe, 0, CHAOS_DATA, "0123");
	expect(&pipe, 1 * MS, CHAOS_DATA, "4567");
	expect(&pipe, 2 * MS, CHAOS_DATA, "89");
	expect_nothing(&pipe);
}

static void test_ends(void **state)
{
	struct chaos_set limit = set_of("limit=5"), after = set_of("reset-after=5"), timed = set_of("reset=7ms");
	struct chaos_set silent = set_of("timeout=9ms"), mute = set_of("timeout=0"), slow = set_of("slow-close=4ms");
	struct chaos_pipe pipe = pipe_of(&limit, CHAOS_BYTES);

	(void)state;
	put(&pipe, "abc", 0);
	put(&pipe, "defg", 1);
	put(&pipe, "h", 2);
	assert_int_equal(chaos_end(&pipe, 3), 0);
	expect(&pipe, 0, CHAOS_DATA, "abc");
	expect(&pipe, 1, CHAOS_DATA, "de");
	expect(&pipe, 1, CHAOS_CLOSE, "");
	expect_nothing(&pipe);

	pipe = pipe_of(&after, CHAOS_MESSAGES); /* no half of a message passes */
	put(&pipe, "abc", 0);
	put(&pipe, "def", 1);
	expect(&pipe, 0, CHAOS_DATA, "abc");
	expect(&pipe, 1, CHAOS_RESET, "");
	expect_nothing(&pipe);

	pipe = pipe_of(&timed, CHAOS_BYTES);
	put(&pipe, "a", 1);
	expect(&pipe, 1, CHAOS_DATA, "a");
	expect(&pipe, 7 * MS, CHAOS_RESET, "");
	expect_nothing(&pipe);

	pipe = pipe_of(&silent, CHAOS_BYTES);
	put(&pipe, "a", 1);
	assert_int_equal(chaos_end(&pipe, 2), 0);
	expect(&pipe, 9 * MS, CHAOS_CLOSE, "");
	expect_nothing(&pipe);

	pipe = pipe_of(&mute, CHAOS_BYTES);
	put(&pipe, "a", 1);
	expect_nothing(&pipe);

	pipe = pipe_of(&slow, CHAOS_BYTES);
	put(&pipe, "a", 0);
	assert_int_equal(chaos_end(&pipe, 1 * MS), 0);
	expect(&pipe, 0, CHAOS_DATA, "a");
	expect(&pipe, 5 * MS, CHAOS_END, "");
	expect_nothing(&pipe);
}

/* How many of so many datagrams arrive, and what was counted. */
static uint64_t arrived(const char *text, uint64_t said, struct chaos_counts *counts)
{
	struct chaos_set set = set_of(text);
	struct chaos_pipe pipe = pipe_of(&set, CHAOS_DATAGRAMS);
	struct chaos_item *item;
	uint64_t n = 0;

	for (uint64_t i = 0; i < said; i++) {
		put(&pipe, "12345678", i * MS);
		for (; (item = chaos_take(&pipe, i * MS)) != NULL; n++)
			free(item);
	}
	*counts = pipe.counts;
	expect_nothing(&pipe);
	return n;
}

static void test_chances(void **state)
{
	struct chaos_counts counts;
	uint64_t n;

	(void)state;
	n = arrived("loss=5%,seed=1", 10000, &counts);
	assert_in_range(counts.lost, 400, 600);
	assert_int_equal(n, 10000 - counts.lost);
	n = arrived("loss=5%,seed=1", 100000, &counts); /* what it says, to 0.3 points */
	assert_in_range(counts.lost, 4700, 5300);
	assert_int_equal(n, 100000 - counts.lost);
	n = arrived("duplicate=0.1,seed=1", 10000, &counts);
	assert_in_range(counts.duplicated, 880, 1120);
	assert_int_equal(n, 10000 + counts.duplicated);
	assert_int_equal(arrived("corrupt=20%,seed=1", 10000, &counts), 10000);
	assert_in_range(counts.corrupted, 1850, 2150);
	assert_int_equal(arrived("loss=100%,messages=10", 10000, &counts), 9990);
	assert_int_equal(counts.lost, 10);
}

static void test_reordering(void **state)
{
	struct chaos_set set = set_of("reorder=100%,messages=1");
	struct chaos_pipe pipe = pipe_of(&set, CHAOS_MESSAGES);

	(void)state;
	put(&pipe, "a", 0);
	put(&pipe, "b", 1 * MS);
	put(&pipe, "c", 2 * MS);
	expect(&pipe, 1 * MS, CHAOS_DATA, "b");
	expect(&pipe, 1 * MS, CHAOS_DATA, "a");
	expect(&pipe, 2 * MS, CHAOS_DATA, "c");
	assert_int_equal(pipe.counts.reordered, 1);
	expect_nothing(&pipe);
	pipe = pipe_of(&set, CHAOS_MESSAGES); /* when nothing comes, it goes by itself */
	put(&pipe, "a", 0);
	assert_int_equal(chaos_end(&pipe, 0), 0);
	expect(&pipe, 100 * MS, CHAOS_DATA, "a");
	expect(&pipe, 100 * MS, CHAOS_END, "");
	expect_nothing(&pipe);
}

static void test_damage(void **state)
{
	struct chaos_set set = set_of("corrupt=100%,corrupt-bits=1,seed=5");
	struct chaos_pipe pipe = pipe_of(&set, CHAOS_BYTES);
	struct chaos_item *item;
	const char *data = "aaaaaaaa";
	int bits = 0;

	(void)state;
	put(&pipe, data, 0);
	item = chaos_take(&pipe, 0);
	for (size_t i = 0; i < 8; i++)
		bits += __builtin_popcount((unsigned char)(item->data[i] ^ data[i]));
	assert_int_equal(bits, 1);
	free(item);
	expect_nothing(&pipe);
}

/* One more line of what a run has made. */
static void note(char **text, size_t *len, const struct chaos_item *item)
{
	*text = realloc(*text, *len + item->len * 2 + 64);
	assert_non_null(*text);
	*len += (size_t)sprintf(*text + *len, "%llu %d %d ", (unsigned long long)item->due_ns, (int)item->what,
				item->kind);
	for (size_t i = 0; i < item->len; i++)
		*len += (size_t)sprintf(*text + *len, "%02x", item->data[i]);
	*len += (size_t)sprintf(*text + *len, "\n");
}

static void note_due(char **text, size_t *len, struct chaos_pipe *pipe, uint64_t now)
{
	struct chaos_item *item;

	while ((item = chaos_take(pipe, now)) != NULL) {
		note(text, len, item);
		free(item);
	}
}

/* All that comes of 300 messages, one a millisecond, and of the end behind them: bytes, times, events and counts. */
static char *run_of(const char *spec, uint64_t number, enum chaos_carries carries)
{
	struct chaos_set set = set_of(spec);
	struct chaos_counts *n;
	struct chaos_pipe pipe;
	size_t len = 0;
	char *text = NULL, *told, said[32];

	chaos_pipe_begin(&pipe, &set, number, CHAOS_DOWN, carries, 0);
	n = &pipe.counts;
	for (uint64_t i = 0; i < 300; i++) {
		snprintf(said, sizeof(said), "message %03d of this run", (int)i);
		put(&pipe, said, i * MS);
		note_due(&text, &len, &pipe, i * MS);
	}
	assert_int_equal(chaos_end(&pipe, 300 * MS), 0);
	note_due(&text, &len, &pipe, CHAOS_NEVER - 1);
	told = realloc(text, len + 100);
	assert_non_null(told);
	sprintf(told + len, "%llu %llu %llu %llu\n", (unsigned long long)n->lost, (unsigned long long)n->duplicated,
		(unsigned long long)n->reordered, (unsigned long long)n->corrupted);
	chaos_pipe_free(&pipe);
	return told;
}

/* Each kind of fault alone, and all together. `random`: another seed, and another session, give another run. */
static void test_a_seed_repeats_a_run(void **state)
{
	static const struct {
		const char *spec;
		bool random;
	} cases[] = {
		{"latency=5ms,jitter=5ms", true},
		{"bandwidth=10KiB", false},
		{"slice=5,slice-jitter=4,slice-delay=1ms", true},
		{"slow-close=50ms", false},
		{"timeout=100ms", false},
		{"reset=100ms", false},
		{"reset-after=1000", false},
		{"limit=1000", false},
		{"loss=5%", true},
		{"duplicate=5%", true},
		{"reorder=5%", true},
		{"corrupt=5%,corrupt-bits=3", true},
		{"loss=50%,messages=20", true},
		{"latency=5ms,jitter=5ms,bandwidth=100KiB,loss=5%,duplicate=5%,reorder=5%,corrupt=5%", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int carries = CHAOS_BYTES; carries <= CHAOS_DATAGRAMS; carries++) {
			struct chaos_set set = set_of(cases[i].spec);
			char seeds[2][200], *runs[4];

			if (chaos_unfit(&set.specs[0], (enum chaos_carries)carries))
				continue;
			for (int n = 0; n < 2; n++)
				snprintf(seeds[n], sizeof(seeds[n]), "%s,seed=%d", cases[i].spec, 7 + n);
			for (int n = 0; n < 4; n++)
				runs[n] = run_of(seeds[n == 2], n == 3, (enum chaos_carries)carries);
			assert_string_equal(runs[0], runs[1]);
			assert_int_equal(strcmp(runs[0], runs[2]) != 0, cases[i].random);
			assert_int_equal(strcmp(runs[0], runs[3]) != 0, cases[i].random);
			for (int n = 0; n < 4; n++)
				free(runs[n]);
		}
}

static void test_sessions(void **state)
{
	struct chaos_set half = set_of("refuse,probability=50%,seed=2"), first = set_of("refuse,first=3");
	int n = 0;

	(void)state;
	for (uint64_t i = 0; i < 1000; i++)
		n += chaos_refuses(&half, chaos_draw(&half, i));
	assert_in_range(n, 440, 560);
	for (uint64_t i = 0; i < 6; i++)
		assert_int_equal(chaos_refuses(&first, chaos_draw(&first, i)), i < 3);
}

/* Another set does not touch what waits. */
static void test_change(void **state)
{
	struct chaos_set slow = set_of("latency=10ms,reset=50ms"), fast = set_of("latency=1ms");
	struct chaos_pipe pipe = pipe_of(&slow, CHAOS_BYTES);

	(void)state;
	put(&pipe, "a", 0);
	chaos_pipe_change(&pipe, &fast, 5 * MS);
	put(&pipe, "b", 5 * MS);
	expect(&pipe, 10 * MS, CHAOS_DATA, "a");
	expect(&pipe, 10 * MS, CHAOS_DATA, "b");
	expect_nothing(&pipe);
}

/* What was to happen at a time does not, though a side has ended in between. */
static void test_change_after_an_end(void **state)
{
	struct chaos_set timed = set_of("reset=50ms,slow-close=1s"), none = set_of("latency=1ms");
	struct chaos_pipe pipe = pipe_of(&timed, CHAOS_BYTES);

	(void)state;
	assert_int_equal(chaos_end(&pipe, 0), 0);
	chaos_pipe_change(&pipe, &none, 5 * MS);
	expect(&pipe, 1000 * MS, CHAOS_END, "");
	expect_nothing(&pipe);
}

/* A time that is longer than a clock can tell is no time in the past. */
static void test_long_times(void **state)
{
	struct chaos_set set = set_of("latency=5000000h,jitter=5000000h,bandwidth=1,slice=1,slice-delay=5000000h");
	struct chaos_pipe pipe;

	(void)state;
	chaos_pipe_begin(&pipe, &set, 0, CHAOS_UP, CHAOS_BYTES, UINT64_MAX / 2);
	for (int i = 0; i < 100; i++)
		put(&pipe, "abc", UINT64_MAX / 2);
	assert_null(chaos_take(&pipe, UINT64_MAX / 2 + 1000000 * MS));
	assert_int_equal(chaos_end(&pipe, UINT64_MAX / 2), 0);
	assert_int_equal(chaos_due(&pipe) > UINT64_MAX / 2, true);
	chaos_pipe_free(&pipe);
}

/* Many that wait cost each other no time, and empty ones do not wait without end. */
static void test_many_that_wait(void **state)
{
	struct chaos_set set = set_of("latency=1h,reset=2h,slice=1");
	struct chaos_pipe pipe = pipe_of(&set, CHAOS_BYTES);
	static char data[1 << 19];
	uint64_t n = 0;

	(void)state;
	assert_int_equal(chaos_put(&pipe, data, sizeof(data), 0, 0),
			 0); /* half a million slices: hours if each is a walk */
	assert_int_equal(pipe.items, sizeof(data) + 1);
	assert_true(chaos_is_full(&pipe));
	for (struct chaos_item *item; (item = chaos_take(&pipe, 3600000 * MS)) != NULL; n++)
		free(item);
	assert_int_equal(n, sizeof(data));
	chaos_pipe_free(&pipe);

	set = set_of("latency=1h");
	pipe = pipe_of(&set, CHAOS_DATAGRAMS);
	for (n = 0; !chaos_is_full(&pipe) && n < 1000000; n++)
		put(&pipe, "", 0);
	assert_in_range(n, 1000, 100000);
	chaos_pipe_free(&pipe);
}

/* ---- live sets ---- */

#define TOXICS 6

/* A spec of a live set. */
static void add(struct chaos_set *set, uint64_t id, const char *text)
{
	struct chaos_spec *spec = &set->specs[set->count++];

	*spec = set_of(text).specs[0];
	spec->id = id;
	set->live = true;
}

static void test_live_stages(void **state)
{
	static struct chaos_set none = {.live = true}, slow = {0}, both = {0}, behind = {0};
	struct chaos_pipe pipe = pipe_of(&none, CHAOS_BYTES);

	(void)state;
	add(&slow, 1, "latency=10ms");
	add(&both, 1, "latency=10ms");
	add(&both, 2, "latency=5ms");
	add(&behind, 2, "latency=5ms");
	put(&pipe, "a", 0);
	expect(&pipe, 0, CHAOS_DATA, "a");
	chaos_pipe_change(&pipe, &slow, 0);
	put(&pipe, "b", 0);
	assert_null(chaos_take(&pipe, 1 * MS));
	chaos_pipe_change(&pipe, &both, 1 * MS);
	put(&pipe, "c", 1 * MS);
	assert_null(chaos_take(&pipe, 10 * MS)); /* b goes through the one behind as well */
	chaos_pipe_change(&pipe, &behind, 11 * MS - 1);
	put(&pipe, "d", 11 * MS);
	assert_int_equal(chaos_end(&pipe, 11 * MS), 0);
	assert_null(chaos_take(&pipe, 11 * MS));
	expect(&pipe, 15 * MS, CHAOS_DATA, "b");
	expect(&pipe, 16 * MS - 1, CHAOS_DATA, "c");
	expect(&pipe, 16 * MS, CHAOS_DATA, "d");
	expect(&pipe, 16 * MS, CHAOS_END, "");
	expect_nothing(&pipe);
}

static void test_live_stall(void **state)
{
	static struct chaos_set none = {.live = true}, stalled = {0};
	struct chaos_pipe pipe = pipe_of(&none, CHAOS_BYTES);

	(void)state;
	add(&stalled, 1, "latency=0s");
	stalled.specs[0].rules[CHAOS_UP].stalled = true;
	chaos_pipe_change(&pipe, &stalled, 0);
	put(&pipe, "a", 0);
	put(&pipe, "b", 1);
	assert_int_equal(chaos_end(&pipe, 2), 0);
	assert_null(chaos_take(&pipe, UINT64_MAX / 2));
	chaos_pipe_change(&pipe, &none, 7);
	put(&pipe, "over", 7);
	expect(&pipe, 7, CHAOS_DATA, "a");
	expect(&pipe, 7, CHAOS_DATA, "b");
	expect(&pipe, 7, CHAOS_END, "");
	expect_nothing(&pipe);
}

static void test_live_ends(void **state)
{
	static struct chaos_set none = {.live = true}, mute = {0}, soon = {0}, later_set = {0}, reset = {0};
	struct chaos_pipe pipe = pipe_of(&none, CHAOS_BYTES);

	(void)state;
	add(&mute, 1, "timeout=0");
	add(&soon, 1, "timeout=9ms");
	soon.specs[0].version = 1;
	add(&later_set, 1, "timeout=9ms");
	later_set.specs[0].version = 1;
	add(&later_set, 2, "latency=1ms");
	add(&reset, 3, "reset=5ms");
	reset.specs[0].rules[CHAOS_UP].when_said = true;
	chaos_pipe_change(&pipe, &mute, 0);
	put(&pipe, "a", 0);
	assert_null(chaos_take(&pipe, 1));
	chaos_pipe_change(&pipe, &soon, 1 * MS);
	assert_int_equal(chaos_due(&pipe), 10 * MS);
	chaos_pipe_change(&pipe, &later_set, 2 * MS); /* another one does not begin it anew */
	assert_int_equal(chaos_due(&pipe), 10 * MS);
	chaos_pipe_change(&pipe, &none, 3 * MS); /* what was said is lost */
	expect(&pipe, 3 * MS, CHAOS_CLOSE, "");
	expect_nothing(&pipe);

	pipe = pipe_of(&mute, CHAOS_BYTES);
	assert_int_equal(chaos_end(&pipe, 4), 0);
	expect(&pipe, 4, CHAOS_END, "");
	expect_nothing(&pipe);

	pipe = pipe_of(&reset, CHAOS_BYTES);
	assert_int_equal(chaos_due(&pipe), CHAOS_NEVER);
	put(&pipe, "a", 1 * MS);
	put(&pipe, "b", 1 * MS);
	assert_null(chaos_take(&pipe, 1 * MS));
	chaos_pipe_change(&pipe, &none, 2 * MS); /* it is under way */
	expect(&pipe, 6 * MS, CHAOS_RESET, "");
	expect_nothing(&pipe);
}

/* What has passed is counted on when others come and go, and when the limit itself changes. */
static void test_live_limit(void **state)
{
	static struct chaos_set one = {0}, two = {0}, less = {0};
	struct chaos_pipe pipe;

	(void)state;
	add(&one, 1, "limit=5");
	add(&two, 1, "limit=5");
	add(&two, 2, "latency=1ms");
	add(&less, 1, "limit=2");
	less.specs[0].version = 1;
	pipe = pipe_of(&one, CHAOS_BYTES);
	put(&pipe, "abc", 0);
	expect(&pipe, 0, CHAOS_DATA, "abc");
	chaos_pipe_change(&pipe, &two, 1);
	put(&pipe, "defg", 1);
	put(&pipe, "h", 1);
	assert_null(chaos_take(&pipe, 2));
	chaos_pipe_change(&pipe, &one, 3);
	expect(&pipe, 3, CHAOS_DATA, "de");
	expect(&pipe, 3, CHAOS_CLOSE, "");
	expect_nothing(&pipe);

	pipe = pipe_of(&one, CHAOS_BYTES);
	put(&pipe, "abc", 0);
	expect(&pipe, 0, CHAOS_DATA, "abc");
	chaos_pipe_change(&pipe, &less, 1);
	put(&pipe, "def", 2);
	expect(&pipe, 2, CHAOS_CLOSE, "");
	expect_nothing(&pipe);
}

static uint64_t dice(uint64_t *state, uint64_t sides)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (*state >> 33) % sides;
}

/* Another set than `set`: one spec has come, gone, or been changed. */
static void change_one(struct chaos_set *set, uint64_t *ids, uint64_t *random)
{
	static const char *const texts[] = {"latency=5ms,jitter=5ms", "latency=100us",
					    "bandwidth=20000",        "slice=3,slice-jitter=2,slice-delay=100us",
					    "slow-close=3ms",         "latency=1ms,probability=50%"};
	uint64_t at = set->count ? dice(random, (uint64_t)set->count) : 0, what = dice(random, 3);

	if (what == 0 && set->count) {
		memmove(&set->specs[at], &set->specs[at + 1], ((size_t)--set->count - at) * sizeof(set->specs[0]));
	} else if (what == 1 && set->count) {
		struct chaos_set other = {.live = true};

		add(&other, set->specs[at].id, texts[dice(random, TOXICS)]);
		other.specs[0].version = set->specs[at].version + 1;
		set->specs[at] = other.specs[0];
	} else if (set->count < TOXICS) {
		add(set, ++*ids, texts[dice(random, TOXICS)]);
		set->specs[set->count - 1].seed = dice(random, 1000);
		set->specs[set->count - 1].rules[CHAOS_UP].stalled = dice(random, 8) == 0;
	}
}

/* Whatever changes, and though the other side takes nothing for a while: what was said comes out, in its order. */
static void test_live_keeps_all(void **state)
{
	static struct chaos_set sets[2];
	static char said[20000];

	(void)state;
	for (size_t i = 0; i < sizeof(said); i++)
		said[i] = (char)(i * 7 + i / 251);
	for (uint64_t round = 0; round < 200; round++) {
		uint64_t random = round, now = 0, ids = 0;
		size_t put_so_far = 0, got = 0;
		struct chaos_pipe pipe;
		bool takes = true, ended = false;
		int at = 0;

		memset(sets, 0, sizeof(sets));
		sets[0].live = true;
		pipe = pipe_of(&sets[0], CHAOS_BYTES);
		while (!ended) {
			uint64_t what = dice(&random, 6), len = dice(&random, 400);

			now += dice(&random, 2 * MS);
			takes = what == 0 ? !takes : takes;
			if (what == 1 && put_so_far < sizeof(said)) {
				sets[!at] = sets[at];
				change_one(&sets[!at], &ids, &random);
				chaos_pipe_change(&pipe, &sets[!at], now);
				at = !at;
			}
			if (put_so_far == sizeof(said) && !pipe.over) {
				assert_int_equal(chaos_end(&pipe, now), 0);
				memset(&sets[!at], 0, sizeof(sets[0]));
				sets[!at].live = true;
				chaos_pipe_change(&pipe, &sets[!at], now);
				takes = true;
			}
			len = len < sizeof(said) - put_so_far ? len : sizeof(said) - put_so_far;
			if (len)
				assert_int_equal(chaos_put(&pipe, said + put_so_far, len, 0, now), 0);
			put_so_far += len;
			for (struct chaos_item *item; takes && (item = chaos_take(&pipe, now)) != NULL; free(item)) {
				if (item->what == CHAOS_END) {
					ended = true;
					continue;
				}
				assert_int_equal(item->what, CHAOS_DATA);
				assert_memory_equal(item->data, said + got, item->len);
				got += item->len;
			}
		}
		assert_int_equal(got, sizeof(said));
		expect_nothing(&pipe);
	}
}

/* As many as wait, wherever: nobody walks along them all. */
static void test_live_many(void **state)
{
	static struct chaos_set set = {0};
	static char data[1 << 19];
	struct chaos_pipe pipe;
	uint64_t n = 0;

	(void)state;
	add(&set, 1, "slice=1,slice-delay=1us");
	add(&set, 2, "latency=1h");
	pipe = pipe_of(&set, CHAOS_BYTES);
	for (uint64_t i = 0; i < 2; i++) {
		assert_int_equal(chaos_put(&pipe, data, sizeof(data) / 2, 0, i * 100 * MS), 0);
		assert_null(chaos_take(&pipe, (i + 1) * 100 * MS));
	}
	for (struct chaos_item *item; (item = chaos_take(&pipe, 3700000 * MS)) != NULL; n++)
		free(item);
	assert_int_equal(n, sizeof(data));
	expect_nothing(&pipe);
}

static void test_directions(void **state)
{
	struct chaos_set set = set_of("up.latency=1ms,down.latency=2ms,jitter=0s");

	(void)state;
	assert_int_equal(set.specs[0].rules[CHAOS_UP].latency_ns, MS);
	assert_int_equal(set.specs[0].rules[CHAOS_DOWN].latency_ns, 2 * MS);
}

/* A line of a script: where the first thing is wrong that is. */
static void test_bad_line(void **state)
{
	static const struct {
		const char *text;
		size_t at;
	} cases[] = {{"soon latency=1ms", 0},
		     {"1x off", 0},
		     {"1s latenzy=1ms", 3},
		     {"1s  seed=1,loss=2", 11},
		     {"0s repeat", 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct chaos_line line;
		size_t at = 77;

		if (!chaos_line_read(cases[i].text, &line, &at) || at != cases[i].at)
			fail_msg("'%s': at %zu", cases[i].text, at);
	}
}

static void test_bad_text(void **state)
{
	static const struct {
		const char *text, *word;
		size_t at;
	} cases[] = {
		{"", "missing", 0},
		{"latency=1ms,", "missing", 12},
		{"latency=1ms,,loss=1%", "missing", 12},
		{"latenzy=1ms", "did you mean latency", 0},
		{"latency", "needs a value", 0},
		{"refuse=1", "takes no value", 0},
		{"up.seed=1", "no direction", 0},
		{"loss=101%", "more than 100%", 0},
		{"seed=1,loss=-1", "probability", 7},
		{"loss=nan", "probability", 0},
		{"loss=1e1", "probability", 0},
		{"seed=-1", "no number", 0},
		{"bandwidth=0", "range", 0},
		{"bandwidth=x", "size", 0},
		{"latency=x", "duration", 0},
		{"corrupt=1%,corrupt-bits=0", "range", 11},
		{"corrupt=1%,corrupt-bits=65537", "range", 11},
		{"seed=1,slice-delay=1ms", "no effect without slice", 7},
		{"up.slice=4,down.slice-jitter=1", "no effect without slice", 16},
		{"corrupt-bits=2", "no effect without corrupt", 0},
	};
	struct chaos_spec spec;
	size_t at;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *why = chaos_parse(cases[i].text, &spec, &at);

		if (!why || !strstr(why, cases[i].word) || at != cases[i].at)
			fail_msg("'%s': %s at %zu", cases[i].text, why ? why : "nothing", at);
	}
}

static void test_unfit(void **state)
{
	struct chaos_set loss = set_of("down.loss=1%"), slice = set_of("slice=1"), refuse = set_of("refuse");

	(void)state;
	assert_string_equal(chaos_unfit(&loss.specs[0], CHAOS_BYTES), "loss");
	assert_null(chaos_unfit(&loss.specs[0], CHAOS_MESSAGES));
	assert_string_equal(chaos_unfit(&slice.specs[0], CHAOS_MESSAGES), "slice");
	assert_null(chaos_unfit(&slice.specs[0], CHAOS_BYTES));
	assert_string_equal(chaos_unfit(&refuse.specs[0], CHAOS_DATAGRAMS), "refuse");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_latency),
		cmocka_unit_test(test_jitter),
		cmocka_unit_test(test_bandwidth),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_chances),
		cmocka_unit_test(test_reordering),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_a_seed_repeats_a_run),
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_live_stages),
		cmocka_unit_test(test_live_stall),
		cmocka_unit_test(test_live_ends),
		cmocka_unit_test(test_live_limit),
		cmocka_unit_test(test_live_keeps_all),
		cmocka_unit_test(test_live_many),
		cmocka_unit_test(test_directions),
		cmocka_unit_test(test_bad_line),
		cmocka_unit_test(test_bad_text),
		cmocka_unit_test(test_unfit),
		cmocka_unit_test(test_change_after_an_end),
		cmocka_unit_test(test_long_times),
		cmocka_unit_test(test_many_that_wait),
		cmocka_unit_test(test_bandwidth_pieces),
		cmocka_unit_test(test_bandwidth_slices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
