/* Whether a socket of some process belongs to a file. */
#ifndef TNI_NET_BOUND_H
#define TNI_NET_BOUND_H

#include <sys/stat.h>

/*
 * Whether a Unix socket of this machine is bound to the file, listening or not (sock_diag(7)). connect(2) cannot tell:
 * it is refused by a socket that does not listen yet as by a file that is left over. 1 or 0, or -errno: the kernel does
 * not say.
 */
int tni_unix_is_bound(const struct stat *file);

#endif
