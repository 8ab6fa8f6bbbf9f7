/*
 * CBOR (RFC 8949), both ways by libcbor's streaming functions, which allocate nothing.
 *
 * libcbor 0.8 refuses every simple value beside false, true, null and undefined and the tags 6 to 20, and loses the
 * payload of a half NaN: those are read here.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include <cbor.h>

#include "codec/build.h"
#include "codec/codec.h"
#include "codec/mark.h"
#include "codec/number.h"
#include "base/utf8.h"

#define HEAD_SIZE 9
#define BREAK 0xff

struct reader {
	struct tni_build build;
	const uint8_t *data;
	size_t len;
	size_t at; /* the item being read */
	int code;
	const char *text; /* why, where the code does not say it */
	size_t error_at;
	/* the chunks of a string of indefinite length: */
	bool chunked;
	enum tn_kind chunk_kind;
	size_t chunked_at;
	struct tni_bytes chunks;
};

static void refuse(struct reader *r, int code, const char *text, size_t at)
{
	r->code = code;
	r->text = text;
	r->error_at = at;
}

static void take(struct reader *r, int code)
{
	switch (code) {
	case 0:
		return;
	case TN_EDEPTH:
		refuse(r, code, "nested too deep", r->at);
		return;
	case TN_EDUPKEY:
		refuse(r, code, "a key stands twice in one map", r->build.repeated);
		return;
	default:
		refuse(r, code, "out of memory", 0);
	}
}

static void read_uint(void *ctx, uint64_t num)
{
	struct reader *r = ctx;

	take(r, tni_build_int(&r->build, false, num));
}

static void read_uint8(void *ctx, uint8_t num)
{
	read_uint(ctx, num);
}

static void read_uint16(void *ctx, uint16_t num)
{
	read_uint(ctx, num);
}

static void read_uint32(void *ctx, uint32_t num)
{
	read_uint(ctx, num);
}

static void read_negint(void *ctx, uint64_t num)
{
	struct reader *r = ctx;

	take(r, tni_build_int(&r->build, true, num));
}

static void read_negint8(void *ctx, uint8_t num)
{
	read_negint(ctx, num);
}

static void read_negint16(void *ctx, uint16_t num)
{
	read_negint(ctx, num);
}

static void read_negint32(void *ctx, uint32_t num)
{
	read_negint(ctx, num);
}

static void read_data(struct reader *r, enum tn_kind kind, const uint8_t *data, size_t len)
{
	size_t good = kind == TN_TEXT ? tni_utf8_check(data, len) : len;

	if (good < len) {
		refuse(r, TN_EUTF8, "not UTF-8", (size_t)(data - r->data) + good);
	} else if (r->chunked) {
		tni_bytes_append(&r->chunks, data, len);
		take(r, r->chunks.err);
	} else {
		take(r, tni_build_data(&r->build, kind, data, len));
	}
}

static void read_bytes(void *ctx, cbor_data data, size_t len)
{
	read_data(ctx, TN_BYTES, data, len);
}

static void read_text(void *ctx, cbor_data data, size_t len)
{
	read_data(ctx, TN_TEXT, data, len);
}

static void begin_chunks(struct reader *r, enum tn_kind kind)
{
	r->chunked = true;
	r->chunk_kind = kind;
	r->chunked_at = r->at;
	r->chunks.len = 0;
}

static void read_bytes_start(void *ctx)
{
	begin_chunks(ctx, TN_BYTES);
}

static void read_text_start(void *ctx)
{
	begin_chunks(ctx, TN_TEXT);
}

/* The claimed counts are only counted down: nothing is set aside for items that may never come. */
static void read_array(void *ctx, size_t count)
{
	struct reader *r = ctx;

	take(r, tni_build_open(&r->build, TN_ARRAY, count < UINT64_MAX ? count : UINT64_MAX - 1));
}

static void read_map(void *ctx, size_t count)
{
	struct reader *r = ctx;

	take(r, tni_build_open(&r->build, TN_MAP, count <= INT64_MAX ? (uint64_t)count * 2 : UINT64_MAX - 1));
}

static void read_array_start(void *ctx)
{
	struct reader *r = ctx;

	take(r, tni_build_open(&r->build, TN_ARRAY, TNI_COUNT_OPEN));
}

static void read_map_start(void *ctx)
{
	struct reader *r = ctx;

	take(r, tni_build_open(&r->build, TN_MAP, TNI_COUNT_OPEN));
}

static void read_tag(void *ctx, uint64_t tag)
{
	struct reader *r = ctx;

	take(r, tni_build_tag(&r->build, tag));
}

static void read_double(void *ctx, double real)
{
	struct reader *r = ctx;

	take(r, tni_build_float(&r->build, real));
}

static void read_half(void *ctx, float real)
{
	struct reader *r = ctx;

	read_double(r, isnan(real) ? tni_nan_read(r->data + r->at + 1, 2) : (double)real);
}

static void read_single(void *ctx, float real)
{
	struct reader *r = ctx;

	read_double(r, isnan(real) ? tni_nan_read(r->data + r->at + 1, 4) : (double)real);
}

static void read_undefined(void *ctx)
{
	struct reader *r = ctx;

	take(r, tni_build_simple(&r->build, 23));
}

static void read_null(void *ctx)
{
	struct reader *r = ctx;

	take(r, tni_build_null(&r->build));
}

static void read_bool(void *ctx, bool truth)
{
	struct reader *r = ctx;

	take(r, tni_build_bool(&r->build, truth));
}

static void read_break(void *ctx)
{
	struct reader *r = ctx;
	struct tni_build *b = &r->build;

	if (r->chunked) {
		r->chunked = false;
		b->at = r->chunked_at;
		take(r, tni_build_data(b, r->chunk_kind, r->chunks.data, r->chunks.len));
		return;
	}
	if (!b->top || b->left != TNI_COUNT_OPEN)
		refuse(r, TN_EFORMAT, "a break where nothing of indefinite length is open", r->at);
	else if (b->top->kind == TN_MAP && !tni_build_at_key(b))
		refuse(r, TN_EFORMAT, "a break between a key and its value", r->at);
	else
		take(r, tni_build_close(b));
}

static const struct cbor_callbacks callbacks = {
	.uint8 = read_uint8,
	.uint16 = read_uint16,
	.uint32 = read_uint32,
	.uint64 = read_uint,
	.negint8 = read_negint8,
	.negint16 = read_negint16,
	.negint32 = read_negint32,
	.negint64 = read_negint,
	.byte_string_start = read_bytes_start,
	.byte_string = read_bytes,
	.string_start = read_text_start,
	.string = read_text,
	.indef_array_start = read_array_start,
	.array_start = read_array,
	.indef_map_start = read_map_start,
	.map_start = read_map,
	.tag = read_tag,
	.float2 = read_half,
	.float4 = read_single,
	.float8 = read_double,
	.undefined = read_undefined,
	.null = read_null,
	.boolean = read_bool,
	.indef_break = read_break,
};

/* Inside a string of indefinite length only its chunks, of definite length, and the break may stand. */
static bool is_chunk(const struct reader *r, uint8_t head)
{
	return head == BREAK || (head >> 5 == (r->chunk_kind == TN_TEXT ? 3 : 2) && (head & 31) != 31);
}

/* Tags below 24, and simple values without a name. Returns how many bytes it took, 0 where `head` is something else. */
static size_t read_unknown(struct reader *r, uint8_t head)
{
	uint8_t number = head & 31;

	if (head >> 5 == 6 && number < 24) {
		take(r, tni_build_tag(&r->build, number));
		return 1;
	}
	if (head == 0xf8 && r->len - r->at > 1) {
		number = r->data[r->at + 1];
		if (number < 32)
			refuse(r, TN_EFORMAT, "a simple value below 32 in two bytes", r->at + 1);
		else
			take(r, tni_build_simple(&r->build, number));
		return 2;
	}
	if (head < 0xe0 || head > 0xf3)
		return 0;
	take(r, tni_build_simple(&r->build, number));
	return 1;
}

/* Reads one head, with the bytes of a string. */
static void read_item(struct reader *r)
{
	uint8_t head = r->data[r->at];
	struct cbor_decoder_result result;
	size_t taken;

	if (r->chunked && !is_chunk(r, head)) {
		refuse(r, TN_EFORMAT, "neither a chunk of the string nor its end", r->at);
		return;
	}
	r->build.at = r->at;
	taken = read_unknown(r, head);
	if (taken) {
		r->at += taken;
		return;
	}
	result = cbor_stream_decode(r->data + r->at, r->len - r->at, &callbacks, r);
	if (result.status == CBOR_DECODER_NEDATA || head == 0xf8)
		refuse(r, TN_ETRUNC, "the item ends early", r->len);
	else if (result.status == CBOR_DECODER_ERROR)
		refuse(r, TN_EFORMAT, "a reserved first byte", r->at);
	r->at += result.read;
}

static void read_message(struct reader *r)
{
	bool done = false;

	while (!done && r->at < r->len) {
		read_item(r);
		if (r->code)
			return;
		done = r->build.root && !r->build.depth && !r->chunked;
	}
	if (!done)
		refuse(r, TN_ETRUNC, "the item ends early", r->len);
	else if (r->at < r->len)
		refuse(r, TN_EFORMAT, "more after the end of the item", r->at);
}

static int cbor_decode(const void *data, size_t len, const struct tni_codec_opts *opts, struct tn_value **out,
		       struct tni_codec_error *err)
{
	struct reader r;
	int code = tni_build_begin(&r.build, opts, TNI_MARKS_CBOR, out);

	if (code)
		return tni_codec_fail(err, code, "out of memory", 0);
	r.build.unique = true;
	r.data = data;
	r.len = len;
	r.at = 0;
	r.code = 0;
	r.chunked = false;
	r.chunks = (struct tni_bytes){0};
	read_message(&r);
	tni_bytes_free(&r.chunks);
	if (r.code)
		tni_codec_fail(err, r.code, r.text, r.error_at);
	return tni_build_end(&r.build, r.code, out);
}

/* Keys that stand twice can only be told with the tree. */
static int cbor_check(const void *data, size_t len, const struct tni_codec_opts *opts, struct tni_codec_error *err)
{
	return tni_codec_check_by_decode(&tni_codec_cbor, data, len, opts, err);
}

struct writer {
	struct tni_bytes *out;
	struct tni_marker marker;
	unsigned max_depth;
};

/* The shortest head of a major type, into at least HEAD_SIZE bytes. Returns its size. */
static size_t put_head(uint8_t *to, unsigned major, uint64_t num)
{
	size_t size = 1;

	if (num < 24)
		*to = (uint8_t)num; /* most are: not worth three calls */
	else
		size = cbor_encode_uint(num, to, HEAD_SIZE);
	*to |= (uint8_t)(major << 5);
	return size;
}

static void write_head(struct tni_bytes *out, unsigned major, uint64_t num)
{
	uint8_t *to = tni_bytes_room(out, HEAD_SIZE);

	if (to)
		out->len += put_head(to, major, num);
}

static void write_data(struct tni_bytes *out, unsigned major, const struct tn_value *v)
{
	uint8_t *to = tni_bytes_room(out, HEAD_SIZE + v->len);
	size_t head;

	if (!to)
		return;
	head = put_head(to, major, v->len);
	memcpy(to + head, v->u.data, v->len);
	out->len += head + v->len;
}

/* Most items of most messages are texts, short ones, and none needs a mark. */
static inline void write_text(struct tni_bytes *out, const struct tn_value *v)
{
	uint8_t *to;

	if (v->len >= 24 || out->cap - out->len < 24) {
		write_data(out, 3, v);
		return;
	}
	to = out->data + out->len;
	*to = (uint8_t)(0x60 | v->len);
	tni_copy_short(to + 1, v->u.data, v->len);
	out->len += 1 + v->len;
}

static void write_bits(struct tni_bytes *out, uint8_t head, uint64_t bits, int count)
{
	uint8_t *to = tni_bytes_room(out, HEAD_SIZE);

	if (!to)
		return;
	*to++ = head;
	for (int i = count - 1; i >= 0; i--)
		*to++ = (uint8_t)(bits >> 8 * i);
	out->len += 1 + (size_t)count;
}

/* The half of the same value as a single's bits, if there is one. */
static bool half_of(uint32_t bits, uint16_t *half)
{
	uint32_t sign = bits >> 16 & 0x8000;
	int exponent = (int)(bits >> 23 & 0xff) - 127;
	uint32_t fraction = bits & 0x7fffff;
	uint32_t magnitude;
	int shift = 13;

	if (exponent == 128 || (exponent >= -14 && exponent <= 15)) {
		magnitude = (uint32_t)(exponent == 128 ? 31 : exponent + 15) << 23 | fraction;
	} else if (exponent >= -24 && exponent < -14) {
		magnitude = 0x800000 | fraction;
		shift = -1 - exponent;
	} else {
		magnitude = bits & 0x7fffffff; /* zero has one too */
		if (magnitude)
			return false;
	}
	if (magnitude & (((uint32_t)1 << shift) - 1))
		return false;
	*half = (uint16_t)(sign | magnitude >> shift);
	return true;
}

/* The shortest of half, single and double that keeps every bit of the value, a NaN's payload too (RFC 8949, preferred
 * serialization). */
static void write_float(struct tni_bytes *out, double real)
{
	uint32_t single;
	uint16_t half;

	if (!tni_single_of(real, &single)) {
		uint64_t bits;

		memcpy(&bits, &real, sizeof bits);
		write_bits(out, 0xfb, bits, 8);
	} else if (half_of(single, &half)) {
		write_bits(out, 0xf9, half, 2);
	} else {
		write_bits(out, 0xfa, single, 4);
	}
}

static int write_items(struct writer *w, const struct tn_value *v, unsigned depth);

/* Stands in the loop over items, so that most of them take no call. */
__attribute__((always_inline)) static inline int write_value(struct writer *w, const struct tn_value *v, unsigned depth)
{
	int err = 0;

	v = tni_mark_write(&w->marker, v, &err);
	if (!v)
		return err;
	switch ((enum tn_kind)v->kind) {
	case TN_NULL:
		write_head(w->out, 7, 22);
		break;
	case TN_BOOL:
		write_head(w->out, 7, v->u.truth ? 21 : 20);
		break;
	case TN_SIMPLE:
		write_head(w->out, 7, v->u.num);
		break;
	case TN_INT:
		write_head(w->out, v->flags & TNI_NEGATIVE ? 1 : 0, v->u.num);
		break;
	case TN_FLOAT:
		write_float(w->out, v->u.real);
		break;
	case TN_BYTES:
		write_data(w->out, 2, v);
		break;
	case TN_TEXT:
		write_text(w->out, v);
		break;
	case TN_ARRAY:
	case TN_MAP:
	case TN_TAG:
		return write_items(w, v, depth);
	case TN_EXT: /* was marked */
		break;
	}
	return 0;
}

__attribute__((noinline)) static int write_items(struct writer *w, const struct tn_value *v, unsigned depth)
{
	const struct tn_value *item;
	int err = 0;

	if (depth >= w->max_depth)
		return TN_EDEPTH;
	if (v->kind == TN_TAG) {
		write_head(w->out, 6, v->len);
	} else if (v->kind == TN_ARRAY) {
		write_head(w->out, 4, v->len);
	} else {
		err = tni_codec_unique(v);
		if (err)
			return err;
		write_head(w->out, 5, v->len / 2);
	}
	for (item = tni_first(v); item; item = tni_next(v, item)) {
		err = write_value(w, item, depth + 1);
		if (err) {
			tni_codec_place_step(v, item);
			return err;
		}
	}
	return 0;
}

static int cbor_encode(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out)
{
	struct writer w = {
		.out = out,
		.marker = tni_marker_begin(TNI_MARKS_CBOR, tni_codec_strict(opts)),
		.max_depth = tni_codec_depth(opts),
	};
	size_t start = out->len;
	int err = write_value(&w, v, 0);

	tni_marker_end(&w.marker);
	if (!err)
		err = out->err;
	if (err)
		out->len = start;
	return err;
}

const struct tni_codec tni_codec_cbor = {
	.name = "cbor",
	.meaning = "CBOR (RFC 8949)",
	.frame = "cbor",
	.kind = TN_FORMAT_VALUES,
	.decode = cbor_decode,
	.encode = cbor_encode,
	.check = cbor_check,
};
