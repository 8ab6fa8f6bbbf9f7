/*
 * Memory that one thread fills and another frees, without a lock and without an allocation for each piece. Every thread
 * fills an arena of its own from front to end; when its last piece has been given back, it is used again, by any
 * thread.
 */
#ifndef TNI_BASE_ARENA_H
#define TNI_BASE_ARENA_H

#include <stddef.h>

/* A piece for this thread to fill, aligned as for a pointer. NULL without memory. */
void *tni_arena_get(size_t size);

/* Gives it back, from any thread. */
void tni_arena_put(void *piece);

/* Who uses arenas says so, and says when it does not any more: with the last one, those that are empty are freed. */
void tni_arena_enter(void);
void tni_arena_leave(void);

#endif
