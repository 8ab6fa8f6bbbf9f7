/* The certificates that were read together, as tenon_cert.h shows them to programs. */
#include "tenon_cert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>

#include "base/err.h"
#include "secure/cert.h"

#define NFIELDS (TNI_CERT_WORDS + 1)

struct tn_cert {
	struct tn_cert *next;
	X509 *x509;
	char *texts[NFIELDS];
	char **names;
	size_t nnames;
	bool failed; /* memory ran out while names were gathered */
};

static void add_name(const char *name, void *arg)
{
	struct tn_cert *cert = arg;
	char **grown = cert->failed ? NULL : realloc(cert->names, (cert->nnames + 1) * sizeof(*grown));

	if (grown) {
		cert->names = grown;
		grown[cert->nnames] = strdup(name);
		cert->failed = !grown[cert->nnames];
		cert->nnames += !cert->failed;
	} else {
		cert->failed = true;
	}
}

static void free_one(struct tn_cert *cert)
{
	for (size_t i = 0; i < NFIELDS; i++)
		free(cert->texts[i]);
	for (size_t i = 0; i < cert->nnames; i++)
		free(cert->names[i]);
	free(cert->names);
	X509_free(cert->x509);
	free(cert);
}

static struct tn_cert *new_one(X509 *x509)
{
	struct tn_cert *cert = calloc(1, sizeof(*cert));

	if (!cert)
		return NULL;
	X509_up_ref(x509);
	cert->x509 = x509;
	tni_cert_each_name(x509, add_name, cert);
	for (int i = 0; i < (int)NFIELDS && !cert->failed; i++)
		cert->failed = !(cert->texts[i] = tni_cert_text(x509, (enum tni_cert_field)i));
	if (cert->failed) {
		free_one(cert);
		return NULL;
	}
	return cert;
}

/* Takes the list. */
static int chain_of(STACK_OF(X509) * list, const char *name, struct tn_cert **first)
{
	struct tn_cert *chain = NULL, **end = &chain;
	int count = sk_X509_num(list), i;

	for (i = 0; i < count && (*end = new_one(sk_X509_value(list, i))); i++)
		end = &(*end)->next;
	sk_X509_pop_free(list, X509_free);
	if (i == count) {
		*first = chain;
		return 0;
	}
	tn_cert_free(chain);
	return tni_err(-ENOMEM, "%s: out of memory", name);
}

int tn_cert_read(const char *file, struct tn_cert **cert)
{
	STACK_OF(X509) * list;
	int err = tni_cert_read(file, &list);

	return err < 0 ? err : chain_of(list, file, cert);
}

int tn_cert_parse(const void *data, size_t len, const char *name, struct tn_cert **cert)
{
	STACK_OF(X509) * list;
	int err = tni_cert_parse(data, len, name, &list);

	return err < 0 ? err : chain_of(list, name, cert);
}

void tn_cert_free(struct tn_cert *cert)
{
	while (cert) {
		struct tn_cert *next = cert->next;

		free_one(cert);
		cert = next;
	}
}

const struct tn_cert *tn_cert_next(const struct tn_cert *cert)
{
	return cert->next;
}

const char *tn_cert_subject(const struct tn_cert *cert)
{
	return cert->texts[TNI_CERT_SUBJECT];
}

const char *tn_cert_issuer(const struct tn_cert *cert)
{
	return cert->texts[TNI_CERT_ISSUER];
}

const char *tn_cert_serial(const struct tn_cert *cert)
{
	return cert->texts[TNI_CERT_SERIAL];
}

const char *tn_cert_key(const struct tn_cert *cert)
{
	return cert->texts[TNI_CERT_KEY];
}

const char *tn_cert_signature(const struct tn_cert *cert)
{
	return cert->texts[TNI_CERT_SIGNATURE];
}

const char *tn_cert_usage(const struct tn_cert *cert)
{
	return cert->texts[TNI_CERT_USAGE];
}

const char *tn_cert_limits(const struct tn_cert *cert)
{
	return cert->texts[TNI_CERT_LIMITS];
}

const char *tn_cert_fingerprint(const struct tn_cert *cert)
{
	return cert->texts[TNI_CERT_FINGERPRINT];
}

const char *tn_cert_pin(const struct tn_cert *cert)
{
	return cert->texts[TNI_CERT_PIN];
}

const char *tn_cert_words(const struct tn_cert *cert)
{
	return cert->texts[TNI_CERT_WORDS];
}

size_t tn_cert_nnames(const struct tn_cert *cert)
{
	return cert->nnames;
}

const char *tn_cert_name(const struct tn_cert *cert, size_t index)
{
	return index < cert->nnames ? cert->names[index] : NULL;
}

int64_t tn_cert_begins(const struct tn_cert *cert)
{
	return tni_cert_not_before(cert->x509);
}

int64_t tn_cert_ends(const struct tn_cert *cert)
{
	return tni_cert_not_after(cert->x509);
}

int64_t tn_cert_days_left(const struct tn_cert *cert)
{
	return tni_cert_days_left(cert->x509);
}

bool tn_cert_is_authority(const struct tn_cert *cert)
{
	return X509_get_extension_flags(cert->x509) & EXFLAG_CA;
}

bool tn_cert_is_from(const struct tn_cert *cert, const struct tn_cert *issuer)
{
	EVP_PKEY *key = X509_get0_pubkey(issuer->x509);
	bool is = X509_check_issued(issuer->x509, cert->x509) == X509_V_OK && key && X509_verify(cert->x509, key) == 1;

	ERR_clear_error();
	return is;
}

int tn_cert_check(const struct tn_cert *cert, const char *host)
{
	return tni_cert_check(cert->x509, host);
}
