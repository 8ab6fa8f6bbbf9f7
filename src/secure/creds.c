#include "secure/creds.h"

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "secure/algorithms.h"
#include "secure/cert.h"
#include "secure/creds_in.h"
#include "secure/hello.h"
#include "secure/psk.h"
#include "secure/revocation.h"

#include <dirent.h>
#include <limits.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/err.h>

/* A client's certificates, together. */
#define CERT_LIST_MAX (64 * 1024)

/* What stands behind "there is no file F". */
#define MAKES_CERT " (`tenon cert new --out DIR` makes a certificate)"
#define MAKES_KEY " (`tenon cert new --out DIR` makes a key)"

void tni_creds_spec_free(struct tni_creds_spec *spec)
{
	free(spec->cert);
	free(spec->key);
	free(spec->key_pass_file);
	free(spec->ca);
	free(spec->crl);
	free(spec->sni);
	free(spec->alpn);
	free(spec->pin);
	free(spec->psk_file);
	free(spec->keylog);
	free(spec->groups);
	free(spec->ciphers);
	free(spec->sigalgs);
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

/* OpenSSL could not make a context. */
static int no_context(void)
{
	int err = tni_algorithms_exist();

	ERR_clear_error();
	return err < 0 ? err : no_memory();
}

/* ---- files ---- */

bool tni_creds_changed(struct tni_creds *creds)
{
	return tni_files_changed(&creds->files);
}

const char *tni_creds_file(const struct tni_creds *creds, int index)
{
	return tni_files_path(&creds->files, index);
}

void tni_creds_accept_files(struct tni_creds *creds)
{
	tni_files_accept(&creds->files);
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

/* The first line of the file with the passphrase; NULL where there is none. */
static int read_pass(struct making *m, const char *file, char **pass)
{
	struct tni_text text;
	const char *at;
	int rc;

	*pass = NULL;
	if (!file)
		return 0;
	m->key = "key-pass-file";
	rc = tni_files_text(&m->creds->files, file, "", TNI_FILE_WHOLE, &text);
	if (rc < 0)
		return rc;
	if (text.mode & S_IROTH)
		tni_log(true, "%s: every user of this machine may read this passphrase (chmod 600 %s)", file, file);
	at = (const char *)text.data;
	*pass = strndup(at, strcspn(at, "\r\n"));
	if (!*pass)
		return no_memory();
	return **pass ? 0 : tni_err(TN_EFORMAT, "%s: its first line, which is the passphrase, is empty", file);
}

static int read_key(struct making *m, const char *file, const char *pass_file, EVP_PKEY **key)
{
	struct tni_text text;
	char *pass;
	int rc = read_pass(m, pass_file, &pass);

	if (rc == 0) {
		m->key = m->spec->key ? "key" : "cert";
		rc = tni_files_text(&m->creds->files, file, MAKES_KEY, TNI_FILE_WHOLE, &text);
	}
	if (rc == 0)
		rc = tni_cert_parse_key(&text, file, pass, key);
	if (pass)
		OPENSSL_cleanse(pass, strlen(pass));
	free(pass);
	return rc;
}

struct pair_files {
	char *cert, *key, *pass;
};

static int read_pair(struct making *m, SSL_CTX *ctx, const struct pair_files *from)
{
	STACK_OF(X509) *certs = NULL;
	struct tni_text text;
	EVP_PKEY *key = NULL;
	int rc = tni_files_text(&m->creds->files, from->cert, MAKES_CERT, TNI_FILE_WHOLE, &text);

	if (rc == 0)
		rc = tni_cert_parse(text.data, text.len, from->cert, &certs);
	if (rc == 0)
		rc = read_key(m, from->key, from->pass, &key);
	if (rc == 0)
		rc = tni_cert_key_fits(sk_X509_value(certs, 0), from->cert, key, from->key);
	if (rc == 0)
		rc = use_pair(ctx, certs, key, from->cert);
	sk_X509_pop_free(certs, X509_free);
	EVP_PKEY_free(key);
	return rc;
}

static int new_context(struct making *m, SSL_CTX **out);

/* The first certificate is the one that clients are shown who ask for no name we have. */
static int context_for(struct making *m, int n, SSL_CTX **ctx)
{
	struct tni_creds *creds = m->creds;
	int rc;

	*ctx = creds->ctx;
	if (n == 0)
		return 0;
	rc = new_context(m, &creds->certs[creds->ncerts]);
	if (rc == 0)
		*ctx = creds->certs[creds->ncerts++];
	return rc;
}

static int read_nth_pair(struct making *m, int n)
{
	const struct tni_creds_spec *spec = m->spec;
	int passes = count_names(spec->key_pass_file);
	struct pair_files from = {.cert = nth_name(spec->cert, n),
				  .key = nth_name(spec->key ? spec->key : spec->cert, n),
				  .pass = nth_name(spec->key_pass_file, passes > 1 ? n : 0)};
	SSL_CTX *ctx;
	int rc = from.cert && from.key && (from.pass || !passes) ? context_for(m, n, &ctx) : no_memory();

	m->key = "cert";
	if (rc == 0)
		rc = read_pair(m, ctx, &from);
	free(from.cert);
	free(from.key);
	free(from.pass);
	return rc;
}

static int count_certs(struct making *m, int *count)
{
	int n = count_names(m->spec->cert), keys = count_names(m->spec->key);
	int passes = count_names(m->spec->key_pass_file);

	m->key = "cert";
	*count = n;
	if (n > TNI_CERTS_MAX)
		return tni_err(TN_EURL, "more than %d certificates", TNI_CERTS_MAX);
	if (n > 1 && !m->creds->server)
		return tni_err(TN_EURL, "a client has one certificate");
	if (keys && keys != n) {
		m->key = "key";
		return tni_err(TN_EURL, n ? "as many keys as certificates are needed"
					  : "a key needs its certificate: cert=FILE");
	}
	if (passes && passes != n && (passes > 1 || !n)) {
		m->key = "key-pass-file";
		return tni_err(TN_EURL, n ? "one file is needed, or as many as there are keys"
					  : "a passphrase needs its key: cert=FILE&key=FILE");
	}
	return 0;
}

static int read_certs(struct making *m)
{
	int n, rc = count_certs(m, &n);

	for (int i = 0; i < n && rc == 0; i++)
		rc = read_nth_pair(m, i);
	return rc;
}

static bool is_for(SSL_CTX *ctx, const char *name)
{
	X509 *cert = SSL_CTX_get0_certificate(ctx);

	return cert && tni_cert_is_host(name) && X509_check_host(cert, name, 0, TNI_CERT_HOST_FLAGS, NULL) == 1;
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
	struct tni_text text;
	int rc = tni_files_text(&m->creds->files, m->spec->ca, MAKES_CERT, TNI_FILE_WHOLE, &text);

	if (rc == 0 && tni_crl_is_in(text.data, text.len) && (!m->spec->crl || strcmp(m->spec->crl, m->spec->ca) != 0))
		return tni_err(TN_EURL, "%s holds a certificate revocation list, which only key crl reads: add crl=%s",
			       m->spec->ca, m->spec->ca);
	if (rc == 0)
		rc = tni_cert_parse(text.data, text.len, m->spec->ca, &certs);
	for (int i = 0; rc == 0 && i < sk_X509_num(certs); i++) {
		X509 *cert = sk_X509_value(certs, i);

		/*
		 * What a certificate says is worked out once and kept. Were it done at the first handshake, and without
		 * memory then, this authority would vouch for nobody for as long as it is in use.
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

static int trust_system_file(struct making *m, const char *file)
{
	X509_STORE *store = SSL_CTX_get_cert_store(m->creds->ctx);
	STACK_OF(X509) *certs = NULL;
	int rc = tni_cert_read(file, &certs);

	if (rc < 0) /* what is none is passed over, as OpenSSL does */
		return rc == -ENOMEM ? rc : 0;
	rc = 1;
	for (int i = 0; rc > 0 && i < sk_X509_num(certs); i++)
		if (!X509_STORE_add_cert(store, sk_X509_value(certs, i)))
			rc = no_memory();
	sk_X509_pop_free(certs, X509_free);
	return rc;
}

/* Names that c_rehash(1) makes: 8 digits of a hash, a dot, a number. */
static bool is_hash_name(const char *name)
{
	size_t len = strspn(name, "0123456789abcdef");

	return len == 8 && name[8] == '.' && name[9] && !name[9 + strspn(name + 9, "0123456789")];
}

static int trust_system_folder(struct making *m, const char *folder)
{
	int fd = tni_file_open(folder, TN_FILE_READ), rc = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while (rc >= 0 && (entry = readdir(dir))) {
		char path[PATH_MAX];

		if (is_hash_name(entry->d_name) &&
		    snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) < (int)sizeof(path))
			rc = trust_system_file(m, path);
	}
	closedir(dir);
	return rc < 0 ? rc : tni_files_note(&m->creds->files, folder, TNI_FILE_FOLDER);
}

/* OpenSSL reads the folder bit by bit, when a certificate has to be judged. A confined server could not: all of it is
 * read. */
static int trust_system(struct making *m)
{
	const char *file = secure_getenv(X509_get_default_cert_file_env());
	const char *folder = secure_getenv(X509_get_default_cert_dir_env());
	int rc;

	file = file ? file : X509_get_default_cert_file();
	rc = trust_system_file(m, file);
	if (rc > 0)
		rc = tni_files_note(&m->creds->files, file, TNI_FILE_WHOLE);
	return rc < 0 ? rc : trust_system_folder(m, folder ? folder : X509_get_default_cert_dir());
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
	if (creds->verifies && creds->server)
		return trust_system(m);
	if (creds->verifies && !SSL_CTX_set_default_verify_paths(creds->ctx))
		return tni_err(TN_EURL, "this system's authorities cannot be read: name yours with ca=FILE");
	return 0;
}

static int read_revocations(struct making *m)
{
	m->key = "crl";
	return m->spec->crl ? tni_revocation_read(m->creds, m->spec->crl) : 0;
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
	if (tni_files_note(&m->creds->files, file, TNI_FILE_LOG) < 0)
		return -ENOMEM;
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

static void set_tickets(SSL_CTX *ctx, const struct making *m)
{
	static const unsigned char name[] = "tenon";
	const struct tni_creds_spec *spec = m->spec;

	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (m->creds->server) {
		SSL_CTX_set_session_id_context(ctx, name, sizeof(name) - 1);
		tni_tickets_use(ctx);
		tni_hello_guard(ctx);
		SSL_CTX_set_max_cert_list(ctx, CERT_LIST_MAX);
	}
	if (!m->creds->server && spec->tickets && !spec->psk_file)
		tni_sessions_use(ctx);
	/* Tickets carry no pre-shared identity, which a resumed connection would lack. */
	if (spec->tickets == 0 || spec->psk_file)
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(ctx, spec->psk_file ? 0 : (size_t)spec->tickets);
}

static int new_context(struct making *m, SSL_CTX **out)
{
	SSL_CTX *ctx = SSL_CTX_new(method_of(m->creds->server, m->spec->datagrams));
	int rc;

	if (!ctx)
		return no_context();
	rc = SSL_CTX_set_app_data(ctx, (void *)m->creds) ? tni_algorithms_set(ctx, m->spec, &m->key) : no_memory();
	if (rc < 0) {
		SSL_CTX_free(ctx);
		return rc;
	}
	if (m->spec->datagrams)
		tni_dtls_context(ctx);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	set_tickets(ctx, m);
	*out = ctx;
	return 0;
}

static int set_psk(struct making *m)
{
	struct tni_text text;
	int rc;

	m->key = "psk-file";
	if (!m->spec->psk_file)
		return 0;
	rc = tni_files_text(&m->creds->files, m->spec->psk_file, "", TNI_FILE_WHOLE, &text);
	return rc < 0 ? rc : tni_psk_use(m->creds, m->spec->psk_file, &text);
}

static int set_name(struct making *m)
{
	m->key = "sni";
	if (!m->spec->sni)
		return 0;
	if (!tni_cert_is_host(m->spec->sni))
		return tni_err(TN_EURL, "'%.100s' is no server's name: it takes one whole name, as in www.example.com",
			       m->spec->sni);
	m->creds->sni = strdup(m->spec->sni);
	return m->creds->sni ? 0 : no_memory();
}

static int make(struct making *m)
{
	static int (*const steps[])(struct making * m) = {set_name,   read_pins, set_trust, read_revocations,
							  read_certs, set_alpn,  set_psk,   set_keylog};
	struct tni_creds *creds = m->creds;
	int rc = new_context(m, &creds->ctx);

	if (rc < 0)
		return rc;
	m->key = NULL;
	if (m->spec->ca && !(creds->ca = strdup(m->spec->ca)))
		return no_memory();
	if (creds->server && !m->spec->cert && !m->spec->psk_file)
		return tni_err(TN_EURL, "a TLS server needs a certificate: cert=FILE&key=FILE, or psk-file=FILE");
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && rc == 0; i++)
		rc = steps[i](m);
	tni_files_forget(&creds->files);
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
	tni_tickets_init(&m.creds->tickets);
	tni_sessions_init(&m.creds->sessions);
	rc = make(&m);
	if (rc < 0) {
		*culprit = rc == -ENOMEM ? NULL : m.key;
		tni_creds_unref(m.creds);
		return rc == -ENOMEM || rc == TN_ETLS ? rc : TN_EURL;
	}
	*out = m.creds;
	return 0;
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
	tni_files_free(&creds->files);
	tni_tickets_wipe(&creds->tickets);
	tni_sessions_free(&creds->sessions);
	tni_psk_free(creds);
	if (creds->keylog >= 0)
		close(creds->keylog);
	free(creds->alpn);
	free(creds->sni);
	free(creds->ca);
	free(creds);
}

/* ---- sets that are kept ---- */

/*
 * Reading a system's authorities takes milliseconds, as long as many handshakes. Clients' last few sets are kept for
 * the whole process, and servers' from when their URL was checked until it is opened.
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

/* Everything that a set depends on. */
static char *keys_text(const struct tni_creds_spec *s, bool server)
{
	const char *env = s->keylog || server ? NULL : secure_getenv("SSLKEYLOGFILE");
	const char *const texts[] = {s->cert, s->key,      s->key_pass_file, s->ca,     s->crl,     s->sni,     s->alpn,
				     s->pin,  s->psk_file, s->keylog,        s->groups, s->ciphers, s->sigalgs, env};
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	bool bad;

	if (!out)
		return NULL;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		fprintf(out, "%s\x1f", texts[i] ? texts[i] : "\x1e");
	fprintf(out, "%d %d %d %d %d %d", s->verify, s->min_version, s->max_version, s->tickets, s->datagrams, server);
	bad = ferror(out);
	if (fclose(out) != 0 || bad) {
		free(text);
		return NULL;
	}
	return text;
}

static struct kept *find_kept(const char *keys)
{
	for (int i = 0; i < KEPT_MAX; i++) {
		struct kept *k = &kept.list[i];

		if (k->keys && !strcmp(k->keys, keys) && !tni_files_stale(&k->creds->files))
			return k;
	}
	return NULL;
}

static void drop_kept(struct kept *k)
{
	free(k->keys);
	tni_creds_unref(k->creds);
	*k = (struct kept){0};
}

void tni_creds_forget(void)
{
	pthread_mutex_lock(&kept.lock);
	for (int i = 0; i < KEPT_MAX; i++)
		drop_kept(&kept.list[i]);
	pthread_mutex_unlock(&kept.lock);
}

/* Takes `keys`. A set that its files have outgrown gives way, otherwise the oldest. */
static struct kept *keep(char *keys, struct tni_creds *creds)
{
	struct kept *k = NULL;

	for (int i = 0; i < KEPT_MAX && !k; i++)
		if (kept.list[i].keys && !strcmp(kept.list[i].keys, keys))
			k = &kept.list[i];
	if (!k)
		k = &kept.list[kept.next++ % KEPT_MAX];
	drop_kept(k);
	*k = (struct kept){.keys = keys, .creds = tni_creds_ref(creds)};
	return k;
}

/* The kept set of these keys, or a new one, which is then kept. Gives a reference. */
static int get_kept(const struct tni_creds_spec *spec, bool server, struct tni_creds **creds, const char **culprit)
{
	char *keys = keys_text(spec, server);
	struct kept *k;
	int rc = 0;

	*culprit = NULL;
	if (!keys)
		return no_memory();
	k = find_kept(keys);
	if (k) {
		*creds = tni_creds_ref(k->creds);
		free(keys);
		return 0;
	}
	rc = creds_new(spec, server, creds, culprit);
	if (rc == 0)
		keep(keys, *creds);
	else
		free(keys);
	return rc;
}

int tni_creds_check(const struct tni_creds_spec *spec, bool server, const char **culprit)
{
	struct tni_creds *creds;
	int rc;

	pthread_mutex_lock(&kept.lock);
	rc = get_kept(spec, server, &creds, culprit);
	if (rc == 0)
		tni_creds_unref(creds);
	pthread_mutex_unlock(&kept.lock);
	return rc;
}

int tni_creds_dial(const struct tni_creds_spec *spec, struct tni_creds **creds, const char **culprit)
{
	int rc;

	pthread_mutex_lock(&kept.lock);
	rc = get_kept(spec, false, creds, culprit);
	pthread_mutex_unlock(&kept.lock);
	return rc;
}

/* Two servers never share a set: each watches its files by itself. */
int tni_creds_serve(const struct tni_creds_spec *spec, struct tni_creds **creds, const char **culprit)
{
	char *keys = keys_text(spec, true);
	struct kept *k;

	*creds = NULL;
	*culprit = NULL;
	if (!keys)
		return no_memory();
	pthread_mutex_lock(&kept.lock);
	k = find_kept(keys);
	if (k) {
		*creds = tni_creds_ref(k->creds);
		drop_kept(k);
	}
	pthread_mutex_unlock(&kept.lock);
	free(keys);
	return *creds ? 0 : creds_new(spec, true, creds, culprit);
}
