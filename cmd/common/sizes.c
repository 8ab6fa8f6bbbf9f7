#include "sizes.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon.h"

#define WEIGHT_MAX 1000000
#define TAIL 8 /* exp:MEAN draws no more than so many times the mean: one in 3000 is cut there */

/* A size in the first `len` characters. */
static int read_size(const char *text, size_t len, uint64_t *size)
{
	char copy[32];

	if (!len || len >= sizeof(copy))
		return -EINVAL;
	snprintf(copy, sizeof(copy), "%.*s", (int)len, text);
	return tn_parse_size(copy, size) < 0 || !*size || *size > SIZES_MAX ? -EINVAL : 0;
}

static int read_range(const char *text, const char *dash, struct sizes *sizes)
{
	if (read_size(text, (size_t)(dash - text), &sizes->min) < 0 ||
	    read_size(dash + 1, strlen(dash + 1), &sizes->max) < 0)
		return -EINVAL;
	return sizes->max < sizes->min ? -EINVAL : 0;
}

/* SIZE or SIZE@WEIGHT in [text, end). */
static int read_item(const char *text, const char *end, struct sizes *sizes)
{
	const char *at = memchr(text, '@', (size_t)(end - text));
	uint64_t weight = 1;
	char *rest;

	if (sizes->n == SIZES_LIST_MAX ||
	    read_size(text, (size_t)((at ? at : end) - text), &sizes->list[sizes->n].size) < 0)
		return -EINVAL;
	if (at && (at[1] < '0' || at[1] > '9'))
		return -EINVAL;
	if (at) {
		weight = strtoull(at + 1, &rest, 10);
		if (rest != end || !weight || weight > WEIGHT_MAX)
			return -EINVAL;
	}
	sizes->list[sizes->n++].weight = weight;
	sizes->total += weight;
	return 0;
}

static int read_list(const char *text, struct sizes *sizes)
{
	for (;;) {
		const char *comma = strchr(text, ','), *end = comma ? comma : text + strlen(text);
		uint64_t size;

		if (read_item(text, end, sizes) < 0)
			return -EINVAL;
		size = sizes->list[sizes->n - 1].size;
		sizes->min = sizes->n == 1 || size < sizes->min ? size : sizes->min;
		sizes->max = size > sizes->max ? size : sizes->max;
		if (!comma)
			return 0;
		text = comma + 1;
	}
}

static int read_mean(const char *text, uint64_t least, struct sizes *sizes)
{
	if (read_size(text, strlen(text), &sizes->mean) < 0 || sizes->mean > SIZES_MAX / TAIL)
		return -EINVAL;
	sizes->min = least;
	sizes->max = sizes->mean * TAIL;
	return sizes->mean < least ? -ERANGE : 0;
}

int sizes_read(const char *text, uint64_t least, struct sizes *sizes)
{
	const char *dash = strchr(text, '-');
	int rc;

	*sizes = (struct sizes){0};
	if (strncmp(text, "exp:", 4) == 0)
		return read_mean(text + 4, least, sizes);
	rc = dash && !strchr(text, ',') ? read_range(text, dash, sizes) : read_list(text, sizes);
	if (rc == 0 && sizes->n == 1)
		sizes->n = 0; /* one size, whatever its weight */
	return rc == 0 && sizes->min < least ? -ERANGE : rc;
}

const char *sizes_text(const struct sizes *sizes, char *out, size_t cap)
{
	size_t len = 0;

	if (sizes->mean)
		snprintf(out, cap, "exp:%" PRIu64, sizes->mean);
	else if (!sizes->n && sizes->min == sizes->max)
		snprintf(out, cap, "%" PRIu64, sizes->max);
	else if (!sizes->n)
		snprintf(out, cap, "%" PRIu64 "-%" PRIu64, sizes->min, sizes->max);
	for (unsigned i = 0; i < sizes->n && len < cap; i++)
		len += (size_t)snprintf(out + len, cap - len, "%s%" PRIu64 "@%" PRIu64, i ? "," : "",
					sizes->list[i].size, sizes->list[i].weight);
	return out;
}

static uint64_t draw_listed(const struct sizes *sizes, uint64_t random)
{
	uint64_t at = random % sizes->total;
	unsigned i = 0;

	while (at >= sizes->list[i].weight)
		at -= sizes->list[i++].weight;
	return sizes->list[i].size;
}

static uint64_t draw_exponential(const struct sizes *sizes, uint64_t random)
{
	double size = -log(((double)(random >> 11) + 1) / 9007199254740992.0) * (double)sizes->mean; /* 2^53 */

	if (size >= (double)sizes->max)
		return sizes->max;
	return size <= (double)sizes->min ? sizes->min : (uint64_t)size;
}

uint64_t sizes_draw(const struct sizes *sizes, uint64_t random)
{
	if (sizes->min == sizes->max)
		return sizes->max;
	if (sizes->mean)
		return draw_exponential(sizes, random);
	return sizes->n ? draw_listed(sizes, random) : sizes->min + random % (sizes->max - sizes->min + 1);
}
