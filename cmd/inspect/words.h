/* Words for a socket. */
#ifndef TENON_INSPECT_WORDS_H
#define TENON_INSPECT_WORDS_H

#include <stddef.h>

#include "sock.h"

/* tcp, unix-dgram, netlink route, ... */
const char *sock_kind(const struct sock *sock, char *out, size_t cap);

const char *sock_addr_text(const struct sock *sock, const struct sock_addr *addr, char *out, size_t cap);

/* Names are what their owners like: for people without control characters, and UTF-8, as text_clean() says. */
void sock_clean(char *said, size_t cap);

#endif
