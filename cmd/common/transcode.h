/*
 * Between what is typed and shown, JSON or plain text, and what the endpoint sends: its key format.
 */
#ifndef TENON_TRANSCODE_H
#define TENON_TRANSCODE_H

#include <stdbool.h>
#include <stddef.h>

#include "tenon.h"
#include "tenon_value.h"

struct transcoder {
	bool pretty;
	bool formatted; /* the endpoint has a format; without one bytes are passed as they are */
	bool values;    /* its format is typed and shown as JSON, not as plain text */
	struct tn_value *value;
	struct tn_bytes bytes;
};

/* Whether messages of this URL have a format. */
bool transcoder_is_for(const char *url);

/* Sets what follows from the connection's endpoint. */
void transcoder_begin(struct transcoder *coder, const struct tn_conn *conn);

/* Reads what was typed into `value`, for tn_reply_value(). 0, or a code with the reason in tn_errmsg(). */
int transcoder_read(struct transcoder *coder, const void *data, size_t len);

/* Whether a text holds nothing but white space. */
bool is_blank_text(const char *text, size_t len);

/* Whether a line that was typed holds no message: white space between JSON texts. */
bool transcoder_is_blank(const struct transcoder *coder, const char *line, size_t len);

/* Writes a message as it is shown into `bytes`: JSON without a line feed behind it. Returns as tn_encode(). */
int transcoder_write(struct transcoder *coder, const struct tn_conn *conn, const struct tn_msg *msg);

/* Whether the endpoint's URL says that bad messages are to be skipped. */
bool transcoder_skips_bad(const struct tn_conn *conn);

#endif
