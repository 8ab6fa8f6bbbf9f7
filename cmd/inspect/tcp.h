/* The kernel's struct tcp_info, in words. */
#ifndef TENON_INSPECT_TCP_H
#define TENON_INSPECT_TCP_H

#include "sock.h"

struct text;

/* The state in struct tcp_info. */
unsigned tcp_info_state(const struct sock *sock);

/* struct tcp_info in words: lines, each indented by `indent`; as members of a JSON object. */
void tcp_info_words(const struct sock *sock, const char *indent, struct text *text);
void tcp_info_json(const struct sock *sock, struct text *line);

#endif
