/* The tree of topics (cmd/hub/topics) against a matcher that looks at every subscription. */
#include "hub/topics/topics.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t seed = 7;

static uint32_t random_below(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((seed >> 33) % n);
}

/* ---- words ---- */

static void test_valid(void **state)
{
	static const struct {
		const char *text;
		bool pattern, literal;
	} cases[] = {{"a", true, true},       {"a.b.c", true, true},
		     {"", false, false},      {".", false, false},
		     {"a.", false, false},    {".a", false, false},
		     {"a..b", false, false},  {"*", true, false},
		     {">", true, false},      {"a.*.b", true, false},
		     {"a.>", true, false},    {"a.>.b", false, false},
		     {">.a", false, false},   {"a*", true, true},
		     {"a.b>", true, true},    {"a.>b.c", true, true},
		     {"a b", false, false},   {"a\tb", false, false},
		     {"a\r\n", false, false}, {"**", true, true},
		     {">>", true, true},      {"sensors.K\xc3\xbc", true, true}};
	char longest[TOPIC_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(topic_is_pattern(cases[i].text, strlen(cases[i].text)), cases[i].pattern);
		assert_int_equal(topic_is_literal(cases[i].text, strlen(cases[i].text)), cases[i].literal);
	}
	memset(longest, 'x', sizeof(longest));
	assert_true(topic_is_literal(longest, TOPIC_MAX));
	assert_false(topic_is_literal(longest, TOPIC_MAX + 1));
	assert_true(topic_is_name(longest, TOPIC_MAX));
	assert_false(topic_is_name(longest, TOPIC_MAX + 1));
	assert_true(topic_is_name("a..*", 4));
	assert_false(topic_is_name("", 0));
	assert_false(topic_is_name("a\r\nPUB", 6));
}

static bool covers(const char *outer, const char *inner)
{
	return topic_covers(outer, strlen(outer), inner, strlen(inner));
}

static void test_covers(void **state)
{
	(void)state;
	assert_true(covers(">", "a.b"));
	assert_true(covers(">", ">"));
	assert_true(covers("a.*", "a.*"));
	assert_true(covers("a.>", "a.*.b"));
	assert_false(covers("a.*", "a.>"));
	assert_false(covers("a.b", "a.*"));
	assert_false(covers("a.>", "a"));
	assert_false(covers("a", "a.b"));
	assert_false(covers("a.b", "a"));
	assert_false(covers("*", "a.b"));
	assert_true(covers("*.*", "a.b"));
}

/* ---- the tree ---- */

struct sub {
	struct topic_sub in;
	char pattern[80];
	int group;
	bool there;
};

#define SUBS 400

static struct sub subs[SUBS];

static void random_topic(char *out, bool wild)
{
	static const char *const words[] = {"a", "b", "abcdefg", "abcdefgh", "abcdefghijklmnopq"};
	int count = 1 + (int)random_below(4);

	*out = 0;
	for (int i = 0; i < count; i++) {
		uint32_t which = random_below(8);

		if (i)
			strcat(out, ".");
		if (wild && which == 0 && i == count - 1)
			strcat(out, ">");
		else if (wild && which < 3)
			strcat(out, "*");
		else
			strcat(out, words[which % 5]);
	}
}

static void check_match(const struct topics *topics, const char *topic, struct topic_match *match)
{
	size_t plain = 0, expected = 0, groups = 0, chosen = 0;
	bool seen[4] = {false};

	assert_int_equal(topics_match(topics, topic, strlen(topic), match), 0);
	for (int i = 0; i < SUBS; i++) {
		if (!subs[i].there || !topic_fits(subs[i].pattern, strlen(subs[i].pattern), topic, strlen(topic)))
			continue;
		if (!subs[i].group)
			expected++;
		else if (!seen[subs[i].group])
			seen[subs[i].group] = true, groups++;
	}
	for (size_t i = 0; i < match->count;) {
		const struct topic_span *span = &match->spans[i];

		if (span->group) {
			const struct sub *sub = (struct sub *)topic_match_choose(match, &i, random_below(1000));

			assert_true(sub->there && seen[sub->group]);
			assert_true(topic_fits(sub->pattern, strlen(sub->pattern), topic, strlen(topic)));
			seen[sub->group] = false; /* one of a group, once */
			chosen++;
			continue;
		}
		for (uint32_t n = 0; n < span->count; n++) {
			const struct sub *sub = (struct sub *)span->subs[n];

			assert_true(sub->there && !sub->group);
			assert_true(topic_fits(sub->pattern, strlen(sub->pattern), topic, strlen(topic)));
		}
		plain += span->count;
		i++;
	}
	assert_int_equal(plain, expected);
	assert_int_equal(chosen, groups);
}

static void test_random(void **state)
{
	struct topics *topics = topics_new(1);
	struct topic_match match = {0};
	static const char *const groups[] = {"", "g", "*", "a long name of a group"};
	char topic[80], pattern[TOPIC_MAX];
	size_t count = 0, empty = topics_memory(topics);

	(void)state;
	for (int turn = 0; turn < 20000; turn++) {
		struct sub *sub = &subs[random_below(SUBS)];

		if (sub->there) {
			size_t len = topics_pattern(topics, &sub->in, pattern);

			assert_int_equal(len, strlen(sub->pattern));
			assert_memory_equal(pattern, sub->pattern, len);
			topics_remove(topics, &sub->in);
		} else {
			random_topic(sub->pattern, true);
			sub->group = random_below(3) ? 0 : 1 + (int)random_below(3);
			assert_int_equal(topics_add(topics, &sub->in, sub->pattern, strlen(sub->pattern),
						    groups[sub->group], strlen(groups[sub->group])),
					 0);
		}
		sub->there = !sub->there;
		count += sub->there ? 1 : (size_t)-1;
		assert_int_equal(topics_count(topics), count);
		random_topic(topic, false);
		check_match(topics, topic, &match);
	}
	for (int i = 0; i < SUBS; i++)
		if (subs[i].there)
			topics_remove(topics, &subs[i].in);
	assert_int_equal(topics_count(topics), 0);
	assert_true(topics_memory(topics) < empty + 64 * 1024); /* tables stay, what they held has gone */
	topic_match_free(&match);
	topics_free(topics);
}

static void test_depth(void **state)
{
	struct topics *topics = topics_new(1);
	struct topic_match match = {0};
	char topic[TOPIC_MAX + 1], pattern[TOPIC_MAX + 1];
	struct topic_sub literal, stars, rest;

	(void)state;
	for (int i = 0; i < TOPIC_MAX - 1; i++) {
		topic[i] = i % 2 ? '.' : 'a';
		pattern[i] = i % 2 ? '.' : '*';
	}
	assert_int_equal(topics_add(topics, &literal, topic, TOPIC_MAX - 1, "", 0), 0);
	assert_int_equal(topics_add(topics, &stars, pattern, TOPIC_MAX - 1, "", 0), 0);
	assert_int_equal(topics_add(topics, &rest, "a.*.>", 5, "", 0), 0);
	assert_int_equal(topics_match(topics, topic, TOPIC_MAX - 1, &match), 0);
	assert_int_equal(match.nsingle, 3);
	/* wildcards in a topic are taken by wildcards only; what is no topic by nobody */
	assert_int_equal(topics_match(topics, "a.*.*", 5, &match), 0);
	assert_int_equal(match.nsingle, 1);
	static const char *const none[] = {"", ".", "a..b.c", "a.b.c.", ".a.b.c"};
	for (int i = 0; i < 5; i++) {
		assert_int_equal(topics_match(topics, none[i], strlen(none[i]), &match), 0);
		assert_int_equal(match.count, 0);
	}
	topics_remove(topics, &stars);
	topics_remove(topics, &literal);
	topics_remove(topics, &rest);
	topic_match_free(&match);
	topics_free(topics);
}

/*
 * A subscription of the hub has 40 bytes with what is in it here: the rest is the tree's. A sanitizer's malloc does not
 * tell how many, and is slow: there fewer are enough.
 */
#ifdef TNI_WATCHED
#define MANY 50000
#define GROUPS 4000
#else
#define MANY 1000000
#define GROUPS 20000
#endif

static size_t in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static void test_million(void **state)
{
	size_t before, tree;
	struct topics *topics = topics_new(1);
	struct topic_sub *many = malloc(MANY * sizeof(*many));
	struct topic_match match = {0};
	char text[64], wanted[64];
	size_t wanted_len = (size_t)snprintf(wanted, sizeof(wanted), "dev.x.%d.state", MANY / 4);

	(void)state;
	assert_non_null(many);
	before = in_use();
	for (int i = 0; i < MANY; i++) {
		int len = snprintf(text, sizeof(text), "dev.*.%d.%s", i / 2, i % 2 ? "state" : ">");

		assert_int_equal(topics_add(topics, &many[i], text, (size_t)len, "", 0), 0);
	}
	tree = in_use() - before;
	print_message("%zu bytes a subscription in the tree, %zu told\n", tree / MANY, topics_memory(topics) / MANY);
	if (in_use()) { /* a sanitizer's malloc tells nothing */
		assert_true(tree / MANY <= 90);
		assert_true(topics_memory(topics) <= tree + tree / 8 && topics_memory(topics) >= tree - tree / 8);
	}
	assert_int_equal(topics_match(topics, wanted, wanted_len, &match), 0);
	assert_int_equal(match.nsingle, 2);
	for (int i = 0; i < MANY; i++)
		topics_remove(topics, &many[i]);
	assert_int_equal(topics_match(topics, wanted, wanted_len, &match), 0);
	assert_int_equal(match.count, 0);
	topic_match_free(&match);
	topics_free(topics);
	free(many);
}

/* Many groups on one topic, each of which gets it: neither adding nor matching compares each with each. */
static void test_groups(void **state)
{
	struct topics *topics = topics_new(1);
	struct topic_sub *many = malloc(sizeof(*many) * 2 * GROUPS);
	struct topic_match match = {0};
	size_t chosen = 0;
	char name[16];

	(void)state;
	for (int i = 0; i < 2 * GROUPS; i++) {
		int len = snprintf(name, sizeof(name), "g%d", i % GROUPS);

		assert_int_equal(topics_add(topics, &many[i], i < GROUPS ? "a.b" : "a.*", 3, name, (size_t)len), 0);
	}
	assert_int_equal(topics_match(topics, "a.b", 3, &match), 0);
	for (size_t i = 0; i < match.count; chosen++)
		assert_non_null(topic_match_choose(&match, &i, chosen));
	assert_int_equal(chosen, GROUPS);
	for (int i = 0; i < 2 * GROUPS; i++)
		topics_remove(topics, &many[i]);
	topic_match_free(&match);
	topics_free(topics);
	free(many);
}

static void test_busiest(void **state)
{
	static const char *const patterns[] = {"a", "a.b", "a.>", "*.c", "a", "a.b", "a", "long.tokens.stand.apart"};
	struct topics *topics = topics_new(7);
	struct topic_sub eight[8];
	struct topic_busy busy[3];
	char text[TOPIC_MAX];

	(void)state;
	assert_int_equal(topics_busiest(topics, 100, busy, 3), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(
			topics_add(topics, &eight[i], patterns[i], strlen(patterns[i]), "group", i == 6 ? 5 : 0), 0);
	assert_int_equal(topics_busiest(topics, 100, busy, 3), 3);
	assert_int_equal(busy[0].count, 3);
	assert_int_equal(busy[1].count, 2);
	assert_int_equal(busy[2].count, 1);
	assert_int_equal(topics_pattern(topics, &busy[0].sub, text), 1);
	assert_memory_equal(text, "a", 1);
	assert_int_equal(topics_pattern(topics, &busy[1].sub, text), 3);
	assert_memory_equal(text, "a.b", 3);
	assert_int_equal(topics_busiest(topics, 1, busy, 3), 1);
	for (int i = 0; i < 7; i++)
		topics_remove(topics, &eight[i]);
	assert_int_equal(topics_busiest(topics, 100, busy, 3), 1);
	assert_int_equal(topics_pattern(topics, &busy[0].sub, text), strlen(patterns[7]));
	topics_remove(topics, &eight[7]);
	assert_int_equal(topics_busiest(topics, 100, busy, 3), 0);
	topics_free(topics);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid),   cmocka_unit_test(test_covers),  cmocka_unit_test(test_random),
		cmocka_unit_test(test_depth),   cmocka_unit_test(test_million), cmocka_unit_test(test_groups),
		cmocka_unit_test(test_busiest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
