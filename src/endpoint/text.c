#include "endpoint/endpoint.h"

#include "base/url.h"
#include "endpoint/keys.h"
#include "endpoint/web.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The scheme that an inherited descriptor would have been opened by. NULL: below the transports its address does not
 * say all of it. */
static const struct tni_scheme *scheme_of(int fd, const struct tn_addr *addr, int type)
{
	enum tni_place place = tni_addr_family(addr) == AF_UNIX ? TNI_AT_PATH : TNI_AT_HOST;
	int family, kind = tni_sockopt_kind(fd, &family);

	if (kind == TNI_SK_RAW || kind == TNI_SK_PING || kind == TNI_SK_PACKET)
		return NULL;
	return tni_scheme_for(place, type ? type : SOCK_STREAM);
}

/* It says all that is needed to serve or dial it. */
static const char *raw_url_of(const struct tni_endpoint *ep, const struct tn_addr *addr, char *out, size_t cap)
{
	struct tn_addr bare = *addr;
	char text[TNI_URL_TEXT];

	tni_addr_set_port(&bare, 0);
	if (ep->scheme->place == TNI_AT_LINK)
		snprintf(out, cap, "%s:%s?proto=0x%04x%s", ep->scheme->name, ep->host, (unsigned)ep->protocol,
			 ep->frames ? "&type=raw" : "");
	else if (ep->scheme->protocol)
		snprintf(out, cap, "%s://%s", ep->scheme->name, tn_addr_text(&bare, text, sizeof(text)));
	else
		snprintf(out, cap, "%s://%s?proto=%d", ep->scheme->name, tn_addr_text(&bare, text, sizeof(text)),
			 ep->protocol);
	return out;
}

/* An IP address, of an endpoint that is a Unix socket, or the other way round. */
static bool is_elsewhere(enum tni_place place, const struct tn_addr *addr)
{
	int family = tni_addr_family(addr);

	if (place == TNI_AT_PATH)
		return addr->len && (family == AF_INET || family == AF_INET6);
	return place == TNI_AT_HOST && addr->len && family == AF_UNIX;
}

const char *tni_endpoint_url_of(const struct tni_endpoint *ep, const struct tn_addr *addr, char *out, size_t cap)
{
	const struct tni_scheme *scheme = ep->scheme;
	char text[TNI_URL_TEXT];
	size_t len;
	const char *path = tni_addr_path(addr, &len);

	if (scheme->place == TNI_AT_FD && tni_addr_family(addr) != AF_UNSPEC)
		scheme = scheme_of(ep->fd, addr, scheme->type);
	else if (scheme->place != TNI_AT_FD && is_elsewhere(scheme->place, addr)) /* a PROXY header told of it */
		scheme = tni_scheme_for(scheme->place == TNI_AT_HOST ? TNI_AT_PATH : TNI_AT_HOST, scheme->type);
	if (scheme && tni_scheme_raw(scheme))
		return raw_url_of(ep, addr, out, cap);
	tn_addr_text(addr, text, sizeof(text));
	if (path && path[0] == '\0') {
		text[0] = '@';
		tni_url_escape(path + 1, len - 1, text + 1, sizeof(text) - 1);
	} else if (path) {
		tni_url_escape(path, len, text, sizeof(text));
	}
	if (scheme && tni_scheme_is_device(scheme)) {
		tni_url_escape(ep->host, ep->host_len, text, sizeof(text));
		snprintf(out, cap, "%s:%s", scheme->name, text);
	} else if (!scheme || scheme->place == TNI_AT_FD) {
		snprintf(out, cap, "fd:%d", ep->fd);
	} else {
		snprintf(out, cap, "%s:%s%s", scheme->name, scheme->place == TNI_AT_HOST ? "//" : "", text);
	}
	return out;
}

const char *tni_endpoint_served_url(const struct tni_endpoint *ep, const struct tn_addr *addr, char *out, size_t cap)
{
	const char *path = ep->web ? ep->web->config.path : "/";
	size_t len;

	tni_endpoint_url_of(ep, addr, out, cap);
	len = strlen(out);
	if (strcmp(path, "/") != 0)
		snprintf(out + len, cap - len, "%s%s", ep->scheme->place == TNI_AT_PATH ? "?path=" : "", path);
	return out;
}

int tni_endpoint_read_option(const struct tni_endpoint *ep, int fd, const char *key, char *value, size_t cap)
{
	const struct tni_key *own = tni_key_find(key);
	const struct tni_sockopt *opt = own ? NULL : tni_sockopt_find(key);
	struct tn_addr addr;

	if (own)
		return tni_key_read(ep, own, value, cap);
	if (!opt)
		return -EINVAL;
	if (fd < 0 || tni_addr_local(fd, &addr) < 0 ||
	    !tni_sockopt_applies(opt, ep->scheme->kinds, tni_endpoint_role_bit(ep), tni_addr_family(&addr)))
		return -EOPNOTSUPP;
	return tni_sockopt_get(fd, tni_addr_family(&addr), opt, value, cap) < 0 ? -EOPNOTSUPP : 0;
}
