/* A server whose answers take time: threads work them out, and send them by handles. A line is a number; the answer is
 * its prime factors. Answers may overtake one another.
 * Run: worker_pool [URL [THREADS]]     then: printf '1000000007\n360\n' | nc localhost 10006
 * SIGTERM ends it when all that it has taken is answered. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stop.h"

#define THREADS 4
#define OPEN_MAX 64 /* questions of one client at a time: a client that asks faster is not read from meanwhile */

struct job {
	struct job *next;
	struct tn_handle *handle; /* whom it is for; the connection may end at any time */
	size_t len;
	char text[32];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *first, **last;
	int over;
} work = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER, .last = &work.first};

static struct stop stopping;

/* ---- the threads ---- */

static struct job *next_job(void)
{
	struct job *job;

	pthread_mutex_lock(&work.lock);
	while (!work.first && !work.over)
		pthread_cond_wait(&work.more, &work.lock);
	job = work.first;
	if (job && !(work.first = job->next))
		work.last = &work.first;
	pthread_mutex_unlock(&work.lock);
	return job;
}

static size_t factorize(const char *text, char *out, size_t cap)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);
	size_t len = (size_t)snprintf(out, cap, "%s:", text);

	if (*text < '0' || *text > '9' || *end || n > 1000000000000000ULL)
		return (size_t)snprintf(out, cap, "%s: not a number up to 10^15", text);
	for (unsigned long long f = 2; n > 1; f = f * f > n ? n : f + 1)
		for (; n % f == 0; n /= f)
			len += (size_t)snprintf(out + len, cap - len, " %llu", f);
	return len;
}

/* On the loop again, behind the answer. */
static void answered(struct tn_conn *conn, void *arg)
{
	(void)arg;
	if (!conn)
		return; /* it ended meanwhile: nobody waits for the answer */
	tn_conn_set_data(conn, (void *)((uintptr_t)tn_conn_data(conn) - 1));
	tn_resume(conn);
	tn_conn_release(conn);
}

static void *worker(void *arg)
{
	struct job *job;
	char answer[512];

	while ((job = next_job())) {
		size_t len = factorize(job->text, answer, sizeof(answer));
		int rc;

		/* A client that does not read its answers: this thread waits for it. TN_ESTATE: it has gone. */
		while ((rc = tn_handle_send(job->handle, answer, len)) == TN_EFULL &&
		       (rc = tn_handle_wait(job->handle, -1)) == 0)
			;
		if (rc < 0 && rc != TN_ESTATE)
			tn_handle_abort(job->handle, rc); /* an answer that is missing must be seen */
		else if (tn_handle_call(job->handle, answered, NULL) == -ENOMEM)
			abort(); /* no memory for a few bytes */
		tn_handle_unref(job->handle);
		free(job);
	}
	return arg;
}

/* ---- the loop ---- */

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	uintptr_t open = (uintptr_t)tn_conn_data(conn) + 1; /* questions that are not answered */
	struct job *job = calloc(1, sizeof(*job));
	int rc = !job ? -ENOMEM : msg->len >= sizeof(job->text) ? TN_ETOOBIG : tn_conn_handle(conn, &job->handle);

	(void)arg;
	if (rc < 0) {
		free(job);
		tn_abort(conn, rc);
		return;
	}
	memcpy(job->text, msg->data, msg->len);
	tn_conn_set_data(conn, (void *)open);
	if (open == OPEN_MAX)
		tn_pause(conn);
	tn_conn_hold(conn); /* an answer is owed: neither SIGTERM nor the client's end closes it before */
	pthread_mutex_lock(&work.lock);
	*work.last = job;
	work.last = &job->next;
	pthread_cond_signal(&work.more);
	pthread_mutex_unlock(&work.lock);
}

int main(int argc, char **argv)
{
	static const struct tn_handler handler = {.on_msg = on_msg};
	const char *url = argc > 1 ? argv[1] : "tcp://localhost:10006?frame=line&max=31";
	int nthreads = argc > 2 ? atoi(argv[2]) : THREADS, started = 0;
	pthread_t threads[64];
	struct tn_loop *loop = NULL;
	int rc = tn_loop_new(&loop, NULL);

	if (rc == 0)
		rc = tn_serve(loop, url, &handler, NULL, &stopping.server);
	if (rc == 0)
		rc = stop_on_signals(loop, &stopping);
	for (int i = 0; rc == 0 && i < tn_server_nurls(stopping.server); i++)
		printf("listening %s\n", tn_server_url(stopping.server, i));
	fflush(stdout);
	while (rc == 0 && started < nthreads && started < 64) {
		rc = -pthread_create(&threads[started], NULL, worker, NULL);
		started += rc == 0;
	}
	if (rc == 0)
		rc = tn_loop_run(loop);
	if (rc < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
	tn_loop_free(loop); /* before the threads end: their handles find the connections gone */
	pthread_mutex_lock(&work.lock);
	work.over = 1;
	pthread_cond_broadcast(&work.more);
	pthread_mutex_unlock(&work.lock);
	while (started > 0)
		pthread_join(threads[--started], NULL);
	return rc < 0;
}
