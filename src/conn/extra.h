/*
 * What few connections have: a path to another one (join.c), somebody who waits for what was sent (extra.c), a handle
 * (handle.c), a handler of its own (handler.c). What it is called with is not its own, but a role that many share.
 */
#ifndef TNI_CONN_EXTRA_H
#define TNI_CONN_EXTRA_H

#include "conn/conn.h"
#include "conn/handle.h"
#include "io/pipes.h"

struct tni_wait;

/* Whom the pump calls for such a connection. Many have the same one: conn/dialler.h. */
struct tni_role {
	struct tn_handler handler; /* the user's, and what stands in its place */
	struct tn_handler user;
	struct tn_pass pass; /* of what comes from it */
	unsigned refs;       /* 0: it is there for ever */
};

/* What even fewer have. */
struct tni_seldom {
	struct tni_pipe *pipe; /* of a sink: what comes without passing through this process; or NULL */
	struct tni_wait *waits;
#ifdef TNI_HAVE_RECONNECT
	struct tni_again *again;         /* key reconnect */
	struct tni_heartbeat *heartbeat; /* key heartbeat */
#endif
#ifdef TNI_HAVE_FILES
	struct tni_exec *exec; /* of a program */
#endif
	struct tn_handle *handle; /* what other threads have of it; NULL: nothing */
	struct tni_timer timer;   /* looks what the peer has acknowledged */
	struct tn_conn *conn;
#ifdef TNI_HAVE_TAPS
	void (*tap)(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err, void *arg);
	void *tap_arg;
#endif
};

/* With the flow that it is the source of: what comes from it goes to another one. */
struct tni_extra {
	const struct tni_role *role;
	struct tni_seldom *seldom; /* NULL: it has nothing of that */
	struct tn_conn *from;      /* it is the sink of what comes from there; NULL: of nothing */
	struct tn_conn *to;        /* of the flow, as all below; NULL: what comes is dropped */
	void *arg;                 /* role->pass's */
	uint64_t first_ns;         /* the first of it was passed on; 0: nothing was */
	int16_t big;               /* how many in a row */
	uint8_t small;
	bool source : 1;      /* there is a flow */
	bool kept : 1;        /* role->pass.room() is to be called */
	bool failed : 1;      /* what still comes is dropped */
	bool splices : 1;     /* it is read into the pipe of the sink */
	bool unfit : 1;       /* splice(2) is not for these two */
	bool nonblocking : 1; /* O_NONBLOCK was set for splice(2) */
};

static inline struct tni_extra *tni_extra_of(const struct tn_conn *conn)
{
	return conn->flags & TNI_EXTRA ? conn->extra : NULL;
}

/* The same where there is one for certain. */
static inline struct tni_extra *tni_extra_in(const struct tn_conn *conn)
{
	return conn->extra;
}

static inline struct tni_seldom *tni_seldom_of(const struct tn_conn *conn)
{
	return conn->flags & TNI_EXTRA ? conn->extra->seldom : NULL;
}

static inline const struct tn_handler *tni_conn_handler(const struct tn_conn *conn)
{
	return conn->flags & TNI_EXTRA ? &conn->extra->role->handler : conn->handler;
}

/* Each is made if there is none. NULL without memory. */
struct tni_extra *tni_extra_get(struct tn_conn *conn);
struct tni_seldom *tni_seldom_get(struct tn_conn *conn);

/* A role of this connection's loop: a reference. NULL without memory. */
const struct tni_role *tni_role_get(const struct tn_conn *conn, const struct tni_role *wanted);

/* Another role in the place of the present one, with its reference. */
void tni_extra_take(struct tni_extra *extra, const struct tni_role *role);

/* The connection has been closed, and everybody told of it. */
void tni_extra_free(struct tn_conn *conn);

/* Who waits is told that it will not be, for `err`, or because it was closed. */
void tni_extra_end_waits(struct tn_conn *conn, int err);

/* Who waits is not told. */
void tni_extra_drop_waits(struct tn_conn *conn);

/* From the task, at its end: who waits is told. */
void tni_extra_run(struct tn_conn *conn);

/* Somebody still waits for what was sent: it does not close by itself. */
bool tni_extra_is_awaited(const struct tn_conn *conn);

/* Somebody still waits for what was sent, or feeds this connection: it is not quiet, nor does it close at its end. */
bool tni_extra_is_owed(const struct tn_conn *conn);

/* Bytes that are in the pipe. */
static inline size_t tni_extra_piped(const struct tn_conn *conn)
{
	const struct tni_seldom *s = tni_seldom_of(conn);

	return s && s->pipe ? s->pipe->len : 0;
}

/* ---- paths: join.c ---- */

/* Makes `handler` of the user's, with what paths put in its place. */
void tni_join_handle(struct tni_role *role, bool source, bool sink);

/* The user's handler is not called any more. What `pass` would still do is not done either: there is no memory. */
void tni_join_forget(struct tni_extra *extra);

/* What is armed to read: TNI_OP_RECV, or TNI_OP_SPLICE_IN into that pipe. */
enum tni_op_kind tni_join_read_kind(const struct tn_conn *conn);
/* What is armed to read is not that any more. */
bool tni_join_reads_otherwise(const struct tn_conn *conn);

struct tni_pipe *tni_join_pipe(const struct tn_conn *conn);

/* A SPLICE_IN has ended with a result other than 0. Returns it if it is an error of the connection; otherwise 0. */
int tni_join_filled(struct tn_conn *conn, int res);

/* A SPLICE_OUT has ended. Returns `res` if it is an error of the connection; otherwise 0. */
int tni_join_emptied(struct tn_conn *conn, int res);

/* Something has gone out: a source that is held back for this sink has not been idle. */
void tni_join_moved(struct tn_conn *conn);

/* The queue is at its mark: what feeds it is held back. */
void tni_join_full(struct tn_conn *conn);

/* Somebody looks on: what passes comes into this process from now on. */
void tni_join_tapped(struct tn_conn *conn);

/* Nothing goes out any more: what is in the pipe is dropped. */
void tni_join_mute(struct tn_conn *conn);

#endif
