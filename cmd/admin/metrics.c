/* What Prometheus reads: text format 0.0.4, and OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/). */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin.h"
#include "common/clock.h"
#include "common/text.h"
#include "common/workers.h"
#include "told.h"

static const double life_bounds[LIFE_BOUNDS] = {0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 21600, 86400};
static const double size_bounds[SIZE_BOUNDS] = {64, 1024, 16384, 262144, 1048576, 16777216, 268435456, 4294967296};

void told_note(struct told *told, const struct tn_conn *conn)
{
	struct tn_conn_info info;
	uint64_t now = tn_loop_now(tn_conn_loop(conn)), bytes, ns;
	int life = 0, size = 0;

	tn_conn_info(conn, &info);
	ns = now > info.opened_ns ? now - info.opened_ns : 0;
	bytes = info.bytes_in + info.bytes_out;
	while (life < LIFE_BOUNDS && (double)ns / 1e9 > life_bounds[life])
		life++;
	while (size < SIZE_BOUNDS && (double)bytes > size_bounds[size])
		size++;
	told->lives[life]++;
	told->sizes[size]++;
	told->life_ns += ns;
	told->bytes += bytes;
}

/* What stands before the values of a metric. OpenMetrics names the family, which a counter's _total is no part of. */
void metrics_family(struct text *out, bool open, const char *name, const char *type, const char *help)
{
	size_t len = strlen(name);

	if (open && !strcmp(type, "counter") && len > 6)
		len -= 6;
	text_add(out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)len, name, help, (int)len, name, type);
}

struct column {
	const char *name, *type, *help;
	size_t at;          /* of struct tn_counts */
	const char *labels; /* besides the server's; NULL: none */
};

#define COUNT(field) offsetof(struct tn_counts, field)

/* Rows of one name lie behind one another. */
static const struct column columns[] = {
	{"tenon_connections", "gauge", "Connections that are open.", COUNT(open), NULL},
	{"tenon_accepted_connections_total", "counter", "Connections that were let in.", COUNT(accepted), NULL},
	{"tenon_closed_connections_total", "counter", "Connections that have closed.", COUNT(closed), NULL},
	{"tenon_received_bytes_total", "counter", "Payload that was received.", COUNT(bytes_in), NULL},
	{"tenon_sent_bytes_total", "counter", "Payload that was sent.", COUNT(bytes_out), NULL},
	{"tenon_received_messages_total", "counter", "Messages that were received.", COUNT(msgs_in), NULL},
	{"tenon_sent_messages_total", "counter", "Messages that were sent.", COUNT(msgs_out), NULL},
	{"tenon_bad_messages_total", "counter", "Messages that their frame or format does not allow.", COUNT(bad),
	 NULL},
	{"tenon_lost_datagrams_total", "counter", "Datagrams that were lost here.", COUNT(lost), NULL},
	{"tenon_dropped_datagrams_total", "counter", "Datagrams that the kernel dropped before they were read.",
	 COUNT(dropped), NULL},
	{"tenon_refused_total", "counter", "Connections and datagrams that were refused.", COUNT(refused_limit),
	 "reason=\"limit\""},
	{"tenon_refused_total", NULL, NULL, COUNT(refused_source), "reason=\"source\""},
	{"tenon_refused_total", NULL, NULL, COUNT(refused_access), "reason=\"access\""},
	{"tenon_refused_total", NULL, NULL, COUNT(refused_proxy), "reason=\"proxy\""},
	{"tenon_handshakes_total", "counter", "Handshakes (TLS, WebSocket, PROXY) that were done.", COUNT(handshakes),
	 NULL},
	{"tenon_resumed_handshakes_total", "counter", "Handshakes that went on with an earlier session.",
	 COUNT(resumed), NULL},
	{"tenon_failed_handshakes_total", "counter", "Handshakes that failed.", COUNT(handshakes_failed),
	 "reason=\"error\""},
	{"tenon_failed_handshakes_total", NULL, NULL, COUNT(handshakes_timed_out), "reason=\"timeout\""},
	{"tenon_failed_accepts_total", "counter", "Connections that could not be accepted.", COUNT(accept_failed),
	 NULL},
	{"tenon_queue_peak_bytes", "gauge", "The most bytes that one connection has had queued.", COUNT(queue_peak),
	 NULL},
};

static void columns_write(struct text *out, bool open)
{
	for (int i = 0; i < admin.count; i++)
		(void)told_count(admin.list[i]);
	for (size_t c = 0; c < sizeof(columns) / sizeof(columns[0]); c++) {
		const struct column *column = &columns[c];

		if (column->type)
			metrics_family(out, open, column->name, column->type, column->help);
		for (int i = 0; i < admin.count; i++) {
			uint64_t value;

			memcpy(&value, (const char *)&admin.list[i]->last + column->at, sizeof(value));
			text_add(out, "%s{server=\"%d\"%s%s} %llu\n", column->name, i, column->labels ? "," : "",
				 column->labels ? column->labels : "", (unsigned long long)value);
		}
	}
}

/* OpenMetrics writes whole numbers as 1.0 here. */
static const char *bound_text(double bound, bool open, char out[32])
{
	snprintf(out, 32, "%.12g%s", bound, open && bound == floor(bound) ? ".0" : "");
	return out;
}

static void histogram(struct text *out, bool open, const char *name, int server, const _Atomic(uint64_t) *counts,
		      const double *bounds, int nbounds, double sum)
{
	uint64_t total = 0;
	char bound[32];

	for (int i = 0; i <= nbounds; i++) {
		total += counts[i];
		text_add(out, "%s_bucket{server=\"%d\",le=\"%s\"} %llu\n", name, server,
			 i < nbounds ? bound_text(bounds[i], open, bound) : "+Inf", (unsigned long long)total);
	}
	text_add(out, "%s_sum{server=\"%d\"} %.9g\n%s_count{server=\"%d\"} %llu\n", name, server, sum, name, server,
		 (unsigned long long)total);
}

static void histograms(struct text *out, bool open)
{
	metrics_family(out, open, "tenon_connection_duration_seconds", "histogram", "How long connections lasted.");
	for (int i = 0; i < admin.count; i++)
		histogram(out, open, "tenon_connection_duration_seconds", i, admin.list[i]->lives, life_bounds,
			  LIFE_BOUNDS, (double)admin.list[i]->life_ns / 1e9);
	metrics_family(out, open, "tenon_connection_size_bytes", "histogram",
		       "How many bytes connections carried, both ways together.");
	for (int i = 0; i < admin.count; i++)
		histogram(out, open, "tenon_connection_size_bytes", i, admin.list[i]->sizes, size_bounds, SIZE_BOUNDS,
			  (double)admin.list[i]->bytes);
}

/* A label's value, in which only these three may not stand as they are. */
void metrics_label(struct text *out, const char *value)
{
	for (; *value; value++)
		if (*value == '\n')
			text_add(out, "\\n");
		else
			text_add(out, "%s%c", *value == '\\' || *value == '"' ? "\\" : "", *value);
}

static void process(struct text *out, bool open)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	metrics_family(out, open, "process_cpu_seconds_total", "counter", "Time of processors that was used.");
	text_add(out, "process_cpu_seconds_total %.6f\n",
		 (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
			 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	metrics_family(out, open, "process_peak_resident_memory_bytes", "gauge",
		       "The most memory that was used at a time.");
	text_add(out, "process_peak_resident_memory_bytes %llu\n", (unsigned long long)used.ru_maxrss * 1024);
	metrics_family(out, open, "process_start_time_seconds", "gauge", "When it was started, since 1970.");
	text_add(out, "process_start_time_seconds %.3f\n", (double)admin.started_utc_ns / 1e9);
}

void metrics_write(struct text *out, bool open)
{
	metrics_family(out, open, "tenon_build_info", "gauge", "Version and engine.");
	text_add(out, "tenon_build_info{version=\"%s\",engine=\"%s\",command=\"%s\"} 1\n", tn_version(),
		 tn_loop_engine(workers_loops()[0]), admin.command);
	metrics_family(out, open, "tenon_loops", "gauge", "Event loops, each with a thread of its own.");
	text_add(out, "tenon_loops %d\n", workers_count());
	metrics_family(out, open, "tenon_server_info", "gauge",
		       "What a server is: its first listener, and what it does.");
	for (int i = 0; i < admin.count; i++) {
		text_add(out, "tenon_server_info{server=\"%d\",url=\"", i);
		metrics_label(out, admin.list[i]->url);
		text_add(out, "\",handler=\"%s\"} 1\n", admin.list[i]->handler);
	}
	columns_write(out, open);
	histograms(out, open);
	metrics_family(out, open, "tenon_admin_slow_readers_total", "counter", "Readers of /events that were cut.");
	text_add(out, "tenon_admin_slow_readers_total %llu\n", (unsigned long long)admin.slow);
	process(out, open);
	if (admin.more && admin.more->metrics)
		admin.more->metrics(out, open);
	if (open)
		text_add(out, "# EOF\n");
}
