/*
 * Bare conversion between JSON lines and CBOR in u32 frames: the best a person writes by hand with yajl and libcbor,
 * event by event, without a tree, without a check that the libraries do not make, and with one buffer that is used
 * again.
 *
 *     convert_floor json-cbor | cbor-json   < input > output
 */
#include <cbor.h>
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_parse.h>

enum { READ_SIZE = 256 * 1024, FLUSH_AT = 256 * 1024, DEPTH_MAX = 128, HEAD_MAX = 9 };

static unsigned char *out;
static size_t out_len, out_cap;

static unsigned char *room(size_t len)
{
	if (out_len + len > out_cap) {
		out_cap = 2 * (out_len + len);
		out = realloc(out, out_cap);
		if (!out)
			err(1, "realloc");
	}
	return out + out_len;
}

static void flush(void)
{
	for (size_t at = 0; at < out_len;) {
		ssize_t n = write(STDOUT_FILENO, out + at, out_len - at);

		if (n <= 0)
			err(1, "write");
		at += (size_t)n;
	}
	out_len = 0;
}

/* ---- JSON to CBOR ---- */

/* A map or array being written: where its head of one byte stands, which grows when there are more than 23 in it. */
static struct open {
	size_t at, count;
	bool is_map;
} opened[DEPTH_MAX];
static unsigned depth;
static size_t message_at;

static void begin_item(void)
{
	if (depth) {
		opened[depth - 1].count++;
		return;
	}
	message_at = out_len;
	room(4);
	out_len += 4;
}

static int end_item(void)
{
	size_t len;

	if (depth)
		return 1;
	len = out_len - message_at - 4;
	for (unsigned i = 0; i < 4; i++)
		out[message_at + i] = (unsigned char)(len >> (24 - 8 * i));
	if (out_len >= FLUSH_AT)
		flush();
	return 1;
}

static int put_null(void *arg)
{
	(void)arg;
	begin_item();
	room(HEAD_MAX);
	out_len += cbor_encode_null(out + out_len, HEAD_MAX);
	return end_item();
}

static int put_bool(void *arg, int value)
{
	(void)arg;
	begin_item();
	room(HEAD_MAX);
	out_len += cbor_encode_bool(value, out + out_len, HEAD_MAX);
	return end_item();
}

static int put_integer(void *arg, long long value)
{
	(void)arg;
	begin_item();
	room(HEAD_MAX);
	out_len += value < 0 ? cbor_encode_negint((uint64_t)(-1 - value), out + out_len, HEAD_MAX)
			     : cbor_encode_uint((uint64_t)value, out + out_len, HEAD_MAX);
	return end_item();
}

static int put_double(void *arg, double value)
{
	(void)arg;
	begin_item();
	room(HEAD_MAX);
	out_len += cbor_encode_double(value, out + out_len, HEAD_MAX);
	return end_item();
}

static void put_text(const unsigned char *text, size_t len)
{
	room(HEAD_MAX + len);
	out_len += cbor_encode_string_start(len, out + out_len, HEAD_MAX);
	memcpy(out + out_len, text, len);
	out_len += len;
}

static int put_string(void *arg, const unsigned char *text, size_t len)
{
	(void)arg;
	begin_item();
	put_text(text, len);
	return end_item();
}

/* A key is no item of its own: the value behind it counts. */
static int put_key(void *arg, const unsigned char *text, size_t len)
{
	(void)arg;
	put_text(text, len);
	return 1;
}

static int begin_many(bool is_map)
{
	begin_item();
	if (depth == DEPTH_MAX)
		errx(1, "too deep");
	opened[depth++] = (struct open){.at = out_len, .is_map = is_map};
	room(1);
	out_len++;
	return 1;
}

static int begin_map(void *arg)
{
	(void)arg;
	return begin_many(true);
}

static int begin_array(void *arg)
{
	(void)arg;
	return begin_many(false);
}

static int end_many(void *arg)
{
	const struct open *o = &opened[--depth];
	unsigned char head[HEAD_MAX];
	size_t len = o->is_map ? cbor_encode_map_start(o->count, head, sizeof(head))
			       : cbor_encode_array_start(o->count, head, sizeof(head));

	(void)arg;
	if (len > 1) {
		room(HEAD_MAX);
		memmove(out + o->at + len, out + o->at + 1, out_len - o->at - 1);
		out_len += len - 1;
	}
	memcpy(out + o->at, head, len);
	return end_item();
}

static void json_to_cbor(void)
{
	static const yajl_callbacks callbacks = {
		.yajl_null = put_null,
		.yajl_boolean = put_bool,
		.yajl_integer = put_integer,
		.yajl_double = put_double,
		.yajl_string = put_string,
		.yajl_start_map = begin_map,
		.yajl_map_key = put_key,
		.yajl_end_map = end_many,
		.yajl_start_array = begin_array,
		.yajl_end_array = end_many,
	};
	static unsigned char in[READ_SIZE];
	yajl_handle yajl = yajl_alloc(&callbacks, NULL, NULL);
	ssize_t n;

	yajl_config(yajl, yajl_allow_multiple_values, 1);
	while ((n = read(STDIN_FILENO, in, sizeof(in))) > 0) {
		if (yajl_parse(yajl, in, (size_t)n) != yajl_status_ok)
			errx(1, "bad JSON");
	}
	if (yajl_complete_parse(yajl) != yajl_status_ok)
		errx(1, "the JSON ends too soon");
	yajl_free(yajl);
}

/* ---- CBOR to JSON ---- */

static yajl_gen gen;
static size_t left[DEPTH_MAX]; /* items still to come: two for each pair of a map */
static bool is_map[DEPTH_MAX];

static void close_full(void)
{
	while (depth && !left[depth - 1]) {
		depth--;
		if (is_map[depth])
			yajl_gen_map_close(gen);
		else
			yajl_gen_array_close(gen);
		if (depth)
			left[depth - 1]--;
	}
}

static void item_done(void)
{
	if (depth)
		left[depth - 1]--;
	close_full();
}

static void got_uint(uint64_t value)
{
	yajl_gen_integer(gen, (long long)value);
	item_done();
}

static void got_negint(uint64_t value)
{
	yajl_gen_integer(gen, -1 - (long long)value);
	item_done();
}

/* clang-format off */
static void got_uint8(void *arg, uint8_t value) { (void)arg; got_uint(value); }
static void got_uint16(void *arg, uint16_t value) { (void)arg; got_uint(value); }
static void got_uint32(void *arg, uint32_t value) { (void)arg; got_uint(value); }
static void got_uint64(void *arg, uint64_t value) { (void)arg; got_uint(value); }
static void got_negint8(void *arg, uint8_t value) { (void)arg; got_negint(value); }
static void got_negint16(void *arg, uint16_t value) { (void)arg; got_negint(value); }
static void got_negint32(void *arg, uint32_t value) { (void)arg; got_negint(value); }
static void got_negint64(void *arg, uint64_t value) { (void)arg; got_negint(value); }
static void got_double(void *arg, double value) { (void)arg; yajl_gen_double(gen, value); item_done(); }
static void got_float(void *arg, float value) { got_double(arg, value); }
static void got_bool(void *arg, bool value) { (void)arg; yajl_gen_bool(gen, value); item_done(); }
static void got_null(void *arg) { (void)arg; yajl_gen_null(gen); item_done(); }
/* clang-format on */

static void got_string(void *arg, cbor_data text, size_t len)
{
	(void)arg;
	yajl_gen_string(gen, text, len);
	item_done();
}

static void got_many(size_t count, bool map)
{
	if (depth == DEPTH_MAX)
		errx(1, "too deep");
	if (map)
		yajl_gen_map_open(gen);
	else
		yajl_gen_array_open(gen);
	is_map[depth] = map;
	left[depth++] = map ? 2 * count : count;
	close_full();
}

static void got_map(void *arg, size_t count)
{
	(void)arg;
	got_many(count, true);
}

static void got_array(void *arg, size_t count)
{
	(void)arg;
	got_many(count, false);
}

static void convert_message(const unsigned char *in, size_t len, const struct cbor_callbacks *callbacks)
{
	const unsigned char *text;
	size_t at = 0, text_len;

	do {
		struct cbor_decoder_result result = cbor_stream_decode(in + at, len - at, callbacks, NULL);

		if (result.status != CBOR_DECODER_FINISHED)
			errx(1, "bad CBOR");
		at += result.read;
	} while (at < len);
	yajl_gen_get_buf(gen, &text, &text_len);
	memcpy(room(text_len + 1), text, text_len);
	out_len += text_len;
	out[out_len++] = '\n';
	yajl_gen_reset(gen, NULL);
	yajl_gen_clear(gen);
	if (out_len >= FLUSH_AT)
		flush();
}

static void cbor_to_json(void)
{
	struct cbor_callbacks callbacks = cbor_empty_callbacks;
	static unsigned char in[READ_SIZE];
	size_t have = 0, at;
	ssize_t n;

	callbacks.uint8 = got_uint8, callbacks.uint16 = got_uint16;
	callbacks.uint32 = got_uint32, callbacks.uint64 = got_uint64;
	callbacks.negint8 = got_negint8, callbacks.negint16 = got_negint16;
	callbacks.negint32 = got_negint32, callbacks.negint64 = got_negint64;
	callbacks.float2 = got_float, callbacks.float4 = got_float, callbacks.float8 = got_double;
	callbacks.boolean = got_bool, callbacks.null = got_null, callbacks.string = got_string;
	callbacks.map_start = got_map, callbacks.array_start = got_array;
	gen = yajl_gen_alloc(NULL);
	while ((n = read(STDIN_FILENO, in + have, sizeof(in) - have)) > 0) {
		have += (size_t)n;
		for (at = 0; have - at >= 4;) {
			size_t len =
				(size_t)in[at] << 24 | (size_t)in[at + 1] << 16 | (size_t)in[at + 2] << 8 | in[at + 3];

			if (len > sizeof(in) - 4)
				errx(1, "a message of %zu bytes", len);
			if (have - at < 4 + len)
				break;
			convert_message(in + at + 4, len, &callbacks);
			at += 4 + len;
		}
		have -= at;
		memmove(in, in + at, have);
	}
	if (have)
		errx(1, "the CBOR ends too soon");
	yajl_gen_free(gen);
}

int main(int argc, char **argv)
{
	if (argc != 2 || (strcmp(argv[1], "json-cbor") && strcmp(argv[1], "cbor-json")))
		errx(2, "usage: convert_floor json-cbor | cbor-json < input > output");
	if (!strcmp(argv[1], "json-cbor"))
		json_to_cbor();
	else
		cbor_to_json();
	flush();
	free(out);
	return 0;
}
