#include "conn/sites.h"

#include "base/err.h"
#include "conn/layered.h"
#include "endpoint/keys.h"
#include "endpoint/web.h"
#include "web/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static bool is_same_addr(const struct tn_addr *a, const struct tn_addr *b)
{
	return a->len == b->len && a->len && !memcmp(a->bytes, b->bytes, a->len);
}

/* Whose loops are the same, one by one. */
static bool has_same_loops(const struct tn_server *a, const struct tn_server *b)
{
	for (int i = 0; i < a->nparts && a->nparts == b->nparts; i++)
		if (a->parts[i].loop != b->parts[i].loop)
			return false;
	return a->nparts == b->nparts;
}

/* A part of the same loop that listens there. */
static struct tni_part *part_at(struct tni_part *part, const struct tn_addr *addr, int *fd)
{
	struct tni_list *node;

	for (node = part->loop->owned.next; node != &part->loop->owned; node = node->next) {
		struct tni_owned *owned = tni_container_of(node, struct tni_owned, node);
		struct tni_part *other = tni_container_of(owned, struct tni_part, owned);

		if (owned->destroy != tni_part_destroy || !other->ep->web || other->stopped)
			continue;
		for (int i = 0; i < other->nlisteners; i++)
			if (other->listeners[i].io.fd >= 0 && is_same_addr(&other->listeners[i].addr, addr)) {
				*fd = other->listeners[i].io.fd;
				return other;
			}
	}
	return NULL;
}

/* Whether both can be served by one listener: the loops must be the same, and all that comes before the path. */
static int check_shared(const struct tni_part *part, const struct tni_part *other)
{
	const char *url = part->ep->url, *key;
	const struct tni_ws_config *first = &other->ep->web->config, *site = first;

	if (part->ep->scheme->secure != other->ep->scheme->secure)
		return tni_err(-EADDRINUSE, "%s: %s is served there: with TLS and without, at one address", url,
			       tni_part_url(other));
	if (part->ep->scheme->web != other->ep->scheme->web)
		return tni_err(-EADDRINUSE, "%s: %s is served there: HTTP and WebSocket, at one address", url,
			       tni_part_url(other));
	if (!has_same_loops(part->server, other->server))
		return tni_err(-EADDRINUSE, "%s: %s is served there, by other loops", url, tni_part_url(other));
	key = tni_key_differs_below(part->ep, other->ep);
	if (key)
		return tni_err(-EADDRINUSE, "%s: the key %s is not that of %s, which is served there", url, key,
			       tni_part_url(other));
	do {
		if (!site->closed && !strcmp(site->path, part->ep->web->config.path))
			return tni_err(-EADDRINUSE, "%s: this path is served there already", url);
		site = site->next;
	} while (site && site != first);
	return 0;
}

int tni_sites_listener(struct tni_part *part, const struct tn_addr *addr)
{
	int fd, rc;
	struct tni_part *other = TNI_WEB_BUILT && part->ep->web ? part_at(part, addr, &fd) : NULL;

	if (!other)
		return -ENOENT;
	rc = check_shared(part, other);
	if (rc < 0)
		return rc;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? tni_err(-errno, "%s: %s", part->ep->url, tn_strerror(-errno)) : fd;
}

/* Moves a connection, which nobody has been told of yet, to the part that serves what it asks for. Its layer forgets
 * the configuration of the former one, which may go now. */
static void move(struct tn_conn *c, struct tni_part *to)
{
	struct tni_part *from = c->part;
	struct tni_ws_facts facts;

	tni_conn_unadmit(c); /* counted there, and asked for at once */
	c->flags |= TNI_COUNTED;
	tni_list_del(&c->siblings);
	tni_list_add_tail(&to->conns, &c->siblings);
	c->part = to;
	c->ep = to->ep;
	c->handler = &to->server->handler;
	c->arg = to->server->arg;
	c->frame = to->ep->frame;
	c->tx.max = c->layered->tx_max = (size_t)to->ep->queue + tni_frame_room(&to->ep->frame);
	if (tni_chain_query(&c->layered->chain, TNI_ASK_WEBSOCKET, &facts) == 0)
		tni_ws_move(facts.layer, &to->ep->web->config);
	if (from->stopped) /* it may have been the last */
		tni_loop_ready(from->loop, &from->task);
}

/* A client's request is fine, and asks for this site. */
static int enter(const struct tni_ws_config *site, void *who)
{
	struct tn_conn *c = who;
	struct tni_part *to = site->owner;
	int rc;

	if (to != c->part) {
		if (!tni_part_count(to))
			return tni_err(503, "%s", tn_strerror(TN_ELIMIT));
		move(c, to);
	}
	rc = tni_conn_admit_now(c);
	if (rc == -EACCES)
		return tni_err(403, "%s", tn_strerror(-EACCES));
	return rc < 0 ? tni_err(503, "%s", tn_strerror(rc)) : 0;
}

static struct tni_part *next_of(const struct tni_part *part)
{
	const struct tni_ws_config *next = TNI_WEB_BUILT && part->ep->web ? part->ep->web->config.next : NULL;

	return next ? next->owner : NULL;
}

struct tn_server *tni_sites_next(struct tn_server *server)
{
	const struct tni_part *next = next_of(&server->parts[0]);

	return next ? next->server : server;
}

struct tni_part *tni_sites_taker(struct tni_part *part)
{
	struct tni_part *taker = part;

	do {
		if (!taker->stopped && tni_part_has_room(taker))
			return taker;
		taker = next_of(taker);
	} while (taker && taker != part);
	return part;
}

bool tni_sites_undecided(const struct tn_conn *c)
{
	return TNI_WEB_BUILT && c->ep->web && c->ep->web->config.next && !tni_layered_is_open(c->layered);
}

static void link_in(struct tni_part *part, struct tni_part *other)
{
	struct tni_ws_config *own = &part->ep->web->config, *first = &other->ep->web->config;

	own->owner = part;
	first->owner = other;
	own->enter = first->enter = enter;
	own->next = first->next ? first->next : first;
	first->next = own;
}

int tni_sites_join(struct tn_server *server)
{
	struct tni_part *first = &server->parts[0], *other = NULL, *found;
	int shared = 0, fd;

	if (!TNI_WEB_BUILT || !first->ep->web || first->ep->scheme->place == TNI_AT_FD)
		return 0;
	for (int i = 0; i < first->nlisteners; i++) {
		found = part_at(first, &first->listeners[i].addr, &fd);
		shared += found != NULL;
		other = found ? found : other;
	}
	if (!other)
		return 0;
	if (shared != first->nlisteners || first->nlisteners != other->nlisteners)
		return tni_err(-EADDRINUSE, "%s: %s is served at some of its addresses, not at all of them",
			       first->ep->url, tni_part_url(other));
	if (server->rate)
		(void)tni_server_share_rate(server, other->server); /* needs no memory */
	for (int i = 0; i < server->nparts; i++)
		link_in(&server->parts[i], &other->server->parts[i]);
	for (int i = 0; i < first->nlisteners && first->ep->scheme->place == TNI_AT_PATH; i++)
		tni_unix_file_note(&first->listeners[i].file, &first->listeners[i].addr); /* the last one removes it */
	return 0;
}

/* It has not said yet what it asks for: that may be the others', and take longer than the part stays. */
static bool may_be_of_another(const struct tn_conn *c)
{
	return c->layered && !c->layered->err && !(c->flags & (TNI_DEAD | TNI_CLOSING)) && tni_sites_undecided(c);
}

static void move_undecided(struct tni_part *part)
{
	struct tni_list *node, *next;

	for (node = part->conns.next; node != &part->conns; node = next) {
		struct tn_conn *c = tni_container_of(node, struct tn_conn, siblings);
		struct tni_part *to = may_be_of_another(c) ? tni_sites_taker(part) : part;

		next = node->next;
		if (to != part && tni_part_count(to))
			move(c, to);
	}
}

void tni_sites_close(struct tni_part *part)
{
	struct tni_part *other = next_of(part);

	if (TNI_WEB_BUILT && part->ep->web)
		part->ep->web->config.closed = true;
	while (other && other != part && other->stopped)
		other = next_of(other);
	part->listeners_stay = other && other != part;
	for (int i = 0; i < part->nlisteners && part->listeners_stay; i++)
		part->listeners[i].file = (struct tni_unix_file){0};
	move_undecided(part);
}

void tni_sites_leave(struct tni_part *part)
{
	struct tni_part *before = part, *next = next_of(part);

	if (!next)
		return;
	while (next_of(before) != part)
		before = next_of(before);
	before->ep->web->config.next = next == before ? NULL : part->ep->web->config.next;
	part->ep->web->config.next = NULL;
}

void tni_sites_turn_away(struct tn_conn *c, int err)
{
	if (c->ep->web && !c->ep->scheme->secure)
		tni_ws_turn_away(&c->tx, err == -EACCES ? 403 : 503, tn_strerror(err));
}
