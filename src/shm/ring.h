/*
 * Bytes in one direction through memory that two processes share: a ring with one writer and one reader. Pure: no
 * descriptor, no system call.
 *
 * The other side may write anything anywhere in that memory at any time. So each side keeps its own index to itself,
 * reads the other's once for each step, and checks it: what lies between the two is never more than the ring, and an
 * index never goes back. Bytes are copied out once, and looked at only then.
 *
 * Sleep and wake. Who is about to sleep says so by a flag, then looks at the index of the other side once more. Who has
 * moved its index looks at the other side's flag afterwards, and where it is set takes it back and owes a wake. Between
 * the store and the load of either stands a sequentially consistent fence, or the store is one (store buffering: one of
 * the two sees what the other has stored), so either the sleeper sees the index or its peer the flag, and no wake is
 * lost. tests/unit/test_ring.c goes through all orders.
 */
#ifndef TNI_SHM_RING_H
#define TNI_SHM_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the writer's direction has ended, once all that is before its index has been read. */
enum tni_ring_end {
	TNI_RING_FINISHED = 1, /* in good order */
	TNI_RING_LEFT = 2,     /* the writer is gone altogether: it does not read either */
	TNI_RING_RESET = 4,    /* what was written is not all */
};

/* What stands in the memory, each on a cache line that one side alone writes in lively traffic. */
struct tni_ring_shared {
	_Alignas(64) _Atomic(uint64_t) tail; /* bytes ever written: the writer's */
	_Atomic(uint32_t) end;               /* enum tni_ring_end: the writer's */
	_Alignas(64) _Atomic(uint64_t) head; /* bytes ever read: the reader's */
	_Alignas(64) _Atomic(uint32_t) wants_bytes;
	_Alignas(64) _Atomic(uint32_t) wants_room;
};

/* One side's view of it. */
struct tni_ring {
	struct tni_ring_shared *shared;
	unsigned char *data;
	uint64_t size;  /* a power of two */
	uint64_t own;   /* the index that this side moves */
	uint64_t other; /* the other side's, as it was last seen */
};

void tni_ring_init(struct tni_ring *ring, struct tni_ring_shared *shared, unsigned char *data, uint64_t size);

/* ---- the reader's ---- */

/* Bytes that can be read. -EPROTO: the index makes no sense. */
long tni_ring_bytes(struct tni_ring *ring);

/* Copies bytes, at most as many as tni_ring_bytes() has said last, and gives their room back. */
void tni_ring_take(struct tni_ring *ring, void *out, size_t len);

/* Whether the writer sleeps for want of room: true once, and then it is to be woken. After tni_ring_take(). */
bool tni_ring_owes_writer(struct tni_ring *ring);

/* How it has ended: to be asked before tni_ring_bytes(), so that what that says is all there is. */
static inline unsigned tni_ring_ended(const struct tni_ring *ring)
{
	return atomic_load_explicit(&ring->shared->end, memory_order_acquire);
}

/* Sleeps from now on, once it has looked for news again; and is awake after that: true if a wake is owed or was made.
 */
void tni_ring_read_asleep(struct tni_ring *ring);
bool tni_ring_read_awake(struct tni_ring *ring);

static inline bool tni_ring_has_bytes(const struct tni_ring *ring)
{
	return atomic_load_explicit(&ring->shared->tail, memory_order_relaxed) != ring->own;
}

/* Whether tni_ring_bytes() or tni_ring_ended() has something new to say. */
static inline bool tni_ring_has_news(const struct tni_ring *ring)
{
	return atomic_load_explicit(&ring->shared->tail, memory_order_seq_cst) != ring->own ||
	       atomic_load_explicit(&ring->shared->end, memory_order_seq_cst);
}

/* ---- the writer's ---- */

/*
 * Bytes that there is room for. -EPROTO: the index makes no sense. Where `enough` are known to have room the other
 * side's index is not looked at: its cache line is the other side's.
 */
long tni_ring_room(struct tni_ring *ring, size_t enough);

/* Copies bytes, together at most as many as tni_ring_room() has said last; the reader sees them once shown. */
void tni_ring_put(struct tni_ring *ring, const void *data, size_t len);
void tni_ring_show(struct tni_ring *ring);

/* Adds to how it has ended. */
void tni_ring_end(struct tni_ring *ring, enum tni_ring_end how);

/* Whether the reader sleeps for want of bytes: as tni_ring_owes_writer(). After tni_ring_show() or tni_ring_end(). */
bool tni_ring_owes_reader(struct tni_ring *ring);

void tni_ring_write_asleep(struct tni_ring *ring);
bool tni_ring_write_awake(struct tni_ring *ring);

/* Whether tni_ring_room() has something to say other than 0. */
static inline bool tni_ring_has_room(const struct tni_ring *ring)
{
	return ring->own - atomic_load_explicit(&ring->shared->head, memory_order_seq_cst) != ring->size;
}

/* What was written and has not been read; 0 where the index makes no sense. */
size_t tni_ring_unread(const struct tni_ring *ring);

#endif
