/*
 * Certificates: put into words, read from files, held against a host. OpenSSL's X509 is what the TLS layer works with;
 * tenon_cert.h gives programs the same through an opaque struct. No socket, no state.
 *
 * What a stranger wrote into a certificate comes out of here fit to be printed: control characters, bytes that are not
 * text and what reorders lines on a terminal stand as \xHH.
 */
#ifndef TNI_SECURE_CERT_H
#define TNI_SECURE_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

struct tni_text;

#define TNI_SHA256_LEN 32

/* For X509_VERIFY_PARAM_set_hostflags(): a name counts where it belongs, in the subject alternative names, and a `*`
 * only as a whole first label. tni_cert_check() goes by the same. */
#define TNI_CERT_HOST_FLAGS (X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)

enum tni_cert_field {
	TNI_CERT_SUBJECT, /* CN=localhost, O=Example */
	TNI_CERT_ISSUER,
	TNI_CERT_NAMES,       /* localhost, 127.0.0.1, ::1; "" where there is none (all: 10,000 make a long text) */
	TNI_CERT_DATES,       /* valid from 2026-11-22 to 2027-11-22 (365 days left) */
	TNI_CERT_SERIAL,      /* hexadecimal */
	TNI_CERT_KEY,         /* EC P-256 */
	TNI_CERT_SIGNATURE,   /* ecdsa-with-SHA256 */
	TNI_CERT_USAGE,       /* server, client */
	TNI_CERT_LIMITS,      /* an authority's: the hosts it may sign for (name constraints); "" without any */
	TNI_CERT_FINGERPRINT, /* SHA-256 of the certificate: 64 hexadecimal digits */
	TNI_CERT_PIN,         /* SHA-256 of the public key, likewise: what key pin takes */
	TNI_CERT_LINE,        /* subject, issuer, names (the first few) and dates in one line, for messages */
	TNI_CERT_WORDS,       /* everything, an item a line, each line ended: for a person who asked */
};

/* A field as a text that the caller frees with free(); NULL without memory. */
char *tni_cert_text(X509 *cert, enum tni_cert_field field);

/* The same into a buffer, cut where it ends (with "..." then). Returns `out`. */
const char *tni_cert_write(X509 *cert, enum tni_cert_field field, char *out, size_t cap);

/* Calls fn for each subject alternative name, in order: localhost, *.example.com, 127.0.0.1, ::1; those that are not
 * hosts as URI:spiffe://..., email:... . */
void tni_cert_each_name(X509 *cert, void (*fn)(const char *name, void *arg), void *arg);

/* SHA-256 of the whole certificate, and of its public key (SubjectPublicKeyInfo). False: no memory, or no key there. */
bool tni_cert_fingerprint(X509 *cert, unsigned char hash[TNI_SHA256_LEN]);
bool tni_cert_pin(X509 *cert, unsigned char hash[TNI_SHA256_LEN]);

/* Reads a pin as a person writes it: 64 hexadecimal digits, colons between pairs allowed; or sha256//BASE64 as curl
 * has it. 0, or -EINVAL with the words. */
int tni_cert_pin_parse(const char *text, unsigned char hash[TNI_SHA256_LEN]);

/* Seconds since 1970; INT64_MIN where the certificate holds no date that can be read. */
int64_t tni_cert_not_before(X509 *cert);
int64_t tni_cert_not_after(X509 *cert);

/* Whole days until it ends; negative when it has. */
int64_t tni_cert_days_left(X509 *cert);

/* Whether `name` can be a server's: an IP address, or labels with dots between them. OpenSSL takes a name that begins
 * with a dot as a pattern for every name below it. */
bool tni_cert_is_host(const char *name);

/* Whether `host` is an IP address: 127.0.0.1, ::1, [::1], fe80::1%eth0. With `ip` not NULL it is written there without
 * brackets and zone, as X509_VERIFY_PARAM_set1_ip_asc() takes it. */
bool tni_cert_is_ip(const char *host, char ip[46]);

/* Is it in force now and, with `host` not NULL, meant for that server? Says nothing of who signed it. 0, or TN_ECERT
 * with the words: what is wrong, and which names and dates there are. */
int tni_cert_check(X509 *cert, const char *host);

/* Why a file, block or key cannot be used is told with the file's name and a remedy. -errno: the file cannot be read;
 * TN_EFORMAT: it holds something else; -ENOMEM. */

/* All certificates of a PEM file (or the one of a DER file), in order; blocks of other kinds between them are passed
 * over. The caller frees them with sk_X509_pop_free(certs, X509_free). At least one is there. */
int tni_cert_read(const char *file, STACK_OF(X509) * *certs);

/* The same from memory; `name` stands for it in messages. */
int tni_cert_parse(const void *data, size_t len, const char *name, STACK_OF(X509) * *certs);

/* The private key in a PEM or DER file; never asks for a passphrase, and wipes what it has read. A file that everybody
 * may read is reported to the log. */
int tni_cert_read_key(const char *file, EVP_PKEY **key);

/* The same from memory. `pass` opens a key that is locked with a passphrase; NULL: such a key is refused. */
int tni_cert_parse_key(const struct tni_text *text, const char *name, const char *pass, EVP_PKEY **key);

/* Whether these bytes hold a revocation list in PEM. */
bool tni_crl_is_in(const void *data, size_t len);

/* Hands each certificate revocation list (RFC 5280 section 5) of a PEM or DER file to take(), which does not get the
 * reference, until it returns < 0. At least one must be there. The codes are those above. */
int tni_crl_parse(const void *data, size_t len, const char *name, int (*take)(X509_CRL *list, void *arg), void *arg);

/* Whether the key belongs to the certificate: 0, or TN_EFORMAT with both files named. */
int tni_cert_key_fits(X509 *cert, const char *cert_file, EVP_PKEY *key, const char *key_file);

#endif
