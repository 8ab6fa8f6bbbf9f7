/* What the files of the WebSocket layer share: websocket.c (its life), ws_read.c, ws_write.c. */
#ifndef TNI_WEB_WS_H
#define TNI_WEB_WS_H

#include "base/err.h"
#include "base/list.h"
#include "base/utf8.h"
#include "web/upgrade.h"

#include <assert.h>
#include <errno.h>

/* Opcodes (RFC 6455 5.2). Those from CLOSE on are control frames. */
enum {
	OP_MORE = 0,
	OP_TEXT = 1,
	OP_BINARY = 2,
	OP_CLOSE = 8,
	OP_PING = 9,
	OP_PONG = 10,
};

#define FIN 0x80
#define MASKED 0x80
#define COMPRESSED 0x40 /* RSV1, in the first frame of a message (RFC 7692 6) */
#define RESERVED 0x70
#define HEAD_MAX 14
#define CONTROL_MAX 125

/* A message up to this long is copied behind its head: linking costs more. */
#define COPY_MAX 1024

/* What comes, from the first byte of a message or of a frame to its last. */
struct ws_reading {
	uint64_t left; /* bytes of the frame's payload that are still to come */
	unsigned char mask[4];
	unsigned mask_at;     /* which byte of the mask is next */
	unsigned char opcode; /* OP_MORE becomes its message's */
	bool in_frame, fin;
	unsigned char control_len;
	unsigned char kind;        /* of the message: OP_TEXT, OP_BINARY; 0: none has begun */
	struct tni_utf8_part text; /* of a text: a character that is not whole */
	uint64_t length;           /* of its frames so far */
	bool packed;               /* it is compressed: */
	bool more;                 /* there is more in what has come */
	unsigned char tail;        /* bytes of its end that are to be added */
	uint64_t plain_length;     /* decompressed so far */
	struct tni_inflater inflater;
	size_t clear;                       /* bytes at the front that are not masked any more */
	unsigned char control[CONTROL_MAX]; /* last: it need not be zero */
};

/* The message that goes, while it goes in pieces. */
struct ws_writing {
	uint64_t sending;     /* bytes of its payload that are still to go; of `form`, if there is one */
	struct tni_blk *form; /* the whole frame of a shared message; NULL: it is none, or short */
	unsigned char out_mask[4];
	unsigned out_mask_at;
	bool packing;                /* it is compressed: */
	bool ping_later, pong_later; /* behind the frame that is half sent */
	unsigned char packed_head;   /* opcode and RSV1 of its next frame */
	struct tni_deflater deflater;
	unsigned char pong_len, pong[CONTROL_MAX]; /* last: it need not be zero */
};

/* What few have. */
struct ws_seldom {
	char *target;               /* server: what the client has asked for, if it is not the path alone */
	const char *subprotocol;    /* one of the configuration's; NULL: none */
	char *reason, *peer_reason; /* of Close; NULL: none */
	char *words;                /* why it is broken, and the error: */
	int err;
	char key[TNI_WS_KEY];                  /* a client's, until its answer has come */
	uint64_t heard_ns, asked_ns, round_ns; /* where silence counts, or a ping was wanted */
};

/* An idle one is this alone. What a message needs that comes or goes in one piece stands on the stack. */
struct ws {
	struct tni_layer layer;
	const struct tni_ws_config *config;
	union {
		void *who;             /* a server's until it is open: whose it is, for config->enter() */
		char *authorization;   /* a client's until its request is sent; NULL: none */
		struct ws_reading *in; /* then; NULL: nothing has come in part */
	};
	struct ws_writing *out;     /* NULL: nothing has gone in part */
	struct ws_seldom *seldom;   /* NULL: nothing of that */
	uint16_t code, peer_code;   /* of Close; peer_code 0: it has said none */
	uint16_t our_code;          /* what has been said */
	uint16_t heard : 1;         /* a byte has come */
	uint16_t asked : 1;         /* a ping is out */
	uint16_t answered : 1;      /* its pong has come */
	uint16_t wanted : 1;        /* a ping is to go at once */
	uint16_t measured : 1;      /* round_ns has not been taken */
	uint16_t deflate : 1;       /* agreed upon: */
	uint16_t deflate_fresh : 1; /* each message of ours begins anew */
	uint16_t deflate_bits : 4;
	uint16_t inflate_fresh : 1;
};

static_assert(sizeof(struct ws) <= 88, "an idle WebSocket costs at most 96 bytes, allocator included");

static inline struct ws *tni_ws_of(const struct tni_layer *layer)
{
	return tni_container_of((struct tni_layer *)(uintptr_t)layer, struct ws, layer);
}

static inline int tni_ws_no_memory(void)
{
	return tni_err(-ENOMEM, "WebSocket: out of memory");
}

/* What few have; made if there is none. NULL without memory. */
struct ws_seldom *tni_ws_seldom(struct ws *w);

/* Operations of the layer that looking on has as well. */
int tni_ws_cut(struct tni_layer *layer);
int tni_ws_query(const struct tni_layer *layer, enum tni_question what, void *answer);
void tni_ws_free(struct tni_layer *layer);

/* Whether a code may stand in a Close. */
static inline bool tni_ws_is_close_code(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

/*
 * Reads frames from `in` until `out` holds `max` bytes, or more must come. 0; < 0: without memory, with words, or the
 * layer is `broken`.
 */
int tni_ws_read(struct ws *w, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max);

/* Masks bytes, or takes the mask off; `mask_at` is which byte of the mask is next. */
void tni_ws_mask(const unsigned char mask[4], unsigned *mask_at, unsigned char *p, size_t len);

/* What stands half read or half sent is forgotten. */
void tni_ws_forget_in(struct ws *w);
void tni_ws_forget_out(struct ws *w);

/* Frames that are not parts of messages. Nothing is sent behind our Close. 0 or < 0 with words. */
int tni_ws_put_control(struct ws *w, struct tn_buf *net, unsigned opcode, const void *data, size_t len);
int tni_ws_put_close(struct ws *w, struct tn_buf *net, unsigned code, const char *reason);

/* Takes messages from `in` until it is empty or `net` holds `max` bytes. 0 or < 0 with words. */
int tni_ws_write(struct ws *w, struct tn_buf *in, struct tn_buf *net, size_t max);

#endif
