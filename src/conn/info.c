/* Asking: what a connection tells of itself. */
#include "base/err.h"
#include "conn/peers.h"
#include "conn/program.h"
#include "conn/proxied.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "endpoint/via.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

void tn_conn_set_data(struct tn_conn *c, void *data)
{
	c->data = data;
}

void *tn_conn_data(const struct tn_conn *c)
{
	return c->data;
}

uint64_t tn_conn_id(const struct tn_conn *c)
{
	return c->id;
}

struct tn_loop *tn_conn_loop(const struct tn_conn *c)
{
	return c->loop;
}

void tn_conn_keep_loop(struct tn_conn *c, bool keep)
{
	c->loop->alive += c->background;
	c->background = !keep;
	c->loop->alive -= c->background;
}

struct tn_server *tn_conn_server(const struct tn_conn *c)
{
	return c->part ? c->part->server : NULL;
}

size_t tn_conn_queued(const struct tn_conn *c)
{
	return tni_conn_queued(c);
}

/* Where it is bound; for those that share a socket, where that is. */
bool tni_conn_local_of(const struct tn_conn *c, struct tn_addr *addr)
{
	const struct tn_conn *s = tni_conn_socket(c);
	struct tn_addr pair;

	if (!s || s->io.fd < 0 || tni_addr_local(s->io.fd, addr) < 0)
		return false;
	if (s != c) { /* the address that its peer speaks to, of those that the socket has */
		tni_peers_addr(c, &pair);
		(void)tni_addr_from_local(addr, &pair, tni_addr_port(addr));
	}
	return true;
}

static void peer_of(const struct tn_conn *c, struct tn_addr *addr)
{
	tni_conn_noted_peer(c, addr);
	if (c->ep->proxy && tni_proxied_client(c, addr))
		return;
	if (!addr->len && c->io.fd >= 0 && tni_addr_peer(c->io.fd, addr) < 0)
		addr->len = 0;
}

static int fd_of(const struct tn_conn *c)
{
	const struct tn_conn *s = tni_conn_socket(c);

	return s ? s->io.fd : -1;
}

int tn_msg_local(const struct tn_conn *c, const struct tn_msg *msg, struct tn_addr *local)
{
	const struct tn_addr *peer = msg->peer;

	*local = (struct tn_addr){0};
	if (!tni_conn_local_of(c, local))
		return tni_err(-EOPNOTSUPP, "%s: no address of a socket", c->ep->url);
	if (!peer || !c->dgram || !c->dgram->tells_local)
		return 0;
	if (!tni_addr_from_local(local, peer, tni_addr_port(local)))
		local->len = 0;
	return peer->local.to_many;
}

static bool has_many_peers(const struct tn_conn *c)
{
	return c->kind->has_many_peers && c->kind->has_many_peers(c);
}

int tn_conn_peer(const struct tn_conn *c, struct tn_addr *addr)
{
	addr->len = 0;
	if (has_many_peers(c))
		return -ENOTCONN;
	peer_of(c, addr);
	return addr->len || c->io.fd >= 0 || c->flags & TNI_OPEN ? 0 : -ENOTCONN;
}

int tn_conn_local(const struct tn_conn *c, struct tn_addr *addr)
{
	addr->len = 0;
	return tni_conn_local_of(c, addr) || tni_conn_closing_local(c, addr) ? 0 : -ENOTCONN;
}

static uint64_t connected_ns(const struct tn_conn *c)
{
	if (c->flags & TNI_DIALLING || !c->layers_us)
		return 0;
	return c->opened_ns - (uint64_t)(c->layers_us - 1) * TNI_NS_PER_US;
}

#ifdef TNI_HAVE_ACCESS

static void ask_credentials(int fd, struct tn_conn_info *info)
{
	struct ucred who = {.uid = UINT32_MAX};
	socklen_t len = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || who.uid == UINT32_MAX)
		return; /* no Unix socket, or one of datagrams */
	info->peer_known = true;
	info->peer_pid = who.pid;
	info->peer_uid = who.uid;
	info->peer_gid = who.gid;
	len = sizeof(info->peer_label) - 1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERSEC, info->peer_label, &len) < 0)
		info->peer_label[0] = '\0';
}

#endif

void tn_conn_info(const struct tn_conn *c, struct tn_conn_info *info)
{
	struct tn_addr addr = {0};

	*info = (struct tn_conn_info){
		.bytes_in = c->bytes_in,
		.bytes_out = c->bytes_out,
		.msgs_in = c->msgs_in,
		.msgs_out = c->msgs_out,
		.opened_ns = c->opened_ns,
		.lookup_ns = c->flags & TNI_DIALLING ? 0 : (uint64_t)c->lookup_us * TNI_NS_PER_US,
		.first_ns = tni_extra_of(c) ? tni_extra_of(c)->first_ns : 0,
		.fd = fd_of(c),
		.connected_ns = connected_ns(c),
		.via = tni_via_count(c->ep) ? tni_endpoint_via(c->ep)->places : "",
	};
	if (!tni_conn_is_program(c) && (tni_conn_local_of(c, &addr) || tni_conn_closing_local(c, &addr)))
		tni_endpoint_url_of(c->ep, &addr, info->local, sizeof(info->local));
#ifdef TNI_HAVE_ACCESS
	if (c->io.fd >= 0 && (c->ep->scheme->place == TNI_AT_PATH || c->ep->scheme->place == TNI_AT_FD))
		ask_credentials(c->io.fd, info);
#endif
	if (c->kind->info)
		c->kind->info(c, info);
	if (has_many_peers(c) && !info->many)
		return;
	if (tni_via_count(c->ep)) {
		tni_via_place(c->ep, info->peer);
		return;
	}
	peer_of(c, &addr);
	if (c->ep->scheme->place == TNI_AT_PATH && addr.len <= sizeof(sa_family_t) && c->part == NULL)
		snprintf(info->peer, sizeof(info->peer), "%s", c->ep->url);
	else
		tni_endpoint_url_of(c->ep, &addr, info->peer, sizeof(info->peer));
}

int tn_conn_option(const struct tn_conn *c, const char *key, char *value, size_t cap)
{
	return tni_endpoint_read_option(c->ep, fd_of(c), key, value, cap);
}
