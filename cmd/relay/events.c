#include "events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/complain.h"
#include "common/json.h"
#include "common/output.h"
#include "common/reason.h"
#include "common/report.h"
#include "common/settings.h"
#include "common/text.h"
#include "plan.h"
#include "tap/tap.h"
#include "tenon.h"

/* ---- what is noted ---- */

/* The socket is the same for all of them. */
static void take_sender(struct record *record, const struct tn_conn *conn, const struct tn_msg *msg,
			struct tn_conn_info *info)
{
	const char *like = record->url, *colon = strchr(like, ':');
	int len = colon ? (int)(colon - like) + (strncmp(colon, "://", 3) ? 1 : 3) : 0;
	struct tn_addr local;
	char text[256];

	snprintf(info->peer, sizeof(info->peer), "%.*s%s", len, like, tn_addr_text(msg->peer, text, sizeof(text)));
	if (tn_msg_local(conn, msg, &local) == 0 && local.len)
		snprintf(info->local, sizeof(info->local), "%.*s%s", len, like,
			 tn_addr_text(&local, text, sizeof(text)));
}

struct record *record_new(const struct tn_conn *client, const char *url, const struct tn_msg *msg)
{
	struct record *record = plan.told ? calloc(1, sizeof(*record)) : NULL;
	struct tn_conn_info info;

	if (!record)
		return NULL;
	tn_conn_info(client, &info);
	record->url = url;
	if (msg)
		take_sender(record, client, msg, &info);
	record->id = tn_conn_id(client);
	record->started_utc_ns = clock_utc_ns();
	record->started_ns = tn_loop_now(tn_conn_loop(client));
	record->client = strdup(info.peer);
	credentials_take(&record->client_is, &info);
	record->local = strdup(info.local);
	return record;
}

void record_asked(struct record *record, const struct tn_asked *asked)
{
	char place[300];

	if (!record)
		return;
	snprintf(place, sizeof(place), strchr(asked->host, ':') ? "[%s]:%d" : "%s:%d", asked->host, asked->port);
	record->asked = strdup(place);
	record->protocol = strdup(asked->protocol);
	record->user = *asked->user ? strdup(asked->user) : NULL;
	record->udp = asked->what == TN_ASKED_UDP;
}

void record_trying(struct record *record, const char *url, uint64_t now_ns)
{
	struct attempt *grown;

	if (!record)
		return;
	grown = realloc(record->attempts, (record->nattempts + 1) * sizeof(*grown));
	if (!grown)
		return;
	record->attempts = grown;
	record->attempts[record->nattempts++] = (struct attempt){.url = url ? strdup(url) : NULL};
	record->tried_ns = now_ns;
}

static struct attempt *latest(const struct record *record)
{
	return record->nattempts ? &record->attempts[record->nattempts - 1] : NULL;
}

void record_failed(struct record *record, const char *why, uint64_t now_ns)
{
	struct attempt *attempt = record ? latest(record) : NULL;

	if (!attempt || attempt->error)
		return;
	attempt->error = strdup(why);
	attempt->ns = now_ns - record->tried_ns;
}

void record_reached(struct record *record, const struct tn_conn *target, uint64_t now_ns)
{
	struct attempt *attempt = record ? latest(record) : NULL;
	struct tn_conn_info info;

	if (!attempt)
		return;
	attempt->ns = now_ns - record->tried_ns;
	tn_conn_info(target, &info);
	free(record->target);
	free(record->from);
	record->target = strdup(info.peer);
	record->from = strdup(info.local);
	credentials_take(&record->target_is, &info);
	record->handshake_ns = info.opened_ns - info.connected_ns;
	free(record->via);
	record->via = *info.via ? strdup(info.via) : NULL;
}

void record_end(struct record *record, enum side by, int err, const char *why)
{
	/* An error behind an end in good order is what it comes to; what the relay has ended stays so. */
	if (!record || record->by == SIDE_RELAY || (record->by && (record->err || !err)))
		return;
	record->by = by;
	record->err = err;
	record->why = err && why && *why ? strdup(why) : NULL;
}

void record_program(struct record *record, const struct tn_conn *target)
{
	record->runs = outcome_of(target, &record->outcome);
}

/* An end in good order may be that of a command that has failed. */
static const char *reason_of_record(struct record *record)
{
	char words[128];

	if (!record->err && outcome_failure(&record->outcome, words, sizeof(words))) {
		if (!record->why)
			record->why = strdup(words);
		return "command";
	}
	return reason_of(record->err);
}

static void record_free(struct record *record)
{
	for (size_t i = 0; i < record->nattempts; i++) {
		free(record->attempts[i].url);
		free(record->attempts[i].error);
	}
	free(record->attempts);
	free(record->asked);
	free(record->protocol);
	free(record->user);
	free(record->client);
	free(record->local);
	free(record->target);
	free(record->from);
	free(record->via);
	free(record->why);
	free(record);
}

/* ---- who looks on ---- */

struct tap *record_begin_tap(const struct record *record, bool datagrams, bool messages, const struct tn_conn *client,
			     const struct tn_msg *msg)
{
	struct recording_ends ends = {.datagrams = datagrams, .messages = messages && !datagrams};
	struct tn_addr peer = {0}, local = {0};

	if (!record || !tap_is_wanted())
		return NULL;
	if (msg)
		peer = *msg->peer;
	if (msg ? tn_msg_local(client, msg, &local) < 0 : tn_conn_local(client, &local) < 0)
		local.len = 0;
	if (!msg && tn_conn_peer(client, &peer) < 0)
		peer.len = 0;
	ends.id = record->id;
	ends.url = record->url;
	ends.client = &peer;
	ends.local = &local;
	ends.client_text = record->client;
	return tap_begin(client, &ends);
}

/* ---- what is told ---- */

static const char *side_name(enum side side)
{
	static const char *const names[] = {[SIDE_CLIENT] = "client", [SIDE_TARGET] = "target", [SIDE_RELAY] = "relay"};

	return side ? names[side] : NULL;
}

void record_end_tap(const struct record *record, struct tap *tap)
{
	if (!tap)
		return;
	tap_end(tap, record->by == SIDE_CLIENT ? RECORDING_CLIENT : RECORDING_SERVER, side_name(record->by),
		record->why   ? record->why
		: record->err ? reason_of(record->err)
			      : NULL,
		record->err != 0);
}

void record_faults(struct record *record, struct chaos_counts counts)
{
	if (!record)
		return;
	record->has_faults = true;
	record->faults = counts;
}

static void faults_json(struct text *line, const struct record *record)
{
	json_object(line, "chaos");
	json_number(line, "lost", record->faults.lost);
	json_number(line, "duplicated", record->faults.duplicated);
	json_number(line, "reordered", record->faults.reordered);
	json_number(line, "corrupted", record->faults.corrupted);
	json_object_end(line);
}

static void attempts_json(struct text *line, const struct record *record)
{
	json_list(line, "tried");
	for (size_t i = 0; i < record->nattempts; i++) {
		const struct attempt *attempt = &record->attempts[i];

		json_object(line, NULL);
		json_text(line, "url", attempt->url);
		json_text(line, "error", attempt->error);
		json_ms(line, "ms", attempt->ns);
		json_object_end(line);
	}
	json_list_end(line);
}

static uint64_t connect_ns(const struct record *record)
{
	uint64_t ns = record->target && latest(record) ? latest(record)->ns : 0;

	return ns > record->handshake_ns ? ns - record->handshake_ns : 0;
}

static void ms_or_null(struct text *line, const char *key, bool known, uint64_t ns)
{
	if (known)
		json_ms(line, key, ns);
	else
		json_null(line, key);
}

static void tell_json(struct record *record, uint64_t duration_ns)
{
	struct text line = {0};

	json_begin(&line, "session");
	json_number(&line, "id", record->id);
	json_text(&line, "url", record->url);
	json_text(&line, "client", record->client);
	json_text(&line, "local", record->local);
	credentials_json(&line, "client", &record->client_is);
	if (record->asked) {
		json_text(&line, "asked", record->asked);
		json_text(&line, "protocol", record->protocol);
		json_text(&line, "command", record->udp ? "udp" : "connect");
		json_text(&line, "user", record->user);
	}
	json_text(&line, "target", record->target);
	json_text(&line, "from", record->from);
	credentials_json(&line, "target", &record->target_is);
	if (record->via)
		json_text(&line, "via", record->via);
	attempts_json(&line, record);
	json_number(&line, "bytes_in", record->bytes_in);
	json_number(&line, "bytes_out", record->bytes_out);
	json_number(&line, "messages_in", record->msgs_in);
	json_number(&line, "messages_out", record->msgs_out);
	json_number(&line, "lost", record->lost);
	json_number(&line, "paused", record->paused);
	if (record->has_faults)
		faults_json(&line, record);
	ms_or_null(&line, "connect_ms", record->target, connect_ns(record));
	ms_or_null(&line, "handshake_ms", record->handshake_ns, record->handshake_ns);
	ms_or_null(&line, "first_byte_ms", record->first_ns, record->first_ns);
	json_ms(&line, "duration_ms", duration_ns);
	json_text(&line, "ended_by", side_name(record->by));
	json_text(&line, "reason", reason_of_record(record));
	json_text(&line, "error", record->why);
	if (record->runs)
		outcome_json(&line, &record->outcome);
	json_time_at(&line, "started", record->started_utc_ns);
	json_time(&line, "time");
	json_line(&line);
}

static void tell_text(struct record *record, uint64_t duration_ns)
{
	struct text line = {0};

	text_add(&line, "session #%llu ", (unsigned long long)record->id);
	text_clean(&line, record->client);
	text_add(&line, " -> ");
	if (record->asked) {
		text_add(&line, "%s", record->udp ? "datagrams " : "");
		text_clean(&line, record->asked);
		text_add(&line, " (");
		text_clean(&line, record->protocol);
		text_add(&line, record->user ? " " : "");
		text_clean(&line, record->user ? record->user : "");
		text_add(&line, ")%s", record->udp ? "" : " -> ");
	}
	if (!record->udp)
		text_clean(&line, record->target ? record->target : "no target");
	if (record->via) {
		text_add(&line, " via ");
		text_clean(&line, record->via);
	}
	text_add(&line, ": %llu bytes in, %llu out, %.3f s, %s", (unsigned long long)record->bytes_in,
		 (unsigned long long)record->bytes_out, (double)duration_ns / 1e9, reason_of_record(record));
	if (record->by)
		text_add(&line, " by the %s", side_name(record->by));
	if (record->why)
		text_add(&line, ": ");
	text_clean(&line, record->why ? record->why : "");
	out_line(&line);
}

void record_tell(struct record *record, uint64_t now_ns)
{
	uint64_t duration_ns;

	if (!record)
		return;
	duration_ns = now_ns > record->started_ns ? now_ns - record->started_ns : 0;
	if (json_is_wanted())
		tell_json(record, duration_ns);
	if (settings.verbose && !settings.json)
		tell_text(record, duration_ns);
	record_free(record);
}

void report_listening(struct tn_server *server, const char *handler)
{
	for (int i = 0; i < tn_server_nurls(server); i++)
		report_listener(tn_server_url(server, i), handler, handler);
}

static void on_trouble(struct tn_server *server, int err, const char *text, void *arg)
{
	(void)arg;
	report_trouble(server, tn_server_nurls(server) > 0 ? tn_server_url(server, 0) : NULL, err, text);
}

void report_watch(struct tn_server *server)
{
	static const struct tn_watch watch = {.on_trouble = on_trouble};

	tn_server_watch(server, &watch, NULL);
}

void report_target(const char *url, bool works, const char *why)
{
	struct text line = {0};

	if (report_in_words() && works)
		complain_notice("target %s works again", url);
	else if (report_in_words())
		complain_warning("target %s is left out for a while: %s", url, why);
	if (json_is_wanted()) {
		json_begin(&line, "target");
		json_text(&line, "url", url);
		json_text(&line, "state", works ? "up" : "down");
		json_text(&line, "error", why);
		json_time(&line, "time");
		json_line(&line);
	}
}
