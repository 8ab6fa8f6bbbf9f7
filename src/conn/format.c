#include "conn/format.h"

#include "base/err.h"
#include "codec/codec.h"
#include "conn/conn.h"
#include "tenon_value.h"

#include <errno.h>
#include <stdlib.h>

/* Where a format's verdict becomes words. */
static int describe(const struct tni_codec *codec, const struct tni_codec_error *err)
{
	if (err->line)
		tni_err(err->code, "%s: line %zu, byte %zu: %s", codec->name, err->line, err->column, err->text);
	else
		tni_err(err->code, "%s: byte %zu: %s", codec->name, err->at, err->text);
	tni_err_at((long)err->at);
	return err->code;
}

int tni_format_check(const struct tni_endpoint *ep, const void *data, size_t len)
{
	struct tni_codec_error err = {0};
	int rc = ep->codec ? ep->codec->check(data, len, &ep->codec_opts, &err) : 0;

	if (rc == -ENOMEM)
		return tni_err(rc, "%s: out of memory", ep->codec->name);
	return rc < 0 ? describe(ep->codec, &err) : 0;
}

static const struct tni_codec *find(const char *format)
{
	const struct tni_codec *codec = tni_codec_find(format);

	if (!codec)
		tni_codec_fail_name(format);
	return codec;
}

static struct tni_codec_opts opts_of(unsigned flags)
{
	return (struct tni_codec_opts){
		.strict = flags & TN_STRICT, .pretty = flags & TN_PRETTY, .jsonml = flags & TN_JSONML};
}

static int decode(const struct tni_codec *codec, const struct tni_codec_opts *opts, const void *data, size_t len,
		  struct tn_value **value)
{
	struct tni_codec_error err = {0};
	int rc = codec->decode(data, len, opts, value, &err);

	if (rc == -ENOMEM)
		return tni_err(rc, "%s: out of memory", codec->name);
	return rc < 0 ? describe(codec, &err) : 0;
}

/* The public bytes and the codecs' own are the same memory. */
static int encode(const struct tni_codec *codec, const struct tni_codec_opts *opts, const struct tn_value *value,
		  struct tn_bytes *bytes)
{
	struct tni_bytes out = {.data = bytes->data, .cap = bytes->cap};
	int rc;

	tni_codec_place_begin();
	rc = codec->encode(value, opts, &out);
	*bytes = (struct tn_bytes){.data = out.data, .len = out.len, .cap = out.cap};
	if (rc >= 0 || rc == -ENOMEM || !*tni_codec_place())
		return rc < 0 ? tni_err(rc, "%s: %s", codec->name, tn_strerror(rc)) : 0;
	return tni_err(rc, "%s: at %s: %s", codec->name, tni_codec_place(), tn_strerror(rc));
}

int tn_decode(const char *format, const void *data, size_t len, unsigned flags, struct tn_value **value)
{
	const struct tni_codec *codec = find(format);
	struct tni_codec_opts opts = opts_of(flags);

	return codec ? decode(codec, &opts, data, len, value) : -EINVAL;
}

int tn_encode(const char *format, const struct tn_value *value, unsigned flags, struct tn_bytes *bytes)
{
	const struct tni_codec *codec = find(format);
	struct tni_codec_opts opts = opts_of(flags);

	return codec ? encode(codec, &opts, value, bytes) : -EINVAL;
}

void tn_bytes_free(struct tn_bytes *bytes)
{
	free(bytes->data);
	*bytes = (struct tn_bytes){0};
}

static int no_format(const struct tni_endpoint *ep)
{
	return tni_err(-EINVAL, "%s: the endpoint has no format", ep->url);
}

int tni_format_value(const struct tni_endpoint *ep, const void *data, size_t len, struct tn_value **value)
{
	return ep->codec ? decode(ep->codec, &ep->codec_opts, data, len, value) : no_format(ep);
}

const char *tn_conn_format(const struct tn_conn *conn)
{
	return conn->ep->codec ? conn->ep->codec->name : NULL;
}

int tn_msg_value(const struct tn_conn *conn, const struct tn_msg *msg, struct tn_value **value)
{
	return tni_format_value(conn->ep, msg->data, msg->len, value);
}

int tn_reply_value(struct tn_conn *conn, const struct tn_msg *msg, const struct tn_value *value)
{
	const struct tni_endpoint *ep = conn->ep;
	struct tn_bytes *text = &conn->loop->encoded;
	int rc;

	if (!ep->codec)
		return no_format(ep);
	rc = encode(ep->codec, &ep->codec_opts, value, text);
	return rc < 0 ? rc : tn_reply(conn, msg, text->data, text->len);
}

int tn_send_value(struct tn_conn *conn, const struct tn_value *value)
{
	return tn_reply_value(conn, NULL, value);
}

int tn_shared_value(const char *format, const struct tn_value *value, unsigned flags, struct tn_shared **shared)
{
	struct tn_bytes text = {0};
	int rc = tn_encode(format, value, flags, &text);

	if (rc == 0)
		rc = tn_shared_new(text.data, text.len,
				   tn_format_kind(format) & TN_FORMAT_TEXT ? TN_MSG_TEXT : TN_MSG_BINARY, shared);
	tn_bytes_free(&text);
	return rc;
}
