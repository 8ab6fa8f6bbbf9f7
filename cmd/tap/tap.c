#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/complain.h"
#include "common/json.h"
#include "common/reason.h"
#include "common/status.h"
#include "common/text.h"
#include "last.h"
#include "tenon_value.h"
#include "trace.h"

#define SHOWN_MAX 64 /* sessions of one socket, of which the last messages are shown */

struct tap {
	struct tap *next, **link; /* of this thread's */
	const struct tn_conn *conn;
	bool serves; /* what comes on `conn` is of the client */
	bool many;   /* it has many clients: each datagram stands for itself */
	const char *url;
	struct recording *recording;
	struct traced traced;
	struct last *last;
};

static _Thread_local struct tap *all;

bool tap_is_wanted(void)
{
	return recorder_is_wanted() || trace_is_wanted() || last_is_wanted();
}

/* ---- life ---- */

int tap_open(const char *command, bool has_admin)
{
	if (last_is_wanted() && !has_admin) {
		complain("%s: --admin-trace needs --admin URL, where the messages are shown", command);
		return STATUS_USAGE;
	}
	return trace_open(command, last_is_wanted());
}

void tap_allow(struct sandbox *box)
{
	trace_allow(box);
}

int tap_start(void)
{
	return trace_start();
}

void tap_reopen(void)
{
	trace_reopen();
}

void tap_close(void)
{
	while (all) /* of connections that are not waited for */
		tap_end(all, RECORDING_SERVER, NULL, NULL, false);
	trace_close();
}

/* ---- sessions ---- */

static struct tap *begin(const struct tn_conn *conn, const struct recording_ends *ends)
{
	struct tap *tap = tap_is_wanted() ? calloc(1, sizeof(*tap)) : NULL;

	if (!tap)
		return NULL;
	*tap = (struct tap){.conn = conn, .serves = true, .next = all, .link = &all};
	if (all)
		all->link = &tap->next;
	all = tap;
	tap->traced.id = ends->id;
	if (last_is_wanted())
		tap->last = last_new();
	return tap;
}

static void take_peer(struct tap *tap, const char *text)
{
	if (text && *text)
		tap->traced.peer = strdup(text);
}

struct tap *tap_begin(const struct tn_conn *conn, const struct recording_ends *ends)
{
	struct tap *tap = begin(conn, ends);

	if (!tap)
		return NULL;
	take_peer(tap, ends->client_text);
	tap->recording = recording_new(ends);
	return tap;
}

void tap_number(struct tap *tap, uint64_t id)
{
	if (tap)
		tap->traced.id = id;
}

void tap_show_at(struct tap *tap, const struct tn_conn *conn)
{
	if (tap)
		tap->conn = conn;
}

void tap_reached(struct tap *tap, const char *target)
{
	if (!tap)
		return;
	recording_reached(tap->recording, target);
	if (target && !tap->traced.target)
		tap->traced.target = strdup(target);
}

void tap_data(struct tap *tap, enum recording_side from, const struct tn_msg *msg, const char *format)
{
	bool in;

	if (!tap)
		return;
	in = (from == RECORDING_CLIENT) == tap->serves;
	recording_data(tap->recording, from, msg, format);
	trace_message(&tap->traced, in, msg, format);
	last_keep(tap->last, in, msg, format, trace_bytes());
}

void tap_ended(struct tap *tap, enum recording_side from)
{
	if (tap)
		recording_ended(tap->recording, from);
}

void tap_end(struct tap *tap, enum recording_side side, const char *by, const char *why, bool reset)
{
	if (!tap)
		return;
	recording_close(tap->recording, side, by, why, reset);
	*tap->link = tap->next;
	if (tap->next)
		tap->next->link = tap->link;
	last_free(tap->last);
	free(tap->traced.peer);
	free(tap->traced.target);
	free(tap);
}

void tap_conn_json(struct text *out, const struct tn_conn *conn)
{
	int shown = 0;

	if (!last_is_wanted())
		return;
	json_list(out, "messages");
	for (const struct tap *tap = all; tap && shown < SHOWN_MAX; tap = tap->next)
		if (tap->conn == conn) {
			last_json(tap->last, out);
			shown++;
		}
	json_list_end(out);
}

/* ---- connections ---- */

static enum recording_side side(const struct tap *tap, bool peer)
{
	return peer == tap->serves ? RECORDING_CLIENT : RECORDING_SERVER;
}

static void end(struct tap *tap, int err)
{
	bool peer = err != -ECANCELED; /* otherwise we have closed it */
	const char *why = tn_errmsg();

	tap_end(tap, side(tap, peer), err ? side(tap, peer) == RECORDING_CLIENT ? "client" : "server" : NULL,
		!err   ? NULL
		: *why ? why
		       : reason_of(err),
		err != 0);
}

static void record_datagram(const struct tap *tap, struct tn_conn *conn, bool in, const struct tn_msg *msg)
{
	struct tn_addr local = {0};
	const struct recording_ends ends = {
		.id = tn_conn_id(conn), .url = tap->url, .datagrams = true, .client = msg->peer, .local = &local};

	if (!msg->peer)
		return;
	if (tn_msg_local(conn, msg, &local) < 0)
		local.len = 0;
	recording_datagram(&ends, side(tap, in), msg, tn_conn_format(conn));
}

static void on_tap(struct tn_conn *conn, enum tn_tap what, const struct tn_msg *msg, int err, void *arg)
{
	struct tap *tap = arg;

	switch (what) {
	case TN_TAP_IN:
	case TN_TAP_OUT:
		tap_data(tap, side(tap, what == TN_TAP_IN), msg, tn_conn_format(conn));
		if (tap->many)
			record_datagram(tap, conn, what == TN_TAP_IN, msg);
		break;
	case TN_TAP_IN_END:
	case TN_TAP_OUT_END:
		tap_ended(tap, side(tap, what == TN_TAP_IN_END));
		break;
	case TN_TAP_CLOSED:
		end(tap, err);
		(void)!tn_conn_tap(conn, NULL, NULL); /* it may be dialled again: another session */
		break;
	}
}

void tap_conn(struct tn_conn *conn, const char *url, unsigned flags)
{
	bool serves = flags & TAP_SERVED;
	struct recording_ends ends = {.id = tn_conn_id(conn), .url = url};
	struct tn_addr peer = {0}, local = {0};
	struct tn_conn_info info;
	int kind = tn_url_kind(url), err;
	bool many = serves && kind > 0 && (kind & (TN_URL_DATAGRAMS | TN_URL_SECURE)) == TN_URL_DATAGRAMS;
	struct tap *tap;

	if (!tap_is_wanted())
		return;
	tn_conn_info(conn, &info);
	if (tn_conn_peer(conn, &peer) < 0)
		peer.len = 0;
	if (tn_conn_local(conn, &local) < 0)
		local.len = 0;
	ends.datagrams = kind > 0 && kind & TN_URL_DATAGRAMS;
	ends.messages = !ends.datagrams && flags & TAP_MESSAGES;
	ends.client = serves ? &peer : &local;
	ends.local = serves ? &local : &peer;
	ends.client_text = serves ? info.peer : info.local;
	tap = begin(conn, &ends);
	if (!tap)
		return;
	tap->serves = serves;
	tap->many = many;
	tap->url = url;
	if (!many && !info.many) {
		take_peer(tap, info.peer);
		tap->recording = recording_new(&ends);
		recording_reached(tap->recording, NULL);
	}
	err = tn_conn_tap(conn, on_tap, tap);
	if (err < 0) {
		complain_library(err, NULL);
		tap_end(tap, RECORDING_SERVER, NULL, NULL, false);
	}
}
