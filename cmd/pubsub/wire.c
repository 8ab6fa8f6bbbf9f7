#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>

#include "common/complain.h"
#include "common/json.h"
#include "common/status.h"
#include "common/text.h"
#include "hub/nats_line.h"
#include "hub/payload.h"
#include "hub/url.h"
#include "tenon.h"
#include "tenon_value.h"

#define NATS "nats"
#define LONGEST "max=64MiB"

static struct {
	const struct wire_events *events;
	struct nats_login login;
	struct tn_conn *conn;
	bool secured;    /* by its URL */
	bool nats, late; /* late: TLS begins when the server has said that it is there */
	char inbox[64];  /* NATS: empty until something is asked */
	unsigned subs, asked;
	struct tn_bytes room;
} wire;

/* ---- NATS ---- */

static int send_line(const char *line, size_t len)
{
	return tn_send(wire.conn, line, len);
}

/* CONNECT. Returns why not, or NULL. */
static const char *nats_greet(const struct tn_value *info)
{
	const struct tn_value *value = tn_value_get(info, "nonce");
	struct text line = {0};
	struct span nonce = {0};
	const char *why;

	if (tn_value_kind(value) == TN_TEXT)
		nonce.data = tn_value_text(value, &nonce.len);
	text_add(&line,
		 "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,"
		 "\"protocol\":1,\"lang\":\"c\",\"name\":\"tenon\",\"version\":\"%s\"",
		 tn_version());
	why = nats_login_write(&line, &wire.login, nonce);
	text_add(&line, "}\r\n");
	if (!why && line.failed)
		why = "out of memory";
	if (!why)
		(void)!send_line(line.data, line.len);
	text_free(&line);
	return why;
}

static void nats_message(const struct nats_line *line)
{
	const struct message *m = &line->message;
	size_t len = strlen(wire.inbox);

	if (!len || m->topic.len < len || memcmp(m->topic.data, wire.inbox, len) != 0) {
		if (wire.events->message)
			wire.events->message(m);
	} else if (wire.events->reply) {
		wire.events->reply(line->nobody ? NULL : m);
	}
}

static void nats_refused(struct span text)
{
	char why[512];

	snprintf(why, sizeof(why), "'%.*s'", (int)text.len, text.data);
	wire.events->refused(why);
}

/* The server is there. */
static void nats_begin(struct span text)
{
	struct tn_value *info = NULL;
	const char *why;

	(void)!tn_decode("json", text.data, text.len, 0, &info);
	why = nats_line_secure(wire.conn, info, wire.late, wire.secured);
	if (!why)
		why = nats_greet(info);
	tn_value_free(info);
	if (why) {
		if (wire.events->refused)
			wire.events->refused(why);
		return;
	}
	if (wire.events->ready)
		wire.events->ready();
}

static void nats_input(const void *data, size_t len)
{
	struct nats_line line;

	nats_line_read(&line, data, len);
	if (line.op == NATS_MSG)
		nats_message(&line);
	else if (line.op == NATS_PING)
		(void)!send_line("PONG\r\n", 6);
	else if (line.op == NATS_PONG && wire.events->confirmed)
		wire.events->confirmed();
	else if (line.op == NATS_ERR && wire.events->refused)
		nats_refused(line.text);
	else if (line.op == NATS_INFO && !wire.asked++)
		nats_begin(line.text);
}

static int nats_publish(const struct message *m)
{
	char line[3 * NATS_LINE_MAX];
	size_t len = nats_line_publish(line, sizeof(line), m, 0);

	if (!len)
		return TN_ETOOBIG;
	return tn_sendv(wire.conn,
			(struct iovec[]){{line, len},
					 {(void *)(uintptr_t)m->body.data, m->body.len},
					 {(void *)(uintptr_t) "\r\n", 2}},
			3);
}

static int nats_subscribe(struct span pattern, struct span group, unsigned max)
{
	char line[3 * NATS_LINE_MAX];
	size_t len = nats_line_subscribe(line, sizeof(line), pattern, group, ++wire.subs);

	if (!len || sizeof(line) - len < 64)
		return TN_ETOOBIG;
	if (max) /* in one piece: nothing is chosen for it in between */
		len += (size_t)snprintf(line + len, sizeof(line) - len, "UNSUB %u %u\r\n", wire.subs, max);
	return send_line(line, len);
}

/* ---- the hub's own ---- */

static int send_and_free(struct tn_value *map)
{
	int err = map ? tn_send_value(wire.conn, map) : -ENOMEM;

	tn_value_free(map);
	return err;
}

static struct tn_value *verb(const char *name, struct span operand)
{
	struct tn_value *map = tn_value_new_map(NULL);

	if (map)
		value_put_text(map, name, operand.data, operand.len);
	return map;
}

static int own_publish(const struct message *m, const char *name)
{
	int err = TN_EREPR;

	for (int plain = 0; plain < 2 && (err == TN_EREPR || err == TN_EDUPKEY); plain++) {
		struct tn_value *map = payload_value(m, (struct span){0}, plain);

		if (map)
			value_put_text(map, name, m->topic.data, m->topic.len);
		err = send_and_free(map);
	}
	return err;
}

static void own_greet(void)
{
	struct tn_value *map = tn_value_new_map(NULL), *auth = map ? tn_value_new_map(map) : NULL;

	if (!auth) {
		tn_value_free(map);
		return;
	}
	if (wire.login.user.len)
		value_put_text(auth, "user", wire.login.user.data, wire.login.user.len);
	if (wire.login.password.len)
		value_put_text(auth, "password", wire.login.password.data, wire.login.password.len);
	if (wire.login.token.len)
		value_put_text(auth, "token", wire.login.token.data, wire.login.token.len);
	(void)!tn_value_put(map, "auth", auth);
	(void)!send_and_free(map);
}

static void own_message(const struct tn_value *map)
{
	struct body body = {0};
	struct span text;
	bool reply = !value_topic(tn_value_get(map, "msg"), &body.m.topic);

	value_topic(tn_value_get(map, "reply"), &body.m.reply);
	if (payload_read(&body, map) == NULL) {
		if (reply && wire.events->reply)
			wire.events->reply(value_text(tn_value_get(map, "error"), &text) ? NULL : &body.m);
		else if (!reply && wire.events->message)
			wire.events->message(&body.m);
	}
	tn_bytes_free(&body.room);
}

static void own_input(const struct tn_msg *msg)
{
	struct tn_value *map = NULL;
	struct span why;

	if (tn_msg_value(wire.conn, msg, &map) == 0) {
		if (tn_value_get(map, "msg") || tn_value_get(map, "res"))
			own_message(map);
		else if (tn_value_get(map, "pong") && wire.events->confirmed)
			wire.events->confirmed();
		else if (value_text(tn_value_get(map, "error"), &why) && wire.events->refused)
			wire.events->refused(why.data);
	}
	tn_value_free(map);
}

/* ---- both ---- */

static void on_open(struct tn_conn *conn, void *arg)
{
	(void)conn;
	(void)arg;
	if (wire.nats)
		return; /* INFO comes first */
	if (wire.login.user.len || wire.login.token.len)
		own_greet();
	if (wire.events->ready)
		wire.events->ready();
}

static void on_msg(struct tn_conn *conn, const struct tn_msg *msg, void *arg)
{
	(void)conn;
	(void)arg;
	if (wire.nats)
		nats_input(msg->data, msg->len);
	else
		own_input(msg);
}

static void on_drain(struct tn_conn *conn, void *arg)
{
	(void)conn;
	(void)arg;
	if (wire.events->room)
		wire.events->room();
}

static void on_close(struct tn_conn *conn, int err, void *arg)
{
	(void)conn;
	(void)arg;
	wire.conn = NULL;
	wire.events->over(err);
	tn_bytes_free(&wire.room);
}

/* With what the URL does not say: where messages end, and what they are. */
static char *full_url(const char *url)
{
	char *full = wire.nats ? url_under(url, NATS, NATS_PORT, &wire.late) : strdup(url);

	if (full && wire.nats)
		full = url_with(full, "frame=nats-client");
	else if (full && tn_url_keeps_messages(full) == 0)
		full = url_with(full, "frame=line");
	if (full && tn_url_has_key(full, "max") == 0)
		full = url_with(full, LONGEST);
	if (full && !wire.nats && tn_url_has_key(full, "format") == 0)
		full = url_with(full, "format=json");
	return full;
}

int wire_dial(struct tn_loop *loop, const char *url, const struct wire_events *events, const struct nats_login *login)
{
	static const struct tn_handler handler = {
		.on_open = on_open, .on_msg = on_msg, .on_drain = on_drain, .on_close = on_close};
	char *full;
	int err;

	wire.events = events;
	wire.login = *login;
	wire.nats = url_is_of(url, NATS);
	err = wire.nats ? nats_line_frame() : 0;
	full = full_url(url);
	if (!full) {
		complain("out of memory");
		return STATUS_FAILED;
	}
	if (err == 0)
		err = tn_dial(loop, full, &handler, NULL, &wire.conn);
	if (err == 0 && wire.late)
		err = tn_tls_later(wire.conn);
	wire.secured = tn_url_kind(full) > 0 && tn_url_kind(full) & TN_URL_SECURE;
	if (err < 0)
		err = complain_library(err, full);
	free(full);
	return err;
}

int wire_publish(const struct message *message)
{
	return wire.nats ? nats_publish(message) : own_publish(message, "pub");
}

bool wire_is_nats(const char *url)
{
	return url_is_of(url, NATS);
}

int wire_subscribe(struct span pattern, struct span group, unsigned newest, unsigned max)
{
	struct tn_value *map;

	if (wire.nats)
		return nats_subscribe(pattern, group, max);
	map = verb("sub", pattern);
	if (map && group.len)
		value_put_text(map, "group", group.data, group.len);
	if (map && newest)
		(void)!tn_value_put(map, "history", tn_value_new_uint(map, newest));
	if (map && max)
		(void)!tn_value_put(map, "max", tn_value_new_uint(map, max));
	return send_and_free(map);
}

int wire_unsubscribe(unsigned nth, struct span pattern)
{
	char line[32];

	if (!wire.nats)
		return send_and_free(verb("unsub", pattern));
	return send_line(line, (size_t)snprintf(line, sizeof(line), "UNSUB %u\r\n", nth));
}

int wire_request(struct message *message)
{
	unsigned char random[16];
	char all[80];
	int err = 0, len;

	if (!wire.nats)
		return own_publish(message, "req");
	if (!wire.inbox[0]) {
		len = snprintf(wire.inbox, sizeof(wire.inbox), "_INBOX.");
		(void)!getrandom(random, sizeof(random), 0);
		for (size_t i = 0; i < sizeof(random); i++)
			len += snprintf(wire.inbox + len, sizeof(wire.inbox) - (size_t)len, "%02x", random[i]);
		len = snprintf(all, sizeof(all), "%s", wire.inbox);
		err = nats_subscribe((struct span){all, (size_t)len}, (struct span){0}, 0);
	}
	message->reply = (struct span){wire.inbox, strlen(wire.inbox)};
	return err < 0 ? err : nats_publish(message);
}

int wire_confirm(void)
{
	struct tn_value *map;

	if (wire.nats)
		return send_line("PING\r\n", 6);
	map = tn_value_new_map(NULL);
	if (map)
		(void)!tn_value_put(map, "ping", tn_value_new_int(map, 1));
	return send_and_free(map);
}

void wire_close(void)
{
	if (wire.conn)
		tn_close(wire.conn);
}
