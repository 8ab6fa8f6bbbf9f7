#include "conn/association.h"

#include "base/err.h"
#include "conn/peers.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "secure/dtls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* So much of what a peer has sent waits for its connection to take it; the rest is lost, as with any UDP socket. */
#define IN_MAX (128 * 1024)

/* Our close_notify is repeated after so long, twice as long, ..., so often. */
#define NOTIFY_NS (250 * TNI_NS_PER_MS)
#define NOTIFY_MAX 5

int tni_assoc_new(struct tn_conn *c, struct tn_conn *socket)
{
	struct tni_assoc *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->conn = c;
	a->socket = socket;
	c->layered->busy->assoc = a;
	return 0;
}

static void lose(struct tn_conn *c)
{
	c->layered->busy->assoc->lost++;
	tni_conn_count(c, lost, 1);
}

/* ---- in ---- */

void tni_assoc_take(struct tn_conn *c, const struct tn_addr *peer, const void *data, size_t len)
{
	struct tni_layered *l = c->layered;
	struct tn_buf *in;

	(void)peer;
	if (!len || c->flags & (TNI_DEAD | TNI_RX_END))
		return;
	in = tni_chain_in(&l->chain);
	if (!in || in->len + len > IN_MAX || tni_buf_append(in, data, len, true) < 0)
		lose(c);
	tni_loop_ready(c->loop, &c->task);
}

/* ---- out ---- */

static int put(struct tn_conn *c, const struct tn_msg *answered, const struct iovec *iov, int count)
{
	size_t len = tni_iov_len(iov, count);

	(void)answered;
	if (!len)
		return tni_err(TN_EFORMAT, "DTLS carries no empty message");
	return len > TNI_DTLS_MAX && len <= c->frame.max ? -EMSGSIZE : tni_stream_put_marked(c, iov, count, len);
}

static int put_linked(struct tn_conn *c, enum tn_msg_kind kind, const struct tni_view *view)
{
	return view->len > TNI_DTLS_MAX ? 1 : tni_stream_link_marked(c, kind, view);
}

static void peer_addr(const struct tn_conn *c, struct tn_addr *addr)
{
	*addr = (struct tn_addr){0};
	if (c->layered->busy->assoc->peer) /* otherwise the socket is connected */
		tni_peers_addr(c, addr);
}

static void put_wire(struct tn_conn *c, const void *data, size_t len)
{
	struct tni_assoc *a = tni_layered_assoc(c->layered);
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct tn_addr addr;

	peer_addr(c, &addr);
	if (tni_dgram_queue_put(&a->socket->dgram->tx, addr.len ? &addr : NULL, 0, &iov, 1, iov.iov_len) < 0)
		lose(c);
}

/* Returns whether any has gone into the socket's queue,
 * where it waits for what the other connections send this turn. */
static bool hand_on(struct tn_conn *c, const struct tn_buf *wire)
{
	const struct tn_conn *socket = c->layered->busy->assoc->socket;
	bool some = false;

	while (wire->head && socket->dgram->tx.buf.len < socket->ep->queue) {
		size_t len = wire->head->len;

		put_wire(c, wire->head->data, len);
		tni_layered_sent(c, len);
		c->active_ns = c->loop->now_ns;
		some = true;
	}
	return some;
}

static void send_soon(const struct tni_assoc *a)
{
	if (a->socket == a->conn)
		tni_dgram_send(a->conn);
	else
		tni_loop_ready(a->socket->loop, &a->socket->task);
}

bool tni_assoc_may_repeat(const struct tni_assoc *a)
{
	return a->notify_len && a->repeats < NOTIFY_MAX && !(a->conn->flags & TNI_RX_END);
}

uint64_t tni_assoc_repeat_ns(const struct tni_assoc *a)
{
	return NOTIFY_NS << a->repeats;
}

void tni_assoc_repeat(struct tni_assoc *a)
{
	if (!a->socket || !tni_assoc_may_repeat(a))
		return;
	put_wire(a->conn, a->notify, a->notify_len);
	a->repeats++;
	tni_loop_ready(a->socket->loop, &a->socket->task);
}

/* A network takes any number of datagrams and loses them, so nothing is sent at once: the rest of the loop has its turn
 * first. */
static void flush(struct tn_conn *c, bool now)
{
	struct tni_assoc *a;

	if (now || c->flags & TNI_DEAD)
		return;
	a = tni_layered_assoc(c->layered);
	for (;;) {
		struct tn_buf *wire = tni_layered_seal(c);

		if (!a->socket)
			tni_buf_clear(wire);
		if (!a->socket || !wire->head || c->flags & TNI_DEAD)
			break;
		if (!hand_on(c, wire)) {
			if (a->peer)
				tni_peers_wait(c);
			break;
		}
		send_soon(a);
	}
	if (a->socket == c)
		tni_dgram_send(c);
}

void tni_assoc_keep_notify(struct tn_conn *c)
{
	struct tni_assoc *a = tni_layered_assoc(c->layered);
	const struct tni_slice *last = tni_layered_wire(c->layered)->tail;

	if (!last || last->len > sizeof(a->notify))
		return;
	memcpy(a->notify, last->data, last->len);
	a->notify_len = (uint8_t)last->len;
}

/* ---- ending ---- */

/* Without waiting: the descriptor or the connection is about to go. */
static void notify_now(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	const struct tn_buf *wire;
	struct tn_addr addr;

	if (!tni_layered_is_open(l) || tni_chain_is_shut(&l->chain) || l->failed || !l->busy->assoc->socket ||
	    l->busy->assoc->socket->io.fd < 0)
		return;
	tni_buf_clear(tni_layered_wire(l));
	peer_addr(c, &addr);
	if (tni_chain_shut(&l->chain) < 0)
		return;
	wire = tni_layered_wire(l);
	if (wire->head)
		tni_dgram_say(l->busy->assoc->socket->io.fd, &addr, wire->head->data, wire->head->len);
}

void tni_assoc_leave(struct tn_conn *c)
{
	struct tni_assoc *a = c->layered ? tni_layered_assoc(c->layered) : NULL;

	tni_dgram_leave(c);
	if (!a)
		return;
	tni_loop_untimer(c->loop, &c->layered->busy->tick);
	notify_now(c);
	if (a->peer)
		tni_peers_leave(c);
	a->socket = NULL;
}

void tni_assoc_free(struct tn_conn *c)
{
	free(c->layered->busy->assoc);
	c->layered->busy->assoc = NULL;
}

/* ---- the kind ---- */

static int open_fd(struct tn_conn *c, int fd, unsigned fd_flags)
{
	(void)fd_flags;
	tni_fd_init(&c->io, fd, TNI_FD_MESSAGES);
	return tni_dgram_open(c, true);
}

static const struct tn_conn *socket_of(const struct tn_conn *c)
{
	return c->layered && tni_layered_assoc(c->layered) ? c->layered->busy->assoc->socket : c;
}

static void tell(const struct tn_conn *c, struct tn_conn_info *info)
{
	tni_dgram_info(c, info);
	if (c->layered && tni_layered_assoc(c->layered))
		info->lost += c->layered->busy->assoc->lost;
}

const struct tni_kind tni_kind_association = {
	.ends = true,
	.awaits_end = true,
	.messages = true,
	.unseen = true,
	.open = open_fd,
	.receive = tni_dgram_receive,
	.deliver = tni_stream_deliver,
	.has_received = tni_stream_has_received,
	.put = put,
	.link = put_linked,
	.flush = flush,
	.leave = tni_assoc_leave,
	.take = tni_assoc_take,
	.socket = socket_of,
	.info = tell,
};
