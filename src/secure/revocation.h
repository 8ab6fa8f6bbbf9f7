/* Certificates that their issuers have revoked: lists (CRL, RFC 5280 section 5) from a file, or from all files of a
 * folder. */
#ifndef TNI_SECURE_REVOCATION_H
#define TNI_SECURE_REVOCATION_H

#include <openssl/x509_vfy.h>

struct tni_creds;

/*
 * Reads the lists and has the peer's chain checked against them: the issuer of the peer's certificate must have a list
 * there, those of the authorities above may. 0, or a code with words.
 */
int tni_revocation_read(struct tni_creds *creds, const char *path);

/* For X509_STORE_CTX_set_verify_cb(): passes over a list that is missing where none must be. */
int tni_revocation_judge(int ok, X509_STORE_CTX *store);

#endif
