/* A client's subscriptions by their names, against a list of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hub/sids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES 60

static struct subscription *subs[NAMES];

static void check(const struct sids *sids, const bool there[NAMES], unsigned count)
{
	for (int i = 0; i < NAMES; i++)
		assert_ptr_equal(sids_find(sids, subs[i]->sid, subs[i]->sid_len), there[i] ? subs[i] : NULL);
	assert_int_equal(sids->count, count);
	/* It ends at an empty place, and an empty table has no memory. */
	assert_true(count ? sids->count < sids->cap : !sids->at);
	assert_null(sids_find(sids, "", 0));
}

static void test_come_and_go(void **state)
{
	struct sids sids = {0};
	bool there[NAMES] = {false};
	unsigned count = 0, random = 1;

	(void)state;
	for (int i = 0; i < NAMES; i++) {
		char name[8];
		int len = snprintf(name, sizeof(name), "%d", i % 2 ? i : i * 1000);

		subs[i] = calloc(1, sizeof(*subs[i]) + (size_t)len);
		assert_non_null(subs[i]);
		subs[i]->sid_len = (uint16_t)len & 0x7fff;
		memcpy(subs[i]->sid, name, (size_t)len);
	}
	for (int n = 0; n < 6000; n++) {
		/* Few of them, then nearly all, then none */
		bool adds = n % 2000 < 1500 ? (random >> 20) % 3 || !count : false;
		int i = (int)((random >> 8) % NAMES);

		random = random * 1103515245 + 12345;
		if (adds && !there[i])
			assert_true(sids_add(&sids, subs[i]));
		else if (!adds && there[i])
			sids_remove(&sids, subs[i]);
		else
			continue;
		there[i] = adds;
		count += adds ? 1 : -1U;
		check(&sids, there, count);
	}
	sids_free(&sids);
	assert_null(sids.at);
	for (int i = 0; i < NAMES; i++)
		free(subs[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_come_and_go)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
