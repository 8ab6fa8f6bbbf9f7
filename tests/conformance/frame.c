/*
 * The same seeded traffic through every frame and every socket that keeps messages by itself: what each engine hands
 * over is what the seed says, so it is the same on all.
 */
#include "harness.h"

#include "../support/frames.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct kind {
	const char *url; /* to serve; %s is the test's directory */
	int never;       /* a byte that no message holds; -1: none */
	size_t least, most;
	bool lockstep;    /* nothing tells a sender of datagrams to wait */
	int length_at;    /* messages begin with a header that has their length here, in four bytes; -1: they do not */
	const char *ends; /* messages end so; NULL: as they like */
};

#define STREAM(frame) "tcp://127.0.0.1:0?max=70000&frame=" frame

static const struct kind kinds[] = {
	{STREAM("line"), '\n', 0, 70000, false, -1, NULL},
	{STREAM("crlf"), '\n', 0, 70000, false, -1, NULL},
	{STREAM("nul"), 0, 0, 70000, false, -1, NULL},
	{STREAM("u8"), -1, 0, 255, false, -1, NULL},
	{STREAM("u16"), -1, 0, 65535, false, -1, NULL},
	{STREAM("u32"), -1, 0, 70000, false, -1, NULL},
	{STREAM("u64"), -1, 0, 70000, false, -1, NULL},
	{STREAM("u16le"), -1, 0, 65535, false, -1, NULL},
	{STREAM("u32le"), -1, 0, 70000, false, -1, NULL},
	{STREAM("u64le"), -1, 0, 70000, false, -1, NULL},
	{STREAM("varint"), -1, 0, 70000, false, -1, NULL},
	{STREAM("netstring"), -1, 0, 70000, false, -1, NULL},
	{STREAM("fixed:1"), -1, 1, 1, false, -1, NULL},
	{STREAM("fixed:777"), -1, 777, 777, false, -1, NULL},
	{STREAM("cobs"), -1, 0, 70000, false, -1, NULL},
	{STREAM("slip"), -1, 1, 70000, false, -1, NULL},
	{STREAM("head:size=4,offset=3,header=9"), -1, 0, 70000, false, -1, NULL},
	{STREAM("head:size=3,endian=little,adjust=-3"), -1, 0, 70000, false, -1, NULL},
	{STREAM("head:offset=2,size=varint,adjust=-300"), -1, 0, 70000, false, -1, NULL},
	{STREAM("head:offset=2,size=4,adjust=-6,keep=on"), -1, 6, 70000, false, 2, NULL},
	{STREAM("until:\\r\\n\\r\\n"), '\r', 0, 70000, false, -1, NULL},
	{STREAM("until:\\r\\n,keep=on"), '\r', 2, 70000, false, -1, "\r\n"},
	{STREAM("until:\\0"), 0, 0, 70000, false, -1, NULL},
	{STREAM("own-u32"), -1, 0, 70000, false, -1, NULL},
	{STREAM("own-sum"), -1, 0, 255, false, -1, NULL},
	{STREAM("own-line"), '\n', 1, 70000, false, -1, "\n"},
	{"unix:@%s/u?frame=u32&queue=1", -1, 0, 70000, false, -1, NULL},
	{"unix:%s/s?frame=line&queue=4KiB", '\n', 0, 70000, false, -1, NULL},
	{"udp://127.0.0.1:0", -1, 0, 60000, true, -1, NULL},
#ifdef TNI_HAVE_SHM
	{"shm:%s/m?frame=u16&queue=4KiB", -1, 0, 60000, false, -1, NULL},
#endif
	{"unix-dgram:%s/d", -1, 0, 60000, true, -1, NULL},
	{"unix-seqpacket:%s/p", -1, 1, 60000, false, -1, NULL},
};

#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))
#define NMSGS 150

/* ---- the traffic ---- */

static unsigned char expected[70000];

/* splitmix64 */
static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static size_t message_len(const struct kind *kind, int i, uint64_t *seed)
{
	static const size_t big[] = {1000, 4070, 4096, 16384, 65536, 70000};
	size_t len = next_random(seed) % 120;

	if (i % 25 == 24)
		len = big[(size_t)i / 25 % (sizeof(big) / sizeof(big[0]))];
	return len < kind->least ? kind->least : len > kind->most ? kind->most : len;
}

/* The i-th message, in `expected`; many of its bytes mean something to some frame. */
static size_t message(const struct kind *kind, int i)
{
	static const unsigned char special[] = {0, 1, '\n', '\r', 0xc0, 0xdb, 0xdc, 0xff, ',', ':'};
	uint64_t seed = (uint64_t)i * 1000;
	size_t len = message_len(kind, i, &seed);

	for (size_t at = 0; at < len; at++) {
		uint64_t r = next_random(&seed);

		expected[at] = r & 0x300 ? (unsigned char)r : special[(r >> 16) % sizeof(special)];
		if (expected[at] == kind->never)
			expected[at] = 'x';
	}
	for (int at = kind->length_at, n = 4; at >= 0 && n--; at++)
		expected[at] = (unsigned char)(len >> 8 * n);
	if (kind->ends)
		memcpy(expected + len - strlen(kind->ends), kind->ends, strlen(kind->ends));
	return len;
}

/* ---- the parties ---- */

struct party {
	const struct kind *kind;
	struct tn_conn *conn;
	int sent, got, opens, closes, err;
	bool bad;
};

struct play {
	struct party served, dialled;
};

static void check_msg(struct party *p, const struct tn_msg *msg)
{
	size_t len = message(p->kind, p->got);

	if (p->bad)
		return;
	if (len != msg->len || (len && memcmp(expected, msg->data, len) != 0)) {
		print_error("%s: message %d is not the one that was sent (%zu bytes, not %zu)\n", p->kind->url, p->got,
			    msg->len, len);
		p->bad = true;
	}
	p->got++;
}

static void served_open(struct tn_conn *conn, void *arg)
{
	struct play *play = arg;

	play->served.conn = conn;
	play->served.opens++;
}

/* Both ways to send back what came, in turns. */
static void served_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct party *p = &((struct play *)arg)->served;
	int rc;

	check_msg(p, msg);
	rc = p->got % 3 ? tn_forward(conn, msg) : tn_reply(conn, msg, msg->data, msg->len);
	if (rc < 0) {
		print_error("%s: reply %d: %s\n", p->kind->url, p->got, tn_errmsg());
		p->bad = true;
	}
}

static void served_close(struct tn_conn *conn, int err, void *arg)
{
	struct play *play = arg;

	(void)conn;
	play->served.closes++;
	play->served.err = err;
}

/* Sends until told to wait: on_drain calls again. */
static void push(struct party *p)
{
	int rc = 0;

	while (rc == 0 && p->sent < NMSGS && (!p->kind->lockstep || p->sent == p->got)) {
		size_t len = message(p->kind, p->sent);

		rc = tn_send(p->conn, expected, len);
		if (rc >= 0)
			p->sent++;
		else if (rc != TN_EFULL) {
			print_error("%s: message %d: %s\n", p->kind->url, p->sent, tn_errmsg());
			p->bad = true;
		}
	}
}

static void dialled_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct party *)arg)->opens++;
	push(arg);
}

static void dialled_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct party *p = arg;

	(void)conn;
	check_msg(p, msg);
	if (p->kind->lockstep)
		push(p);
}

static void dialled_drain(struct tn_conn *conn, void *arg)
{
	(void)conn;
	push(arg);
}

static void dialled_close(struct tn_conn *conn, int err, void *arg)
{
	struct party *p = arg;

	(void)conn;
	p->closes++;
	p->err = err;
}

static const struct tn_handler serving = {.on_open = served_open, .on_msg = served_msg, .on_close = served_close};
static const struct tn_handler dialling = {
	.on_open = dialled_open, .on_msg = dialled_msg, .on_drain = dialled_drain, .on_close = dialled_close};

/* A server's own URL lacks its keys, which the other end needs as well. */
static void keys_behind(char *url, size_t cap, const char *of)
{
	const char *keys = strchr(of, '?');

	if (keys && !strchr(url, '?'))
		snprintf(url + strlen(url), cap - strlen(url), "%s", keys);
}

static struct tn_server *serve(struct tn_loop *loop, const char *format, struct play *play, char *url, size_t cap)
{
	struct tn_server *server;

	snprintf(url, cap, format, th_dir);
	if (tn_serve(loop, url, &serving, play, &server) < 0)
		fail_msg("%s", tn_errmsg());
	snprintf(url, cap, "%s", tn_server_url(server, 0));
	keys_behind(url, cap, format);
	return server;
}

static void run_kind(const struct kind *kind)
{
	struct play play = {.served.kind = kind, .dialled.kind = kind};
	struct party *client = &play.dialled;
	struct tn_loop *loop = th_loop();
	char url[256];

	serve(loop, kind->url, &play, url, sizeof(url));
	if (tn_dial(loop, url, &dialling, client, &client->conn) < 0)
		fail_msg("%s", tn_errmsg());
	th_until(loop, client->got == NMSGS || client->bad || play.served.bad || client->closes);
	assert_false(client->bad || play.served.bad);
	assert_int_equal(client->closes, 0);
	assert_int_equal(client->sent, NMSGS);
	assert_int_equal(play.served.got, NMSGS);
	tn_close(client->conn);
	th_until(loop, client->closes);
	assert_int_equal(client->err, 0);
	if (!kind->lockstep) {
		th_until(loop, play.served.closes);
		assert_int_equal(play.served.err, 0);
	}
	tn_loop_free(loop);
	assert_int_equal(play.served.closes, 1);
}

static void test_same_messages(void **state)
{
	(void)state;
	for (size_t k = 0; k < NKINDS; k++)
		run_kind(&kinds[k]);
}

/* ---- what breaks the rules ---- */

/*
 * Sends the bytes as any program would, ends, and counts what comes back until the server ends: in order, or, where it
 * did not take all, by a reset that lets the replies to what was right arrive.
 */
static size_t talk(struct tn_loop *loop, const struct play *play, int port, const void *bytes, size_t len)
{
	int fd = th_tcp_dial(port);
	char back[256];
	size_t total = 0;
	ssize_t n;

	assert_int_equal(write(fd, bytes, len), len);
	shutdown(fd, SHUT_WR);
	th_until(loop, play->served.closes == 1);
	while ((n = read(fd, back, sizeof(back))) > 0)
		total += (size_t)n;
	assert_int_equal(n < 0 ? errno : 0, play->served.err ? ECONNRESET : 0);
	close(fd);
	return total;
}

static void refuse(const char *frame, const char *bytes, size_t len, size_t echoed, int err)
{
	struct play play = {.served.bad = true}; /* what the messages are is not looked at */
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	char wanted[256], url[256];
	int port;

	snprintf(wanted, sizeof(wanted), "tcp://127.0.0.1:0?max=10&frame=%s", frame);
	play.served.kind = &(struct kind){.url = wanted};
	server = serve(loop, wanted, &play, url, sizeof(url));
	assert_int_equal(sscanf(tn_server_url(server, 0), "tcp://127.0.0.1:%d", &port), 1);
	assert_int_equal(talk(loop, &play, port, bytes, len), echoed);
	if (play.served.err != err)
		fail_msg("frame %s: closed with %d instead of %d", frame, play.served.err, err);
	tn_loop_free(loop);
}

/* Too large, a bad prefix or stuffing, and cut off: three reasons, after the messages in front of them. */
static void test_refused_streams(void **state)
{
	static const struct {
		const char *frame, *bytes;
		size_t len, echoed; /* bytes */
		int err;
	} rows[] = {
#define ROW(frame, bytes, echoed, err) {frame, bytes, sizeof(bytes) - 1, echoed, err}
		ROW("line", "one\ntwo\n12345678901\nthree\n", 8, TN_ETOOBIG),
		ROW("line", "one\n12345678901", 4, TN_ETOOBIG),
		ROW("line", "one\ntwo", 8, 0),
		ROW("nul",
		    "one\0"
		    "12345678901\0",
		    4, TN_ETOOBIG),
		ROW("u8", "\3one\13", 4, TN_ETOOBIG),
		ROW("u8", "\3one\3tw", 4, TN_ETRUNC),
		ROW("u16le", "\3\0one\0\1", 5, TN_ETOOBIG),
		ROW("u32", "\0\0\0\3one\xff\xff\xff\xff", 7, TN_ETOOBIG),
		ROW("u32", "\0\0\0\3one\0\0\0", 7, TN_ETRUNC),
		ROW("u64", "\0\0\0\0\0\0\0\3one\x80\0\0\0\0\0\0\0", 11, TN_ETOOBIG),
		ROW("varint", "\3one\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 4, TN_EFORMAT),
		ROW("varint", "\3one\x80", 4, TN_ETRUNC),
		ROW("netstring", "3:one,03:two,", 6, TN_EFORMAT),
		ROW("netstring", "3:one,3:two;", 6, TN_EFORMAT),
		ROW("netstring", "3:one,11:", 6, TN_ETOOBIG),
		ROW("netstring", "3:one,3:tw", 6, TN_ETRUNC),
		ROW("fixed:3", "onetw", 3, TN_ETRUNC),
		ROW("head:offset=1,size=2", "\0\0\3one\0\0\13", 6, TN_ETOOBIG),
		ROW("head:offset=1,size=1,keep=on", "x\3onex\12", 5, TN_ETOOBIG),
		ROW("head:size=2,adjust=-2", "\0\5one\0\1", 5, TN_EFORMAT),
		ROW("head:offset=1,size=varint", "x\3onex", 5, TN_ETRUNC),
		ROW("own-u32", "\0\0\0\3one\0\0\0\13", 7, TN_ETOOBIG),
		ROW("own-u32", "\0\0\0\3one\0\0\0\3tw", 7, TN_ETRUNC),
		ROW("own-sum", "\2\1\2\3\2\1\2\4", 4, TN_EFORMAT),
		ROW("own-line", "one\ntwo", 4, TN_ETRUNC),
		ROW("until:\\r\\n", "one\r\n12345678901\r\n", 5, TN_ETOOBIG),
		ROW("until:\\r\\n", "one\r\n123456789012", 5, TN_ETOOBIG),
		ROW("until:\\r\\n,keep=on", "one\r\ntwo", 5, TN_ETRUNC),
		ROW("cobs", "\4one\0\5two\0", 5, TN_EFORMAT),
		ROW("cobs", "\4one\0\4two", 5, TN_ETRUNC),
		ROW("slip", "one\xc0t\xdbwo\xc0", 5, TN_EFORMAT),
		ROW("slip", "\xc0one\xc0two", 5, TN_ETRUNC),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		refuse(rows[i].frame, rows[i].bytes, rows[i].len, rows[i].echoed, rows[i].err);
}

/* The queue has room for what stuffing makes of the longest message; without that it would be full for ever. */
static void test_longest_message_stuffed(void **state)
{
	static const char *const frames[] = {
		"slip", "cobs", "netstring", "crlf", "head:size=4,header=256", "own-u32", "until:0123456789abcdef"};
	static unsigned char longest[20000];

	(void)state;
	memset(longest, 0xc0, sizeof(longest));
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct play play = {.served.bad = true};
		struct tn_loop *loop = th_loop();
		struct tn_conn *conn;
		char wanted[256], url[256];

		snprintf(wanted, sizeof(wanted), "unix:%%s/s?max=20000&queue=1&frame=%s", frames[i]);
		play.served.kind = play.dialled.kind = &(struct kind){.url = frames[i]};
		play.dialled.bad = true;
		play.dialled.sent = NMSGS;
		serve(loop, wanted, &play, url, sizeof(url));
		assert_int_equal(tn_dial(loop, url, &dialling, &play.dialled, &conn), 0);
		assert_int_equal(tn_send(conn, longest, sizeof(longest) + 1), TN_ETOOBIG);
		assert_non_null(strstr(tn_errmsg(), "20001 bytes"));
		if (tn_send(conn, longest, sizeof(longest)) != 1)
			fail_msg("%s: %s", frames[i], tn_errmsg());
		tn_finish(conn);
		th_until(loop, play.dialled.closes);
		assert_int_equal(play.dialled.err, 0);
		tn_loop_free(loop);
	}
}

/* ---- frames of a program's own ---- */

/* A byte says how much next() takes. With 2 that is so; all others lie, of three bytes, however these have come. */
static int lying_next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	(void)arg;
	if (len < (data[0] == 2 ? 2 : 3))
		return 0;
	part->taken = part->len = data[0];
	return 1;
}

static const struct tn_frame lying = {sizeof(lying), "lying", lying_next, NULL, NULL};

static char reason[256];

static void keep_reason(struct tn_conn *conn, int err, void *arg)
{
	snprintf(reason, sizeof(reason), "%s", tn_errmsg());
	served_close(conn, err, arg);
}

/* The connection ends with words, after what came before; the server goes on. */
static void test_own_frame_that_lies(void **state)
{
	static const struct {
		const char *bytes;
		size_t len, echoed;
		const char *says;
	} rows[] = {
		{"\2x\11yz", 5, 2, "frame lying: its next() takes 9 bytes where there are 3"},
		{"\2x\0yz", 5, 2, "frame lying: its next() takes 0 bytes where there are 3"},
	};
	struct play play = {.served.bad = true};
	struct tn_loop *loop = th_loop();
	struct tn_handler handler = serving;
	struct tn_server *server;
	int port;

	(void)state;
	handler.on_close = keep_reason;
	play.served.kind = &(struct kind){.url = "lying"};
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0?frame=lying", &handler, &play, &server), 0);
	assert_int_equal(sscanf(tn_server_url(server, 0), "tcp://127.0.0.1:%d", &port), 1);
	for (size_t i = 0; i < 2; i++) {
		play.served.closes = 0;
		assert_int_equal(talk(loop, &play, port, rows[i].bytes, rows[i].len), rows[i].echoed);
		assert_int_equal(play.served.err, TN_EFORMAT);
		if (!strstr(reason, rows[i].says))
			fail_msg("'%s' does not say '%s'", reason, rows[i].says);
	}
	tn_loop_free(loop);
}

/* A message that has begun must be whole in time (key request). */
static void test_own_frame_that_is_late(void **state)
{
	static const char *const frames[] = {"own-u32", "own-line", "head:offset=2,size=2", "until:\\r\\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct play play = {.served.bad = true};
		struct tn_loop *loop = th_loop();
		struct tn_server *server;
		char url[128];
		int port, fd;

		play.served.kind = &(struct kind){.url = frames[i]};
		snprintf(url, sizeof(url), "tcp://127.0.0.1:0?request=30ms&frame=%s", frames[i]);
		assert_int_equal(tn_serve(loop, url, &serving, &play, &server), 0);
		assert_int_equal(sscanf(tn_server_url(server, 0), "tcp://127.0.0.1:%d", &port), 1);
		fd = th_tcp_dial(port);
		assert_int_equal(write(fd, "\0\0", 2), 2);
		th_until(loop, play.served.closes);
		assert_int_equal(play.served.err, -ETIMEDOUT);
		close(fd);
		tn_loop_free(loop);
	}
}

/* What comes in one frame goes on in another: the same, the same with another name, with another header, with an end.
 */
static void hop_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct tn_conn **to = arg;

	(void)conn;
	assert_true(tn_forward(*to, msg) >= 0);
}

static void hop_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err, (void)arg;
}

static void test_relayed_between_frames(void **state)
{
	static const char *const pairs[][2] = {
		{"own-u32", "own-u32"},     {"own-u32", "u32"},
		{"u32", "head:size=4"},     {"head:size=4", "head:offset=0,size=4,endian=big"},
		{"own-u32", "until:\\xff"}, {"head:size=2,adjust=-2", "own-u32"},
		{"until:\\xff", "own-sum"}};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		static const struct tn_handler relay = {.on_msg = hop_msg, .on_close = hop_close};
		struct kind kind = {.url = pairs[i][1], .never = 0xff, .least = 1, .most = 255, .length_at = -1};
		struct play play = {.served.kind = &kind, .dialled.kind = &kind};
		struct tn_loop *loop = th_loop();
		struct tn_conn *out, *in;
		struct tn_server *server;
		char url[256];
		int ends[2];

		snprintf(url, sizeof(url), "tcp://127.0.0.1:0?frame=%s", pairs[i][1]);
		assert_int_equal(tn_serve(loop, url, &serving, &play, &server), 0);
		snprintf(url, sizeof(url), "%s?frame=%s", tn_server_url(server, 0), pairs[i][1]);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
		assert_int_equal(tn_dial(loop, url, &relay, &in, &out), 0);
		snprintf(url, sizeof(url), "fd:%d?frame=%s", ends[0], pairs[i][0]);
		assert_int_equal(tn_dial(loop, url, &relay, &out, &in), 0);
		snprintf(url, sizeof(url), "fd:%d?frame=%s", ends[1], pairs[i][0]);
		assert_int_equal(tn_dial(loop, url, &dialling, &play.dialled, &play.dialled.conn), 0);
		th_until(loop, play.dialled.got == NMSGS || play.dialled.bad || play.served.bad);
		assert_false(play.dialled.bad || play.served.bad);
		assert_int_equal(play.served.got, NMSGS);
		tn_loop_free(loop);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, th_setup, th_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_same_messages),       TEST(test_refused_streams),        TEST(test_longest_message_stuffed),
		TEST(test_own_frame_that_lies), TEST(test_own_frame_that_is_late), TEST(test_relayed_between_frames),
	};

	if (support_frames() < 0 || tn_frame_register(&lying) < 0) {
		print_error("%s\n", tn_errmsg());
		return 1;
	}
	return th_main(argc, argv, "frame", tests, sizeof(tests) / sizeof(tests[0]));
}
