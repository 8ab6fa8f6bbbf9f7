#include "secure/dtls.h"

#include "base/err.h"
#include "base/list.h"
#include "secure/cert.h"
#include "secure/creds_in.h"
#include "secure/tls_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define SECRET_LEN 32
#define COOKIE_LEN 32

/* So often the same is sent again before it is sent in smaller pieces. */
#define TICKS_TO_SHRINK 2

/* A secret is used for so long, and cookies made with the one before are taken still. */
#define SECRET_NS (60 * 1000000000ULL)

struct tni_dtls_listener {
	struct dtls *waiting;                 /* for the next client; nothing changes in it until a cookie is right */
	unsigned char secrets[2][SECRET_LEN]; /* now, and before */
	bool has_before;
	uint64_t since_ns;
	const void *peer; /* during tni_dtls_listen() */
	size_t peer_len;
};

struct dtls {
	struct tls tls;
	const unsigned char *hello; /* during tni_dtls_listen(): the datagram, which stands in no queue */
	size_t hello_len;
	struct tni_dtls_listener *listener; /* during tni_dtls_listen() */
	unsigned ticks;
	unsigned char strange[TNI_TLS_START]; /* the beginning of a datagram that was no DTLS */
	size_t strange_len;
	bool echoed; /* our own hello has come back */
};

static struct tls *tls_of(struct tni_layer *layer)
{
	return tni_container_of(layer, struct tls, layer);
}

static struct dtls *dtls_of(struct tls *t)
{
	return tni_container_of(t, struct dtls, tls);
}

/* ---- OpenSSL's way to our queues: a datagram at a time ---- */

static BIO_METHOD *datagrams;

/* Copies what fits of the first message and drops all of it. */
static size_t take_first(struct tn_buf *in, unsigned char *out, size_t cap)
{
	size_t done = 0;
	bool end = false;

	while (in->head && !end) {
		size_t len = in->head->len, part = len < cap - done ? len : cap - done;

		end = in->head->end;
		if (part)
			memcpy(out + done, in->head->data, part);
		done += part;
		tni_buf_consume(in, len);
	}
	return done;
}

/* The first datagram is no DTLS, or not a server's: it is dropped, but remembered for the words. */
static bool is_strange(struct dtls *d)
{
	const struct tni_slice *s = d->tls.in->head;
	bool record = s->data[0] >= SSL3_RT_CHANGE_CIPHER_SPEC && s->data[0] <= SSL3_RT_APPLICATION_DATA &&
		      (s->len < 2 || s->data[1] == DTLS1_VERSION_MAJOR);

	if (record && (d->tls.creds->server || !tni_dtls_hello(s->data, s->len)))
		return false;
	d->echoed |= record;
	if (!record && !d->strange_len) {
		d->strange_len = s->len < sizeof(d->strange) ? s->len : sizeof(d->strange);
		memcpy(d->strange, s->data, d->strange_len);
	}
	return true;
}

/* A client that repeats its last flight has not got ours, which no timer of ours repeats: it may be too long for the
 * path. */
static void look_for_repeated(const struct dtls *d)
{
	const struct tni_slice *s = d->tls.in->head;

	if (d->tls.creds->server && s->len > 5 && s->data[0] == SSL3_RT_HANDSHAKE && !s->data[3] && !s->data[4])
		SSL_set_mtu(d->tls.ssl, TNI_DTLS_MTU_LEAST);
}

/* The shortest that the cipher agreed upon can make of nothing: a tag,
 * and for all but ChaCha20 the 8 bytes of a nonce. */
static size_t least_sealed(const SSL *ssl)
{
	const SSL_CIPHER *cipher = SSL_get_pending_cipher(ssl);

	if (!cipher)
		cipher = SSL_get_current_cipher(ssl);
	return !cipher || SSL_CIPHER_get_cipher_nid(cipher) == NID_chacha20_poly1305 ? 16 : 24;
}

/*
 * Sealed records that are shorter than any can be: whoever knows two addresses could end their connection with one,
 * since OpenSSL 3.0 takes it for a failure of its own where it passes over all else that is forged.
 */
static bool is_forged(const SSL *ssl, const unsigned char *data, size_t len)
{
	size_t least = least_sealed(ssl), body;

	for (; len >= DTLS1_RT_HEADER_LENGTH; data += body, len -= body) {
		body = (size_t)data[11] << 8 | data[12];
		if ((data[3] || data[4]) && body < least)
			return true;
		body += DTLS1_RT_HEADER_LENGTH;
		if (body > len)
			break;
	}
	return false;
}

static int bio_read(BIO *bio, char *out, int len)
{
	struct dtls *d = BIO_get_data(bio);
	size_t n = 0;

	BIO_clear_retry_flags(bio);
	while (!d->tls.layer.open && d->tls.in && d->tls.in->head && is_strange(d))
		(void)take_first(d->tls.in, NULL, 0);
	if (d->hello) {
		n = d->hello_len < (size_t)len ? d->hello_len : (size_t)len;
		memcpy(out, d->hello, n);
		d->hello = NULL;
	}
	while (!n && d->tls.in && d->tls.in->head) {
		if (d->tls.layer.open)
			look_for_repeated(d);
		n = take_first(d->tls.in, (unsigned char *)out, (size_t)len);
		if (is_forged(d->tls.ssl, (const unsigned char *)out, n))
			n = 0;
	}
	if (n)
		return (int)n;
	BIO_set_retry_read(bio);
	return -1;
}

static int bio_write(BIO *bio, const char *data, int len)
{
	struct dtls *d = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (!d->tls.net || tni_buf_append(d->tls.net, data, (size_t)len, true) < 0)
		return -1;
	return len;
}

static long bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return what == BIO_CTRL_FLUSH || what == BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT;
}

/* ---- cookies ---- */

static bool make_cookie(const struct tni_dtls_listener *listener, int which, unsigned char out[COOKIE_LEN])
{
	unsigned len = COOKIE_LEN;

	return HMAC(EVP_sha256(), listener->secrets[which], SECRET_LEN, listener->peer, listener->peer_len, out,
		    &len) != NULL;
}

static struct tni_dtls_listener *listener_of(SSL *ssl)
{
	struct tls *t = SSL_get_app_data(ssl);

	return dtls_of(t)->listener;
}

static int give_cookie(SSL *ssl, unsigned char *cookie, unsigned *len)
{
	const struct tni_dtls_listener *listener = listener_of(ssl);

	*len = COOKIE_LEN;
	return listener && make_cookie(listener, 0, cookie);
}

static int check_cookie(SSL *ssl, const unsigned char *cookie, unsigned len)
{
	const struct tni_dtls_listener *listener = listener_of(ssl);
	unsigned char expected[COOKIE_LEN];

	if (!listener) /* it was accepted before: it comes again with the hello */
		return 1;
	for (int i = 0; i < (listener->has_before ? 2 : 1) && len == COOKIE_LEN; i++)
		if (make_cookie(listener, i, expected) && CRYPTO_memcmp(cookie, expected, COOKIE_LEN) == 0)
			return 1;
	return 0;
}

static bool rotate(struct tni_dtls_listener *listener, uint64_t now_ns)
{
	uint64_t age = now_ns - listener->since_ns;

	if (listener->since_ns && age < SECRET_NS)
		return true;
	listener->has_before = listener->since_ns && age < 2 * SECRET_NS;
	memcpy(listener->secrets[1], listener->secrets[0], SECRET_LEN);
	listener->since_ns = now_ns ? now_ns : 1;
	return RAND_bytes(listener->secrets[0], SECRET_LEN) == 1;
}

void tni_dtls_context(SSL_CTX *ctx)
{
	SSL_CTX_set_min_proto_version(ctx, DTLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_COOKIE_EXCHANGE | SSL_OP_NO_QUERY_MTU);
	SSL_CTX_set_cookie_generate_cb(ctx, give_cookie);
	SSL_CTX_set_cookie_verify_cb(ctx, check_cookie);
}

/* ---- steps ---- */

static int no_memory(void)
{
	ERR_clear_error();
	return tni_err(-ENOMEM, "DTLS: out of memory");
}

/* One message. 1: there may be more; 0: there is none; < 0: it failed. */
static int read_message(struct tls *t, struct tn_buf *out)
{
	struct tni_blk *blk = tni_blk_get(&out->mem->large);
	size_t n;
	int rc;

	if (!blk)
		return no_memory();
	if (!SSL_read_ex(t->ssl, blk->data, TNI_DTLS_MAX, &n)) {
		tni_blk_unref(blk);
		return tni_tls_outcome(t, 0);
	}
	rc = tni_buf_append(out, blk->data, n, true);
	tni_blk_unref(blk);
	return rc < 0 ? no_memory() : 1;
}

static int dtls_up(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	struct tls *t = tls_of(layer);
	int rc = 0;

	(void)max; /* what waits in `in` is bounded, and becomes no more */

	t->in = in;
	t->net = net;
	t->heard |= in->head != NULL;
	ERR_clear_error();
	if (!layer->open)
		rc = tni_tls_shake_hands(t);
	if (rc == 0 && layer->open)
		while (!layer->ended && (rc = read_message(t, out)) > 0)
			;
	if (layer->ended || rc < 0)
		tni_buf_clear(in); /* what comes after the peer's last word is nobody's */
	t->in = t->net = NULL;
	return rc;
}

static int dtls_open(struct tni_layer *layer, struct tn_buf *net)
{
	struct tls *t = tls_of(layer);
	int rc;

	if (t->creds->server)
		return 0;
	tni_sessions_offer(t);
	t->net = net;
	ERR_clear_error();
	rc = tni_tls_shake_hands(t);
	t->net = NULL;
	return rc;
}

static int dtls_down(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *net, size_t max)
{
	struct tls *t = tls_of(layer);
	int rc = 1;

	t->net = net;
	ERR_clear_error();
	while (rc > 0 && in->head && net->len < max) {
		size_t len = tni_buf_message(in, NULL), n;
		const unsigned char *data = tni_buf_pullup(in, len);

		if (!data)
			rc = no_memory();
		else if (!len) /* such records cannot be made */
			tni_buf_consume(in, 0);
		else if (len > TNI_DTLS_MAX)
			rc = tni_err(-EMSGSIZE, "DTLS: a message is longer than %d bytes", TNI_DTLS_MAX);
		else if ((rc = tni_tls_write(t, data, len, &n)) > 0)
			tni_buf_consume(in, len);
	}
	t->net = NULL;
	return rc < 0 ? rc : 0;
}

/* Datagrams have no end but the one that the peer tells. */
static int dtls_cut(struct tni_layer *layer)
{
	(void)layer;
	return tni_err(TN_ETLS, "the peer has gone without a word");
}

/* ---- time ---- */

/* By OpenSSL's own clock. */
static uint64_t dtls_due_ns(struct tni_layer *layer, uint64_t now_ns)
{
	const struct tls *t = tls_of(layer);
	struct timeval left;

	if (t->broken || DTLSv1_get_timeout(t->ssl, &left) != 1)
		return UINT64_MAX;
	return now_ns + ((uint64_t)left.tv_sec * 1000000 + (uint64_t)left.tv_usec) * 1000;
}

static const char *silence(struct tls *t, char *out, size_t cap)
{
	const struct dtls *d = dtls_of(t);
	char text[TNI_TLS_START * 4 + 8];

	if (d->strange_len)
		snprintf(out, cap, "the peer does not speak DTLS: it sent '%s'%s",
			 tni_tls_show(d->strange, d->strange_len, text, sizeof(text)),
			 d->strange_len == sizeof(d->strange) ? "..." : "");
	else if (d->echoed)
		snprintf(out, cap, "the peer does not speak DTLS: it sent our own hello back");
	else if (t->heard && t->psk) /* a record under another key is passed over as one that was forged */
		snprintf(out, cap, "the peer, whose key for '%.128s' may be another (psk-file), has not completed it",
			 t->psk);
	else
		snprintf(out, cap, "the peer has %s", t->heard ? "not completed it" : "said nothing");
	return out;
}

static int dtls_tick(struct tni_layer *layer, struct tn_buf *net, uint64_t now_ns)
{
	struct tls *t = tls_of(layer);
	char why[400];
	int rc;

	(void)now_ns;
	if (!layer->open && ++dtls_of(t)->ticks == TICKS_TO_SHRINK)
		SSL_set_mtu(t->ssl, TNI_DTLS_MTU_LEAST);
	t->net = net;
	ERR_clear_error();
	rc = (int)DTLSv1_handle_timeout(t->ssl);
	t->net = NULL;
	if (rc >= 0)
		return 0;
	t->broken = true;
	ERR_clear_error();
	return tni_err(-ETIMEDOUT, "DTLS handshake: %s", silence(t, why, sizeof(why)));
}

/* ---- life ---- */

static void dtls_free(struct tni_layer *layer)
{
	struct tls *t = tls_of(layer);

	tni_tls_clear(t);
	free(dtls_of(t));
}

static int dtls_query(const struct tni_layer *layer, enum tni_question what, void *answer)
{
	struct tni_words *words = answer;

	if (what != TNI_ASK_SILENCE)
		return tni_tls_query(layer, what, answer);
	silence(tls_of((struct tni_layer *)(uintptr_t)layer), words->text, sizeof(words->text));
	return 0;
}

static const struct tni_layer_ops dtls_ops = {
	.name = "DTLS",
	.opening = "DTLS handshake",
	.messages = true,
	.open = dtls_open,
	.up = dtls_up,
	.down = dtls_down,
	.shut = tni_tls_shut,
	.cut = dtls_cut,
	.due_ns = dtls_due_ns,
	.tick = dtls_tick,
	.query = dtls_query,
	.free = dtls_free,
};

static struct dtls *dtls_new(struct tni_creds *creds)
{
	struct dtls *d = tni_tls_method(&datagrams, "tenon datagrams", bio_read, bio_write, bio_ctrl)
				 ? calloc(1, sizeof(*d))
				 : NULL;
	BIO *bio = d ? BIO_new(datagrams) : NULL;

	if (bio)
		d->tls.ssl = SSL_new(creds->ctx);
	if (!bio || !d->tls.ssl || !SSL_set_app_data(d->tls.ssl, &d->tls)) {
		SSL_free(d ? d->tls.ssl : NULL);
		BIO_free(bio);
		free(d);
		return NULL;
	}
	BIO_set_data(bio, d);
	SSL_set_bio(d->tls.ssl, bio, bio);
	SSL_set_mtu(d->tls.ssl, TNI_DTLS_MTU);
	d->tls.layer.ops = &dtls_ops;
	d->tls.creds = tni_creds_ref(creds);
	return d;
}

int tni_dtls_dial(struct tni_creds *creds, const char *host, struct tni_layer **layer)
{
	struct dtls *d = dtls_new(creds);
	int rc = 0;

	if (d)
		d->tls.host = strdup(creds->sni ? creds->sni : host);
	if (!d || !d->tls.host) {
		rc = no_memory();
	} else {
		SSL_set_connect_state(d->tls.ssl);
		if (!tni_tls_expect_host(&d->tls))
			rc = tni_err(TN_EURL, "DTLS: '%.200s' cannot be a server's name: see key sni", d->tls.host);
	}
	if (rc == 0)
		*layer = &d->tls.layer;
	else if (d)
		dtls_free(&d->tls.layer);
	tni_creds_unref(creds);
	return rc;
}

/* ---- the listener ---- */

const unsigned char *tni_dtls_hello(const void *data, size_t len)
{
	/* A record's type, version, epoch, number and length, then a message's type, length, number,
	 * offset and length. */
	enum { RECORD = 13, MESSAGE = 12, VERSION = 2, EPOCH_AT = 3, OFFSET_AT = RECORD + 6 };
	static const unsigned char zero[3];
	const unsigned char *bytes = data;

	if (len < RECORD + MESSAGE + VERSION + TNI_DTLS_RANDOM || bytes[0] != SSL3_RT_HANDSHAKE ||
	    bytes[1] != DTLS1_VERSION_MAJOR || memcmp(bytes + EPOCH_AT, zero, 2) != 0 ||
	    bytes[RECORD] != SSL3_MT_CLIENT_HELLO || memcmp(bytes + OFFSET_AT, zero, 3) != 0)
		return NULL;
	return bytes + RECORD + MESSAGE + VERSION;
}

struct tni_dtls_listener *tni_dtls_listener_new(void)
{
	return calloc(1, sizeof(struct tni_dtls_listener));
}

static void drop_waiting(struct tni_dtls_listener *listener)
{
	if (listener->waiting)
		dtls_free(&listener->waiting->tls.layer);
	listener->waiting = NULL;
}

void tni_dtls_listener_free(struct tni_dtls_listener *listener)
{
	drop_waiting(listener);
	OPENSSL_cleanse(listener->secrets, sizeof(listener->secrets));
	free(listener);
}

/* New credentials are for clients from now on. */
static bool prepare_waiting(struct tni_dtls_listener *listener, struct tni_creds *creds)
{
	if (listener->waiting && listener->waiting->tls.creds != creds)
		drop_waiting(listener);
	if (!listener->waiting) {
		listener->waiting = dtls_new(creds);
		if (listener->waiting)
			SSL_set_accept_state(listener->waiting->tls.ssl);
	}
	return listener->waiting;
}

int tni_dtls_listen(struct tni_dtls_listener *listener, struct tni_creds *creds, uint64_t now_ns, const void *peer,
		    size_t peer_len, const void *data, size_t len, struct tn_buf *net, struct tni_layer **layer)
{
	BIO_ADDR *nobody = BIO_ADDR_new();
	struct dtls *d;
	int rc;

	if (!nobody || !rotate(listener, now_ns) || !prepare_waiting(listener, creds)) {
		BIO_ADDR_free(nobody);
		return no_memory();
	}
	d = listener->waiting;
	listener->peer = peer;
	listener->peer_len = peer_len;
	d->listener = listener;
	d->hello = len ? data : NULL;
	d->hello_len = len;
	d->tls.net = net;
	ERR_clear_error();
	rc = DTLSv1_listen(d->tls.ssl, nobody);
	ERR_clear_error();
	BIO_ADDR_free(nobody);
	d->tls.net = NULL;
	d->hello = NULL;
	d->listener = NULL;
	if (rc < 0) /* it may be in any state now */
		drop_waiting(listener);
	if (rc <= 0)
		return 0;
	listener->waiting = NULL;
	d->tls.heard = true;
	*layer = &d->tls.layer;
	return 1;
}

void tni_dtls_refuse(const void *hello, struct tn_buf *net)
{
	/* Type, version, epoch 0, the hello's own number, length; then level and description. */
	enum { NUMBER_AT = 5, NUMBER_LEN = 6 };
	unsigned char alert[] = {
		SSL3_RT_ALERT, DTLS1_VERSION_MAJOR,  DTLS1_2_VERSION & 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
		SSL3_AL_FATAL, SSL_AD_INTERNAL_ERROR};

	memcpy(alert + NUMBER_AT, (const unsigned char *)hello + NUMBER_AT, NUMBER_LEN);
	(void)tni_buf_append(net, alert, sizeof(alert), true);
}
