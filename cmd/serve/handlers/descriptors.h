/* Descriptors that a client of a Unix socket has sent, for the command that is started for it (unix(7), SCM_RIGHTS). */
#ifndef TENON_HANDLER_DESCRIPTORS_H
#define TENON_HANDLER_DESCRIPTORS_H

#include <stdbool.h>

struct tn_conn;

#define DESCRIPTORS_MAX 64 /* of a client */
#define DESCRIPTORS_MAX_TEXT "64"

struct descriptors {
	int fd[DESCRIPTORS_MAX];
	unsigned count;
};

/* How many a command is given at most (default 0: all are closed by the kernel). Before the loops run. */
void handler_take_descriptors(unsigned max);

/* Whether a served URL is one whose clients can send some to a command: a Unix socket with connections. */
bool handler_descriptors_may_come(const char *url);

/* Whether some may come with the connection's first bytes, and are wanted. */
bool descriptors_are_awaited(const struct tn_conn *conn);

/*
 * Takes those of the bytes that are read next; the bytes stay where they are, and whoever reads them gets no
 * descriptors. With close-on-exec, the caller's.
 */
void descriptors_take(const struct tn_conn *conn, struct descriptors *taken);

void descriptors_close(struct descriptors *taken);

#endif
