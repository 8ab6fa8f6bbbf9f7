#include "shm/ring.h"

#include <errno.h>
#include <string.h>

void tni_ring_init(struct tni_ring *ring, struct tni_ring_shared *shared, unsigned char *data, uint64_t size)
{
	*ring = (struct tni_ring){.shared = shared, .data = data, .size = size};
}

/* Where a copy of `len` bytes at an index has to be cut in two. */
static size_t first_part(const struct tni_ring *ring, size_t at, size_t len)
{
	return len < ring->size - at ? len : (size_t)(ring->size - at);
}

long tni_ring_bytes(struct tni_ring *ring)
{
	uint64_t tail = atomic_load_explicit(&ring->shared->tail, memory_order_seq_cst);

	if (tail - ring->own > ring->size || tail - ring->own < ring->other - ring->own)
		return -EPROTO;
	ring->other = tail;
	return (long)(tail - ring->own);
}

void tni_ring_take(struct tni_ring *ring, void *out, size_t len)
{
	size_t at = (size_t)(ring->own & (ring->size - 1)), n = first_part(ring, at, len);

	memcpy(out, ring->data + at, n);
	if (n < len)
		memcpy((unsigned char *)out + n, ring->data, len - n);
	ring->own += len;
	atomic_store_explicit(&ring->shared->head, ring->own, memory_order_release);
}

long tni_ring_room(struct tni_ring *ring, size_t enough)
{
	uint64_t known = ring->size - (ring->own - ring->other), head;

	if (known >= enough)
		return (long)known;
	head = atomic_load_explicit(&ring->shared->head, memory_order_seq_cst);

	if (ring->own - head > ring->size || ring->own - head > ring->own - ring->other)
		return -EPROTO;
	ring->other = head;
	return (long)(ring->size - (ring->own - head));
}

void tni_ring_put(struct tni_ring *ring, const void *data, size_t len)
{
	size_t at = (size_t)(ring->own & (ring->size - 1)), n = first_part(ring, at, len);

	memcpy(ring->data + at, data, n);
	if (n < len)
		memcpy(ring->data, (const unsigned char *)data + n, len - n);
	ring->own += len;
}

void tni_ring_show(struct tni_ring *ring)
{
	atomic_store_explicit(&ring->shared->tail, ring->own, memory_order_release);
}

void tni_ring_end(struct tni_ring *ring, enum tni_ring_end how)
{
	/* An exchange would be of use only if the other side wrote here too, which makes no difference to us. */
	unsigned end = atomic_load_explicit(&ring->shared->end, memory_order_relaxed);

	atomic_store_explicit(&ring->shared->end, end | how, memory_order_release);
}

/*
 * The index is a plain store and the fence comes behind it, not an exchange: so the processor fetches the lines of the
 * bytes and of the index together. The flag is looked at before it is written to: its line is to stay where it is as
 * long as nobody sleeps.
 */
static bool take_flag(_Atomic(uint32_t) *flag)
{
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load_explicit(flag, memory_order_seq_cst) &&
	       atomic_exchange_explicit(flag, 0, memory_order_seq_cst);
}

bool tni_ring_owes_reader(struct tni_ring *ring)
{
	return take_flag(&ring->shared->wants_bytes);
}

bool tni_ring_owes_writer(struct tni_ring *ring)
{
	return take_flag(&ring->shared->wants_room);
}

void tni_ring_read_asleep(struct tni_ring *ring)
{
	atomic_store_explicit(&ring->shared->wants_bytes, 1, memory_order_seq_cst);
}

bool tni_ring_read_awake(struct tni_ring *ring)
{
	return !atomic_exchange_explicit(&ring->shared->wants_bytes, 0, memory_order_seq_cst);
}

void tni_ring_write_asleep(struct tni_ring *ring)
{
	atomic_store_explicit(&ring->shared->wants_room, 1, memory_order_seq_cst);
}

bool tni_ring_write_awake(struct tni_ring *ring)
{
	return !atomic_exchange_explicit(&ring->shared->wants_room, 0, memory_order_seq_cst);
}

size_t tni_ring_unread(const struct tni_ring *ring)
{
	uint64_t unread = ring->own - atomic_load_explicit(&ring->shared->head, memory_order_relaxed);

	return unread <= ring->size ? (size_t)unread : 0;
}
