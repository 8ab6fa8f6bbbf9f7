/* Work that takes long enough for others to notice: how much of it a turn of a loop may begin, and in which order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conn/server.h"
#include "io/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define COUNT 20

struct job {
	struct tni_task task;
	struct tni_costly costly;
	struct tn_loop *loop;
	uint64_t takes_ns;
	int number;
};

static struct job jobs[COUNT];
static int done[COUNT], ndone;

static void run(struct tni_task *task)
{
	struct job *job = tni_container_of(task, struct job, task);

	if (!tni_loop_may_cost(job->loop, &job->costly))
		return;
	tni_loop_cost(job->loop, job->takes_ns);
	done[ndone++] = job->number;
}

static struct tn_loop *loop_with_jobs(uint64_t takes_ns)
{
	struct tn_loop *loop;

	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	ndone = 0;
	for (int i = 0; i < COUNT; i++) {
		jobs[i] = (struct job){.loop = loop, .number = i, .takes_ns = takes_ns};
		jobs[i].task.run = run;
		tni_list_init(&jobs[i].task.node);
		tni_list_init(&jobs[i].costly.node);
		jobs[i].costly.task = &jobs[i].task;
		tni_loop_ready(loop, &jobs[i].task);
	}
	return loop;
}

/* How many were done in each turn, all in the order in which they came. */
static void check_turns(struct tn_loop *loop, int each)
{
	int before = 0;

	for (int turn = 0; ndone < COUNT; turn++) {
		assert_true(turn < 2 * COUNT);
		assert_true(tn_loop_step(loop, 0) >= 0);
		assert_in_range(ndone - before, 1, each);
		before = ndone;
	}
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(done[i], i);
	tn_loop_free(loop);
}

static void test_long_ones_one_a_turn(void **state)
{
	(void)state;
	check_turns(loop_with_jobs(3 * TNI_NS_PER_MS), 1);
}

static void test_short_ones_share_a_turn(void **state)
{
	(void)state;
	check_turns(loop_with_jobs(300 * TNI_NS_PER_US), 4);
}

static void test_cheap_ones_do_not_wait(void **state)
{
	struct tn_loop *loop = loop_with_jobs(TNI_NS_PER_US);

	(void)state;
	assert_true(tn_loop_step(loop, 0) >= 0);
	assert_int_equal(ndone, COUNT);
	tn_loop_free(loop);
}

/* Made ready again while it waits, it keeps its place. */
static void test_its_place_is_kept(void **state)
{
	struct tn_loop *loop = loop_with_jobs(3 * TNI_NS_PER_MS);

	(void)state;
	for (int turn = 0; ndone < COUNT; turn++) {
		assert_true(turn < 2 * COUNT);
		assert_true(tn_loop_step(loop, 0) >= 0);
		for (int i = 0; i < COUNT; i++)
			if (!tni_list_empty(&jobs[i].costly.node))
				tni_loop_ready(loop, &jobs[i].task);
	}
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(done[i], i);
	tn_loop_free(loop);
}

/* One that goes away while it waits leaves no trace. */
static void test_one_that_leaves(void **state)
{
	struct tn_loop *loop = loop_with_jobs(3 * TNI_NS_PER_MS);

	(void)state;
	assert_true(tn_loop_step(loop, 0) >= 0);
	for (int i = 1; i < COUNT; i++) {
		tni_list_del(&jobs[i].costly.node);
		tni_list_del(&jobs[i].task.node);
	}
	for (int i = 0; i < 3; i++)
		assert_true(tn_loop_step(loop, 0) >= 0);
	assert_int_equal(ndone, 1);
	tn_loop_free(loop);
}

#ifdef TNI_HAVE_TLS
/* ---- one acceptor for two loops ---- */

#define CROWD 100 /* handshakes that wait in a loop: more than further clients are accepted for */

static int connect_to(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static void turn_both(struct tn_loop *loops[2], int turns)
{
	for (int i = 0; i < turns; i++) {
		assert_true(tn_loop_step(loops[0], 2) >= 0);
		assert_true(tn_loop_step(loops[1], 0) >= 0);
	}
}

/* Clients go past a loop in which handshakes wait, and wait themselves where there is no other. */
static void test_clients_go_where_no_handshakes_wait(void **state)
{
	char dir[] = "/tmp/tenon-costly-XXXXXX", keys[64], path[64], url[160];
	static const struct tn_handler handler = {0};
	struct tn_loop *loops[2];
	struct tn_server *server;
	int fds[8];
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(keys, sizeof(keys), "%s/keys", dir);
	snprintf(path, sizeof(path), "%s/s", dir);
	file = fopen(keys, "w");
	assert_true(file && fputs("me:00112233445566778899aabbccddeeff\n", file) > 0);
	fclose(file);
	for (int i = 0; i < 2; i++)
		assert_int_equal(tn_loop_new(&loops[i], "epoll"), 0);
	snprintf(url, sizeof(url), "tls+unix:%s?psk-file=%s", path, keys);
	assert_int_equal(tn_serve_loops(loops, 2, url, &handler, NULL, &server), 0);

	atomic_store(&loops[1]->ncostly, CROWD);
	for (int i = 0; i < 4; i++)
		fds[i] = connect_to(path);
	turn_both(loops, 20);
	assert_int_equal(server->parts[0].nconns, 4);
	assert_int_equal(server->parts[1].nconns, 0);

	atomic_store(&loops[0]->ncostly, CROWD);
	turn_both(loops, 1); /* one may be on its way in */
	for (int i = 4; i < 8; i++)
		fds[i] = connect_to(path);
	turn_both(loops, 20);
	assert_in_range(server->parts[0].nconns + server->parts[1].nconns, 4, 5);

	atomic_store(&loops[1]->ncostly, 0);
	for (int i = 0; i < 4000 && server->parts[0].nconns + server->parts[1].nconns < 8; i++)
		turn_both(loops, 1);
	assert_in_range(server->parts[0].nconns, 4, 5);
	assert_in_range(server->parts[1].nconns, 3, 4);
	atomic_store(&loops[0]->ncostly, 0);

	for (int i = 0; i < 8; i++)
		close(fds[i]);
	tn_loop_free(loops[0]);
	tn_loop_free(loops[1]);
	unlink(keys);
	assert_int_equal(rmdir(dir), 0);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_long_ones_one_a_turn),
		cmocka_unit_test(test_short_ones_share_a_turn),
		cmocka_unit_test(test_cheap_ones_do_not_wait),
		cmocka_unit_test(test_its_place_is_kept),
		cmocka_unit_test(test_one_that_leaves),
#ifdef TNI_HAVE_TLS
		cmocka_unit_test(test_clients_go_where_no_handshakes_wait),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
