/*
 * Bare WebSocket echo: the least that a loop over epoll does for RFC 6455. Whole frames are unmasked where they lie and
 * go back from there; nothing is checked, no message may be in pieces.
 *
 *     ws_echo PORT
 */
#include "listener.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

enum { EVENTS = 512, ROOM = 160 * 1024, KEY_LEN = 24, MASK_LEN = 4, CLOSE = 8 };

/* What has come in part; most connections have none of it most of the time. */
struct conn {
	int fd;
	bool open;
	size_t len;
	unsigned char *rest;
};

static unsigned char hot[ROOM] __attribute__((aligned(4096)));

static bool send_all(int fd, const unsigned char *p, size_t len)
{
	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		struct pollfd wait = {.fd = fd, .events = POLLOUT};

		if (n < 0 && errno == EAGAIN) {
			poll(&wait, 1, -1);
			continue;
		}
		if (n <= 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

/* The answer to a whole request; its length, or 0: it is not whole. */
static size_t upgrade(struct conn *conn, unsigned char *p, size_t len)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char digest[SHA_DIGEST_LENGTH], accept[4 * ((SHA_DIGEST_LENGTH + 2) / 3) + 1];
	unsigned char *end = memmem(p, len, "\r\n\r\n", 4), *key;
	char text[KEY_LEN + sizeof(guid)], answer[256];

	if (!end)
		return 0;
	*end = '\0';
	key = (unsigned char *)strcasestr((char *)p, "Sec-WebSocket-Key:");
	if (!key)
		errx(1, "a request without a key");
	key += strlen("Sec-WebSocket-Key:");
	key += strspn((char *)key, " ");
	memcpy(text, key, KEY_LEN);
	memcpy(text + KEY_LEN, guid, sizeof(guid));
	SHA1((unsigned char *)text, sizeof(text) - 1, digest);
	EVP_EncodeBlock(accept, digest, sizeof(digest));
	snprintf(answer, sizeof(answer),
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: %s\r\n\r\n",
		 accept);
	conn->open = send_all(conn->fd, (unsigned char *)answer, strlen(answer));
	return (size_t)(end + 4 - p);
}

static void unmask(unsigned char *p, size_t len, const unsigned char mask[MASK_LEN])
{
	uint64_t wide, word;
	uint32_t narrow;
	size_t i = 0;

	memcpy(&narrow, mask, sizeof(narrow));
	wide = (uint64_t)narrow << 32 | narrow;
	for (; len - i >= sizeof(wide); i += sizeof(wide)) {
		memcpy(&word, p + i, sizeof(word));
		word ^= wide;
		memcpy(p + i, &word, sizeof(word));
	}
	for (; i < len; i++)
		p[i] ^= mask[i % MASK_LEN];
}

/* Sends the frame at the front back. Its length; 0: it is not whole; -1: it was the last. */
static ssize_t echo(const struct conn *conn, unsigned char *p, size_t len)
{
	size_t head = 2, size;
	unsigned char *own;

	if (len < 2)
		return 0;
	size = p[1] & 0x7f;
	head += size == 126 ? 2 : size == 127 ? 8 : 0;
	if (len < head + MASK_LEN)
		return 0;
	if (size >= 126) {
		size = 0;
		for (size_t i = 2; i < head; i++)
			size = size << 8 | p[i];
	}
	if (head + MASK_LEN + size > ROOM)
		errx(1, "a frame is too long");
	if (len < head + MASK_LEN + size)
		return 0;
	unmask(p + head + MASK_LEN, size, p + head);
	own = p + MASK_LEN;
	memmove(own, p, head);
	own[1] &= 0x7f;
	return send_all(conn->fd, own, head + size) && (p[0] & 0x0f) != CLOSE ? (ssize_t)(head + MASK_LEN + size) : -1;
}

static void end_conn(struct conn *conn)
{
	close(conn->fd);
	free(conn->rest);
	free(conn);
}

static void keep_rest(struct conn *conn, const unsigned char *p, size_t len)
{
	if (len && !conn->rest && !(conn->rest = malloc(ROOM)))
		err(1, "malloc");
	if (len)
		memcpy(conn->rest, p, len);
	conn->len = len;
	if (!len) {
		free(conn->rest);
		conn->rest = NULL;
	}
}

/* False: it has ended. */
static bool serve_conn(struct conn *conn)
{
	size_t at = 0, len = conn->len;
	ssize_t n;

	memcpy(hot, conn->rest ? conn->rest : hot, len);
	n = recv(conn->fd, hot + len, ROOM - len, 0);
	if (n < 0 && errno == EAGAIN)
		return true;
	if (n <= 0)
		return false;
	len += n;
	do {
		n = conn->open ? echo(conn, hot + at, len - at) : (ssize_t)upgrade(conn, hot + at, len - at);
		at += n > 0 ? n : 0;
	} while (n > 0 && at < len);
	keep_rest(conn, hot + at, len - at);
	return n >= 0;
}

static void accept_conns(int poller, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *conn = calloc(1, sizeof(*conn));
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};

		if (!conn || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
			err(1, "accept");
		conn->fd = fd;
	}
}

int main(int argc, char **argv)
{
	static struct epoll_event events[EVENTS];
	struct epoll_event event = {.events = EPOLLIN};
	int listener, poller = epoll_create1(EPOLL_CLOEXEC);

	if (argc != 2)
		errx(2, "usage: ws_echo PORT");
	listener = open_listener("tcp", argv[1]);
	if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event))
		err(1, "epoll");
	for (;;) {
		int count = epoll_wait(poller, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (!events[i].data.ptr)
				accept_conns(poller, listener);
			else if (!serve_conn(events[i].data.ptr))
				end_conn(events[i].data.ptr);
		}
	}
}
