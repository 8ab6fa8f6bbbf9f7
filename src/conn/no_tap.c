/* What stands for tap.c in a build without taps. */
#include "base/err.h"
#include "tenon.h"

#include <errno.h>

int tn_conn_tap(struct tn_conn *conn,
		void (*fn)(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err, void *arg),
		void *arg)
{
	(void)conn, (void)fn, (void)arg;
	return tni_err(-EOPNOTSUPP, "%s", TNI_NOT_BUILT("taps", "taps"));
}
