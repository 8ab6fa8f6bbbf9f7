/*
 * What the library promises where a program is at its least careful: calls from inside callbacks, loops freed in any
 * order, numbers at their limits, peers that write and leave. Each test is one way in which a program was once wronged.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "harness.h"

#include "conn/server.h"

/* ---- a message that waits for its rest ---- */

static void count_message(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn, (void)msg;
	++*(int *)arg;
}

/* Turning in vain, every step comes back at once; a loop with nothing to do sleeps for as long as it is told to. */
static bool sleeps(struct tn_loop *loop)
{
	bool slept = false;

	for (int i = 0; i < 10 && !slept; i++) {
		uint64_t before = th_now_ms();

		assert_int_equal(tn_loop_step(loop, 50), 1);
		slept = th_now_ms() - before >= 40;
	}
	return slept;
}

static void test_half_a_message_costs_no_processor(void **state)
{
	static const struct tn_handler handler = {.on_msg = count_message};
	struct tn_loop *loop = th_loop();
	int pair[2], msgs = 0;
	char url[64];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	snprintf(url, sizeof(url), "fd:%d?frame=line", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &msgs, NULL), 0);
	assert_int_equal(send(pair[1], "one\ntw", 6, 0), 6);
	th_until(loop, msgs == 1);
	assert_true(sleeps(loop));
	assert_int_equal(send(pair[1], "o\n", 2, 0), 2);
	th_until(loop, msgs == 2);
	tn_loop_free(loop);
	close(pair[1]);
}

/* ---- datagrams put by while paused ---- */

struct resume {
	struct tn_conn *server;
	int msgs;
};

static void answer_and_pause(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct resume *r = arg;

	r->server = conn;
	r->msgs++;
	if (tn_reply(conn, msg, msg->data, msg->len) != 0)
		tn_pause(conn);
}

static void resume(struct tn_conn *conn, void *arg)
{
	(void)arg;
	tn_resume(conn);
}

/* The pattern that the header recommends: pause when the queue is at its mark, resume when it has drained. */
static void test_datagrams_resumed_in_on_drain(void **state)
{
	static const struct tn_handler handler = {.on_msg = answer_and_pause, .on_drain = resume};
	struct tn_loop *loop = th_loop();
	struct resume r = {0};
	struct tn_server *server;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	static char data[1000];

	(void)state;
	assert_int_equal(tn_serve(loop, "udp://127.0.0.1:0?queue=4096", &handler, &r, &server), 0);
	to.sin_port = htons((uint16_t)atoi(strrchr(tn_server_url(server, 0), ':') + 1));
	for (int i = 0; i < 16; i++)
		assert_int_equal(sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)), sizeof(data));
	th_until(loop, r.msgs == 16);
	tn_loop_free(loop);
	close(fd);
}

/* ---- datagrams have two addresses ---- */

#define ASKED 40

struct late {
	struct tn_conn *conn;
	struct tn_addr peers[ASKED];
	int n, forwarded;
};

/* Every other one is answered at once, by passing it on; the rest when all are there. */
static void answer_later(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct late *late = arg;
	struct tn_addr local;
	char text[64], asked[64];

	late->conn = conn;
	assert_int_equal(tn_msg_local(conn, msg, &local), 0);
	snprintf(asked, sizeof(asked),
		 local.len == sizeof(struct sockaddr_in) ? "%.*s:" : "[::ffff:%.*s]:", (int)msg->len,
		 (const char *)msg->data);
	assert_memory_equal(tn_addr_text(&local, text, sizeof(text)), asked, strlen(asked));
	if (late->n % 2)
		assert_int_equal(tn_forward(conn, msg), 0);
	late->peers[late->n++] = *msg->peer;
}

static void answer_all(void *arg)
{
	struct late *late = arg;
	struct tn_msg msg = {0};

	for (int i = 0; i < late->n; i += 2) {
		msg.peer = &late->peers[i];
		assert_int_equal(tn_reply(late->conn, &msg, "late", 4), 0);
	}
}

/* A connected socket of a program hears what comes from the very address that it has sent to, and nothing else. */
static void ask_at(const struct tn_server *server, int i, int fds[], bool connected)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	char host[16];

	snprintf(host, sizeof(host), "127.0.%d.%d", i % 7, 1 + i);
	assert_int_equal(inet_pton(AF_INET, host, &to.sin_addr), 1);
	to.sin_port = htons((uint16_t)atoi(strrchr(tn_server_url(server, 0), ':') + 1));
	fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(!connected || connect(fds[i], (struct sockaddr *)&to, sizeof(to)) == 0);
	assert_int_equal(sendto(fds[i], host, strlen(host), 0, (struct sockaddr *)&to, sizeof(to)), strlen(host));
}

static void test_answers_leave_from_the_address_that_was_asked(void **state)
{
	static const char *const urls[] = {"udp4://*:0", "udp6://[::]:0?v6only=off", "udp6://[::ffff:0.0.0.0]:0"};
	static const struct tn_handler handler = {.on_msg = answer_later};

	(void)state;
	for (size_t u = 0; u < sizeof(urls) / sizeof(urls[0]); u++) {
		struct tn_loop *loop = th_loop();
		struct late late = {0};
		struct tn_server *server;
		int fds[ASKED];
		char reply[32];

		assert_int_equal(tn_serve(loop, urls[u], &handler, &late, &server), 0);
		for (int i = 0; i < ASKED; i++)
			ask_at(server, i, fds, true);
		th_until(loop, late.n == ASKED);
		assert_int_equal(tn_timer_start(loop, 1, answer_all, &late, NULL), 0);
		for (int i = 0; i < ASKED; i++)
			th_until(loop, recv(fds[i], reply, sizeof(reply), 0) > 0);
		for (int i = 0; i < ASKED; i++)
			close(fds[i]);
		tn_loop_free(loop);
	}
}

/* What came to one socket and is passed on through another leaves from there, whatever it came to. */
static void pass_on(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn;
	assert_int_equal(tn_forward(*(struct tn_conn **)arg, msg), 0);
}

static void note_conn(struct tn_conn *conn, void *arg)
{
	*(struct tn_conn **)arg = conn;
}

static void test_a_bound_socket_speaks_from_its_own_address(void **state)
{
	static const struct tn_handler asked = {.on_msg = pass_on}, bound = {.on_open = note_conn};
	struct tn_loop *loop = th_loop();
	struct tn_server *server, *other;
	struct tn_conn *conn = NULL;
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char reply[32];
	int fds[2];

	(void)state;
	assert_int_equal(tn_serve(loop, "udp://127.0.0.77:0", &bound, &conn, &other), 0);
	assert_int_equal(tn_serve(loop, "udp4://*:0", &asked, &conn, &server), 0);
	th_until(loop, conn);
	ask_at(server, 1, fds, false);
	th_until(loop, recvfrom(fds[1], reply, sizeof(reply), 0, (struct sockaddr *)&from, &len) > 0);
	assert_int_equal(ntohl(from.sin_addr.s_addr), INADDR_LOOPBACK + 76);
	close(fds[1]);
	tn_loop_free(loop);
}

/* ---- passing on, from one frame to another ---- */

#define FIXED 2000 /* long enough to be linked instead of copied */

struct passing {
	struct tn_conn *same, *longer, *counted;
	int passed, refused;
};

static void pass_to_each(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct passing *p = arg;

	(void)conn;
	assert_int_equal(msg->len, FIXED);
	p->passed += tn_forward(p->same, msg) == 0;
	p->passed += tn_forward(p->counted, msg) == 0;
	p->refused += tn_forward(p->longer, msg) < 0;
}

static struct tn_conn *dial_framed(struct tn_loop *loop, const char *frame, int pair[2],
				   const struct tn_handler *handler, void *arg)
{
	struct tn_conn *conn;
	char url[64];

	th_pair(SOCK_STREAM, pair);
	th_set_nonblock(pair[1]);
	snprintf(url, sizeof(url), "fd:%d?frame=%s", pair[0], frame);
	assert_int_equal(tn_dial(loop, url, handler, arg, &conn), 0);
	return conn;
}

static void expect_bytes(struct tn_loop *loop, int fd, const unsigned char *wanted, size_t len)
{
	unsigned char got[2 * FIXED];
	size_t n = 0;
	ssize_t part;

	while (n < len) {
		th_until(loop, (part = recv(fd, got + n, sizeof(got) - n, 0)) > 0);
		n += (size_t)part;
	}
	assert_int_equal(n, len);
	assert_memory_equal(got, wanted, len);
}

static void test_forwarding_between_frames(void **state)
{
	static const struct tn_handler from = {.on_msg = pass_to_each}, to = {0};
	struct tn_loop *loop = th_loop();
	unsigned char message[4 + FIXED] = {0, 0, FIXED >> 8, FIXED & 255}, byte;
	int source[2], same[2], longer[2], counted[2];
	struct passing p = {0};

	(void)state;
	th_fill(message + 4, FIXED, 0);
	p.same = dial_framed(loop, "fixed:2000", same, &to, NULL);
	p.longer = dial_framed(loop, "fixed:3000", longer, &to, NULL);
	p.counted = dial_framed(loop, "u32", counted, &to, NULL);
	dial_framed(loop, "fixed:2000", source, &from, &p);
	assert_int_equal(send(source[1], message + 4, FIXED, 0), FIXED);
	th_until(loop, p.passed == 2 && p.refused == 1);
	expect_bytes(loop, same[1], message + 4, FIXED);
	expect_bytes(loop, counted[1], message, sizeof(message));
	assert_int_equal(recv(longer[1], &byte, 1, 0), -1);
	tn_loop_free(loop);
	close(source[1]);
	close(same[1]);
	close(longer[1]);
	close(counted[1]);
}

/* ---- a signal that is not ours ---- */

static void note_end(struct tn_conn *conn, int err, void *arg)
{
	(void)conn;
	*(int *)arg = err ? err : 1;
}

/* Into a pipe without a reader, until that ends it. Returns why. */
static int write_to_nobody(struct tn_loop *loop)
{
	static const struct tn_handler handler = {.on_close = note_end};
	struct tn_conn *conn;
	int fds[2], ended = 0;
	char url[32];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	close(fds[0]);
	snprintf(url, sizeof(url), "fd:%d", fds[1]);
	assert_int_equal(tn_dial(loop, url, &handler, &ended, &conn), 0);
	assert_int_equal(tn_send(conn, "x", 1), 0);
	th_until(loop, ended);
	return ended;
}

/* SIGPIPE that was pending before a write to a pipe without a reader is pending after it; ours never is. */
static void test_a_pending_signal_stays(void **state)
{
	sigset_t pipe_only, before, pending;

	(void)state;
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
	for (int was = 0; was < 2; was++) {
		struct tn_loop *loop = th_loop();

		if (was)
			raise(SIGPIPE);
		(void)write_to_nobody(loop);
		sigpending(&pending);
		assert_int_equal(sigismember(&pending, SIGPIPE), was);
		tn_loop_free(loop);
	}
	assert_int_equal(sigtimedwait(&pipe_only, NULL, &(struct timespec){0}), SIGPIPE);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Nor is any other signal held back or let through by a write to a pipe, be SIGPIPE ignored or not. */
static void test_the_mask_stays(void **state)
{
	static const int held[] = {SIGUSR1, SIGUSR2};
	sigset_t mine, before, after;

	(void)state;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	for (int ignored = 0; ignored < 2; ignored++) {
		void (*old)(int) = signal(SIGPIPE, ignored ? SIG_IGN : SIG_DFL);
		struct tn_loop *loop = th_loop();

		sigemptyset(&mine);
		sigaddset(&mine, held[ignored]);
		pthread_sigmask(SIG_SETMASK, &mine, NULL);
		assert_int_equal(write_to_nobody(loop), -EPIPE);
		tn_loop_free(loop);
		signal(SIGPIPE, old);
		pthread_sigmask(SIG_SETMASK, NULL, &after);
		for (int i = 1; i < SIGRTMIN; i++)
			assert_int_equal(sigismember(&after, i), i == held[ignored]);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A pipe that others have as well stays for them as it was, whichever numbers of descriptors are free. */
static void test_a_shared_pipe_stays_blocking(void **state)
{
	int input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);

	(void)state;
	for (int low = 0; low < 2; low++) {
		struct tn_loop *loop = th_loop();
		struct tn_conn *conn;
		int fds[2], theirs;
		char url[32];

		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		theirs = fcntl(fds[1], F_DUPFD_CLOEXEC, 10);
		assert_true(theirs >= 0);
		if (low)
			close(STDIN_FILENO);
		snprintf(url, sizeof(url), "fd:%d", fds[1]);
		assert_int_equal(tn_dial(loop, url, &(struct tn_handler){0}, NULL, &conn), 0);
		assert_int_equal(fcntl(theirs, F_GETFL) & O_NONBLOCK, 0);
		if (low)
			assert_int_equal(fcntl(STDIN_FILENO, F_GETFD), -1); /* nothing was left there */
		if (low && input >= 0)
			assert_int_equal(dup2(input, STDIN_FILENO), STDIN_FILENO);
		tn_loop_free(loop);
		close(theirs);
		close(fds[0]);
	}
	close(input);
}

/* ---- what is lost is counted once ---- */

static void fade(struct tn_conn *conn, void *arg)
{
	(void)arg;
	assert_int_equal(tn_conn_fade(conn), 0);
}

static void answer_each(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	*(struct tn_conn **)arg = conn;
	assert_int_equal(tn_reply(conn, msg, msg->data, msg->len), 0);
}

/* What comes with its last hop is answered so often only. What is not answered is lost,
 * and no message that went out. */
static void test_replies_without_hops_are_lost_once(void **state)
{
	static const struct tn_handler handler = {.on_open = fade, .on_msg = answer_each};
	struct tn_loop *loop = th_loop();
	struct tn_conn *conn = NULL;
	struct tn_conn_info info = {0};
	struct tn_server *server;
	uint64_t heard = 0;
	int fds[1], one = 1;
	char data[32];

	(void)state;
	assert_int_equal(tn_serve(loop, "udp4://127.0.0.1:0", &handler, &conn, &server), 0);
	fds[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(setsockopt(fds[0], IPPROTO_IP, IP_TTL, &one, sizeof(one)), 0);
	for (unsigned i = 0; i < 200; i++) {
		struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

		to.sin_port = htons((uint16_t)atoi(strrchr(tn_server_url(server, 0), ':') + 1));
		assert_int_equal(sendto(fds[0], "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
		th_until(loop, conn && (tn_conn_info(conn, &info), info.msgs_in == i + 1));
	}
	th_until(loop, (tn_conn_info(conn, &info), info.bytes_out == info.msgs_out));
	while (recv(fds[0], data, sizeof(data), 0) == 1)
		heard++;
	assert_true(info.lost > 0 && info.msgs_out >= 64);
	assert_int_equal(info.msgs_out + info.lost, 200);
	assert_int_equal(heard, info.msgs_out);
	close(fds[0]);
	tn_loop_free(loop);
}

/* What the kernel refuses to send was queued, and is lost. */
static void test_what_cannot_be_sent_is_lost_once(void **state)
{
	static const struct tn_handler handler = {.on_open = note_conn};
	struct tn_loop *loop = th_loop();
	struct tn_conn *conn = NULL;
	struct tn_conn_info info = {0};
	struct tn_addr broadcast = {0};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = INADDR_BROADCAST};

	(void)state;
	memcpy(broadcast.bytes, &in, sizeof(in));
	broadcast.len = sizeof(in);
	assert_int_equal(tn_serve(loop, "udp4://127.0.0.1:0", &handler, &conn, NULL), 0);
	th_until(loop, conn);
	for (int i = 0; i < 3; i++) {
		struct tn_msg msg = {.peer = &broadcast};

		assert_int_equal(tn_reply(conn, &msg, "x", 1), 0);
	}
	th_until(loop, (tn_conn_info(conn, &info), info.lost == 3));
	assert_int_equal(info.msgs_out, 0);
	assert_int_equal(info.bytes_out, 0);
	tn_loop_free(loop);
}

/* ---- another socket is opened while a batch is handed over ---- */

struct opener {
	struct tn_loop *loop;
	uint32_t lens[4];
	int n;
};

static void open_another(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	static const struct tn_handler none = {0};
	struct opener *o = arg;

	(void)conn;
	o->lens[o->n++] = msg->peer->len;
	if (o->n == 1)
		assert_int_equal(tn_serve(o->loop, "udp4://127.0.0.1:0", &none, NULL, NULL), 0);
}

/* They share the loop's memory for what comes: who the others of the batch are from is not forgotten. */
static void test_a_socket_opened_amid_a_batch(void **state)
{
	static const struct tn_handler handler = {.on_msg = open_another};
	struct opener o = {.loop = th_loop()};
	struct tn_server *server;
	int fds[1];

	(void)state;
	assert_int_equal(tn_serve(o.loop, "udp4://127.0.0.1:0", &handler, &o, &server), 0);
	ask_at(server, 0, fds, true);
	for (int i = 1; i < 4; i++)
		assert_int_equal(send(fds[0], "x", 1, 0), 1);
	th_until(o.loop, o.n == 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(o.lens[i], sizeof(struct sockaddr_in));
	close(fds[0]);
	tn_loop_free(o.loop);
}

/* ---- what the kernel drops is counted and told ---- */

static void note_lost(struct tn_server *server, int err, const char *text, void *arg)
{
	(void)server;
	if (err == -ENOBUFS && strstr(text, "key rcvbuf"))
		*(bool *)arg = true;
}

static void test_what_the_kernel_drops_is_told(void **state)
{
	static const struct tn_watch watch = {.on_trouble = note_lost};
	static const struct tn_handler handler = {.on_msg = pass_on, .on_open = note_conn};
	static const char data[1000];
	struct tn_loop *loop = th_loop();
	struct tn_conn *conn = NULL;
	struct tn_conn_info info;
	struct tn_server *server;
	bool told = false;
	int fds[1];

	(void)state;
	assert_int_equal(tn_serve(loop, "udp4://*:0?rcvbuf=4096", &handler, &conn, &server), 0);
	tn_server_watch(server, &watch, &told);
	th_until(loop, conn);
	ask_at(server, 0, fds, true);
	for (int i = 0; i < 100; i++)
		assert_int_equal(send(fds[0], data, sizeof(data), 0), sizeof(data));
	tn_conn_info(conn, &info);
	assert_true(info.dropped > 50 && info.dropped < 101 && info.lost == info.dropped);
	th_until(loop, told);
	close(fds[0]);
	tn_loop_free(loop);
}

/* ---- packets sent before the connection is open ---- */

struct packets {
	int n, closes, err;
	size_t len[8];
};

static void note_packet(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct packets *p = arg;

	(void)conn;
	if (p->n < 8)
		p->len[p->n] = msg->len;
	p->n++;
}

static void note_closed_packets(struct tn_conn *conn, int err, void *arg)
{
	struct packets *p = arg;

	(void)conn;
	p->closes++;
	p->err = err;
}

/* A server of packets that notes them, and a connection to it that is not open yet. */
static struct tn_conn *dial_for_packets(struct tn_loop *loop, struct packets *p)
{
	static const struct tn_handler handler = {.on_msg = note_packet}, none = {0};
	struct tn_conn *conn;
	char url[128];

	snprintf(url, sizeof(url), "unix-seqpacket:%s/s", th_dir);
	assert_int_equal(tn_serve(loop, url, &handler, p, NULL), 0);
	assert_int_equal(tn_dial(loop, url, &none, NULL, &conn), 0);
	return conn;
}

static void test_packets_sent_before_open_stay_apart(void **state)
{
	struct tn_loop *loop = th_loop();
	struct packets p = {0};
	struct tn_conn *conn = dial_for_packets(loop, &p);

	(void)state;
	assert_int_equal(tn_send(conn, "one", 3), 0);
	assert_int_equal(tn_send(conn, "three", 5), 0);
	tn_close(conn);
	th_until(loop, p.n >= 2 || p.len[0] > 3);
	assert_int_equal(p.len[0], 3);
	assert_int_equal(p.len[1], 5);
	tn_loop_free(loop);
}

/* Its reader would take it for the end. What is sent before and behind it arrives. */
static void test_an_empty_packet_is_refused(void **state)
{
	struct tn_loop *loop = th_loop();
	struct packets p = {0};
	struct tn_conn *conn = dial_for_packets(loop, &p);

	(void)state;
	assert_int_equal(tn_send(conn, "one", 3), 0);
	assert_int_equal(tn_send(conn, "", 0), TN_EFORMAT);
	assert_non_null(strstr(tn_errmsg(), "an empty message on unix-seqpacket is the end of the stream"));
	assert_int_equal(tn_send(conn, "three", 5), 0);
	tn_close(conn);
	th_until(loop, p.n == 2);
	assert_int_equal(p.len[0], 3);
	assert_int_equal(p.len[1], 5);
	tn_loop_free(loop);
}

/* It reads as the end of the stream does, and is none: what comes behind it counts. The end itself is still one. */
static void test_empty_packets_are_no_end(void **state)
{
	static const struct tn_handler handler = {.on_msg = note_packet};
	static const char *const sent[] = {"one", "", "three", "", ""};
	struct tn_loop *loop = th_loop();
	struct packets p = {0};
	struct tn_conn *conn;
	char url[32];
	int pair[2];

	(void)state;
	th_pair(SOCK_SEQPACKET, pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &p, &conn), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(send(pair[1], sent[i], strlen(sent[i]), MSG_NOSIGNAL), (ssize_t)strlen(sent[i]));
	th_until(loop, p.n == 2);
	for (int i = 0; i < 200; i++)
		assert_int_equal(send(pair[1], "", 0, MSG_NOSIGNAL | MSG_DONTWAIT), 0);
	th_turn_for(loop, 50);
	assert_int_equal(send(pair[1], "seven", 5, MSG_NOSIGNAL), 5);
	assert_int_equal(send(pair[1], "", 0, MSG_NOSIGNAL), 0);
	assert_int_equal(send(pair[1], "eleven", 6, MSG_NOSIGNAL), 6);
	close(pair[1]); /* which is known while all of these are still to be read */
	th_until(loop, p.n == 4);
	assert_int_equal(p.len[0], 3);
	assert_int_equal(p.len[1], 5);
	assert_int_equal(p.len[2], 5);
	assert_int_equal(p.len[3], 6);
	th_until(loop, tn_loop_step(loop, 0) == 0); /* and with its end nothing is left on the loop */
	tn_loop_free(loop);
}

struct flood {
	int fd;
	bool stop;
};

static void *send_empty_packets(void *arg)
{
	struct flood *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		if (send(f->fd, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			usleep(100);
	}
	return NULL;
}

/* However many come in a row: memory is not short because of that, and other connections go on. */
static void test_a_flood_of_empty_packets(void **state)
{
	static const struct tn_handler handler = {.on_msg = note_packet};
	struct tn_loop *loop = th_loop();
	struct packets p = {0};
	struct flood flood = {0};
	struct tn_conn *conn;
	pthread_t thread;
	char url[32];
	int pair[2];

	(void)state;
	th_pair(SOCK_SEQPACKET, pair);
	flood.fd = pair[1];
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &p, &conn), 0);
	assert_int_equal(pthread_create(&thread, NULL, send_empty_packets, &flood), 0);
	for (int i = 0; i < 300; i++) {
		assert_true(tn_loop_step(loop, 5) >= 0);
		if (th_is_uring() || th_is_epoll()) /* the others say so at random */
			assert_int_equal(loop->short_ns, 0);
	}
	__atomic_store_n(&flood.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	while (send(pair[1], "three", 5, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		assert_true(tn_loop_step(loop, 5) >= 0);
	th_until(loop, p.n == 1);
	assert_int_equal(p.len[0], 5);
	close(pair[1]);
	th_turn_for(loop, 20);
	tn_loop_free(loop);
}

static void say_twice(struct tn_conn *conn, void *arg)
{
	(void)arg;
	assert_int_equal(tn_send(conn, "one", 3), 0);
	assert_int_equal(tn_send(conn, "two", 3), 0);
}

/* What an inherited socket is, each of the loops knows that serve it: packets stay apart on all of them. */
static void test_inherited_packets_over_loops(void **state)
{
	static const struct tn_handler handler = {.on_open = say_twice};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct tn_loop *loops[2] = {th_loop(), th_loop()};
	struct tn_server *server;
	char url[32], got[16];
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	(void)state;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", th_dir);
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listener, 5), 0);
	snprintf(url, sizeof(url), "fd:%d", listener);
	assert_int_equal(tn_serve_loops(loops, 2, url, &handler, NULL, &server), 0);
	for (int i = 0; i < 4; i++) {
		uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		for (int packets = 0; packets < 2;) {
			ssize_t n = recv(fd, got, sizeof(got), MSG_DONTWAIT);

			assert_true(n < 0 || (n == 3 && !memcmp(got, packets ? "two" : "one", 3)));
			packets += n == 3;
			for (int j = 0; j < 2; j++)
				assert_true(tn_loop_step(loops[j], 1) >= 0);
			th_check_deadline(deadline, "two packets", __FILE__, __LINE__);
		}
		close(fd);
	}
	tn_loop_free(loops[0]);
	tn_loop_free(loops[1]);
	unlink(addr.sun_path);
}

/* ---- the last words of a peer that reads no more ---- */

struct words {
	size_t in, out;
	int closes, err;
};

static void note_words(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct words *w = arg;

	(void)conn;
	w->in += msg->len;
}

static void push_on(struct tn_conn *conn, void *arg)
{
	static char piece[4096];
	struct words *w = arg;
	int rc;

	do {
		rc = tn_send(conn, piece, sizeof(piece));
		w->out += rc >= 0 ? sizeof(piece) : 0;
	} while (rc == 0);
}

static void note_close(struct tn_conn *conn, int err, void *arg)
{
	struct words *w = arg;

	(void)conn;
	w->closes++;
	w->err = err;
}

/* It has our request half read, replies that it will not have it, and goes: the reply is in our socket. */
static void last_words(const char *url, int peer)
{
	static const struct tn_handler handler = {
		.on_open = push_on, .on_msg = note_words, .on_drain = push_on, .on_close = note_close};
	struct tn_loop *loop = th_loop();
	struct words w = {0};
	struct tn_conn *conn;
	char reply[5000];
	struct pollfd p;

	assert_int_equal(tn_dial(loop, url, &handler, &w, &conn), 0);
	th_until(loop, w.out > 100000);
	th_turn_for(loop, 20);
	p = (struct pollfd){.fd = peer, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 5000), 1);
	th_fill(reply, sizeof(reply), 0);
	assert_int_equal(send(peer, reply, sizeof(reply), MSG_NOSIGNAL), sizeof(reply));
	close(peer);
	th_until(loop, w.closes);
	assert_int_equal(w.in, sizeof(reply));
	assert_true(w.err < 0);
	tn_loop_free(loop);
}

static void test_last_words(void **state)
{
	char url[32];
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	last_words(url, pair[1]);
}

static void test_last_words_tcp(void **state)
{
	char url[32];
	int pair[2];

	(void)state;
	th_tcp_pair(pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	last_words(url, pair[1]);
}

/* A peer that reads no more is read from until it is silent for a second: words that come one by one are no silence,
 * nor is a stop of this process, after which they are there. */
static void test_last_words_one_by_one(void **state)
{
	static const struct tn_handler handler = {.on_msg = note_words, .on_close = note_close};
	struct tn_loop *loop = th_loop();
	struct words w = {0};
	struct tn_conn *conn;
	uint64_t start, sent = 0;
	char url[32];
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &w, &conn), 0);
	shutdown(pair[1], SHUT_RD);
	assert_int_equal(tn_send(conn, "request", 7), 0);
	for (start = th_now_ms(); th_now_ms() < start + 1300;) {
		assert_int_equal(send(pair[1], "x", 1, 0), 1);
		sent++;
		th_turn_for(loop, 5);
	}
	assert_int_equal(send(pair[1], "x", 1, 0), 1);
	usleep(1300000);
	th_until(loop, w.in == sent + 1 || w.closes);
	assert_int_equal(w.in, sent + 1);
	close(pair[1]);
	th_until(loop, w.closes);
	assert_int_equal(w.err, -EPIPE);
	tn_loop_free(loop);
}

/* What comes after our end is read, or else the peer would see a reset;
 * also when this process was stopped meanwhile. */
static void test_words_after_our_end(void **state)
{
	static const struct tn_handler handler = {.on_close = note_close};
	struct tn_loop *loop = th_loop();
	struct words w = {0};
	struct tn_conn *conn;
	char url[32], byte;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &w, &conn), 0);
	tn_close(conn);
	th_turn_for(loop, 20);
	assert_int_equal(send(pair[1], "x", 1, 0), 1);
	usleep(1300000);
	th_until(loop, w.closes);
	assert_int_equal(w.err, 0);
	assert_int_equal(recv(pair[1], &byte, 1, 0), 0);
	close(pair[1]);
	tn_loop_free(loop);
}

/* Datagrams to a peer that reads nothing, or only when the connection has been closed: it waits, but not for ever. */
static void closed_with_datagrams(bool reads)
{
	static const struct tn_handler handler = {.on_close = note_close};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), in = 0, out = 0;
	struct tn_loop *loop = th_loop();
	struct words w = {0};
	struct tn_conn *conn;
	char url[128], byte;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/d", th_dir);
	assert_int_equal(bind(peer, (struct sockaddr *)&addr, sizeof(addr)), 0);
	snprintf(url, sizeof(url), "unix-dgram:%s", addr.sun_path);
	assert_int_equal(tn_dial(loop, url, &handler, &w, &conn), 0);
	th_until(loop, tn_conn_queued(conn) > 1000 || (out += tn_send(conn, "x", 1) >= 0) < 0);
	tn_close(conn);
	th_turn_for(loop, 20);
	assert_int_equal(w.closes, 0);
	if (reads)
		th_until(loop, (in += recv(peer, &byte, 1, MSG_DONTWAIT) == 1) == out);
	th_until(loop, w.closes);
	assert_int_equal(w.err, reads ? 0 : TN_EDRAIN);
	close(peer);
	unlink(addr.sun_path);
	tn_loop_free(loop);
}

static void test_closed_with_datagrams(void **state)
{
	(void)state;
	closed_with_datagrams(true);
	closed_with_datagrams(false);
}

/* A connection that is closed while it is paused: all that was queued goes to a peer that reads slowly, says something
 * all the while, and sees an end, no reset. Of its words none is told. */
static void paused_then_closed(const char *url, int peer)
{
	static const struct tn_handler handler = {.on_msg = note_words, .on_close = note_close};
	struct tn_loop *loop = th_loop();
	struct words w = {0};
	struct tn_conn *conn;
	static char queued[100000], got[512];
	size_t in = 0;
	ssize_t n = -1;

	assert_int_equal(tn_dial(loop, url, &handler, &w, &conn), 0);
	th_turn_for(loop, 20);
	tn_pause(conn);
	th_set_nonblock(peer);
	while (send(peer, got, sizeof(got), MSG_NOSIGNAL) > 0)
		th_turn_for(loop, 0);
	th_fill(queued, sizeof(queued), 0);
	assert_int_equal(tn_send(conn, queued, sizeof(queued)), 0);
	tn_close(conn);
	for (uint64_t start = th_now_ms(); n; th_turn_for(loop, 5)) {
		(void)send(peer, "x", 1, MSG_NOSIGNAL);
		n = recv(peer, got, sizeof(got), 0);
		assert_true(n >= 0 || errno == EAGAIN);
		assert_true(n <= 0 || th_matches(got, (size_t)n, in));
		in += n > 0 ? (size_t)n : 0;
		th_check_deadline(start + TH_PATIENCE_MS, "the peer sees the end", __FILE__, __LINE__);
	}
	assert_int_equal(in, sizeof(queued));
	assert_int_equal(w.closes, 0); /* its end is awaited */
	close(peer);
	th_until(loop, w.closes);
	assert_int_equal(w.err, 0);
	assert_int_equal(w.in, 0);
	tn_loop_free(loop);
}

static void test_paused_then_closed(void **state)
{
	char url[64];
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	snprintf(url, sizeof(url), "fd:%d?drain=1m&queue=1MiB", pair[0]);
	paused_then_closed(url, pair[1]);
	th_tcp_pair(pair);
	snprintf(url, sizeof(url), "fd:%d?drain=1m&queue=1MiB&sndbuf=16KiB", pair[0]);
	paused_then_closed(url, pair[1]);
}

/* Each hold wants its release before the connection follows its peer's end; 65,535 at once are not counted any more. */
static void test_as_many_releases_as_holds(void **state)
{
	static const struct tn_handler handler = {.on_msg = note_words, .on_close = note_close};
	static const int holds[] = {1, 2, 65534, 65535, 65600};

	(void)state;
	for (size_t i = 0; i < sizeof(holds) / sizeof(holds[0]); i++) {
		struct tn_loop *loop = th_loop();
		struct words w = {0};
		struct tn_conn *conn;
		char url[32];
		int pair[2];

		th_pair(SOCK_STREAM, pair);
		snprintf(url, sizeof(url), "fd:%d", pair[0]);
		assert_int_equal(tn_dial(loop, url, &handler, &w, &conn), 0);
		for (int n = 0; n < holds[i]; n++)
			tn_conn_hold(conn);
		assert_int_equal(send(pair[1], "x", 1, 0), 1);
		shutdown(pair[1], SHUT_WR);
		th_until(loop, w.in == 1);
		for (int n = 1; n < holds[i]; n++)
			tn_conn_release(conn);
		th_turn_for(loop, 20);
		assert_int_equal(w.closes, 0);
		tn_conn_release(conn);
		if (holds[i] >= 65535) {
			th_turn_for(loop, 20);
			assert_int_equal(w.closes, 0);
			tn_close(conn);
		}
		th_until(loop, w.closes);
		assert_int_equal(w.err, 0);
		close(pair[1]);
		tn_loop_free(loop);
	}
}

/* ---- a message is refused while a reply is owed ---- */

#define OWED 60000

static void hold_reply(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	note_words(conn, msg, arg);
	tn_conn_hold(conn);
}

static void reply_and_finish(struct tn_conn *conn, void *arg)
{
	static char reply[OWED];

	(void)arg;
	th_fill(reply, sizeof(reply), 0);
	assert_int_equal(tn_send(conn, reply, sizeof(reply)), 0);
	tn_conn_release(conn);
	assert_int_equal(tn_finish(conn), 0);
}

static void go_on_after_end(struct tn_conn *conn, void *arg)
{
	(void)conn;
	(void)arg;
}

/* The peer reads slowly: what the kernel still holds when the queue is empty must not be lost in the reset. */
static void test_refused_then_finished(void **state)
{
	static const struct tn_handler handler = {
		.on_msg = hold_reply, .on_cut = reply_and_finish, .on_end = go_on_after_end, .on_close = note_close};
	static char got[4096];
	struct tn_loop *loop = th_loop();
	uint64_t start = th_now_ms();
	struct words w = {0};
	size_t in = 0;
	ssize_t n;
	char url[80];
	int pair[2], room = 4096;

	(void)state;
	th_tcp_pair(pair);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	snprintf(url, sizeof(url), "fd:%d?frame=u32&max=1MiB&queue=4MiB&sndbuf=16KiB", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &w, NULL), 0);
	assert_int_equal(send(pair[1], "\0\0\0\1x\x7f\0\0\0", 9, 0), 9);
	th_set_nonblock(pair[1]);
	for (;;) {
		assert_true(tn_loop_step(loop, 0) >= 0);
		n = recv(pair[1], got, sizeof(got), 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		in += n > 0 ? (size_t)n : 0;
		th_check_deadline(start + TH_PATIENCE_MS, "the peer sees the reset", __FILE__, __LINE__);
	}
	assert_int_equal(n < 0 ? errno : 0, ECONNRESET);
	assert_int_equal(in, OWED + 4);
	th_until(loop, w.closes);
	assert_int_equal(w.err, TN_ETOOBIG);
	assert_int_equal(w.in, 1);
	close(pair[1]);
	tn_loop_free(loop);
}

/* What was standard input is no socket any more once the connection has gone, nor is the number free for another. */
static void test_descriptor_0(void **state)
{
	static const struct tn_handler handler = {.on_msg = note_words, .on_close = note_close};
	struct tn_loop *loop = th_loop();
	struct words w = {0};
	struct tn_conn *conn;
	struct stat st;
	int pair[2], aside = fcntl(0, F_DUPFD_CLOEXEC, 10);

	(void)state;
	assert_true(aside >= 0);
	th_pair(SOCK_STREAM, pair);
	assert_int_equal(dup2(pair[0], 0), 0);
	close(pair[0]);
	assert_int_equal(tn_dial(loop, "fd:0", &handler, &w, &conn), 0);
	assert_int_equal(send(pair[1], "x", 1, 0), 1);
	th_until(loop, w.in == 1);
	close(pair[1]);
	th_until(loop, w.closes);
	assert_int_equal(w.err, 0);
	assert_int_equal(fstat(0, &st), 0);
	assert_false(S_ISSOCK(st.st_mode));
	assert_int_equal(dup2(aside, 0), 0);
	close(aside);
	tn_loop_free(loop);
}

/* ---- half a line, and a reset ---- */

/* A reset tells of itself once, here to a send that waits: what reading then finds is no end in good order, and what
 * has come of a line no line. */
static void test_half_a_line_and_a_reset(void **state)
{
	static const struct tn_handler handler = {.on_msg = note_packet, .on_close = note_closed_packets};
	static char line[1 << 20];
	struct linger now = {.l_onoff = 1};
	struct tn_loop *loop = th_loop();
	struct packets p = {0};
	struct tn_conn *conn;
	char url[64];
	int pair[2];

	(void)state;
	memset(line, 'x', sizeof(line));
	th_tcp_pair(pair);
	snprintf(url, sizeof(url), "fd:%d?frame=line&queue=64MiB&sndbuf=16KiB", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &p, &conn), 0);
	for (int i = 0; i < 16; i++)
		assert_int_equal(tn_send(conn, line, sizeof(line)), 0);
	th_turn_for(loop, 20);
	assert_int_equal(send(pair[1], "one\ntw", 6, 0), 6);
	setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(pair[1]);
	th_until(loop, p.closes);
	assert_int_equal(p.err, -ECONNRESET);
	assert_int_equal(p.n, 1);
	assert_int_equal(p.len[0], 3);
	tn_loop_free(loop);
}

/* ---- loops freed in any order ---- */

static const struct tn_handler nothing = {0};

static void count(void *arg)
{
	++*(int *)arg;
}

static void free_in_order(const char *url, const int order[3], bool closing)
{
	struct tn_loop *loops[3];
	struct tn_server *server;
	int done = 0;

	for (int i = 0; i < 3; i++)
		loops[i] = th_loop();
	assert_int_equal(tn_serve_loops(loops, 3, url, &nothing, NULL, &server), 0);
	if (closing)
		tn_server_close(server, 0, count, &done);
	if (closing) /* the first loop's part may well be gone by the time the others hear of it */
		th_turn_for(loops[0], 50);
	for (int i = 0; i < 3; i++)
		tn_loop_free(loops[order[i]]);
	assert_int_equal(done, closing);
}

static void test_loops_freed_in_any_order(void **state)
{
	static const int orders[][3] = {{0, 1, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	char url[128], file[128], tls[256];
	FILE *keys;
	bool has_tls;

	(void)state;
	snprintf(url, sizeof(url), "unix:%s/s", th_dir);
	/* Its first loop looks whether its files change. */
	snprintf(file, sizeof(file), "%s/keys", th_dir);
	keys = fopen(file, "we");
	assert_non_null(keys);
	assert_true(fputs("somebody:00112233445566778899aabbccddeeff\n", keys) >= 0 && fclose(keys) == 0);
	snprintf(tls, sizeof(tls), "tls://127.0.0.1:0?psk-file=%s", file);
	has_tls = tn_url_check(tls, TN_SERVE) == 0;
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		free_in_order("tcp://127.0.0.1:0", orders[i], false);
		free_in_order("udp://127.0.0.1:0", orders[i], true);
		free_in_order(url, orders[i], false);
		free_in_order(url, orders[i], true);
		if (has_tls)
			free_in_order(tls, orders[i], i & 1);
	}
	unlink(file);
}

static void test_server_closed_after_a_loop_was_freed(void **state)
{
	struct tn_loop *loops[2] = {th_loop(), th_loop()};
	struct tn_server *server;
	int done = 0;

	(void)state;
	assert_int_equal(tn_serve_loops(loops, 2, "tcp://127.0.0.1:0", &nothing, NULL, &server), 0);
	tn_loop_free(loops[1]);
	tn_server_close(server, 0, count, &done);
	th_until(loops[0], done);
	tn_loop_free(loops[0]);
}

static void test_no_loops(void **state)
{
	struct tn_loop *loop = th_loop();
	struct tn_server *server;

	(void)state;
	assert_int_equal(tn_serve_loops(&loop, 0, "tcp://127.0.0.1:0", &nothing, NULL, &server), -EINVAL);
	tn_loop_free(loop);
}

/* ---- the loop inside itself ---- */

struct inside {
	struct tn_loop *loop;
	int step, run, call, fired;
};

static void turn_inside(void *arg)
{
	struct inside *in = arg;
	void *reply;
	size_t len;

	in->step = tn_loop_step(in->loop, 0);
	in->run = tn_loop_run(in->loop);
	in->call = tn_call(in->loop, "tcp://127.0.0.1:1", "x", 1, &reply, &len, 100);
	in->fired++;
}

static void test_loop_inside_itself(void **state)
{
	struct inside in = {.loop = th_loop()};

	(void)state;
	assert_int_equal(tn_timer_start(in.loop, 0, turn_inside, &in, NULL), 0);
	th_until(in.loop, in.fired);
	assert_int_equal(in.step, TN_ESTATE);
	assert_int_equal(in.run, TN_ESTATE);
	assert_int_equal(in.call, TN_ESTATE);
	tn_loop_free(in.loop);
}

/* ---- callbacks while the loop is freed ---- */

struct again {
	struct tn_loop *loop;
	int closes, rc;
};

static void dial_again(struct tn_conn *conn, int err, void *arg);

static const struct tn_handler stubborn = {.on_close = dial_again};

static void dial_again(struct tn_conn *conn, int err, void *arg)
{
	struct again *a = arg;

	(void)conn, (void)err;
	a->closes++;
	a->rc = tn_dial(a->loop, "tcp://127.0.0.1:1", &stubborn, a, NULL);
}

/* Reconnecting in on_close is what clients do; freeing the loop is the end of it. */
static void test_dialling_again_while_the_loop_is_freed(void **state)
{
	struct again a = {.loop = th_loop()};

	(void)state;
	assert_int_equal(tn_dial(a.loop, "tcp://127.0.0.1:1", &stubborn, &a, NULL), 0);
	tn_loop_free(a.loop);
	assert_int_equal(a.closes, 1);
	assert_int_equal(a.rc, TN_ESTATE);
}

static void post_again(void *arg)
{
	struct again *a = arg;

	a->closes++;
	if (a->closes < 3)
		assert_int_equal(tn_loop_post(a->loop, post_again, a), 0);
}

static void test_posts_made_while_the_loop_is_freed(void **state)
{
	struct again a = {.loop = th_loop()};

	(void)state;
	assert_int_equal(tn_loop_post(a.loop, post_again, &a), 0);
	tn_loop_free(a.loop);
	assert_int_equal(a.closes, 3);
}

/* A post that posts itself for ever: in the end it is told that the loop takes no more. */
static void post_for_ever(void *arg)
{
	struct again *a = arg;

	a->closes++;
	a->rc = tn_loop_post(a->loop, post_for_ever, a);
}

static void test_posts_are_refused_in_the_end(void **state)
{
	struct again a = {.loop = th_loop()};

	(void)state;
	assert_int_equal(tn_loop_post(a.loop, post_for_ever, &a), 0);
	tn_loop_free(a.loop);
	assert_true(a.closes > 1);
	assert_int_equal(a.rc, TN_ESTATE); /* so each that was taken has been called */
}

/* ---- no callback from inside a call ---- */

struct within {
	bool in_call, told_inside;
	int opens;
};

static void note_open(struct tn_conn *conn, void *arg)
{
	struct within *w = arg;

	(void)conn;
	w->opens++;
	w->told_inside |= w->in_call;
}

static void test_failing_to_serve_calls_nobody(void **state)
{
	static const struct tn_handler handler = {.on_open = note_open};
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	struct within w = {0};
	char url[128];
	int pair[2];

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &nothing, NULL, &server), 0);
	th_pair(SOCK_STREAM, pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &w, NULL), 0);
	w.in_call = true;
	assert_int_equal(tn_serve(loop, tn_server_url(server, 0), &nothing, NULL, NULL), -EADDRINUSE);
	w.in_call = false;
	assert_false(w.told_inside);
	th_until(loop, w.opens);
	tn_loop_free(loop);
	close(pair[1]);
}

/* ---- numbers at their limits ---- */

static void test_timers_for_ever(void **state)
{
	struct tn_loop *loop = th_loop();
	struct tn_timer *timers[2];
	int fired = 0;

	(void)state;
	assert_int_equal(tn_timer_start(loop, UINT64_MAX, count, &fired, &timers[0]), 0);
	assert_int_equal(tn_timer_start(loop, UINT64_MAX / 1000000, count, &fired, &timers[1]), 0);
	th_turn_for(loop, 20);
	assert_int_equal(fired, 0);
	tn_timer_stop(timers[0]);
	tn_timer_stop(timers[1]);
	tn_loop_free(loop);
}

static void test_drain_for_ever(void **state)
{
	struct tn_loop *loop = th_loop();
	struct words w = {0};
	struct tn_server *server;
	static const struct tn_handler handler = {.on_msg = note_words, .on_close = note_close};
	int done = 0, fd;

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &handler, &w, &server), 0);
	fd = th_tcp_dial(atoi(strrchr(tn_server_url(server, 0), ':') + 1));
	assert_int_equal(send(fd, "x", 1, 0), 1);
	th_until(loop, w.in == 1);
	tn_server_close(server, UINT64_MAX, count, &done);
	for (int i = 0; i < 4; i++) { /* busy, so it goes on */
		assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
		th_turn_for(loop, 20);
	}
	assert_int_equal(w.in, 5);
	th_until(loop, done);
	assert_int_equal(w.err, 0);
	tn_loop_free(loop);
	close(fd);
}

static void *serve_one(void *arg)
{
	struct tn_loop *loop = arg;

	assert(tn_loop_run(loop) == 0);
	return NULL;
}

static void echo(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	(void)!tn_forward(conn, msg);
}

/* Of the two sockets of '*' each joins the groups that it can hear; an IPv4 socket can join no IPv6 group. */
static void test_groups_of_both_families(void **state)
{
	static const char *const good[] = {"udp://*:0?add_membership=239.255.1.2@lo,ff02::1234@lo",
					   "udp://*:0?add_membership=239.255.1.2@lo",
					   "udp://*:0?add_membership=ff02::1234@lo"};
	static const char *const bad[] = {"udp4://*:0?add_membership=ff02::1234@lo",
					  "udp://0.0.0.0:0?add_membership=ff02::1234@lo",
					  "udp://127.0.0.1:0?add_membership=ff02::1234@lo"};
	static const struct tn_handler handler = {.on_msg = note_words, .on_close = note_close};
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	struct words w = {0};

	(void)state;
	for (int i = 0; i < 3; i++) {
		int done = 0;

		assert_int_equal(tn_serve(loop, good[i], &handler, &w, &server), 0);
		assert_int_equal(tn_server_nurls(server), 2);
		tn_server_close(server, 0, count, &done);
		th_until(loop, done);
		assert_true(tn_serve(loop, bad[i], &handler, &w, &server) < 0);
		assert_non_null(strstr(tn_errmsg(), "add_membership"));
	}
	tn_loop_free(loop);
}

struct busy {
	struct tn_loop *loop;
	struct tn_timer *timer;
};

/* A callback that takes its time, in every turn. */
static void be_busy(void *arg)
{
	struct busy *busy = arg;

	usleep(80000);
	assert_int_equal(tn_timer_start(busy->loop, 0, be_busy, busy, &busy->timer), 0);
}

/* A loop that is never in time still knows who is quiet, and answers what was sent before. */
static void test_drain_when_every_turn_is_late(void **state)
{
	static const struct tn_handler handler = {.on_msg = echo, .on_close = note_close};
	struct tn_loop *loop = th_loop();
	struct busy busy = {.loop = loop};
	struct words w = {0};
	struct tn_server *server;
	int done = 0, fds[2];
	char byte;

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &handler, &w, &server), 0);
	for (int i = 0; i < 2; i++) {
		fds[i] = th_tcp_dial(atoi(strrchr(tn_server_url(server, 0), ':') + 1));
		assert_int_equal(send(fds[i], "x", 1, 0), 1);
		th_until(loop, recv(fds[i], &byte, 1, MSG_DONTWAIT) == 1);
	}
	th_turn_for(loop, 150);
	be_busy(&busy);
	assert_int_equal(send(fds[0], "x", 1, 0), 1);
	tn_server_close(server, 20000, count, &done);
	th_until(loop, done);
	assert_int_equal(w.err, 0);
	assert_int_equal(recv(fds[0], &byte, 1, 0), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(recv(fds[i], &byte, 1, 0), 0);
		close(fds[i]);
	}
	tn_timer_stop(busy.timer);
	tn_loop_free(loop);
}

static void (*tick)(struct tni_timer *timer);

/* Another loop's client is counted right behind the tick, and before the part looks whether it may end. */
static void tick_and_count(struct tni_timer *timer)
{
	struct tni_part *part = tni_container_of(timer, struct tni_part, timer);

	part->timer.fire = tick;
	atomic_fetch_sub(&part->nconns, 1);
	tick(timer);
	atomic_fetch_add(&part->nconns, 1);
}

/* A client that another loop has counted, and takes back since this one has closed: nobody is woken for that. */
static void test_drain_when_no_client_is_handed_over(void **state)
{
	static const struct tn_handler handler = {.on_msg = echo};
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	struct tni_part *part;
	int done = 0;

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &handler, NULL, &server), 0);
	part = &server->parts[0];
	tick = part->timer.fire;
	part->timer.fire = tick_and_count;
	atomic_fetch_add(&part->nconns, 1);
	tn_server_close(server, 0, count, &done);
	th_until(loop, part->timer.fire == tick);
	assert_int_equal(done, 0);
	atomic_fetch_sub(&part->nconns, 1);
	th_until(loop, done);
	tn_loop_free(loop);
}

static void end_it(void *arg)
{
	tn_server_close(arg, 1000, NULL, NULL);
}

struct reasons {
	int closes, err;
};

static void note_reason(struct tn_conn *conn, int err, void *arg)
{
	struct reasons *r = arg;

	(void)conn;
	r->closes++;
	if (err)
		r->err = err;
}

/* For as long as it takes, as with tn_loop_step(); and a peer that has done its duty sees an end, not a reset. */
static void test_call_without_a_limit(void **state)
{
	static const struct tn_handler handler = {.on_msg = echo, .on_close = note_reason};
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	struct reasons r = {0};
	pthread_t thread;
	void *reply = NULL;
	size_t len = 0;
	char url[160];
	int rc;

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0?frame=line", &handler, &r, &server), 0);
	snprintf(url, sizeof(url), "%s?frame=line", tn_server_url(server, 0));
	if (strchr(tn_server_url(server, 0), '?'))
		snprintf(url, sizeof(url), "%s", tn_server_url(server, 0));
	assert_int_equal(pthread_create(&thread, NULL, serve_one, loop), 0);
	rc = tn_call(NULL, url, "hello", 5, &reply, &len, -1);
	assert_int_equal(tn_loop_post(loop, end_it, server), 0);
	pthread_join(thread, NULL);
	assert_int_equal(rc, 0);
	assert_int_equal(len, 5);
	free(reply);
	tn_loop_free(loop);
	assert_int_equal(r.closes, 1);
	assert_int_equal(r.err, 0);
}

/* A reply is one, whatever becomes of the connection: here it is there before the request, which finds nobody. */
static void test_call_answered_by_one_who_has_gone(void **state)
{
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		struct tn_loop *loop = th_loop();
		struct linger now = {.l_onoff = 1};
		void *reply = NULL;
		size_t len = 0;
		char url[32];
		int pair[2];

		if (tcp)
			th_tcp_pair(pair);
		else
			th_pair(SOCK_STREAM, pair);
		snprintf(url, sizeof(url), "fd:%d?frame=line", pair[0]);
		assert_int_equal(send(pair[1], "reply\n", 6, 0), 6);
		setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(pair[1]);
		assert_int_equal(tn_call(loop, url, "hello", 5, &reply, &len, -1), 0);
		assert_int_equal(len, 5);
		assert_memory_equal(reply, "reply", 6);
		free(reply);
		tn_loop_free(loop);
	}
}

/* Whoever ends in good order without a reply has not replied; where the end is the reply's end, it may be empty. */
static void test_call_without_a_reply(void **state)
{
	static const char *const keys[] = {"?frame=line", ""};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct tn_loop *loop = th_loop();
		void *reply = NULL;
		size_t len = 1;
		char url[32];
		int pair[2];

		th_pair(SOCK_STREAM, pair);
		snprintf(url, sizeof(url), "fd:%d%s", pair[0], keys[i]);
		shutdown(pair[1], SHUT_WR);
		assert_int_equal(tn_call(loop, url, "hello", 5, &reply, &len, -1), i == 0 ? -ECONNRESET : 0);
		if (i == 1) {
			assert_int_equal(len, 0);
			assert_non_null(reply);
			free(reply);
		}
		close(pair[1]);
		tn_loop_free(loop);
	}
}

/* ---- addresses that are free again ---- */

struct restart {
	struct tn_loop *loop;
	char url[128];
	int rc, done;
};

static void serve_again(void *arg)
{
	struct restart *r = arg;

	r->rc = tn_serve(r->loop, r->url, &nothing, NULL, NULL);
	r->done++;
}

static void restart(const char *url)
{
	struct restart r = {.loop = th_loop()};
	struct tn_server *server;

	assert_int_equal(tn_serve(r.loop, url, &nothing, NULL, &server), 0);
	snprintf(r.url, sizeof(r.url), "%s", tn_server_url(server, 0));
	th_turn_for(r.loop, 5);
	tn_server_close(server, 0, serve_again, &r);
	th_until(r.loop, r.done);
	assert_int_equal(r.rc, 0);
	tn_loop_free(r.loop);
	/* And after the loop, which leaves nothing behind it. */
	r.loop = th_loop();
	assert_int_equal(tn_serve(r.loop, r.url, &nothing, NULL, NULL), 0);
	tn_loop_free(r.loop);
}

static void test_restart_when_done(void **state)
{
	char path[128];

	(void)state;
	restart("tcp://127.0.0.1:0");
	snprintf(path, sizeof(path), "unix:%s/s", th_dir);
	restart(path);
	snprintf(path, sizeof(path), "unix-dgram:%s/d", th_dir);
	restart(path);
	snprintf(path, sizeof(path), "unix:@%s/s", th_dir);
	restart(path);
	restart("udp://127.0.0.1:0");
	snprintf(path, sizeof(path), "unix-dgram:@%s/s", th_dir);
	restart(path);
}

/* ---- what on_close can ask ---- */

struct asked {
	struct tn_conn_info info;
	int closes;
};

static void ask(struct tn_conn *conn, int err, void *arg)
{
	struct asked *a = arg;

	(void)err;
	tn_conn_info(conn, &a->info);
	a->closes++;
}

static void test_info_in_on_close(void **state)
{
	static const struct tn_handler handler = {.on_close = ask};
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	struct asked a = {0};
	int fd;

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &handler, &a, &server), 0);
	fd = th_tcp_dial(atoi(strrchr(tn_server_url(server, 0), ':') + 1));
	th_turn_for(loop, 5);
	close(fd);
	th_until(loop, a.closes);
	assert_true(a.info.peer[0]);
	assert_string_equal(a.info.local, tn_server_url(server, 0));
	tn_loop_free(loop);
}

/* ---- two servers that start at the same moment ---- */

struct starter {
	char path[96];
	_Atomic(bool) bound;
	int fd;
};

/* What a server does as it starts, with all the time in the world before it listens. */
static void *start_slowly(void *arg)
{
	struct starter *s = arg;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int lock = open(th_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert(lock >= 0 && flock(lock, LOCK_EX) == 0);
	memcpy(un.sun_path, s->path, sizeof(s->path));
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert(bind(s->fd, (struct sockaddr *)&un, sizeof(un)) == 0);
	atomic_store(&s->bound, true);
	usleep(100000);
	assert(listen(s->fd, 1) == 0);
	close(lock);
	return NULL;
}

static void test_server_that_does_not_listen_yet(void **state)
{
	struct tn_loop *loop = th_loop();
	struct starter s = {.fd = -1};
	pthread_t thread;
	char url[128];

	(void)state;
	snprintf(s.path, sizeof(s.path), "%s/s", th_dir);
	snprintf(url, sizeof(url), "unix:%s", s.path);
	assert_int_equal(pthread_create(&thread, NULL, start_slowly, &s), 0);
	while (!atomic_load(&s.bound))
		usleep(1000);
	assert_int_equal(tn_serve(loop, url, &nothing, NULL, NULL), -EADDRINUSE);
	pthread_join(thread, NULL);
	tn_loop_free(loop);
	close(s.fd);
	unlink(s.path);
}

/* ---- gone before it was accepted ---- */

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static void count_resets(struct tn_conn *conn, int err, void *arg)
{
	(void)conn;
	assert_int_equal(err, -ECONNRESET);
	++*(int *)arg;
}

/* Of an MPTCP client that resets at once the kernel says, depending on which of its workers is first, that it was
 * reset, or that it is not connected. */
static void test_mptcp_clients_that_reset(void **state)
{
	static const struct tn_handler handler = {.on_close = count_resets};
	struct linger now = {.l_onoff = 1};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	int resets = 0;

	(void)state;
	if (tn_serve(loop, "mptcp://127.0.0.1:0", &handler, &resets, &server) < 0) {
		tn_loop_free(loop);
		skip();
	}
	in.sin_port = htons((uint16_t)atoi(strrchr(tn_server_url(server, 0), ':') + 1));
	for (int i = 0; i < 200; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);

		assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
		close(fd);
		th_until(loop, resets == i + 1);
	}
	tn_loop_free(loop);
}

/* ---- never opened ---- */

struct unopened {
	int opens, drains, closes, err;
};

static void count_open_of(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct unopened *)arg)->opens++;
}

static void count_close_of(struct tn_conn *conn, int err, void *arg)
{
	struct unopened *u = arg;

	(void)conn;
	u->closes++;
	u->err = err;
}

#ifdef TNI_HAVE_TLS
static void count_drain_of(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct unopened *)arg)->drains++;
}

/* The peer goes before our first word of the handshake: what was queued is lost, which is no drain. */
static void test_no_drain_before_open(void **state)
{
	static const struct tn_handler handler = {
		.on_open = count_open_of, .on_drain = count_drain_of, .on_close = count_close_of};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd, listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct tn_loop *loop = th_loop();
	struct unopened u = {0};
	struct tn_conn *conn;
	char url[128];

	(void)state;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", th_dir);
	assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(listener, 1), 0);
	snprintf(url, sizeof(url), "tls+unix:%s/s?queue=1KiB&verify=off", th_dir);
	assert_int_equal(tn_dial(loop, url, &handler, &u, &conn), 0);
	assert_int_equal(tn_send(conn, url, sizeof(url)), 0);
	for (int rc = 0; rc == 0;)
		rc = tn_send(conn, url, sizeof(url));
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
		assert_int_equal(tn_loop_step(loop, 0), 1);
	close(fd);
	th_until(loop, u.closes);
	assert_int_equal(u.opens, 0);
	assert_int_equal(u.drains, 0);
	assert_true(u.err < 0);
	tn_loop_free(loop);
	close(listener);
	unlink(un.sun_path);
}
#endif

/* ---- closed before it was open ---- */

/* Whether it can be dialled in this very call (a descriptor) or not, and whether anything was sent before. */
static void test_close_before_open_is_the_last_word(void **state)
{
	static const struct tn_handler handler = {.on_open = count_open_of, .on_close = count_close_of};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct tn_loop *loop = th_loop();

	(void)state;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", th_dir);
	assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(listener, 8), 0);
	for (int i = 3; i >= 0; i--) {
		bool inherited = i & 1, sends = i & 2;
		struct unopened u = {0};
		struct tn_conn *conn;
		char url[160], got[8];
		int pair[2];

		snprintf(url, sizeof(url), "unix:%s", un.sun_path);
		if (inherited) {
			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
			snprintf(url, sizeof(url), "fd:%d", pair[0]);
		}
		assert_int_equal(tn_dial(loop, url, &handler, &u, &conn), 0);
		assert_int_equal(sends ? tn_send(conn, "hello", 5) : 0, 0);
		tn_close(conn);
		if (inherited)
			shutdown(pair[1], SHUT_WR);
		else if (sends)
			pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (sends) {
			th_until(loop, recv(pair[1], got, sizeof(got), MSG_PEEK | MSG_DONTWAIT) > 0);
			assert_int_equal(recv(pair[1], got, sizeof(got), 0), 5);
		}
		if (inherited || sends)
			close(pair[1]);
		th_until(loop, u.closes);
		assert_int_equal(u.err, 0);
		assert_int_equal(u.opens, 0);
		assert_int_equal(u.closes, 1);
	}
	tn_loop_free(loop);
	close(listener);
	unlink(un.sun_path);
}

static void test_drain_of_what_was_closed_before_open(void **state)
{
	static const struct tn_handler handler = {.on_close = note_close};
	struct tn_loop *loop = th_loop();
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static char data[1 << 20]; /* more than the socket takes while nobody reads */
	struct words w = {0};
	struct tn_conn *conn;
	char url[160];

	(void)state;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", th_dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(url, sizeof(url), "unix:%s?drain=100ms&idle=1h&queue=1MiB&sndbuf=64KiB", un.sun_path);
	assert_int_equal(tn_dial(loop, url, &handler, &w, &conn), 0);
	assert_true(tn_send(conn, data, sizeof(data)) >= 0);
	tn_close(conn);
	th_until(loop, w.closes);
	assert_int_equal(w.err, TN_EDRAIN);
	tn_loop_free(loop);
	close(fd);
	unlink(un.sun_path);
}

/* ---- a server that ends, in a process that was stopped for a while ---- */

static void echo_message(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	int rc = tn_forward(conn, msg);

	assert(rc >= 0);
	if (msg->len > *(size_t *)arg)
		*(size_t *)arg = msg->len;
}

/* Silence is what was heard, not that nobody has listened. */
static void test_drain_after_a_pause(void **state)
{
	static const struct tn_handler handler = {.on_msg = echo_message};
	struct tn_loop *loop = th_loop();
	size_t longest = 0;
	struct tn_server *server;
	char got[3];
	int fd;

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &handler, &longest, &server), 0);
	fd = th_tcp_dial(atoi(strrchr(tn_server_url(server, 0), ':') + 1));
	assert_int_equal(send(fd, "one", 3, 0), 3);
	th_until(loop, recv(fd, got, 3, MSG_DONTWAIT | MSG_PEEK) == 3);
	assert_int_equal(recv(fd, got, 3, 0), 3);
	tn_server_close(server, TH_PATIENCE_MS, NULL, NULL);
	assert_true(tn_loop_step(loop, 0) >= 0);
	usleep(150000);
	assert_int_equal(send(fd, "two", 3, 0), 3);
	th_until(loop, recv(fd, got, 3, MSG_DONTWAIT | MSG_PEEK) == 3);
	assert_memory_equal(got, "two", 3);
	close(fd);
	tn_loop_free(loop);
}

/* ---- pieces longer than max ---- */

/* Without a frame `max` cuts; an echo then always fits the queue, however much comes at once. */
static void test_bytes_longer_than_max(void **state)
{
	static const struct tn_handler handler = {.on_msg = echo_message};
	static unsigned char sent[200000], got[sizeof(sent)];
	struct tn_loop *loop = th_loop();
	size_t out = 0, in = 0, longest = 0;
	struct tn_server *server;
	int fd;

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0?max=1KiB&queue=4KiB", &handler, &longest, &server), 0);
	fd = th_tcp_dial(atoi(strrchr(tn_server_url(server, 0), ':') + 1));
	th_fill(sent, sizeof(sent), 0);
	for (uint64_t end = th_now_ms() + TH_PATIENCE_MS; in < sizeof(got) && th_now_ms() < end;) {
		ssize_t n = send(fd, sent + out, sizeof(sent) - out, MSG_DONTWAIT | MSG_NOSIGNAL);

		out += n > 0 ? (size_t)n : 0;
		assert_true(tn_loop_step(loop, 1) >= 0);
		n = recv(fd, got + in, sizeof(got) - in, MSG_DONTWAIT);
		in += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(in, sizeof(got));
	assert_memory_equal(got, sent, sizeof(got));
	assert_true(longest > 0 && longest <= 1024);
	close(fd);
	tn_loop_free(loop);
}

static void note_err(struct tn_conn *conn, int err, void *arg)
{
	(void)conn;
	*(int *)arg = err;
}

/* A packet is whole or refused, never cut. */
static void test_packet_longer_than_max(void **state)
{
	static const struct tn_handler handler = {.on_close = note_err};
	static const unsigned char packet[1025];
	struct tn_loop *loop = th_loop();
	int pair[2], err = 1;
	char url[64];

	(void)state;
	th_pair(SOCK_SEQPACKET, pair);
	snprintf(url, sizeof(url), "fd:%d?max=1KiB", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &err, NULL), 0);
	assert_int_equal(send(pair[1], packet, 1024, 0), 1024);
	for (int i = 0; i < 50; i++)
		assert_true(tn_loop_step(loop, 1) >= 0);
	assert_int_equal(err, 1);
	assert_int_equal(send(pair[1], packet, 1025, 0), 1025);
	th_until(loop, err != 1);
	assert_int_equal(err, TN_ETOOBIG);
	close(pair[1]);
	tn_loop_free(loop);
}

/* ---- limits ---- */

struct crowd {
	struct tn_server *server;
	int port, opened, closed, err;
};

static void count_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct crowd *)arg)->opened++;
}

static void count_close(struct tn_conn *conn, int err, void *arg)
{
	struct crowd *crowd = arg;

	(void)conn;
	crowd->closed++;
	crowd->err = err;
}

static void serve_crowd(struct tn_loop *loop, const char *url, struct crowd *crowd)
{
	static const struct tn_handler handler = {.on_open = count_open, .on_close = count_close};

	assert_int_equal(tn_serve(loop, url, &handler, crowd, &crowd->server), 0);
	crowd->port = atoi(strrchr(tn_server_url(crowd->server, 0), ':') + 1);
}

/* Who is there is reached, though this process was stopped until after the deadline. */
static void test_dialled_before_a_stop(void **state)
{
	static const struct tn_handler handler = {.on_open = count_open, .on_close = count_close};
	struct tn_loop *loop = th_loop();
	struct crowd crowd = {0};
	struct tn_conn *conn;
	int port, listener = th_tcp_listener(4, &port);
	char url[64];

	(void)state;
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d?connect=100ms", port);
	assert_int_equal(tn_dial(loop, url, &handler, &crowd, &conn), 0);
	usleep(250000);
	th_until(loop, crowd.opened || crowd.closed);
	assert_int_equal(crowd.err, 0);
	assert_int_equal(crowd.opened, 1);
	tn_loop_free(loop);
	close(listener);
}

static bool has_ended(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void test_per_source(void **state)
{
	struct tn_loop *loop = th_loop();
	struct crowd crowd = {0};
	int fds[4];

	(void)state;
	serve_crowd(loop, "tcp://127.0.0.1:0?per-source=2", &crowd);
	for (int i = 0; i < 3; i++)
		fds[i] = th_tcp_dial(crowd.port);
	th_until(loop, has_ended(fds[2]));
	assert_int_equal(crowd.opened, 2);
	assert_int_equal(tn_server_nconns(crowd.server), 2);
	close(fds[0]);
	th_until(loop, crowd.closed == 1);
	fds[3] = th_tcp_dial(crowd.port);
	th_until(loop, crowd.opened == 3);
	tn_loop_free(loop);
	for (int i = 1; i < 4; i++)
		close(fds[i]);
}

/* More are refused than are waited for; each reads an end, and whoever stays nevertheless costs no descriptor. */
static void test_refused_clients_that_stay(void **state)
{
	struct tn_loop *loop = th_loop();
	struct crowd crowd = {0};
	int inside, late, fds[80], before;

	(void)state;
	serve_crowd(loop, "tcp://127.0.0.1:0?backlog=100", &crowd);
	tn_server_limit(crowd.server, 1);
	inside = th_tcp_dial(crowd.port);
	th_until(loop, crowd.opened == 1);
	before = th_count_fds();
	for (int i = 0; i < 80; i++)
		fds[i] = th_tcp_dial(crowd.port);
	for (int i = 0; i < 80; i++)
		th_until(loop, has_ended(fds[i]));
	th_until(loop, th_count_fds() == before + 80);
	assert_int_equal(crowd.opened, 1);
	assert_int_equal(tn_server_nconns(crowd.server), 1);
	close(inside);
	th_until(loop, crowd.closed == 1);
	late = th_tcp_dial(crowd.port);
	th_until(loop, crowd.opened == 2);
	tn_loop_free(loop);
	close(late);
	for (int i = 0; i < 80; i++)
		close(fds[i]);
}

/* At every moment no more than a tenth of a second's worth and what the time since has added, and in the end all. */
static void test_accept_rate(void **state)
{
	struct tn_loop *loop = th_loop();
	struct crowd crowd = {0};
	uint64_t start = th_now_ms();
	int fds[16];

	(void)state;
	serve_crowd(loop, "tcp://127.0.0.1:0?accept-rate=50", &crowd);
	for (int i = 0; i < 16; i++)
		fds[i] = th_tcp_dial(crowd.port);
	while (crowd.opened < 16) {
		assert_true(tn_loop_step(loop, 5) >= 0);
		assert_true((uint64_t)crowd.opened <= 7 + (th_now_ms() - start) * 50 / 1000);
		th_check_deadline(start + TH_PATIENCE_MS, "all are let in", __FILE__, __LINE__);
	}
	for (int i = 0; i < 16; i++)
		close(fds[i]);
	th_until(loop, crowd.closed == 16);
	tn_loop_free(loop);
}

static void test_request(void **state)
{
	struct tn_loop *loop = th_loop();
	struct crowd crowd = {0};
	int slow, silent;

	(void)state;
	serve_crowd(loop, "tcp://127.0.0.1:0?frame=line&request=50ms", &crowd);
	silent = th_tcp_dial(crowd.port);
	slow = th_tcp_dial(crowd.port);
	assert_int_equal(send(silent, "whole\n", 6, 0), 6);
	for (uint64_t start = th_now_ms(); !crowd.closed; th_turn_for(loop, 10)) {
		(void)send(slow, "x", 1, MSG_NOSIGNAL);
		th_check_deadline(start + TH_PATIENCE_MS, "the slow one is gone", __FILE__, __LINE__);
	}
	assert_int_equal(crowd.err, -ETIMEDOUT);
	assert_false(has_ended(silent));
	tn_loop_free(loop);
	close(slow);
	close(silent);
}

/* ---- an inherited connection as a server ---- */

/* The server is its owner's until tn_server_close(), whatever becomes of the one connection. */
static void test_a_lone_server_outlives_its_connection(void **state)
{
	static const struct tn_handler handler = {.on_msg = echo, .on_close = note_reason};
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(types) / sizeof(types[0]); i++) {
		struct tn_loop *loop = th_loop();
		struct reasons r = {0};
		struct tn_server *server;
		char url[64], bytes[8];
		int pair[2], done = 0;

		th_pair(types[i / 2], pair);
		snprintf(url, sizeof(url), "fd:%d", pair[0]);
		assert_int_equal(tn_serve(loop, url, &handler, &r, &server), 0);
		assert_int_equal(send(pair[1], "hello", 5, 0), 5);
		th_until(loop, recv(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT) == 5);
		if (types[i / 2] != SOCK_DGRAM) {
			assert_int_equal(tn_server_nconns(server), 1);
			close(pair[1]);
			th_until(loop, r.closes);
			assert_int_equal(tn_server_nconns(server), 0);
			assert_int_equal(tn_server_nurls(server), 0);
		}
		assert_int_equal(tn_loop_step(loop, 0), 1); /* it keeps its loop running */
		if (i % 2) {
			tn_server_close(server, 0, count, &done);
			tn_server_close(server, 1000, NULL, NULL); /* twice is once */
			th_until(loop, done);
			assert_int_equal(tn_loop_step(loop, 0), 0);
		}
		tn_loop_free(loop);
		assert_int_equal(r.closes, 1);
		if (types[i / 2] == SOCK_DGRAM)
			close(pair[1]);
	}
}

/* ---- what a program may count on ---- */

/* Posted calls are work: they are made although nothing else is on the loop, and before a stop takes effect. */
static void test_posted_calls_are_made(void **state)
{
	struct tn_loop *loop = th_loop();
	int calls = 0;

	(void)state;
	assert_int_equal(tn_loop_post(loop, count, &calls), 0);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(tn_loop_post(loop, count, &calls), 0);
	tn_loop_stop(loop);
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(calls, 2);
	assert_int_equal(tn_loop_post(loop, count, &calls), 0);
	assert_true(tn_loop_step(loop, 0) >= 0);
	assert_int_equal(calls, 3);
	assert_int_equal(tn_loop_step(loop, 0), 0);
	tn_loop_free(loop);
}

/* Two polls of one descriptor, and a connection on it beside them, in either order. */
static void test_polls_of_one_descriptor(void **state)
{
	(void)state;
	for (int order = 0; order < 2; order++) {
		static const struct tn_handler handler = {.on_close = note_reason};
		struct tn_loop *loop = th_loop();
		struct tn_poll *polls[2];
		struct tn_conn *conn;
		struct reasons r = {0};
		int pair[2], fired[2] = {0};
		char url[32];

		th_pair(SOCK_STREAM, pair);
		snprintf(url, sizeof(url), "fd:%d", pair[0]);
		if (order) {
			assert_int_equal(tn_dial(loop, url, &handler, &r, &conn), 0);
			th_turn_for(loop, 10);
			tn_pause(conn); /* it would read what the polls are to see */
		}
		for (int i = 0; i < 2; i++)
			assert_int_equal(tn_poll_start(loop, pair[0], count, &fired[i], &polls[i]), 0);
		if (!order) {
			assert_int_equal(tn_dial(loop, url, &handler, &r, &conn), 0);
			tn_pause(conn);
		}
		th_turn_for(loop, 10);
		assert_int_equal(send(pair[1], "x", 1, 0), 1);
		th_until(loop, fired[0] && fired[1]);
		assert_int_equal(r.closes, 0);
		tn_poll_stop(polls[0]);
		tn_abort(conn, 0);
		th_until(loop, r.closes);
		tn_poll_stop(polls[1]);
		tn_loop_free(loop);
		close(pair[1]);
	}
}

/* More than a ring has places for, before the thread that is to run the loop has come. */
static void *run_it(void *arg)
{
	return tn_loop_run(arg) == 0 ? arg : NULL;
}

static void test_many_dials_before_another_thread_runs(void **state)
{
	enum { N = 600 };
	static const struct tn_handler serving = {0}, dialling = {.on_open = NULL, .on_close = note_reason};
	struct tn_loop *home = th_loop(), *loop = th_loop();
	struct reasons r = {0};
	struct tn_server *server;
	pthread_t threads[2];
	void *res[2];
	char url[64];

	(void)state;
	assert_int_equal(tn_serve(home, "tcp://127.0.0.1:0?backlog=1024", &serving, NULL, &server), 0);
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", atoi(strrchr(tn_server_url(server, 0), ':') + 1));
	for (int i = 0; i < N; i++)
		assert_int_equal(tn_dial(loop, url, &dialling, &r, NULL), 0);
	assert_int_equal(pthread_create(&threads[0], NULL, run_it, home), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, run_it, loop), 0);
	for (uint64_t start = th_now_ms(); tn_server_nconns(server) < N; usleep(1000))
		th_check_deadline(start + TH_PATIENCE_MS, "all have come", __FILE__, __LINE__);
	assert_int_equal(tn_loop_post(home, end_it, server), 0); /* which ends them, and with them both loops */
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], &res[i]);
		assert_non_null(res[i]);
	}
	tn_loop_free(loop);
	tn_loop_free(home);
	assert_int_equal(r.closes, N);
	assert_int_equal(r.err, 0);
}

static struct tn_loop *stopping;

static void abort_and_stop(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)msg, (void)arg;
	tn_abort(conn, -ECANCELED);
	tn_loop_stop(stopping);
}

/* The peer hears of it when the loop returns, not when it is freed. */
static void test_abort_before_a_stop(void **state)
{
	static const struct tn_handler handler = {.on_msg = abort_and_stop, .on_close = note_reason};
	struct reasons r = {0};
	struct tn_server *server;
	char byte;
	int fd;

	(void)state;
	stopping = th_loop();
	assert_int_equal(tn_serve(stopping, "tcp://127.0.0.1:0", &handler, &r, &server), 0);
	fd = th_tcp_dial(atoi(strrchr(tn_server_url(server, 0), ':') + 1));
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(tn_loop_run(stopping), 0);
	assert_int_equal(r.closes, 1);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, ECONNRESET);
	tn_loop_free(stopping);
	close(fd);
}

/* A pty's master is one end of one pair: opened again it would be an end of another. */
static void test_pty_master(void **state)
{
	static const struct tn_handler handler = {.on_msg = note_words, .on_close = note_close};
	struct tn_loop *loop = th_loop();
	struct words w = {0};
	struct tn_conn *conn;
	struct termios raw;
	char url[32], got[8];
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;

	(void)state;
	assert_true(master > STDERR_FILENO);
	assert_int_equal(grantpt(master) | unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(slave >= 0);
	tcgetattr(slave, &raw);
	cfmakeraw(&raw);
	tcsetattr(slave, TCSANOW, &raw);
	snprintf(url, sizeof(url), "fd:%d", master);
	assert_int_equal(tn_dial(loop, url, &handler, &w, &conn), 0);
	assert_int_equal(write(slave, "hello", 5), 5);
	th_until(loop, w.in == 5);
	assert_int_equal(tn_send(conn, "world", 5), 0);
	th_turn_for(loop, 20);
	assert_int_equal(read(slave, got, sizeof(got)), 5);
	close(slave);
	th_until(loop, w.closes); /* the other side has gone: an end */
	assert_int_equal(w.err, 0);
	tn_loop_free(loop);
}

/* ---- a queue that is full says something of the peer ---- */

#define LINE 100
#define BURST 20000 /* lines: far more than the queue, less than the kernel takes */

struct burst {
	struct tn_conn *conn;
	int full, mark, drains;
	uint64_t sent;
};

static void keep_conn(struct tn_conn *conn, void *arg)
{
	((struct burst *)arg)->conn = conn;
}

static void note_drain(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct burst *)arg)->drains++;
}

static void burst_of_lines(struct burst *b, int lines)
{
	char line[LINE];

	for (int i = 0; i < lines && !b->full; i++) {
		int rc;

		memset(line, 'a' + i % 26, sizeof(line));
		rc = tn_send(b->conn, line, sizeof(line));
		assert_true(rc >= 0 || rc == TN_EFULL);
		b->full += rc == TN_EFULL;
		b->mark += rc == 1;
		b->sent += rc >= 0 ? LINE + 1 : 0;
	}
}

static void serve_burst(struct tn_loop *loop, struct burst *b, int *fd)
{
	static const struct tn_handler handler = {.on_open = keep_conn, .on_drain = note_drain};
	struct tn_server *server;
	char big[] = "tcp://127.0.0.1:0?frame=line&queue=64KiB&max=4KiB&sndbuf=4MiB";

	assert_int_equal(tn_serve(loop, big, &handler, b, &server), 0);
	*fd = th_tcp_dial(atoi(strrchr(tn_server_url(server, 0), ':') + 1));
	th_until(loop, b->conn);
}

/* Within one turn, and where a send of the turn before has not reached the kernel yet. */
static void test_a_burst_within_a_turn_is_no_slow_peer(void **state)
{
	struct tn_loop *loop;
	struct burst b = {0};
	uint64_t in = 0;
	char *bytes = malloc(1 << 20);
	int fd;

	(void)state;
	if (th_is_sim()) { /* whose kernel has no room whenever it likes */
		free(bytes);
		return;
	}
	loop = th_loop();
	serve_burst(loop, &b, &fd);
	for (int round = 0; round < 20 && !b.full; round++) {
		uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;

		burst_of_lines(&b, round ? 3000 : 1);
		assert_true(tn_loop_step(loop, 0) >= 0);
		burst_of_lines(&b, 3000);
		while (in < b.sent) {
			ssize_t n = recv(fd, bytes, 1 << 20, MSG_DONTWAIT);

			in += n > 0 ? (uint64_t)n : 0;
			assert_true(tn_loop_step(loop, 0) >= 0);
			th_check_deadline(deadline, "all lines", __FILE__, __LINE__);
		}
	}
	assert_int_equal(b.full, 0);
	tn_loop_free(loop);
	close(fd);
	free(bytes);
}

/* A peer that does not read: full, for the time that info tells, and nothing is taken until on_drain. */
static void test_a_peer_that_does_not_read_is_slow(void **state)
{
	struct tn_loop *loop;
	struct burst b = {0};
	struct tn_conn_info info;
	char *bytes = malloc(1 << 20);
	uint64_t in = 0;
	int fd;

	(void)state;
	if (th_is_sim()) { /* whose kernel has no room whenever it likes */
		free(bytes);
		return;
	}
	loop = th_loop();
	serve_burst(loop, &b, &fd);
	tn_conn_info(b.conn, &info);
	assert_true(info.stalled_ns == 0);
	for (uint64_t start = th_now_ms(); !b.full;
	     th_check_deadline(start + TH_PATIENCE_MS, "full", __FILE__, __LINE__)) {
		burst_of_lines(&b, BURST);
		th_turn_for(loop, 1);
	}
	assert_true(b.mark > 0);
	assert_int_equal(tn_send(b.conn, "x", 1), TN_EFULL); /* shorter, and it would fit */
	th_turn_for(loop, 100);
	tn_conn_info(b.conn, &info);
	assert_true(info.stalled_ns >= 50000000);
	b.drains = 0; /* one may have followed a turn that had sent enough */
	while (!b.drains) {
		ssize_t n = recv(fd, bytes, 1 << 20, MSG_DONTWAIT);

		in += n > 0 ? (uint64_t)n : 0;
		assert_true(tn_loop_step(loop, 5) >= 0);
	}
	assert_true(tn_send(b.conn, "x", 1) >= 0);
	for (uint64_t start = th_now_ms(); tn_conn_queued(b.conn);
	     th_check_deadline(start + TH_PATIENCE_MS, "an empty queue", __FILE__, __LINE__)) {
		ssize_t n = recv(fd, bytes, 1 << 20, MSG_DONTWAIT);

		in += n > 0 ? (uint64_t)n : 0;
		assert_true(tn_loop_step(loop, 1) >= 0);
	}
	tn_conn_info(b.conn, &info);
	assert_true(info.stalled_ns == 0);
	tn_loop_free(loop);
	close(fd);
	free(bytes);
}

/* A network takes any number of datagrams, as a fast reader takes any number of bytes: a callback that sends for as
 * long as it may comes to its end all the same, and is called again. */
static void test_a_sender_that_is_never_refused_ends_its_turn(void **state)
{
	static const struct tn_handler handler = {.on_open = keep_conn, .on_drain = note_drain};
	enum { SIZE = 1000, MOST = 64 << 20 };
	struct tn_loop *loop = th_loop();
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	struct burst b = {0};
	char data[SIZE] = "", url[64];
	size_t sent;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	snprintf(url, sizeof(url), "udp://127.0.0.1:%d", ntohs(addr.sin_port));
	assert_int_equal(tn_dial(loop, url, &handler, &b, NULL), 0);
	th_until(loop, b.conn);
	for (int round = 1; round <= 3; round++) {
		for (sent = 0; sent < MOST && tn_send(b.conn, data, SIZE) == 0;)
			sent += SIZE;
		assert_true(sent < MOST);
		th_until(loop, b.drains >= round);
	}
	tn_loop_free(loop);
	close(fd);
}

/* A stream without a frame has no messages to be limited. */
static void test_max_does_not_limit_bytes(void **state)
{
	static const struct tn_handler handler = {.on_open = keep_conn};
	struct tn_loop *loop = th_loop();
	struct burst b = {0};
	enum { SIZE = 3 << 20 };
	char *bytes = calloc(1, SIZE);
	uint64_t in = 0;
	char url[64];
	int pair[2];

	(void)state;
	th_tcp_pair(pair);
	snprintf(url, sizeof(url), "fd:%d?max=1KiB&queue=4KiB", pair[0]);
	assert_int_equal(tn_dial(loop, url, &handler, &b, NULL), 0);
	th_until(loop, b.conn);
	assert_true(tn_send(b.conn, bytes, SIZE) >= 0);
	for (uint64_t start = th_now_ms(); in < SIZE;
	     th_check_deadline(start + TH_PATIENCE_MS, "all", __FILE__, __LINE__)) {
		ssize_t n = recv(pair[1], bytes, SIZE, MSG_DONTWAIT);

		in += n > 0 ? (uint64_t)n : 0;
		assert_true(tn_loop_step(loop, 1) >= 0);
	}
	tn_loop_free(loop);
	close(pair[1]);
	free(bytes);
}

static void check_addrs(struct tn_conn *conn, void *arg)
{
	struct tn_addr peer, local;
	char theirs[128], ours[128];

	assert_int_equal(tn_conn_peer(conn, &peer), 0);
	assert_int_equal(tn_conn_local(conn, &local), 0);
	snprintf(arg, 256, "%s %s", tn_addr_text(&peer, theirs, sizeof(theirs)),
		 tn_addr_text(&local, ours, sizeof(ours)));
}

static void check_addrs_closed(struct tn_conn *conn, int err, void *arg)
{
	(void)err;
	check_addrs(conn, (char *)arg + 256);
}

/* Not even an unnamed one: that would be an end that is there. */
static void test_no_addresses_before_there_is_a_socket(void **state)
{
	static const char *const urls[] = {"tcp://127.0.0.1:1", "udp://127.0.0.1:1"};
	struct tn_loop *loop = th_loop();
	struct tn_addr addr;
	struct tn_conn *conn;

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		assert_int_equal(tn_dial(loop, urls[i], &nothing, NULL, &conn), 0);
		assert_int_equal(tn_conn_peer(conn, &addr), -ENOTCONN);
		assert_int_equal(tn_conn_local(conn, &addr), -ENOTCONN);
	}
	tn_loop_free(loop);
}

static void test_addresses_of_a_connection(void **state)
{
	static const struct tn_handler handler = {.on_open = check_addrs, .on_close = check_addrs_closed};
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	char texts[512] = "", want[256];
	struct sockaddr_in addr = {0};
	socklen_t len = sizeof(addr);
	int port, fd;

	(void)state;
	assert_int_equal(tn_serve(loop, "tcp://127.0.0.1:0", &handler, texts, &server), 0);
	port = atoi(strrchr(tn_server_url(server, 0), ':') + 1);
	fd = th_tcp_dial(port);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	th_until(loop, texts[0]);
	close(fd);
	th_until(loop, texts[256]);
	snprintf(want, sizeof(want), "127.0.0.1:%d 127.0.0.1:%d", ntohs(addr.sin_port), port);
	assert_string_equal(texts, want);
	assert_string_equal(texts + 256, want);
	tn_loop_free(loop);
}

/* A Unix client has no name, which is no error: in on_close neither. */
static void test_addresses_of_an_unnamed_peer(void **state)
{
	static const struct tn_handler handler = {.on_open = check_addrs, .on_close = check_addrs_closed};
	struct tn_loop *loop = th_loop();
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct tn_server *server;
	char texts[512] = "", url[128];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	snprintf(url, sizeof(url), "unix:%s/s", th_dir);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", th_dir);
	assert_int_equal(tn_serve(loop, url, &handler, texts, &server), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	th_until(loop, texts[0]);
	close(fd);
	th_until(loop, texts[256]);
	assert_string_equal(texts + 256, texts);
	assert_non_null(strstr(texts, addr.sun_path));
	tn_loop_free(loop);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, th_setup, th_teardown)

static const struct CMUnitTest tests[] = {
#ifdef TNI_HAVE_TLS
	T(test_no_drain_before_open),
#endif
	T(test_mptcp_clients_that_reset),
	T(test_half_a_message_costs_no_processor),
	T(test_datagrams_resumed_in_on_drain),
	T(test_answers_leave_from_the_address_that_was_asked),
	T(test_a_bound_socket_speaks_from_its_own_address),
	T(test_a_socket_opened_amid_a_batch),
	T(test_what_the_kernel_drops_is_told),
	T(test_replies_without_hops_are_lost_once),
	T(test_what_cannot_be_sent_is_lost_once),
	T(test_forwarding_between_frames),
	T(test_a_pending_signal_stays),
	T(test_the_mask_stays),
	T(test_a_shared_pipe_stays_blocking),
	T(test_packets_sent_before_open_stay_apart),
	T(test_empty_packets_are_no_end),
	T(test_a_flood_of_empty_packets),
	T(test_an_empty_packet_is_refused),
	T(test_inherited_packets_over_loops),
	T(test_last_words),
	T(test_last_words_tcp),
	T(test_last_words_one_by_one),
	T(test_words_after_our_end),
	T(test_closed_with_datagrams),
	T(test_paused_then_closed),
	T(test_dialled_before_a_stop),
	T(test_as_many_releases_as_holds),
	T(test_refused_then_finished),
	T(test_descriptor_0),
	T(test_half_a_line_and_a_reset),
	T(test_loops_freed_in_any_order),
	T(test_server_closed_after_a_loop_was_freed),
	T(test_no_loops),
	T(test_loop_inside_itself),
	T(test_dialling_again_while_the_loop_is_freed),
	T(test_posts_made_while_the_loop_is_freed),
	T(test_posts_are_refused_in_the_end),
	T(test_failing_to_serve_calls_nobody),
	T(test_timers_for_ever),
	T(test_drain_for_ever),
	T(test_groups_of_both_families),
	T(test_drain_when_every_turn_is_late),
	T(test_drain_when_no_client_is_handed_over),
	T(test_call_without_a_limit),
	T(test_call_without_a_reply),
	T(test_call_answered_by_one_who_has_gone),
	T(test_restart_when_done),
	T(test_info_in_on_close),
	T(test_server_that_does_not_listen_yet),
	T(test_bytes_longer_than_max),
	T(test_packet_longer_than_max),
	T(test_close_before_open_is_the_last_word),
	T(test_drain_of_what_was_closed_before_open),
	T(test_drain_after_a_pause),
	T(test_per_source),
	T(test_refused_clients_that_stay),
	T(test_accept_rate),
	T(test_request),
	T(test_a_lone_server_outlives_its_connection),
	T(test_posted_calls_are_made),
	T(test_posts_are_refused_in_the_end),
	T(test_polls_of_one_descriptor),
	T(test_many_dials_before_another_thread_runs),
	T(test_abort_before_a_stop),
	T(test_pty_master),
	T(test_a_burst_within_a_turn_is_no_slow_peer),
	T(test_a_sender_that_is_never_refused_ends_its_turn),
	T(test_a_peer_that_does_not_read_is_slow),
	T(test_max_does_not_limit_bytes),
	T(test_addresses_of_a_connection),
	T(test_addresses_of_an_unnamed_peer),
	T(test_no_addresses_before_there_is_a_socket),
};

int main(int argc, char **argv)
{
	return th_main(argc, argv, "edges", tests, sizeof(tests) / sizeof(tests[0]));
}
