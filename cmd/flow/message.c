#include "message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAGIC "tnb1"
#define MAGIC_LEN 4

enum { AT_KIND = MAGIC_LEN, AT_SIZE = 5, AT_FLOW = 10, AT_NUMBER = 18, AT_TIME = 26 };

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#define FACT(name)                                       \
	{                                                \
#name, offsetof(struct flow_facts, name) \
	}

static const struct {
	const char *name;
	size_t at;
} facts_known[] = {FACT(clock),     FACT(sent),    FACT(last),      FACT(messages), FACT(bytes), FACT(duplicates),
		   FACT(reordered), FACT(span_ns), FACT(jitter_ns), FACT(dropped),  FACT(timed), FACT(p50_ns),
		   FACT(p90_ns),    FACT(p99_ns),  FACT(p999_ns),   FACT(max_ns)};

#define NFACTS (sizeof(facts_known) / sizeof(facts_known[0]))

static void put(char *to, unsigned digits, uint64_t value)
{
	while (digits--) {
		to[digits] = letters[value & 63];
		value >>= 6;
	}
}

static bool get(const char *from, unsigned digits, uint64_t *value)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < digits; i++) {
		int digit = flow_digit(from[i]);

		if (digit < 0)
			return false;
		sum = sum << 6 | (unsigned)digit;
	}
	*value = sum;
	return true;
}

void flow_head_write(char *to, const struct flow_head *head)
{
	memcpy(to, MAGIC, MAGIC_LEN);
	to[AT_KIND] = (char)head->kind;
	put(to + AT_SIZE, AT_FLOW - AT_SIZE, head->size);
	put(to + AT_FLOW, AT_NUMBER - AT_FLOW, head->flow);
	put(to + AT_NUMBER, AT_TIME - AT_NUMBER, head->number);
	put(to + AT_TIME, FLOW_HEAD - AT_TIME, head->sent_ns);
}

bool flow_head_read(const char *from, size_t len, struct flow_head *head)
{
	uint64_t size;

	if (len < FLOW_HEAD || memcmp(from, MAGIC, MAGIC_LEN) != 0 || !from[AT_KIND] || !strchr("wdqr", from[AT_KIND]))
		return false;
	head->kind = (enum flow_kind)from[AT_KIND];
	if (!get(from + AT_SIZE, AT_FLOW - AT_SIZE, &size) || size < FLOW_HEAD ||
	    !get(from + AT_FLOW, AT_NUMBER - AT_FLOW, &head->flow) ||
	    !get(from + AT_NUMBER, AT_TIME - AT_NUMBER, &head->number) ||
	    !get(from + AT_TIME, FLOW_HEAD - AT_TIME, &head->sent_ns))
		return false;
	head->size = (uint32_t)size;
	return (head->kind != FLOW_QUESTION && head->kind != FLOW_ANSWER) || size == FLOW_ASK;
}

static uint64_t *fact_of(struct flow_facts *facts, size_t i)
{
	return (uint64_t *)(void *)((char *)facts + facts_known[i].at);
}

void flow_facts_write(char *to, const struct flow_head *head, const struct flow_facts *facts)
{
	struct flow_facts copy = *facts;
	size_t at = FLOW_HEAD;

	memset(to, ' ', FLOW_ASK);
	flow_head_write(to, head);
	for (size_t i = 0; i < NFACTS; i++) {
		char fact[64];
		int len = snprintf(fact, sizeof(fact), "%s=%" PRIu64, facts_known[i].name, *fact_of(&copy, i));

		if (!*fact_of(&copy, i))
			continue; /* absent is the same */
		memcpy(to + at, fact, (size_t)len);
		at += (size_t)len + 1;
	}
}

/* NAME=NUMBER in [from, end). */
static bool fact_read(const char *from, const char *end, struct flow_facts *facts)
{
	const char *equals = memchr(from, '=', (size_t)(end - from)), *c;
	uint64_t value = 0;

	if (!equals || equals == from || equals + 1 == end)
		return false;
	for (c = equals + 1; c < end; c++)
		if (*c < '0' || *c > '9' || __builtin_mul_overflow(value, 10U, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
			return false;
	for (size_t i = 0; i < NFACTS; i++)
		if (strlen(facts_known[i].name) == (size_t)(equals - from) &&
		    memcmp(facts_known[i].name, from, (size_t)(equals - from)) == 0)
			*fact_of(facts, i) = value;
	return true;
}

bool flow_facts_read(const char *from, size_t len, struct flow_facts *facts)
{
	const char *at = from + FLOW_HEAD, *end = from + len;

	*facts = (struct flow_facts){0};
	if (len != FLOW_ASK)
		return false;
	while (at < end) {
		const char *space = memchr(at, ' ', (size_t)(end - at));

		if (!space)
			space = end;
		if (space > at && !fact_read(at, space, facts))
			return false;
		at = space + 1;
	}
	return true;
}
