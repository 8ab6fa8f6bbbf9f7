/* clang-format off */
#ifndef TENON_CERT_H
#define TENON_CERT_H
#include "tenon.h"
#ifdef __cplusplus
extern "C" {
#endif
struct tn_cert;
TN_API int tn_cert_read(const char *file, struct tn_cert **cert);
TN_API int tn_cert_parse(const void *data, size_t len, const char *name, struct tn_cert **cert);
TN_API void tn_cert_free(struct tn_cert *cert);
TN_API const struct tn_cert *tn_cert_next(const struct tn_cert *cert);
TN_API const char *tn_cert_subject(const struct tn_cert *cert);
TN_API const char *tn_cert_issuer(const struct tn_cert *cert);
TN_API const char *tn_cert_serial(const struct tn_cert *cert);
TN_API const char *tn_cert_key(const struct tn_cert *cert);
TN_API const char *tn_cert_signature(const struct tn_cert *cert);
TN_API const char *tn_cert_usage(const struct tn_cert *cert);
TN_API const char *tn_cert_limits(const struct tn_cert *cert);
TN_API const char *tn_cert_fingerprint(const struct tn_cert *cert);
TN_API const char *tn_cert_pin(const struct tn_cert *cert);
TN_API const char *tn_cert_words(const struct tn_cert *cert);
TN_API size_t tn_cert_nnames(const struct tn_cert *cert);
TN_API const char *tn_cert_name(const struct tn_cert *cert, size_t index);
TN_API int64_t tn_cert_begins(const struct tn_cert *cert);
TN_API int64_t tn_cert_ends(const struct tn_cert *cert);
TN_API int64_t tn_cert_days_left(const struct tn_cert *cert);
TN_API bool tn_cert_is_authority(const struct tn_cert *cert);
TN_API bool tn_cert_is_from(const struct tn_cert *cert, const struct tn_cert *issuer);
TN_API int tn_cert_check(const struct tn_cert *cert, const char *host);
enum tn_cert_kept {
	TN_CERT_KEPT_AUTHORITY = 1,
	TN_CERT_KEPT_CLIENT = 2,
};
TN_API int tn_cert_new(const char *dir, const char *const *hosts, size_t nhosts, unsigned days);
#ifdef __cplusplus
}
#endif
#endif
