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
#include "hub/payload.h"
#include "hub/url.h"
#include "tenon.h"
#include "tenon_value.h"

#define NATS "nats"
#define LONGEST "max=64MiB"

static struct {
	const struct wire_events *events;
	struct login login;
	struct tn_conn *conn;
	bool secured;    /* by its URL */
	bool nats, late; /* late: TLS begins when the server has said that it is there */
	char inbox[64];  /* NATS: empty until something is asked */
	unsigned subs, asked;
	struct tn_bytes room;
} wire;

/* ---- NATS ---- */

static size_t number_at(const char **at, const char *end)
{
	size_t value = 0;

	while (*at < end && **at == ' ')
		++*at;
	for (; *at < end && **at >= '0' && **at <= '9' && value < SIZE_MAX / 100; ++*at)
		value = value * 10 + (size_t)(**at - '0');
	return value;
}

/* The last number of a line is the length of what stands behind it; of HMSG the one before that of its headers. */
static bool has_payload(const char *line, size_t len)
{
	return (len > 4 && memcmp(line, "MSG ", 4) == 0) || (len > 5 && memcmp(line, "HMSG ", 5) == 0);
}

static int next(const unsigned char *data, size_t len, struct tn_frame_part *part, void *arg)
{
	const char *text = (const char *)data, *feed = memchr(text, '\n', len), *last;
	size_t line, size;

	(void)arg;
	if (!feed)
		return 0;
	line = (size_t)(feed + 1 - text);
	part->taken = part->len = line;
	if (!has_payload(text, line))
		return 1;
	last = memrchr(text, ' ', line);
	size = number_at(&last, feed);
	if (size > 1 << 30) {
		part->why = "a message is too long";
		return TN_ETOOBIG;
	}
	part->taken = part->len = line + size + 2;
	part->need = part->taken;
	return len >= part->taken;
}

static const struct tn_frame frame = {.size = sizeof(frame), .name = "nats-client", .next = next};

static int send_line(const char *line, size_t len)
{
	return tn_send(wire.conn, line, len);
}

static void nats_greet(void)
{
	struct text line = {0};
	const struct {
		const char *key;
		struct span value;
	} who[] = {{"user", wire.login.user}, {"pass", wire.login.password}, {"auth_token", wire.login.token}};

	text_add(&line,
		 "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,"
		 "\"protocol\":1,\"lang\":\"c\",\"name\":\"tenon\",\"version\":\"%s\"",
		 tn_version());
	for (size_t i = 0; i < 3; i++)
		if (who[i].value.data) {
			text_add(&line, ",\"%s\":", who[i].key);
			json_string(&line, who[i].value.data, who[i].value.len);
		}
	text_add(&line, "}\r\n");
	if (!line.failed)
		(void)!send_line(line.data, line.len);
	text_free(&line);
}

static struct span word(const char **at, const char *end)
{
	struct span found;

	while (*at < end && **at == ' ')
		++*at;
	found.data = *at;
	while (*at < end && **at != ' ' && **at != '\r')
		++*at;
	found.len = (size_t)(*at - found.data);
	return found;
}

/* MSG topic sid [reply] size, HMSG topic sid [reply] head size; then the payload. */
static void nats_message(const char *text, size_t line, size_t len)
{
	struct span words[7];
	struct message m = {0};
	const char *at = text, *end = text + line - 1;
	bool headers = text[0] == 'H';
	int count = 0;

	while (count < 7 && (words[count] = word(&at, end)).len)
		count++;
	if (count < 4 + headers)
		return;
	m.topic = words[1];
	if (count == 5 + headers)
		m.reply = words[3];
	m.body = (struct span){text + line, len - line - 2};
	at = words[count - 2].data;
	m.head_len = headers ? number_at(&at, end) : 0;
	if (m.head_len > m.body.len)
		m.head_len = m.body.len;
	if (!wire.inbox[0] || m.topic.len < strlen(wire.inbox) ||
	    memcmp(m.topic.data, wire.inbox, strlen(wire.inbox)) != 0) {
		if (wire.events->message)
			wire.events->message(&m);
		return;
	}
	if (wire.events->reply)
		wire.events->reply(m.head_len >= 12 && memcmp(m.body.data, "NATS/1.0 503", 12) == 0 ? NULL : &m);
}

static bool begins(const char *text, size_t len, const char *word)
{
	return len >= strlen(word) && memcmp(text, word, strlen(word)) == 0;
}

/* What stands behind -ERR, without the end of the line. */
static void nats_refused(const char *text, size_t len)
{
	char why[512];
	size_t n = 0;

	while (len && *text == ' ')
		text++, len--;
	while (n < len && n < sizeof(why) - 1 && text[n] != '\r' && text[n] != '\n')
		n++;
	memcpy(why, text, n);
	why[n] = '\0';
	wire.events->refused(why);
}

/* Whether INFO says so. */
static bool offers(const struct tn_value *info, const char *key)
{
	return tn_value_bool(tn_value_get(info, key));
}

/* Nobody in between can keep us from TLS: who was told to use it does nothing without. */
static void nats_begin(const char *text, size_t len)
{
	struct tn_value *info = NULL;
	const char *why = NULL;

	(void)!tn_decode("json", text, len, 0, &info);
	if (wire.late && !offers(info, "tls_required") && !offers(info, "tls_available"))
		why = "offers no TLS";
	else if (wire.late && tn_start_tls(wire.conn) < 0)
		why = tn_errmsg();
	else if (!wire.late && !wire.secured && offers(info, "tls_required"))
		why = "wants TLS: nats://...?ca=FILE, or ?verify=on for the authorities of the system";
	tn_value_free(info);
	if (why) {
		if (wire.events->refused)
			wire.events->refused(why);
		return;
	}
	nats_greet();
	if (wire.events->ready)
		wire.events->ready();
}

/* Not terminated by a zero byte. */
static void nats_input(const char *text, size_t len)
{
	const char *feed = memchr(text, '\n', len);
	size_t line = feed ? (size_t)(feed + 1 - text) : len;

	if (has_payload(text, line)) {
		nats_message(text, line, len);
	} else if (begins(text, line, "PING")) {
		(void)!send_line("PONG\r\n", 6);
	} else if (begins(text, line, "PONG") && wire.events->confirmed) {
		wire.events->confirmed();
	} else if (begins(text, line, "-ERR") && wire.events->refused) {
		nats_refused(text + 4, line - 4);
	} else if (begins(text, line, "INFO") && !wire.asked++) {
		nats_begin(text + 4, line - 4);
	}
}

static int nats_publish(const struct message *m)
{
	char line[3 * 4096];
	int len;

	if (m->head_len)
		len = snprintf(line, sizeof(line), "HPUB %.*s %.*s%s%zu %zu\r\n", (int)m->topic.len, m->topic.data,
			       (int)m->reply.len, m->reply.len ? m->reply.data : "", m->reply.len ? " " : "",
			       m->head_len, m->body.len);
	else
		len = snprintf(line, sizeof(line), "PUB %.*s %.*s%s%zu\r\n", (int)m->topic.len, m->topic.data,
			       (int)m->reply.len, m->reply.len ? m->reply.data : "", m->reply.len ? " " : "",
			       m->body.len);
	return tn_sendv(wire.conn,
			(struct iovec[]){{line, (size_t)len},
					 {(void *)(uintptr_t)m->body.data, m->body.len},
					 {(void *)(uintptr_t) "\r\n", 2}},
			3);
}

static int nats_subscribe(struct span pattern, struct span group)
{
	char line[3 * 4096];
	int len = snprintf(line, sizeof(line), "SUB %.*s %.*s%s%u\r\n", (int)pattern.len, pattern.data, (int)group.len,
			   group.len ? group.data : "", group.len ? " " : "", ++wire.subs);

	return send_line(line, (size_t)len);
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
	struct tn_value *map = payload_value(m, (struct span){0});

	if (map)
		value_put_text(map, name, m->topic.data, m->topic.len);
	return send_and_free(map);
}

static void own_greet(void)
{
	struct tn_value *map = tn_value_new_map(NULL), *auth = map ? tn_value_new_map(map) : NULL;

	if (!auth) {
		tn_value_free(map);
		return;
	}
	if (wire.login.user.data)
		value_put_text(auth, "user", wire.login.user.data, wire.login.user.len);
	if (wire.login.password.data)
		value_put_text(auth, "password", wire.login.password.data, wire.login.password.len);
	if (wire.login.token.data)
		value_put_text(auth, "token", wire.login.token.data, wire.login.token.len);
	(void)!tn_value_put(map, "auth", auth);
	(void)!send_and_free(map);
}

static void own_message(const struct tn_value *map)
{
	struct body body = {0};
	struct span text;
	bool reply = !value_text(tn_value_get(map, "msg"), &body.m.topic);

	value_text(tn_value_get(map, "reply"), &body.m.reply);
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
	if (wire.login.user.data || wire.login.token.data)
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
	char *full = wire.nats ? url_under(url, NATS, "4222", &wire.late) : strdup(url);

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

int wire_dial(struct tn_loop *loop, const char *url, const struct wire_events *events, const struct login *login)
{
	static const struct tn_handler handler = {
		.on_open = on_open, .on_msg = on_msg, .on_drain = on_drain, .on_close = on_close};
	char *full;
	int err;

	wire.events = events;
	wire.login = *login;
	wire.nats = url_is_of(url, NATS);
	err = wire.nats ? tn_frame_register(&frame) : 0;
	full = full_url(url);
	if (!full) {
		complain("out of memory");
		return STATUS_FAILED;
	}
	if (err == 0 || err == -EEXIST)
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

int wire_subscribe(struct span pattern, struct span group, unsigned newest)
{
	struct tn_value *map;

	if (wire.nats)
		return nats_subscribe(pattern, group);
	map = verb("sub", pattern);
	if (map && group.len)
		value_put_text(map, "group", group.data, group.len);
	if (map && newest)
		(void)!tn_value_put(map, "history", tn_value_new_uint(map, newest));
	return send_and_free(map);
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
		err = nats_subscribe((struct span){all, (size_t)len}, (struct span){0});
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
