#include "endpoint/parse.h"

#include "base/err.h"
#include "endpoint/words.h"
#include "net/names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- failing ---- */

int tni_parse_fail(const struct tni_parse *p, long at, const char *why)
{
	return tni_url_fail(p->text, at, why);
}

int tni_parse_fail_key_at(const struct tni_parse *p, const struct tni_url_param *param, long at, const char *text)
{
	char why[512];

	snprintf(why, sizeof(why), "key '%s': %s", param->key, text);
	return tni_parse_fail(p, at, why);
}

int tni_parse_fail_key(const struct tni_parse *p, const struct tni_url_param *param, const char *why)
{
	return tni_parse_fail_key_at(p, param, param->key_at, why);
}

int tni_parse_fail_value(const struct tni_parse *p, const struct tni_url_param *param, const char *why)
{
	return tni_parse_fail_key_at(p, param, param->value_at, why);
}

int tni_parse_fail_told(const struct tni_parse *p, long at)
{
	char why[512];

	snprintf(why, sizeof(why), "%s", tn_errmsg());
	return tni_parse_fail(p, at, why);
}

long tni_parse_byte_of(const struct tni_parse *p, const struct tni_url_param *param, long byte)
{
	long at = param->value_at;

	while (byte-- > 0)
		at += p->text[at] == '%' ? 3 : 1;
	return at;
}

int tni_parse_no_memory(void)
{
	return tni_err(-ENOMEM, "URL: out of memory");
}

/* ---- schemes ---- */

static const char *all_schemes(char *out, size_t cap)
{
	const struct tni_scheme *scheme;
	size_t used = 0;

	for (size_t i = 0; (scheme = tni_scheme_at(i)) && used < cap; i++)
		used += (size_t)snprintf(out + used, cap - used, "%s%s", i ? " " : "", scheme->name);
	return out;
}

static int fail_elsewhere(const struct tni_parse *p, const struct tni_scheme_hint *hint)
{
	const struct tni_url *url = p->url;
	char why[512];

	if (hint->why && url->host && *url->host)
		snprintf(why, sizeof(why), "scheme '%.32s': %s; did you mean '%s://%s%.200s%s:%d'?", url->scheme,
			 hint->why, hint->scheme, strchr(url->host, ':') ? "[" : "", url->host,
			 strchr(url->host, ':') ? "]" : "", url->port >= 0 ? url->port : hint->port);
	else
		snprintf(why, sizeof(why), "unknown scheme '%.32s'; did you mean '%s'?", url->scheme, hint->scheme);
	return tni_parse_fail(p, 0, why);
}

int tni_parse_fail_scheme(const struct tni_parse *p)
{
	const struct tni_scheme *scheme;
	const char *names[64], *near;
	struct tni_scheme_hint hint;
	char why[512], all[400];
	size_t n = 0;

#ifndef TNI_HAVE_PROXY
	if (strstr(p->url->scheme, "proxy"))
		return tni_parse_fail(p, 0, TNI_NOT_BUILT("proxy", "proxy"));
#endif
#ifndef TNI_HAVE_SHM
	if (strstr(p->url->scheme, "shm"))
		return tni_parse_fail(p, 0, TNI_NOT_BUILT("shared memory", "shm"));
#endif
#ifndef TNI_HAVE_FILES
	if (tni_words_have("file tty pty exec", p->url->scheme))
		return tni_parse_fail(p, 0, TNI_NOT_BUILT("files, terminals and programs", "files"));
#endif
	if (tni_scheme_hint(p->url->scheme, &hint))
		return fail_elsewhere(p, &hint);
	while (n < sizeof(names) / sizeof(names[0]) && (scheme = tni_scheme_at(n)))
		names[n++] = scheme->name;
	near = tn_nearest(p->url->scheme, names, n);
	if (near)
		snprintf(why, sizeof(why), "unknown scheme '%.32s'; did you mean '%s'?", p->url->scheme, near);
	else
		snprintf(why, sizeof(why), "unknown scheme '%.32s'; there are %s", p->url->scheme,
			 all_schemes(all, sizeof(all)));
	return tni_parse_fail(p, 0, why);
}

/* ---- a URL, or a place without a scheme ---- */

static bool is_service(const char *port)
{
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(port, "?"), port);
	return name[strspn(name, "0123456789")] == '\0' || tni_names_service(name, "tcp") >= 0;
}

/* What has no scheme is TCP: localhost:10000. A word in the place of the port must be known, or "foo:bar" would be one.
 */
static bool is_bare_place(const char *text)
{
	const char *port = *text == '[' ? strchr(text, ']') : text;

	if (!tni_url_is_place(text) || tni_scheme_begins(text))
		return false;
	return *text == ':' || *text == '[' || !strncasecmp(text, "localhost:", 10) ||
	       is_service(strchr(port, ':') + 1);
}

int tni_parse_split(const char *text, struct tni_url *url)
{
	const struct tni_parse p = {.text = text};
	char why[256];

	*url = (struct tni_url){.port = -1};
	if (is_bare_place(text))
		return tni_url_parse_place(url, text, tni_scheme_at(0)->name);
	if (*text == '/' || !strncmp(text, "./", 2) || !strncmp(text, "../", 3) || *text == '@') {
		snprintf(why, sizeof(why), "no scheme; a Unix socket is written unix:%.100s", text);
		return tni_parse_fail(&p, 0, why);
	}
	if (*text && text[strspn(text, "0123456789")] == '\0') {
		snprintf(why, sizeof(why), "a port alone: write localhost:%.8s (TCP), or a whole URL: tcp://, udp://",
			 text);
		return tni_parse_fail(&p, 0, why);
	}
	if (*text && !strchr(text, ':')) {
		snprintf(why, sizeof(why),
			 "the port is missing: %.100s:PORT (TCP), or a whole URL: tcp://, udp://, unix:", text);
		return tni_parse_fail(&p, (long)strlen(text), why);
	}
	return tni_url_parse(url, text);
}
