#include "secure/cert.h"

#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>

#include "base/err.h"

#define LINE_NAMES 6 /* as many names stand in a line for a message */
#define DAY_S 86400

/* ---- what may be printed ---- */

/* Bytes that begin a UTF-8 character which a terminal acts on: C1 controls, and the marks that reorder text. */
static size_t acts_on_terminal(const unsigned char *s, size_t left)
{
	if (left >= 2 && s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0)
		return 2;
	if (left < 3 || s[0] != 0xe2)
		return 0;
	if (s[1] == 0x80 && (s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xa8 && s[2] <= 0xae)))
		return 3;
	return s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9 ? 3 : 0;
}

/* `ascii`: anything else stands as \xHH, and so do spaces and commas, which separate names in a list. */
static void add_printable(BIO *out, const void *data, size_t len, bool ascii)
{
	const unsigned char *s = data;

	for (size_t i = 0; i < len;) {
		size_t acts = acts_on_terminal(s + i, len - i), step = acts ? 0 : tni_utf8_size(s + i, len - i);
		bool plain = step == 1 ? s[i] >= 0x20 && s[i] < 0x7f : step > 1 && !ascii;

		if (ascii && (s[i] == ' ' || s[i] == ','))
			plain = false;
		if (plain)
			BIO_write(out, s + i, (int)step);
		else
			BIO_printf(out, "\\x%02X", s[i]);
		i += plain ? step : 1;
	}
}

/* The text gathered in a memory BIO, which is freed. */
static char *text_of(BIO *bio)
{
	char *data = NULL, *text = NULL;
	long len = bio ? BIO_get_mem_data(bio, &data) : -1;

	if (len >= 0 && (text = malloc((size_t)len + 1))) {
		if (len > 0)
			memcpy(text, data, (size_t)len);
		text[len] = 0;
	}
	BIO_free(bio);
	return text;
}

/* ---- names ---- */

static void add_ipv6(BIO *out, const unsigned char *ip)
{
	unsigned group[8];
	int zeros = 0, from = -1;

	for (int i = 0; i < 8; i++)
		group[i] = (unsigned)ip[2 * i] << 8 | ip[2 * i + 1];
	/* The first longest run of two zero groups or more is written as :: (RFC 5952) */
	for (int i = 0, run = 0; i < 8; i++) {
		run = group[i] ? 0 : run + 1;
		if (run > 1 && run > zeros) {
			zeros = run;
			from = i - run + 1;
		}
	}
	for (int i = 0; i < 8; i++) {
		if (i == from) {
			BIO_puts(out, "::");
			i += zeros - 1;
			continue;
		}
		BIO_printf(out, "%s%x", i == 0 || i == from + zeros ? "" : ":", group[i]);
	}
}

/* An address or, in an authority's limits, an address and its mask. */
static void add_ip(BIO *out, const ASN1_OCTET_STRING *ip)
{
	const unsigned char *bytes = ASN1_STRING_get0_data(ip);
	int len = ASN1_STRING_length(ip), bits = 0;

	if (len == 4 || len == 8)
		BIO_printf(out, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
	else if (len == 16 || len == 32)
		add_ipv6(out, bytes);
	else
		BIO_printf(out, "IP:(%d bytes)", len);
	if (len != 8 && len != 32)
		return;
	for (int i = len / 2; i < len; i++)
		bits += __builtin_popcount(bytes[i]);
	BIO_printf(out, "/%d", bits);
}

static void add_dn(BIO *out, const X509_NAME *name)
{
	static const unsigned long how = XN_FLAG_SEP_CPLUS_SPC | XN_FLAG_FN_SN | XN_FLAG_DN_REV |
					 XN_FLAG_DUMP_UNKNOWN_FIELDS | (ASN1_STRFLGS_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
	BIO *raw = BIO_new(BIO_s_mem());
	char *data = NULL;
	long len = 0;

	if (raw && X509_NAME_print_ex(raw, name, 0, how) >= 0)
		len = BIO_get_mem_data(raw, &data);
	if (len > 0)
		add_printable(out, data, (size_t)len, false);
	else
		BIO_puts(out, "(no name)");
	BIO_free(raw);
}

static void add_ia5(BIO *out, const char *prefix, const ASN1_IA5STRING *text)
{
	BIO_puts(out, prefix);
	add_printable(out, ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text), true);
}

static void add_general_name(BIO *out, const GENERAL_NAME *name)
{
	switch (name->type) {
	case GEN_DNS:
		add_ia5(out, "", name->d.dNSName);
		break;
	case GEN_IPADD:
		add_ip(out, name->d.iPAddress);
		break;
	case GEN_URI:
		add_ia5(out, "URI:", name->d.uniformResourceIdentifier);
		break;
	case GEN_EMAIL:
		add_ia5(out, "email:", name->d.rfc822Name);
		break;
	case GEN_DIRNAME:
		BIO_puts(out, "name:");
		add_dn(out, name->d.directoryName);
		break;
	default:
		BIO_puts(out, "other:(of a kind that is no host)");
	}
}

void tni_cert_each_name(X509 *cert, void (*fn)(const char *name, void *arg), void *arg)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		BIO *bio = BIO_new(BIO_s_mem());
		char *text;

		if (bio)
			add_general_name(bio, sk_GENERAL_NAME_value(names, i));
		text = text_of(bio);
		if (text)
			fn(text, arg);
		free(text);
	}
	GENERAL_NAMES_free(names);
}

static void add_names(BIO *out, X509 *cert, int at_most)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int count = sk_GENERAL_NAME_num(names);

	for (int i = 0; i < count && i < at_most; i++) {
		BIO_puts(out, i ? ", " : "");
		add_general_name(out, sk_GENERAL_NAME_value(names, i));
	}
	if (count > at_most)
		BIO_printf(out, " and %d more", count - at_most);
	GENERAL_NAMES_free(names);
}

static void add_subtrees(BIO *out, const char *title, const STACK_OF(GENERAL_SUBTREE) * trees)
{
	for (int i = 0; i < sk_GENERAL_SUBTREE_num(trees); i++) {
		BIO_puts(out, i ? ", " : title);
		add_general_name(out, sk_GENERAL_SUBTREE_value(trees, i)->base);
	}
}

static void add_limits(BIO *out, X509 *cert)
{
	NAME_CONSTRAINTS *limits = X509_get_ext_d2i(cert, NID_name_constraints, NULL, NULL);

	if (limits) {
		add_subtrees(out, "", limits->permittedSubtrees);
		add_subtrees(out, limits->permittedSubtrees ? "; never " : "never ", limits->excludedSubtrees);
	}
	NAME_CONSTRAINTS_free(limits);
}

/* ---- dates ---- */

static int64_t seconds_of(const ASN1_TIME *time)
{
	struct tm tm;

	return time && ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : INT64_MIN;
}

int64_t tni_cert_not_before(X509 *cert)
{
	return seconds_of(X509_get0_notBefore(cert));
}

int64_t tni_cert_not_after(X509 *cert)
{
	return seconds_of(X509_get0_notAfter(cert));
}

static int64_t days_until(int64_t when)
{
	int64_t left = when == INT64_MIN ? -1 : when - (int64_t)time(NULL);

	return left >= 0 ? left / DAY_S : -((-left + DAY_S - 1) / DAY_S);
}

int64_t tni_cert_days_left(X509 *cert)
{
	return days_until(tni_cert_not_after(cert));
}

static void add_time(BIO *out, int64_t when, const char *format)
{
	char text[40];
	time_t seconds = (time_t)when;
	struct tm tm;

	if (when == INT64_MIN || !gmtime_r(&seconds, &tm) || !strftime(text, sizeof(text), format, &tm))
		BIO_puts(out, "(no date that can be read)");
	else
		BIO_puts(out, text);
}

/* "365 days", "1 day", "3 hours": of a positive time. */
static void add_span(BIO *out, int64_t seconds)
{
	int64_t count = seconds / DAY_S;
	const char *unit = "day";

	if (count == 0) {
		count = seconds / 3600;
		unit = "hour";
	}
	if (count == 0) {
		count = seconds / 60;
		unit = "minute";
	}
	BIO_printf(out, "%lld %s%s", (long long)count, unit, count == 1 ? "" : "s");
}

/* How the dates stand to now: "365 days left", "expired 3 days ago", "begins in 2 hours". */
static void add_standing(BIO *out, X509 *cert)
{
	int64_t from = tni_cert_not_before(cert), until = tni_cert_not_after(cert), now = (int64_t)time(NULL);

	if (from == INT64_MIN || until == INT64_MIN) {
		BIO_puts(out, "never valid");
	} else if (now < from) {
		BIO_puts(out, "begins in ");
		add_span(out, from - now);
	} else if (now > until) {
		BIO_puts(out, "expired ");
		add_span(out, now - until);
		BIO_puts(out, " ago");
	} else {
		add_span(out, until - now);
		BIO_puts(out, " left");
	}
}

static void add_dates(BIO *out, X509 *cert, const char *format)
{
	BIO_puts(out, "valid from ");
	add_time(out, tni_cert_not_before(cert), format);
	BIO_puts(out, " to ");
	add_time(out, tni_cert_not_after(cert), format);
	BIO_puts(out, " (");
	add_standing(out, cert);
	BIO_puts(out, ")");
}

/* ---- keys and hashes ---- */

static void add_key(BIO *out, X509 *cert)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	const char *kind = key ? EVP_PKEY_get0_type_name(key) : NULL, *nist;
	char group[64] = "";

	if (!kind) {
		BIO_puts(out, "of a kind unknown here");
	} else if (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1) {
		nist = EC_curve_nid2nist(OBJ_sn2nid(group));
		BIO_printf(out, "%s %s", kind, nist ? nist : group);
	} else {
		BIO_printf(out, "%s %d bits", kind, EVP_PKEY_get_bits(key));
	}
}

static void add_hex(BIO *out, const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		BIO_printf(out, "%02x", bytes[i]);
}

static void add_hash(BIO *out, X509 *cert, bool (*hash)(X509 *, unsigned char *))
{
	unsigned char bytes[TNI_SHA256_LEN];

	if (hash(cert, bytes))
		add_hex(out, bytes, sizeof(bytes));
	else
		BIO_puts(out, "(none)");
}

bool tni_cert_fingerprint(X509 *cert, unsigned char hash[TNI_SHA256_LEN])
{
	return X509_digest(cert, EVP_sha256(), hash, NULL) == 1;
}

bool tni_cert_pin(X509 *cert, unsigned char hash[TNI_SHA256_LEN])
{
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	bool done = len > 0 && EVP_Digest(der, (size_t)len, hash, NULL, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	return done;
}

static bool pin_hex(const char *text, unsigned char *hash)
{
	size_t n = 0;

	for (; *text && n < TNI_SHA256_LEN; n++) {
		char pair[3] = {text[0], text[0] ? text[1] : 0, 0};

		if (!isxdigit((unsigned char)pair[0]) || !isxdigit((unsigned char)pair[1]))
			return false;
		hash[n] = (unsigned char)strtoul(pair, NULL, 16);
		text += 2;
		text += *text == ':' && text[1];
	}
	return n == TNI_SHA256_LEN && !*text;
}

int tni_cert_pin_parse(const char *text, unsigned char hash[TNI_SHA256_LEN])
{
	static const char prefix[] = "sha256//";
	unsigned char bytes[TNI_SHA256_LEN + 1]; /* 44 letters decode to 33 bytes, of which the last is padding */

	if (strncmp(text, prefix, sizeof(prefix) - 1) == 0) {
		text += sizeof(prefix) - 1;
		if (strlen(text) == 44 && text[42] != '=' && text[43] == '=' &&
		    EVP_DecodeBlock(bytes, (const unsigned char *)text, 44) == sizeof(bytes)) {
			memcpy(hash, bytes, TNI_SHA256_LEN);
			return 0;
		}
		ERR_clear_error();
	} else if (pin_hex(text, hash)) {
		return 0;
	}
	return tni_err(-EINVAL, "'%.100s' is no SHA-256 of a public key: 64 hexadecimal digits, or sha256//BASE64",
		       text);
}

static void add_serial(BIO *out, X509 *cert)
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *hex = number ? BN_bn2hex(number) : NULL;

	for (char *c = hex; c && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	BIO_puts(out, hex ? hex : "(none)");
	OPENSSL_free(hex);
	BN_free(number);
}

static void add_signature(BIO *out, X509 *cert)
{
	const char *name = OBJ_nid2sn(X509_get_signature_nid(cert));

	BIO_puts(out, name ? name : "of a kind unknown here");
}

static void add_usage(BIO *out, X509 *cert)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} usages[] = {{XKU_SSL_SERVER, "server"}, {XKU_SSL_CLIENT, "client"}, {XKU_SMIME, "e-mail"},
		      {XKU_CODE_SIGN, "code"},    {XKU_OCSP_SIGN, "OCSP"},    {XKU_TIMESTAMP, "time stamps"},
		      {XKU_ANYEKU, "any purpose"}};
	uint32_t flags = X509_get_extension_flags(cert), extended = X509_get_extended_key_usage(cert);
	const char *between = "";

	if (flags & EXFLAG_CA) {
		BIO_puts(out, "authority");
		between = ", ";
	}
	for (size_t i = 0; i < sizeof(usages) / sizeof(usages[0]) && (flags & EXFLAG_XKUSAGE); i++)
		if (extended & usages[i].bit) {
			BIO_printf(out, "%s%s", between, usages[i].name);
			between = ", ";
		}
	if (!*between)
		BIO_puts(out, flags & EXFLAG_XKUSAGE ? "none known here" : "any purpose");
}

/* ---- texts ---- */

static void add_line(BIO *out, X509 *cert)
{
	BIO_puts(out, "subject ");
	add_dn(out, X509_get_subject_name(cert));
	BIO_puts(out, ", issuer ");
	add_dn(out, X509_get_issuer_name(cert));
	BIO_puts(out, ", for ");
	if (X509_get_ext_by_NID(cert, NID_subject_alt_name, -1) < 0)
		BIO_puts(out, "no host");
	add_names(out, cert, LINE_NAMES);
	BIO_puts(out, ", ");
	add_dates(out, cert, "%Y-%m-%d");
}

static void add_field(BIO *out, X509 *cert, enum tni_cert_field field);

static void add_words(BIO *out, X509 *cert)
{
	static const struct {
		enum tni_cert_field field;
		const char *title;
	} items[] = {
		{TNI_CERT_SUBJECT, "subject"},       {TNI_CERT_ISSUER, "issuer"},
		{TNI_CERT_NAMES, "names"},           {TNI_CERT_LIMITS, "signs for"},
		{TNI_CERT_USAGE, "usage"},           {TNI_CERT_KEY, "key"},
		{TNI_CERT_SIGNATURE, "signed with"}, {TNI_CERT_SERIAL, "serial"},
		{TNI_CERT_FINGERPRINT, "SHA-256"},   {TNI_CERT_PIN, "pin"},
	};

	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		if ((items[i].field == TNI_CERT_LIMITS && X509_get_ext_by_NID(cert, NID_name_constraints, -1) < 0) ||
		    (items[i].field == TNI_CERT_NAMES && X509_get_ext_by_NID(cert, NID_subject_alt_name, -1) < 0))
			continue;
		BIO_printf(out, "%-12s ", items[i].title);
		add_field(out, cert, items[i].field);
		BIO_puts(out, "\n");
		if (items[i].field != TNI_CERT_USAGE)
			continue;
		BIO_printf(out, "%-12s ", "dates");
		add_dates(out, cert, "%Y-%m-%d %H:%M:%S UTC");
		BIO_puts(out, "\n");
	}
}

static void add_field(BIO *out, X509 *cert, enum tni_cert_field field)
{
	switch (field) {
	case TNI_CERT_SUBJECT:
		return add_dn(out, X509_get_subject_name(cert));
	case TNI_CERT_ISSUER:
		return add_dn(out, X509_get_issuer_name(cert));
	case TNI_CERT_NAMES:
		return add_names(out, cert, INT_MAX);
	case TNI_CERT_DATES:
		return add_dates(out, cert, "%Y-%m-%d");
	case TNI_CERT_SERIAL:
		return add_serial(out, cert);
	case TNI_CERT_KEY:
		return add_key(out, cert);
	case TNI_CERT_SIGNATURE:
		return add_signature(out, cert);
	case TNI_CERT_USAGE:
		return add_usage(out, cert);
	case TNI_CERT_LIMITS:
		return add_limits(out, cert);
	case TNI_CERT_FINGERPRINT:
		return add_hash(out, cert, tni_cert_fingerprint);
	case TNI_CERT_PIN:
		return add_hash(out, cert, tni_cert_pin);
	case TNI_CERT_LINE:
		return add_line(out, cert);
	case TNI_CERT_WORDS:
		return add_words(out, cert);
	}
}

char *tni_cert_text(X509 *cert, enum tni_cert_field field)
{
	BIO *bio = BIO_new(BIO_s_mem());

	if (bio)
		add_field(bio, cert, field);
	ERR_clear_error(); /* what a strange certificate left there is nobody's failure */
	return text_of(bio);
}

const char *tni_cert_write(X509 *cert, enum tni_cert_field field, char *out, size_t cap)
{
	char *text = tni_cert_text(cert, field);
	int len = snprintf(out, cap, "%s", text ? text : "(no memory)");

	if (len >= 0 && (size_t)len >= cap && cap > 4)
		memcpy(out + cap - 4, "...", 4);
	free(text);
	return out;
}

/* ---- held against a host ---- */

/* OpenSSL's reader lets spaces, signs and leading zeros (octal to others) pass. */
static ASN1_OCTET_STRING *read_ip(const char *text)
{
	const char *dot = strchr(text, '.'), *colon = strrchr(text, ':'), *first = colon ? colon + 1 : text;
	ASN1_OCTET_STRING *ip;

	if (text[strspn(text, "0123456789abcdefABCDEF:.")] ||
	    (dot && first[0] == '0' && isdigit((unsigned char)first[1])))
		return NULL;
	for (; dot; dot = strchr(dot + 1, '.'))
		if (dot[1] == '0' && isdigit((unsigned char)dot[2]))
			return NULL;
	ip = a2i_IPADDRESS(text);
	ERR_clear_error();
	return ip;
}

bool tni_cert_is_ip(const char *host, char ip[46])
{
	char text[46];
	size_t len = strcspn(host, "%");
	bool brackets = host[0] == '[' && host[strlen(host) - 1] == ']';
	ASN1_OCTET_STRING *parsed;

	if (brackets) {
		host++;
		len = strcspn(host, "%]");
	}
	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, host, len);
	text[len] = 0;
	parsed = read_ip(text);
	if (parsed && ip)
		memcpy(ip, text, len + 1);
	ASN1_OCTET_STRING_free(parsed);
	return parsed;
}

bool tni_cert_is_host(const char *name)
{
	size_t label = 0, len = strlen(name);

	if (tni_cert_is_ip(name, NULL))
		return true;
	for (size_t i = 0; i < len; i++) {
		if (name[i] == '*' || (name[i] == '.' && !label))
			return false;
		label = name[i] == '.' ? 0 : label + 1;
	}
	return len > 0 && len <= 254;
}

static bool is_for(X509 *cert, const char *host)
{
	char ip[46];
	size_t len = strlen(host);
	int answer;

	if (host[0] == '.') /* to OpenSSL a pattern for every name below */
		answer = 0;
	else if (tni_cert_is_ip(host, ip))
		answer = X509_check_ip_asc(cert, ip, 0);
	else /* "localhost." is the same host as "localhost" */
		answer = X509_check_host(cert, host, len > 1 && host[len - 1] == '.' ? len - 1 : len,
					 TNI_CERT_HOST_FLAGS, NULL);
	ERR_clear_error();
	return answer == 1;
}

static int refuse(X509 *cert, const char *what)
{
	char line[700];

	return tni_err(TN_ECERT, "%s: %s", what, tni_cert_write(cert, TNI_CERT_LINE, line, sizeof(line)));
}

int tni_cert_check(X509 *cert, const char *host)
{
	int64_t from = tni_cert_not_before(cert), until = tni_cert_not_after(cert), now = (int64_t)time(NULL);
	char what[160];

	if (from == INT64_MIN || until == INT64_MIN)
		return refuse(cert, "the certificate holds no dates that can be read");
	if (now > until)
		return refuse(cert, "the certificate has expired");
	if (now < from)
		return refuse(cert, "the certificate is not valid yet (is this machine's clock right?)");
	if (!host)
		return 0;
	if (!is_for(cert, host)) {
		snprintf(what, sizeof(what), "the certificate is not for %.100s", host);
		return refuse(cert, what);
	}
	if ((X509_get_extension_flags(cert) & EXFLAG_XKUSAGE) &&
	    !(X509_get_extended_key_usage(cert) & (XKU_SSL_SERVER | XKU_ANYEKU)))
		return refuse(cert, "the certificate is not one for servers");
	return 0;
}
