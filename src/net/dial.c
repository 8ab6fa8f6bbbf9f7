#include "net/dial.h"

#include "base/err.h"
#include "base/units.h"
#include "io/loop.h"
#include "net/addr.h"
#include "net/order.h"
#include "net/resolve.h"
#include "net/sockopt.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the schedule ---- */

static int family_index(int family)
{
	return family == AF_INET6 ? 0 : 1;
}

void tni_race_init(struct tni_race *race, int first)
{
	*race = (struct tni_race){.turn = family_index(first)};
}

void tni_race_free(struct tni_race *race)
{
	free(race->addrs[0]);
	free(race->addrs[1]);
}

void tni_race_expect(struct tni_race *race, int family)
{
	race->asked[family_index(family)] = true;
}

static bool has_addr(const struct tni_race *race, int f, const struct tn_addr *addr)
{
	for (int i = 0; i < race->n[f]; i++)
		if (tni_addr_equal(&race->addrs[f][i], addr))
			return true;
	return false;
}

int tni_race_answer(struct tni_race *race, int family, const struct tn_addr *addrs, int n, uint64_t now_ns)
{
	int f = family_index(family);

	if (n > 0) {
		struct tn_addr *all = realloc(race->addrs[f], (size_t)(race->n[f] + n) * sizeof(*all));

		if (!all)
			return -ENOMEM;
		race->addrs[f] = all;
	}
	for (int i = 0; i < n; i++)
		if (!has_addr(race, f, &addrs[i]))
			race->addrs[f][race->n[f]++] = addrs[i];
	race->asked[f] = false;
	if (race->started)
		return 0;
	/* IPv4 waits for IPv6, but not for long; IPv6, or the news that there is none, ends the wait. */
	race->not_before_ns = f == 1 && race->asked[0] ? now_ns + TNI_RACE_RESOLUTION_NS : 0;
	return 0;
}

void tni_race_first(struct tni_race *race, int family)
{
	if (!race->started)
		race->turn = family_index(family);
}

enum tni_race_step tni_race_next(struct tni_race *race, uint64_t now_ns, const struct tn_addr **addr, uint64_t *when_ns)
{
	int f = race->turn;

	if (race->next[f] == race->n[f])
		f = 1 - f;
	*when_ns = TNI_NEVER;
	if (race->next[f] == race->n[f])
		return race->flying || race->asked[0] || race->asked[1] ? TNI_RACE_WAIT : TNI_RACE_LOST;
	if (now_ns < race->not_before_ns) {
		*when_ns = race->not_before_ns;
		return TNI_RACE_WAIT;
	}
	*addr = &race->addrs[f][race->next[f]++];
	race->turn = 1 - f;
	race->started = true;
	race->flying++;
	race->not_before_ns = now_ns + TNI_RACE_ATTEMPT_NS;
	return TNI_RACE_START;
}

void tni_race_failed(struct tni_race *race)
{
	race->flying--;
	race->not_before_ns = 0;
}

/* ---- a dial ---- */

#define BUSY_RETRY_NS (10 * TNI_NS_PER_MS)

/* One address that is or was tried. It stays listed after it has failed, for the message. */
struct attempt {
	struct tni_list node;
	struct tni_dial *dial;
	struct tni_fd fd;
	struct tn_addr addr;
	uint64_t retry_ns;    /* a Unix listener's queue is full: when to try again; otherwise 0 */
	int err;              /* 0: under way, or given up with the dial */
	char *why;            /* the words of prepare(); NULL: those of the code */
	struct tn_addr *many; /* several may answer: it is not connected, and this becomes its address */
	uint64_t greet_ns;    /* what it is asked first has gone out: when it goes out again; otherwise 0 */
	uint64_t patience_ns;
};

struct tni_dial {
	struct tni_owned owned;
	struct tn_loop *loop;
	struct tni_race race;
	struct tni_list attempts;
	struct tni_lookup *lookup;
	int lookup_err;
	char *lookup_why;
	struct tni_timer timer; /* the next thing that time brings: deadline, attempt or retry */
	struct tni_task task;   /* reports the result */
	void (*done)(void *arg, int fd_or_err);
	int (*prepare)(int fd, int family, void *arg);
	int (*open)(int family, void *arg);
	void *arg;
	struct tn_addr *many;
	const struct tn_buf *first; /* the owner's; NULL: to be connected is enough */
	bool portless;
	int type, protocol;
	uint64_t timeout_ns, deadline_ns;
	uint64_t asked_ns;   /* when the look-up of the name began; 0: there is none */
	uint64_t *lookup_ns; /* the owner's, told once; then NULL */
	char *host, *name;
	bool finished, timed_out, out_of_memory, met_late;
	int result;
};

/* ---- the message ---- */

#define TEXT_MAX 1024
#define NAMED_MAX 6 /* attempts that a message lists */

struct text {
	char s[TEXT_MAX];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text->s + text->len, sizeof(text->s) - text->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		text->len += (size_t)n;
	if (text->len >= sizeof(text->s))
		text->len = sizeof(text->s) - 1;
}

static const char *addr_text(const struct tni_dial *d, const struct tn_addr *addr, char *out, size_t cap)
{
	struct tn_addr bare = *addr;

	if (d->portless)
		tni_addr_set_port(&bare, 0);
	return tn_addr_text(&bare, out, cap);
}

static bool lacks_interface(const struct attempt *a)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)a->addr.bytes;

	return a->err == -EINVAL && tni_addr_family(&a->addr) == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) &&
	       !in6->sin6_scope_id;
}

static const char *why_of(const struct attempt *a)
{
	if (lacks_interface(a))
		return "a link-local address needs its interface, as in [fe80::1%eth0]";
	return a->why ? a->why : tn_strerror(a->err);
}

/* What is wrong with a socket of one family is most often wrong with the other's, too. */
static bool is_told(const char *said, const char *why)
{
	return said && why && !strcmp(said, why);
}

static void add_failed(const struct tni_dial *d, struct text *text, const char *separator)
{
	const char *said = NULL;
	char addr[128];
	int n = 0;

	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next) {
		const struct attempt *a = tni_container_of(node, struct attempt, node);

		if (!a->err)
			continue;
		if (n < NAMED_MAX)
			add(text, "%sconnect to %s: %s", separator, addr_text(d, &a->addr, addr, sizeof(addr)),
			    is_told(said, a->why) ? "the same" : why_of(a));
		said = a->why;
		separator = "; ";
		n++;
	}
	if (n > NAMED_MAX)
		add(text, "; and %d more", n - NAMED_MAX);
}

static void add_flying(const struct tni_dial *d, struct text *text)
{
	const char *separator = " while connecting to ";
	char addr[128];
	int n = 0;

	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next) {
		const struct attempt *a = tni_container_of(node, struct attempt, node);

		if (a->err)
			continue;
		if (n < NAMED_MAX)
			add(text, "%s%s%s", separator, addr_text(d, &a->addr, addr, sizeof(addr)),
			    a->retry_ns ? " (its queue of connections is full)" : "");
		separator = ", ";
		n++;
	}
	if (n > NAMED_MAX)
		add(text, " and %d more", n - NAMED_MAX);
	if (!n)
		add(text, " while looking up %s", d->host);
}

/* What a person could look at, for the failure that the message ends with. NULL: nothing that the words do not say. */
static const char *hint_of(const struct tni_dial *d)
{
	const struct attempt *last = tni_container_of(d->attempts.prev, struct attempt, node);
	bool local = tni_addr_family(&last->addr) == AF_UNIX;

	if (last->why && last->err == d->result)
		return NULL;
	switch (d->result) {
	case -ECONNREFUSED:
		return local ? "nobody listens on it any more" : "nothing listens there; is the server running?";
	case -ENOENT:
		return "there is no such socket; is its server running?";
	case -EACCES:
		return local ? "it takes permission to write to the socket and to search its directories"
			     : "a rule of this machine forbids it";
	case -EPERM:
		return "a rule of this machine's packet filter forbids it";
	case -EPROTOTYPE:
		return "its server uses another type of socket: stream, datagram or seqpacket";
	case -ETIMEDOUT:
		return "no answer: is the host up, does a firewall drop what is sent?";
	case -EHOSTUNREACH:
		return "no host answers at this address, or a firewall refuses";
	case -ENETUNREACH:
		return "this machine has no route there; `ip route` lists those it has";
	case -EMFILE:
		return "too many descriptors are open here; `ulimit -n` raises the limit";
	default:
		return NULL;
	}
}

static void add_hint(const struct tni_dial *d, struct text *text)
{
	const char *hint = tni_list_empty(&d->attempts) ? NULL : hint_of(d);

	if (hint)
		add(text, " (%s)", hint);
}

static bool is_waiting(const struct tni_dial *d)
{
	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next) {
		const struct attempt *a = tni_container_of(node, struct attempt, node);

		if (!a->err && !a->retry_ns)
			return true;
	}
	return false;
}

static int explain(const struct tni_dial *d)
{
	struct text text = {.len = 0};
	char after[32];

	if (d->out_of_memory)
		return tni_err(d->result, "%s: out of memory", d->name);
	if (d->timed_out) {
		add(&text, "timed out after %s", tni_format_duration(d->timeout_ns, after, sizeof(after)));
		add_flying(d, &text);
		if (is_waiting(d))
			add_hint(d, &text);
		add_failed(d, &text, "; ");
	} else if (tni_list_empty(&d->attempts)) {
		add(&text, "%s", d->lookup_why ? d->lookup_why : tn_strerror(d->result));
	} else {
		add_failed(d, &text, "");
		add_hint(d, &text);
	}
	return tni_err(d->result, "%s: %s", d->name, text.s);
}

/* How much an error says of the endpoint. */
static int weight(int err)
{
	switch (err) {
	case 0:
		return -1;
	case -ENETUNREACH:
	case -ENETDOWN:
	case -EADDRNOTAVAIL:
	case -EAFNOSUPPORT:
	case -EINVAL:
	case TN_ENAME:
		return 0;
	case -EHOSTUNREACH:
	case -EHOSTDOWN:
		return 1;
	case -ETIMEDOUT:
		return 2;
	default:
		return 3;
	}
}

static int heavier(int a, int b)
{
	return weight(b) >= weight(a) ? b : a;
}

static int verdict(const struct tni_dial *d)
{
	int err = 0;

	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next)
		err = heavier(err, tni_container_of(node, struct attempt, node)->err);
	if (err)
		return err;
	return d->lookup_err;
}

/* ---- the end ---- */

static void attempt_close(struct attempt *a)
{
	tni_cancel(a->dial->loop, &a->fd, &a->fd.wr); /* a CONNECT ends at once, and so does a POLL_IN */
	tni_cancel(a->dial->loop, &a->fd, &a->fd.rd);
	tni_fd_close(a->dial->loop, &a->fd);
}

/* Everything but the records that the message is made of. */
static void close_all(struct tni_dial *d)
{
	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next)
		attempt_close(tni_container_of(node, struct attempt, node));
	tni_lookup_cancel(d->lookup);
	d->lookup = NULL;
	tni_loop_untimer(d->loop, &d->timer);
}

static void dial_free(struct tni_dial *d)
{
	struct tni_list *node, *next;

	close_all(d);
	for (node = d->attempts.next; node != &d->attempts; node = next) {
		struct attempt *a = tni_container_of(node, struct attempt, node);

		next = node->next;
		free(a->why);
		free(a);
	}
	tni_race_free(&d->race);
	tni_list_del(&d->task.node);
	tni_list_del(&d->owned.node);
	d->loop->alive--;
	free(d->lookup_why);
	free(d->host);
	free(d->name);
	free(d);
}

void tni_dial_cancel(struct tni_dial *d)
{
	if (!d)
		return;
	if (d->finished && d->result >= 0)
		close(d->result);
	dial_free(d);
}

static void dial_destroy(struct tni_owned *owned)
{
	tni_dial_cancel(tni_container_of(owned, struct tni_dial, owned));
}

static void report(struct tni_task *task)
{
	struct tni_dial *d = tni_container_of(task, struct tni_dial, task);
	void (*done)(void *arg, int fd_or_err) = d->done;
	void *arg = d->arg;
	int result = d->result < 0 ? explain(d) : d->result;

	dial_free(d);
	done(arg, result);
}

static void finish(struct tni_dial *d, int result)
{
	d->finished = true;
	d->result = result;
	close_all(d);
	tni_loop_ready(d->loop, &d->task);
}

static void finish_without_memory(struct tni_dial *d)
{
	d->out_of_memory = true;
	finish(d, -ENOMEM);
}

/* ---- attempts ---- */

static void attempt_failed(struct attempt *a, int err)
{
	attempt_close(a);
	a->retry_ns = 0;
	a->err = err;
	tni_race_failed(&a->dial->race);
}

/*
 * Connecting to a port of the loopback interface on which nobody listens can, once in many thousand times, meet the
 * very port that the kernel has just chosen for our own end: the socket is then connected to itself.
 */
static bool is_self_connected(const struct tni_dial *d, int fd)
{
	struct tn_addr local, peer;

	if (d->portless || tni_addr_local(fd, &local) < 0 || tni_addr_port(&local) < 0)
		return false;
	return tni_addr_peer(fd, &peer) == 0 && peer.len == local.len && !memcmp(peer.bytes, local.bytes, peer.len);
}

/* Without a trace: in TIME_WAIT it would keep the port from the server that we wanted to find there. */
static void reset_on_close(int fd)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static bool may_broadcast(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, &len) == 0 && on;
}

/* The descriptor leaves the engine for its new owner. */
static int attempt_take(struct attempt *a)
{
	struct tn_loop *loop = a->dial->loop;
	int fd = a->fd.fd, flags = fcntl(fd, F_GETFL);

	tni_cancel(loop, &a->fd, &a->fd.rd);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	tni_fd_release(loop, &a->fd);
	a->fd.fd = -1;
	return fd;
}

/* Whether an address can be reached from here at all: connect(2) on a UDP socket asks the routes and sends nothing. */
static bool has_route(const struct tn_addr *addr)
{
	int fd = socket(tni_addr_family(addr), SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool has = fd >= 0 && connect(fd, tn_addr_sockaddr(addr), addr->len) == 0;

	if (fd >= 0)
		close(fd);
	return has;
}

/* connect(2) says "cannot assign requested address" (datagrams: "try again") when no local port is left as well. */
static void explain_ports(struct attempt *a, int res)
{
	bool datagrams = a->dial->type == SOCK_DGRAM;
	struct tn_addr local;
	int low, high;

	if (tni_addr_port(&a->addr) < 0 || res != (datagrams ? -EAGAIN : -EADDRNOTAVAIL) || a->why)
		return;
	if (tni_addr_local(a->fd.fd, &local) == 0 && tni_addr_port(&local) > 0) {
		a->why = strdup("a former connection between these two ports lingers (TIME_WAIT, a minute): "
				"take another local port");
		return;
	}
	if ((!datagrams && !has_route(&a->addr)) || tni_sockopt_ephemeral(&low, &high) < 0)
		return;
	if (asprintf(
		    &a->why,
		    "no local port is left for it: all of %d-%d are open or linger (TIME_WAIT, a minute); widen sysctl "
		    "net.ipv4.ip_local_port_range, or dial from other addresses with bind=",
		    low, high) < 0)
		a->why = NULL;
}

static void advance(struct tni_dial *d);

static void attempt_win(struct attempt *a)
{
	int res = attempt_take(a);

	if (res < 0)
		attempt_failed(a, res);
	else
		finish(a->dial, res);
}

/* ---- addresses that must answer ---- */

/* Whoever is at an address may be slow, or the datagram may have been lost: it is sent again after so long, then twice
 * as long. */
#define GREET_NS TNI_NS_PER_S

/* What cannot be sent now is lost like what the network loses. */
static void greet(struct attempt *a, uint64_t now)
{
	a->patience_ns = a->patience_ns ? 2 * a->patience_ns : GREET_NS;
	a->greet_ns = now + a->patience_ns;
	for (const struct tni_slice *s = a->dial->first->head; s; s = s->next)
		(void)!send(a->fd.fd, s->data, s->len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What has come is left for the new owner; an error is how datagrams learn of "connection refused". */
static void answered(struct tni_op *op, int res)
{
	struct attempt *a = tni_container_of(op, struct attempt, fd.rd);
	struct tni_dial *d = a->dial;
	char byte;
	ssize_t n = res < 0 ? -1 : recv(a->fd.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	int err = res < 0 ? res : -errno;

	if (n >= 0)
		attempt_win(a);
	else if (err != -EAGAIN && err != -EINTR)
		attempt_failed(a, err);
	else if (!tni_op_busy(op) && tni_submit(d->loop, &a->fd, op, TNI_OP_POLL_IN) < 0)
		attempt_failed(a, -ENOMEM);
	advance(d);
}

static int await_answer(struct attempt *a)
{
	int rc;

	greet(a, tni_clock_ns());
	a->fd.rd.done = answered;
	rc = tni_submit(a->dial->loop, &a->fd, &a->fd.rd, TNI_OP_POLL_IN);
	return rc < 0 ? rc : 0;
}

/* Returns when the next is due. */
static uint64_t greet_again(const struct tni_dial *d, uint64_t now)
{
	uint64_t next = TNI_NEVER;

	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next) {
		struct attempt *a = tni_container_of(node, struct attempt, node);

		if (!a->greet_ns || a->err)
			continue;
		if (a->greet_ns <= now)
			greet(a, now);
		if (a->greet_ns < next)
			next = a->greet_ns;
	}
	return next;
}

/* The only address there is needs no answer: its new owner knows how to wait, and what to say when none comes. */
static struct attempt *only_one(const struct tni_dial *d)
{
	const struct tni_race *race = &d->race;
	struct attempt *a = tni_container_of(d->attempts.next, struct attempt, node);

	if (!d->first || race->asked[0] || race->asked[1] || race->n[0] + race->n[1] != 1 || race->flying != 1)
		return NULL;
	return a->greet_ns ? a : NULL;
}

/* ---- results ---- */

static void attempt_result(struct attempt *a, int res)
{
	struct tni_dial *d = a->dial;

	if (res == -EBUSY && tni_addr_family(&a->addr) != AF_UNIX)
		res = -EAGAIN; /* no queue is full there: no local port is left */
	if (res == -EBUSY) {
		a->retry_ns = tni_clock_ns() + BUSY_RETRY_NS;
		return;
	}
	if (res == -EACCES && d->type == SOCK_DGRAM && !may_broadcast(a->fd.fd))
		a->why = strdup("it is a broadcast address, for which broadcast=on must be set");
	explain_ports(a, res);
	if (d->many)
		d->many->len = 0;
	if (res == 0 && a->many) {
		*a->many = a->addr;
		if (d->portless) /* raw IPv6 takes it for another protocol */
			tni_addr_set_port(a->many, 0);
	} else if (res == 0 && is_self_connected(d, a->fd.fd)) {
		reset_on_close(a->fd.fd);
		res = -ECONNREFUSED;
	}
	if (res == 0 && d->first) {
		res = await_answer(a);
		if (res == 0)
			return;
	}
	if (res < 0)
		attempt_failed(a, res);
	else
		attempt_win(a);
}

static void connect_done(struct tni_op *op, int res)
{
	struct attempt *a = tni_container_of(op, struct attempt, fd.wr);
	struct tni_dial *d = a->dial;

	attempt_result(a, res);
	advance(d);
}

/* The kernel alone knows which addresses are the broadcasts of its networks:
 * it refuses to connect to them unless told. */
static bool is_broadcast(const struct attempt *a)
{
	int off = 0, on = 1, rc, err;

	if (!may_broadcast(a->fd.fd))
		return false;
	(void)setsockopt(a->fd.fd, SOL_SOCKET, SO_BROADCAST, &off, sizeof(off));
	rc = connect(a->fd.fd, tn_addr_sockaddr(&a->addr), a->addr.len);
	err = errno;
	(void)setsockopt(a->fd.fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
	return rc < 0 && err == EACCES;
}

static void attempt_connect(struct attempt *a)
{
	int rc;

	a->retry_ns = 0;
	a->many = a->dial->many && (tni_addr_is_multicast(&a->addr) || is_broadcast(a)) ? a->dial->many : NULL;
	if (a->many) {
		attempt_result(a, 0);
		return;
	}
	rc = tni_submit(a->dial->loop, &a->fd, &a->fd.wr, TNI_OP_CONNECT);
	if (rc)
		attempt_result(a, rc == TNI_DONE ? a->fd.wr.res : rc);
}

/* Binding to the family alone makes the kernel choose an abstract address; one that prepare() has bound it keeps. */
static int bind_for_replies(int fd, int type, int family)
{
	struct sockaddr any = {.sa_family = AF_UNIX};

	if (family != AF_UNIX || type != SOCK_DGRAM)
		return 0;
	return bind(fd, &any, sizeof(any.sa_family)) < 0 ? -errno : 0;
}

static int open_socket(struct attempt *a)
{
	struct tni_dial *d = a->dial;
	int family = tni_addr_family(&a->addr), rc;
	int fd =
		d->open ? d->open(family, d->arg) : socket(family, d->type | SOCK_CLOEXEC | SOCK_NONBLOCK, d->protocol);

	if (fd < 0 && d->open)
		a->why = strdup(tn_errmsg());
	if (fd < 0)
		return d->open ? fd : -errno;
	tni_fd_init(&a->fd, fd, 0);
	a->fd.wr.done = connect_done;
	a->fd.wr.addr = &a->addr;
	if (d->prepare) {
		rc = d->prepare(fd, family, d->arg);
		if (rc < 0) {
			a->why = strdup(tn_errmsg());
			return rc;
		}
	}
	return bind_for_replies(fd, d->type, family);
}

static void attempt_start(struct tni_dial *d, const struct tn_addr *addr)
{
	struct attempt *a = calloc(1, sizeof(*a));
	int rc;

	if (!a) {
		finish_without_memory(d);
		return;
	}
	a->dial = d;
	a->addr = *addr;
	tni_fd_init(&a->fd, -1, 0);
	tni_list_add_tail(&d->attempts, &a->node);
	rc = open_socket(a);
	if (rc < 0)
		attempt_failed(a, rc);
	else
		attempt_connect(a);
}

/* ---- going on ---- */

/* Returns when the next retry is due. */
static uint64_t retry_busy(struct tni_dial *d, uint64_t now)
{
	uint64_t next = TNI_NEVER;

	for (struct tni_list *node = d->attempts.next; node != &d->attempts && !d->finished; node = node->next) {
		struct attempt *a = tni_container_of(node, struct attempt, node);

		if (a->retry_ns && a->retry_ns <= now)
			attempt_connect(a);
		if (a->retry_ns && a->retry_ns < next)
			next = a->retry_ns;
	}
	return next;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void tell_lookup(struct tni_dial *d, uint64_t now)
{
	if (d->lookup_ns && d->asked_ns)
		*d->lookup_ns = now - d->asked_ns;
	d->lookup_ns = NULL;
}

/* What was not begun in time, or has come meanwhile, gets a moment more. Once: a loop may be late always. */
static bool is_met_late(struct tni_dial *d, uint64_t now)
{
	if (d->met_late || now - d->deadline_ns < TNI_LATE_NS)
		return false;
	d->met_late = true;
	d->deadline_ns = now + TNI_LATE_NS;
	return true;
}

/* Does what is to be done now and sets the timer for what comes next. Nobody is called back from here. */
static void advance(struct tni_dial *d)
{
	const struct tn_addr *addr;
	struct attempt *only;
	uint64_t now, retry, when;

	while (!d->finished) {
		now = tni_clock_ns();
		if (now >= d->deadline_ns && !is_met_late(d, now)) {
			d->timed_out = true;
			finish(d, -ETIMEDOUT);
			return;
		}
		retry = retry_busy(d, now);
		if (d->finished)
			return;
		switch (tni_race_next(&d->race, now, &addr, &when)) {
		case TNI_RACE_START:
			tell_lookup(d, now);
			attempt_start(d, addr);
			break;
		case TNI_RACE_LOST:
			finish(d, verdict(d));
			return;
		case TNI_RACE_WAIT:
			only = only_one(d);
			if (only) {
				attempt_win(only);
				break;
			}
			when = earlier(when, greet_again(d, now));
			when = earlier(earlier(when, retry), d->deadline_ns);
			if (when == TNI_NEVER)
				tni_loop_untimer(d->loop, &d->timer);
			else
				tni_timer_arm(&d->loop->timers, &d->timer, when);
			return;
		}
	}
}

static void timer_fire(struct tni_timer *timer)
{
	advance(tni_container_of(timer, struct tni_dial, timer));
}

/* ---- lookups ---- */

/* The addresses of one family, out of those of both. */
static int give_family(struct tni_dial *d, int family, const struct tn_addr *addrs, int n)
{
	int rc = 0;

	for (int i = 0; i < n && rc == 0; i++)
		if (tni_addr_family(&addrs[i]) == family)
			rc = tni_race_answer(&d->race, family, &addrs[i], 1, tni_clock_ns());
	return rc;
}

/* Which family begins is RFC 6724's to say: the family of the better one of both best addresses. */
static void choose_first(struct tni_dial *d)
{
	struct tn_addr best[2];

	if (d->race.started || !d->race.n[0] || !d->race.n[1])
		return;
	best[0] = d->race.addrs[0][0];
	best[1] = d->race.addrs[1][0];
	tni_order_addrs(best, 2);
	tni_race_first(&d->race, tni_addr_family(&best[0]));
}

static void give(struct tni_dial *d, const struct tn_addr *addrs, int n, bool more)
{
	int rc = give_family(d, AF_INET6, addrs, n);

	if (rc == 0)
		rc = give_family(d, AF_INET, addrs, n);
	if (rc == 0 && !more)
		rc = tni_race_answer(&d->race, AF_INET6, NULL, 0, tni_clock_ns());
	if (rc == 0 && !more)
		rc = tni_race_answer(&d->race, AF_INET, NULL, 0, tni_clock_ns());
	if (rc < 0)
		finish_without_memory(d);
	else
		choose_first(d);
}

static void lookup_done(void *arg, int err, const struct tn_addr *addrs, int n, bool more)
{
	struct tni_dial *d = arg;

	if (!more)
		d->lookup = NULL;
	if (err < 0) {
		d->lookup_err = err;
		d->lookup_why = strdup(tn_errmsg());
	}
	give(d, addrs, n, more);
	advance(d);
}

/* Both families are announced before either can be there (RFC 8305 section 3). */
static int find_addrs(struct tni_dial *d, const struct tni_dial_spec *spec)
{
	struct tn_addr known[2];
	int n, rc = 0;

	if (spec->addr)
		return tni_race_answer(&d->race, tni_addr_family(spec->addr), spec->addr, 1, 0);
	n = tni_resolve_known(spec->host, spec->family, spec->port, known);
	if (n < 0)
		return tni_err_prefix(n, "%s", d->name);
	for (int i = 0; i < n && rc == 0; i++)
		rc = tni_race_answer(&d->race, tni_addr_family(&known[i]), &known[i], 1, 0);
	if (n)
		return rc;
	if (spec->family != AF_INET)
		tni_race_expect(&d->race, AF_INET6);
	if (spec->family != AF_INET6)
		tni_race_expect(&d->race, AF_INET);
	d->asked_ns = tni_clock_ns();
	return tni_lookup_start(d->loop, d->host, spec->family, spec->port, lookup_done, d, &d->lookup);
}

/* ---- the start ---- */

/* Which family begins: IPv6, but for datagrams to localhost. */
static int first_family(const struct tni_dial_spec *spec)
{
	bool localhost = !spec->addr && (!*spec->host || tni_addr_is_localhost(spec->host, true));

	return localhost && spec->type == SOCK_DGRAM ? AF_INET : AF_INET6;
}

static struct tni_dial *dial_new(struct tn_loop *loop, const struct tni_dial_spec *spec)
{
	struct tni_dial *d = calloc(1, sizeof(*d));
	uint64_t now = tni_clock_ns();

	if (!d)
		return NULL;
	d->loop = loop;
	d->type = spec->type;
	d->protocol = spec->protocol;
	d->prepare = spec->prepare;
	d->open = spec->open;
	d->portless = spec->portless;
	d->many = spec->many;
	d->first = spec->first;
	d->timeout_ns = spec->timeout_ns;
	d->lookup_ns = spec->lookup_ns;
	d->deadline_ns = spec->timeout_ns < TNI_NEVER - now ? now + spec->timeout_ns : TNI_NEVER;
	d->owned.destroy = dial_destroy;
	d->task.run = report;
	d->timer.fire = timer_fire;
	tni_list_init(&d->attempts);
	tni_list_init(&d->task.node);
	tni_race_init(&d->race, first_family(spec));
	d->name = strdup(spec->name);
	d->host = strdup(spec->addr ? "" : spec->host);
	tni_list_add_tail(&loop->owned, &d->owned.node);
	loop->alive++;
	return d;
}

int tni_dial_start(struct tn_loop *loop, const struct tni_dial_spec *spec, void (*done)(void *arg, int fd_or_err),
		   void *arg, struct tni_dial **out)
{
	struct tni_dial *d = dial_new(loop, spec);
	int rc = -ENOMEM;

	if (d && d->name && d->host) {
		d->done = done;
		d->arg = arg;
		rc = find_addrs(d, spec);
	}
	if (rc == -ENOMEM)
		tni_err(rc, "%s: out of memory", spec->name);
	if (rc < 0) {
		if (d)
			dial_free(d);
		return rc;
	}
	advance(d);
	if (out)
		*out = d;
	return 0;
}
