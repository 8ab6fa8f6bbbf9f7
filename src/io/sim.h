/*
 * The sim engine, for tests: real descriptors, but each system call's outcome is bent by a seed or a script. The same
 * seed bends the same way.
 */
#ifndef TNI_IO_SIM_H
#define TNI_IO_SIM_H

#include "io/io.h"

/* Makes the n-th attempt (from 1, counted from now) of a kind of operation fail with -err. One script at a time. */
void tni_sim_fail(struct tn_loop *loop, enum tni_op_kind kind, unsigned nth, int err);

/* What becomes of received datagrams, in a hundred: so many are lost, come twice, change places. At first none. */
void tni_sim_weather(struct tn_loop *loop, unsigned lost, unsigned doubled, unsigned moved);

/* How many bends the seed has brought about so far. */
uint64_t tni_sim_bends(const struct tn_loop *loop);

#endif
