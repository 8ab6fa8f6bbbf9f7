/* How many descriptors this process may have. */
#ifndef TENON_FILE_LIMIT_H
#define TENON_FILE_LIMIT_H

#include <stdbool.h>

struct rlimit;

/*
 * Thousands of connections need as many descriptors: the soft limit becomes the hard one. Returns whether that has
 * changed anything; then `before` (NULL: of no interest) is what held before.
 */
bool file_limit_raise(struct rlimit *before);

#endif
