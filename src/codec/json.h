/* What reading and writing JSON, and XML's form of it, share. */
#ifndef TNI_CODEC_JSON_H
#define TNI_CODEC_JSON_H

#include "codec/codec.h"

/* The encode of the JSON codec. */
int tni_json_write(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out);

/* The value of four hexadecimal digits, or -1. */
int tni_json_hex4(const char *text, size_t len);

/* Writes a number kind (TN_INT, finite TN_FLOAT, or a bignum: see codec/mark.h) as JSON has it. */
void tni_json_write_number(struct tni_bytes *out, const struct tn_value *v);

/*
 * The first byte of a text that cannot stand where it stands by the grammar of JSON, and why (a constant text).
 * Containers inside each other count up to `max_depth`, at most TNI_DEPTH_MAX. Returns TN_EFORMAT, TN_EDEPTH, TN_ETRUNC
 * (at the end), or 0 where nothing is wrong.
 */
int tni_json_locate(const char *data, size_t len, unsigned max_depth, const char **why, size_t *at);

#endif
