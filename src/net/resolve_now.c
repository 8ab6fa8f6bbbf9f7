/* Names to addresses at once: what needs no lookup, and lookups while the caller waits. */
#include "base/err.h"
#include "io/loop.h"
#include "net/addr.h"
#include "net/order.h"
#include "net/resolve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int tni_resolve_known(const char *host, int family, int port, struct tn_addr addrs[2])
{
	int n = 0;

	if (tni_addr_literal(&addrs[0], host, port) == 0) {
		if (family == AF_UNSPEC || family == tni_addr_family(&addrs[0]))
			return 1;
		return tni_err(TN_EURL, "%s is not an IPv%c address", host, family == AF_INET ? '4' : '6');
	}
	if (*host && !tni_addr_is_localhost(host, false))
		return 0;
	if (family != AF_INET)
		tni_addr_loopback(&addrs[n++], AF_INET6, port);
	if (family != AF_INET6)
		tni_addr_loopback(&addrs[n++], AF_INET, port);
	return n;
}

struct blocking {
	struct tni_lookup *lookup;
	struct tn_addr *addrs;
	int n, err;
	bool done;
};

static void blocking_done(void *arg, int err, const struct tn_addr *addrs, int n, bool more)
{
	struct blocking *b = arg;
	struct tn_addr *all = realloc(b->addrs, (size_t)(b->n + n + 1) * sizeof(*all));

	b->done = !more;
	b->lookup = more ? b->lookup : NULL;
	b->err = err;
	if (!all) {
		b->err = tni_err(-ENOMEM, "resolver: out of memory");
		return;
	}
	if (n)
		memcpy(all + b->n, addrs, (size_t)n * sizeof(*all));
	b->addrs = all;
	b->n += n;
}

static int look_up_on(struct tn_loop *loop, struct blocking *b, const char *host, int family, int port, int timeout_ms)
{
	uint64_t until = timeout_ms < 0 ? TNI_NEVER : tni_clock_ns() + (uint64_t)timeout_ms * TNI_NS_PER_MS;
	int rc = tni_lookup_start(loop, host, family, port, blocking_done, b, &b->lookup);

	loop->alive++;
	while (rc >= 0 && !b->done && tni_clock_ns() < until)
		rc = tn_loop_step_until(loop, until);
	loop->alive--;
	tni_lookup_cancel(b->lookup);
	if (rc < 0 || b->err < 0)
		return rc < 0 ? rc : b->err;
	tni_order_addrs(b->addrs, b->n);
	return b->n ? b->n : tni_err(-ETIMEDOUT, "look up %s: no answer from the name servers", host);
}

static int known_copy(const struct tn_addr *known, int n, struct tn_addr **addrs)
{
	*addrs = calloc((size_t)n, sizeof(**addrs));
	if (!*addrs)
		return tni_err(-ENOMEM, "resolver: out of memory");
	memcpy(*addrs, known, (size_t)n * sizeof(*known));
	return n;
}

int tni_resolve_now_at(const char *servers, const char *host, int family, int port, int timeout_ms,
		       struct tn_addr **addrs)
{
	struct blocking b = {0};
	struct tn_addr known[2];
	struct tn_loop *loop;
	int rc = tni_resolve_known(host, family, port, known);

	*addrs = NULL;
	if (rc)
		return rc < 0 ? rc : known_copy(known, rc, addrs);
	rc = tn_loop_new(&loop, "epoll");
	if (rc < 0)
		return rc;
	if (servers)
		rc = tni_resolver_set_servers(loop, servers);
	if (rc == 0)
		rc = look_up_on(loop, &b, host, family, port, timeout_ms);
	tn_loop_free(loop);
	if (rc < 0)
		free(b.addrs);
	else
		*addrs = b.addrs;
	return rc;
}

int tni_resolve_now(const char *host, int family, int port, int timeout_ms, struct tn_addr **addrs)
{
	return tni_resolve_now_at(NULL, host, family, port, timeout_ms, addrs);
}
