/* The table of frames: `frame=` in a URL. */
#ifndef TNI_FRAME_FRAME_H
#define TNI_FRAME_FRAME_H

#include "layer.h"

/* Finds a frame by the value of `frame=`: line, u32, fixed:16, ... Sets ops and size. 0, or TN_EURL with detail. */
int tni_frame_find(const char *name, struct tni_frame *frame);

/* NULL past the end. */
const struct tni_frame_ops *tni_frame_at(size_t index);

/* The most bytes that one message of the longest length (max) can become. */
size_t tni_frame_room(const struct tni_frame *frame);

/* Frees what it keeps between messages. */
void tni_frame_free(struct tni_frame *frame);

/* For the rows of the table, each in the file of its name. */
int tni_none_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_none_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_delimited_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_delimited_end(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_delimited_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_length_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_length_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_varint_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_varint_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_netstring_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_netstring_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_fixed_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_fixed_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_cobs_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_cobs_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_slip_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_slip_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
int tni_sequence_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_sequence_end(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
int tni_sequence_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);

/* An end that no message may cross: TN_ETRUNC when bytes are left. */
int tni_frame_end_strict(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);

/* TN_ETOOBIG with the figures as detail. */
int tni_frame_too_big(const struct tni_frame *frame, uint64_t len);

/* Appends a head, the pieces and a tail as one. */
int tni_frame_wrap(struct tn_buf *out, const void *head, size_t head_len, const struct iovec *iov, int count,
		   const void *tail, size_t tail_len);

static inline size_t tni_iov_len(const struct iovec *iov, int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	return len;
}

#endif
