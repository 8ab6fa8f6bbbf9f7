#include "tally.h"

#include <stdlib.h>
#include <string.h>

#include "tenon_hist.h"

struct tally *tally_new(uint64_t flow)
{
	struct tally *tally = calloc(1, sizeof(*tally));

	if (tally)
		tally->flow = flow;
	return tally;
}

void tally_free(struct tally *tally)
{
	if (tally)
		tn_hist_free(tally->latency);
	free(tally);
}

/* Sets the message's bit. Returns whether it was set before. */
static bool was_seen(struct tally *tally, uint64_t number)
{
	uint64_t *word = &tally->window[number % TALLY_WINDOW / 64], bit = UINT64_C(1) << number % 64;
	bool seen = *word & bit;

	*word |= bit;
	return seen;
}

/* Forgets what is a window's length behind a new highest number. */
static void advance(struct tally *tally, uint64_t number)
{
	if (number - tally->next >= TALLY_WINDOW)
		memset(tally->window, 0, sizeof(tally->window));
	else
		for (uint64_t i = tally->next; i < number; i++)
			tally->window[i % TALLY_WINDOW / 64] &= ~(UINT64_C(1) << i % 64);
	tally->window[number % TALLY_WINDOW / 64] &= ~(UINT64_C(1) << number % 64);
	tally->next = number + 1;
}

/* Returns whether the message counts: it is no duplicate. */
static bool take_number(struct tally *tally, uint64_t number)
{
	bool behind = number < tally->next;

	if (!behind)
		advance(tally, number);
	if (behind && tally->next - number > TALLY_WINDOW) {
		tally->reordered++; /* whether it is the first of its number is not known any more */
		return true;
	}
	if (was_seen(tally, number)) {
		tally->duplicates++;
		return false;
	}
	tally->reordered += behind;
	return true;
}

/* RFC 3550 6.4.1: the clocks of the two ends need not agree. */
static void take_time(struct tally *tally, uint64_t sent_ns, uint64_t now_ns)
{
	int64_t transit_ns = (int64_t)(now_ns - sent_ns), change_ns;

	if (tally->has_transit) {
		change_ns = (int64_t)((uint64_t)transit_ns - (uint64_t)tally->transit_ns);
		tally->jitter_ns += ((change_ns < 0 ? -(double)change_ns : (double)change_ns) - tally->jitter_ns) / 16;
	}
	tally->has_transit = true;
	tally->transit_ns = transit_ns;
	if (tally->latency)
		tn_hist_add(tally->latency, transit_ns > 0 ? (uint64_t)transit_ns : 0);
}

void tally_take(struct tally *tally, const struct flow_head *head, uint64_t now_ns)
{
	tally->heard_ns = now_ns;
	if (head->kind != FLOW_DATA || !take_number(tally, head->number))
		return;
	if (!tally->messages)
		tally->first_ns = now_ns;
	tally->last_ns = now_ns;
	tally->messages++;
	tally->bytes += head->size;
	take_time(tally, head->sent_ns, now_ns);
}

void tally_facts(const struct tally *tally, uint64_t dropped, struct flow_facts *facts)
{
	const struct tn_hist *hist = tally->latency;
	uint64_t timed = hist ? tn_hist_count(hist) : 0;

	*facts = (struct flow_facts){.sent = tally->sent,
				     .messages = tally->messages,
				     .bytes = tally->bytes,
				     .duplicates = tally->duplicates,
				     .reordered = tally->reordered,
				     .span_ns = tally->last_ns - tally->first_ns,
				     .jitter_ns = (uint64_t)tally->jitter_ns,
				     .dropped = dropped,
				     .timed = timed};
	if (!timed)
		return;
	facts->p50_ns = tn_hist_quantile(hist, 0.5);
	facts->p90_ns = tn_hist_quantile(hist, 0.9);
	facts->p99_ns = tn_hist_quantile(hist, 0.99);
	facts->p999_ns = tn_hist_quantile(hist, 0.999);
	facts->max_ns = tn_hist_max(hist);
}

bool tally_ask(struct tally *tally, const char *question, const struct flow_head *head, uint64_t clock,
	       uint64_t dropped, uint64_t now_ns, char *answer)
{
	struct flow_head back = *head;
	struct flow_facts facts;

	if (!flow_facts_read(question, FLOW_ASK, &facts))
		return false;
	if (!tally->latency && clock && facts.clock == clock)
		(void)tn_hist_new(&tally->latency); /* without memory there are no latencies */
	tally->sent = facts.sent;
	tally->over |= facts.last != 0;
	tally->heard_ns = now_ns;
	tally_facts(tally, dropped, &facts);
	back.kind = FLOW_ANSWER;
	back.size = FLOW_ASK;
	flow_facts_write(answer, &back, &facts);
	return true;
}

/* ---- streams ---- */

/* The head has come. */
static void begin_message(struct tally_stream *s)
{
	bool good = flow_head_read(s->bytes, FLOW_HEAD, &s->head);

	if (!good || (s->tally ? s->head.flow != s->tally->flow : s->head.kind != FLOW_QUESTION)) {
		s->is_other = true;
		return;
	}
	s->rest = s->head.kind == FLOW_QUESTION ? 0 : s->head.size - FLOW_HEAD;
}

static void end_message(struct tally_stream *s, uint64_t now_ns)
{
	tally_take(s->tally, &s->head, now_ns);
	s->have = 0;
}

static size_t gather(struct tally_stream *s, const char *data, size_t len, size_t wanted)
{
	size_t part = wanted - s->have < len ? wanted - s->have : len;

	memcpy(s->bytes + s->have, data, part);
	s->have += part;
	return part;
}

static bool is_question(const struct tally_stream *s)
{
	return s->have >= FLOW_HEAD && s->head.kind == FLOW_QUESTION;
}

size_t tally_stream_take(struct tally_stream *s, const char *data, size_t len, uint64_t now_ns, bool *asked)
{
	size_t at = 0;

	*asked = false;
	while (at < len && !s->is_other) {
		if (s->have < FLOW_HEAD) {
			at += gather(s, data + at, len - at, FLOW_HEAD);
			if (s->have < FLOW_HEAD)
				break;
			begin_message(s);
		} else if (is_question(s)) {
			at += gather(s, data + at, len - at, FLOW_ASK);
		} else {
			size_t part = s->rest < len - at ? (size_t)s->rest : len - at;

			s->rest -= part;
			at += part;
		}
		if (s->is_other)
			break;
		if (is_question(s) && s->have == FLOW_ASK) {
			s->have = 0;
			*asked = true;
			return at;
		}
		if (!is_question(s) && s->have >= FLOW_HEAD && !s->rest)
			end_message(s, now_ns);
	}
	return len;
}

void tally_stream_free(struct tally_stream *s)
{
	if (s)
		tally_free(s->tally);
	free(s);
}
