#include "child_errors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tenon.h"

#define LINE_MAX_LEN 1024 /* what is longer is logged in pieces */

static enum handler_errors where;
static void (*log_line)(uint64_t conn, const char *line, size_t len);
static int nowhere = -1;

int handler_set_errors(enum handler_errors to, void (*log)(uint64_t conn, const char *line, size_t len))
{
	where = to;
	log_line = log;
	if (to == ERRORS_NONE && nowhere < 0)
		nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	return to == ERRORS_NONE && nowhere < 0 ? -errno : 0;
}

/* ---- the log ---- */

/* What a child and those that it has started say, until they have all closed it. */
struct lines {
	uint64_t conn;
	size_t len;
	char text[LINE_MAX_LEN];
};

static void tell(struct lines *lines)
{
	if (lines->len)
		log_line(lines->conn, lines->text, lines->len);
	lines->len = 0;
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct lines *lines = arg;
	const char *at = msg->data;

	(void)conn;
	for (size_t i = 0; i < msg->len; i++) {
		if (at[i] != '\n' && at[i] != '\0')
			lines->text[lines->len++] = at[i];
		if (at[i] == '\n' || lines->len == sizeof(lines->text))
			tell(lines);
	}
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)err;
	tell(arg);
	free(arg);
}

static int log_pipe(const struct tn_conn *client, int *own)
{
	static const struct tn_handler handler = {.on_msg = on_msg, .on_close = on_close};
	struct lines *lines = malloc(sizeof(*lines));
	struct tn_conn *conn;
	char url[32];
	int fds[2], err;

	if (!lines)
		return -ENOMEM;
	lines->conn = tn_conn_id(client);
	lines->len = 0;
	if (pipe2(fds, O_CLOEXEC) < 0) {
		err = -errno;
		free(lines);
		return err;
	}
	snprintf(url, sizeof(url), "fd:%d", fds[0]);
	err = tn_dial(tn_conn_loop(client), url, &handler, lines, &conn);
	if (err < 0) {
		close(fds[0]);
		close(fds[1]);
		free(lines);
		return err;
	}
	tn_conn_keep_loop(conn, false); /* who was left behind may have it for ever */
	*own = fds[1];
	return 0;
}

int child_errors_open(const struct tn_conn *conn, int output, int *error, int *own)
{
	int err = 0;

	*own = -1;
	if (where == ERRORS_LOG && log_line)
		err = log_pipe(conn, own);
	*error = where == ERRORS_CLIENT ? output : where == ERRORS_NONE ? nowhere : *own;
	return err;
}
