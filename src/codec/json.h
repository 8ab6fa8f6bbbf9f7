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

#endif
