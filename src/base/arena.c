#include "base/arena.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* Small, so that a piece that is kept for long keeps little else. */
#define CAP (4096 - 64)

/* Longer pieces are allocated by themselves. */
#define PIECE_MAX (CAP / 4)

/* So many empty arenas are kept for the next who needs one. */
#define SPARE_MAX 32

/* Stands in `left` for the pieces that its thread has not filled yet. */
#define OPEN (1U << 31)

struct arena {
	struct arena *next;     /* of the spare ones */
	_Atomic(uint32_t) left; /* pieces that are out; while its thread fills it, OPEN minus those that are back */
	uint32_t used, given;   /* its thread's: bytes, and pieces */
	alignas(16) unsigned char bytes[CAP];
};

/* In front of each piece. */
struct head {
	struct arena *arena; /* NULL: a piece by itself */
};

static _Thread_local struct arena *mine;
static _Atomic(struct arena *) spare;
static _Atomic(int) nspare, users;
static pthread_key_t at_exit;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool can_end; /* threads that end give back theirs */

static void put_spare(struct arena *first, struct arena *last)
{
	struct arena *next = atomic_load_explicit(&spare, memory_order_relaxed);

	do
		last->next = next;
	while (!atomic_compare_exchange_weak_explicit(&spare, &next, first, memory_order_release,
						      memory_order_relaxed));
}

static struct arena *take_spares(void)
{
	return atomic_load_explicit(&spare, memory_order_relaxed)
		       ? atomic_exchange_explicit(&spare, NULL, memory_order_acquire)
		       : NULL;
}

/* All are taken and all but one put back: to take one by comparing pointers could meet it again with another next. */
static struct arena *take_spare(void)
{
	struct arena *a = take_spares(), *last;

	if (!a)
		return NULL;
	atomic_fetch_sub(&nspare, 1);
	if ((last = a->next)) {
		while (last->next)
			last = last->next;
		put_spare(a->next, last);
	}
	return a;
}

static void free_spares(void)
{
	struct arena *a = take_spares(), *next;

	for (; a; a = next) {
		next = a->next;
		atomic_fetch_sub(&nspare, 1);
		free(a);
	}
}

/* Nobody has anything of it. */
static void recycle(struct arena *a)
{
	if (atomic_fetch_add(&nspare, 1) >= SPARE_MAX) {
		atomic_fetch_sub(&nspare, 1);
		free(a);
		return;
	}
	put_spare(a, a);
	if (!atomic_load(&users)) /* a thread that ends after the last user */
		free_spares();
}

/* Its thread fills it no more. */
static void retire(struct arena *a)
{
	uint32_t change = a->given - OPEN;

	if (atomic_fetch_add_explicit(&a->left, change, memory_order_acq_rel) + change == 0)
		recycle(a);
}

static void thread_ends(void *arg)
{
	(void)arg;
	if (mine)
		retire(mine);
	mine = NULL;
}

static void prepare(void)
{
	can_end = pthread_key_create(&at_exit, thread_ends) == 0;
}

static struct arena *begin(void)
{
	struct arena *a;

	pthread_once(&once, prepare);
	if (!can_end || pthread_setspecific(at_exit, &mine) != 0)
		return NULL;
	if (mine)
		retire(mine);
	mine = NULL;
	a = take_spare();
	if (!a)
		a = malloc(sizeof(*a));
	if (!a)
		return NULL;
	a->used = a->given = 0;
	atomic_store_explicit(&a->left, OPEN, memory_order_relaxed);
	return mine = a;
}

static void *alone(size_t size)
{
	struct head *head = malloc(sizeof(*head) + size);

	if (!head)
		return NULL;
	head->arena = NULL;
	return head + 1;
}

void *tni_arena_get(size_t size)
{
	size_t need = (sizeof(struct head) + size + sizeof(struct head) - 1) & ~(sizeof(struct head) - 1);
	struct arena *a = mine;
	struct head *head;

#ifdef __SANITIZE_ADDRESS__
	return alone(size); /* so that it sees who uses a piece too long */
#endif
	if (need > PIECE_MAX)
		return alone(size);
	if (!a || a->used + need > CAP)
		a = begin();
	if (!a)
		return alone(size);
	head = (struct head *)(void *)(a->bytes + a->used);
	head->arena = a;
	a->used += (uint32_t)need;
	a->given++;
	return head + 1;
}

void tni_arena_put(void *piece)
{
	struct head *head = (struct head *)piece - 1;
	struct arena *a = head->arena;

	if (!a)
		free(head);
	else if (atomic_fetch_sub_explicit(&a->left, 1, memory_order_acq_rel) == 1)
		recycle(a);
}

void tni_arena_enter(void)
{
	atomic_fetch_add(&users, 1);
}

void tni_arena_leave(void)
{
	if (atomic_fetch_sub(&users, 1) == 1)
		free_spares();
}
