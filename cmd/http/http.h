/*
 * Requests of HTTP/1.1, as endpoints of http:// hand them over: whole, and checked by the library. And responses to
 * them, in the order of the requests.
 */
#ifndef TENON_HTTP_HTTP_H
#define TENON_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>

struct tn_conn;
struct tn_msg;

/* A piece of the request; not ended by a zero byte. */
struct http_text {
	const char *at;
	size_t len;
};

struct http_request {
	struct http_text method, path, query; /* query: behind "?"; empty without one */
	struct http_text fields;              /* the lines of the head behind the first */
	struct http_text body;
	bool last; /* the client asks for nothing behind this, or speaks HTTP/1.0 */
};

/* Takes a message apart. Everything points into it. */
void http_read(const struct tn_msg *msg, struct http_request *request);

/* Whether a text is this one, exactly. */
bool http_is(struct http_text text, const char *word);

/* The value of the first field of this name, in letters of either case. False: there is none. */
bool http_field(const struct http_request *request, const char *name, struct http_text *value);

/*
 * The segments of a path (/a/b: two), without their escapes (%2F), in `room`, each ended by a zero byte. Returns how
 * many; -1: it does not begin with a slash, there are more than `max`, one is empty, an escape is none or stands for a
 * zero byte, or there is no room.
 */
int http_segments(struct http_text path, char *room, size_t cap, const char **segments, int max);

struct http_response {
	int status;
	const char *type;   /* Content-Type; NULL: there is no body */
	const char *fields; /* more lines of the head, each with CR LF; NULL: none */
	const void *body;
	size_t len; /* bytes of it */
};

/*
 * Sends a response to the request (to HEAD without its body), and closes behind it where it is the last. 0, or what
 * tn_sendv() returns; then the connection is closed too: a client cannot know which response is missing.
 */
int http_answer(struct tn_conn *conn, const struct http_request *request, const struct http_response *response);

/* A response that never ends: its head, behind which the caller sends what it likes. The same codes. */
int http_begin(struct tn_conn *conn, const char *type, const char *fields);

/* A response of words: a status and a line of text. */
int http_words(struct tn_conn *conn, const struct http_request *request, int status, const char *words);

#endif
