#include "join_state.h"

#include <stdio.h>
#include <string.h>

#include "events.h"
#include "exchange.h"
#include "join.h"
#include "nats_line.h"
#include "topics/topics.h"

static struct link *link_of(bool grouped)
{
	return grouped && !join_plan.here ? &join.groups : &join.plain;
}

static void subscribe(struct link *link, const struct join_want *want)
{
	char line[3 * TOPIC_MAX];
	size_t len = nats_line_subscribe(line, sizeof(line), want->pattern, want->group, want->sid);

	if (len && len <= NATS_LINE_MAX)
		join_say(link, line, len);
}

void join_subscribe_all(struct link *link)
{
	for (const struct join_want *want = join.interest.oldest; want; want = want->newer)
		if (link_of(want->group.len > 0) == link)
			subscribe(link, want);
}

void join_wants(struct span pattern, struct span group, bool more)
{
	struct join_want *want;
	bool grouped = false;
	struct link *link;
	char line[64];
	uint64_t sid;

	for (int i = 0; i < join.nlocals; i++)
		if (topic_covers(join.locals[i], strlen(join.locals[i]), pattern.data, pattern.len))
			return;
	if (!more) {
		sid = join_interest_drop(&join.interest, pattern, group, &grouped);
		link = link_of(grouped);
		if (sid && link->greeted)
			join_say(link, line,
				 (size_t)snprintf(line, sizeof(line), "UNSUB %llu\r\n", (unsigned long long)sid));
		return;
	}
	want = join_interest_add(&join.interest, pattern, group);
	link = link_of(group.len > 0);
	if (!want)
		return;
	want->since = join_numbers_now(&join.seen);
	if (!link->greeted)
		return;
	subscribe(link, want);
	if (link->groups) { /* what is published next must find it there */
		join_ask(link);
		link->fence = link->pings;
		join_look_soon();
	}
}

static void tell_gap(const struct message *m, struct span publisher)
{
	char topic[128], from[64];

	join.n.missed += m->missed;
	join.n.gaps++;
	join.gap_untold += m->missed;
	if (join.gap_told_ns && join_now() - join.gap_told_ns < NS_PER_S)
		return;
	join.gap_told_ns = join_now();
	snprintf(topic, sizeof(topic), "%.*s", (int)m->topic.len, m->topic.data);
	snprintf(from, sizeof(from), "%.*s", (int)publisher.len, publisher.data);
	hub_events_join(&(struct join_event){
		.event = "gap", .topic = topic, .publisher = from, .key = "missed", .number = join.gap_untold});
	join.gap_untold = 0;
}

static uint64_t read_number(const char **at, const char *end)
{
	uint64_t value = 0;

	while (*at < end && **at == ' ')
		++*at;
	for (; *at < end && **at >= '0' && **at <= '9' && value < UINT64_MAX / 100; ++*at)
		value = value * 10 + (uint64_t)(**at - '0');
	return value;
}

/* Looks at its number, if it has one. False: it is not to be brought. */
static bool check_number(struct message *m, const struct join_want *want)
{
	struct span value, publisher;
	const char *at, *end;
	uint64_t epoch, nth;

	if (!m->head_len || !nats_line_header(m, JOIN_NUMBER, &value))
		return true;
	at = memchr(value.data, ' ', value.len);
	end = value.data + value.len;
	if (!at)
		return true;
	publisher = (struct span){value.data, (size_t)(at - value.data)};
	epoch = read_number(&at, end);
	nth = read_number(&at, end);
	if (!epoch || !nth || at != end)
		return true; /* somebody else's */
	if (publisher.len == JOIN_PUBLISHER && memcmp(publisher.data, hub_facts()->id, JOIN_PUBLISHER) == 0) {
		join.n.looped++;
		return false;
	}
	switch (join_numbers_see(&join.seen, publisher, m->topic, epoch, nth, want->since, &m->missed)) {
	case JOIN_AGAIN:
		join.n.repeated++;
		return false;
	case JOIN_GAP:
		tell_gap(m, publisher);
		return true;
	default:
		return true;
	}
}

void join_bring(const struct link *link, struct nats_line *line)
{
	struct message *m = &line->message;
	const struct join_want *want;
	uint64_t sid = 0;

	if (join_is_local(m->topic))
		return;
	for (size_t i = 0; i < line->sid.len; i++)
		sid = sid * 10 + (uint64_t)(line->sid.data[i] - '0');
	want = link->groups ? NULL : join_interest_first(&join.interest, m->topic);
	if (!want || want->sid != sid) {
		want = join_interest_named(&join.interest, m->topic, sid);
		if (!want || !want->group.len)
			return; /* a copy, or not wanted any more */
	}
	m->nobody = line->nobody;
	if (m->nobody && join_was_taken(m->topic))
		return;
	if (!want->group.len && !m->nobody && !check_number(m, want))
		return;
	join.n.down++;
	if (!exchange_bring(m, want->group.len ? &want->group : NULL))
		join_refused("its payload is not what the topic's format allows", m->topic);
}
