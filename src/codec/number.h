/* Numbers as text, the same in every locale. An integer never passes through a double. */
#ifndef TNI_CODEC_NUMBER_H
#define TNI_CODEC_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TNI_BIG_BYTES \
	512 /* integers up to 4096 bits are read and written digit by digit: the work grows with the square */
#define TNI_BIG_DIGITS 1234 /* as many digits has 2^4096 - 1 */
#define TNI_NUMBER_SIZE 40  /* holds any 64-bit integer or double, as text */

enum tni_number_kind {
	TNI_NUMBER_INT,   /* -2^64 to 2^64-1 */
	TNI_NUMBER_FLOAT, /* written with a fraction or an exponent; or -0, which no integer can be */
	TNI_NUMBER_BIG,   /* an integer beyond: see tni_big_read() */
};

struct tni_number {
	enum tni_number_kind kind;
	bool negative; /* TNI_NUMBER_INT: the number is -1 - num; TNI_NUMBER_BIG: the sign */
	uint64_t num;
	double real;
};

/* Reads a number of the JSON grammar; the caller knows that `text` is one. Returns 0, or -1 when it is a float
 * beyond the greatest double. A float is rounded to nearest. */
int tni_number_read(const char *text, size_t len, struct tni_number *number);

/* The length of the number of the JSON grammar at the start of `text`; 0 if there is none. */
size_t tni_number_scan(const char *text, size_t len);

/* The big-endian bytes, without leading zeros, of a TNI_NUMBER_BIG as CBOR's bignums have them: of n, or of -1 - n.
 * Returns how many, or 0 when they are more than TNI_BIG_BYTES. */
size_t tni_big_read(const char *text, size_t len, uint8_t bytes[TNI_BIG_BYTES]);

/* The decimal digits, with sign, of such bytes (1 to TNI_BIG_BYTES of them). Returns their number. */
size_t tni_big_write(const uint8_t *bytes, size_t len, bool negative, char text[TNI_BIG_DIGITS + 2]);

/* Each returns the length of what it wrote. For a negative integer `num` is -1 - n. */
size_t tni_int_write(bool negative, uint64_t num, char text[TNI_NUMBER_SIZE]);
/* The shortest text that reads back as the same finite double, always with a fraction or an exponent. */
size_t tni_float_write(double real, char text[TNI_NUMBER_SIZE]);

/* A NaN of 2 or 4 big-endian bytes as a double: bit by bit, because converting a float may change its payload. */
double tni_nan_read(const uint8_t *bytes, int count);
/* Whether a single holds the same value as `real`, a NaN's payload included, and its bits. */
bool tni_single_of(double real, uint32_t *bits);

#endif
