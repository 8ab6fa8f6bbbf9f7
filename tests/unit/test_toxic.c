/* Toxics as JSON has them, and paths of requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/http.h"
#include "relay/chaos/toxic.h"
#include "tenon_value.h"

static struct tn_value *value_of(const char *text)
{
	struct tn_value *value = NULL;

	assert_int_equal(tn_decode("json", text, strlen(text), 0, &value), 0);
	return value;
}

static struct toxic toxic_of(const char *text)
{
	struct tn_value *value = value_of(text);
	struct toxic_error error;
	struct toxic toxic;

	if (!toxic_read(value, &toxic, &error))
		fail_msg("%s: %s", text, error.words);
	tn_value_free(value);
	return toxic;
}

static struct chaos_rule rule_of(const char *text, int direction)
{
	struct toxic toxic = toxic_of(text);
	struct chaos_spec spec, none;

	toxic_spec(&toxic, &spec);
	chaos_spec_init(&none);
	assert_int_equal(toxic.direction, direction);
	assert_memory_equal(&spec.rules[!direction], &none.rules[0], sizeof(none.rules[0]));
	assert_true(spec.probability == toxic.toxicity);
	free(toxic.name);
	return spec.rules[direction];
}

static void test_types(void **state)
{
	struct chaos_rule rule;

	(void)state;
	rule = rule_of("{\"type\":\"latency\",\"attributes\":{\"latency\":7,\"jitter\":3}}", CHAOS_DOWN);
	assert_int_equal(rule.latency_ns, 7000000);
	assert_int_equal(rule.jitter_ns, 3000000);
	rule = rule_of("{\"type\":\"bandwidth\",\"stream\":\"upstream\",\"attributes\":{\"rate\":5}}", CHAOS_UP);
	assert_int_equal(rule.bandwidth, 5000);
	assert_false(rule.stalled);
	assert_true(rule_of("{\"type\":\"bandwidth\"}", CHAOS_DOWN).stalled);
	rule = rule_of("{\"type\":\"slow_close\",\"attributes\":{\"delay\":2}}", CHAOS_DOWN);
	assert_int_equal(rule.slow_close_ns, 2000000);
	rule = rule_of("{\"type\":\"timeout\",\"attributes\":{\"timeout\":2}}", CHAOS_DOWN);
	assert_int_equal(rule.silent_ns, 2000000);
	rule = rule_of("{\"type\":\"reset_peer\",\"attributes\":{\"timeout\":2}}", CHAOS_DOWN);
	assert_int_equal(rule.reset_ns, 2000000);
	assert_true(rule.when_said);
	rule = rule_of("{\"type\":\"slicer\",\"attributes\":{\"average_size\":9,\"size_variation\":8,\"delay\":7}}",
		       CHAOS_DOWN);
	assert_int_equal(rule.slice, 9);
	assert_int_equal(rule.slice_jitter, 8);
	assert_int_equal(rule.slice_delay_ns, 7000);
	assert_int_equal(rule_of("{\"type\":\"limit_data\"}", CHAOS_DOWN).limit, 0);
	rule = rule_of("{\"type\":\"latency\",\"attributes\":{\"latency\":9223372036854775807}}", CHAOS_DOWN);
	assert_true(rule.latency_ns > UINT64_MAX / 2 && rule.latency_ns < CHAOS_NEVER);
}

static void test_names(void **state)
{
	struct toxic toxic = toxic_of("{\"type\":\"latency\",\"stream\":\"upstream\",\"name\":null}");

	(void)state;
	assert_string_equal(toxic.name, "latency_upstream");
	assert_string_equal(toxic_stream(&toxic), "upstream");
	assert_true(toxic.toxicity == 1);
	free(toxic.name);
	toxic = toxic_of(
		"{\"type\":\"latency\",\"name\":\"a\",\"toxicity\":0.25,\"name\":\"b\"}"); /* the last counts */
	assert_string_equal(toxic.name, "b");
	assert_true(toxic.toxicity == 0.25);
	free(toxic.name);
}

/* What is not said stays; after an error all does. */
static void test_changes(void **state)
{
	struct toxic toxic = toxic_of("{\"type\":\"latency\",\"attributes\":{\"latency\":1,\"jitter\":2}}");
	struct tn_value *value = value_of("{\"type\":5,\"name\":6,\"attributes\":{\"jitter\":9},\"toxicity\":0}");
	struct toxic_error error;

	(void)state;
	assert_true(toxic_change(value, &toxic, &error));
	assert_int_equal(toxic.values[0], 1);
	assert_int_equal(toxic.values[1], 9);
	assert_true(toxic.toxicity == 0);
	assert_int_equal(toxic.version, 1);
	assert_string_equal(toxic.name, "latency_downstream");
	tn_value_free(value);
	value = value_of("{\"attributes\":{\"latency\":4,\"jitter\":-1},\"toxicity\":1}");
	assert_false(toxic_change(value, &toxic, &error));
	assert_int_equal(error.status, 400);
	assert_string_equal(error.words, "bad request body: jitter is out of range");
	assert_int_equal(toxic.values[0], 1);
	assert_true(toxic.toxicity == 0);
	assert_int_equal(toxic.version, 1);
	tn_value_free(value);
	free(toxic.name);
}

static void test_bad(void **state)
{
	static const char *const cases[] = {
		"null",
		"[]",
		"{}",
		"{\"type\":\"\"}",
		"{\"type\":\"lat\\u0000ency\"}",
		"{\"type\":\"latency\",\"stream\":\"\"}",
		"{\"type\":\"latency\",\"stream\":1}",
		"{\"type\":\"latency\",\"toxicity\":\"1\"}",
		"{\"type\":\"latency\",\"attributes\":1}",
		"{\"type\":\"latency\",\"attributes\":{\"latency\":1e3}}",
		"{\"type\":\"latency\",\"attributes\":{\"latency\":18446744073709551615}}",
		"{\"type\":\"latency\",\"attributes\":{\"latency\":true}}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tn_value *value = value_of(cases[i]);
		struct toxic_error error = {0};
		struct toxic toxic;

		if (toxic_read(value, &toxic, &error))
			fail_msg("%s was taken", cases[i]);
		assert_int_equal(error.status, 400);
		tn_value_free(value);
	}
}

static void test_paths(void **state)
{
	static const struct {
		const char *path, *joined;
	} cases[] = {
		{"/a", "a"},
		{"/a/b/c/d", "a|b|c|d"},
		{"/a%20b/%2F%c3%A4", "a b|/\xc3\xa4"},
		{"", NULL},
		{"/", NULL},
		{"a", NULL},
		{"/a/", NULL},
		{"//a", NULL},
		{"/a/b/c/d/e", NULL},
		{"/%", NULL},
		{"/%4", NULL},
		{"/%4g", NULL},
		{"/%00", NULL},
		{"/a%2", NULL},
		{"/01234567890123456789012345678901", NULL},
		{"/0123456789012345678901234567890", "0123456789012345678901234567890"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *segments[4];
		char room[32], joined[64] = "";
		int count = http_segments((struct http_text){cases[i].path, strlen(cases[i].path)}, room, sizeof(room),
					  segments, 4);

		for (int n = 0; n < count; n++) {
			strcat(joined, n ? "|" : "");
			strcat(joined, segments[n]);
		}
		if (cases[i].joined ? count < 1 || strcmp(joined, cases[i].joined) != 0 : count != -1)
			fail_msg("%s: %d: %s", cases[i].path, count, joined);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types), cmocka_unit_test(test_names), cmocka_unit_test(test_changes),
		cmocka_unit_test(test_bad),   cmocka_unit_test(test_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
