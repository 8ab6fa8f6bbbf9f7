/*
 * Keys gso and gro: several datagrams pass the kernel as one, and nobody sees a difference but in how many calls it
 * takes. The peers are bare sockets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

#define MSGS_MAX 512

/* What was sent or is to come: of whom, how long, and the first byte, which is its number. */
struct item {
	int who;
	size_t len;
};

struct world {
	struct tn_loop *loop;
	struct tn_server *server;
	struct tn_conn *conn;
	int peers[2];
	int ports[2];
	struct item in[MSGS_MAX];
	int nin;
	const struct item *replies; /* sent when the last of `wanted` has come */
	int nreplies, wanted;
	struct tn_addr addrs[2];
	bool bad;
};

static struct world w;

static unsigned char bytes[65536];

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
}

static int udp_socket(int *port)
{
	struct sockaddr_in at = loopback(0);
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static int server_port(void)
{
	return atoi(strrchr(tn_server_url(w.server, 0), ':') + 1);
}

static void answer_all(void)
{
	for (int i = 0; i < w.nreplies; i++) {
		struct tn_msg to = {.peer = &w.addrs[w.replies[i].who]};

		bytes[0] = (unsigned char)i;
		assert_int_equal(tn_reply(w.conn, &to, bytes, w.replies[i].len), 0);
	}
}

static void note(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	const struct sockaddr_in *from = (const void *)tn_addr_sockaddr(msg->peer);
	int who = ntohs(from->sin_port) == w.ports[1];

	(void)arg;
	w.conn = conn;
	if (w.nin == MSGS_MAX || ntohs(from->sin_port) != w.ports[who]) {
		w.bad = true;
		return;
	}
	w.addrs[who] = *msg->peer;
	w.bad = w.bad || (msg->len && *(const unsigned char *)msg->data != (unsigned char)w.nin);
	w.in[w.nin++] = (struct item){who, msg->len};
	if (w.nin == w.wanted)
		answer_all();
}

static void note_conn(struct tn_conn *conn, void *arg)
{
	(void)arg;
	w.conn = conn;
}

static void serve(const char *keys)
{
	static const struct tn_handler handler = {.on_open = note_conn, .on_msg = note};
	char url[100];

	w = (struct world){.loop = th_loop()};
	snprintf(url, sizeof(url), "udp://127.0.0.1:0%s", keys);
	assert_int_equal(tn_serve(w.loop, url, &handler, NULL, &w.server), 0);
	for (int i = 0; i < 2; i++)
		w.peers[i] = udp_socket(&w.ports[i]);
}

static void end(void)
{
	assert_false(w.bad);
	tn_loop_free(w.loop);
	close(w.peers[0]);
	close(w.peers[1]);
}

/* One message of the peer's: bytes of several datagrams, which the kernel takes apart. `size` 0: one datagram. */
static void send_run(int who, size_t len, size_t size, int first)
{
	struct sockaddr_in to = loopback(server_port());
	struct iovec iov = {.iov_base = bytes, .iov_len = len};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(uint16_t))];
	} control = {0};
	struct msghdr msg = {.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &iov, .msg_iovlen = 1};
	uint16_t of_each = (uint16_t)size;

	for (size_t at = 0; at < len; at += size ? size : len)
		bytes[at] = (unsigned char)first++;
	if (size) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.align = (struct cmsghdr){
			.cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(of_each))};
		memcpy(CMSG_DATA(&control.align), &of_each, sizeof(of_each));
	}
	assert_int_equal(sendmsg(w.peers[who], &msg, 0), len);
}

/* ---- what comes ---- */

static void expect_in(const struct item *items, int n)
{
	th_until(w.loop, w.nin >= n);
	assert_int_equal(w.nin, n);
	for (int i = 0; i < n; i++) {
		assert_int_equal(w.in[i].who, items[i].who);
		assert_int_equal(w.in[i].len, items[i].len);
	}
}

/* Runs, single and empty datagrams of two peers; the last of a run is shorter, as long, one byte. */
static void test_runs_come_apart(void **state)
{
	static const char *const keys[] = {"?gro=on", "?gro=on&gso=on", "?gro=off", ""};
	struct item want[MSGS_MAX];

	(void)state;
	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
		int n = 0;

		serve(keys[k]);
		send_run(0, 537, 100, n);
		for (int i = 0; i < 6; i++)
			want[n++] = (struct item){0, i < 5 ? 100 : 37};
		send_run(1, 401, 200, n);
		for (int i = 0; i < 3; i++)
			want[n++] = (struct item){1, i < 2 ? 200 : 1};
		send_run(0, 0, 0, n);
		want[n++] = (struct item){0, 0};
		send_run(1, 64, 0, n);
		want[n++] = (struct item){1, 64};
		send_run(1, 64, 1, n);
		for (int i = 0; i < 64; i++)
			want[n++] = (struct item){1, 1};
		send_run(0, 65500, 13100, n);
		for (int i = 0; i < 5; i++)
			want[n++] = (struct item){0, 13100};
		expect_in(want, n);
		end();
	}
}

/* Each of a run is measured by itself, and one that is too long is lost alone. */
static void test_limits_are_of_each(void **state)
{
	struct tn_conn_info info;

	(void)state;
	serve("?gro=on&max=100");
	send_run(0, 1000, 100, 0);
	th_until(w.loop, w.nin == 10);
	send_run(0, 1010, 101, 10);
	send_run(1, 50, 0, 10);
	th_until(w.loop, w.nin == 11);
	tn_conn_info(w.conn, &info);
	assert_int_equal(info.lost, 10);
	assert_int_equal(info.msgs_in, 11);
	assert_int_equal(info.bytes_in, 1050);
	end();
}

static void pause_first(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	note(conn, msg, arg);
	if (w.nin % 3 == 1)
		tn_pause(conn);
}

/* What comes behind a message that pauses its reader waits. */
static void test_a_pause_in_a_run(void **state)
{
	static const struct tn_handler handler = {.on_open = note_conn, .on_msg = pause_first};

	(void)state;
	w = (struct world){.loop = th_loop()};
	assert_int_equal(tn_serve(w.loop, "udp://127.0.0.1:0?gro=on", &handler, NULL, &w.server), 0);
	for (int i = 0; i < 2; i++)
		w.peers[i] = udp_socket(&w.ports[i]);
	send_run(0, 640, 10, 0);
	for (int n = 1; n <= 64; n += 3) {
		th_until(w.loop, w.nin == n);
		th_turn_for(w.loop, 1);
		assert_int_equal(w.nin, n);
		tn_resume(w.conn);
	}
	end();
}

/* ---- what goes ---- */

static size_t receive(int who, int *size)
{
	struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct pollfd ready = {.fd = w.peers[who], .events = POLLIN};
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;
	ssize_t len;

	while (poll(&ready, 1, 0) == 0) {
		assert_true(tn_loop_step(w.loop, 1) >= 0);
		th_check_deadline(deadline, "a reply", __FILE__, __LINE__);
	}
	len = recvmsg(w.peers[who], &msg, 0);
	assert_true(len >= 0);
	*size = 0;
	if (msg.msg_controllen >= sizeof(struct cmsghdr) && control.align.cmsg_type == UDP_GRO)
		memcpy(size, CMSG_DATA(&control.align), sizeof(*size));
	return (size_t)len;
}

static void ask(const struct item *replies, int n)
{
	w.replies = replies;
	w.nreplies = n;
	w.wanted = 2;
	send_run(0, 1, 0, 0);
	send_run(1, 1, 0, 1);
	th_until(w.loop, w.nin == 2);
}

/* Lengths that grow, shrink, are zero; receivers that change: each is told its own, in order, in their lengths. */
static const struct item mixed[] = {
	{0, 100}, {0, 100}, {0, 100}, {0, 40}, {0, 100}, {1, 100}, {1, 100}, {0, 7}, {0, 0},    {0, 7},    {0, 8},
	{1, 8},   {1, 9},   {1, 9},   {1, 9},  {1, 1},   {1, 0},   {0, 1},   {0, 1}, {0, 1400}, {0, 1400}, {0, 1399},
};

#define NMIXED ((int)(sizeof(mixed) / sizeof(mixed[0])))

static void expect_replies(const struct item *replies, int n)
{
	int size;

	for (int i = 0; i < n; i++) {
		assert_int_equal(receive(replies[i].who, &size), replies[i].len);
		assert_int_equal(size, 0);
		if (replies[i].len)
			assert_int_equal(bytes[0], (unsigned char)i);
	}
}

static void test_replies_are_single_datagrams(void **state)
{
	static const char *const keys[] = {"?gso=on", "?gso=on&gro=on", ""};
	struct tn_conn_info info;
	uint64_t all = 0;

	(void)state;
	for (int i = 0; i < NMIXED; i++)
		all += mixed[i].len;
	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
		serve(keys[k]);
		ask(mixed, NMIXED);
		expect_replies(mixed, NMIXED);
		th_until(w.loop, (tn_conn_info(w.conn, &info), info.bytes_out == all));
		assert_int_equal(info.msgs_out, NMIXED);
		assert_int_equal(info.lost, 0);
		end();
	}
}

/* A peer that takes them joined sees that they are: by 64 at most, and never longer than a datagram may be. */
static void test_runs_are_one_message(void **state)
{
	static struct item replies[200];
	int on = 1, size;

	(void)state;
	for (int i = 0; i < 200; i++)
		replies[i] = (struct item){0, i < 150 ? 10 : 1400};
	serve("?gso=on");
	assert_int_equal(setsockopt(w.peers[0], IPPROTO_UDP, UDP_GRO, &on, sizeof(on)), 0);
	ask(replies, 200);
	if (th_is_sim()) { /* which sends as few as it likes at a time */
		for (size_t got = 0; got < 150 * 10 + 50 * 1400;)
			got += receive(0, &size);
	} else {
		assert_int_equal(receive(0, &size), 640);
		assert_int_equal(size, 10);
		assert_int_equal(receive(0, &size), 640);
		assert_int_equal(receive(0, &size), 220);
		assert_int_equal(receive(0, &size), 46 * 1400);
		assert_int_equal(size, 1400);
		assert_int_equal(receive(0, &size), 4 * 1400);
	}
	end();
}

/* The library's own socket, as the test finds it. */
static int server_socket(void)
{
	for (int fd = 3; fd < 1024; fd++) {
		struct sockaddr_in at = {0};
		socklen_t len = sizeof(at);

		if (getsockname(fd, (struct sockaddr *)&at, &len) == 0 && at.sin_family == AF_INET &&
		    ntohs(at.sin_port) == server_port())
			return fd;
	}
	fail_msg("no socket with this port");
	return -1;
}

/* The kernel takes no runs from a socket without checksums: they go one by one, and none is lost or comes twice. */
static void test_a_refused_run_goes_singly(void **state)
{
	struct tn_conn_info info;
	int on = 1;

	(void)state;
	serve("?gso=on");
	assert_int_equal(setsockopt(server_socket(), SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
	ask(mixed, NMIXED);
	expect_replies(mixed, NMIXED);
	w.nin = 0;
	ask(mixed, NMIXED); /* it has learnt */
	expect_replies(mixed, NMIXED);
	tn_conn_info(w.conn, &info);
	assert_int_equal(info.msgs_out, 2 * NMIXED);
	assert_int_equal(info.lost, 0);
	end();
}

/* What cannot be sent at all is lost once each, and those to others are not. */
static void test_what_nobody_takes_is_lost(void **state)
{
	static const struct item replies[] = {{1, 10}, {1, 10}, {1, 10}, {0, 10}, {0, 10}};
	struct sockaddr_in nowhere = loopback(0);
	struct tn_conn_info info;
	int size;

	(void)state;
	serve("?gso=on");
	ask(NULL, 0);
	memcpy(w.addrs[1].bytes, &nowhere, sizeof(nowhere));
	w.replies = replies;
	w.nreplies = 5;
	answer_all();
	for (int i = 3; i < 5; i++) {
		assert_int_equal(receive(0, &size), 10);
		assert_int_equal(bytes[0], i);
	}
	th_until(w.loop, (tn_conn_info(w.conn, &info), info.lost == 3));
	assert_int_equal(info.msgs_out, 2);
	end();
}

/* ---- dialled ---- */

static void count_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn;
	w.bad = w.bad || *(const unsigned char *)msg->data != (unsigned char)*(int *)arg;
	++*(int *)arg;
}

static void test_a_client_and_a_server(void **state)
{
	static const struct tn_handler client = {.on_msg = count_msg};
	static struct item replies[100];
	struct tn_conn *conn;
	char url[100];
	int msgs = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		replies[i] = (struct item){0, 20};
	serve("?gso=on&gro=on");
	close(w.peers[0]);
	snprintf(url, sizeof(url), "udp://127.0.0.1:%d?gso=on&gro=on&bind=127.0.0.1:%d", server_port(), w.ports[0]);
	assert_int_equal(tn_dial(w.loop, url, &client, &msgs, &conn), 0);
	w.replies = replies;
	w.nreplies = w.wanted = 100;
	for (int i = 0; i < 100; i++) {
		bytes[0] = (unsigned char)i;
		assert_int_equal(tn_send(conn, bytes, 30), 0);
	}
	th_until(w.loop, w.nin == 100 && msgs == 100);
	w.peers[0] = udp_socket(&w.ports[0]);
	end();
}

static void note_end(struct tn_conn *conn, int err, void *arg)
{
	(void)conn;
	*(int *)arg = err;
}

static void test_nobody_there(void **state)
{
	static const struct tn_handler client = {.on_close = note_end};
	struct tn_conn *conn;
	char url[100];
	int err = 0;

	(void)state;
	serve("");
	snprintf(url, sizeof(url), "udp://127.0.0.1:%d?gso=on&gro=on", w.ports[0]);
	close(w.peers[0]);
	assert_int_equal(tn_dial(w.loop, url, &client, &err, &conn), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(tn_send(conn, bytes, 30), 0);
	th_until(w.loop, err);
	assert_int_equal(err, -ECONNREFUSED);
	w.peers[0] = udp_socket(&w.ports[0]);
	end();
}

static void test_keys_of_others(void **state)
{
	(void)state;
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?gso=on", TN_SERVE), TN_EURL);
	assert_non_null(strstr(tn_errmsg(), "applies to udp and dtls endpoints only"));
	assert_int_equal(tn_url_check("unix-dgram:/x?gro=on", TN_DIAL), TN_EURL);
	assert_int_equal(tn_url_check("udp://127.0.0.1:1?gro=perhaps", TN_DIAL), TN_EURL);
	assert_int_equal(tn_url_check("dtls://127.0.0.1:1?gro=on&gso=off", TN_DIAL), 0);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_runs_come_apart, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_limits_are_of_each, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_a_pause_in_a_run, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_replies_are_single_datagrams, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_runs_are_one_message, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_a_refused_run_goes_singly, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_what_nobody_takes_is_lost, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_a_client_and_a_server, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_nobody_there, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_keys_of_others, th_setup, th_teardown),
	};

	return th_main(argc, argv, "segments", tests, sizeof(tests) / sizeof(tests[0]));
}
