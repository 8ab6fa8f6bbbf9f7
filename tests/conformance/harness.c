#include "harness.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *th_engine = "epoll";
char th_dir[64];

static int fds_before;

bool th_is_uring(void)
{
	return !strcmp(th_engine, "uring");
}

bool th_is_epoll(void)
{
	return !strcmp(th_engine, "epoll");
}

bool th_is_sim(void)
{
	return !strncmp(th_engine, "sim", 3);
}

/* ---- before and after a test ---- */

int th_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* ".", ".." and the directory itself */
}

static void print_fds(void)
{
	char path[64], target[256];

	for (int fd = 0; fd < 4096; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		if (n > 0)
			print_error("  open: %d -> %.*s\n", fd, (int)n, target);
	}
}

static long processors;

/* The watchdog asks too, so it calls only what a signal handler may: not getloadavg(), which opens files. */
double th_load(void)
{
	struct sysinfo info;
	double load;

	/* NOLINTNEXTLINE(bugprone-signal-handler): POSIX has no sysinfo(), but it is a bare system call */
	if (sysinfo(&info) < 0 || processors < 1)
		return 1;
	load = (double)info.loads[0] / (1 << SI_LOAD_SHIFT) / (double)processors;
	return load < 1 ? 1 : load;
}

static uint64_t began_ms;

/* Asked again while the machine is so busy that the test may just be slow. */
static void hanging(int sig)
{
	if ((double)(th_now_ms() - began_ms) < TH_WATCHDOG_S * 1000 * th_load()) {
		alarm(TH_WATCHDOG_S / 4);
		return;
	}
	static const char text[] = "\nwatchdog: the test named last hangs\n";
	ssize_t unused = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)unused;
	(void)sig;
	abort();
}

int th_setup(void **state)
{
	(void)state;
	processors = sysconf(_SC_NPROCESSORS_ONLN);
	signal(SIGALRM, hanging);
	fds_before = th_count_fds();
	snprintf(th_dir, sizeof(th_dir), "/tmp/tenon-conf-XXXXXX");
	if (!mkdtemp(th_dir))
		return -1;
	began_ms = th_now_ms();
	alarm(TH_WATCHDOG_S);
	return 0;
}

/* Names what is left in the directory, and removes it for the next test. */
static int leftover_files(void)
{
	DIR *dir = opendir(th_dir);
	struct dirent *entry;
	char path[512];
	int n = 0;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		print_error("left behind: %s/%s\n", th_dir, entry->d_name);
		snprintf(path, sizeof(path), "%s/%s", th_dir, entry->d_name);
		unlink(path);
		n++;
	}
	if (dir)
		closedir(dir);
	rmdir(th_dir);
	return n;
}

int th_teardown(void **state)
{
	int files = leftover_files(), fds = th_count_fds(), status, bad = files;

	(void)state;
	alarm(0);
	if (fds != fds_before) {
		print_error("descriptors: %d before the test, %d after it\n", fds_before, fds);
		print_fds();
		bad++;
	}
	if (waitpid(-1, &status, WNOHANG) != -1 || errno != ECHILD) {
		print_error("a child was left behind\n");
		bad++;
	}
	return bad ? -1 : 0;
}

/* ---- which engines ---- */

static bool engine_is_refused(const char *engine)
{
	struct tn_loop *loop;
	int rc = tn_loop_new(&loop, engine);

	if (rc == 0)
		tn_loop_free(loop);
	else
		print_message("SKIPPED: engine %s: %s\n", engine, tn_errmsg());
	return rc < 0;
}

/* "1/4": every fourth test from the second on, for one of four that run side by side: most of the time they wait.
 * Returns a copy, or NULL when all are meant. */
static struct CMUnitTest *share_of(const char *text, const struct CMUnitTest *tests, size_t *ntests)
{
	size_t number, of, n = 0;
	struct CMUnitTest *share;

	if (sscanf(text, "%zu/%zu", &number, &of) != 2)
		return NULL;
	assert_true(number < of);
	share = calloc(*ntests, sizeof(*share));
	assert_non_null(share);
	for (size_t i = number; i < *ntests; i += of)
		share[n++] = tests[i];
	*ntests = n;
	return share;
}

static int run_on(const char *engine, const char *group, const struct CMUnitTest *tests, size_t ntests)
{
	char name[128];

	th_engine = engine;
	snprintf(name, sizeof(name), "%s on %s", group, engine);
	return _cmocka_run_group_tests(name, tests, ntests, NULL, NULL);
}

int th_main(int argc, char **argv, const char *group, const struct CMUnitTest *tests, size_t ntests)
{
	static const char *const all[] = {"epoll", "uring", "sim:1", "sim:2", "sim:3"};
	const char *one = argc > 1 ? argv[1] : getenv("TENON_ENGINE");
	struct CMUnitTest *share = argc > 2 ? share_of(argv[2], tests, &ntests) : NULL;
	int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0); /* so that the name of a test that hangs is seen */
	if (share)
		tests = share;
	else if (argc > 2 && *argv[2])
		cmocka_set_test_filter(argv[2]);
	if (one && *one && strcmp(one, "all") != 0)
		failed = engine_is_refused(one) ? 77 : run_on(one, group, tests, ntests) != 0;
	else
		for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
			if (!engine_is_refused(all[i]))
				failed |= run_on(all[i], group, tests, ntests) != 0;
	free(share);
	return failed;
}

struct tn_loop *th_loop(void)
{
	struct tn_loop *loop = NULL;

	if (tn_loop_new(&loop, th_engine) < 0)
		fail_msg("%s", tn_errmsg());
	return loop;
}

/* ---- time ---- */

uint64_t th_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void th_check_deadline(uint64_t deadline_ms, const char *what, const char *file, int line)
{
	uint64_t now = th_now_ms();

	if (now < deadline_ms || (double)(now - deadline_ms) < TH_PATIENCE_MS * (th_load() - 1))
		return;
	print_error("waited in vain for: %s\n", what);
	_fail(file, line);
}

void th_turn_for(struct tn_loop *loop, int ms)
{
	uint64_t deadline = th_now_ms() + (uint64_t)ms;

	while (th_now_ms() < deadline)
		assert_true(tn_loop_step(loop, 5) >= 0);
}

/* ---- sockets ---- */

void th_pair(int type, int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
}

int th_tcp_listener(int backlog, int *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*port = ntohs(addr.sin_port);
	return fd;
}

int th_tcp_dial(int port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

void th_tcp_pair(int pair[2])
{
	int port, listener = th_tcp_listener(1, &port), on = 1;

	pair[0] = th_tcp_dial(port);
	pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(pair[1] >= 0);
	close(listener);
	for (int i = 0; i < 2; i++)
		setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void th_set_nonblock(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

/* ---- bytes ---- */

void th_fill(void *out, size_t len, uint64_t at)
{
	unsigned char *p = out;

	for (size_t i = 0; i < len; i++)
		p[i] = th_byte(at + i);
}

bool th_matches(const void *data, size_t len, uint64_t at)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++) {
		if (p[i] == th_byte(at + i))
			continue;
		print_error("byte %ju of the stream is %02x instead of %02x\n", (uintmax_t)at + i, p[i],
			    th_byte(at + i));
		return false;
	}
	return true;
}
