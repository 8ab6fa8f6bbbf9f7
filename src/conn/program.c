/*
 * exec:COMMAND. The program ends its output by ending, and then reads nothing either: so its end is that of both
 * directions. That it has not read all is no failure. When the connection ends, its socket is closed, the program gets
 * the time of key drain to end too (none, if the connection has failed), then SIGTERM, and a second later SIGKILL; so
 * does what it has left behind in its group. on_close waits for that, and knows how it has ended.
 */
#include "conn/program.h"

#include "base/err.h"
#include "conn/again.h"
#include "conn/pump.h"
#include "net/program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KILL_AFTER_NS TNI_NS_PER_S

extern char **environ;

/* "TENON_PEER=" and "TENON_LOCAL=": for whom it was dialled, also when it is dialled again. Empty: for nobody. */
struct told {
	char peer[400], local[400];
};

struct tni_exec {
	struct tni_program program;
	struct told told;
	struct tn_conn *conn;
	struct tn_poll *poll;   /* waits for its end */
	struct tni_timer timer; /* until it is to be ended, or has been asked to */
	bool deaf;              /* it has not read all that was to go there */
	bool ending;            /* the connection only waits for it */
	bool cut;               /* and had not had all of its output when that began */
	bool asked;             /* SIGTERM has been sent */
	bool killed;
	bool over;
};

static struct tni_exec *exec_of(const struct tn_conn *c)
{
	const struct tni_seldom *s = tni_seldom_of(c);

	return s ? s->exec : NULL;
}

/* ---- the beginning ---- */

/* What a tenon tells a program of its connection: here, and as the handler exec of tenon-serve(1) does. */
static bool is_told(const char *variable)
{
	static const char *const names[] = {
		"TENON_PEER=",     "TENON_LOCAL=",    "TENON_VIA=",         "TENON_URL=",
		"TENON_TLS=",      "TENON_ALPN=",     "TENON_SERVER_NAME=", "TENON_IDENTITY=",
		"TENON_PEER_UID=", "TENON_PEER_GID=", "TENON_PEER_PID=",    "TENON_FDS="};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(variable, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static void tell_of(struct told *told, const struct tn_conn *of, const struct tn_msg *msg)
{
	struct tn_conn_info info;

	tn_conn_info(of, &info);
	if (msg && msg->peer)
		tni_endpoint_url_of(of->ep, msg->peer, info.peer, sizeof(info.peer));
	snprintf(told->peer, sizeof(told->peer), "TENON_PEER=%s", info.peer);
	snprintf(told->local, sizeof(told->local), "TENON_LOCAL=%s", info.local);
}

/* The environment of this process, with what is told in place of what a tenon above this one has told. */
static char **environment(struct told *told)
{
	size_t n = 0, count = 0;
	char **env;

	while (environ && environ[n])
		n++;
	env = calloc(n + 3, sizeof(*env));
	if (!env)
		return NULL;
	env[count++] = told->peer;
	env[count++] = told->local;
	for (size_t i = 0; i < n; i++)
		if (!is_told(environ[i]))
			env[count++] = environ[i];
	return env;
}

static int start(struct tni_exec *exec)
{
	char **env = exec->told.peer[0] ? environment(&exec->told) : NULL;
	int fd;

	if (exec->told.peer[0] && !env)
		return tni_err(-ENOMEM, "out of memory");
	fd = tni_program_start(&exec->program, exec->conn->ep->host, env);
	free(env);
	return fd;
}

static void exec_fired(struct tni_timer *timer);

int tni_exec_open(struct tn_conn *c, const struct tn_conn *of, const struct tn_msg *msg)
{
	struct tni_seldom *s = tni_seldom_get(c);
	struct tni_exec *exec = s ? calloc(1, sizeof(*exec)) : NULL;
	int fd;

	if (!exec)
		return tni_err(-ENOMEM, "%s: out of memory", c->ep->url);
	exec->conn = c;
	exec->timer.fire = exec_fired;
	if (of)
		tell_of(&exec->told, of, msg);
	else if (s->exec)
		exec->told = s->exec->told;
	fd = start(exec);
	if (fd >= 0 && tni_conn_connected(c, fd) < 0) {
		close(fd);
		tni_program_kill(&exec->program);
		fd = tni_err(-ENOMEM, "out of memory");
	}
	if (fd < 0) {
		free(exec);
		return tni_err_prefix(fd, "%s", c->ep->url);
	}
	tni_exec_free(s->exec); /* one that was lost before: key reconnect */
	s->exec = exec;
	return 0;
}

/* ---- the end ---- */

void tni_exec_mute(struct tn_conn *c)
{
	size_t dropped = tni_conn_queued(c);

	if (dropped)
		exec_of(c)->deaf = true;
	c->flags |= TNI_FIN_WANTED | TNI_FIN_SENT;
	tni_again_drop(c, dropped);
	tni_join_mute(c);
}

bool tni_exec_is_deaf(const struct tn_conn *c)
{
	const struct tni_exec *exec = exec_of(c);

	return exec && exec->deaf;
}

static void finish(struct tni_exec *exec)
{
	exec->over = true;
	tni_loop_untimer(exec->conn->loop, &exec->timer);
	tn_poll_stop(exec->poll);
	exec->poll = NULL;
	tni_conn_run_soon(exec->conn);
}

/* What it has left behind has its second as well. */
static void strike(struct tni_exec *exec)
{
	exec->killed = exec->asked;
	exec->asked = true;
	tni_program_signal(&exec->program, exec->killed ? SIGKILL : SIGTERM);
	if (!exec->killed)
		tni_loop_timer(exec->conn->loop, &exec->timer, KILL_AFTER_NS);
	else if (exec->program.reaped)
		finish(exec);
}

static void exec_fired(struct tni_timer *timer)
{
	strike(tni_container_of(timer, struct tni_exec, timer));
}

static void end_seen(void *arg)
{
	struct tni_exec *exec = arg;

	if (!tni_program_has_ended(&exec->program))
		return;
	tn_poll_stop(exec->poll);
	exec->poll = NULL;
	if (exec->killed || !tni_program_signal(&exec->program, 0))
		finish(exec);
	else if (!exec->asked)
		strike(exec);
}

static bool is_over(struct tni_exec *exec)
{
	return tni_program_has_ended(&exec->program) && !tni_program_signal(&exec->program, 0);
}

/* A program of another user's, which ends when it wants to: SIGKILL was not for it either. */
static bool is_out_of_reach(const struct tni_exec *exec)
{
	return !tni_program_signal(&exec->program, 0) && errno == EPERM;
}

static void begin_end(struct tn_conn *c, struct tni_exec *exec)
{
	uint64_t grace_ns = c->err || c->flags & TNI_RESET || c->loop->ending ? 0 : c->ep->drain_ns;

	exec->ending = true;
	exec->cut = !(c->flags & TNI_RX_END);
	tni_loop_untimer(c->loop, &c->timer);
	tni_fd_close(c->loop, &c->io);
	if (is_over(exec)) {
		exec->over = true;
		return;
	}
	if (!exec->program.reaped && tn_poll_start(c->loop, exec->program.pidfd, end_seen, exec, &exec->poll) < 0) {
		tni_program_kill(&exec->program);
		exec->asked = exec->over = true;
		return;
	}
	if (exec->poll)
		tn_poll_keep_loop(exec->poll, false); /* the connection does, or does not */
	if (exec->program.reaped || !grace_ns)
		strike(exec);
	else
		tni_loop_timer(c->loop, &exec->timer, grace_ns);
}

bool tni_exec_lingers(struct tn_conn *c)
{
	struct tni_exec *exec = exec_of(c);

	if (exec && !exec->ending)
		begin_end(c, exec);
	return exec && !exec->over;
}

void tni_exec_hurry(struct tn_conn *c)
{
	struct tni_exec *exec = exec_of(c);

	if (!exec)
		return;
	if (c->loop->ending) /* it turns until its connections are closed, which is when their programs have ended */
		tn_conn_keep_loop(c, true);
	if (!exec->ending || exec->over)
		return;
	if (!exec->asked)
		strike(exec);
	else if (c->loop->ending && exec->killed && is_out_of_reach(exec))
		finish(exec);
}

void tni_exec_tell(const struct tn_conn *c, struct tn_conn_info *info)
{
	const struct tni_exec *exec = exec_of(c);

	if (!exec)
		return;
	info->child_pid = exec->program.pid;
	info->child_ended = exec->program.known;
	info->child_status = exec->program.status;
	info->child_signal = exec->program.signal;
	info->child_cut = exec->asked || (exec->ending ? exec->cut : !(c->flags & TNI_RX_END));
}

void tni_exec_free(struct tni_exec *exec)
{
	if (exec && exec->program.pidfd >= 0)
		close(exec->program.pidfd);
	free(exec);
}
