/*
 * The PROXY protocol of a connection (proxy/header.h): the header that has come, or that is sent. It is kept as its
 * bytes, and read when somebody asks.
 */
#ifndef TNI_CONN_PROXIED_H
#define TNI_CONN_PROXIED_H

#include "conn/conn.h"

struct tni_proxy_told {
	unsigned char sender_len;
	unsigned char sender[28]; /* who has sent it, of IP; none: we have, or a Unix socket's other end */
	uint32_t len;
	unsigned char header[];
};

/* A connection whose URL has key proxy. */
struct tni_proxied_conn {
	struct tn_conn conn;
	struct tni_proxy_told *told; /* NULL: nothing has come yet */
};

/* How large a connection is with what it has of this. */
static inline size_t tni_proxied_size(const struct tni_endpoint *ep)
{
	return ep->proxy ? sizeof(struct tni_proxied_conn) : sizeof(struct tn_conn);
}

/* The header of a stream that has one, or that each datagram of a dialled socket has; otherwise NULL. */
const struct tni_proxy_told *tni_proxied_told(const struct tn_conn *conn);

/* Makes the header of a connection that is about to be dialled: see tn_dial_for(). 0, TN_ETOOBIG or -ENOMEM. */
int tni_proxied_make(struct tn_conn *conn, const struct tn_conn *of, const struct tn_msg *msg);

/*
 * Takes the header that a layer has read. 0: `peer` is the client that it tells of, of any family; -EOPNOTSUPP: it
 * tells of none, so that it is the sender's own; -ENOMEM.
 */
int tni_proxied_take(struct tn_conn *conn, const struct tni_header *header, struct tn_addr *peer);

/*
 * Takes the header in front of a datagram that `sender` has sent. 0: `data` and `len` are what stands behind it, and
 * `client` is whom a reply is for; < 0 with words: it has none, or a broken one.
 */
int tni_proxied_unwrap(struct tn_conn *socket, const struct tn_addr *sender, const void **data, size_t *len,
		       struct tn_addr *client);

/* The client of a header that tells of one. False: it does not. */
bool tni_proxied_client(const struct tn_conn *conn, struct tn_addr *client);

void tni_proxied_free(struct tn_conn *conn);

#endif
