/*
 * tenon convert: reads messages in one format and writes them in another. Input and output are two connections on one
 * loop. The input is paused while the output is full, so memory is bounded by one message and the queue.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "convert.h"
#include "common/complain.h"
#include "common/human.h"
#include "common/options.h"
#include "common/output.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/text.h"
#include "common/transcode.h"
#include "tenon.h"
#include "tenon_value.h"

#define MAX_DEFAULT (64U << 20) /* of one message */
#define MAX_OUT (1U << 30)
#define PROGRESS_MS 1000

/* A format and what stands between its messages. */
struct side {
	const char *text; /* as it was given */
	char format[16];
	const char *frame; /* of the library */
	bool whole;        /* in: all of the input is one message */
	bool skips_blank;  /* in: a blank line between messages is none */
	bool line_feed;    /* out: written after each message, whatever is in it */
};

static struct {
	const char *from, *to, *on_bad;
	uint64_t max;
	bool pretty, strict, jsonml;
} options = {.max = MAX_DEFAULT};

static struct {
	struct tn_loop *loop;
	struct tn_conn *input, *output; /* NULL: gone */
	struct side from, to;
	char **files;
	const char *name;            /* of the input, for people */
	char url[256], url_out[256]; /* of the input, of the output */
	struct tn_value *value;
	struct tn_bytes bytes;
	struct text whole; /* the input so far, where it is one message */
	uint64_t number;   /* of the message in this input, from 1 */
	unsigned flags_in, flags_out;
	bool leaving;
	int status;
} state;

/* ---- --from and --to ---- */

#define FORMATS_MAX 16
#define FRAME_MAX 160 /* characters that say a frame */

static bool no_format(const char *option, const char *format)
{
	const char *names[FORMATS_MAX], *near;
	struct text all = {0};
	size_t n = 0;

	if (strstr(tn_errmsg(), "this build")) { /* one that was left out */
		complain("convert: --%s: %s", option, tn_errmsg());
		return false;
	}
	for (; n < FORMATS_MAX && (names[n] = tn_format_at((int)n, NULL)); n++)
		text_add(&all, "%s%s", n ? ", " : "", names[n]);
	near = tn_nearest(format, names, n);
	complain("convert: --%s: no format '%.32s'%s%.*s%s", option, format, near ? " (did you mean " : "; there are ",
		 near ? (int)strlen(near) : (int)all.len, near ? near : all.data, near ? "?)" : "");
	text_free(&all);
	return false;
}

/* The error is the library's, without the URL that was made to ask it. */
static bool check_frame(const char *option, const char *frame, uint64_t max, bool *whole)
{
	char url[256];
	const char *why;
	bool fits = strlen(frame) < FRAME_MAX && !strpbrk(frame, "&#%?");

	snprintf(url, sizeof(url), "tcp://localhost:1?frame=%.*s&max=%llu", FRAME_MAX, frame, (unsigned long long)max);
	if (fits && tn_url_check(url, TN_DIAL) == 0) {
		*whole = tn_url_keeps_messages(url) == 0;
		return true;
	}
	why = !fits ? NULL : strstr(tn_errmsg(), "key 'frame': ");
	if (why)
		complain("convert: --%s: %s", option, why + strlen("key 'frame': "));
	else
		complain("convert: --%s: no such frame '%.64s'", option, frame);
	return false;
}

/*
 * The frame of an output is the format's own. But a text may hold line feeds, which frame line would refuse: so the
 * line feed is written here.
 */
static const char *default_frame(const struct side *side, bool in)
{
	return in || tn_format_kind(side->format) & TN_FORMAT_VALUES ? tn_format_frame(side->format) : NULL;
}

static bool side_parse(struct side *side, const char *option, bool in)
{
	bool whole = true;
	size_t len;
	int kind;

	if (!side->text) {
		complain("convert: --%s is missing: --from FORMAT --to FORMAT", option);
		return false;
	}
	len = strcspn(side->text, "/");
	snprintf(side->format, sizeof(side->format), "%.*s", len > 15 ? 15 : (int)len, side->text);
	kind = tn_format_kind(side->format);
	if (kind < 0)
		return no_format(option, side->format);
	side->frame = side->text[len] ? side->text + len + 1 : default_frame(side, in);
	if (side->frame && !check_frame(option, side->frame, in ? options.max : MAX_OUT, &whole))
		return false;
	side->whole = in && whole;
	side->skips_blank = in && kind & TN_FORMAT_BLANK && side->frame && tn_frame_delimiter(side->frame) == '\n';
	side->line_feed = !in && !side->frame && kind != 0;
	return true;
}

/* ---- ending ---- */

static void note_status(int status)
{
	if (state.status == STATUS_DONE)
		state.status = status;
}

/* What has been converted is still written, however long its reader takes. */
static void leave(int status)
{
	note_status(status);
	if (state.leaving)
		return;
	state.leaving = true;
	if (state.input)
		tn_pause(state.input);
	if (state.output)
		tn_close(state.output);
	else
		tn_loop_stop(state.loop);
}

/* ---- messages ---- */

/* The library's reason without the URL or the call in front of it, which the user has not typed. */
static const char *reason(void)
{
	const char *why = tn_errmsg(), *send = strstr(why, ": send: ");
	size_t len = strlen(state.url), len_out = strcspn(state.url_out, "?");

	if (strncmp(why, state.url_out, len_out) == 0 && send)
		return send + strlen(": send: ");
	return strncmp(why, state.url, len) == 0 && strncmp(why + len, ": ", 2) == 0 ? why + len + 2 : why;
}

static void hint_max(int err)
{
	if (err == TN_ETOOBIG && strstr(tn_errmsg(), "(key max)"))
		complain_hint("--max SIZE");
}

/* Messages before it have been written, or will be. */
static void refuse(int err)
{
	bool skip = options.on_bad && strcmp(options.on_bad, "skip") == 0 && status_of(err) == STATUS_REFUSED;

	complain("%s: message %llu: %s", state.name, (unsigned long long)state.number, reason());
	hint_max(err);
	if (skip)
		note_status(STATUS_REFUSED);
	else
		leave(status_of(err));
}

/* Reads a message and writes it as the output has it. */
static int translate(const void *data, size_t len)
{
	int err = tn_decode(state.from.format, data, len, state.flags_in, &state.value);

	return err == 0 ? tn_encode(state.to.format, state.value, state.flags_out, &state.bytes) : err;
}

/*
 * Some outputs refuse equal keys that the input allows. Read again so that the input refuses them too, it says at which
 * byte. If it says something else, the place in the value is reported.
 */
static int locate_equal_keys(const void *data, size_t len)
{
	if (tn_decode(state.from.format, data, len, state.flags_in | TN_STRICT, &state.value) == TN_EDUPKEY)
		return TN_EDUPKEY;
	return translate(data, len);
}

static int write_out(void)
{
	const struct iovec message[] = {{state.bytes.data, state.bytes.len}, {(void *)(uintptr_t) "\n", 1}};

	return tn_replyv(state.output, NULL, message, state.to.line_feed ? 2 : 1);
}

static void convert(const void *data, size_t len)
{
	int err;

	if (state.leaving || !state.output || (state.from.skips_blank && is_blank_text(data, len)))
		return;
	state.number++;
	err = translate(data, len);
	if (err == TN_EDUPKEY)
		err = locate_equal_keys(data, len);
	if (err == 0)
		err = write_out();
	if (err == 1 && state.input)
		tn_pause(state.input);
	else if (err < 0)
		refuse(err);
}

/* ---- input ---- */

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn, (void)arg;
	if (!state.from.whole) {
		convert(msg->data, msg->len);
		return;
	}
	if (state.leaving)
		return;
	text_bytes(&state.whole, msg->data, msg->len);
	if (!state.whole.failed && state.whole.len <= options.max)
		return;
	complain("%s: message 1: more than %llu bytes", state.name, (unsigned long long)options.max);
	complain_hint("--max SIZE");
	leave(STATUS_REFUSED);
}

static void on_input_end(struct tn_conn *conn, void *arg)
{
	(void)arg;
	if (state.from.whole)
		convert(state.whole.data ? state.whole.data : "", state.whole.len);
	tn_close(conn);
}

static void next_input(void);

static void on_input_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)arg;
	state.input = NULL;
	if (state.leaving)
		return;
	if (status_of(err) == STATUS_REFUSED) { /* the frame's rules are broken: nothing behind that can be read */
		complain("%s: message %llu: %s", state.name, (unsigned long long)state.number + 1, reason());
		hint_max(err);
		leave(STATUS_REFUSED);
	} else if (err < 0) {
		complain("%s: %s", state.name, tn_strerror(err));
		leave(STATUS_FAILED);
	} else {
		next_input();
	}
}

static int input_open(const char *file)
{
	static const struct tn_handler handler = {.on_msg = on_msg, .on_end = on_input_end, .on_close = on_input_close};
	bool standard = strcmp(file, "-") == 0;
	int fd = standard ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC), err;

	state.name = standard ? "standard input" : file;
	state.number = state.whole.len = 0;
	if (fd < 0)
		return -errno;
	/* The library's limit is for what lies in its buffers; a whole input is gathered here. */
	snprintf(state.url, sizeof(state.url), "fd:%d?max=%llu%s%s", fd, (unsigned long long)options.max,
		 state.from.frame ? "&frame=" : "", state.from.frame ? state.from.frame : "");
	err = tn_dial(state.loop, state.url, &handler, NULL, &state.input);
	if (err < 0 && !standard)
		close(fd);
	return err;
}

static void next_input(void)
{
	const char *file = *state.files;
	int err;

	if (!file) {
		leave(STATUS_DONE);
		return;
	}
	state.files++;
	err = input_open(file);
	if (err == 0)
		return;
	complain("%s: %s", state.name, tn_strerror(err));
	leave(STATUS_FAILED);
}

/* ---- output ---- */

static void on_output_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	tn_pause(conn); /* one socket may be both input and output: only the input reads it */
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
	if (state.input && !state.leaving)
		tn_resume(state.input);
}

static void on_output_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)arg;
	state.output = NULL;
	/* A reader that has gone is not an error; a second signal does not wait (-ECANCELED) */
	if (err < 0 && err != -EPIPE && err != -ECONNRESET && err != -ECANCELED) {
		complain("standard output: %s", tn_strerror(err));
		note_status(STATUS_FAILED);
	}
	state.leaving = true;
	tn_loop_stop(state.loop);
}

/* It may have gone while nothing is written. */
static void on_reader_gone(void *arg)
{
	(void)arg;
	if (state.output)
		tn_abort(state.output, -EPIPE);
}

static int output_open(void)
{
	static const struct tn_handler handler = {
		.on_open = on_output_open, .on_drain = on_drain, .on_close = on_output_close};

	if (out_is_shut()) {
		complain_of("standard output: %s", tn_strerror(-EBADF));
		return -EBADF;
	}
	/* A slow reader, such as a pager, is no reason to give up */
	snprintf(state.url_out, sizeof(state.url_out), "fd:1?max=%u&queue=256KiB&drain=1000h%s%s", MAX_OUT,
		 state.to.frame ? "&frame=" : "", state.to.frame ? state.to.frame : "");
	return tn_dial(state.loop, state.url_out, &handler, NULL, &state.output);
}

/* For the user, on standard error. */
static void progress(void *arg)
{
	char in[32], out[32];
	struct tn_conn_info info = {0}, written = {0};

	(void)arg;
	if (state.leaving)
		return;
	if (state.input)
		tn_conn_info(state.input, &info);
	if (state.output)
		tn_conn_info(state.output, &written);
	progress_show("%s: %llu messages, %s read, %s written", state.name, (unsigned long long)state.number,
		      human_bytes((double)info.bytes_in, in, sizeof(in)),
		      human_bytes((double)written.bytes_out, out, sizeof(out)));
	if (tn_timer_start(state.loop, PROGRESS_MS, progress, NULL, NULL) < 0)
		progress_end(); /* it goes without */
}

static bool is_progress_wanted(void)
{
	return progress_wanted() && !isatty(STDOUT_FILENO) && !(isatty(STDIN_FILENO) && !strcmp(*state.files, "-"));
}

/* ---- the command ---- */

static void on_signal(int nth, void *arg)
{
	(void)arg;
	if (nth > 1)
		tn_loop_stop(state.loop);
	leave(STATUS_FAILED);
}

static bool files_there(char **files)
{
	for (; *files; files++)
		if (strcmp(*files, "-") != 0 && access(*files, R_OK) < 0) {
			complain("%s: %s", *files, tn_strerror(-errno));
			return false;
		}
	return true;
}

static int convert_all(void)
{
	/* A ring takes longer to set up than a file takes to convert, and files and pipes do not go through it */
	int err = options_loop_new(&state.loop, "epoll");

	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	err = signals_start(state.loop, on_signal, NULL);
	if (err >= 0)
		err = output_open();
	if (err >= 0)
		err = out_watch(state.loop, on_reader_gone, NULL);
	if (err >= 0 && is_progress_wanted())
		err = tn_timer_start(state.loop, 2 * PROGRESS_MS, progress, NULL, NULL);
	if (err >= 0) {
		next_input();
		err = tn_loop_run(state.loop);
	}
	progress_end();
	out_unwatch();
	signals_stop();
	if (err < 0)
		note_status(complain_library(err, NULL));
	tn_loop_free(state.loop);
	tn_value_free(state.value);
	tn_bytes_free(&state.bytes);
	text_free(&state.whole);
	return state.status;
}

static int run(char **operands, int count)
{
	static char standard[] = "-";
	static char *none[] = {standard, NULL};

	state.from.text = options.from;
	state.to.text = options.to;
	if (!side_parse(&state.from, "from", true) || !side_parse(&state.to, "to", false)) {
		complain_hint("%s convert --help", settings.program);
		return STATUS_USAGE;
	}
	state.flags_in = (options.strict ? TN_STRICT : 0U) | (options.jsonml ? TN_JSONML : 0U);
	state.flags_out = state.flags_in | (options.pretty ? TN_PRETTY : 0U);
	state.files = count ? operands : none;
	return files_there(state.files) ? convert_all() : STATUS_FAILED;
}

static const char *set_max(const char *value, void *to)
{
	int err = tn_parse_size(value, to);

	if (err == 0 && *(uint64_t *)to >= 1 && *(uint64_t *)to <= 1U << 30)
		return NULL;
	return err == -EINVAL ? "is not a size (4096, 64KiB, 1MiB)" : "is out of range (1 to 1GiB)";
}

static const char *set_on_bad(const char *value, void *to)
{
	if (strcmp(value, "stop") != 0 && strcmp(value, "skip") != 0)
		return "is neither stop nor skip";
	return option_set_text(value, to);
}

static const struct option_spec own_options[] = {
	{"from", 'f', OPTION_VALUE, option_set_text, &options.from, "FORMAT[/FRAME]", "format of the input"},
	{"to", 't', OPTION_VALUE, option_set_text, &options.to, "FORMAT[/FRAME]", "format of the output"},
	{"pretty", 0, OPTION_ALONE, option_set_flag, &options.pretty, NULL, "JSON and XML with one item a line"},
	{"strict", 0, OPTION_ALONE, option_set_flag, &options.strict, NULL,
	 "refuse what formats leave open (equal keys in JSON), write nothing marked"},
	{"jsonml", 0, OPTION_ALONE, option_set_flag, &options.jsonml, NULL,
	 "XML is JsonML in both directions: [\"name\", {\"attribute\": \"value\"}, child, ...]"},
	{"max", 0, OPTION_VALUE, set_max, &options.max, "SIZE", "longest message, 1 to 1GiB (default 64MiB)"},
	{"on-bad", 0, OPTION_VALUE, set_on_bad, &options.on_bad, "WHAT",
	 "a message that is refused: stop (default), or skip it and go on; the exit status is 4 in either case"},
	{0},
};

const struct command convert_command = {
	.name = "convert",
	.meaning = "turn messages of one format into another: JSON, XML, CBOR, MessagePack",
	.help = "Examples:\n"
		"  tenon convert --from cbor --to json --pretty < request.cbor\n"
		"  tenon convert --from json/line --to cbor/u32 events.ndjson > events.bin\n"
		"  tenon convert --from xml --to json --pretty feed.xml\n"
		"  tail -f log.msgpack | tenon convert --from msgpack --to json\n"
		"\n"
		"Usage:\n"
		"  tenon convert --from FORMAT[/FRAME] --to FORMAT[/FRAME] [FILE...]\n"
		"\n"
		"Formats: {formats}\n"
		"Frames: {frames}\n"
		"\n"
		"A frame says where a message ends. Without one, JSON, CBOR and MessagePack follow one another as\n"
		"they are (JSON is written a message a line), each line of text is a message, and an XML document or\n"
		"raw bytes are the whole of an input. FORMAT/none means for any format: an input is one message, and\n"
		"nothing follows it. Without FILE, or with -, standard input is read.\n",
	.options = own_options,
	.run = run,
};
