/* URLs that name what is spoken in front: "nats://HOST:PORT" is NATS over TCP, "nats+tls://..." NATS over that URL. */
#ifndef TENON_HUB_URL_H
#define TENON_HUB_URL_H

#include <stdbool.h>

bool url_is_of(const char *url, const char *prefix);

/* The library's URL below; `port` for one without. `late`: its keys are TLS's, which begins later. To be freed. NULL:
 * no memory. */
char *url_under(const char *url, const char *prefix, const char *port, bool *late);

/* The same with one more key, `url` freed. NULL: no memory. */
char *url_with(char *url, const char *key_and_value);

#endif
