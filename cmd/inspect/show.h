/* All that is known of a socket, for people and as JSON. */
#ifndef TENON_INSPECT_SHOW_H
#define TENON_INSPECT_SHOW_H

#include <stdbool.h>

#include "sock.h"

struct text;

/* All that is known of it, in rows of at most `width` columns; `all`: also the options that nobody has set. */
void sock_show(const struct sock *sock, unsigned width, bool all, struct text *text);
void sock_show_json(const struct sock *sock);

#endif
