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
	void (*closed)(struct listener *listener, int err); /* one of its connections has been, for this reason */
};

/* What a stream listener does; its argument is the listener. */
extern const struct tn_handler session_handler;

/* The same of a datagram socket: datagrams.c. */
extern const struct tn_handler datagrams_handler;

#endif
