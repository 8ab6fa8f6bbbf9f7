/*
 * Messages made shorter: permessage-deflate (RFC 7692), the part that knows no WebSocket. What the two ends agree upon,
 * and the compressor and decompressor of one connection.
 *
 * Where every message begins afresh (no context takeover) a connection owns neither: it borrows its thread's, and keeps
 * it only while a message is on its way in pieces. So thousands of idle connections cost nothing.
 */
#ifndef TNI_WEB_DEFLATE_H
#define TNI_WEB_DEFLATE_H

#include "base/buf.h"
#include "web/http.h"

#define TNI_DEFLATE_PARAMS 160 /* room for any agreement as text */

/* What stands behind "permessage-deflate". */
struct tni_deflate_params {
	bool server_fresh, client_fresh; /* server_no_context_takeover, client_... */
	int server_bits, client_bits;    /* ..._max_window_bits: 8 to 15; 0: not said */
	bool client_bits_known;          /* an offer: client_max_window_bits stands there, perhaps without a value */
};

/* Reads one item of Sec-WebSocket-Extensions. 1: understood; 0: another extension; TN_EFORMAT with words. */
int tni_deflate_read(const struct tni_http_text *item, bool offer, struct tni_deflate_params *params);

/* Writes it: "permessage-deflate; server_no_context_takeover". */
void tni_deflate_write(const struct tni_deflate_params *params, bool offer, char out[TNI_DEFLATE_PARAMS]);

/* Server: what it answers to an offer, with wishes of its own. */
void tni_deflate_accept(const struct tni_deflate_params *offer, const struct tni_deflate_params *own,
			struct tni_deflate_params *answer);

/* Client: whether an answer is one to what it has offered. */
bool tni_deflate_fits(const struct tni_deflate_params *offer, const struct tni_deflate_params *answer);

struct tni_press;

/* One end's direction in which it sends: `bits` of window; 0: as many as there are. `fresh`: each message begins
 * anew. */
struct tni_deflater {
	struct tni_press *press; /* borrowed or owned; NULL: neither yet */
	int bits;
	bool fresh;
};

/* The direction in which it receives. */
struct tni_inflater {
	struct tni_press *press;
	bool fresh;
};

#ifdef TNI_HAVE_ZLIB

/*
 * Compresses `len` bytes at the front of `in`, which are taken, to the end of `out`. `last`: they end the message, and
 * the four bytes that RFC 7692 7.2.1 leaves out are left out. 0; -ENOMEM, with which the connection cannot go on.
 */
int tni_deflate(struct tni_deflater *d, struct tn_buf *in, size_t len, bool last, struct tn_buf *out);

/* What a sender leaves out at the end of each message, and a receiver has to decompress behind it. */
#define TNI_DEFLATE_TAIL "\0\0\xff\xff"

/*
 * Decompresses bytes of a message to the end of `out` until that holds `max` bytes, and tells in `taken` how many it
 * has used. 0: all that the used bytes mean is there; 1: there is more, perhaps of no further byte; TN_EFORMAT: this is
 * not compressed so; -ENOMEM.
 */
int tni_inflate(struct tni_inflater *d, const unsigned char *data, size_t len, size_t *taken, struct tn_buf *out,
		size_t max);

/* Whether the message ends where a block of DEFLATE does, once its tail has been decompressed. */
bool tni_inflate_is_whole(const struct tni_inflater *d);

/* Between two messages, and in the end. */
void tni_deflate_rest(struct tni_deflater *d);
void tni_inflate_rest(struct tni_inflater *d);
void tni_deflate_free(struct tni_deflater *d);
void tni_inflate_free(struct tni_inflater *d);

#else
#include "web/no_zlib.h"
#endif

#endif
