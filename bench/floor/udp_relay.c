/*
 * Bare UDP relay: a session for each client, with a socket of its own that is connected to the target.
 *
 *     udp_relay PORT TARGET_PORT
 *
 * Both ways recvmmsg and sendmmsg, up to 64 datagrams a batch. From the clients: what came from one client in a row
 * goes to its socket in one call. To the clients: one call sends what came for all of them. Sessions never end.
 */
#include "listener.h"

#include <stdint.h>
#include <sys/epoll.h>

enum {
	BATCH = 64,
	DATAGRAM_MAX = 2048,
	STRIDE = DATAGRAM_MAX + 64 + 128, /* buffers start in different sets of the first-level cache */
	SLOTS = 4096,                     /* of the table of sessions, which may be half full */
	RECEIVE_BUFFER = 4 << 20,
};

struct session {
	struct sockaddr_in client;
	int fd; /* 0: this slot is free */
};

static char room[BATCH * STRIDE] __attribute__((aligned(4096)));
static struct sockaddr_in peers[BATCH], target = {.sin_family = AF_INET};
static struct iovec parts[BATCH];
static struct mmsghdr batch[BATCH];
static struct session sessions[SLOTS];
static unsigned nsessions;
static int poller, listener;

/* Makes the buffers from `first` on whole again, each with the name of a peer or without one. */
static void lay_out(int first, int count, socklen_t name_len)
{
	for (int i = first; i < first + count; i++) {
		parts[i] = (struct iovec){room + i * STRIDE, DATAGRAM_MAX};
		batch[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
		batch[i].msg_hdr.msg_name = name_len ? &peers[i] : NULL;
		batch[i].msg_hdr.msg_namelen = name_len;
	}
}

static int open_udp(const char *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int size = RECEIVE_BUFFER, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	addr.sin_port = htons((uint16_t)atoi(port));
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) || getsockname(fd, (struct sockaddr *)&addr, &len))
		err(1, "port %s", port);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	printf("listening %u\n", ntohs(addr.sin_port));
	fflush(stdout);
	return fd;
}

static void watch(int fd, struct session *s)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};

	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
		err(1, "epoll_ctl");
}

static struct session *session_of(const struct sockaddr_in *client)
{
	uint32_t hash = (client->sin_addr.s_addr ^ client->sin_port) * 2654435761u;
	struct session *s;

	for (uint32_t at = hash >> 20;; at = (at + 1) % SLOTS) {
		s = &sessions[at];
		if (!s->fd)
			break;
		if (s->client.sin_port == client->sin_port && s->client.sin_addr.s_addr == client->sin_addr.s_addr)
			return s;
	}
	if (++nsessions > SLOTS / 2)
		errx(1, "more than %d clients", SLOTS / 2);
	s->client = *client;
	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&target, sizeof(target)))
		err(1, "connect");
	watch(s->fd, s);
	return s;
}

/* What cannot be sent is lost, as UDP may. */
static void send_batch(int fd, int first, int count)
{
	for (int end = first + count; first < end;) {
		int done = sendmmsg(fd, batch + first, end - first, 0);

		first += done > 0 ? done : 1;
	}
}

static void take_requests(void)
{
	struct session *s[BATCH];
	int count, i, next;

	lay_out(0, BATCH, sizeof(peers[0]));
	count = recvmmsg(listener, batch, BATCH, 0, NULL);
	for (i = 0; i < count; i++) {
		parts[i].iov_len = batch[i].msg_len;
		batch[i].msg_hdr.msg_name = NULL;
		batch[i].msg_hdr.msg_namelen = 0;
		s[i] = session_of(&peers[i]);
	}
	for (i = 0; i < count; i = next) {
		for (next = i + 1; next < count && s[next] == s[i];)
			next++;
		send_batch(s[i]->fd, i, next - i);
	}
}

/* Behind the `filled` replies that wait to be sent; returns how many there are now. */
static int take_replies(struct session *s, int filled)
{
	int count;

	lay_out(filled, BATCH - filled, 0);
	count = recvmmsg(s->fd, batch + filled, BATCH - filled, 0, NULL);
	for (int i = filled; i < filled + count; i++) {
		parts[i].iov_len = batch[i].msg_len;
		batch[i].msg_hdr.msg_name = &s->client;
		batch[i].msg_hdr.msg_namelen = sizeof(s->client);
	}
	return count > 0 ? filled + count : filled;
}

static void run_loop(void)
{
	static struct epoll_event events[BATCH];

	for (;;) {
		int count = epoll_wait(poller, events, BATCH, -1), filled = 0, asked = 0;

		for (int i = 0; i < count; i++) {
			struct session *s = events[i].data.ptr;

			if (!s) {
				asked = 1; /* the buffers are the replies' for now */
			} else if ((filled = take_replies(s, filled)) == BATCH) {
				send_batch(listener, 0, filled);
				filled = 0;
			}
		}
		send_batch(listener, 0, filled);
		if (asked)
			take_requests();
	}
}

int main(int argc, char **argv)
{
	if (argc != 3)
		errx(2, "usage: udp_relay PORT TARGET_PORT");
	raise_descriptor_limit();
	target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	target.sin_port = htons((uint16_t)atoi(argv[2]));
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0)
		err(1, "epoll_create1");
	listener = open_udp(argv[1]);
	watch(listener, NULL);
	run_loop();
}
