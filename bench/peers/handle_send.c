/*
 * Threads that send to one loop. Two threads hand over short messages as fast as they can; the loop writes them to
 * /dev/null, which costs next to nothing: what is measured is the way between the threads.
 *
 *	handle_send tenon [MESSAGES [SIZE [THREADS]]]    through tn_handle_send(), each thread by the same handle
 *	handle_send own ...                              each thread by a handle of its own, to a connection of its own
 *	handle_send bare ...                             a bare list: malloc, compare and swap; the other thread takes
 *all, copies them together, writes them, frees them handle_send loop ...                             no threads: the
 *loop's own tn_send(), in turns of 64 messages
 *
 * Prints messages a second, and the process's CPU time for each.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <tenon.h>

#define THREADS_MAX 8

static size_t messages = 20000000, size = 64, nthreads = 2;
static char payload[4096];
static struct tn_handle *handles[THREADS_MAX];
static _Atomic(size_t) refused, senders;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what)
{
	fprintf(stderr, "handle_send: %s: %s\n", what, tn_errmsg());
	exit(1);
}

/* ---- tenon ---- */

static void *send_all(void *arg)
{
	struct tn_handle *h = *(struct tn_handle **)arg;

	for (size_t i = 0; i < messages / nthreads; i++) {
		int rc;

		while ((rc = tn_handle_send(h, payload, size)) == TN_EFULL) {
			refused++;
			if (tn_handle_wait(h, -1) < 0)
				die("wait");
		}
		if (rc < 0)
			die("send");
	}
	if (atomic_fetch_sub(&senders, 1) == 1)
		for (size_t i = 0; i < THREADS_MAX && handles[i]; i++)
			(void)tn_handle_close(handles[i]);
	return NULL;
}

static int open_sinks(struct tn_loop *loop, size_t n, struct tn_conn **conns)
{
	static const struct tn_handler nothing = {0};
	char url[64];

	for (size_t i = 0; i < n; i++) {
		int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

		snprintf(url, sizeof(url), "fd:%d?queue=1MiB", fd);
		if (fd < 0 || tn_dial(loop, url, &nothing, NULL, &conns[i]) < 0)
			return -1;
	}
	return 0;
}

static void run_tenon(bool own)
{
	struct tn_conn *conns[THREADS_MAX];
	pthread_t threads[THREADS_MAX];
	struct tn_loop *loop;

	if (tn_loop_new(&loop, NULL) < 0 || open_sinks(loop, own ? nthreads : 1, conns) < 0)
		die("dial");
	for (size_t i = 0; i < nthreads; i++)
		if (tn_conn_handle(conns[own ? i : 0], &handles[i]) < 0)
			die("handle");
	senders = nthreads;
	for (size_t i = 0; i < nthreads; i++)
		pthread_create(&threads[i], NULL, send_all, &handles[i]);
	if (tn_loop_run(loop) < 0)
		die("run");
	for (size_t i = 0; i < nthreads; i++)
		pthread_join(threads[i], NULL);
	tn_loop_free(loop);
}

/* ---- the loop by itself ---- */

static size_t sent;

static void send_some(void *arg)
{
	struct tn_conn *conn = arg;

	for (int i = 0; i < 64 && sent < messages; i++, sent++)
		if (tn_send(conn, payload, size) < 0)
			die("send");
	if (sent == messages)
		tn_close(conn);
	else if (tn_loop_post(tn_conn_loop(conn), send_some, conn) < 0)
		die("post");
}

static void run_loop(void)
{
	struct tn_conn *conn;
	struct tn_loop *loop;

	if (tn_loop_new(&loop, NULL) < 0 || open_sinks(loop, 1, &conn) < 0 || tn_loop_post(loop, send_some, conn) < 0 ||
	    tn_loop_run(loop) < 0)
		die("loop");
	tn_loop_free(loop);
}

/* ---- bare ---- */

struct node {
	struct node *next;
	size_t len;
	char data[];
};

static _Atomic(struct node *) newest;
static _Atomic(size_t) waiting;
static int wake = -1;

static void *push_all(void *arg)
{
	uint64_t one = 1;

	for (size_t i = 0; i < messages / nthreads; i++) {
		struct node *node;

		while (waiting > 8192)
			sched_yield();
		node = malloc(sizeof(*node) + size);
		if (!node)
			exit(1);
		node->len = size;
		memcpy(node->data, payload, size);
		waiting++;
		node->next = newest;
		while (!atomic_compare_exchange_weak(&newest, &node->next, node))
			;
		if (!node->next && write(wake, &one, sizeof(one)) < 0)
			exit(1);
	}
	return arg;
}

static void run_bare(void)
{
	static char out[65536];
	pthread_t threads[THREADS_MAX];
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	uint64_t count;
	size_t done = 0;

	wake = eventfd(0, EFD_CLOEXEC);
	for (size_t i = 0; i < nthreads; i++)
		pthread_create(&threads[i], NULL, push_all, NULL);
	while (done < messages / nthreads * nthreads) {
		struct node *node, *oldest = NULL, *next;
		size_t used = 0, n = 0;

		if (read(wake, &count, sizeof(count)) < 0)
			exit(1);
		for (node = atomic_exchange(&newest, NULL); node; node = next) {
			next = node->next;
			node->next = oldest;
			oldest = node;
		}
		for (node = oldest; node; node = next, n++) {
			if (used + node->len > sizeof(out)) {
				(void)!write(null, out, used);
				used = 0;
			}
			memcpy(out + used, node->data, node->len);
			used += node->len;
			next = node->next;
			free(node);
		}
		(void)!write(null, out, used);
		waiting -= n;
		done += n;
	}
	for (size_t i = 0; i < nthreads; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	double began, took;

	messages = argc > 2 ? strtoul(argv[2], NULL, 10) : messages;
	size = argc > 3 ? strtoul(argv[3], NULL, 10) : size;
	nthreads = argc > 4 ? strtoul(argv[4], NULL, 10) : nthreads;
	if (!messages || size > sizeof(payload) || !nthreads || nthreads > THREADS_MAX)
		return 2;
	began = now();
	if (!strcmp(how, "tenon"))
		run_tenon(false);
	else if (!strcmp(how, "own"))
		run_tenon(true);
	else if (!strcmp(how, "loop"))
		run_loop();
	else if (!strcmp(how, "bare"))
		run_bare();
	else
		return fprintf(stderr, "usage: handle_send tenon|own|loop|bare [MESSAGES [SIZE [THREADS]]]\n"), 2;
	took = now() - began;
	printf("%-6s %10.0f msg/s %6.0f ns of CPU a message, %zu times full\n", how, (double)messages / took,
	       cpu() / (double)messages * 1e9, (size_t)refused);
	return 0;
}
