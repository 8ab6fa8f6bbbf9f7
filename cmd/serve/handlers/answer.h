/* Replies of handlers. */
#ifndef TENON_HANDLER_ANSWER_H
#define TENON_HANDLER_ANSWER_H

#include <stdbool.h>
#include <string.h>

#include "tenon.h"

struct tn_value;

/*
 * on_bad of the handlers that reply. Tells the sender in the endpoint's own format, {"error": "line 1, byte 17: ..."}
 * or, as text, "error: line 1, byte 17: ...". A stream that cannot be told is closed.
 */
void handler_refuse(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg);
/* The same in other words than those of tn_errmsg(). */
void handler_refuse_as(struct tn_conn *conn, const struct tn_msg *msg, const char *why);

/* on_open of handlers that answer datagrams. */
void handler_on_datagrams_open(struct tn_conn *conn, void *arg);

/* Whether two datagrams have the same sender and came to the same address of ours, so that replies go the same way. */
bool handler_is_same_sender(const struct tn_addr *a, const struct tn_addr *b);

/* Whether a datagram comes from the port of a small service that answers anything. */
bool handler_is_service(const struct tn_msg *msg);

/* Whether a datagram may be answered at all: two servers must not keep each
 * other busy. Streams always may. */
bool handler_may_answer(struct tn_conn *conn, const struct tn_msg *msg);

/*
 * Whether a reply is no longer than `ack: ` and the datagram that it answers, or what its format has for that. A forged
 * address must not be sent more than the forger has sent. Clients on this machine and streams may get any reply.
 */
bool handler_reply_fits(struct tn_conn *conn, const struct tn_msg *msg, const struct tn_value *reply);

/* Whether a datagram is, or looks like, a reply of ours: it is not replied to. */
static inline bool handler_is_reply(const struct tn_msg *msg)
{
	static const char ack[] = "ack: ", error[] = "error: ";

	return (msg->len >= sizeof(ack) - 1 && !memcmp(msg->data, ack, sizeof(ack) - 1)) ||
	       (msg->len >= sizeof(error) - 1 && !memcmp(msg->data, error, sizeof(error) - 1));
}

/*
 * After a reply that could not be made or queued. A stream is ended by a reset: an ordinary end would tell its peer
 * that this was all. A datagram, of DTLS too, is dropped, as networks drop them. `msg` is NULL if there was no request.
 */
void handler_unanswered(struct tn_conn *conn, const struct tn_msg *msg, int err);

#endif
