/*
 * The servers of a cluster: those that were given, those that it tells of, and which one is tried next. Pure: time and
 * chance are handed in.
 */
#ifndef TENON_HUB_JOIN_SERVERS_H
#define TENON_HUB_JOIN_SERVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "door.h"

#define JOIN_SERVERS_MAX 64

struct join_server {
	char *url;      /* the library's */
	char *given;    /* as it is told */
	bool secure;    /* over TLS, */
	bool late;      /* which begins when the server has said that it is there */
	bool found;     /* the cluster has told of it */
	bool told;      /* used while that is read again */
	unsigned fails; /* in a row */
	uint64_t out_until_ns;
};

struct join_servers {
	struct join_server list[JOIN_SERVERS_MAX];
	int count;
};

/* Adds one that was given. Both texts are copied. False: there are too many, or no memory. */
bool join_servers_add(struct join_servers *servers, const char *url, const char *given, bool secure, bool late);
void join_servers_free(struct join_servers *servers);

/*
 * What the server `from` tells of the cluster ("host:port"): begin, each, end. Those that it told of before and are not
 * among them any more are forgotten; `from` itself stays. Keys are those of `from`; over TLS the name that is asked for
 * is too. Indexes of others may change with the end; returns that of `from`.
 */
void join_servers_begin(struct join_servers *servers);
void join_servers_found(struct join_servers *servers, int from, struct span place);
int join_servers_end(struct join_servers *servers, int from);

/*
 * Which is tried next: one of those that are not to be left alone at `now_ns`, by `chance`, `not` only if there is no
 * other (-1: any). Returns its index; -1: none before `*wait_ns` have passed.
 */
int join_servers_next(const struct join_servers *servers, int not_this, uint64_t now_ns, uint64_t chance,
		      uint64_t *wait_ns);

/* It has failed: it is left alone for a while, longer each time, by some chance. It has worked. */
void join_servers_failed(struct join_servers *servers, int index, uint64_t now_ns, uint64_t chance);
void join_servers_worked(struct join_servers *servers, int index);
/* It asks to be left alone for so long. */
void join_servers_leave(struct join_servers *servers, int index, uint64_t until_ns);

#endif
