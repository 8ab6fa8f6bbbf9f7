/*
 * What other threads hand to a loop: a list without a lock. Each who puts something in front of it compares and swaps
 * one pointer; the loop takes all of it at once. The descriptor that wakes the loop is written only when the loop
 * sleeps. The inbox is memory of its own, with references, so that whoever has one may use it when its loop has gone.
 */
#ifndef TNI_IO_INBOX_H
#define TNI_IO_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tn_loop;

/* What is put there: part of something of the sender's, which run() may free. */
struct tni_post {
	struct tni_post *next;
	void (*run)(struct tni_post *post); /* on the loop's thread */
	bool quiet;                         /* what it makes ready can wait for what was put behind it */
};

/* Those who put and the loop use different cache lines as far as they can. */
struct tni_inbox {
	_Atomic(struct tni_post *) newest; /* each leads to the one before; &tni_inbox_closed: the loop has gone */
	char apart[64];
	_Atomic(bool) asleep;      /* the loop waits, or is outside a turn: it must be woken */
	_Atomic(unsigned) callers; /* threads that may touch the descriptor or the loop */
	_Atomic(unsigned) refs;
	_Atomic(uintptr_t) runner; /* the thread inside a turn; 0: none */
	int wake_fd;
};

extern struct tni_post tni_inbox_closed;

static inline bool tni_inbox_is_empty(struct tni_inbox *inbox)
{
	return !atomic_load_explicit(&inbox->newest, memory_order_seq_cst);
}

static inline struct tni_inbox *tni_inbox_ref(struct tni_inbox *inbox)
{
	atomic_fetch_add_explicit(&inbox->refs, 1, memory_order_relaxed);
	return inbox;
}

void tni_inbox_unref(struct tni_inbox *inbox);

/* From any thread that has a reference. 0; TN_ESTATE: the loop has ended, and `post` is still the caller's. */
int tni_inbox_put(struct tni_inbox *inbox, struct tni_post *post);

/* Whether this thread is inside a turn of the loop: it would wait for itself. */
bool tni_inbox_is_mine(struct tni_inbox *inbox);

#endif
