/* Option --admin: what a run tells over HTTP while it goes on. */
#ifndef TENON_BENCH_EXPORTER_H
#define TENON_BENCH_EXPORTER_H

#include <stdbool.h>

#include "plan.h"
#include "result.h"

/* Begins to serve, if --admin was given, on a thread of its own. The exit status, after printing an error. */
int exporter_start(const struct plan *plan);

/* A stretch of the run has been measured; NULL: none. From the main thread. */
void exporter_note(const struct column *column);

/* Ends, if it has begun. */
void exporter_stop(void);

#endif
