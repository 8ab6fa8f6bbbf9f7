/* What a descriptor of a socket tells. */
#ifndef TENON_INSPECT_READ_H
#define TENON_INSPECT_READ_H

#include <stdbool.h>

#include "sock.h"

/* Fills in what the descriptor tells; `options`: also the table of options. */
void sock_read(struct sock *sock, int fd, bool options);

/* Closes what it has kept for comparisons. */
void sock_read_end(void);

#endif
