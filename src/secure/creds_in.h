/* The inside of credentials, for the modules of this room. */
#ifndef TNI_SECURE_CREDS_IN_H
#define TNI_SECURE_CREDS_IN_H

#include "secure/creds.h"

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#define TNI_PIN_LEN 32
#define TNI_PINS_MAX 8
#define TNI_PSKS_MAX 1024
#define TNI_PSK_LEN_MAX 64
#define TNI_CERTS_MAX 32
#define TNI_FILES_MAX (2 * TNI_CERTS_MAX + 2)

struct tni_psk {
	char *identity;
	unsigned char key[TNI_PSK_LEN_MAX];
	size_t len;
};

/* A file that was read, as it stood then and as it stood when last looked at. */
struct tni_file {
	char *path;
	struct tni_file_state {
		uint64_t dev, ino, size;
		struct timespec mtime;
	} read, seen;
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
	struct tni_psk *psks;
	size_t npsks;
	int keylog; /* descriptor, or -1 */
	struct tni_file files[TNI_FILES_MAX];
	int nfiles;
};

/* Called by OpenSSL in place of its own check of a peer's chain: tls.c's, since the words are. */
int tni_tls_verify(X509_STORE_CTX *store, void *arg);

/* What a context for DTLS has beside: dtls.c. */
void tni_dtls_context(SSL_CTX *ctx);

#endif
