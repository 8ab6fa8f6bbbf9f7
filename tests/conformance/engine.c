/* The contract of io/io.h: the same tests for every engine. */
#include "harness.h"

#include "io/fault.h"
#include "io/loop.h"
#include "io/ready.h"
#include "io/sim.h"
#include "net/addr.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- an owner of a descriptor, as a connection is one, and the loop it lives on ---- */

#define HELD_MAX 512

struct end {
	struct tni_fd io;
	uint64_t got;   /* bytes of the test stream received, and checked */
	uint64_t given; /* bytes of the test stream put into `out` */
	struct tn_buf out;
	int reads, writes;  /* calls of done() */
	int ended;          /* ends of stream */
	int rd_err, wr_err; /* the last that is neither -ENOBUFS nor -ECANCELED */
	int rd_cancelled, wr_cancelled, nobufs;
	int last_rd, last_wr;
	int at_once; /* submissions of SEND that were done at once */
	bool bad;
	bool raw;  /* what comes is not the test stream */
	bool hold; /* keeps the blocks that come */
	struct tni_blk *held[HELD_MAX];
	int nheld;
	size_t sizes[64]; /* of the first pieces: for message sockets */
	int nsizes;
	int fds[64]; /* accepted */
	int nfds;
};

static struct tn_loop *loop;

static int engine_setup(void **state)
{
	if (th_setup(state) != 0 || tn_loop_new(&loop, th_engine) < 0)
		return -1;
	loop->alive++; /* so that a turn sleeps although no connection lives here */
	return 0;
}

static int engine_teardown(void **state)
{
	uint32_t blocks = loop->mem.small.nout + loop->mem.large.nout, slices = loop->mem.nslices_out;

	loop->alive--;
	tn_loop_free(loop);
	if (blocks || slices)
		print_error("left behind: %u blocks, %u slices\n", blocks, slices);
	return th_teardown(state) != 0 || blocks || slices ? -1 : 0;
}

static void take_bytes(struct end *e, struct tni_blk *blk, int res)
{
	e->bad = e->bad || blk->used != (uint32_t)res || (!e->raw && !th_matches(blk->data, (size_t)res, e->got));
	e->got += (uint64_t)res;
	if (e->nsizes < 64)
		e->sizes[e->nsizes++] = (size_t)res;
	if (e->hold && e->nheld < HELD_MAX)
		e->held[e->nheld++] = blk;
	else
		tni_blk_unref(blk);
}

static void rd_done(struct tni_op *op, int res)
{
	struct end *e = tni_container_of(op, struct end, io.rd);

	e->reads++;
	e->last_rd = res;
	if (res > 0 && op->kind == TNI_OP_RECV)
		take_bytes(e, op->blk, res);
	else if (res >= 0 && op->kind == TNI_OP_ACCEPT)
		e->fds[e->nfds++ % 64] = res;
	else if (res == 0 && op->kind == TNI_OP_RECV)
		e->ended++;
	else if (res == -ENOBUFS)
		e->nobufs++;
	else if (res == -ECANCELED)
		e->rd_cancelled++;
	else if (res < 0)
		e->rd_err = res;
}

static void wr_done(struct tni_op *op, int res)
{
	struct end *e = tni_container_of(op, struct end, io.wr);

	e->writes++;
	e->last_wr = res;
	if (res > 0 && op->kind == TNI_OP_SEND)
		tni_buf_consume(&e->out, (size_t)res);
	else if (res == -ECANCELED)
		e->wr_cancelled++;
	else if (res < 0)
		e->wr_err = res;
}

/* Unix streams are marked by their owners. */
static unsigned kind_flags(int fd)
{
	int family = 0, type = 0;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return 0;
	return family == AF_UNIX && type == SOCK_STREAM ? TNI_FD_UNIX : 0;
}

static void end_init(struct end *e, int fd, unsigned flags)
{
	static const struct tni_fd_done done = {rd_done, wr_done};

	memset(e, 0, sizeof(*e));
	tni_fd_init(&e->io, fd, flags | kind_flags(fd));
	e->io.done = &done;
	tni_buf_init(&e->out, &loop->mem, SIZE_MAX);
}

static struct end *end_new(int fd, unsigned flags)
{
	struct end *e = malloc(sizeof(*e));

	assert_non_null(e);
	end_init(e, fd, flags);
	return e;
}

/* Cancels what is in flight, waits for it as a connection does, and closes. */
static void end_close(struct end *e)
{
	(void)tni_cancel(loop, &e->io, &e->io.rd);
	(void)tni_cancel(loop, &e->io, &e->io.wr);
	th_until(loop, !tni_op_busy(&e->io.rd) && !tni_op_busy(&e->io.wr));
	for (int i = 0; i < e->nheld; i++)
		tni_blk_unref(e->held[i]);
	e->nheld = 0;
	tni_buf_clear(&e->out);
	tni_fd_close(loop, &e->io);
	assert_false(e->bad);
}

/* Receives unless that is under way, is over, or has failed. */
static void keep_receiving(struct end *e)
{
	if (e->io.rd.state == TNI_IDLE && !e->ended && !e->rd_err)
		assert_int_equal(tni_submit(loop, &e->io, &e->io.rd, TNI_OP_RECV), 0);
}

/* Sends what is queued, as far as that goes at once. */
static void keep_sending(struct end *e)
{
	while (e->out.head && e->io.wr.state == TNI_IDLE && !e->wr_err) {
		int rc;

		e->io.wr.buf = &e->out;
		rc = tni_submit(loop, &e->io, &e->io.wr, TNI_OP_SEND);
		assert_true(rc == 0 || rc == TNI_DONE);
		if (rc == TNI_DONE) {
			e->at_once++;
			if (e->io.wr.res < 0)
				e->wr_err = e->io.wr.res;
			else
				tni_buf_consume(&e->out, (size_t)e->io.wr.res);
		}
	}
}

/* A listener as its owners open it: the engines' accept(2) relies on O_NONBLOCK, there is no flag for one call. */
static int listener_new(int backlog, int *port)
{
	int fd = th_tcp_listener(backlog, port);

	th_set_nonblock(fd);
	return fd;
}

static void keep_accepting(struct end *e)
{
	if (e->io.rd.state == TNI_IDLE)
		assert_int_equal(tni_submit(loop, &e->io, &e->io.rd, TNI_OP_ACCEPT), 0);
}

/* Puts the next bytes of the test stream into the queue; `end` makes them a message. */
static void give(struct end *e, size_t len, bool end)
{
	unsigned char *bytes = malloc(len ? len : 1);

	assert_non_null(bytes);
	th_fill(bytes, len, e->given);
	assert_int_equal(tni_buf_append(&e->out, bytes, len, end), 0);
	e->given += len;
	free(bytes);
}

/* Writes the next bytes of the test stream into a raw descriptor that takes them. */
static void write_stream(int fd, size_t len, uint64_t at)
{
	unsigned char *bytes = malloc(len);

	assert_non_null(bytes);
	th_fill(bytes, len, at);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	free(bytes);
}

/* Turns until a condition holds, while receiving goes on whatever the engine says in between. */
#define receive_until(e, cond)                                                     \
	do {                                                                       \
		uint64_t ru_deadline = th_now_ms() + TH_PATIENCE_MS;               \
		while (!(cond)) {                                                  \
			keep_receiving(e);                                         \
			assert_true(tn_loop_step(loop, 5) >= 0);                   \
			th_check_deadline(ru_deadline, #cond, __FILE__, __LINE__); \
		}                                                                  \
	} while (0)

/* The same while another end sends what it has. */
#define exchange_until(from, to, cond)                                             \
	do {                                                                       \
		uint64_t eu_deadline = th_now_ms() + TH_PATIENCE_MS;               \
		while (!(cond)) {                                                  \
			keep_sending(from);                                        \
			keep_receiving(to);                                        \
			assert_true(tn_loop_step(loop, 5) >= 0);                   \
			th_check_deadline(eu_deadline, #cond, __FILE__, __LINE__); \
		}                                                                  \
	} while (0)

/* ---- accept and connect ---- */

static void test_accept_multishot(void **state)
{
	int port, clients[40];
	struct end e;

	(void)state;
	end_init(&e, listener_new(64, &port), 0);
	keep_accepting(&e);
	for (int i = 0; i < 40; i++)
		clients[i] = th_tcp_dial(port);
	while (e.nfds < 40) {
		keep_accepting(&e);
		assert_true(tn_loop_step(loop, 100) >= 0);
	}
	if (!th_is_sim()) { /* sim plays the shortage of descriptors, which ends it */
		assert_int_equal(e.reads, 40);
		assert_true(e.io.rd.more);
		assert_int_equal(e.io.rd.state, TNI_ARMED);
	}
	for (int i = 0; i < 40; i++) {
		assert_true(fcntl(e.fds[i], F_GETFD) & FD_CLOEXEC);
		close(e.fds[i]);
		close(clients[i]);
	}
	end_close(&e);
}

static void test_accept_cancel_and_again(void **state)
{
	int port, client;
	struct end e;

	(void)state;
	end_init(&e, listener_new(64, &port), 0);
	for (int round = 0; round < 20; round++) {
		keep_accepting(&e);
		if (round % 3)
			th_turn_for(loop, 1);
		client = th_tcp_dial(port);
		if (round % 2 == 0) { /* who wins is the engine's business, but somebody accepts it */
			(void)tni_cancel(loop, &e.io, &e.io.rd);
			th_until(loop, !tni_op_busy(&e.io.rd));
		}
		while (e.nfds == round) {
			keep_accepting(&e);
			assert_true(tn_loop_step(loop, 100) >= 0);
		}
		close(e.fds[round]);
		close(client);
	}
	assert_int_equal(e.nfds, 20);
	end_close(&e);
}

/* An engine that does not wait on a non-blocking listener would turn without end. */
static void test_accept_idle(void **state)
{
	int port, client, turns = 0;
	uint64_t deadline, before;
	struct end e;

	(void)state;
	end_init(&e, listener_new(64, &port), 0);
	keep_accepting(&e);
	before = loop->completions;
	for (deadline = th_now_ms() + 100; th_now_ms() < deadline; turns++)
		assert_true(tn_loop_step(loop, 50) >= 0);
	assert_true(turns < 200);
	if (!th_is_sim())
		assert_true(loop->completions - before < 16);
	client = th_tcp_dial(port);
	while (!e.nfds) {
		keep_accepting(&e);
		assert_true(tn_loop_step(loop, 100) >= 0);
	}
	close(client);
	close(e.fds[0]);
	end_close(&e);
}

static int connect_to(struct end *e, const struct tn_addr *addr)
{
	int rc;

	e->io.wr.addr = addr;
	rc = tni_submit(loop, &e->io, &e->io.wr, TNI_OP_CONNECT);
	if (rc == TNI_DONE)
		return e->io.wr.res;
	assert_int_equal(rc, 0);
	th_until(loop, e->writes == 1);
	assert_int_equal(e->io.wr.state, TNI_IDLE);
	return e->last_wr;
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct tn_addr loopback_addr(int port)
{
	struct sockaddr_in in = loopback(port);
	struct tn_addr addr;

	tni_addr_from(&addr, (const struct sockaddr *)&in, sizeof(in));
	return addr;
}

static void test_connect(void **state)
{
	int port, listener = th_tcp_listener(8, &port);
	struct tn_addr addr = loopback_addr(port);
	struct end e;

	(void)state;
	end_init(&e, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), 0);
	assert_int_equal(connect_to(&e, &addr), 0);
	assert_true(e.writes <= 1);
	end_close(&e);
	close(listener);
	end_init(&e, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), 0);
	assert_int_equal(connect_to(&e, &addr), -ECONNREFUSED);
	end_close(&e);
}

static void test_connect_unix(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;
	struct tn_addr addr;
	struct end e[3];

	(void)state;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", th_dir);
	assert_int_equal(tni_addr_unix(&addr, un.sun_path, strlen(un.sun_path)), 0);
	end_init(&e[0], socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), 0);
	assert_int_equal(connect_to(&e[0], &addr), -ENOENT);
	end_close(&e[0]);
	assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(listener, 0), 0);
	for (int i = 0; i < 3; i++) { /* the queue holds one; beyond that no event would tell when to try again */
		end_init(&e[i], socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), 0);
		rc = connect_to(&e[i], &addr);
		assert_int_equal(rc, i ? -EBUSY : 0);
	}
	for (int i = 0; i < 3; i++)
		end_close(&e[i]);
	close(listener);
	unlink(un.sun_path);
}

/* Connections that nobody completes: the listener's queue is full. */
static void test_connect_cancel(void **state)
{
	int port, listener = th_tcp_listener(0, &port), fill[4], rc;
	struct tn_addr addr = loopback_addr(port);
	struct end e;

	(void)state;
	for (int i = 0; i < 4; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(fill[i], tn_addr_sockaddr(&addr), addr.len);
	}
	for (int round = 0; round < 3; round++) {
		end_init(&e, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), 0);
		e.io.wr.addr = &addr;
		rc = tni_submit(loop, &e.io, &e.io.wr, TNI_OP_CONNECT);
		assert_int_equal(rc, 0);
		if (round)
			th_turn_for(loop, 10);
		assert_int_equal(tni_cancel(loop, &e.io, &e.io.wr), TNI_DONE);
		assert_int_equal(e.io.wr.state, TNI_IDLE);
		tni_fd_close(loop, &e.io);
		th_turn_for(loop, 10);
		assert_int_equal(e.writes, 0);
	}
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(listener);
}

/* ---- receiving ---- */

static void test_recv_order_and_end(void **state)
{
	uint64_t at = 0;
	struct end e;
	int pair[2];

	(void)state;
	th_tcp_pair(pair);
	end_init(&e, pair[0], 0);
	keep_receiving(&e);
	for (int i = 0; i < 300; i++) {
		size_t len = (size_t)(i % 7 == 0 ? 3000 : 1 + i % 50);

		write_stream(pair[1], len, at);
		at += len;
		if (i % 5 == 0) {
			keep_receiving(&e);
			assert_true(tn_loop_step(loop, 0) >= 0);
		}
	}
	shutdown(pair[1], SHUT_WR);
	receive_until(&e, e.ended);
	assert_true(e.got == at);
	assert_false(e.io.rd.more);
	assert_int_equal(e.io.rd.state, TNI_IDLE);
	th_turn_for(loop, 10);
	assert_int_equal(e.ended, 1);
	close(pair[1]);
	end_close(&e);
}

static void test_recv_what_was_there_before(void **state)
{
	struct end e;
	int pair[2];

	(void)state;
	for (int round = 0; round < 4; round++) {
		th_pair(SOCK_STREAM, pair);
		if (round)
			write_stream(pair[1], (size_t)round * 1000, 0);
		close(pair[1]);
		end_init(&e, pair[0], 0);
		keep_receiving(&e);
		receive_until(&e, e.ended);
		assert_true(e.got == (uint64_t)round * 1000);
		end_close(&e);
	}
}

static void test_recv_reset(void **state)
{
	struct linger now = {.l_onoff = 1};
	struct end e;
	int pair[2];

	(void)state;
	th_tcp_pair(pair);
	end_init(&e, pair[0], 0);
	keep_receiving(&e);
	th_turn_for(loop, 5);
	setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(pair[1]);
	receive_until(&e, e.rd_err);
	assert_int_equal(e.rd_err, -ECONNRESET);
	assert_int_equal(e.io.rd.state, TNI_IDLE);
	end_close(&e);
}

/* A reset behind bytes that have not been read yet, while somebody waits for bytes and while nobody does. */
static void test_recv_reset_behind_bytes(void **state)
{
	struct linger now = {.l_onoff = 1};
	struct end e;
	int pair[2];

	(void)state;
	for (int paused = 0; paused < 2; paused++) {
		th_tcp_pair(pair);
		end_init(&e, pair[0], 0);
		keep_receiving(&e);
		th_turn_for(loop, 5);
		if (paused) {
			(void)tni_cancel(loop, &e.io, &e.io.rd);
			th_until(loop, !tni_op_busy(&e.io.rd));
		}
		write_stream(pair[1], 10, 0);
		setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(pair[1]);
		if (paused)
			th_turn_for(loop, 5);
		receive_until(&e, e.rd_err);
		assert_int_equal(e.rd_err, -ECONNRESET);
		end_close(&e);
	}
}

/* The same with the end of a stream: a Unix socket tells it only once. */
static void test_recv_end_behind_bytes_after_a_pause(void **state)
{
	struct end e;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	end_init(&e, pair[0], 0);
	keep_receiving(&e);
	th_turn_for(loop, 5);
	(void)tni_cancel(loop, &e.io, &e.io.rd);
	th_until(loop, !tni_op_busy(&e.io.rd));
	write_stream(pair[1], 10, 0);
	close(pair[1]);
	th_turn_for(loop, 5);
	receive_until(&e, e.ended);
	assert_true(e.got == 10);
	end_close(&e);
}

/* An end of stream must be told although our own direction is stuck for good. */
static void test_end_behind_a_stuck_send(void **state)
{
	struct end e;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	end_init(&e, pair[0], 0);
	give(&e, 4 << 20, false);
	keep_receiving(&e);
	keep_sending(&e);
	for (int i = 0; i < 50; i++) {
		keep_receiving(&e);
		keep_sending(&e);
		assert_true(tn_loop_step(loop, 1) >= 0);
	}
	assert_true(tni_op_busy(&e.io.wr));
	write_stream(pair[1], 10, 0);
	shutdown(pair[1], SHUT_WR);
	receive_until(&e, e.ended);
	assert_true(e.got == 10);
	end_close(&e);
	close(pair[1]);
}

/* What a peer has received without reading on: all that is there now. */
static void read_what_is_there(int fd, uint64_t *got)
{
	unsigned char bytes[65536];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		assert_true(th_matches(bytes, (size_t)n, *got));
		*got += (uint64_t)n;
	}
}

/*
 * A send that waits in a ring is the ring's alone, although the stream's reading goes over to readiness meanwhile and
 * hears that the peer has ended: what readiness sent besides would go out twice.
 */
static void test_stuck_send_while_reading_goes_over(void **state)
{
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS, got = 0;
	int pair[2], small = 64 * 1024;
	struct end e;

	(void)state;
	th_tcp_pair(pair);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(pair[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	end_init(&e, pair[0], 0);
	give(&e, 2 << 20, false);
	for (int quiet = 0; quiet < 100;) { /* longer than TCP delays an acknowledgement */
		uint32_t before = e.out.len;

		keep_receiving(&e);
		keep_sending(&e);
		assert_true(tn_loop_step(loop, 1) >= 0);
		quiet = e.out.len == before ? quiet + 1 : 0;
		th_check_deadline(deadline, "it is stuck", __FILE__, __LINE__);
	}
	assert_true(tni_op_busy(&e.io.wr));
	for (int i = 0; i < 8; i++) {
		write_stream(pair[1], 32768, e.got);
		receive_until(&e, e.got == (uint64_t)(i + 1) * 32768);
	}
	if (th_is_uring())
		assert_true(e.io.mode != 0); /* otherwise this has tested nothing */
	(void)tni_cancel(loop, &e.io, &e.io.rd);
	shutdown(pair[1], SHUT_WR);
	th_turn_for(loop, 5);
	while (e.out.head) {
		read_what_is_there(pair[1], &got); /* now both could send */
		keep_sending(&e);
		keep_receiving(&e);
		assert_true(tn_loop_step(loop, 1) >= 0);
		th_check_deadline(deadline, "all is sent", __FILE__, __LINE__);
	}
	receive_until(&e, e.ended);
	end_close(&e);
	while (got < e.given) { /* what the kernel still had to send */
		read_what_is_there(pair[1], &got);
		th_check_deadline(deadline, "all has come", __FILE__, __LINE__);
		usleep(1000);
	}
	assert_true(got == e.given);
	close(pair[1]);
}

/* More blocks held than the ring has buffers: receiving goes on, in order, and recovers when they come back. */
static void test_recv_while_all_buffers_are_held(void **state)
{
	uint64_t at = 0;
	struct end e;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	end_init(&e, pair[0], 0);
	for (int round = 0; round < 2; round++) {
		e.hold = true;
		for (int i = 0; i < 200; i++) {
			write_stream(pair[1], 10, at);
			at += 10;
			receive_until(&e, e.got == at);
		}
		assert_true(e.nheld >= 200);
		for (int i = 0; i < e.nheld; i++)
			tni_blk_unref(e.held[i]);
		e.nheld = 0;
		e.hold = false;
		for (int i = 0; i < 200; i++) {
			write_stream(pair[1], 10, at);
			at += 10;
			receive_until(&e, e.got == at);
		}
	}
	close(pair[1]);
	receive_until(&e, e.ended);
	end_close(&e);
}

/* One that holds everything must not keep the others from theirs. */
static void test_recv_beside_one_that_holds_all(void **state)
{
	struct end greedy, other;
	int a[2], b[2];

	(void)state;
	th_pair(SOCK_STREAM, a);
	th_pair(SOCK_STREAM, b);
	end_init(&greedy, a[0], 0);
	end_init(&other, b[0], 0);
	greedy.hold = true;
	keep_receiving(&other);
	for (int i = 0; i < 150; i++) {
		write_stream(a[1], 1, (uint64_t)i);
		receive_until(&greedy, greedy.got == (uint64_t)i + 1);
	}
	write_stream(b[1], 50000, 0);
	receive_until(&other, other.got == 50000);
	end_close(&greedy);
	write_stream(b[1], 50000, 50000);
	receive_until(&other, other.got == 100000);
	end_close(&other);
	close(a[1]);
	close(b[1]);
}

static void test_one_byte_at_a_time(void **state)
{
	struct end e, f;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	end_init(&e, pair[0], 0);
	end_init(&f, pair[1], 0);
	for (int i = 0; i < 500; i++) {
		give(&e, 1, false);
		keep_sending(&e);
		if (i % 3 == 0)
			exchange_until(&e, &f, f.got > (uint64_t)i / 2);
	}
	while (f.got < 500) {
		keep_sending(&e);
		keep_receiving(&f);
		assert_true(tn_loop_step(loop, 5) >= 0);
	}
	assert_true(f.got == 500);
	end_close(&e);
	end_close(&f);
}

/* ---- sending ---- */

/* Reads what is there from a raw descriptor and checks it. */
static uint64_t read_stream(int fd, uint64_t at, size_t most)
{
	static unsigned char bytes[65536];
	ssize_t n = recv(fd, bytes, most < sizeof(bytes) ? most : sizeof(bytes), MSG_DONTWAIT);

	if (n <= 0)
		return at;
	assert_true(th_matches(bytes, (size_t)n, at));
	return at + (uint64_t)n;
}

static void test_send_partial(void **state)
{
	uint64_t at = 0, deadline = th_now_ms() + TH_PATIENCE_MS;
	struct end e;
	int pair[2];

	(void)state;
	th_tcp_pair(pair);
	end_init(&e, pair[0], 0);
	for (int i = 0; i < 64; i++) /* many pieces of odd sizes */
		give(&e, 65536 + (size_t)i * 100, false);
	while (at < e.given) {
		keep_sending(&e);
		assert_true(tn_loop_step(loop, 0) >= 0);
		at = read_stream(pair[1], at, 20000);
		th_check_deadline(deadline, "all sent", __FILE__, __LINE__);
	}
	assert_null(e.out.head);
	assert_int_equal(e.wr_err, 0);
	close(pair[1]);
	end_close(&e);
}

static void test_send_at_once_and_later(void **state)
{
	uint64_t at = 0;
	struct end e;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	end_init(&e, pair[0], 0);
	for (int i = 0; i < 100; i++) {
		int done_before = e.at_once, writes = e.writes;

		give(&e, 100, false);
		keep_sending(&e);
		/* From inside submit, never. */
		assert_int_equal(e.writes, writes);
		while (e.out.head) {
			assert_true(tn_loop_step(loop, 5) >= 0);
			keep_sending(&e);
		}
		assert_true(e.at_once > done_before || e.writes > writes);
		while (at < e.given)
			at = read_stream(pair[1], at, 100);
	}
	if (th_is_epoll())
		assert_int_equal(e.at_once, 100);
	if (th_is_uring())
		assert_int_equal(e.writes, 100);
	if (th_is_sim())
		assert_true(e.at_once && e.writes);
	close(pair[1]);
	end_close(&e);
}

static void count_sigpipe(int sig);
static volatile sig_atomic_t sigpipes;

static void count_sigpipe(int sig)
{
	(void)sig;
	sigpipes++;
}

/* Nobody reads any more: an error, never a signal. */
static void send_to_nobody(int fd, unsigned flags)
{
	struct end e;

	end_init(&e, fd, flags);
	for (int i = 0; i < 50 && !e.wr_err; i++) {
		give(&e, 1000, false);
		keep_sending(&e);
		assert_true(tn_loop_step(loop, 2) >= 0);
	}
	assert_true(e.wr_err == -EPIPE || e.wr_err == -ECONNRESET);
	end_close(&e);
}

static void test_send_to_nobody(void **state)
{
	void (*old)(int) = signal(SIGPIPE, count_sigpipe);
	int pair[2];

	(void)state;
	sigpipes = 0;
	th_pair(SOCK_STREAM, pair);
	close(pair[1]);
	send_to_nobody(pair[0], 0);
	th_tcp_pair(pair);
	close(pair[1]);
	send_to_nobody(pair[0], 0);
	th_pair(SOCK_SEQPACKET, pair);
	close(pair[1]);
	send_to_nobody(pair[0], TNI_FD_MESSAGES);
	assert_int_equal(pipe2(pair, O_CLOEXEC | O_NONBLOCK), 0);
	close(pair[0]);
	send_to_nobody(pair[1], TNI_FD_FILE);
	signal(SIGPIPE, old);
	assert_int_equal(sigpipes, 0);
}

/* ---- cancelling ---- */

/* Data and a cancellation race, again and again: nothing may be lost, doubled or reported twice. */
static void test_recv_cancel_races(void **state)
{
	uint64_t at = 0;
	struct end e;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	end_init(&e, pair[0], 0);
	for (int i = 0; i < 300; i++) {
		int reads, rc;

		keep_receiving(&e);
		if (i % 4 == 1)
			assert_true(tn_loop_step(loop, 0) >= 0);
		if (i % 3) {
			size_t len = (size_t)(i % 5 == 0 ? 40000 : 100);

			write_stream(pair[1], len, at);
			at += len;
		}
		if (i % 4 == 2)
			assert_true(tn_loop_step(loop, 0) >= 0);
		rc = tni_cancel(loop, &e.io, &e.io.rd);
		reads = e.reads;
		assert_true(rc == TNI_DONE || rc == 0);
		assert_int_equal(e.io.rd.state, rc == TNI_DONE ? TNI_IDLE : TNI_CANCELLING);
		if (rc == 0)
			assert_int_equal(tni_cancel(loop, &e.io, &e.io.rd), 0); /* twice is once */
		th_until(loop, !tni_op_busy(&e.io.rd));
		assert_true(rc == 0 ? e.reads > reads : e.reads == reads);
		if (i % 8 == 0)
			receive_until(&e, e.got == at);
	}
	receive_until(&e, e.got == at);
	close(pair[1]);
	receive_until(&e, e.ended);
	end_close(&e);
}

static void test_send_cancel_races(void **state)
{
	uint64_t at = 0, deadline = th_now_ms() + TH_PATIENCE_MS;
	struct end e;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	end_init(&e, pair[0], 0);
	for (int i = 0; i < 200; i++) {
		int rc, writes;

		if (e.out.len < 600000)
			give(&e, i % 3 ? 5000 : 400000, false);
		keep_sending(&e);
		if (i % 2)
			assert_true(tn_loop_step(loop, 0) >= 0);
		writes = e.writes;
		rc = tni_cancel(loop, &e.io, &e.io.wr);
		th_until(loop, !tni_op_busy(&e.io.wr));
		assert_true(rc == 0 ? e.writes == writes + 1 : e.writes == writes);
		at = read_stream(pair[1], at, 60000);
	}
	while (at < e.given) {
		keep_sending(&e);
		assert_true(tn_loop_step(loop, 0) >= 0);
		at = read_stream(pair[1], at, 60000);
		th_check_deadline(deadline, "all sent", __FILE__, __LINE__);
	}
	assert_int_equal(e.wr_err, 0);
	close(pair[1]);
	end_close(&e);
}

/* An armed operation that nothing completes: cancelled in this turn or a later one, twice over. */
static void cancel_idle(struct end *e, struct tni_op *op, enum tni_op_kind kind, bool at_once)
{
	for (int round = 0; round < 4; round++) {
		int *calls = op == &e->io.rd ? &e->reads : &e->writes, before, rc;

		if (op->state == TNI_IDLE)
			assert_int_equal(tni_submit(loop, &e->io, op, kind), 0);
		assert_int_equal(op->state, TNI_ARMED);
		if (round % 2)
			th_turn_for(loop, 5);
		if (op->state == TNI_IDLE)
			continue; /* sim ran it out of memory */
		before = *calls;
		rc = tni_cancel(loop, &e->io, op);
		if (at_once)
			assert_int_equal(rc, TNI_DONE);
		th_until(loop, !tni_op_busy(op));
		th_turn_for(loop, 3);
		assert_int_equal(*calls, before + (rc == 0));
		if (rc == 0)
			assert_int_equal(op->res, -ECANCELED);
		assert_int_equal(tni_cancel(loop, &e->io, op), TNI_DONE);
	}
}

static void fill_socket(int fd)
{
	static char bytes[65536];

	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void test_cancel_each_kind_idle(void **state)
{
	struct mmsghdr v[1] = {0};
	struct iovec iov;
	char byte;
	struct tni_mmsg mm = {.v = v, .n = 1};
	struct end e;
	int pair[2], port;

	(void)state;
	iov = (struct iovec){.iov_base = &byte, .iov_len = 1};
	v[0].msg_hdr.msg_iov = &iov;
	v[0].msg_hdr.msg_iovlen = 1;
	end_init(&e, listener_new(4, &port), 0);
	cancel_idle(&e, &e.io.rd, TNI_OP_ACCEPT, false);
	end_close(&e);
	th_pair(SOCK_STREAM, pair);
	end_init(&e, pair[0], 0);
	cancel_idle(&e, &e.io.rd, TNI_OP_RECV, false);
	fill_socket(pair[0]);
	cancel_idle(&e, &e.io.wr, TNI_OP_POLL_OUT, true);
	end_close(&e);
	close(pair[1]);
	th_pair(SOCK_STREAM, pair);
	end_init(&e, pair[0], 0);
	cancel_idle(&e, &e.io.rd, TNI_OP_POLL_IN, true);
	fill_socket(pair[0]);
	give(&e, 100, false);
	e.io.wr.buf = &e.out;
	cancel_idle(&e, &e.io.wr, TNI_OP_SEND, false);
	end_close(&e);
	close(pair[1]);
	th_pair(SOCK_DGRAM, pair);
	end_init(&e, pair[0], 0);
	e.io.rd.mm = &mm;
	cancel_idle(&e, &e.io.rd, TNI_OP_RECVMM, false);
	while (send(pair[0], &byte, 1, MSG_DONTWAIT) > 0)
		;
	e.io.wr.mm = &mm;
	cancel_idle(&e, &e.io.wr, TNI_OP_SENDMM, false);
	end_close(&e);
	close(pair[1]);
}

/* ---- letting go ---- */

/* The slot and the descriptor's number are used again at once: what was meant for the old owner finds nobody. */
static void test_release_with_late_events(void **state)
{
	struct end e;
	int pair[2];

	(void)state;
	for (int i = 0; i < 200; i++) {
		th_pair(SOCK_STREAM, pair);
		end_init(&e, pair[0], i % 2 ? 0 : TNI_FD_POLLED);
		assert_int_equal(tni_submit(loop, &e.io, &e.io.rd, i % 4 < 2 ? TNI_OP_RECV : TNI_OP_POLL_IN), 0);
		if (i % 3)
			assert_true(tn_loop_step(loop, 0) >= 0);
		if (i % 5 < 3)
			assert_int_equal(write(pair[1], "\0", 1), 1); /* th_byte(0) */
		if (i % 5 == 1)
			shutdown(pair[1], SHUT_WR);
		(void)tni_cancel(loop, &e.io, &e.io.rd);
		if (tni_op_busy(&e.io.rd))
			th_until(loop, !tni_op_busy(&e.io.rd));
		end_close(&e);
		close(pair[1]);
	}
	th_turn_for(loop, 5);
}

/* The peer must see that we have gone, at once: no request of the engine's may keep the socket open. */
static void test_close_is_seen_by_the_peer(void **state)
{
	struct pollfd p;
	struct end e;
	int pair[2];

	(void)state;
	for (int i = 0; i < 6; i++) {
		uint64_t got = 0, deadline = th_now_ms() + TH_PATIENCE_MS;

		th_tcp_pair(pair);
		end_init(&e, pair[0], i % 3 == 0 ? TNI_FD_POLLED : 0);
		if (i % 3 == 1) { /* bulk, so that a ring switches to readiness */
			write_stream(pair[1], 100000, 0);
			receive_until(&e, e.got == 100000);
			got = 100000;
		}
		keep_receiving(&e);
		th_turn_for(loop, 2);
		write_stream(pair[1], 10, got);
		receive_until(&e, e.got == got + 10);
		end_close(&e);
		p = (struct pollfd){.fd = pair[1], .events = POLLIN | POLLRDHUP};
		while (poll(&p, 1, 1) == 0) {
			assert_true(tn_loop_step(loop, 0) >= 0);
			th_check_deadline(deadline, "the peer's end of file", __FILE__, __LINE__);
		}
		close(pair[1]);
	}
}

static void free_in_done(struct tni_op *op, int res)
{
	struct end *e = op->kind == TNI_OP_SEND ? tni_container_of(op, struct end, io.wr)
						: tni_container_of(op, struct end, io.rd);

	if (res > 0 && op->kind == TNI_OP_RECV)
		tni_blk_unref(op->blk);
	if (op->more)
		return;
	tni_buf_clear(&e->out);
	tni_fd_close(loop, &e->io);
	free(e);
}

/* The last call of done() may be the owner's end. The sanitizer watches. */
static void test_owner_freed_in_done(void **state)
{
	static const struct tni_fd_done frees = {free_in_done, free_in_done};
	struct end *e;
	int pair[2];

	(void)state;
	for (int i = 0; i < 12; i++) {
		th_pair(SOCK_STREAM, pair);
		e = end_new(pair[0], 0);
		e->io.done = &frees;
		if (i % 4 == 3) {
			give(e, 100, false);
			e->io.wr.buf = &e->out;
			if (tni_submit(loop, &e->io, &e->io.wr, TNI_OP_SEND) == TNI_DONE) {
				tni_buf_clear(&e->out);
				tni_fd_close(loop, &e->io);
				free(e);
			}
			th_turn_for(loop, 5);
			close(pair[1]);
			continue;
		}
		assert_int_equal(tni_submit(loop, &e->io, &e->io.rd, TNI_OP_RECV), 0);
		th_turn_for(loop, 2);
		if (i % 4 == 1)
			write_stream(pair[1], 50000, 0);
		if (i % 4 == 2) {
			if (tni_cancel(loop, &e->io, &e->io.rd) == TNI_DONE) {
				tni_fd_close(loop, &e->io);
				free(e);
			}
		}
		close(pair[1]);
		th_turn_for(loop, 5);
	}
	th_turn_for(loop, 30);
}

/* ---- datagrams ---- */

#define BATCH 32

struct batch {
	struct mmsghdr v[BATCH];
	struct iovec iov[BATCH];
	uint64_t data[BATCH];
	struct tni_mmsg mm;
};

static void batch_init(struct batch *b, unsigned n)
{
	memset(b, 0, sizeof(*b));
	for (int i = 0; i < BATCH; i++) {
		b->iov[i] = (struct iovec){.iov_base = &b->data[i], .iov_len = sizeof(b->data[i])};
		b->v[i].msg_hdr.msg_iov = &b->iov[i];
		b->v[i].msg_hdr.msg_iovlen = 1;
	}
	b->mm = (struct tni_mmsg){.v = b->v, .n = n};
}

static uint64_t datagrams_got;
static struct batch *receiving;

static void recvmm_done(struct tni_op *op, int res)
{
	struct end *e = tni_container_of(op, struct end, io.rd);

	e->reads++;
	if (res == -ENOBUFS)
		e->nobufs++;
	else if (res < 0)
		e->rd_err = res;
	for (int i = 0; i < res; i++) {
		e->bad = e->bad || receiving->v[i].msg_len != 8 || receiving->data[i] != datagrams_got;
		datagrams_got++;
	}
}

static const struct tni_fd_done recvmm = {.rd = recvmm_done};

/* Sends the numbers from `from` to `to`, as batches. */
static void send_numbers(struct end *e, struct batch *b, uint64_t from, uint64_t to)
{
	while (from < to) {
		unsigned n = (unsigned)(to - from < BATCH ? to - from : BATCH);
		int writes = e->writes, res;

		batch_init(b, n);
		for (unsigned i = 0; i < n; i++)
			b->data[i] = from + i;
		e->io.wr.mm = &b->mm;
		res = tni_submit(loop, &e->io, &e->io.wr, TNI_OP_SENDMM);
		assert_true(res >= 0);
		if (res == TNI_DONE) {
			res = e->io.wr.res;
		} else {
			th_until(loop, e->writes > writes);
			res = e->last_wr;
		}
		assert_true(res > 0);
		from += (uint64_t)res;
	}
}

static void udp_pair(int pair[2])
{
	struct sockaddr_in addr;
	socklen_t len;

	for (int i = 0; i < 2; i++) {
		addr = loopback(0);
		pair[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(pair[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
	}
	for (int i = 0; i < 2; i++) {
		len = sizeof(addr);
		assert_int_equal(getsockname(pair[1 - i], (struct sockaddr *)&addr, &len), 0);
		assert_int_equal(connect(pair[i], (struct sockaddr *)&addr, len), 0);
	}
}

static void test_datagram_batches(void **state)
{
	struct batch in, out;
	struct end a, b;
	uint64_t sent = 0, deadline = th_now_ms() + TH_PATIENCE_MS;
	int pair[2];

	(void)state;
	datagrams_got = 0;
	receiving = &in;
	udp_pair(pair);
	end_init(&a, pair[0], 0);
	end_init(&b, pair[1], 0);
	batch_init(&in, BATCH);
	b.io.rd.mm = &in.mm;
	b.io.done = &recvmm;
	for (int i = 0; i < 60; i++) {
		unsigned n = i % 3 ? 3 : 100;

		send_numbers(&a, &out, sent, sent + n);
		sent += n;
		while (datagrams_got < sent) {
			if (b.io.rd.state == TNI_IDLE)
				assert_int_equal(tni_submit(loop, &b.io, &b.io.rd, TNI_OP_RECVMM), 0);
			assert_true(tn_loop_step(loop, 5) >= 0);
			th_check_deadline(deadline, "all datagrams", __FILE__, __LINE__);
		}
	}
	assert_int_equal(b.rd_err, 0);
	assert_true(b.io.rd.more || th_is_sim());
	end_close(&a);
	end_close(&b);
}

/* Unconnected Unix datagram sockets have no event for "room again". */
static void test_datagrams_nowait(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = 0;
	struct batch out;
	struct end e;

	(void)state;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", th_dir);
	assert_int_equal(bind(peer, (struct sockaddr *)&un, sizeof(un)), 0);
	end_init(&e, socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), TNI_FD_NOWAIT);
	for (int i = 0; i < 1000 && rc >= 0; i++) {
		int writes = e.writes;

		batch_init(&out, BATCH);
		for (int k = 0; k < BATCH; k++) {
			out.v[k].msg_hdr.msg_name = &un;
			out.v[k].msg_hdr.msg_namelen = sizeof(un);
		}
		e.io.wr.mm = &out.mm;
		rc = tni_submit(loop, &e.io, &e.io.wr, TNI_OP_SENDMM);
		if (rc == 0)
			th_until(loop, e.writes > writes);
		rc = rc == TNI_DONE ? e.io.wr.res : e.last_wr;
	}
	assert_int_equal(rc, -ENOBUFS);
	end_close(&e);
	close(peer);
	unlink(un.sun_path);
}

/* ---- polls, pipes, terminals, files ---- */

static void test_poll_pipe(void **state)
{
	struct end in, out;
	char bytes[4096] = {0};
	int pipes[2];

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(pipes[1], bytes, sizeof(bytes)) > 0)
		;
	end_init(&out, pipes[1], TNI_FD_POLLED);
	end_init(&in, pipes[0], TNI_FD_POLLED);
	assert_int_equal(tni_submit(loop, &out.io, &out.io.wr, TNI_OP_POLL_OUT), 0);
	th_turn_for(loop, 10);
	assert_int_equal(out.writes, 0);
	while (read(pipes[0], bytes, sizeof(bytes)) > 0)
		;
	th_until(loop, out.writes);
	assert_true(out.last_wr & POLLOUT);
	assert_int_equal(out.io.wr.state, TNI_IDLE);
	assert_int_equal(tni_submit(loop, &in.io, &in.io.rd, TNI_OP_POLL_IN), 0);
	th_turn_for(loop, 10);
	assert_int_equal(in.reads, 0);
	for (int i = 0; i < 20; i++) {
		int before = in.reads;

		assert_int_equal(write(pipes[1], "x", 1), 1);
		th_until(loop, in.reads > before);
		assert_true(in.last_rd & POLLIN);
		assert_true(in.io.rd.more);
		while (read(pipes[0], bytes, sizeof(bytes)) > 0)
			;
	}
	end_close(&out);
	th_until(loop, in.last_rd & POLLHUP);
	end_close(&in);
}

static void test_poll_eventfd(void **state)
{
	struct end e;
	uint64_t count;

	(void)state;
	end_init(&e, eventfd(3, EFD_CLOEXEC | EFD_NONBLOCK), TNI_FD_POLLED);
	assert_int_equal(tni_submit(loop, &e.io, &e.io.rd, TNI_OP_POLL_IN), 0);
	for (int i = 0; i < 50; i++) { /* the first event was there before the question */
		int before = e.reads;

		if (i)
			assert_int_equal(eventfd_write(e.io.fd, 3), 0);
		th_until(loop, e.reads > (i ? before : 0));
		assert_int_equal(read(e.io.fd, &count, sizeof(count)), 8);
	}
	assert_int_equal(tni_cancel(loop, &e.io, &e.io.rd), TNI_DONE);
	assert_int_equal(tni_submit(loop, &e.io, &e.io.rd, TNI_OP_POLL_IN), 0); /* a second time over */
	assert_int_equal(eventfd_write(e.io.fd, 1), 0);
	e.reads = 0;
	th_until(loop, e.reads);
	end_close(&e);
}

static void test_pipe_stream(void **state)
{
	struct end in, out;
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;
	int pipes[2];

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	end_init(&in, pipes[0], TNI_FD_FILE);
	end_init(&out, pipes[1], TNI_FD_FILE);
	assert_false(in.io.flags & TNI_FD_ALWAYS);
	give(&out, 700000, false);
	while (out.out.head) {
		keep_sending(&out);
		keep_receiving(&in);
		assert_true(tn_loop_step(loop, 5) >= 0);
		th_check_deadline(deadline, "all written", __FILE__, __LINE__);
	}
	end_close(&out);
	receive_until(&in, in.ended);
	assert_true(in.got == 700000);
	end_close(&in);
}

static void test_terminal(void **state)
{
	int master, slave;
	struct end e;
	char bytes[16];

	(void)state;
	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	fcntl(master, F_SETFD, FD_CLOEXEC);
	th_set_nonblock(slave);
	end_init(&e, slave, TNI_FD_FILE);
	assert_false(e.io.flags & TNI_FD_ALWAYS);
	keep_receiving(&e);
	th_turn_for(loop, 5);
	assert_int_equal(e.reads - e.nobufs, 0);
	/* A terminal hands over lines, so the test stream's bytes would not do. */
	e.hold = e.raw = true;
	assert_int_equal(write(master, "line\n", 5), 5);
	receive_until(&e, e.got >= 5);
	assert_memory_equal(e.held[0]->data, "l", 1);
	assert_int_equal(tni_buf_append(&e.out, "out", 3, false), 0);
	while (e.out.head) {
		keep_sending(&e);
		assert_true(tn_loop_step(loop, 5) >= 0);
	}
	assert_true(read(master, bytes, sizeof(bytes)) > 0);
	close(master);
	receive_until(&e, e.ended);
	end_close(&e);
}

static void test_regular_file(void **state)
{
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;
	char path[128];
	struct end e;

	(void)state;
	snprintf(path, sizeof(path), "%s/file", th_dir);
	end_init(&e, open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), TNI_FD_FILE);
	assert_true(e.io.flags & TNI_FD_ALWAYS);
	give(&e, 300000, false);
	give(&e, 100, false);
	while (e.out.head) {
		keep_sending(&e);
		assert_true(tn_loop_step(loop, 5) >= 0);
		th_check_deadline(deadline, "all written", __FILE__, __LINE__);
	}
	end_close(&e);
	end_init(&e, open(path, O_RDONLY | O_CLOEXEC), TNI_FD_FILE);
	assert_true(e.io.flags & TNI_FD_ALWAYS);
	receive_until(&e, e.ended);
	assert_true(e.got == 300100);
	end_close(&e);
	end_init(&e, open(path, O_RDONLY | O_CLOEXEC), TNI_FD_FILE);
	keep_receiving(&e);
	end_close(&e); /* cancelled before it began */
	unlink(path);
}

static void test_seqpacket(void **state)
{
	static const size_t sizes[] = {1, 100, 16383, 16384, 16385, 65535, 65536, 65537, 100000, 150000, 2};
	size_t n = sizeof(sizes) / sizeof(sizes[0]);
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;
	struct end a, b;
	int pair[2];

	(void)state;
	th_pair(SOCK_SEQPACKET, pair);
	end_init(&a, pair[0], TNI_FD_MESSAGES);
	end_init(&b, pair[1], TNI_FD_MESSAGES);
	for (size_t i = 0; i < n; i++)
		give(&a, sizes[i], true);
	while (b.got < a.given) {
		keep_sending(&a);
		keep_receiving(&b);
		assert_int_equal(a.wr_err, 0);
		assert_true(tn_loop_step(loop, 5) >= 0);
		th_check_deadline(deadline, "all messages", __FILE__, __LINE__);
	}
	assert_int_equal(b.nsizes, (int)n);
	for (size_t i = 0; i < n; i++)
		assert_true(b.sizes[i] == sizes[i]);
	end_close(&a);
	receive_until(&b, b.ended);
	end_close(&b);
}

/* ---- many ---- */

static bool raise_limit(rlim_t fds)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= fds)
		return true;
	limit.rlim_cur = fds < limit.rlim_max ? fds : limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur >= fds;
}

#define MANY 1000

static void all_receive(struct end *ends, uint64_t bytes, int ended)
{
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;
	int done;

	do {
		done = 0;
		for (int i = 0; i < MANY; i++) {
			keep_receiving(&ends[i]);
			done += ends[i].got == bytes && ends[i].ended == ended;
		}
		assert_true(tn_loop_step(loop, 5) >= 0);
		th_check_deadline(deadline, "all have received all", __FILE__, __LINE__);
	} while (done < MANY);
}

/* 2000 descriptors; and more submissions in one turn than the queue of a ring has places. */
static void test_many_descriptors(void **state)
{
	struct end *ends = calloc(MANY, sizeof(*ends)), *peers = calloc(MANY, sizeof(*peers));
	int pair[2];

	(void)state;
	assert_true(ends && peers);
	if (!raise_limit(2 * MANY + 100)) {
		free(ends);
		free(peers);
		print_message("SKIPPED: the limit of descriptors is too low\n");
		skip();
		return; /* skip() does not come back, which the analyser cannot know */
	}
	for (int i = 0; i < MANY; i++) {
		th_pair(SOCK_STREAM, pair);
		end_init(&ends[i], pair[0], 0);
		end_init(&peers[i], pair[1], 0);
	}
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			keep_receiving(&ends[i]);
			give(&peers[i], 100 + (size_t)round, false);
			give(&peers[i], 7, false);
			keep_sending(&peers[i]);
		}
		for (int left = MANY; left;) {
			assert_true(tn_loop_step(loop, 5) >= 0);
			left = 0;
			for (int i = 0; i < MANY; i++) {
				keep_sending(&peers[i]);
				left += peers[i].out.head != NULL;
			}
		}
		all_receive(ends, peers[0].given, 0);
	}
	for (int i = 0; i < MANY; i++)
		shutdown(peers[i].io.fd, SHUT_WR);
	all_receive(ends, peers[0].given, 1);
	for (int i = 0; i < MANY; i++) {
		end_close(&ends[i]);
		end_close(&peers[i]);
	}
	free(ends);
	free(peers);
}

#define FLOOD 6000

static void discard_all(int fd)
{
	static char bytes[65536];

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

/* More completions in one turn than a ring has places for: none may be lost. One socket with many owners will do. */
static void test_completion_flood(void **state)
{
	struct end *ends = calloc(FLOOD, sizeof(*ends)), reader;
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;
	int pair[2], left;

	(void)state;
	assert_non_null(ends);
	th_tcp_pair(pair);
	end_init(&reader, pair[1], 0);
	reader.raw = true;
	for (int i = 0; i < FLOOD; i++) {
		end_init(&ends[i], pair[0], 0);
		/* Who sends first is not said, so all send the same byte. */
		assert_int_equal(tni_buf_append(&ends[i].out, "x", 1, false), 0);
		keep_sending(&ends[i]);
	}
	do {
		assert_true(tn_loop_step(loop, 5) >= 0);
		left = 0;
		for (int i = 0; i < FLOOD; i++) {
			if (!tni_op_busy(&ends[i].io.wr))
				keep_sending(&ends[i]);
			left += tni_op_busy(&ends[i].io.wr) || ends[i].out.head;
		}
		th_check_deadline(deadline, "all sent", __FILE__, __LINE__);
	} while (left);
	receive_until(&reader, reader.got == FLOOD);
	for (int i = 0; i < FLOOD; i++) {
		assert_int_equal(ends[i].wr_err, 0);
		tni_fd_release(loop, &ends[i].io);
	}
	close(pair[0]);
	end_close(&reader);
	free(ends);
}

/* A flood beside multishot requests, which a full completion queue ends early: they must still hear of what comes. */
struct crowd {
	struct end *ends; /* that flood */
	int flood[2];
	struct end stream, watched, dgram, listener;
	int stream_peer, watched_peer, dgram_peer, port;
	struct batch in;
};

static struct crowd *crowd_new(void)
{
	struct crowd *c = calloc(1, sizeof(*c));
	int pair[2];

	assert_non_null(c);
	c->ends = calloc(FLOOD, sizeof(*c->ends));
	assert_non_null(c->ends);
	th_tcp_pair(c->flood);
	for (int i = 0; i < FLOOD; i++)
		end_init(&c->ends[i], c->flood[0], 0);
	th_pair(SOCK_STREAM, pair);
	end_init(&c->stream, pair[0], 0);
	c->stream_peer = pair[1];
	th_pair(SOCK_STREAM, pair);
	end_init(&c->watched, pair[0], TNI_FD_POLLED);
	c->watched_peer = pair[1];
	udp_pair(pair);
	end_init(&c->dgram, pair[0], 0);
	c->dgram_peer = pair[1];
	end_init(&c->listener, listener_new(16, &c->port), 0);
	datagrams_got = 0;
	receiving = &c->in;
	batch_init(&c->in, BATCH);
	c->dgram.io.rd.mm = &c->in.mm;
	c->dgram.io.done = &recvmm;
	return c;
}

static void crowd_free(struct crowd *c)
{
	for (int i = 0; i < FLOOD; i++)
		tni_fd_release(loop, &c->ends[i].io);
	end_close(&c->stream);
	end_close(&c->watched);
	end_close(&c->dgram);
	end_close(&c->listener);
	close(c->stream_peer);
	close(c->watched_peer);
	close(c->dgram_peer);
	close(c->flood[0]);
	close(c->flood[1]);
	free(c->ends);
	free(c);
}

static void crowd_listen(struct crowd *c)
{
	keep_receiving(&c->stream);
	keep_receiving(&c->watched);
	keep_accepting(&c->listener);
	if (c->dgram.io.rd.state == TNI_IDLE)
		assert_int_equal(tni_submit(loop, &c->dgram.io, &c->dgram.io.rd, TNI_OP_RECVMM), 0);
}

/* All in one turn; what the others are to hear of comes when the queue is full already. */
static void crowd_flood(struct crowd *c, uint64_t number)
{
	for (int i = 0; i < FLOOD; i++) {
		assert_int_equal(tni_buf_append(&c->ends[i].out, "x", 1, false), 0);
		keep_sending(&c->ends[i]);
		if (i != FLOOD - 200)
			continue;
		write_stream(c->stream_peer, 10, number * 10);
		write_stream(c->watched_peer, 10, number * 10);
		assert_int_equal(write(c->dgram_peer, &number, sizeof(number)), 8);
	}
}

static void crowd_drain(struct crowd *c)
{
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;

	for (int i = 0; i < FLOOD; i++) {
		while (c->ends[i].out.head) {
			discard_all(c->flood[1]);
			keep_sending(&c->ends[i]);
			assert_true(tn_loop_step(loop, 5) >= 0);
			th_check_deadline(deadline, "all sent", __FILE__, __LINE__);
		}
	}
	discard_all(c->flood[1]);
}

static void test_completion_flood_beside_multishot(void **state)
{
	struct crowd *c = crowd_new();
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;
	int client;

	(void)state;
	for (uint64_t round = 0; round < 3; round++) {
		crowd_listen(c);
		th_turn_for(loop, 5);
		crowd_flood(c, round);
		client = th_tcp_dial(c->port);
		crowd_drain(c);
		while (c->listener.nfds <= (int)round || datagrams_got <= round || c->stream.got < (round + 1) * 10 ||
		       c->watched.got < (round + 1) * 10) {
			crowd_listen(c);
			assert_true(tn_loop_step(loop, 5) >= 0);
			th_check_deadline(deadline, "what came beside the flood", __FILE__, __LINE__);
		}
		close(c->listener.fds[round]);
		close(client);
	}
	crowd_free(c);
}

/* ---- bulk and small by turns ---- */

/* A ring leaves a bulk stream to readiness and takes it back: nothing may be lost, doubled or swapped on the way. */
static void test_bulk_and_small_by_turns(void **state)
{
	struct end in, out;
	bool away = false, back = false;
	int pair[2];

	(void)state;
	th_tcp_pair(pair);
	end_init(&in, pair[0], 0);
	end_init(&out, pair[1], 0);
	for (int phase = 0; phase < 12; phase++) {
		int pieces = phase % 2 ? 80 : 1;

		for (int i = 0; i < pieces; i++) {
			give(&out, phase % 2 ? (size_t)(1 + i * 7) : (size_t)1500000 + (size_t)phase * 4321, false);
			while (in.got < out.given) {
				keep_sending(&out);
				keep_receiving(&in);
				assert_true(tn_loop_step(loop, 5) >= 0);
				assert_false(in.bad);
				away = away || in.io.mode != 0;
				back = back || (away && in.io.mode == 0);
			}
		}
	}
	if (th_is_uring())
		assert_true(away && back); /* otherwise this has tested nothing */
	end_close(&out);
	receive_until(&in, in.ended);
	assert_true(in.got == out.given);
	end_close(&in);
}

/* The same with pauses (cancellations) thrown in, both directions at once. */
static void test_bulk_with_cancellations(void **state)
{
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;
	struct end e[2];
	int pair[2];

	(void)state;
	th_tcp_pair(pair);
	for (int i = 0; i < 2; i++)
		end_init(&e[i], pair[i], 0);
	for (int turn = 0; e[0].got < 3000000 || e[1].got < 3000000; turn++) {
		for (int i = 0; i < 2; i++) {
			if (e[i].given < 3000000 && e[i].out.len < 300000)
				give(&e[i], turn % 64 < 40 ? 3000000 / 20 : 50, false);
			keep_sending(&e[i]);
			if ((turn + i) % 9 == 0)
				(void)tni_cancel(loop, &e[i].io, &e[i].io.rd);
			else
				keep_receiving(&e[i]);
		}
		assert_true(tn_loop_step(loop, 0) >= 0);
		th_check_deadline(deadline, "both have all", __FILE__, __LINE__);
		assert_false(e[0].bad || e[1].bad);
	}
	for (int i = 0; i < 2; i++)
		end_close(&e[i]);
}

/* A stream that somebody made non-blocking: the ring does not wait on those by itself. */
static void test_nonblocking_stream(void **state)
{
	uint64_t deadline, before;
	struct end a, b;
	int pair[2], turns = 0;

	(void)state;
	th_pair(SOCK_STREAM, pair);
	th_set_nonblock(pair[0]);
	end_init(&a, pair[0], 0);
	end_init(&b, pair[1], 0);
	keep_receiving(&a);
	before = loop->completions;
	for (deadline = th_now_ms() + 60; th_now_ms() < deadline; turns++)
		assert_true(tn_loop_step(loop, 30) >= 0);
	assert_true(turns < 100);
	assert_true(th_is_sim() || loop->completions - before < 16);
	give(&a, 2000000, false);
	give(&b, 2000000, false);
	deadline = th_now_ms() + TH_PATIENCE_MS;
	while (a.got < 2000000 || b.got < 2000000) {
		keep_sending(&a);
		keep_sending(&b);
		keep_receiving(&a);
		keep_receiving(&b);
		assert_int_equal(a.wr_err | a.rd_err, 0);
		assert_true(tn_loop_step(loop, 5) >= 0);
		th_check_deadline(deadline, "both have all", __FILE__, __LINE__);
	}
	for (int i = 0; i < 20; i++) {
		give(&b, 10, false);
		exchange_until(&b, &a, a.got == b.given);
	}
	end_close(&b);
	receive_until(&a, a.ended);
	end_close(&a);
}

/* A cancelled send on such a stream ends with -ECANCELED or a result, nothing else. */
static void test_nonblocking_send_cancel(void **state)
{
	struct end e;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	th_set_nonblock(pair[0]);
	end_init(&e, pair[0], 0);
	fill_socket(pair[0]);
	for (int i = 0; i < 20; i++) {
		int rc;

		if (!e.out.head)
			give(&e, 100, false);
		keep_sending(&e);
		if (i % 2)
			assert_true(tn_loop_step(loop, 0) >= 0);
		rc = tni_cancel(loop, &e.io, &e.io.wr);
		assert_true(rc == 0 || rc == TNI_DONE);
		th_until(loop, !tni_op_busy(&e.io.wr));
		assert_int_equal(e.wr_err, 0);
	}
	end_close(&e);
	close(pair[1]);
}

/* ---- the loop ---- */

struct clocked {
	struct tni_timer timer;
	int id;
};

static int fired[128], nfired;

static void note_fired(struct tni_timer *timer)
{
	fired[nfired++] = tni_container_of(timer, struct clocked, timer)->id;
}

static void test_timers(void **state)
{
	static struct clocked t[100];
	uint64_t start = tni_clock_ns();

	(void)state;
	nfired = 0;
	for (int i = 0; i < 100; i++) {
		int id = i * 37 % 100;

		t[id] = (struct clocked){.id = id, .timer.fire = note_fired};
		tni_timer_arm(&loop->timers, &t[id].timer, start + (uint64_t)id * TNI_NS_PER_MS / 2 + 1);
	}
	tni_loop_untimer(loop, &t[50].timer);
	tni_loop_untimer(loop, &t[50].timer);
	while (nfired < 99) /* the loop's own timers run no task, so a step is not over with them */
		assert_true(tn_loop_step(loop, 20) >= 0);
	assert_true(tni_clock_ns() - start >= 99 * TNI_NS_PER_MS / 2);
	for (int i = 0; i < 99; i++)
		assert_int_equal(fired[i], i + (i >= 50));
	assert_true(tni_timers_next(&loop->timers) == TNI_NEVER);
}

static int user_fired;

static void count_fired(void *arg)
{
	user_fired += *(int *)arg;
}

static void test_user_timers(void **state)
{
	struct tn_timer *stopped;
	uint64_t start = th_now_ms();
	int one = 1, big = 1000;

	(void)state;
	user_fired = 0;
	loop->alive--;
	assert_int_equal(tn_timer_start(loop, 30, count_fired, &one, NULL), 0);
	assert_int_equal(tn_timer_start(loop, 0, count_fired, &one, NULL), 0);
	assert_int_equal(tn_timer_start(loop, 5, count_fired, &big, &stopped), 0);
	tn_timer_stop(stopped);
	tn_timer_stop(NULL);
	assert_int_equal(tn_loop_run(loop), 0); /* ends by itself: nothing is left */
	assert_int_equal(user_fired, 2);
	assert_true(th_now_ms() - start >= 29);
	loop->alive++;
	assert_int_equal(tn_timer_start(loop, 5, count_fired, &one, NULL), 0);
	while (user_fired < 3) /* sleeps for as long as it takes: the timer wakes it and gets it back to us */
		assert_true(tn_loop_step(loop, -1) >= 0);
}

#define POSTERS 4
#define POSTS 500

struct poster {
	pthread_t thread;
	int next; /* expected */
	int items[POSTS];
};

static struct poster posters[POSTERS];
static int posted, misordered;

static void take_post(void *arg)
{
	int *item = arg;

	for (int i = 0; i < POSTERS; i++)
		if (item >= posters[i].items && item < posters[i].items + POSTS)
			misordered += *item != posters[i].next++;
	posted++;
}

static void *post_all(void *arg)
{
	struct poster *p = arg;

	for (int i = 0; i < POSTS; i++) {
		p->items[i] = i;
		if (tn_loop_post(loop, take_post, &p->items[i]) < 0)
			return p;
	}
	return NULL;
}

static void test_inbox(void **state)
{
	void *failed;

	(void)state;
	memset(posters, 0, sizeof(posters));
	posted = misordered = 0;
	for (int i = 0; i < POSTERS; i++)
		assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
	while (posted < POSTERS * POSTS)
		assert_true(tn_loop_step(loop, -1) >= 0); /* sleeps for good unless a post wakes it */
	for (int i = 0; i < POSTERS; i++) {
		pthread_join(posters[i].thread, &failed);
		assert_null(failed);
	}
	assert_int_equal(misordered, 0);
}

static void *post_one_later(void *arg)
{
	usleep(20000);
	posters[0].items[0] = 0;
	(void)!tn_loop_post(arg, take_post, &posters[0].items[0]);
	return NULL;
}

static void *stop_later(void *arg)
{
	usleep(20000);
	tn_loop_stop(arg);
	return NULL;
}

static void test_wake_and_stop_from_a_thread(void **state)
{
	pthread_t thread;

	(void)state;
	for (int i = 0; i < 3; i++) {
		memset(posters, 0, sizeof(posters));
		posted = 0;
		assert_int_equal(pthread_create(&thread, NULL, post_one_later, loop), 0);
		while (!posted)
			assert_true(tn_loop_step(loop, -1) >= 0);
		pthread_join(thread, NULL);
		assert_int_equal(pthread_create(&thread, NULL, stop_later, loop), 0);
		assert_int_equal(tn_loop_run(loop), 0);
		pthread_join(thread, NULL);
	}
}

static void never(void *arg)
{
	(void)arg;
}

static void *stop_now(void *arg)
{
	tn_loop_stop(arg);
	return NULL;
}

/* The loop may be freed as soon as it has stopped, though who stopped it is still about to wake it. */
static void test_free_as_soon_as_stopped(void **state)
{
	pthread_t thread;

	(void)state;
	for (int i = 0; i < 50; i++) {
		struct tn_loop *other = th_loop();

		assert_int_equal(tn_timer_start(other, 100000, never, NULL, NULL), 0);
		assert_int_equal(pthread_create(&thread, NULL, stop_now, other), 0);
		assert_int_equal(tn_loop_run(other), 0);
		tn_loop_free(other);
		pthread_join(thread, NULL);
	}
}

static void test_post_is_run_before_free(void **state)
{
	struct tn_loop *other = th_loop();

	(void)state;
	memset(posters, 0, sizeof(posters));
	posted = 0;
	assert_int_equal(tn_loop_post(other, take_post, &posters[0].items[0]), 0);
	tn_loop_free(other);
	assert_int_equal(posted, 1);
}

/* Made by one thread, run by another: what a server with threads does. */
static void *run_elsewhere(void *arg)
{
	return tn_loop_run(arg) == 0 ? NULL : arg;
}

static void stop_from_within(void *arg)
{
	tn_loop_stop(arg);
}

static void test_loop_run_by_another_thread(void **state)
{
	struct tn_loop *other = th_loop();
	pthread_t thread;
	void *failed;

	(void)state;
	assert_int_equal(tn_timer_start(other, 20, stop_from_within, other, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, other), 0);
	pthread_join(thread, &failed);
	assert_null(failed);
	tn_loop_free(other);
}

static void test_spin_on_and_off(void **state)
{
	struct end a, b;
	int pair[2];

	(void)state;
	th_pair(SOCK_STREAM, pair);
	end_init(&a, pair[0], 0);
	end_init(&b, pair[1], 0);
	for (int round = 0; round < 3; round++) {
		loop->spin = (struct tni_spin){.max_ns = round == 0 ? 0 : round * 200 * TNI_NS_PER_US};
		for (int i = 0; i < 100; i++) {
			give(&a, 5, false);
			exchange_until(&a, &b, b.got == a.given);
			give(&b, 5, false);
			exchange_until(&b, &a, a.got == b.given);
		}
	}
	end_close(&a);
	end_close(&b);
}

/* ---- out of descriptors ---- */

/* In a child of its own, whose limits are its own. Returns what it exits with: 0 or a line number. */
static int starve_accept(int listener, int port)
{
	struct rlimit limit = {0};
	struct end e;
	int client, hog, turns;

	if (tn_loop_new(&loop, th_engine) < 0)
		return __LINE__;
	loop->alive++;
	end_init(&e, listener, 0);
	client = th_tcp_dial(port);
	hog = fcntl(client, F_DUPFD_CLOEXEC, 0);
	limit.rlim_cur = limit.rlim_max = (rlim_t)hog + 1; /* no number is left */
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return __LINE__;
	for (int fd = 0; fd < hog; fd++)
		if (fcntl(fd, F_GETFD) < 0 && dup2(client, fd) < 0)
			return __LINE__;
	if (tni_submit(loop, &e.io, &e.io.rd, TNI_OP_ACCEPT) != 0)
		return __LINE__;
	for (turns = 0; !e.rd_err && turns < 1000; turns++)
		tn_loop_step(loop, 5);
	if (e.rd_err != -EMFILE || e.io.rd.state != TNI_IDLE || e.nfds)
		return __LINE__;
	close(hog);
	for (turns = 0; !e.nfds && turns < 1000; turns++) {
		if (e.io.rd.state == TNI_IDLE && tni_submit(loop, &e.io, &e.io.rd, TNI_OP_ACCEPT) != 0)
			return __LINE__;
		tn_loop_step(loop, 5);
	}
	return e.nfds == 1 ? 0 : __LINE__;
}

static void test_accept_out_of_descriptors(void **state)
{
	int port, listener = listener_new(16, &port), status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		int line = starve_accept(listener, port);

		if (line)
			fprintf(stderr, "%s:%d failed in the child\n", __FILE__, line);
		_exit(line != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(listener);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- what only sim can play ---- */

static void test_scripted_failures(void **state)
{
	struct end e;
	int pair[2];

	(void)state;
	if (!th_is_sim())
		skip();
	th_pair(SOCK_STREAM, pair);
	end_init(&e, pair[0], 0);
	tni_sim_fail(loop, TNI_OP_RECV, 1, EIO);
	write_stream(pair[1], 10, 0);
	receive_until(&e, e.rd_err);
	assert_int_equal(e.rd_err, -EIO);
	e.rd_err = 0;
	tni_sim_fail(loop, TNI_OP_SEND, 1, ENETDOWN);
	give(&e, 10, false);
	while (!e.wr_err) {
		keep_sending(&e);
		assert_true(tn_loop_step(loop, 5) >= 0);
	}
	assert_int_equal(e.wr_err, -ENETDOWN);
	receive_until(&e, e.got == 10);
	end_close(&e);
	close(pair[1]);
}

/* What the fault engine is told to make fail fails, when it is told to, and nothing else. */
static void test_faults_strike_what_they_name(void **state)
{
	static const char *const scripts[] = {"recv=ENETDOWN@2", "send=ENETDOWN@2"};
	struct tn_loop *plain = loop;

	(void)state;
	if (!th_is_epoll() && !th_is_uring())
		skip();
	for (int sending = 0; sending < 2; sending++) {
		uint64_t hits = tni_fault_hits();
		char name[64], byte;
		struct end e;
		int pair[2];

		snprintf(name, sizeof(name), "fault:%s:0:%s", th_engine, scripts[sending]);
		assert_int_equal(tn_loop_new(&loop, name), 0);
		th_pair(SOCK_STREAM, pair);
		end_init(&e, pair[0], 0);
		write_stream(pair[1], 1, 0);
		receive_until(&e, e.got == 1);
		for (int i = 0; i < 2; i++) {
			give(&e, 1, false);
			while (e.out.head && !e.wr_err) {
				keep_sending(&e);
				assert_true(tn_loop_step(loop, 5) >= 0);
			}
			assert_int_equal(e.wr_err, sending && i ? -ENETDOWN : 0);
		}
		for (int i = 0; i < 2 - sending; i++)
			assert_int_equal(recv(pair[1], &byte, 1, 0), 1);
		write_stream(pair[1], 1, 1);
		receive_until(&e, e.got == 2 || e.rd_err);
		assert_int_equal(e.rd_err, sending ? 0 : -ENETDOWN);
		assert_int_equal(tni_fault_hits(), hits + 1);
		end_close(&e);
		close(pair[1]);
		tn_loop_free(loop);
		loop = plain;
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, engine_setup, engine_teardown)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(test_accept_multishot),
		T(test_accept_cancel_and_again),
		T(test_accept_idle),
		T(test_accept_out_of_descriptors),
		T(test_connect),
		T(test_connect_unix),
		T(test_connect_cancel),
		T(test_recv_order_and_end),
		T(test_recv_what_was_there_before),
		T(test_recv_reset),
		T(test_recv_reset_behind_bytes),
		T(test_recv_end_behind_bytes_after_a_pause),
		T(test_end_behind_a_stuck_send),
		T(test_stuck_send_while_reading_goes_over),
		T(test_recv_while_all_buffers_are_held),
		T(test_recv_beside_one_that_holds_all),
		T(test_one_byte_at_a_time),
		T(test_send_partial),
		T(test_send_at_once_and_later),
		T(test_send_to_nobody),
		T(test_recv_cancel_races),
		T(test_send_cancel_races),
		T(test_cancel_each_kind_idle),
		T(test_release_with_late_events),
		T(test_close_is_seen_by_the_peer),
		T(test_owner_freed_in_done),
		T(test_datagram_batches),
		T(test_datagrams_nowait),
		T(test_poll_pipe),
		T(test_poll_eventfd),
		T(test_pipe_stream),
		T(test_terminal),
		T(test_regular_file),
		T(test_seqpacket),
		T(test_many_descriptors),
		T(test_completion_flood),
		T(test_completion_flood_beside_multishot),
		T(test_bulk_and_small_by_turns),
		T(test_bulk_with_cancellations),
		T(test_nonblocking_stream),
		T(test_nonblocking_send_cancel),
		T(test_timers),
		T(test_user_timers),
		T(test_inbox),
		T(test_wake_and_stop_from_a_thread),
		T(test_free_as_soon_as_stopped),
		T(test_post_is_run_before_free),
		T(test_loop_run_by_another_thread),
		T(test_spin_on_and_off),
		T(test_scripted_failures),
		T(test_faults_strike_what_they_name),
	};

	return th_main(argc, argv, "engine", tests, sizeof(tests) / sizeof(tests[0]));
}
