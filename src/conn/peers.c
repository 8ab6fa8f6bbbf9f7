#include "conn/peers.h"

#include "base/err.h"
#include "base/random.h"
#include "conn/association.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "secure/dtls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 64

/* A place in the table. The peer's address is the connection's. */
struct tni_peer {
	struct tn_local local; /* the address of ours that the peer speaks to, and that all it hears leaves from */
	struct tni_peer *next; /* of the same slot */
	struct tni_peers *home;
	struct tn_conn *conn;
	struct tni_list all, waiting;
	unsigned char
		random[TNI_DTLS_RANDOM]; /* of the hello it began with: the same hello again is no new beginning */
};

struct tni_peers {
	struct tni_dtls_listener *listener;
	struct tni_peer **slots;
	uint32_t nslots, count; /* nslots: a power of two */
	uint64_t seed;          /* so that nobody can choose addresses that share a slot */
	struct tni_list all, waiting;
};

static struct tni_peer *peer_of(const struct tn_conn *c)
{
	return c->layered->busy->assoc->peer;
}

/* ---- the table ---- */

static uint64_t mix(uint64_t hash, const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 0x9e3779b97f4a7c15ULL;
	return hash;
}

static uint32_t slot_of(const struct tni_peers *peers, const unsigned char *addr, size_t len,
			const struct tn_local *local)
{
	uint64_t hash = mix(mix(peers->seed, addr, len), local->ip, local->len);

	return (uint32_t)(hash >> 32) & (peers->nslots - 1);
}

static struct tni_peer **slot_of_peer(const struct tni_peers *peers, const struct tni_peer *p)
{
	return &peers->slots[slot_of(peers, p->conn->peer, p->conn->peer_len, &p->local)];
}

static bool is_same_local(const struct tn_local *a, const struct tn_local *b)
{
	return a->len == b->len && a->index == b->index && !memcmp(a->ip, b->ip, a->len);
}

static struct tni_peer *find(const struct tni_peers *peers, const struct tn_addr *addr)
{
	struct tni_peer *p = peers->slots[slot_of(peers, addr->bytes, addr->len, &addr->local)];

	while (p && (p->conn->peer_len != addr->len || memcmp(p->conn->peer, addr->bytes, addr->len) != 0 ||
		     !is_same_local(&p->local, &addr->local)))
		p = p->next;
	return p;
}

static void put(struct tni_peers *peers, struct tni_peer *p)
{
	struct tni_peer **slot = slot_of_peer(peers, p);

	p->next = *slot;
	*slot = p;
}

/* Without memory it stays as it is, and is slower. */
static void resize(struct tni_peers *peers, uint32_t nslots)
{
	struct tni_peer **old = peers->slots, **slots = calloc(nslots, sizeof(struct tni_peer *));
	uint32_t nold = peers->nslots;

	if (!slots)
		return;
	peers->slots = slots;
	peers->nslots = nslots;
	for (uint32_t i = 0; i < nold; i++) {
		for (struct tni_peer *p = old[i], *next; p; p = next) {
			next = p->next;
			put(peers, p);
		}
	}
	free(old);
}

void tni_peers_addr(const struct tn_conn *c, struct tn_addr *addr)
{
	tni_addr_from(addr, (const struct sockaddr *)(const void *)c->peer, c->peer_len);
	addr->local = peer_of(c)->local;
}

void tni_peers_leave(struct tn_conn *c)
{
	struct tni_peer *p = peer_of(c), **at;
	struct tni_peers *peers = p->home;

	for (at = slot_of_peer(peers, p); *at != p; at = &(*at)->next)
		;
	*at = p->next;
	peers->count--;
	tni_list_del(&p->all);
	tni_list_del(&p->waiting);
	c->layered->busy->assoc->peer = NULL;
	free(p);
	if (peers->nslots > SLOTS_MIN && peers->count < peers->nslots / 8)
		resize(peers, peers->nslots / 2);
}

int tni_peers_new(struct tn_conn *socket)
{
	struct tni_peers *peers = calloc(1, sizeof(*peers));

	if (!peers)
		return -ENOMEM;
	tni_list_init(&peers->all);
	tni_list_init(&peers->waiting);
	socket->dgram->peers = peers;
	peers->slots = calloc(SLOTS_MIN, sizeof(struct tni_peer *));
	peers->nslots = SLOTS_MIN;
	peers->listener = tni_dtls_listener_new();
	return peers->slots && peers->listener && tni_random(&peers->seed, sizeof(peers->seed)) ? 0 : -ENOMEM;
}

/* All its associations end by the same reason. */
static void leave(struct tn_conn *socket)
{
	struct tni_peers *peers = socket->dgram ? socket->dgram->peers : NULL;

	tni_dgram_leave(socket);
	while (peers && !tni_list_empty(&peers->all)) {
		struct tn_conn *c = tni_container_of(peers->all.next, struct tni_peer, all)->conn;

		tni_assoc_leave(c);
		tni_conn_fail(c, socket->err ? socket->err : -ECANCELED, NULL);
	}
}

void tni_peers_free(struct tn_conn *socket)
{
	struct tni_peers *peers = socket->dgram->peers;

	if (peers->listener)
		tni_dtls_listener_free(peers->listener);
	free(peers->slots);
	free(peers);
	socket->dgram->peers = NULL;
}

/* ---- the listener ---- */

/* The association that this address had before. Its client has lost its state and will not answer (RFC 6347 4.2.8). */
static void end_former(struct tni_peer *former)
{
	struct tn_conn *c = former->conn;

	tni_peers_leave(c);
	tni_conn_unadmit(c);
	c->layered->busy->assoc->socket = NULL; /* no close_notify: it would go to the new one */
	tni_loop_untimer(c->loop, &c->layered->busy->tick);
	tni_conn_fail(c, c->flags & TNI_CLOSING ? 0 : -ECONNRESET, "the client has begun anew");
}

/* Returns whether there was room. */
static bool admit(struct tn_conn *socket, const struct tn_addr *addr, const unsigned char *random,
		  struct tni_layer *layer)
{
	struct tni_peers *peers = socket->dgram->peers;
	struct tni_peer *former = find(peers, addr), *p = calloc(1, sizeof(*p));
	uint64_t source = tni_source_of(addr);
	bool counted, admitted;
	struct tn_conn *c = NULL;

	if (former)
		end_former(former);
	tni_part_rate_note(socket->part);
	counted = p && tni_part_count(socket->part);
	admitted = counted && tni_part_admit(socket->part, addr, source);
	if (admitted)
		c = tni_conn_accept_peer(socket, addr, layer);
	else
		layer->ops->free(layer);
	if (!c && admitted)
		tni_part_unadmit(socket->part, source);
	if (!c && counted)
		tni_part_uncount(socket->part);
	if (!c) {
		free(p);
		return false;
	}
	p->home = peers;
	p->conn = c;
	p->local = addr->local;
	memcpy(p->random, random, sizeof(p->random));
	tni_list_init(&p->waiting);
	tni_list_add_tail(&peers->all, &p->all);
	c->layered->busy->assoc->peer = p;
	put(peers, p);
	if (++peers->count > peers->nslots)
		resize(peers, peers->nslots * 2);
	return true;
}

/* What the listener answers leaves with the rest of the turn. Without room it is dropped: the client asks again. */
static void answer(struct tn_conn *socket, const struct tn_addr *addr, struct tn_buf *reply)
{
	while (reply->head) {
		struct iovec iov = {.iov_base = reply->head->data, .iov_len = reply->head->len};

		(void)tni_dgram_queue_put(&socket->dgram->tx, addr, 0, &iov, 1, iov.iov_len);
		tni_buf_consume(reply, iov.iov_len);
	}
}

static void listen_to(struct tn_conn *socket, const struct tn_addr *addr, const void *data, size_t len,
		      const unsigned char *random)
{
	unsigned char pair[sizeof(addr->bytes) + sizeof(addr->local.ip)];
	struct tni_creds *creds;
	struct tni_layer *layer;
	struct tn_buf reply;

	if (socket->part->stopped || tni_part_rate_wait(socket->part))
		return; /* the client asks again */
	if (!tni_part_lets_in(socket->part, addr, -1))
		return;
	creds = tni_server_creds(socket->part->server);
	tni_buf_init(&reply, &socket->loop->mem, SIZE_MAX);
	memcpy(pair, addr->bytes, addr->len);
	memcpy(pair + addr->len, addr->local.ip, addr->local.len);
	if (tni_dtls_listen(socket->dgram->peers->listener, creds, socket->loop->now_ns, pair,
			    addr->len + addr->local.len, data, len, &reply, &layer) > 0 &&
	    !admit(socket, addr, random, layer))
		tni_dtls_refuse(data, &reply);
	answer(socket, addr, &reply);
	tni_creds_unref(creds);
}

static void take(struct tn_conn *socket, const struct tn_addr *addr, const void *data, size_t len)
{
	const struct tni_peer *p = find(socket->dgram->peers, addr);
	const unsigned char *random = tni_dtls_hello(data, len);

	if (p && (!random || !memcmp(p->random, random, sizeof(p->random))))
		tni_assoc_take(p->conn, addr, data, len);
	else if (random)
		listen_to(socket, addr, data, len, random);
}

/* ---- room in the socket's queue ---- */

void tni_peers_wait(struct tn_conn *c)
{
	struct tni_peer *p = peer_of(c);

	if (tni_list_empty(&p->waiting))
		tni_list_add_tail(&p->home->waiting, &p->waiting);
}

/* Those that wait run again when half of the queue is free. */
static void flush(struct tn_conn *socket, bool now)
{
	struct tni_list *node;

	(void)now;
	tni_dgram_send(socket);
	if (socket->flags & TNI_DEAD || socket->dgram->tx.buf.len > socket->ep->queue / 2)
		return;
	while ((node = tni_list_pop(&socket->dgram->peers->waiting)))
		tni_loop_ready(socket->loop, &tni_container_of(node, struct tni_peer, waiting)->conn->task);
}

static bool is_needed(const struct tn_conn *socket)
{
	return socket->dgram && socket->dgram->peers && socket->dgram->peers->count;
}

const struct tni_kind tni_kind_shared = {
	.receive = tni_dgram_receive,
	.deliver = tni_dgram_deliver,
	.has_received = tni_dgram_has_received,
	.put = tni_dgram_put,
	.flush = flush,
	.leave = leave,
	.is_needed = is_needed,
	.take = take,
	.info = tni_dgram_info,
};
