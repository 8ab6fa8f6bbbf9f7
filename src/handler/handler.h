/*
 * What a served endpoint does: a table of handlers with names, each written on tenon.h alone.
 *
 * A handler has two faces: `stream` for connections of their own (bytes, or packets in order as with unix-seqpacket),
 * `datagrams` for the one connection on which a datagram endpoint hears every sender.
 */
#ifndef TENON_HANDLER_H
#define TENON_HANDLER_H

#include <stdbool.h>
#include <stdint.h>

#include "tenon.h"

struct rlimit;
struct tn_value;

struct handler_spec {
	const char *name;
	const char *argument; /* what stands behind the colon of exec:COMMAND; NULL: none does */
	const char *meaning;
	struct tn_handler stream, datagrams;
};

extern const struct handler_spec handler_echo, handler_ack, handler_discard, handler_chargen, handler_exec;

/* All of them, in the order in which a person wants to read them; NULL past the end. */
const struct handler_spec *handler_at(int index);

/*
 * The handler that `text` (echo, exec:cat -n, ...) names, and its argument, which points into `text` or is NULL: the
 * `arg` of tn_serve(). NULL when there is none; then `*why` is a text for a person, in memory of this thread.
 */
const struct handler_spec *handler_find(const char *text, const char **argument, const char **why);

/* What an endpoint does when nobody says: ack for datagrams, echo for all else. */
const struct handler_spec *handler_default(const char *url);

/* Whether a good URL is a datagram endpoint: one connection, many senders. */
bool handler_is_datagrams(const char *url);

/* Whether what is sent to it can be lost on the way: datagrams, DTLS's too. */
bool handler_is_lossy(const char *url);

/* Whether its socket keeps messages whole, without a frame: datagrams and unix-seqpacket. */
bool handler_is_packets(const char *url);

/* The face that fits the URL. */
const struct tn_handler *handler_face(const struct handler_spec *spec, const char *url);

/* The limit of open files that children are given back when the caller has raised its own. Before the loops run. */
void handler_set_child_files(const struct rlimit *limit);

/*
 * on_bad of the handlers that answer: tells the sender in the endpoint's own format, {"error": "line 1, byte 17: ..."}
 * or, as text, "error: line 1, byte 17: ...". A stream that cannot be told is closed.
 */
void handler_refuse(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg);

/* on_open of handlers that answer datagrams: see answer.c. */
void handler_on_datagrams_open(struct tn_conn *conn, void *arg);

/* Whether a datagram comes from the port of a small service that answers anything. */
bool handler_is_service(const struct tn_msg *msg);

/* Whether a datagram may be answered at all, lest two servers keep each other busy: see answer.c.
 * Streams always may. */
bool handler_may_answer(struct tn_conn *conn, const struct tn_msg *msg);

/*
 * Whether a reply is no longer than `ack: ` and the datagram that it answers, or what its format has for that: a forged
 * address must not be sent more than its forger has sent. This machine's own clients and streams may get any.
 */
bool handler_reply_fits(struct tn_conn *conn, const struct tn_msg *msg, const struct tn_value *reply);

/* Whether it is, or looks like, a reply of ours: one is not replied to. */
bool handler_is_reply(const struct tn_msg *msg);

/*
 * After a reply that could not be made or queued. A stream is ended by a reset: in good order it would tell its peer
 * that this was all there was to say. A datagram is dropped, as networks drop them. `msg` is NULL where nobody had
 * asked.
 */
void handler_unanswered(struct tn_conn *conn, const struct tn_msg *msg, int err);

/* A command of exec: that has ended, or could not be started. */
struct handler_child {
	struct tn_server *server;
	struct tn_conn *refused; /* whose command was not started; NULL: one was */
	uint64_t conn;           /* number of the connection that it was for: tn_conn_id() */
	int pid;                 /* 0: not started */
	int err;                 /* why it was not started: -errno, or TN_ELIMIT: too many run already; 0 */
	int status;              /* its exit status, unless a signal ended it */
	int signal;              /* the signal that ended it, or 0 */
};

/* Who is told of each, once, on the thread of the connection's loop. Before the loops run. */
void handler_watch_children(void (*fn)(const struct handler_child *child));

/* Inside on_close of a stream's connection: whether its command has ended by then, and how. */
bool handler_child_of(const struct tn_conn *conn, struct handler_child *child);

/* How many commands may run at a time in this process (default 128). Before the loops run. */
void handler_limit_children(unsigned max);

/* The time that a command has to end after its client has closed the connection in the ordinary way (default 5 s). */
void handler_set_grace(uint64_t ms);

/* For a process to which orphans fall (PID 1): reaps those that are no commands of ours. From any thread. */
void handler_reap_orphans(void);

/* Ends what handlers have started on this thread and reaps it. After the thread's loop has been freed. */
void handler_finish(void);

#endif
