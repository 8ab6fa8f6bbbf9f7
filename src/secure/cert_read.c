/* Certificates and keys from files: what stands there is recognized, and what is wrong with it said. */
#include "secure/cert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"

#define FILE_MAX (16L << 20) /* a system's whole list of authorities is some 220 KiB */

struct file {
	unsigned char *data;
	size_t len;
	mode_t mode;
};

static void file_free(struct file *file)
{
	if (file->data)
		OPENSSL_cleanse(file->data, file->len);
	free(file->data);
	*file = (struct file){0};
}

static int read_all(int fd, const char *name, struct file *file)
{
	struct stat st;
	size_t cap;

	if (fstat(fd, &st) < 0)
		return tni_err(-errno, "%s: %s", name, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return tni_err(-EISDIR, "%s is a directory: name the file in it", name);
	if (st.st_size > FILE_MAX)
		return tni_err(TN_EFORMAT, "%s is too large for certificates (16 MiB at most)", name);
	file->mode = S_ISREG(st.st_mode) ? st.st_mode : 0;
	/* A pipe (a shell's <(...)) has no size to go by */
	cap = S_ISREG(st.st_mode) ? (size_t)st.st_size + 1 : (size_t)FILE_MAX;
	file->data = malloc(cap);
	while (file->data && file->len < cap) {
		ssize_t got = read(fd, file->data + file->len, cap - file->len);

		if (got < 0 && errno != EINTR)
			return tni_err(-errno, "%s: %s", name, strerror(errno));
		if (got == 0)
			return 0;
		file->len += got > 0 ? (size_t)got : 0;
	}
	return file->data ? 0 : tni_err(-ENOMEM, "%s: out of memory", name);
}

static int file_read(const char *name, const char *what, struct file *file)
{
	int fd = tni_file_open(name, TN_FILE_READ), err;

	if (fd == -ENOENT)
		return tni_err(-ENOENT, "there is no file %s (`tenon cert new --out DIR` makes %s)", name, what);
	if (fd < 0)
		return tni_err(fd, "cannot read %s: %s", name, tn_strerror(fd));
	err = read_all(fd, name, file);
	close(fd);
	if (err < 0)
		file_free(file);
	return err;
}

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

/* All forms of private keys are a sequence whose first element is a number, which to try them all takes much longer to see. */
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
	STACK_OF(X509) *list = len <= FILE_MAX ? sk_X509_new_null() : NULL;
	int err;

	if (!list)
		return len > FILE_MAX ? tni_err(TN_EFORMAT, "%s is too large for certificates (16 MiB at most)", name)
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
	struct file in = {0};
	int err = file_read(file, "a certificate", &in);

	if (err == 0)
		err = tni_cert_parse(in.data, in.len, file, certs);
	file_free(&in);
	return err;
}

/* ---- keys ---- */

/* OpenSSL would ask the terminal. A server that waits there for somebody is down. */
static int no_passphrase(char *out, int cap, int writing, void *arg)
{
	(void)out, (void)cap, (void)writing;
	*(bool *)arg = true;
	return -1;
}

static int no_key(const char *name, const struct file *in, bool locked)
{
	if (in->len == 0)
		return tni_err(TN_EFORMAT, "%s is empty", name);
	if (locked)
		return tni_err(TN_EFORMAT,
			       "the key in %s is locked with a passphrase, which tenon does not ask for. "
			       "Try: openssl pkey -in %s -out UNLOCKED.key",
			       name, name);
	if (memmem(in->data, in->len, "PRIVATE KEY-----", 16))
		return tni_err(TN_EFORMAT, "%s: the private key is damaged or of a kind unknown here", name);
	if (memmem(in->data, in->len, "-----BEGIN CERTIFICATE", 22))
		return tni_err(TN_EFORMAT,
			       "%s holds a certificate and no private key: name the key's file (often .key)", name);
	if (memmem(in->data, in->len, "PUBLIC KEY-----", 15))
		return tni_err(TN_EFORMAT, "%s holds a public key; what is needed is the private one", name);
	return tni_err(TN_EFORMAT, "%s holds no private key: a PEM file has a line -----BEGIN PRIVATE KEY-----", name);
}

static EVP_PKEY *parse_key(const struct file *in, bool *locked)
{
	const unsigned char *at = in->data;
	EVP_PKEY *key = NULL;
	BIO *bio;

	if (!memmem(in->data, in->len, "-----BEGIN ", 11))
		return d2i_AutoPrivateKey(NULL, &at, (long)in->len);
	bio = BIO_new_mem_buf(in->data, (int)in->len);
	if (bio)
		key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, locked);
	BIO_free(bio);
	return key;
}

int tni_cert_read_key(const char *file, EVP_PKEY **key)
{
	struct file in = {0};
	bool locked = false;
	int err = file_read(file, "a key", &in);

	if (err < 0)
		return err;
	*key = in.len > 0 ? parse_key(&in, &locked) : NULL;
	ERR_clear_error();
	if (!*key)
		err = no_key(file, &in, locked);
	else if (in.mode & S_IROTH)
		tni_log(true, "%s: every user of this machine may read this private key (chmod 600 %s)", file, file);
	file_free(&in);
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
