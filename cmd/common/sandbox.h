/* The sandbox of a server: it limits what an attacker can do who has taken the server over. */
#ifndef TENON_SANDBOX_H
#define TENON_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "broker.h"
#include "privileges.h"

/* What stays allowed, filled in before sandbox_enter(). */
struct sandbox {
	const struct privileges_user *user; /* NULL: as privileges_leave() says */
	bool children;                      /* commands are run: files and system calls stay allowed for them */
	bool answers;  /* datagrams are answered at Unix sockets, which belong to other users and may have any name */
	bool below;    /* packets are served: whether an address is one of ours is tried with a datagram socket */
	bool dials;    /* connections are made: of streams and datagrams, over IP and to Unix sockets */
	bool listens;  /* sockets are bound and listened on while it runs */
	bool reads;    /* files can be read: for TLS to targets, whose certificates are looked at again */
	bool names;    /* and libraries loaded that look up names */
	bool networks; /* sockets are made in other network name spaces: key netns */
	const char *writes;            /* files are made, written and removed in this folder; NULL: in none */
	struct broker_file files[256]; /* opened by the broker */
	size_t nfiles;
	bool crowded; /* there are more files than that */
};

/* Adds a file that the server still needs. With too many of them, sandbox_enter() fails. */
void sandbox_allow(struct sandbox *box, const char *path, enum tn_file_use use);

/* The same for all that dialling a URL needs: connecting, its files, names where the host is one. */
void sandbox_allow_url(struct sandbox *box, const char *url);

/*
 * Gives up, for good and for every thread that is started from here on: root, capabilities, new privileges, all files
 * (Landlock; named files are opened by the broker), new sockets, connections, programs, and all else that a server with
 * its sockets does not call (seccomp). What the system does not offer is left out and reported. No capability is kept
 * that is not limited by the rest. Returns STATUS_DONE, or STATUS_FAILED after printing an error: then nothing may be
 * served.
 */
int sandbox_enter(const struct sandbox *box);

/* Ends what it has started. After all servers have been closed. */
void sandbox_leave(void);

/* One line for --version. */
const char *sandbox_version(void);

#endif
