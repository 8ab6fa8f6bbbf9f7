/* What the files of this folder share: which servers there are, and how each page is written. */
#ifndef TENON_ADMIN_TOLD_H
#define TENON_ADMIN_TOLD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "http/http.h"
#include "tenon.h"

/* Upper bounds of the histograms, the last of which is without a bound. */
#define LIFE_BOUNDS 10
#define SIZE_BOUNDS 8

struct text;

struct told {
	struct tn_server *server; /* NULL: it has ended */
	pthread_mutex_t lock;     /* held while a loop reads its connections, and when it ends */
	const char *handler;
	bool is_one;           /* its socket is its one connection: datagrams */
	struct tn_counts last; /* when it was last asked */
	/* Connections that have closed: how long they lasted, and how many bytes they carried, both ways together. Each
	 * loop adds to them. */
	_Atomic(uint64_t) lives[LIFE_BOUNDS + 1], sizes[SIZE_BOUNDS + 1], life_ns, bytes;
	char url[384];
};

struct admin {
	const char *command;
	const struct admin_more *more;
	struct told **list;
	int count, room;
	uint64_t started_ns, started_utc_ns;
	bool ready, draining;
	uint64_t slow; /* readers of /events that were cut */
};

extern struct admin admin;

/* Its counters, also when it has ended: those of `last`. */
const struct tn_counts *told_count(struct told *told);

/* A connection of the server has closed. From any loop. */
void told_note(struct told *told, const struct tn_conn *conn);

/* /metrics */
void metrics_write(struct text *out, bool open);

/* /status: an object, without its last brace. */
void status_write(struct text *out);

/* /connections: all loops are asked, and the answer follows. `conn` waits for it. */
void connections_answer(struct tn_conn *conn, const struct http_request *request);

void connections_forget(const struct tn_conn *conn); /* who asked has closed */
void connections_closed(const struct tn_conn *conn); /* one that may be being told of has closed. On its loop */
void connections_stop(void);

/* /events: from now on the connection gets them. */
void stream_begin(struct tn_conn *conn);
void stream_forget(const struct tn_conn *conn); /* it has closed */
void stream_stop(void);

/* / */
void page_answer(struct tn_conn *conn, const struct http_request *request);

#endif
