#include "io/sim.h"

#include "io/loop.h"
#include "io/ready.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct sim_state {
	uint64_t random;
	uint64_t bends;
	enum tni_op_kind fail_kind;
	unsigned fail_nth;
	int fail_err;
	unsigned lost, doubled, moved; /* datagrams in a hundred */
	struct pollfd *polls;
	uint64_t *keys;
	uint32_t cap;
	int pollable; /* -1: not asked for */
};

/* splitmix64: small, and every seed is good. */
static uint64_t draw(struct sim_state *st)
{
	uint64_t z = st->random += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static bool chance(struct sim_state *st, unsigned one_in)
{
	bool hit = draw(st) % one_in == 0;

	st->bends += hit;
	return hit;
}

void tni_sim_fail(struct tn_loop *loop, enum tni_op_kind kind, unsigned nth, int err)
{
	struct sim_state *st = loop->engine_state;

	st->fail_kind = kind;
	st->fail_nth = nth;
	st->fail_err = err;
}

void tni_sim_weather(struct tn_loop *loop, unsigned lost, unsigned doubled, unsigned moved)
{
	struct sim_state *st = loop->engine_state;

	st->lost = lost;
	st->doubled = doubled;
	st->moved = moved;
}

uint64_t tni_sim_bends(const struct tn_loop *loop)
{
	return ((struct sim_state *)loop->engine_state)->bends;
}

static int sim_open(struct tn_loop *loop, uint64_t seed)
{
	struct sim_state *st = calloc(1, sizeof(*st));

	if (!st)
		return -ENOMEM;
	st->random = seed;
	st->pollable = -1;
	loop->engine_state = st;
	loop->spin.max_ns = 0;
	return 0;
}

static void sim_close(struct tn_loop *loop)
{
	struct sim_state *st = loop->engine_state;

	if (st->pollable >= 0)
		close(st->pollable);
	free(st->polls);
	free(st->keys);
	free(st);
}

static int sim_watch(struct tn_loop *loop, struct tni_fd *fd, unsigned want)
{
	(void)loop;
	fd->armed_events |= (uint8_t)want;
	return 0;
}

static bool in_a_hundred(struct sim_state *st, unsigned times)
{
	bool hit = draw(st) % 100 < times;

	st->bends += hit;
	return hit;
}

static void copy_datagram(struct mmsghdr *to, const struct mmsghdr *from)
{
	memcpy(to->msg_hdr.msg_iov->iov_base, from->msg_hdr.msg_iov->iov_base, from->msg_len);
	memcpy(to->msg_hdr.msg_name, from->msg_hdr.msg_name, from->msg_hdr.msg_namelen);
	to->msg_hdr.msg_namelen = from->msg_hdr.msg_namelen;
	if (from->msg_hdr.msg_controllen)
		memcpy(to->msg_hdr.msg_control, from->msg_hdr.msg_control, from->msg_hdr.msg_controllen);
	to->msg_hdr.msg_controllen = from->msg_hdr.msg_controllen;
	to->msg_hdr.msg_flags = from->msg_hdr.msg_flags;
	to->msg_len = from->msg_len;
}

/* What a network does to a batch of `n` datagrams that arrived; there is room for `cap`. Returns how many are left. */
static unsigned suffer_weather(struct sim_state *st, struct mmsghdr *v, unsigned n, unsigned cap)
{
	for (unsigned i = 0, arrived = n; i < arrived && n < cap; i++)
		if (in_a_hundred(st, st->doubled))
			copy_datagram(&v[n++], &v[i]);
	/* The one behind all takes the place of one before it, which goes behind: room for that is needed. */
	for (unsigned i = 0; i + 1 < n && n < cap; i++) {
		if (in_a_hundred(st, st->moved)) {
			copy_datagram(&v[n], &v[i]);
			copy_datagram(&v[i], &v[n - 1]);
			copy_datagram(&v[n - 1], &v[n]);
		}
	}
	for (unsigned i = 0; i < n;) {
		if (!in_a_hundred(st, st->lost))
			i++;
		else if (i < --n)
			copy_datagram(&v[i], &v[n]);
	}
	return n;
}

static int sim_attempt(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct sim_state *st = loop->engine_state;
	bool bytes = op->kind == TNI_OP_RECV || op->kind == TNI_OP_SEND || op->kind == TNI_OP_SPLICE_IN ||
		     op->kind == TNI_OP_SPLICE_OUT;
	unsigned n;
	int res;

	if (st->fail_nth && op->kind == st->fail_kind && --st->fail_nth == 0)
		return -st->fail_err;
	/* An attempt to connect must not be put off: its state says whether the call was made. */
	if (op->kind != TNI_OP_CONNECT && !(fd->flags & TNI_FD_ALWAYS) && chance(st, 4))
		return -EAGAIN;
	if ((op->kind == TNI_OP_RECV || op->kind == TNI_OP_RECVMM) && chance(st, 64))
		return -ENOBUFS;
	if (op->kind == TNI_OP_ACCEPT && chance(st, 64))
		return -EMFILE;
	if (bytes && !(fd->flags & TNI_FD_MESSAGES) && chance(st, 2))
		loop->limit = chance(st, 2) ? 1 : (uint32_t)(1 + draw(st) % 5000);
	if (op->kind == TNI_OP_RECVMM || op->kind == TNI_OP_SENDMM) {
		n = op->mm->n;
		if (!st->moved && chance(st, 2))
			op->mm->n = 1;
		res = tni_attempt(loop, fd, op);
		op->mm->n = n;
		if (res > 0 && op->kind == TNI_OP_RECVMM && (st->lost || st->doubled || st->moved))
			res = (int)suffer_weather(st, op->mm->v, (unsigned)res, n);
		if (res == 0)
			res = -EAGAIN;
	} else {
		res = tni_attempt(loop, fd, op);
	}
	loop->limit = 0;
	return res;
}

/* Half of the sends complete at once, the others later, as the two real engines do. */
static int sim_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	struct sim_state *st = loop->engine_state;
	int rc;

	if ((op->kind != TNI_OP_SEND && op->kind != TNI_OP_SENDMM) || !chance(st, 2))
		return tni_ready_submit(loop, fd, op);
	if (!fd->slot) {
		rc = tni_slot_take(loop, fd);
		if (rc < 0)
			return rc;
	}
	op->state = TNI_ARMED;
	fd->ready |= TNI_WR;
	tni_slot_put_pending(loop, fd);
	return 0;
}

/* Cancellation is never instant here: either it or a result wins, in a later turn. */
static int sim_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	if (op->kind >= TNI_OP_POLL_IN || op->kind == TNI_OP_CONNECT)
		return tni_ready_cancel(loop, fd, op);
	op->state = TNI_CANCELLING;
	return 0;
}

static void end_cancelled(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op)
{
	int res = -ECANCELED;

	if ((op->kind == TNI_OP_RECV || op->kind == TNI_OP_SEND) && chance(loop->engine_state, 2))
		res = sim_attempt(loop, fd, op);
	if (res == -EAGAIN || res == -ENOBUFS)
		res = -ECANCELED;
	tni_complete(loop, fd, op, res, false);
	tni_loop_settle(loop);
}

static void end_all_cancelled(struct tn_loop *loop)
{
	for (uint32_t i = 1; i < loop->nslots; i++) {
		if (loop->slots[i].fd && loop->slots[i].fd->wr.state == TNI_CANCELLING)
			end_cancelled(loop, loop->slots[i].fd, &loop->slots[i].fd->wr);
		if (loop->slots[i].fd && loop->slots[i].fd->rd.state == TNI_CANCELLING)
			end_cancelled(loop, loop->slots[i].fd, &loop->slots[i].fd->rd);
	}
}

static bool any_cancelling(const struct tn_loop *loop)
{
	for (uint32_t i = 1; i < loop->nslots; i++) {
		const struct tni_fd *fd = loop->slots[i].fd;

		if (fd && (fd->rd.state == TNI_CANCELLING || fd->wr.state == TNI_CANCELLING))
			return true;
	}
	return false;
}

static int grow(struct sim_state *st, uint32_t n)
{
	struct pollfd *polls = realloc(st->polls, n * sizeof(*polls));
	uint64_t *keys;

	if (polls)
		st->polls = polls;
	keys = realloc(st->keys, n * sizeof(*keys));
	if (keys)
		st->keys = keys;
	if (!polls || !keys)
		return -ENOMEM;
	st->cap = n;
	return 0;
}

static uint32_t collect(struct tn_loop *loop)
{
	struct sim_state *st = loop->engine_state;
	uint32_t n = 0;

	for (uint32_t i = 1; i < loop->nslots; i++) {
		const struct tni_fd *fd = loop->slots[i].fd;
		short events = 0;

		if (!fd || fd->flags & TNI_FD_ALWAYS)
			continue;
		if (fd->rd.state == TNI_ARMED)
			events |= POLLIN | POLLRDHUP;
		if (fd->wr.state == TNI_ARMED)
			events |= POLLOUT;
		if (!events)
			continue;
		st->polls[n] = (struct pollfd){.fd = fd->fd, .events = events};
		st->keys[n++] = tni_slot_key(loop, fd);
	}
	return n;
}

static void report(struct tn_loop *loop, uint32_t i)
{
	struct sim_state *st = loop->engine_state;
	struct tni_fd *fd = tni_slot_find(loop, st->keys[i]);
	short events = st->polls[i].revents;
	unsigned bits = 0;

	if (!fd || !events || chance(st, 8)) /* left for a later turn: polling tells it again */
		return;
	if (events & POLLIN)
		bits |= TNI_RD;
	if (events & POLLOUT)
		bits |= TNI_WR;
	if (events & (POLLHUP | POLLERR | POLLRDHUP))
		bits |= TNI_HUP;
	tni_ready_event(loop, fd, bits);
}

static int sim_wait(struct tn_loop *loop, uint64_t timeout_ns)
{
	struct sim_state *st = loop->engine_state;
	struct timespec ts = {.tv_sec = (time_t)(timeout_ns / TNI_NS_PER_S),
			      .tv_nsec = (long)(timeout_ns % TNI_NS_PER_S)};
	uint32_t n, first;

	if (any_cancelling(loop)) {
		ts = (struct timespec){0};
		timeout_ns = 0;
	}
	if (loop->nslots > st->cap && grow(st, loop->nslots) < 0)
		return -ENOMEM;
	n = collect(loop);
	if (ppoll(st->polls, n, timeout_ns == TNI_NEVER ? NULL : &ts, NULL) < 0)
		return errno == EINTR ? 0 : -errno;
	loop->now_ns = tni_clock_ns();
	first = n ? (uint32_t)(draw(st) % n) : 0;
	for (uint32_t i = 0; i < n; i++)
		report(loop, (first + i) % n);
	end_all_cancelled(loop);
	return 0;
}

/* Always readable: what is put off here has no event that could tell of it. */
static int sim_open_pollable(struct tn_loop *loop)
{
	struct sim_state *st = loop->engine_state;

	st->pollable = eventfd(1, EFD_CLOEXEC);
	return st->pollable < 0 ? -errno : st->pollable;
}

const struct tni_engine_ops tni_engine_sim = {
	.name = "sim",
	.open = sim_open,
	.submit = sim_submit,
	.cancel = sim_cancel,
	.release = tni_ready_release,
	.wait = sim_wait,
	.close = sim_close,
	.watch = sim_watch,
	.attempt = sim_attempt,
	.open_pollable = sim_open_pollable,
};
