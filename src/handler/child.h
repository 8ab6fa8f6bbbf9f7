/* A child process in a group of its own, watched by a loop, ended and reaped for certain. */
#ifndef TENON_HANDLER_CHILD_H
#define TENON_HANDLER_CHILD_H

#include <stdint.h>

struct child;
struct rlimit;
struct tn_loop;

/*
 * Starts `/bin/sh -c command` with the descriptors as its standard input and output (they stay the caller's; all others
 * are closed by close-on-exec). The child is owned by the caller until child_end(). Returns 0 or -errno.
 */
int child_start(struct tn_loop *loop, const char *command, int input, int output, struct child **child);

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
