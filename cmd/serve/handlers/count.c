/*
 * Counts what comes, and answers nobody but a flow of `tenon bench --mode one-way` that asks how much of it has come
 * (cmd/flow/message.h). An answer is as long as the question, so a forged address gets no more than the forger sends;
 * it is no question itself, so that two servers never keep each other busy.
 */
#include "count.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "answer.h"
#include "flow/clock.h"
#include "flow/message.h"
#include "flow/tally.h"
#include "handler.h"

#define FLOWS 256 /* of a datagram socket: what all of them hold is bounded */
#define PROBES 8
#define SILENT_NS UINT64_C(5000000000) /* a flow that has been silent this long may be forgotten for another one */

static void (*watcher)(const struct handler_count *count);
static void (*flow_watcher)(const struct handler_flow *flow);

struct state {
	struct handler_count count;
	bool is_other;               /* a stream that is no flow */
	struct tally_stream *stream; /* NULL: nothing of a flow has come, as on most */
	struct tally **flows;        /* of datagrams: FLOWS, from the first question on */
};

void handler_watch_counts(void (*fn)(const struct handler_count *count))
{
	watcher = fn;
}

void handler_watch_flows(void (*fn)(const struct handler_flow *flow))
{
	flow_watcher = fn;
	(void)flow_clock(); /* is looked up before a sandbox closes the files */
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct state *state = calloc(1, sizeof(*state));

	(void)arg;
	if (!state) {
		tn_abort(conn, -ENOMEM);
		return;
	}
	state->count.conn = conn;
	tn_conn_set_data(conn, state);
}

static void note(struct state *state, struct tn_conn *conn, const struct tn_msg *msg)
{
	struct handler_count *count = &state->count;

	count->last_ns = tn_loop_now(tn_conn_loop(conn));
	if (!count->first_ns)
		count->first_ns = count->last_ns;
	count->messages++;
	count->bytes += msg->len;
}

/* Answers a question and, with a flow's last one, tells the watcher. */
static void answer(struct tn_conn *conn, const struct tn_msg *msg, struct tally *tally, const char *question,
		   const struct flow_head *head)
{
	bool was_over = tally->over;
	char text[FLOW_ASK];
	struct tn_conn_info info;
	struct flow_facts facts;
	int rc;

	tn_conn_info(conn, &info);
	if (!tally_ask(tally, question, head, flow_clock(), info.dropped, now_ns(), text))
		return;
	rc = tn_reply(conn, msg, text, sizeof(text));
	if (rc < 0)
		handler_unanswered(conn, msg, rc);
	if (!tally->over || was_over || !flow_watcher)
		return;
	tally_facts(tally, info.dropped, &facts);
	flow_watcher(&(struct handler_flow){.conn = conn, .peer = msg->peer, .facts = &facts});
}

/* ---- streams ---- */

static void take_bytes(struct state *state, struct tn_conn *conn, const struct tn_msg *msg)
{
	struct tally_stream *stream = state->stream;
	const char *data = msg->data;
	size_t len = msg->len;
	uint64_t now = now_ns();
	bool asked;

	while (len && !stream->is_other) {
		size_t taken = tally_stream_take(stream, data, len, now, &asked);

		data += taken;
		len -= taken;
		if (asked && !stream->tally)
			stream->tally = tally_new(stream->head.flow);
		if (asked && stream->tally)
			answer(conn, msg, stream->tally, stream->bytes, &stream->head);
	}
}

/* Most streams are none of a flow, which their first byte tells: they need no memory for it. */
static bool is_of_flow(struct state *state, const struct tn_msg *msg)
{
	if (!state->stream && !state->is_other && msg->len && *(const char *)msg->data == FLOW_FIRST)
		state->stream = calloc(1, sizeof(*state->stream));
	state->is_other = !state->stream;
	return state->stream;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct state *state = tn_conn_data(conn);

	(void)arg;
	if (!state)
		return;
	note(state, conn, msg);
	if (is_of_flow(state, msg))
		take_bytes(state, conn, msg);
}

/* ---- datagrams ---- */

/* The flow's place: where it stands, or where it may begin. NULL: neither. */
static struct tally **place_of(struct state *state, uint64_t flow, uint64_t now)
{
	struct tally **best = NULL;

	for (unsigned i = 0; i < PROBES; i++) {
		struct tally **at = &state->flows[(flow + i) % FLOWS];

		if (*at && (*at)->flow == flow)
			return at;
		if (!best || (*best && (!*at || (*at)->heard_ns < (*best)->heard_ns)))
			best = at;
	}
	return !*best || now - (*best)->heard_ns >= SILENT_NS ? best : NULL;
}

static void take_question(struct tn_conn *conn, const struct tn_msg *msg, struct tally **at,
			  const struct flow_head *head)
{
	if (handler_is_service(msg))
		return;
	if (*at && (*at)->flow != head->flow) {
		tally_free(*at);
		*at = NULL;
	}
	if (!*at)
		*at = tally_new(head->flow);
	if (*at)
		answer(conn, msg, *at, msg->data, head);
}

static void on_datagram(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct state *state = tn_conn_data(conn);
	struct flow_head head;
	struct tally **at;
	uint64_t now;

	(void)arg;
	if (!state)
		return;
	note(state, conn, msg);
	if (!flow_head_read(msg->data, msg->len, &head) || head.size != msg->len || head.kind == FLOW_ANSWER)
		return;
	now = now_ns();
	if (!state->flows && head.kind == FLOW_QUESTION)
		state->flows = calloc(FLOWS, sizeof(struct tally *));
	at = state->flows ? place_of(state, head.flow, now) : NULL;
	if (at && head.kind == FLOW_QUESTION)
		take_question(conn, msg, at, &head);
	else if (at && *at && (*at)->flow == head.flow)
		tally_take(*at, &head, now);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct state *state = tn_conn_data(conn);

	(void)err, (void)arg;
	if (!state)
		return;
	if (watcher)
		watcher(&state->count);
	for (unsigned i = 0; i < FLOWS && state->flows; i++)
		tally_free(state->flows[i]);
	free(state->flows);
	tally_stream_free(state->stream);
	tn_conn_set_data(conn, NULL);
	free(state);
}

const struct handler_spec handler_count = {
	.name = "count",
	.shows = true,
	.meaning =
		"reads, and tells how much has come: at the end of each connection, and to tenon bench --mode one-way; "
		"no other reply",
	.stream = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close},
	.datagrams = {.on_open = on_open, .on_msg = on_datagram, .on_close = on_close},
};
