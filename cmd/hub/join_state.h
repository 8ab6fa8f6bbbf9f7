/*
 * What the parts of --join share: join (what was given, and the whole), join_link (the connections to a server),
 * join_up (what goes to the cluster) and join_down (what is wanted from there, and what comes). One of it in a process,
 * on the first loop.
 */
#ifndef TENON_HUB_JOIN_STATE_H
#define TENON_HUB_JOIN_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "door.h"
#include "join_interest.h"
#include "join_numbers.h"
#include "join_queue.h"
#include "join_servers.h"
#include "tenon.h"

struct nats_line;

#define JOIN_TICK_NS (50 * NS_PER_MS)
#define JOIN_LOCALS_MAX 64
#define JOIN_NUMBER "Tenon-Number"
#define JOIN_PUBLISHER 16 /* letters of the hub's id, which are its name there */

/* A connection to the server. */
struct link {
	struct tn_conn *conn;
	bool groups;  /* the one by which queue groups get theirs */
	bool greeted; /* INFO has come, and CONNECT has gone */
	bool up;      /* that was answered */
	bool paused;
	uint64_t pings, pongs;
	uint64_t asked_ns, heard_ns;
	uint64_t fence; /* nothing goes up before so many pongs */
};

/* A request on its way: its reply topic's hash, and whether it has been taken here. */
struct request {
	uint64_t nth, reply;
	bool taken;
};

struct join {
	char *locals[JOIN_LOCALS_MAX];
	int nlocals;
	struct tn_loop *loop;
	struct tn_timer *timer;
	struct join_servers servers;
	struct join_interest interest;
	struct join_queue queue;
	struct join_numbers given, seen;
	struct link plain, groups;
	int at;            /* the server; -1: none */
	uint64_t since_ns; /* it was dialled */
	uint64_t next_ns;  /* when one is dialled, while none is there */
	bool up, soon, leaving, full_told, lame, over;
	char why[256];   /* what the server has complained of last */
	char server[64]; /* its name */
	size_t payload;  /* it takes; 0: not known */
	bool headers;
	/* Messages and bytes that have gone up: all, those that an answer was asked behind, and those answered. */
	uint64_t sent, asked, confirmed, sent_bytes, asked_bytes, confirmed_bytes;
	uint64_t nth; /* messages that were put into the queue */
	struct request *requests;
	size_t first_request, nrequests, requests_cap;
	uint64_t gap_told_ns, gap_untold, refused_told_ns;
	void (*done)(void);
	uint64_t until_ns;
	struct {
		uint64_t up, down, dropped, refused, unconfirmed, missed, gaps, repeated, looped, joins;
	} n;
};
extern struct join join;

static inline uint64_t join_now(void)
{
	return tn_loop_now(join.loop);
}

/* join_link.c */

uint64_t join_chance(void);
/* The next look at everything: in so many nanoseconds; soon while something is expected. */
void join_arm(uint64_t in_ns);
void join_look_soon(void);
void join_on_tick(void *arg);
void join_say(struct link *link, const char *data, size_t len);
/* PING: its answer confirms all that went before it. On the plain connection one at a time: nothing, while one is
 * there without an answer. */
void join_ask(struct link *link);
bool join_is_late(const struct link *link);
/* The server has gone, or is left: what was under way is lost, maybe. */
void join_part(bool gone);
/* Calls join.done() when all has been confirmed, or its time is over. */
void join_check_finished(void);
/* The login's file can be used. Returns why not, or NULL. */
const char *join_login_check(void);

/* join_up.c; goes, take, flush: struct outside */

bool join_is_local(struct span topic);
bool join_goes(struct span topic);
void join_take(const struct message *m);
void join_flush(void);
/* Sends what waits, as far as the window reaches. */
void join_pump(void);
/* An answer has come: what was sent before it was asked for has arrived. */
void join_confirm(void);
/* Nobody there has a request with this reply topic. Whether it has been taken here. */
bool join_was_taken(struct span reply);
/* A message, or a subscription, that one side does not take: counted, and told now and then. */
void join_refused(const char *what, struct span topic);

/* join_down.c; wants: struct outside */

void join_wants(struct span pattern, struct span group, bool more);
void join_subscribe_all(struct link *link);
/* A message of the cluster, for those who want it here. */
void join_bring(const struct link *link, struct nats_line *line);

#endif
