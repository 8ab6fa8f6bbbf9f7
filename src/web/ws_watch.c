/* WebSocket: what one side of another's connection sends, looked at. */
#include "web/ws.h"

#include <stdlib.h>
#include <string.h>

/* Whether this is how it begins, or may yet become that. */
static bool begins(const char *data, size_t len, const char *what)
{
	size_t n = strlen(what);

	return !memcmp(data, what, len < n ? len : n);
}

/* A head of HTTP: its length; 0: it is not whole; < 0 with words. */
static long pass_head(const char *data, size_t len, bool answer)
{
	struct tni_http head;
	long n = tni_http_read(&head, answer ? TNI_RESPONSE : TNI_REQUEST, data, len);

	return n > 0 && answer && head.status != 101 ? tni_ws_refused(&head) : n;
}

/* Who speaks shows by the head, or by the first frame's mask where the head was not seen. */
static int meet(struct ws *w, struct tn_buf *in)
{
	size_t len = in->len < TNI_HTTP_MAX ? in->len : TNI_HTTP_MAX;
	const char *data = (const char *)tni_buf_pullup(in, len);
	bool answer, from_client = false;
	long n;

	if (!data)
		return tni_ws_no_memory();
	answer = begins(data, len, "HTTP/");
	if (answer || begins(data, len, "GET ")) {
		n = pass_head(data, len, answer);
		if (n < 0)
			return (int)n;
		tni_buf_consume(in, (size_t)n);
		from_client = !answer;
		w->layer.open = n > 0;
	} else if (len > 1) {
		from_client = data[1] & MASKED;
		w->layer.open = true;
	}
	if (w->layer.open && from_client)
		w->config++;
	return 0;
}

static int watch_up(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	struct ws *w = tni_ws_of(layer);
	int rc = 0;

	if (in->head && !layer->open)
		rc = meet(w, in);
	if (rc == 0 && layer->open && !layer->broken)
		rc = tni_ws_read(w, in, out, net, max);
	tni_buf_clear(net);                  /* nobody is answered */
	if (layer->broken && w->peer_code) { /* that is how it ends, whatever it means */
		layer->ended = true;
		rc = 0;
	} else if (layer->broken) {
		rc = layer->ops->cut(layer);
	}
	if (layer->ended)
		tni_buf_clear(in);
	return rc;
}

static const struct tni_layer_ops watch_ops = {
	.name = "WebSocket",
	.messages = true,
	.up = watch_up,
	.cut = tni_ws_cut,
	.query = tni_ws_query,
	.free = tni_ws_free,
};

int tni_ws_watch_new(const struct tni_ws_config configs[2], struct tni_layer **out)
{
	int rc = tni_ws_new(configs, NULL, out);

	if (rc < 0)
		return rc;
	(*out)->ops = &watch_ops;
	tni_ws_of(*out)->deflate = configs->deflate; /* a message says itself whether it is compressed */
	return 0;
}
