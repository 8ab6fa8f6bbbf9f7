/*
 * Shared messages, on the public header alone: one to many, over every kind of connection and frame. A row is what a
 * URL says; each test runs on every row that has what it needs.
 */
#include "harness.h"
#ifdef TNI_HAVE_TLS
#include "../support/certs.h"
#endif
#include "../support/frames.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tenon_value.h"

/* ---- the rows ---- */

enum trait {
	BYTES = 1,     /* a stream without messages */
	SHORT = 2,     /* no message beyond 10,000 bytes */
	LOSSY = 4,     /* messages may be lost */
	DGRAM = 8,     /* one connection for all peers: nothing can be sent before they have */
	SECURE = 16,   /* wants certificates */
	WEB = 32,      /* text and binary are told apart */
	NOT_TEXT = 64, /* the test's bytes cannot be carried: no line feed */
	PACKED = 128,  /* compressed: it takes many messages to fill a socket */
};

static const struct row {
	const char *url;  /* %s is the test's directory */
	const char *keys; /* of both sides */
	unsigned traits;  /* enum trait */
} rows[] = {
	{"tcp://127.0.0.1:0", "", BYTES},
	{"unix:%s/s", "", BYTES},
	{"tcp://127.0.0.1:0", "frame=u32", 0},
	{"unix:%s/s", "frame=varint", 0},
	{"tcp://127.0.0.1:0", "frame=netstring", 0},
	{"tcp://127.0.0.1:0", "frame=line", NOT_TEXT},
	{"tcp://127.0.0.1:0", "frame=cobs", 0},
	{"unix:%s/s", "frame=slip", 0},
	{"shm:%s/s", "frame=u32", 0},
	{"tcp://127.0.0.1:0", "frame=head:offset=1,size=4,header=8", 0},
	{"unix:%s/s", "frame=until:end", 0},
	{"tcp://127.0.0.1:0", "frame=shared-u32", 0},
	{"unix-seqpacket:%s/s", "", 0},
	{"udp://127.0.0.1:0", "", SHORT | LOSSY | DGRAM},
#ifdef TNI_HAVE_TLS
	{"tls://127.0.0.1:0", "", BYTES | SECURE},
	{"tls+unix:%s/s", "frame=u32", SECURE},
	{"dtls://127.0.0.1:0", "", SHORT | LOSSY | SECURE},
	{"ws://127.0.0.1:0/a", "", WEB},
#ifdef TNI_HAVE_ZLIB
	{"ws+unix:%s/s", "deflate=on", WEB | PACKED},
	{"ws://127.0.0.1:0/a", "deflate=on&deflate-min=0", WEB | PACKED},
#endif
	{"wss://127.0.0.1:0/a", "", WEB | SECURE},
#endif
};

#define NROWS (sizeof(rows) / sizeof(rows[0]))

static char certs_dir[64];

/* Puts keys behind those that a URL has. */
static void add_keys(char *url, size_t cap, const char *keys)
{
	size_t len = strlen(url);

	if (*keys)
		snprintf(url + len, cap - len, "%c%s", strchr(url, '?') ? '&' : '?', keys);
}

static void add_certs(char *url, size_t cap, const struct row *row)
{
	char keys[256];

	snprintf(keys, sizeof(keys), "cert=%1$s/peer.pem&key=%1$s/peer.key&ca=%1$s/ca.pem", certs_dir);
	if (row->traits & SECURE)
		add_keys(url, cap, keys);
}

/* ---- a crowd: one server and those who listen to it ---- */

#define CROWD 5
#define KEEP (1 << 20)

struct crowd;

struct listener {
	struct crowd *crowd;
	struct tn_conn *conn;
	int closes, err, msgs;
	size_t len; /* of all that came, one message behind the other */
	size_t ends[64];
	enum tn_msg_kind kinds[64];
	unsigned char *got;
};

struct crowd {
	const struct row *row;
	struct tn_loop *loop;
	struct tn_server *server;
	int opened, served_msgs;
	struct tn_conn *served[CROWD];
	struct listener listeners[CROWD];
	/* What the server does with what it is sent. */
	void (*on_msg)(struct crowd *crowd, struct tn_conn *conn, const struct tn_msg *msg);
	struct tn_shared *kept;
};

static void served_open(struct tn_conn *conn, void *arg)
{
	struct crowd *crowd = arg;

	crowd->served[crowd->opened++ % CROWD] = conn;
}

static void served_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct crowd *crowd = arg;

	crowd->served_msgs++;
	if (crowd->on_msg)
		crowd->on_msg(crowd, conn, msg);
}

static void served_close(struct tn_conn *conn, int err, void *arg)
{
	struct crowd *crowd = arg;

	(void)err;
	for (int i = 0; i < CROWD; i++)
		if (crowd->served[i] == conn)
			crowd->served[i] = NULL;
}

static void heard(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct listener *l = arg;

	(void)conn;
	if (l->len + msg->len <= KEEP)
		memcpy(l->got + l->len, msg->data, msg->len);
	l->len += msg->len;
	l->ends[l->msgs % 64] = l->len;
	l->kinds[l->msgs++ % 64] = msg->kind;
}

static void heard_close(struct tn_conn *conn, int err, void *arg)
{
	struct listener *l = arg;

	(void)conn;
	l->conn = NULL;
	l->closes++;
	l->err = err;
}

static void dial_all(struct crowd *crowd, const char *keys)
{
	static const struct tn_handler handler = {.on_msg = heard, .on_close = heard_close};
	char url[1024];

	snprintf(url, sizeof(url), "%s", tn_server_url(crowd->server, 0));
	add_keys(url, sizeof(url), crowd->row->keys);
	add_keys(url, sizeof(url), keys);
	add_certs(url, sizeof(url), crowd->row);
	for (int i = 0; i < CROWD; i++) {
		struct listener *l = &crowd->listeners[i];

		l->crowd = crowd;
		l->got = malloc(KEEP);
		assert_non_null(l->got);
		if (tn_dial(crowd->loop, url, &handler, l, &l->conn) < 0)
			fail_msg("%s", tn_errmsg());
	}
}

static struct crowd *crowd_new(const struct row *row, const char *keys)
{
	static const struct tn_handler handler = {
		.on_open = served_open, .on_msg = served_msg, .on_close = served_close};
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	char url[1024];

	assert_non_null(crowd);
	crowd->row = row;
	crowd->loop = th_loop();
	snprintf(url, sizeof(url), row->url, th_dir);
	add_keys(url, sizeof(url), row->keys);
	add_keys(url, sizeof(url), keys);
	add_certs(url, sizeof(url), row);
	if (tn_serve(crowd->loop, url, &handler, crowd, &crowd->server) < 0)
		fail_msg("%s: %s", url, tn_errmsg());
	dial_all(crowd, keys);
	if (!(row->traits & DGRAM))
		th_until(crowd->loop, crowd->opened == CROWD);
	return crowd;
}

static void crowd_free(struct crowd *crowd)
{
	tn_loop_free(crowd->loop);
	for (int i = 0; i < CROWD; i++) {
		assert_int_equal(crowd->listeners[i].closes, 1);
		free(crowd->listeners[i].got);
	}
	tn_shared_unref(crowd->kept);
	free(crowd);
}

/* Bytes that every row can carry, with many zeros for deflate to squeeze. */
static void fill(unsigned char *data, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = i % 3 ? '0' : (unsigned char)('A' + (i / 3 + seed) % 20);
}

static struct tn_shared *make(size_t len, unsigned seed)
{
	unsigned char *data = malloc(len + 1);
	struct tn_shared *shared;

	assert_non_null(data);
	fill(data, len, seed);
	assert_int_equal(tn_shared_new(data, len, TN_MSG_ANY, &shared), 0);
	free(data);
	return shared;
}

static void send_to(struct tn_conn *conn, void *arg)
{
	assert_true(tn_send_shared(conn, arg) >= 0);
}

static bool all_have(const struct crowd *crowd, size_t len, int msgs)
{
	for (int i = 0; i < CROWD; i++)
		if (crowd->row->traits & BYTES ? crowd->listeners[i].len < len : crowd->listeners[i].msgs < msgs)
			return false;
	return true;
}

#define FOR_EACH_ROW(row, wanted, unwanted)                           \
	for (const struct row *row = rows; row < rows + NROWS; row++) \
		if ((row->traits & (wanted)) == (unsigned)(wanted) && !(row->traits & (unwanted)))

/* ---- what arrives ---- */

static const size_t lens[] = {1, 100, 1024, 1025, 3000, 9000, 40000, 70000, 150000};
#define NLENS (sizeof(lens) / sizeof(lens[0]))

/* Short ones behind one another, among messages that are not shared. */
static void talk_mixed(struct crowd *crowd, unsigned char *expected, size_t *total, int *msgs)
{
	for (unsigned i = 0; i < NLENS; i++) {
		struct tn_shared *shared;
		unsigned char own[30];

		if (lens[i] > (crowd->row->traits & SHORT ? 10000U : 1U << 20))
			continue;
		shared = make(lens[i], i);
		assert_int_equal(tn_server_each(crowd->server, send_to, shared), CROWD);
		fill(own, sizeof(own), i + 7);
		for (int n = 0; n < CROWD; n++)
			assert_true(tn_send(crowd->served[n], own, sizeof(own)) >= 0);
		assert_int_equal(tn_server_each(crowd->server, send_to, shared), CROWD);
		tn_shared_unref(shared);
		fill(expected + *total, lens[i], i);
		fill(expected + *total + lens[i], sizeof(own), i + 7);
		fill(expected + *total + lens[i] + sizeof(own), lens[i], i);
		*total += 2 * lens[i] + sizeof(own);
		*msgs += 3;
	}
}

static void test_arrives_as_it_was_made(void **state)
{
	unsigned char *expected = malloc(KEEP);

	(void)state;
	assert_non_null(expected);
	FOR_EACH_ROW(row, 0, LOSSY)
	{
		struct crowd *crowd = crowd_new(row, "queue=1MiB&max=1MiB");
		size_t total = 0;
		int msgs = 0;

		talk_mixed(crowd, expected, &total, &msgs);
		th_until(crowd->loop, all_have(crowd, total, msgs));
		for (int i = 0; i < CROWD; i++) {
			assert_int_equal(crowd->listeners[i].len, total);
			assert_memory_equal(crowd->listeners[i].got, expected, total);
			if (!(row->traits & BYTES))
				assert_int_equal(crowd->listeners[i].msgs, msgs);
		}
		crowd_free(crowd);
	}
	free(expected);
}

/* Over what loses messages: again and again, until all have one. */
static void test_arrives_over_datagrams(void **state)
{
	(void)state;
	FOR_EACH_ROW(row, LOSSY, DGRAM)
	{
		struct crowd *crowd = crowd_new(row, "");
		struct tn_shared *shared = make(3000, 1);
		uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;
		unsigned char expected[3000];

		fill(expected, sizeof(expected), 1);
		while (!all_have(crowd, 0, 1)) {
			tn_server_each(crowd->server, send_to, shared);
			th_turn_for(crowd->loop, 20);
			th_check_deadline(deadline, "a shared datagram", __FILE__, __LINE__);
		}
		for (int i = 0; i < CROWD; i++) {
			assert_int_equal(crowd->listeners[i].ends[0], sizeof(expected));
			assert_memory_equal(crowd->listeners[i].got, expected, sizeof(expected));
		}
		tn_shared_unref(shared);
		crowd_free(crowd);
	}
}

/* A datagram server sends to nobody in particular, but a dialled socket has its peer. */
static void test_datagram_sockets(void **state)
{
	(void)state;
	FOR_EACH_ROW(row, DGRAM, 0)
	{
		struct crowd *crowd = crowd_new(row, "");
		struct tn_shared *shared = make(100, 1);
		uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;

		th_until(crowd->loop, crowd->opened == 1);
		assert_int_equal(tn_send_shared(crowd->served[0], shared), -EDESTADDRREQ);
		while (!crowd->served_msgs) {
			assert_int_equal(tn_send_shared(crowd->listeners[0].conn, shared), 0);
			th_turn_for(crowd->loop, 20);
			th_check_deadline(deadline, "a shared datagram", __FILE__, __LINE__);
		}
		tn_shared_unref(shared);
		crowd_free(crowd);
	}
}

/* From the client as well: its WebSocket frames are masked, each with another mask. */
static void pass_to_all(struct crowd *crowd, struct tn_conn *conn, const struct tn_msg *msg)
{
	struct tn_shared *shared;
	size_t len;

	(void)conn;
	assert_int_equal(tn_shared_from(msg, &shared), 0);
	assert_memory_equal(tn_shared_data(shared, &len), msg->data, msg->len);
	assert_int_equal(len, msg->len);
	tn_server_each(crowd->server, send_to, shared);
	tn_shared_unref(shared);
}

static void test_received_is_passed_to_all(void **state)
{
	static const size_t sizes[] = {1, 2000, 20000, 60000, 200000};

	(void)state;
	FOR_EACH_ROW(row, 0, LOSSY)
	{
		struct crowd *crowd = crowd_new(row, "queue=1MiB&max=1MiB");
		unsigned char *expected = malloc(KEEP);
		size_t total = 0;

		assert_non_null(expected);
		crowd->on_msg = pass_to_all;
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			struct tn_shared *shared = make(sizes[i], (unsigned)i);

			assert_true(tn_send_shared(crowd->listeners[i % CROWD].conn, shared) >= 0);
			tn_shared_unref(shared);
			fill(expected + total, sizes[i], (unsigned)i);
			total += sizes[i];
			th_until(crowd->loop, all_have(crowd, total, (int)i + 1));
		}
		for (int i = 0; i < CROWD; i++) {
			assert_int_equal(crowd->listeners[i].len, total);
			assert_memory_equal(crowd->listeners[i].got, expected, total);
		}
		free(expected);
		crowd_free(crowd);
	}
}

/* ---- text and binary ---- */

static void test_kinds(void **state)
{
	static const enum tn_msg_kind kinds[] = {TN_MSG_TEXT, TN_MSG_BINARY, TN_MSG_ANY};
	struct tn_shared *shared;

	(void)state;
	FOR_EACH_ROW(row, WEB, 0)
	{
		struct crowd *crowd = crowd_new(row, "");

		for (int i = 0; i < 6; i++) { /* short and long */
			static char text[5000];

			memset(text, 'a', sizeof(text));
			assert_int_equal(tn_shared_new(text, i < 3 ? 5 : sizeof(text), kinds[i % 3], &shared), 0);
			tn_server_each(crowd->server, send_to, shared);
			tn_shared_unref(shared);
		}
		assert_int_equal(tn_shared_new("\xff", 1, TN_MSG_TEXT, &shared), 0);
		for (int i = 0; i < 2; i++)
			assert_int_equal(tn_send_shared(crowd->served[0], shared), TN_EUTF8);
		tn_shared_unref(shared);
		th_until(crowd->loop, all_have(crowd, 0, 6));
		for (int i = 0; i < CROWD; i++) {
			const enum tn_msg_kind *told = crowd->listeners[i].kinds;

			assert_true(told[0] == TN_MSG_TEXT && told[1] == TN_MSG_BINARY && told[2] == TN_MSG_BINARY);
			assert_true(told[3] == TN_MSG_TEXT && told[4] == TN_MSG_BINARY && told[5] == TN_MSG_BINARY);
		}
		crowd_free(crowd);
	}
}

static void test_values(void **state)
{
	struct tn_value *v = tn_value_new_map(NULL);
	struct tn_shared *shared = NULL;
	const char *text;
	size_t len;

	(void)state;
	if (tn_format_kind("json") < 0 || tn_format_kind("cbor") < 0) {
		tn_value_free(v);
		skip(); /* not in this build */
	}
	assert_int_equal(tn_value_put(v, "a", tn_value_new_int(v, 1)), 0);
	assert_int_equal(tn_shared_value("json", v, 0, &shared), 0);
	text = tn_shared_data(shared, &len);
	assert_int_equal(len, 7);
	assert_memory_equal(text, "{\"a\":1}", 7);
	tn_shared_unref(shared);
	assert_int_equal(tn_shared_value("cbor", v, 0, &shared), 0);
	text = tn_shared_data(shared, &len);
	assert_memory_equal(text, "\xa1\x61\x61\x01", 4);
	tn_shared_unref(shared);
	assert_int_equal(tn_shared_value("text", v, 0, &shared), TN_EREPR);
	assert_int_equal(tn_shared_value("nonsense", v, 0, &shared), -EINVAL);
	tn_value_free(v);
}

/* ---- bounds ---- */

/* A message that is refused is refused as tn_send() would. */
static void test_refused(void **state)
{
	struct tn_shared *shared = make(2000, 1), *empty = make(0, 1);

	(void)state;
	FOR_EACH_ROW(row, 0, LOSSY | BYTES)
	{
		struct crowd *crowd = crowd_new(row, "max=1000");
		struct tn_conn *conn = crowd->served[0];

		assert_int_equal(tn_send_shared(conn, shared), TN_ETOOBIG);
		assert_non_null(strstr(tn_errmsg(), "max"));
		assert_int_equal(tn_send_shared(conn, empty), tn_send(conn, "", 0));
		tn_close(conn);
		assert_int_equal(tn_send_shared(conn, shared), TN_ESTATE);
		crowd_free(crowd);
	}
	tn_shared_unref(shared);
	tn_shared_unref(empty);
}

/* A frame that cannot carry it says so, each time it is asked. */
static void test_frame_refuses(void **state)
{
	struct tn_shared *shared;

	(void)state;
	assert_int_equal(tn_shared_new("a\nb", 3, TN_MSG_ANY, &shared), 0);
	FOR_EACH_ROW(row, NOT_TEXT, 0)
	{
		struct crowd *crowd = crowd_new(row, "");

		for (int i = 0; i < 3; i++)
			assert_int_equal(tn_send_shared(crowd->served[i], shared), TN_EFORMAT);
		crowd_free(crowd);
	}
	tn_shared_unref(shared);
}

/* One who does not read is bounded, and gets what was taken for it in the end; the others have all of theirs. */
static void test_slow_reader(void **state)
{
	struct tn_shared *shared = make(30000, 1);

	(void)state;
	FOR_EACH_ROW(row, 0, LOSSY | PACKED)
	{
		struct crowd *crowd = crowd_new(row, "queue=64KiB&max=64KiB");
		size_t taken = 0, heard_in_all = 0;
		bool full = false;
		int rc;

		tn_pause(crowd->listeners[0].conn);
		while (!full) {
			for (int i = 0; i < CROWD; i++) {
				rc = tn_send_shared(crowd->served[i], shared);
				assert_true(rc >= 0 || rc == TN_EFULL);
				taken += rc >= 0 ? 30000 : 0;
				full |= rc == TN_EFULL;
				assert_true(tn_conn_queued(crowd->served[i]) <= (64 + 2 * 64 + 1) * 1024);
			}
			assert_true(tn_loop_step(crowd->loop, 1) >= 0);
		}
		tn_resume(crowd->listeners[0].conn);
		for (uint64_t end = th_now_ms() + TH_PATIENCE_MS; heard_in_all < taken;) {
			heard_in_all = 0;
			for (int i = 0; i < CROWD; i++)
				heard_in_all += crowd->listeners[i].len;
			assert_true(tn_loop_step(crowd->loop, 1) >= 0);
			th_check_deadline(end, "all that was taken", __FILE__, __LINE__);
		}
		assert_int_equal(heard_in_all, taken);
		crowd_free(crowd);
	}
	tn_shared_unref(shared);
}

/* ---- a WebSocket client that asks while a long message is on its way to it ---- */

#define LONG_LEN (4U << 20)

/* A client of the test's own: it reads when it is told to. */
static int dial_by_hand(const char *extensions)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), len;
	char request[400];

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", th_dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	th_set_nonblock(fd);
	len = snprintf(request, sizeof(request),
		       "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n",
		       extensions);
	assert_int_equal(write(fd, request, (size_t)len), len);
	return fd;
}

/* Bytes that cannot be compressed. */
static struct tn_shared *make_long(void)
{
	unsigned char *data = malloc(LONG_LEN);
	struct tn_shared *shared;
	uint64_t x = 1;

	assert_non_null(data);
	for (size_t i = 0; i < LONG_LEN; i++) {
		x = x * 6364136223846793005U + 1442695040888963407U;
		data[i] = (unsigned char)(x >> 56);
	}
	assert_int_equal(tn_shared_new(data, LONG_LEN, TN_MSG_BINARY, &shared), 0);
	free(data);
	return shared;
}

/* Its ping is answered, and the message arrives whole. */
static void ask_within(const char *keys, const char *extensions)
{
	static const struct tn_handler handler = {
		.on_open = served_open, .on_msg = served_msg, .on_close = served_close};
	static const unsigned char ping[] = {0x89, 0x82, 0, 0, 0, 0, 'h', 'i'}, pong[] = {0x8a, 2, 'h', 'i'};
	struct crowd crowd = {.loop = th_loop()};
	struct tn_shared *shared = make_long();
	unsigned char *got = malloc(2 * LONG_LEN);
	char url[256];
	size_t len = 0;
	int fd;

	assert_non_null(got);
	snprintf(url, sizeof(url), "ws+unix:%s/s?max=8MiB&queue=8MiB%s", th_dir, keys);
	if (tn_serve(crowd.loop, url, &handler, &crowd, &crowd.server) < 0)
		fail_msg("%s", tn_errmsg());
	fd = dial_by_hand(extensions);
	th_until(crowd.loop, crowd.opened == 1);
	assert_int_equal(tn_send_shared(crowd.served[0], shared), 0);
	th_turn_for(crowd.loop, 20);
	assert_int_equal(write(fd, ping, sizeof(ping)), sizeof(ping));
	th_turn_for(crowd.loop, 20);
	assert_non_null(crowd.served[0]);
	for (uint64_t end = th_now_ms() + TH_PATIENCE_MS; !memmem(got, len, pong, sizeof(pong));) {
		ssize_t n = read(fd, got + len, 2 * LONG_LEN - len);

		len += n > 0 ? (size_t)n : 0;
		assert_true(tn_loop_step(crowd.loop, 1) >= 0);
		th_check_deadline(end, "a pong", __FILE__, __LINE__);
	}
	assert_true(len > LONG_LEN);
	assert_memory_equal(got + len - sizeof(pong), pong, sizeof(pong));
	assert_non_null(crowd.served[0]);
	assert_int_equal(tn_send(crowd.served[0], "more", 4), 0);
	close(fd);
	tn_shared_unref(shared);
	tn_loop_free(crowd.loop);
	free(got);
}

static void test_asked_within_a_long_message(void **state)
{
	(void)state;
#ifdef TNI_HAVE_TLS
	ask_within("", "");
#ifdef TNI_HAVE_ZLIB
	ask_within("&deflate=on", "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n");
#endif
#endif
}

/* ---- walking over a server's connections ---- */

struct walk {
	struct crowd *crowd;
	int called;
};

static void close_or_abort(struct tn_conn *conn, void *arg)
{
	struct walk *walk = arg;

	walk->called++;
	if (walk->called % 2)
		tn_close(conn);
	else
		tn_abort(conn, -ECANCELED);
	/* Also one that the walk has yet to come to. */
	if (walk->called == 1)
		for (int i = 0; i < CROWD; i++)
			if (walk->crowd->served[i] != conn) {
				tn_abort(walk->crowd->served[i], -ECANCELED);
				break;
			}
}

static void count(struct tn_conn *conn, void *arg)
{
	(void)conn;
	++*(int *)arg;
}

static void test_walk_that_closes(void **state)
{
	(void)state;
	FOR_EACH_ROW(row, 0, DGRAM)
	{
		struct crowd *crowd = crowd_new(row, "");
		struct walk walk = {.crowd = crowd};
		int called = 0;

		assert_int_equal(tn_server_each(crowd->server, count, &called), CROWD);
		assert_int_equal(called, CROWD);
		assert_int_equal(tn_server_each(crowd->server, close_or_abort, &walk), CROWD - 1);
		assert_int_equal(tn_server_each(crowd->server, count, &called), 0);
		th_until(crowd->loop, tn_server_nconns(crowd->server) == 0);
		assert_int_equal(tn_server_each(crowd->server, count, &called), 0);
		crowd_free(crowd);
	}
}

/* One that is not open yet is not among them: nothing can be said about it. */
static void test_walk_in_a_callback(void **state)
{
	(void)state;
	FOR_EACH_ROW(row, DGRAM, 0)
	{
		struct crowd *crowd = crowd_new(row, "");
		int called = 0;

		th_until(crowd->loop, crowd->opened == 1);
		assert_int_equal(tn_server_each(crowd->server, count, &called), 1);
		crowd_free(crowd);
	}
}

/* ---- memory ---- */

/* What is handed out by malloc(); always the same where a sanitizer stands in its place. */
static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* Slow readers share what waits for them; and when they have read, nothing of it is left. */
static void test_memory_is_shared(void **state)
{
	static const struct row row = {"unix:%s/s", "frame=u32", 0};
	struct crowd *crowd = crowd_new(&row, "queue=8MiB&max=64KiB");
	size_t before = 0;

	(void)state;
	for (int round = 0; round < 5; round++) {
		size_t heard_before = crowd->listeners[0].len, sent = 0, all = 0;

		for (int i = 0; i < CROWD; i++)
			tn_pause(crowd->listeners[i].conn);
		th_turn_for(crowd->loop, 5);
		if (round == 1)
			before = allocated();
		for (int n = 0; n < 100; n++) {
			struct tn_shared *shared = make(40000, (unsigned)n);

			assert_int_equal(tn_server_each(crowd->server, send_to, shared), CROWD);
			tn_shared_unref(shared);
			sent += 40000;
		}
		for (int i = 0; i < CROWD; i++)
			all += tn_conn_queued(crowd->served[i]);
		assert_true(all > CROWD * sent / 2);
		if (round)
			assert_true(allocated() < before + 2 * sent + (3U << 20)); /* as they are, and framed */
		for (int i = 0; i < CROWD; i++)
			tn_resume(crowd->listeners[i].conn);
		for (int i = 0; i < CROWD; i++)
			th_until(crowd->loop, crowd->listeners[i].len == heard_before + sent);
		if (round > 1)
			assert_true(allocated() < before + (3U << 20)); /* the pools may not have shrunk yet */
	}
	crowd_free(crowd);
}

/* ---- beyond a loop's end, and over several loops ---- */

static void keep(struct crowd *crowd, struct tn_conn *conn, const struct tn_msg *msg)
{
	(void)conn;
	if (!crowd->kept)
		assert_int_equal(tn_shared_from(msg, &crowd->kept), 0);
}

static void test_outlives_its_loop(void **state)
{
	static const struct row row = {"unix:%s/s", "frame=u32", 0};
	struct crowd *first = crowd_new(&row, "max=1MiB"), *second;
	struct tn_shared *shared = make(60000, 3), *kept;
	unsigned char expected[60000];

	(void)state;
	first->on_msg = keep;
	assert_true(tn_send_shared(first->listeners[2].conn, shared) >= 0);
	th_until(first->loop, first->kept);
	kept = tn_shared_ref(first->kept);
	crowd_free(first);
	second = crowd_new(&row, "max=1MiB");
	assert_int_equal(tn_server_each(second->server, send_to, kept), CROWD);
	tn_shared_unref(kept);
	th_until(second->loop, all_have(second, 0, 1));
	fill(expected, sizeof(expected), 3);
	for (int i = 0; i < CROWD; i++)
		assert_memory_equal(second->listeners[i].got, expected, sizeof(expected));
	tn_shared_unref(shared);
	crowd_free(second);
}

#define NLOOPS 3
#define NMESSAGES 200

/* A server of several loops, each with a thread; and readers on a loop of the test's own. */
struct hall {
	struct tn_server *server;
	struct tn_loop *loops[NLOOPS];
	_Atomic(int) opened, sent;
	int closed;
};

struct order {
	struct hall *hall;
	struct tn_shared *shared;
};

static void hall_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct hall *)arg)->opened++;
}

static void *run(void *loop)
{
	return (void *)(intptr_t)tn_loop_run(loop);
}

static void hall_send(struct tn_conn *conn, void *arg)
{
	struct order *order = arg;

	assert_true(tn_send_shared(conn, order->shared) >= 0);
	order->hall->sent++;
}

static void publish_here(void *arg)
{
	struct order *order = arg;

	assert_true(tn_server_each(order->hall->server, hall_send, order) >= 0);
	tn_shared_unref(order->shared);
	free(order);
}

static void post_to_all(struct hall *hall, struct tn_shared *shared)
{
	for (int i = 0; i < NLOOPS; i++) {
		struct order *order = malloc(sizeof(*order));

		assert_non_null(order);
		*order = (struct order){hall, tn_shared_ref(shared)};
		assert_int_equal(tn_loop_post(hall->loops[i], publish_here, order), 0);
	}
}

static void close_hall(void *arg)
{
	struct hall *hall = arg;

	tn_server_close(hall->server, 1000, NULL, NULL);
}

static void talk_over_loops(const char *url, const char *keys)
{
	static const struct tn_handler handler = {.on_open = hall_open};
	static struct hall hall;
	struct crowd crowd = {.row = &(const struct row){url, keys, 0}, .loop = th_loop()};
	unsigned char *expected = malloc(KEEP);
	pthread_t threads[NLOOPS];
	size_t total = 0;
	char full[256];
	void *rc;

	hall = (struct hall){0};
	assert_non_null(expected);
	for (int i = 0; i < NLOOPS; i++)
		hall.loops[i] = th_loop();
	snprintf(full, sizeof(full), url, th_dir);
	add_keys(full, sizeof(full), keys);
	if (tn_serve_loops(hall.loops, NLOOPS, full, &handler, &hall, &hall.server) < 0)
		fail_msg("%s", tn_errmsg());
	assert_int_equal(tn_server_each(hall.server, hall_send, NULL), TN_ESTATE); /* whose loop? */
	crowd.server = hall.server;
	dial_all(&crowd, "");
	for (int i = 0; i < NLOOPS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, hall.loops[i]), 0);
	th_until(crowd.loop, hall.opened == CROWD);
	for (unsigned i = 0; i < NMESSAGES; i++) {
		size_t len = i % 20 ? 50 + i : 20000;
		struct tn_shared *shared = make(len, i);

		post_to_all(&hall, shared);
		tn_shared_unref(shared); /* while the loops send it */
		fill(expected + total, len, i);
		total += len;
		th_until(crowd.loop, all_have(&crowd, total, (int)i - 10));
	}
	th_until(crowd.loop, all_have(&crowd, total, NMESSAGES));
	assert_int_equal(hall.sent, NMESSAGES * CROWD);
	for (int i = 0; i < CROWD; i++) {
		assert_int_equal(crowd.listeners[i].len, total);
		assert_memory_equal(crowd.listeners[i].got, expected, total);
	}
	assert_int_equal(tn_loop_post(hall.loops[0], close_hall, &hall), 0);
	for (int i = 0; i < CROWD; i++)
		th_until(crowd.loop, crowd.listeners[i].closes == 1);
	for (int i = 0; i < NLOOPS; i++) {
		assert_int_equal(pthread_join(threads[i], &rc), 0);
		assert_int_equal((intptr_t)rc, 0);
	}
	for (int i = 0; i < NLOOPS; i++)
		tn_loop_free(hall.loops[i]);
	tn_loop_free(crowd.loop);
	for (int i = 0; i < CROWD; i++)
		free(crowd.listeners[i].got);
	free(expected);
}

static void test_over_several_loops(void **state)
{
	(void)state;
	talk_over_loops("tcp://127.0.0.1:0", "frame=u32&queue=1MiB");
	talk_over_loops("unix:%s/s", "frame=line&queue=1MiB");
#if defined(TNI_HAVE_TLS) && defined(TNI_HAVE_ZLIB)
	talk_over_loops("ws://127.0.0.1:0/a", "deflate=on&queue=1MiB");
#endif
}

int main(int argc, char **argv)
{
	static const struct tn_frame own = {sizeof(own), "shared-u32", support_u32_next, support_u32_wrap, NULL};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_arrives_as_it_was_made, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_arrives_over_datagrams, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_datagram_sockets, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_received_is_passed_to_all, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_kinds, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_values, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_refused, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_frame_refuses, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_slow_reader, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_asked_within_a_long_message, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_walk_that_closes, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_walk_in_a_callback, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_memory_is_shared, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_outlives_its_loop, th_setup, th_teardown),
		cmocka_unit_test_setup_teardown(test_over_several_loops, th_setup, th_teardown),
	};
	int rc;

	if (tn_frame_register(&own) < 0)
		return 1;
#ifdef TNI_HAVE_TLS
	snprintf(certs_dir, sizeof(certs_dir), "/tmp/tenon-certs-XXXXXX");
	if (!mkdtemp(certs_dir))
		return 1;
	certs_make(certs_dir, "ca", NULL, NULL, -1, 1);
	certs_make(certs_dir, "peer", "ca", "DNS:localhost,IP:127.0.0.1", -1, 1);
#endif
	rc = th_main(argc, argv, "shared", tests, sizeof(tests) / sizeof(tests[0]));
#ifdef TNI_HAVE_TLS
	certs_remove(certs_dir);
#endif
	return rc;
}
