#include "endpoint/endpoint.h"

#include "base/err.h"
#include "endpoint/parse.h"

#include <stdio.h>
#include <string.h>

static bool is_loopback(const struct tni_endpoint *ep)
{
	if (ep->scheme->place != TNI_AT_HOST || !*ep->host || tni_addr_is_localhost(ep->host, true))
		return true;
	return !strncmp(ep->host, "127.", 4) || !strcmp(ep->host, "::1");
}

static int fail_creds(const struct tni_endpoint *ep, int rc, const char *culprit)
{
	struct tni_url url;
	char why[700];
	long at = -1;

	if (culprit && tni_parse_split(ep->url, &url) == 0) {
		for (size_t i = 0; i < url.nparams; i++)
			if (!strcmp(url.params[i].key, culprit))
				at = url.params[i].value_at;
		tni_url_free(&url);
	}
	snprintf(why, sizeof(why), "%s", tn_errmsg());
	if (at >= 0)
		tni_err(rc, "%.300s: key '%s': %s", ep->url, culprit, why);
	else
		tni_err(rc, "%.300s: %s%s", ep->url, why,
			ep->role == TN_SERVE && is_loopback(ep) && !ep->tls->cert && !ep->tls->psk_file
				? "; make one for this machine with: tenon cert new --out certs --host localhost; "
				  "then add ?cert=certs/server.pem&key=certs/server.key"
				: "");
	tni_err_at(at);
	return rc;
}

int tni_endpoint_creds(const struct tni_endpoint *ep, struct tni_creds **creds)
{
	const char *culprit;
	int rc = ep->role == TN_SERVE ? tni_creds_serve(ep->tls, creds, &culprit)
				      : tni_creds_dial(ep->tls, creds, &culprit);

	return rc < 0 ? fail_creds(ep, rc, culprit) : 0;
}

int tni_endpoint_check_creds(const struct tni_endpoint *ep)
{
	const char *culprit;
	int rc = tni_creds_check(ep->tls, ep->role == TN_SERVE, &culprit);

	return rc < 0 ? fail_creds(ep, rc, culprit) : 0;
}
