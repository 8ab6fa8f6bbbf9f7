#include "web/guard.h"

#include "base/err.h"

#include <string.h>
#include <strings.h>

/* The name or address in a Host, without its port. */
static struct tni_http_text name_of(const struct tni_http_text *host)
{
	struct tni_http_text name = *host;
	const char *end = name.len && *name.at == '[' ? memchr(name.at, ']', name.len) : NULL;
	const char *colon = end || !name.len ? NULL : memchr(name.at, ':', name.len);

	if (end)
		name.len = (size_t)(end + 1 - name.at);
	else if (colon)
		name.len = (size_t)(colon - name.at);
	return name;
}

static bool is_listed(const char *const *list, const struct tni_http_text *text)
{
	for (int i = 0; list && list[i]; i++)
		if (tni_http_is(text, list[i]) || !strcmp(list[i], "*"))
			return true;
	return false;
}

/* An address, or what stands for this computer: no page can be named so (RFC 6761 6.3). Nor without any name, which
 * HTTP/1.0 permits: browsers say one. */
static bool is_local_name(const struct tni_http_text *name)
{
	bool address = name->len || !name->at;

	for (size_t i = 0; i < name->len; i++)
		address &= (name->at[i] >= '0' && name->at[i] <= '9') || name->at[i] == '.';
	return address || (name->len && *name->at == '[') || tni_http_is(name, "localhost") ||
	       (name->len > 10 && !strncasecmp(name->at + name->len - 10, ".localhost", 10));
}

static bool may_come_from(const struct tni_ws_config *config, const struct tni_http_text *origin,
			  const struct tni_http_text *host)
{
	static const char *const starts[] = {"http://", "https://"};

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		size_t len = strlen(starts[i]);

		if (origin->len == len + host->len && !strncasecmp(origin->at, starts[i], len) &&
		    !strncasecmp(origin->at + len, host->at, host->len))
			return true;
	}
	return is_listed(config->origins, origin);
}

/* A page of another site, says the browser, and not one that somebody has just opened by a link. */
static bool is_of_another_site(const struct tni_http *head)
{
	struct tni_http_text site, mode;

	return tni_http_field(head, "Sec-Fetch-Site", &site) == 1 && tni_http_equals(&site, "cross-site") &&
	       !(tni_http_field(head, "Sec-Fetch-Mode", &mode) == 1 && tni_http_equals(&mode, "navigate"));
}

int tni_web_may_ask(const struct tni_ws_config *config, const struct tni_http *head)
{
	struct tni_http_text origin = {0}, name = name_of(&head->host);
	int rc;

	if (config->hosts && !is_listed(config->hosts, &name) && !(config->own_hosts && is_local_name(&name)))
		return tni_err(421, "nothing is served under the name '%.*s'", (int)(name.len < 200 ? name.len : 200),
			       name.len ? name.at : "");
	rc = tni_http_field(head, "Origin", &origin);
	if (rc < 0)
		return tni_err_prefix(400, "the request");
	if (rc && !may_come_from(config, &origin, &head->host))
		return tni_err(403, "pages of '%.*s' may not connect here", (int)(origin.len < 200 ? origin.len : 200),
			       origin.at);
	if (!rc && is_of_another_site(head))
		return tni_err(403, "pages of another site may not ask here");
	return 0;
}
