/* What `tenon top` shows: a text of what /status and /connections have said. */
#ifndef TENON_TOP_PAGE_H
#define TENON_TOP_PAGE_H

#include <stdbool.h>
#include <stdint.h>

struct text;
struct tn_value;

/* By what the connections are sorted. */
enum top_sort { TOP_BYTES, TOP_MESSAGES, TOP_QUEUED, TOP_AGE, TOP_SORTS };

const char *top_sort_name(enum top_sort sort);

/* `before`: the status of the last look, for rates; NULL: there was none. `rows`: how many connections at most. */
void top_write(struct text *out, const struct tn_value *status, const struct tn_value *before,
	       const struct tn_value *connections, enum top_sort sort, unsigned rows);

#endif
