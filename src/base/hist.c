#include "base/hist.h"

#include "base/err.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int tn_hist_new(struct tn_hist **out)
{
	struct tn_hist *hist = calloc(1, sizeof(*hist));

	if (!hist)
		return tni_err(-ENOMEM, "histogram: out of memory");
	hist->first = TNI_HIST_PLACES;
	hist->min = UINT64_MAX;
	*out = hist;
	return 0;
}

void tn_hist_free(struct tn_hist *hist)
{
	free(hist);
}

void tn_hist_clear(struct tn_hist *hist)
{
	if (hist->first <= hist->last)
		memset(hist->places + hist->first, 0, (hist->last - hist->first + 1) * sizeof(*hist->places));
	hist->count = hist->max = hist->last = 0;
	hist->first = TNI_HIST_PLACES;
	hist->min = UINT64_MAX;
}

void tn_hist_add_many(struct tn_hist *hist, uint64_t value, uint64_t count)
{
	uint32_t place = tni_hist_place(value < TN_HIST_MAX ? value : TN_HIST_MAX);

	if (!count)
		return;
	hist->places[place] += count;
	hist->count += count;
	if (value < hist->min)
		hist->min = value;
	if (value > hist->max)
		hist->max = value;
	if (place < hist->first)
		hist->first = place;
	if (place > hist->last)
		hist->last = place;
}

void tn_hist_add(struct tn_hist *hist, uint64_t value)
{
	tn_hist_add_many(hist, value, 1);
}

void tn_hist_merge(struct tn_hist *hist, const struct tn_hist *from)
{
	for (uint32_t place = from->first; place <= from->last; place++)
		hist->places[place] += from->places[place];
	hist->count += from->count;
	if (from->min < hist->min)
		hist->min = from->min;
	if (from->max > hist->max)
		hist->max = from->max;
	if (from->first < hist->first)
		hist->first = from->first;
	if (from->last > hist->last)
		hist->last = from->last;
}

void tn_hist_set_bounds(struct tn_hist *hist, uint64_t min, uint64_t max)
{
	if (!hist->count)
		return;
	if (tni_hist_place(min < TN_HIST_MAX ? min : TN_HIST_MAX) == hist->first)
		hist->min = min;
	if (tni_hist_place(max < TN_HIST_MAX ? max : TN_HIST_MAX) == hist->last)
		hist->max = max;
}

uint64_t tn_hist_count(const struct tn_hist *hist)
{
	return hist->count;
}

uint64_t tn_hist_min(const struct tn_hist *hist)
{
	return hist->count ? hist->min : 0;
}

uint64_t tn_hist_max(const struct tn_hist *hist)
{
	return hist->max;
}

static double middle(uint32_t place)
{
	uint64_t width, low = tni_hist_low(place, &width), half = width / 2;

	return (double)(low + half);
}

double tn_hist_mean(const struct tn_hist *hist)
{
	double sum = 0;

	for (uint32_t place = hist->first; place <= hist->last; place++)
		sum += (double)hist->places[place] * middle(place);
	return hist->count ? sum / (double)hist->count : 0;
}

double tn_hist_deviation(const struct tn_hist *hist)
{
	double mean = tn_hist_mean(hist), sum = 0;

	for (uint32_t place = hist->first; place <= hist->last; place++)
		sum += (double)hist->places[place] * (middle(place) - mean) * (middle(place) - mean);
	return hist->count ? sqrt(sum / (double)hist->count) : 0;
}

static uint64_t highest_of(const struct tn_hist *hist, uint32_t place)
{
	uint64_t width, low = tni_hist_low(place, &width);

	return low + width - 1 < hist->max ? low + width - 1 : hist->max;
}

uint64_t tn_hist_quantile(const struct tn_hist *hist, double quantile)
{
	double share = quantile < 0 ? 0 : quantile > 1 ? 1 : quantile;
	/* As HdrHistogram counts: to the nearest,
	 * so that what a double cannot hold (0.9999) does not ask for one more */
	uint64_t wanted = (uint64_t)(share * (double)hist->count + 0.5), seen = 0;

	if (share >= 1)
		return hist->max;
	if (!wanted)
		wanted = 1;
	for (uint32_t place = hist->first; place <= hist->last; place++) {
		seen += hist->places[place];
		if (seen >= wanted)
			return highest_of(hist, place);
	}
	return hist->max;
}

uint64_t tn_hist_count_upto(const struct tn_hist *hist, uint64_t value)
{
	uint32_t end = tni_hist_place(value < TN_HIST_MAX ? value : TN_HIST_MAX);
	uint64_t seen = 0;

	for (uint32_t place = hist->first; place <= hist->last && place <= end; place++)
		seen += hist->places[place];
	return seen;
}

bool tn_hist_next(const struct tn_hist *hist, size_t *at, uint64_t *low, uint64_t *high, uint64_t *count)
{
	uint32_t place = *at > hist->first ? (uint32_t)*at : hist->first;
	uint64_t width;

	while (place <= hist->last && !hist->places[place])
		place++;
	if (place > hist->last)
		return false;
	*low = tni_hist_low(place, &width);
	*high = *low + width - 1;
	*count = hist->places[place];
	*at = (size_t)place + 1;
	return true;
}

bool tn_hist_equal(const struct tn_hist *a, const struct tn_hist *b)
{
	if (a->count != b->count || a->first != b->first || a->last != b->last)
		return false;
	return a->first > a->last ||
	       !memcmp(a->places + a->first, b->places + a->first, (a->last - a->first + 1) * sizeof(*a->places));
}
