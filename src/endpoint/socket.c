#include "endpoint/endpoint.h"

#include "base/err.h"
#include "base/log.h"
#include "base/random.h"
#include "endpoint/parse.h"
#include "net/resolve.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESOLVE_TIMEOUT_MS 10000

/* ---- what it is ---- */

int tni_endpoint_socket_type(const struct tni_endpoint *ep)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (ep->scheme->place != TNI_AT_FD)
		return ep->scheme->type;
	return getsockopt(ep->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ? 0 : type;
}

bool tni_endpoint_is_stream(const struct tni_endpoint *ep)
{
	int type = tni_endpoint_socket_type(ep);

	return (!type || type == SOCK_STREAM) && !ep->scheme->web;
}

static bool has_switch(const struct tni_endpoint *ep, const char *key, bool on)
{
	for (size_t i = 0; i < ep->noptions; i++)
		if (!strcmp(ep->options[i].opt->key, key))
			return (ep->options[i].value.number != 0) == on;
	return false;
}

bool tni_endpoint_is_dual(const struct tni_endpoint *ep)
{
	return has_switch(ep, "v6only", false);
}

bool tni_endpoint_is_shared(const struct tni_endpoint *ep)
{
	return has_switch(ep, "reuseport", true);
}

/* ---- addresses ---- */

int tni_endpoint_addrs(const struct tni_endpoint *ep, struct tn_addr *addrs, int max, bool *optional)
{
	int family = ep->scheme->family, n = 0;
	bool any = !strcmp(ep->host, "*");
	struct tn_addr *found = NULL;

	*optional = false;
	if (any || !*ep->host || tni_addr_is_localhost(ep->host, false)) {
		void (*make)(struct tn_addr *, int, int) = any ? tni_addr_any : tni_addr_loopback;

		if (family != AF_INET6 && !(any && family != AF_INET && tni_endpoint_is_dual(ep)))
			make(&addrs[n++], AF_INET, ep->port);
		if (family != AF_INET)
			make(&addrs[n++], AF_INET6, ep->port);
		*optional = n > 1;
		return n;
	}
	n = tni_resolve_now(ep->host, family, ep->port, RESOLVE_TIMEOUT_MS, &found);
	if (n > max)
		n = tni_err(-E2BIG, "%s has %d addresses, and there is room for %d: name one of them", ep->host, n,
			    max);
	else if (n > 0)
		memcpy(addrs, found, (size_t)n * sizeof(*addrs));
	free(found);
	return n < 0 ? tni_err_prefix(n, "%s", ep->url) : n;
}

/* ---- below the transports ---- */

int tni_endpoint_open(int family, void *arg)
{
	const struct tni_endpoint *ep = arg;
	struct tni_raw_spec spec = {.kind = tni_scheme_raw(ep->scheme),
				    .serving = ep->role == TN_SERVE,
				    .protocol = ep->protocol,
				    .frames = ep->frames};

	return tni_raw_open(&spec, family);
}

int tni_endpoint_neighbour(const struct tni_endpoint *ep, int fd, struct tn_addr *to)
{
	struct tn_addr at;

	if (ep->scheme->place != TNI_AT_LINK || ep->role != TN_DIAL)
		return 0;
	if (tni_addr_local(fd, &at) < 0)
		return -errno;
	return tni_raw_neighbour(to, &at, ep->to ? ep->to : "ff:ff:ff:ff:ff:ff");
}

/* ---- options ---- */

static int set_option(const struct tni_option_value *o, int fd, int family)
{
	int rc = tni_sockopt_set(fd, family, o->opt, &o->value);

	if (rc > 0)
		tni_log(true, "%s", tn_errmsg());
	return rc < 0 ? rc : 0;
}

/* Of two sockets, one for each IP version, each joins the groups that it can hear. */
static bool is_the_others(const struct tni_endpoint *ep, const struct tni_option_value *o, int family)
{
	return o->value.family && tni_sockopt_is_list(o->opt) && o->value.family != family &&
	       ep->scheme->family == AF_UNSPEC && ep->host && !strcmp(ep->host, "*") && !tni_endpoint_is_dual(ep);
}

static int set_options(const struct tni_endpoint *ep, int fd, int family, bool listening)
{
	int rc = 0;

	for (size_t i = 0; i < ep->noptions && rc == 0; i++) {
		const struct tni_option_value *o = &ep->options[i];
		bool at_listen = tni_sockopt_stage(o->opt, ep->scheme->kinds) == TNI_STAGE_LISTEN;

		if (at_listen == listening && !is_the_others(ep, o, family) &&
		    tni_sockopt_applies(o->opt, ep->scheme->kinds, tni_endpoint_role_bit(ep), family))
			rc = set_option(o, fd, family);
	}
	return rc;
}

int tni_endpoint_prepare_listen(int fd, int family, void *arg)
{
	return set_options(arg, fd, family, true);
}

static const char *bind_hint(int err, int port)
{
	switch (err) {
	case EADDRNOTAVAIL:
		return " (no interface here has this address; `ip address` lists them)";
	case EADDRINUSE:
		return port ? " (another socket has this port; `tenon inspect` says whose)"
			    : " (no port is left at this address; bind_address_no_port=on makes room for many more)";
	case EACCES:
		return port && port < 1024 ? " (ports below 1024 need CAP_NET_BIND_SERVICE)" : "";
	default:
		return "";
	}
}

#ifdef TNI_HAVE_SOCKOPTS

/* Any port of the range, from the one behind `after`, or that chance names. 0 or -errno of the last failure. */
static int bind_any_of(const struct tni_bind *end, int fd, struct tn_addr *addr, int after)
{
	unsigned count = (unsigned)(end->last - end->port) + 1;
	uint16_t from = 0;
	int err = 0;

	if (after)
		from = (uint16_t)(after - end->port + 1);
	else
		(void)tni_random(&from, sizeof(from));
	for (unsigned i = 0; i < count; i++) {
		tni_addr_set_port(addr, end->port + (int)((from + i) % count));
		if (bind(fd, tn_addr_sockaddr(addr), addr->len) == 0)
			return 0;
		err = errno;
		if (err != EADDRINUSE && err != EACCES) /* below 1024 another port of the range may be allowed */
			break;
	}
	return -err;
}

/* A port that nobody has; of streams, when there is none, one where another connection is or lingers: 1. */
static int bind_in_range(const struct tni_endpoint *ep, int fd, struct tn_addr *addr, int after)
{
	const struct tni_bind *end = ep->bind;
	bool stream = ep->scheme->type == SOCK_STREAM;
	int on = 1, rc = after ? -EADDRINUSE : bind_any_of(end, fd, addr, 0);

	if (stream)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (rc == -EADDRINUSE && stream) {
		rc = bind_any_of(end, fd, addr, after);
		if (rc == 0)
			return 1;
	}
	if (rc == -EADDRINUSE)
		return tni_err(rc, "bind=%s: other sockets have all ports of this range", end->text);
	return rc < 0 ? tni_err(rc, "bind=%s: %s%s", end->text, tn_strerror(rc), bind_hint(-rc, end->port)) : 0;
}

#endif

/* The end that a dialled connection comes from: key bind. */
static int bind_dialled(const struct tni_endpoint *ep, int fd, int family, int after)
{
	const struct tni_bind *end = ep->bind;
	struct tn_addr addr = end->addr;
	int on = 1, err;

	if (tni_addr_family(&addr) == AF_UNSPEC)
		tni_addr_any(&addr, family, end->port);
#ifdef TNI_HAVE_SOCKOPTS
	if (end->last > end->port)
		return bind_in_range(ep, fd, &addr, after);
#else
	(void)after;
#endif
	/* Former connections from this port may linger, and another address of the same name may be tried from it. */
	if (ep->scheme->type == SOCK_STREAM && end->port)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, tn_addr_sockaddr(&addr), addr.len) == 0)
		return 0;
	err = errno;
	return tni_err(-err, "bind=%s: %s%s", end->text, tn_strerror(-err), bind_hint(err, end->port));
}

int tni_endpoint_prepare_dialled(const struct tni_endpoint *ep, int fd, int family, int after)
{
	int on = 1, rc;

	/* A turn's bytes leave in one call anyhow, so Nagle's algorithm could only delay them. Accepted sockets inherit
	 * it. A failure is not the user's wish failing: an MPTCP of an old kernel does not know it. */
	if (ep->scheme->kinds & (TNI_SK_TCP | TNI_SK_MPTCP) && family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	rc = set_options(ep, fd, family, false);
	return rc < 0 || !ep->bind ? rc : bind_dialled(ep, fd, family, after);
}

int tni_endpoint_prepare(int fd, int family, void *arg)
{
	return tni_endpoint_prepare_dialled(arg, fd, family, 0);
}

void tni_endpoint_prepare_accepted(const struct tni_endpoint *ep, int fd, int family)
{
	for (size_t i = 0; i < ep->noptions; i++)
		if (tni_sockopt_stage(ep->options[i].opt, ep->scheme->kinds) == TNI_STAGE_CONN &&
		    set_option(&ep->options[i], fd, family) < 0)
			tni_log(true, "%s", tn_errmsg());
}
