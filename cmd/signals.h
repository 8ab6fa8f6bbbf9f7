/* SIGINT and SIGTERM as events of a loop. */
#ifndef TENON_SIGNALS_H
#define TENON_SIGNALS_H

#include <signal.h>

struct tn_loop;

/* For every command, first of all: a closed pipe is an error code, not a death. */
void signals_init(void);

/*
 * Calls fn(nth, arg) on the loop for each SIGINT and SIGTERM, nth counting from 1. Threads made after this have them
 * blocked too, so that nobody else gets them. Returns 0 or a negative code.
 */
int signals_start(struct tn_loop *loop, void (*fn)(int nth, void *arg), void *arg);

/*
 * Has SIGHUP call fn(arg) on the loop instead of ending the process. After signals_start(), before threads are made.
 * Returns 0 or a negative code.
 */
int signals_on_hangup(struct tn_loop *loop, void (*fn)(void *arg), void *arg);

/* A non-blocking descriptor on which these signals are read: signalfd(2). -errno: complain_library() has its words. */
int signals_open(const sigset_t *set);

/*
 * Before the loop is freed. The signals stay blocked: what is left to do takes a second at most, and a process that
 * dies in the midst of it leaves children behind.
 */
void signals_stop(void);

#endif
