/* The table of schemes: what tcp, unix, tls or icmp stand for, and what schemes are called elsewhere. */
#ifndef TNI_ENDPOINT_SCHEME_H
#define TNI_ENDPOINT_SCHEME_H

#include "net/raw.h"
#include "net/sockopt.h"
#include "proxy/via.h"

#include <stdbool.h>
#include <stddef.h>

/* What stands behind the scheme. */
enum tni_place {
	TNI_AT_HOST, /* scheme://host:port */
	TNI_AT_PATH, /* scheme:/path or scheme:@name */
	TNI_AT_FD,   /* fd:N */
	TNI_AT_ADDR, /* scheme://host: there are no ports */
	TNI_AT_LINK, /* scheme:interface */
	TNI_AT_FILE, /* scheme:/path of a file; these and those below are opened, not connected to */
	TNI_AT_TTY,  /* of a terminal */
	TNI_AT_PTY,  /* of the link that is made to a pseudo-terminal */
	TNI_AT_EXEC, /* scheme:command that is run */
};

/* What of the web is spoken on top of a stream. */
enum tni_web {
	TNI_WEB_NOT,
	TNI_WEB_SOCKET,   /* WebSocket */
	TNI_WEB_REQUESTS, /* HTTP/1.1, of a server */
};

struct tni_scheme {
	const char *name;
	enum tni_place place : 8;
	int family : 8, type : 8, protocol : 16;
	unsigned kinds : 24;  /* enum tni_sock_kind */
	bool secure : 1;      /* with TLS on top, or DTLS */
	enum tni_web web : 4; /* on top of that */
	bool gate : 1;        /* served: clients say where they want to go (SOCKS, CONNECT) */
	unsigned port : 16;   /* where none is given; 0: one must be */
	bool memory : 1;      /* of a Unix socket: its bytes go through shared memory */
};

/* Its bytes go through shared memory; in a build without, none's do. */
static inline bool tni_scheme_is_memory(const struct tni_scheme *scheme)
{
#ifdef TNI_HAVE_SHM
	return scheme->memory;
#else
	(void)scheme;
	return false;
#endif
}

/* It is a file or terminal that is opened by its path, or a program; in a build without, none is. */
static inline bool tni_scheme_is_device(const struct tni_scheme *scheme)
{
#ifdef TNI_HAVE_FILES
	return scheme->place >= TNI_AT_FILE;
#else
	(void)scheme;
	return false;
#endif
}

/* The same, and no program. */
static inline bool tni_scheme_is_file(const struct tni_scheme *scheme)
{
	return tni_scheme_is_device(scheme) && scheme->place != TNI_AT_EXEC;
}

/* What socket below the transports a scheme stands for; TNI_RAW_NONE for all others. */
static inline enum tni_raw_kind tni_scheme_raw(const struct tni_scheme *scheme)
{
	if (scheme->place == TNI_AT_LINK)
		return TNI_RAW_PACKET;
	if (scheme->place != TNI_AT_ADDR)
		return TNI_RAW_NONE;
	return scheme->protocol ? TNI_RAW_ICMP : TNI_RAW_IP;
}

/* Datagrams as they are: a served socket is one connection of many senders, and nothing tells an end. */
static inline bool tni_scheme_is_dgram(const struct tni_scheme *scheme)
{
	return scheme->type == SOCK_DGRAM && !scheme->secure;
}

/* Connections whose messages stay whole by themselves. */
static inline bool tni_scheme_is_packets(const struct tni_scheme *scheme)
{
	return scheme->type == SOCK_SEQPACKET || scheme->web || (scheme->type == SOCK_DGRAM && scheme->secure);
}

/* NULL past the end. The first is that of a URL without a scheme. */
const struct tni_scheme *tni_scheme_at(size_t index);

/* NULL: there is no such scheme. */
const struct tni_scheme *tni_scheme_find(const char *name);

/* Those of proxies (key via): NULL: the end, behind which is nothing; there is no such scheme. */
const struct tni_scheme *tni_scheme_proxy_at(size_t index);
const struct tni_scheme *tni_scheme_proxy(const char *name);

/* TNI_VIA_NONE: it is no proxy's. */
enum tni_via_kind tni_scheme_via(const struct tni_scheme *scheme);

/* The plain scheme of a place and a socket type. NULL: none. */
const struct tni_scheme *tni_scheme_for(enum tni_place place, int type);

/*
 * Whether a text begins with a scheme, or with one of elsewhere that is hardly a host's name: "tcp:..." and
 * "tcp-listen:..." are no places.
 */
bool tni_scheme_begins(const char *text);

/* What another program's scheme is called here. */
struct tni_scheme_hint {
	const char *scheme;
	const char *why; /* it is not the same, or NULL */
	int port;        /* that the other scheme stands for; -1: none */
};

/* False: no other program's scheme is known by this name. */
bool tni_scheme_hint(const char *name, struct tni_scheme_hint *hint);

#endif
