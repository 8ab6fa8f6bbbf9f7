/* Servers of WebSocket at one address, each at a path of its own: who gets which client, with whose keys and limits,
 * and who goes on when one of them ends. */
#include "harness.h"

#include "../support/certs.h"
#include "conn/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TEXT_MAX 320

struct site {
	struct tn_server *server;
	int opens, closes, watched, troubles;
	bool gone;
};

struct client {
	struct tn_conn *conn;
	int opens, closes, err;
	char got[64], why[TEXT_MAX];
};

struct rig {
	struct tn_loop *loop;
	bool file; /* a Unix socket; otherwise TCP */
	char where[TEXT_MAX];
	struct site a, b;
};

/* ---- servers ---- */

static void on_open(struct tn_conn *conn, void *arg)
{
	struct site *site = arg;

	assert_ptr_equal(tn_conn_server(conn), site->server);
	site->opens++;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	assert_int_equal(tn_forward(conn, msg), 0);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct site *site = arg;

	(void)conn, (void)err;
	site->closes++;
}

static void watch_open(struct tn_conn *conn, void *arg)
{
	struct site *site = arg;

	(void)conn;
	site->watched++;
}

static void watch_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	struct site *site = arg;

	(void)text;
	assert_ptr_equal(server, site->server);
	site->troubles += err == TN_ELIMIT; /* and not requests for what is not served */
}

static int serve_at(struct rig *r, struct site *site, const char *path, const char *keys)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};
	static const struct tn_watch watch = {.on_open = watch_open, .on_trouble = watch_trouble};
	char url[2 * TEXT_MAX];
	int rc;

	if (r->file)
		snprintf(url, sizeof(url), "%s?path=%s%s%s", r->where, path, *keys ? "&" : "", keys);
	else
		snprintf(url, sizeof(url), "%s%s%s%s", r->where, path, *keys ? "?" : "", keys);
	rc = tn_serve(r->loop, url, &handler, site, &site->server);
	if (rc == 0)
		tn_server_watch(site->server, &watch, site);
	return rc;
}

static void serve(struct rig *r, struct site *site, const char *path, const char *keys)
{
	if (serve_at(r, site, path, keys) < 0)
		fail_msg("%s", tn_errmsg());
}

static void site_gone(void *arg)
{
	struct site *site = arg;

	site->gone = true;
}

static void close_site(struct rig *r, struct site *site)
{
	tn_server_close(site->server, 60000, site_gone, site);
	th_until(r->loop, site->gone);
}

static struct rig rig_new(bool file)
{
	struct rig r = {.loop = th_loop(), .file = file};

	if (file)
		snprintf(r.where, sizeof(r.where), "ws+unix:%s/s", th_dir);
	else
		snprintf(r.where, sizeof(r.where), "ws://127.0.0.1:0");
	return r;
}

/* ---- clients ---- */

static void client_open(struct tn_conn *conn, void *arg)
{
	struct client *c = arg;

	(void)conn;
	c->opens++;
}

static void client_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct client *c = arg;

	(void)conn;
	assert_true(msg->len < sizeof(c->got));
	memcpy(c->got, msg->data, msg->len);
	c->got[msg->len] = '\0';
}

static void client_close(struct tn_conn *conn, int err, void *arg)
{
	struct client *c = arg;

	(void)conn;
	c->closes++;
	c->err = err;
	c->conn = NULL;
	snprintf(c->why, sizeof(c->why), "%s", tn_errmsg());
}

static void dial(struct rig *r, struct client *c, const char *path)
{
	static const struct tn_handler handler = {
		.on_open = client_open, .on_msg = client_msg, .on_close = client_close};
	char url[2 * TEXT_MAX];

	*c = (struct client){0};
	snprintf(url, sizeof(url), "%s%s%s", r->where, r->file ? "?path=" : "", path);
	if (tn_dial(r->loop, url, &handler, c, &c->conn) < 0)
		fail_msg("%s", tn_errmsg());
	th_until(r->loop, c->opens || c->closes);
}

/* A client that says nothing. */
static int connect_to(const struct rig *r)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (!r->file)
		return th_tcp_dial(atoi(strrchr(r->where, ':') + 1));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", th_dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* It is served at the path, which echoes. */
static void expect_echo(struct rig *r, struct client *c, const char *text)
{
	assert_int_equal(c->opens, 1);
	assert_int_equal(tn_send(c->conn, text, strlen(text)), 0);
	th_until(r->loop, strcmp(c->got, text) == 0 || c->closes);
	assert_int_equal(c->closes, 0);
}

static void expect_refusal(struct client *c, const char *words)
{
	assert_int_equal(c->opens, 0);
	assert_int_equal(c->closes, 1);
	if (!strstr(c->why, words))
		fail_msg("'%s' is not in '%s'", words, c->why);
}

static void hang_up(struct rig *r, struct client *c)
{
	if (c->conn)
		tn_close(c->conn);
	th_until(r->loop, c->closes);
}

/* ---- tests: each over TCP and over a Unix socket ---- */

/* Serves /a, and then /b at the same place: of TCP at the port that the kernel has chosen for /a. */
static void both_served(struct rig *r, const char *a_keys, const char *b_keys)
{
	serve(r, &r->a, "/a", a_keys);
	if (!r->file) {
		const char *url = tn_server_url(r->a.server, 0);

		snprintf(r->where, sizeof(r->where), "%.*s", (int)(strstr(url, "/a") - url), url);
	}
	serve(r, &r->b, "/b", b_keys);
	assert_int_equal(tn_server_nurls(r->b.server), tn_server_nurls(r->a.server));
	assert_non_null(strstr(tn_server_url(r->b.server, 0), r->file ? "b" : "/b"));
}

static void test_each_has_its_clients(void **state)
{
	struct rig r = rig_new(*state != NULL);
	struct client a, b, b2, c;

	both_served(&r, "", "");
	dial(&r, &a, "/a");
	dial(&r, &b, "/b");
	dial(&r, &b2, "/b");
	dial(&r, &c, "/c");
	expect_refusal(&c, "404");
	expect_echo(&r, &a, "to a");
	expect_echo(&r, &b, "to b");
	expect_echo(&r, &b2, "to b too");
	assert_int_equal(r.a.opens, 1);
	assert_int_equal(r.a.watched, 1);
	assert_int_equal(r.b.opens, 2);
	assert_int_equal(r.b.watched, 2);
	th_until(r.loop, tn_server_nconns(r.a.server) == 1);
	th_until(r.loop, tn_server_nconns(r.b.server) == 2);
	hang_up(&r, &a);
	hang_up(&r, &b);
	hang_up(&r, &b2);
	th_until(r.loop, tn_server_nconns(r.a.server) + tn_server_nconns(r.b.server) == 0);
	assert_int_equal(r.a.closes, 1);
	assert_int_equal(r.b.closes, 2);
	tn_loop_free(r.loop);
}

static void test_each_has_its_keys(void **state)
{
	struct rig r = rig_new(*state != NULL);
	struct client a, b;

	both_served(&r, "max=1KiB", "max=4&format=json");
	dial(&r, &a, "/a");
	dial(&r, &b, "/b");
	expect_echo(&r, &a, "longer than four");
	expect_echo(&r, &b, "1234");
	assert_int_equal(tn_send(b.conn, "12345", 5), 0);
	th_until(r.loop, b.closes);
	assert_string_not_equal(b.got, "12345");
	dial(&r, &b, "/b");
	assert_int_equal(tn_send(b.conn, "no", 2), 0); /* no JSON */
	th_until(r.loop, b.closes);
	expect_echo(&r, &a, "no JSON either");
	hang_up(&r, &a);
	tn_loop_free(r.loop);
}

static void test_each_has_its_limit(void **state)
{
	struct rig r = rig_new(*state != NULL);
	struct client a, b[2];

	both_served(&r, "", "");
	tn_server_limit(r.b.server, 1);
	dial(&r, &b[0], "/b");
	dial(&r, &b[1], "/b"); /* whoever of the two accepts it */
	expect_refusal(&b[1], "503");
	dial(&r, &a, "/a");
	expect_echo(&r, &a, "a");
	expect_echo(&r, &b[0], "b");
	th_until(r.loop, r.b.troubles == 1);
	hang_up(&r, &b[0]);
	th_until(r.loop, tn_server_nconns(r.b.server) == 0);
	dial(&r, &b[1], "/b");
	expect_echo(&r, &b[1], "b again");
	hang_up(&r, &b[1]);
	hang_up(&r, &a);
	tn_loop_free(r.loop);
}

/* Of one server alone before the request has come, of two when it is known what is asked for. */
static void test_lists_are_told_as_such(void **state)
{
	static const char *const keys[] = {"deny=127.0.0.1,unix", "allow=192.0.2.1"};

	for (int i = 0; i < 2; i++) {
		struct rig r = rig_new(*state != NULL);
		struct client c;

		both_served(&r, keys[i], keys[i]);
		dial(&r, &c, "/a");
		expect_refusal(&c, "403");
		close_site(&r, &r.b);
		dial(&r, &c, "/a");
		expect_refusal(&c, "403");
		tn_loop_free(r.loop);
	}
}

static void test_each_counts_its_sources(void **state)
{
	struct rig r = rig_new(*state != NULL);
	struct client a, b[3];

	both_served(&r, "", "per-source=2");
	dial(&r, &a, "/a");
	for (int i = 0; i < 3; i++)
		dial(&r, &b[i], "/b");
	expect_refusal(&b[2], "503");
	expect_echo(&r, &b[0], "b");
	expect_echo(&r, &b[1], "b");
	expect_echo(&r, &a, "a");
	hang_up(&r, &b[0]);
	th_until(r.loop, tn_server_nconns(r.b.server) == 1);
	dial(&r, &b[0], "/b");
	expect_echo(&r, &b[0], "b");
	tn_loop_free(r.loop);
}

/* At every moment no more than a tenth of a second's worth, one that was under way, and what the time since has added:
 * whoever accepts them, also when a third server comes and the first has gone. */
static void test_all_share_the_accept_rate(void **state)
{
	struct rig r = rig_new(*state != NULL);
	struct site c = {0};
	uint64_t start;
	int fds[16];

	both_served(&r, "accept-rate=50", "accept-rate=50");
	for (int round = 0; round < 2; round++) {
		const struct site *x = round ? &c : &r.a;
		unsigned in = 0;

		start = th_now_ms();
		for (int i = 0; i < 16; i++)
			fds[i] = connect_to(&r);
		while (in < 16) {
			assert_true(tn_loop_step(r.loop, 5) >= 0);
			in = tn_server_nconns(x->server) + tn_server_nconns(r.b.server);
			assert_true(in <= 8 + (th_now_ms() - start) * 50 / 1000);
			th_check_deadline(start + TH_PATIENCE_MS, "all are let in", __FILE__, __LINE__);
		}
		for (int i = 0; i < 16; i++)
			close(fds[i]);
		th_until(r.loop, tn_server_nconns(x->server) + tn_server_nconns(r.b.server) == 0);
		if (!round) {
			serve(&r, &c, "/c", "accept-rate=50");
			close_site(&r, &r.a);
		}
	}
	tn_loop_free(r.loop);
}

/* One that was accepted while its server was alone at the address, and one that comes when it is so again. */
static void test_a_source_counts_once(void **state)
{
	struct rig r = rig_new(*state != NULL);
	struct client b[2];

	both_served(&r, "", "per-source=1");
	close_site(&r, &r.a);
	for (int i = 0; i < 3; i++) {
		dial(&r, &b[0], "/b");
		expect_echo(&r, &b[0], "alone");
		dial(&r, &b[1], "/b");
		assert_int_equal(b[1].opens, 0);
		hang_up(&r, &b[0]);
		th_until(r.loop, tn_server_nconns(r.b.server) == 0);
	}
	tn_loop_free(r.loop);
}

/* The listener, and a Unix socket's file, are there as long as one of them is. */
static void test_either_may_end_first(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct rig r = rig_new(*state != NULL);
		struct client of_first, of_last, late;
		struct site *ends, *stays;
		const char *path[] = {first ? "/b" : "/a", first ? "/a" : "/b"};

		both_served(&r, "", "");
		ends = first ? &r.b : &r.a;
		stays = first ? &r.a : &r.b;
		dial(&r, &of_first, path[0]);
		dial(&r, &of_last, path[1]);
		close_site(&r, ends);
		th_until(r.loop, of_first.closes);
		expect_echo(&r, &of_last, "still here");
		dial(&r, &late, path[0]);
		expect_refusal(&late, "404");
		dial(&r, &late, path[1]);
		expect_echo(&r, &late, "as ever");
		*ends = (struct site){0};
		serve(&r, ends, path[0], ""); /* again */
		dial(&r, &of_first, path[0]);
		expect_echo(&r, &of_first, "again");
		close_site(&r, stays);
		expect_echo(&r, &of_first, "alone");
		close_site(&r, ends);
		th_until(r.loop, of_first.closes && of_last.closes && late.closes);
		tn_loop_free(r.loop);
	}
}

/* Accepted by a server that ends before it is known that the client wants the other. */
static void test_a_client_moves_out_of_a_draining_server(void **state)
{
	static const char rest[] = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
				   "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
	struct rig r = rig_new(true);
	struct site *ends, *stays;
	char head[64];
	int fds[8];

	(void)state;
	both_served(&r, "", "");
	for (int i = 0; i < 8; i++)
		fds[i] = connect_to(&r);
	th_until(r.loop, tn_server_nconns(r.a.server) + tn_server_nconns(r.b.server) == 8);
	ends = tn_server_nconns(r.a.server) ? &r.a : &r.b; /* whoever has accepted them */
	stays = ends == &r.a ? &r.b : &r.a;
	snprintf(head, sizeof(head), "GET /%s HTTP/1.1\r\nHost: localhost\r\n", stays == &r.a ? "a" : "b");
	for (int i = 0; i < 8; i += 2) /* the others do not say anything yet */
		assert_int_equal(send(fds[i], head, strlen(head), 0), strlen(head));
	tn_server_close(ends->server, 60000, site_gone, ends);
	th_turn_for(r.loop, 300); /* for longer than a server that drains waits for the quiet */
	for (int i = 0; i < 8; i++) {
		if (i % 2)
			assert_int_equal(send(fds[i], head, strlen(head), MSG_NOSIGNAL), strlen(head));
		assert_int_equal(send(fds[i], rest, strlen(rest), MSG_NOSIGNAL), strlen(rest));
	}
	th_until(r.loop, stays->opens == 8 && ends->gone);
	assert_int_equal(tn_server_nconns(stays->server), 8);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	th_until(r.loop, stays->closes == 8);
	tn_loop_free(r.loop);
}

static void test_what_cannot_be_shared(void **state)
{
	struct rig r = rig_new(*state != NULL);
	struct site c = {0};
	struct client a, b;

	both_served(&r, "", "");
	assert_int_equal(serve_at(&r, &c, "/a", ""), -EADDRINUSE);
	assert_non_null(strstr(tn_errmsg(), "this path is served there already"));
	assert_int_equal(serve_at(&r, &c, "/c", "backlog=7"), -EADDRINUSE);
	assert_non_null(strstr(tn_errmsg(), "the key backlog"));
	assert_int_equal(serve_at(&r, &c, "/c", "sndbuf=100000"), -EADDRINUSE);
	assert_non_null(strstr(tn_errmsg(), "the key sndbuf"));
	dial(&r, &a, "/a");
	dial(&r, &b, "/b");
	expect_echo(&r, &a, "a");
	expect_echo(&r, &b, "b");
	close_site(&r, &r.b);
	close_site(&r, &r.a);
	tn_loop_free(r.loop);
}

static void test_not_all_addresses(void **state)
{
	struct rig r = rig_new(false);
	struct site b = {0};
	char url[TEXT_MAX];
	const char *port;

	(void)state;
	snprintf(r.where, sizeof(r.where), "ws://localhost:0");
	serve(&r, &r.a, "/a", "");
	if (tn_server_nurls(r.a.server) < 2) /* no IPv6 here */
		skip();
	port = strrchr(tn_server_url(r.a.server, 0), ':');
	snprintf(r.where, sizeof(r.where), "ws://127.0.0.1%.*s", (int)(strlen(port) - 2), port);
	assert_int_equal(serve_at(&r, &b, "/b", ""), -EADDRINUSE);
	assert_non_null(strstr(tn_errmsg(), "at some of its addresses"));
	snprintf(url, sizeof(url), "ws://localhost%.*s", (int)(strlen(port) - 2), port);
	snprintf(r.where, sizeof(r.where), "%s", url);
	serve(&r, &b, "/b", "");
	tn_loop_free(r.loop);
}

/* ---- files that are read again ---- */

static char certs_dir[64];

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s", certs_dir, name);
	out = fopen(path, "w");
	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

/* A certificate with its key takes the place of those that are served. */
static void show(const char *cn)
{
	static const char *const ends[] = {"pem", "key"};
	char from[128], to[128];

	for (int i = 0; i < 2; i++) {
		snprintf(from, sizeof(from), "%s/%s.%s", certs_dir, cn, ends[i]);
		snprintf(to, sizeof(to), "%s/peer.%s", certs_dir, ends[i]);
		assert_int_equal(unlink(to) < 0 && errno != ENOENT, 0);
		assert_int_equal(link(from, to), 0);
	}
}

static void expect_identity(struct rig *r, const char *path, const char *identity)
{
	struct tn_security security;
	struct client c;
	char full[128];

	snprintf(full, sizeof(full), "%s?ca=%s/ca.pem", path, certs_dir);
	dial(r, &c, full);
	expect_echo(r, &c, "hello");
	assert_int_equal(tn_conn_security(c.conn, &security), 0);
	assert_string_equal(security.identity, identity);
	hang_up(r, &c);
}

/* What each server holds is compared, since a server also reads its files by itself, sooner or later. */
static void test_a_reload_reaches_all_at_the_address(void **state)
{
	struct rig r = {.loop = th_loop(), .where = "wss://127.0.0.1:0"};
	const struct tni_creds *a, *b;
	const struct tni_access *lists;
	char keys[2 * TEXT_MAX], a_keys[3 * TEXT_MAX];
	struct client full;

	(void)state;
	snprintf(certs_dir, sizeof(certs_dir), "/tmp/tenon-sites-XXXXXX");
	assert_non_null(mkdtemp(certs_dir));
	certs_make(certs_dir, "ca", NULL, NULL, -1, 1);
	certs_make(certs_dir, "old", "ca", "IP:127.0.0.1", -1, 1);
	certs_make(certs_dir, "new", "ca", "IP:127.0.0.1", -1, 1);
	write_file("allow", "127.0.0.1\n");
	snprintf(keys, sizeof(keys), "cert=%1$s/peer.pem&key=%1$s/peer.key", certs_dir);
	snprintf(a_keys, sizeof(a_keys), "%s&allow=%s/allow", keys, certs_dir);
	show("old");
	both_served(&r, a_keys, keys);
	tn_server_limit(r.a.server, 1); /* whoever comes while it is full is taken by the other */
	expect_identity(&r, "/a", "CN=old");

	/* One is told to, and both show the new certificate, which a client sees before it says whom it wants. */
	a = r.a.server->creds;
	b = r.b.server->creds;
	lists = r.a.server->access;
	show("new");
	assert_int_equal(tn_server_reload(r.b.server), 0);
	assert_ptr_not_equal(r.a.server->creds, a);
	assert_ptr_not_equal(r.b.server->creds, b);
	assert_ptr_equal(r.a.server->access, lists); /* lists are each server's own */
	expect_identity(&r, "/a", "CN=new");
	snprintf(a_keys, sizeof(a_keys), "/a?ca=%s/ca.pem", certs_dir);
	dial(&r, &full, a_keys);
	expect_identity(&r, "/b", "CN=new");

	/* What cannot be used changes nothing: neither certificates nor lists, of neither server. */
	a = r.a.server->creds;
	b = r.b.server->creds;
	lists = r.a.server->access;
	show("old");
	write_file("allow", "nonsense\n");
	assert_int_equal(tn_server_reload(r.a.server), TN_EURL);
	assert_ptr_equal(r.a.server->creds, a);
	assert_ptr_equal(r.b.server->creds, b);
	assert_ptr_equal(r.a.server->access, lists);
	assert_int_equal(tn_server_reload(r.b.server), 0); /* it has no lists */
	assert_ptr_not_equal(r.a.server->creds, a);
	assert_ptr_not_equal(r.b.server->creds, b);
	a = r.a.server->creds;
	b = r.b.server->creds;
	show("new");
	write_file("allow", "127.0.0.1\n");
	snprintf(keys, sizeof(keys), "%s/peer.key", certs_dir);
	assert_int_equal(unlink(keys), 0);
	assert_int_equal(tn_server_reload(r.a.server), TN_EURL);
	assert_int_equal(tn_server_reload(r.b.server), TN_EURL);
	assert_ptr_equal(r.a.server->creds, a);
	assert_ptr_equal(r.b.server->creds, b);
	assert_ptr_equal(r.a.server->access, lists);

	/* One that has ended is not asked any more, and one that is alone is its own. */
	hang_up(&r, &full);
	close_site(&r, &r.b);
	show("new");
	assert_int_equal(tn_server_reload(r.a.server), 0);
	assert_ptr_not_equal(r.a.server->creds, a);
	assert_ptr_not_equal(r.a.server->access, lists);
	expect_identity(&r, "/a", "CN=new");
	tn_loop_free(r.loop);
	certs_remove(certs_dir);
}

#define OVER(name, fn, state)                                    \
	{                                                        \
		name, fn, th_setup, th_teardown, (void *)(state) \
	}
#define BOTH(fn) OVER(#fn " tcp", fn, NULL), OVER(#fn " unix", fn, "")

static const struct CMUnitTest tests[] = {
	BOTH(test_each_has_its_clients),
	BOTH(test_each_has_its_keys),
	BOTH(test_each_has_its_limit),
	BOTH(test_lists_are_told_as_such),
	BOTH(test_each_counts_its_sources),
	BOTH(test_a_source_counts_once),
	BOTH(test_all_share_the_accept_rate),
	BOTH(test_either_may_end_first),
	BOTH(test_what_cannot_be_shared),
	OVER("test_a_client_moves_out_of_a_draining_server", test_a_client_moves_out_of_a_draining_server, NULL),
	OVER("test_not_all_addresses", test_not_all_addresses, NULL),
	OVER("test_a_reload_reaches_all_at_the_address", test_a_reload_reaches_all_at_the_address, NULL),
};

int main(int argc, char **argv)
{
	return th_main(argc, argv, "sites", tests, sizeof(tests) / sizeof(tests[0]));
}
