/* clang-format off */
#ifndef TENON_HIST_H
#define TENON_HIST_H
#include "tenon.h"
#ifdef __cplusplus
extern "C" {
#endif
struct tn_hist;
#define TN_HIST_MAX UINT64_C(3600000000000)
TN_API int tn_hist_new(struct tn_hist **hist);
TN_API void tn_hist_free(struct tn_hist *hist);
TN_API void tn_hist_clear(struct tn_hist *hist);
TN_API void tn_hist_add(struct tn_hist *hist, uint64_t value);
TN_API void tn_hist_add_many(struct tn_hist *hist, uint64_t value, uint64_t count);
TN_API void tn_hist_merge(struct tn_hist *hist, const struct tn_hist *from);
TN_API uint64_t tn_hist_count(const struct tn_hist *hist);
TN_API uint64_t tn_hist_min(const struct tn_hist *hist);
TN_API uint64_t tn_hist_max(const struct tn_hist *hist);
TN_API double tn_hist_mean(const struct tn_hist *hist);
TN_API double tn_hist_deviation(const struct tn_hist *hist);
TN_API uint64_t tn_hist_quantile(const struct tn_hist *hist, double quantile);
TN_API void tn_hist_set_bounds(struct tn_hist *hist, uint64_t min, uint64_t max);
TN_API uint64_t tn_hist_count_upto(const struct tn_hist *hist, uint64_t value);
TN_API bool tn_hist_next(const struct tn_hist *hist, size_t *at, uint64_t *low, uint64_t *high, uint64_t *count);
TN_API bool tn_hist_equal(const struct tn_hist *a, const struct tn_hist *b);
TN_API int tn_hist_encode(const struct tn_hist *hist, char **text);
TN_API int tn_hist_decode(struct tn_hist *hist, const char *text, size_t len);
#ifdef __cplusplus
}
#endif
#endif
