/* A child process in a group of its own: watched by a loop, always ended and reaped. */
#ifndef TENON_HANDLER_CHILD_H
#define TENON_HANDLER_CHILD_H

#include <stdbool.h>
#include <stdint.h>

struct child;
struct descriptors;
struct rlimit;
struct tn_conn;
struct tn_msg;
struct tn_server;

/* A command of exec: that has ended, or could not be started. */
struct handler_child {
	struct tn_server *server;
	struct tn_conn *refused; /* whose command was not started; NULL: one was */
	uint64_t conn;           /* number of the connection that it was for: tn_conn_id() */
	int pid;                 /* 0: not started */
	unsigned fds;            /* descriptors of the client's that it was given */
	int err;                 /* why it was not started: -errno, or TN_ELIMIT: too many run already; 0 */
	int status;              /* its exit status, unless a signal ended it */
	int signal;              /* the signal that ended it, or 0 */
};

/* Sets who is told of each, once, on the thread of the connection's loop. Before the loops run. */
void handler_watch_children(void (*fn)(const struct handler_child *child));

/* What it has as its standard descriptors, which stay the caller's. */
struct child_io {
	int input, output;
	int error;     /* -1: where those of all go (child_errors.h) */
	bool terminal; /* they are one, which controls it: it leads a session */
	int master; /* of that terminal. The child keeps another until it has ended or is given up: the last hangs up */
};

/* What a child is started for. ended(arg), when not NULL, is called once it has ended,
 * unless it was given up before. */
struct child_use {
	struct tn_conn *conn;
	const struct tn_msg *msg;      /* the datagram that it answers, or NULL; while child_start() is called */
	const struct descriptors *fds; /* of the client's, which it has from 3 on; or NULL; likewise */
	void (*ended)(void *arg);
	void *arg;
};

/*
 * Starts `/bin/sh -c command`. It has no descriptor but the standard ones and `fds`; its environment tells of the
 * client. The child is owned by the caller until child_end(). Returns 0, -errno, or TN_ELIMIT: as many run as may.
 */
int child_start(const struct child_use *use, const char *command, const struct child_io *io, struct child **child);

/*
 * Tells the watcher that no child was started for the connection. `child` is one that was started but cannot be used:
 * its end is not reported. NULL: there is none.
 */
void child_not_started(struct tn_conn *conn, struct child *child, int err);

/* Whether it has ended, and how. */
bool child_has_ended(const struct child *child, struct handler_child *how);

/* How many may run. */
unsigned child_limit(void);

/*
 * Gives the child up. If something of its group is left after `grace_ms`, it gets SIGTERM, and one second later
 * SIGKILL. The child is reaped when it ends and then freed. NULL is allowed.
 */
void child_end(struct child *child, uint64_t grace_ms);

/* How many commands may run at a time in this process (default 128). Before the loops run. */
void handler_limit_children(unsigned max);

/* For a process that gets orphans (PID 1): reaps those that are not children of ours. From any thread. */
void handler_reap_orphans(void);

/* The limit of open files that children start with; NULL: the same as this process. */
void child_set_files(const struct rlimit *limit);

/* Ends and reaps all that this thread has started, and waits up to a second for it. After the loop has been freed. */
void child_finish_all(void);

#endif
