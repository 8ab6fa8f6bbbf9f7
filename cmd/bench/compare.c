/*
 * Two results compared, and several merged. How much two runs differ says little unless it is known how much one run
 * differs from itself. So the seconds of each run (or its rounds, if there are enough) are drawn with replacement again
 * and again, and the change between the means is computed each time (bootstrap). The middle 95 % of these changes are
 * the interval in which the true change lies, as far as these runs can tell.
 */
#include "compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/complain.h"
#include "common/human.h"
#include "common/json.h"
#include "common/output.h"
#include "common/settings.h"
#include "common/status.h"
#include "common/text.h"
#include "json.h"
#include "result.h"
#include "tenon.h"

#define DRAWS 4000
#define LEAST 4          /* values that a run must have: fewer say nothing about noise */
#define NEGLIGIBLE 0.005 /* changes below half a percent do not matter, however certain */

enum metric { METRIC_RATE, METRIC_P50, METRIC_P99, NMETRICS };

static const struct {
	const char *name, *unit;
	bool more_is_better;
} metrics[] = {{"rate", "/s", true}, {"p50", "us", false}, {"p99", "us", false}};

struct values {
	double list[COLUMNS_MAX * 2];
	unsigned n;
};

enum verdict { VERDICT_UNKNOWN, VERDICT_SAME, VERDICT_BETTER, VERDICT_WORSE };

static const char *const verdicts[] = {"unknown", "same", "better", "worse"};

struct comparison {
	double a, b, change, low, high;
	enum verdict verdict;
};

static double value_of(const struct column *c, enum metric metric)
{
	if (metric == METRIC_RATE)
		return (double)c->messages / c->seconds;
	return metric == METRIC_P50 ? c->p50_us : c->p99_us;
}

/* The mean of a round's seconds, weighed by their length. */
static void values_of_rounds(const struct result *r, enum metric metric, struct values *values)
{
	for (unsigned round = 0; round < r->rounds; round++) {
		double sum = 0, seconds = 0;

		for (unsigned i = 0; i < r->ncolumns; i++)
			if (r->columns[i].round == round && r->columns[i].seconds > 0) {
				sum += value_of(&r->columns[i], metric) * r->columns[i].seconds;
				seconds += r->columns[i].seconds;
			}
		if (seconds > 0 && values->n < COLUMNS_MAX)
			values->list[values->n++] = sum / seconds;
	}
}

/* A last one that is cut short says little. */
static void values_of_seconds(const struct result *r, enum metric metric, struct values *values)
{
	double widest = 0;

	for (unsigned i = 0; i < r->ncolumns; i++)
		widest = fmax(widest, r->columns[i].seconds);
	for (unsigned i = 0; i < r->ncolumns; i++)
		if (r->columns[i].seconds >= widest / 2 && r->columns[i].messages && values->n < COLUMNS_MAX * 2)
			values->list[values->n++] = value_of(&r->columns[i], metric);
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return *state >> 33;
}

static double drawn_mean(const struct values *values, uint64_t *state)
{
	double sum = 0;

	for (unsigned i = 0; i < values->n; i++)
		sum += values->list[next_random(state) % values->n];
	return sum / values->n;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void bootstrap(const struct values *a, const struct values *b, struct comparison *c)
{
	static double changes[DRAWS];
	uint64_t state = 1; /* the same files always get the same verdict */

	for (unsigned i = 0; i < DRAWS; i++) {
		double mean = drawn_mean(a, &state);

		changes[i] = mean > 0 ? drawn_mean(b, &state) / mean - 1 : 0;
	}
	qsort(changes, DRAWS, sizeof(*changes), by_size);
	c->low = changes[DRAWS * 25 / 1000];
	c->high = changes[DRAWS * 975 / 1000];
}

static double whole(const struct result *r, enum metric metric)
{
	if (metric == METRIC_RATE)
		return result_rate(r);
	return (double)tn_hist_quantile(result_latency(r), metric == METRIC_P50 ? 0.5 : 0.99) / 1e3;
}

static void compare(const struct result *a, const struct result *b, enum metric metric, struct comparison *c)
{
	static struct values of_a, of_b;
	bool rounds = a->rounds >= LEAST && b->rounds >= LEAST;
	bool up;

	of_a.n = of_b.n = 0;
	*c = (struct comparison){.a = whole(a, metric), .b = whole(b, metric)};
	c->change = c->a > 0 ? c->b / c->a - 1 : 0;
	(rounds ? values_of_rounds : values_of_seconds)(a, metric, &of_a);
	(rounds ? values_of_rounds : values_of_seconds)(b, metric, &of_b);
	if (of_a.n < LEAST || of_b.n < LEAST)
		return;
	bootstrap(&of_a, &of_b, c);
	up = c->low > 0;
	c->verdict = VERDICT_SAME;
	if ((up || c->high < 0) && fabs(c->change) >= NEGLIGIBLE)
		c->verdict = up == metrics[metric].more_is_better ? VERDICT_BETTER : VERDICT_WORSE;
}

/* ---- output ---- */

static void tell_difference(const char *what, const char *a, const char *b)
{
	if (strcmp(a, b) != 0)
		complain("these runs differ in more than what was compared: %s %s and %s", what, a, b);
}

static void tell_differences(const struct result *a, const struct result *b)
{
	char x[64], y[64];

	tell_difference("mode", a->mode, b->mode);
	tell_difference("message size", a->size, b->size);
	tell_difference("host", a->host, b->host);
	snprintf(x, sizeof(x), "%u x %u", a->conns, a->depth);
	snprintf(y, sizeof(y), "%u x %u", b->conns, b->depth);
	tell_difference("connections x depth", x, y);
	snprintf(x, sizeof(x), "%g", a->rate_wanted);
	snprintf(y, sizeof(y), "%g", b->rate_wanted);
	tell_difference("rate", x, y);
}

static const char *shown(enum metric metric, double value, char *out, size_t cap)
{
	return metric == METRIC_RATE ? human_count(value, out, cap) : human_us(value, out, cap);
}

static void table_row(struct text *text, enum metric metric, const struct comparison *c)
{
	char a[32], b[32];

	text_add(text, "  %-6s %12s %12s   %+7.2f %%", metrics[metric].name, shown(metric, c->a, a, sizeof(a)),
		 shown(metric, c->b, b, sizeof(b)), c->change * 100);
	if (c->verdict == VERDICT_UNKNOWN)
		text_add(text, "   too few seconds to tell a difference from noise (at least %d)\n", LEAST);
	else
		text_add(text, "   95 %%: %+.2f to %+.2f %%   %s\n", c->low * 100, c->high * 100,
			 c->verdict == VERDICT_SAME ? "within the noise" : verdicts[c->verdict]);
}

/* By the rate where the peers' speed decides it, by the tail where the schedule does. */
static void headline(struct text *text, const struct result *a, const struct comparison *all)
{
	enum metric metric = a->rate_wanted > 0 && result_has_latency(a) ? METRIC_P99 : METRIC_RATE;
	const struct comparison *c = &all[metric];
	const char *words[] = {"not known: the runs are too short", "no difference that stands out of the noise",
			       "B is better", "B is worse"};

	text_add(text, "\n  verdict: %s", words[c->verdict]);
	if (c->verdict >= VERDICT_BETTER)
		text_add(text, ": %s %+.1f %%", metrics[metric].name, c->change * 100);
	text_add(text, "\n");
}

static void comparison_table(const struct result *a, const struct result *b, const struct comparison *all,
			     struct text *text)
{
	text_add(text, "  A  %s  %s\n  B  %s  %s\n\n", a->url, a->started, b->url, b->started);
	text_add(text, "  %-6s %12s %12s   %9s\n", "", "A", "B", "change");
	for (int i = 0; i < NMETRICS; i++)
		if (i == METRIC_RATE || (result_has_latency(a) && result_has_latency(b)))
			table_row(text, (enum metric)i, &all[i]);
	headline(text, a, all);
}

static void comparison_json(const struct comparison *all, struct text *text)
{
	json_begin(text, "comparison");
	json_list(text, "metrics");
	for (int i = 0; i < NMETRICS; i++) {
		json_object(text, NULL);
		json_text(text, "name", metrics[i].name);
		json_real(text, "a", all[i].a);
		json_real(text, "b", all[i].b);
		json_real(text, "change", all[i].change);
		json_real(text, "low", all[i].low);
		json_real(text, "high", all[i].high);
		json_text(text, "verdict", verdicts[all[i].verdict]);
		json_object_end(text);
	}
	json_list_end(text);
	text_add(text, "}\n");
}

int bench_compare(char **paths, int count)
{
	struct result a = {0}, b = {0};
	struct comparison all[NMETRICS];
	struct text text = {0};
	int status;

	if (count != 2) {
		complain("bench: compare which two results? tenon bench compare A.json B.json");
		return STATUS_USAGE;
	}
	status = result_read(paths[0], &a);
	if (status == STATUS_DONE)
		status = result_read(paths[1], &b);
	if (status == STATUS_DONE) {
		tell_differences(&a, &b);
		for (int i = 0; i < NMETRICS; i++)
			compare(&a, &b, (enum metric)i, &all[i]);
		if (settings.json)
			comparison_json(all, &text);
		else
			comparison_table(&a, &b, all, &text);
		out_text(&text);
	}
	result_free(&a);
	result_free(&b);
	return status;
}

/* ---- merging ---- */

static int can_merge(const char *path, const struct result *to, const struct result *from)
{
	if (strcmp(to->mode, from->mode) == 0 && (to->rate_wanted > 0) == (from->rate_wanted > 0) &&
	    to->may_lose == from->may_lose)
		return STATUS_DONE;
	complain("%s: a run of another kind (%s mode%s), which cannot be summed with the others (%s mode%s)", path,
		 from->mode, from->rate_wanted > 0 ? " at a rate" : "", to->mode,
		 to->rate_wanted > 0 ? " at a rate" : "");
	return STATUS_REFUSED;
}

/* What is summed however the two runs lie in time. */
static void merge_sums(struct result *to, const struct result *from)
{
	to->messages += from->messages;
	to->bytes += from->bytes;
	to->cpu_s += from->cpu_s;
	to->busy = from->busy > to->busy ? from->busy : to->busy;
	to->interrupted |= from->interrupted;
	kinds_merge(&to->errors, &from->errors);
	counts_merge(&to->counts, &from->counts);
	received_merge(&to->received, &from->received);
	hists_merge(&to->hists, &from->hists);
}

/* The same one; where URLs were given in another order, the one of that name. */
static struct target_result *target_beside(const struct result *to, const char *url, unsigned at)
{
	if (at < to->ntargets && strcmp(to->targets[at].url, url) == 0)
		return &to->targets[at];
	for (unsigned i = 0; i < to->ntargets; i++)
		if (strcmp(to->targets[i].url, url) == 0)
			return &to->targets[i];
	return NULL;
}

/* By URL, where each run had several. `beside`: at the same time, so that connections are summed too. */
static int merge_targets(struct result *to, const struct result *from, bool beside)
{
	if (!from->ntargets)
		result_targets_free(to);
	for (unsigned i = 0; i < from->ntargets && to->ntargets; i++) {
		const struct target_result *other = &from->targets[i];
		struct target_result *target = target_beside(to, other->url, i);

		if (target) {
			target->conns = beside ? target->conns + other->conns : target->conns;
		} else {
			target = result_target_new(to, other->url);
			if (!target)
				return STATUS_FAILED;
			target->weight = other->weight;
			target->conns = other->conns;
		}
		target_counts_merge(&target->counts, &other->counts);
	}
	return STATUS_DONE;
}

/* Of two that differ, both. */
static int join_text(char **to, const char *from)
{
	return strcmp(*to, from) == 0 ? 0 : text_join(to, from);
}

/* The column of the same time. */
static struct column *column_beside(struct result *to, const struct column *column)
{
	for (unsigned i = 0; i < to->ncolumns; i++)
		if (fabs(to->columns[i].at_s - column->at_s) < column->seconds / 2)
			return &to->columns[i];
	return NULL;
}

/* As one run from several machines: they began at the same time (--start-at). */
static int merge_beside(struct result *to, const struct result *from)
{
	for (unsigned i = 0; i < from->ncolumns; i++) {
		struct column *column = column_beside(to, &from->columns[i]);

		if (column)
			column_join(column, &from->columns[i]);
		else if ((column = result_column_new(to)))
			*column = from->columns[i];
		else
			return STATUS_FAILED;
	}
	slices_append(&to->slices, 0, &from->slices);
	to->duration_s = fmax(to->duration_s, from->duration_s);
	to->conns += from->conns;
	to->threads += from->threads;
	to->rate_wanted += from->rate_wanted;
	merge_sums(to, from);
	if (merge_targets(to, from, true) != STATUS_DONE)
		return STATUS_FAILED;
	return join_text(&to->url, from->url) < 0 || join_text(&to->host, from->host) < 0 ? STATUS_FAILED : STATUS_DONE;
}

/* As if they had been measured one after the other. */
static int merge_into(struct result *to, const struct result *from)
{
	double received_s = to->received.seconds + from->received.seconds;

	if (to->rounds + from->rounds > ROUNDS_MAX)
		return STATUS_FAILED;
	for (unsigned i = 0; i < from->ncolumns; i++) {
		struct column *column = result_column_new(to);

		if (!column)
			return STATUS_FAILED;
		*column = from->columns[i];
		column->at_s += to->duration_s;
		column->round += to->rounds;
	}
	slices_append(&to->slices, to->duration_s, &from->slices);
	to->duration_s += from->duration_s;
	to->rounds += from->rounds;
	*to->start_at = '\0'; /* a sum of several times is of none of them when it is merged again */
	merge_sums(to, from);
	to->received.seconds = received_s;
	return merge_targets(to, from, false);
}

#define TIMES_MAX 64 /* times at which several machines began together */

/* What has been read: the sum of what came one after the other, and for each time of --start-at what began then. */
struct merging {
	struct result behind, beside[TIMES_MAX];
	int nbehind, nbeside;
};

static int refuse(const char *path, const char *why)
{
	complain("%s: %s", path, why);
	return STATUS_FAILED;
}

static int put_behind(const char *path, struct result *all, int n, struct result *next)
{
	int status = STATUS_DONE;

	if (!n) {
		*all = *next;
		return STATUS_DONE;
	}
	tell_differences(all, next);
	if (merge_into(all, next) != STATUS_DONE)
		status = refuse(path, "with it there are more rounds than a result keeps, or too little memory");
	result_free(next);
	return status;
}

static int put_beside(const char *path, struct merging *m, struct result *next)
{
	int at = 0, status = STATUS_DONE;

	while (at < m->nbeside && strcmp(m->beside[at].start_at, next->start_at) != 0)
		at++;
	if (at == m->nbeside && at < TIMES_MAX) {
		m->beside[m->nbeside++] = *next;
		return STATUS_DONE;
	}
	if (at == TIMES_MAX)
		status = refuse(path, "with it there are more than 64 times of --start-at");
	else if (merge_beside(&m->beside[at], next) != STATUS_DONE)
		status = refuse(path, "too little memory");
	result_free(next);
	return status;
}

static int merge_one(const char *path, struct merging *m)
{
	const struct result *first = m->nbehind ? &m->behind : m->nbeside ? &m->beside[0] : NULL;
	struct result next;
	int status = result_read(path, &next);

	if (status != STATUS_DONE)
		return status;
	status = first ? can_merge(path, first, &next) : STATUS_DONE;
	if (status != STATUS_DONE)
		result_free(&next);
	else if (*next.start_at)
		status = put_beside(path, m, &next);
	else
		status = put_behind(path, &m->behind, m->nbehind++, &next);
	return status;
}

int bench_merge(char **paths, int count, struct result *result)
{
	struct merging *m = count < 2 ? NULL : calloc(1, sizeof(*m));
	int status = STATUS_DONE;

	if (!m) {
		complain(count < 2 ? "bench: merge which results? tenon bench merge A.json B.json ..."
				   : "bench: out of memory");
		return count < 2 ? STATUS_USAGE : STATUS_FAILED;
	}
	for (int i = 0; i < count && status == STATUS_DONE; i++)
		status = merge_one(paths[i], m);
	for (int i = 0; i < m->nbeside; i++)
		if (status == STATUS_DONE)
			status = put_behind(m->beside[i].start_at, &m->behind, m->nbehind++, &m->beside[i]);
		else
			result_free(&m->beside[i]);
	*result = m->behind;
	free(m);
	return status;
}
