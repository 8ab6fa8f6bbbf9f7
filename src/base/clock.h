/* The one clock: monotonic nanoseconds. */
#ifndef TNI_BASE_CLOCK_H
#define TNI_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define TNI_NS_PER_US 1000ULL
#define TNI_NS_PER_MS 1000000ULL
#define TNI_NS_PER_S 1000000000ULL
#define TNI_NEVER UINT64_MAX

/* Never earlier than either: what is beyond the clock's end is never. */
static inline uint64_t tni_ns_add(uint64_t a, uint64_t b)
{
	return a < TNI_NEVER - b ? a + b : TNI_NEVER;
}

static inline uint64_t tni_ns_of_ms(uint64_t ms)
{
	return ms < TNI_NEVER / TNI_NS_PER_MS ? ms * TNI_NS_PER_MS : TNI_NEVER;
}

/* Whole microseconds, for where there is little room: at most UINT32_MAX - 1, which is more than an hour. */
static inline uint32_t tni_us_of(uint64_t ns)
{
	uint64_t us = ns / TNI_NS_PER_US;

	return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX - 1;
}

static inline uint64_t tni_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * TNI_NS_PER_S + (uint64_t)now.tv_nsec;
}

#endif
