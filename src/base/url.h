/*
 * The grammar of endpoint URLs, RFC 3986 with two forms:
 *
 *	scheme://host:port/path?key=value&...	host may be empty, a name, an IPv4 address or [an IPv6 address]
 *	scheme:path?key=value&...		unix:/run/app.sock, unix:@name, fd:3
 *
 * The port may be the name of a service. A place is the first form without "scheme://".
 *
 * This module knows no scheme and no key; it splits, decodes %-escapes, and remembers where each part stood.
 */
#ifndef TNI_BASE_URL_H
#define TNI_BASE_URL_H

#include <stdbool.h>
#include <stddef.h>

#define TNI_URL_PARAMS_MAX 64
#define TNI_URL_LEN_MAX 4096

struct tni_url_param {
	const char *key, *value; /* value "on" when there is no '=' */
	long key_at, value_at;   /* byte positions in the text */
};

struct tni_url {
	char *memory; /* what all strings below point into */
	const char *scheme;
	const char *user, *password; /* before the host; NULL: none */
	const char *host;            /* without brackets; "" when absent; NULL in the form without "//" */
	const char *path;            /* with its leading '/', or "" */
	size_t path_len;             /* a decoded path may hold a zero byte */
	int port;                    /* -1 when absent, or when it is a name */
	const char *service;         /* the port's name (http), or NULL */
	long user_at, host_at, port_at, path_at;
	struct tni_url_param params[TNI_URL_PARAMS_MAX];
	size_t nparams;
};

/* Parses a URL; free it with tni_url_free(). Returns 0, TN_EURL with the detail and its position, or -ENOMEM. */
int tni_url_parse(struct tni_url *url, const char *text);
void tni_url_free(struct tni_url *url);

/* Fails: what is wrong in a URL, and at which byte. TN_EURL. */
int tni_url_fail(const char *text, long at, const char *why);

/* The same where a user, and a password, may stand before the host: scheme://user:password@host. */
int tni_url_parse_with_user(struct tni_url *url, const char *text);

/* The same for a text without a scheme, which begins with the host: localhost:10000, :10000, [::1]:http?key=value. */
int tni_url_parse_place(struct tni_url *url, const char *text, const char *scheme);

/* Whether a text can be such a one: a host, a colon and a port that may be a name, no path. */
bool tni_url_is_place(const char *text);

/*
 * Writes the bytes of a path so that parsing the URL gives them back: what ends a path, and what a terminal or a shell
 * would trip over, becomes %XX. `out` is cut at `cap`, and ends with a zero byte.
 */
void tni_url_escape(const void *path, size_t len, char *out, size_t cap);

/* The value of a key, or NULL. */
const char *tni_url_get(const struct tni_url *url, const char *key);

#endif
