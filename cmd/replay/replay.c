/* tenon replay: what clients have said in a recording is said again, and the replies are compared. */
#include "replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/result.h"
#include "bench/show.h"
#include "common/clock.h"
#include "common/complain.h"
#include "common/dialled.h"
#include "common/file_limit.h"
#include "common/options.h"
#include "common/output.h"
#include "common/settings.h"
#include "common/status.h"
#include "play.h"
#include "talks.h"
#include "tenon.h"

#define MEMORY_DEFAULT (UINT64_C(1) << 30)

static struct {
	const char *compare, *output, *html;
	uint64_t memory;
	bool sped, shows;
	struct play play;
} options = {.memory = MEMORY_DEFAULT, .play = {.speed = 1, .repeat = 1, .patience_ns = 5 * NS_PER_S, .shown = 20}};

/* 4x, 0.5x, 2 */
static const char *set_speed(const char *value, void *to)
{
	char *end;
	double speed = strtod(value, &end);

	if (end == value || strspn(value, "0123456789.") != (size_t)(end - value) || (*end && strcmp(end, "x") != 0))
		return "is no speed (4x, 0.5x)";
	if (!(speed >= 0.001 && speed <= 1e6))
		return "is out of range (0.001x to 1000000x)";
	*(double *)to = speed;
	options.sped = true;
	return NULL;
}

static const char *set_shown(const char *value, void *to)
{
	options.shows = true;
	return option_set_number(value, to);
}

static const char *add_ignored(const char *value, void *to)
{
	return ignore_add(to, value);
}

static const char *set_memory(const char *value, void *to)
{
	int err = tn_parse_size(value, to);

	return err < 0 ? "is not a size (4096, 64KiB, 1MiB)" : *(uint64_t *)to ? NULL : "is out of range (from 1)";
}

static int set_comparison(void)
{
	static const char *const names[] = {"messages", "bytes", "none"};

	for (int i = 0; options.compare && i < 3; i++)
		if (strcmp(options.compare, names[i]) == 0) {
			options.play.comparison = (enum comparison)i;
			return STATUS_DONE;
		}
	if (!options.compare)
		return STATUS_DONE;
	complain("replay: --compare: '%s' is none of messages, bytes, none", options.compare);
	return STATUS_USAGE;
}

static int check(char **operands, int count)
{
	int kind, status;

	if (count != 2) {
		complain("replay: %s", count < 2 ? "a recording and a URL are needed" : "there is one URL too many");
		complain_hint("%s replay FILE URL", settings.program);
		return STATUS_USAGE;
	}
	status = dialled_check(operands[1]);
	if (status != STATUS_DONE)
		return status;
	kind = tn_url_kind(operands[1]);
	if (kind > 0 && kind & TN_URL_BELOW) {
		complain("replay: %s is below the transports: there are no sessions", operands[1]);
		return STATUS_USAGE;
	}
	if (options.sped && options.play.closed) {
		complain("replay: --speed and --closed: which of the two?");
		return STATUS_USAGE;
	}
	if (options.shows && options.play.comparison == COMPARE_NONE) {
		complain("replay: --show is about differences: nothing is compared with --compare none");
		return STATUS_USAGE;
	}
	if (options.play.ignored.count && options.play.comparison != COMPARE_MESSAGES) {
		complain("replay: --ignore is about messages: it has no effect with --compare %s", options.compare);
		return STATUS_USAGE;
	}
	return STATUS_DONE;
}

/* Whether what was recorded can be said there. */
static int check_talks(const struct talks *talks, const char *path, const char *url)
{
	bool keeps = tn_url_keeps_messages(url) > 0;

	if (!talks->asked) {
		complain("%s: no client says anything in it", path);
		return STATUS_REFUSED;
	}
	if (talks->damaged)
		complain("%s: %u of %u sessions are left out: not all of them was recorded, or their frame is another",
			 path, talks->damaged, talks->count);
	for (const struct talk *talk = talks->first; talk; talk = talk->next) {
		if (talk->damaged || talk->messages == keeps || !talk->asked)
			continue;
		complain("replay: %s holds %s, %s carries %s", path, talk->messages ? "messages" : "bytes", url,
			 keeps ? "messages" : "bytes");
		complain_hint("key frame at %s, which says where messages end", url);
		return STATUS_USAGE;
	}
	return talks->damaged == talks->count ? STATUS_REFUSED : STATUS_DONE;
}

static void make_plan(struct plan *plan, const struct talks *talks, const char *url)
{
	double seconds = (double)(talks->end_ns - talks->begin_ns) / 1e9 / options.play.speed;
	size_t size = (size_t)((double)talks->bytes_asked / (double)talks->asked);

	*plan = (struct plan){.url = url,
			      .conns = talks->count,
			      .depth = 1,
			      .threads = 1,
			      .expect = EXPECT_ANY,
			      .payload = {.size_min = size, .size_max = size}};
	if (!options.play.closed)
		plan->rate = seconds > 0 ? (double)talks->asked / seconds : (double)talks->asked;
}

static int play_all(const char *url, const struct talks *talks)
{
	struct result result;
	struct plan plan;
	int err, status;

	make_plan(&plan, talks, url);
	if (result_new(&result, &plan) < 0)
		return complain_library(-12, NULL);
	file_limit_raise(NULL);
	options.play.url = url;
	options.play.talks = talks;
	if (options.play.closed && !options.play.conns) /* of --repeat all would begin at once */
		options.play.conns = talks->count - talks->damaged;
	err = play_run(&options.play, &result);
	status = err < 0 ? (int)status_of(err) : result_show(&result, options.output, options.html);
	if (err >= 0 && !settings.quiet)
		complain("%llu sessions, %llu messages said, %llu replies, %llu differ",
			 (unsigned long long)options.play.sessions, (unsigned long long)result.counts.sent,
			 (unsigned long long)options.play.replies, (unsigned long long)options.play.differences);
	if (status == STATUS_DONE && (options.play.differences || talks->damaged))
		status = STATUS_REFUSED;
	if (status == STATUS_DONE && (options.play.failed || result.interrupted))
		status = STATUS_FAILED;
	result_free(&result);
	return status;
}

static int run(char **operands, int count)
{
	struct talks talks = {0};
	int status = set_comparison();

	if (status == STATUS_DONE)
		status = check(operands, count);
	if (status == STATUS_DONE && (!result_can_write(options.output) || !result_can_write(options.html)))
		status = STATUS_FAILED;
	if (status == STATUS_DONE)
		status = talks_read(&talks, operands[0], operands[1], options.memory);
	if (status == STATUS_DONE)
		status = check_talks(&talks, operands[0], operands[1]);
	if (status == STATUS_DONE)
		status = play_all(operands[1], &talks);
	talks_free(&talks);
	return status;
}

static const struct option_spec own_options[] = {
	{"speed", 0, OPTION_VALUE, set_speed, &options.play.speed, "N", "of the recorded times: 4x, 0.5x (default 1x)"},
	{"closed", 0, OPTION_ALONE, option_set_flag, &options.play.closed, NULL,
	 "say the next message when what came before it has been answered, whatever the recorded times"},
	{"conns", 'c', OPTION_VALUE, option_set_number, &options.play.conns, "N",
	 "sessions at a time (default: no limit; with --closed as many as were recorded)"},
	{"repeat", 0, OPTION_VALUE, option_set_number, &options.play.repeat, "N", "how often in all (default 1)"},
	{"compare", 0, OPTION_VALUE, option_set_text, &options.compare, "HOW",
	 "replies with the recorded ones: messages (values where there is a format; default), bytes, none"},
	{"ignore", 0, OPTION_VALUES, add_ignored, &options.play.ignored, "PATH",
	 "a place in messages that may differ: $.time, $.items[*].id, $..id (at any depth)"},
	{"show", 0, OPTION_VALUE, set_shown, &options.play.shown, "N",
	 "differences to show; all are counted (default 20)"},
	{"timeout", 'T', OPTION_VALUE, option_set_duration, &options.play.patience_ns, "DUR",
	 "how long a reply is waited for (default 5s)"},
	{"memory", 0, OPTION_VALUE, set_memory, &options.memory, "SIZE",
	 "what the recording may take in memory (default 1GiB)"},
	{"output", 0, OPTION_VALUE, option_set_text, &options.output, "FILE",
	 "write the result as JSON, for tenon bench compare"},
	{"html", 0, OPTION_VALUE, option_set_text, &options.html, "FILE", "write the result as a page with pictures"},
	{"json", 'J', OPTION_ALONE, option_set_flag, &settings.json, NULL,
	 "differences as JSON objects, one a line, and the result as the last line"},
	{0},
};

const struct command replay_command = {
	.name = "replay",
	.meaning = "say what recorded clients have said, and compare the replies",
	.help = "Examples:\n"
		"  tenon relay tcp://localhost:7000 tcp://app:7001 --record r.pcapng\n"
		"  tenon replay r.pcapng tcp://localhost:7001\n"
		"  tenon replay r.pcapng 'tcp://new:7001?frame=line&format=json' --ignore '$.time'\n"
		"  tenon replay r.pcapng tcp://localhost:7001 --closed --repeat 100 --compare none\n"
		"\n"
		"Usage:\n"
		"  tenon replay FILE URL\n"
		"\n"
		"FILE is a recording of tenon relay --record, or any capture file whose streams have the frame of\n"
		"URL. Each session of it becomes a connection, which says what its client has said, at the recorded\n"
		"times. Prints each reply that differs, then latencies as tenon bench does. Exit status 4 when\n"
		"replies differ, or sessions were left out.\n",
	.options = own_options,
	.run = run,
};
