/* Messages that say that a connection is still there, and a peer from which nothing comes: key heartbeat. */
#ifndef TNI_CONN_HEARTBEAT_H
#define TNI_CONN_HEARTBEAT_H

#include "conn/conn.h"

#ifdef TNI_HAVE_RECONNECT

struct tni_heartbeat;

/* The connection is open, with or without the key. 0 or -ENOMEM. */
int tni_heartbeat_begin(struct tn_conn *conn);

/* It is open no more. NULL is allowed. */
void tni_heartbeat_free(struct tn_loop *loop, struct tni_heartbeat *heartbeat);

#endif

#endif
