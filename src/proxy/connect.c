#include "proxy/connect.h"

#include "base/err.h"
#include "web/http.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* So much of the text that explains a refusal is looked at for its first line, and so much of it is shown. */
#define BODY_MAX 512
#define LINE_MAX 160

int tni_connect_begin(struct tni_connect *c, struct tn_buf *net)
{
	const char *name = c->target->name;
	const char *open = strchr(name, ':') ? "[" : "", *close = *open ? "]" : "";
	struct tni_http_out out = {.len = 0};
	int rc;

	tni_http_line(&out, "CONNECT %s%s%s:%d HTTP/1.1", open, name, close, c->target->port);
	tni_http_line(&out, "Host: %s%s%s:%d", open, name, close, c->target->port);
	if (c->authorization)
		tni_http_line(&out, "Proxy-Authorization: %s", c->authorization);
	rc = tni_http_end(&out, net);
	explicit_bzero(out.text, out.len);
	return rc == -ENOMEM ? tni_err(rc, "HTTP: out of memory") : rc;
}

/* ---- refused ---- */

static int code_of(int status)
{
	switch (status) {
	case 401:
	case 403:
	case 407:
		return -EACCES;
	case 404:
	case 502:
	case 503:
		return -EHOSTUNREACH;
	case 408:
	case 504:
		return -ETIMEDOUT;
	default:
		return -ECONNREFUSED;
	}
}

static void add(struct tni_connect *c, const char *words)
{
	size_t used = strlen(c->said);

	snprintf(c->said + used, sizeof(c->said) - used, "%s", words);
}

/* What the proxy has said itself: at most `max` bytes of it. */
static void add_said(struct tni_connect *c, const char *before, const char *text, size_t len, size_t max)
{
	size_t used;

	add(c, before);
	used = strlen(c->said);
	snprintf(c->said + used, sizeof(c->said) - used, "%.*s", (int)(len < max ? len : max), len ? text : "");
}

/* Whether a scheme of authentication is among those that the proxy offers. */
static bool offers(const struct tni_http *head, const char *scheme)
{
	struct tni_http_walk walk = {0};
	struct tni_http_text item;

	while (tni_http_item(head, "Proxy-Authenticate", &walk, &item)) {
		struct tni_http_text word = {item.at, 0};

		while (word.len < item.len && item.at[word.len] != ' ')
			word.len++;
		if (tni_http_is(&word, scheme))
			return true;
	}
	return false;
}

/* What to do about a 407. */
static void add_remedy(struct tni_connect *c, const struct tni_http *head)
{
	struct tni_http_walk walk = {0};
	struct tni_http_text wanted;

	if (c->authorization &&
	    offers(head, *c->authorization == 'B' && c->authorization[1] == 'a' ? "Basic" : "Bearer"))
		add(c, "; the user, the password or the token is wrong");
	else if (offers(head, "Basic"))
		add(c, "; key auth names a file with user:password");
	else if (offers(head, "Bearer"))
		add(c, "; key auth names a file with a token");
	else if (tni_http_item(head, "Proxy-Authenticate", &walk, &wanted))
		add_said(c, "; only Basic and Bearer are spoken here, not ", wanted.at, wanted.len, 40);
}

/* The answer's text is shown only where it is one for people to read as it stands. */
static bool has_text(const struct tni_http *head)
{
	static const char plain[] = "text/plain";
	struct tni_http_text type;

	if (tni_http_field(head, "Content-Type", &type) != 1 || type.len < sizeof(plain) - 1)
		return false;
	type.len = sizeof(plain) - 1;
	return tni_http_is(&type, plain);
}

static void refuse(struct tni_connect *c, const struct tni_http *head)
{
	struct tni_http_text where = {0};

	c->err = code_of(head->status);
	snprintf(c->said, sizeof(c->said), "answers %d", head->status);
	if (head->reason.len)
		add_said(c, " ", head->reason.at, head->reason.len, 80);
	if (head->status >= 300 && head->status < 400 && tni_http_field(head, "Location", &where) == 1)
		add_said(c, ", and names another place, which is not followed: ", where.at, where.len, 120);
	if (head->status == 407)
		add_remedy(c, head);
	if (!has_text(head))
		return;
	c->chunked = head->chunked;
	c->left = !head->has_length || head->length > BODY_MAX ? BODY_MAX : (size_t)head->length;
}

/* The first line of the text that explains it, of which `len` bytes are there. */
static long read_text(struct tni_connect *c, const char *data, size_t len)
{
	const char *end = memchr(data, '\n', len < c->left ? len : c->left);
	size_t line = end ? (size_t)(end - data) : c->left;

	if (!end && len < c->left)
		return 0;
	if (c->chunked && end) {
		c->chunked = false;
		return (long)line + 1;
	}
	while (line && (unsigned char)data[line - 1] <= ' ')
		line--;
	if (line)
		add_said(c, ": ", data, line, LINE_MAX);
	return tni_connect_end(c);
}

int tni_connect_end(const struct tni_connect *c)
{
	return c->err ? tni_err(c->err, "%s", c->said) : 0;
}

long tni_connect_read(struct tni_connect *c, const char *data, size_t len)
{
	struct tni_http head;
	long n;

	if (c->err)
		return read_text(c, data, len);
	n = tni_http_read(&head, TNI_RESPONSE, data, len);
	if (n < 0)
		return tni_err_prefix((int)n, len && *data == 5 ? "answers in SOCKS, not HTTP" : "answers wrongly");
	if (n == 0 || (head.status < 200 && head.status != 101))
		return n; /* nothing decided yet */
	if (head.status >= 200 && head.status < 300) {
		c->done = true;
		return n;
	}
	refuse(c, &head);
	return c->left ? n : tni_connect_end(c);
}
