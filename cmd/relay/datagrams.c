/*
 * Sessions over datagrams. There are no connections to tell clients apart, so a session is a client's address, the
 * address of ours that it asked, and the listener; it ends when nothing has come or gone for a while. Each has a socket
 * of its own to its target: what the kernel tells of that (a port that nobody listens at) is about this session alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "address.h"
#include "common/clock.h"
#include "events.h"
#include "faults.h"
#include "lane.h"
#include "pass.h"
#include "plan.h"
#include "serve/handlers/answer.h"
#include "session.h"
#include "targets.h"
#include "tap/tap.h"
#include "tee.h"
#include "tenon_value.h"

#define BUCKETS 4096
#define SESSIONS_MAX 10000 /* of a listener on one loop, if the user says nothing: each has a descriptor */

/* What a session has said until its target answers, for the next target if this one refuses it: so many datagrams, and
 * so many bytes of all sessions of a socket. A refusal comes soon after the target was spoken to. */
#define KEPT_MAX 8
#define KEPT_BYTES (4u << 20)
#define REFUSAL_NS NS_PER_S

struct gate;

struct kept {
	struct kept *next;
	size_t len;
	unsigned char data[];
};

struct client {
	struct client *same;          /* the next in its bucket */
	struct client *older, *newer; /* by when something came or went */
	struct gate *gate;            /* NULL: the listener has gone */
	struct tn_addr addr;
	unsigned hops;
	struct tn_conn *target;
	int at;
	uint64_t tried, used_ns;
	uint64_t bytes_in, bytes_out, msgs_in, msgs_out, lost, opened_ns, first_ns;
	uint64_t reached_ns;                    /* 0: its target's name is still looked up */
	struct client *kept_older, *kept_newer; /* while something is kept, by how long */
	struct kept *kept;
	unsigned nkept;
	bool owed; /* what it said last has not been answered */
	int err;   /* it is being ended, by the relay */
	struct record *record;
	struct tap *tap;
	struct faults *faults; /* NULL: none are wanted */
	struct tee *tee;       /* NULL: nothing is copied */
};

/* A listener's socket on one loop. */
struct gate {
	struct tn_conn *conn;
	struct listener *listener;
	struct tn_timer *timer;
	struct client *buckets[BUCKETS];
	struct client *oldest, *newest;
	struct client *kept_oldest, *kept_newest;
	size_t kept_bytes;
	unsigned count;
	uint64_t seed;
};

/* ---- which client ---- */

static uint64_t hash(uint64_t h, const void *data, size_t len)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ bytes[i]) * 0x100000001b3ULL;
	return h;
}

/* The sender may have chosen its address for it, so the seed is a secret of the process. */
static struct client **bucket_of(struct gate *gate, const struct tn_addr *addr)
{
	uint64_t h = hash(gate->seed, addr->bytes, addr->len);

	h = hash(h, addr->local.ip, addr->local.len);
	return &gate->buckets[(h ^ h >> 32) % BUCKETS];
}

static struct client *client_of(struct gate *gate, const struct tn_addr *addr)
{
	for (struct client *client = *bucket_of(gate, addr); client; client = client->same)
		if (handler_is_same_sender(&client->addr, addr))
			return client;
	return NULL;
}

/* ---- by age ---- */

static void age_unlink(struct client *client)
{
	struct gate *gate = client->gate;

	*(client->older ? &client->older->newer : &gate->oldest) = client->newer;
	*(client->newer ? &client->newer->older : &gate->newest) = client->older;
}

static void age_link(struct client *client)
{
	struct gate *gate = client->gate;

	client->older = gate->newest;
	client->newer = NULL;
	*(gate->newest ? &gate->newest->newer : &gate->oldest) = client;
	gate->newest = client;
	client->used_ns = tn_loop_now(tn_conn_loop(gate->conn));
}

static void use(struct client *client)
{
	if (!client->gate)
		return;
	age_unlink(client);
	age_link(client);
}

static void watch_oldest(struct gate *gate);

static void on_due(void *arg)
{
	struct gate *gate = arg;
	uint64_t now = tn_loop_now(tn_conn_loop(gate->conn));

	gate->timer = NULL;
	for (struct client *client = gate->oldest; client && now - client->used_ns >= plan.idle_ns;
	     client = client->newer)
		if (!client->err) {
			client->err = TN_EIDLE;
			tn_abort(client->target, TN_EIDLE);
		}
	watch_oldest(gate);
}

static void watch_oldest(struct gate *gate)
{
	uint64_t now = tn_loop_now(tn_conn_loop(gate->conn)), due;
	struct client *client = gate->oldest;

	while (client && client->err)
		client = client->newer;
	if (gate->timer || !client)
		return;
	due = client->used_ns + plan.idle_ns;
	due = due > now ? (due - now) / NS_PER_MS + 1 : 1;
	/* Without memory for a timer the next datagram tries again. */
	if (tn_timer_start(tn_conn_loop(gate->conn), due, on_due, gate, &gate->timer) < 0)
		gate->timer = NULL;
}

/* ---- what is kept for another target ---- */

static void forget_kept(struct client *client)
{
	struct gate *gate = client->gate;

	if (!client->kept)
		return;
	*(client->kept_older ? &client->kept_older->kept_newer : &gate->kept_oldest) = client->kept_newer;
	*(client->kept_newer ? &client->kept_newer->kept_older : &gate->kept_newest) = client->kept_older;
	for (struct kept *kept = client->kept, *next; kept; kept = next) {
		next = kept->next;
		gate->kept_bytes -= kept->len;
		free(kept);
	}
	client->kept = NULL;
	client->nkept = KEPT_MAX; /* no more of it */
}

/* It could be its target's refusal that comes now. */
static bool may_be_refused(const struct client *client, uint64_t now)
{
	return !client->first_ns && (!client->reached_ns || now - client->reached_ns < REFUSAL_NS);
}

static void keep(struct client *client, const struct tn_msg *msg)
{
	struct gate *gate = client->gate;
	struct kept *kept, **end = &client->kept;

	if (!may_be_refused(client, tn_loop_now(tn_conn_loop(gate->conn)))) {
		forget_kept(client);
		return;
	}
	if (plan.targets->count < 2 || client->nkept == KEPT_MAX || !(kept = malloc(sizeof(*kept) + msg->len)))
		return;
	*kept = (struct kept){.len = msg->len};
	memcpy(kept->data, msg->data, msg->len);
	if (!client->kept) {
		client->kept_older = gate->kept_newest;
		client->kept_newer = NULL;
		*(gate->kept_newest ? &gate->kept_newest->kept_newer : &gate->kept_oldest) = client;
		gate->kept_newest = client;
	}
	while (*end)
		end = &(*end)->next;
	*end = kept;
	client->nkept++;
	gate->kept_bytes += msg->len;
	while (gate->kept_bytes > KEPT_BYTES)
		forget_kept(gate->kept_oldest);
}

/* ---- the end of a session ---- */

/* A reply that is owed keeps the listener from closing when the relay ends. */
static void owe(struct client *client, bool owed)
{
	if (client->owed == owed || !client->gate)
		return;
	client->owed = owed;
	if (owed)
		tn_conn_hold(client->gate->conn);
	else
		tn_conn_release(client->gate->conn);
}

static void client_unlink(struct client *client)
{
	struct client **at;

	if (!client->gate)
		return;
	at = bucket_of(client->gate, &client->addr);
	while (*at != client)
		at = &(*at)->same;
	*at = client->same;
	age_unlink(client);
	forget_kept(client);
	owe(client, false);
	client->gate->count--;
	client->gate = NULL;
}

static void client_free(struct client *client, uint64_t now)
{
	struct record *record = client->record;

	client_unlink(client);
	if (client->at >= 0)
		targets_leave(plan.targets, client->at);
	if (record) {
		record->bytes_in = client->bytes_in;
		record->bytes_out = client->bytes_out;
		record->msgs_in = client->msgs_in;
		record->msgs_out = client->msgs_out;
		record->lost = client->lost;
		record->first_ns = client->first_ns;
	}
	if (client->faults)
		record_faults(record, faults_counts(client->faults));
	faults_over(client->faults);
	tee_over(client->tee);
	record_end_tap(record, client->tap);
	record_tell(record, now);
	free(client);
}

/* ---- the target ---- */

static void on_open(struct tn_conn *target, void *arg)
{
	struct client *client = arg;
	uint64_t now = tn_loop_now(tn_conn_loop(target));

	if (address_is_ours(target)) {
		targets_loops(plan.targets, client->at);
		client->err = -ELOOP;
		tn_abort(target, -ELOOP);
		return;
	}
	client->reached_ns = now;
	record_reached(client->record, target, now);
	tap_reached(client->tap, client->record ? client->record->target : NULL);
}

static void answer(struct client *client, const struct tn_msg *msg)
{
	struct tn_msg question = {.peer = &client->addr, .hops = client->hops};

	if (!client->gate)
		return;
	if (pass_message(client->target, msg, client->gate->conn, &question) < 0) {
		client->lost++;
	} else {
		client->msgs_out++;
		client->bytes_out += msg->len;
	}
	owe(client, false);
}

static void ask(struct client *client, const struct tn_msg *msg)
{
	if (!client->gate || client->err)
		return;
	if (pass_message(client->gate->conn, msg, client->target, NULL) < 0)
		client->lost++;
	else
		owe(client, true);
}

/* It answers: now it is known to work. */
static void on_answer(struct tn_conn *target, const struct tn_msg *msg, void *arg)
{
	struct client *client = arg;

	if (!client->gate)
		return;
	if (!client->first_ns) {
		client->first_ns = tn_loop_now(tn_conn_loop(target)) - client->opened_ns;
		targets_worked(plan.targets, client->at);
		forget_kept(client);
	}
	use(client);
	tap_data(client->tap, RECORDING_SERVER, msg, tn_conn_format(target));
	tee_put(client->tee, target, false, msg);
	if (client->faults)
		faults_put(client->faults, CHAOS_DOWN, msg);
	else
		answer(client, msg);
}

/* ---- faults (--chaos) ---- */

static void fault_pass(void *arg, int direction, const struct tn_msg *msg)
{
	(direction == CHAOS_UP ? ask : answer)(arg, msg);
}

static void fault_end(void *arg, int direction)
{
	(void)arg, (void)direction; /* datagrams have none */
}

static void fault_close(void *arg)
{
	struct client *client = arg;

	if (client->err)
		return;
	client->err = -ECONNRESET;
	tn_abort(client->target, -ECONNRESET);
}

static bool fault_full(void *arg, int direction)
{
	(void)arg, (void)direction;
	return false; /* what the kernel does not take is lost, as ever */
}

/* Nobody can be held back: what is too much is lost. */
static void fault_hold(void *arg, int direction, bool hold)
{
	(void)arg, (void)direction, (void)hold;
}

static const struct faults_hooks fault_hooks = {.pass = fault_pass,
						.end = fault_end,
						.close = fault_close,
						.reset = fault_close,
						.full = fault_full,
						.hold = fault_hold};

static int dial(struct client *client, const struct tn_msg *msg);

/* Says to another target what the one before has refused. False: there is none. */
static bool try_next(struct client *client)
{
	struct tn_msg msg = {
		.data = client->kept->data, .len = client->kept->len, .peer = &client->addr, .hops = client->hops};

	targets_leave(plan.targets, client->at);
	client->reached_ns = 0;
	if (dial(client, &msg) < 0)
		return false;
	for (const struct kept *kept = client->kept; kept; kept = kept->next) {
		msg = (struct tn_msg){.data = kept->data, .len = kept->len};
		if (pass_message(client->gate->conn, &msg, client->target, NULL) < 0)
			client->lost++;
	}
	return true;
}

static void on_close(struct tn_conn *target, int err, void *arg)
{
	struct client *client = arg;
	uint64_t now = tn_loop_now(tn_conn_loop(target));
	struct tn_conn_info info;
	char why[512];

	if (client->err == -ELOOP)
		snprintf(why, sizeof(why), "the target is this relay itself");
	else
		targets_why(plan.targets, client->at, why, sizeof(why));
	tn_conn_info(target, &info);
	client->lost += info.lost;
	record_program(client->record, target);
	if (client->err) {
		record_end(client->record, SIDE_RELAY, client->err, why);
	} else {
		if (err && !client->first_ns)
			record_failed(client->record, why, now);
		if (err)
			targets_failed(plan.targets, client->at, err, why);
		if (err && client->gate && client->kept && may_be_refused(client, now) && try_next(client))
			return;
		record_end(client->record, SIDE_TARGET, err, why);
	}
	client_free(client, now);
}

static const struct tn_handler target_handler = {.on_open = on_open, .on_msg = on_answer, .on_close = on_close};

static int dial(struct client *client, const struct tn_msg *msg)
{
	struct tn_loop *loop = tn_conn_loop(client->gate->conn);
	uint64_t source = source_of(&client->addr);
	int err = -ECONNREFUSED;

	while ((client->at = targets_choose(plan.targets, client->tried, source)) >= 0) {
		const char *url = plan.targets->list[client->at].url;

		client->tried |= UINT64_C(1) << client->at;
		char why[512];

		record_trying(client->record, plan.targets->list[client->at].given, tn_loop_now(loop));
		err = tn_dial_for(loop, url, &target_handler, client, client->gate->conn, msg, &client->target);
		if (err >= 0)
			return 0;
		record_failed(client->record, targets_why(plan.targets, client->at, why, sizeof(why)),
			      tn_loop_now(loop));
		targets_leave(plan.targets, client->at);
	}
	return err;
}

/* ---- clients ---- */

static unsigned sessions_max(void)
{
	return plan.max_sessions ? plan.max_sessions : SESSIONS_MAX;
}

/* A datagram that begins no session is lost, as datagrams are; that there are too many sessions is told. */
static struct client *client_new(struct gate *gate, const struct tn_msg *msg)
{
	const struct tn_addr *addr = msg->peer;
	struct client *client = gate->count < sessions_max() ? calloc(1, sizeof(*client)) : NULL;
	int err;

	if (!client) {
		tn_conn_trouble(gate->conn, gate->count < sessions_max() ? -ENOMEM : TN_ELIMIT,
				"a datagram was dropped: there are as many sessions as may be");
		return NULL;
	}
	client->addr = *addr;
	client->gate = gate;
	client->opened_ns = tn_loop_now(tn_conn_loop(gate->conn));
	client->record = record_new(gate->conn, gate->listener->url, msg);
	client->tap = record_begin_tap(client->record, true, true, gate->conn, msg);
	err = dial(client, msg);
	if (err < 0) {
		const char *why = client->tried ? tn_errmsg() : "no target is left to try";

		record_end(client->record, SIDE_RELAY, err, why);
		tn_conn_trouble(gate->conn, err, why);
		record_end_tap(client->record, client->tap);
		record_tell(client->record, client->opened_ns);
		free(client);
		return NULL;
	}
	client->tee = tee_begin(tn_conn_loop(gate->conn), TEE_MESSAGES);
	client->faults = gate->listener->faults ? faults_begin(gate->listener->faults, tn_conn_loop(gate->conn),
							       CHAOS_DATAGRAMS, &fault_hooks, client)
						: NULL;
	if (client->record) /* the listener's socket is the same for all of them */
		client->record->id = tn_conn_id(client->target);
	tap_number(client->tap, tn_conn_id(client->target));
	client->same = *bucket_of(gate, addr);
	*bucket_of(gate, addr) = client;
	age_link(client);
	gate->count++;
	return client;
}

static void on_datagram(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct gate *gate = tn_conn_data(conn);
	struct client *client = gate && msg->peer ? client_of(gate, msg->peer) : NULL;

	(void)arg;
	if (gate && msg->peer && !client)
		client = client_new(gate, msg);
	if (!client || client->err)
		return;
	client->hops = msg->hops;
	use(client);
	keep(client, msg);
	client->msgs_in++;
	client->bytes_in += msg->len;
	tap_data(client->tap, RECORDING_CLIENT, msg, tn_conn_format(conn));
	tee_put(client->tee, conn, true, msg);
	if (client->faults)
		faults_put(client->faults, CHAOS_UP, msg);
	else
		ask(client, msg);
	watch_oldest(gate);
}

static void on_gate_open(struct tn_conn *conn, void *arg)
{
	struct gate *gate = calloc(1, sizeof(*gate));

	if (!gate) {
		tn_abort(conn, -ENOMEM);
		return;
	}
	gate->conn = conn;
	gate->listener = arg;
	if (getrandom(&gate->seed, sizeof(gate->seed), GRND_NONBLOCK) < 0)
		gate->seed = clock_ns();
	tn_conn_set_data(conn, gate);
}

static void on_gate_close(struct tn_conn *conn, int err, void *arg)
{
	struct gate *gate = tn_conn_data(conn);
	struct listener *listener = arg;

	for (struct client *client = gate ? gate->oldest : NULL, *next; client; client = next) {
		next = client->newer;
		if (!client->err) {
			client->err = -ECANCELED;
			tn_abort(client->target, -ECANCELED);
		}
		client->owed = false; /* its holds end with the connection */
		client_unlink(client);
	}
	if (gate)
		tn_timer_stop(gate->timer);
	free(gate);
	listener->closed(listener, err);
}

const struct tn_handler datagrams_handler = {.on_open = on_gate_open, .on_msg = on_datagram, .on_close = on_gate_close};
