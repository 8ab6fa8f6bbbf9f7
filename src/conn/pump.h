/* What the files of a connection share: conn.c, dial.c, adopt.c, pump.c, stream.c, refuse.c, send.c, deadline.c, end.c,
 * info.c. The hot ones are inline. */
#ifndef TNI_CONN_PUMP_H
#define TNI_CONN_PUMP_H

#include "conn/extra.h"
#include "conn/kind.h"
#include "conn/layered.h"

/* After our FIN, how long a silent peer is waited for, so that a reset does not destroy what it has yet to read. */
#define TNI_LINGER_NS TNI_NS_PER_S

static inline bool tni_conn_in_flight(const struct tn_conn *c)
{
	return tni_op_busy(&c->io.rd) || tni_op_busy(&c->io.wr);
}

static inline void tni_conn_run_soon(struct tn_conn *c)
{
	if (!(c->flags & TNI_RUNNING))
		tni_loop_ready(c->loop, &c->task);
}

/* What is to be sent and has not gone to the kernel. */
static inline size_t tni_conn_queued(const struct tn_conn *c)
{
	size_t len = c->tx.len + tni_extra_piped(c);

	if (c->layered)
		len += tni_chain_queued(&c->layered->chain);
	return c->dgram ? len + c->dgram->tx.buf.len : len;
}

/* Key fin: the end of our direction waits for the peer's, or for the connection to be closed. */
static inline bool tni_conn_puts_fin_off(const struct tn_conn *c)
{
	return tni_endpoint_puts_fin_off(c->ep) && !(c->flags & (TNI_CLOSING | TNI_RX_END));
}

/* The connection whose descriptor this one uses: itself, or its server's socket; NULL: that has gone. */
static inline const struct tn_conn *tni_conn_socket(const struct tn_conn *c)
{
	return c->kind->socket ? c->kind->socket(c) : c;
}

/* Something may still be sent to its peer: by its user, who holds it, or by another connection that feeds it. */
static inline bool tni_conn_is_owed(const struct tn_conn *c)
{
	return c->held || tni_extra_is_owed(c);
}

static inline bool tni_conn_may_deliver(const struct tn_conn *c)
{
	return !(c->flags & (TNI_DEAD | TNI_CLOSING)) && !(c->hold & (TNI_HOLD_USER | TNI_HOLD_TXFULL | TNI_HOLD_FLOW));
}

static inline void tni_conn_hold_back(struct tn_conn *c, enum tni_hold why)
{
	c->hold |= (uint8_t)why;
	c->flags |= TNI_HELD_BACK;
}

/*
 * A connection that answers faster than its peer reads must not read more. One whose queue is filled otherwise (by the
 * other side of a relay, by a client that pushes while its peer answers) goes on reading: two ends that hold their
 * reading until the other has read would wait for each other for ever.
 */
static inline void tni_conn_update_hold(struct tn_conn *c)
{
	if (tni_conn_queued(c) <= c->ep->queue / 2) {
		c->hold &= (uint8_t)~TNI_HOLD_TXFULL;
		c->flags &= ~(uint32_t)TNI_SELF_FED;
	} else if (tni_conn_queued(c) >= c->ep->queue && c->flags & TNI_SELF_FED) {
		tni_conn_hold_back(c, TNI_HOLD_TXFULL);
	}
}

/* The peer's bytes have ended without the word of its layer (TLS: close_notify) that says so, or make no sense. */
static inline bool tni_conn_is_cut(const struct tn_conn *c)
{
	return c->flags & TNI_RX_END && (c->err == TN_ECUT || (c->layered && c->layered->chain.cut));
}

/* conn.c. `size`: that of struct tn_conn, or of what begins with one. */
struct tn_conn *tni_conn_new(size_t size, const struct tni_kind *kind, struct tn_loop *loop, struct tni_endpoint *ep);

/* Notes the address of the peer, of an IP socket; others are asked when needed. The noted one; empty: none. */
void tni_conn_note_peer(struct tn_conn *conn, const struct tn_addr *addr);
/* A PROXY header has told who the peer is, in the place of who has connected. */
void tni_conn_take_peer(struct tn_conn *conn, const struct tn_addr *addr);
void tni_conn_noted_peer(const struct tn_conn *conn, struct tn_addr *addr);

/* The descriptor is there and connected: its handshake begins, or it is open. */
void tni_conn_opened(struct tn_conn *conn);

/* dial.c: over a connected socket. 0 or -ENOMEM. */
int tni_conn_connected(struct tn_conn *conn, int fd);

#ifdef TNI_HAVE_RECONNECT
/* Begins to connect once more, as at first. 0, or < 0 with detail. */
int tni_conn_redial(struct tn_conn *conn);

/* tn_close(), of which its user has not said that it is to end for good. */
void tni_conn_close(struct tn_conn *conn);
#else
#define tni_conn_close tn_close
#endif

/* Ends an attempt to connect. */
void tni_conn_stop_dialling(struct tn_conn *conn);

/* adopt.c: the kind of a descriptor; and a connection over the one that its URL names: 0, or < 0 with detail. */
const struct tni_kind *tni_kind_of_fd(int fd);
int tni_conn_adopt(struct tn_conn *conn);
#ifdef TNI_HAVE_FILES
int tni_conn_open_device(struct tn_conn *conn);
#endif

/* pump.c: a connection's task. */
void tni_conn_run(struct tni_task *task);

/* stream.c: hands over what stands in rx; and whether something does. */
void tni_stream_deliver(struct tn_conn *conn);
bool tni_stream_has_received(const struct tn_conn *conn);

/* Puts a whole message into tx, its end marked. */
int tni_stream_put_marked(struct tn_conn *conn, const struct iovec *iov, int count, size_t len);

/* The same for a message whose bytes the queue may refer to: struct tni_kind's link(). */
int tni_stream_link_marked(struct tn_conn *conn, enum tn_msg_kind kind, const struct tni_view *view);

/* deadline.c */
void tni_conn_timer_fired(struct tni_timer *timer);
bool tni_conn_has_unsent(const struct tn_conn *conn);

/* Whether its socket has an error that nobody has been told yet, as behind a reset. */
bool tni_conn_has_error(const struct tn_conn *conn);
bool tni_conn_has_unread(const struct tn_conn *conn);

/* Its user, or its full queue, holds back what the peer has said. */
bool tni_conn_is_held_unread(const struct tn_conn *conn);
void tni_conn_end_by_reset(struct tn_conn *conn);

/* end.c: the last step. `described`: the detail of the failure stands already (a dial's). */
void tni_conn_finish(struct tn_conn *conn, bool described);

/* Where a connection was bound whose on_close runs now, on this thread: its descriptor has gone. */
bool tni_conn_closing_local(const struct tn_conn *conn, struct tn_addr *addr);

/* info.c: where it is bound; for those that share a socket, where that is. */
bool tni_conn_local_of(const struct tn_conn *conn, struct tn_addr *addr);

#endif
