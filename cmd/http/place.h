/* Where a command answers requests: URLs of http://, https:// and Unix sockets, as a person gives them. */
#ifndef TENON_HTTP_PLACE_H
#define TENON_HTTP_PLACE_H

#include <stdbool.h>

/*
 * Checks a URL, and adds the keys that every such endpoint has ("max=8KiB&idle=1m"). unix:/PATH is understood as
 * http+unix:/PATH. Returns NULL, with the whole URL in *full, which the caller frees; or why not, valid until the next
 * call of the library.
 */
const char *http_place(const char *url, const char *keys, char **full);

/* Whether others than this machine can reach it, without the key allow that says who may. */
bool http_is_open_to_others(const char *url);

#endif
