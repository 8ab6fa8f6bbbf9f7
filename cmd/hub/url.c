#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon.h"

static bool has_port(const char *place, size_t len)
{
	const char *bracket = memchr(place, ']', len), *from = bracket ? bracket : place;

	return memchr(from, ':', len - (size_t)(from - place));
}

bool url_is_of(const char *url, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(url, prefix, len) == 0 && (url[len] == '+' || strncmp(url + len, "://", 3) == 0);
}

/* Who says who vouches for whom wants TLS. */
static bool wants_tls(const char *url)
{
	static const char *const keys[] = {"cert", "ca", "verify", "pin", "psk-file"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (tn_url_has_key(url, keys[i]) > 0)
			return true;
	return false;
}

char *url_under(const char *url, const char *prefix, const char *port, bool *late)
{
	const char *rest = url + strlen(prefix), *host;
	size_t place;
	char *out = NULL;

	*late = false;
	if (*rest == '+')
		return strdup(rest + 1);
	host = rest + strlen("://");
	place = strcspn(host, "/?#");
	if (asprintf(&out, "tls://%.*s%s%s%s", (int)place, host, has_port(host, place) ? "" : ":",
		     has_port(host, place) ? "" : port, host + place) < 0)
		return NULL;
	*late = wants_tls(out);
	if (!*late)
		memcpy(out, "tcp", 3);
	return out;
}

char *url_with(char *url, const char *key_and_value)
{
	char *out = NULL;

	if (url && asprintf(&out, "%s%c%s", url, strchr(url, '?') ? '&' : '?', key_and_value) < 0)
		out = NULL;
	free(url);
	return out;
}
