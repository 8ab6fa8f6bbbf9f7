/* The pump's side for datagram sockets: batches in, batches out. */
#include "base/err.h"
#include "conn/conn.h"
#include "conn/layered.h"
#include "conn/lossy.h"
#include "conn/peers.h"
#include "conn/server.h"

#include <errno.h>
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

/* Of tn_conn_fade(): up to when each peer has used what it may. Those with the same hash share a place. */
struct tni_fading {
	uint64_t spent_ns[LAST_HOP_PEERS];
};

static void retry_fired(struct tni_timer *timer)
{
	struct tn_conn *c = tni_container_of(timer, struct tni_dgram, retry)->conn;

	tni_loop_ready(c->loop, &c->task);
}

/* ---- what the kernel drops ---- */

void tni_dgram_ask_dropped(const struct tn_conn *c, uint64_t *dropped)
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

	tni_dgram_ask_dropped(c, &d->dropped);
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

void tni_dgram_end(struct tn_conn *c)
{
	if (c->io.fd >= 0)
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
		rc = tni_raw_new(c->io.fd, tni_scheme_raw(c->ep->scheme), d->connected, &to, &d->raw);
	if (rc == 0 && d->raw)
		tni_dgram_queue_each(&d->tx, complete_early, d);
	return rc;
}

int tni_dgram_open(struct tn_conn *c, bool connected)
{
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
	}
	d->connected = connected;
	d->take = c->layered ? tni_lossy_take : NULL;
	if (c->io.fd < 0)
		return 0; /* dialling: only what is sent already needs a place */
	if (connected && c->ep->scheme->kinds & TNI_SK_UDP)
		c->io.flags |= TNI_FD_PEER;
	d->batch = tni_batch_of(c->loop);
	if (!d->batch || open_raw(c) < 0)
		return -ENOMEM;
	d->dropped_before = tni_dgram_dropped(c->io.fd);
	d->tells_local = !connected && tni_dgram_tell_local(c->io.fd);
	tni_batch_prepare(d->batch, &d->mm);
	c->io.rd.mm = &d->mm;
	c->io.rd.done = tni_dgram_recv_done;
	c->io.wr.done = tni_dgram_send_done;
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
	free(c->dgram->fades);
	tni_buf_clear(&c->dgram->tx.buf);
	tni_buf_clear(&c->dgram->stash.buf);
	tni_raw_free(c->dgram->raw);
	free(c->dgram);
	c->dgram = NULL;
}

/* ---- in ---- */

/* In a handshake the reason alone would say too little. */
static const char *step_of(const struct tn_conn *c, const char *call)
{
	return tni_layered_step(c, call);
}

static void take_batch(struct tn_conn *c, int n)
{
	struct tni_dgram *d = c->dgram;

	for (unsigned i = 0; i < (unsigned)n; i++)
		d->take(c, tni_batch_peer(d->batch, i), d->batch->iov[i].iov_base, d->batch->v[i].msg_len);
	tni_batch_prepare(d->batch, &d->mm);
}

void tni_dgram_recv_done(struct tni_op *op, int res)
{
	struct tn_conn *c = tni_conn_of_rd(op);

	if (res > 0 && !tni_timer_armed(&c->dgram->look))
		tni_loop_timer(c->loop, &c->dgram->look, LOOK_NS);
	if (res > 0 && c->dgram->take) {
		take_batch(c, res);
	} else if (res > 0) {
		c->dgram->received = res;
		c->active_ns = c->loop->now_ns;
	} else if (res == -ENOBUFS && !(c->dgram->connected && tni_loop_is_dry(c->loop))) {
		c->hold |= TNI_HOLD_STARVED;
		if (!(c->flags & TNI_RUNNING))
			tni_loop_starve(c->loop, &c->task);
		return;
	} else if (res < 0 && res != -ECANCELED) {
		/* A connected socket is told so that nobody is there; to a server it is one peer's trouble. */
		if (c->dgram->connected)
			tni_conn_fail(c, res, step_of(c, "read"));
	}
	tni_loop_ready(c->loop, &c->task);
}

static bool may_deliver(const struct tn_conn *c)
{
	return !(c->flags & (TNI_DEAD | TNI_CLOSING)) && !(c->hold & TNI_HOLD_USER);
}

static void hand_over(struct tn_conn *c, const void *data, size_t len, const struct tn_addr *peer, unsigned hops)
{
	struct tn_msg msg = {.data = data, .len = len, .peer = c->dgram->connected ? NULL : peer, .hops = hops};
	int err;

	c->msgs_in++;
	c->bytes_in += len;
	if (c->ep->codec && !tni_conn_takes(c, &msg, &err)) {
		c->dgram->lost++;
		return;
	}
	if (c->user->handler.on_msg)
		c->user->handler.on_msg(c, &msg, c->user->arg);
}

static void deliver_stash(struct tn_conn *c)
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
static void put_by(struct tn_conn *c, const void *data, size_t len, const struct tn_addr *peer, unsigned hops)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	if (c->flags & (TNI_DEAD | TNI_CLOSING) || tni_dgram_queue_put(&c->dgram->stash, peer, hops, &iov, 1) < 0)
		c->dgram->lost++;
}

/* What a socket sends to a group or network of its own host, at its own port, it hears itself: that is no answer. */
static bool is_own_echo(const struct tn_conn *c, const struct tn_addr *peer)
{
	int port = c->dgram->many.len ? tni_addr_port(peer) : 0;

	return port > 0 && port == tni_dgram_own_port(c->io.fd) && tni_addr_is_ours(peer);
}

void tni_dgram_deliver(struct tn_conn *c)
{
	struct tni_dgram *d = c->dgram;
	int n = d->received;

	d->received = 0;
	deliver_stash(c);
	for (int i = 0; i < n; i++) {
		const void *data = d->batch->iov[i].iov_base;
		size_t len = d->batch->v[i].msg_len;
		struct tn_addr *peer = tni_batch_peer(d->batch, (unsigned)i);
		unsigned hops = d->hops_max ? tni_dgram_hops(&d->batch->v[i].msg_hdr) : 0;

		if ((d->raw && !tni_raw_take(d->raw, peer, &data, &len)) || is_own_echo(c, peer))
			continue;
		if (len > c->frame.max || d->batch->v[i].msg_hdr.msg_flags & MSG_TRUNC)
			d->lost++; /* whole or not at all */
		else if (may_deliver(c) && !d->stash.count)
			hand_over(c, data, len, peer, hops);
		else
			put_by(c, data, len, peer, hops);
	}
	if (n)
		tni_batch_prepare(d->batch, &d->mm);
}

/* ---- out ---- */

static size_t longest(const struct tn_conn *c)
{
	if (tni_scheme_raw(c->ep->scheme))
		return TNI_RAW_MAX;
	return c->ep->scheme->kinds & TNI_SK_UNIX_DGRAM ? TNI_UNIX_DGRAM_MAX : TNI_DGRAM_MAX;
}

int tn_conn_fade(struct tn_conn *c)
{
	if (!c->part || !c->dgram || c->layered || c->dgram->connected || !(c->ep->scheme->kinds & TNI_SK_UDP))
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
static bool may_spend_last(struct tni_dgram *d, const struct tn_addr *to, uint64_t now_ns)
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

int tni_dgram_put(struct tn_conn *c, const struct tn_msg *answered, const struct iovec *iov, int count)
{
	const struct tn_addr *to = answered ? answered->peer : NULL;
	struct tni_dgram *d = c->dgram;
	struct tn_addr only;
	unsigned char *data;
	size_t len = 0;
	int hops;
	int rc;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	if (len > c->frame.max)
		return tni_frame_too_big(&c->frame, len);
	if (len > longest(c))
		return -EMSGSIZE;
	if (!d->connected && !d->many.len && (!to || !to->len))
		return -EDESTADDRREQ;
	if (d->connected)
		to = d->raw ? tni_raw_to(d->raw) : NULL;
	else if (!to || !to->len)
		to = default_to(d);
	hops = reply_hops(c, answered);
	if (hops < 0) {
		d->lost++;
		return 1;
	}
	/* What came to another socket, and is passed on here, may have come to an address that this one is not bound
	 * to. */
	if (to && to->local.len && !d->tells_local) {
		only = *to;
		only.local = (struct tn_local){0};
		to = &only;
	}
	rc = tni_dgram_queue_put(&d->tx, to, (unsigned)hops, iov, count);
	if (rc == 0 && d->raw) {
		data = tni_dgram_queue_last(&d->tx, &len);
		tni_raw_give(d->raw, to, data, len);
	}
	return rc;
}

/* It was counted as a message when it was queued; of a layer's datagrams only the messages in them are. */
static void drop_first(struct tn_conn *c)
{
	struct tni_dgram *d = c->dgram;

	tni_dgram_queue_drop(&d->tx, 1);
	d->lost++;
	d->retries = 0;
	if (!c->layered && c->msgs_out) /* none in what carries DTLS for a server */
		c->msgs_out--;
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
	return c->layered && (err == -EMSGSIZE || err == -EPERM);
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

/*
 * sendmmsg(2) fails only for the first datagram of a batch. That one is given up where sending it again could not help:
 * a datagram may be lost, and the others must not wait for it.
 */
static void sent(struct tn_conn *c, int res)
{
	struct tni_dgram *d = c->dgram;
	bool to_all;

	if (res > 0) {
		size_t bytes = tni_dgram_queue_drop(&d->tx, (unsigned)res);

		if (!c->layered) {
			c->bytes_out += bytes;
			c->active_ns = c->loop->now_ns;
		}
		d->retries = 0;
	} else if (res == -ENOBUFS || res == -ENOMEM) {
		wait_for_room(c);
	} else if (res < 0 && res != -ECANCELED) {
		to_all = is_to_all(d);
		drop_first(c);
		if (to_all && !is_loss(c, res))
			tni_conn_fail(c, res, step_of(c, "send"));
	}
}

void tni_dgram_send_done(struct tni_op *op, int res)
{
	struct tn_conn *c = tni_conn_of_wr(op);

	sent(c, res);
	tni_loop_ready(c->loop, &c->task);
}

void tni_dgram_flush(struct tn_conn *c)
{
	struct tni_dgram *d = c->dgram;
	int rc;

	while (d->tx.count && !tni_op_busy(&c->io.wr) && !tni_timer_armed(&d->retry) && !(c->flags & TNI_DEAD)) {
		tni_dgram_queue_describe(&d->tx, &d->outbox, default_to(d));
		c->io.wr.mm = &d->outbox.mm;
		rc = tni_submit(c->loop, &c->io, &c->io.wr, TNI_OP_SENDMM);
		if (rc == 0)
			break;
		sent(c, rc == TNI_DONE ? c->io.wr.res : rc);
	}
	if (d->peers && d->tx.buf.len <= c->ep->queue / 2)
		tni_peers_go_on(c);
}
