/*
 * What a served endpoint does, written on tenon.h alone.
 *
 * A handler has two sets of callbacks: `stream` for connections of their own (bytes, or packets in order as with
 * unix-seqpacket), `datagrams` for the one connection on which a datagram endpoint hears every sender. A third one,
 * `requests`, has who answers HTTP.
 */
#ifndef TENON_HANDLER_HANDLER_H
#define TENON_HANDLER_HANDLER_H

#include <stdbool.h>
#include <stdint.h>

#include "tenon.h"

/* What a handler of sessions is called with: key session. */
struct handler_session {
	const char *argument;
	uint64_t idle_ms; /* after so long without a datagram, in either direction, it ends */
};

struct handler_spec {
	const char *name;
	const char *argument; /* what stands behind the colon of exec:COMMAND; NULL: none does */
	const char *meaning;
	bool shows; /* something on standard output, whether connections are reported or not */
	bool runs;  /* commands: each connection has one, or each datagram, or sender of those */
	/* Why it cannot serve a good URL, for people; NULL: it can. */
	const char *(*refuses)(const char *url);
	struct tn_handler stream, datagrams, requests;
	struct tn_handler sessions; /* of datagrams, whose senders have one each; `arg`: a struct handler_session */
};

extern const struct handler_spec handler_echo, handler_ack, handler_discard, handler_count, handler_chargen,
	handler_exec, handler_exec_pty, handler_exec_socket, handler_print, handler_broadcast;

#endif
