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

/* Whether it accepts for the other loops too. Not once it has stopped: the other parts may be gone. */
static bool hands_round(const struct tni_part *part)
{
	return part->server->nparts > 1 && part->ep->scheme->place != TNI_AT_HOST && !part->stopped;
}

/* Who gets the next client: the loops in turn, past those where too many handshakes wait. NULL: so it is everywhere. */
static struct tni_part *next_taker(struct tni_part *part)
{
	struct tn_server *server = part->server;

	if (!hands_round(part))
		return has_room(part) ? part : NULL;
	for (int i = 0; i < server->nparts; i++) {
		struct tni_part *taker = &server->parts[(server->next_part + (unsigned)i) % (unsigned)server->nparts];

		if (!atomic_load(&taker->ended) && has_room(taker))
			return taker;
	}
	return NULL;
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

/* A client that goes to another loop. */
struct handed {
	struct tni_part *part;
	int fd;
};

static void take_handed(void *arg)
{
	struct handed *h = arg;

	tni_part_take(h->part, h->fd);
	free(h);
}

/* To the loop whose turn it is. One that was accepted although none has room is the acceptor's own. */
static void hand_round(struct tn_server *server, int fd)
{
	struct tni_part *own = &server->parts[0], *part = next_taker(own);
	struct handed *h;

	server->next_part = part ? (unsigned)(part - own) + 1 : server->next_part;
	if (!part || part == own) {
		tni_part_take(own, fd);
		return;
	}
	h = malloc(sizeof(*h));
	if (h)
		*h = (struct handed){.part = part, .fd = fd};
	if (!h || tn_loop_post(part->loop, take_handed, h) < 0) {
		free(h);
		turn_away(&server->parts[0], fd, tni_err(-ENOMEM, "%s", tn_strerror(-ENOMEM)));
	}
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
		if (hands_round(part)) /* posts come in order: before the one that makes them drain */
			hand_round(part->server, res);
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
