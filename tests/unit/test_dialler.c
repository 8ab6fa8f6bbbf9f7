/* What dialled connections share, what an idle one costs, and that each keeps what is its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conn/dialler.h"
#include "tenon.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MANY 220 /* with all ends in this process: fewer than the 1,024 descriptors of a usual limit */
#define ENGINE "epoll"

static char url[128];
static struct sockaddr_un place;
static socklen_t place_len;
static int opened;

/* An abstract address that the kernel chooses, as a URL too. */
static int listen_anywhere(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	place = (struct sockaddr_un){.sun_family = AF_UNIX};
	place_len = sizeof(place);
	assert_int_equal(bind(fd, (struct sockaddr *)&place, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 2 * MANY), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&place, &place_len), 0);
	snprintf(url, sizeof(url), "unix:@%.*s", (int)(place_len - offsetof(struct sockaddr_un, sun_path) - 1),
		 place.sun_path + 1);
	return fd;
}

static void count_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	opened++;
	++*(int *)arg;
}

static void turn_until_open(struct tn_loop *loop, int want)
{
	for (int i = 0; i < 4000 && opened < want; i++)
		assert_true(tn_loop_step(loop, 10) >= 0);
	assert_int_equal(opened, want);
}

static void dial_many(struct tn_loop *loop, int from, int to, const char *form, int *args)
{
	struct tn_handler handler = {.on_open = count_open};
	char text[512];

	for (int i = from; i < to; i++) {
		snprintf(text, sizeof(text), form, url, 1000 + i);
		assert_int_equal(tn_dial(loop, text, &handler, &args[i], NULL), 0);
	}
	turn_until_open(loop, to);
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define HEAP_IS_COUNTED 1

static size_t heap(void)
{
	return mallinfo2().uordblks;
}
#else
#define HEAP_IS_COUNTED 0

static size_t heap(void)
{
	return 0;
}
#endif

/* Bytes of heap for each of many idle connections, allocator included; -1: not counted here. `form` gets the URL and a
 * number. */
static long bytes_dialled(const char *form)
{
	struct tn_loop *loop;
	int listener = listen_anywhere(), args[16 + MANY] = {0};
	size_t before, after;

	opened = 0;
	assert_int_equal(tn_loop_new(&loop, ENGINE), 0);
	dial_many(loop, 0, 16, form, args); /* what they share, and what is kept for reuse */
	before = heap();
	dial_many(loop, 16, 16 + MANY, form, args);
	after = heap();
	for (int i = 0; i < 16 + MANY; i++)
		assert_int_equal(args[i], 1);
	tn_loop_free(loop);
	close(listener);
	return HEAP_IS_COUNTED ? (long)(after - before) / MANY : -1;
}

static void test_idle_dialled(void **state)
{
	(void)state;
	assert_true(bytes_dialled("%s") <= 464);
}

static void test_idle_dialled_with_many_keys(void **state)
{
	(void)state;
	assert_true(bytes_dialled("%s?frame=u32&format=json&max=64KiB&queue=1MiB&idle=1h&connect=5s&drain=1s&spin=0&"
				  "sndbuf=100000") <= 464);
}

/* Each URL is another: what is understood cannot be shared. */
static void test_idle_dialled_to_many_places(void **state)
{
	(void)state;
	assert_true(bytes_dialled("%s?queue=%d") <= 832);
}

static void test_idle_accepted(void **state)
{
	struct tn_handler handler = {.on_open = count_open};
	int fds[16 + MANY], told = 0;
	struct tn_loop *loop;
	size_t before = 0;

	(void)state;
	opened = 0;
	close(listen_anywhere()); /* for an address that is free */
	assert_int_equal(tn_loop_new(&loop, ENGINE), 0);
	assert_int_equal(tn_serve(loop, url, &handler, &told, NULL), 0);
	for (int i = 0; i < 16 + MANY; i++) {
		if (i == 16)
			before = heap();
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&place, place_len), 0);
		turn_until_open(loop, i + 1);
	}
	if (HEAP_IS_COUNTED)
		assert_true((heap() - before) / MANY <= 464);
	for (int i = 0; i < 16 + MANY; i++)
		close(fds[i]);
	tn_loop_free(loop);
}

/* ---- a path of two ---- */

static struct tn_conn *accepted[16 + MANY];

static void note_accepted(struct tn_conn *conn, void *arg)
{
	(void)arg;
	accepted[opened++] = conn;
}

static void at_end(struct tn_conn *from, struct tn_conn *to, void *arg)
{
	(void)from, (void)arg;
	(void)tn_finish(to);
}

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void hear(struct tn_loop *loop, int fd, const char *text)
{
	char got[8] = "";
	ssize_t n = -1;

	for (int i = 0; i < 4000 && n < 0; i++) {
		assert_true(tn_loop_step(loop, 10) >= 0);
		n = recv(fd, got, sizeof(got), MSG_DONTWAIT);
	}
	assert_int_equal(n, (ssize_t)strlen(text));
	assert_memory_equal(got, text, (size_t)n);
}

/* What a relay has: a client's connection and a dialled one, with a function of its own at each end of them. */
static void test_idle_path(void **state)
{
	static const struct tn_pass pass = {.end = at_end};
	struct tn_handler served = {.on_open = note_accepted}, handler = {.on_open = count_open};
	int clients[16 + MANY], targets[16 + MANY], listener, told = 0;
	char target_url[sizeof(url)];
	struct sockaddr_un target;
	socklen_t target_len;
	struct tn_loop *loop;
	size_t before = 0;

	(void)state;
	listener = listen_anywhere();
	memcpy(target_url, url, sizeof(url));
	target = place;
	target_len = place_len;
	close(listen_anywhere()); /* another address, that is free */
	assert_true(target_len != place_len || memcmp(&target, &place, place_len) != 0);
	assert_int_equal(tn_loop_new(&loop, ENGINE), 0);
	assert_int_equal(tn_serve(loop, url, &served, NULL, NULL), 0);
	for (int i = 0; i < 16 + MANY; i++) {
		struct tn_conn *conn;

		if (i == 16)
			before = heap();
		opened = i;
		clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(clients[i], (struct sockaddr *)&place, place_len), 0);
		turn_until_open(loop, i + 1);
		assert_int_equal(tn_dial(loop, target_url, &handler, &told, &conn), 0);
		assert_int_equal(tn_flow(accepted[i], conn, &pass, &told), 0);
		assert_int_equal(tn_flow(conn, accepted[i], &pass, &told), 0);
		turn_until_open(loop, i + 2);
		targets[i] = accept(listener, NULL, NULL);
		say(clients[i], "there");
		hear(loop, targets[i], "there");
		say(targets[i], "back");
		hear(loop, clients[i], "back");
	}
	if (HEAP_IS_COUNTED)
		assert_true((heap() - before) / MANY <= 1040);
	for (int i = 0; i < 16 + MANY; i++) {
		close(clients[i]);
		close(targets[i]);
	}
	tn_loop_free(loop);
	close(listener);
}

/* ---- who gets what ---- */

static struct tni_endpoint *endpoint_of(struct tn_loop *loop, const char *text)
{
	struct tni_endpoint *ep;

	assert_int_equal(tni_dialler_endpoint(tni_dialler_of(loop), text, &ep), 0);
	return ep;
}

static bool is_shared(struct tn_loop *loop, const char *text)
{
	struct tni_endpoint *a = endpoint_of(loop, text), *b = endpoint_of(loop, text);
	bool same = a == b;

	assert_string_equal(a->url, text);
	assert_string_equal(b->url, text);
	tni_endpoint_unref(a);
	tni_endpoint_unref(b);
	return same;
}

static void test_what_is_shared(void **state)
{
	struct tni_endpoint *ep = NULL, *first;
	struct tn_loop *loop;

	(void)state;
	assert_int_equal(tn_loop_new(&loop, ENGINE), 0);
	assert_true(is_shared(loop, "tcp://127.0.0.1:1"));
	assert_true(is_shared(loop, "tls://example.org:443?sni=a.example&alpn=x"));
	assert_true(is_shared(loop, "unix:/run/a.sock?frame=line"));
	assert_true(is_shared(loop, "udp://[::1]:53?bind=[::1]:0&ttl=3"));
	/* What these say depends on the system, and may be another thing next time. */
	assert_false(is_shared(loop, "fd:0"));
	assert_false(is_shared(loop, "packet:lo"));
	assert_false(is_shared(loop, "icmp://127.0.0.1"));
	assert_false(is_shared(loop, "tcp://127.0.0.1:1?bindtodevice=lo"));
	assert_false(is_shared(loop, "udp6://[::1]:53?bind=[fe80::1%25lo]"));
	if (tn_url_check("tcp://127.0.0.1:http", TN_DIAL) == 0) /* not every system has /etc/services */
		assert_false(is_shared(loop, "tcp://127.0.0.1:http"));

	assert_int_equal(tni_dialler_endpoint(tni_dialler_of(loop), "tcp://127.0.0.1:1?no=1", &ep), TN_EURL);
	/* One outlives its place among the last ones, and the loop. */
	first = endpoint_of(loop, "unix:/first");
	for (int i = 0; i < 40; i++) {
		char text[64];

		snprintf(text, sizeof(text), "unix:/other-%d", i);
		assert_true(is_shared(loop, text));
	}
	tn_loop_free(loop);
	assert_string_equal(first->url, "unix:/first");
	tni_endpoint_unref(first);
}

static int closed_by[2];

static void close_a(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err;
	closed_by[0]++;
	++*(int *)arg;
}

static void close_b(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err;
	closed_by[1]++;
	++*(int *)arg;
}

static void ignore(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
}

/* More sets of callbacks than are kept, over one URL: each connection hears its own, once. */
static void test_each_keeps_its_own(void **state)
{
	int listener = listen_anywhere(), args[96] = {0};
	struct tn_conn *conns[96];
	struct tn_loop *loop;

	(void)state;
	opened = closed_by[0] = closed_by[1] = 0;
	assert_int_equal(tn_loop_new(&loop, ENGINE), 0);
	for (int i = 0; i < 96; i++) {
		struct tn_handler handler = {.on_open = count_open,
					     .on_close = i & 1 ? close_b : close_a,
					     .on_drain = i & 2 ? ignore : NULL,
					     .on_end = i & 4 ? ignore : NULL,
					     .on_cut = i & 8 ? ignore : NULL};

		assert_int_equal(tn_dial(loop, url, &handler, &args[i], &conns[i]), 0);
		handler = (struct tn_handler){0}; /* it was copied */
	}
	turn_until_open(loop, 96);
	for (int i = 0; i < 96; i += 3)
		tn_abort(conns[i], -ECANCELED);
	for (int i = 0; i < 4000 && closed_by[0] + closed_by[1] < 32; i++)
		assert_true(tn_loop_step(loop, 10) >= 0);
	for (int i = 0; i < 96; i++)
		assert_int_equal(args[i], i % 3 ? 1 : 2);
	tn_loop_free(loop);
	for (int i = 0; i < 96; i++)
		assert_int_equal(args[i], 2);
	assert_int_equal(closed_by[0], 48);
	assert_int_equal(closed_by[1], 48);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_dialled),
		cmocka_unit_test(test_idle_dialled_with_many_keys),
		cmocka_unit_test(test_idle_dialled_to_many_places),
		cmocka_unit_test(test_idle_accepted),
		cmocka_unit_test(test_idle_path),
		cmocka_unit_test(test_what_is_shared),
		cmocka_unit_test(test_each_keeps_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
