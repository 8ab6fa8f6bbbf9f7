/*
 * The codecs: what decodes must encode, and decode again to an equal value, in its own format and through every other;
 * what does not must say where, and check must agree. The first byte sets the options. -DCODEC=json makes a target for
 * one format; without it the first byte's upper half chooses.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef CODEC
#define NAME_OF(codec) NAME_OF_(codec)
#define NAME_OF_(codec) #codec
#endif

static const struct tni_codec *choose(uint8_t first)
{
#ifdef CODEC
	(void)first;
	return tni_codec_find(NAME_OF(CODEC));
#else
	size_t count = 0;

	while (tni_codecs[count])
		count++;
	return tni_codecs[(first >> 4) % count];
#endif
}

static void require(int truth)
{
	if (!truth)
		abort();
}

static void check_agrees(const struct tni_codec *codec, const char *data, size_t len, const struct tni_codec_opts *opts,
			 int code, const struct tni_codec_error *err)
{
	struct tni_codec_error checked = {0};

	require(codec->check(data, len, opts, &checked) == code);
	require(!code || (checked.at == err->at && err->at <= len && err->code == code && err->text));
}

/* Writing may fail for the few reasons there are; what was written must be read as the same. */
static void round_trip(const struct tni_codec *codec, const struct tn_value *v, const struct tni_codec_opts *opts)
{
	struct tni_codec_opts deep = *opts;
	struct tni_bytes out = {0};
	struct tn_value *back = NULL;
	int code;

	deep.max_depth = TNI_DEPTH_MAX; /* marks nest deeper than what they stand for */
	code = codec->encode(v, &deep, &out);
	if (code) {
		require(code == TN_EDEPTH || code == TN_EDUPKEY || code == TN_EREPR);
		require(!out.len);
	} else {
		require(!codec->decode(out.data, out.len, &deep, &back, NULL));
		require(tn_value_equal(v, back));
	}
	tn_value_free(back);
	tni_bytes_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct tni_codec *codec;
	struct tni_codec_opts opts = {0};
	struct tni_codec_error err = {0};
	struct tn_value *v = NULL;
	size_t len = size ? size - 1 : 0;
	char *copy;
	int code;

	if (!size)
		return 0;
	codec = choose(data[0]);
	opts.strict = data[0] & 1;
	opts.pretty = data[0] & 2;
	opts.jsonml = data[0] & 4;
	opts.max_depth = data[0] & 8 ? 3 : 0;
	copy = malloc(len ? len : 1);
	require(copy != NULL);
	memcpy(copy, data + 1, len);
	code = codec->decode(copy, len, &opts, &v, &err);
	check_agrees(codec, copy, len, &opts, code, &err);
	free(copy);
	/* JsonML has no one form: adjacent texts become one, and not every value is JsonML */
	if (!code && !opts.jsonml) {
		for (size_t i = 0; tni_codecs[i]; i++) {
			int flat = tni_codecs[i] == &tni_codec_text || tni_codecs[i] == &tni_codec_raw;

			if (!flat)
				round_trip(tni_codecs[i], v, &opts);
		}
	}
	tn_value_free(v);
	return 0;
}
