/*
 * Heads of HTTP/1.1 (RFC 9112): request and response lines with their fields, read and written without a socket. Only
 * heads: a body, where there is one, is whatever follows. Used by WebSocket's upgrade, by CONNECT, and by pages.
 *
 * It is strict. Software that takes a malformed head for a good one can disagree with its neighbour about where a
 * message ends (request smuggling), so everything that RFC 9112 lets a receiver refuse is refused: a line that ends
 * with LF alone, a field that goes on in the next line, white space before the colon, two lengths, a length beside a
 * transfer coding, a transfer coding other than "chunked", two hosts.
 */
#ifndef TNI_WEB_HTTP_H
#define TNI_WEB_HTTP_H

#include "base/buf.h"

#define TNI_HTTP_MAX 8192   /* bytes, with the empty line at the end */
#define TNI_HTTP_FIELDS 100 /* of one head */

/* A piece of the head that was read: not terminated by a zero byte. */
struct tni_http_text {
	const char *at;
	size_t len;
};

struct tni_http_field {
	struct tni_http_text name, value; /* the value is without white space at its ends */
};

struct tni_http {
	struct tni_http_text method, target; /* of a request */
	int status;                          /* of a response: 100 to 999 */
	struct tni_http_text reason;         /* of a response; may be empty */
	int minor;                           /* HTTP/1.<minor> */
	struct tni_http_field fields[TNI_HTTP_FIELDS];
	int nfields;
	struct tni_http_text host; /* of a request: the only Host there is; `at` is NULL: none (HTTP/1.0) */
	bool has_length, chunked;
	uint64_t length; /* Content-Length */
	int answer;      /* after a failure: the status that a server answers with: 400, 431, 505 */
};

enum tni_http_kind { TNI_REQUEST, TNI_RESPONSE };

/*
 * Reads the head at the front of `data`. Returns its length in bytes, with the empty line; 0: it is not whole yet; < 0:
 * TN_EFORMAT with words (tni_err), or TN_ETOOBIG. What cannot become a head is refused as soon as that is known.
 * `head` points into `data`.
 */
long tni_http_read(struct tni_http *head, enum tni_http_kind kind, const char *data, size_t len);

/* The only field of this name, letters of either case. 1: found; 0: there is none; TN_EFORMAT with words: several. */
int tni_http_field(const struct tni_http *head, const char *name, struct tni_http_text *value);

/*
 * Whether a field that is a list (RFC 9110 5.6.1) holds a word, in letters of either case; it may stand several times.
 * tni_http_item() walks through all items of such fields, empty ones left out: begin with a zeroed walk.
 */
bool tni_http_has(const struct tni_http *head, const char *name, const char *word);
struct tni_http_walk {
	int field;     /* to be looked at next */
	const char *p; /* in the value of the one before; NULL: at its beginning */
	const char *end;
};
bool tni_http_item(const struct tni_http *head, const char *name, struct tni_http_walk *walk,
		   struct tni_http_text *item);

/* Whether a text is this word, in letters of either case, or exactly. */
bool tni_http_is(const struct tni_http_text *text, const char *word);
bool tni_http_equals(const struct tni_http_text *text, const char *word);

/* A copy that a zero byte ends; the caller frees it. NULL without memory. */
char *tni_http_copy(const char *at, size_t len);

/* Leaves out spaces and tabs at both ends. */
void tni_http_trim(struct tni_http_text *text);

/* Whether bytes are a token, and whether they can be a field's value (RFC 9110 5.6.2, 5.5). */
bool tni_http_is_token(const char *p, size_t len);
bool tni_http_is_value(const char *p, size_t len);

/* A head that is being written. A piece that does not fit is remembered, and the end says so. */
struct tni_http_out {
	char text[TNI_HTTP_MAX];
	size_t len;
	bool too_long;
};

/* The first line, then fields; "%s" must have no line break in it: tni_http_is_value(). */
void tni_http_line(struct tni_http_out *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The empty line, and all of it goes to the end of `to`. 0, TN_ETOOBIG with words, -ENOBUFS or -ENOMEM. */
int tni_http_end(struct tni_http_out *out, struct tn_buf *to);

/*
 * A whole response that refuses a request, in words, which a browser shows, goes to the end of `to`; the connection is
 * to end behind it. `field`: one more line of the head, or NULL.
 */
void tni_http_refuse(struct tn_buf *to, int status, const char *field, const char *words);

/* The words that belong to a status: "Bad Request". */
const char *tni_http_status(int status);

#endif
