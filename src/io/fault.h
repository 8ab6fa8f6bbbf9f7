/*
 * The fault engine, for tests: another engine, to which a seed does what a kernel may do to it at any time. Nothing of
 * it is an error, so that all must still go well: calls that would have to wait nine times out of ten, one byte at a
 * time, multishot requests that end or are cancelled, hardly any buffers, a completion queue that overflows.
 *
 * With seed 0 nothing is bent. A script makes one operation fail besides: "fault:uring:7:send=ECONNRESET@3" is the
 * third send, "...@3+" all from the third on. The kinds are accept, connect, recv, send, recvmm, sendmm and poll, each
 * result of a request that reports many being one; and submit and cancel, which the engine itself refuses. The script
 * "bytes" is one byte at a time for every read and write of a stream.
 */
#ifndef TNI_IO_FAULT_H
#define TNI_IO_FAULT_H

#include "io/io.h"

/* What stands behind "fault:": ENGINE[:SEED[:SCRIPT]]. Errors: -ENOENT, -ENOMEM, those of the engine. */
int tni_fault_open(struct tn_loop *loop, const char *text);

/* How often the script has struck in this process, and how often a kind of its has been met. Counted while armed, which
 * it is at first; only then does it strike. */
uint64_t tni_fault_hits(void);
uint64_t tni_fault_seen(const char *kind);
void tni_fault_arm(bool on);

/* What was done to this process's loops. */
enum tni_bend {
	TNI_BEND_PUT_OFF,     /* a call that would have to wait, for a while */
	TNI_BEND_SHORT_READ,  /* fewer bytes than there were room for */
	TNI_BEND_SHORT_WRITE, /* fewer than were offered */
	TNI_BEND_ENDED,       /* a multishot request, by itself or cancelled behind its owner's back */
	TNI_BEND_NO_BUFFER,   /* the ring had none for what came */
	TNI_BEND_OVERFLOW,    /* of the completion queue */
	TNI_BENDS,
};

uint64_t tni_fault_bends(enum tni_bend how);

/* What the ring asks and tells the fault engine above it: loop->fault, where there is one. */
struct tni_fault {
	/* Whether this result, or the request about to be made, is the one to fail; and the error it fails with. */
	bool (*strikes)(struct tn_loop *loop, unsigned kind);
	int (*error)(const struct tn_loop *loop);
	void (*bent)(enum tni_bend how);
};

#endif
