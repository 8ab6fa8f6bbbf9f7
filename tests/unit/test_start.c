/* --start-at of bench: times as people and programs write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/start.h"

#define S UINT64_C(1000000000)
#define NOON (UINT64_C(1769860800) * S) /* 2026-01-31T12:00:00Z */

static void test_times(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} rows[] = {
		{"0", 0},
		{"1769860800", NOON},
		{"1769860800.5", NOON + S / 2},
		{"1.123456789", S + 123456789},
		{"1.1234567899", S + 123456789},
		{"9999999999", 9999999999 * S},
		{"2026-01-31T12:00:00Z", NOON},
		{"2026-01-31t12:00:00z", NOON},
		{"2026-01-31T12:00:00.25Z", NOON + S / 4},
		{"2026-01-31T13:00:00+01:00", NOON},
		{"2026-01-31T00:30:00-11:30", NOON},
		{"2026-02-01T11:59:00+23:59", NOON},
		{"2024-02-29T00:00:00Z", UINT64_C(1709164800) * S},
		{"1970-01-01T00:00:00Z", 0},
		{"2286-11-20T17:46:39Z", 9999999999 * S},
	};
	static const char *const none[] = {"",
					   "x",
					   "1x",
					   "1.",
					   "1.x",
					   ".5",
					   "+1",
					   "-1",
					   "10000000000",
					   "18446744073709551617",
					   "2286-11-20T17:46:40Z",
					   "1970-01-01T00:00:00+00:01",
					   "1969-12-31T23:59:59Z",
					   "2026-02-29T00:00:00Z",
					   "2026-00-10T00:00:00Z",
					   "2026-13-10T00:00:00Z",
					   "2026-01-00T00:00:00Z",
					   "2026-01-31T24:00:00Z",
					   "2026-01-31T12:60:00Z",
					   "2026-01-31T12:00:60Z",
					   "2026-01-31 12:00:00Z",
					   "2026-01-31T12:00Z",
					   "2026-1-31T12:00:00Z",
					   "2026-01-31T12:00:00",
					   "2026-01-31T12:00:00.Z",
					   "2026-01-31T12:00:00Zx",
					   "2026-01-31T12:00:00+24:00",
					   "2026-01-31T12:00:00+01:60",
					   "2026-01-31T12:00:00+0100"};
	uint64_t ns;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!time_read(rows[i].text, &ns) || ns != rows[i].ns)
			fail_msg("%s: %llu", rows[i].text, (unsigned long long)ns);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		if (time_read(none[i], &ns))
			fail_msg("'%s' is %llu", none[i], (unsigned long long)ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_times)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
