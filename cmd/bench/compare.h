/* Two results compared, and several merged. */
#ifndef TENON_BENCH_COMPARE_H
#define TENON_BENCH_COMPARE_H

#include "result.h"

/* tenon bench compare A B: an exit status. */
int bench_compare(char **paths, int count);

/* tenon bench merge: the sum of all, which the caller ends with result_free() in every case. An exit status. */
int bench_merge(char **paths, int count, struct result *result);

#endif
