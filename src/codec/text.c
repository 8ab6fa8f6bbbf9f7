/* The two formats without structure: text is any UTF-8, raw is any bytes. */
#include "codec/build.h"
#include "codec/codec.h"
#include "base/utf8.h"

static int text_check(const void *data, size_t len, const struct tni_codec_opts *opts, struct tni_codec_error *err)
{
	size_t good = tni_utf8_check(data, len);

	(void)opts;
	return good < len ? tni_codec_fail_text(err, TN_EUTF8, "not UTF-8", good, data) : 0;
}

static int decode(enum tn_kind kind, const void *data, size_t len, struct tn_value **out, struct tni_codec_error *err)
{
	struct tni_build build;
	int code = tni_build_begin(&build, NULL, 0, out);

	if (!code)
		code = tni_build_end(&build, tni_build_data(&build, kind, data, len), out);
	return code ? tni_codec_fail(err, code, "out of memory", 0) : 0;
}

static int text_decode(const void *data, size_t len, const struct tni_codec_opts *opts, struct tn_value **out,
		       struct tni_codec_error *err)
{
	struct tni_build build;
	int code = text_check(data, len, opts, err);

	if (!code)
		return decode(TN_TEXT, data, len, out, err);
	if (*out && !tni_build_begin(&build, NULL, 0, out))
		tni_build_end(&build, code, out);
	return code;
}

static int append(const struct tn_value *v, struct tni_bytes *out)
{
	tni_bytes_append(out, v->u.data, v->len);
	return out->err;
}

static int text_encode(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out)
{
	(void)opts;
	if (v->kind == TN_BYTES && tni_utf8_check(v->u.data, v->len) < v->len)
		return TN_EUTF8;
	return v->kind == TN_TEXT || v->kind == TN_BYTES ? append(v, out) : TN_EREPR;
}

const struct tni_codec tni_codec_text = {
	.name = "text",
	.meaning = "one text in UTF-8",
	.frame = "line",
	.kind = TN_FORMAT_TEXT,
	.decode = text_decode,
	.encode = text_encode,
	.check = text_check,
};

static int raw_check(const void *data, size_t len, const struct tni_codec_opts *opts, struct tni_codec_error *err)
{
	(void)data;
	(void)len;
	(void)opts;
	(void)err;
	return 0;
}

static int raw_decode(const void *data, size_t len, const struct tni_codec_opts *opts, struct tn_value **out,
		      struct tni_codec_error *err)
{
	(void)opts;
	return decode(TN_BYTES, data, len, out, err);
}

static int raw_encode(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out)
{
	(void)opts;
	return v->kind == TN_TEXT || v->kind == TN_BYTES ? append(v, out) : TN_EREPR;
}

const struct tni_codec tni_codec_raw = {
	.name = "raw",
	.meaning = "any bytes",
	.decode = raw_decode,
	.encode = raw_encode,
	.check = raw_check,
};
