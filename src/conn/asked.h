/* Connections of a served proxy, whose clients say where they want to go (proxy/gate.h). */
#ifndef TNI_CONN_ASKED_H
#define TNI_CONN_ASKED_H

#include "conn/conn.h"
#include "layer.h"

/* The layer of such a connection. 0 or -ENOMEM. */
int tni_asked_layer(struct tn_conn *conn, struct tni_layer **out);

/* Whether its client has asked, and waits for the answer. */
bool tni_asked_waits(const struct tn_conn *conn);

#endif
