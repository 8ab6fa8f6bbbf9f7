/* Writing JSON (RFC 8259): UTF-8, nothing escaped that need not be. */
#include "codec/json.h"

#include "codec/mark.h"
#include "codec/number.h"

struct writer {
	struct tni_bytes *out;
	struct tni_marker marker;
	unsigned max_depth;
	bool pretty;
};

void tni_json_write_number(struct tni_bytes *out, const struct tn_value *v)
{
	char big[TNI_BIG_DIGITS + 2];
	char *to;

	if (v->kind == TN_TAG) {
		const struct tn_value *bytes = v->u.last;

		size_t len = tni_big_write((const uint8_t *)bytes->u.data, bytes->len, v->len == 3, big);

		tni_bytes_append(out, big, len);
		return;
	}
	to = (char *)tni_bytes_room(out, TNI_NUMBER_SIZE);
	if (!to)
		return;
	if (v->kind == TN_INT)
		out->len += tni_int_write(v->flags & TNI_NEGATIVE, v->u.num, to);
	else
		out->len += tni_float_write(v->u.real, to);
}

#define ONES 0x0101010101010101u
#define HIGH_BITS 0x8080808080808080u

/* Bit 7 of each byte of `word` that is zero; bytes above one that is zero may be told too, which only sends us to
 * look. */
static uint64_t zero_bytes(uint64_t word)
{
	return (word - ONES) & ~word & HIGH_BITS;
}

static bool is_plain(uint8_t byte)
{
	return byte >= 0x20 && byte != '"' && byte != '\\';
}

/* How many bytes can be copied as they are. */
static size_t plain_run(const uint8_t *p, size_t len)
{
	size_t at = 0;
	uint64_t word;

	while (len - at >= sizeof word) {
		memcpy(&word, p + at, sizeof word);
		if (zero_bytes(word ^ ONES * '"') | zero_bytes(word ^ ONES * '\\') |
		    ((word - ONES * 0x20) & ~word & HIGH_BITS))
			break;
		at += sizeof word;
	}
	while (at < len && is_plain(p[at]))
		at++;
	return at;
}

static char *write_escape(char *to, uint8_t byte)
{
	static const char hex[] = "0123456789abcdef";
	static const char letters[32] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
	char letter = byte < 32 ? letters[byte] : (char)byte;

	*to++ = '\\';
	if (letter) {
		*to++ = letter;
		return to;
	}
	*to++ = 'u';
	*to++ = '0';
	*to++ = '0';
	*to++ = hex[byte >> 4];
	*to++ = hex[byte & 15];
	return to;
}

static void write_text(struct tni_bytes *out, const struct tn_value *v)
{
	const uint8_t *p = (const uint8_t *)v->u.data;
	size_t left = v->len;
	char *to = (char *)tni_bytes_room(out, left + 2);

	if (!to)
		return;
	*to = '"';
	out->len++;
	while (left) {
		size_t run = plain_run(p, left);

		/* room for the run, an escape and the quote: the escapes were not counted above */
		to = (char *)tni_bytes_room(out, left + 8);
		if (!to)
			return;
		memcpy(to, p, run);
		to += run;
		p += run;
		left -= run;
		if (left) {
			to = write_escape(to, *p++);
			left--;
		}
		out->len = (size_t)(to - (char *)out->data);
	}
	tni_bytes_put(out, '"');
}

static void write_break(struct writer *w, unsigned depth)
{
	if (!w->pretty)
		return;
	tni_bytes_put(w->out, '\n');
	while (depth--)
		tni_bytes_literal(w->out, "  ");
}

static int write_value(struct writer *w, const struct tn_value *v, unsigned depth);

static int write_items(struct writer *w, const struct tn_value *v, unsigned depth)
{
	bool map = v->kind == TN_MAP;
	const struct tn_value *item;
	int err;

	if (depth >= w->max_depth)
		return TN_EDEPTH;
	tni_bytes_put(w->out, map ? '{' : '[');
	for (item = tni_first(v); item; item = tni_next(v, item)) {
		if (item != v->u.last->next)
			tni_bytes_put(w->out, ',');
		write_break(w, depth + 1);
		if (map) {
			write_text(w->out, item);
			tni_bytes_put(w->out, ':');
			if (w->pretty)
				tni_bytes_put(w->out, ' ');
			item = item->next;
		}
		err = write_value(w, item, depth + 1);
		if (err) {
			tni_codec_place_step(v, item);
			return err;
		}
	}
	if (v->u.last)
		write_break(w, depth);
	tni_bytes_put(w->out, map ? '}' : ']');
	return 0;
}

static int write_value(struct writer *w, const struct tn_value *v, unsigned depth)
{
	int err = 0;

	v = tni_mark_write(&w->marker, v, &err);
	if (!v)
		return err;
	switch ((enum tn_kind)v->kind) {
	case TN_NULL:
		tni_bytes_literal(w->out, "null");
		return 0;
	case TN_BOOL:
		if (v->u.truth)
			tni_bytes_literal(w->out, "true");
		else
			tni_bytes_literal(w->out, "false");
		return 0;
	case TN_TEXT:
		write_text(w->out, v);
		return 0;
	case TN_ARRAY:
	case TN_MAP:
		return write_items(w, v, depth);
	default:
		tni_json_write_number(w->out, v);
		return 0;
	}
}

int tni_json_write(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out)
{
	struct writer w = {
		.out = out,
		.marker = tni_marker_begin(TNI_MARKS_TEXT, tni_codec_strict(opts)),
		.max_depth = tni_codec_depth(opts),
		.pretty = opts && opts->pretty,
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
