/*
 * Messages that tell themselves where they end, one behind the other: JSON values (whatever white space and record
 * separators are between them), CBOR data items (RFC 8742) and MessagePack objects. Only bounds are looked for here;
 * whether a message is well formed is the codec's to say. What is known of a message that has not all come is kept, so
 * no byte is looked at twice.
 */
#include "frame/frame.h"

#include "base/err.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_SEPARATOR 0x1e /* RFC 7464: in front of each JSON text */
#define OPEN_MAX 128          /* containers of indefinite length inside each other: what the codec allows */

enum { JSON_START, JSON_NESTED, JSON_STRING, JSON_ESCAPE, JSON_SCALAR };

struct scan {
	size_t at;     /* bytes of the message that have been looked at */
	uint64_t left; /* items that this level still wants; JSON: how deep it is */
	uint64_t skip; /* bytes of contents before the next head */
	uint64_t arg;  /* of the head being read, and how many bytes of it are to come */
	uint8_t need, head;
	uint8_t mode, depth;
	uint32_t open[OPEN_MAX]; /* `left` of the levels around one of indefinite length */
};

/* Looks at bytes that follow those it knows. 1: the message ends after `used` of them; 0: it goes on; < 0: an error. */
typedef int scan_fn(const struct tni_frame *frame, struct scan *s, const unsigned char *p, size_t len, size_t *used);

static int refuse(const struct tni_frame *frame, const struct scan *s, size_t at, int code, const char *why)
{
	at += s->at;
	tni_err(code, "frame %s: byte %zu: %s", frame->ops->name, at, why);
	tni_err_at((long)at);
	return code;
}

static int malformed(const struct tni_frame *frame, const struct scan *s, size_t at, const char *why)
{
	return refuse(frame, s, at, TN_EFORMAT, why);
}

/* ---- JSON: brackets and strings; a message ends where they are closed,
 * a bare word before what cannot be in it ---- */

static bool is_space(unsigned char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool is_mark(unsigned char c)
{
	return c == '{' || c == '}' || c == '[' || c == ']' || c == '"' || c == ',' || c == ':';
}

static size_t skip_string(struct scan *s, const unsigned char *p, size_t i, size_t len)
{
	while (i < len && p[i] != '"' && p[i] != '\\')
		i++;
	if (i == len)
		return i;
	s->mode = p[i] == '\\' ? JSON_ESCAPE : s->left ? JSON_NESTED : JSON_START;
	return i + 1;
}

static size_t skip_nested(struct scan *s, const unsigned char *p, size_t i, size_t len)
{
	while (i < len) {
		unsigned char c = p[i++];

		if (c == '"') {
			s->mode = JSON_STRING;
			break;
		}
		/* [ and { differ in the bit that does not count here, and so do ] and } */
		if ((c & 0xdf) == '[') {
			s->left++;
		} else if ((c & 0xdf) == ']' && --s->left == 0) {
			s->mode = JSON_START;
			break;
		}
	}
	return i;
}

/* The first byte decides. A mark that begins no value is a message of its own, for the codec to refuse. */
static bool json_start(struct scan *s, unsigned char c)
{
	if (c == '"')
		s->mode = JSON_STRING;
	else if (c == '{' || c == '[')
		s->mode = JSON_NESTED, s->left = 1;
	else if (is_mark(c))
		return true;
	else if (c != 0xef && c != 0xbb && c != 0xbf) /* a byte order mark is the codec's to judge */
		s->mode = JSON_SCALAR;
	return false;
}

static int json_scan(const struct tni_frame *frame, struct scan *s, const unsigned char *p, size_t len, size_t *used)
{
	size_t i = 0;

	(void)frame;
	while (i < len) {
		uint8_t mode = s->mode;

		if (mode == JSON_START && json_start(s, p[i++])) {
			*used = i;
			return 1;
		}
		if (mode == JSON_NESTED)
			i = skip_nested(s, p, i, len);
		else if (mode == JSON_STRING)
			i = skip_string(s, p, i, len);
		else if (mode == JSON_ESCAPE)
			s->mode = JSON_STRING, i++;
		while (mode == JSON_SCALAR && i < len && !is_space(p[i]) && !is_mark(p[i]))
			i++;
		if (mode == JSON_SCALAR ? i < len : mode != JSON_START && s->mode == JSON_START) {
			*used = i;
			return 1;
		}
	}
	return 0;
}

/*
 * RFC 7464: a record separator can stand in no JSON text, so one that was cut short ends there, and the next can be
 * read. A bare word or number may be whole or cut short; without white space behind it it counts as cut short: the
 * separator stays in the message, and the codec refuses it.
 */
static int seq_scan(const struct tni_frame *frame, struct scan *s, const unsigned char *p, size_t len, size_t *used)
{
	const unsigned char *separator = memchr(p, RECORD_SEPARATOR, len);
	size_t left = separator ? (size_t)(separator - p) : len, before = s->mode;
	int rc = left ? json_scan(frame, s, p, left, used) : 0;

	if (rc != 0 || !separator)
		return rc;
	*used = left + (s->mode == JSON_SCALAR || (!left && before == JSON_SCALAR));
	return 1;
}

/* ---- what CBOR and MessagePack share: heads that say how many bytes or items are to come ---- */

/* More than a whole message can hold is refused when it is claimed. */
static int claim(const struct tni_frame *frame, struct scan *s, uint64_t bytes, uint64_t items)
{
	if (bytes > frame->max || items > frame->max || s->left + items > frame->max)
		return tni_frame_too_big(frame, s->at + (bytes > items ? bytes : s->left + items));
	s->skip = bytes;
	s->left += items;
	return 0;
}

typedef int head_fn(const struct tni_frame *frame, struct scan *s, size_t at);
typedef int width_fn(unsigned char head);

static int binary_scan(const struct tni_frame *frame, struct scan *s, const unsigned char *p, size_t len, size_t *used,
		       width_fn *width, head_fn *act)
{
	size_t i = 0;
	int rc;

	while (i < len) {
		if (s->skip) {
			uint64_t n = s->skip < len - i ? s->skip : len - i;

			s->skip -= n;
			i += n;
		} else {
			if (s->need) {
				s->arg = s->arg << 8 | p[i++];
				s->need--;
			} else {
				s->head = p[i++];
				s->arg = 0;
				s->need = (uint8_t)width(s->head);
			}
			rc = s->need ? 0 : act(frame, s, i - 1);
			if (rc < 0)
				return rc;
		}
		if (!s->left && !s->depth && !s->skip && !s->need) {
			*used = i;
			return 1;
		}
	}
	return 0;
}

/* ---- CBOR: RFC 8949 section 3 ---- */

static int cbor_width(unsigned char head)
{
	unsigned info = head & 0x1f;

	return info >= 24 && info <= 27 ? 1 << (info - 24) : 0;
}

static int cbor_open(const struct tni_frame *frame, struct scan *s, size_t at)
{
	if (s->depth == OPEN_MAX)
		return refuse(frame, s, at, TN_EDEPTH, "nested too deep");
	s->open[s->depth++] = (uint32_t)s->left;
	s->left = 0;
	return 0;
}

static int cbor_close(const struct tni_frame *frame, struct scan *s, size_t at)
{
	if (!s->depth || s->left)
		return malformed(frame, s, at, "a break where an item is expected");
	s->left = s->open[--s->depth];
	return 0;
}

static int cbor_head(const struct tni_frame *frame, struct scan *s, size_t at)
{
	unsigned major = s->head >> 5, info = s->head & 0x1f;
	uint64_t arg = info < 24 ? info : s->arg;

	if (s->head == 0xff)
		return cbor_close(frame, s, at);
	if ((info > 27 && info < 31) || (info == 31 && (major < 2 || major == 6)))
		return malformed(frame, s, at, "no item begins so");
	s->left -= s->left > 0; /* none: a container of indefinite length takes any number */
	if (info == 31)
		return cbor_open(frame, s, at);
	if (major == 2 || major == 3)
		return claim(frame, s, arg, 0);
	if (major == 4 || major == 6)
		return claim(frame, s, 0, major == 4 ? arg : 1);
	return major == 5 ? claim(frame, s, 0, arg < UINT64_MAX / 2 ? 2 * arg : arg) : 0;
}

static int cbor_scan(const struct tni_frame *frame, struct scan *s, const unsigned char *p, size_t len, size_t *used)
{
	return binary_scan(frame, s, p, len, used, cbor_width, cbor_head);
}

/* ---- MessagePack ---- */

/* Heads 0xc0 to 0xdf: bytes of length that follow, bytes of contents, and what the length counts. */
static const struct {
	uint8_t width, fixed;
	char counts; /* b: bytes, a: items, m: pairs */
} heads[32] = {
	[0x04] = {1, 0, 'b'},  [0x05] = {2, 0, 'b'}, [0x06] = {4, 0, 'b'}, [0x07] = {1, 1, 'b'}, [0x08] = {2, 1, 'b'},
	[0x09] = {4, 1, 'b'},  [0x0a] = {0, 4, 'b'}, [0x0b] = {0, 8, 'b'}, [0x0c] = {0, 1, 'b'}, [0x0d] = {0, 2, 'b'},
	[0x0e] = {0, 4, 'b'},  [0x0f] = {0, 8, 'b'}, [0x10] = {0, 1, 'b'}, [0x11] = {0, 2, 'b'}, [0x12] = {0, 4, 'b'},
	[0x13] = {0, 8, 'b'},  [0x14] = {0, 2, 'b'}, [0x15] = {0, 3, 'b'}, [0x16] = {0, 5, 'b'}, [0x17] = {0, 9, 'b'},
	[0x18] = {0, 17, 'b'}, [0x19] = {1, 0, 'b'}, [0x1a] = {2, 0, 'b'}, [0x1b] = {4, 0, 'b'}, [0x1c] = {2, 0, 'a'},
	[0x1d] = {4, 0, 'a'},  [0x1e] = {2, 0, 'm'}, [0x1f] = {4, 0, 'm'},
};

static int msgpack_width(unsigned char head)
{
	return head >= 0xc0 && head <= 0xdf ? heads[head & 0x1f].width : 0;
}

static int msgpack_head(const struct tni_frame *frame, struct scan *s, size_t at)
{
	unsigned h = s->head;
	char counts;

	s->left--;
	if (h < 0x80 || h >= 0xe0)
		return 0;
	if (h < 0xa0)
		return claim(frame, s, 0, h < 0x90 ? 2 * (h & 0x0f) : h & 0x0f);
	if (h < 0xc0)
		return claim(frame, s, h & 0x1f, 0);
	if (h == 0xc1)
		return malformed(frame, s, at, "0xc1 begins nothing");
	counts = heads[h & 0x1f].counts;
	if (counts == 'a' || counts == 'm')
		return claim(frame, s, 0, counts == 'm' ? 2 * s->arg : s->arg);
	return claim(frame, s, heads[h & 0x1f].fixed + s->arg, 0);
}

static int msgpack_scan(const struct tni_frame *frame, struct scan *s, const unsigned char *p, size_t len, size_t *used)
{
	return binary_scan(frame, s, p, len, used, msgpack_width, msgpack_head);
}

/* ---- the frame ---- */

enum { JSON, CBOR, MSGPACK, JSON_SEQ }; /* param */

static scan_fn *const scans[] = {json_scan, cbor_scan, msgpack_scan, seq_scan};

static bool is_json(const struct tni_frame *frame)
{
	return frame->ops->param == JSON || frame->ops->param == JSON_SEQ;
}

static void skip_space(struct tn_buf *in)
{
	while (in->head) {
		size_t n = 0;

		while (n < in->head->len && (is_space(in->head->data[n]) || in->head->data[n] == RECORD_SEPARATOR))
			n++;
		if (!n)
			return;
		tni_buf_consume(in, n);
	}
}

/* Takes what is known of the message on through the pieces that it does not know yet. */
static int walk(const struct tni_frame *frame, struct scan *s, const struct tn_buf *in)
{
	size_t base = 0, used;
	int rc = 0;

	for (const struct tni_slice *piece = in->head; piece && rc == 0; base += piece->len, piece = piece->next) {
		size_t from = s->at - base;

		if (from >= piece->len)
			continue;
		used = piece->len - from;
		rc = scans[frame->ops->param](frame, s, piece->data + from, piece->len - from, &used);
		s->at += used;
	}
	return rc;
}

static int wait_for_rest(struct tni_frame *frame, const struct scan *s)
{
	struct scan *kept;

	if (s->at > frame->max)
		return tni_frame_too_big(frame, s->at);
	if (frame->scratch)
		return 0;
	kept = malloc(sizeof(*kept));
	if (!kept)
		return tni_err(-ENOMEM, "out of memory");
	memcpy(kept, s, sizeof(*kept));
	frame->scratch = (unsigned char *)kept;
	return 0;
}

static int show(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view, size_t len)
{
	unsigned char *data;

	tni_frame_free(frame);
	if (len > frame->max)
		return tni_frame_too_big(frame, len);
	data = tni_buf_pullup(in, len);
	if (!data)
		return tni_err(-ENOMEM, "out of memory");
	tni_view_set(view, in, data, len, len);
	if (is_json(frame))
		view->raw = NULL; /* we send a line feed behind it */
	return 1;
}

int tni_sequence_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	struct scan fresh, *s = (void *)frame->scratch;
	int rc;

	if (!s) {
		s = &fresh;
		memset(s, 0, offsetof(struct scan, open));
		s->left = !is_json(frame);
		if (is_json(frame))
			skip_space(in);
	}
	rc = walk(frame, s, in);
	if (rc < 0) {
		tni_frame_free(
			frame); /* who asks again is told the same again, not what may stand behind the mistake */
		return rc;
	}
	if (rc == 0)
		return in->head ? wait_for_rest(frame, s) : 0;
	return show(frame, in, view, s->at);
}

/* JSON that is not finished is handed on like a line that is not: a number has no other end, and the codec says best
 * what is missing from the rest. */
int tni_sequence_end(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	const struct scan *s = (const void *)frame->scratch;
	bool cut = frame->ops->param == JSON_SEQ && s && s->mode == JSON_SCALAR; /* see seq_scan() */

	if (!in->len || !is_json(frame) || cut)
		return tni_frame_end_strict(frame, in, view);
	return show(frame, in, view, in->len);
}

int tni_sequence_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	return tni_frame_wrap(out, "\x1e", frame->ops->param == JSON_SEQ, iov, count, "\n", is_json(frame));
}
