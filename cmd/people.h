/* Numbers for people: 12.3k, 4.56M; 12.3 us, 4.56 ms; 1.23 MiB. */
#ifndef TENON_PEOPLE_H
#define TENON_PEOPLE_H

#include <stddef.h>

/* Each returns `out`. */
const char *people_count(double value, char *out, size_t cap);
const char *people_us(double us, char *out, size_t cap);
const char *people_bytes(double bytes, char *out, size_t cap);

#endif
