#include "secure/sessions.h"

#include "secure/creds_in.h"
#include "secure/tls_words.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

void tni_sessions_init(struct tni_sessions *sessions)
{
	pthread_mutex_init(&sessions->lock, NULL);
}

static void remove_at(struct tni_sessions *sessions, size_t at)
{
	struct tni_session *s = &sessions->list[at];

	free(s->place);
	SSL_SESSION_free(s->session);
	memmove(s, s + 1, (--sessions->count - at) * sizeof(*s));
}

void tni_sessions_free(struct tni_sessions *sessions)
{
	while (sessions->count)
		remove_at(sessions, sessions->count - 1);
	pthread_mutex_destroy(&sessions->lock);
}

/* With the lock held: the oldest of this place gives way, or of all. */
static void make_room(struct tni_sessions *sessions, const char *place)
{
	size_t count = 0, oldest = 0;

	for (size_t i = sessions->count; i-- > 0;)
		if (!strcmp(sessions->list[i].place, place)) {
			count++;
			oldest = i;
		}
	if (count >= TNI_SESSIONS_PER_PLACE)
		remove_at(sessions, oldest);
	else if (sessions->count == TNI_SESSIONS_MAX)
		remove_at(sessions, 0);
}

/* Takes the reference if it returns true. */
static bool add(struct tni_sessions *sessions, const char *place, SSL_SESSION *session)
{
	struct tni_session added = {.place = strdup(place), .session = session};

	if (!added.place)
		return false;
	pthread_mutex_lock(&sessions->lock);
	make_room(sessions, place);
	sessions->list[sessions->count++] = added;
	pthread_mutex_unlock(&sessions->lock);
	return true;
}

/* OpenSSL does not look at the time of a client's session, nor at its certificate again. */
static bool may_resume(const SSL_SESSION *session)
{
	const X509 *cert = SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)session);
	long age = (long)time(NULL) - SSL_SESSION_get_time(session), most = SSL_SESSION_get_timeout(session);

	if (age < 0 || age >= TNI_SESSION_S || age >= most || !SSL_SESSION_is_resumable(session))
		return false;
	return cert && X509_cmp_current_time(X509_get0_notAfter(cert)) > 0;
}

static SSL_SESSION *take(struct tni_sessions *sessions, const char *place)
{
	SSL_SESSION *found = NULL;

	pthread_mutex_lock(&sessions->lock);
	for (size_t i = sessions->count; i-- > 0 && !found;) {
		struct tni_session *s = &sessions->list[i];

		if (strcmp(s->place, place) != 0)
			continue;
		if (may_resume(s->session) && SSL_SESSION_up_ref(s->session))
			found = s->session;
		remove_at(sessions, i);
	}
	pthread_mutex_unlock(&sessions->lock);
	return found;
}

/* 1: the reference is ours now. */
static int keep(SSL *ssl, SSL_SESSION *session)
{
	const struct tls *t = SSL_get_app_data(ssl);

	return t->place && add(&t->creds->sessions, t->place, session);
}

void tni_sessions_use(SSL_CTX *ctx)
{
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep);
}

void tni_sessions_offer(struct tls *t)
{
	SSL_SESSION *session = t->place ? take(&t->creds->sessions, t->place) : NULL;

	if (session)
		(void)SSL_set_session(t->ssl, session); /* without it the handshake is a whole one */
	SSL_SESSION_free(session);
}

void tni_sessions_put_back(struct tls *t)
{
	SSL_SESSION *session;

	if (!t->place || !SSL_session_reused(t->ssl) || SSL_version(t->ssl) == TLS1_3_VERSION)
		return;
	session = SSL_get1_session(t->ssl);
	if (session && !add(&t->creds->sessions, t->place, session))
		SSL_SESSION_free(session);
}
