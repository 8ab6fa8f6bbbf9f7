/* Whether the other end of a connection that has ended its direction is there at all. */
#ifndef TENON_HANDLER_GONE_H
#define TENON_HANDLER_GONE_H

#include <stdbool.h>

/*
 * Makes the kernel probe a TCP peer on another machine now and then (keepalive). That ends a connection that the peer
 * has closed.
 */
void gone_begin(int fd);

/* Whether the client has closed the connection, as far as this machine knows: a Unix socket, or a TCP client on it. */
bool client_is_gone(int fd);

#endif
