/*
 * DTLS where the network is at its worst, on every engine: clients reach their server through a relay that loses,
 * doubles and delays datagrams, keeps some for later, or takes one client for another.
 */
#include "../support/certs.h"
#include "harness.h"
#include "io/sim.h"

#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAM_MAX 20000
#define RANDOM_AT 27 /* in a hello: where its random bytes are */

enum { CHANGE_CIPHER = 20, ALERT = 21, HANDSHAKE = 22 }; /* the first byte of a datagram */

/* ---- the ends ---- */

#define ENDS_MAX 8

struct end {
	struct tn_conn *conn; /* NULL once closed */
	int opens, msgs, ends, closes, err;
	char words[400];
	char last[64];
	bool pauses;
	unsigned seen; /* of numbered messages: each may come once, in any order */
	bool twice;
	uint64_t lost;
};

static struct world {
	struct tn_loop *loop;
	struct tn_server *server;
	struct end served[ENDS_MAX];
	int nserved, troubles, goodbyes;
	char trouble[400];
	bool servers_pause;
	struct tn_conn *burst; /* the server's, that was asked for more than its socket has room for */
	int near, far;         /* the relay's sockets: clients send to the one, the server hears from the other */
	struct sockaddr_in client;
	bool has_client;
	/* Says what becomes of a datagram: so many copies go on. NULL: one. */
	int (*fate)(const unsigned char *data, size_t len, bool to_server);
	unsigned count;                   /* of datagrams, for fates */
	unsigned char held[DATAGRAM_MAX]; /* one that is delayed until the next has gone */
	size_t held_len;
	bool held_to_server;
	unsigned char hello[DATAGRAM_MAX]; /* the last one with a cookie */
	size_t hello_len;
} w;

static char certs_dir[64];

static void on_open(struct tn_conn *conn, void *arg)
{
	struct end *e = tn_conn_data(conn);

	(void)arg;
	if (!e) {
		assert_true(w.nserved < ENDS_MAX);
		e = &w.served[w.nserved++];
		e->conn = conn;
		e->pauses = w.servers_pause;
		tn_conn_set_data(conn, e);
	}
	e->opens++;
	if (e->pauses)
		tn_pause(conn);
}

/* Until the connection's queue is full, and with it its server's. */
static void send_burst(struct tn_conn *conn)
{
	static const char text[1000] = "burst";

	w.burst = conn;
	for (int i = 0; i < 200 && tn_send(conn, text, sizeof(text)) >= 0; i++)
		;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct end *e = tn_conn_data(conn);
	unsigned number;

	e->msgs++;
	snprintf(e->last, sizeof(e->last), "%.*s", (int)(msg->len < 60 ? msg->len : 60), (const char *)msg->data);
	if (sscanf(e->last, "number %u", &number) == 1) {
		e->twice |= e->seen & 1U << number;
		e->seen |= 1U << number;
	}
	if (arg != &w)
		return;
	if (strcmp(e->last, "burst") == 0)
		send_burst(conn);
	else if (strcmp(e->last, "kill") == 0 && w.burst)
		tn_abort(w.burst, 0);
	else /* the server echoes */
		(void)!tn_forward(conn, msg);
}

static void on_end(struct tn_conn *conn, void *arg)
{
	(void)arg;
	((struct end *)tn_conn_data(conn))->ends++;
	tn_close(conn);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct end *e = tn_conn_data(conn);
	struct tn_conn_info info;

	(void)arg;
	tn_conn_info(conn, &info);
	e->lost = info.lost;
	e->closes++;
	e->err = err;
	e->conn = NULL;
	if (w.burst == conn)
		w.burst = NULL;
	snprintf(e->words, sizeof(e->words), "%s", tn_errmsg());
}

static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_end = on_end, .on_close = on_close};

static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	(void)server, (void)arg;
	if (err == -ENOBUFS) /* a flood that came faster than it was read */
		return;
	w.troubles++;
	snprintf(w.trouble, sizeof(w.trouble), "%s", text);
}

/* ---- the relay ---- */

static void put(bool to_server, const unsigned char *data, size_t len)
{
	if (to_server)
		(void)send(w.far, data, len, MSG_DONTWAIT);
	else if (w.has_client)
		(void)sendto(w.near, data, len, MSG_DONTWAIT, (struct sockaddr *)&w.client, sizeof(w.client));
}

static void pass(const unsigned char *data, size_t len, bool to_server)
{
	int copies = w.fate ? w.fate(data, len, to_server) : 1;

	w.count++;
	if (to_server && len > 100 && data[0] == HANDSHAKE && data[13] == 1 && data[RANDOM_AT + 33]) {
		memcpy(w.hello, data, len);
		w.hello_len = len;
	}
	for (int i = 0; i < copies; i++)
		put(to_server, data, len);
	if (copies >= 0 && w.held_len) {
		put(w.held_to_server, w.held, w.held_len);
		w.held_len = 0;
	}
	if (copies < 0) { /* later */
		memcpy(w.held, data, len);
		w.held_len = len;
		w.held_to_server = to_server;
	}
}

static void relay_turn(void)
{
	unsigned char data[DATAGRAM_MAX];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t n;

	while ((n = recvfrom(w.near, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len)) >= 0) {
		if (!w.has_client || n > 13 + 13) { /* he who says something longer is whom the answers go to */
			w.client = from;
			w.has_client = true;
		}
		if (n > 0)
			pass(data, (size_t)n, true);
	}
	while ((n = recv(w.far, data, sizeof(data), MSG_DONTWAIT)) >= 0)
		if (n > 0)
			pass(data, (size_t)n, false);
}

#define until(cond)                                                                   \
	do {                                                                          \
		uint64_t until_deadline = th_now_ms() + 2 * TH_PATIENCE_MS;           \
		while (!(cond)) {                                                     \
			assert_true(tn_loop_step(w.loop, 2) >= 0);                    \
			relay_turn();                                                 \
			th_check_deadline(until_deadline, #cond, __FILE__, __LINE__); \
		}                                                                     \
	} while (0)

static void turn_for(int ms)
{
	uint64_t end = th_now_ms() + (uint64_t)ms;

	do {
		assert_true(tn_loop_step(w.loop, 2) >= 0);
		relay_turn();
	} while (th_now_ms() < end);
}

/* ---- a world ---- */

static int port_of(int fd)
{
	struct sockaddr_in addr = {0};
	socklen_t len = sizeof(addr);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return ntohs(addr.sin_port);
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int udp(void)
{
	struct sockaddr_in addr = loopback(0);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static struct sockaddr_in server_addr(void)
{
	return loopback(atoi(strrchr(tn_server_url(w.server, 0), ':') + 1));
}

static void world_new(const char *keys)
{
	static const struct tn_watch watch = {.on_trouble = on_trouble};
	struct sockaddr_in addr;
	char url[512];

	memset(&w, 0, sizeof(w));
	w.loop = th_loop();
	snprintf(url, sizeof(url), "dtls://127.0.0.1:0?cert=%1$s/peer.pem&key=%1$s/peer.key%2$s", certs_dir, keys);
	if (tn_serve(w.loop, url, &handler, &w, &w.server) < 0)
		fail_msg("%s", tn_errmsg());
	tn_server_watch(w.server, &watch, NULL);
	w.near = udp();
	w.far = udp();
	addr = server_addr();
	assert_int_equal(connect(w.far, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void world_free(void)
{
	tn_loop_free(w.loop);
	for (int i = 0; i < w.nserved; i++)
		assert_int_equal(w.served[i].closes, 1);
	close(w.near);
	close(w.far);
}

static void dial_to(struct end *e, int port, const char *keys)
{
	char url[512];

	snprintf(url, sizeof(url), "dtls://127.0.0.1:%d?ca=%s/ca.pem%s", port, certs_dir, keys);
	if (tn_dial(w.loop, url, &handler, NULL, &e->conn) < 0)
		fail_msg("%s", tn_errmsg());
	tn_conn_set_data(e->conn, e);
}

static void dial(struct end *e, const char *keys)
{
	dial_to(e, port_of(w.near), keys);
}

static void say(struct end *e, const char *text)
{
	assert_non_null(e->conn);
	assert_true(tn_send(e->conn, text, strlen(text)) >= 0);
}

/* Until one of several gets there and back. */
static void chat(struct end *e, const char *text)
{
	uint64_t said = 0;

	*e->last = '\0';
	until((said + 200 < th_now_ms() ? (void)(said = th_now_ms(), say(e, text)) : (void)0,
	       strcmp(e->last, text) == 0));
}

static void close_in_order(struct end *e, struct end *served)
{
	tn_close(e->conn);
	until(e->closes && served->closes);
	assert_int_equal(e->err, 0);
	assert_int_equal(served->err, 0);
}

/* ---- bad weather ---- */

static int by_count(const unsigned char *data, size_t len, bool to_server)
{
	(void)data, (void)len, (void)to_server;
	if (w.count % 5 == 1)
		return 0;
	if (w.count % 7 == 3)
		return 2;
	return w.count % 4 == 2 ? -1 : 1;
}

static void numbers_there_and_back(struct end *e)
{
	char text[32];

	for (unsigned i = 0; i < 32; i++) {
		snprintf(text, sizeof(text), "number %u", i);
		say(e, text);
		turn_for(4);
	}
	turn_for(50);
	for (int i = 0; i < w.nserved; i++)
		assert_false(w.served[i].twice);
	assert_true(w.served[0].msgs >= 8);
	assert_true(e->msgs >= 4);
	assert_false(e->twice);
}

/* Every third datagram or so has a fate. */
static void test_bad_weather(void **state)
{
	(void)state;
	for (unsigned start = 0; start < 2; start++) {
		struct end e = {0};

		world_new("&handshake=1m");
		w.fate = by_count;
		w.count = start;
		dial(&e, "&handshake=1m");
		until(e.opens || e.closes);
		chat(&e, "hello");
		numbers_there_and_back(&e);
		close_in_order(&e, &w.served[0]);
		assert_int_equal(w.nserved, 1);
		world_free();
	}
}

/* The same by the engine, where it can. */
static void test_weather_of_the_engine(void **state)
{
	struct end e = {0};

	(void)state;
	if (!th_is_sim())
		skip();
	world_new("&handshake=1m");
	tni_sim_weather(w.loop, 6, 10, 20);
	dial_to(&e, ntohs(server_addr().sin_port), "&handshake=1m");
	until(e.opens || e.closes);
	chat(&e, "hello");
	numbers_there_and_back(&e);
	close_in_order(&e, &w.served[0]);
	assert_true(tni_sim_bends(w.loop) > 10);
	world_free();
}

/* ---- a client that has lost all it knew (RFC 6347 4.2.8) ---- */

static void test_client_begins_anew(void **state)
{
	struct end first = {0}, second = {0};

	(void)state;
	world_new("&per-source=1"); /* it stays the one that it was */
	dial(&first, "");
	until(first.opens);
	chat(&first, "one");
	tn_pause(first.conn); /* nobody hears of it any more */
	dial(&second, "");
	until(second.opens);
	chat(&second, "two");
	assert_int_equal(w.nserved, 2);
	assert_int_equal(w.served[0].closes, 1);
	assert_int_equal(w.served[0].err, -ECONNRESET);
	assert_non_null(strstr(w.served[0].words, "has begun anew"));
	assert_int_equal(tn_server_nconns(w.server), 1);
	assert_int_equal(w.served[1].closes, 0);
	tn_abort(first.conn, 0);
	world_free();
	assert_int_equal(second.closes, 1);
}

/* What anybody could send in a client's name does not end its connection: its own hello again, rubbish, nothing. */
static void test_strangers_words(void **state)
{
	static const unsigned char record[] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 3, 1, 2, 3};
	static const unsigned char alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
	unsigned char rubbish[600];
	struct end e = {0};

	(void)state;
	world_new("");
	dial(&e, "");
	until(e.opens);
	chat(&e, "before");
	th_fill(rubbish, sizeof(rubbish), 99);
	for (int i = 0; i < 20; i++) {
		put(true, w.hello, w.hello_len);
		put(true, rubbish, (size_t)i * 30);
		put(true, record, sizeof(record));
		put(true, alert, sizeof(alert));
		put(true, record, sizeof(record) - 2);
		put(false, rubbish, (size_t)i * 30);
		put(false, record, sizeof(record));
		turn_for(2);
	}
	assert_true(w.hello_len > 0);
	chat(&e, "after");
	assert_int_equal(w.nserved, 1);
	assert_int_equal(w.served[0].closes, 0);
	assert_int_equal(w.troubles, 0);
	close_in_order(&e, &w.served[0]);
	world_free();
}

/* ---- those who do not show that they get what is sent to them ---- */

static int swallow(const unsigned char *data, size_t len, bool to_server)
{
	if (to_server && !w.hello_len) {
		memcpy(w.hello, data, len);
		w.hello_len = len;
	}
	return 0;
}

static void flood_from(uint32_t address, unsigned hellos, unsigned *answers)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)}, to = server_addr();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	unsigned char reply[DATAGRAM_MAX];
	ssize_t n;

	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	for (unsigned i = 0; i < hellos; i++) {
		memcpy(w.hello + RANDOM_AT, &address, sizeof(address));
		memcpy(w.hello + RANDOM_AT + sizeof(address), &i, sizeof(i));
		(void)sendto(fd, w.hello, w.hello_len, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
		if (i % 32 == 31)
			assert_true(tn_loop_step(w.loop, 0) >= 0);
	}
	for (int i = 0; i < 3; i++)
		assert_true(tn_loop_step(w.loop, 1) >= 0);
	while ((n = recv(fd, reply, sizeof(reply), MSG_DONTWAIT)) > 0) {
		assert_true((size_t)n <= w.hello_len); /* nobody is flooded through us */
		*answers += reply[0] == HANDSHAKE && reply[13] == 3;
	}
	close(fd);
}

#define SOURCES 400
#define HELLOS 256 /* from each */

static void test_flood_of_hellos(void **state)
{
	struct end e = {0};
	unsigned answers = 0;
	size_t before;

	(void)state;
	world_new("");
	w.fate = swallow;
	dial(&e, "");
	until(w.hello_len);
	tn_abort(e.conn, 0);
	for (uint32_t i = 0; i < 20; i++) /* what is made on first use */
		flood_from(INADDR_LOOPBACK + 256 + i, 64, &answers);
	before = mallinfo2().uordblks;
	for (uint32_t i = 0; i < SOURCES; i++)
		flood_from(INADDR_LOOPBACK + 512 + i, HELLOS, &answers);
	th_turn_for(w.loop, 20);
	assert_true(answers > 1000);
	assert_int_equal(tn_server_nconns(w.server), 0);
	assert_int_equal(w.troubles, 0);
	assert_true(mallinfo2().uordblks <= before + (1 << 20));
	w.fate = NULL;
	e = (struct end){0};
	dial(&e, "&handshake=60s");
	until(e.opens); /* all the same to whom means it */
	chat(&e, "hello");
	world_free();
}

/* ---- deadlines ---- */

static int until_the_certificate(const unsigned char *data, size_t len, bool to_server)
{
	(void)len;
	return to_server || data[13] == 3; /* what asks for the cookie */
}

static void test_handshake_deadline(void **state)
{
	struct end e = {0};

	(void)state;
	world_new("&handshake=300ms");
	w.fate = until_the_certificate;
	dial(&e, "&handshake=400ms");
	until(tn_server_nconns(w.server) == 1);
	until(e.closes && tn_server_nconns(w.server) == 0);
	assert_int_equal(e.err, -ETIMEDOUT);
	assert_non_null(strstr(e.words, "DTLS handshake: the peer has not completed it within 400ms"));
	until(w.troubles == 1);
	assert_non_null(strstr(w.trouble, "within 300ms"));
	assert_int_equal(w.nserved, 0); /* nobody was told of it */
	world_free();
}

static void test_idle(void **state)
{
	struct end e = {0};
	uint64_t start;

	(void)state;
	world_new("&idle=150ms");
	dial(&e, "");
	chat(&e, "hello");
	start = th_now_ms();
	until(w.served[0].closes);
	assert_int_equal(w.served[0].err, TN_EIDLE);
	assert_true(th_now_ms() - start >= 100);
	until(e.closes); /* it was told */
	assert_int_equal(e.err, 0);
	assert_int_equal(e.ends, 1);
	world_free();
}

/* ---- the end ---- */

static int lose_first_alerts(const unsigned char *data, size_t len, bool to_server)
{
	static unsigned lost;

	(void)len, (void)to_server;
	if (w.count == 0)
		lost = 0;
	return data[0] != ALERT || lost++ >= 2;
}

/* A close_notify that got lost comes again. */
static void test_lost_end(void **state)
{
	struct end e = {0};

	(void)state;
	world_new("");
	w.fate = lose_first_alerts;
	dial(&e, "");
	until(e.opens);
	chat(&e, "hello");
	assert_int_equal(tn_finish(e.conn), 0);
	until(w.served[0].closes && e.closes);
	assert_int_equal(w.served[0].ends, 1);
	assert_int_equal(w.served[0].err, 0);
	assert_int_equal(e.err, 0);
	world_free();
}

static int bury_goodbyes(const unsigned char *data, size_t len, bool to_server)
{
	(void)len, (void)to_server;
	w.goodbyes += data[0] == ALERT && !to_server;
	return 0;
}

/* A peer that hears nothing is told a few times, and then given up; who hears is served all the time. */
static void test_goodbyes_to_a_deaf_peer(void **state)
{
	struct end deaf = {0}, other = {0};

	(void)state;
	world_new("");
	dial(&deaf, "");
	until(deaf.opens && w.nserved == 1);
	dial_to(&other, ntohs(server_addr().sin_port), "");
	until(other.opens);
	w.fate = bury_goodbyes;
	w.goodbyes = 0;
	tn_close(w.served[0].conn);
	for (int i = 0; !w.served[0].closes; i++) {
		char text[32];

		snprintf(text, sizeof(text), "still %d", i);
		chat(&other, text);
	}
	assert_int_equal(w.served[0].err, 0);
	assert_true(w.goodbyes >= 1 && w.goodbyes <= 8);
	until(tn_server_nconns(w.server) == 1);
	tn_abort(deaf.conn, 0);
	close_in_order(&other, &w.served[1]);
	world_free();
}

static int count_alerts(const unsigned char *data, size_t len, bool to_server)
{
	(void)len;
	w.goodbyes += data[0] == ALERT && to_server;
	return 1;
}

/* Who closes hears the peer's own end, and is done: it says goodbye once. Where the process stands still in between, a
 * second one is in order. */
static void test_one_goodbye_that_is_answered(void **state)
{
	int most = 2;

	(void)state;
	for (int i = 0; i < 5 && most > 1; i++) {
		struct end e = {0};

		world_new("");
		dial(&e, "");
		chat(&e, "hello");
		w.fate = count_alerts;
		close_in_order(&e, &w.served[0]);
		until(tn_server_nconns(w.server) == 0);
		most = w.goodbyes;
		world_free();
	}
	assert_int_equal(most, 1);
}

/* The same with words of the peer's that cross it: they are dropped, and no trouble. */
static void test_words_that_cross_a_goodbye(void **state)
{
	struct end e = {0};

	(void)state;
	world_new("");
	dial(&e, "");
	chat(&e, "hello");
	for (int i = 0; i < 5; i++)
		assert_true(tn_send(w.served[0].conn, "crossing", 8) >= 0);
	tn_close(e.conn);
	until(e.closes && w.served[0].closes);
	assert_int_equal(e.err, 0);
	assert_int_equal(w.served[0].err, 0);
	assert_string_equal(e.last, "hello");
	assert_int_equal(w.served[0].ends, 1);
	world_free();
}

/* A connection that waits for room in its server's queue may end meanwhile. */
static void test_leaving_while_waiting_for_room(void **state)
{
	struct end e[4] = {0};

	(void)state;
	world_new("&queue=4096");
	for (int i = 0; i < 4; i++) {
		dial_to(&e[i], ntohs(server_addr().sin_port), "");
		until(e[i].opens && w.nserved == i + 1);
	}
	for (int i = 0; i < 3; i++) { /* the last ends those before it, one after the other */
		say(&e[i], "burst");
		say(&e[3], "kill");
		until((w.burst ? say(&e[3], "kill") : (void)0, w.served[i].closes));
		chat(&e[3], i % 2 ? "hello" : "hello again");
	}
	chat(&e[3], "the end");
	world_free();
}

static void server_done(void *arg)
{
	++*(int *)arg;
}

/* A server that ends tells its clients, takes no new ones, and hears those who still talk. */
static void test_server_close(void **state)
{
	struct end idle = {0}, late = {0};
	int done = 0;

	(void)state;
	world_new("");
	dial(&idle, "");
	chat(&idle, "hello");
	tn_server_close(w.server, 5000, server_done, &done);
	say(&idle, "still here");
	dial_to(&late, ntohs(server_addr().sin_port), "&handshake=500ms");
	until(idle.closes && done);
	assert_string_equal(idle.last, "still here");
	assert_int_equal(idle.err, 0);
	assert_int_equal(w.served[0].err, 0);
	until(late.closes);
	assert_int_equal(late.opens, 0);
	assert_int_equal(w.nserved, 1);
	world_free();
}

/* ---- bounds ---- */

static void test_paused_connection_is_bounded(void **state)
{
	static char text[8000];
	struct tn_conn_info info;
	struct end e = {0};

	(void)state;
	world_new("");
	w.servers_pause = true;
	memset(text, 'x', sizeof(text) - 1);
	dial_to(&e, ntohs(server_addr().sin_port), "");
	until(e.opens && w.nserved);
	for (int i = 0; i < 60; i++) {
		say(&e, text);
		th_turn_for(w.loop, 2);
	}
	assert_int_equal(w.served[0].msgs, 0);
	tn_conn_info(w.served[0].conn, &info);
	assert_true(info.lost > 20);
	tn_resume(w.served[0].conn);
	until(w.served[0].msgs > 5);
	th_turn_for(w.loop, 20);
	assert_true(w.served[0].msgs < 20);
	tn_close(e.conn);
	until(e.closes && w.served[0].closes);
	assert_int_equal(w.served[0].err, 0);
	world_free();
}

/* What cannot be a message is refused where it is sent. */
static void test_sizes(void **state)
{
	static char big[16385];
	struct end e = {0};

	(void)state;
	world_new("");
	memset(big, 'y', sizeof(big));
	dial_to(&e, ntohs(server_addr().sin_port), "");
	assert_int_equal(tn_send(e.conn, big, sizeof(big)), -EMSGSIZE);
	assert_int_equal(tn_send(e.conn, big, 0), TN_EFORMAT);
	assert_non_null(strstr(tn_errmsg(), "DTLS carries no empty message"));
	until(e.opens);
	assert_true(tn_send(e.conn, big, sizeof(big) - 1) >= 0);
	until(e.msgs == 1 && w.served[0].msgs == 1);
	assert_int_equal(tn_send(e.conn, big, sizeof(big)), -EMSGSIZE);
	world_free();
}

/* Closed at any moment of its handshake with nothing to send: on_open never follows tn_close(). What was sent goes. */
static void test_closed_before_it_opens(void **state)
{
	(void)state;
	for (int turns = 0; turns < 12; turns++) {
		struct end e = {0};
		int opens;

		world_new("");
		dial(&e, "");
		for (int i = 0; i < turns; i++) {
			assert_true(tn_loop_step(w.loop, 0) >= 0);
			relay_turn();
		}
		opens = e.opens;
		if (turns % 2)
			assert_true(e.opens || tn_send(e.conn, "said before", 11) >= 0);
		tn_close(e.conn);
		until(e.closes);
		assert_int_equal(e.err, 0);
		assert_true(turns % 2 || e.opens == opens);
		if (turns % 2 && !opens)
			until(w.nserved && w.served[0].msgs == 1);
		world_free();
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, th_setup, th_teardown)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(test_bad_weather),
		T(test_weather_of_the_engine),
		T(test_client_begins_anew),
		T(test_strangers_words),
		T(test_flood_of_hellos),
		T(test_handshake_deadline),
		T(test_idle),
		T(test_lost_end),
		T(test_goodbyes_to_a_deaf_peer),
		T(test_one_goodbye_that_is_answered),
		T(test_words_that_cross_a_goodbye),
		T(test_leaving_while_waiting_for_room),
		T(test_server_close),
		T(test_paused_connection_is_bounded),
		T(test_sizes),
		T(test_closed_before_it_opens),
	};
	int failed;

	strcpy(certs_dir, "/tmp/tenon-certs-XXXXXX");
	if (!mkdtemp(certs_dir))
		abort();
	certs_make(certs_dir, "ca", NULL, NULL, -1, 1);
	certs_make(certs_dir, "peer", "ca", "DNS:localhost,IP:127.0.0.1", -1, 1);
	failed = th_main(argc, argv, "dtls", tests, sizeof(tests) / sizeof(tests[0]));
	certs_remove(certs_dir);
	return failed;
}
