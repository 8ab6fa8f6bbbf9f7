/*
 * The contract between the engines and everything above them.
 *
 * A descriptor that takes part in a loop is a `struct tni_fd`; it carries one operation for each direction, embedded,
 * so that starting one allocates nothing. An operation completes exactly once; the multishot ones (ACCEPT, RECV,
 * RECVMM, POLL_IN) report any number of results and stay armed while `more` is true.
 *
 *   submit   starts fd->rd or fd->wr. 0: in flight, done() will be called from wait(), never from inside submit.
 *            TNI_DONE: finished at once, the result is in op->res and done() will not be called.
 *            < 0: refused (-ENOMEM), nothing is in flight.
 *   cancel   asks for an operation to end. TNI_DONE: it has ended, done() will not be called. 0: done() will be called
 *            with -ECANCELED, or with the result that won the race. CONNECT, POLL_IN and POLL_OUT end at once always.
 *            SPLICE_IN and SPLICE_OUT may end later, but no result wins: their pipe is left alone from now on.
 *   release  forgets a descriptor with nothing in flight. The owner closes it afterwards.
 *   wait     submits what is owed, sleeps for at most timeout_ns, calls done() for what has completed.
 *
 * What is in flight is known by a slot with a generation, never by descriptor: a late event for a released descriptor
 * finds nothing and is dropped.
 *
 * Results: ACCEPT: a descriptor. RECV: bytes, with op->blk holding them (the reference is handed over); 0 at the end of
 * the stream. SEND: bytes sent of op->buf, whose owner consumes them. CONNECT: 0. RECVMM, SENDMM: datagrams. SPLICE_IN:
 * bytes that have gone into op->pipe, which must be empty; 0 at the end of the stream. SPLICE_OUT: bytes that have gone
 * out of it. Both want a descriptor with O_NONBLOCK, and leave pipe->len to the owner.
 * POLL_IN, POLL_OUT: poll(2) bits. Errors: -errno, and the operation is no longer armed. -ENOBUFS from RECV and RECVMM:
 * no memory for bytes; submit again when some has come back.
 */
#ifndef TNI_IO_IO_H
#define TNI_IO_IO_H

#include "base/buf.h"
#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct tn_loop;
struct tn_addr;
struct tni_pipe;

#define TNI_DONE 1

enum tni_op_kind {
	TNI_OP_NONE,
	TNI_OP_ACCEPT,
	TNI_OP_CONNECT,
	TNI_OP_RECV,
	TNI_OP_SEND,
	TNI_OP_RECVMM,
	TNI_OP_SENDMM,
	TNI_OP_SPLICE_IN,
	TNI_OP_SPLICE_OUT,
	TNI_OP_POLL_IN,
	TNI_OP_POLL_OUT,
};

enum tni_op_state {
	TNI_IDLE,
	TNI_ARMED,
	TNI_CANCELLING,
};

/* A batch of datagrams for recvmmsg(2) or sendmmsg(2). */
struct tni_mmsg {
	struct mmsghdr *v;
	unsigned n;
};

struct tni_op {
	int res;
	uint8_t kind;   /* enum tni_op_kind */
	uint8_t state;  /* enum tni_op_state; the engine's to write */
	bool more;      /* valid in done(): still armed */
	bool in_kernel; /* the engine's own: a request of the ring's is out for it */
	union {
		struct tni_blk *blk;        /* RECV: what came */
		struct tn_buf *buf;         /* SEND: what is to go */
		struct tni_mmsg *mm;        /* RECVMM, SENDMM */
		struct tni_pipe *pipe;      /* SPLICE_IN, SPLICE_OUT */
		const struct tn_addr *addr; /* CONNECT; must stay until done() */
	};
};

enum tni_fd_flag {
	TNI_FD_FILE = 1,     /* read(2) and write(2): pipe, terminal, regular file */
	TNI_FD_MESSAGES = 2, /* keeps message boundaries (seqpacket): one piece a message */
	TNI_FD_POLLED = 4,   /* always by readiness, whatever the engine prefers */
	TNI_FD_ALWAYS = 8,   /* cannot be polled and is always ready: a regular file */
	TNI_FD_NOWAIT = 16,  /* no event tells when sending is possible again (unconnected Unix datagrams): -ENOBUFS */
	TNI_FD_RESTORE = 32, /* O_NONBLOCK was set for us on a description others share: take it back */
	TNI_FD_UNIX = 64,    /* a Unix stream: see uring_submit.c for what its multishot receive can miss */
	TNI_FD_PEER = 128,   /* a UDP socket that is connected */
#ifdef TNI_HAVE_SHM
	TNI_FD_MEMORY = 256, /* its bytes go through memory: io/memory.h */
#else
	TNI_FD_MEMORY = 0,
#endif
	TNI_FD_JOINED = 512, /* a UDP socket whose datagrams may come joined: recvmmsg(2) alone tells */
};

/* What is told of the results of a descriptor's operations. */
struct tni_fd_done {
	void (*rd)(struct tni_op *op, int res);
	void (*wr)(struct tni_op *op, int res);
};

struct tni_fd {
	int fd;
	uint32_t slot;  /* 0: not in the engine */
	uint16_t flags; /* enum tni_fd_flag */
	uint8_t ready;  /* what readiness knows: TNI_RD, TNI_WR, TNI_HUP */
	uint8_t mode;   /* the engine's own */
	uint8_t streak;
	uint8_t armed_events;
	const struct tni_fd_done *done;
	struct tni_op rd, wr;
};

struct tni_engine_ops {
	const char *name;
	int (*open)(struct tn_loop *loop, uint64_t seed);
	int (*submit)(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op);
	int (*cancel)(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op);
	void (*release)(struct tn_loop *loop, struct tni_fd *fd);
	int (*wait)(struct tn_loop *loop, uint64_t timeout_ns);
	void (*close)(struct tn_loop *loop);
	/* Takes back a send that the kernel has not been told of yet. NULL: there never is one. */
	void (*recall)(struct tn_loop *loop, struct tni_fd *fd);
	/* For engines built on readiness (io/ready.c): asks for events, and tries one system call. */
	int (*watch)(struct tn_loop *loop, struct tni_fd *fd, unsigned want);
	int (*attempt)(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op);
	/* For a loop inside another one (io/embed.c). open_pollable: a descriptor that polls readable while there are
	 * events to wait for, or -errno; once. after_turn: handles what it has told, so that from now on it tells of
	 * what is new. owes: whether a turn has something to do of which no event tells. The last two may be NULL. */
	int (*open_pollable)(struct tn_loop *loop);
	int (*after_turn)(struct tn_loop *loop);
	bool (*owes)(const struct tn_loop *loop);
};

extern const struct tni_engine_ops tni_engine_uring, tni_engine_epoll, tni_engine_sim;

/* Prepares a descriptor for its owner; nothing is registered anywhere yet. Finds out whether a TNI_FD_FILE can be
 * polled at all. */
void tni_fd_init(struct tni_fd *fd, int sysfd, unsigned flags);

/* Whether epoll(7) takes a descriptor: it does not take regular files, /dev/null and their like. */
bool tni_fd_can_poll(int sysfd);

int tni_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op, enum tni_op_kind kind);
int tni_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op);

/*
 * The same for what must not wait for the end of the turn: by a system call inside this one, whatever the engine, and
 * bent by none. 0: the kernel has no room now, and nothing is in flight.
 */
int tni_submit_now(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op, enum tni_op_kind kind);

/* Takes back a send that the kernel has not been told of yet: fd->wr is idle then. */
void tni_recall(struct tn_loop *loop, struct tni_fd *fd);

/* Makes the engine forget a descriptor that somebody else will close; nothing may be in flight. */
void tni_fd_release(struct tn_loop *loop, struct tni_fd *fd);

/* Releases and closes the descriptor, which must have nothing in flight. */
void tni_fd_close(struct tn_loop *loop, struct tni_fd *fd);

static inline bool tni_op_busy(const struct tni_op *op)
{
	return op->state != TNI_IDLE;
}

/* Slots: the identity of a descriptor in an engine. 0 is never valid. */
int tni_slot_take(struct tn_loop *loop, struct tni_fd *fd);
void tni_slot_drop(struct tn_loop *loop, struct tni_fd *fd);
uint64_t tni_slot_key(const struct tn_loop *loop, const struct tni_fd *fd);

/* It has something to try without waiting for an event: tni_ready_pending() will. It has a slot. */
void tni_slot_put_pending(struct tn_loop *loop, struct tni_fd *fd);

/* Takes the first of a list of those (loop->pending once). NULL: all that are left have been released. */
struct tni_fd *tni_slot_pop_pending(struct tn_loop *loop, uint32_t *list);

/* The descriptor behind a key, or NULL when it has been released since. */
struct tni_fd *tni_slot_find(const struct tn_loop *loop, uint64_t key);

#endif
