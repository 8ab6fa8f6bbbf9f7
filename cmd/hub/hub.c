/* tenon hub: what is served, by which doors, and how it ends. */
#include "hub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/file_limit.h"
#include "common/json.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/options.h"
#include "common/output.h"
#include "common/sandbox.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/text.h"
#include "common/workers.h"
#include "door.h"
#include "events.h"
#include "exchange.h"
#include "history.h"
#include "inspect/bind_error.h"
#include "join.h"
#include "login.h"
#include "plan.h"
#include "tenon.h"
#include "tenon_value.h"
#include "url.h"
#include "users.h"

#define LISTEN_MAX 64
#define BESIDE (64 << 10) /* bytes: the line of a NATS message, two topics, members of an object */

/* Doors that a URL asks for by what stands in front of it: "nats://" is NATS over TCP, "nats+tls://" over TLS, and so
 * on. All other URLs are for the last one. */
static const struct row {
	const char *prefix;
	const struct door *door;
	const char *port; /* where a URL has none */
	int kind;         /* without a prefix: bits of tn_url_kind(); 0: all that are left */
} doors[] = {
	{"nats", &nats_door, "4222", 0},
	{NULL, &sse_door, NULL, TN_URL_HTTP},
	{NULL, &json_door, NULL, 0},
};

#define ADDED_MAX 4

static struct row added[ADDED_MAX]; /* by hub_add_door() */
static int nadded;

void hub_add_door(const char *prefix, const struct door *door, const char *port)
{
	if (nadded < ADDED_MAX)
		added[nadded++] = (struct row){prefix, door, port, 0};
}

struct listener {
	struct exchange_listener how; /* first: exchange_handler */
	const struct row *row;
	char *url; /* of the library */
	struct tn_server *server;
	bool over;
};

static struct {
	unsigned threads, max_conns;
	uint64_t drain_ns, payload, waits;
	struct privileges_user user;
	bool no_sandbox, open, tls_optional;
	const char *users;
} options = {.threads = 1, .drain_ns = 5 * NS_PER_S};

static struct {
	struct listener listeners[LISTEN_MAX];
	int count, open;
	uint64_t closed_ns; /* when it began to end */
	bool closing;
} state;

/* ---- URLs ---- */

static const struct row *row_of(const char *url)
{
	const struct row *row = doors;
	int kind = tn_url_kind(url);

	for (int i = 0; i < nadded; i++)
		if (url_is_of(url, added[i].prefix))
			return &added[i];
	while (row->prefix ? !url_is_of(url, row->prefix) : row->kind && (kind < 0 || !(kind & row->kind)))
		row++;
	return row;
}

static int no_memory(void)
{
	complain("hub: out of memory");
	return STATUS_FAILED;
}

/* The library does not know what is in front of its own URLs. */
static void hint_door(const char *url)
{
	const char *colon = strchr(url, ':'), *near = NULL;
	char word[16];

	if (colon && (size_t)(colon - url) < sizeof(word)) {
		snprintf(word, sizeof(word), "%.*s", (int)(colon - url), url);
		near = tn_nearest(word, &doors[0].prefix, 1);
	}
	if (near && strcmp(near, word) != 0)
		complain_hint("%s%s", near, colon);
}

/* Objects are to be read: JSON, if the URL does not say otherwise. */
static int check_format(struct listener *listener, const char *given)
{
	struct tn_split *split;
	const char *format;
	int kind, err = tn_split_new(listener->url, &split);

	if (err < 0)
		return complain_library(err, listener->url);
	format = tn_split_format(split);
	kind = format ? tn_format_kind(format) : TN_FORMAT_VALUES;
	tn_split_free(split);
	if (!(kind & TN_FORMAT_VALUES)) {
		complain("hub: %s: messages of format %s are no objects", given, format);
		return STATUS_USAGE;
	}
	if (!format)
		listener->url = url_with(listener->url, "format=json");
	return listener->url ? STATUS_DONE : no_memory();
}

/* A door that has bytes of its own cannot use what the library would make of them. */
static int check(struct listener *listener, const char *given)
{
	int messages, kind;

	if (tn_url_check(listener->url, TN_SERVE) < 0) {
		int status = complain_library(TN_EURL, listener->url);

		hint_door(given);
		return status;
	}
	messages = tn_url_keeps_messages(listener->url);
	kind = tn_url_kind(listener->url);
	listener->how.secure = kind > 0 && kind & TN_URL_SECURE;
	if (kind > 0 && kind & (TN_URL_BELOW | TN_URL_DATAGRAMS)) {
		complain("hub: %s carries datagrams, among which some can be lost", given);
		return STATUS_USAGE;
	}
	if (!listener->how.door->framed && messages > 0) {
		complain("hub: %s carries messages; %s is a stream of bytes", given, listener->how.door->name);
		return STATUS_USAGE;
	}
	if (listener->how.door->framed && messages <= 0) {
		complain("hub: %s does not say where messages end", given);
		complain_hint("key frame=line, or nats:// for the NATS protocol");
		return STATUS_USAGE;
	}
	return listener->how.door->formats ? check_format(listener, given) : STATUS_DONE;
}

/*
 * What a connection sends in one piece must fit, or a client would miss it: the longest message with what stands around
 * it; as an object twice that, since bytes are longer in base64, and text with escapes.
 */
static int set_longest(struct listener *listener, const char *given)
{
	bool bytes = !listener->how.door->framed;
	char key[32];
	int rc = tn_url_has_key(listener->url, "max");

	if (rc > 0 && bytes) {
		complain("hub: %s: key max is not for %s", given, listener->how.door->name);
		complain_hint("--max-payload");
		return STATUS_USAGE;
	}
	if (rc > 0)
		return STATUS_DONE;
	snprintf(key, sizeof(key), "max=%zu", ((size_t)exchange_plan.payload << !bytes) + BESIDE);
	listener->url = url_with(listener->url, key);
	return listener->url ? STATUS_DONE : no_memory();
}

static int add(const char *url)
{
	struct listener *listener = &state.listeners[state.count];
	int status;

	if (state.count == LISTEN_MAX) {
		complain("hub: more than %d URLs", LISTEN_MAX);
		return STATUS_USAGE;
	}
	listener->row = row_of(url);
	listener->how.door = listener->row->door;
	listener->how.optional = options.tls_optional;
	listener->url = listener->row->prefix
				? url_under(url, listener->row->prefix, listener->row->port, &listener->how.late)
				: strdup(url);
	if (!listener->url)
		return no_memory();
	state.count++;
	status = check(listener, url);
	return status == STATUS_DONE ? set_longest(listener, url) : status;
}

/* ---- serving ---- */

static void on_server_closed(void *arg)
{
	struct listener *listener = arg;

	listener->over = true;
	admin_closed(listener->server);
	if (--state.open == 0) {
		uint64_t gone = clock_ns() - state.closed_ns;

		join_finish(gone < options.drain_ns ? options.drain_ns - gone : 0, workers_stop);
	}
}

static void close_all(void)
{
	if (state.closing)
		return;
	state.closing = true;
	state.closed_ns = clock_ns();
	exchange_leave();
	admin_draining();
	notify_stopping(options.drain_ns);
	for (int i = 0; i < state.count; i++)
		tn_server_close(state.listeners[i].server, options.drain_ns / NS_PER_MS, on_server_closed,
				&state.listeners[i]);
}

/* False: an error has been printed. */
static bool read_users(void)
{
	int fd = options.users ? broker_open(options.users, TN_FILE_READ) : 0;
	const char *why = fd < 0 ? tn_strerror(fd) : options.users ? users_read(fd) : NULL;

	if (why)
		complain("%s: %s", options.users, why);
	return !why;
}

static void on_hangup(void *arg)
{
	(void)arg;
	notify_reloading();
	log_reopen();
	exchange_users_settle();
	if (options.users && read_users())
		exchange_users_changed();
	else if (options.users)
		complain_warning("the users that were read before stay");
	for (int i = 0; i < state.count; i++) {
		const struct listener *listener = &state.listeners[i];
		int err = listener->over || state.closing ? -EOPNOTSUPP : tn_server_reload(listener->server);

		if (err < 0 && err != -EOPNOTSUPP)
			complain("%s; what was read before stays in use", tn_errmsg());
	}
	notify_reloaded();
}

/* Whether others than this machine's own programs can come there. */
static bool is_open(const struct tn_server *server)
{
	for (int i = 0; i < tn_server_nurls(server); i++) {
		const char *url = tn_server_url(server, i), *host = strstr(url, "://");

		if (tn_url_kind(url) > 0 && tn_url_kind(url) & (TN_URL_LOCAL | TN_URL_INHERITED))
			continue;
		if (!host || (strncmp(host + 3, "127.", 4) != 0 && strncmp(host + 3, "[::1]", 5) != 0))
			return true;
	}
	return false;
}

static int serve_one(struct listener *listener)
{
	int err = tn_serve_loops(workers_loops(), workers_count(), listener->url, &exchange_handler, listener,
				 &listener->server);

	if (err < 0) {
		int status = complain_library(err, listener->url);

		bind_error_explain(err, listener->url);
		return status;
	}
	state.open++;
	err = listener->how.late ? tn_server_tls_later(listener->server, listener->how.optional) : 0;
	if (err < 0)
		return complain_library(err, listener->url);
	if (!options.users && !options.open && is_open(listener->server)) {
		complain("hub: %s is open to the network, and everybody there may publish and subscribe",
			 listener->url);
		complain_hint("--users FILE, or --open if that is meant");
		return STATUS_USAGE;
	}
	tn_server_limit(listener->server, options.max_conns);
	hub_events_watch(listener->server);
	admin_add(listener->server, listener->how.door->name);
	return STATUS_DONE;
}

/* ---- what is told over HTTP ---- */

static void value(struct text *out, bool open, const char *name, const char *type, const char *help, uint64_t number)
{
	metrics_family(out, open, name, type, help);
	text_add(out, "%s %llu\n", name, (unsigned long long)number);
}

static void told_metrics(struct text *out, bool open)
{
	struct exchange_counts counts;

	exchange_count(&counts);
	value(out, open, "tenon_hub_published_total", "counter", "Messages that were published.", counts.published);
	value(out, open, "tenon_hub_delivered_total", "counter", "Messages that subscribers were sent.",
	      counts.delivered);
	value(out, open, "tenon_hub_dropped_total", "counter", "Messages that slow subscribers missed.",
	      counts.dropped);
	value(out, open, "tenon_hub_slow_clients_total", "counter", "Slow clients that were cut off.", counts.cut);
	value(out, open, "tenon_hub_subscriptions", "gauge", "Subscriptions that there are.", counts.subscriptions);
	join_metrics(out, open);
}

static void topic_json(const char *pattern, size_t len, uint32_t count, void *arg)
{
	json_object(arg, NULL);
	json_key(arg, "topic");
	json_string(arg, pattern, len);
	json_number(arg, "subscriptions", count);
	json_object_end(arg);
}

static void told_status(struct text *out)
{
	struct exchange_counts counts;

	exchange_count(&counts);
	json_number(out, "published", counts.published);
	json_number(out, "delivered", counts.delivered);
	json_number(out, "dropped", counts.dropped);
	json_number(out, "cut", counts.cut);
	json_number(out, "subscriptions", counts.subscriptions);
	json_list(out, "topics");
	exchange_topics(topic_json, out);
	json_list_end(out);
	join_status(out);
}

static const struct admin_more told = {.metrics = told_metrics, .status = told_status};

static int begin(void)
{
	int err = workers_new(options.threads), status = STATUS_DONE;

	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	notify_open();
	err = workers_end_on_signals(close_all);
	if (err >= 0)
		err = signals_on_hangup(workers_loops()[0], on_hangup, NULL);
	if (err < 0)
		return complain_library(err, NULL);
	if (exchange_new(workers_loops(), workers_count()) < 0 || join_open(workers_loops()[0]) < 0)
		return no_memory();
	for (int i = 0; i < state.count && status == STATUS_DONE; i++)
		status = serve_one(&state.listeners[i]);
	if (status == STATUS_DONE)
		status = admin_open("hub", &told);
	if (status == STATUS_DONE)
		privileges_hold_keys();
	return status;
}

static int confine(void)
{
	static struct sandbox box;
	enum tn_file_use use;
	const char *path;

	if (options.no_sandbox)
		return STATUS_DONE;
	box.user = options.user.name ? &options.user : NULL;
	if (options.users)
		sandbox_allow(&box, options.users, TN_FILE_READ);
	for (int i = 0; i < state.count; i++)
		for (int n = 0; tn_server_file(state.listeners[i].server, n, &path, &use) == 0; n++)
			sandbox_allow(&box, path, use);
	join_allow(&box);
	admin_allow(&box);
	log_allow(&box);
	return sandbox_enter(&box);
}

/* As the client's URL has it: the door's prefix, and the address that is served. */
static void report(const struct listener *listener)
{
	for (int i = 0; i < tn_server_nurls(listener->server); i++) {
		const char *url = tn_server_url(listener->server, i), *rest = strstr(url, "://");
		char *full = NULL;

		if (!listener->row->prefix)
			full = strdup(url);
		else if ((tn_url_kind(url) == 0 || listener->how.late) && rest)
			full = asprintf(&full, "%s%s", listener->row->prefix, rest) < 0 ? NULL : full;
		else
			full = asprintf(&full, "%s+%s", listener->row->prefix, url) < 0 ? NULL : full;
		hub_events_listening(full ? full : url, listener->how.door->name);
		free(full);
	}
}

static void worker_end(int index)
{
	for (size_t i = 0; i < sizeof(doors) / sizeof(doors[0]); i++)
		if (doors[i].door->forget)
			doors[i].door->forget();
	for (int i = 0; i < nadded; i++)
		if (added[i].door->forget)
			added[i].door->forget();
	exchange_end(index);
	if (index)
		return;
	join_close();
	admin_close();
	notify_close();
	out_unwatch();
	log_stop();
	signals_stop();
}

static int run_all(void)
{
	static const struct workers_hooks hooks = {.begin = exchange_begin, .end = worker_end};
	struct exchange_counts counts;
	int status;

	for (int i = 0; i < state.count; i++)
		report(&state.listeners[i]);
	admin_ready();
	log_ready();
	notify_ready();
	if (settings.json)
		workers_watch_reader(close_all);
	status = workers_run(&hooks) < 0 ? STATUS_FAILED : STATUS_DONE;
	exchange_count(&counts);
	hub_events_stopped(&counts);
	out_thread_stop();
	return status;
}

static int run(char **operands, int count)
{
	int status = STATUS_DONE;

	if (!count) {
		complain("hub: there is nothing to listen on");
		complain_hint("%s hub nats://localhost", settings.program);
		return STATUS_USAGE;
	}
	if (tn_format_kind("json") < 0) { /* every door has it somewhere */
		complain("hub: this build has no JSON");
		return STATUS_FAILED;
	}
	for (int i = 0; i < count && status == STATUS_DONE; i++)
		status = add(operands[i]);
	if (status == STATUS_DONE && !read_users())
		status = STATUS_USAGE;
	if (status == STATUS_DONE)
		status = log_open();
	if (status == STATUS_DONE)
		status = join_check();
	if (status == STATUS_DONE) {
		file_limit_raise(NULL);
		status = begin();
		if (status == STATUS_DONE)
			status = confine();
		if (status == STATUS_DONE) {
			status = run_all();
		} else {
			admin_close();
			notify_close();
			signals_stop();
			join_close();
			workers_free();
		}
		sandbox_leave();
		exchange_free();
		login_end();
		users_free();
	}
	history_free();
	log_close();
	join_free();
	for (int i = 0; i < state.count; i++)
		free(state.listeners[i].url);
	return status;
}

/* ---- options ---- */

static const char *add_rule(const char *value, void *to)
{
	(void)to;
	return history_rule(value);
}

static const char *add_join(const char *value, void *to)
{
	(void)to;
	return join_add(value);
}

static const char *add_local(const char *value, void *to)
{
	(void)to;
	return join_add_local(value);
}

static const char *set_groups(const char *value, void *to)
{
	*(bool *)to = strcmp(value, "here") == 0;
	return *(bool *)to || strcmp(value, "once") == 0 ? NULL : "is neither once nor here";
}

static const char *set_size(const char *value, uint64_t least, uint64_t most, uint64_t *to)
{
	int err = tn_parse_size(value, to);

	if (err == -EINVAL)
		return "is not a size (4096, 64KiB, 1MiB)";
	return err < 0 || *to < least || *to > most ? "is out of range" : NULL;
}

static const char *set_payload(const char *value, void *to)
{
	uint64_t size;
	const char *why = set_size(value, 1, 64 << 20, &size);

	*(uint32_t *)to = why ? 0 : (uint32_t)size;
	return why;
}

static const char *set_waits(const char *value, void *to)
{
	uint64_t size;
	const char *why = set_size(value, 1024, UINT64_C(1) << 40, &size);

	*(size_t *)to = why ? 0 : (size_t)size;
	return why;
}

static const char *set_join_queue(const char *value, void *to)
{
	uint64_t size;
	const char *why = set_size(value, 64 << 10, UINT64_C(1) << 40, &size);

	*(size_t *)to = why ? 0 : (size_t)size;
	return why;
}

static const char *set_slow(const char *value, void *to)
{
	static const char *const names[] = {
		[SLOW_CUT] = "cut",
		[SLOW_OLDEST] = "drop-oldest",
		[SLOW_NEWEST] = "drop-newest",
		[SLOW_LAST] = "last",
	};

	for (int i = 0; i < 4; i++)
		if (strcmp(value, names[i]) == 0) {
			*(enum slow *)to = (enum slow)i;
			return NULL;
		}
	return "is none of cut, drop-oldest, drop-newest, last";
}

static const char *set_name(const char *value, void *to)
{
	size_t len = strlen(value);

	if (!len || len > 63 ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != len)
		return "is not a name of up to 63 letters, digits, '-', '_' and '.'";
	return option_set_text(value, to);
}

static const struct option_spec own_options[] = {
	{"name", 'n', OPTION_VALUE, set_name, &exchange_plan.name, "NAME",
	 "how the hub calls itself to its clients (default: made up at each start)"},
	{"users", 'u', OPTION_VALUE, option_set_text, &options.users, "FILE",
	 "who may come in, and what each may do; without it everybody may do everything"},
	{"open", 0, OPTION_ALONE, option_set_flag, &options.open, NULL,
	 "let everybody in from the network too, without --users"},
	{"tls-optional", 0, OPTION_ALONE, option_set_flag, &options.tls_optional, NULL,
	 "clients of nats:// with a certificate may go on without TLS"},
	{"topic", 0, OPTION_VALUES, add_rule, NULL, "RULE",
	 "PATTERN?history=N&age=DUR&last=on&bytes=SIZE&format=NAME: what of these topics stays for subscribers to "
	 "come, and the format of their payloads"},
	{"max-payload", 0, OPTION_VALUE, set_payload, &exchange_plan.payload, "SIZE",
	 "longest message, headers included (default 1MiB)"},
	{"slow", 0, OPTION_VALUE, set_slow, &exchange_plan.slow, "HOW",
	 "what becomes of a subscriber that reads too slowly: cut (default), or of its messages: drop-oldest, "
	 "drop-newest, last (of each topic only the newest waits)"},
	{"backlog", 0, OPTION_VALUE, set_waits, &exchange_plan.waits, "SIZE",
	 "so much waits for one subscriber at most (default 8MiB)"},
	{"slow-after", 0, OPTION_VALUE, option_set_duration, &exchange_plan.deadline_ns, "DUR",
	 "cut off a subscriber that has had no room for so long (default 10s; 0: never)"},
	{"max-subscriptions", 0, OPTION_VALUE, option_set_number, &exchange_plan.subscriptions, "N",
	 "subscriptions of one client (default: no limit)"},
	{"max-conns", 'm', OPTION_VALUE, option_set_number, &options.max_conns, "N",
	 "clients at a time on each URL (default: no limit)"},
	{"join", 0, OPTION_VALUES, add_join, NULL, "URL,...",
	 "be a client of this NATS cluster too: what is published goes there, what somebody wants here is "
	 "subscribed to there"},
	{"join-login", 0, OPTION_VALUE, option_set_text, &join_plan.login, "FILE",
	 "who the hub is to the cluster: user:password, a token, an nkey's seed, or a file of credentials"},
	{"join-queue", 0, OPTION_VALUE, set_join_queue, &join_plan.queue, "SIZE",
	 "so much waits at most while no server of the cluster is there (default 64MiB)"},
	{"join-groups", 0, OPTION_VALUE, set_groups, &join_plan.here, "HOW",
	 "who of a queue group gets a message: once (default): one, here or elsewhere, as the cluster chooses; "
	 "here: one here at once, and one elsewhere too"},
	{"local", 0, OPTION_VALUES, add_local, NULL, "PATTERN", "topics that stay here, with --join"},
	{"number", 0, OPTION_ALONE, option_set_flag, &join_plan.number, NULL,
	 "number what goes to the cluster, in a header, so that other hubs find what is missing"},
	{"threads", 0, OPTION_VALUE, workers_set_count, &options.threads, "N",
	 "event loops, each in a thread of its own; auto: one for each processor (default 1)"},
	{"drain", 0, OPTION_VALUE, option_set_duration, &options.drain_ns, "DUR",
	 "time for clients to leave and to get what waits for them when the hub ends (default 5s)"},
	{"user", 0, OPTION_VALUE, privileges_set, &options.user, "NAME",
	 "user to become once the sockets are bound (default for root: who called sudo, or nobody)"},
	{"no-sandbox", 0, OPTION_ALONE, option_set_flag, &options.no_sandbox, NULL,
	 "keep root, access to files, and all system calls"},
	{"admin", 0, OPTION_VALUES, admin_set, NULL, "URL", ADMIN_MEANING},
	{"log", 0, OPTION_VALUE, log_set_form, NULL, "FORM", LOG_MEANING},
	{"log-level", 0, OPTION_VALUE, log_set_level, NULL, "LEVEL", LOG_LEVEL_MEANING},
	{"log-file", 0, OPTION_VALUE, log_set_file, NULL, "FILE", LOG_FILE_MEANING},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json, NULL, "events as JSON objects, one a line"},
	{0},
};

const struct command hub_command = {
	.name = "hub",
	.meaning = "publish and subscribe: one message to many",
	.help = "Examples:\n"
		"  tenon hub nats://localhost\n"
		"  tenon hub 'nats://*:4222' nats+unix:/run/hub.sock --users hub.users --threads auto\n"
		"  tenon hub 'tcp://localhost:7300?frame=line' ws://localhost:8080/hub http://localhost:8081\n"
		"  tenon hub nats://localhost --slow drop-oldest --backlog 1MiB\n"
		"  tenon hub nats://localhost:4223 --join nats://n1,nats://n2,nats://n3 --number\n"
		"\n"
		"Usage:\n"
		"  tenon hub URL...\n"
		"\n"
		"Clients of a URL that begins with nats:// (with key cert: TLS, as clients of NATS begin it;\n"
		"nats+tls://: TLS from the first byte; nats+unix:)\n"
		"speak the NATS client protocol, without JetStream. Those of any other URL, which keeps messages,\n"
		"speak JSON (or another format): {\"sub\":\"a.*\"}, {\"pub\":\"a.b\",\"data\":1}.\n"
		"\n"
		"A message is published to a topic, words with dots between them (sensors.kitchen.temp), and goes to\n"
		"all who have subscribed to it; there * stands for one word, and > at the end for one or more. All\n"
		"URLs of a hub share their topics.\n",
	.options = own_options,
	.run = run,
};
