#include "balance.h"

#include "common/clock.h"

#define BACKOFF_MAX_NS (60 * NS_PER_S)

static int first_from(const struct targets *targets, uint64_t able, int from)
{
	for (int i = 0; i < targets->count; i++) {
		int at = (from + i) % targets->count;

		if (able >> at & 1)
			return at;
	}
	return -1;
}

/* Of those with equally few, the one whose turn it is. */
static int least(const struct targets *targets, uint64_t able)
{
	int best = -1;

	for (int i = 0; i < targets->count; i++) {
		int at = (targets->next + i) % targets->count;

		if (able >> at & 1 && (best < 0 || targets->list[at].sessions < targets->list[best].sessions))
			best = at;
	}
	return best;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

/* The highest number wins (rendezvous hashing): when a target is lost, only its own clients move. */
static int by_source(const struct targets *targets, uint64_t able, uint64_t source)
{
	uint64_t highest = 0;
	int best = -1;

	for (int i = 0; i < targets->count; i++) {
		uint64_t number = mix(source ^ mix((uint64_t)i + 1));

		if (able >> i & 1 && (best < 0 || number > highest)) {
			highest = number;
			best = i;
		}
	}
	return best;
}

int balance_choose(const struct targets *targets, uint64_t able, uint64_t source)
{
	switch (targets->balance) {
	case BALANCE_FIRST:
		return first_from(targets, able, 0);
	case BALANCE_LEAST:
		return least(targets, able);
	case BALANCE_SOURCE:
		return by_source(targets, able, source);
	default:
		return first_from(targets, able, targets->next);
	}
}

uint64_t balance_backoff_ns(unsigned failures, uint64_t chance)
{
	unsigned doubled = failures > 7 ? 6 : failures ? failures - 1 : 0;
	uint64_t ns = NS_PER_S << doubled;

	if (ns > BACKOFF_MAX_NS)
		ns = BACKOFF_MAX_NS;
	return ns - ns / 4 + chance % (ns / 2 + 1);
}
