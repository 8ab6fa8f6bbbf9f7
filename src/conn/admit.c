/*
 * Admission: who may connect, how many connections a server has, how many of each source, and how many a second. A
 * connection counts in its server from the moment it is accepted, and under its source when it is known whose it is.
 */
#include "base/err.h"
#include "conn/proxied.h"
#include "conn/pump.h"
#include "conn/server.h"
#include "endpoint/access.h"
#include "conn/sites.h"

#include <errno.h>
#include <stdlib.h>

/* What the key accept-rate has saved up for so long may come at once. */
#define RATE_BURST_NS (100 * TNI_NS_PER_MS)

static const char *source_text(const struct tn_addr *peer, char *out, size_t cap)
{
	struct tn_addr addr = *peer;

	if (tni_addr_family(&addr) != AF_INET && tni_addr_family(&addr) != AF_INET6)
		return "one user";
	tni_addr_set_port(&addr, 0);
	return tn_addr_text(&addr, out, cap);
}

static void note_too_many(struct tni_part *part)
{
	tni_count(part, refused_limit, 1);
	tni_err(TN_ELIMIT, "%s: a connection was refused: %s", tni_part_url(part), tn_strerror(TN_ELIMIT));
	tni_trouble_note(part, TN_ELIMIT);
}

static void note_too_many_of(struct tni_part *part, const struct tn_addr *peer)
{
	char who[80];

	tni_count(part, refused_source, 1);
	tni_err(TN_ELIMIT, "%s: a connection was refused: too many from %s (key per-source)", tni_part_url(part),
		source_text(peer, who, sizeof(who)));
	tni_trouble_note(part, TN_ELIMIT);
}

/* ---- all connections of a server ---- */

bool tni_part_has_room(const struct tni_part *part)
{
	unsigned max = atomic_load(&part->server->max_conns);

	return !max || atomic_load(&part->server->nconns) < max;
}

/* Tested and counted in one step: other parts do so at the same time. */
bool tni_part_count(struct tni_part *part)
{
	struct tn_server *server = part->server;
	unsigned max = atomic_load(&server->max_conns), n = atomic_load(&server->nconns);

	do {
		if (max && n >= max) {
			note_too_many(part);
			return false;
		}
	} while (!atomic_compare_exchange_weak(&server->nconns, &n, n + 1));
	atomic_fetch_add_explicit(&part->nconns, 1, memory_order_relaxed);
	return true;
}

void tni_part_uncount(struct tni_part *part)
{
	atomic_fetch_sub(&part->server->nconns, 1);
	atomic_fetch_sub_explicit(&part->nconns, 1, memory_order_relaxed);
}

/* ---- those of a source ---- */

bool tni_part_admit(struct tni_part *part, const struct tn_addr *peer, uint64_t source)
{
	if (!part->server->sources || tni_sources_enter(part->server->sources, source))
		return true;
	note_too_many_of(part, peer);
	return false;
}

/* ---- lists of addresses ---- */

static bool note_stranger(struct tni_part *part, const struct tn_addr *who, const char *why)
{
	struct tn_addr addr = *who;
	char text[120];
	bool ip = tni_addr_family(&addr) == AF_INET || tni_addr_family(&addr) == AF_INET6;

	if (ip)
		tni_addr_set_port(&addr, 0);
	tni_err(-EACCES, "%s: %s %s", tni_part_url(part),
		ip ? tn_addr_text(&addr, text, sizeof(text)) : "the other end of a Unix socket", why);
	tni_trouble_note(part, -EACCES);
	return false;
}

bool tni_part_lets_in(struct tni_part *part, const struct tn_addr *client, int fd)
{
	/* Not server->access: the loop that reads the files puts another one there. */
	if (!tni_endpoint_has_access(part->ep) || tni_access_lets_in(tni_part_access(part), client, fd))
		return true;
	tni_count(part, refused_access, 1);
	return note_stranger(part, client, "was refused (keys allow, deny)");
}

bool tni_part_trusts(struct tni_part *part, const struct tn_addr *sender)
{
	if (tni_access_trusts(tni_part_access(part), sender))
		return true;
	tni_count(part, refused_proxy, 1);
	return note_stranger(part, sender, "was refused: it may send no PROXY headers (key trust)");
}

void tni_part_unadmit(struct tni_part *part, uint64_t source)
{
	if (part->server->sources)
		tni_sources_leave(part->server->sources, source);
}

/* Whom the layers tell of. 0; -EAGAIN: not yet; -EOPNOTSUPP: of nobody; -ENOMEM. */
static int ask_peer(struct tn_conn *c, struct tn_addr *peer)
{
	struct tni_header header;
	int rc = c->layered ? tni_chain_query(&c->layered->chain, TNI_ASK_PROXY, &header) : -EOPNOTSUPP;

	if (rc == 0)
		return tni_proxied_take(c, &header, peer);
	return c->layered && rc != -EAGAIN ? tni_chain_query(&c->layered->chain, TNI_ASK_PEER, peer) : rc;
}

/* As far as the layers have told of it by now. Returns as ask_peer(); it is asked once. */
static int learn_peer(struct tn_conn *c)
{
	struct tn_addr peer = {0};
	int rc = tni_proxied_told(c) ? -EOPNOTSUPP : ask_peer(c, &peer);

	if (rc == 0)
		tni_conn_take_peer(c, &peer);
	return rc;
}

static int let_in(struct tn_conn *c)
{
	struct tni_sources *sources = c->part->server->sources;
	struct tn_addr peer;

	tni_conn_noted_peer(c, &peer);
	if (!tni_part_lets_in(c->part, &peer, c->io.fd))
		return -EACCES;
	if (sources && !tni_sources_enter(sources, tni_conn_source(c))) {
		note_too_many_of(c->part, &peer);
		return TN_ELIMIT;
	}
	c->flags |= TNI_ADMITTED;
	tni_count(c->part, accepted, 1);
	return 0;
}

int tni_conn_admit(struct tn_conn *c)
{
	bool open = !c->layered || tni_layered_is_open(c->layered);
	int rc = learn_peer(c);

	if (rc == -ENOMEM)
		return rc;
	return !open && (rc == -EAGAIN || tni_sites_undecided(c)) ? 0 : let_in(c);
}

int tni_conn_admit_now(struct tn_conn *c)
{
	if (c->flags & TNI_ADMITTED) /* when it was accepted: its server was alone at the address then */
		return 0;
	return learn_peer(c) == -ENOMEM ? -ENOMEM : let_in(c);
}

void tni_conn_unadmit(struct tn_conn *c)
{
	if (c->flags & TNI_ADMITTED) {
		tni_part_unadmit(c->part, tni_conn_source(c));
		tni_count(c->part, closed, 1);
	}
	if (c->flags & TNI_COUNTED)
		tni_part_uncount(c->part);
	c->flags &= ~(uint32_t)(TNI_ADMITTED | TNI_COUNTED);
}

/* ---- how many a second ---- */

int tni_server_share_rate(struct tn_server *server, const struct tn_server *other)
{
	struct tni_rate *rate = other ? other->rate : calloc(1, sizeof(*rate));

	if (!rate)
		return -ENOMEM;
	atomic_fetch_add(&rate->refs, 1);
	tni_rate_unref(server->rate);
	server->rate = rate;
	return 0;
}

void tni_rate_unref(struct tni_rate *rate)
{
	if (rate && atomic_fetch_sub(&rate->refs, 1) == 1)
		free(rate);
}

static uint64_t rate_interval_ns(const struct tni_part *part)
{
	return TNI_NS_PER_S / (unsigned)part->ep->accept_rate;
}

uint64_t tni_part_rate_wait(const struct tni_part *part)
{
	uint64_t due, at;

	if (!part->server->rate)
		return 0;
	due = atomic_load(&part->server->rate->due_ns);
	at = part->loop->now_ns + RATE_BURST_NS;
	if (rate_interval_ns(part) >= RATE_BURST_NS)
		at = part->loop->now_ns;
	return due > at ? due - at : 0;
}

/*
 * Each connection puts the time at which the next is due further on. All parts share it, so that the rate is that of
 * the server. What other parts accept before they look is let in, and paid for by the pause that follows.
 */
void tni_part_rate_note(const struct tni_part *part)
{
	uint64_t due, now = part->loop->now_ns;
	_Atomic(uint64_t) *at;

	if (!part->server->rate)
		return;
	at = &part->server->rate->due_ns;
	due = atomic_load(at);
	while (!atomic_compare_exchange_weak(at, &due, (due > now ? due : now) + rate_interval_ns(part)))
		;
}
