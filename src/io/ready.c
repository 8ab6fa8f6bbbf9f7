#include "io/ready.h"

#include "io/loop.h"
#include "io/memory.h"

#include <errno.h>
#include <poll.h>

static unsigned direction(const struct tni_fd *fd, const struct tni_op *op)
{
	return op == &fd->rd ? TNI_RD : TNI_WR;
}

static bool is_multishot(const struct tni_op *op)
{
	return op->kind == TNI_OP_ACCEPT || op->kind == TNI_OP_RECV || op->kind == TNI_OP_RECVMM ||
	       op->kind == TNI_OP_POLL_IN;
}

void tni_complete(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op, int res, bool more)
{
	loop->completions++;
	op->res = res;
	op->more = more;
	if (!more)
		op->state = TNI_IDLE;
	(op == &fd->rd ? fd->done->rd : fd->done->wr)(op, res);
}

/* A call would have to wait. That a send would says nothing about the peer's hang-up, which is for reading to find. */
static void block(struct tni_fd *fd, unsigned dir)
{
	fd->ready &= (uint8_t)~dir;
	if (dir == TNI_RD)
		fd->ready &= (uint8_t)~TNI_HUP;
}

/*
 * A stream's short read has emptied the socket, so the next event is worth waiting for. That is not so after a hang-up
 * (the end of the stream is still to be read and sends no second event) nor where each call takes one thing of many.
 */
static bool is_drained(const struct tni_fd *fd, const struct tni_op *op, int res)
{
	if (fd->ready & TNI_HUP)
		return false;
	if (op->kind == TNI_OP_RECV)
		return !(fd->flags & (TNI_FD_MESSAGES | TNI_FD_FILE)) && (uint32_t)res < op->blk->cap;
	if (op->kind == TNI_OP_RECVMM)
		return (unsigned)res < op->mm->n;
	return op->kind == TNI_OP_POLL_IN;
}

/* A descriptor that cannot be polled needs a slot all the same: it is known by that between two tries. */
static int watch(struct tn_loop *loop, struct tni_fd *fd, unsigned dir)
{
	if (!fd->slot) {
		int rc = tni_slot_take(loop, fd);

		if (rc < 0)
			return rc;
	}
	if (fd->flags & TNI_FD_MEMORY)
		dir = TNI_RD; /* what the other side says on the socket is that something can be tried */
	return fd->flags & TNI_FD_ALWAYS ? 0 : loop->engine->watch(loop, fd, dir);
}

/* Tries once and reports. Returns true when a multishot operation can be tried again at once. */
static bool try_once(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	unsigned dir = direction(fd, op);
	bool multishot = is_multishot(op), more;
	int res;

	if (fd->flags & TNI_FD_MEMORY)
		tni_memory_heat(loop, tni_memory_of(fd));
	res = loop->engine->attempt(loop, fd, op);

	if (res == TNI_TRY_SOON) {
		tni_slot_put_pending(loop, fd);
		return false;
	}
	if (res == -EAGAIN) {
		block(fd, dir);
		res = watch(loop, fd, dir);
		if (res == 0)
			return false;
	}
	if (res < 0 || (res == 0 && op->kind == TNI_OP_RECV)) {
		tni_complete(loop, fd, op, res, false);
		return false;
	}
	more = multishot && !is_drained(fd, op, res);
	if (more)
		tni_slot_put_pending(loop, fd);
	else if (multishot)
		fd->ready &= (uint8_t)~dir;
	tni_complete(loop, fd, op, res, multishot);
	return more;
}

/* So many connections are accepted in a row before others have their turn. */
#define ACCEPT_BUDGET 16

static void try_op(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	bool accepting = op->kind == TNI_OP_ACCEPT;

	/* What an accept reports runs no user code, so the operation is still there afterwards. */
	for (int i = 0; try_once(loop, fd, op) && accepting && op->state == TNI_ARMED && i < ACCEPT_BUDGET; i++)
		;
}

int tni_ready_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	unsigned dir = direction(fd, op);
	int rc;

	if (fd->flags & TNI_FD_MEMORY)
		tni_memory_heat(loop, tni_memory_of(fd));
	if (op->kind == TNI_OP_SEND || op->kind == TNI_OP_SENDMM || op->kind == TNI_OP_SPLICE_OUT ||
	    op->kind == TNI_OP_CONNECT) {
		op->res = loop->engine->attempt(loop, fd, op);
		if (op->res != -EAGAIN)
			return TNI_DONE;
		block(fd, dir);
	}
	rc = watch(loop, fd, dir);
	if (rc < 0)
		return rc;
	op->state = TNI_ARMED;
	/* A question about readiness is asked once at the start: its event may have come and gone. */
	if (fd->ready & (dir | TNI_HUP) || op->kind >= TNI_OP_POLL_IN)
		tni_slot_put_pending(loop, fd);
	return 0;
}

int tni_ready_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	(void)loop;
	(void)fd;
	op->state = TNI_IDLE;
	return TNI_DONE;
}

void tni_ready_release(struct tn_loop *loop, struct tni_fd *fd)
{
	(void)loop;
	fd->ready = 0;
	fd->armed_events = 0;
}

/* What a ring has is not tried here as well: its bytes would go out twice. */
static bool can_try(const struct tni_fd *fd, const struct tni_op *op)
{
	if (op->state != TNI_ARMED || op->in_kernel)
		return false;
	return fd->ready & (direction(fd, op) | TNI_HUP) || op->kind >= TNI_OP_POLL_IN;
}

/* Both directions, the outgoing one first: it frees memory. The owner may release the descriptor in between. */
static void try_both(struct tn_loop *loop, struct tni_fd *fd)
{
	uint64_t key = tni_slot_key(loop, fd);

	if (can_try(fd, &fd->wr)) {
		try_op(loop, fd, &fd->wr);
		tni_loop_settle(loop);
		if (tni_slot_find(loop, key) != fd)
			return;
	}
	if (can_try(fd, &fd->rd)) {
		try_op(loop, fd, &fd->rd);
		tni_loop_settle(loop);
	}
}

void tni_ready_event(struct tn_loop *loop, struct tni_fd *fd, unsigned bits)
{
	if (fd->flags & TNI_FD_MEMORY && bits & TNI_RD)
		bits |= TNI_WR; /* a wake is for both */
	fd->ready |= (uint8_t)bits;
	try_both(loop, fd);
}

int tni_ready_pending(struct tn_loop *loop)
{
	/* Those that become pending meanwhile wait for the next round: nobody starves the others. */
	uint32_t batch = loop->pending;
	struct tni_fd *fd;
	int n = 0;

	loop->pending = loop->last_pending = 0;
	while ((fd = tni_slot_pop_pending(loop, &batch))) {
		try_both(loop, fd);
		n++;
	}
	return n;
}
