/*
 * The pages of --admin have a loop and a thread of their own, so that nobody who asks is in the way of a generator's
 * loop. The main thread notes here what each second has brought, and that thread tells it.
 */
#include "exporter.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "admin/admin.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/status.h"
#include "common/text.h"
#include "common/workers.h"
#include "tenon.h"

/* Upper bounds of the histogram: 16 us, each next one four times as much, where rows of the heat map end too. */
#define BOUNDS 9
#define FIRST_BOUND_US 16

static struct {
	const struct plan *plan;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	uint64_t messages, bytes, errors;
	uint64_t latencies[BOUNDS + 1]; /* between two bounds each; the last: above all */
	double latency_us;              /* the sum, as the heat map has it */
	struct column last;             /* seconds is 0: there is none yet */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double bound_us(int i)
{
	return (double)(FIRST_BOUND_US << 2 * i);
}

/* ---- what is told ---- */

static void counter(struct text *out, bool open, const char *name, const char *help, uint64_t value)
{
	metrics_family(out, open, name, "counter", help);
	text_add(out, "%s %llu\n", name, (unsigned long long)value);
}

static void percentile(struct text *out, const char *name, double us)
{
	text_add(out, "tenon_bench_recent_latency_seconds{percentile=\"%s\"} %.9g\n", name, us / 1e6);
}

static void latencies(struct text *out, bool open)
{
	uint64_t total = 0;

	metrics_family(out, open, "tenon_bench_latency_seconds", "histogram",
		       "From when a message was due to its reply; the sum is nearly right.");
	for (int i = 0; i <= BOUNDS; i++) {
		total += state.latencies[i];
		if (i < BOUNDS)
			text_add(out, "tenon_bench_latency_seconds_bucket{le=\"%.9g\"} %llu\n", bound_us(i) / 1e6,
				 (unsigned long long)total);
	}
	text_add(out, "tenon_bench_latency_seconds_bucket{le=\"+Inf\"} %llu\n", (unsigned long long)total);
	text_add(out, "tenon_bench_latency_seconds_sum %.9g\ntenon_bench_latency_seconds_count %llu\n",
		 state.latency_us / 1e6, (unsigned long long)total);
	metrics_family(out, open, "tenon_bench_recent_latency_seconds", "gauge",
		       "Percentiles of the second that was measured last.");
	percentile(out, "50", state.last.p50_us);
	percentile(out, "99", state.last.p99_us);
	percentile(out, "100", state.last.max_us);
}

static void metrics(struct text *out, bool open)
{
	pthread_mutex_lock(&state.lock);
	counter(out, open, "tenon_bench_messages_total", "Messages that were answered; one way: that went.",
		state.messages);
	counter(out, open, "tenon_bench_bytes_total", "Bytes of these messages.", state.bytes);
	counter(out, open, "tenon_bench_errors_total", "Messages and connections that failed.", state.errors);
	metrics_family(out, open, "tenon_bench_connections", "gauge", "Connections of the load.");
	text_add(out, "tenon_bench_connections %u\n", state.plan->conns);
	latencies(out, open);
	pthread_mutex_unlock(&state.lock);
}

static void status(struct text *out)
{
	pthread_mutex_lock(&state.lock);
	json_object(out, "bench");
	json_text(out, "url", state.plan->url);
	json_number(out, "connections", state.plan->conns);
	json_number(out, "messages", state.messages);
	json_number(out, "bytes", state.bytes);
	json_number(out, "errors", state.errors);
	json_real(out, "rate", state.last.seconds > 0 ? (double)state.last.messages / state.last.seconds : 0);
	json_real(out, "p50_us", state.last.p50_us);
	json_real(out, "p99_us", state.last.p99_us);
	json_real(out, "max_us", state.last.max_us);
	json_object_end(out);
	pthread_mutex_unlock(&state.lock);
}

/* ---- what is noted ---- */

static void add_heat(const struct column *column)
{
	int at = 0;

	for (unsigned row = 0; row < HEAT_ROWS; row++) {
		while (at < BOUNDS && heat_row_us(row) >= bound_us(at))
			at++;
		state.latencies[at] += column->heat[row];
		state.latency_us += column->heat[row] * (heat_row_us(row) + heat_row_us(row + 1)) / 2;
	}
}

void exporter_note(const struct column *column)
{
	if (!state.started || !column)
		return;
	pthread_mutex_lock(&state.lock);
	state.messages += column->messages;
	state.bytes += column->bytes;
	state.errors += column->errors;
	state.last = *column;
	add_heat(column);
	pthread_mutex_unlock(&state.lock);
}

/* ---- its thread ---- */

static void on_end(int index)
{
	(void)index;
	admin_close();
}

static void *serve(void *arg)
{
	static const struct workers_hooks hooks = {.end = on_end};

	(void)arg;
	(void)workers_run(&hooks); /* a failure has been told; the load goes on */
	return NULL;
}

int exporter_start(const struct plan *plan)
{
	static const struct admin_more more = {.metrics = metrics, .status = status};
	sigset_t all, before;
	int rc;

	if (!admin_is_wanted())
		return STATUS_DONE;
	state.plan = plan;
	if (workers_new(1) < 0)
		return STATUS_FAILED;
	rc = admin_open("bench", &more);
	if (rc != STATUS_DONE) {
		admin_close();
		workers_free();
		return rc;
	}
	admin_ready();
	sigfillset(&all); /* they are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	state.started = pthread_create(&state.thread, NULL, serve, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (state.started)
		return STATUS_DONE;
	complain("--admin: a thread could not be started");
	admin_close();
	workers_free();
	return STATUS_FAILED;
}

void exporter_stop(void)
{
	if (!state.started)
		return;
	workers_stop();
	pthread_join(state.thread, NULL);
	state.started = false;
}
