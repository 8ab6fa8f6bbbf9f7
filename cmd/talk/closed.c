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

void closed_wait(struct tn_loop *loop, struct tn_conn *const *conn, bool abort)
{
	struct tn_conn_info info;

	if (!*conn)
		return;
	tn_conn_info(*conn, &info);
	if (info.child_pid && abort)
		tn_abort(*conn, -ECANCELED);
	while (info.child_pid && *conn && tn_loop_step(loop, -1) > 0)
		;
	if (info.child_pid && *conn) { /* the loop cannot go on */
		kill(-info.child_pid, SIGKILL);
		(void)waitpid(info.child_pid, NULL, 0);
	}
}
