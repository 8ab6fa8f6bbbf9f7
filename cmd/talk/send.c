/*
 * tenon send: one message after another; each waits for the reply to the one before. Where the endpoint keeps messages
 * whole, the next message that comes is the reply. A stream does not say where a reply ends: for the last message it is
 * the end of the stream; for the others, as many bytes as were sent, or a short silence.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "send.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/options.h"
#include "common/output.h"
#include "common/privileges.h"
#include "common/settings.h"
#include "common/sizes.h"
#include "common/status.h"
#include "common/text.h"
#include "common/transcode.h"
#include "closed.h"
#include "lines.h"
#include "lost.h"
#include "messages.h"
#include "passed.h"
#include "retry.h"
#include "tap/tap.h"
#include "tap/trace.h"
#include "throttle.h"
#include "tenon.h"
#include "tenon_value.h"

#define AHEAD_MAX (64U << 10) /* bytes of lines read before they can be sent */
#define LINE_MAX_LEN (64U << 20)
#define JSON_REPLY_MAX (64U << 20) /* a reply that is shown as one JSON string is held in memory */
#define ROOM_NS (10 * NS_PER_MS)   /* who has no room for descriptors is asked again: only the library sees it come */
#define PAUSE_NS (60 * NS_PER_MS)  /* silence that ends a reply within a stream: longer than a delayed ACK's 40 ms */

static struct {
	uint64_t wait_ns;
	unsigned count;
	const char *size;
	size_t chunk; /* 0: standard input is cut into lines */
	bool no_reply;
	struct passed passed; /* --fd */
	struct retry retry;
	struct throttle throttle;
} options = {.wait_ns = UINT64_MAX, .count = 1};

static struct {
	const char *url;
	struct tn_loop *loop;
	struct tn_conn *conn, *input; /* NULL: gone */
	struct tn_timer *timer, *throttle_timer;
	struct messages messages;
	struct lines lines;
	struct message message; /* the one being sent or answered: gone with the next one, or when there is none */
	bool unfinished;        /* it had bytes, and no line feed at its end */
	uint64_t number;        /* of it, from 1; 0: none yet */
	uint64_t started_ns, active_ns;
	size_t sent, replied; /* bytes */
	bool queued;          /* of a message that is kept whole: it is, however short */
	struct text reply;    /* for --json */
	struct transcoder coder;
	bool skipped;      /* a bad reply, as the URL wants it */
	bool refused;      /* a message that was typed is bad: those before it are still sent */
	bool wait_given;   /* --wait */
	bool keeps;        /* the endpoint keeps messages whole */
	bool open, busy;   /* busy: the message has not been done with */
	bool last;         /* it is the last: the end of the stream ends its reply */
	bool tail;         /* it has been answered as far as it seemed, and was the last: what comes is added */
	bool full;         /* the queue is: on_drain goes on */
	bool many;         /* several hosts may answer: each message has as many replies as come in time */
	unsigned nreplies; /* to the message under way, where there are many */
	char peer[80];     /* and who sent the last */
	bool line_open;    /* what was written last did not end with a line feed */
	bool raw;          /* standard input on a stream: one message, sent as it comes, byte for byte */
	bool exact;        /* the reply is written byte for byte */
	bool was_open;     /* for the first time, or again */
	bool comes_back;   /* key reconnect: what ends is dialled again */
	bool lost;         /* a message that was under way, or bytes of some */
	bool over;
	int status;
} state;

/* Leaves the loop. The kernel closes what is still open as the process ends, as close(2) does. */
static void leave(int status)
{
	if (state.over)
		return;
	state.over = true;
	if (status == STATUS_DONE && state.lost)
		status = STATUS_FAILED;
	state.status = status == STATUS_DONE && (state.refused || state.skipped) ? STATUS_REFUSED : status;
	tn_loop_stop(state.loop);
}

static void leave_for(int err)
{
	if (!state.over)
		leave(complain_library(err, NULL));
}

/* ---- the reply ---- */

static void write_out(const char *data, size_t len)
{
	if (len == 0)
		return;
	state.line_open = data[len - 1] != '\n';
	if (out_bytes(data, len) < 0)
		leave(out_lost() == -EPIPE ? STATUS_DONE : STATUS_FAILED);
}

static void reply_bytes(const void *data, size_t len)
{
	state.replied += len;
	if (!settings.json)
		write_out(data, len);
	else if (state.reply.len + len <= JSON_REPLY_MAX)
		text_bytes(&state.reply, data, len);
	if (settings.json && (state.reply.failed || state.replied > JSON_REPLY_MAX) && !state.over) {
		complain("%s: a reply of more than %u MiB does not fit --json", state.url, JSON_REPLY_MAX >> 20);
		leave(STATUS_REFUSED);
	}
}

static void reply_json(void)
{
	struct text line = {0};

	json_begin(&line, "reply");
	json_number(&line, "message", state.number);
	if (state.many)
		json_text(&line, "peer", state.peer);
	json_number(&line, "bytes", state.reply.len);
	json_ms(&line, "ms", clock_ns() - state.started_ns);
	if (state.coder.values) { /* JSON already */
		json_key(&line, "value");
		text_bytes(&line, state.reply.data, state.reply.len);
	} else {
		json_bytes(&line, "data", state.reply.data, state.reply.len);
	}
	json_line(&line);
	state.reply.len = 0;
	if (out_lost())
		leave(out_lost() == -EPIPE ? STATUS_DONE : STATUS_FAILED);
}

static void reply_end(void)
{
	if (settings.json && (state.reply.len > 0 || !state.tail))
		reply_json();
	else if (!state.exact && (state.line_open || (state.keeps && state.replied == 0)))
		write_out("\n", 1);
	state.busy = false;
}

/* If nobody reads the replies, they are not waited for. */
static void on_reader_gone(void *arg)
{
	(void)arg;
	leave(STATUS_DONE);
}

/* ---- time ---- */

static void tick(void *arg);

/* Of the message under way all is queued, and its descriptors have gone. */
static bool is_sent(void)
{
	return state.sent == state.message.len && (!state.keeps || state.queued) && !options.passed.count;
}

/* Whether a short silence ends the reply. */
static bool pause_counts(void)
{
	return state.busy && !state.keeps && !state.raw && !state.last && state.replied > 0 && is_sent();
}

/* A peer that sends its reply in pieces may wait for our acknowledgement between them: a round trip. */
static uint64_t pause_ns(void)
{
	struct tn_conn_info info;
	struct tcp_info tcp = {0};
	socklen_t len = sizeof(tcp);

	tn_conn_info(state.conn, &info);
	if (getsockopt(info.fd, IPPROTO_TCP, TCP_INFO, &tcp, &len) < 0)
		return PAUSE_NS;
	return PAUSE_NS + 2000ULL * tcp.tcpi_rtt;
}

static uint64_t patience_ns(void)
{
	if (state.raw && state.open && !state.messages.complete)
		return UINT64_MAX; /* it is the input's turn */
	return pause_counts() ? pause_ns() : options.wait_ns;
}

static void timer_set(uint64_t delay_ns)
{
	tn_timer_stop(state.timer);
	state.timer = NULL;
	if (tn_timer_start(state.loop, (delay_ns + NS_PER_MS - 1) / NS_PER_MS, tick, NULL, &state.timer) < 0)
		leave_for(-ENOMEM);
}

static void next(void);

static void time_is_up(void)
{
	double wait_s = (double)options.wait_ns / (double)NS_PER_S;

	if (!state.open)
		complain("%s: connect: timed out after %g s", state.url, wait_s);
	else if (state.replied == 0)
		complain("%s: no reply within %g s", state.url, wait_s);
	leave(state.open && state.replied > 0 ? STATUS_DONE : STATUS_TIMEOUT);
}

/* A reply, or, as long as --wait says, the first connection. */
static bool is_waiting(void)
{
	return state.open ? state.busy && !options.no_reply : !state.was_open;
}

/*
 * One timer checks how long nothing has come, and sleeps for the rest: traffic only notes the time. The clock is read
 * again, since writing to a slow reader may have taken long, and what came during that time is not silence.
 */
static void tick(void *arg)
{
	uint64_t since_ns = state.many && state.busy ? state.started_ns : state.active_ns;
	uint64_t quiet_ns = clock_ns() - since_ns, patience = patience_ns();

	(void)arg;
	state.timer = NULL;
	if (state.over || !is_waiting() || patience == UINT64_MAX)
		return;
	if (quiet_ns < patience) {
		timer_set(patience - quiet_ns);
	} else if (pause_counts()) {
		reply_end();
		next();
	} else if (state.nreplies > 0) {
		state.busy = false;
		next();
	} else {
		if (state.replied > 0)
			reply_end();
		time_is_up();
	}
}

/* ---- sending ---- */

/* Sends a piece; returns whether it is queued. */
static bool put(const char *data, size_t len)
{
	int err = state.coder.formatted ? tn_reply_value(state.conn, NULL, state.coder.value)
					: tn_send(state.conn, data, len);

	state.full = err == 1 || err == TN_EFULL;
	/* TN_ESTATE: the connection is ending; the peer's last words and the reason are on their way */
	if (err < 0 && err != TN_EFULL && err != TN_ESTATE)
		leave_for(err);
	return err >= 0;
}

static void go_on(void *arg);

static void throttle_is_over(void *arg)
{
	state.throttle_timer = NULL;
	go_on(arg);
}

static void go_on_after(uint64_t wait_ns)
{
	if (!state.throttle_timer && tn_timer_start(state.loop, (wait_ns + NS_PER_MS - 1) / NS_PER_MS, throttle_is_over,
						    NULL, &state.throttle_timer) < 0)
		leave_for(-ENOMEM);
}

/* Whether --rate or --interval holds back the next piece, or message: go_on() then follows by itself. */
static bool is_throttled(bool begins)
{
	uint64_t wait_ns = throttle_wait_ns(&options.throttle, begins, clock_ns());

	if (wait_ns)
		go_on_after(wait_ns);
	return wait_ns;
}

/*
 * Descriptors go with the first bytes of the first message, before the library has any to send. Returns whether there
 * is more to do.
 */
static bool send_passed(void)
{
	struct tn_conn_info info;
	long sent;

	if (!state.message.len && !state.keeps) {
		complain("send: --fd: descriptors go with a byte at least, and the message is empty");
		leave(STATUS_USAGE);
		return false;
	}
	tn_conn_info(state.conn, &info);
	sent = passed_send(&options.passed, info.fd, state.message.data, state.message.len);
	if (sent == -EAGAIN) {
		go_on_after(ROOM_NS);
		return false;
	}
	if (sent < 0) {
		complain("%s: --fd: %s", state.url, tn_strerror((int)sent));
		leave(STATUS_FAILED);
		return false;
	}
	options.passed.count = 0;
	state.sent = (size_t)sent;
	state.queued = true;
	state.active_ns = clock_ns();
	return state.keeps ? false : true;
}

/* The rest of the message, as far as the queue and --rate take it. */
static void pump(void)
{
	size_t most = state.keeps ? SIZE_MAX : throttle_piece(&options.throttle);

	if (options.passed.count && !send_passed())
		return;
	do {
		size_t left = state.message.len - state.sent, len = left < most ? left : most;

		if (is_throttled(false))
			return;
		if ((len > 0 || state.keeps) && !put(state.message.data + state.sent, len))
			return;
		state.sent += len;
		state.queued = true;
		state.active_ns = clock_ns();
		throttle_passed(&options.throttle, len, state.active_ns);
	} while (state.sent < state.message.len && !state.full);
	if (is_sent() && state.last && !state.keeps && !options.no_reply)
		tn_finish(state.conn);
}

/* Whether the message needs no (more) reply. */
static bool is_answered(void)
{
	if (!is_sent())
		return false;
	if (state.raw && !state.last)
		return true;
	return options.no_reply || (!state.keeps && !state.last && state.replied >= state.message.len);
}

static void nothing_left(void)
{
	if (options.no_reply)
		tn_close(state.conn);
	else if (state.keeps || !state.number)
		leave(STATUS_DONE);
	else
		tn_finish(state.conn);
}

/* Cleanly: what has been queued is sent, and on_close ends the command. */
static void refuse_typed(void)
{
	complain("message %llu: %s", (unsigned long long)state.number, tn_errmsg());
	state.refused = true;
	tn_close(state.conn);
}

static void begin(void)
{
	if (!state.raw || !state.number) {
		state.number++;
		state.replied = 0;
		state.nreplies = 0;
		state.started_ns = clock_ns();
	}
	state.sent = 0;
	state.queued = false;
	state.unfinished = state.message.len && state.message.data[state.message.len - 1] != '\n';
	state.busy = true;
	state.last = messages_over(&state.messages);
	state.active_ns = clock_ns();
	throttle_begin(&options.throttle, state.active_ns);
	if (!options.no_reply)
		timer_set(options.wait_ns);
	if (state.line_open && !state.exact && !state.raw)
		write_out("\n", 1); /* something came that nothing had been asked for */
	if (state.coder.formatted && transcoder_read(&state.coder, state.message.data, state.message.len) < 0)
		refuse_typed();
	else
		pump();
}

/* Takes messages until one has to wait: for its reply, its time, room in the queue, or for the next line. */
static void next(void)
{
	while (!state.over && state.open && !state.busy) {
		if (messages_ready(&state.messages) && is_throttled(true))
			return;
		if (!messages_take(&state.messages, &state.message)) {
			if (state.messages.complete)
				nothing_left();
			else if (state.input)
				tn_resume(state.input);
			return;
		}
		begin();
		if (state.refused)
			return;
		if (state.busy && !state.over && is_answered()) {
			if (!options.no_reply && !state.raw)
				reply_end();
			state.busy = false;
		}
		if ((options.no_reply || state.raw) && state.full)
			return;
	}
}

/* ---- the connection ---- */

/* The connection is away, and nothing is left that would need another. */
static bool is_away_for_good(void)
{
	return state.was_open && !state.open && !state.busy && messages_over(&state.messages);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct tn_conn_info info;

	(void)arg;
	if (state.was_open)
		lost_is_over(state.url);
	tap_conn(conn, state.url, state.keeps ? TAP_MESSAGES : 0);
	state.was_open = true;
	tn_conn_info(conn, &info);
	state.many = info.many;
	if (settings.verbose)
		complain("%s %s from %s", info.many ? "sending to" : "connected to", info.peer, info.local);
	if (info.many && !state.wait_given)
		options.wait_ns = NS_PER_S;
	state.open = true;
	go_on(NULL);
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn, (void)arg;
	if (state.over || state.refused || options.no_reply || !state.number ||
	    (state.keeps && !(state.busy && state.queued)))
		return; /* nothing was asked: a late or second reply */
	if (state.many && msg->peer) {
		tn_addr_text(msg->peer, state.peer, sizeof(state.peer));
		state.nreplies++;
		if (settings.verbose)
			complain("reply from %s", state.peer);
	}
	if (!state.coder.formatted)
		reply_bytes(msg->data, msg->len);
	else if (transcoder_write(&state.coder, conn, msg) == 0)
		reply_bytes(state.coder.bytes.data, state.coder.bytes.len);
	else
		leave_for(TN_EREPR);
	state.active_ns = clock_ns();
	if (state.over || !state.busy || state.raw)
		return;
	if (state.many) {
		reply_end();
		state.busy = true; /* until the time is up */
		state.replied = 0;
	} else if (state.keeps || is_answered()) {
		reply_end();
		next();
	} else if (pause_counts()) {
		timer_set(PAUSE_NS); /* at first: tick() looks closer */
	}
}

static void on_bad(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg)
{
	(void)msg, (void)arg;
	if (state.over)
		return;
	complain("%s: reply: %s", state.url, tn_errmsg());
	if (!transcoder_skips_bad(conn))
		leave(status_of(err));
	else
		state.skipped = true;
}

static void go_on(void *arg)
{
	(void)arg;
	if (state.over || !state.conn || !state.open || state.refused)
		return;
	state.full = false;
	if (state.busy && !is_sent())
		pump();
	if ((options.no_reply || (state.raw && !state.last)) && state.busy && is_sent())
		state.busy = false;
	next();
}

/* Not from here: a connection whose own callbacks fill its queue is not read from, so an echo would wait. */
static void on_drain(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
	state.active_ns = clock_ns();
	if (!state.over && tn_loop_post(state.loop, go_on, NULL) < 0)
		leave_for(-ENOMEM);
}

/* A server that reads lines ignores bytes that are no line. */
static void tell_no_reply(void)
{
	if (settings.quiet || settings.json || !state.unfinished)
		return;
	complain("%s: the peer ended without a reply; the message did not end with a line feed", state.url);
	complain_hint("key frame=line, if the server reads lines: %s send '%s%sframe=line' ...", settings.program,
		      state.url, strchr(state.url, '?') ? "&" : "?");
}

/* The peer has ended. That ends the last reply; any other reply is missing. */
static void on_end(struct tn_conn *conn, void *arg)
{
	bool none_left = messages_over(&state.messages) || (state.raw && state.messages.waiting == 0);
	bool all_sent = is_sent() && none_left;
	char words[CLOSED_MAX];

	(void)arg;
	if (state.over || options.no_reply)
		return;
	if ((state.busy || (state.raw && state.number)) && (state.replied > 0 || (settings.json && all_sent)))
		reply_end();
	if (all_sent && !state.keeps && state.number && state.replied == 0)
		tell_no_reply();
	if (!all_sent || state.keeps || !state.number) {
		complain("%s: the peer ended the connection%s before %s", state.url, closed_words(conn, words),
			 all_sent ? "it replied" : "all was sent");
		leave(STATUS_FAILED);
	}
	leave(STATUS_DONE);
}

/* A reply that has not come does not come any more. What has not been begun goes out when the connection is back. */
static void on_lost(struct tn_conn *conn, int err, const struct tn_loss *loss, void *arg)
{
	bool reply_lost = state.busy && !options.no_reply;

	(void)conn, (void)arg;
	if (state.over)
		return;
	state.open = false;
	state.busy &= !reply_lost;
	state.lost |= lost_tell(state.url, err, loss, is_away_for_good()) || reply_lost;
	if (reply_lost)
		complain("message %llu: the connection was lost before its reply", (unsigned long long)state.number);
	if (is_away_for_good())
		leave(STATUS_DONE);
}

static void redial(void *arg);

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	int status = closed_badly(conn, state.url) ? STATUS_FAILED : STATUS_DONE;

	(void)arg;
	if (state.over && state.status == STATUS_DONE)
		state.status = status;
	state.conn = NULL;
	if (err < 0 && state.busy && state.replied > 0 && !state.over)
		reply_end();
	if (!state.open && !state.over && retry_after(&options.retry, state.loop, err, redial))
		return;
	if (err < 0)
		leave_for(err);
	leave(status);
}

/* ---- lines of standard input ---- */

static int next_line(bool over, const char **line, size_t *len)
{
	return options.chunk ? lines_chunk(&state.lines, options.chunk, over, line, len)
			     : lines_next(&state.lines, over, line, len);
}

static void take_lines(bool over)
{
	const char *line;
	size_t len;
	int found;

	while ((found = next_line(over, &line, &len)) > 0)
		if (!options.chunk && transcoder_is_blank(&state.coder, line, len))
			continue; /* JSON lines may have empty ones */
		else if (messages_add(&state.messages, line,
				      state.raw || options.chunk || line[len - 1] != '\n' ? len : len - 1) < 0)
			leave_for(-ENOMEM);
	if (found < 0) {
		complain("standard input: a line of more than %u MiB", LINE_MAX_LEN >> 20);
		leave(STATUS_REFUSED);
	}
}

static void on_input(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)arg;
	if (state.raw && !options.throttle.interval_ns && !options.chunk) {
		if (messages_add(&state.messages, msg->data, msg->len) < 0)
			leave_for(-ENOMEM);
	} else {
		if (lines_add(&state.lines, msg->data, msg->len) < 0)
			leave_for(-ENOMEM);
		take_lines(false);
	}
	/* The list that is to be repeated is kept whole, so there is nothing to hold back */
	if (options.count == 1 && state.messages.waiting > AHEAD_MAX)
		tn_pause(conn);
	next();
}

/* The message under way may turn out to be the last. */
static void input_over(void)
{
	if (state.messages.complete)
		return;
	take_lines(true);
	state.messages.complete = true;
	if (state.busy && messages_over(&state.messages)) {
		state.last = true;
		if (state.raw && state.open && !options.no_reply)
			timer_set(options.wait_ns);
		if (!state.keeps && state.open && !options.no_reply && is_sent())
			tn_finish(state.conn);
	} else if (!state.busy && state.open && state.number && !state.keeps && messages_over(&state.messages)) {
		state.last = state.busy = true;
		state.tail = !state.raw;
		state.active_ns = clock_ns();
		timer_set(options.wait_ns);
		nothing_left();
		return;
	}
	if (is_away_for_good())
		leave(STATUS_DONE);
	else
		next();
}

static void on_input_end(struct tn_conn *conn, void *arg)
{
	(void)conn, (void)arg;
	input_over();
}

static void on_input_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn, (void)arg;
	state.input = NULL;
	if (err < 0 && !state.over) {
		complain("standard input: %s", tn_strerror(err));
		leave(STATUS_FAILED);
	}
	if (!state.over)
		input_over();
}

/* ---- the command ---- */

static const struct tn_handler peer = {.on_open = on_open,
				       .on_msg = on_msg,
				       .on_drain = on_drain,
				       .on_end = on_end,
				       .on_close = on_close,
				       .on_bad = on_bad};

/* Its end is a loss like any other. */
static const struct tn_handler returning = {.on_open = on_open,
					    .on_msg = on_msg,
					    .on_drain = on_drain,
					    .on_close = on_close,
					    .on_bad = on_bad,
					    .on_lost = on_lost};

static void redial(void *arg)
{
	int err = state.over ? 0 : tn_dial(state.loop, state.url, &peer, NULL, &state.conn);

	(void)arg;
	if (err < 0)
		leave_for(err);
}

static int fail(int err)
{
	int status = complain_library(err, state.url);

	state.over = true;
	closed_wait(state.loop, &state.conn, true);
	return status;
}

static int dial(void)
{
	static const struct tn_handler input = {.on_msg = on_input, .on_end = on_input_end, .on_close = on_input_close};
	/* A ring takes longer to set up than one message takes to come and go */
	int err = options_loop_new(&state.loop, "epoll");

	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	err = tn_dial(state.loop, state.url, state.comes_back ? &returning : &peer, NULL, &state.conn);
	if (err >= 0)
		transcoder_begin(&state.coder, state.conn);
	if (err >= 0)
		privileges_hold_keys_of(state.conn);
	state.raw = !state.keeps && !state.coder.formatted && !state.messages.complete;
	state.exact = !isatty(STDOUT_FILENO) && !state.coder.formatted && (state.raw || state.exact);
	if (err >= 0 && !state.messages.complete)
		err = tn_dial(state.loop, "fd:0", &input, NULL, &state.input);
	if (err >= 0)
		err = out_watch(state.loop, on_reader_gone, NULL);
	if (err < 0)
		return fail(err);
	state.active_ns = clock_ns();
	if (options.wait_ns != UINT64_MAX)
		timer_set(options.wait_ns);
	state.wait_given = options.wait_ns != UINT64_MAX;
	if (!state.wait_given)
		options.wait_ns = 5 * NS_PER_S;
	err = tn_loop_run(state.loop);
	if (err < 0)
		return fail(err);
	out_unwatch();
	if (state.conn) { /* the peer is told that we leave; that is not waited for */
		tn_close(state.conn);
		(void)tn_loop_step(state.loop, 0);
		closed_wait(state.loop, &state.conn, false);
	}
	return state.status;
}

static int talk(void)
{
	int status = tap_open("send", true);

	state.lines.max = LINE_MAX_LEN;
	if (status == STATUS_DONE)
		status = tap_start();
	if (status == STATUS_DONE)
		status = dial();
	tap_close();
	return status;
}

static int wrong_size(const char *why)
{
	complain("send: --size: %s", why);
	complain_hint("%s send --help", settings.program);
	return STATUS_USAGE;
}

/* Whether the endpoint's messages are values of a format, which random letters are not. */
static bool has_values(void)
{
	struct tn_split *split = NULL;
	bool values = tn_split_new(state.url, &split) >= 0 && tn_format_kind(tn_split_format(split)) & TN_FORMAT_VALUES;

	tn_split_free(split);
	return values;
}

/* --size: messages are made, as many as --count says. */
static int run_generated(int given)
{
	struct sizes sizes;
	int rc;

	if (given)
		return wrong_size("messages are made; none is given besides");
	if (sizes_read(options.size, 1, &sizes) < 0) {
		complain("send: --size: '%s' is not " SIZES_WRITTEN, options.size);
		return STATUS_USAGE;
	}
	if (has_values())
		return wrong_size("messages are letters and digits, and none of the endpoint's format");
	rc = messages_generate(&state.messages, &sizes, options.count);
	if (rc == -EFBIG)
		return wrong_size("more than 256 MiB together: `tenon bench --mode send` sends without end");
	if (rc < 0)
		return complain_library(rc, NULL);
	state.messages.rounds = 1;
	state.messages.complete = true;
	return talk();
}

/* Where descriptors can be passed: with bytes of ours as they are. */
static bool check_passed(void)
{
	const int unlike = TN_URL_SECURE | TN_URL_MEMORY | TN_URL_WEBSOCKET;
	int kind = tn_url_kind(state.url);

	if (kind < 0 || (kind & (TN_URL_LOCAL | unlike)) != TN_URL_LOCAL)
		complain("send: --fd: descriptors are passed over Unix sockets (unix:, unix-seqpacket:, unix-dgram:), "
			 "not over %s",
			 state.url);
	else if ((state.keeps && !(kind & TN_URL_PACKETS)) || transcoder_is_for(state.url))
		complain("send: --fd: descriptors go with bytes as they are, and %s has a frame or a format",
			 state.url);
	else
		return true;
	return false;
}

static bool check_chunk(int given)
{
	if (given || options.size)
		complain("send: --chunk: only of standard input, and not of messages that are %s",
			 given ? "arguments" : "made (--size)");
	else if (transcoder_is_for(state.url))
		complain("send: --chunk: messages of %s have a format, and are no pieces of bytes", state.url);
	else
		return true;
	return false;
}

/* What of the options speaks against key reconnect. */
static bool check_comes_back(void)
{
	if (retry_is_wanted(&options.retry))
		complain("send: --retry: %s is dialled again by its key reconnect", state.url);
	else if (!state.keeps && !options.no_reply)
		complain(
			"send: %s: key reconnect: the end of the connection ends a reply, unless there is a frame (key "
			"frame), or no reply (--no-reply)",
			state.url);
	else
		return true;
	return false;
}

static int run(char **operands, int count)
{
	if (count == 0) {
		complain("send: to which URL?");
		complain_hint("%s send --help", settings.program);
		return STATUS_USAGE;
	}
	if (!retry_check(&options.retry, "send"))
		return STATUS_USAGE;
	state.url = operands[0];
	if (tn_url_check(state.url, TN_DIAL) < 0)
		return complain_library(TN_EURL, state.url);
	state.keeps = tn_url_keeps_messages(state.url) == 1;
	state.comes_back = lost_is_awaited(state.url);
	if (state.comes_back && !check_comes_back())
		return STATUS_USAGE;
	if (options.passed.count && !check_passed())
		return STATUS_USAGE;
	if (options.chunk && !check_chunk(count - 1))
		return STATUS_USAGE;
	if (options.size)
		return run_generated(count - 1);
	state.messages.rounds = options.count;
	state.messages.complete = count > 1;
	state.exact = count == 2 && options.count == 1 && operands[1][0] == '@' && operands[1][1] != '@';
	for (int i = 1; i < count; i++)
		if (messages_add_argument(&state.messages, operands[i]) < 0)
			return STATUS_FAILED;
	return talk();
}

static const struct option_spec own_options[] = {
	{"wait", 'w', OPTION_VALUE, option_set_duration, &options.wait_ns, "DUR",
	 "time to wait for a reply: 20ms, 1.5s, 2m (default 5s); multicast and broadcast: all replies of this "
	 "time (default 1s)"},
	{"no-reply", 0, OPTION_ALONE, option_set_flag, &options.no_reply, NULL, "leave as soon as all has been sent"},
	{"retry", 0, OPTION_VALUE, retry_set_count, &options.retry, "N",
	 "dial again, up to N times (forever: without end), while nobody answers"},
	{"every", 0, OPTION_VALUE, retry_set_every, &options.retry, "DUR",
	 "with --retry: the time between two attempts, give or take a quarter (default 1s)"},
	{"fd", 0, OPTION_VALUES, passed_add, &options.passed, "N",
	 "pass an open descriptor with the first bytes, on a Unix socket"},
	{"count", 'c', OPTION_VALUE, option_set_number, &options.count, "N", "send the list of messages N times"},
	{"chunk", 0, OPTION_VALUE, lines_set_chunk, &options.chunk, "SIZE",
	 "cut standard input into messages of so many bytes, in place of lines: 1200"},
	{"size", 0, OPTION_VALUE, option_set_text, &options.size, "SIZES",
	 "send messages of random letters: 64; of sizes drawn from a range, 16-4KiB, from a list with weights, "
	 "64@7,576@4,1500@1, or around a mean, exp:512; as many as --count says"},
	{"rate", 0, OPTION_VALUE, option_set_rate, &options.throttle.rate, "SIZE", "send so many bytes a second: 1MiB"},
	{"interval", 0, OPTION_VALUE, option_set_duration, &options.throttle.interval_ns, "DUR",
	 "at least so long from one message to the next (standard input on a stream: from line to line)"},
	{"trace", 0, OPTION_VALUE, trace_set_form, NULL, "FORM", TRACE_MEANING},
	{"trace-to", 0, OPTION_VALUE, trace_set_file, NULL, "FILE", TRACE_TO_ONCE_MEANING},
	{"trace-bytes", 0, OPTION_VALUE, trace_set_bytes, NULL, "SIZE", TRACE_BYTES_MEANING},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json, NULL, "each reply as a JSON object on a line"},
	{"pretty", 0, OPTION_ALONE, option_set_flag, &state.coder.pretty, NULL,
	 "with the key format: replies with one item a line"},
	{0},
};

const struct command send_command = {
	.name = "send",
	.takes_place = true,
	.takes_others = true,
	.meaning = "send messages and print the reply to each",
	.help = "Examples:\n"
		"  tenon send udp://localhost:10000 'Hello, world!'\n"
		"  tenon send tcp://localhost:10000 one two three\n"
		"  tenon send unix:/run/app.sock @request.json       the contents of a file\n"
		"  seq 10 | tenon send udp://localhost:10000         each line is a message\n"
		"  tenon send --no-reply udp://localhost:8125 'hits:1|c'\n"
		"  tenon send 'tcp://localhost:7000?frame=u32&format=cbor' '{\"op\":\"ping\"}'\n"
		"\n"
		"Usage:\n"
		"  tenon send URL [MESSAGE...]\n"
		"\n"
		"A message @FILE stands for the contents of FILE, @- for all of standard input, @@TEXT for @TEXT.\n"
		"Without messages, each line of standard input is one. On a stream without a frame, standard input\n"
		"is sent as it comes, byte for byte.\n"
		"\n"
		"On a stream the last message ends our direction. All that comes until the peer ends is the reply.\n"
		"An argument has no line feed of its own: a server that reads lines wants the key frame=line. The\n"
		"reply to a single file is written to a file or pipe byte for byte; others end with a line feed.\n"
		"\n"
		"With the key format, messages are typed and replies are printed as JSON (format=text: as text).\n",
	.options = own_options,
	.run = run,
};
