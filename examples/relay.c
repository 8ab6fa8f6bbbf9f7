/* A relay: each client gets a connection to another server, and the two become one path.
 * Run: relay LISTEN_URL TARGET_URL     as tcp://localhost:10002 tcp://localhost:10000
 * With TARGET_URL?proxy=v2 the target is told from where each client comes. */
#include <stdio.h>

#include "stop.h"

static struct stop stopping;
static const char *target_url;

/* What the client says is held back until the target is reached. Ends and errors of one are passed on to the other:
 * there is nothing left to do in on_close. */
static void client_open(struct tn_conn *client, void *arg)
{
	static const struct tn_handler nothing;
	struct tn_conn *target;
	int rc = tn_dial_for(tn_conn_loop(client), target_url, &nothing, NULL, client, NULL, &target);

	(void)arg;
	if (rc == 0) {
		rc = tn_join(client, target);
		if (rc < 0)
			tn_abort(target, rc);
	}
	if (rc < 0)
		tn_abort(client, rc);
}

int main(int argc, char **argv)
{
	static const struct tn_handler from_clients = {.on_open = client_open};
	struct tn_loop *loop = NULL;
	int rc;

	if (argc != 3)
		return fprintf(stderr, "usage: relay LISTEN_URL TARGET_URL\n"), 2;
	target_url = argv[2];
	rc = tn_loop_new(&loop, NULL);
	if (rc == 0)
		rc = tn_serve(loop, argv[1], &from_clients, NULL, &stopping.server);
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
