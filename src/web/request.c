#include "web/request.h"

#include "base/err.h"
#include "base/list.h"
#include "web/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 400

struct requests {
	struct tni_layer layer;
	const struct tni_ws_config *config;
	size_t whole; /* bytes of the request whose head has been read; 0: none */
	int err;      /* why it is broken */
	int status;   /* what shut() answers with; 0: nothing */
	char *words;  /* to it; NULL: without memory */
};

static struct requests *of(const struct tni_layer *layer)
{
	return tni_container_of((struct tni_layer *)(uintptr_t)layer, struct requests, layer);
}

static int no_memory(void)
{
	return tni_err(-ENOMEM, "HTTP: out of memory");
}

/* What the client is told, and no more is read. Words: tni_err(). */
static int refuse(struct requests *r, int err, int status)
{
	r->err = err;
	r->status = status;
	r->words = strdup(tn_errmsg());
	r->layer.broken = true;
	return 0;
}

/* 0, or the status that refuses a request, with words. */
static int check(const struct requests *r, const struct tni_http *head)
{
	struct tni_http_text expected;

	if (head->chunked)
		return tni_err(411, "a body needs a Content-Length here: it cannot come in chunks");
	if (head->length > r->config->max)
		return tni_err(413, "a body has at most %zu bytes here, not %llu", r->config->max,
			       (unsigned long long)head->length);
	if (tni_http_field(head, "Expect", &expected))
		return tni_err(417, "nothing is said here before the body has come");
	return tni_web_may_ask(r->config, head);
}

/* A head at the front of `in`. 0: `whole` is set, it is not whole yet, or the layer is broken. */
static int read_head(struct requests *r, struct tn_buf *in)
{
	size_t len = in->len < TNI_HTTP_MAX ? in->len : TNI_HTTP_MAX;
	const char *data = (const char *)tni_buf_gather(in, len);
	struct tni_http head;
	long n;
	int status;

	if (!data)
		return no_memory();
	n = tni_http_read(&head, TNI_REQUEST, data, len);
	if (n < 0)
		return refuse(r, (int)n, head.answer);
	status = n ? check(r, &head) : 0;
	if (status)
		return refuse(r, TN_EFORMAT, status);
	r->whole = n ? (size_t)n + (size_t)head.length : 0;
	return 0;
}

/* A layer's bound may cut what it hands up, so `whole` counts down. */
static int up(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	struct requests *r = of(layer);

	(void)net;
	while (in->head && !layer->broken && out->len < max) {
		int rc = r->whole ? 0 : read_head(r, in);
		size_t len = r->whole < in->len ? r->whole : in->len;
		long moved;

		if (rc < 0 || !r->whole)
			return rc;
		len = len < max - out->len ? len : max - out->len;
		moved = tni_buf_move(out, in, len);
		if (moved < 0)
			return no_memory();
		r->whole -= (size_t)moved;
		if (!r->whole && tni_buf_append(out, "", 0, true) < 0)
			return no_memory();
		if (!moved)
			return 0;
	}
	return 0;
}

static int down(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *net, size_t max)
{
	(void)layer;
	if (net->len >= max)
		return 0;
	return tni_buf_move(net, in, in->len < max - net->len ? in->len : max - net->len) < 0 ? no_memory() : 0;
}

static int shut(struct tni_layer *layer, struct tn_buf *net)
{
	const struct requests *r = of(layer);

	if (r->status)
		tni_http_refuse(net, r->status, NULL, r->words ? r->words : tni_http_status(r->status));
	return 0;
}

static int cut(struct tni_layer *layer)
{
	const struct requests *r = of(layer);

	if (layer->broken)
		return tni_err(r->err, "HTTP: %s", r->words ? r->words : "a request breaks a rule");
	if (r->whole)
		return tni_err(TN_ECUT, "HTTP: the client has ended within a request");
	return 0;
}

/* What was refused above is answered there. */
static void refused(struct tni_layer *layer, int err)
{
	struct requests *r = of(layer);

	r->status = err == TN_ETOOBIG ? 413 : 400;
	free(r->words);
	r->words = strdup(tn_errmsg());
}

static int query(const struct tni_layer *layer, enum tni_question what, void *answer)
{
	(void)answer;
	return what == TNI_ASK_PART ? of(layer)->whole > 0 : -EOPNOTSUPP;
}

static void requests_free(struct tni_layer *layer)
{
	free(of(layer)->words);
	free(of(layer));
}

static const struct tni_layer_ops ops = {
	.name = "HTTP",
	.opening = "HTTP",
	.messages = true,
	.up = up,
	.down = down,
	.shut = shut,
	.cut = cut,
	.refuse = refused,
	.query = query,
	.free = requests_free,
};

int tni_requests_new(const struct tni_ws_config *config, struct tni_layer **out)
{
	struct requests *r = calloc(1, sizeof(*r));

	if (!r)
		return no_memory();
	r->layer.ops = &ops;
	r->layer.open = true;
	r->config = config;
	*out = &r->layer;
	return 0;
}
