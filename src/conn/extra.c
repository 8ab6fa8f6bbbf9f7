#include "conn/extra.h"

#include "base/err.h"
#include "conn/again.h"
#include "conn/dialler.h"
#include "conn/heartbeat.h"
#include "conn/program.h"
#include "conn/pump.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static_assert(sizeof(struct tni_extra) <= 56, "an idle path costs at most 64 bytes at each end, allocator included");

/* How often the kernel is asked what the peer has acknowledged: no event tells. */
#define ACK_POLL_NS (10 * TNI_NS_PER_MS)

struct tni_wait {
	struct tni_wait *next;
	void (*fn)(struct tn_conn *conn, int err, void *arg);
	void *arg;
	uint64_t until; /* bytes_out by then; UINT64_MAX: until the queue is empty */
	bool taken;     /* by the kernel */
	bool for_ack;
};

static void ack_due(struct tni_timer *timer)
{
	struct tni_seldom *s = tni_container_of(timer, struct tni_seldom, timer);

	tni_loop_ready(s->conn->loop, &s->conn->task);
}

const struct tni_role *tni_role_get(const struct tn_conn *c, const struct tni_role *wanted)
{
	struct tni_dialler *dialler = tni_dialler_of(c->loop);

	return dialler ? tni_dialler_role(dialler, wanted) : NULL;
}

void tni_extra_take(struct tni_extra *x, const struct tni_role *role)
{
	tni_dialler_unref(&x->role->handler);
	x->role = role;
}

struct tni_extra *tni_extra_get(struct tn_conn *c)
{
	struct tni_role role;
	struct tni_extra *x;

	if (c->flags & TNI_EXTRA)
		return tni_extra_in(c);
	role = (struct tni_role){.user = *c->handler};
	tni_join_handle(&role, false, false);
	x = calloc(1, sizeof(*x));
	if (!x || !(x->role = tni_role_get(c, &role))) {
		free(x);
		return NULL;
	}
	if (!c->part)
		tni_dialler_unref(c->handler);
	c->extra = x;
	c->flags |= TNI_EXTRA;
	return x;
}

struct tni_seldom *tni_seldom_get(struct tn_conn *c)
{
	struct tni_extra *x = tni_extra_get(c);

	if (x && !x->seldom && (x->seldom = calloc(1, sizeof(*x->seldom)))) {
		x->seldom->conn = c;
		x->seldom->timer.fire = ack_due;
	}
	return x ? x->seldom : NULL;
}

static void tell(struct tn_conn *c, struct tni_wait *w, int err)
{
	w->fn(c, err, w->arg);
	free(w);
}

void tni_extra_free(struct tn_conn *c)
{
	struct tni_extra *x = tni_extra_in(c);

	if (x->seldom) {
		tni_loop_untimer(c->loop, &x->seldom->timer);
#ifdef TNI_HAVE_RECONNECT
		tni_again_free(c->loop, x->seldom->again);
		tni_heartbeat_free(c->loop, x->seldom->heartbeat);
#endif
#ifdef TNI_HAVE_FILES
		tni_exec_free(x->seldom->exec);
#endif
		if (x->seldom->handle)
			tni_handle_gone(x->seldom->handle);
	}
	c->flags &= ~(uint32_t)TNI_EXTRA;
	c->handler = &tni_no_handler;
	tni_dialler_unref(&x->role->handler);
	free(x->seldom);
	free(x);
}

/* What was queued has been dropped. */
static bool has_lost(const struct tn_conn *c)
{
	return c->flags & TNI_WRITE_LOST || (c->layered && c->layered->failed) || tni_exec_is_deaf(c);
}

bool tni_extra_is_awaited(const struct tn_conn *c)
{
	const struct tni_seldom *s = tni_seldom_of(c);

	return s && s->waits && !has_lost(c);
}

bool tni_extra_is_owed(const struct tn_conn *c)
{
	const struct tni_extra *x = tni_extra_of(c);

	const struct tni_seldom *s = x ? x->seldom : NULL;

	return x && (x->from || (s && (s->waits || (s->handle && tni_handle_waits(s->handle)))));
}

/* Bytes that the kernel has and the peer has not acknowledged, or not read. What cannot be asked has none. */
static size_t unacknowledged(const struct tn_conn *c)
{
	const struct tn_conn *s = tni_conn_socket(c);
	int left = 0;

	if (!s || s->io.fd < 0 || !s->kind->ends)
		return 0;
#ifdef TNI_HAVE_SHM
	if (s->kind->unsent)
		return s->kind->unsent(s);
#endif
	if (ioctl(s->io.fd, SIOCOUTQ, &left) < 0 && ioctl(s->io.fd, FIONREAD, &left) < 0)
		return 0;
	return left > 0 ? (size_t)left : 0;
}

bool tni_conn_has_error(const struct tn_conn *c)
{
	struct pollfd p = {.fd = c->io.fd};

	return poll(&p, 1, 0) > 0 && p.revents & POLLERR;
}

/* What the peer of a Unix socket has not read when it closes is dropped: then nothing is left to be asked for. */
static bool is_dropped(const struct tn_conn *c)
{
	const struct tn_conn *s = tni_conn_socket(c);
	socklen_t len = sizeof(int);
	int domain = 0;

	if (!(c->flags & TNI_READ_LOST) && (!s || s->io.fd < 0 || !tni_conn_has_error(s)))
		return false;
	return s && getsockopt(s->io.fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

static bool is_acknowledged(const struct tn_conn *c, const struct tni_wait *w)
{
	size_t left = unacknowledged(c);

	/* Of a Unix socket it is the memory that they take, which is more: then this comes true a little later. */
	return (left == 0 || (w->until != UINT64_MAX && c->bytes_out >= w->until + left)) && !is_dropped(c);
}

static bool is_taken(const struct tn_conn *c, const struct tni_wait *w)
{
	return w->taken || (w->until == UINT64_MAX ? !has_lost(c) && !tni_conn_queued(c) : c->bytes_out >= w->until);
}

static bool has_come(const struct tn_conn *c, struct tni_wait *w)
{
	w->taken = is_taken(c, w);
	return w->taken && (!w->for_ack || is_acknowledged(c, w));
}

/* Those who begin to wait meanwhile do so for what comes next. */
void tni_extra_end_waits(struct tn_conn *c, int err)
{
	struct tni_seldom *s = tni_extra_in(c)->seldom;
	struct tni_wait *w = s ? s->waits : NULL, *last = w;

	while (last && last->next)
		last = last->next;
	for (bool more = last; more && (w = s->waits);) {
		more = w != last;
		s->waits = w->next;
		tell(c, w, !err && !w->for_ack && is_taken(c, w) ? 0 : err ? err : -ECANCELED);
	}
}

void tni_extra_drop_waits(struct tn_conn *c)
{
	struct tni_seldom *s = tni_extra_in(c)->seldom;
	struct tni_wait *w;

	while (s && (w = s->waits)) {
		s->waits = w->next;
		free(w);
	}
}

static int error_of(const struct tn_conn *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

#ifdef TNI_HAVE_SHM
	if (c->kind->error)
		return c->kind->error(c);
#endif
	return getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 ? -err : 0;
}

/* A peer that has gone acknowledges nothing. Where nothing is read any more, nothing else would find that. */
static void look_for_error(struct tn_conn *c)
{
	int err = c->flags & TNI_RX_END && c->io.fd >= 0 && c->kind->resets ? error_of(c) : 0;

	if (err)
		tni_conn_fail(c, err, "write");
	else if (c->flags & TNI_WRITE_ONLY && c->io.fd >= 0 && tni_conn_has_error(c)) /* a pipe without a reader */
		tni_conn_fail(c, -EPIPE, "write");
}

void tni_extra_run(struct tn_conn *c)
{
	struct tni_seldom *s = tni_extra_in(c)->seldom;
	bool ask = false;

	if (!s)
		return;
	if (s->handle)
		tni_handle_run(s->handle);
	for (struct tni_wait **at = &s->waits, *w; (w = *at);) {
		if (c->flags & TNI_DEAD)
			return; /* all are told when it closes */
		if (!has_come(c, w)) {
			ask = ask || w->taken;
			at = &w->next;
			continue;
		}
		*at = w->next;
		tni_loop_ready(c->loop, &c->task); /* that may have been all that it was open for */
		tell(c, w, 0);
		at = &s->waits; /* it may have called anything */
	}
	if (ask)
		look_for_error(c);
	if (ask && !(c->flags & TNI_DEAD))
		tni_loop_timer(c->loop, &s->timer, ACK_POLL_NS);
}

int tn_when_sent(struct tn_conn *c, enum tn_sent how, void (*fn)(struct tn_conn *conn, int err, void *arg), void *arg)
{
	struct tni_seldom *s;
	struct tni_wait *w, **at;

	if (c->flags & (TNI_DEAD | TNI_WRITE_LOST))
		return tni_err(TN_ESTATE, "%s: the connection has failed", c->ep->url);
	s = tni_seldom_get(c);
	w = s ? calloc(1, sizeof(*w)) : NULL;
	if (!w)
		return tni_err(-ENOMEM, "%s: out of memory", c->ep->url);
	*w = (struct tni_wait){.fn = fn, .arg = arg, .until = UINT64_MAX, .for_ack = how == TN_SENT_ACKNOWLEDGED};
	if (c->kind->ends && !c->layered && !(c->flags & TNI_DIALLING) && !has_lost(c))
		w->until = c->bytes_out + tni_conn_queued(c);
	for (at = &s->waits; *at; at = &(*at)->next)
		;
	*at = w;
	tni_loop_ready(c->loop, &c->task);
	return 0;
}
