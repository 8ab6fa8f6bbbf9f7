#include "secure/tls_words.h"

#include "base/err.h"
#include "secure/cert.h"
#include "secure/creds_in.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <openssl/err.h>

/* ---- no TLS at all ---- */

/* Text as it is, other bytes as \xHH. */
const char *tni_tls_show(const unsigned char *bytes, size_t len, char *out, size_t cap)
{
	size_t used = 0;

	for (size_t i = 0; i < len && used + 6 < cap; i++) {
		if (bytes[i] == '\r' || bytes[i] == '\n')
			used += (size_t)snprintf(out + used, cap - used, "\\%c", bytes[i] == '\r' ? 'r' : 'n');
		else if (isascii(bytes[i]) && isprint(bytes[i]))
			out[used++] = (char)bytes[i];
		else
			used += (size_t)snprintf(out + used, cap - used, "\\x%02x", bytes[i]);
	}
	out[used] = '\0';
	return out;
}

int tni_tls_check_start(const struct tls *t, const unsigned char *start, size_t len)
{
	char text[TNI_TLS_START * 4 + 8];

	/* A record's type (alert or handshake), then its version: 3.x. */
	bool record = (start[0] == SSL3_RT_HANDSHAKE || start[0] == SSL3_RT_ALERT) && (len < 2 || start[1] == 3);

	if (record && !t->creds->server && len > 5 && start[0] == SSL3_RT_HANDSHAKE && start[5] == SSL3_MT_CLIENT_HELLO)
		return tni_err(TN_ETLS, "the peer does not speak TLS: it sent our own hello back");
	if (record)
		return 0;
	return tni_err(TN_ETLS, "the peer does not speak TLS: it sent '%s'%s",
		       tni_tls_show(start, len, text, sizeof(text)), len == TNI_TLS_START ? "..." : "");
}

int tni_tls_explain_cut(const struct tls *t)
{
	if (t->layer.open)
		return tni_err(TN_ECUT,
			       "the connection ended without the peer's close_notify: what it sent may have been cut "
			       "short");
	return tni_err(TN_ETLS, "the peer ended the connection %s %s handshake",
		       t->heard ? "in the midst of the" : "instead of answering the",
		       t->ssl && SSL_is_dtls(t->ssl) ? "DTLS" : "TLS");
}

/* ---- certificates ---- */

static const char *role(const struct tls *t)
{
	return t->creds->server ? "client" : "server";
}

struct sought {
	const char *name;
	bool found;
};

static void is_sought(const char *name, void *arg)
{
	struct sought *sought = arg;

	sought->found |= !strcmp(name, sought->name);
}

/* An address counts as one only in an entry of that type (RFC 6125). */
static int refuse_address_as_name(const struct tls *t)
{
	char line[600];

	return tni_err(TN_ECERT,
		       "the certificate names %s as if it were a host's name (DNS:%s), not as an address (it needs the "
		       "subject alternative name IP:%s): %s",
		       t->host, t->host, t->host, tni_cert_write(t->refused.cert, TNI_CERT_LINE, line, sizeof(line)));
}

static int refuse_names(const struct tls *t)
{
	char names[512], subject[200], issuer[200], dates[100];
	struct sought sought = {.name = t->host};

	tni_cert_each_name(t->refused.cert, is_sought, &sought);
	if (sought.found)
		return refuse_address_as_name(t);

	tni_cert_write(t->refused.cert, TNI_CERT_NAMES, names, sizeof(names));
	tni_cert_write(t->refused.cert, TNI_CERT_SUBJECT, subject, sizeof(subject));
	tni_cert_write(t->refused.cert, TNI_CERT_ISSUER, issuer, sizeof(issuer));
	tni_cert_write(t->refused.cert, TNI_CERT_DATES, dates, sizeof(dates));
	return tni_err(TN_ECERT, "the certificate is for %s, not for %s: subject %s, issuer %s, %s",
		       *names ? names : "no host", t->host, subject, issuer, dates);
}

static int refuse_pin(const struct tls *t)
{
	char pin[80], line[600];

	return tni_err(TN_ECERT, "the %s's public key is not the one of key pin: its SHA-256 is %s: %s", role(t),
		       tni_cert_write(t->refused.cert, TNI_CERT_PIN, pin, sizeof(pin)),
		       tni_cert_write(t->refused.cert, TNI_CERT_LINE, line, sizeof(line)));
}

static int refuse_issuer(const struct tls *t)
{
	char line[600];

	tni_cert_write(t->refused.cert, TNI_CERT_LINE, line, sizeof(line));
	if (t->creds->ca)
		return tni_err(TN_ECERT, "no certificate in %.200s vouches for the %s's: %s", t->creds->ca, role(t),
			       line);
	return tni_err(TN_ECERT,
		       "no authority this system trusts vouches for the %s's certificate (its own: ca=FILE): %s",
		       role(t), line);
}

static int refuse_self_signed(const struct tls *t)
{
	char line[600];

	tni_cert_write(t->refused.cert, TNI_CERT_LINE, line, sizeof(line));
	return tni_err(TN_ECERT, "the %s's certificate is %s that is not trusted here (to trust it: ca=FILE): %s",
		       role(t), t->refused.depth ? "vouched for by an authority" : "self-signed, by one", line);
}

static int refuse_revoked(const struct tls *t, const char *whose, const char *what)
{
	char line[600];

	return tni_err(TN_ECERT, "%s%s's certificate %s: %s", whose, role(t), what,
		       tni_cert_write(t->refused.cert, TNI_CERT_LINE, line, sizeof(line)));
}

/* Which check failed, and what the peer showed. */
static int explain_certificate(const struct tls *t)
{
	const char *whose = t->refused.depth ? "an authority of the " : "the ";
	char line[600];

	switch (t->refused.error) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return refuse_names(t);
	case X509_V_ERR_APPLICATION_VERIFICATION:
		return refuse_pin(t);
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		return refuse_issuer(t);
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		return refuse_self_signed(t);
	case X509_V_ERR_CERT_REVOKED:
		return refuse_revoked(t, whose, "has been revoked by its issuer (crl)");
	case X509_V_ERR_UNABLE_TO_GET_CRL:
		return refuse_revoked(t, whose, "may have been revoked: its issuer has no list in crl");
	case X509_V_ERR_CRL_HAS_EXPIRED:
		return refuse_revoked(t, whose, "may have been revoked: the list of its issuer in crl has expired");
	case X509_V_ERR_CRL_NOT_YET_VALID:
		return refuse_revoked(t, whose,
				      "may have been revoked: the list of its issuer in crl is not valid yet");
	case X509_V_ERR_CRL_SIGNATURE_FAILURE:
		return refuse_revoked(t, whose, "may have been revoked: the list in crl is not signed by its issuer");
	default:
		break;
	}
	tni_cert_write(t->refused.cert, TNI_CERT_LINE, line, sizeof(line));
	if (t->refused.error == X509_V_ERR_CERT_HAS_EXPIRED)
		return tni_err(TN_ECERT, "%s%s's certificate has expired: %s", whose, role(t), line);
	if (t->refused.error == X509_V_ERR_CERT_NOT_YET_VALID)
		return tni_err(TN_ECERT, "%s%s's certificate is not valid yet: %s", whose, role(t), line);
	return tni_err(TN_ECERT, "%s%s's certificate is not accepted: %s: %s", whose, role(t),
		       X509_verify_cert_error_string(t->refused.error), line);
}

/* ---- everything else ---- */

static const struct {
	int reason;
	int code;
	const char *text;
} reasons[] = {
	{SSL_R_UNSUPPORTED_PROTOCOL, TN_ETLS,
	 "the peer speaks only versions of TLS that are not allowed here (see tls-min)"},
	{SSL_R_VERSION_TOO_LOW, TN_ETLS,
	 "the peer speaks only versions of TLS that are not allowed here (see tls-min)"},
	{SSL_R_WRONG_VERSION_NUMBER, TN_ETLS, "the peer speaks another version of TLS, or none"},
	{SSL_R_NO_SHARED_CIPHER, TN_ETLS, "the client offers no cipher that is allowed here"},
	{SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, TN_ETLS, "the client cannot check a signature of this kind of key"},
	{SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, TN_ECERT, "the client showed no certificate (verify=require)"},
	{SSL_R_NO_RENEGOTIATION, TN_ETLS, "the peer wanted to negotiate anew, which is refused"},
	{SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, TN_ETLS, "a record was changed on its way, or the keys differ"},
	{SSL_R_BINDER_DOES_NOT_VERIFY, TN_ETLS, "the client's pre-shared key is not ours for that identity"},
	{SSL_R_PSK_IDENTITY_NOT_FOUND, TN_ETLS, "the client's identity is not in psk-file"},
};

#define NREASONS (sizeof(reasons) / sizeof(reasons[0]))

/* What may help when the peer is the one that refuses. */
static const char *handshake_hint(const struct tls *t, int alert)
{
	switch (alert) {
	case SSL_AD_PROTOCOL_VERSION:
		return ": it speaks no version of TLS that is allowed here";
	case SSL_AD_HANDSHAKE_FAILURE:
		if (!t->creds->server && t->psk)
			return ": it may not know our identity (psk-file), or have no cipher in common with us";
		return t->creds->server ? ""
					: ": no common cipher, or it wants a client certificate (cert=FILE&key=FILE)";
	case SSL_AD_UNKNOWN_PSK_IDENTITY:
		return ": it does not know our identity (psk-file)";
	case SSL_AD_ILLEGAL_PARAMETER: /* to OpenSSL's servers of TLS 1.3, others and 1.2 say the next two */
	case SSL_AD_DECRYPT_ERROR:
	case SSL_AD_BAD_RECORD_MAC:
		return t->psk ? ": its key for our identity may be another (psk-file)" : "";
	case SSL_AD_NO_APPLICATION_PROTOCOL:
		return ": it speaks none of the protocols of key alpn";
	case SSL_AD_UNRECOGNIZED_NAME:
		return ": it is not the host of that name (see sni)";
	default:
		return "";
	}
}

/* What a server of TLS 1.3 finds wrong with our certificate it says when the handshake is over for us. */
static const char *alert_hint(const struct tls *t, int alert)
{
	switch (alert) {
	case SSL_AD_UNKNOWN_CA:
		return t->creds->server ? ": it does not trust who signed our certificate"
					: ": it does not trust who signed our certificate (cert=FILE)";
	case SSL_AD_CERTIFICATE_REQUIRED:
		return ": it wants a client certificate (cert=FILE&key=FILE)";
	default:
		return t->layer.open ? "" : handshake_hint(t, alert);
	}
}

/* OpenSSL 3.0 has no words for these two of TLS 1.3. */
static const char *alert_name(int alert)
{
	switch (alert) {
	case SSL_AD_MISSING_EXTENSION:
		return "missing extension";
	case SSL_AD_CERTIFICATE_REQUIRED:
		return "certificate required";
	default:
		return SSL_alert_desc_string_long(alert);
	}
}

static int explain_alert(const struct tls *t, int alert)
{
	const char *did = t->layer.open         ? "ended the connection"
			  : SSL_is_dtls(t->ssl) ? "refused the DTLS handshake"
						: "refused the TLS handshake";

	return tni_err(TN_ETLS, "the peer %s with the alert '%s' (%d)%s", did, alert_name(alert), alert,
		       alert_hint(t, alert));
}

int tni_tls_explain(const struct tls *t)
{
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_REASON(e);
	const char *text = ERR_reason_error_string(e);

	ERR_clear_error();
	if (t->refused.cert)
		return explain_certificate(t);
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET)
		return explain_alert(t, reason - SSL_AD_REASON_OFFSET);
	if (t->psk_unknown && ERR_GET_LIB(e) == ERR_LIB_SSL &&
	    (reason == SSL_R_NO_SHARED_CIPHER || reason == SSL_R_PSK_IDENTITY_NOT_FOUND ||
	     reason == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM))
		return tni_err(TN_ETLS, "the client's identity is not in psk-file");
	for (size_t i = 0; i < NREASONS && ERR_GET_LIB(e) == ERR_LIB_SSL; i++)
		if (reasons[i].reason == reason)
			return tni_err(reasons[i].code, "%s", reasons[i].text);
	return tni_err(TN_ETLS, "TLS: %s", text ? text : "it failed");
}
