/* What is shown during a run. */
#ifndef TENON_BENCH_LIVE_H
#define TENON_BENCH_LIVE_H

#include <stdbool.h>

#include "plan.h"
#include "result.h"

void live_begin(const struct plan *plan);
void live_tick(void *arg, const struct result *result, const struct column *column, double elapsed_s, bool warming);
void live_end(void);

/* --interval: one stretch as a line of text on standard output. */
void live_line(const struct column *column);

#endif
