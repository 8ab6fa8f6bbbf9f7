/*
 * The event loops of a server: one or several, each run by a thread of its own. The first is the main thread's. There
 * is one set of them in a process.
 */
#ifndef TENON_WORKERS_H
#define TENON_WORKERS_H

#include <stdbool.h>

struct tn_loop;

#define WORKERS_MAX 1024

/* What is called on each thread. Each may be NULL. */
struct workers_hooks {
	void (*begin)(int index); /* before the loop runs */
	void (*end)(int index); /* after it; its loop is still there. Of the first: when all other threads have ended */
	void (*over)(void);     /* its loop has been freed */
};

/* Option --threads: a number from 1 to 1024, or auto: the processors that this process may use. `to`: an unsigned. */
const char *workers_set_count(const char *value, void *to);

/* Makes so many loops. Returns 0, or a negative code after an error was printed. */
int workers_new(unsigned count);

/* All loops, and their number. */
struct tn_loop *const *workers_loops(void);
int workers_count(void);

/* Runs all loops until each has ended. Returns 0, or a negative code when one has failed. The loops are freed. */
int workers_run(const struct workers_hooks *hooks);

/* Frees the loops in place of running them. */
void workers_free(void);

/* Makes all loops end soon. From any thread. */
void workers_stop(void);

/*
 * The first SIGINT or SIGTERM calls drain() on the first loop, which ends in good order; the second ends all loops at
 * once. Before the loops run; signals_stop() ends it. Returns 0 or a negative code.
 */
int workers_end_on_signals(void (*drain)(void));

/* Whether a second signal has ended them. */
bool workers_were_hurried(void);

/* Calls fn(arg) on the first loop, soon. From any thread, also when that loop has gone. Returns whether it will be. */
bool workers_post(void (*fn)(void *arg), void *arg);

/* The same on one of the loops. */
bool workers_post_to(int index, void (*fn)(void *arg), void *arg);

/*
 * Has a thread of its own write the events, whose reader is the reason to run: when it has gone, end() is called on the
 * first loop. A terminal that closes sends SIGHUP instead. If the reader cannot be watched, that is not a failure: the
 * next event will show that it has gone. Before the loops run; out_unwatch() and out_thread_stop() end it.
 */
void workers_watch_reader(void (*end)(void));

#endif
