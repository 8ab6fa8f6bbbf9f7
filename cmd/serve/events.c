#include "events.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/complain.h"
#include "common/credentials.h"
#include "common/human.h"
#include "common/json.h"
#include "common/outcome.h"
#include "common/output.h"
#include "common/reason.h"
#include "common/report.h"
#include "common/settings.h"
#include "common/text.h"
#include "common/transcode.h"
#include "flow/message.h"
#include "handlers/broadcast.h"
#include "handlers/child.h"
#include "handlers/count.h"
#include "handlers/exec.h"
#include "tap/tap.h"
#include "tenon.h"

/* Whether connections are told of in words. */
static bool is_text(void)
{
	return settings.verbose && !settings.json;
}

int served_note(struct served *served)
{
	int n = tn_server_nurls(served->server);

	served->urls = calloc((size_t)n + 1, sizeof(*served->urls));
	while (served->urls && served->nurls < n) {
		served->urls[served->nurls] = strdup(tn_server_url(served->server, served->nurls));
		if (!served->urls[served->nurls])
			return -ENOMEM;
		served->nurls++;
	}
	return served->urls ? 0 : -ENOMEM;
}

const char *served_url(const struct served *served)
{
	return served->nurls > 0 ? served->urls[0] : "fd";
}

void events_listening(const struct served *served)
{
	for (int i = 0; i < served->nurls; i++)
		report_listener(served->urls[i], served->handler, served->handler);
}

/* ---- connections ---- */

/* A listener on every address of one IP version. */
static bool is_on_any(const char *url, bool ipv6)
{
	return strstr(url, ipv6 ? "://[::]:" : "://0.0.0.0:") != NULL;
}

/*
 * The listener that a connection came to: if there are several, the one with its address, or the one on every address
 * of its IP version.
 */
static const char *listener_of(const struct served *served, const struct tn_conn_info *info)
{
	bool ipv6 = strstr(info->local, "://[") != NULL;

	for (int i = 0; i < served->nurls; i++)
		if (strcmp(served->urls[i], info->local) == 0)
			return served->urls[i];
	for (int i = 0; i < served->nurls; i++)
		if (is_on_any(served->urls[i], ipv6))
			return served->urls[i];
	return served->nurls > 0 ? served->urls[0] : "";
}

/* How a connection has ended. */
/* What stands for no code (RFC 6455 7.4.1). */
#define WS_NO_CODE 1005
#define WS_ABNORMAL 1006

struct ending {
	uint64_t id, duration;
	const char *reason, *why; /* why: NULL: in good order */
	bool commands;
	struct outcome outcome;
	const struct tn_websocket *ws; /* NULL: it is none */
};

static void security_json(struct text *line, const struct tn_security *s)
{
	json_text(line, "protocol", s->protocol);
	json_text(line, "cipher", s->cipher);
	json_text(line, "alpn", *s->alpn ? s->alpn : NULL);
	json_text(line, "server_name", *s->server_name ? s->server_name : NULL);
	json_text(line, "identity", *s->identity ? s->identity : NULL);
	json_bool(line, "resumed", s->resumed);
}

static void security_text(struct text *line, const struct tn_security *s)
{
	text_add(line, " (%s, %s%s", s->protocol, s->cipher, s->resumed ? ", resumed" : "");
	if (*s->alpn)
		text_add(line, ", ");
	text_clean(line, s->alpn);
	if (*s->identity)
		text_add(line, ", from ");
	text_clean(line, s->identity);
	text_add(line, ")");
}

/* Who has sent the PROXY header. */
static const char *sender_text(const struct tn_proxy *proxy, char *out, size_t cap)
{
	if (proxy->sender.len)
		return tn_addr_text(&proxy->sender, out, cap);
	return "(unnamed)";
}

static void tlv_json(struct text *line, const char *key, const struct tn_proxy *proxy, unsigned type)
{
	const unsigned char *value;
	size_t len;

	if (tn_proxy_tlv(proxy, type, &value, &len) == 0)
		json_bytes(line, key, value, len);
}

static void proxy_json(struct text *line, const struct tn_proxy *proxy)
{
	char text[128];

	json_text(line, "via", sender_text(proxy, text, sizeof(text)));
	json_text(line, "target", proxy->target.len ? tn_addr_text(&proxy->target, text, sizeof(text)) : NULL);
	tlv_json(line, "authority", proxy, TN_PROXY_AUTHORITY);
	tlv_json(line, "unique_id", proxy, TN_PROXY_UNIQUE_ID);
	tlv_json(line, "client_name", proxy, TN_PROXY_SSL_CN);
}

static void websocket_json(struct text *line, const struct tn_websocket *ws)
{
	json_text(line, "path", ws->target);
	json_text(line, "subprotocol", *ws->subprotocol ? ws->subprotocol : NULL);
	json_bool(line, "deflate", ws->deflate);
}

/* What each side's Close has said (RFC 6455 7.4); null where it has said none. */
static void codes_json(struct text *line, const struct tn_websocket *ws)
{
	json_signed_or_null(line, "peer_code", ws->peer_code < WS_NO_CODE || ws->peer_code > WS_ABNORMAL,
			    ws->peer_code);
	json_text(line, "peer_reason", *ws->peer_reason ? ws->peer_reason : NULL);
	json_signed_or_null(line, "our_code", ws->our_code > 0, ws->our_code);
}

static void tell_open(const struct served *served, struct tn_conn *conn)
{
	char sender[128];
	struct tn_conn_info info;
	struct credentials who;
	struct tn_security security;
	bool secured = tn_conn_security(conn, &security) == 0;
	struct tn_proxy proxy;
	bool proxied = tn_conn_proxy(conn, &proxy) == 0;
	struct tn_websocket ws;
	bool web = tn_conn_websocket(conn, &ws) == 0;
	struct text line = {0};

	if (!json_is_wanted() && !is_text())
		return;
	tn_conn_info(conn, &info);
	credentials_take(&who, &info);
	if (json_is_wanted()) {
		json_begin(&line, "open");
		json_number(&line, "id", tn_conn_id(conn));
		json_text(&line, "url", listener_of(served, &info));
		json_text(&line, "peer", info.peer);
		json_text(&line, "local", info.local);
		credentials_json(&line, "peer", &who);
		if (proxied)
			proxy_json(&line, &proxy);
		if (secured)
			security_json(&line, &security);
		if (web)
			websocket_json(&line, &ws);
		json_time(&line, "time");
		json_line(&line);
	}
	if (!is_text())
		return;
	text_add(&line, "open #%llu %s on %s", (unsigned long long)tn_conn_id(conn), info.peer,
		 listener_of(served, &info));
	credentials_text(&line, &who);
	if (proxied)
		text_add(&line, " via %s", sender_text(&proxy, sender, sizeof(sender)));
	if (secured)
		security_text(&line, &security);
	if (web) {
		text_add(&line, ", asks for ");
		text_clean(&line, ws.target);
	}
	out_line(&line);
}

static void on_open(struct tn_conn *conn, void *arg)
{
	struct served *served = arg;

	if (served->tapped)
		tap_conn(conn, served_url(served), TAP_SERVED | (served->keeps ? TAP_MESSAGES : 0));
	if (served->told)
		tell_open(served, conn);
	if (served->opened)
		served->opened(served, conn);
}

static uint64_t duration_ns(const struct tn_conn *conn, const struct tn_conn_info *info)
{
	uint64_t now = tn_loop_now(tn_conn_loop(conn));

	return now > info->opened_ns ? now - info->opened_ns : 0;
}

static void counts_json(struct text *line, const struct tn_conn_info *info, uint64_t duration)
{
	json_number(line, "bytes_in", info->bytes_in);
	json_number(line, "bytes_out", info->bytes_out);
	json_number(line, "messages_in", info->msgs_in);
	json_number(line, "messages_out", info->msgs_out);
	json_ms(line, "duration_ms", duration);
}

/* ---- commands ---- */

static struct outcome outcome_of_child(const struct handler_child *child)
{
	if (!child)
		return (struct outcome){0};
	return (struct outcome){.known = !child->err, .status = child->status, .signal = child->signal};
}

static const char *start_text(const struct served *served, const struct handler_child *child, char *out, size_t cap)
{
	const char *url = served_url(served);

	if (child->err == TN_ELIMIT)
		snprintf(out, cap, "%s: no command was started: as many run as may (--max-children)", url);
	else
		snprintf(out, cap, "%s: a command could not be started: %s", url, tn_strerror(child->err));
	return out;
}

static void child_json(const struct served *served, const struct handler_child *child)
{
	struct text line = {0};
	struct outcome outcome;
	char why[512];

	json_begin(&line, "child");
	json_number(&line, "id", child->conn);
	json_signed_or_null(&line, "pid", child->pid, child->pid);
	if (child->fds)
		json_number(&line, "fds", child->fds);
	if (child->err)
		json_text(&line, "reason", child->err == TN_ELIMIT ? "limit" : "start");
	else
		json_text(&line, "reason", child->signal ? "signal" : "exit");
	outcome = outcome_of_child(child);
	outcome_json(&line, &outcome);
	json_text(&line, "error",
		  child->err ? start_text(served, child, why, sizeof(why))
			     : outcome_failure(&outcome, why, sizeof(why)));
	json_time(&line, "time");
	json_line(&line);
}

void events_child(const struct served *served, const struct handler_child *child)
{
	const struct outcome outcome = outcome_of_child(child);
	struct text line = {0};
	char why[512];

	if (json_is_wanted())
		child_json(served, child);
	if (settings.json) {
		return;
	} else if (child->err) {
		tn_conn_trouble(child->refused, child->err, start_text(served, child, why, sizeof(why)));
	} else if (settings.verbose) {
		text_add(&line, "child #%llu: pid %d: %s", (unsigned long long)child->conn, child->pid,
			 outcome_failure(&outcome, why, sizeof(why)) ? why : "the command ended with status 0");
		out_line(&line);
	}
}

/* ---- the end of a connection ---- */

/* How its command has ended, if it has one that has. */
static const struct handler_child *child_of(const struct served *served, const struct tn_conn *conn,
					    struct handler_child *child)
{
	return served->commands && handler_child_of(conn, child) ? child : NULL;
}

static void close_json(struct text *line, const struct tn_conn_info *info, const struct ending *end)
{
	char *why = end->why ? strdup(end->why) : NULL;

	json_begin(line, "close");
	json_number(line, "id", end->id);
	json_text(line, "peer", info->peer);
	counts_json(line, info, end->duration);
	json_text(line, "reason", end->reason);
	json_text(line, "error", why);
	if (end->commands)
		outcome_json(line, &end->outcome);
	if (end->ws)
		codes_json(line, end->ws);
	json_time(line, "time");
	json_line(line);
	free(why);
}

static void counts_text(struct text *line, const struct tn_conn_info *info, uint64_t duration)
{
	text_add(line, "%llu bytes in, %llu out, %.3f s", (unsigned long long)info->bytes_in,
		 (unsigned long long)info->bytes_out, (double)duration / 1e9);
}

/* The line names the peer already, so the same words at the beginning of the text are left out. */
static void add_reason(struct text *line, const struct ending *end, const char *peer)
{
	const char *why = end->why;
	size_t len = strlen(peer);

	text_add(line, ", ");
	if (why && len && strncmp(why, peer, len) == 0 && strncmp(why + len, ": ", 2) == 0)
		why += len + 2;
	if (!why || strncmp(why, end->reason, strlen(end->reason)) != 0)
		text_add(line, "%s%s", end->reason, why ? ": " : "");
	if (why)
		text_clean(line, why);
}

static void tell_close(const struct served *served, const struct tn_conn *conn, int err)
{
	struct ending end = {.id = tn_conn_id(conn), .reason = reason_of(err), .commands = served->commands};
	struct handler_child child;
	struct tn_conn_info info;
	struct tn_websocket ws;
	struct text line = {0};
	char why[512], words[128];

	if (err) {
		snprintf(why, sizeof(why), "%s", tn_errmsg());
		end.why = why;
	}
	end.outcome = outcome_of_child(child_of(served, conn, &child));
	if (!err && outcome_failure(&end.outcome, words, sizeof(words))) {
		end.reason = "command";
		end.why = words;
	}
	if (tn_conn_websocket(conn, &ws) == 0)
		end.ws = &ws;
	tn_conn_info(conn, &info);
	end.duration = duration_ns(conn, &info);
	if (json_is_wanted())
		close_json(&line, &info, &end);
	if (!is_text())
		return;
	text_add(&line, "close #%llu %s: ", (unsigned long long)end.id, info.peer);
	counts_text(&line, &info, end.duration);
	add_reason(&line, &end, info.peer);
	out_line(&line);
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	struct served *served = arg;

	if (json_is_wanted() || is_text())
		tell_close(served, conn, err);
	served->closed(served, err);
}

void events_datagrams(const struct served *served, const struct tn_conn *conn)
{
	struct tn_conn_info info;
	struct text line = {0};

	tn_conn_info(conn, &info);
	if (json_is_wanted()) {
		json_begin(&line, "datagrams");
		json_text(&line, "url", listener_of(served, &info));
		counts_json(&line, &info, duration_ns(conn, &info));
		json_number(&line, "lost", info.lost);
		json_number(&line, "dropped", info.dropped);
		json_time(&line, "time");
		json_line(&line);
	}
	if (!is_text())
		return;
	text_add(&line, "datagrams on %s: %llu in, %llu out, %llu lost; ", listener_of(served, &info),
		 (unsigned long long)info.msgs_in, (unsigned long long)info.msgs_out, (unsigned long long)info.lost);
	counts_text(&line, &info, duration_ns(conn, &info));
	out_line(&line);
}

/* ---- the handler count ---- */

/* From the first to the last: with less than two messages there is no time between them. */
static double bytes_per_second(const struct handler_count *count)
{
	uint64_t ns = count->last_ns - count->first_ns;

	return ns ? (double)count->bytes * 1e9 / (double)ns : 0;
}

static void count_json(const struct served *served, const struct handler_count *count, const struct tn_conn_info *info)
{
	struct text line = {0};

	json_begin(&line, "count");
	json_number(&line, "id", tn_conn_id(count->conn));
	json_text(&line, "url", listener_of(served, info));
	json_text(&line, "peer", served->datagrams ? NULL : info->peer);
	json_signed_or_null(&line, "messages", served->keeps, (int64_t)count->messages);
	json_number(&line, "bytes", count->bytes);
	json_ms(&line, "ms", count->last_ns - count->first_ns);
	json_real(&line, "bytes_per_second", bytes_per_second(count));
	json_number(&line, "lost", info->lost);
	json_time(&line, "time");
	json_line(&line);
}

void events_count(const struct served *served, const struct handler_count *count)
{
	struct tn_conn_info info;
	struct text line = {0};
	char rate[32];

	tn_conn_info(count->conn, &info);
	if (json_is_wanted())
		count_json(served, count, &info);
	if (settings.json)
		return;
	text_add(&line, "count #%llu %s: ", (unsigned long long)tn_conn_id(count->conn),
		 served->datagrams ? listener_of(served, &info) : info.peer);
	if (served->keeps)
		text_add(&line, "%llu messages, ", (unsigned long long)count->messages);
	text_add(&line, "%llu bytes in %.3f s, %s/s", (unsigned long long)count->bytes,
		 (double)(count->last_ns - count->first_ns) / 1e9,
		 human_bytes(bytes_per_second(count), rate, sizeof(rate)));
	if (served->datagrams)
		text_add(&line, ", %llu lost", (unsigned long long)info.lost);
	out_line(&line);
}

/* ---- flows of tenon bench ---- */

/* Datagrams may come behind the question that asks for them. */
static uint64_t lost_of(const struct flow_facts *facts)
{
	return facts->sent > facts->messages ? facts->sent - facts->messages : 0;
}

static double flow_bytes_per_second(const struct flow_facts *facts)
{
	return facts->span_ns ? (double)facts->bytes * 1e9 / (double)facts->span_ns : 0;
}

static void latency_json(struct text *line, const struct flow_facts *facts)
{
	if (!facts->timed) {
		json_null(line, "latency_us");
		return;
	}
	json_object(line, "latency_us");
	json_real(line, "p50", (double)facts->p50_ns / 1e3);
	json_real(line, "p90", (double)facts->p90_ns / 1e3);
	json_real(line, "p99", (double)facts->p99_ns / 1e3);
	json_real(line, "p99.9", (double)facts->p999_ns / 1e3);
	json_real(line, "max", (double)facts->max_ns / 1e3);
	json_object_end(line);
}

static void flow_json(const struct served *served, const struct handler_flow *flow, const struct tn_conn_info *info,
		      const char *peer)
{
	const struct flow_facts *facts = flow->facts;
	struct text line = {0};

	json_begin(&line, "flow");
	json_number(&line, "id", tn_conn_id(flow->conn));
	json_text(&line, "url", listener_of(served, info));
	json_text(&line, "peer", peer);
	json_number(&line, "messages", facts->messages);
	json_number(&line, "bytes", facts->bytes);
	json_ms(&line, "ms", facts->span_ns);
	json_real(&line, "bytes_per_second", flow_bytes_per_second(facts));
	json_number(&line, "sent", facts->sent);
	json_number(&line, "lost", lost_of(facts));
	json_number(&line, "duplicates", facts->duplicates);
	json_number(&line, "reordered", facts->reordered);
	json_real(&line, "jitter_us", (double)facts->jitter_ns / 1e3);
	latency_json(&line, facts);
	json_time(&line, "time");
	json_line(&line);
}

static void flow_text(const struct handler_flow *flow, const char *peer)
{
	const struct flow_facts *facts = flow->facts;
	char bits[32], jitter[32], p99[32];
	struct text line = {0};

	text_add(&line, "flow #%llu ", (unsigned long long)tn_conn_id(flow->conn));
	text_clean(&line, peer);
	text_add(&line,
		 ": %llu messages, %llu bytes in %.3f s, %s/s, %llu of %llu lost, %llu duplicates, "
		 "%llu reordered, jitter %s",
		 (unsigned long long)facts->messages, (unsigned long long)facts->bytes, (double)facts->span_ns / 1e9,
		 human_bits(flow_bytes_per_second(facts) * 8, bits, sizeof(bits)), (unsigned long long)lost_of(facts),
		 (unsigned long long)facts->sent, (unsigned long long)facts->duplicates,
		 (unsigned long long)facts->reordered,
		 human_us((double)facts->jitter_ns / 1e3, jitter, sizeof(jitter)));
	if (facts->timed)
		text_add(&line, ", p99 %s", human_us((double)facts->p99_ns / 1e3, p99, sizeof(p99)));
	out_line(&line);
}

void events_flow(const struct served *served, const struct handler_flow *flow)
{
	struct tn_conn_info info;
	char sender[256];
	const char *peer;

	tn_conn_info(flow->conn, &info);
	peer = flow->peer ? tn_addr_text(flow->peer, sender, sizeof(sender)) : info.peer;
	if (json_is_wanted())
		flow_json(served, flow, &info, peer);
	if (!settings.json)
		flow_text(flow, peer);
}

/* ---- the handler broadcast ---- */

void events_slow(const struct handler_slow *slow)
{
	struct text line = {0};
	struct tn_conn_info info;
	const char *peer;

	tn_conn_info(slow->conn, &info);
	peer = slow->peer ? slow->peer : info.peer;
	if (report_in_words())
		complain_warning("#%llu %s: %s%s%s; messages dropped: %llu", (unsigned long long)tn_conn_id(slow->conn),
				 peer, slow->event, slow->why ? ": " : "", slow->why ? slow->why : "",
				 (unsigned long long)slow->dropped);
	if (!json_is_wanted())
		return;
	json_begin(&line, slow->event);
	json_number(&line, "id", tn_conn_id(slow->conn));
	json_text(&line, "name", NULL); /* a hub's clients have one */
	json_text(&line, "peer", peer);
	json_text(&line, "why", slow->why);
	json_number(&line, "dropped", slow->dropped);
	json_time(&line, "time");
	json_line(&line);
}

/* ---- bad messages ---- */

/* On a datagram endpoint the sender is the message's. */
static const char *sender_of(const struct tn_conn_info *info, const struct tn_msg *msg, char *text, size_t cap)
{
	return msg->peer ? tn_addr_text(msg->peer, text, cap) : info->peer;
}

/* As it is shown: what is in a format of values as JSON. What is wrong with one is told by on_bad. */
static int shown(const struct tn_conn *conn, const struct tn_msg *msg, struct transcoder *coder, struct tn_msg *as)
{
	int err;

	*as = *msg;
	transcoder_begin(coder, conn);
	if (!coder->formatted)
		return 0;
	err = transcoder_write(coder, conn, msg);
	as->data = coder->bytes.data;
	as->len = coder->bytes.len;
	return err;
}

static void message_json(const struct tn_conn *conn, const struct tn_msg *msg, const char *sender, bool value)
{
	struct text line = {0};

	json_begin(&line, "message");
	json_number(&line, "id", tn_conn_id(conn));
	json_text(&line, "peer", sender);
	if (value) {
		json_key(&line, "value");
		text_bytes(&line, msg->data, msg->len);
	} else {
		json_bytes(&line, "data", msg->data, msg->len);
	}
	json_time(&line, "time");
	json_line(&line);
}

/* One line feed at the end of what comes by lines is none of the text. */
static void message_text(const struct tn_conn *conn, const struct tn_msg *msg, const char *sender)
{
	const char *data = msg->data;
	struct text line = {0};

	text_add(&line, "message #%llu ", (unsigned long long)tn_conn_id(conn));
	text_clean(&line, sender);
	text_add(&line, ": ");
	text_clean_bytes(&line, data, msg->len && data[msg->len - 1] == '\n' ? msg->len - 1 : msg->len);
	out_line(&line);
}

void events_message(struct tn_conn *conn, const struct tn_msg *msg)
{
	static _Thread_local struct transcoder coder;
	struct tn_conn_info info;
	struct tn_msg as;
	char sender[384];
	const char *from;

	if (shown(conn, msg, &coder, &as) < 0)
		return;
	tn_conn_info(conn, &info);
	from = sender_of(&info, msg, sender, sizeof(sender));
	if (json_is_wanted())
		message_json(conn, &as, from, coder.values);
	if (!settings.json)
		message_text(conn, &as, from);
}

static void bad_json(struct text *line, const struct tn_conn *conn, const struct tn_msg *msg, const char *why, long at)
{
	struct tn_conn_info info;
	char sender[384];

	tn_conn_info(conn, &info);
	json_begin(line, "bad");
	json_number(line, "id", tn_conn_id(conn));
	json_text(line, "peer", sender_of(&info, msg, sender, sizeof(sender)));
	json_number(line, "message", info.msgs_in);
	json_number(line, "bytes", msg->len);
	if (at >= 0)
		json_number(line, "position", (uint64_t)at);
	json_text(line, "error", why);
	json_time(line, "time");
	json_line(line);
}

static void on_bad(struct tn_conn *conn, const struct tn_msg *msg, int err, void *arg)
{
	struct tn_conn_info info;
	struct text line = {0};
	char why[512], sender[384];
	long at = tn_errpos();

	(void)err, (void)arg;
	snprintf(why, sizeof(why), "%s", tn_errmsg());
	if (json_is_wanted()) {
		bad_json(&line, conn, msg, why, at);
	}
	if (!is_text())
		return;
	tn_conn_info(conn, &info);
	text_add(&line, "bad #%llu ", (unsigned long long)tn_conn_id(conn));
	text_clean(&line, sender_of(&info, msg, sender, sizeof(sender)));
	text_add(&line, ": message %llu: ", (unsigned long long)info.msgs_in);
	text_clean(&line, why);
	out_line(&line);
}

/* ---- trouble ---- */

static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	const struct served *served = arg;

	report_trouble(server, served->nurls > 0 ? served->urls[0] : NULL, err, text);
}

void events_watch(struct served *served)
{
	const struct tn_watch watch = {
		.on_open = served->told || served->tapped || served->opened ? on_open : NULL,
		.on_close = on_close,
		.on_trouble = on_trouble,
		.on_bad = served->told ? on_bad : NULL,
	};

	tn_server_watch(served->server, &watch, served);
}
