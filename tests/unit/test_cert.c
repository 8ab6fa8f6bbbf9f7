/* Certificates in words, read from memory and files, held against hosts, and made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/log.h"
#include "secure/cert.h"
#include "secure/hosts.h"
#include "secure/issue.h"
#include "tenon_cert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#define DAY 86400L

/* ---- made by hand, so that anything can stand in them ---- */

static EVP_PKEY *key;

static int set_up(void **state)
{
	(void)state;
	key = EVP_EC_gen("P-256");
	return key ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	EVP_PKEY_free(key);
	return 0;
}

static GENERAL_NAME *general(int type, const void *data, int len)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *value = type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();

	assert_true(name && value && ASN1_STRING_set(value, data, len));
	GENERAL_NAME_set0_value(name, type, value);
	return name;
}

struct made {
	const char *common;
	long from, until;     /* seconds from now */
	GENERAL_NAMES *names; /* taken */
	const char *purpose;
};

static X509 *make(struct made what)
{
	X509 *cert = X509_new();
	X509_NAME *subject = X509_get_subject_name(cert);
	X509_EXTENSION *ext = what.purpose ? X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, what.purpose) : NULL;

	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 0xabc);
	X509_gmtime_adj(X509_getm_notBefore(cert), what.from);
	X509_gmtime_adj(X509_getm_notAfter(cert), what.until);
	X509_set_pubkey(cert, key);
	if (what.common)
		X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, (const unsigned char *)what.common,
					   -1, -1, 0);
	X509_set_issuer_name(cert, subject);
	if (what.names)
		assert_int_equal(X509_add1_ext_i2d(cert, NID_subject_alt_name, what.names, 0, 0), 1);
	if (ext)
		X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	GENERAL_NAMES_free(what.names);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	return cert;
}

static GENERAL_NAMES *hosts_of(const char *first, const char *second)
{
	const char *hosts[] = {first, second};
	GENERAL_NAMES *names;

	assert_int_equal(tni_hosts_parse(hosts, second ? 2 : 1, &names), 0);
	return names;
}

static void assert_field(X509 *cert, enum tni_cert_field field, const char *expected)
{
	char *text = tni_cert_text(cert, field);

	assert_string_equal(text, expected);
	free(text);
}

/* ---- words ---- */

static void test_words(void **state)
{
	X509 *cert = make(
		(struct made){"localhost", -DAY, 10 * DAY + 60, hosts_of("localhost", "::1"), "serverAuth,clientAuth"});
	char *line = tni_cert_text(cert, TNI_CERT_LINE), *words = tni_cert_text(cert, TNI_CERT_WORDS);

	(void)state;
	assert_field(cert, TNI_CERT_SUBJECT, "CN=localhost");
	assert_field(cert, TNI_CERT_NAMES, "localhost, ::1");
	assert_field(cert, TNI_CERT_SERIAL, "0abc");
	assert_field(cert, TNI_CERT_KEY, "EC P-256");
	assert_field(cert, TNI_CERT_SIGNATURE, "ecdsa-with-SHA256");
	assert_field(cert, TNI_CERT_USAGE, "server, client");
	assert_field(cert, TNI_CERT_LIMITS, "");
	assert_int_equal(tni_cert_days_left(cert), 10);
	assert_non_null(strstr(line, "subject CN=localhost, issuer CN=localhost, for localhost, ::1, valid from "));
	assert_non_null(strstr(line, "(10 days left)"));
	assert_null(strchr(line, '\n'));
	assert_non_null(strstr(words, "\nkey          EC P-256\n"));
	assert_int_equal(words[strlen(words) - 1], '\n');
	free(line);
	free(words);
	X509_free(cert);
}

static void test_dates_in_words(void **state)
{
	static const struct {
		long from, until;
		const char *words;
		int64_t days_left;
	} rows[] = {
		{-DAY, DAY + 60, "(1 day left)", 1},
		{-DAY, 2 * 3600 + 60, "(2 hours left)", 0},
		{-DAY, 150, "(2 minutes left)", 0},
		{-9 * DAY, -3 * DAY - 60, "(expired 3 days ago)", -4},
		{-9 * DAY, -90, "(expired 1 minute ago)", -1},
		{2 * DAY + 60, 9 * DAY + 60, "(begins in 2 days)", 9},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		X509 *cert = make((struct made){"x", rows[i].from, rows[i].until, NULL, NULL});
		char *text = tni_cert_text(cert, TNI_CERT_DATES);

		assert_non_null(strstr(text, rows[i].words));
		assert_int_equal(tni_cert_days_left(cert), rows[i].days_left);
		free(text);
		X509_free(cert);
	}
}

static void test_a_date_that_cannot_be_read(void **state)
{
	X509 *cert = make((struct made){"x", -DAY, DAY, NULL, NULL});
	ASN1_TIME *when = X509_getm_notAfter(cert);

	(void)state;
	ASN1_STRING_set(when, "991332000000Z", 13);
	assert_true(tni_cert_not_after(cert) == INT64_MIN);
	assert_true(tni_cert_days_left(cert) < 0);
	assert_int_equal(tni_cert_check(cert, NULL), TN_ECERT);
	assert_non_null(strstr(tn_errmsg(), "no dates that can be read"));
	X509_free(cert);
}

/* Nothing that a stranger wrote acts on a terminal, ends a line or passes for another name. */
static void test_hostile_text(void **state)
{
	static const char esc[] = "a\033[2J\x7f", nul[] = "good.example\0.evil.example",
			  list[] = "a.example, b.example";
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	X509 *cert;
	char *words;

	(void)state;
	sk_GENERAL_NAME_push(names, general(GEN_DNS, nul, sizeof(nul) - 1));
	sk_GENERAL_NAME_push(names, general(GEN_DNS, list, sizeof(list) - 1));
	sk_GENERAL_NAME_push(names, general(GEN_URI, esc, sizeof(esc) - 1));
	sk_GENERAL_NAME_push(names, general(GEN_EMAIL, "\xff\xfe", 2));
	sk_GENERAL_NAME_push(names, general(GEN_IPADD, "abc", 3));
	cert = make((struct made){"caf\xc3\xa9 \xe2\x80\xae\xc2\x9b\n", -DAY, DAY, names, NULL});
	assert_field(
		cert, TNI_CERT_NAMES,
		"good.example\\x00.evil.example, a.example\\x2C\\x20b.example, URI:a\\x1B[2J\\x7F, email:\\xFF\\xFE, "
		"IP:(3 bytes)");
	assert_field(cert, TNI_CERT_SUBJECT, "CN=caf\xc3\xa9 \\xE2\\x80\\xAE\\xC2\\x9B\\0A");
	words = tni_cert_text(cert, TNI_CERT_WORDS);
	for (const char *c = words; *c; c++)
		assert_true(*c == '\n' || ((unsigned char)*c >= 0x20 && *c != 0x7f));
	assert_int_equal(tni_cert_check(cert, "good.example"), TN_ECERT);
	free(words);
	X509_free(cert);
}

static void test_ipv6_as_text(void **state)
{
	static const char *const rows[][2] = {
		{"::", "::"},
		{"::1", "::1"},
		{"1::", "1::"},
		{"2001:DB8:0:0:1:0:0:2", "2001:db8::1:0:0:2"},
		{"1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"},
		{"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
		{"fe80::a0", "fe80::a0"},
		{"::ffff:1.2.3.4", "::ffff:102:304"},
		{"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
		{"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		X509 *cert = make((struct made){"x", -DAY, DAY, hosts_of(rows[i][0], NULL), NULL});

		assert_field(cert, TNI_CERT_NAMES, rows[i][1]);
		X509_free(cert);
	}
}

static void test_a_buffer_too_small(void **state)
{
	X509 *cert = make((struct made){"localhost", -DAY, DAY, NULL, NULL});
	char small[12];

	(void)state;
	assert_string_equal(tni_cert_write(cert, TNI_CERT_SUBJECT, small, sizeof(small)), "CN=local...");
	assert_string_equal(tni_cert_write(cert, TNI_CERT_KEY, small, sizeof(small)), "EC P-256");
	X509_free(cert);
}

static void test_many_names(void **state)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	char name[40], *line;
	X509 *cert;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "host-%d.example", i);
		sk_GENERAL_NAME_push(names, general(GEN_DNS, name, (int)strlen(name)));
	}
	cert = make((struct made){"x", -DAY, DAY, names, NULL});
	line = tni_cert_text(cert, TNI_CERT_LINE);
	assert_non_null(strstr(line, "host-5.example and 994 more"));
	assert_int_equal(tni_cert_check(cert, "host-999.example"), 0);
	free(line);
	X509_free(cert);
}

/* ---- hosts ---- */

static void test_check_host(void **state)
{
	static const struct {
		const char *host;
		int answer;
	} rows[] = {
		{"api.example", 0},
		{"API.Example", 0},
		{"api.example.", 0},
		{"x.example", TN_ECERT},
		{"a.wild.example", 0},
		{"wild.example", TN_ECERT},
		{"a.b.wild.example", TN_ECERT},
		{"", TN_ECERT},
		{"192.0.2.1", 0},
		{"192.0.2.2", TN_ECERT},
		{"::1", 0},
		{"[::1]", 0},
		{"0:0:0:0:0:0:0:1", 0},
		{"::2", TN_ECERT},
		{"fe80::1%eth0", 0},
		{"[fe80::1%25eth0]", 0},
		{"common.example", TN_ECERT},
		{"192.0.2.1.", TN_ECERT},
	};
	const char *hosts[] = {"api.example", "*.wild.example", "192.0.2.1", "::1", "fe80::1"};
	GENERAL_NAMES *names;
	X509 *cert;

	(void)state;
	assert_int_equal(tni_hosts_parse(hosts, 5, &names), 0);
	cert = make((struct made){"common.example", -DAY, DAY, names, NULL});
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(tni_cert_check(cert, rows[i].host), rows[i].answer);
	tni_cert_check(cert, "x.example");
	assert_non_null(strstr(tn_errmsg(), "the certificate is not for x.example: subject CN=common.example"));
	assert_non_null(strstr(tn_errmsg(), "for api.example, *.wild.example, 192.0.2.1, ::1, fe80::1"));
	assert_int_equal(ERR_peek_error(), 0);
	X509_free(cert);
}

static void test_a_common_name_is_no_host(void **state)
{
	X509 *cert = make((struct made){"localhost", -DAY, DAY, NULL, NULL});

	(void)state;
	assert_int_equal(tni_cert_check(cert, NULL), 0);
	assert_int_equal(tni_cert_check(cert, "localhost"), TN_ECERT);
	assert_non_null(strstr(tn_errmsg(), "for no host"));
	X509_free(cert);
}

static void test_check_dates_and_purpose(void **state)
{
	static const struct {
		long from, until;
		const char *purpose, *why;
	} rows[] = {
		{-2 * DAY, -DAY, NULL, "has expired"},
		{DAY, 2 * DAY, NULL, "not valid yet"},
		{-DAY, DAY, "clientAuth", "not one for servers"},
		{-DAY, DAY, "serverAuth", NULL},
		{-DAY, DAY, "anyExtendedKeyUsage", NULL},
		{-DAY, DAY, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		X509 *cert = make(
			(struct made){"x", rows[i].from, rows[i].until, hosts_of("a.example", NULL), rows[i].purpose});

		assert_int_equal(tni_cert_check(cert, "a.example"), rows[i].why ? TN_ECERT : 0);
		if (rows[i].why)
			assert_non_null(strstr(tn_errmsg(), rows[i].why));
		X509_free(cert);
	}
}

static void test_hosts_that_are_none(void **state)
{
	static const struct {
		const char *host, *why;
	} rows[] = {
		{"", "is empty"},
		{"a..b", "empty label"},
		{".a", "empty label"},
		{"-a", "dash"},
		{"a-.b", "dash"},
		{"*", "elsewhere"},
		{"a.*.b", "elsewhere"},
		{"a*.b.c", "elsewhere"},
		{"**.b.c", "elsewhere"},
		{"*.com", "top level"},
		{"*..b", "empty label"},
		{"1.2.3", "no IPv4"},
		{"1.2.3.256", "no IPv4"},
		{"1", "no IPv4"},
		{"1.2.3.4.5", "no IPv4"},
		{"a.5", "no IPv4"},
		{"localhost:80", "no port"},
		{"tls://a", "no scheme"},
		{":::", "no IPv6"},
		{"a b", "no host name has"},
		{"a\n", "no host name has"},
		{"a,b", "no host name has"},
		{"caf\xc3\xa9", "xn--"},
		{"fe80::1%eth0", "zone"},
		{"[::1", "no host name has"},
		{"[]", "no host name has"},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b", "63"},
	};
	char too_long[256] = "";
	GENERAL_NAMES *names;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(tni_hosts_parse(&rows[i].host, 1, &names), -EINVAL);
		assert_non_null(strstr(tn_errmsg(), rows[i].why));
	}
	for (int i = 0; i < 254; i++)
		too_long[i] = i % 2 ? '.' : 'a';
	assert_int_equal(tni_hosts_parse((const char *[]){too_long}, 1, &names), 0);
	GENERAL_NAMES_free(names);
	too_long[254] = 'a';
	assert_int_equal(tni_hosts_parse((const char *[]){too_long}, 1, &names), -EINVAL);
	assert_int_equal(tni_hosts_parse(NULL, 0, &names), -EINVAL);
}

static void test_each_host_once(void **state)
{
	const char *hosts[] = {"A.example", "a.EXAMPLE.", "::1", "[0::1]", "127.0.0.1", "127.0.0.1", "a_b.example"};
	GENERAL_NAMES *names;
	X509 *cert;

	(void)state;
	assert_int_equal(tni_hosts_parse(hosts, 7, &names), 0);
	cert = make((struct made){"x", -DAY, DAY, names, NULL});
	assert_field(cert, TNI_CERT_NAMES, "a.example, ::1, 127.0.0.1, a_b.example");
	X509_free(cert);
}

static void test_is_ip(void **state)
{
	char ip[46];

	(void)state;
	assert_true(tni_cert_is_ip("127.0.0.1", ip));
	assert_string_equal(ip, "127.0.0.1");
	assert_true(tni_cert_is_ip("[fe80::1%25eth0]", ip));
	assert_string_equal(ip, "fe80::1");
	assert_true(tni_cert_is_ip("::ffff:1.2.3.4", NULL));
	for (const char *const *none =
		     (const char *const[]){"", "localhost", "1.2.3", "[", "]", "[]", "%", "::1::", "1.2.3.4 ",
					   " 1.2.3.4", "1.2.3.+4", "01.2.3.4", "1.2.3.04", "::ffff:1.02.3.4",
					   "-1.2.3.4", "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2555", NULL};
	     *none; none++)
		assert_false(tni_cert_is_ip(*none, ip));
}

/* ---- hashes ---- */

static void test_hashes(void **state)
{
	X509 *cert = make((struct made){"x", -DAY, DAY, NULL, NULL});
	unsigned char *der = NULL, expected[32], got[32], again[32];
	char *hex;
	int len = i2d_X509(cert, &der);

	(void)state;
	assert_true(EVP_Digest(der, (size_t)len, expected, NULL, EVP_sha256(), NULL));
	assert_true(tni_cert_fingerprint(cert, got));
	assert_memory_equal(got, expected, 32);
	OPENSSL_free(der);
	der = NULL;
	len = i2d_PUBKEY(key, &der);
	assert_true(EVP_Digest(der, (size_t)len, expected, NULL, EVP_sha256(), NULL));
	assert_true(tni_cert_pin(cert, got));
	assert_memory_equal(got, expected, 32);
	OPENSSL_free(der);
	/* What is printed is what can be typed */
	hex = tni_cert_text(cert, TNI_CERT_PIN);
	assert_int_equal(tni_cert_pin_parse(hex, again), 0);
	assert_memory_equal(again, expected, 32);
	free(hex);
	X509_free(cert);
}

static void test_pins(void **state)
{
	/* 32 bytes 0x00 ... 0x1f in each way of writing them */
	static const char *const good[] = {
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
	};
	static const char *const bad[] = {
		"",
		"00",
		"sha256//",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh==",
		"sha256//****",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1",
		"sha1//AAECAwQ=",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f:",
		"0g0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=AAAA",
		"sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd*h8=",
	};
	unsigned char hash[32];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		memset(hash, 0xff, sizeof(hash));
		assert_int_equal(tni_cert_pin_parse(good[i], hash), 0);
		for (unsigned char n = 0; n < 32; n++)
			assert_int_equal(hash[n], n);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(tni_cert_pin_parse(bad[i], hash), -EINVAL);
}

/* ---- reading ---- */

static size_t add_pem(char *out, size_t cap, size_t at, X509 *cert, EVP_PKEY *secret)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long len;

	if (cert)
		assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
	if (secret)
		assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, secret, NULL, NULL, 0, NULL, NULL), 1);
	len = BIO_get_mem_data(bio, &data);
	assert_true(at + (size_t)len < cap);
	memcpy(out + at, data, (size_t)len);
	BIO_free(bio);
	return at + (size_t)len;
}

static void test_a_chain_with_a_key_between(void **state)
{
	X509 *one = make((struct made){"one", -DAY, DAY, hosts_of("a.example", "::1"), NULL});
	X509 *two = make((struct made){"two", -DAY, DAY, NULL, NULL});
	char pem[8192] = "words before\n";
	size_t len = add_pem(pem, sizeof(pem), strlen(pem), one, key);
	struct tn_cert *chain;

	(void)state;
	len = add_pem(pem, sizeof(pem), len, two, NULL);
	assert_int_equal(tn_cert_parse(pem, len, "memory", &chain), 0);
	assert_string_equal(tn_cert_subject(chain), "CN=one");
	assert_int_equal(tn_cert_nnames(chain), 2);
	assert_string_equal(tn_cert_name(chain, 0), "a.example");
	assert_string_equal(tn_cert_name(chain, 1), "::1");
	assert_null(tn_cert_name(chain, 2));
	assert_int_equal(tn_cert_check(chain, "[::1]"), 0);
	assert_string_equal(tn_cert_subject(tn_cert_next(chain)), "CN=two");
	assert_null(tn_cert_next(tn_cert_next(chain)));
	assert_true(tn_cert_is_from(chain, chain));
	assert_false(tn_cert_is_from(chain, tn_cert_next(chain)));
	tn_cert_free(chain);
	X509_free(one);
	X509_free(two);
}

/* Torn at every byte: never a crash, never half a certificate, always words with the name. */
static void torn_everywhere(const unsigned char *data, size_t len)
{
	struct tn_cert *cert = NULL;

	for (size_t cut = 0; cut < len; cut++) {
		/* A copy of its own length, so that reading behind it is seen by a sanitizer */
		unsigned char *part = malloc(cut ? cut : 1);

		assert_non_null(part);
		memcpy(part, data, cut);
		if (tn_cert_parse(part, cut, "torn", &cert) == 0) {
			/* Only what stands behind the last dash may be missing */
			assert_true(cut >= len - 1);
			tn_cert_free(cert);
		} else {
			assert_memory_equal(tn_errmsg(), "torn", 4);
		}
		assert_int_equal(ERR_peek_error(), 0);
		free(part);
	}
}

static void test_torn(void **state)
{
	X509 *cert = make((struct made){"x", -DAY, DAY, hosts_of("a.example", NULL), NULL});
	unsigned char *der = NULL;
	char pem[4096];
	size_t pem_len = add_pem(pem, sizeof(pem), 0, cert, NULL);
	int der_len = i2d_X509(cert, &der);
	struct tn_cert *whole;

	(void)state;
	assert_int_equal(tn_cert_parse(der, (size_t)der_len, "der", &whole), 0);
	assert_string_equal(tn_cert_subject(whole), "CN=x");
	tn_cert_free(whole);
	torn_everywhere(der, (size_t)der_len);
	torn_everywhere((unsigned char *)pem, pem_len);
	OPENSSL_free(der);
	X509_free(cert);
}

static void test_der_with_a_tail(void **state)
{
	X509 *cert = make((struct made){"x", -DAY, DAY, NULL, NULL});
	unsigned char *der = NULL, longer[4096] = {0};
	int len = i2d_X509(cert, &der);
	struct tn_cert *read;

	(void)state;
	memcpy(longer, der, (size_t)len);
	assert_int_equal(tn_cert_parse(longer, (size_t)len + 1, "tail", &read), TN_EFORMAT);
	OPENSSL_free(der);
	X509_free(cert);
}

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/tenon-cert.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

static const char *path(const char *name)
{
	static char paths[4][128];
	static int next;
	char *out = paths[next++ % 4];

	snprintf(out, sizeof(paths[0]), "%s/%s", folder, name);
	return out;
}

static void write_file(const char *name, const void *data, size_t len, mode_t mode)
{
	int fd = open(path(name), O_WRONLY | O_CREAT | O_TRUNC, mode);

	assert_true(fd >= 0 && fchmod(fd, mode) == 0 && write(fd, data, len) == (ssize_t)len);
	close(fd);
}

static void test_files_that_are_none(void **state)
{
	static const struct {
		const char *content, *cert_why, *key_why;
	} rows[] = {
		{"", "is empty", "is empty"},
		{"hello", "holds no certificate", "holds no private key"},
		{"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "a PUBLIC KEY and no certificate",
		 "a public key"},
		{"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "has yet to sign",
		 "no private key"},
		{"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", "openssl pkcs7", "no private key"},
		{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 is damaged",
		 "a certificate and no"},
		{"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n", "certificate 1 is damaged",
		 "a certificate and no"},
		{"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a private key and no",
		 "is damaged"},
		{"0\x82\xff\xff", "holds no certificate", "holds no private key"},
	};
	STACK_OF(X509) * certs;
	EVP_PKEY *read;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		write_file("f", rows[i].content, strlen(rows[i].content), 0600);
		assert_int_equal(tni_cert_read(path("f"), &certs), TN_EFORMAT);
		assert_non_null(strstr(tn_errmsg(), rows[i].cert_why));
		assert_non_null(strstr(tn_errmsg(), path("f")));
		assert_int_equal(tni_cert_read_key(path("f"), &read), TN_EFORMAT);
		assert_non_null(strstr(tn_errmsg(), rows[i].key_why));
		assert_non_null(strstr(tn_errmsg(), path("f")));
		assert_int_equal(ERR_peek_error(), 0);
	}
	assert_int_equal(tni_cert_read(path("missing"), &certs), -ENOENT);
	assert_non_null(strstr(tn_errmsg(), "tenon cert new"));
	assert_int_equal(tni_cert_read_key(folder, &read), -EISDIR);
}

static void count_log(bool important, const char *text, void *arg)
{
	assert_true(important);
	assert_non_null(strstr(text, "chmod 600"));
	++*(int *)arg;
}

static void test_keys(void **state)
{
	X509 *cert = make((struct made){"x", -DAY, DAY, NULL, NULL});
	EVP_PKEY *other = EVP_EC_gen("P-256"), *read = NULL;
	char pem[4096];
	size_t len = add_pem(pem, sizeof(pem), 0, cert, key);
	int warned = 0;

	(void)state;
	tn_set_log(count_log, &warned);
	write_file("both", pem, len, 0640); /* certificate and key in one file; a group that was given access */
	assert_int_equal(tni_cert_read_key(path("both"), &read), 0);
	assert_int_equal(warned, 0);
	assert_int_equal(tni_cert_key_fits(cert, "a.pem", read, "a.key"), 0);
	assert_int_equal(tni_cert_key_fits(cert, "a.pem", other, "b.key"), TN_EFORMAT);
	assert_non_null(strstr(tn_errmsg(), "the key in b.key does not belong to the certificate in a.pem"));
	EVP_PKEY_free(read);
	write_file("open", pem, len, 0604);
	assert_int_equal(tni_cert_read_key(path("open"), &read), 0);
	assert_int_equal(warned, 1);
	tn_set_log(NULL, NULL);
	EVP_PKEY_free(read);
	EVP_PKEY_free(other);
	X509_free(cert);
}

static void test_a_locked_key(void **state)
{
	static const unsigned char phrase[] = "open sesame";
	BIO *bio = BIO_new_file(path("locked"), "w");
	EVP_PKEY *read;

	(void)state;
	assert_int_equal(
		PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_128_cbc(), (const char *)phrase, 11, NULL, NULL), 1);
	BIO_free(bio);
	assert_int_equal(tni_cert_read_key(path("locked"), &read), TN_EFORMAT);
	assert_non_null(strstr(tn_errmsg(), "locked with a passphrase"));
	/* The older form */
	bio = BIO_new_file(path("locked"), "w");
	assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, key, EVP_aes_128_cbc(), phrase, 11, NULL, NULL), 1);
	BIO_free(bio);
	assert_int_equal(tni_cert_read_key(path("locked"), &read), TN_EFORMAT);
	assert_non_null(strstr(tn_errmsg(), "locked with a passphrase"));
}

/* ---- making ---- */

static struct tn_cert *read_in(const char *name)
{
	struct tn_cert *cert = NULL;

	assert_int_equal(tn_cert_read(path(name), &cert), 0);
	return cert;
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(stat(path(name), &st), 0);
	return st.st_mode & 07777;
}

/* Also where two hosts need the same one, or it is this machine's own, which is permitted anyway. */
static void test_each_name_is_permitted_once(void **state)
{
	const char *hosts[] = {"LOCALHOST", "dev.example", "*.dev.example", "127.1.2.3", "10.1.2.3", "10.1.2.3"};
	struct tn_cert *ca;

	(void)state;
	assert_int_equal(tn_cert_new(path("once"), hosts, 6, 30), 0);
	ca = read_in("once/ca.pem");
	assert_string_equal(tn_cert_limits(ca), "localhost, 127.0.0.0/8, ::1/128, dev.example, 10.1.2.3/32");
	tn_cert_free(ca);
}

static void test_new(void **state)
{
	const char *hosts[] = {"localhost", "*.dev.example", "10.1.2.3", "::1"};
	struct tn_cert *ca, *server, *client;
	EVP_PKEY *read;

	(void)state;
	assert_int_equal(tn_cert_new(path("d"), hosts, 4, 30), 0);
	ca = read_in("d/ca.pem");
	server = read_in("d/server.pem");
	client = read_in("d/client.pem");
	assert_true(tn_cert_is_authority(ca) && !tn_cert_is_authority(server) && !tn_cert_is_authority(client));
	assert_true(tn_cert_is_from(ca, ca) && tn_cert_is_from(server, ca) && tn_cert_is_from(client, ca));
	assert_false(tn_cert_is_from(ca, server));
	assert_string_equal(tn_cert_limits(ca), "localhost, 127.0.0.0/8, ::1/128, dev.example, 10.1.2.3/32");
	for (int i = 0; i < 4; i++)
		assert_int_equal(tn_cert_check(server, i == 1 ? "a.dev.example" : hosts[i]), 0);
	assert_int_equal(tn_cert_check(client, "localhost"), TN_ECERT);
	assert_string_equal(tn_cert_usage(server), "server");
	assert_string_equal(tn_cert_usage(client), "client");
	assert_true(tn_cert_days_left(server) == 30 || tn_cert_days_left(server) == 29);
	assert_true(tn_cert_days_left(ca) >= 3649);
	assert_string_not_equal(tn_cert_serial(server), tn_cert_serial(client));
	assert_string_not_equal(tn_cert_pin(server), tn_cert_pin(ca));
	for (int i = 0; i < 3; i++) {
		const char *const keys[] = {"d/ca.key", "d/server.key", "d/client.key"};

		assert_int_equal(mode_of(keys[i]), 0600);
		assert_int_equal(tni_cert_read_key(path(keys[i]), &read), 0);
		EVP_PKEY_free(read);
	}
	assert_int_equal(mode_of("d"), 0700);
	tn_cert_free(ca);
	tn_cert_free(server);
	tn_cert_free(client);
}

static void test_new_again(void **state)
{
	const char *host = "localhost", *below = "127.9.9.9", *other = "other.example";
	struct tn_cert *ca, *server;

	(void)state;
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 30), 0);
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 30), -EEXIST);
	assert_non_null(strstr(tn_errmsg(), "d/server.pem is there already"));
	unlink(path("d/server.pem"));
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 30), -EEXIST);
	assert_non_null(strstr(tn_errmsg(), "d/server.key is there already"));
	unlink(path("d/server.key"));
	assert_int_equal(tn_cert_new(path("d"), &other, 1, 30), TN_ECERT);
	assert_non_null(strstr(tn_errmsg(), "it was made for: localhost, 127.0.0.0/8, ::1/128"));
	assert_int_equal(access(path("d/server.key"), F_OK), -1);
	assert_int_equal(tn_cert_new(path("d"), &below, 1, 30), TN_CERT_KEPT_AUTHORITY | TN_CERT_KEPT_CLIENT);
	ca = read_in("d/ca.pem");
	server = read_in("d/server.pem");
	assert_true(tn_cert_is_from(server, ca));
	assert_int_equal(tn_cert_check(server, below), 0);
	tn_cert_free(ca);
	tn_cert_free(server);
}

static void test_new_beside_halves_and_strangers(void **state)
{
	const char *host = "localhost";
	X509 *plain = make((struct made){"x", -DAY, DAY, NULL, NULL});
	char pem[4096];
	size_t len = add_pem(pem, sizeof(pem), 0, plain, key);

	(void)state;
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 30), 0);
	unlink(path("d/server.pem"));
	unlink(path("d/server.key"));
	/* A client's of another authority, which no server here would accept */
	assert_int_equal(tn_cert_new(path("e"), &host, 1, 30), 0);
	assert_int_equal(rename(path("e/client.pem"), path("d/client.pem")), 0);
	assert_int_equal(rename(path("e/client.key"), path("d/client.key")), 0);
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 30), TN_ECERT);
	assert_non_null(strstr(tn_errmsg(), "d/client.pem cannot be kept"));
	assert_int_equal(access(path("d/server.pem"), F_OK), -1);
	unlink(path("d/client.key"));
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 30), -EEXIST);
	assert_non_null(strstr(tn_errmsg(), "d/client.pem is there without its client.key"));
	unlink(path("d/client.pem"));
	/* Files under an authority's name that are none */
	write_file("d/ca.pem", pem, len, 0644);
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 30), TN_EFORMAT);
	assert_non_null(strstr(tn_errmsg(), "does not belong"));
	write_file("d/ca.key", pem, len, 0600);
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 30), TN_ECERT);
	assert_non_null(strstr(tn_errmsg(), "may not sign"));
	unlink(path("d/ca.key"));
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 30), -EEXIST);
	assert_non_null(strstr(tn_errmsg(), "d/ca.pem is there without its ca.key"));
	X509_free(plain);
}

/* No certificate outlives the authority that signed it: nobody would accept it. */
static void test_dates_within_the_authoritys(void **state)
{
	const char *host = "localhost";
	GENERAL_NAMES *names = hosts_of(host, NULL);
	struct tni_pair ca = {0}, server = {0};

	(void)state;
	assert_int_equal(tni_issue_authority(&ca, names, 3), 0);
	assert_int_equal(tni_issue_server(&server, &ca, names, 365), 0);
	assert_true(tni_cert_not_after(server.cert) == tni_cert_not_after(ca.cert));
	assert_int_equal(tni_issue_verify(server.cert, ca.cert, "server"), 0);
	assert_int_equal(tni_issue_verify(server.cert, ca.cert, "client"), TN_ECERT);
	tni_pair_free(&server);
	tni_pair_free(&ca);
	GENERAL_NAMES_free(names);
}

static void test_new_refuses(void **state)
{
	const char *host = "localhost", *bad = "a b";

	(void)state;
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 0), -EINVAL);
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 36501), -EINVAL);
	assert_int_equal(tn_cert_new(path("d"), &bad, 1, 1), -EINVAL);
	assert_int_equal(tn_cert_new(path("d"), &host, 0, 1), -EINVAL);
	assert_int_equal(access(path("d"), F_OK), -1);
	assert_int_equal(tn_cert_new(path("missing/d"), &host, 1, 1), -ENOENT);
	write_file("file", "", 0, 0600);
	assert_int_equal(tn_cert_new(path("file"), &host, 1, 1), -ENOTDIR);
	assert_int_equal(tn_cert_new(path("d"), &host, 1, 36500), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_dates_in_words),
		cmocka_unit_test(test_a_date_that_cannot_be_read),
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_ipv6_as_text),
		cmocka_unit_test(test_a_buffer_too_small),
		cmocka_unit_test(test_many_names),
		cmocka_unit_test(test_check_host),
		cmocka_unit_test(test_a_common_name_is_no_host),
		cmocka_unit_test(test_check_dates_and_purpose),
		cmocka_unit_test(test_hosts_that_are_none),
		cmocka_unit_test(test_each_host_once),
		cmocka_unit_test(test_is_ip),
		cmocka_unit_test(test_hashes),
		cmocka_unit_test(test_pins),
		cmocka_unit_test(test_a_chain_with_a_key_between),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_der_with_a_tail),
		cmocka_unit_test_setup_teardown(test_files_that_are_none, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_keys, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_a_locked_key, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_new, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_each_name_is_permitted_once, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_new_again, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_new_beside_halves_and_strangers, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_dates_within_the_authoritys, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_new_refuses, make_folder, remove_folder),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
