/*
 * HdrHistogram's log: a line for each second, with the histogram of what was measured in it. It is written for tools
 * that read this format. It is also read wherever a result is read, so results of other tools can be merged, compared
 * and shown as a page.
 */
#include "hlog.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/status.h"
#include "result.h"
#include "tenon.h"

void hlog_begin(FILE *file)
{
	uint64_t ms = clock_utc_ns() / NS_PER_MS;

	fprintf(file,
		"#[Histogram of latencies in nanoseconds, by tenon %s]\n#[Histogram log format version 1.3]\n"
		"#[StartTime: %llu.%03llu (seconds since epoch)]\n"
		"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
		tn_version(), (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000));
}

void hlog_add(FILE *file, const struct column *column, const struct tn_hist *latency)
{
	char *text;

	if (tn_hist_encode(latency, &text) < 0)
		return;
	/* The maximum is in milliseconds: that is how other tools write histograms of nanoseconds */
	fprintf(file, "%.3f,%.3f,%.3f,%s\n", column->at_s, column->seconds, (double)tn_hist_max(latency) / 1e6, text);
	free(text);
}

bool hlog_is(const char *text, size_t len)
{
	return len > 2 && (strncmp(text, "#[", 2) == 0 || strncmp(text, "\"St", 3) == 0);
}

/* start,length,max,histogram; a tag may stand before them. Returns 0, 1 for a line without a histogram, or an error and
 * why. */
static int read_line(const char *line, size_t len, struct column *column, struct tn_hist *latency, const char **why)
{
	char numbers[200];
	int rc;
	const char *from = len > 4 && strncmp(line, "Tag=", 4) == 0 ? memchr(line, ',', len) : NULL, *text;
	double max;

	if (from) {
		len -= (size_t)(from + 1 - line);
		line = from + 1;
	}
	if (!len || *line == '#' || *line == '"')
		return 1;
	snprintf(numbers, sizeof(numbers), "%.*s", len < 199 ? (int)len : 199, line);
	*column = (struct column){0};
	text = memmem(line, len, "HIST", 4); /* how each begins, whatever its version */
	*why = "start, length, maximum and histogram stand in a line";
	if (!text || sscanf(numbers, "%lf,%lf,%lf,", &column->at_s, &column->seconds, &max) != 3)
		return TN_EFORMAT;
	*why = "its start or length is out of range";
	if (!isfinite(column->at_s) || !isfinite(column->seconds) || column->seconds < 0)
		return TN_EFORMAT;
	rc = tn_hist_decode(latency, text, len - (size_t)(text - line));
	*why = tn_errmsg();
	return rc;
}

static int add_line(struct result *r, struct column *column, const struct tn_hist *latency)
{
	struct column *to = result_column_new(r);

	if (!to)
		return -ENOMEM;
	column->messages = tn_hist_count(latency);
	column_fill(column, latency);
	*to = *column;
	r->messages += column->messages;
	r->duration_s += column->seconds;
	tn_hist_merge(r->hists.service, latency);
	return 0;
}

static int prepare(struct result *r, const char *path)
{
	char **texts[] = {&r->engine, &r->host, &r->kernel, &r->cpu, &r->version, &r->started, &r->start_at};

	r->url = strdup(path);
	r->mode = strdup("request");
	r->size = strdup("0");
	r->expect = strdup("any");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		*texts[i] = strdup("");
		if (!*texts[i])
			return -ENOMEM;
	}
	if (!r->url || !r->mode || !r->size || !r->expect)
		return -ENOMEM;
	r->rounds = r->conns = r->threads = 1;
	r->path = (struct path){.tso = -1, .gso = -1, .gro = -1};
	return hists_new(&r->hists);
}

int hlog_read(const char *path, const char *text, size_t len, struct result *result)
{
	const char *end = text + len;
	struct tn_hist *latency = NULL;
	const char *why = "out of memory";
	bool cut = false;
	unsigned number = 1;
	int rc = prepare(result, path);

	if (rc >= 0)
		rc = tn_hist_new(&latency);
	for (; rc >= 0 && text < end; number++) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((stop ? stop : end) - text);
		struct column column;

		tn_hist_clear(latency);
		rc = read_line(text, n && text[n - 1] == '\r' ? n - 1 : n, &column, latency, &why);
		cut = !stop;
		if (rc == 0)
			rc = add_line(result, &column, latency);
		text += n + 1;
	}
	tn_hist_free(latency);
	if (rc < 0)
		complain("%s: line %u of a histogram log: %s%s", path, number - 1,
			 rc == -ENOMEM ? tn_strerror(rc) : why,
			 cut ? "; the line has no end: was the file cut short?" : "");
	return rc < 0 ? STATUS_REFUSED : STATUS_DONE;
}
