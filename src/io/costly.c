/* Work that takes so long that others would notice: so much of it in each turn. */
#include "io/turn.h"

/*
 * A handshake takes 0.2 to 5 ms, and in one turn hundreds may begin. The connections of the loop that are open wait for
 * no more than this and the handshake that it ends with.
 */
#define COSTLY_MAX_NS TNI_NS_PER_MS

bool tni_loop_may_cost(struct tn_loop *loop, struct tni_costly *costly)
{
	if (loop->its_turn == costly)
		return true;
	if (!tni_list_empty(&costly->node))
		return false;
	if (tni_list_empty(&loop->costly) && loop->costly_ns < COSTLY_MAX_NS)
		return true;
	tni_list_add_tail(&loop->costly, &costly->node);
	atomic_fetch_add_explicit(&loop->ncostly, 1, memory_order_relaxed);
	return false;
}

void tni_loop_cost_no_more(struct tn_loop *loop, struct tni_costly *costly)
{
	if (tni_list_empty(&costly->node))
		return;
	tni_list_del(&costly->node);
	atomic_fetch_sub_explicit(&loop->ncostly, 1, memory_order_relaxed);
}

void tni_costly_run(struct tn_loop *loop)
{
	struct tni_list *node;

	while (loop->costly_ns < COSTLY_MAX_NS && (node = tni_list_pop(&loop->costly))) {
		atomic_fetch_sub_explicit(&loop->ncostly, 1, memory_order_relaxed);
		loop->its_turn = tni_container_of(node, struct tni_costly, node);
		tni_loop_ready(loop, loop->its_turn->task);
		tni_loop_settle(loop);
		loop->its_turn = NULL;
	}
}
