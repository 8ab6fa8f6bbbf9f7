/*
 * Completion emulated over readiness: what epoll does for every descriptor, uring for the few kinds it serves better
 * that way (bulk streams, datagram batches), sim for all of them under a seed. The engine supplies watch() and
 * attempt().
 */
#ifndef TNI_IO_READY_H
#define TNI_IO_READY_H

#include "io/io.h"

#include <limits.h>

enum { TNI_RD = 1, TNI_WR = 2, TNI_HUP = 4 };

int tni_ready_submit(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op);

/* Always TNI_DONE: nothing of a readiness operation is ever in the kernel. */
int tni_ready_cancel(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op);

/* Forgets the descriptor's place in the queue. */
void tni_ready_release(struct tn_loop *loop, struct tni_fd *fd);

/* An event: `bits` of TNI_RD, TNI_WR, TNI_HUP. Tries what is armed and reports it. */
void tni_ready_event(struct tn_loop *loop, struct tni_fd *fd, unsigned bits);

/* Tries each descriptor that is known to have more, once. Returns how many there were. */
int tni_ready_pending(struct tn_loop *loop);

/* Reports a result to the operation's owner. */
void tni_complete(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op, int res, bool more);

/* Of an attempt: there is nothing to report yet, and more to be read. Others have their turn before that. */
#define TNI_TRY_SOON INT_MIN

/* One non-blocking system call for an operation: its result, -EAGAIN, or TNI_TRY_SOON. */
int tni_attempt(struct tn_loop *loop, struct tni_fd *fd, struct tni_op *op);

#endif
