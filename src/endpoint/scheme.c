#include "endpoint/scheme.h"

#include "endpoint/words.h"
#include "tenon.h"

#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static const struct tni_scheme schemes[] = {
	{"tcp", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, 0, TNI_SK_TCP, false, TNI_WEB_NOT, false, 0, false},
	{"tcp4", TNI_AT_HOST, AF_INET, SOCK_STREAM, 0, TNI_SK_TCP, false, TNI_WEB_NOT, false, 0, false},
	{"tcp6", TNI_AT_HOST, AF_INET6, SOCK_STREAM, 0, TNI_SK_TCP, false, TNI_WEB_NOT, false, 0, false},
	{"udp", TNI_AT_HOST, AF_UNSPEC, SOCK_DGRAM, 0, TNI_SK_UDP, false, TNI_WEB_NOT, false, 0, false},
	{"udp4", TNI_AT_HOST, AF_INET, SOCK_DGRAM, 0, TNI_SK_UDP, false, TNI_WEB_NOT, false, 0, false},
	{"udp6", TNI_AT_HOST, AF_INET6, SOCK_DGRAM, 0, TNI_SK_UDP, false, TNI_WEB_NOT, false, 0, false},
	{"mptcp", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, IPPROTO_MPTCP, TNI_SK_MPTCP, false, TNI_WEB_NOT, false, 0,
	 false},
	{"unix", TNI_AT_PATH, AF_UNIX, SOCK_STREAM, 0, TNI_SK_UNIX_STREAM, false, TNI_WEB_NOT, false, 0, false},
	{"unix-dgram", TNI_AT_PATH, AF_UNIX, SOCK_DGRAM, 0, TNI_SK_UNIX_DGRAM, false, TNI_WEB_NOT, false, 0, false},
	{"unix-seqpacket", TNI_AT_PATH, AF_UNIX, SOCK_SEQPACKET, 0, TNI_SK_UNIX_SEQPACKET, false, TNI_WEB_NOT, false, 0,
	 false},
	{"tls", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, 0, TNI_SK_TCP, true, TNI_WEB_NOT, false, 0, false},
	{"tls4", TNI_AT_HOST, AF_INET, SOCK_STREAM, 0, TNI_SK_TCP, true, TNI_WEB_NOT, false, 0, false},
	{"tls6", TNI_AT_HOST, AF_INET6, SOCK_STREAM, 0, TNI_SK_TCP, true, TNI_WEB_NOT, false, 0, false},
	{"tls+mptcp", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, IPPROTO_MPTCP, TNI_SK_MPTCP, true, TNI_WEB_NOT, false, 0,
	 false},
	{"tls+unix", TNI_AT_PATH, AF_UNIX, SOCK_STREAM, 0, TNI_SK_UNIX_STREAM, true, TNI_WEB_NOT, false, 0, false},
	{"ws", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, 0, TNI_SK_TCP, false, TNI_WEB_SOCKET, false, 80, false},
	{"ws4", TNI_AT_HOST, AF_INET, SOCK_STREAM, 0, TNI_SK_TCP, false, TNI_WEB_SOCKET, false, 80, false},
	{"ws6", TNI_AT_HOST, AF_INET6, SOCK_STREAM, 0, TNI_SK_TCP, false, TNI_WEB_SOCKET, false, 80, false},
	{"wss", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, 0, TNI_SK_TCP, true, TNI_WEB_SOCKET, false, 443, false},
	{"wss4", TNI_AT_HOST, AF_INET, SOCK_STREAM, 0, TNI_SK_TCP, true, TNI_WEB_SOCKET, false, 443, false},
	{"wss6", TNI_AT_HOST, AF_INET6, SOCK_STREAM, 0, TNI_SK_TCP, true, TNI_WEB_SOCKET, false, 443, false},
	{"ws+unix", TNI_AT_PATH, AF_UNIX, SOCK_STREAM, 0, TNI_SK_UNIX_STREAM, false, TNI_WEB_SOCKET, false, 0, false},
	{"http", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, 0, TNI_SK_TCP, false, TNI_WEB_REQUESTS, false, 80, false},
	{"http4", TNI_AT_HOST, AF_INET, SOCK_STREAM, 0, TNI_SK_TCP, false, TNI_WEB_REQUESTS, false, 80, false},
	{"http6", TNI_AT_HOST, AF_INET6, SOCK_STREAM, 0, TNI_SK_TCP, false, TNI_WEB_REQUESTS, false, 80, false},
	{"https", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, 0, TNI_SK_TCP, true, TNI_WEB_REQUESTS, false, 443, false},
	{"https4", TNI_AT_HOST, AF_INET, SOCK_STREAM, 0, TNI_SK_TCP, true, TNI_WEB_REQUESTS, false, 443, false},
	{"https6", TNI_AT_HOST, AF_INET6, SOCK_STREAM, 0, TNI_SK_TCP, true, TNI_WEB_REQUESTS, false, 443, false},
	{"http+unix", TNI_AT_PATH, AF_UNIX, SOCK_STREAM, 0, TNI_SK_UNIX_STREAM, false, TNI_WEB_REQUESTS, false, 0,
	 false},
#ifdef TNI_HAVE_PROXY
	{"proxy", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, 0, TNI_SK_TCP, false, TNI_WEB_NOT, true, 1080, false},
	{"proxy+unix", TNI_AT_PATH, AF_UNIX, SOCK_STREAM, 0, TNI_SK_UNIX_STREAM, false, TNI_WEB_NOT, true, 0, false},
	{"tls+proxy", TNI_AT_HOST, AF_UNSPEC, SOCK_STREAM, 0, TNI_SK_TCP, true, TNI_WEB_NOT, true, 1080, false},
#endif
#ifdef TNI_HAVE_SHM
	{"shm", TNI_AT_PATH, AF_UNIX, SOCK_STREAM, 0, TNI_SK_UNIX_STREAM, false, TNI_WEB_NOT, false, 0, true},
	{"tls+shm", TNI_AT_PATH, AF_UNIX, SOCK_STREAM, 0, TNI_SK_UNIX_STREAM, true, TNI_WEB_NOT, false, 0, true},
#endif
	/* Datagrams for all but tni_endpoint_open() */
	{"raw", TNI_AT_ADDR, AF_UNSPEC, SOCK_DGRAM, 0, TNI_SK_RAW, false, TNI_WEB_NOT, false, 0, false},
	{"raw4", TNI_AT_ADDR, AF_INET, SOCK_DGRAM, 0, TNI_SK_RAW, false, TNI_WEB_NOT, false, 0, false},
	{"raw6", TNI_AT_ADDR, AF_INET6, SOCK_DGRAM, 0, TNI_SK_RAW, false, TNI_WEB_NOT, false, 0, false},
	{"icmp", TNI_AT_ADDR, AF_UNSPEC, SOCK_DGRAM, IPPROTO_ICMP, TNI_SK_PING, false, TNI_WEB_NOT, false, 0, false},
	{"icmp4", TNI_AT_ADDR, AF_INET, SOCK_DGRAM, IPPROTO_ICMP, TNI_SK_PING, false, TNI_WEB_NOT, false, 0, false},
	{"icmp6", TNI_AT_ADDR, AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6, TNI_SK_PING, false, TNI_WEB_NOT, false, 0, false},
	{"packet", TNI_AT_LINK, AF_PACKET, SOCK_DGRAM, 0, TNI_SK_PACKET, false, TNI_WEB_NOT, false, 0, false},
	{"dtls", TNI_AT_HOST, AF_UNSPEC, SOCK_DGRAM, 0, TNI_SK_UDP, true, TNI_WEB_NOT, false, 0, false},
	{"dtls4", TNI_AT_HOST, AF_INET, SOCK_DGRAM, 0, TNI_SK_UDP, true, TNI_WEB_NOT, false, 0, false},
	{"dtls6", TNI_AT_HOST, AF_INET6, SOCK_DGRAM, 0, TNI_SK_UDP, true, TNI_WEB_NOT, false, 0, false},
	{"fd", TNI_AT_FD, AF_UNSPEC, 0, 0, 0xffffff, false, TNI_WEB_NOT, false, 0, false},
#ifdef TNI_HAVE_FILES
	{"file", TNI_AT_FILE, AF_UNSPEC, SOCK_STREAM, 0, 0, false, TNI_WEB_NOT, false, 0, false},
	{"tty", TNI_AT_TTY, AF_UNSPEC, SOCK_STREAM, 0, 0, false, TNI_WEB_NOT, false, 0, false},
	{"pty", TNI_AT_PTY, AF_UNSPEC, SOCK_STREAM, 0, 0, false, TNI_WEB_NOT, false, 0, false},
	{"exec", TNI_AT_EXEC, AF_UNSPEC, SOCK_STREAM, 0, 0, false, TNI_WEB_NOT, false, 0, false},
#endif
};

/* What stands in key via alone. */
static const struct proxy {
	struct tni_scheme scheme;
	enum tni_via_kind kind;
} proxies[] = {
#ifdef TNI_HAVE_PROXY
#define PROXY_AT(text, at, of, sort, tls, usual, speaks) \
	{                                                \
		.scheme = {.name = (text),               \
			   .place = (at),                \
			   .family = (of),               \
			   .type = SOCK_STREAM,          \
			   .kinds = (sort),              \
			   .secure = (tls),              \
			   .port = (usual)},             \
		.kind = (speaks)                         \
	}
#define PROXY(name, kind, tls, port)                                         \
	PROXY_AT(name, TNI_AT_HOST, AF_UNSPEC, TNI_SK_TCP, tls, port, kind), \
		PROXY_AT(name "+unix", TNI_AT_PATH, AF_UNIX, TNI_SK_UNIX_STREAM, tls, 0, kind)
	PROXY("socks5h", TNI_VIA_SOCKS5H, false, 1080),
	PROXY("socks5", TNI_VIA_SOCKS5, false, 1080),
	PROXY("socks4a", TNI_VIA_SOCKS4A, false, 1080),
	PROXY("socks4", TNI_VIA_SOCKS4, false, 1080),
	PROXY("http", TNI_VIA_HTTP, false, 80),
	PROXY("https", TNI_VIA_HTTP, true, 443),
#endif
	{.kind = TNI_VIA_NONE}, /* the end */
};

#define NSCHEMES (sizeof(schemes) / sizeof(schemes[0]))

/* Schemes of other programs, and what carries the same bytes here. Blanks separate the names. */
static const struct {
	const char *names;
	struct tni_scheme_hint hint;
} other_schemes[] = {
#ifdef TNI_HAVE_HINTS
	{"http http4 http6", {"ws", "of HTTP only WebSocket is dialled", 80}},
	{"https https4 https6", {"wss", "of HTTP only WebSocket is dialled", 443}},
	{"http+unix", {"ws+unix", "of HTTP only WebSocket is dialled", -1}},
	{"websocket ws-connect ws-listen", {"ws", NULL, -1}},
	{"unix+ws ws-unix", {"ws+unix", NULL, -1}},
	{"ssl tcps tls+tcp tcp+tls openssl openssl-connect openssl-listen ssl-l", {"tls", NULL, -1}},
	{"udps dtls+udp udp+tls openssl-dtls", {"dtls", NULL, -1}},
	{"tcp-connect tcp-listen tcp-l telnet nc stream", {"tcp", NULL, -1}},
	{"udp-connect udp-listen udp-recv udp-sendto udp-l datagram", {"udp", NULL, -1}},
	{"unix-stream unix-connect unix-listen uds local socket sock ipc unixstream", {"unix", NULL, -1}},
	{"unixgram unix-sendto unix-recv unixdgram", {"unix-dgram", NULL, -1}},
	{"unixpacket unix-seq seqpacket", {"unix-seqpacket", NULL, -1}},
#ifdef TNI_HAVE_SHM
	{"shmem sharedmem shared-memory shared_memory memory memfd", {"shm", NULL, -1}},
#endif
	{"ping icmpv4 icmpv6", {"icmp", NULL, -1}},
	{"ip ip4 ip6 ip4-sendto", {"raw", NULL, -1}},
	{"eth ether ethernet link interface", {"packet", NULL, -1}},
#ifdef TNI_HAVE_FILES
	{"open create creat gopen tail", {"file", NULL, -1}},
	{"serial com uart rs232 console", {"tty", NULL, -1}},
	{"ptty pseudo-terminal openpty", {"pty", NULL, -1}},
	{"system shell sh sh-c cmd command process program popen", {"exec", NULL, -1}},
	{"stdio stdin stdout pipe", {"fd", NULL, -1}},
#else
	{"stdio stdin stdout pipe open", {"fd", NULL, -1}},
#endif
#endif
	{0},
};

const struct tni_scheme *tni_scheme_at(size_t index)
{
	return index < NSCHEMES ? &schemes[index] : NULL;
}

const struct tni_scheme *tni_scheme_find(const char *name)
{
	for (size_t i = 0; i < NSCHEMES; i++)
		if (!strcmp(schemes[i].name, name))
			return &schemes[i];
	return NULL;
}

const struct tni_scheme *tni_scheme_proxy_at(size_t index)
{
	return proxies[index].kind ? &proxies[index].scheme : NULL;
}

const struct tni_scheme *tni_scheme_proxy(const char *name)
{
	for (const struct proxy *p = proxies; p->kind; p++)
		if (!strcmp(p->scheme.name, name))
			return &p->scheme;
	return NULL;
}

enum tni_via_kind tni_scheme_via(const struct tni_scheme *scheme)
{
	for (const struct proxy *p = proxies; p->kind; p++)
		if (&p->scheme == scheme)
			return p->kind;
	return TNI_VIA_NONE;
}

const struct tni_scheme *tni_scheme_for(enum tni_place place, int type)
{
	for (size_t i = 0; i < NSCHEMES; i++)
		if (schemes[i].place == place && schemes[i].type == type && !schemes[i].secure && !schemes[i].web &&
		    !schemes[i].gate && !tni_scheme_is_memory(&schemes[i]))
			return &schemes[i];
	return NULL;
}

bool tni_scheme_hint(const char *name, struct tni_scheme_hint *hint)
{
	for (size_t i = 0; other_schemes[i].names; i++)
		if (tni_words_have(other_schemes[i].names, name)) {
			*hint = other_schemes[i].hint;
			return true;
		}
	return false;
}

bool tni_scheme_begins(const char *text)
{
	size_t len = strcspn(text, ":");
	struct tni_scheme_hint hint;
	char low[32] = "";

	for (size_t i = 0; i < len && i < sizeof(low) - 1; i++)
		low[i] = (char)tolower((unsigned char)text[i]);
	if (strpbrk(low, "-+") && tni_scheme_hint(low, &hint))
		return true;
	for (size_t i = 0; i < NSCHEMES; i++)
		if (strlen(schemes[i].name) == len && !strncasecmp(schemes[i].name, text, len))
			return true;
	return false;
}

const char *tn_scheme_at(int index)
{
	static const char *const places[] = {
		[TNI_AT_HOST] = "://HOST:PORT", [TNI_AT_PATH] = ":/PATH", [TNI_AT_ADDR] = "://HOST",
		[TNI_AT_LINK] = ":INTERFACE",   [TNI_AT_FD] = ":NUMBER",  [TNI_AT_FILE] = ":/PATH",
		[TNI_AT_TTY] = ":/PATH",        [TNI_AT_PTY] = ":/PATH",  [TNI_AT_EXEC] = ":COMMAND",
	};
	static _Thread_local char form[64];
	const struct tni_scheme *scheme = index < 0 ? NULL : tni_scheme_at((size_t)index);

	if (!scheme)
		return NULL;
	snprintf(form, sizeof(form), "%s%s%s", scheme->name, places[scheme->place],
		 tni_scheme_raw(scheme) == TNI_RAW_IP ? "?proto=N"
		 : scheme->web != TNI_WEB_SOCKET      ? ""
		 : scheme->place == TNI_AT_PATH       ? "?path=/PATH"
						      : "/PATH");
	return form;
}
