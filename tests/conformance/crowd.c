/*
 * A crowd of clients that want a handshake at once: those for whom there is no time yet wait in the listener's queue,
 * where they cost nothing.
 */
#include "../support/certs.h"
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 480, BATCH = 40 };

/* 64 handshakes wait before accepting pauses; those that were accepted in the turns around that are not counted yet. */
enum { WAITING_MAX = 64 + 3 * BATCH };

static char certs_dir[64];

static void raise_limit(struct rlimit *before)
{
	struct rlimit more;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, before), 0);
	more = *before;
	more.rlim_cur = 2 * CLIENTS + 200;
	if (more.rlim_cur > before->rlim_max)
		skip();
	if (more.rlim_cur > before->rlim_cur)
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &more), 0);
}

/* What a client of ours says first. Returns its length. */
static size_t make_hello(unsigned char *hello, size_t cap)
{
	struct tn_loop *loop = th_loop();
	struct tn_conn *conn;
	size_t len = 0;
	char url[64];
	int port, listener = th_tcp_listener(1, &port), fd;

	snprintf(url, sizeof(url), "tls://127.0.0.1:%d?verify=off", port);
	assert_int_equal(tn_dial(loop, url, &(struct tn_handler){0}, NULL, &conn), 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	th_set_nonblock(fd);
	while (len < 5 || len < 5 + (size_t)hello[3] * 256 + hello[4]) { /* one record */
		ssize_t n = read(fd, hello + len, cap - len);

		len += n > 0 ? (size_t)n : 0;
		assert_true(tn_loop_step(loop, 1) >= 0);
	}
	tn_abort(conn, 0);
	tn_loop_free(loop);
	close(fd);
	close(listener);
	return len;
}

static int count_answered(const int *fds, int n)
{
	struct pollfd polls[CLIENTS];
	int answered = 0;

	for (int i = 0; i < n; i++)
		polls[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
	assert_true(poll(polls, (nfds_t)n, 0) >= 0);
	for (int i = 0; i < n; i++)
		answered += (polls[i].revents & POLLIN) != 0;
	return answered;
}

static void test_accepting_pauses_for_handshakes(void **state)
{
	static unsigned char hello[8192];
	struct tn_loop *loop = th_loop();
	struct tn_server *server;
	struct rlimit before;
	int fds[CLIENTS], n = 0, answered = 0, waiting, most = 0;
	size_t len = make_hello(hello, sizeof(hello));
	uint64_t deadline;
	char url[512];

	(void)state;
	raise_limit(&before);
	snprintf(certs_dir, sizeof(certs_dir), "/tmp/tenon-crowd-XXXXXX");
	assert_non_null(mkdtemp(certs_dir));
	certs_make(certs_dir, "ca", NULL, NULL, -1, 10);
	certs_make(certs_dir, "peer", "ca", "IP:127.0.0.1", -1, 10);
	snprintf(url, sizeof(url), "tls://127.0.0.1:0?cert=%1$s/peer.pem&key=%1$s/peer.key&backlog=1024&handshake=1h",
		 certs_dir);
	if (tn_serve(loop, url, &(struct tn_handler){0}, NULL, &server) < 0)
		fail_msg("%s", tn_errmsg());
	deadline = th_now_ms() + TH_PATIENCE_MS;
	while (answered < CLIENTS) {
		for (int i = 0; i < BATCH && n < CLIENTS; i++) {
			fds[n] = th_tcp_dial(atoi(strrchr(tn_server_url(server, 0), ':') + 1));
			assert_int_equal(write(fds[n++], hello, len), len);
		}
		assert_true(tn_loop_step(loop, 0) >= 0);
		answered = count_answered(fds, n);
		waiting = (int)tn_server_nconns(server) - answered;
		most = waiting > most ? waiting : most;
		th_check_deadline(deadline, "all are answered", __FILE__, __LINE__);
	}
	print_message("at most %d of %d waited\n", most, CLIENTS);
	assert_true(most <= WAITING_MAX);
	for (int i = 0; i < n; i++)
		close(fds[i]);
	tn_loop_free(loop);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	certs_remove(certs_dir);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(test_accepting_pauses_for_handshakes, th_setup, th_teardown),
};

int main(int argc, char **argv)
{
	return th_main(argc, argv, "crowd", tests, sizeof(tests) / sizeof(tests[0]));
}
