/* tenon relay: what is served, by how many threads, and how it ends. */
#include "relay.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "admin/admin.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/dialled.h"
#include "common/file_limit.h"
#include "common/json.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/options.h"
#include "common/output.h"
#include "common/report.h"
#include "common/sandbox.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/workers.h"
#include "events.h"
#include "faults.h"
#include "inspect/bind_error.h"
#include "lane.h"
#include "pass.h"
#include "plan.h"
#include "probe.h"
#include "proxies.h"
#include "record/recorder.h"
#include "route.h"
#include "served.h"
#include "session.h"
#include "tap/last.h"
#include "tap/tap.h"
#include "tap/trace.h"
#include "targets.h"
#include "tee.h"
#include "tenon.h"
#include "toxiproxy.h"

#define LISTEN_MAX 64

/* Probes in a row after which a target works, or is left out. */
#define RISE 2
#define FALL 3

struct plan plan = {
	.probe = {.rise = RISE, .fall = FALL}, .idle_ns = 60 * NS_PER_S, .drain_ns = 5 * NS_PER_S, .connect = "5s"};

static struct {
	unsigned threads;
	char *asked_keys;
	char *listen[LISTEN_MAX];
	const char *defaults[TARGETS_MAX];
	int ndefaults;
	struct rule_option {
		enum rule_kind kind;
		char *pattern;
		const char *url;
	} rules[RULES_MAX];
	int nrules;
} options = {.threads = 1};

static struct {
	struct listener *listeners;
	int count, open;
	_Atomic(bool) closing; /* the servers have been told to end */
	_Atomic(unsigned) cut_off;
} state;

/* ---- the end ---- */

static void on_server_closed(void *arg)
{
	struct listener *listener = arg;

	listener->over = true;
	admin_closed(listener->server);
	if (--state.open == 0)
		workers_stop();
}

static void on_connection_closed(struct listener *listener, int err)
{
	(void)listener;
	if (err == -ECANCELED && state.closing)
		state.cut_off++;
}

static void on_proxies_closed(void)
{
	if (--state.open == 0)
		workers_stop();
}

static void close_all(void)
{
	if (state.closing)
		return;
	state.closing = true;
	toxiproxy_draining();
	if (toxiproxy_is_wanted()) {
		state.open++;
		proxies_close(plan.drain_ns, on_proxies_closed);
	}
	for (int i = 0; i < state.count; i++)
		tn_server_close(state.listeners[i].server, plan.drain_ns / NS_PER_MS, on_server_closed,
				&state.listeners[i]);
	admin_draining();
	notify_stopping(plan.drain_ns);
	lanes_drain();
	probe_stop();
}

/* Certificates and lists of addresses are read again. If they cannot be used, the old ones stay in use. */
static void on_hangup(void *arg)
{
	(void)arg;
	notify_reloading();
	log_reopen();
	tap_reopen();
	for (int i = 0; i < state.count; i++) {
		const struct listener *listener = &state.listeners[i];
		int err = listener->over || state.closing ? -EOPNOTSUPP : tn_server_reload(listener->server);

		if (err >= 0)
			complain_notice("%s: its files have been read again", listener->url);
		else if (err < 0 && err != -EOPNOTSUPP)
			complain("%s; what was read before stays in use", tn_errmsg());
	}
	notify_reloaded();
}

/* ---- what is given ---- */

static const char *add_listener(const char *value, void *to)
{
	(void)to;
	if (plan.nlisten == LISTEN_MAX - 1)
		return "is one too many";
	options.listen[++plan.nlisten] = (char *)(uintptr_t)value;
	return NULL;
}

/* PATTERN=URL */
static const char *add_rule(enum rule_kind kind, const char *value)
{
	const char *url = strchr(value, '=');
	char *pattern;

	if (!url)
		return "is no NAME=URL";
	pattern = options.nrules < RULES_MAX ? strndup(value, (size_t)(url - value)) : NULL;
	if (!pattern)
		return "is one too many";
	options.rules[options.nrules++] = (struct rule_option){kind, pattern, url + 1};
	return NULL;
}

static const char *add_sni(const char *value, void *to)
{
	(void)to;
	return add_rule(RULE_SNI, value);
}

static const char *add_alpn(const char *value, void *to)
{
	(void)to;
	return add_rule(RULE_ALPN, value);
}

static const char *add_protocol(const char *value, void *to)
{
	(void)to;
	return add_rule(RULE_PROTOCOL, value);
}

static const char *add_default(const char *value, void *to)
{
	(void)to;
	if (options.ndefaults == TARGETS_MAX)
		return "is one too many";
	options.defaults[options.ndefaults++] = value;
	return NULL;
}

/* It becomes a key of the targets' URLs, as it was given. */
static const char *set_connect(const char *value, void *to)
{
	uint64_t ns;
	const char *why = option_set_duration(value, &ns);

	return why ? why : option_set_text(value, to);
}

static const char *set_balance(const char *value, void *to)
{
	static const char *const names[] = {
		[BALANCE_ROUND_ROBIN] = "round-robin",
		[BALANCE_FIRST] = "first",
		[BALANCE_LEAST] = "least",
		[BALANCE_SOURCE] = "source",
	};

	for (int i = 0; i < 4; i++)
		if (strcmp(value, names[i]) == 0) {
			*(enum balance *)to = (enum balance)i;
			return NULL;
		}
	return "is none of round-robin, first, least, source";
}

static enum balance balance;

static int no_memory(void)
{
	complain("relay: out of memory");
	return STATUS_FAILED;
}

/* What comes from a listener must mean something to every target. */
static int check_pair(const char *listen, const char *target)
{
	bool messages = tn_url_keeps_messages(listen) > 0, wanted = tn_url_keeps_messages(target) > 0;

	if (messages == wanted)
		return STATUS_DONE;
	complain("relay: %s carries %s, %s carries %s", listen, messages ? "messages" : "bytes", target,
		 wanted ? "messages" : "bytes");
	complain_hint("key frame at %s, which says where messages end", messages ? target : listen);
	return STATUS_USAGE;
}

/* ---- proxies ---- */

static bool is_proxy(const char *url)
{
	int kind = tn_url_kind(url);

	return kind > 0 && kind & TN_URL_PROXY;
}

/* All that is listened on are proxies: their clients say where they want to go. */
static bool has_only_proxies(void)
{
	for (int i = 0; i < plan.nlisten; i++)
		if (!is_proxy(plan.listen[i]))
			return false;
	return true;
}

static int check_url(const char *url, enum tn_role role)
{
	int kind = tn_url_kind(url), status = role == TN_DIAL ? dialled_check(url) : STATUS_DONE;

	if (role == TN_SERVE && tn_url_check(url, role) < 0)
		status = complain_library(TN_EURL, url);
	if (status != STATUS_DONE)
		return status;
	if (kind > 0 && kind & TN_URL_BELOW) {
		complain("relay: %s is below the transports: there are no sessions", url);
		return STATUS_USAGE;
	}
	return STATUS_DONE;
}

/* A target of all listeners. */
static int check_target(const char *url)
{
	int status = check_url(url, TN_DIAL);

	for (int i = 0; i < plan.nlisten && status == STATUS_DONE; i++)
		status = check_pair(plan.listen[i], url);
	return status;
}

/* Datagrams of a proxy's clients are copied to a shadow that has them, too. */
static int check_shadow(const char *url)
{
	int status = check_url(url, TN_DIAL), kind = tn_url_kind(url);

	for (int i = 0; i < plan.nlisten && status == STATUS_DONE; i++)
		if (!is_proxy(plan.listen[i]) || kind < 0 || !(kind & TN_URL_DATAGRAMS))
			status = check_pair(plan.listen[i], url);
	return status;
}

/* First bytes can be looked at where there are bytes; what TLS tells, also behind its end. */
static int check_rules(const char *url)
{
	int kind = tn_url_kind(url);

	if (!options.nrules || (kind > 0 && kind & TN_URL_SECURE) || tn_url_keeps_messages(url) <= 0)
		return STATUS_DONE;
	complain("relay: %s carries messages: there are no first bytes that could choose a target", url);
	return STATUS_USAGE;
}

/* Sessions over datagrams that are not secured: they have no first byte, and nothing of them waits. */
static bool has_only_datagrams(void)
{
	if (toxiproxy_is_wanted())
		return false;
	for (int i = 0; i < plan.nlisten; i++) {
		int kind = tn_url_kind(plan.listen[i]);

		if (kind < 0 || !(kind & TN_URL_DATAGRAMS) || kind & TN_URL_SECURE)
			return false;
	}
	return true;
}

/* An option that would change nothing is a mistake. */
static int check_options(void)
{
	const struct {
		const char *name;
		bool given;
	} streams[] = {{"longest", plan.longest_ns},
		       {"first-byte", plan.first_byte_ns},
		       {"rate-in", plan.rate_in},
		       {"rate-out", plan.rate_out},
		       {"source-rate-in", plan.source_rate_in},
		       {"source-rate-out", plan.source_rate_out}},
	  probes[] = {{"probe-send", plan.probe.send},
		      {"probe-expect", plan.probe.expect},
		      {"rise", plan.probe.rise != RISE},
		      {"fall", plan.probe.fall != FALL}};

	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]) && has_only_datagrams(); i++)
		if (streams[i].given) {
			complain("relay: --%s has no effect on datagrams", streams[i].name);
			complain_hint("--idle, which ends a session without any");
			return STATUS_USAGE;
		}
	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]) && !plan.probe.every_ns; i++)
		if (probes[i].given) {
			complain("relay: --%s has no effect without --probe", probes[i].name);
			return STATUS_USAGE;
		}
	return STATUS_DONE;
}

static enum chaos_carries carries(const char *url)
{
	int kind = tn_url_kind(url);

	if (kind > 0 && kind & TN_URL_DATAGRAMS && !(kind & TN_URL_SECURE))
		return CHAOS_DATAGRAMS;
	return tn_url_keeps_messages(url) > 0 ? CHAOS_MESSAGES : CHAOS_BYTES;
}

static int check_listener(const char *url)
{
	int status = check_url(url, TN_SERVE), kind = tn_url_kind(url);

	if (status == STATUS_DONE)
		status = faults_check(url, carries(url));

	if (status != STATUS_DONE || kind < 0 || !(kind & TN_URL_HTTP))
		return status;
	complain("relay: '%s' answers requests itself: a relay of HTTP listens on tcp:// or tls://", url);
	return STATUS_USAGE;
}

static int check_all(char **targets, int count)
{
	int status = check_options();

	if (status == STATUS_DONE)
		status = recorder_check("relay");
	if (status == STATUS_DONE)
		status = faults_read();
	if (status == STATUS_DONE)
		status = tee_check();
	if (status == STATUS_DONE && has_only_proxies() && plan.probe.every_ns) {
		complain("relay: --probe has no effect on a proxy, which has no targets");
		return STATUS_USAGE;
	}

	for (int i = 0; i < plan.nlisten && status == STATUS_DONE; i++)
		status = check_listener(plan.listen[i]);
	for (int i = 0; i < count && status == STATUS_DONE; i++)
		status = check_target(targets[i]);
	for (int i = 0; i < options.ndefaults && status == STATUS_DONE; i++)
		status = check_target(options.defaults[i]);
	for (int i = 0; i < options.nrules && status == STATUS_DONE; i++)
		status = check_target(options.rules[i].url);
	for (int i = 0; tee_url(i) && status == STATUS_DONE; i++)
		status = check_shadow(tee_url(i));
	for (int i = 0; i < plan.nlisten && status == STATUS_DONE; i++)
		status = check_rules(plan.listen[i]);
	return status;
}

static int add_target(const char *given)
{
	char *url = targets_url(given, plan.connect);
	bool full = plan.targets->count == TARGETS_MAX, added = url && !full && targets_add(plan.targets, url, given);

	free(url);
	if (added)
		return STATUS_DONE;
	if (!full)
		return no_memory();
	complain("relay: more than %d targets", TARGETS_MAX);
	return STATUS_USAGE;
}

static int add_to_route(const struct rule_option *rule)
{
	char *url = targets_url(rule->url, plan.connect);
	const char *why = url ? route_add(rule->kind, rule->pattern, url, rule->url) : "finds no memory";

	free(url);
	if (!why)
		return STATUS_DONE;
	complain("relay: '%s' %s", rule->pattern, why);
	return STATUS_USAGE;
}

static int add_all(char **targets, int count)
{
	struct targets *group;
	int status = STATUS_DONE;

	for (int i = 0; i < count && status == STATUS_DONE; i++)
		status = add_target(targets[i]);
	for (int i = 0; i < options.ndefaults && status == STATUS_DONE; i++)
		status = add_target(options.defaults[i]);
	for (int i = 0; i < options.nrules && status == STATUS_DONE; i++)
		status = add_to_route(&options.rules[i]);
	plan.targets->balance = balance;
	for (int i = 0; (group = route_group(i)); i++)
		group->balance = balance;
	return status;
}

/* A proxy has no targets of its own, and all others need some. */
static int check_proxies(int targets)
{
	for (int i = 0; i < plan.nlisten; i++)
		if (is_proxy(plan.listen[i]) && (targets || !has_only_proxies())) {
			complain("relay: %s: where a proxy's clients go they say themselves", plan.listen[i]);
			complain_hint("%s serve '%s'", settings.program, plan.listen[i]);
			return STATUS_USAGE;
		}
	return STATUS_DONE;
}

/* The others were given by --listen. */
static void add_operand(char *listen)
{
	options.listen[0] = listen;
	plan.nlisten++;
}

static int make_plan(char **operands, int count)
{
	int targets = (count ? count - 1 : 0) + options.ndefaults + options.nrules, status;
	bool none = !count && !plan.nlisten && !targets && toxiproxy_is_wanted();

	if (!none && (count < 1 || (!targets && !is_proxy(operands[0])))) {
		complain("relay: %s", count ? "there is no target" : "there is nothing to listen on");
		complain_hint("%s relay LISTEN TARGET", settings.program);
		return STATUS_USAGE;
	}
	plan.listen = options.listen;
	if (!none)
		add_operand(operands[0]);
	plan.told = json_is_wanted() || settings.verbose || admin_is_wanted() || tap_is_wanted();
	status = check_proxies(targets);
	if (status != STATUS_DONE)
		return status;
	status = check_all(operands + 1, none ? 0 : count - 1);
	if (status != STATUS_DONE)
		return status;
	if (has_only_proxies() && asprintf(&options.asked_keys, "connect=%s", plan.connect) < 0)
		return no_memory();
	plan.asked_keys = options.asked_keys;
	plan.targets = targets_new();
	return plan.targets ? add_all(operands + 1, none ? 0 : count - 1) : no_memory();
}

/* ---- serving ---- */

static int serve_one(struct listener *listener, const char *url)
{
	int kind = tn_url_kind(url), err;

	listener->datagrams = kind > 0 && kind & TN_URL_DATAGRAMS && !(kind & TN_URL_SECURE);
	listener->packets = kind > 0 && kind & TN_URL_DATAGRAMS;
	listener->messages = tn_url_keeps_messages(url) > 0;
	listener->carries = carries(url);
	listener->faults = faults_given();
	listener->asks = kind > 0 && kind & TN_URL_PROXY;
	listener->peeks = route_any() && !(kind > 0 && kind & TN_URL_SECURE) && tn_url_keeps_messages(url) == 0;
	listener->closes_at_bad = pass_closes_at_bad(url);
	listener->closed = on_connection_closed;
	err = tn_serve_loops(workers_loops(), workers_count(), url,
			     listener->datagrams ? &datagrams_handler : &session_handler, listener, &listener->server);
	if (err < 0) {
		int status = complain_library(err, url);

		bind_error_explain(err, url);
		return status;
	}
	state.count++;
	state.open++;
	if (!listener->datagrams)
		tn_server_limit(listener->server, plan.max_sessions);
	listener->url = strdup(tn_server_nurls(listener->server) ? tn_server_url(listener->server, 0) : url);
	if (!listener->url || address_note_listener(listener->server) < 0)
		return no_memory();
	report_watch(listener->server);
	admin_add(listener->server, listener->asks ? "proxy" : "relay");
	return STATUS_DONE;
}

/* What is told of the targets, over HTTP. */
static void told_targets(struct text *out, void (*one)(struct text *out, int index, const struct target *target))
{
	struct targets *group = plan.targets;
	int index = 0;

	for (int i = 0; group; group = route_group(i++)) {
		pthread_mutex_lock(&group->lock);
		for (int n = 0; n < group->count; n++)
			one(out, index++, &group->list[n]);
		pthread_mutex_unlock(&group->lock);
	}
}

static bool is_alive(const struct target *target)
{
	return !target->down && target->out_until_ns <= clock_ns();
}

static void target_json(struct text *out, int index, const struct target *target)
{
	(void)index;
	json_object(out, NULL);
	json_text(out, "url", target->url);
	json_bool(out, "alive", is_alive(target));
	json_number(out, "sessions", target->sessions);
	json_number(out, "failures", target->failures);
	json_object_end(out);
}

static void target_up(struct text *out, int index, const struct target *target)
{
	text_add(out, "tenon_target_up{target=\"%d\"} %d\n", index, is_alive(target));
}

static void target_sessions(struct text *out, int index, const struct target *target)
{
	text_add(out, "tenon_target_sessions{target=\"%d\"} %u\n", index, target->sessions);
}

static void told_metrics(struct text *out, bool open)
{
	metrics_family(out, open, "tenon_target_up", "gauge",
		       "Whether sessions go to this target: 1, or 0 while it is left out.");
	told_targets(out, target_up);
	metrics_family(out, open, "tenon_target_sessions", "gauge", "Sessions that are open or being opened.");
	told_targets(out, target_sessions);
	proxies_metrics(out, open);
}

static void told_status(struct text *out)
{
	json_list(out, "targets");
	told_targets(out, target_json);
	json_list_end(out);
	proxies_status(out);
}

static const struct admin_more told = {.metrics = told_metrics, .status = told_status, .connection = tap_conn_json};

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
	for (int i = 0; i < plan.nlisten && status == STATUS_DONE; i++)
		status = serve_one(&state.listeners[i], plan.listen[i]);
	if (status == STATUS_DONE)
		status = admin_open("relay", &told);
	if (status == STATUS_DONE)
		status = toxiproxy_open();
	if (status == STATUS_DONE)
		privileges_hold_keys();
	return status;
}

/* ---- the sandbox ---- */

static void allow_listener(struct sandbox *box, int index)
{
	int kind = tn_url_kind(plan.listen[index]);
	enum tn_file_use use;
	const char *path;

	box->answers |= state.listeners[index].datagrams && (kind < 0 || kind & (TN_URL_LOCAL | TN_URL_INHERITED));
	for (int n = 0; tn_server_file(state.listeners[index].server, n, &path, &use) == 0; n++)
		sandbox_allow(box, path, use);
}

static void allow_targets(struct sandbox *box, const struct targets *targets)
{
	for (int i = 0; i < targets->count; i++)
		sandbox_allow_url(box, targets->list[i].url);
}

static int confine(void)
{
	static struct sandbox box;
	const struct targets *group;

	if (plan.no_sandbox)
		return STATUS_DONE;
	box.user = plan.user.name ? &plan.user : NULL;
	box.dials = true;
	box.names = has_only_proxies();
	allow_targets(&box, plan.targets);
	for (int i = 0; (group = route_group(i)); i++)
		allow_targets(&box, group);
	for (int i = 0; i < state.count; i++)
		allow_listener(&box, i);
	for (int i = 0; tee_url(i); i++)
		sandbox_allow_url(&box, tee_url(i));
	toxiproxy_allow(&box);
	recorder_allow(&box);
	tap_allow(&box);
	admin_allow(&box);
	log_allow(&box);
	return sandbox_enter(&box);
}

/* ---- all of it ---- */

static void worker_end(int index)
{
	if (index)
		return;
	admin_close();
	toxiproxy_close();
	notify_close();
	out_unwatch();
	log_stop();
	probe_stop();
	faults_stop();
	signals_stop();
}

static int start_probes(void)
{
	int err = probe_start(workers_loops()[0], plan.targets);
	struct targets *group;

	for (int i = 0; err == 0 && (group = route_group(i)); i++)
		err = probe_start(workers_loops()[0], group);
	return err;
}

static int run_all(void)
{
	static const struct workers_hooks hooks = {.end = worker_end};
	int status;

	for (int i = 0; i < state.count; i++)
		report_listening(state.listeners[i].server, state.listeners[i].asks ? "proxy" : "relay");
	admin_ready();
	toxiproxy_ready();
	log_ready();
	notify_ready();
	if (settings.json || settings.verbose)
		workers_watch_reader(close_all);
	if (start_probes() < 0)
		no_memory();
	status = workers_run(&hooks) < 0 ? STATUS_FAILED : STATUS_DONE;
	tee_tell();
	report_stopped();
	out_thread_stop();
	if (state.cut_off > 0)
		complain_warning("%u session%s cut off", state.cut_off, state.cut_off == 1 ? "" : "s");
	return state.cut_off > 0 && workers_were_hurried() ? STATUS_FAILED : status;
}

static void forget(void)
{
	for (int i = 0; i < plan.nlisten; i++)
		free(state.listeners[i].url);
	free(state.listeners);
	proxies_free();
	targets_free(plan.targets);
	free(options.asked_keys);
	probe_free();
	route_free();
	for (int i = 0; i < options.nrules; i++)
		free(options.rules[i].pattern);
	address_forget_all();
	faults_free();
}

static int run_plan(void)
{
	int status;

	state.listeners = calloc((size_t)plan.nlisten + 1, sizeof(*state.listeners));
	if (!state.listeners)
		return no_memory();
	file_limit_raise(NULL);
	served_watch_closed(on_connection_closed);
	status = begin();
	if (status == STATUS_DONE)
		status = recorder_open("relay");
	if (status == STATUS_DONE)
		status = confine();
	if (status == STATUS_DONE)
		status = recorder_start();
	if (status == STATUS_DONE)
		status = tap_start();
	if (status == STATUS_DONE)
		status = faults_start(workers_loops()[0]);
	if (status == STATUS_DONE) {
		status = run_all();
	} else {
		admin_close();
		toxiproxy_close();
		notify_close();
		signals_stop();
		workers_free();
	}
	tap_close();
	recorder_close();
	sandbox_leave();
	forget();
	log_close();
	return status;
}

static int run(char **operands, int count)
{
	int status = log_open();

	if (status == STATUS_DONE)
		status = tap_open("relay", admin_is_wanted());
	if (status == STATUS_DONE)
		status = make_plan(operands, count);
	return status == STATUS_DONE ? run_plan() : status;
}

int relay_serve(char **listen, int count, const char *target, const struct relay_options *how)
{
	char *operands[2] = {listen[0], (char *)(uintptr_t)target}; /* NULL: of a proxy */
	const char *why = NULL;

	options.threads = how->threads;
	plan.max_sessions = how->max_sessions;
	plan.drain_ns = how->drain_ns;
	plan.user = *how->user;
	plan.no_sandbox = how->no_sandbox;
	for (int i = 1; i < count && !why; i++)
		why = add_listener(listen[i], NULL);
	if (why) {
		complain("serve: %s %s", listen[plan.nlisten], why);
		return STATUS_USAGE;
	}
	return run(operands, target ? 2 : 1);
}

static const struct option_spec own_options[] = {
	{"listen", 'l', OPTION_VALUES, add_listener, NULL, "URL", "listen here too"},
	{"balance", 'b', OPTION_VALUE, set_balance, &balance, "HOW",
	 "which target a session gets: round-robin (default), first (that is alive), least (sessions), source"},
	{"connect", 0, OPTION_VALUE, set_connect, &plan.connect, "DUR",
	 "give up a target that is not reached after this time, or whose handshake takes as long (default 5s)"},
	{"sni", 0, OPTION_VALUES, add_sni, NULL, "NAME=URL",
	 "a target for TLS clients that ask for this server; *.NAME stands for all names below; TLS is not ended"},
	{"alpn", 0, OPTION_VALUES, add_alpn, NULL, "NAME=URL",
	 "a target for TLS clients that offer this application protocol"},
	{"protocol", 0, OPTION_VALUES, add_protocol, NULL, "NAME=URL",
	 "a target for clients that speak tls, ssh or http, by their first bytes"},
	{"default", 0, OPTION_VALUES, add_default, NULL, "URL", "a target for all others, as a URL behind LISTEN is"},
	{"probe", 0, OPTION_VALUE, option_set_duration, &plan.probe.every_ns, "DUR",
	 "connect to each target this often, to know whether it works"},
	{"probe-send", 0, OPTION_VALUE, option_set_text, &plan.probe.send, "MESSAGE",
	 "send this too, in the target's format (typed as JSON), and wait for a reply"},
	{"probe-expect", 0, OPTION_VALUE, option_set_text, &plan.probe.expect, "MESSAGE",
	 "the reply that a target which works gives; of a stream without a frame: how it begins"},
	{"rise", 0, OPTION_VALUE, option_set_number, &plan.probe.rise, "N",
	 "a target works again after so many good probes in a row (default 2)"},
	{"fall", 0, OPTION_VALUE, option_set_number, &plan.probe.fall, "N",
	 "a target is left out after so many bad probes in a row (default 3)"},
	{"first-byte", 0, OPTION_VALUE, option_set_duration, &plan.first_byte_ns, "DUR",
	 "reset a client that has said nothing after this time"},
	{"longest", 0, OPTION_VALUE, option_set_duration, &plan.longest_ns, "DUR",
	 "reset a session after this time, whatever it does"},
	{"rate-in", 0, OPTION_VALUE, option_set_rate, &plan.rate_in, "SIZE", "bytes a second from a client; more wait"},
	{"rate-out", 0, OPTION_VALUE, option_set_rate, &plan.rate_out, "SIZE", "bytes a second to a client"},
	{"source-rate-in", 0, OPTION_VALUE, option_set_rate, &plan.source_rate_in, "SIZE",
	 "the same from all clients with one address"},
	{"source-rate-out", 0, OPTION_VALUE, option_set_rate, &plan.source_rate_out, "SIZE", "and to them"},
	{"tee", 0, OPTION_VALUES, tee_add, NULL, "URL",
	 "send a copy of what clients say here too, and drop the answers; no session waits for it"},
	{"tee-sample", 0, OPTION_VALUE, tee_set_sample, NULL, "CHANCE", "of so many sessions (10%; default all)"},
	{"tee-replies", 0, OPTION_ALONE, option_set_flag, &tee_replies, NULL, "and of what targets answer"},
	{"chaos", 0, OPTION_VALUES, faults_add, NULL, "SPEC",
	 "faults of sessions: latency=10ms,jitter=2ms,up.loss=5%,seed=1 (tenon-relay(1), Faults)"},
	{"chaos-script", 0, OPTION_VALUE, faults_set_script, NULL, "FILE",
	 "the same over time: lines of TIME SPEC, TIME off, TIME repeat"},
	{"chaos-api", 0, OPTION_VALUE, toxiproxy_set, NULL, "URL",
	 "answer the HTTP API of Toxiproxy, by which programs make proxies and faults: http://localhost:8474"},
	{"record", 0, OPTION_VALUE, option_set_text, &recorder_options.path, "FILE", RECORD_MEANING},
	{"record-size", 0, OPTION_VALUE, recorder_set_size, &recorder_options.size, "SIZE", RECORD_SIZE_MEANING},
	{"record-every", 0, OPTION_VALUE, option_set_duration, &recorder_options.every_ns, "DUR", RECORD_EVERY_MEANING},
	{"record-files", 0, OPTION_VALUE, option_set_number, &recorder_options.files, "N", RECORD_FILES_MEANING},
	{"record-memory", 0, OPTION_VALUE, recorder_set_memory, &recorder_options.memory, "SIZE",
	 RECORD_MEMORY_MEANING},
	{"trace", 0, OPTION_VALUE, trace_set_form, NULL, "FORM", TRACE_MEANING},
	{"trace-to", 0, OPTION_VALUE, trace_set_file, NULL, "FILE", TRACE_TO_MEANING},
	{"trace-bytes", 0, OPTION_VALUE, trace_set_bytes, NULL, "SIZE", TRACE_BYTES_MEANING},
	{"threads", 0, OPTION_VALUE, workers_set_count, &options.threads, "N",
	 "event loops, each in a thread of its own; auto: one for each processor (default 1)"},
	{"max-sessions", 'm', OPTION_VALUE, option_set_number, &plan.max_sessions, "N",
	 "sessions at a time on each listener (datagrams: and loop, default 10000)"},
	{"idle", 'i', OPTION_VALUE, option_set_duration, &plan.idle_ns, "DUR",
	 "end a session over datagrams after this time without any (default 1m)"},
	{"drain", 0, OPTION_VALUE, option_set_duration, &plan.drain_ns, "DUR",
	 "time for sessions to finish when the relay ends (default 5s)"},
	{"user", 0, OPTION_VALUE, privileges_set, &plan.user, "NAME",
	 "user to become once the sockets are bound (default for root: who called sudo, or nobody)"},
	{"no-sandbox", 0, OPTION_ALONE, option_set_flag, &plan.no_sandbox, NULL,
	 "keep root, access to files, and all system calls"},
	{"admin", 0, OPTION_VALUES, admin_set, NULL, "URL", ADMIN_MEANING},
	{"admin-trace", 0, OPTION_VALUE, last_set_count, NULL, "N", ADMIN_TRACE_MEANING},
	{"log", 0, OPTION_VALUE, log_set_form, NULL, "FORM", LOG_MEANING},
	{"log-level", 0, OPTION_VALUE, log_set_level, NULL, "LEVEL", LOG_LEVEL_MEANING},
	{"log-file", 0, OPTION_VALUE, log_set_file, NULL, "FILE", LOG_FILE_MEANING},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json, NULL, "events as JSON objects, one a line"},
	{0},
};

const struct command relay_command = {
	.name = "relay",
	.meaning = "relay every session of an endpoint to another endpoint",
	.help = "Examples:\n"
		"  tenon relay 'tcp://*:7000' unix:/run/app.sock\n"
		"  tenon relay 'tls://*:5432?cert=server.pem&key=server.key' unix:/run/pg.sock\n"
		"  tenon relay 'udp://*:53' udp://dns1:53 udp://dns2:53 --balance first\n"
		"  tenon relay 'tcp://*:443' --sni '*.a.example=tcp://10.0.0.2:443' --default tcp://10.0.0.3:443\n"
		"  tenon relay 'tcp://*:7000?frame=u32&format=cbor' 'tcp://app:7001?frame=line&format=json'\n"
		"\n"
		"Usage:\n"
		"  tenon relay LISTEN [TARGET...]\n"
		"  tenon relay --chaos-api URL\n"
		"\n"
		"The first URL is where clients come from; all others are targets. Each client gets a session: a\n"
		"connection of its own to one of the targets, by which bytes or messages go both ways. A target that\n"
		"cannot be reached is left out for a while, and the next one is tried. Prints a line for each\n"
		"listener; with -v also one for each session that has ended.\n",
	.options = own_options,
	.run = run,
};
