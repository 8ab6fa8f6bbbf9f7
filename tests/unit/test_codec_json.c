#include "test_codec.h"

#include "codec/json.h"

#include <errno.h>
#include <locale.h>
#include <math.h>

static const struct tni_codec *const json = &tni_codec_json;
static const struct tni_codec_opts strict = {.strict = true};
static const struct tni_codec_opts pretty = {.pretty = true};

/* What is read, and how it is written again. */
static void texts_are_accepted(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"null", "null"},
		{" true ", "true"},
		{"\t\r\n false", "false"},
		{"\"\"", "\"\""},
		{"[]", "[]"},
		{" [ ] ", "[]"},
		{"{}", "{}"},
		{"{\"\":0}", "{\"\":0}"},
		{"[1,[2,[3]],{\"a\":{\"b\":[]}}]", "[1,[2,[3]],{\"a\":{\"b\":[]}}]"},
		{"{ \"b\" : 1 , \"a\" : 2 }", "{\"b\":1,\"a\":2}"},
		/* RFC 8259 section 4 leaves equal keys open: kept, in order */
		{"{\"a\":1,\"a\":2,\"a\":1}", "{\"a\":1,\"a\":2,\"a\":1}"},
		/* strings */
		{"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
		{"\"\\u0061\\u00e9\\u20AC\\ud834\\uDD1E\"", "\"a\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e\""},
		{"\"\\u0000\\u001f\\u007f\"", "\"\\u0000\\u001f\x7f\""},
		{"{\"\\u0000\":\"a\\u0000b\"}", "{\"\\u0000\":\"a\\u0000b\"}"},
		{"\"\\\\ud800\"", "\"\\\\ud800\""},
		{"\"\\\\\\ud834\\udd1e\"", "\"\\\\\xf0\x9d\x84\x9e\""},
		{"\"\xef\xbf\xbf\xf4\x8f\xbf\xbf\x7f\"", "\"\xef\xbf\xbf\xf4\x8f\xbf\xbf\x7f\""},
		{"\"\xe2\x80\xa8\"", "\"\xe2\x80\xa8\""},
		/* integers */
		{"0", "0"},
		{"-1", "-1"},
		{"9007199254740993", "9007199254740993"},
		{"9223372036854775807", "9223372036854775807"},
		{"-9223372036854775808", "-9223372036854775808"},
		{"-9223372036854775809", "-9223372036854775809"},
		{"18446744073709551615", "18446744073709551615"},
		{"-18446744073709551616", "-18446744073709551616"},
		{"18446744073709551616", "18446744073709551616"},
		{"-18446744073709551617", "-18446744073709551617"},
		{"123456789012345678901234567890123456789", "123456789012345678901234567890123456789"},
		/* floats: what has a point or an exponent, and -0 */
		{"-0", "-0.0"},
		{"0.0", "0.0"},
		{"-0.0", "-0.0"},
		{"1.0", "1.0"},
		{"1e0", "1.0"},
		{"1E+2", "100.0"},
		{"1e-2", "0.01"},
		{"0.1", "0.1"},
		{"0.30000000000000004", "0.30000000000000004"},
		{"123456.789", "123456.789"},
		{"1e16", "10000000000000000.0"},
		{"1e17", "1e17"},
		{"1.5e300", "1.5e300"},
		{"-1.5e-300", "-1.5e-300"},
		{"0.00001", "0.00001"},
		{"0.000001", "1e-6"},
		{"5e-324", "5e-324"},
		{"1e-400", "0.0"},
		{"-1e-400", "-0.0"},
		{"0e99999999999999999999", "0.0"},
		{"1.7976931348623157e308", "1.7976931348623157e308"},
		{"2.2250738585072014e-308", "2.2250738585072014e-308"},
		{"100000000000000000000.0", "1e20"},
		{"9007199254740993.0", "9007199254740992.0"},
		/* the nearest double is told by a digit far behind */
		{"9007199254740993.0000000000000000000000000000000000000000000000000000001", "9007199254740994.0"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		must_convert(json, cases[i].in, strlen(cases[i].in), json, cases[i].out, strlen(cases[i].out));
}

/* What is refused: why, and at which byte. */
static void texts_are_refused(void **state)
{
	static const struct {
		const char *in;
		int code;
		size_t at;
	} cases[] = {
		{"", TN_ETRUNC, 0},
		{"  ", TN_ETRUNC, 2},
		{"[", TN_ETRUNC, 1},
		/* a string behind the value that does not end: yajl takes it for nothing */
		{"null\"", TN_EFORMAT, 4},
		{"[1] \"a\\", TN_EFORMAT, 4},
		{"1 \"\\u00", TN_EFORMAT, 2},
		{"{}\n\"a", TN_EFORMAT, 3},
		{"\"\"\"", TN_EFORMAT, 2},
		{"1 tru", TN_EFORMAT, 2},
		{"1 -", TN_EFORMAT, 2},
		{"[1", TN_ETRUNC, 2},
		{"[1,", TN_ETRUNC, 3},
		{"[\"a\"", TN_ETRUNC, 4},
		{"{", TN_ETRUNC, 1},
		{"{\"a\"", TN_ETRUNC, 4},
		{"{\"a\":", TN_ETRUNC, 5},
		{"{\"a\":1", TN_ETRUNC, 6},
		{"{\"a\":1,", TN_ETRUNC, 7},
		{"\"abc", TN_ETRUNC, 4},
		{"\"\\", TN_ETRUNC, 2},
		{"\"\\u12", TN_ETRUNC, 5},
		{"tru", TN_ETRUNC, 3},
		{"-", TN_ETRUNC, 1},
		{"2.", TN_ETRUNC, 2},
		{"2e", TN_ETRUNC, 2},
		{"2e+", TN_ETRUNC, 3},
		{"]", TN_EFORMAT, 0},
		{"}", TN_EFORMAT, 0},
		{":", TN_EFORMAT, 0},
		{",", TN_EFORMAT, 0},
		{"*", TN_EFORMAT, 0},
		{"[1,]", TN_EFORMAT, 3},
		{"[,1]", TN_EFORMAT, 1},
		{"[1,,2]", TN_EFORMAT, 3},
		{"[1 2]", TN_EFORMAT, 3},
		{"[1}", TN_EFORMAT, 2},
		{"[1:2]", TN_EFORMAT, 2},
		{"[\"a\" \"b\"]", TN_EFORMAT, 5},
		{"{\"a\":1]", TN_EFORMAT, 6},
		{"{\"a\":1,}", TN_EFORMAT, 7},
		{"{,}", TN_EFORMAT, 1},
		{"{\"a\" 1}", TN_EFORMAT, 5},
		{"{\"a\":}", TN_EFORMAT, 5},
		{"{\"a\"::1}", TN_EFORMAT, 5},
		{"{\"a\":1 \"b\":2}", TN_EFORMAT, 7},
		{"{\"a\",\"b\"}", TN_EFORMAT, 4},
		{"{1:2}", TN_EFORMAT, 1},
		{"{a:1}", TN_EFORMAT, 1},
		{"{'a':1}", TN_EFORMAT, 1},
		{"[1]]", TN_EFORMAT, 3},
		{"[1] x", TN_EFORMAT, 4},
		{"1 2", TN_EFORMAT, 2},
		{"\"a\",", TN_EFORMAT, 3},
		{"truex", TN_EFORMAT, 4},
		{"True", TN_EFORMAT, 0},
		{"[tru]", TN_EFORMAT, 4},
		{"[nul]", TN_EFORMAT, 4},
		{"[1.]", TN_EFORMAT, 3},
		{"[.5]", TN_EFORMAT, 1},
		{"[+1]", TN_EFORMAT, 1},
		{"[01]", TN_EFORMAT, 2},
		{"[-01]", TN_EFORMAT, 3},
		{"[--1]", TN_EFORMAT, 2},
		{"[1e]", TN_EFORMAT, 3},
		{"[1e+]", TN_EFORMAT, 4},
		{"[0x10]", TN_EFORMAT, 2},
		{"[1_000]", TN_EFORMAT, 2},
		{"[NaN]", TN_EFORMAT, 1},
		{"[Infinity]", TN_EFORMAT, 1},
		{"[-Infinity]", TN_EFORMAT, 2},
		{"\"\t\"", TN_EFORMAT, 1},
		{"\"a\nb\"", TN_EFORMAT, 2},
		{"\"\\x41\"", TN_EFORMAT, 2},
		{"\"\\'\"", TN_EFORMAT, 2},
		{"\"\\u12g4\"", TN_EFORMAT, 5},
		{"\"\\U0041\"", TN_EFORMAT, 2},
		{"[1\f]", TN_EFORMAT, 2},
		{"[1,\v2]", TN_EFORMAT, 3},
		{"\xc2\xa0"
		 "1",
		 TN_EFORMAT, 0},
		{"// a\n1", TN_EFORMAT, 0},
		{"[1/* */]", TN_EFORMAT, 2},
		{"\"\\ud800\"", TN_EUTF8, 1},
		{"\"ab\\udc00\"", TN_EUTF8, 3},
		{"\"\\ud800\\u0041\"", TN_EUTF8, 1},
		{"\"\\ud834\\ud834\"", TN_EUTF8, 1},
		{"\"\\ud834\\n\"", TN_EUTF8, 1},
		{"{\"\\udfff\":1}", TN_EUTF8, 2},
		{"\"\xff\"", TN_EUTF8, 1},
		{"\"\xc0\xaf\"", TN_EUTF8, 1},
		{"\"a\xe0\x9f\xbf\"", TN_EUTF8, 2},
		{"\"\xed\xa0\x80\"", TN_EUTF8, 1},
		{"\"\xf0\x8f\xbf\xbf\"", TN_EUTF8, 1},
		{"\"\xf4\x90\x80\x80\"", TN_EUTF8, 1},
		{"\"\xc3\"", TN_EUTF8, 1},
		{"\"0123456789abcdef0123456789abcdef\x80\"", TN_EUTF8, 33},
		{"\xff\xfe[", TN_EUTF8, 0},
		/* what comes first is told */
		{"[1 2 \"\xff\"]", TN_EFORMAT, 3},
		{"[\"\xff\" 1]", TN_EUTF8, 2},
		{"[\"\\ud800\" 1\f]", TN_EUTF8, 2},
		{"[x\f]", TN_EFORMAT, 1},
		{"1e400", TN_ETOOBIG, 0},
		{"[-1e400]", TN_ETOOBIG, 1},
		{"{\"a\": 1.8e308}", TN_ETOOBIG, 6},
		{"[1e99999999999999999999]", TN_ETOOBIG, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		must_refuse(json, cases[i].in, strlen(cases[i].in), NULL, cases[i].code, cases[i].at);
	must_refuse(json, LITERAL("\0"), NULL, TN_EFORMAT, 0);
	must_refuse(json, LITERAL("[1,\0 2]"), NULL, TN_EFORMAT, 3);
	must_refuse(json, LITERAL("\"a\0\""), NULL, TN_EFORMAT, 2);
	must_refuse(json, LITERAL("[1]\0"), NULL, TN_EFORMAT, 3);
	must_refuse(json, NULL, 0, NULL, TN_ETRUNC, 0);
}

static void errors_have_line_and_column(void **state)
{
	struct tni_codec_error err = must_refuse(json, LITERAL("[1,\n 2,\n  x]"), NULL, TN_EFORMAT, 10);

	(void)state;
	assert_int_equal(err.line, 3);
	assert_int_equal(err.column, 3);
	err = must_refuse(json, LITERAL("[1"), NULL, TN_ETRUNC, 2);
	assert_int_equal(err.line, 1);
	assert_int_equal(err.column, 3);
}

static void strict_refuses_what_the_standard_leaves_open(void **state)
{
	struct tn_value *v;

	(void)state;
	must_refuse(json, LITERAL("{\"a\":1,\"b\":2,\"a\":3}"), &strict, TN_EDUPKEY, 13);
	must_refuse(json, LITERAL("[{\"\\\"\":1, \"\\u0022\":3}]"), &strict, TN_EDUPKEY, 10);
	must_refuse(json, LITERAL("{\"a\\\\\":{},\"a\\\\\":3}"), &strict, TN_EDUPKEY, 10);
	must_refuse(json, LITERAL("18446744073709551616"), &strict, TN_ETOOBIG, 0);
	must_refuse(json,
		    LITERAL("\xef\xbb\xbf"
			    "1"),
		    &strict, TN_EFORMAT, 0);
	v = must_decode(json, LITERAL("{\"a\":{\"a\":1},\"b\":[-18446744073709551616]}"), &strict);
	tn_value_free(v);
	/* a mark is a map like any other */
	v = must_decode(json, LITERAL("{\"$bytes\":\"AQID\"}"), &strict);
	assert_int_equal(tn_value_kind(v), TN_MAP);
	must_encode(json, v, &strict, LITERAL("{\"$bytes\":\"AQID\"}"));
	tn_value_free(v);
}

static void many_equal_keys_are_found_in_little_time(void **state)
{
	struct tni_bytes text = {0};
	size_t at = 0;

	(void)state;
	tni_bytes_put(&text, '{');
	for (int i = 0; i < 100000; i++) {
		char pair[32];
		int len = snprintf(pair, sizeof pair, "\"k%d\":0,", i == 77777 ? 5 : i);

		if (i == 77777)
			at = text.len;
		tni_bytes_append(&text, pair, (size_t)len);
	}
	tni_bytes_literal(&text, "\"k5\":1}");
	must_refuse(json, text.data, text.len, &strict, TN_EDUPKEY, at);
	tni_bytes_free(&text);
}

static void a_byte_order_mark_is_passed_over(void **state)
{
	(void)state;
	must_convert(json, LITERAL("\xef\xbb\xbf[1]"), json, LITERAL("[1]"));
	must_refuse(json, LITERAL("\xef\xbb\xbf[x]"), NULL, TN_EFORMAT, 4);
	must_refuse(json, LITERAL("\xef\xbb\xbf"), NULL, TN_ETRUNC, 3);
}

static void nesting_is_limited(void **state)
{
	char text[4096];
	struct tni_codec_opts deepest = {.max_depth = 1000000};
	struct tni_codec_opts shallow = {.max_depth = 2};
	struct tn_value *v;

	(void)state;
	memset(text, '[', 2048);
	memset(text + 2048, ']', 2048);
	v = must_decode(json, text + 2048 - 128, 256, NULL);
	assert_int_equal(tn_value_depth(v), 128);
	must_encode(json, v, NULL, text + 2048 - 128, 256);
	must_not_encode(json, v, &shallow, TN_EDEPTH);
	tn_value_free(v);
	must_refuse(json, text + 2048 - 129, 258, NULL, TN_EDEPTH, 128);
	v = must_decode(json, text + 2048 - TNI_DEPTH_MAX, 2 * TNI_DEPTH_MAX, &deepest);
	must_encode(json, v, &deepest, text + 2048 - TNI_DEPTH_MAX, 2 * TNI_DEPTH_MAX);
	tn_value_free(v);
	must_refuse(json, text, 4096, &deepest, TN_EDEPTH, TNI_DEPTH_MAX);
	must_refuse(json, LITERAL("{\"a\":[[1]]}"), &shallow, TN_EDEPTH, 6);
}

static void integers_of_any_size_are_kept_to_4096_bits(void **state)
{
	struct tni_bytes digits = {0};
	struct tn_value *v;
	uint8_t ones[512];

	(void)state;
	/* 2^4096 - 1, written from its bytes */
	memset(ones, 0xff, sizeof ones);
	v = tn_value_new_tag(2, tn_value_new_bytes(NULL, ones, sizeof ones));
	assert_int_equal(json->encode(v, NULL, &digits), 0);
	tn_value_free(v);
	assert_int_equal(digits.len, 1234);
	must_convert(json, digits.data, digits.len, json, digits.data, digits.len);
	digits.data[1233]++;
	must_refuse(json, digits.data, digits.len, NULL, TN_ETOOBIG, 0);
	memset(digits.data, '1', digits.len);
	tni_bytes_put(&digits, '1');
	must_refuse(json, digits.data, digits.len, NULL, TN_ETOOBIG, 0);
	tni_bytes_free(&digits);
}

static void long_escaped_strings(void **state)
{
	struct tni_bytes in = {0};

	(void)state;
	tni_bytes_put(&in, '"');
	for (int i = 0; i < 100000; i++)
		tni_bytes_literal(&in, "\\n\\u0001x");
	tni_bytes_put(&in, '"');
	must_convert(json, in.data, in.len, json, in.data, in.len);
	tni_bytes_free(&in);
}

static void pretty_output(void **state)
{
	struct tn_value *v = must_decode(json, LITERAL("{\"a\":[1,{}],\"b\":[],\"c\":{\"d\":null}}"), NULL);

	(void)state;
	must_encode(json, v, &pretty,
		    LITERAL("{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": [],\n  \"c\": {\n    \"d\": null\n  }\n}"));
	tn_value_free(v);
}

static void floats_that_json_lacks(void **state)
{
	struct tn_value *array = tn_value_new_array(NULL);

	(void)state;
	tn_value_append(array, tn_value_new_float(array, NAN));
	tn_value_append(array, tn_value_new_float(array, INFINITY));
	tn_value_append(array, tn_value_new_float(array, -INFINITY));
	must_encode(json, array, NULL,
		    LITERAL("[{\"$float\":\"NaN\"},{\"$float\":\"Infinity\"},{\"$float\":\"-Infinity\"}]"));
	must_not_encode(json, array, &strict, TN_EREPR);
	tn_value_free(array);
}

/* Every digit that a locale could change. */
static void a_locale_changes_nothing(void **state)
{
	static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "C.UTF-8"};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!setlocale(LC_ALL, names[i]))
			continue;
		must_convert(json, LITERAL("[0.5,1.1e-200,0.30000000000000004,12345678901234567890123.5]"), json,
			     LITERAL("[0.5,1.1e-200,0.30000000000000004,1.2345678901234568e22]"));
	}
	setlocale(LC_ALL, "C");
}

static void one_tree_serves_many_messages(void **state)
{
	struct tn_value *v = NULL;
	struct tn_value *first;

	(void)state;
	assert_int_equal(json->decode(LITERAL("{\"a\":1}"), NULL, &v, NULL), 0);
	first = v;
	assert_int_equal(json->decode(LITERAL("[1,"), NULL, &v, NULL), TN_ETRUNC);
	assert_int_equal(tn_value_kind(v), TN_NULL);
	assert_int_equal(json->decode(LITERAL("\"b\""), NULL, &v, NULL), 0);
	assert_ptr_equal(v, first);
	assert_string_equal(tn_value_text(v, NULL), "b");
	tn_value_free(v);
}

static const char *const values[] = {"0", "-1.5e3", "[]", "{}", "true", "null", "\"s\"", "[1,{\"a\":2}]"};

/* Whatever stands where a comma or bracket must, at its first byte: not in the midst of a word that it begins. */
static void test_position_behind_a_value(void **state)
{
	static const char *const wrong[] = {"foo", "true", "nul", "-", "1", "\"a",  "\"",
					    "?",   "[",    "{",   ":", "/", "\\u00"};
	static const char *const around[][3] = {
		{"[", "", "]"}, {"[ ", " ", " ]"}, {"[0,", "\n", ""}, {"{\"k\":", "", "}"}, {"[[{\"k\":", "\t", "}]]"}};

	(void)state;
	for (size_t a = 0; a < sizeof(around) / sizeof(around[0]); a++)
		for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++)
			for (size_t w = 0; w < sizeof(wrong) / sizeof(wrong[0]); w++) {
				struct tni_codec_error err = {0};
				char text[100];
				size_t at;

				if (!*around[a][1] && (values[v][0] == '-' || values[v][0] == '0') &&
				    wrong[w][0] == '1')
					continue; /* a longer number */
				at = (size_t)snprintf(text, sizeof(text), "%s%s%s", around[a][0], values[v],
						      around[a][1]);
				snprintf(text + at, sizeof(text) - at, "%s%s", wrong[w], around[a][2]);
				assert_int_equal(tni_codec_json.check(text, strlen(text), NULL, &err), TN_EFORMAT);
				if (err.at != at)
					fail_msg("%s: byte %zu instead of %zu (%s)", text, err.at, at, err.text);
			}
}

/* All texts of some bytes: both readings agree, and what stands in front of the wrong byte is a text that ends early or
 * a whole one, so that no earlier byte can be to blame. */
static void test_every_short_text(void **state)
{
	static const char alphabet[] = "[]{},:\"1-.e \\n";
	const size_t letters = sizeof(alphabet) - 1;
	char text[6];

	(void)state;
	for (size_t len = 1; len < sizeof(text); len++) {
		size_t count = 1;

		for (size_t i = 0; i < len; i++)
			count *= letters;
		for (size_t n = 0; n < count; n++) {
			struct tni_codec_error err = {0};
			const char *why;
			size_t left = n, at;
			int code;

			for (size_t i = 0; i < len; i++, left /= letters)
				text[i] = alphabet[left % letters];
			code = tni_json_locate(text, len, 128, &why, &at);
			assert_int_equal(tni_codec_json.check(text, len, NULL, &err), code);
			if (code != TN_EFORMAT)
				continue;
			assert_int_equal(err.at, at);
			code = tni_codec_json.check(text, at, NULL, NULL);
			if (code != TN_ETRUNC && code != 0)
				fail_msg("%.*s: byte %zu is not the first wrong one", (int)len, text, at);
		}
	}
}

static void every_position(void **state)
{
	static const char likely[] = "[]{},:\"\"\\utruefalsn012e+-. \n";

	(void)state;
	positions_are_exact(json, (const uint8_t *)likely, sizeof(likely) - 1, 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_position),
		cmocka_unit_test(test_position_behind_a_value),
		cmocka_unit_test(test_every_short_text),
		cmocka_unit_test(texts_are_accepted),
		cmocka_unit_test(texts_are_refused),
		cmocka_unit_test(errors_have_line_and_column),
		cmocka_unit_test(strict_refuses_what_the_standard_leaves_open),
		cmocka_unit_test(many_equal_keys_are_found_in_little_time),
		cmocka_unit_test(a_byte_order_mark_is_passed_over),
		cmocka_unit_test(nesting_is_limited),
		cmocka_unit_test(integers_of_any_size_are_kept_to_4096_bits),
		cmocka_unit_test(long_escaped_strings),
		cmocka_unit_test(pretty_output),
		cmocka_unit_test(floats_that_json_lacks),
		cmocka_unit_test(a_locale_changes_nothing),
		cmocka_unit_test(one_tree_serves_many_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
