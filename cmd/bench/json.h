/* The result for programs, written and read: docs/bench-result.schema.json is its grammar. */
#ifndef TENON_BENCH_JSON_H
#define TENON_BENCH_JSON_H

#include <stdbool.h>

#include "result.h"

struct text;

void result_json(const struct result *result, struct text *text);
/* `event`: the line of an event, which json_line() ends; NULL: an object in a list. */
void column_json(const struct column *column, const char *event, bool with_heat, struct text *text);

/* Reads what --json or --output wrote. Returns 0, or an exit status after printing an error. */
int result_read(const char *path, struct result *result);

#endif
