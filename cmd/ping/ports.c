/*
 * Each port is dialled once, by the whole URL: with TLS it is open when the handshake is done. So many are under way at
 * a time that descriptors suffice, and results are told in the order of the ports.
 */
#include "ports.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/dialled.h"
#include "common/human.h"
#include "common/json.h"
#include "common/options.h"
#include "common/output.h"
#include "common/settings.h"
#include "common/signals.h"
#include "common/status.h"
#include "common/text.h"
#include "tenon.h"

#define AT_ONCE 128
#define PORTS 65536

enum found { NOT_ASKED, ASKED, OPEN, REFUSED, FILTERED, FAILED };

static const char *const found_words[] = {
	[OPEN] = "open", [REFUSED] = "refused", [FILTERED] = "filtered", [FAILED] = "failed"};

struct port {
	uint16_t number;
	uint8_t found;
	uint64_t from_ns, took_ns;
	char *why; /* of one that failed */
	struct tn_conn *conn;
};

static struct {
	struct tn_loop *loop;
	const char *url;    /* as it was typed */
	int before, behind; /* where its ports begin and end */
	uint64_t timeout_ns;
	bool shakes; /* key handshake applies: it may take as long as to connect */
	struct port *ports;
	size_t count, begun, told, under_way;
	size_t of[FAILED + 1];
	bool over;
} state;

/* Where the ports of a URL stand: behind the last colon of its host. False: it has none. */
static bool ports_at(const char *url, int *begin, int *end)
{
	const char *host = strstr(url, "://"), *colon;
	size_t len;

	if (!host)
		return false;
	host += 3;
	len = strcspn(host, "/?");
	colon = memrchr(host, ':', len);
	if (!colon || memchr(colon, ']', (size_t)(host + len - colon)))
		return false;
	*begin = (int)(colon + 1 - url);
	*end = (int)(host + len - url);
	return true;
}

bool ports_are_several(const char *operand)
{
	int begin, end;

	if (!ports_at(operand, &begin, &end))
		return false;
	return (int)strspn(operand + begin, "0123456789,-") == end - begin && strpbrk(operand + begin, ",-") &&
	       strpbrk(operand + begin, ",-") < operand + end;
}

static int bad_ports(const char *at)
{
	complain("ping: '%.*s': ports are numbers from 1 to 65535 and ranges of them: 22, 8000-8010",
		 (int)strcspn(at, "/?"), at);
	return STATUS_USAGE;
}

/* Reads the list. Each port is checked once, however often it is named. */
static int read_ports(void)
{
	const char *at = state.url + state.before, *end = state.url + state.behind;
	static bool wanted[PORTS];
	char *next;

	for (;; at = next + 1) {
		unsigned long low = strtoul(at, &next, 10), high = low;

		if (next == at)
			return bad_ports(state.url + state.before);
		if (*next == '-') {
			at = next + 1;
			high = strtoul(at, &next, 10);
			if (next == at)
				return bad_ports(state.url + state.before);
		}
		if (!low || high >= PORTS || low > high || (next < end && *next != ','))
			return bad_ports(state.url + state.before);
		for (unsigned long i = low; i <= high; i++)
			wanted[i] = true;
		if (next >= end)
			break;
	}
	for (unsigned i = 1; i < PORTS; i++)
		state.count += wanted[i];
	state.ports = calloc(state.count, sizeof(*state.ports));
	if (!state.ports) {
		complain("ping: out of memory");
		return STATUS_FAILED;
	}
	state.count = 0;
	for (unsigned i = 1; i < PORTS; i++)
		if (wanted[i])
			state.ports[state.count++].number = (uint16_t)i;
	return STATUS_DONE;
}

/* The URL with one port; `more`: a time in which somebody must answer, unless the URL says one. free() it. */
static char *url_of(const struct port *port, bool more)
{
	const char *rest = state.url + state.behind;
	unsigned long long ms = (state.timeout_ns + NS_PER_MS - 1) / NS_PER_MS;
	char *url, connects[48] = "", shakes[48] = "";
	char sep = strchr(rest, '?') ? '&' : '?';

	if (more && tn_url_has_key(state.url, "connect") <= 0) {
		snprintf(connects, sizeof(connects), "%cconnect=%llums", sep, ms);
		sep = '&';
	}
	if (more && state.shakes && tn_url_has_key(state.url, "handshake") <= 0)
		snprintf(shakes, sizeof(shakes), "%chandshake=%llums", sep, ms);
	return asprintf(&url, "%.*s%u%s%s%s", state.before, state.url, port->number, rest, connects, shakes) < 0 ? NULL
														 : url;
}

static void tell_one(const struct port *port)
{
	char *url = url_of(port, false), took[32];
	struct text line = {0};

	if (settings.json) {
		json_begin(&line, "port");
		json_time(&line, "time");
		json_text(&line, "url", url);
		json_number(&line, "port", port->number);
		json_text(&line, "state", found_words[port->found]);
		json_number(&line, "took_ns", port->took_ns);
		json_text(&line, "error", port->why);
		json_line(&line);
	} else if (!settings.quiet) {
		text_add(&line, "%s %s %s%s", url ? url : "", found_words[port->found],
			 human_us((double)port->took_ns / 1e3, took, sizeof(took)), port->why ? ": " : "");
		text_clean(&line, port->why ? port->why : "");
		out_line(&line);
	}
	free(url);
}

static void begin_some(void *arg);

static void finish(struct port *port, enum found found)
{
	port->found = (uint8_t)found;
	port->took_ns = clock_ns() - port->from_ns;
	state.of[found]++;
	state.under_way--;
	while (state.told < state.count && state.ports[state.told].found > ASKED)
		tell_one(&state.ports[state.told++]);
	if (out_lost() || tn_loop_post(state.loop, begin_some, NULL) < 0)
		tn_loop_stop(state.loop);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct port *port = arg;

	finish(port, OPEN);
	tn_conn_detach(conn);
}

/* Nobody has answered at all, or somebody on the way says that nobody may ask. */
static bool is_filtered(int err)
{
	return err == -ETIMEDOUT || err == -EHOSTUNREACH || err == -ENETUNREACH || err == -EACCES || err == -EPERM;
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct port *port = arg;
	struct tn_conn_info info;
	enum found found = err == -ECONNREFUSED ? REFUSED : is_filtered(err) ? FILTERED : FAILED;

	if (state.over)
		return;
	tn_conn_info(conn, &info);
	if (info.connected_ns) /* somebody is there: it is the handshake that failed */
		found = FAILED;
	if (found == FAILED)
		port->why = strdup(tn_errmsg());
	finish(port, found);
}

/* Not from a callback of the one before: a range that is refused at once would go ever deeper. */
static void begin_some(void *arg)
{
	static const struct tn_handler handler = {.on_open = on_open, .on_close = on_close};

	(void)arg;
	while (state.begun < state.count && state.under_way < AT_ONCE) {
		struct port *port = &state.ports[state.begun++];
		char *url = url_of(port, true);
		int err;

		port->from_ns = clock_ns();
		port->found = ASKED;
		state.under_way++;
		err = url ? tn_dial(state.loop, url, &handler, port, &port->conn) : -ENOMEM;
		free(url);
		if (err < 0) {
			port->why = strdup(tn_errmsg());
			finish(port, FAILED);
		}
	}
	if (state.told == state.count)
		tn_loop_stop(state.loop);
}

static void on_signal(int nth, void *arg)
{
	(void)nth, (void)arg;
	tn_loop_stop(state.loop);
}

static void tell_all(void)
{
	size_t left = state.count - state.of[OPEN] - state.of[REFUSED] - state.of[FILTERED] - state.of[FAILED];
	struct text line = {0};

	if (settings.json) {
		json_begin(&line, "summary");
		json_text(&line, "url", state.url);
		json_number(&line, "ports", state.count);
		for (int i = OPEN; i <= FAILED; i++)
			json_number(&line, found_words[i], state.of[i]);
		json_number(&line, "left", left);
		json_line(&line);
		return;
	}
	text_add(&line, "%zu ports: %zu open, %zu refused, %zu filtered", state.count, state.of[OPEN],
		 state.of[REFUSED], state.of[FILTERED]);
	if (state.of[FAILED])
		text_add(&line, ", %zu failed", state.of[FAILED]);
	if (left)
		text_add(&line, ", %zu left out", left);
	out_line(&line);
}

/* The first port stands for all: the rest of the URL is right or wrong for each of them. */
static int check_url(void)
{
	char *url;
	int kind, status;

	state.shakes = true;
	url = url_of(&state.ports[0], true);
	state.shakes = url && tn_url_check(url, TN_DIAL) == 0;
	free(url);
	url = url_of(&state.ports[0], true);
	kind = url ? tn_url_kind(url) : 0;
	status = url ? dialled_check(url) : complain_library(-ENOMEM, NULL);

	if (status == STATUS_DONE && kind & TN_URL_DATAGRAMS && !(kind & TN_URL_SECURE)) {
		complain("ping: several ports: nobody answers a datagram for being sent one; only connections tell");
		status = STATUS_USAGE;
	}
	free(url);
	return status;
}

int ports_check(const char *operand, uint64_t timeout_ns)
{
	int status;

	state.url = operand;
	state.timeout_ns = timeout_ns;
	(void)ports_at(operand, &state.before, &state.behind);
	status = read_ports();
	if (status == STATUS_DONE)
		status = check_url();
	if (status == STATUS_DONE && options_loop_new(&state.loop, "epoll") < 0)
		status = STATUS_FAILED;
	if (status == STATUS_DONE) {
		if (signals_start(state.loop, on_signal, NULL) < 0 || tn_loop_post(state.loop, begin_some, NULL) < 0 ||
		    tn_loop_run(state.loop) < 0)
			status = complain_library(-ENOMEM, NULL);
		state.over = true;
		tell_all();
		signals_stop();
		tn_loop_free(state.loop);
		if (status == STATUS_DONE && !state.of[OPEN])
			status = STATUS_FAILED;
	}
	for (size_t i = 0; i < state.count && state.ports; i++)
		free(state.ports[i].why);
	free(state.ports);
	return status;
}
