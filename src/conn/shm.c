/*
 * Connections through shared memory. They meet on a Unix socket, over which the server sends a hello and one
 * descriptor, that of the memory (src/shm). From then on bytes go through two rings, and the socket says two things
 * only: a byte on it is a wake for a side that sleeps, and its end is the end of the other process. What a byte is does
 * not matter, and descriptors that come with it are closed by the kernel.
 *
 * It is no eventfd that wakes: its flags and its counter belong to both sides, so a peer could make a write to it wait
 * for ever. The socket's other end is never ours to wait for (MSG_DONTWAIT).
 *
 * Pages are asked for before the first byte is written, so that lack of memory is an error and not a signal, and given
 * back when nothing was written for a while.
 */
#include "conn/shm.h"

#include "base/err.h"
#include "conn/pump.h"
#include "io/memory.h"
#include "io/ready.h"
#include "shm/memory.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A ring in which nothing was written for so long needs no memory. */
#define REST_NS (2 * TNI_NS_PER_S)

struct shm {
	struct tni_memory io;
	struct tni_shm_memory memory;
	struct tni_ring in, out;
	struct tn_loop *loop;
	struct tni_timer rest; /* gives back pages */
	uint64_t rested_at;    /* the index of `out` when it was last looked at */
	unsigned slept;        /* what the other side was told we sleep for: TNI_RD, TNI_WR */
	unsigned rung;         /* wakes that have been made, or are about to be, and not read from the socket */
	bool backed;           /* the pages of `out` are there */
	bool gone;             /* the other process is */
};

static struct shm *shm_of_memory(const struct tni_memory *m)
{
	return tni_container_of(m, struct shm, io);
}

/* NULL: it has none yet, or none any more. */
static struct shm *shm_of(const struct tn_conn *c)
{
	return c->io.done ? tni_container_of(tni_container_of(c->io.done, struct tni_memory, done), struct shm, io)
			  : NULL;
}

/* ---- sleep and wake ---- */

/* Without room there for one more, the other side has enough to wake up for. */
static void ring_bell(const struct shm *s)
{
	(void)!send(s->io.fd->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void hear_bells(struct shm *s)
{
	char bytes[64];
	ssize_t n = recv(s->io.fd->fd, bytes, s->rung < sizeof(bytes) ? s->rung : sizeof(bytes), MSG_DONTWAIT);

	if (n > 0)
		s->rung -= (unsigned)n;
}

static void sleep_for(struct tni_memory *m, unsigned want)
{
	struct shm *s = shm_of_memory(m);

	if (want & TNI_RD)
		tni_ring_read_asleep(&s->in);
	if (want & TNI_WR)
		tni_ring_write_asleep(&s->out);
	s->slept = want;
}

static void wake(struct tni_memory *m)
{
	struct shm *s = shm_of_memory(m);

	if (s->slept & TNI_RD)
		s->rung += tni_ring_read_awake(&s->in);
	if (s->slept & TNI_WR)
		s->rung += tni_ring_write_awake(&s->out);
	s->slept = 0;
}

/* What is not wanted is not touched: each cache line that the other side writes costs a trip to its processor. */
static unsigned look(const struct tni_memory *m, unsigned want)
{
	const struct shm *s = shm_of_memory(m);
	unsigned found = want & TNI_RD && tni_ring_has_news(&s->in) ? TNI_RD : 0;

	return want & TNI_WR && tni_ring_has_room(&s->out) ? found | TNI_WR : found;
}

/* ---- bytes ---- */

/* An event on the socket may mean that the other process has ended. */
static bool is_gone(struct shm *s)
{
	struct pollfd p = {.fd = s->io.fd->fd, .events = POLLRDHUP};

	if (!s->gone && s->io.fd->ready & TNI_HUP)
		s->gone = poll(&p, 1, 0) > 0;
	return s->gone;
}

/* Also who leaves and has not read all that it was sent, as on other sockets. */
static bool is_reset(const struct shm *s, unsigned end)
{
	return end & TNI_RING_RESET || (end & TNI_RING_LEFT && tni_ring_unread(&s->out));
}

static int how_it_ended(const struct shm *s, unsigned end)
{
	if (is_reset(s, end))
		return -ECONNRESET;
	return end ? 0 : -EAGAIN;
}

/* Bytes that have come; otherwise 0 at their end, or a negative code. What came before an end is read first. */
static long available(struct shm *s, int *res)
{
	unsigned end = tni_ring_ended(&s->in);
	long n = tni_ring_bytes(&s->in);

	if (n == 0 && !end && is_gone(s)) { /* what it wrote before it went */
		end = tni_ring_ended(&s->in);
		n = tni_ring_bytes(&s->in);
		end |= end ? 0 : TNI_RING_RESET; /* nobody who leaves in good order leaves so */
	}
	*res = n < 0 ? (int)n : n ? 0 : how_it_ended(s, end);
	return n;
}

static int receive(struct tn_loop *loop, struct shm *s, struct tni_op *op)
{
	struct tni_blk *blk;
	int res;
	long n = available(s, &res);

	if (n <= 0)
		return res;
	blk = tni_blk_get(&loop->mem.large);
	if (!blk)
		return -ENOBUFS;
	if (n > (long)blk->cap)
		n = (long)blk->cap;
	if (loop->limit && n > (long)loop->limit)
		n = (long)loop->limit;
	tni_ring_take(&s->in, blk->data, (size_t)n);
	if (tni_ring_owes_writer(&s->in))
		ring_bell(s);
	blk->used = (uint32_t)n;
	op->blk = blk;
	return (int)n;
}

static int back(struct shm *s)
{
	int rc = tni_shm_pages_get(&s->out);

	if (rc < 0)
		return rc;
	s->backed = true;
	s->rested_at = s->out.own;
	tni_loop_timer(s->loop, &s->rest, REST_NS);
	return 0;
}

/* Nothing was written since the last look, and all that was has been read. */
static void rest(struct tni_timer *timer)
{
	struct shm *s = tni_container_of(timer, struct shm, rest);

	if (s->rested_at == s->out.own && tni_ring_room(&s->out, s->out.size) == (long)s->out.size) {
		tni_shm_pages_drop(&s->out);
		s->backed = false;
		return;
	}
	s->rested_at = s->out.own;
	tni_loop_timer(s->loop, &s->rest, REST_NS);
}

/* As much of the queue as there is room for. */
static size_t put(const struct tn_loop *loop, struct shm *s, const struct tn_buf *buf, size_t room)
{
	size_t done = 0;

	if (loop->limit && room > loop->limit)
		room = loop->limit;
	for (const struct tni_slice *slice = buf->head; slice && done < room; slice = slice->next) {
		size_t n = slice->len < room - done ? slice->len : room - done;

		tni_ring_put(&s->out, slice->data, n);
		done += n;
	}
	tni_ring_show(&s->out);
	return done;
}

static int transmit(const struct tn_loop *loop, struct shm *s, const struct tni_op *op)
{
	unsigned end = tni_ring_ended(&s->in);
	long room;
	int rc;

	if (end & TNI_RING_RESET)
		return -ECONNRESET;
	if (end & TNI_RING_LEFT || is_gone(s))
		return -EPIPE;
	rc = s->backed ? 0 : back(s);
	if (rc < 0)
		return rc;
	room = tni_ring_room(&s->out, op->buf->len);
	if (room <= 0)
		return room < 0 ? (int)room : -EAGAIN;
	room = (long)put(loop, s, op->buf, (size_t)room);
	if (tni_ring_owes_reader(&s->out))
		ring_bell(s);
	return (int)room;
}

static int attempt(struct tn_loop *loop, struct tni_memory *m, struct tni_op *op)
{
	struct shm *s = shm_of_memory(m);

	if (s->rung)
		hear_bells(s);
	if (op->kind == TNI_OP_RECV)
		return receive(loop, s, op);
	return op->kind == TNI_OP_SEND ? transmit(loop, s, op) : -EINVAL;
}

/* ---- the beginning ---- */

static struct shm *shm_new(struct tn_loop *loop)
{
	static const struct tni_memory_ops ops = {.attempt = attempt, .look = look, .sleep = sleep_for, .wake = wake};
	struct shm *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->io.ops = &ops;
	s->loop = loop;
	s->rest.fire = rest;
	tni_list_init(&s->io.node);
	return s;
}

static void shm_free(struct shm *s)
{
	tni_list_del(&s->io.node);
	tni_loop_untimer(s->loop, &s->rest);
	tni_shm_memory_free(&s->memory);
	free(s);
}

/* The socket is a new one, so this does not wait. */
static int send_hello(int sock, const struct tni_shm_hello *sizes, int memory)
{
	unsigned char hello[TNI_SHM_HELLO_LEN];
	struct iovec iov = {.iov_base = hello, .iov_len = sizeof(hello)};
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	tni_shm_hello_write(sizes, hello);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &memory, sizeof(memory));
	do
		n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	/* A client that has gone already is told of like any that goes. */
	return n >= 0 || errno == EPIPE || errno == ECONNRESET
		       ? 0
		       : tni_err(-errno, "the hello of shm: %s", tn_strerror(-errno));
}

static int make(struct shm *s, int sock, uint32_t ring)
{
	struct tni_shm_hello sizes = {.down = ring, .up = ring};
	struct stat st = {0};
	int fd, rc;

	(void)fstat(sock, &st);
	rc = tni_shm_memory_make(&s->memory, &sizes, st.st_ino, &fd);

	if (rc < 0)
		return rc;
	rc = send_hello(sock, &sizes, fd);
	close(fd);
	return rc;
}

/* The server makes the memory; a client's was taken by tni_shm_greeted(). */
int tni_shm_open(struct tn_conn *c, int fd, const struct tni_fd_done *done)
{
	struct shm *s = shm_of(c);
	bool server = !s;
	int rc = 0;

	if (server) {
		s = shm_new(c->loop);
		rc = s ? make(s, fd, c->ep->ring) : tni_err(-ENOMEM, "%s", tn_strerror(-ENOMEM));
	}
	if (rc < 0) {
		if (s)
			shm_free(s);
		return rc;
	}
	tni_shm_memory_rings(&s->memory, server, &s->in, &s->out);
	tni_fd_init(&c->io, fd, TNI_FD_MEMORY | TNI_FD_POLLED);
	s->io.fd = &c->io;
	s->io.done = *done;
	c->io.done = &s->io.done;
	return 0;
}

/* What has come of a hello, which may come in pieces: bytes and descriptors. */
struct greeting {
	unsigned char data[TNI_SHM_HELLO_LEN];
	size_t len;
	int fd, descriptors; /* the first one, and how many there were: the others are closed */
	bool cut;            /* there were more than there was room for */
};

static void take_descriptors(struct greeting *g, struct msghdr *msg)
{
	int fd;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof(fd) <= cmsg->cmsg_len; at += sizeof(fd)) {
			memcpy(&fd, (unsigned char *)cmsg + at, sizeof(fd));
			if (g->descriptors++)
				close(fd);
			else
				g->fd = fd;
		}
	}
	g->cut = g->cut || msg->msg_flags & MSG_CTRUNC;
}

/* One piece: a message with descriptors ends one. > 0, 0 at the end, or -errno. */
static int take_piece(struct greeting *g, int sock)
{
	struct iovec iov = {.iov_base = g->data + g->len, .iov_len = sizeof(g->data) - g->len};
	union {
		char room[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	take_descriptors(g, &msg);
	g->len += (size_t)n;
	return (int)n;
}

/* Whether there is more to wait for before anything is taken: what has come can be the beginning of a hello, and the
 * server has not ended. */
static bool is_begun(int sock)
{
	unsigned char data[TNI_SHM_HELLO_LEN];
	struct pollfd p = {.fd = sock, .events = POLLRDHUP};
	int queued = 0;
	ssize_t n;

	if (poll(&p, 1, 0) != 0 || ioctl(sock, SIOCINQ, &queued) < 0 || queued >= TNI_SHM_HELLO_LEN)
		return false;
	n = recv(sock, data, sizeof(data), MSG_PEEK | MSG_DONTWAIT);
	return n > 0 && tni_shm_hello_begins(data, (size_t)n);
}

/* What came is looked at before anything of it is used. */
static int check(struct shm *s, const struct greeting *g)
{
	struct tni_shm_hello hello;
	int rc = tni_shm_hello_read(&hello, g->data, g->len);

	if (rc < 0)
		return rc;
	if (g->descriptors != 1 || g->cut)
		return tni_err(-EPROTO, "the server's hello of shm: came with %s",
			       g->descriptors ? "several descriptors" : "no descriptor");
	return tni_shm_memory_take(&s->memory, &hello, g->fd);
}

static int greet(struct shm *s, int sock)
{
	struct greeting g = {.fd = -1};
	int rc;

	do
		rc = take_piece(&g, sock);
	while (rc > 0 && g.len < sizeof(g.data));
	if (!g.len && rc < 0)
		rc = rc == -EAGAIN ? rc : tni_err(rc, "the server's hello of shm: %s", tn_strerror(rc));
	else if (!g.len)
		rc = tni_err(-ECONNRESET, "the server has ended the connection before it said anything");
	else
		rc = check(s, &g);
	if (g.fd >= 0)
		close(g.fd);
	return rc;
}

int tni_shm_greeted(int sock, void *arg)
{
	struct tn_conn *c = arg;
	struct shm *s;
	int rc;

	if (is_begun(sock))
		return -EAGAIN;
	s = shm_new(c->loop);
	rc = s ? greet(s, sock) : tni_err(-ENOMEM, "out of memory");
	if (rc < 0) {
		if (s)
			shm_free(s);
		return rc;
	}
	c->io.done = &s->io.done; /* for open_memory() */
	return 0;
}

/* ---- the end ---- */

static void end(const struct tn_conn *c, enum tni_ring_end how)
{
	struct shm *s = shm_of(c);

	if (!s || !s->out.shared)
		return;
	tni_ring_end(&s->out, how);
	if (tni_ring_owes_reader(&s->out))
		ring_bell(s);
}

void tni_shm_shut(struct tn_conn *c)
{
	end(c, TNI_RING_FINISHED);
}

void tni_shm_reset(const struct tn_conn *c)
{
	end(c, TNI_RING_RESET);
}

/* That the socket is closed wakes the other side. */
void tni_shm_leave(struct tn_conn *c)
{
	struct shm *s = shm_of(c);

	if (!s)
		return;
	if (s->out.shared)
		tni_ring_end(&s->out, TNI_RING_FINISHED | TNI_RING_LEFT);
	c->io.done = NULL;
	shm_free(s);
}

size_t tni_shm_unsent(const struct tn_conn *c)
{
	const struct shm *s = shm_of(c);

	return s && s->out.shared && !s->gone ? tni_ring_unread(&s->out) : 0;
}

int tni_shm_error(const struct tn_conn *c)
{
	const struct shm *s = shm_of(c);
	struct pollfd p = {.fd = c->io.fd, .events = POLLRDHUP};
	unsigned end;

	if (!s || !s->in.shared)
		return 0;
	end = tni_ring_ended(&s->in);
	if (!(end & TNI_RING_LEFT) && poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP))
		end = tni_ring_ended(&s->in) | TNI_RING_LEFT;
	return is_reset(s, end) ? -ECONNRESET : 0;
}

bool tni_shm_has_unread(const struct tn_conn *c)
{
	const struct shm *s = shm_of(c);

	return s && s->in.shared && tni_ring_has_bytes(&s->in);
}
