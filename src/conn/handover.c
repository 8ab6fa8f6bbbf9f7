/*
 * The new process binds the same addresses, and its sockets join the kernel's group of those that share one. A group is
 * a list in the order of listen(2) or bind(2); a socket that leaves it is replaced by the last. So the old process has
 * the first places, as many as it has loops, and behind them is the new one's first: a program of one instruction sends
 * all that is new there. Meanwhile handshakes that have begun are finished. That place is a guess if the group has
 * others too, and the program goes a moment before the last socket. So listeners drop SYNs in the end: nothing depends
 * on the guess but time, and when it was wrong the next place is tried.
 */
#include "conn/handover.h"

#include "conn/kind.h"

/* A handshake that has begun takes a round trip. After the first of these times SYNs are dropped, and are sent again
 * after a second: by then the second must be over too. */
#define FINISH_NS (250 * TNI_NS_PER_MS)
#define REFUSE_NS (250 * TNI_NS_PER_MS)

static int dgram_socket(const struct tni_list *node)
{
	const struct tn_conn *c = tni_container_of(node, struct tn_conn, siblings);

	return c->kind == &tni_kind_datagrams ? c->io.fd : -1;
}

/* Calls fn() with each socket of datagrams. False: it was false for all. */
static bool each_dgram(const struct tni_part *part, bool (*fn)(int fd, unsigned value), unsigned value)
{
	const struct tni_list *node;
	bool any = false;

	for (node = part->conns.next; node != &part->conns; node = node->next)
		any = (dgram_socket(node) >= 0 && fn(dgram_socket(node), value)) || any;
	return any;
}

/* The same with each socket of the part. */
static bool each_socket(const struct tni_part *part, bool (*fn)(int fd, unsigned value), unsigned value)
{
	bool any = each_dgram(part, fn, value);

	for (int i = 0; i < part->nlisteners; i++)
		any = (part->listeners[i].io.fd >= 0 && fn(part->listeners[i].io.fd, value)) || any;
	return any;
}

static bool unsteer(int fd, unsigned value)
{
	(void)value;
	tni_group_unsteer(fd);
	return true;
}

static bool retire(int fd, unsigned value)
{
	(void)value;
	tni_group_retire(fd);
	return true;
}

static bool steer(const struct tni_part *part)
{
	unsigned own = (unsigned)part->server->nparts, places = 3 * own + 1;

	return each_socket(part, tni_group_steer, own + atomic_load(&part->server->steered) % places);
}

void tni_handover_begin(struct tni_part *part)
{
	bool streams = part->ep->scheme->type == SOCK_STREAM;

	if (part->ep->scheme->place != TNI_AT_HOST || !tni_endpoint_is_shared(part->ep) || part->listeners_stay ||
	    !part->server->drain_ns || (part->ep->scheme->secure && !streams) || !steer(part))
		return;
	part->handing_over = true;
	part->refuses_from_ns = streams ? tni_clock_ns() + FINISH_NS : 0;
	part->lingers_until_ns = streams ? part->refuses_from_ns + REFUSE_NS : 0;
	atomic_fetch_add(&part->server->handing_over, 1);
}

bool tni_handover_lingers(const struct tni_part *part)
{
	return part->handing_over && part->loop->now_ns < part->lingers_until_ns &&
	       part->loop->now_ns < part->deadline_ns;
}

static void refuse(struct tni_part *part)
{
	for (int i = 0; i < part->nlisteners && !part->refusing; i++) {
		tni_group_refuse_syn(part->listeners[i].io.fd, &part->least_ttl);
		(void)tni_group_missed(part->listeners[i].io.fd, &part->listeners[i].missed);
	}
	part->refusing = true;
}

void tni_handover_tick(struct tni_part *part)
{
	bool missed = false;

	if (!tni_handover_lingers(part) || part->loop->now_ns < part->refuses_from_ns)
		return;
	refuse(part);
	for (int i = 0; i < part->nlisteners; i++)
		missed = tni_group_missed(part->listeners[i].io.fd, &part->listeners[i].missed) || missed;
	if (!missed)
		return;
	atomic_fetch_add(&part->server->steered, 1);
	steer(part);
}

void tni_handover_admit(const struct tni_part *part, int fd)
{
	if (part->refusing)
		tni_group_admit(fd, &part->least_ttl);
}

bool tni_handover_is_quiet(const struct tni_part *part)
{
	const struct tni_list *node;

	for (node = part->conns.next; part->handing_over && node != &part->conns; node = node->next)
		if (dgram_socket(node) >= 0 && !tni_conn_is_quiet(tni_container_of(node, struct tn_conn, siblings)))
			return false;
	return true;
}

/* The last loop takes the program away; until then it keeps what is new from the others. */
void tni_handover_end(struct tni_part *part)
{
	if (!part->handing_over)
		return;
	part->handing_over = false;
	refuse(part);
	each_dgram(part, retire, 0);
	if (atomic_fetch_sub(&part->server->handing_over, 1) == 1)
		each_socket(part, unsteer, 0);
}
