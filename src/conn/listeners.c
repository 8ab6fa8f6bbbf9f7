/* The listeners of a part of a server: every address that its endpoint stands for, or a descriptor that was handed
 * over. */
#include "base/err.h"
#include "conn/server.h"
#include "conn/sites.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Accepted sockets inherit what was set; those options that they do not are set one by one. */
static int add_listener(struct tni_part *part, int fd, const struct tn_addr *addr)
{
	static const struct tni_fd_done done = {.rd = tni_part_accept_done};
	struct tni_listener *l = &part->listeners[part->nlisteners];
	char url[TNI_URL_TEXT];

	if (part->nlisteners == TNI_LISTENERS_MAX) {
		close(fd);
		return tni_err(-E2BIG, "%s: the name has more addresses than can be served", part->ep->url);
	}
	l->url = strdup(tni_endpoint_served_url(part->ep, addr, url, sizeof(url)));
	if (!l->url) {
		close(fd);
		return tni_err(-ENOMEM, "%s: out of memory", part->ep->url);
	}
	l->part = part;
	l->addr = *addr;
	tni_fd_init(&l->io, -1, 0);
	part->nlisteners++;
	if (part->ep->scheme->type == SOCK_DGRAM)
		return tni_conn_serve_dgram(part, fd) ? 0 : tni_err(-ENOMEM, "%s: out of memory", part->ep->url);
	/* A ring accepts all there are before it can be told to stop. */
	tni_fd_init(&l->io, fd, part->ep->accept_rate || part->ep->scheme->secure ? TNI_FD_POLLED : 0);
	l->io.done = &done;
	return 0;
}

static int open_listener(struct tni_part *part, struct tn_addr *addr, bool join)
{
	struct tni_listen_spec spec = {.type = part->ep->scheme->type,
				       .protocol = part->ep->scheme->protocol,
				       .backlog = part->ep->backlog,
				       .shared = part->server->nparts > 1 && part->ep->scheme->place == TNI_AT_HOST,
				       .mode = part->ep->mode,
				       .user = part->ep->user,
				       .group = part->ep->group,
				       .join = join,
				       .open = tni_scheme_raw(part->ep->scheme) ? tni_endpoint_open : NULL,
				       .prepare = tni_endpoint_prepare,
				       .prepare_listen = tni_endpoint_prepare_listen,
				       .arg = part->ep};
	char url[TNI_URL_TEXT];
	struct tni_unix_file file = {0};
	int fd = tni_sites_listener(part, addr), rc;
	bool shared = fd >= 0;

	if (fd < 0 && fd != -ENOENT)
		return fd;
	if (!shared)
		fd = tni_listen_open(&spec, addr);
	if (fd < 0) {
		tni_endpoint_served_url(part->ep, addr, url, sizeof(url));
		return tni_err_prefix(fd, "%s%s", url,
				      part->ep->scheme->place == TNI_AT_HOST && !tni_addr_port(addr) ? ":0" : "");
	}
	if (part->ep->scheme->place == TNI_AT_PATH && !shared)
		tni_unix_file_note(&file, addr);
	rc = add_listener(part, fd, addr);
	if (rc == 0)
		part->listeners[part->nlisteners - 1].file = file;
	else
		tni_unix_file_remove(&file, addr);
	return rc;
}

void tni_part_close_listeners(struct tni_part *part)
{
	for (int i = 0; i < part->nlisteners; i++) {
		tni_fd_close(part->loop, &part->listeners[i].io);
		tni_unix_file_remove(&part->listeners[i].file, &part->listeners[i].addr);
		free(part->listeners[i].url);
	}
	part->nlisteners = 0;
}

static bool is_missing_family(int rc)
{
	return rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT;
}

/* With port 0 all addresses take the port that the first was given; if another has that one taken, all start again. */
static int open_addrs(struct tni_part *part)
{
	struct tn_addr addrs[TNI_LISTENERS_MAX];
	bool optional;
	int n = tni_endpoint_addrs(part->ep, addrs, TNI_LISTENERS_MAX, &optional), rc = 0, port = part->ep->port;

	for (int tries = 0; n > 0 && tries < 16; tries++) {
		for (int i = 0; i < n; i++) {
			tni_addr_set_port(&addrs[i], port);
			rc = open_listener(part, &addrs[i], false);
			if (rc < 0 && !(optional && is_missing_family(rc) && (part->nlisteners || i + 1 < n)))
				break;
			if (rc == 0)
				port = tni_addr_port(&addrs[i]);
			rc = 0;
		}
		if (rc != -EADDRINUSE || part->ep->port != 0 || n == 1)
			break;
		tni_part_undo_conns(part);
		tni_part_close_listeners(part);
		port = 0;
	}
	return n < 0 ? n : rc;
}

/* What a descriptor can be served as: thing, place, remedy for everything else. */
static int check_inherited(const struct tni_part *part, int *type, int *listening)
{
	const char *url = part->ep->url;
	int fd = part->ep->fd;
	socklen_t len = sizeof(*type);
	struct tn_addr peer;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, type, &len) < 0) {
		if (errno == EBADF)
			return tni_err(-EBADF, "%s: no descriptor with this number was handed over", url);
		if (errno == ENOTSOCK)
			return tni_err(-ENOTSOCK,
				       "%s: this descriptor is no socket, and only sockets are served; "
				       "anything else is dialled, as in: tenon connect %s",
				       url, url);
		return tni_err(-errno, "%s: %s", url, tn_strerror(-errno));
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, listening, &len) < 0)
		return tni_err(-errno, "%s: %s", url, tn_strerror(-errno));
	if (!*listening && (*type == SOCK_STREAM || *type == SOCK_SEQPACKET) && tni_addr_peer(fd, &peer) == -ENOTCONN)
		return tni_err(-ENOTCONN,
			       "%s: this socket neither listens nor is connected: call listen() "
			       "on it before it is handed over",
			       url);
	return 0;
}

/* Packets have no PROXY headers. Of a URL that names its scheme this is known when it is parsed. */
static int check_proxied(const struct tni_endpoint *ep, int type, int family)
{
	bool udp = type == SOCK_DGRAM && (family == AF_INET || family == AF_INET6);

	if (!ep->proxy || type == SOCK_STREAM || udp)
		return 0;
	return tni_err(TN_EURL, "%s: key 'proxy' applies to streams and udp only, and this socket is neither", ep->url);
}

/* fd:N: a listening socket, a datagram socket, or one connection that is there already. */
static int open_inherited(struct tni_part *part)
{
	int fd = part->ep->fd, type = 0, listening = 0, flags, rc = check_inherited(part, &type, &listening);
	struct tni_scheme *scheme = &part->own_scheme;
	struct tn_addr addr;

	if (rc < 0)
		return rc;
	if (tni_addr_local(fd, &addr) < 0)
		return tni_err(-errno, "%s: %s", part->ep->url, tn_strerror(-errno));
	rc = check_proxied(part->ep, type, tni_addr_family(&addr));
	if (rc < 0)
		return rc;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	*scheme = *part->ep->scheme;
	if (type == SOCK_RAW)
		type = SOCK_DGRAM; /* as far as the pump is concerned */
	scheme->type = type;
	if (type == SOCK_DGRAM && tni_addr_family(&addr) == AF_UNIX)
		scheme->kinds = TNI_SK_UNIX_DGRAM;
	else if (type == SOCK_STREAM && tni_addr_family(&addr) == AF_UNIX)
		scheme->kinds = TNI_SK_UNIX_STREAM;
	part->ep->scheme = scheme;
	if (tni_endpoint_prepare(fd, tni_addr_family(&addr), part->ep) < 0 ||
	    (listening && tni_endpoint_prepare_listen(fd, tni_addr_family(&addr), part->ep) < 0))
		return tni_err_prefix(-EINVAL, "%s", part->ep->url);
	if (listening || type == SOCK_DGRAM) {
		flags = fcntl(fd, F_GETFL);
		if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
			return tni_err(-errno, "%s: %s", part->ep->url, tn_strerror(-errno));
		return add_listener(part, fd, &addr);
	}
	tni_part_take(part, fd); /* the server stays when it has gone */
	return tni_list_empty(&part->conns) ? tni_err(-ENOMEM, "%s: out of memory", part->ep->url) : 0;
}

int tni_part_open(struct tni_part *part)
{
	struct tn_addr addr;

	if (part->ep->scheme->place == TNI_AT_FD)
		return open_inherited(part);
	if (part->ep->scheme->place == TNI_AT_HOST || part->ep->scheme->place == TNI_AT_ADDR)
		return open_addrs(part);
	if (part->ep->scheme->place == TNI_AT_LINK) {
		int rc = tni_raw_interface(&addr, part->ep->host, part->ep->protocol);

		return rc < 0 ? tni_err_prefix(rc, "%s", part->ep->url) : open_listener(part, &addr, false);
	}
	if (tni_addr_unix(&addr, part->ep->host, part->ep->host_len) < 0)
		return tni_err(TN_EURL, "%s: the path is too long", part->ep->url);
	return open_listener(part, &addr, false);
}

/* The other loops bind the very addresses that the first was given. Unix and inherited sockets have one acceptor. */
int tni_part_join(struct tni_part *part, const struct tni_part *first)
{
	int rc = 0;

	if (part->ep->scheme->place == TNI_AT_FD) {
		part->own_scheme = *first->ep->scheme;
		part->ep->scheme = &part->own_scheme;
	}
	if (part->ep->scheme->place != TNI_AT_HOST)
		return 0;
	for (int i = 0; i < first->nlisteners && rc == 0; i++) {
		struct tn_addr addr = first->listeners[i].addr;

		rc = open_listener(part, &addr, true);
	}
	return rc;
}
