/*
 * Moves the bytes of all lanes with epoll. Used for bulk, where it is the cheaper way, and where the system refuses
 * io_uring.
 *
 * For bulk over TCP two system calls keep the client from being the limit: sendfile sends the pattern without copying
 * it, and recv with MSG_TRUNC throws away what need not be compared without copying that.
 */
#include "load.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, HOT_SIZE = 64 * 1024, DISCARD_MAX = 1 << 20 };

static char hot[HOT_SIZE] __attribute__((aligned(4096)));
static int poller;

static bool is_cheap_bulk(const struct load *load)
{
	return load->options.proto == PROTO_TCP && load->options.size >= BULK_SIZE;
}

static void watch(struct lane *lane, int how, bool writable)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET | (writable ? EPOLLOUT : 0), .data.ptr = lane};

	if (epoll_ctl(poller, how, lane->fd, &event))
		err(1, "epoll_ctl");
	lane->sending = writable;
}

static ssize_t send_pattern(struct load *load, struct lane *lane, size_t len)
{
	off_t offset = (off_t)lane_offset(lane);

	if (lane->ssl)
		return tls_send(lane->ssl, load_pattern + offset, len);
	if (is_cheap_bulk(load))
		return sendfile(lane->fd, load->pattern_fd, &offset, len);
	return send(lane->fd, load_pattern + offset, len, MSG_NOSIGNAL);
}

/* Sends all that is due or all that fits, and asks for EPOLLOUT only while something is left. */
static void push_lane(struct load *load, struct lane *lane)
{
	size_t len = 0;

	while (!lane->dead && (len = lane_owes(lane))) {
		ssize_t sent = send_pattern(load, lane, len);

		if (sent > 0)
			lane->sent += (size_t)sent;
		else if (errno == EAGAIN)
			break;
		else
			lane_die(load, lane, "send", errno);
	}
	if (!lane->dead && lane->sending != !!len)
		watch(lane, EPOLL_CTL_MOD, !!len);
}

/* How many bytes to ask for, and whether into the hot buffer or (NULL) into nothing. */
static size_t choose_room(const struct load *load, const struct lane *lane, char **to)
{
	uint64_t room;

	*to = hot;
	if (!is_cheap_bulk(load))
		return HOT_SIZE;
	if (lane->got >= lane->check) {
		room = lane->check + load->options.size - lane->got;
		return room < HOT_SIZE ? room : HOT_SIZE;
	}
	*to = NULL;
	room = lane->check - lane->got;
	return room < DISCARD_MAX ? room : DISCARD_MAX;
}

static void pull_lane(struct load *load, struct lane *lane)
{
	while (!lane->dead) {
		char *to;
		size_t room = choose_room(load, lane, &to);
		ssize_t len = lane->ssl ? tls_recv(lane->ssl, to, room) : recv(lane->fd, to, room, to ? 0 : MSG_TRUNC);

		if (len < 0 && errno == EAGAIN)
			return;
		if (len <= 0) {
			lane_die(load, lane, "the server ended the connection", len ? errno : 0);
			return;
		}
		load->now_ns = clock_now_ns();
		lane_take(load, lane, to, (size_t)len);
		if ((size_t)len < room && !lane->ssl) /* a record ends before the socket is drained */
			return;
	}
}

static void send_datagram(struct load *load, struct lane *lane, unsigned slot)
{
	if (send(lane->fd, slot_message(load, lane, slot), load->options.size, MSG_NOSIGNAL) < 0)
		load_fail(load, "send", errno);
}

/* Stops without the recv that would only say EAGAIN once everything that was under way has been answered. */
static void exchange_datagrams(struct load *load, struct lane *lane)
{
	for (unsigned left = load->options.depth; left;) {
		ssize_t len = recv(lane->fd, hot, sizeof(hot), 0);
		int slot;

		if (len < 0 && errno == EAGAIN)
			return;
		if (len < 0) {
			load_fail(load, "recv", errno);
			return;
		}
		load->now_ns = clock_now_ns();
		slot = lane_take_datagram(load, lane, hot, (size_t)len);
		if (slot < 0)
			continue;
		send_datagram(load, lane, (unsigned)slot);
		left--;
	}
}

static void serve_lane(struct load *load, struct lane *lane)
{
	if (is_datagram(load)) {
		exchange_datagrams(load, lane);
		return;
	}
	pull_lane(load, lane);
	push_lane(load, lane);
}

static void start_lane(struct load *load, struct lane *lane)
{
	fcntl(lane->fd, F_SETFL, O_NONBLOCK);
	watch(lane, EPOLL_CTL_ADD, false);
	if (!is_datagram(load))
		push_lane(load, lane);
	for (unsigned slot = 0; is_datagram(load) && slot < load->options.depth; slot++)
		send_datagram(load, lane, slot);
}

void run_epoll(struct load *load)
{
	static struct epoll_event events[EVENTS];

	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0)
		err(1, "epoll");
	load_start(load);
	for (unsigned i = 0; i < load->options.conns; i++)
		start_lane(load, &load->lanes[i]);
	while (!load_over(load)) {
		int count = epoll_wait(poller, events, EVENTS, load->options.spin ? 0 : WAIT_MS);

		for (int i = 0; i < count; i++)
			serve_lane(load, events[i].data.ptr);
		load->now_ns = clock_now_ns();
		if (is_datagram(load))
			load_find_lost(load, send_datagram);
	}
}
