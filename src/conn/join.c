/*
 * Paths between connections: tn_join() and tn_flow().
 *
 * A flow is one direction: what comes from its source goes out on its sink. A connection is the source of one at most,
 * and the sink of one at most. The source does not read (TNI_HOLD_FLOW) while the sink's queue is at its mark.
 *
 * Where much is moved between plain streams of bytes, the source is read by splice(2) into a pipe, which the sink then
 * sends from, after its queue. It is filled only when it is empty: nothing that has been read waits behind something
 * that has not been sent. When the path ends, what is in the pipe moves into the sink's queue: what is sent from then
 * on must not overtake it.
 */
#include "base/err.h"
#include "conn/dialler.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "conn/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* So many messages in a row of at least so many bytes: much is moved, and splice(2) pays. */
#define BULK_LEN (32 * 1024)
#define BULK_STREAK 4

/* So many in a row that bring less: copying is cheaper again. */
#define SMALL_LEN (8 * 1024)
#define SMALL_STREAK 16

/* Without a pipe, it is tried again after so many more. */
#define RETRY_STREAK 256

/* What a flow is, is part of its source's struct tni_extra. NULL: it is the source of none, or not any more. */
static struct tni_extra *flow_of(const struct tn_conn *from)
{
	struct tni_extra *f = tni_extra_of(from);

	return f && f->source ? f : NULL;
}

static const struct tn_pass *pass_of(const struct tni_extra *f)
{
	return &f->role->pass;
}

/* Of a sink: what has not come into this process. */
static struct tni_pipe *pipe_of(const struct tn_conn *to)
{
	const struct tni_seldom *s = tni_seldom_of(to);

	return s ? s->pipe : NULL;
}

/* ---- holding back ---- */

static void hold(struct tn_conn *from)
{
	if (from->flags & (TNI_CLOSING | TNI_REFUSED | TNI_DEAD))
		return;
	tni_conn_hold_back(from, TNI_HOLD_FLOW);
}

static void let_go(struct tn_conn *from)
{
	if (!(from->hold & TNI_HOLD_FLOW))
		return;
	from->hold &= (uint8_t)~TNI_HOLD_FLOW;
	from->active_ns = from->loop->now_ns; /* the silence until now was not its peer's */
	tni_loop_ready(from->loop, &from->task);
}

void tni_join_full(struct tn_conn *to)
{
	const struct tni_extra *x = tni_extra_of(to);

	if (x && x->from)
		hold(x->from);
}

/* ---- ends ---- */

static void set_blocking(struct tn_conn *c);

/* The pipe is about to go. */
static void stop_filling(struct tn_conn *from)
{
	if (from->io.rd.kind != TNI_OP_SPLICE_IN)
		return;
	(void)tni_cancel(from->loop, &from->io, &from->io.rd);
	tni_loop_ready(from->loop, &from->task); /* it may read in the other way */
}

static void drop_pipe(struct tn_conn *c)
{
	struct tni_seldom *s = tni_extra_in(c)->seldom;

	tni_pipe_put(c->loop, s->pipe);
	s->pipe = NULL;
}

/* What the pipe holds is put into the queue after all. */
static int unsplice(struct tn_conn *c)
{
	struct tni_pipe *pipe = pipe_of(c);

	while (pipe->len) {
		struct tni_blk *blk = tni_blk_get(&c->loop->mem.large);
		ssize_t n = blk ? read(pipe->rd, blk->data, blk->cap) : -1;

		if (n <= 0) {
			if (blk)
				tni_blk_unref(blk);
			return -ENOMEM;
		}
		blk->used = (uint32_t)n;
		pipe->len -= (uint32_t)n;
		if (tni_buf_give(&c->tx, blk) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* The path of a sink ends. A splice(2) that is cancelled moves nothing any more. */
static void empty_pipe(struct tn_conn *c)
{
	if (c->io.wr.kind == TNI_OP_SPLICE_OUT)
		(void)tni_cancel(c->loop, &c->io, &c->io.wr);
	if (!(c->flags & TNI_DEAD) && unsplice(c) < 0)
		tni_conn_fail(c, -ENOMEM, "join");
	drop_pipe(c);
}

/* Its source has ended, or one of the two has closed. */
static void flow_end(struct tn_conn *from)
{
	struct tni_extra *f = tni_extra_in(from);
	struct tn_conn *to = f->to;

	stop_filling(from);
	f->source = f->splices = false;
	f->to = NULL;
	if (to) {
		tni_extra_in(to)->from = NULL;
		if (pipe_of(to))
			empty_pipe(to);
	}
	let_go(from);
	set_blocking(from);
	if (to) {
		set_blocking(to);
		tni_loop_ready(to->loop, &to->task); /* an end that was told may close it now */
	}
}

/* Both ends of a path that cannot go on: what they have to send goes out, then they close with the error. */
static void flow_fail(struct tn_conn *from, int err)
{
	struct tni_extra *f = tni_extra_in(from);

	f->failed = true;
	tni_conn_pass_error(from, err);
	if (f->to)
		tni_conn_pass_error(f->to, err);
}

/* Its path ended with the other one. */
static void lose(struct tn_conn *c, int err, const char *why)
{
	if (c->flags & (TNI_DEAD | TNI_CLOSING))
		return;
	if (err == 0) {
		tn_close(c);
		return;
	}
	tni_err(err, "%s", why);
	tni_conn_pass_error(c, err);
}

static bool is_free(const struct tn_conn *c)
{
	const struct tni_extra *x = tni_extra_in(c);

	return !x->source && !x->from;
}

/*
 * Its source closes. What the program has kept back of it is for the sink: it is queued now, however full the sink is,
 * so that it goes out before the end or the error.
 */
static void take_kept(struct tn_conn *from)
{
	struct tni_extra *f = tni_extra_in(from);
	struct tn_conn *to = f->to;
	uint32_t max, layered_max;
	int rc;

	if (!to || !f->kept || !pass_of(f)->room || f->failed || to->flags & (TNI_DEAD | TNI_CLOSING))
		return;
	max = to->tx.max;
	layered_max = to->layered ? to->layered->tx_max : 0;
	to->flags &= ~(uint32_t)TNI_FULL;
	to->tx.max = UINT32_MAX;
	if (to->layered)
		to->layered->tx_max = UINT32_MAX;
	rc = pass_of(f)->room(from, to, f->arg);
	to->tx.max = max;
	if (to->layered)
		to->layered->tx_max = layered_max;
	if (rc < 0 && rc != TN_ESTATE)
		tni_conn_pass_error(to, rc);
}

static void on_join_close(struct tn_conn *c, int err, void *arg)
{
	struct tni_extra *x = tni_extra_in(c);
	struct tn_conn *to = x->source ? x->to : NULL, *from = x->from;
	bool both = to && to == from;
	char why[512];

	*stpncpy(why, tn_errmsg(), sizeof(why) - 1) = '\0';
	if (x->source) {
		take_kept(c);
		flow_end(c);
	}
	if (x->from)
		flow_end(x->from);
	tni_extra_end_waits(c, err);
	tni_err(err, "%s", why);
	if (x->role->user.on_close)
		x->role->user.on_close(c, err, arg);
	/* Unless they have got another path now. */
	if (to && (both ? is_free(to) : !tni_extra_in(to)->from))
		lose(to, err, why);
	if (from && !both && !tni_extra_in(from)->source)
		lose(from, err, why);
}

/* ---- copying ---- */

static void start_splicing(struct tn_conn *from);

/* Of those that may be lost, one that does not fit is. */
static bool is_lost(const struct tn_conn *from, int err)
{
	return (err == -EMSGSIZE || err == TN_ETOOBIG) && !from->kind->ends;
}

/*
 * Who writes into a pipe is told by that, as by any pipe without a reader. What else comes may be dropped. The path
 * goes first: that its source closes now is no reason to close its sink, of which something may still be read.
 */
static void nobody_takes(struct tn_conn *from)
{
	if (!(from->flags & TNI_READ_ONLY))
		return;
	flow_end(from);
	tn_close(from);
}

/* The sink tells of room once its queue has gone down. Who kept something back need not have filled it. */
static void wait_for_room(struct tn_conn *from)
{
	struct tni_extra *f = tni_extra_in(from);

	f->kept = pass_of(f)->room != NULL;
	hold(from);
	if (f->to->flags & TNI_OWE_DRAIN)
		return;
	f->to->flags |= TNI_OWE_DRAIN;
	tni_loop_later(f->to->loop, &f->to->task);
}

static void on_flow_msg(struct tn_conn *from, const struct tn_msg *msg, void *arg)
{
	struct tni_extra *f = tni_extra_in(from);
	const struct tn_pass *pass = pass_of(f);
	bool as_it_is = !pass->msg;
	int rc;

	(void)arg;
	if (!f->source || f->failed || (!f->to && as_it_is))
		return;
	if (!f->first_ns)
		f->first_ns = from->loop->now_ns;
	rc = as_it_is ? tn_forward(f->to, msg) : pass->msg(from, msg, f->to, f->arg);
	if (!f->source)
		return;
	if (rc == 1 && f->to) {
		wait_for_room(from);
	} else if (rc < 0 && is_lost(from, rc)) {
		tni_dgram_lose(from);
	} else if (rc == TN_ESTATE) { /* its on_close tells why */
		nobody_takes(from);
		return;
	} else if (rc < 0) {
		flow_fail(from, rc);
	}
	f->big = (int16_t)(msg->len >= BULK_LEN ? f->big + 1 : f->big < 0 ? f->big : 0);
	if (f->big >= BULK_STREAK && f->to && !f->unfit && as_it_is)
		start_splicing(from);
}

static void on_flow_drain(struct tn_conn *to, void *arg)
{
	struct tn_conn *from = tni_extra_in(to)->from;
	struct tni_extra *f = from ? tni_extra_in(from) : NULL;
	int rc = 0;

	(void)arg;
	if (!f || tni_extra_piped(to)) /* then the source goes on when the pipe is empty */
		return;
	if (f->kept && pass_of(f)->room)
		rc = pass_of(f)->room(from, to, f->arg);
	if (tni_extra_in(to)->from != from)
		return;
	if (rc == 1) {
		wait_for_room(from);
		return;
	}
	f->kept = false;
	if (rc < 0 && rc != TN_ESTATE)
		flow_fail(from, rc);
	let_go(from);
}

static void on_flow_end(struct tn_conn *from, void *arg)
{
	struct tni_extra *f = flow_of(from);

	(void)arg;
	if (!f || f->failed) /* not all before it was passed on: both close with the error */
		return;
	if (pass_of(f)->end)
		pass_of(f)->end(from, f->to, f->arg);
	else if (f->to)
		(void)tn_finish(f->to); /* refused: its on_close tells why */
	if (f->source)
		flow_end(from);
}

static void on_flow_cut(struct tn_conn *from, void *arg)
{
	struct tni_extra *f = flow_of(from);

	(void)arg;
	if (f && f->failed)
		return;
	if (!f || !pass_of(f)->cut) {
		tn_close(from); /* with TN_ECUT, which its on_close passes on */
		return;
	}
	pass_of(f)->cut(from, f->to, f->arg);
	if (f->source)
		flow_end(from);
}

/* ---- splicing ---- */

/* splice(2) waits for sockets unless they are set so; whether an inherited one may be is not for us to say. */
static bool set_nonblocking(struct tn_conn *c)
{
	struct tni_extra *x = tni_extra_in(c);
	int flags = fcntl(c->io.fd, F_GETFL);

	if (flags < 0)
		return false;
	if (flags & O_NONBLOCK)
		return true;
	if (c->io.flags & TNI_FD_FILE || c->ep->scheme->place == TNI_AT_FD ||
	    fcntl(c->io.fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return false;
	c->io.flags |= TNI_FD_POLLED; /* the ring does not wait on those */
	x->nonblocking = true;
	return true;
}

static void set_blocking(struct tn_conn *c)
{
	struct tni_extra *x = tni_extra_in(c);
	int flags;

	if (!x->nonblocking || pipe_of(c) || x->splices)
		return;
	flags = fcntl(c->io.fd, F_GETFL);
	if (flags < 0 || fcntl(c->io.fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return;
	c->io.flags &= (uint16_t)~TNI_FD_POLLED;
	x->nonblocking = false;
}

static bool may_splice(const struct tn_conn *c)
{
	struct stat st;

	if (c->layered || c->ep->codec || c->flags & TNI_DIALLING || tni_conn_has_messages(c) || tni_conn_is_tapped(c))
		return false;
	return c->kind == &tni_kind_bytes ||
	       (c->kind == &tni_kind_file && fstat(c->io.fd, &st) == 0 && S_ISFIFO(st.st_mode));
}

static void start_splicing(struct tn_conn *from)
{
	struct tni_extra *f = tni_extra_in(from);
	struct tn_conn *to = f->to;
	struct tni_seldom *s;

	if (f->splices || pipe_of(to) || f->failed)
		return;
	if (to->flags & TNI_DIALLING) { /* not known yet */
		f->big = 0;
		return;
	}
	f->unfit = !may_splice(from) || !may_splice(to) || !set_nonblocking(from) || !set_nonblocking(to);
	s = f->unfit ? NULL : tni_seldom_get(to);
	if (s)
		s->pipe = tni_pipe_get(from->loop);
	f->splices = s && s->pipe;
	f->small = 0;
	f->big = f->splices ? 0 : -RETRY_STREAK;
	if (!f->splices) {
		set_blocking(from);
		set_blocking(to);
	}
}

static void stop_splicing(struct tn_conn *from)
{
	struct tni_extra *f = tni_extra_in(from);
	const struct tni_pipe *pipe = pipe_of(f->to);

	f->splices = false;
	f->big = 0;
	if (pipe && !pipe->len)
		drop_pipe(f->to);
	set_blocking(from);
	set_blocking(f->to);
}

#ifdef TNI_HAVE_TAPS

/* What is in the pipe already goes out unseen. */
static void look_at(struct tn_conn *from)
{
	if (!flow_of(from) || !flow_of(from)->splices)
		return;
	stop_filling(from);
	stop_splicing(from);
	tni_extra_in(from)->unfit = true;
}

void tni_join_tapped(struct tn_conn *c)
{
	look_at(c);
	if (tni_extra_in(c)->from)
		look_at(tni_extra_in(c)->from);
}

#endif

enum tni_op_kind tni_join_read_kind(const struct tn_conn *c)
{
	const struct tni_extra *f = tni_extra_of(c);

	if (!f || !f->splices || c->rx.head || c->flags & (TNI_CLOSING | TNI_REFUSED | TNI_DEAD))
		return TNI_OP_RECV;
	return TNI_OP_SPLICE_IN;
}

bool tni_join_reads_otherwise(const struct tn_conn *c)
{
	return c->flags & TNI_EXTRA && c->kind->ends && c->io.rd.kind != tni_join_read_kind(c);
}

struct tni_pipe *tni_join_pipe(const struct tn_conn *c)
{
	return pipe_of(tni_extra_in(c)->to);
}

/* Not for these descriptors, or not for this process. */
static bool is_refusal(int err)
{
	return err == -EINVAL || err == -ENOSYS || err == -EPERM || err == -EACCES || err == -EOPNOTSUPP;
}

int tni_join_filled(struct tn_conn *c, int res)
{
	struct tni_extra *f = tni_extra_in(c);

	if (!f->splices)
		return res < 0 ? res : 0;
	if (res < 0 && is_refusal(res)) {
		f->unfit = true;
		stop_splicing(c);
		return 0;
	}
	if (res < 0)
		return res;
	c->bytes_in += (uint64_t)res;
	c->msgs_in++;
	tni_conn_count(c, bytes_in, (uint64_t)res);
	tni_conn_count(c, msgs_in, 1);
	f->to->msgs_out++;
	pipe_of(f->to)->len = (uint32_t)res;
	tni_conn_count_queued(f->to, 1, tni_conn_queued(f->to));
	hold(c);
	f->small = (uint8_t)(res >= SMALL_LEN ? 0 : f->small < SMALL_STREAK ? f->small + 1 : f->small);
	if (f->to->flags & (TNI_DEAD | TNI_CLOSING | TNI_FIN_WANTED)) /* it takes nothing more */
		tni_join_mute(f->to);
	else
		tni_loop_ready(f->to->loop, &f->to->task);
	return 0;
}

/* The pipe is empty: its source may fill it again. */
static void emptied(struct tn_conn *c)
{
	struct tn_conn *from = tni_extra_in(c)->from;
	const struct tni_extra *f = tni_extra_in(from);

	if (f->splices && f->small < SMALL_STREAK) {
		let_go(from);
		return;
	}
	stop_splicing(from);
	if (!(c->flags & TNI_OWE_DRAIN))
		let_go(from);
}

int tni_join_emptied(struct tn_conn *c, int res)
{
	struct tni_pipe *pipe = pipe_of(c);

	if (!pipe) /* the path has ended since: what was in it is in the queue */
		return is_refusal(res) ? 0 : res;
	if (res < 0 && is_refusal(res) && unsplice(c) == 0) {
		struct tni_extra *f = tni_extra_in(tni_extra_in(c)->from);

		f->unfit = true;
		f->splices = false;
		c->flags |= TNI_OWE_DRAIN; /* then the source goes on */
		emptied(c);
		return 0;
	}
	if (res < 0)
		return res;
	c->bytes_out += (uint64_t)res;
	tni_conn_count(c, bytes_out, (uint64_t)res);
	pipe->len -= (uint32_t)res;
	if (!pipe->len)
		emptied(c);
	return 0;
}

void tni_join_mute(struct tn_conn *c)
{
	struct tn_conn *from;

	if (!pipe_of(c))
		return;
	from = tni_extra_in(c)->from;
	stop_filling(from);
	tni_extra_in(from)->splices = false;
	tni_extra_in(from)->unfit = true;
	let_go(from);
	drop_pipe(c);
}

void tni_join_moved(struct tn_conn *c)
{
	const struct tni_extra *x = tni_extra_of(c);

	if (x && x->from && x->from->hold & TNI_HOLD_FLOW)
		x->from->active_ns = c->loop->now_ns;
}

/* ---- joining ---- */

enum like { BYTES, MESSAGES, DATAGRAMS };

static enum like what_is(const struct tn_conn *c)
{
	if (!c->kind->ends)
		return DATAGRAMS;
	return tni_conn_has_messages(c) ? MESSAGES : BYTES;
}

static const char *name_of(enum like what)
{
	return what == BYTES ? "bytes" : what == MESSAGES ? "messages" : "datagrams";
}

static bool has_many_peers(const struct tn_conn *c)
{
	return c->kind->has_many_peers && c->kind->has_many_peers(c);
}

static int check_pair(const struct tn_conn *a, const struct tn_conn *b, bool as_they_are)
{
	enum like is_a = what_is(a), is_b = what_is(b);

	if (a == b)
		return tni_err(-EINVAL, "%s: a connection cannot be joined with itself", a->ep->url);
	if (a->loop != b->loop)
		return tni_err(-EINVAL, "%s: joined with a connection of another loop", a->ep->url);
	if (has_many_peers(a) || has_many_peers(b))
		return tni_err(-EOPNOTSUPP, "%s has many peers: it cannot be joined",
			       has_many_peers(a) ? a->ep->url : b->ep->url);
	if (as_they_are && is_a != is_b)
		return tni_err(-EINVAL, "%s carries %s, %s carries %s: these cannot be joined", a->ep->url,
			       name_of(is_a), b->ep->url, name_of(is_b));
	return 0;
}

static int check_source(const struct tn_conn *from)
{
	const struct tni_extra *x = tni_extra_of(from);

	if (from->flags & (TNI_DEAD | TNI_CLOSING | TNI_REFUSED))
		return tni_err(TN_ESTATE, "%s: join: the connection is closing", from->ep->url);
	if (from->flags & TNI_WRITE_ONLY)
		return tni_err(-EINVAL, "%s: join: nothing can be read from it", from->ep->url);
	if (x && x->source)
		return tni_err(-EBUSY, "%s: joined already", from->ep->url);
	return 0;
}

static int check_sink(const struct tn_conn *to)
{
	const struct tni_extra *x = tni_extra_of(to);

	if (to->flags & TNI_READ_ONLY)
		return tni_err(-EINVAL, "%s: join: nothing can be written to it", to->ep->url);
	if (to->flags & (TNI_DEAD | TNI_CLOSING | TNI_FIN_WANTED))
		return tni_err(TN_ESTATE, "%s: join: %s", to->ep->url,
			       to->flags & (TNI_DEAD | TNI_CLOSING) ? "the connection is closing"
								    : "our direction has been ended");
	if (x && x->from)
		return tni_err(-EBUSY, "%s: joined already", to->ep->url);
	return 0;
}

void tni_join_handle(struct tni_role *role, bool source, bool sink)
{
	role->handler = role->user;
	role->handler.on_close = on_join_close;
	if (source) {
		role->handler.on_msg = on_flow_msg;
		role->handler.on_end = on_flow_end;
		role->handler.on_cut = on_flow_cut;
	}
	if (sink)
		role->handler.on_drain = on_flow_drain;
}

void tni_join_forget(struct tni_extra *x)
{
#define SOURCE .on_close = on_join_close, .on_msg = on_flow_msg, .on_end = on_flow_end, .on_cut = on_flow_cut
	static const struct tni_role roles[2][2] = {
		{{.handler = {.on_close = on_join_close}},
		 {.handler = {.on_close = on_join_close, .on_drain = on_flow_drain}}},
		{{.handler = {SOURCE}}, {.handler = {SOURCE, .on_drain = on_flow_drain}}},
	};
#undef SOURCE

	tni_extra_take(x, &roles[x->source][x->from != NULL]);
}

/* Everything that can fail. What it will be as one end of a path, or of two; `pass` of what comes from it then. */
static const struct tni_role *role_for(struct tn_conn *c, bool source, bool sink, const struct tn_pass *pass)
{
	const struct tni_extra *x = tni_extra_get(c);
	struct tni_role role;

	if (!x)
		return NULL;
	role = (struct tni_role){.user = x->role->user};
	if (source && pass)
		role.pass = *pass;
	else if (x->source)
		role.pass = x->role->pass;
	tni_join_handle(&role, source || x->source, sink || x->from);
	return tni_role_get(c, &role);
}

static int no_memory(const struct tn_conn *c, const struct tni_role *role)
{
	if (role)
		tni_dialler_unref(&role->handler);
	return tni_err(-ENOMEM, "%s: join: out of memory", c->ep->url);
}

static void flow_start(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	struct tni_extra *f = tni_extra_in(from);

	f->source = true;
	f->kept = f->failed = f->splices = f->unfit = false;
	f->big = 0;
	f->to = to;
	f->arg = arg;
	if (to) {
		tni_extra_in(to)->from = from;
		if (to->flags & TNI_OWE_DRAIN || tni_conn_queued(to) >= to->ep->queue) {
			to->flags |= TNI_OWE_DRAIN;
			hold(from);
			tni_loop_ready(to->loop, &to->task);
		}
	}
	/* An end that was told before is told again, to the path. */
	from->flags &= ~(uint32_t)TNI_END_TOLD;
	tni_loop_ready(from->loop, &from->task);
}

int tn_flow(struct tn_conn *from, struct tn_conn *to, const struct tn_pass *pass, void *arg)
{
	int rc = to ? check_pair(from, to, !pass || !pass->msg) : 0;
	const struct tni_role *of_from, *of_to;

	if (rc == 0)
		rc = check_source(from);
	if (rc == 0 && to)
		rc = check_sink(to);
	if (rc < 0)
		return rc;
	of_from = role_for(from, true, false, pass);
	of_to = of_from && to ? role_for(to, false, true, NULL) : NULL;
	if (!of_from || (to && !of_to))
		return no_memory(from, of_from);
	tni_extra_take(tni_extra_in(from), of_from);
	if (to)
		tni_extra_take(tni_extra_in(to), of_to);
	flow_start(from, to, arg);
	return 0;
}

/* Whether there is such a direction at all. */
static bool can_flow(const struct tn_conn *from, const struct tn_conn *to)
{
	return !(from->flags & TNI_WRITE_ONLY) && !(to->flags & TNI_READ_ONLY);
}

int tn_join(struct tn_conn *a, struct tn_conn *b)
{
	const struct tni_role *of_a, *of_b;
	bool ab = can_flow(a, b), ba = can_flow(b, a);
	int rc = check_pair(a, b, true);

	if (rc == 0 && !ab && !ba)
		rc = tni_err(-EINVAL, "%s and %s have no direction in common", a->ep->url, b->ep->url);
	if (rc == 0 && ab)
		rc = check_source(a);
	if (rc == 0 && ab)
		rc = check_sink(b);
	if (rc == 0 && ba)
		rc = check_source(b);
	if (rc == 0 && ba)
		rc = check_sink(a);
	if (rc < 0)
		return rc;
	of_a = role_for(a, ab, ba, NULL);
	of_b = of_a ? role_for(b, ba, ab, NULL) : NULL;
	if (!of_b)
		return no_memory(a, of_a);
	tni_extra_take(tni_extra_in(a), of_a);
	tni_extra_take(tni_extra_in(b), of_b);
	if (ab)
		flow_start(a, b, NULL);
	if (ba)
		flow_start(b, a, NULL);
	return 0;
}
