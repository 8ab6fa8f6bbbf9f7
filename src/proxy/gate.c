#include "proxy/gate.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "web/http.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

/* Who has shown a wrong password waits so long for the reply: it is to be guessed slowly. */
#define WRONG_NS TNI_NS_PER_S

/* Before the answer a client may say so much ahead. What its owner does not read lies with the kernel. */
#define AHEAD_MAX (256 * 1024)

struct gate {
	struct tni_layer layer;
	struct tni_request_rules rules;
	struct tni_request request;
	struct tni_request_reply late; /* to be said at `late_ns` */
	uint64_t late_ns;              /* 0: not set yet */
	bool answered;
};

static struct gate *gate_of(const struct tni_layer *layer)
{
	return tni_container_of((struct tni_layer *)(uintptr_t)layer, struct gate, layer);
}

static int no_memory(void)
{
	return tni_err(-ENOMEM, "proxy: out of memory");
}

static int say(struct tn_buf *net, const struct tni_request_reply *reply)
{
	return reply->len && tni_buf_append(net, reply->bytes, reply->len, false) < 0 ? no_memory() : 0;
}

/* The words of the request stay, whatever comes of the reply. */
static int step(struct gate *g, struct tn_buf *in, struct tn_buf *net)
{
	size_t len = in->len < TNI_HTTP_MAX ? in->len : TNI_HTTP_MAX;
	unsigned char *data = tni_buf_pullup(in, len);
	struct tni_request_reply reply;
	long n;

	if (!data)
		return no_memory();
	n = tni_request_read(&g->request, &g->rules, data, len, &reply);
	if (g->request.wrong) {
		g->late = reply;
		tni_buf_clear(in);
		return 0;
	}
	if (n > 0)
		tni_buf_consume(in, (size_t)n);
	return say(net, &reply) < 0 ? -ENOMEM : n < 0 ? (int)n : n > 0;
}

static int up(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	struct gate *g = gate_of(layer);
	int rc = 1;

	(void)out, (void)max;
	if (g->request.wrong) {
		tni_buf_clear(in);
		return 0;
	}
	while (rc > 0 && in->len && !g->request.whole)
		rc = step(g, in, net);
	layer->open = g->request.whole;
	if (layer->open && in->len > AHEAD_MAX)
		return tni_err(TN_ETOOBIG, "proxy: the client does not wait for the answer");
	return rc < 0 ? rc : 0;
}

/* Nothing goes before the answer. */
static int down(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *net, size_t max)
{
	(void)layer, (void)in, (void)net, (void)max;
	return 0;
}

static int shut(struct tni_layer *layer, struct tn_buf *net)
{
	(void)layer, (void)net;
	return 0;
}

static int cut(struct tni_layer *layer)
{
	const struct gate *g = gate_of(layer);

	if (g->request.wrong)
		return tni_err(-EACCES, "the user or the password is wrong");
	if (g->request.whole)
		return 0;
	return tni_err(TN_EFORMAT, "the client has ended before it has said where it wants to go");
}

static uint64_t due_ns(struct tni_layer *layer, uint64_t now_ns)
{
	struct gate *g = gate_of(layer);

	if (!g->request.wrong)
		return UINT64_MAX;
	if (!g->late_ns)
		g->late_ns = now_ns + WRONG_NS;
	return g->late_ns;
}

static int tick(struct tni_layer *layer, struct tn_buf *net, uint64_t now_ns)
{
	const struct gate *g = gate_of(layer);

	(void)now_ns;
	(void)say(net, &g->late);
	return cut(layer);
}

static int query(const struct tni_layer *layer, enum tni_question what, void *answer)
{
	const struct gate *g = gate_of(layer);

	if (what == TNI_ASK_GATE && g->request.whole)
		*(struct tni_gate_facts *)answer = (struct tni_gate_facts){
			.layer = (struct tni_layer *)(uintptr_t)layer, .request = &g->request, .answered = g->answered};
	return what == TNI_ASK_GATE && g->request.whole ? 0 : -EOPNOTSUPP;
}

static void gate_free(struct tni_layer *layer)
{
	free(gate_of(layer));
}

static const struct tni_layer_ops ops = {
	.name = "proxy",
	.opening = "proxy request",
	.up = up,
	.down = down,
	.shut = shut,
	.cut = cut,
	.due_ns = due_ns,
	.tick = tick,
	.query = query,
	.free = gate_free,
};

int tni_gate_new(const struct tni_request_rules *rules, struct tni_layer **out)
{
	struct gate *g = calloc(1, sizeof(*g));

	*out = NULL;
	if (!g)
		return no_memory();
	g->layer.ops = &ops;
	g->rules = *rules;
	*out = &g->layer;
	return 0;
}

int tni_gate_answer(struct tni_layer *layer, int err, const unsigned char *ip, size_t ip_len, int port,
		    struct tn_buf *net)
{
	struct gate *g = gate_of(layer);
	struct tni_request_reply reply;

	tni_request_answer(&g->request, err, ip, ip_len, port, &reply);
	if (say(net, &reply) < 0)
		return -ENOMEM;
	g->answered = layer->done = true;
	return 0;
}
