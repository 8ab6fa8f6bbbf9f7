/* replay: how a reply differs from the one that was recorded, and what of it is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/text.h"
#include "replay/compare.h"
#include "tenon.h"
#include "tenon_value.h"

#include <stdio.h>
#include <string.h>

static struct tn_value *value_of(const char *json)
{
	struct tn_value *value = NULL;

	if (tn_decode("json", json, strlen(json), 0, &value) < 0)
		fail_msg("%s: %s", json, tn_errmsg());
	return value;
}

/* `ignored`: one path, or NULL. `said` NULL: they are alike. */
static void expect(const char *got, const char *was, const char *path, const char *said)
{
	struct tn_value *a = value_of(got), *b = value_of(was);
	struct ignored ignored = {0};
	struct text text = {0};

	if (path)
		assert_null(ignore_add(&ignored, path));
	assert_int_equal(compare_values(a, b, &ignored, &text), said != NULL);
	text_bytes(&text, "", 1);
	assert_string_equal(text.data, said ? said : "");
	text_free(&text);
	tn_value_free(a);
	tn_value_free(b);
}

static void test_values(void **state)
{
	(void)state;
	expect("{\"a\":1,\"b\":[1,2]}", "{\"b\":[1,2],\"a\":1}", NULL, NULL);
	expect("1", "2", NULL, "$: 1, was 2");
	expect("[]", "{}", NULL, "$: [], was {}");
	expect("{\"a\":1}", "{\"a\":\"1\"}", NULL, "$.a: 1, was \"1\"");
	expect("{\"a\":1}", "{}", NULL, "$.a: 1, was not there");
	expect("{}", "{\"a\":1}", NULL, "$.a: missing, was 1");
	expect("[1,2,3]", "[1,5]", NULL, "$[1]: 2, was 5; $[2]: 3, was not there");
	expect("[1]", "[1,5]", NULL, "$[1]: missing, was 5");
	expect("{\"a\":{\"b\":[{\"c\":true}]}}", "{\"a\":{\"b\":[{\"c\":false}]}}", NULL,
	       "$.a.b[0].c: true, was false");
	expect("{\"a_-9\":1,\"a b\":1,\"\":1}", "{\"a_-9\":2,\"a b\":2,\"\":2}", NULL,
	       "$.a_-9: 1, was 2; $[\"a b\"]: 1, was 2; $[\"\"]: 1, was 2");
	expect("[1,1,1,1,1,1,1,1]", "[2,2,2,2,2,2,2,2]", NULL,
	       "$[0]: 1, was 2; $[1]: 1, was 2; $[2]: 1, was 2; $[3]: 1, was 2; $[4]: 1, was 2; $[5]: 1, was 2; "
	       "$[6]: 1, was 2; $[7]: 1, was 2");
	expect("[1,1,1,1,1,1,1,1,1,1]", "[2,2,2,2,2,2,2,2,2,2]", NULL,
	       "$[0]: 1, was 2; $[1]: 1, was 2; $[2]: 1, was 2; $[3]: 1, was 2; $[4]: 1, was 2; $[5]: 1, was 2; "
	       "$[6]: 1, was 2; $[7]: 1, was 2; and more");
	expect("\"0123456789012345678901234567890123456789012345678901234567\"", "0", NULL,
	       "$: \"0123456789012345678901234567890123456789012345678901234567\", was 0");
	expect("\"01234567890123456789012345678901234567890123456789012345678\"", "0", NULL,
	       "$: \"01234567890123456789012345678901234567890123456789012345678..., was 0");
}

/* A path is left out with all below it. */
static void test_ignored(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool has;
	} rows[] = {
		{"$.a", "$.a", true},           {"$.a", "$.b", false},
		{"$.a", "$.ab", false},         {"$.ab", "$.a", false},
		{"$.a", "$.b.a", false},        {"$.*", "$.abc", true},
		{"$.*", "$.a.b", false},        {"$.*.b", "$.a.b", true},
		{"$.*.b", "$.a.c", false},      {"$.*", "$[0]", false},
		{"$[2]", "$[2]", true},         {"$[2]", "$[20]", false},
		{"$[*]", "$[20]", true},        {"$[*]", "$[\"a b\"]", true},
		{"$[*].id", "$[7].id", true},   {"$[*].id", "$[7].ix", false},
		{"$[*][*]", "$[1][2]", true},   {"$[*]", "$[1][2]", false},
		{"$[*].x", "$[\"]\"].x", true}, {"$[*].x", "$[\"\\\"]\"].x", true},
		{"$..id", "$.id", true},        {"$..id", "$.a[3].b.id", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ignored ignored = {0};

		assert_null(ignore_add(&ignored, "$.another"));
		assert_null(ignore_add(&ignored, rows[i].pattern));
		if (ignore_has(&ignored, rows[i].path) != rows[i].has)
			fail_msg("%s: %s", rows[i].pattern, rows[i].path);
	}
	assert_non_null(ignore_add(&(struct ignored){0}, "a"));
	assert_non_null(ignore_add(&(struct ignored){0}, "$"));
	assert_non_null(ignore_add(&(struct ignored){0}, "$a"));
	expect("{\"a\":{\"b\":1},\"c\":1}", "{\"a\":{\"b\":2,\"d\":3},\"c\":2}", "$.a", "$.c: 1, was 2");
	expect("[{\"t\":1},{\"t\":2}]", "[{\"t\":3},{\"t\":4}]", "$..t", NULL);
}

static void test_bytes(void **state)
{
	static const struct {
		const char *got, *was;
		size_t got_len, was_len;
		const char *said;
	} rows[] = {
		{"abc", "abc", 3, 3, ""},
		{"", "", 0, 0, ""},
		{"abc", "abd", 3, 3, "byte 12: \"c\", was \"d\""},
		{"ab", "abd", 2, 3, "byte 12: \"\", was \"d\""},
		{"abcd", "ab", 4, 2, "byte 12: \"cd\", was \"\""},
		{"\"\\\n", "x", 3, 1, "byte 10: \"\\x22\\x5c\\x0a\", was \"x\""},
		{"123456789012345678901234", "", 24, 0, "byte 10: \"123456789012345678901234\", was \"\""},
		{"1234567890123456789012345", "", 25, 0, "byte 10: \"123456789012345678901234\"..., was \"\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct text text = {0};

		assert_int_equal(compare_bytes(rows[i].got, rows[i].got_len, rows[i].was, rows[i].was_len, 10, &text),
				 *rows[i].said != '\0');
		text_bytes(&text, "", 1);
		assert_string_equal(text.data, rows[i].said);
		text_free(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_ignored),
		cmocka_unit_test(test_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
