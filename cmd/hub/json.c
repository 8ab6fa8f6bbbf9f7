/*
 * The hub's own protocol: one JSON object a message (or CBOR, or MessagePack: the endpoint's format), five verbs and a
 * login. docs/hub.md is its page. A payload is bytes: JSON where it can be read as that, else text, else
 * bytes, which JSON has as {"$bytes":...}.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "door.h"
#include "payload.h"
#include "tenon_value.h"
#include "topics/topics.h"

#define INBOX_SID "\001" /* no topic is that, so no client's subscription has this name */
#define ID_MAX 64

struct json {
	uint64_t seen; /* the message that was delivered last: it comes once, whatever matches it */
	bool asks;     /* replies to its own requests are subscribed to */
	uint32_t requests;
};

/* ---- what goes out ---- */

/* What was made of a message for all who have the same format. */
static _Thread_local struct rendering {
	uint64_t serial;
	const char *format;
	struct tn_shared *shared;
} renderings[4];

static _Thread_local struct tn_bytes scratch;

static void send_value(struct client *client, const struct tn_value *value)
{
	if (value && tn_encode(hub_format(client), value, 0, &scratch) == 0)
		hub_answer(client, scratch.data, scratch.len);
}

static bool is_text_format(const char *format)
{
	return tn_format_kind(format) & TN_FORMAT_TEXT;
}

static struct tn_shared *render(const struct message *m, const char *format)
{
	struct rendering *r = renderings;
	struct tn_value *map;

	while (r < renderings + 3 && r->format && strcmp(r->format, format) != 0)
		r++;
	if (r->serial == m->serial && r->shared && strcmp(r->format, format) == 0)
		return r->shared;
	tn_shared_unref(r->shared);
	*r = (struct rendering){.serial = m->serial, .format = format};
	for (int plain = 0; plain < 2 && !r->shared; plain++) {
		map = payload_value(m, m->topic, plain);
		if (!map || tn_shared_value(format, map, 0, &r->shared) < 0)
			r->shared = NULL;
		tn_value_free(map);
	}
	return r->shared;
}

/* The name of a request, as it was given: a number or a text, told apart by its first letter. */
static void put_id(struct tn_value *map, const char *key, const char *id, size_t len)
{
	if (len && id[0] == 'n')
		(void)!tn_value_put(map, key, tn_value_new_int(map, strtoll(id + 1, NULL, 10)));
	else if (len)
		value_put_text(map, key, id + 1, len - 1);
}

/* A reply to the client's own request: the last word of its topic is the request's name. */
static void deliver_reply(struct client *client, const struct message *m)
{
	const char *id = memrchr(m->topic.data, '.', m->topic.len);
	char name[ID_MAX + 2];
	size_t len = id ? m->topic.len - (size_t)(id + 1 - m->topic.data) : 0;
	bool made = false;

	if (!len || len >= sizeof(name))
		return;
	memcpy(name, id + 1, len);
	name[len] = '\0';
	for (int plain = 0; plain < 2 && !made; plain++) {
		struct tn_value *map = m->nobody ? tn_value_new_map(NULL) : payload_value(m, (struct span){0}, plain);

		if (map) {
			put_id(map, "res", name, len);
			if (m->nobody)
				value_put_text(map, "error", "no responders", strlen("no responders"));
			made = tn_encode(hub_format(client), map, 0, &scratch) == 0;
		}
		tn_value_free(map);
	}
	if (made)
		hub_write(client, &(struct iovec){scratch.data, scratch.len}, 1);
}

static void deliver(struct client *client, void *state, struct span sid, const struct message *message)
{
	struct json *json = state;
	struct tn_shared *shared;

	if (sid.len == 1 && sid.data[0] == INBOX_SID[0]) {
		deliver_reply(client, message);
		return;
	}
	if (json->seen == message->serial)
		return;
	json->seen = message->serial;
	shared = render(message, hub_format(client));
	if (shared)
		hub_write_shared(client, shared);
}

static void forget(void)
{
	for (int i = 0; i < 4; i++) {
		tn_shared_unref(renderings[i].shared);
		renderings[i] = (struct rendering){0};
	}
	tn_bytes_free(&scratch);
}

/* {"error":why}, or {"res":id,"error":why}. */
static void refuse(struct client *client, const char *why, const char *id)
{
	struct tn_value *map = tn_value_new_map(NULL);

	if (!map)
		return;
	if (id)
		put_id(map, "res", id, strlen(id));
	value_put_text(map, "error", why, strlen(why));
	send_value(client, map);
	tn_value_free(map);
}

/* ---- what comes in ---- */

/* Returns why not, or NULL. */
static const char *make_body(const struct client *client, struct body *body, const struct tn_value *map)
{
	const char *why = payload_read(body, map);

	return !why && body->room.len > hub_payload_max(client) ? "the message is too long" : why;
}

/* {"ok":...,"count":n}, if the client has asked for it by a member `ack`. */
static void acknowledge(struct client *client, const struct tn_value *map, int count, bool epoch)
{
	const struct tn_value *ack = tn_value_get(map, "ack");
	struct tn_value *answer = ack ? tn_value_new_map(NULL) : NULL;
	struct span text;
	int64_t number;

	if (!answer)
		return;
	if (value_text(ack, &text))
		value_put_text(answer, "ok", text.data, text.len);
	else if (tn_value_int(ack, &number) == 0)
		(void)!tn_value_put(answer, "ok", tn_value_new_int(answer, number));
	else
		(void)!tn_value_put(answer, "ok", tn_value_new_bool(answer, true));
	if (epoch && hub_facts()->keeps)
		value_put_text(answer, "epoch", hub_facts()->id, strlen(hub_facts()->id));
	if (count >= 0)
		(void)!tn_value_put(answer, "count", tn_value_new_int(answer, count));
	send_value(client, answer);
	tn_value_free(answer);
}

/* Why hub_publish() has not. NULL: it has. */
static const char *refusal(int count)
{
	if (count == -EBADMSG)
		return "the payload is not what the topic's format allows";
	return count == -EACCES ? "not allowed" : count < 0 ? "out of memory" : NULL;
}

static void publish(struct client *client, struct json *json, const struct tn_value *map, struct span topic)
{
	struct body body = {.m.topic = topic};
	const struct tn_value *reply = tn_value_get(map, "reply");
	const char *why = topic_is_literal(topic.data, topic.len) ? make_body(client, &body, map)
								  : "pub: is no topic (words with dots, no wildcards)";
	int count = 0;

	(void)json;
	if (!why && reply &&
	    (!value_topic(reply, &body.m.reply) || !topic_is_literal(body.m.reply.data, body.m.reply.len)))
		why = "reply: is no topic";
	if (!why) {
		count = hub_publish(client, &body.m);
		why = refusal(count);
	}
	if (why)
		refuse(client, why, NULL);
	else
		acknowledge(client, map, count, false);
	tn_bytes_free(&body.room);
}

/* last, history, or since and epoch. Offsets of another epoch mean nothing here: then all is wanted, and there is a
 * gap. */
static bool read_wanted(const struct tn_value *map, struct wanted *wanted)
{
	const struct tn_value *history = tn_value_get(map, "history"), *since = tn_value_get(map, "since");
	struct span epoch;
	uint64_t number = 0;

	*wanted = (struct wanted){.newest = tn_value_bool(tn_value_get(map, "last"))};
	if (history && (tn_value_uint(history, &number) < 0 || number > UINT32_MAX))
		return false;
	if (history)
		wanted->newest = (unsigned)number;
	if (!since)
		return true;
	if (tn_value_uint(since, &wanted->since) < 0 || !value_text(tn_value_get(map, "epoch"), &epoch))
		return false;
	wanted->resumes = true;
	if (epoch.len != strlen(hub_facts()->id) || memcmp(epoch.data, hub_facts()->id, epoch.len) != 0)
		*wanted = (struct wanted){.resumes = true, .foreign = true};
	return true;
}

/* {"gap":"a.*"}: some of the messages behind `since` have gone. */
static void tell_gap(struct client *client, struct span pattern)
{
	struct tn_value *map = tn_value_new_map(NULL);

	if (map)
		value_put_text(map, "gap", pattern.data, pattern.len);
	send_value(client, map);
	tn_value_free(map);
}

static void subscribe(struct client *client, struct json *json, const struct tn_value *map, struct span pattern)
{
	const struct tn_value *named = tn_value_get(map, "group");
	struct wanted wanted;
	struct span group = {0}, id;
	int64_t max = 0;
	int err;

	(void)json;
	if (tn_value_kind(named) != TN_NULL &&
	    (!value_text(named, &group) || (group.len && !topic_is_name(group.data, group.len)))) {
		refuse(client, "group: is no name (one word)", NULL);
		return;
	}
	if (!value_text(tn_value_get(map, "id"), &id))
		id = pattern;
	if (!id.len || id.len > TOPIC_MAX || id.data[0] == INBOX_SID[0]) {
		refuse(client, "id: is no name", NULL);
		return;
	}
	(void)tn_value_int(tn_value_get(map, "max"), &max);
	if (!read_wanted(map, &wanted)) {
		refuse(client, "history, since: are numbers; since wants the epoch that `ok` has told", NULL);
		return;
	}
	wanted.max = max <= 0 ? 0 : max > UINT32_MAX ? UINT32_MAX : (uint32_t)max;
	err = hub_subscribe(client, pattern, group, id, &wanted);
	if (err == 1)
		tell_gap(client, pattern);
	if (err == -EINVAL)
		refuse(client, "sub: is no pattern (words with dots; * one word, > at the end one or more)", NULL);
	else if (err < 0)
		refuse(client,
		       err == -EACCES  ? "sub: not allowed"
		       : err == -E2BIG ? "sub: too many"
				       : "out of memory",
		       NULL);
	else if (wanted.max)
		hub_unsubscribe(client, id, wanted.max); /* one of this name may have been there */
	if (err >= 0)
		acknowledge(client, map, -1, true);
}

static void unsubscribe(struct client *client, struct json *json, const struct tn_value *map, struct span id)
{
	(void)json;
	hub_unsubscribe(client, id, 0);
	acknowledge(client, map, -1, false);
}

/* Its name, with what kind it is in front, so that it can be told again. False: it cannot be a word of a topic. */
static bool name_request(struct json *json, const struct tn_value *id, char *name)
{
	struct span text;
	int64_t number;

	if (!id)
		snprintf(name, ID_MAX, "n%u", ++json->requests);
	else if (tn_value_int(id, &number) == 0)
		snprintf(name, ID_MAX, "n%lld", (long long)number);
	else if (value_text(id, &text) && text.len < ID_MAX - 2 && topic_is_literal(text.data, text.len) &&
		 !memchr(text.data, '.', text.len) && !memchr(text.data, '\0', text.len))
		snprintf(name, ID_MAX, "t%.*s", (int)text.len, text.data);
	else
		return false;
	return true;
}

/* Replies go to a topic that only this client knows. */
static bool subscribe_to_replies(struct client *client, struct json *json)
{
	char pattern[128];
	int len = snprintf(pattern, sizeof(pattern), "%s.*", hub_inbox(client));

	if (!json->asks)
		json->asks = hub_subscribe(client, (struct span){pattern, (size_t)len}, (struct span){0},
					   (struct span){INBOX_SID, 1}, NULL) == 0;
	return json->asks;
}

static void request(struct client *client, struct json *json, const struct tn_value *map, struct span topic)
{
	struct body body = {.m.topic = topic};
	char id[ID_MAX], reply[256];
	const char *why = topic_is_literal(topic.data, topic.len) ? NULL : "req: is no topic";
	int count;

	if (!name_request(json, tn_value_get(map, "id"), id)) {
		refuse(client, "id: is no number, and no word of up to 60 letters", NULL);
		return;
	}
	if (!why)
		why = make_body(client, &body, map);
	if (!why && !subscribe_to_replies(client, json))
		why = "replies cannot be subscribed to";
	if (!why) {
		int len = snprintf(reply, sizeof(reply), "%s.%s", hub_inbox(client), id);

		body.m.reply = (struct span){reply, (size_t)len};
		count = hub_publish(client, &body.m);
		why = count == 0 && !body.m.elsewhere ? "no responders" : refusal(count);
	}
	if (why)
		refuse(client, why, id);
	tn_bytes_free(&body.room);
}

static void login(struct client *client, const struct tn_value *auth, const struct tn_value *map)
{
	struct login who = {0};
	int err;

	value_text(tn_value_get(auth, "user"), &who.user);
	value_text(tn_value_get(auth, "password"), &who.password);
	value_text(tn_value_get(auth, "token"), &who.token);
	err = hub_login(client, &who);
	if (err == 0)
		acknowledge(client, map, -1, false);
	if (err == 0 || err == -EINPROGRESS)
		return;
	refuse(client, err == -EUSERS ? "auth: too many connections" : "auth: not known", NULL);
	hub_end(client);
}

static void pong(struct client *client, const struct tn_value *ping)
{
	struct tn_value *map = tn_value_new_map(NULL);
	struct span text;
	int64_t number;

	if (!map)
		return;
	if (value_text(ping, &text))
		value_put_text(map, "pong", text.data, text.len);
	else
		(void)!tn_value_put(map, "pong",
				    tn_value_int(ping, &number) == 0 ? tn_value_new_int(map, number)
								     : tn_value_new_bool(map, true));
	send_value(client, map);
	tn_value_free(map);
}

static const struct verb {
	const char *name;
	void (*fn)(struct client *client, struct json *json, const struct tn_value *map, struct span operand);
} verbs[] = {{"pub", publish}, {"sub", subscribe}, {"unsub", unsubscribe}, {"req", request}};

static void act(struct client *client, struct json *json, const struct tn_value *map)
{
	const struct tn_value *auth = tn_value_get(map, "auth"), *ping = tn_value_get(map, "ping");
	struct span operand;

	if (auth) {
		login(client, auth, map);
		return;
	}
	if (!hub_is_known(client)) {
		refuse(client, "who are you? {\"auth\":{\"user\":...,\"password\":...}}", NULL);
		hub_end(client);
		return;
	}
	if (ping) {
		pong(client, ping);
		return;
	}
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (value_topic(tn_value_get(map, verbs[i].name), &operand)) {
			verbs[i].fn(client, json, map, operand);
			return;
		}
	refuse(client, "no verb: pub, sub, unsub, req, ping, or auth", NULL);
}

static bool is_blank(const unsigned char *data, size_t len)
{
	while (len && (data[len - 1] == ' ' || (data[len - 1] >= '\t' && data[len - 1] <= '\r')))
		len--;
	return !len;
}

static void input(struct client *client, void *state, const unsigned char *data, size_t len)
{
	const char *format = hub_format(client);
	struct tn_value *map = NULL;

	if (is_text_format(format) && is_blank(data, len))
		return;
	if (tn_decode(format, data, len, 0, &map) < 0)
		refuse(client, tn_errmsg(), NULL);
	else
		act(client, state, map);
	tn_value_free(map);
}

/* ---- the rest ---- */

/* {"error":"sub: not allowed any more","sub":pattern} */
static void denied(struct client *client, void *state, struct span sid, struct span pattern)
{
	static const char why[] = "sub: not allowed any more";
	struct tn_value *map = tn_value_new_map(NULL);

	(void)state, (void)sid;
	if (map) {
		value_put_text(map, "error", why, sizeof(why) - 1);
		value_put_text(map, "sub", pattern.data, pattern.len);
	}
	send_value(client, map);
	tn_value_free(map);
}

static bool notice(struct client *client, void *state, enum notice what)
{
	(void)state;
	if (what == NOTICE_LEAVE)
		refuse(client, "the hub ends", NULL);
	else if (what == NOTICE_UNKNOWN)
		refuse(client, "auth: too late", NULL);
	return true; /* a client that is silent may be a listener: TCP says whether it is there */
}

const struct door json_door = {
	.name = "json",
	.state = sizeof(struct json),
	.framed = true,
	.formats = true,
	.input = input,
	.deliver = deliver,
	.denied = denied,
	.notice = notice,
	.forget = forget,
};
