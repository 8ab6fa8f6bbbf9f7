/*
 * MessagePack, both ways by msgpack-c.
 *
 * Its msgpack_unpack_next() nests 32 deep and no deeper, and builds a tree of its own. The template that function is
 * made from is installed with the library, so here it is made again, with room for our depth, around functions that
 * fill our tree.
 */
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "codec/build.h"
#include "codec/codec.h"
#include "codec/mark.h"
#include "codec/number.h"
#include "base/utf8.h"

#define MSGPACK_EMBED_STACK_SIZE (TNI_DEPTH_MAX + 1)
#include <msgpack/pack.h>
#include <msgpack/unpack.h>
#include <msgpack/unpack_define.h>

struct reader {
	struct tni_build build;
	const uint8_t *data;
	size_t at; /* the item being read */
	int code;
	const char *text;
	size_t error_at;
};

static int refuse(struct reader *r, int code, const char *text, size_t at)
{
	r->code = code;
	r->text = text;
	r->error_at = at;
	return -1;
}

static int refuse_built(struct reader *r, int code)
{
	switch (code) {
	case TN_EDEPTH:
		return refuse(r, code, "nested too deep", r->at);
	case TN_EDUPKEY:
		return refuse(r, code, "a key stands twice in one map", r->build.repeated);
	default:
		return refuse(r, code, "out of memory", 0);
	}
}

/* The size of an item whose length its first byte gives, or of the head of any other. */
static size_t head_size(uint8_t head)
{
	static const uint8_t sizes[32] = {
		1, 1, 1, 1, 2, 3, 5, 3, 4, 6, 5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 2, 2, 2, 2, 2, 2, 3, 5, 3, 5, 3, 5,
	};

	return head >= 0xc0 && head <= 0xdf ? sizes[head - 0xc0] : 1;
}

/* The template does not tell its functions where they are: counting along does. */
static int step(struct reader *r, int code)
{
	if (code)
		return refuse_built(r, code);
	r->at += head_size(r->data[r->at]);
	return 0;
}

/* Nothing is kept in the template's own objects; every function must set one. */
#define msgpack_unpack_struct(name) struct unpack##name
#define msgpack_unpack_func(ret, name) static inline ret unpack##name
#define msgpack_unpack_callback(name) take##name
#define msgpack_unpack_object char
#define msgpack_unpack_user struct reader *

static char take_root(struct reader **r)
{
	(void)r;
	return 0;
}

static int take_uint64(struct reader **r, uint64_t num, char *o)
{
	*o = 0;
	(*r)->build.at = (*r)->at;
	return step(*r, tni_build_int(&(*r)->build, false, num));
}

static int take_uint8(struct reader **r, uint8_t num, char *o)
{
	return take_uint64(r, num, o);
}

static int take_uint16(struct reader **r, uint16_t num, char *o)
{
	return take_uint64(r, num, o);
}

static int take_uint32(struct reader **r, uint32_t num, char *o)
{
	return take_uint64(r, num, o);
}

static int take_int64(struct reader **r, int64_t num, char *o)
{
	*o = 0;
	(*r)->build.at = (*r)->at;
	return step(*r, tni_build_int(&(*r)->build, num < 0, num < 0 ? ~(uint64_t)num : (uint64_t)num));
}

static int take_int8(struct reader **r, int8_t num, char *o)
{
	return take_int64(r, num, o);
}

static int take_int16(struct reader **r, int16_t num, char *o)
{
	return take_int64(r, num, o);
}

static int take_int32(struct reader **r, int32_t num, char *o)
{
	return take_int64(r, num, o);
}

static int take_double(struct reader **r, double real, char *o)
{
	*o = 0;
	(*r)->build.at = (*r)->at;
	return step(*r, tni_build_float(&(*r)->build, real));
}

static int take_float(struct reader **r, float real, char *o)
{
	return take_double(r, isnan(real) ? tni_nan_read((*r)->data + (*r)->at + 1, 4) : (double)real, o);
}

static int take_nil(struct reader **r, char *o)
{
	*o = 0;
	(*r)->build.at = (*r)->at;
	return step(*r, tni_build_null(&(*r)->build));
}

static int take_bool(struct reader **r, bool truth, char *o)
{
	*o = 0;
	(*r)->build.at = (*r)->at;
	return step(*r, tni_build_bool(&(*r)->build, truth));
}

static int take_true(struct reader **r, char *o)
{
	return take_bool(r, true, o);
}

static int take_false(struct reader **r, char *o)
{
	return take_bool(r, false, o);
}

/* The claimed counts are only counted down: nothing is set aside for items that may never come. */
static int take_array(struct reader **r, unsigned count, char *o)
{
	*o = 0;
	(*r)->build.at = (*r)->at;
	return step(*r, tni_build_open(&(*r)->build, TN_ARRAY, count));
}

static int take_map(struct reader **r, unsigned count, char *o)
{
	*o = 0;
	(*r)->build.at = (*r)->at;
	return step(*r, tni_build_open(&(*r)->build, TN_MAP, (uint64_t)count * 2));
}

/* Items link themselves. */
static int take_array_item(struct reader **r, char *array, char item)
{
	(void)r;
	(void)array;
	(void)item;
	return 0;
}

static int take_map_item(struct reader **r, char *map, char key, char value)
{
	(void)r;
	(void)map;
	(void)key;
	(void)value;
	return 0;
}

/* `p` is not to be used when there are no bytes. */
static int step_data(struct reader *r, const char *p, size_t len, int code)
{
	if (code || !len)
		return step(r, code);
	r->at = (size_t)((const uint8_t *)p - r->data) + len;
	return 0;
}

static int take_data(struct reader *r, enum tn_kind kind, const char *p, unsigned len, char *o)
{
	*o = 0;
	r->build.at = r->at;
	return step_data(r, p, len, tni_build_data(&r->build, kind, p, len));
}

static int take_str(struct reader **r, const char *base, const char *p, unsigned len, char *o)
{
	size_t good = len ? tni_utf8_check(p, len) : 0;

	if (good < len)
		return refuse(*r, TN_EUTF8, "not UTF-8", (size_t)(p - base) + good);
	return take_data(*r, TN_TEXT, p, len, o);
}

static int take_bin(struct reader **r, const char *base, const char *p, unsigned len, char *o)
{
	(void)base;
	return take_data(*r, TN_BYTES, p, len, o);
}

static const char ends_early[] = "the object ends early";

/* The length counts the type. It is 0 where the largest of lengths wrapped round: more than anybody sent. */
static int take_ext(struct reader **r, const char *base, const char *p, unsigned len, char *o)
{
	(void)base;
	*o = 0;
	if (!len)
		return refuse(*r, TN_ETRUNC, ends_early, SIZE_MAX);
	(*r)->build.at = (*r)->at;
	return step_data(*r, p, len, tni_build_ext(&(*r)->build, (int8_t)*p, p + 1, len - 1));
}

#include <msgpack/unpack_template.h>

static int msgpack_decode(const void *data, size_t len, const struct tni_codec_opts *opts, struct tn_value **out,
			  struct tni_codec_error *err)
{
	struct reader r;
	struct unpack_context context;
	size_t end = 0;
	int done;
	int code = tni_build_begin(&r.build, opts, TNI_MARKS_MSGPACK, out);

	if (code)
		return tni_codec_fail(err, code, "out of memory", 0);
	r.data = data;
	r.at = 0;
	r.code = 0;
	context.user = &r;
	unpack_init(&context);
	done = unpack_execute(&context, len ? data : "", len, &end);
	if (!done)
		refuse(&r, TN_ETRUNC, ends_early, len);
	else if (done < 0 && !r.code)
		refuse(&r, TN_EFORMAT, "a byte that begins nothing", end);
	else if (done > 0 && end < len)
		refuse(&r, TN_EFORMAT, "more after the end of the object", end);
	if (r.code)
		tni_codec_fail(err, r.code, r.text, r.error_at < len ? r.error_at : len);
	return tni_build_end(&r.build, r.code, out);
}

static int msgpack_check(const void *data, size_t len, const struct tni_codec_opts *opts, struct tni_codec_error *err)
{
	return tni_codec_check_by_decode(&tni_codec_msgpack, data, len, opts, err);
}

struct writer {
	struct tni_bytes *out;
	msgpack_packer packer;
	struct tni_marker marker;
	unsigned max_depth;
};

static int append(void *ctx, const char *data, size_t len)
{
	tni_bytes_append(ctx, data, len);
	return 0;
}

static void write_int(msgpack_packer *packer, const struct tn_value *v)
{
	if (v->flags & TNI_NEGATIVE)
		msgpack_pack_int64(packer, -1 - (int64_t)v->u.num);
	else
		msgpack_pack_uint64(packer, v->u.num);
}

/* The shorter of the two floats that keeps the value. */
static void write_float(msgpack_packer *packer, double real)
{
	uint32_t bits;
	float single;

	if (!tni_single_of(real, &bits)) {
		msgpack_pack_double(packer, real);
		return;
	}
	memcpy(&single, &bits, sizeof single);
	msgpack_pack_float(packer, single);
}

static void write_data(struct writer *w, const struct tn_value *v)
{
	if (v->kind == TN_TEXT)
		msgpack_pack_str(&w->packer, v->len);
	else if (v->kind == TN_BYTES)
		msgpack_pack_bin(&w->packer, v->len);
	else
		msgpack_pack_ext(&w->packer, v->len, v->ext);
	tni_bytes_append(w->out, v->u.data, v->len);
}

static int write_value(struct writer *w, const struct tn_value *v, unsigned depth);

static int write_items(struct writer *w, const struct tn_value *v, unsigned depth)
{
	const struct tn_value *item;
	int err;

	if (depth >= w->max_depth)
		return TN_EDEPTH;
	if (v->kind == TN_ARRAY)
		msgpack_pack_array(&w->packer, v->len);
	else
		msgpack_pack_map(&w->packer, v->len / 2);
	for (item = tni_first(v); item; item = tni_next(v, item)) {
		err = write_value(w, item, depth + 1);
		if (err) {
			tni_codec_place_step(v, item);
			return err;
		}
	}
	return 0;
}

static int write_value(struct writer *w, const struct tn_value *v, unsigned depth)
{
	int err = 0;

	v = tni_mark_write(&w->marker, v, &err);
	if (!v)
		return err;
	if (v->len > UINT32_MAX)
		return TN_EREPR;
	switch ((enum tn_kind)v->kind) {
	case TN_NULL:
		msgpack_pack_nil(&w->packer);
		break;
	case TN_BOOL:
		if (v->u.truth)
			msgpack_pack_true(&w->packer);
		else
			msgpack_pack_false(&w->packer);
		break;
	case TN_INT:
		write_int(&w->packer, v);
		break;
	case TN_FLOAT:
		write_float(&w->packer, v->u.real);
		break;
	case TN_TEXT:
	case TN_BYTES:
	case TN_EXT:
		write_data(w, v);
		break;
	case TN_ARRAY:
	case TN_MAP:
		return write_items(w, v, depth);
	case TN_TAG: /* were marked */
	case TN_SIMPLE:
		break;
	}
	return 0;
}

static int msgpack_encode(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out)
{
	struct writer w = {
		.out = out,
		.marker = tni_marker_begin(TNI_MARKS_MSGPACK, tni_codec_strict(opts)),
		.max_depth = tni_codec_depth(opts),
	};
	size_t start = out->len;
	int err;

	msgpack_packer_init(&w.packer, out, append);
	err = write_value(&w, v, 0);
	tni_marker_end(&w.marker);
	if (!err)
		err = out->err;
	if (err)
		out->len = start;
	return err;
}

const struct tni_codec tni_codec_msgpack = {
	.name = "msgpack",
	.meaning = "MessagePack",
	.frame = "msgpack",
	.kind = TN_FORMAT_VALUES,
	.decode = msgpack_decode,
	.encode = msgpack_encode,
	.check = msgpack_check,
};
