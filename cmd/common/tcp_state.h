/* The states of the kernel's include/net/tcp_states.h, which sock_diag(7) uses for every family, by their names. */
#ifndef TENON_TCP_STATE_H
#define TENON_TCP_STATE_H

/* "established", "close-wait", ...; "unknown" for a number that there is not. */
const char *tcp_state_name(unsigned state);

#endif
