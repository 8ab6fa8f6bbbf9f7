#include "conn/chain.h"

#include "base/err.h"

#include <errno.h>

/* In one step a layer hands up so much, and takes down no more than so much ahead. */
#define STEP_MAX (256 * 1024)

/* Answers of the layers themselves may wait up to so much, behind what was taken down ahead: a peer that takes none
 * must not fill memory. */
#define ANSWERS_MAX (256 * 1024)

/* A layer that makes so much without taking a byte makes bytes without end. */
#define MADE_MAX (64 * 1024 * 1024)

/* So often a layer may want to be called again at once. It is called once in TICK_MIN_NS at most. */
#define TICKS_MAX 1000
#define TICK_MIN_NS UINT64_C(1000000)

void tni_chain_init(struct tni_chain *chain, struct tni_mem *mem)
{
	*chain = (struct tni_chain){.mem = mem};
}

void tni_chain_push(struct tni_chain *chain, struct tni_layer *layer)
{
	layer->below = chain->top;
	if (chain->top)
		chain->top->above = layer;
	else
		chain->bottom = layer;
	chain->top = layer;
}

/* ---- queues ---- */

static int no_memory(const struct tni_layer *layer)
{
	return tni_err(-ENOMEM, "%s: out of memory", layer->ops->name);
}

static struct tn_buf *open_queue(const struct tni_chain *chain, struct tn_buf **queue)
{
	if (!*queue)
		*queue = tni_buf_new(chain->mem, SIZE_MAX);
	return *queue;
}

static int open_queues(const struct tni_chain *chain, struct tni_layer *layer)
{
	return open_queue(chain, &layer->in) && open_queue(chain, &layer->net) ? 0 : no_memory(layer);
}

static void close_queue(struct tn_buf **queue)
{
	tni_buf_free(*queue);
	*queue = NULL;
}

static void clear_queue(struct tn_buf *queue)
{
	if (queue)
		tni_buf_clear(queue);
}

static bool holds(const struct tn_buf *queue)
{
	return queue && queue->head;
}

static struct tn_buf *or_nothing(struct tn_buf *queue)
{
	static _Thread_local struct tn_buf nothing;

	return queue ? queue : &nothing;
}

struct tn_buf *tni_chain_received(const struct tni_chain *chain)
{
	return or_nothing(chain->bottom->in);
}

struct tn_buf *tni_chain_wire(const struct tni_chain *chain)
{
	return or_nothing(chain->bottom->net);
}

struct tn_buf *tni_chain_in(struct tni_chain *chain)
{
	return open_queue(chain, &chain->bottom->in);
}

void tni_chain_rest(struct tni_chain *chain)
{
	for (struct tni_layer *layer = chain->bottom; layer; layer = layer->above) {
		if (layer->in && !layer->in->head)
			close_queue(&layer->in);
		if (layer->net && !layer->net->head)
			close_queue(&layer->net);
	}
}

/* ---- who is in it ---- */

static void drop(struct tni_chain *chain, struct tni_layer *layer)
{
	if (layer->above)
		layer->above->below = layer->below;
	else
		chain->top = layer->below;
	if (layer->below)
		layer->below->above = layer->above;
	else
		chain->bottom = layer->above;
	clear_queue(layer->in);
	clear_queue(layer->net);
	close_queue(&layer->in);
	close_queue(&layer->net);
	layer->ops->free(layer);
}

void tni_chain_free(struct tni_chain *chain)
{
	for (struct tni_layer *layer = chain->bottom, *above; layer; layer = above) {
		above = layer->above;
		drop(chain, layer);
	}
}

void tni_chain_leave(struct tni_chain *chain)
{
	for (struct tni_layer *layer = chain->bottom, *above; layer; layer = above) {
		above = layer->above;
		if (!layer->done || holds(layer->in) || holds(layer->net))
			continue;
		if (above)
			above->eof |= layer->eof;
		drop(chain, layer);
	}
}

/* ---- up ---- */

static bool is_open(const struct tni_layer *layer)
{
	return layer->open || layer->done;
}

/* A step of a layer has returned this. */
static int told(struct tni_chain *chain, const struct tni_layer *layer, int rc)
{
	if (rc < 0)
		chain->hop = layer->hop;
	return rc;
}

static int begin(struct tni_chain *chain, struct tni_layer *layer)
{
	int rc = 0;

	for (; layer && rc == 0 && (!layer->below || is_open(layer->below)); layer = layer->above) {
		if (layer->begun)
			continue;
		layer->begun = true;
		rc = open_queues(chain, layer);
		if (rc == 0 && layer->ops->open)
			rc = told(chain, layer, layer->ops->open(layer, layer->net));
	}
	return rc;
}

int tni_chain_open(struct tni_chain *chain)
{
	return begin(chain, chain->bottom);
}

/* What a layer may do to its queues in one step. */
static int check_bounds(struct tni_layer *layer, size_t in_before, size_t out_grown, size_t net_before)
{
	const char *name = layer->ops->name;

	if (layer->net->len > net_before && layer->net->len > STEP_MAX + ANSWERS_MAX)
		return tni_err(TN_EFORMAT, "%s: the peer goes on asking and takes no answer", name);
	if (layer->in->len != in_before)
		layer->made = 0;
	layer->made += (uint32_t)out_grown;
	if (layer->made > MADE_MAX)
		return tni_err(TN_ETOOBIG, "%s: the peer's few bytes become more without end", name);
	return 0;
}

/* Behind its last word a layer has nothing to say. Where its answers go then, which the caller drops. */
static struct tn_buf *answers_of(const struct tni_chain *chain, struct tni_layer *layer, struct tn_buf *unsaid)
{
	tni_buf_init(unsaid, chain->mem, SIZE_MAX);
	return layer->shut && !chain->repeats ? unsaid : layer->net;
}

static int step_up(struct tni_chain *chain, struct tni_layer *layer, struct tn_buf *out)
{
	size_t in_before, out_before = out->len, net_before, max = out->len + STEP_MAX;
	struct tn_buf unsaid, *net;
	int rc = open_queues(chain, layer);

	if (rc < 0)
		return rc;
	in_before = layer->in->len;
	net_before = layer->net->len;
	net = answers_of(chain, layer, &unsaid);
	rc = layer->done || layer->broken ? 0 : layer->ops->up(layer, layer->in, out, net, max);
	tni_buf_clear(&unsaid);
	if (layer->broken)
		tni_buf_clear(layer->in);
	if (rc == 0)
		rc = check_bounds(layer, in_before, out->len - out_before, net_before);
	if (rc == 0 && layer->done && tni_buf_move(out, layer->in, layer->in->len) < 0)
		rc = no_memory(layer);
	chain->more |= rc == 0 && out->len >= max;
	return told(chain, layer, rc);
}

static bool has_ended(const struct tni_layer *layer)
{
	return layer->ended || layer->cut || (layer->done && layer->eof && !holds(layer->in));
}

static int step_down(const struct tni_chain *chain, struct tni_layer *layer, struct tn_buf *from, size_t max);

/* What a layer says as it fails goes through those below it; what finds no room is dropped. */
static void let_out(const struct tni_chain *chain, struct tni_layer *layer)
{
	for (; layer->below; layer = layer->below) {
		(void)step_down(chain, layer->below, layer->net, STEP_MAX);
		clear_queue(layer->net);
	}
}

int tni_chain_up(struct tni_chain *chain, struct tn_buf *out)
{
	int rc = 0, failure = 0;

	chain->more = false;
	for (struct tni_layer *layer = chain->bottom; layer && layer->begun; layer = layer->above) {
		struct tn_buf *up = layer->above ? open_queue(chain, &layer->above->in) : out;

		rc = up ? step_up(chain, layer, up) : no_memory(layer);
		if (rc == 0 && layer->above) {
			layer->above->eof |= has_ended(layer);
			rc = begin(chain, layer->above);
		}
		if (rc < 0 && failure == 0) {
			failure = rc;
			let_out(chain, layer);
		}
	}
	return failure;
}

int tni_chain_cut(struct tni_chain *chain)
{
	int rc = 0;

	for (struct tni_layer *layer = chain->bottom; layer; layer = layer->above) {
		bool broken = layer->broken && !layer->cut;

		if (rc == 0 && (layer->eof || broken) && !has_ended(layer) && !layer->done)
			rc = told(chain, layer, layer->ops->cut(layer));
		if (broken)
			chain->cut = layer->cut =
				true; /* more may come, and must be read before the socket is closed */
		else if (rc < 0 || (layer->eof && !layer->done))
			layer->ended = true;
		if (layer->above)
			layer->above->eof |= has_ended(layer);
	}
	return rc;
}

/* ---- down ---- */

static int step_down(const struct tni_chain *chain, struct tni_layer *layer, struct tn_buf *from, size_t max)
{
	if (!holds(from) || (layer->net && layer->net->len >= max))
		return 0;
	if (!layer->done && (!layer->open || layer->shut))
		return 0;
	if (!open_queue(chain, &layer->net))
		return no_memory(layer);
	if (layer->done)
		return tni_buf_move(layer->net, from, from->len) < 0 ? no_memory(layer) : 0;
	return layer->ops->down(layer, from, layer->net, max);
}

int tni_chain_down(struct tni_chain *chain, struct tn_buf *from, size_t max)
{
	int rc = 0;

	for (struct tni_layer *layer = chain->top; layer && rc == 0; layer = layer->below)
		rc = told(chain, layer,
			  step_down(chain, layer, layer->above ? layer->above->net : from,
				    layer->below ? STEP_MAX : max));
	return rc;
}

int tni_chain_shut(struct tni_chain *chain)
{
	int rc = 0;

	for (struct tni_layer *layer = chain->top; layer && rc == 0; layer = layer->below) {
		if (layer->above)
			rc = told(chain, layer, step_down(chain, layer, layer->above->net, STEP_MAX));
		if (rc < 0 || (layer->above && (!layer->above->shut || holds(layer->above->net))) || !is_open(layer))
			break;
		if (layer->shut)
			continue;
		layer->shut = true;
		rc = layer->done ? 0 : open_queues(chain, layer);
		if (rc == 0 && !layer->done)
			rc = told(chain, layer, layer->ops->shut(layer, layer->net));
	}
	return rc;
}

bool tni_chain_refuse(struct tni_chain *chain, int err)
{
	struct tni_layer *layer = chain->top;

	if (!layer || layer->done || !layer->ops->refuse)
		return false;
	layer->ops->refuse(layer, err);
	return true;
}

void tni_chain_mute(struct tni_chain *chain)
{
	for (struct tni_layer *layer = chain->bottom; layer; layer = layer->above) {
		layer->shut = true;
		clear_queue(layer->net);
	}
}

/* ---- time ---- */

static bool is_timed(const struct tni_layer *layer)
{
	return layer->ops->due_ns && !layer->timeless && !layer->done;
}

bool tni_chain_is_timed(const struct tni_chain *chain)
{
	for (const struct tni_layer *layer = chain->bottom; layer; layer = layer->above)
		if (is_timed(layer))
			return true;
	return false;
}

static uint64_t due_ns(struct tni_layer *layer, uint64_t now_ns)
{
	return is_timed(layer) && layer->begun ? layer->ops->due_ns(layer, now_ns) : UINT64_MAX;
}

uint64_t tni_chain_due_ns(const struct tni_chain *chain, uint64_t now_ns)
{
	uint64_t first = UINT64_MAX;

	for (struct tni_layer *layer = chain->bottom; layer; layer = layer->above) {
		uint64_t due = due_ns(layer, now_ns);

		if (layer->ticks && due < now_ns + TICK_MIN_NS)
			due = now_ns + TICK_MIN_NS;
		if (due < first)
			first = due;
	}
	return first;
}

static int tick(const struct tni_chain *chain, struct tni_layer *layer, uint64_t now_ns)
{
	struct tn_buf unsaid;
	int rc;

	if (due_ns(layer, now_ns) > now_ns)
		return 0;
	rc = open_queues(chain, layer);
	if (rc < 0)
		return rc;
	rc = layer->ops->tick(layer, answers_of(chain, layer, &unsaid), now_ns);
	tni_buf_clear(&unsaid);
	layer->ticks = (uint16_t)(rc == 0 && due_ns(layer, now_ns) <= now_ns ? layer->ticks + 1 : 0);
	return layer->ticks > TICKS_MAX ? tni_err(TN_ESTATE, "%s: it asks for the time without end", layer->ops->name)
					: rc;
}

int tni_chain_tick(struct tni_chain *chain, uint64_t now_ns)
{
	int rc = 0;

	for (struct tni_layer *layer = chain->bottom; layer && rc == 0; layer = layer->above) {
		rc = told(chain, layer, tick(chain, layer, now_ns));
		if (rc < 0)
			let_out(chain, layer);
	}
	return rc;
}

void tni_chain_set_unread(struct tni_chain *chain, bool unread)
{
	for (struct tni_layer *layer = chain->bottom; layer; layer = layer->above)
		layer->unread = unread;
}

/* ---- asking ---- */

int tni_chain_query(const struct tni_chain *chain, enum tni_question what, void *answer)
{
	int rc = -EOPNOTSUPP;

	for (struct tni_layer *layer = chain->top; layer && rc == -EOPNOTSUPP; layer = layer->below)
		if (layer->ops->query && !layer->hop)
			rc = layer->ops->query(layer, what, answer);
	return rc;
}

bool tni_chain_is_open(const struct tni_chain *chain)
{
	return !tni_chain_opening(chain);
}

const struct tni_layer *tni_chain_opening(const struct tni_chain *chain)
{
	const struct tni_layer *layer = chain->bottom;

	while (layer && is_open(layer))
		layer = layer->above;
	return layer ? layer : NULL;
}

struct tn_buf *tni_chain_net(struct tni_chain *chain, struct tni_layer *layer)
{
	return open_queue(chain, &layer->net);
}

bool tni_chain_has_ended(const struct tni_chain *chain)
{
	return chain->top && has_ended(chain->top);
}

bool tni_chain_is_shut(const struct tni_chain *chain)
{
	return !chain->bottom || chain->bottom->shut;
}

bool tni_chain_has_part(const struct tni_chain *chain)
{
	for (const struct tni_layer *layer = chain->bottom; layer; layer = layer->above)
		if (holds(layer->in) || (layer->ops->query && layer->ops->query(layer, TNI_ASK_PART, NULL) == 1))
			return true;
	return false;
}

size_t tni_chain_queued(const struct tni_chain *chain)
{
	size_t len = 0;

	for (const struct tni_layer *layer = chain->bottom; layer; layer = layer->above)
		len += layer->net ? layer->net->len : 0;
	return len;
}
