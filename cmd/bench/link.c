/*
 * One connection of the load: it sends what is due, matches replies, and dials again when its peer has closed. On
 * streams, and where messages stay whole, replies come in the order of the messages. If the endpoint does not keep
 * messages apart, a reply is over when as many bytes as were sent have come back; with --expect any, when anything has
 * come; with --expect REGEX, when it matches. Datagrams carry a number that says which message a reply answers, if they
 * are long enough.
 */
#include "link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/privileges.h"
#include "common/text.h"
#include "oneway.h"
#include "payload.h"
#include "plan.h"
#include "tenon.h"
#include "worker.h"

#define FLIGHTS_MIN 16
#define FLIGHTS_MIN_LOSSY 256 /* what has been given up is remembered for a while: it may still come */
#define FLIGHTS_MAX 65536
#define BACKOFF_MIN_MS 10
#define BACKOFF_MAX_MS 1000
#define GATHERED_MAX 4096
#define SMALL_FLIGHT (32U << 10) /* bytes under way that never fill a queue: see link_go_on() */
#define REPLY_MAX (1U << 20)     /* of --expect REGEX on a stream */

static struct flight_slot *flight_of(const struct link *link, uint64_t number)
{
	return &link->flights[number & (link->nflights - 1)];
}

static struct message_id id_of(const struct link *link, uint64_t number)
{
	return (struct message_id){.seed = link->worker->plan->seed, .conn = link->index, .number = number};
}

static bool is_datagrams(const struct link *link)
{
	return link->worker->plan->may_lose;
}

/* ---- flights ---- */

static bool flights_grow(struct link *link)
{
	uint32_t n = link->nflights ? link->nflights * 2 : is_datagrams(link) ? FLIGHTS_MIN_LOSSY : FLIGHTS_MIN;
	struct flight_slot *grown;

	if (n > FLIGHTS_MAX)
		return false;
	grown = calloc(n, sizeof(*grown));
	if (!grown) {
		worker_fail(link->worker, -ENOMEM, "out of memory");
		return false;
	}
	for (uint64_t i = link->oldest; i < link->next; i++)
		grown[i & (n - 1)] = *flight_of(link, i);
	free(link->flights);
	link->flights = grown;
	link->nflights = n;
	return true;
}

/* Makes room to note `n` more messages under way. Returns for how many of them there is. */
static uint64_t flights_room(struct link *link, uint64_t n)
{
	uint64_t used = link->next - link->oldest;

	while (link->nflights - used < n && flights_grow(link))
		;
	return link->nflights - used < n ? link->nflights - used : n;
}

static void flight_over(struct link *link, struct flight_slot *flight, enum flight state)
{
	flight->state = state;
	link->waited--;
	link->worker->waited--;
	while (link->oldest < link->next && flight_of(link, link->oldest)->state != FLIGHT_WAITED)
		link->oldest++;
}

static bool at_rate(const struct link *link)
{
	return link->worker->plan->rate > 0;
}

static uint64_t due_of(const struct link *link, uint64_t number, uint64_t sent_ns)
{
	return at_rate(link) ? worker_due_ns(link->worker, link, number) : sent_ns;
}

/* ---- sending ---- */

static bool may_send(const struct link *link)
{
	const struct worker *w = link->worker;
	unsigned depth = w->plan->depth;

	if (!link->open || link->full || link->thinks || w->phase != PHASE_RUN || !w->budget ||
	    w->plan->mode == MODE_RECV)
		return false;
	return w->plan->mode != MODE_ECHO || !depth || link->waited < depth;
}

/* False: the connection takes no more for now, or is over. */
static bool handed_over(struct link *link, const void *data, size_t len)
{
	int rc = tn_send(link->conn, data, len);

	link->full = rc == 1 || rc == TN_EFULL;
	if (rc < 0 && rc != TN_EFULL && rc != TN_ESTATE) /* otherwise on_close is under way and tells why */
		worker_fail(link->worker, rc, tn_errmsg());
	return rc >= 0;
}

static void note_sent(struct link *link, uint64_t now_ns, uint64_t n)
{
	link->waited += n;
	link->worker->waited += n;
	for (; n; n--)
		*flight_of(link, link->next++) = (struct flight_slot){.sent_ns = now_ns, .state = FLIGHT_WAITED};
}

/* Returns whether it is on its way. */
static bool send_one(struct link *link, uint64_t now_ns)
{
	struct worker *w = link->worker;
	struct message_id id = id_of(link, link->next);
	size_t size = payload_size(w->plan, &id);
	bool answered = w->plan->mode == MODE_ECHO;
	uint64_t due_ns;

	if (answered && !flights_room(link, 1))
		return false;
	due_ns = due_of(link, link->next, now_ns);
	if (w->plan->mode == MODE_ONEWAY)
		oneway_head(link, w->data, size, worker_counts(w, due_ns));
	else
		payload_number(w->plan, w->data, &id);
	if (!handed_over(link, w->data, size))
		return false;
	if (w->plan->mode == MODE_ONEWAY && worker_counts(w, due_ns))
		oneway_sent(link);
	if (answered)
		note_sent(link, now_ns, 1);
	else
		link->next++;
	worker_sent(link, due_ns, now_ns, 1, size);
	return true;
}

/* Where nothing marks their bounds, short messages that may go now are handed over as one piece. */
static bool may_gather(const struct link *link)
{
	const struct plan *plan = link->worker->plan;

	return plan->mode == MODE_ECHO && plan->depth > 1 && !plan->keeps && !is_datagrams(link) && !at_rate(link) &&
	       plan->payload.size_max <= GATHERED_MAX / 2;
}

/* Returns whether they are on their way. */
static bool send_gathered(struct link *link, uint64_t now_ns)
{
	struct worker *w = link->worker;
	struct message_id first = id_of(link, link->next);
	uint64_t n = w->plan->depth - link->waited;
	char data[GATHERED_MAX];
	size_t len;

	n = flights_room(link, n < w->budget ? n : w->budget);
	len = payload_write(w->plan, w->data, &first, &n, data, sizeof(data));
	if (!n || !handed_over(link, data, len))
		return false;
	note_sent(link, now_ns, n);
	worker_sent(link, now_ns, now_ns, n, len);
	return true;
}

static void dial_again(struct link *link, uint64_t now_ns);

/* Whether the schedule has come to the link's next message, and does not end before it. */
static bool is_due(const struct link *link, uint64_t now_ns)
{
	uint64_t due_ns = worker_due_ns(link->worker, link, link->next);

	return due_ns <= now_ns && due_ns < link->worker->end_ns;
}

/* Sends all that is due and may go. */
void link_pump(struct link *link, uint64_t now_ns)
{
	if (link->worker->plan->mode == MODE_CONNECT) {
		if (!link->conn && !link->redial)
			dial_again(link, now_ns);
		return;
	}
	while (may_send(link)) {
		if (at_rate(link)) {
			now_ns = clock_ns();
			if (!is_due(link, now_ns))
				return;
		}
		if (!(may_gather(link) ? send_gathered(link, now_ns) : send_one(link, now_ns)))
			return;
	}
}

/*
 * A reply has made room. What is sent from within on_msg counts as the connection's own answer, and a connection that
 * answers more than its queue holds stops reading, as a server should. A load that stops reading its echo would wait
 * for ever. So messages are sent from here only if the queue can never fill; otherwise from outside, when the turn is
 * over.
 */
static bool is_small_flight(const struct plan *plan)
{
	return plan->depth && plan->depth * plan->payload.size_max <= SMALL_FLIGHT;
}

static void go_on(struct link *link, uint64_t now_ns)
{
	if (is_small_flight(link->worker->plan))
		link_pump(link, now_ns);
	else
		worker_todo(link);
}

/* ---- replies ---- */

static void has_thought(void *arg)
{
	struct link *link = arg;

	link->thinks = false;
	worker_todo(link);
}

/* The next message waits, as a person would: --think. */
static void think(struct link *link, uint64_t number)
{
	struct message_id id = id_of(link, number);
	uint64_t ns = payload_think_ns(link->worker->plan, &id);

	if (!ns)
		return;
	if (link->think)
		tn_timer_again(link->think, ns, 0);
	else if (tn_timer_repeat(link->worker->loop, ns, 0, has_thought, link, &link->think) < 0)
		worker_fail(link->worker, -ENOMEM, tn_errmsg());
	link->thinks = true;
}

static void answered(struct link *link, uint64_t number, uint64_t now_ns)
{
	struct flight_slot *flight = flight_of(link, number);
	struct message_id id = id_of(link, number);

	flight_over(link, flight, FLIGHT_ANSWERED);
	worker_answered(link, due_of(link, number, flight->sent_ns), flight->sent_ns, now_ns, 1,
			payload_size(link->worker->plan, &id));
	think(link, number);
}

static void unexpected(struct link *link)
{
	worker_error_of(link, "more came back than was sent");
}

static void wrong(struct link *link)
{
	worker_error_of(link, link->worker->plan->expect == EXPECT_REGEX ? "a reply does not match what was expected"
									 : "a reply is not what was sent");
}

/* regexec(3) wants a zero byte behind its text, even where it is told the length. */
static bool matches_regex(struct worker *w, const char *data, size_t len)
{
	regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)len};

	w->scratch.len = 0;
	text_bytes(&w->scratch, data, len);
	text_bytes(&w->scratch, "", 1);
	return !w->scratch.failed && regexec(&w->plan->regex, w->scratch.data, 1, &range, REG_STARTEND) == 0;
}

static bool is_expected(const struct link *link, uint64_t number, const struct tn_msg *msg)
{
	const struct plan *plan = link->worker->plan;
	struct message_id id = id_of(link, number);

	if (plan->expect == EXPECT_REGEX)
		return matches_regex(link->worker, msg->data, msg->len);
	if (plan->expect != EXPECT_ECHO)
		return true;
	return msg->len == payload_size(plan, &id) && payload_matches(plan, &id, 0, msg->data, msg->len);
}

static void take_message(struct link *link, const struct tn_msg *msg, uint64_t now_ns)
{
	uint64_t number = link->oldest;

	if (number == link->next) {
		unexpected(link);
		return;
	}
	if (!is_expected(link, number, msg))
		wrong(link);
	answered(link, number, now_ns);
}

/* On a stream the oldest messages are those with replies. Their sizes are alike. Those that left together have one
 * latency. */
static void answered_oldest(struct link *link, uint64_t n, size_t size, uint64_t now_ns)
{
	uint64_t end = link->oldest + n, run;

	link->waited -= n;
	link->worker->waited -= n;
	while (link->oldest < end) {
		uint64_t sent_ns = flight_of(link, link->oldest)->sent_ns;

		for (run = 1; link->oldest + run < end; run++)
			if (flight_of(link, link->oldest + run)->sent_ns != sent_ns)
				break;
		worker_answered(link, sent_ns, sent_ns, now_ns, run, run * size);
		link->oldest += run;
	}
}

/* How many whole replies stand here that can be taken together. */
static uint64_t whole_replies(const struct link *link, size_t len)
{
	const struct plan *plan = link->worker->plan;
	uint64_t n;

	if (link->got || plan->payload.size_min != plan->payload.size_max || at_rate(link) || plan->think_max_ns)
		return 0;
	n = len / plan->payload.size_max;
	return n < link->waited ? n : link->waited;
}

/* Returns their bytes. Where it costs no system call, the next messages go before the replies are looked at: the server
 * works meanwhile. */
static size_t take_whole(struct link *link, const char *data, uint64_t n, uint64_t now_ns)
{
	const struct plan *plan = link->worker->plan;
	struct message_id first = id_of(link, link->oldest);

	answered_oldest(link, n, plan->payload.size_max, now_ns);
	if (plan->memory && is_small_flight(plan)) {
		link_pump(link, now_ns);
		(void)tn_flush(link->conn);
	}
	for (uint64_t i = payload_wrong(plan, link->worker->data, &first, n, data); i; i--)
		wrong(link);
	return n * plan->payload.size_max;
}

/* An echo without bounds: bytes of one message after another. */
static void take_bytes(struct link *link, const char *data, size_t len, uint64_t now_ns)
{
	const struct plan *plan = link->worker->plan;

	while (len) {
		struct message_id id = id_of(link, link->oldest);
		size_t size = payload_size(plan, &id), part = size - link->got;
		uint64_t whole = whole_replies(link, len);

		if (whole) {
			part = take_whole(link, data, whole, now_ns);
			data += part;
			len -= part;
			continue;
		}
		if (link->oldest == link->next) {
			unexpected(link);
			return;
		}
		part = part < len ? part : len;
		if (!payload_matches(plan, &id, link->got, data, part))
			wrong(link);
		link->got += part;
		data += part;
		len -= part;
		if (link->got < size)
			return;
		link->got = 0;
		answered(link, link->oldest, now_ns);
	}
}

/* A reply without bounds that is known by what it says. */
static void take_text(struct link *link, const struct tn_msg *msg, uint64_t now_ns)
{
	if (!link->reply)
		link->reply = calloc(1, sizeof(*link->reply));
	if (!link->reply)
		return;
	text_bytes(link->reply, msg->data, msg->len);
	if (matches_regex(link->worker, link->reply->data, link->reply->len)) {
		link->reply->len = 0;
		if (link->oldest == link->next)
			unexpected(link);
		else
			answered(link, link->oldest, now_ns);
	} else if (link->reply->len > REPLY_MAX) {
		link->reply->len = 0;
		wrong(link);
		tn_abort(link->conn, TN_ETOOBIG);
	}
}

/* ---- datagrams ---- */

static void count_order(struct link *link, uint64_t number, bool counts)
{
	if (number + 1 >= link->highest)
		link->highest = number + 1;
	else
		link->worker->counts.reordered += counts;
}

static void take_numbered(struct link *link, uint64_t number, const struct tn_msg *msg, uint64_t now_ns)
{
	struct worker *w = link->worker;
	struct flight_slot *flight;
	bool known, counts;

	if (number >= link->next) {
		unexpected(link);
		return;
	}
	flight = flight_of(link, number);
	known = link->next - number <= link->nflights;
	counts = !known || worker_counts(w, due_of(link, number, flight->sent_ns));
	if (!known || flight->state == FLIGHT_ANSWERED) {
		w->counts.duplicates += counts;
		return;
	}
	if (!is_expected(link, number, msg))
		wrong(link);
	count_order(link, number, counts);
	if (flight->state == FLIGHT_LOST) { /* it comes after all */
		w->counts.late += counts;
		w->counts.lost -= counts;
		link->waited++;
		w->waited++;
	}
	answered(link, number, now_ns);
}

static void take_datagram(struct link *link, const struct tn_msg *msg, uint64_t now_ns)
{
	const struct plan *plan = link->worker->plan;
	struct message_id id = id_of(link, link->oldest);
	uint64_t number;

	if (!plan->payload.numbered)
		take_message(link, msg, now_ns);
	else if (payload_find(plan, msg->data, msg->len, &id, &number))
		take_numbered(link, number, msg, now_ns);
	else if (plan->expect == EXPECT_ECHO)
		wrong(link);
	else
		take_message(link, msg, now_ns); /* a server that says something of its own */
}

void link_sweep(struct link *link, uint64_t now_ns)
{
	struct worker *w = link->worker;

	while (link->oldest < link->next) {
		struct flight_slot *flight = flight_of(link, link->oldest);

		/* It may have been sent in this very turn, after the turn's clock was read */
		if (now_ns < flight->sent_ns + w->plan->timeout_ns)
			return;
		w->counts.lost += worker_counts(w, due_of(link, link->oldest, flight->sent_ns));
		flight_over(link, flight, FLIGHT_LOST);
		worker_todo(link);
	}
}

void link_settle(struct link *link)
{
	struct worker *w = link->worker;
	uint64_t n = 0;

	for (uint64_t i = link->oldest; i < link->next && link->nflights; i++) {
		const struct flight_slot *flight = flight_of(link, i);

		n += flight->state == FLIGHT_WAITED && worker_counts(w, due_of(link, i, flight->sent_ns));
	}
	w->waited -= link->waited;
	link->waited = 0;
	link->oldest = link->next;
	link->got = 0;
	if (is_datagrams(link))
		w->counts.lost += n;
	else
		w->counts.unanswered += n;
}

/* ---- the connection ---- */

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct link *link = arg;
	struct worker *w = link->worker;
	uint64_t now_ns = clock_ns();

	(void)conn;
	w->events++;
	w->moved_ns = now_ns;
	if (w->plan->mode == MODE_ONEWAY) {
		oneway_take(link, msg);
		return;
	}
	if (worker_counts(w, now_ns)) {
		w->counts.received++;
		w->counts.received_bytes += msg->len;
	}
	if (w->plan->mode == MODE_RECV)
		worker_answered(link, now_ns, now_ns, now_ns, 1, msg->len);
	if (w->plan->mode != MODE_ECHO)
		return;
	if (is_datagrams(link))
		take_datagram(link, msg, now_ns);
	else if (w->plan->keeps || w->plan->expect == EXPECT_ANY)
		take_message(link, msg, now_ns);
	else if (w->plan->expect == EXPECT_REGEX)
		take_text(link, msg, now_ns);
	else
		take_bytes(link, msg->data, msg->len, now_ns);
	go_on(link, now_ns);
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	struct link *link = arg;

	(void)conn;
	link->full = false;
	link->worker->events++;
	link->worker->moved_ns = clock_ns();
	worker_todo(link);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct link *link = arg;
	struct worker *w = link->worker;
	uint64_t now_ns = clock_ns();
	struct tn_conn_info info;

	w->events++;
	link->backoff_ms = 0;
	if (!w->has_path)
		path_look(conn, &w->path);
	w->has_path = true;
	if (w->plan->mode == MODE_CONNECT) {
		tn_conn_info(conn, &info);
		now_ns -= info.lookup_ns; /* the name server is not what is measured */
		w->waited--;
		worker_answered(link, link->due_ns, link->dialled_ns, now_ns, 1, 0);
		tn_abort(link->conn, 0); /* a reset leaves no port behind in TIME_WAIT: there are only 28,000 */
		return;
	}
	if (w->plan->mode == MODE_ONEWAY) {
		oneway_begin(link);
		return;
	}
	link->open = true;
	worker_opened(link);
	worker_todo(link);
}

static void redial(void *arg)
{
	struct link *link = arg;

	link->redial = NULL;
	worker_todo(link);
	if (link->worker->plan->mode != MODE_CONNECT && link_open(link) < 0)
		worker_fail(link->worker, -ENOMEM, tn_errmsg());
}

static void dial_later(struct link *link)
{
	link->backoff_ms = link->backoff_ms ? link->backoff_ms * 2 : BACKOFF_MIN_MS;
	if (link->backoff_ms > BACKOFF_MAX_MS)
		link->backoff_ms = BACKOFF_MAX_MS;
	if (tn_timer_start(link->worker->loop, link->backoff_ms, redial, link, &link->redial) < 0)
		worker_fail(link->worker, -ENOMEM, tn_errmsg());
}

/* A failure is told by its own words, without the name of the connection in front. */
static void note_failure(struct link *link, int err)
{
	char text[120];

	if (err == 0)
		snprintf(text, sizeof(text), "the peer ended the connection");
	else
		snprintf(text, sizeof(text), "%s%s", link->open ? "" : "connect: ", tn_strerror(err));
	worker_error_of(link, text);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct link *link = arg;
	struct worker *w = link->worker;
	bool connecting = w->plan->mode == MODE_CONNECT, was_open = link->open;

	(void)conn;
	w->events++;
	w->closing--;
	link->conn = NULL;
	oneway_end(link, err);
	if (was_open)
		w->nopen--;
	if (w->phase == PHASE_OVER) {
		link->open = false;
		return;
	}
	/* No reply has ever come: this is a run that failed, not a run with errors. */
	if (err < 0 && (w->phase <= PHASE_READY || (!w->answered && (w->plan->mode == MODE_ECHO || connecting)))) {
		worker_fail(w, err, tn_errmsg());
		return;
	}
	if (!connecting || (err < 0 && w->phase == PHASE_RUN))
		note_failure(link, err);
	if (connecting && err < 0)
		w->waited--;
	link->open = link->full = false;
	link_settle(link);
	if (link->reply)
		link->reply->len = 0;
	if (connecting && err == 0)
		worker_todo(link);
	else if (w->phase <= PHASE_RUN)
		dial_later(link);
}

int link_open(struct link *link)
{
	static const struct tn_handler handler = {
		.on_open = on_open, .on_msg = on_msg, .on_drain = on_drain, .on_close = on_close};
	int rc =
		tn_dial(link->worker->loop, link->worker->plan->targets[link->target].url, &handler, link, &link->conn);

	if (rc < 0) {
		link->conn = NULL;
		return rc;
	}
	if (!link->gone_once)
		privileges_hold_keys_of(link->conn);
	link->worker->closing++;
	if (link->gone_once)
		link->worker->counts.reconnects++;
	link->gone_once = true;
	return 0;
}

/* Mode connect: one dial is one message. */
static void dial_again(struct link *link, uint64_t now_ns)
{
	struct worker *w = link->worker;

	if (w->phase != PHASE_RUN || !w->budget)
		return;
	if (at_rate(link) && !is_due(link, now_ns))
		return;
	link->due_ns = due_of(link, link->next, now_ns);
	link->dialled_ns = now_ns;
	link->gone_once = false;
	if (link_open(link) < 0) {
		worker_error_of(link, tn_errmsg());
		dial_later(link);
		return;
	}
	worker_sent(link, link->due_ns, now_ns, 1, 0);
	link->next++;
	w->waited++;
}

void link_close(struct link *link)
{
	tn_timer_stop(link->redial);
	tn_timer_stop(link->think);
	link->redial = link->think = NULL;
	if (link->conn)
		tn_close(link->conn);
}

void link_free(struct link *link)
{
	free(link->flights);
	oneway_free(link);
	if (link->reply) {
		text_free(link->reply);
		free(link->reply);
	}
}
