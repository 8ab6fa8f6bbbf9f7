#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "capture/capture.h"
#include "capture/live.h"
#include "cert/cert.h"
#include "common/command.h"
#include "common/complain.h"
#include "common/help.h"
#include "common/hints.h"
#include "common/options.h"
#include "common/output.h"
#include "common/sandbox.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/text.h"
#include "complete/complete.h"
#include "convert/convert.h"
#include "hub/hub.h"
#include "inspect/inspect.h"
#include "options/options.h"
#include "ping/ping.h"
#include "pubsub/pubsub.h"
#include "relay/relay.h"
#include "replay/replay.h"
#include "serve/serve.h"
#include "talk/connect.h"
#include "talk/send.h"
#include "top/top.h"
#include "tenon.h"

static const struct command *const commands[] = {
	&serve_command,   &send_command,    &connect_command, &relay_command,   &hub_command,     &pub_command,
	&sub_command,     &request_command, &reply_command,   &convert_command, &options_command, &bench_command,
	&inspect_command, &ping_command,    &capture_command, &top_command,     &replay_command,
#ifdef TNI_HAVE_TLS
	&cert_command,
#endif
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char examples[] =
	"Examples:\n"
	"  tenon serve                                     an echo server on tcp://localhost:10000,\n"
	"                                                  an ack server on udp://localhost:10000\n"
	"  tenon send udp://localhost:10000 'Hello, world!'\n"
	"  tenon connect tcp://localhost:10000             standard input and output, on a socket\n"
	"  tenon serve 'unix:/tmp/date.sock' --handler 'exec:date'\n";

static const char statuses[] = "Exit status: 0 done, 1 network or peer failed, 2 usage, 3 timed out, 4 data refused\n";

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < NCOMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static void overview_text(struct text *text)
{
	text_add(text, "%sUsage:\n  tenon COMMAND [OPTIONS] [ARGUMENTS]\n\nCommands:\n", "");
	for (size_t i = 0; i < NCOMMANDS; i++)
		text_add(text, "  %-9s %s\n", commands[i]->name, commands[i]->meaning);
	text_add(text, "  %-9s %s\n", "help", "help for a command: tenon help COMMAND");
	text_add(text, "\n%s\nEvery command takes:\n", examples);
	help_options(text, options_common);
	text_add(text, "\n");
	help_schemes(text);
	text_add(text, "%s", statuses);
}

static int overview(void)
{
	struct text text = {0};

	text_add(&text, "tenon: sockets for programs and people who depend on them\n\n");
	overview_text(&text);
	out_text(&text);
	return STATUS_DONE;
}

static int help(const struct command *command)
{
	struct text text = {0};

	help_command(&text, command);
	out_text(&text);
	return STATUS_DONE;
}

/* An update of OpenSSL for its security does not reach a command that has it built in: --version says so. */
static const char *linkage(const char *feature)
{
#ifdef TNI_STATIC_TLS
	return strstr(feature, "OpenSSL") ? ", built in: an update of libssl needs a new build" : "";
#else
	return strstr(feature, "OpenSSL") ? ", shared library" : "";
#endif
}

static int version(void)
{
	struct text text = {0};

	text_add(&text, "tenon %s\n", tn_version());
	for (const char *const *feature = tn_features(); feature && *feature; feature++)
		text_add(&text, "%s%s\n", *feature, linkage(*feature));
	text_add(&text, "capture: %s\n", live_library());
	text_add(&text, "%s\n", sandbox_version());
	out_text(&text);
	return STATUS_DONE;
}

static int unknown(const char *name)
{
	const char *names[NCOMMANDS + 1] = {"help"}, *near;

	for (size_t i = 0; i < NCOMMANDS; i++)
		names[i + 1] = commands[i]->name;
	near = tn_nearest(name, names, NCOMMANDS + 1);
	complain("no command '%.64s'%s%s%s", name, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
	complain_hint("%s --help", settings.program);
	return STATUS_USAGE;
}

static int help_asked(const char *name)
{
	const struct command *command = name ? find(name) : NULL;

	if (!name)
		return overview();
	return command ? help(command) : unknown(name);
}

/* What the library reports besides failures. */
static void report(bool important, const char *text, void *arg)
{
	(void)arg;
	if (settings.verbose || (important && !settings.quiet))
		complain("%s", text);
}

static bool is_port(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return digits && digits <= 5 && !text[digits];
}

/* An IPv6 address without brackets, with its zone or without. */
static bool is_ipv6(const char *text)
{
	size_t len = strspn(text, "0123456789abcdefABCDEF:.");

	return memchr(text, ':', len) && (!text[len] || (text[len] == '%' && !strpbrk(text + len, ":/@?[]")));
}

/*
 * HOST PORT in two operands, as in nc and telnet, become one, HOST:PORT, which is a URL for TCP. There is no other
 * meaning: a host alone is not a URL. Returns how many operands there are.
 */
static int join_host_and_port(const struct command *command, char **operands, int count)
{
	static char joined[512];
	bool joins = command->takes_place && (count == 2 || (count > 2 && command->takes_others));
	const char *host = joins ? operands[0] : "";
	size_t len = strlen(host);
	bool bracketed = len > 2 && host[0] == '[' && strchr(host, ']') == host + len - 1;
	bool ipv6 = is_ipv6(host);

	if (!joins || !is_port(operands[1]) || len > 400 || is_port(host) ||
	    (!bracketed && !ipv6 && strpbrk(host, ":/@?")))
		return count;
	snprintf(joined, sizeof(joined), ipv6 ? "[%s]:%s" : "%s:%s", host, operands[1]);
	operands[0] = joined;
	memmove(operands + 1, operands + 2, (size_t)(count - 1) * sizeof(*operands));
	return count - 1;
}

static int run(const struct command *command, char **args)
{
	int count;

	switch (options_parse(command->options, command->name, args, false, &count)) {
	case PARSED_HELP:
		return help(command);
	case PARSED_VERSION:
		return version();
	case PARSED_WRONG:
		return STATUS_USAGE;
	default:
		tn_set_log(report, NULL);
		count = join_host_and_port(command, args, count);
		return command->run(args, count);
	}
}

static int dispatch(char **args, int count)
{
	const struct command *command;

	if (count == 0) { /* helps a user who looks what there is; for a script it is an error */
		overview();
		return STATUS_USAGE;
	}
	if (strcmp(args[0], "help") == 0)
		return help_asked(args[1]);
	if (strcmp(args[0], "complete") == 0 && count > 1 && strcmp(args[1], "--") == 0) /* a shell asks */
		return complete(commands, NCOMMANDS, args + 2, count - 2);
	command = find(args[0]);
	if (!command && (hint_command(args, count) || hint_place(args, count)))
		return STATUS_USAGE;
	return command ? run(command, args + 1) : unknown(args[0]);
}

/*
 * A socket that took the place of a closed standard descriptor would get what is meant for the user. So /dev/null is
 * opened there: as input it is empty; as output it cannot be written, so that lost output is an error as in any other
 * program.
 */
static void standard_descriptors_open(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
}

static int run_all(char **args)
{
	int count;

	switch (options_parse(NULL, NULL, args, true, &count)) {
	case PARSED_HELP:
		return overview();
	case PARSED_VERSION:
		return version();
	case PARSED_WRONG:
		return STATUS_USAGE;
	default:
		return dispatch(args, count);
	}
}

int main(int argc, char **argv)
{
	int status;

	settings.program = argc > 0 ? argv[0] : "tenon";
	standard_descriptors_open();
	signals_init();
	status = run_all(argc > 0 ? argv + 1 : argv);
	/* A reader that has gone is not an error; a full disk is. */
	return status == STATUS_DONE && out_lost() && out_lost() != -EPIPE ? STATUS_FAILED : status;
}
