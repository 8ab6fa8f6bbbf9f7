/* What is asked of the ring beside the engine's contract. */
#ifndef TNI_IO_URING_H
#define TNI_IO_URING_H

#include "io/io.h"

/*
 * Whether this kernel's ring is one to choose unasked. Before Linux 6.6 what this engine lives on (multishot requests,
 * buffer rings, deferred task work) was new, and epoll is the safer and hardly slower choice.
 */
bool tni_uring_is_mature(void);

/* For the fault engine: with queues and buffers so few and small that they run out all the time. */
int tni_uring_open_small(struct tn_loop *loop);

/* For the fault engine: cancels what the ring does for a descriptor's reading behind its owner's
 * back, as a kernel may. */
void tni_uring_interrupt(struct tn_loop *loop, struct tni_fd *fd);

#endif
