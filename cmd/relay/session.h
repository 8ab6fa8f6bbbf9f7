/* A session: a client's connection and one to a target, joined. */
#ifndef TENON_RELAY_SESSION_H
#define TENON_RELAY_SESSION_H

#include <stdbool.h>

#include "chaos/chaos.h"
#include "tenon.h"

/* What is served. All threads read it. */
struct listener {
	struct tn_server *server;
	char *url; /* its first, with the real address */
	bool datagrams, over;
	bool messages; /* have bounds */
	enum chaos_carries carries;
	bool packets;                                       /* each is a datagram, secured or not */
	bool closes_at_bad;                                 /* key bad */
	bool asks;                                          /* a proxy: a session goes where its client asks for */
	bool peeks;                                         /* a session gets its targets by its first bytes */
	struct targets *targets;                            /* NULL: those of the plan */
	struct faults_source *faults;                       /* NULL: none */
	void (*closed)(struct listener *listener, int err); /* one of its connections has been, for this reason */
	/* Of one that may go while the relay runs; it has one loop. NULL: it does not. */
	void (*left)(struct listener *listener); /* no session is left */
	unsigned sessions;
};

/* On the loop of a listener that has one: its sessions look whether other faults are in force; they end. */
void sessions_look(struct listener *listener);
void sessions_end(struct listener *listener, const char *why);

/* What a stream listener does; its argument is the listener. */
extern const struct tn_handler session_handler;

/* The same of a datagram socket: datagrams.c. */
extern const struct tn_handler datagrams_handler;

#endif
