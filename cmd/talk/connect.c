/*
 * tenon connect: standard input to a socket, the socket to standard output. Three connections on one loop, joined by
 * tn_flow(). This file has the rules of ends that differ from those of two sockets, and the translation between lines
 * and messages. With --listen the peer is who comes (listen.c); with --keep there is one session after the other, each
 * with connections of its own to duplicates of the descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "connect.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/human.h"
#include "common/options.h"
#include "common/output.h"
#include "common/privileges.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/transcode.h"
#include "closed.h"
#include "inspect/bind_error.h"
#include "lines.h"
#include "listen.h"
#include "lost.h"
#include "retry.h"
#include "record/recorder.h"
#include "tap/tap.h"
#include "tap/trace.h"
#include "terminal.h"
#include "throttle.h"
#include "typed.h"
#include "serve/handlers/gone.h"
#include "tenon.h"

#define DATAGRAM_MAX 65507             /* payload of UDP over IPv4 */
#define LINE_MAX_LEN (64U << 20)       /* otherwise the library knows what is too long */
#define GONE_LOOK_NS (250 * NS_PER_MS) /* how often it is checked whether a client that has ended is there */
#define LOOK_NS (10 * NS_PER_MS)       /* how often it is checked whether queued bytes move */
#define PROGRESS_MS 1000
#define DTLS_WAIT_NS (10 * NS_PER_S) /* a peer answers our end at once; its answer may be lost */
#define TYPED_MAX (1U << 20)         /* so much of what is typed waits for a peer that takes nothing */
#define MORE_MS 200                  /* time in which an input that has more to say says some of it */

static struct {
	uint64_t wait_ns;       /* for a peer that is silent, after the end of the input */
	uint64_t wait_input_ns; /* for an input that is silent, after the end of the peer */
	bool exit_on_end, no_fin, listen, keep;
	bool recv_only, send_only;
	unsigned count; /* messages that are received, at most; 0: all */
	uint64_t bytes; /* the same of a stream */
	struct retry retry;
	struct throttle throttle;
	size_t chunk;       /* 0: the input is cut into lines */
	struct typed typed; /* --crlf, --escape */
	bool raw;
	bool end_is_due; /* the wait is for the peer's end, not one that the user asked for */
} options = {.wait_ns = UINT64_MAX, .wait_input_ns = UINT64_MAX, .typed.escape = ']' - '@'};

static struct {
	const char *url;
	struct tn_loop *loop;
	struct tn_conn *peer, *input, *output; /* NULL: gone */
	struct tn_timer *timer, *progress_timer, *throttle_timer;
	uint64_t ngot, got; /* of --count and --bytes */
	struct lines lines; /* of the input, where it is sent by hand: what has been read and not been sent */
	struct transcoder coder;
	uint64_t nlines; /* of the input, for complaints */
	uint64_t moved_ns, moved_bytes;
	uint64_t started_ns, shown_bytes; /* for who watches */
	struct tn_addr sender;            /* who is talked to on a served datagram socket */
	struct tn_msg to_sender;          /* an answer to it */
	const struct tn_msg *answer;      /* &to_sender, or NULL: the peer is one anyhow */
	bool opened, begun;
	bool comes_back; /* key reconnect: what ends is dialled again */
	bool away;       /* and is not there, or not yet */
	bool ending;     /* of the whole command: --keep does not go on */
	bool by_lines, datagrams;
	bool by_hand;   /* the input passes send_lines() */
	bool throttled; /* lines or pieces wait for --rate or --interval; the input is paused */
	bool framed;    /* a message is a line without its line feed; otherwise with it, or --raw, --chunk */
	bool input_over, peer_over, leaving, left;
	bool input_told;  /* its end has had its effect */
	bool output_shut; /* standard output is not open for writing */
	bool input_failed;
	bool lines_held; /* some have been read that the peer's queue had no room for */
	int status;
} state;

/* What ends from now on has been reported, or need not be. */
static void stop(int status)
{
	if (state.status == STATUS_DONE)
		state.status = status;
	state.leaving = state.ending = true;
	tn_loop_stop(state.loop);
}

static void session_over(void);

/* All that came has been handed over. Once it is written we are done, however long that takes. */
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
		session_over();
}

/* --bytes and --count: of all clients of --keep together. */
static void have_enough(void)
{
	state.ending = true;
	leave(STATUS_DONE);
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

/* Whether anything has come or gone since the last look, or the output delays the peer: then there is no silence. */
static bool is_moving(void)
{
	uint64_t before = state.moved_bytes;
	struct tn_conn_info info;

	tn_conn_info(state.peer, &info);
	state.moved_bytes = info.bytes_in + info.bytes_out;
	if (state.input) {
		tn_conn_info(state.input, &info);
		state.moved_bytes += info.bytes_in;
	}
	return state.moved_bytes != before || state.throttled || (state.output && tn_conn_queued(state.output) > 0);
}

/*
 * A client that came to us and is not there any more, which looks like one that has only ended its direction: a silent
 * input is not waited for.
 */
static bool client_has_gone(void)
{
	struct tn_conn_info info;

	if (!options.listen || !state.peer_over)
		return false;
	tn_conn_info(state.peer, &info);
	return client_is_gone(info.fd);
}

static uint64_t patience_ns(void)
{
	if (state.peer_over)
		return options.wait_input_ns;
	if (!state.input_told)
		return UINT64_MAX;
	return options.wait_ns;
}

/* Until the next look. What is queued may stop moving at any time. */
static uint64_t look_ns(uint64_t left)
{
	uint64_t soon = patience_ns() / 8;

	if (options.listen && state.peer_over && soon > GONE_LOOK_NS)
		soon = GONE_LOOK_NS;
	if (tn_conn_queued(state.peer) > 0 || soon < LOOK_NS)
		soon = LOOK_NS;
	return left < soon ? left : soon;
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

/* Whether silence means anything now. */
static bool is_watched(void)
{
	return patience_ns() != UINT64_MAX || (options.listen && state.peer_over);
}

static void tick(void *arg)
{
	uint64_t patience = patience_ns(), quiet_ns;
	bool moves;

	(void)arg;
	state.timer = NULL;
	if (!state.peer || state.leaving || !is_watched())
		return;
	moves = is_moving();
	if (moves)
		state.moved_ns = clock_ns();
	quiet_ns = clock_ns() - state.moved_ns;
	if (!moves && client_has_gone())
		tn_close(state.peer);
	else if (quiet_ns < patience)
		timer_set(look_ns(patience - quiet_ns));
	else if (state.peer_over)
		tn_close(state.peer);
	else
		peer_is_silent();
}

static void watch_silence(void)
{
	state.moved_ns = clock_ns();
	(void)is_moving();
	if (options.listen && state.peer_over) {
		struct tn_conn_info info;

		tn_conn_info(state.peer, &info);
		gone_begin(info.fd);
	}
	if (is_watched())
		timer_set(look_ns(patience_ns()));
}

/* Shows the user how far it is, on standard error. */
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
		progress_show("connecting to %s: %llu s", state.url, (unsigned long long)(elapsed_ns / NS_PER_S));
	else if (!isatty(STDIN_FILENO) && !isatty(STDOUT_FILENO))
		progress_show(
			"%s sent, %s received, %s/s", human_bytes((double)info.bytes_out, out, sizeof(out)),
			human_bytes((double)info.bytes_in, in, sizeof(in)),
			human_bytes((double)(bytes - state.shown_bytes) * 1000 / PROGRESS_MS, rate, sizeof(rate)));
	state.shown_bytes = bytes;
	if (tn_timer_start(state.loop, PROGRESS_MS, progress, NULL, &state.progress_timer) < 0)
		stop(complain_library(-ENOMEM, NULL));
}

/* ---- input to peer ---- */

static void refuse(int err)
{
	/* TN_ESTATE: the connection is ending, and its on_close will say why */
	if (err < 0 && err != TN_ESTATE)
		leave(complain_library(err, NULL));
}

/* A line that is not in the format is reported and left out: at a terminal it may be typed again. */
static int send_line(const char *line, size_t len)
{
	size_t bare = len - (line[len - 1] == '\n');
	int err;

	state.nlines++;
	if (!state.coder.formatted)
		return tn_reply(state.peer, state.answer, line, state.framed ? bare : len);
	if (transcoder_is_blank(&state.coder, line, bare))
		return 0;
	err = transcoder_read(&state.coder, line, bare);
	if (err == 0)
		err = tn_reply_value(state.peer, state.answer, state.coder.value);
	if (status_of(err) != STATUS_REFUSED)
		return err;
	complain("line %llu: %s", (unsigned long long)state.nlines, tn_errmsg());
	state.status = STATUS_REFUSED;
	return 0;
}

/* What goes out next: a line where it is a message or has an interval of its own, otherwise a piece of a stream. */
static int next_line(const char **line, size_t *len)
{
	size_t most = throttle_piece(&options.throttle);

	if (options.chunk)
		return lines_chunk(&state.lines, options.chunk, state.input_over, line, len);
	if ((state.by_lines && !options.raw) || options.throttle.interval_ns)
		return lines_next(&state.lines, state.input_over, line, len);
	return lines_piece(&state.lines, most < state.lines.max ? most : state.lines.max, line, len);
}

static void throttle_is_over(void *arg);

static void throttle_for(uint64_t wait_ns)
{
	state.throttled = true;
	if (state.input)
		tn_pause(state.input);
	if (!state.throttle_timer && tn_timer_start(state.loop, (wait_ns + NS_PER_MS - 1) / NS_PER_MS, throttle_is_over,
						    NULL, &state.throttle_timer) < 0)
		stop(complain_library(-ENOMEM, NULL));
}

/*
 * Whether what has been read has to wait for its time. Nothing is sent before there is a connection: it would all go
 * out in one burst with it.
 */
static bool is_throttled(void)
{
	uint64_t wait_ns = throttle_wait_ns(&options.throttle, true, clock_ns());

	if (!throttle_wanted(&options.throttle) || !lines_waiting(&state.lines))
		return false;
	if (wait_ns || !state.opened)
		throttle_for(wait_ns ? wait_ns : LOOK_NS);
	return wait_ns || !state.opened;
}

/*
 * Each whole line, or piece, goes out, until the queue is full: then 1, and the rest waits for room; or until the next
 * has to wait for its time: then `throttled` is set.
 */
static int send_lines(void)
{
	const char *line;
	size_t len;
	int err = 0, found = 0;

	if (state.away) { /* what its queue holds could be lost with an attempt that fails */
		state.lines_held = lines_waiting(&state.lines) > 0;
		return 1;
	}
	while (err == 0 && !is_throttled() && (found = next_line(&line, &len)) > 0) {
		err = send_line(line, len);
		throttle_begin(&options.throttle, clock_ns());
		throttle_passed(&options.throttle, len, clock_ns());
	}
	if (found == TN_ETOOBIG) {
		complain("%s: a line of more than %zu bytes does not fit a message", state.url, state.lines.max);
		leave(STATUS_REFUSED);
	}
	refuse(err);
	state.lines_held = err == 1 || state.throttled;
	return err == 1;
}

static void input_end(void);

/* The input goes on when all that was read of it has been sent. */
static void throttle_is_over(void *arg)
{
	(void)arg;
	state.throttle_timer = NULL;
	if (!state.peer || state.leaving)
		return;
	state.throttled = false;
	if (state.input_over)
		input_end();
	else if (send_lines() == 1)
		throttle_for(LOOK_NS);
	else if (state.input && !state.throttled)
		tn_resume(state.input);
}

static void leave_early(void);

static int on_input(struct tn_conn *input, const struct tn_msg *msg, struct tn_conn *peer, void *arg)
{
	int escaped, full;

	(void)input, (void)peer, (void)arg;
	if (state.leaving)
		return 0;
	escaped = typed_add(&options.typed, &state.lines, msg->data, msg->len);
	refuse(escaped);
	full = send_lines();
	if (escaped == 1)
		leave_early();
	return full;
}

static int on_room(struct tn_conn *input, struct tn_conn *peer, void *arg)
{
	(void)input, (void)peer, (void)arg;
	return state.leaving ? 0 : send_lines();
}

static void all_is_sent(struct tn_conn *peer, int err, void *arg)
{
	(void)arg;
	if (err == 0) /* otherwise its on_close tells, or on_lost */
		tn_close(peer);
}

/* --send-only: what the peer says is not waited for. */
static void leave_when_sent(void)
{
	if (tn_when_sent(state.peer, TN_SENT_TAKEN, all_is_sent, NULL) < 0)
		tn_close(state.peer);
}

/* The input has ended. What was read of it may wait for its time: then this is called again. */
static void input_end(void)
{
	if (state.input_told)
		return;
	state.input_over = true;
	if (!state.peer || state.leaving || state.away)
		return;
	if (state.by_hand && !state.throttled)
		(void)send_lines(); /* at most one is left, for which there is room */
	/* With a throttle there may be more: the rest of a piece, while the queue was full */
	if (throttle_wanted(&options.throttle) && lines_waiting(&state.lines) && !state.throttled && !state.leaving)
		throttle_for(LOOK_NS);
	if (state.throttled)
		return;
	state.input_told = true;
	if (state.peer_over)
		tn_close(state.peer); /* neither side has more to say */
	else if (!options.no_fin)
		tn_finish(state.peer);
	if (options.send_only && state.peer)
		leave_when_sent();
	watch_silence();
}

static void on_input_end(struct tn_conn *input, struct tn_conn *peer, void *arg)
{
	(void)input, (void)peer, (void)arg;
	input_end();
}

/* A descriptor that can only be written to. */
static void on_input_empty(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
	input_end();
}

/* If it has failed the peer is reset: an end in good order would tell it that this was all. */
static void on_input_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)arg;
	state.input = NULL;
	if (err < 0 && !state.leaving) {
		complain("standard input: %s", tn_strerror(err));
		state.status = STATUS_FAILED;
		state.input_failed = true;
		state.input_over = state.input_told = true;
	}
	input_end();
}

/* ---- peer to output ---- */

static int begin(void);
static void on_peer_room(struct tn_conn *peer, void *arg);

/* Input is read when there is a connection: it may never come, or somebody looks on at what is sent by it. */
static bool begins_late(void)
{
	return retry_is_wanted(&options.retry) || tap_is_wanted();
}

static unsigned tapped_as(void)
{
	return (options.listen ? TAP_SERVED : 0) | (state.by_lines ? TAP_MESSAGES : 0);
}

/* Once there is a connection: until then keys such as Ctrl-C have their meaning. */
static void raw_begin(void)
{
	char key[3];
	int err;

	if (!settings.quiet && options.typed.escape != TYPED_NO_ESCAPE)
		complain("connected; %s leaves", typed_escape_text(&options.typed, key));
	err = terminal_raw();
	if (err < 0) {
		complain("standard input: raw mode: %s", tn_strerror(err));
		stop(STATUS_FAILED);
	}
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct tn_conn_info info;

	(void)arg;
	progress_end();
	if (state.comes_back && state.opened)
		lost_is_over(state.url);
	if (!state.answer)
		tap_conn(conn, state.url, tapped_as());
	state.opened = true;
	state.away = false;
	if (begins_late() && !options.listen && !state.begun && begin() < 0)
		stop(complain_library(-ENOMEM, NULL));
	tn_conn_info(conn, &info);
	if (settings.verbose && options.listen)
		complain("%s has connected to %s", *info.peer ? info.peer : "a client", info.local);
	else if (settings.verbose)
		complain("%s %s from %s", info.many ? "sending to" : "connected to", info.peer, info.local);
	if (options.raw)
		raw_begin();
	if (state.comes_back)
		on_peer_room(conn, NULL);
	if (state.input_over)
		input_end(); /* while it was away */
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

/* Nothing can be written any more, so sending the rest makes no sense. A reset tells the peer that it is not all. */
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

static int write_message(const struct tn_conn *peer, const struct tn_msg *msg, struct tn_conn *output)
{
	int err;

	if (!state.coder.formatted)
		return state.framed ? write_line(msg->data, msg->len) : tn_forward(output, msg);
	err = transcoder_write(&state.coder, peer, msg);
	return err < 0 ? err : write_line(state.coder.bytes.data, state.coder.bytes.len);
}

/* --bytes: the last piece may be longer than what is wanted of it. */
static int write_some(const struct tn_msg *msg, struct tn_conn *output)
{
	uint64_t left = options.bytes - state.got;
	size_t len = msg->len < left ? msg->len : (size_t)left;
	int err = tn_reply(output, NULL, msg->data, len);

	state.got += len;
	if (err >= 0 && state.got == options.bytes)
		have_enough();
	return err;
}

static void on_bad(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg)
{
	(void)msg, (void)arg;
	if (state.leaving)
		return;
	complain("%s: %s", state.url, tn_errmsg());
	if (transcoder_skips_bad(conn))
		state.status = STATUS_REFUSED;
	else
		leave(status_of(err));
}

static int on_msg(struct tn_conn *peer, const struct tn_msg *msg, struct tn_conn *output, void *arg)
{
	int err;

	(void)arg;
	if (state.output_shut)
		output_fails(-EBADF);
	if (!output || state.leaving)
		return 0;
	tell_sender(msg);
	if (options.bytes)
		err = write_some(msg, output);
	else
		err = write_message(peer, msg, output);
	refuse(err);
	if (err >= 0 && options.count && ++state.ngot >= options.count)
		have_enough();
	return err == 1;
}

/* --send-only: nobody wants to know. */
static int drop(struct tn_conn *peer, const struct tn_msg *msg, struct tn_conn *output, void *arg)
{
	(void)peer, (void)msg, (void)output, (void)arg;
	return 0;
}

/*
 * The peer has ended. At a terminal the user need not end the input too. A file or pipe may still be on its way to a
 * peer that only listens, so it goes on until it ends, or for the time that was asked for.
 */
static void on_peer_empty(struct tn_conn *peer, void *arg)
{
	(void)arg;
	state.peer_over = true;
	if (state.input_told || options.wait_input_ns == 0)
		tn_close(peer);
	else
		watch_silence();
}

static void on_end(struct tn_conn *peer, struct tn_conn *output, void *arg)
{
	(void)output;
	on_peer_empty(peer, arg);
}

/* A Close that is no error may say something all the same. */
static void tell_closed(const struct tn_conn *conn)
{
	char words[CLOSED_MAX];

	if (*closed_words(conn, words) && !settings.quiet)
		complain("%s: the peer ended the connection%s", state.url, words);
}

/* The input waits from now on. What was in the queue is lost, which a status of success would hide. */
static void on_lost(struct tn_conn *conn, int err, const struct tn_loss *loss, void *arg)
{
	bool for_good = options.send_only && state.input_told; /* all that there is to say stood in its queue */

	(void)conn, (void)arg;
	terminal_restore();
	progress_end();
	state.away = true;
	if (lost_tell(state.url, err, loss, for_good) && state.status == STATUS_DONE)
		state.status = STATUS_FAILED;
	if (for_good)
		leave(STATUS_DONE);
}

static void redial(void *arg);

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)arg;
	terminal_restore(); /* before anything is told */
	if (!state.left)
		tell_lost(conn);
	if (err == 0)
		tell_closed(conn);
	if (closed_badly(conn, state.url))
		state.status = STATUS_FAILED;
	state.peer = NULL;
	if (state.leaving)
		return;
	if (!state.opened && retry_after(&options.retry, state.loop, err, redial))
		return;
	if (state.input_failed)
		leave(STATUS_FAILED); /* which has been told */
	else
		leave(err < 0 ? complain_library(err, NULL) : STATUS_DONE);
}

static void on_output_open(struct tn_conn *conn, void *arg)
{
	(void)arg;
	/* One socket may be both input and output: only the input reads it */
	tn_pause(conn);
}

/* Whether some of the input is there, or comes within so long, and has not been read. */
static bool input_is_unread(int wait_ms)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	int unread = 0;

	return state.lines_held || (!state.input_over && poll(&input, 1, wait_ms) > 0 &&
				    ioctl(STDIN_FILENO, FIONREAD, &unread) == 0 && unread > 0);
}

/* Whether some of it has not gone to the peer. */
static bool input_is_left(void)
{
	return state.peer && !state.leaving &&
	       (tn_conn_queued(state.peer) > 0 || lines_waiting(&state.lines) > 0 || input_is_unread(MORE_MS));
}

/*
 * Nobody reads the output any more, which is not an error. So the command ends without a word, unless input is left
 * that was to be sent.
 */
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
	} else if (err == 0 && options.keep && !state.ending) {
		session_over();
		return;
	} else if (state.peer && !state.answer) {
		tn_close(state.peer);
	}
	stop(STATUS_DONE);
}

/* The reader may go while nothing is written. */
static void on_reader_gone(void *arg)
{
	(void)arg;
	if (state.output)
		tn_abort(state.output, -EPIPE);
}

/* ---- the command ---- */

/* A terminal is not read: what is typed while the command ends is meant for the next program. */
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

static bool is_between_clients(void)
{
	return options.keep && !state.peer;
}

/* The user has had enough: no more input, what is queued goes out. */
static void leave_early(void)
{
	state.ending = true;
	terminal_restore();
	if (state.input)
		tn_pause(state.input);
	if (state.opened && !state.away && state.peer && tn_conn_queued(state.peer) > 0)
		tn_close(state.peer);
	else
		leave(STATUS_DONE);
}

/* The second: at once. */
static void on_signal(int nth, void *arg)
{
	(void)arg;
	terminal_restore();
	if (state.left && state.peer) {
		closed_hurry(state.peer);
		return;
	}
	if (nth > 1) {
		stop(STATUS_FAILED);
		return;
	}
	if (state.leaving)
		return;
	if (!is_between_clients())
		tell_interrupted();
	leave_early();
}

/* Who has many peers, or one that is dialled again, cannot be joined by tn_flow(): handlers pass on what comes. */
static bool is_joined(void)
{
	return !state.answer && !state.comes_back;
}

/* Where messages are kept, they and lines are translated; bytes need not come into this process. */
static int join(void)
{
	struct tn_pass in = {.end = on_input_end}, out = {.end = on_end, .cut = on_end}; /* on_close tells of a cut */
	int err;

	if (state.by_hand) {
		in.msg = on_input;
		in.room = on_room;
	}
	if (state.by_lines || state.output_shut || options.count || options.bytes)
		out.msg = on_msg;
	if (options.send_only)
		out.msg = drop;
	err = state.input && !options.raw ? tn_flow(state.input, state.peer, &in, NULL) : 0;
	if (err == -EINVAL) /* a peer that cannot be written to */
		err = tn_flow(state.input, NULL, &in, NULL);
	if (err < 0 && err != -EINVAL) /* an input that cannot be read tells its end by itself */
		return err;
	err = tn_flow(state.peer, state.output, &out, NULL);
	return err == -EINVAL ? 0 : err; /* a peer that cannot be read, likewise */
}

/*
 * What is read while the queue is full, or before anybody is there, waits in the lines. A terminal in raw mode is read
 * on, since only what is read can leave.
 */
static void on_input_by_hand(struct tn_conn *input, const struct tn_msg *msg, void *arg)
{
	if (on_input(input, msg, state.peer, arg) == 1 && !(options.raw && lines_waiting(&state.lines) < TYPED_MAX))
		tn_pause(input);
}

static void on_peer_room(struct tn_conn *peer, void *arg)
{
	(void)arg;
	if (state.input && on_room(state.input, peer, NULL) == 0 && !state.throttled)
		tn_resume(state.input);
}

static void on_output_room(struct tn_conn *output, void *arg)
{
	(void)output, (void)arg;
	if (state.peer && !is_joined())
		tn_resume(state.peer);
}

/* With --keep the descriptor is there for the next session too. */
static int dial_fd(int fd, const char *keys, const struct tn_handler *handler, struct tn_conn **conn)
{
	int own = options.keep ? fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1) : fd, err;
	char url[48];

	if (own < 0)
		return -errno;
	snprintf(url, sizeof(url), "fd:%d%s", own, keys);
	err = tn_dial(state.loop, url, handler, NULL, conn);
	if (err < 0 && own != fd)
		close(own);
	return err;
}

/* The peer is known: input and output are opened, and joined with it. */
static int begin(void)
{
	static const struct tn_handler inputs[] = {
		{.on_end = on_input_empty, .on_close = on_input_close},
		{.on_msg = on_input_by_hand, .on_end = on_input_empty, .on_close = on_input_close}};
	static const struct tn_handler output = {
		.on_open = on_output_open, .on_drain = on_output_room, .on_close = on_output_close};
	int err = 0;

	state.begun = true;
	transcoder_begin(&state.coder, state.peer);
	privileges_hold_keys_of(state.peer);
	if (options.recv_only) {
		state.input_over = state.input_told = true; /* and our direction goes on, as with --no-fin */
		watch_silence();
	} else {
		err = dial_fd(STDIN_FILENO, "", &inputs[!is_joined() || options.raw], &state.input);
	}
	/* A slow reader, such as a pager, is no reason to give up */
	state.output_shut = out_is_shut() && !options.send_only;
	if (err >= 0 && !state.output_shut && !options.send_only)
		err = dial_fd(STDOUT_FILENO, "?drain=1000h", &output, &state.output);
	if (err >= 0 && is_joined())
		err = join();
	state.started_ns = clock_ns();
	if (err >= 0 && progress_wanted())
		err = tn_timer_start(state.loop, 2 * PROGRESS_MS, progress, NULL, &state.progress_timer);
	return err;
}

static const struct tn_handler peer_handler = {
	.on_open = on_open, .on_drain = on_peer_room, .on_end = on_peer_empty, .on_close = on_close, .on_bad = on_bad};

static void on_peer_msg(struct tn_conn *peer, const struct tn_msg *msg, void *arg)
{
	if (!options.send_only && on_msg(peer, msg, state.output, arg) == 1)
		tn_pause(peer);
}

/* Its end is a loss like any other. */
static const struct tn_handler returning_handler = {.on_open = on_open,
						    .on_msg = on_peer_msg,
						    .on_drain = on_peer_room,
						    .on_close = on_close,
						    .on_bad = on_bad,
						    .on_lost = on_lost};

static const struct tn_handler *dial_handler(void)
{
	return state.comes_back ? &returning_handler : &peer_handler;
}

/* ---- clients that come to us ---- */

static void come(struct tn_conn *client)
{
	int err;

	state.peer = client;
	on_open(client, NULL);
	err = begin();
	if (err < 0)
		stop(complain_library(err, NULL));
}

static bool is_sender(const struct tn_addr *addr)
{
	return addr->len == state.sender.len && memcmp(addr->bytes, state.sender.bytes, addr->len) == 0;
}

/* The first sender is the peer; with --keep whoever has sent last. */
static void on_datagram(struct tn_conn *socket, const struct tn_msg *msg, void *arg)
{
	char text[80];

	if (state.leaving)
		return;
	if (state.peer && !options.keep && !is_sender(msg->peer)) {
		if (settings.verbose)
			complain("ignored a datagram from %s", tn_addr_text(msg->peer, text, sizeof(text)));
		return;
	}
	state.sender = *msg->peer;
	state.to_sender = (struct tn_msg){.peer = &state.sender};
	state.answer = &state.to_sender;
	if (!state.peer)
		come(socket);
	if (!state.leaving && on_msg(socket, msg, state.output, arg) == 1)
		tn_pause(socket);
}

/* What belonged to the session goes with it; what it has been told is told no more. */
static void session_over(void)
{
	if (!options.keep || state.ending) {
		tn_loop_stop(state.loop);
		return;
	}
	progress_end();
	terminal_restore();
	tn_timer_stop(state.timer);
	tn_timer_stop(state.progress_timer);
	tn_timer_stop(state.throttle_timer);
	state.timer = state.progress_timer = state.throttle_timer = NULL;
	if (state.input)
		tn_conn_detach(state.input);
	if (state.peer && !state.answer)
		tn_conn_detach(state.peer);
	else if (state.peer)
		tn_resume(state.peer);
	state.peer = state.input = state.output = NULL;
	state.opened = state.leaving = state.input_over = state.peer_over = state.input_failed = false;
	state.lines_held = state.throttled = state.input_told = false;
	lines_drop(&state.lines);
	options.typed.after_cr = false;
	state.status = STATUS_DONE;
	listen_next();
}

/* A socket of ours, for whoever sends to it. */
static void on_socket_open(struct tn_conn *socket, void *arg)
{
	(void)arg;
	tap_conn(socket, state.url, tapped_as());
}

static int listen_for(void)
{
	static const struct tn_handler datagram = {.on_open = on_socket_open,
						   .on_msg = on_datagram,
						   .on_drain = on_peer_room,
						   .on_close = on_close,
						   .on_bad = on_bad};
	const struct listen_use use = {
		.keep = options.keep, .peer = &peer_handler, .datagram = &datagram, .come = come};
	int err = listen_open(state.loop, state.url, &use);

	if (err < 0) {
		int status = complain_library(err, state.url);

		bind_error_explain(err, state.url);
		return status;
	}
	return out_watch(state.loop, on_reader_gone, NULL) < 0 ? complain_library(-ENOMEM, NULL) : STATUS_DONE;
}

static void redial(void *arg)
{
	int err = state.leaving ? 0 : tn_dial(state.loop, state.url, dial_handler(), NULL, &state.peer);

	(void)arg;
	if (err < 0)
		stop(complain_library(err, state.url));
}

static int dial(void)
{
	int err = tn_dial(state.loop, state.url, dial_handler(), NULL, &state.peer);

	if (err >= 0 && !begins_late())
		err = begin();
	if (err >= 0)
		err = out_watch(state.loop, on_reader_gone, NULL);
	return err < 0 ? complain_library(err, state.url) : STATUS_DONE;
}

/*
 * How long a peer may be silent. Where there is no end of the stream, or it can be lost, waiting could last for ever.
 */
static void set_wait(int kind)
{
	if (options.recv_only)
		return;
	if (state.datagrams) {
		options.wait_ns = NS_PER_S;
	} else if (kind & TN_URL_DATAGRAMS && !options.no_fin) {
		options.wait_ns = DTLS_WAIT_NS;
		options.end_is_due = true;
	}
}

static bool check_typed(void)
{
	if (options.raw && options.throttle.interval_ns)
		complain("connect: --raw: there are no lines in it that --interval could send one by one");
	else if (options.raw && !isatty(STDIN_FILENO))
		complain("connect: --raw: standard input is no terminal: its bytes pass as they are anyhow");
	else if (options.typed.escape_given && !options.raw)
		complain("connect: --escape: only with --raw, where Ctrl-C and Ctrl-D go to the peer");
	else
		return true;
	return false;
}

/* One that is about the input; NULL: none is given. */
static const char *input_option(void)
{
	return options.wait_input_ns != UINT64_MAX ? "wait-input"
	       : options.raw                       ? "raw"
	       : options.typed.crlf                ? "crlf"
	       : options.chunk                     ? "chunk"
	       : options.throttle.rate             ? "rate"
	       : options.throttle.interval_ns      ? "interval"
						   : NULL;
}

/* Two that cannot both be meant. Returns false after printing an error. */
static bool check_options(void)
{
	bool waits = options.wait_input_ns != UINT64_MAX;

	if (options.recv_only && options.send_only)
		complain("connect: --recv-only and --send-only: one of them, please");
	else if (options.send_only && (options.bytes || options.count))
		complain("connect: --%s: what comes is dropped with --send-only, and not counted",
			 options.bytes ? "bytes" : "count");
	else if (options.recv_only && input_option())
		complain("connect: --%s: the input is not read with --recv-only", input_option());
	else if (waits && options.wait_input_ns && options.exit_on_end)
		complain("connect: --exit-on-end is --wait-input 0: give one of them");
	else
		return check_typed();
	return false;
}

/* What of the options speaks against key reconnect. */
static bool check_comes_back(void)
{
	if (retry_is_wanted(&options.retry))
		complain("connect: --retry: %s is dialled again by its key reconnect", state.url);
	else if (options.exit_on_end || options.wait_input_ns != UINT64_MAX)
		complain("connect: --%s: %s is dialled again when the peer ends (key reconnect)",
			 options.exit_on_end ? "exit-on-end" : "wait-input", state.url);
	else
		return true;
	return false;
}

/* What of the options has no meaning where the URL has messages. */
static bool check_messages(void)
{
	if (options.typed.crlf && state.framed)
		complain("connect: --crlf: messages of %s are lines without their line feed (key frame=crlf ends each "
			 "with CR LF)",
			 state.url);
	else if ((options.raw || options.chunk) && transcoder_is_for(state.url))
		complain("connect: --%s: messages of %s have a format, which is typed in lines",
			 options.raw ? "raw" : "chunk", state.url);
	else if (options.chunk > DATAGRAM_MAX && state.datagrams)
		complain("connect: --chunk: a datagram has at most %d bytes", DATAGRAM_MAX);
	else
		return true;
	return false;
}

static int run(char **operands, int count)
{
	int kind, err, status;

	if (count != 1) {
		complain(count ? "connect: one URL, please" : "connect: to which URL?");
		complain_hint("%s connect --help", settings.program);
		return STATUS_USAGE;
	}
	if (options.keep && !options.listen) {
		complain("connect: --keep: only with --listen, where one client comes after the other");
		if (tn_url_kind(operands[0]) > 0 && tn_url_kind(operands[0]) & TN_URL_SECURE)
			complain_hint("%s connect '%s%cverify=off'", settings.program, operands[0],
				      strchr(operands[0], '?') ? '&' : '?');
		return STATUS_USAGE;
	}
	if (!check_options() || !retry_check(&options.retry, "connect"))
		return STATUS_USAGE;
	if (retry_is_wanted(&options.retry) && options.listen) {
		complain("connect: --retry: only where is dialled, not with --listen");
		return STATUS_USAGE;
	}
	options.no_fin |= options.recv_only;
	state.url = operands[0];
	if (tn_url_check(state.url, options.listen ? TN_SERVE : TN_DIAL) < 0)
		return complain_library(TN_EURL, state.url);
	kind = tn_url_kind(state.url);
	if (kind < 0)
		return complain_library(kind, state.url);
	state.comes_back = state.away = lost_is_awaited(state.url);
	if (state.comes_back && !check_comes_back())
		return STATUS_USAGE;
	if (recorder_check("connect") != STATUS_DONE || recorder_check_url("connect", state.url) != STATUS_DONE)
		return STATUS_USAGE;
	if (options.listen && kind & (TN_URL_PROXY | TN_URL_HTTP)) {
		complain("connect: --listen: clients of %s ask for something that standard input cannot answer",
			 state.url);
		complain_hint("%s serve '%s'", settings.program, state.url);
		return STATUS_USAGE;
	}
	state.framed = !(kind & TN_URL_PACKETS) && tn_url_keeps_messages(state.url) == 1;
	state.by_lines = state.framed || kind & TN_URL_PACKETS;
	state.datagrams = kind & TN_URL_DATAGRAMS && !(kind & TN_URL_SECURE);
	if (!check_messages())
		return STATUS_USAGE;
	if (!options.raw)
		options.typed.escape = TYPED_NO_ESCAPE;
	state.framed &= !options.raw && !options.chunk; /* what is typed and shown is no line */
	state.by_hand = state.by_lines || throttle_wanted(&options.throttle) || options.raw || options.typed.crlf ||
			options.chunk || state.comes_back;
	if ((options.bytes && state.by_lines) || (options.count && !state.by_lines)) {
		complain(options.bytes ? "connect: --bytes: %s has messages: --count N ends after so many"
				       : "connect: --count: %s has no messages (key frame makes some): --bytes N "
					 "ends after so many bytes",
			 state.url);
		return STATUS_USAGE;
	}
	state.lines.max = state.datagrams ? DATAGRAM_MAX : LINE_MAX_LEN;
	if (options.wait_ns == UINT64_MAX)
		set_wait(kind);
	if (options.exit_on_end || (options.wait_input_ns == UINT64_MAX && isatty(STDIN_FILENO)))
		options.wait_input_ns = 0;
	err = options_loop_new(&state.loop, NULL);
	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	status = tap_open("connect", true);
	if (status == STATUS_DONE)
		status = recorder_open("connect");
	if (status == STATUS_DONE)
		status = tap_start();
	if (status == STATUS_DONE)
		status = recorder_start();
	if (status != STATUS_DONE)
		return status;
	if (signals_start(state.loop, on_signal, NULL) < 0)
		return complain_library(-ENOMEM, NULL);
	status = options.listen ? listen_for() : dial();
	if (status == STATUS_DONE && (err = tn_loop_run(state.loop)) < 0)
		status = complain_library(err, state.url);
	progress_end();
	out_unwatch();
	if (status != STATUS_DONE) {
		state.left = state.leaving = true;
		closed_wait(state.loop, &state.peer, true);
		tap_close();
		recorder_close();
		return status;
	}
	if (state.peer) { /* the peer is told that we leave; that is not waited for */
		tell_lost(state.peer);
		state.left = true;
		if (!state.answer)
			tn_close(state.peer);
	}
	listen_close();
	(void)tn_loop_step(state.loop, 0);
	closed_wait(state.loop, &state.peer, false);
	tap_close();
	recorder_close();
	return state.status;
}

static const char *set_bytes(const char *value, void *to)
{
	uint64_t *bytes = to;

	return tn_parse_size(value, bytes) < 0 || !*bytes ? "is no size from 1 up, such as 4096 or 1MiB" : NULL;
}

static const struct option_spec own_options[] = {
	{"listen", 'l', OPTION_ALONE, option_set_flag, &options.listen, NULL,
	 "serve the URL for one client (datagrams: the first sender), and end when it ends"},
	{"keep", 'k', OPTION_ALONE, option_set_flag, &options.keep, NULL,
	 "with --listen: one client after the other; others wait (datagrams: whoever has sent last is answered)"},
	{"wait", 0, OPTION_VALUE, option_set_duration, &options.wait_ns, "DUR",
	 "after the end of the input: leave when the peer has been silent for this time (default: wait for "
	 "ever; datagrams: 1s; DTLS: 10s, then exit 3)"},
	{"wait-input", 0, OPTION_VALUE, option_set_duration, &options.wait_input_ns, "DUR",
	 "after the end of the peer: leave when the input has been silent for this time (default: wait for "
	 "ever; a terminal: 0)"},
	{"recv-only", 0, OPTION_ALONE, option_set_flag, &options.recv_only, NULL,
	 "standard input is not read, and our direction not ended"},
	{"send-only", 0, OPTION_ALONE, option_set_flag, &options.send_only, NULL,
	 "what the peer sends is dropped; leave when all has been sent"},
	{"bytes", 0, OPTION_VALUE, set_bytes, &options.bytes, "N", "leave after so many bytes have come: 4096, 1MiB"},
	{"count", 'W', OPTION_VALUE, option_set_number, &options.count, "N",
	 "leave after so many messages or datagrams have come"},
	{"retry", 0, OPTION_VALUE, retry_set_count, &options.retry, "N",
	 "dial again, up to N times (forever: without end), while nobody answers"},
	{"every", 0, OPTION_VALUE, retry_set_every, &options.retry, "DUR",
	 "with --retry: the time between two attempts, give or take a quarter (default 1s)"},
	{"rate", 0, OPTION_VALUE, option_set_rate, &options.throttle.rate, "SIZE", "send so many bytes a second: 1MiB"},
	{"interval", 0, OPTION_VALUE, option_set_duration, &options.throttle.interval_ns, "DUR",
	 "send line by line, at least so long from one to the next"},
	{"record", 0, OPTION_VALUE, option_set_text, &recorder_options.path, "FILE", RECORD_MEANING},
	{"record-size", 0, OPTION_VALUE, recorder_set_size, &recorder_options.size, "SIZE", RECORD_SIZE_MEANING},
	{"record-every", 0, OPTION_VALUE, option_set_duration, &recorder_options.every_ns, "DUR", RECORD_EVERY_MEANING},
	{"record-files", 0, OPTION_VALUE, option_set_number, &recorder_options.files, "N", RECORD_FILES_MEANING},
	{"record-memory", 0, OPTION_VALUE, recorder_set_memory, &recorder_options.memory, "SIZE",
	 RECORD_MEMORY_MEANING},
	{"trace", 0, OPTION_VALUE, trace_set_form, NULL, "FORM", TRACE_MEANING},
	{"trace-to", 0, OPTION_VALUE, trace_set_file, NULL, "FILE", TRACE_TO_ONCE_MEANING},
	{"trace-bytes", 0, OPTION_VALUE, trace_set_bytes, NULL, "SIZE", TRACE_BYTES_MEANING},
	{"exit-on-end", 0, OPTION_ALONE, option_set_flag, &options.exit_on_end, NULL,
	 "leave when the peer ends: --wait-input 0"},
	{"chunk", 0, OPTION_VALUE, lines_set_chunk, &options.chunk, "SIZE",
	 "cut the input into messages of so many bytes, in place of lines: 1200"},
	{"raw", 0, OPTION_ALONE, option_set_flag, &options.raw, NULL,
	 "the terminal passes each key as it is, Ctrl-C too, and echoes nothing; ^] leaves"},
	{"escape", 0, OPTION_VALUE, typed_set_escape, &options.typed, "KEY",
	 "with --raw: another key that leaves: ^A, or off"},
	{"crlf", 'C', OPTION_ALONE, option_set_flag, &options.typed.crlf, NULL,
	 "line feeds of the input go out as CR LF, unless a CR is there already"},
	{"no-fin", 0, OPTION_ALONE, option_set_flag, &options.no_fin, NULL,
	 "the end of the input does not end our direction; leave when the peer ends"},
	{"", 'N', OPTION_ALONE, option_set_nothing, NULL, NULL, "always so: the end of the input ends our direction"},
	{"pretty", 0, OPTION_ALONE, option_set_flag, &state.coder.pretty, NULL,
	 "with the key format: messages with one item a line"},
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
		"  tenon connect --listen 'tcp://*:9000' > file      wait for somebody who sends it\n"
		"\n"
		"Usage:\n"
		"  tenon connect [--listen [--keep]] URL\n"
		"\n"
		"The end of standard input ends our direction of the connection. What the peer sends is written\n"
		"until it ends too. When the peer ends first, the rest of the input is still sent; a terminal is not\n"
		"waited for. tenon-connect(1) has a table of all cases.\n"
		"\n"
		"On datagrams each line of standard input is one, with its line feed. Datagrams have no end: after\n"
		"the input, one second of silence is the end. With the key frame each line is a message, without its\n"
		"line feed. With the key format, messages are typed and printed as JSON, one a line (format=text: as\n"
		"text).\n",
	.options = own_options,
	.run = run,
};
