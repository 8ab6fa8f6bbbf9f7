#include "handler/handler.h"

/* A queue that is full stops the reading by itself: a stream's refusal is for want of memory. */
static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	int err = handler_may_answer(conn, msg) ? tn_forward(conn, msg) : 0;

	(void)arg;
	if (err < 0)
		handler_unanswered(conn, msg, err);
}

const struct handler_spec handler_echo = {
	.name = "echo",
	.meaning = "sends back what comes, unchanged (RFC 862)",
	.stream = {.on_msg = on_msg, .on_bad = handler_refuse},
	.datagrams = {.on_open = handler_on_datagrams_open, .on_msg = on_msg, .on_bad = handler_refuse},
};
