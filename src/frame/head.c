/*
 * A length in front of the message: alone (u8 to u64le, varint), or somewhere in a header (head:...). Of the header's
 * other bytes nothing is known: they are cut off and sent as zeros, or (keep) belong to the message.
 */
#include "frame/frame.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VARINT_MAX 10
#define ADJUST_MAX (1 << 30)

/* Written out, byte by byte, so that the compiler makes one load of it. */
static uint64_t read_u16(const unsigned char *p, bool little)
{
	return little ? (uint64_t)p[1] << 8 | p[0] : (uint64_t)p[0] << 8 | p[1];
}

static uint64_t read_u32(const unsigned char *p, bool little)
{
	return little ? (uint64_t)p[3] << 24 | (uint64_t)p[2] << 16 | (uint64_t)p[1] << 8 | p[0]
		      : (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
}

static uint64_t read_length(const unsigned char *p, const struct tni_head *head)
{
	uint64_t len = 0;

	if (head->width == 4)
		return read_u32(p, head->little);
	if (head->width == 2)
		return read_u16(p, head->little);
	if (head->width == 8)
		return head->little ? read_u32(p + 4, true) << 32 | read_u32(p, true)
				    : read_u32(p, false) << 32 | read_u32(p + 4, false);
	for (unsigned i = 0; i < head->width; i++)
		len = len << 8 | p[head->little ? head->width - 1 - i : i];
	return len;
}

static void write_u32(unsigned char *p, bool little, uint32_t len)
{
	p[little ? 0 : 3] = (unsigned char)len;
	p[little ? 1 : 2] = (unsigned char)(len >> 8);
	p[little ? 2 : 1] = (unsigned char)(len >> 16);
	p[little ? 3 : 0] = (unsigned char)(len >> 24);
}

static void write_length(unsigned char *p, const struct tni_head *head, uint64_t len)
{
	if (head->width == 4 && head->little)
		write_u32(p, true, (uint32_t)len);
	else if (head->width == 4)
		write_u32(p, false, (uint32_t)len);
	else
		for (unsigned i = 0; i < head->width; i++)
			p[head->little ? i : head->width - 1U - i] = (unsigned char)(len >> (8 * i));
}

static bool all_zero(const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/*
 * The message whose header is there, `header` bytes of it. What is claimed is checked first and then awaited, never
 * allocated.
 */
static int take(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view, size_t header, uint64_t len)
{
	const struct tni_head *head = frame->ops->spec;
	uint64_t body, shown;
	unsigned char *data;

	if (head->adjust < 0 && len < (uint64_t) - (int64_t)head->adjust)
		return tni_err(TN_EFORMAT, "frame %s: a length of %llu, and it counts %lld bytes of the header",
			       frame->ops->name, (unsigned long long)len, -(long long)head->adjust);
	if (len > UINT64_MAX / 2)
		return tni_frame_too_big(frame, len);
	body = len + (uint64_t)(int64_t)head->adjust;
	shown = head->keep ? header + body : body;
	if (shown > frame->max)
		return tni_frame_too_big(frame, shown);
	if (in->len < header + body)
		return 0;
	data = tni_buf_front(in, header + body);
	if (!data)
		return tni_err(-ENOMEM, "out of memory");
	tni_view_set(view, in, head->keep ? data : data + header, shown, header + body);
	return 1;
}

/* Cut off, bytes of the header that are not zero are not what put() writes. */
static void hide_other_bytes(const struct tni_head *head, struct tni_view *view, size_t header, size_t width)
{
	const unsigned char *p = view->raw;

	if (!head->keep && header > width &&
	    !(all_zero(p, head->offset) && all_zero(p + head->offset + width, header - head->offset - width)))
		view->raw = NULL;
}

int tni_head_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	const struct tni_head *head = frame->ops->spec;
	unsigned char *p;
	int rc;

	if (in->len < head->header)
		return 0;
	p = tni_buf_front(in, head->header);
	if (!p)
		return tni_err(-ENOMEM, "out of memory");
	rc = take(frame, in, view, head->header, read_length(p + head->offset, head));
	if (rc > 0)
		hide_other_bytes(head, view, head->header, head->width);
	return rc;
}

/* The same where there is nothing but the length: u8 to u64le. Most traffic with lengths is that. */
int tni_length_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	const struct tni_head *head = frame->ops->spec;
	unsigned char *data;
	uint64_t len;

	if (in->len < head->width)
		return 0;
	data = tni_buf_front(in, head->width);
	if (!data)
		return tni_err(-ENOMEM, "out of memory");
	len = read_length(data, head);
	if (len > frame->max)
		return tni_frame_too_big(frame, len);
	if (in->len < head->width + len)
		return 0;
	data = tni_buf_front(in, head->width + len);
	if (!data)
		return tni_err(-ENOMEM, "out of memory");
	tni_view_set(view, in, data + head->width, len, head->width + len);
	return 1;
}

/* Bytes behind the header become the value of the length; TN_EFORMAT or TN_ETOOBIG where there is none. */
static int length_for(const struct tni_frame *frame, size_t body, uint64_t *len)
{
	const struct tni_head *head = frame->ops->spec;
	int64_t value = (int64_t)body - head->adjust;

	*len = (uint64_t)value;
	if (value < 0)
		return tni_err(TN_EFORMAT,
			       "frame %s: %zu bytes behind the header are too few: the length would be %lld",
			       frame->ops->name, body, (long long)value);
	if (head->width && head->width < 8 && *len >> (8 * head->width))
		return tni_err(TN_ETOOBIG, "frame %s: a message of %zu bytes has no such length", frame->ops->name,
			       body);
	return 0;
}

/* Copies the front of the pieces: as much as there is, at most `cap`. */
static size_t copy_front(const struct iovec *iov, int count, unsigned char *out, size_t cap)
{
	size_t used = 0;

	for (int i = 0; i < count && used < cap; i++) {
		size_t part = iov[i].iov_len < cap - used ? iov[i].iov_len : cap - used;

		if (part)
			memcpy(out + used, iov[i].iov_base, part);
		used += part;
	}
	return used;
}

/* Sends a header, and behind it the pieces without their first `skip` bytes. */
static int wrap_rest(struct tn_buf *out, const unsigned char *header, size_t len, const struct iovec *iov, int count,
		     size_t skip)
{
	struct iovec rest[TNI_PIECES_MAX];
	int n = 0;

	for (int i = 0; i < count; i++) {
		size_t part = iov[i].iov_len < skip ? iov[i].iov_len : skip;

		skip -= part;
		if (iov[i].iov_len > part)
			rest[n++] = (struct iovec){.iov_base = (char *)iov[i].iov_base + part,
						   .iov_len = iov[i].iov_len - part};
	}
	return tni_frame_wrap(out, header, len, rest, n, NULL, 0);
}

static int too_short(const struct tni_frame *frame, size_t len)
{
	return tni_err(TN_EFORMAT, "frame %s: a message of %zu bytes is shorter than its header", frame->ops->name,
		       len);
}

int tni_head_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	const struct tni_head *head = frame->ops->spec;
	size_t len = tni_iov_len(iov, count), kept = 0;
	unsigned char header[TNI_HEADER_MAX];
	uint64_t value;
	int rc;

	if (head->keep)
		kept = copy_front(iov, count, header, head->header);
	else
		memset(header, 0, head->header);
	if (head->keep && kept < head->header)
		return too_short(frame, len);
	rc = length_for(frame, len - kept, &value);
	if (rc < 0)
		return rc;
	write_length(header + head->offset, head, value);
	if (!kept)
		return tni_frame_wrap(out, header, head->header, iov, count, NULL, 0);
	return wrap_rest(out, header, head->header, iov, count, kept);
}

int tni_length_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	const struct tni_head *head = frame->ops->spec;
	size_t len = tni_iov_len(iov, count);
	unsigned char header[8];
	uint64_t value;

	if (head->width < 8 && (uint64_t)len >> (8 * head->width))
		return length_for(frame, len, &value);
	write_length(header, head, len);
	return tni_frame_wrap(out, header, head->width, iov, count, NULL, 0);
}

/* ---- varint: seven bits a byte, the lowest first, the top bit says that more follow ---- */

/* The bytes it takes; 0: it goes on behind `have`; < 0: it has more than 64 bits. */
static int read_varint(const unsigned char *p, size_t have, uint64_t *len)
{
	*len = 0;
	for (int used = 0; (size_t)used < have; used++) {
		if (used == VARINT_MAX - 1 && p[used] > 1) /* or an eleventh byte follows */
			return -1;
		*len |= (uint64_t)(p[used] & 0x7f) << (7 * used);
		if (!(p[used] & 0x80))
			return used + 1;
	}
	return 0;
}

static size_t write_varint(unsigned char *p, uint64_t len)
{
	size_t n = 0;

	for (; len > 0x7f; len >>= 7)
		p[n++] = (unsigned char)(len | 0x80);
	p[n++] = (unsigned char)len;
	return n;
}

static int too_many_bits(const struct tni_frame *frame)
{
	return tni_err(TN_EFORMAT, "frame %s: a length of more than 64 bits", frame->ops->name);
}

int tni_varint_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	const struct tni_head *head = frame->ops->spec;
	size_t offset = head->offset, have = in->len < offset + VARINT_MAX ? in->len : offset + VARINT_MAX;
	unsigned char *p;
	uint64_t len;
	int used, rc;

	if (have <= offset)
		return 0;
	p = tni_buf_front(in, have);
	if (!p)
		return tni_err(-ENOMEM, "out of memory");
	used = read_varint(p + offset, have - offset, &len);
	if (used <= 0)
		return used < 0 ? too_many_bits(frame) : 0;
	rc = take(frame, in, view, offset + (size_t)used, len);
	if (rc > 0)
		hide_other_bytes(head, view, offset + (size_t)used, (size_t)used);
	if (rc > 0 && used > 1 && view->raw && view->raw[offset + (size_t)used - 1] == 0)
		view->raw = NULL; /* longer than it need be: not what we would send */
	return rc;
}

int tni_varint_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	const struct tni_head *head = frame->ops->spec;
	unsigned char header[TNI_HEADER_MAX + VARINT_MAX];
	size_t offset = head->offset, len = tni_iov_len(iov, count), kept = 0, used;
	uint64_t value;
	int rc;

	if (head->keep) {
		kept = copy_front(iov, count, header, offset + VARINT_MAX);
		rc = kept > offset ? read_varint(header + offset, kept - offset, &value) : 0;
		if (rc <= 0)
			return rc < 0 ? too_many_bits(frame) : too_short(frame, len);
		kept = offset + (size_t)rc;
	} else {
		memset(header, 0, offset);
	}
	rc = length_for(frame, len - kept, &value);
	if (rc < 0)
		return rc;
	used = offset + write_varint(header + offset, value);
	if (!kept)
		return tni_frame_wrap(out, header, used, iov, count, NULL, 0);
	if (used + len - kept > frame->max)
		return tni_frame_too_big(frame, used + len - kept);
	return wrap_rest(out, header, used, iov, count, kept);
}

/* ---- head:... in a URL ---- */

enum { OFFSET, SIZE, ENDIAN, ADJUST, HEADER, KEEP, NKEYS };

static const char *const keys[] = {"offset", "size", "endian", "adjust", "header", "keep"};

static bool value_is(const struct tni_frame_item *item, const char *word)
{
	return item->value_len == strlen(word) && !memcmp(item->value, word, item->value_len);
}

static int parse_endian(const char *text, const struct tni_frame_item *item, bool *little)
{
	if (!item->value || (!value_is(item, "little") && !value_is(item, "big")))
		return tni_frame_refuse_text(text, item->value ? item->value : item->at, "endian is big or little");
	*little = value_is(item, "little");
	return 0;
}

static int parse_size(const char *text, const struct tni_frame_item *item, uint8_t *width)
{
	long number = 0;
	int rc = 0;

	if (!item->value || !value_is(item, "varint"))
		rc = tni_frame_item_number(text, item, 1, 8, &number);
	*width = (uint8_t)number;
	return rc < 0 ? tni_frame_refuse_text(text, item->value ? item->value : item->at,
					      "size is 1 to 8 (bytes of the length), or varint")
		      : 0;
}

static int parse_item(const char *text, const struct tni_frame_item *item, int key, struct tni_head *head)
{
	long number = 0;
	int rc;

	switch (key) {
	case SIZE:
		return parse_size(text, item, &head->width);
	case ENDIAN:
		return parse_endian(text, item, &head->little);
	case KEEP:
		return tni_frame_item_switch(text, item, &head->keep);
	case ADJUST:
		rc = tni_frame_item_number(text, item, -ADJUST_MAX, ADJUST_MAX, &number);
		head->adjust = (int32_t)number;
		return rc;
	default:
		rc = tni_frame_item_number(text, item, key == HEADER, TNI_HEADER_MAX, &number);
		*(key == HEADER ? &head->header : &head->offset) = (uint16_t)number;
		return rc;
	}
}

static int find_key(const char *text, const struct tni_frame_item *item)
{
	char word[16];
	const char *near;

	for (int i = 0; i < NKEYS; i++)
		if (tni_frame_item_is(item, keys[i]))
			return i;
	snprintf(word, sizeof(word), "%.*s", (int)item->key_len, item->at);
	near = tn_nearest(word, keys, NKEYS);
	return tni_frame_refuse_text(text, item->at, "'%s' is no part of a header; %s%s", word,
				     near ? "did you mean " : "there are ",
				     near ? near : "offset, size, endian, adjust, header and keep");
}

/* Where each key stands, for a combination that cannot be. */
static int check_head(const char *text, const char *const *at, struct tni_head *head)
{
	unsigned end = head->offset + head->width;

	if (!at[SIZE])
		return tni_frame_refuse_text(text, text,
					     "how long is the length? Add size=1 to size=8, or size=varint");
	if (!head->width && at[ENDIAN])
		return tni_frame_refuse_text(text, at[ENDIAN], "a varint has no order of bytes");
	if (!head->width && at[HEADER])
		return tni_frame_refuse_text(text, at[HEADER],
					     "a varint ends the header; what follows it is counted "
					     "with adjust");
	if (!head->width) {
		head->header = (uint16_t)(end + 1);
		return 0;
	}
	if (!at[HEADER] && end > TNI_HEADER_MAX)
		return tni_frame_refuse_text(text, at[OFFSET], "a header has at most %d bytes", TNI_HEADER_MAX);
	if (!at[HEADER])
		head->header = (uint16_t)end;
	if (end > head->header)
		return tni_frame_refuse_text(text, at[HEADER], "the length ends with byte %u, outside of this header",
					     end);
	if (head->adjust < 0 && head->width < 4 && -head->adjust >> (8 * head->width))
		return tni_frame_refuse_text(text, at[ADJUST], "no length of this size is as large");
	return 0;
}

int tni_head_parse(const char *text, struct tni_head *head)
{
	const char *at[NKEYS] = {NULL}, *next = text;
	struct tni_frame_item item;
	int rc = 0;

	*head = (struct tni_head){0};
	while (next && rc == 0) {
		int key;

		next = tni_frame_item(next, &item);
		key = find_key(text, &item);
		if (key < 0)
			return key;
		if (at[key])
			return tni_frame_refuse_text(text, item.at, "%s stands here twice", keys[key]);
		at[key] = item.at;
		rc = parse_item(text, &item, key, head);
	}
	return rc < 0 ? rc : check_head(text, at, head);
}

void tni_head_text(const struct tni_head *head, char *out, size_t cap)
{
	char size[8] = "varint", offset[20] = "", adjust[24] = "", header[20] = "";

	if (head->width)
		snprintf(size, sizeof(size), "%u", head->width);
	if (head->offset)
		snprintf(offset, sizeof(offset), "offset=%u,", head->offset);
	if (head->adjust)
		snprintf(adjust, sizeof(adjust), ",adjust=%d", head->adjust);
	if (head->width && head->header != head->offset + head->width)
		snprintf(header, sizeof(header), ",header=%u", head->header);
	snprintf(out, cap, "%ssize=%s%s%s%s%s", offset, size, head->little ? ",endian=little" : "", adjust, header,
		 head->keep ? ",keep=on" : "");
}
