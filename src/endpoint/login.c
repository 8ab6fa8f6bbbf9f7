/* Key auth: who we are, from a file that is read each time a connection is dialled. */
#include "base/err.h"
#include "base/files.h"
#include "base/log.h"
#include "endpoint/via.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Each file is told of once in a while, not each time that it is read. */
static bool is_new(const char *file)
{
	static _Atomic(uint32_t) told[8];
	uint32_t hash = 2166136261; /* FNV-1a */

	for (; *file; file++)
		hash = (hash ^ (unsigned char)*file) * 16777619;
	return atomic_exchange(&told[hash % 8], hash) != hash;
}

int tni_endpoint_login(const struct tni_endpoint *ep, const char *user, struct tni_login *login)
{
	const char *file = tni_endpoint_auth(ep);
	struct tni_text text;
	int rc;

	*login = (struct tni_login){NULL, NULL};
	if (!file)
		return 0;
	rc = tni_text_read(file, ", which would hold user:password or a token", &text);
	if (rc == 0)
		rc = tni_login_read(login, user, file, (const char *)text.data, text.len);
	if (rc == 0 && text.mode & S_IROTH && is_new(file))
		tni_log(true, "%s: everybody on this machine can read this secret: chmod 600 %s", file, file);
	tni_text_free(&text);
	return rc == 0 || rc == -ENOMEM ? rc : tni_err_prefix(TN_EURL, "key 'auth'");
}

/* Where a key's value stands. */
static long value_of(const char *text, const char *key)
{
	struct tni_url url;
	long at = -1;

	if (tni_parse_split(text, &url) < 0)
		return -1;
	for (size_t i = 0; i < url.nparams; i++)
		if (!strcmp(url.params[i].key, key))
			at = url.params[i].value_at;
	tni_url_free(&url);
	return at;
}

static int fail(const struct tni_endpoint *ep, int rc, const char *key, const char *label)
{
	char why[700];

	snprintf(why, sizeof(why), "%s", tn_errmsg());
	tni_err(rc, "%.300s: %s%s%s", ep->url, label, *label ? ": " : "", why);
	tni_err_at(value_of(ep->url, key));
	return rc;
}

int tni_endpoint_check_logins(const struct tni_endpoint *ep)
{
	struct tni_login login;
	int rc = tni_endpoint_login(ep, NULL, &login);

	tni_login_free(&login);
	if (rc < 0)
		return fail(ep, rc, "auth", "");
	for (size_t i = 0; i < tni_via_count(ep) && rc == 0; i++) {
		const struct tni_via_hop *hop = &tni_endpoint_via(ep)->hops[i];

		rc = hop->ep->scheme->secure ? tni_endpoint_check_creds(hop->ep) : 0;
		if (rc == 0)
			rc = tni_via_login(hop, &login);
		if (rc == 0 && !login.user && login.password && tni_scheme_via(hop->ep->scheme) != TNI_VIA_HTTP)
			rc = tni_err(TN_EURL, "key 'auth': %s: SOCKS takes a user and a password, no token",
				     tni_endpoint_auth(hop->ep));
		tni_login_free(&login);
		if (rc < 0)
			return fail(ep, rc, "via", hop->label);
	}
	return rc;
}

int tni_via_login(const struct tni_via_hop *hop, struct tni_login *login)
{
	int rc = tni_endpoint_login(hop->ep, hop->user, login);

	if (rc < 0 || tni_endpoint_auth(hop->ep) || !hop->user)
		return rc;
	login->user = strdup(hop->user);
	login->password = strdup(hop->password ? hop->password : "");
	if (login->user && login->password)
		return 0;
	tni_login_free(login);
	return tni_err(-ENOMEM, "%s: out of memory", hop->label);
}
