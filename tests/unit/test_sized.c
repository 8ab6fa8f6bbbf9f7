/* Programs that were compiled for an earlier library, whose structs are shorter, and for a later one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tenon.h"
#include "tenon_value.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define UPTO(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))

static struct tn_loop *loop;
static struct tn_server *server;
static int opened, got, closed, bad, watched;

static void on_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	opened++;
	assert_int_equal(tn_send(conn, "hello", 5), 0);
}

static void on_echo(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	assert_int_equal(tn_reply(conn, msg, msg->data, msg->len), 0);
}

/* The answer: what an old and a later program read of the connection. */
static void on_answer(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct {
		struct tn_conn_info info;
		char later[16];
	} later;
	unsigned char old[sizeof(struct tn_conn_info)];
	size_t size = UPTO(struct tn_conn_info, bytes_out);

	(void)arg;
	got += (int)msg->len;
	memset(old, 0x5a, sizeof(old));
	tn_conn_info_sized(conn, (struct tn_conn_info *)(void *)old, size);
	assert_int_equal(((struct tn_conn_info *)(void *)old)->bytes_in, msg->len);
	for (size_t i = size; i < sizeof(old); i++)
		assert_int_equal(old[i], 0x5a);
	memset(&later, 0x5a, sizeof(later));
	tn_conn_info_sized(conn, &later.info, sizeof(later));
	assert_int_equal(later.info.bytes_in, msg->len);
	assert_non_null(strstr(later.info.peer, "tcp://127.0.0.1:"));
	for (size_t i = 0; i < sizeof(later.later); i++)
		assert_int_equal(later.later[i], 0);
	tn_close(conn);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err, (void)arg;
	closed++;
	tn_server_close(server, 0, NULL, NULL);
}

static void on_watched(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
	watched++;
}

static void on_never(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err, (void)arg;
	bad++;
}

/* Callbacks that stand behind an old program's struct are not called: what is there is something else of its own. */
static void test_old_program(void **state)
{
	struct tn_handler serving = {.on_msg = on_echo, .on_close = on_never};
	struct tn_handler dialling = {.on_open = on_open, .on_msg = on_answer, .on_close = on_close};
	struct tn_watch watch = {.on_open = on_watched, .on_close = on_never};

	(void)state;
	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	assert_int_equal(
		tn_serve_sized(loop, "tcp://127.0.0.1:0", &serving, UPTO(struct tn_handler, on_msg), NULL, &server), 0);
	tn_server_watch_sized(server, &watch, UPTO(struct tn_watch, on_open), NULL);
	memset(&serving, 0xff, sizeof(serving)); /* it was copied */
	assert_int_equal(tn_dial_sized(loop, tn_server_url(server, 0), &dialling, sizeof(dialling), NULL, NULL), 0);
	memset(&dialling, 0xff, sizeof(dialling));
	assert_int_equal(tn_loop_run(loop), 0);
	assert_int_equal(opened, 1);
	assert_int_equal(got, 5);
	assert_int_equal(closed, 1);
	assert_int_equal(watched, 1);
	assert_int_equal(bad, 0);
	tn_loop_free(loop);
}

/* Counters: an old program has room for fewer, and a later one reads zero for those that are not known here. */
static void check_counts(void)
{
	struct {
		struct tn_counts counts;
		uint64_t later;
	} later = {.later = 1};
	struct tn_counts old = {.open = 7, .bad = 7};

	tn_server_count_sized(server, &old, offsetof(struct tn_counts, bad));
	assert_int_equal(old.open, 0);
	assert_int_equal(old.bad, 7);
	tn_server_count_sized(server, &later.counts, sizeof(later));
	assert_int_equal(later.later, 0);
}

/* It may have been compiled for more, as long as it does without. */
static void test_later_program(void **state)
{
	struct {
		struct tn_handler handler;
		void (*later)(void);
	} later = {.handler = {.on_msg = on_echo}};
	struct tn_loop *const loops[] = {NULL};
	struct tn_endpoint *ep;

	(void)state;
	assert_int_equal(tn_loop_new(&loop, "epoll"), 0);
	assert_int_equal(tn_serve_sized(loop, "tcp://127.0.0.1:0", &later.handler, sizeof(later), NULL, &server), 0);
	check_counts();
	tn_server_close(server, 0, NULL, NULL);
	later.later = (void (*)(void))test_old_program;
	assert_int_equal(tn_serve_sized(loop, "tcp://127.0.0.1:0", &later.handler, sizeof(later), NULL, NULL), -EINVAL);
	assert_non_null(strstr(tn_errmsg(), "it was compiled for a later one"));
	assert_int_equal(tn_serve_loops_sized(loops, 1, "tcp://127.0.0.1:0", &later.handler, sizeof(later), NULL, NULL),
			 -EINVAL);
	assert_int_equal(tn_dial_sized(loop, "tcp://127.0.0.1:1", &later.handler, sizeof(later), NULL, NULL), -EINVAL);
	assert_int_equal(tn_endpoint_new("tcp://127.0.0.1:1", &ep), 0);
	assert_int_equal(tn_dial_endpoint_sized(loop, ep, &later.handler, sizeof(later), NULL, NULL), -EINVAL);
	tn_endpoint_unref(ep);
	tn_loop_free(loop);
}

static int two_bytes(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	(void)data;
	assert_null(arg);
	*part = (struct tn_frame_part){.taken = 2, .len = 2};
	return len >= 2;
}

static int never(const struct iovec *iov, int count, size_t len, struct tn_frame_ends *ends, void *arg)
{
	(void)iov, (void)count, (void)len, (void)ends, (void)arg;
	bad++;
	return -EINVAL;
}

/* A frame whose struct ends behind next(): what stands there is no wrap() and no argument. */
static void test_frame_of_an_old_program(void **state)
{
	struct tn_frame frame = {.size = offsetof(struct tn_frame, wrap),
				 .name = "old-two",
				 .next = two_bytes,
				 .wrap = never,
				 .arg = &bad};
	struct tn_split *split;
	const void *data;
	size_t len;

	(void)state;
	assert_int_equal(tn_frame_register(&frame), 0);
	assert_int_equal(tn_split_new("tcp://127.0.0.1:1?frame=old-two", &split), 0);
	assert_int_equal(tn_split_feed(split, "abc", 3), 0);
	assert_int_equal(tn_split_next(split, &data, &len), 1);
	assert_int_equal(len, 2);
	assert_memory_equal(data, "ab", 2);
	assert_int_equal(bad, 0);
	tn_split_free(split);
}

static void test_frame_of_a_later_program(void **state)
{
	struct {
		struct tn_frame frame;
		void (*later)(void);
	} later = {.frame = {.size = sizeof(later), .name = "later", .next = two_bytes}};

	(void)state;
	later.later = (void (*)(void))never;
	assert_int_equal(tn_frame_register(&later.frame), -EINVAL);
	assert_non_null(strstr(tn_errmsg(), "it was compiled for a later one"));
	later.later = NULL;
	assert_int_equal(tn_frame_register(&later.frame), 0);
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?frame=later", TN_DIAL), 0);
}

static void test_what_is_filled_in(void **state)
{
	struct {
		struct tn_place place;
		uint64_t later;
	} place = {.later = 1};
	struct {
		struct tn_option option;
		uint64_t later;
	} option = {.later = 1};
	struct tn_option old = {.meaning = "kept"};

	(void)state;
	assert_int_equal(tn_url_place_sized("tcp://127.0.0.1:7", &place.place, sizeof(place)), 0);
	assert_int_equal(place.place.port, 7);
	assert_int_equal(place.later, 0);
	place.later = 1;
	assert_int_equal(tn_url_place_sized("nosuch:", &place.place, sizeof(place)), TN_EURL);
	assert_int_equal(place.later, 1);
	assert_int_equal(tn_option_at_sized(0, &option.option, sizeof(option)), 0);
	assert_int_equal(option.later, 0);
	assert_int_equal(tn_option_at_sized(0, &old, offsetof(struct tn_option, meaning)), 0);
	assert_string_equal(old.key, option.option.key);
	assert_string_equal(old.meaning, "kept");
	assert_int_equal(tn_option_at(100000, &old), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_old_program),
		cmocka_unit_test(test_later_program),
		cmocka_unit_test(test_frame_of_an_old_program),
		cmocka_unit_test(test_frame_of_a_later_program),
		cmocka_unit_test(test_what_is_filled_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
