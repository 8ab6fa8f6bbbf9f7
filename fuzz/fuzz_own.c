/*
 * A frame of a program's own whose functions say anything: no byte outside of what is there is touched, what comes out
 * is within max, and it ends. The first byte chooses max, the second how the rest is cut. What next() says is drawn
 * from the bytes that it gets, what wrap() says from the message.
 */
#include <stdio.h>
#include <stdlib.h>

#define MODEL_CHECK(condition) ((condition) ? (void)0 : broken(#condition, __FILE__, __LINE__))

static void broken(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

#include "../tests/unit/frame_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Mostly what is small, at times what is huge. */
static size_t draw(unsigned char byte)
{
	return byte < 0xf0 ? byte % 48 : SIZE_MAX - byte % 4;
}

static int drawn_next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	static const int returned[] = {1, 1, 1, 1, 0, 0, 0, 2, TN_EFORMAT, INT32_MIN};

	(void)arg;
	MODEL_CHECK(len > 0);
	MODEL_CHECK(!part->taken && !part->at && !part->len && !part->need && !part->why);
	part->taken = draw(data[len / 2]);
	part->at = draw(data[len / 3]) % 5;
	part->len = len > 3 ? part->taken - part->at : draw(data[0]);
	part->need = data[len - 1] & 1 ? 0 : draw(data[len / 5]);
	part->seen += data[0];
	return returned[(data[0] + part->seen) % 10];
}

static int drawn_wrap(const struct iovec *iov, int count, size_t len, struct tn_frame_ends *ends, void *arg)
{
	unsigned char first = len ? *(const unsigned char *)iov[0].iov_base : 0;

	(void)count, (void)arg;
	ends->head_len = draw(first) + (first & 64);
	ends->tail_len = draw((unsigned char)len);
	memset(ends->head, first, ends->head_len < sizeof(ends->head) ? ends->head_len : sizeof(ends->head));
	memset(ends->tail, first, ends->tail_len < sizeof(ends->tail) ? ends->tail_len : sizeof(ends->tail));
	return first % 16 ? 0 : first - 64;
}

static void run(struct line *line, size_t max, const uint8_t *data, size_t size, size_t piece, bool copied)
{
	line_open(line, "drawn", max);
	line->mem.small.cap = 16;
	line->mem.large.cap = 64;
	for (size_t at = 0; at < size; at += piece)
		line_feed(line, data + at, size - at < piece ? size - at : piece, copied);
	line_end(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct tn_frame frame = {sizeof(frame), "drawn", drawn_next, drawn_wrap, NULL};
	static bool known;
	struct line line, again;
	size_t max, piece;

	if (!known)
		MODEL_CHECK(tn_frame_register(&frame) == 0);
	known = true;
	if (size < 2)
		return 0;
	max = data[0] % 4 ? 1 + data[0] % 60 : 300;
	piece = 1 + data[1] % 64;
	run(&line, max, data + 2, size - 2, piece, data[1] & 0x80);
	run(&again, max, data + 2, size - 2, piece, data[1] & 0x80);
	MODEL_CHECK(same_record(&line.got, &again.got));
	line_close(&line);
	line_close(&again);
	return 0;
}
