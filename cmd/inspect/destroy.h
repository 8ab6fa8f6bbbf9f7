/* Sockets of other processes are closed: SOCK_DESTROY of sock_diag(7). */
#ifndef TENON_INSPECT_DESTROY_H
#define TENON_INSPECT_DESTROY_H

#include "sock.h"

/* What became of those that were not closed. */
struct destroyed {
	size_t gone;   /* they had ended meanwhile, also by the reset of an end that was closed before */
	size_t hidden; /* the kernel finds another socket in their place (SO_REUSEPORT) */
	size_t unable; /* the kernel does not do it for their kind */
	size_t failed; /* of another reason: err */
	int err;       /* negative errno; 0: none */
};

/*
 * Closes each of `socks`, and keeps in the list those that were closed. A socket is meant by its addresses and its
 * cookie: one that has taken its place meanwhile is left alone. Returns 0; -EPERM without CAP_NET_ADMIN, or another
 * -errno, and then nothing has been closed.
 */
int destroy_all(struct socks *socks, struct destroyed *others);

#endif
