/* TLS that begins in the middle of a connection, when the program says so: tn_start_tls(). */
#include "../support/certs.h"
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES 20000

static char certs_dir[64];

/* Each side begins TLS when it has said or heard a line, and then sends many more. */
struct side {
	bool begins;  /* says a line in on_open, and begins */
	bool asks;    /* says a line in on_open, and begins when another has come */
	bool answers; /* says a line when the first has come, and begins */
	bool plain;   /* only counts */
	bool secret_before, ended;
	int opened, heard, err;
	struct tn_conn *conn;
	char identity[256];
};

static bool is_secret(struct tn_conn *conn, char identity[256])
{
	struct tn_security security;

	if (tn_conn_security(conn, &security) < 0)
		return false;
	if (identity)
		memcpy(identity, security.identity, sizeof(security.identity));
	return true;
}

static void begin(struct side *side)
{
	side->secret_before = is_secret(side->conn, NULL);
	assert_int_equal(tn_start_tls(side->conn), 0);
	assert_int_equal(tn_start_tls(side->conn), TN_ESTATE);
	for (int i = 0; i < LINES; i++)
		assert_true(tn_send(side->conn, "secret", 6) >= 0);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct side *side = arg;

	side->conn = conn;
	side->opened++;
	if (side->begins || side->asks)
		assert_true(tn_send(conn, "plain", 5) >= 0);
	if (side->begins)
		begin(side);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct side *side = arg;

	if (side->plain) {
		side->heard++;
		return;
	}
	if (!side->heard++ && !side->begins) {
		assert_memory_equal(msg->data, "plain", 5);
		if (side->answers)
			assert_true(tn_send(conn, "plain", 5) >= 0);
		begin(side);
		return;
	}
	assert_memory_equal(msg->data, "secret", 6);
	assert_true(is_secret(conn, side->identity));
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct side *side = arg;

	(void)conn;
	side->err = err;
	side->ended = true;
}

static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};

static int setup(void **state)
{
	snprintf(certs_dir, sizeof(certs_dir), "/tmp/tenon-starttls-XXXXXX");
	assert_non_null(mkdtemp(certs_dir));
	certs_make(certs_dir, "ca", NULL, NULL, -1, 10);
	certs_make(certs_dir, "peer", "ca", "IP:127.0.0.1", -1, 10);
	return th_setup(state);
}

static int teardown(void **state)
{
	certs_remove(certs_dir);
	return th_teardown(state);
}

static struct tn_server *serve(struct tn_loop *loop, struct side *side, bool optional)
{
	struct tn_server *server;
	char url[512];

	snprintf(url, sizeof(url), "tls://127.0.0.1:0?cert=%1$s/peer.pem&key=%1$s/peer.key&frame=line&queue=1MiB",
		 certs_dir);
	if (tn_serve(loop, url, &handler, side, &server) < 0)
		fail_msg("%s", tn_errmsg());
	assert_int_equal(tn_server_tls_later(server, optional), 0);
	return server;
}

/* `scheme` tls: begins later. */
static void dial(struct tn_loop *loop, struct tn_server *server, const char *scheme, struct side *side)
{
	const char *port = strrchr(tn_server_url(server, 0), ':') + 1;
	char url[512];

	snprintf(url, sizeof(url), "%s://127.0.0.1:%.*s?frame=line&queue=1MiB%s%s%s", scheme,
		 (int)strspn(port, "0123456789"), port, *scheme == 't' && scheme[1] == 'l' ? "&ca=" : "",
		 scheme[1] == 'l' ? certs_dir : "", scheme[1] == 'l' ? "/ca.pem" : "");
	if (tn_dial(loop, url, &handler, side, &side->conn) < 0)
		fail_msg("%s", tn_errmsg());
	if (scheme[1] == 'l')
		assert_int_equal(tn_tls_later(side->conn), 0);
}

static void play(bool at_once, bool optional)
{
	struct tn_loop *loop = th_loop();
	struct side here = {.asks = !at_once}, there = {.begins = at_once, .answers = !at_once};
	struct tn_server *server = serve(loop, &there, optional);

	dial(loop, server, "tls", &here);
	th_until(loop, here.heard == LINES + 1 && there.heard == LINES + !at_once);
	assert_false(here.secret_before || there.secret_before);
	assert_int_equal(here.opened, 1);
	assert_int_equal(there.opened, 1);
	assert_string_equal(here.identity, "CN=peer");
	tn_close(here.conn);
	th_until(loop, here.ended && there.ended);
	assert_int_equal(here.err, 0);
	assert_int_equal(there.err, 0);
	tn_loop_free(loop);
}

static void test_tls_begins_later(void **state)
{
	(void)state;
	play(true, false);
	play(false, false);
	play(true, true);
}

/* Who does not begin, where it may not. */
static void test_tls_may_be_declined(void **state)
{
	struct tn_loop *loop = th_loop();
	struct side here = {.plain = true}, there = {.begins = true, .plain = true};
	struct tn_server *server = serve(loop, &there, true);
	struct tn_counts counts;

	(void)state;
	dial(loop, server, "tcp", &here);
	th_until(loop, here.opened);
	assert_int_equal(tn_start_tls(here.conn), -EOPNOTSUPP);
	assert_int_equal(tn_tls_later(here.conn), -EOPNOTSUPP);
	assert_true(tn_send(here.conn, "mine", 4) >= 0);
	th_until(loop, there.heard == 1 && here.heard == 1 + LINES);
	assert_false(is_secret(there.conn, NULL));
	tn_server_count(server, &counts);
	assert_int_equal(counts.handshakes, 0);
	tn_close(here.conn);
	th_until(loop, here.ended && there.ended);
	assert_int_equal(there.err, 0);
	tn_loop_free(loop);
}

/* What the peer has put behind the message with which TLS begins is nobody's. */
static void test_plain_bytes_behind_are_refused(void **state)
{
	struct tn_loop *loop = th_loop();
	struct side here = {.plain = true}, there = {0};
	struct tn_server *server = serve(loop, &there, false);

	(void)state;
	dial(loop, server, "tcp", &here);
	th_until(loop, here.opened && there.opened);
	assert_true(tn_send(here.conn, "plain", 5) >= 0 && tn_send(here.conn, "secret", 6) >= 0);
	th_until(loop, here.ended && there.ended);
	assert_int_equal(there.err, TN_ETLS);
	assert_int_equal(there.heard, 1);
	tn_loop_free(loop);
}

static void test_where_it_cannot(void **state)
{
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	struct side side = {0};
	char url[512];

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &handler, &side, &server), 0);
	assert_int_equal(tn_server_tls_later(server, false), -EOPNOTSUPP);
	tn_server_close(server, 0, NULL, NULL);
	snprintf(url, sizeof(url), "wss://127.0.0.1:0?cert=%1$s/peer.pem&key=%1$s/peer.key", certs_dir);
	assert_int_equal(tn_serve(loop, url, &handler, &side, &server), 0);
	assert_int_equal(tn_server_tls_later(server, false), -EOPNOTSUPP);
	tn_server_close(server, 0, NULL, NULL);
	snprintf(url, sizeof(url), "dtls://127.0.0.1:0?cert=%1$s/peer.pem&key=%1$s/peer.key", certs_dir);
	assert_int_equal(tn_serve(loop, url, &handler, &side, &server), 0);
	assert_int_equal(tn_server_tls_later(server, false), -EOPNOTSUPP);
	tn_server_close(server, 0, NULL, NULL);
	snprintf(url, sizeof(url), "wss://127.0.0.1:1?ca=%s/ca.pem", certs_dir);
	assert_int_equal(tn_dial(loop, url, &handler, &side, &side.conn), 0);
	assert_int_equal(tn_tls_later(side.conn), -EOPNOTSUPP);
	th_until(loop, side.ended);
	tn_loop_free(loop);
}

/* TLS that began with the connection, and a connection that is closing. */
static void test_when_it_cannot(void **state)
{
	struct tn_loop *loop = th_loop();
	struct side here = {.plain = true}, there = {.plain = true};
	struct tn_server *server = serve(loop, &there, false);
	const char *port = strrchr(tn_server_url(server, 0), ':') + 1;
	char url[512];

	(void)state;
	snprintf(url, sizeof(url), "tls://127.0.0.1:%.*s?ca=%s/ca.pem&frame=line", (int)strspn(port, "0123456789"),
		 port, certs_dir);
	assert_int_equal(tn_dial(loop, url, &handler, &here, &here.conn), 0);
	th_until(loop, there.opened);
	assert_int_equal(tn_start_tls(there.conn), 0);
	th_until(loop, here.opened);
	assert_true(is_secret(here.conn, NULL));
	assert_int_equal(tn_tls_later(here.conn), TN_ESTATE);
	assert_int_equal(tn_start_tls(here.conn), TN_ESTATE);
	tn_close(here.conn);
	th_until(loop, here.ended && there.ended);
	assert_int_equal(here.err, 0);
	here = there = (struct side){.plain = true};
	dial(loop, server, "tls", &here);
	th_until(loop, here.opened && there.opened);
	tn_close(here.conn);
	assert_int_equal(tn_start_tls(here.conn), TN_ESTATE);
	th_until(loop, here.ended && there.ended);
	tn_loop_free(loop);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(test_tls_begins_later, setup, teardown),
	cmocka_unit_test_setup_teardown(test_tls_may_be_declined, setup, teardown),
	cmocka_unit_test_setup_teardown(test_plain_bytes_behind_are_refused, setup, teardown),
	cmocka_unit_test_setup_teardown(test_where_it_cannot, setup, teardown),
	cmocka_unit_test_setup_teardown(test_when_it_cannot, setup, teardown),
};

int main(int argc, char **argv)
{
	return th_main(argc, argv, "starttls", tests, sizeof(tests) / sizeof(tests[0]));
}
