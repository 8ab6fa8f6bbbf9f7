#include "play.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/options.h"
#include "common/output.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/text.h"
#include "talks.h"
#include "tenon.h"
#include "tenon_value.h"

#define QUEUE_MAX (1U << 20) /* bytes: beyond, what is to be said waits for the peer to read */
#define STRETCH_NS NS_PER_S
#define FAR_NS 3e18 /* a century: damaged times may be anything */

/* One conversation that is played. */
struct player {
	struct player *next, **link;
	const struct talk *talk;
	uint64_t number;        /* of the session, from 1 */
	uint64_t zero_ns;       /* when its recorded beginning is */
	struct tn_conn *conn;   /* NULL: gone */
	struct tn_timer *timer; /* for what is said next */
	struct tn_timer *patience;
	const struct said *at;      /* in the conversation */
	const struct said *awaited; /* the next of the server */
	uint64_t got;               /* bytes of the server */
	uint64_t moved_ns;
	size_t queued;     /* at the last look */
	unsigned received; /* of the server's messages, whole */
	struct times {
		uint64_t due_ns, sent_ns;
	} * times;        /* of each message of the client */
	bool server_over; /* in the recording, before what is said next */
	bool open, differs, finished;
};

static struct {
	struct play *play;
	struct result *result;
	struct tn_loop *loop;
	struct tn_timer *starter;
	struct player *players;
	const struct talk *next; /* to be started */
	unsigned round, active;
	uint64_t started, begin_ns, span_ns; /* span: of the recording, as it is played */
	struct sample sample;
	uint64_t measured_ns;
	bool stopped;
	struct tn_value *got, *was;
	int err;
} state;

static void start_more(void *arg);

/* ---- what is measured ---- */

static void end_stretch(uint64_t now)
{
	struct sample *sample = &state.sample;

	sample->end_ns = now;
	(void)result_column(state.result, sample, state.begin_ns);
	hists_merge(&state.result->hists, &sample->hists);
	state.result->messages += sample->messages;
	state.result->bytes += sample->bytes;
	hists_clear(&sample->hists);
	sample->messages = sample->bytes = sample->errors = 0;
	sample->begin_ns = now;
}

static uint64_t now_ns(void)
{
	uint64_t now = tn_loop_now(state.loop);

	if (now - state.sample.begin_ns >= STRETCH_NS)
		end_stretch(now);
	return now;
}

static void measure(const struct times *times, size_t len)
{
	uint64_t now = now_ns(), service = now - times->sent_ns, response = now - times->due_ns;

	state.sample.messages++;
	state.sample.bytes += len;
	tn_hist_add(state.sample.hists.service, service);
	if (!state.play->closed) {
		tn_hist_add(state.sample.hists.response, response);
		tn_hist_add(state.sample.hists.late, times->sent_ns - times->due_ns);
	}
	slices_add(&state.result->slices, now - state.begin_ns, state.play->closed ? service : response, 1);
}

/* ---- differences ---- */

static void tell(const struct player *p, unsigned message, const char *words)
{
	struct text line = {0};

	if (settings.json) {
		json_begin(&line, "difference");
		json_number(&line, "session", p->number);
		json_number(&line, "recorded", p->talk->number);
		json_number(&line, "message", message);
		json_text(&line, "error", words);
		json_time(&line, "time");
		json_line(&line);
		return;
	}
	text_add(&line, "session %llu (recorded: %u), reply %u: ", (unsigned long long)p->number, p->talk->number,
		 message);
	text_clean(&line, words);
	out_line(&line);
}

static void differ(struct player *p, unsigned message, const char *words)
{
	kinds_add(&state.result->errors, "a reply differs from the recorded one", 1);
	state.sample.errors++;
	p->differs = true;
	if (state.play->differences++ < state.play->shown)
		tell(p, message, words);
}

static bool decode(const char *format, const void *data, size_t len, struct tn_value **value)
{
	return format && tn_format_kind(format) & TN_FORMAT_VALUES && tn_decode(format, data, len, 0, value) == 0;
}

static void compare(struct player *p, const struct tn_msg *msg, const struct said *was)
{
	const char *own = tn_conn_format(p->conn), *recorded = was->format ? was->format : own;
	bool values = state.play->comparison == COMPARE_MESSAGES &&
		      decode(own ? own : recorded, msg->data, msg->len, &state.got) &&
		      decode(recorded, was->data, was->len, &state.was);
	struct text words = {0};

	if (was->kind != TN_MSG_ANY && msg->kind != TN_MSG_ANY && msg->kind != (enum tn_msg_kind)was->kind)
		differ(p, was->number + 1,
		       msg->kind == TN_MSG_TEXT ? "it is text, was binary" : "it is binary, was text");
	else if (values ? compare_values(state.got, state.was, &state.play->ignored, &words)
			: compare_bytes(msg->data, msg->len, was->data, was->len, 0, &words)) {
		text_bytes(&words, "", 1);
		differ(p, was->number + 1, words.failed ? "it differs" : words.data);
	}
	text_free(&words);
}

/* ---- a conversation ---- */

static const struct said *server_from(const struct said *said)
{
	while (said && (said->by_client || said->what != SAID_DATA))
		said = said->next;
	return said;
}

static void player_end(struct player *p)
{
	if (p->finished)
		return;
	p->finished = true;
	tn_timer_stop(p->timer);
	tn_timer_stop(p->patience);
	p->timer = p->patience = NULL;
	if (p->conn)
		tn_close(p->conn);
}

/* Whether the server took more in the recording. What a client says behind the end of its server is not missed. */
static bool has_more_to_say(const struct player *p)
{
	const struct said *said = p->server_over ? NULL : p->at;

	while (said && said->what == SAID_DATA && !said->by_client)
		said = said->next;
	return said && said->what == SAID_DATA;
}

static void give_up(struct player *p, const char *words)
{
	if (state.play->comparison != COMPARE_NONE && (p->awaited || has_more_to_say(p)))
		differ(p, (p->awaited ? p->awaited->number : p->received) + 1, words);
	player_end(p);
}

/* What the server does not take is not said either. */
static bool is_stuck(const struct player *p)
{
	return p->at && p->open && tn_conn_queued(p->conn) > QUEUE_MAX;
}

static void patience(void *arg)
{
	struct player *p = arg;
	uint64_t now = now_ns(), quiet;
	size_t queued = tn_conn_queued(p->conn);
	bool stuck = is_stuck(p), waits = stuck || !p->at || state.play->closed;

	if (queued < p->queued)
		p->moved_ns = now;
	p->queued = queued;
	quiet = now - p->moved_ns;
	if (waits && quiet >= state.play->patience_ns)
		give_up(p, stuck ? "what the client says is not taken" : "no reply came");
	else
		tn_timer_again(p->patience, waits ? state.play->patience_ns - quiet : state.play->patience_ns, 0);
}

static int send_one(struct player *p, const struct said *said)
{
	const char *own = tn_conn_format(p->conn);

	if (!own || !said->format || strcmp(own, said->format) == 0 ||
	    !decode(said->format, said->data, said->len, &state.got))
		return tn_send_as(p->conn, (enum tn_msg_kind)said->kind, said->data, said->len);
	return tn_send_value(p->conn, state.got);
}

/* How long it is from one recorded time to another as it is played. A clock that was set while it recorded may go
 * backwards: then it is time at once. */
static uint64_t played_ns(uint64_t from, uint64_t to)
{
	double ns = to > from ? (double)(to - from) / state.play->speed : 0;

	return ns < FAR_NS ? (uint64_t)ns : (uint64_t)FAR_NS;
}

static uint64_t due_of(const struct player *p, const struct said *said)
{
	return p->zero_ns + played_ns(p->talk->begin_ns, said->ns);
}

/* Says one thing of the client. */
static void say(struct player *p, const struct said *said, uint64_t due)
{
	uint64_t now = now_ns();
	int err;

	p->moved_ns = now;
	if (said->what == SAID_END) {
		(void)tn_finish(p->conn);
		return;
	}
	if (said->what == SAID_RESET) {
		tn_abort(p->conn, -ECANCELED);
		return;
	}
	p->times[said->number] = (struct times){due, now};
	state.result->counts.sent++;
	state.result->counts.sent_bytes += said->len;
	err = send_one(p, said);
	if (err < 0 && err != TN_ESTATE)
		give_up(p, tn_errmsg());
}

/* Goes on as far as it is time, and as replies have come. */
static void go_on(void *arg)
{
	struct player *p = arg;

	while (p->open && !p->finished && p->at) {
		const struct said *said = p->at;
		uint64_t now = now_ns(), due = state.play->closed ? now : due_of(p, said);

		if (!said->by_client) { /* what the server has said is waited for only where time does not tell */
			if (state.play->closed && said->what == SAID_DATA && said->number >= p->received &&
			    state.play->comparison != COMPARE_NONE)
				return;
			p->server_over |= said->what != SAID_DATA;
			p->at = said->next;
			continue;
		}
		if (due > now) {
			tn_timer_again(p->timer, due - now, 0);
			return;
		}
		if (said->what == SAID_DATA && tn_conn_queued(p->conn) > QUEUE_MAX) {
			tn_timer_again(p->timer, NS_PER_MS, 0);
			return;
		}
		p->at = said->next;
		say(p, said, due);
	}
	if (p->open && !p->finished && !p->at && !p->awaited)
		player_end(p);
}

static void answered(struct player *p, const struct said *was)
{
	state.play->replies++;
	p->received++;
	p->awaited = server_from(was->next);
	if (was->answers >= 0 && p->times[was->answers].sent_ns)
		measure(&p->times[was->answers], was->len);
}

static void take_bytes(struct player *p, const struct tn_msg *msg)
{
	const unsigned char *data = msg->data;
	size_t left = msg->len;
	struct text words = {0};

	while (left && p->awaited) {
		const struct said *was = p->awaited;
		size_t at = (size_t)(p->got - (was->upto - was->len)), len = was->len - at;

		len = len < left ? len : left;
		if (state.play->comparison != COMPARE_NONE && !p->differs &&
		    compare_bytes(data, len, was->data + at, len, p->got, &words)) {
			text_bytes(&words, "", 1);
			differ(p, was->number + 1, words.failed ? "it differs" : words.data);
		}
		p->got += len;
		data += len;
		left -= len;
		if (p->got == was->upto)
			answered(p, was);
	}
	text_free(&words);
	if (left && state.play->comparison != COMPARE_NONE && !p->differs)
		differ(p, p->talk->answered + 1, "more came than was recorded");
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	struct player *p = arg;
	const struct said *was = p->awaited;

	(void)conn;
	if (p->finished)
		return;
	p->moved_ns = now_ns();
	state.result->counts.received_bytes += msg->len;
	if (!p->talk->messages) {
		take_bytes(p, msg);
	} else if (was) {
		if (state.play->comparison != COMPARE_NONE)
			compare(p, msg, was);
		answered(p, was);
	} else if (state.play->comparison != COMPARE_NONE) {
		differ(p, p->talk->answered + 1, "it was not recorded");
	}
	go_on(p);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct player *p = arg;

	(void)conn;
	p->open = true;
	state.result->counts.opened++;
	p->moved_ns = now_ns();
	go_on(p);
}

static void on_end(struct tn_conn *conn, void *arg)
{
	struct player *p = arg;

	(void)conn;
	if (p->awaited && !p->finished)
		give_up(p, "the server ended");
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct player *p = arg;

	(void)conn;
	p->conn = NULL;
	if (!p->open && err < 0 && err != -ECANCELED) {
		state.play->failed++;
		kinds_add(&state.result->errors, tn_errmsg(), 1);
		if (state.play->failed == 1)
			complain("%s", tn_errmsg());
	} else if (!p->finished && err != -ECANCELED) {
		give_up(p, err ? tn_errmsg() : "the server closed");
	}
	player_end(p);
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	free(p->times);
	free(p);
	state.active--;
	start_more(NULL);
}

static const struct tn_handler handler = {.on_open = on_open, .on_msg = on_msg, .on_end = on_end, .on_close = on_close};

static int player_start(const struct talk *talk, uint64_t zero_ns)
{
	struct player *p = calloc(1, sizeof(*p));
	int err = -ENOMEM;

	if (p)
		p->times = calloc(talk->asked ? talk->asked : 1, sizeof(*p->times));
	if (p && p->times)
		err = tn_timer_repeat(state.loop, UINT64_MAX, 0, go_on, p, &p->timer);
	if (err == 0)
		err = tn_timer_repeat(state.loop, state.play->patience_ns, 0, patience, p, &p->patience);
	if (err == 0) {
		p->talk = talk;
		p->at = talk->first;
		p->awaited = server_from(talk->first);
		p->zero_ns = zero_ns;
		p->moved_ns = now_ns();
		p->number = ++state.started;
		err = tn_dial(state.loop, state.play->url, &handler, p, &p->conn);
	}
	if (err < 0) {
		if (p) {
			tn_timer_stop(p->timer);
			tn_timer_stop(p->patience);
			free(p->times);
		}
		free(p);
		return err;
	}
	p->next = state.players;
	p->link = &state.players;
	if (state.players)
		state.players->link = &p->next;
	state.players = p;
	state.active++;
	return 0;
}

/* The conversation behind this one, in this round or the next. NULL: all have been started. */
static void advance(void)
{
	state.next = state.next ? state.next->next : NULL;
	while (state.next && state.next->damaged)
		state.next = state.next->next;
	if (state.next || ++state.round >= state.play->repeat)
		return;
	for (state.next = state.play->talks->first; state.next && state.next->damaged;)
		state.next = state.next->next;
}

static void start_more(void *arg)
{
	(void)arg;
	while (state.next && !state.stopped && (!state.play->conns || state.active < state.play->conns)) {
		uint64_t now = now_ns(), zero = now;

		if (!state.play->closed) {
			zero = state.begin_ns + state.round * state.span_ns +
			       played_ns(state.play->talks->begin_ns, state.next->begin_ns);
			if (zero > now) {
				tn_timer_again(state.starter, zero - now, 0);
				return;
			}
		}
		state.err = player_start(state.next, zero);
		if (state.err < 0) {
			complain_library(state.err, state.play->url);
			state.stopped = true; /* those that end now make no room for another */
			tn_loop_stop(state.loop);
			return;
		}
		advance();
	}
	if (!state.active && (!state.next || state.stopped))
		tn_loop_stop(state.loop);
}

static void on_signal(int nth, void *arg)
{
	(void)nth, (void)arg;
	state.stopped = true;
	state.result->interrupted = true;
	for (struct player *p = state.players, *next; p; p = next) {
		next = p->next;
		p->awaited = NULL;
		player_end(p);
	}
	if (!state.active || nth > 1)
		tn_loop_stop(state.loop);
}

int play_run(struct play *play, struct result *result)
{
	int err = options_loop_new(&state.loop, NULL);

	if (err < 0)
		return err;
	state.play = play;
	state.result = result;
	err = hists_new(&state.sample.hists);
	if (err == 0)
		err = tn_timer_repeat(state.loop, 0, 0, start_more, NULL, &state.starter);
	if (err == 0)
		err = signals_start(state.loop, on_signal, NULL);
	if (err < 0)
		return complain_library(err, NULL), err;
	state.next = play->talks->first;
	while (state.next && state.next->damaged)
		state.next = state.next->next;
	state.begin_ns = state.sample.begin_ns = clock_ns();
	state.span_ns = played_ns(play->talks->begin_ns, play->talks->end_ns);
	result->engine = strdup(tn_loop_engine(state.loop));
	err = tn_loop_run(state.loop);
	end_stretch(clock_ns());
	result->duration_s = (double)(clock_ns() - state.begin_ns) / 1e9;
	result->cpu_s = (double)clock_cpu_ns() / 1e9;
	result->busy = result->cpu_s < result->duration_s ? result->cpu_s / result->duration_s : 1;
	play->sessions = state.started;
	signals_stop();
	tn_timer_stop(state.starter);
	tn_loop_free(state.loop);
	hists_free(&state.sample.hists);
	tn_value_free(state.got);
	tn_value_free(state.was);
	return state.err < 0 ? state.err : err;
}
