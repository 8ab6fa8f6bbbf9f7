/*
 * A frame as the pump drives it (conn/conn.c), without a connection: bytes are fed in pieces, and what comes out is
 * kept, messages and verdict, so that two ways of feeding the same bytes can be compared. The unit tests draw the
 * pieces from a table or a seed, fuzz/fuzz_frame.c from the fuzzer's bytes.
 *
 * The includer defines MODEL_CHECK(condition), which does not return when the condition is false.
 */
#ifndef TESTS_UNIT_FRAME_MODEL_H
#define TESTS_UNIT_FRAME_MODEL_H

#include "base/err.h"
#include "frame/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(clang-analyzer-*): the analyser cannot know that MODEL_CHECK() does not come back */

/* What came out: each message as its length and its bytes. */
struct record {
	unsigned char *bytes;
	size_t len, cap;
	size_t nmsgs;
	int err; /* what refused the rest */
};

struct line {
	struct tni_mem mem;
	struct tn_buf in;
	struct tni_frame frame;
	struct record got;
};

static void record_free(struct record *r)
{
	free(r->bytes);
	*r = (struct record){0};
}

static void record_bytes(struct record *r, const void *data, size_t len)
{
	while (r->len + len > r->cap) {
		r->cap = r->cap ? 2 * r->cap : 256;
		r->bytes = realloc(r->bytes, r->cap);
		MODEL_CHECK(r->bytes != NULL);
	}
	if (len)
		memcpy(r->bytes + r->len, data, len);
	r->len += len;
}

static void record_msg(struct record *r, const void *data, size_t len)
{
	record_bytes(r, &len, sizeof(len));
	record_bytes(r, data, len);
	r->nmsgs++;
}

static bool same_record(const struct record *a, const struct record *b)
{
	return a->nmsgs == b->nmsgs && a->err == b->err && a->len == b->len &&
	       (!a->len || !memcmp(a->bytes, b->bytes, a->len));
}

static void line_open(struct line *line, const char *name, size_t max)
{
	*line = (struct line){.frame = {.max = (uint32_t)max}};
	MODEL_CHECK(tni_frame_find(name, &line->frame) == 0);
	tni_mem_init(&line->mem);
	tni_buf_init(&line->in, &line->mem, SIZE_MAX);
}

static void line_close(struct line *line)
{
	tni_buf_clear(&line->in);
	tni_frame_free(&line->frame);
	tni_frame_drop(&line->frame);
	MODEL_CHECK(!line->mem.nslices_out && !line->mem.small.nout && !line->mem.large.nout);
	tni_mem_free(&line->mem);
	record_free(&line->got);
}

/* What may be passed on as it stands must be just what put() would write. */
static void check_raw(struct line *line, const struct tni_view *view)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)view->data, .iov_len = view->len};
	struct tn_buf out;

	if (!view->raw || !tni_frame_is_as_sent(&line->frame, view))
		return;
	MODEL_CHECK(view->raw >= view->blk->data && view->raw + view->taken <= view->blk->data + view->blk->used);
	tni_buf_init(&out, &line->mem, SIZE_MAX);
	MODEL_CHECK(line->frame.ops->put(&line->frame, &out, &iov, 1) == 0);
	MODEL_CHECK(out.len == view->taken);
	if (view->taken)
		MODEL_CHECK(!memcmp(tni_buf_pullup(&out, view->taken), view->raw, view->taken));
	tni_buf_clear(&out);
}

static void take_msg(struct line *line, const struct tni_view *view)
{
	MODEL_CHECK(view->len <= line->frame.max && view->taken > 0 && view->taken <= line->in.len);
	check_raw(line, view);
	record_msg(&line->got, view->data, view->len);
	tni_buf_consume(&line->in, view->taken);
}

/* Everything that is whole. After the verdict nothing is looked at any more. */
static void line_pump(struct line *line, bool at_end)
{
	struct tni_view view = {0};

	while (line->in.head && !line->got.err) {
		int rc = line->frame.ops->next(&line->frame, &line->in, &view);

		if (rc == 0 && at_end)
			rc = line->frame.ops->end(&line->frame, &line->in, &view);
		if (rc == 0)
			return;
		if (rc < 0)
			line->got.err = rc;
		else
			take_msg(line, &view);
	}
}

/* A piece arrives: in a block of its own, or behind what is there as the pump does it with short ones. */
static void line_feed(struct line *line, const void *data, size_t len, bool copied)
{
	struct tni_blk *blk;

	if (!len || line->got.err)
		return;
	if (copied && line->in.head) {
		MODEL_CHECK(tni_buf_append(&line->in, data, len, false) == 0);
	} else {
		blk = len <= line->mem.small.cap ? tni_blk_get(&line->mem.small) : tni_blk_new(len);
		MODEL_CHECK(blk != NULL);
		memcpy(blk->data, data, len);
		blk->used = (uint32_t)len;
		MODEL_CHECK(tni_buf_give(&line->in, blk) == 0);
	}
	line_pump(line, false);
}

static void line_end(struct line *line)
{
	line_pump(line, true);
}

/* NOLINTEND(clang-analyzer-*) */

#endif
