/*
 * Everything that lives on a loop, ended in every order: each ordered choice of ends, with turns of the loop between
 * them or without, and the loop freed behind the last. AddressSanitizer and the look for descriptors say what was done
 * wrong.
 */
#include "harness.h"

#include <errno.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SERVER, LONE, DIALLED, ABORTED, HELPERS, NENDS };

struct world {
	struct tn_loop *loop;
	struct tn_server *server, *lone;
	struct tn_conn *client, *far; /* dialled: to the server, and the other end of the lone connection */
	struct tn_timer *timer;
	struct tn_poll *poll;
	int pipe[2];
	int opens, closes, done, posted, fired;
};

static void on_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct world *)arg)->opens++;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	(void)!tn_forward(conn, msg);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct world *w = arg;

	(void)err;
	w->closes++;
	if (conn == w->client)
		w->client = NULL;
	if (conn == w->far)
		w->far = NULL;
}

static void count(void *arg)
{
	++*(int *)arg;
}

static void fired(void *arg)
{
	struct world *w = arg;

	w->timer = NULL;
	w->fired++;
}

static void build(struct world *w, bool turned)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};
	static const struct tn_handler client = {.on_open = on_open, .on_close = on_close};
	char url[64];
	int pair[2];

	*w = (struct world){.loop = th_loop()};
	assert_int_equal(tn_serve(w->loop, "tcp://127.0.0.1:0", &handler, w, &w->server), 0);
	assert_int_equal(tn_dial(w->loop, tn_server_url(w->server, 0), &client, w, &w->client), 0);
	th_pair(SOCK_STREAM, pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_serve(w->loop, url, &handler, w, &w->lone), 0);
	snprintf(url, sizeof(url), "fd:%d", pair[1]);
	assert_int_equal(tn_dial(w->loop, url, &client, w, &w->far), 0);
	assert_int_equal(pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(tn_poll_start(w->loop, w->pipe[0], count, &w->fired, &w->poll), 0);
	assert_int_equal(tn_timer_start(w->loop, 60000, fired, w, &w->timer), 0);
	if (!turned)
		return;
	th_until(w->loop, w->opens == 4);
	assert_int_equal(tn_send(w->client, "hello", 5), 0);
	assert_int_equal(tn_send(w->far, "hello", 5), 0);
	assert_int_equal(write(w->pipe[1], "x", 1), 1);
}

static void end(struct world *w, int which)
{
	switch (which) {
	case SERVER:
		tn_server_close(w->server, 0, count, &w->done);
		break;
	case LONE:
		tn_server_close(w->lone, 1000, count, &w->done);
		break;
	case DIALLED:
		if (w->client)
			tn_close(w->client);
		break;
	case ABORTED:
		if (w->far)
			tn_abort(w->far, -ECANCELED);
		break;
	case HELPERS:
		tn_timer_stop(w->timer);
		tn_poll_stop(w->poll);
		assert_int_equal(tn_loop_post(w->loop, count, &w->posted), 0);
		break;
	}
}

/* The ends `order` names, then the loop. */
static void play(const int *order, int n, bool turned, bool turns)
{
	struct world w;
	bool posted = false;

	build(&w, turned);
	for (int i = 0; i < n; i++) {
		end(&w, order[i]);
		posted = posted || order[i] == HELPERS;
		if (turns)
			assert_true(tn_loop_step(w.loop, 0) >= 0);
	}
	tn_loop_free(w.loop);
	close(w.pipe[0]);
	close(w.pipe[1]);
	assert_int_equal(w.posted, posted);
	/* Who was served is told of an end only after a beginning; who dialled always. */
	assert_true(w.closes >= 2 && w.closes <= 4);
	assert_true(!turned || w.closes == 4);
	assert_null(w.client);
	assert_null(w.far);
}

static void play_all(int *order, int n, unsigned used, bool turned, bool turns)
{
	play(order, n, turned, turns);
	for (int which = 0; n < NENDS && which < NENDS; which++) {
		if (used >> which & 1)
			continue;
		order[n] = which;
		play_all(order, n + 1, used | 1U << which, turned, turns);
	}
}

static void test_every_order(void **state)
{
	int order[NENDS];

	(void)state;
	for (int i = 0; i < 4; i++)
		play_all(order, 0, 0, i & 1, i & 2);
}

/* All has been ended, and the loop runs until nothing is left: it must come to its end by itself. */
static void test_nothing_keeps_a_loop_running(void **state)
{
	(void)state;
	for (int first = 0; first < NENDS; first++) {
		struct world w;

		build(&w, first & 1);
		for (int i = 0; i < NENDS; i++)
			end(&w, (first + i) % NENDS);
		assert_int_equal(tn_loop_run(w.loop), 0);
		assert_int_equal(w.done, 2);
		assert_int_equal(w.posted, 1);
		tn_loop_free(w.loop);
		close(w.pipe[0]);
		close(w.pipe[1]);
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, th_setup, th_teardown)

static const struct CMUnitTest tests[] = {
	T(test_every_order),
	T(test_nothing_keeps_a_loop_running),
};

int main(int argc, char **argv)
{
	return th_main(argc, argv, "orders", tests, sizeof(tests) / sizeof(tests[0]));
}
