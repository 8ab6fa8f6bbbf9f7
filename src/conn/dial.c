/* Dialling: a connection of our own making. */
#include "base/err.h"
#include "conn/again.h"
#include "conn/dialler.h"
#include "conn/program.h"
#include "conn/proxied.h"
#include "conn/pump.h"
#include "conn/shm.h"
#include "endpoint/access.h"
#include "conn/way.h"
#include "endpoint/via.h"
#include "net/listen.h"
#include "net/netns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int tni_conn_connected(struct tn_conn *c, int fd)
{
	struct tn_addr addr;
	bool is_unix = tni_addr_local(fd, &addr) == 0 && tni_addr_family(&addr) == AF_UNIX;
	int rc = c->kind->open(c, fd, is_unix ? TNI_FD_UNIX : 0);

	if (tni_addr_peer(fd, &addr) == 0)
		tni_conn_note_peer(c, &addr);
	else if (c->dgram)
		tni_conn_note_peer(c, &c->dgram->many);
	tni_conn_opened(c);
	return rc;
}

void tni_conn_stop_dialling(struct tn_conn *c)
{
	tni_dial_cancel(c->dial);
	c->dial = NULL;
	if (c->layered) {
		tni_way_free(c->layered->busy->way);
		c->layered->busy->way = NULL;
	}
	c->flags &= ~(uint32_t)TNI_DIALLING;
}

static void dialled(void *arg, int fd)
{
	struct tn_conn *c = arg;

	c->flags &= ~(uint32_t)TNI_DIALLING;
	c->layers_us = 0;
	if (fd < 0) {
		c->flags |= TNI_DEAD;
		c->err = fd;
		tni_conn_finish(c, true);
		return;
	}
	if (tni_conn_connected(c, fd) < 0)
		tni_conn_fail(c, -ENOMEM, "open");
}

static int prepare_dialled(int fd, int family, int after, void *arg)
{
	const struct tn_conn *c = arg;

	return tni_endpoint_prepare_dialled(c->ep, fd, family, after);
}

static int open_dialled(int family, void *arg)
{
	struct tn_conn *c = arg;

	return tni_endpoint_open(family, c->ep);
}

/* There is no connecting to a neighbour: it is bound to its interface, and the rest is net/raw's. */
static int open_link(struct tn_conn *c)
{
	struct tni_listen_spec spec = {.mode = -1,
				       .user = -1,
				       .group = -1,
				       .type = SOCK_DGRAM,
				       .open = tni_endpoint_open,
				       .prepare = tni_endpoint_prepare,
				       .arg = c->ep};
	struct tn_addr addr;
	int home = -1, fd = tni_netns_enter(tni_endpoint_netns(c->ep), &home);

	if (fd == 0)
		fd = tni_raw_interface(&addr, c->ep->host, c->ep->protocol);
	if (fd == 0)
		fd = tni_listen_open(&spec, &addr);
	tni_netns_leave(home);
	if (fd < 0)
		return tni_err_prefix(fd, "%s", c->ep->url);
	return tni_conn_connected(c, fd) < 0 ? tni_err(-ENOMEM, "%s: out of memory", c->ep->url) : 0;
}

static bool permits(const struct tn_addr *addr, void *arg)
{
	const struct tn_conn *c = arg;

	return tni_access_reaches(c->ep->reach, addr);
}

/* Where the socket goes to: the endpoint's own place, or the first proxy's. */
static int dial_place(struct tn_conn *c, const struct tni_endpoint *at, uint64_t began_ns)
{
	struct tni_endpoint *ep = c->ep;
	struct tn_addr path;
	char *name = NULL;
	struct tni_dial_spec spec = {.host = at->host,
				     .port = at->port,
				     .family = at->scheme->family,
				     .type = ep->scheme->type,
				     .protocol = at->scheme->place == TNI_AT_PATH ? 0 : ep->scheme->protocol,
				     .portless = ep->scheme->place == TNI_AT_ADDR,
				     .open = tni_scheme_raw(ep->scheme) ? open_dialled : NULL,
				     .prepare = prepare_dialled,
				     .permits = ep->reach ? permits : NULL,
				     .lookup_us = &c->lookup_us,
				     .timeout_ns = ep->connect_ns,
				     .began_ns = began_ns,
				     .name = ep->url};
	int rc;

	if (c->kind == &tni_kind_datagrams && tni_dgram_open(c, true) < 0)
		return tni_err(-ENOMEM, "%s: out of memory", ep->url);
	if (c->kind == &tni_kind_datagrams && ep->scheme->place != TNI_AT_PATH)
		spec.many = &c->dgram->many;
#ifdef TNI_HAVE_SOCKOPTS
	spec.unconnected = !ep->connected;
	spec.netns = ep->netns;
	spec.ports = ep->bind ? (unsigned)(ep->bind->last - ep->bind->port) + 1 : 1;
#endif
	if (at->scheme->place == TNI_AT_PATH) {
		tni_addr_unix(&path, at->host, at->host_len);
		spec.addr = &path;
	}
#ifdef TNI_HAVE_SHM
	if (c->kind == &tni_kind_memory)
		spec.greeted = tni_shm_greeted;
#endif
	spec.first = tni_layered_first(c);
	if (spec.first && ep->handshake_ns < spec.timeout_ns)
		spec.timeout_ns = ep->handshake_ns;
	if (ep->bind && tni_addr_family(&ep->bind->addr) != AF_UNSPEC)
		spec.family = tni_addr_family(&ep->bind->addr);
	if (at != ep && asprintf(&name, "%s: %s", ep->url, tni_endpoint_via(ep)->hops[0].label) < 0)
		return tni_err(-ENOMEM, "%s: out of memory", ep->url);
	if (name)
		spec.name = name;
	rc = tni_dial_start(c->loop, &spec, dialled, c, &c->dial);
	free(name);
	if (rc == 0)
		c->flags |= TNI_DIALLING;
	return rc;
}

static int start_dial(struct tn_conn *c)
{
	return tni_via_count(c->ep) ? tni_way_begin(c, dial_place) : dial_place(c, c->ep, 0);
}

/* What stands behind its scheme is connected to, or opened. */
static int begin(struct tn_conn *c, const struct tn_conn *of, const struct tn_msg *msg)
{
	const struct tni_scheme *scheme = c->ep->scheme;

	(void)of, (void)msg;
	if (scheme->place == TNI_AT_FD)
		return tni_conn_adopt(c);
	if (scheme->place == TNI_AT_LINK)
		return open_link(c);
	if (!tni_scheme_is_device(scheme))
		return start_dial(c);
	c->flags &= ~(uint32_t)TNI_DIALLING; /* key reconnect: it is open at once */
	c->layers_us = 0;
#ifdef TNI_HAVE_FILES
	return tni_conn_is_program(c) ? tni_exec_open(c, of, msg) : tni_conn_open_device(c);
#else
	return 0;
#endif
}

#ifdef TNI_HAVE_RECONNECT
int tni_conn_redial(struct tn_conn *c)
{
	int rc = tni_layered_dial(c);

	return rc < 0 ? rc : begin(c, NULL, NULL);
}
#endif

static const struct tni_kind *kind_of(const struct tni_endpoint *ep)
{
	if (ep->scheme->place == TNI_AT_FD)
		return tni_kind_of_fd(ep->fd);
	if (tni_scheme_is_file(ep->scheme))
		return &tni_kind_file;
	if (ep->scheme->type == SOCK_DGRAM)
		return ep->scheme->secure ? &tni_kind_association : &tni_kind_datagrams;
	return tni_kind_of_stream(ep->scheme);
}

/* Takes the reference to the endpoint. */
static int dialled_new(struct tn_loop *loop, struct tni_endpoint *ep, const struct tn_handler *handler,
		       struct tn_conn **out)
{
	struct tni_dialler *dialler = tni_dialler_of(loop);
	const struct tn_handler *shared = dialler ? tni_dialler_handler(dialler, handler) : NULL;
	struct tn_conn *c = shared ? tni_conn_new(tni_proxied_size(ep), kind_of(ep), loop, ep) : NULL;
	int rc;

	if (!c) {
		rc = tni_err(-ENOMEM, "%s: out of memory", ep->url);
		tni_dialler_unref(shared);
		tni_endpoint_unref(ep);
		return rc;
	}
	c->handler = shared;
	tni_dialler_add(dialler, c);
	*out = c;
	return 0;
}

/* The same. */
static int dial(struct tn_loop *loop, struct tni_endpoint *ep, const struct tn_handler *handler, void *arg,
		const struct tn_conn *of, const struct tn_msg *msg, struct tn_conn **out)
{
	struct tn_conn *c;
	int rc = dialled_new(loop, ep, handler, &c);

	if (rc < 0)
		return rc;
	c->arg = arg;
	if (ep->spin_ns != TNI_NEVER)
		loop->spin.max_ns = ep->spin_ns;
	rc = ep->proxy ? tni_proxied_make(c, of, msg) : 0;
#ifdef TNI_HAVE_RECONNECT
	if (rc == 0)
		rc = tni_again_begin(c);
#endif
	if (rc == 0)
		rc = tni_layered_dial(c);
	if (rc == 0)
		rc = begin(c, of, msg);
	if (rc < 0) {
		c->flags |= TNI_UNTOLD; /* the caller is told by the return value, not by on_close */
		tni_conn_finish(c, true);
		return rc;
	}
	if (out)
		*out = c;
	return 0;
}

static int fail_ending(const char *url)
{
	return tni_err(TN_ESTATE, "%s: the loop is being freed", url);
}

int tn_dial_for(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg,
		const struct tn_conn *of, const struct tn_msg *msg, struct tn_conn **out)
{
	struct tni_dialler *dialler;
	struct tni_endpoint *ep;
	int rc;

	if (loop->ending)
		return fail_ending(url);
	dialler = tni_dialler_of(loop);
	if (!dialler)
		return tni_err(-ENOMEM, "%s: out of memory", url);
	rc = tni_dialler_endpoint(dialler, url, &ep);
	return rc < 0 ? rc : dial(loop, ep, handler, arg, of, msg, out);
}

int tn_dial(struct tn_loop *loop, const char *url, const struct tn_handler *handler, void *arg, struct tn_conn **out)
{
	return tn_dial_for(loop, url, handler, arg, NULL, NULL, out);
}

int tni_dial_endpoint_for(struct tn_loop *loop, struct tni_endpoint *ep, const struct tn_handler *handler, void *arg,
			  const struct tn_conn *of, struct tn_conn **out)
{
	return loop->ending ? fail_ending(ep->url) : dial(loop, tni_endpoint_ref(ep), handler, arg, of, NULL, out);
}

int tn_dial_endpoint(struct tn_loop *loop, struct tn_endpoint *endpoint, const struct tn_handler *handler, void *arg,
		     struct tn_conn **out)
{
	return tni_dial_endpoint_for(loop, (struct tni_endpoint *)endpoint, handler, arg, NULL, out);
}
