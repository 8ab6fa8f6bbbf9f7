/* How a reply differs from the one that was recorded. */
#ifndef TENON_REPLAY_COMPARE_H
#define TENON_REPLAY_COMPARE_H

#include <stdbool.h>
#include <stddef.h>

struct text;
struct tn_value;

#define IGNORE_MAX 64

struct ignored {
	const char *paths[IGNORE_MAX];
	int count;
};

/* Adds $.time, $.items[*].id, $.list[2], $..time (at any depth), with all below it. Returns why not, or NULL. */
const char *ignore_add(struct ignored *ignored, const char *path);

/* Whether this path is left out. */
bool ignore_has(const struct ignored *ignored, const char *path);

/* Adds the places where the two differ, as `$.a[0]: 1, was 2; ...`: the first few. Returns whether they do. */
bool compare_values(const struct tn_value *got, const struct tn_value *was, const struct ignored *ignored,
		    struct text *out);

/* The same of bytes: `byte 12: "abc", was "abd"`. `at`: of the first of them in its stream. */
bool compare_bytes(const void *got, size_t got_len, const void *was, size_t was_len, unsigned long long at,
		   struct text *out);

#endif
