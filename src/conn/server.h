/* A server and its parts: one part per loop, with that loop's listeners and connections. */
#ifndef TNI_CONN_SERVER_H
#define TNI_CONN_SERVER_H

#include "conn/conn.h"
#include "conn/counts.h"
#include "conn/sources.h"
#include "conn/trouble.h"
#include "conn/watch.h"
#include "net/group.h"
#include "net/listen.h"

#include <pthread.h>
#include <stdatomic.h>

#define TNI_LISTENERS_MAX 16

/* So many clients that are turned away are closed with patience at a time. */
#define TNI_REFUSED_MAX 64

struct tni_listener {
	struct tni_fd io;
	struct tni_part *part;
	struct tn_addr addr;
	struct tni_unix_file file;
	char *url;
	uint32_t missed; /* what it has dropped so far while it is handed over: conn/handover.h */
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
	_Atomic(unsigned) nconns; /* those too that other loops are handing over */
	struct tni_counts counts;
	struct tni_timer timer;         /* accepting again after trouble; drain ticks */
	struct tni_timer trouble_timer; /* until more trouble may be told */
	unsigned refused;               /* connections that were turned away and are still closing */
	bool stopped;                   /* nobody is accepted any more */
	bool draining, met_late;
	bool listeners_stay;         /* other servers have them too: conn/sites.h */
	bool handing_over, refusing; /* another process shares its addresses: conn/handover.h */
	uint64_t refuses_from_ns, lingers_until_ns;
	struct tni_least_ttl least_ttl;
	struct tni_post stop_post;    /* tells its loop to stop accepting */
	struct tni_post drain_post;   /* tells its loop that it drains; in parts[0], that the last part has gone */
	_Atomic(bool) closed;         /* other loops hand over no clients any more */
	_Atomic(bool) ended;          /* nothing is posted to its loop any more */
	struct tni_scheme own_scheme; /* of fd:N, whose kind only the descriptor tells */
	uint64_t deadline_ns;
	struct tni_access *access; /* as this part has last seen it; NULL: not yet, or there is none */
	unsigned access_seen;
};

/* Key accept-rate, of all servers whose clients come from one queue (conn/sites.h). */
struct tni_rate {
	_Atomic(unsigned) refs;
	_Atomic(uint64_t) due_ns; /* when the next connection is due */
};

struct tn_server {
	struct tn_handler handler;
	void *arg; /* the handler's */
	struct tni_troubles troubles;
	struct tni_watching *_Atomic watches;
	struct tni_watching first_watch; /* the first of them */
	_Atomic(unsigned) nconns;
	_Atomic(unsigned) max_conns;
	struct tni_sources *sources; /* NULL: each may hold as many as it likes */
	struct tni_rate *rate;       /* of key accept-rate; NULL: there is none */
	_Atomic(int) parts_left;
	_Atomic(int) handing_over;    /* parts whose addresses are being handed over */
	_Atomic(unsigned) steered;    /* how many places of the group have turned out to be no other's */
	_Atomic(bool) home_freed;     /* loops[0] went before the others: nobody is left there to be told */
	bool stopping;                /* tn_server_stop() has been called */
	bool closing;                 /* tn_server_close() has been called */
	bool tls_later, tls_optional; /* tn_server_tls_later() */
	bool background;              /* does not keep its loop running */
	void (*done)(void *arg);
	void *done_arg;
	uint64_t drain_ns;
	pthread_mutex_t creds_lock;
	struct tni_creds *creds;       /* what new connections begin with; NULL: they are not secured */
	struct tni_creds *fresh;       /* read anew, and not in use yet; otherwise NULL */
	struct tni_timer files_timer;  /* on loops[0]: looks whether files have changed */
	struct tni_access *access;     /* keys allow, deny, trust, under creds_lock; NULL: none is given */
	_Atomic(unsigned) access_made; /* how often it has been read */
	int nparts;
	struct tni_part parts[];
};

/* ---- admit.c ---- */

/* One more connection of the server; and one less. False, and told: there are too many. */
bool tni_part_count(struct tni_part *part);
void tni_part_uncount(struct tni_part *part);

/* Whether there is room for one more now: nobody is told. */
bool tni_part_has_room(const struct tni_part *part);

/* One more of a source; and one less. False, and told: it has too many. */
bool tni_part_admit(struct tni_part *part, const struct tn_addr *peer, uint64_t source);
void tni_part_unadmit(struct tni_part *part, uint64_t source);

/* Keys allow and deny. False, and told: this client may not connect. */
bool tni_part_lets_in(struct tni_part *part, const struct tn_addr *client, int fd);

/* Key trust. False, and told: it may send no PROXY headers. */
bool tni_part_trusts(struct tni_part *part, const struct tn_addr *sender);

/*
 * A connection counts under its source as soon as it is known whose it is: at once, unless one of its layers tells that
 * by and by (TNI_ASK_PEER), and then when all layers are open at the latest. 0; TN_ELIMIT or
 * -EACCES, which was told; -ENOMEM.
 */
int tni_conn_admit(struct tn_conn *conn);

/* The same once it is known. */
int tni_conn_admit_now(struct tn_conn *conn);

/* It counts nowhere any more. */
void tni_conn_unadmit(struct tn_conn *conn);

/* A reference to the rate of `other`, or to one of its own where that is NULL. 0 or -ENOMEM. */
int tni_server_share_rate(struct tn_server *server, const struct tn_server *other);
void tni_rate_unref(struct tni_rate *rate);

/* How long nobody is to be accepted now, and that somebody has been: key accept-rate. */
uint64_t tni_part_rate_wait(const struct tni_part *part);
void tni_part_rate_note(const struct tni_part *part);

/* ---- accept.c ---- */

void tni_part_start_accepting(struct tni_part *part);
void tni_part_stop_accepting(struct tni_part *part);
bool tni_part_is_accepting(const struct tni_part *part);
void tni_part_accept_done(struct tni_op *op, int res);

/* A client's descriptor, which it owns from now on. */
void tni_part_take(struct tni_part *part, int fd);

/* The first URL that it listens at, for words. */
const char *tni_part_url(const struct tni_part *part);

/* ---- listeners.c ---- */

/* Opens all listeners of the first part, and those of a further one at the same addresses. 0, or < 0 with detail. */
int tni_part_open(struct tni_part *part);
int tni_part_join(struct tni_part *part, const struct tni_part *first);
void tni_part_close_listeners(struct tni_part *part);

/* ---- reload.c ---- */

/* The lists of addresses as they are now. Only of a server that has some. */
const struct tni_access *tni_part_access(struct tni_part *part);

/* A reference to what a new connection begins with. */
struct tni_creds *tni_server_creds(struct tn_server *server);

/* Looks from now on whether the files of its credentials and lists have changed. */
void tni_server_watch_files(struct tn_server *server);

/* ---- drain.c ---- */

/* Before it is started, when nothing is in flight: its connections end at once, and without a turn of the loop, in
 * which others would be called back from inside tn_serve(). */
void tni_part_undo_conns(struct tni_part *part);

/* A connection of the part has gone. */
void tni_part_conn_gone(struct tni_part *part, struct tn_conn *conn);

/* From its task, and from its timer while it drains. */
void tni_part_check_end(struct tni_part *part);
void tni_part_drain_tick(struct tni_part *part);

/* Its loop is being freed: everything ends at once. */
void tni_part_destroy(struct tni_owned *owned);

/* ---- server.c ---- */

/* Releases what its parts share. */
void tni_server_forget(struct tn_server *server);

/* ---- counts.h ---- */

/* So many messages were put into a connection's queue, which is so long now. */
static inline void tni_conn_count_queued(const struct tn_conn *c, unsigned msgs, size_t queued)
{
	struct tni_part *part = c->part;

	if (!part)
		return;
	tni_count(part, msgs_out, msgs);
	tni_counts_max(&part->counts, TNI_COUNT_OF(queue_peak), queued);
}

#endif
