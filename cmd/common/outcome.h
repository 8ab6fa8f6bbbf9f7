/* How a command that was run has ended. */
#ifndef TENON_COMMON_OUTCOME_H
#define TENON_COMMON_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>

struct text;
struct tn_conn;

struct outcome {
	bool known;
	int status; /* its exit status, unless a signal ended it */
	int signal; /* the signal that ended it, or 0 */
};

/* Why it has failed; NULL: it has not, or nobody knows. */
const char *outcome_failure(const struct outcome *outcome, char *out, size_t cap);

/* Members `status` and `signal`. */
void outcome_json(struct text *line, const struct outcome *outcome);

/*
 * In on_close: how the program that a connection was to has ended (exec:). False: it was to none. `known` is false too
 * if the connection ended first: then its end says nothing of it.
 */
bool outcome_of(const struct tn_conn *conn, struct outcome *outcome);

#endif
