/* The inside of credentials, for the modules of this room. */
#ifndef TNI_SECURE_CREDS_IN_H
#define TNI_SECURE_CREDS_IN_H

#include "base/files.h"
#include "secure/creds.h"
#include "secure/sessions.h"
#include "secure/tickets.h"

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stddef.h>

#define TNI_PIN_LEN 32
#define TNI_PINS_MAX 8
#define TNI_PSKS_MAX 1024
#define TNI_PSK_LEN_MAX 64
#define TNI_CERTS_MAX 32

struct tni_psk {
	char *identity;
	unsigned char key[TNI_PSK_LEN_MAX];
	size_t len;
	int line; /* of its file */
};

struct tni_creds {
	_Atomic(int) refs;
	bool server;
	bool verifies;                 /* the chain; pins are always held against */
	char *sni, *ca;                /* as given, for names and for words */
	SSL_CTX *ctx;                  /* with the first certificate */
	SSL_CTX *certs[TNI_CERTS_MAX]; /* the further ones, chosen by the name that a client asks for */
	int ncerts;
	unsigned char *alpn; /* in the form of the wire: each name behind its length */
	unsigned alpn_len;
	unsigned char pins[TNI_PINS_MAX][TNI_PIN_LEN];
	int npins;
	struct tni_psk *psks; /* a server's by identity */
	size_t npsks;
	int keylog; /* descriptor, or -1 */
	struct tni_files files;
	struct tni_tickets tickets;   /* a server's */
	struct tni_sessions sessions; /* a client's */
};

/* Called by OpenSSL in place of its own check of a peer's chain: tls.c's, since the words are. */
int tni_tls_verify(X509_STORE_CTX *store, void *arg);

/* What a context for DTLS has beside: dtls.c. */
void tni_dtls_context(SSL_CTX *ctx);

#endif
