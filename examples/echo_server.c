/* An echo server: sends back what comes, to any number of clients.
 * Run: echo_server [URL]     then: nc localhost 10000 */
#include <stdio.h>

#include "stop.h"

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	int err = tn_forward(conn, msg);

	(void)arg;
	if (err < 0)
		tn_abort(conn, err); /* better a reset than an echo with a hole in it */
}

int main(int argc, char **argv)
{
	static const struct tn_handler echo = {.on_msg = on_msg};
	const char *url = argc > 1 ? argv[1] : "tcp://localhost:10000";
	struct stop stopping = {0};
	struct tn_loop *loop = NULL;
	int rc = tn_loop_new(&loop, NULL);

	if (rc == 0)
		rc = tn_serve(loop, url, &echo, NULL, &stopping.server);
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
