/* Tenon's own keys: frame=, idle=, cert=, ... A row of the table in keys.c is all that there is to be known of one. */
#ifndef TNI_ENDPOINT_KEYS_H
#define TNI_ENDPOINT_KEYS_H

#include "endpoint/parse.h"

struct tni_key;

/* How the values of a key are read and written: key_types.c. */
struct tni_key_type {
	/* Reads a value into its field. 0, TN_EURL with detail or -ENOMEM. */
	int (*parse)(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key,
		     void *field);
	/* Writes the value in force as it would stand in a URL. < 0: -EOPNOTSUPP, there is none. */
	int (*write)(const struct tni_endpoint *ep, const void *field, char *out, size_t cap);
	const char *(*values)(void); /* what it takes, if a table says; NULL: the key's type_text */
};

extern const struct tni_key_type tni_key_size, tni_key_duration, tni_key_count, tni_key_spin, tni_key_frame,
	tni_key_format, tni_key_bad, tni_key_switch, tni_key_text, tni_key_verify, tni_key_tls_version,
	tni_key_protocol, tni_key_kind, tni_key_packet, tni_key_bind, tni_key_mode, tni_key_user, tni_key_group,
	tni_key_proxy, tni_key_tlvs, tni_key_cidrs, tni_key_ports, tni_key_via, tni_key_ring, tni_key_setsockopt,
	tni_key_netns, tni_key_pause, tni_key_heartbeat, tni_key_opened, tni_key_parity, tni_key_flow, tni_key_termios;

/* Where a key has a meaning. */
enum tni_key_where {
	TNI_ON_ALL,
	TNI_ON_CONNS,   /* not on datagrams as they are */
	TNI_ON_STREAMS, /* bytes: not where messages stay whole by themselves */
	TNI_ON_IP,
	TNI_ON_PATH,     /* Unix sockets that are files */
	TNI_ON_TLS,      /* and DTLS */
	TNI_ON_WEB,      /* WebSocket */
	TNI_ON_HTTP,     /* WebSocket and HTTP */
	TNI_ON_OPENED,   /* what has a handshake: TLS, DTLS, WebSocket, a PROXY header */
	TNI_ON_VIA,      /* what can go through proxies */
	TNI_ON_AUTH,     /* what is told who we are: WebSocket, and proxies of key via */
	TNI_ON_PROXIED,  /* what a PROXY header can stand in front of */
	TNI_ON_ADDRS,    /* where peers have addresses of their own */
	TNI_ON_REACH,    /* what connects to addresses of IP: dialled, or a served proxy for its clients */
	TNI_ON_GATE,     /* served proxies */
	TNI_ON_PROTOCOL, /* raw and packet */
	TNI_ON_PACKET,
#ifdef TNI_HAVE_SOCKOPTS
	TNI_ON_NETS,      /* what a network has: all but paths */
	TNI_ON_DATAGRAMS, /* of IP */
#endif
#ifdef TNI_HAVE_RECONNECT
	TNI_ON_AGAIN, /* connections that can be dialled again */
#endif
#ifdef TNI_HAVE_SHM
	TNI_ON_MEMORY, /* shared memory */
#endif
#ifdef TNI_HAVE_SEGMENTS
	TNI_ON_UDP, /* and DTLS */
#endif
#ifdef TNI_HAVE_FILES
	TNI_ON_FILE,
	TNI_ON_TTY, /* terminals and pseudo-terminals */
#endif
};

/* Whose field it fills. */
enum tni_key_in {
	TNI_IN_ENDPOINT, /* struct tni_endpoint */
	TNI_IN_TLS,      /* struct tni_creds_spec */
	TNI_IN_WEB,      /* struct tni_web_spec */
	TNI_IN_ACCESS,   /* struct tni_access_spec */
	TNI_IN_DEVICE,   /* struct tni_device_spec */
};

struct tni_key {
	const char *key;
	const struct tni_key_type *type;
	size_t at; /* where in it */
	enum tni_key_in in;
	uint64_t min, max; /* of numbers */
	unsigned roles;    /* enum tni_sock_role */
	enum tni_key_where where;
	const char *type_text, *applies, *meaning;
};

/* What values a key takes, in words. */
const char *tni_key_values(const struct tni_key *key);

/* NULL: past the end; there is no such key. */
const struct tni_key *tni_key_at(size_t index);
const struct tni_key *tni_key_find(const char *key);

/* One of a URL: reads it into the endpoint. 0, TN_EURL with detail or -ENOMEM. */
int tni_key_parse(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key);

/* Writes what is in force. 0, or -EOPNOTSUPP: it has no meaning here. */
int tni_key_read(const struct tni_endpoint *ep, const struct tni_key *key, char *value, size_t cap);

/* NULL: a listener, and the layers next to it, can serve both endpoints. Otherwise the key that they differ in. */
const char *tni_key_differs_below(const struct tni_endpoint *a, const struct tni_endpoint *b);

/* Fails: the value is none that the key takes. Which one may be meant? */
int tni_key_fail_value(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_key *key);

#endif
