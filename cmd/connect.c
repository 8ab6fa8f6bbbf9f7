/*
 * tenon connect: standard input to a socket, the socket to standard output. Three connections on one loop; each
 * direction holds back its source while its sink is full, so memory is bounded and nothing is lost or reordered.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "handler/handler.h"
#include "lines.h"
#include "options.h"
#include "output.h"
#include "people.h"
#include "privileges.h"
#include "signals.h"
#include "tenon.h"
#include "tongue.h"

#define NS_PER_S 1000000000ULL
#define NS_PER_MS 1000000ULL
#define DATAGRAM_MAX 65507       /* payload of UDP over IPv4 */
#define LINE_MAX_LEN (64U << 20) /* otherwise the library knows what is too long */
#define LOOK_NS (10 * NS_PER_MS) /* how often to look whether what is queued moves */
#define PROGRESS_MS 1000
#define DTLS_WAIT_NS (10 * NS_PER_S) /* a peer answers our end at once; its answer may be lost */
#define MORE_MS 200                  /* in which an input that has more to say has said some of it */

static struct {
	uint64_t wait_ns;       /* for a peer that is silent, after the end of the input */
	uint64_t wait_input_ns; /* for an input that is silent, after the end of the peer */
	bool exit_on_end, no_fin;
	bool end_is_due; /* waiting is for the end of the peer, not what the user has asked for */
} options = {.wait_ns = UINT64_MAX, .wait_input_ns = UINT64_MAX};

static struct {
	const char *url;
	struct tn_loop *loop;
	struct tn_conn *peer, *input, *output; /* NULL: gone */
	struct tn_timer *timer, *progress_timer;
	struct lines lines; /* where the endpoint keeps messages: what is not a whole line yet */
	struct tongue tongue;
	uint64_t nlines; /* of the input, for complaints */
	uint64_t moved_ns, bytes_out;
	uint64_t started_ns, shown_bytes; /* for who watches */
	bool opened;
	bool by_lines, datagrams;
	bool framed; /* a message is a line without its line feed; otherwise with it */
	bool input_over, peer_over, leaving, left;
	bool output_shut;           /* standard output is not open for writing */
	bool input_held, peer_held; /* paused because the other side is full */
	int status;
} state;

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Whatever ends meanwhile has been told why, or need not be. */
static void stop(int status)
{
	if (state.status == STATUS_DONE)
		state.status = status;
	state.leaving = true;
	tn_loop_stop(state.loop);
}

/* All that came has been handed over: once it is written we are done, however long that takes. */
static void leave(int status)
{
	if (state.status == STATUS_DONE)
		state.status = status;
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

/* ---- time ---- */

static void tick(void *arg);

static void timer_set(uint64_t delay_ns)
{
	tn_timer_stop(state.timer);
	state.timer = NULL;
	if (tn_timer_start(state.loop, delay_ns / NS_PER_MS + 1, tick, NULL, &state.timer) < 0)
		stop(complain_library(-ENOMEM, NULL));
}

/* Whether our own bytes are still on their way, or the output holds up the peer: then nobody is silent. */
static bool is_moving(void)
{
	struct tn_conn_info info;
	uint64_t before = state.bytes_out;

	tn_conn_info(state.peer, &info);
	state.bytes_out = info.bytes_out;
	return state.peer_held || (tn_conn_queued(state.peer) > 0 && info.bytes_out != before);
}

static uint64_t patience_ns(void)
{
	if (state.peer_over)
		return options.wait_input_ns;
	if (!state.input_over)
		return UINT64_MAX;
	return options.wait_ns;
}

static void peer_is_silent(void)
{
	size_t left = tn_conn_queued(state.peer);

	if (left)
		complain("%s: %zu bytes have not been sent: the peer does not take them", state.url, left);
	else if (options.end_is_due)
		complain("%s: the peer has not ended within %u s of silence: its end, and replies, may have been lost "
			 "(see --wait)",
			 state.url, (unsigned)(options.wait_ns / NS_PER_S));
	leave(left || options.end_is_due ? STATUS_TIMEOUT : STATUS_DONE);
}

static void tick(void *arg)
{
	uint64_t patience = patience_ns(), quiet_ns;

	(void)arg;
	state.timer = NULL;
	if (!state.peer || state.leaving || patience == UINT64_MAX)
		return;
	if (is_moving())
		state.moved_ns = clock_ns();
	quiet_ns = clock_ns() - state.moved_ns;
	if (quiet_ns < patience)
		timer_set(tn_conn_queued(state.peer) > 0 ? LOOK_NS : patience - quiet_ns);
	else if (state.peer_over)
		tn_close(state.peer);
	else
		peer_is_silent();
}

static void watch_silence(void)
{
	state.moved_ns = clock_ns();
	if (patience_ns() != UINT64_MAX)
		timer_set(LOOK_NS < patience_ns() ? LOOK_NS : patience_ns());
}

/* A person who watches sees how far it is, on standard error. */
static void progress(void *arg)
{
	uint64_t elapsed_ns = clock_ns() - state.started_ns, bytes;
	char in[32], out[32], rate[32];
	struct tn_conn_info info;

	(void)arg;
	state.progress_timer = NULL;
	if (!state.peer)
		return;
	tn_conn_info(state.peer, &info);
	bytes = info.bytes_in + info.bytes_out;
	if (!state.opened)
		out_progress("connecting to %s: %llu s", state.url, (unsigned long long)(elapsed_ns / NS_PER_S));
	else if (!isatty(STDIN_FILENO) && !isatty(STDOUT_FILENO))
		out_progress(
			"%s sent, %s received, %s/s", people_bytes((double)info.bytes_out, out, sizeof(out)),
			people_bytes((double)info.bytes_in, in, sizeof(in)),
			people_bytes((double)(bytes - state.shown_bytes) * 1000 / PROGRESS_MS, rate, sizeof(rate)));
	state.shown_bytes = bytes;
	if (tn_timer_start(state.loop, PROGRESS_MS, progress, NULL, &state.progress_timer) < 0)
		stop(complain_library(-ENOMEM, NULL));
}

/* ---- input to peer ---- */

static void hold_input(int err)
{
	if (err != 1)
		return;
	state.input_held = true;
	if (state.input)
		tn_pause(state.input);
}

static void refuse(int err)
{
	/* TN_ESTATE: the connection is ending, and its on_close will say why */
	if (err < 0 && err != TN_ESTATE)
		leave(complain_library(err, NULL));
}

/* One that is not what the format wants is told and left out: a person at a terminal may type it again. */
static int send_line(const char *line, size_t len)
{
	size_t bare = len - (line[len - 1] == '\n');
	int err;

	state.nlines++;
	if (!state.tongue.spoken)
		return tn_send(state.peer, line, state.framed ? bare : len);
	if (tongue_is_blank(&state.tongue, line, bare))
		return 0;
	err = tongue_hear(&state.tongue, line, bare);
	if (err == 0)
		err = tn_reply_value(state.peer, NULL, state.tongue.value);
	if (status_of(err) != STATUS_REFUSED)
		return err;
	complain("line %llu: %s", (unsigned long long)state.nlines, tn_errmsg());
	state.status = STATUS_REFUSED;
	return 0;
}

/* Each whole line is a message, until the queue is full. Returns whether all that there is has been taken. */
static bool send_lines(void)
{
	const char *line;
	size_t len;
	int err = 0, found = 0;

	while (err == 0 && (found = lines_next(&state.lines, state.input_over, &line, &len)) > 0)
		err = send_line(line, len);
	if (found == TN_ETOOBIG) {
		complain("%s: a line of more than %zu bytes does not fit a message", state.url, state.lines.max);
		leave(STATUS_REFUSED);
	}
	refuse(err);
	hold_input(err);
	return err == 0 && found == 0;
}

static void finish_input(void)
{
	if (!state.peer || !state.input_over)
		return;
	if (state.by_lines && (state.input_held || !send_lines()))
		return; /* on_drain comes here again */
	if (state.peer_over)
		tn_close(state.peer); /* nothing is left to be said by either */
	else if (!options.no_fin)
		tn_finish(state.peer);
	watch_silence();
}

static void on_input(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	int err;

	(void)conn, (void)arg;
	if (!state.peer || state.leaving)
		return;
	state.moved_ns = clock_ns();
	if (state.by_lines) {
		if (lines_add(&state.lines, msg->data, msg->len) < 0)
			refuse(-ENOMEM);
		send_lines();
		return;
	}
	err = tn_forward(state.peer, msg);
	refuse(err);
	hold_input(err);
}

static void input_end(void)
{
	if (state.input_over)
		return;
	state.input_over = true;
	finish_input();
}

static void on_input_end(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
	input_end();
}

static void on_input_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)arg;
	state.input = NULL;
	if (err < 0 && !state.leaving) {
		complain("standard input: %s", tn_strerror(err));
		state.status = STATUS_FAILED;
	}
	input_end();
}

/* ---- peer to output ---- */

static void on_open(struct tn_conn *conn, void *arg)
{
	struct tn_conn_info info;

	(void)arg;
	state.opened = true;
	out_progress_end();
	if (!settings.verbose)
		return;
	tn_conn_info(conn, &info);
	complain("%s %s from %s", info.many ? "sending to" : "connected to", info.peer, info.local);
}

/* Of several that may answer. */
static void tell_sender(const struct tn_msg *msg)
{
	char text[80];

	if (settings.verbose && msg->peer)
		complain("from %s", tn_addr_text(msg->peer, text, sizeof(text)));
}

/* Datagrams are lost while the output, or this process, is slower than the peer. */
static void tell_lost(const struct tn_conn *conn)
{
	struct tn_conn_info info;

	tn_conn_info(conn, &info);
	if (info.lost > 0)
		complain("%s: %llu datagrams were lost here%s", state.url, (unsigned long long)info.lost,
			 info.dropped > 0 ? ": they came faster than they were written (see key rcvbuf)" : "");
}

/* Nothing can be written: what is still to be sent would be sent for nothing, and a reset says that it is not all. */
static void output_fails(int err)
{
	complain("standard output: %s", tn_strerror(err));
	stop(STATUS_FAILED);
	if (state.peer)
		tn_abort(state.peer, err);
}

static int write_line(const void *data, size_t len)
{
	const struct iovec line[] = {{(void *)(uintptr_t)data, len}, {(void *)(uintptr_t) "\n", 1}};

	return tn_replyv(state.output, NULL, line, 2);
}

static int write_message(const struct tn_conn *conn, const struct tn_msg *msg)
{
	int err;

	if (!state.tongue.spoken)
		return state.framed ? write_line(msg->data, msg->len) : tn_forward(state.output, msg);
	err = tongue_say(&state.tongue, conn, msg);
	return err < 0 ? err : write_line(state.tongue.bytes.data, state.tongue.bytes.len);
}

static void on_bad(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg)
{
	(void)msg, (void)arg;
	if (state.leaving)
		return;
	complain("%s: %s", state.url, tn_errmsg());
	if (tongue_skips(conn))
		state.status = STATUS_REFUSED;
	else
		leave(status_of(err));
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	int err;

	(void)arg;
	if (state.output_shut)
		output_fails(-EBADF);
	if (!state.output || state.leaving)
		return;
	state.moved_ns = clock_ns();
	tell_sender(msg);
	err = write_message(conn, msg);
	if (err == 1) {
		state.peer_held = true;
		tn_pause(conn);
	}
	refuse(err);
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
	if (state.leaving)
		return;
	state.input_held = false;
	if (state.by_lines && !state.input_over && !send_lines())
		return;
	if (state.input)
		tn_resume(state.input);
	if (state.by_lines)
		finish_input();
}

/*
 * The peer says no more: a person is not asked to end the input too. A file or pipe may still be on its way to a peer
 * that only listens, so it goes on until it ends, or for as long as it was asked to.
 */
static void on_end(struct tn_conn *conn, void *arg)
{
	(void)arg;
	state.peer_over = true;
	if (state.input_over || options.wait_input_ns == 0)
		tn_close(conn);
	else
		watch_silence();
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)arg;
	if (!state.left)
		tell_lost(conn);
	state.peer = NULL;
	if (state.leaving)
		return;
	leave(err < 0 ? complain_library(err, NULL) : STATUS_DONE);
}

static void on_output_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	/* One socket may be both input and output: only the input reads it */
	tn_pause(conn);
}

static void on_output_drain(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
	state.peer_held = false;
	if (state.peer)
		tn_resume(state.peer);
}

/* Whether some of the input is there, or comes within so long, and has not been read. */
static bool input_is_unread(int wait_ms)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	int unread = 0;

	return state.input_held || (!state.input_over && poll(&input, 1, wait_ms) > 0 &&
				    ioctl(STDIN_FILENO, FIONREAD, &unread) == 0 && unread > 0);
}

/* Whether some of it has not gone to the peer. */
static bool input_is_left(void)
{
	return state.peer && !state.leaving &&
	       (tn_conn_queued(state.peer) > 0 || lines_waiting(&state.lines) > 0 || input_is_unread(MORE_MS));
}

/* Nobody reads what comes any more, which is a reader's right: we end quietly, unless input is left that was to be
 * sent. */
static void on_output_close(struct tn_conn *conn, int err, void *arg)
{
	bool gone = err == -EPIPE || err == -ECONNRESET;

	(void)conn, (void)arg;
	state.output = NULL;
	if (gone && input_is_left()) {
		complain("standard output: its reader has gone; the rest of the input has not been sent");
		stop(STATUS_FAILED);
		tn_abort(state.peer, -ECANCELED);
	} else if (err < 0 && !gone) {
		output_fails(err);
	}
	stop(STATUS_DONE);
}

/* It may have gone while nothing is written. */
static void on_reader_gone(void *arg)
{
	(void)arg;
	if (state.output)
		tn_abort(state.output, -EPIPE);
}

/* ---- the command ---- */

/* A person's terminal is not asked: what is typed while it ends is meant for the next program. */
static void tell_interrupted(void)
{
	if (!state.opened)
		complain("%s: interrupted before it was connected", state.url);
	else if (!isatty(STDIN_FILENO) && input_is_unread(0))
		complain("%s: interrupted: the rest of the input has not been sent", state.url);
	else
		return;
	state.status = STATUS_FAILED;
}

/* The first: no more input, what is queued goes out. The second: at once. */
static void on_signal(int nth, void *arg)
{
	(void)arg;
	if (nth > 1) {
		stop(STATUS_FAILED);
		return;
	}
	if (state.leaving)
		return;
	tell_interrupted();
	if (state.input)
		tn_pause(state.input);
	if (state.opened && state.peer && tn_conn_queued(state.peer) > 0)
		tn_close(state.peer);
	else
		leave(STATUS_DONE);
}

static int dial(void)
{
	static const struct tn_handler peer = {.on_open = on_open,
					       .on_msg = on_msg,
					       .on_drain = on_drain,
					       .on_end = on_end,
					       .on_cut = on_end, /* on_close tells of it */
					       .on_close = on_close,
					       .on_bad = on_bad};
	static const struct tn_handler input = {.on_msg = on_input, .on_end = on_input_end, .on_close = on_input_close};
	static const struct tn_handler output = {
		.on_open = on_output_open, .on_drain = on_output_drain, .on_close = on_output_close};
	int err = tn_dial(state.loop, state.url, &peer, NULL, &state.peer);

	if (err >= 0)
		tongue_learn(&state.tongue, state.peer);
	if (err >= 0)
		privileges_hold_keys_of(state.peer);
	if (err >= 0)
		err = tn_dial(state.loop, "fd:0", &input, NULL, &state.input);
	/* A reader that takes its time, such as a pager, is no reason to give up */
	state.output_shut = out_is_shut();
	if (err >= 0 && !state.output_shut)
		err = tn_dial(state.loop, "fd:1?drain=1000h", &output, NULL, &state.output);
	if (err >= 0)
		err = out_watch(state.loop, on_reader_gone, NULL);
	state.started_ns = clock_ns();
	if (err >= 0 && out_progress_wanted())
		err = tn_timer_start(state.loop, 2 * PROGRESS_MS, progress, NULL, &state.progress_timer);
	return err;
}

/* For how long a peer may be silent: where no end comes, or it can be lost, waiting for it could last for ever. */
static void set_wait(void)
{
	if (state.datagrams) {
		options.wait_ns = NS_PER_S;
	} else if (handler_is_lossy(state.url) && !options.no_fin) {
		options.wait_ns = DTLS_WAIT_NS;
		options.end_is_due = true;
	}
}

static int run(char **operands, int count)
{
	int err;

	if (count != 1) {
		complain(count ? "connect: one URL, please" : "connect: to which URL?");
		complain_hint("%s connect --help", settings.program);
		return STATUS_USAGE;
	}
	state.url = operands[0];
	if (tn_url_check(state.url, TN_DIAL) < 0)
		return complain_library(TN_EURL, state.url);
	state.framed = !handler_is_packets(state.url) && tn_url_keeps_messages(state.url) == 1;
	state.by_lines = state.framed || handler_is_packets(state.url);
	state.datagrams = state.by_lines && handler_is_datagrams(state.url);
	state.lines.max = state.datagrams ? DATAGRAM_MAX : LINE_MAX_LEN;
	if (options.wait_ns == UINT64_MAX)
		set_wait();
	if (options.exit_on_end || (options.wait_input_ns == UINT64_MAX && isatty(STDIN_FILENO)))
		options.wait_input_ns = 0;
	err = options_loop_new(&state.loop, NULL);
	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	err = signals_start(state.loop, on_signal, NULL);
	if (err >= 0)
		err = dial();
	if (err >= 0)
		err = tn_loop_run(state.loop);
	out_progress_end();
	out_unwatch();
	if (err < 0)
		return complain_library(err, state.url);
	if (state.peer) { /* it is told that we leave, and that is not waited for */
		tell_lost(state.peer);
		state.left = true;
		tn_close(state.peer);
		(void)tn_loop_step(state.loop, 0);
	}
	return state.status;
}

static const struct option_spec own_options[] = {
	{"wait", 0, OPTION_VALUE, option_set_duration, &options.wait_ns},
	{"wait-input", 0, OPTION_VALUE, option_set_duration, &options.wait_input_ns},
	{"exit-on-end", 0, OPTION_ALONE, option_set_flag, &options.exit_on_end},
	{"no-fin", 0, OPTION_ALONE, option_set_flag, &options.no_fin},
	{"pretty", 0, OPTION_ALONE, option_set_flag, &state.tongue.pretty},
	{"", 'N', OPTION_ALONE, option_set_nothing, NULL},
	{0},
};

const struct command connect_command = {
	.name = "connect",
	.takes_place = true,
	.meaning = "join standard input and output to a socket",
	.help = "Examples:\n"
		"  tenon connect tcp://localhost:10000               type, and read what comes back\n"
		"  tenon connect tcp://example.com:80 < request > reply\n"
		"  tenon connect unix:/run/app.sock\n"
		"  printf 'one\\ntwo\\n' | tenon connect udp://localhost:10000\n"
		"  tenon connect 'tcp://localhost:7000?format=msgpack'   type JSON, read JSON\n"
		"\n"
		"Usage:\n"
		"  tenon connect URL\n"
		"\n"
		"The end of standard input ends our direction of the connection; what the peer sends is written\n"
		"until it ends too. When the peer ends first, what the input still says is sent until it ends too;\n"
		"a terminal is not asked to. tenon-connect(1) has a table of all cases.\n"
		"On datagrams each line of standard input is one, its line feed included; as they have no end, one\n"
		"second of silence after the end of the input is. With the key frame each line is a message,\n"
		"without its line feed. With the key format (json, xml, cbor, msgpack) a line is JSON, is\n"
		"sent in that format, and what comes is printed as JSON, a message a line.\n"
		"\n"
		"Options:\n"
		"      --wait DUR        after the end of the input, leave when the peer has been silent for so long\n"
		"                        (default: for ever; datagrams: 1s; dtls: 10s, then exit 3)\n"
		"      --wait-input DUR  after the end of the peer, leave when the input has been silent for so long\n"
		"                        (default: for ever; a terminal: 0)\n"
		"      --exit-on-end     leave when the peer ends: --wait-input 0\n"
		"      --no-fin          the end of the input does not end our direction; leave when the peer ends\n"
		"  -N                    always so: the end of the input is the end of our direction\n"
		"      --pretty          with the key format: what comes with one item a line\n",
	.options = own_options,
	.run = run,
};
