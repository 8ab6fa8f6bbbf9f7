/*
 * The peers of a served datagram socket that has connections (DTLS). A peer that has shown that it receives what is
 * sent to its address becomes a connection. A connection is found by two addresses: the peer's, and ours that the peer
 * speaks to. Of other peers nothing is kept.
 */
#ifndef TNI_CONN_PEERS_H
#define TNI_CONN_PEERS_H

#include "conn/conn.h"

/* Gives a served socket its table. 0 or -ENOMEM. */
int tni_peers_new(struct tn_conn *socket);

/* The socket ends, and with it, by the same reason, all who came through it. */
void tni_peers_end(struct tn_conn *socket);
void tni_peers_free(struct tn_conn *socket);

/* How many have a connection. */
unsigned tni_peers_count(const struct tn_conn *socket);

/* A datagram has come: it goes to the connection of its sender, or asks for one. No user code runs. */
void tni_peers_take(struct tn_conn *socket, const struct tn_addr *peer, const void *data, size_t len);

/* Both addresses of a connection: its peer's, and with it that of ours which the peer speaks to. */
void tni_peers_addr(const struct tn_conn *conn, struct tn_addr *addr);

/* A connection gives up its place. */
void tni_peers_leave(struct tn_conn *conn);

/* A connection has more to send than the socket has room for; it runs again when there is some. */
void tni_peers_wait(struct tn_conn *conn);

/* The socket has room again. */
void tni_peers_go_on(struct tn_conn *socket);

#endif
