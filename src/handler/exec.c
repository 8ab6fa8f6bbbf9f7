/*
 * exec:COMMAND: a child per connection with the connection's bytes on its standard input and output.
 *
 * Two connections on pipes join the client with its child, one for each direction, so that a child that stops reading
 * never costs a byte of what it has written. Each direction holds back its source when its sink is full.
 */
#include "handler/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "handler/child.h"
#include "handler/gone.h"
#include "handler/handler.h"

#define GRACE_MS 1000 /* for a child that has ended its output to end itself */
#define FLUSH_CHECK_MS 20
#define EXIT_WAIT_MS 100    /* for a child that has ended its output to be reaped, before its client hears of the end */
#define LOOK_MS 250         /* how often a client that has ended its direction is looked for */
#define CLIENT_GONE_MS 5000 /* for a child whose client has gone */

struct session {
	struct tn_conn *client, *input, *output; /* NULL: gone */
	struct child *child;
	struct tn_timer *flush; /* the output has ended: until the child is reaped, then until all of it is sent */
	struct tn_timer *look;  /* the client has ended: until it has gone */
	unsigned gone_for_ms;   /* for how long it has */
	bool output_ended, finished;
};

static void pipes_close(int fds[4])
{
	for (int i = 0; i < 4; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Ours do not block, which the child never sees: the two ends of a pipe are separate open files. */
static int pipes_open(int fds[4])
{
	for (int i = 0; i < 4; i++)
		fds[i] = -1;
	if (pipe2(fds, O_CLOEXEC) < 0 || pipe2(fds + 2, O_CLOEXEC) < 0) {
		int err = -errno;
		pipes_close(fds);
		return err;
	}
	if (fcntl(fds[1], F_SETFL, O_WRONLY | O_NONBLOCK) < 0 || fcntl(fds[2], F_SETFL, O_RDONLY | O_NONBLOCK) < 0) {
		int err = -errno;
		pipes_close(fds);
		return err;
	}
	return 0;
}

static int fd_dial(struct tn_loop *loop, int *fd, const struct tn_handler *handler, void *arg, struct tn_conn **conn)
{
	char url[32];
	int err;

	snprintf(url, sizeof(url), "fd:%d", *fd);
	err = tn_dial(loop, url, handler, arg, conn);
	if (err >= 0)
		*fd = -1; /* the library's now */
	return err;
}

int exec_start(struct tn_conn *conn, const char *command, const struct exec_ends *ends, void *arg, struct child **child,
	       struct tn_conn **input, struct tn_conn **output)
{
	const struct child_use use = {.conn = conn, .ended = ends->ended, .arg = arg};
	struct tn_loop *loop = tn_conn_loop(conn);
	int fds[4], err;

	*child = NULL;
	*input = *output = NULL;
	err = pipes_open(fds);
	if (err >= 0)
		err = child_start(&use, command, fds[0], fds[3], child);
	if (err >= 0)
		err = fd_dial(loop, &fds[1], ends->input, arg, input);
	if (err >= 0)
		err = fd_dial(loop, &fds[2], ends->output, arg, output);
	pipes_close(fds);
	if (err < 0)
		child_not_started(conn, *child, err);
	return err < 0 ? err : 0;
}

static void session_free_if_done(struct session *session)
{
	if (!session->client && !session->input && !session->output)
		free(session);
}

/* The child's input: the client's bytes on their way down. */

static void on_input_drain(struct tn_conn *conn, void *arg)
{
	struct session *session = arg;

	(void)conn;
	if (session->client)
		tn_resume(session->client);
}

bool exec_is_failure(int err)
{
	return err < 0 && err != -EPIPE && err != -ECANCELED;
}

/*
 * The child reads no more (or has ended). What the client still sends is thrown away, its replies go on. But a child
 * that was told less than all must not answer for all of it.
 */
static void on_input_close(struct tn_conn *conn, int err, void *arg)
{
	struct session *session = arg;

	(void)conn;
	session->input = NULL;
	if (session->client && exec_is_failure(err))
		tn_abort(session->client, err);
	else if (session->client)
		tn_resume(session->client);
	session_free_if_done(session);
}

/* The child's output: its bytes on their way up. */

static void on_output_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct session *session = arg;
	int err = session->client ? tn_forward(session->client, msg) : 0;

	if (err == 1)
		tn_pause(conn);
	else if (err == TN_ESTATE)
		tn_close(conn); /* the client takes nothing more: the child is told as by any pipe without a reader */
	else if (err < 0)
		tn_abort(session->client, err); /* a frame that cannot carry it: better no reply than half of one */
}

/*
 * tn_close() gives a slow reader only until key drain. The child has said all, so its client may take the time it
 * needs: the connection is closed when its queue is empty.
 */
static void close_when_flushed(void *arg)
{
	struct session *session = arg;

	session->flush = NULL;
	if (tn_conn_queued(session->client) > 0 && tn_timer_start(tn_conn_loop(session->client), FLUSH_CHECK_MS,
								  close_when_flushed, session, &session->flush) == 0)
		return;
	tn_close(session->client);
}

static void finish_client(void *arg)
{
	struct session *session = arg;

	session->flush = NULL;
	session->finished = true;
	if (session->client) {
		tn_conn_release(session->client);
		tn_finish(session->client);
		close_when_flushed(session);
	}
}

/* A child ends its output and itself in one. How it has ended is known when the connection's end is told. */
static void output_over(struct session *session)
{
	if (session->output_ended)
		return;
	session->output_ended = true;
	if (session->client && session->child && !child_has_ended(session->child, NULL) &&
	    tn_timer_start(tn_conn_loop(session->client), EXIT_WAIT_MS, finish_client, session, &session->flush) == 0)
		return;
	finish_client(session);
}

static void on_child_ended(void *arg)
{
	struct session *session = arg;

	if (!session->output_ended || session->finished)
		return;
	tn_timer_stop(session->flush);
	finish_client(session);
}

static void on_output_end(struct tn_conn *conn, void *arg)
{
	tn_close(conn);
	output_over(arg);
}

static void on_output_close(struct tn_conn *conn, int err, void *arg)
{
	struct session *session = arg;

	(void)conn;
	session->output = NULL;
	if (session->client && !session->output_ended && exec_is_failure(err))
		tn_abort(session->client, err); /* an end in good order would say that this is all */
	else
		output_over(session);
	session_free_if_done(session);
}

/* The client. */

static void on_client_open(struct tn_conn *conn, void *arg)
{
	static const struct tn_handler input = {.on_drain = on_input_drain, .on_close = on_input_close};
	static const struct tn_handler output = {
		.on_msg = on_output_msg, .on_end = on_output_end, .on_close = on_output_close};
	static const struct exec_ends ends = {&input, &output, on_child_ended};
	struct session *session = calloc(1, sizeof(*session));
	int err = -ENOMEM;

	if (session) {
		session->client = conn;
		tn_conn_set_data(conn, session);
		/* A child that works looks like one that waits: its client is held until the output has ended. */
		tn_conn_hold(conn);
		err = exec_start(conn, arg, &ends, session, &session->child, &session->input, &session->output);
	}
	if (err < 0)
		tn_abort(conn, err);
}

static void on_client_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct session *session = tn_conn_data(conn);

	(void)arg;
	int err = session && session->input ? tn_forward(session->input, msg) : 0;

	if (err == 1)
		tn_pause(conn);
	else if (err < 0 && err != TN_ESTATE)
		tn_abort(conn, err); /* the child must not take the rest for all of it */
}

static void on_client_drain(struct tn_conn *conn, void *arg)
{
	struct session *session = tn_conn_data(conn);

	(void)arg;
	if (session && session->output)
		tn_resume(session->output);
}

static uint64_t grace_ms = CLIENT_GONE_MS;

void handler_set_grace(uint64_t ms)
{
	grace_ms = ms;
}

static void look(void *arg);

static void look_soon(struct session *session)
{
	struct tn_conn_info info;

	tn_conn_info(session->client, &info);
	gone_begin(info.fd);
	if (tn_timer_start(tn_conn_loop(session->client), LOOK_MS, look, session, &session->look) < 0)
		session->look = NULL;
}

/* A client that has closed looks like one that has only ended its direction. To a child that writes it makes a
 * difference by itself. One that does not may have work left to do, but not for ever. */
static void look(void *arg)
{
	struct session *session = arg;
	struct tn_conn_info info;

	session->look = NULL;
	tn_conn_info(session->client, &info);
	if (session->gone_for_ms || client_is_gone(info.fd))
		session->gone_for_ms += LOOK_MS;
	if (session->gone_for_ms > grace_ms)
		tn_abort(session->client, -EPIPE);
	else
		look_soon(session);
}

static void on_client_end(struct tn_conn *conn, void *arg)
{
	struct session *session = tn_conn_data(conn);

	(void)arg;
	if (session && session->input)
		tn_finish(session->input);
	if (session && !session->look)
		look_soon(session);
}

/* A child whose output had not ended has lost its client and is told so at once; one that has said all may tidy up. */
static void on_client_close(struct tn_conn *conn, int err, void *arg)
{
	struct session *session = tn_conn_data(conn);

	(void)arg;
	if (!session)
		return;
	session->client = NULL;
	tn_timer_stop(session->flush);
	tn_timer_stop(session->look);
	child_end(session->child, session->output_ended ? GRACE_MS : 0);
	if (session->input)
		tn_abort(session->input, err);
	if (session->output)
		tn_abort(session->output, err);
	session_free_if_done(session);
}

bool handler_child_of(const struct tn_conn *conn, struct handler_child *child)
{
	const struct session *session = tn_conn_data(conn);

	return session && session->child && child_has_ended(session->child, child);
}

const struct handler_spec handler_exec = {
	.name = "exec",
	.argument = "COMMAND",
	.meaning = "runs COMMAND with /bin/sh for each connection (or datagram), which is its input and output",
	.stream =
		{
			.on_open = on_client_open,
			.on_msg = on_client_msg,
			.on_drain = on_client_drain,
			.on_end = on_client_end,
			.on_cut = on_client_end, /* as if it had ended in good order: its command answers what it got */
			.on_close = on_client_close,
		},
	.datagrams = {.on_open = exec_on_gate_open,
		      .on_msg = exec_on_datagram,
		      .on_end = exec_on_gate_end,
		      .on_close = exec_on_gate_close},
};
