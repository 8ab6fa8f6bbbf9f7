/*
 * Bare io_uring echo: multishot accept, multishot recv out of a ring of buffers, and sends straight from those buffers.
 *
 *     uring_echo tcp PORT | unix PATH [--ring COUNTxBYTES]
 *
 * The ring of buffers is first in, first out: it walks through all its memory whatever the load, so it has to fit the
 * cache. 128 x 16 KiB (the default) is for small messages, --ring 24x65536 for bulk. A buffer goes back when its send
 * has completed. A stream may have one send in flight only, so what arrives meanwhile is queued behind it, in order.
 * When all buffers are out a recv ends with ENOBUFS; it is armed again as soon as one is back. A peer that never reads
 * may hold every buffer: this loop has no back-pressure, nor any other feature.
 */
#include "listener.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

enum { SQ_ENTRIES = 1024, CQ_ENTRIES = 16384, BUFFERS_MAX = 4096, GROUP = 0, NONE = UINT16_MAX };
enum op { OP_RECV, OP_SEND, OP_ACCEPT, OP_HANGUP, OP_MASK = 3 }; /* lives in the low bits of a connection's address */

struct conn {
	int fd;
	uint16_t first, last;             /* buffers to be sent, in order; the first one may be in flight */
	bool receiving, sending, watched; /* in flight */
	bool starved, ended, broken;
	struct conn *next; /* among the starved */
};

struct slice {
	uint32_t from, len;
	uint16_t next;
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static struct slice slices[BUFFERS_MAX];
static struct conn *starved_first, **starved_last = &starved_first;
static char *memory;
static bool watch_hangups;
static unsigned buffer_count = 128, buffer_size = 16 * 1024, ring_mask, buffers_free;
static int buffers_back;

static struct io_uring_sqe *get_sqe(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (!sqe) {
		io_uring_submit(&ring);
		sqe = io_uring_get_sqe(&ring);
	}
	if (!sqe)
		errx(1, "no room in the submission queue");
	return sqe;
}

static void tag(struct io_uring_sqe *sqe, struct conn *conn, enum op op)
{
	io_uring_sqe_set_data64(sqe, (uintptr_t)conn | op);
}

static void arm_accept(int listener)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	tag(sqe, NULL, OP_ACCEPT);
}

/* poll_first: on an idle socket it saves a recv that finds nothing,
 * and keeps an empty ring of buffers from ending it. */
static void arm_recv(struct conn *conn, bool poll_first)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_recv_multishot(sqe, conn->fd, NULL, 0, 0);
	tag(sqe, conn, OP_RECV);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	if (poll_first)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	conn->receiving = true;
}

/*
 * Since Linux 6.17 a multishot recv on a Unix stream can miss the end of the stream: when data and shutdown come before
 * it runs, it takes the data, believes the socket empty and waits for a wake-up that has been (liburing issue 1549). A
 * poll sees it.
 */
static void watch_hangup(struct conn *conn)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_poll_add(sqe, conn->fd, POLLRDHUP);
	tag(sqe, conn, OP_HANGUP);
	conn->watched = true;
}

static char *buffer_start(uint16_t id)
{
	return memory + (size_t)id * buffer_size;
}

static void send_first(struct conn *conn)
{
	struct io_uring_sqe *sqe = get_sqe();
	struct slice *slice = &slices[conn->first];

	io_uring_prep_send(sqe, conn->fd, buffer_start(conn->first) + slice->from, slice->len,
			   MSG_NOSIGNAL | MSG_WAITALL);
	tag(sqe, conn, OP_SEND);
	conn->sending = true;
}

/* Takes effect at the end of the turn, all returned buffers at once. */
static void return_buffer(uint16_t id)
{
	io_uring_buf_ring_add(buffers, buffer_start(id), buffer_size, id, ring_mask, buffers_back++);
	buffers_free++;
}

static void publish_buffers(void)
{
	io_uring_buf_ring_advance(buffers, buffers_back);
	buffers_back = 0;
}

static void pop_slice(struct conn *conn)
{
	uint16_t id = conn->first;

	conn->first = slices[id].next;
	return_buffer(id);
}

static void push_slice(struct conn *conn, uint16_t id, uint32_t len)
{
	slices[id] = (struct slice){.len = len, .next = NONE};
	if (conn->first == NONE)
		conn->first = id;
	else
		slices[conn->last].next = id;
	conn->last = id;
}

static void starve(struct conn *conn)
{
	conn->starved = true;
	conn->next = NULL;
	*starved_last = conn;
	starved_last = &conn->next;
}

/* As many as there are buffers: more would only run into ENOBUFS again. */
static void feed_starved(void)
{
	for (unsigned left = buffers_free; left && starved_first; left--) {
		struct conn *conn = starved_first;

		starved_first = conn->next;
		if (!starved_first)
			starved_last = &starved_first;
		conn->starved = false;
		arm_recv(conn, false);
	}
}

/* Goes on with a connection after any completion: the next send, the next recv,
 * or the end once nothing is in flight. */
static void settle(struct conn *conn)
{
	if (conn->broken && !conn->sending) {
		while (conn->first != NONE)
			pop_slice(conn);
	}
	if (!conn->sending && conn->first != NONE)
		send_first(conn);
	if (!conn->ended || conn->receiving || conn->sending || conn->watched)
		return;
	close(conn->fd);
	free(conn);
}

static void finish_recv(struct conn *conn, const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE))
		conn->receiving = false;
	if (cqe->res > 0) {
		buffers_free--;
		push_slice(conn, cqe->flags >> IORING_CQE_BUFFER_SHIFT, cqe->res);
	} else if (cqe->res != -ENOBUFS) {
		conn->ended = true;
	} else if (!conn->receiving) {
		starve(conn);
	}
	if (!conn->receiving && !conn->ended && !conn->starved)
		arm_recv(conn, !(cqe->flags & IORING_CQE_F_SOCK_NONEMPTY));
	settle(conn);
}

static void finish_send(struct conn *conn, int res)
{
	struct slice *slice = &slices[conn->first];

	conn->sending = false;
	if (res < 0) {
		conn->broken = true;
		shutdown(conn->fd, SHUT_RDWR); /* ends the recv too */
	} else {
		slice->from += res;
		slice->len -= res;
		if (!slice->len)
			pop_slice(conn);
	}
	settle(conn);
}

/* Our own shutdown of a side that has ended changes nothing for the peer, but wakes the recv. */
static void finish_hangup(struct conn *conn)
{
	conn->watched = false;
	if (!conn->ended)
		shutdown(conn->fd, SHUT_RD);
	settle(conn);
}

static void finish_accept(int listener, const struct io_uring_cqe *cqe)
{
	if (cqe->res >= 0) {
		struct conn *conn = calloc(1, sizeof(*conn));

		if (!conn)
			err(1, "calloc");
		conn->fd = cqe->res;
		conn->first = NONE;
		arm_recv(conn, true);
		if (watch_hangups)
			watch_hangup(conn);
	}
	if (cqe->flags & IORING_CQE_F_MORE)
		return;
	if (cqe->res == -EMFILE || cqe->res == -ENFILE)
		usleep(10000);
	arm_accept(listener);
}

static void dispatch(int listener, const struct io_uring_cqe *cqe)
{
	struct conn *conn = (struct conn *)(uintptr_t)(cqe->user_data & ~(uint64_t)OP_MASK);

	switch (cqe->user_data & OP_MASK) {
	case OP_RECV:
		finish_recv(conn, cqe);
		break;
	case OP_SEND:
		finish_send(conn, cqe->res);
		break;
	case OP_HANGUP:
		finish_hangup(conn);
		break;
	default:
		finish_accept(listener, cqe);
	}
}

static void run_loop(int listener)
{
	arm_accept(listener);
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, count = 0;
		int res = io_uring_submit_and_wait(&ring, 1);

		if (res < 0 && res != -EINTR && res != -EBUSY)
			errx(1, "io_uring_enter: %s", strerror(-res));
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			dispatch(listener, cqe);
			count++;
		}
		io_uring_cq_advance(&ring, count);
		publish_buffers();
		feed_starved();
	}
}

static void open_ring(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
			 IORING_SETUP_CQSIZE,
		.cq_entries = CQ_ENTRIES,
	};
	int res = io_uring_queue_init_params(SQ_ENTRIES, &ring, &params);

	if (res < 0)
		errx(1, "no io_uring here: %s", strerror(-res));
	io_uring_register_ring_fd(&ring);
}

static void *map(size_t size)
{
	void *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (start == MAP_FAILED)
		err(1, "mmap");
	return start;
}

static void open_buffers(void)
{
	struct io_uring_buf_reg reg = {.ring_entries = 1, .bgid = GROUP};
	int res;

	while (reg.ring_entries < buffer_count)
		reg.ring_entries *= 2;
	ring_mask = io_uring_buf_ring_mask(reg.ring_entries);
	buffers = map(reg.ring_entries * sizeof(struct io_uring_buf));
	memory = map((size_t)buffer_count * buffer_size);
	reg.ring_addr = (uintptr_t)buffers;
	res = io_uring_register_buf_ring(&ring, &reg, 0);
	if (res < 0)
		errx(1, "buffer ring: %s", strerror(-res));
	io_uring_buf_ring_init(buffers);
	for (unsigned id = 0; id < buffer_count; id++)
		return_buffer(id);
	publish_buffers();
}

int main(int argc, char **argv)
{
	bool sized =
		argc == 5 && !strcmp(argv[3], "--ring") && sscanf(argv[4], "%ux%u", &buffer_count, &buffer_size) == 2;

	if (argc != 3 && !sized)
		errx(2, "usage: uring_echo tcp PORT | unix PATH [--ring COUNTxBYTES]");
	if (!buffer_count || buffer_count > BUFFERS_MAX || !buffer_size)
		errx(2, "--ring: 1 to %d buffers", BUFFERS_MAX);
	watch_hangups = !strcmp(argv[1], "unix");
	open_ring();
	open_buffers();
	run_loop(open_listener(argv[1], argv[2]));
}
