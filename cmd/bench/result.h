/* Samples, and the result that they become. */
#ifndef TENON_BENCH_RESULT_H
#define TENON_BENCH_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "path.h"
#include "plan.h"
#include "tenon_hist.h"

#define KINDS_MAX 16

/* Errors, by their text. */
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

/* Counts besides messages, over all the time that is measured. */
struct message_counts {
	uint64_t sent, sent_bytes, received, received_bytes; /* received: messages, where they are not replies */
	uint64_t lost, duplicates, reordered, late; /* datagrams; late: after they had been given up, not lost */
	uint64_t unanswered;                        /* at the end, or as their connection ended */
	uint64_t opened, reconnects;
	uint64_t unsent; /* scheduled, but their turn never came */
};

void counts_merge(struct message_counts *counts, const struct message_counts *from);

/* Of one of several URLs. */
struct target_counts {
	uint64_t messages, bytes, errors;
	struct tn_hist *latency;
};

int target_counts_new(struct target_counts **counts, unsigned n);
void target_counts_free(struct target_counts *counts, unsigned n); /* NULL is allowed */
void target_counts_merge(struct target_counts *counts, const struct target_counts *from);

#define RESULT_TARGETS_MAX 64

struct target_result {
	char *url;
	unsigned weight, conns;
	struct target_counts counts;
};

#define RECEIVED_STEPS 5 /* p50, p90, p99, p99.9, max */

/* What the other end says of --mode one-way. */
struct received {
	unsigned flows, silent; /* silent: those of them that have not said it in the end */
	uint64_t sent;          /* by those that have */
	uint64_t messages, bytes, duplicates, reordered;
	uint64_t dropped; /* by the receiver's kernel: all of its socket's */
	double seconds;   /* from the first message to the last, of the longest flow */
	double jitter_us;
	uint64_t timed; /* messages that latency_us is of; 0: the ends have no clock in common */
	double latency_us[RECEIVED_STEPS];
};

extern const char *const received_steps[RECEIVED_STEPS]; /* their names */

/* Takes in the percentiles of one more flow, or of one more result. */
void received_latency(struct received *received, uint64_t timed, const double latency_us[RECEIVED_STEPS]);
void received_merge(struct received *received, const struct received *from);

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
 * Latencies over time for the picture, from the begin of the measurement: slices of 50 ms. Where a run is longer than
 * there are slices, their width is doubled, again and again.
 */
struct slices {
	uint64_t width_ns;           /* of each; SLICE_NS times a power of two */
	unsigned count, last;        /* last: the one that was added to, since time hardly ever goes on that far */
	uint64_t last_ns;            /* where it begins */
	uint32_t (*heat)[HEAT_ROWS]; /* SLICES_MAX of them */
};

int slices_new(struct slices *slices);
void slices_free(struct slices *slices);
void slices_add(struct slices *slices, uint64_t at_ns, uint64_t latency_ns, uint64_t count);
void slices_merge(struct slices *slices, struct slices *from); /* which may be made coarser */

/* Those of a run that came after `after_s` seconds; 0: at the same time. Where one of the two has none, none are left.
 */
void slices_append(struct slices *slices, double after_s, const struct slices *from);

struct result {
	/* set-up, as the plan had it: owned texts */
	char *start_at; /* "": as soon as it could */
	char *url, *mode, *size, *engine, *host, *kernel, *cpu, *version, *started, *expect;
	unsigned conns, depth, threads, rounds;
	double rate_wanted, duration_s, warmup_s; /* duration: what was really measured */
	bool numbered, may_lose, interrupted;
	uint64_t seed;
	double think_min_s, think_max_s;
	struct path path;
	/* outcome */
	uint64_t messages, bytes;
	struct kinds errors;
	struct message_counts counts;
	struct received received; /* flows is 0: nobody was asked */
	struct hists hists;
	struct column *columns;
	unsigned ncolumns, cap_columns;
	struct slices slices;          /* none of a file that has none */
	struct target_result *targets; /* of several */
	unsigned ntargets;
	double cpu_s, busy; /* CPU time of the generator; share of the time its busiest thread had work */
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

/* Two texts, with a comma between them. */
int text_join(char **to, const char *from);

int result_new(struct result *result, const struct plan *plan);
void result_free(struct result *result);
/* One more, without any counts; NULL: there are too many, or no memory. The URL is copied. */
struct target_result *result_target_new(struct result *result, const char *url);
void result_targets_free(struct result *result);
void result_warn(struct result *result, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What is told as the latency: response time at a rate, service time otherwise. */
const struct tn_hist *result_latency(const struct result *result);
double result_rate(const struct result *result);
double result_bytes_rate(const struct result *result);
double received_bytes_rate(const struct received *received);
bool result_has_latency(const struct result *result);

/* Adds a stretch of all threads together. */
struct column *result_column(struct result *result, const struct sample *sum, uint64_t begin_ns);
struct column *result_column_new(struct result *result);
void column_join(struct column *to, const struct column *other); /* of the same time */
void column_fill(struct column *column, const struct tn_hist *latency);
unsigned heat_row(uint64_t ns);
double heat_row_us(unsigned row); /* where it begins */

/* What the service time of a run like this is, in one line. */
const char *result_service_means(const struct result *result);

#endif
