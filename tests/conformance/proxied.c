/*
 * The PROXY protocol on real connections, both ways: whom a server takes a client for, what a dialled connection says
 * of one, and who is refused. Headers are cut at every byte.
 */
#include "harness.h"

#include "../support/certs.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V1 "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"
#define V2_INET SIGNATURE "\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb"
#define V2_TLV SIGNATURE "\x21\x11\0\x13\xc0\0\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb\xe1\0\4mark"
#define V2_INET6                                                                             \
	SIGNATURE "\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8" \
		  "\0\0\0\0\0\0\0\0\0\0\0\x02\x04\xd2\x01\xbb"
#define V2_MAPPED                                                                            \
	SIGNATURE "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01\0\0\0\0\0\0\0\0" \
		  "\0\0\xff\xff\xc6\x33\x64\x02\x04\xd2\x01\xbb"
#define V2_LOCAL SIGNATURE "\x20\0\0\0"
#define V2_UNSPEC SIGNATURE "\x21\0\0\0"
#define BYTES(text) (text), sizeof(text) - 1

#define ENDS_MAX 4

/* A served or dialled connection, as its user sees it. */
struct end {
	struct tn_conn *conn; /* NULL once closed */
	int opens, closes, err;
	char got[512], peer[128], info[400];
	size_t len;
	int proxied; /* what tn_conn_proxy() says */
	struct tn_proxy proxy;
	char client[128], target[128], sender[128], mark[64], authority[64], alpn[64], name[64], id[64];
};

static struct world {
	struct tn_loop *loop;
	struct tn_server *server;
	struct end ends[ENDS_MAX];
	int nends, troubles, trouble_err;
	char trouble[512];
	bool replies;
	uint64_t lost;
	const char *relay_to; /* what comes in is dialled on to there */
	struct end onward;
} w;

static char certs_dir[64];

/* ---- what they are told ---- */

static void copy_tlv(const struct end *e, unsigned type, char *out, size_t cap)
{
	const unsigned char *value;
	size_t len;

	*out = '\0';
	if (tn_proxy_tlv(&e->proxy, type, &value, &len) == 0)
		snprintf(out, cap, "%.*s", (int)len, (const char *)value);
}

static void note(struct end *e, const struct tn_conn *conn)
{
	struct tn_conn_info info;
	struct tn_addr addr;

	e->peer[0] = '\0';
	if (tn_conn_peer(conn, &addr) == 0)
		tn_addr_text(&addr, e->peer, sizeof(e->peer));
	tn_conn_info(conn, &info);
	snprintf(e->info, sizeof(e->info), "%s", info.peer);
	e->proxied = tn_conn_proxy(conn, &e->proxy);
	if (e->proxied < 0)
		return;
	tn_addr_text(&e->proxy.client, e->client, sizeof(e->client));
	tn_addr_text(&e->proxy.target, e->target, sizeof(e->target));
	tn_addr_text(&e->proxy.sender, e->sender, sizeof(e->sender));
	copy_tlv(e, 0xe1, e->mark, sizeof(e->mark));
	copy_tlv(e, TN_PROXY_AUTHORITY, e->authority, sizeof(e->authority));
	copy_tlv(e, TN_PROXY_ALPN, e->alpn, sizeof(e->alpn));
	copy_tlv(e, TN_PROXY_SSL_CN, e->name, sizeof(e->name));
	copy_tlv(e, TN_PROXY_UNIQUE_ID, e->id, sizeof(e->id));
}

static struct end *end_of(const struct tn_conn *conn)
{
	struct end *e = tn_conn_data(conn);

	assert_non_null(e);
	return e;
}

static void keep(struct end *e, const struct tn_msg *msg)
{
	assert_true(e->len + msg->len < sizeof(e->got));
	memcpy(e->got + e->len, msg->data, msg->len);
	e->len += msg->len;
	e->got[e->len] = '\0';
}

static void onward_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	w.onward.opens++;
	note(&w.onward, conn);
}

static void onward_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn, (void)arg;
	keep(&w.onward, msg);
}

static void onward_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)arg;
	w.onward.closes++;
	w.onward.err = err;
	w.onward.conn = NULL;
}

static const struct tn_handler onward_handler = {
	.on_open = onward_open, .on_msg = onward_msg, .on_close = onward_close};

static void relay(const struct tn_conn *conn, const struct tn_msg *msg)
{
	if (!w.relay_to)
		return;
	if (tn_dial_for(w.loop, w.relay_to, &onward_handler, NULL, conn, msg, &w.onward.conn) < 0)
		fail_msg("%s", tn_errmsg());
	w.relay_to = NULL;
	assert_int_equal(tn_send(w.onward.conn, "onward", 6), 0);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct end *e = &w.ends[w.nends++];

	(void)arg;
	assert_true(w.nends <= ENDS_MAX);
	tn_conn_set_data(conn, e);
	e->conn = conn;
	e->opens++;
	note(e, conn);
	if (e->peer[0])
		relay(conn, NULL);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct end *e = end_of(conn);

	(void)arg;
	if (msg->peer) {
		note(e, conn);
		tn_addr_text(msg->peer, e->peer, sizeof(e->peer));
		relay(conn, msg);
	}
	keep(e, msg);
	if (w.replies)
		assert_int_equal(tn_reply(conn, msg, "reply", 5), 0);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct end *e = end_of(conn);

	(void)arg;
	note(e, conn); /* it speaks of the client to the end */
	e->closes++;
	e->err = err;
	e->conn = NULL;
}

static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};

static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	(void)server, (void)arg;
	if (err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM) /* an engine may be out of them */
		return;
	w.troubles += 1 + (int)tn_server_suppressed(server);
	w.trouble_err = err;
	snprintf(w.trouble, sizeof(w.trouble), "%s", text);
}

static void serve(const char *url)
{
	static const struct tn_watch watch = {.on_trouble = on_trouble};

	w = (struct world){.loop = th_loop()};
	if (tn_serve(w.loop, url, &handler, NULL, &w.server) < 0)
		fail_msg("%s", tn_errmsg());
	tn_server_watch(w.server, &watch, NULL);
}

static void end_all(void)
{
	tn_loop_free(w.loop);
}

static int port_of(const struct tn_server *server)
{
	return atoi(strrchr(tn_server_url(server, 0), ':') + 1);
}

static void say(int fd, const void *data, size_t len)
{
	if (len)
		assert_int_equal(write(fd, data, len), len);
}

/* Until the peer has ended or reset it. Bytes would be an answer, which nobody is to get. */
static void await_gone(int fd)
{
	ssize_t n = -1;
	char got[64];

	th_set_nonblock(fd);
	th_until(w.loop, (n = read(fd, got, sizeof(got))) >= 0 || errno != EAGAIN);
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

/* ---- a header comes ---- */

struct header {
	const char *data;
	size_t len;
	const char *peer, *target; /* NULL: that of the sender itself */
};

static const struct header headers[] = {
	{BYTES(V1), "192.0.2.1:1234", "198.51.100.2:443"},
	{BYTES(V2_INET), "192.0.2.1:1234", "198.51.100.2:443"},
	{BYTES(V2_TLV), "192.0.2.1:1234", "198.51.100.2:443"},
	{BYTES(V2_INET6), "[2001:db8::1]:1234", "[2001:db8::2]:443"},
	{BYTES(V2_MAPPED), "192.0.2.1:1234", "198.51.100.2:443"},
	{BYTES(V2_LOCAL), NULL, NULL},
	{BYTES(V2_UNSPEC), NULL, NULL},
	{BYTES("PROXY UNKNOWN\r\n"), NULL, NULL},
};

static void expect_client(const struct header *h, const struct end *e)
{
	char url[160];

	assert_int_equal(e->proxied, 0);
	assert_int_equal(e->proxy.local, !h->peer);
	assert_string_equal(e->client, h->peer ? h->peer : "(unnamed)");
	assert_string_equal(e->target, h->target ? h->target : "(unnamed)");
	assert_int_equal(strncmp(e->sender, "127.0.0.1:", 10), 0);
	assert_string_equal(e->peer, h->peer ? h->peer : e->sender);
	snprintf(url, sizeof(url), "tcp://%s", e->peer);
	assert_string_equal(e->info, url);
	assert_string_equal(e->mark, !strcmp(h->data, V1) || h->len != sizeof(V2_TLV) - 1 ? "" : "mark");
}

/* In two pieces, cut at a byte; what stands behind it comes with the second. */
static void take_cut(const struct header *h, size_t cut)
{
	int fd = th_tcp_dial(port_of(w.server));
	struct end *e = &w.ends[0];

	w.nends = 0;
	memset(e, 0, sizeof(*e));
	say(fd, h->data, cut);
	if (cut)
		th_turn_for(w.loop, 1);
	assert_int_equal(e->opens, 0);
	say(fd, h->data + cut, h->len - cut);
	say(fd, "hi\n", 3);
	th_until(w.loop, e->len == 2);
	assert_string_equal(e->got, "hi");
	expect_client(h, e);
	close(fd);
	th_until(w.loop, e->closes == 1);
	assert_int_equal(e->err, 0);
	expect_client(h, e);
}

static void test_taken(void **state)
{
	(void)state;
	serve("tcp://127.0.0.1:0?proxy=accept&trust=10.0.0.0/8,127.0.0.1&frame=line");
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		for (size_t cut = 0; cut<headers[i].len; cut += cut> 2 && th_is_sim() ? 7 : 1)
			take_cut(&headers[i], cut);
	assert_int_equal(w.troubles, 0);
	end_all();
}

/* A sender that ends within the header, or goes on with something else. Who says nothing is no trouble. */
static void test_refused(void **state)
{
	static const struct header bad[] = {
		{BYTES("GET / HTTP/1.1\r\n\r\n"), NULL, NULL},
		{BYTES("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"), NULL, NULL},
		{BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1234 65536\r\n"), NULL, NULL},
		{BYTES("PROXY TCP6 192.0.2.1 198.51.100.2 1234 443\r\n"), NULL, NULL},
		{BYTES(SIGNATURE "\x31\x11\0\x0c"), NULL, NULL},
		{BYTES(SIGNATURE "\x21\x11\xff\xff"), NULL, NULL},
		{BYTES(SIGNATURE "\x21\x51\0\x0c"), NULL, NULL},
		{BYTES(SIGNATURE "\x21\x11\0\x0b\xc0\0\x02\x01\xc6\x33\x64\x02\x04\xd2\x01"), NULL, NULL},
		{BYTES(SIGNATURE "\x21\x11\0\x13\xc0\0\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb\x03\0\4\0\0\0\0"), NULL,
		 NULL},
	};
	int fd;

	(void)state;
	serve("tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.0/8");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fd = th_tcp_dial(port_of(w.server));
		say(fd, bad[i].data, bad[i].len);
		await_gone(fd);
		close(fd);
	}
	for (size_t len = 1; len < sizeof(V2_TLV) - 1; len++) {
		fd = th_tcp_dial(port_of(w.server));
		say(fd, V2_TLV, len);
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		await_gone(fd);
		close(fd);
	}
	th_until(w.loop, tn_server_nconns(w.server) == 0);
	th_until(w.loop, w.troubles == (int)(sizeof(bad) / sizeof(bad[0]) + sizeof(V2_TLV) - 2));
	assert_int_equal(w.trouble_err, TN_EFORMAT);
	fd = th_tcp_dial(port_of(w.server));
	close(fd);
	th_turn_for(w.loop, 20);
	assert_int_equal(w.nends, 0);
	assert_int_equal(w.troubles, (int)(sizeof(bad) / sizeof(bad[0]) + sizeof(V2_TLV) - 2));
	end_all();
}

static void test_late(void **state)
{
	int fd;

	(void)state;
	serve("tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.0/8&handshake=30ms");
	fd = th_tcp_dial(port_of(w.server));
	say(fd, V1, 20);
	await_gone(fd);
	th_until(w.loop, w.troubles == 1);
	assert_int_equal(w.trouble_err, -ETIMEDOUT);
	assert_non_null(strstr(w.trouble, "PROXY header: the peer has not completed it within 30ms"));
	close(fd);
	end_all();
}

static void test_stranger(void **state)
{
	int fd;

	(void)state;
	serve("tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.2,10.0.0.0/8");
	fd = th_tcp_dial(port_of(w.server));
	say(fd, V1 "hello", sizeof(V1) + 4);
	await_gone(fd);
	th_until(w.loop, w.troubles == 1);
	assert_int_equal(w.trouble_err, -EACCES);
	assert_non_null(strstr(w.trouble, "127.0.0.1 was refused: it may send no PROXY headers (key trust)"));
	assert_int_equal(w.nends, 0);
	close(fd);
	th_until(w.loop, tn_server_nconns(w.server) == 0);
	end_all();
}

/* ---- who may connect ---- */

static bool is_let_in(const char *header, size_t len)
{
	int fd = th_tcp_dial(port_of(w.server)), before = w.troubles, opened = w.nends;

	say(fd, header, len);
	th_until(w.loop, w.nends > opened || w.troubles > before);
	if (w.nends == opened)
		await_gone(fd);
	close(fd);
	if (w.nends > opened)
		th_until(w.loop, w.ends[opened].closes);
	w.nends = 0;
	w.ends[0] = (struct end){0};
	return w.troubles == before;
}

static void test_lists(void **state)
{
	static const struct {
		const char *keys;
		bool v4, v6, own;
	} rows[] = {
		{"allow=192.0.2.0/24", true, false, false}, {"allow=192.0.2.0/24,2001:db8::/32", true, true, false},
		{"deny=192.0.2.1", false, true, true},      {"allow=0.0.0.0/0&deny=192.0.2.0/24", false, false, true},
		{"allow=127.0.0.1", false, false, true},    {"allow=unix", false, false, false},
	};
	char url[200];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(url, sizeof(url), "tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.1&%s", rows[i].keys);
		serve(url);
		assert_int_equal(is_let_in(BYTES(V1)), rows[i].v4);
		assert_int_equal(is_let_in(BYTES(V2_INET6)), rows[i].v6);
		assert_int_equal(is_let_in(BYTES(V2_LOCAL)), rows[i].own);
		assert_true(!w.troubles || w.trouble_err == -EACCES);
		end_all();
	}
	serve("tcp://127.0.0.1:0?deny=127.0.0.1");
	assert_false(is_let_in("", 0));
	assert_non_null(strstr(w.trouble, "127.0.0.1 was refused (keys allow, deny)"));
	end_all();
	serve("tcp://127.0.0.1:0?allow=127.0.0.0/8&deny=127.0.0.2");
	assert_true(is_let_in("", 0));
	end_all();
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* What a file holds is in use when it has been read again; what cannot be read leaves the old list in use. */
static void test_list_in_a_file(void **state)
{
	enum tn_file_use use;
	char url[200], file[100];
	const char *path;

	(void)state;
	snprintf(file, sizeof(file), "%s/allowed", th_dir);
	snprintf(url, sizeof(url), "tcp://127.0.0.1:0?allow=10.0.0.1,%s", file);
	assert_int_equal(tn_url_check(url, TN_SERVE), TN_EURL);
	write_file(file, "# ours\n\n 127.0.0.0/8 # all of them\r\nfd00::/8");
	assert_int_equal(tn_url_check(url, TN_SERVE), 0);
	serve(url);
	assert_int_equal(tn_server_file(w.server, 0, &path, &use), 0);
	assert_string_equal(path, file);
	assert_int_equal(use, TN_FILE_READ);
	assert_int_equal(tn_server_file(w.server, 1, &path, &use), -ENOENT);
	assert_true(is_let_in("", 0));
	write_file(file, "127.0.0.2\n");
	assert_int_equal(tn_server_reload(w.server), 0);
	assert_false(is_let_in("", 0));
	write_file(file, "127.0.0.1\nlocalhost\n");
	assert_int_equal(tn_server_reload(w.server), TN_EURL);
	assert_non_null(strstr(tn_errmsg(), "allowed:2: 'localhost' is no address"));
	assert_false(is_let_in("", 0));
	write_file(file, "127.0.0.1\n");
	th_until(w.loop, is_let_in("", 0)); /* it looks by itself */
	assert_int_equal(unlink(file), 0);
	end_all();
}

/* What an inherited socket is, is seen when it is served: packets have no headers. */
static void test_inherited(void **state)
{
	static const struct {
		int family, type, rc;
	} cases[] = {{AF_UNIX, SOCK_STREAM, 0},
		     {AF_UNIX, SOCK_SEQPACKET, TN_EURL},
		     {AF_UNIX, SOCK_DGRAM, TN_EURL},
		     {AF_INET, SOCK_DGRAM, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tn_loop *loop = th_loop();
		struct tn_server *server;
		int pair[2] = {-1, -1};
		char url[80];

		if (cases[i].family == AF_UNIX)
			assert_int_equal(socketpair(AF_UNIX, cases[i].type | SOCK_CLOEXEC, 0, pair), 0);
		else
			pair[0] = socket(cases[i].family, cases[i].type | SOCK_CLOEXEC, 0);
		assert_true(pair[0] >= 0);
		snprintf(url, sizeof(url), "fd:%d?proxy=accept&trust=unix,127.0.0.1", pair[0]);
		assert_int_equal(tn_serve(loop, url, &handler, NULL, &server), cases[i].rc);
		if (cases[i].rc < 0)
			assert_non_null(strstr(tn_errmsg(), "streams and udp"));
		tn_loop_free(loop);
		if (pair[1] >= 0)
			close(pair[1]);
		if (cases[i].rc < 0)
			close(pair[0]);
	}
}

/* ---- a list that is read again while other loops ask it ---- */

#define NLOOPS 3
#define NDIALS 60

struct gate {
	struct tn_server *server;
	struct tn_loop *loops[NLOOPS];
	_Atomic(int) opens, reloads;
};

static void gate_open(struct tn_conn *conn, void *arg)
{
	((struct gate *)arg)->opens++;
	tn_close(conn);
}

static void reload_gate(void *arg)
{
	struct gate *gate = arg;

	assert_int_equal(tn_server_reload(gate->server), 0);
	gate->reloads++;
}

static void close_gate(void *arg)
{
	tn_server_close(((struct gate *)arg)->server, 1000, NULL, NULL);
}

static void *run(void *loop)
{
	return (void *)(intptr_t)tn_loop_run(loop);
}

static void test_reload_over_loops(void **state)
{
	static const struct tn_handler gate_handler = {.on_open = gate_open};
	struct gate gate = {.server = NULL};
	char url[200], file[100], got[8];
	pthread_t threads[NLOOPS];
	void *rc;

	(void)state;
	snprintf(file, sizeof(file), "%s/allowed", th_dir);
	snprintf(url, sizeof(url), "tcp://127.0.0.1:0?allow=%s", file);
	write_file(file, "127.0.0.1\n");
	for (int i = 0; i < NLOOPS; i++)
		gate.loops[i] = th_loop();
	if (tn_serve_loops(gate.loops, NLOOPS, url, &gate_handler, &gate, &gate.server) < 0)
		fail_msg("%s", tn_errmsg());
	for (int i = 0; i < NLOOPS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, gate.loops[i]), 0);
	for (int i = 0; i < NDIALS; i++) {
		int fd = th_tcp_dial(port_of(gate.server));

		assert_int_equal(tn_loop_post(gate.loops[0], reload_gate, &gate), 0);
		assert_int_equal(read(fd, got, sizeof(got)), 0);
		close(fd);
	}
	assert_int_equal(tn_loop_post(gate.loops[0], close_gate, &gate), 0);
	for (int i = 0; i < NLOOPS; i++) {
		assert_int_equal(pthread_join(threads[i], &rc), 0);
		assert_int_equal((intptr_t)rc, 0);
		tn_loop_free(gate.loops[i]);
	}
	assert_int_equal(gate.opens, NDIALS);
	assert_int_equal(gate.reloads, NDIALS);
	assert_int_equal(unlink(file), 0);
}

static void test_per_source(void **state)
{
	int fd[3];

	(void)state;
	serve("tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.1&per-source=1");
	fd[0] = th_tcp_dial(port_of(w.server));
	say(fd[0], BYTES(V1));
	th_until(w.loop, w.nends == 1);
	fd[1] = th_tcp_dial(port_of(w.server));
	say(fd[1], BYTES(V2_INET6));
	th_until(w.loop, w.nends == 2);
	fd[2] = th_tcp_dial(port_of(w.server));
	say(fd[2], BYTES(V2_INET));
	await_gone(fd[2]);
	th_until(w.loop, w.troubles == 1);
	assert_non_null(strstr(w.trouble, "too many from 192.0.2.1 (key per-source)"));
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	end_all();
}

/* ---- a header is sent ---- */

struct target {
	struct tn_server *server;
	char url[256];
};

/* A second server, which takes headers; `keys` go to what is dialled. */
static void serve_target(struct target *t, const char *url, const char *keys)
{
	static const struct tn_watch watch = {.on_trouble = on_trouble};
	const char *at;

	if (tn_serve(w.loop, url, &handler, NULL, &t->server) < 0)
		fail_msg("%s", tn_errmsg());
	tn_server_watch(t->server, &watch, NULL);
	at = tn_server_url(t->server, 0);
	snprintf(t->url, sizeof(t->url), "%s?%s", at, keys);
}

static void test_sent(void **state)
{
	static const char *const keys[] = {"proxy=v1", "proxy=v2", "proxy=v2&proxy-tlv=crc32c,unique-id,0xe1:mark"};
	struct target t;
	struct end *e;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char own[64];
		int fd;

		serve("tcp://127.0.0.1:0");
		serve_target(&t, "tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.1", keys[i]);
		w.relay_to = t.url;
		fd = th_tcp_dial(port_of(w.server));
		th_until(w.loop, w.nends == 2 && w.ends[1].len == 6);
		e = &w.ends[1];
		assert_string_equal(e->got, "onward");
		assert_string_equal(e->peer, w.ends[0].peer);
		assert_string_equal(e->client, w.ends[0].peer);
		snprintf(own, sizeof(own), "127.0.0.1:%d", port_of(w.server));
		assert_string_equal(e->target, own);
		assert_string_not_equal(e->sender, e->client);
		assert_int_equal(e->proxy.version, i ? 2 : 1);
		assert_string_equal(e->mark, i == 2 ? "mark" : "");
		assert_int_equal(strlen(e->id), i == 2 ? 32 : 0);
		/* The sender can look at what it has said. */
		assert_string_equal(w.onward.client, e->client);
		assert_string_equal(w.onward.target, e->target);
		close(fd);
		end_all();
	}
}

/* What a client's proxy has told is passed on, its own words included; nobody's client is said to be nobody's. */
static void test_passed_on(void **state)
{
	static const struct header all[] = {{BYTES(V2_TLV), "192.0.2.1:1234", "198.51.100.2:443"},
					    {BYTES(V2_INET6), "[2001:db8::1]:1234", "[2001:db8::2]:443"},
					    {BYTES(V2_LOCAL), NULL, NULL}};
	struct target t;
	struct end *e;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		int fd;

		serve("tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.1");
		serve_target(&t, "tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.1", "proxy=v2&proxy-tlv=crc32c");
		w.relay_to = t.url;
		fd = th_tcp_dial(port_of(w.server));
		say(fd, all[i].data, all[i].len);
		th_until(w.loop, w.nends == 2 && w.ends[1].len == 6);
		e = &w.ends[1];
		assert_string_equal(e->peer, all[i].peer ? all[i].peer : w.ends[0].peer);
		assert_string_equal(e->mark, i == 0 ? "mark" : "");
		if (all[i].target)
			assert_string_equal(e->target, all[i].target);
		close(fd);
		end_all();
	}
}

static void test_own(void **state)
{
	static const char *const keys[] = {"proxy=v1", "proxy=v2"};
	struct target t;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		serve("tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.1");
		snprintf(t.url, sizeof(t.url), "%s?%s", tn_server_url(w.server, 0), keys[i]);
		assert_int_equal(tn_dial(w.loop, t.url, &onward_handler, NULL, &w.onward.conn), 0);
		assert_int_equal(tn_send(w.onward.conn, "hello", 5), 0);
		th_until(w.loop, w.ends[0].len == 5);
		assert_true(w.ends[0].proxy.local);
		assert_string_equal(w.ends[0].peer, w.ends[0].sender);
		end_all();
	}
}

/* From a Unix socket to one: version 2 says so, version 1 cannot. */
static void test_unix(void **state)
{
	char url[200];
	struct target t;

	(void)state;
	for (int v = 1; v <= 2; v++) {
		snprintf(url, sizeof(url), "unix:%s/from", th_dir);
		serve(url);
		snprintf(url, sizeof(url), "unix:%s/to?proxy=accept", th_dir);
		serve_target(&t, url, v == 1 ? "proxy=v1" : "proxy=v2");
		w.relay_to = t.url;
		snprintf(url, sizeof(url), "unix:%s/from", th_dir);
		assert_int_equal(tn_dial(w.loop, url, &onward_handler, NULL, NULL), 0);
		th_until(w.loop, w.nends == 2 && w.ends[1].len == 6);
		assert_int_equal(w.ends[1].proxy.local, v == 1);
		snprintf(url, sizeof(url), "%s/from", th_dir);
		assert_string_equal(w.ends[1].target, v == 1 ? "(unnamed)" : url);
		end_all();
		serve("tcp://127.0.0.1:0"); /* IP through a Unix socket */
		snprintf(url, sizeof(url), "unix:%s/to?proxy=accept&allow=127.0.0.0/8", th_dir);
		serve_target(&t, url, v == 1 ? "proxy=v1" : "proxy=v2");
		w.relay_to = t.url;
		assert_int_equal(tn_dial(w.loop, tn_server_url(w.server, 0), &onward_handler, NULL, NULL), 0);
		th_until(w.loop, w.nends == 2 && w.ends[1].len == 6);
		assert_string_equal(w.ends[1].peer, w.ends[0].peer);
		snprintf(url, sizeof(url), "tcp://%s", w.ends[0].peer);
		assert_string_equal(w.ends[1].info, url);
		end_all();
	}
}

/* ---- TLS ---- */

static void make_certs(void)
{
	snprintf(certs_dir, sizeof(certs_dir), "/tmp/tenon-proxied-XXXXXX");
	assert_non_null(mkdtemp(certs_dir));
	certs_make(certs_dir, "ca", NULL, NULL, -1, 10);
	certs_make(certs_dir, "alice", "ca", "DNS:localhost,IP:127.0.0.1", -1, 10);
}

/* The header and the hello go out together, before TLS; who asks for a name with a certificate is told of. */
static void test_tls(void **state)
{
	char keys[300], url[400], from[400];
	struct target t;
	struct end *e;

	(void)state;
	make_certs();
	snprintf(keys, sizeof(keys), "cert=%1$s/alice.pem&key=%1$s/alice.key&ca=%1$s/ca.pem", certs_dir);
	snprintf(url, sizeof(url), "tls://127.0.0.1:0?%s&alpn=one,two", keys);
	serve(url);
	snprintf(from, sizeof(from), "%s?%s&alpn=two&sni=localhost", tn_server_url(w.server, 0), keys);
	snprintf(url, sizeof(url), "tls://127.0.0.1:0?proxy=accept&trust=127.0.0.1&%s", keys);
	snprintf(keys + strlen(keys), sizeof(keys) - strlen(keys), "&proxy=v2");
	serve_target(&t, url, keys);
	w.relay_to = t.url;
	assert_int_equal(tn_dial(w.loop, from, &onward_handler, NULL, NULL), 0);
	th_until(w.loop, w.nends == 2 && w.ends[1].len == 6);
	e = &w.ends[1];
	assert_string_equal(e->got, "onward");
	assert_string_equal(e->peer, w.ends[0].peer);
	assert_true(e->proxy.tls && e->proxy.has_cert && e->proxy.verified);
	assert_string_equal(e->name, "alice");
	assert_string_equal(e->alpn, "two");
	assert_string_equal(e->authority, "localhost");
	end_all();
	certs_remove(certs_dir);
}

/* A DTLS client that may not connect gets no answer, not even a cookie. */
static void test_dtls(void **state)
{
	char keys[300], url[400];

	(void)state;
	make_certs();
	snprintf(keys, sizeof(keys), "cert=%1$s/alice.pem&key=%1$s/alice.key&ca=%1$s/ca.pem", certs_dir);
	for (int denied = 0; denied < 2; denied++) {
		snprintf(url, sizeof(url), "dtls://127.0.0.1:0?%s&%s", keys,
			 denied ? "deny=127.0.0.1" : "allow=127.0.0.1");
		serve(url);
		snprintf(url, sizeof(url), "%s?%s&handshake=%s", tn_server_url(w.server, 0), keys,
			 denied ? "100ms" : "30s");
		assert_int_equal(tn_dial(w.loop, url, &onward_handler, NULL, &w.onward.conn), 0);
		th_until(w.loop, denied ? w.onward.closes && w.troubles : w.onward.opens && w.nends);
		assert_int_equal(w.nends, !denied);
		assert_int_equal(w.trouble_err, denied ? -EACCES : 0);
		end_all();
	}
	certs_remove(certs_dir);
}

static void test_websocket(void **state)
{
	static const char upgrade[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
				      "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
				      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
	int fd;

	(void)state;
	serve("ws://127.0.0.1:0?proxy=accept&trust=127.0.0.1");
	fd = th_tcp_dial(port_of(w.server));
	say(fd, V2_INET, sizeof(V2_INET) - 1);
	say(fd, upgrade, sizeof(upgrade) - 1);
	th_until(w.loop, w.nends == 1);
	assert_string_equal(w.ends[0].peer, "192.0.2.1:1234");
	assert_string_equal(w.ends[0].info, "ws://192.0.2.1:1234");
	close(fd);
	end_all();
}

/* ---- datagrams ---- */

static int udp_socket(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port_of(w.server)),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void expect_reply(int fd)
{
	ssize_t n = -1;
	char got[64];

	th_set_nonblock(fd);
	th_until(w.loop, (n = read(fd, got, sizeof(got))) >= 0 || errno != EAGAIN);
	assert_int_equal(n, 5);
	assert_memory_equal(got, "reply", 5);
}

/* Each datagram has its header, and the reply goes back to who sent it, without one. */
static void test_datagrams(void **state)
{
	struct tn_conn_info info;
	char dgram[200];
	int fd;

	(void)state;
	serve("udp://127.0.0.1:0?proxy=accept&trust=127.0.0.1");
	w.replies = true;
	th_until(w.loop, w.nends == 1);
	fd = udp_socket();
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		struct end *e = &w.ends[0];

		if (headers[i].data[0] == 'P') /* version 1 */
			continue;
		e->len = 0;
		memcpy(dgram, headers[i].data, headers[i].len);
		memcpy(dgram + headers[i].len, "hi", 2);
		say(fd, dgram, headers[i].len + 2);
		th_until(w.loop, e->len == 2);
		assert_string_equal(e->got, "hi");
		if (headers[i].peer)
			assert_string_equal(e->peer, headers[i].peer);
		else
			assert_int_equal(strncmp(e->peer, "127.0.0.1:", 10), 0);
		assert_int_equal(e->proxied, 0);
		assert_int_equal(strncmp(e->sender, "127.0.0.1:", 10), 0);
		expect_reply(fd);
	}
	w.ends[0].len = 0;
	for (size_t len = 1; len < sizeof(V2_TLV) - 1; len++)
		say(fd, V2_TLV, len);
	say(fd, V1, sizeof(V1) - 1);
	say(fd, "hello", 5);
	th_until(w.loop, (tn_conn_info(w.ends[0].conn, &info), info.lost) == sizeof(V2_TLV) - 2 + 2);
	assert_int_equal(w.ends[0].len, 0);
	th_until(w.loop, w.troubles > 0);
	assert_int_equal(w.trouble_err, TN_EFORMAT);
	close(fd);
	end_all();
}

/* A header is of its own datagram alone, also where nobody is handed that. */
static void test_datagrams_without_a_message(void **state)
{
	static const char *const keys[] = {"deny=192.0.2.0/24", "format=json"};
	struct tn_conn_info info;
	struct tn_proxy proxy;
	char url[200];
	int fd;

	(void)state;
	for (int i = 0; i < (tn_format_kind("json") < 0 ? 1 : 2); i++) {
		snprintf(url, sizeof(url), "udp://127.0.0.1:0?proxy=accept&trust=127.0.0.1&%s", keys[i]);
		serve(url);
		th_until(w.loop, w.nends == 1);
		fd = udp_socket();
		say(fd, BYTES(V2_INET "no JSON"));
		th_until(w.loop, (tn_conn_info(w.ends[0].conn, &info), info.lost == 1));
		assert_int_equal(tn_conn_proxy(w.ends[0].conn, &proxy), -EOPNOTSUPP);
		close(fd);
		end_all();
	}
}

static void test_datagrams_refused(void **state)
{
	static const struct {
		const char *url, *data;
		size_t len;
	} rows[] = {
		{"udp://127.0.0.1:0?proxy=accept&trust=127.0.0.2", BYTES(V2_INET "hi")},
		{"udp://127.0.0.1:0?proxy=accept&trust=127.0.0.1&deny=192.0.2.1", BYTES(V2_INET "hi")},
		{"udp://127.0.0.1:0?allow=127.0.0.2", BYTES("hi")},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tn_conn_info info;
		int fd;

		serve(rows[i].url);
		th_until(w.loop, w.nends == 1);
		fd = udp_socket();
		say(fd, rows[i].data, rows[i].len);
		th_until(w.loop, (tn_conn_info(w.ends[0].conn, &info), info.lost) == 1 && w.troubles == 1);
		assert_int_equal(w.trouble_err, -EACCES);
		assert_int_equal(w.ends[0].len, 0);
		assert_int_equal(info.msgs_in, 0);
		close(fd);
		end_all();
	}
}

static void test_datagrams_sent(void **state)
{
	struct target t;
	int fd;

	(void)state;
	serve("udp://127.0.0.1:0");
	serve_target(&t, "udp://127.0.0.1:0?proxy=accept&trust=127.0.0.1", "proxy=v2&proxy-tlv=0xe1:mark");
	th_until(w.loop, w.nends == 2);
	w.relay_to = t.url;
	fd = udp_socket();
	say(fd, "hi", 2);
	w.replies = true;
	th_until(w.loop, w.ends[1].len == 6);
	assert_string_equal(w.ends[1].got, "onward");
	assert_string_equal(w.ends[1].peer, w.ends[0].peer);
	assert_string_equal(w.ends[1].mark, "mark");
	th_until(w.loop, w.onward.len == 5);
	assert_string_equal(w.onward.got, "reply");
	assert_int_equal(tn_send(w.onward.conn, "more", 4), 0);
	th_until(w.loop, w.ends[1].len == 10);
	close(fd);
	end_all();
}

/* ---- URLs that make no sense ---- */

static void test_urls(void **state)
{
	static const struct {
		enum tn_role role;
		const char *url, *why;
	} rows[] = {
		{TN_SERVE, "tcp://127.0.0.1:1?proxy=accept", "from whom?"},
		{TN_SERVE, "fd:0?proxy=accept", "from whom?"},
		{TN_SERVE, "tcp://127.0.0.1:1?trust=127.0.0.1", "applies with proxy=accept only"},
		{TN_SERVE, "tcp://127.0.0.1:1?proxy=v1", "served endpoints take accept, dialled ones v1 or v2"},
		{TN_DIAL, "tcp://127.0.0.1:1?proxy=accept", "served endpoints take accept, dialled ones v1 or v2"},
		{TN_DIAL, "udp://127.0.0.1:1?proxy=v1", "version 1 is for streams alone"},
		{TN_DIAL, "dtls://127.0.0.1:1?proxy=v2", "applies to streams and udp only"},
		{TN_DIAL, "unix-dgram:/x?proxy=v2", "applies to streams and udp only"},
		{TN_DIAL, "tcp://127.0.0.1:1?proxy=v1&proxy-tlv=crc32c", "applies with proxy=v2 only"},
		{TN_DIAL, "tcp://127.0.0.1:1?proxy=v2&proxy-tlv=0x03:x", "it takes: crc32c"},
		{TN_DIAL, "tcp://127.0.0.1:1?proxy=v2&proxy-tlv=0xe1", "it takes: crc32c"},
		{TN_DIAL, "tcp://127.0.0.1:1?allow=10.0.0.1", "applies to served endpoints only"},
		{TN_SERVE, "tcp://127.0.0.1:1?allow=10.0.0.1/8", "has bits set behind its first 8"},
		{TN_SERVE, "tcp://127.0.0.1:1?allow=10.0.0.1,example.org", "'example.org' is no address"},
		{TN_SERVE, "tcp://127.0.0.1:1?allow=", "'' is no address"},
		{TN_SERVE, "tcp://127.0.0.1:1?deny=/no/such/file", "no file /no/such/file"},
		{TN_SERVE, "tcp://127.0.0.1:1?handshake=1s", "with proxy=accept, only"},
		{TN_SERVE, "udp://127.0.0.1:1?handshake=1s&proxy=accept&trust=::1", "with proxy=accept, only"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (tn_url_check(rows[i].url, rows[i].role) != TN_EURL)
			fail_msg("%s is taken", rows[i].url);
		if (!strstr(tn_errmsg(), rows[i].why))
			fail_msg("%s: %s", rows[i].url, tn_errmsg());
	}
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?handshake=1s&trust=unix,::1&proxy=accept", TN_SERVE), 0);
	assert_int_equal(tn_url_check("unix:/x?proxy=accept", TN_SERVE), 0);
	assert_int_equal(tn_url_check("udp://127.0.0.1:1?proxy=v2&proxy-tlv=0xE1:a b", TN_DIAL), 0);
}

int main(int argc, char **argv)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, th_setup, th_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_taken),          TEST(test_refused),
		TEST(test_late),           TEST(test_stranger),
		TEST(test_lists),          TEST(test_list_in_a_file),
		TEST(test_inherited),      TEST(test_reload_over_loops),
		TEST(test_per_source),     TEST(test_sent),
		TEST(test_passed_on),      TEST(test_own),
		TEST(test_unix),           TEST(test_tls),
		TEST(test_dtls),           TEST(test_websocket),
		TEST(test_datagrams),      TEST(test_datagrams_refused),
		TEST(test_datagrams_sent), TEST(test_datagrams_without_a_message),
		TEST(test_urls),
	};

	return th_main(argc, argv, "proxied", tests, sizeof(tests) / sizeof(tests[0]));
}
