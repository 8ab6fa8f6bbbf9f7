#include "test_codec.h"

#define BUFFER 70000

static const struct tni_codec *const msgpack = &tni_codec_msgpack;

/* Every format of the specification: as it is read, as our JSON, and as it is written where that is shorter. */
static const struct {
	const char *hex, *json, *written;
} examples[] = {
	{"c0", "null", NULL},
	{"c2", "false", NULL},
	{"c3", "true", NULL},
	{"00", "0", NULL},
	{"7f", "127", NULL},
	{"ff", "-1", NULL},
	{"e0", "-32", NULL},
	{"cc80", "128", NULL},
	{"ccff", "255", NULL},
	{"cc01", "1", "01"},
	{"cd0100", "256", NULL},
	{"cdffff", "65535", NULL},
	{"ce00010000", "65536", NULL},
	{"ceffffffff", "4294967295", NULL},
	{"cf0000000100000000", "4294967296", NULL},
	{"cfffffffffffffffff", "18446744073709551615", NULL},
	{"cf0000000000000001", "1", "01"},
	{"d0df", "-33", NULL},
	{"d080", "-128", NULL},
	{"d07f", "127", "7f"},
	{"d1ff7f", "-129", NULL},
	{"d18000", "-32768", NULL},
	{"d2ffff7fff", "-32769", NULL},
	{"d280000000", "-2147483648", NULL},
	{"d3ffffffff7fffffff", "-2147483649", NULL},
	{"d38000000000000000", "-9223372036854775808", NULL},
	{"d37fffffffffffffff", "9223372036854775807", "cf7fffffffffffffff"},
	{"ca3fc00000", "1.5", NULL},
	{"ca7f800000", "{\"$float\":\"Infinity\"}", NULL},
	{"ca7fc00000", "{\"$float\":\"NaN\"}", NULL},
	{"cb3ff8000000000000", "1.5", "ca3fc00000"},
	{"cb3ff199999999999a", "1.1", NULL},
	{"cb8000000000000000", "-0.0", "ca80000000"},
	{"a0", "\"\"", NULL},
	{"a161", "\"a\"", NULL},
	{"bf61616161616161616161616161616161616161616161616161616161616161", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
	 NULL},
	{"d900", "\"\"", "a0"},
	{"d90161", "\"a\"", "a161"},
	{"d920"
	 "6161616161616161616161616161616161616161616161616161616161616161",
	 "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", NULL},
	{"da000161", "\"a\"", "a161"},
	{"da0000", "\"\"", "a0"},
	{"db0000000161", "\"a\"", "a161"},
	{"db00000000", "\"\"", "a0"},
	{"a2006e", "\"\\u0000n\"", NULL},
	{"c400", "{\"$bytes\":\"\"}", NULL},
	{"c401ff", "{\"$bytes\":\"_w\"}", NULL},
	{"c50001ff", "{\"$bytes\":\"_w\"}", "c401ff"},
	{"c50000", "{\"$bytes\":\"\"}", "c400"},
	{"c600000001ff", "{\"$bytes\":\"_w\"}", "c401ff"},
	{"90", "[]", NULL},
	{"9301c0a0", "[1,null,\"\"]", NULL},
	{"dc000101", "[1]", "9101"},
	{"dc0000", "[]", "90"},
	{"dd0000000101", "[1]", "9101"},
	{"9f010203040506070809000102030405", "[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5]", NULL},
	{"dc001001020304050607080900010203040506", "[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6]", NULL},
	{"80", "{}", NULL},
	{"82a16101a16202", "{\"a\":1,\"b\":2}", NULL},
	/* equal keys: the specification is silent, so they are kept */
	{"82a16101a16102", "{\"a\":1,\"a\":2}", NULL},
	{"de0001a16101", "{\"a\":1}", "81a16101"},
	{"df00000001a16101", "{\"a\":1}", "81a16101"},
	{"de0000", "{}", "80"},
	{"8301029101c0c0c3", "{\"$map\":[[1,2],[[1],null],[null,true]]}", NULL},
	{"d40561", "{\"$ext\":5,\"value\":\"YQ\"}", NULL},
	{"d5056162", "{\"$ext\":5,\"value\":\"YWI\"}", NULL},
	{"d60561626364", "{\"$ext\":5,\"value\":\"YWJjZA\"}", NULL},
	{"d7ff0000000000000001", "{\"$ext\":-1,\"value\":\"AAAAAAAAAAE\"}", NULL},
	{"d88000000000000000000000000000000000", "{\"$ext\":-128,\"value\":\"AAAAAAAAAAAAAAAAAAAAAA\"}", NULL},
	{"c7007f", "{\"$ext\":127,\"value\":\"\"}", NULL},
	{"c70305616263", "{\"$ext\":5,\"value\":\"YWJj\"}", NULL},
	{"c8000305616263", "{\"$ext\":5,\"value\":\"YWJj\"}", "c70305616263"},
	{"c80000ff", "{\"$ext\":-1,\"value\":\"\"}", "c700ff"},
	{"c90000000305616263", "{\"$ext\":5,\"value\":\"YWJj\"}", "c70305616263"},
	/* the timestamp of 96 bits */
	{"c70cff3b9ac9ff0000000000000001", "{\"$ext\":-1,\"value\":\"O5rJ_wAAAAAAAAAB\"}", NULL},
	/* marks of what it lacks */
	{"82a42474616701a576616c756502", "{\"$tag\":1,\"value\":2}", NULL},
	{"81a72473696d706c6517", "{\"$simple\":23}", NULL},
	{"81a424696e74b52d3138343436373434303733373039353531363136", "-18446744073709551616", NULL},
	{"82a42474616702a576616c7565c409010000000000000000", "18446744073709551616", NULL},
};

static void examples_read_and_written(void **state)
{
	static uint8_t in[BUFFER], out[BUFFER];

	(void)state;
	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		const char *written = examples[i].written ? examples[i].written : examples[i].hex;
		size_t in_len = unhex(examples[i].hex, in);
		size_t out_len = unhex(written, out);

		must_convert(msgpack, in, in_len, &tni_codec_json, examples[i].json, strlen(examples[i].json));
		must_convert(msgpack, in, in_len, msgpack, out, out_len);
		must_convert(&tni_codec_json, examples[i].json, strlen(examples[i].json), msgpack, out, out_len);
		for (size_t cut = 0; cut < in_len; cut++)
			must_refuse(msgpack, in, cut, NULL, TN_ETRUNC, cut);
		in[in_len] = 0;
		must_refuse(msgpack, in, in_len + 1, NULL, TN_EFORMAT, in_len);
	}
}

/* Sizes on both sides of each border between two forms. */
static void every_size_of_data(void **state)
{
	static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 255, 256, 65535, 65536};
	static uint8_t data[BUFFER];

	(void)state;
	memset(data, 'x', sizeof data);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct tn_value *array = tn_value_new_array(NULL);
		struct tn_value *items = tn_value_new_array(array);
		struct tni_bytes out = {0};
		struct tn_value *back;

		tn_value_append(array, tn_value_new_text(array, (char *)data, sizes[i]));
		tn_value_append(array, tn_value_new_bytes(array, data, sizes[i]));
		tn_value_append(array, tn_value_new_ext(array, -7, data, sizes[i]));
		for (size_t j = 0; j < sizes[i]; j++)
			tn_value_append(items, tn_value_new_null(array));
		tn_value_append(array, items);
		assert_int_equal(msgpack->encode(array, NULL, &out), 0);
		back = must_decode(msgpack, out.data, out.len, NULL);
		assert_true(tn_value_equal(array, back));
		tn_value_free(back);
		tn_value_free(array);
		tni_bytes_free(&out);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *hex;
		int code;
		size_t at;
	} cases[] = {
		{"c1", TN_EFORMAT, 0},
		{"93c0c1c0", TN_EFORMAT, 2},
		{"81a161c1", TN_EFORMAT, 3},
		{"0000", TN_EFORMAT, 1},
		{"a161c0", TN_EFORMAT, 2},
		{"a1ff", TN_EUTF8, 1},
		{"92a161a361c328", TN_EUTF8, 5},
		{"d90261ff", TN_EUTF8, 3},
		{"81a1ff01", TN_EUTF8, 2},
		/* lengths and counts that the input does not hold: nothing may be allocated for them */
		{"c6ffffffff00", TN_ETRUNC, 6},
		{"c9ffffffff", TN_ETRUNC, 5},
		{"c9ffffffff00", TN_ETRUNC, 6},
		{"c9fffffffe0000", TN_ETRUNC, 7},
		{"dbffffffff61", TN_ETRUNC, 6},
		{"ddffffffff", TN_ETRUNC, 5},
		{"ddffffffffc0c0", TN_ETRUNC, 7},
		{"dfffffffff", TN_ETRUNC, 5},
		{"dfffffffffc0c0", TN_ETRUNC, 7},
		{"92ddffffffff", TN_ETRUNC, 6},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t in[64];

		must_refuse(msgpack, in, unhex(cases[i].hex, in), NULL, cases[i].code, cases[i].at);
	}
	must_refuse(msgpack, NULL, 0, NULL, TN_ETRUNC, 0);
}

/* Every kind and form stands between two equal keys: so the position of the second tells whether each was counted
 * right. */
static void strict_names_the_second_key(void **state)
{
	static const struct tni_codec_opts strict = {.strict = true};
	static uint8_t in[BUFFER];

	(void)state;
	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		size_t len;

		in[0] = 0x82;
		in[1] = 0xcd;
		in[2] = 0;
		in[3] = 1;
		len = unhex(examples[i].hex, in + 4);
		in[4 + len] = 1;
		in[5 + len] = 0xc0;
		if (strstr(examples[i].json, "\"a\":1,\"a\"")) {
			must_refuse(msgpack, in, 6 + len, &strict, TN_EDUPKEY, 8);
			continue;
		}
		must_refuse(msgpack, in, 6 + len, &strict, TN_EDUPKEY, 4 + len);
	}
}

static void nesting_is_limited(void **state)
{
	static const uint8_t heads[] = {0x91, 0x81};
	struct tni_codec_opts deepest = {.max_depth = 100000};
	uint8_t in[4000];

	(void)state;
	for (size_t i = 0; i < sizeof heads; i++) {
		memset(in, heads[i], sizeof in);
		must_refuse(msgpack, in, sizeof in, NULL, TN_EDEPTH, 128);
		must_refuse(msgpack, in, sizeof in, &deepest, TN_EDEPTH, TNI_DEPTH_MAX);
	}
	memset(in, 0x91, TNI_DEPTH_MAX);
	in[TNI_DEPTH_MAX - 1] = 0x90;
	tn_value_free(must_decode(msgpack, in, TNI_DEPTH_MAX, &deepest));
	in[127] = 0x90;
	must_convert(msgpack, in, 128, msgpack, in, 128);
	in[127] = 0x91;
	in[128] = 0x90;
	must_refuse(msgpack, in, 129, NULL, TN_EDEPTH, 128);
}

static void what_msgpack_cannot_write(void **state)
{
	static const struct tni_codec_opts strict = {.strict = true};
	struct tn_value *v = tn_value_new_simple(NULL, 23);

	(void)state;
	must_not_encode(msgpack, v, &strict, TN_EREPR);
	v = tn_value_new_tag(1, v);
	must_not_encode(msgpack, v, &strict, TN_EREPR);
	tn_value_free(v);
}

static void every_position(void **state)
{
	static const uint8_t likely[] = {0x00, 0x7f, 0x80, 0x81, 0x82, 0x90, 0x91, 0x92, 0xa0, 0xa1, 0xc0,
					 0xc1, 0xc3, 0xc4, 0xc7, 0xca, 0xd0, 0xd4, 0xd9, 0xdc, 0xde, 0xe0};

	(void)state;
	positions_are_exact(&tni_codec_msgpack, likely, sizeof(likely), 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_position),
		cmocka_unit_test(examples_read_and_written),
		cmocka_unit_test(every_size_of_data),
		cmocka_unit_test(refused),
		cmocka_unit_test(strict_names_the_second_key),
		cmocka_unit_test(nesting_is_limited),
		cmocka_unit_test(what_msgpack_cannot_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
