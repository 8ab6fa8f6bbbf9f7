/*
 * tenon bench, shared by its files:
 *
 *	bench.c          options, and what is run in which order       bench_load.c     threads, phases, the schedule
 *	bench_link.c     one connection: what it owes and is owed      bench_payload.c  what is sent, and whether a
 *reply is it bench_total.c    samples become a result                       bench_table.c    for a person bench_json.c
 *for a program, and back                       bench_html.c     a page with pictures bench_live.c     what is shown
 *meanwhile                       bench_compare.c  two results, and many as one bench_slo.c      the highest rate that
 *keeps a target    bench_hlog.c     HdrHistogram's log
 */
#ifndef TENON_BENCH_H
#define TENON_BENCH_H

#include <regex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "people.h"
#include "tenon.h"
#include "tenon_hist.h"

#define NS_PER_S 1000000000ULL
#define NS_PER_MS 1000000ULL
#define NS_PER_US 1000ULL

struct text;

/* ---- what is to be done ---- */

enum bench_mode { MODE_ECHO, MODE_SEND, MODE_RECV, MODE_CONNECT };
enum expect { EXPECT_AUTO, EXPECT_ANY, EXPECT_ECHO, EXPECT_REGEX };

/* Messages: a template whose first bytes are changed to number them. */
struct payload {
	char *data; /* size_max bytes */
	size_t size_min, size_max;
	bool numbered;
	size_t number_at;
	bool from_file;
};

struct plan {
	const char *url;
	enum bench_mode mode;
	unsigned conns, depth, threads; /* depth 0 at a rate: as many as come */
	double rate;                    /* messages a second by schedule; 0: the next follows the reply */
	uint64_t duration_ns, warmup_ns, timeout_ns;
	uint64_t requests; /* 0: until the time is over */
	uint64_t seed;
	enum expect expect;
	const char *expect_text;
	regex_t regex;
	struct payload payload;
	bool keeps;    /* the endpoint keeps messages whole */
	FILE *hlog;    /* the histogram of each second; NULL: nowhere */
	bool may_lose; /* datagrams that can be lost, doubled and reordered */
};

/* ---- bench_payload.c ---- */

#define NUMBER_LEN 12 /* characters that number a message */

struct message_id {
	uint64_t seed, conn, number;
};

/* Makes the template: of a file, or of `size_max` characters that every frame and format allows. 0, or -1: told. */
int payload_make(struct plan *plan, const char *path);

/* The size of a message. */
size_t payload_size(const struct plan *plan, const struct message_id *id);

/* Writes its number into the template, which then is the message. */
void payload_number(struct plan *plan, char *data, const struct message_id *id);

/* Finds the number in a reply. */
bool payload_find(const struct plan *plan, const void *reply, size_t len, const struct message_id *id,
		  uint64_t *number);

/* Whether these bytes are what stands at `offset` of the message. */
bool payload_matches(const struct plan *plan, const struct message_id *id, size_t offset, const void *data, size_t len);

/* ---- what came of it ---- */

#define KINDS_MAX 16

/* Errors, by what they say. */
struct kinds {
	struct {
		char text[120];
		uint64_t count;
	} list[KINDS_MAX];
	unsigned n;
	uint64_t total;
};

void kinds_add(struct kinds *kinds, const char *text, uint64_t count);
void kinds_merge(struct kinds *kinds, const struct kinds *from);

struct hists {
	struct tn_hist *service;  /* from the real sending to the reply */
	struct tn_hist *response; /* from the time when it should have been sent; only at a rate */
	struct tn_hist *late;     /* from that time to the real sending; only at a rate */
};

int hists_new(struct hists *hists);
void hists_free(struct hists *hists);
void hists_merge(struct hists *hists, const struct hists *from);
void hists_clear(struct hists *hists);

/* What one thread saw within about a second. */
struct sample {
	uint64_t begin_ns, end_ns;
	uint64_t messages, bytes, errors;
	struct hists hists;
};

/* What is counted beside messages. All of the time that is measured. */
struct counts {
	uint64_t sent, sent_bytes, received_bytes;
	uint64_t lost, duplicates, reordered, late; /* datagrams; late: after they had been given up, not lost */
	uint64_t unanswered;                        /* at the end, or as their connection ended */
	uint64_t opened, reconnects;
	uint64_t unsent; /* scheduled, but their turn never came */
};

void counts_merge(struct counts *counts, const struct counts *from);

#define HEAT_STEPS 4 /* to each power of two of a microsecond */
#define HEAT_ROWS (33 * HEAT_STEPS)
#define COLUMNS_MAX 600
#define ROUNDS_MAX (2 * COLUMNS_MAX) /* runs that were merged, each with a column at least */

/* A stretch of time: one second, or more where there would be too many. */
struct column {
	double at_s, seconds;
	unsigned round;
	uint64_t messages, bytes, errors;
	double p50_us, p99_us, max_us;
	uint32_t heat[HEAT_ROWS];
};

#define SLICES_MAX 600
#define SLICE_NS (50 * NS_PER_MS)

/*
 * Latencies over time for the picture, from the begin of what is measured: slices of a twentieth of a second, and where
 * a run is longer than there are slices, of twice as much, again and again.
 */
struct slices {
	uint64_t width_ns;           /* of each; SLICE_NS times a power of two */
	unsigned count, last;        /* last: the one that was added to, since time hardly ever goes on that far */
	uint64_t last_ns;            /* where it begins */
	uint32_t (*heat)[HEAT_ROWS]; /* SLICES_MAX of them */
};

int slices_new(struct slices *slices);
void slices_free(struct slices *slices);
void slices_add(struct slices *slices, uint64_t at_ns, uint64_t latency_ns);
void slices_merge(struct slices *slices, struct slices *from); /* which may be made coarser */

/* Those of a run that came after `after_s` seconds. Where one of the two has none, none are left. */
void slices_append(struct slices *slices, double after_s, const struct slices *from);

struct result {
	/* set-up, as the plan had it: owned texts */
	char *url, *mode, *size, *engine, *host, *kernel, *cpu, *version, *started, *expect;
	unsigned conns, depth, threads, rounds;
	double rate_wanted, duration_s, warmup_s; /* duration: what was really measured */
	bool numbered, may_lose, interrupted;
	uint64_t seed;
	/* outcome */
	uint64_t messages, bytes;
	struct kinds errors;
	struct counts counts;
	struct hists hists;
	struct column *columns;
	unsigned ncolumns, cap_columns;
	struct slices slices; /* none of a file that has none */
	double cpu_s, busy;   /* CPU time of the generator; share of the time its busiest thread had work */
	char *warnings[8];
	unsigned nwarnings;
	/* --slo */
	double slo_quantile, slo_limit_us; /* 0: none */
	struct slo_step {
		double rate, achieved;
		double value_us, least_us, most_us; /* of several runs: the one in the middle, and their spread */
		unsigned trials;
		bool kept; /* by most of them */
	} slo_steps[64];
	unsigned nslo_steps;
};

int result_new(struct result *result, const struct plan *plan);
void result_free(struct result *result);
void result_warn(struct result *result, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What is told as the latency: response time at a rate, service time otherwise. */
const struct tn_hist *result_latency(const struct result *result);
double result_rate(const struct result *result);
double result_bytes_rate(const struct result *result);
bool result_has_latency(const struct result *result);

/* Adds a stretch of all threads together. */
struct column *result_column(struct result *result, const struct sample *sum, uint64_t begin_ns);
struct column *result_column_new(struct result *result);
void column_fill(struct column *column, const struct tn_hist *latency);
unsigned heat_row(uint64_t ns);
double heat_row_us(unsigned row); /* where it begins */

/* ---- running ---- */

/* Told about once a second, and more often for the progress alone (column NULL). */
struct watcher {
	void (*tick)(void *arg, const struct result *result, const struct column *column, double elapsed_s,
		     bool warming);
	void *arg;
	uint64_t period_ms;
};

/*
 * Carries a plan out and fills the result. Returns 0, or a negative code when it could not begin or go on, which a
 * person has been told. `again`: another run of the same command (searching a rate): SIGINT is noted between them too.
 */
int bench_run(struct plan *plan, struct result *result, const struct watcher *watcher);

/* SIGINT has been received: end early. */
bool bench_interrupted(void);

/*
 * bench_slo.c: searches the highest rate that keeps the target, notes what was tried, and sets the plan's rate, 0 when
 * there is none. `depth`: as asked for, or 0. As bench_run().
 */
int slo_search(struct plan *plan, struct result *total, unsigned depth);
void slo_compare(struct result *total);

/* ---- showing ---- */

void result_table(const struct result *result, struct text *text);

/* What the service time of a run like this is, in one line. */
const char *result_service_means(const struct result *result);
void result_json(const struct result *result, struct text *text);
void column_json(const struct column *column, const char *event, bool with_heat, struct text *text);
int result_html(const struct result *result, const char *path);

/* Reads what --json or --output wrote. Returns 0, or an exit status: a person has been told. */
int result_read(const char *path, struct result *result);

/* HdrHistogram's log: bench_hlog.c */
void hlog_begin(FILE *file);
void hlog_add(FILE *file, const struct column *column, const struct tn_hist *latency);
bool hlog_is(const char *text, size_t len);
int hlog_read(const char *path, const char *text, size_t len, struct result *result); /* as result_read() */

/* tenon bench compare A B: an exit status. */
int bench_compare(char **paths, int count);

/* tenon bench merge: the sum of all, which the caller ends with result_free() in every case. An exit status. */
int bench_merge(char **paths, int count, struct result *result);

/* The live view. */
void live_begin(const struct plan *plan);
void live_tick(void *arg, const struct result *result, const struct column *column, double elapsed_s, bool warming);
void live_end(void);

/* Writes a text as a file and frees it. 0, or -1: told. */
int write_file(const char *path, struct text *text);

uint64_t bench_clock_ns(void);

#endif
