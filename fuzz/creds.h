/* Credentials for the targets that shake hands: a client's and a server's, with a certificate and with a pre-shared
 * key. */
#ifndef FUZZ_CREDS_H
#define FUZZ_CREDS_H

#include "fuzz.h"

#include "secure/creds_in.h"

#include "../tests/support/certs.h"

#include <unistd.h>

#define CLIENT 0
#define SERVER 1

/* [with a pre-shared key][SERVER] */
static struct tni_creds *credentials[2][2];

static inline void make_credentials(bool datagrams)
{
	char dir[] = "/tmp/tenon-fuzz-XXXXXX", ca[64], cert[64], key[64], psk[64];
	struct tni_creds_spec client = {.ca = ca, .min_version = 12, .datagrams = datagrams},
			      server = {.cert = cert,
					.key = key,
					.min_version = 12,
					.tickets = 1,
					.datagrams = datagrams},
			      shared = {.psk_file = psk, .min_version = 12, .datagrams = datagrams};
	const char *culprit;
	FILE *file;

	CHECK(mkdtemp(dir));
	snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
	snprintf(cert, sizeof(cert), "%s/server.pem", dir);
	snprintf(key, sizeof(key), "%s/server.key", dir);
	snprintf(psk, sizeof(psk), "%s/psk", dir);
	certs_make(dir, "ca", NULL, NULL, -1, 365);
	certs_make(dir, "server", "ca", "DNS:localhost", -1, 365);
	file = fopen(psk, "w");
	CHECK(file && fputs("somebody:000102030405060708090a0b0c0d0e0f\n", file) > 0 && fclose(file) == 0);
	CHECK(tni_creds_dial(&client, &credentials[0][CLIENT], &culprit) == 0);
	CHECK(tni_creds_serve(&server, &credentials[0][SERVER], &culprit) == 0);
	CHECK(tni_creds_dial(&shared, &credentials[1][CLIENT], &culprit) == 0);
	CHECK(tni_creds_serve(&shared, &credentials[1][SERVER], &culprit) == 0);
	unlink(psk);
	certs_remove(dir);
}

#endif
