/* Several observers of one server, and one that is taken away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conn/server.h"
#include "tenon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS 3

struct seen {
	char order[64]; /* which observers have been told what */
	struct tn_server *server;
	int closed;
};

static struct seen seen;

struct observer {
	char name;
	bool once; /* takes itself away when it is told of the first connection */
};

static void note(const struct observer *o, char what)
{
	size_t len = strlen(seen.order);

	assert_true(len + 3 < sizeof(seen.order));
	seen.order[len] = o->name;
	seen.order[len + 1] = what;
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct observer *o = arg;

	note(o, 'o');
	if (o->once)
		tn_server_unwatch(tn_conn_server(conn), o);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err;
	note(arg, 'c');
}

static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	(void)server, (void)text;
	assert_int_equal(err, TN_ELIMIT);
	note(arg, 't');
}

static void client_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	tn_close(conn);
}

static void client_closed(struct tn_conn *conn, int err, void *arg);

static const struct tn_handler client = {.on_open = client_open, .on_close = client_closed};

static void dial(struct tn_loop *loop)
{
	assert_int_equal(tn_dial(loop, tn_server_url(seen.server, 0), &client, NULL, NULL), 0);
}

/* One client after the other, then the server ends. */
static void client_closed(struct tn_conn *conn, int err, void *arg)
{
	(void)err, (void)arg;
	if (++seen.closed < CLIENTS)
		dial(tn_conn_loop(conn));
	else
		tn_server_close(seen.server, 1000, NULL, NULL);
}

static void test_several(void **state)
{
	static const struct tn_watch watch = {.on_open = on_open, .on_close = on_close};
	static const struct tn_watch silent = {.on_trouble = on_trouble};
	static const struct tn_handler nothing;
	struct observer a = {.name = 'a'}, b = {.name = 'b', .once = true}, c = {.name = 'c'}, d = {.name = 'd'};
	struct tn_loop *loop;

	(void)state;
	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &nothing, NULL, &seen.server), 0);
	assert_int_equal(tn_server_watch(seen.server, &watch, &a), 0);
	assert_int_equal(tn_server_watch(seen.server, &silent, &d), 0);
	assert_int_equal(tn_server_watch(seen.server, &watch, &b), 0);
	assert_int_equal(tn_server_watch(seen.server, &watch, &c), 0);
	tn_server_unwatch(seen.server, &seen); /* nobody's */
	dial(loop);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_string_equal(seen.order, "aobocoacccaocoacccaocoaccc");
	tn_loop_free(loop);
}

/* Trouble is told to all who want it: also when the first does not. */
static void test_trouble(void **state)
{
	static const struct tn_watch watch = {.on_open = on_open}, troubles = {.on_trouble = on_trouble};
	static const struct tn_handler nothing;
	struct observer a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
	struct tn_loop *loop;

	(void)state;
	seen = (struct seen){.closed = CLIENTS - 2};
	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &nothing, NULL, &seen.server), 0);
	tn_server_limit(seen.server, 1);
	assert_int_equal(tn_server_watch(seen.server, &watch, &a), 0);
	assert_int_equal(tn_server_watch(seen.server, &troubles, &b), 0);
	assert_int_equal(tn_server_watch(seen.server, &troubles, &c), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(tn_dial(loop, tn_server_url(seen.server, 0), &(struct tn_handler){0}, NULL, NULL), 0);
	while (!strchr(seen.order, 't'))
		assert_int_equal(tn_loop_step(loop, 1000), 1);
	assert_string_equal(seen.order, "aobtct");
	tn_loop_free(loop);
}

/* What a server of several loops has counted: the sum, but of the longest queue the longest. */
static void test_counts_of_several_loops(void **state)
{
	static const uint64_t peaks[] = {5, 9, 2};
	struct tn_server *server = calloc(1, sizeof(*server) + 3 * sizeof(server->parts[0]));
	struct tn_counts counts;

	(void)state;
	assert_non_null(server);
	server->nparts = 3;
	for (int i = 0; i < 3; i++) {
		tni_count(&server->parts[i], accepted, 10);
		tni_count(&server->parts[i], accepted, i);
		tni_count(&server->parts[i], closed, 4);
		tni_counts_max(&server->parts[i].counts, TNI_COUNT_OF(queue_peak), peaks[i]);
		tni_counts_max(&server->parts[i].counts, TNI_COUNT_OF(queue_peak), 1);
	}
	tn_server_count(server, &counts);
	assert_int_equal(counts.accepted, 33);
	assert_int_equal(counts.closed, 12);
	assert_int_equal(counts.open, 21);
	assert_int_equal(counts.queue_peak, 9);
	free(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_several), cmocka_unit_test(test_trouble),
					   cmocka_unit_test(test_counts_of_several_loops)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
