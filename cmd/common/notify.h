/*
 * What a service manager is told, where there is one (sd_notify(3)): that it is ready, reads its files again, ends; and
 * that all loops still turn (WATCHDOG_USEC).
 */
#ifndef TENON_NOTIFY_H
#define TENON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* When the loops have been made, and before the sandbox, in which no socket can be opened any more. */
void notify_open(void);

/* Whether there is a manager: it may ask for files to be read again (SIGHUP) where there are none. */
bool notify_is_open(void);

/*
 * Everything listens. From now on the watchdog is told at half of its time, as long as every loop has answered since
 * the last time: one that hangs, or is stopped, is thus noticed and the service begun again.
 */
void notify_ready(void);

/* Around reading files again. */
void notify_reloading(void);
void notify_reloaded(void);

/* It drains, for this long at most: the manager waits longer where its own limit would be shorter. */
void notify_stopping(uint64_t drain_ns);

/* On the first loop, before it is freed. */
void notify_close(void);

#endif
