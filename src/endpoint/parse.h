/* What the files of this room share while a URL is being understood. */
#ifndef TNI_ENDPOINT_PARSE_H
#define TNI_ENDPOINT_PARSE_H

#include "base/url.h"
#include "endpoint/endpoint.h"

struct tni_parse {
	const char *text; /* the URL */
	const struct tni_url *url;
	struct tni_endpoint *ep;
	bool proxy; /* it is a proxy's, of key via */
};

/* Fail with TN_EURL: at a byte of the URL; a key; its value; a byte of that; in the words of tn_errmsg(). */
int tni_parse_fail(const struct tni_parse *p, long at, const char *why);
int tni_parse_fail_key(const struct tni_parse *p, const struct tni_url_param *param, const char *why);
int tni_parse_fail_value(const struct tni_parse *p, const struct tni_url_param *param, const char *why);
int tni_parse_fail_key_at(const struct tni_parse *p, const struct tni_url_param *param, long at, const char *why);
int tni_parse_fail_told(const struct tni_parse *p, long at);

/* Where a byte of a key's value stands in the URL: each %XX there is one byte. */
long tni_parse_byte_of(const struct tni_parse *p, const struct tni_url_param *param, long byte);

/* -ENOMEM, in words. */
int tni_parse_no_memory(void);

/* Splits a URL, or a place without a scheme. 0; TN_EURL; -ENOMEM. tni_url_free() afterwards. */
int tni_parse_split(const char *text, struct tni_url *url);

/* What stands behind the scheme: host and port, path, interface, descriptor. */
int tni_parse_place(const struct tni_parse *p);

/* The keys. */
int tni_parse_params(const struct tni_parse *p);

/* One option of the socket, with all its values. */
int tni_parse_sockopt(const struct tni_parse *p, const struct tni_url_param *param, const struct tni_sockopt *opt);

/* An unknown scheme or key: which one may be meant? */
int tni_parse_fail_scheme(const struct tni_parse *p);
int tni_parse_fail_unknown_key(const struct tni_parse *p, const struct tni_url_param *param);

/* What kind of socket it is, also one that was inherited: 0 if it is none. */
int tni_endpoint_socket_type(const struct tni_endpoint *ep);

/* A stream of bytes; so is what is no socket (a pipe, a file). */
bool tni_endpoint_is_stream(const struct tni_endpoint *ep);

/* v6only=off: the IPv6 socket at '*' has the IPv4 addresses too, so that a second socket could not bind to them. */
bool tni_endpoint_is_dual(const struct tni_endpoint *ep);

#endif
