/*
 * The sessions that a client may resume (RFC 8446 2.2, RFC 5077): a few for each endpoint, kept with the credentials
 * they were made with. Other credentials have others, so that whoever verifies never resumes what was not verified. A
 * session is taken out to be used; one of TLS 1.2 is put back when it was good, a ticket of TLS 1.3 is used once.
 */
#ifndef TNI_SECURE_SESSIONS_H
#define TNI_SECURE_SESSIONS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <openssl/ssl.h>

#define TNI_SESSIONS_PER_PLACE 16
#define TNI_SESSIONS_MAX 64
#define TNI_SESSION_S 3600 /* an older one is not resumed: certificates are checked again */

struct tls;

struct tni_sessions {
	pthread_mutex_t lock;
	struct tni_session {
		char *place;
		SSL_SESSION *session;
	} list[TNI_SESSIONS_MAX]; /* the oldest first */
	size_t count;
};

void tni_sessions_init(struct tni_sessions *sessions);
void tni_sessions_free(struct tni_sessions *sessions);

/* Has a client's context hand over its sessions; SSL_get_app_data() of its connections is a struct tls. */
void tni_sessions_use(SSL_CTX *ctx);

/* Before the handshake: the newest session for the place of a client's end, if there is one. */
void tni_sessions_offer(struct tls *tls);

/* After the handshake: what was resumed and may be resumed again is kept. */
void tni_sessions_put_back(struct tls *tls);

#endif
