/* Who looks on (tn_conn_tap()) sees what passes, each message once and in order, on every kind of connection. */
#include "harness.h"
#ifdef TNI_HAVE_TLS
#include "../support/certs.h"
#endif
#include "tenon_value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECURE 1u /* wants certificates */
#define DGRAM 2u  /* the server has one connection, and its clients no end */
#define BYTES 4u  /* pieces of a stream */

static const struct row {
	const char *url; /* %s is the test's directory */
	const char *keys;
	unsigned traits;
} rows[] = {
	{"tcp://127.0.0.1:0", "", BYTES},
	{"unix:%s/s", "", BYTES},
	{"tcp://127.0.0.1:0", "frame=u32", 0},
	{"unix-seqpacket:%s/s", "", 0},
	{"udp://127.0.0.1:0", "", DGRAM},
	{"unix-dgram:%s/s", "", DGRAM},
#ifdef TNI_HAVE_SHM
	{"shm:%s/s", "", BYTES},
	{"shm:%s/s", "frame=line", 0},
#endif
#ifdef TNI_HAVE_TLS
	{"tls://127.0.0.1:0", "", SECURE | BYTES},
	{"tls+unix:%s/s", "frame=u32", SECURE},
	{"dtls://127.0.0.1:0", "", SECURE},
	{"ws://127.0.0.1:0/a", "", 0},
	{"wss://127.0.0.1:0/a", "", SECURE},
#endif
};

static char certs_dir[64];

/* What somebody has seen: '<' or '>' and the message, '(' and ')' for the ends, '.' when it was closed. */
struct seen {
	char text[65536];
	size_t len;
	int err;
	char why[256];
	bool closed, had_peer;
};

static struct {
	struct tn_loop *loop;
	struct tn_server *server;
	struct tn_conn *served, *dialled, *other;
	struct seen of_served, of_dialled;
	size_t got, served_closes, dialled_closes;
	char why[256];
	bool refuses;
} w;

static void add(struct seen *seen, char what, const void *data, size_t len)
{
	if (seen->len + len + 1 > sizeof(seen->text))
		return;
	seen->text[seen->len++] = what;
	memcpy(seen->text + seen->len, data, len);
	seen->len += len;
}

static void look(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err, void *arg)
{
	struct seen *seen = arg;

	(void)conn;
	assert_false(seen->closed);
	assert_true((what == TN_TAP_IN || what == TN_TAP_OUT) == (msg != NULL));
	if (msg) {
		seen->had_peer |= msg->peer != NULL;
		add(seen, what == TN_TAP_IN ? '<' : '>', msg->data, msg->len);
	} else if (what != TN_TAP_CLOSED) {
		add(seen, what == TN_TAP_IN_END ? '(' : ')', "", 0);
	} else {
		add(seen, '.', "", 0);
		seen->closed = true;
		seen->err = err;
		snprintf(seen->why, sizeof(seen->why), "%s", tn_errmsg());
		(void)tn_parse_size("nonsense", &(uint64_t){0}); /* which leaves other words */
	}
}

static void served_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	w.served = conn;
	assert_int_equal(tn_conn_tap(conn, look, &w.of_served), 0);
}

static void served_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	w.served = conn;
	if (w.refuses)
		tn_abort(conn, -EPERM);
	else
		assert_true(tn_reply(conn, msg, msg->data, msg->len) >= 0);
}

static void served_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err, (void)arg;
	snprintf(w.why, sizeof(w.why), "%s", tn_errmsg());
	w.served = NULL;
	w.served_closes++;
}

static void dialled_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn, (void)arg;
	w.got += msg->len;
}

static void dialled_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err, (void)arg;
	w.dialled = NULL;
	w.dialled_closes++;
}

static const struct tn_handler serving = {.on_open = served_open, .on_msg = served_msg, .on_close = served_close};
static const struct tn_handler dialling = {.on_msg = dialled_msg, .on_close = dialled_close};

static void add_keys(char *url, size_t cap, const char *keys)
{
	size_t len = strlen(url);

	if (*keys)
		snprintf(url + len, cap - len, "%c%s", strchr(url, '?') ? '&' : '?', keys);
}

static void begin(const char *served, const char *keys)
{
	char url[1024];

	memset(&w, 0, sizeof(w));
	w.loop = th_loop();
	snprintf(url, sizeof(url), "%s", served);
	add_keys(url, sizeof(url), keys);
	if (tn_serve(w.loop, url, &serving, NULL, &w.server) < 0)
		fail_msg("%s: %s", url, tn_errmsg());
	snprintf(url, sizeof(url), "%s", tn_server_url(w.server, 0));
	add_keys(url, sizeof(url), keys);
	if (tn_dial(w.loop, url, &dialling, NULL, &w.dialled) < 0)
		fail_msg("%s: %s", url, tn_errmsg());
	assert_int_equal(tn_conn_tap(w.dialled, look, &w.of_dialled), 0);
}

static void is(const struct seen *seen, const char *text)
{
	char all[sizeof(seen->text) + 1];

	memcpy(all, seen->text, seen->len);
	all[seen->len] = '\0';
	assert_string_equal(all, text);
}

static void end(void)
{
	tn_loop_free(w.loop);
}

static void say(const char *text)
{
	size_t before = w.got;

	assert_true(tn_send(w.dialled, text, strlen(text)) >= 0);
	th_until(w.loop, w.got == before + strlen(text));
}

static void test_all_kinds(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		char url[1024], keys[512];

		if (th_is_sim() && row->traits & (DGRAM | SECURE) && strstr(row->url, "udp:"))
			continue; /* it doubles and loses datagrams */
		if (th_is_sim() && strstr(row->url, "dtls:"))
			continue;
		snprintf(url, sizeof(url), row->url, th_dir);
		snprintf(keys, sizeof(keys), "%s", row->keys);
		if (row->traits & SECURE)
			snprintf(keys, sizeof(keys), "%1$s%2$scert=%3$s/peer.pem&key=%3$s/peer.key&ca=%3$s/ca.pem",
				 row->keys, *row->keys ? "&" : "", certs_dir);
		begin(url, keys);
		say("one");
		say("two!");
		if (!th_is_sim() || !(row->traits & BYTES)) { /* it cuts streams into pieces */
			is(&w.of_served, "<one>one<two!>two!");
			is(&w.of_dialled, ">one<one>two!<two!");
		}
		assert_int_equal(w.of_served.had_peer, (row->traits & DGRAM) != 0);
		if (!(row->traits & DGRAM)) {
			assert_int_equal(tn_finish(w.dialled), 0);
			th_until(w.loop, w.served_closes && w.dialled_closes);
			assert_true(w.of_served.closed && w.of_dialled.closed);
			assert_int_equal(w.of_served.err, 0);
			assert_non_null(memmem(w.of_served.text, w.of_served.len, "(", 1));
			assert_non_null(memmem(w.of_dialled.text, w.of_dialled.len, ")", 1));
			assert_int_equal(w.of_served.text[w.of_served.len - 1], '.');
		}
		end();
		assert_true(w.of_served.closed && w.of_dialled.closed);
	}
}

/* By whatever call it is sent. */
static void test_every_call(void **state)
{
	const struct iovec iov[] = {{.iov_base = (void *)(uintptr_t) "a", .iov_len = 1},
				    {.iov_base = NULL, .iov_len = 0},
				    {.iov_base = (void *)(uintptr_t) "bc", .iov_len = 2}};
	struct tn_shared *shared;
	struct tn_handle *handle;

	(void)state;
	begin("tcp://127.0.0.1:0", "frame=u32");
	th_until(w.loop, w.served);
	assert_int_equal(tn_sendv(w.dialled, iov, 3), 0);
	assert_int_equal(tn_shared_new("shared", 6, TN_MSG_ANY, &shared), 0);
	assert_int_equal(tn_send_shared(w.dialled, shared), 0);
	tn_shared_unref(shared);
	assert_int_equal(tn_conn_handle(w.dialled, &handle), 0);
	assert_int_equal(tn_handle_send(handle, "mail", 4), 0);
	assert_int_equal(tn_send(w.dialled, "", 0), 0);
	assert_int_equal(tn_forward(w.dialled, &(struct tn_msg){.data = "on", .len = 2}), 0);
	th_until(w.loop, w.got == 3 + 6 + 4 + 2);
	assert_non_null(memmem(w.of_dialled.text, w.of_dialled.len, ">abc>shared", 11));
	assert_non_null(memmem(w.of_dialled.text, w.of_dialled.len, ">mail", 5));
	assert_non_null(memmem(w.of_dialled.text, w.of_dialled.len, ">>on", 4));
	/* What the frame refuses is not sent */
	assert_int_equal(tn_sendv(w.dialled, iov, 1 << 20), -EINVAL);
	tn_handle_unref(handle);
	end();
}

/* What was refused came all the same. */
static void test_bad_messages(void **state)
{
	(void)state;
#ifdef TNI_HAVE_JSON
	begin("tcp://127.0.0.1:0", "frame=line&format=json&bad=skip");
	assert_int_equal(tn_send(w.dialled, "{}", 2), 0);
	assert_int_equal(tn_send(w.dialled, "{", 1), 0);
	th_until(w.loop, w.of_served.len >= 8);
	is(&w.of_served, "<{}>{}<{");
	end();
#endif
}

/* The words of on_close are not those of who looks on. */
static void test_reason(void **state)
{
	(void)state;
	begin("tcp://127.0.0.1:0", "");
	w.refuses = true;
	assert_int_equal(tn_send(w.dialled, "x", 1), 0);
	th_until(w.loop, w.served_closes);
	assert_int_equal(w.of_served.err, -EPERM);
	assert_string_equal(w.of_served.why, w.why);
	assert_non_null(strstr(w.why, "not permitted"));
	end();
}

static void test_no_more(void **state)
{
	struct seen other = {0};

	(void)state;
	begin("tcp://127.0.0.1:0", "frame=u32");
	say("a");
	assert_int_equal(tn_conn_tap(w.dialled, look, &other), 0);
	say("b");
	assert_int_equal(tn_conn_tap(w.dialled, NULL, NULL), 0);
	assert_int_equal(tn_conn_tap(w.served, NULL, NULL), 0);
	say("c");
	end();
	is(&w.of_dialled, ">a<a");
	is(&other, ">b<b");
	is(&w.of_served, "<a>a<b>b");
}

/* ---- paths ---- */

#define MUCH (4u << 20)

struct counted {
	size_t in, out;
};

static void count(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err, void *arg)
{
	struct counted *counted = arg;

	(void)conn, (void)err;
	if (what == TN_TAP_IN) {
		assert_true(th_matches(msg->data, msg->len, counted->in));
		counted->in += msg->len;
	} else if (what == TN_TAP_OUT) {
		assert_true(th_matches(msg->data, msg->len, counted->out));
		counted->out += msg->len;
	}
}

/* Much is moved by splice(2), until somebody looks on; then all of it is seen, and nothing is lost in between. */
static void run_path(bool from_the_start)
{
	static unsigned char data[64 << 10];
	static const struct tn_handler nothing = {0};
	struct counted from = {0}, to = {0};
	struct tn_loop *loop = th_loop();
	int a[2], b[2];
	char url[32];
	struct tn_conn *one, *other;
	size_t sent = 0, got = 0;

	th_tcp_pair(a);
	th_tcp_pair(b);
	th_set_nonblock(a[0]);
	th_set_nonblock(b[0]);
	snprintf(url, sizeof(url), "fd:%d", a[1]);
	assert_int_equal(tn_dial(loop, url, &nothing, NULL, &one), 0);
	snprintf(url, sizeof(url), "fd:%d", b[1]);
	assert_int_equal(tn_dial(loop, url, &nothing, NULL, &other), 0);
	assert_int_equal(tn_join(one, other), 0);
	if (from_the_start) {
		assert_int_equal(tn_conn_tap(one, count, &from), 0);
		assert_int_equal(tn_conn_tap(other, count, &to), 0);
	}
	while (got < 2 * MUCH) {
		ssize_t n;

		if (sent < 2 * MUCH) {
			th_fill(data, sizeof(data), sent);
			n = write(a[0], data, sizeof(data) < 2 * MUCH - sent ? sizeof(data) : 2 * MUCH - sent);
			sent += n > 0 ? (size_t)n : 0;
		}
		assert_true(tn_loop_step(loop, 1) >= 0);
		while ((n = read(b[0], data, sizeof(data))) > 0) {
			assert_true(th_matches(data, (size_t)n, got));
			got += (size_t)n;
		}
		if (!from_the_start && !to.out && got >= MUCH && !from.in) {
			struct tn_conn_info info;

			tn_conn_info(one, &info);
			from.in = info.bytes_in;
			tn_conn_info(other, &info);
			to.out = from.in;
			assert_int_equal(tn_conn_tap(one, count, &from), 0);
			assert_int_equal(tn_conn_tap(other, count, &to), 0);
		}
	}
	assert_int_equal(from.in, 2 * MUCH);
	assert_int_equal(to.out, 2 * MUCH);
	tn_loop_free(loop);
	close(a[0]);
	close(b[0]);
}

static void test_path(void **state)
{
	(void)state;
	run_path(true);
	if (!th_is_sim())
		run_path(false);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, th_setup, th_teardown)
		TEST(test_all_kinds), TEST(test_every_call), TEST(test_bad_messages),
		TEST(test_reason),    TEST(test_no_more),    TEST(test_path),
	};
	int rc;

#ifdef TNI_HAVE_TLS
	snprintf(certs_dir, sizeof(certs_dir), "/tmp/tenon-certs-XXXXXX");
	if (!mkdtemp(certs_dir))
		return 1;
	certs_make(certs_dir, "ca", NULL, NULL, -1, 1);
	certs_make(certs_dir, "peer", "ca", "DNS:localhost,IP:127.0.0.1", -1, 1);
#endif
	rc = th_main(argc, argv, "tap", tests, sizeof(tests) / sizeof(tests[0]));
#ifdef TNI_HAVE_TLS
	certs_remove(certs_dir);
#endif
	return rc;
}
