/* What the three embed_*.c share: an echo server on a tenon loop that runs inside another loop; and, if a second
 * argument says `ask`, how late that is. After a turn in which somebody was served, a byte goes into a socket pair
 * whose other end lives on the tenon loop: the next turn has to hear of it. */
#ifndef EXAMPLE_EMBED_H
#define EXAMPLE_EMBED_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tenon.h>

#define DRAIN_MS 5000

struct embed {
	struct tn_loop *loop;
	struct tn_server *server;
	unsigned long turns;    /* of the other loop: it counts them before it waits */
	unsigned long messages; /* that were sent back */
	unsigned long asked_in; /* the turn in which the byte was written */
	unsigned long latest;   /* most turns that one took */
	bool served, asked;
	int asks;
};

static void embed_message(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct embed *e = arg;
	int err = tn_forward(conn, msg);

	if (err < 0)
		tn_abort(conn, err);
	e->messages++;
	e->served = true;
}

static void embed_heard(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct embed *e = arg;

	(void)conn, (void)msg;
	e->asked = false;
	if (e->turns - e->asked_in > e->latest)
		e->latest = e->turns - e->asked_in;
}

/* After each step. */
static void embed_ask(struct embed *e)
{
	if (e->asks < 0 || !e->served || e->asked || write(e->asks, "?", 1) != 1)
		return;
	e->served = false;
	e->asked = true;
	e->asked_in = e->turns;
}

static int embed_start_asking(struct embed *e)
{
	static const struct tn_handler hears = {.on_msg = embed_heard};
	struct tn_conn *conn;
	char end[32];
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -1;
	e->asks = pair[1];
	snprintf(end, sizeof(end), "fd:%d", pair[0]);
	rc = tn_dial(e->loop, end, &hears, e, &conn);
	if (rc == 0)
		tn_conn_keep_loop(conn, false); /* so that the end of the server is the end of the loop */
	return rc;
}

/* argv: URL, `ask`. Returns the descriptor to watch, or a negative code. */
static int embed_start(struct embed *e, int argc, char **argv, const char *url)
{
	static const struct tn_handler echo = {.on_msg = embed_message};
	int rc = tn_loop_new(&e->loop, NULL);

	e->asks = -1;
	if (rc == 0)
		rc = tn_serve(e->loop, argc > 1 ? argv[1] : url, &echo, e, &e->server);
	if (rc == 0 && argc > 2 && !strcmp(argv[2], "ask"))
		rc = embed_start_asking(e);
	if (rc < 0)
		return rc;
	for (int i = 0; i < tn_server_nurls(e->server); i++)
		printf("listening %s\n", tn_server_url(e->server, i));
	fflush(stdout);
	return tn_loop_fd(e->loop);
}

/* Returns what main() does. `rc`: what the last step has returned, or the error that came before. */
static int embed_end(struct embed *e, int rc)
{
	if (rc < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
	else
		printf("%lu messages in %lu turns, heard after %lu at most\n", e->messages, e->turns, e->latest);
	tn_loop_free(e->loop);
	if (e->asks >= 0)
		close(e->asks);
	return rc < 0;
}

#endif
