/* conn/sources: who counts as one, and that the table forgets nobody and keeps nobody, whatever the order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>

#include "conn/sources.h"
#include "net/addr.h"

static uint64_t source(const char *host)
{
	struct tn_addr addr;

	assert_int_equal(tni_addr_literal(&addr, host, 1234), 0);
	return tni_source_of(&addr);
}

static void test_who_counts_as_one(void **state)
{
	struct tn_addr path;

	(void)state;
	assert_true(source("192.0.2.1") == source("192.0.2.1"));
	assert_true(source("192.0.2.1") != source("192.0.2.2"));
	assert_true(source("192.0.2.1") == source("::ffff:192.0.2.1"));
	assert_true(source("::ffff:192.0.2.1") != source("::ffff:192.0.2.2"));
	assert_true(source("2001:db8:1:2::1") == source("2001:db8:1:2:ffff:ffff:ffff:ffff"));
	assert_true(source("2001:db8:1:2::1") != source("2001:db8:1:3::1"));
	assert_true(source("::1") != source("127.0.0.1"));
	assert_int_equal(tni_addr_unix(&path, "/tmp/x", 6), 0);
	assert_true(tni_source_of(&path) == 0);
}

static void test_the_bound(void **state)
{
	struct tni_sources *s = tni_sources_new(3);

	(void)state;
	assert_non_null(s);
	for (int i = 0; i < 3; i++)
		assert_true(tni_sources_enter(s, 7));
	assert_false(tni_sources_enter(s, 7));
	assert_true(tni_sources_enter(s, 8));
	tni_sources_leave(s, 7);
	assert_true(tni_sources_enter(s, 7));
	assert_false(tni_sources_enter(s, 7));
	tni_sources_leave(s, 99); /* who never came */
	assert_int_equal(tni_sources_count(s), 2);
	tni_sources_free(s);
}

/* Against counting by hand: sources come and go at random, some of them alike in all but a few bits. */
static void test_against_a_model(void **state)
{
	enum { SOURCES = 3000, MAX = 4 };
	static unsigned held[SOURCES];
	struct tni_sources *s = tni_sources_new(MAX);
	uint32_t present = 0;

	(void)state;
	srandom(5);
	assert_non_null(s);
	for (int step = 0; step < 400000; step++) {
		/* First they grow, in the end they shrink */
		unsigned i = (unsigned)random() % SOURCES, come = random() % 100 < (step < 200000 ? 70 : 30);
		uint64_t key = i % 3 ? (uint64_t)i << 32 : i;

		if (come) {
			assert_int_equal(tni_sources_enter(s, key), held[i] < MAX);
			present += held[i] == 0;
			held[i] += held[i] < MAX;
		} else {
			tni_sources_leave(s, key);
			present -= held[i] == 1;
			held[i] -= held[i] > 0;
		}
		assert_int_equal(tni_sources_count(s), present);
	}
	for (unsigned i = 0; i < SOURCES; i++)
		while (held[i]--)
			tni_sources_leave(s, i % 3 ? (uint64_t)i << 32 : i);
	assert_int_equal(tni_sources_count(s), 0);
	tni_sources_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_counts_as_one),
		cmocka_unit_test(test_the_bound),
		cmocka_unit_test(test_against_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
