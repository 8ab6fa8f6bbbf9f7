/*
 * One script on one engine: a world of a loop, a server and those who dial it, and all that was told of them.
 *
 * A script is drawn from its seed by the one who plays it, never from inside a callback, so that it is the same on
 * every engine. What it leaves behind is an account in words, which must be the same as well. What may differ between
 * two sound engines stays out of the account:
 *
 * - where the bytes of an unframed stream are cut: each piece is compared with what the other side has said from that
 *   place on, and counted as bytes; messages that keep their bounds (frames, packets, datagrams) are compared as such;
 * - what happens on different connections, or at both ends of one, at the same time: each end has its own account, and
 *   the script waits for both before it goes on (settle());
 * - what was on its way when a script cuts a connection off: of that side it is known only that what came is the
 *   beginning of what was said (`loose`), and that the reason is one of few. The same goes for how often a queue that
 * others empty meanwhile was at its mark.
 */
#ifndef TENON_TESTS_DIFFERENTIAL_WORLD_H
#define TENON_TESTS_DIFFERENTIAL_WORLD_H

#include "../support/seeded.h"
#include "tenon.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trait {
	PACKETS = 1, /* keeps messages whole */
	DGRAM = 2,   /* no connections */
	RESETS = 4,  /* who is cut off is told so */
	SECURE = 8,
	LOSSY = 16, /* DTLS */
	UNIX = 32,  /* dialled by a path */
	PORT = 64,
};

struct stack {
	const char *scheme, *place; /* "tcp://", "127.0.0.1:0"; %s is the directory */
	unsigned traits;            /* enum trait */
	unsigned weight;            /* how often it is drawn */
};

struct frame {
	const char *name;
	size_t max;   /* longest message; 0: any */
	bool letters; /* carries letters only */
	bool empty;   /* carries empty messages */
	size_t fixed; /* every message is so long */
};

/* What a side has said, from the first byte on. */
struct stream {
	unsigned char *bytes;
	size_t len, cap;
	uint32_t *lens; /* of each message */
	size_t nmsgs, cap_msgs;
	bool finished; /* its end is to be told */
};

/* What a side does in a callback. */
enum deed { NOTHING, SAY, FINISH, CLOSE, SAY_AND_CLOSE, ABORT, FORWARD, REPLY, REPLYV, PAUSE };

#define ABORTED (-ECANCELED - 1000) /* what scripts abort with: no code of anybody's */
#define ERRS_MAX 6

struct side {
	struct world *world;
	char name[24];
	bool served;
	struct tn_conn *conn;      /* NULL before and after */
	const struct stream *from; /* what is to come here; NULL: not looked at */
	struct stream out;
	enum deed at_open, at_msg, at_end;
	size_t say_len;
	unsigned pauses; /* that at_msg still makes */
	struct tn_timer *resume;

	/* What was told. */
	size_t in; /* bytes */
	unsigned msgs;
	int opens, ends, closes, err, drains;
	uint64_t answers; /* tn_send()'s, mixed */
	char words[320];  /* tn_errmsg() in on_close */
	struct tn_conn_info info;

	/* What the script knows. */
	bool paused;     /* nothing may come */
	bool over;       /* it has closed or aborted it: nothing but on_close may come */
	bool ending;     /* in on_end */
	bool cut;        /* the last message was only a part of one */
	bool owes_drain; /* the queue was at its mark since all was settled */
	int opens_due;   /* -1: it may be */
	int ends_due, drains_due;
	bool closes_due;
	int errs[ERRS_MAX], nerrs; /* one of these ends it */
	bool loose, drains_loose;
	bool stray; /* nobody knows anything of it */
};

#define SIDES_MAX 16

struct world {
	bool filled; /* a queue was full: when the kernel has no room is its own matter, and the script says less */
	const char *engine;
	uint64_t seed, random;
	bool trace;
	const struct stack *stack;
	const struct frame *frame;
	bool framed;  /* messages keep their bounds */
	bool deaf[2]; /* the dialled sides, the served: without on_end, so that the library closes for them */
	struct tn_loop *loop;
	struct tn_server *server;
	int server_done;
	unsigned troubles[2]; /* that the server told of: silence, nonsense */
	char keys[256], url[512];
	struct side sides[SIDES_MAX];
	int nsides;
	struct side *awaited; /* the side that the next connection of the server's is */
	int strays;           /* those that nobody awaits */
	char account[16384];
	size_t account_len;
	char wrong[1024]; /* the first thing that was not as it should be */
};

/* Where socket files and certificates are. */
extern char world_dir[64];

/* Milliseconds that nothing takes but a hang. */
#define PATIENCE_MS 20000

/* ---- world.c: the account, the sides ---- */

uint64_t below(struct world *w, uint64_t n); /* a number drawn, less than n */
bool one_in(struct world *w, unsigned n);

/* What happened, for --seed. */
void trace(const struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line of the account: must be the same on all engines. */
void record(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What is not as the script says, whatever other engines do. */
void wrong(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct side *side_new(struct world *w, const char *name);
void side_dial(struct side *s, const char *url);
void side_say(struct side *s, size_t len);
void side_finish(struct side *s);
void side_close(struct side *s);
void side_abort(struct side *s, int err);
void side_pause(struct side *s);
void side_resume(struct side *s);

/* How its connection will end: by one of these, a list that 1 ends. */
#define will_close(s, ...) side_will_close((s), (const int[]){__VA_ARGS__, 1})
void side_will_close(struct side *s, const int *errs);

bool world_serve(struct world *w, const char *keys);
void world_full_url(const struct world *w, const char *url, const char *keys, char *out, size_t cap);
void world_close_server(struct world *w, uint64_t drain_ms);

/* Turns the loop until all that is due has come; `what` is for the one who reads that it has not. */
void settle(struct world *w, const char *what);

/* Turns the loop until a condition holds. */
#define wait_for(w, cond)                                                               \
	do {                                                                            \
		uint64_t wf_end = seeded_now_ms() + PATIENCE_MS;                        \
		while (!(cond) && !*(w)->wrong) {                                       \
			if (tn_loop_step((w)->loop, 5) < 0 || seeded_now_ms() > wf_end) \
				wrong((w), "waited in vain for %s", #cond);             \
		}                                                                       \
	} while (0)

void turn(struct world *w, unsigned times);

/* Opens the loop, and at the end frees it, adds the sides to the account, and frees them. */
bool world_open(struct world *w);
void world_end(struct world *w);

/* ---- what is played ---- */

void play_traffic(struct world *w);   /* traffic.c: connections */
void play_datagrams(struct world *w); /* datagrams.c */
void play_helpers(struct world *w);   /* helpers.c: timers, polls, posts */
void play_trouble(struct world *w);   /* trouble.c: refusals, silences, time-outs */

#endif
