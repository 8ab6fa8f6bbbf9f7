/* Lookups against a scripted name server that lives on the same loop, on every engine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../support/descriptors.h"

#include "dns_reply.h"
#include "io/loop.h"
#include "net/addr.h"
#include "net/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the name server ---- */

#define SILENT (-1)

static const struct dns_rule rules[] = {
	{"both", A, "192.0.2.1 192.0.2.2", NOERROR, 0, false},
	{"both", AAAA, "2001:db8::1", NOERROR, 0, false},
	{"four", A, "127.0.0.1", NOERROR, 0, false},
	{"four", AAAA, "", NOERROR, 0, false},
	{"late", A, "127.0.0.9", NOERROR, 40, false},
	{"fails", A, "", SERVFAIL, 0, false},
	{"silent", A, "", NOERROR, SILENT, false},
	{"silent", AAAA, "", NOERROR, SILENT, false},
	{"held", A, "127.0.0.1", NOERROR, SILENT, false},
	{"half", A, "127.0.0.1", NOERROR, 0, false},
	{"half", AAAA, "", NOERROR, SILENT, false},
	{"crowd", A,
	 "127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.5 127.0.0.6 127.0.0.7 127.0.0.8 127.0.0.9 127.0.0.10 "
	 "127.0.0.11 127.0.0.12 127.0.0.13 127.0.0.14 127.0.0.15 127.0.0.16 127.0.0.17 127.0.0.18 127.0.0.19 "
	 "127.0.0.20",
	 NOERROR, 0, false},
	{"big", A, "127.0.0.2 127.0.0.3", NOERROR, 0, true},
};

struct reply {
	struct server *server;
	struct sockaddr_in to;
	struct dns_reply dns;
};

#define REPLIES_MAX 1024

struct server {
	struct tn_loop *loop;
	struct tn_poll *udp_poll, *tcp_poll, *peer_poll;
	int udp, tcp, peer;
	char address[32];
	int asked, asked_tcp;
	struct reply *replies[REPLIES_MAX];
	int nreplies;
};

static const struct dns_rule *answer(const void *query, size_t len, bool tcp, struct dns_reply *reply)
{
	return dns_answer(rules, sizeof(rules) / sizeof(rules[0]), query, len, tcp, reply);
}

static void send_reply(void *arg)
{
	struct reply *r = arg;

	sendto(r->server->udp, r->dns.data, r->dns.len, 0, (struct sockaddr *)&r->to, sizeof(r->to));
}

static void server_readable(void *arg)
{
	struct server *s = arg;
	unsigned char query[512];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t n;

	while ((n = recvfrom(s->udp, query, sizeof(query), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len)) > 0) {
		struct reply *r = calloc(1, sizeof(*r));
		const struct dns_rule *rule;

		assert_non_null(r);
		assert_true(s->nreplies < REPLIES_MAX);
		s->replies[s->nreplies++] = r;
		s->asked++;
		r->server = s;
		r->to = from;
		rule = answer(query, (size_t)n, false, &r->dns);
		if (rule && rule->delay_ms > 0)
			assert_int_equal(tn_timer_start(s->loop, (uint64_t)rule->delay_ms, send_reply, r, NULL), 0);
		else if (!rule || rule->delay_ms == 0)
			send_reply(r);
	}
}

/* Length and message in one piece, which c-ares reads in two. */
static void peer_readable(void *arg)
{
	struct server *s = arg;
	struct dns_reply r;
	unsigned char query[512], out[514];
	ssize_t n = recv(s->peer, query, sizeof(query), MSG_DONTWAIT);

	if (n <= 2)
		return;
	s->asked_tcp++;
	answer(query + 2, (size_t)n - 2, true, &r);
	out[0] = 0;
	out[1] = (unsigned char)r.len;
	memcpy(out + 2, r.data, r.len);
	assert_int_equal(write(s->peer, out, r.len + 2), r.len + 2);
}

static void server_accept(void *arg)
{
	struct server *s = arg;
	int fd = accept4(s->tcp, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	assert_int_equal(s->peer, -1);
	s->peer = fd;
	assert_int_equal(tn_poll_start(s->loop, fd, peer_readable, s, &s->peer_poll), 0);
}

/* One port for both, which the first may get and the second not. */
static void server_bind(struct server *s)
{
	struct tn_addr addr;

	for (int i = 0; i < 100; i++) {
		tni_addr_loopback(&addr, AF_INET, 0);
		s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_int_equal(bind(s->udp, tn_addr_sockaddr(&addr), addr.len), 0);
		assert_int_equal(tni_addr_local(s->udp, &addr), 0);
		if (bind(s->tcp, tn_addr_sockaddr(&addr), addr.len) == 0 && listen(s->tcp, 4) == 0) {
			tn_addr_text(&addr, s->address, sizeof(s->address));
			return;
		}
		close(s->udp);
		close(s->tcp);
	}
	fail_msg("no port is free in both UDP and TCP");
}

static struct server *server_start(struct tn_loop *loop)
{
	struct server *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->loop = loop;
	s->peer = -1;
	server_bind(s);
	assert_int_equal(tn_poll_start(loop, s->udp, server_readable, s, &s->udp_poll), 0);
	assert_int_equal(tn_poll_start(loop, s->tcp, server_accept, s, &s->tcp_poll), 0);
	return s;
}

/* Before its loop is freed, or after. */
static void server_stop(struct server *s, bool loop_is_there)
{
	if (loop_is_there) {
		tn_poll_stop(s->udp_poll);
		tn_poll_stop(s->tcp_poll);
		tn_poll_stop(s->peer_poll);
	}
	close(s->udp);
	close(s->tcp);
	if (s->peer >= 0)
		close(s->peer);
	for (int i = 0; i < s->nreplies; i++)
		free(s->replies[i]);
	free(s);
}

/* ---- what every test starts with ---- */

struct fixture {
	struct tn_loop *loop;
	struct server *server;
	int fds;
};

static int setup(void **state)
{
	const char *engine = *state;
	struct fixture *f = calloc(1, sizeof(*f));

	f->fds = support_count_fds();
	*state = f;
	if (tn_loop_new(&f->loop, engine) < 0)
		return strcmp(engine, "uring"); /* refused by this system: the tests are skipped */
	f->server = server_start(f->loop);
	return tni_resolver_set_servers(f->loop, f->server->address);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int fds = f->fds;

	tn_loop_free(f->loop);
	if (f->server)
		server_stop(f->server, false);
	free(f);
	assert_int_equal(support_count_fds(), fds);
	return 0;
}

struct result {
	int calls, err, n;
	int early; /* told while the other family was still asked */
	struct tn_addr addrs[64];
	char text[256];
	struct tni_lookup *lookup;
};

static void note(void *arg, int err, const struct tn_addr *addrs, int n, bool more)
{
	struct result *r = arg;

	for (int i = 0; i < n; i++)
		r->addrs[r->n++] = addrs[i];
	if (more) {
		assert_true(n > 0 && !r->early);
		r->early = n;
		return;
	}
	r->calls++;
	r->err = err;
	r->lookup = NULL;
	if (err < 0)
		snprintf(r->text, sizeof(r->text), "%s", tn_errmsg());
}

static void start_in(struct fixture *f, struct result *r, const char *host, int family)
{
	*r = (struct result){0};
	assert_int_equal(tni_lookup_start(f->loop, host, family, 80, note, r, &r->lookup), 0);
	assert_int_equal(r->calls, 0);
}

static void start(struct fixture *f, struct result *r, const char *host, int type)
{
	start_in(f, r, host, type == A ? AF_INET : AF_INET6);
}

static void turn_for(struct tn_loop *loop, int ms)
{
	uint64_t until = tni_clock_ns() + (uint64_t)ms * TNI_NS_PER_MS;

	while (tni_clock_ns() < until)
		assert_true(tn_loop_step(loop, 5) >= 0);
}

static void finish(struct fixture *f, struct result *r)
{
	uint64_t until = tni_clock_ns() + 20 * TNI_NS_PER_S;

	while (!r->calls && tni_clock_ns() < until)
		assert_true(tn_loop_step(f->loop, 5) >= 0);
	assert_int_equal(r->calls, 1);
}

static void assert_addr(const struct tn_addr *addr, const char *text)
{
	char got[128];

	assert_string_equal(tn_addr_text(addr, got, sizeof(got)), text);
}

static struct fixture *fixture(void **state)
{
	struct fixture *f = *state;

	if (!f->loop)
		skip();
	return f;
}

/* ---- what needs no lookup ---- */

static void test_known(void **state)
{
	struct tn_addr addrs[2];

	(void)state;
	assert_int_equal(tni_resolve_known("192.0.2.7", AF_UNSPEC, 9, addrs), 1);
	assert_addr(&addrs[0], "192.0.2.7:9");
	assert_int_equal(tni_resolve_known("2001:db8::7", AF_INET6, 9, addrs), 1);
	assert_addr(&addrs[0], "[2001:db8::7]:9");
	assert_int_equal(tni_resolve_known("2001:db8::7", AF_INET, 9, addrs), TN_EURL);
	assert_string_equal(tn_errmsg(), "2001:db8::7 is not an IPv4 address");
	assert_int_equal(tni_resolve_known("192.0.2.7", AF_INET6, 9, addrs), TN_EURL);
	assert_string_equal(tn_errmsg(), "192.0.2.7 is not an IPv6 address");
	assert_int_equal(tni_resolve_known("localhost", AF_UNSPEC, 9, addrs), 2);
	assert_addr(&addrs[0], "[::1]:9");
	assert_addr(&addrs[1], "127.0.0.1:9");
	assert_int_equal(tni_resolve_known("", AF_INET, 9, addrs), 1);
	assert_addr(&addrs[0], "127.0.0.1:9");
	assert_int_equal(tni_resolve_known("a.localhost", AF_INET6, 9, addrs), 0); /* may stand in hosts(5) */
	assert_int_equal(tni_resolve_known("LocalHost.", AF_INET6, 9, addrs), 1);
	assert_addr(&addrs[0], "[::1]:9");
	assert_int_equal(tni_resolve_known("localhost.test", AF_UNSPEC, 9, addrs), 0);
	assert_int_equal(tni_resolve_known("1.2.3", AF_UNSPEC, 9, addrs), 0);
}

/* ---- lookups ---- */

static void test_found(void **state)
{
	struct fixture *f = fixture(state);
	struct result four, six;

	start(f, &six, "both.test", AAAA);
	start(f, &four, "both.test", A);
	finish(f, &four);
	finish(f, &six);
	assert_int_equal(four.err, 0);
	assert_int_equal(four.n, 2);
	assert_int_equal(tni_addr_port(&four.addrs[0]), 80);
	assert_int_equal(tni_addr_family(&four.addrs[1]), AF_INET);
	assert_int_equal(six.err, 0);
	assert_int_equal(six.n, 1);
	assert_addr(&six.addrs[0], "[2001:db8::1]:80");
}

/* Both families of one name, and one of them alone: what is there does not wait for what does not come. */
static void test_both_families(void **state)
{
	struct fixture *f = fixture(state);
	struct result r;

	start_in(f, &r, "both.test", AF_UNSPEC);
	finish(f, &r);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.n, 3);
	start_in(f, &r, "four.test", AF_UNSPEC);
	finish(f, &r);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.n, 1);
	start_in(f, &r, "half.test", AF_UNSPEC);
	finish(f, &r);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.early, 1);
	assert_addr(&r.addrs[0], "127.0.0.1:80");
	start_in(f, &r, "nowhere.test", AF_UNSPEC);
	finish(f, &r);
	assert_int_equal(r.err, TN_ENAME);
	assert_string_equal(r.text, "look up nowhere.test: name not found");
}

/* Twenty addresses, and none is left out. */
static void test_crowd(void **state)
{
	struct fixture *f = fixture(state);
	struct result r;

	start(f, &r, "crowd.test", A);
	finish(f, &r);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.n, 20);
}

static void test_not_found(void **state)
{
	struct fixture *f = fixture(state);
	struct result r;

	start(f, &r, "nowhere.test", A);
	finish(f, &r);
	assert_int_equal(r.err, TN_ENAME);
	assert_int_equal(r.n, 0);
	assert_string_equal(r.text, "look up nowhere.test: name not found");
	start(f, &r, "four.test", AAAA);
	finish(f, &r);
	assert_int_equal(r.err, TN_ENAME);
	assert_string_equal(r.text, "look up four.test: the name has no IPv6 address");
	start(f, &r, "a..test", A);
	finish(f, &r);
	assert_int_equal(r.err, TN_ENAME);
	assert_string_equal(r.text, "look up a..test: not a valid name");
}

static void test_server_fails(void **state)
{
	struct fixture *f = fixture(state);
	struct result r;

	start(f, &r, "fails.test", A);
	finish(f, &r);
	assert_int_equal(r.err, TN_ERESOLVE);
	assert_non_null(strstr(r.text, "look up fails.test: "));
}

static void test_server_silent(void **state)
{
	struct fixture *f = fixture(state);
	struct result r;

	start(f, &r, "silent.test", A);
	finish(f, &r);
	assert_int_equal(r.err, -ETIMEDOUT);
	assert_string_equal(r.text, "look up silent.test: no answer from the name servers");
}

/* The answer was there in time; it was this process that did not look. */
static void test_loop_busy_beyond_the_timeout(void **state)
{
	struct fixture *f = fixture(state);
	struct result r;

	start(f, &r, "held.test", A);
	for (int i = 0; i < 4000 && !f->server->asked; i++)
		assert_true(tn_loop_step(f->loop, 5) >= 0);
	send_reply(f->server->replies[0]);
	usleep(400 * 1000); /* RES_OPTIONS: 100 ms and 200 ms */
	finish(f, &r);
	assert_int_equal(r.err, 0);
	assert_addr(&r.addrs[0], "127.0.0.1:80");
	turn_for(f->loop, 20);
	assert_int_equal(f->server->asked, 1); /* not asked again */
}

static void test_server_gone(void **state)
{
	struct fixture *f = fixture(state);
	struct result r;

	server_stop(f->server, true);
	f->server = NULL;
	start(f, &r, "four.test", A);
	finish(f, &r);
	assert_int_equal(r.err, TN_ERESOLVE);
	assert_string_equal(r.text, "look up four.test: the name servers fail or cannot be reached");
}

static void test_over_tcp(void **state)
{
	struct fixture *f = fixture(state);
	struct result r;

	start(f, &r, "big.test", A);
	finish(f, &r);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.n, 2);
	assert_int_equal(f->server->asked_tcp, 1);
}

/* /etc/hosts answers inside of the call; done() still has to come later. */
static void test_hosts_file(void **state)
{
	struct fixture *f = fixture(state);
	struct result r;

	start(f, &r, "localhost", A);
	finish(f, &r);
	assert_int_equal(r.err, 0);
	assert_addr(&r.addrs[0], "127.0.0.1:80");
	assert_int_equal(f->server->asked, 0);
}

static bool hosts_has(const char *name, bool ipv6)
{
	char line[1024], *save, *word;
	FILE *hosts = fopen("/etc/hosts", "r");
	bool has = false;

	while (hosts && fgets(line, sizeof(line), hosts)) {
		word = strtok_r(line, " \t\n", &save);
		if (!word || *word == '#' || !strchr(word, ':') == ipv6)
			continue;
		while ((word = strtok_r(NULL, " \t\n", &save)))
			has |= !strcmp(word, name);
	}
	if (hosts)
		fclose(hosts);
	return has;
}

static void test_hosts_file_is_enough(void **state)
{
	struct fixture *f = fixture(state);
	char name[256] = "";
	struct result r;

	gethostname(name, sizeof(name) - 1);
	if (!hosts_has(name, false) || hosts_has(name, true))
		snprintf(name, sizeof(name), "localhost");
	if (!hosts_has(name, false) || hosts_has(name, true))
		skip(); /* no name here that /etc/hosts knows in IPv4 only */
	start_in(f, &r, name, AF_UNSPEC);
	finish(f, &r);
	assert_int_equal(r.err, 0);
	assert_int_equal(tni_addr_family(&r.addrs[0]), AF_INET);
	assert_int_equal(f->server->asked, 0);
}

static void test_many(void **state)
{
	struct fixture *f = fixture(state);
	static struct result r[200];

	for (int i = 0; i < 200; i++)
		start(f, &r[i], i % 2 ? "late.test" : "four.test", A);
	for (int i = 0; i < 200; i++) {
		finish(f, &r[i]);
		assert_int_equal(r[i].err, 0);
		assert_addr(&r[i].addrs[0], i % 2 ? "127.0.0.9:80" : "127.0.0.1:80");
	}
}

/* ---- ends ---- */

static void test_idle_channel(void **state)
{
	struct fixture *f = fixture(state);
	int fds = support_count_fds();
	struct result r;

	start(f, &r, "four.test", A);
	assert_int_equal(f->loop->alive, 2); /* the server's polls, not the lookup */
	finish(f, &r);
	assert_int_equal(support_count_fds(), fds);
	turn_for(f->loop, 20);
	assert_true(tni_timers_next(&f->loop->timers) == TNI_NEVER);
}

static void test_cancel(void **state)
{
	struct fixture *f = fixture(state);
	int fds = support_count_fds();
	struct result one, other;

	start(f, &one, "late.test", A);
	start(f, &other, "late.test", A);
	tni_lookup_cancel(one.lookup);
	finish(f, &other);
	assert_int_equal(other.err, 0);
	assert_addr(&other.addrs[0], "127.0.0.9:80");
	assert_int_equal(one.calls, 0);

	/* The last one: nothing stays open. */
	start(f, &one, "silent.test", A);
	start(f, &other, "silent.test", AAAA);
	turn_for(f->loop, 10);
	tni_lookup_cancel(one.lookup);
	assert_true(support_count_fds() > fds);
	tni_lookup_cancel(other.lookup);
	assert_int_equal(support_count_fds(), fds);
	assert_true(tni_timers_next(&f->loop->timers) == TNI_NEVER);
	turn_for(f->loop, 20);
	assert_int_equal(one.calls + other.calls, 0);

	/* Answered, but not told yet. */
	start(f, &one, "localhost", A);
	tni_lookup_cancel(one.lookup);
	turn_for(f->loop, 20);
	assert_int_equal(one.calls, 0);
	tni_lookup_cancel(NULL);
}

static struct result second;

static void start_second(void *arg, int err, const struct tn_addr *addrs, int n, bool more)
{
	struct fixture *f = arg;

	(void)addrs;
	(void)n;
	assert_false(more);
	assert_int_equal(err, 0);
	start(f, &second, "both.test", AAAA);
}

static void test_lookup_from_done(void **state)
{
	struct fixture *f = fixture(state);
	struct tni_lookup *lookup;

	second = (struct result){0};
	assert_int_equal(tni_lookup_start(f->loop, "four.test", AF_INET, 80, start_second, f, &lookup), 0);
	finish(f, &second);
	assert_int_equal(second.err, 0);
}

/* In the middle of it, before the first turn, and with an answer that waits to be told. */
static void test_loop_freed(void **state)
{
	struct fixture *f = fixture(state);
	struct result dropped, asking, fresh, answered;

	start(f, &dropped, "silent.test", AAAA);
	start(f, &asking, "silent.test", A);
	turn_for(f->loop, 10);
	tni_lookup_cancel(dropped.lookup);
	start(f, &fresh, "four.test", A);
	start(f, &answered, "localhost", A);
	tn_loop_free(f->loop);
	f->loop = NULL;
	tni_lookup_cancel(asking.lookup);
	tni_lookup_cancel(fresh.lookup);
	tni_lookup_cancel(answered.lookup);
	assert_int_equal(dropped.calls + asking.calls + fresh.calls + answered.calls, 0);
}

static void test_set_servers(void **state)
{
	struct fixture *f = fixture(state);
	struct result r;

	assert_int_equal(tni_resolver_set_servers(f->loop, "not an address"), -EINVAL);
	assert_non_null(strstr(tn_errmsg(), "name servers not an address: "));
	start(f, &r, "late.test", A);
	assert_int_equal(tni_resolver_set_servers(f->loop, f->server->address), -EBUSY);
	finish(f, &r);
}

/* ---- the blocking form ---- */

static void *serve(void *arg)
{
	struct tn_loop *loop = arg;

	(void)!tn_loop_run(loop);
	return NULL;
}

static struct tn_addr found[64];

static int now_at(const char *servers, const char *host, int family, int timeout_ms)
{
	struct tn_addr *addrs;
	int n = tni_resolve_now_at(servers, host, family, 7, timeout_ms, &addrs);

	if (n > 0)
		memcpy(found, addrs, (size_t)n * sizeof(*addrs));
	free(addrs);
	return n;
}

static void test_now(void **state)
{
	struct fixture *f = fixture(state);
	const char *at = f->server->address;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, serve, f->loop), 0);
	assert_int_equal(now_at(at, "both.test", AF_UNSPEC, 20000), 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tni_addr_port(&found[i]), 7);
	assert_int_equal(now_at(at, "both.test", AF_INET6, 20000), 1);
	assert_addr(&found[0], "[2001:db8::1]:7");
	assert_int_equal(now_at(at, "big.test", AF_INET, -1), 2);
	assert_int_equal(now_at(at, "crowd.test", AF_INET, -1), 20);
	assert_int_equal(now_at(at, "four.test", AF_INET6, 20000), TN_ENAME);
	assert_int_equal(now_at(at, "nowhere.test", AF_UNSPEC, 20000), TN_ENAME);
	assert_string_equal(tn_errmsg(), "look up nowhere.test: name not found");
	assert_int_equal(now_at(at, "silent.test", AF_UNSPEC, 30), -ETIMEDOUT);
	assert_int_equal(now_at("what?", "both.test", AF_UNSPEC, 30), -EINVAL);
	tn_loop_stop(f->loop);
	pthread_join(thread, NULL);
}

static void test_now_known(void **state)
{
	(void)state;
	assert_int_equal(now_at(NULL, "192.0.2.7", AF_UNSPEC, 1000), 1);
	assert_int_equal(now_at(NULL, "localhost", AF_UNSPEC, 1000), 2);
	assert_int_equal(now_at(NULL, "a.localhost", AF_UNSPEC, 1000), 2);
	assert_int_equal(now_at(NULL, "::1", AF_INET, 1000), TN_EURL);
}

static void *look_up_in_thread(void *arg)
{
	void *state = arg;

	if (setup(&state) == 0) {
		for (int i = 0; i < 20; i++)
			test_found(&state);
		tn_loop_free(((struct fixture *)state)->loop);
		server_stop(((struct fixture *)state)->server, false);
		free(state);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, look_up_in_thread, (void *)(uintptr_t) "epoll"), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

#define ON(f, engine)                                                               \
	{                                                                           \
#f " (" engine ")", f, setup, teardown, (void *)(uintptr_t)(engine) \
	}
#define EVERYWHERE(f) ON(f, "epoll"), ON(f, "uring"), ON(f, "sim:1"), ON(f, "sim:7")

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),   EVERYWHERE(test_found),
		EVERYWHERE(test_both_families), EVERYWHERE(test_crowd),
		EVERYWHERE(test_not_found),     EVERYWHERE(test_server_fails),
		EVERYWHERE(test_server_silent), EVERYWHERE(test_loop_busy_beyond_the_timeout),
		EVERYWHERE(test_server_gone),   EVERYWHERE(test_over_tcp),
		EVERYWHERE(test_hosts_file),    EVERYWHERE(test_hosts_file_is_enough),
		EVERYWHERE(test_many),          EVERYWHERE(test_idle_channel),
		EVERYWHERE(test_cancel),        EVERYWHERE(test_lookup_from_done),
		EVERYWHERE(test_loop_freed),    EVERYWHERE(test_set_servers),
		EVERYWHERE(test_now),           cmocka_unit_test(test_now_known),
		cmocka_unit_test(test_threads),
	};

	/* c-ares' own names for "wait 100 ms" and "ask twice"; no search list: each name is asked for as it stands. */
	setenv("RES_OPTIONS", "retrans:100 retry:2 ndots:0", 1);
	setenv("LOCALDOMAIN", "", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
