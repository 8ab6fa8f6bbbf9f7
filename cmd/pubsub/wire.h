/* A client of a hub: the NATS client protocol, or the hub's own. One in a process. */
#ifndef TENON_PUBSUB_WIRE_H
#define TENON_PUBSUB_WIRE_H

#include "hub/nats_login.h"

struct tn_loop;

/* What happens. Each may be NULL but `over`. */
struct wire_events {
	void (*ready)(void);                            /* the hub is there */
	void (*message)(const struct message *message); /* for a subscription */
	void (*reply)(const struct message *message);   /* to wire_request(); NULL: nobody responds */
	void (*confirmed)(void);                        /* the hub has done all that was asked before wire_confirm() */
	void (*room)(void);                             /* after a 1: more may be sent */
	void (*refused)(const char *why);               /* the hub says that something was wrong */
	void (*over)(int err);                          /* the connection has ended; tn_errmsg() says why */
};

/* Dials a hub. Returns an exit status; not STATUS_DONE: an error has been printed, and nothing happens. */
int wire_dial(struct tn_loop *loop, const char *url, const struct wire_events *events, const struct nats_login *login);

/* Each returns as tn_send(). */
int wire_publish(const struct message *message);
/* `newest`: so many of each topic that the hub has kept; 0: none. Not with NATS. `max`: the hub ends it after so many,
 * and chooses others of the group; 0: never. */
int wire_subscribe(struct span pattern, struct span group, unsigned newest, unsigned max);
/* Ends the `nth` subscription, counted from 1. What is on its way comes before a wire_confirm() is answered. */
int wire_unsubscribe(unsigned nth, struct span pattern);
bool wire_is_nats(const char *url);
int wire_request(struct message *message);
int wire_confirm(void);

void wire_close(void);

#endif
