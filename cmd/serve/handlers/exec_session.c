/*
 * exec:COMMAND on datagrams, with key session: a child for each sender. Its input is what that one sends, and what it
 * writes at one time is a datagram for it. After a time without any, the child reads the end of its input, and has the
 * time of --grace to say its last words.
 */
#include <stdbool.h>
#include <stdlib.h>

#include "answer.h"
#include "child.h"
#include "exec.h"
#include "handler.h"
#include "handlers.h"

#define GRACE_MS 1000        /* for a child that has ended its output to end itself */
#define REPLY_DTLS_MAX 16384 /* as far as a datagram goes */
#define REPLY_MAX 65507
#define REFUSED_NS 100000000 /* how long no child is started after one could not be: each time is reported */

/* One datagram endpoint on one loop, from its opening to its end. */
struct gate {
	struct tn_conn *conn;
	const struct handler_session *how;
	struct session *sessions; /* lately used first */
	size_t reply_max;
	uint64_t refused_ns; /* loop clock: no child could be started */
	bool ended;          /* its peer says no more (DTLS), but the replies are still wanted */
};

struct session {
	struct session *next, **link;
	struct gate *gate; /* NULL: it is over, and only waits for its connections to close */
	struct tn_conn *input, *output;
	struct child *child;
	struct tn_timer *timer;
	uint64_t used_ns;
	struct tn_addr peer;
	unsigned hops;
	bool known; /* there is a peer: not on DTLS, where the connection has one */
	bool ended; /* its input has: what comes next begins another one */
	bool owes;  /* an answer to what has come: while it does, its endpoint is held */
};

static void put_first(struct session *s, struct gate *gate)
{
	s->next = gate->sessions;
	s->link = &gate->sessions;
	if (s->next)
		s->next->link = &s->next;
	gate->sessions = s;
}

static void take_out(const struct session *s)
{
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
}

static bool is_of(const struct session *s, const struct tn_addr *peer)
{
	return peer && s->known ? handler_is_same_sender(&s->peer, peer) : !peer && !s->known;
}

static struct session *find(const struct gate *gate, const struct tn_addr *peer)
{
	for (struct session *s = gate->sessions; s; s = s->next)
		if (!s->ended && is_of(s, peer))
			return s;
	return NULL;
}

static void free_if_done(struct session *s)
{
	if (!s->gate && !s->input && !s->output)
		free(s);
}

static void owe(struct session *s, bool owes)
{
	if (s->owes == owes)
		return;
	s->owes = owes;
	(owes ? tn_conn_hold : tn_conn_release)(s->gate->conn);
}

/* Nobody hears its child any more. */
static void over(struct session *s, uint64_t grace_ms)
{
	struct gate *gate = s->gate;

	if (!gate)
		return;
	take_out(s);
	owe(s, false);
	s->gate = NULL;
	if (gate->ended && !gate->sessions)
		tn_close(gate->conn);
	tn_timer_stop(s->timer);
	child_end(s->child, grace_ms);
	if (s->input)
		tn_abort(s->input, 0);
	if (s->output)
		tn_abort(s->output, 0);
	free_if_done(s);
}

/* ---- time ---- */

static void on_timer(void *arg);

/* False: it is over, as there is no memory. */
static bool wait_for(struct session *s, uint64_t ms)
{
	if (tn_timer_start(tn_conn_loop(s->gate->conn), ms + 1, on_timer, s, &s->timer) == 0)
		return true;
	s->timer = NULL;
	over(s, 0);
	return false;
}

static void end_input(struct session *s)
{
	s->ended = true;
	owe(s, true); /* its last words */
	tn_timer_stop(s->timer);
	s->timer = NULL;
	if (s->input)
		(void)tn_finish(s->input);
	wait_for(s, exec_grace_ms());
}

/* A timer that stands is left where it is: when it is due, it looks how late it has become. */
static void on_timer(void *arg)
{
	struct session *s = arg;
	uint64_t now = tn_loop_now(tn_conn_loop(s->gate->conn)), idle_ms = (now - s->used_ns) / 1000000;

	s->timer = NULL;
	if (s->ended)
		over(s, 0);
	else if (idle_ms >= s->gate->how->idle_ms)
		end_input(s);
	else
		wait_for(s, s->gate->how->idle_ms - idle_ms);
}

static void used(struct session *s)
{
	s->used_ns = tn_loop_now(tn_conn_loop(s->gate->conn));
}

/* ---- the child ---- */

static void on_input_close(struct tn_conn *conn, int err, void *arg)
{
	struct session *s = arg;

	(void)conn, (void)err; /* it may go on to write */
	s->input = NULL;
	free_if_done(s);
}

static void on_output_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct session *s = arg;
	struct tn_msg question = {.peer = s->known ? &s->peer : NULL, .hops = s->hops};
	const char *at = msg->data;

	(void)conn;
	if (!s->gate)
		return;
	used(s);
	for (size_t left = msg->len, len; left; left -= len, at += len) {
		len = left < s->gate->reply_max ? left : s->gate->reply_max;
		if (tn_reply(s->gate->conn, &question, at, len) < 0)
			break; /* a reply is lost, as datagrams are, of DTLS too */
	}
	owe(s, s->ended);
}

static void on_output_end(struct tn_conn *conn, void *arg)
{
	(void)conn;
	over(arg, GRACE_MS);
}

static void on_output_close(struct tn_conn *conn, int err, void *arg)
{
	struct session *s = arg;

	(void)conn;
	s->output = NULL;
	if (s->gate)
		over(s, exec_is_failure(err) ? 0 : GRACE_MS);
	else
		free_if_done(s);
}

static struct session *begin(struct gate *gate, const struct tn_msg *msg)
{
	static const struct tn_handler input = {.on_close = on_input_close};
	static const struct tn_handler output = {
		.on_msg = on_output_msg, .on_end = on_output_end, .on_close = on_output_close};
	static const struct exec_ends ends = {&input, &output, NULL};
	uint64_t now = tn_loop_now(tn_conn_loop(gate->conn));
	struct session *s;

	if (handler_is_service(msg) || (gate->refused_ns && now - gate->refused_ns < REFUSED_NS))
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->gate = gate;
	s->known = msg->peer;
	if (msg->peer)
		s->peer = *msg->peer;
	put_first(s, gate);
	used(s);
	if (exec_start(gate->conn, msg, NULL, gate->how->argument, &ends, s, &s->child, &s->input, &s->output) < 0) {
		gate->refused_ns = now;
		over(s, 0);
		return NULL;
	}
	return wait_for(s, gate->how->idle_ms) ? s : NULL;
}

/* ---- the endpoint ---- */

void exec_on_sessions_open(struct tn_conn *conn, void *arg)
{
	struct gate *gate = calloc(1, sizeof(*gate));
	const struct tn_server *server = tn_conn_server(conn);

	if (!gate)
		return;
	gate->conn = conn;
	gate->how = arg;
	gate->reply_max = server && tn_server_nurls(server) > 0 && handler_is_datagrams(tn_server_url(server, 0))
				  ? REPLY_MAX
				  : REPLY_DTLS_MAX;
	tn_conn_set_data(conn, gate);
	tn_conn_fade(conn); /* the command may answer anything */
}

void exec_on_session_datagram(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct gate *gate = tn_conn_data(conn);
	struct session *s = gate ? find(gate, msg->peer) : NULL;

	(void)arg;
	if (gate && !s)
		s = begin(gate, msg);
	if (!s)
		return; /* a datagram is lost, as datagrams are */
	take_out(s);
	put_first(s, gate);
	s->hops = msg->hops;
	if (!s->input || tn_send(s->input, msg->data, msg->len) < 0)
		return; /* its child reads no more, or does not keep up: the same, and it is no less idle by that */
	used(s);
	owe(s, true);
}

/* Of DTLS: the last replies are sent before it ends. */
void exec_on_sessions_end(struct tn_conn *conn, void *arg)
{
	struct gate *gate = tn_conn_data(conn);

	(void)arg;
	if (!gate || !gate->sessions) {
		tn_close(conn);
		return;
	}
	gate->ended = true;
	if (!gate->sessions->ended)
		end_input(gate->sessions);
}

void exec_on_sessions_close(struct tn_conn *conn, int err, void *arg)
{
	struct gate *gate = tn_conn_data(conn);

	(void)err, (void)arg;
	if (!gate)
		return;
	gate->ended = false; /* it has */
	while (gate->sessions)
		over(gate->sessions, 0);
	free(gate);
}
