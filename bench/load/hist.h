/*
 * A log-linear histogram of nanoseconds: 64 steps to each power of two, so a value is known to within 1.6 % from a
 * nanosecond to hours, in a fixed 30 KiB and with two instructions to find the place.
 */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

enum { HIST_STEPS = 64, HIST_STEP_BITS = 6, HIST_PLACES = (64 - HIST_STEP_BITS + 1) * HIST_STEPS };

struct hist {
	uint64_t count, max;
	uint64_t places[HIST_PLACES];
};

static inline unsigned hist_place(uint64_t value)
{
	unsigned shift;

	if (value < HIST_STEPS)
		return (unsigned)value;
	shift = 63 - __builtin_clzll(value) - HIST_STEP_BITS;
	return shift * HIST_STEPS + (unsigned)(value >> shift);
}

/* The middle of the values that share a place. */
static inline uint64_t hist_value(unsigned place)
{
	unsigned shift = place / HIST_STEPS;

	if (shift <= 1)
		return place;
	shift--;
	return ((uint64_t)(place - shift * HIST_STEPS) << shift) + ((uint64_t)1 << shift) / 2;
}

static inline void hist_add(struct hist *hist, uint64_t value)
{
	hist->count++;
	hist->places[hist_place(value)]++;
	if (value > hist->max)
		hist->max = value;
}

/* The smallest value that the given share of all values does not exceed. */
static inline uint64_t hist_quantile(const struct hist *hist, double share)
{
	uint64_t seen = 0, wanted = (uint64_t)(share * (double)hist->count + 0.5);

	if (!hist->count)
		return 0;
	if (!wanted)
		wanted = 1;
	for (unsigned place = 0; place < HIST_PLACES; place++) {
		seen += hist->places[place];
		if (seen >= wanted)
			return hist_value(place) < hist->max ? hist_value(place) : hist->max;
	}
	return hist->max;
}

#endif
