/*
 * Whole scenarios, drawn from a seed: servers of several schemes that answer, answer late, relay, publish or discard;
 * clients that send, pause, half-close, close, reset; servers that are told to stop; loops, threads, posts.
 *
 * A plan is drawn before anything runs (plan.c). Every part of it can be cut out by its number without changing the
 * others, so that a failure can be made smaller and replayed. world.c plays a plan. side.c is the program that a user
 * of the library would write. model.c says what each side may have seen, by the promises of tenon.h alone.
 */
#ifndef TENON_TESTS_COMPOSE_COMPOSE_H
#define TENON_TESTS_COMPOSE_COMPOSE_H

#include "../support/seeded.h"
#include "tenon.h"

#include <pthread.h>

/* COMPOSE_OLD: for tenon 0.1.0, which has none of these. It shows that the faults of that version are noticed. */
#ifdef COMPOSE_OLD
#define tn_conn_hold(conn) ((void)(conn))
#define tn_conn_release(conn) ((void)(conn))
#define SET_ON_CUT(handler, fn) ((void)(fn))
struct tn_pass {
	int (*msg)(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, void *arg);
	int (*room)(struct tn_conn *from, struct tn_conn *to, void *arg);
	void (*end)(struct tn_conn *from, struct tn_conn *to, void *arg);
	void (*cut)(struct tn_conn *from, struct tn_conn *to, void *arg);
};
#define tn_join(a, b) (-1)
#define tn_flow(from, to, pass, arg) ((void)(pass), -1)
#define HAVE_JOIN false
#define HAVE_HOLD false
#define HAVE_TLS_MAX false
#else
#define SET_ON_CUT(handler, fn) ((handler)->on_cut = (fn))
#define HAVE_JOIN true
#define HAVE_HOLD true
#define HAVE_TLS_MAX true
#endif

#if defined(TNI_HAVE_RECONNECT) && !defined(COMPOSE_OLD)
#define HAVE_RECONNECT 1
#define SET_ON_LOST(handler, fn) ((handler)->on_lost = (fn))
#else
#define HAVE_RECONNECT 0
#define SET_ON_LOST(handler, fn) ((void)0)
#endif

enum trait {
	PACKETS = 1, /* keeps messages whole without a frame */
	DGRAM = 2,   /* a server is one connection */
	SECURE = 4,
	LOSSY = 8, /* messages may be lost */
	LOCAL = 16,
	PAIR = 32, /* an inherited descriptor: one connection */
	TCP = 64,  /* who is cut off is told so */
	MPTCP = 128,
};

struct scheme {
	const char *name, *place; /* "tcp://", "127.0.0.1:0" */
	unsigned traits, weight;
};

struct frame {
	const char *name;
	bool letters; /* carries letters only */
};

enum behaviour {
	DISCARD,
	ECHO,
	FORWARD, /* an echo by tn_forward() */
	LATE,    /* an echo by a timer */
	WORKER,  /* an echo that another loop has computed */
	PUBLISH, /* to all connections of the server on this loop */
	RELAY,   /* to another server, and back */
	ONCE,    /* one reply, long perhaps, and tn_close(), whatever the client still says */
	NBEHAVIOURS
};

/* How a relay passes on what comes. */
enum way {
	BY_HAND,  /* by tn_forward(), tn_pause() and on_drain */
	FLOWS,    /* by two paths with functions of its own, which are told of every message */
	HESITANT, /* the same; what does not go out at once is kept back, and sent when there is room */
	JOIN,     /* by tn_join(), as soon as the first message says who speaks; by two flows where they are unlike */
	NWAYS
};

enum at_end { END_NOTHING, END_FINISH, END_CLOSE };

/* What a side does inside on_msg, once, at a message that is drawn; beside what it does with each. */
enum at_msg { MSG_NOTHING, MSG_PAUSE, MSG_FINISH, MSG_CLOSE, MSG_ABORT, MSG_STOP, MSG_STOP_NOW };

struct trick {
	enum at_msg what;
	unsigned nth; /* from 1 */
};

#define NODES_MAX 5
#define CLIENTS_MAX 6
#define STEPS_MAX 28
#define LOOPS_MAX 3

struct node {
	bool on;
	const struct scheme *scheme;
	const struct frame *frame;
	enum behaviour behaviour;
	unsigned target; /* of a relay: another node, before it in the list */
	enum way way;
	unsigned loop;
	bool spread; /* over all loops */
	bool deaf;   /* without on_end */
	bool on_cut;
	enum at_end at_end;
	unsigned max, queue, small; /* keys; 0: the default */
	unsigned delay_ms;
	unsigned greets; /* messages that it sends in on_open */
	unsigned len;    /* of these, and of the reply of ONCE */
	struct trick trick;
	unsigned limit; /* of connections; 0: none */
	bool hurry;     /* it has little time to send what is queued at the end */
	bool old_tls;
	unsigned idle_ms; /* key idle; 0: it has none */
	bool text;        /* key format: what is not UTF-8 is bad, */
	bool bad_closes;  /* and closes the connection */
};

struct client {
	bool on;
	unsigned node, loop;
	bool deaf, on_cut, hasty; /* hasty: what is refused is dropped, and it does not wait for on_drain */
	enum at_end at_end;
	bool closes;         /* in the end, instead of tn_finish() */
	unsigned first, len; /* messages that it sends when it dials */
	enum at_end then;    /* what follows them at once */
	struct trick trick;
	unsigned redials; /* so often, from its on_close */
	bool reconnects;  /* by key reconnect, in place of that */
	bool hurry;
	bool prepared; /* it dials with an endpoint */
	unsigned max, queue;
	unsigned idle_ms;
};

enum deed {
	DIAL,
	SEND,     /* count messages of up to len bytes */
	SEND_BIG, /* one that the server refuses */
	PAUSE,
	RESUME,
	FINISH,
	CLOSE,
	ABORT,
	SERVED_PAUSE, /* all connections of a server */
	SERVED_RESUME,
	SERVED_HOLD,
	SERVED_RELEASE,
	SERVED_SEND,
	SERVED_FINISH, /* one of them */
	SERVED_CLOSE,
	SERVED_ABORT,
	STOP,     /* a server, with time to drain */
	STOP_NOW, /* with nearly none */
	WAIT,
	RUN,      /* what was posted before tn_loop_stop() is called */
	LEAVE,    /* a client aborts as the last thing that its loop does */
	POLLS,    /* two polls of one descriptor */
	WATCH,    /* a poll of a client's own descriptor */
	RELOAD,   /* a server's certificates */
	STRANGER, /* a socket of nobody's program: it connects, says something, and leaves */
	CALL,     /* tn_call(): a request and its reply */
	BARE_FIN, /* a client's socket ends without the word of its layer */
	NDEEDS
};

struct step {
	bool on;
	enum deed deed;
	unsigned who; /* a client, a node, a loop */
	unsigned count, len, ms;
	bool posted;
};

struct plan {
	uint64_t seed;
	unsigned nloops, nnodes, nclients, nsteps;
	bool threads, letters;
	bool freed;    /* the loops are freed while all lives */
	bool embedded; /* the loops run inside another one, which steps them by the rule of tenon.h */
	struct node nodes[NODES_MAX];
	struct client clients[CLIENTS_MAX];
	struct step steps[STEPS_MAX];
};

/* Parts of a plan that were taken away, by their numbers. */
#define CUTS_MAX 512
struct cuts {
	bool cut[CUTS_MAX];
};

/* ---- plan.c ---- */

void plan_draw(struct plan *p, uint64_t seed, const struct cuts *cuts);
void plan_print(const struct plan *p);
bool plan_same(const struct plan *a, const struct plan *b);
void plan_probe(void); /* which schemes the system has */

/* ---- world.c ---- */

/* Bytes that one side has sent or received, and how they were cut into messages. */
struct log {
	unsigned char *bytes;
	size_t len, cap;
	uint32_t *lens;
	size_t n, cap_n;
};

struct answer {
	struct answer *next;
	struct side *side;
	struct tn_timer *timer;
	bool due;
	size_t len;
	unsigned char data[];
};

struct side {
	unsigned nth, loop;
	char name[40];
	const struct node *node;
	const struct client *client; /* NULL: served, or a relay's */
	unsigned node_nth;
	bool dialled;
	unsigned redials;
	struct tn_poll *watch;
	struct tn_conn *conn;
	struct side *mate;       /* of a relay: the other one */
	bool flows, joined;      /* with it; joined: what comes is not seen */
	struct side *pair;       /* the other end, once it is known */
	struct log out, in;      /* what tn_send() has accepted; what on_msg told */
	size_t max, queue, room; /* room: the most that may be queued */
	bool deaf, on_cut, framed;

	/* the program's own state */
	unsigned seq, to_send, send_len;
	bool full, hasty, finish_wanted, close_wanted;
	struct answer *answers;
	unsigned nanswers, holds;

	/* what was told */
	unsigned opens, ends, cuts, closes, drains, bads;
	int err;
	char words[200];

	/* what the program did */
	unsigned paused; /* enum pause */
	bool finished, closed, closed_before_end, aborted, freed, owes_drain, estate;
	bool bare; /* its socket has ended without a close_notify */
	int abort_err;
	int passed;          /* the error of the mate, or of the path, that ends this one too */
	bool passed_close;   /* the mate's end in good order closes this one too */
	unsigned char *kept; /* HESITANT: a message to the mate */
	size_t kept_len;
	bool lost_kept;          /* it closed with one */
	unsigned refused_act;    /* world.act when tn_send() last said TN_EFULL */
	size_t sent_before_stop; /* bytes that the kernel had taken when the server was told to stop */
};

enum pause { PAUSED_BY_STEP = 1, PAUSED_BY_RELAY = 2 };

#define SIDES_MAX 64

struct served {
	struct tn_server *server;
	char url[512];
	unsigned nth;
	bool stopped, hurried; /* tn_server_close(), with nearly no time */
	unsigned done, strangers;
	unsigned opens, closes;              /* what its observer was told */
	const struct tn_conn *on[LOOPS_MAX]; /* the connection that is told of next, on each loop */
	int pair[2];
};

struct world {
	const struct plan *plan;
	const char *engine;
	bool told, real; /* real: a kernel that nobody bends */
	char dir[64];
	struct tn_loop *loops[LOOPS_MAX];
	bool parked[LOOPS_MAX], freed[LOOPS_MAX];
	struct tn_timer *keepers[LOOPS_MAX];
	struct served served[NODES_MAX];
	struct side *sides[SIDES_MAX];
	unsigned nsides, act, posted, called;
	struct side *by_client[CLIENTS_MAX];
	bool quit, winding_up;
	unsigned running;
	char wrong[1024];
	uint64_t patience_ms;
};

extern struct world world;

/* Held by whoever runs the program's own code: callbacks, steps, the driver's looks. The library is not under it. */
void lock(void);
void unlock(void);

void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Plays a plan; what was wrong with it is in world.wrong. */
void world_play(const struct plan *p, const char *engine, const char *dir, bool told, uint64_t patience_ms);

/* Calls fn(arg) on a loop, under the lock. */
void world_post(unsigned loop, void (*fn)(void *arg), void *arg);

/* Tells a server to stop, from its own loop. */
void world_stop(unsigned node, bool now);

/* The URL with the keys of one side. */
void world_url(const char *url, const struct node *n, const struct client *c, char *out, size_t cap);

/* What the observer was told right before is about this connection. */
void world_watched(unsigned node, const struct tn_conn *conn);

/* ---- side.c ---- */

struct side *side_new(unsigned node, const struct client *client, bool dialled);
struct tn_handler side_handler(bool deaf, bool on_cut);
void side_dial(struct side *s);
void side_send(struct side *s, unsigned count, unsigned len);
void side_send_one(struct side *s, unsigned len);
void side_finish(struct side *s);
void side_close(struct side *s);
void side_abort(struct side *s, int err);
void side_pause(struct side *s, enum pause why);
void side_resume(struct side *s, enum pause why);
void side_hold(struct side *s);
void side_release(struct side *s);
void side_watch(struct side *s);
void side_end_barely(struct side *s);
void side_wind_up(struct side *s);
void side_print(const struct side *s);
void side_free(struct side *s);

/* ---- model.c ---- */

/* Whether a side is known to be the other end of another: by what came first. */
void model_pair(struct side *served);

/* What can be said at once, as a message comes; and in the end. */
void model_message(struct side *s, const void *data, size_t len);
void model_end(struct side *s);
void model_check(void);

#endif
