/* What of a hub's place in a cluster is pure (cmd/hub/join_*): servers, interest, numbers, the queue. */
#include "hub/join_interest.h"
#include "hub/join_numbers.h"
#include "hub/join_queue.h"
#include "hub/join_servers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

static struct span span(const char *text)
{
	return (struct span){text, strlen(text)};
}

/* ---- servers ---- */

static void test_back_off(void **state)
{
	struct join_servers servers = {0};
	uint64_t wait, last = 0;

	(void)state;
	assert_true(join_servers_add(&servers, "tcp://a:1?x=y", "nats://a:1?x=y", false, false));
	assert_true(join_servers_add(&servers, "tcp://b:1", "nats://b:1", false, false));
	assert_int_equal(join_servers_next(&servers, -1, 0, 0, &wait), 0);
	assert_int_equal(join_servers_next(&servers, -1, 0, 1, &wait), 1);
	assert_int_equal(join_servers_next(&servers, 0, 0, 0, &wait), 1);
	join_servers_failed(&servers, 0, 0, UINT64_MAX / 2);
	assert_int_equal(join_servers_next(&servers, -1, 0, 0, &wait), 1);
	join_servers_failed(&servers, 1, 0, 7);
	assert_int_equal(join_servers_next(&servers, -1, 0, 0, &wait), -1);
	assert_in_range(wait, 1, SECOND / 10);
	for (int i = 0; i < 40; i++) { /* longer each time, and never too long */
		join_servers_failed(&servers, 1, 0, 0);
		assert_true(servers.list[1].out_until_ns >= last && servers.list[1].out_until_ns <= 2 * SECOND);
		last = servers.list[1].out_until_ns;
	}
	join_servers_failed(&servers, 1, 0, UINT64_MAX);
	assert_in_range(servers.list[1].out_until_ns, last, 2 * SECOND);
	assert_int_equal(join_servers_next(&servers, 1, 2 * SECOND, 5, &wait), 0);
	join_servers_worked(&servers, 1);
	assert_int_equal(join_servers_next(&servers, -1, 0, 3, &wait), 1);
	join_servers_leave(&servers, 1, 9 * SECOND);
	assert_int_equal(join_servers_next(&servers, -1, 8 * SECOND, 3, &wait), 0);
	join_servers_free(&servers);
}

static void test_found(void **state)
{
	struct join_servers servers = {0};

	(void)state;
	assert_true(join_servers_add(&servers, "tls://n1:4222?ca=x", "nats+tls://n1:4222?ca=x", true, false));
	join_servers_begin(&servers);
	join_servers_found(&servers, 0, span("n1:4222"));
	join_servers_found(&servers, 0, span("10.0.0.2:4222"));
	join_servers_found(&servers, 0, span("[::1]:4223"));
	join_servers_found(&servers, 0, span("a b:1"));
	join_servers_found(&servers, 0, span("a/b:1"));
	assert_int_equal(join_servers_end(&servers, 0), 0);
	assert_int_equal(servers.count, 3);
	assert_string_equal(servers.list[1].url, "tls://10.0.0.2:4222?ca=x&sni=n1");
	assert_string_equal(servers.list[1].given, "nats+tls://10.0.0.2:4222?ca=x");
	assert_string_equal(servers.list[2].url, "tls://[::1]:4223?ca=x&sni=n1");
	join_servers_begin(&servers); /* the second has gone; the third, which tells it, stays */
	assert_int_equal(join_servers_end(&servers, 2), 1);
	assert_int_equal(servers.count, 2);
	assert_string_equal(servers.list[1].url, "tls://[::1]:4223?ca=x&sni=n1");
	for (int i = 0; i < 100; i++) {
		char place[32];

		snprintf(place, sizeof(place), "h%d:1", i);
		join_servers_found(&servers, 0, span(place));
	}
	assert_int_equal(servers.count, JOIN_SERVERS_MAX);
	join_servers_free(&servers);
}

/* ---- interest ---- */

static void test_counted(void **state)
{
	struct join_interest interest;
	struct join_want *a, *group;
	bool grouped = true;

	(void)state;
	assert_int_equal(join_interest_new(&interest, 1), 0);
	a = join_interest_add(&interest, span("a.*"), span(""));
	assert_non_null(a);
	assert_null(join_interest_add(&interest, span("a.*"), span("")));
	group = join_interest_add(&interest, span("a.*"), span("q"));
	assert_non_null(group);
	assert_non_null(join_interest_add(&interest, span("a.*"), span("r")));
	assert_true(group->sid > a->sid);
	assert_int_equal(join_interest_drop(&interest, span("a.*"), span(""), &grouped), 0);
	assert_int_equal(join_interest_drop(&interest, span("b"), span(""), &grouped), 0);
	assert_int_equal(join_interest_drop(&interest, span("a.*"), span(""), &grouped), 1);
	assert_false(grouped);
	assert_int_equal(join_interest_drop(&interest, span("a.*"), span("q"), &grouped), 2);
	assert_true(grouped);
	assert_int_equal(interest.count, 1);
	join_interest_free(&interest);
}

static void test_one_stands_for_all(void **state)
{
	struct join_interest interest;
	const struct join_want *want;
	bool grouped;

	(void)state;
	assert_int_equal(join_interest_new(&interest, 1), 0);
	for (int i = 0; i < 300; i++) { /* so that the table grows */
		char pattern[32];

		snprintf(pattern, sizeof(pattern), "x.%d", i);
		assert_non_null(join_interest_add(&interest, span(pattern), span("")));
	}
	join_interest_add(&interest, span("a.*"), span("q"));
	join_interest_add(&interest, span("a.*"), span(""));
	join_interest_add(&interest, span("a.>"), span(""));
	join_interest_add(&interest, span("a.b"), span(""));
	want = join_interest_first(&interest, span("a.b"));
	assert_int_equal(want->sid, 302);
	assert_int_equal(join_interest_first(&interest, span("a.b.c"))->sid, 303);
	assert_int_equal(join_interest_first(&interest, span("x.299"))->sid, 300);
	assert_null(join_interest_first(&interest, span("y")));
	assert_int_equal(join_interest_named(&interest, span("a.b"), 301)->group.len, 1);
	assert_null(join_interest_named(&interest, span("a.b"), 1));
	assert_int_equal(join_interest_drop(&interest, span("a.*"), span(""), &grouped), 302);
	assert_int_equal(join_interest_first(&interest, span("a.b"))->sid, 303);
	join_interest_free(&interest);
}

/* ---- numbers ---- */

static enum join_seen see(struct join_numbers *numbers, uint64_t epoch, uint64_t number, uint64_t *missed)
{
	return join_numbers_see(numbers, span("hub"), span("a"), epoch, number, 0, missed);
}

static void test_gaps(void **state)
{
	struct join_numbers numbers;
	uint64_t missed;

	(void)state;
	assert_int_equal(join_numbers_new(&numbers, 8), 0);
	assert_int_equal(see(&numbers, 5, 10, &missed), JOIN_NEXT); /* who comes late has missed nothing */
	assert_int_equal(see(&numbers, 5, 11, &missed), JOIN_NEXT);
	assert_int_equal(see(&numbers, 5, 14, &missed), JOIN_GAP);
	assert_int_equal(missed, 2);
	assert_int_equal(see(&numbers, 5, 14, &missed), JOIN_AGAIN);
	assert_int_equal(see(&numbers, 5, 12, &missed), JOIN_AGAIN);
	assert_int_equal(see(&numbers, 6, 1, &missed), JOIN_NEXT); /* the hub has forgotten the topic */
	assert_int_equal(see(&numbers, 7, 4, &missed), JOIN_GAP);
	assert_int_equal(missed, 3);
	assert_int_equal(see(&numbers, 6, 2, &missed), JOIN_AGAIN);
	/* Not wanted for a while: what came meanwhile nobody has missed */
	assert_int_equal(join_numbers_see(&numbers, span("hub"), span("a"), 7, 9, join_numbers_now(&numbers), &missed),
			 JOIN_NEXT);
	assert_int_equal(join_numbers_see(&numbers, span("other"), span("a"), 7, 9, 0, &missed), JOIN_NEXT);
	join_numbers_free(&numbers);
}

static void test_given(void **state)
{
	struct join_numbers numbers;
	uint64_t epoch, first, number;
	char topic[32];

	(void)state;
	assert_int_equal(join_numbers_new(&numbers, 8), 0);
	assert_true(join_numbers_give(&numbers, span("a"), 100, &first, &number));
	assert_int_equal(first, 100);
	assert_int_equal(number, 1);
	assert_true(join_numbers_give(&numbers, span("a"), 105, &epoch, &number));
	assert_int_equal(epoch, first);
	assert_int_equal(number, 2);
	for (int i = 0; i < 20; i++) { /* more than are kept: the oldest begins anew, in a later epoch */
		snprintf(topic, sizeof(topic), "t%d", i);
		assert_true(join_numbers_give(&numbers, span(topic), 106, &epoch, &number));
		assert_int_equal(number, 1);
	}
	assert_int_equal(numbers.count, 8);
	assert_true(join_numbers_give(&numbers, span("a"), 106, &epoch, &number));
	assert_true(epoch > first);
	assert_int_equal(number, 1);
	join_numbers_free(&numbers);
}

/* ---- the queue ---- */

static void test_bounded(void **state)
{
	struct join_queue queue = {.limit = 100000};
	static char long_one[200000], abc[] = "abc";
	struct iovec iov[2] = {{abc, 3}, {abc, 0}}, big = {long_one, sizeof(long_one)};
	uint64_t taken = 0;
	size_t bytes = 0;

	(void)state;
	assert_true(join_queue_put(&queue, &big, 1)); /* alone, whatever it is */
	assert_false(join_queue_put(&queue, iov, 2));
	join_queue_drop(&queue);
	assert_int_equal(queue.bytes, 0);
	while (join_queue_put(&queue, iov, 2))
		taken++;
	assert_true(queue.bytes <= queue.limit && taken * 3 > queue.limit * 8 / 10);
	assert_int_equal(queue.messages, taken);
	for (; queue.first; join_queue_drop(&queue)) {
		assert_int_equal(queue.first->len, queue.first->messages * 3);
		assert_memory_equal(queue.first->data + queue.first->len - 3, "abc", 3);
		bytes += queue.first->len;
	}
	assert_int_equal(bytes, taken * 3);
	assert_int_equal(queue.messages, 0);
	join_queue_put(&queue, iov, 2);
	join_queue_free(&queue);
	assert_int_equal(queue.bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back_off), cmocka_unit_test(test_found),
		cmocka_unit_test(test_counted),  cmocka_unit_test(test_one_stands_for_all),
		cmocka_unit_test(test_gaps),     cmocka_unit_test(test_given),
		cmocka_unit_test(test_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
