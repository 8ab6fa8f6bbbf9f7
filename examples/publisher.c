/* A publisher: every line of standard input goes to all subscribers. Who reads gets all of it; who does not is let go.
 * Run: seq 1000000 | publisher [URL]     and: nc localhost 10004
 * At the end of the input, or at SIGTERM, it ends when every subscriber has what was published. */
#include <errno.h>
#include <stdio.h>

#include "stop.h"

#define SUBSCRIBERS_MAX 10000
#define LOOK_MS 1000
#define SLOW_NS 5000000000 /* it has taken nothing for so long */

static struct {
	int full; /* subscribers that cannot take more for now */
	struct tn_conn *input;
	struct tn_timer *look;
	struct tn_loop *loop;
} hall;

static struct stop stopping;

/* The input is read again when nobody is full any more: what waits then is in the sender's hands, not in memory. */
static void go_on(void)
{
	if (--hall.full == 0 && hall.input)
		tn_resume(hall.input);
}

static void subscriber_drain(struct tn_conn *conn, void *arg)
{
	(void)arg;
	if (tn_conn_data(conn))
		go_on();
	tn_conn_set_data(conn, NULL);
}

static void subscriber_close(struct tn_conn *conn, int err, void *arg)
{
	(void)err, (void)arg;
	if (tn_conn_data(conn))
		go_on();
}

static void send_line(struct tn_conn *conn, void *arg)
{
	int rc = tn_send_shared(conn, arg);

	if (rc < 0 && rc != TN_ESTATE)
		tn_abort(conn, rc); /* it would miss a line, and not know */
	if (rc != 1 || tn_conn_data(conn))
		return;
	tn_conn_set_data(conn, &hall); /* full: on_drain follows */
	hall.full++;
	tn_pause(hall.input);
}

/* The line is made a message once; the queues of all subscribers refer to it. */
static void publish(struct tn_conn *input, const struct tn_msg *line, void *arg)
{
	struct tn_shared *shared;
	int rc = tn_shared_from(line, &shared);

	(void)arg;
	if (rc < 0) {
		tn_abort(input, rc);
		return;
	}
	tn_server_each(stopping.server, send_line, shared);
	tn_shared_unref(shared);
}

static void drop_if_slow(struct tn_conn *conn, void *arg)
{
	struct tn_conn_info info;

	(void)arg;
	tn_conn_info(conn, &info);
	if (info.stalled_ns > SLOW_NS)
		tn_abort(conn, -ETIMEDOUT);
}

/* A reader that is only slower than the input holds it back; one that has stopped reading holds up nobody for long. */
static void look_for_slow_ones(void *arg)
{
	(void)arg;
	hall.look = NULL;
	tn_server_each(stopping.server, drop_if_slow, NULL);
	if (tn_timer_start(hall.loop, LOOK_MS, look_for_slow_ones, NULL, &hall.look) < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
}

/* Nothing more is published. What is queued still goes out: the server waits for that. */
static void end_input(void *arg)
{
	(void)arg;
	if (hall.input)
		tn_abort(hall.input, 0);
	tn_timer_stop(hall.look);
	hall.look = NULL;
}

static void input_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err, (void)arg;
	if (!hall.input)
		return;
	hall.input = NULL;
	stop_now(&stopping);
}

int main(int argc, char **argv)
{
	static const struct tn_handler subscribers = {.on_drain = subscriber_drain, .on_close = subscriber_close};
	static const struct tn_handler input = {.on_msg = publish, .on_close = input_close};
	const char *url = argc > 1 ? argv[1] : "tcp://localhost:10004?frame=line&queue=64KiB";
	int rc = tn_loop_new(&hall.loop, NULL);

	stopping.before = end_input;
	if (rc == 0)
		rc = tn_serve(hall.loop, url, &subscribers, NULL, &stopping.server);
	if (rc == 0)
		rc = tn_dial(hall.loop, "fd:0?frame=line", &input, NULL, &hall.input);
	if (rc == 0) {
		tn_server_limit(stopping.server, SUBSCRIBERS_MAX);
		rc = stop_on_signals(hall.loop, &stopping);
	}
	for (int i = 0; rc == 0 && i < tn_server_nurls(stopping.server); i++)
		printf("listening %s\n", tn_server_url(stopping.server, i));
	fflush(stdout);
	if (rc == 0) {
		look_for_slow_ones(NULL);
		rc = tn_loop_run(hall.loop);
	}
	if (rc < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
	tn_loop_free(hall.loop);
	return rc < 0;
}
