/* What the public header tells of a URL: tn_url_*(). */
#include "base/err.h"
#include "base/url.h"
#include "endpoint/access.h"
#include "endpoint/parse.h"
#include "endpoint/via.h"
#include "net/netns.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

int tn_url_check(const char *url, enum tn_role role)
{
	struct tni_access *access = NULL;
	struct tni_endpoint *ep;
	int rc = tni_endpoint_new(url, role, &ep);

	if (rc != 0)
		return rc;
	if (ep->scheme->secure)
		rc = tni_endpoint_check_creds(ep);
	if (rc == 0)
		rc = tni_endpoint_check_logins(ep);
	if (rc == 0 && tni_endpoint_has_access(ep))
		rc = tni_access_new(ep, &access);
	tni_access_unref(access);
	tni_endpoint_unref(ep);
	return rc;
}

/* For questions to which the role does not matter. */
static int endpoint_of_either_role(const char *text, struct tni_endpoint **ep)
{
	int rc = tni_endpoint_new(text, TN_DIAL, ep);

	return rc != 0 ? tni_endpoint_new(text, TN_SERVE, ep) : 0;
}

static int place_addrs(const struct tni_endpoint *ep, struct tn_place *place)
{
	bool optional;

	if (ep->scheme->place == TNI_AT_LINK) {
		place->naddrs = strcmp(ep->host, "*") != 0;
		return tni_raw_interface(&place->addrs[0], ep->host, ep->protocol);
	}
	if (ep->scheme->place == TNI_AT_PATH) {
		place->naddrs = 1;
		return tni_addr_unix(&place->addrs[0], ep->host, ep->host_len);
	}
	if (!strcmp(ep->host, "*"))
		return 0;
	place->naddrs = tni_endpoint_addrs(ep, place->addrs, TN_PLACE_ADDRS_MAX, &optional);
	return place->naddrs < 0 ? place->naddrs : 0;
}

int tn_url_place(const char *url, struct tn_place *place)
{
	struct tni_endpoint *ep;
	int rc = endpoint_of_either_role(url, &ep);

	if (rc != 0)
		return rc;
	if (ep->scheme->place == TNI_AT_FD || tni_scheme_is_device(ep->scheme)) {
		rc = ep->scheme->place == TNI_AT_FD
			     ? tni_err(TN_EURL, "%s: an inherited descriptor has no place of its own", url)
			     : tni_err(TN_EURL, "%s: a file, terminal or command is at no address", url);
		tni_endpoint_unref(ep);
		return rc;
	}
	*place = (struct tn_place){.family = ep->scheme->family,
				   .type = ep->scheme->type,
				   .protocol = ep->scheme->protocol,
				   .port = ep->scheme->place == TNI_AT_HOST ? ep->port : -1};
	if (ep->scheme->kinds & TNI_SK_TCP)
		place->protocol = IPPROTO_TCP;
	else if (ep->scheme->kinds & TNI_SK_UDP)
		place->protocol = IPPROTO_UDP;
	else if (tni_scheme_raw(ep->scheme) == TNI_RAW_IP || ep->frames)
		place->type = SOCK_RAW;
	if (tni_scheme_raw(ep->scheme))
		place->protocol = ep->protocol;
	rc = place_addrs(ep, place);
	tni_endpoint_unref(ep);
	return rc;
}

/* The one that is looked for, among those that are shown to it. */
struct finder {
	int left; /* before it */
	char *path;
	size_t cap;
	enum tn_file_use *use;
};

/* -ENOENT: this is not it. */
static int is_file(struct finder *f, const char *file, enum tn_file_use use)
{
	if (!file || f->left-- > 0)
		return -ENOENT;
	*f->use = use;
	return (size_t)snprintf(f->path, f->cap, "%s", file) < f->cap ? 0 : -ENAMETOOLONG;
}

/* What credentials were read from. */
static int find_creds(const struct tni_endpoint *ep, struct finder *f)
{
	struct tni_creds *creds;
	const char *file;
	int rc = tni_endpoint_creds(ep, &creds);

	if (rc < 0)
		return rc;
	rc = -ENOENT;
	for (int i = 0; rc == -ENOENT && (file = tni_creds_file(creds, i)); i++)
		rc = is_file(f, file, TN_FILE_READ);
	tni_creds_unref(creds);
	return rc;
}

/* Those of an endpoint: the key log, its network, what its credentials were read from, who it is; then those of its
 * proxies. */
static int find_file(const struct tni_endpoint *ep, struct finder *f)
{
	int rc = is_file(f, ep->scheme->secure ? ep->tls->keylog : NULL, TN_FILE_APPEND);

#ifdef TNI_HAVE_SOCKOPTS
	char netns[PATH_MAX];

	if (rc == -ENOENT && ep->netns && tni_netns_path(ep->netns, netns, sizeof(netns)))
		rc = is_file(f, netns, TN_FILE_READ);
#endif
	if (rc == -ENOENT && ep->scheme->secure)
		rc = find_creds(ep, f);
	if (rc == -ENOENT)
		rc = is_file(f, tni_endpoint_auth(ep), TN_FILE_READ);
	for (size_t i = 0; i < tni_via_count(ep) && rc == -ENOENT; i++)
		rc = find_file(tni_endpoint_via(ep)->hops[i].ep, f);
	return rc;
}

int tn_url_file(const char *url, int index, char *path, size_t cap, enum tn_file_use *use)
{
	struct finder f = {.left = index, .path = path, .cap = cap, .use = use};
	struct tni_endpoint *ep;
	int rc = tni_endpoint_new(url, TN_DIAL, &ep);

	if (rc != 0)
		return rc;
	rc = index >= 0 ? find_file(ep, &f) : -ENOENT;
	tni_endpoint_unref(ep);
	return rc;
}

int tn_url_has_key(const char *text, const char *key)
{
	struct tni_url url;
	int rc = tni_parse_split(text, &url);

	if (rc < 0)
		return rc;
	rc = tni_url_get(&url, key) != NULL;
	tni_url_free(&url);
	return rc;
}

int tn_url_keeps_messages(const char *text)
{
	struct tni_endpoint *ep;
	int rc = endpoint_of_either_role(text, &ep);

	if (rc != 0)
		return rc;
	rc = !tni_endpoint_is_stream(ep) || ep->frame.ops != tni_frame_at(0);
	tni_endpoint_unref(ep);
	return rc;
}

/* The socket of a scheme, or of an inherited descriptor. 0: it is no socket. */
static unsigned socket_kind(const struct tni_endpoint *ep)
{
	int family, kind;

	if (ep->scheme->place != TNI_AT_FD)
		return ep->scheme->kinds;
	kind = tni_sockopt_kind(ep->fd, &family);
	return kind > 0 ? (unsigned)kind : 0;
}

int tn_url_kind(const char *text)
{
	struct tni_endpoint *ep;
	int rc = endpoint_of_either_role(text, &ep), kind, type;
	unsigned socket;
	bool datagrams;

	if (rc != 0)
		return rc;
	socket = socket_kind(ep);
	type = tni_endpoint_socket_type(ep);
	datagrams = type == SOCK_DGRAM || type == SOCK_RAW;
	kind = (ep->scheme->secure ? TN_URL_SECURE : 0) | (ep->scheme->place == TNI_AT_FD ? TN_URL_INHERITED : 0);
	if (socket & (TNI_SK_UNIX_STREAM | TNI_SK_UNIX_DGRAM | TNI_SK_UNIX_SEQPACKET))
		kind |= TN_URL_LOCAL;
	kind |= ep->scheme->gate ? TN_URL_PROXY : 0;
	kind |= tni_scheme_is_memory(ep->scheme) ? TN_URL_MEMORY : 0;
	kind |= tni_scheme_is_device(ep->scheme) ? TN_URL_FILE : 0;
	if (type == SOCK_SEQPACKET || datagrams || ep->scheme->web)
		kind |= TN_URL_PACKETS;
	if (datagrams)
		kind |= TN_URL_DATAGRAMS | (kind & TN_URL_LOCAL ? 0 : TN_URL_LOSSY);
	if (datagrams && socket & (TNI_SK_RAW | TNI_SK_PING | TNI_SK_PACKET))
		kind |= TN_URL_BELOW;
	if (socket & TNI_SK_PING)
		kind |= TN_URL_ICMP;
	if (ep->scheme->web == TNI_WEB_REQUESTS)
		kind |= TN_URL_HTTP;
	else if (ep->scheme->web)
		kind |= TN_URL_WEBSOCKET;
	tni_endpoint_unref(ep);
	return kind;
}
