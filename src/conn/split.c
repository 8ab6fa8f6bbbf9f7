/* An endpoint's frame and format without a connection. */
#include "endpoint/endpoint.h"
#include "base/err.h"
#include "conn/format.h"
#include "endpoint/web.h"
#include "web/websocket.h"

#include <errno.h>
#include <stdlib.h>

/* What streams of one kind share. */
struct kind {
	struct tni_endpoint *ep;
	struct tni_mem mem;
	struct tni_ws_config web[2]; /* of a client, and of a server */
	unsigned refs;
};

struct tn_split {
	struct kind *kind;
	struct tni_frame frame;
	struct tn_buf in;
	size_t taken; /* by the message handed out last */
	bool ended;
	struct tni_layer *web; /* WebSocket; otherwise NULL */
	struct tn_buf out;     /* what it has read; `taken` is of this then */
	enum tn_msg_kind said; /* what the message handed out last is */
};

/* In a build without it, what it needs is left out. */
static bool is_web(const struct kind *kind)
{
#ifdef TNI_HAVE_TLS
	return kind->ep->web;
#else
	(void)kind;
	return false;
#endif
}

static void kind_unref(struct kind *kind)
{
	if (--kind->refs > 0)
		return;
	tni_mem_free(&kind->mem);
	tni_endpoint_unref(kind->ep);
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
	tni_buf_init(&split->out, &kind->mem, UINT32_MAX);
	if (is_web(kind) && tni_ws_watch_new(kind->web, &split->web) < 0) {
		free(split);
		return -ENOMEM;
	}
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
		tni_endpoint_unref(ep);
		return -ENOMEM;
	}
	*kind = (struct kind){.ep = ep, .refs = 1};
	tni_mem_init(&kind->mem);
	for (int i = 0; i < 2 && is_web(kind); i++) {
		kind->web[i] = ep->web->config;
		kind->web[i].server = i == 1;
		kind->web[i].deflate = true; /* what others have agreed upon */
	}
	rc = split_new(kind, split);
	kind_unref(kind);
	return rc;
}

int tn_split_another(const struct tn_split *split, struct tn_split **another)
{
	return split_new(split->kind, another);
}

static void forget(struct tn_split *split)
{
	split->taken = 0;
	split->ended = false;
	split->said = TN_MSG_ANY;
	tni_buf_clear(&split->in);
	tni_buf_clear(&split->out);
	if (is_web(split->kind) && split->web)
		split->web->ops->free(split->web);
	split->web = NULL;
}

void tn_split_free(struct tn_split *split)
{
	if (!split)
		return;
	forget(split);
	tni_frame_free(&split->frame);
	kind_unref(split->kind);
	free(split);
}

static void drop_taken(struct tn_split *split)
{
	tni_buf_consume(split->said ? &split->out : &split->in, split->taken);
	split->taken = 0;
	split->said = TN_MSG_ANY;
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

/* The message at the front of what has been read. 0: none is whole. */
static int take_web(struct tn_split *split, const void **data, size_t *len)
{
	uint32_t mark;

	*len = tni_buf_message(&split->out, &mark);
	if (!mark)
		return 0;
	*data = *len ? tni_buf_pullup(&split->out, *len) : (const void *)"";
	if (!*data)
		return -ENOMEM;
	split->said = mark & TNI_MARK_TEXT ? TN_MSG_TEXT : TN_MSG_BINARY;
	split->taken = *len;
	return 1;
}

static int next_web(struct tn_split *split, const void **data, size_t *len)
{
	struct tn_buf net;
	size_t max;
	int rc = 0, taken = take_web(split, data, len);
	bool more = split->web;

	tni_buf_init(&net, &split->kind->mem, SIZE_MAX);
	while (more && taken == 0) {
		max = (size_t)split->out.len + 1;
		rc = split->web->ops->up(split->web, &split->in, &split->out, &net, max);
		more = rc == 0 && split->out.len >= max;
		taken = take_web(split, data, len);
	}
	if (taken)
		return taken; /* a mistake behind it will be met again */
	if (rc == 0 && split->ended && tn_split_waiting(split))
		return tni_err(TN_ETRUNC, "WebSocket: the bytes end within a message");
	return rc;
}

int tn_split_next(struct tn_split *split, const void **data, size_t *len)
{
	struct tni_view view;
	int rc;

	drop_taken(split);
	if (is_web(split->kind))
		return next_web(split, data, len);
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
	forget(split);
	if (is_web(split->kind)) /* without memory nothing more is read of it */
		(void)tni_ws_watch_new(split->kind->web, &split->web);
}

size_t tn_split_waiting(const struct tn_split *split)
{
	return (size_t)split->in.len + split->out.len - split->taken;
}

static size_t memory_of(const struct tn_buf *buf)
{
	const struct tni_blk *last = NULL;
	size_t bytes = 0;

	for (const struct tni_slice *slice = buf->head; slice; slice = slice->next) {
		bytes += sizeof(*slice) + (slice->blk != last ? slice->blk->cap : 0);
		last = slice->blk;
	}
	return bytes;
}

size_t tn_split_memory(const struct tn_split *split)
{
	return memory_of(&split->in) + memory_of(&split->out);
}

enum tn_msg_kind tn_split_kind(const struct tn_split *split)
{
	return split->said;
}

int tn_split_closed(const struct tn_split *split, const char **reason)
{
	struct tni_ws_facts facts;

	*reason = "";
	if (!is_web(split->kind) || !split->web || !split->web->ended ||
	    split->web->ops->query(split->web, TNI_ASK_WEBSOCKET, &facts) < 0)
		return 0;
	*reason = facts.peer_reason;
	return facts.peer_code;
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
