/* What may be meant by a key or value that is none: what other programs call it, or the nearest word. */
#include "endpoint/keys.h"

#include "base/err.h"
#include "endpoint/words.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Keys of other programs. Blanks separate the names. */
static const struct {
	const char *names, *key;
} other_keys[] = {
#ifdef TNI_HAVE_HINTS
	{"cafile ca-file ca_file ca_certs cacert ssl-trustfile authority", "ca"},
	{"certfile cert-file cert_file certificate ssl-cert crt", "cert"},
	{"keyfile key-file key_file private-key privkey ssl-key", "key"},
	{"servername server-name server_name sni-name commonname", "sni"},
	{"psk psk_file pskfile", "psk-file"},
	{"insecure ssl-verify ssl_verify tls-verify verify_peer check", "verify"},
	{"minversion min-version tls_min tls-version ssl-version", "tls-min"},
	{"connect-timeout connect_timeout connecttimeout dial-timeout timeout", "connect"},
	{"idle-timeout idle_timeout inactivity", "idle"},
	{"handshake-timeout", "handshake"},
	{"framing delimiter separator", "frame"},
	{"codec encoding type serialization", "format"},
	{"maxsize max-size max_size limit", "max"},
	{"interface iface device dev if", "bindtodevice"},
	{"buffer bufsize bufsiz", "rcvbuf"},
	{"protocol", "proto"},
	{"namespace net-ns network-namespace ns", "netns"},
	{"sourceport source source-address source-port sp src local-address local-port localaddr localport", "bind"},
	{"shut-none no-shutdown noshutdown half-close halfclose", "fin"},
	{"sockopt so setsockopt-int setsockopt-listen setsockopt-bin", "setsockopt"},
	{"dscp", "tos"},
	{"accept-proxy proxy-protocol proxy_protocol send-proxy send-proxy-v2 haproxy haproxy-protocol", "proxy"},
	{"trusted trusted-proxies set_real_ip_from proxyprotocolacl", "trust"},
	{"whitelist allowlist allow-from allowed acl", "allow"},
	{"blacklist denylist deny-from denied block", "deny"},
	{"allow-destinations destinations allowed-destinations to-allow", "allow-to"},
	{"deny-destinations forbidden-destinations to-deny", "deny-to"},
	{"port-allow connectport connect-ports allowed-ports", "ports"},
	{"userfile passwd-file password-file htpasswd basicauth proxy-user accounts", "users"},
	{"through proxies gateway all-proxy all_proxy https_proxy http_proxy socks5-hostname socks socks5", "via"},
	{"user-file credentials authfile auth-file authorization bearer token basic", "auth"},
	{"hops hop-limit hoplimit multicast-hops", "ttl"},
#ifdef TNI_HAVE_FILES
	{"speed baudrate baud-rate ispeed ospeed rate", "baud"},
	{"bits csize cs data-bits bytesize", "databits"},
	{"stop-bits cstopb stop", "stopbits"},
	{"flow-control flowcontrol handshaking crtscts rtscts xonxoff", "flow"},
	{"parenb par", "parity"},
	{"follow tail create append trunc rdonly wronly", "open"},
#endif
#endif
	{0},
};

/* Keys that this build was made without. */
static const struct {
	const char *names, *why;
} left_out[] = {
#ifndef TNI_HAVE_TLS
	{"cert key key-pass-file ca crl verify pin sni alpn psk-file tls-min tls-max groups "
	 "ciphers sigalgs tickets keylog path subprotocol origin hosts header ping dead kind "
	 "deflate deflate-min",
	 TNI_NOT_BUILT("TLS and no WebSocket", "tls")},
#endif
#ifndef TNI_HAVE_FILES
	{"open baud databits parity stopbits flow", TNI_NOT_BUILT("files, terminals and programs", "files")},
#endif
#ifndef TNI_HAVE_ACCESS
	{"allow deny", TNI_NOT_BUILT("lists of addresses", "access")},
#endif
#ifndef TNI_HAVE_PROXY
	{"proxy trust proxy-tlv allow-to deny-to ports users via",
	 TNI_NOT_BUILT("PROXY protocol and knows no proxies", "proxy")},
#endif
#ifndef TNI_HAVE_SHM
	{"ring", TNI_NOT_BUILT("shared memory", "shm")},
#endif
#ifndef TNI_HAVE_SOCKOPTS
	{"freebind transparent bind_address_no_port local_port_range addr_preferences "
	 "unicast_hops minttl minhopcount mtu_discover dontfrag autoflowlabel hdrincl "
	 "unicast_if dontroute rcvbufforce sndbufforce rcvlowat window_clamp notsent_lowat "
	 "max_pacing_rate linger2 rto_max_ms rto_min_us thin_linear_timeouts rcvtimeo sndtimeo "
	 "cork quickack delack_max_us maxseg congestion oobinline txrehash tx_delay "
	 "defer_accept fastopen fastopen_connect fastopen_no_cookie passcred passrights "
	 "incoming_cpu busy_poll prefer_busy_poll busy_poll_budget setsockopt fin connected netns",
	 TNI_NOT_BUILT("such option", "sockopts")},
#endif
	{0},
};

/* What the kernel calls TCP_NODELAY and socat so-rcvbuf has a key too. */
static const char *key_of_constant(const char *word)
{
	const struct tni_sockopt *opt;
	char constant[64];
	size_t i = 0;

	for (; i < sizeof(constant) - 1 && word[i]; i++)
		constant[i] = (char)(word[i] == '-' ? '_' : toupper((unsigned char)word[i]));
	constant[i] = '\0';
	for (size_t n = 0; (opt = tni_sockopt_at(n)); n++)
		if (tni_words_have(opt->constant, constant))
			return opt->key;
	return NULL;
}

/* The key that is called so elsewhere, or written so in capitals. NULL: unknown. */
static const char *key_elsewhere(const char *word)
{
	const char *key = key_of_constant(word);
	char low[64];
	size_t i = 0;

	for (; i < sizeof(low) - 1 && word[i]; i++)
		low[i] = (char)tolower((unsigned char)word[i]);
	low[i] = '\0';
	if (!key && tni_key_find(low))
		key = tni_key_find(low)->key;
	if (!key && tni_sockopt_find(low))
		key = tni_sockopt_find(low)->key;
	for (i = 0; !key && other_keys[i].names; i++)
		if (tni_words_have(other_keys[i].names, low))
			key = other_keys[i].key;
	return key;
}

/* The key whose name is most like it. NULL: none is. */
static const char *nearest_key(const char *word)
{
	const struct tni_sockopt *opt;
	const struct tni_key *key;
	const char *words[256];
	size_t n = 0;

	for (size_t i = 0; (key = tni_key_at(i)) && n < 256; i++)
		words[n++] = key->key;
	for (size_t i = 0; (opt = tni_sockopt_at(i)) && n < 256; i++)
		words[n++] = opt->key;
	return tn_nearest(word, words, n);
}

int tni_parse_fail_unknown_key(const struct tni_parse *p, const struct tni_url_param *param)
{
	const char *near = key_elsewhere(param->key);
	char why[256];

	for (size_t i = 0; left_out[i].names; i++)
		if (tni_words_have(left_out[i].names, param->key)) {
			snprintf(why, sizeof(why), "key '%.64s': %s", param->key, left_out[i].why);
			return tni_parse_fail(p, param->key_at, why);
		}
	if (!near)
		near = nearest_key(param->key);
	if (near)
		snprintf(why, sizeof(why), "unknown key '%.64s'; did you mean '%s'?", param->key, near);
	else
		snprintf(why, sizeof(why), "unknown key '%.64s'; see: tenon options%s", param->key,
			 p->ep->scheme->web && p->ep->role == TN_DIAL ? " (a query for the server begins with %3F)"
								      : "");
	return tni_parse_fail(p, param->key_at, why);
}

/* The value that is meant by one that is none: yes for on, or nearly a word that it takes. NULL: unknown. */
static const char *value_meant(const struct tni_parse *p, const struct tni_key *key, const char *value, char *out,
			       size_t cap)
{
	const char *words[32], *at = tni_key_values(key), *near;
	size_t n = 0, used = 0;
	bool on = tni_words_have("yes true 1 enable enabled peer full", value);

	if (on && key->type == &tni_key_verify && p->ep->role == TN_SERVE)
		return "require";
	if (on || tni_words_have("no false 0 none never disable disabled skip insecure", value))
		near = on ? "on" : "off";
	else
		near = NULL;
	if (near && tni_words_have(tni_key_values(key), near))
		return near;
	for (; *at && n < 32; at += strspn(at, " ,|:")) { /* the words, each with a zero behind it */
		size_t len = strcspn(at, " ,|:");

		if (used + len + 1 > cap)
			break;
		memcpy(out + used, at, len);
		out[used + len] = '\0';
		words[n++] = out + used;
		used += len + 1;
		at += len;
	}
	near = isalpha((unsigned char)*value) && (strchr(tni_key_values(key), '|') || key->type == &tni_key_format)
		       ? tn_nearest(value, words, n)
		       : NULL;
	return near && strcmp(near, value) != 0 ? near : NULL;
}

int tni_key_fail_value(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key)
{
	char why[400], words[256];
	const char *near = value_meant(p, key, param->value, words, sizeof(words));

	if (near)
		snprintf(why, sizeof(why), "'%.64s' is no such value; did you mean '%s'? It takes: %s", param->value,
			 near, tni_key_values(key));
	else
		snprintf(why, sizeof(why), "'%.64s' is no such value; it takes: %s", param->value, tni_key_values(key));
	return tni_parse_fail_value(p, param, why);
}
