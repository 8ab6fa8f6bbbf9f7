/* Why TLS failed, in words; and the inside of a layer that they need. */
#ifndef TNI_SECURE_TLS_WORDS_H
#define TNI_SECURE_TLS_WORDS_H

#include "base/list.h"
#include "layer.h"

#include <openssl/ssl.h>

/* The longest handshake of a client, all its records: with certificates, and without. */
#define TNI_TLS_SHAKE_MAX (96 * 1024)
#define TNI_TLS_SHAKE_BARE (32 * 1024)

/* So many of the peer's first bytes tell what it speaks. */
#define TNI_TLS_START 40

struct tls {
	struct tni_layer layer;
	struct tni_creds *creds;
	SSL *ssl;
	struct tn_buf *in, *net; /* while OpenSSL is at work */
	char *host;              /* whom a client wants to reach */
	char *place;             /* whose sessions a client may resume; NULL: nobody's */
	const char *psk;         /* the identity whose pre-shared key was used; the credentials' */
	size_t shaken;           /* bytes that the handshake has read */
	const char *odd;         /* what is wrong with a client's hello; NULL: nothing */
	bool psk_unknown;        /* a client has named an identity that is not ours */
	bool heard;              /* something has come */
	bool plain;              /* it has not begun yet, or was not wanted: bytes go through as they are */
	bool optional;           /* once it is to begin, the peer's first byte tells whether it does */
	bool midway;             /* OpenSSL holds a part of a record */
	bool broken;
	struct {
		X509 *cert;
		int error, depth;
	} refused; /* the certificate that was not accepted */
};

/* What OpenSSL said to a call that returned `rc`: 0, it wants more bytes, or the peer has ended what was open; < 0 with
 * words. tls.c's, as the next is: a client's end asks for its host and holds the certificate against it. */
int tni_tls_outcome(struct tls *tls, int rc);
bool tni_tls_expect_host(struct tls *tls);

/* Goes on with the handshake, and opens the layer at its end. Returns as tni_tls_outcome(). */
int tni_tls_shake_hands(struct tls *tls);

/* How OpenSSL reaches a layer's queues; made once for the whole process. False without memory: the next call tries
 * again. */
bool tni_tls_method(BIO_METHOD **method, const char *name, int (*read)(BIO *, char *, int),
		    int (*write)(BIO *, const char *, int), long (*ctrl)(BIO *, int, long, void *));

/* Seals a part of these bytes, `n` of them. 1: done; 0: not before more has come from the peer; < 0:
 * never, with words. */
int tni_tls_write(struct tls *tls, const void *data, size_t len, size_t *n);

/* Says close_notify: the layers' `shut`, over streams and over datagrams. Also tls.c's. */
int tni_tls_shut(struct tni_layer *layer, struct tn_buf *net);

/* Releases what both hold, but not the object itself: for the layers' `free`. */
void tni_tls_clear(struct tls *tls);

/* Answers what both can: the layers' `query`. */
int tni_tls_query(const struct tni_layer *layer, enum tni_question what, void *answer);

/* Bytes for a person: text as it is, others as \xHH. */
const char *tni_tls_show(const unsigned char *bytes, size_t len, char *out, size_t cap);

/* Whether the peer's first bytes can be TLS: 0, or TN_ETLS with what it sent. */
int tni_tls_check_start(const struct tls *tls, const unsigned char *start, size_t len);

/* What stands in OpenSSL's queue of errors: TN_ETLS or TN_ECERT. Empties it. */
int tni_tls_explain(const struct tls *tls);

/* The peer's bytes have ended without its close_notify, or with it before there was a connection. */
int tni_tls_explain_cut(const struct tls *tls);

#endif
