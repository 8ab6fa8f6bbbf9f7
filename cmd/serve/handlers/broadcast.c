/*
 * broadcast: what one client says, all others hear. There is one room for all endpoints of the process that have this
 * handler. Its members of one loop are a lane. A message is made once (tn_shared), given to the members of its own
 * lane, and posted to each other lane.
 *
 * Nobody waits for a slow client: its queue (key queue) is the bound of what it may be behind. A message for which
 * there is no room is dropped and counted, or the client is cut off. A lane whose loop does not keep up misses messages
 * too.
 *
 * A client of datagrams is a member from its first datagram until it has been silent for SESSION_NS. Who forges a
 * sender can have that address sent to for so long. So the number of such members is bounded, services that answer
 * anything are none, and a message goes one hop less far than it came (tn_conn_fade()).
 */
#include "broadcast.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "handler.h"
#include "tenon.h"

#define SESSION_NS UINT64_C(30000000000)
#define SESSIONS_MAX 256        /* of one socket */
#define CROSSING_MAX (4U << 20) /* bytes on their way to another loop */
#define CROSSING_OVERHEAD 128U  /* what each message counts beside its own */

/* Who hears: a connection, or one sender of a datagram socket. */
struct member {
	struct member *next, **link;
	struct tn_conn *conn;
	struct tn_addr peer; /* of a datagram socket; otherwise unused */
	uint64_t heard_ns;   /* the same: when it last said something */
	uint64_t dropped;
	bool slow; /* told to be so */
	bool full; /* its own queue: on_drain will come */
};

/* A datagram socket. Its members stand by age, the one that spoke last in front. */
struct gate {
	struct gate *next, **link;
	struct tn_conn *conn;
	struct member *members;
	unsigned count;
};

/* What lives on one loop. Made by its first member or gate, freed by its last. */
struct lane {
	struct lane *next; /* with the lock */
	uint64_t number;   /* no other has had it */
	struct tn_loop *loop;
	struct member *members;
	struct gate *gates;
	unsigned users;
	_Atomic(size_t) crossing;
	_Atomic(uint64_t) missed; /* messages that were not sent across */
};

/* A message on its way to another lane. */
struct crossing {
	struct tn_shared *shared;
	uint64_t lane; /* its number: another one may live on the loop when this arrives */
	unsigned hops;
	size_t weight;
};

static struct {
	pthread_mutex_t lock;
	struct lane *lanes;
	uint64_t numbers; /* of lanes that have been, with the lock */
	void (*watcher)(const struct handler_slow *slow);
	bool cut;
	_Atomic(uint64_t) said, heard, dropped, ncut;
} room = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local struct lane *here;

void handler_watch_slow(void (*fn)(const struct handler_slow *slow))
{
	room.watcher = fn;
}

void handler_cut_slow(bool cut)
{
	room.cut = cut;
}

void handler_heard(struct handler_heard *heard)
{
	*heard = (struct handler_heard){room.said, room.heard, room.dropped, room.ncut};
}

/* ---- members ---- */

static int lane_enter(struct tn_loop *loop)
{
	if (!here) {
		struct lane *lane = calloc(1, sizeof(*lane));

		if (!lane)
			return -ENOMEM;
		lane->loop = loop;
		pthread_mutex_lock(&room.lock);
		lane->number = ++room.numbers;
		lane->next = room.lanes;
		room.lanes = lane;
		pthread_mutex_unlock(&room.lock);
		here = lane;
	}
	here->users++;
	return 0;
}

/* After the last one nothing is posted to its loop, which may go then. */
static void lane_leave(void)
{
	struct lane **at = &room.lanes;

	if (--here->users)
		return;
	pthread_mutex_lock(&room.lock);
	while (*at != here)
		at = &(*at)->next;
	*at = here->next;
	pthread_mutex_unlock(&room.lock);
	free(here);
	here = NULL;
}

static void member_link(struct member *member, struct member **head)
{
	member->next = *head;
	member->link = head;
	if (*head)
		(*head)->link = &member->next;
	*head = member;
}

static void member_unlink(const struct member *member)
{
	*member->link = member->next;
	if (member->next)
		member->next->link = member->link;
}

/* ---- slow ones ---- */

static void tell(const struct member *member, const char *event, const char *why)
{
	struct handler_slow slow = {.conn = member->conn, .event = event, .why = why, .dropped = member->dropped};
	char peer[384];

	if (member->peer.len)
		slow.peer = tn_addr_text(&member->peer, peer, sizeof(peer));
	if (room.watcher)
		room.watcher(&slow);
}

/* There was no room for so many messages. */
static void miss(struct member *member, uint64_t count)
{
	bool known = member->slow;

	member->dropped += count;
	member->slow = true;
	room.dropped += count;
	if (room.cut && !member->peer.len && !known) {
		room.ncut++;
		tell(member, "cut", "it is behind by all that its queue holds");
		tn_abort(member->conn, TN_EFULL);
	} else if (!known) {
		tell(member, "slow", NULL);
	}
}

static void caught_up(struct member *member)
{
	if (member->slow)
		tell(member, "caught up", NULL);
	member->slow = member->full = false;
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	struct member *member = tn_conn_data(conn);

	(void)arg;
	if (member)
		caught_up(member);
}

/* ---- hearing ---- */

/* A message that its frame cannot carry, or that is no text for a WebSocket that wants such. */
static void not_for(const struct member *member, int err)
{
	char text[256];

	room.dropped++;
	snprintf(text, sizeof(text), "a message was not passed on to this client: %s", tn_strerror(err));
	tn_conn_trouble(member->conn, err, text);
}

static void take_result(struct member *member, int err)
{
	if (err >= 0) {
		room.heard++;
		if (!member->full) /* what it has missed was lost on the way from another loop */
			caught_up(member);
	} else if (err == TN_EFULL) {
		member->full = true;
		miss(member, 1);
	} else if (err == -ENOMEM && !member->peer.len)
		tn_abort(member->conn, err);
	else if (err != TN_ESTATE)
		not_for(member, err);
}

static void forget_the_silent(struct gate *gate)
{
	uint64_t now = tn_loop_now(tn_conn_loop(gate->conn));
	struct member **at = &gate->members, *member;

	while ((member = *at)) {
		if (now - member->heard_ns <= SESSION_NS) {
			at = &member->next;
			continue;
		}
		member_unlink(member);
		gate->count--;
		free(member);
	}
}

static void gate_hears(struct gate *gate, const struct member *from, struct tn_shared *shared, unsigned hops)
{
	size_t len;
	const void *data = tn_shared_data(shared, &len);

	forget_the_silent(gate);
	for (struct member *member = gate->members; member; member = member->next) {
		const struct tn_msg to = {.peer = &member->peer, .hops = hops};

		if (member != from)
			take_result(member, tn_reply(gate->conn, &to, data, len));
	}
}

static void lane_hears(const struct member *from, struct tn_shared *shared, unsigned hops)
{
	for (struct member *member = here->members; member; member = member->next)
		if (member != from)
			take_result(member, tn_send_shared(member->conn, shared));
	for (struct gate *gate = here->gates; gate; gate = gate->next)
		gate_hears(gate, from, shared, hops);
}

static void all_here_miss(uint64_t count)
{
	for (struct member *member = here->members; member; member = member->next)
		miss(member, count);
	for (struct gate *gate = here->gates; gate; gate = gate->next)
		for (struct member *member = gate->members; member; member = member->next)
			miss(member, count);
}

static void on_crossed(void *arg)
{
	struct crossing *crossing = arg;
	uint64_t missed;

	if (here && here->number == crossing->lane) {
		here->crossing -= crossing->weight;
		lane_hears(NULL, crossing->shared, crossing->hops);
		missed = atomic_exchange(&here->missed, 0);
		if (missed)
			all_here_miss(missed);
	}
	tn_shared_unref(crossing->shared);
	free(crossing);
}

/* With the lock held, so that the lane is there. */
static void cross(struct lane *lane, struct tn_shared *shared, size_t len, unsigned hops)
{
	struct crossing *crossing = lane->crossing > CROSSING_MAX ? NULL : malloc(sizeof(*crossing));

	if (!crossing) {
		lane->missed++;
		return;
	}
	*crossing = (struct crossing){tn_shared_ref(shared), lane->number, hops, len + CROSSING_OVERHEAD};
	lane->crossing += crossing->weight;
	if (tn_loop_post(lane->loop, on_crossed, crossing) == 0)
		return;
	lane->crossing -= crossing->weight;
	lane->missed++;
	tn_shared_unref(shared);
	free(crossing);
}

/* What one says. Without memory for it nobody hears it. */
static void say(const struct member *from, const struct tn_msg *msg)
{
	struct tn_shared *shared;

	room.said++;
	if (tn_shared_from(msg, &shared) < 0) {
		room.dropped++;
		return;
	}
	lane_hears(from, shared, msg->hops);
	pthread_mutex_lock(&room.lock);
	for (struct lane *lane = room.lanes; lane; lane = lane->next)
		if (lane != here)
			cross(lane, shared, msg->len, msg->hops);
	pthread_mutex_unlock(&room.lock);
	tn_shared_unref(shared);
}

/* ---- connections ---- */

static void on_open(struct tn_conn *conn, void *arg)
{
	struct member *member = calloc(1, sizeof(*member));

	(void)arg;
	if (!member || lane_enter(tn_conn_loop(conn)) < 0) {
		free(member);
		tn_abort(conn, -ENOMEM);
		return;
	}
	member->conn = conn;
	member_link(member, &here->members);
	tn_conn_set_data(conn, member);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	const struct member *member = tn_conn_data(conn);

	(void)arg;
	if (member)
		say(member, msg);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct member *member = tn_conn_data(conn);

	(void)err, (void)arg;
	if (!member)
		return;
	tn_conn_set_data(conn, NULL);
	member_unlink(member);
	free(member);
	lane_leave();
}

/* ---- datagrams ---- */

/* DTLS has connections, whose messages have no sender of their own. */
static struct gate *gate_of(const struct tn_conn *conn)
{
	struct gate *gate = here ? here->gates : NULL;

	while (gate && gate->conn != conn)
		gate = gate->next;
	return gate;
}

static bool has_many_peers(const struct tn_conn *conn)
{
	struct tn_addr peer;

	return tn_conn_peer(conn, &peer) == -ENOTCONN;
}

static void on_socket_open(struct tn_conn *conn, void *arg)
{
	struct gate *gate;

	if (!has_many_peers(conn)) {
		on_open(conn, arg);
		return;
	}
	handler_on_datagrams_open(conn, arg);
	gate = calloc(1, sizeof(*gate));
	if (!gate || lane_enter(tn_conn_loop(conn)) < 0) {
		free(gate);
		tn_abort(conn, -ENOMEM);
		return;
	}
	gate->conn = conn;
	gate->next = here->gates;
	gate->link = &here->gates;
	if (gate->next)
		gate->next->link = &gate->next;
	here->gates = gate;
}

/* The sender, in front of all others from now on. NULL: it cannot be answered, or there is no room for it. */
static struct member *sender_of(struct gate *gate, const struct tn_msg *msg)
{
	struct member *member = gate->members;

	while (member && (member->peer.len != msg->peer->len ||
			  memcmp(member->peer.bytes, msg->peer->bytes, msg->peer->len) != 0))
		member = member->next;
	if (member) {
		member_unlink(member);
	} else {
		forget_the_silent(gate);
		member = msg->peer->len && gate->count < SESSIONS_MAX ? calloc(1, sizeof(*member)) : NULL;
		if (!member)
			return NULL;
		gate->count++;
	}
	member->conn = gate->conn;
	member->peer = *msg->peer;
	member->heard_ns = tn_loop_now(tn_conn_loop(gate->conn));
	member_link(member, &gate->members);
	return member;
}

/* An empty datagram only says that its sender is there. */
static void on_datagram(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct gate *gate = gate_of(conn);
	const struct member *member;

	if (!gate) {
		on_msg(conn, msg, arg);
		return;
	}
	if (!handler_may_answer(conn, msg))
		return;
	member = sender_of(gate, msg);
	if (msg->len)
		say(member, msg);
}

static void on_socket_drain(struct tn_conn *conn, void *arg)
{
	const struct gate *gate = gate_of(conn);

	if (!gate) {
		on_drain(conn, arg);
		return;
	}
	for (struct member *member = gate->members; member; member = member->next)
		caught_up(member);
}

static void on_socket_close(struct tn_conn *conn, int err, void *arg)
{
	struct gate *gate = gate_of(conn);

	if (!gate) {
		on_close(conn, err, arg);
		return;
	}
	for (struct member *member = gate->members, *next; member; member = next) {
		next = member->next;
		free(member);
	}
	*gate->link = gate->next;
	if (gate->next)
		gate->next->link = gate->link;
	free(gate);
	lane_leave();
}

const struct handler_spec handler_broadcast = {
	.name = "broadcast",
	.meaning = "what one client says, all others hear: those of all endpoints with this handler",
	.stream = {.on_open = on_open, .on_msg = on_msg, .on_drain = on_drain, .on_close = on_close},
	.datagrams = {.on_open = on_socket_open,
		      .on_msg = on_datagram,
		      .on_drain = on_socket_drain,
		      .on_close = on_socket_close},
};
