/* The schedule of RFC 8305 by itself; then dials to real sockets, with a scripted name server, on every engine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "dns_reply.h"
#include "io/loop.h"
#include "io/sim.h"
#include "net/addr.h"
#include "net/dial.h"
#include "net/race.h"
#include "net/resolve.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#define MS TNI_NS_PER_MS

/* ---- the schedule ---- */

static struct tn_addr numbered(int family, int i)
{
	struct tn_addr addr;
	char text[32];

	snprintf(text, sizeof(text), family == AF_INET ? "192.0.2.%d" : "2001:db8::%d", i);
	assert_int_equal(tni_addr_literal(&addr, text, 80), 0);
	return addr;
}

/* Gives `n` addresses, numbered from `from`. */
static void give(struct tni_race *race, int family, int from, int n, uint64_t now)
{
	struct tn_addr addrs[32];

	for (int i = 0; i < n; i++)
		addrs[i] = numbered(family, from + i);
	assert_int_equal(tni_race_answer(race, family, addrs, n, now), 0);
}

static void starts(struct tni_race *race, uint64_t now, int family, int i)
{
	struct tn_addr wanted = numbered(family, i);
	const struct tn_addr *addr = NULL;
	uint64_t when;

	assert_int_equal(tni_race_next(race, now, &addr, &when), TNI_RACE_START);
	assert_int_equal(addr->len, wanted.len);
	assert_memory_equal(addr->bytes, wanted.bytes, wanted.len);
}

static void waits(struct tni_race *race, uint64_t now, uint64_t until)
{
	const struct tn_addr *addr = NULL;
	uint64_t when = 0;

	assert_int_equal(tni_race_next(race, now, &addr, &when), TNI_RACE_WAIT);
	assert_true(when == until);
}

static void is_lost(struct tni_race *race, uint64_t now)
{
	const struct tn_addr *addr;
	uint64_t when;

	assert_int_equal(tni_race_next(race, now, &addr, &when), TNI_RACE_LOST);
}

static void expect_both(struct tni_race *race)
{
	tni_race_init(race, AF_INET6);
	tni_race_expect(race, AF_INET6);
	tni_race_expect(race, AF_INET);
	waits(race, 0, TNI_NEVER);
}

static void test_race_interleaves(void **state)
{
	struct tni_race race;

	(void)state;
	expect_both(&race);
	give(&race, AF_INET6, 1, 3, 0);
	give(&race, AF_INET, 1, 2, 0);
	starts(&race, 0, AF_INET6, 1);
	waits(&race, 0, 250 * MS);
	waits(&race, 250 * MS - 1, 250 * MS);
	starts(&race, 250 * MS, AF_INET, 1);
	starts(&race, 500 * MS, AF_INET6, 2);
	starts(&race, 750 * MS, AF_INET, 2);
	starts(&race, 1000 * MS, AF_INET6, 3);
	waits(&race, 2000 * MS, TNI_NEVER);
	for (int i = 0; i < 5; i++) {
		waits(&race, 2000 * MS, TNI_NEVER);
		tni_race_failed(&race);
	}
	is_lost(&race, 2000 * MS);
	tni_race_free(&race);
}

static void test_race_failure_starts_next(void **state)
{
	struct tni_race race;

	(void)state;
	expect_both(&race);
	give(&race, AF_INET6, 1, 2, 0);
	give(&race, AF_INET, 1, 1, 0);
	starts(&race, 0, AF_INET6, 1);
	tni_race_failed(&race);
	starts(&race, 1, AF_INET, 1);
	waits(&race, 2, 250 * MS + 1);
	tni_race_failed(&race);
	starts(&race, 3, AF_INET6, 2);
	tni_race_failed(&race);
	is_lost(&race, 4);
	tni_race_free(&race);
}

static void test_race_resolution_delay(void **state)
{
	struct tni_race race;

	(void)state;
	/* IPv6 first: no wait for IPv4, which joins later. */
	expect_both(&race);
	give(&race, AF_INET6, 1, 2, 10 * MS);
	starts(&race, 10 * MS, AF_INET6, 1);
	give(&race, AF_INET, 1, 1, 20 * MS);
	waits(&race, 20 * MS, 260 * MS);
	starts(&race, 260 * MS, AF_INET, 1);
	starts(&race, 510 * MS, AF_INET6, 2);
	tni_race_free(&race);

	/* IPv4 first, IPv6 in time. */
	expect_both(&race);
	give(&race, AF_INET, 1, 1, 10 * MS);
	waits(&race, 10 * MS, 60 * MS);
	give(&race, AF_INET6, 1, 1, 30 * MS);
	starts(&race, 30 * MS, AF_INET6, 1);
	waits(&race, 30 * MS, 280 * MS);
	tni_race_free(&race);

	/* IPv6 too late: it joins, and its turn is next. */
	expect_both(&race);
	give(&race, AF_INET, 1, 2, 10 * MS);
	starts(&race, 60 * MS, AF_INET, 1);
	give(&race, AF_INET6, 1, 1, 70 * MS);
	waits(&race, 70 * MS, 310 * MS);
	starts(&race, 310 * MS, AF_INET6, 1);
	starts(&race, 560 * MS, AF_INET, 2);
	tni_race_free(&race);

	/* There is none of IPv6: nothing to wait for. */
	expect_both(&race);
	give(&race, AF_INET, 1, 1, 10 * MS);
	give(&race, AF_INET6, 1, 0, 15 * MS);
	starts(&race, 15 * MS, AF_INET, 1);
	tni_race_free(&race);
	expect_both(&race);
	give(&race, AF_INET6, 1, 0, 10 * MS);
	give(&race, AF_INET, 1, 1, 15 * MS);
	starts(&race, 15 * MS, AF_INET, 1);
	tni_race_free(&race);
}

static void test_race_late_address(void **state)
{
	struct tni_race race;

	(void)state;
	/* All that was there has failed before the rest comes: it starts at once. */
	expect_both(&race);
	give(&race, AF_INET, 1, 1, 0);
	starts(&race, 50 * MS, AF_INET, 1);
	tni_race_failed(&race);
	waits(&race, 51 * MS, TNI_NEVER);
	give(&race, AF_INET6, 1, 1, 60 * MS);
	starts(&race, 60 * MS, AF_INET6, 1);
	tni_race_failed(&race);
	is_lost(&race, 61 * MS);
	tni_race_free(&race);
}

static void test_race_nothing(void **state)
{
	struct tni_race race;

	(void)state;
	expect_both(&race);
	give(&race, AF_INET, 1, 0, 0);
	waits(&race, 0, TNI_NEVER);
	give(&race, AF_INET6, 1, 0, 0);
	is_lost(&race, 0);
	tni_race_free(&race);
	tni_race_init(&race, AF_INET6);
	is_lost(&race, 0);
	tni_race_free(&race);
}

static void test_race_bounds(void **state)
{
	struct tni_race race;

	(void)state;
	tni_race_init(&race, AF_INET);
	give(&race, AF_INET6, 1, 1, 0);
	give(&race, AF_INET, 1, 2, 0);
	give(&race, AF_INET, 1, 3, 0); /* two of them are there already */
	starts(&race, 0, AF_INET, 1);
	starts(&race, 1000 * MS, AF_INET6, 1);
	starts(&race, 2000 * MS, AF_INET, 2);
	starts(&race, 3000 * MS, AF_INET, 3);
	waits(&race, 4000 * MS, TNI_NEVER);
	give(&race, AF_INET, 1, 32, 4000 * MS);
	for (int i = 4; i <= 32; i++)
		starts(&race, (uint64_t)i * 1000 * MS, AF_INET, i);
	waits(&race, 40000 * MS, TNI_NEVER);
	tni_race_free(&race);
}

/* ---- a name server ---- */

/* Says nothing; right after the next reply */
enum { NEVER = -1, HELD = -2 };

static const struct dns_rule rules[] = {
	{"four", A, "127.0.0.1", NOERROR, 0, false},
	{"four", AAAA, "", NOERROR, 0, false},
	{"six", A, "", NOERROR, 0, false},
	{"six", AAAA, "::1", NOERROR, 0, false},
	{"both", A, "127.0.0.1", NOERROR, 0, false},
	{"both", AAAA, "::1", NOERROR, 0, false},
	{"soon", A, "127.0.0.1", NOERROR, 0, false}, /* IPv6 within the resolution delay */
	{"soon", AAAA, "::1", NOERROR, HELD, false},
	{"late", A, "127.0.0.1", NOERROR, 0, false}, /* IPv6 long after it */
	{"late", AAAA, "::1", NOERROR, 30000, false},
	{"mute", A, "", NOERROR, NEVER, false},
	{"mute", AAAA, "", NOERROR, NEVER, false},
	{"half", A, "127.0.0.1", NOERROR, 0, false}, /* nobody ever says whether there is an IPv6 address */
	{"half", AAAA, "", NOERROR, NEVER, false},
	{"sick", A, "", SERVFAIL, 0, false},
	{"sick", AAAA, "", NOERROR, 0, false},
	{"many", A, "127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.5 127.0.0.6 127.0.0.7 127.0.0.8", NOERROR, 0,
	 false},
	{"many", AAAA, "", NOERROR, 0, false},
};

struct reply {
	struct fixture *fixture;
	struct sockaddr_in to;
	struct dns_reply dns;
};

#define REPLIES_MAX 64

struct fixture {
	struct tn_loop *loop;
	struct tn_poll *poll;
	int names; /* the name server's socket */
	struct reply *replies[REPLIES_MAX], *held;
	int nreplies;
	int fds;
};

static void send_reply(void *arg)
{
	struct reply *r = arg, *held = r->fixture->held;

	sendto(r->fixture->names, r->dns.data, r->dns.len, 0, (struct sockaddr *)&r->to, sizeof(r->to));
	r->fixture->held = NULL;
	if (held)
		send_reply(held);
}

static void names_readable(void *arg)
{
	struct fixture *f = arg;
	unsigned char query[512];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t n;

	while ((n = recvfrom(f->names, query, sizeof(query), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len)) > 0) {
		struct reply *r = calloc(1, sizeof(*r));
		const struct dns_rule *rule;

		assert_true(r && f->nreplies < REPLIES_MAX);
		f->replies[f->nreplies++] = r;
		r->fixture = f;
		r->to = from;
		rule = dns_answer(rules, sizeof(rules) / sizeof(rules[0]), query, (size_t)n, false, &r->dns);
		if (rule && rule->delay_ms > 0)
			assert_int_equal(tn_timer_start(f->loop, (uint64_t)rule->delay_ms, send_reply, r, NULL), 0);
		else if (rule && rule->delay_ms == HELD)
			f->held = r;
		else if (!rule || rule->delay_ms != NEVER)
			send_reply(r);
	}
}

/* ---- what every test starts with ---- */

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* A socket bound to an address (port 0: any, which is filled in); `backlog` < 0: it does not listen. */
static int bound(struct tn_addr *addr, int type, int backlog)
{
	int fd = socket(tni_addr_family(addr), type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, tn_addr_sockaddr(addr), addr->len), 0);
	assert_int_equal(tni_addr_local(fd, addr), 0);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

static int setup(void **state)
{
	const char *engine = *state;
	struct fixture *f = calloc(1, sizeof(*f));
	struct tn_addr addr;
	char text[64];

	f->fds = count_fds();
	f->names = -1;
	*state = f;
	if (tn_loop_new(&f->loop, engine) < 0)
		return strcmp(engine, "uring"); /* refused by this system: the tests are skipped */
	tni_addr_loopback(&addr, AF_INET, 0);
	f->names = bound(&addr, SOCK_DGRAM, -1);
	if (tn_poll_start(f->loop, f->names, names_readable, f, &f->poll) < 0)
		return -1;
	return tni_resolver_set_servers(f->loop, tn_addr_text(&addr, text, sizeof(text)));
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int fds = f->fds;

	tn_loop_free(f->loop);
	if (f->names >= 0)
		close(f->names);
	for (int i = 0; i < f->nreplies; i++)
		free(f->replies[i]);
	free(f);
	assert_int_equal(count_fds(), fds);
	return 0;
}

static struct fixture *fixture(void **state)
{
	struct fixture *f = *state;

	if (!f->loop)
		skip();
	return f;
}

/* For tests that need both families. */
static struct fixture *fixture6(void **state)
{
	struct tn_addr addr;
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

	tni_addr_loopback(&addr, AF_INET6, 0);
	rc = fd < 0 ? -1 : bind(fd, tn_addr_sockaddr(&addr), addr.len);
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		skip(); /* a system without IPv6 */
	return fixture(state);
}

struct result {
	int calls, fd;
	char text[1024];
	int prepared, prepare_family;
	struct tni_dial *dial;
};

static void note(void *arg, int fd_or_err)
{
	struct result *r = arg;

	r->calls++;
	r->fd = fd_or_err;
	r->dial = NULL;
	if (fd_or_err < 0)
		snprintf(r->text, sizeof(r->text), "%s", tn_errmsg());
}

static struct tni_dial_spec to_host(const char *host, int port)
{
	return (struct tni_dial_spec){
		.host = host, .port = port, .type = SOCK_STREAM, .timeout_ns = TNI_NEVER, .name = "tcp://it"};
}

static struct tni_dial_spec to_addr(const struct tn_addr *addr, int type)
{
	return (struct tni_dial_spec){.addr = addr, .type = type, .timeout_ns = TNI_NEVER, .name = "unix:it"};
}

static void start(struct fixture *f, struct result *r, const struct tni_dial_spec *spec)
{
	*r = (struct result){.fd = -1};
	assert_int_equal(tni_dial_start(f->loop, spec, note, r, &r->dial), 0);
	assert_int_equal(r->calls, 0);
}

static void finish(struct fixture *f, struct result *r)
{
	uint64_t until = tni_clock_ns() + 20 * TNI_NS_PER_S;

	while (!r->calls && tni_clock_ns() < until)
		assert_true(tn_loop_step(f->loop, 5) >= 0);
	assert_int_equal(r->calls, 1);
}

static void turn_for(struct fixture *f, int ms)
{
	uint64_t until = tni_clock_ns() + (uint64_t)ms * MS;

	while (tni_clock_ns() < until)
		assert_true(tn_loop_step(f->loop, 5) >= 0);
}

static int dial(struct fixture *f, struct result *r, const struct tni_dial_spec *spec)
{
	start(f, r, spec);
	finish(f, r);
	return r->fd;
}

static void nothing(void *arg)
{
	(void)arg;
}

/* Is this what the dial promises: connected, close-on-exec, blocking, and out of the engine? Closes it. */
static void assert_connected(struct fixture *f, struct result *r, const char *peer)
{
	struct tn_addr addr;
	struct tn_poll *poll = NULL;
	char text[128];

	if (r->fd < 0)
		fail_msg("%s", r->text);
	assert_int_equal(fcntl(r->fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(r->fd, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(tni_addr_peer(r->fd, &addr), 0);
	if (peer)
		assert_string_equal(tn_addr_text(&addr, text, sizeof(text)), peer);
	assert_int_equal(tn_poll_start(f->loop, r->fd, nothing, NULL, &poll), 0);
	tn_poll_stop(poll);
	close(r->fd);
}

static void assert_failed(const struct result *r, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void assert_failed(const struct result *r, int err, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* What a person can do about it may follow in brackets */
	if (strncmp(r->text, text, strlen(text)) != 0 ||
	    (r->text[strlen(text)] && strncmp(r->text + strlen(text), " (", 2) != 0))
		assert_string_equal(r->text, text);
	assert_int_equal(r->fd, err);
}

/* A loopback listener; *port 0: any. -1: the port is taken in this family. */
static int listener(int family, int *port)
{
	struct tn_addr addr;
	int fd, one = 1;

	tni_addr_loopback(&addr, family, *port);
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, tn_addr_sockaddr(&addr), addr.len) < 0) {
		close(fd);
		return -1;
	}
	assert_int_equal(listen(fd, 64), 0);
	tni_addr_local(fd, &addr);
	*port = tni_addr_port(&addr);
	return fd;
}

/* A port on which nobody listens, in either family: held by sockets that are bound but do not listen. */
struct hole {
	int port, fd[2];
};

static struct hole hole_open(void)
{
	struct hole h = {.port = 0};
	struct tn_addr addr;

	for (int i = 0; i < 100; i++) {
		tni_addr_loopback(&addr, AF_INET, 0);
		h.fd[0] = bound(&addr, SOCK_STREAM, -1);
		h.port = tni_addr_port(&addr);
		tni_addr_loopback(&addr, AF_INET6, h.port);
		h.fd[1] = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (bind(h.fd[1], tn_addr_sockaddr(&addr), addr.len) == 0)
			return h;
		close(h.fd[0]);
		close(h.fd[1]);
	}
	fail_msg("no port is free in both families");
	return h;
}

static void hole_close(struct hole *h)
{
	close(h->fd[0]);
	close(h->fd[1]);
}

/* Lets a port of a hole be listened on, in one family. */
static void hole_listen(struct hole *h, int family)
{
	assert_int_equal(listen(h->fd[family == AF_INET6], 64), 0);
}

/* A listener that answers nothing any more: the one connection its queue has room for is there. */
struct blackhole {
	int fd, filler;
};

static struct blackhole hole_swallow(struct hole *h, int family)
{
	struct blackhole b = {.fd = h->fd[family == AF_INET6]};
	struct tn_addr addr;

	assert_int_equal(listen(b.fd, 0), 0);
	assert_int_equal(tni_addr_local(b.fd, &addr), 0);
	b.filler = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(b.filler, tn_addr_sockaddr(&addr), addr.len), 0);
	return b;
}

/* ---- streams over IP ---- */

static void test_literals(void **state)
{
	struct fixture *f = fixture6(state);
	static const char *const hosts[] = {"127.0.0.1", "::1"};
	char peer[64];

	for (int i = 0; i < 2; i++) {
		int port = 0, fd = listener(i ? AF_INET6 : AF_INET, &port);
		struct tni_dial_spec spec = to_host(hosts[i], port);
		struct result r;

		dial(f, &r, &spec);
		snprintf(peer, sizeof(peer), i ? "[::1]:%d" : "127.0.0.1:%d", port);
		assert_connected(f, &r, peer);
		spec.family = i ? AF_INET6 : AF_INET;
		dial(f, &r, &spec);
		assert_connected(f, &r, peer);
		spec.family = i ? AF_INET : AF_INET6;
		assert_int_equal(tni_dial_start(f->loop, &spec, note, &r, &r.dial), TN_EURL);
		snprintf(r.text, sizeof(r.text), "%s", tn_errmsg());
		assert_string_equal(r.text, i ? "tcp://it: ::1 is not an IPv4 address"
					      : "tcp://it: 127.0.0.1 is not an IPv6 address");
		close(fd);
	}
}

static void test_localhost(void **state)
{
	struct fixture *f = fixture6(state);
	struct hole h = hole_open();
	struct tni_dial_spec spec = to_host("localhost", h.port);
	struct result r;
	char peer[64];

	/* IPv6 refuses, IPv4 listens. */
	hole_listen(&h, AF_INET);
	dial(f, &r, &spec);
	snprintf(peer, sizeof(peer), "127.0.0.1:%d", h.port);
	assert_connected(f, &r, peer);
	spec.host = "";
	dial(f, &r, &spec);
	assert_connected(f, &r, peer);
	spec.family = AF_INET6;
	dial(f, &r, &spec);
	assert_failed(&r, -ECONNREFUSED, "tcp://it: connect to [::1]:%d: Connection refused", h.port);

	/* Both do. */
	hole_listen(&h, AF_INET6);
	snprintf(peer, sizeof(peer), "[::1]:%d", h.port);
	spec.family = AF_UNSPEC;
	spec.host = "x.localhost";
	dial(f, &r, &spec);
	assert_connected(f, &r, peer);
	spec.family = AF_INET;
	dial(f, &r, &spec);
	snprintf(peer, sizeof(peer), "127.0.0.1:%d", h.port);
	assert_connected(f, &r, peer);
	hole_close(&h);
}

static void test_refused(void **state)
{
	struct fixture *f = fixture6(state);
	struct hole h = hole_open();
	struct tni_dial_spec spec = to_host("127.0.0.1", h.port);
	struct result r;

	dial(f, &r, &spec);
	assert_failed(&r, -ECONNREFUSED, "tcp://it: connect to 127.0.0.1:%d: Connection refused", h.port);
	spec.host = "localhost";
	dial(f, &r, &spec);
	assert_failed(&r, -ECONNREFUSED,
		      "tcp://it: connect to [::1]:%d: Connection refused; connect to 127.0.0.1:%d: Connection refused",
		      h.port, h.port);
	hole_close(&h);
}

/* Whether the loop runs for its sake is its owner's to say: a connection. */
static void test_keeps_no_loop_alive(void **state)
{
	struct fixture *f = fixture6(state);
	struct hole h = hole_open();
	struct tni_dial_spec spec = to_host("127.0.0.1", h.port);
	struct result r;

	tn_poll_stop(f->poll);
	assert_int_equal(f->loop->alive, 0);
	start(f, &r, &spec);
	assert_int_equal(f->loop->alive, 0);
	finish(f, &r);
	start(f, &r, &spec);
	tni_dial_cancel(r.dial);
	assert_int_equal(f->loop->alive, 0);
	spec.host = "mute.test";
	start(f, &r, &spec);
	tn_loop_step(f->loop, 0);
	tni_dial_cancel(r.dial);
	assert_int_equal(tn_loop_run(f->loop), 0);
	assert_int_equal(r.calls, 0);
	hole_close(&h);
}

static void test_timeout(void **state)
{
	struct fixture *f = fixture6(state);
	struct hole h = hole_open();
	struct blackhole b = hole_swallow(&h, AF_INET);
	struct tni_dial_spec spec = to_host("127.0.0.1", h.port);
	struct result r;

	spec.timeout_ns = 100 * MS;
	dial(f, &r, &spec);
	assert_failed(&r, -ETIMEDOUT, "tcp://it: timed out after 100ms while connecting to 127.0.0.1:%d", h.port);
	spec.host = "localhost";
	dial(f, &r, &spec);
	assert_failed(
		&r, -ETIMEDOUT,
		"tcp://it: timed out after 100ms while connecting to 127.0.0.1:%d (no answer: is the host up, does a "
		"firewall drop what is sent?); "
		"connect to [::1]:%d: Connection refused",
		h.port, h.port);
	spec.host = "mute.test";
	dial(f, &r, &spec);
	assert_failed(&r, -ETIMEDOUT, "tcp://it: timed out after 100ms while looking up mute.test");
	close(b.filler);
	hole_close(&h);
}

/* IPv6 is silent: IPv4 has its turn a quarter of a second later. */
static void test_second_address_while_first_hangs(void **state)
{
	struct fixture *f = fixture6(state);
	struct hole h = hole_open();
	struct blackhole b = hole_swallow(&h, AF_INET6);
	struct tni_dial_spec spec = to_host("localhost", h.port);
	uint64_t began = tni_clock_ns();
	struct result r;
	char peer[64];

	hole_listen(&h, AF_INET);
	dial(f, &r, &spec);
	assert_true(tni_clock_ns() - began >= 250 * MS);
	snprintf(peer, sizeof(peer), "127.0.0.1:%d", h.port);
	assert_connected(f, &r, peer);
	close(b.filler);
	hole_close(&h);
}

/* Binds to the very port that is dialled: TCP connects such a socket to itself. */
static int bind_to_target(int fd, int family, int after, void *arg)
{
	struct result *r = arg;
	struct tn_addr addr;

	(void)after;
	tni_addr_loopback(&addr, family, r->prepare_family);
	return bind(fd, tn_addr_sockaddr(&addr), addr.len) < 0 ? -errno : 0;
}

static void test_self_connect(void **state)
{
	struct fixture *f = fixture(state);
	int port = 0, fd = listener(AF_INET, &port);
	struct tni_dial_spec spec = to_host("127.0.0.1", port);
	struct result r = {.fd = -1, .prepare_family = port};

	close(fd);
	spec.prepare = bind_to_target;
	assert_int_equal(tni_dial_start(f->loop, &spec, note, &r, &r.dial), 0);
	finish(f, &r);
	assert_failed(&r, -ECONNREFUSED, "tcp://it: connect to 127.0.0.1:%d: Connection refused", port);
	fd = listener(AF_INET, &port); /* and the port is free for a real server */
	assert_true(fd >= 0);
	close(fd);
}

static int prepare(int fd, int family, int after, void *arg)
{
	struct result *r = arg;
	int type;
	socklen_t len = sizeof(type);

	(void)after;
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len), 0);
	assert_int_equal(type, SOCK_STREAM);
	r->prepared++;
	r->prepare_family = family;
	return 0;
}

static int prepare_badly(int fd, int family, int after, void *arg)
{
	(void)fd, (void)after, (void)arg;
	return family == AF_INET6 ? tni_err(-EPERM, "option mark: not permitted") : -EADDRNOTAVAIL;
}

static void test_prepare(void **state)
{
	struct fixture *f = fixture6(state);
	int port = 0, fd = listener(AF_INET, &port);
	struct tni_dial_spec spec = to_host("127.0.0.1", port);
	struct result r;

	spec.prepare = prepare;
	dial(f, &r, &spec);
	assert_int_equal(r.prepared, 1);
	assert_int_equal(r.prepare_family, AF_INET);
	assert_connected(f, &r, NULL);
	spec.prepare = prepare_badly;
	spec.host = "::1";
	dial(f, &r, &spec);
	assert_failed(&r, -EPERM, "tcp://it: connect to [::1]:%d: option mark: not permitted", port);
	close(fd);
}

static void test_multipath(void **state)
{
	struct fixture *f = fixture6(state);
	struct hole h = hole_open();
	struct tni_dial_spec spec = to_host("localhost", h.port);
	struct result r;
	int probe = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);

	if (probe < 0) {
		hole_close(&h);
		skip();
	}
	close(probe);
	spec.protocol = IPPROTO_MPTCP;
	dial(f, &r, &spec);
	assert_int_equal(r.fd, -ECONNREFUSED);
	hole_listen(&h, AF_INET);
	dial(f, &r, &spec);
	assert_connected(f, &r, NULL);
	hole_close(&h);
}

static void test_out_of_descriptors(void **state)
{
	struct fixture *f = fixture(state);
	struct tni_dial_spec spec = to_host("127.0.0.1", 1);
	struct rlimit limit, low;
	struct result r;

	getrlimit(RLIMIT_NOFILE, &limit);
	low = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
	setrlimit(RLIMIT_NOFILE, &low);
	dial(f, &r, &spec);
	setrlimit(RLIMIT_NOFILE, &limit);
	assert_failed(&r, -EMFILE, "tcp://it: connect to 127.0.0.1:1: Too many open files");
}

/* Whichever comes last, "refused" says more than "no route". */
static void test_which_error(void **state)
{
	struct fixture *f = fixture6(state);
	struct hole h = hole_open();
	struct tni_dial_spec spec = to_host("localhost", h.port);
	struct result r;

	tni_sim_fail(f->loop, TNI_OP_CONNECT, 1, ENETUNREACH);
	dial(f, &r, &spec);
	assert_failed(&r, -ECONNREFUSED,
		      "tcp://it: connect to [::1]:%d: Network is unreachable; "
		      "connect to 127.0.0.1:%d: Connection refused",
		      h.port, h.port);
	hole_close(&h);
	h = hole_open(); /* a bare TCP socket takes two attempts: the connect, and to see what became of it */
	spec.port = h.port;
	tni_sim_fail(f->loop, TNI_OP_CONNECT, 3, ENETUNREACH);
	dial(f, &r, &spec);
	assert_failed(&r, -ECONNREFUSED,
		      "tcp://it: connect to [::1]:%d: Connection refused; "
		      "connect to 127.0.0.1:%d: Network is unreachable",
		      h.port, h.port);
	spec.family = AF_INET;
	tni_sim_fail(f->loop, TNI_OP_CONNECT, 1, ENETUNREACH);
	dial(f, &r, &spec);
	assert_int_equal(r.fd, -ENETUNREACH);
	spec.family = AF_UNSPEC;
	spec.type = SOCK_DGRAM; /* IPv4 first; IPv6 would succeed if it were not for the script */
	spec.prepare = prepare_badly;
	dial(f, &r, &spec);
	assert_int_equal(r.fd, -EPERM);
	hole_close(&h);
}

/* ---- names ---- */

static void test_names(void **state)
{
	struct fixture *f = fixture6(state);
	struct hole h = hole_open();
	struct tni_dial_spec spec = to_host("four.test", h.port);
	char four[64], six[64];
	struct result r;

	hole_listen(&h, AF_INET);
	hole_listen(&h, AF_INET6);
	snprintf(four, sizeof(four), "127.0.0.1:%d", h.port);
	snprintf(six, sizeof(six), "[::1]:%d", h.port);
	dial(f, &r, &spec);
	assert_connected(f, &r, four);
	spec.host = "six.test";
	dial(f, &r, &spec);
	assert_connected(f, &r, six);
	spec.host = "both.test";
	dial(f, &r, &spec);
	assert_connected(f, &r, six);
	spec.host = "soon.test";
	dial(f, &r, &spec);
	assert_connected(f, &r, six);
	spec.host = "late.test";
	dial(f, &r, &spec);
	assert_connected(f, &r, four);
	spec.host = "both.test";
	spec.family = AF_INET;
	dial(f, &r, &spec);
	assert_connected(f, &r, four);
	hole_close(&h);
}

static void test_name_refused(void **state)
{
	struct fixture *f = fixture6(state);
	struct hole h = hole_open();
	struct tni_dial_spec spec = to_host("both.test", h.port);
	struct result r;

	dial(f, &r, &spec);
	assert_failed(&r, -ECONNREFUSED,
		      "tcp://it: connect to [::1]:%d: Connection refused; connect to 127.0.0.1:%d: Connection refused",
		      h.port, h.port);
	/* IPv4 has failed and the lookup for IPv6 goes on: there is still hope, until it ends. */
	spec.host = "half.test";
	dial(f, &r, &spec);
	assert_failed(&r, -ECONNREFUSED, "tcp://it: connect to 127.0.0.1:%d: Connection refused", h.port);
	spec.timeout_ns = 300 * MS;
	dial(f, &r, &spec);
	assert_failed(&r, -ETIMEDOUT,
		      "tcp://it: timed out after 300ms while looking up half.test; "
		      "connect to 127.0.0.1:%d: Connection refused",
		      h.port);
	hole_close(&h);
}

static int asked;

/* Only IPv4 may be connected to. */
static bool permits_four(const struct tn_addr *addr, void *arg)
{
	(void)arg;
	asked++;
	return tni_addr_family(addr) == AF_INET;
}

static bool permits_none(const struct tn_addr *addr, void *arg)
{
	(void)addr, (void)arg;
	return false;
}

/* An address that may not be connected to is as one that has failed at once: the others are tried. */
static void test_permits(void **state)
{
	struct fixture *f = fixture6(state);
	struct hole h = hole_open();
	struct tni_dial_spec spec = to_host("both.test", h.port);
	char four[64];
	struct result r;

	hole_listen(&h, AF_INET);
	hole_listen(&h, AF_INET6);
	snprintf(four, sizeof(four), "127.0.0.1:%d", h.port);
	spec.permits = permits_four;
	asked = 0;
	dial(f, &r, &spec);
	assert_connected(f, &r, four);
	assert_int_equal(asked, 2);
	spec.permits = permits_none;
	dial(f, &r, &spec);
	assert_failed(&r, -EACCES,
		      "tcp://it: connect to [::1]:%d: this address may not be connected to (keys allow-to, deny-to); "
		      "connect to 127.0.0.1:%d: the same",
		      h.port, h.port);
	hole_close(&h);
}

static void test_many_refused(void **state)
{
	struct fixture *f = fixture(state);
	struct tni_dial_spec spec = to_host("many.test", 1);
	struct result r;
	int n = 0;

	dial(f, &r, &spec);
	assert_int_equal(r.fd, -ECONNREFUSED);
	for (const char *p = r.text; (p = strstr(p, "connect to 127.0.0.")); p++)
		n++;
	assert_int_equal(n, 6);
	assert_non_null(strstr(r.text, "; and 2 more"));
}

static void test_no_such_name(void **state)
{
	struct fixture *f = fixture6(state);
	struct tni_dial_spec spec = to_host("nowhere.test", 1);
	struct result r;

	dial(f, &r, &spec);
	assert_failed(&r, TN_ENAME, "tcp://it: look up nowhere.test: name not found");
	spec.host = "four.test";
	spec.family = AF_INET6;
	dial(f, &r, &spec);
	assert_failed(&r, TN_ENAME, "tcp://it: look up four.test: the name has no IPv6 address");
	spec.host = "sick.test";
	spec.family = AF_UNSPEC;
	dial(f, &r, &spec);
	assert_int_equal(r.fd, TN_ERESOLVE);
	assert_non_null(strstr(r.text, "tcp://it: look up sick.test: the name servers fail"));
	spec.host = "mute.test";
	dial(f, &r, &spec);
	assert_failed(&r, -ETIMEDOUT, "tcp://it: look up mute.test: no answer from the name servers");
}

/* ---- datagrams ---- */

static void test_datagrams(void **state)
{
	struct fixture *f = fixture6(state);
	struct tni_dial_spec spec = to_host("127.0.0.1", 9);
	struct result r;

	spec.type = SOCK_DGRAM;
	dial(f, &r, &spec);
	assert_connected(f, &r, "127.0.0.1:9");
	spec.host = "::1";
	dial(f, &r, &spec);
	assert_connected(f, &r, "[::1]:9");
	spec.host = "localhost";
	dial(f, &r, &spec);
	assert_connected(f, &r, "127.0.0.1:9");
	spec.family = AF_INET6;
	dial(f, &r, &spec);
	assert_connected(f, &r, "[::1]:9");
	spec.family = AF_UNSPEC;
	spec.host = "both.test";
	dial(f, &r, &spec);
	assert_connected(f, &r, "[::1]:9");
}

/* ---- Unix sockets ---- */

static struct tn_addr unix_addr(const char *name)
{
	struct tn_addr addr;

	assert_int_equal(tni_addr_unix(&addr, name, strlen(name)), 0);
	return addr;
}

static struct tn_addr unix_abstract(void)
{
	char name[64];

	snprintf(name, sizeof(name), "@tenon-test-dial-%d", getpid());
	return unix_addr(name);
}

static void test_unix(void **state)
{
	struct fixture *f = fixture(state);
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
	char dir[] = "/tmp/tenon-test-XXXXXX", path[64];
	struct tn_addr addr;
	struct result r;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	for (int i = 0; i < 2; i++) {
		struct tni_dial_spec spec = to_addr(&addr, types[i]);
		int fd;

		addr = unix_addr(path);
		dial(f, &r, &spec);
		assert_failed(&r, -ENOENT, "unix:it: connect to %s: No such file or directory", path);
		fd = bound(&addr, types[i], 4);
		dial(f, &r, &spec);
		assert_connected(f, &r, path);
		close(fd);
		dial(f, &r, &spec);
		assert_failed(&r, -ECONNREFUSED, "unix:it: connect to %s: Connection refused", path);
		unlink(path);
		addr = unix_abstract();
		fd = bound(&addr, types[i], 4);
		dial(f, &r, &spec);
		assert_connected(f, &r, NULL);
		close(fd);
	}
	rmdir(dir);
}

static void test_unix_datagram_reply(void **state)
{
	struct fixture *f = fixture(state);
	struct tn_addr addr = unix_abstract();
	struct tni_dial_spec spec = to_addr(&addr, SOCK_DGRAM);
	int server = bound(&addr, SOCK_DGRAM, -1);
	struct sockaddr_un from;
	socklen_t len = sizeof(from);
	struct result r;
	char got[8];

	dial(f, &r, &spec);
	assert_true(r.fd >= 0);
	assert_int_equal(send(r.fd, "hey", 3, 0), 3);
	assert_int_equal(recvfrom(server, got, sizeof(got), 0, (struct sockaddr *)&from, &len), 3);
	assert_int_equal(sendto(server, "ho", 2, 0, (struct sockaddr *)&from, len), 2);
	assert_int_equal(recv(r.fd, got, sizeof(got), 0), 2);
	assert_connected(f, &r, NULL);
	close(server);
}

/* A backlog of 0 takes one connection; the next has to wait until somebody accepts. */
static void test_unix_queue_full(void **state)
{
	struct fixture *f = fixture(state);
	struct tn_addr addr = unix_abstract();
	struct tni_dial_spec spec = to_addr(&addr, SOCK_STREAM);
	int server = bound(&addr, SOCK_STREAM, 0), peer;
	struct result first, r;
	char text[128];

	dial(f, &first, &spec);
	spec.timeout_ns = 50 * MS;
	dial(f, &r, &spec);
	assert_failed(&r, -ETIMEDOUT,
		      "unix:it: timed out after 50ms while connecting to %s (its queue of connections is full)",
		      tn_addr_text(&addr, text, sizeof(text)));
	spec.timeout_ns = TNI_NEVER;
	start(f, &r, &spec);
	turn_for(f, 30);
	assert_int_equal(r.calls, 0);
	peer = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	assert_true(peer >= 0);
	finish(f, &r);
	assert_connected(f, &r, NULL);
	assert_connected(f, &first, NULL);
	start(f, &r, &spec);
	close(peer);
	close(server);
	finish(f, &r);
	assert_int_equal(r.fd, -ECONNREFUSED);
}

/* ---- ends ---- */

/* A dial in each of its stages. They are let run for `ms`, then ended by `end`. */
static void in_each_stage(struct fixture *f, int ms, void (*end)(struct fixture *f, struct result *r, int n))
{
	struct hole silent = hole_open(), open = hole_open();
	struct blackhole b = hole_swallow(&silent, AF_INET), b6 = hole_swallow(&silent, AF_INET6);
	struct tn_addr unix_full = unix_abstract();
	int unix_fd = bound(&unix_full, SOCK_STREAM, 0), filler = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct tni_dial_spec specs[] = {
		to_host("mute.test", 1),           to_host("half.test", silent.port), to_host("late.test", silent.port),
		to_host("both.test", silent.port), to_host("localhost", silent.port), to_host("localhost", open.port),
		to_host("127.0.0.1", open.port),   to_host("127.0.0.1", 1),           to_addr(&unix_full, SOCK_STREAM),
	};
	struct result r[sizeof(specs) / sizeof(specs[0])];
	int n = (int)(sizeof(specs) / sizeof(specs[0]));

	assert_int_equal(connect(filler, tn_addr_sockaddr(&unix_full), unix_full.len), 0);
	hole_listen(&open, AF_INET);
	hole_listen(&open, AF_INET6);
	for (int i = 0; i < n; i++)
		start(f, &r[i], &specs[i]);
	if (ms)
		turn_for(f, ms);
	end(f, r, n);
	for (int i = 0; i < n; i++)
		if (r[i].calls && r[i].fd >= 0)
			close(r[i].fd);
	close(filler);
	close(unix_fd);
	close(b.filler);
	close(b6.filler);
	hole_close(&open);
	hole_close(&silent);
}

static void cancel_all(struct fixture *f, struct result *r, int n)
{
	int calls[32];

	for (int i = 0; i < n; i++) {
		calls[i] = r[i].calls;
		tni_dial_cancel(r[i].dial);
	}
	turn_for(f, 20);
	for (int i = 0; i < n; i++)
		assert_int_equal(r[i].calls, calls[i]);
}

static void free_loop(struct fixture *f, struct result *r, int n)
{
	int calls[32];

	for (int i = 0; i < n; i++)
		calls[i] = r[i].calls;
	tn_loop_free(f->loop);
	f->loop = NULL;
	for (int i = 0; i < n; i++)
		assert_int_equal(r[i].calls, calls[i]);
}

static void test_cancel(void **state)
{
	struct fixture *f = fixture6(state);
	static const int times[] = {0, 1, 5, 20, 70, 300};

	tni_dial_cancel(NULL);
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		in_each_stage(f, times[i], cancel_all);
}

static void test_loop_freed_at_once(void **state)
{
	in_each_stage(fixture6(state), 0, free_loop);
}

static void test_loop_freed_looking_up(void **state)
{
	in_each_stage(fixture6(state), 5, free_loop);
}

static void test_loop_freed_connecting(void **state)
{
	in_each_stage(fixture6(state), 300, free_loop);
}

/* Ended between the result and the report of it: what was connected is closed. */
static void test_cancel_with_result(void **state)
{
	struct fixture *f = fixture(state);
	int port = 0, fd = listener(AF_INET, &port), fds = count_fds();
	struct tni_dial_spec spec = to_host("127.0.0.1", port);
	struct result r;

	spec.type = SOCK_DGRAM; /* connected inside the call */
	start(f, &r, &spec);
	assert_int_equal(count_fds(), fds + 1);
	tni_dial_cancel(r.dial);
	assert_int_equal(count_fds(), fds);
	turn_for(f, 10);
	assert_int_equal(r.calls, 0);
	close(fd);
}

static void redial(void *arg, int fd_or_err)
{
	struct result *r = arg;
	struct tni_dial_spec spec = to_host("four.test", 1);

	assert_int_equal(fd_or_err, TN_ENAME);
	assert_int_equal(tni_dial_start((struct tn_loop *)(void *)r->dial, &spec, note, r, &r->dial), 0);
}

static void test_dial_from_done(void **state)
{
	struct fixture *f = fixture(state);
	struct tni_dial_spec spec = to_host("nowhere.test", 1);
	struct result r = {.dial = (struct tni_dial *)(void *)f->loop};

	assert_int_equal(tni_dial_start(f->loop, &spec, redial, &r, NULL), 0);
	finish(f, &r);
	assert_failed(&r, -ECONNREFUSED, "tcp://it: connect to 127.0.0.1:1: Connection refused");
}

static void test_many_dials(void **state)
{
	struct fixture *f = fixture(state);
	int port = 0, fd = listener(AF_INET, &port);
	struct tni_dial_spec spec = to_host("127.0.0.1", port);
	static struct result r[60];

	for (int i = 0; i < 60; i++)
		start(f, &r[i], &spec);
	for (int i = 0; i < 60; i++) {
		finish(f, &r[i]);
		assert_connected(f, &r[i], NULL);
	}
	close(fd);
}

#define ON(f, engine)                                                               \
	{                                                                           \
#f " (" engine ")", f, setup, teardown, (void *)(uintptr_t)(engine) \
	}
#define EVERYWHERE(f) ON(f, "epoll"), ON(f, "uring"), ON(f, "sim:1"), ON(f, "sim:7")

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_race_interleaves),
		cmocka_unit_test(test_race_failure_starts_next),
		cmocka_unit_test(test_race_resolution_delay),
		cmocka_unit_test(test_race_late_address),
		cmocka_unit_test(test_race_nothing),
		cmocka_unit_test(test_race_bounds),
		EVERYWHERE(test_literals),
		EVERYWHERE(test_localhost),
		EVERYWHERE(test_refused),
		EVERYWHERE(test_keeps_no_loop_alive),
		EVERYWHERE(test_timeout),
		EVERYWHERE(test_second_address_while_first_hangs),
		EVERYWHERE(test_self_connect),
		EVERYWHERE(test_prepare),
		EVERYWHERE(test_multipath),
		EVERYWHERE(test_out_of_descriptors),
		ON(test_which_error, "sim:1"),
		EVERYWHERE(test_names),
		EVERYWHERE(test_name_refused),
		EVERYWHERE(test_permits),
		EVERYWHERE(test_many_refused),
		EVERYWHERE(test_no_such_name),
		EVERYWHERE(test_datagrams),
		EVERYWHERE(test_unix),
		EVERYWHERE(test_unix_datagram_reply),
		EVERYWHERE(test_unix_queue_full),
		EVERYWHERE(test_cancel),
		EVERYWHERE(test_loop_freed_at_once),
		EVERYWHERE(test_loop_freed_looking_up),
		EVERYWHERE(test_loop_freed_connecting),
		EVERYWHERE(test_cancel_with_result),
		EVERYWHERE(test_dial_from_done),
		EVERYWHERE(test_many_dials),
	};

	/* c-ares' own names for "wait 600 ms" and "ask once"; no search list: each name is asked for as it stands. */
	setenv("RES_OPTIONS", "retrans:600 retry:1 ndots:0", 1);
	setenv("LOCALDOMAIN", "", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
