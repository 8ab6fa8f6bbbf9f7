/* What the tests of the codecs share. */
#ifndef TEST_CODEC_H
#define TEST_CODEC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/codec.h"

#define LITERAL(text) (text), sizeof(text) - 1

/* A copy with nothing after it, so that a sanitizer sees a read beyond the end. The caller frees it. */
static inline char *exact_copy(const void *data, size_t len)
{
	char *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	if (len)
		memcpy(copy, data, len);
	return copy;
}

static inline size_t unhex(const char *hex, uint8_t *out)
{
	size_t len = strlen(hex) / 2;

	for (size_t i = 0; i < len; i++) {
		unsigned byte;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		out[i] = (uint8_t)byte;
	}
	return len;
}

/* Decodes what must decode; check must agree. The caller frees the value. */
static inline struct tn_value *must_decode(const struct tni_codec *codec, const void *data, size_t len,
					   const struct tni_codec_opts *opts)
{
	char *copy = exact_copy(data, len);
	struct tni_codec_error err = {0};
	struct tn_value *v = NULL;

	if (codec->decode(copy, len, opts, &v, &err))
		fail_msg("%s refused at %zu: %s: %.*s", codec->name, err.at, err.text, (int)len, copy);
	assert_non_null(v);
	assert_int_equal(codec->check(copy, len, opts, NULL), 0);
	free(copy);
	return v;
}

/* Decodes what must be refused, with that code at that byte, in a new tree and in one used again; check must agree.
 * Returns the error. */
static inline struct tni_codec_error must_refuse(const struct tni_codec *codec, const void *data, size_t len,
						 const struct tni_codec_opts *opts, int code, size_t at)
{
	char *copy = exact_copy(data, len);
	struct tni_codec_error err = {0};
	struct tni_codec_error checked = {0};
	struct tn_value *v = NULL;
	int got = codec->decode(copy, len, opts, &v, &err);

	if (got != code || err.code != code || err.at != at)
		fail_msg("%s: %d at %zu (%s), not %d at %zu: %.*s", codec->name, got, err.at, err.text, code, at,
			 (int)len, copy);
	assert_null(v);
	assert_non_null(err.text);
	v = tn_value_new_map(NULL);
	assert_int_equal(codec->decode(copy, len, opts, &v, NULL), code);
	assert_int_equal(tn_value_kind(v), TN_NULL);
	tn_value_free(v);
	assert_int_equal(codec->check(copy, len, opts, &checked), code);
	assert_int_equal(checked.at, at);
	assert_ptr_equal(checked.text, err.text);
	free(copy);
	return err;
}

/*
 * That a message, if it is refused as malformed, is so at its first byte that cannot stand there: what stands in front
 * of it is the beginning of a good message (or a whole one), and with it none any more.
 */
static inline void position_is_exact(const struct tni_codec *codec, const uint8_t *data, size_t len)
{
	struct tni_codec_error err = {0}, again = {0};
	int code = codec->check(data, len, NULL, &err), before;

	if (code == TN_ETRUNC)
		assert_int_equal(err.at, len);
	if (code != TN_EFORMAT)
		return;
	before = codec->check(data, err.at, NULL, NULL);
	if (err.at >= len || (before != TN_ETRUNC && before != 0))
		fail_msg("%s: byte %zu of %zu (%s) is not the first wrong one: %d before it", codec->name, err.at, len,
			 err.text, before);
	before = codec->check(data, err.at + 1, NULL, &again);
	if (!before || before == TN_ETRUNC || again.at != err.at)
		fail_msg("%s: byte %zu of %zu (%s) is not wrong by itself: %d at %zu", codec->name, err.at, len,
			 err.text, again.code, again.at);
}

/* All messages of one and two bytes, then `count` random ones of up to 12, each byte either any or one of `likely`. */
static inline void positions_are_exact(const struct tni_codec *codec, const uint8_t *likely, size_t nlikely, int count)
{
	uint8_t data[12];
	uint64_t seed = 7;

	for (unsigned i = 0; i < 256 * 257; i++) {
		data[0] = (uint8_t)i;
		data[1] = (uint8_t)(i / 256 - 1);
		position_is_exact(codec, data, i < 256 ? 1 : 2);
	}
	for (int i = 0; i < count; i++) {
		size_t len = 3;

		for (size_t n = 0; n < len; n++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			data[n] = seed >> 40 & 3 ? likely[(seed >> 33) % nlikely] : (uint8_t)(seed >> 33);
			len = n ? len : 1 + (seed >> 50) % sizeof(data);
		}
		position_is_exact(codec, data, len);
	}
}

static inline void must_encode(const struct tni_codec *codec, const struct tn_value *v,
			       const struct tni_codec_opts *opts, const void *expected, size_t len)
{
	struct tni_bytes out = {0};

	assert_int_equal(codec->encode(v, opts, &out), 0);
	if (out.len != len || (len && memcmp(out.data, expected, len) != 0))
		fail_msg("%s wrote %.*s", codec->name, (int)out.len, (const char *)out.data);
	tni_bytes_free(&out);
}

/* An encoder that fails must leave what was there before. */
static inline void must_not_encode(const struct tni_codec *codec, const struct tn_value *v,
				   const struct tni_codec_opts *opts, int code)
{
	struct tni_bytes out = {0};

	tni_bytes_literal(&out, "before");
	assert_int_equal(codec->encode(v, opts, &out), code);
	assert_int_equal(out.len, 6);
	tni_bytes_free(&out);
}

/* From one format to another. */
static inline void must_convert(const struct tni_codec *from, const void *data, size_t len, const struct tni_codec *to,
				const void *expected, size_t expected_len)
{
	struct tn_value *v = must_decode(from, data, len, NULL);

	must_encode(to, v, NULL, expected, expected_len);
	tn_value_free(v);
}

#endif
