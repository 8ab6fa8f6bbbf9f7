/* Numbers as people read them: 12.3k, 4.56M; 12.3 us, 4.56 ms; 1.23 MiB; 92.3 Mbit. */
#ifndef TENON_HUMAN_H
#define TENON_HUMAN_H

#include <stddef.h>

/* Each returns `out`. */
const char *human_count(double value, char *out, size_t cap);
const char *human_us(double us, char *out, size_t cap);
const char *human_bytes(double bytes, char *out, size_t cap);
const char *human_bits(double bits, char *out, size_t cap); /* 92.3 Mbit: powers of ten, as of links */

#endif
