/* What the callbacks for streams and for datagrams share: how a child is started. */
#ifndef TENON_HANDLER_EXEC_H
#define TENON_HANDLER_EXEC_H

#include <stdbool.h>

#include "tenon.h"

struct child;
struct descriptors;
struct handler_child;

/* What stands first in what a connection with a command has as its data. */
struct exec_head {
	struct child *child;
};

/* What happens on the connections to a child's standard input and from its standard output, and when it has ended. */
struct exec_ends {
	const struct tn_handler *input, *output;
	void (*ended)(void *arg); /* or NULL */
};

/* Whether an end's on_close reports a failure. A child may stop reading, and we may have ended it: neither is one. */
bool exec_is_failure(int err);

/*
 * Starts a child for a connection and dials its ends, whose handlers get `arg`. On failure the watcher is told, and a
 * code is returned; what had begun by then is returned all the same, and ended like any other.
 */
int exec_start(struct tn_conn *conn, const struct tn_msg *msg, const struct descriptors *fds, const char *command,
	       const struct exec_ends *ends, void *arg, struct child **child, struct tn_conn **input,
	       struct tn_conn **output);

/* The time that a command has after its client has gone. */
uint64_t exec_grace_ms(void);

/* Inside on_close of a stream's connection: whether its command has ended by then, and how. */
bool handler_child_of(const struct tn_conn *conn, struct handler_child *child);

/* The time that a command has to end after its client has closed the connection in the ordinary way (default 5 s). */
void handler_set_grace(uint64_t ms);

/* The callbacks for datagrams: exec_datagram.c */
void exec_on_gate_open(struct tn_conn *conn, void *arg);
void exec_on_datagram(struct tn_conn *conn, const struct tn_msg *msg, void *arg);
void exec_on_gate_end(struct tn_conn *conn, void *arg);
void exec_on_gate_close(struct tn_conn *conn, int err, void *arg);

/* The same where each sender has a session: exec_session.c */
void exec_on_sessions_open(struct tn_conn *conn, void *arg);
void exec_on_session_datagram(struct tn_conn *conn, const struct tn_msg *msg, void *arg);
void exec_on_sessions_end(struct tn_conn *conn, void *arg);
void exec_on_sessions_close(struct tn_conn *conn, int err, void *arg);

#endif
