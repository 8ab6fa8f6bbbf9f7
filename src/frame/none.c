/* No framing: each piece that arrives is a message, or several where it is longer than one may be. */
#include "frame/frame.h"

int tni_none_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	size_t len;

	if (!in->head)
		return 0;
	len = in->head->len < frame->max ? in->head->len : frame->max;
	tni_view_set(view, in, in->head->data, len, len);
	return 1;
}

int tni_none_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	(void)frame;
	return tni_buf_appendv(out, iov, count, false);
}
