/* Walls around a server: what somebody who has taken it over cannot do with it. */
#ifndef TENON_SANDBOX_H
#define TENON_SANDBOX_H

#include "broker.h"
#include "privileges.h"

#include <stdbool.h>
#include <stddef.h>

/* What stays allowed, filled in before sandbox_enter(). */
struct sandbox {
	const struct privileges_user *user; /* NULL: as privileges_leave() says */
	bool children;                      /* commands are run: files and system calls stay open to them */
	bool answers; /* datagrams are answered at Unix sockets, which belong to others and may have any name */
	bool below;   /* packets are served: whether an address is one of ours is tried with a datagram socket */
	struct broker_file files[256]; /* opened by a process of their own */
	size_t nfiles;
};

/* Notes a file that the server needs still. False: there are too many. */
bool sandbox_allow(struct sandbox *box, const char *path, enum tn_file_use use);

/*
 * Gives up, for good and for every thread that is started from here on: root, capabilities, new privileges, all files
 * (Landlock; those that are named are opened by the broker), new sockets, connections, programs and whatever else a
 * server that has its sockets does not call (seccomp). What the system does not offer is left out and told. No
 * capability is kept that is not fenced in. Returns STATUS_DONE, or STATUS_FAILED after saying what could not be done:
 * then nothing may be served.
 */
int sandbox_enter(const struct sandbox *box);

/* Ends what it has started. After all servers have been closed. */
void sandbox_leave(void);

/* One line for --version. */
const char *sandbox_version(void);

#endif
