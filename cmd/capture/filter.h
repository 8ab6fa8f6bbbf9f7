/* Filters in libpcap's language. */
#ifndef TENON_CAPTURE_FILTER_H
#define TENON_CAPTURE_FILTER_H

#include <stdbool.h>

#include "packet/capfile.h"

struct filter;

/* Reads a filter for a link type. Returns 0, or the exit status after printing what is wrong and where. */
int filter_new(struct filter **filter, const char *text);
bool filter_matches(struct filter *filter, unsigned link, const struct capfile_record *record);
void filter_free(struct filter *filter);

/* Makes a filter of an endpoint's URL, to be freed. Returns 0, or the exit status after printing an error. */
int filter_of_url(const char *url, char **text);

#endif
