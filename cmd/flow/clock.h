/* Whose clock a machine's processes read. */
#ifndef TENON_FLOW_CLOCK_H
#define TENON_FLOW_CLOCK_H

#include <stdint.h>

/*
 * A number for the clock that CLOCK_MONOTONIC is in this process: that of this start of this machine, in this time
 * namespace. Two processes with the same number may compare their times. 0: not known. It is looked up once, at the
 * first call, which reads files in /proc: before a sandbox closes. From one thread until it has returned once.
 */
uint64_t flow_clock(void);

#endif
