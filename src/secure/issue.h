/* Making certificates: keys, what stands in each kind, signatures. */
#ifndef TNI_SECURE_ISSUE_H
#define TNI_SECURE_ISSUE_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

/* A certificate and its private key. */
struct tni_pair {
	X509 *cert;
	EVP_PKEY *key;
};

void tni_pair_free(struct tni_pair *pair);

/* Each makes a key (EC P-256) and a certificate for it, valid for so many days but no longer than its issuer. 0, or
 * -ENOMEM with OpenSSL's reason: nothing else makes them fail. */
int tni_issue_authority(struct tni_pair *made, const GENERAL_NAMES *hosts, unsigned days);
int tni_issue_server(struct tni_pair *made, const struct tni_pair *by, GENERAL_NAMES *hosts, unsigned days);
int tni_issue_client(struct tni_pair *made, const struct tni_pair *by, unsigned days);

/* Whether a peer that trusts `authority` alone accepts the certificate as `what` (server or client) now. 0, or TN_ECERT
 * with OpenSSL's reason. */
int tni_issue_verify(X509 *cert, X509 *authority, const char *what);

#endif
