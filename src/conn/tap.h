/* Who looks on at what passes: tn_conn_tap(). A connection at which nobody does pays one look at its flags. */
#ifndef TNI_CONN_TAP_H
#define TNI_CONN_TAP_H

#include "conn/conn.h"

#ifdef TNI_HAVE_TAPS

void tni_tap_tell(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err);

/* A message that has been queued, in pieces; `answered` is as in tn_replyv(). */
void tni_tap_tell_sent(struct tn_conn *conn, const struct tn_msg *answered, const struct iovec *iov, int count);

static inline bool tni_conn_is_tapped(const struct tn_conn *conn)
{
	return conn->flags & TNI_TAPPED;
}

static inline void tni_tap(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err)
{
	if (tni_conn_is_tapped(conn))
		tni_tap_tell(conn, what, msg, err);
}

static inline void tni_tap_sent(struct tn_conn *conn, const struct tn_msg *answered, const struct iovec *iov, int count)
{
	if (tni_conn_is_tapped(conn))
		tni_tap_tell_sent(conn, answered, iov, count);
}

#else

static inline bool tni_conn_is_tapped(const struct tn_conn *conn)
{
	(void)conn;
	return false;
}

static inline void tni_tap(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err)
{
	(void)conn, (void)what, (void)msg, (void)err;
}

static inline void tni_tap_sent(struct tn_conn *conn, const struct tn_msg *answered, const struct iovec *iov, int count)
{
	(void)conn, (void)answered, (void)iov, (void)count;
}

#endif

#endif
