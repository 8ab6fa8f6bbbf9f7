/* People type and read JSON (or plain text); an endpoint may speak something else: its key format. */
#ifndef TENON_TONGUE_H
#define TENON_TONGUE_H

#include <stdbool.h>
#include <stddef.h>

#include "tenon.h"
#include "tenon_value.h"

struct tongue {
	bool pretty;
	bool spoken; /* the endpoint has a format; otherwise bytes are passed as they are */
	bool values; /* and one that is read and typed as JSON, not plain text */
	struct tn_value *value;
	struct tn_bytes bytes;
};

/* Looks what the connection's endpoint speaks. */
void tongue_learn(struct tongue *tongue, const struct tn_conn *conn);

/* Understands what a person typed: then it is in `value`, for tn_reply_value(). 0, or a code with the reason in
 * tn_errmsg(). */
int tongue_hear(struct tongue *tongue, const void *data, size_t len);

/* Whether there is nothing but white space. */
bool is_blank_text(const char *text, size_t len);

/* The same of a line of JSON texts, between which white space is nothing. */
bool tongue_is_blank(const struct tongue *tongue, const char *line, size_t len);

/* Puts a message into a person's words: JSON without a line feed behind it, in `bytes`. Returns as tn_encode(). */
int tongue_say(struct tongue *tongue, const struct tn_conn *conn, const struct tn_msg *msg);

/* Whether the endpoint's URL says that bad messages are to be skipped. */
bool tongue_skips(const struct tn_conn *conn);

#endif
