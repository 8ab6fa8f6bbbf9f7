/* What the parts of the exchange share: a client, a loop with its clients, and a message that is kept. */
#ifndef TENON_HUB_CLIENT_H
#define TENON_HUB_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "door.h"
#include "sids.h"

struct tn_conn;
struct tn_loop;
struct attempt;
struct exchange_listener;
struct user;
struct waiting;

/* A message that outlives the call in which it came. */
struct kept {
	_Atomic(unsigned) refs;
	struct message message; /* its bytes stand behind it */
	char bytes[];
};

struct client {
	struct tn_conn *conn;
	struct lane *lane;
	const struct door *door;
	const struct exchange_listener *listener;
	struct client *next, **link; /* all clients of the lane */
	struct client *dirty_next;   /* those that have something in `cork` */
	struct sids sids;
	unsigned char *cork; /* bytes that leave together; NULL: none */
	uint32_t corked;
	bool dirty, full, paused, stalled, ending, known, no_echo, slow_told;
	bool right, crowded; /* the password that was checked last is the user's; the user has too many connections */
	uint8_t quiet;       /* how often it was found silent in a row */
	bool heard;          /* since then something has come */
	/* Whose password was checked, and the door has not yet asked again; NULL: nobody's. May be gone. */
	const struct user *judged;
	struct waiting *first, **last; /* what waits while the connection's queue is full */
	struct waiting **latest;       /* by topic, where only the newest waits; NULL: not yet */
	size_t waits;                  /* bytes of it, what keeps them included */
	uint64_t full_since_ns, opened_ns;
	uint64_t dropped;            /* messages, since it was slow for the first time */
	_Atomic(struct user *) user; /* written by its own loop */
	struct attempt *attempt;     /* a password that is being checked, */
	const struct user *asked;    /* and whose it should be; may be gone */
	uint64_t proof;              /* a hash of what the user has proved by last */
	uint64_t until_ns;           /* nothing is taken before: the user's rate */
	unsigned char *again;        /* a message that is to be read once more when it is checked */
	size_t again_len;
	char *name;
	char nonce[16];     /* that it may sign; empty: not yet made */
	const char *format; /* of the endpoint; NULL: none */
	char inbox[32];     /* empty: not yet made */
	uint64_t id;
	_Alignas(16) unsigned char state[]; /* the door's */
};

/* One more wants a pattern, and its group if that has a length, or no more. */
struct note {
	bool more;
	size_t pattern, group; /* lengths */
	char text[];
};

/* Messages on their way to another loop. */
struct crossing {
	struct kept *kept; /* NULL: nothing comes; the subscription is freed, unless there is */
	struct note *note; /* for the outside: who wants what */
	bool out;          /* it goes there too */
	uint32_t count;
	struct subscription *subs[];
};

struct lane {
	struct tn_loop *loop;
	int index;
	struct client *clients, *dirty;
	unsigned nclients;
	unsigned char *corks; /* blocks that are free, chained */
	struct topic_match match;
	char matched[256];        /* the topic that `match` is of, */
	size_t matched_len;       /* 0: not known */
	uint64_t matched_version; /* and of which state of the tree */
	uint64_t serial, random;
	struct subscription **over; /* that have got their last message */
	size_t nover, over_cap;
	struct tn_timer *tick, *resume;
	_Atomic(uint64_t) published, delivered, dropped, cut;
	/* For each lane, itself included: subscriptions there that get the message at hand. */
	struct {
		struct subscription **subs;
		uint32_t count, cap;
	} * away;

	/* What other loops send here. */
	pthread_mutex_t lock;
	struct crossing **mail;
	size_t nmail, mail_cap;
	_Atomic(size_t) mail_bytes;
	bool posted, running;

	/* What was taken of it and is not yet delivered; the loop's own. */
	struct crossing **took;
	size_t taken, ntaken;
};

/* Keeps a message: a reference to it, or NULL without memory. */
struct kept *message_keep(struct message *message);
void kept_free(struct kept *kept); /* drops a reference */

/* ---- outbox.c ---- */

/* A message for one subscription: at once, or when there is room. */
void outbox_deliver(struct client *client, const struct subscription *sub, struct message *message);
/* There is room again. */
void outbox_room(struct client *client);
/* Gives what all clients of a lane have corked to their connections. */
void outbox_flush(struct lane *lane);
/* The client has gone, or is cut: what waits is dropped. */
void outbox_clear(struct client *client);
/* Whether it has been full for too long. */
bool outbox_is_late(const struct client *client, uint64_t now_ns);
/* Cuts a client off that is slow. */
void outbox_cut(struct client *client, const char *why);
void lane_free_corks(struct lane *lane);

#endif
