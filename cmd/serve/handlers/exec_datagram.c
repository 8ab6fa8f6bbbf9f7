/* exec:COMMAND on a datagram endpoint: a child per datagram, which is its input; its output is the reply. */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "child.h"
#include "exec.h"

#define GRACE_MS 1000        /* for a child that has ended its output to end itself */
#define JOBS_MAX 64          /* children at a time on one endpoint: further datagrams wait in the kernel */
#define REPLY_DTLS_MAX 16384 /* the same of DTLS */
#define REPLY_MAX 65507      /* the largest payload of a UDP datagram; a reply is cut there */

/* One datagram endpoint, from its opening to its end. */
struct gate {
	struct tn_conn *conn;
	struct job *jobs;
	unsigned njobs;
	bool ended; /* its peer says no more, but the replies are still wanted */
};

struct job {
	struct job *next, **link; /* in the gate's list, until the reply */
	struct gate *gate;        /* NULL: nobody waits for the reply */
	struct tn_conn *input, *output;
	struct child *child;
	struct tn_addr peer;
	unsigned hops;
	char *reply;
	size_t reply_len;
};

static void job_free_if_done(struct job *job)
{
	if (job->gate || job->input || job->output)
		return;
	free(job->reply);
	free(job);
}

static unsigned jobs_max(void)
{
	return child_limit() < JOBS_MAX ? child_limit() : JOBS_MAX;
}

static void job_link(struct job *job, struct gate *gate)
{
	job->gate = gate;
	job->next = gate->jobs;
	job->link = &gate->jobs;
	if (gate->jobs)
		gate->jobs->link = &job->next;
	gate->jobs = job;
	tn_conn_hold(gate->conn);
	if (++gate->njobs == jobs_max())
		tn_pause(gate->conn);
}

static void job_unlink(struct job *job)
{
	struct gate *gate = job->gate;

	*job->link = job->next;
	if (job->next)
		job->next->link = job->link;
	job->gate = NULL;
	if (gate->conn)
		tn_conn_release(gate->conn);
	if (gate->njobs-- == jobs_max() && gate->conn)
		tn_resume(gate->conn);
	if (!gate->njobs && gate->ended && gate->conn)
		tn_close(gate->conn);
}

static void job_end(struct job *job, uint64_t grace_ms);

/* No reply is better than half of one, or a reply to half of a question. */
static void job_fail(struct job *job)
{
	job->reply_len = 0;
	job_end(job, 0);
}

static void job_reply(const struct job *job)
{
	struct tn_msg question = {.peer = &job->peer, .hops = job->hops};
	int err = tn_reply(job->gate->conn, &question, job->reply, job->reply_len);

	if (err == -EMSGSIZE)
		err = tn_reply(job->gate->conn, &question, job->reply, REPLY_DTLS_MAX);
	if (err < 0)
		handler_unanswered(job->gate->conn, &question, err);
}

/* The reply is complete, or nobody wants it: then the child is ended at once. */
static void job_end(struct job *job, uint64_t grace_ms)
{
	if (!job->gate)
		return;
	if (job->gate->conn && job->reply_len > 0)
		job_reply(job);
	job_unlink(job);
	child_end(job->child, grace_ms);
	if (job->input)
		tn_abort(job->input, 0);
	if (job->output)
		tn_abort(job->output, 0);
	job_free_if_done(job);
}

static void on_input_close(struct tn_conn *conn, int err, void *arg)
{
	struct job *job = arg;

	(void)conn;
	job->input = NULL;
	if (job->gate && exec_is_failure(err))
		job_fail(job);
	else
		job_free_if_done(job);
}

static void on_output_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct job *job = arg;
	size_t take = REPLY_MAX - job->reply_len;
	char *grown;

	(void)conn;
	if (!job->gate)
		return;
	if (take > msg->len)
		take = msg->len;
	grown = realloc(job->reply, job->reply_len + take + 1);
	if (!grown) {
		job_fail(job);
		return;
	}
	job->reply = grown;
	memcpy(job->reply + job->reply_len, msg->data, take);
	job->reply_len += take;
	if (job->reply_len == REPLY_MAX)
		job_end(job, 0);
}

static void on_output_end(struct tn_conn *conn, void *arg)
{
	(void)conn;
	job_end(arg, GRACE_MS);
}

static void on_output_close(struct tn_conn *conn, int err, void *arg)
{
	struct job *job = arg;

	(void)conn;
	job->output = NULL;
	if (job->gate && exec_is_failure(err))
		job_fail(job);
	else if (job->gate)
		job_end(job, GRACE_MS);
	else
		job_free_if_done(job);
}

void exec_on_gate_open(struct tn_conn *conn, void *arg)
{
	struct gate *gate = calloc(1, sizeof(*gate));

	(void)arg;
	if (!gate)
		return;
	gate->conn = conn;
	tn_conn_set_data(conn, gate);
	tn_conn_fade(conn); /* the command may answer anything */
}

void exec_on_datagram(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	static const struct tn_handler input = {.on_close = on_input_close};
	static const struct tn_handler output = {
		.on_msg = on_output_msg, .on_end = on_output_end, .on_close = on_output_close};
	static const struct exec_ends ends = {&input, &output, NULL};
	struct gate *gate = tn_conn_data(conn);
	struct job *job = gate && !handler_is_service(msg) ? calloc(1, sizeof(*job)) : NULL;

	if (!job)
		return; /* a datagram is lost, as datagrams are */
	if (msg->peer)
		job->peer = *msg->peer;
	job->hops = msg->hops;
	job_link(job, gate);
	if (exec_start(conn, msg, NULL, arg, &ends, job, &job->child, &job->input, &job->output) < 0) {
		job_end(job, 0);
		return;
	}
	if (tn_send(job->input, msg->data, msg->len) < 0)
		job_fail(job);
	else
		tn_finish(job->input);
}

/* Of a connection over datagrams: the last replies are sent before it ends. */
void exec_on_gate_end(struct tn_conn *conn, void *arg)
{
	struct gate *gate = tn_conn_data(conn);

	(void)arg;
	if (gate && gate->njobs)
		gate->ended = true;
	else
		tn_close(conn);
}

void exec_on_gate_close(struct tn_conn *conn, int err, void *arg)
{
	struct gate *gate = tn_conn_data(conn);

	(void)err, (void)arg;
	if (!gate)
		return;
	gate->conn = NULL;
	for (struct job *job = gate->jobs, *next; job; job = next) {
		next = job->next;
		job_end(job, 0);
	}
	free(gate);
}
