#include "conn/endpoint.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/units.h"
#include "base/url.h"
#include "net/idn.h"
#include "net/names.h"
#include "net/resolve.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <grp.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static const struct tni_scheme schemes[] = {
	{"tcp", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, 0, TNI_SK_TCP, false},
	{"tcp4", TNI_AT_HOST, AF_INET, SOCK_STREAM, 0, TNI_SK_TCP, false},
	{"tcp6", TNI_AT_HOST, AF_INET6, SOCK_STREAM, 0, TNI_SK_TCP, false},
	{"udp", TNI_AT_HOST, AF_UNSPEC, SOCK_DGRAM, 0, TNI_SK_UDP, false},
	{"udp4", TNI_AT_HOST, AF_INET, SOCK_DGRAM, 0, TNI_SK_UDP, false},
	{"udp6", TNI_AT_HOST, AF_INET6, SOCK_DGRAM, 0, TNI_SK_UDP, false},
	{"mptcp", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, IPPROTO_MPTCP, TNI_SK_MPTCP, false},
	{"unix", TNI_AT_PATH, AF_UNIX, SOCK_STREAM, 0, TNI_SK_UNIX_STREAM, false},
	{"unix-dgram", TNI_AT_PATH, AF_UNIX, SOCK_DGRAM, 0, TNI_SK_UNIX_DGRAM, false},
	{"unix-seqpacket", TNI_AT_PATH, AF_UNIX, SOCK_SEQPACKET, 0, TNI_SK_UNIX_SEQPACKET, false},
	{"tls", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, 0, TNI_SK_TCP, true},
	{"tls4", TNI_AT_HOST, AF_INET, SOCK_STREAM, 0, TNI_SK_TCP, true},
	{"tls6", TNI_AT_HOST, AF_INET6, SOCK_STREAM, 0, TNI_SK_TCP, true},
	{"tls+mptcp", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, IPPROTO_MPTCP, TNI_SK_MPTCP, true},
	{"tls+unix", TNI_AT_PATH, AF_UNIX, SOCK_STREAM, 0, TNI_SK_UNIX_STREAM, true},
	/* Datagrams as far as the rest of the house knows; tni_endpoint_open() knows better */
	{"raw", TNI_AT_ADDR, AF_UNSPEC, SOCK_DGRAM, 0, TNI_SK_RAW, false},
	{"raw4", TNI_AT_ADDR, AF_INET, SOCK_DGRAM, 0, TNI_SK_RAW, false},
	{"raw6", TNI_AT_ADDR, AF_INET6, SOCK_DGRAM, 0, TNI_SK_RAW, false},
	{"icmp", TNI_AT_ADDR, AF_UNSPEC, SOCK_DGRAM, IPPROTO_ICMP, TNI_SK_PING, false},
	{"icmp4", TNI_AT_ADDR, AF_INET, SOCK_DGRAM, IPPROTO_ICMP, TNI_SK_PING, false},
	{"icmp6", TNI_AT_ADDR, AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6, TNI_SK_PING, false},
	{"packet", TNI_AT_LINK, AF_PACKET, SOCK_DGRAM, 0, TNI_SK_PACKET, false},
	{"dtls", TNI_AT_HOST, AF_UNSPEC, SOCK_DGRAM, 0, TNI_SK_UDP, true},
	{"dtls4", TNI_AT_HOST, AF_INET, SOCK_DGRAM, 0, TNI_SK_UDP, true},
	{"dtls6", TNI_AT_HOST, AF_INET6, SOCK_DGRAM, 0, TNI_SK_UDP, true},
	{"fd", TNI_AT_FD, AF_UNSPEC, 0, 0, ~0U, false},
};

#ifdef TNI_HAVE_TLS
#define HAVE_TLS true
#else
#define HAVE_TLS false
#endif

#define RESOLVE_TIMEOUT_MS 10000

#define NSCHEMES (sizeof(schemes) / sizeof(schemes[0]))

/* ---- tenon's own keys ---- */

enum own_type {
	OWN_SIZE,
	OWN_DURATION,
	OWN_COUNT,
	OWN_SPIN,
	OWN_FRAME,
	OWN_FORMAT,
	OWN_BAD,
	OWN_BOOL,
	OWN_TEXT,
	OWN_VERIFY,
	OWN_TLS_VERSION,
	OWN_PROTOCOL,
	OWN_PACKET,
	OWN_BIND,
	OWN_MODE,
	OWN_USER,
	OWN_GROUP
};

/* Where a key has a meaning. */
enum own_where {
	ON_ALL,
	ON_CONNS,   /* not on datagrams as they are */
	ON_STREAMS, /* bytes: not where messages stay whole by themselves */
};

struct own_key {
	const char *key;
	enum own_type type;
	size_t at; /* where in struct tni_endpoint */
	uint64_t min, max;
	unsigned roles;
	enum own_where where;
	const char *type_text, *applies, *meaning;
};

#define BOTH (TNI_ROLE_SERVE | TNI_ROLE_DIAL)
#define TLS_ONLY 64       /* among the roles: the schemes with TLS */
#define PROTOCOL_ONLY 128 /* raw and packet */
#define PACKET_ONLY 256
#define PATH_ONLY 512 /* Unix sockets */
#define DTLS_IDLE_NS (300 * TNI_NS_PER_S)
#define HOUR_NS (3600 * TNI_NS_PER_S)
#define REQUEST_NS (60 * TNI_NS_PER_S)
#define FIELD(name) offsetof(struct tni_endpoint, name)

static const struct own_key own_keys[] = {
	{"frame", OWN_FRAME, FIELD(frame), 0, 0, BOTH, ON_STREAMS,
	 "none line crlf nul u8 u16 u32 u64 u16le u32le u64le varint netstring fixed:N cobs slip json json-seq "
	 "cbor msgpack",
	 "streams", "where a message ends in the stream of bytes (default none, or what the format has)"},
	{"format", OWN_FORMAT, FIELD(codec), 0, 0, BOTH, ON_ALL, "json xml cbor msgpack text raw", "all",
	 "what each message must be; others are refused (default raw: anything)"},
	{"bad", OWN_BAD, FIELD(bad), 0, 0, BOTH, ON_CONNS, "close|skip", "streams, dtls",
	 "what a message that its format refuses does: closes the connection, or is skipped (default: a "
	 "handler's, or close)"},
	{"depth", OWN_COUNT, FIELD(codec_opts.max_depth), 1, TNI_DEPTH_MAX, BOTH, ON_ALL, "integer 1..1024",
	 "all, with a format", "how deep a message may nest arrays, maps and the like (default 128)"},
	{"strict", OWN_BOOL, FIELD(codec_opts.strict), 0, 0, BOTH, ON_ALL, "on|off", "all, with a format",
	 "refuses what formats leave open, such as duplicate keys in JSON (default off)"},
	{"jsonml", OWN_BOOL, FIELD(codec_opts.jsonml), 0, 0, BOTH, ON_ALL, "on|off", "all, with format=xml",
	 "every XML document is read and written as JsonML, whatever its root element (default off)"},
	{"max", OWN_SIZE, FIELD(frame.max), 1, 1 << 30, BOTH, ON_ALL, "size 1..1GiB", "all",
	 "longest message that is sent or accepted (default 1MiB)"},
	{"queue", OWN_SIZE, FIELD(queue), 1, 1 << 30, BOTH, ON_ALL, "size 1..1GiB", "all",
	 "mark of the outgoing queue: past it the connection is not read from (default 128KiB)"},
	{"idle", OWN_DURATION, FIELD(idle_ns), 0, 1000 * HOUR_NS, BOTH, ON_CONNS, "duration, 0 = never",
	 "streams, dtls",
	 "closes a connection on which nothing has come or gone for so long (default 0; dtls, served: 5m)"},
	{"connect", OWN_DURATION, FIELD(connect_ns), TNI_NS_PER_MS, 1000 * HOUR_NS, TNI_ROLE_DIAL, ON_ALL, "duration",
	 "all, dialled", "gives up dialling after so long, name lookup included (default 30s)"},
	{"bind", OWN_BIND, FIELD(bind), 0, 0, TNI_ROLE_DIAL, ON_ALL, "ADDRESS, :PORT or ADDRESS:PORT", "IP, dialled",
	 "the address of this machine, the port, or both that connecting comes from (default :0, the kernel's choice)"},
	{"drain", OWN_DURATION, FIELD(drain_ns), 0, 1000 * HOUR_NS, BOTH, ON_CONNS, "duration", "streams, dtls",
	 "how long a closing connection may take to send what is queued (default 5s)"},
	{"backlog", OWN_COUNT, FIELD(backlog), 1, 1 << 20, TNI_ROLE_SERVE, ON_STREAMS, "integer 1..1048576",
	 "streams, served", "connections that may wait to be accepted (default 4096; capped by net.core.somaxconn)"},
	{"per-source", OWN_COUNT, FIELD(per_source), 0, INT_MAX, TNI_ROLE_SERVE, ON_CONNS, "integer, 0 = no limit",
	 "streams, dtls, served",
	 "connections that one address (IPv6: one /64; Unix: one user) may hold; more are closed at once (default 0)"},
	{"accept-rate", OWN_COUNT, FIELD(accept_rate), 0, INT_MAX, TNI_ROLE_SERVE, ON_CONNS, "integer, 0 = no limit",
	 "streams, dtls, served", "new connections a second; more wait to be accepted (default 0)"},
	{"request", OWN_DURATION, FIELD(request_ns), 0, 1000 * HOUR_NS, TNI_ROLE_SERVE, ON_STREAMS,
	 "duration, 0 = never", "framed streams, served",
	 "closes a connection on which a message that has begun is not whole after so long (default 1m)"},
	{"mode", OWN_MODE, FIELD(mode), 0, 0777, TNI_ROLE_SERVE | PATH_ONLY, ON_ALL, "octal 0..777", "unix, served",
	 "permissions of the socket's file; who may write may connect (default 777 without the umask)"},
	{"user", OWN_USER, FIELD(user), 0, 0, TNI_ROLE_SERVE | PATH_ONLY, ON_ALL, "name or number", "unix, served",
	 "owner of the socket's file"},
	{"group", OWN_GROUP, FIELD(group), 0, 0, TNI_ROLE_SERVE | PATH_ONLY, ON_ALL, "name or number", "unix, served",
	 "group of the socket's file"},
	{"cert", OWN_TEXT, FIELD(tls.cert), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "file, or several: a,b", "tls, dtls",
	 "our certificate and those that vouch for it, PEM; a server may have several, chosen by name"},
	{"key", OWN_TEXT, FIELD(tls.key), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "file, or several: a,b", "tls, dtls",
	 "the private key of each certificate, PEM (default: in the file of cert)"},
	{"key-pass-file", OWN_TEXT, FIELD(tls.key_pass_file), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "file, or several: a,b",
	 "tls, dtls",
	 "its first line is the passphrase that opens the private key; of several keys each has one, or all"},
	{"ca", OWN_TEXT, FIELD(tls.ca), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "file", "tls, dtls",
	 "the authorities that may vouch for the peer, PEM (clients' default: those of the system)"},
	{"crl", OWN_TEXT, FIELD(tls.crl), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "file or folder", "tls, dtls",
	 "revocation lists, PEM or DER; the issuer of the peer's certificate must have one there"},
	{"verify", OWN_VERIFY, FIELD(tls.verify), 0, 0, BOTH | TLS_ONLY, ON_CONNS,
	 "on|off, served: require|optional|off", "tls, dtls",
	 "whether the peer must prove who it is (default: clients on; servers require with ca, otherwise off)"},
	{"pin", OWN_TEXT, FIELD(tls.pin), 0, 0, BOTH | TLS_ONLY, ON_CONNS,
	 "SHA-256 in hexadecimal or base64, or several: a,b", "tls, dtls",
	 "the peer's public key must be one of these; with verify=off that is enough"},
	{"sni", OWN_TEXT, FIELD(tls.sni), 0, 0, TNI_ROLE_DIAL | TLS_ONLY, ON_CONNS, "name", "tls, dtls, dialled",
	 "the name that is asked for and must stand in the certificate (default: the URL's host)"},
	{"alpn", OWN_TEXT, FIELD(tls.alpn), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "name, or several: a,b", "tls, dtls",
	 "application protocols, the favourite first; a server takes the first that the client offers too"},
	{"psk-file", OWN_TEXT, FIELD(tls.psk_file), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "file of lines IDENTITY:HEXKEY",
	 "tls, dtls", "pre-shared keys; a client uses the first line"},
	{"tls-min", OWN_TLS_VERSION, FIELD(tls.min_version), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "1.2|1.3", "tls, dtls",
	 "oldest version that is spoken (default 1.2)"},
	{"tls-max", OWN_TLS_VERSION, FIELD(tls.max_version), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "1.2|1.3", "tls, dtls",
	 "newest version that is spoken (default 1.3; dtls: 1.2)"},
	{"groups", OWN_TEXT, FIELD(tls.groups), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "name, or several: a:b", "tls, dtls",
	 "groups for the exchange of keys, the favourite first (default X25519:P-256:X448:P-384:P-521, before them "
	 "X25519MLKEM768 where OpenSSL has it)"},
	{"ciphers", OWN_TEXT, FIELD(tls.ciphers), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "name, or several: a:b", "tls, dtls",
	 "ciphers by OpenSSL's names, those of TLS 1.3 begin with TLS_ (default: forward secrecy and AEAD only)"},
	{"sigalgs", OWN_TEXT, FIELD(tls.sigalgs), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "name, or several: a:b", "tls, dtls",
	 "signature algorithms by OpenSSL's names (default: ECDSA, EdDSA and RSA with SHA-256 and longer)"},
	{"tickets", OWN_COUNT, FIELD(tls.tickets), 0, 16, BOTH | TLS_ONLY, ON_CONNS, "integer 0..16", "tls, dtls",
	 "served: tickets that each client gets to resume with; 0: none can. Dialled: 0: nothing is resumed "
	 "(default 2)"},
	{"handshake", OWN_DURATION, FIELD(handshake_ns), TNI_NS_PER_MS, 1000 * HOUR_NS, BOTH | TLS_ONLY, ON_CONNS,
	 "duration", "tls, dtls", "how long the handshake may take (default 10s)"},
	{"keylog", OWN_TEXT, FIELD(tls.keylog), 0, 0, BOTH | TLS_ONLY, ON_CONNS, "file", "tls, dtls",
	 "appends the session's secrets for wireshark and the like (clients' default: SSLKEYLOGFILE)"},
	{"proto", OWN_PROTOCOL, FIELD(protocol), 0, 0, BOTH | PROTOCOL_ONLY, ON_ALL,
	 "raw: name or integer 1..255; packet: name or integer 1..0xffff", "raw, packet",
	 "the protocol: of IP (icmp, gre, ospf, ...), which raw must have, or an EtherType (arp, ipv6, ...; "
	 "default all)"},
	{"type", OWN_PACKET, FIELD(frames), 0, 0, BOTH | PACKET_ONLY, ON_ALL, "dgram|raw", "packet",
	 "whether packets come and go with the header of their link (raw) or without (default dgram)"},
	{"to", OWN_TEXT, FIELD(to), 0, 0, TNI_ROLE_DIAL | PACKET_ONLY, ON_ALL, "aa:bb:cc:dd:ee:ff", "packet, dialled",
	 "the neighbour that is sent to and heard (default ff:ff:ff:ff:ff:ff: everybody)"},
	{"spin", OWN_SPIN, FIELD(spin_ns), 0, TNI_NS_PER_S, BOTH, ON_ALL, "auto or duration, 0 = off", "all",
	 "longest busy wait of the loop before it sleeps, used while traffic is lively (default auto)"},
};

#define NOWN (sizeof(own_keys) / sizeof(own_keys[0]))

static const struct own_key *find_own(const char *key)
{
	for (size_t i = 0; i < NOWN; i++)
		if (!strcmp(own_keys[i].key, key))
			return &own_keys[i];
	return NULL;
}

/* ---- failing well ---- */

struct context {
	const char *text;
	struct tni_endpoint *ep;
};

static int fail_at(const struct context *c, long at, const char *why)
{
	tni_err(TN_EURL, "bad URL '%.500s': byte %ld: %s", c->text, at, why);
	tni_err_at(at);
	return TN_EURL;
}

/* What keys are called elsewhere. Blanks separate the words. */
static const struct {
	const char *names, *key;
} other_keys[] = {
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
	{"dscp", "tos"},
	{"hops hop-limit hoplimit multicast-hops", "ttl"},
};

/* Whether `word` is one of a list that blanks or commas separate. */
static bool in_list(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = strstr(list, word); at && len > 0; at = strstr(at + 1, word))
		if ((at == list || strchr(" ,|", at[-1])) && (!at[len] || strchr(" ,|", at[len])))
			return true;
	return false;
}

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
		if (in_list(opt->constant, constant))
			return opt->key;
	return NULL;
}

/* The key that is meant by a word that is none, because it is called so elsewhere. NULL: unknown. */
static const char *key_elsewhere(const char *word)
{
	const char *key = key_of_constant(word);
	char low[64];
	size_t i = 0;

	for (; i < sizeof(low) - 1 && word[i]; i++)
		low[i] = (char)tolower((unsigned char)word[i]);
	low[i] = '\0';
	for (i = 0; !key && i < NOWN; i++)
		if (!strcmp(own_keys[i].key, low))
			key = own_keys[i].key;
	if (!key && tni_sockopt_find(low))
		key = tni_sockopt_find(low)->key;
	for (i = 0; !key && i < sizeof(other_keys) / sizeof(other_keys[0]); i++)
		if (in_list(other_keys[i].names, low))
			key = other_keys[i].key;
	return key;
}

static int fail_unknown_key(const struct context *c, const struct tni_url_param *param)
{
	const char *words[256], *near;
	const struct tni_sockopt *opt;
	char why[256];
	size_t n = 0;

	for (; n < NOWN; n++)
		words[n] = own_keys[n].key;
	for (size_t i = 0; (opt = tni_sockopt_at(i)) && n < 256; i++)
		words[n++] = opt->key;
	near = key_elsewhere(param->key);
	if (!near)
		near = tn_nearest(param->key, words, n);
	if (near)
		snprintf(why, sizeof(why), "unknown key '%.64s'; did you mean '%s'?", param->key, near);
	else
		snprintf(why, sizeof(why), "unknown key '%.64s'; see: tenon options", param->key);
	return fail_at(c, param->key_at, why);
}

static int fail_key(const struct context *c, const struct tni_url_param *param, long at, const char *text)
{
	char why[512];

	snprintf(why, sizeof(why), "key '%s': %s", param->key, text);
	return fail_at(c, at, why);
}

/* ---- keys ---- */

/* The value that is meant by one that is none: yes for on, or nearly a word that it takes. NULL: unknown. */
static const char *value_meant(const struct context *c, const struct own_key *own, const char *value, char *out,
			       size_t cap)
{
	const char *words[32], *at = own->type_text, *near;
	size_t n = 0, used = 0;
	bool on = in_list("yes true 1 enable enabled peer full", value);

	if (on && own->type == OWN_VERIFY && c->ep->role == TN_SERVE)
		return "require";
	if (on || in_list("no false 0 none never disable disabled skip insecure", value))
		near = on ? "on" : "off";
	else
		near = NULL;
	if (near && in_list(own->type_text, near))
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
	near = isalpha((unsigned char)*value) && (strchr(own->type_text, '|') || own->type == OWN_FORMAT)
		       ? tn_nearest(value, words, n)
		       : NULL;
	return near && strcmp(near, value) != 0 ? near : NULL;
}

static int fail_range(const struct context *c, const struct tni_url_param *param, const struct own_key *own)
{
	char why[400], words[256];
	const char *near = value_meant(c, own, param->value, words, sizeof(words));

	if (near)
		snprintf(why, sizeof(why), "'%.64s' is no such value; did you mean '%s'? It takes: %s", param->value,
			 near, own->type_text);
	else
		snprintf(why, sizeof(why), "'%.64s' is no such value; it takes: %s", param->value, own->type_text);
	return fail_key(c, param, param->value_at, why);
}

/* A number, size or duration that is one, but too small or too large. */
static int fail_limits(const struct context *c, const struct tni_url_param *param, const struct own_key *own)
{
	char why[256], low[32], high[32];

	if (own->type == OWN_DURATION || own->type == OWN_SPIN) {
		tni_format_duration(own->min, low, sizeof(low));
		tni_format_duration(own->max, high, sizeof(high));
	} else {
		tni_format_size(own->min, low, sizeof(low));
		if (own->type == OWN_SIZE)
			tni_format_size(own->max, high, sizeof(high));
		else
			snprintf(high, sizeof(high), "%llu", (unsigned long long)own->max);
	}
	snprintf(why, sizeof(why), "'%.64s' is out of range (%s to %s)", param->value, low, high);
	return fail_key(c, param, param->value_at, why);
}

static int parse_text(const struct context *c, const struct tni_url_param *param, char **field)
{
	if (!*param->value)
		return fail_key(c, param, param->value_at, "it is empty");
	free(*field);
	*field = strdup(param->value);
	return *field ? 0 : tni_err(-ENOMEM, "URL: out of memory");
}

static int parse_verify(const struct context *c, const struct tni_url_param *param, const struct own_key *own,
			int *field)
{
	static const char *const words[] = {[TNI_VERIFY_OFF] = "off",
					    [TNI_VERIFY_OPTIONAL] = "optional",
					    [TNI_VERIFY_REQUIRE] = "require",
					    [TNI_VERIFY_ON] = "on"};

	for (int i = TNI_VERIFY_OFF; i <= TNI_VERIFY_ON; i++)
		if (!strcmp(words[i], param->value) &&
		    (i == TNI_VERIFY_OFF || (i == TNI_VERIFY_ON) == (c->ep->role == TN_DIAL))) {
			*field = i;
			return 0;
		}
	return fail_range(c, param, own);
}

static int parse_tls_version(const struct context *c, const struct tni_url_param *param, const struct own_key *own,
			     int *field)
{
	*field = !strcmp(param->value, "1.3") ? 13 : 12;
	if (*field == 13 && c->ep->tls.datagrams)
		return fail_key(c, param, param->value_at, "DTLS is spoken in version 1.2 only");
	return *field == 13 || !strcmp(param->value, "1.2") ? 0 : fail_range(c, param, own);
}

static int parse_protocol(const struct context *c, const struct tni_url_param *param, const struct own_key *own,
			  int *field)
{
	*field = tni_raw_protocol(tni_scheme_raw(c->ep->scheme), param->value);
	return *field < 0 ? fail_range(c, param, own) : 0;
}

static int fail_bind(const struct context *c, const struct tni_url_param *param)
{
	return fail_key(c, param, param->value_at,
			"an address of this machine, a port or both are needed: 192.0.2.1, :5000, [fd00::1]:5000 "
			"(for an interface: bindtodevice)");
}

/* ADDRESS, ADDRESS:PORT, [IPV6], [IPV6]:PORT, IPV6 or :PORT */
static int parse_bind(const struct context *c, const struct tni_url_param *param)
{
	const char *text = param->value, *colon = strrchr(text, ':');
	struct tni_endpoint *ep = c->ep;
	char host[128];
	uint64_t port = 0;
	size_t len;

	if (*text == '[' ? text[strlen(text) - 1] == ']' : colon && strchr(text, ':') != colon)
		colon = NULL; /* those of an address */
	len = colon ? (size_t)(colon - text) : strlen(text);
	if (colon && (colon[1] < '0' || colon[1] > '9' || tn_parse_size(colon + 1, &port) < 0 || port > 65535))
		return fail_bind(c, param);
	if (*text == '[') {
		if (len < 2 || text[len - 1] != ']')
			return fail_bind(c, param);
		text++;
		len -= 2;
	}
	if (len >= sizeof(host) || (!len && !colon))
		return fail_bind(c, param);
	snprintf(host, sizeof(host), "%.*s", (int)len, text);
	if (len && tni_addr_literal(&ep->bind_addr, host, (int)port) < 0)
		return fail_bind(c, param);
	ep->bind_port = (int)port;
	return len || port ? parse_text(c, param, &ep->bind) : 0; /* :0 is the kernel's choice */
}

static const struct tni_url_param *param_of(const struct tni_url *url, const char *key)
{
	for (size_t i = 0; i < url->nparams; i++)
		if (!strcmp(url->params[i].key, key))
			return &url->params[i];
	return NULL;
}

/* Options that change what bind(2) does, and the families of both ends, are checked when all is known. */
static int check_bind(const struct context *c, const struct tni_url *url)
{
	const struct tni_endpoint *ep = c->ep;
	int family = ep->bind ? tni_addr_family(&ep->bind_addr) : AF_UNSPEC;
	const struct tni_url_param *param;
	struct tn_addr host;
	const char *why;

	if (ep->role != TN_DIAL)
		return 0;
	if (family != AF_UNSPEC && ((ep->scheme->family != AF_UNSPEC && ep->scheme->family != family) ||
				    (tni_addr_literal(&host, ep->host, 0) == 0 && tni_addr_family(&host) != family))) {
		param = param_of(url, "bind");
		return fail_key(c, param, param->value_at, "this address is of the other IP version");
	}
	for (size_t i = 0; i < ep->noptions; i++) {
		const struct tni_option_value *o = &ep->options[i];

		why = o->value.number ? tni_sockopt_vain(o->opt, family != AF_UNSPEC, ep->bind_port) : NULL;
		param = param_of(url, o->opt->key);
		if (why && param)
			return fail_key(c, param, param->key_at, why);
	}
	return 0;
}

static int parse_packet_type(const struct context *c, const struct tni_url_param *param, const struct own_key *own,
			     bool *field)
{
	*field = !strcmp(param->value, "raw");
	return *field || !strcmp(param->value, "dgram") ? 0 : fail_range(c, param, own);
}

static int parse_format(const struct context *c, const struct tni_url_param *param, const struct own_key *own)
{
	c->ep->codec = tni_codec_find(param->value);
	if (!c->ep->codec)
		return fail_range(c, param, own);
	if (c->ep->codec == &tni_codec_raw)
		c->ep->codec = NULL;
	return 0;
}

static int parse_bad(const struct context *c, const struct tni_url_param *param, const struct own_key *own)
{
	if (strcmp(param->value, "close") != 0 && strcmp(param->value, "skip") != 0)
		return fail_range(c, param, own);
	c->ep->bad = param->value[0] == 's' ? TNI_BAD_SKIP : TNI_BAD_CLOSE;
	return 0;
}

static int parse_mode(const struct context *c, const struct tni_url_param *param, const struct own_key *own, int *mode)
{
	size_t len = strspn(param->value, "01234567");

	if (len == 0 || len > 4 || param->value[len])
		return fail_range(c, param, own);
	*mode = (int)strtol(param->value, NULL, 8);
	return *mode > (int)own->max ? fail_range(c, param, own) : 0;
}

/* A number needs no entry in the system's list. */
static int parse_owner(const struct context *c, const struct tni_url_param *param, const struct own_key *own, int *id)
{
	const struct passwd *user = own->type == OWN_USER ? getpwnam(param->value) : NULL;
	const struct group *group = own->type == OWN_GROUP ? getgrnam(param->value) : NULL;
	size_t len = strspn(param->value, "0123456789");
	unsigned long number =
		len > 0 && len <= 10 && !param->value[len] ? strtoul(param->value, NULL, 10) : UINT32_MAX;

	if (user || group)
		*id = (int)(user ? user->pw_uid : group->gr_gid);
	else if (number >= UINT32_MAX)
		return fail_key(c, param, param->value_at,
				own->type == OWN_USER ? "no such user on this system" : "no such group on this system");
	else
		*id = (int)number;
	return 0;
}

/* The values that are words. 1: it was none of those. */
static int parse_word(const struct context *c, const struct tni_url_param *param, const struct own_key *own)
{
	void *field = (char *)c->ep + own->at;
	char why[256];
	int rc;

	if (own->type == OWN_SPIN && !strcmp(param->value, "auto")) {
		*(uint64_t *)field = TNI_NEVER;
		return 0;
	}
	if (own->type == OWN_FORMAT)
		return parse_format(c, param, own);
	if (own->type == OWN_TEXT)
		return parse_text(c, param, field);
	if (own->type == OWN_VERIFY)
		return parse_verify(c, param, own, field);
	if (own->type == OWN_TLS_VERSION)
		return parse_tls_version(c, param, own, field);
	if (own->type == OWN_PROTOCOL)
		return parse_protocol(c, param, own, field);
	if (own->type == OWN_PACKET)
		return parse_packet_type(c, param, own, field);
	if (own->type == OWN_BIND)
		return parse_bind(c, param);
	if (own->type == OWN_MODE)
		return parse_mode(c, param, own, field);
	if (own->type == OWN_USER || own->type == OWN_GROUP)
		return parse_owner(c, param, own, field);
	if (own->type == OWN_FRAME) {
		if (tni_frame_find(param->value, field) == 0)
			return 0;
		snprintf(why, sizeof(why), "%s", tn_errmsg());
		return fail_key(c, param, param->value_at, why);
	}
	if (own->type == OWN_BAD)
		return parse_bad(c, param, own);
	if (own->type != OWN_BOOL)
		return 1;
	rc = tni_parse_switch(param->value);
	*(bool *)field = rc > 0;
	return rc < 0 ? fail_range(c, param, own) : 0;
}

static int parse_own(const struct context *c, const struct tni_url_param *param, const struct own_key *own)
{
	void *field = (char *)c->ep + own->at;
	uint64_t value;
	int rc = parse_word(c, param, own);

	if (rc <= 0)
		return rc;
	if (own->type == OWN_DURATION || own->type == OWN_SPIN)
		rc = tn_parse_duration(param->value, &value);
	else
		rc = tn_parse_size(param->value, &value);
	if (rc == -ERANGE || (rc == 0 && (value < own->min || value > own->max)))
		return fail_limits(c, param, own);
	if (rc < 0)
		return fail_range(c, param, own);
	if (own->type == OWN_COUNT)
		*(int *)field = (int)value;
	else if (own->type == OWN_SIZE)
		*(uint32_t *)field = (uint32_t)value;
	else
		*(uint64_t *)field = value;
	return 0;
}

static unsigned role_bit(enum tn_role role)
{
	return role == TN_SERVE ? TNI_ROLE_SERVE : TNI_ROLE_DIAL;
}

static bool is_meant(const struct own_key *own, const struct tni_scheme *scheme)
{
	if (own->where == ON_CONNS)
		return !tni_scheme_is_dgram(scheme);
	return own->where != ON_STREAMS || scheme->type != SOCK_DGRAM;
}

static int check_own(const struct context *c, const struct tni_url_param *param, const struct own_key *own)
{
	if (!(own->roles & role_bit(c->ep->role)))
		return fail_key(c, param, param->key_at,
				(own->roles & BOTH) == TNI_ROLE_SERVE ? "applies to served endpoints only"
								      : "applies to dialled endpoints only");
	if (!is_meant(own, c->ep->scheme))
		return fail_key(c, param, param->key_at, "applies to streams only, not to datagrams");
	if (own->roles & TLS_ONLY && !c->ep->scheme->secure)
		return fail_key(c, param, param->key_at, "applies to tls and dtls endpoints only");
	if (own->roles & PROTOCOL_ONLY && c->ep->scheme->place != TNI_AT_LINK &&
	    tni_scheme_raw(c->ep->scheme) != TNI_RAW_IP)
		return fail_key(c, param, param->key_at, "applies to raw and packet endpoints only");
	if (own->roles & PACKET_ONLY && c->ep->scheme->place != TNI_AT_LINK)
		return fail_key(c, param, param->key_at, "applies to packet endpoints only");
	if (own->roles & PATH_ONLY && (c->ep->scheme->place != TNI_AT_PATH || (c->ep->host && c->ep->host[0] == '@')))
		return fail_key(c, param, param->key_at, "applies to Unix sockets with a path only");
	if (own->type == OWN_BIND && c->ep->scheme->place != TNI_AT_HOST && c->ep->scheme->place != TNI_AT_ADDR)
		return fail_key(c, param, param->key_at, "applies to IP endpoints only");
	if (own->type == OWN_FRAME && c->ep->scheme->type == SOCK_SEQPACKET)
		return fail_key(c, param, param->key_at, "cannot apply: this socket keeps messages whole by itself");
	return parse_own(c, param, own);
}

/* One value, which begins at a byte of the key's. */
static int add_option(const struct context *c, const struct tni_url_param *param, const struct tni_sockopt *opt,
		      const char *text, long at)
{
	struct tni_option_value *grown, *slot;
	char why[256];

	grown = realloc(c->ep->options, (c->ep->noptions + 1) * sizeof(*grown));
	if (!grown)
		return tni_err(-ENOMEM, "URL: out of memory");
	c->ep->options = grown;
	slot = &grown[c->ep->noptions];
	if (tni_sockopt_parse(opt, text, &slot->value) < 0) {
		snprintf(why, sizeof(why), "%s", tn_errmsg());
		return fail_at(c, param->value_at + at, why);
	}
	slot->opt = opt;
	c->ep->noptions++;
	return 0;
}

static int add_options(const struct context *c, const struct tni_url_param *param, const struct tni_sockopt *opt)
{
	char *text = strdup(param->value), *from = text, *comma;
	int rc = text ? 0 : tni_err(-ENOMEM, "URL: out of memory");

	for (; rc == 0 && from; from = comma) {
		comma = strchr(from, ',');
		if (comma)
			*comma++ = '\0';
		rc = add_option(c, param, opt, from, from - text);
	}
	free(text);
	return rc;
}

static int parse_sockopt(const struct context *c, const struct tni_url_param *param, const struct tni_sockopt *opt)
{
	const struct tni_scheme *scheme = c->ep->scheme;
	char applies[128], why[256];

	if (!tni_sockopt_applies(opt, scheme->kinds, role_bit(c->ep->role), scheme->family)) {
		snprintf(why, sizeof(why), "cannot apply to %s when %s; it applies to: %s", scheme->name,
			 c->ep->role == TN_SERVE ? "served" : "dialled",
			 tni_sockopt_applies_text(opt, applies, sizeof(applies)));
		return fail_key(c, param, param->key_at, why);
	}
	return tni_sockopt_is_list(opt) ? add_options(c, param, opt) : add_option(c, param, opt, param->value, 0);
}

static int by_table(const void *a, const void *b)
{
	const struct tni_option_value *x = a, *y = b;

	return x->opt < y->opt ? -1 : x->opt > y->opt;
}

/* fixed:N is checked last, as max may stand behind it. */
static int check_fixed(const struct context *c, const struct tni_url *url)
{
	for (size_t i = 0; i < url->nparams; i++)
		if (!strcmp(url->params[i].key, "frame") && c->ep->frame.size > c->ep->frame.max)
			return fail_key(c, &url->params[i], url->params[i].value_at,
					"such messages are longer than max allows; set max as well");
	return 0;
}

/* An inherited descriptor does not say in its URL what it is. */
static int socket_type(const struct tni_endpoint *ep)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (ep->scheme->place != TNI_AT_FD)
		return ep->scheme->type;
	return getsockopt(ep->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ? 0 : type;
}

/* What is no socket (a pipe, a file) is a stream as well. */
static bool is_stream(const struct tni_endpoint *ep)
{
	int type = socket_type(ep);

	return !type || type == SOCK_STREAM;
}

/* Formats that tell themselves where a message ends have a frame of their name; the others need one on a stream. */
static int frame_for_format(const struct context *c, const struct tni_url *url)
{
	struct tni_endpoint *ep = c->ep;
	const struct tni_url_param *format = NULL;
	bool framed = false;
	char why[256];

	for (size_t i = 0; i < url->nparams; i++) {
		if (!strcmp(url->params[i].key, "frame"))
			framed = true;
		if (!strcmp(url->params[i].key, "format"))
			format = &url->params[i];
	}
	if (!ep->codec || !format || ep->frame.ops != tni_frame_at(0) || !is_stream(ep))
		return 0;
	if (!framed && tni_frame_find(ep->codec->name, &ep->frame) == 0)
		return 0;
	snprintf(why, sizeof(why), "key 'format': where does a message of %s end? Add frame=line, frame=u32, ...",
		 ep->codec->name);
	return fail_at(c, format->key_at, why);
}

/* Only where messages have an end can one be late. */
static int check_request(const struct context *c, const struct tni_url *url)
{
	bool framed = c->ep->frame.ops != tni_frame_at(0);

	for (size_t i = 0; i < url->nparams; i++) {
		if (strcmp(url->params[i].key, "request") != 0)
			continue;
		if (!framed)
			return fail_key(c, &url->params[i], url->params[i].key_at,
					"applies to framed streams only; set frame as well");
		return 0;
	}
	if (framed && c->ep->role == TN_SERVE)
		c->ep->request_ns = REQUEST_NS;
	return 0;
}

/* What sockets below the transports cannot do without. */
static int check_raw(const struct context *c, const struct tni_url *url)
{
	struct tni_endpoint *ep = c->ep;
	enum tni_raw_kind kind = tni_scheme_raw(ep->scheme);
	struct tn_addr at = {0}, to;

	if (kind == TNI_RAW_IP && !ep->protocol)
		return fail_at(c, (long)strlen(c->text), "which protocol? Add ?proto=N (or its name: icmp, gre, ...)");
	if (kind == TNI_RAW_PACKET && !ep->protocol)
		ep->protocol = tni_raw_protocol(kind, "all");
	for (size_t i = 0; i < url->nparams && ep->to; i++)
		if (!strcmp(url->params[i].key, "to") && tni_raw_neighbour(&to, &at, ep->to) < 0)
			return fail_at(c, url->params[i].value_at, "an address of a link looks like aa:bb:cc:dd:ee:ff");
	if (kind == TNI_RAW_ICMP)
		ep->protocol = ep->scheme->protocol;
	if (kind == TNI_RAW_IP || kind == TNI_RAW_ICMP)
		ep->port = ep->protocol; /* where the kernel keeps it; without, it would not remember the peer */
	return 0;
}

static int parse_params(const struct context *c, const struct tni_url *url)
{
	int rc = 0;

	c->ep->options = calloc(url->nparams + 1, sizeof(*c->ep->options));
	if (!c->ep->options)
		return tni_err(-ENOMEM, "URL: out of memory");
	for (size_t i = 0; i < url->nparams && rc == 0; i++) {
		const struct tni_url_param *param = &url->params[i];
		const struct own_key *own = find_own(param->key);
		const struct tni_sockopt *opt = own ? NULL : tni_sockopt_find(param->key);

		if (own)
			rc = check_own(c, param, own);
		else if (opt)
			rc = parse_sockopt(c, param, opt);
		else
			rc = fail_unknown_key(c, param);
	}
	if (rc == 0)
		rc = frame_for_format(c, url);
	c->ep->frame.skips_blank = c->ep->codec && c->ep->codec->blank_is_none;
	if (rc == 0)
		rc = check_fixed(c, url);
	if (rc == 0)
		rc = check_request(c, url);
	if (rc == 0)
		rc = check_raw(c, url);
	if (rc == 0)
		rc = check_bind(c, url);
	/* The table's order is the one in which they can be set without undoing each other. */
	qsort(c->ep->options, c->ep->noptions, sizeof(*c->ep->options), by_table);
	return rc;
}

/* ---- places ---- */

/* What another module found wrong, at its place in the URL. */
static int fail_as_told(const struct context *c, long at, int rc)
{
	char why[512];

	if (rc != TN_EURL)
		return rc;
	snprintf(why, sizeof(why), "%s", tn_errmsg());
	return fail_at(c, at, why);
}

static int find_port(const struct context *c, const struct tni_url *url)
{
	const char *protocol = c->ep->scheme->type == SOCK_DGRAM ? "udp" : "tcp";
	char why[256];

	c->ep->port = tni_names_service(url->service, protocol);
	if (c->ep->port == -ENOMEM)
		return tni_err(-ENOMEM, "URL: out of memory");
	if (c->ep->port >= 0)
		return 0;
	if (access("/etc/services", R_OK) < 0)
		snprintf(why, sizeof(why),
			 "the port of '%.64s' is unknown: there is no /etc/services here (Debian: package netbase); "
			 "write the number",
			 url->service);
	else
		snprintf(why, sizeof(why), "there is no service '%.64s' for %s in /etc/services; write the number",
			 url->service, protocol);
	return fail_at(c, url->port_at, why);
}

/* Letters beyond ASCII become what stands in DNS, in hosts(5) and in certificates. */
static int keep_host(const struct context *c, const struct tni_url *url)
{
	char ascii[TNI_IDN_MAX];
	const char *host = url->host;
	int rc = 0;

	if (!tni_idn_is_ascii(host)) {
		rc = tni_idn_to_ascii(host, ascii, sizeof(ascii));
		host = ascii;
	}
	if (rc == 0)
		rc = tni_addr_check_host(host);
	if (rc < 0)
		return fail_as_told(c, url->host_at, rc);
	c->ep->host = strdup(host);
	return c->ep->host ? 0 : tni_err(-ENOMEM, "URL: out of memory");
}

static int parse_host(const struct context *c, const struct tni_url *url)
{
	struct tn_addr addr;
	int rc;

	if (!url->host)
		return fail_at(c, url->path_at,
			       c->ep->scheme->place == TNI_AT_ADDR ? "after the scheme comes // and a host"
								   : "after the scheme comes // and host:port");
	if (url->path[0] && strcmp(url->path, "/") != 0)
		return fail_at(c, url->path_at, "this scheme has no path");
	if (c->ep->scheme->place == TNI_AT_ADDR && url->port_at >= 0)
		return fail_at(c, url->port_at, "there are no ports here");
	if (c->ep->scheme->place == TNI_AT_HOST && url->port_at < 0)
		return fail_at(c, url->path_at,
			       c->ep->role == TN_SERVE ? "the port is missing (:0 takes any free one)"
						       : "the port is missing");
	c->ep->port = url->port;
	if (url->service && (rc = find_port(c, url)) < 0)
		return rc;
	if (c->ep->port == 0 && c->ep->role == TN_DIAL)
		return fail_at(c, url->port_at, "port 0 can be served but not dialled");
	if (!strcmp(url->host, "*") && c->ep->role == TN_DIAL)
		return fail_at(c, url->host_at, "'*' can be served but not dialled");
	rc = keep_host(c, url);
	if (rc < 0)
		return rc;
	if (tni_addr_literal(&addr, c->ep->host, 0) == 0 && c->ep->scheme->family != AF_UNSPEC &&
	    tni_addr_family(&addr) != c->ep->scheme->family)
		return fail_at(c, url->host_at, "this address is of the other IP version");
	if (c->ep->scheme->secure && tni_addr_literal(&addr, url->host, 0) == 0 && tni_addr_is_multicast(&addr))
		return fail_at(c, url->host_at, "a multicast group is many hosts: what is secured has one peer");
	return 0;
}

/* unix:///path and unix://localhost/path, as gRPC, Docker and RFC 8089 write it. */
static int check_local(const struct context *c, const struct tni_url *url)
{
	char why[900];

	if (url->port_at < 0 && (!*url->host || tni_addr_is_localhost(url->host, false)) && url->path_len)
		return 0;
	snprintf(why, sizeof(why), "a path has no host: write %s:/%.200s%.200s, or %s:%.200s%.200s if it is relative",
		 c->ep->scheme->name, url->host, url->path, c->ep->scheme->name, url->host, url->path);
	return fail_at(c, url->host_at, why);
}

static int parse_path(const struct context *c, const struct tni_url *url)
{
	struct tn_addr addr;
	char why[128];
	int rc = 0;

	if (url->host)
		rc = check_local(c, url);
	if (rc < 0)
		return rc;
	if (!url->path_len || (url->path_len == 1 && url->path[0] == '@'))
		return fail_at(c, url->path_at, "the path is missing: /path, or @name for the abstract namespace");
	if (tni_addr_unix(&addr, url->path, url->path_len) < 0) {
		snprintf(why, sizeof(why), "the path has %zu bytes; the system allows 107", url->path_len);
		return fail_at(c, url->path_at, why);
	}
	if (url->path[0] != '@' && memchr(url->path, '\0', url->path_len))
		return fail_at(c, url->path_at, "a path cannot hold a zero byte");
	c->ep->host_len = url->path_len;
	c->ep->host = malloc(url->path_len + 1);
	if (!c->ep->host)
		return tni_err(-ENOMEM, "URL: out of memory");
	memcpy(c->ep->host, url->path, url->path_len + 1);
	return 0;
}

static int parse_link(const struct context *c, const struct tni_url *url)
{
	struct tn_addr addr;

	if (url->host || !url->path_len)
		return fail_at(c, url->path_at,
			       "an interface's name is missing: packet:eth0, or packet:* for every one");
	if (!strcmp(url->path, "*") && c->ep->role == TN_DIAL)
		return fail_at(c, url->path_at, "'*' can be served but not dialled");
	if (tni_raw_interface(&addr, url->path, 0) < 0) {
		char why[512];

		snprintf(why, sizeof(why), "%s", tn_errmsg());
		return fail_at(c, url->path_at, why);
	}
	c->ep->host = strdup(url->path);
	return c->ep->host ? 0 : tni_err(-ENOMEM, "URL: out of memory");
}

static int parse_fd(const struct context *c, const struct tni_url *url)
{
	char *end;
	long fd;

	if (url->host || !url->path_len)
		return fail_at(c, url->path_at, "a descriptor's number is missing: fd:3");
	errno = 0;
	fd = strtol(url->path, &end, 10);
	if (errno || *end || fd < 0 || fd > 1 << 24 || url->path[0] < '0' || url->path[0] > '9')
		return fail_at(c, url->path_at, "a descriptor is a number: fd:3");
	c->ep->fd = (int)fd;
	return 0;
}

/* Schemes of elsewhere, and what carries the same bytes here. Blanks separate the words. */
static const struct {
	const char *names, *scheme, *why;
	int port; /* that the scheme stands for */
} other_schemes[] = {
	{"http ws", "tcp", "HTTP is not spoken here, only carried", 80},
	{"https wss", "tls", "HTTP is not spoken here, only carried", 443},
	{"ssl tcps tls+tcp tcp+tls openssl openssl-connect openssl-listen ssl-l", "tls", NULL, -1},
	{"udps dtls+udp udp+tls openssl-dtls", "dtls", NULL, -1},
	{"tcp-connect tcp-listen tcp-l telnet nc stream", "tcp", NULL, -1},
	{"udp-connect udp-listen udp-recv udp-sendto udp-l datagram", "udp", NULL, -1},
	{"unix-stream unix-connect unix-listen uds local socket sock ipc unixstream", "unix", NULL, -1},
	{"unixgram unix-sendto unix-recv unixdgram", "unix-dgram", NULL, -1},
	{"unixpacket unix-seq seqpacket", "unix-seqpacket", NULL, -1},
	{"ping icmpv4 icmpv6", "icmp", NULL, -1},
	{"ip ip4 ip6 ip4-sendto", "raw", NULL, -1},
	{"eth ether ethernet link interface", "packet", NULL, -1},
	{"stdio stdin stdout file pipe open", "fd", NULL, -1},
};

/* Whether a text begins with a scheme, or one of elsewhere that is hardly a host's name: "tcp:..." and "tcp-listen:..."
 * are no places. */
static bool begins_with_scheme(const char *text)
{
	size_t len = strcspn(text, ":");
	char low[32] = "";

	for (size_t i = 0; i < len && len < sizeof(low); i++)
		low[i] = (char)tolower((unsigned char)text[i]);
	for (size_t i = 0; strpbrk(low, "-+") && i < sizeof(other_schemes) / sizeof(other_schemes[0]); i++)
		if (in_list(other_schemes[i].names, low))
			return true;

	for (size_t i = 0; i < NSCHEMES; i++)
		if (strlen(schemes[i].name) == len && !strncasecmp(schemes[i].name, text, len))
			return true;
	return false;
}

static bool is_service(const char *port)
{
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(port, "?"), port);
	return name[strspn(name, "0123456789")] == '\0' || tni_names_service(name, "tcp") >= 0;
}

/* What has no scheme is TCP: localhost:10000. A word in the place of the port must be known,
 * or "foo:bar" would be one. */
static bool is_bare_place(const char *text)
{
	const char *port = *text == '[' ? strchr(text, ']') : text;

	if (!tni_url_is_place(text) || begins_with_scheme(text))
		return false;
	return *text == ':' || *text == '[' || !strncasecmp(text, "localhost:", 10) ||
	       is_service(strchr(port, ':') + 1);
}

static int read_text(const struct context *c, struct tni_url *url)
{
	char why[256];

	*url = (struct tni_url){.port = -1};
	if (is_bare_place(c->text))
		return tni_url_parse_place(url, c->text, schemes[0].name);
	if (*c->text == '/' || !strncmp(c->text, "./", 2) || !strncmp(c->text, "../", 3) || *c->text == '@') {
		snprintf(why, sizeof(why), "no scheme; a Unix socket is written unix:%.100s", c->text);
		return fail_at(c, 0, why);
	}
	if (*c->text && c->text[strspn(c->text, "0123456789")] == '\0') {
		snprintf(why, sizeof(why), "a port alone: write localhost:%.8s (TCP), or a whole URL: tcp://, udp://",
			 c->text);
		return fail_at(c, 0, why);
	}
	if (*c->text && !strchr(c->text, ':')) {
		snprintf(why, sizeof(why),
			 "the port is missing: %.100s:PORT (TCP), or a whole URL: tcp://, udp://, unix:", c->text);
		return fail_at(c, (long)strlen(c->text), why);
	}
	return tni_url_parse(url, c->text);
}

static const char *all_schemes(char *out, size_t cap)
{
	size_t used = 0;

	for (size_t i = 0; i < NSCHEMES && used < cap; i++)
		used += (size_t)snprintf(out + used, cap - used, "%s%s", i ? " " : "", schemes[i].name);
	return out;
}

/* A scheme that is known elsewhere. 1: this is none. */
static int fail_scheme_elsewhere(const struct context *c, const struct tni_url *url)
{
	char why[512];

	for (size_t i = 0; i < sizeof(other_schemes) / sizeof(other_schemes[0]); i++) {
		if (!in_list(other_schemes[i].names, url->scheme))
			continue;
		if (other_schemes[i].why && url->host && *url->host)
			snprintf(why, sizeof(why), "unknown scheme '%.32s': %s; did you mean '%s://%s%.200s%s:%d'?",
				 url->scheme, other_schemes[i].why, other_schemes[i].scheme,
				 strchr(url->host, ':') ? "[" : "", url->host, strchr(url->host, ':') ? "]" : "",
				 url->port >= 0 ? url->port : other_schemes[i].port);
		else
			snprintf(why, sizeof(why), "unknown scheme '%.32s'; did you mean '%s'?", url->scheme,
				 other_schemes[i].scheme);
		return fail_at(c, 0, why);
	}
	return 1;
}

static int find_scheme(const struct context *c, const struct tni_url *url)
{
	const char *names[NSCHEMES], *near;
	char why[512], all[400];
	int rc;

	for (size_t i = 0; i < NSCHEMES; i++) {
		names[i] = schemes[i].name;
		if (!strcmp(url->scheme, schemes[i].name)) {
			c->ep->scheme = &schemes[i];
			return 0;
		}
	}
	rc = fail_scheme_elsewhere(c, url);
	if (rc < 0)
		return rc;
	near = tn_nearest(url->scheme, names, NSCHEMES);
	if (near)
		snprintf(why, sizeof(why), "unknown scheme '%.32s'; did you mean '%s'?", url->scheme, near);
	else
		snprintf(why, sizeof(why), "unknown scheme '%.32s'; there are %s", url->scheme,
			 all_schemes(all, sizeof(all)));
	return fail_at(c, 0, why);
}

static int understand(const struct context *c, const struct tni_url *url)
{
	int rc = find_scheme(c, url);

	if (rc < 0)
		return rc;
	if (c->ep->scheme->secure && !HAVE_TLS)
		return fail_at(c, 0, "this build of tenon has no TLS (it was built without OpenSSL)");
	if (c->ep->scheme->secure && c->ep->scheme->type == SOCK_DGRAM) {
		c->ep->tls.datagrams = true;
		if (c->ep->role == TN_SERVE) /* nothing else tells that a peer has gone */
			c->ep->idle_ns = DTLS_IDLE_NS;
	}
	if (c->ep->scheme->place == TNI_AT_HOST || c->ep->scheme->place == TNI_AT_ADDR)
		rc = parse_host(c, url);
	else if (c->ep->scheme->place == TNI_AT_LINK)
		rc = parse_link(c, url);
	else if (c->ep->scheme->place == TNI_AT_PATH)
		rc = parse_path(c, url);
	else
		rc = parse_fd(c, url);
	return rc < 0 ? rc : parse_params(c, url);
}

int tni_endpoint_new(const char *text, enum tn_role role, struct tni_endpoint **out)
{
	struct context c = {.text = text, .ep = calloc(1, sizeof(*c.ep))};
	struct tni_url url;
	int rc;

	if (!c.ep)
		return tni_err(-ENOMEM, "URL: out of memory");
	*c.ep = (struct tni_endpoint){
		.role = role,
		.fd = -1,
		.frame = {.ops = tni_frame_at(0), .max = 1 << 20},
		.queue = 128 * 1024,
		.codec_opts = {.max_depth = TNI_DEPTH_DEFAULT},
		.connect_ns = 30 * TNI_NS_PER_S,
		.drain_ns = 5 * TNI_NS_PER_S,
		.spin_ns = TNI_NEVER,
		.backlog = 4096,
		.mode = -1,
		.user = -1,
		.group = -1,
		.handshake_ns = 10 * TNI_NS_PER_S,
		.tls = {.min_version = 12, .tickets = 2},
	};
	c.ep->url = strdup(text);
	rc = c.ep->url ? read_text(&c, &url) : tni_err(-ENOMEM, "URL: out of memory");
	if (rc == 0) {
		rc = understand(&c, &url);
		tni_url_free(&url);
	}
	if (rc != 0) {
		tni_endpoint_free(c.ep);
		return rc;
	}
	*out = c.ep;
	return 0;
}

void tni_endpoint_free(struct tni_endpoint *ep)
{
	if (!ep)
		return;
	free(ep->url);
	free(ep->host);
	free(ep->options);
	free(ep->to);
	free(ep->bind);
	tni_creds_spec_free(&ep->tls);
	tn_bytes_free(&ep->encoded);
	free(ep);
}

/* ---- addresses ---- */

/* v6only=off: the IPv6 socket at '*' has the IPv4 addresses too, so that a second socket could not bind to them. */
static bool is_dual(const struct tni_endpoint *ep)
{
	for (size_t i = 0; i < ep->noptions; i++)
		if (!strcmp(ep->options[i].opt->key, "v6only"))
			return !ep->options[i].value.number;
	return false;
}

int tni_endpoint_addrs(const struct tni_endpoint *ep, struct tn_addr *addrs, int max, bool *optional)
{
	int family = ep->scheme->family, n = 0;
	bool any = !strcmp(ep->host, "*");
	struct tn_addr *found = NULL;

	*optional = false;
	if (any || !*ep->host || tni_addr_is_localhost(ep->host, false)) {
		void (*make)(struct tn_addr *, int, int) = any ? tni_addr_any : tni_addr_loopback;

		if (family != AF_INET6 && !(any && family != AF_INET && is_dual(ep)))
			make(&addrs[n++], AF_INET, ep->port);
		if (family != AF_INET)
			make(&addrs[n++], AF_INET6, ep->port);
		*optional = n > 1;
		return n;
	}
	n = tni_resolve_now(ep->host, family, ep->port, RESOLVE_TIMEOUT_MS, &found);
	if (n > max)
		n = tni_err(-E2BIG, "%s has %d addresses, and there is room for %d: name one of them", ep->host, n,
			    max);
	else if (n > 0)
		memcpy(addrs, found, (size_t)n * sizeof(*addrs));
	free(found);
	return n < 0 ? tni_err_prefix(n, "%s", ep->url) : n;
}

/* ---- credentials ---- */

static bool is_loopback(const struct tni_endpoint *ep)
{
	if (ep->scheme->place != TNI_AT_HOST || !*ep->host || tni_addr_is_localhost(ep->host, true))
		return true;
	return !strncmp(ep->host, "127.", 4) || !strcmp(ep->host, "::1");
}

static int fail_creds(const struct tni_endpoint *ep, int rc, const char *culprit)
{
	const struct context c = {.text = ep->url};
	struct tni_url url;
	char why[700];
	long at = -1;

	if (culprit && read_text(&c, &url) == 0) {
		for (size_t i = 0; i < url.nparams; i++)
			if (!strcmp(url.params[i].key, culprit))
				at = url.params[i].value_at;
		tni_url_free(&url);
	}
	snprintf(why, sizeof(why), "%s", tn_errmsg());
	if (at >= 0)
		tni_err(rc, "%.300s: key '%s': %s", ep->url, culprit, why);
	else
		tni_err(rc, "%.300s: %s%s", ep->url, why,
			ep->role == TN_SERVE && is_loopback(ep) && !ep->tls.cert && !ep->tls.psk_file
				? "; make one for this machine with: tenon cert new --out certs --host localhost; "
				  "then add ?cert=certs/server.pem&key=certs/server.key"
				: "");
	tni_err_at(at);
	return rc;
}

int tni_endpoint_creds(const struct tni_endpoint *ep, struct tni_creds **creds)
{
	const char *culprit;
	int rc = ep->role == TN_SERVE ? tni_creds_serve(&ep->tls, creds, &culprit)
				      : tni_creds_dial(&ep->tls, creds, &culprit);

	return rc < 0 ? fail_creds(ep, rc, culprit) : 0;
}

/* ---- sockets below the transports ---- */

int tni_endpoint_open(int family, void *arg)
{
	const struct tni_endpoint *ep = arg;
	struct tni_raw_spec spec = {.kind = tni_scheme_raw(ep->scheme),
				    .serving = ep->role == TN_SERVE,
				    .protocol = ep->protocol,
				    .frames = ep->frames};

	return tni_raw_open(&spec, family);
}

int tni_endpoint_neighbour(const struct tni_endpoint *ep, int fd, struct tn_addr *to)
{
	struct tn_addr at;

	if (ep->scheme->place != TNI_AT_LINK || ep->role != TN_DIAL)
		return 0;
	if (tni_addr_local(fd, &at) < 0)
		return -errno;
	return tni_raw_neighbour(to, &at, ep->to ? ep->to : "ff:ff:ff:ff:ff:ff");
}

/* ---- setting ---- */

static int set_option(const struct tni_option_value *o, int fd, int family)
{
	int rc = tni_sockopt_set(fd, family, o->opt, &o->value);

	if (rc > 0)
		tni_log(true, "%s", tn_errmsg());
	return rc < 0 ? rc : 0;
}

/* Of two sockets, one for each IP version, each joins the groups that it can hear. */
static bool is_the_others(const struct tni_endpoint *ep, const struct tni_option_value *o, int family)
{
	return tni_sockopt_is_list(o->opt) && o->value.family != family && ep->scheme->family == AF_UNSPEC &&
	       ep->host && !strcmp(ep->host, "*") && !is_dual(ep);
}

static int set_options(const struct tni_endpoint *ep, int fd, int family, bool listening)
{
	int rc = 0;

	for (size_t i = 0; i < ep->noptions && rc == 0; i++) {
		const struct tni_option_value *o = &ep->options[i];
		bool at_listen = tni_sockopt_stage(o->opt, ep->scheme->kinds) == TNI_STAGE_LISTEN;

		if (at_listen == listening && !is_the_others(ep, o, family) &&
		    tni_sockopt_applies(o->opt, ep->scheme->kinds, role_bit(ep->role), family))
			rc = set_option(o, fd, family);
	}
	return rc;
}

int tni_endpoint_prepare_listen(int fd, int family, void *arg)
{
	return set_options(arg, fd, family, true);
}

static const char *bind_hint(int err, int port)
{
	switch (err) {
	case EADDRNOTAVAIL:
		return " (no interface here has this address; `ip address` lists them)";
	case EADDRINUSE:
		return port ? " (another socket has this port; `tenon inspect` says whose)"
			    : " (no port is left at this address; bind_address_no_port=on makes room for many more)";
	case EACCES:
		return port && port < 1024 ? " (ports below 1024 need CAP_NET_BIND_SERVICE)" : "";
	default:
		return "";
	}
}

/* The end that a dialled connection comes from: key bind. */
static int bind_dialled(const struct tni_endpoint *ep, int fd, int family)
{
	struct tn_addr addr = ep->bind_addr;
	int on = 1, err;

	if (tni_addr_family(&addr) == AF_UNSPEC)
		tni_addr_any(&addr, family, ep->bind_port);
	/* Former connections from this port may linger, and another address of the same name may be tried from it. */
	if (ep->scheme->type == SOCK_STREAM && ep->bind_port)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, tn_addr_sockaddr(&addr), addr.len) == 0)
		return 0;
	err = errno;
	return tni_err(-err, "bind=%s: %s%s", ep->bind, tn_strerror(-err), bind_hint(err, ep->bind_port));
}

int tni_endpoint_prepare(int fd, int family, void *arg)
{
	const struct tni_endpoint *ep = arg;
	int on = 1, rc;

	/* A turn's bytes leave in one call anyhow, so Nagle's algorithm could only delay them. Accepted sockets inherit
	 * it. A failure is not the user's wish failing: an MPTCP of an old kernel does not know it. */
	if (ep->scheme->kinds & (TNI_SK_TCP | TNI_SK_MPTCP) && family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	rc = set_options(ep, fd, family, false);
	return rc < 0 || !ep->bind ? rc : bind_dialled(ep, fd, family);
}

void tni_endpoint_prepare_accepted(const struct tni_endpoint *ep, int fd, int family)
{
	for (size_t i = 0; i < ep->noptions; i++)
		if (tni_sockopt_stage(ep->options[i].opt, ep->scheme->kinds) == TNI_STAGE_CONN &&
		    set_option(&ep->options[i], fd, family) < 0)
			tni_log(true, "%s", tn_errmsg());
}

/* The scheme that an inherited descriptor would have been opened by. NULL: below the transports its address does not
 * say all of it. */
static const struct tni_scheme *scheme_of(int fd, const struct tn_addr *addr, int type)
{
	enum tni_place place = tni_addr_family(addr) == AF_UNIX ? TNI_AT_PATH : TNI_AT_HOST;
	int family, kind = tni_sockopt_kind(fd, &family);

	if (kind == TNI_SK_RAW || kind == TNI_SK_PING || kind == TNI_SK_PACKET)
		return NULL;
	for (size_t i = 0; i < NSCHEMES; i++)
		if (schemes[i].place == place && schemes[i].type == (type ? type : SOCK_STREAM))
			return &schemes[i];
	return NULL;
}

/* It says all that is needed to serve or dial it. */
static const char *raw_url_of(const struct tni_endpoint *ep, const struct tn_addr *addr, char *out, size_t cap)
{
	struct tn_addr bare = *addr;
	char text[TNI_URL_TEXT];

	tni_addr_set_port(&bare, 0);
	if (ep->scheme->place == TNI_AT_LINK)
		snprintf(out, cap, "%s:%s?proto=0x%04x%s", ep->scheme->name, ep->host, (unsigned)ep->protocol,
			 ep->frames ? "&type=raw" : "");
	else if (ep->scheme->protocol)
		snprintf(out, cap, "%s://%s", ep->scheme->name, tn_addr_text(&bare, text, sizeof(text)));
	else
		snprintf(out, cap, "%s://%s?proto=%d", ep->scheme->name, tn_addr_text(&bare, text, sizeof(text)),
			 ep->protocol);
	return out;
}

const char *tni_endpoint_url_of(const struct tni_endpoint *ep, const struct tn_addr *addr, char *out, size_t cap)
{
	const struct tni_scheme *scheme = ep->scheme;
	char text[TNI_URL_TEXT];
	size_t len;
	const char *path = tni_addr_path(addr, &len);

	if (scheme->place == TNI_AT_FD && tni_addr_family(addr) != AF_UNSPEC)
		scheme = scheme_of(ep->fd, addr, scheme->type);
	if (scheme && tni_scheme_raw(scheme))
		return raw_url_of(ep, addr, out, cap);
	tn_addr_text(addr, text, sizeof(text));
	if (path && path[0] == '\0') {
		text[0] = '@';
		tni_url_escape(path + 1, len - 1, text + 1, sizeof(text) - 1);
	} else if (path) {
		tni_url_escape(path, len, text, sizeof(text));
	}
	if (!scheme || scheme->place == TNI_AT_FD)
		snprintf(out, cap, "fd:%d", ep->fd);
	else
		snprintf(out, cap, "%s:%s%s", scheme->name, scheme->place == TNI_AT_HOST ? "//" : "", text);
	return out;
}

/* ---- reading back ---- */

static const char *verify_text(const struct tni_endpoint *ep)
{
	static const char *const words[] = {"", "off", "optional", "require", "on"};

	if (ep->tls.verify != TNI_VERIFY_DEFAULT)
		return words[ep->tls.verify];
	return ep->role == TN_DIAL ? "on" : ep->tls.ca ? "require" : "off";
}

static int read_own(const struct tni_endpoint *ep, const struct own_key *own, char *value, size_t cap)
{
	const void *field = (const char *)ep + own->at;

	if (!(own->roles & role_bit(ep->role)) || !is_meant(own, ep->scheme) ||
	    (own->roles & TLS_ONLY && !ep->scheme->secure) ||
	    (own->roles & PROTOCOL_ONLY && (!ep->protocol || ep->scheme->protocol)) ||
	    (own->roles & PACKET_ONLY && ep->scheme->place != TNI_AT_LINK) ||
	    (own->roles & PATH_ONLY && (ep->scheme->place != TNI_AT_PATH || *(const int *)field < 0)) ||
	    (own->type == OWN_BIND && ep->scheme->place != TNI_AT_HOST && ep->scheme->place != TNI_AT_ADDR))
		return -EOPNOTSUPP;
	if (own->type == OWN_FRAME && ep->frame.size)
		snprintf(value, cap, "fixed:%u", ep->frame.size);
	else if (own->type == OWN_FRAME)
		snprintf(value, cap, "%s", ep->frame.ops->name);
	else if (own->type == OWN_FORMAT)
		snprintf(value, cap, "%s", ep->codec ? ep->codec->name : "raw");
	else if (own->type == OWN_BAD)
		snprintf(value, cap, "%s", ep->bad == TNI_BAD_SKIP ? "skip" : "close");
	else if (own->type == OWN_BOOL)
		snprintf(value, cap, "%s", *(const bool *)field ? "on" : "off");
	else if (own->type == OWN_BIND)
		snprintf(value, cap, "%s", ep->bind ? ep->bind : ":0");
	else if (own->type == OWN_TEXT)
		snprintf(value, cap, "%s", *(char *const *)field ? *(char *const *)field : "");
	else if (own->type == OWN_VERIFY)
		snprintf(value, cap, "%s", verify_text(ep));
	else if (own->type == OWN_TLS_VERSION)
		snprintf(value, cap, "1.%d",
			 (*(const int *)field ? *(const int *)field
			  : ep->tls.datagrams ? 12
					      : 13) -
				 10);
	else if (own->type == OWN_PROTOCOL)
		snprintf(value, cap, ep->scheme->place == TNI_AT_LINK ? "0x%04x" : "%d", *(const int *)field);
	else if (own->type == OWN_PACKET)
		snprintf(value, cap, "%s", ep->frames ? "raw" : "dgram");
	else if (own->type == OWN_MODE)
		snprintf(value, cap, "%o", (unsigned)*(const int *)field);
	else if ((own->type == OWN_USER || own->type == OWN_GROUP) && *(const int *)field != -1)
		snprintf(value, cap, "%u", (unsigned)*(const int *)field);
	else if (own->type == OWN_COUNT || own->type == OWN_USER || own->type == OWN_GROUP)
		snprintf(value, cap, "%d", *(const int *)field);
	else if (own->type == OWN_SIZE)
		tni_format_size(*(const uint32_t *)field, value, cap);
	else if (own->type == OWN_SPIN && *(const uint64_t *)field == TNI_NEVER)
		snprintf(value, cap, "auto");
	else
		tni_format_duration(*(const uint64_t *)field, value, cap);
	return 0;
}

int tni_endpoint_read_option(const struct tni_endpoint *ep, int fd, const char *key, char *value, size_t cap)
{
	const struct own_key *own = find_own(key);
	const struct tni_sockopt *opt = own ? NULL : tni_sockopt_find(key);
	struct tn_addr addr;

	if (own)
		return read_own(ep, own, value, cap);
	if (!opt)
		return -EINVAL;
	if (fd < 0 || tni_addr_local(fd, &addr) < 0 ||
	    !tni_sockopt_applies(opt, ep->scheme->kinds, role_bit(ep->role), tni_addr_family(&addr)))
		return -EOPNOTSUPP;
	return tni_sockopt_get(fd, tni_addr_family(&addr), opt, value, cap) < 0 ? -EOPNOTSUPP : 0;
}

/* ---- public ---- */

int tn_url_check(const char *url, enum tn_role role)
{
	struct tni_endpoint *ep;
	const char *culprit;
	int rc = tni_endpoint_new(url, role, &ep);

	if (rc != 0)
		return rc;
	if (ep->scheme->secure) {
		rc = tni_creds_check(&ep->tls, role == TN_SERVE, &culprit);
		if (rc < 0)
			rc = fail_creds(ep, rc, culprit);
	}
	tni_endpoint_free(ep);
	return rc;
}

/* For questions to which the role does not matter. */
static int endpoint_of_either_role(const char *text, struct tni_endpoint **ep)
{
	int rc = tni_endpoint_new(text, TN_DIAL, ep);

	return rc != 0 ? tni_endpoint_new(text, TN_SERVE, ep) : 0;
}

static int place_addrs(const struct tni_endpoint *ep, struct tn_place *place)
{
	bool optional;

	if (ep->scheme->place == TNI_AT_LINK) {
		place->naddrs = strcmp(ep->host, "*") != 0;
		return tni_raw_interface(&place->addrs[0], ep->host, ep->protocol);
	}
	if (ep->scheme->place == TNI_AT_PATH) {
		place->naddrs = 1;
		return tni_addr_unix(&place->addrs[0], ep->host, ep->host_len);
	}
	if (!strcmp(ep->host, "*"))
		return 0;
	place->naddrs = tni_endpoint_addrs(ep, place->addrs, TN_PLACE_ADDRS_MAX, &optional);
	return place->naddrs < 0 ? place->naddrs : 0;
}

int tn_url_place(const char *url, struct tn_place *place)
{
	struct tni_endpoint *ep;
	int rc = endpoint_of_either_role(url, &ep);

	if (rc != 0)
		return rc;
	if (ep->scheme->place == TNI_AT_FD) {
		tni_endpoint_free(ep);
		return tni_err(TN_EURL, "%s: an inherited descriptor has no place of its own", url);
	}
	*place = (struct tn_place){.family = ep->scheme->family,
				   .type = ep->scheme->type,
				   .protocol = ep->scheme->protocol,
				   .port = ep->scheme->place == TNI_AT_HOST ? ep->port : -1};
	if (ep->scheme->kinds & TNI_SK_TCP)
		place->protocol = IPPROTO_TCP;
	else if (ep->scheme->kinds & TNI_SK_UDP)
		place->protocol = IPPROTO_UDP;
	else if (tni_scheme_raw(ep->scheme) == TNI_RAW_IP || ep->frames)
		place->type = SOCK_RAW;
	if (tni_scheme_raw(ep->scheme))
		place->protocol = ep->protocol;
	rc = place_addrs(ep, place);
	tni_endpoint_free(ep);
	return rc;
}

int tn_url_has_key(const char *text, const char *key)
{
	const struct context c = {.text = text};
	struct tni_url url;
	int rc = read_text(&c, &url);

	if (rc < 0)
		return rc;
	rc = tni_url_get(&url, key) != NULL;
	tni_url_free(&url);
	return rc;
}

int tn_url_keeps_messages(const char *text)
{
	struct tni_endpoint *ep;
	int rc = endpoint_of_either_role(text, &ep);

	if (rc != 0)
		return rc;
	rc = !is_stream(ep) || ep->frame.ops != tni_frame_at(0);
	tni_endpoint_free(ep);
	return rc;
}

/* The socket of a scheme, or of an inherited descriptor. 0: it is no socket. */
static unsigned socket_kind(const struct tni_endpoint *ep)
{
	int family, kind;

	if (ep->scheme->place != TNI_AT_FD)
		return ep->scheme->kinds;
	kind = tni_sockopt_kind(ep->fd, &family);
	return kind > 0 ? (unsigned)kind : 0;
}

int tn_url_kind(const char *text)
{
	struct tni_endpoint *ep;
	int rc = endpoint_of_either_role(text, &ep), kind, type;
	unsigned socket;
	bool datagrams;

	if (rc != 0)
		return rc;
	socket = socket_kind(ep);
	type = socket_type(ep);
	datagrams = type == SOCK_DGRAM || type == SOCK_RAW;
	kind = (ep->scheme->secure ? TN_URL_SECURE : 0) | (ep->scheme->place == TNI_AT_FD ? TN_URL_INHERITED : 0);
	if (socket & (TNI_SK_UNIX_STREAM | TNI_SK_UNIX_DGRAM | TNI_SK_UNIX_SEQPACKET))
		kind |= TN_URL_LOCAL;
	if (type == SOCK_SEQPACKET || datagrams)
		kind |= TN_URL_PACKETS;
	if (datagrams)
		kind |= TN_URL_DATAGRAMS | (kind & TN_URL_LOCAL ? 0 : TN_URL_LOSSY);
	if (datagrams && socket & (TNI_SK_RAW | TNI_SK_PING | TNI_SK_PACKET))
		kind |= TN_URL_BELOW;
	if (socket & TNI_SK_PING)
		kind |= TN_URL_ICMP;
	tni_endpoint_free(ep);
	return kind;
}

const char *tn_scheme_at(int index)
{
	static const char *const places[] = {
		[TNI_AT_HOST] = "://HOST:PORT", [TNI_AT_PATH] = ":/PATH", [TNI_AT_ADDR] = "://HOST",
		[TNI_AT_LINK] = ":INTERFACE",   [TNI_AT_FD] = ":NUMBER",
	};
	static _Thread_local char form[64];
	const struct tni_scheme *scheme;

	if (index < 0 || (size_t)index >= NSCHEMES)
		return NULL;
	scheme = &schemes[index];
	snprintf(form, sizeof(form), "%s%s%s", scheme->name, places[scheme->place],
		 tni_scheme_raw(scheme) == TNI_RAW_IP ? "?proto=N" : "");
	return form;
}

int tn_option_at(int index, struct tn_option *option)
{
	static _Thread_local char applies[128];
	const struct tni_sockopt *opt;

	if (index >= 0 && (size_t)index < NOWN) {
		const struct own_key *own = &own_keys[index];

		*option = (struct tn_option){
			.key = own->key, .type = own->type_text, .applies = own->applies, .meaning = own->meaning};
		return 0;
	}
	opt = index < 0 ? NULL : tni_sockopt_at((size_t)index - NOWN);
	if (!opt)
		return -ENOENT;
	*option = (struct tn_option){.key = opt->key,
				     .constant = opt->constant,
				     .level = opt->level,
				     .type = tni_sockopt_type_text(opt),
				     .applies = tni_sockopt_applies_text(opt, applies, sizeof(applies)),
				     .meaning = opt->meaning};
	return 0;
}
