/* What a relay reports: its listeners, the end of each session if asked for, and targets that fail and return. */
#ifndef TENON_RELAY_EVENTS_H
#define TENON_RELAY_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chaos/chaos.h"
#include "common/credentials.h"
#include "common/outcome.h"

struct tn_conn;
struct tn_msg;
struct tn_server;

/* Who ended a session. */
enum side { SIDE_NONE, SIDE_CLIENT, SIDE_TARGET, SIDE_RELAY };

/* A target that was tried. */
struct attempt {
	char *url, *error; /* error NULL: it was reached */
	uint64_t ns;       /* how long that took */
};

/* What is told of a session. One that is not told has none. */
struct record {
	uint64_t id, started_utc_ns, started_ns;
	const char *url;               /* of the listener, the caller's */
	char *asked, *protocol, *user; /* host:port that a proxy's client has asked for, how, and who; or NULL */
	bool udp;                      /* of a proxy: for datagrams */
	char *client, *local;          /* the client's address, and ours that it came to */
	struct credentials client_is, target_is;
	char *target, *from; /* the address of the target that was reached, and ours; NULL: none was */
	char *via;           /* the proxies on the way to the target; NULL: none */
	struct attempt *attempts;
	size_t nattempts;
	uint64_t tried_ns;                               /* loop clock: the current attempt began */
	uint64_t handshake_ns;                           /* of the one that was reached: 0: none was needed */
	uint64_t first_ns;                               /* after so long the target's first byte came; 0: none has */
	uint64_t bytes_in, bytes_out, msgs_in, msgs_out; /* from the client, and to it */
	unsigned paused;                                 /* how often a side had to wait for a limit */
	uint64_t lost;                                   /* datagrams, in either direction */
	bool has_faults;                                 /* --chaos: what has happened to its messages */
	struct chaos_counts faults;
	bool runs;              /* the target is a program, */
	struct outcome outcome; /* which has ended so */
	enum side by;
	int err;
	char *why; /* NULL: in good order */
};

/* A record of a session that begins now. `msg`: of a client over datagrams, what it has said; otherwise NULL. NULL:
 * none is wanted, or there is no memory. */
struct record *record_new(const struct tn_conn *client, const char *url, const struct tn_msg *msg);

/* What the client of a proxy has asked for. */
struct tn_asked;
void record_asked(struct record *record, const struct tn_asked *asked);

/* Both ends are known from here on. Each may be called with a record that is NULL. */
void record_trying(struct record *record, const char *url, uint64_t now_ns);
void record_failed(struct record *record, const char *why, uint64_t now_ns);
void record_reached(struct record *record, const struct tn_conn *target, uint64_t now_ns);

/*
 * Who looks on at it, if anybody does: begun where record_new() is, ended before record_tell(). `datagrams`: the client
 * has them, secured or not; `messages`: have bounds.
 */
struct tap;
struct tap *record_begin_tap(const struct record *record, bool datagrams, bool messages, const struct tn_conn *client,
			     const struct tn_msg *msg);
void record_end_tap(const struct record *record, struct tap *tap);

void record_faults(struct record *record, struct chaos_counts counts);

/* Notes who ended it, why, and tn_errmsg(), unless that is known already. */
void record_end(struct record *record, enum side by, int err, const char *why);

/* How the target has ended, if it was a program. In its on_close. */
void record_program(struct record *record, const struct tn_conn *target);

/* Tells it, and frees it. NULL is allowed. */
void record_tell(struct record *record, uint64_t now_ns);

/* A listener with its real address, and what it does. */
void report_listening(struct tn_server *server, const char *handler);

/* Has the library's troubles told. Before the loops run. */
void report_watch(struct tn_server *server);

/* A target is left out from now on, or is used again. From any thread. */
void report_target(const char *url, bool works, const char *why);

#endif
