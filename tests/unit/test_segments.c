/* Datagrams that go as one message (key gso): which are joined, and what becomes of those that are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/segments.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static struct {
	struct tni_mem mem;
	struct tni_dgram_queue queue;
	struct tni_segments *segments;
	struct tni_outbox outbox;
} s;

static int set_up(void **state)
{
	(void)state;
	tni_mem_init(&s.mem);
	tni_dgram_queue_init(&s.queue, &s.mem, 16 << 20);
	s.segments = tni_segments_new();
	assert_non_null(s.segments);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tni_segments_free(s.segments);
	tni_dgram_queue_drop(&s.queue, s.queue.count);
	tni_mem_free(&s.mem);
	return 0;
}

/* `n` datagrams of one length to the peer of a number. */
static void put(int n, size_t len, int peer, unsigned hops, uint32_t index)
{
	static unsigned char bytes[TNI_DGRAM_MAX];
	struct tn_addr to = {.len = 16, .local = {.index = index, .len = 4}};
	struct iovec iov = {.iov_base = bytes, .iov_len = len};

	memcpy(to.bytes, &peer, sizeof(peer));
	while (n--)
		assert_int_equal(tni_dgram_queue_put(&s.queue, &to, hops, &iov, 1, iov.iov_len), 0);
}

static int told_size(struct msghdr *msg)
{
	uint16_t size = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT)
			memcpy(&size, CMSG_DATA(c), sizeof(size));
	return size;
}

/* How many datagrams each message has, which ends with 0; a run is told the length of each. */
static void expect(const unsigned *runs)
{
	unsigned n = 0;

	memset(&s.outbox, 0, sizeof(s.outbox));
	tni_segments_describe(s.segments, &s.queue, &s.outbox, NULL);
	for (; runs[n]; n++) {
		struct msghdr *msg = &s.outbox.v[n].msg_hdr;

		if (n >= s.outbox.mm.n || msg->msg_iovlen != runs[n])
			fail_msg("message %u of %u: %zu datagrams", n, s.outbox.mm.n, msg->msg_iovlen);
		assert_int_equal(told_size(msg), runs[n] > 1 ? msg->msg_iov->iov_len : 0);
	}
	assert_int_equal(s.outbox.mm.n, n);
}

#define EXPECT(...) expect((const unsigned[]){__VA_ARGS__, 0})

/* So many messages have gone. */
static void sent(unsigned messages, unsigned datagrams)
{
	assert_int_equal(tni_segments_sent(s.segments, messages), datagrams);
	tni_dgram_queue_drop(&s.queue, datagrams);
}

static void drop_all(void)
{
	tni_dgram_queue_drop(&s.queue, s.queue.count);
}

/* Of one length, but for the last, which may be shorter but not empty; as many, and as long, as the kernel takes. */
static void test_what_is_joined(void **state)
{
	static const struct {
		size_t lens[6];
		unsigned runs[6];
	} rows[] = {
		{{10}, {1}},
		{{10, 10, 10}, {3}},
		{{10, 10, 5, 5}, {3, 1}},
		{{10, 10, 9, 10}, {3, 1}},
		{{5, 10, 10}, {1, 2}},
		{{10, 11}, {1, 1}},
		{{32754, 32753}, {2}},
		{{32754, 32754}, {1, 1}},
		{{30000, 30000, 5507}, {3}},
		{{30000, 30000, 5508}, {2, 1}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int n = 0; rows[i].lens[n]; n++)
			put(1, rows[i].lens[n], 1, 0, 0);
		expect(rows[i].runs);
		drop_all();
	}
	put(1, 0, 1, 0, 0);
	put(2, 10, 1, 0, 0);
	put(2, 0, 1, 0, 0);
	EXPECT(1, 2, 1, 1);
	drop_all();
	put(65, 10, 1, 0, 0);
	EXPECT(64, 1);
	drop_all();
	put(520, 1, 1, 0, 0); /* 512 at a time */
	EXPECT(64, 64, 64, 64, 64, 64, 64, 64);
	sent(8, 512);
	EXPECT(8);
	drop_all();
	for (int n = 0; n < 70; n++)
		put(1, 10, n, 0, 0);
	memset(&s.outbox, 0, sizeof(s.outbox));
	tni_segments_describe(s.segments, &s.queue, &s.outbox, NULL);
	assert_int_equal(s.outbox.mm.n, TNI_BATCH);
}

/* Only what goes to the same place in the same way. */
static void test_each_way_by_itself(void **state)
{
	(void)state;
	put(2, 10, 1, 0, 0);
	put(2, 10, 2, 0, 0);
	put(2, 10, 2, 3, 0);
	put(2, 10, 2, 4, 0);
	put(2, 10, 2, 4, 7);
	EXPECT(2, 2, 2, 2, 2);
	sent(2, 4);
	EXPECT(2, 2, 2);
}

/* A device that takes no runs: those of the first one go singly, and then none is joined any more. */
static void test_runs_that_nobody_takes(void **state)
{
	static const int errors[] = {-EIO, -EOPNOTSUPP};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		put(3, 10, 1, 0, 0);
		put(5, 20, 1, 0, 0);
		EXPECT(3, 5);
		assert_true(tni_segments_refused(s.segments, errors[i]));
		EXPECT(1, 1, 1);
		sent(1, 1); /* the kernel has no room for more now */
		EXPECT(1, 1);
		sent(2, 2);
		EXPECT(1, 1, 1, 1, 1);
		drop_all();
		tear_down(state);
		set_up(state);
	}
}

/* A path that takes no datagrams so long in a run: shorter ones are joined as before. */
static void test_runs_that_are_too_long(void **state)
{
	static const int errors[] = {-EMSGSIZE, -EINVAL};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		put(3, 100, 1, 0, 0);
		EXPECT(3);
		assert_true(tni_segments_refused(s.segments, errors[i]));
		EXPECT(1, 1, 1);
		sent(3, 3);
		put(2, 100, 1, 0, 0);
		put(2, 99, 1, 0, 0);
		EXPECT(1, 1, 2);
		drop_all();
		tear_down(state);
		set_up(state);
	}
}

/* What is refused singly too was not refused for being a run. */
static void test_what_is_refused_anyhow(void **state)
{
	(void)state;
	put(3, 10, 1, 0, 0);
	put(4, 10, 2, 0, 0);
	EXPECT(3, 4);
	assert_true(tni_segments_refused(s.segments, -EIO));
	for (unsigned left = 3; left; left--) {
		memset(&s.outbox, 0, sizeof(s.outbox));
		tni_segments_describe(s.segments, &s.queue, &s.outbox, NULL);
		assert_int_equal(s.outbox.mm.n, left);
		assert_false(tni_segments_refused(s.segments, -EIO)); /* given up */
		tni_dgram_queue_drop(&s.queue, 1);
	}
	EXPECT(4);
	assert_false(tni_segments_refused(s.segments, -ECONNREFUSED)); /* says nothing of runs */
	assert_false(tni_segments_refused(s.segments, -EAGAIN));
	EXPECT(4);
	drop_all();
	put(1, 10, 1, 0, 0);
	EXPECT(1);
	assert_false(tni_segments_refused(s.segments, -EMSGSIZE)); /* no run */
	put(1, 10, 1, 0, 0);
	EXPECT(2);
}

static size_t joined(int type, int size, size_t len)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.align = {.cmsg_level = IPPROTO_UDP, .cmsg_type = type, .cmsg_len = CMSG_LEN(sizeof(int))}};
	struct msghdr msg = {.msg_control = &control, .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.align), &size, sizeof(size));
	return tni_dgram_joined(&msg, len);
}

static void test_what_the_kernel_has_joined(void **state)
{
	(void)state;
	assert_int_equal(tni_dgram_joined(&(struct msghdr){0}, 35), 35);
	assert_int_equal(joined(UDP_GRO, 10, 35), 10);
	assert_int_equal(joined(UDP_GRO, 1, 35), 1);
	assert_int_equal(joined(UDP_GRO, 34, 35), 34);
	assert_int_equal(joined(UDP_GRO, 35, 35), 35);
	assert_int_equal(joined(UDP_GRO, 36, 35), 35);
	assert_int_equal(joined(UDP_GRO, 0, 35), 35);
	assert_int_equal(joined(UDP_GRO, -1, 35), 35);
	assert_int_equal(joined(UDP_SEGMENT, 10, 35), 35);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_joined, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_each_way_by_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_runs_that_nobody_takes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_runs_that_are_too_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_refused_anyhow, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_the_kernel_has_joined, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
