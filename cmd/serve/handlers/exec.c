/*
 * exec:COMMAND: a child process for each connection, with the connection's bytes on its standard input and output. Two
 * connections on pipes join the client with its child, one for each direction, so that a child that stops reading loses
 * nothing of what it has written. tn_flow() moves the bytes. This file has the rules of ends that differ from those of
 * two sockets.
 */
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "child.h"
#include "descriptors.h"
#include "gone.h"
#include "handler.h"
#include "handlers.h"

#define GRACE_MS 1000    /* time for a child that has ended its output to end itself */
#define EXIT_WAIT_MS 100 /* time for a child that has ended its output to be reaped, before its client gets the end */
#define LOOK_MS 250      /* how often it is checked whether a client that has ended its direction is still there */
#define CLIENT_GONE_MS 5000 /* time for a child whose client has gone */

struct session {
	struct exec_head head;
	struct tn_conn *client, *input, *output; /* NULL: gone. A terminal is its output, and its input too */
	const char *command;
	int (*start)(struct session *session, const struct descriptors *fds);
	struct tn_poll *first; /* no command before the first bytes, which may bring descriptors */
	struct tn_timer *reap; /* the output has ended: until the child is reaped */
	struct tn_timer *look; /* the client has ended: until it has gone */
	unsigned gone_for_ms;  /* for how long it has */
	bool client_ended, output_ended, finished, terminal;
};

static void pipes_close(int fds[4])
{
	for (int i = 0; i < 4; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Our ends do not block. The child does not see that: the two ends of a pipe are separate open files. */
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

/* The master, which does not block, and the terminal. */
static int terminal_open(int fds[2])
{
	static const struct winsize size = {.ws_row = 24, .ws_col = 80};
	int unlocked = 0, err;

	fds[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	fds[1] = -1;
	if (fds[0] >= 0 && ioctl(fds[0], TIOCSPTLCK, &unlocked) == 0)
		fds[1] = ioctl(fds[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fds[1] >= 0 && ioctl(fds[1], TIOCSWINSZ, &size) == 0)
		return 0;
	err = -errno;
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return err;
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

int exec_start(struct tn_conn *conn, const struct tn_msg *msg, const struct descriptors *fds, const char *command,
	       const struct exec_ends *ends, void *arg, struct child **child, struct tn_conn **input,
	       struct tn_conn **output)
{
	const struct child_use use = {.conn = conn, .msg = msg, .fds = fds, .ended = ends->ended, .arg = arg};
	struct tn_loop *loop = tn_conn_loop(conn);
	int pipes[4], err;

	*child = NULL;
	*input = *output = NULL;
	err = pipes_open(pipes);
	const struct child_io io = {.input = pipes[0], .output = pipes[3], .error = -1};

	if (err >= 0)
		err = child_start(&use, command, &io, child);
	if (err >= 0)
		err = fd_dial(loop, &pipes[1], ends->input, arg, input);
	if (err >= 0)
		err = fd_dial(loop, &pipes[2], ends->output, arg, output);
	pipes_close(pipes);
	if (err < 0)
		child_not_started(conn, *child, err);
	return err < 0 ? err : 0;
}

static void session_free_if_done(struct session *session)
{
	if (!session->client && !session->input && !session->output)
		free(session);
}

bool exec_is_failure(int err)
{
	return err < 0 && err != -EPIPE && err != -ECANCELED;
}

/* Of a client with a frame each message goes to the child as it is, and what the child writes in one is one. */
static int pass_message(struct tn_conn *from, const struct tn_msg *msg, struct tn_conn *to, void *arg)
{
	(void)from, (void)arg;
	return to ? tn_forward(to, msg) : 0;
}

/* Bytes need no function of ours: they may not come into this process at all. */
static int flow(struct tn_conn *from, struct tn_conn *to, const struct tn_pass *pass, void *arg)
{
	struct tn_pass messages = *pass;
	int err = tn_flow(from, to, pass, arg);

	messages.msg = pass_message;
	return err == -EINVAL ? tn_flow(from, to, &messages, arg) : err;
}

/* The client: its bytes go to the child. */

static uint64_t grace_ms = CLIENT_GONE_MS;

void handler_set_grace(uint64_t ms)
{
	grace_ms = ms;
}

uint64_t exec_grace_ms(void)
{
	return grace_ms;
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

/*
 * A client that has closed looks like one that has only ended its direction. A child that writes notices by itself. A
 * child that does not write may still have work to do, but not for ever.
 */
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

/*
 * A terminal has no end but a character, which a line may stand before: then the first one only hands that over. A
 * program that takes its input byte by byte has no end at all.
 */
static void terminal_end(struct tn_conn *terminal, int err, void *arg)
{
	struct tn_conn_info info;
	struct termios settings;
	cc_t ends[2];

	(void)arg;
	tn_conn_info(terminal, &info);
	if (err < 0 || tcgetattr(info.fd, &settings) < 0 || !(settings.c_lflag & ICANON))
		return;
	ends[0] = ends[1] = settings.c_cc[VEOF];
	if (tn_send(terminal, ends, sizeof(ends)) < 0)
		tn_abort(terminal, -EPIPE);
}

/* Cut or not: its command answers what it got. */
static void client_ended(struct tn_conn *client, struct tn_conn *input, void *arg)
{
	struct session *session = arg;

	(void)client;
	session->client_ended = true;
	if (input && !session->terminal)
		(void)tn_finish(input);
	else if (input && tn_when_sent(input, TN_SENT_TAKEN, terminal_end, NULL) < 0)
		tn_abort(input, -EPIPE);
	look_soon(session);
}

static const struct tn_pass from_client = {.end = client_ended, .cut = client_ended};

/* What the client still sends is dropped; its replies go on. */
static void ignore_client(struct session *session)
{
	int err = tn_flow(session->client, NULL, &from_client, session);

	if (err == -ENOMEM)
		tn_abort(session->client, err); /* otherwise it is closing, or has ended */
}

/* The child reads no more (or has ended). But a child that got less than all must not answer for all of it. */
static void on_input_close(struct tn_conn *conn, int err, void *arg)
{
	struct session *session = arg;

	(void)conn;
	session->input = NULL;
	if (session->client && exec_is_failure(err))
		tn_abort(session->client, err);
	else if (session->client && !session->client_ended)
		ignore_client(session);
	session_free_if_done(session);
}

/* The child's output: its bytes go to the client. */

static void close_client(struct tn_conn *client, int err, void *arg)
{
	(void)err, (void)arg;
	tn_close(client);
}

/*
 * tn_close() gives a slow reader only the time of key drain. The child has written all, so its client may take longer:
 * the connection is closed when all of it has been sent.
 */
static void finish_client(void *arg)
{
	struct session *session = arg;

	session->reap = NULL;
	session->finished = true;
	if (!session->client)
		return;
	tn_conn_release(session->client);
	(void)tn_finish(session->client);
	if (tn_when_sent(session->client, TN_SENT_TAKEN, close_client, NULL) < 0)
		tn_close(session->client);
}

/*
 * A child ends its output and itself at the same time. So how it has ended is known before the connection's end is
 * reported.
 */
static void output_over(struct session *session)
{
	if (session->output_ended)
		return;
	session->output_ended = true;
	if (session->client && session->head.child && !child_has_ended(session->head.child, NULL) &&
	    tn_timer_start(tn_conn_loop(session->client), EXIT_WAIT_MS, finish_client, session, &session->reap) == 0)
		return;
	finish_client(session);
}

static void on_child_ended(void *arg)
{
	struct session *session = arg;

	if (!session->output_ended || session->finished)
		return;
	tn_timer_stop(session->reap);
	finish_client(session);
}

static void output_ended(struct tn_conn *output, struct tn_conn *client, void *arg)
{
	const struct session *session = arg;

	(void)client;
	output_over(arg);
	if (session->terminal)
		tn_close(output); /* what is still to be typed has no reader */
}

static const struct tn_pass from_child = {.end = output_ended};

static void on_output_close(struct tn_conn *conn, int err, void *arg)
{
	struct session *session = arg;

	(void)conn;
	session->output = NULL;
	if (!exec_is_failure(err) ||
	    (session->terminal &&
	     err == -EIO)) /* otherwise the client is reset: an ordinary end would say that this is all */
		output_over(session);
	session_free_if_done(session);
}

/* Both. */

static int begin_pipes(struct session *session, const struct descriptors *fds)
{
	static const struct tn_handler input = {.on_close = on_input_close};
	static const struct tn_handler output = {.on_close = on_output_close};
	static const struct exec_ends ends = {&input, &output, on_child_ended};
	int err = exec_start(session->client, NULL, fds, session->command, &ends, session, &session->head.child,
			     &session->input, &session->output);

	return err < 0 ? err : flow(session->client, session->input, &from_client, session);
}

static int begin_terminal(struct session *session, const struct descriptors *passed)
{
	static const struct tn_handler handler = {.on_close = on_output_close};
	const struct child_use use = {.conn = session->client, .fds = passed, .ended = on_child_ended, .arg = session};
	int fds[2], err = terminal_open(fds);

	session->terminal = true;
	if (err >= 0) {
		const struct child_io io = {
			.input = fds[1], .output = fds[1], .error = fds[1], .terminal = true, .master = fds[0]};

		err = child_start(&use, session->command, &io, &session->head.child);
		close(fds[1]);
		if (err >= 0)
			err = fd_dial(tn_conn_loop(session->client), &fds[0], &handler, session, &session->output);
		if (fds[0] >= 0)
			close(fds[0]);
	}
	if (err < 0)
		child_not_started(session->client, session->head.child, err);
	return err < 0 ? err : flow(session->client, session->output, &from_client, session);
}

static int begin_now(struct session *session, const struct descriptors *fds)
{
	struct tn_conn *conn = session->client;
	int err;

	/* A child that works looks like one that waits: its client is held until the output has ended */
	tn_conn_hold(conn);
	err = session->start(session, fds);
	return err < 0 ? err : flow(session->output, conn, &from_child, session);
}

static void first_bytes(void *arg)
{
	struct session *session = arg;
	struct descriptors fds;
	int err;

	tn_poll_stop(session->first);
	session->first = NULL;
	descriptors_take(session->client, &fds);
	err = begin_now(session, &fds);
	descriptors_close(&fds);
	if (err < 0)
		tn_abort(session->client, err);
	else
		tn_resume(session->client);
}

/* Its bytes are not read before their descriptors are taken. */
static int begin_with_first(struct session *session)
{
	struct tn_conn *conn = session->client;
	struct tn_conn_info info;

	tn_pause(conn);
	tn_conn_info(conn, &info);
	return tn_poll_start(tn_conn_loop(conn), info.fd, first_bytes, session, &session->first);
}

static void begin(struct tn_conn *conn, const char *command,
		  int (*start)(struct session *session, const struct descriptors *fds))
{
	struct session *session = calloc(1, sizeof(*session));
	int err = -ENOMEM;

	if (session) {
		session->client = conn;
		session->command = command;
		session->start = start;
		tn_conn_set_data(conn, session);
		err = descriptors_are_awaited(conn) ? begin_with_first(session) : begin_now(session, NULL);
	}
	if (err < 0)
		tn_abort(conn, err);
}

static void on_client_open(struct tn_conn *conn, void *arg)
{
	begin(conn, arg, begin_pipes);
}

static void on_terminals_client_open(struct tn_conn *conn, void *arg)
{
	begin(conn, arg, begin_terminal);
}

/* A child that has not ended its output has lost its client, and is told so at once. A child that has may clean up. */
static void on_client_close(struct tn_conn *conn, int err, void *arg)
{
	struct session *session = tn_conn_data(conn);

	(void)arg;
	if (!session)
		return;
	session->client = NULL;
	tn_poll_stop(session->first);
	tn_timer_stop(session->reap);
	tn_timer_stop(session->look);
	child_end(session->head.child, session->output_ended ? GRACE_MS : 0);
	if (session->input)
		tn_abort(session->input, err);
	if (session->output)
		tn_abort(session->output, err);
	session_free_if_done(session);
}

bool handler_child_of(const struct tn_conn *conn, struct handler_child *child)
{
	const struct exec_head *head = tn_conn_data(conn);

	return head && head->child && child_has_ended(head->child, child);
}

static const char *refuses_terminal(const char *url)
{
	return handler_is_lossy(url) ? "a terminal is for one client: exec:COMMAND runs a command for each datagram"
				     : NULL;
}

const struct handler_spec handler_exec_pty = {
	.name = "exec-pty",
	.argument = "COMMAND",
	.meaning = "the same with a terminal (80x24) as its input, output and error, which controls it",
	.runs = true,
	.refuses = refuses_terminal,
	.stream = {.on_open = on_terminals_client_open, .on_close = on_client_close},
};

const struct handler_spec handler_exec = {
	.name = "exec",
	.argument = "COMMAND",
	.meaning = "runs COMMAND with /bin/sh for each connection (or datagram), which is its input and output",
	.runs = true,
	.stream = {.on_open = on_client_open, .on_close = on_client_close},
	.datagrams = {.on_open = exec_on_gate_open,
		      .on_msg = exec_on_datagram,
		      .on_end = exec_on_gate_end,
		      .on_close = exec_on_gate_close},
	.sessions = {.on_open = exec_on_sessions_open,
		     .on_msg = exec_on_session_datagram,
		     .on_end = exec_on_sessions_end,
		     .on_close = exec_on_sessions_close},
};
