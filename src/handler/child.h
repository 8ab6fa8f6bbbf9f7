/* A child process in a group of its own, watched by a loop, ended and reaped for certain. */
#ifndef TENON_HANDLER_CHILD_H
#define TENON_HANDLER_CHILD_H

#include <stdbool.h>
#include <stdint.h>

struct child;
struct handler_child;
struct rlimit;
struct tn_conn;

/* What a child is started for. ended(arg), when not NULL, is called once it has ended,
 * unless it was given up before. */
struct child_use {
	struct tn_conn *conn;
	void (*ended)(void *arg);
	void *arg;
};

/*
 * Starts `/bin/sh -c command` with the descriptors as its standard input and output (they stay the caller's). It has
 * the standard error of this process and no other descriptor. The child is owned by the caller until child_end().
 * Returns 0, -errno, or TN_ELIMIT: as many run as may.
 */
int child_start(const struct child_use *use, const char *command, int input, int output, struct child **child);

/* Tells the watcher that none was started for the connection. A child that was, but is of no use, is not told again
 * when it ends. NULL: none was. */
void child_not_started(struct tn_conn *conn, struct child *child, int err);

/* Whether it has ended, and how. */
bool child_has_ended(const struct child *child, struct handler_child *how);

/* How many may run. */
unsigned child_limit(void);

/*
 * Gives the child up: what is left of its group in `grace_ms` is sent SIGTERM, and one second later SIGKILL; it is
 * reaped whenever it ends and then freed. NULL is allowed.
 */
void child_end(struct child *child, uint64_t grace_ms);

/* The limit of open files that children start with; NULL: the same as this process. */
void child_set_files(const struct rlimit *limit);

/* Ends and reaps all that this thread has started, waiting up to a second for it. After the loop has been freed. */
void child_finish_all(void);

#endif
