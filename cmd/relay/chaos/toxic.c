/* The table of toxics, and how each is read. */
#include "toxic.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon_value.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_US UINT64_C(1000)

static uint64_t times(uint64_t value, uint64_t unit)
{
	return value < (CHAOS_NEVER - 2) / unit ? value * unit : CHAOS_NEVER - 2;
}

static void set_latency(struct chaos_rule *rule, const uint64_t *values)
{
	rule->latency_ns = times(values[0], NS_PER_MS);
	rule->jitter_ns = times(values[1], NS_PER_MS);
}

/* At a rate of 0 nothing goes on, and nothing is lost. */
static void set_bandwidth(struct chaos_rule *rule, const uint64_t *values)
{
	rule->bandwidth = times(values[0], 1000);
	rule->stalled = !values[0];
}

static void set_slow_close(struct chaos_rule *rule, const uint64_t *values)
{
	rule->slow_close_ns = times(values[0], NS_PER_MS);
}

static void set_timeout(struct chaos_rule *rule, const uint64_t *values)
{
	rule->silent_ns = times(values[0], NS_PER_MS);
}

static void set_reset_peer(struct chaos_rule *rule, const uint64_t *values)
{
	rule->reset_ns = times(values[0], NS_PER_MS);
	rule->when_said = true;
}

static void set_slicer(struct chaos_rule *rule, const uint64_t *values)
{
	rule->slice = values[0];
	rule->slice_jitter = values[1];
	rule->slice_delay_ns = times(values[2], NS_PER_US);
}

static void set_limit_data(struct chaos_rule *rule, const uint64_t *values)
{
	rule->limit = values[0];
}

static const struct toxic_type types[] = {
	{"latency", {"latency", "jitter"}, set_latency},
	{"bandwidth", {"rate"}, set_bandwidth},
	{"slow_close", {"delay"}, set_slow_close},
	{"timeout", {"timeout"}, set_timeout},
	{"reset_peer", {"timeout"}, set_reset_peer},
	{"slicer", {"average_size", "size_variation", "delay"}, set_slicer},
	{"limit_data", {"bytes"}, set_limit_data},
};

static const char *const streams[] = {[CHAOS_UP] = "upstream", [CHAOS_DOWN] = "downstream"};

bool toxic_fail(struct toxic_error *error, int status, const char *fmt, ...)
{
	va_list ap;

	error->status = status;
	va_start(ap, fmt);
	(void)vsnprintf(error->words, sizeof(error->words), fmt, ap);
	va_end(ap);
	return false;
}

/* ---- members ---- */

static bool wrong_kind(struct toxic_error *error, const char *key, const char *wanted)
{
	return toxic_fail(error, 400, "bad request body: %s is no %s", key, wanted);
}

/* A member that is there. */
static const struct tn_value *member_of(const struct tn_value *object, const char *key)
{
	const struct tn_value *value = tn_value_get(object, key);

	return tn_value_kind(value) == TN_NULL ? NULL : value;
}

bool toxic_take_text(const struct tn_value *object, const char *key, const char **out, struct toxic_error *error)
{
	const struct tn_value *value = member_of(object, key);
	size_t len = 0;
	const char *text = tn_value_text(value, &len);

	if (!value)
		return true;
	if (!text)
		return wrong_kind(error, key, "string");
	if (strlen(text) != len)
		return toxic_fail(error, 400, "bad request body: %s holds a zero byte", key);
	*out = text;
	return true;
}

bool toxic_take_bool(const struct tn_value *object, const char *key, bool *out, struct toxic_error *error)
{
	const struct tn_value *value = member_of(object, key);

	if (value && tn_value_kind(value) != TN_BOOL)
		return wrong_kind(error, key, "boolean");
	if (value)
		*out = tn_value_bool(value);
	return true;
}

static bool take_number(const struct tn_value *object, const char *key, uint64_t *out, struct toxic_error *error)
{
	const struct tn_value *value = member_of(object, key);
	int64_t number = 0;
	int err = value ? tn_value_int(value, &number) : 0;

	if (err == -EINVAL)
		return wrong_kind(error, key, "integer");
	if (err < 0 || number < 0)
		return toxic_fail(error, 400, "bad request body: %s is out of range", key);
	if (value)
		*out = (uint64_t)number;
	return true;
}

static bool take_toxicity(const struct tn_value *object, double *out, struct toxic_error *error)
{
	const struct tn_value *value = member_of(object, "toxicity");
	double number = *out;

	if (value && (tn_value_float(value, &number) < 0 || !isfinite(number)))
		return wrong_kind(error, "toxicity", "number");
	*out = number;
	return true;
}

static bool take_attributes(const struct tn_value *object, struct toxic *toxic, struct toxic_error *error)
{
	const struct tn_value *value = member_of(object, "attributes");

	if (value && tn_value_kind(value) != TN_MAP)
		return wrong_kind(error, "attributes", "object");
	for (int i = 0; i < TOXIC_ATTRIBUTES_MAX && toxic->type->attributes[i]; i++)
		if (!take_number(value, toxic->type->attributes[i], &toxic->values[i], error))
			return false;
	return true;
}

static bool is_object(const struct tn_value *value, struct toxic_error *error)
{
	return tn_value_kind(value) == TN_MAP || toxic_fail(error, 400, "bad request body: it is no object");
}

/* ---- toxics ---- */

static const struct toxic_type *type_of(const char *name)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i].name, name) == 0)
			return &types[i];
	return NULL;
}

bool toxic_read(const struct tn_value *value, struct toxic *toxic, struct toxic_error *error)
{
	const char *name = "", *type = "", *stream = streams[CHAOS_DOWN];
	struct toxic made = {.toxicity = 1};

	if (!is_object(value, error) || !toxic_take_text(value, "name", &name, error) ||
	    !toxic_take_text(value, "type", &type, error) || !toxic_take_text(value, "stream", &stream, error) ||
	    !take_toxicity(value, &made.toxicity, error))
		return false;
	while (made.direction < 2 && strcmp(stream, streams[made.direction]) != 0)
		made.direction++;
	if (made.direction == 2)
		return toxic_fail(error, 400, "stream was invalid, can be either upstream or downstream");
	made.type = type_of(type);
	if (!made.type)
		return toxic_fail(error, 400, "invalid toxic type");
	if (!take_attributes(value, &made, error))
		return false;
	if (*name)
		made.name = strdup(name);
	else if (asprintf(&made.name, "%s_%s", type, stream) < 0)
		made.name = NULL;
	if (!made.name)
		return toxic_fail(error, 500, "out of memory");
	*toxic = made;
	return true;
}

bool toxic_change(const struct tn_value *value, struct toxic *toxic, struct toxic_error *error)
{
	struct toxic made = *toxic;

	if (!is_object(value, error) || !take_toxicity(value, &made.toxicity, error) ||
	    !take_attributes(value, &made, error))
		return false;
	made.version++;
	*toxic = made;
	return true;
}

const char *toxic_stream(const struct toxic *toxic)
{
	return streams[toxic->direction];
}

void toxic_spec(const struct toxic *toxic, struct chaos_spec *spec)
{
	chaos_spec_init(spec);
	spec->probability = toxic->toxicity;
	spec->seed = toxic->seed;
	spec->has_seed = true;
	spec->id = toxic->id;
	spec->version = toxic->version;
	toxic->type->set(&spec->rules[toxic->direction], toxic->values);
}
