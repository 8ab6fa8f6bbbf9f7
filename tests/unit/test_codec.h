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
