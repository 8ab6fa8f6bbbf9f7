/* The result for a program, and back: docs/bench-result.schema.json is its grammar. */
#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/complain.h"
#include "common/json.h"
#include "common/status.h"
#include "common/text.h"
#include "hlog.h"
#include "result.h"
#include "tenon.h"
#include "tenon_value.h"

#define SCHEMA "tenon-bench-1"
#define FILE_MAX (64U << 20)

/* ---- writing ---- */

static void put_ladder(struct text *text, const char *name, const struct tn_hist *hist)
{
	static const struct {
		const char *name;
		double quantile;
	} ladder[] = {{"p50", 0.5},  {"p75", 0.75},    {"p90", 0.9},       {"p95", 0.95},
		      {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}, {"max", 1}};

	if (!tn_hist_count(hist)) {
		json_null(text, name);
		return;
	}
	json_object(text, name);
	json_real(text, "min", (double)tn_hist_min(hist) / 1e3);
	json_real(text, "mean", tn_hist_mean(hist) / 1e3);
	json_real(text, "stddev", tn_hist_deviation(hist) / 1e3);
	for (size_t i = 0; i < sizeof(ladder) / sizeof(ladder[0]); i++)
		json_real(text, ladder[i].name, (double)tn_hist_quantile(hist, ladder[i].quantile) / 1e3);
	json_object_end(text);
}

static void put_hist(struct text *text, const char *name, const struct tn_hist *hist)
{
	char *encoded = NULL;

	if (!tn_hist_count(hist) || tn_hist_encode(hist, &encoded) < 0) {
		json_null(text, name);
		return;
	}
	json_object(text, name);
	json_number(text, "min_ns", tn_hist_min(hist));
	json_number(text, "max_ns", tn_hist_max(hist));
	json_text(text, "v2", encoded);
	json_object_end(text);
	free(encoded);
}

static void put_known(struct text *text, const char *name, unsigned value)
{
	if (value)
		json_number(text, name, value);
	else
		json_null(text, name);
}

static void put_switch(struct text *text, const char *name, int value)
{
	if (value < 0)
		json_null(text, name);
	else
		json_bool(text, name, value);
}

static void put_path(const struct path *path, struct text *text)
{
	if (!path->mtu && !*path->interface)
		return;
	json_object(text, "path");
	json_text(text, "interface", *path->interface ? path->interface : NULL);
	put_known(text, "mtu", path->mtu);
	put_known(text, "mss", path->mss);
	put_switch(text, "tso", path->tso);
	put_switch(text, "gso", path->gso);
	put_switch(text, "gro", path->gro);
	json_object_end(text);
}

static void put_setup(const struct result *r, struct text *text)
{
	json_object(text, "setup");
	json_text(text, "url", r->url);
	json_text(text, "mode", r->mode);
	json_number(text, "conns", r->conns);
	json_number(text, "depth", r->depth);
	json_number(text, "threads", r->threads);
	json_text(text, "size", r->size);
	json_text(text, "expect", r->expect);
	if (r->rate_wanted > 0)
		json_real(text, "rate", r->rate_wanted);
	json_real(text, "warmup_s", r->warmup_s);
	if (*r->start_at)
		json_text(text, "start_at", r->start_at);
	if (r->think_max_s > 0) {
		json_real(text, "think_min_s", r->think_min_s);
		json_real(text, "think_max_s", r->think_max_s);
	}
	json_number(text, "seed", r->seed);
	json_text(text, "engine", r->engine ? r->engine : "");
	json_bool(text, "numbered", r->numbered);
	json_bool(text, "may_lose", r->may_lose);
	json_object_end(text);
	put_path(&r->path, text);
	json_object(text, "machine");
	json_text(text, "host", r->host);
	json_text(text, "kernel", r->kernel);
	json_text(text, "cpu", r->cpu);
	json_object_end(text);
}

static void put_counts(const struct result *r, struct text *text)
{
	const struct message_counts *c = &r->counts;

	json_number(text, "sent", c->sent);
	json_number(text, "received_messages", c->received);
	json_number(text, "received_bytes", c->received_bytes);
	json_number(text, "unanswered", c->unanswered);
	json_number(text, "unsent", c->unsent);
	json_number(text, "reconnects", c->reconnects);
	if (r->may_lose) {
		json_object(text, "datagrams");
		json_number(text, "lost", c->lost);
		json_number(text, "duplicates", c->duplicates);
		json_number(text, "reordered", c->reordered);
		json_number(text, "late", c->late);
		json_object_end(text);
	}
	json_object(text, "errors_by_kind");
	for (unsigned i = 0; i < r->errors.n; i++)
		json_number(text, r->errors.list[i].text, r->errors.list[i].count);
	json_object_end(text);
}

/* The other end's figures. */
static void put_received(const struct result *r, struct text *text)
{
	const struct received *from = &r->received;

	if (!from->flows)
		return;
	json_object(text, "received");
	json_number(text, "flows", from->flows);
	json_number(text, "silent", from->silent);
	json_number(text, "sent", from->sent);
	json_number(text, "messages", from->messages);
	json_number(text, "bytes", from->bytes);
	json_real(text, "seconds", from->seconds);
	json_real(text, "bytes_per_second", received_bytes_rate(from));
	json_real(text, "bits_per_second", received_bytes_rate(from) * 8);
	json_number(text, "duplicates", from->duplicates);
	json_number(text, "reordered", from->reordered);
	json_number(text, "dropped", from->dropped);
	json_real(text, "jitter_us", from->jitter_us);
	json_number(text, "timed", from->timed);
	if (from->timed)
		json_object(text, "latency_us");
	else
		json_null(text, "latency_us");
	for (int i = 0; i < RECEIVED_STEPS && from->timed; i++)
		json_real(text, received_steps[i], from->latency_us[i]);
	if (from->timed)
		json_object_end(text);
	json_object_end(text);
}

static void put_targets(const struct result *r, struct text *text)
{
	if (!r->ntargets)
		return;
	json_list(text, "targets");
	for (unsigned i = 0; i < r->ntargets; i++) {
		const struct target_result *target = &r->targets[i];

		json_object(text, NULL);
		json_text(text, "url", target->url);
		json_number(text, "weight", target->weight);
		json_number(text, "conns", target->conns);
		json_number(text, "messages", target->counts.messages);
		json_number(text, "bytes", target->counts.bytes);
		json_number(text, "errors", target->counts.errors);
		put_ladder(text, "latency_us", target->counts.latency);
		put_hist(text, "histogram", target->counts.latency);
		json_object_end(text);
	}
	json_list_end(text);
}

static void put_slo(const struct result *r, struct text *text)
{
	if (!r->nslo_steps)
		return;
	json_object(text, "slo");
	json_real(text, "quantile", r->slo_quantile);
	json_real(text, "limit_us", r->slo_limit_us);
	json_list(text, "steps");
	for (unsigned i = 0; i < r->nslo_steps; i++) {
		json_object(text, NULL);
		json_real(text, "rate", r->slo_steps[i].rate);
		json_real(text, "achieved", r->slo_steps[i].achieved);
		json_real(text, "value_us", r->slo_steps[i].value_us);
		json_real(text, "least_us", r->slo_steps[i].least_us);
		json_real(text, "most_us", r->slo_steps[i].most_us);
		json_number(text, "trials", r->slo_steps[i].trials);
		json_bool(text, "kept", r->slo_steps[i].kept);
		json_object_end(text);
	}
	json_list_end(text);
	json_object_end(text);
}

static void put_heat(struct text *text, const char *name, const uint32_t *heat)
{
	json_list(text, name);
	for (unsigned i = 0; i < HEAT_ROWS; i++)
		if (heat[i]) {
			json_key(text, NULL);
			text_add(text, "[%u,%u]", i, heat[i]);
		}
	json_list_end(text);
}

/* Only where there were latencies. */
static void put_slices(const struct result *r, struct text *text)
{
	if (!r->slices.count)
		return;
	json_object(text, "slices");
	json_real(text, "seconds", (double)r->slices.width_ns / 1e9);
	json_list(text, "heat");
	for (unsigned i = 0; i < r->slices.count; i++)
		put_heat(text, NULL, r->slices.heat[i]);
	json_list_end(text);
	json_object_end(text);
}

void column_json(const struct column *c, const char *event, bool with_heat, struct text *text)
{
	if (event)
		json_begin(text, event);
	else
		json_object(text, NULL);
	json_real(text, "at_s", c->at_s);
	json_real(text, "seconds", c->seconds);
	json_number(text, "round", c->round);
	json_number(text, "messages", c->messages);
	json_number(text, "bytes", c->bytes);
	json_number(text, "errors", c->errors);
	json_real(text, "rate", c->seconds > 0 ? (double)c->messages / c->seconds : 0);
	json_real(text, "bits_per_second", c->seconds > 0 ? (double)c->bytes * 8 / c->seconds : 0);
	json_real(text, "p50_us", c->p50_us);
	json_real(text, "p99_us", c->p99_us);
	json_real(text, "max_us", c->max_us);
	if (with_heat)
		put_heat(text, "heat", c->heat);
	if (!event)
		json_object_end(text);
}

static void put_intervals(const struct result *r, struct text *text)
{
	json_list(text, "intervals");
	for (unsigned i = 0; i < r->ncolumns; i++)
		column_json(&r->columns[i], NULL, true, text);
	json_list_end(text);
}

static void put_generator(const struct result *r, struct text *text)
{
	json_object(text, "generator");
	json_real(text, "cpu_s", r->cpu_s);
	json_real(text, "busy", r->busy);
	json_list(text, "warnings");
	for (unsigned i = 0; i < r->nwarnings; i++)
		json_text(text, NULL, r->warnings[i]);
	json_list_end(text);
	json_object_end(text);
}

void result_json(const struct result *r, struct text *text)
{
	json_begin(text, "result");
	json_text(text, "schema", SCHEMA);
	json_text(text, "tenon", r->version);
	json_text(text, "started", r->started);
	put_setup(r, text);
	json_real(text, "duration_s", r->duration_s);
	json_number(text, "rounds", r->rounds);
	json_bool(text, "interrupted", r->interrupted);
	json_number(text, "messages", r->messages);
	json_number(text, "errors", r->errors.total);
	json_real(text, "rate", result_rate(r));
	json_number(text, "bytes", r->bytes);
	json_real(text, "bytes_per_second", result_bytes_rate(r));
	json_real(text, "bits_per_second", result_bytes_rate(r) * 8);
	put_ladder(text, "latency_us", result_latency(r));
	put_ladder(text, "service_us", r->hists.service);
	put_ladder(text, "response_us", r->hists.response);
	put_ladder(text, "late_us", r->hists.late);
	put_counts(r, text);
	put_received(r, text);
	put_targets(r, text);
	put_generator(r, text);
	put_slo(r, text);
	put_intervals(r, text);
	put_slices(r, text);
	json_object(text, "histograms");
	put_hist(text, "service", r->hists.service);
	put_hist(text, "response", r->hists.response);
	put_hist(text, "late", r->hists.late);
	json_object_end(text);
	json_object_end(text);
}

/* ---- reading ---- */

/* A file of at most FILE_MAX bytes. */
static int slurp(const char *path, struct text *text)
{
	FILE *file = fopen(path, "re");
	char piece[65536];
	size_t got;
	int err = file ? 0 : -errno;

	while (file && text->len <= FILE_MAX && (got = fread(piece, 1, sizeof(piece), file)) > 0)
		text_bytes(text, piece, got);
	if (file && ferror(file))
		err = errno ? -errno : -EIO;
	if (file)
		fclose(file);
	if (!err && text->len > FILE_MAX)
		err = -EFBIG;
	return !err && text->failed ? -ENOMEM : err;
}

/* The last line that is not empty: before it may stand the seconds of a run. */
static const char *last_line(const struct text *text, size_t *len)
{
	size_t to = text->len, from;

	while (to && strchr(" \t\r\n", text->data[to - 1]))
		to--;
	from = to;
	while (from && text->data[from - 1] != '\n')
		from--;
	*len = to - from;
	return text->data ? text->data + from : ""; /* an empty file never made any */
}

static double real_of(const struct tn_value *map, const char *name)
{
	double value = 0;

	tn_value_float(tn_value_get(map, name), &value);
	return value;
}

static uint64_t count_of(const struct tn_value *map, const char *name)
{
	uint64_t value = 0;

	tn_value_uint(tn_value_get(map, name), &value);
	return value;
}

static bool is_control(const char *c)
{
	const unsigned char *s = (const unsigned char *)c;

	return *s < ' ' || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0);
}

/* Text from another program, which will be shown on terminals. */
static char *text_of(const struct tn_value *value)
{
	const char *text = tn_value_text(value, NULL);
	char *copy = strdup(text ? text : "");

	for (char *c = copy; c && *c; c++)
		if (is_control(c)) {
			if ((unsigned char)*c == 0xc2) /* of two bytes */
				*c++ = '?';
			*c = '?';
		}
	return copy;
}

/* A part of the result, where it is of the kind that it must be. */
static const struct tn_value *part_of(const struct tn_value *from, const char *name, enum tn_kind kind)
{
	const struct tn_value *part = tn_value_get(from, name);

	return part && tn_value_kind(part) == kind ? part : NULL;
}

static int switch_of(const struct tn_value *map, const char *name)
{
	const struct tn_value *value = part_of(map, name, TN_BOOL);

	return value ? tn_value_bool(value) : -1;
}

static void read_path(const struct tn_value *from, struct path *path)
{
	char *interface = text_of(tn_value_get(from, "interface"));

	*path = (struct path){.mtu = (unsigned)count_of(from, "mtu"),
			      .mss = (unsigned)count_of(from, "mss"),
			      .tso = switch_of(from, "tso"),
			      .gso = switch_of(from, "gso"),
			      .gro = switch_of(from, "gro")};
	snprintf(path->interface, sizeof(path->interface), "%s", interface ? interface : "");
	free(interface);
}

static void read_setup(const struct tn_value *top, struct result *r)
{
	const struct tn_value *setup = tn_value_get(top, "setup"), *machine = tn_value_get(top, "machine");

	r->url = text_of(tn_value_get(setup, "url"));
	r->mode = text_of(tn_value_get(setup, "mode"));
	r->size = text_of(tn_value_get(setup, "size"));
	r->expect = text_of(tn_value_get(setup, "expect"));
	r->engine = text_of(tn_value_get(setup, "engine"));
	r->conns = (unsigned)count_of(setup, "conns");
	r->depth = (unsigned)count_of(setup, "depth");
	r->threads = (unsigned)count_of(setup, "threads");
	r->rate_wanted = real_of(setup, "rate");
	r->warmup_s = real_of(setup, "warmup_s");
	r->seed = count_of(setup, "seed");
	r->start_at = text_of(tn_value_get(setup, "start_at"));
	r->think_min_s = real_of(setup, "think_min_s");
	r->think_max_s = real_of(setup, "think_max_s");
	read_path(part_of(top, "path", TN_MAP), &r->path);
	r->numbered = tn_value_bool(tn_value_get(setup, "numbered"));
	r->may_lose = tn_value_bool(tn_value_get(setup, "may_lose"));
	r->host = text_of(tn_value_get(machine, "host"));
	r->kernel = text_of(tn_value_get(machine, "kernel"));
	r->cpu = text_of(tn_value_get(machine, "cpu"));
	r->version = text_of(tn_value_get(top, "tenon"));
	r->started = text_of(tn_value_get(top, "started"));
}

static void read_counts(const struct tn_value *top, struct result *r)
{
	const struct tn_value *datagrams = tn_value_get(top, "datagrams"),
			      *kinds = part_of(top, "errors_by_kind", TN_MAP);
	const struct tn_value *name, *value, *generator = tn_value_get(top, "generator");
	uint64_t count;

	r->duration_s = real_of(top, "duration_s");
	r->rounds = (unsigned)count_of(top, "rounds");
	r->interrupted = tn_value_bool(tn_value_get(top, "interrupted"));
	r->messages = count_of(top, "messages");
	r->bytes = count_of(top, "bytes");
	r->counts = (struct message_counts){.sent = count_of(top, "sent"),
					    .received = count_of(top, "received_messages"),
					    .received_bytes = count_of(top, "received_bytes"),
					    .unanswered = count_of(top, "unanswered"),
					    .unsent = count_of(top, "unsent"),
					    .reconnects = count_of(top, "reconnects"),
					    .lost = count_of(datagrams, "lost"),
					    .duplicates = count_of(datagrams, "duplicates"),
					    .reordered = count_of(datagrams, "reordered"),
					    .late = count_of(datagrams, "late")};
	for (name = tn_value_first(kinds); name; name = tn_value_next(kinds, value)) {
		char *kind = text_of(name);

		value = tn_value_next(kinds, name);
		if (kind && tn_value_uint(value, &count) == 0)
			kinds_add(&r->errors, kind, count);
		free(kind);
	}
	r->cpu_s = real_of(generator, "cpu_s");
	r->busy = real_of(generator, "busy");
}

static void read_received(const struct tn_value *top, struct result *r)
{
	const struct tn_value *from = part_of(top, "received", TN_MAP), *ladder = part_of(from, "latency_us", TN_MAP);

	r->received = (struct received){.flows = (unsigned)count_of(from, "flows"),
					.silent = (unsigned)count_of(from, "silent"),
					.sent = count_of(from, "sent"),
					.messages = count_of(from, "messages"),
					.bytes = count_of(from, "bytes"),
					.seconds = real_of(from, "seconds"),
					.duplicates = count_of(from, "duplicates"),
					.reordered = count_of(from, "reordered"),
					.dropped = count_of(from, "dropped"),
					.jitter_us = real_of(from, "jitter_us"),
					.timed = count_of(from, "timed")};
	for (int i = 0; i < RECEIVED_STEPS; i++)
		r->received.latency_us[i] = real_of(ladder, received_steps[i]);
}

static void read_heat(const struct tn_value *list, uint32_t *heat)
{
	for (const struct tn_value *pair = tn_value_first(list); pair; pair = tn_value_next(list, pair)) {
		const struct tn_value *row = tn_value_first(pair), *count = tn_value_next(pair, row);
		uint64_t n = 0, i = HEAT_ROWS;

		if (tn_value_uint(row, &i) == 0 && i < HEAT_ROWS && tn_value_uint(count, &n) == 0)
			heat[i] = (uint32_t)n;
	}
}

static void read_column(const struct tn_value *from, struct column *column)
{
	*column = (struct column){.at_s = real_of(from, "at_s"),
				  .seconds = real_of(from, "seconds"),
				  .round = (unsigned)count_of(from, "round"),
				  .messages = count_of(from, "messages"),
				  .bytes = count_of(from, "bytes"),
				  .errors = count_of(from, "errors"),
				  .p50_us = real_of(from, "p50_us"),
				  .p99_us = real_of(from, "p99_us"),
				  .max_us = real_of(from, "max_us")};
	read_heat(part_of(from, "heat", TN_ARRAY), column->heat);
}

/* They are for the picture alone: where there are none, or none as we write them, its columns are the intervals. */
static int read_slices(const struct tn_value *top, struct result *r)
{
	const struct tn_value *slices = tn_value_get(top, "slices"), *list = part_of(slices, "heat", TN_ARRAY), *one;
	double seconds = real_of(slices, "seconds");
	size_t n = tn_value_count(list);

	if (!slices || !n || n > SLICES_MAX || !(seconds > 0) || seconds > 1e9)
		return 0;
	if (slices_new(&r->slices) < 0)
		return -ENOMEM;
	while ((double)r->slices.width_ns < seconds * 1e9 * 0.999)
		r->slices.width_ns *= 2;
	for (one = tn_value_first(list); one; one = tn_value_next(list, one))
		read_heat(one, r->slices.heat[r->slices.count++]);
	return 0;
}

static int read_columns(const struct tn_value *top, struct result *r)
{
	const struct tn_value *list = part_of(top, "intervals", TN_ARRAY), *one;
	size_t n = tn_value_count(list);

	r->columns = calloc(n ? n : 1, sizeof(*r->columns));
	if (!r->columns)
		return -ENOMEM;
	for (one = tn_value_first(list); one; one = tn_value_next(list, one))
		read_column(one, &r->columns[r->ncolumns++]);
	r->cap_columns = r->ncolumns;
	return 0;
}

static int read_hist(const struct tn_value *hists, const char *name, struct tn_hist *to)
{
	const struct tn_value *from = tn_value_get(hists, name);
	size_t len;
	const char *v2 = tn_value_text(tn_value_get(from, "v2"), &len);
	int rc = v2 ? tn_hist_decode(to, v2, len) : 0;

	if (v2 && rc == 0)
		tn_hist_set_bounds(to, count_of(from, "min_ns"), count_of(from, "max_ns"));
	return rc;
}

static int read_hists(const struct tn_value *top, struct result *r)
{
	const struct tn_value *hists = tn_value_get(top, "histograms");
	int rc = hists_new(&r->hists);

	if (rc == 0)
		rc = read_hist(hists, "service", r->hists.service);
	if (rc == 0)
		rc = read_hist(hists, "response", r->hists.response);
	return rc == 0 ? read_hist(hists, "late", r->hists.late) : rc;
}

/* 0; < 0: they are not as we write them. */
static int read_targets(const struct tn_value *top, struct result *r)
{
	const struct tn_value *list = part_of(top, "targets", TN_ARRAY), *one;
	int rc = 0;

	for (one = tn_value_first(list); one && rc == 0; one = tn_value_next(list, one)) {
		char *url = text_of(tn_value_get(one, "url"));
		struct target_result *target = url ? result_target_new(r, url) : NULL;

		free(url);
		if (!target)
			return tn_value_count(list) > RESULT_TARGETS_MAX ? -E2BIG : -ENOMEM;
		target->weight = (unsigned)count_of(one, "weight");
		target->conns = (unsigned)count_of(one, "conns");
		target->counts.messages = count_of(one, "messages");
		target->counts.bytes = count_of(one, "bytes");
		target->counts.errors = count_of(one, "errors");
		rc = read_hist(one, "histogram", target->counts.latency);
	}
	return rc;
}

static void read_slo(const struct tn_value *top, struct result *r)
{
	const struct tn_value *slo = tn_value_get(top, "slo"), *steps = part_of(slo, "steps", TN_ARRAY);

	r->slo_quantile = real_of(slo, "quantile");
	r->slo_limit_us = real_of(slo, "limit_us");
	for (const struct tn_value *step = tn_value_first(steps); step; step = tn_value_next(steps, step))
		if (r->nslo_steps < sizeof(r->slo_steps) / sizeof(r->slo_steps[0]))
			r->slo_steps[r->nslo_steps++] =
				(struct slo_step){.rate = real_of(step, "rate"),
						  .achieved = real_of(step, "achieved"),
						  .value_us = real_of(step, "value_us"),
						  .least_us = real_of(step, "least_us"),
						  .most_us = real_of(step, "most_us"),
						  .trials = (unsigned)count_of(step, "trials"),
						  .kept = tn_value_bool(tn_value_get(step, "kept"))};
}

/* As they are written: no more rounds than columns are kept, and no column beyond their number. */
static bool rounds_agree(const struct result *r)
{
	for (unsigned i = 0; i < r->ncolumns; i++)
		if (r->columns[i].round >= r->rounds)
			return false;
	return r->rounds <= ROUNDS_MAX;
}

static int refuse(const char *path, const char *why)
{
	complain("%s: %s", path, why);
	return STATUS_REFUSED;
}

static int read_result(const char *path, const struct tn_value *top, struct result *r)
{
	const char *schema = tn_value_text(tn_value_get(top, "schema"), NULL);
	uint64_t known = 0;

	if (!schema || strncmp(schema, "tenon-bench-", 12) != 0)
		return refuse(path, "this is no result of tenon bench (write one with --output FILE)");
	if (strcmp(schema, SCHEMA) != 0) {
		complain("%s: a result of version %s; this tenon reads %s: measure again with one tenon", path, schema,
			 SCHEMA);
		return STATUS_REFUSED;
	}
	if (tn_value_uint(tn_value_get(top, "messages"), &known) < 0 || !tn_value_get(top, "setup") ||
	    !tn_value_get(top, "histograms"))
		return refuse(path, "parts of the result are missing: the file was changed, or cut short");
	read_setup(top, r);
	read_counts(top, r);
	read_received(top, r);
	read_slo(top, r);
	if (read_columns(top, r) < 0 || read_slices(top, r) < 0)
		return refuse(path, "out of memory");
	if (!rounds_agree(r))
		return refuse(path,
			      "its intervals and its number of rounds contradict each other: the file was changed");
	if (read_hists(top, r) < 0)
		return refuse(path, tn_errmsg());
	if (read_targets(top, r) < 0)
		return refuse(path, "its targets are not as they are written: the file was changed");
	if (tn_hist_count(r->hists.service) && tn_hist_count(r->hists.service) != r->messages)
		return refuse(path,
			      "its histogram and its number of messages contradict each other: the file was changed");
	return STATUS_DONE;
}

int result_read(const char *path, struct result *result)
{
	struct text text = {0};
	struct tn_value *top = NULL;
	const char *line;
	size_t len = 0;
	int rc = slurp(path, &text), status;

	*result = (struct result){0};
	if (rc < 0) {
		complain("%s: %s", path, tn_strerror(rc));
		text_free(&text);
		return STATUS_FAILED;
	}
	line = last_line(&text, &len);
	if (hlog_is(text.data, text.len)) {
		status = hlog_read(path, text.data, text.len, result);
	} else if (len == 0) {
		status = refuse(path, "the file is empty: was the run cut off?");
	} else if (tn_decode("json", line, len, 0, &top) < 0) {
		complain("%s: no whole result in it (%s): was the file cut short?", path, tn_errmsg());
		status = STATUS_REFUSED;
	} else {
		status = read_result(path, top, result);
	}
	tn_value_free(top);
	text_free(&text);
	if (status != STATUS_DONE)
		result_free(result);
	return status;
}
