/* Endpoints that a program prepares: a URL is read once, dialled many times, from any thread, and fails as tn_dial().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "endpoint/endpoint.h"
#include "tenon.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define URLS 20 /* more than a loop keeps by itself */
#define ROUNDS 5
#define THREADS 3

int __real_tni_endpoint_new(const char *url, enum tn_role role, struct tni_endpoint **out);
int __wrap_tni_endpoint_new(const char *url, enum tn_role role, struct tni_endpoint **out);

static atomic_int times_read; /* by serving and by tn_dial() */

int __wrap_tni_endpoint_new(const char *url, enum tn_role role, struct tni_endpoint **out)
{
	times_read++;
	return __real_tni_endpoint_new(url, role, out);
}

/* ---- read once ---- */

struct run {
	struct tn_loop *loop;
	struct tn_server *server; /* ends with the last connection */
	struct tn_endpoint *ep;
	int answers, closed, want;
};

static void on_echo(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	assert_int_equal(tn_send(conn, msg->data, msg->len), 0);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	assert_int_equal(tn_send(conn, "hello", 5), 0);
}

static void on_answer(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct run *run = arg;

	assert_int_equal(msg->len, 5);
	run->answers++;
	tn_close(conn);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct run *run = arg;

	(void)conn;
	assert_int_equal(err, 0);
	if (++run->closed == run->want)
		tn_server_close(run->server, 0, NULL, NULL);
}

static const struct tn_handler echo = {.on_msg = on_echo};
static const struct tn_handler asking = {.on_open = on_open, .on_msg = on_answer, .on_close = on_close};

static void start(struct run *run, int want)
{
	*run = (struct run){.want = want};
	assert_int_equal(tn_loop_new(&run->loop, NULL), 0);
	assert_int_equal(tn_serve(run->loop, "tcp://127.0.0.1:0?frame=u32", &echo, NULL, &run->server), 0);
}

static void finish(struct run *run)
{
	assert_int_equal(tn_loop_run(run->loop), 0);
	assert_int_equal(run->answers, run->want);
	tn_loop_free(run->loop);
}

static void test_is_read_once(void **state)
{
	struct tn_endpoint *eps[URLS];
	char urls[URLS][128];
	struct run run;
	int before;

	(void)state;
	start(&run, URLS * (ROUNDS + 2));
	for (int i = 0; i < URLS; i++) {
		snprintf(urls[i], sizeof(urls[i]), "%s?frame=u32&queue=%d", tn_server_url(run.server, 0), 1000 + i);
		assert_int_equal(tn_endpoint_new(urls[i], &eps[i]), 0);
	}
	before = times_read;
	for (int i = 0; i < URLS * ROUNDS; i++)
		assert_int_equal(tn_dial_endpoint(run.loop, eps[i % URLS], &asking, &run, NULL), 0);
	assert_int_equal(times_read - before, 0);
	for (int i = 0; i < URLS * 2; i++)
		assert_int_equal(tn_dial(run.loop, urls[i % URLS], &asking, &run, NULL), 0);
	assert_int_equal(times_read - before, URLS * 2);
	for (int i = 0; i < URLS; i++)
		tn_endpoint_unref(eps[i]); /* the connections have references of their own */
	finish(&run);
}

/* ---- fails as tn_dial() does ---- */

struct failure {
	int now, later; /* what was returned; what on_close got, or 1 */
	long at;
	char words[512];
};

static void on_failed(struct tn_conn *conn, int err, void *arg)
{
	struct failure *failure = arg;

	(void)conn;
	failure->later = err;
	snprintf(failure->words, sizeof(failure->words), "%s", tn_errmsg());
}

static const struct tn_handler failing = {.on_close = on_failed};

static struct failure failure_of(const char *url, bool prepared)
{
	struct failure failure = {.later = 1};
	struct tn_endpoint *ep = NULL;
	struct tn_loop *loop;

	assert_int_equal(tn_loop_new(&loop, NULL), 0);
	failure.now = prepared ? tn_endpoint_new(url, &ep) : tn_dial(loop, url, &failing, &failure, NULL);
	if (ep)
		failure.now = tn_dial_endpoint(loop, ep, &failing, &failure, NULL);
	if (failure.now < 0)
		failure.at = tn_errpos();
	snprintf(failure.words, sizeof(failure.words), "%s", tn_errmsg());
	tn_endpoint_unref(ep);
	if (failure.now == 0)
		assert_int_equal(tn_loop_run(loop), 0);
	tn_loop_free(loop);
	return failure;
}

static void test_fails_as_dialling_does(void **state)
{
	static const char *const urls[] = {
		"",
		"nosuch://localhost:1",
		"tcp://localhost",
		"tcp://127.0.0.1:1?no=1",
		"tcp://127.0.0.1:1?backlog=5", /* for serving alone */
		"tcp://127.0.0.1:1?frame=u32&max=nonsense",
		"tls://127.0.0.1:1?ca=/no/such/file",
		"unix:/no/such/socket",
		"fd:1000000",
		"packet:nosuchinterface",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct failure a = failure_of(urls[i], false), b = failure_of(urls[i], true);

		assert_true(a.now < 0 || a.later < 0);
		assert_int_equal(a.now, b.now);
		assert_int_equal(a.later, b.later);
		assert_int_equal(a.at, b.at);
		assert_string_equal(a.words, b.words);
		assert_true(*a.words);
	}
}

static void on_freed(struct tn_conn *conn, int err, void *arg)
{
	struct run *run = arg;

	(void)conn;
	assert_int_equal(err, -ECANCELED);
	assert_int_equal(tn_dial_endpoint(run->loop, run->ep, &asking, run, NULL), TN_ESTATE);
	assert_non_null(strstr(tn_errmsg(), "unix:/a: the loop is being freed"));
	run->closed++;
}

static void test_loop_that_ends(void **state)
{
	static const struct tn_handler freed = {.on_close = on_freed};
	struct run run = {0};

	(void)state;
	assert_int_equal(tn_loop_new(&run.loop, NULL), 0);
	assert_int_equal(tn_endpoint_new("unix:/a", &run.ep), 0);
	assert_int_equal(tn_dial_endpoint(run.loop, run.ep, &freed, &run, NULL), 0);
	tn_loop_free(run.loop);
	assert_int_equal(run.closed, 1);
	tn_endpoint_unref(run.ep);
	tn_endpoint_unref(NULL);
}

/* ---- from several threads ---- */

struct thread {
	pthread_t id;
	struct tn_endpoint *ep; /* a reference that the thread lets go */
	int opened, closed;
};

static void on_opened(struct tn_conn *conn, void *arg)
{
	struct thread *thread = arg;

	thread->opened++;
	tn_abort(conn, -ECANCELED);
}

static void on_gone(struct tn_conn *conn, int err, void *arg)
{
	struct thread *thread = arg;

	(void)conn, (void)err;
	thread->closed++;
}

static void *dial_many(void *arg)
{
	static const struct tn_handler handler = {.on_open = on_opened, .on_close = on_gone};
	struct thread *thread = arg;
	struct tn_loop *loop;
	int rc = tn_loop_new(&loop, NULL);

	if (rc < 0)
		return NULL;
	for (int i = 0; i < URLS * ROUNDS && rc == 0; i++) {
		tn_endpoint_unref(tn_endpoint_ref(thread->ep));
		rc = tn_dial_endpoint(loop, thread->ep, &handler, thread, NULL);
		if (rc == 0 && i % URLS == URLS - 1)
			rc = tn_loop_run(loop);
	}
	tn_endpoint_unref(thread->ep);
	tn_loop_free(loop);
	return NULL;
}

/* An abstract Unix address that the kernel chooses; nobody accepts. */
static int listen_anywhere(char *url, size_t cap)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 2 * THREADS * URLS * ROUNDS), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	snprintf(url, cap, "unix:@%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), addr.sun_path + 1);
	return fd;
}

static void test_threads(void **state)
{
	struct thread threads[THREADS] = {0};
	struct tn_endpoint *ep;
	char url[256];
	int listener = listen_anywhere(url, sizeof(url));

	(void)state;
	assert_int_equal(tn_endpoint_new(url, &ep), 0);
	for (int i = 0; i < THREADS; i++) {
		threads[i].ep = tn_endpoint_ref(ep);
		assert_int_equal(pthread_create(&threads[i].id, NULL, dial_many, &threads[i]), 0);
	}
	tn_endpoint_unref(ep); /* whichever thread is last frees it */
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i].id, NULL);
		assert_int_equal(threads[i].opened, URLS * ROUNDS);
		assert_int_equal(threads[i].closed, URLS * ROUNDS);
	}
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_is_read_once),
		cmocka_unit_test(test_fails_as_dialling_does),
		cmocka_unit_test(test_loop_that_ends),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
