/* The search for the highest rate that keeps a target. */
#ifndef TENON_BENCH_SLO_H
#define TENON_BENCH_SLO_H

#include "plan.h"
#include "result.h"

/*
 * Searches the highest rate that keeps the target, records what was tried, and sets the plan's rate; 0: there is none.
 * `depth`: as asked for, or 0. Returns as bench_run().
 */
int slo_search(struct plan *plan, struct result *total, unsigned depth);
void slo_compare(struct result *total);

#endif
