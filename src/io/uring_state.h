/* What the files of the io_uring engine share. */
#ifndef TNI_IO_URING_STATE_H
#define TNI_IO_URING_STATE_H

#include "io/fault.h"
#include "io/loop.h"
#include "io/ready.h"
#include "io/uring.h"

#include <errno.h>
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SQ_ENTRIES 512
#define CQ_ENTRIES (SQ_ENTRIES * 8)

/* 128 x 16 KiB measured best for small messages; a bigger ring would only be colder. */
#define RING_BUFS 128
#define RING_BUF_CAP (16 * 1024)
#define RING_GROUP 1
#define BUFS_SIZE ((size_t)RING_BUFS * (RING_BUF_CAP + sizeof(struct io_uring_buf)))

/* How much there is of everything; less under the fault engine. */
struct ring_size {
	unsigned sq, cq, bufs, buf_cap;
};

extern const struct ring_size tni_uring_full;

/*
 * For the datagrams of connected UDP sockets, which no buffer here cuts; made when the first such socket comes. The
 * distance is no power of two: 64 KiB apart they would all fall into the same few cache lines.
 */
#define DGRAM_BUFS 128
#define DGRAM_BUF_CAP (64 * 1024)
#define DGRAM_STRIDE (DGRAM_BUF_CAP + 4096 + 64)
#define DGRAM_GROUP 2
#define DGRAMS_SIZE ((size_t)DGRAM_BUFS * (DGRAM_STRIDE + sizeof(struct io_uring_buf)))

#define SEND_IOV_MAX 16
#define SCRATCH_MSGS SQ_ENTRIES

enum mode {
	MODE_RING,    /* multishot receive */
	MODE_LEAVING, /* its cancellation is under way; readiness next */
	MODE_READY,   /* by poll requests and io/ready.c */
	MODE_OUTSIDE, /* by the epoll set of an embedded loop: uring_embed.c */
};

/* The low 32 bits of user_data hold slot and request kind, the high ones the slot's generation. */
enum request { RQ_ACCEPT = 1, RQ_RECV, RQ_SEND, RQ_POLL_IN, RQ_POLL_OUT, RQ_POLL_HUP, RQ_IGNORED, RQ_DGRAM };

#define KIND_SHIFT 24
#define SLOT_MASK ((1ULL << KIND_SHIFT) - 1)

struct scratch_msg {
	struct msghdr msg;
	struct iovec iov[SEND_IOV_MAX];
};

struct uring_state {
	struct io_uring ring;
	struct tni_blk_home home;
	struct io_uring_buf_ring *bufs;
	unsigned char *memory;
	struct tni_blk blks[RING_BUFS];
	struct io_uring_buf_ring *dgrams; /* at the start of its memory, the buffers behind it */
	struct scratch_msg *scratch;      /* message headers, needed only until the submission is consumed */
	unsigned nscratch;
	struct tni_mem *mem;
	struct ring_size size;
	struct io_uring_sqe
		*early; /* asked for before the loop has run, when there was no room left: see uring_submit.c */
	unsigned nearly, cap_early;
	uint64_t to_fail; /* the request that the fault engine makes fail with its next result; 0: none */
	bool enabled;
	int epoll_fd, event_fd; /* once the loop is embedded: see uring_embed.c; -1 before */
};

/* ---- uring_ring.c: the ring and its buffers ---- */

int tni_uring_new(struct tni_mem *mem, const struct ring_size *size, struct uring_state **out);
void tni_uring_free(struct uring_state *st);

/*
 * The ring belongs to the thread that enables it, which must be the one that runs the loop; a loop is often made by one
 * thread and run by another. So it is enabled on first use.
 */
static inline int tni_uring_enable(struct uring_state *st)
{
	/* liburing 2.3 declares io_uring_enable_rings() and does not export it. */
	if (!st->enabled &&
	    syscall(__NR_io_uring_register, st->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
		return -errno;
	st->enabled = true;
	return 0;
}

/* A buffer of the ring in which so many bytes have come. Its last reference gives it back. */
static inline struct tni_blk *tni_uring_buf_take(struct uring_state *st, unsigned id, int len)
{
	struct tni_blk *blk = &st->blks[id];

	tni_blk_begin(blk, (uint32_t)len);
	return blk;
}

/* Makes the buffers for datagrams. 0, or -errno. */
int tni_uring_open_dgrams(struct uring_state *st);

static inline unsigned char *tni_uring_dgram(struct uring_state *st, unsigned id)
{
	return (unsigned char *)st->dgrams + DGRAM_BUFS * sizeof(struct io_uring_buf) + (size_t)id * DGRAM_STRIDE;
}

/* Gives one back. */
static inline void tni_uring_dgram_put(struct uring_state *st, unsigned id)
{
	io_uring_buf_ring_add(st->dgrams, tni_uring_dgram(st, id), DGRAM_BUF_CAP, (unsigned short)id,
			      io_uring_buf_ring_mask(DGRAM_BUFS), 0);
	io_uring_buf_ring_advance(st->dgrams, 1);
}

/* ---- uring_test.c ---- */

/* Whether the ring does here what it is for. 0, or -errno: the same for every loop of the process. */
int tni_uring_works(void);

/* ---- uring_submit.c: requests. 0, or -ENOMEM ---- */

static inline uint64_t tni_uring_key(const struct tn_loop *loop, const struct tni_fd *fd, enum request kind)
{
	return tni_slot_key(loop, fd) | (uint64_t)kind << KIND_SHIFT;
}

/* Of a request whose result the fault engine may choose. */
static inline unsigned tni_uring_op_kind(const struct tni_fd *fd, enum request kind)
{
	return kind == RQ_ACCEPT || kind == RQ_RECV || kind == RQ_DGRAM ? fd->rd.kind
	       : kind == RQ_SEND                                        ? fd->wr.kind
									: TNI_OP_POLL_IN;
}

int tni_uring_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op);
int tni_uring_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op);
void tni_uring_recall(struct tn_loop *loop, struct tni_fd *fd);
void tni_uring_release(struct tn_loop *loop, struct tni_fd *fd);
int tni_uring_watch(struct tn_loop *loop, struct tni_fd *fd, unsigned want);

/* A poll for TNI_RD or TNI_WR; an accept, a receive of bytes (which waits first), of datagrams; an end to one. */
int tni_uring_poll(struct tn_loop *loop, struct tni_fd *fd, unsigned want);
int tni_uring_accept(struct tn_loop *loop, struct tni_fd *fd);
int tni_uring_recv(struct tn_loop *loop, struct tni_fd *fd, bool poll_first);
int tni_uring_recv_dgrams(struct tn_loop *loop, struct tni_fd *fd);
int tni_uring_cancel_request(struct tn_loop *loop, struct tni_fd *fd, enum request kind);

/* Puts into the ring what waited for the thread that runs the loop. */
int tni_uring_put_early(struct uring_state *st);

/* ---- uring_embed.c: a loop inside another one ---- */

int tni_uring_open_pollable(struct tn_loop *loop);
int tni_uring_after_turn(struct tn_loop *loop);
bool tni_uring_owes(const struct tn_loop *loop);

/* Waits for whatever the ring or the epoll set has to tell. 0, or -errno. */
int tni_uring_wait_outside(struct tn_loop *loop, uint64_t timeout_ns);

/* Whether a descriptor's readiness is told by the epoll set, and has it told. 0, or -errno. */
bool tni_uring_is_outside(const struct tn_loop *loop, const struct tni_fd *fd);
int tni_uring_watch_outside(struct tn_loop *loop, struct tni_fd *fd, unsigned want);
void tni_uring_leave_outside(struct tn_loop *loop, struct tni_fd *fd);

#endif
