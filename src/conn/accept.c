/* Accepting: a server's listeners, one acceptor for several loops, and clients for whom there is no room. */
#include "base/err.h"
#include "conn/handover.h"
#include "conn/server.h"
#include "conn/sites.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Out of descriptors or memory: the pause before accepting is tried again. */
#define ACCEPT_PAUSE_NS (50 * TNI_NS_PER_MS)

/* A pause that the key accept-rate wants is at least so long. */
#define RATE_PAUSE_NS (10 * TNI_NS_PER_MS)

/* While so many handshakes of a loop wait for their turn, further clients wait to be accepted:
 * there they cost nothing. */
#define SHAKING_MAX 64
#define SHAKING_PAUSE_NS TNI_NS_PER_MS

bool tni_part_is_accepting(const struct tni_part *part)
{
	for (int i = 0; i < part->nlisteners; i++)
		if (tni_op_busy(&part->listeners[i].io.rd))
			return true;
	return false;
}

void tni_part_stop_accepting(struct tni_part *part)
{
	for (int i = 0; i < part->nlisteners; i++)
		if (part->listeners[i].io.fd >= 0)
			tni_cancel(part->loop, &part->listeners[i].io, &part->listeners[i].io.rd);
}

static bool has_room(const struct tni_part *part)
{
	return !part->ep->scheme->secure ||
	       atomic_load_explicit(&part->loop->ncostly, memory_order_relaxed) < SHAKING_MAX;
}

/* Whether its clients may go to other loops. Not once it has stopped: the other parts may be gone. */
static bool hands_round(const struct tni_part *part)
{
	return part->server->nparts > 1 && !part->stopped;
}

static unsigned conns_of(const struct tni_part *part)
{
	return atomic_load_explicit(&part->nconns, memory_order_relaxed);
}

/* To go to another loop costs a client some microseconds, so there must be a reason where the kernel has spread them
 * already: it does by a hash, which is uneven where they are few. */
static bool has_clearly_fewer(const struct tni_part *other, const struct tni_part *than)
{
	unsigned slack = than->ep->scheme->place == TNI_AT_HOST ? 3 : 0, n = conns_of(other);

	return n + n / 16 + slack < conns_of(than);
}

/* Of the other loops the one with the fewest connections that has room for a client. NULL: there is none. */
static struct tni_part *emptiest_other(const struct tni_part *part)
{
	struct tn_server *server = part->server;
	struct tni_part *found = NULL;

	for (int i = 0; i < server->nparts; i++) {
		struct tni_part *other = &server->parts[i];

		if (other != part && !atomic_load(&other->closed) && (!found || conns_of(other) < conns_of(found)) &&
		    has_room(other))
			found = other;
	}
	return found;
}

/* Who gets the next client. NULL: too many handshakes wait everywhere. */
static struct tni_part *next_taker(struct tni_part *part)
{
	struct tni_part *own = has_room(part) ? part : NULL, *other = hands_round(part) ? emptiest_other(part) : NULL;

	return other && (!own || has_clearly_fewer(other, own)) ? other : own;
}

/* Time until further clients may be accepted. 0: now. */
static uint64_t accept_wait(struct tni_part *part)
{
	uint64_t wait_ns = tni_part_rate_wait(part);

	if (wait_ns)
		return wait_ns > RATE_PAUSE_NS ? wait_ns : RATE_PAUSE_NS;
	return next_taker(part) ? 0 : SHAKING_PAUSE_NS;
}

void tni_part_start_accepting(struct tni_part *part)
{
	uint64_t wait_ns;

	if (part->stopped)
		return;
	wait_ns = accept_wait(part);
	if (wait_ns) {
		tni_loop_timer(part->loop, &part->timer, wait_ns);
		return;
	}
	for (int i = 0; i < part->nlisteners; i++) {
		struct tni_fd *io = &part->listeners[i].io;

		if (io->fd >= 0 && io->rd.state == TNI_IDLE && tni_submit(part->loop, io, &io->rd, TNI_OP_ACCEPT) < 0)
			tni_loop_timer(part->loop, &part->timer, ACCEPT_PAUSE_NS);
	}
}

const char *tni_part_url(const struct tni_part *part)
{
	return part->nlisteners ? part->listeners[0].url : part->ep->url;
}

/* The detail says why. */
static void note_accept_trouble(struct tni_part *part, int err)
{
	tni_count(part, accept_failed, 1);
	tni_err_prefix(err, "%s: accept", tni_part_url(part));
	tni_trouble_note(part, err);
}

/* With a reset: an end in good order would tell the client that it was served and there was nothing to say. */
static void turn_away(struct tni_part *part, int fd, int err)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	note_accept_trouble(part, err);
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static void refuse(struct tni_part *part, int fd, const struct tn_addr *peer)
{
	struct tn_conn *c;

	if (part->refused < TNI_REFUSED_MAX && tni_conn_accept(part, fd, peer, 0, &c) == 0)
		tni_conn_refuse(c, TN_ELIMIT);
	else
		close(fd);
}

/* Of a Unix socket's other end. Asked once: one that has gone in the meantime has none any more. */
static uint32_t uid_of(const struct tni_part *part, int fd, const struct tn_addr *peer)
{
	struct ucred who = {0};
	socklen_t len = sizeof(who);

	if ((!part->server->sources && !part->ep->web) || tni_addr_family(peer) != AF_UNIX)
		return 0;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 ? who.uid : 0;
}

void tni_part_take(struct tni_part *part, int fd)
{
	struct tn_addr peer = {0};
	struct tn_conn *c;
	int rc;

	if (part->loop->ending) { /* what a handler began now, nobody would end */
		close(fd);
		return;
	}
	tni_handover_admit(part, fd);
	if (tni_addr_peer(fd, &peer) < 0)
		peer.len = 0;
	part = tni_sites_taker(part);
	if (!tni_part_count(part)) {
		refuse(part, fd, &peer);
		return;
	}
	rc = tni_conn_accept(part, fd, &peer, uid_of(part, fd, &peer), &c);
	if (rc < 0) {
		tni_part_uncount(part);
		turn_away(part, fd, rc);
		return;
	}
	c->flags |= TNI_COUNTED;
	tni_conn_begin(c);
}

/* A client that goes to another loop. It counts there already. */
struct handed {
	struct tni_part *part;
	int fd;
};

static void take_handed(void *arg)
{
	struct handed h = *(struct handed *)arg;
	struct tni_part *part = h.part;

	free(arg);
	atomic_fetch_sub(&part->nconns, 1);
	if (part->draining && part->loop->now_ns >= part->deadline_ns)
		turn_away(part, h.fd, tni_err(-ECANCELED, "%s", tn_strerror(-ECANCELED)));
	else
		tni_part_take(part, h.fd);
	tni_loop_ready(part->loop, &part->task); /* its end may have waited for this */
}

/* False: it is no more to be had, or there is no memory. A part at which a client has counted waits for it, so who
 * asks after that whether the part is closed knows that it is there until the client is. */
static bool hand_over(struct tni_part *to, int fd)
{
	struct handed *h = malloc(sizeof(*h));

	atomic_fetch_add(&to->nconns, 1);
	if (h && !atomic_load(&to->closed)) {
		*h = (struct handed){.part = to, .fd = fd};
		if (tn_loop_post(to->loop, take_handed, h) == 0)
			return true;
	}
	atomic_fetch_sub(&to->nconns, 1);
	free(h);
	return false;
}

/* One that was accepted although no loop has room is the acceptor's own. */
static void hand_round(struct tni_part *part, int fd)
{
	struct tni_part *to = next_taker(part);

	if (!to || to == part || !hand_over(to, fd))
		tni_part_take(part, fd);
}

/* Those who may not be accepted yet wait in the listener's queue. */
static void keep_pace(struct tni_part *part)
{
	tni_part_rate_note(part);
	if (part->stopped || !accept_wait(part))
		return;
	tni_part_stop_accepting(part);
	for (int i = 0; i < part->nlisteners; i++) /* nor is anybody told of them: each would wake the loop */
		if (part->listeners[i].io.fd >= 0 && !tni_op_busy(&part->listeners[i].io.rd))
			tni_fd_release(part->loop, &part->listeners[i].io);
	tni_part_start_accepting(part); /* later, that is */
}

void tni_part_accept_done(struct tni_op *op, int res)
{
	struct tni_fd *io = tni_container_of(op, struct tni_fd, rd);
	struct tni_part *part = tni_container_of(io, struct tni_listener, io)->part;

	if (res >= 0) {
		if (hands_round(part))
			hand_round(part, res);
		else
			tni_part_take(part, res);
		keep_pace(part);
	} else if (res != -ECANCELED) {
		note_accept_trouble(part, tni_err(res, "%s", tn_strerror(res)));
		tni_loop_timer(part->loop, &part->timer, ACCEPT_PAUSE_NS);
	}
	if (part->stopped)
		tni_loop_ready(part->loop, &part->task);
}
