#include "place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon.h"

/* unix:/path is written where http+unix:/path is meant: nothing else would make sense. NULL without memory. */
static char *full_url(const char *url, int kind, const char *keys)
{
	const char *rest = kind & TN_URL_HTTP ? url : url + strcspn(url, ":");
	char *full;
	int len = asprintf(&full, "%s%s%c%s", kind & TN_URL_HTTP ? "" : "http+unix", rest, strchr(url, '?') ? '&' : '?',
			   keys);

	return len < 0 ? NULL : full;
}

const char *http_place(const char *url, const char *keys, char **full)
{
	int kind = tn_url_kind(url);

	if (kind < 0)
		return tn_errmsg();
	if (!(kind & TN_URL_HTTP) && kind != TN_URL_LOCAL)
		return "is not HTTP: http://localhost:9990, https://..., or unix:/PATH";
	*full = full_url(url, kind, keys);
	if (!*full)
		return "needs memory that is not there";
	if (tn_url_check(*full, TN_SERVE) < 0) {
		free(*full);
		*full = NULL;
		return tn_errmsg();
	}
	return NULL;
}

static bool is_loopback(const struct tn_place *place)
{
	for (int i = 0; i < place->naddrs; i++) {
		char text[256];

		tn_addr_text(&place->addrs[i], text, sizeof(text));
		if (strncmp(text, "127.", 4) != 0 && strncmp(text, "[::1]", 5) != 0 && strcmp(text, "::1") != 0)
			return false;
	}
	return place->naddrs > 0;
}

bool http_is_open_to_others(const char *url)
{
	struct tn_place place;
	int kind = tn_url_kind(url);

	if (kind < 0 || kind & (TN_URL_LOCAL | TN_URL_INHERITED) || tn_url_has_key(url, "allow") > 0)
		return false;
	return tn_url_place(url, &place) == 0 && !is_loopback(&place);
}
