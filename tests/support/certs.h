/* Certificates for tests, made when they are needed. */
#ifndef TENON_TESTS_SUPPORT_CERTS_H
#define TENON_TESTS_SUPPORT_CERTS_H

/*
 * Writes DIR/NAME.pem and DIR/NAME.key: an EC P-256 certificate with CN=NAME, for `names` as X509v3 configuration has
 * them (DNS:localhost,IP:127.0.0.1; NULL: an authority), signed by the authority DIR/ISSUER (NULL: by itself), valid
 * from and until so many days from now. Aborts when it cannot.
 */
void certs_make(const char *dir, const char *name, const char *issuer, const char *names, int from_days, int to_days);

/* Removes all files of the directory, and the directory. */
void certs_remove(const char *dir);

#endif
