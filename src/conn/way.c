#include "conn/way.h"

#include "base/err.h"
#include "base/units.h"
#include "conn/dialler.h"
#include "conn/layered.h"
#include "conn/pump.h"
#include "endpoint/via.h"
#include "net/resolve.h"
#include "secure/tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct tni_way {
	struct tn_conn *conn;
	int (*dial)(struct tn_conn *conn, const struct tni_endpoint *proxy, uint64_t began_ns);
	uint64_t began_ns;
	size_t hop;                /* whose target is looked up */
	struct tni_lookup *lookup; /* of that */
	struct tn_addr found;
	struct tni_timer timer;
	struct tni_task task; /* the deadline has passed */
	struct tni_layer *layers[TNI_VIA_MAX];
};

const char *tni_way_label(const struct tn_conn *c, unsigned hop)
{
	return tni_endpoint_via(c->ep)->hops[hop - 1].label;
}

uint64_t tni_way_left_ns(const struct tni_way *w)
{
	uint64_t passed = tni_clock_ns() - w->began_ns, all = w->conn->ep->connect_ns;

	return passed < all ? all - passed : 0;
}

void tni_way_free(struct tni_way *w)
{
	if (!w)
		return;
	tni_lookup_cancel(w->lookup);
	tni_loop_untimer(w->conn->loop, &w->timer);
	tni_list_del(&w->task.node);
	free(w);
}

/* ---- layers ---- */

static int push(struct tn_conn *c, struct tni_layer *layer, size_t hop)
{
	layer->hop = (uint8_t)(hop + 1);
	return tni_layered_push(c, layer);
}

static int push_tls(struct tn_conn *c, size_t i)
{
	const struct tni_endpoint *ep = tni_endpoint_via(c->ep)->hops[i].ep;
	struct tni_creds *creds;
	struct tni_layer *layer;
	int rc = tni_endpoint_creds(ep, &creds);

	if (rc == 0)
		rc = tni_tls_new(creds, tni_endpoint_host(ep), &layer);
	if (rc < 0)
		return rc;
	rc = tni_tls_resume(layer, ep->url);
	if (rc < 0) {
		layer->ops->free(layer);
		return rc;
	}
	return push(c, layer, i);
}

static int push_hop(struct tn_conn *c, struct tni_way *w, size_t i)
{
	const struct tni_via_hop *hop = &tni_endpoint_via(c->ep)->hops[i];
	const struct tni_endpoint *target = tni_via_target(c->ep, i);
	struct tni_login login;
	int rc = hop->ep->scheme->secure ? push_tls(c, i) : 0;

	if (rc == 0)
		rc = tni_via_login(hop, &login);
	if (rc == 0)
		rc = tni_via_new(tni_scheme_via(hop->ep->scheme), tni_endpoint_host(target), target->port, &login,
				 &w->layers[i]);
	return rc < 0 ? tni_err_prefix(rc, "%s: %s", c->ep->url, hop->label) : push(c, w->layers[i], i);
}

int tni_way_push(struct tn_conn *c)
{
	struct tni_way *w = calloc(1, sizeof(*w));
	int rc = 0;

	if (!w)
		return tni_err(-ENOMEM, "%s: out of memory", c->ep->url);
	w->conn = c;
	w->began_ns = tni_clock_ns();
	tni_list_init(&w->task.node);
	for (size_t i = 0; i < tni_endpoint_via(c->ep)->count && rc == 0; i++)
		rc = push_hop(c, w, i);
	if (c->layered)
		c->layered->busy->way = w;
	else
		tni_way_free(w);
	return rc;
}

/* ---- names that are looked up here ---- */

static void give_up(struct tn_conn *c, int err)
{
	tni_way_free(c->layered->busy->way);
	c->layered->busy->way = NULL;
	c->flags = (c->flags & ~(uint32_t)TNI_DIALLING) | TNI_DEAD;
	c->err = err;
	tni_conn_finish(c, true);
}

static void report(struct tni_task *task)
{
	struct tni_way *w = tni_container_of(task, struct tni_way, task);
	const struct tni_endpoint *ep = w->conn->ep;
	char after[32];
	int rc = tni_err(-ETIMEDOUT, "%s: timed out after %s while looking up %s", ep->url,
			 tni_format_duration(ep->connect_ns, after, sizeof(after)),
			 tni_endpoint_host(tni_via_target(ep, w->hop)));

	give_up(w->conn, rc);
}

static void too_late(struct tni_timer *timer)
{
	struct tni_way *w = tni_container_of(timer, struct tni_way, timer);

	tni_lookup_cancel(w->lookup);
	w->lookup = NULL;
	tni_loop_ready(w->conn->loop, &w->task);
}

static void set_address(struct tni_way *w, const struct tn_addr *addr)
{
	const struct sockaddr *sa = tn_addr_sockaddr(addr);

	if (sa->sa_family == AF_INET)
		tni_via_set_address(w->layers[w->hop], &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	else
		tni_via_set_address(w->layers[w->hop], &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
}

/* A proxy is told one address. More of them can reach IPv4's than IPv6's. */
static void choose(struct tni_way *w, const struct tn_addr *addrs, int n)
{
	for (int i = 0; i < n; i++)
		if (!w->found.len || (tni_addr_family(&w->found) != AF_INET && tni_addr_family(&addrs[i]) == AF_INET))
			w->found = addrs[i];
}

static int go_on(struct tni_way *w);

static void found(void *arg, int err, const struct tn_addr *addrs, int n, bool more)
{
	struct tni_way *w = arg;
	struct tn_conn *c = w->conn;

	choose(w, addrs, n);
	if (more)
		return;
	w->lookup = NULL;
	if (w->found.len) {
		set_address(w, &w->found);
		w->hop++;
		err = go_on(w);
	} else {
		err = tni_err_prefix(err, "%s: %s", c->ep->url, tni_endpoint_via(c->ep)->hops[w->hop].label);
	}
	if (err < 0)
		give_up(c, err);
}

/* What the target of a proxy may be. */
static int family_of(const struct tni_way *w)
{
	const struct tn_conn *c = w->conn;

	if (tni_scheme_via(tni_endpoint_via(c->ep)->hops[w->hop].ep->scheme) == TNI_VIA_SOCKS4)
		return AF_INET;
	return tni_via_target(c->ep, w->hop)->scheme->family;
}

/* 1: it has to be looked up, which has begun; 0: it is known, or need not be; < 0 with words. */
static int find(struct tni_way *w)
{
	struct tn_conn *c = w->conn;
	const struct tni_endpoint *target = tni_via_target(c->ep, w->hop);
	const char *host = tni_endpoint_host(target);
	struct tn_addr known[2];
	int n, rc;

	if (!tni_via_wants_address(tni_scheme_via(tni_endpoint_via(c->ep)->hops[w->hop].ep->scheme)))
		return 0;
	w->found.len = 0;
	n = tni_resolve_known(host, family_of(w), target->port, known);
	choose(w, known, n);
	if (n > 0)
		set_address(w, &w->found);
	if (n)
		return n < 0 ? tni_err_prefix(n, "%s", c->ep->url) : 0;
	rc = tni_lookup_start(c->loop, host, family_of(w), target->port, found, w, &w->lookup);
	return rc < 0 ? rc : 1;
}

static int go_on(struct tni_way *w)
{
	struct tn_conn *c = w->conn;

	for (; w->hop < tni_endpoint_via(c->ep)->count; w->hop++) {
		int rc = find(w);

		if (rc != 0)
			return rc < 0 ? rc : 0;
	}
	tni_loop_untimer(c->loop, &w->timer);
	return w->dial(c, tni_endpoint_via(c->ep)->hops[0].ep, w->began_ns);
}

int tni_way_begin(struct tn_conn *c,
		  int (*dial)(struct tn_conn *conn, const struct tni_endpoint *proxy, uint64_t began_ns))
{
	struct tni_way *w = c->layered->busy->way;
	int rc;

	w->dial = dial;
	w->timer.fire = too_late;
	w->task.run = report;
	tni_loop_timer(c->loop, &w->timer, c->ep->connect_ns);
	rc = go_on(w);
	if (rc == 0)
		c->flags |= TNI_DIALLING;
	return rc;
}
