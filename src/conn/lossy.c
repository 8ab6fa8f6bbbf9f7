#include "conn/lossy.h"

#include "base/err.h"
#include "conn/layered.h"
#include "conn/peers.h"
#include "secure/dtls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* So much of what a peer has sent waits for its connection to take it; the rest is lost, as with any UDP socket. */
#define IN_MAX (128 * 1024)

/* Our close_notify is repeated after so long, twice as long, ..., so often. */
#define BYE_NS (250 * TNI_NS_PER_MS)
#define BYES_MAX 5

int tni_lossy_new(struct tn_conn *c, struct tn_conn *socket)
{
	struct tni_lossy *y = calloc(1, sizeof(*y));

	if (!y)
		return -ENOMEM;
	y->conn = c;
	y->socket = socket;
	c->layered->lossy = y;
	return 0;
}

/* ---- in ---- */

void tni_lossy_take(struct tn_conn *c, const struct tn_addr *peer, const void *data, size_t len)
{
	struct tni_layered *l = c->layered;

	(void)peer;
	if (!len || c->flags & (TNI_DEAD | TNI_RX_END))
		return;
	if (tni_layered_in(l)->len + len > IN_MAX || tni_buf_append(tni_layered_in(l), data, len, true) < 0)
		l->lossy->lost++;
	tni_loop_ready(c->loop, &c->task);
}

/* ---- out ---- */

int tni_lossy_fits(size_t len)
{
	if (!len)
		return tni_err(TN_EFORMAT, "DTLS carries no empty message");
	return len > TNI_DTLS_MAX ? -EMSGSIZE : 0;
}

static void peer_addr(const struct tn_conn *c, struct tn_addr *addr)
{
	*addr = (struct tn_addr){0};
	if (c->layered->lossy->peer) /* otherwise the socket is connected */
		tni_peers_addr(c, addr);
}

static void put(struct tn_conn *c, const void *data, size_t len)
{
	struct tni_lossy *y = c->layered->lossy;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct tn_addr addr;

	peer_addr(c, &addr);
	if (tni_dgram_queue_put(&y->socket->dgram->tx, addr.len ? &addr : NULL, 0, &iov, 1) < 0)
		y->lost++;
}

/* Returns whether any has gone into the socket's queue,
 * where it waits for what the other connections send this turn. */
static bool hand_on(struct tn_conn *c, const struct tn_buf *wire)
{
	const struct tn_conn *socket = c->layered->lossy->socket;
	bool some = false;

	while (wire->head && socket->dgram->tx.buf.len < socket->ep->queue) {
		size_t len = wire->head->len;

		put(c, wire->head->data, len);
		tni_layered_sent(c, len);
		c->active_ns = c->loop->now_ns;
		some = true;
	}
	return some;
}

static void send_soon(const struct tni_lossy *y)
{
	if (y->socket == y->conn)
		tni_dgram_flush(y->conn);
	else
		tni_loop_ready(y->socket->loop, &y->socket->task);
}

bool tni_lossy_may_say_bye(const struct tni_lossy *y)
{
	return y->bye_len && y->byes < BYES_MAX && !(y->conn->flags & TNI_RX_END);
}

uint64_t tni_lossy_bye_ns(const struct tni_lossy *y)
{
	return BYE_NS << y->byes;
}

void tni_lossy_repeat_bye(struct tni_lossy *y)
{
	if (!y->socket || !tni_lossy_may_say_bye(y))
		return;
	put(y->conn, y->bye, y->bye_len);
	y->byes++;
	tni_loop_ready(y->socket->loop, &y->socket->task);
}

void tni_lossy_flush(struct tn_conn *c)
{
	struct tni_lossy *y = c->layered->lossy;

	if (c->flags & TNI_DEAD)
		return;
	for (;;) {
		struct tn_buf *wire = tni_layered_seal(c);

		if (!y->socket)
			tni_buf_clear(wire);
		if (!y->socket || !wire->head || c->flags & TNI_DEAD)
			break;
		if (!hand_on(c, wire)) {
			if (y->peer)
				tni_peers_wait(c);
			break;
		}
		send_soon(y);
	}
	if (y->socket == c)
		tni_dgram_flush(c);
}

void tni_lossy_note_bye(struct tn_conn *c)
{
	struct tni_lossy *y = c->layered->lossy;
	const struct tni_slice *last = tni_layered_wire(c->layered)->tail;

	if (!last || last->len > sizeof(y->bye))
		return;
	memcpy(y->bye, last->data, last->len);
	y->bye_len = (uint8_t)last->len;
}

/* ---- ending ---- */

/* Without waiting: the descriptor or the connection is about to go. */
static void say_bye_now(struct tn_conn *c)
{
	struct tni_layered *l = c->layered;
	struct tn_buf *wire = tni_layered_wire(l);
	struct tn_addr addr;

	if (!tni_layered_is_open(l) || tni_chain_is_shut(&l->chain) || l->failed || !l->lossy->socket ||
	    l->lossy->socket->io.fd < 0)
		return;
	tni_buf_clear(wire);
	peer_addr(c, &addr);
	if (tni_chain_shut(&l->chain) == 0 && wire->head)
		tni_dgram_say(l->lossy->socket->io.fd, &addr, wire->head->data, wire->head->len);
}

void tni_lossy_part(struct tn_conn *c)
{
	struct tni_lossy *y = c->layered->lossy;

	tni_loop_untimer(c->loop, &c->layered->tick);
	say_bye_now(c);
	if (y->peer)
		tni_peers_leave(c);
	y->socket = NULL;
}

void tni_lossy_free(struct tn_conn *c)
{
	free(c->layered->lossy);
	c->layered->lossy = NULL;
}

const struct tn_conn *tni_conn_socket(const struct tn_conn *c)
{
	return c->layered && c->layered->lossy ? c->layered->lossy->socket : c;
}
