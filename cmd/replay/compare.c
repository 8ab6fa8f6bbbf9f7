#include "compare.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"
#include "tenon_value.h"

#define PLACES_MAX 8  /* of one message */
#define PATH_MAX_ 512 /* deeper ones are cut */
#define SHOWN 24      /* bytes */

struct compare {
	const struct ignored *ignored;
	struct text *out;
	unsigned places;
	char path[PATH_MAX_];
	size_t len;
};

const char *ignore_add(struct ignored *ignored, const char *path)
{
	if (*path != '$')
		return "is no path: it begins with $ ($.time, $.items[*].id, $..id)";
	if (path[1] != '.' && path[1] != '[')
		return "is no path below $ ($.time)";
	if (ignored->count == IGNORE_MAX)
		return "is one too many";
	ignored->paths[ignored->count++] = path;
	return NULL;
}

/* Behind the step [...] that a path begins with: a name in it is a text of JSON, and may hold anything. */
static const char *step_end(const char *path)
{
	unsigned depth = 0;
	bool quoted = false;

	for (; *path; path++) {
		if (quoted && *path == '\\' && path[1])
			path++;
		else if (*path == '"')
			quoted = !quoted;
		else if (!quoted && *path == '[')
			depth++;
		else if (!quoted && *path == ']' && --depth == 0)
			return path + 1;
	}
	return path; /* one that is too long was cut */
}

static bool is_like(const char *pattern, const char *path)
{
	while (*pattern && *path) {
		if (strncmp(pattern, "[*]", 3) == 0 && *path == '[') {
			path = step_end(path);
			pattern += 3;
		} else if (strncmp(pattern, ".*", 2) == 0 && *path == '.') {
			path += 1 + strcspn(path + 1, ".[");
			pattern += 2;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*pattern && !*path;
}

bool ignore_has(const struct ignored *ignored, const char *path)
{
	for (int i = 0; i < ignored->count; i++) {
		const char *pattern = ignored->paths[i];

		if (strncmp(pattern, "$..", 3) != 0) {
			if (is_like(pattern, path))
				return true;
			continue;
		}
		for (const char *at = strpbrk(path, ".["); at; at = strpbrk(at + 1, ".["))
			if (is_like(pattern + 2, at))
				return true;
	}
	return false;
}

/* ---- what is said ---- */

static void add_value(struct text *out, const struct tn_value *value)
{
	static struct tn_bytes bytes;
	enum { LONGEST = 60 };

	if (tn_encode("json", value, 0, &bytes) < 0)
		text_add(out, "(a value that JSON has no form for)");
	else
		text_add(out, "%.*s%s", (int)(bytes.len < LONGEST ? bytes.len : LONGEST), (const char *)bytes.data,
			 bytes.len > LONGEST ? "..." : "");
}

static void place(struct compare *c)
{
	if (c->places++ < PLACES_MAX)
		text_add(c->out, "%s%s: ", c->places > 1 ? "; " : "", c->path);
	else if (c->places == PLACES_MAX + 1)
		text_add(c->out, "; and more");
}

static void differ(struct compare *c, const struct tn_value *got, const struct tn_value *was)
{
	place(c);
	if (c->places > PLACES_MAX)
		return;
	if (got)
		add_value(c->out, got);
	else
		text_add(c->out, "missing");
	text_add(c->out, ", was ");
	if (was)
		add_value(c->out, was);
	else
		text_add(c->out, "not there");
}

static void both(struct compare *c, const struct tn_value *got, const struct tn_value *was);

/* The same at a step further down. */
static void step(struct compare *c, const char *name, const struct tn_value *got, const struct tn_value *was)
{
	size_t before = c->len;
	int added = snprintf(c->path + c->len, sizeof(c->path) - c->len, "%s", name);

	c->len += (size_t)added < sizeof(c->path) - c->len ? (size_t)added : sizeof(c->path) - c->len - 1;
	if (!ignore_has(c->ignored, c->path)) {
		if (got && was)
			both(c, got, was);
		else
			differ(c, got, was);
	}
	c->len = before;
	c->path[before] = '\0';
}

static const char *key_name(const struct tn_value *key, char *name, size_t cap)
{
	const char *text = tn_value_text(key, NULL);
	struct tn_bytes bytes = {0};
	bool plain = text && *text;

	for (const char *at = text; plain && *at; at++)
		plain = isalnum((unsigned char)*at) || *at == '_' || *at == '-';
	if (plain)
		snprintf(name, cap, ".%s", text);
	else if (tn_encode("json", key, 0, &bytes) == 0)
		snprintf(name, cap, "[%.*s]", (int)(bytes.len < cap - 3 ? bytes.len : cap - 3),
			 (const char *)bytes.data);
	else
		snprintf(name, cap, "[?]");
	tn_bytes_free(&bytes);
	return name;
}

static void maps(struct compare *c, const struct tn_value *got, const struct tn_value *was)
{
	char name[128];

	for (const struct tn_value *key = tn_value_first(was), *value; key; key = tn_value_next(was, value)) {
		value = tn_value_next(was, key);
		step(c, key_name(key, name, sizeof(name)), tn_value_find(got, key), value);
	}
	for (const struct tn_value *key = tn_value_first(got), *value; key; key = tn_value_next(got, value)) {
		value = tn_value_next(got, key);
		if (!tn_value_find(was, key))
			step(c, key_name(key, name, sizeof(name)), value, NULL);
	}
}

static void arrays(struct compare *c, const struct tn_value *got, const struct tn_value *was)
{
	const struct tn_value *a = tn_value_first(got), *b = tn_value_first(was);
	char name[32];

	for (size_t i = 0; a || b; i++) {
		snprintf(name, sizeof(name), "[%zu]", i);
		step(c, name, a, b);
		a = a ? tn_value_next(got, a) : NULL;
		b = b ? tn_value_next(was, b) : NULL;
	}
}

static void both(struct compare *c, const struct tn_value *got, const struct tn_value *was)
{
	enum tn_kind kind = tn_value_kind(got);

	if (kind != tn_value_kind(was) || (kind != TN_MAP && kind != TN_ARRAY)) {
		if (!tn_value_equal(got, was))
			differ(c, got, was);
	} else if (kind == TN_MAP) {
		maps(c, got, was);
	} else {
		arrays(c, got, was);
	}
}

bool compare_values(const struct tn_value *got, const struct tn_value *was, const struct ignored *ignored,
		    struct text *out)
{
	struct compare c = {.ignored = ignored, .out = out, .path = "$", .len = 1};

	both(&c, got, was);
	return c.places > 0;
}

static void add_bytes(struct text *out, const unsigned char *data, size_t len)
{
	text_add(out, "\"");
	for (size_t i = 0; i < len && i < SHOWN; i++)
		text_add(out, isprint(data[i]) && data[i] != '"' && data[i] != '\\' ? "%c" : "\\x%02x", data[i]);
	text_add(out, len > SHOWN ? "\"..." : "\"");
}

bool compare_bytes(const void *got, size_t got_len, const void *was, size_t was_len, unsigned long long at,
		   struct text *out)
{
	const unsigned char *a = got, *b = was;
	size_t i = 0;

	while (i < got_len && i < was_len && a[i] == b[i])
		i++;
	if (i == got_len && i == was_len)
		return false;
	text_add(out, "byte %llu: ", at + i);
	add_bytes(out, a + i, got_len - i);
	text_add(out, ", was ");
	add_bytes(out, b + i, was_len - i);
	return true;
}
