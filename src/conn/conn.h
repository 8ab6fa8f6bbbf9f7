/* What the modules of this room know of a connection. */
#ifndef TNI_CONN_CONN_H
#define TNI_CONN_CONN_H

#include "conn/endpoint.h"
#include "io/loop.h"
#include "net/dgram.h"
#include "net/dial.h"
#include "net/raw.h"

struct tni_layered;
struct tni_part;

/* Why a connection does not read: it does iff the mask is 0. */
enum tni_hold {
	TNI_HOLD_USER = 1,    /* tn_pause() */
	TNI_HOLD_TXFULL = 2,  /* the outgoing queue is past its mark */
	TNI_HOLD_STARVED = 4, /* no memory for bytes */
	TNI_HOLD_CLOSED = 8,  /* not open yet, or nothing more is to be read */
};

enum tni_conn_flag {
	TNI_TELL_OPEN = 1,   /* on_open is owed */
	TNI_OPEN = 2,        /* on_open has been told */
	TNI_RX_END = 4,      /* the peer has ended its direction */
	TNI_END_TOLD = 8,    /* and the user knows */
	TNI_FIN_WANTED = 16, /* our direction ends when the queue is empty */
	TNI_FIN_SENT = 32,
	TNI_CLOSING = 64,        /* tn_close(): no message is handed over any more */
	TNI_DEAD = 128,          /* only waits for what is in flight */
	TNI_OWE_DRAIN = 256,     /* on_drain is owed once the queue has gone down */
	TNI_ACCEPTED = 512,      /* counts in its server */
	TNI_UNTOLD = 1024,       /* nobody is told of it: refused by its server, or failed at once */
	TNI_RUNNING = 2048,      /* inside its task */
	TNI_RESET = 4096,        /* close with a reset */
	TNI_DESCRIBED = 65536,   /* failed_at is a detail of its own */
	TNI_DELIVERING = 131072, /* inside on_msg, or about to be */
	TNI_SELF_FED = 32768,    /* the queue holds replies: what its own on_msg sent */
	TNI_READ_LOST = 524288,  /* a read has failed; what came before is still handed over */
	TNI_WRITE_LOST = 262144, /* a write has failed; what came before is still read */
	TNI_MET_LATE = 2097152,  /* a deadline was met late, and is about to be looked at again */
	TNI_SOCKET = 1048576,    /* only the socket that connections share: nobody is told of it */
	TNI_READ_ONLY = 8192,    /* a file or pipe of one direction */
	TNI_WRITE_ONLY = 16384,
	TNI_FULL = 8388608,            /* TN_EFULL has been said: nothing is queued until on_drain is due */
	TNI_SEND_FAILED = 33554432,    /* inside a call of the user's: told to the pump from the task */
	TNI_DYING = 16777216,          /* counts in loop->dying */
	TNI_REFUSED = 134217728,       /* what still comes is dropped: a message was refused while replies were owed */
	TNI_HELD_BACK = 67108864,      /* the peer has been held back: its kernel may wait before it sends on */
	TNI_REPLACED = 4194304,        /* its place in its server is another's */
	TNI_ENDS_BY_RESET = 268435456, /* a message was refused: when the peer has all, a reset instead of a FIN */
};

struct tni_peers;

/* What only datagram sockets need. */
struct tni_dgram {
	struct tn_conn *conn;
	struct tni_dgram_queue tx;
	struct tni_dgram_queue stash; /* came in a batch whose handling was paused */
	struct tni_outbox outbox;
	struct tni_batch *batch;
	struct tni_mmsg mm;
	int received; /* datagrams of the batch yet to be handed over */
	uint64_t lost;
	uint32_t dropped_before; /* by the kernel, before the socket was ours, */
	uint64_t dropped;        /* and when it was last asked */
	struct tni_timer look;   /* asks again while datagrams come */
	struct tni_timer retry;
	unsigned retries;     /* of the first datagram that is to go */
	struct tn_addr stuck; /* a peer that has taken nothing for long */
	uint64_t stuck_until_ns;
	struct tn_addr many; /* dialled: the group or broadcast address that was; otherwise empty */
	bool connected;
	bool tells_local;         /* the kernel says to which address each datagram was sent */
	uint8_t hops_max;         /* of tn_conn_fade(): most that a reply gets; 0: replies do not fade */
	struct tni_fading *fades; /* of tn_conn_fade() */
	struct tni_raw *raw;      /* of sockets below the transports; otherwise NULL */
	/* Takes each datagram as it comes, where messages are made of them first (DTLS); NULL:
	 * they are the messages. */
	void (*take)(struct tn_conn *conn, const struct tn_addr *peer, const void *data, size_t len);
	struct tni_peers *peers; /* of a served socket with connections; otherwise NULL */
};

/* Whom a connection belongs to. */
struct tni_user {
	struct tn_handler handler;
	void *arg;
};

struct tn_conn {
	struct tni_task task;
	struct tni_owned owned; /* in loop->owned, or in its part's list */
	struct tn_loop *loop;
	struct tni_part *part;       /* of the server that accepted it; NULL when dialled */
	struct tni_endpoint *ep;     /* the part's, or its own when dialled */
	const struct tni_user *user; /* the server's, or its own when dialled */
	void *data;
	uint64_t id;
	struct tni_fd io;
	struct tn_buf rx, tx;
	struct tni_frame frame;
	struct tni_dgram *dgram;     /* of a datagram socket; otherwise NULL */
	struct tni_layered *layered; /* what stands below the frame (TLS); NULL: nothing does */
	struct tni_dial *dial;       /* while it connects */
	struct tni_timer timer;      /* idle while open; drain, then linger while closing */
	uint64_t opened_ns, active_ns;
	uint64_t deadline_ns; /* while open, of the message that has begun (0: none has); then of closing */
	uint64_t bytes_in, bytes_out, msgs_in, msgs_out;
	union {
		char *failed_at;  /* with err: the operation that failed; with TNI_DESCRIBED the
				   * whole detail, malloc'ed */
		uint64_t sent_ns; /* until then: when the send in flight began */
	};
	int err;
	uint32_t flags; /* enum tni_conn_flag */
	uint8_t hold;   /* enum tni_hold */
	uint8_t peer_len;
	uint16_t held; /* tn_conn_hold() and not released */
	union {
		unsigned char peer[28]; /* of IP sockets; others are asked when needed */
		uint32_t uid;           /* without peer_len: whose a Unix socket's other end is, where that counts */
	};
};

/*
 * A connection over a connected descriptor, which it owns from now on. `part` gives endpoint, handler and loop;
 * `source` is what its peer counts as (conn/sources.h). Returns NULL without memory; the descriptor is still the
 * caller's then.
 */
struct tn_conn *tni_conn_accept(struct tni_part *part, int fd, const struct tn_addr *peer, uint64_t source,
				unsigned flags);

/* The same of a connection that is there. */
uint64_t tni_conn_source(const struct tn_conn *conn);

/* A served datagram socket: one connection for all peers. */
struct tn_conn *tni_conn_serve_dgram(struct tni_part *part, int fd);

/*
 * One of those who speak to a served datagram socket with connections, whose layer has let him in and is handed over in
 * every case. NULL without memory.
 */
struct tni_layer;
struct tn_conn *tni_conn_accept_peer(struct tn_conn *socket, const struct tn_addr *peer, struct tni_layer *layer);

/* Ends it at once with `err`, silently or not as its state wants. */
void tni_conn_kill(struct tn_conn *conn, int err);

/* A deadline has passed. What was delivered whole ends in good order, all else by tni_conn_kill(). */
void tni_conn_cut(struct tn_conn *conn, int err);

/* A draining connection that has been quiet for so long has nothing in flight. */
#define TNI_QUIET_NS (100 * TNI_NS_PER_MS)

/*
 * Whether nothing is on its way: for TNI_QUIET_NS nothing has come or gone, and nothing is held back, owed, queued, or
 * in part. A peer that was held back gets a second: it may have met a closed window, which its kernel tries again only
 * after 200 ms or more (RFC 9293 3.8.6.1).
 */
bool tni_conn_is_quiet(const struct tn_conn *conn);

/*
 * Whether the endpoint's format takes a message: true, or false after on_bad was told or with the detail of why in
 * `err`, which is 0 when nothing more is to be done about it.
 */
bool tni_conn_takes(struct tn_conn *conn, const struct tn_msg *msg, int *err);

/* Whether messages may be handed over now. */
bool tni_conn_may_deliver(const struct tn_conn *conn);

/*
 * Nothing behind what has been handed over can be used: replies go out, then it closes with `err` and the words that
 * stand in tn_errmsg(), which must survive until on_close.
 */
void tni_conn_refuse_rest(struct tn_conn *conn, int err);

/* The same for what ends the peer's direction alone: `err` and the words are kept for on_close. */
void tni_conn_keep_reason(struct tn_conn *conn, int err);

/* dgram side of the pump: conn/dgram.c */
int tni_dgram_open(struct tn_conn *conn, bool connected);
void tni_dgram_free(struct tn_conn *conn);
void tni_dgram_deliver(struct tn_conn *conn);
void tni_dgram_flush(struct tn_conn *conn);
/* 0; 1: it is lost and counted, since a reply may go no further than the question's hops allow; < 0. */
int tni_dgram_put(struct tn_conn *conn, const struct tn_msg *answered, const struct iovec *iov, int count);
/* Asks how many datagrams the kernel has dropped. */
void tni_dgram_ask_dropped(const struct tn_conn *conn, uint64_t *dropped);

/* The socket is about to be closed: a served one tells of what was lost and not told of yet. */
void tni_dgram_end(struct tn_conn *conn);
void tni_dgram_recv_done(struct tni_op *op, int res);
void tni_dgram_send_done(struct tni_op *op, int res);

/* Shared by both sides of the pump. */
void tni_conn_fail(struct tn_conn *conn, int err, const char *failed_at);
static inline struct tn_conn *tni_conn_of_rd(struct tni_op *op)
{
	return tni_container_of(op, struct tn_conn, io.rd);
}

static inline struct tn_conn *tni_conn_of_wr(struct tni_op *op)
{
	return tni_container_of(op, struct tn_conn, io.wr);
}

#endif
