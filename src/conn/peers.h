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

void tni_peers_free(struct tn_conn *socket);

/* Both addresses of a connection: its peer's, and with it that of ours which the peer speaks to. */
void tni_peers_addr(const struct tn_conn *conn, struct tn_addr *addr);

/* A connection gives up its place. */
void tni_peers_leave(struct tn_conn *conn);

/* A connection has more to send than the socket has room for; it runs again when there is some. */
void tni_peers_wait(struct tn_conn *conn);

#endif
