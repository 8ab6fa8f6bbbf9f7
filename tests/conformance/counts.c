/* What a server counts, on the public header alone: over every kind of connection, the counters are compared with what
 * the test did and what the connections tell of themselves. */
#include "harness.h"
#ifdef TNI_HAVE_TLS
#include "../support/certs.h"
#endif

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS 3
#define MESSAGES 10
#define LEN 700

enum trait {
	BYTES = 1,   /* a stream without messages: bytes are payload alone */
	DGRAM = 2,   /* the server has one connection, its own */
	SECURE = 4,  /* wants certificates */
	SHAKING = 8, /* something stands before on_open */
};

static const struct row {
	const char *url;  /* %s is the test's directory */
	const char *keys; /* of both sides */
	unsigned traits;
} rows[] = {
	{"tcp://127.0.0.1:0", "", BYTES},
	{"unix:%s/s", "", BYTES},
	{"tcp://127.0.0.1:0", "frame=u32", 0},
	{"unix:%s/s", "frame=line", 0},
	{"shm:%s/s", "", BYTES},
	{"unix-seqpacket:%s/s", "", BYTES},
	{"udp://127.0.0.1:0", "", BYTES | DGRAM},
#ifdef TNI_HAVE_TLS
	{"tls://127.0.0.1:0", "", BYTES | SECURE | SHAKING},
	{"tls+unix:%s/s", "frame=u32", SECURE | SHAKING},
	{"dtls://127.0.0.1:0", "", BYTES | SECURE | SHAKING},
	{"ws://127.0.0.1:0/a", "", SHAKING},
	{"wss://127.0.0.1:0/a", "", SECURE | SHAKING},
#endif
};

static char certs_dir[64];

static void add_keys(char *url, size_t cap, const char *keys)
{
	size_t len = strlen(url);

	if (*keys)
		snprintf(url + len, cap - len, "%c%s", strchr(url, '?') ? '&' : '?', keys);
}

static void keys_of(const struct row *row, char *keys, size_t cap)
{
	snprintf(keys, cap, "%s", row->keys);
	if (row->traits & SECURE)
		snprintf(keys, cap, "%1$s%2$scert=%3$s/peer.pem&key=%3$s/peer.key&ca=%3$s/ca.pem", row->keys,
			 *row->keys ? "&" : "", certs_dir);
}

/* ---- a server and its clients ---- */

struct client {
	struct tn_conn *conn;
	int opened, closed;
	size_t got;
};

static struct world {
	struct tn_loop *loop;
	struct tn_server *server;
	struct client clients[CLIENTS];
	/* What the served connections told of themselves when they closed, and the calls of on_msg */
	uint64_t bytes_in, bytes_out, msgs_in, msgs_out;
	uint64_t calls;
	int closed;
	size_t queued;
	struct tn_conn *last; /* which has sent something last */
} w;

static void served_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	w.calls++;
	w.last = conn;
	assert_true(tn_reply(conn, msg, msg->data, msg->len) >= 0);
	if (tn_conn_queued(conn) > w.queued)
		w.queued = tn_conn_queued(conn);
}

static void served_close(struct tn_conn *conn, int err, void *arg)
{
	struct tn_conn_info info;

	(void)err, (void)arg;
	tn_conn_info(conn, &info);
	w.bytes_in += info.bytes_in;
	w.bytes_out += info.bytes_out;
	w.msgs_in += info.msgs_in;
	w.msgs_out += info.msgs_out;
	w.closed++;
}

static void client_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct client *)arg)->opened++;
}

static void client_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn;
	((struct client *)arg)->got += msg->len;
}

static void client_close(struct tn_conn *conn, int err, void *arg)
{
	struct client *client = arg;

	(void)conn, (void)err;
	client->conn = NULL;
	client->closed++;
}

static const struct tn_handler serving = {.on_msg = served_msg, .on_close = served_close};
static const struct tn_handler dialling = {.on_open = client_open, .on_msg = client_msg, .on_close = client_close};

static void serve(const char *url)
{
	w = (struct world){.loop = th_loop()};
	if (tn_serve(w.loop, url, &serving, NULL, &w.server) < 0)
		fail_msg("%s", tn_errmsg());
}

static void dial(struct client *client, const char *keys)
{
	char url[1024];

	snprintf(url, sizeof(url), "%s", tn_server_url(w.server, 0));
	add_keys(url, sizeof(url), keys);
	*client = (struct client){0};
	if (tn_dial(w.loop, url, &dialling, client, &client->conn) < 0)
		fail_msg("%s", tn_errmsg());
}

#ifdef TNI_HAVE_TLS
/* Without TLS, to a server that wants it. */
static void dial_plain(struct client *client)
{
	char url[256];

	snprintf(url, sizeof(url), "tcp%s", strchr(tn_server_url(w.server, 0), ':'));
	*client = (struct client){0};
	assert_int_equal(tn_dial(w.loop, url, &dialling, client, &client->conn), 0);
}
#endif

static struct tn_counts counts(void)
{
	struct tn_counts now;

	tn_server_count(w.server, &now);
	return now;
}

/* ---- what comes and goes ---- */

static void talk(struct client *client)
{
	char data[LEN];

	memset(data, 'x', sizeof(data));
	for (int i = 0; i < MESSAGES; i++) {
		assert_true(tn_send(client->conn, data, sizeof(data)) >= 0);
		th_until(w.loop, client->got == (size_t)(i + 1) * LEN);
	}
}

static void check_traffic(const struct row *row, const struct tn_counts *now)
{
	assert_int_equal(now->msgs_in, w.calls);
	assert_int_equal(now->msgs_out, w.calls);
	assert_int_equal(now->bytes_in, w.bytes_in);
	assert_int_equal(now->bytes_out, w.bytes_out);
	if (row->traits & BYTES) {
		assert_int_equal(now->bytes_in, CLIENTS * MESSAGES * LEN);
		assert_int_equal(now->bytes_out, CLIENTS * MESSAGES * LEN);
	} else {
		assert_true(now->bytes_in >= CLIENTS * MESSAGES * LEN);
		assert_true(now->bytes_out >= CLIENTS * MESSAGES * LEN);
	}
	assert_int_equal(now->queue_peak, w.queued);
	assert_true(now->queue_peak >= LEN);
}

static void check_no_trouble(const struct tn_counts *now)
{
	assert_int_equal(now->bad + now->lost + now->dropped, 0);
	assert_int_equal(now->refused_limit + now->refused_source + now->refused_access + now->refused_proxy, 0);
	assert_int_equal(now->handshakes_failed + now->handshakes_timed_out, 0);
	if (!th_is_sim()) /* it lets accepting fail */
		assert_int_equal(now->accept_failed, 0);
}

static void test_traffic(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		uint64_t conns = row->traits & DGRAM ? 0 : CLIENTS;
		char url[1024], keys[512];
		struct tn_counts now;

		if (th_is_sim() && (strstr(row->url, "udp:") || strstr(row->url, "dtls:")))
			continue; /* it doubles and loses datagrams */
		snprintf(url, sizeof(url), row->url, th_dir);
		keys_of(row, keys, sizeof(keys));
		add_keys(url, sizeof(url), keys);
		serve(url);
		now = counts();
		assert_int_equal(now.open + now.accepted + now.bytes_in + now.msgs_in + now.queue_peak, 0);
		for (int k = 0; k < CLIENTS; k++) {
			dial(&w.clients[k], keys);
			th_until(w.loop, w.clients[k].opened);
			talk(&w.clients[k]);
		}
		now = counts();
		assert_int_equal(now.open, conns);
		assert_int_equal(now.accepted - now.closed, conns);
		assert_int_equal(now.msgs_in, w.calls);
		for (int k = 0; k < CLIENTS; k++)
			tn_close(w.clients[k].conn);
		th_until(w.loop, w.clients[0].closed && w.clients[1].closed && w.clients[2].closed);
		if (row->traits & DGRAM)
			served_close(w.last, 0, NULL);
		th_until(w.loop, counts().open == 0 && w.closed == (conns ? CLIENTS : 1));
		now = counts();
		assert_int_equal(now.accepted, conns);
		assert_int_equal(now.closed, conns);
		assert_int_equal(now.handshakes, row->traits & SHAKING ? CLIENTS : 0);
		assert_true(now.resumed < CLIENTS);
		check_traffic(row, &now);
		check_no_trouble(&now);
		tn_loop_free(w.loop);
	}
}

/* ---- who is refused ---- */

static void dial_and_be_closed(const char *keys)
{
	struct client client;

	dial(&client, keys);
	th_until(w.loop, client.closed);
}

static void check_refused(const struct tn_counts *now, uint64_t limit, uint64_t source, uint64_t access, uint64_t proxy)
{
	assert_int_equal(now->refused_limit, limit);
	assert_int_equal(now->refused_source, source);
	assert_int_equal(now->refused_access, access);
	assert_int_equal(now->refused_proxy, proxy);
}

static void test_refused_by_number(void **state)
{
	struct tn_counts now;

	(void)state;
	serve("tcp://127.0.0.1:0?per-source=1");
	dial(&w.clients[0], "");
	talk(&w.clients[0]);
	dial_and_be_closed("");
	now = counts();
	check_refused(&now, 0, 1, 0, 0);
	tn_server_limit(w.server, 1);
	dial_and_be_closed("");
	dial_and_be_closed("");
	now = counts();
	check_refused(&now, 2, 1, 0, 0);
	assert_int_equal(now.open, 1);
	assert_int_equal(now.accepted, 1);
	assert_int_equal(now.closed, 0);
	assert_int_equal(now.msgs_in, w.calls);
	tn_loop_free(w.loop);
}

static void test_refused_by_address(void **state)
{
	struct tn_counts now;

	(void)state;
	serve("tcp://127.0.0.1:0?deny=127.0.0.0/8");
	dial_and_be_closed("");
	now = counts();
	check_refused(&now, 0, 0, 1, 0);
	assert_int_equal(now.accepted, 0);
	tn_loop_free(w.loop);

	serve("udp://127.0.0.1:0?deny=127.0.0.0/8");
	dial(&w.clients[0], "");
	th_until(w.loop, w.clients[0].opened);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tn_send(w.clients[0].conn, "x", 1), 0);
	th_until(w.loop, counts().refused_access == 3);
	now = counts();
	check_refused(&now, 0, 0, 3, 0);
	assert_int_equal(now.lost, 3);
	assert_int_equal(now.msgs_in, 0);
	tn_loop_free(w.loop);
}

#ifdef TNI_HAVE_PROXY
static void test_refused_proxies(void **state)
{
	struct tn_counts now;

	(void)state;
	serve("tcp://127.0.0.1:0?proxy=accept&trust=192.0.2.0/24");
	dial_and_be_closed("");
	now = counts();
	check_refused(&now, 0, 0, 0, 1);
	assert_int_equal(now.accepted + now.handshakes_failed, 0);
	tn_loop_free(w.loop);

	/* Whose connection it is becomes known with the header. */
	serve("tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.1&deny=127.0.0.0/8");
	dial_and_be_closed("proxy=v2");
	now = counts();
	check_refused(&now, 0, 0, 1, 0);
	assert_int_equal(now.accepted + now.closed, 0);
	tn_loop_free(w.loop);

	serve("tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.1");
	dial(&w.clients[0], "proxy=v2");
	talk(&w.clients[0]);
	dial(&w.clients[1], "");
	assert_int_equal(tn_send(w.clients[1].conn, "no header at all", 16), 0);
	th_until(w.loop, w.clients[1].closed && counts().handshakes_failed);
	now = counts();
	check_refused(&now, 0, 0, 0, 0);
	assert_int_equal(now.handshakes, 1);
	assert_int_equal(now.handshakes_failed, 1);
	assert_int_equal(now.accepted, 1);
	tn_loop_free(w.loop);
}
#endif

/* ---- what cannot be used ---- */

static void test_bad_messages(void **state)
{
	(void)state;
	serve("tcp://127.0.0.1:0?frame=line&max=10");
	dial(&w.clients[0], "frame=line");
	assert_int_equal(tn_send(w.clients[0].conn, "short", 5), 0);
	assert_int_equal(tn_send(w.clients[0].conn, "longer than ten bytes", 21), 0);
	th_until(w.loop, w.clients[0].closed);
	assert_int_equal(counts().bad, 1);
	assert_int_equal(counts().msgs_in, 1);
	tn_loop_free(w.loop);

#ifdef TNI_HAVE_JSON
	serve("tcp://127.0.0.1:0?frame=line&format=json&bad=skip");
	dial(&w.clients[0], "frame=line");
	assert_int_equal(tn_send(w.clients[0].conn, "{", 1), 0);
	assert_int_equal(tn_send(w.clients[0].conn, "}", 1), 0);
	assert_int_equal(tn_send(w.clients[0].conn, "[]", 2), 0);
	th_until(w.loop, w.clients[0].got == 2);
	assert_int_equal(counts().bad, 2);
	assert_int_equal(counts().msgs_in, 3);
	assert_int_equal(counts().msgs_out, 1);
	tn_loop_free(w.loop);
#endif

	serve("udp://127.0.0.1:0?max=10");
	dial(&w.clients[0], "");
	th_until(w.loop, w.clients[0].opened);
	assert_int_equal(tn_send(w.clients[0].conn, "longer than ten bytes", 21), 0);
	assert_int_equal(tn_send(w.clients[0].conn, "short", 5), 0);
	th_until(w.loop, w.clients[0].got == 5);
	assert_int_equal(counts().lost, 1);
	assert_int_equal(counts().msgs_in, 1);
	assert_int_equal(counts().bad, 0);
	tn_loop_free(w.loop);
}

/* What the socket has no room for is dropped by the kernel: counted when it is asked, a second later at most. */
static void test_dropped_datagrams(void **state)
{
	static char data[1000];
	struct tn_conn_info info;

	(void)state;
	if (th_is_sim()) /* it loses datagrams by itself */
		return;
	serve("udp://127.0.0.1:0?rcvbuf=4KiB");
	dial(&w.clients[0], "");
	th_until(w.loop, w.clients[0].opened);
	tn_conn_info(w.clients[0].conn, &info);
	for (int i = 0; i < 200; i++)
		assert_int_equal(send(info.fd, data, sizeof(data), 0), (ssize_t)sizeof(data));
	th_until(w.loop, counts().dropped);
	assert_int_equal(counts().dropped + counts().msgs_in, 200);
	tn_loop_free(w.loop);
}

#ifdef TNI_HAVE_TLS
static void test_handshakes(void **state)
{
	char url[1024], keys[512];
	struct tn_counts now;

	(void)state;
	keys_of(&(const struct row){.keys = "", .traits = SECURE}, keys, sizeof(keys));
	snprintf(url, sizeof(url), "tls://127.0.0.1:0?handshake=300ms&%s", keys);
	serve(url);
	for (int k = 0; k < 2; k++) { /* the second with what the first has left */
		dial(&w.clients[k], keys);
		talk(&w.clients[k]);
		tn_close(w.clients[k].conn);
		th_until(w.loop, w.clients[k].closed);
	}
	now = counts();
	assert_int_equal(now.handshakes, 2);
	assert_int_equal(now.resumed, 1);
	dial_plain(&w.clients[0]);
	assert_int_equal(tn_send(w.clients[0].conn, "this is no TLS", 14), 0);
	th_until(w.loop, w.clients[0].closed && counts().handshakes_failed);
	now = counts();
	assert_int_equal(now.handshakes_failed, 1);
	assert_int_equal(now.handshakes_timed_out, 0);
	dial_plain(&w.clients[0]);
	th_until(w.loop, w.clients[0].closed && counts().handshakes_timed_out);
	now = counts();
	assert_int_equal(now.handshakes, 2);
	assert_int_equal(now.handshakes_failed, 1);
	assert_int_equal(now.handshakes_timed_out, 1);
	assert_int_equal(now.accepted, 4);
	assert_int_equal(now.msgs_in, w.calls);
	tn_loop_free(w.loop);
}
#endif

/* Out of descriptors. */
static void test_accepting_fails(void **state)
{
	struct rlimit before, few;
	int fd;

	(void)state;
	if (th_is_uring()) /* the kernel took note of the limit when accepting began */
		return;
	serve("tcp://127.0.0.1:0");
	dial(&w.clients[0], "");
	talk(&w.clients[0]);
	dial(&w.clients[1], "");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	fd = dup(0);
	assert_true(fd >= 0);
	close(fd);
	few.rlim_cur = (rlim_t)fd; /* no further one */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	th_until(w.loop, counts().accept_failed);
	assert_int_equal(counts().accepted, 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	talk(&w.clients[1]);
	assert_int_equal(counts().accepted, 2);
	tn_loop_free(w.loop);
}

/* ---- many loops, and a reader of its own thread ---- */

#define LOOPS 3
#define CROWD 24

static struct hall {
	struct tn_loop *loops[LOOPS];
	struct tn_server *server;
	_Atomic(bool) over;
} hall;

static void echo(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	assert_true(tn_forward(conn, msg) >= 0);
}

static void *run(void *arg)
{
	return (void *)(intptr_t)tn_loop_run(arg);
}

/* Returns how often something went backwards. */
static void *watch(void *arg)
{
	struct tn_counts last = {0}, now;
	intptr_t wrong = 0;

	(void)arg;
	while (!atomic_load(&hall.over)) {
		tn_server_count(hall.server, &now);
		wrong += now.open > CROWD || now.accepted < last.accepted || now.closed < last.closed ||
			 now.bytes_in < last.bytes_in || now.msgs_out < last.msgs_out ||
			 now.queue_peak < last.queue_peak;
		last = now;
	}
	return (void *)wrong;
}

static void close_hall(void *arg)
{
	(void)arg;
	tn_server_close(hall.server, 0, NULL, NULL);
}

static void test_over_several_loops(void **state)
{
	static const struct tn_handler handler = {.on_msg = echo};
	struct client clients[CROWD];
	pthread_t threads[LOOPS], watcher;
	struct tn_counts now;
	char url[256];
	void *rc;

	(void)state;
	for (int i = 0; i < LOOPS; i++)
		hall.loops[i] = th_loop();
	atomic_store(&hall.over, false);
	snprintf(url, sizeof(url), "unix:%s/s", th_dir); /* handed round: each loop gets some */
	assert_int_equal(tn_serve_loops(hall.loops, LOOPS, url, &handler, NULL, &hall.server), 0);
	w = (struct world){.loop = th_loop(), .server = hall.server};
	for (int i = 0; i < LOOPS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, hall.loops[i]), 0);
	assert_int_equal(pthread_create(&watcher, NULL, watch, NULL), 0);
	for (int i = 0; i < CROWD; i++)
		dial(&clients[i], "");
	for (int i = 0; i < CROWD; i++)
		talk(&clients[i]);
	now = counts();
	assert_int_equal(now.open, CROWD);
	for (int i = 0; i < CROWD; i++)
		tn_close(clients[i].conn);
	for (int i = 0; i < CROWD; i++)
		th_until(w.loop, clients[i].closed);
	th_until(w.loop, !counts().open && counts().closed == CROWD);
	atomic_store(&hall.over, true);
	assert_int_equal(pthread_join(watcher, &rc), 0);
	assert_int_equal((intptr_t)rc, 0);
	now = counts();
	assert_int_equal(now.accepted, CROWD);
	assert_int_equal(now.bytes_in, CROWD * MESSAGES * LEN);
	assert_int_equal(now.bytes_out, CROWD * MESSAGES * LEN);
	assert_int_equal(now.msgs_out, now.msgs_in);
	assert_true(now.queue_peak >= LEN);
	check_no_trouble(&now);
	assert_int_equal(tn_loop_post(hall.loops[0], close_hall, NULL), 0);
	for (int i = 0; i < LOOPS; i++) {
		assert_int_equal(pthread_join(threads[i], &rc), 0);
		assert_int_equal((intptr_t)rc, 0);
	}
	for (int i = 0; i < LOOPS; i++)
		tn_loop_free(hall.loops[i]);
	tn_loop_free(w.loop);
}

#define T(test) cmocka_unit_test_setup_teardown(test, th_setup, th_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_traffic),         T(test_refused_by_number),  T(test_refused_by_address),
#ifdef TNI_HAVE_PROXY
		T(test_refused_proxies),
#endif
		T(test_bad_messages),    T(test_dropped_datagrams),
#ifdef TNI_HAVE_TLS
		T(test_handshakes),
#endif
		T(test_accepting_fails), T(test_over_several_loops),
	};
	int rc;

#ifdef TNI_HAVE_TLS
	snprintf(certs_dir, sizeof(certs_dir), "/tmp/tenon-certs-XXXXXX");
	if (!mkdtemp(certs_dir))
		return 1;
	certs_make(certs_dir, "ca", NULL, NULL, -1, 1);
	certs_make(certs_dir, "peer", "ca", "DNS:localhost,IP:127.0.0.1", -1, 1);
#endif
	rc = th_main(argc, argv, "counts", tests, sizeof(tests) / sizeof(tests[0]));
#ifdef TNI_HAVE_TLS
	certs_remove(certs_dir);
#endif
	return rc;
}
