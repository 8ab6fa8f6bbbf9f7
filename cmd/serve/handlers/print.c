#include "print.h"

#include "handler.h"

static void (*watcher)(struct tn_conn *conn, const struct tn_msg *msg);

void handler_watch_messages(void (*fn)(struct tn_conn *conn, const struct tn_msg *msg))
{
	watcher = fn;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	if (watcher)
		watcher(conn, msg);
}

const struct handler_spec handler_print = {
	.name = "print",
	.shows = true,
	.meaning = "shows each message on standard output, with its sender; no reply",
	.stream = {.on_msg = on_msg},
	.datagrams = {.on_msg = on_msg},
};
