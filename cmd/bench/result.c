/* Samples become a result. */
#include "result.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"
#include "tenon.h"

/* ---- parts ---- */

/* As much as there is room for, without cutting a character in half. */
static void copy_text(char *to, size_t cap, const char *from)
{
	size_t len = strlen(from);

	if (len >= cap)
		for (len = cap - 1; len && ((unsigned char)from[len] & 0xc0) == 0x80;)
			len--;
	memcpy(to, from, len);
	to[len] = '\0';
}

void kinds_add(struct kinds *kinds, const char *words, uint64_t count)
{
	char text[sizeof(kinds->list[0].text)];
	unsigned i = 0;

	copy_text(text, sizeof(text), words);
	kinds->total += count;
	while (i < kinds->n && strcmp(kinds->list[i].text, text) != 0)
		i++;
	if (i == KINDS_MAX)
		i = KINDS_MAX - 1; /* a seventeenth kind: not worth a row */
	if (i == kinds->n) {
		memcpy(kinds->list[i].text, text, sizeof(text));
		kinds->list[i].count = 0;
		kinds->n++;
	}
	kinds->list[i].count += count;
}

void kinds_merge(struct kinds *kinds, const struct kinds *from)
{
	for (unsigned i = 0; i < from->n; i++)
		kinds_add(kinds, from->list[i].text, from->list[i].count);
}

int hists_new(struct hists *hists)
{
	*hists = (struct hists){0};
	if (tn_hist_new(&hists->service) == 0 && tn_hist_new(&hists->response) == 0 && tn_hist_new(&hists->late) == 0)
		return 0;
	hists_free(hists);
	return -ENOMEM;
}

void hists_free(struct hists *hists)
{
	tn_hist_free(hists->service);
	tn_hist_free(hists->response);
	tn_hist_free(hists->late);
	*hists = (struct hists){0};
}

void hists_merge(struct hists *hists, const struct hists *from)
{
	tn_hist_merge(hists->service, from->service);
	tn_hist_merge(hists->response, from->response);
	tn_hist_merge(hists->late, from->late);
}

void hists_clear(struct hists *hists)
{
	tn_hist_clear(hists->service);
	tn_hist_clear(hists->response);
	tn_hist_clear(hists->late);
}

int target_counts_new(struct target_counts **counts, unsigned n)
{
	*counts = calloc(n, sizeof(**counts));
	for (unsigned i = 0; *counts && i < n; i++)
		if (tn_hist_new(&(*counts)[i].latency) < 0) {
			target_counts_free(*counts, n);
			*counts = NULL;
		}
	return *counts ? 0 : -ENOMEM;
}

void target_counts_free(struct target_counts *counts, unsigned n)
{
	for (unsigned i = 0; counts && i < n; i++)
		tn_hist_free(counts[i].latency);
	free(counts);
}

void target_counts_merge(struct target_counts *counts, const struct target_counts *from)
{
	counts->messages += from->messages;
	counts->bytes += from->bytes;
	counts->errors += from->errors;
	tn_hist_merge(counts->latency, from->latency);
}

void counts_merge(struct message_counts *counts, const struct message_counts *from)
{
	counts->sent += from->sent;
	counts->sent_bytes += from->sent_bytes;
	counts->received += from->received;
	counts->received_bytes += from->received_bytes;
	counts->lost += from->lost;
	counts->duplicates += from->duplicates;
	counts->reordered += from->reordered;
	counts->late += from->late;
	counts->unanswered += from->unanswered;
	counts->opened += from->opened;
	counts->reconnects += from->reconnects;
	counts->unsent += from->unsent;
}

const char *const received_steps[RECEIVED_STEPS] = {"p50", "p90", "p99", "p99.9", "max"};

void received_latency(struct received *received, uint64_t timed, const double latency_us[RECEIVED_STEPS])
{
	received->timed += timed;
	for (int i = 0; i < RECEIVED_STEPS; i++)
		received->latency_us[i] = fmax(received->latency_us[i], latency_us[i]);
}

void received_merge(struct received *to, const struct received *from)
{
	uint64_t all = to->messages + from->messages;

	if (all)
		to->jitter_us =
			(to->jitter_us * (double)to->messages + from->jitter_us * (double)from->messages) / (double)all;
	to->flows += from->flows;
	to->silent += from->silent;
	to->sent += from->sent;
	to->messages = all;
	to->bytes += from->bytes;
	to->duplicates += from->duplicates;
	to->reordered += from->reordered;
	to->dropped = from->dropped > to->dropped ? from->dropped : to->dropped;
	to->seconds = fmax(to->seconds, from->seconds);
	received_latency(to, from->timed, from->latency_us);
}

/* ---- time ---- */

/* From the bits of the floating point number, since it is asked for each message: four rows to a power of two. */
unsigned heat_row(uint64_t ns)
{
	static const double quarters[] = {1.189207115002721, 1.4142135623730951, 1.681792830507429};
	double us = (double)ns / 1000, part;
	uint64_t bits;
	unsigned row;

	if (us < 1)
		return 0;
	memcpy(&bits, &us, sizeof(bits));
	row = (unsigned)((bits >> 52) - 1023) * HEAT_STEPS;
	bits = (bits & 0xfffffffffffff) | (uint64_t)1023 << 52;
	memcpy(&part, &bits, sizeof(part)); /* 1 to 2 */
	row += (part >= quarters[0]) + (part >= quarters[1]) + (part >= quarters[2]);
	return row < HEAT_ROWS ? row : HEAT_ROWS - 1;
}

double heat_row_us(unsigned row)
{
	return exp2((double)row / HEAT_STEPS);
}

int slices_new(struct slices *slices)
{
	*slices = (struct slices){.width_ns = SLICE_NS, .heat = calloc(SLICES_MAX, sizeof(*slices->heat))};
	return slices->heat ? 0 : -ENOMEM;
}

void slices_free(struct slices *slices)
{
	free(slices->heat);
	*slices = (struct slices){0};
}

static void slices_widen(struct slices *slices)
{
	unsigned half = SLICES_MAX / 2;

	for (unsigned i = 0; i < half; i++)
		for (unsigned row = 0; row < HEAT_ROWS; row++)
			slices->heat[i][row] = slices->heat[2 * i][row] + slices->heat[2 * i + 1][row];
	memset(slices->heat[half], 0, half * sizeof(*slices->heat));
	slices->count = (slices->count + 1) / 2;
	slices->width_ns *= 2;
	slices->last = 0;
	slices->last_ns = 0;
}

/* No division for each message: the slice is most often that of the one before. */
static unsigned slice_of(struct slices *slices, uint64_t at_ns)
{
	uint64_t slice = slices->last;

	if (at_ns - slices->last_ns >= slices->width_ns) { /* also where it is before the last one */
		for (slice = at_ns / slices->width_ns; slice >= SLICES_MAX; slice = at_ns / slices->width_ns)
			slices_widen(slices);
		slices->last = (unsigned)slice;
		slices->last_ns = slice * slices->width_ns;
	}
	if (slice >= slices->count)
		slices->count = (unsigned)slice + 1;
	return (unsigned)slice;
}

void slices_add(struct slices *slices, uint64_t at_ns, uint64_t latency_ns, uint64_t count)
{
	slices->heat[slice_of(slices, at_ns)][heat_row(latency_ns)] += (uint32_t)count;
}

void slices_append(struct slices *slices, double after_s, const struct slices *from)
{
	if (!slices->count || !from->count || !(after_s >= 0 && after_s < 1e9)) {
		slices_free(slices); /* half a picture would be misleading */
		return;
	}
	for (unsigned i = 0; i < from->count; i++) {
		unsigned to = slice_of(slices, (uint64_t)(after_s * 1e9) + i * from->width_ns);

		for (unsigned row = 0; row < HEAT_ROWS; row++)
			slices->heat[to][row] += from->heat[i][row];
	}
}

void slices_merge(struct slices *slices, struct slices *from)
{
	while (slices->width_ns < from->width_ns)
		slices_widen(slices);
	while (from->width_ns < slices->width_ns)
		slices_widen(from);
	for (unsigned i = 0; i < from->count; i++)
		for (unsigned row = 0; row < HEAT_ROWS; row++)
			slices->heat[i][row] += from->heat[i][row];
	if (from->count > slices->count)
		slices->count = from->count;
}

void column_fill(struct column *column, const struct tn_hist *latency)
{
	uint64_t low, high, count;
	size_t at = 0;

	column->p50_us = (double)tn_hist_quantile(latency, 0.5) / 1e3;
	column->p99_us = (double)tn_hist_quantile(latency, 0.99) / 1e3;
	column->max_us = (double)tn_hist_max(latency) / 1e3;
	while (tn_hist_next(latency, &at, &low, &high, &count))
		column->heat[heat_row(low + (high - low) / 2)] += (uint32_t)count;
}

/* Of the same time. */
void column_join(struct column *to, const struct column *next)
{
	uint64_t all = to->messages + next->messages;

	/* What two stretches share is known exactly only for the counts: the worse tail is taken for both. */
	if (all)
		to->p50_us = (to->p50_us * (double)to->messages + next->p50_us * (double)next->messages) / (double)all;
	to->p99_us = fmax(to->p99_us, next->p99_us);
	to->max_us = fmax(to->max_us, next->max_us);
	to->messages = all;
	to->bytes += next->bytes;
	to->errors += next->errors;
	for (unsigned i = 0; i < HEAT_ROWS; i++)
		to->heat[i] += next->heat[i];
}

static void column_append(struct column *to, const struct column *next)
{
	to->seconds += next->seconds;
	column_join(to, next);
}

/* A run of hours keeps no more of them than a picture can show. */
static void join_pairs(struct result *result)
{
	unsigned to = 0;

	for (unsigned i = 0; i < result->ncolumns; to++) {
		result->columns[to] = result->columns[i++];
		if (i < result->ncolumns && result->columns[i].round == result->columns[to].round)
			column_append(&result->columns[to], &result->columns[i++]);
	}
	result->ncolumns = to;
}

struct column *result_column_new(struct result *result)
{
	unsigned cap = result->cap_columns ? result->cap_columns * 2 : 64;
	struct column *grown;

	if (result->ncolumns == result->cap_columns) {
		grown = cap <= COLUMNS_MAX * 2 ? realloc(result->columns, cap * sizeof(*grown)) : NULL;
		if (grown) {
			result->columns = grown;
			result->cap_columns = cap;
		} else {
			join_pairs(result);
		}
	}
	if (result->ncolumns >= result->cap_columns)
		return NULL;
	result->columns[result->ncolumns] = (struct column){0};
	return &result->columns[result->ncolumns++];
}

struct column *result_column(struct result *result, const struct sample *sum, uint64_t begin_ns)
{
	struct column *column = result_column_new(result);
	bool scheduled = tn_hist_count(sum->hists.response) > 0;

	if (!column)
		return NULL;
	column->at_s = sum->begin_ns > begin_ns ? (double)(sum->begin_ns - begin_ns) / 1e9 : 0;
	column->seconds = sum->end_ns > sum->begin_ns ? (double)(sum->end_ns - sum->begin_ns) / 1e9 : 0;
	column->messages = sum->messages;
	column->bytes = sum->bytes;
	column->errors = sum->errors;
	column_fill(column, scheduled ? sum->hists.response : sum->hists.service);
	return column;
}

/* ---- the whole ---- */

static char *processor(void)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256], name[200] = "";

	while (file && !*name && fgets(line, sizeof(line), file))
		if (sscanf(line, "model name : %199[^\n]", name) != 1)
			*name = '\0';
	if (file)
		fclose(file);
	snprintf(line, sizeof(line), "%.180s (%ld online)", *name ? name : "unknown", sysconf(_SC_NPROCESSORS_ONLN));
	return strdup(line);
}

static void describe_system(struct result *result)
{
	struct utsname system;
	char text[200];
	time_t now = time(NULL);
	struct tm tm;

	uname(&system);
	snprintf(text, sizeof(text), "%s %s %s", system.sysname, system.release, system.machine);
	result->kernel = strdup(text);
	result->host = strdup(system.nodename);
	result->cpu = processor();
	result->version = strdup(tn_version());
	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	result->started = strdup(text);
}

static const char *const mode_names[] = {"request", "send", "recv", "connect", "one-way", "both"};
static const char *const expect_names[] = {"any", "any", "echo", "regex"};

int text_join(char **to, const char *from)
{
	char *both;

	if (asprintf(&both, "%s, %s", *to, from) < 0)
		return -ENOMEM;
	free(*to);
	*to = both;
	return 0;
}

struct target_result *result_target_new(struct result *result, const char *url)
{
	struct target_result *grown, *target;

	if (result->ntargets == RESULT_TARGETS_MAX)
		return NULL;
	grown = realloc(result->targets, (result->ntargets + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	result->targets = grown;
	target = &grown[result->ntargets];
	*target = (struct target_result){.url = strdup(url)};
	if (!target->url || tn_hist_new(&target->counts.latency) < 0) {
		free(target->url);
		return NULL;
	}
	result->ntargets++;
	return target;
}

void result_targets_free(struct result *result)
{
	for (unsigned i = 0; i < result->ntargets; i++) {
		free(result->targets[i].url);
		tn_hist_free(result->targets[i].counts.latency);
	}
	free(result->targets);
	result->targets = NULL;
	result->ntargets = 0;
}

static int note_targets(struct result *result, const struct plan *plan)
{
	result->url = strdup(plan->url);
	if (!result->url || plan->ntargets < 2)
		return result->url ? 0 : -ENOMEM;
	for (unsigned i = 0; i < plan->ntargets; i++) {
		struct target_result *target = result_target_new(result, plan->targets[i].url);

		if (!target || (i && text_join(&result->url, target->url) < 0))
			return -ENOMEM;
		target->weight = plan->targets[i].weight;
		target->conns = plan->targets[i].conns;
	}
	return 0;
}

/* To the nanosecond: runs of one time are known by it. */
static char *start_at_text(uint64_t utc_ns)
{
	time_t seconds = (time_t)(utc_ns / NS_PER_S);
	char day[32] = "", text[64] = "";
	struct tm tm;

	gmtime_r(&seconds, &tm);
	if (utc_ns && strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm))
		snprintf(text, sizeof(text), "%s.%09uZ", day, (unsigned)(utc_ns % NS_PER_S));
	return strdup(text);
}

int result_new(struct result *result, const struct plan *plan)
{
	char size[SIZES_LIST_MAX * 32];

	*result = (struct result){.conns = plan->conns,
				  .depth = plan->depth,
				  .threads = plan->threads < plan->conns ? plan->threads : plan->conns,
				  .rounds = 1,
				  .rate_wanted = plan->rate,
				  .warmup_s = (double)plan->warmup_ns / 1e9,
				  .numbered = plan->payload.numbered || plan->mode == MODE_ONEWAY,
				  .may_lose = plan->may_lose,
				  .seed = plan->seed,
				  .think_min_s = (double)plan->think_min_ns / 1e9,
				  .think_max_s = (double)plan->think_max_ns / 1e9,
				  .path = {.tso = -1, .gso = -1, .gro = -1}};
	if (hists_new(&result->hists) < 0 || slices_new(&result->slices) < 0)
		return -ENOMEM;
	result->size = strdup(sizes_text(&plan->payload.sizes, size, sizeof(size)));
	if (note_targets(result, plan) < 0)
		return -ENOMEM;
	result->mode = strdup(mode_names[plan->mode]);
	result->expect = strdup(plan->expect == EXPECT_REGEX ? plan->expect_text : expect_names[plan->expect]);
	result->start_at = start_at_text(plan->start_at_ns);
	describe_system(result);
	return result->size && result->mode && result->expect && result->start_at && result->kernel && result->host &&
			       result->cpu && result->version && result->started
		       ? 0
		       : -ENOMEM;
}

void result_free(struct result *result)
{
	char *texts[] = {result->url, result->mode,    result->size,    result->engine, result->host,    result->kernel,
			 result->cpu, result->version, result->started, result->expect, result->start_at};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		free(texts[i]);
	for (unsigned i = 0; i < result->nwarnings; i++)
		free(result->warnings[i]);
	result_targets_free(result);
	free(result->columns);
	hists_free(&result->hists);
	slices_free(&result->slices);
	*result = (struct result){0};
}

void result_warn(struct result *result, const char *fmt, ...)
{
	char text[400], *kept;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kept = result->nwarnings < sizeof(result->warnings) / sizeof(result->warnings[0]) ? strdup(text) : NULL;
	if (kept)
		result->warnings[result->nwarnings++] = kept;
}

const struct tn_hist *result_latency(const struct result *result)
{
	return result->rate_wanted > 0 ? result->hists.response : result->hists.service;
}

bool result_has_latency(const struct result *result)
{
	return tn_hist_count(result->hists.service) > 0;
}

double result_rate(const struct result *result)
{
	return result->duration_s > 0 ? (double)result->messages / result->duration_s : 0;
}

double result_bytes_rate(const struct result *result)
{
	return result->duration_s > 0 ? (double)result->bytes / result->duration_s : 0;
}

double received_bytes_rate(const struct received *received)
{
	return received->seconds > 0 ? (double)received->bytes / received->seconds : 0;
}

const char *result_service_means(const struct result *r)
{
	if (strcmp(r->mode, "connect") == 0)
		return "from when connecting began until the connection was open";
	if (r->rate_wanted > 0)
		return "from when it was sent; what the server took, once it was asked";
	return "from when it was sent; a stalled server delays the next message too, so stalls hardly show (see "
	       "--rate)";
}
