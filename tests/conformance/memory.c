/*
 * Shared memory (shm:) with an other side that is not ours: servers that say and send what they should not, clients
 * that write what they like over all of it, processes that are killed at any moment. And what no other scheme has:
 * sleeping and waking between loops, pages that are given back.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/hello.h"
#include "shm/ring.h"

/* ---- our side: a server that echoes, clients that talk to it ---- */

struct world {
	struct tn_loop *loop;
	struct tn_server *server;
	int opens, closes, err; /* the server's connections; how the last one ended */
};

static void served_open(struct tn_conn *conn, void *arg)
{
	struct world *w = arg;

	(void)conn;
	w->opens++;
}

static void served_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	(void)!tn_send(conn, msg->data, msg->len);
}

static void served_close(struct tn_conn *conn, int err, void *arg)
{
	struct world *w = arg;

	(void)conn;
	w->closes++;
	w->err = err;
}

static const struct tn_handler echo = {.on_open = served_open, .on_msg = served_msg, .on_close = served_close};

static void serve(struct world *w, const char *keys)
{
	char url[160];

	*w = (struct world){.loop = th_loop()};
	snprintf(url, sizeof(url), "shm:%s/s%s", th_dir, keys);
	if (tn_serve(w->loop, url, &echo, w, &w->server) < 0)
		fail_msg("%s", tn_errmsg());
}

struct client {
	struct tn_conn *conn;
	int opens, closes, err;
	uint64_t in;
	bool wrong;
	char why[512];
};

static void client_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct client *)arg)->opens++;
}

static void client_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct client *c = arg;

	(void)conn;
	c->wrong |= !th_matches(msg->data, msg->len, c->in);
	c->in += msg->len;
}

static void client_close(struct tn_conn *conn, int err, void *arg)
{
	struct client *c = arg;

	(void)conn;
	c->conn = NULL;
	c->closes++;
	c->err = err;
	snprintf(c->why, sizeof(c->why), "%s", tn_errmsg());
}

static const struct tn_handler client_handler = {
	.on_open = client_open, .on_msg = client_msg, .on_close = client_close};

static void dial(struct tn_loop *loop, struct client *c, const char *keys)
{
	char url[160];

	*c = (struct client){0};
	snprintf(url, sizeof(url), "shm:%s/s%s", th_dir, keys);
	if (tn_dial(loop, url, &client_handler, c, &c->conn) < 0)
		fail_msg("%s", tn_errmsg());
}

static void send_bytes(struct client *c, size_t len)
{
	static unsigned char bytes[200000];

	assert_true(len <= sizeof(bytes));
	th_fill(bytes, len, 0);
	assert_true(tn_send(c->conn, bytes, len) >= 0);
}

/* Whatever happened before, others are served. */
static void check_serves(struct world *w)
{
	struct client c;

	dial(w->loop, &c, "");
	send_bytes(&c, 150000);
	th_until(w->loop, c.in == 150000);
	assert_false(c.wrong);
	tn_close(c.conn);
	th_until(w->loop, c.closes);
	assert_int_equal(c.err, 0);
}

static void end(struct world *w)
{
	tn_server_close(w->server, 0, NULL, NULL);
	tn_loop_free(w->loop);
}

/* ---- a server that is not ours ---- */

static struct sockaddr_un address(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", th_dir);
	return un;
}

static int listener(void)
{
	struct sockaddr_un un = address();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void tell(int sock, const void *data, size_t len, const int *fds, int nfds)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	union {
		char room[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nfds) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, (size_t)nfds * sizeof(int));
	}
	assert_int_equal(sendmsg(sock, &msg, MSG_NOSIGNAL), (ssize_t)len);
}

static int memory_file(unsigned flags, off_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0 && flags) /* no huge pages in this kernel */
		return memory_file(0, size + 1, seals);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	if (seals)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

#define GOOD_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define RING 8192
#define WHOLE (TNI_SHM_RINGS_AT + 2 * RING)

/* What it sends: how many descriptors, of which kind; and what is wrong with the words. */
enum sends { MEMFD, UNSEALED, SHORT, LONG, HUGE_PAGES, READ_ONLY, ORDINARY, PIPE, NOTHING, TWO };

static int made(enum sends kind)
{
	char path[128];
	int fd, pipes[2];

	switch (kind) {
	case UNSEALED:
		return memory_file(0, WHOLE, 0);
	case SHORT:
		return memory_file(0, WHOLE - 4096, GOOD_SEALS);
	case LONG:
		return memory_file(0, WHOLE + 4096, GOOD_SEALS);
	case HUGE_PAGES:
		return memory_file(MFD_HUGETLB, 2 << 20, GOOD_SEALS);
	case READ_ONLY:
		return memory_file(0, WHOLE, GOOD_SEALS | F_SEAL_WRITE);
	case ORDINARY:
		snprintf(path, sizeof(path), "%s/file", th_dir);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		unlink(path);
		assert_int_equal(ftruncate(fd, WHOLE), 0);
		return fd;
	case PIPE:
		assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
		close(pipes[1]);
		return pipes[0];
	default:
		return memory_file(0, WHOLE, GOOD_SEALS);
	}
}

static const struct greeting {
	const char *words; /* of the error */
	enum sends sends;
	size_t len;       /* of the hello; 0: all */
	size_t at, bytes; /* where something else stands in it */
	uint64_t value;
	uint64_t down;
} greetings[] = {
	{"does not serve shm", MEMFD, 0, 0, 1, 'T', RING},
	{"does not serve shm", MEMFD, 3, 0, 0, 0, RING},
	{"version 2", MEMFD, 0, 8, 4, 2, RING},
	{"version 0", MEMFD, 0, 8, 4, 0, RING},
	{"version 2", MEMFD, 12, 8, 4, 2, RING},
	{"version 4294967295", MEMFD, 0, 8, 4, UINT32_MAX, RING},
	{"not whole", MEMFD, 31, 0, 0, 0, RING},
	{"not whole", MEMFD, 10, 0, 0, 0, RING},
	{"not whole", MEMFD, 0, 12, 4, 1, RING},
	{"a size that none can have: 0 bytes", MEMFD, 0, 16, 8, 0, RING},
	{"a size that none can have: 0 bytes", MEMFD, 0, 24, 8, 0, RING},
	{"a size that none can have: 9223372036854775808", MEMFD, 0, 16, 8, UINT64_C(1) << 63, RING},
	{"a size that none can have: 18446744073709551615", MEMFD, 0, 24, 8, UINT64_MAX, RING},
	{"a size that none can have: 2147483648", MEMFD, 0, 16, 8, UINT64_C(1) << 31, RING},
	{"a size that none can have: 5000", MEMFD, 0, 16, 8, 5000, RING},
	{"a size that none can have: 2048", MEMFD, 0, 24, 8, 2048, RING},
	{"20480 bytes, and its hello says 28672", MEMFD, 0, 16, 8, 2 * RING, RING},
	{"not sealed", UNSEALED, 0, 0, 0, 0, RING},
	{"16384 bytes, and its hello says 20480", SHORT, 0, 0, 0, 0, RING},
	{"24576 bytes, and its hello says 20480", LONG, 0, 0, 0, 0, RING},
	{"memory file", HUGE_PAGES, 0, 0, 0, 0, RING},
	{"shared memory", READ_ONLY, 0, 0, 0, 0, RING},
	{"no memory file", ORDINARY, 0, 0, 0, 0, RING},
	{"no memory file", PIPE, 0, 0, 0, 0, RING},
	{"no descriptor", NOTHING, 0, 0, 0, 0, RING},
	{"several descriptors", TWO, 0, 0, 0, 0, RING},
};

static void say(int sock, const struct greeting *g)
{
	struct tni_shm_hello sizes = {.down = g->down, .up = RING};
	unsigned char hello[TNI_SHM_HELLO_LEN];
	int fds[2];

	fds[0] = made(g->sends);
	fds[1] = dup(fds[0]);
	tni_shm_hello_write(&sizes, hello);
	for (size_t i = 0; i < g->bytes; i++)
		hello[g->at + i] = (unsigned char)(g->value >> 8 * i);
	tell(sock, hello, g->len ? g->len : sizeof(hello), fds, g->sends == NOTHING ? 0 : g->sends == TWO ? 2 : 1);
	close(fds[0]);
	close(fds[1]);
}

/* Where /tmp is a tmpfs, an ordinary file has seals too. */
static bool is_ordinary_sealable(void)
{
	int fd = made(ORDINARY);
	bool is = fcntl(fd, F_GET_SEALS) >= 0;

	close(fd);
	return is;
}

/* Each is refused with words, and nothing of it stays. */
static void test_hellos(void **state)
{
	struct tn_loop *loop = th_loop();
	int at = listener();

	(void)state;
	for (size_t i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
		bool sealable = greetings[i].sends == ORDINARY && is_ordinary_sealable();
		const char *words = sealable ? "not sealed" : greetings[i].words;
		struct client c;
		int sock;

		dial(loop, &c, "");
		send_bytes(&c, 100);
		sock = accept4(at, NULL, NULL, SOCK_CLOEXEC);
		assert_true(sock >= 0);
		th_turn_for(loop, 1);
		assert_int_equal(c.opens + c.closes, 0);
		say(sock, &greetings[i]);
		if (greetings[i].len) /* otherwise the rest may follow */
			shutdown(sock, SHUT_WR);
		th_until(loop, c.closes);
		assert_int_equal(c.opens, 0);
		if (!strstr(c.why, words))
			fail_msg("%zu: '%s' does not say '%s'", i, c.why, words);
		close(sock);
	}
	close(at);
	unlink(address().sun_path);
	tn_loop_free(loop);
}

/* A stream keeps no boundaries: another server's hello may come byte by byte, its descriptor with any of them. */
static void test_hellos_in_pieces(void **state)
{
	struct tni_shm_hello sizes = {.down = RING, .up = RING};
	unsigned char hello[TNI_SHM_HELLO_LEN];
	struct tn_loop *loop = th_loop();
	int at = listener(), fds[2];

	(void)state;
	tni_shm_hello_write(&sizes, hello);
	for (size_t with = 0; with <= 33; with += 3) { /* 33: with two of them */
		size_t second = with == 33 ? 20 : with;
		struct client c;
		int sock;

		dial(loop, &c, "");
		sock = accept4(at, NULL, NULL, SOCK_CLOEXEC);
		assert_true(sock >= 0);
		fds[0] = made(MEMFD);
		for (size_t i = 0; i < sizeof(hello); i++) {
			assert_int_equal(c.opens + c.closes, 0);
			tell(sock, hello + i, 1, fds, i == second || (with == 33 && i == 3));
			th_turn_for(loop, i % 8 ? 0 : 1);
		}
		close(fds[0]);
		if (with == 33) {
			th_until(loop, c.closes);
			assert_non_null(strstr(c.why, "several descriptors"));
		} else {
			th_until(loop, c.opens);
			close(sock);
			th_until(loop, c.closes);
		}
		if (with == 33)
			close(sock);
	}
	close(at);
	unlink(address().sun_path);
	tn_loop_free(loop);
}

static void test_servers_that_say_nothing(void **state)
{
	struct tn_loop *loop = th_loop();
	int at = listener(), sock;
	struct client c;

	(void)state;
	dial(loop, &c, "");
	sock = accept4(at, NULL, NULL, SOCK_CLOEXEC);
	close(sock);
	th_until(loop, c.closes);
	assert_int_equal(c.err, -ECONNRESET);
	assert_non_null(strstr(c.why, "before it said anything"));

	dial(loop, &c, "?connect=50ms");
	th_until(loop, c.closes);
	assert_int_equal(c.err, -ETIMEDOUT);

	dial(loop, &c, ""); /* given up before and after the hello has come */
	tn_abort(c.conn, 0);
	th_until(loop, c.closes);
	close(accept4(at, NULL, NULL, SOCK_CLOEXEC)); /* the one before */
	close(accept4(at, NULL, NULL, SOCK_CLOEXEC));
	dial(loop, &c, "");
	sock = accept4(at, NULL, NULL, SOCK_CLOEXEC);
	say(sock, &(struct greeting){.sends = MEMFD, .down = RING});
	tn_abort(c.conn, 0);
	th_until(loop, c.closes);
	close(sock);
	close(at);
	unlink(address().sun_path);
	tn_loop_free(loop);
}

/* ---- a client that is not ours ---- */

struct stranger {
	int sock, fd;
	unsigned char *at;
	size_t len;
	struct tni_ring_shared *shared; /* [0]: to us, [1]: to the server */
	struct tni_ring in, out;
};

static void meet(struct world *w, struct stranger *s)
{
	struct sockaddr_un un = address();
	unsigned char hello[TNI_SHM_HELLO_LEN];
	struct iovec iov = {.iov_base = hello, .iov_len = sizeof(hello)};
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct tni_shm_hello sizes;
	int opens = w->opens;

	s->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(s->sock, (struct sockaddr *)&un, sizeof(un)), 0);
	th_until(w->loop, w->opens > opens);
	assert_int_equal(recvmsg(s->sock, &msg, MSG_CMSG_CLOEXEC), sizeof(hello));
	memcpy(&s->fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	assert_int_equal(tni_shm_hello_read(&sizes, hello, sizeof(hello)), 0);
	s->len = tni_shm_size(&sizes);
	s->at = mmap(NULL, s->len, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	assert_ptr_not_equal(s->at, MAP_FAILED);
	s->shared = (struct tni_ring_shared *)(void *)s->at;
	tni_ring_init(&s->in, &s->shared[0], s->at + TNI_SHM_RINGS_AT, sizes.down);
	tni_ring_init(&s->out, &s->shared[1], s->at + TNI_SHM_RINGS_AT + sizes.down, sizes.up);
}

static void part(struct stranger *s)
{
	munmap(s->at, s->len);
	if (s->fd >= 0)
		close(s->fd);
	if (s->sock >= 0)
		close(s->sock);
}

static void put(struct stranger *s, size_t len)
{
	unsigned char bytes[4096];

	assert_true(len <= sizeof(bytes));
	th_fill(bytes, len, 0);
	assert_true(tni_ring_room(&s->out, len) >= (long)len);
	tni_ring_put(&s->out, bytes, len);
	tni_ring_show(&s->out);
	if (tni_ring_owes_reader(&s->out))
		assert_int_equal(send(s->sock, "", 1, MSG_NOSIGNAL), 1);
}

static bool has_echo(struct stranger *s, size_t len)
{
	unsigned char bytes[4096];

	if (tni_ring_bytes(&s->in) < (long)len)
		return false;
	tni_ring_take(&s->in, bytes, len);
	return th_matches(bytes, len, 0);
}

/* The stranger can be a good one: what the other tests show is not that it cannot speak. */
static void test_a_client_that_is_good(void **state)
{
	struct stranger s;
	struct world w;

	(void)state;
	serve(&w, "?ring=5000");
	meet(&w, &s);
	assert_int_equal(s.in.size, 8192);
	for (int i = 0; i < 50; i++) {
		put(&s, 3000);
		th_until(w.loop, has_echo(&s, 3000));
	}
	tni_ring_end(&s.out, TNI_RING_FINISHED);
	assert_int_equal(send(s.sock, "", 1, MSG_NOSIGNAL), 1);
	th_until(w.loop, tni_ring_ended(&s.in));
	assert_int_equal(tni_ring_ended(&s.in) & TNI_RING_RESET, 0);
	part(&s);
	th_until(w.loop, w.closes);
	assert_int_equal(w.err, 0);
	end(&w);
}

/* It can be neither cut short nor made read-only. */
static void test_seals(void **state)
{
	struct stranger s;
	struct world w;

	(void)state;
	serve(&w, "");
	meet(&w, &s);
	assert_int_equal(ftruncate(s.fd, 0), -1);
	assert_int_equal(ftruncate(s.fd, (off_t)s.len * 2), -1);
	assert_int_equal(fcntl(s.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	put(&s, 100);
	th_until(w.loop, has_echo(&s, 100));
	part(&s);
	th_until(w.loop, w.closes);
	end(&w);
}

/* Its process is gone: what it had written is answered for nobody, and it is no end in good order. */
static void test_a_client_that_dies(void **state)
{
	struct stranger s;
	struct world w;

	(void)state;
	serve(&w, "");
	for (int i = 0; i < 3; i++) {
		meet(&w, &s);
		if (i)
			put(&s, 1000);
		if (i == 2)
			th_turn_for(w.loop, 3);
		part(&s);
		th_until(w.loop, w.closes == i + 1);
		assert_int_equal(w.err, -ECONNRESET);
	}
	meet(&w, &s); /* its descriptor alone: with the memory in hand it can still write */
	close(s.sock);
	s.sock = -1;
	th_until(w.loop, w.closes == 4);
	memset(s.at, 0xff, s.len);
	part(&s);
	check_serves(&w);
	end(&w);
}

static void test_other_things_on_the_socket(void **state)
{
	struct stranger s;
	struct world w;
	int pipes[2];

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	serve(&w, "");
	meet(&w, &s);
	for (int i = 0; i < 20; i++) {
		tell(s.sock, "GET / HTTP/1.1\r\n", 16, pipes, i % 3);
		put(&s, 500);
		th_until(w.loop, has_echo(&s, 500));
	}
	part(&s);
	th_until(w.loop, w.closes);
	close(pipes[0]);
	close(pipes[1]);
	check_serves(&w);
	end(&w);
}

enum lie { TAIL, HEAD, END, FLAGS, ALL_ONES, ALL_ZEROES, HOLE, LIES };

static void tell_lie(struct stranger *s, enum lie lie)
{
	switch (lie) {
	case TAIL:
		atomic_store(&s->shared[1].tail, s->out.own + s->out.size + 1);
		break;
	case HEAD:
		atomic_store(&s->shared[0].head, UINT64_MAX / 2);
		break;
	case END:
		atomic_store(&s->shared[1].end, 0xdeadbeef);
		break;
	case FLAGS:
		for (int i = 0; i < 2; i++) {
			atomic_store(&s->shared[i].wants_bytes, 0xffffffff);
			atomic_store(&s->shared[i].wants_room, 0xffffffff);
		}
		break;
	case ALL_ONES:
		memset(s->at, 0xff, s->len);
		break;
	case ALL_ZEROES:
		memset(s->at, 0, s->len);
		break;
	default:
		(void)fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)s->len);
	}
}

/* What is written over the memory harms its own connection. */
static void test_lies(void **state)
{
	struct stranger s;
	struct world w;

	(void)state;
	serve(&w, "");
	for (int lie = 0; lie < LIES; lie++) {
		for (int i = 0; i < 2; i++) {
			int closes = w.closes;

			meet(&w, &s);
			put(&s, 3000);
			if (i)
				th_until(w.loop, has_echo(&s, 3000));
			tell_lie(&s, (enum lie)lie);
			assert_int_equal(send(s.sock, "", 1, MSG_NOSIGNAL), 1);
			th_turn_for(w.loop, 2);
			part(&s);
			th_until(w.loop, w.closes == closes + 1);
			if (lie == TAIL || (lie == ALL_ONES && i))
				assert_true(w.err == -EPROTO || w.err == -ECONNRESET);
		}
	}
	check_serves(&w);
	end(&w);
}

static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* Any word at any place at any moment, while our side reads and writes. */
static void test_scribbling(void **state)
{
	uint64_t seed = 1;
	struct stranger s;
	struct world w;

	(void)state;
	serve(&w, "?ring=4KiB&queue=16KiB");
	for (int i = 0; i < 60; i++) {
		int closes = w.closes;

		meet(&w, &s);
		put(&s, 2000);
		for (int k = 0; k < 40 && w.closes == closes; k++) {
			uint64_t r = next_random(&seed);
			size_t words = r % 4 ? sizeof(struct tni_ring_shared) * 2 / 8 : s.len / 8;

			((_Atomic(uint64_t) *)(void *)s.at)[(r >> 8) % words] =
				r & 64 ? next_random(&seed) : (r >> 32) % 5000;
			(void)!send(s.sock, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
			assert_true(tn_loop_step(w.loop, 0) >= 0);
		}
		part(&s);
		th_until(w.loop, w.closes == closes + 1);
	}
	check_serves(&w);
	end(&w);
}

/* ---- processes that are killed ---- */

static void talk_for_ever(uint64_t seed)
{
	struct tn_loop *loop = th_loop();
	struct client c;

	dial(loop, &c, "");
	for (;;) {
		size_t len = next_random(&seed) % 4 ? 64 : 100000;

		c.in = 0;
		send_bytes(&c, len);
		while (c.conn && c.in < len)
			if (tn_loop_step(loop, -1) < 0)
				break;
		if (!c.conn)
			_exit(0);
	}
}

/* At any instruction of its own, or of the kernel on its behalf. A thousand: TENON_SHM_KILLS=1000. */
static void test_killed_at_any_moment(void **state)
{
	const char *asked = getenv("TENON_SHM_KILLS");
	int kills = asked ? atoi(asked) : 12;
	uint64_t seed = (uint64_t)getpid();
	struct world w;

	(void)state;
	serve(&w, "?ring=16KiB");
	for (int i = 0; i < kills; i++) {
		uint64_t until = th_now_ms() + next_random(&seed) % 8;
		pid_t parent = getpid(), child = fork();
		int status;

		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == parent)
				talk_for_ever(next_random(&seed));
			_exit(0);
		}
		th_until(w.loop, w.opens == i + 1);
		do {
			assert_true(tn_loop_step(w.loop, 1) >= 0);
		} while (th_now_ms() < until);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status)); /* its server has never let it go */
		th_until(w.loop, w.closes == i + 1);
		assert_int_equal(w.err, -ECONNRESET);
	}
	check_serves(&w);
	end(&w);
}

/* The server dies: its clients hear of it. */
static void test_a_server_that_is_killed(void **state)
{
	struct tn_loop *loop;
	struct client c = {0};
	int ready[2], status;
	pid_t child;

	(void)state;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	child = fork();
	if (child == 0) {
		struct world w;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(&w, "");
		(void)!write(ready[1], "", 1);
		_exit(tn_loop_run(w.loop) < 0);
	}
	assert_int_equal(read(ready[0], &status, 1), 1);
	loop = th_loop();
	dial(loop, &c, "");
	send_bytes(&c, 5000);
	th_until(loop, c.in == 5000);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	th_until(loop, c.closes);
	assert_int_equal(c.err, -ECONNRESET);
	tn_loop_free(loop);
	close(ready[0]);
	close(ready[1]);
	unlink(address().sun_path);
}

/* ---- memory ---- */

static long pages_of(const struct stranger *s)
{
	struct stat st;

	assert_int_equal(fstat(s->fd, &st), 0);
	return (long)st.st_blocks * 512 / sysconf(_SC_PAGESIZE);
}

/* It takes a page while nothing was said, more when something is, and gives it back. */
static void test_pages_come_and_go(void **state)
{
	struct stranger s;
	struct world w;
	long idle, busy;

	(void)state;
	serve(&w, "?ring=256KiB");
	meet(&w, &s);
	idle = pages_of(&s);
	assert_true(idle <= 2);
	put(&s, 4000);
	th_until(w.loop, has_echo(&s, 4000));
	busy = pages_of(&s);
	assert_true(busy > idle);
	th_until(w.loop, pages_of(&s) < busy); /* the server's ring; the other one is the client's to give back */
	assert_true(pages_of(&s) <= idle + 2);
	for (int i = 0; i < 3; i++) {
		put(&s, 4000);
		th_until(w.loop, has_echo(&s, 4000));
	}
	part(&s);
	th_until(w.loop, w.closes);
	end(&w);
}

/* ---- what has been acknowledged ---- */

struct asker {
	struct world w;
	int ends, told, err;
};

static void asked(struct tn_conn *conn, int err, void *arg)
{
	struct asker *a = arg;

	(void)conn;
	a->told++;
	a->err = err;
}

static void ask_open(struct tn_conn *conn, void *arg)
{
	((struct asker *)arg)->w.opens++;
	assert_true(tn_send(conn, "unread", 6) >= 0);
	assert_int_equal(tn_when_sent(conn, TN_SENT_ACKNOWLEDGED, asked, arg), 0);
}

static void ask_end(struct tn_conn *conn, void *arg)
{
	(void)conn;
	((struct asker *)arg)->ends++;
}

static void ask_close(struct tn_conn *conn, int err, void *arg)
{
	served_close(conn, err, &((struct asker *)arg)->w);
}

/* Its peer ends in good order, but has not read: that is no acknowledgement, and will never come. */
static void test_never_acknowledged(void **state)
{
	static const struct tn_handler handler = {.on_open = ask_open, .on_end = ask_end, .on_close = ask_close};
	struct asker a = {.w.loop = th_loop()};
	struct tn_loop *loop = a.w.loop;
	struct stranger s;
	char url[160];

	(void)state;
	snprintf(url, sizeof(url), "shm:%s/s", th_dir);
	assert_int_equal(tn_serve(loop, url, &handler, &a, &a.w.server), 0);
	for (int i = 0; i < 3; i++) {
		meet(&a.w, &s);
		th_turn_for(loop, 5);
		assert_int_equal(a.told, i);
		if (i) { /* it ends its direction first, and goes, or is killed, when nobody reads any more */
			tni_ring_end(&s.out, TNI_RING_FINISHED);
			assert_int_equal(send(s.sock, "", 1, MSG_NOSIGNAL), 1);
			th_until(loop, a.ends == i);
		}
		if (i < 2)
			tni_ring_end(&s.out, TNI_RING_FINISHED | TNI_RING_LEFT);
		part(&s);
		th_until(loop, a.w.closes == i + 1);
		assert_int_equal(a.told, i + 1);
		assert_int_equal(a.err, -ECONNRESET);
		assert_int_equal(a.w.err, -ECONNRESET);
	}
	end(&a.w);
}

/* ---- sleep and wake between loops ---- */

struct player {
	struct tn_loop *loop;
	struct tn_conn *conn;
	int left, closes;
};

static void player_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct player *p = arg;

	if (--p->left > 0)
		assert_true(tn_send(conn, msg->data, msg->len) >= 0);
	else
		tn_close(conn);
}

static void player_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	assert_true(tn_send(conn, "ping", 4) >= 0);
}

static void player_close(struct tn_conn *conn, int err, void *arg)
{
	struct player *p = arg;

	(void)conn;
	assert_int_equal(err, 0);
	p->closes++;
}

static const struct tn_handler player_handler = {
	.on_open = player_open, .on_msg = player_msg, .on_close = player_close};

static void play(struct player *p, int rounds, const char *keys)
{
	char url[160];

	*p = (struct player){.loop = th_loop(), .left = rounds};
	snprintf(url, sizeof(url), "shm:%s/s%s", th_dir, keys);
	assert_int_equal(tn_dial(p->loop, url, &player_handler, p, &p->conn), 0);
}

static void *run_server(void *arg)
{
	struct world *w = arg;

	assert_true(tn_loop_run(w->loop) >= 0);
	end(w);
	return NULL;
}

/* Every message finds the other side asleep, spinning, or about to do either. */
static void test_ping_pong(void **state)
{
	static const char *const keys[] = {"?spin=0&frame=u16", "?spin=20us&frame=u16", "?frame=u16"};

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		pthread_t thread;
		struct player p;
		struct world w;

		serve(&w, keys[i]);
		assert_int_equal(pthread_create(&thread, NULL, run_server, &w), 0);
		play(&p, 1500, keys[i]);
		th_until(p.loop, p.closes);
		tn_loop_free(p.loop);
		tn_loop_stop(w.loop);
		pthread_join(thread, NULL);
	}
}

/* Two ends in one loop, each of which finds something in its memory whenever it looks. */
static void test_sockets_beside_a_lively_memory(void **state)
{
	static const struct tn_handler player = {.on_open = player_open, .on_msg = served_msg};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct pollfd answer = {.events = POLLIN};
	pthread_t thread;
	char url[160];
	struct world w;

	(void)state;
	serve(&w, "?frame=u16&spin=10ms");
	snprintf(url, sizeof(url), "shm:%s/s?frame=u16&spin=10ms", th_dir);
	assert_int_equal(tn_dial(w.loop, url, &player, NULL, NULL), 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/u", th_dir);
	snprintf(url, sizeof(url), "unix:%s", un.sun_path);
	assert_int_equal(tn_serve(w.loop, url, &echo, &w, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, run_server, &w), 0);
	for (int i = 0; i < 200; i++) {
		answer.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(answer.fd, (struct sockaddr *)&un, sizeof(un)), 0);
		assert_int_equal(write(answer.fd, "x", 1), 1);
		assert_int_equal(poll(&answer, 1, TH_PATIENCE_MS), 1);
		close(answer.fd);
	}
	tn_loop_stop(w.loop);
	pthread_join(thread, NULL);
}

static void step_due(struct tn_loop *loop, short revents)
{
	if (revents || tn_loop_timeout_ms(loop) == 0)
		assert_true(tn_loop_step(loop, 0) >= 0);
}

/* Two loops in a third one, which does no more than the rule of tenon.h says. */
static void test_embedded(void **state)
{
	struct player p;
	struct world w;
	struct pollfd fds[2];
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;

	(void)state;
	serve(&w, "?frame=u16");
	play(&p, 500, "?frame=u16");
	fds[0] = (struct pollfd){.fd = tn_loop_fd(w.loop), .events = POLLIN};
	fds[1] = (struct pollfd){.fd = tn_loop_fd(p.loop), .events = POLLIN};
	assert_true(fds[0].fd >= 0 && fds[1].fd >= 0);
	while (!p.closes) {
		int a = tn_loop_timeout_ms(w.loop), b = tn_loop_timeout_ms(p.loop),
		    ms = a < 0 || (b >= 0 && b < a) ? b : a;

		assert_true(poll(fds, 2, ms < 0 || ms > 5000 ? 5000 : ms) >= 0);
		step_due(w.loop, fds[0].revents);
		step_due(p.loop, fds[1].revents);
		th_check_deadline(deadline, "the end of an embedded ping-pong", __FILE__, __LINE__);
	}
	tn_loop_free(p.loop);
	end(&w);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, th_setup, th_teardown)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		T(test_hellos),
		T(test_hellos_in_pieces),
		T(test_servers_that_say_nothing),
		T(test_a_client_that_is_good),
		T(test_seals),
		T(test_a_client_that_dies),
		T(test_other_things_on_the_socket),
		T(test_lies),
		T(test_scribbling),
		T(test_killed_at_any_moment),
		T(test_a_server_that_is_killed),
		T(test_pages_come_and_go),
		T(test_never_acknowledged),
		T(test_ping_pong),
		T(test_sockets_beside_a_lively_memory),
		T(test_embedded),
	};

	return th_main(argc, argv, "memory", tests, sizeof(tests) / sizeof(tests[0]));
}
