/*
 * Blocks of memory for bytes on their way, reference counted and kept hot: the block that was freed last is handed out
 * next, so that a busy loop works in the processor's cache. One set of pools per loop; nothing here is shared between
 * threads.
 */
#ifndef TNI_BASE_POOL_H
#define TNI_BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

struct tni_blk;

/* Where a block goes when its last reference is dropped: a pool, or an engine's ring of receive buffers. */
struct tni_blk_home {
	void (*put)(struct tni_blk_home *home, struct tni_blk *blk);
};

struct tni_blk {
	struct tni_blk *next; /* in a free list */
	struct tni_blk_home *home;
	unsigned char *data;
	uint32_t cap;
	uint32_t used; /* bytes from the start that somebody has written; an appender may use the rest */
	uint32_t refs;
	uint32_t id; /* the home's own number for it */
};

struct tni_pool {
	struct tni_blk_home home;
	struct tni_blk *free;
	uint32_t cap; /* usable bytes of each block */
	uint32_t nfree, max_free;
	uint32_t nout; /* blocks handed out and not back: 0 when nothing leaks */
	struct tni_mem *mem;
};

/* A piece of a block. `end` marks the last piece of a message. */
struct tni_slice {
	struct tni_slice *next;
	struct tni_blk *blk;
	unsigned char *data;
	uint32_t len;
	uint32_t end;
};

/* All the memory one loop uses for bytes. */
struct tni_mem {
	struct tni_pool small; /* short answers */
	struct tni_pool large; /* bulk, and one whole datagram */
	struct tni_slice *slices;
	struct tni_slab *slabs; /* where slices come from */
	uint32_t nslices_out, nslabs;
	void (*on_return)(void *arg); /* called when a block comes back while somebody is starved */
	void *arg;
	int starved;
};

#define TNI_SMALL_CAP (4096 - sizeof(struct tni_blk) - 16)
/* More than 64 KiB: a message of just that size comes as a short read, which says that the socket is empty. */
#define TNI_LARGE_CAP (68 * 1024)

void tni_mem_init(struct tni_mem *mem);

/* Frees what the free lists keep. Every block and slice must be back. */
void tni_mem_free(struct tni_mem *mem);

/* A block with one reference, or NULL without memory. */
struct tni_blk *tni_blk_get(struct tni_pool *pool);

/* A block of any size outside the pools, for the rare message larger than a large block. */
struct tni_blk *tni_blk_new(size_t cap);

static inline struct tni_blk *tni_blk_ref(struct tni_blk *blk)
{
	blk->refs++;
	return blk;
}

static inline void tni_blk_unref(struct tni_blk *blk)
{
	if (--blk->refs == 0)
		blk->home->put(blk->home, blk);
}

struct tni_slice *tni_slice_refill(struct tni_mem *mem);

/* So many slabs are kept when no slice is out: a burst gives back what it took beyond. */
#define TNI_SLABS_KEPT 16
void tni_slabs_shrink(struct tni_mem *mem);

static inline struct tni_slice *tni_slice_get(struct tni_mem *mem)
{
	struct tni_slice *slice = mem->slices;

	if (__builtin_expect(!slice, 0) && !(slice = tni_slice_refill(mem)))
		return NULL;
	mem->slices = slice->next;
	mem->nslices_out++;
	return slice;
}

static inline void tni_slice_put(struct tni_mem *mem, struct tni_slice *slice)
{
	slice->next = mem->slices;
	mem->slices = slice;
	if (--mem->nslices_out == 0 && __builtin_expect(mem->nslabs > TNI_SLABS_KEPT, 0))
		tni_slabs_shrink(mem);
}

#endif
