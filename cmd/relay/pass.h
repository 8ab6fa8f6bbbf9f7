/* How messages get from one side of a session to the other. */
#ifndef TENON_RELAY_PASS_H
#define TENON_RELAY_PASS_H

#include <stdbool.h>
#include <stddef.h>

#include "tenon.h"

struct path;

/* Each is called with one side of a path. */
struct path_rules {
	/* As in struct tn_pass, with the path as its arg. */
	void (*end)(struct tn_conn *from, struct tn_conn *to, void *path);
	/* This has passed from this side. NULL: nobody wants to know. */
	void (*passed)(struct path *path, struct tn_conn *from, const struct tn_msg *msg);
	bool passed_by_client; /* alone: of what the target says nobody wants to know */
	/* This is not passed on now, but later, by pass_later(): as it will be sent, in the other side's format. NULL:
	 * all is passed on at once. */
	void (*take)(struct path *path, struct tn_conn *from, const struct tn_msg *msg);
	/* Whether a side is closed whose message the other cannot carry; otherwise it goes on. */
	bool (*closes)(const struct path *path, const struct tn_conn *from);
};

/* Between whom. */
struct path {
	struct tn_conn *client, *target;
	const struct path_rules *rules;
};

/* Whether a URL says that bad messages close (key bad). */
bool pass_closes_at_bad(const char *url);

/*
 * Makes one path of the two connections, as tn_join() does. Where the two have different formats (key format), each
 * message is written anew in the other's; one that the other side cannot carry is refused, with its place, in the
 * format of its sender. Returns as tn_flow(); after an error the caller ends both.
 */
int pass_join(struct path *path);

/* Whether a message of one may be sent to the other as it is: their formats are the same, or one has none. */
bool pass_is_plain(const struct tn_conn *a, const struct tn_conn *b);

/* Sends what rules->take() was given; whether its sender is still there does not matter. Returns as tn_send(). */
int pass_later(struct tn_conn *to, const struct tn_msg *msg);

/*
 * Sends a message of `from` to `to`, in its format. `to_msg`: where `to` is a datagram server, a message of the client
 * that this goes to; otherwise NULL. Returns as tn_send().
 */
int pass_message(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, const struct tn_msg *to_msg);

/* on_bad of both sides. */
void pass_bad(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg);

#endif
