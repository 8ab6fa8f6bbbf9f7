/*
 * The io_uring engine. Small messages: multishot accept, multishot receive into a ring of provided buffers, sends
 * gathered into one submission a turn. What readiness serves better goes through io/ready.c, fed by poll requests: bulk
 * streams (a ring of buffers cycles through all its memory and leaves the cache; one hot block does not), datagram
 * batches, message sockets, pipes and files. A stream moves between the two by itself: to readiness when it fills whole
 * ring buffers or finds the ring empty, back when its reads have become small.
 */
#include "io/uring.h"

#include "io/fault.h"
#include "io/loop.h"
#include "io/ready.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define RIPE_MAJOR 6
#define RIPE_MINOR 6

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

static const struct ring_size full_size = {SQ_ENTRIES, CQ_ENTRIES, RING_BUFS, RING_BUF_CAP};

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

/* So many small reads in a row, each at most this long, bring a stream back from readiness to the ring. */
#define SMALL_STREAK 32
#define SMALL_READ 4096

enum mode {
	MODE_RING,    /* multishot receive */
	MODE_LEAVING, /* its cancellation is under way; readiness next */
	MODE_READY,   /* by poll requests and io/ready.c */
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
	struct io_uring_sqe *early; /* asked for before the loop has run, when there was no room left: see get_sqe() */
	unsigned nearly, cap_early;
	uint64_t doomed; /* the request that the fault engine makes fail with its next result; 0: none */
	bool enabled;
};

static uint64_t request_key(const struct tn_loop *loop, const struct tni_fd *fd, enum request kind)
{
	return tni_slot_key(loop, fd) | (uint64_t)kind << KIND_SHIFT;
}

/* Of a request whose result the fault engine may choose. */
static unsigned op_kind_of(const struct tni_fd *fd, enum request kind)
{
	return kind == RQ_ACCEPT || kind == RQ_RECV || kind == RQ_DGRAM ? fd->rd.kind
	       : kind == RQ_SEND                                        ? fd->wr.kind
									: TNI_OP_POLL_IN;
}

/*
 * The last step of preparing a request. One that the fault engine makes fail is never made: what goes in its place
 * finds nothing to cancel, and fail_instead() knows its result by that.
 */
static void name_request(struct tn_loop *loop, const struct tni_fd *fd, struct io_uring_sqe *sqe, enum request kind)
{
	if (loop->fault && tni_fault_strikes(loop, op_kind_of(fd, kind)))
		io_uring_prep_cancel64(sqe, ~0ULL, 0);
	sqe->user_data = request_key(loop, fd, kind);
}

/*
 * The ring belongs to the thread that enables it, which must be the one that runs the loop; a loop is often made by one
 * thread and run by another. So it is enabled on first use.
 */
static int enable(struct uring_state *st)
{
	/* liburing 2.3 declares io_uring_enable_rings() and does not export it. */
	if (!st->enabled &&
	    syscall(__NR_io_uring_register, st->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
		return -errno;
	st->enabled = true;
	return 0;
}

/* Into the ring with what waited for the thread that runs the loop. */
static int put_early(struct uring_state *st)
{
	for (unsigned i = 0; i < st->nearly; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&st->ring);

		if (!sqe && io_uring_submit(&st->ring) >= 0)
			sqe = io_uring_get_sqe(&st->ring);
		if (!sqe)
			return -ENOMEM;
		*sqe = st->early[i];
	}
	free(st->early);
	st->early = NULL;
	st->nearly = st->cap_early = 0;
	return 0;
}

static struct io_uring_sqe *get_early(struct uring_state *st)
{
	if (st->nearly == st->cap_early) {
		unsigned cap = st->cap_early ? st->cap_early * 2 : SQ_ENTRIES;
		struct io_uring_sqe *grown = realloc(st->early, cap * sizeof(*grown));

		if (!grown)
			return NULL;
		st->early = grown;
		st->cap_early = cap;
	}
	return &st->early[st->nearly++];
}

static int submit_now(struct uring_state *st)
{
	int rc = enable(st);

	if (rc < 0)
		return rc;
	rc = put_early(st);
	if (rc < 0)
		return rc;
	rc = io_uring_submit(&st->ring);
	if (!io_uring_sq_ready(&st->ring)) /* otherwise some of the headers are still to be read */
		st->nscratch = 0;
	return rc;
}

/*
 * Before the loop runs the ring belongs to nobody: submitting would give it to this thread, and the one that runs the
 * loop would be refused. Requests for which there is no room wait until then.
 */
static struct io_uring_sqe *get_sqe(struct uring_state *st, bool runs)
{
	struct io_uring_sqe *sqe = st->nearly ? NULL : io_uring_get_sqe(&st->ring);

	if (!sqe && !st->enabled && !runs)
		return get_early(st);
	if (!sqe && submit_now(st) >= 0)
		sqe = io_uring_get_sqe(&st->ring);
	return sqe;
}

/* ---- the ring of receive buffers ---- */

static void ring_buf_put(struct tni_blk_home *home, struct tni_blk *blk)
{
	struct uring_state *st = tni_container_of(home, struct uring_state, home);

	io_uring_buf_ring_add(st->bufs, blk->data, blk->cap, (unsigned short)blk->id,
			      io_uring_buf_ring_mask(st->size.bufs), 0);
	io_uring_buf_ring_advance(st->bufs, 1);
	if (st->mem->starved)
		st->mem->on_return(st->mem->arg);
}

static struct tni_blk *ring_buf_take(struct uring_state *st, unsigned id, int len)
{
	struct tni_blk *blk = &st->blks[id];

	blk->refs = 1;
	blk->used = (uint32_t)len;
	return blk;
}

static int open_bufs(struct uring_state *st)
{
	struct io_uring_buf_reg reg = {.ring_entries = st->size.bufs, .bgid = RING_GROUP};
	int rc;

	st->memory = mmap(NULL, BUFS_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (st->memory == MAP_FAILED) {
		st->memory = NULL;
		return -errno;
	}
	st->bufs = (struct io_uring_buf_ring *)(void *)(st->memory + (size_t)RING_BUFS * RING_BUF_CAP);
	reg.ring_addr = (uint64_t)(uintptr_t)st->bufs;
	rc = io_uring_register_buf_ring(&st->ring, &reg, 0);
	if (rc < 0)
		return rc;
	io_uring_buf_ring_init(st->bufs);
	st->home.put = ring_buf_put;
	for (unsigned i = 0; i < st->size.bufs; i++) {
		st->blks[i] = (struct tni_blk){.home = &st->home,
					       .data = st->memory + (size_t)i * RING_BUF_CAP,
					       .cap = st->size.buf_cap,
					       .id = i};
		st->blks[i].data[0] = 0; /* its first page is there before the first client, not at its cost */
		ring_buf_put(&st->home, &st->blks[i]);
	}
	return 0;
}

static unsigned char *dgram_buf(struct uring_state *st, unsigned id)
{
	return (unsigned char *)st->dgrams + DGRAM_BUFS * sizeof(struct io_uring_buf) + (size_t)id * DGRAM_STRIDE;
}

static void dgram_buf_put(struct uring_state *st, unsigned id)
{
	io_uring_buf_ring_add(st->dgrams, dgram_buf(st, id), DGRAM_BUF_CAP, (unsigned short)id,
			      io_uring_buf_ring_mask(DGRAM_BUFS), 0);
	io_uring_buf_ring_advance(st->dgrams, 1);
}

static int open_dgrams(struct uring_state *st)
{
	struct io_uring_buf_reg reg = {.ring_entries = DGRAM_BUFS, .bgid = DGRAM_GROUP};
	void *memory = mmap(NULL, DGRAMS_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc;

	if (memory == MAP_FAILED)
		return -errno;
	reg.ring_addr = (uint64_t)(uintptr_t)memory;
	rc = io_uring_register_buf_ring(&st->ring, &reg, 0);
	if (rc < 0) {
		munmap(memory, DGRAMS_SIZE);
		return rc;
	}
	st->dgrams = memory;
	io_uring_buf_ring_init(st->dgrams);
	for (unsigned i = 0; i < DGRAM_BUFS; i++)
		dgram_buf_put(st, i);
	return 0;
}

/* ---- set-up ---- */

static int open_ring(struct io_uring *ring, const struct ring_size *size)
{
	struct io_uring_params best = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
						IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
						IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED,
				       .cq_entries = size->cq};
	struct io_uring_params next = {.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
						IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED,
				       .cq_entries = size->cq};
	int rc = io_uring_queue_init_params(size->sq, ring, &best);

	if (rc == -EINVAL)
		rc = io_uring_queue_init_params(size->sq, ring, &next);
	return rc;
}

/*
 * What this engine never asks for, nobody who has got hold of the ring can ask for either: no files, no connections, no
 * registrations but of buffers. The kernel holds to it from when the ring is enabled. All that have what the engine
 * needs have this (Linux 5.10): who refuses it refuses the ring.
 */
static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t ops[] = {IORING_OP_ACCEPT,  IORING_OP_RECV,     IORING_OP_SEND,
				      IORING_OP_SENDMSG, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};
	enum { NOPS = sizeof(ops) / sizeof(ops[0]) };
	struct io_uring_restriction allowed[NOPS + 2] = {0};

	for (int i = 0; i < NOPS; i++)
		allowed[i] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = ops[i]};
	allowed[NOPS] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
						      .sqe_flags = IOSQE_BUFFER_SELECT};
	allowed[NOPS + 1] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_REGISTER_OP,
							  .register_op = IORING_REGISTER_PBUF_RING};
	/* As above: declared, not exported. */
	return syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, allowed, NOPS + 2) < 0
		       ? -errno
		       : 0;
}

static bool put_byte(int fd, char byte)
{
	ssize_t n;

	do
		n = write(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* Two bytes and an end of file through a multishot receive: what kernels and sandboxes get wrong shows here. */
static int self_test_run(struct uring_state *st, int reader, int writer)
{
	struct __kernel_timespec second = {.tv_sec = 1};
	int got = 0, ended = 0, rc = enable(st);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&st->ring);

	if (rc < 0)
		return rc;
	io_uring_prep_recv_multishot(sqe, reader, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = RING_GROUP;
	if (!put_byte(writer, 'a'))
		return -EIO;
	for (int i = 0; i < 8 && !ended; i++) {
		struct io_uring_cqe *cqe;

		do
			rc = io_uring_submit_and_wait_timeout(&st->ring, &cqe, 1, &second, NULL);
		while (rc == -EINTR);
		if (rc < 0)
			return rc;
		if (cqe->res < 0)
			return cqe->res;
		if (cqe->flags & IORING_CQE_F_BUFFER) {
			struct tni_blk *blk = ring_buf_take(st, cqe->flags >> IORING_CQE_BUFFER_SHIFT, cqe->res);

			if (cqe->res != 1 || blk->data[0] != 'a' + got)
				return -EIO;
			got++;
			tni_blk_unref(blk);
		}
		ended = cqe->res == 0;
		io_uring_cqe_seen(&st->ring, cqe);
		if (got == 1 && !ended && !put_byte(writer, 'b'))
			return -EIO;
		if (got == 2 && !ended)
			shutdown(writer, SHUT_WR);
	}
	return got == 2 && ended ? 0 : -EIO;
}

static void uring_free(struct uring_state *st)
{
	io_uring_queue_exit(&st->ring);
	if (st->memory)
		munmap(st->memory, BUFS_SIZE);
	if (st->dgrams)
		munmap(st->dgrams, DGRAMS_SIZE);
	free(st->scratch);
	free(st->early);
	free(st);
}

static int uring_new(struct tni_mem *mem, const struct ring_size *size, struct uring_state **out)
{
	struct uring_state *st = calloc(1, sizeof(*st));
	int rc;

	if (!st)
		return -ENOMEM;
	st->mem = mem;
	st->size = *size;
	st->scratch = malloc(SCRATCH_MSGS * sizeof(*st->scratch));
	rc = st->scratch ? open_ring(&st->ring, size) : -ENOMEM;
	if (rc < 0) {
		free(st->scratch);
		free(st);
		return rc;
	}
	rc = open_bufs(st);
	if (rc == 0)
		rc = restrict_ring(&st->ring);
	if (rc < 0) {
		uring_free(st);
		return rc;
	}
	*out = st;
	return 0;
}

static int self_test(void)
{
	struct tni_mem mem = {0};
	struct uring_state *st;
	int pair[2], rc = uring_new(&mem, &full_size, &st);

	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		rc = -errno;
	} else {
		rc = self_test_run(st, pair[0], pair[1]);
		close(pair[0]);
		close(pair[1]);
	}
	uring_free(st);
	return rc;
}

/* Of what may be there another time. The kernel's refusal for good can be -ENOMEM as well:
 * then each loop asks again. */
static bool is_shortage(int rc)
{
	return rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS;
}

/* The answer is the same for every loop of the process. */
static int self_test_once(void)
{
	static _Atomic(int) verdict = 1;
	int rc = atomic_load(&verdict);

	if (rc > 0) {
		rc = self_test();
		if (!is_shortage(rc))
			atomic_store(&verdict, rc);
	}
	return rc;
}

static int open_sized(struct tn_loop *loop, const struct ring_size *size)
{
	struct uring_state *st;
	int rc = self_test_once();

	if (rc == 0)
		rc = uring_new(&loop->mem, size, &st);
	if (rc == 0)
		loop->engine_state = st;
	return rc;
}

bool tni_uring_is_ripe(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	return uname(&u) == 0 && sscanf(u.release, "%d.%d", &major, &minor) == 2 &&
	       (major > RIPE_MAJOR || (major == RIPE_MAJOR && minor >= RIPE_MINOR));
}

static int uring_open(struct tn_loop *loop, uint64_t seed)
{
	(void)seed;
	return open_sized(loop, &full_size);
}

int tni_uring_open_small(struct tn_loop *loop)
{
	static const struct ring_size small = {8, 16, 4, 64};

	return open_sized(loop, &small);
}

static void uring_close(struct tn_loop *loop)
{
	uring_free(loop->engine_state);
}

/* ---- submitting ---- */

static int poll_for(struct tn_loop *loop, struct tni_fd *fd, unsigned want)
{
	struct uring_state *st = loop->engine_state;
	struct io_uring_sqe *sqe = get_sqe(st, loop->turning);

	if (!sqe)
		return -ENOMEM;
	if (want == TNI_RD) {
		io_uring_prep_poll_multishot(sqe, fd->fd, POLLIN | POLLRDHUP);
		name_request(loop, fd, sqe, RQ_POLL_IN);
	} else {
		io_uring_prep_poll_add(sqe, fd->fd, POLLOUT);
		name_request(loop, fd, sqe, RQ_POLL_OUT);
	}
	fd->armed_events |= want;
	return 0;
}

/* io/ready.c asks for events; each poll request is armed at most once at a time. */
static int uring_watch(struct tn_loop *loop, struct tni_fd *fd, unsigned want)
{
	return fd->armed_events & want ? 0 : poll_for(loop, fd, want);
}

/*
 * A multishot receive that has read the last bytes goes to wait for more although a reset came with them (seen on Linux
 * 6.18), and since 6.17 also although the end of a Unix stream did (liburing issue 1549). It waits for ever: the socket
 * tells such a thing once. A poll for the hang-up tells; TCP's ends are not missed, and no reason to leave the ring.
 */
static int watch_hangup(struct tn_loop *loop, struct tni_fd *fd)
{
	struct io_uring_sqe *sqe;

	if (fd->armed_events & TNI_HUP)
		return 0;
	sqe = get_sqe(loop->engine_state, loop->turning);
	if (!sqe)
		return -ENOMEM;
	io_uring_prep_poll_add(sqe, fd->fd, fd->flags & TNI_FD_UNIX ? POLLRDHUP : 0);
	name_request(loop, fd, sqe, RQ_POLL_HUP);
	fd->armed_events |= TNI_HUP;
	return 0;
}

static int cancel_request(struct tn_loop *loop, struct tni_fd *fd, enum request kind)
{
	struct io_uring_sqe *sqe = get_sqe(loop->engine_state, loop->turning);

	if (!sqe)
		return -ENOMEM;
	/* All: a poll that ended by itself just before it was told to may have a successor of the same name. */
	io_uring_prep_cancel64(sqe, request_key(loop, fd, kind), IORING_ASYNC_CANCEL_ALL);
	sqe->user_data = (uint64_t)RQ_IGNORED << KIND_SHIFT;
	return 0;
}

static int submit_recv(struct tn_loop *loop, struct tni_fd *fd, bool poll_first)
{
	int rc = watch_hangup(loop, fd);
	struct io_uring_sqe *sqe = rc < 0 ? NULL : get_sqe(loop->engine_state, loop->turning);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_recv_multishot(sqe, fd->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = RING_GROUP;
	if (poll_first)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	name_request(loop, fd, sqe, RQ_RECV);
	fd->rd.in_kernel = true;
	return 0;
}

static int submit_accept(struct tn_loop *loop, struct tni_fd *fd)
{
	struct io_uring_sqe *sqe = get_sqe(loop->engine_state, loop->turning);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_multishot_accept(sqe, fd->fd, NULL, NULL, SOCK_CLOEXEC);
	name_request(loop, fd, sqe, RQ_ACCEPT);
	fd->rd.in_kernel = true;
	return 0;
}

/*
 * A Unix stream's send that has to wait is not left to the ring: it may end up in a worker thread that blocks in the
 * socket, and there a cancellation does not find it (seen on Linux 6.18). on_send() goes on by readiness.
 */
static int send_flags(const struct tni_fd *fd)
{
	return fd->flags & TNI_FD_UNIX ? MSG_NOSIGNAL | MSG_DONTWAIT : MSG_NOSIGNAL;
}

static int submit_send(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct uring_state *st = loop->engine_state;
	const struct tni_slice *head = op->buf->head;
	struct io_uring_sqe *sqe = get_sqe(st, loop->turning);
	struct scratch_msg *m;
	size_t total;

	if (!sqe)
		return -ENOMEM;
	if (!head->next || loop->limit) {
		total = loop->limit && loop->limit < head->len ? loop->limit : head->len;
		io_uring_prep_send(sqe, fd->fd, head->data, total, send_flags(fd));
	} else {
		/* There are as many headers as submissions, and both are used up together. */
		m = &st->scratch[st->nscratch++ % SCRATCH_MSGS];
		m->msg = (struct msghdr){.msg_iov = m->iov};
		m->msg.msg_iovlen = (size_t)tni_buf_iov(op->buf, m->iov, SEND_IOV_MAX, &total);
		io_uring_prep_sendmsg(sqe, fd->fd, &m->msg, (unsigned)send_flags(fd));
	}
	name_request(loop, fd, sqe, RQ_SEND);
	op->in_kernel = true;
	return 0;
}

/*
 * Connected UDP sockets, each of which has few datagrams at a time: a client of many of them would make two calls for
 * every message. They receive by the ring until it runs out of buffers (then batches are worth more), and a single
 * datagram is sent by it; several are one call by themselves. One that would have to wait is on_send()'s to see to.
 */
static bool datagram_by_ring(const struct tni_fd *fd, const struct tni_op *op)
{
	if (!(fd->flags & TNI_FD_PEER))
		return false;
	return op->kind == TNI_OP_SENDMM ? op->mm->n == 1 : op->kind == TNI_OP_RECVMM && fd->mode == MODE_RING;
}

static int submit_recv_dgrams(struct tn_loop *loop, struct tni_fd *fd)
{
	struct uring_state *st = loop->engine_state;
	int rc = st->dgrams ? 0 : open_dgrams(st);
	struct io_uring_sqe *sqe = rc < 0 ? NULL : get_sqe(st, loop->turning);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_recv_multishot(sqe, fd->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = DGRAM_GROUP;
	name_request(loop, fd, sqe, RQ_DGRAM);
	fd->rd.in_kernel = true;
	return 0;
}

static int submit_datagram(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	const struct iovec *iov = op->mm->v[0].msg_hdr.msg_iov;
	struct io_uring_sqe *sqe = get_sqe(loop->engine_state, loop->turning);

	if (!sqe)
		return -ENOMEM;
	io_uring_prep_send(sqe, fd->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	name_request(loop, fd, sqe, RQ_SEND);
	op->in_kernel = true;
	return 0;
}

static bool by_ring(const struct tni_fd *fd, const struct tni_op *op)
{
	if (fd->flags & (TNI_FD_FILE | TNI_FD_MESSAGES | TNI_FD_POLLED) || fd->mode != MODE_RING)
		return false;
	return op->kind == TNI_OP_ACCEPT || op->kind == TNI_OP_RECV || op->kind == TNI_OP_SEND;
}

static int uring_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	int rc;

	if (!by_ring(fd, op) && !datagram_by_ring(fd, op))
		return tni_ready_submit(loop, fd, op);
	if (!fd->slot) {
		rc = tni_slot_take(loop, fd);
		if (rc < 0)
			return rc;
	}
	if (op->kind == TNI_OP_ACCEPT)
		rc = submit_accept(loop, fd);
	else if (op->kind == TNI_OP_RECV)
		rc = submit_recv(loop, fd, true);
	else if (op->kind == TNI_OP_SENDMM)
		rc = submit_datagram(loop, fd, op);
	else if (op->kind == TNI_OP_RECVMM)
		rc = submit_recv_dgrams(loop, fd);
	else
		rc = submit_send(loop, fd, op);
	if (rc == 0)
		op->state = TNI_ARMED;
	return rc;
}

static int uring_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	enum request kind = op->kind == TNI_OP_ACCEPT   ? RQ_ACCEPT
			    : op->kind == TNI_OP_RECV   ? RQ_RECV
			    : op->kind == TNI_OP_RECVMM ? RQ_DGRAM
							: RQ_SEND;
	int rc = 0;

	if (!op->in_kernel)
		return tni_ready_cancel(loop, fd, op);
	if (kind != RQ_RECV || fd->mode != MODE_LEAVING) /* otherwise it is being cancelled already */
		rc = cancel_request(loop, fd, kind);
	if (rc == 0)
		op->state = TNI_CANCELLING;
	return rc;
}

/* A request that is still in our half of the queue becomes one that does nothing. */
static void uring_recall(struct tn_loop *loop, struct tni_fd *fd)
{
	const struct io_uring_sq *sq = &((struct uring_state *)loop->engine_state)->ring.sq;
	uint64_t key = request_key(loop, fd, RQ_SEND);

	for (unsigned at = sq->sqe_head; at != sq->sqe_tail; at++) {
		struct io_uring_sqe *sqe = &sq->sqes[at & *sq->kring_mask];

		if (sqe->user_data != key || sqe->opcode == IORING_OP_ASYNC_CANCEL) /* the fault engine's */
			continue;
		io_uring_prep_cancel64(sqe, ~0ULL, 0);
		sqe->user_data = (uint64_t)RQ_IGNORED << KIND_SHIFT;
		fd->wr.in_kernel = false;
		fd->wr.state = TNI_IDLE;
		return;
	}
}

static void uring_release(struct tn_loop *loop, struct tni_fd *fd)
{
	struct uring_state *st = loop->engine_state;

	/* Poll requests touch no memory of ours: they are told to end, and their late events find no slot. */
	if (fd->armed_events & TNI_RD)
		cancel_request(loop, fd, RQ_POLL_IN);
	if (fd->armed_events & TNI_WR)
		cancel_request(loop, fd, RQ_POLL_OUT);
	if (fd->armed_events & TNI_HUP)
		cancel_request(loop, fd, RQ_POLL_HUP);
	/* A poll request holds the socket, and with it the address, beyond our close(): the next server wants to bind
	 * it. */
	if ((fd->rd.kind == TNI_OP_RECVMM || fd->rd.kind == TNI_OP_ACCEPT) && fd->armed_events && st->enabled)
		(void)io_uring_submit_and_get_events(&st->ring);
	tni_ready_release(loop, fd);
	fd->mode = MODE_RING;
}

/* ---- completions ---- */

/* What the ring stopped doing goes on by readiness. The socket is tried at once: it may have more already. */
static void go_ready(struct tn_loop *loop, struct tni_fd *fd)
{
	int rc;

	fd->mode = MODE_READY;
	fd->streak = 0;
	fd->ready |= TNI_RD;
	rc = tni_ready_submit(loop, fd, &fd->rd);
	if (rc < 0)
		tni_complete(loop, &fd->rd, rc, false);
}

void tni_uring_interrupt(struct tn_loop *loop, struct tni_fd *fd)
{
	if (fd->rd.in_kernel && fd->rd.state == TNI_ARMED && fd->mode == MODE_RING)
		(void)cancel_request(loop, fd, fd->rd.kind == TNI_OP_ACCEPT ? RQ_ACCEPT : RQ_RECV);
}

static void leave_ring(struct tn_loop *loop, struct tni_fd *fd)
{
	if (cancel_request(loop, fd, RQ_RECV) == 0)
		fd->mode = MODE_LEAVING;
}

/* After a multishot request has ended by itself: goes on unless its owner cancelled it. */
static void rearm(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op, unsigned cqe_flags)
{
	int rc = op->kind == TNI_OP_ACCEPT ? submit_accept(loop, fd)
					   : submit_recv(loop, fd, !(cqe_flags & IORING_CQE_F_SOCK_NONEMPTY));

	if (rc < 0)
		tni_complete(loop, op, rc, false);
}

static void on_recv_data(struct tn_loop *loop, struct tni_fd *fd, int res, unsigned flags)
{
	struct tni_op *op = &fd->rd;
	uint64_t key = tni_slot_key(loop, fd);
	bool full = (unsigned)res == ((struct uring_state *)loop->engine_state)->size.buf_cap,
	     armed = op->state == TNI_ARMED;

	tni_complete(loop, op, res, armed || op->in_kernel);
	if (tni_slot_find(loop, key) != fd || op->state != TNI_ARMED)
		return;
	if (!op->in_kernel && (full || fd->mode == MODE_LEAVING))
		go_ready(loop, fd);
	else if (!op->in_kernel)
		rearm(loop, fd, op, flags);
	else if (full && fd->mode == MODE_RING)
		leave_ring(loop, fd);
}

/* The request has ended, which says nothing about the socket. */
static bool is_mere_end(int res)
{
	return res == -ENOBUFS || res == -ECANCELED || res == -EAGAIN || res == -EINTR;
}

static void on_recv(struct tn_loop *loop, struct tni_fd *fd, int res, unsigned flags)
{
	struct uring_state *st = loop->engine_state;
	struct tni_op *op = &fd->rd;

	op->in_kernel = flags & IORING_CQE_F_MORE;
	if (res > 0 && flags & IORING_CQE_F_BUFFER) {
		op->blk = ring_buf_take(st, flags >> IORING_CQE_BUFFER_SHIFT, res);
		on_recv_data(loop, fd, res, flags);
		return;
	}
	if (flags & IORING_CQE_F_BUFFER) /* an end of stream that took a buffer along */
		tni_blk_unref(ring_buf_take(st, flags >> IORING_CQE_BUFFER_SHIFT, 0));
	if (fd->mode == MODE_LEAVING)
		fd->mode = MODE_READY;
	if (is_mere_end(res) && op->state == TNI_ARMED)
		go_ready(loop, fd);
	else
		tni_complete(loop, op, is_mere_end(res) ? -ECANCELED : res, false); /* the last word: fd may be gone */
}

/* As a batch of one, in the loop's own buffer: the ring has this one back at once. */
static void take_dgram(struct tn_loop *loop, struct tni_op *op, int len, unsigned flags)
{
	struct mmsghdr *m = &op->mm->v[0];
	unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;

	m->msg_len = (unsigned)len;
	m->msg_hdr.msg_flags = 0;
	m->msg_hdr.msg_namelen = 0; /* the ring tells nothing of a datagram but its bytes */
	m->msg_hdr.msg_controllen = 0;
	if (!(flags & IORING_CQE_F_BUFFER))
		return;
	memcpy(m->msg_hdr.msg_iov->iov_base, dgram_buf(loop->engine_state, id), (size_t)len);
	dgram_buf_put(loop->engine_state, id);
}

static void on_dgram(struct tn_loop *loop, struct tni_fd *fd, int res, unsigned flags)
{
	struct tni_op *op = &fd->rd;
	uint64_t key = tni_slot_key(loop, fd);

	op->in_kernel = flags & IORING_CQE_F_MORE;
	if (res < 0) {
		if (is_mere_end(res) && op->state == TNI_ARMED)
			go_ready(loop, fd);
		else
			tni_complete(loop, op, is_mere_end(res) ? -ECANCELED : res, false);
		return;
	}
	take_dgram(loop, op, res, flags);
	tni_complete(loop, op, 1, op->state == TNI_ARMED || op->in_kernel);
	tni_loop_settle(loop); /* before the next of this turn, whosever it is, takes the same place */
	if (tni_slot_find(loop, key) != fd || op->state != TNI_ARMED || op->in_kernel)
		return;
	res = submit_recv_dgrams(loop, fd);
	if (res < 0)
		tni_complete(loop, op, res, false);
}

static void on_accept(struct tn_loop *loop, struct tni_fd *fd, int res, unsigned flags)
{
	struct tni_op *op = &fd->rd;
	uint64_t key = tni_slot_key(loop, fd);
	bool again = res == -ECONNABORTED || res == -EINTR || res == -EAGAIN || res == -EPROTO ||
		     (res == -ECANCELED && op->state == TNI_ARMED); /* not by us: the listener goes on */

	op->in_kernel = flags & IORING_CQE_F_MORE;
	if (again && op->state == TNI_CANCELLING)
		tni_complete(loop, op, -ECANCELED, op->in_kernel);
	else if (!again)
		tni_complete(loop, op, res, op->in_kernel || (res >= 0 && op->state == TNI_ARMED));
	if (tni_slot_find(loop, key) == fd && op->state == TNI_ARMED && !op->in_kernel)
		rearm(loop, fd, op, flags);
}

static void on_send(struct tn_loop *loop, struct tni_fd *fd, int res)
{
	struct tni_op *op = &fd->wr;

	op->in_kernel = false;
	if (op->kind == TNI_OP_SENDMM && res >= 0) /* which tells how many, not how long */
		res = 1;
	if ((res == -EAGAIN || res == -EINTR) && op->state == TNI_ARMED) {
		/* A Unix stream, or a descriptor somebody made non-blocking: the ring does not wait for those. */
		int rc = tni_ready_submit(loop, fd, op);

		if (rc == 0)
			return;
		res = rc < 0 ? rc : op->res;
	}
	if (res == -EAGAIN) /* it would have had to wait, and is not wanted any more */
		res = -ECANCELED;
	tni_complete(loop, op, res, false);
}

/* A stream whose reads have become small goes back to the ring. */
static void maybe_return(struct tn_loop *loop, struct tni_fd *fd)
{
	if (fd->mode != MODE_READY || fd->streak < SMALL_STREAK || fd->rd.state != TNI_ARMED ||
	    fd->rd.kind != TNI_OP_RECV || fd->ready & TNI_HUP)
		return;
	if (cancel_request(loop, fd, RQ_POLL_IN) < 0)
		return;
	tni_list_del(&fd->pending);
	fd->armed_events &= ~(unsigned)TNI_RD;
	fd->ready &= (uint8_t)~TNI_RD;
	fd->mode = MODE_RING;
	if (submit_recv(loop, fd, false) < 0)
		go_ready(loop, fd);
}

static void on_poll(struct tn_loop *loop, struct tni_fd *fd, unsigned dir, int res, unsigned flags)
{
	uint64_t key = tni_slot_key(loop, fd);
	unsigned bits = 0;

	if (!(flags & IORING_CQE_F_MORE)) {
		fd->armed_events &= ~dir;
		/* A completion queue that overflows ends every multishot request. */
		if (dir == TNI_RD && fd->rd.state == TNI_ARMED && !fd->rd.in_kernel && poll_for(loop, fd, dir) < 0)
			bits |= TNI_HUP; /* read on until that is asked for again, or is an error */
	}
	if (res < 0 || res & (POLLHUP | POLLERR | POLLRDHUP))
		bits |= TNI_HUP;
	if (res > 0 && res & POLLIN)
		bits |= TNI_RD;
	if (res > 0 && res & POLLOUT)
		bits |= TNI_WR;
	tni_ready_event(loop, fd, bits);
	if (tni_slot_find(loop, key) == fd)
		maybe_return(loop, fd);
}

/*
 * The peer has gone: the rest, and the end itself, is read by readiness, now or when somebody wants it. Armed once: HUP
 * stays set.
 */
static void on_hangup(struct tn_loop *loop, struct tni_fd *fd, int res)
{
	if (res == -ECANCELED)
		return;
	fd->ready |= TNI_HUP;
	if (fd->mode != MODE_RING || fd->rd.kind != TNI_OP_RECV)
		return;
	if (!fd->rd.in_kernel)
		fd->mode = MODE_READY;
	else if (fd->rd.state == TNI_CANCELLING)
		fd->mode = MODE_LEAVING;
	else
		leave_ring(loop, fd);
}

/* Counts what a bent ring does. */
static void note_bends(const struct tni_fd *fd, enum request kind, const struct io_uring_cqe *cqe)
{
	if (kind == RQ_RECV && cqe->res == -ENOBUFS)
		tni_fault_bent(TNI_BEND_NO_BUFFER);
	else if ((kind == RQ_RECV || kind == RQ_ACCEPT) && !(cqe->flags & IORING_CQE_F_MORE) && cqe->res &&
		 fd->rd.state == TNI_ARMED)
		tni_fault_bent(TNI_BEND_ENDED);
}

/*
 * The fault engine's error in the place of the kernel's. A request that goes on is told to end, so that the kernel's
 * word on that can stand for it: nothing is lost that had come before.
 */
static int fail_instead(struct tn_loop *loop, struct tni_fd *fd, enum request kind, const struct io_uring_cqe *cqe)
{
	struct uring_state *st = loop->engine_state;
	bool more = cqe->flags & IORING_CQE_F_MORE, doomed = st->doomed == cqe->user_data && !more;

	if (kind == RQ_IGNORED)
		return cqe->res;
	note_bends(fd, kind, cqe);
	if (doomed)
		st->doomed = 0;
	if (cqe->res == -ENOENT || (doomed && cqe->res < 0))
		return tni_fault_error(loop);
	if (more && !st->doomed && tni_fault_strikes(loop, op_kind_of(fd, kind)) && cancel_request(loop, fd, kind) == 0)
		st->doomed = cqe->user_data;
	return cqe->res;
}

static void on_cqe(struct tn_loop *loop, const struct io_uring_cqe *cqe)
{
	struct uring_state *st = loop->engine_state;
	uint64_t key = cqe->user_data;
	enum request kind = (enum request)(key >> KIND_SHIFT & 0xff);
	struct tni_fd *fd = tni_slot_find(loop, (key & SLOT_MASK) | (key >> 32 << 32));
	int res = fd && loop->fault ? fail_instead(loop, fd, kind, cqe) : cqe->res;

	if (!fd) {
		if (key == st->doomed)
			st->doomed = 0;
		if (kind == RQ_RECV && cqe->flags & IORING_CQE_F_BUFFER)
			tni_blk_unref(ring_buf_take(st, cqe->flags >> IORING_CQE_BUFFER_SHIFT, 0));
		if (kind == RQ_DGRAM && cqe->flags & IORING_CQE_F_BUFFER)
			dgram_buf_put(st, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
		if (kind == RQ_ACCEPT && cqe->res >= 0)
			close(cqe->res);
		return;
	}
	switch (kind) {
	case RQ_RECV:
		on_recv(loop, fd, res, cqe->flags);
		break;
	case RQ_DGRAM:
		on_dgram(loop, fd, res, cqe->flags);
		break;
	case RQ_SEND:
		on_send(loop, fd, res);
		break;
	case RQ_ACCEPT:
		on_accept(loop, fd, res, cqe->flags);
		break;
	case RQ_POLL_IN:
		if (fd->armed_events & TNI_RD)
			on_poll(loop, fd, TNI_RD, res, cqe->flags);
		break;
	case RQ_POLL_OUT:
		on_poll(loop, fd, TNI_WR, res, cqe->flags);
		break;
	case RQ_POLL_HUP:
		on_hangup(loop, fd, res);
		break;
	case RQ_IGNORED:
		break;
	}
}

static int enter(struct uring_state *st, uint64_t timeout_ns)
{
	struct __kernel_timespec ts = {.tv_sec = (int64_t)(timeout_ns / TNI_NS_PER_S),
				       .tv_nsec = (int64_t)(timeout_ns % TNI_NS_PER_S)};
	struct io_uring_cqe *unused;
	int rc = enable(st);

	if (rc == 0 && st->nearly)
		rc = put_early(st);
	if (rc < 0)
		return rc;
	if (io_uring_cq_ready(&st->ring))
		timeout_ns = 0;
	if (timeout_ns == TNI_NEVER)
		rc = io_uring_submit_and_wait(&st->ring, 1);
	else if (timeout_ns)
		rc = io_uring_submit_and_wait_timeout(&st->ring, &unused, 1, &ts, NULL);
	else if (io_uring_sq_ready(&st->ring) ||
		 IO_URING_READ_ONCE(*st->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
		rc = io_uring_submit_and_get_events(&st->ring);
	else
		return 0; /* looked into shared memory only: what makes spinning cheap */
	if (!io_uring_sq_ready(&st->ring))
		st->nscratch = 0;
	return rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN || rc > 0 ? 0 : rc;
}

#define CQE_BATCH 32

/* A turn takes no more than about so many: timers and what was put off want their turn, too. */
#define TURN_CQES 1024

/* What is there by now. Returns how many. */
static unsigned take_cqes(struct tn_loop *loop)
{
	struct uring_state *st = loop->engine_state;
	struct io_uring_cqe *cqes[CQE_BATCH];
	unsigned n, left = io_uring_cq_ready(&st->ring), all = left;

	if (left)
		loop->now_ns = tni_clock_ns();
	for (; left; left -= n) {
		n = io_uring_peek_batch_cqe(&st->ring, cqes, left < CQE_BATCH ? left : CQE_BATCH);
		if (!n)
			break;
		for (unsigned i = 0; i < n; i++)
			on_cqe(loop, cqes[i]);
		io_uring_cq_advance(&st->ring, n);
		tni_loop_settle(loop);
	}
	return all;
}

/*
 * One call of the kernel's posts only so many completions (20 from Linux 6.14 on), however many are due. Where a turn
 * has much else to do, such as handshakes, those behind would wait for many turns: more calls are made in one turn.
 */
static int uring_wait(struct tn_loop *loop, uint64_t timeout_ns)
{
	struct uring_state *st = loop->engine_state;
	unsigned n, taken = 0;
	int rc;

	if (loop->fault && IO_URING_READ_ONCE(*st->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW)
		tni_fault_bent(TNI_BEND_OVERFLOW);
	do {
		rc = enter(st, timeout_ns);
		if (rc < 0)
			return rc;
		n = take_cqes(loop);
		taken += n;
		timeout_ns = 0;
	} while (n && taken < TURN_CQES && IO_URING_READ_ONCE(*st->ring.sq.kflags) & IORING_SQ_TASKRUN);
	return 0;
}

static int uring_attempt(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	int res = tni_attempt(loop, fd, op);

	if (fd->mode == MODE_READY && op->kind == TNI_OP_RECV && res > 0) {
		if (res > SMALL_READ)
			fd->streak = 0;
		else if (fd->streak < SMALL_STREAK)
			fd->streak++;
	}
	return res;
}

const struct tni_engine_ops tni_engine_uring = {
	.name = "uring",
	.open = uring_open,
	.submit = uring_submit,
	.cancel = uring_cancel,
	.release = uring_release,
	.wait = uring_wait,
	.close = uring_close,
	.recall = uring_recall,
	.watch = uring_watch,
	.attempt = uring_attempt,
};
