/*
 * The fault engine, for tests: another engine, to which a seed does what a kernel may do to it at any time. Nothing of it
 * is an error, so that all must still go well: calls that would have to wait nine times out of ten, one byte at a time,
 * multishot requests that end or are cancelled, hardly any buffers, a completion queue that overflows.
 *
 * A script makes one operation fail besides: "fault:uring:7:send=ECONNRESET@3" is the third send. The kinds are accept,
 * connect, recv, send, recvmm and sendmm.
 */
#ifndef TNI_IO_FAULT_H
#define TNI_IO_FAULT_H

#include "io/io.h"

/* What stands behind "fault:": ENGINE[:SEED[:SCRIPT]]. Errors: -ENOENT, -ENOMEM, those of the engine. */
int tni_fault_open(struct tn_loop *loop, const char *text);

/* Whether the script has had its turn in this process. */
bool tni_fault_hit(void);

#endif
