/*
 * Handles: a connection for other threads. What they want of it is a mail, which goes through the inbox of its loop
 * (io/inbox) to the loop's side of the handle. There it is carried out, or kept in order until the connection's queue
 * has room again, or a connection that is ending is about to be dialled again (key reconnect).
 *
 * One atomic number says how much is on its way and whether the connection takes it: `state`. Once GONE stands there,
 * nothing is added any more, so whoever takes off the last byte knows that nobody but the holders of references can see
 * the handle.
 */
#include "conn/handle.h"

#include "base/arena.h"
#include "base/err.h"
#include "conn/again.h"
#include "conn/pump.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define GONE (1ULL << 63) /* the connection */
#define SHUT (1ULL << 62) /* it takes nothing more */
#define FULL (1ULL << 61) /* a sender was refused: so are all until half of the mark is left */
#define BYTES (FULL - 1)

struct tn_handle {
	_Atomic(unsigned) refs;
	_Atomic(unsigned) waiting;  /* threads in tn_handle_wait() */
	_Atomic(uint32_t) progress; /* a futex: changes when these are to look again */
	struct tni_inbox *inbox;
	uint64_t id;
	size_t mark, longest;
	/* Written by whoever sends; on a cache line of its own. */
	char apart[64];
	_Atomic(uint64_t) state;
	char apart_too[64];
	/* The loop's */
	struct tn_conn *conn;           /* NULL: gone */
	struct tni_post *first, **last; /* mails that wait for room in its queue */
	size_t done;                    /* bytes carried out that still stand in `state` */
	bool full;                      /* the connection's queue is */
};

enum verb { SEND, SHARE, CALL, CLOSE, ABORT, RELEASE };

struct mail {
	struct tni_post post; /* its next is also that of the mails that wait */
	struct tn_handle *handle;
	union {
		size_t len; /* SEND, SHARE */
		int err;    /* ABORT */
	};
	uint32_t hops;
	uint8_t verb, kind;
	bool has_peer;                        /* which stands in front of the bytes */
	alignas(void *) unsigned char data[]; /* SEND: what is sent; SHARE: a struct share; CALL: a struct call */
};

struct share {
	struct tn_shared *shared;
};

struct call {
	void (*fn)(struct tn_conn *conn, void *arg);
	void *arg;
};

static size_t size_of(const struct mail *m)
{
	if (m->verb == SEND)
		return sizeof(*m) + m->len + (m->has_peer ? sizeof(struct tn_addr) : 0);
	if (m->verb == SHARE)
		return sizeof(*m) + m->len;
	return sizeof(*m) + (m->verb == CALL ? sizeof(struct call) : 0);
}

static bool is_message(const struct mail *m)
{
	return m->verb == SEND || m->verb == SHARE;
}

static struct tn_shared *shared_in(const struct mail *m)
{
	struct share share;

	memcpy(&share, m->data, sizeof(share));
	return share.shared;
}

static void mail_free(struct mail *m)
{
	if (m->verb == SHARE)
		tn_shared_unref(shared_in(m));
	tni_arena_put(m);
}

/* ---- the count ---- */

static void tell_waiting(struct tn_handle *h)
{
	if (!atomic_load(&h->waiting))
		return;
	atomic_fetch_add(&h->progress, 1);
	syscall(SYS_futex, &h->progress, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* So much is not on its way any more. The handle may be freed by this. */
static void take_off(struct tn_handle *h, size_t size)
{
	uint64_t now = atomic_fetch_sub(&h->state, size) - size;

	if (now & GONE) { /* those who wait have been told; and if bytes are left, somebody else may free it now */
		if (!(now & BYTES))
			tn_handle_unref(h); /* the connection's own reference */
	} else if ((now & BYTES) <= h->mark / 2) {
		tell_waiting(h);
	}
}

static void set(struct tn_handle *h, uint64_t flag)
{
	atomic_fetch_or(&h->state, flag);
	tell_waiting(h);
}

/* 0; 1: at the mark now; < 0: it may not go. */
static int add(struct tn_handle *h, size_t size, bool bounded)
{
	uint64_t old = atomic_load_explicit(&h->state, memory_order_relaxed), new;
	bool full;

	do {
		full = bounded && ((old & BYTES) >= h->mark || (old & FULL && (old & BYTES) > h->mark / 2));
		if (old & GONE || (bounded && old & SHUT))
			return TN_ESTATE;
		if (full)
			new = old | FULL;
		else
			new = (bounded ? old & ~FULL : old) + size;
	} while (new != old && !atomic_compare_exchange_weak(&h->state, &old, new));
	if (full)
		return TN_EFULL;
	return bounded && (new &BYTES) >= h->mark;
}

/* ---- the loop's side ---- */

static void settle(struct tn_handle *h)
{
	size_t done = h->done;

	h->done = 0;
	if (done)
		take_off(h, done);
}

static void finish(struct tn_handle *h, struct mail *m)
{
	bool now = !is_message(m) || !h->conn;

	h->done += size_of(m);
	mail_free(m);
	/* Otherwise with what comes behind it: by the connection's task, which runs soon. */
	if (now || h->done >= h->mark / 4)
		settle(h);
}

/* The queue has gone down as far as on_drain wants it, or nothing is queued any more. */
static bool has_room(const struct tn_conn *c)
{
	return tni_conn_queued(c) <= c->ep->queue / 2 || c->flags & (TNI_DEAD | TNI_CLOSING | TNI_FIN_WANTED);
}

/* It was taken from a thread that has gone on: who misses it must see that. */
static void fail(struct tn_conn *c, int err)
{
	if (c->kind->ends)
		tni_conn_pass_error(c, err);
	else if (c->dgram)
		tni_dgram_lose(c);
}

static int send_copy(struct tn_conn *c, const struct mail *m)
{
	const struct tn_msg msg = {
		.kind = m->kind, .peer = m->has_peer ? (const void *)m->data : NULL, .hops = m->hops};
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)(m->data + (m->has_peer ? sizeof(*msg.peer) : 0)),
				  .iov_len = m->len};

	return tn_replyv(c, &msg, &iov, 1);
}

/* Whether it is done with: otherwise there is no room yet, or the connection ends and comes back. */
static bool send_mail(struct tn_handle *h, const struct mail *m)
{
	int rc;

	if (h->full && !has_room(h->conn))
		return false;
	rc = m->verb == SHARE ? tn_send_shared(h->conn, shared_in(m)) : send_copy(h->conn, m);
	h->full = rc == 1 || rc == TN_EFULL;
	if (rc == TN_ESTATE && tni_again_may(h->conn))
		return false; /* it goes out with the next connection */
	if (rc == TN_ESTATE)
		set(h, SHUT);
	else if (rc < 0 && rc != TN_EFULL)
		fail(h->conn, rc);
	return rc != TN_EFULL;
}

static void run_call(const struct tn_handle *h, const struct mail *m)
{
	struct call call;

	memcpy(&call, m->data, sizeof(call));
	call.fn(h->conn, call.arg);
}

static bool carry_out(struct tn_handle *h, const struct mail *m)
{
	switch ((enum verb)m->verb) {
	case SEND:
	case SHARE:
		return send_mail(h, m);
	case CALL:
		run_call(h, m);
		break;
	case CLOSE:
		tn_close(h->conn);
		break;
	case ABORT:
		tn_abort(h->conn, m->err);
		break;
	case RELEASE:
		tn_conn_release(h->conn);
	}
	return true;
}

static void let_wait(struct tn_handle *h, struct mail *m)
{
	m->post.next = NULL;
	*h->last = &m->post;
	h->last = &m->post.next;
}

static void mail_came(struct tni_post *post)
{
	struct mail *m = tni_container_of(post, struct mail, post);
	struct tn_handle *h = m->handle;

	if (!h->conn) {
		if (m->verb == CALL)
			run_call(h, m);
	} else if (m->verb == ABORT) {
		carry_out(h, m); /* does not wait for what is dropped */
	} else if (h->first || !carry_out(h, m)) {
		let_wait(h, m);
		return;
	}
	finish(h, m);
}

static struct mail *first_of(const struct tn_handle *h)
{
	return tni_container_of(h->first, struct mail, post);
}

static struct mail *take_first(struct tn_handle *h)
{
	struct mail *m = first_of(h);

	h->first = m->post.next;
	if (!h->first)
		h->last = &h->first;
	return m;
}

void tni_handle_run(struct tn_handle *h)
{
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the connection has a reference until it has gone */
	while (h->first && !(h->conn->flags & TNI_DEAD) && carry_out(h, first_of(h)))
		finish(h, take_first(h));
	settle(h);
}

bool tni_handle_waits(const struct tn_handle *h)
{
	return h->first;
}

void tni_handle_gone(struct tn_handle *h)
{
	h->conn = NULL;
	atomic_fetch_add(&h->state, GONE + 1); /* one byte on its way: this call itself */
	tell_waiting(h);
	while (h->first) {
		struct mail *m = take_first(h);

		if (m->verb == CALL)
			run_call(h, m);
		h->done += size_of(m);
		mail_free(m);
	}
	h->done++;
	settle(h);
}

int tn_conn_handle(struct tn_conn *c, struct tn_handle **out)
{
	struct tni_seldom *s;
	struct tn_handle *h;

	if (c->flags & TNI_DEAD)
		return tni_err(TN_ESTATE, "%s: the connection has ended", c->ep->url);
	s = tni_seldom_get(c);
	h = s ? s->handle : NULL;
	if (s && !h) {
		h = calloc(1, sizeof(*h));
		if (h) {
			h->refs = 1;
			h->inbox = tni_inbox_ref(c->loop->inbox);
			h->id = c->id;
			h->mark = c->ep->queue;
			h->longest = tni_conn_has_messages(c) ? c->frame.max : SIZE_MAX;
			h->conn = c;
			h->last = &h->first;
			s->handle = h;
			tni_arena_enter();
		}
	}
	if (!h)
		return tni_err(-ENOMEM, "%s: out of memory", c->ep->url);
	*out = tn_handle_ref(h);
	return 0;
}

struct tn_conn *tn_handle_conn(const struct tn_handle *h)
{
	return h->conn;
}

/* ---- from any thread ---- */

struct tn_handle *tn_handle_ref(struct tn_handle *h)
{
	atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
	return h;
}

void tn_handle_unref(struct tn_handle *h)
{
	if (!h || atomic_fetch_sub(&h->refs, 1) != 1)
		return;
	tni_inbox_unref(h->inbox);
	free(h);
	tni_arena_leave();
}

static int refuse(const struct tn_handle *h, int err)
{
	if (err == TN_EFULL)
		return tni_err(err, "connection %llu: as much as its queue may hold is on its way",
			       (unsigned long long)h->id);
	return tni_err(err, "connection %llu has %s", (unsigned long long)h->id,
		       tn_handle_alive(h) ? "been closed for sending" : "gone");
}

/* Sends what new_mail() has made. */
static int put(struct tn_handle *h, struct mail *m)
{
	size_t size = size_of(m);
	int rc = add(h, size, is_message(m));

	if (rc < 0) {
		mail_free(m);
		return refuse(h, rc);
	}
	if (tni_inbox_put(h->inbox, &m->post) < 0) {
		mail_free(m);
		rc = refuse(h, TN_ESTATE);
		take_off(h, size);
	}
	return rc;
}

static struct mail *new_mail(struct tn_handle *h, enum verb verb, size_t len)
{
	struct mail *m = tni_arena_get(sizeof(*m) + len);

	if (m)
		*m = (struct mail){.post = {.run = mail_came, .quiet = true}, .handle = h, .verb = verb};
	else
		tni_err(-ENOMEM, "connection %llu: out of memory", (unsigned long long)h->id);
	return m;
}

static int check_len(const struct tn_handle *h, size_t len)
{
	if (len <= h->longest && len <= INT_MAX)
		return 0;
	return tni_err(h->longest < len ? TN_ETOOBIG : -EMSGSIZE, "connection %llu: %zu bytes are too long",
		       (unsigned long long)h->id, len);
}

int tn_handle_reply(struct tn_handle *h, const struct tn_msg *msg, const void *data, size_t len)
{
	const struct tn_addr *peer = msg ? msg->peer : NULL;
	size_t at = peer ? sizeof(*peer) : 0;
	int rc = check_len(h, len);
	struct mail *m;

	if (rc < 0)
		return rc;
	if (!(m = new_mail(h, SEND, at + len)))
		return -ENOMEM;
	m->len = len;
	m->kind = msg ? (uint8_t)msg->kind : TN_MSG_ANY;
	m->hops = msg ? msg->hops : 0;
	m->has_peer = peer;
	if (peer)
		memcpy(m->data, peer, sizeof(*peer));
	if (len)
		memcpy(m->data + at, data, len);
	return put(h, m);
}

int tn_handle_send(struct tn_handle *h, const void *data, size_t len)
{
	return tn_handle_reply(h, NULL, data, len);
}

int tn_handle_send_shared(struct tn_handle *h, struct tn_shared *shared)
{
	const struct share share = {.shared = shared};
	struct mail *m;
	size_t len;
	int rc;

	(void)tn_shared_data(shared, &len);
	rc = check_len(h, len);
	if (rc < 0)
		return rc;
	if (!(m = new_mail(h, SHARE, sizeof(share))))
		return -ENOMEM;
	m->len = len;
	tn_shared_ref(shared);
	memcpy(m->data, &share, sizeof(share));
	return put(h, m);
}

int tn_handle_call(struct tn_handle *h, void (*fn)(struct tn_conn *conn, void *arg), void *arg)
{
	const struct call call = {.fn = fn, .arg = arg};
	struct mail *m = new_mail(h, CALL, sizeof(call));

	if (!m)
		return -ENOMEM;
	memcpy(m->data, &call, sizeof(call));
	return put(h, m);
}

int tn_handle_close(struct tn_handle *h)
{
	struct mail *m = new_mail(h, CLOSE, 0);

	return m ? put(h, m) : -ENOMEM;
}

int tn_handle_release(struct tn_handle *h)
{
	struct mail *m = new_mail(h, RELEASE, 0);

	return m ? put(h, m) : -ENOMEM;
}

int tn_handle_abort(struct tn_handle *h, int err)
{
	struct mail *m = new_mail(h, ABORT, 0);

	if (!m)
		return -ENOMEM;
	m->err = err;
	return put(h, m);
}

bool tn_handle_alive(const struct tn_handle *h)
{
	return !(atomic_load(&h->state) & GONE);
}

size_t tn_handle_queued(const struct tn_handle *h)
{
	return atomic_load(&h->state) & BYTES;
}

uint64_t tn_handle_id(const struct tn_handle *h)
{
	return h->id;
}

int tn_handle_wait(struct tn_handle *h, int timeout_ms)
{
	uint64_t until = timeout_ms < 0 ? TNI_NEVER : tni_ns_add(tni_clock_ns(), tni_ns_of_ms((uint64_t)timeout_ms));
	struct timespec at = {.tv_sec = (time_t)(until / TNI_NS_PER_S), .tv_nsec = (long)(until % TNI_NS_PER_S)};
	uint64_t state;
	uint32_t seen;
	int rc = 0;

	if (tni_inbox_is_mine(h->inbox))
		return tni_err(TN_ESTATE, "connection %llu: its own loop's thread would wait for itself",
			       (unsigned long long)h->id);
	atomic_fetch_add(&h->waiting, 1);
	for (;;) {
		seen = atomic_load(&h->progress);
		state = atomic_load(&h->state);
		if (state & (GONE | SHUT))
			rc = refuse(h, TN_ESTATE);
		if (rc < 0 || (state & BYTES) <= h->mark / 2)
			break;
		if (syscall(SYS_futex, &h->progress, FUTEX_WAIT_BITSET_PRIVATE, seen, until == TNI_NEVER ? NULL : &at,
			    NULL, FUTEX_BITSET_MATCH_ANY) < 0 &&
		    errno == ETIMEDOUT)
			rc = tni_err(-ETIMEDOUT, "connection %llu: its queue has had no room for %d ms",
				     (unsigned long long)h->id, timeout_ms);
	}
	atomic_fetch_sub(&h->waiting, 1);
	return rc;
}
