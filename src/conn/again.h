/*
 * A dialled connection that is dialled again when it is lost (key reconnect). It stays the same connection to its user:
 * pointer, handler, handle, counters. conn/end.c asks here in its last step, when nothing is in flight any more.
 */
#ifndef TNI_CONN_AGAIN_H
#define TNI_CONN_AGAIN_H

#include "conn/conn.h"

#ifdef TNI_HAVE_RECONNECT

struct tni_again;

/* A connection that is being dialled, with or without the key. 0, -ENOMEM, or TN_EURL: its handler has no on_lost. */
int tni_again_begin(struct tn_conn *conn);

/* Whether it may be dialled again: it has the key, and its user has not ended it. */
bool tni_again_may(const struct tn_conn *conn);

/* Its user ends it: it is not dialled again. */
void tni_again_end(const struct tn_conn *conn);

/*
 * What is queued cannot be sent by this connection: tx is emptied. Of one that was open it is dropped, and the loss
 * tells of `len` bytes; what waits for an attempt that has failed is kept for the next one.
 */
void tni_again_drop(struct tn_conn *conn, size_t len);

/* Its descriptor is closed, and tn_errmsg() tells why. True: it lives on, and its user has been told. */
bool tni_again_take(struct tn_conn *conn);

/* It has gone for good. NULL is allowed. */
void tni_again_free(struct tn_loop *loop, struct tni_again *again);

#else

static inline bool tni_again_may(const struct tn_conn *conn)
{
	(void)conn;
	return false;
}

static inline void tni_again_drop(struct tn_conn *conn, size_t len)
{
	(void)len;
	tni_buf_clear(&conn->tx);
}

#endif

#endif
