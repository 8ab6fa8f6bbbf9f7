/* A connection gets another handler, or none. */
#include "base/err.h"
#include "conn/dialler.h"
#include "conn/pump.h"

#include <errno.h>

/* What comes from it goes on as before. False: no memory. */
static bool set(struct tn_conn *c, const struct tn_handler *handler)
{
	struct tni_extra *x = tni_extra_in(c);
	struct tni_role wanted = {.user = *handler, .pass = x->role->pass};
	const struct tni_role *role;

	tni_join_handle(&wanted, x->source, x->from != NULL);
	role = tni_role_get(c, &wanted);
	if (role)
		tni_extra_take(x, role);
	return role != NULL;
}

int tn_conn_set_handler(struct tn_conn *c, const struct tn_handler *handler, void *arg)
{
	if (!tni_extra_get(c) || !set(c, handler))
		return tni_err(-ENOMEM, "%s: out of memory", c->ep->url);
	c->arg = arg;
	tni_conn_run_soon(c); /* what was received and had nobody to be told of it */
	return 0;
}

void tn_conn_detach(struct tn_conn *c)
{
	if (c->flags & TNI_EXTRA) {
		if (!set(c, &tni_no_handler))
			tni_join_forget(tni_extra_in(c));
		tni_extra_drop_waits(c);
	} else {
		if (!c->part)
			tni_dialler_unref(c->handler);
		c->handler = &tni_no_handler;
	}
	c->arg = NULL;
	tn_close(c);
}
