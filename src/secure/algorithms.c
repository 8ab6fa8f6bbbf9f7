#include "secure/algorithms.h"

#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/provider.h>

/*
 * TLS 1.2: forward secrecy and authenticated encryption only. The suites of TLS 1.3 are all that. OpenSSL has one
 * cipher for pre-shared keys that is both.
 */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:kECDHEPSK+CHACHA20"

/* OpenSSL's own list without DSA and SHA-224, and so without the ciphers that take a DSA key. */
#define SIGNATURES                                                  \
	"ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:ed448:"     \
	"rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:" \
	"rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:RSA+SHA256:RSA+SHA384:RSA+SHA512"

/* A pre-shared key belongs to a hash, SHA-256: with a cipher of another TLS 1.3 would leave it aside. */
#define PSK_SUITES "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"

/* 112 bits: no keys that are shorter, no SHA-1. Debian's default; a system may ask for more, not for less. */
#define SECURITY_LEVEL 2

#define NAME_MAX_LEN 64

static int no_memory(void)
{
	ERR_clear_error();
	return tni_err(-ENOMEM, "TLS: out of memory");
}

/* ---- lists of names ---- */

/* The next name of a list with colons or commas between; what is left of it, or NULL behind the last. */
static const char *next_name(const char *list, char name[NAME_MAX_LEN])
{
	size_t len = strcspn(list, ":,"), part = len < NAME_MAX_LEN ? len : NAME_MAX_LEN - 1;

	memcpy(name, list, part);
	name[part] = '\0';
	return list[len] ? list + len + 1 : NULL;
}

/* Without the signs that have a meaning of their own to OpenSSL, such as @SECLEVEL=0. */
static bool is_plain(const char *name)
{
	for (size_t i = 0; name[i]; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("_-+.", name[i]))
			return false;
	return *name;
}

/* Whether there was room for it. */
static bool append(char *list, size_t cap, const char *name)
{
	size_t len = strlen(list);

	return (size_t)snprintf(list + len, cap - len, "%s%s", len ? ":" : "", name) < cap - len;
}

/* ---- groups ---- */

static bool has_group(SSL_CTX *ctx, const char *name)
{
	bool has = SSL_CTX_set1_groups_list(ctx, name);

	ERR_clear_error();
	return has;
}

/*
 * No finite fields: one share of ffdhe8192 costs its sender 1.2 KB and us 120 ms. Those that this OpenSSL does not have
 * are left out. The star asks for a key share (OpenSSL 3.5), or else there would be one of the first group alone.
 */
static bool set_own_groups(SSL_CTX *ctx)
{
	static const char *const hybrids[] = {"*X25519MLKEM768", "*X25519"};
	static const char *const curves[] = {"X25519", "P-256", "X448", "P-384", "P-521"};
	bool hybrid = has_group(ctx, hybrids[0]) && has_group(ctx, hybrids[1]);
	char list[128] = "";

	if (hybrid) {
		append(list, sizeof(list), hybrids[0]);
		append(list, sizeof(list), hybrids[1]);
	}
	for (size_t i = hybrid; i < sizeof(curves) / sizeof(curves[0]); i++)
		if (has_group(ctx, curves[i]))
			append(list, sizeof(list), curves[i]);
	return *list && SSL_CTX_set1_groups_list(ctx, list);
}

static int set_groups(SSL_CTX *ctx, const char *groups)
{
	char name[NAME_MAX_LEN], list[1024] = "";

	if (!groups)
		return set_own_groups(ctx) ? 0 : no_memory();
	for (const char *at = groups; at;) {
		at = next_name(at, name);
		if (!is_plain(name) || !has_group(ctx, name))
			return tni_err(TN_EURL,
				       "'%s' is no group that OpenSSL has; it takes names with colons between: "
				       "X25519:P-256:X448:P-384:P-521",
				       name);
		if (!append(list, sizeof(list), name))
			return tni_err(TN_EURL, "it is too long");
	}
	return SSL_CTX_set1_groups_list(ctx, list) ? 0 : no_memory();
}

/* ---- ciphers ---- */

static unsigned no_key_yet(SSL *ssl, const char *hint, char *identity, unsigned identity_max, unsigned char *key,
			   unsigned max)
{
	(void)ssl, (void)hint, (void)identity, (void)identity_max, (void)key, (void)max;
	return 0;
}

/* How many ciphers of this list could be used, of TLS 1.3 or of the versions before. */
static int count_usable(SSL_CTX *ctx, bool suites)
{
	SSL *ssl = SSL_new(ctx);
	STACK_OF(SSL_CIPHER) *list = ssl ? SSL_get1_supported_ciphers(ssl) : NULL;
	int count = 0;

	for (int i = 0; i < sk_SSL_CIPHER_num(list); i++)
		count += !strcmp(SSL_CIPHER_get_version(sk_SSL_CIPHER_value(list, i)), "TLSv1.3") == suites;
	sk_SSL_CIPHER_free(list);
	SSL_free(ssl);
	return count;
}

static bool is_suite(const char *name)
{
	return !strncmp(name, "TLS_", 4);
}

/* Asked of a context of its own: of lists OpenSSL leaves out what it does not know without a word. */
static bool has_cipher(const SSL_METHOD *method, const char *name)
{
	SSL_CTX *ctx = SSL_CTX_new(method);
	bool has = false;

	if (ctx) {
		SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
		SSL_CTX_set_psk_client_callback(ctx, no_key_yet);
		has = is_suite(name) ? SSL_CTX_set_ciphersuites(ctx, name) : SSL_CTX_set_cipher_list(ctx, name);
		has = has && count_usable(ctx, is_suite(name));
	}
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return has;
}

/* Sorts the names into those of TLS 1.3, which begin with TLS_, and those of the versions before. */
static int sort_ciphers(const SSL_METHOD *method, const char *ciphers, char *suites, char *others, size_t cap)
{
	char name[NAME_MAX_LEN];

	for (const char *at = ciphers; at;) {
		const char *bare = name;

		at = next_name(at, name);
		if (*bare == '!' || *bare == '-' || *bare == '+')
			bare++;
		if (!is_plain(bare) || (is_suite(bare) && bare != name) || !has_cipher(method, bare))
			return tni_err(
				TN_EURL,
				"'%s' is no cipher that is spoken here; it takes names of OpenSSL with colons between "
				"(see: openssl ciphers -v)",
				name);
		if (!append(is_suite(name) ? suites : others, cap, name))
			return tni_err(TN_EURL, "it is too long");
	}
	return 0;
}

/* A version for which no cipher is named keeps its own. */
static int set_ciphers(SSL_CTX *ctx, const SSL_METHOD *method, const struct tni_creds_spec *spec)
{
	char suites[1024] = "", others[1024] = "";
	int rc = spec->ciphers ? sort_ciphers(method, spec->ciphers, suites, others, sizeof(suites)) : 0;

	if (rc < 0)
		return rc;
	if (*suites ? !SSL_CTX_set_ciphersuites(ctx, suites)
		    : spec->psk_file && !SSL_CTX_set_ciphersuites(ctx, PSK_SUITES))
		return no_memory();
	if (!SSL_CTX_set_cipher_list(ctx, *others ? others : CIPHERS))
		return *others ? tni_err(TN_EURL, "it leaves no cipher") : no_memory();
	if (*others)
		SSL_CTX_set_dh_auto(ctx, 1); /* where the key ciphers names DHE; the default list has none */
	return 0;
}

/* ---- signatures ---- */

static int set_signatures(SSL_CTX *ctx, const char *names)
{
	char name[NAME_MAX_LEN], list[1024] = "";

	if (!names)
		return SSL_CTX_set1_sigalgs_list(ctx, SIGNATURES) ? 0 : no_memory();
	for (const char *at = names; at;) {
		at = next_name(at, name);
		if (!is_plain(name) || !SSL_CTX_set1_sigalgs_list(ctx, name)) {
			ERR_clear_error();
			return tni_err(
				TN_EURL,
				"'%s' is no signature algorithm that OpenSSL has; it takes names with colons between: "
				"ecdsa_secp256r1_sha256:ed25519:rsa_pss_rsae_sha256",
				name);
		}
		if (strcasestr(name, "sha1") || strcasestr(name, "sha224") || strcasestr(name, "dsa+") == name)
			return tni_err(TN_EURL, "'%s' is too weak: it takes SHA-256 and longer, and no DSA", name);
		if (!append(list, sizeof(list), name))
			return tni_err(TN_EURL, "it is too long");
	}
	return SSL_CTX_set1_sigalgs_list(ctx, list) ? 0 : no_memory();
}

/* ---- all of it ---- */

static int set_versions(SSL_CTX *ctx, const struct tni_creds_spec *spec)
{
	if (spec->datagrams)
		return 0;
	if (spec->max_version && spec->max_version < spec->min_version)
		return tni_err(TN_EURL, "it is older than tls-min allows");
	SSL_CTX_set_min_proto_version(ctx, spec->min_version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION);
	SSL_CTX_set_max_proto_version(ctx, spec->max_version == 12 ? TLS1_2_VERSION : 0);
	return 0;
}

/*
 * The server's order of ciphers holds, but that a client who wants ChaCha20 first has no fast AES and gets it.
 * Certificates are not taken compressed (RFC 8879): what they become is the sender's to choose.
 */
static void set_options(SSL_CTX *ctx)
{
	uint64_t options = SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
			   SSL_OP_PRIORITIZE_CHACHA;

#ifdef SSL_OP_NO_RX_CERTIFICATE_COMPRESSION
	options |= SSL_OP_NO_RX_CERTIFICATE_COMPRESSION | SSL_OP_NO_TX_CERTIFICATE_COMPRESSION;
#endif
	SSL_CTX_set_options(ctx, options);
	if (SSL_CTX_get_security_level(ctx) < SECURITY_LEVEL)
		SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
}

int tni_algorithms_set(SSL_CTX *ctx, const struct tni_creds_spec *spec, const char **key)
{
	const SSL_METHOD *method = spec->datagrams ? DTLS_client_method() : TLS_client_method();
	int rc;

	set_options(ctx);
	*key = "tls-max";
	rc = set_versions(ctx, spec);
	if (rc == 0) {
		*key = "groups";
		rc = set_groups(ctx, spec->groups);
	}
	if (rc == 0) {
		*key = "ciphers";
		rc = set_ciphers(ctx, method, spec);
	}
	if (rc == 0) {
		*key = "sigalgs";
		rc = set_signatures(ctx, spec->sigalgs);
	}
	return rc;
}

int tni_algorithms_exist(void)
{
	if (OSSL_PROVIDER_available(NULL, "default") || OSSL_PROVIDER_available(NULL, "fips"))
		return 0;
	return tni_err(TN_ETLS,
		       "OpenSSL has no algorithms: its configuration (OPENSSL_CONF, openssl.cnf) activates neither the "
		       "provider 'default' nor 'fips'");
}
