/*
 * Certificates that a stranger wrote, PEM or DER: read or refused with words that name the source; what is read has
 * texts that no terminal acts on, and can be held against any host.
 */
#include "secure/cert.h"
#include "tenon_cert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition) ((condition) ? (void)0 : broken(#condition, __LINE__))

static void broken(const char *what, int line)
{
	fprintf(stderr, "fuzz_cert.c:%d: does not hold: %s\n", line, what);
	abort();
}

static void check_text(const char *text, bool one_line)
{
	for (; *text; text++)
		CHECK(((unsigned char)*text >= ' ' && *text != 0x7f) || (!one_line && *text == '\n'));
}

static void check_texts(const struct tn_cert *cert)
{
	check_text(tn_cert_subject(cert), true);
	check_text(tn_cert_issuer(cert), true);
	check_text(tn_cert_serial(cert), true);
	check_text(tn_cert_key(cert), true);
	check_text(tn_cert_signature(cert), true);
	check_text(tn_cert_usage(cert), true);
	check_text(tn_cert_limits(cert), true);
	CHECK(strlen(tn_cert_fingerprint(cert)) == 64);
	check_text(tn_cert_words(cert), false);
	for (size_t i = 0; i < tn_cert_nnames(cert); i++)
		check_text(tn_cert_name(cert, i), true);
	CHECK(!tn_cert_name(cert, tn_cert_nnames(cert)));
}

static void check_answers(const struct tn_cert *cert)
{
	static const char *const hosts[] = {NULL, "localhost", "127.0.0.1", "[::1]", "a.example.com", ""};

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		int answer = tn_cert_check(cert, hosts[i]);

		CHECK(answer == 0 || (answer == TN_ECERT && *tn_errmsg()));
		if (answer < 0)
			check_text(tn_errmsg(), true);
	}
	CHECK(tn_cert_days_left(cert) >= 0 || tn_cert_check(cert, NULL) == TN_ECERT);
	tn_cert_is_authority(cert);
	tn_cert_is_from(cert, cert);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tn_cert *first = NULL;
	unsigned char pin[TNI_SHA256_LEN];
	char *text = malloc(size + 1);
	int err = tn_cert_parse(data, size, "fuzz", &first);

	CHECK(err == 0 ? first != NULL : (err == TN_EFORMAT || err == -ENOMEM) && strncmp(tn_errmsg(), "fuzz", 4) == 0);
	for (const struct tn_cert *cert = first; cert; cert = tn_cert_next(cert)) {
		check_texts(cert);
		check_answers(cert);
	}
	tn_cert_free(first);
	/* The same bytes as a host and as a pin */
	memcpy(text, data, size);
	text[size] = 0;
	tni_cert_is_ip(text, NULL);
	tni_cert_pin_parse(text, pin);
	CHECK(ERR_peek_error() == 0);
	free(text);
	return 0;
}
