/*
 * tenon's histogram: counts values, most often nanoseconds, and answers which value so much of them did not exceed.
 *
 *	struct tn_hist *hist;
 *
 *	if (tn_hist_new(&hist) < 0)
 *		return 1;
 *	tn_hist_add(hist, took_ns);
 *	printf("p99: %llu ns\n", (unsigned long long)tn_hist_quantile(hist, 0.99));
 *	tn_hist_free(hist);
 *
 * It is log-linear with HdrHistogram's layout: any value from 0 to an hour in nanoseconds is known to three significant
 * digits, in a fixed 270 KB, whatever was counted. Histograms are summed without loss. The text form is HdrHistogram's
 * compressed V2 format in base64, as it stands in its logs: other tools read it, and theirs is read here.
 *
 * A histogram belongs to whoever made it; it has no lock, so one thread at a time uses it.
 */
#ifndef TENON_HIST_H
#define TENON_HIST_H

#include "tenon.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tn_hist;

/* The highest value that is told from a higher one: an hour of nanoseconds. What is higher counts as this. */
#define TN_HIST_MAX UINT64_C(3600000000000)

/* Makes an empty one, the caller's to end with tn_hist_free(). Returns 0 or -ENOMEM. */
TN_API int tn_hist_new(struct tn_hist **hist);

/* NULL is allowed. */
TN_API void tn_hist_free(struct tn_hist *hist);

/* Forgets everything that was counted. */
TN_API void tn_hist_clear(struct tn_hist *hist);

/* Counts a value, once or `count` times. Never fails. All counts together must stay below 2^63. */
TN_API void tn_hist_add(struct tn_hist *hist, uint64_t value);
TN_API void tn_hist_add_many(struct tn_hist *hist, uint64_t value, uint64_t count);

/* Adds all that `from` has counted. Exact: the sum is as if every value had been counted in `hist`. */
TN_API void tn_hist_merge(struct tn_hist *hist, const struct tn_hist *from);

TN_API uint64_t tn_hist_count(const struct tn_hist *hist);

/* The lowest and highest value counted (the lowest and highest of those it cannot tell from it, when it was read from a
 * log), the mean and the standard deviation; 0 when nothing was counted. */
TN_API uint64_t tn_hist_min(const struct tn_hist *hist);
TN_API uint64_t tn_hist_max(const struct tn_hist *hist);
TN_API double tn_hist_mean(const struct tn_hist *hist);
TN_API double tn_hist_deviation(const struct tn_hist *hist);

/*
 * The value that the share `quantile` (0 to 1) of all counted values does not exceed: the highest of those that it
 * cannot tell apart, but never more than the maximum. 0 when nothing was counted.
 */
TN_API uint64_t tn_hist_quantile(const struct tn_hist *hist, double quantile);

/*
 * Narrows what is known of the lowest and highest counted value: a log holds them only as far as its precision goes.
 * What contradicts the counts is ignored.
 */
TN_API void tn_hist_set_bounds(struct tn_hist *hist, uint64_t min, uint64_t max);

/* How many counted values are at most `value`, or cannot be told from it. */
TN_API uint64_t tn_hist_count_upto(const struct tn_hist *hist, uint64_t value);

/*
 * Walks the values that were counted, from the lowest: `*at` is 0 at first and the function's own afterwards. Fills in
 * the lowest and highest of the values that are not told apart and their count. Returns false at the end.
 */
TN_API bool tn_hist_next(const struct tn_hist *hist, size_t *at, uint64_t *low, uint64_t *high, uint64_t *count);

/* Whether both have counted the same. */
TN_API bool tn_hist_equal(const struct tn_hist *a, const struct tn_hist *b);

/* The compressed V2 form in base64, malloc'ed, for free(3); one zero byte stands behind it. Returns 0, -ENOMEM
 * or -EOPNOTSUPP: the library was built without zlib. */
TN_API int tn_hist_encode(const struct tn_hist *hist, char **text);

/*
 * Reads such a text, of any precision and unit, and adds what it counts to `hist`; each value is counted as the middle
 * of those that the writer did not tell apart (the counts of our own layout come back exactly). Returns 0; TN_EFORMAT:
 * it is damaged, of another version, or makes it more than 2^56 values, and tn_errmsg() says how; -ENOMEM;
 * -EOPNOTSUPP: the library was built without zlib. After a failure `hist` is unchanged.
 */
TN_API int tn_hist_decode(struct tn_hist *hist, const char *text, size_t len);

#ifdef __cplusplus
}
#endif

#endif
