/* Messages that end with a byte: lines (LF, or CR LF) and zero-terminated records. */
#include "frame/frame.h"

#include "base/err.h"

#include <errno.h>

#include <string.h>

static int delimiter(const struct tni_frame *frame)
{
	return frame->ops->param == '\0' ? '\0' : '\n';
}

static bool is_line(const struct tni_frame *frame)
{
	return frame->ops->param != '\0';
}

static bool is_blank(const unsigned char *data, size_t len)
{
	while (len && (data[len - 1] == ' ' || data[len - 1] == '\t' || data[len - 1] == '\r'))
		len--;
	return !len;
}

/* The next line, blank or not. */
static int next_line(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	long at = tni_buf_find(in, delimiter(frame), frame->scanned);
	unsigned char *data;
	size_t len;
	bool cr;

	if (at < 0) {
		frame->scanned = in->len;
		/* One byte more for the CR that is not part of the message. */
		return in->len > (size_t)frame->max + is_line(frame) ? tni_frame_too_big(frame, in->len) : 0;
	}
	data = tni_buf_front(in, (size_t)at + 1);
	if (!data)
		return tni_err(-ENOMEM, "out of memory");
	frame->scanned = 0;
	len = (size_t)at;
	cr = is_line(frame) && len && data[len - 1] == '\r';
	len -= cr;
	if (len > frame->max)
		return tni_frame_too_big(frame, len);
	tni_view_set(view, in, data, len, (size_t)at + 1);
	if (is_line(frame) && cr != (frame->ops->param == '\r'))
		view->raw = NULL; /* it came with the other line end than the one we send */
	return 1;
}

int tni_delimited_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	int rc = next_line(frame, in, view);

	while (rc == 1 && frame->skips_blank && is_line(frame) && is_blank(view->data, view->len)) {
		tni_buf_consume(in, view->taken);
		rc = next_line(frame, in, view);
	}
	return rc;
}

/* A last line without its end is a line all the same: that is how people and editors leave files. */
int tni_delimited_end(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	unsigned char *data;

	if (!in->len)
		return 0;
	if (in->len > frame->max)
		return tni_frame_too_big(frame, in->len);
	data = tni_buf_pullup(in, in->len);
	if (!data)
		return tni_err(-ENOMEM, "out of memory");
	frame->scanned = 0;
	if (frame->skips_blank && is_line(frame) && is_blank(data, in->len)) {
		tni_buf_consume(in, in->len);
		return 0;
	}
	tni_view_set(view, in, data, in->len, in->len);
	view->raw = NULL;
	return 1;
}

/* Readers take a CR in front of the LF off, one and no more: a message that ends with one needs another behind it. */
static bool ends_with_cr(const struct iovec *iov, int count)
{
	while (count && !iov[count - 1].iov_len)
		count--;
	return count && ((const char *)iov[count - 1].iov_base)[iov[count - 1].iov_len - 1] == '\r';
}

int tni_delimited_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	int end = delimiter(frame);

	for (int i = 0; i < count; i++)
		if (iov[i].iov_len && memchr(iov[i].iov_base, end, iov[i].iov_len))
			return tni_err(TN_EFORMAT, "frame %s: the message holds the byte that would end it",
				       frame->ops->name);
	if (frame->ops->param == '\r' || (is_line(frame) && ends_with_cr(iov, count)))
		return tni_frame_wrap(out, NULL, 0, iov, count, "\r\n", 2);
	return tni_frame_wrap(out, NULL, 0, iov, count, end ? "\n" : "\0", 1);
}
