/* A server that answers later, by a timer. The timer keeps a handle: the client may have gone when it fires. What takes
 * time because it is work is for threads: worker_pool.c.
 * Run: late [URL]     then: printf 'one\ntwo\n' | nc localhost 10003
 * SIGTERM ends it when all that it has taken is answered. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stop.h"

#define LATE_MS 300

struct answer {
	struct tn_handle *handle;
	size_t len;
	char text[];
};

static struct stop stopping;

static void answer_free(struct answer *answer)
{
	tn_handle_unref(answer->handle);
	free(answer);
}

static void answer_now(void *arg)
{
	struct answer *answer = arg;
	struct tn_conn *conn = tn_handle_conn(answer->handle);

	if (conn) {
		int rc = tn_send(conn, answer->text, answer->len);

		tn_conn_release(conn);
		if (rc < 0 && rc != TN_ESTATE)
			tn_abort(conn, rc); /* an answer that is missing must be seen */
	}
	answer_free(answer);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct answer *answer = calloc(1, sizeof(*answer) + msg->len);
	int rc = answer ? tn_conn_handle(conn, &answer->handle) : -ENOMEM;

	(void)arg;
	if (rc == 0) {
		answer->len = msg->len;
		memcpy(answer->text, msg->data, msg->len);
		rc = tn_timer_start(tn_conn_loop(conn), LATE_MS, answer_now, answer, NULL);
	}
	if (rc == 0) {
		tn_conn_hold(conn); /* a reply is owed: neither SIGTERM nor the client's end closes it before */
	} else {
		if (answer)
			answer_free(answer);
		tn_abort(conn, rc);
	}
}

int main(int argc, char **argv)
{
	static const struct tn_handler handler = {.on_msg = on_msg};
	const char *url = argc > 1 ? argv[1] : "tcp://localhost:10003?frame=line";
	struct tn_loop *loop = NULL;
	int rc = tn_loop_new(&loop, NULL);

	if (rc == 0)
		rc = tn_serve(loop, url, &handler, NULL, &stopping.server);
	if (rc == 0)
		rc = stop_on_signals(loop, &stopping);
	for (int i = 0; rc == 0 && i < tn_server_nurls(stopping.server); i++)
		printf("listening %s\n", tn_server_url(stopping.server, i));
	fflush(stdout);
	if (rc == 0)
		rc = tn_loop_run(loop);
	if (rc < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
	tn_loop_free(loop);
	return rc < 0;
}
