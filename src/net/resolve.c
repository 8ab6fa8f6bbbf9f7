#include "net/resolve.h"

#include "base/err.h"
#include "io/loop.h"
#include "net/addr.h"

#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* One of c-ares' descriptors: c-ares opens and closes it, only the waiting is ours. */
struct channel_fd {
	struct tni_list node;
	struct tni_resolver *resolver;
	struct tni_fd fd;
};

struct tni_resolver {
	struct tni_owned owned;
	struct tn_loop *loop;
	ares_channel channel;
	struct tni_timer timer;
	struct tni_list fds;
	struct tni_list answered; /* lookups whose task is queued */
	unsigned wanted;          /* lookups that c-ares works on and somebody waits for */
};

struct tni_lookup {
	struct tni_resolver *resolver; /* NULL: it has gone, and only cancelling is left */
	struct tni_list node;          /* in answered, linked to itself before */
	struct tni_task task;
	tni_lookup_done *done; /* NULL: cancelled, and c-ares still works on it */
	void *arg;
	int family, port;
	int status; /* c-ares' */
	int n;
	struct tn_addr *addrs;
	char host[];
};

/* ---- the library and its channels ---- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void library_init(void)
{
	library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

/*
 * Before 1.20 c-ares asks a name server four times, waiting 5, 10, 20 and 40 seconds: a lost packet costs 5 seconds, a
 * dead server more than a minute. Later versions wait 2, 4 and 8, and so do we; RES_OPTIONS still has its way.
 */
static int patience(struct ares_options *options)
{
	int version;

	ares_version(&version);
	if (version >= 0x011400 || getenv("RES_OPTIONS"))
		return 0;
	options->timeout = 2000;
	options->tries = 3;
	return ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
}

static int open_channel(ares_channel *channel, struct ares_options *options, int mask)
{
	int status;

	pthread_once(&library_once, library_init);
	status = library_status;
	mask |= patience(options);
	if (status == ARES_SUCCESS)
		status = ares_init_options(channel, options, mask);
	if (status == ARES_SUCCESS)
		return 0;
	return tni_err(status == ARES_ENOMEM ? -ENOMEM : TN_ERESOLVE, "resolver: %s", ares_strerror(status));
}

static int set_servers(ares_channel channel, const char *servers)
{
	int status = ares_set_servers_ports_csv(channel, servers);

	if (status == ARES_ENOTIMP)
		return tni_err(-EBUSY, "name servers %s: lookups are under way", servers);
	if (status != ARES_SUCCESS)
		return tni_err(status == ARES_ENOMEM ? -ENOMEM : -EINVAL, "name servers %s: %s", servers,
			       ares_strerror(status));
	return 0;
}

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
		return tni_err(TN_ERESOLVE, "look up %s: the name servers fail or cannot be reached", host);
	case ARES_ENOMEM:
		return tni_err(-ENOMEM, "look up %s: out of memory", host);
	default:
		return tni_err(TN_ERESOLVE, "look up %s: %s", host, ares_strerror(status));
	}
}

static int copy_addrs(struct tn_addr *addrs, int max, const struct ares_addrinfo *ai, int port)
{
	int n = 0;

	for (const struct ares_addrinfo_node *node = ai->nodes; node && n < max; node = node->ai_next) {
		if (node->ai_family != AF_INET && node->ai_family != AF_INET6)
			continue;
		tni_addr_from(&addrs[n], node->ai_addr, (socklen_t)node->ai_addrlen);
		tni_addr_set_port(&addrs[n++], port);
	}
	return n;
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
	if (*host && !tni_addr_is_localhost(host))
		return 0;
	if (family != AF_INET)
		tni_addr_loopback(&addrs[n++], AF_INET6, port);
	if (family != AF_INET6)
		tni_addr_loopback(&addrs[n++], AF_INET, port);
	return n;
}

/* ---- a channel driven by the loop ---- */

static struct channel_fd *find_fd(struct tni_resolver *r, int sysfd)
{
	for (struct tni_list *node = r->fds.next; node != &r->fds; node = node->next) {
		struct channel_fd *f = tni_container_of(node, struct channel_fd, node);

		if (f->fd.fd == sysfd)
			return f;
	}
	return NULL;
}

/* c-ares tells time in milliseconds, rounded down: waking up early would be waking up in vain. */
static void arm_timer(struct tni_resolver *r)
{
	struct timeval tv, *next = ares_timeout(r->channel, NULL, &tv);
	uint64_t ns;

	if (!next) {
		tni_loop_untimer(r->loop, &r->timer);
		return;
	}
	ns = (uint64_t)next->tv_sec * TNI_NS_PER_S + (uint64_t)next->tv_usec * TNI_NS_PER_US + TNI_NS_PER_MS;
	tni_timer_arm(&r->loop->timers, &r->timer, tni_clock_ns() + ns);
}

static void timer_fire(struct tni_timer *timer)
{
	struct tni_resolver *r = tni_container_of(timer, struct tni_resolver, timer);

	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timer(r);
}

/*
 * Should waiting be refused for want of memory, c-ares is not told: the query then ends by its time-out, which is what
 * it would make of a lost packet.
 */
static void set_waiting(struct channel_fd *f, struct tni_op *op, enum tni_op_kind kind, bool wanted)
{
	if (wanted && !tni_op_busy(op))
		tni_submit(f->resolver->loop, &f->fd, op, kind);
	else if (!wanted)
		tni_cancel(f->resolver->loop, &f->fd, op);
}

/*
 * A poll tells news only, and c-ares may leave bytes behind: over TCP it reads a message's length, returns, and expects
 * to be called again. So the question is asked anew after each answer. The descriptor may be gone by then, or its
 * number be another one's.
 */
static void readable(struct tni_op *op, int res)
{
	struct channel_fd *f = tni_container_of(op, struct channel_fd, fd.rd);
	struct tni_resolver *r = f->resolver;
	int sysfd = f->fd.fd;

	(void)res;
	ares_process_fd(r->channel, sysfd, ARES_SOCKET_BAD);
	f = find_fd(r, sysfd);
	if (f && tni_op_busy(&f->fd.rd)) {
		set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, false);
		set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, true);
	}
	arm_timer(r);
}

/* Writing is waited for over TCP only, until c-ares has nothing more to write and says so. */
static void writable(struct tni_op *op, int res)
{
	struct channel_fd *f = tni_container_of(op, struct channel_fd, fd.wr);
	struct tni_resolver *r = f->resolver;
	int sysfd = f->fd.fd;

	(void)res;
	set_waiting(f, op, TNI_OP_POLL_OUT, true);
	ares_process_fd(r->channel, ARES_SOCKET_BAD, sysfd);
	arm_timer(r);
}

/* c-ares is about to close it: close(2) is not ours. */
static void forget_fd(struct channel_fd *f)
{
	struct tn_loop *loop = f->resolver->loop;

	set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, false);
	set_waiting(f, &f->fd.wr, TNI_OP_POLL_OUT, false);
	tni_fd_release(loop, &f->fd);
	tni_list_del(&f->node);
	free(f);
}

/* c-ares says what it waits for; neither means that it closes the descriptor. */
static void state_changed(void *arg, ares_socket_t sysfd, int want_in, int want_out)
{
	struct tni_resolver *r = arg;
	struct channel_fd *f = find_fd(r, sysfd);

	if (!want_in && !want_out) {
		if (f)
			forget_fd(f);
		return;
	}
	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f)
			return;
		f->resolver = r;
		tni_fd_init(&f->fd, sysfd, TNI_FD_POLLED);
		f->fd.rd.done = readable;
		f->fd.wr.done = writable;
		tni_list_add_tail(&r->fds, &f->node);
	}
	set_waiting(f, &f->fd.rd, TNI_OP_POLL_IN, want_in);
	set_waiting(f, &f->fd.wr, TNI_OP_POLL_OUT, want_out);
}

/*
 * Lookups that somebody still waits for lose their resolver; whoever started them cancels them when its own turn comes,
 * which may be later. c-ares reports the ones it works on as destroyed.
 */
static void resolver_destroy(struct tni_owned *owned)
{
	struct tni_resolver *r = tni_container_of(owned, struct tni_resolver, owned);
	struct tni_list *node;

	while ((node = tni_list_pop(&r->answered))) {
		struct tni_lookup *l = tni_container_of(node, struct tni_lookup, node);

		tni_list_del(&l->task.node);
		l->resolver = NULL;
	}
	ares_destroy(r->channel);
	tni_loop_untimer(r->loop, &r->timer);
	tni_list_del(&r->owned.node);
	r->loop->resolver = NULL;
	free(r);
}

static int resolver_new(struct tn_loop *loop)
{
	struct ares_options options = {.sock_state_cb = state_changed};
	struct tni_resolver *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return tni_err(-ENOMEM, "resolver: out of memory");
	r->loop = loop;
	r->timer.fire = timer_fire;
	r->owned.destroy = resolver_destroy;
	tni_list_init(&r->fds);
	tni_list_init(&r->answered);
	options.sock_state_cb_data = r;
	rc = open_channel(&r->channel, &options, ARES_OPT_SOCK_STATE_CB);
	if (rc < 0) {
		free(r);
		return rc;
	}
	tni_list_add_tail(&loop->owned, &r->owned.node);
	loop->resolver = r;
	return 0;
}

int tni_resolver_set_servers(struct tn_loop *loop, const char *servers)
{
	int rc = loop->resolver ? 0 : resolver_new(loop);

	return loop->resolver ? set_servers(loop->resolver->channel, servers) : rc;
}

/* ---- lookups ---- */

static void lookup_free(struct tni_lookup *l)
{
	tni_list_del(&l->task.node);
	tni_list_del(&l->node);
	free(l->addrs);
	free(l);
}

static void lookup_run(struct tni_task *task)
{
	struct tni_lookup *l = tni_container_of(task, struct tni_lookup, task);

	tni_list_del(&l->node);
	l->done(l->arg, explain(l->status, l->host, l->family), l->addrs, l->n);
	lookup_free(l);
}

static int keep_addrs(struct tni_lookup *l, const struct ares_addrinfo *ai)
{
	l->addrs = calloc(TNI_LOOKUP_MAX, sizeof(*l->addrs));
	if (!l->addrs)
		return ARES_ENOMEM;
	l->n = copy_addrs(l->addrs, TNI_LOOKUP_MAX, ai, l->port);
	return l->n ? ARES_SUCCESS : ARES_ENODATA;
}

static void settle(struct tni_lookup *l, int status)
{
	l->status = status;
	tni_list_add_tail(&l->resolver->answered, &l->node);
	tni_loop_ready(l->resolver->loop, &l->task);
}

/* c-ares calls it from its own inside, where no lookup may be started or cancelled: hence the task. */
static void answer(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
	struct tni_lookup *l = arg;

	(void)timeouts;
	if (!l->done) {
		lookup_free(l);
	} else if (status == ARES_EDESTRUCTION) {
		l->resolver = NULL;
	} else {
		l->resolver->wanted--;
		settle(l, status == ARES_SUCCESS ? keep_addrs(l, ai) : status);
	}
	if (ai)
		ares_freeaddrinfo(ai);
}

static bool in_hosts(struct tni_resolver *r, const char *host, int family)
{
	struct hostent *entry = NULL;

	if (ares_gethostbyname_file(r->channel, host, family, &entry) != ARES_SUCCESS)
		return false;
	ares_free_hostent(entry);
	return true;
}

/*
 * A name that /etc/hosts gives an address of the other family has none of this one: DNS is not asked, as getaddrinfo(3)
 * would not. A dial to such a name must not wait for a name server.
 */
static bool only_other_in_hosts(struct tni_resolver *r, const char *host, int family)
{
	return in_hosts(r, host, family == AF_INET ? AF_INET6 : AF_INET) && !in_hosts(r, host, family);
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
	tni_list_init(&l->task.node);
	tni_list_init(&l->node);
	return l;
}

int tni_lookup_start(struct tn_loop *loop, const char *host, int family, int port, tni_lookup_done *done, void *arg,
		     struct tni_lookup **out)
{
	struct ares_addrinfo_hints hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
	int rc = loop->resolver ? 0 : resolver_new(loop);
	struct tni_resolver *r = loop->resolver;
	struct tni_lookup *l;

	if (!r)
		return rc;
	l = lookup_new(r, host);
	if (!l)
		return tni_err(-ENOMEM, "look up %s: out of memory", host);
	l->family = family;
	l->port = port;
	l->done = done;
	l->arg = arg;
	if (only_other_in_hosts(r, host, family)) {
		settle(l, ARES_ENODATA);
	} else {
		r->wanted++;
		ares_getaddrinfo(r->channel, host, NULL, &hints, answer, l);
		arm_timer(r);
	}
	*out = l;
	return 0;
}

/*
 * c-ares can cancel all or nothing. So one lookup's query goes on and what it brings is dropped; when nobody waits for
 * any, all are cancelled, which closes the sockets.
 */
void tni_lookup_cancel(struct tni_lookup *l)
{
	struct tni_resolver *r = l ? l->resolver : NULL;

	if (!l)
		return;
	if (!r || !tni_list_empty(&l->node)) {
		lookup_free(l);
		return;
	}
	l->done = NULL;
	if (--r->wanted == 0) {
		ares_cancel(r->channel);
		arm_timer(r);
	}
}

/* ---- the blocking form ---- */

struct blocking {
	struct ares_addrinfo *ai;
	int status;
	bool done;
};

static void blocking_answer(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
	struct blocking *b = arg;

	(void)timeouts;
	b->ai = ai;
	b->status = status;
	b->done = true;
}

static int poll_time(ares_channel channel, uint64_t left_ns)
{
	struct timeval tv, *next = ares_timeout(channel, NULL, &tv);
	uint64_t ms = left_ns / TNI_NS_PER_MS + 1, next_ms;

	if (next) {
		next_ms = (uint64_t)next->tv_sec * 1000 + (uint64_t)next->tv_usec / 1000 + 1;
		ms = next_ms < ms ? next_ms : ms;
	}
	return ms < 60000 ? (int)ms : 60000;
}

static void poll_channel(ares_channel channel, uint64_t left_ns)
{
	ares_socket_t fds[ARES_GETSOCK_MAXNUM];
	struct pollfd polls[ARES_GETSOCK_MAXNUM];
	unsigned bits = (unsigned)ares_getsock(channel, fds, ARES_GETSOCK_MAXNUM);
	nfds_t n = 0;

	for (int i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
		short events = 0;

		if (bits >> i & 1)
			events |= POLLIN;
		if (bits >> (i + ARES_GETSOCK_MAXNUM) & 1)
			events |= POLLOUT;
		if (events)
			polls[n++] = (struct pollfd){.fd = fds[i], .events = events};
	}
	if (poll(polls, n, poll_time(channel, left_ns)) <= 0)
		n = 0;
	for (nfds_t i = 0; i < n; i++)
		if (polls[i].revents)
			ares_process_fd(channel, polls[i].revents & ~POLLOUT ? polls[i].fd : ARES_SOCKET_BAD,
					polls[i].revents & ~POLLIN ? polls[i].fd : ARES_SOCKET_BAD);
	ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static int look_up_now(ares_channel channel, const char *host, int family, int port, int timeout_ms,
		       struct tn_addr *addrs, int max)
{
	struct ares_addrinfo_hints hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
	uint64_t now = tni_clock_ns(), until = timeout_ms < 0 ? TNI_NEVER : now + (uint64_t)timeout_ms * TNI_NS_PER_MS;
	struct blocking b = {.done = false};
	int n;

	ares_getaddrinfo(channel, host, NULL, &hints, blocking_answer, &b);
	while (!b.done && now < until) {
		poll_channel(channel, until - now);
		now = tni_clock_ns();
	}
	if (!b.done) {
		ares_cancel(channel); /* answers, and `b` ends here */
		b.status = ARES_ETIMEOUT;
	}
	n = b.status == ARES_SUCCESS && b.ai ? copy_addrs(addrs, max, b.ai, port) : 0;
	if (b.ai)
		ares_freeaddrinfo(b.ai);
	if (n)
		return n;
	return explain(b.status == ARES_SUCCESS ? ARES_ENODATA : b.status, host, family);
}

int tni_resolve_now_at(const char *servers, const char *host, int family, int port, int timeout_ms,
		       struct tn_addr *addrs, int max)
{
	struct ares_options options = {0};
	struct tn_addr known[2];
	ares_channel channel = NULL;
	int rc = tni_resolve_known(host, family, port, known);

	if (rc) {
		rc = rc < max ? rc : max;
		if (rc > 0)
			memcpy(addrs, known, (size_t)rc * sizeof(*known));
		return rc;
	}
	rc = open_channel(&channel, &options, 0);
	if (rc < 0)
		return rc;
	if (servers)
		rc = set_servers(channel, servers);
	if (rc == 0)
		rc = look_up_now(channel, host, family, port, timeout_ms, addrs, max);
	ares_destroy(channel);
	return rc;
}

int tni_resolve_now(const char *host, int family, int port, int timeout_ms, struct tn_addr *addrs, int max)
{
	return tni_resolve_now_at(NULL, host, family, port, timeout_ms, addrs, max);
}
