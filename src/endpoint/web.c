#include "endpoint/web.h"

#include "base/clock.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A shorter message does not become shorter by compressing, or hardly. */
#define DEFLATE_MIN 256

/* Names that a server at any address answers to by itself: the host's own, and that with the domain of mDNS. */
#ifdef TNI_HAVE_ZLIB
#define HAVE_ZLIB true
#else
#define HAVE_ZLIB false
#endif

#define OWN_NAMES 2

int tni_web_begin(const struct tni_parse *p)
{
	struct tni_web_spec *spec = calloc(1, sizeof(*spec));

	if (!spec)
		return tni_parse_no_memory();
	p->ep->web = spec;
	spec->deflate = HAVE_ZLIB && p->ep->role == TN_SERVE;
	spec->deflate_min = DEFLATE_MIN;
	return 0;
}

void tni_web_free(struct tni_web_spec *spec)
{
	if (!spec)
		return;
	for (size_t i = 0; i < sizeof(spec->lists) / sizeof(spec->lists[0]); i++) {
		if (spec->lists[i])
			free(*spec->lists[i]); /* all items are one text */
		free(spec->lists[i]);
	}
	free(spec->path);
	free(spec->subprotocol);
	free(spec->origin);
	free(spec->hosts);
	free(spec->header);
	free(spec->target);
	free(spec->host);
	free(spec);
}

/* A text with commas as a list that NULL ends. Its first item owns the memory of all. */
static char **split(const char *text, size_t more)
{
	size_t count = 1, n = 0;
	char **list, *copy = strdup(text), *rest = copy, *item;

	for (const char *at = text; *at; at++)
		count += *at == ',';
	list = copy ? calloc(count + more + 1, sizeof(*list)) : NULL;
	if (!list) {
		free(copy);
		return NULL;
	}
	while ((item = strsep(&rest, ",")))
		list[n++] = item;
	return list;
}

/* What may not stand in a request as it is, in the form %XX (RFC 3986 2.1); "?" begins the query. */
static char *escape(const char *path)
{
	char *out = malloc(3 * strlen(path) + 1), *to = out;

	for (; out && *path; path++) {
		unsigned char c = (unsigned char)*path;

		if (c > ' ' && c < 0x7f && !strchr("%\"<>\\^`{|}#", c))
			*to++ = (char)c;
		else
			to += sprintf(to, "%%%02X", c);
	}
	if (out)
		*to = '\0';
	return out;
}

static int fail_key(const struct tni_parse *p, const char *key, const char *why)
{
	for (size_t i = 0; i < p->url->nparams; i++)
		if (!strcmp(p->url->params[i].key, key))
			return tni_parse_fail_value(p, &p->url->params[i], why);
	return tni_parse_fail(p, p->url->path_at, why);
}

/* The path: that of the URL, or key path, which alone is there where the URL's is a socket's. */
static int complete_path(const struct tni_parse *p)
{
	struct tni_web_spec *spec = p->ep->web;
	const char *path = spec->path;

	if (!path && p->ep->scheme->place == TNI_AT_HOST)
		path = p->url->path;
	if (!path || !*path)
		path = "/";
	if (*path != '/')
		return fail_key(p, "path", "a path begins with /");
	if (p->ep->role == TN_SERVE && strchr(path, '?'))
		return fail_key(p, "path", "a served path has no query: whatever a client asks with is taken");
	spec->target = escape(path);
	spec->config.path = spec->target;
	return spec->target ? 0 : tni_parse_no_memory();
}

/* Host (RFC 9110 7.2), without the port that the scheme stands for. */
static int complete_host(const struct tni_parse *p)
{
	const struct tni_endpoint *ep = p->ep;
	struct tni_web_spec *spec = ep->web;
	const char *name = ep->scheme->place == TNI_AT_HOST && *ep->host ? ep->host : "localhost";
	bool v6 = strchr(name, ':') != NULL;
	char port[16] = "";

	if (!tni_http_is_value(name, strlen(name)) || strpbrk(name, " \t"))
		return tni_parse_fail(p, p->url->host_at, "a host has no spaces and no control characters");
	if (ep->scheme->place == TNI_AT_HOST && ep->port != ep->scheme->port)
		snprintf(port, sizeof(port), ":%d", ep->port);
	if (asprintf(&spec->host, "%s%.*s%s%s", v6 ? "[" : "", (int)strcspn(name, "%"), name, v6 ? "]" : "", port) < 0)
		spec->host = NULL;
	spec->config.host = spec->host;
	return spec->host ? 0 : tni_parse_no_memory();
}

/*
 * The names that a server answers to. A page of a stranger can make its own name stand for an address of this network
 * (DNS rebinding), and its browser then takes the server for that page's own: so a name must be known here.
 */
static int complete_hosts(const struct tni_parse *p)
{
	const struct tni_endpoint *ep = p->ep;
	struct tni_web_spec *spec = ep->web;
	const char *served = ep->scheme->place == TNI_AT_HOST ? ep->host : "";
	char own[256] = "", text[900];

	if (!spec->hosts) {
		if (gethostname(own, sizeof(own) - 1) < 0)
			own[0] = '\0';
		snprintf(text, sizeof(text), "%s%s%s%s%s%s", own, *own ? "," : "", own, *own ? ".local" : "",
			 *served && strcmp(served, "*") != 0 ? "," : "", strcmp(served, "*") != 0 ? served : "");
	}
	spec->lists[0] = split(spec->hosts ? spec->hosts : text, 0);
	spec->config.hosts = (const char *const *)spec->lists[0];
	spec->config.own_hosts = !spec->hosts;
	return spec->lists[0] ? 0 : tni_parse_no_memory();
}

static int complete_subprotocols(const struct tni_parse *p)
{
	struct tni_web_spec *spec = p->ep->web;

	if (!spec->subprotocol)
		return 0;
	spec->lists[1] = split(spec->subprotocol, 0);
	if (!spec->lists[1])
		return tni_parse_no_memory();
	for (char **item = spec->lists[1]; *item; item++)
		if (!tni_http_is_token(*item, strlen(*item)))
			return fail_key(p, "subprotocol", "a subprotocol is a word of letters, digits and .-_");
	spec->config.subprotocols = (const char *const *)spec->lists[1];
	return 0;
}

static int complete_origin(const struct tni_parse *p)
{
	struct tni_web_spec *spec = p->ep->web;

	if (!spec->origin)
		return 0;
	if (!tni_http_is_value(spec->origin, strlen(spec->origin)))
		return fail_key(p, "origin", "it holds a control character");
	spec->config.origin = spec->origin;
	spec->lists[2] = split(spec->origin, 0);
	spec->config.origins = (const char *const *)spec->lists[2];
	return spec->lists[2] ? 0 : tni_parse_no_memory();
}

/* One more line of the request: "Authorization: Bearer ..." */
static int complete_header(const struct tni_parse *p)
{
	struct tni_web_spec *spec = p->ep->web;
	const char *colon = spec->header ? strchr(spec->header, ':') : NULL;

	if (!spec->header)
		return 0;
	if (!colon || !tni_http_is_token(spec->header, (size_t)(colon - spec->header)) ||
	    !tni_http_is_value(colon, strlen(colon)))
		return fail_key(p, "header", "a field of HTTP is Name: value");
	spec->lists[3] = calloc(2, sizeof(*spec->lists[3]));
	if (!spec->lists[3] || !(*spec->lists[3] = strdup(spec->header)))
		return tni_parse_no_memory();
	spec->config.fields = (const char *const *)spec->lists[3];
	return 0;
}

int tni_web_complete(const struct tni_parse *p)
{
	int (*const steps[])(const struct tni_parse *p) = {complete_path,         complete_host,   complete_hosts,
							   complete_subprotocols, complete_origin, complete_header};
	struct tni_endpoint *ep = p->ep;
	struct tni_web_spec *spec = ep->web;
	struct tni_ws_config *config = &spec->config;
	int rc = 0;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && rc == 0; i++)
		rc = steps[i](p);
	if (rc == 0 && spec->dead_ns && spec->dead_ns <= spec->ping_ns)
		rc = fail_key(p, "dead", "a peer that has just been asked (key ping) needs time to answer");
	if (rc == 0 && spec->deflate && !HAVE_ZLIB)
		rc = fail_key(p, "deflate", TNI_NOT_BUILT("zlib", "zlib"));
	config->server = ep->role == TN_SERVE;
	config->max = ep->frame.max;
	config->text = spec->kind ? spec->kind == TNI_WEB_TEXT : ep->codec && ep->codec->kind & TN_FORMAT_TEXT;
	config->ping_ns = spec->ping_ns;
	config->dead_ns = spec->dead_ns ? spec->dead_ns : 2 * spec->ping_ns;
	config->deflate = spec->deflate;
	config->deflate_min = spec->deflate_min;
	/* No memory between two messages where there may be many connections. */
	config->deflate_own.server_fresh = config->deflate_own.client_fresh = config->server;
	config->deflate_own.client_bits_known = !config->server;
	return rc;
}
