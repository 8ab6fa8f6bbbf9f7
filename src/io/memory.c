#include "io/memory.h"

#include "io/ready.h"

/* So many turns in a row with nothing, while the loop has other things to do: it is left to sleep by itself. */
#define VAIN_MAX 64

/* So long others wait while memory is lively: the engine is asked by a system call. */
#define ENGINE_NS (20 * TNI_NS_PER_US)

static unsigned wanted(const struct tni_memory *m)
{
	return (m->fd->rd.state == TNI_ARMED ? TNI_RD : 0) | (m->fd->wr.state == TNI_ARMED ? TNI_WR : 0);
}

void tni_memory_heat(struct tn_loop *loop, struct tni_memory *m)
{
	if (!tni_list_empty(&m->node))
		return;
	m->in_vain = 0;
	m->ops->wake(m);
	tni_list_add_tail(&loop->hot, &m->node);
}

/* True: nothing has come before the other side can know of it. */
static bool put_to_sleep(struct tni_memory *m, unsigned want)
{
	tni_list_del(&m->node);
	m->ops->sleep(m, want);
	return !m->ops->look(m, want);
}

static void look_at(struct tn_loop *loop, struct tni_memory *m, bool once_a_turn)
{
	unsigned want = wanted(m), bits = want ? m->ops->look(m, want) : 0;

	if (!want)
		return; /* nobody waits: it is hot again when somebody does */
	tni_list_add_tail(&loop->hot, &m->node);
	if (bits) {
		m->in_vain = 0;
		tni_ready_event(loop, m->fd, bits);
	} else if (once_a_turn && ++m->in_vain >= VAIN_MAX && !put_to_sleep(m, want)) {
		tni_memory_heat(loop, m);
	}
}

/* Each that is hot now once. User code runs in between, which may close any of them. */
static void look_at_all(struct tn_loop *loop, bool once_a_turn)
{
	struct tni_list batch, *node;

	tni_list_init(&batch);
	tni_list_move(&loop->hot, &batch);
	while ((node = tni_list_pop(&batch)))
		look_at(loop, tni_container_of(node, struct tni_memory, node), once_a_turn);
}

void tni_memory_turn(struct tn_loop *loop)
{
	look_at_all(loop, true);
}

/* Most looks find nothing: until one does, nothing is written. */
void tni_memory_look(struct tn_loop *loop)
{
	for (const struct tni_list *node = loop->hot.next; node != &loop->hot; node = node->next) {
		const struct tni_memory *m = tni_container_of(node, struct tni_memory, node);
		unsigned want = wanted(m);

		if (want && m->ops->look(m, want)) {
			look_at_all(loop, false);
			return;
		}
	}
}

bool tni_memory_sleep(struct tn_loop *loop)
{
	struct tni_list batch, *node;
	bool found = false;

	tni_list_init(&batch);
	tni_list_move(&loop->hot, &batch);
	while ((node = tni_list_pop(&batch))) {
		struct tni_memory *m = tni_container_of(node, struct tni_memory, node);
		unsigned want = wanted(m);

		if (!want || put_to_sleep(m, want))
			continue;
		tni_memory_heat(loop, m);
		m->fd->ready |= TNI_RD | TNI_WR;
		tni_slot_put_pending(loop, m->fd);
		found = true;
	}
	return !found;
}

bool tni_memory_is_enough(const struct tn_loop *loop, uint64_t now)
{
	return !tni_list_empty(&loop->hot) && now - loop->asked_ns < ENGINE_NS &&
	       !(loop->engine->owes && loop->engine->owes(loop));
}
