/* The interfaces that there are to capture from. */
#ifndef TENON_CAPTURE_INTERFACES_H
#define TENON_CAPTURE_INTERFACES_H

#include <stdbool.h>

/* Lists them on standard output, with --json as one object a line. Needs no privilege. Returns the exit status. */
int interfaces_list(void);

/* Whether it is a loopback: what goes out there comes in at once, and libpcap hands over what comes in alone. */
bool interfaces_is_loopback(const char *name);

#endif
