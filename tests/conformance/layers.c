/*
 * Layers below the frame of real connections: every sort, alone and three high, on bytes that the engine cuts as it
 * likes.
 */
#include "harness.h"

#include "../support/layers.h"
#include "conn/conn.h"
#include "conn/layered.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SIZE 200000
#define PIECE 700

/* What is put below each new connection. The first `plain` accepted ones get `others`, all behind them get `sorts`. */
static enum layer_sort sorts[3], others[3];
static int nsorts, nothers, plain, accepted;

struct side {
	struct tn_conn *conn;
	int opens, ends, cuts, closes, err;
	uint64_t sent, got;
	uint64_t size; /* what is to be sent */
	bool echoes, stays, sinks, pauses, wrong;
	struct tn_timer *timer;
};

struct play {
	struct tn_loop *loop;
	struct tn_server *server;
	struct side far[2], client[2];
	int nfar, closed;
};

static int put_layers(struct tn_conn *conn)
{
	bool dialled = !conn->part, other = dialled ? accepted < plain : accepted++ < plain;
	const enum layer_sort *which = other ? others : sorts;

	for (int i = 0; i < (other ? nothers : nsorts); i++) {
		struct tni_layer *layer = layer_make(which[i], dialled);
		int rc = layer ? tni_layered_push(conn, layer) : -ENOMEM;

		if (rc < 0)
			return rc;
	}
	return 0;
}

static struct side *side_of(struct tn_conn *conn, void *arg)
{
	struct play *p = arg;

	for (int i = 0; i < 2; i++) {
		if (p->far[i].conn == conn)
			return &p->far[i];
		if (p->client[i].conn == conn)
			return &p->client[i];
	}
	p->far[p->nfar].conn = conn;
	return &p->far[p->nfar++];
}

static void send_more(struct side *s)
{
	unsigned char piece[PIECE];
	int rc = 0;

	while (s->sent < s->size && rc == 0) {
		size_t len = s->size - s->sent < PIECE ? (size_t)(s->size - s->sent) : PIECE;

		th_fill(piece, len, s->sent);
		rc = tn_send(s->conn, piece, len);
		if (rc >= 0)
			s->sent += len;
	}
	if (s->sent == s->size && !s->echoes && !s->stays)
		tn_finish(s->conn);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct side *s = side_of(conn, arg);

	s->opens++;
	send_more(s);
}

static void go_on(void *arg)
{
	struct side *s = arg;

	s->timer = NULL;
	if (s->conn)
		tn_resume(s->conn);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct play *p = arg;
	struct side *s = side_of(conn, arg);

	s->wrong |= !s->sinks && !th_matches(msg->data, msg->len, s->got);
	s->got += msg->len;
	if (s->echoes && tn_send(conn, msg->data, msg->len) < 0)
		s->wrong = true;
	if (s->pauses && !s->timer) {
		tn_pause(conn);
		assert_int_equal(tn_timer_start(p->loop, 1, go_on, s, &s->timer), 0);
	}
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	send_more(side_of(conn, arg));
}

static void on_end(struct tn_conn *conn, void *arg)
{
	struct side *s = side_of(conn, arg);

	s->ends++;
	if (s->echoes)
		tn_close(conn);
}

static void on_cut(struct tn_conn *conn, void *arg)
{
	side_of(conn, arg)->cuts++;
	tn_close(conn);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct side *s = side_of(conn, arg);

	s->closes++;
	s->err = err;
	s->conn = NULL;
	if (s->timer)
		tn_timer_stop(s->timer);
	s->timer = NULL;
}

static const struct tn_handler handler = {.on_open = on_open,
					  .on_msg = on_msg,
					  .on_drain = on_drain,
					  .on_end = on_end,
					  .on_cut = on_cut,
					  .on_close = on_close};

static void closed(void *arg)
{
	((struct play *)arg)->closed++;
}

static void serve(struct play *p, const char *url)
{
	*p = (struct play){.loop = th_loop()};
	accepted = 0;
	p->loop->extra_layers = put_layers;
	for (int i = 0; i < 2; i++)
		p->far[i].echoes = true;
	if (tn_serve(p->loop, url, &handler, p, &p->server) < 0)
		fail_msg("%s", tn_errmsg());
}

static void dial(struct play *p, int which, uint64_t size)
{
	p->client[which].size = size;
	assert_int_equal(tn_dial(p->loop, tn_server_url(p->server, 0), &handler, p, &p->client[which].conn), 0);
}

static void stop(struct play *p)
{
	tn_server_close(p->server, 5000, closed, p);
	th_until(p->loop, p->closed);
	tn_loop_free(p->loop);
}

static void name_stack(const char *url)
{
	print_message("%s:", url);
	for (int i = 0; i < nsorts; i++)
		print_message(" %s", layer_names[sorts[i]]);
	print_message("\n");
}

/* A client sends and ends its direction, the server echoes, reads slowly and answers the end with its own. */
static void echo(const char *url, bool slowly)
{
	struct play p;
	struct side *far = &p.far[0], *client = &p.client[0];
	uint64_t size = slowly ? SIZE / 20 : SIZE; /* a pause for each piece of 100 bytes */

	name_stack(url);
	serve(&p, url);
	far->pauses = client->pauses = slowly;
	dial(&p, 0, size);
	th_until(p.loop, client->closes && far->closes);
	assert_int_equal(client->err, 0);
	assert_int_equal(far->err, 0);
	assert_false(client->wrong || far->wrong);
	assert_int_equal(far->got, size);
	assert_int_equal(client->got, size);
	assert_int_equal(client->opens, 1);
	assert_int_equal(client->ends, 1);
	assert_int_equal(far->ends, 1);
	assert_int_equal(client->cuts + far->cuts, 0);
	stop(&p);
}

static void echo_everywhere(void)
{
	char path[128];

	snprintf(path, sizeof(path), "unix:%s/s", th_dir);
	echo("tcp://127.0.0.1:0", false);
	echo(path, true);
}

static void test_alone(void **state)
{
	(void)state;
	nsorts = 1;
	for (sorts[0] = 0; sorts[0] < LAYER_GOOD; sorts[0]++)
		echo_everywhere();
}

static void test_three_high(void **state)
{
	static const enum layer_sort stacks[][3] = {
		{LAYER_LEAVES, LAYER_TALKS, LAYER_MESSAGES}, {LAYER_TALKS, LAYER_LEAVES, LAYER_EXPANDS},
		{LAYER_EXPANDS, LAYER_BEATS, LAYER_LEAVES},  {LAYER_BEATS, LAYER_EXPANDS, LAYER_TALKS},
		{LAYER_LEAVES, LAYER_LEAVES, LAYER_LEAVES},  {LAYER_EXPANDS, LAYER_EXPANDS, LAYER_MESSAGES},
		{LAYER_TALKS, LAYER_TALKS, LAYER_TALKS},
	};

	(void)state;
	nsorts = 3;
	for (size_t i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++) {
		memcpy(sorts, stacks[i], sizeof(sorts));
		echo_everywhere();
	}
}

/* They cost nothing afterwards. */
static void test_done_layers_leave(void **state)
{
	struct play p;

	(void)state;
	nsorts = 2;
	sorts[0] = sorts[1] = LAYER_LEAVES;
	serve(&p, "tcp://127.0.0.1:0");
	dial(&p, 0, 10);
	p.client[0].stays = true;
	th_until(p.loop, p.far[0].got == 10 && p.client[0].opens);
	th_until(p.loop, !p.far[0].conn->layered && !p.client[0].conn->layered);
	tn_close(p.client[0].conn);
	th_until(p.loop, p.client[0].closes && p.far[0].closes);
	stop(&p);
}

/* All that was sent before the server was told to stop is answered through the layers. */
static void test_drain(void **state)
{
	struct play p;

	(void)state;
	nsorts = 3;
	sorts[0] = LAYER_LEAVES;
	sorts[1] = LAYER_BEATS;
	sorts[2] = LAYER_EXPANDS;
	serve(&p, "tcp://127.0.0.1:0");
	p.far[0].pauses = true;
	dial(&p, 0, SIZE);
	th_until(p.loop, p.client[0].sent == SIZE && p.far[0].got);
	tn_server_close(p.server, 20000, closed, &p);
	th_until(p.loop, p.closed && p.client[0].closes);
	assert_int_equal(p.client[0].err, 0);
	assert_int_equal(p.client[0].got, SIZE);
	tn_loop_free(p.loop);
}

/* A connection on which nothing is on its way is closed at once, though it had an hour. */
static void test_a_quiet_connection_does_not_hold_a_stop(void **state)
{
	(void)state;
	for (nsorts = 1; nsorts <= 2; nsorts++) {
		struct play p;

		sorts[0] = sorts[1] = LAYER_EXPANDS;
		serve(&p, "tcp://127.0.0.1:0");
		p.client[0].stays = true;
		dial(&p, 0, 1000);
		th_until(p.loop, p.client[0].got == 1000);
		tn_server_close(p.server, 3600 * 1000, closed, &p);
		th_until(p.loop, p.client[0].ends);
		tn_close(p.client[0].conn);
		th_until(p.loop, p.closed && p.client[0].closes);
		assert_int_equal(p.client[0].err, 0);
		assert_int_equal(p.far[0].err, 0);
		tn_loop_free(p.loop);
	}
}

/* The bytes end without the last word: what came is answered, then the reason is told. */
static void test_cut(void **state)
{
	struct play p;
	int port, fd;
	char got[64];
	ssize_t n;
	size_t total = 0;

	(void)state;
	nsorts = 1;
	sorts[0] = LAYER_TALKS;
	serve(&p, "tcp://127.0.0.1:0");
	assert_int_equal(sscanf(tn_server_url(p.server, 0), "tcp://127.0.0.1:%d", &port), 1);
	fd = th_tcp_dial(port);
	th_fill(got, 3, 0);
	assert_int_equal(write(fd, "HD\3", 3), 3);
	assert_int_equal(write(fd, got, 3), 3);
	shutdown(fd, SHUT_WR);
	th_until(p.loop, p.far[0].closes);
	assert_int_equal(p.far[0].cuts, 1);
	assert_int_equal(p.far[0].ends, 0);
	assert_int_equal(p.far[0].err, TN_ECUT);
	while (total < sizeof(got) && (n = read(fd, got + total, sizeof(got) - total)) > 0)
		total += (size_t)n;
	assert_int_equal(total, 7); /* H, D and its length, three bytes, E */
	assert_memory_equal(got, "HD\3", 3);
	assert_int_equal(got[6], 'E');
	close(fd);
	stop(&p);
}

/* ---- what must be cut, and harms nobody else ---- */

static void hostile(enum layer_sort sort, int err)
{
	struct play p;

	plain = 1;
	nothers = 1;
	others[0] = LAYER_TALKS;
	nsorts = 2;
	sorts[0] = LAYER_EXPANDS;
	sorts[1] = sort;
	print_message("%s %u\n", layer_names[sort], layer_failing_step);
	serve(&p, "tcp://127.0.0.1:0");
	dial(&p, 0, 1000);
	p.client[0].stays = true;
	th_until(p.loop, p.client[0].got == 1000);
	dial(&p, 1, 300);
	p.client[1].stays = p.client[1].sinks = p.far[1].stays = p.far[1].sinks = true;
	p.far[1].echoes = false;
	th_until(p.loop, p.far[1].closes || p.client[1].closes);
	if (p.client[1].conn)
		tn_close(p.client[1].conn);
	th_until(p.loop, p.client[1].closes);
	assert_true(p.client[1].err == err || p.far[1].err == err);
	assert_int_equal(p.client[0].closes + p.far[0].closes, 0);
	p.client[0].size += 1000;
	send_more(&p.client[0]);
	th_until(p.loop, p.client[0].got == 2000);
	tn_close(p.client[0].conn);
	stop(&p);
	plain = 0;
}

static void test_hostile(void **state)
{
	(void)state;
	hostile(LAYER_ENDLESS, TN_ETOOBIG);
	hostile(LAYER_ALWAYS, TN_ESTATE);
	hostile(LAYER_ASKS, TN_EFORMAT);
	for (layer_failing_step = 0; layer_failing_step < 5; layer_failing_step++)
		if (layer_failing_step != 3) /* nothing ends there */
			hostile(LAYER_FAILS, TN_EFORMAT);
	layer_failing_step = 0;
}

/* ---- a layer fails while its user is inside on_msg, or holds the connection ---- */

struct late {
	struct tn_conn *conn;
	uint64_t got;
	bool inside, wrong, pauses, owes;
	int msgs, cuts, closes, err;
};

static void late_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	static const char much[5000];
	struct late *l = arg;

	l->conn = conn;
	l->msgs++;
	if (l->pauses) {
		tn_pause(conn);
		return;
	}
	tn_conn_hold(conn);
	if (l->owes)
		return;
	l->inside = true;
	l->wrong |= tn_send(conn, much, sizeof(much)) < 0;
	l->inside = false;
	l->wrong |= !th_matches(msg->data, msg->len, l->got);
	l->got += msg->len;
}

static void late_cut(struct tn_conn *conn, void *arg)
{
	struct late *l = arg;

	l->wrong |= l->inside;
	l->cuts++;
	if (!l->owes)
		tn_conn_release(conn);
}

static void late_close(struct tn_conn *conn, int err, void *arg)
{
	struct late *l = arg;

	(void)conn;
	l->closes++;
	l->err = err;
}

static const struct tn_handler late_handler = {.on_msg = late_msg, .on_cut = late_cut, .on_close = late_close};

static struct tn_loop *serve_late(struct late *l, const char *url, int *fd)
{
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	int port;

	accepted = 0;
	loop->extra_layers = put_layers;
	if (tn_serve(loop, url, &late_handler, l, &server) < 0)
		fail_msg("%s", tn_errmsg());
	assert_int_equal(sscanf(tn_server_url(server, 0), "tcp://127.0.0.1:%d", &port), 1);
	*fd = th_tcp_dial(port);
	return loop;
}

/* tn_send() passes the queue's mark and goes down at once: nobody is called back from inside it, and the message that
 * on_msg looks at stays. */
static void test_down_fails_inside_on_msg(void **state)
{
	struct late l = {0};
	struct tn_loop *loop;
	char said[3000];
	int fd;

	(void)state;
	nsorts = 1;
	sorts[0] = LAYER_FAILS;
	layer_failing_step = 2;
	loop = serve_late(&l, "tcp://127.0.0.1:0?queue=1", &fd);
	th_fill(said, sizeof(said), 0);
	assert_int_equal(write(fd, said, sizeof(said)), sizeof(said));
	th_until(loop, l.closes);
	layer_failing_step = 0;
	assert_false(l.wrong);
	assert_int_equal(l.cuts, 1);
	assert_int_equal(l.err, TN_EFORMAT);
	close(fd);
	tn_loop_free(loop);
}

/* What came before the failure waits for its user meanwhile: the layer is called no more. */
static void test_no_tick_after_a_failure(void **state)
{
	struct late l = {.pauses = true};
	struct tn_loop *loop;
	unsigned ticks;
	int fd;

	(void)state;
	nsorts = 1;
	sorts[0] = LAYER_BEATS;
	loop = serve_late(&l, "tcp://127.0.0.1:0?frame=fixed:3", &fd);
	assert_int_equal(write(fd, "HD\3abcD\3abcX", 12), 12);
	th_until(loop, l.msgs);
	ticks = layer_ticks;
	th_turn_for(loop, 30);
	assert_int_equal(layer_ticks, ticks);
	tn_resume(l.conn);
	th_until(loop, l.msgs == 2);
	tn_resume(l.conn);
	th_until(loop, l.closes);
	assert_int_equal(l.err, TN_EFORMAT);
	close(fd);
	tn_loop_free(loop);
}

static size_t write_some(int fd)
{
	static const char data[10000];
	ssize_t n = write(fd, data, sizeof(data));

	return n > 0 ? (size_t)n : 0;
}

/* While a reply to what came before is owed, however much follows. */
static void test_what_comes_behind_a_failure_is_dropped(void **state)
{
	struct late l = {.owes = true};
	struct tn_loop *loop;
	size_t sent = 0;
	int fd;

	(void)state;
	nsorts = 1;
	sorts[0] = LAYER_TALKS;
	loop = serve_late(&l, "tcp://127.0.0.1:0?frame=fixed:3", &fd);
	th_set_nonblock(fd);
	assert_int_equal(write(fd, "HD\3abcX", 7), 7);
	th_until(loop, l.cuts);
	th_until(loop, (sent += write_some(fd)) >= 4 << 20);
	th_turn_for(loop, 20);
	assert_in_range(loop->mem.small.nout + loop->mem.large.nout, 0, 8);
	assert_int_equal(l.closes, 0);
	tn_conn_release(l.conn);
	th_until(loop, l.closes);
	assert_int_equal(l.msgs, 1);
	assert_int_equal(l.err, TN_EFORMAT);
	close(fd);
	tn_loop_free(loop);
}

/* More than a layer may hand up in one step: what is left of it behind the refused message is dropped, and replies to
 * what came before may still be made. */
static void test_more_behind_a_refused_message(void **state)
{
	struct late l = {.owes = true};
	struct tn_loop *loop;
	char runs[3 * 14];
	int fd;

	(void)state;
	nsorts = 1;
	sorts[0] = LAYER_EXPANDS;
	loop = serve_late(&l, "tcp://127.0.0.1:0?frame=line&max=10", &fd);
	for (size_t i = 0; i < sizeof(runs); i += 3)
		memcpy(runs + i, i == 3 || i > 30 ? "\n\0\1" : i == 0 ? "\0\0\1" : "a\xff\xff", 3);
	assert_int_equal(write(fd, runs, sizeof(runs)), sizeof(runs));
	th_until(loop, l.cuts);
	th_turn_for(loop, 20);
	assert_int_equal(l.closes, 0); /* its reply is still owed */
	tn_conn_release(l.conn);
	th_until(loop, l.closes);
	assert_int_equal(l.msgs, 1);
	assert_int_equal(l.cuts, 1);
	assert_int_equal(l.err, TN_ETOOBIG);
	close(fd);
	tn_loop_free(loop);
}

/* ---- a layer that tells who the peer is ---- */

#define OPENS_MAX 8

/* What a server and its observer are told. */
struct crowd {
	int opens, closes, troubles, err;
	char peer[OPENS_MAX][128], trouble[512];
};

static void crowd_open(struct tn_conn *conn, void *arg)
{
	struct crowd *c = arg;
	struct tn_addr addr;

	assert_int_equal(tn_conn_peer(conn, &addr), 0);
	assert_true(c->opens < OPENS_MAX);
	tn_addr_text(&addr, c->peer[c->opens++], sizeof(c->peer[0]));
}

static void crowd_close(struct tn_conn *conn, int err, void *arg)
{
	struct crowd *c = arg;

	(void)conn;
	c->closes++;
	c->err = err;
}

static void crowd_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	struct crowd *c = arg;

	(void)server;
	if (err != TN_ELIMIT) /* one leaves before it has a name, and an engine may be out of descriptors */
		return;
	snprintf(c->trouble, sizeof(c->trouble), "%s", text);
	c->troubles += 1 + (int)tn_server_suppressed(server);
}

static int say_to(struct tn_server *server, const char *words)
{
	const char *url = tn_server_url(server, 0);
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int port, fd;

	if (sscanf(url, "tcp://127.0.0.1:%d", &port) == 1) {
		fd = th_tcp_dial(port);
	} else {
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", strchr(url, '/'));
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	}
	assert_int_equal(write(fd, words, strlen(words)), strlen(words));
	return fd;
}

/* All that comes until the end, which is in good order. */
static void await_end(struct tn_loop *loop, int fd)
{
	ssize_t n = -1;
	char got[64];

	th_set_nonblock(fd);
	th_until(loop, (n = read(fd, got, sizeof(got))) == 0 || (n < 0 && errno != EAGAIN));
	assert_int_equal(n, 0);
}

static void admit_by_name(const char *url, bool talks)
{
	static const struct tn_handler crowd_handler = {.on_open = crowd_open, .on_close = crowd_close};
	static const struct tn_watch watch = {.on_trouble = crowd_trouble};
	struct crowd crowd = {0};
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	bool tcp = url[0] == 't';
	int fd[8];

	nsorts = talks ? 2 : 1;
	sorts[0] = LAYER_NAMES;
	sorts[1] = LAYER_TALKS;
	accepted = 0;
	loop->extra_layers = put_layers;
	if (tn_serve(loop, url, &crowd_handler, &crowd, &server) < 0)
		fail_msg("%s", tn_errmsg());
	tn_server_watch(server, &watch, &crowd);

	/* Two that the proxy names differently count as two, though both come from here. */
	fd[0] = say_to(server, "PEER 10.0.0.1\nH");
	th_until(loop, crowd.opens == 1);
	fd[1] = say_to(server, "PEER 10.0.0.2\nH");
	th_until(loop, crowd.opens == 2);
	assert_string_equal(crowd.peer[0], "10.0.0.1:7");
	assert_string_equal(crowd.peer[1], "10.0.0.2:7");

	/* One whose name comes by and by is counted, but not under a source, and nobody is told of it yet. */
	fd[2] = say_to(server, "PEER 10.0");
	th_until(loop, tn_server_nconns(server) == 3);
	th_turn_for(loop, 20);
	assert_int_equal(crowd.opens, 2);
	assert_int_equal(write(fd[2], ".0.1\nH", 6), 6);
	await_end(loop, fd[2]);
	th_until(loop, crowd.troubles == 1);
	assert_non_null(strstr(crowd.trouble, "too many from 10.0.0.1 (key per-source)"));
	assert_int_equal(crowd.opens, 2);
	close(fd[2]);
	th_until(loop, tn_server_nconns(server) == 2);

	/* A place that has become free is another's. */
	close(fd[0]);
	th_until(loop, crowd.closes == 1);
	fd[3] = say_to(server, "PEER 10.0.0.1\nH");
	th_until(loop, crowd.opens == 3);
	assert_string_equal(crowd.peer[2], "10.0.0.1:7");

	/* The layer knows none: it counts under its own address. */
	fd[4] = say_to(server, "PEER -\nH");
	th_until(loop, crowd.opens == 4);
	assert_int_equal(strncmp(crowd.peer[3], "127.0.0.1:", 10) == 0, tcp);
	fd[5] = say_to(server, "PEER -\nH");
	await_end(loop, fd[5]);
	th_until(loop, crowd.troubles == 2);
	assert_non_null(strstr(crowd.trouble, tcp ? "too many from 127.0.0.1 " : "too many from one user "));
	assert_int_equal(crowd.opens, 4);

	/* One that leaves before it has a name holds no place. */
	fd[6] = say_to(server, "PEER ");
	th_until(loop, tn_server_nconns(server) == 4);
	close(fd[6]);
	th_until(loop, tn_server_nconns(server) == 3);

	close(fd[1]);
	close(fd[3]);
	close(fd[4]);
	close(fd[5]);
	th_until(loop, crowd.closes == 4 && !tn_server_nconns(server));
	tn_loop_free(loop);
}

static void test_a_layer_names_the_peer(void **state)
{
	char path[128];

	(void)state;
	for (int talks = 0; talks < 2; talks++) {
		admit_by_name("tcp://127.0.0.1:0?per-source=1", talks);
		snprintf(path, sizeof(path), "unix:%s/names?per-source=1", th_dir);
		admit_by_name(path, talks);
	}
}

/* ---- when it was connected, and when its layers were open ---- */

/* At on_open, and again at on_close, when the layers have long gone. */
struct times {
	struct tn_conn_info open, close;
	int opens, closes;
};

static void note_open(struct tn_conn *conn, void *arg)
{
	struct times *t = arg;

	tn_conn_info(conn, &t->open);
	t->opens++;
}

static void note_close(struct tn_conn *conn, int err, void *arg)
{
	struct times *t = arg;

	(void)err;
	tn_conn_info(conn, &t->close);
	t->closes++;
}

static const struct tn_handler note_handler = {.on_open = note_open, .on_close = note_close};

static void test_when_it_was_connected(void **state)
{
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	struct times far = {0}, near = {0}, never = {0};
	struct tn_conn *conn;
	struct tn_conn_info info;
	uint64_t before;
	int fd;

	(void)state;
	nsorts = 2;
	sorts[0] = LAYER_NAMES;
	sorts[1] = LAYER_TALKS;
	plain = accepted = 0;
	loop->extra_layers = put_layers;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &note_handler, &far, &server), 0);

	/* The peer takes its time. */
	before = tn_loop_now(loop);
	fd = say_to(server, "PEER -");
	th_until(loop, tn_server_nconns(server) == 1);
	th_turn_for(loop, 20);
	assert_int_equal(far.opens, 0);
	assert_int_equal(write(fd, "\nH", 2), 2);
	th_until(loop, far.opens == 1);
	assert_true(far.open.connected_ns >= before);
	assert_true(far.open.opened_ns - far.open.connected_ns >= 15 * 1000000);
	close(fd);
	th_until(loop, far.closes == 1);
	assert_int_equal(far.close.connected_ns, far.open.connected_ns);
	assert_int_equal(far.close.opened_ns, far.open.opened_ns);

	/* Without layers it is open when it is connected. */
	loop->extra_layers = NULL;
	assert_int_equal(tn_dial(loop, tn_server_url(server, 0), &note_handler, &near, &conn), 0);
	tn_conn_info(conn, &info);
	assert_int_equal(info.connected_ns, 0);
	th_until(loop, near.opens == 1 && far.opens == 2);
	assert_true(near.open.connected_ns > far.close.opened_ns);
	assert_int_equal(near.open.connected_ns, near.open.opened_ns);
	assert_int_equal(far.open.connected_ns, far.open.opened_ns);
	tn_close(conn);
	th_until(loop, near.closes == 1 && far.closes == 2);
	assert_int_equal(near.close.connected_ns, near.open.connected_ns);

	/* One that never was. */
	assert_int_equal(tn_dial(loop, "unix:@tenon-nobody-is-here", &note_handler, &never, &conn), 0);
	th_until(loop, never.closes == 1);
	assert_int_equal(never.close.connected_ns, 0);
	tn_loop_free(loop);
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, th_setup, th_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_alone),
		TEST(test_three_high),
		TEST(test_done_layers_leave),
		TEST(test_drain),
		TEST(test_a_quiet_connection_does_not_hold_a_stop),
		TEST(test_cut),
		TEST(test_hostile),
		TEST(test_down_fails_inside_on_msg),
		TEST(test_no_tick_after_a_failure),
		TEST(test_what_comes_behind_a_failure_is_dropped),
		TEST(test_more_behind_a_refused_message),
		TEST(test_a_layer_names_the_peer),
		TEST(test_when_it_was_connected),
	};

	return th_main(argc, argv, "layers", tests, sizeof(tests) / sizeof(tests[0]));
}
