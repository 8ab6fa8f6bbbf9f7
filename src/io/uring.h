/* What only the fault engine asks of the ring. */
#ifndef TNI_IO_URING_H
#define TNI_IO_URING_H

#include "io/io.h"

/* With queues and buffers so few and small that they run out all the time. */
int tni_uring_open_small(struct tn_loop *loop);

/* Cancels what the ring does for a descriptor's reading behind its owner's back, as a kernel may. */
void tni_uring_interrupt(struct tn_loop *loop, struct tni_fd *fd);

#endif
