/*
 * DTLS 1.2 over datagrams: no socket, and no clock but OpenSSL's own for what has to be sent again. Every queue holds
 * whole messages (the end of each is marked): a datagram of the wire in `in` and `net`, a message of the user in `out`.
 *
 * Otherwise a layer as layer.h has it, with two differences. What comes may be anybody's: a datagram that is not the
 * peer's is dropped without a word, it is no failure. And what gets lost in a handshake is sent again by tick(),
 * after a while in smaller pieces, since it may be their size that keeps them from arriving.
 */
#ifndef TNI_SECURE_DTLS_H
#define TNI_SECURE_DTLS_H

#include "layer.h"
#include "secure/creds.h"

/* What fits into every path: the least that IPv6 carries, less its header and UDP's, and room for a tunnel's. */
#define TNI_DTLS_MTU 1200

/* What is tried when nothing of that size gets through: what every host on IPv4 takes, less its longest header and
 * UDP's. */
#define TNI_DTLS_MTU_LEAST 508

/* The longest message. */
#define TNI_DTLS_MAX 16384

#define TNI_DTLS_RANDOM 32

struct tni_dtls_listener;

#ifdef TNI_HAVE_TLS

/* A client's end, with credentials (of a spec with `datagrams`) whose reference is handed over in every case. 0,
 * -ENOMEM or TN_EURL. */
int tni_dtls_dial(struct tni_creds *creds, const char *host, struct tni_layer **layer);

/* Whether a datagram begins a connection: the random bytes of its hello, TNI_DTLS_RANDOM of them; NULL: it does not. */
const unsigned char *tni_dtls_hello(const void *data, size_t len);

/*
 * A server's listener. A new client must show that it receives what is sent to its address (a cookie, RFC 6347 4.2.1).
 * Before that nothing is kept of it. NULL without memory.
 */
struct tni_dtls_listener *tni_dtls_listener_new(void);
void tni_dtls_listener_free(struct tni_dtls_listener *listener);

/*
 * Takes a datagram of a client that has no connection. `peer`: its address, in any form. Returns 1: the client has
 * shown that it receives there; `layer` is the server's end, whose up() is to be called next, with nothing. 0: not yet;
 * `net` may hold an answer, not longer than the datagram. -ENOMEM. The credentials' reference stays the caller's.
 */
int tni_dtls_listen(struct tni_dtls_listener *listener, struct tni_creds *creds, uint64_t now_ns, const void *peer,
		    size_t peer_len, const void *data, size_t len, struct tn_buf *net, struct tni_layer **layer);

/* Puts the answer to a hello into `net` for which the server has no room. */
void tni_dtls_refuse(const void *hello, struct tn_buf *net);

#endif

#endif
