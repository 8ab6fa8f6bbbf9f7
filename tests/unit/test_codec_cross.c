/* Every format with every other, over generated values. */
#include "test_codec.h"

#include <errno.h>
#include <math.h>

#include "base/utf8.h"

#define SEED 20240611
#define VALUES 3000
#define TREES 4

static uint64_t random_state;

static uint64_t next_random(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static unsigned below(unsigned n)
{
	return (unsigned)(next_random() % n);
}

static const struct tni_codec *const trees[TREES] = {&tni_codec_json, &tni_codec_xml, &tni_codec_cbor,
						     &tni_codec_msgpack};

static struct tn_value *random_text(struct tn_value *in)
{
	static const uint32_t rare[] = {0,      1,      '\t',   '\n',   '\r',   0x1b,    '"',     '\\',  '<',
					'&',    '>',    ']',    '$',    0x7f,   0x80,    0x7ff,   0x800, 0xd7ff,
					0xe000, 0xfeff, 0xfffd, 0xfffe, 0xffff, 0x10000, 0x10ffff};
	char text[200];
	size_t len = 0;

	for (unsigned i = below(below(4) ? 12 : 48); i; i--) {
		uint32_t c = below(3) ? 'a' + below(26) : rare[below(sizeof rare / sizeof *rare)];

		len += tni_utf8_put(text + len, c);
	}
	return tn_value_new_text(in, text, len);
}

static struct tn_value *random_bytes(struct tn_value *in, size_t most)
{
	uint8_t bytes[600];
	size_t len = below((unsigned)most + 1);

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(below(8) ? next_random() : 0);
	return tn_value_new_bytes(in, bytes, len);
}

static struct tn_value *random_int(struct tn_value *in)
{
	uint64_t num = next_random() >> below(64);
	struct tn_value *v = tn_value_new_uint(in, below(20) ? num : UINT64_MAX);

	if (below(2))
		v->flags |= TNI_NEGATIVE; /* down to -2^64, which no constructor takes */
	return v;
}

static struct tn_value *random_float(struct tn_value *in)
{
	static const double special[] = {0.0,    -0.0,  (double)INFINITY, (double)-INFINITY, (double)NAN,
					 5e-324, 1e300, 65504.0};
	uint64_t bits = next_random();
	double real;

	if (!below(3))
		return tn_value_new_float(in, special[below(sizeof special / sizeof *special)]);
	if (below(2))
		return tn_value_new_float(in, (double)(int64_t)(bits >> 20) / 1000.0);
	memcpy(&real, &bits, sizeof real);
	return tn_value_new_float(in, real);
}

static struct tn_value *text_of(struct tn_value *in, const char *text)
{
	return tn_value_new_text(in, text, strlen(text));
}

static struct tn_value *random_value(struct tn_value *in, unsigned depth);

/* Something that is a mark, or nearly, in one format or another. */
static struct tn_value *random_mark(struct tn_value *in, unsigned depth)
{
	static const char *const names[] = {"$bytes", "$tag", "$ext", "$simple", "$float", "$int", "$map", "$other"};
	static const char *const texts[] = {"",
					    "AQID",
					    "AQ",
					    "AR",
					    "A",
					    "A=",
					    "NaN",
					    "-Infinity",
					    "-18446744073709551616",
					    "-9223372036854775809",
					    "-9223372036854775808",
					    "-1"};
	struct tn_value *map = tn_value_new_map(in);
	struct tn_value *value;

	switch (below(5)) {
	case 0:
		value = tn_value_new_uint(in, below(300));
		break;
	case 1:
		value = random_value(in, depth);
		break;
	case 2:
		value = tn_value_new_array(in);
		for (unsigned i = below(3); i; i--) {
			struct tn_value *pair = tn_value_new_array(in);

			tn_value_append(pair, below(2) ? text_of(in, names[below(8)]) : random_value(in, depth));
			tn_value_append(pair, below(2) ? text_of(in, texts[below(12)]) : random_value(in, depth));
			tn_value_append(value, pair);
		}
		break;
	default:
		value = text_of(in, texts[below(12)]);
	}
	tn_value_put(map, names[below(8)], value);
	if (below(2))
		tn_value_put(map, below(8) ? "value" : "other",
			     below(2) ? random_bytes(in, 12) : random_value(in, depth));
	return map;
}

static struct tn_value *random_map(struct tn_value *in, unsigned depth)
{
	struct tn_value *map = tn_value_new_map(in);

	for (unsigned i = below(below(8) ? 6 : 40); i; i--) {
		struct tn_value *key = below(4) ? random_text(in) : random_value(in, depth);

		if (!tn_value_find(map, key))
			tn_value_put_pair(map, key, random_value(in, depth));
	}
	return map;
}

static struct tn_value *random_array(struct tn_value *in, unsigned depth)
{
	struct tn_value *array = tn_value_new_array(in);

	for (unsigned i = below(below(8) ? 6 : 40); i; i--)
		tn_value_append(array, random_value(in, depth));
	return array;
}

static struct tn_value *random_value(struct tn_value *in, unsigned depth)
{
	unsigned simple;

	switch (below(depth ? 15 : 9)) {
	case 0:
		return tn_value_new_null(in);
	case 1:
		return tn_value_new_bool(in, below(2));
	case 2:
	case 3:
		return random_int(in);
	case 4:
		return random_float(in);
	case 5:
		return random_text(in);
	case 6:
		return random_bytes(in, 20);
	case 7: {
		struct tn_value *bytes = random_bytes(in, 20);
		size_t len;
		const void *data = tn_value_bytes(bytes, &len);

		return tn_value_new_ext(in, (int8_t)next_random(), data, len);
	}
	case 8:
		simple = below(256);
		return tn_value_new_simple(in, simple > 31 ? (uint8_t)simple : 23);
	case 9:
		return tn_value_new_tag(next_random() >> below(64), random_value(in, depth - 1));
	case 10:
		return tn_value_new_tag(2 + below(2), random_bytes(in, below(4) ? 20 : 520));
	case 11:
		return random_mark(in, depth - 1);
	case 12:
		return random_array(in, depth - 1);
	default:
		return random_map(in, depth - 1);
	}
}

static struct tn_value *convert(const struct tni_codec *codec, const struct tn_value *v,
				const struct tni_codec_opts *opts)
{
	struct tni_bytes out = {0};
	struct tn_value *back;

	if (codec->encode(v, opts, &out))
		fail_msg("%s does not write", codec->name);
	back = must_decode(codec, out.data, out.len, opts);
	tni_bytes_free(&out);
	return back;
}

static void show(const char *what, const struct tn_value *v)
{
	struct tni_bytes out = {0};

	tni_codec_json.encode(v, NULL, &out);
	print_error("%s: %.*s\n", what, (int)out.len, (const char *)out.data);
	tni_bytes_free(&out);
}

static void must_be_equal(const struct tn_value *v, const struct tn_value *back, const char *how)
{
	if (tn_value_equal(v, back))
		return;
	show("before", v);
	show("after", back);
	fail_msg("changed by %s", how);
}

static void every_format_keeps_every_value(void **state)
{
	struct tni_codec_opts pretty = {.pretty = true};

	(void)state;
	random_state = SEED;
	for (int i = 0; i < VALUES; i++) {
		struct tn_value *in = tn_value_new_null(NULL);
		struct tn_value *v = random_value(in, 4);

		assert_non_null(v);
		for (size_t f = 0; f < TREES; f++) {
			struct tn_value *back = convert(trees[f], v, i % 2 ? &pretty : NULL);

			must_be_equal(v, back, trees[f]->name);
			tn_value_free(back);
		}
		tn_value_free(in);
	}
}

/* Through all four, in every order of two after each other. */
static void chains_keep_every_value(void **state)
{
	(void)state;
	random_state = SEED + 1;
	for (int i = 0; i < VALUES / 3; i++) {
		struct tn_value *in = tn_value_new_null(NULL);
		struct tn_value *v = random_value(in, 4);
		struct tn_value *now = convert(trees[0], v, NULL);

		for (int step = 0; step < 12; step++) {
			struct tn_value *next = convert(trees[below(TREES)], now, NULL);

			tn_value_free(now);
			now = next;
		}
		must_be_equal(v, now, "a chain");
		tn_value_free(now);
		tn_value_free(in);
	}
}

/* From the other side: whatever a JSON text says, marks or what only looks like them, comes out of any other format
 * as the same text. */
static void every_json_text_comes_back(void **state)
{
	struct tni_codec_opts strict = {.strict = true};
	int tried = 0;

	(void)state;
	random_state = SEED + 2;
	while (tried < VALUES) {
		struct tn_value *in = tn_value_new_null(NULL);
		struct tn_value *v = random_value(in, 4);
		struct tni_bytes text = {0};

		/* strict writes only what JSON has, and no marks */
		if (!tni_codec_json.encode(v, &strict, &text)) {
			struct tn_value *read = must_decode(&tni_codec_json, text.data, text.len, NULL);
			struct tn_value *other = convert(trees[below(TREES)], read, NULL);

			must_encode(&tni_codec_json, other, NULL, text.data, text.len);
			tn_value_free(other);
			tn_value_free(read);
			tried++;
		}
		tni_bytes_free(&text);
		tn_value_free(in);
	}
}

static void damage(struct tni_bytes *b)
{
	for (unsigned i = 1 + below(3); i && b->len; i--) {
		size_t at = below((unsigned)b->len);

		switch (below(4)) {
		case 0:
			b->len = at;
			break;
		case 1:
			b->data[at] ^= (uint8_t)(1u << below(8));
			break;
		case 2:
			b->data[at] = (uint8_t)next_random();
			break;
		default:
			memmove(b->data + at, b->data + at + 1, b->len - at - 1);
			b->len--;
		}
	}
}

/* Damaged messages are either refused, inside, for one of the reasons there are, or are good and come back. */
static void damaged_messages(void **state)
{
	struct tni_codec_opts deep = {.max_depth = TNI_DEPTH_MAX};

	(void)state;
	random_state = SEED + 3;
	for (int i = 0; i < VALUES * 4; i++) {
		struct tn_value *in = tn_value_new_null(NULL);
		const struct tni_codec *codec = trees[i % TREES];
		struct tni_bytes b = {0};
		struct tn_value *v = NULL;
		struct tni_codec_error err = {0};
		struct tni_codec_error checked = {0};
		char *copy;

		assert_int_equal(codec->encode(random_value(in, 3), NULL, &b), 0);
		damage(&b);
		copy = exact_copy(b.data, b.len);
		if (codec->decode(copy, b.len, NULL, &v, &err)) {
			assert_in_range(-err.code, -TN_EFORMAT, -TN_EREPR);
			assert_in_range(err.at, 0, b.len);
			assert_int_equal(codec->check(copy, b.len, NULL, &checked), err.code);
			assert_int_equal(checked.at, err.at);
		} else {
			struct tn_value *back = convert(codec, v, &deep);

			must_be_equal(v, back, codec->name);
			tn_value_free(back);
			tn_value_free(v);
		}
		free(copy);
		tni_bytes_free(&b);
		tn_value_free(in);
	}
}

static void text_and_raw(void **state)
{
	struct tn_value *v = must_decode(&tni_codec_text, LITERAL("a\0\xc3\xbc\n"), NULL);
	struct tn_value *map = tn_value_new_map(NULL);
	struct tni_codec_error err;

	(void)state;
	assert_int_equal(tn_value_kind(v), TN_TEXT);
	must_encode(&tni_codec_text, v, NULL, LITERAL("a\0\xc3\xbc\n"));
	must_encode(&tni_codec_raw, v, NULL, LITERAL("a\0\xc3\xbc\n"));
	tn_value_free(v);
	err = must_refuse(&tni_codec_text, LITERAL("a\nb\xff"), NULL, TN_EUTF8, 3);
	assert_int_equal(err.line, 2);
	assert_int_equal(err.column, 2);
	must_refuse(&tni_codec_text, LITERAL("\xe2\x82"), NULL, TN_EUTF8, 0);
	tn_value_free(must_decode(&tni_codec_text, "", 0, NULL));

	v = must_decode(&tni_codec_raw, LITERAL("\xff\0"), NULL);
	assert_int_equal(tn_value_kind(v), TN_BYTES);
	must_encode(&tni_codec_raw, v, NULL, LITERAL("\xff\0"));
	must_not_encode(&tni_codec_text, v, NULL, TN_EUTF8);
	tn_value_free(v);
	must_not_encode(&tni_codec_text, map, NULL, TN_EREPR);
	must_not_encode(&tni_codec_raw, map, NULL, TN_EREPR);
	tn_value_free(map);
}

static void codecs_by_name(void **state)
{
	size_t count = 0;

	(void)state;
	for (; tni_codecs[count]; count++)
		assert_ptr_equal(tni_codec_find(tni_codecs[count]->name), tni_codecs[count]);
	assert_int_equal(count, 6);
	assert_null(tni_codec_find("yaml"));
	assert_null(tni_codec_find(""));
}

/* A value that nests without end, as only a program can make it, is refused by every encoder. */
static void too_deep_to_write(void **state)
{
	struct tni_codec_opts deepest = {.max_depth = UINT32_MAX};
	struct tn_value *v = tn_value_new_null(NULL);
	struct tn_value *marked = v;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		struct tn_value *pair = tn_value_new_array(v);
		struct tn_value *array = tn_value_new_array(v);

		tn_value_append(pair, text_of(v, "$map"));
		tn_value_append(pair, marked);
		tn_value_append(array, pair);
		marked = array;
	}
	v = tn_value_new_map(v);
	tn_value_put(v, "$map", marked);
	for (size_t f = 0; f < TREES; f++)
		must_not_encode(trees[f], v, &deepest, TN_EDEPTH);
	tn_value_free(v);
}

/* What was decoded can become a part of something larger, once; so can what a mark in it stands for. */
static void what_was_decoded_can_be_placed(void **state)
{
	static const char *const texts[] = {"1",
					    "[]",
					    "{}",
					    "{\"$map\":[[1,2]]}",
					    "{\"$bytes\":\"AQID\"}",
					    "{\"$tag\":9,\"value\":1}",
					    "{\"$ext\":5,\"value\":\"AQID\"}",
					    "{\"$simple\":99}",
					    "{\"$float\":\"NaN\"}",
					    "{\"$int\":\"-18446744073709551616\"}"};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct tn_value *v = must_decode(&tni_codec_json, texts[i], strlen(texts[i]), NULL);
		struct tn_value *array = tn_value_new_array(v);
		struct tni_bytes out = {0};
		char expected[64];

		assert_int_equal(tn_value_append(array, v), 0);
		assert_int_equal(tn_value_append(array, v), -EINVAL);
		assert_int_equal(tni_codec_json.encode(array, NULL, &out), 0);
		snprintf(expected, sizeof expected, "[%s]", texts[i]);
		assert_int_equal(out.len, strlen(expected));
		assert_memory_equal(out.data, expected, out.len);
		tni_bytes_free(&out);
		tn_value_free(v);
	}
}

/* As many containers inside each other as allowed are written and read, and not one more. */
static void the_limit_of_depth_is_exact(void **state)
{
	static const char *const texts[] = {"[[]]", "[[[[]]]]", "{\"a\":{}}", "{\"a\":{\"b\":{}}}",
					    "[{\"a\":[1,{\"b\":2}]}]"};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct tn_value *v = must_decode(&tni_codec_json, texts[i], strlen(texts[i]), NULL);
		struct tni_codec_opts most = {.max_depth = tn_value_depth(v)};
		struct tni_codec_opts less = {.max_depth = most.max_depth - 1};

		for (size_t f = 0; f < TREES; f++) {
			struct tni_bytes out = {0};
			struct tn_value *back = NULL;

			assert_int_equal(trees[f]->encode(v, &most, &out), 0);
			assert_int_equal(trees[f]->decode((char *)out.data, out.len, &most, &back, NULL), 0);
			must_be_equal(v, back, trees[f]->name);
			assert_int_equal(trees[f]->decode((char *)out.data, out.len, &less, &back, NULL), TN_EDEPTH);
			assert_int_equal(trees[f]->check((char *)out.data, out.len, &less, NULL), TN_EDEPTH);
			must_not_encode(trees[f], v, &less, TN_EDEPTH);
			tn_value_free(back);
			tni_bytes_free(&out);
		}
		tn_value_free(v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_format_keeps_every_value),
		cmocka_unit_test(chains_keep_every_value),
		cmocka_unit_test(every_json_text_comes_back),
		cmocka_unit_test(damaged_messages),
		cmocka_unit_test(text_and_raw),
		cmocka_unit_test(codecs_by_name),
		cmocka_unit_test(too_deep_to_write),
		cmocka_unit_test(what_was_decoded_can_be_placed),
		cmocka_unit_test(the_limit_of_depth_is_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
