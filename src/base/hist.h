/* The histogram's layout, for the two files that know it. */
#ifndef TNI_BASE_HIST_H
#define TNI_BASE_HIST_H

#include "tenon_hist.h"

/*
 * 1024 steps to each power of two: one step is less than a thousandth of any value above it. Values below 2048 have a
 * place each, as the first two powers share a bucket.
 */
#define TNI_HIST_HALF_BITS 10
#define TNI_HIST_HALF (1U << TNI_HIST_HALF_BITS)
#define TNI_HIST_PLACES ((31 + 1) * TNI_HIST_HALF + TNI_HIST_HALF) /* 2048 << 31 is more than TN_HIST_MAX */

struct tn_hist {
	uint64_t count, min, max; /* min: UINT64_MAX while there is none */
	uint32_t first, last;     /* places outside are 0; first > last: all are */
	uint64_t places[TNI_HIST_PLACES];
};

static inline uint32_t tni_hist_place(uint64_t value)
{
	unsigned shift = 63 - TNI_HIST_HALF_BITS - (unsigned)__builtin_clzll(value | (2 * TNI_HIST_HALF - 1));

	return shift * TNI_HIST_HALF + (uint32_t)(value >> shift);
}

/* The lowest value of a place, and how many it stands for. */
static inline uint64_t tni_hist_low(uint32_t place, uint64_t *width)
{
	unsigned shift = place < 2 * TNI_HIST_HALF ? 0 : place / TNI_HIST_HALF - 1;

	*width = UINT64_C(1) << shift;
	return (uint64_t)(place - shift * TNI_HIST_HALF) << shift;
}

#endif
