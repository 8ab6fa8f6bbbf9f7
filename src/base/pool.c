#include "base/pool.h"

#include "base/list.h"

#include <stdlib.h>

#define SLAB_SLICES 126

struct tni_slab {
	struct tni_slab *next;
	struct tni_slice slices[SLAB_SLICES];
};

/* A pool's block carries its bytes behind its head, in one allocation. */
static struct tni_blk *blk_alloc(size_t cap, struct tni_blk_home *home)
{
	struct tni_blk *blk = malloc(sizeof(*blk) + cap);

	if (!blk)
		return NULL;
	*blk = (struct tni_blk){.home = home, .data = (unsigned char *)(blk + 1), .cap = (uint32_t)cap, .refs = 1};
	return blk;
}

static void pool_put(struct tni_blk_home *home, struct tni_blk *blk)
{
	struct tni_pool *pool = tni_container_of(home, struct tni_pool, home);
	struct tni_mem *mem = pool->mem;

	pool->nout--;
	if (pool->nfree < pool->max_free) {
		blk->next = pool->free;
		pool->free = blk;
		pool->nfree++;
	} else {
		free(blk);
	}
	if (mem->starved)
		mem->on_return(mem->arg);
}

static void lone_put(struct tni_blk_home *home, struct tni_blk *blk)
{
	(void)home;
	free(blk);
}

static struct tni_blk_home lone_home = {.put = lone_put};

struct tni_blk *tni_blk_get(struct tni_pool *pool)
{
	struct tni_blk *blk = pool->free;

	if (!blk) {
		blk = blk_alloc(pool->cap, &pool->home);
		if (blk)
			pool->nout++;
		return blk;
	}
	pool->free = blk->next;
	pool->nfree--;
	pool->nout++;
	blk->refs = 1;
	blk->used = 0;
	return blk;
}

struct tni_blk *tni_blk_new(size_t cap)
{
	return cap > UINT32_MAX ? NULL : blk_alloc(cap, &lone_home);
}

static void pool_init(struct tni_mem *mem, struct tni_pool *pool, uint32_t cap, uint32_t max_free)
{
	*pool = (struct tni_pool){.home = {.put = pool_put}, .cap = cap, .max_free = max_free, .mem = mem};
}

static void pool_free(struct tni_pool *pool)
{
	while (pool->free) {
		struct tni_blk *blk = pool->free;

		pool->free = blk->next;
		free(blk);
	}
}

void tni_mem_init(struct tni_mem *mem)
{
	*mem = (struct tni_mem){0};
	pool_init(mem, &mem->small, TNI_SMALL_CAP, 256);
	pool_init(mem, &mem->large, TNI_LARGE_CAP, 16);
}

void tni_mem_free(struct tni_mem *mem)
{
	pool_free(&mem->small);
	pool_free(&mem->large);
	while (mem->slabs) {
		struct tni_slab *slab = mem->slabs;

		mem->slabs = slab->next;
		free(slab);
	}
	mem->slices = NULL;
}

static void give_slices(struct tni_mem *mem, struct tni_slab *slab)
{
	for (size_t i = 0; i < SLAB_SLICES; i++) {
		slab->slices[i].next = mem->slices;
		mem->slices = &slab->slices[i];
	}
}

struct tni_slice *tni_slice_refill(struct tni_mem *mem)
{
	struct tni_slab *slab = malloc(sizeof(*slab));

	if (!slab)
		return NULL;
	slab->next = mem->slabs;
	mem->slabs = slab;
	mem->nslabs++;
	give_slices(mem, slab);
	return mem->slices;
}

void tni_slabs_shrink(struct tni_mem *mem)
{
	while (mem->nslabs > TNI_SLABS_KEPT) {
		struct tni_slab *slab = mem->slabs;

		mem->slabs = slab->next;
		mem->nslabs--;
		free(slab);
	}
	mem->slices = NULL;
	for (struct tni_slab *slab = mem->slabs; slab; slab = slab->next)
		give_slices(mem, slab);
}
