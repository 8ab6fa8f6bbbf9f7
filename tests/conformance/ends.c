/*
 * How connections end, and what takes their place: words that came before a reset, a reset behind our own close, events
 * of what has gone, a peer that hears nothing beside others, and what a server that stops waits for.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "io/sim.h"

struct end {
	struct tn_conn *conn;
	char got[64];
	size_t len;
	int msgs, closes, err;
	bool pauses, holds, few;
};

static void keep_conn(struct tn_conn *conn, void *arg)
{
	((struct end *)arg)->conn = conn;
}

static void note_words(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct end *e = arg;

	assert_int_equal(e->closes, 0);
	assert_true(e->len + msg->len < sizeof(e->got));
	memcpy(e->got + e->len, msg->data, msg->len);
	e->len += msg->len;
	e->got[e->len] = '\0';
	e->msgs++;
	e->conn = conn;
	if (e->pauses)
		tn_pause(conn);
	if (e->holds)
		tn_conn_hold(conn);
}

static void note_close(struct tn_conn *conn, int err, void *arg)
{
	struct end *e = arg;

	(void)conn;
	e->closes++;
	e->err = err;
}

static const struct tn_handler handler = {.on_open = keep_conn, .on_msg = note_words, .on_close = note_close};

static void dial_fd(struct tn_loop *loop, int fd, const char *keys, struct end *e)
{
	char url[64];

	snprintf(url, sizeof(url), "fd:%d%s", fd, keys);
	assert_int_equal(tn_dial(loop, url, &handler, e, &e->conn), 0);
}

/* ---- words, and a reset behind them ---- */

/* The peer leaves our message unread, which makes its end a reset; what it said before is handed over first, in one
 * turn or over a pause, and the reset is told in the end. */
static void test_words_before_a_reset(void **state)
{
	(void)state;
	for (int pauses = 0; pauses < 2; pauses++) {
		struct tn_loop *loop = th_loop();
		struct end e = {.pauses = pauses};
		int pair[2];

		th_pair(SOCK_STREAM, pair);
		dial_fd(loop, pair[0], "?frame=line", &e);
		assert_int_equal(tn_send(e.conn, "unread", 6), 0);
		th_turn_for(loop, 20);
		assert_int_equal(send(pair[1], "one\ntwo\nthr", 11, 0), 11);
		close(pair[1]);
		th_until(loop, e.msgs);
		if (pauses) {
			th_turn_for(loop, 20);
			assert_int_equal(e.msgs, 1);
			assert_int_equal(e.closes, 0);
			e.pauses = false;
			tn_resume(e.conn);
		}
		th_until(loop, e.closes);
		assert_string_equal(e.got, "onetwo");
		assert_int_equal(e.err, -ECONNRESET);
		tn_loop_free(loop);
	}
}

static void reset(int fd)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/*
 * A message that the peer's end cuts short is refused, and what the kernel still has for the peer is waited for. A
 * reset behind that end says that nobody takes it any more.
 */
static void test_a_reset_while_a_refusal_waits(void **state)
{
	static const char much[200 << 10];
	struct tn_loop *loop = th_loop();
	struct end e = {0};
	int pair[2];

	(void)state;
	th_tcp_pair(pair);
	dial_fd(loop, pair[0], "?frame=u32&sndbuf=1MiB&queue=1MiB&drain=1000h", &e);
	assert_true(tn_send(e.conn, much, sizeof(much)) >= 0);
	th_until(loop, tn_conn_queued(e.conn) == 0);
	assert_int_equal(send(pair[1], "\0\0\0\3ab", 6, 0), 6);
	shutdown(pair[1], SHUT_WR);
	close(pair[1]);
	th_until(loop, e.closes);
	assert_int_equal(e.err, TN_ETRUNC);
	tn_loop_free(loop);
}

/* Closed, and cut off by the peer while much of it still waits: that is told. */
static void test_a_reset_while_the_rest_goes_out(void **state)
{
	static char much[1 << 20];

	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		struct tn_loop *loop = th_loop();
		struct end e = {0};
		int pair[2];

		if (tcp)
			th_tcp_pair(pair);
		else
			th_pair(SOCK_STREAM, pair);
		dial_fd(loop, pair[0], "?queue=64MiB&drain=1h&sndbuf=16KiB", &e);
		for (int i = 0; i < 16; i++)
			assert_int_equal(tn_send(e.conn, much, sizeof(much)), 0);
		th_turn_for(loop, 20);
		tn_close(e.conn);
		th_turn_for(loop, 20);
		assert_int_equal(e.closes, 0);
		reset(pair[1]);
		th_until(loop, e.closes);
		assert_true(e.err == -ECONNRESET || e.err == -EPIPE);
		assert_int_equal(e.msgs, 0);
		tn_loop_free(loop);
	}
}

/* All was sent, and the end behind it; a peer that resets in place of its own end has lost nothing of ours. */
static void test_a_reset_behind_our_end(void **state)
{
	char byte;

	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		struct tn_loop *loop = th_loop();
		struct end e = {0};
		int pair[2];

		if (tcp)
			th_tcp_pair(pair);
		else
			th_pair(SOCK_STREAM, pair);
		dial_fd(loop, pair[0], "", &e);
		assert_int_equal(tn_send(e.conn, "x", 1), 0);
		tn_close(e.conn);
		th_turn_for(loop, 20);
		assert_int_equal(recv(pair[1], &byte, 1, 0), 1);
		assert_int_equal(recv(pair[1], &byte, 1, 0), 0);
		reset(pair[1]);
		th_until(loop, e.closes);
		assert_int_equal(e.err, 0);
		tn_loop_free(loop);
	}
}

static void reply_at_length(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	static char much[60000];
	const struct end *e = arg;

	note_words(conn, msg, arg);
	for (int i = 0; i < (e->few ? 5 : 200); i++)
		assert_int_equal(tn_send(conn, much, sizeof(much)), 0);
}

/* Whose peer takes nothing ends when the time of key drain is over: closed with much queued, or refused behind long
 * replies, which wait here or in the kernel. */
static void test_the_time_to_drain_is_bounded(void **state)
{
	static const struct tn_handler at_length = {.on_msg = reply_at_length, .on_close = note_close};
	static char refused[70000];

	(void)state;
	memset(refused, 'x', sizeof(refused));
	for (int how = 0; how < 5; how++) {
		bool tcp = how % 2 || how == 4, refuses = how >= 2;
		struct tn_loop *loop = th_loop();
		struct end e = {.few = how == 4};
		char url[128];
		int pair[2];

		if (tcp)
			th_tcp_pair(pair);
		else
			th_pair(SOCK_STREAM, pair);
		snprintf(url, sizeof(url), "fd:%d?frame=line&max=64KiB&queue=64MiB&drain=200ms&sndbuf=%s", pair[0],
			 e.few ? "1MiB" : "16KiB");
		assert_int_equal(tn_dial(loop, url, &at_length, &e, &e.conn), 0);
		assert_int_equal(send(pair[1], "one\n", 4, 0), 4);
		th_until(loop, e.msgs);
		if (refuses)
			assert_int_equal(send(pair[1], refused, sizeof(refused), 0), sizeof(refused));
		else
			tn_close(e.conn);
		th_until(loop, e.closes);
		assert_int_equal(e.err, refuses ? TN_ETOOBIG : TN_EDRAIN);
		assert_int_equal(e.msgs, 1);
		close(pair[1]);
		tn_loop_free(loop);
	}
}

/* ---- events of what has gone ---- */

#define POLLS 8

struct polls {
	struct tn_loop *loop;
	struct tn_poll *polls[POLLS], *next[POLLS];
	int pairs[POLLS][2], quiet[POLLS][2], fired, wrong;
};

static void is_wrong(void *arg)
{
	++*(int *)arg;
}

/* The first that fires replaces all of them: what the kernel has told of the others is of no interest any more, least
 * of all to those in their places. */
static void replace_all(void *arg)
{
	struct polls *p = arg;

	p->fired++;
	for (int i = 0; i < POLLS; i++) {
		tn_poll_stop(p->polls[i]);
		close(p->pairs[i][0]);
		close(p->pairs[i][1]);
	}
	for (int i = 0; i < POLLS; i++) {
		th_pair(SOCK_STREAM, p->quiet[i]);
		assert_int_equal(tn_poll_start(p->loop, p->quiet[i][0], is_wrong, &p->wrong, &p->next[i]), 0);
	}
}

static void test_events_of_former_polls(void **state)
{
	struct polls p = {.loop = th_loop()};

	(void)state;
	for (int i = 0; i < POLLS; i++) {
		th_pair(SOCK_STREAM, p.pairs[i]);
		assert_int_equal(tn_poll_start(p.loop, p.pairs[i][0], replace_all, &p, &p.polls[i]), 0);
	}
	th_turn_for(p.loop, 10);
	for (int i = 0; i < POLLS; i++)
		assert_int_equal(send(p.pairs[i][1], "x", 1, 0), 1);
	th_until(p.loop, p.fired);
	th_turn_for(p.loop, 20);
	assert_int_equal(p.fired, 1);
	assert_int_equal(p.wrong, 0);
	/* And the new ones are heard */
	for (int i = 0; i < POLLS; i++)
		assert_int_equal(send(p.quiet[i][1], "x", 1, 0), 1);
	th_until(p.loop, p.wrong >= POLLS);
	for (int i = 0; i < POLLS; i++) {
		tn_poll_stop(p.next[i]);
		close(p.quiet[i][0]);
		close(p.quiet[i][1]);
	}
	tn_loop_free(p.loop);
}

struct swap {
	struct tn_loop *loop;
	struct end new[POLLS];
	struct tn_conn *conns[POLLS];
	int quiet[POLLS][2], heard, closes;
};

/* The same of connections: who speaks first replaces all, itself among them. */
static void replace_conns(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct swap *s = arg;

	(void)conn, (void)msg;
	s->heard++;
	for (int i = 0; i < POLLS; i++)
		tn_abort(s->conns[i], 0);
	for (int i = 0; i < POLLS; i++)
		dial_fd(s->loop, s->quiet[i][0], "", &s->new[i]);
}

static void count_end(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err;
	((struct swap *)arg)->closes++;
}

static void test_events_of_former_connections(void **state)
{
	static const struct tn_handler former = {.on_msg = replace_conns, .on_close = count_end};
	struct swap s = {.loop = th_loop()};
	int pairs[POLLS][2];
	char url[32];

	(void)state;
	for (int i = 0; i < POLLS; i++) {
		th_pair(SOCK_STREAM, pairs[i]);
		th_pair(SOCK_STREAM, s.quiet[i]);
		snprintf(url, sizeof(url), "fd:%d", pairs[i][0]);
		assert_int_equal(tn_dial(s.loop, url, &former, &s, &s.conns[i]), 0);
	}
	th_turn_for(s.loop, 10);
	for (int i = 0; i < POLLS; i++) { /* the others have words and an end to tell of, too */
		assert_int_equal(send(pairs[i][1], "x", 1, 0), 1);
		close(pairs[i][1]);
	}
	th_until(s.loop, s.closes == POLLS);
	th_turn_for(s.loop, 20);
	assert_int_equal(s.heard, 1);
	for (int i = 0; i < POLLS; i++) {
		assert_int_equal(s.new[i].msgs + s.new[i].closes, 0);
		assert_int_equal(send(s.quiet[i][1], "own", 3, 0), 3);
		th_until(s.loop, s.new[i].len == 3);
		assert_string_equal(s.new[i].got, "own");
		close(s.quiet[i][1]);
	}
	tn_loop_free(s.loop);
}

/* ---- one deaf peer ---- */

static void answer(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	(void)!tn_reply(conn, msg, msg->data, msg->len);
}

/* Bound, and not connected: a sender that knows no other limit waits until ten datagrams are read. */
static int unix_client(const char *name)
{
	struct sockaddr_un own = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(own.sun_path, sizeof(own.sun_path), "%.60s/%s", th_dir, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	return fd;
}

static void say(struct tn_loop *loop, int fd, int word)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	snprintf(to.sun_path, sizeof(to.sun_path), "%.60s/s", th_dir);
	th_until(loop, sendto(fd, &word, sizeof(word), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(word));
}

static void remove_client(int fd, const char *name)
{
	char path[128];

	close(fd);
	snprintf(path, sizeof(path), "%.60s/%s", th_dir, name);
	unlink(path);
}

/* A client on the served socket that takes none of its replies is no burden to the next one, who gets each of its own.
 */
static void test_one_deaf_peer(void **state)
{
	static const struct tn_handler echo = {.on_msg = answer};
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	int deaf, other, got;
	char url[128];

	(void)state;
	snprintf(url, sizeof(url), "unix-dgram:%.60s/s", th_dir);
	assert_int_equal(tn_serve(loop, url, &echo, NULL, &server), 0);
	deaf = unix_client("deaf");
	other = unix_client("other");
	for (int i = 0; i < 30; i++) {
		say(loop, deaf, -1);
		say(loop, deaf, -1);
		say(loop, other, i);
		th_until(loop, recv(other, &got, sizeof(got), 0) == sizeof(got));
		assert_int_equal(got, i);
	}
	/* What was sent while it had room is there. */
	for (int i = 0; i < 10; i++) {
		assert_int_equal(recv(deaf, &got, sizeof(got), 0), sizeof(got));
		assert_int_equal(got, -1);
	}
	remove_client(deaf, "deaf");
	remove_client(other, "other");
	tn_loop_free(loop);
}

/* ---- the weather of the simulated engine ---- */

/* Of so many datagrams all are lost, come twice, or come. */
static void test_weather(void **state)
{
	static const struct {
		unsigned lost, doubled;
		int come;
	} weathers[] = {{0, 0, 1}, {100, 0, 0}, {0, 100, 2}};

	(void)state;
	if (!th_is_sim())
		skip();
	for (size_t i = 0; i < sizeof(weathers) / sizeof(weathers[0]); i++) {
		struct tn_loop *loop = th_loop();
		struct end e = {0};
		struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		struct tn_server *server;
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		tni_sim_weather(loop, weathers[i].lost, weathers[i].doubled, 0);
		assert_int_equal(tn_serve(loop, "udp://127.0.0.1:0", &handler, &e, &server), 0);
		to.sin_port = htons((uint16_t)atoi(strrchr(tn_server_url(server, 0), ':') + 1));
		for (int sent = 1; sent <= 5; sent++) {
			assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
			th_until(loop, e.msgs >= sent * weathers[i].come);
			th_turn_for(loop, 5);
		}
		assert_int_equal(e.msgs, 5 * weathers[i].come);
		close(fd);
		tn_loop_free(loop);
	}
}

/* ---- what a server that stops waits for ---- */

static void set(void *arg)
{
	*(bool *)arg = true;
}

/* A quiet connection is closed however long it might take; one that still owes a reply has the time. */
static void test_a_stop_waits_for_what_is_owed(void **state)
{
	(void)state;
	for (int holds = 0; holds < 2; holds++) {
		struct tn_loop *loop = th_loop();
		struct end e = {.holds = holds};
		struct tn_server *server;
		bool done = false;
		char got[8];
		int fd;

		assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0?frame=line", &handler, &e, &server), 0);
		fd = th_tcp_dial(atoi(strrchr(tn_server_url(server, 0), ':') + 1));
		th_set_nonblock(fd);
		assert_int_equal(send(fd, "one\n", 4, 0), 4);
		th_until(loop, e.msgs == 1);
		tn_server_close(server, 3600 * 1000, set, &done);
		if (holds) {
			th_turn_for(loop, 700);
			assert_int_equal(recv(fd, got, sizeof(got), 0), -1);
			assert_int_equal(tn_send(e.conn, "late", 4), 0);
			tn_conn_release(e.conn);
			for (int i = 0; i < 5; i++) {
				th_until(loop, recv(fd, got, 1, 0) == 1);
				assert_int_equal(*got, "late\n"[i]);
			}
		}
		th_until(loop, recv(fd, got, sizeof(got), 0) == 0);
		close(fd);
		th_until(loop, done);
		assert_int_equal(e.closes, 1);
		assert_int_equal(e.err, 0);
		tn_loop_free(loop);
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, th_setup, th_teardown)
		T(test_words_before_a_reset),
		T(test_a_reset_while_a_refusal_waits),
		T(test_a_reset_while_the_rest_goes_out),
		T(test_a_reset_behind_our_end),
		T(test_the_time_to_drain_is_bounded),
		T(test_events_of_former_polls),
		T(test_events_of_former_connections),
		T(test_one_deaf_peer),
		T(test_weather),
		T(test_a_stop_waits_for_what_is_owed),
	};

	return th_main(argc, argv, "ends", tests, sizeof(tests) / sizeof(tests[0]));
}
