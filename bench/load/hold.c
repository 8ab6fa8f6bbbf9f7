/*
 * Holds connections open and idle, for measuring what they cost the server. Each one has been used once, as a server
 * may put off what a connection needs until its first byte.
 */
#include "load.h"

#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { TOUCH_SIZE = 64, WS_SIZE = 320, WS_HEAD = 8, BLOCK_HEAD = 5, TOUCH_TIMEOUT_S = 10, HOLD_MS = 120000 };

static void touch_tls(int fd)
{
	struct ssl_st *ssl = tls_connect(fd);
	char back[TOUCH_SIZE];

	if (tls_send(ssl, load_pattern, TOUCH_SIZE) != TOUCH_SIZE || tls_recv(ssl, back, TOUCH_SIZE) != TOUCH_SIZE)
		err(1, "no echo");
}

static void receive(int fd, void *data, size_t len)
{
	if (recv(fd, data, len, MSG_WAITALL) != (ssize_t)len)
		err(1, "no answer");
}

/* The answer ends where its head does: nothing else comes before a message is sent. */
static void ws_upgrade(int fd, bool deflate)
{
	static const char extension[] = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
	char text[2048];
	size_t len = (size_t)snprintf(text, sizeof(text),
				      "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
				      "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
				      "Sec-WebSocket-Version: 13\r\n%s\r\n",
				      deflate ? extension : "");

	if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
		err(1, "send");
	for (len = 0; len < 4 || memcmp(text + len - 4, "\r\n\r\n", 4) != 0; len++) {
		if (len + 1 == sizeof(text))
			errx(1, "the answer is too long");
		receive(fd, text + len, 1);
	}
	text[len] = '\0';
	if (strncmp(text, "HTTP/1.1 101 ", 13) != 0 || (deflate && !strstr(text, "permessage-deflate")))
		errx(1, "not agreed upon: %s", text);
}

/*
 * A message long enough for the server to compress its echo. Compressed, it is a stored block, and the first byte of
 * the empty one that follows it, whose others are left out (RFC 7692 7.2.1). The mask is zero.
 */
static void touch_ws(int fd, bool deflate)
{
	unsigned char frame[WS_HEAD + BLOCK_HEAD + WS_SIZE + 1] = {0}, head[4], back[WS_SIZE];
	size_t len = deflate ? BLOCK_HEAD + WS_SIZE + 1 : WS_SIZE;

	ws_upgrade(fd, deflate);
	frame[0] = deflate ? 0xc2 : 0x82;
	frame[1] = 0x80 | 126;
	frame[2] = (unsigned char)(len >> 8);
	frame[3] = (unsigned char)len;
	if (deflate) {
		frame[WS_HEAD + 1] = WS_SIZE & 0xff;
		frame[WS_HEAD + 2] = WS_SIZE >> 8;
		frame[WS_HEAD + 3] = (WS_SIZE & 0xff) ^ 0xff;
		frame[WS_HEAD + 4] = WS_SIZE >> 8 ^ 0xff;
	}
	memset(frame + WS_HEAD + (deflate ? BLOCK_HEAD : 0), 'w', WS_SIZE);
	if (send(fd, frame, WS_HEAD + len, MSG_NOSIGNAL) != (ssize_t)(WS_HEAD + len))
		err(1, "send");
	receive(fd, head, 2);
	len = head[1];
	if (len == 126) {
		receive(fd, head + 2, 2);
		len = (size_t)head[2] << 8 | head[3];
	}
	if (head[0] != frame[0] || !len || len > WS_SIZE || (deflate ? len == WS_SIZE : len != WS_SIZE))
		errx(1, "no echo: a frame that begins with 0x%02x and has %zu bytes", head[0], len);
	receive(fd, back, len);
	if (!deflate && memcmp(back, frame + WS_HEAD, len) != 0)
		errx(1, "no echo");
}

static void touch(const struct options *options)
{
	struct timeval limit = {.tv_sec = TOUCH_TIMEOUT_S};
	int fd = lane_connect(options);
	char back[TOUCH_SIZE];

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (options->proto == PROTO_TLS) {
		touch_tls(fd);
		return;
	}
	if (options->proto == PROTO_WS) {
		touch_ws(fd, options->deflate);
		return;
	}
	if (send(fd, load_pattern, TOUCH_SIZE, MSG_NOSIGNAL) != TOUCH_SIZE)
		err(1, "send");
	if (recv(fd, back, TOUCH_SIZE, MSG_WAITALL) != TOUCH_SIZE)
		err(1, "no echo");
}

/* Says `holding N` and stays until its standard input ends. */
int hold_conns(const struct options *options)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	for (unsigned i = 0; i < options->conns; i++)
		touch(options);
	printf("holding %u\n", options->conns);
	fflush(stdout);
	poll(&input, 1, HOLD_MS);
	return 0;
}
