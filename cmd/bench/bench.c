/* tenon bench: the options, and what is run in which order. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/file_limit.h"
#include "common/human.h"
#include "common/json.h"
#include "common/options.h"
#include "common/output.h"
#include "common/settings.h"
#include "common/status.h"
#include "common/text.h"
#include "compare.h"
#include "exporter.h"
#include "flow/message.h"
#include "hlog.h"
#include "json.h"
#include "live.h"
#include "load.h"
#include "payload.h"
#include "plan.h"
#include "result.h"
#include "show.h"
#include "slo.h"
#include "start.h"
#include "tenon.h"
#include "tenon_value.h"

#define SIZE_DEFAULT "64"
#define INTERVAL_MIN_NS (100 * NS_PER_MS)
#define THINK_MAX_NS (3600 * NS_PER_S)
#define START_MAX_NS (24 * 3600 * NS_PER_S)

static struct {
	const char *rate, *slo, *mode, *size, *payload, *expect, *html, *output, *compare, *hlog;
	unsigned conns, depth, threads;
	unsigned requests;
	const char *weights;
	uint64_t duration_ns, warmup_ns, timeout_ns, interval_ns;
	const char *seed, *think, *start_at;
} options = {.duration_ns = UINT64_MAX, .warmup_ns = UINT64_MAX, .timeout_ns = 2 * NS_PER_S};

/* ---- what is asked for ---- */

static int wrong(const char *fmt, const char *a)
{
	char text[300];

	snprintf(text, sizeof(text), fmt, a);
	complain("bench: %s", text);
	complain_hint("%s bench --help", settings.program);
	return STATUS_USAGE;
}

/* 50k, 1.5M, 2500 */
static int parse_rate(const char *text, double *rate)
{
	char *end;

	*rate = strtod(text, &end);
	if (end == text || (*text != '.' && (*text < '0' || *text > '9')))
		return -1;
	if (*end == 'k' || *end == 'K')
		*rate *= 1e3, end++;
	else if (*end == 'M')
		*rate *= 1e6, end++;
	if (strcmp(end, "/s") == 0)
		end += 2;
	return *end || !(*rate > 0) || *rate > 1e9 ? -1 : 0;
}

static int parse_sizes(struct plan *plan)
{
	struct payload *p = &plan->payload;
	uint64_t least = plan->mode == MODE_ONEWAY ? FLOW_HEAD : 1;
	int rc = sizes_read(options.size ? options.size : SIZE_DEFAULT, least, &p->sizes);

	p->size_min = p->sizes.min;
	p->size_max = p->sizes.max;
	if (rc == -ERANGE)
		return wrong("--size: '%s' has no room for the head of a message, 36 bytes, that --mode one-way needs",
			     options.size);
	return rc < 0 ? wrong("--size: '%s' is not " SIZES_WRITTEN, options.size) : STATUS_DONE;
}

/* 20ms, 10-50ms */
static int parse_think(struct plan *plan)
{
	const char *text = options.think, *dash = text ? strchr(text, '-') : NULL;
	char low[32];

	if (!text)
		return STATUS_DONE;
	snprintf(low, sizeof(low), "%.*s", dash ? (int)(dash - text) : 31, text);
	if (tn_parse_duration(low, &plan->think_min_ns) < 0 ||
	    tn_parse_duration(dash ? dash + 1 : low, &plan->think_max_ns) < 0 || !plan->think_max_ns ||
	    plan->think_max_ns < plan->think_min_ns || plan->think_max_ns > THINK_MAX_NS)
		return wrong("--think: '%s' is not a duration (20ms) or a range of them (10ms-50ms), of up to 1h",
			     text);
	return STATUS_DONE;
}

static int parse_start_at(struct plan *plan)
{
	uint64_t now_ns = clock_utc_ns();

	if (!options.start_at)
		return STATUS_DONE;
	if (!time_read(options.start_at, &plan->start_at_ns))
		return wrong("--start-at: '%s' is not a time: 2026-01-31T12:00:00Z (or +01:00), or seconds since 1970",
			     options.start_at);
	if (plan->start_at_ns < now_ns)
		return wrong("--start-at: %s has passed", options.start_at);
	if (plan->start_at_ns - now_ns > START_MAX_NS)
		return wrong("--start-at: %s is more than a day ahead", options.start_at);
	return STATUS_DONE;
}

static int parse_slo(struct result *result)
{
	const char *equals = options.slo ? strchr(options.slo, '=') : NULL;
	char *end = NULL;
	uint64_t ns = 0;
	double percent;

	if (!options.slo)
		return STATUS_DONE;
	percent = *options.slo == 'p' ? strtod(options.slo + 1, &end) : -1;
	if (!equals || percent <= 0 || end != equals || percent >= 100 || tn_parse_duration(equals + 1, &ns) < 0 || !ns)
		return wrong("--slo: '%s' is not a target such as p99=10ms", options.slo);
	result->slo_quantile = percent / 100;
	result->slo_limit_us = (double)ns / 1e3;
	return STATUS_DONE;
}

static int parse_mode(struct plan *plan)
{
	static const char *const names[] = {"request", "send", "recv", "connect", "one-way", "both"};
	const int n = sizeof(names) / sizeof(names[0]);
	const char *near = options.mode ? tn_nearest(options.mode, names, n) : NULL;

	for (int i = 0; options.mode && i < n; i++)
		if (strcmp(options.mode, names[i]) == 0) {
			plan->mode = (enum bench_mode)i;
			return STATUS_DONE;
		}
	if (!options.mode)
		return STATUS_DONE;
	complain("bench: --mode: '%s' is none of request, send, recv, connect, one-way, both%s%s%s", options.mode,
		 near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
	return STATUS_USAGE;
}

static int parse_expect(struct plan *plan)
{
	char why[200];
	int err;

	plan->expect_text = options.expect;
	if (!options.expect) {
		plan->expect = plan->keeps ? EXPECT_AUTO : EXPECT_ECHO;
		return STATUS_DONE;
	}
	plan->expect = strcmp(options.expect, "any") == 0    ? EXPECT_ANY
		       : strcmp(options.expect, "echo") == 0 ? EXPECT_ECHO
							     : EXPECT_REGEX;
	err = plan->expect == EXPECT_REGEX ? regcomp(&plan->regex, options.expect, REG_EXTENDED) : 0;
	if (!err)
		return STATUS_DONE;
	regerror(err, &plan->regex, why, sizeof(why));
	complain("bench: --expect: '%s': %s", options.expect, why);
	plan->expect = EXPECT_AUTO;
	return STATUS_USAGE;
}

/* Two URLs that are good. */
static bool same_format(const char *a, const char *b)
{
	struct tn_split *one = NULL, *two = NULL;
	const char *x, *y;
	bool same = false;

	if (tn_split_new(a, &one) >= 0 && tn_split_new(b, &two) >= 0) {
		x = tn_split_format(one);
		y = tn_split_format(two);
		same = x && y ? strcmp(x, y) == 0 : x == y;
	}
	tn_split_free(one);
	tn_split_free(two);
	return same;
}

/* Options that exclude one another. */
static int check(const struct plan *plan)
{
	bool request = plan->mode == MODE_ECHO;
	bool unbounded = request && !plan->keeps && (plan->expect == EXPECT_ANY || plan->expect == EXPECT_REGEX);
	int kind = tn_url_kind(plan->url);
	bool datagrams = kind > 0 && kind & TN_URL_DATAGRAMS && !(kind & TN_URL_SECURE);

	if (plan->mode == MODE_RECV && datagrams)
		return wrong("--mode recv: %s: a socket gets no datagrams before it has sent one; use --mode request",
			     plan->url);
	if (plan->mode == MODE_CONNECT && datagrams)
		return wrong("--mode connect: %s: datagram sockets make no connections", plan->url);
	if (!request && options.depth)
		return wrong("--depth%s: only --mode request has messages in flight", "");
	if (!request && options.expect)
		return wrong("--expect%s: only --mode request has replies", "");
	if ((plan->mode == MODE_RECV || plan->mode == MODE_CONNECT) && (options.size || options.payload))
		return wrong("--size and --payload: --mode %s sends nothing", options.mode);
	if (plan->mode == MODE_ONEWAY && options.payload)
		return wrong("--payload%s: --mode one-way puts a head into each message, and fills the rest itself",
			     "");
	if (plan->mode == MODE_RECV && options.rate)
		return wrong("--rate%s: in --mode recv the peer decides how fast it sends", "");
	if (!options.duration_ns || !options.timeout_ns)
		return wrong("--%s: it takes more than no time", options.timeout_ns ? "duration" : "timeout");
	if (options.size && options.payload)
		return wrong("--size and --payload%s: the file is the message", "");
	if (options.interval_ns && options.interval_ns < INTERVAL_MIN_NS)
		return wrong("--interval%s: 100ms is the least", "");
	if (options.think && (!request || options.rate || options.slo))
		return wrong("--think%s: only in --mode request without --rate a message waits for the reply before it",
			     "");
	if (options.think && plan->depth > 1)
		return wrong("--think%s: with one message in flight on each connection: --depth 1", "");
	if (options.start_at && options.slo)
		return wrong("--start-at%s: a search has many runs", "");
	if (options.slo && (options.rate || !request || options.requests))
		return wrong(
			"--slo searches the rate of requests by itself: it goes with no --rate, --requests or --mode%s",
			"");
	if (unbounded && plan->depth > 1)
		return wrong("--expect %s: without a frame replies that are no echo cannot be told apart, so only one "
			     "message can be in flight: --depth 1, or key frame",
			     options.expect);
	if (unbounded && plan->rate > 0 && !options.depth)
		return wrong("--expect %s: without a frame only one message can be in flight: add --depth 1",
			     options.expect);
	return STATUS_DONE;
}

static int parse_seed(struct plan *plan)
{
	char *end;

	plan->seed = 1;
	if (!options.seed)
		return STATUS_DONE;
	errno = 0;
	plan->seed = strtoull(options.seed, &end, 0);
	return errno || *end || !*options.seed || *options.seed == '-'
		       ? wrong("--seed: '%s' is not a number", options.seed)
		       : STATUS_DONE;
}

/* 3,1: one for each URL. */
static int parse_weights(struct plan *plan)
{
	const char *at = options.weights;
	char *end = NULL;

	if (at && plan->ntargets == 1)
		return wrong("--weights: '%s' divides connections among several URLs", at);
	for (unsigned i = 0; at && i < plan->ntargets; i++) {
		unsigned long weight = *at >= '0' && *at <= '9' ? strtoul(at, &end, 10) : 0;

		if (!weight || weight > WEIGHT_MAX || (*end != ',' && *end))
			return wrong("--weights: '%s' is not a list of numbers from 1 to 100: 3,1", options.weights);
		if ((i + 1 < plan->ntargets) != (*end == ','))
			return wrong("--weights: '%s' has not one weight for each URL", options.weights);
		plan->targets[i].weight = (unsigned)weight;
		at = end + 1;
	}
	return STATUS_DONE;
}

/* One load speaks one way: what a URL says of messages must be the same for all. */
static int check_targets(const struct plan *plan)
{
	const char *first = plan->url;

	for (unsigned i = 0; i < plan->ntargets; i++) {
		const char *url = plan->targets[i].url;

		if (tn_url_check(url, TN_DIAL) < 0)
			return complain_library(TN_EURL, url);
		if (((tn_url_kind(url) ^ tn_url_kind(first)) & (TN_URL_DATAGRAMS | TN_URL_LOSSY)) == 0 &&
		    tn_url_keeps_messages(url) == tn_url_keeps_messages(first) && same_format(url, first))
			continue;
		complain("bench: %s and %s cannot be loaded together: their messages are of different kinds", first,
			 url);
		return STATUS_USAGE;
	}
	return STATUS_DONE;
}

/*
 * Deals the connections out, round by round: in round r each target gets one whose weight is more than r. So the first
 * connections are of all targets, and after the sum of all weights each has as many as its weight.
 */
static int divide(struct plan *plan)
{
	for (unsigned round = 0; round < WEIGHT_MAX; round++)
		for (unsigned i = 0; i < plan->ntargets; i++)
			if (plan->targets[i].weight > round)
				plan->deal[plan->ndeal++] = (unsigned char)i;
	plan->conns = options.conns ? options.conns : plan->ndeal;
	if (plan->conns < plan->ntargets)
		return wrong("--conns%s: fewer than there are URLs", "");
	for (unsigned i = 0; i < plan->conns; i++)
		plan_target(plan, i)->conns++;
	return STATUS_DONE;
}

static int make_plan(struct plan *plan, struct result *result)
{
	int status = check_targets(plan);

	if (status == STATUS_DONE)
		status = parse_mode(plan);
	if (status == STATUS_DONE)
		status = parse_weights(plan);
	if (status == STATUS_DONE)
		status = divide(plan);
	plan->keeps = status == STATUS_DONE && tn_url_keeps_messages(plan->url) == 1;
	plan->may_lose = status == STATUS_DONE && tn_url_kind(plan->url) & TN_URL_LOSSY;
	plan->memory = status == STATUS_DONE && tn_url_kind(plan->url) & TN_URL_MEMORY;
	plan->threads = options.threads ? options.threads : 1;
	plan->requests = options.requests;
	plan->timeout_ns = options.timeout_ns;
	plan->interval_ns = options.interval_ns ? options.interval_ns : NS_PER_S;
	if (status == STATUS_DONE && options.rate && parse_rate(options.rate, &plan->rate) < 0)
		status = wrong("--rate: '%s' is not a number of messages a second (2500, 50k, 1.5M)", options.rate);
	plan->depth = options.depth ? options.depth : options.rate || options.slo ? 0 : 1;
	plan->duration_ns = options.duration_ns != UINT64_MAX ? options.duration_ns
			    : plan->requests                  ? UINT64_MAX / 4
							      : 10 * NS_PER_S;
	plan->warmup_ns = options.warmup_ns != UINT64_MAX ? options.warmup_ns : plan->requests ? 0 : NS_PER_S;
	if (status == STATUS_DONE)
		status = parse_seed(plan);
	if (status == STATUS_DONE)
		status = parse_sizes(plan);
	if (status == STATUS_DONE)
		status = parse_expect(plan);
	if (status == STATUS_DONE)
		status = parse_slo(result);
	if (status == STATUS_DONE)
		status = parse_think(plan);
	if (status == STATUS_DONE)
		status = parse_start_at(plan);
	if (status == STATUS_DONE)
		status = check(plan);
	if (status == STATUS_DONE &&
	    payload_make(plan, options.payload && *options.payload == '@' ? options.payload + 1 : options.payload) < 0)
		status = STATUS_FAILED;
	return status;
}

/* ---- judging the run itself ---- */

static void warn(const struct plan *plan, struct result *r)
{
	double late_us = (double)tn_hist_quantile(r->hists.late, 0.99) / 1e3;
	char us[32];

	if (plan->rate > 0 && late_us > 1000 && !r->counts.reconnects)
		result_warn(r,
			    "one message in a hundred was sent more than %s late: this machine is busy, or the rate is "
			    "more than this generator or the connections take; response times hold that delay",
			    human_us(late_us, us, sizeof(us)));
	if (plan->rate <= 0 && r->busy > 0.9 && r->duration_s > 0.1)
		result_warn(
			r,
			"the generator was busy %.0f %% of the time: it, and not the server, may have been the limit; "
			"try --threads, or more processors",
			r->busy * 100);
	if (r->duration_s < 0.5 && !plan->requests && !r->interrupted)
		result_warn(r, "%.3g s are short: the tail of the latencies is not known from so few messages",
			    r->duration_s);
	if (r->may_lose && r->counts.sent && r->counts.lost == r->counts.sent)
		result_warn(r, "not one reply came back: is anybody there?");
}

/* ---- running ---- */

static void tell_json(const struct column *column)
{
	struct text text = {0};

	column_json(column, "interval", false, &text);
	json_line(&text);
}

static bool is_shown(void)
{
	return !settings.json && !settings.quiet && !options.interval_ns && isatty(STDERR_FILENO);
}

/* What is told on the way: to --admin, as JSON, as lines, or drawn on a terminal. */
static void tick(void *arg, const struct result *result, const struct column *column, double elapsed_s, bool warming)
{
	exporter_note(column);
	if (column && json_is_wanted())
		tell_json(column);
	if (column && options.interval_ns && !settings.json)
		live_line(column);
	if (is_shown())
		live_tick(arg, result, column, elapsed_s, warming);
}

static const struct watcher watcher = {.tick = tick, .period_ms = 100};

static int run_once(struct plan *plan, struct result *result)
{
	int rc;

	if (is_shown())
		live_begin(plan);
	rc = bench_run(plan, result, &watcher);
	if (is_shown())
		live_end();
	if (rc >= 0)
		warn(plan, result);
	return rc;
}

static int search_and_run(struct plan *plan, struct result *result)
{
	int rc = slo_search(plan, result, options.depth);

	if (rc < 0 && !(rc == -ECANCELED && bench_interrupted()))
		return rc;
	if (bench_interrupted()) {
		result->rate_wanted = plan->rate;
		result->interrupted = true;
		result_warn(result, "interrupted during the search: there was no whole run at the rate");
		return 0;
	}
	if (plan->rate <= 0) {
		plan->rate = result->nslo_steps ? result->slo_steps[result->nslo_steps - 1].rate : 1;
		result_warn(result, "no rate that was tried keeps the target; this is the run at the lowest");
	}
	result->rate_wanted = plan->rate;
	rc = run_once(plan, result);
	if (rc >= 0 && !result->interrupted)
		slo_compare(result);
	return rc;
}

static int hlog_close(struct plan *plan)
{
	bool bad = plan->hlog && ferror(plan->hlog);

	if (plan->hlog && (fclose(plan->hlog) != 0 || bad)) {
		complain("%s: %s", options.hlog, tn_strerror(-errno));
		return -1;
	}
	return 0;
}

/* Opens the log that a line for each second is written to. Returns 0, or -1 after printing an error: also where the
 * library cannot write histograms as text. */
static int hlog_open(struct plan *plan)
{
	struct tn_hist *none = NULL;
	char *text = NULL;
	int err = options.hlog ? tn_hist_new(&none) : 0;

	if (options.hlog && err == 0)
		err = tn_hist_encode(none, &text);
	tn_hist_free(none);
	free(text);
	if (err < 0) {
		complain("--hlog: %s", tn_errmsg());
		return -1;
	}
	plan->hlog = options.hlog ? fopen(options.hlog, "we") : NULL;
	if (options.hlog && !plan->hlog) {
		complain("%s: %s", options.hlog, tn_strerror(-errno));
		return -1;
	}
	if (plan->hlog)
		hlog_begin(plan->hlog);
	return 0;
}

static int interrupted_early(void)
{
	complain("bench: interrupted before anything was measured");
	return STATUS_FAILED;
}

static int measure(struct plan *plan, struct result *result)
{
	int rc, status;

	file_limit_raise(NULL);
	if (!result_can_write(options.output) || !result_can_write(options.html) || hlog_open(plan) < 0)
		return STATUS_FAILED;
	status = exporter_start(plan);
	if (status != STATUS_DONE) {
		(void)hlog_close(plan);
		return status;
	}
	rc = options.slo ? search_and_run(plan, result) : run_once(plan, result);
	exporter_stop();
	status = hlog_close(plan);
	if (out_lost() == -EPIPE && rc == -ECANCELED)
		return STATUS_DONE; /* before the run had begun */
	if (rc == -EINVAL)
		return STATUS_USAGE;
	if (rc == -ENOMEM)
		complain("bench: out of memory");
	if (rc < 0)
		return rc == -ECANCELED ? interrupted_early() : (int)status_of(rc);
	status = status < 0 ? (result_show(result, options.output, options.html), STATUS_FAILED)
			    : result_show(result, options.output, options.html);
	if (out_lost() == -EPIPE)
		return status;
	if (result->interrupted && !result->messages)
		return result->nslo_steps ? STATUS_FAILED : interrupted_early();
	return result->errors.total || (!result->messages && plan->mode != MODE_SEND) ? STATUS_FAILED : status;
}

static int run_plan(char **urls, int count)
{
	struct target targets[TARGETS_MAX];
	struct plan plan = {.url = urls[0], .targets = targets, .ntargets = (unsigned)count};
	struct result result = {0}, target = {0};
	int status;

	if (count > TARGETS_MAX)
		return wrong("64 URLs at most%s", "");
	for (int i = 0; i < count; i++)
		targets[i] = (struct target){.url = urls[i], .weight = 1};
	status = make_plan(&plan, &target);

	if (status == STATUS_DONE && result_new(&result, &plan) < 0) {
		complain("bench: out of memory");
		status = STATUS_FAILED;
	}
	if (status == STATUS_DONE) {
		result.slo_quantile = target.slo_quantile;
		result.slo_limit_us = target.slo_limit_us;
		status = measure(&plan, &result);
	}
	result_free(&result);
	free(plan.payload.data);
	if (plan.expect == EXPECT_REGEX)
		regfree(&plan.regex);
	return status;
}

static int merge(char **paths, int count)
{
	struct result result = {0};
	int status = bench_merge(paths, count, &result);

	if (status == STATUS_DONE)
		status = result_show(&result, options.output, options.html);
	result_free(&result);
	return status;
}

static int run(char **operands, int count)
{
	char *both[] = {(char *)(uintptr_t)options.compare, count ? operands[0] : NULL};

	if (options.compare)
		return bench_compare(both, count + 1);
	if (count == 0)
		return wrong("which URL%s?", "");
	if (strcmp(operands[0], "compare") == 0)
		return bench_compare(operands + 1, count - 1);
	if (strcmp(operands[0], "merge") == 0)
		return merge(operands + 1, count - 1);
	return run_plan(operands, count);
}

/* iperf3 -c HOST */
static const char *set_conns(const char *value, void *to)
{
	if (*value < '0' || *value > '9')
		return "is not a number; the endpoint is an argument: tcp://HOST:PORT";
	return option_set_number(value, to);
}

static const struct option_spec own_options[] = {
	{"conns", 'c', OPTION_VALUE, set_conns, &options.conns, "N", "connections (default 1)"},
	{"weights", 0, OPTION_VALUE, option_set_text, &options.weights, "N,N...",
	 "of several URLs: how the connections are divided among them (default: evenly)"},
	{"depth", 0, OPTION_VALUE, option_set_number, &options.depth, "N",
	 "messages in flight on each connection (default 1; with --rate no limit)"},
	{"rate", 'R', OPTION_VALUE, option_set_text, &options.rate, "N",
	 "messages a second over all connections: 2500, 50k, 1.5M"},
	{"slo", 0, OPTION_VALUE, option_set_text, &options.slo, "pN=DUR",
	 "search the highest rate at which N percent of the messages take at most this time"},
	{"mode", 0, OPTION_VALUE, option_set_text, &options.mode, "MODE",
	 "request (default); send or recv: one way; one-way: to serve --handler count, which says what has come; both: "
	 "both ways at once; connect: connections a second"},
	{"duration", 'd', OPTION_VALUE, option_set_duration, &options.duration_ns, "DUR",
	 "time that is measured (default 10s)"},
	{"warmup", 0, OPTION_VALUE, option_set_duration, &options.warmup_ns, "DUR",
	 "time before that, not measured (default 1s)"},
	{"requests", 'n', OPTION_VALUE, option_set_number, &options.requests, "N",
	 "end after N messages (no warm-up unless asked for)"},
	{"size", 0, OPTION_VALUE, option_set_text, &options.size, "SIZES",
	 "bytes of a message (default 64): 64; drawn from a range, 16-4KiB, from a list with weights, "
	 "64@7,576@4,1500@1, or around a mean, exp:512"},
	{"payload", 0, OPTION_VALUE, option_set_text, &options.payload, "FILE",
	 "the message is the contents of a file (@FILE works as well)"},
	{"expect", 0, OPTION_VALUE, option_set_text, &options.expect, "WHAT",
	 "any reply, echo, or a regular expression that the reply matches (default: echo on streams without a "
	 "frame, otherwise any)"},
	{"timeout", 'T', OPTION_VALUE, option_set_duration, &options.timeout_ns, "DUR",
	 "a datagram without a reply after this time is lost; the last replies are waited for this time; with "
	 "--requests, a stream on which nothing moves for this time ends the run (default 2s)"},
	{"threads", 't', OPTION_VALUE, option_set_number, &options.threads, "N",
	 "threads, each with its share of the connections (default 1)"},
	{"interval", 'i', OPTION_VALUE, option_set_duration, &options.interval_ns, "DUR",
	 "a line on the way each time this has passed (100ms or more); with --json an object (default there 1s)"},
	{"think", 0, OPTION_VALUE, option_set_text, &options.think, "DUR[-DUR]",
	 "time between a reply and the next message of a connection, or a range to draw from"},
	{"start-at", 0, OPTION_VALUE, option_set_text, &options.start_at, "TIME",
	 "begin at this time of day, as other machines do: 2026-01-31T12:00:00Z, or seconds since 1970"},
	{"seed", 0, OPTION_VALUE, option_set_text, &options.seed, "N", "for contents and sizes (default 1)"},
	{"output", 0, OPTION_VALUE, option_set_text, &options.output, "FILE",
	 "write the result as JSON, for compare and merge"},
	{"html", 0, OPTION_VALUE, option_set_text, &options.html, "FILE", "write the result as a page with pictures"},
	{"hlog", 0, OPTION_VALUE, option_set_text, &options.hlog, "FILE",
	 "write the latencies of each second as HdrHistogram's log"},
	{"compare", 0, OPTION_VALUE, option_set_text, &options.compare, "A B", "the same as compare A B"},
	{"admin", 0, OPTION_VALUES, admin_set, NULL, "URL", ADMIN_MEANING},
	{"json", 'J', OPTION_ALONE, option_set_flag, &settings.json, NULL,
	 "a JSON object each second, and the result as the last line"},
	{0},
};

const struct command bench_command = {
	.name = "bench",
	.takes_place = true,
	.meaning = "measure the latency and throughput of any endpoint",
	.help = "Examples:\n"
		"  tenon bench tcp://localhost:10000                 one message after another, for 10 s\n"
		"  tenon bench tcp://localhost:10000 --conns 64      as many as the server takes\n"
		"  tenon bench tcp://localhost:10000 --conns 64 --rate 50k --html result.html\n"
		"  tenon bench udp://localhost:10000 --rate 10k      loss, duplicates and order too\n"
		"  tenon bench tcp://localhost:10000 --conns 64 --slo p99=10ms\n"
		"  tenon bench tcp://localhost:9 --mode send --size 64KiB\n"
		"  tenon bench compare before.json after.json\n"
		"\n"
		"Usage:\n"
		"  tenon bench URL...\n"
		"  tenon bench compare A.json B.json\n"
		"  tenon bench merge A.json B.json...                also files of --hlog, here and for compare\n"
		"\n"
		"Without --rate a connection sends its next message when a reply has come. That shows how much the\n"
		"server can do, but hides its stalls: a server that stalls is asked less. With --rate the time of\n"
		"each message is fixed before the run, and a message that is delayed counts from that time.\n"
		"\n"
		"On a stream without the key frame a reply is over when as many bytes as were sent have come back.\n"
		"Exit status 1 when there were errors; lost datagrams are a result, not an error.\n",
	.options = own_options,
	.run = run,
};
