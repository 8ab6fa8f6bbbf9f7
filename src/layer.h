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
 * in `in` then belongs to the layer above, and the layer is removed.
 * down() takes from the front of `in` and appends to `net` until `in` is empty or `net` holds `max` bytes, or the
 * layer must hear from the peer first; only while open.
 * shut() tells the peer that we send no more; what it sends still comes up.
 * cut() is called when no more comes from below while `ended` is false: the error that this is; 0: it is an end in
 * good order.
 * due_ns() is when tick() is to be called, on the clock of `now_ns` (monotonic, ns); UINT64_MAX: not at all. Asked
 * after every step. Both may be NULL.
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

#include "base/buf.h"

#include <sys/uio.h>

#define TNI_PIECES_MAX 16

struct tni_layer;

enum tni_question {
	TNI_ASK_PART,     /* whether a part of something has come whose rest has not: 1 or 0; no answer */
	TNI_ASK_SECURITY, /* struct tn_security: what has been agreed upon; only while open */
	TNI_ASK_CERT,     /* struct tni_cert_question; -ENOENT: the peer has shown no such certificate */
	TNI_ASK_SILENCE,  /* struct tni_words: why a handshake has not come to its end */
};

struct tni_cert_question {
	int index; /* 0: the peer's own */
	unsigned char **der;
	size_t *len;
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
	int (*query)(const struct tni_layer *layer, enum tni_question what, void *answer);
	void (*free)(struct tni_layer *layer);
};

struct tni_layer {
	const struct tni_layer_ops *ops;
	bool open, ended, done;
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
	/* Set by whoever called next(): which frame it was, and whether the same piece holds more behind it. */
	const struct tni_frame_ops *ops;
	size_t size;
	bool more;
};

struct tni_frame_ops {
	const char *name;
	const char *meaning;
	int (*next)(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
	int (*end)(struct tni_frame *frame, struct tn_buf *in, struct tni_view *view);
	int (*put)(struct tni_frame *frame, struct tn_buf *out, const struct iovec *iov, int count);
	unsigned param; /* what tells apart the rows that share functions: bytes of a prefix, ... */
};

/* One per connection; all zero but ops, max and size at first. */
struct tni_frame {
	const struct tni_frame_ops *ops;
	uint32_t max;           /* longest message, bytes */
	uint32_t size;          /* fixed: bytes of each message */
	uint32_t scanned;       /* bytes of `in` that are known to hold no end of message */
	bool skips_blank;       /* lines: one of nothing but white space is no message */
	unsigned char *scratch; /* for frames that escape: the message without its escapes */
};

static inline void tni_view_set(struct tni_view *view, struct tn_buf *in, unsigned char *data, size_t len, size_t taken)
{
	*view = (struct tni_view){
		.data = data, .len = len, .taken = taken, .raw = in->head->data, .blk = in->head->blk};
}

#endif
