/* A proxy, for SOCKS and HTTP CONNECT. Whom it serves, and where to, its URL says (keys users, allow-to, ports).
 * Run: proxy URL     as proxy://localhost:1080 or 'proxy://10.0.0.1:1080?users=FILE&ports=443' */
#include <errno.h>
#include <stdio.h>

#include "stop.h"

static struct stop stopping;

/* Each of the two knows the other for as long as that is there. */
static void know(struct tn_conn *client, struct tn_conn *target)
{
	tn_conn_set_data(client, target);
	tn_conn_set_data(target, client);
}

static void forget(struct tn_conn *conn)
{
	struct tn_conn *other = tn_conn_data(conn);

	if (other)
		tn_conn_set_data(other, NULL);
}

static void refuse(struct tn_conn *client, int err)
{
	if (tn_conn_answer(client, err, NULL) == 0)
		tn_close(client);
}

static void target_open(struct tn_conn *target, void *arg)
{
	struct tn_conn *client = tn_conn_data(target);

	(void)arg;
	if (client && tn_conn_answer(client, 0, target) < 0)
		tn_abort(client, -ENOMEM);
}

/* Of a client that has been granted its wish the answer is past; the path brings the end to it. */
static void target_close(struct tn_conn *target, int err, void *arg)
{
	struct tn_conn *client = tn_conn_data(target);

	(void)arg;
	forget(target);
	if (client && err)
		refuse(client, err);
}

/* Whether a client may go there the library knows. */
static void client_open(struct tn_conn *client, void *arg)
{
	static const struct tn_handler to_target = {.on_open = target_open, .on_close = target_close};
	struct tn_conn *target;
	struct tn_asked asked;
	int rc = tn_conn_asked(client, &asked);

	(void)arg;
	if (rc == 0 && asked.what != TN_ASKED_CONNECT)
		rc = -EOPNOTSUPP;
	if (rc == 0)
		rc = tn_dial_asked(client, asked.what, asked.host, asked.port, NULL, &to_target, NULL, &target);
	if (rc < 0) {
		refuse(client, rc);
		return;
	}
	know(client, target);
	rc = tn_join(client, target);
	if (rc < 0)
		tn_abort(target, rc);
}

static void client_close(struct tn_conn *client, int err, void *arg)
{
	(void)err, (void)arg;
	forget(client);
}

int main(int argc, char **argv)
{
	static const struct tn_handler from_clients = {.on_open = client_open, .on_close = client_close};
	struct tn_loop *loop = NULL;
	int rc;

	if (argc != 2)
		return fprintf(stderr, "usage: proxy URL\n"), 2;
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
