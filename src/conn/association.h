/*
 * An association: a connection over datagrams (DTLS, RFC 6347). Its datagrams go through a socket that may be its
 * server's. A timer of the loop sends again what was lost. The closing alert (close_notify) is repeated, because nobody
 * acknowledges it.
 */
#ifndef TNI_CONN_ASSOCIATION_H
#define TNI_CONN_ASSOCIATION_H

#include "conn/conn.h"

#define TNI_NOTIFY_MAX 64

struct tni_peer;

struct tni_assoc {
	struct tn_conn *conn;
	struct tn_conn *socket; /* dialled: conn; served: the server's; NULL: it has gone */
	struct tni_peer *peer;  /* its entry in the server's table; NULL when dialled */
	uint64_t lost;          /* datagrams for which there was no room */
	/* Our close_notify as it was sent. The same record again is dropped by the peer as a replay, so it counts once.
	 */
	unsigned char notify[TNI_NOTIFY_MAX];
	uint8_t notify_len, repeats; /* repeats: how often it has been sent again */
};

/* Makes a connection that has its layers an association. 0 or -ENOMEM. */
int tni_assoc_new(struct tn_conn *conn, struct tn_conn *socket);

/* A datagram of the peer has come. No user code runs. */
void tni_assoc_take(struct tn_conn *conn, const struct tn_addr *peer, const void *data, size_t len);

/* Our close_notify is the last message of the wire: keeps a copy. */
void tni_assoc_keep_notify(struct tn_conn *conn);

/* Whether our close_notify is to be sent again; in how many ns; and that. */
bool tni_assoc_may_repeat(const struct tni_assoc *assoc);
uint64_t tni_assoc_repeat_ns(const struct tni_assoc *assoc);
void tni_assoc_repeat(struct tni_assoc *assoc);

/* The connection ends: sends a close_notify if there was none, and lets go of the socket. Called again, does nothing.
 */
void tni_assoc_leave(struct tn_conn *conn);

void tni_assoc_free(struct tn_conn *conn);

#endif
