#include "handler/handler.h"

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn, (void)msg, (void)arg;
}

const struct handler_spec handler_discard = {
	.name = "discard",
	.meaning = "reads and throws away (RFC 863)",
	.stream = {.on_msg = on_msg},
	.datagrams = {.on_msg = on_msg},
};
