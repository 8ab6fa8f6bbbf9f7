/* What an idle WebSocket connection of a server costs, and that a message in pieces gives back what it needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tenon.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY 200
#define WARM 16 /* what they share, and what is kept for reuse */

/* Bytes of heap, with the allocator's and the slot of the descriptor. */
#define IDLE_MAX 624

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
static size_t heap(void)
{
	return mallinfo2().uordblks;
}
#else
static size_t heap(void)
{
	return 0; /* not counted here */
}
#endif

static struct tn_loop *loop;
static int port, fds[WARM + MANY];

static void echo(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	assert_true(tn_forward(conn, msg) >= 0);
}

static void serve(const char *keys)
{
	static const struct tn_handler handler = {.on_msg = echo};
	struct tn_server *server;
	char url[128];

	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	snprintf(url, sizeof(url), "ws://127.0.0.1:0/chat%s", keys);
	assert_int_equal(tn_serve(loop, url, &handler, NULL, &server), 0);
	assert_int_equal(sscanf(tn_server_url(server, 0), "ws://127.0.0.1:%d", &port), 1);
}

/* Reads exactly so much, while the server is at work. */
static void hear(int fd, void *to, size_t len)
{
	size_t got = 0;

	for (int i = 0; i < 4000 && got < len; i++) {
		ssize_t n = recv(fd, (char *)to + got, len - got, MSG_DONTWAIT);

		got += n > 0 ? (size_t)n : 0;
		if (got < len)
			assert_true(tn_loop_step(loop, 5) >= 0);
	}
	assert_int_equal(got, len);
}

static void say(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Some turns, so that everything is over. */
static void rest(void)
{
	for (int i = 0; i < 8; i++)
		assert_true(tn_loop_step(loop, 0) >= 0);
}

static int open_client(const char *extension)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	char request[512], head[512] = "";
	size_t len = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	snprintf(request, sizeof(request),
		 "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
		 extension);
	say(fd, request, strlen(request));
	while (!strstr(head, "\r\n\r\n") && len < sizeof(head) - 1)
		hear(fd, head + len++, 1);
	assert_memory_equal(head, "HTTP/1.1 101", 12);
	assert_true(!*extension == !strstr(head, "permessage-deflate"));
	return fd;
}

/* A frame of zeros behind a mask of zeros. */
static void say_frame(int fd, unsigned char first, size_t len)
{
	static const unsigned char zeros[20000];
	const unsigned char head[8] = {first, 0x80 | 126, (unsigned char)(len >> 8), (unsigned char)len};

	say(fd, head, sizeof(head));
	say(fd, zeros, len);
}

static void say_small(int fd)
{
	static const unsigned char frame[] = {0x82, 0x82, 0, 0, 0, 0, 'h', 'i'};
	unsigned char got[4];

	say(fd, frame, sizeof(frame));
	hear(fd, got, sizeof(got));
	assert_memory_equal(got, "\x82\2hi", 4);
}

static void close_all(int count)
{
	for (int i = 0; i < count; i++)
		close(fds[i]);
	tn_loop_free(loop);
}

static size_t idle(const char *keys, const char *extension)
{
	size_t before = 0, after;

	serve(keys);
	for (int i = 0; i < WARM + MANY; i++) {
		if (i == WARM)
			before = heap();
		fds[i] = open_client(extension);
		say_small(fds[i]);
	}
	rest();
	after = heap();
	close_all(WARM + MANY);
	return (after - before) / MANY;
}

static void test_idle(void **state)
{
	(void)state;
	assert_true(idle("", "") <= IDLE_MAX);
}

static void test_idle_with_deflate(void **state)
{
	static const char offer[] = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

	(void)state;
	if (tn_url_check("ws://127.0.0.1:0?deflate=on", TN_SERVE) < 0)
		skip(); /* built without it */
	assert_true(idle("?deflate=on", offer) <= IDLE_MAX);
}

/* A message in three frames, of which each comes in pieces, with a ping between two of them. */
static void talk_in_pieces(int fd)
{
	static const unsigned char ping[] = {0x89, 0x80, 0, 0, 0, 0};
	static unsigned char back[60000 + 10];
	unsigned char pong[2];

	say_frame(fd, 0x02, 20000);
	rest();
	say(fd, ping, 3);
	rest();
	say(fd, ping + 3, sizeof(ping) - 3);
	hear(fd, pong, sizeof(pong));
	assert_memory_equal(pong, "\x8a\0", 2);
	say_frame(fd, 0x00, 20000);
	rest();
	say_frame(fd, 0x80, 20000);
	hear(fd, back, 60000 + 4);
	assert_memory_equal(back, "\x82\x7e\xea\x60", 4);
	rest();
}

static void test_pieces_are_given_back(void **state)
{
	size_t before;

	(void)state;
	serve("");
	fds[0] = open_client("");
	fds[1] = open_client("");
	talk_in_pieces(fds[0]);
	before = heap();
	talk_in_pieces(fds[1]);
	assert_int_equal(heap(), before);
	close_all(2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_idle_with_deflate),
		cmocka_unit_test(test_pieces_are_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
