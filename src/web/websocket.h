/*
 * WebSocket (RFC 6455) as a layer: bytes of a stream below, whole messages above. No socket, no clock.
 *
 * It opens with the upgrade of HTTP/1.1: the client's request, the server's answer. A server that does not want the
 * client answers with a status and words, and fails. Then messages go both ways, each text or binary, until both sides
 * have said Close. The peer's Close is its end (`ended`); ours is said by shut(), with the peer's code if it was first.
 */
#ifndef TNI_WEB_WEBSOCKET_H
#define TNI_WEB_WEBSOCKET_H

#include "layer.h"
#include "web/deflate.h"

#include <errno.h>

/* What connections of one endpoint have in common. It outlives their layers. Strings end with a zero byte. */
struct tni_ws_config {
	bool server;
	size_t max;       /* longest message, bytes */
	bool text;        /* what is sent without a mark of its own is text */
	uint64_t ping_ns; /* after so long without a byte from the peer, it is asked; 0: never */
	uint64_t dead_ns; /* after so long without one it is taken for dead; 0: never */
	const char *path; /* what is asked for, and the only path that is answered: "/chat"; a client's may go on
			   * with "?" and a query */
	const char *host; /* client: what stands in Host: "example.org:8080" */
	bool own_hosts;   /* server: addresses and localhost may stand in Host as well */
	const char *const *hosts;        /* server: what may stand there, without a port; NULL: anything */
	const char *const *origins;      /* server: pages that may connect besides the host's own: "https://a.example";
					  * "*": any; NULL: none */
	const char *origin;              /* client: NULL: it says none */
	const char *const *subprotocols; /* in order of preference; NULL: none */
	bool deflate;                    /* messages may be compressed: offered, or taken where it is offered */
	size_t deflate_min;              /* a shorter message is not compressed */
	struct tni_deflate_params deflate_own; /* what is offered, or wished for */
	const char *const *fields;             /* client: further fields, "Name: value"; NULL: none */
	/* Server: a ring of those that are served at the same address, each at a path of its own; NULL: this one alone
	 */
	const struct tni_ws_config *next;
	bool closed; /* server: nobody is granted anything here any more */
	/* Server: a client's request is about to be granted here. `who`: as tni_ws_new() got it, whose layer has this
	 * config from now on. 0, or the status that it is answered with instead, with words. NULL: always granted. */
	int (*enter)(const struct tni_ws_config *config, void *who);
	void *owner; /* for enter() */
};

/* Marks of messages (tni_buf_mark()) in what a layer hands up and is given to send. */
enum tni_ws_mark {
	TNI_MARK_TEXT = 2,
	TNI_MARK_BINARY = 4,
};

/* Codes of Close (RFC 6455 7.4.1). */
enum tni_ws_code {
	TNI_WS_NORMAL = 1000,
	TNI_WS_GOING_AWAY = 1001,
	TNI_WS_PROTOCOL = 1002,
	TNI_WS_UNSUPPORTED = 1003,
	TNI_WS_NO_CODE = 1005,  /* none was said; never on the wire */
	TNI_WS_ABNORMAL = 1006, /* no Close came; never on the wire */
	TNI_WS_BAD_DATA = 1007,
	TNI_WS_POLICY = 1008,
	TNI_WS_TOO_BIG = 1009,
	TNI_WS_NO_EXTENSION = 1010,
	TNI_WS_INTERNAL = 1011,
};

/* The answer to TNI_ASK_WEBSOCKET. Texts are valid until the layer goes. */
struct tni_ws_facts {
	const char *subprotocol; /* agreed upon; "": none */
	const char *target;      /* what the client has asked for, with its query */
	int peer_code;           /* of the peer's Close; TNI_WS_NO_CODE, TNI_WS_ABNORMAL: none has come */
	const char *peer_reason;
	bool deflate;            /* messages may be compressed */
	int our_code;            /* of ours; 0: not said */
	struct tni_layer *layer; /* the one that answers */
	uint64_t round_ns;       /* between a ping of ours and its pong; 0: not measured */
};

#ifdef TNI_HAVE_TLS

/* A layer for one connection, `who` (see enter()). 0; -ENOMEM. */
int tni_ws_new(const struct tni_ws_config *config, void *who, struct tni_layer **out);

/*
 * A layer that looks on: its up() takes what one side of another's connection sends, from its head of HTTP or from a
 * frame on, and makes messages. `configs`: a client's and a server's, of which max and deflate count. An end by Close
 * is `ended`, and TNI_ASK_WEBSOCKET tells its code.
 */
int tni_ws_watch_new(const struct tni_ws_config configs[2], struct tni_layer **out);

/* A client's layer, before it is opened, has this to say of who we are (Authorization): malloc'ed, handed over. */
void tni_ws_authorize(struct tni_layer *layer, char *authorization);

/* A server's layer, in its handshake, has another configuration of the ring from now on. */
void tni_ws_move(struct tni_layer *layer, const struct tni_ws_config *config);

/* What shut() says: a code that may be sent (RFC 6455 7.4) and at most 123 bytes of UTF-8. 0, or TN_EFORMAT with
 * words. */
int tni_ws_set_close(struct tni_layer *layer, int code, const char *reason);

/* A ping goes at once, or behind the answer to one that is out. 0 or TN_ESTATE with words. */
int tni_ws_ping(struct tni_layer *layer);

/* The time to its answer, once; 0: there is nothing new. */
uint64_t tni_ws_take_round(struct tni_layer *layer);

#else /* no endpoint is WebSocket: none is reached */

static inline int tni_ws_ping(struct tni_layer *layer)
{
	(void)layer;
	return -EOPNOTSUPP;
}

static inline uint64_t tni_ws_take_round(struct tni_layer *layer)
{
	(void)layer;
	return 0;
}

static inline int tni_ws_new(const struct tni_ws_config *config, void *who, struct tni_layer **out)
{
	(void)config, (void)who;
	*out = NULL;
	return -EOPNOTSUPP;
}

static inline int tni_ws_watch_new(const struct tni_ws_config configs[2], struct tni_layer **out)
{
	(void)configs;
	*out = NULL;
	return -EOPNOTSUPP;
}

static inline void tni_ws_authorize(struct tni_layer *layer, char *authorization)
{
	(void)layer, (void)authorization;
}

static inline void tni_ws_move(struct tni_layer *layer, const struct tni_ws_config *config)
{
	(void)layer, (void)config;
}

static inline int tni_ws_set_close(struct tni_layer *layer, int code, const char *reason)
{
	(void)layer, (void)code, (void)reason;
	return -EOPNOTSUPP;
}

#endif

#endif
