#include "secure/issue.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include "base/err.h"
#include "secure/algorithms.h"
#include "secure/cert.h"
#include "secure/hosts.h"

#define DAY_S 86400L
#define EARLIER_S 3600L /* begins an hour ago: clocks of machines and containers differ */
#define CN_MAX 64       /* the standard's bound on a common name */
#define SERIAL_BITS 127

void tni_pair_free(struct tni_pair *pair)
{
	X509_free(pair->cert);
	EVP_PKEY_free(pair->key); /* which wipes it */
	*pair = (struct tni_pair){0};
}

/* ---- what all have ---- */

static bool set_serial(X509 *cert)
{
	BIGNUM *number = BN_new();
	bool done = number && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
		    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));

	BN_free(number);
	return done;
}

/* `until_s` 0: without a bound. */
static bool set_dates(X509 *cert, unsigned days, int64_t until_s)
{
	time_t now = time(NULL);
	int64_t end = (int64_t)now + (int64_t)days * DAY_S;

	if (until_s && end > until_s)
		end = until_s;
	return ASN1_TIME_set(X509_getm_notBefore(cert), now - EARLIER_S) &&
	       ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)end);
}

static bool set_subject(X509 *cert, const char *organization, const char *common)
{
	X509_NAME *name = X509_get_subject_name(cert);

	return X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8,
					  (const unsigned char *)organization, -1, -1, 0) == 1 &&
	       (!common || X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
						      (const unsigned char *)common, -1, -1, 0) == 1);
}

static bool add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool done;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&ctx);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	done = ext && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return done;
}

static bool begin(struct tni_pair *made, unsigned days, int64_t until_s)
{
	made->key = EVP_EC_gen("P-256");
	made->cert = made->key ? X509_new() : NULL;
	return made->cert && X509_set_version(made->cert, X509_VERSION_3) == 1 && set_serial(made->cert) &&
	       set_dates(made->cert, days, until_s) && X509_set_pubkey(made->cert, made->key) == 1;
}

static bool sign(struct tni_pair *made, const struct tni_pair *by)
{
	return X509_set_issuer_name(made->cert, X509_get_subject_name(by->cert)) == 1 &&
	       add_ext(made->cert, by->cert, NID_subject_key_identifier, "hash") &&
	       add_ext(made->cert, by->cert, NID_authority_key_identifier, "keyid:always") &&
	       X509_sign(made->cert, by->key, EVP_sha256()) > 0;
}

static int made_or(bool done, struct tni_pair *made)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());
	int err;

	if (done)
		return 0;
	err = tni_algorithms_exist();
	if (err == 0)
		err = tni_err(-ENOMEM, "cannot make a certificate: %s", why ? why : "out of memory");
	ERR_clear_error();
	tni_pair_free(made);
	return err;
}

/* ---- the three kinds ---- */

static bool add_limits(X509 *cert, const GENERAL_NAMES *hosts)
{
	NAME_CONSTRAINTS *limits = tni_hosts_limits(hosts);
	bool done = limits && X509_add1_ext_i2d(cert, NID_name_constraints, limits, 1, 0) == 1;

	NAME_CONSTRAINTS_free(limits);
	return done;
}

int tni_issue_authority(struct tni_pair *made, const GENERAL_NAMES *hosts, unsigned days)
{
	static const char who[] = "tenon development authority";
	unsigned char hash[TNI_SHA256_LEN];
	char common[sizeof(who) + 10] = "";
	bool done = begin(made, days, 0) && tni_cert_pin(made->cert, hash);

	/* Several in one trust store must not have one name */
	if (done)
		snprintf(common, sizeof(common), "%s %02x%02x%02x%02x", who, hash[0], hash[1], hash[2], hash[3]);
	done = done && set_subject(made->cert, who, common) &&
	       add_ext(made->cert, made->cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	       add_ext(made->cert, made->cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	       add_limits(made->cert, hosts) && sign(made, made);
	return made_or(done, made);
}

/* The first name that is short enough for a common name. People look there; programs look at the names. An address
 * would be held against what the authority may sign for as if it were a name. */
static const char *common_name(const GENERAL_NAMES *hosts, char out[CN_MAX + 1])
{
	for (int i = 0; i < sk_GENERAL_NAME_num(hosts); i++) {
		const GENERAL_NAME *host = sk_GENERAL_NAME_value(hosts, i);
		int len = host->type == GEN_DNS ? ASN1_STRING_length(host->d.dNSName) : CN_MAX + 1;

		if (len <= CN_MAX) {
			snprintf(out, CN_MAX + 1, "%.*s", len, (const char *)ASN1_STRING_get0_data(host->d.dNSName));
			return out;
		}
	}
	return NULL;
}

static bool add_leaf(struct tni_pair *made, const struct tni_pair *by, const char *purpose)
{
	return add_ext(made->cert, by->cert, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_ext(made->cert, by->cert, NID_key_usage, "critical,digitalSignature") &&
	       add_ext(made->cert, by->cert, NID_ext_key_usage, purpose);
}

int tni_issue_server(struct tni_pair *made, const struct tni_pair *by, GENERAL_NAMES *hosts, unsigned days)
{
	char common[CN_MAX + 1];
	bool done = begin(made, days, tni_cert_not_after(by->cert)) &&
		    X509_add1_ext_i2d(made->cert, NID_subject_alt_name, hosts, 0, 0) == 1;

	done = done && set_subject(made->cert, "tenon development", common_name(hosts, common)) &&
	       add_leaf(made, by, "serverAuth") && sign(made, by);
	return made_or(done, made);
}

int tni_issue_client(struct tni_pair *made, const struct tni_pair *by, unsigned days)
{
	bool done = begin(made, days, tni_cert_not_after(by->cert)) &&
		    set_subject(made->cert, "tenon development", "client") && add_leaf(made, by, "clientAuth") &&
		    sign(made, by);

	return made_or(done, made);
}

/* ---- as a peer sees it ---- */

int tni_issue_verify(X509 *cert, X509 *authority, const char *what)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	bool set = store && ctx && X509_STORE_add_cert(store, authority) == 1 &&
		   X509_STORE_CTX_init(ctx, store, cert, NULL) == 1 &&
		   X509_STORE_CTX_set_default(ctx, strcmp(what, "server") == 0 ? "ssl_server" : "ssl_client") == 1;
	int err = 0;

	if (!set)
		err = tni_err(-ENOMEM, "out of memory");
	else if (X509_verify_cert(ctx) != 1)
		err = tni_err(TN_ECERT, "%s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	ERR_clear_error();
	return err;
}
