/*
 * Lookups of a build without c-ares, whatever this build is: its object stands before the library's. getaddrinfo() is
 * ours, and returns when it is told to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/loop.h"
#include "net/addr.h"
#include "net/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sem_t may_answer; /* one for each call that is to return */
static atomic_int inside, left;
static pthread_t loop_thread;

int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found);

static int answer_of(const char *host, const struct addrinfo *hints, struct addrinfo **found)
{
	static const struct {
		const char *host;
		int status;
	} failures[] = {{"none", EAI_NONAME}, {"nodata", EAI_NODATA}, {"family", EAI_ADDRFAMILY},
			{"again", EAI_AGAIN}, {"memory", EAI_MEMORY}, {"fail", EAI_FAIL}};

	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
		if (!strcmp(failures[i].host, host))
			return failures[i].status;
	return __real_getaddrinfo(hints->ai_family == AF_INET6 ? "2001:db8::1" : "192.0.2.1", NULL, NULL, found);
}

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	int rc;

	(void)service;
	assert_false(pthread_equal(pthread_self(), loop_thread));
	atomic_fetch_add(&inside, 1);
	while (sem_wait(&may_answer) < 0 && errno == EINTR)
		;
	rc = answer_of(host, hints, found);
	atomic_fetch_add(&left, 1);
	return rc;
}

struct outcome {
	struct tn_loop *loop;
	int calls, err, n;
	struct tn_addr first;
	char text[200];
};

static void done(void *arg, int err, const struct tn_addr *addrs, int n, bool more)
{
	struct outcome *o = arg;

	assert_false(more);
	o->calls++;
	o->err = err;
	o->n = n;
	if (n)
		o->first = addrs[0];
	if (err < 0)
		snprintf(o->text, sizeof(o->text), "%s", tn_errmsg());
}

static struct tn_loop *new_loop(void)
{
	struct tn_loop *loop;

	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	loop->alive++;
	return loop;
}

static void free_loop(struct tn_loop *loop)
{
	loop->alive--;
	tn_loop_free(loop);
}

static struct tni_lookup *start(struct tn_loop *loop, const char *host, int family, struct outcome *o)
{
	struct tni_lookup *lookup;

	*o = (struct outcome){.loop = loop};
	assert_int_equal(tni_lookup_start(loop, host, family, 80, done, o, &lookup), 0);
	assert_int_equal(o->calls, 0);
	return lookup;
}

static void step_until_done(struct outcome *o)
{
	while (!o->calls)
		assert_int_equal(tn_loop_step(o->loop, 1000), 1);
}

/* A thread frees what it holds right after it has answered: sanitizers would take it for a leak. */
static void wait_for_threads(int n)
{
	while (atomic_load(&left) < n)
		sched_yield();
}

static void look_up(const char *host, int family, struct outcome *o)
{
	struct tn_loop *loop = new_loop();

	start(loop, host, family, o);
	sem_post(&may_answer);
	step_until_done(o);
	assert_int_equal(o->calls, 1);
	free_loop(loop);
}

static void test_found(void **state)
{
	char text[64];
	struct outcome o;

	(void)state;
	look_up("found", AF_INET, &o);
	assert_int_equal(o.err, 0);
	assert_true(o.n >= 1);
	assert_string_equal(tn_addr_text(&o.first, text, sizeof(text)), "192.0.2.1:80");
	look_up("found", AF_INET6, &o);
	assert_string_equal(tn_addr_text(&o.first, text, sizeof(text)), "[2001:db8::1]:80");
}

static void assert_fails(const char *host, int family, int err, const char *words)
{
	struct outcome o;

	look_up(host, family, &o);
	assert_int_equal(o.err, err);
	assert_int_equal(o.n, 0);
	assert_string_equal(o.text, words);
}

static void test_failures(void **state)
{
	(void)state;
	assert_fails("none", AF_UNSPEC, TN_ENAME, "look up none: name not found");
	assert_fails("nodata", AF_UNSPEC, TN_ENAME, "look up nodata: the name has no address");
	assert_fails("nodata", AF_INET, TN_ENAME, "look up nodata: the name has no IPv4 address");
	assert_fails("family", AF_INET6, TN_ENAME, "look up family: the name has no IPv6 address");
	assert_fails("again", AF_UNSPEC, TN_ERESOLVE, "look up again: the name servers fail or cannot be reached");
	assert_fails("memory", AF_UNSPEC, -ENOMEM, "look up memory: out of memory");
	assert_fails("fail", AF_UNSPEC, TN_ERESOLVE, "look up fail: Non-recoverable failure in name resolution");
}

static void fire(void *arg)
{
	++*(int *)arg;
}

/* The loop goes on while threads wait; each lookup has its own, so that one does not wait for another. */
static void test_nothing_waits(void **state)
{
	struct tn_loop *loop = new_loop();
	int fired = 0, before = atomic_load(&inside);
	struct outcome a, b;

	(void)state;
	start(loop, "found", AF_INET, &a);
	start(loop, "none", AF_INET, &b);
	while (atomic_load(&inside) < before + 2)
		sched_yield();
	assert_int_equal(tn_timer_start(loop, 1, fire, &fired, NULL), 0);
	while (!fired)
		assert_int_equal(tn_loop_step(loop, 1000), 1);
	assert_int_equal(a.calls + b.calls, 0);
	sem_post(&may_answer);
	sem_post(&may_answer);
	step_until_done(&a);
	step_until_done(&b);
	assert_int_equal(a.err, 0);
	assert_int_equal(b.err, TN_ENAME);
	free_loop(loop);
}

/* Names below localhost are asked of nobody. */
static void test_localhost(void **state)
{
	struct tn_loop *loop = new_loop();
	int before = atomic_load(&inside);
	char text[64];
	struct outcome o;

	(void)state;
	start(loop, "some.localhost", AF_INET, &o);
	step_until_done(&o);
	assert_int_equal(o.err, 0);
	assert_string_equal(tn_addr_text(&o.first, text, sizeof(text)), "127.0.0.1:80");
	assert_int_equal(atomic_load(&inside), before);
	free_loop(loop);
}

static void test_cancelled(void **state)
{
	struct tn_loop *loop = new_loop();
	int before = atomic_load(&left);
	struct tni_lookup *lookup;
	struct outcome o;

	(void)state;
	tni_lookup_cancel(NULL);
	/* in its thread */
	lookup = start(loop, "found", AF_INET, &o);
	tni_lookup_cancel(lookup);
	assert_int_equal(tn_loop_step(loop, 0), 1);
	sem_post(&may_answer);
	wait_for_threads(before + 1);
	/* answered, and not told yet */
	lookup = start(loop, "some.localhost", AF_INET, &o);
	tni_lookup_cancel(lookup);
	/* its loop ends before its thread */
	lookup = start(loop, "found", AF_INET, &o);
	assert_int_equal(tn_loop_step(loop, 0), 1);
	tni_lookup_cancel(lookup);
	free_loop(loop);
	sem_post(&may_answer);
	wait_for_threads(before + 2);
	assert_int_equal(o.calls, 0);
}

static void test_no_servers_of_ones_own(void **state)
{
	struct tn_loop *loop = new_loop();

	(void)state;
	assert_int_equal(tni_resolver_set_servers(loop, "127.0.0.1:53"), -EOPNOTSUPP);
	assert_string_equal(tn_errmsg(),
			    "name servers 127.0.0.1:53: this build has no c-ares (configure it with -Dcares=enabled)");
	free_loop(loop);
}

/* What blocks is built on it. */
static void test_now(void **state)
{
	struct tn_addr *addrs = NULL;

	(void)state;
	sem_post(&may_answer);
	assert_true(tni_resolve_now("found", AF_INET, 7, -1, &addrs) >= 1);
	assert_int_equal(tni_addr_family(&addrs[0]), AF_INET);
	free(addrs);
	assert_int_equal(tni_resolve_now("found", AF_INET, 7, 20, &addrs), -ETIMEDOUT);
	sem_post(&may_answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),         cmocka_unit_test(test_failures),
		cmocka_unit_test(test_nothing_waits), cmocka_unit_test(test_localhost),
		cmocka_unit_test(test_cancelled),     cmocka_unit_test(test_no_servers_of_ones_own),
		cmocka_unit_test(test_now),
	};

	sem_init(&may_answer, 0, 0);
	loop_thread = pthread_self();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
