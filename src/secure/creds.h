/*
 * Credentials: who we are and whom we trust, made from an endpoint's keys and files. A set is never changed once it is
 * made; connections keep the one they began with while a server takes up another.
 */
#ifndef TNI_SECURE_CREDS_H
#define TNI_SECURE_CREDS_H

#include <stdbool.h>
#include <stdint.h>

enum tni_verify {
	TNI_VERIFY_DEFAULT, /* clients: on; servers: require with ca, otherwise off */
	TNI_VERIFY_OFF,
	TNI_VERIFY_OPTIONAL, /* servers: a client may show a certificate, which then must be good */
	TNI_VERIFY_REQUIRE,
	TNI_VERIFY_ON, /* the same, said of a client */
};

/* The keys as they stand in the URL; NULL: not given. Files may be several, with commas between. */
struct tni_creds_spec {
	char *cert, *key, *key_pass_file, *ca, *crl, *sni, *alpn, *pin, *psk_file, *keylog;
	char *groups, *ciphers, *sigalgs; /* names of OpenSSL with colons or commas between */
	int verify;                       /* enum tni_verify */
	int min_version;                  /* 12 or 13 */
	int max_version;                  /* the same; 0: the newest */
	int tickets;                      /* that a server gives each client; a client: 0: it resumes nothing */
	bool datagrams;                   /* DTLS 1.2, whatever min_version says */
};

struct tni_creds;

#ifdef TNI_HAVE_TLS

void tni_creds_spec_free(struct tni_creds_spec *spec);

/*
 * Reads the files. Returns 0, or a code with words that name the key, the file and the remedy: TN_EURL, -ENOMEM.
 * `culprit` gets the name of the key that is at fault, or NULL.
 */
int tni_creds_serve(const struct tni_creds_spec *spec, struct tni_creds **creds, const char **culprit);

/*
 * Reads the files and keeps the set for the next tni_creds_serve() or tni_creds_dial() with the same keys, as long as
 * the files stay the same: who checks a URL and then opens it reads its files once, which for a pipe is all that can be
 * done.
 */
int tni_creds_check(const struct tni_creds_spec *spec, bool server, const char **culprit);

/* The same for a client. Sets are kept and given out again while their keys and files are the same. */
int tni_creds_dial(const struct tni_creds_spec *spec, struct tni_creds **creds, const char **culprit);

/* Forgets the kept sets, and the sessions that may be resumed with them. For tests that look for lost memory. */
void tni_creds_forget(void);

struct tni_creds *tni_creds_ref(struct tni_creds *creds);
void tni_creds_unref(struct tni_creds *creds);

/* Whether a file has changed since it was read, and has not changed since this was asked last. */
bool tni_creds_changed(struct tni_creds *creds);

/* The files that will be read again when they change, or NULL past the end. A folder stands for all files in it. */
const char *tni_creds_file(const struct tni_creds *creds, int index);

/* What the files hold now could not be used: only a further change is one. */
void tni_creds_accept_files(struct tni_creds *creds);

#else

/* Without OpenSSL there is no URL that could need any: endpoint/endpoint.c refuses it. */
#include "secure/none.h"

#endif

#endif
