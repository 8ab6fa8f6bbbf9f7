/* What is left to be told, and to be done, when a connection ends. */
#ifndef TENON_TALK_CLOSED_H
#define TENON_TALK_CLOSED_H

#include <stdbool.h>

struct tn_conn;
struct tn_loop;

#define CLOSED_MAX 160

/* " with 4008: not today", where its Close says more than that all is well; otherwise "". In on_end and on_close. */
const char *closed_words(const struct tn_conn *conn, char out[CLOSED_MAX]);

/* In on_close: whether it was to a program (exec:) that has failed, which has been told then. */
bool closed_badly(const struct tn_conn *conn, const char *url);

/*
 * A program ends with its connection, which has been closed, or is aborted here: waits for that. `*conn` is set to NULL
 * by on_close.
 */
void closed_wait(struct tn_loop *loop, struct tn_conn *const *conn, bool abort);

/* Aborts the connection that is waited for, and if its program may not be killed, does not wait any more. */
void closed_hurry(struct tn_conn *conn);

#endif
