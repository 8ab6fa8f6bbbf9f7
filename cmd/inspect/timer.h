/* What the kernel waits for on a socket of TCP: inet_diag's timers. */
#ifndef TENON_INSPECT_TIMER_H
#define TENON_INSPECT_TIMER_H

#include "sock.h"

struct text;

/* "retransmission in 204 ms, 2 so far"; nothing where no timer runs. */
void timer_words(const struct sock *sock, struct text *text);

/* The member "timer", an object; nothing where none runs. */
void timer_json(const struct sock *sock, struct text *line);

#endif
