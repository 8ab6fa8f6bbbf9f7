#include "codec/codec.h"

const struct tni_codec *const tni_codecs[] = {
	&tni_codec_json, &tni_codec_xml, &tni_codec_cbor, &tni_codec_msgpack, &tni_codec_text, &tni_codec_raw, NULL,
};

/* Not strcmp(): tn_decode() and tn_encode() come here for every message, and most messages are short. */
static bool same_name(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

const struct tni_codec *tni_codec_find(const char *name)
{
	for (size_t i = 0; tni_codecs[i]; i++) {
		if (same_name(tni_codecs[i]->name, name))
			return tni_codecs[i];
	}
	return NULL;
}

int tni_codec_fail(struct tni_codec_error *err, int code, const char *text, size_t at)
{
	if (err)
		*err = (struct tni_codec_error){.code = code, .text = text, .at = at};
	return code;
}

int tni_codec_fail_text(struct tni_codec_error *err, int code, const char *text, size_t at, const char *data)
{
	size_t line = 1;
	size_t start = 0;

	for (size_t i = 0; err && i < at; i++) {
		if (data[i] == '\n') {
			line++;
			start = i + 1;
		}
	}
	tni_codec_fail(err, code, text, at);
	if (err) {
		err->line = line;
		err->column = at - start + 1;
	}
	return code;
}

int tni_codec_check_by_decode(const struct tni_codec *codec, const void *data, size_t len,
			      const struct tni_codec_opts *opts, struct tni_codec_error *err)
{
	struct tn_value *v = NULL;
	int code = codec->decode(data, len, opts, &v, err);

	tn_value_free(v);
	return code;
}
