/*
 * Reading JSON (RFC 8259), by yajl.
 *
 * What yajl 2.1 gets wrong is decided here before it runs: overlong and surrogate UTF-8, escapes of lone surrogates
 * (it puts question marks or broken UTF-8), form feed and vertical tab as white space; and a string behind the value
 * that does not end, which it does not mind, when it has run. Numbers reach us as their text.
 */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_parse.h>

#include "codec/build.h"
#include "codec/codec.h"
#include "codec/json.h"
#include "codec/mark.h"
#include "codec/number.h"
#include "base/utf8.h"

#define HEAP_ROOM 5120 /* enough for a message without long escaped strings */

/* yajl's memory. It takes a few small pieces for every message and does not look whether it got them: so they come
 * from here, and when there is none the parse is left by longjmp. Pieces are never given back singly. */
struct heap {
	jmp_buf full;
	struct heap_block *more;
	size_t used;
	_Alignas(16) char room[HEAP_ROOM];
};

struct heap_block {
	_Alignas(16) struct heap_block *next;
};

struct piece {
	_Alignas(16) size_t size;
};

static void *heap_alloc(void *ctx, size_t size)
{
	struct heap *heap = ctx;
	size_t total = (sizeof(struct piece) + size + 15) & ~(size_t)15;
	struct piece *piece;

	if (total <= sizeof heap->room - heap->used) {
		piece = (struct piece *)(void *)(heap->room + heap->used);
		heap->used += total;
	} else {
		struct heap_block *block = size < SIZE_MAX / 2 ? malloc(sizeof *block + total) : NULL;

		if (!block)
			longjmp(heap->full, 1);
		block->next = heap->more;
		heap->more = block;
		piece = (struct piece *)(block + 1);
	}
	piece->size = size;
	return piece + 1;
}

static void *heap_realloc(void *ctx, void *old, size_t size)
{
	void *p = heap_alloc(ctx, size);

	if (old) {
		size_t had = ((struct piece *)old - 1)->size;

		memcpy(p, old, had < size ? had : size);
	}
	return p;
}

static void heap_free(void *ctx, void *p)
{
	(void)ctx;
	(void)p;
}

static void heap_end(struct heap *heap)
{
	while (heap->more) {
		struct heap_block *next = heap->more->next;

		free(heap->more);
		heap->more = next;
	}
}

#define PICTURE_SIZE 768

/* One run of yajl over a text. */
struct parse {
	struct heap heap;
	yajl_handle yajl;
	/* What stands in the heap when yajl has been made for these callbacks, and how much: to make it again costs as
	 * much as a short message. NULL: nothing yet. */
	const yajl_callbacks *pictured;
	size_t picture_size;
	_Alignas(16) char picture[PICTURE_SIZE];
	bool ended; /* the text was taken, and its end is being told */
	/* reading: */
	struct tni_build *build; /* NULL: only checking */
	bool strict;
	unsigned depth; /* when checking */
	unsigned max_depth;
	int code; /* why a callback stopped the parse */
	size_t number_len;
};

/* Makes yajl in an empty heap. It comes to lie where it lay before, so a picture of it needs no change. */
static void make_yajl(struct parse *p, const yajl_callbacks *callbacks)
{
	yajl_alloc_funcs alloc = {heap_alloc, heap_realloc, heap_free, &p->heap};

	if (p->pictured == callbacks) {
		memcpy(p->heap.room, p->picture, p->picture_size);
		p->heap.used = p->picture_size;
		return;
	}
	p->pictured = NULL;
	p->yajl = yajl_alloc(callbacks, &alloc, p);
	yajl_config(p->yajl, yajl_dont_validate_strings, 1);
	if (p->heap.used > sizeof p->picture)
		return;
	memcpy(p->picture, p->heap.room, p->heap.used);
	p->picture_size = p->heap.used;
	p->pictured = callbacks;
}

static yajl_status run_yajl(struct parse *p, const yajl_callbacks *callbacks, const char *data, size_t len)
{
	yajl_status status;

	p->heap.more = NULL;
	p->heap.used = 0;
	p->ended = false;
	if (setjmp(p->heap.full)) {
		p->code = -ENOMEM;
		return yajl_status_client_canceled;
	}
	make_yajl(p, callbacks);
	status = yajl_parse(p->yajl, (const unsigned char *)data, len);
	p->ended = status == yajl_status_ok;
	/* yajl does not mind a string behind the value that does not end; but a line feed cannot stand in one */
	if (status == yajl_status_ok)
		status = yajl_parse(p->yajl, (const unsigned char *)"\n", 1);
	if (status == yajl_status_ok && !(p->build && p->build->root && !p->build->top))
		status = yajl_complete_parse(p->yajl);
	return status;
}

static int stop_on(struct parse *p, int code)
{
	p->code = code;
	return code == 0;
}

static int read_null(void *ctx)
{
	struct parse *p = ctx;

	return stop_on(p, tni_build_null(p->build));
}

static int read_bool(void *ctx, int truth)
{
	struct parse *p = ctx;

	return stop_on(p, tni_build_bool(p->build, truth));
}

static int read_number(void *ctx, const char *text, size_t len)
{
	struct parse *p = ctx;

	p->number_len = len;
	return stop_on(p, tni_build_number(p->build, text, len, p->strict));
}

static int read_text(void *ctx, const unsigned char *text, size_t len)
{
	struct parse *p = ctx;

	return stop_on(p, tni_build_data(p->build, TN_TEXT, text, len));
}

/* A key whose position will be asked for. */
static int read_strict_key(void *ctx, const unsigned char *text, size_t len)
{
	struct parse *p = ctx;

	p->build->at = yajl_get_bytes_consumed(p->yajl);
	return read_text(p, text, len);
}

static int read_map(void *ctx)
{
	struct parse *p = ctx;

	return stop_on(p, tni_build_open(p->build, TN_MAP, TNI_COUNT_OPEN));
}

static int read_array(void *ctx)
{
	struct parse *p = ctx;

	return stop_on(p, tni_build_open(p->build, TN_ARRAY, TNI_COUNT_OPEN));
}

static int read_end(void *ctx)
{
	struct parse *p = ctx;

	return stop_on(p, tni_build_close(p->build));
}

#define READ_CALLBACKS(on_key)                                                                        \
	{                                                                                             \
		.yajl_null = read_null, .yajl_boolean = read_bool, .yajl_number = read_number,        \
		.yajl_string = read_text, .yajl_start_map = read_map, .yajl_map_key = on_key,         \
		.yajl_end_map = read_end, .yajl_start_array = read_array, .yajl_end_array = read_end, \
	}

static const yajl_callbacks read_callbacks = READ_CALLBACKS(read_text);
static const yajl_callbacks strict_callbacks = READ_CALLBACKS(read_strict_key);

static int check_number(void *ctx, const char *text, size_t len)
{
	struct parse *p = ctx;
	struct tni_number number;
	uint8_t bytes[TNI_BIG_BYTES];
	int code = tni_number_read(text, len, &number) < 0 ? TN_ETOOBIG : 0;

	if (!code && number.kind == TNI_NUMBER_BIG && !tni_big_read(text, len, bytes))
		code = TN_ETOOBIG;
	p->number_len = len;
	return stop_on(p, code);
}

static int check_open(void *ctx)
{
	struct parse *p = ctx;

	return stop_on(p, p->depth++ < p->max_depth ? 0 : TN_EDEPTH);
}

static int check_close(void *ctx)
{
	struct parse *p = ctx;

	p->depth--;
	return 1;
}

static const yajl_callbacks check_callbacks = {
	.yajl_number = check_number,
	.yajl_start_map = check_open,
	.yajl_end_map = check_close,
	.yajl_start_array = check_open,
	.yajl_end_array = check_close,
};

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int tni_json_hex4(const char *text, size_t len)
{
	int code = 0;

	if (len < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_value(text[i]);

		if (digit < 0)
			return -1;
		code = code << 4 | digit;
	}
	return code;
}

/* The size of an escape, as far as it matters here: 12 for a surrogate pair, 0 for half of one, 2 for any other,
 * whether or not yajl will take it. */
static size_t escape_size(const char *p, size_t left)
{
	int code;

	if (left < 2 || p[1] != 'u')
		return left < 2 ? 1 : 2;
	code = tni_json_hex4(p + 2, left - 2);
	if (code < 0xd800 || code > 0xdfff)
		return 2;
	if (code >= 0xdc00 || left < 12 || p[6] != '\\' || p[7] != 'u')
		return 0;
	code = tni_json_hex4(p + 8, 4);
	return code >= 0xdc00 && code <= 0xdfff ? 12 : 0;
}

#define ONES 0x0101010101010101u
#define HIGH_BITS 0x8080808080808080u

/* Bit 7 of each of eight bytes that is not ASCII, a control character or a backslash;
 * also of some behind such a one. */
static uint64_t odd_bytes(const char *p)
{
	uint64_t word;
	uint64_t escape;

	memcpy(&word, p, sizeof word);
	word = le64toh(word); /* so that the first byte is the lowest */
	escape = word ^ ONES * '\\';
	return (word | ((word - ONES * ' ') & ~word) | ((escape - ONES) & ~escape)) & HIGH_BITS;
}

/* The next byte from `at` on that may be one of those, or `len`. */
static size_t skip_plain(const char *data, size_t at, size_t len)
{
	uint64_t odd;
	size_t over;

	for (; len - at >= 8; at += 8) {
		odd = odd_bytes(data + at);
		if (odd)
			return at + (size_t)__builtin_ctzll(odd) / 8;
	}
	if (len < 8 || at == len)
		return at;
	over = 8 - (len - at); /* the last eight, without those known already */
	odd = odd_bytes(data + len - 8) >> over * 8 << over * 8;
	return odd ? len - 8 + (size_t)__builtin_ctzll(odd) / 8 : len;
}

/* The first thing wrong that yajl would take for right, and what it is; `len` if there is none. */
static size_t find_unseen(const char *data, size_t len, int *code, const char **text)
{
	size_t at = 0;

	while ((at = skip_plain(data, at, len)) < len) {
		uint8_t byte = (uint8_t)data[at];
		size_t size = 1;

		if (byte == '\\')
			size = escape_size(data + at, len - at);
		else if (byte >= 0x80)
			size = tni_utf8_size(data + at, len - at);
		if (!size || byte == '\f' || byte == '\v') {
			*code = size ? TN_EFORMAT : TN_EUTF8;
			*text = size ? "unexpected character" : byte >= 0x80 ? "not UTF-8" : "half of a surrogate pair";
			break;
		}
		at += size;
	}
	return at;
}

/* Where the string begins that ends before `end`. */
static size_t string_start(const char *data, size_t end)
{
	size_t at = end - 1;

	for (;;) {
		size_t slashes = 0;

		while (data[--at] != '"')
			;
		while (slashes < at && data[at - 1 - slashes] == '\\')
			slashes++;
		if (slashes % 2 == 0)
			return at;
	}
}

static int stopped(const struct parse *p, const char *data, size_t len, const char **text, size_t *at)
{
	size_t end = p->ended ? len : yajl_get_bytes_consumed(p->yajl);

	switch (p->code) {
	case TN_EDEPTH:
		*text = "nested too deep";
		*at = end - 1;
		break;
	case TN_ETOOBIG:
		*text = "number too large";
		*at = end - p->number_len;
		break;
	case TN_EDUPKEY:
		*text = "a key stands twice in one object";
		*at = string_start(data, p->build->repeated);
		break;
	default:
		*text = "out of memory";
		*at = 0;
	}
	return p->code;
}

/* Reads a text without byte order mark into `build`, or only checks it. */
static int read_json(const char *data, size_t len, const struct tni_codec_opts *opts, struct tni_build *build,
		     const char **text, size_t *at)
{
	static _Thread_local struct parse parse;
	struct parse *p = &parse;
	yajl_status status;
	int unseen_code;
	const char *unseen_text;
	size_t unseen = find_unseen(data, len, &unseen_code, &unseen_text);
	int code;

	if (unseen < len) {
		code = tni_json_locate(data, unseen, tni_codec_depth(opts), text, at);
		if (code && code != TN_ETRUNC)
			return code;
		*at = unseen;
		*text = unseen_text;
		return unseen_code;
	}
	p->build = build;
	p->strict = tni_codec_strict(opts);
	p->depth = 0;
	p->max_depth = tni_codec_depth(opts);
	p->code = 0;
	status = run_yajl(p, !build ? &check_callbacks : p->strict ? &strict_callbacks : &read_callbacks, data, len);
	code = p->code ? stopped(p, data, len, text, at) : 0;
	heap_end(&p->heap);
	if (status == yajl_status_error)
		code = tni_json_locate(data, len, p->max_depth, text, at);
	if (status == yajl_status_error &&
	    !code) { /* the two readings differ: what was not taken is not called right */
		code = TN_EFORMAT;
		*text = "malformed";
	}
	return code;
}

/* RFC 8259 section 8.1: nobody may send a byte order mark, but a reader may look past it. */
static size_t mark_size(const char *data, size_t len)
{
	return len >= 3 && !memcmp(data, "\xef\xbb\xbf", 3) ? 3 : 0;
}

static int read_message(const char *data, size_t len, const struct tni_codec_opts *opts, struct tni_build *build,
			struct tni_codec_error *err)
{
	size_t skip = mark_size(data, len);
	const char *text = NULL;
	size_t at = 0;
	int code;

	if (!len)
		data = ""; /* whatever it was */
	if (skip && tni_codec_strict(opts))
		return tni_codec_fail_text(err, TN_EFORMAT, "byte order mark", 0, data);
	code = read_json(data + skip, len - skip, opts, build, &text, &at);
	return code ? tni_codec_fail_text(err, code, text, skip + at, data) : 0;
}

static int json_decode(const void *data, size_t len, const struct tni_codec_opts *opts, struct tn_value **out,
		       struct tni_codec_error *err)
{
	struct tni_build build;
	int code = tni_build_begin(&build, opts, TNI_MARKS_TEXT, out);

	if (code)
		return tni_codec_fail(err, code, "out of memory", 0);
	return tni_build_end(&build, read_message(data, len, opts, &build, err), out);
}

static int json_check(const void *data, size_t len, const struct tni_codec_opts *opts, struct tni_codec_error *err)
{
	if (tni_codec_strict(opts))
		return tni_codec_check_by_decode(&tni_codec_json, data, len, opts, err);
	return read_message(data, len, opts, NULL, err);
}

const struct tni_codec tni_codec_json = {
	.name = "json",
	.meaning = "JSON (RFC 8259)",
	.frame = "json",
	.kind = TN_FORMAT_VALUES | TN_FORMAT_TEXT | TN_FORMAT_BLANK,
	.decode = json_decode,
	.encode = tni_json_write,
	.check = json_check,
};
