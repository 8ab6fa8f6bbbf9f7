/* The load: threads, each with its connections, through the phases of a run. */
#ifndef TENON_BENCH_LOAD_H
#define TENON_BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "plan.h"
#include "result.h"

/* Told about once a second, and more often for the progress alone (column NULL). */
struct watcher {
	void (*tick)(void *arg, const struct result *result, const struct column *column, double elapsed_s,
		     bool warming);
	void *arg;
	uint64_t period_ms;
};

/*
 * Runs a plan and fills the result. Returns 0, or a negative code after printing an error if it could not begin or go
 * on. Several runs may follow one another (to search a rate); SIGINT is noted between them too.
 */
int bench_run(struct plan *plan, struct result *result, const struct watcher *watcher);

/* SIGINT has been received: end early. */
bool bench_interrupted(void);

#endif
