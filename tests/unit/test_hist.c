/* The histogram: known data, sums, and texts that HdrHistogram's own Java implementation (2.1.11) wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- allocations that fail (link with -Wl,--wrap=malloc, -Wl,--wrap=realloc) ---- */

static int allocs_left = -1; /* -1: no limit */

static bool has_memory(void)
{
	allocs_left -= allocs_left > 0;
	return allocs_left != 0;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_malloc(size_t size)
{
	return has_memory() ? __real_malloc(size) : NULL;
}

void *__wrap_realloc(void *old, size_t size)
{
	return has_memory() ? __real_realloc(old, size) : NULL;
}

/* ---- histograms ---- */

static struct tn_hist *make(void)
{
	struct tn_hist *hist;

	assert_int_equal(tn_hist_new(&hist), 0);
	return hist;
}

/* The same numbers as the Java program's that made the expectations below. */
static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return *state >> 33;
}

static void fill(struct tn_hist *hist)
{
	uint64_t state = 1;

	for (int i = 0; i < 20000; i++) {
		uint64_t value = 1000 + next_random(&state) % 1000000;

		tn_hist_add(hist, i % 100 ? value : value * 50);
	}
}

static void test_empty(void **state)
{
	struct tn_hist *hist = make();
	uint64_t low, high, count;
	size_t at = 0;

	(void)state;
	assert_int_equal(tn_hist_count(hist), 0);
	assert_int_equal(tn_hist_min(hist), 0);
	assert_int_equal(tn_hist_max(hist), 0);
	assert_int_equal(tn_hist_quantile(hist, 0.99), 0);
	assert_true(tn_hist_mean(hist) == 0 && tn_hist_deviation(hist) == 0);
	assert_false(tn_hist_next(hist, &at, &low, &high, &count));
	tn_hist_free(hist);
	tn_hist_free(NULL);
}

/* Every place: the first is where the last one ended, and no value is off by more than a thousandth. */
static void test_layout(void **state)
{
	uint64_t end = 0;

	(void)state;
	for (uint32_t place = 0; place < TNI_HIST_PLACES; place++) {
		uint64_t width, low = tni_hist_low(place, &width);

		assert_int_equal(low, end);
		assert_true(width == 1 || width * 1000 <= low);
		assert_int_equal(tni_hist_place(low), place);
		assert_int_equal(tni_hist_place(low + width - 1), place);
		end = low + width;
	}
	assert_true(end > TN_HIST_MAX);
}

static void test_values_that_are_known(void **state)
{
	struct tn_hist *hist = make();

	(void)state;
	for (uint64_t i = 1; i <= 1000; i++)
		tn_hist_add(hist, i);
	assert_int_equal(tn_hist_count(hist), 1000);
	assert_int_equal(tn_hist_min(hist), 1);
	assert_int_equal(tn_hist_max(hist), 1000);
	assert_int_equal(tn_hist_quantile(hist, 0.5), 500);
	assert_int_equal(tn_hist_quantile(hist, 0.999), 999);
	assert_int_equal(tn_hist_quantile(hist, 0), 1);
	assert_int_equal(tn_hist_quantile(hist, 1), 1000);
	assert_int_equal(tn_hist_quantile(hist, 7), 1000);
	assert_int_equal(tn_hist_count_upto(hist, 250), 250);
	assert_true(tn_hist_mean(hist) == 500.5);
	tn_hist_add(hist, UINT64_MAX); /* beyond the range: counted as its end, remembered as it was */
	assert_int_equal(tn_hist_max(hist), UINT64_MAX);
	assert_true(tn_hist_quantile(hist, 0.9999) >= TN_HIST_MAX);
	tn_hist_clear(hist);
	assert_int_equal(tn_hist_count(hist), 0);
	assert_int_equal(tn_hist_quantile(hist, 1), 0);
	tn_hist_free(hist);
}

/* What the Java implementation says of the same 20000 values. */
static void test_as_others_count(void **state)
{
	struct tn_hist *hist = make();

	(void)state;
	fill(hist);
	assert_int_equal(tn_hist_quantile(hist, 0.5), 508671);
	assert_int_equal(tn_hist_quantile(hist, 0.75), 758271);
	assert_int_equal(tn_hist_quantile(hist, 0.9), 909311);
	assert_int_equal(tn_hist_quantile(hist, 0.99), 1000959);
	assert_int_equal(tn_hist_quantile(hist, 0.999), 45187071);
	assert_int_equal(tn_hist_quantile(hist, 0.9999), 49184767);
	assert_true(tn_hist_mean(hist) > 744128.51 && tn_hist_mean(hist) < 744128.52);
	assert_true(tn_hist_deviation(hist) > 2847669.24 && tn_hist_deviation(hist) < 2847669.25);
	tn_hist_free(hist);
}

static void test_sums_are_exact(void **state)
{
	struct tn_hist *all = make(), *parts[3] = {make(), make(), make()}, *sum = make(), *none = make();
	uint64_t seed = 7;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		uint64_t value = next_random(&seed) << (i % 12);

		tn_hist_add(all, value);
		tn_hist_add(parts[i % 3], value);
	}
	for (int i = 0; i < 3; i++) {
		tn_hist_merge(sum, parts[i]);
		tn_hist_merge(sum, none);
	}
	assert_true(tn_hist_equal(all, sum));
	assert_int_equal(tn_hist_min(all), tn_hist_min(sum));
	assert_int_equal(tn_hist_max(all), tn_hist_max(sum));
	for (int i = 0; i <= 1000; i++)
		assert_int_equal(tn_hist_quantile(all, i / 1000.0), tn_hist_quantile(sum, i / 1000.0));
	tn_hist_add(sum, 5);
	assert_false(tn_hist_equal(all, sum));
	for (int i = 0; i < 3; i++)
		tn_hist_free(parts[i]);
	tn_hist_free(all);
	tn_hist_free(sum);
	tn_hist_free(none);
}

static void test_walk(void **state)
{
	static const uint64_t values[] = {0, 1, 2047, 2048, 1000000};
	struct tn_hist *hist = make();
	uint64_t low, high, count;
	size_t at = 0;

	(void)state;
	for (int i = 0; i < 5; i++)
		tn_hist_add_many(hist, values[i], (uint64_t)i + 1);
	tn_hist_add_many(hist, 77, 0);
	for (int i = 0; i < 5; i++) {
		assert_true(tn_hist_next(hist, &at, &low, &high, &count));
		assert_true(low <= values[i] && values[i] <= high);
		assert_int_equal(count, i + 1);
	}
	assert_false(tn_hist_next(hist, &at, &low, &high, &count));
	tn_hist_free(hist);
}

/* ---- texts ---- */

static void round_trip(const struct tn_hist *hist)
{
	struct tn_hist *back = make();
	char *text;

	assert_int_equal(tn_hist_encode(hist, &text), 0);
	assert_int_equal(strncmp(text, "HISTFAAA", 8), 0); /* by this a log's reader knows it */
	assert_int_equal(tn_hist_decode(back, text, strlen(text)), 0);
	assert_true(tn_hist_equal(hist, back));
	tn_hist_set_bounds(back, tn_hist_min(hist), tn_hist_max(hist));
	assert_int_equal(tn_hist_min(hist), tn_hist_min(back));
	assert_int_equal(tn_hist_max(hist), tn_hist_max(back));
	free(text);
	tn_hist_free(back);
}

static void test_round_trips(void **state)
{
	struct tn_hist *hist = make();

	(void)state;
	round_trip(hist);
	tn_hist_add(hist, 0);
	round_trip(hist);
	tn_hist_add_many(hist, 3, UINT64_C(1) << 55); /* nine bytes */
	round_trip(hist);
	tn_hist_clear(hist);
	fill(hist);
	round_trip(hist);
	for (uint32_t place = 0; place < TNI_HIST_PLACES - 1024; place++) { /* all that the range has */
		uint64_t width, low = tni_hist_low(place, &width);

		tn_hist_add_many(hist, low, place % 3 ? place : 1);
	}
	round_trip(hist);
	tn_hist_free(hist);
}

static const char theirs_empty[] = "HISTFAAAACF4nJNpmSzMwMDAyAABzFAayGd2M9ixgMH+A1QEAFKmBEw=";
static const char theirs_few[] = "HISTFAAAADF4nJNpmSzMwMDAzwABzFCaEch0M9ixgMH+A0SAiemnPBPT5r+MF/jvv2FkAgC5lAnY";
/* Two digits, in units of 512: 1 to 100 million. */
static const char theirs_coarse[] =
	"HISTFAAAAFp4nJNpmSzMwMBwggECmCAU8wsgdjPYsYDB/gNE5Dkn019GpmZGpnImVyZrJksgVmeSBkJZMAmixZl4mbiBGJlE5XMy"
	"sYIhM5RGZWNjYYoyoEEMAfyCALrtDQY=";

static void test_reads_theirs(void **state)
{
	struct tn_hist *hist = make(), *few = make();

	(void)state;
	assert_int_equal(tn_hist_decode(hist, theirs_empty, strlen(theirs_empty)), 0);
	assert_int_equal(tn_hist_count(hist), 0);
	tn_hist_add(few, 0);
	tn_hist_add(few, 1);
	tn_hist_add(few, 2047);
	tn_hist_add(few, 2048);
	tn_hist_add_many(few, 123456789, 1000);
	tn_hist_add(few, 3600000000000);
	assert_int_equal(tn_hist_decode(hist, theirs_few, strlen(theirs_few)), 0);
	assert_true(tn_hist_equal(hist, few));
	assert_int_equal(tn_hist_max(hist), 3601330077695);
	tn_hist_clear(hist);
	assert_int_equal(tn_hist_decode(hist, theirs_coarse, strlen(theirs_coarse)), 0);
	assert_int_equal(tn_hist_count(hist), 100);
	for (int i = 1; i < 100; i++) {
		uint64_t value = tn_hist_quantile(hist, i / 100.0), wanted = (uint64_t)i * 1000000;

		assert_true(value > wanted - wanted / 100 && value < wanted + wanted / 100 + 512);
	}
	tn_hist_free(hist);
	tn_hist_free(few);
}

static void refused(struct tn_hist *hist, const char *text, size_t len)
{
	uint64_t before = tn_hist_count(hist);

	assert_int_equal(tn_hist_decode(hist, text, len), TN_EFORMAT);
	assert_int_equal(tn_hist_count(hist), before);
	assert_non_null(strstr(tn_errmsg(), "histogram"));
}

static void test_damaged_texts(void **state)
{
	struct tn_hist *hist = make();
	size_t len = strlen(theirs_few);
	uint64_t seed = 3;
	char text[sizeof(theirs_few)];

	(void)state;
	tn_hist_add(hist, 5);
	refused(hist, "", 0);
	refused(hist, "not base64", 10);
	refused(hist, "AAAAAAAAAAAAAAAA", 16);
	refused(hist, "HISTFAAA", 8);
	for (size_t cut = 0; cut < len; cut++)
		refused(hist, theirs_few, cut);
	/* Whatever one byte becomes: refused, or read as something, but never out of bounds (the sanitizers look) */
	for (int i = 0; i < 5000; i++) {
		memcpy(text, theirs_few, sizeof(text));
		text[next_random(&seed) % (sizeof(text) - 1)] = (char)next_random(&seed);
		(void)tn_hist_decode(hist, text, len);
	}
	tn_hist_free(hist);
}

/* Which is no fault of the text's. */
static void test_reads_without_memory(void **state)
{
	struct tn_hist *hist = make();
	int rc = -ENOMEM;

	(void)state;
	for (int n = 1; rc < 0; n++) {
		assert_int_equal(rc, -ENOMEM);
		assert_int_equal(tn_hist_count(hist), 0);
		assert_true(n < 20);
		allocs_left = n;
		rc = tn_hist_decode(hist, theirs_few, strlen(theirs_few));
		allocs_left = -1;
		if (rc < 0)
			assert_string_equal(tn_errmsg(), "histogram: out of memory");
	}
	assert_true(tn_hist_count(hist) > 0);
	tn_hist_free(hist);
}

/* Found by fuzz_hist: counts that overflow when they are summed. */
static void test_too_much_is_refused(void **state)
{
	const uint64_t most = UINT64_C(1) << 56;
	struct tn_hist *hist, *sum;
	char *text;

	(void)state;
	assert_int_equal(tn_hist_new(&hist), 0);
	assert_int_equal(tn_hist_new(&sum), 0);
	tn_hist_add_many(hist, 5, most - 1);
	tn_hist_add(hist, 7000);
	assert_int_equal(tn_hist_encode(hist, &text), 0);
	assert_int_equal(tn_hist_decode(sum, text, strlen(text)), 0);
	assert_true(tn_hist_equal(sum, hist));
	assert_int_equal(tn_hist_decode(sum, text, strlen(text)), TN_EFORMAT);
	assert_true(tn_hist_equal(sum, hist));
	free(text);
	tn_hist_add(hist, 5);
	assert_int_equal(tn_hist_encode(hist, &text), 0);
	tn_hist_clear(sum);
	assert_int_equal(tn_hist_decode(sum, text, strlen(text)), TN_EFORMAT);
	assert_int_equal(tn_hist_count(sum), 0);
	free(text);
	tn_hist_free(hist);
	tn_hist_free(sum);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_values_that_are_known),
		cmocka_unit_test(test_as_others_count),
		cmocka_unit_test(test_sums_are_exact),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_reads_theirs),
		cmocka_unit_test(test_damaged_texts),
		cmocka_unit_test(test_reads_without_memory),
		cmocka_unit_test(test_too_much_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
