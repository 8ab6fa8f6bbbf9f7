/* clang-format off */
#ifndef TENON_VALUE_H
#define TENON_VALUE_H
#include "tenon.h"
#ifdef __cplusplus
extern "C" {
#endif
struct tn_value;
enum tn_kind {
	TN_NULL,
	TN_BOOL,
	TN_INT,
	TN_FLOAT,
	TN_TEXT,
	TN_BYTES,
	TN_ARRAY,
	TN_MAP,
	TN_TAG,
	TN_EXT,
	TN_SIMPLE,
};
TN_API struct tn_value *tn_value_new_null(struct tn_value *in);
TN_API struct tn_value *tn_value_new_bool(struct tn_value *in, bool truth);
TN_API struct tn_value *tn_value_new_int(struct tn_value *in, int64_t number);
TN_API struct tn_value *tn_value_new_uint(struct tn_value *in, uint64_t number);
TN_API struct tn_value *tn_value_new_float(struct tn_value *in, double number);
TN_API struct tn_value *tn_value_new_text(struct tn_value *in, const char *text, size_t len);
TN_API struct tn_value *tn_value_new_bytes(struct tn_value *in, const void *data, size_t len);
TN_API struct tn_value *tn_value_new_array(struct tn_value *in);
TN_API struct tn_value *tn_value_new_map(struct tn_value *in);
TN_API struct tn_value *tn_value_new_ext(struct tn_value *in, int8_t type, const void *data, size_t len);
TN_API struct tn_value *tn_value_new_simple(struct tn_value *in, uint8_t number);
TN_API struct tn_value *tn_value_new_tag(uint64_t tag, struct tn_value *child);
TN_API void tn_value_free(struct tn_value *v);
TN_API int tn_value_append(struct tn_value *array, struct tn_value *child);
TN_API int tn_value_put_pair(struct tn_value *map, struct tn_value *key, struct tn_value *value);
TN_API int tn_value_put(struct tn_value *map, const char *key, struct tn_value *value);
TN_API const struct tn_value *tn_value_get(const struct tn_value *map, const char *key);
TN_API const struct tn_value *tn_value_find(const struct tn_value *map, const struct tn_value *key);
TN_API enum tn_kind tn_value_kind(const struct tn_value *v);
TN_API bool tn_value_bool(const struct tn_value *v);
TN_API int tn_value_int(const struct tn_value *v, int64_t *number);
TN_API int tn_value_uint(const struct tn_value *v, uint64_t *number);
TN_API int tn_value_float(const struct tn_value *v, double *number);
TN_API const char *tn_value_text(const struct tn_value *v, size_t *len);
TN_API const void *tn_value_bytes(const struct tn_value *v, size_t *len);
TN_API uint64_t tn_value_tag(const struct tn_value *v);
TN_API int tn_value_ext(const struct tn_value *v);
TN_API int tn_value_simple(const struct tn_value *v);
TN_API size_t tn_value_count(const struct tn_value *v);
TN_API const struct tn_value *tn_value_first(const struct tn_value *parent);
TN_API const struct tn_value *tn_value_next(const struct tn_value *parent, const struct tn_value *item);
TN_API bool tn_value_equal(const struct tn_value *a, const struct tn_value *b);
TN_API unsigned tn_value_depth(const struct tn_value *v);
enum tn_format_flag {
	TN_STRICT = 1,
	TN_PRETTY = 2,
	TN_JSONML =
		4,
};
TN_API TN_MUST_CHECK int tn_decode(const char *format, const void *data, size_t len, unsigned flags,
				   struct tn_value **value);
struct tn_bytes {
	unsigned char *data;
	size_t len, cap;
};
TN_API void tn_bytes_free(struct tn_bytes *bytes);
TN_API TN_MUST_CHECK int tn_encode(const char *format, const struct tn_value *value, unsigned flags,
				   struct tn_bytes *bytes);
TN_API const char *tn_conn_format(const struct tn_conn *conn);
TN_API TN_MUST_CHECK int tn_msg_value(const struct tn_conn *conn, const struct tn_msg *msg, struct tn_value **value);
TN_API TN_MUST_CHECK int tn_reply_value(struct tn_conn *conn, const struct tn_msg *msg, const struct tn_value *value);
TN_API TN_MUST_CHECK int tn_send_value(struct tn_conn *conn, const struct tn_value *value);
TN_API TN_MUST_CHECK int tn_shared_value(const char *format, const struct tn_value *value, unsigned flags,
					 struct tn_shared **shared);
struct tn_split;
TN_API TN_MUST_CHECK int tn_split_new(const char *url, struct tn_split **split);
TN_API int tn_split_another(const struct tn_split *split, struct tn_split **another);
TN_API void tn_split_free(struct tn_split *split);
TN_API int tn_split_feed(struct tn_split *split, const void *data, size_t len);
TN_API void tn_split_end(struct tn_split *split);
TN_API int tn_split_next(struct tn_split *split, const void **data, size_t *len);
TN_API enum tn_msg_kind tn_split_kind(const struct tn_split *split);
TN_API int tn_split_closed(const struct tn_split *split, const char **reason);
TN_API void tn_split_reset(struct tn_split *split);
TN_API size_t tn_split_waiting(const struct tn_split *split);
TN_API size_t tn_split_memory(const struct tn_split *split);
TN_API const char *tn_split_frame(const struct tn_split *split);
TN_API const char *tn_split_format(const struct tn_split *split);
TN_API int tn_split_value(const struct tn_split *split, const void *data, size_t len, struct tn_value **value);
#ifdef __cplusplus
}
#endif
#endif
