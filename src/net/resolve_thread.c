/* net/resolve.h in a build without c-ares: getaddrinfo(3) in a thread for each lookup. */
#include "net/resolve.h"

#include "base/err.h"
#include "io/loop.h"
#include "net/addr.h"
#include "net/foreign.h"
#include "net/names.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

struct tni_lookup {
	struct tn_loop *loop;
	struct tni_task task; /* calls done() */
	tni_lookup_done *done;
	void *arg;
	int family, port;
	struct tni_foreign *foreign; /* NULL: it has answered */
	int status;                  /* getaddrinfo's */
	int n;
	struct tn_addr *addrs;
	char host[];
};

static int explain(int status, const char *host, int family)
{
	switch (status) {
	case 0:
		return 0;
	case EAI_NONAME:
		return tni_err(TN_ENAME, "look up %s: name not found", host);
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
		return tni_err(TN_ENAME, "look up %s: the name has no %saddress", host,
			       family == AF_INET    ? "IPv4 "
			       : family == AF_INET6 ? "IPv6 "
						    : "");
	case EAI_MEMORY:
		return tni_err(-ENOMEM, "look up %s: out of memory", host);
	case EAI_AGAIN:
		return tni_err(TN_ERESOLVE, "look up %s: the name servers fail or cannot be reached", host);
	default:
		return tni_err(TN_ERESOLVE, "look up %s: %s", host, gai_strerror(status));
	}
}

static void lookup_free(struct tni_lookup *l)
{
	tni_list_del(&l->task.node);
	tni_foreign_cancel(l->foreign);
	free(l->addrs);
	free(l);
}

/* Nothing of the lookup may be used after done(). */
static void lookup_run(struct tni_task *task)
{
	struct tni_lookup *l = tni_container_of(task, struct tni_lookup, task);
	int rc = explain(l->status, l->host, l->family);

	l->done(l->arg, rc, l->addrs, rc < 0 ? 0 : l->n, false);
	lookup_free(l);
}

static void end(struct tni_lookup *l, int status)
{
	l->status = status;
	tni_loop_ready(l->loop, &l->task);
}

/* They are in RFC 6724's order already. */
static void answered(void *arg, int status, const struct tn_addr *addrs, int n)
{
	struct tni_lookup *l = arg;

	l->foreign = NULL;
	l->addrs = n ? malloc((size_t)n * sizeof(*addrs)) : NULL;
	if (l->addrs)
		memcpy(l->addrs, addrs, (size_t)n * sizeof(*addrs));
	l->n = l->addrs ? n : 0;
	end(l, n && !l->addrs ? EAI_MEMORY : status);
}

/* Names below localhost are this machine, unless hosts(5) says otherwise; nobody else is asked (RFC 6761, 6.3). */
static void ask_localhost(struct tni_lookup *l)
{
	struct tn_addr known[2];
	int n = tni_names_in_hosts("/etc/hosts", l->host, l->family, l->port, &l->addrs);

	l->n = n > 0 ? n : 0;
	if (n > 0)
		end(l, 0);
	else
		answered(l, 0, known, tni_resolve_known("localhost", l->family, l->port, known));
}

int tni_lookup_start(struct tn_loop *loop, const char *host, int family, int port, tni_lookup_done *done, void *arg,
		     struct tni_lookup **out)
{
	size_t size = strlen(host) + 1;
	struct tni_lookup *l = calloc(1, sizeof(*l) + size);
	int rc = 0;

	if (!l)
		return tni_err(-ENOMEM, "look up %s: out of memory", host);
	memcpy(l->host, host, size);
	l->loop = loop;
	l->task.run = lookup_run;
	l->family = family;
	l->port = port;
	l->done = done;
	l->arg = arg;
	tni_list_init(&l->task.node);
	if (tni_addr_is_localhost(host, true))
		ask_localhost(l);
	else
		rc = tni_foreign_start(loop, host, family, port, answered, l, &l->foreign);
	if (rc < 0) {
		lookup_free(l);
		return tni_err(rc, "look up %s: %s", host, tn_strerror(rc));
	}
	*out = l;
	return 0;
}

void tni_lookup_cancel(struct tni_lookup *l)
{
	if (l)
		lookup_free(l);
}

int tni_resolver_set_servers(struct tn_loop *loop, const char *servers)
{
	(void)loop;
	return tni_err(-EOPNOTSUPP, "name servers %s: %s", servers, TNI_NOT_BUILT("c-ares", "cares"));
}
