#include "net/resolve.h"

#include "base/err.h"
#include "io/loop.h"
#include "net/addr.h"
#include "net/foreign.h"
#include "net/names.h"
#include "net/order.h"
#include "net/servers.h"

#include <ares.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { IPV6, IPV4 };

struct tni_resolver {
	struct tni_owned owned;
	struct tn_loop *loop;
	struct tni_servers *servers; /* NULL: not needed yet */
	struct tni_list former;      /* resolv.conf has changed since: they have queries to finish */
	struct stat conf;            /* the resolv.conf that `servers` were made by */
	bool servers_given;          /* by tni_resolver_set_servers() */
	struct tni_list lookups;
	unsigned wanted; /* queries that somebody waits for */
};

/* What DNS says about one name in one family. */
struct query {
	struct tni_lookup *lookup;
	struct tni_servers *servers; /* that are asked */
	int family;
	bool wanted, pending;
	int status; /* c-ares' */
	int n;
	struct tn_addr *addrs;
};

struct tni_lookup {
	struct tni_resolver *resolver; /* NULL: it has gone, and only cancelling is left */
	struct tni_list node;          /* in resolver->lookups */
	struct tni_task task;
	tni_lookup_done *done; /* NULL: cancelled, and c-ares still works on it */
	void *arg;
	int family, port;
	struct tni_names names;
	int entry;           /* of names: the service that is asked */
	unsigned asked;      /* queries that c-ares works on */
	bool ended, failed;  /* failed: nobody has answered for the last name */
	struct query *early; /* its addresses have been reported, while the other family is still asked */
	struct query queries[2];
	struct tni_names_walk walk;
	struct tni_foreign *foreign;
	int status; /* the worst so far; at the end, what becomes of the lookup */
	int n;
	struct tn_addr *addrs;
	char name[TNI_NAMES_LEN_MAX]; /* that DNS is asked for */
	char host[];
};

/* ---- words ---- */

/* The code and the detail for the status of a lookup. */
static int explain(int status, const char *host, int family)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENOTFOUND:
	case ARES_ENONAME:
		return tni_err(TN_ENAME, "look up %s: name not found", host);
	case ARES_EBADNAME:
		return tni_err(TN_ENAME, "look up %s: not a valid name", host);
	case ARES_ENODATA:
		return tni_err(TN_ENAME, "look up %s: the name has no %saddress", host,
			       family == AF_INET    ? "IPv4 "
			       : family == AF_INET6 ? "IPv6 "
						    : "");
	case ARES_ETIMEOUT:
		return tni_err(-ETIMEDOUT, "look up %s: no answer from the name servers", host);
	case ARES_ECONNREFUSED:
	case ARES_ESERVFAIL:
	case ARES_EREFUSED:
	case ARES_ENOTIMP:
		return tni_err(TN_ERESOLVE, "look up %s: the name servers fail or cannot be reached", host);
	case ARES_ENOMEM:
		return tni_err(-ENOMEM, "look up %s: out of memory", host);
	default:
		return tni_err(TN_ERESOLVE, "look up %s: %s", host, ares_strerror(status));
	}
}

/* How much a status matters when several names have been asked for: a failure may hide what would have been found. */
static int weight(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENOTFOUND:
		return 1;
	case ARES_EBADNAME:
		return 2;
	case ARES_ENODATA:
		return 3;
	case ARES_ENOMEM:
		return 6;
	case ARES_ETIMEOUT:
		return 5;
	default:
		return 4;
	}
}

static void note_status(struct tni_lookup *l, int status)
{
	if (weight(status) > weight(l->status))
		l->status = status;
}

/* ---- the resolver of a loop ---- */

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void free_former(struct tni_resolver *r, bool all)
{
	for (struct tni_list *node = r->former.next, *next; node != &r->former; node = next) {
		struct tni_servers *servers = tni_container_of(node, struct tni_servers, node);

		next = node->next;
		if (all || !servers->asked)
			tni_servers_free(servers);
	}
}

/*
 * A computer may have gone from one network to another since the last lookup. c-ares takes no other name servers while
 * it works on queries: those end with the servers that they began with.
 */
static int fresh_servers(struct tni_resolver *r, const struct tni_names *names)
{
	struct tni_servers *servers;
	struct stat conf = {0};
	int rc;

	free_former(r, false);
	if (r->servers && r->servers_given)
		return 0;
	(void)stat("/etc/resolv.conf", &conf);
	if (r->servers && is_same_file(&conf, &r->conf))
		return 0;
	rc = tni_servers_new(r->loop, names, &servers);
	if (rc < 0)
		return rc;
	if (r->servers && r->servers->asked)
		tni_list_add_tail(&r->former, &r->servers->node);
	else
		tni_servers_free(r->servers);
	r->servers = servers;
	r->conf = conf;
	return 0;
}

/*
 * Lookups that somebody still waits for lose their resolver; whoever started them cancels them when its own turn comes,
 * which may be later. c-ares reports the ones it works on as destroyed.
 */
static void resolver_destroy(struct tni_owned *owned)
{
	struct tni_resolver *r = tni_container_of(owned, struct tni_resolver, owned);
	struct tni_list *node;

	while ((node = tni_list_pop(&r->lookups))) {
		struct tni_lookup *l = tni_container_of(node, struct tni_lookup, node);

		tni_list_del(&l->task.node);
		tni_foreign_cancel(l->foreign);
		l->foreign = NULL;
		l->resolver = NULL;
	}
	free_former(r, true);
	tni_servers_free(r->servers);
	tni_list_del(&r->owned.node);
	r->loop->resolver = NULL;
	free(r);
}

static int resolver_new(struct tn_loop *loop)
{
	struct tni_resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return tni_err(-ENOMEM, "resolver: out of memory");
	r->loop = loop;
	r->owned.destroy = resolver_destroy;
	tni_list_init(&r->former);
	tni_list_init(&r->lookups);
	tni_list_add_tail(&loop->owned, &r->owned.node);
	loop->resolver = r;
	return 0;
}

static int read_names(struct tni_names *names)
{
	return tni_names_read(names) < 0 ? tni_err(-ENOMEM, "resolver: out of memory") : 0;
}

int tni_resolver_set_servers(struct tn_loop *loop, const char *servers)
{
	int rc = loop->resolver ? 0 : resolver_new(loop);
	struct tni_resolver *r = loop->resolver;
	struct tni_names names;

	if (rc < 0 || (rc = read_names(&names)) < 0)
		return rc;
	if (r->servers && r->servers->asked)
		rc = tni_err(-EBUSY, "name servers %s: lookups are under way", servers);
	if (rc == 0)
		rc = fresh_servers(r, &names);
	tni_names_free(&names);
	if (rc == 0)
		rc = tni_servers_set(r->servers, servers);
	r->servers_given |= rc == 0;
	return rc;
}

/* ---- the life of a lookup ---- */

static void lookup_free(struct tni_lookup *l)
{
	tni_list_del(&l->task.node);
	tni_list_del(&l->node);
	tni_foreign_cancel(l->foreign);
	tni_names_free(&l->names);
	free(l->queries[IPV6].addrs);
	free(l->queries[IPV4].addrs);
	free(l->addrs);
	free(l);
}

/* Everything that may call back happens in the lookup's task: c-ares and the caller are never inside each other. */
static void wake(struct tni_lookup *l)
{
	tni_loop_ready(l->resolver->loop, &l->task);
}

static void end(struct tni_lookup *l, int status)
{
	l->ended = true;
	l->status = status;
	wake(l);
}

static int append(struct tni_lookup *l, const struct tn_addr *addrs, int n)
{
	struct tn_addr *all = realloc(l->addrs, (size_t)(l->n + n) * sizeof(*all));

	if (!all)
		return -ENOMEM;
	memcpy(all + l->n, addrs, (size_t)n * sizeof(*all));
	l->addrs = all;
	l->n += n;
	return 0;
}

/* ---- DNS ---- */

/* As many as there are: an address takes more than its own bytes in a reply. */
static int parse_reply(struct query *q, const unsigned char *data, int len)
{
	int n = len / 16 + 1, status;
	void *records = calloc((size_t)n, sizeof(struct ares_addr6ttl));

	q->addrs = records ? calloc((size_t)n, sizeof(*q->addrs)) : NULL;
	if (!q->addrs) {
		free(records);
		return ARES_ENOMEM;
	}
	status = q->family == AF_INET ? ares_parse_a_reply(data, len, NULL, records, &n)
				      : ares_parse_aaaa_reply(data, len, NULL, records, &n);
	for (int i = 0; status == ARES_SUCCESS && i < n; i++) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)q->lookup->port)};
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = in.sin_port};

		if (q->family == AF_INET) {
			in.sin_addr = ((struct ares_addrttl *)records)[i].ipaddr;
			tni_addr_from(&q->addrs[q->n++], (struct sockaddr *)&in, sizeof(in));
		} else {
			memcpy(&in6.sin6_addr, &((struct ares_addr6ttl *)records)[i].ip6addr, sizeof(in6.sin6_addr));
			tni_addr_from(&q->addrs[q->n++], (struct sockaddr *)&in6, sizeof(in6));
		}
	}
	free(records);
	/* A name whose aliases lead nowhere exists nevertheless: the walk is over */
	return status == ARES_ENODATA ? ARES_SUCCESS : status;
}

/* c-ares calls it from its own inside, or from inside ares_query(). */
static void answer(void *arg, int status, int timeouts, unsigned char *data, int len)
{
	struct query *q = arg;
	struct tni_lookup *l = q->lookup;

	(void)timeouts;
	q->pending = false;
	l->asked--;
	if (l->resolver) {
		q->servers->asked--;
		l->resolver->wanted -= l->done != NULL;
	}
	if (!l->done) {
		if (!l->asked)
			lookup_free(l);
		return;
	}
	if (!l->resolver)
		return;
	q->status = status == ARES_SUCCESS ? parse_reply(q, data, len) : status;
	wake(l);
}

static void send_query(struct tni_lookup *l, struct query *q)
{
	struct tni_servers *servers = l->resolver->servers;

	q->wanted = false;
	q->pending = true;
	q->servers = servers;
	l->asked++;
	servers->asked++;
	l->resolver->wanted++;
	tni_servers_query(servers, l->name, q->family, answer, q);
}

/*
 * Both families of one name are asked for together, and the next name of the walk only when neither exists: asked by
 * itself, a family might be found at another name, which is another host.
 */
static void send_queries(struct tni_lookup *l)
{
	struct query *q = l->queries;
	bool one_by_one = l->names.one_by_one && q[IPV4].wanted;

	if (q[IPV6].wanted && !one_by_one)
		send_query(l, &q[IPV6]);
	if (q[IPV4].wanted)
		send_query(l, &q[IPV4]);
}

static bool is_asked(const struct tni_lookup *l, const struct query *q)
{
	if (q->family == AF_INET6 && l->names.no_ipv6)
		return false;
	return l->family == AF_UNSPEC || l->family == q->family;
}

static void service_over(struct tni_lookup *l, enum tni_names_status how);

static void next_name(struct tni_lookup *l)
{
	if (!tni_names_next(&l->names, &l->walk, l->name)) {
		service_over(l, l->failed ? TNI_NAMES_UNAVAIL : TNI_NAMES_NOTFOUND);
		return;
	}
	for (struct query *q = l->queries; q < l->queries + 2; q++) {
		free(q->addrs);
		q->addrs = NULL;
		q->n = 0;
		q->status = ARES_ENOTFOUND;
		q->wanted = is_asked(l, q);
	}
	if (l->queries[IPV6].wanted || l->queries[IPV4].wanted)
		send_queries(l);
	else
		wake(l);
}

/* What was found, but for what has been told already. */
static void end_found(struct tni_lookup *l)
{
	int rc = 0;

	for (struct query *q = l->queries; q < l->queries + 2 && rc == 0; q++)
		if (q->n && q != l->early)
			rc = append(l, q->addrs, q->n);
	tni_order_addrs(l->addrs, l->n);
	end(l, rc < 0 ? ARES_ENOMEM : ARES_SUCCESS);
}

static bool has_answered(int status)
{
	return status == ARES_ENOTFOUND || status == ARES_ENODATA;
}

static bool has_failed(int status)
{
	return status == ARES_ESERVFAIL || status == ARES_ECONNREFUSED || status == ARES_EREFUSED ||
	       status == ARES_ENOTIMP;
}

/*
 * Both families have been answered for one name. The walk goes on as glibc's does: past names that do not exist and
 * servers that fail; after silence only the name as it stands is asked for.
 */
static void name_over(struct tni_lookup *l)
{
	bool exists = false, answered = false, refused = false;
	int asked = 0;

	if (l->queries[IPV6].n || l->queries[IPV4].n) {
		end_found(l);
		return;
	}
	for (const struct query *q = l->queries; q < l->queries + 2; q++) {
		if (!is_asked(l, q))
			continue;
		asked++;
		exists |= q->status == ARES_SUCCESS;
		answered |= has_answered(q->status);
		refused |= has_failed(q->status);
		note_status(l, q->status);
	}
	if (exists || !asked)
		note_status(l, ARES_ENODATA);
	l->failed = !answered;
	l->walk.given_up |= !answered && !refused;
	if (exists || !asked)
		service_over(l, TNI_NAMES_NOTFOUND);
	else
		next_name(l);
}

/* One family is enough to begin with. Nothing may be done after done(), which may have cancelled the lookup. */
static void tell_early(struct tni_lookup *l)
{
	struct query *q = l->queries[IPV6].pending ? &l->queries[IPV4] : &l->queries[IPV6];

	if (l->early || !q->n)
		return;
	l->early = q;
	tni_order_addrs(q->addrs, q->n);
	l->done(l->arg, 0, q->addrs, q->n, true);
}

/* ---- services ---- */

static void ask_files(struct tni_lookup *l)
{
	int n = tni_names_in_hosts("/etc/hosts", l->host, l->family, l->port, &l->addrs);

	if (n > 0) {
		l->n = n;
		tni_order_addrs(l->addrs, n);
		end(l, ARES_SUCCESS);
	} else if (n == -ENOMEM) {
		end(l, ARES_ENOMEM);
	} else {
		service_over(l, n == 0 ? TNI_NAMES_NOTFOUND : TNI_NAMES_UNAVAIL);
	}
}

static void ask_dns(struct tni_lookup *l)
{
	int rc = fresh_servers(l->resolver, &l->names);

	l->walk = (struct tni_names_walk){.host = l->host};
	if (rc < 0) {
		end(l, rc == -ENOMEM ? ARES_ENOMEM : ARES_ECONNREFUSED);
	} else if (!tni_names_is_valid(l->host)) {
		note_status(l, ARES_EBADNAME);
		service_over(l, TNI_NAMES_NOTFOUND);
	} else {
		next_name(l);
	}
}

static void ask_service(struct tni_lookup *l)
{
	if (l->entry == l->names.nentries)
		end(l, l->status);
	else if (l->names.entries[l->entry].service == TNI_NAMES_FILES)
		ask_files(l);
	else
		ask_dns(l);
}

static void service_over(struct tni_lookup *l, enum tni_names_status how)
{
	if (l->names.entries[l->entry].returns >> how & 1)
		l->entry = l->names.nentries;
	else
		l->entry++;
	ask_service(l);
}

static int status_of_foreign(int rc)
{
	switch (rc) {
	case 0:
		return ARES_SUCCESS;
	case EAI_NONAME:
		return ARES_ENOTFOUND;
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
		return ARES_ENODATA;
	case EAI_MEMORY:
		return ARES_ENOMEM;
	default:
		return ARES_ESERVFAIL;
	}
}

static void foreign_done(void *arg, int rc, const struct tn_addr *addrs, int n)
{
	struct tni_lookup *l = arg;

	l->foreign = NULL;
	if (rc == 0 && append(l, addrs, n) < 0)
		rc = EAI_MEMORY;
	end(l, status_of_foreign(rc));
}

static bool has_foreign(const struct tni_names *names)
{
	for (int i = 0; i < names->nentries; i++)
		if (names->entries[i].service == TNI_NAMES_FOREIGN)
			return true;
	return false;
}

/* Names below localhost are this machine, unless hosts(5) says otherwise; nobody else is asked (RFC 6761, 6.3). */
static void ask_localhost(struct tni_lookup *l)
{
	struct tn_addr known[2];
	int n = tni_names_in_hosts("/etc/hosts", l->host, l->family, l->port, &l->addrs);

	if (n > 0) {
		l->n = n;
		end(l, ARES_SUCCESS);
		return;
	}
	n = tni_resolve_known("localhost", l->family, l->port, known);
	end(l, append(l, known, n) < 0 ? ARES_ENOMEM : ARES_SUCCESS);
}

static void begin(struct tni_lookup *l)
{
	int rc = 0;

	if (tni_addr_is_localhost(l->host, true))
		ask_localhost(l);
	else if (has_foreign(&l->names))
		rc = tni_foreign_start(l->resolver->loop, l->host, l->family, l->port, foreign_done, l, &l->foreign);
	else
		ask_service(l);
	if (rc < 0)
		end(l, ARES_ENOMEM);
}

/* ---- lookups ---- */

static void lookup_run(struct tni_task *task)
{
	struct tni_lookup *l = tni_container_of(task, struct tni_lookup, task);

	if (l->ended) {
		tni_list_del(&l->node);
		l->done(l->arg, explain(l->status, l->host, l->family), l->addrs, l->n, false);
		lookup_free(l);
	} else if (l->asked) {
		tell_early(l);
	} else if (l->queries[IPV6].wanted) { /* single-request: A has been answered, AAAA comes now */
		send_queries(l);
	} else {
		name_over(l);
	}
}

static struct tni_lookup *lookup_new(struct tni_resolver *r, const char *host)
{
	size_t size = strlen(host) + 1;
	struct tni_lookup *l = calloc(1, sizeof(*l) + size);

	if (!l)
		return NULL;
	memcpy(l->host, host, size);
	l->resolver = r;
	l->task.run = lookup_run;
	l->status = ARES_ENOTFOUND;
	l->queries[IPV6] = (struct query){.lookup = l, .family = AF_INET6};
	l->queries[IPV4] = (struct query){.lookup = l, .family = AF_INET};
	tni_list_init(&l->task.node);
	tni_list_init(&l->node);
	return l;
}

int tni_lookup_start(struct tn_loop *loop, const char *host, int family, int port, tni_lookup_done *done, void *arg,
		     struct tni_lookup **out)
{
	int rc = loop->resolver ? 0 : resolver_new(loop);
	struct tni_lookup *l;

	if (rc < 0)
		return rc;
	l = lookup_new(loop->resolver, host);
	if (!l)
		return tni_err(-ENOMEM, "look up %s: out of memory", host);
	rc = read_names(&l->names);
	if (rc < 0) {
		lookup_free(l);
		return rc;
	}
	l->family = family;
	l->port = port;
	l->done = done;
	l->arg = arg;
	tni_list_add_tail(&loop->resolver->lookups, &l->node);
	begin(l);
	*out = l;
	return 0;
}

/* One lookup's queries go on and what they bring is dropped; when nobody waits for any, all are cancelled. */
void tni_lookup_cancel(struct tni_lookup *l)
{
	struct tni_resolver *r = l ? l->resolver : NULL;

	if (!l)
		return;
	if (!r || !l->asked) {
		lookup_free(l);
		return;
	}
	l->done = NULL;
	tni_list_del(&l->task.node);
	r->wanted -= l->asked;
	if (r->wanted)
		return;
	tni_servers_cancel(r->servers);
	for (struct tni_list *node = r->former.next; node != &r->former; node = node->next)
		tni_servers_cancel(tni_container_of(node, struct tni_servers, node));
}
