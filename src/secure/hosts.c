#include "secure/hosts.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <openssl/err.h>

#include "base/err.h"
#include "secure/cert.h"

#define NAME_MAX_LEN 253
#define LABEL_MAX_LEN 63

/* ---- what a host may look like ---- */

/* Why these labels are no host name, or NULL. */
static const char *bad_labels(const char *name, size_t len)
{
	size_t label = 0;

	for (size_t i = 0; i <= len; i++) {
		unsigned char c = i < len ? (unsigned char)name[i] : '.';

		if (c != '.') {
			if (c >= 0x80)
				return "is not in ASCII: write it as DNS has it (xn--...)";
			if (c == ':')
				return "is no IPv6 address, and a name has no colon (no port, no scheme)";
			if (!isalnum(c) && c != '-' && c != '_')
				return "holds a character that no host name has";
			label++;
			continue;
		}
		if (label == 0)
			return "has an empty label";
		if (label > LABEL_MAX_LEN)
			return "has a label longer than 63 characters";
		if (name[i - label] == '-' || name[i - 1] == '-')
			return "has a label that begins or ends with a dash";
		label = 0;
	}
	return NULL;
}

/* A last label of digits is a mistyped address to everybody who reads it (RFC 1123, 2.1). */
static bool ends_in_number(const char *name, size_t len)
{
	size_t i = len;

	while (i > 0 && isdigit((unsigned char)name[i - 1]))
		i--;
	return i < len && (i == 0 || name[i - 1] == '.');
}

static const char *bad_name(const char *name, size_t len)
{
	bool wild = len > 2 && memcmp(name, "*.", 2) == 0;
	const char *rest = wild ? name + 2 : name;
	size_t rest_len = wild ? len - 2 : len;

	if (len == 0)
		return "is empty";
	if (len > NAME_MAX_LEN)
		return "is longer than 253 characters";
	if (memchr(rest, '*', rest_len))
		return "has a * elsewhere than as its whole first label (*.example.com)";
	if (wild && !memchr(rest, '.', rest_len))
		return "stands for a whole top level, which no client accepts (*.example.com is fine)";
	if (ends_in_number(rest, rest_len))
		return "is no IPv4 address, and a name does not end in a number";
	return bad_labels(rest, rest_len);
}

/* ---- names for certificates ---- */

static GENERAL_NAME *dns_name(const char *name, size_t len)
{
	GENERAL_NAME *made = GENERAL_NAME_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();
	char lower[NAME_MAX_LEN];

	for (size_t i = 0; i < len; i++)
		lower[i] = (char)tolower((unsigned char)name[i]);
	if (made && text && ASN1_STRING_set(text, lower, (int)len) == 1) {
		GENERAL_NAME_set0_value(made, GEN_DNS, text);
		return made;
	}
	ASN1_IA5STRING_free(text);
	GENERAL_NAME_free(made);
	return NULL;
}

/* Takes the address, which may be NULL. */
static GENERAL_NAME *ip_name(ASN1_OCTET_STRING *ip)
{
	GENERAL_NAME *made = ip ? GENERAL_NAME_new() : NULL;

	if (made)
		GENERAL_NAME_set0_value(made, GEN_IPADD, ip);
	else
		ASN1_OCTET_STRING_free(ip);
	return made;
}

static bool push(GENERAL_NAMES *names, GENERAL_NAME *name)
{
	if (name && sk_GENERAL_NAME_push(names, name) > 0)
		return true;
	GENERAL_NAME_free(name);
	return false;
}

/* Adds it unless it is there. */
static bool add_once(GENERAL_NAMES *names, GENERAL_NAME *name)
{
	for (int i = 0; name && i < sk_GENERAL_NAME_num(names); i++)
		if (GENERAL_NAME_cmp(sk_GENERAL_NAME_value(names, i), name) == 0) {
			GENERAL_NAME_free(name);
			return true;
		}
	return push(names, name);
}

static int add_host(GENERAL_NAMES *names, const char *host)
{
	size_t len = strlen(host);
	const char *why;
	char ip[46];
	bool added;

	if (tni_cert_is_ip(host, ip)) {
		if (strchr(host, '%'))
			return tni_err(-EINVAL,
				       "host '%.100s': a certificate's address has no zone: leave out the %%...", host);
		added = add_once(names, ip_name(a2i_IPADDRESS(ip)));
	} else {
		len -= len > 1 && host[len - 1] == '.';
		why = bad_name(host, len);
		if (why)
			return tni_err(-EINVAL, "host '%.100s' %s", host, why);
		added = add_once(names, dns_name(host, len));
	}
	return added ? 0 : tni_err(-ENOMEM, "out of memory");
}

int tni_hosts_parse(const char *const *hosts, size_t count, GENERAL_NAMES **names)
{
	GENERAL_NAMES *made = GENERAL_NAMES_new();
	int err = made ? 0 : tni_err(-ENOMEM, "out of memory");

	if (count == 0)
		err = tni_err(-EINVAL, "a certificate needs a host");
	for (size_t i = 0; i < count && err == 0; i++)
		err = add_host(made, hosts[i]);
	if (err < 0)
		GENERAL_NAMES_free(made);
	else
		*names = made;
	return err;
}

/* ---- what an authority may sign for ---- */

/* Takes the name, which may be NULL. */
static bool permit(NAME_CONSTRAINTS *limits, GENERAL_NAME *name)
{
	GENERAL_SUBTREE *tree = name ? GENERAL_SUBTREE_new() : NULL;

	for (int i = 0; tree && i < sk_GENERAL_SUBTREE_num(limits->permittedSubtrees); i++)
		if (GENERAL_NAME_cmp(sk_GENERAL_SUBTREE_value(limits->permittedSubtrees, i)->base, name) == 0) {
			GENERAL_SUBTREE_free(tree);
			GENERAL_NAME_free(name);
			return true;
		}
	if (tree) {
		GENERAL_NAME_free(tree->base);
		tree->base = name;
		if (sk_GENERAL_SUBTREE_push(limits->permittedSubtrees, tree) > 0)
			return true;
		GENERAL_SUBTREE_free(tree);
		return false;
	}
	GENERAL_NAME_free(name);
	return false;
}

static bool permit_network(NAME_CONSTRAINTS *limits, const char *network)
{
	return permit(limits, ip_name(a2i_IPADDRESS_NC(network)));
}

static bool permit_host(NAME_CONSTRAINTS *limits, const GENERAL_NAME *host)
{
	const ASN1_STRING *value = host->type == GEN_DNS ? host->d.dNSName : host->d.iPAddress;
	const char *data = (const char *)ASN1_STRING_get0_data(value);
	int len = ASN1_STRING_length(value), wild = len > 2 && data[0] == '*' ? 2 : 0;
	ASN1_OCTET_STRING *net;
	unsigned char bytes[32];

	if (host->type == GEN_DNS)
		return permit(limits, dns_name(data + wild, (size_t)(len - wild)));
	net = ASN1_OCTET_STRING_new();
	memcpy(bytes, data, (size_t)len);
	memset(bytes + len, 0xff, (size_t)len);
	if (net && ASN1_OCTET_STRING_set(net, bytes, 2 * len) == 1)
		return permit(limits, ip_name(net));
	ASN1_OCTET_STRING_free(net);
	return false;
}

/* Whether this machine's own names, which are always permitted, cover it. */
static bool is_own(const GENERAL_NAME *host)
{
	static const unsigned char own6[16] = {[15] = 1};
	const unsigned char *data = ASN1_STRING_get0_data(host->d.ia5);
	int len = ASN1_STRING_length(host->d.ia5);

	if (host->type == GEN_DNS)
		return len == 9 && memcmp(data, "localhost", 9) == 0;
	return (len == 4 && data[0] == 127) || (len == 16 && memcmp(data, own6, 16) == 0);
}

NAME_CONSTRAINTS *tni_hosts_limits(const GENERAL_NAMES *names)
{
	NAME_CONSTRAINTS *limits = NAME_CONSTRAINTS_new();
	bool done;

	if (!limits)
		return NULL;
	limits->permittedSubtrees = sk_GENERAL_SUBTREE_new_null();
	/* A kind of name that is not mentioned is not limited: both kinds must be */
	done = limits->permittedSubtrees && permit(limits, dns_name("localhost", 9)) &&
	       permit_network(limits, "127.0.0.0/255.0.0.0") &&
	       permit_network(limits, "::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && done; i++)
		if (!is_own(sk_GENERAL_NAME_value(names, i)))
			done = permit_host(limits, sk_GENERAL_NAME_value(names, i));
	if (done)
		return limits;
	NAME_CONSTRAINTS_free(limits);
	return NULL;
}
