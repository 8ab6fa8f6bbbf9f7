/* What the modules of this room know of a connection. */
#ifndef TNI_CONN_CONN_H
#define TNI_CONN_CONN_H

#include "endpoint/endpoint.h"
#include "io/loop.h"
#include "net/dgram.h"
#include "net/dial.h"
#include "net/raw.h"

struct tni_extra;
struct tni_kind;
struct tni_layered;
struct tni_part;

/* Why a connection does not read: it does iff the mask is 0. */
enum tni_hold {
	TNI_HOLD_USER = 1,    /* tn_pause() */
	TNI_HOLD_TXFULL = 2,  /* the outgoing queue is past its mark */
	TNI_HOLD_STARVED = 4, /* no memory for bytes */
	TNI_HOLD_CLOSED = 8,  /* not open yet, or nothing more is to be read */
	TNI_HOLD_FLOW = 16,   /* where it goes is full: conn/join.c */
};

enum tni_conn_flag {
	/* What it is */
	TNI_DIALLING = 1 << 0,    /* it is being connected */
	TNI_COUNTED = 1 << 1,     /* counts in its server */
	TNI_ADMITTED = 1 << 2,    /* counts under its source: it is known whose it is */
	TNI_TURNED_AWAY = 1 << 3, /* its server has no room for it; counts in part->refused */
	TNI_UNTOLD = 1 << 4,      /* nobody is told of it */
	TNI_READ_ONLY = 1 << 5,   /* a file or pipe of one direction */
	TNI_WRITE_ONLY = 1 << 6,
	TNI_TELL_OPEN = 1 << 7, /* on_open is owed */
	TNI_OPEN = 1 << 8,      /* on_open has been told */
	TNI_EXTRA = 1 << 9,     /* it has a struct tni_extra in the place of its handler */
	/* What comes */
	TNI_RX_END = 1 << 10,    /* the peer has ended its direction */
	TNI_END_TOLD = 1 << 11,  /* and the user knows */
	TNI_READ_LOST = 1 << 12, /* a read has failed; what came before is still handed over */
	TNI_REFUSED = 1 << 13,   /* a message was refused while replies were owed: what still comes is dropped */
	TNI_HELD_BACK = 1 << 14, /* the peer has been held back: its kernel may wait before it sends on */
	/* What goes */
	TNI_FIN_WANTED = 1 << 15,  /* our direction ends when the queue is empty */
	TNI_FIN_SENT = 1 << 16,    /* our direction has ended */
	TNI_WRITE_LOST = 1 << 17,  /* a write has failed; what the peer said before is still read */
	TNI_SEND_FAILED = 1 << 18, /* a send failed inside a call of the user's: told to the pump from the task */
	TNI_OWE_DRAIN = 1 << 19,   /* on_drain is owed once the queue has gone down */
	TNI_FULL = 1 << 20,        /* TN_EFULL has been said: nothing is queued until on_drain is due */
	TNI_SELF_FED = 1 << 21,    /* the queue holds replies: what its own on_msg sent */
	/* How it ends */
	TNI_CLOSING = 1 << 22,       /* tn_close(): no message is handed over any more */
	TNI_ENDS_BY_RESET = 1 << 23, /* a message was refused: when the peer has all, a reset instead of a FIN */
	TNI_RESET = 1 << 24,         /* close with a reset */
	TNI_DEAD = 1 << 25,          /* only waits for what is in flight */
	TNI_DYING = 1 << 26,         /* counts in loop->dying */
	TNI_DESCRIBED = 1 << 27,     /* failed_at is a detail of its own */
	/* Where the pump is */
	TNI_RUNNING = 1 << 28,    /* inside its task */
	TNI_DELIVERING = 1 << 29, /* inside on_msg, or about to be */
	TNI_MET_LATE = 1 << 30,   /* a deadline was met late, and is about to be looked at again */
};
#define TNI_TAPPED (UINT32_C(1) << 31) /* somebody looks on: conn/tap.c. An enum ends below it */

struct tni_peers;
struct tni_proxy_told;

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
	struct tn_addr many;      /* dialled: the group or broadcast address that was; otherwise empty */
	size_t most_in, most_out; /* bytes of one that is taken, header included; and of one that is sent */
	bool connected;
	bool guarded;                /* not everybody may send: keys allow, deny, proxy */
	bool special;                /* what comes is not just one message each: raw, many, key gro */
	bool tells_local;            /* the kernel says to which address each datagram was sent */
	uint8_t hops_max;            /* of tn_conn_fade(): most that a reply gets; 0: replies do not fade */
	struct tni_fading *fades;    /* of tn_conn_fade() */
	struct tni_raw *raw;         /* of sockets below the transports; otherwise NULL */
	struct tni_proxy_told *told; /* key proxy=accept: of the datagram that is handed over */
	struct tni_peers *peers;     /* of a served socket with associations; otherwise NULL */
#ifdef TNI_HAVE_SOCKOPTS
	struct tni_netns_known *ours; /* senders that were asked about; NULL: none */
#endif
#ifdef TNI_HAVE_SEGMENTS
	struct tni_segments *segments; /* key gso; otherwise NULL */
#endif
};

struct tn_conn {
	struct tni_task task;
	struct tni_list siblings; /* in its part's list, or in its loop's of dialled ones */
	const struct tni_kind *kind;
	struct tn_loop *loop;
	struct tni_part *part;   /* of the server that accepted it; NULL when dialled */
	struct tni_endpoint *ep; /* the part's; dialled: a reference */
	union {
		const struct tn_handler *handler; /* the server's; dialled: a reference of conn/dialler.h */
		struct tni_extra *extra;          /* with TNI_EXTRA: conn/extra.h */
	};
	void *arg; /* the handler's */
	void *data;
	uint64_t id;
	struct tni_fd io;
	struct tn_buf rx, tx;
	struct tni_frame frame;
	struct tni_dgram *dgram;     /* of a datagram socket; otherwise NULL */
	struct tni_layered *layered; /* what stands below the frame (TLS); NULL: nothing does */
	struct tni_timer timer;      /* idle while open; drain, then linger while closing */
	uint64_t opened_ns, active_ns;
	uint64_t deadline_ns; /* while open, of the message that has begun (0: none has); then of closing */
	uint64_t bytes_in, bytes_out, msgs_in, msgs_out;
	union {
		struct tni_dial *dial; /* with TNI_DIALLING */
		struct {
			uint32_t lookup_us; /* then: how long its name was looked up, */
			uint32_t layers_us; /* and 1 + how long its layers took to open; 0: it is not connected */
		};
	};
	union {
		char *failed_at;  /* with err: the operation that failed; with TNI_DESCRIBED the
				   * whole detail, malloc'ed */
		uint64_t sent_ns; /* until then: when the send in flight began */
	};
	int err;
	uint32_t flags; /* enum tni_conn_flag */
	uint8_t hold;   /* enum tni_hold */
	uint8_t peer_len : 7;
	uint8_t background : 1; /* does not keep the loop running */
	uint16_t held;          /* tn_conn_hold() and not released */
	union {
		unsigned char peer[28]; /* of IP sockets; others are asked when needed */
		uint32_t uid;           /* without peer_len: whose a Unix socket's other end is, where that counts */
	};
};

/*
 * A connection of a server's part over a connected descriptor, which it owns from now on. `uid`: the peer's, of a Unix
 * socket. It is to be begun or refused. 0; or -errno with detail, with which the descriptor is still the
 * caller's: -ENOMEM, or what shared memory cannot be had for.
 */
int tni_conn_accept(struct tni_part *part, int fd, const struct tn_addr *peer, uint32_t uid, struct tn_conn **out);

/* Puts its layers below it, and has it admitted. It counts in its server (TNI_COUNTED). */
void tni_conn_begin(struct tn_conn *conn);

/*
 * Its server has no room for it. It is closed with patience, so that the client reads an end instead of an error; those
 * beyond a number are closed at once. tni_conn_refuse() is for one that has not begun: TN_ELIMIT or -EACCES.
 */
void tni_conn_turn_away(struct tn_conn *conn);
void tni_conn_refuse(struct tn_conn *conn, int err);

/* There is no memory to serve it, and nobody knows of it but its server, who is told: it is reset. */
void tni_conn_abandon(struct tn_conn *conn);

/* What its peer counts as: conn/sources.h. */
uint64_t tni_conn_source(const struct tn_conn *conn);

/* A served datagram socket: one connection for all peers. */
struct tn_conn *tni_conn_serve_dgram(struct tni_part *part, int fd);

/*
 * An association of a served socket, whose layer has accepted the client's cookie. The layer is handed over in every
 * case. NULL without memory.
 */
struct tni_layer;
struct tn_conn *tni_conn_accept_peer(struct tn_conn *socket, const struct tn_addr *peer, struct tni_layer *layer);

/* Dials an endpoint, of which it takes a reference of its own, as tn_dial_for() does a URL. */
int tni_dial_endpoint_for(struct tn_loop *loop, struct tni_endpoint *ep, const struct tn_handler *handler, void *arg,
			  const struct tn_conn *of, struct tn_conn **out);

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

/*
 * Nothing behind what has been handed over can be used: replies go out, then it closes with `err` and the words that
 * stand in tn_errmsg(), which must survive until on_close.
 */
void tni_conn_refuse_rest(struct tn_conn *conn, int err);

/*
 * What it has to send still goes out, however slowly; then it is reset, and closes with `err` and the words that stand
 * in tn_errmsg(). What still comes is dropped.
 */
void tni_conn_pass_error(struct tn_conn *conn, int err);

/* Whether it keeps messages: by a frame, as packets, or by a layer. Otherwise it is a stream of bytes. */
bool tni_conn_has_messages(const struct tn_conn *conn);

/* The same for what ends the peer's direction alone: `err` and the words are kept for on_close. */
void tni_conn_keep_reason(struct tn_conn *conn, int err);

/*
 * The pump's side for datagram sockets: conn/dgram.c. Without a descriptor (it is dialled) tni_dgram_open() makes the
 * place for what is sent already; it is called again with one.
 */
int tni_dgram_open(struct tn_conn *conn, bool connected);
void tni_dgram_free(struct tn_conn *conn);
int tni_dgram_receive(struct tn_conn *conn);
void tni_dgram_deliver(struct tn_conn *conn);
bool tni_dgram_has_received(const struct tn_conn *conn);
/* 0; 1: it is lost and counted, since a reply may go no further than the question's hops allow; < 0. */
int tni_dgram_put(struct tn_conn *conn, const struct tn_msg *answered, const struct iovec *iov, int count);
void tni_dgram_send(struct tn_conn *conn);
/* A datagram is lost here. */
void tni_dgram_lose(struct tn_conn *conn);
void tni_dgram_info(const struct tn_conn *conn, struct tn_conn_info *info);

/* The socket is about to be closed: a served one tells of what was lost and not told of yet. */
void tni_dgram_leave(struct tn_conn *conn);

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
