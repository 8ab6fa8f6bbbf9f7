/* The pools of blocks and the slices: counting, keeping hot, giving back, running out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/pool.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- allocations that fail, and those that were made (link with -Wl,--wrap=malloc) ---- */

static bool no_memory;
static unsigned nallocs;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	nallocs++;
	return no_memory ? NULL : __real_malloc(size);
}

static struct tni_mem mem;

static int setup(void **state)
{
	(void)state;
	tni_mem_init(&mem);
	return 0;
}

static int teardown(void **state)
{
	bool whole = mem.nslices_out == 0 && mem.small.nout == 0 && mem.large.nout == 0;

	(void)state;
	no_memory = false;
	tni_mem_free(&mem);
	return whole ? 0 : -1;
}

/* ---- blocks ---- */

static void test_sizes(void **state)
{
	struct tni_blk *small = tni_blk_get(&mem.small), *large = tni_blk_get(&mem.large);

	(void)state;
	assert_int_equal(small->cap, TNI_SMALL_CAP);
	assert_int_equal(large->cap, TNI_LARGE_CAP);
	/* A small block, its head and malloc's own fit a page. */
	assert_true(sizeof(*small) + small->cap + 16 <= 4096);
	/* All of it can be written to. */
	memset(small->data, 1, small->cap);
	memset(large->data, 2, large->cap);
	assert_int_equal(small->refs, 1);
	assert_int_equal(small->used, 0);
	tni_blk_unref(small);
	tni_blk_unref(large);
}

static void test_last_freed_is_handed_out_first(void **state)
{
	struct tni_blk *a = tni_blk_get(&mem.small), *b = tni_blk_get(&mem.small), *c;

	(void)state;
	assert_ptr_not_equal(a, b);
	assert_int_equal(mem.small.nout, 2);
	tni_blk_unref(a);
	tni_blk_unref(b);
	assert_int_equal(mem.small.nfree, 2);
	nallocs = 0;
	assert_ptr_equal(c = tni_blk_get(&mem.small), b);
	assert_ptr_equal(tni_blk_get(&mem.small), a);
	assert_int_equal(nallocs, 0);
	assert_int_equal(mem.small.nfree, 0);
	assert_ptr_not_equal(b = tni_blk_get(&mem.small), a);
	assert_int_equal(mem.small.nout, 3);
	tni_blk_unref(c);
	tni_blk_unref(b);
	tni_blk_unref(a);
}

static void test_reused_block_is_as_new(void **state)
{
	struct tni_blk *blk = tni_blk_get(&mem.large);

	(void)state;
	blk->used = 1000;
	tni_blk_unref(blk);
	assert_ptr_equal(tni_blk_get(&mem.large), blk);
	assert_int_equal(blk->used, 0);
	assert_int_equal(blk->refs, 1);
	assert_int_equal(blk->cap, TNI_LARGE_CAP);
	tni_blk_unref(blk);
}

static void test_references(void **state)
{
	struct tni_blk *blk = tni_blk_get(&mem.small);

	(void)state;
	assert_ptr_equal(tni_blk_ref(blk), blk);
	tni_blk_ref(blk);
	assert_int_equal(blk->refs, 3);
	tni_blk_unref(blk);
	tni_blk_unref(blk);
	assert_int_equal(mem.small.nout, 1);
	assert_int_equal(mem.small.nfree, 0);
	tni_blk_unref(blk);
	assert_int_equal(mem.small.nout, 0);
	assert_int_equal(mem.small.nfree, 1);
}

/* After a burst the pool keeps so many and gives the rest back to the system. */
static void keeps_at_most(struct tni_pool *pool)
{
	uint32_t n = pool->keep + 10, nlisted = 0;
	static struct tni_blk *blks[1000];

	assert_true(n <= 1000);
	for (uint32_t i = 0; i < n; i++)
		assert_non_null(blks[i] = tni_blk_get(pool));
	assert_int_equal(pool->nout, n);
	for (uint32_t i = 0; i < n; i++)
		tni_blk_unref(blks[i]);
	assert_int_equal(pool->nout, 0);
	assert_int_equal(pool->nfree, pool->keep);
	for (const struct tni_blk *blk = pool->free; blk; blk = blk->next)
		nlisted++;
	assert_int_equal(nlisted, pool->keep);
}

static void test_free_list_is_bounded(void **state)
{
	(void)state;
	keeps_at_most(&mem.small);
	keeps_at_most(&mem.large);
	/* What idle pools keep for good is to be little. */
	assert_true((size_t)mem.small.keep * TNI_SMALL_CAP + (size_t)mem.large.keep * TNI_LARGE_CAP <= 4 << 20);
}

/* ---- growing and shrinking ---- */

static int ngrowths;

static void note_growth(void *arg)
{
	++*(int *)arg;
}

static void watch_growth(void)
{
	ngrowths = 0;
	mem.on_growth = note_growth;
	mem.arg = &ngrowths;
}

/* As a loop does a second later. Returns whether more is to come. */
static bool look(void)
{
	return mem.grown = tni_mem_trim(&mem);
}

static struct tni_blk *many[1000];

static void use_many(struct tni_pool *pool, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		assert_non_null(many[i] = tni_blk_get(pool));
	for (uint32_t i = 0; i < n; i++)
		tni_blk_unref(many[i]);
}

static void test_pools_grow_and_shrink(void **state)
{
	struct tni_pool *pools[] = {&mem.small, &mem.large};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct tni_pool *pool = pools[i];

		watch_growth();
		use_many(pool, pool->keep);
		assert_int_equal(ngrowths, 0);
		use_many(pool, 1000);
		assert_int_equal(pool->nfree, 1000);
		assert_int_equal(ngrowths, 1);
		/* As long as it is needed it stays, and costs nothing. */
		for (int second = 0; second < 3; second++) {
			assert_true(look());
			nallocs = 0;
			use_many(pool, 900);
			assert_int_equal(nallocs, 0);
			assert_true(pool->nfree >= 900);
		}
		/* Fewer are needed, then none. */
		use_many(pool, 400);
		assert_true(look());
		use_many(pool, 400);
		assert_true(look());
		assert_true(pool->nfree >= 400 && pool->nfree <= 400 + pool->keep);
		assert_false(look() && look());
		assert_int_equal(pool->nfree, pool->keep);
		assert_false(mem.grown);
		use_many(pool, pool->keep + 1);
		assert_int_equal(ngrowths, 2);
		look();
		look();
	}
}

/* Those at the end have been free for the longest: the hot ones stay. */
static void test_hot_blocks_stay(void **state)
{
	struct tni_blk *last;

	(void)state;
	watch_growth();
	use_many(&mem.small, 1000);
	last = many[999];
	look();
	look();
	assert_ptr_equal(tni_blk_get(&mem.small), last);
	tni_blk_unref(last);
}

/* One slice that stays out for long does not keep all that a burst took. */
static void test_slices_shrink_around_one(void **state)
{
	enum { N = 100000 };
	static struct tni_slice *slices[N];
	struct tni_blk *blk = tni_blk_get(&mem.small);

	(void)state;
	watch_growth();
	for (int i = 0; i < N; i++) {
		assert_non_null(slices[i] = tni_slice_get(&mem));
		*slices[i] = (struct tni_slice){.blk = blk, .len = (uint32_t)i};
	}
	assert_true(mem.grown);
	assert_true(look()); /* nothing is free */
	for (int i = 0; i < N; i++)
		if (i != N / 2)
			tni_slice_put(&mem, slices[i]);
	look();
	assert_int_equal(mem.nslabs, TNI_SLABS_KEPT);
	assert_int_equal(slices[N / 2]->len, N / 2);
	for (int i = 0; i < N; i++) { /* what is left is whole */
		struct tni_slice *slice = i == N / 2 ? slices[i] : tni_slice_get(&mem);

		assert_true(i == N / 2 || slice != slices[N / 2]);
		slices[i] = slice;
		slice->blk = blk;
	}
	for (int i = 0; i < N; i++)
		tni_slice_put(&mem, slices[i]);
	look();
	assert_int_equal(mem.nslabs, TNI_SLABS_KEPT);
	tni_blk_unref(blk);
}

static void test_no_memory(void **state)
{
	struct tni_blk *blk = tni_blk_get(&mem.small);

	(void)state;
	tni_blk_unref(blk);
	no_memory = true;
	assert_null(tni_blk_get(&mem.large));
	assert_null(tni_blk_new(1));
	assert_int_equal(mem.large.nout, 0);
	assert_ptr_equal(tni_blk_get(&mem.small), blk);
	assert_null(tni_blk_get(&mem.small));
	assert_int_equal(mem.small.nout, 1);
	no_memory = false;
	tni_blk_unref(blk);
}

static void test_lone_blocks(void **state)
{
	struct tni_blk *blk = tni_blk_new(200000);

	(void)state;
	assert_non_null(blk);
	assert_int_equal(blk->cap, 200000);
	assert_int_equal(blk->refs, 1);
	assert_int_equal(blk->used, 0);
	memset(blk->data, 3, blk->cap);
	tni_blk_ref(blk);
	tni_blk_unref(blk);
	tni_blk_unref(blk);
	assert_int_equal(mem.large.nout + mem.large.nfree, 0);
	/* More than a slice can tell the length of. */
	nallocs = 0;
	assert_null(tni_blk_new((size_t)UINT32_MAX + 1));
	assert_null(tni_blk_new(SIZE_MAX));
	assert_int_equal(nallocs, 0);
}

struct engine {
	struct tni_blk_home home;
	struct tni_blk *back;
	int nback;
};

static void engine_put(struct tni_blk_home *home, struct tni_blk *blk)
{
	struct engine *engine = (struct engine *)(void *)home;

	engine->back = blk;
	engine->nback++;
}

/* An engine's block goes back to its ring of buffers, not to a pool. */
static void test_own_home(void **state)
{
	struct engine engine = {.home.put = engine_put};
	struct tni_blk blk = {.home = &engine.home, .refs = 1};

	(void)state;
	tni_blk_ref(&blk);
	tni_blk_unref(&blk);
	assert_int_equal(engine.nback, 0);
	tni_blk_unref(&blk);
	assert_int_equal(engine.nback, 1);
	assert_ptr_equal(engine.back, &blk);
}

/* ---- the starved ---- */

static int nreturns;
static struct tni_blk *caught;

static void note_return(void *arg)
{
	assert_ptr_equal(arg, &nreturns);
	nreturns++;
	mem.starved = 0;
	caught = tni_blk_get(&mem.small);
}

static void test_starved_are_told(void **state)
{
	struct tni_blk *a = tni_blk_get(&mem.small), *b = tni_blk_get(&mem.small), *lone = tni_blk_new(10);

	(void)state;
	mem.on_return = note_return;
	mem.arg = &nreturns;
	nreturns = 0;
	tni_blk_unref(a); /* nobody is starved */
	assert_int_equal(nreturns, 0);
	assert_ptr_equal(tni_blk_get(&mem.small), a);
	mem.starved = 1;
	tni_blk_ref(a);
	tni_blk_unref(a); /* it is not back yet */
	tni_blk_unref(lone);
	assert_int_equal(nreturns, 0);
	tni_blk_unref(a);
	assert_int_equal(nreturns, 1);
	assert_ptr_equal(caught, a); /* who is told can have the block at once */
	tni_blk_unref(b);
	assert_int_equal(nreturns, 1);
	tni_blk_unref(caught);
}

/* Also when the pool keeps no more and the block is freed. */
static void test_starved_are_told_of_freed_blocks(void **state)
{
	struct tni_blk *blk = tni_blk_get(&mem.large);

	(void)state;
	mem.on_return = note_return;
	mem.arg = &nreturns;
	nreturns = 0;
	mem.starved = 1;
	mem.large.keep = 0;
	tni_blk_unref(blk);
	assert_int_equal(nreturns, 1);
	tni_blk_unref(caught);
}

/* ---- slices ---- */

#define NSLICES 1000

static void test_slices(void **state)
{
	struct tni_slice *slices[NSLICES], *last;

	(void)state;
	nallocs = 0;
	for (int i = 0; i < NSLICES; i++) {
		assert_non_null(slices[i] = tni_slice_get(&mem));
		memset(slices[i], 0x5a, sizeof(*slices[i]));
		slices[i]->len = (uint32_t)i;
	}
	assert_int_equal(mem.nslices_out, NSLICES);
	assert_true(nallocs < NSLICES / 50); /* they come by the slab */
	for (int i = 0; i < NSLICES; i++)
		assert_int_equal(slices[i]->len, i); /* no two are the same */
	for (int i = 0; i < NSLICES; i++)
		tni_slice_put(&mem, slices[i]);
	assert_int_equal(mem.nslices_out, 0);
	nallocs = 0;
	assert_ptr_equal(last = tni_slice_get(&mem), slices[NSLICES - 1]);
	assert_int_equal(nallocs, 0);
	tni_slice_put(&mem, last);
}

static void test_slices_without_memory(void **state)
{
	struct tni_slice *slice;

	(void)state;
	no_memory = true;
	assert_null(tni_slice_get(&mem));
	assert_int_equal(mem.nslices_out, 0);
	no_memory = false;
	assert_non_null(slice = tni_slice_get(&mem));
	no_memory = true;
	tni_slice_put(&mem, slice);
	assert_ptr_equal(tni_slice_get(&mem), slice);
	tni_slice_put(&mem, slice);
}

/* A burst is not paid for ever after. */
static void test_slices_of_a_burst_are_given_back(void **state)
{
	enum { N = 100000 };
	static struct tni_slice *slices[N];
	struct tni_slice *slice;

	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++)
			assert_non_null(slices[i] = tni_slice_get(&mem));
		assert_true(mem.nslabs > TNI_SLABS_KEPT);
		for (int i = 0; i < N; i++)
			tni_slice_put(&mem, slices[i]);
		assert_int_equal(mem.nslabs, TNI_SLABS_KEPT);
		assert_non_null(slice = tni_slice_get(&mem));
		tni_slice_put(&mem, slice);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sizes),
		TEST(test_last_freed_is_handed_out_first),
		TEST(test_reused_block_is_as_new),
		TEST(test_references),
		TEST(test_free_list_is_bounded),
		TEST(test_pools_grow_and_shrink),
		TEST(test_hot_blocks_stay),
		TEST(test_slices_shrink_around_one),
		TEST(test_no_memory),
		TEST(test_lone_blocks),
		TEST(test_own_home),
		TEST(test_starved_are_told),
		TEST(test_starved_are_told_of_freed_blocks),
		TEST(test_slices),
		TEST(test_slices_without_memory),
		TEST(test_slices_of_a_burst_are_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
