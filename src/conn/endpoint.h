/* A URL understood: scheme, place, options. The only module that knows the names of schemes and of tenon's own keys. */
#ifndef TNI_CONN_ENDPOINT_H
#define TNI_CONN_ENDPOINT_H

#include "codec/codec.h"
#include "frame/frame.h"
#include "net/addr.h"
#include "net/raw.h"
#include "net/sockopt.h"
#include "secure/creds.h"
#include "tenon.h"
#include "tenon_value.h"

enum tni_place {
	TNI_AT_HOST, /* scheme://host:port */
	TNI_AT_PATH, /* scheme:/path or scheme:@name */
	TNI_AT_FD,   /* fd:N */
	TNI_AT_ADDR, /* scheme://host: there are no ports */
	TNI_AT_LINK, /* scheme:interface */
};

struct tni_scheme {
	const char *name;
	enum tni_place place;
	int family, type, protocol;
	unsigned kinds; /* enum tni_sock_kind */
	bool secure;    /* with TLS on top, or DTLS */
};

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
	return scheme->type == SOCK_SEQPACKET || (scheme->type == SOCK_DGRAM && scheme->secure);
}

struct tni_option_value {
	const struct tni_sockopt *opt;
	struct tni_optval value;
};

/* What a bad message does to its connection. */
enum tni_bad {
	TNI_BAD_ASK, /* on_bad's to say; without it, close */
	TNI_BAD_CLOSE,
	TNI_BAD_SKIP,
};

struct tni_endpoint {
	char *url; /* as it was given */
	const struct tni_scheme *scheme;
	enum tn_role role;
	char *host; /* TNI_AT_HOST, TNI_AT_ADDR: "" is localhost; TNI_AT_PATH: the path; TNI_AT_LINK: the interface */
	size_t host_len;
	int port;
	int fd;                        /* TNI_AT_FD */
	struct tni_frame frame;        /* what each connection starts with */
	const struct tni_codec *codec; /* what messages must be; NULL: anything */
	struct tni_codec_opts codec_opts;
	struct tn_bytes encoded; /* tn_reply_value()'s, used again and again */
	enum tni_bad bad;
	uint32_t queue;                         /* mark of the outgoing queue, bytes */
	uint64_t idle_ns, connect_ns, drain_ns; /* 0: none */
	uint64_t request_ns;                    /* in which a message must be whole; 0: for ever, or unframed */
	uint64_t spin_ns;                       /* TNI_NEVER: auto */
	uint64_t handshake_ns;
	struct tni_creds_spec tls;
	int backlog;
	int per_source, accept_rate; /* 0: no limit */
	int mode, user, group;       /* of a served Unix socket's file; -1: as it comes */
	int protocol;                /* keys proto, type, to: sockets below the transports */
	bool frames;
	char *to;
	char *bind;               /* key bind: as it was given; NULL: the kernel chooses */
	struct tn_addr bind_addr; /* empty: any address */
	int bind_port;            /* 0: any port */
	uint64_t lookup_ns;       /* dialled: how long its name was looked up */
	struct tni_option_value *options;
	size_t noptions;
};

/* Understands a URL for a role. Returns 0, TN_EURL with detail and position, or -ENOMEM. */
int tni_endpoint_new(const char *url, enum tn_role role, struct tni_endpoint **out);
void tni_endpoint_free(struct tni_endpoint *ep);

/*
 * All the addresses that the host of an endpoint stands for, a name being looked up, which blocks. Sets `optional`
 * where one of them may be missing on this machine. Returns how many, or a negative code with detail.
 */
int tni_endpoint_addrs(const struct tni_endpoint *ep, struct tn_addr *addrs, int max, bool *optional);

/* Reads the files that the keys of a secure endpoint name. 0; TN_EURL, which names key and file; -ENOMEM. */
int tni_endpoint_creds(const struct tni_endpoint *ep, struct tni_creds **creds);

/* Opens a socket of a scheme that socket(2) alone does not describe (tni_scheme_raw()). It, or -errno with detail. */
int tni_endpoint_open(int family, void *ep);

/* The one whom a packet endpoint talks to (key to), for its open socket: `to` stays empty where there is none. 0. */
int tni_endpoint_neighbour(const struct tni_endpoint *ep, int fd, struct tn_addr *to);

/* Sets what a fresh socket needs before bind(2) or connect(2): tenon's defaults, then the URL's options. */
int tni_endpoint_prepare(int fd, int family, void *ep);

/* The same for a bound socket before listen(2). */
int tni_endpoint_prepare_listen(int fd, int family, void *ep);

/* Sets what an accepted socket does not inherit. Failure is logged: the peer is no reason to drop a client for. */
void tni_endpoint_prepare_accepted(const struct tni_endpoint *ep, int fd, int family);

/* Writes an address of this scheme as a URL: tcp://127.0.0.1:80. */
#define TNI_URL_TEXT 384 /* room for any: each byte of a Unix socket's path may have to be escaped */
const char *tni_endpoint_url_of(const struct tni_endpoint *ep, const struct tn_addr *addr, char *out, size_t cap);

/* The value in force of a key, as it would stand in a URL: see tn_conn_option(). */
int tni_endpoint_read_option(const struct tni_endpoint *ep, int fd, const char *key, char *value, size_t cap);

#endif
