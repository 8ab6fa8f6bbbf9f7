/* Frames as a program registers them, for the tests of all frames: with a length, with a sum, and with an end. */
#ifndef TESTS_SUPPORT_FRAMES_H
#define TESTS_SUPPORT_FRAMES_H

#include <string.h>
#include <sys/uio.h>

#include "tenon.h"

/* own-u32: as u32, and it says what it waits for. */
static int support_u32_next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	(void)arg;
	if (len < 4)
		return 0;
	part->at = 4;
	part->len = (size_t)data[0] << 24 | (size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3];
	part->taken = part->need = 4 + part->len;
	return len >= part->need;
}

static int support_u32_wrap(const struct iovec *iov, int count, size_t len, struct tn_frame_ends *ends, void *arg)
{
	(void)iov, (void)count, (void)arg;
	for (int i = 0; i < 4; i++)
		ends->head[i] = (unsigned char)(len >> (24 - 8 * i));
	ends->head_len = 4;
	return 0;
}

/* own-sum: a length in one byte, the message, and behind it the sum of its bytes. */
static int support_sum_next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	unsigned char sum = 0;

	(void)arg;
	part->at = 1;
	part->len = data[0];
	part->taken = part->len + 2;
	if (len < part->taken)
		return 0;
	for (size_t i = 0; i < part->len; i++)
		sum += data[1 + i];
	part->why = "the sum is wrong";
	return sum == data[1 + part->len] ? 1 : TN_EFORMAT;
}

static int support_sum_wrap(const struct iovec *iov, int count, size_t len, struct tn_frame_ends *ends, void *arg)
{
	(void)arg;
	if (len > 255)
		return TN_ETOOBIG;
	ends->head[0] = (unsigned char)len;
	ends->tail[0] = 0;
	for (int i = 0; i < count; i++)
		for (size_t at = 0; at < iov[i].iov_len; at++)
			ends->tail[0] += ((const unsigned char *)iov[i].iov_base)[at];
	ends->head_len = ends->tail_len = 1;
	return 0;
}

/* own-line: a line with its line feed is a message. It remembers how far it has looked. */
static int support_line_next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	const unsigned char *end = memchr(data + part->seen, '\n', len - part->seen);

	(void)arg;
	part->seen = (uint32_t)len;
	if (!end)
		return 0;
	part->len = part->taken = (size_t)(end - data) + 1;
	return 1;
}

/* Returns 0 or a negative code; only the first call in a process does anything. */
static inline int support_frames(void)
{
	static const struct tn_frame frames[] = {
		{sizeof(struct tn_frame), "own-u32", support_u32_next, support_u32_wrap, NULL},
		{sizeof(struct tn_frame), "own-sum", support_sum_next, support_sum_wrap, NULL},
		{sizeof(struct tn_frame), "own-line", support_line_next, NULL, NULL},
	};
	static int done;
	int rc = 0;

	for (; rc == 0 && done < 3; done++)
		rc = tn_frame_register(&frames[done]);
	return rc;
}

#endif
