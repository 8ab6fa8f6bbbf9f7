#include "secure/creds.h"

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "secure/cert.h"
#include "secure/creds_in.h"
#include "secure/psk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/err.h>

/*
 * TLS 1.2: forward secrecy and authenticated encryption only. The suites of TLS 1.3 are all that. Those without a
 * certificate are chosen only where both sides have a pre-shared key.
 */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHEPSK+CHACHA20:DHEPSK+AESGCM:kPSK+AESGCM"

/* OpenSSL's own list without DSA and SHA-224, and so without the ciphers that take a DSA key. */
#define SIGNATURES                                                  \
	"ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:ed448:"     \
	"rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:" \
	"rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:RSA+SHA256:RSA+SHA384:RSA+SHA512"

/* A pre-shared key belongs to a hash, SHA-256: with a cipher of another TLS 1.3 would leave it aside. */
#define PSK_SUITES "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"

/* 112 bits: no keys that are shorter, no SHA-1. Debian's default; a system may ask for more, not for less. */
#define SECURITY_LEVEL 2

void tni_creds_spec_free(struct tni_creds_spec *spec)
{
	free(spec->cert);
	free(spec->key);
	free(spec->ca);
	free(spec->sni);
	free(spec->alpn);
	free(spec->pin);
	free(spec->psk_file);
	free(spec->keylog);
}

/* What is being made. */
struct making {
	struct tni_creds *creds;
	const struct tni_creds_spec *spec;
	const char *key; /* the one being looked at */
};

static int no_memory(void)
{
	ERR_clear_error();
	return tni_err(-ENOMEM, "TLS: out of memory");
}

/* ---- files ---- */

static struct tni_file_state state_of(const char *path)
{
	struct stat st;

	if (tni_file_state(path, &st) < 0)
		return (struct tni_file_state){0};
	return (struct tni_file_state){
		.dev = st.st_dev, .ino = st.st_ino, .size = (uint64_t)st.st_size, .mtime = st.st_mtim};
}

static bool same_state(const struct tni_file_state *a, const struct tni_file_state *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime.tv_sec == b->mtime.tv_sec &&
	       a->mtime.tv_nsec == b->mtime.tv_nsec;
}

/* Before it is read: a change that comes in between is then seen as one. */
static int note_file(struct tni_creds *creds, const char *path)
{
	struct tni_file *file = &creds->files[creds->nfiles];

	if (creds->nfiles == TNI_FILES_MAX)
		return 0;
	file->path = strdup(path);
	if (!file->path)
		return no_memory();
	file->read = file->seen = state_of(path);
	creds->nfiles++;
	return 0;
}

bool tni_creds_changed(struct tni_creds *creds)
{
	bool changed = false, moving = false;

	for (int i = 0; i < creds->nfiles; i++) {
		struct tni_file *file = &creds->files[i];
		struct tni_file_state now = state_of(file->path);

		changed |= !same_state(&now, &file->read);
		moving |= !same_state(&now, &file->seen);
		file->seen = now;
	}
	return changed && !moving;
}

const char *tni_creds_file(const struct tni_creds *creds, int index)
{
	return index < creds->nfiles ? creds->files[index].path : NULL;
}

void tni_creds_accept_files(struct tni_creds *creds)
{
	for (int i = 0; i < creds->nfiles; i++)
		creds->files[i].read = creds->files[i].seen;
}

static bool is_stale(const struct tni_creds *creds)
{
	for (int i = 0; i < creds->nfiles; i++) {
		struct tni_file_state now = state_of(creds->files[i].path);

		if (!same_state(&now, &creds->files[i].read))
			return true;
	}
	return false;
}

/* The n-th of names with commas between; NULL past the end, otherwise to be freed. */
static char *nth_name(const char *list, int n)
{
	for (; list && n > 0; n--) {
		list = strchr(list, ',');
		list = list ? list + 1 : NULL;
	}
	return list ? strndup(list, strcspn(list, ",")) : NULL;
}

static int count_names(const char *list)
{
	int n = list != NULL;

	for (; list && *list; list++)
		n += *list == ',';
	return n;
}

/* ---- certificates of our own ---- */

static void warn_if_expired(X509 *cert, const char *file)
{
	char dates[128];

	if (tni_cert_days_left(cert) < 0)
		tni_log(true, "%s: the certificate has expired, peers will refuse it: %s", file,
			tni_cert_write(cert, TNI_CERT_DATES, dates, sizeof(dates)));
}

static int use_pair(SSL_CTX *ctx, STACK_OF(X509) * certs, EVP_PKEY *key, const char *file)
{
	X509 *leaf = sk_X509_shift(certs);
	const char *why;
	int rc = 0;

	warn_if_expired(leaf, file);
	if (!SSL_CTX_use_cert_and_key(ctx, leaf, key, certs, 1)) {
		why = ERR_reason_error_string(ERR_peek_error());
		rc = tni_err(TN_EFORMAT, "%s: this certificate cannot be used: %s", file,
			     why ? why : "OpenSSL refuses it");
		ERR_clear_error();
	}
	X509_free(leaf);
	return rc;
}

static int read_pair(struct making *m, SSL_CTX *ctx, const char *cert_file, const char *key_file)
{
	STACK_OF(X509) *certs = NULL;
	EVP_PKEY *key = NULL;
	int rc = note_file(m->creds, cert_file);

	if (rc == 0 && key_file != cert_file)
		rc = note_file(m->creds, key_file);
	if (rc == 0)
		rc = tni_cert_read(cert_file, &certs);
	if (rc == 0) {
		m->key = m->spec->key ? "key" : "cert";
		rc = tni_cert_read_key(key_file, &key);
	}
	if (rc == 0)
		rc = tni_cert_key_fits(sk_X509_value(certs, 0), cert_file, key, key_file);
	if (rc == 0)
		rc = use_pair(ctx, certs, key, cert_file);
	sk_X509_pop_free(certs, X509_free);
	EVP_PKEY_free(key);
	return rc;
}

static SSL_CTX *new_context(const struct tni_creds *creds, const struct tni_creds_spec *spec);

/* The first certificate is the one that clients are shown who ask for no name we have. */
static SSL_CTX *context_for(struct making *m, int n)
{
	struct tni_creds *creds = m->creds;

	if (n == 0)
		return creds->ctx;
	creds->certs[creds->ncerts] = new_context(creds, m->spec);
	return creds->certs[creds->ncerts] ? creds->certs[creds->ncerts++] : NULL;
}

static int read_nth_pair(struct making *m, int n)
{
	char *cert = nth_name(m->spec->cert, n), *key = m->spec->key ? nth_name(m->spec->key, n) : cert;
	SSL_CTX *ctx = context_for(m, n);
	int rc = cert && key && ctx ? read_pair(m, ctx, cert, key) : no_memory();

	if (key != cert)
		free(key);
	free(cert);
	return rc;
}

static int read_certs(struct making *m)
{
	int n = count_names(m->spec->cert), keys = count_names(m->spec->key), rc = 0;

	m->key = "cert";
	if (n > TNI_CERTS_MAX)
		return tni_err(TN_EURL, "more than %d certificates", TNI_CERTS_MAX);
	if (n > 1 && !m->creds->server)
		return tni_err(TN_EURL, "a client has one certificate");
	if (keys && keys != n) {
		m->key = "key";
		return tni_err(TN_EURL, n ? "as many keys as certificates are needed"
					  : "a key needs its certificate: cert=FILE");
	}
	for (int i = 0; i < n && rc == 0; i++)
		rc = read_nth_pair(m, i);
	return rc;
}

static bool is_for(SSL_CTX *ctx, const char *name)
{
	X509 *cert = SSL_CTX_get0_certificate(ctx);

	return cert && X509_check_host(cert, name, 0, TNI_CERT_HOST_FLAGS, NULL) == 1;
}

/* Only what is shown changes, not the context: what it says of trust, protocols and keys holds for every name. */
static bool show(SSL *ssl, SSL_CTX *from)
{
	STACK_OF(X509) *chain = NULL;

	SSL_certs_clear(ssl);
	return SSL_CTX_get0_chain_certs(from, &chain) &&
	       SSL_use_cert_and_key(ssl, SSL_CTX_get0_certificate(from), SSL_CTX_get0_privatekey(from), chain, 1);
}

static int choose_cert(SSL *ssl, int *alert, void *arg)
{
	const struct tni_creds *creds = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	if (!name || is_for(creds->ctx, name))
		return SSL_TLSEXT_ERR_OK;
	for (int i = 0; i < creds->ncerts; i++)
		if (is_for(creds->certs[i], name)) {
			*alert = SSL_AD_INTERNAL_ERROR;
			return show(ssl, creds->certs[i]) ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
		}
	return SSL_TLSEXT_ERR_OK;
}

/* ---- whom we trust ---- */

static int trust_file(struct making *m)
{
	X509_STORE *store = SSL_CTX_get_cert_store(m->creds->ctx);
	STACK_OF(X509) *certs = NULL;
	int rc = note_file(m->creds, m->spec->ca);

	if (rc == 0)
		rc = tni_cert_read(m->spec->ca, &certs);
	for (int i = 0; rc == 0 && i < sk_X509_num(certs); i++) {
		X509 *cert = sk_X509_value(certs, i);

		/*
		 * What a certificate says is worked out once and kept. Were it done at the first handshake, and without memory
		 * then, this authority would vouch for nobody for as long as it is in use.
		 */
		ERR_clear_error();
		X509_check_purpose(cert, -1, 0);
		if (ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE ||
		    !X509_STORE_add_cert(store, cert) ||
		    (m->creds->server && !SSL_CTX_add_client_CA(m->creds->ctx, cert)))
			rc = no_memory();
	}
	sk_X509_pop_free(certs, X509_free);
	/* What the user named is trusted, be it a root or not. */
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	return rc;
}

static int set_trust(struct making *m)
{
	struct tni_creds *creds = m->creds;
	int verify = m->spec->verify, mode = SSL_VERIFY_NONE;

	m->key = "ca";
	if (verify == TNI_VERIFY_DEFAULT)
		verify = !creds->server || m->spec->ca ? TNI_VERIFY_REQUIRE : TNI_VERIFY_OFF;
	creds->verifies = verify != TNI_VERIFY_OFF;
	if (creds->verifies || creds->npins)
		mode = SSL_VERIFY_PEER;
	if (creds->server && mode && verify != TNI_VERIFY_OPTIONAL)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_verify(creds->ctx, mode, NULL);
	SSL_CTX_set_cert_verify_callback(creds->ctx, tni_tls_verify, NULL);
	if (m->spec->ca)
		return trust_file(m);
	if (creds->verifies && !SSL_CTX_set_default_verify_paths(creds->ctx))
		return tni_err(TN_EURL, "this system's authorities cannot be read: name yours with ca=FILE");
	return 0;
}

static int parse_pin(const char *text, unsigned char *hash)
{
	char prefixed[64];
	int rc = tni_cert_pin_parse(text, hash);

	if (rc == 0 || strlen(text) > 44)
		return rc;
	snprintf(prefixed, sizeof(prefixed), "sha256//%s", text);
	return tni_cert_pin_parse(prefixed, hash) == 0 ? 0 : tni_cert_pin_parse(text, hash);
}

static int read_pins(struct making *m)
{
	struct tni_creds *creds = m->creds;
	int n = count_names(m->spec->pin), rc = 0;

	m->key = "pin";
	if (n > TNI_PINS_MAX)
		return tni_err(TN_EURL, "more than %d pins", TNI_PINS_MAX);
	for (; creds->npins < n && rc == 0; creds->npins++) {
		char *pin = nth_name(m->spec->pin, creds->npins);

		rc = pin ? parse_pin(pin, creds->pins[creds->npins]) : no_memory();
		free(pin);
	}
	return rc;
}

/* ---- protocols ---- */

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *theirs,
		       unsigned theirs_len, void *arg)
{
	const struct tni_creds *creds = arg;
	unsigned char *chosen;

	(void)ssl;
	if (SSL_select_next_proto(&chosen, len, creds->alpn, creds->alpn_len, theirs, theirs_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int set_alpn(struct making *m)
{
	struct tni_creds *creds = m->creds;
	const char *at = m->spec->alpn;

	m->key = "alpn";
	if (!at)
		return 0;
	creds->alpn = malloc(strlen(at) + 2);
	if (!creds->alpn)
		return no_memory();
	for (;; at++) {
		size_t len = strcspn(at, ",");

		if (len < 1 || len > 255)
			return tni_err(TN_EURL, "it takes names of 1 to 255 bytes with commas between: h2,http/1.1");
		creds->alpn[creds->alpn_len] = (unsigned char)len;
		memcpy(creds->alpn + creds->alpn_len + 1, at, len);
		creds->alpn_len += (unsigned)len + 1;
		at += len;
		if (!*at)
			break;
	}
	if (creds->server)
		SSL_CTX_set_alpn_select_cb(creds->ctx, choose_alpn, creds);
	else if (SSL_CTX_set_alpn_protos(creds->ctx, creds->alpn, creds->alpn_len) != 0)
		return no_memory();
	return 0;
}

/* ---- the key log ---- */

static void write_keylog(const SSL *ssl, const char *line)
{
	const struct tni_creds *creds = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	char text[512];
	int n = snprintf(text, sizeof(text), "%s\n", line);

	/* One write a line, so that those of several threads and processes stay whole. */
	if (n > 0 && (size_t)n < sizeof(text))
		(void)!write(creds->keylog, text, (size_t)n);
	OPENSSL_cleanse(text, sizeof(text));
}

static int set_keylog(struct making *m)
{
	const char *file = m->spec->keylog;

	m->key = "keylog";
	if (!file && !m->creds->server)
		file = secure_getenv("SSLKEYLOGFILE");
	if (!file || !*file)
		return 0;
	m->creds->keylog = tni_file_open(file, TN_FILE_APPEND);
	if (m->creds->keylog < 0) {
		tni_err(TN_EURL, "%s: %s", file, tn_strerror(m->creds->keylog));
		if (m->spec->keylog)
			return TN_EURL;
		tni_log(true, "SSLKEYLOGFILE: %s", tn_errmsg()); /* the environment is not this endpoint's */
		return 0;
	}
	SSL_CTX_set_keylog_callback(m->creds->ctx, write_keylog);
	return 0;
}

/* ---- all of it ---- */

static const SSL_METHOD *method_of(bool server, bool datagrams)
{
	if (datagrams)
		return server ? DTLS_server_method() : DTLS_client_method();
	return server ? TLS_server_method() : TLS_client_method();
}

/* The server's order of ciphers holds, but that a client who wants ChaCha20 first has no fast AES and gets it. */
static bool set_algorithms(SSL_CTX *ctx, bool psk)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA);
	if (SSL_CTX_get_security_level(ctx) < SECURITY_LEVEL)
		SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
	return SSL_CTX_set_cipher_list(ctx, CIPHERS) && SSL_CTX_set1_sigalgs_list(ctx, SIGNATURES) &&
	       (!psk || SSL_CTX_set_ciphersuites(ctx, PSK_SUITES));
}

static SSL_CTX *new_context(const struct tni_creds *creds, const struct tni_creds_spec *spec)
{
	static const unsigned char name[] = "tenon";
	SSL_CTX *ctx = SSL_CTX_new(method_of(creds->server, spec->datagrams));

	if (!ctx)
		return NULL;
	if (!SSL_CTX_set_app_data(ctx, (void *)(uintptr_t)creds)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	if (spec->datagrams)
		tni_dtls_context(ctx);
	else
		SSL_CTX_set_min_proto_version(ctx, spec->min_version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (creds->server)
		SSL_CTX_set_session_id_context(ctx, name, sizeof(name) - 1);
	/* Tickets carry no pre-shared identity, which a resumed connection would lack. */
	if (spec->tickets == 0 || spec->psk_file)
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ctx, spec->psk_file ? 0 : (size_t)spec->tickets);
	if (!set_algorithms(ctx, spec->psk_file)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

static int set_psk(struct making *m)
{
	m->key = "psk-file";
	if (!m->spec->psk_file)
		return 0;
	return note_file(m->creds, m->spec->psk_file) < 0 ? -ENOMEM : tni_psk_read(m->creds, m->spec->psk_file);
}

static int make(struct making *m)
{
	struct tni_creds *creds = m->creds;
	int rc = 0;

	creds->ctx = new_context(creds, m->spec);
	if (!creds->ctx || (m->spec->sni && !(creds->sni = strdup(m->spec->sni))) ||
	    (m->spec->ca && !(creds->ca = strdup(m->spec->ca))))
		return no_memory();
	if (creds->server && !m->spec->cert && !m->spec->psk_file)
		return tni_err(TN_EURL, "a TLS server needs a certificate: cert=FILE&key=FILE, or psk-file=FILE");
	rc = read_pins(m);
	if (rc == 0)
		rc = set_trust(m);
	if (rc == 0)
		rc = read_certs(m);
	if (rc == 0)
		rc = set_alpn(m);
	if (rc == 0)
		rc = set_psk(m);
	if (rc == 0)
		rc = set_keylog(m);
	if (rc == 0 && creds->ncerts) {
		SSL_CTX_set_tlsext_servername_callback(creds->ctx, choose_cert);
		SSL_CTX_set_tlsext_servername_arg(creds->ctx, creds);
	}
	return rc;
}

static int creds_new(const struct tni_creds_spec *spec, bool server, struct tni_creds **out, const char **culprit)
{
	struct making m = {.creds = calloc(1, sizeof(*m.creds)), .spec = spec};
	int rc;

	*culprit = NULL;
	if (!m.creds)
		return no_memory();
	m.creds->refs = 1;
	m.creds->server = server;
	m.creds->keylog = -1;
	rc = make(&m);
	if (rc < 0) {
		*culprit = rc == -ENOMEM ? NULL : m.key;
		tni_creds_unref(m.creds);
		return rc == -ENOMEM ? rc : TN_EURL;
	}
	*out = m.creds;
	return 0;
}

int tni_creds_serve(const struct tni_creds_spec *spec, struct tni_creds **creds, const char **culprit)
{
	return creds_new(spec, true, creds, culprit);
}

struct tni_creds *tni_creds_ref(struct tni_creds *creds)
{
	atomic_fetch_add_explicit(&creds->refs, 1, memory_order_relaxed);
	return creds;
}

void tni_creds_unref(struct tni_creds *creds)
{
	if (!creds || atomic_fetch_sub_explicit(&creds->refs, 1, memory_order_acq_rel) != 1)
		return;
	SSL_CTX_free(creds->ctx);
	for (int i = 0; i < creds->ncerts; i++)
		SSL_CTX_free(creds->certs[i]);
	for (int i = 0; i < creds->nfiles; i++)
		free(creds->files[i].path);
	tni_psk_free(creds);
	if (creds->keylog >= 0)
		close(creds->keylog);
	free(creds->alpn);
	free(creds->sni);
	free(creds->ca);
	free(creds);
}

/* ---- clients' sets, kept ---- */

/*
 * Reading a system's authorities takes milliseconds, as long as many handshakes. The last few sets are kept for the
 * whole process.
 */
#define KEPT_MAX 8

static struct {
	pthread_mutex_t lock;
	struct kept {
		char *keys;
		struct tni_creds *creds;
	} list[KEPT_MAX];
	unsigned next;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char *or_none(const char *text)
{
	return text ? text : "\x1e";
}

static char *keys_text(const struct tni_creds_spec *s)
{
	const char *env = s->keylog ? NULL : secure_getenv("SSLKEYLOGFILE");
	char *text;

	if (asprintf(&text, "%s\x1f%s\x1f%s\x1f%s\x1f%s\x1f%s\x1f%s\x1f%s\x1f%s\x1f%d\x1f%d\x1f%d", or_none(s->cert),
		     or_none(s->key), or_none(s->ca), or_none(s->sni), or_none(s->alpn), or_none(s->pin),
		     or_none(s->psk_file), or_none(s->keylog), or_none(env), s->verify, s->min_version,
		     s->datagrams) < 0)
		return NULL;
	return text;
}

static struct tni_creds *find_kept(const char *keys)
{
	for (int i = 0; i < KEPT_MAX; i++) {
		struct kept *k = &kept.list[i];

		if (k->keys && !strcmp(k->keys, keys) && !is_stale(k->creds))
			return tni_creds_ref(k->creds);
	}
	return NULL;
}

/* Takes `keys`. A set that its files have outgrown gives way, otherwise the oldest. */
static void keep(char *keys, struct tni_creds *creds)
{
	struct kept *k = NULL;

	for (int i = 0; i < KEPT_MAX && !k; i++)
		if (kept.list[i].keys && !strcmp(kept.list[i].keys, keys))
			k = &kept.list[i];
	if (!k)
		k = &kept.list[kept.next++ % KEPT_MAX];
	free(k->keys);
	tni_creds_unref(k->creds);
	*k = (struct kept){.keys = keys, .creds = tni_creds_ref(creds)};
}

int tni_creds_dial(const struct tni_creds_spec *spec, struct tni_creds **creds, const char **culprit)
{
	char *keys = keys_text(spec);
	int rc = 0;

	*culprit = NULL;
	if (!keys)
		return no_memory();
	pthread_mutex_lock(&kept.lock);
	*creds = find_kept(keys);
	if (!*creds) {
		rc = creds_new(spec, false, creds, culprit);
		if (rc == 0) {
			keep(keys, *creds);
			keys = NULL;
		}
	}
	pthread_mutex_unlock(&kept.lock);
	free(keys);
	return rc;
}
