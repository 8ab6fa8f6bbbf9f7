/* The parts of a turn of the loop, for loop.c. */
#ifndef TNI_IO_TURN_H
#define TNI_IO_TURN_H

#include "io/loop.h"

/* engine.c: opens the engine of a name, or the best one (NULL, "", "auto"). 0, or a negative code with detail. */
int tni_engine_choose(struct tn_loop *loop, const char *name);

/* inbox.c. What is posted is called by tni_inbox_run(); tni_inbox_close() calls the rest, and refuses more. */
int tni_inbox_open(struct tn_loop *loop);
void tni_inbox_run(struct tn_loop *loop);
void tni_inbox_close(struct tn_loop *loop);

/* Around a turn: who posts outside of one must wake whoever waits for the next. */
void tni_inbox_enter(struct tn_loop *loop);
void tni_inbox_leave(struct tn_loop *loop);

/* Waits for events, and for what is posted. As the engine's wait(). */
int tni_inbox_wait(struct tn_loop *loop, uint64_t timeout_ns);

/* shortage.c */
void tni_shortage_init(struct tn_loop *loop);

/* costly.c: those whose turn it is. */
void tni_costly_run(struct tn_loop *loop);

/* spin.c: waits for events, by looking again and again where that is likely to pay. 0, or -errno. */
#define TNI_SPIN_AUTO_NS (60 * TNI_NS_PER_US)
int tni_spin_wait(struct tn_loop *loop, uint64_t timeout_ns);

/* The same for an embedded loop, whose embedder does the looking: called at the end of its turns. `found`: there were
 * events. Sets spin.again. */
void tni_spin_turned(struct tn_loop *loop, bool found);

/* When something is due of which no event tells. 0: now. */
static inline uint64_t tni_loop_due(const struct tn_loop *loop)
{
	if (loop->pending || !tni_list_empty(&loop->later) || !tni_list_empty(&loop->ready) ||
	    !tni_list_empty(&loop->costly))
		return 0;
	return tni_timers_next(&loop->timers);
}

/* embed.c. The end of a turn of an embedded loop that began when there had been so many completions: 0, or -errno. */
int tni_embed_turned(struct tn_loop *loop, uint64_t completions);

#endif
