/*
 * tenon top: what --admin of a running server tells, in a terminal. Once a second it asks for /status and /connections,
 * one after the other, on a connection of its own for each.
 */
#include "top.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/options.h"
#include "common/output.h"
#include "common/screen.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/text.h"
#include "page.h"
#include "tenon.h"
#include "tenon_value.h"

#define DEFAULT_URL "http://localhost:9990"
#define ANSWER_MAX (256U << 20) /* bytes */
#define ANSWER_MS 10000
#define ROWS_ALONE 20 /* connections that are shown where there is no terminal */
#define ROWS_MAX 200
#define HELP_LINE "q: quit   s: sort by the next column\n"

static struct {
	uint64_t every_ns;
	bool once;
} wanted = {.every_ns = NS_PER_S};

static struct {
	const char *given; /* as it was typed */
	char *url;         /* what is dialled */
	char *host;        /* what is asked for: Host */
	struct tn_loop *loop;
	struct tn_timer *timer;
	struct tn_timer *late; /* for the answer */
	struct tn_poll *keys;
	struct termios before; /* of the terminal */
	bool typed;            /* it has been changed */
	struct text answer;
	int asked; /* 0: /status, 1: /connections */
	struct tn_value *status, *earlier;
	struct tn_value *connections;
	enum top_sort sort;
	bool over; /* what still comes is nobody's any more */
	int result;
} state;

static void ask(void *arg);

static void finish(int result)
{
	state.over = true;
	state.result = result;
	tn_loop_stop(state.loop);
}

/* ---- where ---- */

/* The stream that the pages of an http:// URL come on. NULL without memory, or TN_EURL with words. */
static int understand(const char *url)
{
	int kind = tn_url_kind(url);
	const char *rest = strchr(url, ':'), *path;

	state.given = url;
	if (kind < 0)
		return kind;
	if (!(kind & TN_URL_HTTP) && kind != TN_URL_LOCAL) {
		complain("top: %s is no place of --admin: http://localhost:9990, or unix:/PATH", url);
		return -EINVAL;
	}
	if (asprintf(&state.url, "%s%s", kind & TN_URL_LOCAL ? "unix" : kind & TN_URL_SECURE ? "tls" : "tcp", rest) < 0)
		return -ENOMEM;
	path = kind & TN_URL_LOCAL ? "localhost" : rest + 3;
	state.host = strndup(path, strcspn(path, "/?"));
	return state.host ? 0 : -ENOMEM;
}

/* ---- what has come ---- */

static void draw(void)
{
	struct text out = {0};
	unsigned rows = screen_is_terminal() && !wanted.once ? ROWS_MAX : ROWS_ALONE;

	top_write(&out, state.status, state.earlier, state.connections, state.sort, rows);
	if (wanted.once) {
		(void)out_text(&out);
		return;
	}
	if (state.typed)
		text_add(&out, "\n%ssorted by %s\n", HELP_LINE, top_sort_name(state.sort));
	screen_draw(&out);
	text_free(&out);
}

static void show(void)
{
	if (!settings.json)
		draw();
	if (wanted.once || out_lost())
		finish(STATUS_DONE);
	else if (tn_timer_start(state.loop, wanted.every_ns / NS_PER_MS, ask, NULL, &state.timer) < 0)
		finish(complain_library(-ENOMEM, NULL));
}

static int no_admin(void)
{
	complain("%s: what answers there is no server of --admin", state.given);
	return STATUS_FAILED;
}

/* The body of an answer, which ends with the connection. NULL: it is none, which is told. */
static const char *body_of(size_t *len)
{
	const char *end = memmem(state.answer.data ? state.answer.data : "", state.answer.len, "\r\n\r\n", 4);
	unsigned status = 0;

	if (!end || sscanf(state.answer.data, "HTTP/1.%*u %u", &status) != 1) {
		(void)no_admin();
		return NULL;
	}
	*len = state.answer.len - (size_t)(end + 4 - state.answer.data);
	if (status == 200)
		return end + 4;
	complain("%s: the answer is %u: %.*s", state.given, status, *len < 200 ? (int)*len : 200, end + 4);
	return NULL;
}

static int take(void)
{
	struct tn_value **to = state.asked ? &state.connections : &state.status;
	const char *body;
	size_t len;
	int err;

	text_bytes(&state.answer, "", 1); /* a zero byte behind it, which does not count */
	state.answer.len -= state.answer.len > 0;
	body = body_of(&len);
	if (!body)
		return STATUS_FAILED;
	if (!state.asked) {
		tn_value_free(state.earlier);
		state.earlier = state.status;
		state.status = NULL;
		if (settings.json && (out_bytes(body, len) < 0))
			return out_lost() == -EPIPE ? STATUS_DONE : STATUS_FAILED;
	}
	tn_value_free(*to);
	*to = NULL;
	err = tn_decode("json", body, len, 0, to);
	return err < 0 ? complain_library(err, NULL) : STATUS_DONE;
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	int status;

	(void)conn, (void)arg;
	tn_timer_stop(state.late);
	state.late = NULL;
	if (state.over)
		return;
	status = err && state.answer.len ? no_admin() : err ? complain_library(err, NULL) : take();
	text_free(&state.answer);
	if (status != STATUS_DONE) {
		finish(status);
		return;
	}
	state.asked = !state.asked && !settings.json;
	if (state.asked)
		ask(NULL);
	else
		show();
}

static void on_open(struct tn_conn *conn, void *arg)
{
	char request[512];
	int len = snprintf(request, sizeof(request), "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
			   state.asked ? "connections" : "status", state.host);

	(void)arg;
	if (len >= (int)sizeof(request) || tn_send(conn, request, (size_t)len) < 0)
		tn_abort(conn, -EMSGSIZE);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	text_bytes(&state.answer, msg->data, msg->len);
	if (state.answer.failed || state.answer.len > ANSWER_MAX)
		tn_abort(conn, TN_ETOOBIG);
	else if (strncmp(state.answer.data, "HTTP/", state.answer.len < 5 ? state.answer.len : 5) != 0)
		tn_abort(conn, TN_EFORMAT); /* who speaks otherwise may never end */
}

static void on_late(void *conn)
{
	state.late = NULL;
	tn_abort(conn, -ETIMEDOUT);
}

static void ask(void *arg)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_close = on_close};
	struct tn_conn *conn;
	int err;

	(void)arg;
	state.timer = NULL;
	err = tn_dial(state.loop, state.url, &handler, NULL, &conn);
	if (err < 0)
		finish(complain_library(err, state.url));
	else if (tn_timer_start(state.loop, ANSWER_MS, on_late, conn, &state.late) < 0)
		finish(complain_library(-ENOMEM, NULL));
}

/* ---- the terminal ---- */

static void on_key(void *arg)
{
	char keys[64];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	(void)arg;
	if (n <= 0)
		finish(STATUS_DONE);
	for (ssize_t i = 0; i < n; i++) {
		if (keys[i] == 'q')
			finish(STATUS_DONE);
		if (keys[i] == 's')
			state.sort = (state.sort + 1) % TOP_SORTS;
	}
	if (n > 0 && state.status && state.connections)
		draw();
}

static void on_size(void *arg)
{
	(void)arg;
	if (state.status && state.connections)
		draw();
}

static void listen_to_keys(void)
{
	struct termios raw;

	if (settings.json || wanted.once || !screen_is_terminal() || tcgetattr(STDIN_FILENO, &state.before) < 0)
		return;
	raw = state.before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
		return;
	state.typed = true;
	if (tn_poll_start(state.loop, STDIN_FILENO, on_key, NULL, &state.keys) < 0)
		complain("keys are not read: %s", tn_errmsg());
	(void)screen_watch(state.loop, on_size, NULL);
}

static void on_signal(int nth, void *arg)
{
	(void)nth, (void)arg;
	finish(STATUS_DONE);
}

static void clear(void)
{
	if (state.typed) {
		screen_unwatch();
		screen_end();
		tcsetattr(STDIN_FILENO, TCSANOW, &state.before);
	}
	tn_poll_stop(state.keys);
	tn_timer_stop(state.timer);
	signals_stop();
	tn_loop_free(state.loop); /* with the connection that is asked, if there is one, and its timer */
	tn_value_free(state.status);
	tn_value_free(state.earlier);
	tn_value_free(state.connections);
	text_free(&state.answer);
	free(state.url);
	free(state.host);
}

static int run(char **operands, int count)
{
	const char *url = count ? operands[0] : DEFAULT_URL;
	int err;

	if (count > 1) {
		complain("top: one server at a time");
		return STATUS_USAGE;
	}
	err = understand(url);
	if (err < 0)
		return err == -EINVAL ? STATUS_USAGE : complain_library(err, url);
	if (options_loop_new(&state.loop, NULL) < 0)
		return STATUS_FAILED;
	if (signals_start(state.loop, on_signal, NULL) < 0) {
		tn_loop_free(state.loop);
		return complain_library(-ENOMEM, NULL);
	}
	listen_to_keys();
	ask(NULL);
	err = tn_loop_run(state.loop);
	if (err < 0)
		state.result = complain_library(err, NULL);
	clear();
	return state.result;
}

static const char *set_every(const char *value, void *to)
{
	const char *why = option_set_duration(value, to);

	return why ? why : *(const uint64_t *)to < 10 * NS_PER_MS ? "is out of range (10ms to 1000h)" : NULL;
}

static const struct option_spec own_options[] = {
	{"every", 0, OPTION_VALUE, set_every, &wanted.every_ns, "DUR", "look this often (default 1s)"},
	{"once", '1', OPTION_ALONE, option_set_flag, &wanted.once, NULL, "look once, print it, and end"},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json, NULL, "what /status says, one a line"},
	{0},
};

const struct command top_command = {
	.name = "top",
	.meaning = "watch a running server, relay or hub that has --admin",
	.help = "Examples:\n"
		"  tenon serve tcp://localhost:10000 --admin http://localhost:9990\n"
		"  tenon top\n"
		"  tenon top unix:/run/tenon/admin.sock\n"
		"  tenon top http://localhost:9990 --once\n"
		"\n"
		"Usage:\n"
		"  tenon top [URL]\n"
		"\n"
		"Shows rates, servers, targets and the busiest connections, once a second. Without a URL it is\n"
		"http://localhost:9990. On a terminal q ends it, and s sorts by the next column.\n",
	.options = own_options,
	.run = run,
};
