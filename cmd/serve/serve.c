/*
 * tenon serve: several endpoints in one process, with a loop and a thread for each processor asked for. The first
 * SIGINT or SIGTERM closes the servers, and their connections may finish. When all have ended, the loops stop, each is
 * freed by the thread that ran it, and the process ends. A second signal does not wait.
 */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/admin.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/file_limit.h"
#include "common/json.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/options.h"
#include "common/output.h"
#include "common/privileges.h"
#include "common/report.h"
#include "common/sandbox.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/workers.h"
#include "events.h"
#include "handlers/broadcast.h"
#include "handlers/child.h"
#include "handlers/count.h"
#include "handlers/descriptors.h"
#include "handlers/child_errors.h"
#include "handlers/exec.h"
#include "handlers/handler.h"
#include "handlers/handlers.h"
#include "handlers/print.h"
#include "inspect/bind_error.h"
#include "own_keys.h"
#include "relay/relay.h"
#include "record/recorder.h"
#include "tap/last.h"
#include "tap/tap.h"
#include "tap/trace.h"
#include "tenon.h"

#define UNSET UINT64_MAX
#define MAX_CHILDREN 128
#define ORPHANS_MS 1000 /* how often orphans that have become our children are reaped */

static struct {
	const char *handler, *threads; /* handler: of the endpoints whose URL has no key of this name */
	bool cut_slow, slow_given;
	unsigned max_conns, count;
	bool once;
	uint64_t drain_ns;
	const char *idle, *drain, *on_bad, *request, *per_source, *accept_rate; /* as they were given */
	struct privileges_user user;                                            /* without a name: none was given */
	unsigned max_children, fds;
	enum handler_errors errors;
	bool errors_given;
	uint64_t grace_ns;
	bool no_sandbox;
} options = {.drain_ns = UNSET, .grace_ns = UNSET};

/* An endpoint as it was asked for. */
struct wanted {
	struct own_keys keys;            /* its URL, without our own keys */
	const char *handler;             /* as it was given, or NULL */
	const struct handler_spec *spec; /* what that is; by default that of the scheme */
	const char *argument;            /* of it, or NULL */
	struct handler_session session;  /* idle_ms 0: there are none */
};

static struct wanted *wanted;

static struct {
	struct served *served;
	struct tn_timer *orphans;
	int nserved, open;
	bool shows;            /* a handler does so */
	_Atomic(bool) closing; /* the servers have been told to end */
	_Atomic(unsigned) cut_off;
	_Atomic(unsigned) ntaken, ndone; /* connections, of --count: begun, and ended */
} state;

/* ---- options ---- */

/* Options that stand for keys of all endpoints to which they apply. The library judges the value. */
static const struct url_option {
	const char *option, *key;
	const char **value; /* as it was given; NULL: it was not */
	bool everywhere;    /* has an effect beside the key */
} url_options[] = {
	{"idle", "idle", &options.idle, false},
	{"drain", "drain", &options.drain, true},
	{"on-bad", "bad", &options.on_bad, false},
	{"request", "request", &options.request, false},
	{"per-source", "per-source", &options.per_source, false},
	{"accept-rate", "accept-rate", &options.accept_rate, false},
};

#define NURL_OPTIONS (sizeof(url_options) / sizeof(url_options[0]))

/* A value that will be a part of a URL. */
static const char *set_for_key(const char *value, void *to)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";

	return value[strspn(value, allowed)] ? "is no such value" : option_set_text(value, to);
}

static const char *set_drain(const char *value, void *to)
{
	options.drain = value;
	return option_set_duration(value, to);
}

static unsigned nthreads = 1;

static int no_memory(void)
{
	complain("serve: out of memory");
	return -ENOMEM;
}

/* The URL with key=value added; free() it. NULL without memory. */
static char *with_key(const char *url, const struct url_option *option)
{
	char *longer;

	if (asprintf(&longer, "%s%c%s=%s", url, strchr(url, '?') ? '&' : '?', option->key, *option->value) < 0)
		return NULL;
	return longer;
}

/* Why a handler cannot serve a good URL, or NULL. */
static const char *refusal(const struct handler_spec *spec, const char *url)
{
	return spec->refuses ? spec->refuses(url) : NULL;
}

/*
 * The URL with the keys of the options that were given, unless it has the key already or the key does not apply to it,
 * or to its handler. To be freed; NULL without memory.
 */
static char *full_url(const struct wanted *w)
{
	const char *url = w->keys.url;
	char *full = strdup(url);

	for (size_t i = 0; full && i < NURL_OPTIONS; i++) {
		char *longer;

		if (!*url_options[i].value || tn_url_has_key(url, url_options[i].key) > 0)
			continue;
		longer = with_key(full, &url_options[i]);
		if (longer && (tn_url_check(longer, TN_SERVE) < 0 || refusal(w->spec, longer))) {
			free(longer);
			continue;
		}
		free(full);
		full = longer;
	}
	return full;
}

/* Why the library refused a key, without the URL, which the user has not typed. */
static const char *key_reason(const char *key)
{
	const char *why = strstr(tn_errmsg(), "key '");

	return why && strncmp(why + 5, key, strlen(key)) == 0 ? why + 5 + strlen(key) + 3 : tn_errmsg();
}

/* Whether the library refused the value (the last part of the URL) and not the key: from the position of the error. */
static bool is_bad_value(const char *url, const struct url_option *option)
{
	return tn_errpos() >= (long)(strlen(url) - strlen(*option->value));
}

/*
 * Whether an option applies to one of the endpoints at least; otherwise it is an error. A bad value is an error
 * whatever the endpoints are.
 */
static int check_option(const struct url_option *option, int count)
{
	bool applies = option->everywhere, bad = false;
	const char *why = NULL, *handler = NULL;
	char *longer = NULL;
	int err = 0;

	for (int i = 0; i < count && !applies && !bad; i++) {
		const struct wanted *w = &wanted[i];

		free(longer);
		longer = with_key(w->keys.url, option);
		err = longer ? tn_url_check(longer, TN_SERVE) : -ENOMEM;
		bad = err == TN_EURL && is_bad_value(longer, option);
		why = err == 0 ? refusal(w->spec, longer) : NULL;
		handler = w->spec->name;
		applies = tn_url_has_key(w->keys.url, option->key) > 0 || (err == 0 && !why);
	}
	free(longer);
	if (applies)
		return STATUS_DONE;
	if (why)
		complain("serve: --%s: handler '%s': %s", option->option, handler, why);
	else
		complain("serve: --%s: %s", option->option, key_reason(option->key));
	complain_hint("%s serve --help", settings.program);
	return why ? STATUS_USAGE : status_of(err);
}

/* ---- what each endpoint does ---- */

/* With the reason for people. */
static int bad_handler(const struct wanted *w, const char *why)
{
	if (w->keys.handler)
		complain("serve: %s: key 'handler': %s", w->keys.url, why);
	else
		complain("serve: --handler: %s", why);
	return STATUS_USAGE;
}

/* Key session. */
static int choose_session(struct wanted *w)
{
	uint64_t ns;

	if (!w->keys.session)
		return STATUS_DONE;
	if (!w->spec->sessions.on_msg || !handler_is_lossy(w->keys.url)) {
		complain("serve: %s: key 'session': only datagrams of the handler exec have sessions", w->keys.url);
		return STATUS_USAGE;
	}
	if (tn_parse_duration(w->keys.session, &ns) < 0 || ns < NS_PER_MS) {
		complain("serve: %s: key 'session': '%s' is no duration from 1ms up, such as 30s", w->keys.url,
			 w->keys.session);
		return STATUS_USAGE;
	}
	w->session = (struct handler_session){.argument = w->argument, .idle_ms = ns / NS_PER_MS};
	return STATUS_DONE;
}

static int choose_handler(struct wanted *w)
{
	const char *why;

	w->handler = w->keys.handler ? w->keys.handler : options.handler;
	if (tn_url_check(w->keys.url, TN_SERVE) < 0)
		return complain_library(TN_EURL, w->keys.url);
	w->spec = w->handler ? handler_find(w->handler, &w->argument, &why) : handler_default(w->keys.url);
	if (!w->spec)
		return bad_handler(w, why);
	if (w->keys.handler && handler_is_relay(w->spec))
		return bad_handler(
			w, "a relay is none of several handlers: it is asked for by --handler, or is tenon relay");
	if (!handler_face(w->spec, w->keys.url)) {
		char why_not[128];

		snprintf(why_not, sizeof(why_not), "%s does not answer HTTP (%.80s)", w->spec->name, w->keys.url);
		return bad_handler(w, why_not);
	}
	why = refusal(w->spec, w->keys.url);
	if (why) {
		complain("serve: %s: handler '%s': %s", w->keys.url, w->spec->name, why);
		return STATUS_USAGE;
	}
	return choose_session(w);
}

static void wanted_free(int count)
{
	for (int i = 0; wanted && i < count; i++)
		own_keys_free(&wanted[i].keys);
	free(wanted);
	wanted = NULL;
}

/* Fills the table, in which `urls` are without our own keys. */
static int read_wanted(char **urls, int count)
{
	wanted = calloc((size_t)count, sizeof(*wanted));
	if (!wanted) {
		no_memory();
		return STATUS_FAILED;
	}
	for (int i = 0; i < count; i++) {
		const char *key, *why = own_keys_take(urls[i], &wanted[i].keys, &key);
		int status;

		if (why) {
			complain("serve: %s: key '%s': %s", urls[i], key, why);
			return STATUS_USAGE;
		}
		status = choose_handler(&wanted[i]);
		if (status != STATUS_DONE)
			return status;
	}
	return STATUS_DONE;
}

/* ---- ending ---- */

static bool is_open(const struct served *served)
{
	return served->server && !served->over;
}

static void on_server_closed(void *arg)
{
	struct served *served = arg;

	served->over = true;
	admin_closed(served->server);
	if (--state.open == 0)
		workers_stop();
}

static void stop_all(void *arg)
{
	(void)arg;
	for (int i = 0; i < state.nserved; i++)
		if (is_open(&state.served[i]))
			tn_server_stop(state.served[i].server);
}

/*
 * On the thread of the connection's loop. With the last one of --count no more are let in. What has been accepted by
 * then all the same is refused, and its handler does not hear of it.
 */
static void on_connection_opened(struct served *served, struct tn_conn *conn)
{
	static const struct tn_handler nobody = {0};
	unsigned nth = ++state.ntaken;

	(void)served;
	if (nth == options.count)
		workers_post(stop_all, NULL);
	if (nth <= options.count)
		return;
	if (tn_conn_set_handler(conn, &nobody, NULL) == 0) /* otherwise it is served one time more */
		tn_abort(conn, TN_ELIMIT);
}

static void close_all(void);

static void enough(void *arg)
{
	(void)arg;
	close_all();
}

/* On the thread of the connection's loop. A connection that a deadline or a second signal ends was not finished. */
static void on_connection_closed(struct served *served, int err)
{
	if (err == -ECANCELED && state.closing)
		state.cut_off++;
	if (options.count && err != TN_ELIMIT && ++state.ndone == options.count)
		workers_post(enough, NULL);
	/* An endpoint that is one inherited connection ends with it. */
	if (!served->nurls && !state.closing)
		tn_server_close(served->server, 0, on_server_closed, served);
}

static void close_all(void)
{
	uint64_t drain_ns = options.drain_ns == UNSET ? 5000 * NS_PER_MS : options.drain_ns;

	if (state.closing)
		return;
	state.closing = true;
	admin_draining();
	notify_stopping(drain_ns);
	for (int i = 0; i < state.nserved; i++)
		if (is_open(&state.served[i]))
			tn_server_close(state.served[i].server, drain_ns / NS_PER_MS, on_server_closed,
					&state.served[i]);
}

/* Certificates and lists of addresses are read again. If they cannot be used, the old ones stay in use. */
static void on_hangup(void *arg)
{
	(void)arg;
	notify_reloading();
	log_reopen();
	tap_reopen();
	for (int i = 0; i < state.nserved; i++) {
		struct served *served = &state.served[i];
		int err = is_open(served) ? tn_server_reload(served->server) : -EOPNOTSUPP;

		if (err >= 0)
			complain_notice("%s: its files have been read again", served->urls[0]);
		else if (err < 0 && err != -EOPNOTSUPP)
			complain("%s; the old ones stay in use", tn_errmsg());
	}
	notify_reloaded();
}

static bool any_is_secured(void)
{
	char value[16];

	for (int i = 0; i < state.nserved; i++)
		if (tn_server_option(state.served[i].server, "tls-min", value, sizeof(value)) == 0)
			return true;
	return false;
}

static bool any_reads_files(void)
{
	enum tn_file_use use;
	const char *path;

	for (int i = 0; i < state.nserved; i++)
		for (int n = 0; tn_server_file(state.served[i].server, n, &path, &use) == 0; n++)
			if (use == TN_FILE_READ)
				return true;
	return false;
}

/* ---- commands ---- */

/* Whether one of the endpoints has this handler. */
static bool any_has(const struct handler_spec *spec, int count)
{
	for (int i = 0; i < count; i++)
		if (wanted[i].spec == spec)
			return true;
	return false;
}

static bool any_runs(int count)
{
	for (int i = 0; i < count; i++)
		if (wanted[i].spec->runs)
			return true;
	return false;
}

static void on_child(const struct handler_child *child)
{
	for (int i = 0; i < state.nserved; i++)
		if (state.served[i].server == child->server)
			events_child(&state.served[i], child);
}

static void on_count(const struct handler_count *count)
{
	for (int i = 0; i < state.nserved; i++)
		if (state.served[i].server == tn_conn_server(count->conn))
			events_count(&state.served[i], count);
}

static void on_flow(const struct handler_flow *flow)
{
	for (int i = 0; i < state.nserved; i++)
		if (state.served[i].server == tn_conn_server(flow->conn))
			events_flow(&state.served[i], flow);
}

static void log_child(uint64_t conn, const char *line, size_t len)
{
	complain_notice("command of #%llu: %.*s", (unsigned long long)conn, (int)len, line);
}

static int prepare_commands(void)
{
	unsigned max = options.max_children;
	int err;

	handler_watch_children(on_child);
	handler_watch_counts(on_count);
	handler_watch_flows(on_flow);
	handler_watch_messages(events_message);
	handler_watch_slow(events_slow);
	handler_cut_slow(options.cut_slow);
	if (!max && options.max_conns > MAX_CHILDREN)
		max = options.max_conns;
	handler_limit_children(max ? max : MAX_CHILDREN);
	handler_take_descriptors(options.fds);
	if (options.grace_ns != UNSET)
		handler_set_grace(options.grace_ns / NS_PER_MS);
	err = handler_set_errors(options.errors, log_has_file() ? log_child : NULL);
	if (err < 0)
		complain("serve: --stderr none: /dev/null: %s", tn_strerror(err));
	return err < 0 ? STATUS_FAILED : STATUS_DONE;
}

/*
 * PID 1 of a container gets all orphans and has to reap them: those of commands, and of everything else that runs
 * there.
 */
static bool takes_orphans(void)
{
	int reaper = 0;

	return getpid() == 1 || (prctl(PR_GET_CHILD_SUBREAPER, &reaper, 0, 0, 0) == 0 && reaper);
}

static void reap(void *arg)
{
	(void)arg;
	state.orphans = NULL;
	handler_reap_orphans();
	if (tn_timer_start(workers_loops()[0], ORPHANS_MS, reap, NULL, &state.orphans) < 0)
		complain_warning("orphans are not reaped any more: %s", tn_errmsg());
}

/* ---- threads ---- */

static void worker_begin(int index)
{
	if (index == 0 && takes_orphans())
		reap(NULL);
}

static void worker_end(int index)
{
	if (index)
		return;
	tn_timer_stop(state.orphans);
	admin_close();
	notify_close();
	out_unwatch();
	log_stop();
	signals_stop();
}

/* Before any thread runs. */
static void abandon(void)
{
	admin_close();
	notify_close();
	signals_stop();
	workers_free();
	handler_finish();
}

/* ---- what is told over HTTP ---- */

static void counter(struct text *out, bool open, const char *name, const char *help, uint64_t value)
{
	metrics_family(out, open, name, "counter", help);
	text_add(out, "%s %llu\n", name, (unsigned long long)value);
}

static void broadcast_metrics(struct text *out, bool open)
{
	struct handler_heard heard;

	handler_heard(&heard);
	counter(out, open, "tenon_broadcast_said_total", "Messages of clients of the handler broadcast.", heard.said);
	counter(out, open, "tenon_broadcast_heard_total", "Copies of them that others were sent.", heard.heard);
	counter(out, open, "tenon_broadcast_dropped_total", "Copies of them that others missed.", heard.dropped);
	counter(out, open, "tenon_broadcast_slow_clients_total", "Slow clients that were cut off.", heard.cut);
}

static void broadcast_status(struct text *out)
{
	struct handler_heard heard;

	handler_heard(&heard);
	json_object(out, "broadcast");
	json_number(out, "said", heard.said);
	json_number(out, "heard", heard.heard);
	json_number(out, "dropped", heard.dropped);
	json_number(out, "cut", heard.cut);
	json_object_end(out);
}

static const struct admin_more broadcast_told = {
	.metrics = broadcast_metrics, .status = broadcast_status, .connection = tap_conn_json};
static const struct admin_more told = {.connection = tap_conn_json};

/* ---- serving ---- */

/* The watch reports connections: the beginning and the end of a datagram endpoint are seen by handlers of our own. */
static const struct served *served_of(const struct tn_conn *conn)
{
	const struct tn_server *server = tn_conn_server(conn);

	for (int i = 0; i < state.nserved; i++)
		if (state.served[i].server == server)
			return &state.served[i];
	return NULL;
}

static void on_datagrams_open(struct tn_conn *conn, void *arg)
{
	const struct served *served = served_of(conn);

	if (!served)
		return;
	tap_conn(conn, served_url(served), TAP_SERVED | TAP_MESSAGES);
	if (served->face->on_open)
		served->face->on_open(conn, arg);
}

static void on_datagrams_close(struct tn_conn *conn, int err, void *arg)
{
	const struct served *served = served_of(conn);

	if (!served)
		return;
	events_datagrams(served, conn);
	if (served->face->on_close)
		served->face->on_close(conn, err, arg);
}

static int open_on_loops(struct served *served, const struct wanted *w)
{
	const void *argument = w->session.idle_ms ? (const void *)&w->session : w->argument;
	struct tn_handler face = *served->face;
	char *full = full_url(w);
	int err;

	if (!full)
		return -ENOMEM;
	served->keeps = tn_url_keeps_messages(full) == 1;
	if (served->told && served->datagrams)
		face.on_close = on_datagrams_close;
	if (served->tapped && served->datagrams)
		face.on_open = on_datagrams_open;
	err = tn_serve_loops(workers_loops(), workers_count(), full, &face, (void *)(uintptr_t)argument,
			     &served->server);
	free(full);
	return err;
}

static int serve_one(struct served *served, const struct wanted *w)
{
	const struct handler_spec *spec = w->spec;
	const char *url = w->keys.url;
	int err;

	served->handler = spec->name;
	state.shows |= spec->shows;
	served->face = w->session.idle_ms ? &spec->sessions : handler_face(spec, url);
	served->commands = spec->runs && served->face == &spec->stream; /* not DTLS: one for each datagram */
	served->datagrams = handler_is_datagrams(url);
	served->told = json_is_wanted() || settings.verbose || admin_is_wanted();
	served->tapped = tap_is_wanted();
	served->opened = options.count ? on_connection_opened : NULL;
	served->closed = on_connection_closed;
	err = open_on_loops(served, w);
	if (err < 0) {
		int status = complain_library(err, url);

		bind_error_explain(err, url);
		return status;
	}
	state.nserved++;
	state.open++;
	tn_server_limit(served->server, options.max_conns);
	if (served_note(served) < 0) {
		no_memory();
		return STATUS_FAILED;
	}
	events_watch(served);
	admin_add(served->server, served->handler);
	return STATUS_DONE;
}

static int serve_all(int count)
{
	for (int i = 0; i < count; i++) {
		int status = serve_one(&state.served[i], &wanted[i]);

		if (status != STATUS_DONE)
			return status;
	}
	return STATUS_DONE;
}

/* Children get the limit back that was set for us. */
static void raise_file_limit(void)
{
	struct rlimit before;

	if (file_limit_raise(&before))
		handler_set_child_files(&before);
}

static void hint(void)
{
	if (settings.quiet || settings.json || log_is_kept())
		return;
	fprintf(stderr,
		"\nType in a second terminal:\n"
		"  %1$s send udp://localhost:10000 'Hello, world!'\n"
		"  %1$s send tcp://localhost:10000 'Hello, world!'\n"
		"  %1$s connect tcp://localhost:10000\n"
		"Ctrl-C ends the server.\n",
		settings.program);
}

static int check_options(int count)
{
	for (size_t i = 0; i < NURL_OPTIONS; i++)
		if (*url_options[i].value && check_option(&url_options[i], count) != STATUS_DONE)
			return STATUS_USAGE;
	return STATUS_DONE;
}

static int begin(int count)
{
	int err = workers_new(nthreads);

	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	notify_open();
	err = workers_end_on_signals(close_all);
	if (err < 0)
		return complain_library(err, NULL);
	err = serve_all(count);
	if (err == STATUS_DONE)
		err = admin_open("serve", any_has(&handler_broadcast, count) ? &broadcast_told : &told);
	if (err == STATUS_DONE && any_is_secured())
		privileges_hold_keys();
	if (err == STATUS_DONE &&
	    (any_is_secured() || any_reads_files() || notify_is_open() || log_has_file() || trace_has_file()) &&
	    signals_on_hangup(workers_loops()[0], on_hangup, NULL) < 0)
		return complain_library(-ENOMEM, NULL);
	return err;
}

/* What the server may still use in the sandbox: its sockets, and the files that they need. */
static int confine(void)
{
	struct sandbox box = {.user = options.user.name ? &options.user : NULL, .children = any_runs(state.nserved)};
	enum tn_file_use use;
	const char *path;

	if (options.no_sandbox)
		return STATUS_DONE;
	for (int i = 0; i < state.nserved; i++) {
		int kind;

		if (!state.served[i].datagrams || !state.served[i].nurls)
			continue;
		kind = tn_url_kind(state.served[i].urls[0]);
		box.answers |= kind < 0 || kind & (TN_URL_INHERITED | TN_URL_LOCAL);
		box.below |= kind < 0 || kind & (TN_URL_INHERITED | TN_URL_BELOW);
	}
	for (int i = 0; i < state.nserved; i++)
		for (int n = 0; tn_server_file(state.served[i].server, n, &path, &use) == 0; n++)
			sandbox_allow(&box, path, use);
	recorder_allow(&box);
	tap_allow(&box);
	admin_allow(&box);
	log_allow(&box);
	return sandbox_enter(&box);
}

/* Some init systems start a server without standard output. Then its events are not wanted: that is not a failure. */
static void open_output(void)
{
	int fd;

	if (!out_is_shut())
		return;
	fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0)
		close(fd);
}

static int run_all(bool with_hint)
{
	static const struct workers_hooks hooks = {worker_begin, worker_end, handler_finish};
	int status;

	for (int i = 0; i < state.nserved; i++)
		events_listening(&state.served[i]);
	admin_ready();
	log_ready();
	notify_ready();
	if (settings.json || settings.verbose || state.shows)
		workers_watch_reader(close_all);
	if (with_hint)
		hint();
	status = workers_run(&hooks) < 0 ? STATUS_FAILED : STATUS_DONE;
	report_stopped();
	out_thread_stop();
	if (state.cut_off > 0)
		complain_warning("%u connection%s cut off", state.cut_off, state.cut_off == 1 ? "" : "s");
	return state.cut_off > 0 && workers_were_hurried() ? STATUS_FAILED : status;
}

static void served_free(void)
{
	for (int i = 0; i < state.nserved; i++) {
		for (int j = 0; j < state.served[i].nurls; j++)
			free(state.served[i].urls[j]);
		free(state.served[i].urls);
	}
	free(state.served);
}

static bool is_proxy(const char *url)
{
	int kind = tn_url_kind(url);

	return kind > 0 && kind & TN_URL_PROXY;
}

/* A proxy has a handler of its own, which no other endpoint has, and relays, which is no serving. */
static int check_proxies(char **urls, int count)
{
	for (int i = 0; i < count; i++) {
		bool proxy = is_proxy(urls[i]);

		if (wanted[i].handler && handler_is_of_proxies(wanted[i].spec->name) != proxy) {
			complain("serve: %s%s: %s is %s", wanted[i].keys.handler ? "key 'handler': " : "--handler ",
				 wanted[i].handler, urls[i], proxy ? "a proxy, which has its own handler" : "no proxy");
			return STATUS_USAGE;
		}
		if (proxy != is_proxy(urls[0])) {
			complain("serve: a proxy and other endpoints cannot be served by one command: %s, %s", urls[0],
				 urls[i]);
			complain_hint("start %s serve twice", settings.program);
			return STATUS_USAGE;
		}
	}
	return STATUS_DONE;
}

/* The URL behind relay:, or NULL. */
static const char *relay_target(void)
{
	return options.handler && strncmp(options.handler, "relay:", 6) == 0 ? options.handler + 6 : NULL;
}

/* A relay is a command of its own, whose endpoints all do the same. */
static int check_relay(int count)
{
	for (int i = 0; i < count && relay_target(); i++)
		if (wanted[i].keys.handler) {
			complain("serve: --handler %s: %s has key 'handler', and cannot have both", options.handler,
				 wanted[i].keys.url);
			return STATUS_USAGE;
		}
	return STATUS_DONE;
}

/* Slow clients are those of one handler. */
static int check_slow(int count)
{
	if (!options.slow_given || any_has(&handler_broadcast, count))
		return STATUS_DONE;
	complain("serve: --slow: no endpoint has the handler broadcast");
	return STATUS_USAGE;
}

static int check_errors(int count)
{
	if (!options.errors_given || any_runs(count))
		return STATUS_DONE;
	complain("serve: --stderr: no endpoint runs a command (handler exec)");
	return STATUS_USAGE;
}

static int check_fds(int count)
{
	for (int i = 0; i < count; i++)
		if ((wanted[i].spec == &handler_exec || wanted[i].spec == &handler_exec_pty) &&
		    handler_descriptors_may_come(wanted[i].keys.url))
			return STATUS_DONE;
	if (!options.fds)
		return STATUS_DONE;
	complain("serve: --fds: no endpoint is a Unix socket with the handler exec or exec-pty");
	complain_hint("%s serve unix:/PATH --fds %u --handler exec:COMMAND", settings.program, options.fds);
	return STATUS_USAGE;
}

/* Only connections can be counted. */
static int check_count(char **urls, int count)
{
	const char *option = options.once ? "--once" : "--count";
	bool counts = false;

	if (options.once && options.count) {
		complain("serve: --once is --count 1: give one of them");
		return STATUS_USAGE;
	}
	options.count = options.once ? 1 : options.count;
	for (int i = 0; i < count; i++)
		counts |= !handler_is_datagrams(urls[i]);
	if (!options.count || (counts && !relay_target() && !is_proxy(urls[0])))
		return STATUS_DONE;
	complain("serve: %s: %s", option,
		 counts ? "a relay cannot be told to end after some connections"
			: "datagrams have no connections that could be counted");
	if (!counts)
		complain_hint("%s connect --listen '%s'", settings.program, urls[0]);
	return STATUS_USAGE;
}

static int relay(int count)
{
	const struct relay_options how = {.threads = nthreads,
					  .max_sessions = options.max_conns,
					  .drain_ns = options.drain_ns == UNSET ? 5000 * NS_PER_MS : options.drain_ns,
					  .user = &options.user,
					  .no_sandbox = options.no_sandbox};
	char **full = calloc((size_t)count, sizeof(*full));
	int n = 0, status;

	while (full && n < count && (full[n] = full_url(&wanted[n])))
		n++;
	status = n < count ? STATUS_FAILED : relay_serve(full, count, relay_target(), &how);
	if (n < count)
		no_memory();
	while (n > 0)
		free(full[--n]);
	free(full);
	return status;
}

static int run_urls(int count, bool with_hint)
{
	int status;

	state.served = calloc((size_t)count, sizeof(*state.served));
	if (!state.served) {
		no_memory();
		return STATUS_FAILED;
	}
	open_output();
	raise_file_limit();
	status = prepare_commands();
	if (status == STATUS_DONE)
		status = begin(count);
	if (status == STATUS_DONE)
		status = recorder_open("serve");
	if (status == STATUS_DONE)
		status = confine();
	if (status == STATUS_DONE)
		status = recorder_start();
	if (status == STATUS_DONE)
		status = tap_start();
	if (status == STATUS_DONE)
		status = run_all(with_hint);
	else
		abandon();
	tap_close();
	recorder_close();
	sandbox_leave();
	served_free();
	log_close();
	return status;
}

static int check_all(char **urls, int count)
{
	int status = check_options(count);

	if (status == STATUS_DONE)
		status = recorder_check("serve");
	for (int i = 0; i < count && status == STATUS_DONE; i++)
		status = recorder_check_url("serve", urls[i]);
	if (status == STATUS_DONE)
		status = check_relay(count);
	if (status == STATUS_DONE)
		status = check_proxies(urls, count);
	if (status == STATUS_DONE)
		status = check_slow(count);
	if (status == STATUS_DONE)
		status = check_errors(count);
	if (status == STATUS_DONE)
		status = check_fds(count);
	return status == STATUS_DONE ? check_count(urls, count) : status;
}

/* Of endpoints that have been read. */
static int run_wanted(int count, bool with_hint)
{
	char **urls = calloc((size_t)count, sizeof(*urls));
	int status;

	if (!urls) {
		no_memory();
		return STATUS_FAILED;
	}
	for (int i = 0; i < count; i++)
		urls[i] = wanted[i].keys.url;
	status = check_all(urls, count);
	if (status == STATUS_DONE && (relay_target() || is_proxy(urls[0])))
		status = relay(count);
	else if (status == STATUS_DONE && (status = log_open()) == STATUS_DONE &&
		 (status = tap_open("serve", admin_is_wanted())) == STATUS_DONE)
		status = run_urls(count, with_hint);
	free(urls);
	return status;
}

static int run(char **operands, int count)
{
	static char tcp[] = "tcp://localhost:10000", udp[] = "udp://localhost:10000";
	char *defaults[] = {tcp, udp};
	char **urls = count ? operands : defaults;
	int nurls = count ? count : 2, status = read_wanted(urls, nurls);

	if (status == STATUS_DONE)
		status = run_wanted(nurls, count == 0);
	wanted_free(nurls);
	return status;
}

static const char *set_slow(const char *value, void *to)
{
	(void)to;
	options.slow_given = true;
	options.cut_slow = strcmp(value, "cut") == 0;
	return options.cut_slow || strcmp(value, "drop-newest") == 0 ? NULL : "is none of cut, drop-newest";
}

static const char *set_errors(const char *value, void *to)
{
	static const char *const words[] = {[ERRORS_LOG] = "log", [ERRORS_CLIENT] = "client", [ERRORS_NONE] = "none"};
	enum handler_errors *errors = to;

	options.errors_given = true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(value, words[i]) == 0) {
			*errors = (enum handler_errors)i;
			return NULL;
		}
	return "is none of log, client, none";
}

static const char *set_fds(const char *value, void *to)
{
	unsigned *count = to;

	if (option_set_number(value, count) || *count > DESCRIPTORS_MAX)
		return "is no number of descriptors from 1 to " DESCRIPTORS_MAX_TEXT;
	return NULL;
}

static const struct option_spec own_options[] = {
	{"handler", 0, OPTION_VALUE, option_set_text, &options.handler, "NAME",
	 "what the endpoints without a key handler do (default: ack on datagrams, echo on all others; discard below "
	 "the transports)"},
	{"threads", 0, OPTION_VALUE, workers_set_count, &nthreads, "N",
	 "event loops, each in a thread of its own; auto: one for each processor (default 1)"},
	{"max-conns", 'm', OPTION_VALUE, option_set_number, &options.max_conns, "N",
	 "connections at a time on each endpoint; more are closed at once"},
	{"once", 0, OPTION_ALONE, option_set_flag, &options.once, NULL, "end after one connection: --count 1"},
	{"count", 0, OPTION_VALUE, option_set_number, &options.count, "N",
	 "let in so many connections, over all endpoints, and end when they have ended"},
	{"per-source", 0, OPTION_VALUE, set_for_key, &options.per_source, "N",
	 "connections at a time from one address; more are closed at once"},
	{"accept-rate", 0, OPTION_VALUE, set_for_key, &options.accept_rate, "N",
	 "new connections a second on each endpoint; more wait"},
	{"idle", 'i', OPTION_VALUE, set_for_key, &options.idle, "DUR",
	 "close connections without traffic in either direction for this time"},
	{"max-children", 0, OPTION_VALUE, option_set_number, &options.max_children, "N",
	 "commands of exec: at a time, over all endpoints (default 128, or what -m says)"},
	{"fds", 0, OPTION_VALUE, set_fds, &options.fds, "N",
	 "give commands of exec: up to N descriptors that come with the first bytes on a Unix socket, from 3 on"},
	{"grace", 0, OPTION_VALUE, option_set_duration, &options.grace_ns, "DUR",
	 "time for a command to end after its client has closed (default 5s)"},
	{"stderr", 0, OPTION_VALUE, set_errors, &options.errors, "WHERE",
	 "where the standard error of commands goes: to that of the server, or the file of its log (log, the default), "
	 "to the client, or nowhere (none)"},
	{"slow", 0, OPTION_VALUE, set_slow, NULL, "HOW",
	 "what becomes of a client of the handler broadcast that reads too slowly: it misses what there is no room for "
	 "(drop-newest, the default), or is cut"},
	{"request", 0, OPTION_VALUE, set_for_key, &options.request, "DUR",
	 "close connections on which a message is not whole after this time (default 1m)"},
	{"drain", 0, OPTION_VALUE, set_drain, &options.drain_ns, "DUR",
	 "time for connections to finish when the server ends (default 5s)"},
	{"on-bad", 0, OPTION_VALUE, set_for_key, &options.on_bad, "WHAT",
	 "a message that the key format refuses: close the connection, or skip the message (default: echo and "
	 "ack reply with an error and go on, others close)"},
	{"record", 0, OPTION_VALUE, option_set_text, &recorder_options.path, "FILE", RECORD_MEANING},
	{"record-size", 0, OPTION_VALUE, recorder_set_size, &recorder_options.size, "SIZE", RECORD_SIZE_MEANING},
	{"record-every", 0, OPTION_VALUE, option_set_duration, &recorder_options.every_ns, "DUR", RECORD_EVERY_MEANING},
	{"record-files", 0, OPTION_VALUE, option_set_number, &recorder_options.files, "N", RECORD_FILES_MEANING},
	{"record-memory", 0, OPTION_VALUE, recorder_set_memory, &recorder_options.memory, "SIZE",
	 RECORD_MEMORY_MEANING},
	{"user", 0, OPTION_VALUE, privileges_set, &options.user, "NAME",
	 "user to become once the sockets are bound (default for root: who called sudo, or nobody; commands of "
	 "exec: keep the user who started the server)"},
	{"", 'k', OPTION_ALONE, option_set_nothing, NULL, NULL, "always so: the server goes on accepting"},
	{"no-sandbox", 0, OPTION_ALONE, option_set_flag, &options.no_sandbox, NULL,
	 "keep root, access to files, and all system calls"},
	{"trace", 0, OPTION_VALUE, trace_set_form, NULL, "FORM", TRACE_MEANING},
	{"trace-to", 0, OPTION_VALUE, trace_set_file, NULL, "FILE", TRACE_TO_MEANING},
	{"trace-bytes", 0, OPTION_VALUE, trace_set_bytes, NULL, "SIZE", TRACE_BYTES_MEANING},
	{"admin", 0, OPTION_VALUES, admin_set, NULL, "URL", ADMIN_MEANING},
	{"admin-trace", 0, OPTION_VALUE, last_set_count, NULL, "N", ADMIN_TRACE_MEANING},
	{"log", 0, OPTION_VALUE, log_set_form, NULL, "FORM", LOG_MEANING},
	{"log-level", 0, OPTION_VALUE, log_set_level, NULL, "LEVEL", LOG_LEVEL_MEANING},
	{"log-file", 0, OPTION_VALUE, log_set_file, NULL, "FILE", LOG_FILE_MEANING},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json, NULL, "events as JSON objects, one a line"},
	{0},
};

static const struct command_key url_keys[] = {
	{"handler", "what is done there", true},
	{"session", "datagrams of the handler exec: a command for each sender, until nothing comes or goes for so long",
	 false},
	{0},
};

const struct command serve_command = {
	.name = "serve",
	.list_at = handler_at,
	.keys = url_keys,
	.takes_place = true,
	.meaning = "serve endpoints: echo, ack, discard, chargen, or a command of yours",
	.help = "Examples:\n"
		"  tenon serve                                       echo on tcp://localhost:10000,\n"
		"                                                    ack on udp://localhost:10000\n"
		"  tenon serve 'tcp://*:7' 'udp://*:7' --handler echo\n"
		"  tenon serve unix:/tmp/sort.sock --handler 'exec:sort'\n"
		"  tenon serve 'tcp://:7000?handler=echo' 'ws://:7001/?handler=broadcast'\n"
		"  tenon serve tcp://localhost:0 --threads auto --json\n"
		"  tenon serve 'tls://*:10443?cert=server.pem&key=server.key'\n"
		"  tenon serve proxy://localhost:1080                SOCKS and HTTP CONNECT\n"
		"\n"
		"Usage:\n"
		"  tenon serve [URL...]\n"
		"\n"
		"Prints a line for each listener, with its real address; with -v also one for each connection that\n"
		"opens or closes. SIGINT or SIGTERM stops accepting and lets connections finish; a second one ends\n"
		"at once. SIGHUP reads certificates and lists of addresses again.\n"
		"\n"
		"Handlers:\n"
		"{list}\n",
	.options = own_options,
	.run = run,
};
