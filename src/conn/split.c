/* An endpoint's frame and format without a connection. */
#include "conn/endpoint.h"
#include "conn/format.h"

#include <errno.h>
#include <stdlib.h>

/* What streams of one kind share. */
struct kind {
	struct tni_endpoint *ep;
	struct tni_mem mem;
	unsigned refs;
};

struct tn_split {
	struct kind *kind;
	struct tni_frame frame;
	struct tn_buf in;
	size_t taken; /* by the message handed out last */
	bool ended;
};

static void kind_unref(struct kind *kind)
{
	if (--kind->refs > 0)
		return;
	tni_mem_free(&kind->mem);
	tni_endpoint_free(kind->ep);
	free(kind);
}

static int split_new(struct kind *kind, struct tn_split **out)
{
	struct tn_split *split = calloc(1, sizeof(*split));

	if (!split)
		return -ENOMEM;
	split->kind = kind;
	split->frame = kind->ep->frame;
	tni_buf_init(&split->in, &kind->mem, UINT32_MAX);
	kind->refs++;
	*out = split;
	return 0;
}

int tn_split_new(const char *url, struct tn_split **split)
{
	struct kind *kind;
	struct tni_endpoint *ep;
	int rc = tni_endpoint_new(url, TN_DIAL, &ep);

	if (rc == TN_EURL && tni_endpoint_new(url, TN_SERVE, &ep) == 0)
		rc = 0;
	if (rc < 0)
		return rc;
	kind = calloc(1, sizeof(*kind));
	if (!kind) {
		tni_endpoint_free(ep);
		return -ENOMEM;
	}
	*kind = (struct kind){.ep = ep, .refs = 1};
	tni_mem_init(&kind->mem);
	rc = split_new(kind, split);
	kind_unref(kind);
	return rc;
}

int tn_split_another(const struct tn_split *split, struct tn_split **another)
{
	return split_new(split->kind, another);
}

void tn_split_free(struct tn_split *split)
{
	if (!split)
		return;
	tn_split_reset(split);
	tni_frame_free(&split->frame);
	kind_unref(split->kind);
	free(split);
}

static void drop_taken(struct tn_split *split)
{
	tni_buf_consume(&split->in, split->taken);
	split->taken = 0;
	if (!split->in.len) /* a stream that waits for its next message keeps no memory of its last */
		tni_frame_free(&split->frame);
}

int tn_split_feed(struct tn_split *split, const void *data, size_t len)
{
	drop_taken(split);
	return len ? tni_buf_append(&split->in, data, len, false) : 0;
}

void tn_split_end(struct tn_split *split)
{
	split->ended = true;
}

int tn_split_next(struct tn_split *split, const void **data, size_t *len)
{
	struct tni_view view;
	int rc;

	drop_taken(split);
	rc = split->in.len ? split->frame.ops->next(&split->frame, &split->in, &view) : 0;
	if (rc == 0 && split->ended && split->in.len)
		rc = split->frame.ops->end(&split->frame, &split->in, &view);
	if (rc <= 0)
		return rc;
	split->taken = view.taken;
	*data = view.data;
	*len = view.len;
	return 1;
}

void tn_split_reset(struct tn_split *split)
{
	tni_frame_free(&split->frame);
	split->frame = split->kind->ep->frame;
	split->taken = 0;
	split->ended = false;
	tni_buf_clear(&split->in);
}

size_t tn_split_waiting(const struct tn_split *split)
{
	return split->in.len - split->taken;
}

size_t tn_split_memory(const struct tn_split *split)
{
	const struct tni_blk *last = NULL;
	size_t bytes = 0;

	for (const struct tni_slice *slice = split->in.head; slice; slice = slice->next) {
		bytes += sizeof(*slice) + (slice->blk != last ? slice->blk->cap : 0);
		last = slice->blk;
	}
	return bytes;
}

const char *tn_split_frame(const struct tn_split *split)
{
	return split->frame.ops->name;
}

const char *tn_split_format(const struct tn_split *split)
{
	return split->kind->ep->codec ? split->kind->ep->codec->name : NULL;
}

int tn_split_value(const struct tn_split *split, const void *data, size_t len, struct tn_value **value)
{
	return tni_format_value(split->kind->ep, data, len, value);
}
