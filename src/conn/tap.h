/* Who looks on at what passes: tn_conn_tap(). A connection at which nobody does pays one look at its flags. */
#ifndef TNI_CONN_TAP_H
#define TNI_CONN_TAP_H

#include "conn/conn.h"

#ifdef TNI_HAVE_TAPS

void tni_tap_tell(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err);

/* As struct tni_kind's put(), which it calls, and tells of what has been queued: apart, lest others pay for it. */
int tni_tap_put(struct tn_conn *conn, const struct tn_msg *answered, const struct iovec *iov, int count);

static inline bool tni_conn_is_tapped(const struct tn_conn *conn)
{
	return conn->flags & TNI_TAPPED;
}

static inline void tni_tap(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err)
{
	if (tni_conn_is_tapped(conn))
		tni_tap_tell(conn, what, msg, err);
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

static inline int tni_tap_put(struct tn_conn *conn, const struct tn_msg *answered, const struct iovec *iov, int count)
{
	(void)conn, (void)answered, (void)iov, (void)count;
	return -1; /* never called */
}

#endif

#endif
