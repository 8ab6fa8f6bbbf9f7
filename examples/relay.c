/* A relay: each client gets a connection to another server, and both directions pass through.
 * Run: relay LISTEN_URL TARGET_URL     as tcp://localhost:10002 tcp://localhost:10000 */
#include <errno.h>
#include <stdio.h>

#include "stop.h"

/* One of the two connections of a session, and the other one. */
struct end {
	struct tn_conn *conn; /* NULL: gone */
	struct end *other;
};

struct session {
	struct end client, target;
};

static struct stop stopping;
static const char *target_url;

/* What the other end cannot take for now is not read: the peer is held back by that. */
static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct end *from = arg;
	int rc = from->other->conn ? tn_forward(from->other->conn, msg) : TN_ESTATE;

	if (rc == 1)
		tn_pause(conn);
	else if (rc < 0)
		tn_abort(conn, rc); /* never an end in good order behind bytes that were lost */
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	struct end *to = arg;

	(void)conn;
	if (to->other->conn)
		tn_resume(to->other->conn);
}

/* An end is passed on, and the other direction goes on. */
static void on_end(struct tn_conn *conn, void *arg)
{
	struct end *from = arg;

	(void)conn;
	if (from->other->conn && tn_finish(from->other->conn) < 0)
		tn_abort(from->other->conn, -ECONNRESET);
}

/* Without an error both directions have ended. With one, the other end must not look as if all had come. */
static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct end *gone = arg, *other = gone->other;

	(void)conn;
	gone->conn = NULL;
	if (!other->conn)
		free(gone < other ? (void *)gone : (void *)other); /* the client's end is the session's start */
	else if (err)
		tn_abort(other->conn, err);
	else
		tn_close(other->conn);
}

static const struct tn_handler to_target = {
	.on_msg = on_msg, .on_drain = on_drain, .on_end = on_end, .on_close = on_close};

/* tn_serve() gives one arg for all its connections: each finds its session in its data. */
static void client_open(struct tn_conn *conn, void *arg)
{
	struct session *s = calloc(1, sizeof(*s));
	int rc;

	(void)arg;
	if (!s) {
		tn_abort(conn, -ENOMEM);
		return;
	}
	s->client = (struct end){.conn = conn, .other = &s->target};
	s->target.other = &s->client;
	tn_conn_set_data(conn, &s->client);
	tn_conn_hold(conn); /* it may be owed something that the target has not said yet */
	rc = tn_dial(tn_conn_loop(conn), target_url, &to_target, &s->target, &s->target.conn);
	if (rc < 0)
		tn_abort(conn, rc);
}

static void client_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	on_msg(conn, msg, tn_conn_data(conn));
}

static void client_drain(struct tn_conn *conn, void *arg)
{
	(void)arg;
	on_drain(conn, tn_conn_data(conn));
}

static void client_end(struct tn_conn *conn, void *arg)
{
	(void)arg;
	on_end(conn, tn_conn_data(conn));
}

static void client_close(struct tn_conn *conn, int err, void *arg)
{
	(void)arg;
	if (tn_conn_data(conn))
		on_close(conn, err, tn_conn_data(conn));
}

int main(int argc, char **argv)
{
	static const struct tn_handler from_clients = {.on_open = client_open,
						       .on_msg = client_msg,
						       .on_drain = client_drain,
						       .on_end = client_end,
						       .on_close = client_close};
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
