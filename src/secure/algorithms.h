/* Which groups, ciphers, signature algorithms and versions a context speaks: our own choice, and what the keys say. */
#ifndef TNI_SECURE_ALGORITHMS_H
#define TNI_SECURE_ALGORITHMS_H

#include "secure/creds.h"

#include <openssl/ssl.h>

/*
 * Sets what `spec` says, or our own choice. A name that OpenSSL does not know or that is too weak is an error: OpenSSL
 * itself would pass over many of them. 0, TN_EURL with words, -ENOMEM. `key` gets the name of the key that is at fault.
 */
int tni_algorithms_set(SSL_CTX *ctx, const struct tni_creds_spec *spec, const char **key);

/* Whether OpenSSL has any algorithm: its configuration file can leave it without. 0, or TN_ETLS with words. */
int tni_algorithms_exist(void);

#endif
