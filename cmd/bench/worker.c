#include "worker.h"

#include <stdio.h>

#include "plan.h"
#include "result.h"
#include "tenon.h"

void worker_fail(struct worker *w, int err, const char *text)
{
	if (w->failed)
		return;
	w->failed = err;
	snprintf(w->failure, sizeof(w->failure), "%s", text);
	w->phase = PHASE_OVER;
	tn_loop_stop(w->loop);
}

void worker_error(struct worker *w, const char *text, uint64_t count)
{
	kinds_add(&w->errors, text, count);
	w->sample->errors += count;
}

void worker_error_of(struct link *link, const char *text)
{
	worker_error(link->worker, text, 1);
	if (link->worker->targets)
		link->worker->targets[link->target].errors++;
}

void worker_todo(struct link *link)
{
	if (link->todo)
		return;
	link->todo = true;
	link->next_todo = link->worker->todo;
	link->worker->todo = link;
}

uint64_t worker_due_ns(const struct worker *w, const struct link *link, uint64_t number)
{
	return w->start_ns + (uint64_t)((double)(number * w->plan->conns + link->index) * w->interval_ns);
}

/*
 * Whether a message belongs to the time that is measured. At a rate, and if messages can be lost, its own time decides,
 * so that messages sent, answered and lost add up. Otherwise the time of its reply decides.
 */
static bool is_counted(const struct worker *w, uint64_t due_ns, uint64_t sent_ns, uint64_t now_ns)
{
	if (w->plan->rate > 0)
		return worker_counts(w, due_ns);
	return worker_counts(w, w->plan->may_lose || w->plan->requests ? sent_ns : now_ns);
}

/* Of several URLs each has its own figures. */
static void count_target(const struct link *link, uint64_t n, size_t bytes, uint64_t latency_ns)
{
	struct target_counts *counts = link->worker->targets ? &link->worker->targets[link->target] : NULL;

	if (!counts)
		return;
	counts->messages += n;
	counts->bytes += bytes;
	if (latency_ns)
		tn_hist_add_many(counts->latency, latency_ns, n);
}

void worker_answered(struct link *link, uint64_t due_ns, uint64_t sent_ns, uint64_t now_ns, uint64_t n, size_t bytes)
{
	struct worker *w = link->worker;
	struct sample *sample = w->sample;
	uint64_t latency_ns = now_ns - (w->plan->rate > 0 ? due_ns : sent_ns);

	w->answered += n;
	if (!is_counted(w, due_ns, sent_ns, now_ns) || (w->plan->mode == MODE_RECV && !w->budget))
		return;
	w->budget -= w->plan->mode == MODE_RECV;
	sample->messages += n;
	sample->bytes += bytes;
	count_target(link, n, bytes, w->plan->mode == MODE_RECV ? 0 : latency_ns);
	if (w->plan->mode == MODE_RECV)
		return;
	tn_hist_add_many(sample->hists.service, now_ns - sent_ns, n);
	if (w->plan->rate > 0)
		tn_hist_add_many(sample->hists.response, now_ns - due_ns, n);
	/* A reply after the end counts at the last moment before it */
	slices_add(&w->slices, (now_ns < w->end_ns ? now_ns : w->end_ns - 1) - w->begin_ns, latency_ns, n);
}

void worker_sent(struct link *link, uint64_t due_ns, uint64_t now_ns, uint64_t n, size_t bytes)
{
	struct worker *w = link->worker;

	w->events += n;
	w->moved_ns = now_ns;
	if (!worker_counts(w, due_ns))
		return;
	w->budget -= n; /* messages that warm up are not among those that were asked for */
	w->counts.sent += n;
	w->counts.sent_bytes += bytes;
	if (w->plan->mode != MODE_ECHO && w->plan->mode != MODE_CONNECT) {
		w->sample->messages += n;
		w->sample->bytes += bytes;
		count_target(link, n, bytes, 0);
	}
	if (w->plan->rate > 0)
		tn_hist_add_many(w->sample->hists.late, now_ns - due_ns, n);
}

void worker_opened(struct link *link)
{
	struct worker *w = link->worker;

	w->nopen++;
	w->counts.opened++;
	w->ndialling -= w->phase == PHASE_DIAL;
}
