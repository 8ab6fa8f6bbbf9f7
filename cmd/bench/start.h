/* --start-at: a time of day, at which several machines begin. */
#ifndef TENON_BENCH_START_H
#define TENON_BENCH_START_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Reads a time: seconds since 1970, with a fraction if wanted, or RFC 3339 (2026-01-31T12:00:00.5+01:00). Returns
 * whether it is one that lies after 1970; then `utc_ns` is it in nanoseconds.
 */
bool time_read(const char *text, uint64_t *utc_ns);

#endif
