/* The two faces of the exec handler share how a child is started. */
#ifndef TENON_HANDLER_EXEC_H
#define TENON_HANDLER_EXEC_H

#include <stdbool.h>

#include "tenon.h"

struct child;

/* What happens on the connections to a child's standard input and from its standard output, and when it has ended. */
struct exec_ends {
	const struct tn_handler *input, *output;
	void (*ended)(void *arg); /* or NULL */
};

/* Whether an end's on_close tells of a failure. That the child reads no more is its right, and we may have ended it. */
bool exec_is_failure(int err);

/*
 * Starts a child for a connection and dials its ends, whose handlers get `arg`. On failure, of which the watcher is
 * told, returns -errno or another of the library's codes; what had begun by then is returned all the same and is ended
 * like any other.
 */
int exec_start(struct tn_conn *conn, const char *command, const struct exec_ends *ends, void *arg, struct child **child,
	       struct tn_conn **input, struct tn_conn **output);

/* The face for datagrams: see exec_datagram.c */
void exec_on_gate_open(struct tn_conn *conn, void *arg);
void exec_on_datagram(struct tn_conn *conn, const struct tn_msg *msg, void *arg);
void exec_on_gate_end(struct tn_conn *conn, void *arg);
void exec_on_gate_close(struct tn_conn *conn, int err, void *arg);

#endif
