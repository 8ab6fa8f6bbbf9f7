#include "io/fault.h"

#include "io/loop.h"
#include "io/ready.h"
#include "io/uring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An attempt that was put off, or an operation that is to fail, until the next wait. */
struct put_off {
	uint64_t key;
	uint8_t dir;    /* TNI_RD, TNI_WR */
	uint8_t events; /* what readiness knew, which forgets it for the time being */
	int err;        /* 0: to be tried again */
};

/* Beside the state of the engine beneath, which stays where its engine looks for it. */
struct tni_fault {
	const struct tni_engine_ops *below;
	uint64_t random;
	struct put_off *list;
	uint32_t n, cap;
	enum tni_op_kind fail_kind;
	unsigned fail_nth;
	int fail_err;
};

static _Atomic(bool) script_hit;

bool tni_fault_hit(void)
{
	return atomic_load(&script_hit);
}

static uint64_t draw(struct tni_fault *f)
{
	uint64_t z = f->random += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static struct tni_op *op_of(struct tni_fd *fd, uint8_t dir)
{
	return dir == TNI_RD ? &fd->rd : &fd->wr;
}

static uint8_t dir_of(const struct tni_fd *fd, const struct tni_op *op)
{
	return op == &fd->rd ? TNI_RD : TNI_WR;
}

static bool put_off(struct tn_loop *loop, struct tni_fd *fd, const struct tni_op *op, int err)
{
	struct tni_fault *f = loop->fault;

	if (f->n == f->cap) {
		uint32_t cap = f->cap ? f->cap * 2 : 64;
		struct put_off *grown = realloc(f->list, cap * sizeof(*grown));

		if (!grown)
			return false;
		f->list = grown;
		f->cap = cap;
	}
	f->list[f->n++] =
		(struct put_off){tni_slot_key(loop, fd), dir_of(fd, op), dir_of(fd, op) | (fd->ready & TNI_HUP), err};
	return true;
}

static bool is_scripted(struct tni_fault *f, const struct tni_op *op)
{
	if (!f->fail_nth || op->kind != f->fail_kind || --f->fail_nth)
		return false;
	atomic_store(&script_hit, true);
	return true;
}

/* ---- the engine ---- */

/* A connect's state says whether the call was made: its first attempt is never put off. */
static int fault_attempt(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct tni_fault *f = loop->fault;
	bool bytes = (op->kind == TNI_OP_RECV || op->kind == TNI_OP_SEND) && !(fd->flags & TNI_FD_MESSAGES);
	int res;

	if (is_scripted(f, op))
		return -f->fail_err;
	if (op->kind != TNI_OP_CONNECT && op->kind < TNI_OP_POLL_IN && fd->slot && !(fd->flags & TNI_FD_ALWAYS) &&
	    draw(f) % 10 && put_off(loop, fd, op, 0))
		return -EAGAIN;
	if (bytes && draw(f) % 2)
		loop->limit = draw(f) % 4 == 0 ? 1 : (uint32_t)(1 + draw(f) % 30000);
	res = f->below->attempt(loop, fd, op);
	/* A short read is taken to have emptied the socket: no event would tell of what this one left there. */
	if (loop->limit && op->kind == TNI_OP_RECV && res == (int)loop->limit)
		(void)put_off(loop, fd, op, 0);
	loop->limit = 0;
	return res;
}

static int fault_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct tni_fault *f = loop->fault;
	int rc;

	/* Readiness asks attempt(); what goes by the ring does not come there. */
	if (f->below->attempt != tni_attempt && op->kind < TNI_OP_POLL_IN && op->kind != TNI_OP_CONNECT &&
	    is_scripted(f, op)) {
		rc = fd->slot ? 0 : tni_slot_take(loop, fd);
		if (rc == 0 && put_off(loop, fd, op, f->fail_err))
			op->state = TNI_ARMED;
		return rc;
	}
	if (!fd->slot && draw(f) % 4 == 0)
		fd->flags |= TNI_FD_POLLED;
	if (op->kind == TNI_OP_SEND && !(fd->flags & TNI_FD_MESSAGES) && draw(f) % 4 == 0) /* a packet goes whole */
		loop->limit = 1;
	rc = f->below->submit(loop, fd, op);
	loop->limit = 0;
	return rc;
}

static int fault_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct tni_fault *f = loop->fault;

	for (uint32_t i = 0; i < f->n; i++) {
		if (f->list[i].err && f->list[i].key == tni_slot_key(loop, fd) && f->list[i].dir == dir_of(fd, op)) {
			f->list[i].key = 0;
			op->state = TNI_IDLE;
			return TNI_DONE;
		}
	}
	return f->below->cancel(loop, fd, op);
}

/* What was put off before this wait; what is put off meanwhile waits for the next. */
static void take_up(struct tn_loop *loop)
{
	struct tni_fault *f = loop->fault;
	uint32_t n = f->n;

	for (uint32_t i = 0; i < n; i++) {
		struct put_off p = f->list[i];
		struct tni_fd *fd = p.key ? tni_slot_find(loop, p.key) : NULL;

		if (fd && p.err && op_of(fd, p.dir)->state == TNI_ARMED)
			tni_complete(loop, op_of(fd, p.dir), -p.err, false);
		else if (fd && !p.err)
			tni_ready_event(loop, fd, p.events);
		tni_loop_settle(loop);
	}
	memmove(f->list, f->list + n, (f->n - n) * sizeof(*f->list));
	f->n -= n;
}

/* Ends a request of the ring's that somebody waits for. */
static void interrupt_one(struct tn_loop *loop)
{
#ifdef TNI_HAVE_URING
	struct tni_fault *f = loop->fault;
	uint32_t i = loop->nslots ? (uint32_t)(draw(f) % loop->nslots) : 0;

	if (f->below == &tni_engine_uring && i && loop->slots[i].fd && draw(f) % 4 == 0)
		tni_uring_interrupt(loop, loop->slots[i].fd);
#else
	(void)loop;
#endif
}

static int fault_wait(struct tn_loop *loop, uint64_t timeout_ns)
{
	struct tni_fault *f = loop->fault;
	int rc;

	interrupt_one(loop);
	rc = f->below->wait(loop, f->n ? 0 : timeout_ns);
	if (f->n)
		take_up(loop);
	return rc;
}

static void fault_release(struct tn_loop *loop, struct tni_fd *fd)
{
	struct tni_fault *f = loop->fault;

	f->below->release(loop, fd);
}

static int fault_watch(struct tn_loop *loop, struct tni_fd *fd, unsigned want)
{
	struct tni_fault *f = loop->fault;

	return f->below->watch(loop, fd, want);
}

static void fault_close(struct tn_loop *loop)
{
	struct tni_fault *f = loop->fault;

	f->below->close(loop);
	free(f->list);
	free(f);
	loop->fault = NULL;
}

static const struct tni_engine_ops engine_fault = {
	.name = "fault",
	.submit = fault_submit,
	.cancel = fault_cancel,
	.release = fault_release,
	.wait = fault_wait,
	.close = fault_close,
	.watch = fault_watch,
	.attempt = fault_attempt,
};

/* ---- opening ---- */

static int parse_script(struct tni_fault *f, const char *text)
{
	static const char *const kinds[] = {
		[TNI_OP_ACCEPT] = "accept", [TNI_OP_CONNECT] = "connect", [TNI_OP_RECV] = "recv",
		[TNI_OP_SEND] = "send",     [TNI_OP_RECVMM] = "recvmm",   [TNI_OP_SENDMM] = "sendmm"};
	char kind[16], err[24];

	if (sscanf(text, "%15[a-z]=%23[A-Z0-9]@%u", kind, err, &f->fail_nth) != 3)
		return -ENOENT;
	for (unsigned i = TNI_OP_ACCEPT; i <= TNI_OP_SENDMM; i++)
		if (!strcmp(kinds[i], kind))
			f->fail_kind = i;
	for (int e = 1; e < 200 && !f->fail_err; e++)
		if (strerrorname_np(e) && !strcmp(strerrorname_np(e), err))
			f->fail_err = e;
	return f->fail_kind && f->fail_err && f->fail_nth ? 0 : -ENOENT;
}

static int open_below(struct tn_loop *loop, struct tni_fault *f, const char *name)
{
#ifdef TNI_HAVE_URING
	if (!strcmp(name, "uring")) {
		f->below = &tni_engine_uring;
		return tni_uring_open_small(loop);
	}
#endif
	if (strcmp(name, "epoll") != 0)
		return -ENOENT;
	f->below = &tni_engine_epoll;
	return f->below->open(loop, 0);
}

int tni_fault_open(struct tn_loop *loop, const char *text)
{
	struct tni_fault *f = calloc(1, sizeof(*f));
	const char *seed = strchr(text, ':'), *script = seed ? strchr(seed + 1, ':') : NULL;
	char name[8] = "";
	int rc = 0;

	if (!f)
		return -ENOMEM;
	sscanf(text, "%7[a-z]", name);
	f->random = seed ? strtoull(seed + 1, NULL, 10) : 1;
	if (script)
		rc = parse_script(f, script + 1);
	if (rc == 0)
		rc = open_below(loop, f, name);
	if (rc < 0) {
		free(f);
		return rc;
	}
	loop->fault = f;
	loop->engine = &engine_fault;
	loop->spin.max_ns = 0;
	return 0;
}
