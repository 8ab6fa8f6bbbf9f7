/* Memory that one thread fills and another frees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/arena.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static _Atomic(unsigned) allocations;
static bool fails;

void *__wrap_malloc(size_t size)
{
	allocations++;
	return fails ? NULL : __real_malloc(size);
}

static void test_pieces_stand_apart(void **state)
{
	unsigned char *pieces[400];

	(void)state;
	tni_arena_enter();
	for (size_t i = 0; i < 400; i++) {
		pieces[i] = tni_arena_get(i * 7 % 1500);
		assert_non_null(pieces[i]);
		assert_int_equal((uintptr_t)pieces[i] % sizeof(void *), 0);
		memset(pieces[i], (int)i, i * 7 % 1500);
	}
	for (size_t i = 0; i < 400; i++) {
		for (size_t k = 0; k < i * 7 % 1500; k++)
			assert_int_equal(pieces[i][k], (unsigned char)i);
		tni_arena_put(pieces[i]);
	}
	tni_arena_leave();
}

/* Who gives back as it takes needs no more than a few allocations, however long it goes on. */
static void test_memory_is_used_again(void **state)
{
	unsigned before = allocations;

	(void)state;
	tni_arena_enter();
	for (int i = 0; i < 100000; i++)
		tni_arena_put(tni_arena_get(100));
#ifndef __SANITIZE_ADDRESS__
	assert_true(allocations - before <= 4);
#endif
	tni_arena_leave();
	(void)before;
}

/* That is what it is for: some 30 pieces of 100 bytes share 4 KiB, while all of them are out. */
static void test_many_pieces_share_one_allocation(void **state)
{
	void *pieces[1000];
	unsigned before = allocations;

	(void)state;
	tni_arena_enter();
	for (size_t i = 0; i < 1000; i++)
		assert_non_null(pieces[i] = tni_arena_get(100));
#ifndef __SANITIZE_ADDRESS__
	assert_true(allocations - before <= 1000 / 30);
#endif
	for (size_t i = 0; i < 1000; i++)
		tni_arena_put(pieces[i]);
	tni_arena_leave();
	(void)before;
}

static void test_without_memory(void **state)
{
	void *pieces[1000];
	int n = 0;

	(void)state;
	tni_arena_enter();
	fails = true;
	while (n < 999 && (pieces[n] = tni_arena_get(500)))
		n++;
	assert_true(n < 999);
	assert_null(tni_arena_get(100000));
	fails = false;
	assert_non_null(pieces[n++] = tni_arena_get(500));
	while (n > 0)
		tni_arena_put(pieces[--n]);
	tni_arena_leave();
}

/* One thread fills, another frees; both end before all is back. */
#define PIECES 20000

static _Atomic(uint32_t *) queue[PIECES];

static void *fill(void *arg)
{
	for (uint32_t i = 0; i < PIECES; i++) {
		uint32_t *piece = tni_arena_get(sizeof(*piece) + i % 64);

		if (piece)
			*piece = i;
		queue[i] = piece;
	}
	return arg;
}

static void test_one_fills_and_another_frees(void **state)
{
	pthread_t thread;

	(void)state;
	tni_arena_enter();
	for (int round = 0; round < 3; round++) {
		uint32_t *piece;

		memset(queue, 0, sizeof(queue));
		assert_int_equal(pthread_create(&thread, NULL, fill, NULL), 0);
		for (uint32_t i = 0; i < PIECES - 10; i++) {
			while (!(piece = queue[i]))
				;
			assert_int_equal(*piece, i);
			tni_arena_put(piece);
		}
		pthread_join(thread, NULL);
		for (uint32_t i = PIECES - 10; i < PIECES; i++)
			tni_arena_put(queue[i]);
	}
	tni_arena_leave();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces_stand_apart),
		cmocka_unit_test(test_memory_is_used_again),
		cmocka_unit_test(test_many_pieces_share_one_allocation),
		cmocka_unit_test(test_without_memory),
		cmocka_unit_test(test_one_fills_and_another_frees),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
