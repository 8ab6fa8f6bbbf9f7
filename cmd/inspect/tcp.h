/* The kernel's struct tcp_info, in words. */
#ifndef TENON_INSPECT_TCP_H
#define TENON_INSPECT_TCP_H

#include "sock.h"

struct text;

/* What tables show of it. */
struct tcp_figures {
	int64_t rtt_us, sent, received, resent; /* bytes: acknowledged, received, sent again */
};

/* False: the kernel tells none of this socket. */
bool tcp_figures_of(const struct sock *sock, struct tcp_figures *figures);

/* The state in struct tcp_info. */
unsigned tcp_info_state(const struct sock *sock);

/* struct tcp_info in words: lines, each indented by `indent`; as members of a JSON object. */
void tcp_info_words(const struct sock *sock, const char *indent, struct text *text);
void tcp_info_json(const struct sock *sock, struct text *line);

#endif
