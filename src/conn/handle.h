/* A connection's handle: what other threads have of it. Part of struct tni_extra. */
#ifndef TNI_CONN_HANDLE_H
#define TNI_CONN_HANDLE_H

#include "conn/conn.h"

/* From the connection's task, at its end: what waited for room in its queue goes on. */
void tni_handle_run(struct tn_handle *handle);

/* Something that was sent has not reached the connection's queue, for want of room. */
bool tni_handle_waits(const struct tn_handle *handle);

/* The connection has been closed, and everybody told of it. The handle is not the connection's any more. */
void tni_handle_gone(struct tn_handle *handle);

#endif
