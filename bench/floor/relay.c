/*
 * Bare relay: the best a loop over epoll does that joins each client with a connection to a TCP server of its own.
 *
 *     relay copy|splice PORT TARGET_PORT
 *
 * copy: recv into one hot buffer, send; what send does not take is kept aside, and its source is not read until it has
 * gone. splice: splice(2) through a pipe for each direction, of up to 1 MiB. Edge-triggered, each socket added once.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* More than 64 KiB: a message of just that size then comes back as a short recv. */
enum { EVENTS = 512, HOT_SIZE = 96 * 1024, PIPE_SIZE = 1 << 20 };

struct end {
	int fd;
	bool readable, writable, ended; /* ended: its direction has, and the other end was told */
	struct end *other;
	/* What came from here and still has to go to the other end. */
	int pipe[2];
	size_t waiting; /* in the pipe, or in rest from `from` on */
	size_t from;
	char *rest;
};

struct session {
	struct end client, target;
};

static char hot[HOT_SIZE] __attribute__((aligned(4096)));
static int poller;
static bool splicing;
static struct sockaddr_in target = {.sin_family = AF_INET};
/* Sessions that ended in this turn: events of theirs may still come in it. */
static struct session *gone[EVENTS];
static int ngone;

static void watch(struct end *end)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = end};

	if (epoll_ctl(poller, EPOLL_CTL_ADD, end->fd, &event))
		err(1, "epoll_ctl");
}

static void open_pipe(struct end *end)
{
	end->pipe[0] = end->pipe[1] = -1;
	if (!splicing)
		return;
	if (pipe2(end->pipe, O_NONBLOCK | O_CLOEXEC))
		err(1, "pipe2");
	fcntl(end->pipe[1], F_SETPIPE_SZ, PIPE_SIZE);
}

static void open_session(int fd)
{
	struct session *s = calloc(1, sizeof(*s));
	int on = 1;

	if (!s)
		err(1, "calloc");
	s->client.fd = fd;
	s->target.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(s->target.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (s->target.fd < 0 ||
	    (connect(s->target.fd, (struct sockaddr *)&target, sizeof(target)) && errno != EINPROGRESS))
		err(1, "connect");
	s->client.other = &s->target;
	s->target.other = &s->client;
	open_pipe(&s->client);
	open_pipe(&s->target);
	watch(&s->client);
	watch(&s->target);
}

static void accept_clients(int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		open_session(fd);
}

static void close_end(struct end *end)
{
	close(end->fd);
	end->fd = -1;
	free(end->rest);
	if (end->pipe[0] >= 0) {
		close(end->pipe[0]);
		close(end->pipe[1]);
	}
}

static void close_session(struct end *end)
{
	struct end *client = end < end->other ? end : end->other;

	close_end(end);
	close_end(end->other);
	gone[ngone++] = (struct session *)(void *)client;
}

/* Each moves what it can and returns false when the connection has failed. */

static bool drain_pipe(struct end *from)
{
	while (from->waiting && from->other->writable) {
		ssize_t n = splice(from->pipe[0], NULL, from->other->fd, NULL, from->waiting, SPLICE_F_NONBLOCK);

		if (n < 0 && errno == EAGAIN)
			from->other->writable = false;
		else if (n <= 0)
			return false;
		else
			from->waiting -= n;
	}
	return true;
}

static bool drain_rest(struct end *from)
{
	ssize_t n;

	if (!from->waiting || !from->other->writable)
		return true;
	n = send(from->other->fd, from->rest + from->from, from->waiting, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		return false;
	n = n < 0 ? 0 : n;
	from->from += n;
	from->waiting -= n;
	from->other->writable = !from->waiting;
	return true;
}

static bool send_hot(struct end *from, size_t len)
{
	ssize_t n = from->other->writable ? send(from->other->fd, hot, len, MSG_NOSIGNAL) : 0;

	if (n == (ssize_t)len)
		return true;
	if (n < 0 && errno != EAGAIN)
		return false;
	n = n < 0 ? 0 : n;
	from->other->writable = false;
	from->rest = realloc(from->rest, HOT_SIZE);
	if (!from->rest)
		err(1, "realloc");
	memcpy(from->rest, hot + n, len - n);
	from->from = 0;
	from->waiting = len - n;
	return true;
}

/* `more`: the source may have more than this brought. */
static ssize_t fill(struct end *from, bool *more)
{
	ssize_t n = splicing ? splice(from->fd, NULL, from->pipe[1], NULL, PIPE_SIZE, SPLICE_F_NONBLOCK)
			     : recv(from->fd, hot, HOT_SIZE, 0);

	*more = splicing || n == HOT_SIZE;
	return n;
}

static bool move(struct end *from, bool ending)
{
	bool more = true;

	if (!(splicing ? drain_pipe(from) : drain_rest(from)))
		return false;
	while (from->readable && !from->ended && !from->waiting && more) {
		ssize_t n = fill(from, &more);

		if (n < 0 && errno == EAGAIN) {
			from->readable = false;
		} else if (n < 0) {
			return false;
		} else if (n == 0) {
			from->ended = true;
			shutdown(from->other->fd, SHUT_WR);
		} else if (splicing) {
			from->waiting = n;
			if (!drain_pipe(from))
				return false;
		} else if (!send_hot(from, n)) {
			return false;
		}
		more = more || ending;
		if (!more)
			from->readable = false;
	}
	return true;
}

static void serve_end(struct end *end, uint32_t events)
{
	bool ending = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);

	if (end->fd < 0)
		return;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		end->readable = true;
	if (events & EPOLLOUT)
		end->writable = true;
	if (!move(end, ending) || (events & EPOLLOUT && !move(end->other, true)) || (end->ended && end->other->ended))
		close_session(end);
}

static void run_loop(int listener)
{
	static struct epoll_event events[EVENTS];

	for (;;) {
		int count = epoll_wait(poller, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr)
				serve_end(events[i].data.ptr, events[i].events);
			else
				accept_clients(listener);
		}
		while (ngone)
			free(gone[--ngone]);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event event = {.events = EPOLLIN};
	int listener;

	if (argc != 4 || (strcmp(argv[1], "copy") != 0 && strcmp(argv[1], "splice") != 0))
		errx(2, "usage: relay copy|splice PORT TARGET_PORT");
	splicing = !strcmp(argv[1], "splice");
	target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	target.sin_port = htons((uint16_t)atoi(argv[3]));
	listener = open_listener("tcp", argv[2]);
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event))
		err(1, "epoll");
	signal(SIGPIPE, SIG_IGN); /* splice(2) knows no MSG_NOSIGNAL */
	run_loop(listener);
}
