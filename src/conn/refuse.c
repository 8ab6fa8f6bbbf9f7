/* A message that is not taken, and what its connection does then. */
#include "base/err.h"
#include "conn/format.h"
#include "conn/pump.h"
#include "conn/server.h"

#include <errno.h>
#include <string.h>

static void say_again(int err, const char *why, long at)
{
	if (strcmp(tn_errmsg(), why) != 0 || tn_errpos() != at)
		tni_err(err, "%s", why);
	tni_err_at(at);
}

/* Those who are told may call the library, which must not cost the reason its words. */
static void tell_bad(struct tn_conn *c, const struct tn_msg *msg, int err)
{
	const struct tni_watching *w = c->part ? tni_watch_first(&c->part->server->watches) : NULL;
	long at = tn_errpos();
	char why[512];

	*stpncpy(why, tn_errmsg(), sizeof(why) - 1) = '\0';
	for (; w; w = tni_watch_next(w)) {
		if (!w->on.on_bad)
			continue;
		w->on.on_bad(c, msg, err, w->arg);
		say_again(err, why, at);
	}
	if (tni_conn_handler(c)->on_bad) {
		tni_conn_handler(c)->on_bad(c, msg, err, c->arg);
		say_again(err, why, at);
	}
}

bool tni_conn_takes(struct tn_conn *c, const struct tn_msg *msg, int *err)
{
	*err = tni_format_check(c->ep, msg->data, msg->len);
	if (*err == 0)
		return true;
	tni_conn_count(c, bad, 1);
	tell_bad(c, msg, *err);
	if (c->ep->bad == TNI_BAD_SKIP || (c->ep->bad == TNI_BAD_ASK && tni_conn_handler(c)->on_bad))
		*err = 0;
	return false;
}

void tni_conn_keep_reason(struct tn_conn *c, int err)
{
	/* As in fail_reading(): a broken pipe is what writing hears of a reason that reading finds. */
	if (c->flags & TNI_WRITE_LOST && c->err == -EPIPE)
		c->err = 0;
	if (c->err)
		return;
	c->err = err;
	c->failed_at = strdup(tn_errmsg());
	if (c->failed_at)
		c->flags |= TNI_DESCRIBED;
}

/* Replies to what came before are still owed (tn_conn_hold()), and the user can be told that no more comes. */
static bool owes_before_refusal(const struct tn_conn *c)
{
	return c->held && tni_conn_handler(c)->on_cut &&
	       !(c->flags & (TNI_CLOSING | TNI_DEAD | TNI_WRITE_LOST | TNI_END_TOLD | TNI_REFUSED));
}

static void cut_after_refusal(struct tn_conn *c)
{
	tni_buf_clear(&c->rx);
	c->flags |= TNI_REFUSED | TNI_END_TOLD;
	tni_conn_handler(c)->on_cut(c, c->arg);
}

void tni_conn_refuse_rest(struct tn_conn *c, int err)
{
	tni_conn_keep_reason(c, err);
	/* Without memory it is not the peer's doing, and an end in good order would tell it that all is well. */
	if (err == -ENOMEM)
		tni_conn_kill(c, err);
	else if (owes_before_refusal(c))
		cut_after_refusal(c);
	else
		tni_conn_close(c);
}
