#include "io/fault.h"

#include "io/loop.h"
#include "io/ready.h"
#include "io/uring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An attempt that was put off until the next wait. */
struct put_off {
	uint64_t key;
	uint8_t dir;    /* TNI_RD, TNI_WR */
	uint8_t events; /* what readiness knew, which forgets it for the time being */
};

/* What a script can make fail: the operations, and the engine's own answers. */
enum { ON_SUBMIT = TNI_OP_POLL_OUT + 1, ON_CANCEL, SCRIPTED_MAX };

/* Beside the state of the engine beneath, which stays where its engine looks for it. */
struct fault {
	struct tni_fault asked;
	const struct tni_engine_ops *below;
	uint64_t random;
	bool bends, by_bytes;
	struct put_off *list;
	uint32_t n, cap;
	unsigned fail_kind, fail_nth; /* fail_nth 0: it has had its turn */
	bool for_ever;
	int fail_err;
};

static _Atomic(bool) armed = true;
static _Atomic(uint64_t) hits, seen[SCRIPTED_MAX], bent[TNI_BENDS];

uint64_t tni_fault_hits(void)
{
	return atomic_load(&hits);
}

void tni_fault_arm(bool on)
{
	atomic_store(&armed, on);
}

static void note_bent(enum tni_bend how)
{
	atomic_fetch_add(&bent[how], 1);
}

uint64_t tni_fault_bends(enum tni_bend how)
{
	return atomic_load(&bent[how]);
}

static struct fault *fault_of(const struct tn_loop *loop)
{
	return tni_container_of(loop->fault, struct fault, asked);
}

static uint64_t draw(struct fault *f)
{
	uint64_t z = f->random += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static uint8_t dir_of(const struct tni_fd *fd, const struct tni_op *op)
{
	return op == &fd->rd ? TNI_RD : TNI_WR;
}

static bool put_off(struct tn_loop *loop, struct tni_fd *fd, const struct tni_op *op)
{
	struct fault *f = fault_of(loop);

	if (f->n == f->cap) {
		uint32_t cap = f->cap ? f->cap * 2 : 64;
		struct put_off *grown = realloc(f->list, cap * sizeof(*grown));

		if (!grown)
			return false;
		f->list = grown;
		f->cap = cap;
	}
	f->list[f->n++] =
		(struct put_off){tni_slot_key(loop, fd), dir_of(fd, op), dir_of(fd, op) | (fd->ready & TNI_HUP)};
	return true;
}

/* ---- the script ---- */

static unsigned script_kind(unsigned kind)
{
	return kind == TNI_OP_POLL_OUT ? TNI_OP_POLL_IN : kind;
}

static bool is_turn(struct fault *f, unsigned kind)
{
	kind = script_kind(kind);
	if (!atomic_load(&armed))
		return false;
	atomic_fetch_add(&seen[kind], 1);
	if (!f->fail_nth || kind != f->fail_kind || (f->fail_nth > 1 && --f->fail_nth))
		return false;
	f->fail_nth = f->for_ever;
	return true;
}

static bool strikes(struct tn_loop *loop, unsigned kind)
{
	return is_turn(fault_of(loop), kind);
}

static int script_error(const struct tn_loop *loop)
{
	atomic_fetch_add(&hits, 1);
	return -fault_of(loop)->fail_err;
}

/* A call that is interrupted is made again by who makes it; only the ring has requests that can be cancelled. */
static bool can_be_attempted(int err)
{
	return err != EINTR && err != ECANCELED;
}

/* What one attempt says in the place of the kernel; 0: nothing. That it would have to wait is true for one wait. */
static int scripted(struct tn_loop *loop, struct tni_fd *fd, const struct tni_op *op)
{
	struct fault *f = fault_of(loop);

	if (!is_turn(f, op->kind) || !can_be_attempted(f->fail_err))
		return 0;
	if (f->fail_err != EAGAIN)
		return script_error(loop);
	if (!fd->slot || fd->flags & TNI_FD_ALWAYS || !put_off(loop, fd, op))
		return 0;
	return script_error(loop);
}

/* ---- the engine ---- */

static void note_bend(const struct tn_loop *loop, const struct tni_op *op, int res)
{
	if (op->kind == TNI_OP_RECV && res == (int)loop->limit)
		note_bent(TNI_BEND_SHORT_READ);
	if (op->kind == TNI_OP_SEND && res == (int)loop->limit)
		note_bent(TNI_BEND_SHORT_WRITE);
}

static bool is_put_off(struct tn_loop *loop, struct tni_fd *fd, const struct tni_op *op)
{
	struct fault *f = fault_of(loop);

	/* A connect's state says whether the call was made: its first attempt is never put off. */
	if (!f->bends || op->kind == TNI_OP_CONNECT || op->kind >= TNI_OP_POLL_IN || !fd->slot ||
	    fd->flags & TNI_FD_ALWAYS || draw(f) % 10 == 0 || !put_off(loop, fd, op))
		return false;
	note_bent(TNI_BEND_PUT_OFF);
	return true;
}

static bool is_bytes(const struct tni_op *op)
{
	return op->kind == TNI_OP_RECV || op->kind == TNI_OP_SEND || op->kind == TNI_OP_SPLICE_IN ||
	       op->kind == TNI_OP_SPLICE_OUT;
}

static int fault_attempt(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct fault *f = fault_of(loop);
	bool bytes = is_bytes(op) && !(fd->flags & TNI_FD_MESSAGES);
	int res = scripted(loop, fd, op);

	if (res)
		return res;
	if (is_put_off(loop, fd, op))
		return -EAGAIN;
	if (bytes && f->bends && draw(f) % 2)
		loop->limit = draw(f) % 4 == 0 ? 1 : (uint32_t)(1 + draw(f) % 30000);
	if (bytes && f->by_bytes)
		loop->limit = 1;
	res = f->below->attempt(loop, fd, op);
	if (loop->limit)
		note_bend(loop, op, res);
	/* A short read is taken to have emptied the socket: no event would tell of what this one left there. */
	if (loop->limit && op->kind == TNI_OP_RECV && res == (int)loop->limit)
		(void)put_off(loop, fd, op);
	loop->limit = 0;
	return res;
}

static int fault_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct fault *f = fault_of(loop);
	int rc;

	if (is_turn(f, ON_SUBMIT))
		return script_error(loop);
	if (f->bends && !fd->slot && draw(f) % 4 == 0)
		fd->flags |= TNI_FD_POLLED;
	/* A packet goes whole. */
	if (op->kind == TNI_OP_SEND && !(fd->flags & TNI_FD_MESSAGES) &&
	    (f->by_bytes || (f->bends && draw(f) % 4 == 0)))
		loop->limit = 1;
	rc = f->below->submit(loop, fd, op);
	if (loop->limit && op->kind == TNI_OP_SEND && op->in_kernel && op->buf->len > 1)
		note_bent(TNI_BEND_SHORT_WRITE);
	loop->limit = 0;
	return rc;
}

static int fault_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct fault *f = fault_of(loop);

	/* Only what is in the ring has to be asked for. */
	if (op->in_kernel && is_turn(f, ON_CANCEL))
		return script_error(loop);
	return f->below->cancel(loop, fd, op);
}

/* What was put off before this wait; what is put off meanwhile waits for the next. */
static void take_up(struct tn_loop *loop)
{
	struct fault *f = fault_of(loop);
	uint32_t n = f->n;

	for (uint32_t i = 0; i < n; i++) {
		struct put_off p = f->list[i];
		struct tni_fd *fd = p.key ? tni_slot_find(loop, p.key) : NULL;

		if (fd)
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
	struct fault *f = fault_of(loop);
	uint32_t i = f->bends && loop->nslots ? (uint32_t)(draw(f) % loop->nslots) : 0;

	if (f->below == &tni_engine_uring && i && loop->slots[i].fd && draw(f) % 4 == 0)
		tni_uring_interrupt(loop, loop->slots[i].fd);
#else
	(void)loop;
#endif
}

static int fault_wait(struct tn_loop *loop, uint64_t timeout_ns)
{
	struct fault *f = fault_of(loop);
	int rc;

	interrupt_one(loop);
	rc = f->below->wait(loop, f->n ? 0 : timeout_ns);
	if (f->n)
		take_up(loop);
	return rc;
}

static void fault_release(struct tn_loop *loop, struct tni_fd *fd)
{
	struct fault *f = fault_of(loop);

	f->below->release(loop, fd);
}

static void fault_recall(struct tn_loop *loop, struct tni_fd *fd)
{
	struct fault *f = fault_of(loop);

	if (f->below->recall)
		f->below->recall(loop, fd);
}

static int fault_watch(struct tn_loop *loop, struct tni_fd *fd, unsigned want)
{
	struct fault *f = fault_of(loop);

	return f->below->watch(loop, fd, want);
}

static void fault_close(struct tn_loop *loop)
{
	struct fault *f = fault_of(loop);

	f->below->close(loop);
	free(f->list);
	free(f);
	loop->fault = NULL;
}

static int fault_open_pollable(struct tn_loop *loop)
{
	const struct fault *f = fault_of(loop);

	return f->below->open_pollable(loop);
}

static int fault_after_turn(struct tn_loop *loop)
{
	const struct fault *f = fault_of(loop);

	return f->below->after_turn ? f->below->after_turn(loop) : 0;
}

static bool fault_owes(const struct tn_loop *loop)
{
	const struct fault *f = fault_of(loop);

	return f->n || (f->below->owes && f->below->owes(loop));
}

static const struct tni_engine_ops engine_fault = {
	.name = "fault",
	.submit = fault_submit,
	.cancel = fault_cancel,
	.release = fault_release,
	.wait = fault_wait,
	.close = fault_close,
	.recall = fault_recall,
	.watch = fault_watch,
	.attempt = fault_attempt,
	.open_pollable = fault_open_pollable,
	.after_turn = fault_after_turn,
	.owes = fault_owes,
};

/* ---- opening ---- */

static unsigned kind_of_name(const char *name)
{
	static const char *const kinds[] = {[TNI_OP_ACCEPT] = "accept",      [TNI_OP_CONNECT] = "connect",
					    [TNI_OP_RECV] = "recv",          [TNI_OP_SEND] = "send",
					    [TNI_OP_RECVMM] = "recvmm",      [TNI_OP_SENDMM] = "sendmm",
					    [TNI_OP_SPLICE_IN] = "splicein", [TNI_OP_SPLICE_OUT] = "spliceout",
					    [TNI_OP_POLL_IN] = "poll",       [ON_SUBMIT] = "submit",
					    [ON_CANCEL] = "cancel"};

	for (unsigned i = TNI_OP_ACCEPT; i < SCRIPTED_MAX; i++)
		if (kinds[i] && !strcmp(kinds[i], name))
			return i;
	return 0;
}

uint64_t tni_fault_seen(const char *kind)
{
	return atomic_load(&seen[kind_of_name(kind)]);
}

/* KIND=ERRNO@N, the N-th; with + behind it all those after it, too. */
static int parse_script(struct fault *f, const char *text)
{
	char kind[16], err[24], more = 0;

	if (!strcmp(text, "bytes")) {
		f->by_bytes = true;
		return 0;
	}
	if (sscanf(text, "%15[a-z]=%23[A-Z0-9]@%u%c", kind, err, &f->fail_nth, &more) < 3)
		return -ENOENT;
	f->for_ever = more == '+';
	f->fail_kind = kind_of_name(kind);
	for (int e = 1; e < 200 && !f->fail_err; e++)
		if (strerrorname_np(e) && !strcmp(strerrorname_np(e), err))
			f->fail_err = e;
	return f->fail_kind && f->fail_err && f->fail_nth ? 0 : -ENOENT;
}

static int open_below(struct tn_loop *loop, struct fault *f, const char *name)
{
#ifdef TNI_HAVE_URING
	if (!strcmp(name, "uring")) {
		f->below = &tni_engine_uring;
		return f->bends ? tni_uring_open_small(loop) : f->below->open(loop, 0);
	}
#endif
	if (strcmp(name, "epoll") != 0)
		return -ENOENT;
	f->below = &tni_engine_epoll;
	return f->below->open(loop, 0);
}

int tni_fault_open(struct tn_loop *loop, const char *text)
{
	struct fault *f = calloc(1, sizeof(*f));
	const char *seed = strchr(text, ':'), *script = seed ? strchr(seed + 1, ':') : NULL;
	char name[8] = "";
	int rc = 0;

	if (!f)
		return -ENOMEM;
	sscanf(text, "%7[a-z]", name);
	f->random = seed ? strtoull(seed + 1, NULL, 10) : 1;
	f->bends = f->random != 0;
	if (script)
		rc = parse_script(f, script + 1);
	if (rc == 0)
		rc = open_below(loop, f, name);
	if (rc < 0) {
		free(f);
		return rc;
	}
	f->asked = (struct tni_fault){.strikes = strikes, .error = script_error, .bent = note_bent};
	loop->fault = &f->asked;
	loop->engine = &engine_fault;
	loop->spin.max_ns = 0;
	return 0;
}
