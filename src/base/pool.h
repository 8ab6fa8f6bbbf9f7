/*
 * Blocks of memory for bytes on their way, reference counted and kept hot: the block that was freed last is handed out
 * next, so that a busy loop works in the processor's cache. One set of pools per loop. Nothing here is shared between
 * threads, but for blocks that tni_blk_share() has made: their references are counted atomically.
 *
 * Pools grow as they are used. What was not needed for a second goes back to the system, but for a little that is kept.
 */
#ifndef TNI_BASE_POOL_H
#define TNI_BASE_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
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
	_Atomic(uint32_t) refs;
	uint16_t id; /* the home's own number for it */
	bool shared; /* references to it may be taken and dropped by any thread */
};

struct tni_pool {
	struct tni_blk_home home;
	struct tni_blk *free;
	uint32_t cap;         /* usable bytes of each block */
	uint32_t nfree, keep; /* keep: as many free ones stay for good */
	uint32_t low;         /* how few of them were free at the least since the last look */
	uint32_t nout;        /* blocks handed out and not back: 0 when nothing leaks */
	struct tni_mem *mem;
};

/* A piece of a block. `end` marks the last piece of a message: 1, and what a layer adds to tell messages apart. */
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
	/* Called when there is more than is kept: tni_mem_trim() is to be called after a second. NULL: nobody does,
	 * and nothing beyond is kept at all. */
	void (*on_growth)(void *arg);
	void *arg;
	int starved;
	bool grown; /* on_growth has been called; whoever trims sets it back */
};

#define TNI_SMALL_CAP (4096 - sizeof(struct tni_blk) - 16)
/* More than 64 KiB: a message of just that size comes as a short read, which says that the socket is empty. */
#define TNI_LARGE_CAP (68 * 1024)

void tni_mem_init(struct tni_mem *mem);

/* Gives back what was not needed since the last call. False: nothing is left beyond what is kept for good. */
bool tni_mem_trim(struct tni_mem *mem);

/* There may be more than is kept. */
void tni_mem_grew(struct tni_mem *mem);

/* Frees what the free lists keep. Every block and slice must be back. */
void tni_mem_free(struct tni_mem *mem);

/* A block with one reference, or NULL without memory. */
struct tni_blk *tni_blk_get(struct tni_pool *pool);

/* A block of any size outside the pools, for the rare message larger than a large block. */
struct tni_blk *tni_blk_new(size_t cap);

/*
 * Makes a block shared: it belongs to no pool any more, and nobody appends to it. Called by the thread that holds all
 * of its references. False: it is not memory of its own, but an engine's.
 */
bool tni_blk_share(struct tni_blk *blk);

/* A block that has just been made, or is used again: one reference. */
static inline void tni_blk_begin(struct tni_blk *blk, uint32_t used)
{
	atomic_store_explicit(&blk->refs, 1, memory_order_relaxed);
	blk->used = used;
}

static inline struct tni_blk *tni_blk_ref(struct tni_blk *blk)
{
	if (__builtin_expect(blk->shared, 0))
		atomic_fetch_add_explicit(&blk->refs, 1, memory_order_relaxed);
	else
		atomic_store_explicit(&blk->refs, atomic_load_explicit(&blk->refs, memory_order_relaxed) + 1,
				      memory_order_relaxed);
	return blk;
}

static inline void tni_blk_unref(struct tni_blk *blk)
{
	uint32_t left;

	if (__builtin_expect(blk->shared, 0)) {
		left = atomic_fetch_sub_explicit(&blk->refs, 1, memory_order_acq_rel) - 1;
	} else {
		left = atomic_load_explicit(&blk->refs, memory_order_relaxed) - 1;
		atomic_store_explicit(&blk->refs, left, memory_order_relaxed);
	}
	if (left == 0)
		blk->home->put(blk->home, blk);
}

struct tni_slice *tni_slice_refill(struct tni_mem *mem);

/* So many slabs stay for good. */
#define TNI_SLABS_KEPT 16

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
	if (--mem->nslices_out == 0 && __builtin_expect(mem->nslabs > TNI_SLABS_KEPT && !mem->grown, 0))
		tni_mem_grew(mem);
}

#endif
