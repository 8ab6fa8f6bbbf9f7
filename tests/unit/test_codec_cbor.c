#include "test_codec.h"

#include <math.h>

#define BUFFER 4096

static const struct tni_codec *const cbor = &tni_codec_cbor;

/* RFC 8949 Appendix A, in full: the encoding, the value as our JSON, and the encoding we write where it is another
 * (their indefinite lengths and longer floats). */
static const struct {
	const char *hex, *json, *written;
} examples[] = {
	{"00", "0", NULL},
	{"01", "1", NULL},
	{"0a", "10", NULL},
	{"17", "23", NULL},
	{"1818", "24", NULL},
	{"1819", "25", NULL},
	{"1864", "100", NULL},
	{"1903e8", "1000", NULL},
	{"1a000f4240", "1000000", NULL},
	{"1b000000e8d4a51000", "1000000000000", NULL},
	{"1bffffffffffffffff", "18446744073709551615", NULL},
	{"c249010000000000000000", "18446744073709551616", NULL},
	{"3bffffffffffffffff", "-18446744073709551616", NULL},
	{"c349010000000000000000", "-18446744073709551617", NULL},
	{"20", "-1", NULL},
	{"29", "-10", NULL},
	{"3863", "-100", NULL},
	{"3903e7", "-1000", NULL},
	{"f90000", "0.0", NULL},
	{"f98000", "-0.0", NULL},
	{"f93c00", "1.0", NULL},
	{"fb3ff199999999999a", "1.1", NULL},
	{"f93e00", "1.5", NULL},
	{"f97bff", "65504.0", NULL},
	{"fa47c35000", "100000.0", NULL},
	{"fa7f7fffff", "3.4028234663852886e38", NULL},
	{"fb7e37e43c8800759c", "1e300", NULL},
	{"f90001", "5.960464477539063e-8", NULL},
	{"f90400", "0.00006103515625", NULL},
	{"f9c400", "-4.0", NULL},
	{"fbc010666666666666", "-4.1", NULL},
	{"f97c00", "{\"$float\":\"Infinity\"}", NULL},
	{"f97e00", "{\"$float\":\"NaN\"}", NULL},
	{"f9fc00", "{\"$float\":\"-Infinity\"}", NULL},
	{"fa7f800000", "{\"$float\":\"Infinity\"}", "f97c00"},
	{"fa7fc00000", "{\"$float\":\"NaN\"}", "f97e00"},
	{"faff800000", "{\"$float\":\"-Infinity\"}", "f9fc00"},
	{"fb7ff0000000000000", "{\"$float\":\"Infinity\"}", "f97c00"},
	{"fb7ff8000000000000", "{\"$float\":\"NaN\"}", "f97e00"},
	{"fbfff0000000000000", "{\"$float\":\"-Infinity\"}", "f9fc00"},
	{"f4", "false", NULL},
	{"f5", "true", NULL},
	{"f6", "null", NULL},
	{"f7", "{\"$simple\":23}", NULL},
	{"f0", "{\"$simple\":16}", NULL},
	{"f8ff", "{\"$simple\":255}", NULL},
	{"c074323031332d30332d32315432303a30343a30305a", "{\"$tag\":0,\"value\":\"2013-03-21T20:04:00Z\"}", NULL},
	{"c11a514b67b0", "{\"$tag\":1,\"value\":1363896240}", NULL},
	{"c1fb41d452d9ec200000", "{\"$tag\":1,\"value\":1363896240.5}", NULL},
	{"d74401020304", "{\"$tag\":23,\"value\":{\"$bytes\":\"AQIDBA\"}}", NULL},
	{"d818456449455446", "{\"$tag\":24,\"value\":{\"$bytes\":\"ZElFVEY\"}}", NULL},
	{"d82076687474703a2f2f7777772e6578616d706c652e636f6d", "{\"$tag\":32,\"value\":\"http://www.example.com\"}",
	 NULL},
	{"40", "{\"$bytes\":\"\"}", NULL},
	{"4401020304", "{\"$bytes\":\"AQIDBA\"}", NULL},
	{"60", "\"\"", NULL},
	{"6161", "\"a\"", NULL},
	{"6449455446", "\"IETF\"", NULL},
	{"62225c", "\"\\\"\\\\\"", NULL},
	{"62c3bc", "\"\xc3\xbc\"", NULL},
	{"63e6b0b4", "\"\xe6\xb0\xb4\"", NULL},
	{"64f0908591", "\"\xf0\x90\x85\x91\"", NULL},
	{"80", "[]", NULL},
	{"83010203", "[1,2,3]", NULL},
	{"8301820203820405", "[1,[2,3],[4,5]]", NULL},
	{"98190102030405060708090a0b0c0d0e0f101112131415161718181819",
	 "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]", NULL},
	{"a0", "{}", NULL},
	{"a201020304", "{\"$map\":[[1,2],[3,4]]}", NULL},
	{"a26161016162820203", "{\"a\":1,\"b\":[2,3]}", NULL},
	{"826161a161626163", "[\"a\",{\"b\":\"c\"}]", NULL},
	{"a56161614161626142616361436164614461656145", "{\"a\":\"A\",\"b\":\"B\",\"c\":\"C\",\"d\":\"D\",\"e\":\"E\"}",
	 NULL},
	{"5f42010243030405ff", "{\"$bytes\":\"AQIDBAU\"}", "450102030405"},
	{"7f657374726561646d696e67ff", "\"streaming\"", "6973747265616d696e67"},
	{"9fff", "[]", "80"},
	{"9f018202039f0405ffff", "[1,[2,3],[4,5]]", "8301820203820405"},
	{"9f01820203820405ff", "[1,[2,3],[4,5]]", "8301820203820405"},
	{"83018202039f0405ff", "[1,[2,3],[4,5]]", "8301820203820405"},
	{"83019f0203ff820405", "[1,[2,3],[4,5]]", "8301820203820405"},
	{"9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff",
	 "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]",
	 "98190102030405060708090a0b0c0d0e0f101112131415161718181819"},
	{"bf61610161629f0203ffff", "{\"a\":1,\"b\":[2,3]}", "a26161016162820203"},
	{"826161bf61626163ff", "[\"a\",{\"b\":\"c\"}]", "826161a161626163"},
	{"bf6346756ef563416d7421ff", "{\"Fun\":true,\"Amt\":-2}", "a26346756ef563416d7421"},
};

/* -1 - n: where all digits of n + 1 are zero but the first, one is borrowed through all of them. */
static void negative_bignums(void **state)
{
	static const struct {
		const char *json, *hex;
	} cases[] = {
		{"-18446744073709551617", "c349010000000000000000"},
		{"-18446744073709551618", "c349010000000000000001"},
		{"-4722366482869645213696", "c349ffffffffffffffffff"},
		{"-4722366482869645213697", "c34a01000000000000000000"},
		{"-79228162514264337593543950336", "c34cffffffffffffffffffffffff"},
		{"-340282366920938463463374607431768211456", "c350ffffffffffffffffffffffffffffffff"},
		{"-340282366920938463463374607431768211457", "c35101000000000000000000000000000000"
							     "00"},
	};
	uint8_t bytes[BUFFER];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		size_t len = unhex(cases[i].hex, bytes);

		must_convert(&tni_codec_json, cases[i].json, strlen(cases[i].json), cbor, bytes, len);
		must_convert(cbor, bytes, len, &tni_codec_json, cases[i].json, strlen(cases[i].json));
	}
}

static void appendix_a(void **state)
{
	(void)state;
	assert_int_equal(sizeof examples / sizeof *examples, 81);
	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		const char *written = examples[i].written ? examples[i].written : examples[i].hex;
		uint8_t in[BUFFER], out[BUFFER];
		size_t in_len = unhex(examples[i].hex, in);
		size_t out_len = unhex(written, out);

		must_convert(cbor, in, in_len, &tni_codec_json, examples[i].json, strlen(examples[i].json));
		must_convert(cbor, in, in_len, cbor, out, out_len);
		must_convert(&tni_codec_json, examples[i].json, strlen(examples[i].json), cbor, out, out_len);
	}
}

/* Where each example is cut, the input ends early. */
static void every_prefix_ends_early(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
		uint8_t in[BUFFER];
		size_t len = unhex(examples[i].hex, in);

		for (size_t cut = 0; cut < len; cut++)
			must_refuse(cbor, in, cut, NULL, TN_ETRUNC, cut);
		in[len] = 0;
		must_refuse(cbor, in, len + 1, NULL, TN_EFORMAT, len);
	}
}

/* RFC 8949 Appendix F, and what follows from it. */
static void not_well_formed(void **state)
{
	static const struct {
		const char *hex;
		int code;
		size_t at;
	} cases[] = {
		/* a length or a count that the input does not hold, up to the largest: nothing may be allocated for
		 * it */
		{"5affffffff00", TN_ETRUNC, 6},
		{"5bffffffffffffffff010203", TN_ETRUNC, 12},
		{"7affffffff00", TN_ETRUNC, 6},
		{"7b7fffffffffffffff010203", TN_ETRUNC, 12},
		{"9affffffff00", TN_ETRUNC, 6},
		{"9bffffffffffffffff", TN_ETRUNC, 9},
		{"9bffffffffffffffff00", TN_ETRUNC, 10},
		{"9b7fffffffffffffff00", TN_ETRUNC, 10},
		{"bbffffffffffffffff0001", TN_ETRUNC, 11},
		{"bb80000000000000000001", TN_ETRUNC, 11},
		{"bb7fffffffffffffff0001", TN_ETRUNC, 11},
		{"818181818181818181", TN_ETRUNC, 9},
		{"a2000000", TN_ETRUNC, 4},
		{"5f4100", TN_ETRUNC, 3},
		{"7f6100", TN_ETRUNC, 3},
		{"9f", TN_ETRUNC, 1},
		{"bf01020102", TN_ETRUNC, 5},
		{"819f", TN_ETRUNC, 2},
		{"9f8000", TN_ETRUNC, 3},
		{"9f9f9f9f9fffffffff", TN_ETRUNC, 9},
		{"9f819f819f9fffffff", TN_ETRUNC, 9},
		{"c0", TN_ETRUNC, 1},
		{"f8", TN_ETRUNC, 1},
		/* reserved additional information, in every major type */
		{"1c", TN_EFORMAT, 0},
		{"1d", TN_EFORMAT, 0},
		{"1e", TN_EFORMAT, 0},
		{"3c", TN_EFORMAT, 0},
		{"5d", TN_EFORMAT, 0},
		{"7e", TN_EFORMAT, 0},
		{"9c", TN_EFORMAT, 0},
		{"bd", TN_EFORMAT, 0},
		{"dc", TN_EFORMAT, 0},
		{"dd", TN_EFORMAT, 0},
		{"de", TN_EFORMAT, 0},
		{"fc", TN_EFORMAT, 0},
		{"fd", TN_EFORMAT, 0},
		{"fe", TN_EFORMAT, 0},
		{"82001c", TN_EFORMAT, 2},
		/* indefinite length where there is none */
		{"1f", TN_EFORMAT, 0},
		{"3f", TN_EFORMAT, 0},
		{"df", TN_EFORMAT, 0},
		/* a simple value that has a shorter form */
		{"f800", TN_EFORMAT, 1},
		{"f814", TN_EFORMAT, 1},
		{"f818", TN_EFORMAT, 1},
		{"81f81f", TN_EFORMAT, 2},
		/* what is no chunk of a string */
		{"5f00ff", TN_EFORMAT, 1},
		{"5f21ff", TN_EFORMAT, 1},
		{"5f6100ff", TN_EFORMAT, 1},
		{"5f80ff", TN_EFORMAT, 1},
		{"5fa0ff", TN_EFORMAT, 1},
		{"5fc000ff", TN_EFORMAT, 1},
		{"5fe0ff", TN_EFORMAT, 1},
		{"5ff8ffff", TN_EFORMAT, 1},
		{"7f4100ff", TN_EFORMAT, 1},
		{"5f5f4100ffff", TN_EFORMAT, 1},
		{"7f6100"
		 "7f6100ffff",
		 TN_EFORMAT, 3},
		/* a break where nothing is open that it could end */
		{"ff", TN_EFORMAT, 0},
		{"81ff", TN_EFORMAT, 1},
		{"8200ff", TN_EFORMAT, 2},
		{"a1ff", TN_EFORMAT, 1},
		{"a1ff00", TN_EFORMAT, 1},
		{"a100ff", TN_EFORMAT, 2},
		{"a20000ff", TN_EFORMAT, 3},
		{"9f81ff", TN_EFORMAT, 2},
		{"9f829f819f9fffffffff", TN_EFORMAT, 9},
		{"c1ff", TN_EFORMAT, 1},
		{"9fc1ff", TN_EFORMAT, 2},
		{"bf00ff", TN_EFORMAT, 2},
		{"bf000000ff", TN_EFORMAT, 4},
		/* text that is not UTF-8, whole or in a chunk: a character may not be divided (section 3.2.3) */
		{"61ff", TN_EUTF8, 1},
		{"8263616263"
		 "62c328",
		 TN_EUTF8, 6},
		{"63eda080", TN_EUTF8, 1},
		{"7f61c361bcff", TN_EUTF8, 2},
		{"a161ff00", TN_EUTF8, 2},
		/* equal keys are not valid (section 5.6): the second is named, whatever its form */
		{"a2616101616102", TN_EDUPKEY, 4},
		{"a3616101616202616103", TN_EDUPKEY, 7},
		{"bf616101616102616103ff", TN_EDUPKEY, 4},
		{"a20001180002", TN_EDUPKEY, 3},
		{"a20a0119000a02", TN_EDUPKEY, 3},
		{"a2616101"
		 "7f6161ff02",
		 TN_EDUPKEY, 4},
		{"a2820102009f0102ff00", TN_EDUPKEY, 5},
		{"a2f93c0000fa3f80000000", TN_EDUPKEY, 5},
		{"a2f97e0000fb7ff800000000000000", TN_EDUPKEY, 5},
		{"a2c10100c10100", TN_EDUPKEY, 4},
		{"a2a1010200a1010200", TN_EDUPKEY, 5},
		{"81a2f600f600", TN_EDUPKEY, 4},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t in[BUFFER];
		size_t len = unhex(cases[i].hex, in);
		struct tni_codec_error err = must_refuse(cbor, in, len, NULL, cases[i].code, cases[i].at);

		assert_int_equal(err.line, 0);
	}
	must_refuse(cbor, NULL, 0, NULL, TN_ETRUNC, 0);
}

/* Keys that only look alike. */
static void keys_of_other_kinds_differ(void **state)
{
	static const char *const cases[] = {
		"a201002000", "a20100f93c0000", "a2616100416100", "a2f9000000f9800000", "a2f600f700",
		"a2f400f500", "a2c10000c20000", "a28000a000",     "a28201020082020100",
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t in[BUFFER];
		size_t len = unhex(cases[i], in);

		must_convert(cbor, in, len, cbor, in, len);
	}
}

static void floats_are_written_shortest(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"fb3ff8000000000000", "f93e00"},
		{"fb40effc0000000000", "f97bff"},
		{"fb40effe0000000000", "fa477ff000"},
		{"fb3e70000000000000", "f90001"}, /* 2^-24, the least of halves */
		{"fb3e60000000000000", "fa33000000"},
		{"fb3f0ff80000000000", "f903ff"},
		{"fb3f0ffc0000000000", "fa387fe000"},
		{"fb36a0000000000000", "fa00000001"}, /* 2^-149, the least of singles */
		{"fb3690000000000000", "fb3690000000000000"},
		{"fb47efffffe0000000", "fa7f7fffff"},
		{"fb47effffff0000000", "fb47effffff0000000"},
		{"fb0000000000000000", "f90000"},
		{"fb8000000000000000", "f98000"},
		/* a NaN keeps its sign and payload */
		{"f97e01", "f97e01"},
		{"f9fe00", "f9fe00"},
		{"f97d00", "f97d00"},
		{"fa7f802000", "f97c01"},
		{"fa7f800001", "fa7f800001"},
		{"fb7ff0000020000000", "fa7f800001"},
		{"fb7ff0000000000001", "fb7ff0000000000001"},
		{"fbfffc000000000000", "f9ff00"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t in[BUFFER], out[BUFFER];
		size_t in_len = unhex(cases[i].in, in);

		must_convert(cbor, in, in_len, cbor, out, unhex(cases[i].out, out));
	}
}

/* Every half is read, and written as itself. */
static void all_halves(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 65536; i++) {
		uint8_t in[] = {0xf9, (uint8_t)(i >> 8), (uint8_t)i};

		must_convert(cbor, in, 3, cbor, in, 3);
	}
}

/* Lengths and counts around each size of head, long forms included. */
static void heads_are_written_shortest(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"1b0000000000000017", "17"},
		{"190018", "1818"},
		{"1a000000ff", "18ff"},
		{"1b000000000000ffff", "19ffff"},
		{"1b00000000ffffffff", "1affffffff"},
		{"1b0000000100000000", "1b0000000100000000"},
		{"3b0000000000000000", "20"},
		{"3b7fffffffffffffff", "3b7fffffffffffffff"},
		{"3b8000000000000000", "3b8000000000000000"},
		{"5900024142", "424142"},
		{"7b000000000000000141", "6141"},
		{"9a0000000100", "8100"},
		{"bb00000000000000010000", "a10000"},
		{"db000000000000000a00", "ca00"},
		{"dbffffffffffffffff00", "dbffffffffffffffff00"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t in[BUFFER], out[BUFFER];
		size_t in_len = unhex(cases[i].in, in);

		must_convert(cbor, in, in_len, cbor, out, unhex(cases[i].out, out));
	}
}

static void nesting_is_limited(void **state)
{
	static const uint8_t heads[] = {0x81, 0x9f, 0xc1, 0xa1};
	struct tni_codec_opts shallow = {.max_depth = 3};
	uint8_t in[4000];

	(void)state;
	for (size_t i = 0; i < sizeof heads; i++) {
		memset(in, heads[i], sizeof in);
		must_refuse(cbor, in, sizeof in, NULL, TN_EDEPTH, 128);
		must_refuse(cbor, in, sizeof in, &shallow, TN_EDEPTH, 3);
	}
	memset(in, 0x81, 128);
	in[128] = 0;
	must_convert(cbor, in, 129, cbor, in, 129);
	/* an empty container counts too */
	in[128] = 0x80;
	must_refuse(cbor, in, 129, NULL, TN_EDEPTH, 128);
}

static void many_keys_in_little_time(void **state)
{
	struct tni_bytes in = {0};

	(void)state;
	tni_bytes_literal(&in, "\xba\x00\x01\x86\xa0");
	for (unsigned i = 0; i < 100000; i++) {
		uint8_t pair[] = {0x1a, 0, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i, 0xf6};

		tni_bytes_append(&in, pair, sizeof pair);
	}
	tn_value_free(must_decode(cbor, in.data, in.len, NULL));
	/* the last one equal to the first */
	in.data[in.len - 4] = in.data[in.len - 3] = in.data[in.len - 2] = 0;
	must_refuse(cbor, in.data, in.len, NULL, TN_EDUPKEY, in.len - 6);
	tni_bytes_free(&in);
}

/* By their own number: which tags exist is not for a decoder to say. */
static void every_tag_and_simple_value(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		uint8_t tag[] = {(uint8_t)(0xc0 | i), 0xf6};
		uint8_t long_tag[] = {0xd8, (uint8_t)i, 0xf6};
		uint8_t simple[] = {(uint8_t)(0xe0 | i)};
		uint8_t long_simple[] = {0xf8, (uint8_t)i};

		if (i < 24) {
			must_convert(cbor, tag, 2, cbor, tag, 2);
			must_convert(cbor, long_tag, 3, cbor, tag, 2);
			must_convert(cbor, simple, 1, cbor, simple, 1);
		} else {
			must_convert(cbor, long_tag, 3, cbor, long_tag, 3);
		}
		if (i < 32)
			must_refuse(cbor, long_simple, 2, NULL, TN_EFORMAT, 1);
		else
			must_convert(cbor, long_simple, 2, cbor, long_simple, 2);
	}
}

static void what_cbor_cannot_write(void **state)
{
	struct tn_value *map = tn_value_new_map(NULL);
	struct tn_value *ext = tn_value_new_ext(map, 5, "ab", 2);
	static const struct tni_codec_opts strict = {.strict = true};
	uint8_t expected[BUFFER];

	(void)state;
	must_encode(cbor, ext, NULL, expected,
		    unhex("a264246578740565"
			  "76616c7565426162",
			  expected));
	must_not_encode(cbor, ext, &strict, TN_EREPR);
	tn_value_put(map, "a", tn_value_new_null(map));
	tn_value_put(map, "a", ext);
	must_not_encode(cbor, map, NULL, TN_EDUPKEY);
	tn_value_free(map);
}

static void every_position(void **state)
{
	static const uint8_t likely[] = {0x00, 0x17, 0x18, 0x1f, 0x20, 0x41, 0x5f, 0x61, 0x7f, 0x80, 0x81, 0x82, 0x9f,
					 0xa0, 0xa1, 0xa2, 0xbf, 0xc1, 0xd8, 0xdf, 0xf4, 0xf6, 0xf8, 0xf9, 0xff};

	(void)state;
	positions_are_exact(&tni_codec_cbor, likely, sizeof(likely), 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_position),
		cmocka_unit_test(appendix_a),
		cmocka_unit_test(negative_bignums),
		cmocka_unit_test(every_prefix_ends_early),
		cmocka_unit_test(not_well_formed),
		cmocka_unit_test(keys_of_other_kinds_differ),
		cmocka_unit_test(floats_are_written_shortest),
		cmocka_unit_test(all_halves),
		cmocka_unit_test(heads_are_written_shortest),
		cmocka_unit_test(nesting_is_limited),
		cmocka_unit_test(many_keys_in_little_time),
		cmocka_unit_test(every_tag_and_simple_value),
		cmocka_unit_test(what_cbor_cannot_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
