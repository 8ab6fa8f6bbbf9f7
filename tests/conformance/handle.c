/*
 * Handles: a connection in other threads. Order, bounds, and what becomes of all that is on its way when the connection
 * or its loop goes. And what else a connection can be told: another handler, to be let go of.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "harness.h"
#include "tenon_value.h"

/* A server and one client of it, on one loop. Each message of the client's is looked at by `look`. */
struct pair {
	struct tn_loop *loop;
	struct tn_server *server;
	struct tn_conn *served, *dialled;
	struct tn_handle *handle; /* of the served one */
	int opens, served_closes, dialled_closes, served_err, dialled_err;
	size_t msgs, bytes, drains, wrong;
	uint32_t next[4]; /* of each thread's messages */
	bool pauses;
};

/* What the threads send: whose it is, and which. */
struct word {
	uint32_t thread, nth;
	char fill[24];
};

static void served_open(struct tn_conn *conn, void *arg)
{
	struct pair *p = arg;

	p->served = conn;
	p->opens++;
}

static void served_close(struct tn_conn *conn, int err, void *arg)
{
	struct pair *p = arg;

	(void)conn;
	p->served = NULL;
	p->served_err = err;
	p->served_closes++;
}

static void served_drain(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct pair *)arg)->drains++;
}

static void dialled_open(struct tn_conn *conn, void *arg)
{
	struct pair *p = arg;

	p->opens++;
	if (p->pauses)
		tn_pause(conn);
}

static void dialled_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct pair *p = arg;
	struct word w;

	(void)conn;
	p->msgs++;
	p->bytes += msg->len;
	if (msg->len < sizeof(w))
		return;
	memcpy(&w, msg->data, sizeof(w));
	if (w.thread >= 4 || w.nth != p->next[w.thread])
		p->wrong++;
	else
		p->next[w.thread]++;
}

static void dialled_close(struct tn_conn *conn, int err, void *arg)
{
	struct pair *p = arg;

	(void)conn;
	p->dialled = NULL;
	p->dialled_err = err;
	p->dialled_closes++;
}

static const struct tn_handler server_handler = {
	.on_open = served_open, .on_close = served_close, .on_drain = served_drain};
static const struct tn_handler client_handler = {
	.on_open = dialled_open, .on_msg = dialled_msg, .on_close = dialled_close};

/* To a server, with these keys. */
static int dial(struct tn_loop *loop, struct tn_server *server, const char *keys, const struct tn_handler *handler,
		void *arg, struct tn_conn **conn)
{
	char url[256];

	snprintf(url, sizeof(url), "%s%s", tn_server_url(server, 0), keys);
	return tn_dial(loop, url, handler, arg, conn);
}

static void pair_open(struct pair *p, const char *keys)
{
	char url[128];

	if (!p->loop)
		p->loop = th_loop();
	snprintf(url, sizeof(url), "tcp://127.0.0.1:0%s", keys);
	assert_int_equal(tn_serve(p->loop, url, &server_handler, p, &p->server), 0);
	assert_int_equal(dial(p->loop, p->server, keys, &client_handler, p, &p->dialled), 0);
	th_until(p->loop, p->opens == 2);
	assert_int_equal(tn_conn_handle(p->served, &p->handle), 0);
}

static void pair_end(struct pair *p)
{
	tn_loop_free(p->loop);
	assert_int_equal(p->served_closes, 1);
	assert_int_equal(p->dialled_closes, 1);
	assert_false(tn_handle_alive(p->handle));
	tn_handle_unref(p->handle);
}

/* ---- sending ---- */

#define WORDS 5000

struct sender {
	pthread_t thread;
	struct tn_handle *handle; /* its own reference */
	uint32_t number, sent, refused;
	int rc;
};

static void *send_words(void *arg)
{
	struct sender *s = arg;
	struct word w = {.thread = s->number};

	while (w.nth < WORDS && s->rc >= 0) {
		s->rc = tn_handle_send(s->handle, &w, sizeof(w));
		if (s->rc == TN_EFULL) {
			s->refused++;
			s->rc = tn_handle_wait(s->handle, -1);
		} else if (s->rc >= 0) {
			w.nth++;
			s->sent++;
		}
	}
	tn_handle_unref(s->handle);
	return NULL;
}

static void senders_start(struct sender *senders, uint32_t n, struct tn_handle *handle)
{
	for (uint32_t i = 0; i < n; i++) {
		senders[i] = (struct sender){.number = i, .handle = tn_handle_ref(handle)};
		assert_int_equal(pthread_create(&senders[i].thread, NULL, send_words, &senders[i]), 0);
	}
}

static void senders_join(struct sender *senders, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
}

static void test_threads_send_in_order(void **state)
{
	struct pair p = {0};
	struct sender senders[3];

	(void)state;
	pair_open(&p, "?frame=u32");
	senders_start(senders, 3, p.handle);
	th_until(p.loop, p.msgs == 3 * WORDS);
	senders_join(senders, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(p.next[i], WORDS);
	assert_int_equal(p.wrong, 0);
	th_until(p.loop, tn_handle_queued(p.handle) == 0);
	pair_end(&p);
}

/* The queue is small: senders are refused, wait, and nothing is lost. */
static void test_threads_are_held_back(void **state)
{
	struct pair p = {0};
	struct sender senders[2];

	(void)state;
	pair_open(&p, "?frame=u32&queue=4KiB");
	senders_start(senders, 2, p.handle);
	th_until(p.loop, p.msgs == 2 * WORDS);
	senders_join(senders, 2);
	assert_true(senders[0].refused + senders[1].refused > 0);
	assert_int_equal(p.wrong, 0);
	pair_end(&p);
}

/* As much as may be on its way, and then no more; the peer does not read meanwhile. */
static void test_slow_peer(void **state)
{
	struct pair p = {.pauses = true};
	char piece[10000] = {0};
	size_t taken = 0, most = 0;
	int rc = 0;

	(void)state;
	pair_open(&p, "?frame=u32&queue=64KiB&sndbuf=16KiB&rcvbuf=16KiB");
	for (int idle = 0; idle < 50; idle++) {
		while ((rc = tn_handle_send(p.handle, piece, sizeof(piece))) >= 0) {
			idle = 0;
			taken++;
		}
		assert_int_equal(rc, TN_EFULL);
		if (tn_handle_queued(p.handle) > most)
			most = tn_handle_queued(p.handle);
		assert_true(tn_loop_step(p.loop, 1) >= 0);
	}
	assert_true(most < 64 * 1024 + 11000); /* the mark, and the one that passed it */
	assert_true(tn_handle_queued(p.handle) > 32 * 1024);
	assert_int_equal(tn_handle_send(p.handle, piece, 1), TN_EFULL); /* never a later one without the earlier */
	assert_int_equal(tn_handle_wait(p.handle, 1), -ETIMEDOUT);
	assert_int_equal(p.msgs, 0);
	tn_resume(p.dialled);
	th_until(p.loop, p.msgs == taken);
	assert_int_equal(p.bytes, taken * sizeof(piece));
	assert_int_equal(tn_handle_wait(p.handle, 0), 0);
	assert_true(p.drains > 0);
	pair_end(&p);
}

static void wait_inside(struct tn_conn *conn, void *arg)
{
	struct pair *p = arg;

	assert_ptr_equal(conn, p->served);
	assert_int_equal(tn_handle_wait(p->handle, -1), TN_ESTATE);
	p->opens = 100;
}

/* So much is on its way that a thread would be held back. */
static void close_waiting(struct tn_conn *conn, int err, void *arg)
{
	struct pair *p = arg;

	served_close(conn, err, arg);
	while (tn_handle_send(p->handle, "0123456789012345", 16) == 0)
		;
	assert_int_equal(tn_handle_wait(p->handle, 100), TN_ESTATE);
	p->opens = 100;
}

/* The loop that is being freed would wait for itself as well. */
static void test_waiting_while_the_loop_is_freed(void **state)
{
	static const struct tn_handler waits = {.on_close = close_waiting};
	struct pair p = {0};

	(void)state;
	pair_open(&p, "?frame=u32&queue=4KiB");
	assert_int_equal(tn_conn_set_handler(p.served, &waits, &p), 0);
	pair_end(&p);
	assert_int_equal(p.opens, 100);
}

static void test_waiting_for_oneself(void **state)
{
	struct pair p = {0};

	(void)state;
	pair_open(&p, "?frame=u32");
	assert_int_equal(tn_handle_call(p.handle, wait_inside, &p), 0);
	th_until(p.loop, p.opens == 100);
	pair_end(&p);
}

static void test_messages_that_cannot_be_sent(void **state)
{
	struct pair p = {0};
	struct word w = {.thread = 0, .nth = 0};

	(void)state;
	memset(w.fill, 'x', sizeof(w.fill));
	pair_open(&p, "?frame=line&max=64");
	assert_int_equal(
		tn_handle_send(p.handle, "0123456789012345678901234567890123456789012345678901234567890123456789", 70),
		TN_ETOOBIG);
	assert_int_equal(tn_handle_send(p.handle, "good", 4), 0);
	assert_int_equal(tn_handle_send(p.handle, "two\nlines", 9), 0);
	assert_int_equal(tn_handle_send(p.handle, "late", 4), 0);
	th_until(p.loop, p.served_closes && p.dialled_closes);
	assert_int_equal(p.served_err, TN_EFORMAT);
	assert_int_equal(p.msgs, 1);
	pair_end(&p);
}

/* Its bytes go with the message, whatever becomes of the sender's. */
static void test_long_and_empty_messages(void **state)
{
	struct pair p = {0};
	char *big = calloc(1, 300000);

	(void)state;
	assert_non_null(big);
	pair_open(&p, "?frame=u32");
	assert_int_equal(tn_handle_send(p.handle, NULL, 0), 0);
	assert_int_equal(tn_handle_send(p.handle, big, 300000), 1);
	free(big);
	th_until(p.loop, p.msgs == 2);
	assert_int_equal(p.bytes, 300000);
	pair_end(&p);
}

static void test_before_it_is_open(void **state)
{
	struct pair p = {.loop = th_loop()};
	struct tn_handle *handle;

	(void)state;
	assert_int_equal(tn_serve(p.loop, "tcp://127.0.0.1:0?frame=u32", &client_handler, &p, &p.server), 0);
	assert_int_equal(dial(p.loop, p.server, "?frame=u32", &server_handler, &p, &p.served), 0);
	assert_int_equal(tn_conn_handle(p.served, &handle), 0);
	assert_int_equal(tn_handle_send(handle, "early", 5), 0);
	assert_int_equal(tn_handle_close(handle), 0);
	th_until(p.loop, p.dialled_closes == 1 && p.served_closes == 1);
	assert_int_equal(p.msgs, 1);
	assert_int_equal(tn_handle_send(handle, "late", 4), TN_ESTATE);
	tn_handle_unref(handle);
	tn_loop_free(p.loop);
}

/* One message in two threads' hands, sent by handles of two loops; and one that nobody gets any more. */
static void test_shared_messages(void **state)
{
	struct pair p[2] = {{0}, {0}};
	struct tn_shared *shared;
	char *bytes = calloc(1, 100000);

	(void)state;
	assert_non_null(bytes);
	assert_int_equal(tn_shared_new(bytes, 100000, TN_MSG_ANY, &shared), 0);
	free(bytes);
	for (int i = 0; i < 2; i++) {
		pair_open(&p[i], "?frame=u32&max=128KiB");
		assert_int_equal(tn_handle_send_shared(p[i].handle, shared), 0);
		assert_int_equal(tn_handle_send(p[i].handle, "behind", 6), 0);
	}
	for (int i = 0; i < 2; i++) {
		th_until(p[i].loop, p[i].msgs == 2);
		assert_int_equal(p[i].bytes, 100006);
		assert_int_equal(tn_handle_send_shared(p[i].handle, shared), 0);
		assert_int_equal(tn_handle_send_shared(p[i].handle, shared), 1);
		assert_int_equal(tn_handle_send_shared(p[i].handle, shared), TN_EFULL);
	}
	tn_shared_unref(shared);
	for (int i = 0; i < 2; i++)
		pair_end(&p[i]);
}

/* ---- calls, and ends ---- */

struct called {
	struct tn_conn *conn;
	int calls;
	size_t msgs; /* queued by then */
	struct tn_conn_info info;
};

static void note_call(struct tn_conn *conn, void *arg)
{
	struct called *c = arg;

	c->calls++;
	c->conn = conn;
	if (!conn)
		return;
	tn_conn_info(conn, &c->info);
	c->msgs = c->info.msgs_out;
}

static void test_calls_stand_in_order(void **state)
{
	struct pair p = {0};
	struct called c = {0};

	(void)state;
	pair_open(&p, "?frame=u32");
	assert_int_equal(tn_handle_send(p.handle, "one", 3), 0);
	assert_int_equal(tn_handle_send(p.handle, "two", 3), 0);
	assert_int_equal(tn_handle_call(p.handle, note_call, &c), 0);
	assert_int_equal(tn_handle_send(p.handle, "three", 5), 0);
	assert_int_equal(c.calls, 0); /* never from inside */
	th_until(p.loop, p.msgs == 3);
	assert_int_equal(c.calls, 1);
	assert_int_equal(c.msgs, 2);
	assert_ptr_equal(c.conn, p.served);
	assert_ptr_equal(tn_handle_conn(p.handle), p.served);
	assert_int_equal(tn_handle_id(p.handle), tn_conn_id(p.served));
	pair_end(&p);
}

static void test_close_comes_behind_what_was_sent(void **state)
{
	struct pair p = {.pauses = true};
	struct called c = {0};
	char piece[1000] = {0};
	size_t taken = 0;

	(void)state;
	pair_open(&p, "?frame=u32&queue=32KiB&drain=10m");
	for (int i = 0; i < 50; i++) {
		while (tn_handle_send(p.handle, piece, sizeof(piece)) >= 0)
			taken++;
		assert_true(tn_loop_step(p.loop, 1) >= 0);
	}
	assert_int_equal(tn_handle_call(p.handle, note_call, &c), 0);
	assert_int_equal(tn_handle_close(p.handle), 0);
	th_turn_for(p.loop, 20);
	assert_int_equal(p.served_closes, 0);
	tn_resume(p.dialled);
	th_until(p.loop, p.dialled_closes && p.served_closes);
	assert_int_equal(p.msgs, taken);
	assert_int_equal(c.calls, 1);
	assert_non_null(c.conn);
	assert_int_equal(p.served_err, 0);
	pair_end(&p);
}

static void test_abort_waits_for_nothing(void **state)
{
	struct pair p = {.pauses = true};
	struct called c = {0};
	char piece[1000] = {0};

	(void)state;
	pair_open(&p, "?frame=u32&queue=32KiB&sndbuf=16KiB");
	for (int i = 0; i < 50 || !tn_handle_queued(p.handle); i++) { /* the kernel may have had room */
		assert_true(i < 5000);
		while (tn_handle_send(p.handle, piece, sizeof(piece)) >= 0)
			;
		assert_true(tn_loop_step(p.loop, 1) >= 0);
	}
	assert_int_equal(tn_handle_call(p.handle, note_call, &c), 0); /* waits behind the sends */
	assert_int_equal(tn_handle_abort(p.handle, -EPERM), 0);
	th_until(p.loop, p.served_closes);
	assert_int_equal(p.served_err, -EPERM);
	assert_int_equal(c.calls, 1);
	assert_null(c.conn);
	assert_int_equal(tn_handle_queued(p.handle), 0);
	assert_int_equal(tn_handle_wait(p.handle, -1), TN_ESTATE);
	pair_end(&p);
}

static void test_handle_outlives_its_connection(void **state)
{
	struct pair p = {0};
	struct called c = {0};
	struct tn_handle *same;

	(void)state;
	pair_open(&p, "?frame=u32");
	assert_int_equal(tn_conn_handle(p.served, &same), 0);
	assert_ptr_equal(same, p.handle);
	tn_handle_unref(same);
	assert_true(tn_handle_alive(p.handle));
	assert_int_equal(tn_handle_send(p.handle, "x", 1), 0);
	assert_int_equal(tn_handle_call(p.handle, note_call, &c), 0);
	tn_abort(p.served, -EIO);
	assert_int_equal(tn_conn_handle(p.served, &same), TN_ESTATE);
	th_until(p.loop, p.served_closes);
	assert_false(tn_handle_alive(p.handle));
	assert_null(tn_handle_conn(p.handle));
	assert_int_equal(tn_handle_send(p.handle, "x", 1), TN_ESTATE);
	assert_non_null(strstr(tn_errmsg(), "gone"));
	assert_int_equal(tn_handle_call(p.handle, note_call, &c), TN_ESTATE);
	assert_int_equal(tn_handle_close(p.handle), TN_ESTATE);
	assert_int_equal(tn_handle_release(p.handle), TN_ESTATE);
	assert_int_equal(tn_handle_abort(p.handle, 0), TN_ESTATE);
	th_turn_for(p.loop, 5);
	assert_int_equal(c.calls, 1); /* what was taken has been called */
	pair_end(&p);
}

/* The last reference goes while things are on their way. */
static void test_last_reference_on_the_way(void **state)
{
	struct pair p = {0};
	struct called c = {0};
	struct tn_handle *h;

	(void)state;
	pair_open(&p, "?frame=u32");
	assert_int_equal(tn_conn_handle(p.dialled, &h), 0);
	assert_int_equal(tn_handle_send(h, "x", 1), 0);
	assert_int_equal(tn_handle_call(h, note_call, &c), 0);
	tn_handle_unref(h);
	tn_abort(p.dialled, -EIO);
	th_until(p.loop, p.dialled_closes && c.calls);
	tn_handle_unref(NULL);
	pair_end(&p);
}

static void test_handle_outlives_its_loop(void **state)
{
	struct pair p = {0};
	struct called c = {0};

	(void)state;
	pair_open(&p, "?frame=u32");
	assert_int_equal(tn_handle_send(p.handle, "x", 1), 0);
	assert_int_equal(tn_handle_call(p.handle, note_call, &c), 0);
	tn_loop_free(p.loop);
	assert_int_equal(c.calls, 1);
	assert_int_equal(p.served_err, -ECANCELED);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tn_handle_send(p.handle, "x", 1), TN_ESTATE);
		assert_int_equal(tn_handle_call(p.handle, note_call, &c), TN_ESTATE);
		assert_int_equal(tn_handle_wait(p.handle, -1), TN_ESTATE);
	}
	assert_false(tn_handle_alive(p.handle));
	assert_int_equal(tn_handle_queued(p.handle), 0);
	tn_handle_unref(p.handle);
	assert_int_equal(c.calls, 1);
}

/* A peer that has ended waits for a reply that a thread still owes. */
static void test_release(void **state)
{
	struct pair p = {0};

	(void)state;
	pair_open(&p, "?frame=u32");
	tn_conn_hold(p.served);
	assert_int_equal(tn_finish(p.dialled), 0);
	th_turn_for(p.loop, 20);
	assert_int_equal(p.served_closes, 0);
	assert_int_equal(tn_handle_send(p.handle, "reply", 5), 0);
	assert_int_equal(tn_handle_release(p.handle), 0);
	th_until(p.loop, p.served_closes && p.dialled_closes);
	assert_int_equal(p.msgs, 1);
	assert_int_equal(p.served_err, 0);
	pair_end(&p);
}

/* What waits for room is owed: a peer that has ended gets it all. */
static void test_ended_peer_gets_what_waits(void **state)
{
	struct pair p = {.pauses = true};
	char piece[1000] = {0};
	size_t taken = 0;

	(void)state;
	pair_open(&p, "?frame=u32&queue=32KiB&sndbuf=16KiB&rcvbuf=16KiB&drain=10m");
	for (int i = 0; i < 50; i++) {
		while (tn_handle_send(p.handle, piece, sizeof(piece)) >= 0)
			taken++;
		assert_true(tn_loop_step(p.loop, 1) >= 0);
	}
	assert_int_equal(tn_finish(p.dialled), 0);
	th_turn_for(p.loop, 20);
	tn_resume(p.dialled);
	th_until(p.loop, p.served_closes && p.dialled_closes);
	assert_int_equal(p.msgs, taken);
	pair_end(&p);
}

/* ---- datagrams ---- */

struct asked {
	struct tn_addr peer;
	struct tn_conn *conn;
	int msgs;
};

static void note_asker(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct asked *a = arg;

	a->peer = *msg->peer;
	a->conn = conn;
	a->msgs++;
}

struct late {
	struct tn_handle *handle;
	struct tn_addr peer;
	int rc;
};

static void *reply_late(void *arg)
{
	struct late *job = arg;
	const struct tn_msg msg = {.peer = &job->peer};

	job->rc = tn_handle_reply(job->handle, &msg, "late", 4);
	memset(&job->peer, 0xff, sizeof(job->peer));
	return NULL;
}

static void test_datagram_server(void **state)
{
	static const struct tn_handler server = {.on_msg = note_asker};
	struct asked asked = {0};
	struct pair p = {.loop = th_loop()};
	struct late job = {0};
	struct tn_conn_info info;
	pthread_t thread;

	(void)state;
	assert_int_equal(tn_serve(p.loop, "udp://127.0.0.1:0", &server, &asked, &p.server), 0);
	assert_int_equal(tn_dial(p.loop, tn_server_url(p.server, 0), &client_handler, &p, &p.dialled), 0);
	assert_int_equal(tn_send(p.dialled, "ask", 3), 0);
	th_until(p.loop, asked.msgs == 1);
	assert_int_equal(tn_conn_handle(asked.conn, &job.handle), 0);
	job.peer = asked.peer;
	assert_int_equal(pthread_create(&thread, NULL, reply_late, &job), 0);
	pthread_join(thread, NULL);
	assert_int_equal(job.rc, 0);
	th_until(p.loop, p.msgs == 1);
	/* To nobody: it is lost, and the server goes on. */
	assert_int_equal(tn_handle_send(job.handle, "whom?", 5), 0);
	assert_int_equal(tn_send(p.dialled, "ask", 3), 0);
	th_until(p.loop, asked.msgs == 2);
	tn_conn_info(asked.conn, &info);
	assert_int_equal(info.lost, 1);
	tn_loop_free(p.loop);
	tn_handle_unref(job.handle);
}

/* ---- chance ---- */

/* Threads send, ask and close by handles of connections that end in every way meanwhile. */
#define CROWD 6
#define ROUNDS 12

struct crowd {
	struct tn_loop *loop;
	struct tn_handle *handles[CROWD];
	_Atomic(int) calls, called;
	_Atomic(bool) over;
};

static void count_call(struct tn_conn *conn, void *arg)
{
	struct crowd *c = arg;

	if (conn)
		(void)!tn_send(conn, "from a call", 11);
	c->called++;
}

static void *play(void *arg)
{
	struct crowd *c = arg;
	unsigned seed = (unsigned)(uintptr_t)pthread_self();
	char bytes[2000] = {0};

	while (!c->over) {
		struct tn_handle *h = tn_handle_ref(c->handles[(size_t)rand_r(&seed) % CROWD]);

		switch (rand_r(&seed) % 64) {
		case 0:
			(void)tn_handle_close(h);
			break;
		case 1:
			(void)tn_handle_abort(h, -EPIPE);
			break;
		case 2:
			(void)!tn_handle_wait(h, 1);
			break;
		case 3:
			if (tn_handle_call(h, count_call, c) == 0)
				c->calls++;
			break;
		case 4:
			sched_yield();
			break;
		default:
			(void)!tn_handle_send(h, bytes, (size_t)rand_r(&seed) % sizeof(bytes));
			(void)tn_handle_queued(h);
			(void)tn_handle_alive(h);
		}
		tn_handle_unref(h);
	}
	return NULL;
}

static void test_closes_at_random(void **state)
{
	unsigned seed = 7;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		static const struct tn_handler nothing = {0};
		struct crowd c = {.loop = th_loop()};
		struct tn_server *server;
		pthread_t threads[2];

		assert_int_equal(tn_serve(c.loop, "tcp://127.0.0.1:0?frame=u32", &nothing, NULL, &server), 0);
		for (int i = 0; i < CROWD; i++) {
			struct tn_conn *conn;

			assert_int_equal(dial(c.loop, server, "?frame=u32", &nothing, NULL, &conn), 0);
			assert_int_equal(tn_conn_handle(conn, &c.handles[i]), 0);
		}
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, play, &c), 0);
		for (int turn = rand_r(&seed) % 200; turn > 0; turn--) {
			struct tn_conn *conn = tn_handle_conn(c.handles[(size_t)rand_r(&seed) % CROWD]);

			if (conn && rand_r(&seed) % 16 == 0)
				tn_abort(conn, 0);
			else if (conn && rand_r(&seed) % 16 == 0)
				tn_conn_detach(conn);
			assert_true(tn_loop_step(c.loop, 0) >= 0);
		}
		tn_loop_free(c.loop); /* while they go on */
		c.over = true;
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(c.called, c.calls); /* each that was taken, once */
		for (int i = 0; i < CROWD; i++) {
			assert_false(tn_handle_alive(c.handles[i]));
			assert_int_equal(tn_handle_queued(c.handles[i]), 0);
			tn_handle_unref(c.handles[i]);
		}
	}
}

/* ---- another handler, and none ---- */

struct second {
	int msgs, ends, closes, err;
};

static void second_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn, (void)msg;
	((struct second *)arg)->msgs++;
}

static void second_end(struct tn_conn *conn, void *arg)
{
	((struct second *)arg)->ends++;
	tn_close(conn);
}

static void second_close(struct tn_conn *conn, int err, void *arg)
{
	struct second *s = arg;

	(void)conn;
	s->closes++;
	s->err = err;
}

static const struct tn_handler second_handler = {.on_msg = second_msg, .on_end = second_end, .on_close = second_close};

struct change {
	struct second second;
	struct tn_conn *conn;
	int msgs, closes;
};

/* Between two messages that have come in one piece. */
static void change_at_once(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct change *c = arg;

	(void)msg;
	c->conn = conn;
	c->msgs++;
	assert_int_equal(tn_conn_set_handler(conn, &second_handler, &c->second), 0);
}

static void count_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err;
	((struct change *)arg)->closes++;
}

static void test_another_handler(void **state)
{
	static const struct tn_handler first = {.on_msg = change_at_once, .on_close = count_close};
	struct pair p = {.loop = th_loop()};
	struct change c = {0};
	struct second dialled = {0};

	(void)state;
	assert_int_equal(tn_serve(p.loop, "tcp://127.0.0.1:0?frame=line", &first, &c, &p.server), 0);
	assert_int_equal(dial(p.loop, p.server, "?frame=line", &client_handler, &p, &p.dialled), 0);
	assert_int_equal(tn_conn_set_handler(p.dialled, &second_handler, &dialled), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tn_send(p.dialled, "line", 4), 0);
	th_until(p.loop, c.msgs + c.second.msgs == 3);
	assert_int_equal(c.msgs, 1);
	/* And once more. */
	assert_int_equal(tn_conn_set_handler(c.conn, &first, &c), 0);
	assert_int_equal(tn_send(p.dialled, "line", 4), 0);
	th_until(p.loop, c.msgs == 2);
	assert_int_equal(tn_finish(p.dialled), 0);
	th_until(p.loop, c.second.closes && dialled.closes);
	assert_int_equal(c.second.ends, 1);
	assert_int_equal(c.closes, 0);
	assert_int_equal(p.opens + p.dialled_closes, 0);
	tn_loop_free(p.loop);
}

static void never_sent(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err;
	(*(int *)arg)++;
}

static void test_detached(void **state)
{
	struct pair p = {0};
	int told = 0;

	(void)state;
	pair_open(&p, "?frame=u32");
	assert_int_equal(tn_send(p.served, "last words", 10), 0);
	assert_int_equal(tn_when_sent(p.served, TN_SENT_ACKNOWLEDGED, never_sent, &told), 0);
	tn_conn_detach(p.served);
	th_until(p.loop, p.dialled_closes);
	assert_int_equal(p.msgs, 1);
	assert_int_equal(p.dialled_err, 0);
	th_until(p.loop, !tn_handle_alive(p.handle));
	assert_int_equal(p.served_closes, 0);
	assert_int_equal(told, 0);
	tn_handle_unref(p.handle);
	tn_loop_free(p.loop);
	assert_int_equal(p.served_closes, 0);
}

static void detach_now(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	((struct change *)arg)->msgs++;
	assert_int_equal(tn_reply(conn, msg, msg->data, msg->len), 0);
	tn_conn_detach(conn);
}

/* Inside on_msg, dialled and served, and before it is open. */
static void test_detached_inside(void **state)
{
	static const struct tn_handler handler = {.on_msg = detach_now, .on_close = count_close};
	struct change served = {0}, dialled = {0};
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	struct tn_conn *conn;

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0?frame=u32", &handler, &served, &server), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(dial(loop, server, "?frame=u32", &handler, &dialled, &conn), 0);
		if (i == 1)
			tn_conn_detach(conn); /* with nothing to send: nobody hears of it */
		else
			assert_int_equal(tn_send(conn, "twice", 5), 0);
	}
	th_until(loop, served.msgs == 2 && dialled.msgs == 2);
	tn_server_close(server, 1000, NULL, NULL);
	th_until(loop, tn_loop_step(loop, 1) == 0);
	tn_loop_free(loop);
	assert_int_equal(dialled.closes, 0);
	assert_true(served.closes <= 1); /* the one that said nothing, if it was served at all */
}

/* ---- sending by other names ---- */

static void test_pieces_and_values(void **state)
{
	char first[] = "{\"a\"", rest[] = ":1}";
	const struct iovec iov[2] = {{.iov_base = first, .iov_len = 4}, {.iov_base = rest, .iov_len = 3}};
	struct tn_value *map = tn_value_new_map(NULL);
	struct pair p = {0};

	(void)state;
	pair_open(&p, "?format=json");
	assert_int_equal(tn_value_put(map, "b", tn_value_new_int(map, 22)), 0);
	assert_int_equal(tn_sendv(p.served, iov, 2), 0);
	assert_int_equal(tn_send_value(p.served, map), 0);
	th_until(p.loop, p.msgs == 2);
	assert_int_equal(p.bytes, strlen("{\"a\":1}") + strlen("{\"b\":22}"));
	tn_value_free(map);
	pair_end(&p);
}

#define T(test) cmocka_unit_test_setup_teardown(test, th_setup, th_teardown)

static const struct CMUnitTest tests[] = {
	T(test_threads_send_in_order),
	T(test_threads_are_held_back),
	T(test_slow_peer),
	T(test_waiting_for_oneself),
	T(test_waiting_while_the_loop_is_freed),
	T(test_messages_that_cannot_be_sent),
	T(test_long_and_empty_messages),
	T(test_before_it_is_open),
	T(test_shared_messages),
	T(test_calls_stand_in_order),
	T(test_close_comes_behind_what_was_sent),
	T(test_abort_waits_for_nothing),
	T(test_handle_outlives_its_connection),
	T(test_last_reference_on_the_way),
	T(test_handle_outlives_its_loop),
	T(test_release),
	T(test_ended_peer_gets_what_waits),
	T(test_datagram_server),
	T(test_closes_at_random),
	T(test_another_handler),
	T(test_detached),
	T(test_detached_inside),
	T(test_pieces_and_values),
};

int main(int argc, char **argv)
{
	return th_main(argc, argv, "handle", tests, sizeof(tests) / sizeof(tests[0]));
}
