#include "conn/chain.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

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

int tni_chain_push(struct tni_chain *chain, struct tni_layer *layer)
{
	struct tni_link *link = calloc(1, sizeof(*link));

	if (!link) {
		layer->ops->free(layer);
		return tni_err(-ENOMEM, "%s: out of memory", layer->ops->name);
	}
	link->layer = layer;
	tni_buf_init(&link->in, chain->mem, SIZE_MAX);
	tni_buf_init(&link->net, chain->mem, SIZE_MAX);
	link->below = chain->top;
	if (chain->top)
		chain->top->above = link;
	else
		chain->bottom = link;
	chain->top = link;
	chain->ticks |= layer->ops->due_ns != NULL;
	return 0;
}

static void drop(struct tni_chain *chain, struct tni_link *link)
{
	if (link->above)
		link->above->below = link->below;
	else
		chain->top = link->below;
	if (link->below)
		link->below->above = link->above;
	else
		chain->bottom = link->above;
	link->layer->ops->free(link->layer);
	tni_buf_clear(&link->in);
	tni_buf_clear(&link->net);
	free(link);
}

void tni_chain_free(struct tni_chain *chain)
{
	for (struct tni_link *link = chain->bottom, *above; link; link = above) {
		above = link->above;
		drop(chain, link);
	}
}

void tni_chain_leave(struct tni_chain *chain)
{
	for (struct tni_link *link = chain->bottom, *above; link; link = above) {
		above = link->above;
		if (!link->layer->done || link->in.head || link->net.head)
			continue;
		if (above)
			above->eof |= link->eof;
		drop(chain, link);
	}
}

/* ---- up ---- */

static bool is_open(const struct tni_link *link)
{
	return link->layer->open || link->layer->done;
}

static int no_memory(const struct tni_link *link)
{
	return tni_err(-ENOMEM, "%s: out of memory", link->layer->ops->name);
}

static int begin(struct tni_link *link)
{
	int rc = 0;

	for (; link && rc == 0 && (!link->below || is_open(link->below)); link = link->above) {
		if (link->begun)
			continue;
		link->begun = true;
		rc = link->layer->ops->open ? link->layer->ops->open(link->layer, &link->net) : 0;
	}
	return rc;
}

int tni_chain_open(struct tni_chain *chain)
{
	return begin(chain->bottom);
}

/* What a layer may do to its queues in one step. */
static int check_bounds(struct tni_link *link, size_t in_before, size_t out_grown, size_t net_before)
{
	const char *name = link->layer->ops->name;

	if (link->net.len > net_before && link->net.len > STEP_MAX + ANSWERS_MAX)
		return tni_err(TN_EFORMAT, "%s: the peer goes on asking and takes no answer", name);
	if (link->in.len != in_before)
		link->made = 0;
	link->made += (uint32_t)out_grown;
	if (link->made > MADE_MAX)
		return tni_err(TN_ETOOBIG, "%s: the peer's few bytes become more without end", name);
	return 0;
}

/* Behind its last word a layer has nothing to say. Where its answers go then, which the caller drops. */
static struct tn_buf *answers_of(const struct tni_chain *chain, struct tni_link *link, struct tn_buf *unsaid)
{
	tni_buf_init(unsaid, chain->mem, SIZE_MAX);
	return link->shut && !chain->repeats ? unsaid : &link->net;
}

static int step_up(struct tni_chain *chain, struct tni_link *link, struct tn_buf *out)
{
	struct tni_layer *layer = link->layer;
	size_t in_before = link->in.len, out_before = out->len, net_before = link->net.len, max = out->len + STEP_MAX;
	struct tn_buf unsaid, *net = answers_of(chain, link, &unsaid);
	int rc = layer->done ? 0 : layer->ops->up(layer, &link->in, out, net, max);

	tni_buf_clear(&unsaid);
	if (rc == 0)
		rc = check_bounds(link, in_before, out->len - out_before, net_before);
	if (rc == 0 && layer->done && tni_buf_move(out, &link->in, link->in.len) < 0)
		rc = no_memory(link);
	chain->more |= rc == 0 && out->len >= max;
	return rc;
}

static bool has_ended(const struct tni_link *link)
{
	return link->layer->ended || (link->layer->done && link->eof && !link->in.head);
}

int tni_chain_up(struct tni_chain *chain, struct tn_buf *out)
{
	int rc = 0, failure = 0;

	chain->more = false;
	for (struct tni_link *link = chain->bottom; link && link->begun; link = link->above) {
		rc = step_up(chain, link, link->above ? &link->above->in : out);
		if (rc == 0 && link->above) {
			link->above->eof |= has_ended(link);
			rc = begin(link->above);
		}
		if (rc < 0 && failure == 0)
			failure = rc;
	}
	return failure;
}

int tni_chain_cut(struct tni_chain *chain)
{
	int rc = 0;

	for (struct tni_link *link = chain->bottom; link; link = link->above) {
		if (rc == 0 && link->eof && !has_ended(link) && !link->layer->done)
			rc = link->layer->ops->cut(link->layer);
		if (rc < 0 || (link->eof && !link->layer->done))
			link->layer->ended = true;
		if (link->above)
			link->above->eof |= has_ended(link);
	}
	return rc;
}

/* ---- down ---- */

static int step_down(struct tni_link *link, struct tn_buf *from, size_t max)
{
	if (link->layer->done)
		return from->head && tni_buf_move(&link->net, from, from->len) < 0 ? no_memory(link) : 0;
	if (!from->head || !link->layer->open || link->shut || link->net.len >= max)
		return 0;
	return link->layer->ops->down(link->layer, from, &link->net, max);
}

int tni_chain_down(struct tni_chain *chain, struct tn_buf *from, size_t max)
{
	int rc = 0;

	for (struct tni_link *link = chain->top; link && rc == 0; link = link->below)
		rc = step_down(link, link->above ? &link->above->net : from, link->below ? STEP_MAX : max);
	return rc;
}

int tni_chain_shut(struct tni_chain *chain)
{
	int rc = 0;

	for (struct tni_link *link = chain->top; link && rc == 0; link = link->below) {
		if (link->above)
			rc = step_down(link, &link->above->net, STEP_MAX);
		if (rc < 0 || (link->above && (!link->above->shut || link->above->net.head)) || !is_open(link))
			break;
		if (link->shut)
			continue;
		link->shut = true;
		rc = link->layer->done ? 0 : link->layer->ops->shut(link->layer, &link->net);
	}
	return rc;
}

void tni_chain_mute(struct tni_chain *chain)
{
	for (struct tni_link *link = chain->bottom; link; link = link->above) {
		link->shut = true;
		tni_buf_clear(&link->net);
	}
}

/* ---- time ---- */

static uint64_t due_ns(const struct tni_link *link, uint64_t now_ns)
{
	const struct tni_layer_ops *ops = link->layer->ops;

	return ops->due_ns && link->begun && !link->layer->done ? ops->due_ns(link->layer, now_ns) : UINT64_MAX;
}

uint64_t tni_chain_due_ns(const struct tni_chain *chain, uint64_t now_ns)
{
	uint64_t first = UINT64_MAX;

	for (const struct tni_link *link = chain->bottom; link; link = link->above) {
		uint64_t due = due_ns(link, now_ns);

		if (link->ticks && due < now_ns + TICK_MIN_NS)
			due = now_ns + TICK_MIN_NS;
		if (due < first)
			first = due;
	}
	return first;
}

static int tick(const struct tni_chain *chain, struct tni_link *link, uint64_t now_ns)
{
	struct tn_buf unsaid;
	int rc;

	if (due_ns(link, now_ns) > now_ns)
		return 0;
	rc = link->layer->ops->tick(link->layer, answers_of(chain, link, &unsaid), now_ns);
	tni_buf_clear(&unsaid);
	link->ticks = rc == 0 && due_ns(link, now_ns) <= now_ns ? link->ticks + 1 : 0;
	return link->ticks > TICKS_MAX
		       ? tni_err(TN_ESTATE, "%s: it asks for the time without end", link->layer->ops->name)
		       : rc;
}

int tni_chain_tick(struct tni_chain *chain, uint64_t now_ns)
{
	int rc = 0;

	for (struct tni_link *link = chain->bottom; link && rc == 0; link = link->above)
		rc = tick(chain, link, now_ns);
	return rc;
}

/* ---- asking ---- */

int tni_chain_query(const struct tni_chain *chain, enum tni_question what, void *answer)
{
	int rc = -EOPNOTSUPP;

	for (struct tni_link *link = chain->top; link && rc == -EOPNOTSUPP; link = link->below)
		if (link->layer->ops->query)
			rc = link->layer->ops->query(link->layer, what, answer);
	return rc;
}

bool tni_chain_is_open(const struct tni_chain *chain)
{
	return !tni_chain_opening(chain);
}

const struct tni_layer *tni_chain_opening(const struct tni_chain *chain)
{
	const struct tni_link *link = chain->bottom;

	while (link && is_open(link))
		link = link->above;
	return link ? link->layer : NULL;
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
	for (const struct tni_link *link = chain->bottom; link; link = link->above)
		if (link->in.head ||
		    (link->layer->ops->query && link->layer->ops->query(link->layer, TNI_ASK_PART, NULL) == 1))
			return true;
	return false;
}

size_t tni_chain_queued(const struct tni_chain *chain)
{
	size_t len = 0;

	for (const struct tni_link *link = chain->bottom; link; link = link->above)
		len += link->net.len;
	return len;
}
