/* The result, told. */
#ifndef TENON_BENCH_SHOW_H
#define TENON_BENCH_SHOW_H

#include <stdbool.h>

struct result;

/* Prints it, and writes it as JSON and as a page where these are not NULL. Returns the exit status. */
int result_show(const struct result *result, const char *output, const char *html);

/* Before the run: whether a result can be written there; it would be lost. NULL: nowhere. */
bool result_can_write(const char *path);

#endif
