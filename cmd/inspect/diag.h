/* The kernel's tables of sockets. */
#ifndef TENON_INSPECT_DIAG_H
#define TENON_INSPECT_DIAG_H

#include "sock.h"

/* Fills in every socket of this network namespace, sorted by inode. Returns 0 or -errno. */
int diag_all(struct socks *socks);

/* The one with this inode, or NULL. */
struct sock *diag_find(const struct socks *socks, uint64_t inode);

#endif
