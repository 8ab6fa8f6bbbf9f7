/*
 * WebSocket's silence (keys ping and dead): what counts as the peer's, and what is our own. A client without a library,
 * so that it is silent when the test is.
 */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Long enough for a busy machine to answer in; the tests that hope for silence turn the loop for longer. */
#define PING_MS 150
#define DEAD_MS 900

struct quiet {
	struct tn_loop *loop;
	struct tn_server *server;
	struct tn_conn *conn; /* the served one */
	int client, opens, msgs, closes, err;
	bool floods, full;
};

static void on_open(struct tn_conn *conn, void *arg)
{
	struct quiet *q = arg;

	q->conn = conn;
	q->opens++;
}

/* More than its queue and the kernel take: the connection is not read until some of it has gone. */
static void flood(struct quiet *q)
{
	static char data[100000];
	int rc;

	while ((rc = tn_send(q->conn, data, sizeof(data))) >= 0)
		;
	assert_int_equal(rc, TN_EFULL);
	q->full = true;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct quiet *q = arg;

	(void)conn;
	assert_int_equal(msg->len, 2);
	assert_memory_equal(msg->data, "hi", 2);
	q->msgs++;
	if (q->floods && !q->full)
		flood(q);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct quiet *q = arg;

	(void)conn;
	q->closes++;
	q->err = err;
}

static void open_quiet(struct quiet *q, bool floods)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};
	static const char request[] =
		"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char url[256];

	*q = (struct quiet){.loop = th_loop(), .floods = floods};
	snprintf(url, sizeof(url), "ws+unix:%s/s?queue=1KiB&idle=1h&ping=%dms&dead=%dms", th_dir, PING_MS, DEAD_MS);
	if (tn_serve(q->loop, url, &handler, q, &q->server) < 0)
		fail_msg("%s", tn_errmsg());
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", th_dir);
	q->client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(q->client, (struct sockaddr *)&addr, sizeof(addr)), 0);
	th_set_nonblock(q->client);
	assert_int_equal(write(q->client, request, sizeof(request) - 1), sizeof(request) - 1);
	th_until(q->loop, q->opens);
}

static void close_quiet(struct quiet *q)
{
	close(q->client);
	tn_loop_free(q->loop);
}

static void say_hi(const struct quiet *q)
{
	static const unsigned char hi[] = {0x81, 0x82, 0, 0, 0, 0, 'h', 'i'};

	assert_int_equal(write(q->client, hi, sizeof(hi)), sizeof(hi));
}

/* Returns whether it has been quiet for long enough to be taken for dead, had anybody listened. */
static void wait_for_long(struct quiet *q)
{
	for (uint64_t until = th_now_ms() + 2 * DEAD_MS; th_now_ms() < until && !q->closes;)
		assert_true(tn_loop_step(q->loop, 20) >= 0);
}

static void test_silence_is_told(void **state)
{
	struct quiet q;

	(void)state;
	open_quiet(&q, false);
	th_until(q.loop, q.closes);
	assert_int_equal(q.err, -ETIMEDOUT);
	close_quiet(&q);
}

/* It is paused, and then it hears what was said long ago. From then on silence counts again. */
static void test_silence_while_paused(void **state)
{
	struct quiet q;

	(void)state;
	open_quiet(&q, false);
	tn_pause(q.conn);
	say_hi(&q);
	wait_for_long(&q);
	assert_int_equal(q.closes, 0);
	tn_resume(q.conn);
	th_until(q.loop, q.msgs == 1 || q.closes);
	assert_int_equal(q.closes, 0);
	th_until(q.loop, q.closes);
	assert_int_equal(q.err, -ETIMEDOUT);
	close_quiet(&q);
}

/* Its own queue holds it, for a client that reads late. */
static void test_silence_while_the_queue_is_full(void **state)
{
	static char in[1 << 20];
	struct quiet q;

	(void)state;
	open_quiet(&q, true);
	say_hi(&q);
	th_until(q.loop, q.full);
	say_hi(&q);
	wait_for_long(&q);
	assert_int_equal(q.closes, 0);
	while (q.msgs < 2 && !q.closes) {
		(void)!read(q.client, in, sizeof(in));
		assert_true(tn_loop_step(q.loop, 1) >= 0);
	}
	assert_int_equal(q.closes, 0);
	close_quiet(&q);
}

/* The process slept past the deadline, with the client's words in its socket. */
static void test_silence_while_the_loop_stands_still(void **state)
{
	struct quiet q;

	(void)state;
	open_quiet(&q, false);
	say_hi(&q);
	usleep(2 * DEAD_MS * 1000);
	th_until(q.loop, q.msgs || q.closes);
	assert_int_equal(q.closes, 0);
	close_quiet(&q);
}

static void on_pong(struct tn_conn *conn, uint64_t round_ns, void *arg)
{
	struct quiet *q = arg;

	assert_ptr_equal(conn, q->conn);
	assert_true(round_ns > 0);
	q->msgs++;
}

/* Told of a connection that has a handle, or a path, as of any other one. */
static void test_pong(void **state)
{
	static const struct tn_handler served = {0},
				       handler = {.on_open = on_open, .on_pong = on_pong, .on_close = on_close};
	struct quiet q = {.loop = th_loop()};
	struct tn_handle *handle;
	char url[256];

	(void)state;
	snprintf(url, sizeof(url), "ws+unix:%s/s", th_dir);
	assert_int_equal(tn_serve(q.loop, url, &served, NULL, &q.server), 0);
	assert_int_equal(tn_dial(q.loop, url, &handler, &q, &q.conn), 0);
	th_until(q.loop, q.opens == 1);
	assert_int_equal(tn_ping(q.conn), 0);
	th_until(q.loop, q.msgs == 1);
	assert_int_equal(tn_conn_handle(q.conn, &handle), 0);
	assert_int_equal(tn_ping(q.conn), 0);
	th_until(q.loop, q.msgs == 2);
	assert_int_equal(q.closes, 0);
	tn_handle_unref(handle);
	tn_loop_free(q.loop);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, th_setup, th_teardown)

static const struct CMUnitTest tests[] = {
	T(test_silence_is_told),
	T(test_silence_while_paused),
	T(test_silence_while_the_queue_is_full),
	T(test_silence_while_the_loop_stands_still),
	T(test_pong),
};

int main(int argc, char **argv)
{
	return th_main(argc, argv, "web", tests, sizeof(tests) / sizeof(tests[0]));
}
