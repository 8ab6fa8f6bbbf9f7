/*
 * The public header alone, the same for every URL scheme: a scheme is one row of a table below, a test is another.
 * Every test runs on every row that has what it needs.
 */
#include "harness.h"
#ifdef TNI_HAVE_TLS
#include "../support/certs.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the rows ---- */

enum trait {
	STREAM = 1,  /* bytes in order, without bounds */
	PACKETS = 2, /* connected, and keeps messages whole */
	DGRAM = 4,
	RESETS = 8,     /* tn_abort() is a reset at the peer */
	PATH = 16,      /* leaves a file */
	MANY = 32,      /* takes more than one connection */
	PORT = 64,      /* an address with a port */
	URL = 128,      /* the URL says it all: it can be served again, and by others */
	LOCAL = 256,    /* Unix sockets: no receive buffer to be set, messages beyond 64 KiB */
	TLS = 512,      /* both sides show a certificate and check the other's */
	BELOW = 1024,   /* below the transports: takes privileges, and a network of its own: nobody is refused there */
	APART = 2048,   /* several clients at one address are told apart, and nobody there is told */
	EMPTY = 4096,   /* datagrams of no bytes */
	WEB = 16384,    /* WebSocket: messages over a stream */
	MEMORY = 32768, /* through shared memory: the end of its socket is that of the other process */
	LOSSY = 8192,   /* connections over datagrams: short messages, of which some may not arrive */
	CONNECTED = STREAM | PACKETS,
};

struct rig;

struct row {
	const char *name;
	unsigned traits; /* enum trait */
	int family;
	const char *url; /* to serve; %s is the test's directory */
	/* Rows that are more than a URL: puts what to serve and to dial. */
	void (*prepare)(struct rig *rig);
};

static void prepare_inherited_tcp(struct rig *rig);
static void prepare_inherited_udp(struct rig *rig);
static void prepare_pair(struct rig *rig);
__attribute__((unused)) static void prepare_joined(struct rig *rig);
/* Nobody wants it in a build without raw */
__attribute__((unused)) static void prepare_own_network(struct rig *rig);

static const struct row rows[] = {
	{"tcp", STREAM | RESETS | MANY | PORT | URL, AF_INET, "tcp://127.0.0.1:0", NULL},
	{"tcp4", STREAM | RESETS | MANY | PORT | URL, AF_INET, "tcp4://localhost:0", NULL},
	{"tcp6", STREAM | RESETS | MANY | PORT | URL, AF_INET6, "tcp6://[::1]:0", NULL},
	{"mptcp", STREAM | MANY | PORT | URL, AF_INET, "mptcp://127.0.0.1:0", NULL},
	{"unix", STREAM | PATH | MANY | URL | LOCAL, AF_UNIX, "unix:%s/s", NULL},
	{"unix-abstract", STREAM | MANY | URL | LOCAL, AF_UNIX, "unix:@%s/s", NULL},
	{"unix-seqpacket", PACKETS | PATH | MANY | URL | LOCAL, AF_UNIX, "unix-seqpacket:%s/s", NULL},
	{"unix-seqpacket-abstract", PACKETS | MANY | URL | LOCAL, AF_UNIX, "unix-seqpacket:@%s/s", NULL},
#ifdef TNI_HAVE_SHM
	{"shm", MEMORY | STREAM | RESETS | PATH | MANY | URL | LOCAL, AF_UNIX, "shm:%s/s", NULL},
	{"shm-abstract", MEMORY | STREAM | RESETS | MANY | URL | LOCAL, AF_UNIX, "shm:@%s/s", NULL},
#endif
#ifdef TNI_HAVE_TLS
	{"tls", STREAM | RESETS | MANY | PORT | URL | TLS, AF_INET, "tls://127.0.0.1:0", NULL},
	{"tls6", STREAM | RESETS | MANY | PORT | URL | TLS, AF_INET6, "tls6://[::1]:0", NULL},
	{"tls+mptcp", STREAM | MANY | PORT | URL | TLS, AF_INET, "tls+mptcp://127.0.0.1:0", NULL},
	{"tls+unix", STREAM | PATH | MANY | URL | LOCAL | TLS, AF_UNIX, "tls+unix:%s/s", NULL},
	{"tls+unix-abstract", STREAM | MANY | URL | LOCAL | TLS, AF_UNIX, "tls+unix:@%s/s", NULL},
#ifdef TNI_HAVE_SHM
	{"tls+shm", MEMORY | STREAM | RESETS | PATH | MANY | URL | LOCAL | TLS, AF_UNIX, "tls+shm:%s/s", NULL},
#endif
	{"ws", WEB | PACKETS | RESETS | MANY | PORT | URL, AF_INET, "ws://127.0.0.1:0/chat", NULL},
	{"ws+unix", WEB | PACKETS | PATH | MANY | URL | LOCAL, AF_UNIX, "ws+unix:%s/s", NULL},
	{"wss", WEB | PACKETS | RESETS | MANY | PORT | URL | TLS, AF_INET, "wss://127.0.0.1:0/chat", NULL},
	{"dtls", PACKETS | MANY | PORT | URL | TLS | LOSSY, AF_INET, "dtls://127.0.0.1:0", NULL},
	{"dtls6", PACKETS | MANY | PORT | URL | TLS | LOSSY, AF_INET6, "dtls6://[::1]:0", NULL},
#endif
	{"udp", DGRAM | APART | EMPTY | PORT | URL, AF_INET, "udp://127.0.0.1:0", NULL},
	{"udp6", DGRAM | APART | EMPTY | PORT | URL, AF_INET6, "udp6://[::1]:0", NULL},
#ifdef TNI_HAVE_SEGMENTS
	{"udp-joined", DGRAM | APART | EMPTY | PORT, AF_INET, "udp://127.0.0.1:0", prepare_joined},
#ifdef TNI_HAVE_TLS
	{"dtls-joined", PACKETS | MANY | PORT | TLS | LOSSY, AF_INET, "dtls://127.0.0.1:0", prepare_joined},
#endif
#endif
	{"unix-dgram", DGRAM | APART | EMPTY | PATH | URL | LOCAL, AF_UNIX, "unix-dgram:%s/s", NULL},
	{"unix-dgram-abstract", DGRAM | APART | EMPTY | URL | LOCAL, AF_UNIX, "unix-dgram:@%s/s", NULL},
	{"fd-listener", STREAM | RESETS | MANY, AF_INET, NULL, prepare_inherited_tcp},
	{"fd-udp", DGRAM | APART | EMPTY, AF_INET, NULL, prepare_inherited_udp},
	{"fd-pair", STREAM | LOCAL, AF_UNIX, NULL, prepare_pair},
#ifdef TNI_HAVE_RAW
	{"raw", DGRAM | EMPTY | BELOW, AF_INET, "raw://127.0.0.1?proto=253", prepare_own_network},
	{"raw6", DGRAM | EMPTY | BELOW, AF_INET6, "raw6://[::1]?proto=253", prepare_own_network},
	{"packet", DGRAM | BELOW, AF_PACKET, "packet:lo?proto=0x88b5", prepare_own_network},
#endif
};

/* Both sides of a row with prepare_joined */
#define JOINED "gso=on&gro=on"

/* ---- a rig: one server and those who dial it ---- */

struct side;

/* What one side does when something happens. Each may be NULL. */
struct play {
	void (*on_open)(struct side *side);
	void (*on_msg)(struct side *side, const struct tn_msg *msg);
	void (*on_drain)(struct side *side);
	void (*on_end)(struct side *side); /* NULL: the handler has none, the library closes */
	void (*on_close)(struct side *side);
};

/* One end of a connection, and all that was told of it. It outlives the connection. */
struct side {
	struct rig *rig;
	const struct play *play;
	struct tn_conn *conn; /* NULL once closed */
	int opens, msgs, drains, ends, closes, err;
	bool bad;       /* something came out of order, or a wrong byte */
	bool unchecked; /* what comes is not the test stream */
	uint64_t in;    /* bytes received */
	uint64_t out;   /* bytes of the test stream queued */
	uint64_t goal;  /* to be queued in all: see push() */
	size_t piece;   /* bytes of each message of push() */
	size_t last_len;
	bool finish;    /* ends its direction at the goal */
	int full, mark; /* answers TN_EFULL and 1 */
	size_t most_queued;
};

#define SERVED_MAX 512
#define URL_MAX 512

struct rig {
	const struct row *row;
	struct tn_loop *loop;
	struct tn_server *server;
	char serve_url[URL_MAX], dial_url[URL_MAX];
	const struct play *play; /* of the served side */
	struct side served[SERVED_MAX];
	int nserved;
	int done;      /* calls of tn_server_close()'s */
	int refused;   /* that its observer was told of */
	bool leaky;    /* more is sent than arrives */
	int inherited; /* the far end of a row's pair, until it is dialled; otherwise -1 */
};

static void note_queue(struct side *s)
{
	size_t queued = tn_conn_queued(s->conn);

	if (queued > s->most_queued)
		s->most_queued = queued;
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct side *s = tn_conn_data(conn);

	if (!s) { /* served: its side is made now */
		struct rig *rig = arg;

		s = &rig->served[rig->nserved++ % SERVED_MAX];
		*s = (struct side){.rig = rig, .play = rig->play, .conn = conn};
		tn_conn_set_data(conn, s);
	}
	s->bad = s->bad || s->opens || s->msgs || s->ends || s->closes;
	s->opens++;
	if (s->play->on_open)
		s->play->on_open(s);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	s->bad = s->bad || s->opens != 1 || s->ends || s->closes;
	s->bad = s->bad || (!s->unchecked && !s->rig->leaky && !th_matches(msg->data, msg->len, s->in));
	s->msgs++;
	s->in += msg->len;
	s->last_len = msg->len;
	if (s->play->on_msg)
		s->play->on_msg(s, msg);
	if (s->conn)
		note_queue(s);
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	s->bad = s->bad || s->opens != 1 || s->closes;
	s->drains++;
	if (s->play->on_drain)
		s->play->on_drain(s);
}

static void on_end(struct tn_conn *conn, void *arg)
{
	struct side *s = tn_conn_data(conn);

	(void)arg;
	s->bad = s->bad || s->opens != 1 || s->ends || s->closes;
	s->ends++;
	s->play->on_end(s);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct side *s = tn_conn_data(conn);
	struct tn_conn_info info;

	(void)arg;
	s->bad = s->bad || s->closes || s->conn != conn;
	s->closes++;
	s->err = err;
	tn_conn_info(conn, &info); /* allowed here */
	s->bad = s->bad || (s->opens && (info.msgs_in != (uint64_t)s->msgs || info.bytes_in < s->in));
	if (s->play->on_close)
		s->play->on_close(s);
	s->conn = NULL;
}

static struct tn_handler handler_for(const struct play *play)
{
	return (struct tn_handler){.on_open = on_open,
				   .on_msg = on_msg,
				   .on_drain = on_drain,
				   .on_end = play->on_end ? on_end : NULL,
				   .on_close = on_close};
}

static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	struct rig *rig = arg;

	(void)server;
	assert_non_null(text);
	rig->refused += err == TN_ELIMIT; /* sim also plays a shortage of descriptors */
}

static void server_done(void *arg)
{
	((struct rig *)arg)->done++;
}

static const char *with_keys(const char *url, const char *keys, char *out, size_t cap)
{
	int len = snprintf(out, cap, "%s%s%s", url, !*keys ? "" : strchr(url, '?') ? "&" : "?", keys);

	assert_true(len >= 0 && (size_t)len < cap);
	return out;
}

/* Where certificates lie; empty without TLS. */
static char certs_dir[64];

/* A URL of the library's with what its scheme needs to be served or dialled. */
static void full_url(const char *url, char *out, size_t cap)
{
	bool secured = !strncmp(url, "tls", 3) || !strncmp(url, "wss", 3) || !strncmp(url, "dtls", 4);
	char keys[256];

	snprintf(keys, sizeof(keys), "cert=%1$s/peer.pem&key=%1$s/peer.key&ca=%1$s/ca.pem", certs_dir);
	with_keys(url, secured && !strstr(url, "cert=") ? keys : "", out, cap);
}

static void row_url(const struct row *row, char *out, size_t cap)
{
	char url[URL_MAX];

	snprintf(url, sizeof(url), row->url, th_dir);
	full_url(url, out, cap);
}

/* Serves the row with `play`; `keys` is what stands behind the URL's '?'. */
static struct rig *rig_new(const struct row *row, const struct play *play, const char *keys)
{
	static const struct tn_watch watch = {.on_trouble = on_trouble};
	struct tn_handler handler = handler_for(play);
	struct rig *rig = calloc(1, sizeof(*rig));
	char url[512];
	int rc;

	assert_non_null(rig);
	rig->row = row;
	rig->play = play;
	rig->inherited = -1;
	rig->loop = th_loop();
	if (row->prepare)
		row->prepare(rig);
	else
		row_url(row, rig->serve_url, sizeof(rig->serve_url));
	rc = tn_serve(rig->loop, with_keys(rig->serve_url, keys, url, sizeof(url)), &handler, rig, &rig->server);
	if (rc < 0)
		fail_msg("%s", tn_errmsg());
	if (!rig->dial_url[0])
		full_url(tn_server_url(rig->server, 0), rig->dial_url, sizeof(rig->dial_url));
	if (row->prepare == prepare_joined)
		strcat(rig->dial_url, strchr(rig->dial_url, '?') ? "&" JOINED : "?" JOINED);
	tn_server_watch(rig->server, &watch, rig);
	return rig;
}

static void check_side(const struct side *s)
{
	assert_false(s->bad);
	assert_int_equal(s->closes, 1);
	assert_null(s->conn);
}

/* Ends the server and the loop; every served connection must have been told its end. */
static void rig_free(struct rig *rig)
{
	tn_loop_free(rig->loop);
	if (rig->inherited >= 0)
		close(rig->inherited);
	for (int i = 0; i < rig->nserved && i < SERVED_MAX; i++)
		check_side(&rig->served[i]);
	free(rig);
}

/* Dials the rig (or another URL) as `s`, which starts anew but for what the caller has set in `with`. */
static void dial_url(struct rig *rig, struct side *s, const struct play *play, const char *url)
{
	struct tn_handler handler = handler_for(play);
	char full[2 * URL_MAX];

	full_url(url, full, sizeof(full));
	s->rig = rig;
	s->play = play;
	if (tn_dial(rig->loop, full, &handler, s, &s->conn) < 0)
		fail_msg("%s", tn_errmsg());
	tn_conn_set_data(s->conn, s);
}

static void dial_keys(struct rig *rig, struct side *s, const struct play *play, const char *keys)
{
	char url[512];

	rig->inherited = -1;
	dial_url(rig, s, play, with_keys(rig->dial_url, keys, url, sizeof(url)));
}

static void dial(struct rig *rig, struct side *s, const struct play *play)
{
	dial_keys(rig, s, play, "");
}

/* Rows whose two ends are there from the start have no queue of connections. */
static void prepare_joined(struct rig *rig)
{
	char url[URL_MAX];

	row_url(rig->row, url, sizeof(url));
	with_keys(url, JOINED, rig->serve_url, sizeof(rig->serve_url));
}

static void prepare_pair(struct rig *rig)
{
	int pair[2];

	th_pair(SOCK_STREAM, pair);
	snprintf(rig->serve_url, sizeof(rig->serve_url), "fd:%d", pair[0]);
	snprintf(rig->dial_url, sizeof(rig->dial_url), "fd:%d", pair[1]);
	rig->inherited = pair[1];
}

/* False: this machine does not let us have one, or a raw socket in it. */
static bool enter_own_network(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = unshare(CLONE_NEWNET) < 0 ? -1 : socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 253);
	bool entered = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;

	if (fd >= 0)
		close(fd);
	return entered;
}

static void prepare_own_network(struct rig *rig)
{
	static bool entered;

	entered = entered || enter_own_network();
	assert_true(entered);
	snprintf(rig->serve_url, sizeof(rig->serve_url), "%s", rig->row->url);
}

/* Tried by a child, since there is no way back. */
static bool may_go_below(void)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0)
		_exit(enter_own_network() ? 0 : 1);
	if (child > 0)
		waitpid(child, &status, 0);
	if (status != 0)
		print_message("           passed over: no raw sockets, or no network of one's own, here\n");
	return status == 0;
}

static void prepare_inherited_tcp(struct rig *rig)
{
	int port, fd = th_tcp_listener(512, &port);

	snprintf(rig->serve_url, sizeof(rig->serve_url), "fd:%d", fd);
	snprintf(rig->dial_url, sizeof(rig->dial_url), "tcp://127.0.0.1:%d", port);
}

static int udp_socket(int *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*port = ntohs(addr.sin_port);
	return fd;
}

static void prepare_inherited_udp(struct rig *rig)
{
	int port, fd = udp_socket(&port);

	snprintf(rig->serve_url, sizeof(rig->serve_url), "fd:%d", fd);
	snprintf(rig->dial_url, sizeof(rig->dial_url), "udp://127.0.0.1:%d", port);
}

/* ---- plays that many tests use ---- */

static void echo_msg(struct side *s, const struct tn_msg *msg)
{
	int rc = tn_forward(s->conn, msg);

	s->bad = s->bad || rc < 0;
}

static void close_side(struct side *s)
{
	tn_close(s->conn);
}

static void nothing(struct side *s)
{
	(void)s;
}

static const struct play play_echo = {.on_msg = echo_msg};
static const struct play play_sink = {0};
static const struct play play_quiet = {.on_end = nothing}; /* stays half open */
static const struct play play_close_at_end = {.on_end = close_side};

#define LOSSY_MAX 16384 /* of a message */

static bool is_lossy(const struct side *s)
{
	return s->rig->row && s->rig->row->traits & LOSSY;
}

/* So much that nothing of it gets lost where it could be. */
static uint64_t amount(const struct row *row, uint64_t bytes)
{
	return row->traits & LOSSY ? bytes / 10 : bytes;
}

/* Queues the test stream until its goal, or until the queue is full; then on_drain goes on. */
static void push(struct side *s)
{
	static unsigned char bytes[65536];

	while (s->conn && s->out < s->goal) {
		size_t len = s->piece ? s->piece : sizeof(bytes);
		int rc;

		if (len > s->goal - s->out)
			len = (size_t)(s->goal - s->out);
		if (is_lossy(s) && len > LOSSY_MAX)
			len = LOSSY_MAX;
		th_fill(bytes, len, s->out);
		rc = tn_send(s->conn, bytes, len);
		note_queue(s);
		if (rc == TN_EFULL) {
			s->full++;
			return;
		}
		if (rc < 0) {
			s->bad = true;
			return;
		}
		s->out += len;
		s->mark += rc;
	}
	if (s->conn && s->finish)
		tn_finish(s->conn);
	s->finish = false;
}

static const struct play play_push = {.on_open = push, .on_drain = push};
static const struct play play_push_then_close = {.on_open = push, .on_drain = push, .on_end = close_side};

/* Over DTLS, and in packets of a Unix socket, there are no empty messages. */
static size_t shortest(const struct row *row)
{
	return row->traits & (LOSSY | PACKETS) ? 1 : 0;
}

static void send_text(struct side *s, size_t len)
{
	unsigned char *bytes = malloc(len + 1);

	if (is_lossy(s) && len > LOSSY_MAX)
		len = LOSSY_MAX;
	assert_non_null(bytes);
	th_fill(bytes, len, s->out);
	assert_true(tn_send(s->conn, bytes, len) >= 0);
	s->out += len;
	free(bytes);
}

#define until(rig, cond) th_until((rig)->loop, cond)

/* ---- tests of every scheme ---- */

static const struct row *row_of(void **state)
{
	return *state;
}

static void test_echo(void **state)
{
	static const size_t sizes[] = {5, 1, 5000, 1200, 60000};
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side s = {0};
	struct tn_conn_info info;

	dial(rig, &s, &play_sink);
	for (int i = 0; i < 5; i++) {
		send_text(&s, sizes[i]);
		until(rig, s.in == s.out || s.closes);
		if (rig->row->traits & (PACKETS | DGRAM))
			assert_int_equal(s.msgs, i + 1); /* kept whole both ways */
	}
	assert_false(s.bad);
	assert_int_equal(s.opens, 1);
	tn_conn_info(s.conn, &info);
	assert_true(info.bytes_in == s.in && info.bytes_out == s.out);
	assert_true(info.msgs_out == 5);
	tn_close(s.conn);
	tn_close(s.conn); /* twice is once */
	until(rig, s.closes);
	assert_int_equal(s.err, 0);
	if (rig->row->traits & CONNECTED) {
		until(rig, rig->served[0].closes);
		assert_int_equal(rig->served[0].err, 0);
	}
	rig_free(rig);
	check_side(&s);
}

/* What is sent before on_open goes out first. */
static void test_send_before_open(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side s = {0};

	dial(rig, &s, &play_sink);
	send_text(&s, 100);
	assert_int_equal(s.opens, 0);
	send_text(&s, 3000);
	until(rig, s.in == s.out);
	rig_free(rig);
	check_side(&s);
}

static void test_large_transfer(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side s = {.goal = 8 << 20, .finish = true};

	if (rig->row->traits & PACKETS)
		s.piece = 50000;
	dial(rig, &s, &play_push_then_close);
	until(rig, s.closes && rig->nserved && rig->served[0].closes);
	assert_true(s.in == 8 << 20 && rig->served[0].in == 8 << 20);
	assert_int_equal(s.err, 0);
	assert_int_equal(s.ends, 1);
	assert_int_equal(rig->served[0].err, 0);
	assert_true(s.full || s.mark);
	rig_free(rig);
	check_side(&s);
}

static void reply_after_end(struct side *s)
{
	s->goal = amount(s->rig->row, 300000);
	s->piece = 10000;
	push(s);
	if (s->out == s->goal)
		tn_close(s->conn);
}

static void reply_on(struct side *s)
{
	if (s->ends)
		reply_after_end(s);
}

/* The client ends its direction; the reply comes after that, whole. */
static void test_half_close_by_client(void **state)
{
	static const struct play server = {.on_end = reply_after_end, .on_drain = reply_on};
	struct rig *rig = rig_new(row_of(state), &server, "");
	struct side s = {.goal = amount(rig->row, 100000), .piece = 9000, .finish = true};

	dial(rig, &s, &play_push_then_close);
	until(rig, s.closes && rig->nserved && rig->served[0].closes);
	assert_int_equal(s.err, 0);
	assert_int_equal(s.ends, 1);
	assert_true(s.in == amount(rig->row, 300000) && rig->served[0].in == amount(rig->row, 100000));
	assert_int_equal(rig->served[0].err, 0);
	rig_free(rig);
	check_side(&s);
}

static void greet_and_finish(struct side *s)
{
	send_text(s, 1000);
	assert_int_equal(tn_finish(s->conn), 0);
	assert_int_equal(tn_send(s->conn, "x", 1), TN_ESTATE);
}

/* The server ends its direction first; what the client sends after that arrives. */
static void test_half_close_by_server(void **state)
{
	static const struct play server = {.on_open = greet_and_finish, .on_end = close_side};
	static const struct play client = {.on_end = reply_after_end, .on_drain = reply_on};
	struct rig *rig = rig_new(row_of(state), &server, "");
	struct side s = {0};

	dial(rig, &s, &client);
	until(rig, s.closes && rig->nserved && rig->served[0].closes);
	assert_int_equal(s.err, 0);
	assert_true(s.in == 1000 && rig->served[0].in == amount(rig->row, 300000));
	assert_int_equal(rig->served[0].err, 0);
	rig_free(rig);
	check_side(&s);
}

/* Our direction ends before it is open: that waits for the connection, a handshake included. */
static void test_finish_at_once(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");

	for (int i = 0; i < (rig->row->traits & MANY ? 2 : 1); i++) {
		struct side s = {0};

		dial(rig, &s, &play_sink);
		if (i == 1)
			send_text(&s, 1000);
		assert_int_equal(tn_finish(s.conn), 0);
		until(rig, s.closes && rig->nserved == i + 1 && rig->served[i].closes);
		assert_int_equal(s.err, 0);
		assert_int_equal(rig->served[i].err, 0);
		assert_int_equal(s.opens, 1);
		assert_true(s.in == s.out && rig->served[i].in == s.out);
		check_side(&s);
	}
	rig_free(rig);
}

static void end_socket(struct side *s, int how)
{
	struct tn_conn_info info;

	tn_conn_info(s->conn, &info);
	assert_int_equal(shutdown(info.fd, how), 0);
}

/* The peer's socket ends, without a word of TLS: what it said is answered all the same. */
static void test_bare_end(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");

	for (int i = 0; i < (rig->row->traits & MANY ? 10 : 1); i++) {
		struct side s = {0};

		dial(rig, &s, &play_sink);
		until(rig, s.opens);
		send_text(&s, i % 2 ? 300000 : 3);
		until(rig, tn_conn_queued(s.conn) == 0);
		end_socket(&s, SHUT_WR);
		until(rig, s.closes && rig->served[i].closes);
		assert_true(s.in == s.out && rig->served[i].in == s.out);
		assert_int_equal(s.err, 0);
		assert_int_equal(rig->served[i].err, rig->row->traits & TLS ? TN_ECUT : 0);
		check_side(&s);
	}
	rig_free(rig);
}

static void answer_and_stop_reading(struct side *s)
{
	send_text(s, 30000);
	end_socket(s, SHUT_RD);
}

/* A peer that takes no more has its reply read all the same, by a slow reader too. */
static void test_broken_pipe(void **state)
{
	static const struct play server = {.on_open = answer_and_stop_reading};
	static const struct play client = {.on_open = push};
	struct rig *rig = rig_new(row_of(state), &server, "");

	for (int i = 0; i < (rig->row->traits & MANY ? 2 : 1); i++) {
		struct side s = {.goal = 8 << 20, .piece = 50000};

		dial(rig, &s, &client);
		if (i == 1) {
			tn_pause(s.conn);
			th_turn_for(rig->loop, 1500);
			assert_int_equal(s.closes, 0);
			tn_resume(s.conn);
		}
		until(rig, s.closes && rig->served[i].closes);
		assert_true(s.in == 30000);
		assert_int_equal(s.err, -EPIPE);
		check_side(&s);
	}
	rig_free(rig);
}

/* A peer that sends and leaves at once: all of it, and its end, must be seen. */
static void test_send_and_leave(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_sink, "");

	for (int i = 0; i < 20; i++) {
		struct side s = {0};

		dial(rig, &s, &play_sink);
		send_text(&s, 100 + (size_t)i);
		tn_close(s.conn);
		until(rig, s.closes && rig->nserved == i + 1 && rig->served[i].closes);
		assert_int_equal(s.err, 0);
		assert_true(rig->served[i].in == 100 + (uint64_t)i);
		assert_int_equal(rig->served[i].err, 0);
		check_side(&s);
		if (!(rig->row->traits & MANY))
			break;
	}
	rig_free(rig);
}

static void test_refused(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_sink, "");
	struct side s = {0};

	tn_server_close(rig->server, 0, server_done, rig);
	until(rig, rig->done);
	dial(rig, &s, &play_sink);
	send_text(&s, 10);
	until(rig, s.closes);
	assert_int_equal(s.opens, 0);
	assert_int_equal(s.err, rig->row->traits & PATH ? -ENOENT : -ECONNREFUSED);
	assert_int_equal(tn_loop_step(rig->loop, 0), 0); /* nothing is left */
	rig_free(rig);
	check_side(&s);
}

/* A raw listener whose queue is full: connecting to it takes for ever. Fills `url`. */
static int full_listener(const struct row *row, int fill[4], char *url, size_t cap)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr *addr = row->family == AF_UNIX   ? (void *)&un
				: row->family == AF_INET ? (void *)&in
							 : (void *)&in6;
	socklen_t len = row->family == AF_UNIX ? sizeof(un) : row->family == AF_INET ? sizeof(in) : sizeof(in6);
	int type = row->traits & LOSSY                          ? SOCK_DGRAM
		   : (row->traits & (PACKETS | WEB)) == PACKETS ? SOCK_SEQPACKET
								: SOCK_STREAM;
	const char *scheme = row->traits & LOSSY ? "dtls"
			     : row->traits & WEB ? row->name
			     : row->traits & TLS ? "tls"
						 : "tcp";
	int fd = socket(row->family, type | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/full", th_dir);
	assert_int_equal(bind(fd, addr, len), 0);
	if (type != SOCK_DGRAM)
		assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, addr, &len), 0);
	for (int i = 0; i < 4; i++) {
		fill[i] = socket(row->family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(fill[i], addr, len);
	}
	if (row->family == AF_UNIX)
		snprintf(url, cap, "%s%s%s:%s",
			 row->traits & TLS   ? "tls+"
			 : row->traits & WEB ? "ws+"
					     : "",
			 row->traits & MEMORY ? "shm" : "unix",
			 (row->traits & (PACKETS | WEB)) == PACKETS ? "-seqpacket" : "", un.sun_path);
	else if (row->family == AF_INET)
		snprintf(url, cap, "%s://127.0.0.1:%d", scheme, ntohs(in.sin_port));
	else
		snprintf(url, cap, "%s6://[::1]:%d", scheme, ntohs(in6.sin6_port));
	return fd;
}

/* Dialling what does not answer: the time-out, and every way to give up before it. */
static void test_dial_without_answer(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_sink, "");
	int fill[4], listener;
	char url[192], keys[256];
	struct side s[4] = {0};
	uint64_t start;

	listener = full_listener(rig->row, fill, url, sizeof(url));
	dial_url(rig, &s[0], &play_sink,
		 with_keys(url, rig->row->traits & LOSSY ? "handshake=100ms" : "connect=100ms", keys, sizeof(keys)));
	until(rig, s[0].closes);
	assert_int_equal(s[0].err, -ETIMEDOUT);
	dial_url(rig, &s[1], &play_sink, url);
	tn_close(s[1].conn); /* nothing is queued: at once, and in order */
	until(rig, s[1].closes);
	assert_int_equal(s[1].err, 0);
	dial_url(rig, &s[2], &play_sink, url);
	send_text(&s[2], 10);
	th_turn_for(rig->loop, 20);
	tn_abort(s[2].conn, -EINTR);
	until(rig, s[2].closes);
	assert_int_equal(s[2].err, -EINTR);
	dial_url(rig, &s[3], &play_sink,
		 with_keys(url,
			   rig->row->traits & TLS ? "connect=60s&handshake=60s&drain=100ms" : "connect=60s&drain=100ms",
			   keys, sizeof(keys)));
	send_text(&s[3], 10);
	usleep(120 * 1000); /* no turn has seen this time: the deadline below begins after it */
	start = th_now_ms();
	tn_close(s[3].conn); /* what is queued cannot leave */
	until(rig, s[3].closes);
	assert_int_equal(s[3].err, TN_EDRAIN);
	assert_true(th_now_ms() - start >= 99);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(s[i].opens, 0);
		check_side(&s[i]);
		close(fill[i]);
	}
	close(listener);
	if (rig->row->family == AF_UNIX)
		unlink(strchr(url, ':') + 1);
	rig_free(rig);
}

static void abort_side(struct side *s)
{
	tn_abort(s->conn, -ECONNABORTED);
}

static void abort_msg(struct side *s, const struct tn_msg *msg)
{
	(void)msg;
	abort_side(s);
}

static void test_abort_is_a_reset(void **state)
{
	static const struct play server = {.on_msg = abort_msg};
	struct rig *rig = rig_new(row_of(state), &server, "");
	struct side s = {0};

	dial(rig, &s, &play_sink);
	send_text(&s, 10);
	until(rig, s.closes && rig->served[0].closes);
	assert_int_equal(rig->served[0].err, -ECONNABORTED);
	if (rig->row->traits & RESETS)
		assert_int_equal(s.err, -ECONNRESET);
	else
		assert_true(s.err == 0 || s.err == -ECONNRESET || s.err == -EPIPE ||
			    (rig->row->traits & (TLS | WEB) && s.err == TN_ECUT));
	rig_free(rig);
	check_side(&s);
}

/* ---- flow ---- */

static void pause_self(struct side *s)
{
	tn_pause(s->conn);
}

/* One that sends and does not read: everybody's queue stays bounded, and nothing is lost when it reads again. */
static void test_backpressure(void **state)
{
	static const struct play client = {.on_open = push, .on_drain = push};
	const char *keys = row_of(state)->traits & LOCAL ? "queue=64KiB&max=64KiB&sndbuf=64KiB"
							 : "queue=64KiB&max=64KiB&sndbuf=64KiB&rcvbuf=64KiB";
	struct rig *rig = rig_new(row_of(state), &play_echo, keys);
	struct side s = {.goal = 6 << 20, .piece = 20000}, *server = &rig->served[0];

	dial_keys(rig, &s, &client, keys);
	tn_pause(s.conn);
	until(rig, s.full || s.mark);
	th_turn_for(rig->loop, 200);
	assert_true(s.out < s.goal); /* otherwise nothing has been held back */
	assert_int_equal(s.in, 0);
	/* The mark, what one message may add, and a piece as large as any that arrives. */
	assert_true(server->most_queued <= 64 * 1024 + 65536);
	assert_true(s.most_queued <= 64 * 1024 + 65536 + 64);
	tn_resume(s.conn);
	until(rig, s.in == s.goal);
	assert_true(server->in == s.goal);
	rig_free(rig);
	check_side(&s);
}

/* tn_send() until it says no; on_drain comes; every byte that was accepted arrives, no other does. */
static void test_flood_until_full(void **state)
{
	static const struct play client = {0};
	struct rig *rig = rig_new(row_of(state), &play_sink, "");
	struct side s = {.goal = UINT64_MAX / 2, .piece = 10000};

	dial(rig, &s, &client);
	until(rig, s.opens);
	push(&s);
	assert_int_equal(s.full, 1);
	assert_true(s.mark >= 1);
	assert_true(tn_conn_queued(s.conn) >= 128 * 1024);
	until(rig, s.drains == 1);
	assert_true(tn_conn_queued(s.conn) <= 64 * 1024);
	tn_close(s.conn);
	until(rig, s.closes && rig->served[0].closes);
	assert_int_equal(s.err, 0);
	assert_true(rig->served[0].in == s.out);
	assert_int_equal(s.drains, 1);
	rig_free(rig);
	check_side(&s);
}

static int resumes_owed;

static void resume_later(void *arg)
{
	struct side *s = arg;

	resumes_owed--;
	if (s->conn)
		tn_resume(s->conn);
}

static bool pausing;

static void pause_a_while(struct side *s, const struct tn_msg *msg)
{
	(void)msg;
	if (!pausing)
		return;
	tn_pause(s->conn);
	resumes_owed++;
	assert_int_equal(tn_timer_start(s->rig->loop, 1, resume_later, s, NULL), 0);
}

static void test_pause_and_resume(void **state)
{
	static const struct play server = {.on_msg = pause_a_while};
	struct rig *rig = rig_new(row_of(state), &server, "");
	struct side s = {0}, *server_side = &rig->served[0];
	int msgs;

	pausing = true;
	resumes_owed = 0;
	dial(rig, &s, &play_sink);
	for (int i = 0; i < 40; i++)
		send_text(&s, 1000);
	until(rig, server_side->in == s.out);
	pausing = false;
	until(rig, !resumes_owed);
	tn_pause(server_side->conn);
	msgs = server_side->msgs;
	send_text(&s, 1000);
	th_turn_for(rig->loop, 10);
	assert_int_equal(server_side->msgs, msgs);
	tn_resume(server_side->conn);
	until(rig, server_side->in == s.out);
	rig_free(rig);
	check_side(&s);
}

static void test_close_with_data_in_flight(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_sink, "");
	struct side s = {.goal = 1 << 20, .piece = 30000};

	dial_keys(rig, &s, &play_sink, "queue=2MiB");
	until(rig, s.opens);
	push(&s);
	assert_true(s.out == s.goal);
	tn_close(s.conn);
	assert_int_equal(tn_send(s.conn, "x", 1), TN_ESTATE);
	until(rig, s.closes && rig->served[0].closes);
	assert_true(rig->served[0].in == s.goal);
	assert_int_equal(s.err, 0);
	assert_int_equal(rig->served[0].err, 0);
	rig_free(rig);
	check_side(&s);
}

static void test_drain_deadline(void **state)
{
	static const struct play server = {.on_open = pause_self};
	struct rig *rig = rig_new(row_of(state), &server, "");
	struct side s = {.goal = 32 << 20, .piece = 60000};

	/* The system's buffer is fixed: one that grows could take all that is queued, late on a slow machine. */
	dial_keys(rig, &s, &play_push, "drain=100ms&queue=1MiB&sndbuf=64KiB");
	until(rig, s.full);
	th_turn_for(rig->loop, 50);
	s.goal = s.out;
	tn_close(s.conn);
	until(rig, s.closes);
	assert_int_equal(s.err, TN_EDRAIN);
	rig_free(rig);
	check_side(&s);
}

static void test_idle(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "idle=300ms");
	struct side s = {0};
	uint64_t last;

	dial(rig, &s, &play_sink);
	for (int i = 0; i < 6; i++) { /* traffic keeps it open beyond its time */
		send_text(&s, 10);
		until(rig, s.in == s.out);
		last = th_now_ms();
		th_turn_for(rig->loop, 70);
	}
	until(rig, rig->served[0].closes && s.closes);
	assert_int_equal(rig->served[0].err, TN_EIDLE);
	assert_true(th_now_ms() - last >= 200); /* it counts from when the turn of the last byte began */
	rig_free(rig);
	check_side(&s);
}

/* ---- ending from inside ---- */

static void close_msg(struct side *s, const struct tn_msg *msg)
{
	(void)msg;
	close_side(s);
}

static void push_a_lot(struct side *s)
{
	s->rig->leaky = s->rig->row->traits & LOSSY;
	s->goal = 4 << 20;
	s->piece = 30000;
	push(s);
}

static const struct play enders[] = {
	{.on_open = close_side},
	{.on_open = abort_side},
	{.on_msg = close_msg},
	{.on_msg = abort_msg},
	{.on_end = close_side},
	{.on_end = abort_side},
	{.on_open = push_a_lot, .on_drain = close_side, .on_end = nothing},
	{.on_open = push_a_lot, .on_drain = abort_side, .on_end = nothing},
};

#define NENDERS (sizeof(enders) / sizeof(enders[0]))

static bool is_abort(size_t i)
{
	return i % 2;
}

/* The served side ends itself, from each of its callbacks in turn, gently and at once. */
static void test_close_from_every_callback(void **state)
{
	for (size_t i = 0; i < NENDERS; i++) {
		struct rig *rig = rig_new(row_of(state), &enders[i], "");
		struct side s = {0};
		/* An abort over datagrams takes along the last word of the handshake:
		 * its client waits for it in vain. */
		bool in_vain = rig->row->traits & LOSSY && enders[i].on_open == abort_side;

		dial_keys(rig, &s, &play_close_at_end, in_vain ? "handshake=1s" : "");
		send_text(&s, 3000);
		until(rig, s.opens || s.closes);
		if (s.conn && (enders[i].on_end == close_side || enders[i].on_end == abort_side))
			tn_finish(s.conn);
		until(rig, s.closes && rig->nserved && rig->served[0].closes);
		if (rig->served[0].err != (is_abort(i) ? -ECONNABORTED : 0))
			fail_msg("ender %zu: err %d", i, rig->served[0].err);
		if (!is_abort(i))
			assert_int_equal(s.err, 0);
		th_turn_for(rig->loop, 5);
		rig_free(rig);
		check_side(&s);
	}
}

/* The same on the dialled side, against a server that talks and listens. */
static void test_close_from_every_dialled_callback(void **state)
{
	static const struct play server = {.on_open = greet_and_finish, .on_end = close_side};

	for (size_t i = 0; i < NENDERS; i++) {
		struct rig *rig = rig_new(row_of(state), &server, "");
		struct side s = {0};

		dial(rig, &s, &enders[i]);
		/* An abort takes along the last word of the client's handshake,
		 * without which a server hears of nobody. */
		if (row_of(state)->traits & TLS && enders[i].on_open == abort_side)
			until(rig, s.closes);
		else
			until(rig, s.closes && rig->nserved && rig->served[0].closes);
		assert_int_equal(s.err, is_abort(i) ? -ECONNABORTED : 0);
		rig_free(rig);
		check_side(&s);
	}
}

/* The view that on_msg was given stays valid until it returns, whatever it calls. */
static void close_then_look(struct side *s, const struct tn_msg *msg)
{
	unsigned char *before = malloc(msg->len), *other = calloc(1, 60000);
	size_t len = (size_t)amount(s->rig->row, 60000);
	struct side *receiver = &s->rig->served[1 - (s - s->rig->served)];

	assert_true(before && other);
	memcpy(before, msg->data, msg->len);
	tn_close(s->conn);
	(void)!tn_send(receiver->conn, "y", 1);
	(void)!tn_send(receiver->conn, other, len);
	s->bad = s->bad || memcmp(before, msg->data, msg->len) != 0;
	(void)!tn_forward(receiver->conn, msg);
	free(before);
	free(other);
}

static void test_message_outlives_close(void **state)
{
	static const struct play server = {.on_msg = close_then_look};
	struct rig *rig = rig_new(row_of(state), &server, "");
	struct side s[2] = {{0}, {.unchecked = true}};
	uint64_t got;

	dial(rig, &s[0], &play_sink);
	until(rig, rig->nserved == 1);
	dial(rig, &s[1], &play_sink);
	until(rig, rig->nserved == 2 && s[0].opens && s[1].opens);
	send_text(&s[0], 5000);
	until(rig, rig->served[0].closes && s[0].closes);
	got = rig->served[0].in;
	assert_true(got > 0);
	until(rig, s[1].in == amount(rig->row, 60000) + 1 + got);
	assert_false(rig->served[0].bad);
	for (int i = 0; i < 50; i++) /* a block that was given back twice would be handed out twice */
		send_text(&s[1], shortest(rig->row));
	rig_free(rig);
	check_side(&s[0]);
	check_side(&s[1]);
}

/* ---- ending servers ---- */

static struct side *talker;

/* Every 20 ms, until nobody is meant any more. */
static void chat_on(void *arg)
{
	if (!talker)
		return;
	send_text(talker, 10);
	assert_int_equal(tn_timer_start(talker->rig->loop, 20, chat_on, arg, NULL), 0);
}

/* One idle, one busy: the first goes soon, the second when it is done. */
static void test_server_close(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side idle = {0}, busy = {0};

	dial(rig, &idle, &play_sink);
	until(rig, rig->nserved == 1);
	dial(rig, &busy, &play_sink);
	until(rig, rig->nserved == 2 && busy.opens);
	assert_int_equal(tn_server_nconns(rig->server), 2);
	talker = &busy;
	chat_on(NULL);
	tn_server_close(rig->server, 60000, server_done, rig);
	until(rig, idle.closes);
	assert_true(busy.conn && !rig->served[1].closes && !rig->done);
	talker = NULL;
	until(rig, busy.closes && rig->done);
	assert_true(busy.in == busy.out);
	assert_int_equal(busy.err, 0);
	assert_int_equal(rig->served[1].err, 0);
	assert_int_equal(rig->served[0].err, 0);
	assert_int_equal(rig->done, 1);
	rig_free(rig);
	check_side(&idle);
	check_side(&busy);
}

static void flood(struct side *s, const struct tn_msg *msg)
{
	(void)msg;
	s->goal = 64 << 20;
	s->piece = 60000;
	push(s);
}

/* Who takes nothing goes at the deadline. */
static void test_server_close_deadline(void **state)
{
	static const struct play server = {.on_msg = flood, .on_drain = push};
	struct rig *rig = rig_new(row_of(state), &server, "");
	struct side stuck = {0};
	uint64_t start;

	dial(rig, &stuck, &play_sink);
	send_text(&stuck, 7);
	until(rig, stuck.opens);
	tn_pause(stuck.conn);
	until(rig, rig->nserved && rig->served[0].full);
	start = th_now_ms();
	tn_server_close(rig->server, 100, server_done, rig);
	until(rig, rig->done);
	assert_true(th_now_ms() - start >= 99);
	assert_int_equal(rig->served[0].err, -ECANCELED);
	tn_abort(stuck.conn, 0);
	until(rig, stuck.closes);
	assert_int_equal(rig->done, 1);
	rig_free(rig);
	check_side(&stuck);
}

/* ---- ending while something is owed ---- */

#define LATE_MS 300 /* longer than a server that ends takes a connection for busy */

/* A reply that a timer gives. */
struct late {
	struct side *side;
	struct tn_addr peer;
	bool datagram;
	size_t len;
	unsigned char bytes[];
};

static void late_reply(void *arg)
{
	struct late *late = arg;
	struct tn_msg question = {.peer = late->datagram ? &late->peer : NULL};

	if (late->side->conn) {
		assert_int_equal(tn_reply(late->side->conn, &question, late->bytes, late->len), 0);
		tn_conn_release(late->side->conn);
	}
	free(late);
}

static void answer_late(struct side *s, const struct tn_msg *msg)
{
	struct late *late = malloc(sizeof(*late) + msg->len);

	assert_non_null(late);
	*late = (struct late){.side = s, .len = msg->len, .datagram = msg->peer != NULL};
	memcpy(late->bytes, msg->data, msg->len);
	if (msg->peer)
		late->peer = *msg->peer;
	tn_conn_hold(s->conn);
	assert_int_equal(tn_timer_start(s->rig->loop, LATE_MS, late_reply, late, NULL), 0);
}

static const struct play play_late = {.on_msg = answer_late};

static void test_server_close_waits_for_a_late_reply(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_late, "");
	struct side s = {0};

	dial(rig, &s, &play_sink);
	send_text(&s, 1000);
	until(rig, rig->nserved && rig->served[0].in == s.out);
	tn_server_close(rig->server, 60000, server_done, rig);
	until(rig, s.in == s.out);
	if (rig->row->traits & DGRAM)
		tn_close(s.conn);
	until(rig, s.closes && rig->done);
	assert_int_equal(s.err, 0);
	assert_int_equal(rig->served[0].err, 0);
	rig_free(rig);
	check_side(&s);
}

/* The peer has ended, and nobody has asked to be told of that. */
static void test_half_close_waits_for_a_late_reply(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_late, "");
	struct side s = {0};

	dial(rig, &s, &play_close_at_end);
	send_text(&s, 1000);
	tn_finish(s.conn);
	until(rig, s.closes && rig->served[0].closes);
	assert_true(s.in == s.out);
	assert_int_equal(s.err, 0);
	assert_int_equal(rig->served[0].err, 0);
	rig_free(rig);
	check_side(&s);
}

/* What ends without all that belongs to it must not look like an end in good order, where there is another. */
static void check_cut(const struct side *s)
{
	if (s->rig->row->traits & (RESETS | TLS) && !is_lossy(s))
		assert_int_not_equal(s->err, 0);
}

static void hold_for_ever(struct side *s, const struct tn_msg *msg)
{
	(void)msg;
	tn_conn_hold(s->conn);
}

static void test_server_close_cuts_off_what_is_owed(void **state)
{
	static const struct play server = {.on_msg = hold_for_ever};
	struct rig *rig = rig_new(row_of(state), &server, "");
	struct side s = {0};

	dial(rig, &s, &play_sink);
	send_text(&s, 1000);
	until(rig, rig->nserved && rig->served[0].msgs);
	tn_server_close(rig->server, LATE_MS, server_done, rig);
	until(rig, s.closes && rig->done);
	assert_int_equal(rig->served[0].err, -ECANCELED);
	check_cut(&s);
	rig_free(rig);
	check_side(&s);
}

static void resume_late(void *arg)
{
	struct side *s = arg;

	if (s->conn)
		tn_resume(s->conn);
}

/* As a relay does whose other side takes nothing for a while. */
static void pause_once(struct side *s, const struct tn_msg *msg)
{
	(void)msg;
	if (s->msgs > 1)
		return;
	tn_pause(s->conn);
	assert_int_equal(tn_timer_start(s->rig->loop, LATE_MS, resume_late, s, NULL), 0);
}

static void test_server_close_waits_for_a_paused_one(void **state)
{
	static const struct play server = {.on_msg = pause_once};
	struct rig *rig = rig_new(row_of(state), &server, "");
	struct side s = {.goal = 500000, .piece = 1000};

	dial(rig, &s, &play_push);
	if (is_lossy(&s))
		s.goal = 20000;
	until(rig, rig->nserved && rig->served[0].msgs);
	tn_server_close(rig->server, 60000, server_done, rig);
	until(rig, s.closes && rig->done);
	assert_true(s.out == s.goal && rig->served[0].in == s.goal);
	assert_int_equal(s.err, 0);
	assert_int_equal(rig->served[0].err, 0);
	rig_free(rig);
	check_side(&s);
}

static void test_server_close_cuts_off_a_paused_one(void **state)
{
	static const struct play server = {.on_open = NULL, .on_msg = pause_once};
	struct rig *rig = rig_new(row_of(state), &server, "");
	struct side s = {.goal = 64 << 20, .piece = 1000};

	dial(rig, &s, &play_push);
	until(rig, rig->nserved && rig->served[0].msgs);
	tn_server_close(rig->server, LATE_MS / 3, server_done, rig);
	until(rig, rig->done);
	assert_int_equal(rig->served[0].err, -ECANCELED);
	until(rig, s.closes);
	assert_int_not_equal(s.err, 0);
	s.bad = false; /* it may have tried to send when that was over */
	rig_free(rig);
	check_side(&s);
}

/* Nothing has gone for long, and not all has gone. */
static void test_idle_with_a_queue(void **state)
{
	static const struct play server = {.on_msg = flood, .on_drain = push};
	struct rig *rig = rig_new(row_of(state), &server, "idle=200ms");
	struct side s = {.unchecked = true};

	dial(rig, &s, &play_sink);
	send_text(&s, 7);
	until(rig, s.opens);
	tn_pause(s.conn);
	until(rig, rig->nserved && rig->served[0].closes);
	assert_int_equal(rig->served[0].err, TN_EIDLE);
	tn_resume(s.conn);
	until(rig, s.closes);
	check_cut(&s);
	rig_free(rig);
	check_side(&s);
}

static void test_server_close_at_once(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");

	tn_server_close(rig->server, 1000, server_done, rig);
	until(rig, rig->done);
	assert_int_equal(tn_loop_step(rig->loop, 0), 0);
	rig_free(rig);
}

static void test_server_close_without_done(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side s = {0};

	dial(rig, &s, &play_sink);
	send_text(&s, 10);
	until(rig, s.in == 10);
	tn_server_close(rig->server, 0, NULL, NULL);
	if (rig->row->traits & DGRAM)
		tn_close(s.conn);
	until(rig, s.closes && rig->served[0].closes);
	until(rig, tn_loop_step(rig->loop, 0) == 0);
	rig_free(rig);
	check_side(&s);
}

static void test_loop_freed_with_all_open(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	bool many = rig->row->traits & (MANY | DGRAM);
	struct side s[4] = {0};

	for (int i = 0; i < (many ? 4 : 1); i++)
		dial(rig, &s[i], &play_sink); /* the last ones are still dialling */
	for (int i = 0; i < (many ? 2 : 1); i++) {
		send_text(&s[i], 50000);
		until(rig, s[i].in);
		rig->served[0].unchecked = true; /* a datagram server has one side for all */
		send_text(&s[i], 60000);
	}
	assert_int_equal(tn_timer_start(rig->loop, 100000, resume_later, &s[0], NULL), 0);
	rig_free(rig);
	for (int i = 0; i < (many ? 4 : 1); i++) {
		check_side(&s[i]);
		assert_int_equal(s[i].err, -ECANCELED);
	}
}

/* ---- many ---- */

static void test_limit(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side s[4] = {0};

	tn_server_limit(rig->server, 1);
	dial(rig, &s[0], &play_sink);
	send_text(&s[0], 10);
	until(rig, s[0].in == 10);
	for (int i = 1; i < 3; i++) { /* refused politely: an end of file, although they have said something */
		dial(rig, &s[i], &play_close_at_end);
		send_text(&s[i], 1000);
		until(rig, s[i].closes);
		/* A handshake that is not answered, and one that is answered by 503. */
		assert_int_equal(s[i].err, rig->row->traits & TLS   ? TN_ETLS
					   : rig->row->traits & WEB ? -ECONNREFUSED
								    : 0);
		assert_int_equal(s[i].in, 0);
	}
	assert_int_equal(rig->nserved, 1);             /* nobody is told of them but the observer */
	assert_true(rig->refused >= 1 || th_is_sim()); /* told once a second, whatever the trouble; sim has others */
	send_text(&s[0], 10);
	until(rig, s[0].in == 20);
	tn_close(s[0].conn);
	until(rig, s[0].closes && rig->served[0].closes);
	until(rig, tn_server_nconns(rig->server) == 0);
	dial(rig, &s[3], &play_sink);
	send_text(&s[3], 10);
	until(rig, s[3].in == 10);
	rig_free(rig);
	for (int i = 0; i < 4; i++)
		check_side(&s[i]);
}

/* Who comes later is refused, and the address is free; who is there stays, silent or not, until the server is closed.
 */
static void test_stop(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side s[2] = {0};

	dial(rig, &s[0], &play_sink);
	send_text(&s[0], 10);
	until(rig, s[0].in == 10);
	tn_server_stop(rig->server);
	tn_server_stop(rig->server);
	for (uint64_t until_ms = th_now_ms() + 300; th_now_ms() < until_ms;) /* a drain would end it by now */
		assert_true(tn_loop_step(rig->loop, 5) > 0);
	if (!(rig->row->traits & LOSSY)) { /* there nobody answers who is not there */
		dial(rig, &s[1], &play_sink);
		until(rig, s[1].closes);
		assert_int_equal(s[1].opens, 0);
	}
	assert_false(s[0].closes || rig->served[0].closes);
	send_text(&s[0], 10);
	until(rig, s[0].in == 20);
	tn_server_close(rig->server, TH_PATIENCE_MS, NULL, NULL);
	tn_server_stop(rig->server);
	until(rig, s[0].closes && rig->served[0].closes);
	assert_int_equal(s[0].err, 0);
	rig_free(rig);
	check_side(&s[0]);
}

#define CLIENTS 200

static void test_many_clients(void **state)
{
	/* As many handshakes at once take a busy machine longer than a server grants one. */
	const char *keys = row_of(state)->traits & TLS ? "handshake=10m" : "";
	struct rig *rig = rig_new(row_of(state), &play_echo, keys);
	struct side *s = calloc(CLIENTS, sizeof(*s));
	uint64_t deadline = th_now_ms() + TH_PATIENCE_MS;

	assert_non_null(s);
	for (int i = 0; i < CLIENTS; i++) {
		dial_keys(rig, &s[i], &play_sink, strstr(rig->dial_url, keys) ? "" : keys);
		/* Each handshake datagram that a crowd makes the kernel drop is repeated after twice the time. */
		if (rig->row->traits & LOSSY && i % 20 == 19)
			for (int j = i - 19; j <= i; j++)
				until(rig, s[j].opens);
	}
	for (int round = 0; round < 3; round++) {
		int left = CLIENTS;

		for (int i = 0; i < CLIENTS; i++) {
			send_text(&s[i], 100 + (size_t)i);
			if (rig->row->traits & LOSSY)
				until(rig, i % 20 || s[i].in == s[i].out);
		}
		while (left) {
			left = 0;
			assert_true(tn_loop_step(rig->loop, 5) >= 0);
			for (int i = 0; i < CLIENTS; i++)
				left += s[i].in != s[i].out;
			th_check_deadline(deadline, "every reply", __FILE__, __LINE__);
		}
	}
	if (rig->row->traits & CONNECTED) {
		assert_int_equal(rig->nserved, CLIENTS);
		assert_int_equal(tn_server_nconns(rig->server), CLIENTS);
	}
	rig_free(rig);
	for (int i = 0; i < CLIENTS; i++)
		check_side(&s[i]);
	free(s);
}

static void test_several_servers(void **state)
{
	struct tn_handler handler = handler_for(&play_echo);
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct tn_server *more[3];
	struct side s[3] = {0};
	char plain[192], url[URL_MAX];

	for (int i = 0; i < 3; i++) {
		snprintf(plain, sizeof(plain), rig->row->url, th_dir);
		if (!(rig->row->traits & PORT))
			snprintf(plain + strlen(plain), sizeof(plain) - strlen(plain), "%d", i);
		full_url(plain, url, sizeof(url));
		assert_int_equal(tn_serve(rig->loop, url, &handler, rig, &more[i]), 0);
		dial_url(rig, &s[i], &play_sink, tn_server_url(more[i], 0));
		send_text(&s[i], 10);
	}
	until(rig, s[0].in == 10 && s[1].in == 10 && s[2].in == 10);
	tn_server_close(more[1], 0, server_done, rig);
	until(rig, rig->done);
	send_text(&s[2], 10);
	until(rig, s[2].in == 20);
	rig_free(rig);
	for (int i = 0; i < 3; i++)
		check_side(&s[i]);
}

/* ---- threads ---- */

static _Atomic(int) thread_msgs, thread_opens, thread_closes, thread_done;

static void thread_on_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	(void)arg;
	thread_opens++;
}

static void thread_on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	thread_msgs++;
	(void)!tn_forward(conn, msg);
}

static void thread_on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn;
	(void)err;
	(void)arg;
	thread_closes++;
}

static void thread_server_done(void *arg)
{
	(void)arg;
	thread_done++;
}

static void *run_loop(void *arg)
{
	return tn_loop_run(arg) == 0 ? NULL : arg;
}

static void close_posted(void *arg)
{
	tn_server_close(arg, 2000, thread_server_done, NULL);
}

static void start_threads(const struct row *row, struct tn_loop *loops[2], pthread_t threads[2],
			  struct tn_server **server)
{
	static const struct tn_handler handler = {
		.on_open = thread_on_open, .on_msg = thread_on_msg, .on_close = thread_on_close};
	char url[URL_MAX];

	thread_msgs = thread_opens = thread_closes = thread_done = 0;
	loops[0] = th_loop();
	loops[1] = th_loop();
	row_url(row, url, sizeof(url));
	if (tn_serve_loops(loops, 2, url, &handler, NULL, server) < 0)
		fail_msg("%s", tn_errmsg());
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run_loop, loops[i]), 0);
}

static void test_two_threads(void **state)
{
	const struct row *row = row_of(state);
	struct rig rig = {.row = row};
	struct tn_loop *loops[2];
	struct tn_server *server;
	struct side s[20] = {0};
	pthread_t threads[2];
	void *failed;

	start_threads(row, loops, threads, &server);
	rig.loop = th_loop();
	for (int i = 0; i < 20; i++) {
		dial_url(&rig, &s[i], &play_sink, tn_server_url(server, 0));
		send_text(&s[i], 100);
	}
	for (int i = 0; i < 20; i++)
		th_until(rig.loop, s[i].in == 100);
	if (row->traits & CONNECTED) {
		assert_int_equal(thread_opens, 20);
		assert_int_equal(tn_server_nconns(server), 20);
	}
	assert_int_equal(tn_loop_post(loops[0], close_posted, server), 0);
	for (int i = 0; i < 20; i++) {
		if (s[i].conn) /* the server closes those that are quiet, and may come first */
			tn_close(s[i].conn);
		th_until(rig.loop, s[i].closes);
		check_side(&s[i]);
	}
	for (int i = 0; i < 2; i++) { /* nothing is left on them, so they come to their end */
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(thread_done, 1);
	assert_int_equal(thread_opens, thread_closes);
	tn_loop_free(rig.loop);
	tn_loop_free(loops[1]);
	tn_loop_free(loops[0]);
}

/* ---- what secures a connection ---- */

static void check_security(const struct tn_conn *conn, const struct row *row)
{
	struct tn_security security;
	unsigned char *der = NULL;
	size_t len = 0;

	if (!(row->traits & TLS)) {
		assert_int_equal(tn_conn_security(conn, &security), -EOPNOTSUPP);
		assert_int_equal(tn_conn_peer_cert(conn, 0, &der, &len), -EOPNOTSUPP);
		return;
	}
	assert_int_equal(tn_conn_security(conn, &security), 0);
	assert_string_equal(security.protocol, row->traits & LOSSY ? "DTLSv1.2" : "TLSv1.3");
	assert_string_equal(security.identity, "CN=peer");
	assert_string_equal(security.alpn, "");
	assert_int_equal(tn_conn_peer_cert(conn, 0, &der, &len), 0);
	assert_true(len > 100 && der[0] == 0x30);
	free(der);
}

/* A pause holds back messages, not the handshake; a reload disturbs nobody. */
static void test_security(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	bool secured = rig->row->traits & TLS;
	struct tn_security security;
	struct side s = {0};

	dial(rig, &s, &play_sink);
	assert_int_equal(tn_conn_security(s.conn, &security), secured ? TN_ESTATE : -EOPNOTSUPP);
	tn_pause(s.conn);
	send_text(&s, 100);
	until(rig, s.opens && rig->nserved);
	check_security(s.conn, rig->row);
	check_security(rig->served[0].conn, rig->row);
	assert_int_equal(tn_server_reload(rig->server), secured ? 0 : -EOPNOTSUPP);
	tn_resume(s.conn);
	until(rig, s.in == 100);
	rig_free(rig);
	check_side(&s);
}

/* A client that has been here before, with the same credentials, is known again; with key tickets=0 it is not. */
static void test_resumption(void **state)
{
	static const char *const keys[] = {"", "", "", "tickets=0"};
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct tn_security seen, shown;
	char full[2 * URL_MAX], url[2 * URL_MAX];

	full_url(rig->dial_url, full, sizeof(full));
	for (int i = 0; i < 4; i++) {
		struct side s = {0};

		dial_url(rig, &s, &play_sink, with_keys(full, keys[i], url, sizeof(url)));
		send_text(&s, 100);
		until(rig, s.in == 100);
		assert_int_equal(tn_conn_security(s.conn, &seen), 0);
		assert_int_equal(tn_conn_security(rig->served[i].conn, &shown), 0);
		assert_int_equal(seen.resumed, i == 1 || i == 2);
		assert_int_equal(shown.resumed, seen.resumed);
		check_security(s.conn, rig->row);
		check_security(rig->served[i].conn, rig->row);
		tn_close(s.conn);
		until(rig, s.closes);
		check_side(&s);
	}
	rig_free(rig);
}

/* ---- tn_call() ---- */

static void test_call(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	unsigned char request[2000];
	char dead[URL_MAX];
	void *reply;
	size_t len;
	int rc;

	th_fill(request, sizeof(request), 0);
	rig->inherited = -1; /* tn_call() is the one who takes it */
	for (int i = 0; i < (rig->row->traits & (MANY | DGRAM) ? 3 : 1); i++) {
		rc = tn_call(rig->loop, rig->dial_url, request, sizeof(request), &reply, &len, TH_PATIENCE_MS);
		if (rc < 0)
			fail_msg("%s", tn_errmsg());
		assert_int_equal(len, sizeof(request));
		assert_memory_equal(reply, request, len);
		assert_int_equal(((char *)reply)[len], 0);
		free(reply);
		if (!(rig->row->traits & DGRAM)) /* a datagram server's one side has seen all clients */
			continue;
		rig->served[0].in = 0;
	}
	snprintf(dead, sizeof(dead), "%s", rig->dial_url);
	if (rig->row->traits & (MANY | DGRAM) && rig->row->traits & (PORT | PATH)) {
		tn_server_close(rig->server, 0, server_done, rig);
		until(rig, rig->done);
		rc = tn_call(rig->loop, dead, request, sizeof(request), &reply, &len, TH_PATIENCE_MS);
		assert_true(rc == -ECONNREFUSED || rc == -ENOENT);
		assert_non_null(strstr(tn_errmsg(), dead));
	}
	rig_free(rig);
}

static void test_call_times_out(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_quiet, "");
	unsigned char first = th_byte(0);
	void *reply;
	size_t len;
	int rc;

	rig->inherited = -1;
	rc = tn_call(rig->loop, rig->dial_url, &first, shortest(rig->row), &reply, &len, 1);
	assert_int_equal(rc, -ETIMEDOUT);
	if (rig->row->traits & (MANY | DGRAM)) {
		rc = tn_call(NULL, rig->dial_url, "x", 1, &reply, &len, 50); /* nobody runs the server's loop */
		assert_int_equal(rc, -ETIMEDOUT);
	}
	for (int i = 0; i < rig->nserved; i++)
		rig->served[i].unchecked = true;
	rig_free(rig);
}

/* ---- addresses ---- */

static void test_in_use(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct tn_handler handler = handler_for(&play_echo);
	struct tn_loop *loops[2];
	struct side s = {0};

	assert_null(strstr(tn_server_url(rig->server, 0), rig->row->traits & PORT ? ":0" : "%"));
	assert_null(tn_server_url(rig->server, 1));
	assert_int_equal(tn_server_nurls(rig->server), 1);
	assert_int_equal(tn_serve(rig->loop, rig->dial_url, &handler, rig, NULL), -EADDRINUSE);
	assert_non_null(strstr(tn_errmsg(), tn_server_url(rig->server, 0)));
	loops[0] = th_loop();
	loops[1] = th_loop();
	assert_int_equal(tn_serve_loops(loops, 2, rig->dial_url, &handler, rig, NULL), -EADDRINUSE);
	tn_loop_free(loops[1]);
	tn_loop_free(loops[0]);
	dial(rig, &s, &play_sink); /* the one that is there has not been disturbed */
	send_text(&s, 10);
	until(rig, s.in == 10);
	rig_free(rig);
	check_side(&s);
}

/* What a dead server left is replaced, and what is no socket never. */
static void test_socket_files(void **state)
{
	const struct row *row = row_of(state);
	struct tn_handler handler = handler_for(&play_echo);
	int type = row->traits & DGRAM ? SOCK_DGRAM : row->traits & PACKETS ? SOCK_SEQPACKET : SOCK_STREAM;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct tn_loop *loop = th_loop();
	struct stat st;
	char url[URL_MAX];
	int fd;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", th_dir);
	row_url(row, url, sizeof(url));
	fd = open(un.sun_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "precious", 8), 8);
	close(fd);
	assert_int_equal(tn_serve(loop, url, &handler, NULL, NULL), -EADDRINUSE);
	assert_int_equal(stat(un.sun_path, &st), 0);
	assert_true(S_ISREG(st.st_mode) && st.st_size == 8);
	unlink(un.sun_path);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	if (type != SOCK_DGRAM)
		assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(tn_serve(loop, url, &handler, NULL, NULL), -EADDRINUSE); /* alive */
	close(fd);
	assert_int_equal(stat(un.sun_path, &st), 0);
	assert_int_equal(tn_serve(loop, url, &handler, NULL, NULL), 0); /* dead */
	assert_int_equal(stat(un.sun_path, &st), 0);
	tn_loop_free(loop);
	assert_int_equal(stat(un.sun_path, &st), -1);
}

/* A file that somebody else has put there meanwhile is not ours to remove. */
static void test_socket_file_of_another(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct stat st;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/s", th_dir);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	tn_server_close(rig->server, 0, server_done, rig);
	until(rig, rig->done);
	assert_int_equal(stat(path, &st), 0);
	unlink(path);
	rig_free(rig);
}

/* ---- datagrams ---- */

/* Thousands, so many at a time as the receiver's queue holds for certain. */
static void test_datagram_batches(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side s = {0};

	dial(rig, &s, &play_sink);
	for (int i = 0; i < 3000; i += 50) {
		for (int k = 0; k < 50; k++)
			send_text(&s, 20 + (size_t)k);
		until(rig, s.in == s.out);
	}
	assert_int_equal(s.msgs, 3000);
	assert_int_equal(rig->served[0].msgs, 3000);
	rig_free(rig);
	check_side(&s);
}

static void test_datagram_sizes(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side s = {0};
	unsigned char *bytes = calloc(1, 2 << 20);

	assert_non_null(bytes);
	dial(rig, &s, &play_sink);
	send_text(&s, 0);
	until(rig, s.msgs == 1);
	assert_int_equal(s.last_len, 0);
	send_text(&s, 65507);
	until(rig, s.msgs == 2);
	assert_int_equal(s.last_len, 65507);
	send_text(&s, 0);
	until(rig, s.msgs == 3);
	if (rig->row->family != AF_UNIX)
		assert_int_equal(tn_send(s.conn, bytes, rig->row->traits & BELOW ? 65536 : 65508), -EMSGSIZE);
	assert_int_equal(tn_send(s.conn, bytes, (1 << 20) + 1), TN_ETOOBIG);
	send_text(&s, 10); /* refused, not broken */
	until(rig, s.msgs == 4);
	assert_int_equal(s.last_len, 10);
	assert_int_equal(tn_send(rig->served[0].conn, "x", 1), -EDESTADDRREQ);
	assert_int_equal(tn_finish(s.conn), 0); /* does nothing */
	send_text(&s, 10);
	until(rig, s.msgs == 5);
	free(bytes);
	rig_free(rig);
	check_side(&s);
}

/* A datagram larger than there is room for is lost, or whole; a piece of it is worse than nothing. */
static void test_datagram_never_cut(void **state)
{
	static unsigned char large[100000];
	struct rig *rig = rig_new(row_of(state), &play_sink, "");
	struct side s = {0};
	uint64_t before;

	dial(rig, &s, &play_sink);
	send_text(&s, 10);
	until(rig, rig->nserved && rig->served[0].in == 10);
	rig->served[0].unchecked = true;
	before = rig->served[0].in;
	assert_int_equal(tn_send(s.conn, large, sizeof(large)), -EMSGSIZE);
	send_text(&s, 10);
	until(rig, s.closes || rig->served[0].last_len == 10);
	th_turn_for(rig->loop, 20);
	assert_true(s.closes || rig->served[0].in == before + 10 || rig->served[0].in == before + 100010);
	rig_free(rig);
	check_side(&s);
}

static void close_soon(struct side *s)
{
	s->piece = 100;
	s->goal = 500;
	push(s);
	tn_close(s->conn);
}

/* tn_close() sends what is queued, now and not when the time for it is over. */
static void test_datagram_close_with_queue(void **state)
{
	static const struct play client = {.on_open = close_soon};
	struct rig *rig = rig_new(row_of(state), &play_sink, "");
	struct side s[2] = {0};
	uint64_t start = th_now_ms();

	dial(rig, &s[0], &client);
	until(rig, s[0].closes && rig->served[0].in == 500);
	assert_int_equal(s[0].err, 0);
	dial(rig, &s[1], &play_sink); /* closed while it is dialling */
	rig->served[0].unchecked = true;
	send_text(&s[1], 100);
	tn_close(s[1].conn);
	until(rig, s[1].closes && rig->served[0].in == 600);
	assert_int_equal(s[1].err, 0);
	assert_true(th_now_ms() - start < 4000); /* key drain is 5 s */
	rig_free(rig);
	check_side(&s[0]);
	check_side(&s[1]);
}

static void test_datagram_pause(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_sink, "");
	struct side s = {0}, *server = &rig->served[0];

	until(rig, rig->nserved == 1);
	dial(rig, &s, &play_sink);
	until(rig, s.opens);
	tn_pause(server->conn);
	for (int i = 0; i < 8; i++)
		send_text(&s, 10);
	th_turn_for(rig->loop, 20);
	assert_int_equal(server->msgs, 0);
	tn_resume(server->conn);
	until(rig, server->msgs == 8);
	rig_free(rig);
	check_side(&s);
}

/* Nobody is there: UDP is told by ICMP. */
static void test_datagram_refused(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_sink, "");
	struct side s = {0};

	dial(rig, &s, &play_sink);
	until(rig, s.opens);
	tn_server_close(rig->server, 0, server_done, rig);
	until(rig, rig->done);
	send_text(&s, 10);
	until(rig, s.closes);
	assert_true(s.err == -ECONNREFUSED || s.err == -ECONNRESET);
	rig_free(rig);
	check_side(&s);
}

/* A client that went away is no trouble of the server's. */
static void test_datagram_client_gone(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side s[2] = {0};

	for (int i = 0; i < 10; i++) {
		memset(&s[0], 0, sizeof(s[0]));
		dial(rig, &s[0], &play_sink);
		until(rig, s[0].opens);
		if (rig->nserved)
			rig->served[0].unchecked = true;
		send_text(&s[0], 100);
		if (tn_loop_step(rig->loop, 0) < 0)
			fail();
		tn_abort(s[0].conn, 0);
		until(rig, s[0].closes);
		check_side(&s[0]);
	}
	s[1].unchecked = !(rig->row->traits & APART); /* it hears late replies to the others as well */
	dial(rig, &s[1], &play_sink);
	send_text(&s[1], 100);
	until(rig, s[1].in >= 100);
	assert_int_equal(rig->served[0].closes, 0);
	rig_free(rig);
	check_side(&s[1]);
}

/* The row's server as anybody's socket sees it. */
static socklen_t unix_address(const struct row *row, struct sockaddr_un *un)
{
	size_t abstract = row->traits & PATH ? 0 : 1;

	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(un->sun_path + abstract, sizeof(un->sun_path) - abstract, "%s/s", th_dir);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + strlen(un->sun_path + abstract));
}

/*
 * One that asks and never reads must not keep the replies from the others. Its socket is not connected: the kernel
 * bounds the queue of those only.
 */
static void test_datagram_stuck_client(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_echo, "");
	struct side other = {0};
	struct sockaddr_un un, any = {.sun_family = AF_UNIX};
	socklen_t len = unix_address(rig->row, &un);
	int stuck = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(stuck, (struct sockaddr *)&any, sizeof(any.sun_family)), 0);
	until(rig, rig->nserved == 1);
	rig->served[0].unchecked = true;
	for (int i = 0; i < 60; i++) {
		(void)sendto(stuck, "x", 1, 0, (struct sockaddr *)&un, len);
		th_turn_for(rig->loop, 1);
	}
	assert_true(rig->served[0].in >= 30);
	dial(rig, &other, &play_sink);
	for (int i = 0; i < 5; i++) {
		send_text(&other, 10);
		until(rig, other.in == other.out);
	}
	close(stuck);
	rig_free(rig);
	check_side(&other);
}

/* ---- things that are of no one scheme ---- */

static void test_localhost_is_both_families(void **state)
{
	static const char *const urls[] = {"tcp://localhost:0", "udp://localhost:0", "tcp://:0", "mptcp://localhost:0"};
	struct tn_handler handler = handler_for(&play_echo);
	struct tn_loop *loop = th_loop();
	struct tn_server *server;

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct rig rig = {.loop = loop, .play = &play_echo};
		struct side s[2] = {0};

		assert_int_equal(tn_serve(loop, urls[i], &handler, &rig, &server), 0);
		assert_int_equal(tn_server_nurls(server), 2);
		assert_non_null(strstr(tn_server_url(server, 0), "127.0.0.1:"));
		assert_non_null(strstr(tn_server_url(server, 1), "[::1]:"));
		assert_string_equal(strrchr(tn_server_url(server, 0), ':'), strrchr(tn_server_url(server, 1), ':'));
		for (int k = 0; k < 2; k++) {
			dial_url(&rig, &s[k], &play_sink, tn_server_url(server, k));
			send_text(&s[k], 10);
			th_until(loop, s[k].in == 10);
			tn_close(s[k].conn);
			th_until(loop, s[k].closes);
		}
		tn_server_close(server, 0, server_done, &rig);
		th_until(loop, rig.done);
		for (int k = 0; k < rig.nserved; k++)
			check_side(&rig.served[k]);
	}
	tn_loop_free(loop);
}

static void test_bad_urls(void **state)
{
	static const struct {
		const char *url;
		enum tn_role role;
		long at;
		const char *says;
	} bad[] = {
		{"tpc://localhost:1", TN_SERVE, 0, "'tcp'"},
		{"nonsense", TN_SERVE, 8, "port is missing"},
		{"", TN_DIAL, 0, "scheme"},
		{"tcp://localhost", TN_DIAL, 15, "port"},
		{"tcp://localhost:0", TN_DIAL, 16, "port 0"},
		{"tcp://localhost:70000", TN_DIAL, 16, "65535"},
		{"tcp://*:1", TN_DIAL, 6, "'*'"},
		{"tcp://localhost:10000?nodelya=1", TN_SERVE, 22, "nodelay"},
		{"tcp://localhost:10000?nodelay=maybe", TN_SERVE, 30, "nodelay"},
		{"tcp://localhost:10000?nodelay=1&nodelay=0", TN_SERVE, 32, "second"},
		{"tcp://localhost:10000?idle=5parsecs", TN_SERVE, 27, "idle"},
		{"udp://localhost:10000?idle=5s", TN_SERVE, 22, "idle"},
		{"tcp://localhost:10000?backlog=5", TN_DIAL, 22, "backlog"},
		{"udp://localhost:10000?nodelay=1", TN_SERVE, 22, "nodelay"},
		{"tcp4://[::1]:10000", TN_DIAL, 7, "IP version"},
		{"tcp://::1:10000", TN_DIAL, 6, "[::1]:10000"},
		{"unix:", TN_SERVE, 5, "path"},
		{"unix://host/path", TN_SERVE, 7, "unix:/host/path"},
		{"fd:x", TN_SERVE, 3, "number"},
#ifdef TNI_HAVE_HINTS
		{"unix:fd:3", TN_SERVE, 5, "'fd:3' alone"},
#ifdef TNI_HAVE_SHM
		{"shm:fd:3", TN_DIAL, 4, "a file of that name is ./fd:3"},
#endif
#ifdef TNI_HAVE_FILES
		{"file:fd:3?open=write", TN_DIAL, 5, "'fd:3' alone"},
		{"tty:fd:3", TN_DIAL, 4, "'fd:3' alone"},
		{"pty:fd:3", TN_DIAL, 4, "'fd:3' alone"},
#endif
#endif
		{"tcp://localhost:1/path", TN_DIAL, 17, "path"},
		{"tcp://user@localhost:1", TN_DIAL, 10, "user name"},
		{"tcp://%zz:1", TN_DIAL, 6, "hexadecimal"},
	};
	struct tn_handler handler = handler_for(&play_echo);
	struct tn_loop *loop = th_loop();
	struct side s = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int rc = tn_url_check(bad[i].url, bad[i].role);

		if (rc != TN_EURL || !strstr(tn_errmsg(), bad[i].says) || tn_errpos() != bad[i].at)
			print_error("%s: %d at %ld: %s\n", bad[i].url, rc, tn_errpos(), tn_errmsg());
		assert_int_equal(rc, TN_EURL);
		assert_non_null(strstr(tn_errmsg(), bad[i].says));
		assert_int_equal(tn_errpos(), bad[i].at);
		rc = bad[i].role == TN_SERVE ? tn_serve(loop, bad[i].url, &handler, NULL, NULL)
					     : tn_dial(loop, bad[i].url, &handler, &s, NULL);
		assert_int_equal(rc, TN_EURL);
		assert_int_equal(tn_errpos(), bad[i].at);
	}
	assert_int_equal(tn_loop_step(loop, 0), 0); /* nothing was opened */
	tn_loop_free(loop);
}

static void test_bad_descriptors(void **state)
{
	struct tn_handler handler = handler_for(&play_sink);
	int port, listener = th_tcp_listener(1, &port), before = th_count_fds();
	struct tn_loop *loop = th_loop();
	struct side s = {0};
	char url[32];

	(void)state;
	assert_int_equal(tn_dial(loop, "fd:9999", &handler, &s, NULL), -EBADF);
	assert_int_equal(tn_serve(loop, "fd:9999", &handler, NULL, NULL), -EBADF);
	snprintf(url, sizeof(url), "fd:%d", listener);
	assert_int_equal(tn_dial(loop, url, &handler, &s, NULL), -EINVAL);
	assert_int_equal(s.closes, 0);
	tn_loop_free(loop);
	assert_int_equal(th_count_fds(), before);
	close(listener);
}

/* Two datagram sockets that are there already. */
static void test_fd_datagram_pair(void **state)
{
	struct rig rig = {.loop = th_loop()};
	struct side a = {0}, b = {0};
	char url[32];
	int pair[2];

	(void)state;
	th_pair(SOCK_DGRAM, pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_url_keeps_messages(url), 1);
	dial_url(&rig, &a, &play_sink, url);
	snprintf(url, sizeof(url), "fd:%d", pair[1]);
	dial_url(&rig, &b, &play_echo, url);
	for (int i = 0; i < 30; i++) {
		send_text(&a, 100);
		th_until(rig.loop, a.in == a.out);
	}
	assert_int_equal(a.msgs, 30);
	tn_loop_free(rig.loop);
	check_side(&a);
	check_side(&b);
}

/* A reader that pauses for longer than any retry loses nothing: the socket tells when it has room again. */
static void test_slow_reader_of_unix_datagrams(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct rig rig = {.loop = th_loop()};
	struct side s = {0};
	char url[160], buf[200];
	int reader = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", th_dir);
	assert_int_equal(bind(reader, (struct sockaddr *)&un, sizeof(un)), 0);
	snprintf(url, sizeof(url), "unix-dgram:%s/s", th_dir);
	dial_url(&rig, &s, &play_sink, url);
	for (int i = 0; i < 100; i++)
		send_text(&s, 100);
	th_turn_for(rig.loop, 60);
	for (int i = 0; i < 100; i++) {
		ssize_t n;

		th_until(rig.loop, (n = recv(reader, buf, sizeof(buf), MSG_DONTWAIT)) >= 0);
		assert_int_equal(n, 100);
	}
	close(reader);
	unlink(un.sun_path);
	tn_loop_free(rig.loop);
	check_side(&s);
}

/* The same served: an answer must find its way although the peer has no name. */
static void test_fd_datagram_pair_served(void **state)
{
	struct tn_handler handler = handler_for(&play_echo);
	struct rig rig = {.loop = th_loop(), .play = &play_echo};
	struct side s = {0};
	char url[32];
	int pair[2];

	(void)state;
	th_pair(SOCK_DGRAM, pair);
	snprintf(url, sizeof(url), "fd:%d", pair[0]);
	assert_int_equal(tn_serve(rig.loop, url, &handler, &rig, NULL), 0);
	snprintf(url, sizeof(url), "fd:%d", pair[1]);
	dial_url(&rig, &s, &play_sink, url);
	send_text(&s, 100);
	th_until(rig.loop, s.in == 100 || rig.served[0].bad);
	assert_false(rig.served[0].bad);
	tn_loop_free(rig.loop);
	check_side(&s);
}

static void test_fd_pipes(void **state)
{
	static const struct play writer = {.on_open = push, .on_drain = push};
	struct rig rig = {.loop = th_loop()};
	struct side in = {0}, out = {.goal = 1 << 20, .piece = 30000, .finish = true};
	char url[32];
	int pipes[2];

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	snprintf(url, sizeof(url), "fd:%d", pipes[0]);
	dial_url(&rig, &in, &play_sink, url);
	snprintf(url, sizeof(url), "fd:%d", pipes[1]);
	dial_url(&rig, &out, &writer, url);
	assert_int_equal(tn_send(in.conn, "x", 1), TN_ESTATE); /* it only reads */
	th_until(rig.loop, in.closes && out.closes);
	assert_int_equal(in.err, 0);
	assert_int_equal(out.err, 0);
	assert_true(in.in == 1 << 20);
	tn_loop_free(rig.loop);
	check_side(&in);
	check_side(&out);
}

/* A descriptor that can only be written has an end at once, for who asks; otherwise it goes on. */
static void test_fd_of_the_wrong_direction(void **state)
{
	static const struct play listener = {.on_end = close_side}, writer = {.on_open = nothing};
	struct rig rig = {.loop = th_loop()};
	struct side in = {0}, out = {0};
	char url[32];
	int pipes[2];

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	snprintf(url, sizeof(url), "fd:%d", dup(pipes[1]));
	dial_url(&rig, &in, &listener, url);
	snprintf(url, sizeof(url), "fd:%d", pipes[1]);
	dial_url(&rig, &out, &writer, url);
	th_until(rig.loop, in.closes);
	assert_true(in.ends == 1 && in.err == 0);
	th_turn_for(rig.loop, 20);
	assert_int_equal(out.closes, 0);
	assert_int_equal(tn_send(out.conn, "x", 1), 0);
	tn_loop_free(rig.loop);
	close(pipes[0]);
	check_side(&in);
	check_side(&out);
}

static struct tn_conn *narrow;
static int forwarded, sent_again;

static void forward_to_narrow(struct side *s, const struct tn_msg *msg)
{
	(void)s;
	forwarded = tn_forward(narrow, msg);
	sent_again = tn_send(narrow, msg->data, msg->len);
}

/* Of two connections with other limits the one that sends has the say; without a frame no length is too much. */
static void test_max_of_the_destination(void **state)
{
	static const struct play server = {.on_msg = forward_to_narrow};
	struct rig *rig = rig_new(&rows[0], &server, "frame=u32");
	struct rig *other = rig_new(&rows[0], &play_sink, "");
	struct side from = {.unchecked = true}, to = {0};

	(void)state;
	dial_url(rig, &to, &play_sink, with_keys(other->dial_url, "frame=u32&max=1KiB", (char[URL_MAX]){0}, URL_MAX));
	narrow = to.conn;
	dial_keys(rig, &from, &play_sink, "frame=u32");
	forwarded = sent_again = 0;
	send_text(&from, 100000);
	until(rig, forwarded);
	assert_int_equal(forwarded, TN_ETOOBIG);
	assert_int_equal(sent_again, TN_ETOOBIG);
	rig_free(rig);
	rig_free(other);
	check_side(&from);
	check_side(&to);
}

static void test_longer_than_max(void **state)
{
	struct rig *rig = rig_new(row_of(state), &play_sink, "");
	struct side s = {0};

	dial_keys(rig, &s, &play_sink, "max=1KiB&queue=2KiB");
	send_text(&s, 1000);
	send_text(&s, 3 << 20);
	assert_int_equal(tn_send(s.conn, "x", 1), TN_EFULL);
	until(rig, rig->nserved && rig->served[0].in == s.out);
	rig_free(rig);
	check_side(&s);
}

static volatile sig_atomic_t sigpipes;

static void count_sigpipe(int sig)
{
	(void)sig;
	sigpipes++;
}

static void test_fd_pipe_without_reader(void **state)
{
	void (*old)(int) = signal(SIGPIPE, count_sigpipe);
	struct rig rig = {.loop = th_loop()};
	struct side s = {0};
	char url[32];
	int pipes[2];

	(void)state;
	sigpipes = 0;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	snprintf(url, sizeof(url), "fd:%d", pipes[1]);
	dial_url(&rig, &s, &play_sink, url);
	close(pipes[0]);
	send_text(&s, 100);
	th_until(rig.loop, s.closes);
	signal(SIGPIPE, old);
	assert_int_equal(s.err, -EPIPE);
	assert_int_equal(sigpipes, 0);
	tn_loop_free(rig.loop);
	check_side(&s);
}

/* A relay from a stream to a datagram socket that is still dialling: what is passed on early must not vanish. */
static struct tn_conn *relay_to;

static void relay_msg(struct side *s, const struct tn_msg *msg)
{
	s->bad = s->bad || tn_forward(relay_to, msg) < 0;
}

static void dial_then_relay(struct side *s, const struct tn_msg *msg)
{
	struct side *onward = (struct side *)(void *)s->rig->served[SERVED_MAX - 1].rig;

	if (!onward->conn) {
		dial_url(s->rig, onward, &play_sink, s->rig->serve_url);
		relay_to = onward->conn;
	}
	relay_msg(s, msg);
}

static void test_forward_to_a_dialling_datagram_socket(void **state)
{
	static const struct play relay = {.on_msg = dial_then_relay};
	struct rig *rig = rig_new(&rows[0], &relay, "");
	struct tn_handler handler = handler_for(&play_sink);
	struct rig udp = {.loop = rig->loop, .play = &play_sink};
	struct side s = {0}, onward = {0};
	struct tn_server *server;

	(void)state;
	assert_int_equal(tn_serve(rig->loop, "udp://127.0.0.1:0", &handler, &udp, &server), 0);
	snprintf(rig->serve_url, sizeof(rig->serve_url), "%s", tn_server_url(server, 0));
	rig->served[SERVED_MAX - 1].rig = (struct rig *)(void *)&onward;
	dial(rig, &s, &play_sink);
	send_text(&s, 3000);
	until(rig, udp.nserved && udp.served[0].in == 3000);
	rig_free(rig);
	check_side(&udp.served[0]);
	check_side(&onward);
	check_side(&s);
}

static int polls_fired;

static void poll_fired(void *arg)
{
	char bytes[64];

	polls_fired++;
	while (read(*(int *)arg, bytes, sizeof(bytes)) > 0)
		;
}

static void test_user_poll(void **state)
{
	struct tn_loop *loop = th_loop();
	struct tn_poll *poll_handle;
	int pipes[2];

	(void)state;
	polls_fired = 0;
	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(tn_poll_start(loop, pipes[0], poll_fired, &pipes[0], &poll_handle), 0);
	for (int i = 0; i < 20; i++) {
		int before = polls_fired;

		assert_int_equal(write(pipes[1], "x", 1), 1);
		th_until(loop, polls_fired > before);
	}
	tn_poll_stop(poll_handle);
	tn_poll_stop(NULL);
	assert_int_equal(tn_loop_step(loop, 0), 0);
	assert_int_equal(fcntl(pipes[0], F_GETFD), FD_CLOEXEC); /* still ours */
	assert_int_equal(tn_poll_start(loop, pipes[0], poll_fired, &pipes[0], NULL), 0);
	tn_loop_free(loop);
	close(pipes[0]);
	close(pipes[1]);
}

/* ---- rows x tests ---- */

struct case_ {
	const char *name;
	CMUnitTestFunction run;
	unsigned any;  /* traits of which a row must have one */
	unsigned all;  /* traits that it must have all */
	unsigned none; /* traits of which it must have none */
};

#define ANY (CONNECTED | DGRAM)

static const struct case_ cases[] = {
	{"echo", test_echo, ANY, 0, 0},
	{"send before open", test_send_before_open, ANY, 0, 0},
	{"large transfer", test_large_transfer, CONNECTED, 0, LOSSY},
	{"half-close by the client", test_half_close_by_client, CONNECTED, 0, 0},
	{"half-close by the server", test_half_close_by_server, CONNECTED, 0, 0},
	{"finish at once", test_finish_at_once, CONNECTED, 0, 0},
	{"bare end", test_bare_end, STREAM, 0, MEMORY},
	{"broken pipe", test_broken_pipe, STREAM, LOCAL, MEMORY},
	{"send and leave", test_send_and_leave, CONNECTED, 0, 0},
	{"refused", test_refused, CONNECTED, MANY, 0},
	{"dial without an answer", test_dial_without_answer, CONNECTED, MANY, 0},
	{"abort is a reset", test_abort_is_a_reset, CONNECTED, 0, 0},
	{"longer than max", test_longer_than_max, STREAM, 0, 0},
	{"backpressure", test_backpressure, CONNECTED, 0, LOSSY},
	{"flood until full", test_flood_until_full, CONNECTED, 0, LOSSY},
	{"pause and resume", test_pause_and_resume, CONNECTED, 0, 0},
	{"close with data in flight", test_close_with_data_in_flight, CONNECTED, 0, LOSSY},
	{"drain deadline", test_drain_deadline, CONNECTED, 0, LOSSY},
	{"idle", test_idle, CONNECTED, 0, 0},
	{"close from every callback", test_close_from_every_callback, CONNECTED, 0, 0},
	{"close from every dialled callback", test_close_from_every_dialled_callback, CONNECTED, 0, 0},
	{"a message outlives tn_close", test_message_outlives_close, CONNECTED, MANY, 0},
	{"server close", test_server_close, CONNECTED, MANY, 0},
	{"server close at the deadline", test_server_close_deadline, CONNECTED, MANY, 0},
	{"server close waits for a late reply", test_server_close_waits_for_a_late_reply, ANY, 0, BELOW},
	{"half-close waits for a late reply", test_half_close_waits_for_a_late_reply, CONNECTED, 0, 0},
	{"server close cuts off what is owed", test_server_close_cuts_off_what_is_owed, CONNECTED, 0, 0},
	{"server close waits for a paused one", test_server_close_waits_for_a_paused_one, CONNECTED, 0, 0},
	{"server close cuts off a paused one", test_server_close_cuts_off_a_paused_one, CONNECTED, RESETS, 0},
	{"idle with a queue", test_idle_with_a_queue, CONNECTED, 0, LOSSY},
	{"server close at once", test_server_close_at_once, ANY, 0, 0},
	{"server close without done", test_server_close_without_done, ANY, 0, 0},
	{"loop freed with all open", test_loop_freed_with_all_open, CONNECTED | APART, 0, 0},
	{"limit", test_limit, CONNECTED, MANY, 0},
	{"accepts no more", test_stop, CONNECTED, MANY, 0},
	{"many clients", test_many_clients, CONNECTED, MANY, 0},
	{"what secures it", test_security, CONNECTED, 0, 0},
	{"resumption", test_resumption, CONNECTED, TLS, 0},
	{"several servers", test_several_servers, ANY, URL, 0},
	{"two threads", test_two_threads, ANY, URL, 0},
	{"call", test_call, ANY, 0, 0},
	{"call times out", test_call_times_out, ANY, 0, 0},
	{"in use", test_in_use, ANY, URL, 0},
	{"socket files", test_socket_files, ANY, PATH, 0},
	{"socket file of another", test_socket_file_of_another, ANY, PATH, 0},
	{"batches", test_datagram_batches, DGRAM, 0, 0},
	{"sizes", test_datagram_sizes, DGRAM, EMPTY, 0},
	{"never cut", test_datagram_never_cut, DGRAM, LOCAL, 0},
	{"close with a queue", test_datagram_close_with_queue, DGRAM, 0, 0},
	{"pause", test_datagram_pause, DGRAM, 0, 0},
	{"nobody there", test_datagram_refused, DGRAM, APART, 0},
	{"client gone", test_datagram_client_gone, DGRAM, 0, 0},
	{"stuck client", test_datagram_stuck_client, DGRAM, LOCAL, 0},
};

#define NROWS (sizeof(rows) / sizeof(rows[0]))
#define NCASES (sizeof(cases) / sizeof(cases[0]))

#define T(fn) cmocka_unit_test_setup_teardown(fn, th_setup, th_teardown)

static const struct CMUnitTest lone[] = {
	T(test_localhost_is_both_families),
	T(test_bad_urls),
	T(test_bad_descriptors),
	T(test_fd_datagram_pair),
	T(test_fd_datagram_pair_served),
	T(test_slow_reader_of_unix_datagrams),
	T(test_fd_pipes),
	T(test_fd_pipe_without_reader),
	T(test_fd_of_the_wrong_direction),
	T(test_max_of_the_destination),
	T(test_forward_to_a_dialling_datagram_socket),
	T(test_user_poll),
};

#define NLONE (sizeof(lone) / sizeof(lone[0]))

static struct CMUnitTest all[NROWS * NCASES + NLONE];
static char names[NROWS * NCASES][80];

#ifdef TNI_HAVE_TLS
static void make_certs(void)
{
	strcpy(certs_dir, "/tmp/tenon-certs-XXXXXX");
	if (!mkdtemp(certs_dir))
		abort();
	certs_make(certs_dir, "ca", NULL, NULL, -1, 1);
	certs_make(certs_dir, "peer", "ca", "DNS:localhost,IP:127.0.0.1,IP:::1", -1, 1);
}

static void remove_certs(void)
{
	certs_remove(certs_dir);
}
#else
static void make_certs(void)
{
}

static void remove_certs(void)
{
}
#endif

/* cmocka hands the initial state to set-up, which has to leave it for the test. */
int main(int argc, char **argv)
{
	size_t n = 0;
	bool below = may_go_below();
	int failed;

	for (size_t r = 0; r < NROWS; r++) {
		if (rows[r].traits & BELOW && !below)
			continue;
		for (size_t c = 0; c < NCASES; c++) {
			if (!(rows[r].traits & cases[c].any) || (rows[r].traits & cases[c].all) != cases[c].all ||
			    rows[r].traits & cases[c].none)
				continue;
			snprintf(names[n], sizeof(names[n]), "%s: %s", rows[r].name, cases[c].name);
			all[n] = (struct CMUnitTest)T(cases[c].run);
			all[n].name = names[n];
			all[n].initial_state = (void *)(uintptr_t)&rows[r];
			n++;
		}
	}
	memcpy(&all[n], lone, sizeof(lone));
	make_certs();
	failed = th_main(argc, argv, "scheme", all, n + NLONE);
	remove_certs();
	return failed;
}
