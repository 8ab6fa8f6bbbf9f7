#include "base/url.h"

#include "base/err.h"
#include "base/utf8.h"
#include "tenon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
	const char *text;
	const char *at;
	char *out;  /* where the next decoded byte goes */
	bool users; /* a user may stand before the host */
};

int tni_url_fail(const char *text, long at, const char *why)
{
	char shown[TNI_URL_LEN_MAX + 1]; /* hidden before it is cut */

	snprintf(shown, sizeof(shown), "%s", text);
	tni_err(TN_EURL, "bad URL '%.500s': byte %ld: %s", tn_hide_passwords(shown), at, why);
	tni_err_at(at);
	return TN_EURL;
}

static int fail(const struct parser *p, const char *where, const char *why)
{
	return tni_url_fail(p->text, (long)(where - p->text), why);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* ---- passwords ---- */

/* A byte as it stands, or as %XX. Returns how many stand for it. */
static int byte_of(const char *at, char *c)
{
	int hi = *at == '%' ? hex_value(at[1]) : -1, lo = hi < 0 ? -1 : hex_value(at[2]);

	*c = lo < 0 ? *at : (char)(hi * 16 + lo);
	return lo < 0 ? 1 : 3;
}

/* What stands behind "://", in whatever spelling; NULL: that does not stand here. */
static char *behind_slashes(char *at)
{
	char c;

	for (const char *wanted = "://"; *wanted; wanted++) {
		int n = byte_of(at, &c);

		if (c != *wanted)
			return NULL;
		at += n;
	}
	return at;
}

/*
 * From the first ':' to the last '@'. A port, and what has no ':' before, ends where a path, a key or another URL
 * begins; a password may hold their marks as well, and what is escaped (%2F) is none.
 */
static void hide_password(char *at)
{
	char *from = NULL, *end = NULL, c;
	bool is_port = true;
	int n;

	if (*at == '[')
		return;
	for (; n = byte_of(at, &c), c && c != ' '; at += n) {
		if (c == '@' && !from)
			return;
		if (c == '@')
			end = at;
		if ((is_port && n == 1 && strchr("/?&#,", c)) || (end && (c == '&' || behind_slashes(at))))
			break;
		if (from)
			is_port = is_port && c >= '0' && c <= '9';
		else if (c == ':')
			from = at + n;
	}
	if (end)
		memset(from, '*', (size_t)(end - from));
}

char *tn_hide_passwords(char *text)
{
	for (char *at = text; (at = strpbrk(at, ":%")); at++) {
		char *behind = behind_slashes(at);

		if (behind)
			hide_password(behind);
	}
	return text;
}

/* ---- parsing ---- */

/* Copies up to one of the bytes in `stop`, decoding %XX. A '%' of an IPv6 zone ([fe80::1%eth0]) may stand bare. */
static int decode(struct parser *p, const char *stop, bool in_brackets, const char **part)
{
	*part = p->out;
	while (*p->at && !strchr(stop, *p->at)) {
		int c = (unsigned char)*p->at, hi, lo;

		if (c < 0x20 || c == 0x7f)
			return fail(p, p->at, "a control character; write it as %XX");
		if (c == '%') {
			hi = hex_value(p->at[1]);
			lo = hi < 0 ? -1 : hex_value(p->at[2]);
			if (lo >= 0 && !(in_brackets && hi * 16 + lo != '%')) {
				c = hi * 16 + lo;
				if (!c && *stop != '?') /* only of a path is the length kept */
					return fail(p, p->at, "a zero byte can stand in a path only");
				p->at += 2;
			} else if (!in_brackets) {
				return fail(p, p->at, "'%' is not followed by two hexadecimal digits");
			}
		}
		*p->out++ = (char)c;
		p->at++;
	}
	*p->out++ = '\0';
	return 0;
}

static int parse_scheme(struct parser *p, struct tni_url *url)
{
	const char *start = p->at;

	url->scheme = p->out;
	while ((*p->at >= 'a' && *p->at <= 'z') || (*p->at >= 'A' && *p->at <= 'Z') ||
	       (p->at > start && ((*p->at >= '0' && *p->at <= '9') || strchr("+-.", *p->at)) && *p->at))
		*p->out++ = (char)(*p->at >= 'A' && *p->at <= 'Z' ? *p->at + 32 : *p->at), p->at++;
	*p->out++ = '\0';
	if (p->at == start || *p->at != ':')
		return fail(p, p->at, "no scheme: a URL starts like tcp://, udp:// or unix:");
	p->at++;
	return 0;
}

static bool is_service_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
	       c == '+' || c == '.';
}

static bool begins_service(char c)
{
	return is_service_byte(c) && !strchr("+-._", c);
}

/* The name of a service: whose port it is, others know. */
static int parse_service(struct parser *p, struct tni_url *url)
{
	url->service = p->out;
	while (is_service_byte(*p->at))
		*p->out++ = *p->at++;
	*p->out++ = '\0';
	if (*p->at && !strchr("/?", *p->at))
		return fail(p, p->at, "a port is a number from 0 to 65535, or the name of a service");
	return 0;
}

static int parse_port(struct parser *p, struct tni_url *url)
{
	const char *start = p->at;
	long port = 0;

	url->port_at = (long)(start - p->text);
	while (*p->at >= '0' && *p->at <= '9') {
		port = port * 10 + (*p->at++ - '0');
		if (port > 65535)
			return fail(p, start, "the port is larger than 65535");
	}
	if (is_service_byte(*p->at) && begins_service(*start)) {
		p->at = start;
		return parse_service(p, url);
	}
	if (p->at == start || (*p->at && !strchr("/?", *p->at)))
		return fail(p, p->at, "a port is a number from 0 to 65535, or the name of a service");
	url->port = (int)port;
	return 0;
}

static int parse_user(struct parser *p, struct tni_url *url)
{
	int rc;

	url->user_at = (long)(p->at - p->text);
	rc = decode(p, ":@", false, &url->user);
	if (rc == 0 && !*url->user)
		return fail(p, p->at, "the user's name is missing");
	if (rc == 0 && *p->at == ':') {
		p->at++;
		rc = decode(p, "@", false, &url->password);
	}
	p->at++;
	return rc;
}

static int parse_authority(struct parser *p, struct tni_url *url)
{
	int rc = 0;

	if (p->users && memchr(p->at, '@', strcspn(p->at, "/?")))
		rc = parse_user(p, url);
	if (rc < 0)
		return rc;
	url->host_at = (long)(p->at - p->text);
	if (*p->at == '[') {
		p->at++;
		rc = decode(p, "]/?", true, &url->host);
		if (rc == 0 && *p->at != ']')
			rc = fail(p, p->at, "the ']' of the IPv6 address is missing");
		if (rc == 0 && !strchr(url->host, ':'))
			rc = fail(p, p->text + url->host_at + 1, "in brackets stands an IPv6 address, nothing else");
		if (rc == 0)
			p->at++;
		if (rc == 0 && *p->at && !strchr(":/?", *p->at))
			rc = fail(p, p->at, "after ']' comes a ':' and the port");
	} else {
		rc = decode(p, ":/?[]@", false, &url->host);
		if (rc == 0 && *p->at == '@')
			rc = fail(p, p->at,
				  p->users ? "a user or a password with '@' in it is written with %40"
				  : *url->host
					  ? "no user name or password can stand in a URL here"
					  : "no user name can stand in a URL here; an abstract Unix socket has no //: "
					    "unix:@name");
		if (rc == 0 && (*p->at == '[' || *p->at == ']'))
			rc = fail(p, p->at, "misplaced bracket");
		if (rc == 0 && *p->at == ':' && strchr(p->at + 1, ':') &&
		    strcspn(p->at + 1, "/?") > strcspn(p->at + 1, ":"))
			rc = fail(p, p->at, "an IPv6 address stands in brackets: [::1]:10000");
	}
	if (rc < 0 || *p->at != ':')
		return rc;
	p->at++;
	return parse_port(p, url);
}

static int parse_param(struct parser *p, struct tni_url *url)
{
	struct tni_url_param *param = &url->params[url->nparams];
	int rc;

	if (url->nparams == TNI_URL_PARAMS_MAX)
		return fail(p, p->at, "too many keys");
	param->key_at = (long)(p->at - p->text);
	rc = decode(p, "=&", false, &param->key);
	if (rc < 0)
		return rc;
	if (!*param->key)
		return fail(p, p->at, "a key is missing");
	param->value = "on";
	param->value_at = (long)(p->at - p->text);
	if (*p->at == '=') {
		p->at++;
		param->value_at++;
		rc = decode(p, "&", false, &param->value);
	}
	for (size_t i = 0; rc == 0 && i < url->nparams; i++)
		if (!strcmp(url->params[i].key, param->key))
			return fail(p, p->text + param->key_at, "this key stands here for the second time");
	url->nparams++;
	return rc;
}

static int parse(struct parser *p, struct tni_url *url, const char *scheme)
{
	int rc = 0;

	if (scheme) {
		url->scheme = scheme;
		rc = parse_authority(p, url);
	} else {
		rc = parse_scheme(p, url);
		if (rc == 0 && !strncmp(p->at, "//", 2)) {
			p->at += 2;
			rc = parse_authority(p, url);
		}
	}
	if (rc < 0)
		return rc;
	url->path_at = (long)(p->at - p->text);
	rc = decode(p, "?", false, &url->path);
	if (rc < 0)
		return rc;
	url->path_len = (size_t)(p->out - url->path) - 1;
	while (rc == 0 && (*p->at == '?' || *p->at == '&')) {
		p->at++;
		rc = parse_param(p, url);
	}
	return rc;
}

static int parse_text(struct tni_url *url, const char *text, const char *scheme, bool users)
{
	struct parser p = {.text = text, .at = text, .users = users};
	size_t len = strlen(text);
	int rc;

	*url = (struct tni_url){.port = -1, .user_at = -1, .port_at = -1, .host_at = -1};
	if (len > TNI_URL_LEN_MAX)
		return tni_err(TN_EURL, "bad URL: longer than %d bytes", TNI_URL_LEN_MAX);
	/* Decoding only shrinks; each part adds one zero byte in place of the separator, or at the end. */
	url->memory = p.out = malloc(len + TNI_URL_PARAMS_MAX * 2 + 8);
	if (!p.out)
		return tni_err(-ENOMEM, "URL: out of memory");
	rc = parse(&p, url, scheme);
	if (rc < 0)
		tni_url_free(url);
	return rc;
}

int tni_url_parse(struct tni_url *url, const char *text)
{
	return parse_text(url, text, NULL, false);
}

int tni_url_parse_place(struct tni_url *url, const char *text, const char *scheme)
{
	return parse_text(url, text, scheme, false);
}

int tni_url_parse_with_user(struct tni_url *url, const char *text)
{
	return parse_text(url, text, NULL, true);
}

/* HOST:PORT, [ADDRESS]:PORT or :PORT, and nothing behind but keys. */
bool tni_url_is_place(const char *text)
{
	size_t len = strcspn(text, "?"), host = *text == '[' ? strcspn(text, "]") : strcspn(text, ":");
	const char *port;

	if (*text == '[' && text[host] == ']')
		host++;
	if (host >= len || text[host] != ':' || strcspn(text, "/@") < len)
		return false;
	for (port = text + host + 1; is_service_byte(*port); port++)
		;
	return port == text + len && begins_service(text[host + 1]);
}

void tni_url_free(struct tni_url *url)
{
	free(url->memory);
	url->memory = NULL;
}

const char *tni_url_get(const struct tni_url *url, const char *key)
{
	for (size_t i = 0; i < url->nparams; i++)
		if (!strcmp(url->params[i].key, key))
			return url->params[i].value;
	return NULL;
}

/* A file's name may be any bytes; a URL is text, and no commands for a terminal (U+0080 to U+009F are some). */
static bool stands_in_url(const unsigned char *at, size_t size)
{
	if (size == 2 && at[0] == 0xc2 && at[1] < 0xa0)
		return false;
	return size > 0 && *at > ' ' && *at != 0x7f && !strchr("%?#&\"'<>\\^`{|}", *at);
}

void tni_url_escape(const void *path, size_t len, char *out, size_t cap)
{
	const unsigned char *in = path;
	size_t n = 0;

	for (size_t i = 0; i < len && n + 4 <= cap;) {
		size_t size = tni_utf8_size(in + i, len - i);

		if (!stands_in_url(in + i, size)) {
			n += (size_t)snprintf(out + n, cap - n, "%%%02x", in[i++]);
		} else {
			if (n + size >= cap)
				break;
			memcpy(out + n, in + i, size);
			n += size;
			i += size;
		}
	}
	out[n] = '\0';
}
