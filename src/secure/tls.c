#include "secure/tls.h"

#include "base/err.h"
#include "secure/cert.h"
#include "secure/creds_in.h"
#include "secure/revocation.h"
#include "secure/tls_words.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>

/* The longest that a record carries. */
#define RECORD_MAX 16384

/* A block with less room than this is not read into. */
#define ROOM_MIN 1024

static struct tls *tls_of(struct tni_layer *layer)
{
	return tni_container_of(layer, struct tls, layer);
}

/* ---- OpenSSL's way to our queues ---- */

static BIO_METHOD *queues;

/* What a client makes us read before it is known: its hello in records of one byte,
 * or one of 128 KiB, costs it little. */
static bool is_long_winded(struct tls *t, size_t len)
{
	size_t max = t->creds->verifies || t->creds->npins ? TNI_TLS_SHAKE_MAX : TNI_TLS_SHAKE_BARE;

	if (t->layer.open || !t->creds->server || t->odd)
		return t->odd;
	t->shaken += len;
	if (t->shaken > max)
		t->odd = "it is too long";
	return t->odd;
}

static int bio_read(BIO *bio, char *out, int len)
{
	struct tls *t = BIO_get_data(bio);
	size_t done = 0;

	BIO_clear_retry_flags(bio);
	if (t->in && t->in->head && is_long_winded(t, t->in->len < (size_t)len ? t->in->len : (size_t)len))
		return -1;
	while (t->in && t->in->head && done < (size_t)len) {
		size_t part = t->in->head->len;

		if (part > (size_t)len - done)
			part = (size_t)len - done;
		memcpy(out + done, t->in->head->data, part);
		tni_buf_consume(t->in, part);
		done += part;
	}
	if (done)
		return (int)done;
	BIO_set_retry_read(bio);
	return -1;
}

static int bio_write(BIO *bio, const char *data, int len)
{
	struct tls *t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (!t->net || tni_buf_append(t->net, data, (size_t)len, false) < 0)
		return -1;
	return len;
}

static long bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return what == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

bool tni_tls_method(BIO_METHOD **method, const char *name, int (*read)(BIO *, char *, int),
		    int (*write)(BIO *, const char *, int), long (*ctrl)(BIO *, int, long, void *))
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	BIO_METHOD *made;

	pthread_mutex_lock(&lock);
	made = *method;
	if (!made && (made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, name))) {
		BIO_meth_set_read(made, read);
		BIO_meth_set_write(made, write);
		BIO_meth_set_ctrl(made, ctrl);
		BIO_meth_set_create(made, bio_create);
		*method = made;
	}
	pthread_mutex_unlock(&lock);
	return made;
}

/* ---- the handshake ---- */

/* For a name that is looked up a dot may stand at the end; in a certificate it does not. */
bool tni_tls_expect_host(struct tls *t)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
	size_t len = strlen(t->host);
	char ip[46];

	if (tni_cert_is_ip(t->host, ip))
		return X509_VERIFY_PARAM_set1_ip_asc(param, ip);
	if (len > 1 && t->host[len - 1] == '.')
		t->host[len - 1] = '\0';
	if (!tni_cert_is_host(t->host))
		return false;
	X509_VERIFY_PARAM_set_hostflags(param, TNI_CERT_HOST_FLAGS);
	return X509_VERIFY_PARAM_set1_host(param, t->host, 0) && SSL_set_tlsext_host_name(t->ssl, t->host);
}

/* A server's end has none before the client has said something: thousands that stay silent cost next to nothing. */
static int make_ssl(struct tls *t)
{
	BIO *bio = BIO_new(queues);

	t->ssl = bio ? SSL_new(t->creds->ctx) : NULL;
	if (!t->ssl || !SSL_set_app_data(t->ssl, t)) {
		SSL_free(t->ssl);
		t->ssl = NULL;
		BIO_free(bio);
		return tni_err(-ENOMEM, "TLS: out of memory");
	}
	BIO_set_data(bio, t);
	SSL_set_bio(t->ssl, bio, bio);
	if (t->creds->server) {
		SSL_set_accept_state(t->ssl);
		return 0;
	}
	SSL_set_connect_state(t->ssl);
	ERR_clear_error();
	if (tni_tls_expect_host(t)) {
		tni_sessions_offer(t);
		return 0;
	}
	if (ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE)
		return tni_err(-ENOMEM, "TLS: out of memory");
	return tni_err(TN_EURL, "TLS: '%.200s' cannot be a server's name: see key sni", t->host);
}

static int failed(struct tls *t, int what)
{
	t->broken = true;
	if (t->odd) {
		ERR_clear_error();
		return tni_err(TN_ETLS, "the client's handshake is refused: %s", t->odd);
	}
	return what == SSL_ERROR_SYSCALL && !ERR_peek_error() ? tni_err(-ENOMEM, "TLS: out of memory")
							      : tni_tls_explain(t);
}

/* What OpenSSL said to a call that returned `rc`. 0: it wants more bytes. */
int tni_tls_outcome(struct tls *t, int rc)
{
	int what = SSL_get_error(t->ssl, rc);

	if (what == SSL_ERROR_WANT_READ)
		return 0;
	if (what == SSL_ERROR_ZERO_RETURN && !t->layer.open) {
		t->broken = true;
		return tni_tls_explain_cut(t);
	}
	if (what == SSL_ERROR_ZERO_RETURN) {
		t->layer.ended = true;
		return 0;
	}
	return failed(t, what);
}

int tni_tls_write(struct tls *t, const void *data, size_t len, size_t *n)
{
	int what;

	if (SSL_write_ex(t->ssl, data, len, n))
		return 1;
	what = SSL_get_error(t->ssl, 0);
	if (what == SSL_ERROR_WANT_READ)
		return 0;
	if (what != SSL_ERROR_ZERO_RETURN)
		return failed(t, what);
	t->broken = true;
	return tni_err(TN_ETLS, "nothing can be sent any more: the peer has broken off");
}

int tni_tls_shake_hands(struct tls *t)
{
	int rc = SSL_do_handshake(t->ssl);

	if (rc != 1)
		return tni_tls_outcome(t, rc);
	tni_sessions_put_back(t);
	t->layer.open = true;
	return 0;
}

/* So many bytes at the front of a queue, or those that there are. */
static size_t peek(const struct tn_buf *buf, unsigned char *out, size_t cap)
{
	size_t n = 0;

	for (const struct tni_slice *s = buf->head; s && n < cap; s = s->next) {
		size_t part = s->len < cap - n ? s->len : cap - n;

		memcpy(out + n, s->data, part);
		n += part;
	}
	return n;
}

/* What is no TLS is better told from its first bytes than from what OpenSSL makes of them. */
static int first_bytes(struct tls *t)
{
	unsigned char start[TNI_TLS_START];
	size_t n = peek(t->in, start, sizeof(start));

	t->heard = true;
	if (tni_tls_check_start(t, start, n) == 0)
		return 0;
	/* OpenSSL knows which alert belongs to it, if any; the words are ours. */
	if (t->creds->server && make_ssl(t) == 0)
		(void)SSL_do_handshake(t->ssl);
	ERR_clear_error();
	t->broken = true;
	return tni_tls_check_start(t, start, n);
}

/*
 * An SSL object with its buffers takes 45 KiB. A client that has sent a part of its first record gets none yet: the
 * part lies in the small block that it came in. What cannot be a record is OpenSSL's to refuse.
 */
static bool is_first_record_whole(const struct tn_buf *in)
{
	unsigned char head[SSL3_RT_HEADER_LENGTH];
	size_t len;

	if (peek(in, head, sizeof(head)) < sizeof(head))
		return false;
	len = (size_t)head[3] << 8 | head[4];
	return len > SSL3_RT_MAX_PLAIN_LENGTH || in->len >= sizeof(head) + len;
}

/* ---- up: bytes of the peer's ---- */

/* Reads what there is into a block, records behind one another. Returns < 0 on failure. */
static int fill(struct tls *t, struct tni_blk *blk)
{
	size_t n;

	do {
		if (!SSL_read_ex(t->ssl, blk->data + blk->used, blk->cap - blk->used, &n)) {
			t->midway = true;
			return tni_tls_outcome(t, 0);
		}
		blk->used += (uint32_t)n;
		t->midway = false;
		/* Nothing left: to be told so by OpenSSL would cost a buffer. */
	} while ((t->in->head || SSL_pending(t->ssl)) && blk->cap - blk->used >= ROOM_MIN);
	return 0;
}

/* A piece that joins others that wait is copied, since many blocks that hold little would be much memory. */
static int hand_up(struct tn_buf *out, struct tni_blk *blk)
{
	int rc;

	if (!blk->used) {
		tni_blk_unref(blk);
		return 0;
	}
	if (!out->head || blk->used > RECORD_MAX / 16)
		return tni_buf_give(out, blk);
	rc = tni_buf_append(out, blk->data, blk->used, false);
	tni_blk_unref(blk);
	return rc;
}

static int read_records(struct tls *t, struct tn_buf *out, size_t max)
{
	int rc = 0, kept = 0;

	while (rc == 0 && kept == 0 && !t->layer.ended && out->len < max && (t->in->head || SSL_pending(t->ssl))) {
		bool little = !t->midway && t->in->len <= out->mem->small.cap;
		struct tni_blk *blk = tni_blk_get(little ? &out->mem->small : &out->mem->large);

		if (!blk)
			return tni_err(-ENOMEM, "TLS: out of memory");
		rc = fill(t, blk);
		kept = hand_up(out, blk);
	}
	if (t->layer.ended)
		tni_buf_clear(t->in); /* what comes after the peer's last word is nobody's */
	return rc < 0 ? rc : kept < 0 ? tni_err(kept, "TLS: out of memory") : 0;
}

/* As they are, as many as may. */
static int pass_plain(struct tn_buf *to, struct tn_buf *from, size_t max)
{
	size_t room = max > to->len ? max - to->len : 0;

	if (tni_buf_move(to, from, from->len < room ? from->len : room) < 0)
		return tni_err(-ENOMEM, "TLS: out of memory");
	return 0;
}

/* A client that may do without it: no message of a protocol in letters begins as a handshake does. */
static bool is_declined(struct tls *t, const struct tn_buf *in)
{
	unsigned char first;

	if (!t->optional || t->heard || !peek(in, &first, 1) || first == SSL3_RT_HANDSHAKE)
		return false;
	t->plain = t->layer.open = t->layer.done = true;
	return true;
}

static int tls_up(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *out, struct tn_buf *net, size_t max)
{
	struct tls *t = tls_of(layer);
	int rc = 0;

	if (t->plain)
		return pass_plain(out, in, max);
	if (is_declined(t, in))
		return 0;
	if (!in->head && !(t->ssl && SSL_pending(t->ssl)))
		return 0;
	t->in = in;
	t->net = net;
	ERR_clear_error();
	if (!t->heard)
		rc = first_bytes(t);
	if (rc == 0 && !t->ssl && !is_first_record_whole(in)) {
		tni_buf_compact(in);
		t->in = t->net = NULL;
		return 0;
	}
	if (rc == 0 && !t->ssl)
		rc = make_ssl(t);
	if (rc == 0 && !layer->open)
		rc = tni_tls_shake_hands(t);
	if (rc == 0 && layer->open)
		rc = read_records(t, out, max);
	t->in = t->net = NULL;
	return rc;
}

/* ---- down: bytes of ours ---- */

static int tls_open(struct tni_layer *layer, struct tn_buf *net)
{
	struct tls *t = tls_of(layer);
	int rc;

	if (t->plain)
		layer->open = true;
	if (t->plain || t->creds->server)
		return 0;
	ERR_clear_error();
	rc = make_ssl(t);
	if (rc < 0)
		return rc;
	t->net = net;
	rc = tni_tls_shake_hands(t);
	t->net = NULL;
	return rc;
}

/* Whole records as far as there is enough: small pieces are gathered first. */
static int tls_down(struct tni_layer *layer, struct tn_buf *in, struct tn_buf *net, size_t max)
{
	struct tls *t = tls_of(layer);
	int rc = 1;

	if (t->plain)
		return pass_plain(net, in, max);
	if (!in->head)
		return 0;
	t->net = net;
	ERR_clear_error();
	while (rc > 0 && in->head && net->len < max) {
		size_t len = in->len < RECORD_MAX ? in->len : RECORD_MAX, n;
		const unsigned char *data = tni_buf_pullup(in, len);

		if (!data)
			rc = tni_err(-ENOMEM, "TLS: out of memory");
		else if (!len)
			tni_buf_consume(in, 0);
		else if ((rc = tni_tls_write(t, data, len, &n)) > 0)
			tni_buf_consume(in, n);
	}
	t->net = NULL;
	return rc < 0 ? rc : 0;
}

int tni_tls_shut(struct tni_layer *layer, struct tn_buf *net)
{
	struct tls *t = tls_of(layer);
	int rc;

	if (t->broken || t->plain || !layer->open)
		return 0;
	t->net = net;
	ERR_clear_error();
	rc = SSL_shutdown(t->ssl);
	t->net = NULL;
	return rc < 0 ? tni_tls_outcome(t, rc) : 0;
}

static int tls_cut(struct tni_layer *layer)
{
	struct tls *t = tls_of(layer);

	return t->plain ? 0 : tni_tls_explain_cut(t);
}

/* ---- the peer's certificate ---- */

static bool is_pinned(const struct tni_creds *creds, X509 *cert)
{
	unsigned char hash[TNI_SHA256_LEN];

	if (!cert || !tni_cert_pin(cert, hash))
		return false;
	for (int i = 0; i < creds->npins; i++)
		if (!memcmp(creds->pins[i], hash, sizeof(hash)))
			return true;
	return false;
}

/* In place of OpenSSL's own check of a chain. What was wrong is kept for the words. */
int tni_tls_verify(X509_STORE_CTX *store, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *t = SSL_get_app_data(ssl);
	X509 *cert = X509_STORE_CTX_get0_cert(store);
	int ok = 1;

	(void)arg;
	if (t->creds->verifies) {
		X509_STORE_CTX_set_verify_cb(store, tni_revocation_judge);
		ok = X509_verify_cert(store) > 0;
	}
	if (ok && t->creds->npins && !is_pinned(t->creds, cert)) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
		ok = 0;
	}
	if (ok) {
		X509_STORE_CTX_set_error(store, X509_V_OK);
		return 1;
	}
	t->refused.error = X509_STORE_CTX_get_error(store);
	t->refused.depth = X509_STORE_CTX_get_error_depth(store);
	if (t->refused.error != X509_V_ERR_APPLICATION_VERIFICATION && X509_STORE_CTX_get_current_cert(store))
		cert = X509_STORE_CTX_get_current_cert(store);
	if (cert && X509_up_ref(cert))
		t->refused.cert = cert;
	return 0;
}

/* ---- asking ---- */

static const struct tni_layer_ops tls_ops;

/*
 * A client of TLS 1.3 may name a key that the handshake then leaves aside, and so prove nothing. Tickets there are
 * none.
 */
static const char *psk_identity(const struct tls *t)
{
	return SSL_version(t->ssl) != TLS1_3_VERSION || SSL_session_reused(t->ssl) ? t->psk : NULL;
}

/* Who the peer has proved to be. */
static void write_identity(const struct tls *t, char *out, size_t cap)
{
	X509 *cert = SSL_get0_peer_certificate(t->ssl);
	const char *psk = psk_identity(t);

	if (!cert && psk)
		snprintf(out, cap, "%s", psk);
	else if (cert && (t->creds->verifies || t->creds->npins))
		tni_cert_write(cert,
			       X509_NAME_entry_count(X509_get_subject_name(cert)) ? TNI_CERT_SUBJECT : TNI_CERT_NAMES,
			       out, cap);
}

static void describe(const struct tls *t, struct tn_security *security)
{
	const unsigned char *alpn;
	const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
	unsigned len;

	*security = (struct tn_security){.resumed = SSL_session_reused(t->ssl) && !t->psk};
	snprintf(security->protocol, sizeof(security->protocol), "%s", SSL_get_version(t->ssl));
	snprintf(security->cipher, sizeof(security->cipher), "%s", SSL_get_cipher_name(t->ssl));
	snprintf(security->server_name, sizeof(security->server_name), "%s", name ? name : "");
	SSL_get0_alpn_selected(t->ssl, &alpn, &len);
	snprintf(security->alpn, sizeof(security->alpn), "%.*s", (int)len, alpn ? (const char *)alpn : "");
	write_identity(t, security->identity, sizeof(security->identity));
}

/* A server's end has the client's own apart from the rest. */
static X509 *peer_cert(const struct tls *t, int index)
{
	STACK_OF(X509) *chain = t->ssl ? SSL_get_peer_cert_chain(t->ssl) : NULL;

	if (index == 0)
		return t->ssl ? SSL_get0_peer_certificate(t->ssl) : NULL;
	index -= t->creds->server;
	return index < sk_X509_num(chain) ? sk_X509_value(chain, index) : NULL;
}

static int give_cert(const struct tls *t, const struct tni_cert_question *q)
{
	X509 *cert = peer_cert(t, q->index);
	unsigned char *at;
	int n;

	if (!cert)
		return -ENOENT;
	n = i2d_X509(cert, NULL);
	at = *q->der = n > 0 ? malloc((size_t)n) : NULL;
	if (!at)
		return -ENOMEM;
	*q->len = (size_t)i2d_X509(cert, &at);
	return 0;
}

int tni_tls_query(const struct tni_layer *layer, enum tni_question what, void *answer)
{
	const struct tls *t = tls_of((struct tni_layer *)(uintptr_t)layer);

	switch (what) {
	case TNI_ASK_PART:
		return layer->open && t->ssl && SSL_has_pending(t->ssl);
	case TNI_ASK_TLS:
		*(struct tni_layer **)answer = (struct tni_layer *)(uintptr_t)layer;
		return layer->ops == &tls_ops ? 0 : -EOPNOTSUPP;
	case TNI_ASK_SECURITY:
		if (t->plain)
			return -EOPNOTSUPP;
		describe(t, answer);
		return 0;
	case TNI_ASK_CERT:
		return give_cert(t, answer);
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- life ---- */

void tni_tls_clear(struct tls *t)
{
	SSL_free(t->ssl);
	X509_free(t->refused.cert);
	tni_creds_unref(t->creds);
	ERR_clear_error();
	free(t->host);
	free(t->place);
}

static void tls_free(struct tni_layer *layer)
{
	struct tls *t = tls_of(layer);

	tni_tls_clear(t);
	free(t);
}

static const struct tni_layer_ops tls_ops = {
	.name = "TLS",
	.opening = "TLS handshake",
	.open = tls_open,
	.up = tls_up,
	.down = tls_down,
	.shut = tni_tls_shut,
	.cut = tls_cut,
	.query = tni_tls_query,
	.free = tls_free,
};

int tni_tls_new(struct tni_creds *creds, const char *host, struct tni_layer **layer)
{
	struct tls *t =
		tni_tls_method(&queues, "tenon queues", bio_read, bio_write, bio_ctrl) ? calloc(1, sizeof(*t)) : NULL;

	if (t && host)
		t->host = strdup(creds->sni ? creds->sni : host);
	if (!t || (host && !t->host)) {
		free(t);
		tni_creds_unref(creds);
		return tni_err(-ENOMEM, "TLS: out of memory");
	}
	t->layer.ops = &tls_ops;
	t->creds = creds;
	*layer = &t->layer;
	return 0;
}

void tni_tls_wait(struct tni_layer *layer, bool optional)
{
	tls_of(layer)->plain = true;
	tls_of(layer)->optional = optional;
}

bool tni_tls_is_plain(const struct tni_layer *layer)
{
	return tls_of((struct tni_layer *)(uintptr_t)layer)->plain;
}

int tni_tls_begin(struct tni_layer *layer, struct tn_buf *net)
{
	tls_of(layer)->plain = false;
	layer->open = false;
	return tls_open(layer, net);
}

int tni_tls_resume(struct tni_layer *layer, const char *place)
{
	struct tls *t = tls_of(layer);

	t->place = strdup(place);
	return t->place ? 0 : tni_err(-ENOMEM, "TLS: out of memory");
}

void tni_tls_common_name(const unsigned char *der, size_t len, char *out, size_t cap)
{
	X509 *cert = d2i_X509(NULL, &der, (long)len);
	const X509_NAME *subject = cert ? X509_get_subject_name(cert) : NULL;
	int at = subject ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
	unsigned char *utf8 = NULL;

	*out = '\0';
	if (at >= 0 && ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))) > 0)
		*stpncpy(out, (const char *)utf8, cap - 1) = '\0';
	OPENSSL_free(utf8);
	X509_free(cert);
}
