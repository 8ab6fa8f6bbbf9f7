/* Datagram sockets: batches in, batches out. */
#include "base/err.h"
#include "conn/peers.h"
#include "conn/proxied.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "conn/tap.h"
#include "endpoint/access.h"
#include "net/netns.h"
#include "net/segments.h"
#include "proxy/header.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* When the kernel has no room and no event would tell when it has: the pause before the next try. */
#define RETRY_NS TNI_NS_PER_MS
#define RETRIES_MAX 10

/* A peer that took nothing in all of these is not waited for again for so long: the others' datagrams stand behind. */
#define STUCK_NS TNI_NS_PER_S

/* How often the kernel is asked what it has dropped, while datagrams come. */
#define LOOK_NS TNI_NS_PER_S

/* Datagrams of one peer that came with their last hop are answered so many times in a row, and then once in so long. */
#define LAST_HOP_BURST 64
#define LAST_HOP_NS (TNI_NS_PER_S / 16)
#define LAST_HOP_PEERS 64

/* What few sockets need: not inline, so that the others have no need of its room on the stack. */
#define APART __attribute__((noinline))

/* Of tn_conn_fade(): up to when each peer has used what it may. Those with the same hash share a place. */
struct tni_fading {
	uint64_t spent_ns[LAST_HOP_PEERS];
};

static void recv_done(struct tni_op *op, int res);
static void send_done(struct tni_op *op, int res);

static void retry_fired(struct tni_timer *timer)
{
	struct tn_conn *c = tni_container_of(timer, struct tni_dgram, retry)->conn;

	tni_loop_ready(c->loop, &c->task);
}

void tni_dgram_lose(struct tn_conn *c)
{
	c->dgram->lost++;
	tni_conn_count(c, lost, 1);
}

/* ---- what the kernel drops ---- */

static void ask_dropped(const struct tn_conn *c, uint64_t *dropped)
{
	uint32_t now = c->io.fd >= 0 ? tni_dgram_dropped(c->io.fd) : 0;

	/* The kernel counts in 32 bits. */
	*dropped = c->dgram->dropped;
	if (c->io.fd >= 0)
		*dropped += (uint32_t)(now - c->dgram->dropped_before - (uint32_t)*dropped);
}

/* A server's user hears of it at most once a second; it can be asked for at any time. */
static void tell_dropped(struct tn_conn *c)
{
	struct tni_dgram *d = c->dgram;
	uint64_t before = d->dropped;
	char url[TNI_URL_TEXT];
	struct tn_addr at;

	ask_dropped(c, &d->dropped);
	tni_conn_count(c, dropped, d->dropped - before);
	if (d->dropped == before || !c->part || tni_addr_local(c->io.fd, &at) < 0)
		return;
	tni_err(-ENOBUFS, "%s: %llu datagrams were lost so far: they came faster than they were read (see key rcvbuf)",
		tni_endpoint_url_of(c->ep, &at, url, sizeof(url)), (unsigned long long)d->dropped);
	tni_trouble_note(c->part, -ENOBUFS);
}

static void look_fired(struct tni_timer *timer)
{
	tell_dropped(tni_container_of(timer, struct tni_dgram, look)->conn);
}

void tni_dgram_leave(struct tn_conn *c)
{
	if (c->dgram && c->io.fd >= 0)
		tell_dropped(c);
}

/* Where what is sent without an address goes; NULL: the kernel knows. */
static const struct tn_addr *default_to(const struct tni_dgram *d)
{
	return d->many.len ? &d->many : NULL;
}

static void complete_early(void *arg, unsigned char *data, size_t len)
{
	const struct tni_dgram *d = arg;

	tni_raw_give(d->raw, default_to(d), data, len);
}

/* What was sent before there was a socket is completed now. */
static int open_raw(struct tn_conn *c)
{
	struct tni_dgram *d = c->dgram;
	struct tn_addr to = {0};
	int rc = tni_endpoint_neighbour(c->ep, c->io.fd, &to);

	if (d->many.len)
		to = d->many;
	if (rc == 0)
		rc = tni_raw_new(c->io.fd, tni_scheme_raw(c->ep->scheme), d->connected, &to, tni_endpoint_netns(c->ep),
				 &d->raw);
	if (rc == 0 && d->raw)
		tni_dgram_queue_each(&d->tx, complete_early, d);
	return rc;
}

/* ---- several as one ---- */

static struct tni_segments *segments_of(const struct tni_dgram *d)
{
#ifdef TNI_HAVE_SEGMENTS
	return d->segments;
#else
	(void)d;
	return NULL;
#endif
}

/* Keys gso and gro. Without memory for runs they are sent one by one. */
static void open_segments(struct tn_conn *c)
{
#ifdef TNI_HAVE_SEGMENTS
	if (c->ep->gro && tni_dgram_join(c->io.fd))
		c->io.flags |= TNI_FD_JOINED;
	if (c->ep->gso && !c->dgram->segments)
		c->dgram->segments = tni_segments_new();
#else
	(void)c;
#endif
}

static size_t longest(const struct tn_conn *c)
{
	if (tni_scheme_raw(c->ep->scheme))
		return TNI_RAW_MAX;
	return c->ep->scheme->kinds & TNI_SK_UNIX_DGRAM ? TNI_UNIX_DGRAM_MAX : TNI_DGRAM_MAX;
}

/* What is the same for each datagram. */
static void know_limits(const struct tn_conn *c)
{
	bool has_header = c->ep->proxy && c->part;

	c->dgram->guarded = c->part && tni_endpoint_has_access(c->ep);
	c->dgram->most_in = (size_t)c->frame.max + (has_header ? TNI_PROXY_V2_MAX : 0);
	c->dgram->most_out = longest(c);
}

int tni_dgram_open(struct tn_conn *c, bool connected)
{
	static const struct tni_fd_done done = {.rd = recv_done, .wr = send_done};
	struct tni_dgram *d = c->dgram;

	if (!d) {
		d = calloc(1, sizeof(*d));
		if (!d)
			return -ENOMEM;
		tni_dgram_queue_init(&d->tx, &c->loop->mem, c->ep->queue + TNI_DGRAM_MAX + 256);
		tni_dgram_queue_init(&d->stash, &c->loop->mem, SIZE_MAX);
		d->conn = c;
		d->retry.fire = retry_fired;
		d->look.fire = look_fired;
		c->dgram = d;
		know_limits(c);
	}
	d->connected = connected;
	if (c->io.fd < 0)
		return 0; /* dialling: only what is sent already needs a place */
	if (connected && c->ep->scheme->kinds & TNI_SK_UDP)
		c->io.flags |= TNI_FD_PEER;
	open_segments(c);
	d->batch = tni_batch_of(c->loop);
	if (!d->batch || open_raw(c) < 0)
		return -ENOMEM;
	d->dropped_before = tni_dgram_dropped(c->io.fd);
	d->tells_local = !connected && tni_dgram_tell_local(c->io.fd);
	d->mm = (struct tni_mmsg){.v = d->batch->v, .n = TNI_BATCH};
	d->special = d->raw || d->many.len || c->io.flags & TNI_FD_JOINED;
	c->io.rd.mm = &d->mm;
	c->io.done = &done;
	return 0;
}

void tni_dgram_free(struct tn_conn *c)
{
	if (!c->dgram)
		return;
	if (c->dgram->peers)
		tni_peers_free(c);
	tni_loop_untimer(c->loop, &c->dgram->retry);
	tni_loop_untimer(c->loop, &c->dgram->look);
	tni_proxied_free(c);
	free(c->dgram->fades);
#ifdef TNI_HAVE_SOCKOPTS
	free(c->dgram->ours);
#endif
	tni_buf_clear(&c->dgram->tx.buf);
	tni_buf_clear(&c->dgram->stash.buf);
	tni_raw_free(c->dgram->raw);
	tni_segments_free(segments_of(c->dgram));
	free(c->dgram);
	c->dgram = NULL;
}

/* ---- in ---- */

static void take_batch(struct tn_conn *c, int n)
{
	struct tni_dgram *d = c->dgram;

	for (unsigned i = 0; i < (unsigned)n; i++) {
		const struct tn_addr *peer = tni_batch_peer(d->batch, i, d->tells_local);
		const unsigned char *data = d->batch->iov[i].iov_base;
		size_t left = d->batch->v[i].msg_len, len = tni_dgram_joined(&d->batch->v[i].msg_hdr, left);

		do {
			len = len < left ? len : left;
			c->kind->take(c, peer, data, len);
			data += len;
			left -= len;
		} while (left);
	}
	tni_batch_prepare(d->batch, (unsigned)n);
}

static void recv_done(struct tni_op *op, int res)
{
	struct tn_conn *c = tni_conn_of_rd(op);

	if (res > 0 && !tni_timer_armed(&c->dgram->look))
		tni_loop_timer(c->loop, &c->dgram->look, LOOK_NS);
	if (res > 0 && c->kind->take) {
		take_batch(c, res);
	} else if (res > 0) {
		c->dgram->received = res;
		c->active_ns = c->loop->now_ns;
	} else if (res == -ENOBUFS && !(c->dgram->connected && tni_loop_lacks_memory(c->loop))) {
		c->hold |= TNI_HOLD_STARVED;
		if (!(c->flags & TNI_RUNNING))
			tni_loop_starve(c->loop, &c->task);
		return;
	} else if (res < 0 && res != -ECANCELED) {
		/* A connected socket is told so that nobody is there; to a server it is one peer's trouble. */
		if (c->dgram->connected)
			tni_conn_fail(c, res, tni_layered_step(c, "read"));
	}
	tni_loop_ready(c->loop, &c->task);
}

static bool may_deliver(const struct tn_conn *c)
{
	return !(c->flags & (TNI_DEAD | TNI_CLOSING)) && !(c->hold & (TNI_HOLD_USER | TNI_HOLD_FLOW));
}

static inline void hand_one(struct tn_conn *c, const void *data, size_t len, const struct tn_addr *peer, unsigned hops)
{
	struct tni_part *part = c->part;
	struct tn_msg msg = {.data = data, .len = len, .peer = c->dgram->connected ? NULL : peer, .hops = hops};
	const struct tn_handler *handler;
	int err;

	c->msgs_in++;
	c->bytes_in += len;
	if (part) {
		tni_count(part, msgs_in, 1);
		tni_count(part, bytes_in, len);
	}
	tni_tap(c, TN_TAP_IN, &msg, 0);
	if (c->ep->codec && !tni_conn_takes(c, &msg, &err)) {
		tni_dgram_lose(c);
		return;
	}
	handler = tni_conn_handler(c);
	if (handler->on_msg)
		handler->on_msg(c, &msg, c->arg);
}

/* Whether the header in front of a datagram, if there must be one, is good, and its sender may send it. */
static bool unwrap(struct tn_conn *c, const void **data, size_t *len, const struct tn_addr **peer,
		   struct tn_addr *client)
{
	char sender[80], why[300];

	if (!c->ep->proxy)
		return true;
	if (!tni_part_trusts(c->part, *peer))
		return false;
	if (tni_proxied_unwrap(c, *peer, data, len, client) < 0) {
		snprintf(why, sizeof(why), "%s", tn_errmsg());
		tni_err(TN_EFORMAT, "%s: a datagram of %s was refused: %s", tni_part_url(c->part),
			tn_addr_text(*peer, sender, sizeof(sender)), why);
		tni_trouble_note(c->part, TN_EFORMAT);
		return false;
	}
	*peer = client;
	return *len <= c->frame.max;
}

/* Where not everybody may send. */
APART static void hand_guarded(struct tn_conn *c, const void *data, size_t len, const struct tn_addr *peer,
			       unsigned hops)
{
	struct tn_addr client;

	if (unwrap(c, &data, &len, &peer, &client) && tni_part_lets_in(c->part, peer, -1))
		hand_one(c, data, len, peer, hops);
	else
		tni_dgram_lose(c);
	if (c->dgram && c->dgram->told) /* its header is of no other */
		c->dgram->told->len = 0;
}

static inline void hand_over(struct tn_conn *c, const void *data, size_t len, const struct tn_addr *peer, unsigned hops)
{
	if (c->dgram->guarded)
		hand_guarded(c, data, len, peer, hops);
	else
		hand_one(c, data, len, peer, hops);
}

APART static void deliver_stash(struct tn_conn *c)
{
	struct tn_addr peer;
	const void *data;
	unsigned hops;
	size_t len;

	while (may_deliver(c) && tni_dgram_queue_first(&c->dgram->stash, &peer, &hops, &data, &len)) {
		hand_over(c, data, len, &peer, hops);
		tni_dgram_queue_drop(&c->dgram->stash, 1);
	}
}

/* The batch is the whole loop's: what cannot be handed over now is put by. */
APART static void put_by(struct tn_conn *c, const void *data, size_t len, const struct tn_addr *peer, unsigned hops)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	if (c->flags & (TNI_DEAD | TNI_CLOSING) || tni_dgram_queue_put(&c->dgram->stash, peer, hops, &iov, 1, len) < 0)
		tni_dgram_lose(c);
}

/* What a socket sends to a group or network of its own host, at its own port, it hears itself: that is no answer. */
static bool is_own_echo(const struct tn_conn *c, const struct tn_addr *peer)
{
	int port = tni_addr_port(peer);

	if (port <= 0 || port != tni_dgram_own_port(c->io.fd))
		return false;
#ifdef TNI_HAVE_SOCKOPTS
	return tni_netns_has(&c->dgram->ours, tni_endpoint_netns(c->ep), peer, c->loop->now_ns);
#else
	return tni_addr_is_ours(peer);
#endif
}

static inline void deliver_one(struct tn_conn *c, const struct msghdr *msg, const void *data, size_t len,
			       const struct tn_addr *peer, unsigned hops)
{
	if (len > c->dgram->most_in || msg->msg_flags & MSG_TRUNC)
		tni_dgram_lose(c); /* whole or not at all */
	else if (may_deliver(c) && !c->dgram->stash.count)
		hand_over(c, data, len, peer, hops);
	else
		put_by(c, data, len, peer, hops);
}

static void deliver_joined(struct tn_conn *c, const struct msghdr *msg, const unsigned char *data, size_t left,
			   const struct tn_addr *peer, unsigned hops)
{
	size_t len = tni_dgram_joined(msg, left);

	do {
		len = len < left ? len : left;
		deliver_one(c, msg, data, len, peer, hops);
		data += len;
		left -= len;
	} while (left);
}

/* What stands in front of a message of sockets below the transports is taken off, and what the kernel has joined is
 * taken apart. */
APART static void deliver_special(struct tn_conn *c, const struct msghdr *msg, const void *data, size_t len,
				  const struct tn_addr *peer, unsigned hops)
{
	struct tni_dgram *d = c->dgram;

	if ((d->raw && !tni_raw_take(d->raw, peer, &data, &len)) || (d->many.len && is_own_echo(c, peer)))
		return;
	if (c->io.flags & TNI_FD_JOINED)
		deliver_joined(c, msg, data, len, peer, hops);
	else
		deliver_one(c, msg, data, len, peer, hops);
}

static void deliver_nth(struct tn_conn *c, unsigned i)
{
	struct tni_dgram *d = c->dgram;
	const struct mmsghdr *m = &d->batch->v[i];
	const void *data = d->batch->iov[i].iov_base;
	struct tn_addr *peer = tni_batch_peer(d->batch, i, d->tells_local);
	unsigned hops = d->hops_max ? tni_dgram_hops(&m->msg_hdr) : 0;

	if (d->special)
		deliver_special(c, &m->msg_hdr, data, m->msg_len, peer, hops);
	else
		deliver_one(c, &m->msg_hdr, data, m->msg_len, peer, hops);
}

void tni_dgram_deliver(struct tn_conn *c)
{
	struct tni_dgram *d = c->dgram;
	int n;

	if (!d)
		return; /* without memory for it the connection has failed */
	n = d->received;
	d->received = 0;
	deliver_stash(c);
	for (unsigned i = 0; i < (unsigned)n; i++)
		deliver_nth(c, i);
	if (n)
		tni_batch_prepare(d->batch, (unsigned)n);
}

/* ---- out ---- */

int tn_conn_fade(struct tn_conn *c)
{
	if (!c->part || c->kind != &tni_kind_datagrams || c->dgram->connected || !(c->ep->scheme->kinds & TNI_SK_UDP))
		return -EOPNOTSUPP;
	if (!c->dgram->fades)
		c->dgram->fades = calloc(1, sizeof(*c->dgram->fades));
	if (!c->dgram->fades)
		return -ENOMEM;
	if (!c->dgram->hops_max)
		c->dgram->hops_max = (uint8_t)tni_dgram_tell_hops(c->io.fd);
	return 0;
}

/*
 * What came with its last hop is answered with one hop: all multicast comes so (its default is 1). But two neighbours
 * that answer each other would never end then. Between them there are as many datagrams under way as began it, and the
 * first that is not answered ends its part: so it is enough to answer a peer so often only.
 */
APART static bool may_spend_last(struct tni_dgram *d, const struct tn_addr *to, uint64_t now_ns)
{
	uint64_t hash = 0xcbf29ce484222325, full_ns;
	uint64_t *spent_ns;

	for (uint32_t i = 0; i < to->len; i++)
		hash = (hash ^ to->bytes[i]) * 0x100000001b3;
	spent_ns = &d->fades->spent_ns[(hash ^ hash >> 32) % LAST_HOP_PEERS];
	full_ns = now_ns > LAST_HOP_BURST * LAST_HOP_NS ? now_ns - LAST_HOP_BURST * LAST_HOP_NS : 0;
	if (*spent_ns < full_ns)
		*spent_ns = full_ns;
	if (*spent_ns + LAST_HOP_NS > now_ns)
		return false;
	*spent_ns += LAST_HOP_NS;
	return true;
}

/* How far a reply may go: 0: as far as any; < 0: nowhere. */
static int reply_hops(const struct tn_conn *c, const struct tn_msg *answered)
{
	struct tni_dgram *d = c->dgram;

	if (!d->hops_max || !answered || !answered->hops)
		return 0;
	if (answered->hops == 1)
		return answered->peer && may_spend_last(d, answered->peer, c->loop->now_ns) ? 1 : -1;
	return answered->hops > d->hops_max ? d->hops_max : (int)answered->hops - 1;
}

/* Bytes of the header in front of each datagram that is sent: key proxy, dialled. */
static size_t sent_header(const struct tn_conn *c)
{
	const struct tni_proxy_told *told = c->part || !c->ep->proxy ? NULL : tni_proxied_told(c);

	return told ? told->len : 0;
}

APART static int put_behind_header(struct tn_conn *c, const struct tn_addr *to, unsigned hops, const struct iovec *iov,
				   int count, size_t len)
{
	const struct tni_proxy_told *told = tni_proxied_told(c);
	struct iovec pieces[TNI_PIECES_MAX + 1];

	pieces[0] = (struct iovec){.iov_base = (void *)(uintptr_t)told->header, .iov_len = told->len};
	for (int i = 0; i < count; i++)
		pieces[i + 1] = iov[i];
	return tni_dgram_queue_put(&c->dgram->tx, to, hops, pieces, count + 1, told->len + len);
}

static int put_to(struct tn_conn *c, const struct tn_addr *to, unsigned hops, const struct iovec *iov, int count,
		  size_t len)
{
	struct tni_dgram *d = c->dgram;
	int rc;

	if (sent_header(c))
		return put_behind_header(c, to, hops, iov, count, len);
	rc = tni_dgram_queue_put(&d->tx, to, hops, iov, count, len);
	if (rc == 0 && d->raw)
		tni_raw_give(d->raw, to, tni_dgram_queue_last(&d->tx), len);
	return rc;
}

/*
 * Replies to what a proxy has passed on go back through it. What came to another socket, and is passed on here, may
 * have come to an address that this one is not bound to.
 */
APART static int put_otherwise(struct tn_conn *c, const struct tn_addr *to, unsigned hops, const struct iovec *iov,
			       int count, size_t len)
{
	struct tn_addr other;

	if (!tni_addr_via(to, &other))
		other = *to;
	if (!c->dgram->tells_local)
		other.local = (struct tn_local){0};
	return put_to(c, &other, hops, iov, count, len);
}

static bool is_somebody(const struct tn_addr *to)
{
	return to && (to->len || to->local.via);
}

int tni_dgram_put(struct tn_conn *c, const struct tn_msg *answered, const struct iovec *iov, int count)
{
	const struct tn_addr *to = answered ? answered->peer : NULL;
	size_t len = count ? iov[0].iov_len : 0;
	struct tni_dgram *d = c->dgram;
	int hops;

	for (int i = 1; i < count; i++)
		len += iov[i].iov_len;
	if (len > c->frame.max)
		return tni_frame_too_big(&c->frame, len);
	if (len + sent_header(c) > d->most_out)
		return -EMSGSIZE;
	if (!d->connected && !d->many.len && !is_somebody(to))
		return -EDESTADDRREQ;
	if (d->connected)
		to = d->raw ? tni_raw_to(d->raw) : NULL;
	else if (!is_somebody(to))
		to = default_to(d);
	hops = reply_hops(c, answered);
	if (hops < 0) {
		tni_dgram_lose(c);
		return 1;
	}
	if (to && (to->local.via || (to->local.len && !d->tells_local)))
		return put_otherwise(c, to, (unsigned)hops, iov, count, len);
	return put_to(c, to, (unsigned)hops, iov, count, len);
}

/* A message was counted when it was queued. */
static void drop_first(struct tn_conn *c)
{
	struct tni_dgram *d = c->dgram;

	tni_dgram_queue_drop(&d->tx, 1);
	tni_dgram_lose(c);
	d->retries = 0;
	if (c->kind->take)
		return;
	c->msgs_out--;
	tni_conn_count(c, msgs_out, (uint64_t)-1);
}

/* The receiver of the first datagram, or the system, has no room. */
static void wait_for_room(struct tn_conn *c)
{
	struct tni_dgram *d = c->dgram;
	uint64_t now = c->loop->now_ns;
	struct tn_addr to;
	const void *data;
	unsigned hops;
	size_t len;

	tni_dgram_queue_first(&d->tx, &to, &hops, &data, &len);
	if (now < d->stuck_until_ns && to.len == d->stuck.len && !memcmp(to.bytes, d->stuck.bytes, to.len)) {
		drop_first(c);
	} else if (++d->retries > RETRIES_MAX) {
		d->stuck = to;
		d->stuck_until_ns = now + STUCK_NS;
		drop_first(c);
	} else {
		tni_loop_timer(c->loop, &d->retry, RETRY_NS);
	}
}

/* What a connection over datagrams takes for a loss like any other: too long for the path, or filtered here. */
static bool is_loss(const struct tn_conn *c, int err)
{
	return c->kind->take && (err == -EMSGSIZE || err == -EPERM);
}

/* Whether the first datagram goes to where the connection was dialled, and not to one peer of several. */
static bool is_to_all(const struct tni_dgram *d)
{
	struct tn_addr to;
	const void *data;
	unsigned hops;
	size_t len;

	if (!d->many.len)
		return d->connected;
	tni_dgram_queue_first(&d->tx, &to, &hops, &data, &len);
	return !to.len || (to.len == d->many.len && !memcmp(to.bytes, d->many.bytes, to.len));
}

static void describe(struct tni_dgram *d)
{
#ifdef TNI_HAVE_SEGMENTS
	if (d->segments) {
		tni_segments_describe(d->segments, &d->tx, &d->outbox, default_to(d));
		return;
	}
#endif
	tni_dgram_queue_describe(&d->tx, &d->outbox, default_to(d));
}

/* How many datagrams so many messages of the outbox are. */
static unsigned datagrams_of(const struct tni_dgram *d, unsigned messages)
{
#ifdef TNI_HAVE_SEGMENTS
	if (d->segments)
		return tni_segments_sent(d->segments, messages);
#endif
	(void)d;
	return messages;
}

/* Whether what was refused was several as one: each is tried by itself. */
static bool was_run(const struct tni_dgram *d, int err)
{
#ifdef TNI_HAVE_SEGMENTS
	return d->segments && tni_segments_refused(d->segments, err);
#else
	(void)d;
	(void)err;
	return false;
#endif
}

/*
 * sendmmsg(2) fails only for the first datagram of a batch. That one is given up where sending it again could not help:
 * a datagram may be lost, and the others must not wait for it.
 */
static void sent(struct tn_conn *c, int res)
{
	struct tni_dgram *d = c->dgram;
	bool to_all;

	if (res > 0) {
		unsigned n = datagrams_of(d, (unsigned)res);
		size_t bytes = tni_dgram_queue_drop(&d->tx, n) - n * sent_header(c);

		if (!c->kind->ends) { /* an association counts what it gives to its layers */
			c->bytes_out += bytes;
			if (!c->kind->take) /* otherwise its associations count */
				tni_conn_count(c, bytes_out, bytes);
			c->active_ns = c->loop->now_ns;
		}
		d->retries = 0;
	} else if (res == -ENOBUFS || res == -ENOMEM) {
		wait_for_room(c);
	} else if (res < 0 && res != -ECANCELED && !was_run(d, res)) {
		to_all = is_to_all(d);
		drop_first(c);
		if (to_all && !is_loss(c, res))
			tni_conn_fail(c, res, tni_layered_step(c, "send"));
	}
}

static void send_done(struct tni_op *op, int res)
{
	struct tn_conn *c = tni_conn_of_wr(op);

	sent(c, res);
	tni_loop_ready(c->loop, &c->task);
}

void tni_dgram_send(struct tn_conn *c)
{
	struct tni_dgram *d = c->dgram;
	int rc;

	while (!(c->flags & TNI_DEAD) && d->tx.count && !tni_op_busy(&c->io.wr) && !tni_timer_armed(&d->retry)) {
		describe(d);
		c->io.wr.mm = &d->outbox.mm;
		rc = tni_submit(c->loop, &c->io, &c->io.wr, TNI_OP_SENDMM);
		if (rc == 0)
			break;
		sent(c, rc == TNI_DONE ? c->io.wr.res : rc);
	}
}

static void flush(struct tn_conn *c, bool now)
{
	if (now)
		tni_recall(c->loop, &c->io);
	tni_dgram_send(c);
}

/* ---- the kind ---- */

static int open_fd(struct tn_conn *c, int fd, unsigned fd_flags)
{
	(void)fd_flags;
	tni_fd_init(&c->io, fd, 0);
	return tni_dgram_open(c, !c->dgram || !c->dgram->many.len);
}

int tni_dgram_receive(struct tn_conn *c)
{
	int rc = tni_submit(c->loop, &c->io, &c->io.rd, TNI_OP_RECVMM);

	if (rc == 0 || c->dgram->connected)
		return rc;
	c->hold |= TNI_HOLD_STARVED; /* all clients of the server need it: it is tried again */
	return 0;
}

bool tni_dgram_has_received(const struct tn_conn *c)
{
	return c->dgram->stash.count;
}

static bool has_many_peers(const struct tn_conn *c)
{
	return c->dgram && !c->dgram->connected;
}

void tni_dgram_info(const struct tn_conn *c, struct tn_conn_info *info)
{
	if (!c->dgram)
		return;
	ask_dropped(c, &info->dropped);
	info->lost = c->dgram->lost + info->dropped;
	info->many = c->dgram->many.len;
}

const struct tni_kind tni_kind_datagrams = {
	.open = open_fd,
	.receive = tni_dgram_receive,
	.deliver = tni_dgram_deliver,
	.has_received = tni_dgram_has_received,
	.put = tni_dgram_put,
	.flush = flush,
	.leave = tni_dgram_leave,
	.has_many_peers = has_many_peers,
	.info = tni_dgram_info,
};
