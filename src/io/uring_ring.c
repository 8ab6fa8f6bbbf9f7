/* The ring of the io_uring engine, and its buffers: made, restricted, freed. */
#include "io/uring_state.h"

#include <stdlib.h>
#include <sys/mman.h>

const struct ring_size tni_uring_full = {SQ_ENTRIES, CQ_ENTRIES, RING_BUFS, RING_BUF_CAP};

/* ---- buffers ---- */

static void ring_buf_put(struct tni_blk_home *home, struct tni_blk *blk)
{
	struct uring_state *st = tni_container_of(home, struct uring_state, home);

	io_uring_buf_ring_add(st->bufs, blk->data, blk->cap, blk->id, io_uring_buf_ring_mask(st->size.bufs), 0);
	io_uring_buf_ring_advance(st->bufs, 1);
	if (st->mem->starved)
		st->mem->on_return(st->mem->arg);
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
					       .id = (uint16_t)i};
		st->blks[i].data[0] = 0; /* its first page is there before the first client, not at its cost */
		ring_buf_put(&st->home, &st->blks[i]);
	}
	return 0;
}

int tni_uring_open_dgrams(struct uring_state *st)
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
		tni_uring_dgram_put(st, i);
	return 0;
}

/* ---- the ring ---- */

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
 * registrations but of buffers and an eventfd. The kernel holds to it from when the ring is enabled. All that have what
 * the engine needs have this (Linux 5.10): who refuses it refuses the ring.
 */
static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t ops[] = {IORING_OP_ACCEPT,  IORING_OP_RECV,     IORING_OP_SEND,
				      IORING_OP_SENDMSG, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};
	static const uint8_t registers[] = {IORING_REGISTER_PBUF_RING, IORING_REGISTER_EVENTFD};
	enum { NOPS = sizeof(ops) / sizeof(ops[0]), NREGISTERS = sizeof(registers) / sizeof(registers[0]) };
	struct io_uring_restriction allowed[NOPS + 1 + NREGISTERS] = {0};

	for (int i = 0; i < NOPS; i++)
		allowed[i] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = ops[i]};
	allowed[NOPS] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
						      .sqe_flags = IOSQE_BUFFER_SELECT};
	for (int i = 0; i < NREGISTERS; i++)
		allowed[NOPS + 1 + i] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_REGISTER_OP,
								      .register_op = registers[i]};
	/* As above: declared, not exported. */
	return syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, allowed,
		       NOPS + 1 + NREGISTERS) < 0
		       ? -errno
		       : 0;
}

void tni_uring_free(struct uring_state *st)
{
	io_uring_queue_exit(&st->ring);
	if (st->epoll_fd >= 0) {
		close(st->epoll_fd);
		close(st->event_fd);
	}
	if (st->memory)
		munmap(st->memory, BUFS_SIZE);
	if (st->dgrams)
		munmap(st->dgrams, DGRAMS_SIZE);
	free(st->scratch);
	free(st->early);
	free(st);
}

int tni_uring_new(struct tni_mem *mem, const struct ring_size *size, struct uring_state **out)
{
	struct uring_state *st = calloc(1, sizeof(*st));
	int rc;

	if (!st)
		return -ENOMEM;
	st->mem = mem;
	st->epoll_fd = st->event_fd = -1;
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
		tni_uring_free(st);
		return rc;
	}
	*out = st;
	return 0;
}
