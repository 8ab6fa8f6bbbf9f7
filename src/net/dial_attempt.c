/* One address of a dial: its socket, connecting it, and waiting for an answer where that is needed. */
#include "net/dial_state.h"

#include "net/addr.h"
#include "net/netns.h"
#include "net/sockopt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUSY_RETRY_NS (10 * TNI_NS_PER_MS)

void tni_dial_attempt_close(struct tni_dial_attempt *a)
{
	tni_cancel(a->dial->loop, &a->fd, &a->fd.wr); /* a CONNECT ends at once, and so does a POLL_IN */
	tni_cancel(a->dial->loop, &a->fd, &a->fd.rd);
	tni_fd_close(a->dial->loop, &a->fd);
}

static void attempt_failed(struct tni_dial_attempt *a, int err)
{
	tni_dial_attempt_close(a);
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
static int attempt_take(struct tni_dial_attempt *a)
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
static void explain_ports(struct tni_dial_attempt *a, int res)
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

void tni_dial_attempt_win(struct tni_dial_attempt *a)
{
	int res = attempt_take(a);

	if (res < 0)
		attempt_failed(a, res);
	else
		tni_dial_finish(a->dial, res);
}

/* ---- addresses that must answer ---- */

/* The peer may be slow, or the datagram may have been lost: it is sent again after this time, then after twice that. */
#define RESEND_NS TNI_NS_PER_S

/* What cannot be sent now is lost like what the network loses. */
static void send_first(struct tni_dial_attempt *a, uint64_t now)
{
	a->interval_ns = a->interval_ns ? 2 * a->interval_ns : RESEND_NS;
	a->resend_ns = now + a->interval_ns;
	for (const struct tni_slice *s = a->dial->first->head; s; s = s->next)
		(void)!send(a->fd.fd, s->data, s->len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What has come is left for the new owner. */
static int peek(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int greeting(struct tni_dial_attempt *a)
{
	int rc = a->dial->greeted(a->fd.fd, a->dial->arg);

	if (rc < 0 && rc != -EAGAIN)
		a->why = strdup(tn_errmsg());
	return rc;
}

/* An error is how datagrams learn of "connection refused". */
static void answered(struct tni_op *op, int res)
{
	struct tni_dial_attempt *a = tni_container_of(op, struct tni_dial_attempt, fd.rd);
	struct tni_dial *d = a->dial;
	int err = res < 0 ? res : tni_dial_is_greeted(d) ? greeting(a) : peek(a->fd.fd);

	if (err == 0)
		tni_dial_attempt_win(a);
	else if (err != -EAGAIN && err != -EINTR)
		attempt_failed(a, err);
	else if (!tni_op_busy(op) && tni_submit(d->loop, &a->fd, op, TNI_OP_POLL_IN) < 0)
		attempt_failed(a, -ENOMEM);
	tni_dial_advance(d);
}

static int await_answer(struct tni_dial_attempt *a)
{
	int rc;

	if (!tni_dial_is_greeted(a->dial))
		send_first(a, tni_clock_ns());
	rc = tni_submit(a->dial->loop, &a->fd, &a->fd.rd, TNI_OP_POLL_IN);
	return rc < 0 ? rc : 0;
}

/* Returns when the next is due. */
uint64_t tni_dial_resend(const struct tni_dial *d, uint64_t now)
{
	uint64_t next = TNI_NEVER;

	for (struct tni_list *node = d->attempts.next; node != &d->attempts; node = node->next) {
		struct tni_dial_attempt *a = tni_container_of(node, struct tni_dial_attempt, node);

		if (!a->resend_ns || a->err)
			continue;
		if (a->resend_ns <= now)
			send_first(a, now);
		if (a->resend_ns < next)
			next = a->resend_ns;
	}
	return next;
}

struct tni_dial_attempt *tni_dial_only_attempt(const struct tni_dial *d)
{
	const struct tni_race *race = &d->race;
	struct tni_dial_attempt *a = tni_container_of(d->attempts.next, struct tni_dial_attempt, node);

	if (!d->first || race->asked[0] || race->asked[1] || race->n[0] + race->n[1] != 1 || race->pending != 1)
		return NULL;
	return a->resend_ns ? a : NULL;
}

/* ---- ports of our own ---- */

#ifdef TNI_HAVE_SOCKOPTS

static int open_there(struct tni_dial_attempt *a);

/*
 * Of a range all ports may have connections, and still this one may be had from one of them: those to other places are
 * not in its way. Which they are connect(2) tells alone, so the range is walked once, a step whenever the loop comes
 * here. False: it was the last word.
 */
static bool try_another_port(struct tni_dial_attempt *a, int res)
{
	struct tn_addr local;
	int rc;

	if (res != -EADDRNOTAVAIL || !a->shares || a->ports + 1 >= a->dial->ports ||
	    tni_addr_local(a->fd.fd, &local) < 0)
		return false;
	a->ports++;
	a->port = tni_addr_port(&local);
	tni_dial_attempt_close(a);
	rc = open_there(a);
	if (rc < 0)
		attempt_failed(a, rc);
	else
		a->retry_ns = tni_clock_ns();
	return true;
}

#else

static bool try_another_port(struct tni_dial_attempt *a, int res)
{
	(void)a, (void)res;
	return false;
}

#endif

/* ---- results ---- */

static void attempt_result(struct tni_dial_attempt *a, int res)
{
	struct tni_dial *d = a->dial;

	if (res == -EBUSY && tni_addr_family(&a->addr) != AF_UNIX)
		res = -EAGAIN; /* no queue is full there: no local port is left */
	if (res == -EBUSY) {
		a->retry_ns = tni_clock_ns() + BUSY_RETRY_NS;
		return;
	}
	if (try_another_port(a, res))
		return;
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
	if (res == 0 && (d->first || tni_dial_is_greeted(d))) {
		res = await_answer(a);
		if (res == 0)
			return;
	}
	if (res < 0)
		attempt_failed(a, res);
	else
		tni_dial_attempt_win(a);
}

static void connect_done(struct tni_op *op, int res)
{
	struct tni_dial_attempt *a = tni_container_of(op, struct tni_dial_attempt, fd.wr);
	struct tni_dial *d = a->dial;

	attempt_result(a, res);
	tni_dial_advance(d);
}

/* The kernel alone knows which addresses are the broadcasts of its networks:
 * it refuses to connect to them unless told. */
static bool is_broadcast(const struct tni_dial_attempt *a)
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

static void attempt_connect(struct tni_dial_attempt *a)
{
	int rc;

	a->retry_ns = 0;
	a->many = a->dial->many && (tni_dial_is_unconnected(a->dial) || tni_addr_is_multicast(&a->addr) ||
				    is_broadcast(a))
			  ? a->dial->many
			  : NULL;
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

static int open_socket(struct tni_dial_attempt *a)
{
	static const struct tni_fd_done done = {.rd = answered, .wr = connect_done};
	struct tni_dial *d = a->dial;
	int family = tni_addr_family(&a->addr), rc;
	int fd =
		d->open ? d->open(family, d->arg) : socket(family, d->type | SOCK_CLOEXEC | SOCK_NONBLOCK, d->protocol);

	if (fd < 0 && d->open)
		a->why = strdup(tn_errmsg());
	if (fd < 0)
		return d->open ? fd : -errno;
	tni_fd_init(&a->fd, fd, 0);
	a->fd.done = &done;
	a->fd.wr.addr = &a->addr;
	if (d->prepare) {
		rc = d->prepare(fd, family, a->port, d->arg);
		if (rc < 0) {
			a->why = strdup(tn_errmsg());
			return rc;
		}
		a->shares = rc == 1;
	}
	return bind_for_replies(fd, d->type, family);
}

/* In the network of key netns. */
static int open_there(struct tni_dial_attempt *a)
{
	int home = -1, rc = tni_netns_enter(tni_dial_netns(a->dial), &home);

	if (rc < 0) {
		a->why = strdup(tn_errmsg());
		return rc;
	}
	rc = open_socket(a);
	tni_netns_leave(home);
	return rc;
}

void tni_dial_attempt_start(struct tni_dial *d, const struct tn_addr *addr)
{
	struct tni_dial_attempt *a = calloc(1, sizeof(*a));
	int rc;

	if (!a) {
		tni_dial_no_memory(d);
		return;
	}
	a->dial = d;
	a->addr = *addr;
	tni_fd_init(&a->fd, -1, 0);
	tni_list_add_tail(&d->attempts, &a->node);
#ifdef TNI_HAVE_PROXY /* whose keys ask for it */
	if (d->permits && !d->permits(addr, d->arg)) {
		a->why = strdup("this address may not be connected to (keys allow-to, deny-to)");
		attempt_failed(a, -EACCES);
		return;
	}
#endif
	rc = open_there(a);
	if (rc < 0)
		attempt_failed(a, rc);
	else
		attempt_connect(a);
}

/* Returns when the next retry is due. */
uint64_t tni_dial_retry_busy(struct tni_dial *d, uint64_t now)
{
	uint64_t next = TNI_NEVER;

	for (struct tni_list *node = d->attempts.next; node != &d->attempts && !d->finished; node = node->next) {
		struct tni_dial_attempt *a = tni_container_of(node, struct tni_dial_attempt, node);

		if (a->retry_ns && a->retry_ns <= now)
			attempt_connect(a);
		if (a->retry_ns && a->retry_ns < next)
			next = a->retry_ns;
	}
	return next;
}
