/* HdrHistogram's log of histograms. */
#ifndef TENON_BENCH_HLOG_H
#define TENON_BENCH_HLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "result.h"
#include "tenon_hist.h"

void hlog_begin(FILE *file);
void hlog_add(FILE *file, const struct column *column, const struct tn_hist *latency);
bool hlog_is(const char *text, size_t len);
int hlog_read(const char *path, const char *text, size_t len, struct result *result); /* as result_read() */

#endif
