/*
 * A served proxy, as a program sees one: what its clients ask for is told, nothing flows before the answer, the answer
 * comes first, and nobody gets where the URL does not let them.
 */
#include "harness.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BYTES(text) (text), sizeof(text) - 1

static struct world {
	struct tn_loop *loop;
	struct tn_server *server;
	struct tn_conn *client, *target; /* of the proxy; NULL: closed */
	int port;                        /* the proxy's */
	int opens, closes, err, target_opens, target_closes, target_err;
	bool waits; /* the program does not answer at once */
	struct tn_asked asked;
	char host[256], user[256], protocol[16];
	char got[256]; /* that came from the client */
	size_t len;
	int listener, there_port; /* where the clients want to go */
} w;

/* ---- the program ---- */

static void target_open(struct tn_conn *target, void *arg)
{
	(void)arg;
	w.target_opens++;
	assert_int_equal(tn_conn_answer(w.client, 0, target), 0);
	assert_int_equal(tn_conn_answer(w.client, 0, target), -EOPNOTSUPP);
}

static void target_close(struct tn_conn *target, int err, void *arg)
{
	(void)target, (void)arg;
	w.target = NULL;
	w.target_closes++;
	w.target_err = err;
	if (w.client && !w.target_opens) {
		assert_int_equal(tn_conn_answer(w.client, err, NULL), 0);
		tn_close(w.client);
	}
}

static const struct tn_handler target_handler = {.on_open = target_open, .on_close = target_close};

static int dial_with(const char *host, int port, const char *keys)
{
	return tn_dial_asked(w.client, TN_ASKED_CONNECT, host, port, keys, &target_handler, NULL, &w.target);
}

static int dial(const char *host, int port)
{
	return dial_with(host, port, "connect=10s");
}

static void client_open(struct tn_conn *client, void *arg)
{
	int err;

	(void)arg;
	w.client = client;
	w.opens++;
	assert_int_equal(tn_conn_asked(client, &w.asked), 0);
	snprintf(w.host, sizeof(w.host), "%s", w.asked.host);
	snprintf(w.user, sizeof(w.user), "%s", w.asked.user);
	snprintf(w.protocol, sizeof(w.protocol), "%s", w.asked.protocol);
	if (w.waits)
		return;
	err = dial(w.asked.host, w.asked.port);
	if (err >= 0) {
		assert_int_equal(tn_join(client, w.target), 0);
		return;
	}
	assert_int_equal(tn_conn_answer(client, err, NULL), 0);
	tn_close(client);
}

static void client_msg(struct tn_conn *client, const struct tn_msg *msg, void *arg)
{
	(void)client, (void)arg;
	assert_true(w.len + msg->len < sizeof(w.got));
	memcpy(w.got + w.len, msg->data, msg->len);
	w.len += msg->len;
	w.got[w.len] = '\0';
}

static void client_close(struct tn_conn *client, int err, void *arg)
{
	(void)client, (void)arg;
	w.client = NULL;
	w.closes++;
	w.err = err;
}

static const struct tn_handler handler = {.on_open = client_open, .on_msg = client_msg, .on_close = client_close};

static void begin(const char *keys)
{
	char url[256];

	memset(&w, 0, sizeof(w));
	w.loop = th_loop();
	w.listener = th_tcp_listener(8, &w.there_port);
	snprintf(url, sizeof(url), "proxy://127.0.0.1:0%s", keys);
	assert_int_equal(tn_serve(w.loop, url, &handler, NULL, &w.server), 0);
	assert_int_equal(sscanf(tn_server_url(w.server, 0), "proxy://127.0.0.1:%d", &w.port), 1);
}

static void end(void)
{
	tn_loop_free(w.loop);
	close(w.listener);
}

/* ---- the client, and where it goes ---- */

static int say(const void *data, size_t len)
{
	int fd = th_tcp_dial(w.port);

	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (int)len);
	th_set_nonblock(fd);
	return fd;
}

static size_t socks5(unsigned char *out, const char *host, int port, const char *more)
{
	size_t len = strlen(host);

	memcpy(out, "\5\1\0\5\1\0\3", 7);
	out[7] = (unsigned char)len;
	memcpy(out + 8, host, len);
	out[8 + len] = (unsigned char)(port >> 8);
	out[9 + len] = (unsigned char)port;
	memcpy(out + 10 + len, more, strlen(more));
	return 10 + len + strlen(more);
}

struct got {
	int fd;
	unsigned char data[256];
	size_t len;
	bool ended;
};

/* Whether so much has come. */
static bool has(struct got *g, size_t len)
{
	while (g->len < len && !g->ended) {
		ssize_t n = recv(g->fd, g->data + g->len, len - g->len, MSG_DONTWAIT);

		if (n < 0)
			return false;
		g->ended = n == 0;
		g->len += (size_t)n;
	}
	return g->len >= len || g->ended;
}

/* ---- tests ---- */

static void test_asked(void **state)
{
	static const char socks4[] = "\4\1\1\2\300\0\2\1bob",
			  http[] = "CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n\r\n";
	struct tn_conn *none;
	int fd;

	(void)state;
	begin("");
	w.waits = true;
	fd = say(BYTES(socks4) + 1);
	th_until(w.loop, w.opens == 1);
	assert_int_equal(w.asked.what, TN_ASKED_CONNECT);
	assert_string_equal(w.protocol, "socks4");
	assert_string_equal(w.host, "192.0.2.1");
	assert_string_equal(w.user, "bob");
	assert_int_equal(w.asked.port, 258);
	close(fd);
	tn_abort(w.client, -ECANCELED);
	th_until(w.loop, w.closes == 1);
	fd = say(BYTES(http));
	th_until(w.loop, w.opens == 2);
	assert_string_equal(w.protocol, "http");
	assert_string_equal(w.host, "a.example");
	assert_int_equal(w.asked.port, 443);
	/* What a program must not get through */
	assert_int_equal(dial("a b", 80), -EINVAL);
	assert_int_equal(dial("a/b?connect=1s", 80), -EINVAL);
	assert_int_equal(dial("", 80), -EINVAL);
	assert_int_equal(dial("a", 0), -EINVAL);
	assert_int_equal(dial("a", 65536), -EINVAL);
	assert_int_equal(dial_with("8.8.8.8", 80, "connect=5s&via=socks5h://127.0.0.1:1"), -EINVAL);
	assert_non_null(strstr(tn_errmsg(), "'via'"));
	assert_int_equal(tn_dial(w.loop, "tcp://127.0.0.1:1", &target_handler, NULL, &none), 0);
	assert_int_equal(tn_conn_asked(none, &w.asked), -EOPNOTSUPP);
	assert_int_equal(tn_conn_answer(none, 0, NULL), -EOPNOTSUPP);
	assert_int_equal(tn_dial_asked(none, TN_ASKED_CONNECT, "a", 80, NULL, &target_handler, NULL, NULL),
			 -EOPNOTSUPP);
	w.target_opens = 1;
	th_until(w.loop, w.target_closes == 1);
	close(fd);
	end();
}

/* Nothing goes either way before the answer; then the answer is first, and what was said ahead arrives. */
static void test_held(void **state)
{
	unsigned char request[128];
	struct got got = {0};

	(void)state;
	begin("");
	w.waits = true;
	got.fd = say(request, socks5(request, "example.org", 80, "ahead"));
	th_until(w.loop, w.opens == 1);
	assert_int_equal(tn_send(w.client, BYTES("early")), 0);
	th_turn_for(w.loop, 50);
	assert_int_equal(w.len, 0);
	assert_true(has(&got, 2));
	assert_false(has(&got, 3));
	assert_int_equal(tn_conn_answer(w.client, 0, NULL), 0);
	th_until(w.loop, has(&got, 17) && w.len == 5);
	assert_memory_equal(got.data, "\5\0\5\0\0\1\0\0\0\0\0\0early", 17);
	assert_string_equal(w.got, "ahead");
	assert_int_equal(tn_conn_asked(w.client, &w.asked), -EOPNOTSUPP);
	assert_int_equal(send(got.fd, BYTES(" and more"), MSG_NOSIGNAL), 9);
	th_until(w.loop, w.len == 14);
	close(got.fd);
	th_until(w.loop, w.closes == 1);
	assert_int_equal(w.err, 0);
	end();
}

/* As far as a target, both ways, and its end. */
static void test_joined(void **state)
{
	unsigned char request[128];
	struct got got = {0}, there = {0};

	(void)state;
	begin("?allow-to=127.0.0.1");
	got.fd = say(request, socks5(request, "127.0.0.1", w.there_port, "question"));
	th_until(w.loop, has(&got, 12));
	assert_memory_equal(got.data, "\5\0\5\0\0\1\x7f\0\0\1", 10);
	there.fd = accept(w.listener, NULL, NULL);
	assert_true(there.fd >= 0);
	th_until(w.loop, has(&there, 8));
	assert_memory_equal(there.data, "question", 8);
	assert_int_equal(send(there.fd, BYTES("answer"), MSG_NOSIGNAL), 6);
	close(there.fd);
	got.len = 0;
	th_until(w.loop, has(&got, 7));
	assert_true(got.ended);
	assert_memory_equal(got.data, "answer", 6);
	close(got.fd);
	th_until(w.loop, w.closes == 1 && w.target_closes == 1);
	end();
}

static void refuses(const char *host, int port, int code)
{
	unsigned char request[400];
	struct got got = {0};
	int closes = w.closes;

	got.fd = say(request, socks5(request, host, port, "ahead"));
	th_until(w.loop, has(&got, 13));
	if (got.len != 12 || got.data[3] != code)
		fail_msg("%s:%d: %zu bytes, code %d", host, port, got.len, got.data[3]);
	close(got.fd);
	th_until(w.loop, w.closes == closes + 1);
	assert_int_equal(w.err, 0);
}

static void test_refused(void **state)
{
	(void)state;
	begin("");
	refuses("127.0.0.1", w.there_port, 2);
	refuses("localhost", w.there_port, 2);
	refuses("::ffff:127.0.0.1", w.there_port, 2);
	refuses("::1", w.there_port, 2);
	refuses("10.0.0.1", 80, 2);
	assert_int_equal(w.target_opens, 0);
	end();
	begin("?allow-to=public,127.0.0.0/8&deny-to=127.0.0.2&ports=1,2000-65535");
	refuses("127.0.0.1", 1, 5);
	refuses("127.0.0.2", 1, 2);
	refuses("127.0.0.1", 80, 2);
	refuses("::1", 1, 2);
	assert_int_equal(w.target_opens, 0);
	end();
	/* What is no address of anybody the kernel takes for one of this host. */
	begin("?allow-to=0.0.0.0/0,::/0&deny-to=127.0.0.0/8,::1");
	refuses("0.0.0.0", w.there_port, 2);
	refuses("::ffff:0.0.0.0", w.there_port, 2);
	refuses("::", w.there_port, 2);
	assert_int_equal(w.target_opens, 0);
	end();
	/* Nor is what others have written shown before it is known to be a host. */
	begin("?ports=80");
	w.waits = true;
	close(say(BYTES("\4\1\1\2\300\0\2\1\0")));
	th_until(w.loop, w.opens == 1);
	assert_int_equal(dial("a\n\33[31m", 7), -EINVAL);
	assert_null(strstr(tn_errmsg(), "\33"));
	tn_abort(w.client, -ECANCELED);
	th_until(w.loop, w.closes == 1);
	end();
}

/* Dialled without any proxy: the same lists. */
static void test_dialled(void **state)
{
	struct tn_conn *conn;
	char url[128];

	(void)state;
	begin("");
	w.target_opens = 1; /* nobody waits for an answer */
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d?allow-to=public", w.there_port);
	assert_int_equal(tn_dial(w.loop, url, &target_handler, NULL, &conn), 0);
	th_until(w.loop, w.target_closes == 1);
	assert_int_equal(w.target_err, -EACCES);
	snprintf(url, sizeof(url), "udp://127.0.0.1:%d?deny-to=127.0.0.0/8", w.there_port);
	assert_int_equal(tn_dial(w.loop, url, &target_handler, NULL, &conn), 0);
	th_until(w.loop, w.target_closes == 2);
	assert_int_equal(w.target_err, -EACCES);
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?allow-to=10.0.0.1/8", TN_DIAL), TN_EURL);
	assert_int_equal(tn_url_check("unix:/run/s?allow-to=public", TN_DIAL), TN_EURL);
	assert_int_equal(tn_url_check("proxy://127.0.0.1:1", TN_DIAL), TN_EURL);
	th_set_nonblock(w.listener);
	assert_int_equal(accept(w.listener, NULL, NULL), -1);
	end();
}

/* Who leaves, at every byte of what it asks for, and while it waits for the answer. */
static void test_gone(void **state)
{
	unsigned char request[128];
	size_t len;
	int fd;

	(void)state;
	begin("");
	w.waits = true;
	len = socks5(request, "example.org", 80, "");
	for (size_t cut = 0; cut < len; cut++)
		close(say(request, cut));
	th_turn_for(w.loop, 50);
	assert_int_equal(w.opens, 0);
	fd = say(request, len);
	th_until(w.loop, w.opens == 1);
	close(fd);
	th_turn_for(w.loop, 20);
	assert_non_null(w.client); /* it is paused: that the client has gone is seen when it is read */
	assert_int_equal(tn_conn_answer(w.client, TN_ENAME, NULL), 0);
	tn_close(w.client);
	assert_int_equal(tn_conn_answer(w.client, 0, NULL), TN_ESTATE);
	th_until(w.loop, w.closes == 1);
	end();
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_asked, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_held, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_joined, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_refused, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_dialled, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_gone, th_setup, th_teardown),
	};

	return th_main(argc, argv, "asked", tests, sizeof(tests) / sizeof(tests[0]));
}
