/*
 * One way: messages carry a head (cmd/flow/message.h), and the receiver, `tenon serve --handler count`, says at the end
 * what of them has come. It is asked in the same flow: there is no connection beside it.
 *
 * A flow begins with a question, whose answer shows that such a receiver is there. On datagrams a question is repeated
 * until it is answered. If fewer have come than were sent, it is asked again a little later, for those that were still
 * on their way; with the last question the receiver learns that the flow is over.
 */
#include "oneway.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "flow/clock.h"
#include "flow/message.h"
#include "plan.h"
#include "tenon.h"

#define AGAIN_NS (200 * NS_PER_MS)

enum step { STEP_NONE, STEP_HELLO, STEP_OPEN, STEP_COUNT, STEP_SETTLE, STEP_LAST, STEP_DONE };

struct oneway {
	enum step step;
	uint64_t flow;
	uint64_t sent;             /* messages that count */
	uint64_t question;         /* its number */
	uint64_t begun_ns, due_ns; /* when the first question was asked, and when to ask again */
	bool asking;               /* it has not been taken by the connection yet */
	struct flow_facts facts;   /* the last answer */
	size_t have;               /* bytes of an answer that is coming */
	char answer[FLOW_ASK];
};

static void ask(struct link *link, uint64_t now_ns)
{
	struct oneway *o = link->oneway;
	struct flow_head head = {
		.kind = FLOW_QUESTION, .size = FLOW_ASK, .flow = o->flow, .number = o->question, .sent_ns = now_ns};
	struct flow_facts facts = {.clock = flow_clock(), .sent = o->sent, .last = o->step == STEP_LAST};
	char text[FLOW_ASK];
	int rc;

	flow_facts_write(text, &head, &facts);
	rc = tn_send(link->conn, text, sizeof(text));
	o->asking = rc == TN_EFULL;
	o->due_ns = now_ns + AGAIN_NS;
	if (rc < 0 && rc != TN_EFULL && rc != TN_ESTATE)
		worker_fail(link->worker, rc, tn_errmsg());
}

static void go_to(struct link *link, enum step step)
{
	struct oneway *o = link->oneway;

	o->step = step;
	o->question++;
	o->begun_ns = clock_ns();
	ask(link, o->begun_ns);
}

void oneway_begin(struct link *link)
{
	struct oneway *o = link->oneway;

	if (!o)
		o = link->oneway = calloc(1, sizeof(*o));
	if (!o) {
		worker_fail(link->worker, -ENOMEM, "out of memory");
		return;
	}
	*o = (struct oneway){0};
	if (getrandom(&o->flow, sizeof(o->flow), 0) != sizeof(o->flow))
		o->flow = clock_ns() ^ (uint64_t)link->index << 32;
	o->flow &= FLOW_ID_MASK;
	go_to(link, STEP_HELLO);
}

void oneway_head(struct link *link, char *data, size_t size, bool counts)
{
	struct oneway *o = link->oneway;
	struct flow_head head = {.kind = counts ? FLOW_DATA : FLOW_WARMUP,
				 .size = (uint32_t)size,
				 .flow = o->flow,
				 .number = counts ? o->sent : link->next,
				 .sent_ns = clock_ns()};

	flow_head_write(data, &head);
}

void oneway_sent(struct link *link)
{
	link->oneway->sent++;
}

static void done(struct link *link)
{
	link->oneway->step = STEP_DONE;
	link->waited--;
	link->worker->waited--;
}

static void answered(struct link *link, const struct flow_facts *facts)
{
	struct oneway *o = link->oneway;

	o->facts = *facts;
	o->due_ns = clock_ns() + AGAIN_NS;
	switch (o->step) {
	case STEP_HELLO:
		o->step = STEP_OPEN;
		link->open = true;
		worker_opened(link);
		worker_todo(link);
		break;
	case STEP_COUNT:
		if (facts->messages < o->sent && link->worker->plan->may_lose)
			o->step = STEP_SETTLE;
		else
			go_to(link, STEP_LAST);
		break;
	case STEP_LAST:
		done(link);
		break;
	default:
		break; /* an answer to a question that was asked twice */
	}
}

static void take_answer(struct link *link, const char *answer, size_t len)
{
	const struct oneway *o = link->oneway;
	struct flow_head head;
	struct flow_facts facts;

	if (!flow_head_read(answer, len, &head) || head.kind != FLOW_ANSWER || !flow_facts_read(answer, len, &facts)) {
		worker_error_of(link, "what came back is no answer of `tenon serve --handler count`");
		return;
	}
	if (head.flow == o->flow && head.number == o->question)
		answered(link, &facts);
}

void oneway_take(struct link *link, const struct tn_msg *msg)
{
	struct oneway *o = link->oneway;
	const char *data = msg->data;
	size_t len = msg->len;

	if (link->worker->plan->keeps) {
		take_answer(link, data, len);
		return;
	}
	while (len && link->conn) {
		size_t part = FLOW_ASK - o->have < len ? FLOW_ASK - o->have : len;

		memcpy(o->answer + o->have, data, part);
		o->have += part;
		data += part;
		len -= part;
		if (o->have < FLOW_ASK)
			return;
		o->have = 0;
		take_answer(link, o->answer, FLOW_ASK);
	}
}

static bool is_asking(const struct oneway *o)
{
	return o->step == STEP_HELLO || o->step == STEP_COUNT || o->step == STEP_LAST;
}

static void fail(struct link *link)
{
	char text[400];

	snprintf(text, sizeof(text),
		 "%.200s: no answer to a one-way test; it needs a receiver that answers: tenon serve --handler count",
		 link->worker->plan->targets[link->target].url);
	worker_fail(link->worker, -ETIMEDOUT, text);
}

static void give_up(struct link *link)
{
	if (link->worker->phase <= PHASE_READY)
		fail(link);
	else
		tn_abort(link->conn, -ETIMEDOUT);
}

void oneway_tick(struct link *link, uint64_t now_ns)
{
	const struct plan *plan = link->worker->plan;
	struct oneway *o = link->oneway;

	if (!o || !link->conn || (now_ns < o->due_ns && !o->asking))
		return;
	if (o->step == STEP_SETTLE)
		go_to(link, STEP_LAST);
	else if (o->step == STEP_HELLO && now_ns - o->begun_ns >= plan->timeout_ns)
		give_up(link);
	else if (is_asking(o) && (plan->may_lose || o->asking))
		ask(link, now_ns);
}

void oneway_ask_last(struct link *link)
{
	struct oneway *o = link->oneway;

	if (!o || !link->conn || o->step != STEP_OPEN)
		return;
	link->waited++;
	link->worker->waited++;
	go_to(link, link->worker->plan->may_lose ? STEP_COUNT : STEP_LAST);
}

/* What a flow's receiver has said. Of a flow that broke off, nothing but that it was there. */
static void add_flow(const struct oneway *o, struct received *to)
{
	const struct flow_facts *f = &o->facts;
	bool told = o->step >= STEP_SETTLE;
	struct received flow = {.flows = o->step >= STEP_OPEN, .silent = o->step >= STEP_OPEN && !told};

	if (told)
		flow = (struct received){.flows = 1,
					 .sent = o->sent,
					 .messages = f->messages,
					 .bytes = f->bytes,
					 .duplicates = f->duplicates,
					 .reordered = f->reordered,
					 .dropped = f->dropped,
					 .seconds = (double)f->span_ns / 1e9,
					 .jitter_us = (double)f->jitter_ns / 1e3,
					 .timed = f->timed,
					 .latency_us = {(double)f->p50_ns / 1e3, (double)f->p90_ns / 1e3,
							(double)f->p99_ns / 1e3, (double)f->p999_ns / 1e3,
							(double)f->max_ns / 1e3}};
	received_merge(to, &flow);
}

void oneway_end(struct link *link, int err)
{
	struct oneway *o = link->oneway;

	if (!o)
		return;
	if (err == 0 && o->step == STEP_HELLO && link->worker->phase <= PHASE_READY)
		fail(link); /* who ends it instead of an answer would do so again */
	add_flow(o, &link->worker->received);
	o->step = STEP_NONE;
}

void oneway_free(struct link *link)
{
	free(link->oneway);
}
