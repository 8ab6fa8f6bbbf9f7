/* Length prefixes: of 1, 2, 4 or 8 bytes in either order, varints, netstrings; and messages of one fixed length. */
#include "frame/frame.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WIDTH_MASK 0xff
#define LITTLE 0x100

/* The message behind a head of `head` bytes. What is claimed is checked first and then awaited, never allocated. */
static int take(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view, size_t head, uint64_t len,
		size_t tail)
{
	unsigned char *data;

	if (len > frame->max)
		return tni_frame_too_big(frame, len);
	if (in->len < head + len + tail)
		return 0;
	data = tni_buf_front(in, head + len + tail);
	if (!data)
		return tni_err(-ENOMEM, "out of memory");
	tni_view_set(view, in, data + head, len, head + len + tail);
	return 1;
}

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

static uint64_t read_length(const unsigned char *p, unsigned param)
{
	bool little = param & LITTLE;

	switch (param & WIDTH_MASK) {
	case 1:
		return p[0];
	case 2:
		return read_u16(p, little);
	case 4:
		return read_u32(p, little);
	default:
		return little ? read_u32(p + 4, true) << 32 | read_u32(p, true)
			      : read_u32(p, false) << 32 | read_u32(p + 4, false);
	}
}

int tni_length_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	unsigned width = frame->ops->param & WIDTH_MASK;
	unsigned char *p;

	if (in->len < width)
		return 0;
	p = tni_buf_front(in, width);
	if (!p)
		return tni_err(-ENOMEM, "out of memory");
	return take(frame, in, view, width, read_length(p, frame->ops->param), 0);
}

int tni_length_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	unsigned param = frame->ops->param, width = param & WIDTH_MASK;
	uint64_t len = tni_iov_len(iov, count);
	unsigned char head[8];

	if (width < 8 && len >> (8 * width))
		return tni_err(TN_ETOOBIG, "frame %s: a message of %llu bytes has no such length", frame->ops->name,
			       (unsigned long long)len);
	for (unsigned i = 0; i < width; i++)
		head[param & LITTLE ? i : width - 1 - i] = (unsigned char)(len >> (8 * i));
	return tni_frame_wrap(out, head, width, iov, count, NULL, 0);
}

/* ---- varint: seven bits a byte, the lowest first, the top bit says that more follow ---- */

#define VARINT_MAX 10

int tni_varint_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	size_t have = in->len < VARINT_MAX ? in->len : VARINT_MAX, used = 0;
	unsigned char *p = have ? tni_buf_pullup(in, have) : NULL;
	uint64_t len = 0;
	int rc;

	if (!have)
		return 0;
	if (!p)
		return tni_err(-ENOMEM, "out of memory");
	for (;;) {
		if (used == have)
			return 0;
		if (used == VARINT_MAX - 1 && p[used] > 1) /* or an eleventh byte follows */
			return tni_err(TN_EFORMAT, "frame varint: a length of more than 64 bits");
		len |= (uint64_t)(p[used] & 0x7f) << (7 * used);
		if (!(p[used++] & 0x80))
			break;
	}
	rc = take(frame, in, view, used, len, 0);
	if (rc > 0 && used > 1 && ((const unsigned char *)view->data)[-1] == 0)
		view->raw = NULL; /* longer than it need be: not what we would send */
	return rc;
}

int tni_varint_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	uint64_t len = tni_iov_len(iov, count);
	unsigned char head[VARINT_MAX];
	size_t n = 0;

	(void)frame;
	for (; len > 0x7f; len >>= 7)
		head[n++] = (unsigned char)(len | 0x80);
	head[n++] = (unsigned char)len;
	return tni_frame_wrap(out, head, n, iov, count, NULL, 0);
}

/* ---- netstrings: https://cr.yp.to/proto/netstrings.txt ---- */

#define NETSTRING_DIGITS 10

int tni_netstring_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	size_t have = in->len < NETSTRING_DIGITS + 1 ? in->len : NETSTRING_DIGITS + 1, n = 0;
	unsigned char *p = have ? tni_buf_pullup(in, have) : NULL;
	uint64_t len = 0;
	int rc;

	if (!have)
		return 0;
	if (!p)
		return tni_err(-ENOMEM, "out of memory");
	for (; n < have && p[n] >= '0' && p[n] <= '9'; n++)
		len = len * 10 + (uint64_t)(p[n] - '0');
	if (p[0] == '0' && n > 1)
		return tni_err(TN_EFORMAT, "frame netstring: a length with a leading zero");
	if (n == have && have <= NETSTRING_DIGITS)
		return 0;
	if (!n || n == have || p[n] != ':')
		return tni_err(TN_EFORMAT, "frame netstring: a length in digits and a ':' are expected");
	rc = take(frame, in, view, n + 1, len, 1);
	if (rc > 0 && ((const unsigned char *)view->data)[view->len] != ',')
		return tni_err(TN_EFORMAT, "frame netstring: the ',' behind the message is missing");
	return rc;
}

int tni_netstring_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	char head[32];
	int n = snprintf(head, sizeof(head), "%zu:", tni_iov_len(iov, count));

	(void)frame;
	return tni_frame_wrap(out, head, (size_t)n, iov, count, ",", 1);
}

/* ---- one length for all ---- */

int tni_fixed_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	return take(frame, in, view, 0, frame->size, 0);
}

int tni_fixed_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	size_t len = tni_iov_len(iov, count);

	if (len != frame->size)
		return tni_err(TN_EFORMAT, "frame fixed:%u: a message of %zu bytes", frame->size, len);
	return tni_buf_appendv(out, iov, count, false);
}
