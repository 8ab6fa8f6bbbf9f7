/* tenon ping: whether a host or an endpoint answers, and how quickly. */
#include "ping.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/dialled.h"
#include "common/human.h"
#include "common/json.h"
#include "common/options.h"
#include "common/output.h"
#include "common/paint.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/text.h"
#include "ports.h"
#include "probe.h"
#include "tenon.h"
#include "tenon_hist.h"

#define FLOOD_NS UINT64_C(10000000) /* a probe without an answer by then does not delay a flood */
#define SLOTS 65536                 /* probes that are remembered: as many as ICMP's sequence numbers */
#define SIZE_MOST 65000

static struct {
	unsigned count; /* 0: until told to end */
	uint64_t interval_ns, timeout_ns, deadline_ns;
	const char *size_text;
	bool flood;
} wanted = {.interval_ns = NS_PER_S, .timeout_ns = 2 * NS_PER_S};

enum fate { UNSENT, WAITING, ANSWERED, LATE, LOST };

struct slot {
	uint64_t number, sent_ns;
	enum fate fate;
};

static struct {
	struct tn_loop *loop;
	struct tn_hist *hist, *lookups, *connects, *handshakes;
	char *url;
	enum probe_kind kind;
	size_t size;
	struct slot *slots;
	uint64_t sent, oldest; /* the highest number; the lowest that may still be waited for */
	uint64_t waiting, answered, late, lost, failed, duplicates, damaged;
	uint64_t start_ns;
	struct tn_timer *timer;
	bool begun, over;
	int status;
} state;

/* ---- telling ---- */

static bool lines_wanted(void)
{
	return !settings.quiet && (!wanted.flood || settings.verbose);
}

static const char *time_text(uint64_t ns, char *out, size_t cap)
{
	return human_us((double)ns / 1e3, out, cap);
}

static void tell_json(const char *event, uint64_t number, const struct answer *answer, uint64_t rtt_ns)
{
	struct text line = {0};

	json_begin(&line, event);
	json_time(&line, "time");
	json_number(&line, "seq", number);
	json_text(&line, "from", answer->from);
	if (state.kind != PROBE_CONNECT && state.kind != PROBE_PING)
		json_number(&line, "bytes", answer->bytes);
	json_number(&line, "rtt_ns", rtt_ns);
	if (answer->lookup_ns)
		json_number(&line, "lookup_ns", answer->lookup_ns);
	if (answer->connected_ns) {
		json_number(&line, "connect_ns", answer->connected_ns - answer->sent_ns);
		json_number(&line, "handshake_ns", answer->came_ns - answer->connected_ns);
	}
	if (answer->damaged)
		json_bool(&line, "damaged", true);
	json_line(&line);
}

static void tell_text(const char *remark, uint64_t number, const struct answer *answer, uint64_t rtt_ns)
{
	struct text line = {0};
	char a[32], b[32];

	text_add(&line, "%s seq=%llu ", answer->from, (unsigned long long)number);
	if (answer->lookup_ns)
		text_add(&line, "looked up %s, ", time_text(answer->lookup_ns, a, sizeof(a)));
	if (answer->connected_ns)
		text_add(&line, "connected %s, handshake %s",
			 time_text(answer->connected_ns - answer->sent_ns, a, sizeof(a)),
			 time_text(answer->came_ns - answer->connected_ns, b, sizeof(b)));
	else if (state.kind == PROBE_CONNECT)
		text_add(&line, "connected %s", time_text(rtt_ns, a, sizeof(a)));
	else if (state.kind == PROBE_PING)
		text_add(&line, "pong %s", time_text(rtt_ns, a, sizeof(a)));
	else
		text_add(&line, "%zu bytes %s", answer->bytes, time_text(rtt_ns, a, sizeof(a)));
	text_add(&line, "%s%s", remark, answer->damaged ? " (damaged)" : "");
	out_line(&line);
}

static void tell(const char *event, const char *remark, uint64_t number, const struct answer *answer, uint64_t rtt_ns)
{
	if (!lines_wanted())
		return;
	if (settings.json)
		tell_json(event, number, answer, rtt_ns);
	else
		tell_text(remark, number, answer, rtt_ns);
}

/* No answer, and `why`. */
static void tell_none(const char *event, uint64_t number, const char *why)
{
	struct text line = {0};

	if (!lines_wanted())
		return;
	if (settings.json) {
		json_begin(&line, event);
		json_time(&line, "time");
		json_number(&line, "seq", number);
		json_text(&line, "error", why);
		json_line(&line);
		return;
	}
	text_add(&line, "%s seq=%llu %s", state.url, (unsigned long long)number, why);
	out_line(&line);
}

/* ---- the summary ---- */

static double loss(void)
{
	uint64_t known = state.sent - state.waiting;

	return known ? (double)(state.lost + state.failed) / (double)known : 0;
}

static void hist_json(struct text *line, const char *key, const struct tn_hist *hist)
{
	if (!tn_hist_count(hist))
		return;
	json_object(line, key);
	json_number(line, "min", tn_hist_min(hist));
	json_number(line, "p50", tn_hist_quantile(hist, 0.5));
	json_number(line, "p90", tn_hist_quantile(hist, 0.9));
	json_number(line, "p99", tn_hist_quantile(hist, 0.99));
	json_number(line, "max", tn_hist_max(hist));
	json_number(line, "mean", (uint64_t)tn_hist_mean(hist));
	json_number(line, "deviation", (uint64_t)tn_hist_deviation(hist));
	json_object_end(line);
}

static void summary_json(void)
{
	struct text line = {0};

	json_begin(&line, "summary");
	json_text(&line, "url", state.url);
	json_number(&line, "sent", state.sent);
	json_number(&line, "answered", state.answered);
	json_number(&line, "late", state.late);
	json_number(&line, "lost", state.lost);
	json_number(&line, "failed", state.failed);
	json_number(&line, "awaited", state.waiting);
	json_number(&line, "duplicates", state.duplicates);
	json_number(&line, "damaged", state.damaged);
	json_share(&line, "loss", loss());
	json_ms(&line, "duration_ms", clock_ns() - state.start_ns);
	hist_json(&line, "rtt_ns", state.hist);
	hist_json(&line, "lookup_ns", state.lookups);
	hist_json(&line, "connect_ns", state.connects);
	hist_json(&line, "handshake_ns", state.handshakes);
	json_line(&line);
}

static void hist_text(struct text *text, const char *label, const struct tn_hist *hist)
{
	char a[32], b[32], c[32], d[32];

	if (!tn_hist_count(hist))
		return;
	text_add(text, "\n%smin %s, p50 %s, p99 %s, max %s", label, time_text(tn_hist_min(hist), a, sizeof(a)),
		 time_text(tn_hist_quantile(hist, 0.5), b, sizeof(b)),
		 time_text(tn_hist_quantile(hist, 0.99), c, sizeof(c)), time_text(tn_hist_max(hist), d, sizeof(d)));
}

/* What is unusual is shown only if it happened. */
static void count_text(struct text *text, uint64_t count, const char *what)
{
	if (count)
		text_add(text, ", %llu %s", (unsigned long long)count, what);
}

static void summary_text(void)
{
	struct text text = {0};
	unsigned long long answered = state.answered + state.late, lost = state.lost + state.failed;

	text_add(&text, "%s%s%s: %llu sent, %llu answered, %llu lost (%.3g%%)", paint_code(STDOUT_FILENO, PAINT_BOLD),
		 state.url, paint_code(STDOUT_FILENO, PAINT_NONE), (unsigned long long)state.sent, answered, lost,
		 loss() * 100);
	count_text(&text, state.failed, "of them with a reason");
	count_text(&text, state.late, "late");
	count_text(&text, state.duplicates, "duplicates");
	count_text(&text, state.damaged, "damaged");
	count_text(&text, state.waiting, "still awaited");
	hist_text(&text, "", state.hist);
	hist_text(&text, "look-up:   ", state.lookups);
	hist_text(&text, "connect:   ", state.connects);
	hist_text(&text, "handshake: ", state.handshakes);
	out_line(&text);
}

static void finish(void)
{
	if (state.over)
		return;
	state.over = true;
	if (settings.json)
		summary_json();
	else
		summary_text();
	if (state.answered + state.late == 0)
		state.status = STATUS_FAILED;
	tn_loop_stop(state.loop);
}

/* ---- what becomes of probes ---- */

static struct slot *slot_of(uint64_t number)
{
	struct slot *slot = &state.slots[number % SLOTS];

	return number && slot->number == number ? slot : NULL;
}

static void finish_if_done(void)
{
	if (wanted.count && state.sent >= wanted.count && !state.waiting)
		finish();
}

/* The one that has been waited for longest; 0: none. */
static uint64_t oldest_waiting(void)
{
	while (state.oldest <= state.sent) {
		const struct slot *slot = slot_of(state.oldest);

		if (slot && slot->fate == WAITING)
			return state.oldest;
		state.oldest++;
	}
	return 0;
}

static void lose(struct slot *slot)
{
	char after[32], why[64];

	slot->fate = LOST;
	state.waiting--;
	state.lost++;
	probe_forget(slot->number);
	snprintf(why, sizeof(why), "no answer within %s", time_text(wanted.timeout_ns, after, sizeof(after)));
	tell_none("lost", slot->number, why);
}

static void lose_overdue(uint64_t now)
{
	uint64_t number;

	while ((number = oldest_waiting())) {
		struct slot *slot = slot_of(number);

		if (now < slot->sent_ns + wanted.timeout_ns)
			return;
		lose(slot);
	}
}

static void count_times(const struct slot *slot, const struct answer *answer)
{
	tn_hist_add(state.hist, answer->came_ns - slot->sent_ns);
	if (answer->lookup_ns)
		tn_hist_add(state.lookups, answer->lookup_ns);
	if (answer->connected_ns) {
		tn_hist_add(state.connects, answer->connected_ns - slot->sent_ns);
		tn_hist_add(state.handshakes, answer->came_ns - answer->connected_ns);
	}
}

static void schedule(void);

static void on_answered(uint64_t number, const struct answer *answer)
{
	struct slot *slot = slot_of(number ? number : oldest_waiting());
	uint64_t rtt;

	if (!slot || slot->fate == UNSENT || state.over)
		return;
	rtt = answer->came_ns - slot->sent_ns;
	state.damaged += answer->damaged;
	if (slot->fate == ANSWERED || slot->fate == LATE) {
		state.duplicates++;
		tell("duplicate", " (duplicate)", slot->number, answer, rtt);
		return;
	}
	state.waiting -= slot->fate == WAITING;
	state.lost -= slot->fate == LOST;
	slot->fate = rtt > wanted.timeout_ns ? LATE : ANSWERED;
	count_times(slot, answer);
	if (slot->fate == LATE) {
		state.late++;
		tell("late", " (late)", slot->number, answer, rtt);
	} else {
		state.answered++;
		tell("reply", "", slot->number, answer, rtt);
	}
	finish_if_done();
	if (wanted.flood && !state.over)
		schedule();
}

static void on_left(uint64_t number, uint64_t ns)
{
	struct slot *slot = slot_of(number);

	if (slot)
		slot->sent_ns = ns;
}

static void fail(struct slot *slot, const char *why)
{
	slot->fate = UNSENT;
	state.waiting--;
	state.failed++;
	tell_none("failed", slot->number, why);
}

static void on_failed(uint64_t number, int err)
{
	struct slot *slot = slot_of(number);
	char why[512];
	size_t len = strlen(state.url);
	const char *words = err == -ENOMEM ? tn_strerror(err) : tn_errmsg();

	/* The line begins with the URL already */
	if (!strncmp(words, state.url, len) && !strncmp(words + len, ": ", 2))
		words += len + 2;
	if (!strncmp(words, "read: ", 6)) /* the error came from the peer's machine, or a router on the way */
		words += 6;
	snprintf(why, sizeof(why), "%s", words);
	if (!slot || slot->fate != WAITING || state.over)
		return;
	fail(slot, why);
	finish_if_done();
}

static void on_failed_all(int err)
{
	uint64_t number;

	while (!state.over && (number = oldest_waiting()))
		on_failed(number, err);
}

/* ---- the schedule ---- */

/* When the next probe is due: at even distances from the start, however late the last one was. */
static uint64_t due_ns(uint64_t number)
{
	return state.start_ns + (number - 1) * wanted.interval_ns;
}

static void send_next(uint64_t now)
{
	struct slot *slot = &state.slots[++state.sent % SLOTS];

	if (slot->fate == WAITING)
		lose(slot);
	*slot = (struct slot){.number = state.sent, .sent_ns = now, .fate = WAITING};
	state.waiting++;
	probe_send(state.sent);
}

static bool may_send(void)
{
	return !state.over && (!wanted.count || state.sent < wanted.count);
}

static void send_due(uint64_t now)
{
	const struct slot *last = slot_of(state.sent);

	if (!wanted.flood) {
		while (may_send() && due_ns(state.sent + 1) <= now)
			send_next(now);
		return;
	}
	if (may_send() && (!last || last->fate != WAITING || now >= last->sent_ns + FLOOD_NS))
		send_next(now);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When there is something to do next. */
static uint64_t next_ns(void)
{
	uint64_t next = UINT64_MAX, oldest = oldest_waiting();
	const struct slot *last = slot_of(state.sent);

	if (may_send() && wanted.flood)
		next = last && last->fate == WAITING ? last->sent_ns + FLOOD_NS : 0;
	else if (may_send())
		next = due_ns(state.sent + 1);
	if (oldest)
		next = sooner(next, slot_of(oldest)->sent_ns + wanted.timeout_ns);
	if (wanted.deadline_ns)
		next = sooner(next, state.start_ns + wanted.deadline_ns);
	return next;
}

static void on_time(void *arg)
{
	uint64_t now = clock_ns();

	(void)arg;
	state.timer = NULL;
	if (wanted.deadline_ns && now >= state.start_ns + wanted.deadline_ns) {
		finish();
		return;
	}
	lose_overdue(now);
	send_due(now);
	finish_if_done();
	if (!state.over)
		schedule();
}

static void schedule(void)
{
	uint64_t next = next_ns(), now = clock_ns();

	tn_timer_stop(state.timer);
	state.timer = NULL;
	if (next == UINT64_MAX)
		return;
	if (tn_timer_start(state.loop, next > now ? (next - now + 999999) / 1000000 : 0, on_time, NULL, &state.timer) <
	    0) {
		complain("ping: out of memory");
		state.status = STATUS_FAILED;
		finish();
	}
}

/* ---- beginning and ending ---- */

/* Errors that no further try can change. */
static bool is_hopeless(int err)
{
	return err == TN_ENAME || err == TN_ERESOLVE || err == TN_EURL || err == TN_ECERT || err == -EPERM ||
	       err == -EACCES || err == -ENODEV || err == -EAFNOSUPPORT || err == -EPROTONOSUPPORT;
}

static void on_begun(int err)
{
	if (err < 0 && is_hopeless(err)) {
		state.status = complain_library(err, state.url);
		state.over = true;
		tn_loop_stop(state.loop);
		return;
	}
	state.begun = true;
	state.start_ns = clock_ns();
	schedule();
}

static void on_signal(int nth, void *arg)
{
	(void)nth, (void)arg;
	if (state.begun)
		finish();
	state.status = state.begun ? state.status : STATUS_FAILED;
	tn_loop_stop(state.loop);
}

/* Nobody reads the output any more, perhaps since the first reply was enough. */
static void on_reader_gone(void *arg)
{
	(void)arg;
	state.over = true;
	tn_loop_stop(state.loop);
}

static int run_loop(void)
{
	static const struct probe_user user = {
		.answered = on_answered, .left = on_left, .failed = on_failed, .failed_all = on_failed_all};
	struct probing probing = {.url = state.url, .kind = state.kind, .size = state.size, .user = &user};
	int err = options_loop_new(&state.loop, "epoll");

	if (err < 0)
		return err == -ENOENT ? STATUS_USAGE : STATUS_FAILED;
	probing.loop = state.loop;
	err = signals_start(state.loop, on_signal, NULL);
	if (err == 0)
		err = out_watch(state.loop, on_reader_gone, NULL);
	if (err == 0)
		err = probe_begin(&probing, on_begun);
	if (err == 0)
		err = tn_loop_run(state.loop);
	if (err == -ENOMEM)
		complain("ping: out of memory");
	else if (err < 0)
		(void)complain_library(err, state.url);
	if (err < 0)
		state.status = status_of(err);
	state.over = true;
	out_unwatch();
	signals_stop();
	tn_loop_free(state.loop);
	probe_end();
	return state.status;
}

/* ---- the command line ---- */

static bool is_ip6(const char *host)
{
	char bare[INET6_ADDRSTRLEN];
	unsigned char addr[16];
	size_t len = strcspn(host, "%");

	if (len >= sizeof(bare))
		return false;
	memcpy(bare, host, len);
	bare[len] = '\0';
	return inet_pton(AF_INET6, bare, addr) == 1;
}

/* A host is short for icmp://HOST. */
static int url_of(const char *operand, char *out, size_t cap)
{
	size_t last = strlen(operand);
	bool host = !strchr(operand, ':') || (operand[0] == '[' && operand[last - 1] == ']');
	int len;

	if (is_ip6(operand))
		len = snprintf(out, cap, "icmp://[%s]", operand);
	else
		len = snprintf(out, cap, "%s%s", host ? "icmp://" : "", operand);
	return len < 0 || (size_t)len >= cap ? -1 : 0;
}

static int parse_size(void)
{
	uint64_t size = 56;

	if (wanted.size_text && (tn_parse_size(wanted.size_text, &size) < 0 || size > SIZE_MOST)) {
		complain("ping: --size: '%.64s' is no size from 0 to %d bytes", wanted.size_text, SIZE_MOST);
		return STATUS_USAGE;
	}
	if (wanted.size_text && state.kind == PROBE_CONNECT) {
		complain("ping: --size: nothing is sent on %s, connecting is measured; with a frame (?frame=line) "
			 "messages are",
			 state.url);
		return STATUS_USAGE;
	}
	state.size = (size_t)size;
	return STATUS_DONE;
}

static int understand(char *operand)
{
	static char url[4200];
	int keeps, kind, status;

	if (url_of(operand, url, sizeof(url)) < 0) {
		complain("ping: '%.64s...' is too long", operand);
		return STATUS_USAGE;
	}
	state.url = url;
	status = dialled_check(url);
	if (status != STATUS_DONE)
		return status;
	keeps = tn_url_keeps_messages(url);
	if (keeps < 0)
		return complain_library(keeps, url);
	kind = tn_url_kind(url);
	state.kind = kind & TN_URL_ICMP                             ? PROBE_ECHO
		     : kind & TN_URL_WEBSOCKET && !wanted.size_text ? PROBE_PING
		     : keeps                                        ? PROBE_MESSAGE
								    : PROBE_CONNECT;
	if (wanted.interval_ns == 0 || wanted.timeout_ns == 0) {
		complain("ping: --%s: 0 is no time%s", wanted.interval_ns == 0 ? "interval" : "timeout",
			 wanted.interval_ns == 0 ? "; to send as fast as answers come: --flood" : "");
		return STATUS_USAGE;
	}
	return parse_size();
}

static int run(char **operands, int count)
{
	int status;

	if (count != 1) {
		complain("ping: one host or URL, please");
		complain_hint("%s ping --help", settings.program);
		return STATUS_USAGE;
	}
	if (ports_are_several(operands[0])) {
		if (!wanted.count && !wanted.flood && !wanted.size_text && !wanted.deadline_ns &&
		    wanted.interval_ns == NS_PER_S && wanted.timeout_ns)
			return ports_check(operands[0], wanted.timeout_ns);
		complain("ping: several ports are each asked once: of the options only --timeout, above 0, and --json");
		return STATUS_USAGE;
	}
	status = understand(operands[0]);
	if (status != STATUS_DONE)
		return status;
	state.oldest = 1;
	state.slots = calloc(SLOTS, sizeof(*state.slots));
	if (!state.slots || tn_hist_new(&state.hist) < 0 || tn_hist_new(&state.lookups) < 0 ||
	    tn_hist_new(&state.connects) < 0 || tn_hist_new(&state.handshakes) < 0) {
		complain("ping: out of memory");
		status = STATUS_FAILED;
	} else {
		status = run_loop();
	}
	tn_hist_free(state.hist);
	tn_hist_free(state.lookups);
	tn_hist_free(state.connects);
	tn_hist_free(state.handshakes);
	free(state.slots);
	return status;
}

static const struct option_spec own_options[] = {
	{"count", 'c', OPTION_VALUE, option_set_number, &wanted.count, "N", "send N probes (default: until Ctrl-C)"},
	{"interval", 'i', OPTION_VALUE, option_set_duration, &wanted.interval_ns, "DUR",
	 "time from one probe to the next (default 1s)"},
	{"size", 's', OPTION_VALUE, option_set_text, &wanted.size_text, "BYTES", "bytes in a probe (default 56)"},
	{"timeout", 'W', OPTION_VALUE, option_set_duration, &wanted.timeout_ns, "DUR",
	 "an answer after this time is late; until it comes, the probe is lost (default 2s)"},
	{"deadline", 'w', OPTION_VALUE, option_set_duration, &wanted.deadline_ns, "DUR",
	 "end after this time, whatever is missing"},
	{"flood", 'f', OPTION_ALONE, option_set_flag, &wanted.flood, NULL,
	 "send the next probe at the answer to the last, or after 10 ms; print the summary only"},
	{"", 'n', OPTION_ALONE, option_set_nothing, NULL, NULL, "always so: addresses are printed as numbers"},
	{"json", 0, OPTION_ALONE, option_set_flag, &settings.json, NULL,
	 "one JSON object an answer, and one for the summary"},
	{0},
};

const struct command ping_command = {
	.name = "ping",
	.takes_place = true,
	.meaning = "whether somebody answers, and how quickly: ICMP, or any endpoint",
	.help = "Examples:\n"
		"  tenon ping example.com                             ICMP echo, until Ctrl-C\n"
		"  tenon ping --count 5 --interval 200ms ::1\n"
		"  tenon ping tcp://example.com:443                   how long connecting takes\n"
		"  tenon ping tcp://example.com:20-25,80,443          which of these ports are open\n"
		"  tenon ping tls://example.com:443                   connecting and the handshake\n"
		"  tenon ping wss://example.com/feed                  WebSocket, whatever is served there\n"
		"  tenon ping udp://localhost:10000                   messages that are replied to\n"
		"  tenon ping 'tcp://localhost:7000?frame=u32&format=cbor'\n"
		"\n"
		"Usage:\n"
		"  tenon ping [OPTIONS] HOST|URL\n"
		"\n"
		"Sends probes and prints when each was answered. At the end prints counts, loss and the distribution\n"
		"of times. What a probe is depends on the endpoint. A host (or icmp://HOST) is sent ICMP echo\n"
		"requests, a WebSocket its own pings. If another endpoint keeps messages apart, a probe is a\n"
		"message, and its reply is the answer.\n"
		"A stream without a frame is connected to, again and again. Exit status 1 when nothing was answered.\n",
	.options = own_options,
	.run = run,
};
