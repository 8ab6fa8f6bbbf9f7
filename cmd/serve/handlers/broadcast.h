/* The handler broadcast: its rule for slow clients, and what it tells. */
#ifndef TENON_HANDLER_BROADCAST_H
#define TENON_HANDLER_BROADCAST_H

#include <stdbool.h>
#include <stdint.h>

struct tn_conn;

/* A client that reads too slowly. */
struct handler_slow {
	struct tn_conn *conn;
	const char *event; /* slow, caught up, cut */
	const char *peer;  /* of datagrams: which of the senders; otherwise NULL */
	const char *why;   /* of cut; otherwise NULL */
	uint64_t dropped;  /* messages that it has missed so far */
};

/* Sets who is told of each, on the thread of the connection's loop. Before the loops run. */
void handler_watch_slow(void (*fn)(const struct handler_slow *slow));

/* Whether a client that reads too slowly is cut off; otherwise it misses messages. Before the loops run. */
void handler_cut_slow(bool cut);

/* What has been said and heard so far. From any thread. */
struct handler_heard {
	uint64_t said;    /* messages of clients */
	uint64_t heard;   /* copies that were queued for others */
	uint64_t dropped; /* copies that were not */
	uint64_t cut;     /* clients that were cut off */
};
void handler_heard(struct handler_heard *heard);

#endif
