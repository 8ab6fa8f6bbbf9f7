/* A connection with layers below its frame (conn/chain.h): the pump's part of it. It knows no layer by name. */
#ifndef TNI_CONN_LAYERED_H
#define TNI_CONN_LAYERED_H

#include "conn/chain.h"
#include "conn/conn.h"

struct tni_creds;
struct tni_assoc;
struct tni_way;

/* What it has while it opens, for as long as a layer wants the time, over datagrams, and once it has failed. */
struct tni_busy {
	char *words;           /* why it has failed; malloc'ed */
	struct tni_timer tick; /* for layers that want the time, and for the last word that is repeated */
	struct tn_conn *conn;
	struct tni_costly costly; /* opening, which may have to wait for its turn */
	struct tni_way *way;      /* through proxies (conn/way.h), until their layers are open; then NULL */
	struct tni_assoc *assoc;  /* what it has beside over datagrams; NULL: it stands over a stream */
};

struct tni_layered {
	struct tni_chain chain;
	struct tni_busy *busy; /* NULL: it is open, and idle as far as layers go */
	uint32_t tx_max;       /* bound of tx and what the chain holds of it, together */
	uint32_t last_word;    /* bytes of the last word of the lowest layer, at the end of the wire */
	int err;               /* a layer has failed; what came before it is still to be handed over */
	bool begun : 1;        /* the first of the handshake is out: dialling has sent it */
	bool heard : 1;        /* something of the peer's has gone into the chain */
	bool failed : 1;       /* nothing goes through the layers any more */
	bool met_late : 1;     /* a tick came late, and is about to be looked at again */
};

static inline struct tni_assoc *tni_layered_assoc(const struct tni_layered *layered)
{
	return layered->busy ? layered->busy->assoc : NULL;
}

/* What the socket has received and is to send: for reading and taking from, until the chain is used again. */
static inline struct tn_buf *tni_layered_in(const struct tni_layered *layered)
{
	return tni_chain_received(&layered->chain);
}

static inline struct tn_buf *tni_layered_wire(const struct tni_layered *layered)
{
	return tni_chain_wire(&layered->chain);
}

static inline bool tni_layered_is_open(const struct tni_layered *layered)
{
	return tni_chain_is_open(&layered->chain);
}

/* What comes up are whole messages, and what goes down. */
static inline bool tni_layered_has_messages(const struct tni_layered *layered)
{
	return layered->chain.top->ops->messages;
}

/* No more comes from the socket. */
static inline bool tni_layered_eof(const struct tni_layered *layered)
{
	return layered->chain.bottom->eof;
}

/* Nothing more comes from the peer, nor for the layers below the highest. To close before that would be a reset. */
static inline bool tni_layered_is_over(const struct tni_layered *layered)
{
	return layered->chain.bottom->eof || layered->chain.bottom->ended;
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

/* WebSocket: a round trip that has been measured, once; 0: there is nothing new. */
uint64_t tni_layered_take_round(const struct tn_conn *conn);

/* Whether a closing connection still needs what comes: it has bytes to send, once the handshake is done. */
bool tni_layered_wants(const struct tn_conn *conn);

/* Takes a received block, whose reference is handed over. 0 or -ENOMEM. */
int tni_layered_take(struct tn_conn *conn, struct tni_blk *blk);

/* From the task: what has come is put into rx; the peer's end and failures are noted. */
void tni_layered_up(struct tn_conn *conn);

/* From the task, after messages have been handed over: acts upon a failure. */
void tni_layered_settle(struct tn_conn *conn);

/* The TLS layer, if it is the highest. NULL: there is none. */
#ifdef TNI_HAVE_TLS
struct tni_layer *tni_layered_tls(const struct tn_conn *conn);
#else
static inline struct tni_layer *tni_layered_tls(const struct tn_conn *conn)
{
	(void)conn;
	return NULL;
}
#endif

/* It begins now, in the middle: what was sent before goes without it. 0 or < 0 with words. */
int tni_layered_begin_tls(struct tn_conn *conn, struct tni_layer *tls);

/* Nothing goes through the layers any more, and nobody is told why. */
void tni_layered_drop(struct tn_conn *conn);

/* From the task: moves what is to be sent to the wire, as much as makes one call. Returns the wire. */
struct tn_buf *tni_layered_seal(struct tn_conn *conn);

/* Nothing can be sent any more: what waits on the wire is dropped. */
void tni_layered_mute(struct tn_conn *conn);

/* Whether nothing but the last word of the lowest layer (close_notify) has yet to go. */
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
