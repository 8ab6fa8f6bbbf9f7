#include "net/resolve.h"

#include "base/err.h"
#include "io/loop.h"
#include "net/addr.h"
#include "net/foreign.h"
#include "net/names.h"
#include "net/order.h"

#include <ares.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TIMEOUT_MS 2000 /* of the first try; c-ares doubles it for each further one */
#define TRIES 3
#define TYPE_A 1
#define TYPE_AAAA 28
#define CLASS_IN 1

/*
 * One of c-ares' channels. Each family has its own: a channel that finds a name server's port closed forgets the other
 * query that it has just sent there, until that times out.
 */
struct channel {
	struct tn_loop *loop;
	ares_channel ares; /* NULL: it could not be opened */
	struct tni_timer timer;
	struct tni_list fds;
};

/* One of c-ares' descriptors: c-ares opens and closes it, only the waiting is ours. */
struct channel_fd {
	struct tni_list node;
	struct channel *channel;
	struct tni_fd fd;
};

enum { IPV6, IPV4 };

/* The name servers, as resolv.conf had them at one time. */
struct servers {
	struct tni_list node; /* in resolver->former, or in none */
	struct channel channels[2];
	unsigned asked; /* queries that c-ares works on */
};

struct tni_resolver {
	struct tni_owned owned;
	struct tn_loop *loop;
	struct servers *servers; /* NULL: not needed yet */
	struct tni_list former;  /* resolv.conf has changed since: they have queries to finish */
	struct stat conf;        /* the resolv.conf that `servers` were made by */
	bool servers_given;      /* by tni_resolver_set_servers() */
	struct tni_list lookups;
	unsigned wanted; /* queries that somebody waits for */
};

/* What DNS says about one name in one family. */
struct query {
	struct tni_lookup *lookup;
	struct servers *servers; /* that are asked */
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

/* ---- what needs no lookup ---- */

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

/* ---- a channel driven by the loop ---- */

static struct channel_fd *find_fd(struct channel *c, int sysfd)
{
	for (struct tni_list *node = c->fds.next; node != &c->fds; node = node->next) {
		struct channel_fd *f = tni_container_of(node, struct channel_fd, node);

		if (f->fd.fd == sysfd)
			return f;
	}
	return NULL;
}

/* c-ares tells time in milliseconds, rounded down: waking up early would be waking up in vain. */
static void arm_timer(struct channel *c)
{
	struct timeval tv, *next = ares_timeout(c->ares, NULL, &tv);
	uint64_t ns;

	if (!next) {
		tni_loop_untimer(c->loop, &c->timer);
		return;
	}
	ns = (uint64_t)next->tv_sec * TNI_NS_PER_S + (uint64_t)next->tv_usec * TNI_NS_PER_US + TNI_NS_PER_MS;
	tni_timer_arm(&c->loop->timers, &c->timer, tni_clock_ns() + ns);
}

static void timer_fire(struct tni_timer *timer)
{
	struct channel *c = tni_container_of(timer, struct channel, timer);

	ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timer(c);
}

/*
 * Should waiting be refused for want of memory, c-ares is not told: the query then ends by its time-out, which is what
 * it would make of a lost packet.
 */
static void set_waiting(struct channel_fd *f, struct tni_op *op, enum tni_op_kind kind, bool wanted)
{
	if (wanted && !tni_op_busy(op))
		tni_submit(f->channel->loop, &f->fd, op, kind);
	else if (!wanted)
		tni_cancel(f->channel->loop, &f->fd, op);
}

/*
 * A poll tells news only, and c-ares may leave bytes behind: over TCP it reads a message's length, returns, and expects
 * to be called again. So the question is asked anew after each answer. The descriptor may be gone by then, or its
 * number be another one's.
 */
static void readable(struct tni_op *op, int res)
{
	struct channel_fd *f = tni_container_of(op, struct channel_fd, fd.rd);
	struct channel *c = f->channel;
	int sysfd = f->fd.fd;

	(void)res;
	ares_process_fd(c->ares, sysfd, ARES_SOCKET_BAD);
	f = find_fd(c, sysfd);
	if (f && tni_op_busy(&f->fd.rd)) {
		set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, false);
		set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, true);
	}
	arm_timer(c);
}

/* Writing is waited for over TCP only, until c-ares has nothing more to write and says so. */
static void writable(struct tni_op *op, int res)
{
	struct channel_fd *f = tni_container_of(op, struct channel_fd, fd.wr);
	struct channel *c = f->channel;
	int sysfd = f->fd.fd;

	(void)res;
	set_waiting(f, op, TNI_OP_POLL_OUT, true);
	ares_process_fd(c->ares, ARES_SOCKET_BAD, sysfd);
	arm_timer(c);
}

/* c-ares is about to close it: close(2) is not ours. */
static void forget_fd(struct channel_fd *f)
{
	struct tn_loop *loop = f->channel->loop;

	set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, false);
	set_waiting(f, &f->fd.wr, TNI_OP_POLL_OUT, false);
	tni_fd_release(loop, &f->fd);
	tni_list_del(&f->node);
	free(f);
}

/* c-ares says what it waits for; neither means that it closes the descriptor. */
static void state_changed(void *arg, ares_socket_t sysfd, int want_in, int want_out)
{
	struct channel *c = arg;
	struct channel_fd *f = find_fd(c, sysfd);

	if (!want_in && !want_out) {
		if (f)
			forget_fd(f);
		return;
	}
	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f)
			return;
		f->channel = c;
		tni_fd_init(&f->fd, sysfd, TNI_FD_POLLED);
		f->fd.rd.done = readable;
		f->fd.wr.done = writable;
		tni_list_add_tail(&c->fds, &f->node);
	}
	set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, want_in);
	set_waiting(f, &f->fd.wr, TNI_OP_POLL_OUT, want_out);
}

/* ---- the channel ---- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void library_init(void)
{
	library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

static int fail_channel(int status)
{
	return tni_err(status == ARES_ENOMEM ? -ENOMEM : TN_ERESOLVE, "resolver: %s", ares_strerror(status));
}

/* c-ares reads the name servers from resolv.conf itself, but only some of the options. */
static int open_channel(struct channel *c, const struct tni_names *names)
{
	struct ares_options options = {
		.sock_state_cb = state_changed,
		.sock_state_cb_data = c,
		.flags = (names->use_tcp ? ARES_FLAG_USEVC : 0) | (names->edns ? ARES_FLAG_EDNS : 0),
		.timeout = names->timeout_ms ? names->timeout_ms : TIMEOUT_MS,
		.tries = names->attempts ? names->attempts : TRIES,
	};
	int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES, status;

	pthread_once(&library_once, library_init);
	status = library_status;
	if (status == ARES_SUCCESS)
		status = ares_init_options(&c->ares, &options,
					   mask | (names->rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE));
	if (status == ARES_SUCCESS)
		return 0;
	c->ares = NULL;
	return fail_channel(status);
}

/* Lookups that somebody still waits for are told that c-ares has gone. */
static void servers_free(struct servers *servers)
{
	if (!servers)
		return;
	for (struct channel *c = servers->channels; c < servers->channels + 2; c++) {
		if (c->ares)
			ares_destroy(c->ares);
		tni_loop_untimer(c->loop, &c->timer);
	}
	tni_list_del(&servers->node);
	free(servers);
}

static int servers_new(struct tn_loop *loop, const struct tni_names *names, struct servers **out)
{
	struct servers *servers = calloc(1, sizeof(*servers));
	int rc = 0;

	if (!servers)
		return tni_err(-ENOMEM, "resolver: out of memory");
	tni_list_init(&servers->node);
	for (struct channel *c = servers->channels; c < servers->channels + 2; c++) {
		c->loop = loop;
		c->timer.fire = timer_fire;
		tni_list_init(&c->fds);
	}
	for (int i = 0; i < 2 && rc == 0; i++)
		rc = open_channel(&servers->channels[i], names);
	if (rc < 0)
		servers_free(servers);
	else
		*out = servers;
	return rc;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void free_former(struct tni_resolver *r, bool all)
{
	for (struct tni_list *node = r->former.next, *next; node != &r->former; node = next) {
		struct servers *servers = tni_container_of(node, struct servers, node);

		next = node->next;
		if (all || !servers->asked)
			servers_free(servers);
	}
}

/*
 * A computer may have gone from one network to another since the last lookup. c-ares takes no other name servers while
 * it works on queries: those end with the servers that they began with.
 */
static int fresh_servers(struct tni_resolver *r, const struct tni_names *names)
{
	struct servers *servers;
	struct stat conf = {0};
	int rc;

	free_former(r, false);
	if (r->servers && r->servers_given)
		return 0;
	(void)stat("/etc/resolv.conf", &conf);
	if (r->servers && is_same_file(&conf, &r->conf))
		return 0;
	rc = servers_new(r->loop, names, &servers);
	if (rc < 0)
		return rc;
	if (r->servers && r->servers->asked)
		tni_list_add_tail(&r->former, &r->servers->node);
	else
		servers_free(r->servers);
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
	servers_free(r->servers);
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

static int set_servers(struct channel *c, const char *servers)
{
	int status = ares_set_servers_ports_csv(c->ares, servers);

	if (status == ARES_SUCCESS)
		return 0;
	return tni_err(status == ARES_ENOMEM ? -ENOMEM : -EINVAL, "name servers %s: %s", servers,
		       ares_strerror(status));
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
	for (int i = 0; i < 2 && rc == 0; i++)
		rc = set_servers(&r->servers->channels[i], servers);
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
	struct servers *servers = l->resolver->servers;
	struct channel *c = &servers->channels[q->family == AF_INET ? IPV4 : IPV6];

	q->wanted = false;
	q->pending = true;
	q->servers = servers;
	l->asked++;
	servers->asked++;
	l->resolver->wanted++;
	ares_query(c->ares, l->name, CLASS_IN, q->family == AF_INET ? TYPE_A : TYPE_AAAA, answer, q);
	arm_timer(c);
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

/*
 * c-ares can cancel all or nothing. So one lookup's queries go on and what they bring is dropped; when nobody waits for
 * any, all are cancelled, which closes the sockets.
 */
static void servers_cancel(struct servers *servers)
{
	for (struct channel *c = servers->channels; c < servers->channels + 2; c++) {
		ares_cancel(c->ares);
		arm_timer(c);
	}
}

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
	servers_cancel(r->servers);
	for (struct tni_list *node = r->former.next; node != &r->former; node = node->next)
		servers_cancel(tni_container_of(node, struct servers, node));
}

/* ---- the blocking form ---- */

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
	return b->n ? b->n : explain(ARES_ETIMEOUT, host, family);
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
