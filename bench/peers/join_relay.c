/*
 * A relay on tn_join(), for the scenarios `join*`: each client gets a TCP connection to the target.
 *
 *     join_relay ENGINE PORT TARGET_PORT        ENGINE: uring, epoll, or - for the default
 *
 * It does not spin before it sleeps: it is measured by its CPU time, and the bare relays do not either.
 */
#include <tenon.h>

#include <stdio.h>
#include <string.h>

static char target_url[64];

static void client_open(struct tn_conn *client, void *arg)
{
	static const struct tn_handler nothing;
	struct tn_conn *target;
	int rc = tn_dial(tn_conn_loop(client), target_url, &nothing, NULL, &target);

	(void)arg;
	if (rc == 0 && (rc = tn_join(client, target)) < 0)
		tn_abort(target, rc);
	if (rc < 0)
		tn_abort(client, rc);
}

int main(int argc, char **argv)
{
	static const struct tn_handler clients = {.on_open = client_open};
	struct tn_server *server;
	struct tn_loop *loop;
	char url[64];

	if (argc != 4)
		return fprintf(stderr, "usage: join_relay ENGINE PORT TARGET_PORT\n"), 2;
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%s?backlog=4096&spin=0", argv[2]);
	snprintf(target_url, sizeof(target_url), "tcp://127.0.0.1:%s", argv[3]);
	if (tn_loop_new(&loop, strcmp(argv[1], "-") != 0 ? argv[1] : NULL) < 0 ||
	    tn_serve(loop, url, &clients, NULL, &server) < 0)
		return fprintf(stderr, "join_relay: %s\n", tn_errmsg()), 1;
	printf("listening %s\n", tn_server_url(server, 0));
	fflush(stdout);
	return tn_loop_run(loop) < 0;
}
