/*
 * Browsers and curl: GET with ?sub=PATTERN is a stream of server-sent events (WHATWG HTML, 9.2), which begins again
 * behind the last event where it was cut off; POST publishes an object of the hub's own protocol. docs/hub.md has both.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/uio.h>

#include "http/percent.h"
#include "door.h"
#include "http/http.h"
#include "payload.h"
#include "tenon.h"
#include "tenon_value.h"
#include "topics/topics.h"

#define JSON "application/json"

struct sse {
	bool streams;
	uint64_t seen; /* the message that was delivered last: it comes once, whatever matches it */
};

static _Thread_local struct {
	uint64_t serial;
	struct tn_shared *shared;
} rendering;

static _Thread_local struct tn_bytes scratch;

/* ---- events ---- */

/* id: EPOCH.OFFSET, where there is one; data: the object; and an empty line. */
static struct tn_shared *render(const struct message *m)
{
	struct tn_value *map;
	char id[96] = "", *text;
	int head = 0;

	if (rendering.serial == m->serial && rendering.shared)
		return rendering.shared;
	tn_shared_unref(rendering.shared);
	rendering.shared = NULL;
	rendering.serial = m->serial;
	if (m->offset)
		head = snprintf(id, sizeof(id), "id: %s.%llu\n", hub_facts()->id, (unsigned long long)m->offset);
	map = payload_value(m, m->topic, false);
	text = map && tn_encode("json", map, 0, &scratch) == 0 ? malloc(scratch.len + sizeof(id) + 16) : NULL;
	tn_value_free(map);
	if (!text)
		return NULL;
	memcpy(text, id, (size_t)head);
	memcpy(text + head, "data: ", 6);
	memcpy(text + head + 6, scratch.data, scratch.len);
	memcpy(text + head + 6 + scratch.len, "\n\n", 2);
	if (tn_shared_new(text, (size_t)head + scratch.len + 8, TN_MSG_ANY, &rendering.shared) < 0)
		rendering.shared = NULL;
	free(text);
	return rendering.shared;
}

static void deliver(struct client *client, void *state, struct span sid, const struct message *message)
{
	struct sse *sse = state;
	struct tn_shared *shared = sse->seen == message->serial ? NULL : render(message);

	(void)sid;
	sse->seen = message->serial;
	if (shared)
		hub_write_shared(client, shared);
}

static void forget(void)
{
	tn_shared_unref(rendering.shared);
	rendering.shared = NULL;
	tn_bytes_free(&scratch);
}

/* ---- responses ---- */

static void respond(struct client *client, const struct http_request *request, const char *status, const char *fields,
		    const char *body)
{
	char head[512];
	int len = snprintf(head, sizeof(head),
			   "HTTP/1.1 %s\r\nContent-Type: " JSON "\r\nCache-Control: no-store\r\n"
			   "X-Content-Type-Options: nosniff\r\nContent-Length: %zu\r\n%s%s\r\n%s",
			   status, strlen(body), fields, request->last ? "Connection: close\r\n" : "",
			   http_is(request->method, "HEAD") ? "" : body);

	hub_answer(client, head, (size_t)len < sizeof(head) ? (size_t)len : sizeof(head) - 1);
	if (request->last)
		hub_end(client);
}

static void refuse(struct client *client, const struct http_request *request, const char *status, const char *why)
{
	struct tn_value *map = tn_value_new_map(NULL);
	char body[256] = "";

	if (map)
		value_put_text(map, "error", why, strlen(why));
	if (map && tn_encode("json", map, 0, &scratch) == 0)
		snprintf(body, sizeof(body), "%.*s\n", (int)scratch.len, (const char *)scratch.data);
	tn_value_free(map);
	respond(client, request, status, "", body);
}

/* ---- who it is ---- */

static int digit(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Base64, as far as it goes. Returns how many bytes it is. */
static size_t decode(struct http_text text, char *out, size_t cap)
{
	uint32_t bits = 0;
	size_t len = 0;
	int nbits = 0;

	for (size_t i = 0; i < text.len && digit(text.at[i]) >= 0 && len < cap; i++) {
		bits = bits << 6 | (uint32_t)digit(text.at[i]);
		nbits += 6;
		if (nbits >= 8)
			out[len++] = (char)(bits >> (nbits -= 8));
	}
	return len;
}

/* Basic, or Bearer with a token. Returns as hub_login(). */
static int let_in(struct client *client, const struct http_request *request)
{
	struct login login = {0};
	struct http_text value;
	char name[512];

	if (http_field(request, "Authorization", &value)) {
		const char *blank = memchr(value.at, ' ', value.len);
		size_t skip = blank ? (size_t)(blank + 1 - value.at) : 0;
		struct http_text rest = {value.at + skip, value.len - skip};

		if (skip == 6 && strncasecmp(value.at, "basic", 5) == 0)
			login.token = (struct span){name, decode(rest, name, sizeof(name))};
		else if (skip == 7 && strncasecmp(value.at, "bearer", 6) == 0)
			login.token = (struct span){rest.at, rest.len};
		if (login.token.data)
			return hub_login(client, &login);
	}
	return hub_login(client, &login);
}

/* ---- GET ---- */

/* The next key of a query, its value decoded into `out`, which has room for all of the query. False: there is none. */
static bool next_key(struct http_text *query, struct http_text *key, struct span *value, char *out)
{
	const char *end = memchr(query->at, '&', query->len), *equals;
	size_t len = end ? (size_t)(end - query->at) : query->len, n = 0;

	if (!query->len)
		return false;
	equals = memchr(query->at, '=', len);
	*key = (struct http_text){query->at, equals ? (size_t)(equals - query->at) : len};
	for (size_t i = key->len + 1; i < len; i++) {
		const char *at = query->at + i;
		int byte = percent_byte(at, len - i);

		out[n++] = byte < 0 ? *at : (char)byte;
		i += byte < 0 ? 0 : 2;
	}
	*value = (struct span){out, n};
	query->at += end ? len + 1 : len;
	query->len -= end ? len + 1 : len;
	return true;
}

/* EPOCH.OFFSET of the last event that the browser has got. */
static void read_last_id(const struct http_request *request, struct wanted *wanted)
{
	struct http_text id;
	const char *epoch = hub_facts()->id;
	size_t len = strlen(epoch);

	if (!http_field(request, "Last-Event-ID", &id) || !id.len)
		return;
	wanted->resumes = true;
	wanted->foreign = id.len < len + 2 || memcmp(id.at, epoch, len) != 0 || id.at[len] != '.';
	for (size_t i = len + 1; !wanted->foreign && i < id.len && id.at[i] >= '0' && id.at[i] <= '9'; i++)
		wanted->since = wanted->since * 10 + (uint64_t)(id.at[i] - '0');
}

/* Of up to nine digits. */
static bool is_number(struct span text)
{
	return text.len && text.len <= 9 && strspn(text.data, "0123456789") == text.len;
}

/* A subscription that is not allowed, or not any more. */
static void tell_refused(struct client *client)
{
	static const char event[] = "event: refused\ndata: {}\n\n";

	hub_answer(client, event, sizeof(event) - 1);
}

static void denied(struct client *client, void *state, struct span sid, struct span pattern)
{
	(void)state, (void)sid, (void)pattern;
	tell_refused(client);
}

static void subscribe(struct client *client, struct sse *sse, const struct http_request *request, char *room)
{
	static const char begin[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
				    "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n";
	static const char gap[] = "event: gap\ndata: {}\n\n";
	struct http_text query = request->query, key;
	struct asked asked[SUBSCRIBE_MAX];
	struct span group = {0}, value;
	struct wanted wanted = {0};
	int count = 0;

	for (; next_key(&query, &key, &value, room); room += value.len) {
		if (http_is(key, "sub") && count < SUBSCRIBE_MAX && topic_is_pattern(value.data, value.len))
			asked[count++] = (struct asked){.pattern = value, .sid = value};
		else if (http_is(key, "group") && (!value.len || topic_is_name(value.data, value.len)))
			group = value;
		else if (http_is(key, "last") && value.len == 2 && memcmp(value.data, "on", 2) == 0)
			wanted.newest = 1;
		else if (http_is(key, "history") && is_number(value))
			wanted.newest = (unsigned)strtoul(value.data, NULL, 10);
		else
			count = SUBSCRIBE_MAX + 1;
	}
	if (!count || count > SUBSCRIBE_MAX) {
		refuse(client, request, "400 Bad Request", "?sub=PATTERN, and group=, last=on or history=N");
		return;
	}
	read_last_id(request, &wanted);
	sse->streams = true;
	hub_answer(client, begin, sizeof(begin) - 1);
	if (hub_subscribe_all(client, asked, count, group, &wanted))
		hub_answer(client, gap, sizeof(gap) - 1);
	for (int i = 0; i < count; i++)
		if (asked[i].err < 0)
			tell_refused(client);
}

/* ---- POST ---- */

static void publish(struct client *client, const struct http_request *request)
{
	struct tn_value *map = NULL;
	struct body body = {0};
	const char *why = "is no object of JSON with a verb pub";
	char answer[64];
	int count = 0;

	if (tn_decode("json", request->body.at, request->body.len, 0, &map) == 0 &&
	    value_topic(tn_value_get(map, "pub"), &body.m.topic))
		why = topic_is_literal(body.m.topic.data, body.m.topic.len) ? payload_read(&body, map)
									    : "pub: is no topic";
	if (!why && body.room.len > hub_payload_max(client))
		why = "the message is too long";
	if (!why)
		count = hub_publish(client, &body.m);
	if (why)
		refuse(client, request, "400 Bad Request", why);
	else if (count < 0)
		refuse(client, request,
		       count == -EACCES    ? "403 Forbidden"
		       : count == -EBADMSG ? "400 Bad Request"
					   : "503 Service Unavailable",
		       count == -EBADMSG ? "the payload is not what the topic's format allows" : "not taken");
	else {
		snprintf(answer, sizeof(answer), "{\"ok\":true,\"count\":%d}\n", count);
		respond(client, request, "200 OK", "", answer);
	}
	tn_bytes_free(&body.room);
	tn_value_free(map);
}

static void input(struct client *client, void *state, const unsigned char *data, size_t len)
{
	struct sse *sse = state;
	struct http_request request;
	char *room;
	int err;

	if (sse->streams)
		return;
	http_read(&(struct tn_msg){.data = data, .len = len}, &request);
	err = let_in(client, &request);
	if (err == -EINPROGRESS)
		return;
	if (err == -EUSERS) {
		refuse(client, &request, "429 Too Many Requests", "too many connections");
		return;
	}
	if (err < 0) {
		respond(client, &request, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"hub\"\r\n",
			"{\"error\":\"who are you?\"}\n");
		return;
	}
	if (http_is(request.method, "POST")) {
		publish(client, &request);
		return;
	}
	if (!http_is(request.method, "GET")) {
		respond(client, &request, "405 Method Not Allowed", "Allow: GET, POST\r\n", "");
		return;
	}
	room = calloc(1, request.query.len + 1); /* a zero stands behind what is written */
	if (room)
		subscribe(client, sse, &request, room);
	free(room);
}

/* A comment keeps what stands between from taking the stream for dead. */
static bool notice(struct client *client, void *state, enum notice what)
{
	const struct sse *sse = state;

	if (what == NOTICE_SILENT && sse->streams)
		hub_answer(client, ":\n\n", 3);
	return what != NOTICE_SILENT || sse->streams;
}

const struct door sse_door = {
	.name = "events",
	.state = sizeof(struct sse),
	.framed = true,
	.input = input,
	.deliver = deliver,
	.denied = denied,
	.notice = notice,
	.forget = forget,
};
