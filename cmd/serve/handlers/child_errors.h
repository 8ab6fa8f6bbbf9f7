/* Where the standard error of a child goes. */
#ifndef TENON_HANDLER_CHILD_ERRORS_H
#define TENON_HANDLER_CHILD_ERRORS_H

#include <stddef.h>
#include <stdint.h>

struct tn_conn;

enum handler_errors {
	ERRORS_LOG,    /* that of this process, or its log */
	ERRORS_CLIENT, /* with what it writes to its standard output */
	ERRORS_NONE,
};

/*
 * Before the loops run. `log`: of ERRORS_LOG, is told each line, with the number of the connection, by the thread of
 * its loop; NULL: they go to the standard error of this process. Returns 0 or -errno.
 */
int handler_set_errors(enum handler_errors where, void (*log)(uint64_t conn, const char *line, size_t len));

/*
 * What becomes the standard error of a child with this output, in `*error`: -1: that of this process. `*own`: what is
 * to be closed when it has started, or -1. Returns 0 or -errno.
 */
int child_errors_open(const struct tn_conn *conn, int output, int *error, int *own);

#endif
