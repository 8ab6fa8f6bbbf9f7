/*
 * tenon's certificates: what a file or a peer shows, in words, and a development authority of one's own.
 *
 *	struct tn_cert *cert;
 *
 *	if (tn_cert_read("server.pem", &cert) < 0 || tn_cert_check(cert, "localhost") < 0)
 *		fprintf(stderr, "%s\n", tn_errmsg());
 *
 * There are these functions only in a library that was built with OpenSSL. None of them ever shows a private key. What
 *a stranger wrote into a certificate comes out fit to be printed: control characters, bytes that are not text and what
 * reorders lines on a terminal stand as \xHH.
 */
#ifndef TENON_CERT_H
#define TENON_CERT_H

#include "tenon.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* A certificate: the first of those that were read together, and what follows it. Constant once read. */
struct tn_cert;

/*
 * Reads all certificates of a PEM file, in order, or the one of a DER file; blocks of other kinds (keys) between them
 * are passed over. Blocks while the file is read. The caller frees what is in `*cert` with tn_cert_free(). Errors:
 * -errno (the file cannot be read); TN_EFORMAT (it holds something else, or a damaged certificate; tn_errmsg() says
 * what, and the remedy); -ENOMEM.
 */
TN_API int tn_cert_read(const char *file, struct tn_cert **cert);

/* The same from memory, which is copied; `name` stands for it in messages. Errors: TN_EFORMAT, -ENOMEM. */
TN_API int tn_cert_parse(const void *data, size_t len, const char *name, struct tn_cert **cert);

/* Frees all that were read together. From the first of them; NULL is allowed. */
TN_API void tn_cert_free(struct tn_cert *cert);

/* The one that stood behind it, or NULL. */
TN_API const struct tn_cert *tn_cert_next(const struct tn_cert *cert);

/* ---- looking --------------------------------------------------------------------------------------------------- */

/* Texts of one line. They live as long as the certificate. */
TN_API const char *tn_cert_subject(const struct tn_cert *cert); /* CN=localhost, O=Example */
TN_API const char *tn_cert_issuer(const struct tn_cert *cert);
TN_API const char *tn_cert_serial(const struct tn_cert *cert);    /* hexadecimal */
TN_API const char *tn_cert_key(const struct tn_cert *cert);       /* EC P-256 */
TN_API const char *tn_cert_signature(const struct tn_cert *cert); /* ecdsa-with-SHA256 */
TN_API const char *tn_cert_usage(const struct tn_cert *cert);     /* server, client */
TN_API const char *tn_cert_limits(const struct tn_cert *cert);    /* an authority's: the hosts it may sign for; or "" */
TN_API const char *tn_cert_fingerprint(const struct tn_cert *cert); /* SHA-256 of it all: 64 hexadecimal digits */
TN_API const char *tn_cert_pin(const struct tn_cert *cert);         /* SHA-256 of the public key, likewise */

/* All of it for a person: an item a line, each line ended. */
TN_API const char *tn_cert_words(const struct tn_cert *cert);

/* The names it is for: localhost, *.example.com, 127.0.0.1, ::1; what is no host as URI:spiffe://..., email:... .
 * NULL past the last. */
TN_API size_t tn_cert_nnames(const struct tn_cert *cert);
TN_API const char *tn_cert_name(const struct tn_cert *cert, size_t index);

/* The first and the last second it is valid, since 1970; INT64_MIN where it holds no date that can be read. */
TN_API int64_t tn_cert_begins(const struct tn_cert *cert);
TN_API int64_t tn_cert_ends(const struct tn_cert *cert);

/* Whole days until it ends; negative when it has. */
TN_API int64_t tn_cert_days_left(const struct tn_cert *cert);

/* Whether it may sign others. */
TN_API bool tn_cert_is_authority(const struct tn_cert *cert);

/* Whether `issuer` signed it: by its names and by the signature itself. */
TN_API bool tn_cert_is_from(const struct tn_cert *cert, const struct tn_cert *issuer);

/*
 * Is it in force now and, with `host` not NULL (a name or an address, brackets and all), one for that server? Says
 * nothing of who signed it. Returns 0, or TN_ECERT; tn_errmsg() then says what is wrong and what it is for.
 */
TN_API int tn_cert_check(const struct tn_cert *cert, const char *host);

/* ---- a development authority ----------------------------------------------------------------------------------- */

/* What tn_cert_new() found and used instead of making it. */
enum tn_cert_kept {
	TN_CERT_KEPT_AUTHORITY = 1,
	TN_CERT_KEPT_CLIENT = 2,
};

/*
 * Makes certificates for development in `dir`, which is made (mode 0700) where it is missing: an authority (ca.pem,
 * ca.key), a server's for all `hosts` (server.pem, server.key) and a client's (client.pem, client.key). Hosts are
 * names,
 * *.names and addresses. Keys are EC P-256, in files of mode 0600. Server and client are valid for `days` (1 to 36500),
 * the authority for ten years or `days`; it may sign for these hosts, the names below them and this machine (localhost,
 * 127.0.0.0/8, ::1), and for nothing else.
 *
 * Nothing is ever overwritten. An authority that is in `dir` signs again, and a client certificate of its own is kept:
 * to renew a server's certificate, or make it for other hosts, remove server.pem and server.key. After a failure
 * nothing of what this call made is left. Blocks while files are written.
 *
 * Returns 0, or the sum of what was kept (enum tn_cert_kept). Errors: -EINVAL (a host, or `days`); -EEXIST (the file
 * that stands in the way is named); TN_ECERT (the authority there cannot sign this: expired, or limited to other
 * hosts); TN_EFORMAT (a file there is no certificate or key); -errno (writing); -ENOMEM.
 */
TN_API int tn_cert_new(const char *dir, const char *const *hosts, size_t nhosts, unsigned days);

#ifdef __cplusplus
}
#endif

#endif
