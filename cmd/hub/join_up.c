#include "join_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "events.h"
#include "exchange.h"
#include "join.h"
#include "nats_line.h"
#include "topics/topics.h"

#define WINDOW (4 << 20)      /* bytes that may be under way without an answer */
#define ASK_EVERY (256 << 10) /* of these, until an answer is asked for */

static bool may_send(void)
{
	return join.up && !join.leaving && join.groups.pongs >= join.groups.fence && !join_is_late(&join.plain) &&
	       join.sent_bytes - join.confirmed_bytes < WINDOW;
}

void join_pump(void)
{
	const struct join_piece *piece;

	while ((piece = join.queue.first) && may_send()) {
		if (tn_send(join.plain.conn, piece->data, piece->len) < 0)
			break;
		join.sent += piece->messages;
		join.sent_bytes += piece->len;
		join.n.up += piece->messages;
		join_queue_drop(&join.queue);
		if (!join.plain.asked_ns && join.sent_bytes - join.asked_bytes > ASK_EVERY)
			join_ask(&join.plain);
	}
	if (!join.queue.first && join.full_told) {
		join.full_told = false;
		hub_events_join(&(struct join_event){.event = "drained", .key = "dropped", .number = join.n.dropped});
	}
	if (join.sent > join.confirmed || join.queue.first)
		join_look_soon();
}

static uint64_t hash_of(struct span text)
{
	uint64_t hash = UINT64_C(1469598103934665603);

	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(1099511628211);
	return hash;
}

/* Whoever asks for replies may be told that nobody is there: not if somebody here has taken it. */
static void note_request(const struct message *m)
{
	if (join.first_request + join.nrequests == join.requests_cap && join.first_request) {
		memmove(join.requests, join.requests + join.first_request, join.nrequests * sizeof(*join.requests));
		join.first_request = 0;
	}
	if (join.nrequests == join.requests_cap) {
		size_t cap = join.requests_cap ? join.requests_cap * 2 : 256;
		struct request *grown = realloc(join.requests, cap * sizeof(*grown));

		if (!grown)
			return;
		join.requests = grown;
		join.requests_cap = cap;
	}
	join.requests[join.first_request + join.nrequests++] =
		(struct request){join.nth, hash_of(m->reply), m->takers > 0};
}

/* Requests up to this one have been answered, or nobody has them. */
static void requests_drop(size_t count)
{
	join.first_request += count;
	join.nrequests -= count;
	if (!join.nrequests)
		join.first_request = 0;
}

void join_confirm(void)
{
	join.confirmed = join.asked;
	join.confirmed_bytes = join.asked_bytes;
	while (join.nrequests &&
	       join.requests[join.first_request].nth <= join.nth - join.queue.messages - (join.sent - join.confirmed))
		requests_drop(1);
}

bool join_was_taken(struct span reply)
{
	const struct request *requests = join.requests + join.first_request;
	uint64_t hash = hash_of(reply);

	for (size_t i = 0; i < join.nrequests; i++)
		if (requests[i].reply == hash) {
			bool taken = requests[i].taken;

			requests_drop(i + 1);
			return taken;
		}
	return false;
}

void join_refused(const char *what, struct span topic)
{
	char shown[128];

	join.n.refused++;
	if (join.refused_told_ns && join_now() - join.refused_told_ns < NS_PER_S)
		return;
	join.refused_told_ns = join_now();
	snprintf(shown, sizeof(shown), "%.*s", (int)topic.len, topic.data);
	hub_events_join(&(struct join_event){
		.event = "refused", .topic = shown, .why = what, .key = "refused", .number = join.n.refused});
}

static bool is_inbox(struct span topic)
{
	return topic.len > 7 && memcmp(topic.data, "_INBOX.", 7) == 0;
}

/* The header with publisher, epoch and number. Returns its length; 0: none. */
static size_t number(const struct message *m, char *out, size_t cap)
{
	uint64_t epoch, nth;
	struct timespec at;
	int len;

	if (!join_plan.number || !join.headers || is_inbox(m->topic))
		return 0;
	clock_gettime(CLOCK_REALTIME, &at);
	if (!join_numbers_give(&join.given, m->topic, (uint64_t)at.tv_sec * 1000 + (uint64_t)at.tv_nsec / 1000000,
			       &epoch, &nth))
		return 0;
	len = snprintf(out, cap, JOIN_NUMBER ": %.*s %llu %llu\r\n", JOIN_PUBLISHER, hub_facts()->id,
		       (unsigned long long)epoch, (unsigned long long)nth);
	return len > 0 && (size_t)len < cap ? (size_t)len : 0;
}

/* A message that was published here. Its number stands before all other headers. */
void join_take(const struct message *m)
{
	static const char version[] = "NATS/1.0\r\n";
	char head[3 * TOPIC_MAX], line[128];
	const char *feed = m->head_len ? memchr(m->body.data, '\n', m->head_len) : NULL;
	size_t first = feed ? (size_t)(feed + 1 - m->body.data) : 0;
	size_t numbered = m->head_len && !first ? 0 : number(m, line, sizeof(line));
	size_t extra = numbered && !m->head_len ? numbered + sizeof(version) - 1 + 2 : numbered;
	size_t len = nats_line_publish(head, sizeof(head), m, extra);

	if (!len || len > NATS_LINE_MAX) {
		join_refused("its topics are too long for the cluster", m->topic);
		return;
	}
	if (join.payload && m->body.len + extra > join.payload) {
		join_refused("it is longer than the cluster takes", m->topic);
		return;
	}
	if (!m->head_len && numbered) {
		memmove(line + sizeof(version) - 1, line, numbered);
		memcpy(line, version, sizeof(version) - 1);
		memcpy(line + extra - 2, "\r\n", 2);
		numbered = extra;
	}
	struct iovec iov[] = {{head, len},
			      {(char *)(uintptr_t)m->body.data, first},
			      {line, numbered},
			      {(char *)(uintptr_t)(m->body.len ? m->body.data + first : ""), m->body.len - first},
			      {(char *)(uintptr_t) "\r\n", 2}};
	if (!join_queue_put(&join.queue, iov, 5)) {
		join.n.dropped++;
		if (!join.full_told)
			hub_events_join(&(struct join_event){.event = "overflow",
							     .why = "what waits for the cluster has no room",
							     .key = "dropped",
							     .number = join.n.dropped});
		join.full_told = true;
		return;
	}
	join.nth++;
	if (m->reply.len)
		note_request(m);
}

bool join_is_local(struct span topic)
{
	for (int i = 0; i < join.nlocals; i++)
		if (topic_fits(join.locals[i], strlen(join.locals[i]), topic.data, topic.len))
			return true;
	return false;
}

bool join_goes(struct span topic)
{
	return topic_is_literal(topic.data, topic.len) && !join_is_local(topic);
}

void join_flush(void)
{
	if (join.queue.first && join.up)
		join_pump();
}
