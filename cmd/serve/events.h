/* What `tenon serve` reports: a line for each listener, and for each connection if asked for; or all of it as JSON. */
#ifndef TENON_EVENTS_H
#define TENON_EVENTS_H

#include <stdbool.h>

struct handler_child;
struct handler_count;
struct handler_flow;
struct handler_slow;
struct tn_conn;
struct tn_handler;
struct tn_msg;
struct tn_server;

/* An endpoint that is served. */
struct served {
	struct tn_server *server; /* read by all threads: it stays when the server has gone */
	bool over;                /* it has */
	const char *handler;      /* its name */
	const struct tn_handler *face;
	bool datagrams;
	bool keeps;    /* its messages have bounds */
	bool told;     /* its connections are */
	bool tapped;   /* somebody looks on at what passes */
	bool commands; /* each connection has a command, whose end is reported with its own */
	int nurls;     /* 0: the endpoint is one inherited connection */
	char **urls;   /* of its listeners: they outlive the server */
	void (*opened)(struct served *served, struct tn_conn *conn); /* one has been; NULL: nobody wants to know */
	void (*closed)(struct served *served, int err); /* one of its connections has been, with on_close's reason */
};

/* Notes the listeners' URLs. Returns 0 or -ENOMEM. */
int served_note(struct served *served);

/* The URL that it was served by, as far as it has one. */
const char *served_url(const struct served *served);

/* Tells that it listens. */
void events_listening(const struct served *served);

/* Makes its connections and its errors reported, if they are to be. Before the loops run. */
void events_watch(struct served *served);

/* Reports how a command has ended, or that it could not be started. */
void events_child(const struct served *served, const struct handler_child *child);

/* Reports what the handler count has counted: without -v too, since that is what it is for. */
void events_count(const struct served *served, const struct handler_count *count);

/* Reports what has come of a flow of tenon bench, at its end. */
void events_flow(const struct served *served, const struct handler_flow *flow);

/* Shows a message that came to the handler print. */
void events_message(struct tn_conn *conn, const struct tn_msg *msg);

/* Reports that a client of the handler broadcast reads too slowly, or has caught up. */
void events_slow(const struct handler_slow *slow);

/* Reports what a datagram endpoint has received: it is one connection for all senders. Inside its on_close. */
void events_datagrams(const struct served *served, const struct tn_conn *conn);

#endif
