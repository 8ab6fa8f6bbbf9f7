/*
 * TLS over any stream, as a layer (layer.h): no socket, no clock. OpenSSL does the cryptography; its bytes go to and
 * come from the connection's own queues.
 */
#ifndef TNI_SECURE_TLS_H
#define TNI_SECURE_TLS_H

#include "layer.h"
#include "secure/creds.h"

#ifdef TNI_HAVE_TLS

/*
 * One end of a connection, with credentials whose reference is handed over in every case. `host`: a client's peer, by
 * name or address (NULL: a server's end); key sni of the credentials goes before it. 0 or -ENOMEM.
 */
int tni_tls_new(struct tni_creds *creds, const char *host, struct tni_layer **layer);

/* Before the handshake begins: a client may resume a session that it had at this place (the URL that is dialled), and
 * keeps what it is given to resume with. Over datagrams as well. 0 or -ENOMEM. */
int tni_tls_resume(struct tni_layer *layer, const char *place);

/*
 * TLS that begins later, in the middle of a connection. Until tni_tls_begin() the layer hands bytes through as they
 * are; `optional`: a client may go on without it, and the layer leaves when that has said something. Before it is open.
 */
void tni_tls_wait(struct tni_layer *layer, bool optional);
/* Whether bytes go through it as they are. */
bool tni_tls_is_plain(const struct tni_layer *layer);
/* What was to be sent before is in `net`, or below. The layer is not open until hands are shaken. 0 or < 0 with words.
 */
int tni_tls_begin(struct tni_layer *layer, struct tn_buf *net);

/* The common name in a certificate's subject (DER), as UTF-8; cut where it ends, "" where there is none. */
void tni_tls_common_name(const unsigned char *der, size_t len, char *out, size_t cap);

#endif

#endif
