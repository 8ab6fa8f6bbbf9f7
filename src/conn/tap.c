#include "conn/tap.h"

#include "base/err.h"
#include "conn/extra.h"
#include "conn/kind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int tn_conn_tap(struct tn_conn *c,
		void (*fn)(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err, void *arg),
		void *arg)
{
	struct tni_seldom *s = fn ? tni_seldom_get(c) : tni_seldom_of(c);

	if (!s)
		return fn ? tni_err(-ENOMEM, "%s: out of memory", c->ep->url) : 0;
	s->tap = fn;
	s->tap_arg = arg;
	c->flags = fn ? c->flags | TNI_TAPPED : c->flags & ~TNI_TAPPED;
	if (fn)
		tni_join_tapped(c);
	return 0;
}

/* What tn_errmsg() says at the end stays as it is: others are told next. */
void tni_tap_tell(struct tn_conn *c, enum tn_tap what, const struct tn_msg *msg, int err)
{
	const struct tni_seldom *s = tni_seldom_of(c);
	char why[512] = "";

	if (what == TN_TAP_CLOSED)
		*stpncpy(why, tn_errmsg(), sizeof(why) - 1) = '\0';
	s->tap(c, what, msg, err, s->tap_arg);
	if (what == TN_TAP_CLOSED)
		tni_err(err, "%s", why);
}

static void tell_sent(struct tn_conn *c, const struct tn_msg *answered, const struct iovec *iov, int count)
{
	struct tn_msg msg = {.kind = answered ? answered->kind : TN_MSG_ANY, .peer = answered ? answered->peer : NULL};
	char *whole = NULL, *at;

	for (int i = 0; i < count; i++)
		msg.len += iov[i].iov_len;
	if (count == 1) {
		msg.data = iov->iov_base;
	} else {
		at = whole = malloc(msg.len + 1);
		for (int i = 0; whole && i < count; i++)
			at = iov[i].iov_len ? mempcpy(at, iov[i].iov_base, iov[i].iov_len) : at;
		msg.data = whole;
	}
	if (msg.data || !msg.len) /* otherwise there is no memory to show it */
		tni_tap_tell(c, TN_TAP_OUT, &msg, 0);
	free(whole);
}

int tni_tap_put(struct tn_conn *c, const struct tn_msg *answered, const struct iovec *iov, int count)
{
	int rc = c->kind->put(c, answered, iov, count);

	if (rc == 0)
		tell_sent(c, answered, iov, count);
	return rc;
}
