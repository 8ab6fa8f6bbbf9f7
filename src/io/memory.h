/*
 * Descriptors whose bytes go through memory that is shared with another process, and not through system calls
 * (TNI_FD_MEMORY). io/ready.c treats them as it does others: what is tried is a function, and what tells that it is
 * worth trying is a look into memory. Those on which something happens lately are hot: the loop looks at them in each
 * turn and while it spins, so nobody needs to wake it. Before the loop sleeps it says so to the other side of each, and
 * from then on something has to come on the descriptor itself.
 */
#ifndef TNI_IO_MEMORY_H
#define TNI_IO_MEMORY_H

#include "io/loop.h"

struct tni_memory;

struct tni_memory_ops {
	/* RECV and SEND: as tni_attempt(). */
	int (*attempt)(struct tn_loop *loop, struct tni_memory *memory, struct tni_op *op);
	/* What of `want` can be tried: TNI_RD, TNI_WR. One look. */
	unsigned (*look)(const struct tni_memory *memory, unsigned want);
	/* From now on the descriptor is to tell what of `want` can be tried. It is looked at once more afterwards. */
	void (*sleep)(struct tni_memory *memory, unsigned want);
	void (*wake)(struct tni_memory *memory);
};

/* Its descriptor's `done` points here. */
struct tni_memory {
	struct tni_fd_done done;
	const struct tni_memory_ops *ops;
	struct tni_fd *fd;
	struct tni_list node; /* among those that are hot; alone: it is asleep, or nobody waits for it */
	unsigned in_vain;     /* turns in which it was looked at, and nothing was there */
};

#ifdef TNI_HAVE_SHM

static inline struct tni_memory *tni_memory_of(const struct tni_fd *fd)
{
	return fd->flags & TNI_FD_MEMORY ? tni_container_of(fd->done, struct tni_memory, done) : NULL;
}

/* It is about to be tried: it is hot from now on. */
void tni_memory_heat(struct tn_loop *loop, struct tni_memory *memory);

/* Tries what can be. Once a turn. */
void tni_memory_turn(struct tn_loop *loop);

/* The same while the loop spins. */
void tni_memory_look(struct tn_loop *loop);

/* The loop is about to sleep. False: it must not, since something can be tried, which the next turn does. */
bool tni_memory_sleep(struct tn_loop *loop);

static inline bool tni_memory_is_hot(const struct tn_loop *loop)
{
	return !tni_list_empty(&loop->hot);
}

/* Whether the engine need not be asked now, since that was done a moment ago (loop->asked_ns, the caller's to set):
 * `now` is the clock's. Asked before memory is looked at: where that has something at every look, sockets would never
 * have their turn. */
bool tni_memory_is_enough(const struct tn_loop *loop, uint64_t now);

#else

#define tni_memory_of(fd) ((struct tni_memory *)NULL)
#define tni_memory_heat(loop, memory) ((void)(loop), (void)(memory))
#define tni_memory_turn(loop) ((void)(loop))
#define tni_memory_look(loop) ((void)(loop))
#define tni_memory_sleep(loop) true
#define tni_memory_is_hot(loop) false
#define tni_memory_is_enough(loop, now) ((void)(now), false)

#endif

#endif
