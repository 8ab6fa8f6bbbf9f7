/*
 * tenon serve: several endpoints in one process, a loop and a thread for each processor asked for.
 *
 * The first SIGINT or SIGTERM closes the servers, which lets their connections finish; once all have gone the loops
 * stop, each is freed by the thread that ran it, and the process ends. A second signal does not wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bound.h"
#include "command.h"
#include "events.h"
#include "handler/handler.h"
#include "options.h"
#include "output.h"
#include "privileges.h"
#include "sandbox.h"
#include "signals.h"
#include "tenon.h"

#define THREADS_MAX 1024
#define NS_PER_MS 1000000ULL
#define UNSET UINT64_MAX
#define MAX_CHILDREN 128
#define ORPHANS_MS 1000 /* how often those that have fallen to us are reaped */
#define KEEP_MS 3600000 /* how often a loop that has nothing else to do turns over in its sleep */

static struct {
	const char *handler, *threads;
	unsigned max_conns;
	uint64_t drain_ns;
	const char *idle, *drain, *on_bad, *request, *per_source, *accept_rate; /* as they were given */
	struct privileges_user user;                                            /* without a name: none was given */
	unsigned max_children;
	uint64_t grace_ns;
	bool no_sandbox;
} options = {.drain_ns = UNSET, .grace_ns = UNSET};

/* A loop and its thread. The first is the main thread's. */
struct worker {
	struct tn_loop *loop;
	struct tn_timer *keep, *orphans;
	pthread_t thread;
	int err;
};

static struct {
	struct worker *workers;
	int nworkers;
	struct served *served;
	int nserved, open;
	_Atomic(bool) closing; /* the servers have been told to end */
	bool hurried;          /* by a second signal, which does not wait for them */
	_Atomic(unsigned) cut_off;
} state;

/* ---- options ---- */

/* Options that are keys of every endpoint to which they can apply. What a value means, the library says. */
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

/* "auto" is what this process may use, not what the machine has. */
static const char *set_threads(const char *value, void *to)
{
	cpu_set_t set;
	const char *why = NULL;

	if (strcmp(value, "auto") != 0)
		why = option_set_number(value, to);
	else if (sched_getaffinity(0, sizeof(set), &set) == 0)
		*(unsigned *)to = (unsigned)CPU_COUNT(&set);
	if (!why && *(unsigned *)to > THREADS_MAX)
		why = "is out of range (1 to 1024, or auto)";
	return why;
}

static const char *set_user(const char *value, void *to)
{
	return privileges_find(value, to) ? NULL : "is no user (or user:group) of this system";
}

static unsigned nthreads = 1;

/* The URL with key=value added; free() it. NULL without memory. */
static char *with_key(const char *url, const struct url_option *option)
{
	char *longer;

	if (asprintf(&longer, "%s%c%s=%s", url, strchr(url, '?') ? '&' : '?', option->key, *option->value) < 0)
		return NULL;
	return longer;
}

/* The URL with what the options say added where it has no such key and it can apply; free() it. NULL without memory. */
static char *full_url(const char *url)
{
	char *full = strdup(url);

	for (size_t i = 0; full && i < NURL_OPTIONS; i++) {
		char *longer;

		if (!*url_options[i].value || tn_url_has_key(url, url_options[i].key) > 0)
			continue;
		longer = with_key(full, &url_options[i]);
		if (longer && tn_url_check(longer, TN_SERVE) < 0) {
			free(longer);
			continue;
		}
		free(full);
		full = longer;
	}
	return full;
}

/* The library's reason why a key was refused, without the URL, which nobody has typed so. */
static const char *key_reason(const char *key)
{
	const char *why = strstr(tn_errmsg(), "key '");

	return why && strncmp(why + 5, key, strlen(key)) == 0 ? why + 5 + strlen(key) + 3 : tn_errmsg();
}

/* Whether the library refused the value, which is the last in the URL, and not the key: it points at what is wrong. */
static bool is_bad_value(const char *url, const struct url_option *option)
{
	return tn_errpos() >= (long)(strlen(url) - strlen(*option->value));
}

/*
 * Whether an option means something to one of the endpoints: one that has no effect is told. A bad value is told
 * whatever the other endpoints are.
 */
static int check_option(const struct url_option *option, char **urls, int count)
{
	bool applies = option->everywhere, bad = false;
	char *longer = NULL;
	int err = 0;

	for (int i = 0; i < count && !applies && !bad; i++) {
		free(longer);
		longer = with_key(urls[i], option);
		err = longer ? tn_url_check(longer, TN_SERVE) : -ENOMEM;
		bad = err == TN_EURL && is_bad_value(longer, option);
		applies = tn_url_has_key(urls[i], option->key) > 0 || err == 0;
	}
	free(longer);
	if (applies)
		return STATUS_DONE;
	complain("serve: --%s: %s", option->option, key_reason(option->key));
	complain_hint("%s serve --help", settings.program);
	return status_of(err);
}

/* ---- ending ---- */

static bool is_open(const struct served *served)
{
	return served->server && !served->over;
}

/* Held while another thread's loop is told to stop, or taken away to be freed. */
static pthread_mutex_t loops_lock = PTHREAD_MUTEX_INITIALIZER;

static void stop_all(void)
{
	pthread_mutex_lock(&loops_lock);
	for (int i = 0; i < state.nworkers; i++)
		if (state.workers[i].loop)
			tn_loop_stop(state.workers[i].loop);
	pthread_mutex_unlock(&loops_lock);
}

static void on_server_closed(void *arg)
{
	struct served *served = arg;

	served->over = true;
	if (--state.open == 0)
		stop_all();
}

/* From the thread of the connection's loop. What a deadline or a second signal ends has not been finished. */
static void on_connection_closed(struct served *served, int err)
{
	if (err == -ECANCELED && state.closing)
		state.cut_off++;
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
	for (int i = 0; i < state.nserved; i++)
		if (is_open(&state.served[i]))
			tn_server_close(state.served[i].server, drain_ns / NS_PER_MS, on_server_closed,
					&state.served[i]);
}

static void on_signal(int nth, void *arg)
{
	(void)arg;
	if (nth == 1) {
		close_all();
		return;
	}
	state.hurried = true;
	stop_all();
}

/* Certificates are read anew; what cannot be used leaves the old ones in use. */
static void on_hangup(void *arg)
{
	(void)arg;
	for (int i = 0; i < state.nserved; i++) {
		struct served *served = &state.served[i];
		int err = is_open(served) ? tn_server_reload(served->server) : -EOPNOTSUPP;

		if (err >= 0 && !settings.quiet)
			complain("%s: the certificates have been read anew", served->urls[0]);
		else if (err < 0 && err != -EOPNOTSUPP)
			complain("%s; the old certificates stay in use", tn_errmsg());
	}
}

static bool any_is_secured(void)
{
	char value[16];

	for (int i = 0; i < state.nserved; i++)
		if (tn_server_option(state.served[i].server, "tls-min", value, sizeof(value)) == 0)
			return true;
	return false;
}

static void close_posted(void *arg)
{
	(void)arg;
	close_all();
}

/*
 * The reader of the events has gone, and it was the reason to serve. From the thread that writes them, at any time.
 * Without memory to say so, it ends without delay.
 */
static void on_output_lost(void *arg)
{
	bool told = true;

	(void)arg;
	pthread_mutex_lock(&loops_lock);
	if (state.nworkers && state.workers[0].loop)
		told = tn_loop_post(state.workers[0].loop, close_posted, NULL) == 0;
	pthread_mutex_unlock(&loops_lock);
	if (!told)
		stop_all();
}

/* It may go while there is nothing to tell. */
static void on_reader_gone(void *arg)
{
	(void)arg;
	close_all();
}

/*
 * A terminal that hangs up sends SIGHUP; a server that ignores it goes on. That a reader cannot be watched is no
 * failure: the next event tells that it has gone.
 */
static void watch_reader(void)
{
	out_thread_start(on_output_lost, NULL);
	if (!isatty(STDOUT_FILENO))
		(void)out_watch(state.workers[0].loop, on_reader_gone, NULL);
}

/* ---- commands ---- */

static bool runs_commands(void)
{
	return options.handler && strncmp(options.handler, "exec:", 5) == 0;
}

static void on_child(const struct handler_child *child)
{
	for (int i = 0; i < state.nserved; i++)
		if (state.served[i].server == child->server)
			events_child(&state.served[i], child);
}

static void prepare_commands(void)
{
	unsigned max = options.max_children;

	handler_watch_children(on_child);
	if (!max && options.max_conns > MAX_CHILDREN)
		max = options.max_conns;
	handler_limit_children(max ? max : MAX_CHILDREN);
	if (options.grace_ns != UNSET)
		handler_set_grace(options.grace_ns / NS_PER_MS);
}

/* Orphans fall to PID 1 of a container, which has to reap them: those of commands, and of whatever else runs there. */
static bool takes_orphans(void)
{
	int reaper = 0;

	return getpid() == 1 || (prctl(PR_GET_CHILD_SUBREAPER, &reaper, 0, 0, 0) == 0 && reaper);
}

static void reap(void *arg)
{
	struct worker *worker = arg;

	worker->orphans = NULL;
	handler_reap_orphans();
	if (tn_timer_start(worker->loop, ORPHANS_MS, reap, worker, &worker->orphans) < 0)
		complain("orphans are not reaped any more: %s", tn_errmsg());
}

/* ---- threads ---- */

/* A loop without a listener of its own (Unix sockets have one in all) must not end for want of work. */
static void keep(void *arg)
{
	struct worker *worker = arg;

	worker->keep = NULL;
	if (tn_timer_start(worker->loop, KEEP_MS, keep, worker, &worker->keep) < 0) {
		complain("%s", tn_errmsg());
		stop_all();
	}
}

static void worker_free(struct worker *worker)
{
	struct tn_loop *loop = worker->loop;

	pthread_mutex_lock(&loops_lock);
	worker->loop = NULL;
	pthread_mutex_unlock(&loops_lock);
	tn_loop_free(loop);
}

static void *worker_run(void *arg)
{
	struct worker *worker = arg;

	keep(worker);
	if (worker == state.workers && takes_orphans())
		reap(worker);
	worker->err = tn_loop_run(worker->loop);
	tn_timer_stop(worker->keep);
	tn_timer_stop(worker->orphans);
	/* One that cannot wait for events any more has clients whom nobody serves: the others do not go on as if all
	 * were well. */
	if (worker->err < 0) {
		complain("%s", tn_errmsg());
		stop_all();
	}
	if (worker == state.workers) {
		for (int i = 1; i < state.nworkers; i++)
			pthread_join(state.workers[i].thread, NULL);
		out_unwatch();
		signals_stop();
	}
	worker_free(worker);
	handler_finish();
	return NULL;
}

/* Before any thread runs, what has been made is freed here. */
static void workers_free(int count)
{
	signals_stop();
	for (int i = count - 1; i >= 0; i--)
		tn_loop_free(state.workers[i].loop);
	handler_finish();
}

static int no_memory(void)
{
	complain("serve: out of memory");
	return -ENOMEM;
}

static int workers_new(void)
{
	int err = 0;

	state.workers = calloc(nthreads, sizeof(*state.workers));
	if (!state.workers)
		return no_memory();
	while (err >= 0 && state.nworkers < (int)nthreads) {
		err = options_loop_new(&state.workers[state.nworkers].loop, NULL);
		state.nworkers += err >= 0;
	}
	return err;
}

static int workers_run(void)
{
	for (int i = 1; i < state.nworkers; i++) {
		int err = pthread_create(&state.workers[i].thread, NULL, worker_run, &state.workers[i]);

		if (err) {
			complain("thread: %s", tn_strerror(-err));
			_exit(STATUS_FAILED); /* loops that no thread has run cannot be taken back in good order */
		}
	}
	worker_run(&state.workers[0]);
	for (int i = 0; i < state.nworkers; i++)
		if (state.workers[i].err < 0)
			return STATUS_FAILED;
	return STATUS_DONE;
}

/* ---- serving ---- */

/* The watch tells of those who come and go, so the end of a datagram endpoint is seen on its handler's way. */
static void on_datagrams_close(struct tn_conn *conn, int err, void *arg)
{
	const struct tn_server *server = tn_conn_server(conn);

	for (int i = 0; i < state.nserved; i++) {
		const struct served *served = &state.served[i];

		if (served->server != server)
			continue;
		events_datagrams(served, conn);
		if (served->face->on_close)
			served->face->on_close(conn, err, arg);
	}
}

static int open_on_loops(struct served *served, const char *url, const char *argument)
{
	struct tn_loop *loops[THREADS_MAX];
	struct tn_handler face = *served->face;
	char *full = full_url(url);
	int err;

	if (!full)
		return -ENOMEM;
	for (int i = 0; i < state.nworkers; i++)
		loops[i] = state.workers[i].loop;
	if (served->told && served->datagrams)
		face.on_close = on_datagrams_close;
	err = tn_serve_loops(loops, state.nworkers, full, &face, (void *)(uintptr_t)argument, &served->server);
	free(full);
	return err;
}

static int serve_one(struct served *served, const char *url, const struct handler_spec *spec, const char *argument)
{
	int err;

	served->handler = spec->name;
	served->commands = runs_commands() && !handler_is_datagrams(url);
	served->face = handler_face(spec, url);
	served->datagrams = handler_is_datagrams(url);
	served->told = settings.json || settings.verbose;
	served->closed = on_connection_closed;
	err = open_on_loops(served, url, argument);
	if (err < 0) {
		int status = complain_library(err, url);

		bound_why(err, url);
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
	return STATUS_DONE;
}

static int serve_all(char **urls, int count)
{
	const struct handler_spec *spec = NULL;
	const char *argument = NULL, *why;

	if (options.handler)
		spec = handler_find(options.handler, &argument, &why);
	for (int i = 0; i < count; i++) {
		int status = serve_one(&state.served[i], urls[i], spec ? spec : handler_default(urls[i]), argument);

		if (status != STATUS_DONE)
			return status;
	}
	return STATUS_DONE;
}

/* Thousands of clients need as many descriptors; children get back the limit that was set for us. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	handler_set_child_files(&limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void hint(void)
{
	if (settings.quiet || settings.json)
		return;
	fprintf(stderr,
		"\nType in a second terminal:\n"
		"  %1$s send udp://localhost:10000 'Hello, world!'\n"
		"  %1$s send tcp://localhost:10000 'Hello, world!'\n"
		"  %1$s connect tcp://localhost:10000\n"
		"Ctrl-C ends the server.\n",
		settings.program);
}

static int check_all(char **urls, int count)
{
	const char *argument, *why;

	for (int i = 0; i < count; i++)
		if (tn_url_check(urls[i], TN_SERVE) < 0)
			return complain_library(TN_EURL, urls[i]);
	for (size_t i = 0; i < NURL_OPTIONS; i++)
		if (*url_options[i].value && check_option(&url_options[i], urls, count) != STATUS_DONE)
			return STATUS_USAGE;
	if (options.handler && !handler_find(options.handler, &argument, &why)) {
		complain("serve: --handler: %s", why);
		return STATUS_USAGE;
	}
	return STATUS_DONE;
}

static int begin(char **urls, int count)
{
	int err = workers_new();

	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	err = signals_start(state.workers[0].loop, on_signal, NULL);
	if (err < 0)
		return complain_library(err, NULL);
	err = serve_all(urls, count);
	if (err == STATUS_DONE && any_is_secured())
		privileges_hold_keys();
	if (err == STATUS_DONE && any_is_secured() && signals_on_hangup(state.workers[0].loop, on_hangup, NULL) < 0)
		return complain_library(-ENOMEM, NULL);
	return err;
}

/* What is reached from here on: the sockets that are open, and the files that they need. */
static int confine(void)
{
	struct sandbox box = {.user = options.user.name ? &options.user : NULL, .children = runs_commands()};
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
	for (int i = 0; i < state.nserved; i++) {
		for (int n = 0; tn_server_file(state.served[i].server, n, &path, &use) == 0; n++)
			if (!sandbox_allow(&box, path, use)) {
				complain("too many files for the sandbox");
				complain_hint("--no-sandbox");
				return STATUS_FAILED;
			}
	}
	return sandbox_enter(&box);
}

/* Some init systems start a server without standard output. Then nobody wants what it tells: that is no failure. */
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
	int status;

	for (int i = 0; i < state.nserved; i++)
		events_listening(&state.served[i]);
	if (settings.json || settings.verbose)
		watch_reader();
	if (with_hint)
		hint();
	status = workers_run();
	events_stopped();
	out_thread_stop();
	if (state.cut_off > 0)
		complain("%u connection%s cut off", state.cut_off, state.cut_off == 1 ? "" : "s");
	return state.cut_off > 0 && state.hurried ? STATUS_FAILED : status;
}

static void served_free(void)
{
	for (int i = 0; i < state.nserved; i++) {
		for (int j = 0; j < state.served[i].nurls; j++)
			free(state.served[i].urls[j]);
		free(state.served[i].urls);
	}
	free(state.served);
	/* A writer of events that is stuck may still be there. */
	pthread_mutex_lock(&loops_lock);
	state.nworkers = 0;
	pthread_mutex_unlock(&loops_lock);
	free(state.workers);
}

static int run(char **operands, int count)
{
	static char tcp[] = "tcp://localhost:10000", udp[] = "udp://localhost:10000";
	char *defaults[] = {tcp, udp};
	char **urls = count ? operands : defaults;
	int nurls = count ? count : 2, status = check_all(urls, nurls);

	if (status != STATUS_DONE)
		return status;
	state.served = calloc((size_t)nurls, sizeof(*state.served));
	if (!state.served) {
		no_memory();
		return STATUS_FAILED;
	}
	open_output();
	raise_file_limit();
	prepare_commands();
	status = begin(urls, nurls);
	if (status == STATUS_DONE)
		status = confine();
	if (status == STATUS_DONE)
		status = run_all(count == 0);
	else
		workers_free(state.nworkers);
	sandbox_leave();
	served_free();
	return status;
}

static const struct option_spec own_options[] = {
	{"handler", 0, OPTION_VALUE, option_set_text, &options.handler},
	{"threads", 0, OPTION_VALUE, set_threads, &nthreads},
	{"max-conns", 'm', OPTION_VALUE, option_set_number, &options.max_conns},
	{"per-source", 0, OPTION_VALUE, set_for_key, &options.per_source},
	{"accept-rate", 0, OPTION_VALUE, set_for_key, &options.accept_rate},
	{"idle", 'i', OPTION_VALUE, set_for_key, &options.idle},
	{"request", 0, OPTION_VALUE, set_for_key, &options.request},
	{"drain", 0, OPTION_VALUE, set_drain, &options.drain_ns},
	{"on-bad", 0, OPTION_VALUE, set_for_key, &options.on_bad},
	{"user", 0, OPTION_VALUE, set_user, &options.user},
	{"max-children", 0, OPTION_VALUE, option_set_number, &options.max_children},
	{"grace", 0, OPTION_VALUE, option_set_duration, &options.grace_ns},
	{"no-sandbox", 0, OPTION_ALONE, option_set_flag, &options.no_sandbox},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json},
	{"", 'k', OPTION_ALONE, option_set_nothing, NULL},
	{0},
};

const struct command serve_command = {
	.name = "serve",
	.takes_place = true,
	.meaning = "serve endpoints: echo, ack, discard, chargen, or a command of yours",
	.help = "Examples:\n"
		"  tenon serve                                       echo on tcp://localhost:10000,\n"
		"                                                    ack on udp://localhost:10000\n"
		"  tenon serve 'tcp://*:7' 'udp://*:7' --handler echo\n"
		"  tenon serve unix:/tmp/sort.sock --handler 'exec:sort'\n"
		"  tenon serve tcp://localhost:0 --threads auto --json\n"
		"  tenon serve 'tls://*:10443?cert=server.pem&key=server.key'\n"
		"\n"
		"Usage:\n"
		"  tenon serve [URL...]\n"
		"\n"
		"One line on standard output for each listener, with its real address. SIGINT or SIGTERM stops\n"
		"accepting and lets connections finish; a second one ends at once. SIGHUP reads certificates anew.\n"
		"\n"
		"Options:\n"
		"      --handler NAME    echo      sends back what comes (default on streams)\n"
		"                        ack       replies 'ack: ' and the data (default on datagrams)\n"
		"                        discard   reads and throws away\n"
		"                        chargen   sends lines of characters without end\n"
		"                        exec:COMMAND   runs COMMAND for each connection (or datagram)\n"
		"      --threads N       loops, each with a thread of its own; auto: one for each processor\n"
		"                        (default 1)\n"
		"  -m, --max-conns N     connections at a time on each endpoint; more are closed at once\n"
		"      --per-source N    connections at a time from one address; more are closed at once\n"
		"      --accept-rate N   new connections a second on each endpoint; more wait\n"
		"  -i, --idle DUR        close connections on which nothing has come or gone for so long\n"
		"      --max-children N  commands of exec: at a time, over all endpoints (default 128, or\n"
		"                        what -m says)\n"
		"      --grace DUR       time that a command has to end after its client has closed (default 5s)\n"
		"      --request DUR     close connections on which a message is not whole after so long (default 1m)\n"
		"      --drain DUR       time that connections have to finish when the server ends (default 5s)\n"
		"      --on-bad WHAT     a message that the key format refuses: close the connection, or skip it\n"
		"                        (default: echo and ack answer with an error and go on, others close)\n"
		"      --user NAME       user to become once the sockets are bound (default for root: who called\n"
		"                        sudo, or nobody; but commands of exec: stay with the user who started it)\n"
		"  -k                    always so: goes on to accept\n"
		"      --no-sandbox      keep root, files, system calls: all that a server that is taken over\n"
		"                        could use\n"
		"      --json            events as JSON objects, one a line\n"
		"  -v                    a line for each connection that opens or closes\n",
	.options = own_options,
	.run = run,
};
