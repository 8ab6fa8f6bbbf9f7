/* A server and its parts: one part per loop, with that loop's listeners and connections. */
#ifndef TNI_CONN_SERVER_H
#define TNI_CONN_SERVER_H

#include "conn/conn.h"
#include "conn/sources.h"
#include "conn/trouble.h"
#include "net/listen.h"

#include <pthread.h>
#include <stdatomic.h>

#define TNI_LISTENERS_MAX 16

struct tni_listener {
	struct tni_fd io;
	struct tni_part *part;
	struct tn_addr addr;
	struct tni_unix_file file;
	char *url;
};

struct tni_part {
	struct tni_owned owned; /* in loop->owned */
	struct tni_task task;
	struct tn_server *server;
	struct tn_loop *loop;
	struct tni_endpoint *ep;
	struct tni_listener listeners[TNI_LISTENERS_MAX];
	int nlisteners;
	struct tni_list conns;
	unsigned nconns;
	struct tni_timer timer;         /* accepting again after trouble; drain ticks */
	struct tni_timer trouble_timer; /* until more trouble may be told */
	unsigned refused;               /* lingering refused connections */
	bool draining, met_late;
	struct tni_post drain_post;   /* tells its loop that it drains; in parts[0], that the last part has gone */
	_Atomic(bool) ended;          /* nothing is posted to its loop any more */
	struct tni_scheme own_scheme; /* of fd:N, whose kind only the descriptor tells */
	uint64_t deadline_ns;
};

struct tn_server {
	struct tni_user user;
	struct tni_troubles troubles;
	struct tn_watch watch;
	void *watch_arg;
	_Atomic(unsigned) nconns;
	_Atomic(unsigned) max_conns;
	struct tni_sources *sources;     /* NULL: each may hold as many as it likes */
	_Atomic(uint64_t) accept_due_ns; /* when the next connection is due by the key accept-rate */
	unsigned next_part;              /* where the acceptor hands the next connection */
	_Atomic(int) parts_left;
	_Atomic(bool) home_freed; /* loops[0] went before the others: nobody is left there to be told */
	bool closing;             /* tn_server_close() has been called */
	void (*done)(void *arg);
	void *done_arg;
	uint64_t drain_ns;
	pthread_mutex_t creds_lock;
	struct tni_creds *creds;      /* what new connections begin with; NULL: they are not secured */
	struct tni_timer creds_timer; /* on loops[0]: looks whether the files have changed */
	int nparts;
	struct tni_part parts[];
};

/* A reference to what a new connection begins with. */
struct tni_creds *tni_server_creds(struct tn_server *server);

/* Counts one more connection, unless there are too many, or too many of its source, which is told of. */
bool tni_part_admit(struct tni_part *part, const struct tn_addr *peer, uint64_t source);
void tni_part_unadmit(struct tni_part *part, uint64_t source);

/* How long nobody is to be accepted now, and that somebody has been: key accept-rate. */
uint64_t tni_part_rate_wait(const struct tni_part *part);
void tni_part_rate_note(const struct tni_part *part);

/* A connection of the part has gone. */
void tni_part_conn_gone(struct tni_part *part, const struct tn_conn *conn);

#endif
