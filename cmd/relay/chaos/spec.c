/* The text of a spec: keys in a table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chaos.h"
#include "tenon.h"

enum value { DURATION, SIZE, CHANCE, NUMBER, BITS, NOTHING };

#define BITS_MAX 65536 /* that are changed of a message: each is drawn */

#define OF_RULE(member) offsetof(struct chaos_rule, member)
#define OF_SPEC(member) offsetof(struct chaos_spec, member)
#define STREAMS (1U << CHAOS_BYTES | 1U << CHAOS_MESSAGES)
#define WHOLE (1U << CHAOS_MESSAGES | 1U << CHAOS_DATAGRAMS)
#define ALL (STREAMS | WHOLE)

static const struct key {
	const char *name;
	enum value value;
	bool of_rule; /* may stand behind up. or down. */
	size_t at;
	unsigned fits; /* a bit for each enum chaos_carries */
	uint64_t none; /* what it is when it is not given */
} keys[] = {
	{"latency", DURATION, true, OF_RULE(latency_ns), ALL, 0},
	{"jitter", DURATION, true, OF_RULE(jitter_ns), ALL, 0},
	{"bandwidth", SIZE, true, OF_RULE(bandwidth), ALL, 0},
	{"slice", SIZE, true, OF_RULE(slice), 1U << CHAOS_BYTES, 0},
	{"slice-jitter", SIZE, true, OF_RULE(slice_jitter), 1U << CHAOS_BYTES, 0},
	{"slice-delay", DURATION, true, OF_RULE(slice_delay_ns), 1U << CHAOS_BYTES, 0},
	{"timeout", DURATION, true, OF_RULE(silent_ns), ALL, CHAOS_NEVER},
	{"reset", DURATION, true, OF_RULE(reset_ns), STREAMS, CHAOS_NEVER},
	{"reset-after", SIZE, true, OF_RULE(reset_after), STREAMS, CHAOS_NEVER},
	{"limit", SIZE, true, OF_RULE(limit), STREAMS, CHAOS_NEVER},
	{"slow-close", DURATION, true, OF_RULE(slow_close_ns), STREAMS, 0},
	{"loss", CHANCE, true, OF_RULE(loss), WHOLE, 0},
	{"duplicate", CHANCE, true, OF_RULE(duplicate), WHOLE, 0},
	{"reorder", CHANCE, true, OF_RULE(reorder), WHOLE, 0},
	{"corrupt", CHANCE, true, OF_RULE(corrupt), ALL, 0},
	{"corrupt-bits", BITS, true, OF_RULE(corrupt_bits), ALL, 1},
	{"refuse", NOTHING, false, OF_SPEC(refuse), STREAMS, 0},
	{"probability", CHANCE, false, OF_SPEC(probability), ALL, 1},
	{"first", NUMBER, false, OF_SPEC(first), ALL, CHAOS_NEVER},
	{"messages", NUMBER, false, OF_SPEC(messages), ALL, CHAOS_NEVER},
	{"seed", NUMBER, false, OF_SPEC(seed), ALL, 0},
};

/* Keys without an effect of their own. */
static const struct dependence {
	const char *key, *needs;
} dependences[] = {{"slice-jitter", "slice"}, {"slice-delay", "slice"}, {"corrupt-bits", "corrupt"}};

#define NDEPENDENCES (sizeof(dependences) / sizeof(dependences[0]))

#define NKEYS (sizeof(keys) / sizeof(keys[0]))

static char why[256];

static void put(void *base, const struct key *key, uint64_t value)
{
	char *at = (char *)base + key->at;

	if (key->value == CHANCE)
		*(double *)(void *)at = (double)value;
	else if (key->value == NOTHING)
		*(bool *)(void *)at = value != 0;
	else
		*(uint64_t *)(void *)at = value;
}

/* 5%, or 0.05 */
const char *chaos_chance(const char *text, double *chance)
{
	char *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (end == text || errno || strspn(text, "0123456789.") != (size_t)(end - text) ||
	    (*end && strcmp(end, "%") != 0))
		return "is no probability (5%, 0.05)";
	if (*end)
		value /= 100;
	if (value > 1)
		return "is more than 100%";
	*chance = value;
	return NULL;
}

static const char *take_number(const char *text, void *to)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (end == text || *end || errno || strspn(text, "0123456789") != strlen(text))
		return "is no number";
	*(uint64_t *)to = value;
	return NULL;
}

static const char *take(const struct key *key, const char *value, void *to)
{
	uint64_t max = UINT64_C(1) << 50;

	switch (key->value) {
	case DURATION:
		return tn_parse_duration(value, to) < 0 ? "is no duration (10ms, 1.5s)" : NULL;
	case SIZE:
		if (tn_parse_size(value, to) < 0)
			return "is no size (4096, 64KiB, 1MiB)";
		return *(uint64_t *)to > max || !*(uint64_t *)to ? "is out of range (from 1)" : NULL;
	case CHANCE:
		return chaos_chance(value, to);
	case NUMBER:
		return take_number(value, to);
	case BITS:
		if (take_number(value, to))
			return "is no number";
		return *(uint64_t *)to > BITS_MAX || !*(uint64_t *)to ? "is out of range (from 1 to 65536)" : NULL;
	default:
		return NULL;
	}
}

static const char *nearest(const char *name)
{
	const char *names[NKEYS];

	for (size_t i = 0; i < NKEYS; i++)
		names[i] = keys[i].name;
	return tn_nearest(name, names, NKEYS);
}

static const char *unknown(const char *name)
{
	const char *meant = nearest(name);

	if (meant)
		snprintf(why, sizeof(why), "unknown key '%.64s': did you mean %s?", name, meant);
	else
		snprintf(why, sizeof(why), "unknown key '%.64s' (see tenon-relay(1), Faults)", name);
	return why;
}

static const struct key *key_of(const char *name)
{
	for (size_t i = 0; i < NKEYS; i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

/* Whether a key stands there for the first time, in these directions: a bit for each. */
static bool is_first(unsigned char *given, unsigned directions)
{
	bool first = !(*given & directions);

	*given |= (unsigned char)directions;
	return first;
}

/* One [up.|down.]KEY[=VALUE], which is taken apart; `given`: of each key, the directions that it has been given for. */
static const char *take_one(char *text, struct chaos_spec *spec, unsigned char given[])
{
	char *value = strchr(text, '=');
	bool up = strncmp(text, "up.", 3) == 0, down = strncmp(text, "down.", 5) == 0;
	const char *name = text + (up ? 3 : down ? 5 : 0), *wrong = NULL;
	const struct key *key;

	if (value)
		*value++ = '\0';
	key = key_of(name);
	if (!key)
		return unknown(name);
	if ((up || down) && !key->of_rule) {
		snprintf(why, sizeof(why), "%s is about sessions: it has no direction", name);
		return why;
	}
	if ((value != NULL) == (key->value == NOTHING)) {
		snprintf(why, sizeof(why), "%s %s", name, value ? "takes no value" : "needs a value");
		return why;
	}
	if (!is_first(&given[key - keys], up ? 1 : down ? 2 : 3)) {
		snprintf(why, sizeof(why), "%s is given twice", name);
		return why;
	}
	if (key->value == NOTHING)
		put(spec, key, 1);
	else if (!key->of_rule)
		wrong = take(key, value, (char *)spec + key->at);
	for (int i = 0; i < 2 && key->of_rule && !wrong; i++)
		if (!(up && i == CHAOS_DOWN) && !(down && i == CHAOS_UP))
			wrong = take(key, value, (char *)&spec->rules[i] + key->at);
	if (wrong)
		snprintf(why, sizeof(why), "%s=%.64s %s", name, value, wrong);
	spec->has_seed |= !wrong && key->at == OF_SPEC(seed) && !key->of_rule;
	return wrong ? why : NULL;
}

static bool is_given(const void *base, const struct key *key)
{
	const char *at = (const char *)base + key->at;

	if (key->value == CHANCE)
		return *(const double *)(const void *)at != (double)key->none;
	if (key->value == NOTHING)
		return *(const bool *)(const void *)at;
	return *(const uint64_t *)(const void *)at != key->none;
}

/* A key that stands there without the one that it belongs to. */
static const char *check_dependences(const char *text, const struct chaos_spec *spec, size_t *at)
{
	for (size_t i = 0; i < NDEPENDENCES; i++) {
		const struct key *key = key_of(dependences[i].key), *other = key_of(dependences[i].needs);
		bool given = false, has = false;

		for (int n = 0; n < 2; n++) {
			given |= is_given(&spec->rules[n], key);
			has |= is_given(&spec->rules[n], key) && is_given(&spec->rules[n], other);
		}
		if (!given || has)
			continue;
		snprintf(why, sizeof(why), "%s has no effect without %s", key->name, other->name);
		*at = (size_t)(strstr(text, key->name) - text);
		return why;
	}
	return NULL;
}

void chaos_spec_init(struct chaos_spec *spec)
{
	memset(spec, 0, sizeof(*spec));
	for (size_t i = 0; i < NKEYS; i++)
		for (int n = 0; n < (keys[i].of_rule ? 2 : 1); n++)
			put(keys[i].of_rule ? (void *)&spec->rules[n] : (void *)spec, &keys[i], keys[i].none);
}

const char *chaos_parse(const char *text, struct chaos_spec *spec, size_t *at)
{
	unsigned char given[NKEYS] = {0};
	char one[128];
	size_t len;
	const char *wrong = NULL;

	chaos_spec_init(spec);
	for (*at = 0; !wrong; *at += len + 1) {
		len = strcspn(text + *at, ",");
		snprintf(one, sizeof(one), "%.*s", (int)(len < 127 ? len : 127), text + *at);
		wrong = len ? take_one(one, spec, given) : "a key is missing here (latency=10ms)";
		if (wrong || !text[*at + len])
			break;
	}
	return wrong ? wrong : check_dependences(text, spec, at);
}

const char *chaos_unfit(const struct chaos_spec *spec, enum chaos_carries carries)
{
	for (size_t i = 0; i < NKEYS; i++)
		for (int n = 0; n < (keys[i].of_rule ? 2 : 1) && !(keys[i].fits >> carries & 1); n++)
			if (is_given(keys[i].of_rule ? (const void *)&spec->rules[n] : (const void *)spec, &keys[i]))
				return keys[i].name;
	return NULL;
}
