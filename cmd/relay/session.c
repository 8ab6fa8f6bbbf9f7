/*
 * A session of a stream. The client is not read before its target is open, so that nothing it says is lost when another
 * target has to be tried. The two are joined before that: whatever ends one of them then ends the other.
 */
#include "session.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "address.h"
#include "association.h"
#include "common/clock.h"
#include "common/complain.h"
#include "events.h"
#include "faults.h"
#include "lane.h"
#include "pace.h"
#include "pass.h"
#include "plan.h"
#include "route.h"
#include "targets.h"
#include "tap/tap.h"
#include "tee.h"
#include "tenon_value.h"

#define PEEK_NS (3 * NS_PER_S)    /* for first bytes, if the user says nothing */
#define WS_TRY_AGAIN 1013         /* IANA: WebSocket Close Code Number Registry */
#define QUIET_TICKS 10            /* when the relay ends: a session without traffic for so long is closed */
#define REPLY_TICKS 20            /* datagrams have no end: replies to a client that has ended may still come */
#define FAULTS_QUEUE (256u << 10) /* bytes at a side, beyond which what is due waits */
#define NO_GROUP 511
#define LOOK_MS 200 /* how often it is looked whether clients that wait for their targets are still there */

/* An idle one costs 64 bytes, allocator included. */
struct session {
	struct member member;     /* first */
	struct path path;         /* of connections that are NULL when they have gone, or are not there yet */
	uint64_t tried;           /* a bit for each target */
	uint32_t moved;           /* bytes by the last tick, of which it is the same if it is: */
	unsigned quiet : 8;       /* for so many ticks nothing has moved */
	unsigned group : 9;       /* of targets: its number, or NO_GROUP */
	int at : 8;               /* its target; -1: none */
	unsigned reached : 1;     /* by the target's on_open */
	unsigned over : 1;        /* it is being ended: no other target is tried */
	unsigned was_quiet : 1;   /* that is why: what its connections are cut off from is nothing */
	unsigned waits_reply : 1; /* the client has ended, and a target of datagrams may still answer */
	unsigned peeking : 1;     /* its client's first bytes are being looked at */
	unsigned closes : 1;      /* the client, at a bad message */
	unsigned extended : 1;    /* it is a struct extended */
};

static_assert(sizeof(struct session) <= 56, "two connections and their path are most of a session");
static_assert(RULES_MAX < NO_GROUP && TARGETS_MAX <= 128, "they are numbers of so many bits");

/* One that is told at its end, has limits, or is looked at before it has targets. */
struct extended {
	struct session session;
	struct listener *listener;
	uint64_t began_ns;
	unsigned char *said; /* by the client so far; NULL: nothing that was looked at */
	size_t said_len, need;
	struct pace pace;
	struct association *association; /* of a proxy's client that has asked for datagrams; otherwise NULL */
	struct record *record;
	struct tap *tap;
	bool said_is_tapped;   /* whichever target it is said to */
	struct faults *faults; /* NULL: none are wanted */
	struct tee *tee;       /* NULL: nothing is copied */
};

static struct extended *extended_of(struct session *s)
{
	return s->extended ? (struct extended *)s : NULL;
}

static struct record *record_of(struct session *s)
{
	return s->extended ? extended_of(s)->record : NULL;
}

/* Who looks on at a session; NULL: nobody does. */
static struct tap *tap_of(struct session *s)
{
	return s->extended ? extended_of(s)->tap : NULL;
}

static struct targets *targets_of(const struct session *s)
{
	const struct listener *listener = s->extended ? ((const struct extended *)s)->listener : NULL;

	if (s->group == NO_GROUP)
		return NULL;
	if (s->group)
		return route_group((int)s->group - 1);
	return listener && listener->targets ? listener->targets : plan.targets;
}

static void dial_next(struct session *s, int err);

/* ---- clients that wait for their targets ---- */

/* They are not read, so nothing tells that one has gone. Of a loop. */
static _Thread_local struct {
	unsigned count;
	struct tn_timer *timer;
} waiting;

/* What it has said before is still delivered, if there is anything. */
static bool is_gone(const struct tn_conn *client)
{
	struct tn_conn_info info;
	struct pollfd state = {0};
	int unread = 0;

	tn_conn_info(client, &info);
	state.fd = info.fd;
	return info.fd >= 0 && poll(&state, 1, 0) == 1 && state.revents & POLLHUP &&
	       ioctl(info.fd, FIONREAD, &unread) == 0 && !unread;
}

static void look_at(struct member *member, void *arg)
{
	struct session *s = (struct session *)member;

	(void)arg;
	if (!s->path.client || !s->path.target || s->reached || s->over || !is_gone(s->path.client))
		return;
	s->over = true;
	record_end(record_of(s), SIDE_CLIENT, -ECONNRESET, "the client has gone before its target was reached");
	tn_abort(s->path.client, -ECONNRESET);
}

static void look(void *arg);

static void look_later(struct tn_loop *loop)
{
	if (waiting.count && !waiting.timer && tn_timer_start(loop, LOOK_MS, look, loop, &waiting.timer) < 0)
		complain("%s", tn_errmsg());
}

static void look(void *arg)
{
	waiting.timer = NULL;
	if (waiting.count)
		lane_each(look_at, NULL);
	look_later(arg);
}

/* ---- the end ---- */

static void leave_target(struct session *s)
{
	if (s->at >= 0)
		targets_leave(targets_of(s), s->at);
	s->at = -1;
}

static void free_if_done(struct session *s, uint64_t now)
{
	if (s->path.client || s->path.target)
		return;
	leave_target(s);
	lane_leave(&s->member);
	if (s->extended) {
		struct extended *x = extended_of(s);

		pace_end(&x->pace);
		if (x->record)
			x->record->paused = x->pace.times;
		if (x->record && x->faults)
			record_faults(x->record, faults_counts(x->faults));
		faults_over(x->faults);
		tee_over(x->tee);
		record_end_tap(x->record, x->tap);
		record_tell(x->record, now);
		free(x->said);
		if (x->listener->left && --x->listener->sessions == 0)
			x->listener->left(x->listener);
	}
	free(s);
}

/* The reason is the relay's. An orderly end would tell the client that this was all. */
static void end_by_relay(struct session *s, int err, const char *why)
{
	s->over = true;
	record_end(record_of(s), SIDE_RELAY, err, why);
	if (s->path.client)
		tn_abort(s->path.client, err);
	else if (s->path.target)
		tn_abort(s->path.target, err);
}

static void note_counts(struct session *s)
{
	struct record *record = record_of(s);
	struct tn_conn_info info;

	if (!record)
		return;
	tn_conn_info(s->path.client, &info);
	record->bytes_in = info.bytes_in;
	record->bytes_out = info.bytes_out;
	record->msgs_in = info.msgs_in;
	record->msgs_out = info.msgs_out;
	record->lost += info.lost;
}

/* Why it has gone. */
static const char *words(const struct session *s, int err, char *why, size_t cap)
{
	if (err == -ELOOP)
		snprintf(why, cap, "the target is this relay itself");
	else
		targets_why(targets_of(s), s->at, why, cap);
	return why;
}

static void client_close(struct tn_conn *client, int err, void *arg)
{
	struct session *s = tn_conn_data(client);
	struct listener *listener = arg;
	uint64_t now = tn_loop_now(tn_conn_loop(client));
	char why[512];

	if (s) {
		record_end(record_of(s), err == -ECANCELED ? SIDE_RELAY : SIDE_CLIENT, err,
			   words(s, err, why, sizeof(why)));
		note_counts(s);
		if (s->extended && extended_of(s)->association)
			association_end(extended_of(s)->association, record_of(s));
		s->path.client = NULL;
		s->over = true;
		free_if_done(s, now);
	}
	listener->closed(listener, err);
}

/* ---- the target ---- */

/* Nothing has gone to it, and nothing has come: another one is as good. */
static bool is_untouched(const struct session *s, const struct tn_conn *target)
{
	struct tn_conn_info of_client, of_target;

	tn_conn_info(s->path.client, &of_client);
	tn_conn_info(target, &of_target);
	return !of_client.bytes_in && !of_target.bytes_in;
}

static void note_target(struct session *s, const struct tn_conn *target)
{
	struct record *record = record_of(s);
	struct tn_conn_info info;

	if (!record)
		return;
	tn_conn_info(target, &info);
	if (info.first_ns)
		record->first_ns = info.first_ns - record->started_ns;
	record->lost += info.lost;
	record_program(record, target);
}

/* What a proxy's client has asked for cannot be had. It is told so, and reads an end in good order. */
static void refuse(struct session *s, int err, const char *why)
{
	record_end(record_of(s), SIDE_RELAY, err, why);
	s->over = true;
	if (tn_conn_answer(s->path.client, err, NULL) < 0)
		tn_abort(s->path.client, err);
	else
		tn_close(s->path.client);
}

/* What was looked at first is said to each target that is tried; with faults, to the one that is reached. */
static int say(struct extended *x, struct tn_conn *target, bool reached)
{
	const struct tn_msg msg = {.data = x->said, .len = x->said_len};

	if (reached != (x->faults != NULL))
		return 0;
	if (!x->said_is_tapped) {
		tap_data(x->tap, RECORDING_CLIENT, &msg, NULL);
		tee_put(x->tee, x->session.path.client, true, &msg);
	}
	x->said_is_tapped = true;
	if (!x->faults)
		return tn_send(target, x->said, x->said_len);
	faults_put(x->faults, CHAOS_UP, &msg);
	return 0;
}

/* One that may go is not noted: it may have other listeners of this relay as its target, but not itself. */
static bool comes_back(const struct session *s, const struct tn_conn *target)
{
	struct tn_addr there, here;

	if (!s->extended || !((const struct extended *)s)->listener->left)
		return address_is_ours(target);
	return s->path.client && tn_conn_peer(target, &there) == 0 && tn_conn_local(s->path.client, &here) == 0 &&
	       there.len == here.len && memcmp(there.bytes, here.bytes, here.len) == 0;
}

static void target_open(struct tn_conn *target, void *arg)
{
	struct session *s = arg;

	if (comes_back(s, target)) {
		if (s->at >= 0)
			targets_loops(targets_of(s), s->at);
		tn_abort(target, -ELOOP);
		return;
	}
	s->reached = true;
	waiting.count--;
	if (s->extended && extended_of(s)->said) {
		(void)say(extended_of(s), target, true);
		free(extended_of(s)->said);
		extended_of(s)->said = NULL;
	}
	record_reached(record_of(s), target, tn_loop_now(tn_conn_loop(target)));
	tap_reached(tap_of(s), record_of(s) ? record_of(s)->target : NULL);
	if (s->at >= 0)
		targets_worked(targets_of(s), s->at);
	else if (s->path.client && tn_conn_answer(s->path.client, 0, target) < 0)
		end_by_relay(s, -ENOMEM, tn_errmsg());
	if (s->path.client && !s->over)
		tn_resume(s->path.client);
}

static void close_client(struct tn_conn *client, int err, void *arg)
{
	(void)err, (void)arg;
	tn_close(client);
}

/* A program that has ended reads nothing any more: its client has the end, and is not waited for. */
static void leave_client(const struct session *s, const struct tn_conn *target)
{
	struct tn_conn_info info;

	tn_conn_info(target, &info);
	if (info.child_pid && s->path.client && !s->over &&
	    tn_when_sent(s->path.client, TN_SENT_TAKEN, close_client, NULL) < 0)
		tn_close(s->path.client);
}

static void target_close(struct tn_conn *target, int err, void *arg)
{
	struct session *s = arg;
	uint64_t now = tn_loop_now(tn_conn_loop(target));
	bool again = err && s->path.client && !s->over && (!s->reached || (s->at >= 0 && is_untouched(s, target)));
	char why[512];

	words(s, err, why, sizeof(why));
	waiting.count -= !s->reached;
	s->path.target = NULL;
	note_target(s, target);
	if (again) {
		record_failed(record_of(s), why, now);
		if (s->at < 0) {
			refuse(s, err, why);
			return;
		}
		if (err != -ELOOP && err != -ECANCELED)
			targets_failed(targets_of(s), s->at, err, why);
		dial_next(s, err);
		return;
	}
	if (!s->was_quiet || err != -ECANCELED)
		record_end(record_of(s), err == -ECANCELED ? SIDE_RELAY : SIDE_TARGET, err, why);
	if (!err)
		leave_client(s, target);
	free_if_done(s, now);
}

static struct session *session_of(const void *path)
{
	return (struct session *)((char *)(uintptr_t)path - offsetof(struct session, path));
}

static const struct target *target_of(const struct session *s)
{
	return &targets_of(s)->list[s->at];
}

static void end_passes(struct session *s, bool up, struct tn_conn *to)
{
	tap_ended(tap_of(s), up ? RECORDING_CLIENT : RECORDING_SERVER);
	if (to)
		(void)tn_finish(to); /* refused: its on_close tells why */
	s->waits_reply = up && s->path.target && s->at >= 0 && tn_url_kind(target_of(s)->url) & TN_URL_DATAGRAMS;
	if (s->waits_reply)
		lane_start_ticking(tn_conn_loop(s->path.target));
}

static void on_end(struct tn_conn *from, struct tn_conn *to, void *path)
{
	struct session *s = session_of(path);
	bool up = from == s->path.client;

	record_end(record_of(s), up ? SIDE_CLIENT : SIDE_TARGET, 0, NULL);
	if (up && s->extended)
		tee_end(extended_of(s)->tee);
	if (s->extended && extended_of(s)->faults)
		faults_put_end(extended_of(s)->faults, up ? CHAOS_UP : CHAOS_DOWN);
	else
		end_passes(s, up, to);
}

/* ---- faults (--chaos) ---- */

static struct tn_conn *side(struct session *s, bool client)
{
	return client ? s->path.client : s->path.target;
}

static void fault_pass(void *arg, int direction, const struct tn_msg *msg)
{
	struct session *s = arg;
	struct tn_conn *to = side(s, direction == CHAOS_DOWN);
	int err = to && !s->over ? pass_later(to, msg) : 0;

	if (err < 0 && err != TN_ESTATE)
		end_by_relay(s, err, tn_errmsg());
}

static void fault_end(void *arg, int direction)
{
	struct session *s = arg;

	end_passes(s, direction == CHAOS_UP, side(s, direction == CHAOS_DOWN));
}

static void fault_close(void *arg)
{
	struct session *s = arg;

	if (s->over)
		return;
	s->over = true;
	record_end(record_of(s), SIDE_RELAY, 0, "closed by --chaos");
	if (s->path.client)
		tn_close(s->path.client);
	if (s->path.target) /* both may have ended: then neither closes the other */
		tn_close(s->path.target);
}

static void fault_reset(void *arg)
{
	struct session *s = arg;

	if (!s->over)
		end_by_relay(s, -ECONNRESET, "reset by --chaos");
}

static bool fault_full(void *arg, int direction)
{
	struct session *s = arg;
	const struct tn_conn *to = side(s, direction == CHAOS_DOWN);

	return to && tn_conn_queued(to) > FAULTS_QUEUE;
}

static void fault_hold(void *arg, int direction, bool hold)
{
	struct session *s = arg;
	const struct extended *x = extended_of(s);
	struct tn_conn *from = side(s, direction == CHAOS_UP);

	if (from && hold)
		tn_pause(from);
	else if (from && !(direction == CHAOS_UP ? x->pace.in_waits : x->pace.out_waits))
		tn_resume(from);
}

static const struct faults_hooks fault_hooks = {.pass = fault_pass,
						.end = fault_end,
						.close = fault_close,
						.reset = fault_reset,
						.full = fault_full,
						.hold = fault_hold};

static void on_take(struct path *path, struct tn_conn *from, const struct tn_msg *msg)
{
	faults_put(extended_of(session_of(path))->faults, from == path->client ? CHAOS_UP : CHAOS_DOWN, msg);
}

/* ---- passing ---- */

static void on_passed(struct path *path, struct tn_conn *from, const struct tn_msg *msg)
{
	struct extended *x = extended_of(session_of(path));
	bool in = from == path->client;

	if (pace_wanted())
		pace_passed(&x->pace, from, in, msg->len);
	if (x->tap)
		tap_data(x->tap, in ? RECORDING_CLIENT : RECORDING_SERVER, msg, tn_conn_format(from));
	tee_put(x->tee, from, in, msg);
}

static bool closes_at_bad(const struct path *path, const struct tn_conn *from)
{
	const struct session *s = session_of(path);

	return from == path->client ? s->closes : s->at >= 0 && target_of(s)->closes_at_bad;
}

static const struct path_rules free_rules = {.end = on_end, .closes = closes_at_bad};
static const struct path_rules counted_rules = {.end = on_end, .passed = on_passed, .closes = closes_at_bad};

static const struct path_rules teed_rules = {
	.end = on_end, .passed = on_passed, .passed_by_client = true, .closes = closes_at_bad};

static const struct path_rules faulty_rules = {
	.end = on_end, .passed = on_passed, .take = on_take, .closes = closes_at_bad};

static const struct tn_handler target_handler = {.on_open = target_open, .on_close = target_close, .on_bad = pass_bad};

static int join(struct session *s, struct tn_conn *target)
{
	struct extended *x = extended_of(s);
	int err;

	s->path.target = target;
	s->reached = false;
	waiting.count++;
	look_later(tn_conn_loop(target));
	tn_pause(s->path.client);
	err = pass_join(&s->path);
	if (err >= 0 && x && x->said)
		err = say(x, target, false);
	if (err < 0) {
		s->over = true; /* no other target could do it */
		tn_abort(target, err);
	}
	return err;
}

static int dial(struct session *s)
{
	struct tn_conn *target = NULL;
	int err = tn_dial_for(tn_conn_loop(s->path.client), target_of(s)->url, &target_handler, s, s->path.client, NULL,
			      &target);

	return err < 0 ? err : join(s, target);
}

/* WebSocket has words for it; elsewhere it is a reset. */
static void give_up(struct session *s, int err, const char *why)
{
	err = err ? err : -ECONNREFUSED;
	tn_conn_trouble(s->path.client, err, why);
	record_end(record_of(s), SIDE_RELAY, err, why);
	s->over = true;
	if (tn_close_with(s->path.client, WS_TRY_AGAIN, "no target can be reached") < 0)
		end_by_relay(s, err, why);
}

static uint64_t source_of_client(const struct session *s)
{
	struct tn_addr peer;

	return tn_conn_peer(s->path.client, &peer) == 0 ? source_of(&peer) : 0;
}

/* `err`: why the target before could not be reached, with its words in tn_errmsg(). */
static void dial_next(struct session *s, int err)
{
	uint64_t now = tn_loop_now(tn_conn_loop(s->path.client));
	struct targets *targets = targets_of(s);
	char why[512] = "";
	int at;

	if (err)
		words(s, err, why, sizeof(why));
	leave_target(s);
	while (targets && (at = targets_choose(targets, s->tried, source_of_client(s))) >= 0) {
		s->at = at;
		s->tried |= UINT64_C(1) << at;
		record_trying(record_of(s), targets->list[at].given, now);
		err = dial(s);
		if (err >= 0)
			return;
		record_failed(record_of(s), words(s, err, why, sizeof(why)), now);
		if (s->over)
			break;
		leave_target(s);
	}
	give_up(s, err, *why ? why : "no target is left to try");
}

static void go(struct session *s, struct targets *targets)
{
	s->peeking = false;
	s->group = targets ? (unsigned)targets->number : 0;
	dial_next(s, 0);
}

/* ---- a proxy ---- */

static void begin_tee(struct session *s, enum tee_carries carries)
{
	struct extended *x = extended_of(s);

	x->tee = tee_begin(tn_conn_loop(s->path.client), carries);
	if (x->tee && s->path.rules == &free_rules) /* the others tell the tee as well */
		s->path.rules = tee_replies ? &counted_rules : &teed_rules;
}

/* Where its client wants to go: the library knows whether it may. */
static void go_where_asked(struct session *s)
{
	struct tn_conn *client = s->path.client, *target = NULL;
	struct tn_asked asked;
	int err = tn_conn_asked(client, &asked);

	if (err < 0) {
		end_by_relay(s, err, tn_errmsg());
		return;
	}
	record_asked(record_of(s), &asked);
	if (asked.what == TN_ASKED_UDP) {
		err = association_begin(client, &asked, pace_wanted() ? &extended_of(s)->pace : NULL, record_of(s),
					&extended_of(s)->association);
		s->reached = err == 0;
		if (err == 0)
			lane_start_ticking(tn_conn_loop(client));
		else
			refuse(s, err, tn_errmsg());
		return;
	}
	begin_tee(s, TEE_BYTES);
	record_trying(record_of(s), record_of(s) ? record_of(s)->asked : NULL, tn_loop_now(tn_conn_loop(client)));
	err = tn_dial_asked(client, asked.what, asked.host, asked.port, plan.asked_keys, &target_handler, s, &target);
	if (err < 0) {
		record_failed(record_of(s), tn_errmsg(), tn_loop_now(tn_conn_loop(client)));
		refuse(s, err, tn_errmsg());
	} else if (join(s, target) < 0) {
		end_by_relay(s, -ENOMEM, tn_errmsg());
	}
}

/* ---- first bytes ---- */

/* Who says nothing, or too little, may speak a protocol in which the server begins. */
static void go_without_rule(struct session *s)
{
	go(s, NULL);
}

static int keep(struct extended *x, const struct tn_msg *msg)
{
	unsigned char *grown = realloc(x->said, x->said_len + msg->len);

	if (!grown)
		return -ENOMEM;
	x->said = grown;
	memcpy(x->said + x->said_len, msg->data, msg->len);
	x->said_len += msg->len;
	return 0;
}

static void client_msg(struct tn_conn *client, const struct tn_msg *msg, void *arg)
{
	struct session *s = tn_conn_data(client);
	struct extended *x = s ? extended_of(s) : NULL;
	struct first first;

	(void)arg;
	if (!x || !s->peeking)
		return;
	if (keep(x, msg) < 0) {
		end_by_relay(s, -ENOMEM, tn_strerror(-ENOMEM));
		return;
	}
	if (x->said_len < x->need)
		return;
	if (first_look(x->said, x->said_len, &first))
		go(s, route_find(&first));
	else if (x->said_len >= FIRST_MAX)
		go_without_rule(s);
	else
		x->need = first.need;
}

static void client_end(struct tn_conn *client, void *arg)
{
	struct session *s = tn_conn_data(client);

	(void)arg;
	if (s && s->extended && extended_of(s)->association) { /* its datagrams end with it */
		record_end(record_of(s), SIDE_CLIENT, 0, NULL);
		tn_close(client);
	}
	if (!s || !s->peeking)
		return;
	if (extended_of(s)->said_len)
		go_without_rule(s);
	else
		tn_close(client);
}

/* TLS that ends here has told the same. */
static struct targets *targets_by_tls(const struct tn_conn *client)
{
	struct first first = {.protocol = FIRST_TLS};
	struct tn_security security;
	size_t len;

	if (!route_any() || tn_conn_security(client, &security) != 0)
		return NULL;
	len = strlen(security.alpn);
	snprintf(first.server_name, sizeof(first.server_name), "%s", security.server_name);
	if (len) {
		first.alpn[0] = (unsigned char)len;
		memcpy(first.alpn + 1, security.alpn, len);
		first.alpn_len = len + 1;
	}
	return route_find(&first);
}

/* ---- time ---- */

static bool is_timed(const struct listener *listener)
{
	return listener->peeks || plan.longest_ns || plan.first_byte_ns || pace_wanted() ||
	       (listener->faults && listener->faults->scripted);
}

static bool has_said_something(const struct session *s)
{
	struct tn_conn_info info;

	tn_conn_info(s->path.client, &info);
	return info.bytes_in > 0;
}

/* When the relay ends, or its target cannot tell that it has ended. */
static void close_if_quiet(struct session *s, unsigned patience)
{
	const struct extended *x = extended_of(s);
	struct tn_conn_info info;
	uint32_t moved;

	tn_conn_info(s->path.client, &info);
	moved = (uint32_t)(info.bytes_in + info.bytes_out);
	if (x && x->association)
		moved += (uint32_t)association_moved(x->association);
	if (moved != s->moved || tn_conn_queued(s->path.client) ||
	    (x && (x->pace.in_waits || x->pace.out_waits || faults_wait(x->faults))) ||
	    (s->path.target && tn_conn_queued(s->path.target)))
		s->quiet = 0;
	else
		s->quiet++;
	s->moved = moved;
	if (s->quiet < patience)
		return;
	s->over = s->was_quiet = true;
	record_end(record_of(s), SIDE_RELAY, 0, NULL);
	tn_close(s->path.client);
}

/* Whether it has not been ended by its limits. */
static bool check_limits(struct extended *x, uint64_t now)
{
	struct session *s = &x->session;
	uint64_t age = now - x->began_ns;

	if (x->association)
		association_tick(x->association, now);
	else
		pace_tick(&x->pace, faults_hold(x->faults, CHAOS_UP) ? NULL : s->path.client,
			  faults_hold(x->faults, CHAOS_DOWN) ? NULL : s->path.target, now);
	if (x->faults && x->listener->faults->scripted)
		faults_look(x->faults);
	if (s->over)
		return false;
	if (plan.longest_ns && age >= plan.longest_ns)
		end_by_relay(s, -ETIMEDOUT, "it has lasted as long as a session may (--longest)");
	else if (s->peeking && age >= (plan.first_byte_ns ? plan.first_byte_ns : PEEK_NS))
		go_without_rule(s);
	else if (plan.first_byte_ns && age >= plan.first_byte_ns && s->reached && !x->association &&
		 !has_said_something(s))
		end_by_relay(s, -ETIMEDOUT, "the client has not said anything in time (--first-byte)");
	else
		return true;
	return false;
}

static void on_tick(struct member *member, uint64_t now, bool draining)
{
	struct session *s = (struct session *)member;

	if (!s->path.client || s->over || (s->extended && !check_limits(extended_of(s), now)))
		return;
	if (s->reached && (draining || s->waits_reply))
		close_if_quiet(s, draining ? QUIET_TICKS : REPLY_TICKS);
}

/* ---- the client ---- */

static void begin_extended(struct session *s, struct listener *listener)
{
	struct extended *x = extended_of(s);

	x->began_ns = tn_loop_now(tn_conn_loop(s->path.client));
	x->listener = listener;
	if (listener->left)
		listener->sessions++;
	if (pace_wanted())
		pace_begin(&x->pace, source_of_client(s));
	x->record = record_new(s->path.client, listener->url, NULL);
	x->tap = record_begin_tap(x->record, listener->packets, listener->messages, s->path.client, NULL);
	if (pace_wanted() || x->tap)
		s->path.rules = &counted_rules;
	if (!listener->asks)
		begin_tee(s, listener->messages ? TEE_MESSAGES : TEE_BYTES);
	if (listener->faults)
		s->path.rules = &faulty_rules;
	s->peeking = listener->peeks;
}

static struct session *session_new(struct tn_conn *client, struct listener *listener)
{
	bool extended = plan.told || listener->asks || listener->faults || tee_wanted() || is_timed(listener);
	struct session *s = calloc(1, extended ? sizeof(struct extended) : sizeof(*s));

	if (!s)
		return NULL;
	s->path = (struct path){.client = client, .rules = &free_rules};
	s->at = -1;
	s->group = NO_GROUP;
	s->closes = listener->closes_at_bad;
	s->extended = extended;
	if (extended)
		begin_extended(s, listener);
	return s;
}

/* Whether the session goes on. */
static bool begin_faults(struct session *s, const struct listener *listener)
{
	struct extended *x = extended_of(s);

	x->faults = faults_begin(listener->faults, tn_conn_loop(s->path.client), listener->carries, &fault_hooks, s);
	if (!x->faults)
		end_by_relay(s, -ENOMEM, tn_strerror(-ENOMEM));
	else if (faults_refuse(x->faults))
		end_by_relay(s, -ECONNREFUSED, "refused by --chaos");
	return !s->over;
}

static void client_open(struct tn_conn *client, void *arg)
{
	struct listener *listener = arg;
	struct session *s = session_new(client, listener);

	if (!s) {
		tn_abort(client, -ENOMEM);
		return;
	}
	tn_conn_set_data(client, s);
	lane_join(tn_conn_loop(client), &s->member, on_tick);
	if (is_timed(listener))
		lane_start_ticking(tn_conn_loop(client));
	if (listener->faults && !begin_faults(s, listener))
		return;
	if (listener->asks)
		go_where_asked(s);
	else if (!s->peeking)
		go(s, targets_by_tls(client));
}

/* ---- a listener that changes ---- */

static bool is_of(struct session *s, const struct listener *listener)
{
	return s->extended && extended_of(s)->listener == listener;
}

static void look_of(struct member *member, void *arg)
{
	struct session *s = (struct session *)member;

	if (is_of(s, arg) && extended_of(s)->faults)
		faults_look(extended_of(s)->faults);
}

void sessions_look(struct listener *listener)
{
	lane_each(look_of, listener);
}

struct ending {
	const struct listener *listener;
	const char *why;
};

static void end_of(struct member *member, void *arg)
{
	struct session *s = (struct session *)member;
	const struct ending *ending = arg;

	if (!is_of(s, ending->listener) || s->over)
		return;
	s->over = true;
	record_end(record_of(s), SIDE_RELAY, 0, ending->why);
	if (s->path.target && !s->reached)
		tn_abort(s->path.target, -ECANCELED);
	if (s->path.client)
		tn_close(s->path.client);
	else if (s->path.target)
		tn_close(s->path.target);
}

void sessions_end(struct listener *listener, const char *why)
{
	struct ending ending = {listener, why};

	lane_each(end_of, &ending);
}

const struct tn_handler session_handler = {.on_open = client_open,
					   .on_msg = client_msg,
					   .on_end = client_end,
					   .on_close = client_close,
					   .on_bad = pass_bad};
