/*
 * A URL understood: what it stands for, and what its keys say. Nothing else knows the names of schemes (scheme.c) and
 * of tenon's own keys (keys.c).
 */
#ifndef TNI_ENDPOINT_ENDPOINT_H
#define TNI_ENDPOINT_ENDPOINT_H

#include "codec/codec.h"
#include "endpoint/scheme.h"
#include "frame/frame.h"
#include "net/addr.h"
#include "net/device.h"
#include "net/sockopt.h"
#include "secure/creds.h"
#include "tenon.h"

#include <stdatomic.h>

struct tni_access;
struct tni_web_spec;
struct tni_via_spec;

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

/* Key bind: the end that a dialled connection comes from. */
struct tni_bind {
	char *text;          /* as it was given */
	struct tn_addr addr; /* empty: any address */
	int port;            /* 0: any port */
	int last;            /* the range's last port; without a range: port */
};

/* Key proxy: what of the PROXY protocol stands in front of the bytes, or of each datagram. */
enum tni_proxied {
	TNI_PROXIED_NOT,
	TNI_PROXIED_ACCEPT, /* served: a header must come */
	TNI_PROXIED_V1,     /* dialled: a header is sent */
	TNI_PROXIED_V2,
};

/* Key proxy-tlv: what such a header has besides what is known of the client. */
struct tni_tlv_spec {
	char *text; /* as it was given */
	bool checksum, unique_id;
	size_t len; /* of bytes: TLVs as they are sent */
	unsigned char bytes[];
};

#ifdef TNI_HAVE_RECONNECT
/* Key heartbeat. */
struct tni_heartbeat_spec {
	uint64_t every_ns;
	size_t len;
	char text[];
};
#endif

/* What few endpoints have. */
struct tni_access_spec {
	char *allow, *deny, *trust; /* lists of addresses (endpoint/access.h); NULL: not given */
	struct tni_tlv_spec *tlvs;  /* NULL: none */
	char *allow_to, *deny_to;   /* the same of where one may connect to */
	char *ports, *users;        /* of a served proxy: such ports, and a file of names and passwords */
	struct tni_via_spec *via;   /* dialled: the proxies that it goes through; NULL: none */
	char *auth;                 /* dialled: the file that says who we are; NULL: none */
#ifdef TNI_HAVE_RECONNECT
	uint64_t again_least_ns, again_most_ns; /* dialled: before it is dialled again; 0: it is not */
	int again_tries;                        /* 0: no limit */
	struct tni_heartbeat_spec *heartbeat;   /* NULL: none */
#endif
};

/*
 * Shared by all that were dialled with the same URL, on any loop: it does not change once it is made. Programs know one
 * for dialling as struct tn_endpoint.
 */
struct tni_endpoint {
	char *url; /* as it was given */
	_Atomic(unsigned) refs;
	bool lasting;  /* nothing but its URL says what it means: no descriptor, interface or service */
	bool frames;   /* key type=raw: packets with the header of their link */
	bool gso, gro; /* UDP: several datagrams pass the kernel as one */
	uint8_t proxy; /* enum tni_proxied */
	const struct tni_scheme *scheme;
	enum tn_role role;
	int port;
	char *host; /* TNI_AT_HOST, TNI_AT_ADDR: "" is localhost; TNI_AT_PATH: the path; TNI_AT_LINK: the interface */
	size_t host_len;
	int fd;                        /* TNI_AT_FD */
	int protocol;                  /* sockets below the transports */
	struct tni_frame frame;        /* what each connection starts with */
	const struct tni_codec *codec; /* what messages must be; NULL: anything */
	struct tni_codec_opts codec_opts;
	enum tni_bad bad;
	uint32_t ring;                          /* of shared memory, each: bytes, a power of two */
	uint32_t queue;                         /* mark of the outgoing queue, bytes */
	uint64_t idle_ns, connect_ns, drain_ns; /* 0: none */
	uint64_t request_ns;                    /* in which a message must be whole; 0: for ever, or unframed */
	uint64_t spin_ns;                       /* TNI_NEVER: auto */
	uint64_t handshake_ns;
	int backlog;
	int per_source, accept_rate; /* 0: no limit */
	int mode, user, group;       /* of a served Unix socket's file; -1: as it comes */
	struct tni_creds_spec *tls;  /* of a secure scheme; otherwise NULL */
	struct tni_web_spec *web;    /* of WebSocket; otherwise NULL */
#ifdef TNI_HAVE_SOCKOPTS
	bool fin;       /* our direction ends for the peer as soon as it does for us */
	bool connected; /* dialled datagrams: the answers of one peer alone are heard */
	char *netns;    /* the network that its sockets are opened in (net/netns.h); NULL: the caller's */
#endif
#ifdef TNI_HAVE_FILES
	struct tni_device_spec *device; /* of a file or terminal; otherwise NULL */
#endif
	struct tni_bind *bind;          /* NULL: the kernel chooses */
	char *to;                       /* of a packet socket: the neighbour; NULL: everybody */
	struct tni_access_spec *access; /* NULL: nothing of it is given */
	struct tni_access *reach;       /* dialled: which addresses may be connected to; NULL: all */
	struct tni_option_value *options;
	size_t noptions;
};

/* Key via; NULL: not given. */
static inline struct tni_via_spec *tni_endpoint_via(const struct tni_endpoint *ep)
{
	return ep->access ? ep->access->via : NULL;
}

/* Key netns; NULL: the caller's. */
static inline const char *tni_endpoint_netns(const struct tni_endpoint *ep)
{
#ifdef TNI_HAVE_SOCKOPTS
	return ep->netns;
#else
	(void)ep;
	return NULL;
#endif
}

/* Whether the end of our direction waits for the peer's: key fin. */
static inline bool tni_endpoint_puts_fin_off(const struct tni_endpoint *ep)
{
#ifdef TNI_HAVE_SOCKOPTS
	return !ep->fin;
#else
	(void)ep;
	return false;
#endif
}

/* Key auth; NULL: not given. */
static inline const char *tni_endpoint_auth(const struct tni_endpoint *ep)
{
	return ep->access ? ep->access->auth : NULL;
}

#ifdef TNI_HAVE_RECONNECT
/* Key reconnect: whether it is given. */
static inline bool tni_endpoint_comes_back(const struct tni_endpoint *ep)
{
	return ep->access && ep->access->again_least_ns;
}

/* Key heartbeat; NULL: not given. */
static inline const struct tni_heartbeat_spec *tni_endpoint_heartbeat(const struct tni_endpoint *ep)
{
	return ep->access ? ep->access->heartbeat : NULL;
}
#endif

/* Its role as a bit of enum tni_sock_role. */
static inline unsigned tni_endpoint_role_bit(const struct tni_endpoint *ep)
{
	return ep->role == TN_SERVE ? TNI_ROLE_SERVE : TNI_ROLE_DIAL;
}

/* Understands a URL for a role. Returns 0, TN_EURL with detail and position, or -ENOMEM. */
int tni_endpoint_new(const char *url, enum tn_role role, struct tni_endpoint **out);

/* The same of a proxy's URL, of key via. */
int tni_endpoint_new_proxy(const char *url, struct tni_endpoint **out);

/* From any thread. NULL may be let go of. */
struct tni_endpoint *tni_endpoint_ref(struct tni_endpoint *ep);
void tni_endpoint_unref(struct tni_endpoint *ep);

/* ---- its sockets: socket.c ---- */

/*
 * All the addresses that the host of an endpoint stands for, a name being looked up, which blocks. Sets `optional`
 * where one of them may be missing on this machine. Returns how many, or a negative code with detail.
 */
int tni_endpoint_addrs(const struct tni_endpoint *ep, struct tn_addr *addrs, int max, bool *optional);

/* Whether its addresses may be another process's too: key reuseport. */
bool tni_endpoint_is_shared(const struct tni_endpoint *ep);

/* Opens a socket of a scheme that socket(2) alone does not describe (tni_scheme_raw()). It, or -errno with detail. */
int tni_endpoint_open(int family, void *ep);

/* The one whom a packet endpoint talks to (key to), for its open socket: `to` stays empty where there is none. 0. */
int tni_endpoint_neighbour(const struct tni_endpoint *ep, int fd, struct tn_addr *to);

/* Sets what a fresh socket needs before bind(2) or connect(2): tenon's defaults, then the URL's options. */
int tni_endpoint_prepare(int fd, int family, void *ep);

/* The same of a dialled one (struct tni_dial_spec). 1: it is bound to a port of bind's range that others have too. */
int tni_endpoint_prepare_dialled(const struct tni_endpoint *ep, int fd, int family, int after);

/* The same for a bound socket before listen(2). */
int tni_endpoint_prepare_listen(int fd, int family, void *ep);

/* Sets what an accepted socket does not inherit. Failure is logged: the peer is no reason to drop a client for. */
void tni_endpoint_prepare_accepted(const struct tni_endpoint *ep, int fd, int family);

/* ---- its credentials: creds.c ---- */

/* Reads the files that the keys of a secure endpoint name. 0; TN_EURL, which names key and file; -ENOMEM. */
int tni_endpoint_creds(const struct tni_endpoint *ep, struct tni_creds **creds);

/* Whether they can be used, for tn_url_check(). */
int tni_endpoint_check_creds(const struct tni_endpoint *ep);

/* ---- as text: text.c ---- */

/* Writes an address of this scheme as a URL: tcp://127.0.0.1:80. */
#define TNI_URL_TEXT 384 /* room for any: each byte of a Unix socket's path may have to be escaped */
const char *tni_endpoint_url_of(const struct tni_endpoint *ep, const struct tn_addr *addr, char *out, size_t cap);

/* The same of an address that is served: with the path of WebSocket, so that it can be dialled. */
const char *tni_endpoint_served_url(const struct tni_endpoint *ep, const struct tn_addr *addr, char *out, size_t cap);

/* The value in force of a key, as it would stand in a URL: see tn_conn_option(). */
int tni_endpoint_read_option(const struct tni_endpoint *ep, int fd, const char *key, char *value, size_t cap);

#endif
