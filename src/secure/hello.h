/*
 * What a client's hello may hold. OpenSSL takes 128 KiB of it and works through lists in pairs: 13,000 key shares of no
 * use times 32,000 groups are 400,000,000 steps.
 */
#ifndef TNI_SECURE_HELLO_H
#define TNI_SECURE_HELLO_H

#include <stddef.h>
#include <openssl/ssl.h>

/* What is wrong with one extension of a hello, in words; NULL: nothing. */
const char *tni_hello_odd(unsigned extension, const unsigned char *data, size_t len);

/* Has a server's context refuse such hellos; SSL_get_app_data() of its connections is a struct tls. */
void tni_hello_guard(SSL_CTX *ctx);

#endif
