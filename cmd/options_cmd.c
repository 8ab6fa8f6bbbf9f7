/* tenon options: the table of all URL keys, or with a URL the values in force on it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "options.h"
#include "output.h"
#include "tenon.h"

static bool serve_wanted;

/* Where the values are read: one of the two is open. */
static struct {
	struct tn_loop *loop;
	struct tn_conn *conn;
	struct tn_server *server;
	int status;
} state;

static const char *or_dash(const char *text)
{
	return text ? text : "-";
}

/* ---- the table ---- */

static void option_json(const struct tn_option *option, const char *value)
{
	struct text line = {0};

	json_begin(&line, NULL);
	json_text(&line, "key", option->key);
	if (value)
		json_text(&line, "value", value);
	json_text(&line, "constant", option->constant);
	json_text(&line, "level", option->level);
	json_text(&line, "type", option->type);
	json_text(&line, "applies", option->applies);
	json_text(&line, "meaning", option->meaning);
	json_line(&line);
}

static void option_text(const struct tn_option *option)
{
	struct text line = {0};

	text_add(&line, "%s%-18s%s %-24s %-13s %s\n", out_paint(STDOUT_FILENO, PAINT_BOLD), option->key,
		 out_paint(STDOUT_FILENO, PAINT_NONE), or_dash(option->constant), or_dash(option->level),
		 or_dash(option->type));
	text_add(&line, "%-18s %s. For: %s", "", or_dash(option->meaning), or_dash(option->applies));
	out_line(&line);
}

static int table(void)
{
	struct tn_option option;

	if (!settings.json) {
		struct text head = {0};
		text_add(&head, "%-18s %-24s %-13s %s", "KEY", "CONSTANT", "LEVEL", "VALUES");
		out_line(&head);
	}
	for (int i = 0; tn_option_at(i, &option) == 0 && !out_lost(); i++)
		if (settings.json)
			option_json(&option, NULL);
		else
			option_text(&option);
	return STATUS_DONE;
}

/* ---- the values in force ---- */

static void values(void)
{
	struct tn_option option;
	char value[256];

	for (int i = 0; tn_option_at(i, &option) == 0 && !out_lost(); i++) {
		struct text line = {0};
		int err = state.conn ? tn_conn_option(state.conn, option.key, value, sizeof(value))
				     : tn_server_option(state.server, option.key, value, sizeof(value));

		if (err < 0)
			continue;
		if (settings.json) {
			option_json(&option, value);
			continue;
		}
		text_add(&line, "%s%-18s%s %-16s %s", out_paint(STDOUT_FILENO, PAINT_BOLD), option.key,
			 out_paint(STDOUT_FILENO, PAINT_NONE), value, or_dash(option.constant));
		out_line(&line);
	}
}

static void on_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	state.conn = conn;
	values();
	tn_loop_stop(state.loop);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)arg;
	if (err < 0)
		state.status = complain_library(err, NULL);
	tn_loop_stop(state.loop);
}

static void on_reader_gone(void *arg)
{
	(void)arg;
	tn_loop_stop(state.loop);
}

static int dialled_values(const char *url)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_close = on_close};
	int err = tn_dial(state.loop, url, &handler, NULL, NULL);

	if (err >= 0)
		err = out_watch(state.loop, on_reader_gone, NULL);
	if (err >= 0)
		err = tn_loop_run(state.loop);
	out_unwatch();
	return err < 0 ? complain_library(err, url) : state.status;
}

static int served_values(const char *url)
{
	static const struct tn_handler handler = {0};
	int err = tn_serve(state.loop, url, &handler, NULL, &state.server);

	if (err < 0)
		return complain_library(err, url);
	values();
	tn_server_close(state.server, 0, NULL, NULL);
	err = tn_loop_run(state.loop);
	return err < 0 ? complain_library(err, url) : STATUS_DONE;
}

/* What cannot be dialled is meant to be served: port 0, and every interface. */
static bool is_for_serving(const char *url)
{
	return tn_url_check(url, TN_DIAL) < 0 && tn_url_check(url, TN_SERVE) == 0;
}

static int run(char **operands, int count)
{
	bool serve;
	int err;

	if (count == 0)
		return table();
	if (count > 1) {
		complain("options: one URL, please");
		return STATUS_USAGE;
	}
	serve = serve_wanted || is_for_serving(operands[0]);
	if (tn_url_check(operands[0], serve ? TN_SERVE : TN_DIAL) < 0)
		return complain_library(TN_EURL, operands[0]);
	err = options_loop_new(&state.loop, "epoll");
	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	return serve ? served_values(operands[0]) : dialled_values(operands[0]);
}

static const struct option_spec own_options[] = {
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json},
	{"serve", 0, OPTION_ALONE, option_set_flag, &serve_wanted},
	{0},
};

const struct command options_command = {
	.name = "options",
	.meaning = "list the keys of URLs, or show the values in force on one",
	.help = "Examples:\n"
		"  tenon options                                     every key, and what it means\n"
		"  tenon options 'tcp://localhost:10000?rcvbuf=1MiB' what the system made of it\n"
		"  tenon options --serve 'tcp://localhost:10001'     the same for a listener\n"
		"\n"
		"Usage:\n"
		"  tenon options [URL]\n"
		"\n"
		"With a URL, dials it (or serves it: with --serve, with port 0, or where only that makes sense) and\n"
		"prints each key that applies with the value in force.\n"
		"\n"
		"Options:\n"
		"      --serve           open the URL as a server does\n"
		"      --json            one JSON object a line\n",
	.options = own_options,
	.run = run,
};
