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
	if (pool->nfree >= pool->keep && !mem->on_growth) {
		free(blk);
	} else {
		blk->next = pool->free;
		pool->free = blk;
		if (++pool->nfree > pool->keep && !mem->grown)
			tni_mem_grew(mem);
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
	if (--pool->nfree < pool->low)
		pool->low = pool->nfree;
	pool->nout++;
	tni_blk_begin(blk, 0);
	return blk;
}

struct tni_blk *tni_blk_new(size_t cap)
{
	return cap > UINT32_MAX ? NULL : blk_alloc(cap, &lone_home);
}

bool tni_blk_share(struct tni_blk *blk)
{
	if (blk->shared)
		return true;
	if (blk->home->put == pool_put)
		tni_container_of(blk->home, struct tni_pool, home)->nout--;
	else if (blk->home != &lone_home)
		return false;
	blk->home = &lone_home;
	blk->cap = blk->used;
	blk->shared = true;
	return true;
}

static void pool_init(struct tni_mem *mem, struct tni_pool *pool, uint32_t cap, uint32_t keep)
{
	*pool = (struct tni_pool){.home = {.put = pool_put}, .cap = cap, .keep = keep, .mem = mem};
}

/* Those that have been free for the longest are at the end of the list. */
static void pool_trim(struct tni_pool *pool)
{
	uint32_t unused = pool->low > pool->keep ? pool->low - pool->keep : 0, stay = pool->nfree - unused;
	struct tni_blk **end = &pool->free, *blk;

	for (uint32_t i = 0; i < stay; i++)
		end = &(*end)->next;
	while ((blk = *end)) {
		*end = blk->next;
		free(blk);
	}
	pool->nfree = pool->low = stay;
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
	if (mem->nslabs > TNI_SLABS_KEPT && mem->on_growth && !mem->grown)
		tni_mem_grew(mem);
	return mem->slices;
}

static bool is_all_free(const struct tni_slab *slab)
{
	for (size_t i = 0; i < SLAB_SLICES; i++)
		if (slab->slices[i].blk)
			return false;
	return true;
}

static void give_free_slices(struct tni_mem *mem, struct tni_slab *slab)
{
	for (size_t i = 0; i < SLAB_SLICES; i++)
		if (!slab->slices[i].blk) {
			slab->slices[i].next = mem->slices;
			mem->slices = &slab->slices[i];
		}
}

/* A slice tells nothing of its slab. So the free ones are marked first: those that are out have a block, or are a queue
 * with its pool in that place (buf.c). */
static void trim_slabs(struct tni_mem *mem)
{
	struct tni_slab **at = &mem->slabs, *slab;

	for (struct tni_slice *s = mem->slices; s; s = s->next)
		s->blk = NULL;
	mem->slices = NULL;
	while ((slab = *at)) {
		if (mem->nslabs > TNI_SLABS_KEPT && is_all_free(slab)) {
			*at = slab->next;
			mem->nslabs--;
			free(slab);
		} else {
			give_free_slices(mem, slab);
			at = &slab->next;
		}
	}
}

/* Looking for free slabs takes time in proportion to all slices: only where most of them are free. */
static bool has_free_slabs(const struct tni_mem *mem)
{
	return mem->nslabs > TNI_SLABS_KEPT && mem->nslabs * SLAB_SLICES > 2 * (size_t)mem->nslices_out;
}

bool tni_mem_trim(struct tni_mem *mem)
{
	pool_trim(&mem->small);
	pool_trim(&mem->large);
	if (has_free_slabs(mem))
		trim_slabs(mem);
	return mem->small.nfree > mem->small.keep || mem->large.nfree > mem->large.keep || mem->nslabs > TNI_SLABS_KEPT;
}

void tni_mem_grew(struct tni_mem *mem)
{
	if (mem->on_growth) {
		mem->grown = true;
		mem->on_growth(mem->arg);
	} else {
		(void)tni_mem_trim(mem);
	}
}
