/* The result as a page with pictures. */
#ifndef TENON_BENCH_HTML_H
#define TENON_BENCH_HTML_H

#include "result.h"

struct text;

void result_html(const struct result *result, struct text *text);

#endif
