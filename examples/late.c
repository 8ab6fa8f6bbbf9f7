/* A server that answers later: by a timer (a line "timer ..."), or from a thread that works (any other line).
 * Run: late [URL]     then: printf 'one\ntimer two\n' | nc localhost 10003
 * SIGTERM ends it when all that it has taken is answered. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "stop.h"

#define LATE_MS 300

/* A client, for as long as it is there or something is done for it. Only the loop's thread touches it. */
struct client {
	struct tn_conn *conn; /* NULL: gone */
	unsigned jobs;
};

struct job {
	struct job *next;
	struct client *client;
	struct tn_loop *loop;
	size_t len;
	char text[];
};

static struct stop stopping;

/* ---- the worker thread ---- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *first, **last;
	int over;
} work = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER, .last = &work.first};

static void answer(void *arg);

static void *worker(void *arg)
{
	(void)arg;
	for (;;) {
		struct job *job;

		pthread_mutex_lock(&work.lock);
		while (!work.first && !work.over)
			pthread_cond_wait(&work.more, &work.lock);
		job = work.first;
		if (job && !(work.first = job->next))
			work.last = &work.first;
		pthread_mutex_unlock(&work.lock);
		if (!job)
			return NULL;
		usleep(LATE_MS * 1000); /* here it would work */
		if (tn_loop_post(job->loop, answer, job) < 0)
			abort(); /* no memory for a few bytes */
	}
}

static void hand_to_worker(struct job *job)
{
	pthread_mutex_lock(&work.lock);
	job->next = NULL;
	*work.last = job;
	work.last = &job->next;
	pthread_cond_signal(&work.more);
	pthread_mutex_unlock(&work.lock);
}

/* ---- the loop ---- */

static void client_put(struct client *client)
{
	if (!client->conn && !client->jobs)
		free(client);
}

/* On the loop's thread again. The client may have gone in the meantime. */
static void answer(void *arg)
{
	struct job *job = arg;
	struct client *client = job->client;

	client->jobs--;
	if (client->conn) {
		int rc = tn_send(client->conn, job->text, job->len);

		tn_conn_release(client->conn);
		if (rc < 0 && rc != TN_ESTATE)
			tn_abort(client->conn, rc); /* an answer that is missing must be seen */
	}
	client_put(client);
	free(job);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct client *client = calloc(1, sizeof(*client));

	(void)arg;
	if (!client) {
		tn_abort(conn, -ENOMEM);
		return;
	}
	client->conn = conn;
	tn_conn_set_data(conn, client);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct client *client = tn_conn_data(conn);
	struct job *job = malloc(sizeof(*job) + msg->len);

	(void)arg;
	if (!client || !job) {
		free(job);
		tn_abort(conn, -ENOMEM);
		return;
	}
	*job = (struct job){.client = client, .loop = tn_conn_loop(conn), .len = msg->len};
	memcpy(job->text, msg->data, msg->len);
	client->jobs++;
	tn_conn_hold(conn); /* a reply is owed: neither SIGTERM nor the client's end closes it before */
	if (msg->len < 5 || memcmp(msg->data, "timer", 5) != 0) {
		hand_to_worker(job);
	} else if (tn_timer_start(job->loop, LATE_MS, answer, job, NULL) < 0) {
		client->jobs--;
		free(job);
		tn_abort(conn, -ENOMEM);
	}
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct client *client = tn_conn_data(conn);

	(void)err, (void)arg;
	if (!client)
		return;
	client->conn = NULL;
	client_put(client);
}

int main(int argc, char **argv)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};
	const char *url = argc > 1 ? argv[1] : "tcp://localhost:10003?frame=line";
	struct tn_loop *loop = NULL;
	pthread_t thread;
	int rc = tn_loop_new(&loop, NULL);

	if (rc == 0)
		rc = tn_serve(loop, url, &handler, NULL, &stopping.server);
	if (rc == 0)
		rc = stop_on_signals(loop, &stopping);
	if (rc < 0 || pthread_create(&thread, NULL, worker, NULL) != 0) {
		fprintf(stderr, "%s\n", tn_errmsg());
		tn_loop_free(loop);
		return 1;
	}
	for (int i = 0; i < tn_server_nurls(stopping.server); i++)
		printf("listening %s\n", tn_server_url(stopping.server, i));
	fflush(stdout);
	rc = tn_loop_run(loop);
	if (rc < 0)
		fprintf(stderr, "%s\n", tn_errmsg());
	pthread_mutex_lock(&work.lock);
	work.over = 1;
	pthread_cond_signal(&work.more);
	pthread_mutex_unlock(&work.lock);
	pthread_join(thread, NULL); /* it posts to the loop, which is therefore freed after it */
	tn_loop_free(loop);
	return rc < 0;
}
