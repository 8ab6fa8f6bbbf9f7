/*
 * Moves the bytes of all lanes with io_uring: multishot recv out of a small ring of buffers, sends straight from the
 * pattern or the slot. For small messages and datagrams it costs a client core less than epoll does, so the server
 * stays the limit.
 */
#include "load.h"

#include <err.h>
#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { SQ_ENTRIES = 2048, CQ_ENTRIES = 16384, GROUP = 0 };
enum op { OP_RECV, OP_SEND, OP_DATAGRAM, OP_MASK = 3 }; /* lives in the low bits of a lane's address */

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char *memory;
static unsigned buffer_count, buffer_size;
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

static void tag(struct io_uring_sqe *sqe, struct lane *lane, enum op op)
{
	io_uring_sqe_set_data64(sqe, (uintptr_t)lane | op);
}

static void arm_recv(struct lane *lane)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_recv_multishot(sqe, lane->fd, NULL, 0, 0);
	tag(sqe, lane, OP_RECV);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	lane->receiving = true;
}

/* sent counts what the kernel was given, as an echo may be seen before the completion of its own send. */
static void push_lane(struct lane *lane)
{
	size_t len = lane_owes(lane);
	struct io_uring_sqe *sqe;

	if (lane->dead || lane->sending || !len)
		return;
	sqe = get_sqe();
	io_uring_prep_send(sqe, lane->fd, load_pattern + lane_offset(lane), len, MSG_NOSIGNAL | MSG_WAITALL);
	tag(sqe, lane, OP_SEND);
	lane->sending = true;
	lane->in_flight = len;
	lane->sent += len;
}

static void send_datagram(struct load *load, struct lane *lane, unsigned slot)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_send(sqe, lane->fd, slot_message(load, lane, slot), load->options.size, MSG_NOSIGNAL);
	tag(sqe, lane, OP_DATAGRAM);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

static void return_buffer(unsigned id)
{
	char *start = memory + (size_t)id * buffer_size;

	io_uring_buf_ring_add(buffers, start, buffer_size, (unsigned short)id, (int)buffer_count - 1, buffers_back++);
}

static void publish_buffers(void)
{
	io_uring_buf_ring_advance(buffers, buffers_back);
	buffers_back = 0;
}

static void take_buffer(struct load *load, struct lane *lane, unsigned id, size_t len)
{
	const char *data = memory + (size_t)id * buffer_size;

	load->now_ns = clock_now_ns();
	if (is_datagram(load)) {
		int slot = lane_take_datagram(load, lane, data, len);

		if (slot >= 0)
			send_datagram(load, lane, (unsigned)slot);
	} else {
		lane_take(load, lane, data, len);
		push_lane(lane);
	}
	return_buffer(id);
}

static void finish_recv(struct load *load, struct lane *lane, const struct io_uring_cqe *cqe)
{
	if (!(cqe->flags & IORING_CQE_F_MORE))
		lane->receiving = false;
	if (cqe->flags & IORING_CQE_F_BUFFER)
		take_buffer(load, lane, cqe->flags >> IORING_CQE_BUFFER_SHIFT, (size_t)cqe->res);
	else if (cqe->res == -ENOBUFS)
		; /* armed again below: the buffers of this turn go back at its end */
	else if (is_datagram(load))
		load_fail(load, "recv", -cqe->res);
	else
		lane_die(load, lane, "the server ended the connection", -cqe->res);
	if (!lane->receiving && !lane->dead)
		arm_recv(lane);
}

static void finish_send(struct load *load, struct lane *lane, int res)
{
	lane->sending = false;
	if (res < 0) {
		lane_die(load, lane, "send", -res);
		return;
	}
	lane->sent -= lane->in_flight - (size_t)res;
	push_lane(lane);
}

static void dispatch(struct load *load, const struct io_uring_cqe *cqe)
{
	struct lane *lane = (struct lane *)(uintptr_t)(cqe->user_data & ~(uint64_t)OP_MASK);

	switch (cqe->user_data & OP_MASK) {
	case OP_RECV:
		finish_recv(load, lane, cqe);
		break;
	case OP_SEND:
		finish_send(load, lane, cqe->res);
		break;
	default:
		load_fail(load, "send", -cqe->res); /* datagrams: only failures are told */
	}
}

static void *map(size_t size)
{
	void *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (start == MAP_FAILED)
		err(1, "mmap");
	return start;
}

static bool open_buffers(const struct load *load)
{
	struct io_uring_buf_reg reg = {.bgid = GROUP};

	buffer_count = is_datagram(load) ? 512 : 128;
	buffer_size = is_datagram(load) ? 2048 : 16 * 1024;
	while (is_datagram(load) && buffer_size < load->options.size + 64)
		buffer_size *= 2;
	buffers = map(buffer_count * sizeof(struct io_uring_buf));
	memory = map((size_t)buffer_count * buffer_size);
	reg.ring_addr = (uintptr_t)buffers;
	reg.ring_entries = buffer_count;
	if (io_uring_register_buf_ring(&ring, &reg, 0) < 0)
		return false;
	io_uring_buf_ring_init(buffers);
	for (unsigned id = 0; id < buffer_count; id++)
		return_buffer(id);
	publish_buffers();
	return true;
}

static bool open_ring(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
			 IORING_SETUP_CQSIZE,
		.cq_entries = CQ_ENTRIES,
	};

	if (io_uring_queue_init_params(SQ_ENTRIES, &ring, &params) < 0)
		return false;
	io_uring_register_ring_fd(&ring);
	return true;
}

static void start_lane(struct load *load, struct lane *lane)
{
	arm_recv(lane);
	if (!is_datagram(load))
		push_lane(lane);
	for (unsigned slot = 0; is_datagram(load) && slot < load->options.depth; slot++)
		send_datagram(load, lane, slot);
}

static void run_turn(struct load *load)
{
	struct __kernel_timespec wait = {.tv_nsec = WAIT_MS * 1000000L};
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;

	if (load->options.spin)
		io_uring_submit_and_get_events(&ring);
	else
		io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &wait, NULL);
	io_uring_for_each_cqe(&ring, head, cqe)
	{
		dispatch(load, cqe);
		count++;
	}
	io_uring_cq_advance(&ring, count);
	publish_buffers();
}

bool run_uring(struct load *load)
{
	if (!open_ring() || !open_buffers(load))
		return false;
	load_start(load);
	for (unsigned i = 0; i < load->options.conns; i++)
		start_lane(load, &load->lanes[i]);
	while (!load_over(load)) {
		run_turn(load);
		load->now_ns = clock_now_ns();
		if (is_datagram(load))
			load_find_lost(load, send_datagram);
	}
	return true;
}
