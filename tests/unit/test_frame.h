/* What the tests of the frames share: the model, pieces of every size, and what they say about them. */
#ifndef TESTS_UNIT_TEST_FRAME_H
#define TESTS_UNIT_TEST_FRAME_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define MODEL_CHECK(condition) assert_true(condition)
#include "frame_model.h"

#include <stdio.h>

/* Bytes that may hold any value, as a literal: B("\0abc"). */
#define B(text) (text), sizeof(text) - 1

#define MAX_ANY ((size_t)1 << 20)

/* splitmix64 */
static inline uint64_t next_random(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* Feeds the bytes in pieces of one size. */
static inline void feed_by(struct line *line, const void *data, size_t len, size_t piece, bool copied)
{
	for (size_t at = 0; at < len; at += piece)
		line_feed(line, (const char *)data + at, len - at < piece ? len - at : piece, copied);
	line_end(line);
}

static inline void compare(const char *name, const struct line *line, const struct record *wanted, const char *how,
			   size_t at)
{
	if (!same_record(&line->got, wanted))
		fail_msg("frame %s, %s %zu: %zu messages and %d (%s) instead of %zu and %d", name, how, at,
			 line->got.nmsgs, line->got.err, tn_errmsg(), wanted->nmsgs, wanted->err);
}

/* Whatever way a stream is cut, it gives the same: every two-way split, and every size of piece up to some. */
static inline void check_splits(const char *name, size_t max, const void *data, size_t len, const struct record *wanted)
{
	const char *bytes = data;
	struct line line;

	for (size_t at = 0; at <= len; at++) {
		for (int copied = 0; copied < 2; copied++) {
			line_open(&line, name, max);
			line_feed(&line, bytes, at, copied);
			line_feed(&line, bytes + at, len - at, copied);
			line_end(&line);
			compare(name, &line, wanted, "split at", at);
			line_close(&line);
		}
	}
	for (size_t piece = 1; piece < 12 && piece <= len; piece++) {
		for (int copied = 0; copied < 2; copied++) {
			line_open(&line, name, max);
			feed_by(&line, data, len, piece, copied);
			compare(name, &line, wanted, "in pieces of", piece);
			line_close(&line);
		}
	}
}

/* The bytes give these messages (a NULL-terminated list of texts) and then this verdict, however they are cut. */
static inline void check_stream(const char *name, size_t max, const void *data, size_t len, int err, ...)
{
	struct record wanted = {.err = err};
	const char *msg;
	va_list list;

	va_start(list, err);
	while ((msg = va_arg(list, const char *)))
		record_msg(&wanted, msg, strlen(msg));
	va_end(list);
	check_splits(name, max, data, len, &wanted);
	record_free(&wanted);
}

/* One message, and the bytes it stands for both ways. */
static inline void check_known(const char *name, const void *msg, size_t len, const void *framed, size_t framed_len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg, .iov_len = len};
	struct record wanted = {0};
	struct line line;
	struct tn_buf out;

	line_open(&line, name, MAX_ANY);
	tni_buf_init(&out, &line.mem, SIZE_MAX);
	assert_int_equal(line.frame.ops->put(&line.frame, &out, &iov, 1), 0);
	assert_int_equal(out.len, framed_len);
	assert_memory_equal(tni_buf_pullup(&out, framed_len), framed, framed_len);
	tni_buf_clear(&out);
	line_close(&line);
	record_msg(&wanted, msg, len);
	check_splits(name, MAX_ANY, framed, framed_len, &wanted);
	record_free(&wanted);
}

/* What put() answers to one message; nothing is left in the queue when it refuses. */
static inline int put_one(const char *name, const void *msg, size_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)msg, .iov_len = len};
	struct line line;
	struct tn_buf out;
	int rc;

	line_open(&line, name, MAX_ANY);
	tni_buf_init(&out, &line.mem, SIZE_MAX);
	rc = line.frame.ops->put(&line.frame, &out, &iov, 1);
	assert_true(rc == 0 || out.len == 0);
	tni_buf_clear(&out);
	line_close(&line);
	return rc;
}

/* That the last verdict says what it should. */
static inline void assert_says(const char *words)
{
	if (!strstr(tn_errmsg(), words))
		fail_msg("'%s' does not say '%s'", tn_errmsg(), words);
}

/* Frames that a URL cannot have: what is said of each, and at which byte; -1: at none. */
struct bad_frame {
	const char *text, *says;
	long at;
};

static inline void check_refused(const struct bad_frame *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct tni_frame frame = {.max = 100};

		if (tni_frame_find(rows[i].text, &frame) != TN_EURL)
			fail_msg("%s is taken", rows[i].text);
		assert_says(rows[i].says);
		if (tn_errpos() != rows[i].at)
			fail_msg("%s: byte %ld, not %ld", rows[i].text, tn_errpos(), rows[i].at);
		assert_null(frame.ops);
	}
}

/* One meaning has one name, by which two ends are known to be the same; and the least that a message can have. */
struct named_frame {
	const char *text, *name;
	size_t least;
};

static inline void check_names(const struct named_frame *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct tni_frame frame = {.max = 100};

		assert_int_equal(tni_frame_find(rows[i].text, &frame), 0);
		assert_string_equal(frame.ops->name, rows[i].name);
		assert_int_equal(tni_frame_least(&frame), rows[i].least);
		tni_frame_drop(&frame);
	}
}

#endif
