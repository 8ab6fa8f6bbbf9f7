/* Answers every datagram with "ack: " and what it said.
 * Run: udp_ack_server [URL]     then: udp_ack_client */
#include <stdio.h>
#include <sys/uio.h>

#include "stop.h"

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct iovec reply[] = {{(void *)"ack: ", 5}, {(void *)msg->data, msg->len}};

	(void)arg;
	if (tn_replyv(conn, msg, reply, 2) < 0) /* to the sender of msg; the client sends again what got lost */
		fprintf(stderr, "%s\n", tn_errmsg());
}

int main(int argc, char **argv)
{
	static const struct tn_handler ack = {.on_msg = on_msg};
	const char *url = argc > 1 ? argv[1] : "udp://localhost:10000";
	struct stop stopping = {0};
	struct tn_loop *loop = NULL;
	int rc = tn_loop_new(&loop, NULL);

	if (rc == 0)
		rc = tn_serve(loop, url, &ack, NULL, &stopping.server);
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
