/*
 * The contracts of what stands between a stream's bytes and its messages: layers (bytes <-> bytes, such as TLS) and,
 * on top, a frame (bytes <-> messages). No socket, no clock, no thread; the same code runs on every engine and in a
 * test without any.
 *
 * A layer stands between what is below it (the socket, or another layer) and what is above it (another layer, or the
 * frame): conn/chain.h. `net` is the queue of bytes that go down, which every step may add to.
 *
 * open() puts what the peer is owed first; called when the layer below is open. It may be NULL.
 * up() takes from `in`, what came from below, and appends what it means to `out` until that holds `max` bytes: what
 * is left of `in` then, or is not whole, stays there. It sets `open` once bytes can flow, `ended` once the peer has
 * said, by the layer's own word, that it sends no more, and `done` once the layer has finished its work: what is left
 * in `in` then belongs to the layer above, and the layer is removed. It sets `broken` where what the peer has said
 * makes no sense any more, but the peer can still be told things: cut() says why, what comes is dropped, and what is
 * to be sent still goes, before shut().
 * down() takes from the front of `in` and appends to `net` until `in` is empty or `net` holds `max` bytes, or the
 * layer must hear from the peer first; only while open.
 * shut() tells the peer that we send no more; what it sends still comes up.
 * cut() is called when no more comes from below while `ended` is false, or once it is `broken`: the error that this
 * is; 0: it is an end in good order.
 * due_ns() is when tick() is to be called, on the clock of `now_ns` (monotonic, ns); UINT64_MAX: not at all. Asked
 * after every step. Both may be NULL.
 * refuse() says why all ends, and shut() tells the peer: a message was refused, TN_ETOOBIG or why its format does not
 * allow it; -ECANCELED: the server ends. It may be NULL: a connection whose message was refused is reset then.
 * query() answers a question (enum tni_question); -EOPNOTSUPP: not this layer's. It may be NULL.
 *
 * Each returns 0 or < 0 with words that need no more than the peer's name in front (tni_err). After a failure `net`
 * may hold a last word for the peer, and nothing but free() may follow.
 */
/*
 * The contract of a frame: the pure transform between a stream's bytes and its messages.
 *
 * next() looks at the front of `in` for one whole message. 1: found; `view` shows it, valid until `in` or the frame is
 * touched, and tells how many bytes of `in` it took: the caller consumes them afterwards, which is why nothing needs to
 * be copied. 0: more bytes are needed. < 0: the bytes break the rules (TN_E..., with tni_err detail).
 * end() is asked at the end of the stream about the bytes left in `in`, when next() found none: 1: they are one last
 * message; 0: there are none; TN_ETRUNC: they are a part of a message.
 * put() appends one message, given in at most TNI_PIECES_MAX pieces, to `out`: all of it or nothing (-ENOBUFS, -ENOMEM,
 * TN_EFORMAT: this message cannot be framed so).
 */
#ifndef TNI_LAYER_H
#define TNI_LAYER_H

#include "base/shared.h"

#include <sys/uio.h>

#define TNI_PIECES_MAX 16

struct tni_layer;

enum tni_question {
	TNI_ASK_PART,     /* whether a part of something has come whose rest has not: 1 or 0; no answer */
	TNI_ASK_SECURITY, /* struct tn_security: what has been agreed upon; only while open */
	TNI_ASK_CERT,     /* struct tni_cert_question; -ENOENT: the peer has shown no such certificate */
	TNI_ASK_SILENCE,  /* struct tni_words: why a handshake has not come to its end */
	TNI_ASK_PEER,     /* struct tn_addr: who the peer is, of whom the layer is told; -EAGAIN: not yet */
	TNI_ASK_PROXY, /* struct tni_header: the PROXY header that has come, until the layer leaves; -EAGAIN: not yet */
	TNI_ASK_WEBSOCKET, /* struct tni_ws_facts (web/websocket.h) */
	TNI_ASK_TLS,       /* struct tni_layer *: TLS over a stream, for secure/tls.h */
	TNI_ASK_GATE,      /* struct tni_gate_facts (proxy/gate.h): what the client of a proxy asks for */
};

struct tni_cert_question {
	int index; /* 0: the peer's own */
	unsigned char **der;
	size_t *len;
};

struct tni_header {
	const unsigned char *data;
	size_t len;
};

struct tni_words {
	char text[400];
};

struct tni_layer_ops {
	const char *name;    /* for words: "TLS" */
	const char *opening; /* what fails before it is open: "TLS handshake" */
	bool messages; /* it makes whole messages: their ends are marked in `out`, and in what it is given to send */
	int (*open)(struct tni_layer *layer, struct tn_buf *net);
	int (*up)(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max);
	int (*down)(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *net, size_t max);
	int (*shut)(struct tni_layer *layer, struct tn_buf *net);
	int (*cut)(struct tni_layer *layer);
	uint64_t (*due_ns)(struct tni_layer *layer, uint64_t now_ns);
	int (*tick)(struct tni_layer *layer, struct tn_buf *net, uint64_t now_ns);
	void (*refuse)(struct tni_layer *layer, int err);
	int (*query)(const struct tni_layer *layer, enum tni_question what, void *answer);
	void (*free)(struct tni_layer *layer);
};

struct tni_layer {
	const struct tni_layer_ops *ops;
	bool open : 1, ended : 1, done : 1, broken : 1;
	bool timeless : 1; /* due_ns() need not be asked now: it would say never */
	bool unread : 1;   /* its owner's to write: what comes is not read at present, so that silence means nothing */
	/* Its chain's (conn/chain.h) */
	bool begun : 1; /* open() has been called */
	bool eof : 1;   /* nothing more comes from below */
	bool shut : 1;  /* its last word has been said */
	bool cut : 1;   /* it was broken, and has been asked why */
	/* Its owner's to write: of the way through proxies, the one that it speaks to: 1, 2, ...; 0: none */
	uint16_t hop : 6;
	uint16_t ticks; /* calls of tick() after which the next was due at once */
	uint32_t made;  /* bytes that it has made since it last took one */
	struct tni_layer *above, *below;
	struct tn_buf *in, *net; /* NULL: nothing is there */
};

struct tni_frame;
struct tni_frame_ops;

struct tni_view {
	const void *data;
	size_t len;
	size_t taken; /* bytes of `in` */
	/* For passing a message on as it stands, frame and all: where its `taken` bytes lie in a block; NULL when they
	 * are not in one piece or not what put() would write. */
	unsigned char *raw;
	struct tni_blk *blk;
	bool unsure; /* whether it is what put() would write is still to be asked: tni_frame_is_as_sent() */
	struct tn_shared *shared; /* it is a shared message, as yet without a frame; NULL: a received one */
	/* Set by whoever called next(): which frame it was, and whether the same piece holds more behind it. */
	const struct tni_frame_ops *ops;
	bool more;
};

/* A row: of the table of frames, or made for one URL. */
struct tni_frame_ops {
	const char *name; /* as in a URL, with what follows it there: head:size=4. The same name is the same frame */
	const char *meaning;
	int (*next)(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
	int (*end)(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
	int (*put)(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
	unsigned param;   /* what tells apart the rows that share functions: a delimiter, the bytes of each message */
	const void *spec; /* the same where a number is not enough */
	bool made;        /* for one URL */
};

/* One per connection; all zero but ops and max at first. */
struct tni_frame {
	const struct tni_frame_ops *ops;
	uint32_t max;           /* longest message, bytes */
	uint32_t scanned;       /* bytes of `in` that are known to hold no end of message; own: fewer hold none */
	uint32_t seen;          /* own: what the program's function wants to know again */
	bool skips_blank;       /* lines: one of nothing but white space is no message */
	unsigned char *scratch; /* for frames that escape: the message without its escapes */
};

static inline void tni_view_set(struct tni_view *view, struct tn_buf *in, unsigned char *data, size_t len, size_t taken)
{
	*view = (struct tni_view){
		.data = data, .len = len, .taken = taken, .raw = in->head->data, .blk = in->head->blk};
}

#endif
