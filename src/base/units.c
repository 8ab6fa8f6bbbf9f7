#include "base/units.h"

#include "base/clock.h"
#include "tenon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *name;
	uint64_t scale;
};

static const struct unit size_units[] = {
	{"", 1},
	{"B", 1},
	{"KiB", 1ULL << 10},
	{"MiB", 1ULL << 20},
	{"GiB", 1ULL << 30},
	{"TiB", 1ULL << 40},
	{"PiB", 1ULL << 50},
	{"k", 1ULL << 10},
	{"K", 1ULL << 10},
	{"M", 1ULL << 20},
	{"G", 1ULL << 30},
	{"T", 1ULL << 40},
	{"P", 1ULL << 50},
};

static const struct unit duration_units[] = {
	{"", TNI_NS_PER_S},         {"ns", 1},           {"us", TNI_NS_PER_US},
	{"ms", TNI_NS_PER_MS},      {"s", TNI_NS_PER_S}, {"m", 60 * TNI_NS_PER_S},
	{"h", 3600 * TNI_NS_PER_S},
};

static const struct unit *find_unit(const struct unit *units, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(units[i].name, name))
			return &units[i];
	return NULL;
}

/* Reads "12.345" as 12 and 345 with scale 1000, so that fractions never pass through a double. */
static int parse_decimal(const char **text, uint64_t *whole, uint64_t *fraction, uint64_t *scale)
{
	const char *p = *text;
	int digits = 0;

	*whole = *fraction = 0;
	*scale = 1;
	for (int in_fraction = 0;; p++) {
		if (*p == '.' && !in_fraction) {
			in_fraction = 1;
			continue;
		}
		if (*p < '0' || *p > '9')
			break;
		digits++;
		if (in_fraction) {
			if (*scale >= 1000000000000000000)
				continue; /* finer than a nanosecond, even of hours: of no use */
			*fraction = *fraction * 10 + (uint64_t)(*p - '0');
			*scale *= 10;
		} else if (__builtin_mul_overflow(*whole, 10, whole) ||
			   __builtin_add_overflow(*whole, (uint64_t)(*p - '0'), whole)) {
			return -ERANGE;
		}
	}
	if (!digits)
		return -EINVAL;
	*text = p;
	return 0;
}

static int parse_with_unit(const char *text, const struct unit *units, size_t n, uint64_t *value)
{
	uint64_t whole, fraction, scale;
	const struct unit *unit;
	int rc = parse_decimal(&text, &whole, &fraction, &scale);

	if (rc < 0)
		return rc;
	unit = find_unit(units, n, text);
	if (!unit)
		return -EINVAL;
	unsigned __int128 product = (unsigned __int128)whole * unit->scale;
	product += (unsigned __int128)fraction * unit->scale / scale;
	if (product > UINT64_MAX)
		return -ERANGE;
	*value = (uint64_t)product;
	return 0;
}

int tn_parse_size(const char *text, uint64_t *bytes)
{
	return parse_with_unit(text, size_units, sizeof(size_units) / sizeof(size_units[0]), bytes);
}

int tn_parse_duration(const char *text, uint64_t *ns)
{
	return parse_with_unit(text, duration_units, sizeof(duration_units) / sizeof(duration_units[0]), ns);
}

int tni_parse_switch(const char *text)
{
	static const char *const words[] = {"off", "no", "false", "0", "on", "yes", "true", "1"};

	for (int i = 0; i < 8; i++)
		if (!strcmp(words[i], text))
			return i / 4;
	return -1;
}

const char *tni_format_duration(uint64_t ns, char *out, size_t cap)
{
	static const struct unit shown[] = {
		{"h", 3600 * TNI_NS_PER_S}, {"m", 60 * TNI_NS_PER_S}, {"s", TNI_NS_PER_S},
		{"ms", TNI_NS_PER_MS},      {"us", TNI_NS_PER_US},
	};

	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		if (ns < shown[i].scale || (i < 2 && ns % shown[i].scale))
			continue;
		uint64_t milli = (uint64_t)((unsigned __int128)ns * 1000 / shown[i].scale);
		if (milli % 1000 == 0)
			snprintf(out, cap, "%" PRIu64 "%s", milli / 1000, shown[i].name);
		else
			snprintf(out, cap, "%" PRIu64 ".%0*" PRIu64 "%s", milli / 1000,
				 milli % 100 ? (milli % 10 ? 3 : 2) : 1,
				 milli % 1000 / (milli % 100 ? (milli % 10 ? 1 : 10) : 100), shown[i].name);
		return out;
	}
	snprintf(out, cap, "%" PRIu64 "%s", ns, ns ? "ns" : "");
	return out;
}

const char *tni_format_size(uint64_t bytes, char *out, size_t cap)
{
	static const struct unit shown[] = {{"PiB", 1ULL << 50},
					    {"TiB", 1ULL << 40},
					    {"GiB", 1ULL << 30},
					    {"MiB", 1ULL << 20},
					    {"KiB", 1ULL << 10}};

	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		if (bytes >= shown[i].scale && bytes % shown[i].scale == 0) {
			snprintf(out, cap, "%" PRIu64 "%s", bytes / shown[i].scale, shown[i].name);
			return out;
		}
	snprintf(out, cap, "%" PRIu64, bytes);
	return out;
}

#define WORD_MAX 32

/* Optimal string alignment: Levenshtein's edits, and the swap of two neighbours. */
static size_t edit_distance(const char *a, size_t alen, const char *b, size_t blen)
{
	size_t d[3][WORD_MAX + 1];

	for (size_t j = 0; j <= blen; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= alen; i++) {
		size_t *row = d[i % 3], *above = d[(i - 1) % 3], *above2 = d[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= blen; j++) {
			size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);

			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < best)
				best = above2[j - 2] + 1;
			row[j] = best;
		}
	}
	return d[alen % 3][blen];
}

const char *tn_nearest(const char *word, const char *const *words, size_t nwords)
{
	size_t len = strlen(word), best = len < 5 ? 1 : len < 6 ? 2 : len / 3;
	const char *found = NULL;

	if (len == 0 || len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < nwords; i++) {
		size_t wlen = strlen(words[i]), longer = wlen > len ? wlen - len : len - wlen;

		if (wlen > WORD_MAX || longer > best)
			continue;
		size_t d = edit_distance(word, len, words[i], wlen);
		if (d < len && d < wlen && (d < best || (d == best && !found))) {
			best = d;
			found = words[i];
		}
	}
	return found;
}
