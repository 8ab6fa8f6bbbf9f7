/*
 * A loop inside another one: that whoever keeps to the rule of tenon.h misses nothing. The other loop is poll(2), and
 * it steps only when the rule says so. How late something is, is counted in its turns.
 */
#include "harness.h"

#include "base/clock.h"
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the other loop ---- */

static bool is_exact(void)
{
	return th_is_uring() || th_is_epoll();
}

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static bool is_due(const struct tn_loop *loop)
{
	uint64_t deadline = tn_loop_deadline(loop);

	return deadline != UINT64_MAX && deadline <= tni_clock_ns();
}

/* Waits for `most_ms` at most, and steps if that is due. Returns what the step did; -1: there was none. */
static int turn(struct tn_loop *loop, int most_ms)
{
	int timeout_ms = tn_loop_timeout_ms(loop), rc;
	struct pollfd p = {.fd = tn_loop_fd(loop), .events = POLLIN};

	assert_true(p.fd >= 0);
	if (timeout_ms < 0 || timeout_ms > most_ms)
		timeout_ms = most_ms;
	if (poll(&p, 1, timeout_ms) <= 0 && !is_due(loop))
		return -1;
	assert_int_equal(p.revents & ~POLLIN, 0);
	rc = tn_loop_step(loop, 0);
	assert_true(rc >= 0);
	return rc;
}

#define until(loop, cond)                                                          \
	do {                                                                       \
		uint64_t th_deadline = th_now_ms() + TH_PATIENCE_MS;               \
		while (!(cond)) {                                                  \
			turn((loop), 1000);                                        \
			th_check_deadline(th_deadline, #cond, __FILE__, __LINE__); \
		}                                                                  \
	} while (0)

/* Nothing is to be done any more: the next wait is a sleep. */
static void quiet(struct tn_loop *loop)
{
	for (int i = 0; !is_exact() && i < 100; i++)
		turn(loop, 0);
	while (is_exact() && (is_due(loop) || is_readable(tn_loop_fd(loop))))
		turn(loop, 0);
}

/* A turn that ends by itself, and one more, are enough for it. */
#define soon(loop, cond)                                                      \
	do {                                                                  \
		for (int th_i = 0; is_exact() && !(cond) && th_i < 2; th_i++) \
			if (turn((loop), TH_PATIENCE_MS) < 0)                 \
				fail_msg("no wake for: %s", #cond);           \
		if (is_exact() && !(cond))                                    \
			fail_msg("late: %s", #cond);                          \
		until((loop), cond);                                          \
	} while (0)

/* ---- what lives on the loop ---- */

enum { TCP, UNIX, UDP, NCLIENTS };

struct world {
	struct tn_loop *loop;
	struct tn_server *servers[NCLIENTS];
	int clients[NCLIENTS]; /* plain sockets */
	int counter;           /* an eventfd that the loop polls */
	struct tn_poll *poll;
	unsigned opens, msgs, ends, closes, calls, drains;
	struct tn_conn *last;
};

static void on_open(struct tn_conn *conn, void *arg)
{
	struct world *w = arg;

	w->last = conn;
	w->opens++;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct world *w = arg;

	w->msgs += (unsigned)msg->len;
	if (tn_reply(conn, msg, msg->data, msg->len) < 0)
		fail_msg("%s", tn_errmsg());
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct world *)arg)->drains++;
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err;
	((struct world *)arg)->closes++;
}

static void count(void *arg)
{
	++*(unsigned *)arg;
}

static void read_counter(int revents, void *arg)
{
	struct world *w = arg;
	uint64_t n;

	assert_int_equal(revents, POLLIN);
	assert_int_equal(read(w->counter, &n, sizeof(n)), sizeof(n));
	w->calls += (unsigned)n;
}

static const struct tn_handler handler = {
	.on_open = on_open, .on_msg = on_msg, .on_drain = on_drain, .on_close = on_close};

static int dial_plain(struct world *w, int which)
{
	struct tn_place place;
	int fd;

	assert_int_equal(tn_url_place(tn_server_url(w->servers[which], 0), &place), 0);
	fd = socket(tn_addr_sockaddr(&place.addrs[0])->sa_family, place.type | SOCK_CLOEXEC, place.protocol);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, tn_addr_sockaddr(&place.addrs[0]), place.addrs[0].len), 0);
	return fd;
}

static void build(struct world *w)
{
	char path[128];

	*w = (struct world){.loop = th_loop(), .counter = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	snprintf(path, sizeof(path), "unix:%s/sock?queue=64KiB", th_dir);
	assert_int_equal(tn_serve(w->loop, "tcp://127.0.0.1:0", &handler, w, &w->servers[TCP]), 0);
	assert_int_equal(tn_serve(w->loop, path, &handler, w, &w->servers[UNIX]), 0);
	assert_int_equal(tn_serve(w->loop, "udp://127.0.0.1:0", &handler, w, &w->servers[UDP]), 0);
	assert_int_equal(tn_poll_events(w->loop, w->counter, POLLIN, read_counter, w, &w->poll), 0);
	until(w->loop, w->opens == 1); /* the datagram socket */
	for (int i = 0; i < NCLIENTS; i++) {
		unsigned opens = w->opens + (i != UDP);

		quiet(w->loop);
		w->clients[i] = dial_plain(w, i);
		soon(w->loop, w->opens == opens);
	}
}

static void wreck(struct world *w)
{
	for (int i = 0; i < NCLIENTS; i++)
		close(w->clients[i]);
	close(w->counter);
	tn_loop_free(w->loop);
}

static void say(struct world *w, int which, const char *text)
{
	ssize_t len = (ssize_t)strlen(text);

	assert_int_equal(send(w->clients[which], text, (size_t)len, 0), len);
}

/* All of it has come back: what the loop sends in a turn leaves in that turn. */
static void hear(struct world *w, int which, size_t len)
{
	char bytes[64];
	ssize_t n;

	for (size_t got = 0; got < len; got += (size_t)n) {
		until(w->loop, is_exact() || is_readable(w->clients[which]));
		n = recv(w->clients[which], bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n <= 0)
			fail_msg("client %d has not been answered: %s", which, strerror(errno));
	}
}

static void *post_one(void *arg)
{
	struct world *w = arg;

	return tn_loop_post(w->loop, count, &w->calls) < 0 ? w : NULL;
}

static void post_from_a_thread(struct world *w)
{
	pthread_t thread;
	void *failed;

	assert_int_equal(pthread_create(&thread, NULL, post_one, w), 0);
	pthread_join(thread, &failed);
	assert_null(failed);
}

/* ---- no wake is missed ---- */

static uint64_t draw(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return *seed >> 33;
}

/* One thing that happens while the other loop sleeps. */
static void happen(struct world *w, unsigned what)
{
	unsigned msgs = w->msgs, opens = w->opens, closes = w->closes, calls = w->calls;
	uint64_t n = 3;
	int fd;

	switch (what) {
	case TCP:
	case UNIX:
	case UDP:
		say(w, (int)what, "hello");
		soon(w->loop, w->msgs == msgs + 5);
		hear(w, (int)what, 5);
		break;
	case 3:
		fd = dial_plain(w, UNIX);
		soon(w->loop, w->opens == opens + 1);
		quiet(w->loop);
		close(fd);
		soon(w->loop, w->closes == closes + 1);
		break;
	case 4:
		assert_int_equal(write(w->counter, &n, sizeof(n)), sizeof(n));
		soon(w->loop, w->calls == calls + 3);
		break;
	case 5:
		post_from_a_thread(w);
		soon(w->loop, w->calls == calls + 1);
		break;
	default: /* several at once */
		say(w, TCP, "a");
		say(w, UDP, "b");
		say(w, UNIX, "c");
		post_from_a_thread(w);
		soon(w->loop, w->msgs == msgs + 3 && w->calls == calls + 1);
		hear(w, TCP, 1);
		hear(w, UDP, 1);
		hear(w, UNIX, 1);
		break;
	}
}

static void play(bool spins, bool sleeps)
{
	uint64_t seed = 7;
	struct world w;

	build(&w);
	if (!spins)
		w.loop->spin.max_ns = 0;
	for (int i = 0; i < (is_exact() ? 600 : 50); i++) {
		if (sleeps)
			quiet(w.loop);
		happen(&w, (unsigned)(draw(&seed) % 7));
	}
	wreck(&w);
}

static void test_no_wake_is_missed(void **state)
{
	(void)state;
	play(false, true);
	play(false, false);
	play(true, true);
	play(true, false);
}

/* A queue that was full goes on as soon as its reader reads. */
static void test_room_to_send(void **state)
{
	static char bytes[64 * 1024];
	struct world w;
	ssize_t n;
	size_t sent = 0, got = 0;
	int rc;

	(void)state;
	build(&w);
	close(dial_plain(&w, UNIX)); /* so that `last` is another one's for a while */
	until(w.loop, w.closes == 1);
	close(w.clients[UNIX]);
	until(w.loop, w.closes == 2);
	w.clients[UNIX] = dial_plain(&w, UNIX);
	until(w.loop, w.opens == 5);
	for (int round = 0; round < 20; round++) {
		unsigned drains = w.drains;

		do { /* from outside of the loop's callbacks */
			rc = tn_send(w.last, bytes, sizeof(bytes));
			assert_true(rc >= 0);
			sent += sizeof(bytes);
			quiet(w.loop);
		} while (rc == 0 || tn_conn_queued(w.last) < 64 * 1024);
		assert_int_equal(w.drains, drains);
		while (w.drains == drains || got < sent) {
			while ((n = recv(w.clients[UNIX], bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
				got += (size_t)n;
			if (got < sent && turn(w.loop, TH_PATIENCE_MS) < 0)
				fail_msg("no wake for room: %zu of %zu", got, sent);
			if (got == sent && is_exact())
				soon(w.loop, w.drains > drains);
			else if (got == sent)
				until(w.loop, w.drains > drains);
		}
	}
	wreck(&w);
}

/* What is called outside of the loop's callbacks and leaves something to be done makes it due. */
static void test_calls_from_outside(void **state)
{
	struct tn_timer *timer;
	unsigned fired = 0;
	struct world w;
	struct tn_conn *conn;

	(void)state;
	build(&w);
	for (int i = 0; i < 50; i++) {
		unsigned closes = w.closes, opens = w.opens, calls = w.calls;

		quiet(w.loop);
		assert_int_equal(tn_dial(w.loop, tn_server_url(w.servers[TCP], 0), &handler, &w, &conn), 0);
		until(w.loop, w.opens == opens + 2);
		quiet(w.loop);
		tn_close(conn);
		until(w.loop, w.closes == closes + 2);
		quiet(w.loop);
		assert_int_equal(tn_loop_post(w.loop, count, &w.calls), 0);
		soon(w.loop, w.calls == calls + 1);
		quiet(w.loop);
		assert_int_equal(tn_timer_start(w.loop, 0, count, &fired, NULL), 0);
		soon(w.loop, fired == 1);
		assert_int_equal(tn_timer_repeat(w.loop, 2000000, 0, count, &fired, &timer), 0);
		assert_in_range(tn_loop_deadline(w.loop), 0, tni_clock_ns() + 2000000);
		assert_in_range(tn_loop_timeout_ms(w.loop), 0, 2);
		until(w.loop, fired == 2);
		tn_timer_stop(timer);
		fired = 0;
	}
	quiet(w.loop);
	for (int i = 0; i < NCLIENTS; i++)
		tn_server_close(w.servers[i], 0, count, &fired);
	tn_poll_stop(w.poll);
	until(w.loop, fired == 3);
	wreck(&w);
}

/* How many descriptors another program would get. */
static unsigned inheritable(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++) {
		int flags = fcntl(fd, F_GETFD);

		n += flags >= 0 && !(flags & FD_CLOEXEC);
	}
	return n;
}

static void test_programs_inherit_nothing(void **state)
{
	unsigned before = inheritable();
	struct tn_loop *loop = th_loop();

	(void)state;
	assert_true(tn_loop_fd(loop) >= 0);
	assert_int_equal(inheritable(), before);
	tn_loop_free(loop);
}

/* Nothing is left, which is no end: what comes later is served. */
static void test_nothing_left(void **state)
{
	struct tn_loop *loop = th_loop();
	unsigned fired = 0;
	int fd = tn_loop_fd(loop);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(tn_loop_fd(loop), fd);
	for (int i = 0; i < 3; i++) {
		quiet(loop);
		assert_true(tn_loop_deadline(loop) == UINT64_MAX);
		assert_int_equal(tn_loop_timeout_ms(loop), -1);
		assert_int_equal(tn_loop_step(loop, 0), 0);
		assert_int_equal(tn_timer_start(loop, 1, count, &fired, NULL), 0);
		until(loop, fired == (unsigned)i + 1);
	}
	assert_int_equal(tn_timer_start(loop, UINT64_MAX, count, &fired, NULL), 0);
	assert_int_equal(tn_loop_timeout_ms(loop), -1);
	assert_int_equal(tn_timer_start(loop, 1ULL << 40, count, &fired, NULL), 0);
	assert_int_equal(tn_loop_timeout_ms(loop), INT32_MAX);
	tn_loop_free(loop);
}

/* ---- who must not ---- */

struct trespass {
	struct tn_loop *loop;
	int step, run, fd;
	char why[200];
};

static void *trespass(void *arg)
{
	struct trespass *t = arg;

	t->fd = tn_loop_fd(t->loop);
	t->run = tn_loop_run(t->loop);
	t->step = tn_loop_step(t->loop, 0);
	snprintf(t->why, sizeof(t->why), "%s", tn_errmsg());
	return NULL;
}

static void *free_it(void *arg)
{
	tn_loop_free(arg);
	return NULL;
}

static void test_a_second_thread(void **state)
{
	struct world w;
	struct trespass t;
	pthread_t thread;

	(void)state;
	build(&w);
	t.loop = w.loop;
	assert_int_equal(pthread_create(&thread, NULL, trespass, &t), 0);
	pthread_join(thread, NULL);
	assert_int_equal(t.fd, TN_ESTATE);
	assert_int_equal(t.run, TN_ESTATE);
	assert_int_equal(t.step, TN_ESTATE);
	assert_non_null(strstr(t.why, "another thread"));
	happen(&w, TCP);                   /* nothing has changed for who may */
	if (!strstr(th_engine, "uring")) { /* a ring is one thread's anyway */
		assert_int_equal(pthread_create(&thread, NULL, free_it, w.loop), 0);
		pthread_join(thread, NULL);
		w.loop = NULL;
	}
	wreck(&w);
}

static void step_inside(void *arg)
{
	struct trespass *t = arg;

	t->fd = tn_loop_fd(t->loop);
	t->step = tn_loop_step(t->loop, 0);
	t->run = tn_loop_run(t->loop);
}

/* Two loops of one thread that both watch it: what one has handled the other does not find. And none steps inside a
 * callback. */
static void test_two_embedders(void **state)
{
	struct trespass t = {0};
	struct world w;

	(void)state;
	build(&w);
	for (int i = 0; i < 20; i++) {
		unsigned msgs = w.msgs;

		quiet(w.loop);
		say(&w, TCP, "hello");
		assert_true(is_readable(tn_loop_fd(w.loop)));
		assert_int_equal(tn_loop_step(w.loop, 0), 1);
		assert_int_equal(tn_loop_step(w.loop, 0), 1);
		until(w.loop, w.msgs == msgs + 5);
		hear(&w, TCP, 5);
	}
	t.loop = w.loop;
	assert_int_equal(tn_timer_start(w.loop, 0, step_inside, &t, NULL), 0);
	until(w.loop, t.fd);
	assert_int_equal(t.fd, tn_loop_fd(w.loop));
	assert_int_equal(t.step, TN_ESTATE);
	assert_int_equal(t.run, TN_ESTATE);
	wreck(&w);
}

/* It may be run for a while as well, and stopped; embedded again it misses nothing. */
static void test_run_and_embedded_in_turn(void **state)
{
	struct world w;

	(void)state;
	build(&w);
	for (int i = 0; i < 20; i++) {
		unsigned msgs = w.msgs;

		quiet(w.loop);
		say(&w, UNIX, "hello");
		tn_loop_stop(w.loop);
		assert_int_equal(tn_loop_run(w.loop), 0);
		soon(w.loop, w.msgs == msgs + 5);
		hear(&w, UNIX, 5);
		quiet(w.loop);
		happen(&w, (unsigned)i % 3);
	}
	wreck(&w);
}

static void read_and_stop(int revents, void *arg)
{
	struct world *w = arg;

	read_counter(revents, w);
	tn_loop_stop(w->loop);
}

static void *write_one(void *arg)
{
	uint64_t one = 1;

	usleep(10000);
	return write(*(int *)arg, &one, sizeof(one)) == sizeof(one) ? NULL : arg;
}

/* While it spins instead of sleeping, a run of an embedded loop sees all that it polls. */
static void test_run_that_spins(void **state)
{
	struct tn_poll *poll;
	pthread_t thread;
	struct world w;
	void *failed;

	(void)state;
	build(&w);
	tn_poll_stop(w.poll);
	assert_int_equal(tn_poll_events(w.loop, w.counter, POLLIN, read_and_stop, &w, &poll), 0);
	quiet(w.loop);
	w.loop->spin = (struct tni_spin){.max_ns = 1000 * TNI_NS_PER_S, .credit = 100};
	assert_int_equal(pthread_create(&thread, NULL, write_one, &w.counter), 0);
	assert_int_equal(tn_loop_run(w.loop), 0);
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(w.calls, 1);
	wreck(&w);
}

/* When all connections have ended, however they did, a step says that nothing is left. */
static void test_nothing_left_of_connections(void **state)
{
	struct world w;

	(void)state;
	build(&w);
	for (int i = 0; i < NCLIENTS; i++) {
		tn_server_close(w.servers[i], 0, NULL, NULL);
		if (i == TCP) /* what it was sent is still on its way when it is told to end */
			say(&w, i, "hello");
	}
	tn_poll_stop(w.poll);
	until(w.loop, w.closes == w.opens);
	for (int i = 0; i < 50 && tn_loop_step(w.loop, 1) > 0; i++)
		;
	assert_int_equal(tn_loop_step(w.loop, 0), 0);
	wreck(&w);
}

/* Without a descriptor for it there is none, and the loop is as it was: what it polled it polls. */
static void test_no_descriptor_is_left(void **state)
{
	struct world w = {.loop = th_loop(), .counter = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	struct rlimit before, limit;
	uint64_t one = 1;

	(void)state;
	assert_int_equal(tn_poll_events(w.loop, w.counter, POLLIN, read_counter, &w, &w.poll), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (int left = 0; left < 2; left++) {
		int next = dup(w.counter), rc;

		close(next);
		limit = (struct rlimit){.rlim_cur = (rlim_t)(next + left), .rlim_max = before.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		rc = tn_loop_fd(w.loop);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		if (rc >= 0) /* it had one already */
			break;
		assert_int_equal(rc, -EMFILE);
		assert_int_equal(fcntl(next, F_GETFD), -1); /* nothing stays open */
		assert_int_equal(write(w.counter, &one, sizeof(one)), sizeof(one));
		th_until(w.loop, w.calls == (unsigned)left + 1);
	}
	w.calls = 0;
	assert_true(tn_loop_fd(w.loop) >= 0);
	quiet(w.loop);
	assert_int_equal(write(w.counter, &one, sizeof(one)), sizeof(one));
	until(w.loop, w.calls == 1);
	close(w.counter);
	tn_loop_free(w.loop);
}

/* ---- threads ---- */

#define POSTERS 4
#define POSTS 500

static void *post_many(void *arg)
{
	struct world *w = arg;

	for (int i = 0; i < POSTS; i++) {
		if (tn_loop_post(w->loop, count, &w->calls) < 0)
			return w;
		if (i % 16 == 0)
			usleep(200);
	}
	return NULL;
}

static void test_posts_of_other_threads(void **state)
{
	pthread_t threads[POSTERS];
	struct world w;
	void *failed;

	(void)state;
	build(&w);
	for (int i = 0; i < POSTERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_many, &w), 0);
	until(w.loop, w.calls == POSTERS * POSTS);
	for (int i = 0; i < POSTERS; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	wreck(&w);
}

/* ---- a tenon loop inside a tenon loop ---- */

static void step_inner(int revents, void *arg)
{
	(void)revents;
	assert_true(tn_loop_step(arg, 0) >= 0);
}

static void test_a_loop_inside_a_loop(void **state)
{
	struct tn_loop *outer = th_loop();
	struct tn_poll *poll;
	struct world w;

	(void)state;
	build(&w);
	quiet(w.loop);
	assert_int_equal(tn_poll_events(outer, tn_loop_fd(w.loop), POLLIN, step_inner, w.loop, &poll), 0);
	for (int i = 0; i < 100; i++) {
		unsigned msgs = w.msgs;

		say(&w, i % NCLIENTS, "hello");
		while (w.msgs < msgs + 5) {
			uint64_t deadline = tn_loop_deadline(w.loop);

			assert_true(tn_loop_step_until(outer, deadline) >= 0);
			if (is_due(w.loop))
				assert_true(tn_loop_step(w.loop, 0) >= 0);
		}
		until(w.loop, !is_due(w.loop));
		hear(&w, i % NCLIENTS, 5);
	}
	tn_poll_stop(poll);
	tn_loop_free(outer);
	wreck(&w);
}

/* ---- what keeps a loop running ---- */

static void test_what_does_not_keep_a_loop_running(void **state)
{
	static const struct tn_handler quiet_one = {.on_open = on_open, .on_close = on_close};
	struct tn_loop *loop = th_loop(), *loops[2] = {loop, th_loop()};
	struct world w = {.loop = loop, .counter = -1};
	struct tn_server *server, *wide;
	struct tn_timer *timer;
	struct tn_conn *conn;
	struct tn_poll *poll;
	unsigned fired = 0;
	int pair[2];
	char url[32];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_serve(loop, "udp://127.0.0.1:0", &handler, &w, &server), 0);
	assert_int_equal(tn_dial(loop, url, &quiet_one, &w, &conn), 0);
	assert_int_equal(tn_poll_events(loop, pair[1], POLLIN, read_counter, &w, &poll), 0);
	assert_int_equal(tn_timer_repeat(loop, 3600 * TNI_NS_PER_S, 0, count, &fired, &timer), 0);
	for (int i = 0; i < 2; i++) {
		tn_conn_keep_loop(conn, false);
		tn_poll_keep_loop(poll, false);
		tn_timer_keep_loop(timer, false);
		assert_int_equal(tn_server_keep_loop(server, false), 0);
	}
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(tn_loop_step(loop, -1), 0);
	assert_int_equal(loop->alive, 0);
	/* Each of them keeps it again. */
	for (int i = 0; i < 2; i++)
		tn_conn_keep_loop(conn, true);
	assert_int_equal(tn_loop_step(loop, 0), 1);
	tn_conn_keep_loop(conn, false);
	tn_poll_keep_loop(poll, true);
	assert_int_equal(tn_loop_step(loop, 0), 1);
	tn_poll_keep_loop(poll, false);
	tn_timer_keep_loop(timer, true);
	assert_int_equal(tn_loop_step(loop, 0), 1);
	tn_timer_again(timer, UINT64_MAX, 0); /* which is not armed */
	assert_int_equal(tn_loop_step(loop, 0), 0);
	assert_int_equal(tn_server_keep_loop(server, true), 0);
	assert_int_equal(tn_loop_step(loop, 0), 1);
	assert_int_equal(loop->alive, 2); /* the server and its socket */
	assert_int_equal(tn_server_keep_loop(server, false), 0);
	assert_int_equal(tn_loop_step(loop, 0), 0);
	assert_int_equal(tn_serve_loops(loops, 2, "tcp://127.0.0.1:0", &handler, &w, &wide), 0);
	assert_int_equal(tn_server_keep_loop(wide, false), -EOPNOTSUPP);
	assert_non_null(strstr(tn_errmsg(), "several loops"));
	tn_server_close(wide, 0, NULL, NULL);
	assert_int_equal(tn_loop_run(loops[1]), 0);
	assert_int_equal(tn_loop_run(loop), 0); /* and nothing of it has been counted twice, or not at all */
	tn_conn_keep_loop(conn, true);
	tn_timer_again(timer, 1, 0);
	tn_timer_stop(timer);
	tn_poll_stop(poll);
	tn_abort(conn, 0);
	assert_int_equal(tn_server_keep_loop(server, true), 0); /* otherwise nobody would wait for its end */
	tn_server_close(server, 0, NULL, NULL);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(loop->alive, 0);
	assert_int_equal(w.closes, 2);
	close(pair[1]);
	tn_loop_free(loop);
	tn_loop_free(loops[1]);
}

/* A dialled connection that is not open yet. */
static void test_dialling_in_the_background(void **state)
{
	struct tn_loop *loop = th_loop();
	struct world w = {.loop = loop};
	struct tn_conn *conn;
	char url[64];
	int port, listener = th_tcp_listener(1, &port);

	(void)state;
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", port);
	assert_int_equal(tn_dial(loop, url, &handler, &w, &conn), 0);
	tn_conn_keep_loop(conn, false);
	assert_int_equal(loop->alive, 0);
	assert_int_equal(tn_loop_run(loop), 0);
	tn_conn_keep_loop(conn, true);
	th_until(loop, w.opens == 1);
	tn_loop_free(loop);
	assert_int_equal(w.closes, 1);
	close(listener);
}

/* ---- timers ---- */

struct ticker {
	struct tn_timer *timer;
	unsigned fired, stop_at, again_at;
	uint64_t then_ns;
};

static void tick(void *arg)
{
	struct ticker *t = arg;

	t->fired++;
	if (t->fired == t->again_at)
		tn_timer_again(t->timer, t->then_ns, 0);
	if (t->fired == t->stop_at) {
		tn_timer_stop(t->timer);
		t->timer = NULL;
	}
}

static void test_repeating_timers(void **state)
{
	struct tn_loop *loop = th_loop();
	struct ticker t = {.stop_at = 5};
	uint64_t first, deadline;

	(void)state;
	/* It keeps the loop running until it is stopped, here by itself. */
	assert_int_equal(tn_timer_repeat(loop, 0, 1, tick, &t, &t.timer), 0);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(t.fired, 5);
	/* Times that were missed are left out, and the series goes on as it was. */
	t = (struct ticker){0};
	assert_int_equal(tn_timer_repeat(loop, TNI_NS_PER_MS, TNI_NS_PER_MS, tick, &t, &t.timer), 0);
	first = tn_loop_deadline(loop);
	if (!th_is_sim())
		assert_in_range(first, 1, tni_clock_ns() + TNI_NS_PER_MS);
	first = tni_timers_next(&loop->timers);
	usleep(20000);
	assert_int_equal(tn_loop_step(loop, 0), 1);
	assert_int_equal(t.fired, 1);
	deadline = tni_timers_next(&loop->timers);
	assert_true(deadline >= first + 19 * TNI_NS_PER_MS);
	assert_int_equal((deadline - first) % TNI_NS_PER_MS, 0);
	/* Once more, and then not any more, until it is armed again. */
	tn_timer_again(t.timer, 500, 0);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(t.fired, 2);
	tn_timer_again(t.timer, UINT64_MAX, 1);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(t.fired, 2);
	t.again_at = 3;
	t.then_ns = 100;
	tn_timer_again(t.timer, 1, 0);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(t.fired, 4);
	tn_timer_stop(t.timer);
	/* One that has never been armed. */
	assert_int_equal(tn_timer_repeat(loop, UINT64_MAX, 5, tick, &t, &t.timer), 0);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(t.fired, 4);
	tn_loop_free(loop); /* and frees it */
}

static void disarm_other(void *arg)
{
	struct ticker *other = arg;

	tn_timer_again(other->timer, UINT64_MAX, 0);
}

/* One that is due, in the turn in which another one re-arms it, does not fire for what it was armed for before. */
static void test_rearmed_while_due(void **state)
{
	struct tn_loop *loop = th_loop();
	struct ticker t = {0};
	struct tn_timer *first;

	(void)state;
	assert_int_equal(tn_timer_repeat(loop, 1, 0, disarm_other, &t, &first), 0);
	assert_int_equal(tn_timer_repeat(loop, 1, 0, tick, &t, &t.timer), 0);
	usleep(1000);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(t.fired, 0);
	tn_loop_free(loop);
}

/* ---- polls ---- */

struct seen {
	struct tn_poll *poll;
	unsigned calls;
	int revents, stop_at, then;
};

static void see(int revents, void *arg)
{
	struct seen *s = arg;

	s->calls++;
	s->revents = revents;
	if (s->then >= 0)
		assert_int_equal(tn_poll_change(s->poll, s->then), 0);
	if (s->calls == (unsigned)s->stop_at) {
		tn_poll_stop(s->poll);
		s->poll = NULL;
	}
}

static void test_polls_are_level_triggered(void **state)
{
	struct tn_loop *loop = th_loop();
	struct seen s = {.then = -1};
	unsigned calls;
	int pair[2];
	char byte;

	(void)state;
	th_pair(SOCK_STREAM, pair);
	assert_int_equal(tn_poll_events(loop, pair[0], POLLPRI, see, &s, &s.poll), -EINVAL);
	assert_int_equal(tn_poll_events(loop, pair[0], POLLIN, see, &s, &s.poll), 0);
	assert_int_equal(tn_poll_change(s.poll, POLLIN | POLLHUP), -EINVAL);
	th_turn_for(loop, 20);
	assert_int_equal(s.calls, 0);
	assert_int_equal(write(pair[1], "x", 1), 1);
	th_until(loop, s.calls >= 5); /* nobody reads it */
	assert_int_equal(s.revents, POLLIN);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	calls = s.calls;
	th_turn_for(loop, 20);
	assert_int_equal(s.calls, calls);
	/* Both, of which one holds; nothing at all; and what is asked for from within. */
	assert_int_equal(tn_poll_change(s.poll, POLLIN | POLLOUT), 0);
	th_until(loop, s.calls >= calls + 3);
	assert_int_equal(s.revents, POLLOUT);
	assert_int_equal(write(pair[1], "x", 1), 1);
	th_until(loop, s.revents == (POLLIN | POLLOUT));
	s.then = 0;
	calls = s.calls;
	th_until(loop, s.calls > calls);
	th_turn_for(loop, 20);
	assert_int_equal(s.calls, calls + 1);
	s.then = -1;
	assert_int_equal(tn_poll_change(s.poll, POLLIN), 0);
	th_until(loop, s.calls >= calls + 3);
	assert_int_equal(s.revents, POLLIN);
	close(pair[1]);
	th_until(loop, s.revents == (POLLIN | POLLHUP));
	s.stop_at = (int)s.calls + 1;
	th_until(loop, !s.poll);
	close(pair[0]);
	tn_loop_free(loop);
}

/* A queue that is full, and has room again. */
static void test_poll_for_room(void **state)
{
	static char bytes[256 * 1024];
	struct tn_loop *loop = th_loop();
	struct seen s = {.then = -1};
	struct tn_poll *edge;
	unsigned fired = 0, calls;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	for (int i = 0; i < 2; i++)
		th_set_nonblock(pair[i]);
	assert_int_equal(tn_poll_start(loop, pair[0], count, &fired, &edge), 0);
	assert_int_equal(tn_poll_change(edge, POLLOUT), -EINVAL);
	assert_int_equal(tn_poll_events(loop, pair[0], POLLOUT, see, &s, &s.poll), 0);
	for (int round = 0; round < 5; round++) {
		calls = s.calls;
		th_until(loop, s.calls > calls + 1);
		assert_int_equal(s.revents, POLLOUT);
		while (write(pair[0], bytes, sizeof(bytes)) > 0)
			;
		th_turn_for(loop, 2);
		calls = s.calls;
		th_turn_for(loop, 10);
		assert_int_equal(s.calls, calls);
		while (read(pair[1], bytes, sizeof(bytes)) > 0)
			;
		th_until(loop, s.calls > calls);
	}
	assert_int_equal(fired, 0);
	tn_poll_stop(s.poll);
	tn_poll_stop(edge);
	close(pair[0]);
	close(pair[1]);
	tn_loop_free(loop);
}

/* The loop sleeps while an embedded poll has nothing to tell, and wakes when it has. */
static void test_polls_of_an_embedded_loop(void **state)
{
	struct tn_loop *loop = th_loop();
	struct seen s = {.then = -1};
	char byte;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	assert_int_equal(tn_poll_events(loop, pair[0], POLLIN, see, &s, &s.poll), 0);
	for (unsigned i = 1; i <= 50; i++) {
		quiet(loop);
		s.calls = 0;
		assert_int_equal(write(pair[1], "x", 1), 1);
		soon(loop, s.calls);
		assert_int_equal(read(pair[0], &byte, 1), 1);
	}
	close(pair[0]);
	close(pair[1]);
	tn_loop_free(loop);
}

/* ---- paths whose way through the engine changes ---- */

/* A connection of the loop's and its plain peer. */
static int meet(struct world *w, const char *keys, struct tn_conn **conn)
{
	int port, listener = th_tcp_listener(1, &port), peer;
	unsigned opens = w->opens;
	char url[64];

	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d%s", port, keys);
	assert_int_equal(tn_dial(w->loop, url, &handler, w, conn), 0);
	peer = accept(listener, NULL, NULL);
	assert_true(peer >= 0);
	close(listener);
	until(w->loop, w->opens == opens + 1);
	return peer;
}

static void join_two(struct world *w, int peers[2])
{
	struct tn_conn *conns[2];

	*w = (struct world){.loop = th_loop()};
	assert_true(tn_loop_fd(w->loop) >= 0);
	for (int i = 0; i < 2; i++)
		peers[i] = meet(w, "", &conns[i]);
	assert_int_equal(tn_join(conns[0], conns[1]), 0);
}

static size_t take(int fd)
{
	static unsigned char bytes[1 << 20];
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	return n > 0 ? (size_t)n : 0;
}

/* What comes to a plain socket wakes no loop. */
static void take_all(struct world *w, int fd, size_t len)
{
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;

	for (size_t got = 0; (got += take(fd)) < len;) {
		turn(w->loop, 1);
		assert_int_equal(w->closes, 0);
		th_check_deadline(deadline, "all of it", __FILE__, __LINE__);
	}
}

/* So many pieces, each of which is read at once. */
static void pass(struct world *w, int from, int to, size_t len, int count)
{
	static unsigned char bytes[1 << 20];

	for (int i = 0; i < count; i++) {
		assert_int_equal(send(from, bytes, len, MSG_DONTWAIT), len);
		take_all(w, to, len);
	}
}

/* Nothing is read until nothing more can be sent; then all of it. */
static void fill_then_drain(struct world *w, int from, int to, size_t len)
{
	static unsigned char bytes[1 << 16];
	size_t sent = 0;

	for (int blocked = 0; blocked < 20;) {
		ssize_t n = send(from, bytes, len, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		blocked = n > 0 ? 0 : blocked + 1;
		turn(w->loop, 1);
	}
	take_all(w, to, sent);
}

/* A socket that splicing had watched from outside is watched there when it copies again. */
static void test_a_path_that_splices_for_a_while(void **state)
{
	struct world w;
	int peers[2];

	(void)state;
	join_two(&w, peers);
	assert_int_equal(setsockopt(peers[0], SOL_SOCKET, SO_RCVBUF, &(int){1 << 16}, sizeof(int)), 0);
	for (int round = 0; round < 2; round++) {
		pass(&w, peers[0], peers[1], 1 << 16, 100);
		pass(&w, peers[0], peers[1], 100, 60);
		for (int i = 0; i < 3; i++)
			fill_then_drain(&w, peers[1], peers[0], 4096);
	}
	close(peers[0]);
	close(peers[1]);
	tn_loop_free(w.loop);
}

/* The ring has no buffers for a receive that it was given before its socket was watched from outside. */
static void test_a_path_beside_one_that_takes_all_buffers(void **state)
{
	static unsigned char piece[4000];
	struct tn_conn *hog;
	struct world w;
	int peers[2], third;

	(void)state;
	join_two(&w, peers);
	fill_then_drain(&w, peers[0], peers[1], 1 << 16);
	third = meet(&w, "?frame=u32&max=8MiB", &hog);
	assert_int_equal(send(third, (unsigned char[]){0, 64, 0, 0}, 4, 0), 4);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(send(third, piece, sizeof(piece), 0), sizeof(piece));
		turn(w.loop, 2);
	}
	pass(&w, peers[1], peers[0], 100, 10);
	for (int i = 0; i < 2; i++)
		close(peers[i]);
	close(third);
	tn_loop_free(w.loop);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, th_setup, th_teardown)

static const struct CMUnitTest tests[] = {
	T(test_no_wake_is_missed),
	T(test_room_to_send),
	T(test_calls_from_outside),
	T(test_programs_inherit_nothing),
	T(test_nothing_left),
	T(test_a_second_thread),
	T(test_two_embedders),
	T(test_run_and_embedded_in_turn),
	T(test_nothing_left_of_connections),
	T(test_no_descriptor_is_left),
	T(test_run_that_spins),
	T(test_posts_of_other_threads),
	T(test_a_loop_inside_a_loop),
	T(test_what_does_not_keep_a_loop_running),
	T(test_dialling_in_the_background),
	T(test_repeating_timers),
	T(test_rearmed_while_due),
	T(test_polls_are_level_triggered),
	T(test_poll_for_room),
	T(test_polls_of_an_embedded_loop),
	T(test_a_path_that_splices_for_a_while),
	T(test_a_path_beside_one_that_takes_all_buffers),
};

int main(int argc, char **argv)
{
	return th_main(argc, argv, "embed", tests, sizeof(tests) / sizeof(tests[0]));
}
