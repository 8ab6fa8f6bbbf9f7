/*
 * exec-socket:COMMAND: the client's own socket is the standard input and output of a child. So nothing that passes
 * comes into this process: the connection is paused, and waits for the end of the child.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

#include "child.h"
#include "exec.h"
#include "gone.h"
#include "handler.h"

#define GRACE_MS 1000 /* for what the child has left in its group */
#define LOOK_MS 500   /* how often it is checked whether the client is still there */

struct lent {
	struct exec_head head;
	struct tn_conn *client;
	struct tn_timer *look;
	uint64_t gone_for_ms;
	bool over; /* the child has ended */
};

static void look(void *arg);

static void look_soon(struct lent *lent)
{
	if (tn_timer_start(tn_conn_loop(lent->client), LOOK_MS, look, lent, &lent->look) < 0)
		lent->look = NULL;
}

static bool has_ended_its_direction(int fd)
{
	struct pollfd state = {.fd = fd, .events = POLLRDHUP};

	return poll(&state, 1, 0) == 1;
}

/* The child learns of it when it reads or writes. One that does neither does not live on for ever. */
static void look(void *arg)
{
	struct lent *lent = arg;
	struct tn_conn_info info;

	lent->look = NULL;
	tn_conn_info(lent->client, &info);
	if (lent->gone_for_ms || (has_ended_its_direction(info.fd) && client_is_gone(info.fd)))
		lent->gone_for_ms += LOOK_MS;
	if (lent->gone_for_ms > exec_grace_ms())
		tn_abort(lent->client, -EPIPE);
	else
		look_soon(lent);
}

static void on_child_ended(void *arg)
{
	struct lent *lent = arg;

	lent->over = true;
	tn_timer_stop(lent->look);
	lent->look = NULL;
	tn_conn_release(lent->client);
	tn_close(lent->client);
}

static int start(struct lent *lent, const char *command)
{
	const struct child_use use = {.conn = lent->client, .ended = on_child_ended, .arg = lent};
	struct tn_conn_info info;
	int flags;

	tn_conn_info(lent->client, &info);
	flags = fcntl(info.fd, F_GETFL);
	if (flags >= 0 && flags & O_NONBLOCK)
		(void)fcntl(info.fd, F_SETFL, flags & ~O_NONBLOCK);
	gone_begin(info.fd);
	return child_start(&use, command, &(struct child_io){.input = info.fd, .output = info.fd, .error = -1},
			   &lent->head.child);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct lent *lent = calloc(1, sizeof(*lent));
	int err = -ENOMEM;

	tn_pause(conn);
	if (lent) {
		lent->client = conn;
		tn_conn_set_data(conn, lent);
		tn_conn_hold(conn); /* it is busy as long as its child is */
		err = start(lent, arg);
	}
	if (err >= 0) {
		look_soon(lent);
		return;
	}
	child_not_started(conn, NULL, err);
	tn_abort(conn, err);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct lent *lent = tn_conn_data(conn);

	(void)err, (void)arg;
	if (!lent)
		return;
	tn_timer_stop(lent->look);
	child_end(lent->head.child, lent->over ? GRACE_MS : 0);
	free(lent);
}

/* What passes is seen by nobody here: neither translated, nor counted. */
static const char *refuses(const char *url)
{
	static const char *const keys[] = {"frame", "format", "proxy", "idle"};
	int kind = tn_url_kind(url);

	if (kind & (TN_URL_PACKETS | TN_URL_DATAGRAMS))
		return "it is for sockets of streams: TCP, MPTCP, unix";
	if (kind & (TN_URL_SECURE | TN_URL_PROXY | TN_URL_HTTP | TN_URL_WEBSOCKET | TN_URL_MEMORY))
		return "what passes is translated here, so the command cannot have the socket itself: exec:COMMAND";
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (tn_url_has_key(url, keys[i]) > 0)
			return i == 3 ? "nothing that passes is seen here, so key idle has no meaning"
				      : "nothing that passes is seen here, so keys frame, format and proxy have no "
					"meaning: exec:COMMAND";
	return NULL;
}

const struct handler_spec handler_exec_socket = {
	.name = "exec-socket",
	.argument = "COMMAND",
	.meaning = "the same with the connection's own socket, of a stream without TLS, as its input and output",
	.runs = true,
	.refuses = refuses,
	.stream = {.on_open = on_open, .on_close = on_close},
};
