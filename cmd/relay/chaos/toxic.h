/*
 * Toxics: faults as the HTTP API of Toxiproxy names them. Each is read from JSON, and becomes one spec of a live set.
 */
#ifndef CHAOS_TOXIC_H
#define CHAOS_TOXIC_H

#include <stdbool.h>
#include <stdint.h>

#include "chaos.h"

struct tn_value;

#define TOXIC_ATTRIBUTES_MAX 3

struct toxic_type {
	const char *name;
	const char *attributes[TOXIC_ATTRIBUTES_MAX]; /* NULL behind the last */
	/* The values are not negative. */
	void (*set)(struct chaos_rule *rule, const uint64_t *values);
};

struct toxic {
	char *name;
	const struct toxic_type *type;
	int direction;   /* CHAOS_UP: stream upstream */
	double toxicity; /* how many sessions have it: 0 to 1, or beyond */
	uint64_t values[TOXIC_ATTRIBUTES_MAX];
	uint64_t id, seed;
	unsigned version;
};

/* Why something cannot be had: a status of HTTP, and words. */
struct toxic_error {
	int status;
	char words[256];
};

/* Sets the error, and returns false. */
bool toxic_fail(struct toxic_error *error, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * A member of an object: `out` stays as it is where there is none, or null. False: it is of another kind. A text is
 * that of the value, which may not hold a zero byte.
 */
bool toxic_take_text(const struct tn_value *object, const char *key, const char **out, struct toxic_error *error);
bool toxic_take_bool(const struct tn_value *object, const char *key, bool *out, struct toxic_error *error);

/* Reads a new toxic, whose name is the caller's to free. False: *error tells why, and nothing has changed. */
bool toxic_read(const struct tn_value *value, struct toxic *toxic, struct toxic_error *error);

/* Changes one by its attributes and toxicity; all other members are passed over. */
bool toxic_change(const struct tn_value *value, struct toxic *toxic, struct toxic_error *error);

const char *toxic_stream(const struct toxic *toxic);

/* What it does. */
void toxic_spec(const struct toxic *toxic, struct chaos_spec *spec);

#endif
