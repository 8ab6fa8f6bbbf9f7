#include "served.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/report.h"
#include "common/workers.h"
#include "events.h"
#include "faults.h"
#include "pass.h"
#include "plan.h"
#include "session.h"
#include "targets.h"
#include "tenon.h"

#define CUT_NS (200 * NS_PER_MS) /* for what is queued to go, when sessions are closed */

struct served {
	struct listener listener; /* first */
	struct faults_source source;
	struct chaos_set *set;
	struct served_job *stopping;
	struct served_told *told;
	bool closed; /* its server has gone */
};

static void (*on_connection_closed)(struct listener *listener, int err);

void served_watch_closed(void (*closed)(struct listener *listener, int err))
{
	on_connection_closed = closed;
}

void served_free(struct served *served)
{
	if (!served)
		return;
	targets_free(served->listener.targets);
	free(served->listener.url);
	free(served->set);
	free(served);
}

/* Sessions may outlive the server: their targets still have something to take. */
static void free_if_left(struct served *served)
{
	if (served->closed && !served->listener.sessions)
		served_free(served);
}

static void on_left(struct listener *listener)
{
	free_if_left((struct served *)listener);
}

/* ---- what is told ---- */

void served_told_begin(struct served_told *told)
{
	pthread_mutex_init(&told->lock, NULL);
}

void served_told_end(struct served_told *told)
{
	pthread_mutex_destroy(&told->lock);
}

void served_count(struct served_told *told, struct tn_counts *counts)
{
	*counts = (struct tn_counts){0};
	pthread_mutex_lock(&told->lock); /* its server may be ending */
	if (told->server)
		tn_server_count(told->server, counts);
	counts->accepted += told->before.accepted;
	counts->bytes_in += told->before.bytes_in;
	counts->bytes_out += told->before.bytes_out;
	pthread_mutex_unlock(&told->lock);
}

static void told_set(struct served_told *told, const struct tn_server *server)
{
	struct tn_counts all;

	served_count(told, &all);
	pthread_mutex_lock(&told->lock);
	told->before = all;
	told->server = server;
	pthread_mutex_unlock(&told->lock);
}

/* ---- on its loop ---- */

static void answer(void *arg)
{
	struct served_job *job = arg;

	job->done(job);
}

static void finish(struct served_job *job)
{
	(void)workers_post(answer, job); /* the first loop goes last */
}

static struct served *served_new(const struct served_job *job)
{
	struct served *served = calloc(1, sizeof(*served));
	struct listener *listener = served ? &served->listener : NULL;

	if (!served)
		return NULL;
	*listener = (struct listener){.targets = targets_new(),
				      .carries = CHAOS_BYTES,
				      .faults = &served->source,
				      .closed = on_connection_closed,
				      .left = on_left,
				      .closes_at_bad = pass_closes_at_bad(job->listen)};
	if (listener->targets && targets_add(listener->targets, job->target, job->given))
		return served;
	served_free(served);
	return NULL;
}

/* What clients dial: IPv4 first, as other programs have it. */
static void note_address(struct served *served, struct served_job *job)
{
	const struct tn_server *server = served->listener.server;
	const char *url = tn_server_url(server, 0);

	for (int i = 0; i < tn_server_nurls(server); i++)
		if (!strchr(tn_server_url(server, i), '[')) {
			url = tn_server_url(server, i);
			break;
		}
	served->listener.url = strdup(url);
	url += strcspn(url, "/");
	url += strspn(url, "/");
	snprintf(job->at, sizeof(job->at), "%.*s", (int)strcspn(url, "?/"), url);
}

static void start(void *arg)
{
	struct served_job *job = arg;
	struct served *served = served_new(job);
	struct listener *listener = served ? &served->listener : NULL;

	job->err = served ? tn_serve(workers_loops()[job->loop], job->listen, &session_handler, listener,
				     &listener->server)
			  : -ENOMEM;
	if (job->err < 0) {
		snprintf(job->words, sizeof(job->words), "%s", served ? tn_errmsg() : tn_strerror(job->err));
		served_free(served);
		free(job->set);
		finish(job);
		return;
	}
	tn_server_limit(listener->server, plan.max_sessions);
	note_address(served, job);
	served->set = job->set;
	served->told = job->told;
	told_set(job->told, listener->server);
	atomic_store(&served->source.set, job->set);
	report_watch(listener->server);
	report_listening(listener->server, "relay");
	job->served = served;
	job->err = 0;
	finish(job);
}

static void change(void *arg)
{
	struct served_job *job = arg;
	struct served *served = job->served;
	struct chaos_set *before = served->set;

	served->set = job->set;
	atomic_store(&served->source.set, job->set);
	sessions_look(&served->listener);
	free(before);
	finish(job);
}

static void on_server_closed(void *arg)
{
	struct served *served = arg;
	struct served_job *job = served->stopping;

	told_set(served->told, NULL);
	job->served = NULL; /* here, as the answer may find no loop any more */
	served->closed = true;
	free_if_left(served);
	finish(job);
}

static void stop(void *arg)
{
	struct served_job *job = arg;
	struct served *served = job->served;

	served->stopping = job;
	if (!job->drain_ns)
		sessions_end(&served->listener, "the proxy was switched off");
	tn_server_close(served->listener.server, (job->drain_ns ? job->drain_ns : CUT_NS) / NS_PER_MS, on_server_closed,
			served);
}

bool served_post(struct served_job *job)
{
	static void (*const ways[])(void *) = {
		[SERVED_START] = start,
		[SERVED_CHANGE] = change,
		[SERVED_STOP] = stop,
	};

	return workers_post_to(job->loop, ways[job->what], job);
}
