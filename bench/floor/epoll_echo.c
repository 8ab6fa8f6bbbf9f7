/*
 * Bare epoll echo: the best a loop over epoll_wait, recv and send does when it does nothing else.
 *
 *     epoll_echo tcp PORT | unix PATH [--spin]
 *
 * Edge-triggered, each connection added once, one hot buffer for all of them. A recv that comes back short has drained
 * the socket, so the usual last recv that only says EAGAIN is saved; the end of the stream that may hide behind the
 * data is known from EPOLLRDHUP. What send does not take is kept aside, and only then is EPOLLOUT asked for: a Unix
 * socket that asks always is woken each time its peer reads. --spin never sleeps: the floor for latency.
 */
#include "listener.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>

/* More than 64 KiB: a message of just that size then comes back as a short recv, too. */
enum { EVENTS = 512, HOT_SIZE = 96 * 1024 };

struct conn {
	int fd;
	size_t from, len; /* what of rest is still to be sent: from..len */
	char *rest;
};

static char hot[HOT_SIZE] __attribute__((aligned(4096)));
static int poller;

static void watch(struct conn *conn, int how, uint32_t also)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | also, .data.ptr = conn};

	if (epoll_ctl(poller, how, conn->fd, &event))
		err(1, "epoll_ctl");
}

static void close_conn(struct conn *conn)
{
	close(conn->fd);
	free(conn->rest);
	free(conn);
}

static void accept_conns(int listener)
{
	int fd;

	/* The poller holds what is accepted, which the analyser cannot see:
	 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *conn = calloc(1, sizeof(*conn));

		if (!conn)
			err(1, "calloc");
		conn->fd = fd;
		watch(conn, EPOLL_CTL_ADD, 0);
	}
	if (errno == EMFILE || errno == ENFILE)
		usleep(10000);
}

/* Sends the hot buffer; false when the connection cannot take more now. */
static bool send_hot(struct conn *conn, size_t len)
{
	ssize_t sent = send(conn->fd, hot, len, MSG_NOSIGNAL);

	if (sent == (ssize_t)len)
		return true;
	if (sent < 0)
		sent = 0; /* full, or dead: then the event that follows says so */
	conn->rest = malloc(len - sent);
	if (!conn->rest)
		err(1, "malloc");
	memcpy(conn->rest, hot + sent, len - sent);
	conn->from = 0;
	conn->len = len - sent;
	watch(conn, EPOLL_CTL_MOD, EPOLLOUT);
	return false;
}

/* Sends what was kept aside; false when some of it still has to wait. */
static bool send_rest(struct conn *conn)
{
	ssize_t sent = send(conn->fd, conn->rest + conn->from, conn->len - conn->from, MSG_NOSIGNAL);

	if (sent > 0)
		conn->from += sent;
	if (conn->from < conn->len)
		return false;
	free(conn->rest);
	conn->rest = NULL;
	watch(conn, EPOLL_CTL_MOD, 0);
	return true;
}

static void serve_conn(struct conn *conn, uint32_t events)
{
	bool ending = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);

	if (events & (EPOLLHUP | EPOLLERR) && conn->rest) {
		close_conn(conn);
		return;
	}
	if (conn->rest && !send_rest(conn))
		return;
	for (;;) {
		ssize_t len = recv(conn->fd, hot, sizeof(hot), 0);

		if (len < 0 && errno == EAGAIN)
			return;
		if (len <= 0) {
			close_conn(conn);
			return;
		}
		if (!send_hot(conn, len) || (len < HOT_SIZE && !ending))
			return;
	}
}

static void run_loop(int listener, int timeout_ms)
{
	static struct epoll_event events[EVENTS];

	for (;;) {
		int count = epoll_wait(poller, events, EVENTS, timeout_ms);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr)
				serve_conn(events[i].data.ptr, events[i].events);
			else
				accept_conns(listener);
		}
	}
}

int main(int argc, char **argv)
{
	bool spin = argc == 4 && !strcmp(argv[3], "--spin");
	struct epoll_event event = {.events = EPOLLIN};
	int listener;

	if (argc != 3 && !spin)
		errx(2, "usage: epoll_echo tcp PORT | unix PATH [--spin]");
	listener = open_listener(argv[1], argv[2]);
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event))
		err(1, "epoll");
	run_loop(listener, spin ? 0 : -1);
}
