/* Connections that are dialled again (key reconnect), and heartbeats (key heartbeat). */
#include "harness.h"

#include "../support/certs.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TEXT_MAX 512
#define RESTARTS 20

struct rig {
	struct tn_loop *loop;
	struct tn_server *server;
	char served[TEXT_MAX], dialled[TEXT_MAX];
	int served_opens, served_msgs, gone;
	/* the client */
	struct tn_conn *conn;
	uint64_t id;
	int opens, losses, failures, closes, drains, err;
	unsigned failed;
	uint32_t sent, seen;   /* messages, and the last number that came back */
	uint64_t acked, epoch; /* all that came back, and those since the last loss */
	uint64_t lost, told;   /* by what tn_loss says */
	uint64_t unsent;       /* likewise, bytes */
	size_t kept;           /* bytes that were queued between a loss and on_lost */
	uint64_t again_ns[8];
	bool talks;
};

/* ---- the server: sends back what comes ---- */

static void served_open(struct tn_conn *conn, void *arg)
{
	struct rig *r = arg;

	(void)conn;
	r->served_opens++;
}

static void served_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct rig *r = arg;

	r->served_msgs++;
	if (r->talks)
		assert_true(tn_forward(conn, msg) >= 0);
}

static void served_gone(void *arg)
{
	struct rig *r = arg;

	r->gone++;
}

static void start(struct rig *r)
{
	static const struct tn_handler handler = {.on_open = served_open, .on_msg = served_msg};

	assert_int_equal(tn_serve(r->loop, r->served, &handler, r, &r->server), 0);
}

static void cut(struct tn_conn *conn, void *arg)
{
	(void)arg;
	tn_abort(conn, -ECONNRESET);
}

/* `hard`: as if its process had been killed; otherwise it ends in good order. */
static void stop(struct rig *r, bool hard)
{
	int gone = r->gone;

	if (hard)
		tn_server_each(r->server, cut, NULL);
	tn_server_close(r->server, hard ? 0 : 5000, served_gone, r);
	th_until(r->loop, r->gone > gone);
	r->server = NULL;
}

/* ---- the client ---- */

static void on_open(struct tn_conn *conn, void *arg)
{
	struct rig *r = arg;

	assert_true(!r->conn || r->conn == conn);
	r->opens++;
}

/* Numbers only grow: nothing comes twice, or before what was sent earlier. */
static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct rig *r = arg;
	uint32_t number;

	(void)conn;
	if (msg->len != sizeof(number))
		return;
	memcpy(&number, msg->data, sizeof(number));
	assert_true(number > r->seen);
	r->seen = number;
	r->acked++;
	r->epoch++;
}

static void on_lost(struct tn_conn *conn, int err, const struct tn_loss *loss, void *arg)
{
	struct rig *r = arg;

	assert_true(err <= 0);
	assert_int_equal(tn_conn_id(conn), r->id);
	assert_int_equal(tn_conn_queued(conn), loss->was_open ? r->kept : tn_conn_queued(conn));
	if (r->failures + r->losses < 8)
		r->again_ns[r->failures + r->losses] = loss->again_ns;
	assert_int_equal(loss->failed == 0, loss->was_open);
	r->losses += loss->was_open;
	r->failures += !loss->was_open;
	r->failed = loss->failed;
	assert_true(loss->msgs >= (loss->was_open ? r->epoch : 0));
	r->lost += loss->msgs - r->epoch;
	r->told += loss->msgs;
	r->unsent += loss->unsent;
	r->epoch = 0;
	r->err = err;
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	struct rig *r = arg;

	(void)conn;
	r->drains++;
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct rig *r = arg;

	(void)conn;
	r->closes++;
	r->err = err;
	r->conn = NULL;
}

static const struct tn_handler client = {
	.on_open = on_open, .on_msg = on_msg, .on_drain = on_drain, .on_close = on_close, .on_lost = on_lost};

static void dial(struct rig *r)
{
	assert_int_equal(tn_dial(r->loop, r->dialled, &client, r, &r->conn), 0);
	r->id = tn_conn_id(r->conn);
}

static void say(struct rig *r, int count)
{
	while (count--) {
		uint32_t number = r->sent + 1;

		if (tn_send(r->conn, &number, sizeof(number)) >= 0)
			r->sent++;
	}
}

/* ---- set-up ---- */

static char certs_dir[64];

struct place {
	const char *scheme, *path, *keys; /* keys: of both ends */
	bool tls, file;
};

static const struct place places[] = {
	{.scheme = "tcp://127.0.0.1:", .path = "", .keys = "frame=u32"},
	{.scheme = "tls://127.0.0.1:", .path = "", .keys = "frame=u32", .tls = true},
	{.scheme = "ws://127.0.0.1:", .path = "/room", .keys = "kind=binary"},
	{.scheme = "unix:", .path = "", .keys = "frame=u32", .file = true},
	{.scheme = "unix-seqpacket:", .path = "", .keys = "queue=64KiB", .file = true},
};

static int free_port(void)
{
	int port, fd = th_tcp_listener(1, &port);

	close(fd);
	return port;
}

static void set_up(struct rig *r, const struct place *place, const char *keys)
{
	char where[TEXT_MAX / 4], cert[TEXT_MAX / 2] = "", ca[TEXT_MAX / 4] = "";

	*r = (struct rig){.loop = th_loop(), .talks = true};
	if (place->file)
		snprintf(where, sizeof(where), "%s%s/s", place->scheme, th_dir);
	else
		snprintf(where, sizeof(where), "%s%d%s", place->scheme, free_port(), place->path);
	if (place->tls) {
		snprintf(cert, sizeof(cert), "&cert=%1$s/peer.pem&key=%1$s/peer.key", certs_dir);
		snprintf(ca, sizeof(ca), "&ca=%s/ca.pem", certs_dir);
	}
	snprintf(r->served, sizeof(r->served), "%s?%s%s", where, place->keys, cert);
	snprintf(r->dialled, sizeof(r->dialled), "%s?%s%s%s", where, place->keys, ca, keys);
}

static void tear_down(struct rig *r)
{
	if (r->conn) {
		tn_close(r->conn);
		th_until(r->loop, r->closes == 1);
		assert_int_equal(r->err, 0);
	}
	if (r->server)
		stop(r, false);
	tn_loop_free(r->loop);
	assert_int_equal(r->closes, 1);
}

/* ---- tests ---- */

/*
 * A server that ends twenty times, killed or in good order, under traffic: each message has come back, or was told to
 * be lost, or is still to come. The last one does.
 */
static void test_all_is_acknowledged_or_lost(void **state)
{
	struct rig r;

	set_up(&r, *state, "&reconnect=1ms-4ms");
	start(&r);
	dial(&r);
	for (int round = 0; round < RESTARTS; round++) {
		uint64_t before = r.acked;

		th_until(r.loop, r.opens > round);
		say(&r, 20);
		th_until(r.loop, r.acked > before);
		say(&r, 20);
		stop(&r, round % 2);
		th_until(r.loop, r.losses > round);
		say(&r, 3); /* kept, whatever attempts fail meanwhile */
		start(&r);
	}
	th_until(r.loop, r.opens > RESTARTS && r.seen == r.sent);
	assert_int_equal(r.losses, RESTARTS);
	assert_int_equal(r.sent, r.acked + r.lost);
	assert_int_equal(r.told + r.epoch, r.sent);
	tear_down(&r);
}

static void hold(struct tn_conn *conn, void *arg)
{
	(void)arg;
	tn_pause(conn);
}

/* Sends until neither the queue nor the kernel takes more. */
static void fill(struct rig *r)
{
	static const char message[4096];

	for (int full = 0; full < 100; full++) {
		while (tn_send(r->conn, message, sizeof(message)) >= 0)
			full = 0;
		assert_true(tn_loop_step(r->loop, 0) >= 0);
	}
}

/* The peer takes nothing, and all queues on the way to it are full. */
static void set_up_full(struct rig *r, const struct place *place)
{
	set_up(r, place, "&reconnect=1ms-4ms&sndbuf=16KiB");
	start(r);
	dial(r);
	th_until(r->loop, r->opens == 1 && r->served_opens == 1);
	tn_server_each(r->server, hold, NULL);
	fill(r);
}

/* A peer that was reset while it took nothing: writing fails before the loss is told. */
static void test_what_was_queued_is_told(void **state)
{
	size_t queued;
	struct rig r;

	set_up_full(&r, *state);
	queued = tn_conn_queued(r.conn);
	assert_true(queued > 0);
	stop(&r, true);
	th_until(r.loop, r.losses == 1);
	assert_true(r.unsent > 0 && r.unsent <= queued);
	tear_down(&r);
}

static void finish(struct tn_conn *conn, void *arg)
{
	(void)arg;
	assert_int_equal(tn_finish(conn), 0);
}

/* The program ends it while the library is about to, since the peer has ended: that is for good, too. */
static void test_ended_while_it_ends(void **state)
{
	struct rig r;

	set_up_full(&r, *state);
	tn_server_each(r.server, finish, NULL);
	th_until(r.loop, tn_send(r.conn, "x", 1) == TN_ESTATE);
	assert_int_equal(tn_finish(r.conn), TN_ESTATE);
	stop(&r, true);
	th_until(r.loop, r.closes == 1);
	assert_int_equal(r.losses, 0);
	tear_down(&r);
}

/* Before the first connection too. */
static void test_kept_until_it_is_there(void **state)
{
	struct rig r;

	set_up(&r, *state, "&reconnect=1ms-4ms");
	dial(&r);
	say(&r, 10);
	th_until(r.loop, r.failures >= 3);
	start(&r);
	th_until(r.loop, r.seen == 10);
	assert_int_equal(r.acked, 10);
	assert_int_equal(r.opens, 1);
	tear_down(&r);
}

static int port_of(const struct rig *r)
{
	int port;

	assert_int_equal(sscanf(r->served, "%*[a-z]://127.0.0.1:%d", &port), 1);
	return port;
}

/* Listens where the server will be. */
static int listen_there(const struct rig *r)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	at.sin_port = htons((uint16_t)port_of(r));
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

enum spoiling { ENDS, RESETS, ANSWERS_503 };

/* A client that comes to somebody who does not want it. */
static void spoil(const struct rig *r, int listener, enum spoiling how)
{
	static const char sorry[] =
		"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	struct linger reset = {.l_onoff = how == RESETS};
	char request[4096];
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (how == ANSWERS_503) {
		th_until(r->loop, recv(fd, request, sizeof(request), MSG_DONTWAIT) > 0);
		assert_int_equal(send(fd, sorry, sizeof(sorry) - 1, MSG_NOSIGNAL), sizeof(sorry) - 1);
	}
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	close(fd);
}

/* An attempt that fails in its handshake loses nothing either, however it does. */
static void test_kept_by_handshakes_that_fail(void **state)
{
	for (enum spoiling how = ENDS; how <= ANSWERS_503; how++) {
		struct rig r;
		int listener;

		set_up(&r, *state, "&reconnect=1ms-4ms");
		listener = listen_there(&r);
		dial(&r);
		for (int round = 1; round <= 3; round++) {
			uint64_t deadline_ms = th_now_ms() + TH_PATIENCE_MS;
			size_t queued;

			say(&r, 10);
			queued = tn_conn_queued(r.conn);
			assert_true(queued >= 40 * (size_t)round);
			while (r.failures < round) {
				assert_true(tn_loop_step(r.loop, 5) >= 0);
				spoil(&r, listener, how);
				th_check_deadline(deadline_ms, "an attempt fails", __FILE__, __LINE__);
			}
			assert_int_equal(tn_conn_queued(r.conn), queued);
		}
		close(listener);
		start(&r);
		th_until(r.loop, r.seen == 30);
		assert_int_equal(r.acked, 30);
		assert_int_equal(r.opens, 1);
		assert_int_equal(r.told + r.unsent, 0);
		tear_down(&r);
	}
}

/* What waited is gone with the last of them. */
static void test_tries_in_handshakes(void **state)
{
	uint64_t deadline_ms = th_now_ms() + TH_PATIENCE_MS;
	struct rig r;
	int listener;

	set_up(&r, *state, "&reconnect=1ms-4ms&reconnect-tries=3");
	listener = listen_there(&r);
	dial(&r);
	say(&r, 10);
	while (!r.closes) {
		assert_true(tn_loop_step(r.loop, 5) >= 0);
		spoil(&r, listener, ANSWERS_503);
		th_check_deadline(deadline_ms, "it gives up", __FILE__, __LINE__);
	}
	close(listener);
	assert_int_equal(r.failures, 2);
	assert_int_equal(r.opens, 0);
	tear_down(&r);
}

static void test_bounded_while_away(void **state)
{
	struct rig r;
	char body[16384] = {0};
	int rc = 0, taken = 0, failures;

	set_up(&r, *state, "&reconnect=1ms-4ms&max=16KiB");
	start(&r);
	dial(&r);
	th_until(r.loop, r.opens == 1);
	stop(&r, true);
	th_until(r.loop, r.losses == 1);
	r.talks = false;
	while (taken < 1000 && (rc = tn_send(r.conn, body, sizeof(body))) >= 0)
		taken++;
	assert_int_equal(rc, TN_EFULL);
	assert_in_range(taken, 2, 64);
	failures = r.failures;
	th_until(r.loop, r.failures >= failures + 2);
	assert_int_equal(tn_send(r.conn, body, 1), TN_EFULL); /* a shorter one would leave a hole */
	assert_int_equal(r.drains, 0);
	start(&r);
	th_until(r.loop, r.served_msgs == taken && r.drains == 1);
	tear_down(&r);
}

static void test_tries(void **state)
{
	struct rig r;

	set_up(&r, *state, "&reconnect=2ms-8ms&reconnect-tries=5");
	dial(&r);
	th_until(r.loop, r.closes == 1);
	assert_true(r.err == -ECONNREFUSED || r.err == -ENOENT);
	assert_int_equal(r.failures, 4);
	assert_int_equal(r.failed, 4);
	for (int i = 0; i < 4; i++) {
		uint64_t most = i == 0 ? 2000000 : i == 1 ? 4000000 : 8000000;

		assert_in_range(r.again_ns[i], most / 2, most);
	}
	tear_down(&r);
}

/* In each state its user ends it: nothing comes after on_close, which comes once. */
static void test_ended_by_its_user(void **state)
{
	for (int how = 0; how < 6; how++) {
		struct rig r;

		set_up(&r, *state, how < 4 ? "&reconnect=1ms-4ms" : "&reconnect=1h-1h");
		if (how < 3)
			start(&r);
		dial(&r);
		th_until(r.loop, how < 3 ? r.opens == 1 : r.failures >= 1);
		if (how == 2)
			stop(&r, true);
		if (how == 1 || how == 5)
			tn_abort(r.conn, -EIO);
		else
			tn_close(r.conn);
		th_until(r.loop, r.closes == 1);
		if (how != 2) /* a loss that nobody has noticed yet is the reason */
			assert_int_equal(r.err, how == 1 || how == 5 ? -EIO : 0);
		tear_down(&r);
	}
}

/* Closed when the next attempt is due already: it is not made. */
static void test_ended_when_an_attempt_is_due(void **state)
{
	struct rig r;

	set_up(&r, *state, "&reconnect=2ms-2ms");
	dial(&r);
	th_until(r.loop, r.failures == 1);
	usleep(10000);
	tn_close(r.conn);
	th_until(r.loop, r.closes == 1);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.failures, 1);
	tear_down(&r);
}

/* WebSocket's close with a code is one by its user, too. */
static void test_closed_with_a_code(void **state)
{
	struct rig r;

	set_up(&r, *state, "&reconnect=1ms-4ms");
	start(&r);
	dial(&r);
	th_until(r.loop, r.opens == 1);
	assert_int_equal(tn_close_with(r.conn, 1000, "done"), 0);
	th_until(r.loop, r.closes == 1);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.losses, 0);
	tear_down(&r);
}

static void test_the_loop_is_freed(void **state)
{
	struct rig r;

	set_up(&r, *state, "&reconnect=1h");
	dial(&r);
	say(&r, 3);
	th_until(r.loop, r.failures == 1);
	tn_loop_free(r.loop);
	assert_int_equal(r.closes, 1);
	assert_int_equal(r.err, -ECANCELED);
}

static void sent(struct tn_conn *conn, int err, void *arg)
{
	(void)conn;
	*(int *)arg = err;
}

struct waiting {
	struct rig *rig;
	int err, next; /* of what was sent, and of what its loss has made us send */
};

static void lost_first(struct tn_conn *conn, int err, void *arg)
{
	struct waiting *w = arg;

	assert_int_equal(w->rig->losses, 0);
	w->err = err;
	say(w->rig, 1);
	w->rig->kept = tn_conn_queued(conn);
	assert_int_equal(tn_when_sent(conn, TN_SENT_TAKEN, sent, &w->next), 0);
}

/* Who waits is told the reason before on_lost, once; what is sent then goes out when the connection is back. */
static void test_who_waits_is_told_first(void **state)
{
	struct rig r;
	struct waiting w = {.rig = &r, .next = 1};

	set_up_full(&r, *state);
	assert_int_equal(tn_when_sent(r.conn, TN_SENT_TAKEN, lost_first, &w), 0);
	stop(&r, true);
	th_until(r.loop, r.losses == 1);
	assert_true(w.err < 0 && w.next == 1);
	assert_true(r.kept > 0);
	start(&r);
	th_until(r.loop, r.seen == r.sent && w.next == 0);
	tear_down(&r);
}

/* What another thread sends while the connection is ending goes out with the next one; and so does all behind it. */
static void test_a_handle_while_it_ends(void **state)
{
	struct tn_handle *handle;
	struct rig r;

	set_up_full(&r, *state);
	r.sent = 100;
	assert_int_equal(tn_conn_handle(r.conn, &handle), 0);
	tn_server_each(r.server, finish, NULL);
	th_until(r.loop, tn_send(r.conn, "x", 1) == TN_ESTATE);
	for (int i = 0; i < 3; i++) {
		r.sent++;
		assert_int_equal(tn_handle_send(handle, &r.sent, sizeof(r.sent)), 0);
		assert_true(tn_loop_step(r.loop, 0) >= 0);
	}
	assert_int_equal(r.losses, 0);
	assert_true(tn_handle_queued(handle) > 0);
	stop(&r, true);
	th_until(r.loop, r.losses == 1 && tn_handle_queued(handle) == 0);
	start(&r);
	th_until(r.loop, r.seen == r.sent);
	assert_int_equal(r.acked, 3);
	r.sent++;
	assert_int_equal(tn_handle_wait(handle, 0), 0);
	assert_int_equal(tn_handle_send(handle, &r.sent, sizeof(r.sent)), 0);
	th_until(r.loop, r.seen == r.sent);
	tear_down(&r);
	tn_handle_unref(handle);
}

/* Its program ends it meanwhile: nothing is sent any more, and who sends is told. */
static void test_a_handle_of_what_ends_for_good(void **state)
{
	struct tn_handle *handle;
	struct rig r;

	set_up_full(&r, *state);
	assert_int_equal(tn_conn_handle(r.conn, &handle), 0);
	tn_server_each(r.server, finish, NULL);
	th_until(r.loop, tn_send(r.conn, "x", 1) == TN_ESTATE);
	assert_int_equal(tn_handle_send(handle, "x", 1), 0);
	assert_true(tn_loop_step(r.loop, 0) >= 0);
	tn_close(r.conn);
	th_until(r.loop, tn_handle_send(handle, "x", 1) == TN_ESTATE);
	stop(&r, true);
	th_until(r.loop, r.closes == 1);
	assert_int_equal(r.losses, 0);
	assert_int_equal(tn_handle_queued(handle), 0);
	tear_down(&r);
	tn_handle_unref(handle);
}

/* What a handle has taken and the connection cannot send ends it, but it comes back: a terminal, too. */
static void test_what_cannot_be_sent_is_a_loss(void **state)
{
	struct tn_handle *handle;
	struct rig r;

	(void)state;
	r = (struct rig){.loop = th_loop()};
	snprintf(r.dialled, sizeof(r.dialled), "pty:%s/p?frame=line&reconnect=1ms-4ms", th_dir);
	if (tn_dial(r.loop, r.dialled, &client, &r, &r.conn) < 0) { /* a build may have no terminals */
		tn_loop_free(r.loop);
		skip();
	}
	r.id = tn_conn_id(r.conn);
	th_until(r.loop, r.opens == 1);
	assert_int_equal(tn_conn_handle(r.conn, &handle), 0);
	assert_int_equal(tn_handle_send(handle, "two\nlines", 9), 0);
	th_until(r.loop, r.losses + r.closes == 1);
	assert_int_equal(r.err, TN_EFORMAT);
	assert_int_equal(r.closes, 0);
	th_until(r.loop, r.opens == 2);
	tear_down(&r);
	tn_handle_unref(handle);
}

static void looked(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err, void *arg)
{
	(void)conn, (void)msg, (void)err;
	*(int *)arg += what == TN_TAP_OUT;
}

/* Handles, data, the id and who looks on go on; who waits for what was sent is told. */
static void test_what_stays(void **state)
{
	struct tn_handle *handle;
	struct rig r;
	int waited = 1, seen = 0;
	bool tapped;

	set_up(&r, *state, "&reconnect=1ms-4ms");
	start(&r);
	dial(&r);
	tn_conn_set_data(r.conn, &r);
	tapped = tn_conn_tap(r.conn, looked, &seen) == 0; /* a build may have no taps */
	th_until(r.loop, r.opens == 1);
	assert_int_equal(tn_conn_handle(r.conn, &handle), 0);
	r.talks = false;
	say(&r, 1);
	assert_int_equal(tn_when_sent(r.conn, TN_SENT_ACKNOWLEDGED, sent, &waited), 0);
	stop(&r, true);
	th_until(r.loop, r.losses == 1);
	assert_true(waited <= 0);
	assert_true(tn_handle_alive(handle));
	assert_ptr_equal(tn_conn_data(r.conn), &r);
	r.talks = true;
	start(&r);
	r.sent++;
	assert_true(tn_handle_send(handle, &r.sent, sizeof(r.sent)) >= 0);
	th_until(r.loop, r.seen == r.sent);
	assert_int_equal(seen, tapped ? 2 : 0);
	tear_down(&r);
	assert_false(tn_handle_alive(handle));
	tn_handle_unref(handle);
}

/* Programs that do not know it are told so, and nothing has been dialled. */
static void test_a_handler_without_on_lost(void **state)
{
	static const struct tn_handler old = {.on_close = on_close};
	struct rig r;

	set_up(&r, *state, "&reconnect=1s");
	assert_int_equal(tn_dial(r.loop, r.dialled, &old, &r, NULL), TN_EURL);
	assert_non_null(strstr(tn_errmsg(), "reconnect"));
	r.closes = 1;
	tear_down(&r);
}

/* ---- heartbeats ---- */

/* Each end sends its own, and both stay. */
static void test_heartbeats_keep_it(void **state)
{
	struct rig r;

	set_up(&r, *state, "&reconnect=1ms-4ms&heartbeat=20ms:still here");
	start(&r);
	dial(&r);
	th_until(r.loop, r.served_msgs >= 10);
	assert_int_equal(r.losses, 0);
	assert_int_equal(r.opens, 1);
	tear_down(&r);
}

/* A server that says nothing is as good as gone; one that was dialled again gets its time anew. */
static void test_a_silent_peer_is_lost(void **state)
{
	struct rig r;

	set_up(&r, *state, "&reconnect=1ms-4ms&heartbeat=10ms:still here");
	r.talks = false;
	start(&r);
	dial(&r);
	th_until(r.loop, r.losses >= 2);
	assert_int_equal(r.err, TN_EIDLE);
	assert_true(r.served_msgs >= 2);
	tear_down(&r);
}

/* It rests while the connection is away: nothing is queued, and the next one gets its time anew. */
static void test_no_heartbeat_while_away(void **state)
{
	struct rig r;

	set_up(&r, *state, "&reconnect=1ms-4ms&heartbeat=16ms:still here");
	for (int round = 1; round <= 3; round++) {
		int beats = r.served_msgs, failures;

		start(&r);
		if (round == 1)
			dial(&r);
		th_until(r.loop, r.opens == round && r.served_msgs >= beats + 2);
		failures = r.failures;
		stop(&r, true);
		th_until(r.loop, r.losses == round && r.failures >= failures + 10);
		assert_int_equal(tn_conn_queued(r.conn), 0);
		assert_int_not_equal(r.err, TN_EIDLE);
	}
	tear_down(&r);
}

static void keep(struct tn_conn *conn, void *arg)
{
	struct rig *r = arg;

	r->conn = conn;
}

/* Reads what is there; whether so much has come by now. */
static bool has_read(int fd, size_t *in, size_t wanted)
{
	char got[4096];
	ssize_t n = recv(fd, got, sizeof(got), MSG_DONTWAIT);

	assert_true(n > 0 || (n < 0 && errno == EAGAIN));
	*in += n > 0 ? (size_t)n : 0;
	return *in >= wanted;
}

/* A peer that has ended its direction in good order has nothing more to say: the reply goes on for many beats. */
static void test_an_end_is_no_silence(void **state)
{
	static const struct tn_handler handler = {.on_end = keep, .on_close = on_close};
	static const char message[] = "\0\0\0\1q", beat[] = "still here";
	char url[TEXT_MAX + 64], byte;
	struct rig r;
	size_t in = 0;
	int fd;

	set_up(&r, *state, "");
	snprintf(url, sizeof(url), "%s&heartbeat=10ms:%s", r.served, beat);
	assert_int_equal(tn_serve(r.loop, url, &handler, &r, &r.server), 0);
	fd = th_tcp_dial(port_of(&r));
	assert_int_equal(send(fd, message, sizeof(message) - 1, 0), sizeof(message) - 1);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	th_until(r.loop, r.conn);
	th_until(r.loop, has_read(fd, &in, 8 * (4 + sizeof(beat) - 1)));
	assert_int_equal(r.closes, 0);
	tn_close(r.conn);
	th_until(r.loop, r.closes == 1);
	assert_int_equal(r.err, 0);
	while (recv(fd, &byte, 1, MSG_DONTWAIT) > 0)
		;
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	tear_down(&r);
}

#define AT(fn, n)                                                                    \
	{                                                                            \
#fn " " #n, fn, th_setup, th_teardown, (void *)(uintptr_t)&places[n] \
	}
#define EVERYWHERE(fn) AT(fn, 0), AT(fn, 1), AT(fn, 2), AT(fn, 3), AT(fn, 4)

static const struct CMUnitTest tests[] = {
	EVERYWHERE(test_all_is_acknowledged_or_lost),
	EVERYWHERE(test_what_was_queued_is_told),
	AT(test_ended_while_it_ends, 0),
	AT(test_ended_while_it_ends, 3),
	EVERYWHERE(test_kept_until_it_is_there),
	AT(test_kept_by_handshakes_that_fail, 1),
	AT(test_kept_by_handshakes_that_fail, 2),
	AT(test_tries_in_handshakes, 1),
	AT(test_tries_in_handshakes, 2),
	EVERYWHERE(test_bounded_while_away),
	AT(test_tries, 0),
	AT(test_tries, 3),
	EVERYWHERE(test_ended_by_its_user),
	EVERYWHERE(test_ended_when_an_attempt_is_due),
	AT(test_closed_with_a_code, 2),
	EVERYWHERE(test_the_loop_is_freed),
	EVERYWHERE(test_what_stays),
	EVERYWHERE(test_a_handle_while_it_ends),
	EVERYWHERE(test_a_handle_of_what_ends_for_good),
	AT(test_what_cannot_be_sent_is_a_loss, 0),
	AT(test_who_waits_is_told_first, 0),
	AT(test_who_waits_is_told_first, 1),
	AT(test_a_handler_without_on_lost, 0),
	AT(test_heartbeats_keep_it, 0),
	AT(test_heartbeats_keep_it, 1),
	AT(test_heartbeats_keep_it, 2),
	AT(test_a_silent_peer_is_lost, 0),
	AT(test_a_silent_peer_is_lost, 2),
	AT(test_no_heartbeat_while_away, 0),
	AT(test_an_end_is_no_silence, 0),
};

int main(int argc, char **argv)
{
	int rc;

	snprintf(certs_dir, sizeof(certs_dir), "/tmp/tenon-certs-XXXXXX");
	if (!mkdtemp(certs_dir))
		return 1;
	certs_make(certs_dir, "ca", NULL, NULL, -1, 1);
	certs_make(certs_dir, "peer", "ca", "DNS:localhost,IP:127.0.0.1", -1, 1);
	rc = th_main(argc, argv, "again", tests, sizeof(tests) / sizeof(tests[0]));
	certs_remove(certs_dir);
	return rc;
}
