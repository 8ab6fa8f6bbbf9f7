/* How a connection begins: made, given its descriptor and its server, opened. */
#include "base/err.h"
#include "conn/peers.h"
#include "conn/proxied.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "conn/sites.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static_assert(sizeof(struct tn_conn) <= 424, "an idle connection costs at most 512 bytes, slot and allocator included");

static _Atomic(uint64_t) last_id;

struct tn_conn *tni_conn_new(size_t size, const struct tni_kind *kind, struct tn_loop *loop, struct tni_endpoint *ep)
{
	struct tn_conn *c = calloc(1, size);

	if (!c)
		return NULL;
	c->kind = kind;
	c->loop = loop;
	c->ep = ep;
	c->id = atomic_fetch_add(&last_id, 1) + 1;
	c->task.run = tni_conn_run;
	tni_list_init(&c->task.node);
	tni_list_init(&c->siblings);
	c->timer.fire = tni_conn_timer_fired;
	c->frame = ep->frame;
	c->hold = TNI_HOLD_CLOSED;
	c->opened_ns = c->active_ns = loop->now_ns;
	tni_buf_init(&c->rx, &loop->mem, SIZE_MAX); /* bounded by not reading */
	/* The mark, and one whole message past it with what its frame adds. */
	tni_buf_init(&c->tx, &loop->mem, (size_t)ep->queue + tni_frame_room(&ep->frame));
	tni_fd_init(&c->io, -1, 0);
	loop->alive++;
	return c;
}

void tni_conn_note_peer(struct tn_conn *c, const struct tn_addr *addr)
{
	if (addr->len && addr->len <= sizeof(c->peer) && tni_addr_family(addr) != AF_UNIX) {
		memcpy(c->peer, addr->bytes, addr->len);
		c->peer_len = (uint8_t)addr->len;
	}
}

void tni_conn_take_peer(struct tn_conn *c, const struct tn_addr *addr)
{
	c->peer_len = 0;
	c->uid = 0;
	tni_conn_note_peer(c, addr);
}

void tni_conn_noted_peer(const struct tn_conn *c, struct tn_addr *addr)
{
	addr->len = 0;
	if (c->peer_len)
		tni_addr_from(addr, (const struct sockaddr *)(const void *)c->peer, c->peer_len);
}

uint64_t tni_conn_source(const struct tn_conn *c)
{
	struct tn_addr addr;

	tni_conn_noted_peer(c, &addr);
	return addr.len ? tni_source_of(&addr) : c->uid;
}

void tni_conn_opened(struct tn_conn *c)
{
	c->opened_ns = c->active_ns = c->loop->now_ns;
	c->layers_us = 1;
	c->hold &= (uint8_t)~TNI_HOLD_CLOSED;
	if (c->flags & TNI_WRITE_ONLY) { /* nothing will ever come: an end at once, for a handler that asks for one */
		c->flags |= tni_conn_handler(c)->on_end ? TNI_RX_END : TNI_RX_END | TNI_END_TOLD;
		c->hold |= TNI_HOLD_CLOSED;
	}
	if (c->layered)
		tni_layered_start(c);
	else
		c->flags |= TNI_TELL_OPEN;
	if (c->ep->idle_ns && c->kind->ends && !c->layered &&
	    !(c->flags & TNI_CLOSING)) /* the timer is the drain's then */
		tni_loop_timer(c->loop, &c->timer, c->ep->idle_ns);
	tni_loop_ready(c->loop, &c->task);
}

int tni_conn_accept(struct tni_part *part, int fd, const struct tn_addr *peer, uint32_t uid, struct tn_conn **out)
{
	const struct tni_scheme *scheme = part->ep->scheme;
	const struct tni_kind *kind = tni_kind_of_stream(scheme);
	struct tn_conn *c = tni_conn_new(tni_proxied_size(part->ep), kind, part->loop, part->ep);
	int rc;

	if (!c)
		return tni_err(-ENOMEM, "%s", tn_strerror(-ENOMEM));
	rc = kind->open(c, fd, scheme->kinds == TNI_SK_UNIX_STREAM ? TNI_FD_UNIX : 0);
	if (rc < 0) {
		part->loop->alive--;
		free(c);
		return rc;
	}
	c->part = part;
	c->handler = &part->server->handler;
	c->arg = part->server->arg;
	tni_conn_note_peer(c, peer);
	if (!c->peer_len)
		c->uid = uid;
	if (part->ep->noptions)
		tni_endpoint_prepare_accepted(part->ep, fd,
					      c->peer_len ? ((const struct sockaddr *)(const void *)c->peer)->sa_family
							  : AF_UNIX);
	tni_list_add_tail(&part->conns, &c->siblings);
	*out = c;
	return 0;
}

void tni_conn_begin(struct tn_conn *c)
{
	struct tn_server *server = c->part->server;
	struct tn_addr sender;
	int rc;

	tni_conn_noted_peer(c, &sender);
	if (c->ep->proxy && !tni_part_trusts(c->part, &sender))
		rc = -EACCES;
	else
		rc = tni_layered_accept(c, c->ep->scheme->secure ? tni_server_creds(server) : NULL);
	if (rc == 0)
		rc = tni_conn_admit(c);
	if (rc == 0)
		tni_conn_opened(c);
	else if (rc == TN_ELIMIT || rc == -EACCES)
		tni_conn_refuse(c, rc);
	else
		tni_conn_abandon(c);
}

void tni_conn_abandon(struct tn_conn *c)
{
	tni_count(c->part, accept_failed, 1);
	tni_err(-ENOMEM, "%s: accept: %s", tni_part_url(c->part), tn_strerror(-ENOMEM));
	tni_trouble_note(c->part, -ENOMEM);
	c->flags |= TNI_UNTOLD;
	tni_conn_kill(c, -ENOMEM);
}

void tni_conn_turn_away(struct tn_conn *c)
{
	tni_conn_unadmit(c);
	c->flags |= TNI_TURNED_AWAY | TNI_UNTOLD;
	if (c->layered)
		tni_layered_drop(c);
	if (c->part->refused++ < TNI_REFUSED_MAX)
		tni_conn_close(c);
	else
		tni_conn_fail(c, 0, NULL);
}

void tni_conn_refuse(struct tn_conn *c, int err)
{
	tni_layered_free(c);
	tni_sites_turn_away(c, err);
	tni_conn_opened(c);
	tni_conn_turn_away(c);
}

struct tn_conn *tni_conn_accept_peer(struct tn_conn *socket, const struct tn_addr *peer, struct tni_layer *layer)
{
	struct tn_conn *c = tni_conn_new(sizeof(*c), &tni_kind_association, socket->loop, socket->ep);

	if (!c) {
		layer->ops->free(layer);
		return NULL;
	}
	c->part = socket->part;
	c->handler = &c->part->server->handler;
	c->arg = socket->arg;
	tni_conn_note_peer(c, peer);
	tni_list_add_tail(&c->part->conns, &c->siblings);
	if (tni_layered_join(c, layer, socket) < 0) {
		c->flags |= TNI_UNTOLD;
		tni_conn_fail(c, -ENOMEM, NULL);
		return NULL;
	}
	tni_fd_init(&c->io, -1, TNI_FD_MESSAGES);
	c->flags |= TNI_COUNTED | TNI_ADMITTED;
	tni_count(c->part, accepted, 1);
	tni_conn_opened(c);
	return c;
}

struct tn_conn *tni_conn_serve_dgram(struct tni_part *part, int fd)
{
	const struct tni_kind *kind = part->ep->scheme->secure ? &tni_kind_shared : &tni_kind_datagrams;
	struct tn_conn *c = tni_conn_new(sizeof(*c), kind, part->loop, part->ep);
	struct tn_addr peer;
	bool connected;

	if (!c) {
		close(fd);
		return NULL;
	}
	c->part = part;
	c->handler = &part->server->handler;
	c->arg = part->server->arg;
	tni_list_add_tail(&part->conns, &c->siblings);
	/* An inherited one may be connected: then all it says goes to its one peer. */
	connected = tni_addr_peer(fd, &peer) == 0;
	tni_fd_init(&c->io, fd, part->ep->scheme->kinds & TNI_SK_UNIX_DGRAM && !connected ? TNI_FD_NOWAIT : 0);
	if (kind == &tni_kind_shared)
		c->flags |= TNI_UNTOLD;
	if (tni_dgram_open(c, connected) < 0 || (kind == &tni_kind_shared && tni_peers_new(c) < 0)) {
		tni_conn_fail(c, -ENOMEM, "open");
		return NULL;
	}
	tni_conn_opened(c);
	return c;
}
