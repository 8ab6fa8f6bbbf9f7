/* tenon options: the table of all URL keys, the rows that match words, or the values in force on a URL. */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "options.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/options.h"
#include "common/output.h"
#include "common/paint.h"
#include "common/settings.h"
#include "common/status.h"
#include "common/text.h"
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

	text_add(&line, "%s%-18s%s %-24s %-13s %s\n", paint_code(STDOUT_FILENO, PAINT_BOLD), option->key,
		 paint_code(STDOUT_FILENO, PAINT_NONE), or_dash(option->constant), or_dash(option->level),
		 or_dash(option->type));
	text_add(&line, "%-18s %s. For: %s", "", or_dash(option->meaning), or_dash(option->applies));
	out_line(&line);
}

/* Letters and digits in lower case: time-out, time out and TIMEOUT are one word. */
static void squeeze(const char *text, char *out, size_t cap)
{
	size_t n = 0;

	for (; *text && n + 1 < cap; text++)
		if (isalnum((unsigned char)*text))
			out[n++] = (char)tolower((unsigned char)*text);
	out[n] = '\0';
}

static bool says(const char *text, const char *word)
{
	char squeezed[1024];

	squeeze(text ? text : "", squeezed, sizeof(squeezed));
	return strstr(squeezed, word);
}

static bool is_about(const struct tn_option *option, const char *word)
{
	char wanted[128];

	squeeze(word, wanted, sizeof(wanted));
	return says(option->key, wanted) || says(option->constant, wanted) || says(option->meaning, wanted) ||
	       says(option->level, wanted) || says(option->type, wanted) || says(option->applies, wanted);
}

static bool is_about_all(const struct tn_option *option, char **words, int count)
{
	for (int i = 0; i < count; i++)
		if (!is_about(option, words[i]))
			return false;
	return true;
}

static int nothing_found(const char *word)
{
	const char *names[512], *near;
	struct tn_option option;
	size_t n = 0;

	for (int i = 0; tn_option_at(i, &option) == 0 && n + 1 < sizeof(names) / sizeof(names[0]); i++) {
		names[n++] = option.key;
		if (option.constant)
			names[n++] = option.constant;
	}
	near = tn_nearest(word, names, n);
	complain("options: no key, constant or meaning has '%.64s' in it%s%s%s", word, near ? " (did you mean " : "",
		 near ? near : "", near ? "?)" : "");
	return STATUS_FAILED;
}

/* The table, or the rows of it that match all words. */
static int table(char **words, int count)
{
	struct tn_option option;
	int shown = 0;

	for (int i = 0; tn_option_at(i, &option) == 0 && !out_lost(); i++) {
		if (!is_about_all(&option, words, count))
			continue;
		if (!settings.json && shown == 0) {
			struct text head = {0};

			text_add(&head, "%-18s %-24s %-13s %s", "KEY", "CONSTANT", "LEVEL", "VALUES");
			out_line(&head);
		}
		shown++;
		if (settings.json)
			option_json(&option, NULL);
		else
			option_text(&option);
	}
	return shown || out_lost() ? STATUS_DONE : nothing_found(words[count - 1]);
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
		text_add(&line, "%s%-18s%s %-16s %s", paint_code(STDOUT_FILENO, PAINT_BOLD), option.key,
			 paint_code(STDOUT_FILENO, PAINT_NONE), value, or_dash(option.constant));
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

/* Key reconnect: once is enough. */
static void on_lost(struct tn_conn *conn, int err, const struct tn_loss *loss, void *arg)
{
	(void)loss;
	on_close(conn, err, arg);
}

static void on_reader_gone(void *arg)
{
	(void)arg;
	tn_loop_stop(state.loop);
}

static int dialled_values(const char *url)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_close = on_close, .on_lost = on_lost};
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

/* What cannot be dialled is to be served: port 0, or every interface. */
static bool is_for_serving(const char *url)
{
	return tn_url_check(url, TN_DIAL) < 0 && tn_url_check(url, TN_SERVE) == 0;
}

/* No key, constant or word has a colon in it. */
static bool any_is_url(char **operands, int count)
{
	for (int i = 0; i < count; i++)
		if (strchr(operands[i], ':'))
			return true;
	return false;
}

static int run(char **operands, int count)
{
	bool serve;
	int err;

	if (!serve_wanted && !any_is_url(operands, count))
		return table(operands, count);
	if (count != 1) {
		complain(count ? "options: one URL, please" : "options: --serve: which URL?");
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
	{"serve", 0, OPTION_ALONE, option_set_flag, &serve_wanted, NULL, "open the URL as a server does"},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json, NULL, "one JSON object a line"},
	{0},
};

const struct command options_command = {
	.name = "options",
	.meaning = "list or search the keys of URLs, or show the values in force on one",
	.help = "Examples:\n"
		"  tenon options                                     every key, and what it means\n"
		"  tenon options timeout                             those that have to do with it\n"
		"  tenon options 'tcp://localhost:10000?rcvbuf=1MiB' what the system made of it\n"
		"  tenon options --serve 'tcp://localhost:10001'     the same for a listener\n"
		"\n"
		"Usage:\n"
		"  tenon options [WORD... | URL]\n"
		"\n"
		"With words, shows the keys that have all of them in their name, constant (TCP_NODELAY), values or\n"
		"meaning. With a URL, dials it and prints each key that applies, with the value in force. With\n"
		"--serve, with port 0, or if the URL can only be served, it is served instead.\n",
	.options = own_options,
	.run = run,
};
