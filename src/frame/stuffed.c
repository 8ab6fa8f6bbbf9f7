/* Frames that stuff bytes so that one value is free to end a message: COBS and SLIP. */
#include "frame/frame.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Finds the end byte; the stuffed bytes in front of it lie in one piece then. 1, 0 or < 0 as next(). */
static int find_end(struct tni_frame *frame, struct tn_buf *in, int end, size_t stuffed_max, unsigned char **data,
		    size_t *len)
{
	long at = tni_buf_find(in, end, frame->scanned);

	if (at < 0)
		frame->scanned = in->len;
	if ((at < 0 ? in->len : (size_t)at) > stuffed_max)
		return (void)tni_frame_too_big(frame, at < 0 ? in->len : (size_t)at), TN_ETOOBIG;
	if (at < 0) {
		tni_frame_free(frame); /* who waits keeps no memory of the last message */
		return 0;
	}
	frame->scanned = 0;
	*len = (size_t)at;
	*data = tni_buf_pullup(in, (size_t)at + 1);
	if (!*data)
		return tni_err(-ENOMEM, "out of memory");
	free(frame->scratch);
	frame->scratch = malloc(*len + 1);
	return frame->scratch ? 1 : tni_err(-ENOMEM, "out of memory");
}

static int show(struct tni_frame *frame, struct tni_view *view, size_t len, size_t taken)
{
	if (len > frame->max)
		return tni_frame_too_big(frame, len);
	*view = (struct tni_view){.data = frame->scratch, .len = len, .taken = taken};
	return 1;
}

/* ---- COBS: Cheshire and Baker, IEEE/ACM Transactions on Networking 7(2), 1999 ---- */

static long cobs_decode(const unsigned char *in, size_t len, unsigned char *out)
{
	size_t at = 0, n = 0;

	while (at < len) {
		size_t run = in[at++] - 1U;

		if (run > len - at)
			return -1;
		memcpy(out + n, in + at, run);
		n += run;
		at += run;
		if (run < 254 && at < len)
			out[n++] = 0;
	}
	return (long)n;
}

int tni_cobs_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	unsigned char *data;
	size_t len;
	int rc = find_end(frame, in, 0, (size_t)frame->max + frame->max / 254 + 1, &data, &len);
	long n;

	if (rc <= 0)
		return rc;
	if (!len)
		return tni_err(TN_EFORMAT, "frame cobs: a zero byte with nothing in front of it");
	n = cobs_decode(data, len, frame->scratch);
	if (n < 0)
		return tni_err(TN_EFORMAT, "frame cobs: a run goes beyond the end of its message");
	return show(frame, view, (size_t)n, len + 1);
}

/* Stuffing needs room of its own: worst case one byte in 254, one more, and the end. */
static int put_stuffed(struct tn_buf *out, unsigned char *stuffed, size_t len)
{
	int rc = tni_buf_append(out, stuffed, len, false);

	free(stuffed);
	return rc;
}

/* A message being stuffed: the code at `code_at` is one more than the bytes of its run so far. */
struct cobs {
	unsigned char *to;
	size_t n, code_at;
};

static void cobs_start_run(struct cobs *c)
{
	c->code_at = c->n++;
	c->to[c->code_at] = 1;
}

static void cobs_add(struct cobs *c, const unsigned char *data, size_t len)
{
	while (len) {
		size_t part = 255U - c->to[c->code_at]; /* what the run still takes */
		const unsigned char *zero;

		if (!part) { /* full, without a zero behind it */
			cobs_start_run(c);
			continue;
		}
		if (part > len)
			part = len;
		zero = memchr(data, 0, part);
		if (zero)
			part = (size_t)(zero - data);
		memcpy(c->to + c->n, data, part);
		c->n += part;
		c->to[c->code_at] = (unsigned char)(c->to[c->code_at] + part);
		if (zero)
			cobs_start_run(c);
		data += part + !!zero;
		len -= part + !!zero;
	}
}

int tni_cobs_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	size_t len = tni_iov_len(iov, count);
	struct cobs c = {.to = malloc(len + len / 254 + 3)};

	(void)frame;
	if (!c.to)
		return -ENOMEM;
	cobs_start_run(&c);
	for (int i = 0; i < count; i++)
		cobs_add(&c, iov[i].iov_base, iov[i].iov_len);
	c.to[c.n++] = 0;
	return put_stuffed(out, c.to, c.n);
}

/* ---- SLIP: RFC 1055 ---- */

enum { SLIP_END = 0xC0, SLIP_ESC = 0xDB, SLIP_ESC_END = 0xDC, SLIP_ESC_ESC = 0xDD };

static long slip_decode(const unsigned char *in, size_t len, unsigned char *out)
{
	const unsigned char *end = in + len;
	size_t n = 0;

	while (in < end) {
		const unsigned char *esc = memchr(in, SLIP_ESC, (size_t)(end - in));
		size_t part = (size_t)((esc ? esc : end) - in);

		memcpy(out + n, in, part);
		n += part;
		if (!esc)
			break;
		if (esc + 1 == end || (esc[1] != SLIP_ESC_END && esc[1] != SLIP_ESC_ESC))
			return -1;
		out[n++] = esc[1] == SLIP_ESC_END ? SLIP_END : SLIP_ESC;
		in = esc + 2;
	}
	return (long)n;
}

int tni_slip_next(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view)
{
	unsigned char *data;
	size_t len;
	long n;
	int rc;

	/* Ends with nothing in front of them are no messages: senders start with one to flush line noise. */
	while (in->head && in->head->data[0] == SLIP_END && !frame->scanned)
		tni_buf_consume(in, 1);
	rc = find_end(frame, in, SLIP_END, (size_t)frame->max * 2, &data, &len);
	if (rc <= 0)
		return rc;
	n = slip_decode(data, len, frame->scratch);
	if (n < 0)
		return tni_err(TN_EFORMAT, "frame slip: an escape byte that escapes nothing");
	return show(frame, view, (size_t)n, len + 1);
}

/* The first `byte` from `from` on, or the end. */
static const unsigned char *find_or_end(const unsigned char *from, const unsigned char *end, int byte)
{
	const unsigned char *hit = from < end ? memchr(from, byte, (size_t)(end - from)) : NULL;

	return hit ? hit : end;
}

static size_t slip_add(unsigned char *to, const unsigned char *data, size_t len)
{
	const unsigned char *end = data + len, *next_end = find_or_end(data, end, SLIP_END),
			    *next_esc = find_or_end(data, end, SLIP_ESC);
	size_t n = 0;

	while (data < end) {
		const unsigned char *stop = next_end < next_esc ? next_end : next_esc;

		memcpy(to + n, data, (size_t)(stop - data));
		n += (size_t)(stop - data);
		data = stop;
		if (stop == end)
			break;
		to[n++] = SLIP_ESC;
		to[n++] = *data++ == SLIP_END ? SLIP_ESC_END : SLIP_ESC_ESC;
		if (stop == next_end)
			next_end = find_or_end(data, end, SLIP_END);
		else
			next_esc = find_or_end(data, end, SLIP_ESC);
	}
	return n;
}

int tni_slip_put(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count)
{
	size_t len = tni_iov_len(iov, count), n = 0;
	unsigned char *to;

	(void)frame;
	if (!len)
		return tni_err(TN_EFORMAT, "frame slip: an empty message cannot be sent");
	to = malloc(len * 2 + 2);
	if (!to)
		return -ENOMEM;
	to[n++] = SLIP_END;
	for (int i = 0; i < count; i++)
		if (iov[i].iov_len)
			n += slip_add(to + n, iov[i].iov_base, iov[i].iov_len);
	to[n++] = SLIP_END;
	return put_stuffed(out, to, n);
}
