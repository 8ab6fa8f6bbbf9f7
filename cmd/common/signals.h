/* SIGINT and SIGTERM as events of a loop. */
#ifndef TENON_SIGNALS_H
#define TENON_SIGNALS_H

struct tn_loop;

/* First of all, in every command: writing to a closed pipe is an error code and does not end the process. */
void signals_init(void);

/*
 * Calls fn(nth, arg) on the loop for each SIGINT and SIGTERM; nth counts from 1. Returns 0 or a negative code.
 */
int signals_start(struct tn_loop *loop, void (*fn)(int nth, void *arg), void *arg);

/*
 * Has SIGHUP call fn(arg) on the loop instead of ending the process. After signals_start(). Returns 0 or a negative
 * code.
 */
int signals_on_hangup(struct tn_loop *loop, void (*fn)(void *arg), void *arg);

/*
 * Before the loop is freed. From then on the signals are ignored: the rest takes a second at most, and a process that
 * dies then would leave children behind.
 */
void signals_stop(void);

#endif
