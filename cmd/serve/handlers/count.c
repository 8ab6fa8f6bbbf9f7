#include "count.h"

#include <errno.h>
#include <stdlib.h>

#include "handler.h"

static void (*watcher)(const struct handler_count *count);

void handler_watch_counts(void (*fn)(const struct handler_count *count))
{
	watcher = fn;
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct handler_count *count = calloc(1, sizeof(*count));

	(void)arg;
	if (!count) {
		tn_abort(conn, -ENOMEM);
		return;
	}
	count->conn = conn;
	tn_conn_set_data(conn, count);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct handler_count *count = tn_conn_data(conn);

	(void)arg;
	if (!count)
		return;
	count->last_ns = tn_loop_now(tn_conn_loop(conn));
	if (!count->first_ns)
		count->first_ns = count->last_ns;
	count->messages++;
	count->bytes += msg->len;
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct handler_count *count = tn_conn_data(conn);

	(void)err, (void)arg;
	if (!count)
		return;
	if (watcher)
		watcher(count);
	tn_conn_set_data(conn, NULL);
	free(count);
}

const struct handler_spec handler_count = {
	.name = "count",
	.shows = true,
	.meaning = "reads, and tells at the end of each connection how much has come; no reply",
	.stream = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close},
	.datagrams = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close},
};
