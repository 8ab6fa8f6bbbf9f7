#include "pubsub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/human.h"
#include "common/options.h"
#include "common/output.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/text.h"
#include "hub/payload.h"
#include "hub/topics/topics.h"
#include "secrets.h"
#include "tenon.h"
#include "tenon_value.h"
#include "wire.h"

#define FLUSH_AT 65536
#define HEAD "NATS/1.0\r\n"

static struct {
	const char *group, *reply;
	struct login_given login;
	struct text head; /* of all that is published */
	unsigned count;   /* 0: no end */
	uint64_t timeout_ns;
	bool raw, stats;
	unsigned newest; /* messages of each topic that the hub has kept */
} options = {.timeout_ns = 5 * NS_PER_S};

static struct {
	struct tn_loop *loop;
	char **operands; /* behind the URL */
	int count, next; /* of them */
	struct tn_conn *input;
	struct tn_timer *timer;
	struct text out; /* lines that wait for the end of the turn */
	bool posted, subscribed, ending, confirming;
	unsigned asked;             /* wire_confirm(), without an answer yet */
	unsigned long done;         /* published, received, answered */
	unsigned long told;         /* of them in the line before */
	uint64_t bytes, told_bytes; /* of their payloads */
	uint64_t begun_ns, told_ns;
	struct tn_timer *ticks;
	int status;
} state;

/* ---- how it goes ---- */

static void tell(uint64_t since_ns, unsigned long done, uint64_t bytes, const char *more)
{
	uint64_t now_ns = clock_ns();
	double s = now_ns > since_ns ? (double)(now_ns - since_ns) / 1e9 : 1e-9;
	char rate[32], byte_rate[32];

	complain("%s%s messages/s, %s/s", more, human_count((double)done / s, rate, sizeof(rate)),
		 human_bytes((double)bytes / s, byte_rate, sizeof(byte_rate)));
}

/* --stats: what the last second has brought. */
static void on_tick(void *arg)
{
	(void)arg;
	tell(state.told_ns, state.done - state.told, state.bytes - state.told_bytes, "");
	state.told_ns = clock_ns();
	state.told = state.done;
	state.told_bytes = state.bytes;
}

static void tell_all(void)
{
	char bytes[32], words[128];

	snprintf(words, sizeof(words), "%lu messages, %s in %.3g s: ", state.done,
		 human_bytes((double)state.bytes, bytes, sizeof(bytes)), (double)(clock_ns() - state.begun_ns) / 1e9);
	tell(state.begun_ns, state.done, state.bytes, words);
}

static int begin_stats(void)
{
	state.begun_ns = state.told_ns = clock_ns();
	return options.stats ? tn_timer_repeat(state.loop, 1000, 1000, on_tick, NULL, &state.ticks) : 0;
}

/* ---- the end ---- */

static void stop_time(void)
{
	tn_timer_stop(state.timer);
	state.timer = NULL;
}

static void end(int status)
{
	if (state.ending)
		return;
	state.ending = true;
	state.status = status;
	stop_time();
	tn_timer_stop(state.ticks);
	state.ticks = NULL;
	if (state.input)
		tn_conn_detach(state.input);
	state.input = NULL;
	signals_stop();
	wire_close();
	tn_loop_stop(state.loop);
}

static void on_timeout(void *arg)
{
	(void)arg;
	state.timer = NULL;
	complain("no answer within %.3g s", (double)options.timeout_ns / 1e9);
	end(STATUS_TIMEOUT);
}

static void limit_time(void)
{
	stop_time();
	if (options.timeout_ns)
		(void)!tn_timer_start(state.loop, options.timeout_ns / NS_PER_MS + 1, on_timeout, NULL, &state.timer);
}

static void on_over(int err)
{
	if (state.ending)
		return;
	if (err < 0)
		state.status = complain_library(err, NULL);
	else
		complain("the hub has closed the connection");
	end(err < 0 ? state.status : STATUS_FAILED);
}

static void on_refused(const char *why)
{
	complain("the hub: %s", why);
	end(STATUS_REFUSED);
}

/* What one of the commands does. */
struct role {
	struct wire_events events;
	void (*interrupted)(void); /* SIGINT, SIGTERM */
	bool prints;               /* it ends when the reader of what it prints has gone */
	bool timed;                /* --timeout begins with dialling */
	bool wild;                 /* operands are patterns, */
	int most;                  /* of this number, behind the URL */
};

static void on_signal(int nth, void *arg)
{
	const struct role *role = arg;

	(void)nth;
	role->interrupted();
}

static void on_reader_gone(void *arg)
{
	(void)arg;
	end(STATUS_DONE);
}

/* What was asked for cannot be sent: too large, no memory. */
static bool failed(int err)
{
	if (err >= 0)
		return false;
	end(complain_library(err, NULL));
	return true;
}

/* confirmed() is called when the hub has done all up to here. */
static void ask_hub(void)
{
	state.asked++;
	(void)!failed(wire_confirm());
}

/* The headers that were given, before its own; `room` is where the whole lies then. Returns 0 or -ENOMEM. */
static int put_head(struct message *m, struct text *room)
{
	const char *feed = m->head_len ? memchr(m->body.data, '\n', m->head_len) : NULL;
	size_t skipped = feed ? (size_t)(feed + 1 - m->body.data) : m->head_len; /* NATS/1.0 */
	size_t given = options.head.len - (feed ? strlen("\r\n") : 0);           /* its own have such an end too */

	if (!options.head.len)
		return 0;
	text_bytes(room, options.head.data, given);
	if (m->body.len > skipped)
		text_bytes(room, m->body.data + skipped, m->body.len - skipped);
	m->head_len = given + m->head_len - skipped;
	m->body = (struct span){room->data, room->len};
	return room->failed ? -ENOMEM : 0;
}

/* Nothing more is chosen for it. What is on its way comes before the hub confirms that, and is taken as ever. */
static void leave(int subscriptions)
{
	state.confirming = true;
	limit_time();
	for (int i = 0; i < subscriptions && !state.ending; i++)
		(void)!failed(
			wire_unsubscribe((unsigned)i + 1, (struct span){state.operands[i], strlen(state.operands[i])}));
	if (!state.ending)
		ask_hub();
}

/* ---- what comes ---- */

static void flush(void *arg)
{
	(void)arg;
	state.posted = false;
	if (state.out.len && out_bytes(state.out.data, state.out.len) < 0)
		end(STATUS_DONE);
	state.out.len = 0;
}

static void print(const struct message *m)
{
	struct tn_value *map = options.raw ? NULL : payload_value(m, m->topic, false);
	static struct tn_bytes line;

	if (options.raw) {
		if (m->body.len > m->head_len)
			text_bytes(&state.out, m->body.data + m->head_len, m->body.len - m->head_len);
	} else if (map && tn_encode("json", map, 0, &line) == 0) {
		text_bytes(&state.out, line.data, line.len);
	}
	tn_bytes_free(&line);
	tn_value_free(map);
	text_bytes(&state.out, "\n", 1);
	if (state.out.len > FLUSH_AT)
		flush(NULL);
	else if (!state.posted)
		state.posted = tn_loop_post(state.loop, flush, NULL) == 0;
}

static void on_message(const struct message *m)
{
	if (state.ending)
		return;
	print(m);
	state.bytes += m->body.len - m->head_len;
	if (++state.done == options.count)
		end(STATUS_DONE);
}

static void on_reply(const struct message *m)
{
	if (state.ending)
		return;
	if (!m) {
		complain("nobody responds");
		end(STATUS_FAILED);
		return;
	}
	on_message(m);
}

/* A request: it is answered with what was given, or with what it says itself. */
static void on_request(const struct message *m)
{
	struct message answer = {.topic = m->reply, .body = m->body, .head_len = m->head_len};
	struct text room = {0};
	int err;

	if (state.ending || !m->reply.len)
		return;
	if (state.count > 1) {
		answer.body = (struct span){state.operands[1], strlen(state.operands[1])};
		answer.head_len = 0;
	}
	err = put_head(&answer, &room);
	if (err == 0)
		err = wire_publish(&answer);
	text_free(&room);
	if (!failed(err))
		state.done++;
	if (!state.ending && state.done == options.count && !state.confirming)
		leave(1);
}

/* ---- what goes ---- */

/* With the headers that were given. Returns as tn_send(). */
static int send_payload(const void *data, size_t len, bool asks)
{
	struct message m = {.topic = {state.operands[0], strlen(state.operands[0])}, .body = {data, len}};
	struct text room = {0};
	int err = put_head(&m, &room);

	if (options.reply)
		m.reply = (struct span){options.reply, strlen(options.reply)};
	if (err == 0)
		err = asks ? wire_request(&m) : wire_publish(&m);
	state.bytes += err >= 0 && !asks ? len : 0;
	text_free(&room);
	return err;
}

static void confirm(void)
{
	if (state.confirming)
		return;
	state.confirming = true;
	limit_time();
	ask_hub();
}

/* The end of the input: of what was taken, the hub confirms all. Otherwise something is not there yet. */
static void pub_interrupted(void)
{
	if (!state.input) {
		end(STATUS_FAILED);
		return;
	}
	tn_conn_detach(state.input);
	state.input = NULL;
	confirm();
}

static void publish_operands(void)
{
	int err = 0;

	while (err == 0 && ++state.next < state.count) {
		err = send_payload(state.operands[state.next], strlen(state.operands[state.next]), false);
		state.done += err >= 0;
	}
	if (!failed(err) && state.next >= state.count)
		confirm();
}

static void on_line(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	int err = send_payload(msg->data, msg->len, false);

	(void)arg;
	if (failed(err))
		return;
	state.done++;
	if (err == 1)
		tn_pause(conn);
}

static void on_input_over(struct tn_conn *conn, int err, void *arg)
{
	(void)conn;
	(void)arg;
	if (state.ending)
		return;
	state.input = NULL;
	if (!failed(err))
		confirm();
}

static void pub_room(void)
{
	if (state.input)
		tn_resume(state.input);
	else if (!state.confirming)
		publish_operands();
}

static void pub_ready(void)
{
	static const struct tn_handler input = {.on_msg = on_line, .on_close = on_input_over};

	stop_time(); /* the input may take as long as it likes */
	if (state.count > 1)
		publish_operands();
	else
		(void)!failed(tn_dial(state.loop, "fd:0?frame=line&max=64MiB", &input, NULL, &state.input));
}

static void pub_confirmed(void)
{
	if (settings.verbose)
		complain("published: %lu", state.done);
	end(STATUS_DONE);
}

static void sub_ready(void)
{
	state.subscribed = true;
	for (int i = 0; i < state.count && !state.ending; i++)
		(void)!failed(wire_subscribe((struct span){state.operands[i], strlen(state.operands[i])},
					     (struct span){options.group, options.group ? strlen(options.group) : 0},
					     options.newest, options.count));
	if (!state.ending)
		ask_hub();
}

static void sub_confirmed(void)
{
	if (--state.asked == 0 && state.confirming)
		end(STATUS_DONE);
	else if (settings.verbose)
		complain("subscribed");
}

/* Of `subscriptions`, what is on its way is taken first, unless the hub was asked for that already. */
static void interrupted(int subscriptions)
{
	if (subscriptions && state.subscribed && !state.confirming)
		leave(subscriptions);
	else
		end(state.confirming ? STATUS_FAILED : STATUS_DONE);
}

/* What was chosen for it of a group's messages, nobody else gets. */
static void sub_interrupted(void)
{
	interrupted(options.group ? state.count : 0);
}

/* Who has asked it waits for an answer. */
static void reply_interrupted(void)
{
	interrupted(1);
}

static void reply_ready(void)
{
	state.subscribed = true;
	state.count = state.count > 1 ? 2 : 1;
	(void)!failed(wire_subscribe((struct span){state.operands[0], strlen(state.operands[0])},
				     (struct span){options.group, options.group ? strlen(options.group) : 0},
				     options.newest, 0));
	if (!state.ending)
		ask_hub();
}

static void request_ready(void)
{
	const char *payload = state.count > 1 ? state.operands[1] : "";

	if (!options.count)
		options.count = 1;
	(void)!failed(send_payload(payload, strlen(payload), true));
}

static void request_interrupted(void)
{
	end(STATUS_FAILED);
}

/* ---- all of it ---- */

static bool is_fine(const char *topic, bool wild)
{
	size_t len = strlen(topic);

	if (wild ? topic_is_pattern(topic, len) : topic_is_literal(topic, len))
		return true;
	complain("'%s' is no %s", topic, wild ? "pattern (a.b, a.*, a.>)" : "topic (words with dots between them)");
	return false;
}

static int run_loop(const char *url, const struct role *role, const struct nats_login *login)
{
	int err = options_loop_new(&state.loop, "epoll"), status;

	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	status = wire_dial(state.loop, url, &role->events, login);
	if (status == STATUS_DONE) {
		err = signals_start(state.loop, on_signal, (void *)(uintptr_t)role);
		if (err >= 0 && role->prints)
			err = out_watch(state.loop, on_reader_gone, NULL);
		if (err >= 0)
			err = begin_stats();
		if (role->timed)
			limit_time();
		if (err >= 0)
			err = tn_loop_run(state.loop);
		status = err < 0 ? complain_library(err, NULL) : state.status;
	}
	flush(NULL);
	if (options.stats)
		tell_all();
	state.ending = true;
	out_unwatch();
	signals_stop();
	tn_loop_free(state.loop);
	return status;
}

static int run(char **operands, int count, const struct role *role)
{
	const char *name = role->wild ? "PATTERN" : "TOPIC";
	struct secrets login;
	int status;

	if (count < 2 || count > 1 + role->most) {
		complain(count < 2 ? "URL and %s are needed" : "too many arguments behind %s", name);
		return STATUS_USAGE;
	}
	state.operands = operands + 1;
	state.count = count - 1;
	for (int i = 0; i < (role->wild && role->most > 2 ? state.count : 1); i++)
		if (!is_fine(state.operands[i], role->wild))
			return STATUS_USAGE;
	if (options.newest && wire_is_nats(operands[0])) {
		complain("%s: NATS clients get no earlier messages", operands[0]);
		return STATUS_USAGE;
	}
	if (options.reply && !is_fine(options.reply, false))
		return STATUS_USAGE;
	if (options.group && !topic_is_name(options.group, strlen(options.group))) {
		complain("--group: '%s' is no name (one word)", options.group);
		return STATUS_USAGE;
	}
	if (options.head.len)
		text_add(&options.head, "\r\n");
	status = secrets_read(&login, &options.login, wire_is_nats(operands[0]));
	if (status == STATUS_DONE)
		status = run_loop(operands[0], role, &login.login);
	secrets_forget(&login);
	text_free(&options.head);
	text_free(&state.out);
	return status;
}

static int run_pub(char **operands, int count)
{
	static const struct role role = {.events = {.ready = pub_ready,
						    .confirmed = pub_confirmed,
						    .room = pub_room,
						    .refused = on_refused,
						    .over = on_over},
					 .interrupted = pub_interrupted,
					 .timed = true,
					 .most = 1 << 20};

	return run(operands, count, &role);
}

static int run_sub(char **operands, int count)
{
	static const struct role role = {.events = {.ready = sub_ready,
						    .message = on_message,
						    .confirmed = sub_confirmed,
						    .refused = on_refused,
						    .over = on_over},
					 .interrupted = sub_interrupted,
					 .prints = true,
					 .wild = true,
					 .most = 1 << 20};

	return run(operands, count, &role);
}

static int run_request(char **operands, int count)
{
	static const struct role role = {
		.events = {.ready = request_ready, .reply = on_reply, .refused = on_refused, .over = on_over},
		.interrupted = request_interrupted,
		.prints = true,
		.timed = true,
		.most = 2};

	return run(operands, count, &role);
}

static int run_reply(char **operands, int count)
{
	static const struct role role = {.events = {.ready = reply_ready,
						    .message = on_request,
						    .confirmed = sub_confirmed,
						    .refused = on_refused,
						    .over = on_over},
					 .interrupted = reply_interrupted,
					 .wild = true,
					 .most = 2};

	return run(operands, count, &role);
}

/* ---- options ---- */

/* NAME: VALUE */
static const char *add_header(const char *value, void *to)
{
	const char *colon = strchr(value, ':'), *text = colon ? colon + 1 : NULL;
	struct text *head = to;

	if (!colon || colon == value || strpbrk(value, "\r\n"))
		return "is no NAME:VALUE";
	text += *text == ' ';
	text_add(head, "%s%.*s: %s\r\n", head->len ? "" : HEAD, (int)(colon - value), value, text);
	return head->failed ? "finds no memory" : NULL;
}

static const char *set_last(const char *value, void *to)
{
	(void)value;
	*(unsigned *)to = 1;
	return NULL;
}

#define LOGIN_OPTIONS                                                                                            \
	{"login", 0, OPTION_VALUE, option_set_text, &options.login.name, "NAME", "log in as this user"},         \
		{"password-file",                                                                                \
		 0,                                                                                              \
		 OPTION_VALUE,                                                                                   \
		 option_set_text,                                                                                \
		 &options.login.password_file,                                                                   \
		 "FILE",                                                                                         \
		 "with the password in the first line of this file"},                                            \
		{"token-file",                                                                                   \
		 0,                                                                                              \
		 OPTION_VALUE,                                                                                   \
		 option_set_text,                                                                                \
		 &options.login.token_file,                                                                      \
		 "FILE",                                                                                         \
		 "log in by the token in the first line of this file"},                                          \
	{                                                                                                        \
		"login-file", 0, OPTION_VALUE, option_set_text, &options.login.file, "FILE",                     \
			"log in as this file says: user:password, a token; NATS: the seed of an nkey, or .creds" \
	}

static const struct option_spec pub_options[] = {
	{"header", 'H', OPTION_VALUES, add_header, &options.head, "NAME:VALUE", "a header of each message"},
	{"reply", 0, OPTION_VALUE, option_set_text, &options.reply, "TOPIC", "where replies are wanted"},
	{"stats", 0, OPTION_ALONE, option_set_flag, &options.stats, NULL,
	 "tell how many messages and bytes a second go, once a second, and all of it at the end"},
	{"timeout", 't', OPTION_VALUE, option_set_duration, &options.timeout_ns, "DUR",
	 "give up when the hub is not there, or does not confirm, within this time (default 5s; 0: never)"},
	LOGIN_OPTIONS,
	{0},
};

static const struct option_spec sub_options[] = {
	{"group", 'g', OPTION_VALUE, option_set_text, &options.group, "NAME",
	 "share the messages with all of this queue group"},
	{"last", 0, OPTION_ALONE, set_last, &options.newest, NULL, "begin with the last message of each topic"},
	{"history", 0, OPTION_VALUE, option_set_number, &options.newest, "N",
	 "begin with the last N messages of each topic, if the hub has kept them"},
	{"count", 'c', OPTION_VALUE, option_set_number, &options.count, "N", "end after N messages"},
	{"stats", 0, OPTION_ALONE, option_set_flag, &options.stats, NULL,
	 "tell how many messages and bytes a second come, once a second, and all of it at the end"},
	{"raw", 0, OPTION_ALONE, option_set_flag, &options.raw, NULL, "print payloads alone, one a line"},
	LOGIN_OPTIONS,
	{0},
};

static const struct option_spec request_options[] = {
	{"header", 'H', OPTION_VALUES, add_header, &options.head, "NAME:VALUE", "a header of the request"},
	{"count", 'c', OPTION_VALUE, option_set_number, &options.count, "N", "wait for N replies (default 1)"},
	{"timeout", 't', OPTION_VALUE, option_set_duration, &options.timeout_ns, "DUR",
	 "give up after this time (default 5s; 0: never)"},
	{"raw", 0, OPTION_ALONE, option_set_flag, &options.raw, NULL, "print payloads alone, one a line"},
	LOGIN_OPTIONS,
	{0},
};

static const struct option_spec reply_options[] = {
	{"group", 'g', OPTION_VALUE, option_set_text, &options.group, "NAME",
	 "share the requests with all of this queue group"},
	{"header", 'H', OPTION_VALUES, add_header, &options.head, "NAME:VALUE", "a header of each reply"},
	{"count", 'c', OPTION_VALUE, option_set_number, &options.count, "N", "end after N replies"},
	LOGIN_OPTIONS,
	{0},
};

const struct command pub_command = {
	.name = "pub",
	.meaning = "publish messages to a topic of a hub",
	.help = "Examples:\n"
		"  tenon pub nats://localhost sensors.kitchen.temp '{\"c\":21.5}'\n"
		"  tail -f app.log | tenon pub tcp://localhost:7300 logs.app\n"
		"\n"
		"Usage:\n"
		"  tenon pub URL TOPIC [PAYLOAD...]\n"
		"\n"
		"Publishes each PAYLOAD as a message, or without one each line of standard input. Ends when the hub\n"
		"has got all of it.\n",
	.options = pub_options,
	.run = run_pub,
};

const struct command sub_command = {
	.name = "sub",
	.meaning = "print the messages of topics of a hub",
	.help = "Examples:\n"
		"  tenon sub nats://localhost 'sensors.*.temp'\n"
		"  tenon sub tcp://localhost:7300 'logs.>' --raw\n"
		"  tenon sub nats://localhost jobs --group workers --count 1\n"
		"\n"
		"Usage:\n"
		"  tenon sub URL PATTERN...\n"
		"\n"
		"Prints each message as an object of JSON, one a line, until SIGINT.\n",
	.options = sub_options,
	.run = run_sub,
};

const struct command request_command = {
	.name = "request",
	.meaning = "ask who has subscribed to a topic of a hub",
	.help = "Examples:\n"
		"  tenon request nats://localhost time.now --raw\n"
		"  tenon request tcp://localhost:7300 add '[1, 2]' --timeout 500ms\n"
		"\n"
		"Usage:\n"
		"  tenon request URL TOPIC [PAYLOAD]\n"
		"\n"
		"Publishes a request and prints the reply. Exit status 1: nobody responds; 3: no reply in time.\n",
	.options = request_options,
	.run = run_request,
};

const struct command reply_command = {
	.name = "reply",
	.meaning = "answer requests at topics of a hub",
	.help = "Examples:\n"
		"  tenon reply nats://localhost echo\n"
		"  tenon reply tcp://localhost:7300 'status.>' '{\"ok\":true}' --group status\n"
		"\n"
		"Usage:\n"
		"  tenon reply URL PATTERN [PAYLOAD]\n"
		"\n"
		"Answers each request with PAYLOAD, or without one with what it says itself, until SIGINT.\n",
	.options = reply_options,
	.run = run_reply,
};
