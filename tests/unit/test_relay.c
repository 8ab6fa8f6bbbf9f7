/*
 * Parts of tenon relay that need no socket: which target is next (balance.c), which are left out (targets.c) or meant
 * (route.c), and bytes a second (limits.c).
 */
#include "relay/balance.h"
#include "common/clock.h"
#include "relay/events.h"
#include "relay/limits.h"
#include "relay/pass.h"
#include "relay/plan.h"
#include "relay/route.h"
#include "relay/targets.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)

/* ---- what the parts under test ask of others ---- */

struct plan plan = {.probe = {.rise = 2, .fall = 3}};

static struct {
	int count;
	bool works;
	char url[64], why[64];
} told;

void report_target(const char *url, bool works, const char *why)
{
	told.count++;
	told.works = works;
	snprintf(told.url, sizeof(told.url), "%s", url);
	snprintf(told.why, sizeof(told.why), "%s", why ? why : "");
}

bool pass_closes_at_bad(const char *url)
{
	return strstr(url, "bad=close") != NULL;
}

/* What has been told since the last time: nothing (0), that it works (1), or that it does not (-1). */
static int news(void)
{
	int said = !told.count ? 0 : told.works ? 1 : -1;

	assert_true(told.count <= 1); /* each change once */
	told.count = 0;
	return said;
}

/* ---- which target is next ---- */

static void test_round_robin(void **state)
{
	struct targets t = {.count = 3, .next = 2, .balance = BALANCE_ROUND_ROBIN};

	(void)state;
	assert_int_equal(balance_choose(&t, 7, 0), 2);
	assert_int_equal(balance_choose(&t, 3, 0), 0);
	assert_int_equal(balance_choose(&t, 2, 0), 1);
	assert_int_equal(balance_choose(&t, 0, 0), -1);
	t.count = 0;
	assert_int_equal(balance_choose(&t, 0, 0), -1);
}

static void test_first(void **state)
{
	struct targets t = {.count = 3, .next = 2, .balance = BALANCE_FIRST};

	(void)state;
	assert_int_equal(balance_choose(&t, 7, 0), 0);
	assert_int_equal(balance_choose(&t, 6, 0), 1);
}

static void test_least(void **state)
{
	struct targets t = {.count = 3, .balance = BALANCE_LEAST};

	(void)state;
	t.list[0].sessions = 5;
	t.list[1].sessions = 2;
	t.list[2].sessions = 2;
	assert_int_equal(balance_choose(&t, 7, 0), 1);
	t.next = 2; /* of equals the one whose turn it is */
	assert_int_equal(balance_choose(&t, 7, 0), 2);
	assert_int_equal(balance_choose(&t, 1, 0), 0);
}

/* Sources are spread evenly, and when a target is lost only its own move. */
static void test_source(void **state)
{
	struct targets t = {.count = 4, .balance = BALANCE_SOURCE};
	int count[4] = {0};

	(void)state;
	for (uint64_t source = 0; source < 4000; source++) {
		int at = balance_choose(&t, 15, source), without = balance_choose(&t, 15 & ~4U, source);

		count[at]++;
		assert_int_equal(balance_choose(&t, 15, source), at);
		assert_true(at == 2 ? without != 2 : without == at);
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(count[i], 800, 1200);
}

static void test_backoff(void **state)
{
	(void)state;
	for (uint64_t chance = 0; chance < 1000; chance++) {
		uint64_t random = chance * 0x9e3779b97f4a7c15ULL;

		assert_in_range(balance_backoff_ns(1, random), S * 3 / 4, S * 5 / 4);
		assert_in_range(balance_backoff_ns(3, random), 3 * S, 5 * S);
		assert_in_range(balance_backoff_ns(7, random), 45 * S, 75 * S);
		assert_in_range(balance_backoff_ns(UINT32_MAX, random), 45 * S, 75 * S);
	}
	assert_true(balance_backoff_ns(1, 0) != balance_backoff_ns(1, 12345678));
}

/* ---- which targets are left out ---- */

static struct targets *targets_of(int count)
{
	struct targets *t = targets_new();
	char url[32];

	assert_non_null(t);
	told.count = 0;
	for (int i = 0; i < count; i++) {
		snprintf(url, sizeof(url), "tcp://host:%d", i);
		assert_true(targets_add(t, url, url));
	}
	return t;
}

/* The next choice, which is given back. */
static int choice(struct targets *t, uint64_t tried)
{
	int at = targets_choose(t, tried, 0);

	if (at >= 0)
		targets_leave(t, at);
	return at;
}

/* Until then it is left out, from now. */
static void assert_out_for(const struct targets *t, int index, uint64_t least, uint64_t most)
{
	uint64_t left = t->list[index].out_until_ns - clock_ns();

	assert_in_range(left, least - S / 2, most);
}

static void test_targets_are_kept(void **state)
{
	struct targets *t = targets_of(TARGETS_MAX - 1);

	(void)state;
	assert_true(targets_add(t, "tcp://host:9?bad=close", "tcp://host:9?bad=close"));
	assert_false(targets_add(t, "tcp://one:2", "tcp://one:2"));
	assert_int_equal(t->count, TARGETS_MAX);
	assert_string_equal(t->list[1].url, "tcp://host:1");
	assert_false(t->list[1].closes_at_bad);
	assert_true(t->list[TARGETS_MAX - 1].closes_at_bad);
	targets_free(t);
	targets_free(NULL);
}

static void test_sessions_count_where_they_are(void **state)
{
	struct targets *t = targets_of(3);

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(targets_choose(t, 0, 0), i % 3);
	assert_int_equal(t->list[0].sessions, 2);
	assert_int_equal(t->list[1].sessions, 1);
	targets_leave(t, 0);
	assert_int_equal(t->list[0].sessions, 1);
	assert_int_equal(targets_choose(t, 2, 0), 2); /* 1 has been tried */
	assert_int_equal(targets_choose(t, 7, 0), -1);
	assert_int_equal(t->list[2].sessions, 2);
	targets_free(t);
}

static void test_a_target_that_fails_is_left_out(void **state)
{
	struct targets *t = targets_of(2);

	(void)state;
	targets_failed(t, 0, -ECONNREFUSED, "refused");
	assert_int_equal(news(), -1);
	assert_string_equal(told.url, "tcp://host:0");
	assert_string_equal(told.why, "refused");
	assert_out_for(t, 0, S * 3 / 4, S * 5 / 4);
	for (int i = 0; i < 3; i++)
		assert_int_equal(choice(t, 0), 1);
	assert_int_equal(choice(t, 2), 0); /* when there is no other */
	targets_failed(t, 0, -ETIMEDOUT, "silent");
	targets_failed(t, 0, -ETIMEDOUT, "silent");
	assert_int_equal(news(), 0);
	assert_out_for(t, 0, 3 * S, 5 * S);
	t->list[0].out_until_ns = clock_ns(); /* the time is over */
	assert_int_equal(choice(t, 2), 0);
	assert_true(choice(t, 0) != choice(t, 0));
	assert_int_equal(news(), 0);
	targets_worked(t, 0);
	assert_int_equal(news(), 1);
	targets_worked(t, 0);
	assert_int_equal(news(), 0);
	targets_failed(t, 0, -ECONNREFUSED, "again");
	assert_int_equal(news(), -1);
	assert_out_for(t, 0, S * 3 / 4, S * 5 / 4); /* as at first */
	targets_worked(t, 0);
	assert_true(choice(t, 0) != choice(t, 0)); /* at once */
	targets_free(t);
}

static void test_what_we_lack_says_nothing_of_a_target(void **state)
{
	static const int lacks[] = {-EMFILE, -ENFILE, -ENOMEM, -ENOBUFS};
	struct targets *t = targets_of(2);

	(void)state;
	for (int i = 0; i < 8; i++) {
		targets_failed(t, 0, lacks[i % 4], "none left");
		targets_probed(t, 0, false, lacks[i % 4], "none left");
	}
	assert_int_equal(news(), 0);
	assert_true(choice(t, 0) != choice(t, 0));
	targets_free(t);
}

static void probed(struct targets *t, const char *each)
{
	for (; *each; each++)
		targets_probed(t, 0, *each == '+', *each == '+' ? 0 : -ECONNREFUSED, "refused");
}

/* Three bad ones in a row, and two good ones: those between do not count. */
static void test_probes_in_a_row(void **state)
{
	struct targets *t = targets_of(2);

	(void)state;
	probed(t, "--+--+");
	assert_int_equal(news(), 0);
	assert_true(choice(t, 0) != choice(t, 0));
	probed(t, "---");
	assert_int_equal(news(), -1);
	assert_string_equal(told.why, "refused");
	assert_int_equal(choice(t, 0), 1);
	assert_int_equal(choice(t, 0), 1);
	assert_int_equal(choice(t, 2), 0);
	probed(t, "+-+-----+");
	assert_int_equal(news(), 0);
	assert_int_equal(choice(t, 0), 1);
	probed(t, "+");
	assert_int_equal(news(), 1);
	assert_string_equal(told.why, "");
	assert_true(choice(t, 0) != choice(t, 0));
	probed(t, "--");
	assert_int_equal(news(), 0);
	targets_free(t);
}

/* Whoever has noticed it: it is told once, and what sessions have met is over when a probe is good. */
static void test_probes_and_sessions(void **state)
{
	struct targets *t = targets_of(2);

	(void)state;
	targets_failed(t, 0, -ECONNREFUSED, "refused");
	assert_int_equal(news(), -1);
	probed(t, "---");
	assert_int_equal(news(), 0);
	targets_worked(t, 0); /* a session got through, but the probes are still bad */
	assert_int_equal(news(), 0);
	assert_int_equal(choice(t, 0), 1);
	targets_failed(t, 0, -ECONNREFUSED, "refused");
	assert_int_equal(news(), 0);
	probed(t, "++");
	assert_int_equal(news(), 1);
	assert_true(choice(t, 0) != choice(t, 0));
	targets_failed(t, 0, -ECONNREFUSED, "refused");
	assert_int_equal(news(), -1);
	probed(t, "+"); /* it was not down for them */
	assert_int_equal(news(), 1);
	assert_true(choice(t, 0) != choice(t, 0));
	targets_failed(t, 0, -ECONNREFUSED, "refused");
	assert_out_for(t, 0, S * 3 / 4, S * 5 / 4);
	targets_free(t);
}

static void test_a_target_that_is_the_relay(void **state)
{
	struct targets *t = targets_of(1);

	(void)state;
	targets_loops(t, 0);
	assert_int_equal(news(), -1);
	assert_non_null(strstr(told.why, "itself"));
	targets_loops(t, 0);
	assert_int_equal(news(), 0);
	assert_int_equal(targets_choose(t, 0, 0), -1);
	targets_free(t);
}

/* ---- which targets are meant ---- */

static const char *target_for(enum first_protocol protocol, const char *server_name, const char *alpn)
{
	struct first first = {.protocol = protocol};
	const struct targets *t;

	snprintf(first.server_name, sizeof(first.server_name), "%s", server_name);
	first.alpn_len = *alpn ? strlen(alpn) + 1 : 0;
	first.alpn[0] = (unsigned char)strlen(alpn);
	memcpy(first.alpn + 1, alpn, strlen(alpn));
	t = route_find(&first);
	return t ? t->list[0].url : "none";
}

static void test_the_rule_that_fits_best(void **state)
{
	(void)state;
	assert_false(route_any());
	assert_string_equal(target_for(FIRST_TLS, "a.example", ""), "none");
	assert_null(route_add(RULE_PROTOCOL, "tls", "tls", "tls"));
	assert_null(route_add(RULE_PROTOCOL, "http", "http", "http"));
	assert_null(route_add(RULE_PROTOCOL, "ssh", "ssh", "ssh"));
	assert_null(route_add(RULE_ALPN, "h2", "h2", "h2"));
	assert_null(route_add(RULE_SNI, "*.b", "short", "short"));
	assert_null(route_add(RULE_SNI, "*.a.b", "long", "long"));
	assert_null(route_add(RULE_SNI, "c.a.b", "exact", "exact"));
	assert_true(route_any());
	assert_string_equal(target_for(FIRST_TLS, "c.a.b", "h2"), "exact");
	assert_string_equal(target_for(FIRST_TLS, "d.a.b", "h2"), "long");
	assert_string_equal(target_for(FIRST_TLS, "d.b", "h2"), "short");
	assert_string_equal(target_for(FIRST_TLS, "d", "h2"), "h2");
	assert_string_equal(target_for(FIRST_TLS, "d", "h3"), "tls");
	assert_string_equal(target_for(FIRST_TLS, "", ""), "tls");
	assert_string_equal(target_for(FIRST_HTTP, "", ""), "http");
	assert_string_equal(target_for(FIRST_SSH, "", ""), "ssh");
	assert_string_equal(target_for(FIRST_OTHER, "", ""), "none");
	/* The same pattern of another kind is another rule; the same rule, one group. */
	assert_null(route_add(RULE_ALPN, "ssh", "alpn", "alpn"));
	assert_null(route_add(RULE_PROTOCOL, "ssh", "second", "second"));
	assert_string_equal(target_for(FIRST_TLS, "", "ssh"), "alpn");
	assert_int_equal(route_group(2)->count, 2);
	assert_string_equal(route_group(2)->list[1].url, "second");
	assert_non_null(route_group(7));
	assert_null(route_group(8));
	route_free();
	assert_false(route_any());
	assert_null(route_group(0));
}

static void test_what_is_no_rule(void **state)
{
	char name[32];

	(void)state;
	assert_string_equal(route_add(RULE_ALPN, "", "url", "url"), "names nothing");
	assert_string_equal(route_add(RULE_PROTOCOL, "ftp", "url", "url"), "is none of tls, ssh, http");
	assert_non_null(strstr(route_add(RULE_SNI, "a.*.example", "url", "url"), "wildcard"));
	assert_non_null(strstr(route_add(RULE_SNI, "*.*.example", "url", "url"), "wildcard"));
	assert_non_null(strstr(route_add(RULE_SNI, "*example", "url", "url"), "wildcard"));
	assert_null(route_add(RULE_ALPN, "*", "url", "url"));
	for (int i = 1; i < TARGETS_MAX; i++)
		assert_null(route_add(RULE_ALPN, "*", "url", "url"));
	assert_string_equal(route_add(RULE_ALPN, "*", "url", "url"), "is one too many");
	for (int i = 1; i < 256; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_null(route_add(RULE_ALPN, name, "url", "url"));
	}
	assert_string_equal(route_add(RULE_ALPN, "last", "url", "url"), "is one too many");
	route_free();
}

/* ---- bytes a second ---- */

static void test_no_limit(void **state)
{
	struct bucket b = {0};

	(void)state;
	assert_false(bucket_take(&b, 0, SIZE_MAX / 2, S));
	assert_true(bucket_has(&b, 0, S));
}

static void test_a_fifth_of_a_second_at_once(void **state)
{
	struct bucket b = {0};

	(void)state;
	assert_false(bucket_take(&b, 1000, 200, S));
	assert_true(bucket_take(&b, 1000, 1, S));
	assert_false(bucket_has(&b, 1000, S));
	assert_true(bucket_has(&b, 1000, S + S / 100));
	/* However long it was quiet. */
	assert_true(bucket_has(&b, 1000, 1000 * S));
	assert_true(bucket_take(&b, 1000, 201, 1000 * S));
}

/* What was taken too much is paid back first. */
static void test_over_a_long_time(void **state)
{
	struct bucket b = {0};
	uint64_t passed = 0, now = S;

	(void)state;
	for (; now < 101 * S; now += S / 10)
		if (bucket_has(&b, 10000, now)) {
			bucket_take(&b, 10000, 3333, now);
			passed += 3333;
		}
	assert_in_range(passed, 990000, 1010000);
}

/* A rate of less than a byte a tick still comes to one. */
static void test_a_low_rate(void **state)
{
	struct bucket b = {0};
	uint64_t now = S;

	(void)state;
	assert_true(bucket_take(&b, 1, 2, now));
	for (int i = 0; i < 30 && !bucket_has(&b, 1, now); i++)
		now += S / 10;
	assert_in_range(now, 2 * S, 3 * S);
}

static void test_shares(void **state)
{
	struct share *one = share_join(7), *same = share_join(7), *other = share_join(7 + 1024);

	(void)state;
	assert_ptr_equal(one, same);
	assert_ptr_not_equal(one, other);
	assert_true(share_take(one, true, 1000, 500, S));
	assert_false(share_has(same, true, 1000, S));
	assert_true(share_has(same, false, 1000, S));
	assert_true(share_has(other, true, 1000, S));
	share_leave(one);
	assert_false(share_has(same, true, 1000, S));
	share_leave(same);
	share_leave(other);
	share_leave(NULL);
	one = share_join(7); /* begins anew */
	assert_true(share_has(one, true, 1000, S));
	share_leave(one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_robin),
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_no_limit),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_a_fifth_of_a_second_at_once),
		cmocka_unit_test(test_a_low_rate),
		cmocka_unit_test(test_over_a_long_time),
		cmocka_unit_test(test_targets_are_kept),
		cmocka_unit_test(test_sessions_count_where_they_are),
		cmocka_unit_test(test_a_target_that_fails_is_left_out),
		cmocka_unit_test(test_what_we_lack_says_nothing_of_a_target),
		cmocka_unit_test(test_probes_in_a_row),
		cmocka_unit_test(test_probes_and_sessions),
		cmocka_unit_test(test_a_target_that_is_the_relay),
		cmocka_unit_test(test_the_rule_that_fits_best),
		cmocka_unit_test(test_what_is_no_rule),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
