/*
 * The generator: threads, each with a loop and its share of the connections, through the phases of a run: dial (open
 * all connections), ready (wait for all threads), run (warm-up, then what counts), drain (the last replies).
 *
 * At a rate, the time of every message is fixed before the run begins: message n of all connections is due at start + n
 * / rate, on connection n modulo the number of connections. A message that is late is sent late, and its response time
 * still counts from when it was due. So a stall of the server shows in every message that it delays.
 */
#include "load.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/options.h"
#include "common/output.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/text.h"
#include "hlog.h"
#include "link.h"
#include "oneway.h"
#include "plan.h"
#include "result.h"
#include "tenon.h"
#include "worker.h"

#define DIALLING_MAX 64          /* connections that a thread opens at a time */
#define SPIN_NS (80 * NS_PER_US) /* a send that is due sooner is waited for without sleep */
#define HOUSEKEEPING_NS (20 * NS_PER_MS)
#define START_NS (10 * NS_PER_MS) /* before the time of --start-at threads are told of it */
#define CLOSE_NS (500 * NS_PER_MS)

static struct {
	struct worker *workers;
	unsigned nworkers;
	struct plan *plan;
	struct tn_loop *loop; /* the main thread's: signals and the watcher */
	const struct watcher *watcher;
	struct result *result;
	uint64_t start_ns, begin_ns, end_ns;
	bool started, ended;
	bool abandoned;       /* a second SIGINT */
	_Atomic(bool) unread; /* the reader of standard output has gone */
} run;

static volatile sig_atomic_t interrupted;

bool bench_interrupted(void)
{
	return interrupted;
}

/* A thread that cannot be told to end would run for ever. */
static void post(struct tn_loop *loop, void (*fn)(void *arg), void *arg)
{
	if (tn_loop_post(loop, fn, arg) == 0)
		return;
	complain("bench: out of memory");
	_exit(STATUS_FAILED);
}

/* ---- dialling ---- */

/* Opens connections until all are open. In mode connect that is what is measured. */
static void dial(struct worker *w)
{
	bool early = w->plan->mode != MODE_CONNECT;

	while (early && w->phase == PHASE_DIAL && w->next_dial < w->nlinks && w->ndialling < DIALLING_MAX) {
		int rc = link_open(&w->links[w->next_dial]);

		if (rc < 0) {
			worker_fail(w, rc, tn_errmsg());
			return;
		}
		w->next_dial++;
		w->ndialling++;
	}
	if (w->phase != PHASE_DIAL || (early && w->nopen < w->nlinks))
		return;
	w->phase = PHASE_READY;
	atomic_store(&w->ready, true);
}

/* ---- samples ---- */

/*
 * Hands what has been measured to the main thread at the end of an interval, if that is done with the one before.
 * Otherwise, and when this thread has not run for so long, they become one longer stretch.
 */
static void rotate(struct worker *w, uint64_t now_ns)
{
	struct sample *done = w->sample;

	if (now_ns < w->sample_until_ns || w->phase != PHASE_RUN)
		return;
	done->end_ns = now_ns - (now_ns - w->sample_until_ns) % w->plan->interval_ns;
	w->sample_until_ns = done->end_ns + w->plan->interval_ns;
	if (atomic_load(&w->handed))
		return;
	w->sample = w->other;
	w->other = done;
	atomic_store(&w->handed, true);
}

static uint64_t spun_ns(const struct worker *w)
{
	return tn_loop_spun_ns(w->loop) + w->idle_ns;
}

/* ---- phases ---- */

static bool is_one_way(const struct worker *w)
{
	return w->plan->mode == MODE_SEND || w->plan->mode == MODE_RECV || w->plan->mode == MODE_BOTH;
}

/* What the kernel has taken is what was sent. */
static bool counts_taken(const struct plan *plan)
{
	return plan->mode == MODE_SEND || plan->mode == MODE_BOTH;
}

static bool is_flushed(const struct worker *w)
{
	for (unsigned i = 0; i < w->nlinks && counts_taken(w->plan); i++)
		if (w->links[i].conn && tn_conn_queued(w->links[i].conn))
			return false;
	return true;
}

/*
 * What has been passed to tn_send() but not to the kernel has not been sent. At the begin of the run it is still to be
 * sent, at the end it was not sent. With --requests, what was sent to warm up does not count.
 */
static void settle_queued(struct worker *w, bool end)
{
	if (!end && w->plan->requests)
		return;
	for (unsigned i = 0; i < w->nlinks && counts_taken(w->plan); i++) {
		size_t queued = w->links[i].conn ? tn_conn_queued(w->links[i].conn) : 0;
		uint64_t size = w->plan->payload.size_max, n = (queued + size - 1) / size;

		if (end) {
			w->counts.sent -= n < w->counts.sent ? n : w->counts.sent;
			w->counts.sent_bytes -= queued < w->counts.sent_bytes ? queued : w->counts.sent_bytes;
		} else {
			w->counts.sent += n;
			w->counts.sent_bytes += queued;
		}
	}
}

static void begin_counting(struct worker *w, uint64_t now_ns)
{
	if (w->cpu_begin_ns || now_ns < w->begin_ns)
		return;
	w->cpu_begin_ns = clock_cpu_ns();
	w->spun_begin_ns = spun_ns(w);
	settle_queued(w, false);
}

/* Links whose turn it is by the schedule. Returns when the next one is due. */
static uint64_t keep_schedule(struct worker *w, uint64_t now_ns)
{
	for (;;) {
		struct link *link = &w->links[w->cursor];
		uint64_t due_ns = worker_due_ns(w, link, w->round);

		if (due_ns > now_ns)
			return due_ns;
		link_pump(link, now_ns);
		if (++w->cursor == w->nlinks) {
			w->cursor = 0;
			w->round++;
		}
	}
}

/*
 * A run of a number of messages has no other end if its peer falls silent. At a rate, nothing need move between two
 * messages. Datagrams get lost instead, and a dial has a deadline of its own.
 */
static bool is_stuck(const struct worker *w, uint64_t now_ns)
{
	const struct plan *plan = w->plan;
	bool waits = plan->rate <= 0 || w->waited || !w->nopen || !is_flushed(w);

	if (!plan->requests || plan->mode == MODE_CONNECT || (plan->may_lose && plan->mode == MODE_ECHO))
		return false;
	return waits && now_ns >= w->moved_ns + plan->timeout_ns;
}

static void begin_drain(struct worker *w, uint64_t now_ns)
{
	if (w->end_ns > now_ns)
		w->end_ns = now_ns;
	if (w->plan->rate > 0)
		keep_schedule(w, now_ns); /* what was due before the end is sent, though this thread wakes late */
	begin_counting(w, w->begin_ns);
	w->cpu_end_ns = clock_cpu_ns();
	w->spun_end_ns = spun_ns(w);
	settle_queued(w, true);
	w->phase = PHASE_DRAIN;
	for (unsigned i = 0; i < w->nlinks && w->plan->mode == MODE_ONEWAY && !run.unread; i++)
		oneway_ask_last(&w->links[i]);
	w->drain_until_ns = run.unread ? now_ns : now_ns + w->plan->timeout_ns;
}

static void give_up(struct worker *w, uint64_t now_ns)
{
	if (!w->waited) /* what waits is counted as unanswered */
		worker_error(w, "nothing was sent or came for the time of --timeout", 1);
	begin_drain(w, now_ns);
	w->drain_until_ns = now_ns;
}

/* Looks after what waits: now and then. */
static void sweep(struct worker *w, uint64_t now_ns, uint64_t *sweep_ns)
{
	bool oneway = w->plan->mode == MODE_ONEWAY;

	if (now_ns < *sweep_ns || (!oneway && !(w->plan->may_lose && w->plan->mode == MODE_ECHO)))
		return;
	for (unsigned i = 0; i < w->nlinks; i++)
		(oneway ? oneway_tick : link_sweep)(&w->links[i], now_ns);
	*sweep_ns = now_ns + (oneway ? HOUSEKEEPING_NS : w->plan->timeout_ns / 8);
}

static void move_on(struct worker *w, uint64_t now_ns)
{
	if (w->phase == PHASE_RUN) {
		begin_counting(w, now_ns);
		if (now_ns >= w->end_ns || (!w->budget && !w->waited && is_flushed(w)))
			begin_drain(w, now_ns);
		else if (is_stuck(w, now_ns))
			give_up(w, now_ns);
	}
	if (w->phase == PHASE_DRAIN && (!w->waited || is_one_way(w) || now_ns >= w->drain_until_ns))
		w->phase = PHASE_OVER;
}

static void do_todo(struct worker *w, uint64_t now_ns)
{
	struct link *link = w->todo;

	w->todo = NULL;
	while (link) {
		struct link *next = link->next_todo;

		link->todo = false;
		link_pump(link, now_ns);
		link = next;
	}
}

/* One turn of a running thread: what is due, then the loop until something happens or more is due. */
static void worker_turn(struct worker *w, uint64_t *sweep_ns)
{
	uint64_t now_ns = clock_ns(), next_ns = now_ns + HOUSEKEEPING_NS, events = w->events, due_ns;
	bool spins;
	int rc;

	move_on(w, now_ns);
	rotate(w, now_ns);
	if (w->phase == PHASE_RUN && w->plan->rate > 0) {
		due_ns = keep_schedule(w, now_ns);
		next_ns = due_ns < next_ns ? due_ns : next_ns;
	}
	if (w->todo)
		do_todo(w, now_ns);
	sweep(w, now_ns, sweep_ns);
	if (w->phase == PHASE_OVER)
		return;
	if (w->phase == PHASE_RUN && w->end_ns < next_ns)
		next_ns = w->end_ns;
	spins = next_ns < now_ns + SPIN_NS;
	rc = tn_loop_step_until(w->loop, spins ? 0 : next_ns - SPIN_NS / 2);
	if (rc < 0)
		worker_fail(w, rc, tn_errmsg());
	if (spins && w->events == events)
		w->idle_ns += clock_ns() - now_ns;
}

/* Keeps the loop from being empty while all connections are down. */
static void keep_alive(void *arg)
{
	struct worker *w = arg;

	if (w->phase != PHASE_OVER && tn_timer_start(w->loop, HOUSEKEEPING_NS / NS_PER_MS, keep_alive, w, NULL) < 0)
		worker_fail(w, -ENOMEM, tn_errmsg());
}

static void close_all(struct worker *w)
{
	uint64_t until_ns = clock_ns() + CLOSE_NS;

	for (unsigned i = 0; i < w->nlinks; i++)
		link_settle(&w->links[i]);
	w->phase = PHASE_OVER;
	for (unsigned i = 0; i < w->nlinks; i++)
		link_close(&w->links[i]);
	while (!w->failed && w->closing && clock_ns() < until_ns && tn_loop_step(w->loop, 10) >= 0)
		;
	for (unsigned i = 0; i < w->nlinks; i++)
		if (w->links[i].conn)
			tn_abort(w->links[i].conn, 0);
	for (int i = 0; i < 100 && w->closing && tn_loop_step(w->loop, 1) >= 0; i++)
		;
}

/* The main thread looks when it is woken. */
static void woken(void *arg)
{
	(void)arg;
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	uint64_t sweep_ns = 0;

	prctl(PR_SET_TIMERSLACK, 1UL); /* the schedule is kept to the microsecond, not to the usual 50 */
	keep_alive(w);
	while (w->phase <= PHASE_READY) {
		dial(w);
		sweep(w, clock_ns(), &sweep_ns);
		if (w->phase <= PHASE_READY && tn_loop_step(w->loop, (int)(HOUSEKEEPING_NS / NS_PER_MS)) < 0)
			worker_fail(w, -EIO, tn_errmsg());
	}
	while (w->phase != PHASE_OVER)
		worker_turn(w, &sweep_ns);
	close_all(w);
	w->sample->end_ns = w->end_ns;
	atomic_store(&w->over, true);
	post(run.loop, woken, NULL);
	return NULL;
}

/* ---- the main thread ---- */

static void start_worker(void *arg)
{
	struct worker *w = arg;

	if (w->phase != PHASE_READY)
		return;
	w->start_ns = run.start_ns;
	w->begin_ns = run.begin_ns;
	w->end_ns = run.end_ns;
	w->moved_ns = run.start_ns;
	w->sample_until_ns = run.begin_ns + w->plan->interval_ns;
	w->phase = PHASE_RUN;
	for (unsigned i = 0; i < w->nlinks && !w->plan->rate; i++)
		worker_todo(&w->links[i]);
}

static void end_worker(void *arg)
{
	struct worker *w = arg;

	if (w->phase == PHASE_RUN)
		begin_drain(w, clock_ns());
	else if (w->phase == PHASE_DRAIN && run.unread)
		w->drain_until_ns = 0;
	else if (w->phase < PHASE_RUN)
		worker_fail(w, -ECANCELED, "interrupted before the run began");
}

static void end_all(void)
{
	for (unsigned i = 0; i < run.nworkers; i++)
		post(run.workers[i].loop, end_worker, &run.workers[i]);
}

static void on_signal(int nth, void *arg)
{
	(void)arg;
	interrupted = true;
	if (nth > 1) {
		run.abandoned = true;
		tn_loop_stop(run.loop);
		return;
	}
	end_all();
}

/* Nobody reads the result: the load ends now, and does not wait for the last replies. */
static void on_reader_gone(void *arg)
{
	(void)arg;
	interrupted = true;
	run.unread = true;
	end_all();
}

static bool all_are(bool ready)
{
	for (unsigned i = 0; i < run.nworkers; i++)
		if (!atomic_load(&run.workers[i].over) && !(ready && atomic_load(&run.workers[i].ready)))
			return false;
	return true;
}

static bool any_failed(void)
{
	for (unsigned i = 0; i < run.nworkers; i++)
		if (atomic_load(&run.workers[i].over))
			return true;
	return false;
}

/* How far the time of --start-at is ahead; 0: it has come, or there is none. */
static uint64_t ahead_ns(void)
{
	uint64_t at_ns = run.plan->start_at_ns, now_ns = at_ns ? clock_utc_ns() : 0;

	return at_ns > now_ns ? at_ns - now_ns : 0;
}

static void start_all(struct sample *sum)
{
	const struct plan *plan = run.plan;
	uint64_t ahead = ahead_ns(), least = plan->rate > 0 ? 2 * NS_PER_MS : 0;

	run.started = true;
	if (plan->start_at_ns && !ahead)
		result_warn(run.result, "the connections were open %.3f s after the time of --start-at: it began later",
			    (double)(clock_utc_ns() - plan->start_at_ns) / 1e9);
	/* The schedule begins when every thread knows it. */
	run.start_ns = clock_ns() + (ahead > least ? ahead : least);
	run.begin_ns = run.start_ns + plan->warmup_ns;
	run.end_ns = run.begin_ns + plan->duration_ns;
	sum->begin_ns = sum->end_ns = run.begin_ns;
	for (unsigned i = 0; i < run.nworkers; i++)
		post(run.workers[i].loop, start_worker, &run.workers[i]);
}

static void sample_add(struct sample *sum, const struct sample *sample)
{
	sum->messages += sample->messages;
	sum->bytes += sample->bytes;
	sum->errors += sample->errors;
	sum->end_ns = sample->end_ns > sum->end_ns ? sample->end_ns : sum->end_ns;
	hists_merge(&sum->hists, &sample->hists);
}

static void sample_clear(struct sample *sample)
{
	sample->messages = sample->bytes = sample->errors = 0;
	hists_clear(&sample->hists);
}

static struct column *take_sum(struct sample *sum)
{
	struct result *result = run.result;
	struct column *column;

	result->messages += sum->messages;
	result->bytes += sum->bytes;
	hists_merge(&result->hists, &sum->hists);
	column = result_column(result, sum, run.begin_ns);
	if (column && run.plan->hlog)
		hlog_add(run.plan->hlog, column, run.plan->rate > 0 ? sum->hists.response : sum->hists.service);
	sample_clear(sum);
	sum->begin_ns = sum->end_ns;
	return column;
}

/* The interval that all threads have handed over, as a column; NULL: not yet, some thread is behind. */
static struct column *take_second(struct sample *sum)
{
	bool whole = true;

	for (unsigned i = 0; i < run.nworkers; i++) {
		struct worker *w = &run.workers[i];

		if (!atomic_load(&w->handed))
			continue;
		sample_add(sum, w->other);
		w->taken_ns = w->other->end_ns;
		sample_clear(w->other);
		atomic_store(&w->handed, false);
	}
	for (unsigned i = 0; i < run.nworkers; i++)
		whole = whole && run.workers[i].taken_ns == sum->end_ns;
	return whole && sum->end_ns > sum->begin_ns ? take_sum(sum) : NULL;
}

/* What the threads still hold when they have ended: the last interval, which is told as the others were. */
static void take_rest(struct sample *sum)
{
	struct column *column = NULL;

	for (unsigned i = 0; i < run.nworkers; i++) {
		struct worker *w = &run.workers[i];

		if (atomic_load(&w->handed))
			sample_add(sum, w->other);
		sample_add(sum, w->sample);
	}
	if (sum->messages || sum->errors || sum->end_ns > sum->begin_ns)
		column = take_sum(sum);
	if (column && column->seconds > 0 && run.watcher)
		run.watcher->tick(run.watcher->arg, run.result, column, column->at_s + column->seconds, false);
}

static void watch(struct sample *sum)
{
	uint64_t now_ns = clock_ns();
	double elapsed_s = 0;
	struct column *column = NULL;

	if (run.started)
		elapsed_s = now_ns > run.begin_ns ? (double)(now_ns - run.begin_ns) / 1e9
						  : -(double)(run.begin_ns - now_ns) / 1e9;
	if (run.started)
		column = take_second(sum);
	if (run.watcher)
		run.watcher->tick(run.watcher->arg, run.result, column, elapsed_s, elapsed_s < 0);
}

static void supervise(struct sample *sum)
{
	int period_ms = run.watcher ? (int)run.watcher->period_ms : 250;

	while (!all_are(false) && !run.abandoned) {
		tn_loop_step(run.loop, run.started ? period_ms : 5);
		if (!run.started && !any_failed() && all_are(true) && ahead_ns() < START_NS)
			start_all(sum);
		if (any_failed() && !run.ended) {
			run.ended = true;
			for (unsigned i = 0; i < run.nworkers; i++)
				if (run.workers[i].failed)
					end_all();
		}
		watch(sum);
	}
}

/* ---- setting up ---- */

static int sample_new(struct sample **out)
{
	struct sample *sample = calloc(1, sizeof(*sample));

	if (!sample || hists_new(&sample->hists) < 0) {
		free(sample);
		return -ENOMEM;
	}
	*out = sample;
	return 0;
}

static void sample_free(struct sample *sample)
{
	if (sample)
		hists_free(&sample->hists);
	free(sample);
}

static uint64_t share(uint64_t all, unsigned i, unsigned of)
{
	return all / of + (i < all % of);
}

static void link_prepare(struct link *link, struct worker *w, unsigned index)
{
	const struct target *target = plan_target(w->plan, index);

	*link = (struct link){.worker = w, .index = index, .target = (unsigned)(target - w->plan->targets)};
}

static int worker_new(struct worker *w, struct plan *plan, unsigned index)
{
	int rc;

	w->plan = plan;
	w->index = index;
	w->nlinks = (unsigned)share(plan->conns, index, run.nworkers);
	w->budget = plan->requests ? share(plan->requests, index, run.nworkers) : UINT64_MAX;
	w->interval_ns = plan->rate > 0 ? 1e9 / plan->rate : 0;
	w->begin_ns = w->end_ns = UINT64_MAX;
	w->links = calloc(w->nlinks, sizeof(*w->links));
	w->data = malloc(plan->payload.size_max + 1);
	if (!w->links || !w->data || sample_new(&w->sample) < 0 || sample_new(&w->other) < 0 ||
	    slices_new(&w->slices) < 0 || (plan->ntargets > 1 && target_counts_new(&w->targets, plan->ntargets) < 0))
		return -ENOMEM;
	if (plan->payload.data)
		memcpy(w->data, plan->payload.data, plan->payload.size_max);
	rc = options_loop_new(&w->loop, NULL);
	for (unsigned i = 0; i < w->nlinks; i++)
		link_prepare(&w->links[i], w, index + i * run.nworkers);
	return rc == -ENOENT ? -EINVAL : rc; /* an engine that does not exist is wrong usage */
}

static void worker_free(struct worker *w)
{
	tn_loop_free(w->loop);
	for (unsigned i = 0; i < w->nlinks && w->links; i++)
		link_free(&w->links[i]);
	sample_free(w->sample);
	sample_free(w->other);
	slices_free(&w->slices);
	target_counts_free(w->targets, w->plan ? w->plan->ntargets : 0);
	text_free(&w->scratch);
	free(w->links);
	free(w->data);
}

static double span_s(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 0;
}

/* Threads end within the same turn or so: the longest counts. */
static double measured_s(void)
{
	double longest = 0;

	for (unsigned i = 0; i < run.nworkers; i++) {
		double s = span_s(run.workers[i].begin_ns, run.workers[i].end_ns);

		longest = s > longest ? s : longest;
	}
	return longest;
}

/* Scheduled within the time, but not sent: a connection was down, or its peer took nothing more. */
static uint64_t unsent_of(const struct worker *w)
{
	double n = 0;

	if (!w->plan->rate || w->plan->requests)
		return 0;
	for (unsigned i = 0; i < w->nlinks; i++) {
		double ends = (double)(w->end_ns - w->start_ns) / w->interval_ns - w->links[i].index;
		double due = ends / w->plan->conns - (double)w->links[i].next;

		n += due > 1 ? due : 0;
	}
	return (uint64_t)n;
}

static void collect_worker(struct worker *w, struct result *result)
{
	double wall_s = span_s(w->begin_ns, w->end_ns), cpu_s = span_s(w->cpu_begin_ns, w->cpu_end_ns);
	double busy = wall_s > 0 ? (cpu_s - span_s(w->spun_begin_ns, w->spun_end_ns)) / wall_s : 0;

	counts_merge(&result->counts, &w->counts);
	received_merge(&result->received, &w->received);
	for (unsigned i = 0; i < result->ntargets && w->targets; i++)
		target_counts_merge(&result->targets[i].counts, &w->targets[i]);
	if (w->has_path)
		result->path = w->path;
	slices_merge(&result->slices, &w->slices);
	result->counts.unsent += unsent_of(w);
	kinds_merge(&result->errors, &w->errors);
	result->cpu_s += cpu_s;
	result->busy = busy > result->busy ? busy : result->busy;
}

/* What did not come to the receivers that have answered. */
static void take_received(struct result *result)
{
	const struct received *r = &result->received;

	result->counts.lost = r->sent > r->messages ? r->sent - r->messages : 0;
	result->counts.duplicates = r->duplicates;
	result->counts.reordered = r->reordered;
}

static void collect(struct result *result, struct sample *sum)
{
	take_rest(sum);
	for (unsigned i = 0; i < run.nworkers; i++)
		collect_worker(&run.workers[i], result);
	if (counts_taken(run.plan) || run.plan->mode == MODE_ONEWAY) {
		result->messages = result->counts.sent;
		result->bytes = result->counts.sent_bytes;
	}
	if (result->received.silent)
		kinds_add(&result->errors, "the receiver did not say what has come", result->received.silent);
	if (run.plan->mode == MODE_ONEWAY)
		take_received(result);
	if (result->counts.unanswered)
		kinds_add(&result->errors, "no reply before the end, or before the connection ended",
			  result->counts.unanswered);
	if (result->counts.unsent)
		kinds_add(&result->errors, "due, but not sent before the end", result->counts.unsent);
	result->duration_s = measured_s();
	result->interrupted = interrupted;
	result->engine = strdup(tn_loop_engine(run.workers[0].loop));
}

static int failure_of_all(void)
{
	for (unsigned i = 0; i < run.nworkers; i++)
		if (run.workers[i].failed && run.workers[i].failed != -ECANCELED) {
			complain("%s", run.workers[i].failure);
			return run.workers[i].failed;
		}
	for (unsigned i = 0; i < run.nworkers; i++)
		if (run.workers[i].failed)
			return run.workers[i].failed;
	return 0;
}

static int run_threads(struct sample *sum)
{
	unsigned started = 0;

	for (; started < run.nworkers; started++)
		if (pthread_create(&run.workers[started].thread, NULL, worker_run, &run.workers[started]) != 0)
			break;
	if (started < run.nworkers) {
		complain("bench: a thread could not be started");
		run.nworkers = started;
		end_all();
	}
	supervise(sum);
	if (run.abandoned)
		_Exit(STATUS_FAILED);
	for (unsigned i = 0; i < started; i++)
		pthread_join(run.workers[i].thread, NULL);
	return 0;
}

static int set_up(struct plan *plan)
{
	int rc = tn_loop_new(&run.loop, "epoll"); /* it only waits for signals and the clock */

	if (rc >= 0)
		rc = signals_start(run.loop, on_signal, NULL);
	if (rc >= 0)
		rc = out_watch(run.loop, on_reader_gone, NULL);
	if (rc < 0) {
		complain_library(rc, NULL);
		return rc;
	}
	run.workers = calloc(run.nworkers, sizeof(*run.workers));
	if (!run.workers)
		return -ENOMEM;
	for (unsigned i = 0; i < run.nworkers; i++) {
		rc = worker_new(&run.workers[i], plan, i);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Between two runs of a search there is no loop that could be told. */
static void note_signal(int signo)
{
	(void)signo;
	interrupted = true;
}

static void tear_down(void)
{
	for (unsigned i = 0; i < run.nworkers && run.workers; i++)
		worker_free(&run.workers[i]);
	free(run.workers);
	out_unwatch();
	signals_stop();
	signal(SIGINT, note_signal);
	signal(SIGTERM, note_signal);
	tn_loop_free(run.loop);
	run.workers = NULL;
	run.loop = NULL;
}

int bench_run(struct plan *plan, struct result *result, const struct watcher *watcher)
{
	struct sample *sum = NULL;
	int rc;

	memset(&run, 0, sizeof(run));
	run.plan = plan;
	run.watcher = watcher;
	run.result = result;
	run.nworkers = plan->threads < plan->conns ? plan->threads : plan->conns;
	rc = sample_new(&sum);
	if (rc >= 0)
		rc = set_up(plan);
	if (rc >= 0)
		rc = run_threads(sum);
	if (rc >= 0)
		rc = failure_of_all();
	if (rc >= 0)
		collect(result, sum);
	sample_free(sum);
	tear_down();
	return rc;
}
