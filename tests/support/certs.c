#include "certs.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define MUST(what)                                                                         \
	do {                                                                               \
		if (!(what)) {                                                             \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #what); \
			abort();                                                           \
		}                                                                          \
	} while (0)

static FILE *open_file(const char *dir, const char *name, const char *suffix, const char *mode)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.%s", dir, name, suffix);
	file = fopen(path, mode);
	MUST(file);
	return file;
}

static void add(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	MUST(extension && X509_add_ext(cert, extension, -1));
	X509_EXTENSION_free(extension);
}

static X509 *new_cert(const char *name, EVP_PKEY *key, int from_days, int to_days)
{
	static long serial = 1000;
	X509 *cert = X509_new();

	MUST(cert && X509_set_version(cert, 2) && ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial));
	MUST(X509_gmtime_adj(X509_getm_notBefore(cert), from_days * 86400L));
	MUST(X509_gmtime_adj(X509_getm_notAfter(cert), to_days * 86400L));
	MUST(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8, (const unsigned char *)name,
					-1, -1, 0));
	MUST(X509_set_pubkey(cert, key));
	return cert;
}

static void write_pair(const char *dir, const char *name, X509 *cert, EVP_PKEY *key)
{
	FILE *file = open_file(dir, name, "pem", "w");

	MUST(PEM_write_X509(file, cert));
	fclose(file);
	file = open_file(dir, name, "key", "w");
	fchmod(fileno(file), 0600);
	MUST(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
	fclose(file);
}

void certs_make(const char *dir, const char *name, const char *issuer, const char *names, int from_days, int to_days)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *issuer_key = key;
	X509 *cert = new_cert(name, key, from_days, to_days), *issuer_cert = cert;
	FILE *file;

	if (issuer) {
		file = open_file(dir, issuer, "pem", "r");
		issuer_cert = PEM_read_X509(file, NULL, NULL, NULL);
		fclose(file);
		file = open_file(dir, issuer, "key", "r");
		issuer_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
		fclose(file);
	}
	MUST(X509_set_issuer_name(cert, X509_get_subject_name(issuer_cert)));
	add(cert, issuer_cert, NID_subject_key_identifier, "hash");
	if (names)
		add(cert, issuer_cert, NID_subject_alt_name, names);
	else
		add(cert, issuer_cert, NID_basic_constraints, "critical,CA:TRUE");
	MUST(X509_sign(cert, issuer_key, EVP_sha256()));
	write_pair(dir, name, cert, key);
	if (issuer) {
		X509_free(issuer_cert);
		EVP_PKEY_free(issuer_key);
	}
	X509_free(cert);
	EVP_PKEY_free(key);
}

void certs_remove(const char *dir)
{
	DIR *list = opendir(dir);
	struct dirent *entry;
	char path[512];

	while (list && (entry = readdir(list))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (entry->d_name[0] != '.')
			unlink(path);
	}
	if (list)
		closedir(list);
	rmdir(dir);
}
