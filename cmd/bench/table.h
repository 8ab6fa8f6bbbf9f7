/* The result for people. */
#ifndef TENON_BENCH_TABLE_H
#define TENON_BENCH_TABLE_H

#include "result.h"

struct text;

void result_table(const struct result *result, struct text *text);

#endif
