/* Scenarios of the command: its own main(), with what fails inside it, and peers that nothing happens to. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int tenon_main(int argc, char **argv);

#define ARGS_MAX 16

/* %s: the test's directory, %c: the certificates', %p: the port of an echo server. */
struct run {
	const char *name, *input; /* what `served` begins with, too, if there is any: it is answered with GRANTED */
	const char *args[ARGS_MAX];
	bool peer, engines;
	bool served; /* it serves: somebody comes, talks, and ends it */
	bool varies; /* what it writes is another thing each time */
};

#define DOCUMENT "{\"a\":[1,-2,3.25e10,true,null,\"text \\u00e9\"],\"b\":{\"c\":{\"d\":[]}},\"e\":\"\"}\n"

static const struct run runs[] = {
	{"convert-json-xml", DOCUMENT, {"convert", "--from", "json", "--to", "xml"}, false, false, false, false},
	{"convert-json-cbor", DOCUMENT, {"convert", "--from", "json", "--to", "cbor"}, false, false, false, false},
	{"convert-json-msgpack",
	 DOCUMENT,
	 {"convert", "--from", "json", "--to", "msgpack"},
	 false,
	 false,
	 false,
	 false},
	{"convert-xml-json",
	 "<a><b x='1'>t</b>u</a>",
	 {"convert", "--from", "xml", "--to", "json"},
	 false,
	 false,
	 false,
	 false},
	{"convert-cbor-json",
	 "\x82\x01\xa1\x61"
	 "k\x63"
	 "xyz",
	 {"convert", "--from", "cbor", "--to", "json"},
	 false,
	 false,
	 false,
	 false},
	{"convert-msgpack-json",
	 "\x92\x01\x81\xa1"
	 "k\xa3"
	 "xyz",
	 {"convert", "--from", "msgpack", "--to", "json"},
	 false,
	 false,
	 false,
	 false},
	{"convert-bad", "{\"a\":", {"convert", "--from", "json", "--to", "cbor"}, false, false, false, false},
	{"options", "", {"options"}, false, false, false, false},
	{"version", "", {"--version"}, false, false, false, true},
	{"send", "", {"send", "tcp://127.0.0.1:%p", "hello"}, true, true, false, false},
	{"send-input", "line one\nline two\n", {"send", "tcp://127.0.0.1:%p?frame=line"}, true, true, false, false},
	{"send-name", "", {"send", "tcp://localhost:%p", "hello"}, true, true, false, false},
	{"connect", "hello\n", {"connect", "tcp://127.0.0.1:%p"}, true, true, false, false},
	{"connect-exec", "hello\n", {"connect", "exec:cat"}, false, false, false, false},
	{"bench", "", {"bench", "tcp://127.0.0.1:%p", "--requests", "20", "--json"}, true, true, false, true},
	{"ping-connect",
	 "",
	 {"ping", "--count", "3", "--interval", "1ms", "tcp://127.0.0.1:%p"},
	 true,
	 true,
	 false,
	 true},
	{"ping-messages",
	 "",
	 {"ping", "--json", "--count", "3", "--interval", "1ms", "tcp://127.0.0.1:%p?frame=line&format=json"},
	 true,
	 true,
	 false,
	 true},
	{"inspect", "", {"inspect"}, true, false, false, true},
	{"inspect-json", "", {"inspect", "--json"}, true, false, false, true},
	{"serve", "", {"serve", "--no-sandbox", "unix:%s/s"}, false, true, true, true},
	{"serve-json",
	 "",
	 {"serve", "--no-sandbox", "--json", "unix:%s/s", "udp://127.0.0.1:0"},
	 false,
	 true,
	 true,
	 true},
	{"serve-threads",
	 "",
	 {"serve", "--no-sandbox", "--threads", "2", "unix:%s/s", "tcp://127.0.0.1:0"},
	 false,
	 true,
	 true,
	 true},
	{"serve-exec", "", {"serve", "--no-sandbox", "--handler", "exec:cat", "unix:%s/s"}, false, true, true, true},
	{"serve-exec-others",
	 "",
	 {"serve", "--no-sandbox", "unix:%s/s?handler=exec-pty:cat", "udp://127.0.0.1:0?session=1s&handler=exec:cat"},
	 false,
	 true,
	 true,
	 true},
	{"serve-tls",
	 "",
	 {"serve", "--no-sandbox", "unix:%s/s", "tls://127.0.0.1:0?cert=%c/a.pem&key=%c/a.key"},
	 false,
	 true,
	 true,
	 true},
	{"relay",
	 "",
	 {"relay", "--no-sandbox", "--json", "unix:%s/s", "tcp://127.0.0.1:%p", "--rate-in", "1MiB", "--source-rate-in",
	  "1MiB", "--longest", "1h"},
	 true,
	 true,
	 true,
	 true},
	{"relay-record",
	 "",
	 {"relay", "--no-sandbox", "--json", "unix:%s/s", "tcp://127.0.0.1:%p", "--record", "%s/r.pcapng",
	  "--record-every", "1us", "--tee", "tcp://127.0.0.1:%p", "--chaos", "latency=1ms,seed=1"},
	 true,
	 true,
	 true,
	 true},
	{"serve-record",
	 "",
	 {"serve", "--no-sandbox", "--json", "unix:%s/s", "udp://127.0.0.1:0", "--record", "%s/r.pcapng",
	  "--record-every", "1us", "--log", "json"},
	 false,
	 true,
	 true,
	 true},
	{"relay-rules",
	 "",
	 {"relay", "--no-sandbox", "-v", "unix:%s/s", "--protocol", "ssh=tcp://127.0.0.1:%p", "--sni",
	  "a=tcp://127.0.0.1:%p", "--first-byte", "20ms", "--default", "tcp://127.0.0.1:%p"},
	 true,
	 true,
	 true,
	 true},
#ifdef TNI_HAVE_PROXY
	{"serve-proxy",
	 "CONNECT 127.0.0.1:%p HTTP/1.0\r\n\r\n",
	 {"serve", "--no-sandbox", "--json", "proxy+unix:%s/s?allow-to=127.0.0.1"},
	 true,
	 true,
	 true,
	 true},
#endif
	{"cert", "", {"cert", "show", "%c/a.pem"}, false, false, false, true},
};

#define NRUNS (sizeof(runs) / sizeof(runs[0]))

/* ---- peers: processes of their own, without this library, that end with the trial's ---- */

static pid_t peer_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		trial_fails("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(120);
	}
	return pid;
}

/* Echoes to one after the other; each has a process. */
static _Noreturn void echo_for_ever(int listener)
{
	char data[65536];

	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		ssize_t n;

		if (fd >= 0 && peer_fork() == 0) {
			while ((n = read(fd, data, sizeof(data))) > 0)
				for (ssize_t at = 0, w; at < n; at += w)
					if ((w = write(fd, data + at, (size_t)(n - at))) < 0)
						_exit(0);
			_exit(0);
		}
		close(fd);
	}
}

static pid_t echo_start(int *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, 64) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		trial_fails("the peer's socket: %s", strerror(errno));
	*port = ntohs(addr.sin_port);
	pid = peer_fork();
	if (pid == 0)
		echo_for_ever(fd);
	close(fd);
	return pid;
}

static void pause_ms(int ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000L};

	nanosleep(&ts, NULL);
}

#define GRANTED "HTTP/1.1 200 OK\r\n\r\n"

/* Says `first`, and waits for the answer. */
static bool is_granted(int fd, const char *first)
{
	char reply[sizeof(GRANTED) - 1];

	return send(fd, first, strlen(first), MSG_NOSIGNAL) == (ssize_t)strlen(first) &&
	       recv(fd, reply, sizeof(reply), MSG_WAITALL) == (ssize_t)sizeof(reply) &&
	       !memcmp(reply, GRANTED, sizeof(reply));
}

static bool ask_once(const char *path, const char *first)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = 1};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char reply[5];
	bool well;

	memccpy(addr.sun_path, path, 0, sizeof(addr.sun_path) - 1);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	well = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && (!*first || is_granted(fd, first)) &&
	       send(fd, "hello", 5, MSG_NOSIGNAL) == 5 && recv(fd, reply, 5, MSG_WAITALL) == 5 &&
	       !memcmp(reply, "hello", 5);
	close(fd);
	return well;
}

/* Comes when there is somebody to come to, asks until it has been answered, and tells the server to end. */
static pid_t visitor_start(const char *path, const char *first)
{
	pid_t server = getpid(), pid = peer_fork();
	struct stat st;

	if (pid != 0)
		return pid;
	while (stat(path, &st) < 0)
		pause_ms(2);
	for (int i = 0; i < 20 && !ask_once(path, first); i++)
		pause_ms(10);
	kill(server, SIGTERM);
	_exit(0);
}

/* ---- a run ---- */

static const char *fill_in(const char *arg, int port)
{
	static char texts[ARGS_MAX][512];
	static int next;
	char *out = texts[next++ % ARGS_MAX];
	size_t n = 0;

	for (; *arg && n + 1 < sizeof(texts[0]); arg++) {
		if (arg[0] != '%')
			out[n++] = *arg;
		else if (*++arg == 'p')
			n += (size_t)snprintf(out + n, sizeof(texts[0]) - n, "%d", port);
		else
			n += (size_t)snprintf(out + n, sizeof(texts[0]) - n, "%s",
					      *arg == 's' ? trial->dir : trial->certs);
	}
	out[n] = '\0';
	return out;
}

static void feed(const char *input)
{
	int fds[2];

	if (pipe(fds) < 0 || write(fds[1], input, strlen(input)) != (ssize_t)strlen(input))
		trial_fails("pipe: %s", strerror(errno));
	close(fds[1]);
	dup2(fds[0], STDIN_FILENO);
	close(fds[0]);
}

static void end_peer(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* What fails for ever is waited out by those who have reason to. */
static void *end_drought(void *arg)
{
	(void)arg;
	pause_ms(300);
	trial_arm(false);
	return NULL;
}

/* Signals are the command's. */
static void start_drought(void)
{
	sigset_t all, before;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, end_drought, NULL) != 0)
		trial_fails("no thread");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void run_command(const void *arg)
{
	const struct run *run = arg;
	char path[256];
	char *argv[ARGS_MAX + 2] = {(char *)"tenon"};
	pid_t peer = 0, visitor = 0;
	int argc = 1, port = 0;

	memory_watch(NULL); /* what setenv(3) allocates is kept */
	if (run->engines)
		setenv("TENON_ENGINE", trial->engine, 1);
	memory_watch(&trial->memory);
	if (run->peer)
		peer = echo_start(&port);
	snprintf(path, sizeof(path), "%s/s", trial->dir);
	for (int i = 0; i < ARGS_MAX && run->args[i]; i++)
		argv[argc++] = (char *)(uintptr_t)fill_in(run->args[i], port);
	feed(run->input);
	if (run->served)
		visitor = visitor_start(path, fill_in(run->input, port));
	if (trial->for_ever && trial->err)
		start_drought();
	trial_arm(true);
	trial->status = tenon_main(argc, argv);
	trial_arm(false);
	end_peer(peer);
	end_peer(visitor);
	fflush(stdout);
}

/* The kernel closes what is still open as connect and send end; --version loads libraries. */
static bool keeps_memory(const struct run *run)
{
	return strcmp(run->args[0], "connect") == 0 || strcmp(run->args[0], "send") == 0 ||
	       strcmp(run->args[0], "--version") == 0;
}

size_t command_scenarios_make(struct scenario *out, size_t max)
{
	size_t n = 0;

	for (; n < NRUNS && n < max; n++)
		out[n] = (struct scenario){.name = runs[n].name,
					   .run = run_command,
					   .arg = &runs[n],
					   .on_engines = runs[n].engines,
					   .is_command = true,
					   .is_same_output = !runs[n].varies,
					   .keeps_memory = keeps_memory(&runs[n]),
					   .is_refused = !strcmp(runs[n].name, "convert-bad")};
	return n;
}
