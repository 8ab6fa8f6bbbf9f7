/*
 * /connections of --admin (cmd/admin/connections.c): no turn of a loop tells of more than a few connections, and those
 * that come and go in between do no harm. The loop's turns are made by the test: what is posted waits in a list.
 */
#include "admin/told.h"
#include "common/workers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tenon_value.h"

#define CLIENTS 250
#define AT_ONCE 100 /* the bound that is promised */
#define POSTS_MAX 64

/* ---- what the part under test asks of others ---- */

struct admin admin;

static struct {
	struct {
		void (*fn)(void *arg);
		void *arg;
	} list[POSTS_MAX];
	int first, count;
	bool refused;
} posts;

static struct {
	char *body[2];
	size_t len[2];
	int count;
} answers;

static int asked_of; /* connections in this turn */

bool workers_post(void (*fn)(void *arg), void *arg)
{
	assert_true(posts.count < POSTS_MAX);
	posts.list[posts.count].fn = fn;
	posts.list[posts.count++].arg = arg;
	return true;
}

bool workers_post_to(int index, void (*fn)(void *arg), void *arg)
{
	assert_int_equal(index, 0);
	return !posts.refused && workers_post(fn, arg);
}

int workers_count(void)
{
	return 1;
}

int http_answer(struct tn_conn *conn, const struct http_request *request, const struct http_response *response)
{
	(void)conn, (void)request;
	assert_int_equal(response->status, 200);
	assert_true(answers.count < 2);
	answers.body[answers.count] = malloc(response->len);
	assert_non_null(answers.body[answers.count]);
	memcpy(answers.body[answers.count], response->body, response->len);
	answers.len[answers.count++] = response->len;
	return 0;
}

int http_words(struct tn_conn *conn, const struct http_request *request, int status, const char *words)
{
	(void)conn, (void)request, (void)status, (void)words;
	fail();
	return 0;
}

bool http_is(struct http_text text, const char *word)
{
	return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

/* Asked once of each connection that is told of. */
size_t __real_tn_conn_queued(const struct tn_conn *conn);
size_t __wrap_tn_conn_queued(const struct tn_conn *conn);

size_t __wrap_tn_conn_queued(const struct tn_conn *conn)
{
	asked_of++;
	return __real_tn_conn_queued(conn);
}

/* ---- a server and its clients, on one loop ---- */

static struct {
	struct tn_loop *loop;
	struct told told;
	struct tn_conn *served[CLIENTS + 1], *asker;
	uint64_t ids[CLIENTS + 1];
	int opened, closed;
} here;

static void on_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	assert_true(here.opened <= CLIENTS);
	here.ids[here.opened] = tn_conn_id(conn);
	here.served[here.opened++] = conn;
}

static void on_closed(struct tn_conn *conn, int err, void *arg)
{
	(void)err, (void)arg;
	here.closed++;
	connections_closed(conn);
}

static void on_over(void *arg)
{
	(void)arg;
	here.told.server = NULL;
}

static void dial(struct tn_server *server, struct tn_conn **conn)
{
	static const struct tn_handler client;

	assert_int_equal(tn_dial(here.loop, tn_server_url(server, 0), &client, NULL, conn), 0);
}

static void turn(void)
{
	assert_int_equal(tn_loop_step(here.loop, 1000), 1);
}

static int set_up(void **state)
{
	static const struct tn_watch watch = {.on_open = on_open, .on_close = on_closed};
	static const struct tn_handler nothing;
	static struct told *list[] = {&here.told};
	struct tn_server *other;

	(void)state;
	memset(&here, 0, sizeof(here));
	memset(&posts, 0, sizeof(posts));
	pthread_mutex_init(&here.told.lock, NULL);
	admin.list = list;
	admin.count = 1;
	assert_int_equal(tn_loop_new(&here.loop, "epoll"), 0);
	assert_int_equal(tn_serve(here.loop, "tcp://127.0.0.1:0", &nothing, NULL, &here.told.server), 0);
	assert_int_equal(tn_server_watch(here.told.server, &watch, NULL), 0);
	assert_int_equal(tn_serve(here.loop, "tcp://127.0.0.1:0", &nothing, NULL, &other), 0);
	dial(other, &here.asker);
	for (int i = 0; i < CLIENTS; i++) {
		dial(here.told.server, NULL);
		while (here.opened <= i)
			turn();
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tn_loop_free(here.loop);
	while (answers.count)
		free(answers.body[--answers.count]);
	return 0;
}

/* ---- asking ---- */

static void ask(void)
{
	const struct http_request request = {.method = {"GET", 3}};

	connections_answer(here.asker, &request);
	assert_int_equal(asked_of, 0);
}

/* What was posted first. Returns how many connections it has told of. */
static int run_one(void)
{
	int told;

	assert_true(posts.first < posts.count);
	posts.list[posts.first].fn(posts.list[posts.first].arg);
	posts.first++;
	told = asked_of;
	asked_of = 0;
	return told;
}

/* The rest. Returns how many connections that were, of which no turn has told more than a few. */
static int run_all(void)
{
	int told, sum = 0;

	while (posts.first < posts.count) {
		told = run_one();
		assert_true(told <= AT_ONCE);
		sum += told;
	}
	return sum;
}

/* That the answer is JSON, and is of the connections from `from` up to `to`, but for `without`: each once. */
static void check(int index, int from, int to, int without)
{
	struct tn_value *all = NULL;
	const struct tn_value *list, *item;
	int at = from;

	assert_int_equal(tn_decode("json", answers.body[index], answers.len[index], 0, &all), 0);
	list = tn_value_get(all, "connections");
	assert_non_null(list);
	for (item = tn_value_first(list); item; item = tn_value_next(list, item)) {
		uint64_t id;

		at += at == without;
		assert_true(at < to);
		assert_int_equal(tn_value_uint(tn_value_get(item, "id"), &id), 0);
		assert_int_equal(id, here.ids[at++]);
	}
	assert_int_equal(at + (at == without), to);
	tn_value_free(all);
}

/* ---- tests ---- */

static void test_a_few_a_turn(void **state)
{
	(void)state;
	ask();
	assert_int_equal(run_one(), AT_ONCE);
	assert_int_equal(answers.count, 0);
	assert_int_equal(run_all(), CLIENTS - AT_ONCE);
	assert_int_equal(answers.count, 1);
	check(0, 0, CLIENTS, -1);
}

/* Several who ask share the turns. */
static void test_two_ask(void **state)
{
	(void)state;
	ask();
	ask();
	assert_int_equal(run_all(), 2 * CLIENTS);
	assert_int_equal(answers.count, 2);
	check(0, 0, CLIENTS, -1);
	check(1, 0, CLIENTS, -1);
}

static void test_come_and_go(void **state)
{
	const int gone[] = {3, 170, CLIENTS - 1}; /* the first has been told of */

	(void)state;
	ask();
	assert_int_equal(run_one(), AT_ONCE);
	for (int i = 0; i < 3; i++)
		tn_abort(here.served[gone[i]], -ECANCELED);
	dial(here.told.server, NULL);
	while (here.closed < 3 || here.opened <= CLIENTS)
		turn();
	assert_int_equal(run_all(), CLIENTS - AT_ONCE - 2);
	check(0, 0, CLIENTS - 1, 170);
}

static void test_the_server_ends(void **state)
{
	(void)state;
	ask();
	ask();
	assert_int_equal(run_one(), AT_ONCE);
	tn_server_close(here.told.server, 0, on_over, NULL);
	while (here.told.server)
		(void)tn_loop_step(here.loop, 1000);
	assert_int_equal(here.closed, CLIENTS);
	assert_int_equal(run_all(), 0);
	check(0, 0, AT_ONCE, -1);
	check(1, 0, 0, -1);
}

/* A loop that ends takes no more: what is left is told at once, while its connections are there. */
static void test_the_loop_ends(void **state)
{
	(void)state;
	ask();
	assert_int_equal(run_one(), AT_ONCE);
	posts.refused = true;
	assert_int_equal(run_one(), AT_ONCE + (CLIENTS - 2 * AT_ONCE));
	assert_int_equal(run_all(), 0);
	check(0, 0, CLIENTS, -1);
}

static void test_who_asks_goes(void **state)
{
	(void)state;
	ask();
	assert_int_equal(run_one(), AT_ONCE);
	connections_forget(here.asker);
	(void)run_all();
	assert_int_equal(answers.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_few_a_turn, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_two_ask, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_come_and_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_server_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_loop_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_asks_goes, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
