/* The table of frames, and what a URL says of one behind its name. */
#include "frame/frame.h"

#include "base/err.h"
#include "base/meaning.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(bytes, is_little)                                           \
	&(const struct tni_head)                                           \
	{                                                                  \
		.width = (bytes), .header = (bytes), .little = (is_little) \
	}
#define PREFIX(name, meaning, bytes, is_little)                                                                        \
	{                                                                                                              \
		name, meaning, tni_length_next, tni_frame_end_strict, tni_length_put, .spec = LENGTH(bytes, is_little) \
	}

static const struct tni_frame_ops frames[] = {
	{"none", TNI_MEANING("each piece that arrives is a message"), tni_none_next, tni_none_next, tni_none_put,
	 .param = 0},
	{"line", TNI_MEANING("a line feed ends a message; CR LF is accepted"), tni_delimited_next, tni_delimited_end,
	 tni_delimited_put, .param = '\n'},
	{"crlf", TNI_MEANING("the same as line, and CR LF is sent"), tni_delimited_next, tni_delimited_end,
	 tni_delimited_put, .param = '\r'},
	{"nul", TNI_MEANING("a zero byte ends a message"), tni_delimited_next, tni_delimited_end, tni_delimited_put,
	 .param = '\0'},
	PREFIX("u8", TNI_MEANING("length in 1 byte in front"), 1, false),
	PREFIX("u16", TNI_MEANING("length in 2 bytes, big-endian"), 2, false),
	PREFIX("u32", TNI_MEANING("length in 4 bytes, big-endian"), 4, false),
	PREFIX("u64", TNI_MEANING("length in 8 bytes, big-endian"), 8, false),
	PREFIX("u16le", TNI_MEANING("length in 2 bytes, little-endian"), 2, true),
	PREFIX("u32le", TNI_MEANING("length in 4 bytes, little-endian"), 4, true),
	PREFIX("u64le", TNI_MEANING("length in 8 bytes, little-endian"), 8, true),
	{"varint", TNI_MEANING("length as a varint, as in delimited protobuf streams"), tni_varint_next,
	 tni_frame_end_strict, tni_varint_put, .spec = LENGTH(0, false)},
	{"netstring", TNI_MEANING("length in digits, ':', the bytes, ','"), tni_netstring_next, tni_frame_end_strict,
	 tni_netstring_put, .param = 0},
	{"fixed", TNI_MEANING("every message has N bytes"), tni_fixed_next, tni_frame_end_strict, tni_fixed_put,
	 .param = 0},
#ifdef TNI_HAVE_FRAMES
	{"head", TNI_MEANING("a length somewhere in a header"), tni_head_next, tni_frame_end_strict, tni_head_put,
	 .param = 0},
	{"until", TNI_MEANING("a delimiter ends a message"), tni_until_next, tni_frame_end_strict, tni_until_put,
	 .param = 0},
	{"cobs", TNI_MEANING("consistent overhead byte stuffing; a zero byte ends a message"), tni_cobs_next,
	 tni_frame_end_strict, tni_cobs_put, .param = 0},
	{"slip", TNI_MEANING("RFC 1055"), tni_slip_next, tni_frame_end_strict, tni_slip_put, .param = 0},
	{"json", TNI_MEANING("JSON values, one behind the other"), tni_sequence_next, tni_sequence_end,
	 tni_sequence_put, .param = 0},
	{"json-seq", TNI_MEANING("JSON text sequences: a record separator in front of each (RFC 7464)"),
	 tni_sequence_next, tni_sequence_end, tni_sequence_put, .param = 3},
	{"cbor", TNI_MEANING("CBOR data items, one behind the other (RFC 8742)"), tni_sequence_next, tni_sequence_end,
	 tni_sequence_put, .param = 1},
	{"msgpack", TNI_MEANING("MessagePack objects, one behind the other"), tni_sequence_next, tni_sequence_end,
	 tni_sequence_put, .param = 2},
#endif
};

#define NFRAMES (sizeof(frames) / sizeof(frames[0]))

#ifdef TNI_HAVE_FRAMES
#define LEFT_OUT ""
#else
#define LEFT_OUT " head until cobs slip json json-seq cbor msgpack "
#endif

const struct tni_frame_ops *tni_frame_at(size_t index)
{
	return index < NFRAMES ? &frames[index] : NULL;
}

int tni_frame_delimiter(const struct tni_frame_ops *ops)
{
	if (ops->next == tni_delimited_next)
		return ops->param == '\0' ? '\0' : '\n';
#ifdef TNI_HAVE_FRAMES
	if (ops->next == tni_cobs_next)
		return '\0';
	if (ops->next == tni_slip_next)
		return 0xc0;
#endif
	return -1;
}

/* ---- what stands behind a frame's name in a URL ---- */

/* A row for one URL, its name with all that it says, and what that means. */
struct made {
	struct tni_frame_ops ops;
	union {
		struct tni_head head;
		struct tni_until until;
	} spec;
	char name[112];
};

int tni_frame_refuse_text(const char *text, const char *at, const char *fmt, ...)
{
	char why[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	tni_err(TN_EURL, "%s", why);
	tni_err_at(at - text);
	return TN_EURL;
}

const char *tni_frame_item(const char *text, struct tni_frame_item *item)
{
	size_t len = strcspn(text, ",");
	const char *equals = memchr(text, '=', len);

	*item = (struct tni_frame_item){.at = text, .key_len = equals ? (size_t)(equals - text) : len};
	if (equals) {
		item->value = equals + 1;
		item->value_len = len - item->key_len - 1;
	}
	return text[len] ? text + len + 1 : NULL;
}

bool tni_frame_item_is(const struct tni_frame_item *item, const char *key)
{
	return item->key_len == strlen(key) && !memcmp(item->at, key, item->key_len);
}

int tni_frame_item_switch(const char *text, const struct tni_frame_item *item, bool *on)
{
	static const char *const words[] = {"off", "0", "on", "1"};

	*on = true;
	if (!item->value)
		return 0;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		*on = i >= 2;
		if (item->value_len == strlen(words[i]) && !memcmp(item->value, words[i], item->value_len))
			return 0;
	}
	return tni_frame_refuse_text(text, item->value, "%.*s is on or off", (int)item->key_len, item->at);
}

int tni_frame_item_number(const char *text, const struct tni_frame_item *item, long min, long max, long *number)
{
	const char *digits = item->value ? item->value : item->at + item->key_len;
	size_t len = item->value_len, sign = len && *digits == '-';

	*number = 0;
	for (size_t i = sign; i < len && digits[i] >= '0' && digits[i] <= '9' && *number <= max; i++)
		*number = *number * 10 + (digits[i] - '0');
	if (len > sign && strspn(digits + sign, "0123456789") == len - sign) {
		*number = sign ? -*number : *number;
		if (*number >= min && *number <= max)
			return 0;
	}
	return tni_frame_refuse_text(text, digits, "%.*s is a number from %ld to %ld", (int)item->key_len, item->at,
				     min, max);
}

static int parse_fixed(const char *text, struct made *made)
{
	uint64_t bytes;

	if (tn_parse_size(text, &bytes) < 0 || bytes < 1 || bytes > 1 << 30)
		return tni_frame_refuse_text(text, text, "a size from 1 to 1GiB, not '%.32s'", text);
	made->ops.param = (unsigned)bytes;
	snprintf(made->name, sizeof(made->name), "fixed:%u", made->ops.param);
	return 0;
}

#ifdef TNI_HAVE_FRAMES
static int parse_head(const char *text, struct made *made)
{
	int rc = tni_head_parse(text, &made->spec.head);
	char *name = stpcpy(made->name, "head:");

	if (rc == 0 && !made->spec.head.width) {
		made->ops.next = tni_varint_next;
		made->ops.put = tni_varint_put;
	}
	tni_head_text(&made->spec.head, name, sizeof(made->name) - 5);
	return rc;
}

static int parse_until(const char *text, struct made *made)
{
	int rc = tni_until_parse(text, &made->spec.until);
	char *name = stpcpy(made->name, "until:");

	tni_until_text(&made->spec.until, name, sizeof(made->name) - 6);
	return rc;
}
#endif

/* The frames that need more than their name. */
static const struct parsed {
	const char *name, *form, *usage;
	int (*parse)(const char *text, struct made *made);
} parsed[] = {
	{"fixed", "fixed:N", "fixed:16", parse_fixed},
#ifdef TNI_HAVE_FRAMES
	{"head", "head:size=N,...", "head:size=2", parse_head},
	{"until", "until:BYTES", "until:\\r\\n", parse_until},
#endif
};

#define NPARSED (sizeof(parsed) / sizeof(parsed[0]))

const char *tni_frame_form(const struct tni_frame_ops *row)
{
	for (size_t i = 0; i < NPARSED; i++)
		if (!strcmp(parsed[i].name, row->name))
			return parsed[i].form;
	return row->name;
}

static const struct tni_frame_ops *find_row(const char *name)
{
	for (size_t i = 0; i < NFRAMES; i++)
		if (!strcmp(name, frames[i].name))
			return &frames[i];
	return NULL;
}

bool tni_frame_is_known(const char *name)
{
	return find_row(name);
}

/* `text`: what stands behind the colon; NULL: there is none. */
static int make(const struct parsed *kind, const char *text, struct tni_frame *frame)
{
	struct made *made;
	long at;
	int rc;

	if (!text)
		return tni_err(TN_EURL, "%s alone does not say enough: %s", kind->name, kind->usage);
	made = calloc(1, sizeof(*made));
	if (!made)
		return tni_err(-ENOMEM, "out of memory");
	made->ops = *find_row(kind->name);
	made->ops.name = made->name;
	made->ops.spec = &made->spec;
	made->ops.made = true;
	rc = kind->parse(text, made);
	if (rc == 0) {
		frame->ops = &made->ops;
		return 0;
	}
	free(made);
	at = tn_errpos() + (long)strlen(kind->name) + 1;
	tni_err_prefix(rc, "%s", kind->name);
	tni_err_at(at);
	return rc;
}

const char *tni_frame_forms(void)
{
	static _Thread_local char forms[256];
	size_t used = 0;

	for (size_t i = 0; i < NFRAMES && used < sizeof(forms); i++)
		used += (size_t)snprintf(forms + used, sizeof(forms) - used, "%s%s", i ? " " : "",
					 tni_frame_form(&frames[i]));
	return forms;
}

static bool is_left_out(const char *name)
{
	char word[40];

	snprintf(word, sizeof(word), " %.32s ", name);
	return strstr(LEFT_OUT, word);
}

static int fail_unknown(const char *name)
{
	const char *words[NFRAMES], *near;
	char word[33];

	for (size_t i = 0; i < NFRAMES; i++)
		words[i] = frames[i].name;
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(name, ":"), name);
	if (is_left_out(word))
		return tni_err(TN_EURL, "frame %s: %s", word, TNI_NOT_BUILT("such frame", "frames"));
	near = tn_nearest(word, words, NFRAMES);
	return tni_err(TN_EURL, "no such frame '%.32s'; %s%s", name, near ? "did you mean " : "there are ",
		       near ? near : tni_frame_forms());
}

int tni_frame_find(const char *name, struct tni_frame *frame)
{
	size_t len = strcspn(name, ":");
	const struct tni_frame_ops *row;

	for (size_t i = 0; i < NPARSED; i++)
		if (len == strlen(parsed[i].name) && !memcmp(name, parsed[i].name, len))
			return make(&parsed[i], name[len] ? name + len + 1 : NULL, frame);
	row = find_row(name);
	if (!row)
		row = tni_own_find(name);
	if (!row)
		return fail_unknown(name);
	frame->ops = row;
	return 0;
}

void tni_frame_drop(struct tni_frame *frame)
{
	/* The row is the first member. */
	if (frame->ops && frame->ops->made)
		free((void *)(uintptr_t)frame->ops);
	frame->ops = NULL;
}

static size_t head_least(const struct tni_head *head)
{
	return head->keep ? head->header + (head->adjust > 0 ? (size_t)head->adjust : 0) : 0;
}

size_t tni_frame_least(const struct tni_frame *frame)
{
	const struct tni_head *head = frame->ops->spec;

	if (frame->ops->next == tni_fixed_next)
		return frame->ops->param;
#ifdef TNI_HAVE_FRAMES
	const struct tni_until *until = frame->ops->spec;

	if (frame->ops->next == tni_until_next)
		return until->keep ? until->len : 0;
	if (frame->ops->next == tni_head_next)
		return head_least(head);
#endif
	if (frame->ops->next == tni_length_next || frame->ops->next == tni_varint_next)
		return head_least(head);
	return 0;
}

#define ROOM_BESIDE (TNI_HEADER_MAX + 32) /* any prefix and end, also of a program's own */

size_t tni_frame_room(const struct tni_frame *frame)
{
	size_t max = frame->max;

#ifdef TNI_HAVE_FRAMES
	if (frame->ops->put == tni_slip_put)
		max *= 2; /* every byte may need an escape */
	else if (frame->ops->put == tni_cobs_put)
		max += max / 254;
#endif
	return max + ROOM_BESIDE;
}

void tni_frame_free(struct tni_frame *frame)
{
	free(frame->scratch);
	frame->scratch = NULL;
}

int tni_frame_end_strict(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	(void)view;
	if (!in->len)
		return 0;
	return tni_err(TN_ETRUNC, "the stream ended inside a message (frame %s, %u bytes of it had come)",
		       frame->ops->name, in->len);
}

int tni_frame_too_big(const struct tni_frame *frame, uint64_t len)
{
	return tni_err(TN_ETOOBIG, "message of %llu bytes is too large: at most %u are accepted (key max)",
		       (unsigned long long)len, frame->max);
}

int tni_frame_wrap(struct tn_buf *out, const void *head, size_t head_len, const struct iovec *iov, int count,
		   const void *tail, size_t tail_len)
{
	struct iovec all[TNI_PIECES_MAX + 2];
	int n = 0;

	if (head_len)
		all[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)head, .iov_len = head_len};
	for (int i = 0; i < count; i++)
		all[n++] = iov[i];
	if (tail_len)
		all[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)tail, .iov_len = tail_len};
	return tni_buf_appendv(out, all, n, false);
}
