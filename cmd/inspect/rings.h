/* Memory that a Unix socket's two ends share, in place of its own queues (shm:). */
#ifndef TENON_INSPECT_RINGS_H
#define TENON_INSPECT_RINGS_H

#include <stdint.h>

struct sock;

/* How many bytes its process has mapped for this connection, -1: none, or it is not known. */
int64_t rings_of(const struct sock *sock);

/* At the end of a look at the system: what a process has mapped is read again. */
void rings_forget(void);

#endif
