/*
 * Getting connected: one socket to one of the addresses of an endpoint. Happy Eyeballs version 2 (RFC 8305): both
 * families are looked up at the same time, their addresses tried alternately, beginning with the one that RFC 6724 puts
 * first, which is IPv6 where it can be used; the next one 250 ms after the last or as soon as one fails; the first that
 * connects wins and ends the others.
 */
#ifndef TNI_NET_DIAL_H
#define TNI_NET_DIAL_H

#include "tenon.h"

#include <stdbool.h>

struct tni_dial; /* in progress */
struct tn_buf;

struct tni_dial_spec {
	const char *host; /* literal, name, localhost, or "" = localhost; copied */
	int port;
	const struct tn_addr *addr; /* instead of host and port: one address (Unix, or known already); copied */
	int family;                 /* AF_UNSPEC, AF_INET, AF_INET6 */
	int type, protocol;         /* SOCK_STREAM/0, SOCK_STREAM/IPPROTO_MPTCP, SOCK_DGRAM, SOCK_SEQPACKET */
	bool portless;              /* the port is not shown */
	/* Opens a socket in the place of socket(2), or NULL; `arg` is the dial's. < 0 fails the attempt with its
	 * detail. */
	int (*open)(int family, void *arg);
	/*
	 * Sets options on a socket before it connects, or NULL; `arg` is the dial's. < 0 fails the attempt with the
	 * detail of tn_errmsg(). 1: it is bound to a port of a range, which other sockets have as well. If they have a
	 * connection there already, it is called with a new socket and that port, `after`, which is 0 otherwise.
	 */
	int (*prepare)(int fd, int family, int after, void *arg);
	/* Whether an address may be connected to, or NULL: all may; `arg` is the dial's. Nothing goes to one that may
	 * not. */
	bool (*permits)(const struct tn_addr *addr, void *arg);
	/*
	 * Gets the address that was dialled if it is a multicast group's or a broadcast's, otherwise an empty one. The
	 * socket is not connected to it then: it would not hear the answers, which come from others' addresses. NULL:
	 * it is connected. Must stay until done() is called or the dial cancelled.
	 */
	struct tn_addr *many;
#ifdef TNI_HAVE_SOCKOPTS
	bool unconnected;  /* `many` gets any address */
	const char *netns; /* where sockets are opened (net/netns.h), or NULL; must stay as `many` does */
	unsigned ports;    /* of that range */
#endif
	/* Gets how long the name was looked up before the first attempt, at least 1 if it was, right before done() is
	 * called. Or NULL. */
	uint32_t *lookup_us;
	/*
	 * Datagrams, one a slice, that are sent to each address, and again until something comes from it: that address
	 * wins. The only address of a name wins without an answer. What has come stays in the socket. NULL: the first
	 * address that can be connected to wins. The caller's until done() is called or the dial cancelled.
	 */
	const struct tn_buf *first;
	/*
	 * The server speaks first: asked when something has come. 0: it is connected; -EAGAIN: more must come;
	 * < 0 fails the attempt with the detail of tn_errmsg(). NULL: to be connected is enough. `arg` is the dial's.
	 */
	int (*greeted)(int fd, void *arg);
	uint64_t timeout_ns; /* of the whole dial; TNI_NEVER: none */
	uint64_t began_ns;   /* from when on that counts, on the clock of tni_clock_ns(); 0: from this call on */
	const char *name;    /* the endpoint as its user wrote it, for messages: tcp://localhost:1; copied */
};

/*
 * Dials. done(arg, fd_or_err) is called exactly once, from a task of the ready queue, never from inside this call; the
 * dial is gone by then. fd: connected, close-on-exec, blocking, and the callee's to close. Otherwise a negative code
 * with the detail in tn_errmsg(): the endpoint, then every address that was tried (bounded) and why it failed.
 *
 * When all addresses fail, the code is that of the attempt that says most, the last one of those: an answer or a
 * failure of our own (refused, reset, no permission, out of descriptors) before silence (timed out), silence before
 * "host unreachable", that before "this family has no route here". When there is no address: TN_ENAME if the name has
 * none in either family, otherwise why a lookup failed (TN_ERESOLVE, -ETIMEDOUT, -ENOMEM). -ETIMEDOUT when timeout_ns
 * passes; the detail names the stage.
 *
 * A TCP or UDP socket that has connected to itself (both ends are the same port of the same address) counts as refused.
 * A Unix listener whose queue is full is tried again every 10 ms. A Unix datagram socket gets an abstract address of
 * its own, so that replies can come back. A datagram socket connects to the first address there is a route to;
 * localhost is 127.0.0.1 first there, since nobody says "refused" and most datagram servers on localhost know only
 * IPv4.
 *
 * Keeps the loop running until done. tn_loop_free() ends a dial like tni_dial_cancel(): done is NOT called. So its
 * owner must be on the loop's list of owned objects itself, and from before this call: what is owned is ended in the
 * order in which it came, so the owner is destroyed first and cancels its dial while that still exists.
 *
 * Errors at once, and then done is not called: TN_EURL (a literal of the other family), -ENOMEM.
 */
int tni_dial_start(struct tn_loop *loop, const struct tni_dial_spec *spec, void (*done)(void *arg, int fd_or_err),
		   void *arg, struct tni_dial **out);

/* Ends a dial: everything is closed at once and done will not be called. NULL is allowed. */
void tni_dial_cancel(struct tni_dial *dial);

#endif
