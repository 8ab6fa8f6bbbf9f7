/* What keeps a server that somebody has taken over from being of use to him. */
#ifndef TENON_SANDBOX_H
#define TENON_SANDBOX_H

#include "privileges.h"
#include "tenon.h"

#include <stdbool.h>
#include <stddef.h>

/* What stays allowed, filled in before sandbox_enter(). */
struct sandbox {
	const struct privileges_user *user; /* NULL: as privileges_leave() says */
	bool children; /* commands are run: they keep the files, the system calls and the user that they were given */
	bool answers;  /* datagrams are answered at Unix sockets, which belong to others and may have any name */
	bool below;    /* packets are served: whether an address is one of ours is tried with a datagram socket */
	struct sandbox_file {
		const char *path; /* the caller's */
		enum tn_file_use use;
	} files[256];
	size_t nfiles;
};

/* Notes a file that stays in reach. False: there are too many. */
bool sandbox_allow(struct sandbox *box, const char *path, enum tn_file_use use);

/*
 * Gives up, for good and for every thread that is started from here on: root, capabilities, new privileges, files but
 * those named (Landlock), new sockets, connections, programs and whatever else a server that has its sockets does not
 * call (seccomp). What the system does not offer is left out, and told with -v. Returns STATUS_DONE, or STATUS_FAILED
 * after saying what could not be done: then nothing may be served.
 */
int sandbox_enter(const struct sandbox *box);

/* One line for --version. */
const char *sandbox_version(void);

#endif
