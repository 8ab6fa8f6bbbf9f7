#include "page.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/human.h"
#include "common/text.h"
#include "tenon_value.h"

static double number(const struct tn_value *map, const char *key)
{
	double value = 0;
	uint64_t whole;
	const struct tn_value *at = map ? tn_value_get(map, key) : NULL;

	if (at && tn_value_uint(at, &whole) == 0)
		return (double)whole;
	return at && tn_value_float(at, &value) == 0 ? value : 0;
}

/* Cleaned when it is written: the server may be anybody. */
static const char *words(const struct tn_value *map, const char *key)
{
	const struct tn_value *at = map ? tn_value_get(map, key) : NULL;
	const char *text = at ? tn_value_text(at, NULL) : NULL;

	return text ? text : "";
}

/* Left-aligned, cut and filled up. */
static void column(struct text *out, const char *said, size_t width)
{
	struct text clean = {0};
	size_t len;

	text_clean(&clean, said);
	len = clean.len < width ? clean.len : width;
	text_bytes(out, clean.data, len);
	text_add(out, "%*s ", (int)(width - len), "");
	text_free(&clean);
}

static double total(const struct tn_value *status, const char *key)
{
	const struct tn_value *servers = status ? tn_value_get(status, "servers") : NULL;
	double sum = 0;

	for (const struct tn_value *s = servers ? tn_value_first(servers) : NULL; s; s = tn_value_next(servers, s))
		sum += number(s, key);
	return sum;
}

static void rate(struct text *out, const char *name, const struct tn_value *status, const struct tn_value *before,
		 const char *key, bool bytes)
{
	double ms = before ? number(status, "uptime_ms") - number(before, "uptime_ms") : 0;
	double a_second = ms > 0 ? (total(status, key) - total(before, key)) * 1000 / ms : 0;
	char text[32];

	text_add(out, "%s %s/s  ", name,
		 bytes ? human_bytes(a_second, text, sizeof(text)) : human_count(a_second, text, sizeof(text)));
}

static void servers_write(struct text *out, const struct tn_value *status)
{
	const struct tn_value *servers = tn_value_get(status, "servers");

	text_add(out, "\n%-36s %-10s %8s %9s %9s %9s %10s %10s\n", "LISTENER", "HANDLER", "OPEN", "ACCEPTED", "MSG IN",
		 "MSG OUT", "BYTES IN", "BYTES OUT");
	for (const struct tn_value *s = servers ? tn_value_first(servers) : NULL; s; s = tn_value_next(servers, s)) {
		char text[6][32];

		column(out, words(s, "url"), 36);
		column(out, words(s, "handler"), 10);
		text_add(out, "%8s %9s %9s %9s %10s %10s\n", human_count(number(s, "open"), text[0], 32),
			 human_count(number(s, "accepted"), text[1], 32),
			 human_count(number(s, "messages_in"), text[2], 32),
			 human_count(number(s, "messages_out"), text[3], 32),
			 human_bytes(number(s, "bytes_in"), text[4], 32),
			 human_bytes(number(s, "bytes_out"), text[5], 32));
	}
}

static void targets_write(struct text *out, const struct tn_value *status)
{
	const struct tn_value *targets = tn_value_get(status, "targets");

	if (!targets)
		return;
	text_add(out, "\n%-47s %8s %9s\n", "TARGET", "SESSIONS", "STATE");
	for (const struct tn_value *t = tn_value_first(targets); t; t = tn_value_next(targets, t)) {
		const struct tn_value *alive = tn_value_get(t, "alive");

		column(out, words(t, "url"), 47);
		text_add(out, "%8.0f %9s\n", number(t, "sessions"),
			 alive && tn_value_bool(alive) ? "works" : "left out");
	}
}

/* ---- connections ---- */

static double weight(const struct tn_value *c, enum top_sort sort)
{
	switch (sort) {
	case TOP_MESSAGES:
		return number(c, "messages_in") + number(c, "messages_out");
	case TOP_QUEUED:
		return number(c, "queued");
	case TOP_AGE:
		return number(c, "age_ms");
	default:
		return number(c, "bytes_in") + number(c, "bytes_out");
	}
}

struct row {
	const struct tn_value *conn;
	double weight;
};

static int by_weight(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return (x->weight < y->weight) - (x->weight > y->weight);
}

const char *top_sort_name(enum top_sort sort)
{
	static const char *const names[] = {
		[TOP_BYTES] = "bytes", [TOP_MESSAGES] = "messages", [TOP_QUEUED] = "queued", [TOP_AGE] = "age"};

	return names[sort];
}

static void row_write(struct text *out, const struct tn_value *c)
{
	char text[6][32];

	column(out, *words(c, "peer") ? words(c, "peer") : "(unnamed)", 36);
	text_add(out, "%9s %9s %9s %10s %10s %10s\n", human_us(number(c, "age_ms") * 1000, text[0], 32),
		 human_count(number(c, "messages_in"), text[1], 32),
		 human_count(number(c, "messages_out"), text[2], 32), human_bytes(number(c, "bytes_in"), text[3], 32),
		 human_bytes(number(c, "bytes_out"), text[4], 32), human_bytes(number(c, "queued"), text[5], 32));
}

static void connections_write(struct text *out, const struct tn_value *connections, enum top_sort sort, unsigned rows)
{
	const struct tn_value *list = connections ? tn_value_get(connections, "connections") : NULL;
	size_t count = list ? tn_value_count(list) : 0, n = 0;
	struct row *all = calloc(count + 1, sizeof(*all));

	if (!all)
		return;
	for (const struct tn_value *c = list ? tn_value_first(list) : NULL; c; c = tn_value_next(list, c))
		all[n++] = (struct row){c, weight(c, sort)};
	qsort(all, n, sizeof(*all), by_weight);
	text_add(out, "\n%-36s %9s %9s %9s %10s %10s %10s\n", "CONNECTION", "AGE", "MSG IN", "MSG OUT", "BYTES IN",
		 "BYTES OUT", "QUEUED");
	for (size_t i = 0; i < n && i < rows; i++)
		row_write(out, all[i].conn);
	if (n > rows)
		text_add(out, "... and %zu more\n", n - rows);
	free(all);
}

void top_write(struct text *out, const struct tn_value *status, const struct tn_value *before,
	       const struct tn_value *connections, enum top_sort sort, unsigned rows)
{
	char up[32];

	text_add(out, "tenon ");
	text_clean(out, words(status, "command"));
	text_add(out, ", process %.0f: ", number(status, "pid"));
	text_clean(out, words(status, "state"));
	text_add(out, ", up %s, ", human_us(number(status, "uptime_ms") * 1000, up, sizeof(up)));
	text_clean(out, words(status, "engine"));
	text_add(out, ", %.0f loop%s\n", number(status, "loops"), number(status, "loops") == 1 ? "" : "s");
	text_add(out, "%.0f connections  ", total(status, "open"));
	rate(out, "messages in", status, before, "messages_in", false);
	rate(out, "out", status, before, "messages_out", false);
	rate(out, "bytes in", status, before, "bytes_in", true);
	rate(out, "out", status, before, "bytes_out", true);
	text_add(out, "\n");
	servers_write(out, status);
	targets_write(out, status);
	connections_write(out, connections, sort, rows);
}
