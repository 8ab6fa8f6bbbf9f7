/* A connection with layers below its frame (conn/chain.h): the pump's part of it. It knows no layer by name. */
#ifndef TNI_CONN_LAYERED_H
#define TNI_CONN_LAYERED_H

#include "conn/chain.h"
#include "conn/conn.h"

struct tni_creds;
struct tni_lossy;

struct tni_layered {
	struct tni_chain chain;
	uint32_t tx_max;       /* bound of tx and what the chain holds of it, together */
	uint32_t bye;          /* bytes of the last word of the lowest layer, at the end of the wire */
	int err;               /* a layer has failed; what came before it is still to be handed over */
	char *words;           /* of that; malloc'ed */
	bool begun;            /* the first of the handshake is out: dialling has sent it */
	bool heard;            /* something of the peer's has gone into the chain */
	bool failed;           /* nothing goes through the layers any more */
	struct tni_timer tick; /* for layers that want the time, and for the last word that is repeated */
	struct tn_conn *conn;
	struct tni_costly costly; /* opening, which may have to wait for its turn */
	struct tni_lossy *lossy;  /* what it has beside over datagrams; NULL: it stands over a stream */
};

/* What the socket receives and sends. */
static inline struct tn_buf *tni_layered_in(const struct tni_layered *layered)
{
	return &layered->chain.bottom->in;
}

static inline struct tn_buf *tni_layered_wire(const struct tni_layered *layered)
{
	return &layered->chain.bottom->net;
}

static inline bool tni_layered_is_open(const struct tni_layered *layered)
{
	return tni_chain_is_open(&layered->chain);
}

/* What comes up are whole messages, and what goes down. */
static inline bool tni_layered_has_messages(const struct tni_layered *layered)
{
	return layered->chain.top->layer->ops->messages;
}

/* No more comes from the socket. */
static inline bool tni_layered_eof(const struct tni_layered *layered)
{
	return layered->chain.bottom->eof;
}

/* Nothing more comes from the peer, nor for the layers below the highest. To close before that would be a reset. */
static inline bool tni_layered_is_over(const struct tni_layered *layered)
{
	return layered->chain.bottom->eof || layered->chain.bottom->layer->ended;
}

/* Puts a layer on top of those of a connection that is not open yet; it is handed over in every case. 0 or -ENOMEM. */
int tni_layered_push(struct tn_conn *conn, struct tni_layer *layer);

/* Puts those that its endpoint wants below a connection that was accepted. 0 or -ENOMEM. */
int tni_layered_accept(struct tn_conn *conn, struct tni_creds *creds);

/* Puts a layer over datagrams, which is handed over in every case, below one that came through a served socket. 0 or
 * -ENOMEM. */
int tni_layered_join(struct tn_conn *conn, struct tni_layer *layer, struct tn_conn *socket);

/* The same for a connection that is about to be dialled, where its scheme wants it. 0, TN_EURL, -ENOMEM. */
int tni_layered_dial(struct tn_conn *conn);

/* What goes out first, where no connection of the socket's own shows whether the peer is there: over datagrams, to be
 * sent by whoever dials. Otherwise NULL. */
const struct tn_buf *tni_layered_first(struct tn_conn *conn);

void tni_layered_free(struct tn_conn *conn);

/* The socket is connected: begins the handshake and its deadline. */
void tni_layered_start(struct tn_conn *conn);

/* Whether so much has come while the handshake waits for its turn that no more is read. */
bool tni_layered_is_behind(const struct tn_conn *conn);

/* The deadline has passed. */
void tni_layered_timeout(struct tn_conn *conn);

/* What fails before it is open, as words: "TLS handshake"; otherwise `step`. */
const char *tni_layered_step(const struct tn_conn *conn, const char *step);

/* From the task, at its end: when the layers want to be called next. */
void tni_layered_arm(struct tn_conn *conn);

/* From the task, at its end: layers that are done leave, and with the last of them all of this. */
void tni_layered_leave(struct tn_conn *conn);

/* Whether a closing connection still needs what comes: it has bytes to send, once the handshake is done. */
bool tni_layered_wants(const struct tn_conn *conn);

/* Takes a received block, whose reference is handed over. 0 or -ENOMEM. */
int tni_layered_take(struct tn_conn *conn, struct tni_blk *blk);

/* From the task: what has come is put into rx; the peer's end and failures are noted. */
void tni_layered_up(struct tn_conn *conn);

/* From the task, after messages have been handed over: acts upon a failure. */
void tni_layered_settle(struct tn_conn *conn);

/* From the task: moves what is to be sent to the wire, as much as makes one call. Returns the wire. */
struct tn_buf *tni_layered_seal(struct tn_conn *conn);

/* Nothing can be sent any more: what waits on the wire is dropped. */
void tni_layered_mute(struct tn_conn *conn);

/* Whether nothing but our goodbye (close_notify) has yet to go. */
bool tni_layered_lost_nothing(const struct tn_conn *conn);

/* Whether the layer has nothing to say before our direction ends. */
bool tni_layered_is_shut(const struct tn_conn *conn);

/* Whether that is so or can be said now: without a layer always. */
bool tni_layered_may_shut(const struct tn_conn *conn);

/* So many bytes of the wire have gone. */
void tni_layered_sent(struct tn_conn *conn, size_t len);

/* Whether the peer has begun to say something that is not whole. */
bool tni_layered_has_part(const struct tn_conn *conn);

/* Whether a layer has more to hand up than it may in one step. */
bool tni_layered_has_more(const struct tn_conn *conn);

/* Whether the task must run again: it was held while something came. */
bool tni_layered_owes(const struct tn_conn *conn);

#endif
