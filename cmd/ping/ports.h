/* tenon ping tcp://HOST:20-25,80: which ports are open. */
#ifndef TENON_PING_PORTS_H
#define TENON_PING_PORTS_H

#include <stdbool.h>
#include <stdint.h>

/* Whether an operand names several ports: a range or a list stands where the port does. */
bool ports_are_several(const char *operand);

/* Checks them all, for at most `timeout_ns` each; returns the command's exit status. */
int ports_check(const char *operand, uint64_t timeout_ns);

#endif
