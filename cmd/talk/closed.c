#include "closed.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "common/complain.h"
#include "common/outcome.h"
#include "tenon.h"

#define GOING_AWAY 1001 /* RFC 6455 7.4.1 */
#define NO_CLOSE 1006
#define PROGRAMS 3000 /* from here on codes are a program's own */

const char *closed_words(const struct tn_conn *conn, char out[CLOSED_MAX])
{
	struct tn_websocket ws;

	out[0] = '\0';
	if (tn_conn_websocket(conn, &ws) < 0 || ws.peer_code == NO_CLOSE ||
	    (ws.peer_code < PROGRAMS && ws.peer_code != GOING_AWAY && !*ws.peer_reason))
		return out;
	snprintf(out, CLOSED_MAX, " with %d%s%s", ws.peer_code, *ws.peer_reason ? ": " : "", ws.peer_reason);
	for (char *at = out; *at; at++) /* it must not end a line, nor move a terminal's cursor */
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
	return out;
}

bool closed_badly(const struct tn_conn *conn, const char *url)
{
	struct outcome outcome;
	char words[128];

	if (!outcome_of(conn, &outcome) || !outcome_failure(&outcome, words, sizeof(words)))
		return false;
	complain("%s: %s", url, words);
	return true;
}

static bool hurried;

void closed_hurry(struct tn_conn *conn)
{
	hurried = true;
	tn_abort(conn, -ECANCELED);
}

/* A program of another user's (sudo) ends when it wants to, and not by a signal of ours. */
static bool is_out_of_reach(int pid)
{
	return kill(pid, 0) < 0 && errno == EPERM;
}

void closed_wait(struct tn_loop *loop, struct tn_conn *const *conn, bool abort)
{
	struct tn_conn_info info;

	if (!*conn)
		return;
	tn_conn_info(*conn, &info);
	if (info.child_pid && abort)
		closed_hurry(*conn);
	while (info.child_pid && *conn && !(hurried && is_out_of_reach(info.child_pid)) && tn_loop_step(loop, -1) > 0)
		;
	if (info.child_pid && *conn) { /* the loop cannot go on, or need not */
		kill(-info.child_pid, SIGKILL);
		if (kill(info.child_pid, SIGKILL) == 0)
			(void)waitpid(info.child_pid, NULL, 0);
	}
}
