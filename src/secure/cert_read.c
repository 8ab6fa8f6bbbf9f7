/* Certificates and keys from files: what stands there is recognized, and what is wrong with it said. */
#include "secure/cert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "base/err.h"
#include "base/files.h"
#include "base/log.h"

#define MAKES_CERT " (`tenon cert new --out DIR` makes a certificate)"
#define MAKES_KEY " (`tenon cert new --out DIR` makes a key)"

/* ---- certificates ---- */

/* PEM's label, or DER's shape, of what is no certificate, in words with a remedy. */
static int no_certificate(const char *name, const char *label)
{
	if (strstr(label, "PRIVATE KEY"))
		return tni_err(TN_EFORMAT,
			       "%s holds a private key and no certificate: name the certificate's file "
			       "(often .pem or .crt)",
			       name);
	if (strstr(label, "CERTIFICATE REQUEST"))
		return tni_err(TN_EFORMAT, "%s holds a request for a certificate: an authority has yet to sign it",
			       name);
	if (strstr(label, "PKCS7") || strstr(label, "CMS"))
		return tni_err(TN_EFORMAT,
			       "%s is a PKCS #7 bundle. Try: openssl pkcs7 -in %s -print_certs -out CERT.pem", name,
			       name);
	if (strcmp(label, "PKCS12") == 0)
		return tni_err(TN_EFORMAT,
			       "%s is a PKCS #12 bundle. Try: openssl pkcs12 -in %s -nokeys -out CERT.pem, "
			       "and with -nocerts -noenc for the key",
			       name, name);
	if (*label)
		return tni_err(TN_EFORMAT, "%s holds a %.40s and no certificate", name, label);
	return tni_err(TN_EFORMAT, "%s holds no certificate: a PEM file has a line -----BEGIN CERTIFICATE-----", name);
}

/* All forms of private keys are a sequence whose first element is a number, which to try them all takes much longer to
 * see. */
static bool may_be_key(const unsigned char *data, size_t len)
{
	long object_len;
	int tag, class;

	return !(ASN1_get_object(&data, &object_len, &tag, &class, (long)len) & 0x80) && tag == V_ASN1_SEQUENCE &&
	       object_len > 0 && *data == V_ASN1_INTEGER;
}

/* What DER bytes are, as a PEM label would say it; "" for anything else. */
static const char *der_label(const unsigned char *data, size_t len)
{
	const unsigned char *at = data;
	PKCS12 *bundle = d2i_PKCS12(NULL, &at, (long)len);
	EVP_PKEY *key = NULL;
	const char *label = bundle ? "PKCS12" : "";

	at = data;
	if (!bundle && may_be_key(data, len) && (key = d2i_AutoPrivateKey(NULL, &at, (long)len)))
		label = "PRIVATE KEY";
	PKCS12_free(bundle);
	EVP_PKEY_free(key);
	return label;
}

static bool is_certificate(const char *label)
{
	return strcmp(label, PEM_STRING_X509) == 0 || strcmp(label, PEM_STRING_X509_OLD) == 0 ||
	       strcmp(label, PEM_STRING_X509_TRUSTED) == 0;
}

static int damaged(const char *name, int number)
{
	ERR_clear_error();
	return tni_err(TN_EFORMAT, "%s: certificate %d is damaged: copy the file again, whole and as text", name,
		       number);
}

static int add_cert(STACK_OF(X509) * certs, const char *label, const unsigned char *der, long len, const char *name)
{
	const unsigned char *at = der;
	X509 *cert =
		strcmp(label, PEM_STRING_X509_TRUSTED) == 0 ? d2i_X509_AUX(NULL, &at, len) : d2i_X509(NULL, &at, len);

	if (!cert || at != der + len) {
		X509_free(cert);
		return damaged(name, sk_X509_num(certs) + 1);
	}
	if (sk_X509_push(certs, cert) > 0)
		return 0;
	X509_free(cert);
	return tni_err(-ENOMEM, "%s: out of memory", name);
}

/* Each PEM block; the label of the first that is no certificate is kept for the message. */
static int add_blocks(BIO *in, STACK_OF(X509) * certs, const char *name, char *other, size_t other_cap)
{
	char *label = NULL, *header = NULL;
	unsigned char *der = NULL;
	long len;
	int err = 0;

	while (err == 0 && PEM_read_bio(in, &label, &header, &der, &len) == 1) {
		if (is_certificate(label))
			err = add_cert(certs, label, der, len, name);
		else if (!*other)
			OPENSSL_strlcpy(other, label, other_cap);
		OPENSSL_free(label);
		OPENSSL_free(header);
		OPENSSL_clear_free(der, (size_t)len);
	}
	/* PEM_read_bio() ends with "no start line" where there is no block any more; all else is a damaged one */
	if (err == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		err = damaged(name, sk_X509_num(certs) + 1);
	ERR_clear_error();
	return err;
}

static int parse_der(const unsigned char *data, size_t len, const char *name, STACK_OF(X509) * certs)
{
	int err = len > 0 && data[0] == 0x30 ? add_cert(certs, "", data, (long)len, name) : TN_EFORMAT;

	if (err == TN_EFORMAT) {
		err = no_certificate(name, der_label(data, len));
		ERR_clear_error();
	}
	return err;
}

static int parse_into(const void *data, size_t len, const char *name, STACK_OF(X509) * certs)
{
	BIO *in;
	char other[64] = "";
	int err;

	if (len == 0)
		return tni_err(TN_EFORMAT, "%s is empty", name);
	if (!memmem(data, len, "-----BEGIN ", 11))
		return parse_der(data, len, name, certs);
	in = BIO_new_mem_buf(data, (int)len);
	if (!in)
		return tni_err(-ENOMEM, "%s: out of memory", name);
	err = add_blocks(in, certs, name, other, sizeof(other));
	BIO_free(in);
	return err == 0 && sk_X509_num(certs) == 0 ? no_certificate(name, other) : err;
}

int tni_cert_parse(const void *data, size_t len, const char *name, STACK_OF(X509) * *certs)
{
	STACK_OF(X509) *list = len <= TNI_FILE_MAX ? sk_X509_new_null() : NULL;
	int err;

	if (!list)
		return len > TNI_FILE_MAX
			       ? tni_err(TN_EFORMAT, "%s is too large for certificates (16 MiB at most)", name)
			       : tni_err(-ENOMEM, "%s: out of memory", name);
	err = parse_into(data, len, name, list);
	if (err < 0)
		sk_X509_pop_free(list, X509_free);
	else
		*certs = list;
	return err;
}

int tni_cert_read(const char *file, STACK_OF(X509) * *certs)
{
	struct tni_text in;
	int err = tni_text_read(file, MAKES_CERT, &in);

	if (err == 0)
		err = tni_cert_parse(in.data, in.len, file, certs);
	tni_text_free(&in);
	return err;
}

/* ---- revocation lists ---- */

bool tni_crl_is_in(const void *data, size_t len)
{
	return memmem(data, len, "-----BEGIN " PEM_STRING_X509_CRL, strlen("-----BEGIN " PEM_STRING_X509_CRL)) != NULL;
}

static int no_list(const char *name, size_t len)
{
	ERR_clear_error();
	return tni_err(TN_EFORMAT,
		       len ? "%s holds no certificate revocation list (CRL), or a damaged one" : "%s is empty", name);
}

static int give_list(X509_CRL *list, const char *name, int (*take)(X509_CRL *, void *), void *arg)
{
	const ASN1_TIME *next = X509_CRL_get0_nextUpdate(list);
	int err = take(list, arg);

	if (err == 0 && next && X509_cmp_current_time(next) < 0)
		tni_log(true, "%s: a revocation list in it has expired: the certificates of its issuer will be refused",
			name);
	X509_CRL_free(list);
	return err;
}

static int each_block(BIO *in, const char *name, int (*take)(X509_CRL *, void *), void *arg)
{
	X509_CRL *list;
	int count = 0, err = 0;

	for (; err == 0 && (list = PEM_read_bio_X509_CRL(in, NULL, NULL, NULL)); count++)
		err = give_list(list, name, take, arg);
	if (err == 0 && (!count || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE))
		err = no_list(name, 1);
	ERR_clear_error();
	return err;
}

int tni_crl_parse(const void *data, size_t len, const char *name, int (*take)(X509_CRL *list, void *arg), void *arg)
{
	const unsigned char *at = data;
	X509_CRL *list;
	BIO *in;
	int err;

	if (!len || !memmem(data, len, "-----BEGIN ", 11)) {
		list = len ? d2i_X509_CRL(NULL, &at, (long)len) : NULL;
		return list ? give_list(list, name, take, arg) : no_list(name, len);
	}
	in = BIO_new_mem_buf(data, (int)len);
	if (!in)
		return tni_err(-ENOMEM, "%s: out of memory", name);
	err = each_block(in, name, take, arg);
	BIO_free(in);
	return err;
}

/* ---- keys ---- */

struct lock {
	const char *pass; /* NULL: there is none */
	bool asked;
};

/* Without a passphrase OpenSSL would ask the terminal. A server that waits there for somebody is down. */
static int give_passphrase(char *out, int cap, int writing, void *arg)
{
	struct lock *lock = arg;
	size_t len = lock->pass ? strlen(lock->pass) : 0;

	(void)writing;
	lock->asked = true;
	if (!lock->pass || len > (size_t)cap)
		return -1;
	memcpy(out, lock->pass, len);
	return (int)len;
}

static int locked_key(const char *name, const struct lock *lock)
{
	if (lock->pass)
		return tni_err(TN_EFORMAT, "the passphrase (key-pass-file) does not open the key in %s", name);
	return tni_err(
		TN_EFORMAT,
		"the key in %s is locked with a passphrase: name a file that holds it with key-pass-file=FILE, or "
		"unlock the key: openssl pkey -in %s -out UNLOCKED.key",
		name, name);
}

static int no_key(const char *name, const struct tni_text *in, const struct lock *lock)
{
	if (in->len == 0)
		return tni_err(TN_EFORMAT, "%s is empty", name);
	if (lock->asked)
		return locked_key(name, lock);
	if (memmem(in->data, in->len, "PRIVATE KEY-----", 16))
		return tni_err(TN_EFORMAT, "%s: the private key is damaged or of a kind unknown here", name);
	if (memmem(in->data, in->len, "-----BEGIN CERTIFICATE", 22))
		return tni_err(TN_EFORMAT,
			       "%s holds a certificate and no private key: name the key's file (often .key)", name);
	if (memmem(in->data, in->len, "PUBLIC KEY-----", 15))
		return tni_err(TN_EFORMAT, "%s holds a public key; what is needed is the private one", name);
	return tni_err(TN_EFORMAT, "%s holds no private key: a PEM file has a line -----BEGIN PRIVATE KEY-----", name);
}

/* DER: a key as it is, or one locked as PKCS #8 has it. */
static EVP_PKEY *parse_der_key(const struct tni_text *in, BIO *bio, struct lock *lock)
{
	const unsigned char *at = in->data;
	X509_SIG *locked;
	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)in->len);

	if (key)
		return key;
	at = in->data;
	locked = d2i_X509_SIG(NULL, &at, (long)in->len);
	if (locked)
		key = d2i_PKCS8PrivateKey_bio(bio, NULL, give_passphrase, lock);
	X509_SIG_free(locked);
	return key;
}

static EVP_PKEY *parse_key(const struct tni_text *in, struct lock *lock)
{
	BIO *bio = BIO_new_mem_buf(in->data, (int)in->len);
	EVP_PKEY *key = NULL;

	if (bio && memmem(in->data, in->len, "-----BEGIN ", 11))
		key = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, lock);
	else if (bio)
		key = parse_der_key(in, bio, lock);
	BIO_free(bio);
	ERR_clear_error();
	return key;
}

int tni_cert_parse_key(const struct tni_text *in, const char *name, const char *pass, EVP_PKEY **key)
{
	struct lock lock = {.pass = pass};

	*key = in->len > 0 ? parse_key(in, &lock) : NULL;
	if (!*key)
		return no_key(name, in, &lock);
	if (in->mode & S_IROTH && !lock.asked)
		tni_log(true, "%s: every user of this machine may read this private key (chmod 600 %s)", name, name);
	return 0;
}

int tni_cert_read_key(const char *file, EVP_PKEY **key)
{
	struct tni_text in;
	int err = tni_text_read(file, MAKES_KEY, &in);

	if (err == 0)
		err = tni_cert_parse_key(&in, file, NULL, key);
	tni_text_free(&in);
	return err;
}

int tni_cert_key_fits(X509 *cert, const char *cert_file, EVP_PKEY *key, const char *key_file)
{
	int fits = X509_check_private_key(cert, key);

	ERR_clear_error();
	if (fits == 1)
		return 0;
	return tni_err(TN_EFORMAT,
		       "the key in %s does not belong to the certificate in %s: they were made for different "
		       "keys",
		       key_file, cert_file);
}
