/* Netstrings, and messages of one fixed length. */
#include "frame/frame.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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
	return take(frame, in, view, 0, frame->ops->param, 0);
}

int tni_fixed_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	size_t len = tni_iov_len(iov, count);

	if (len != frame->ops->param)
		return tni_err(TN_EFORMAT, "frame %s: a message of %zu bytes", frame->ops->name, len);
	return tni_buf_appendv(out, iov, count, false);
}
