/*
 * tenon connect --listen: an endpoint of ours, and who comes there. One client at a time is talked to. A served
 * datagram socket is one connection from the start: there the first sender is the client.
 */
#ifndef TENON_TALK_LISTEN_H
#define TENON_TALK_LISTEN_H

#include <stdbool.h>

struct tn_conn;
struct tn_handler;
struct tn_loop;

struct listen_use {
	bool keep;                            /* one client after the other; otherwise one, and no more are let in */
	const struct tn_handler *peer;        /* of the client that is talked to, from come() on, on_open excepted */
	const struct tn_handler *datagram;    /* of a datagram socket */
	void (*come)(struct tn_conn *client); /* a client is there; not of a datagram socket */
};

/* Serves the URL, and tells so on standard error. Returns 0 or a negative code. */
int listen_open(struct tn_loop *loop, const char *url, const struct listen_use *use);

/* The client has been done with: come() is called with the one that waits longest, now or when somebody comes. */
void listen_next(void);

/* Before the process ends: a Unix socket's file is removed. */
void listen_close(void);

#endif
