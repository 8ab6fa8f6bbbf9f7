/*
 * Messages as the hub's own protocol writes them: a payload is bytes, which are JSON where they can be read as that,
 * else text, else bytes.
 */
#include "payload.h"

#include <stdlib.h>
#include <string.h>

#include "tenon_value.h"

#define HEADERS "NATS/1.0\r\n"
#define HEADER_LINES_MAX 1000

void value_put_text(struct tn_value *map, const char *key, const char *text, size_t len)
{
	struct tn_value *value = tn_value_new_text(map, text, len);

	if (!value) /* it is not UTF-8: topics of other doors need not be */
		value = tn_value_new_bytes(map, text, len);
	(void)!tn_value_put(map, key, value);
}

/* {"Name":["value",...]} of lines "Name: value". */
static void put_headers(struct tn_value *map, const char *head, size_t len)
{
	const char *line = memchr(head, '\n', len), *stop = head + len;
	struct tn_value *headers = tn_value_new_map(map);

	for (int n = 0; line && ++line < stop && n < HEADER_LINES_MAX; n++) {
		const char *feed = memchr(line, '\n', (size_t)(stop - line)), *end = feed ? feed : stop;
		const char *colon = memchr(line, ':', (size_t)(end - line)), *value = colon ? colon + 1 : end;
		struct tn_value *key, *list;

		end -= end > line && end[-1] == '\r';
		value += value < end && *value == ' ';
		if (colon && value <= end) {
			key = tn_value_new_text(map, line, (size_t)(colon - line));
			list = key ? (struct tn_value *)(uintptr_t)tn_value_find(headers, key) : NULL;
			if (key && !list && (list = tn_value_new_array(map)))
				(void)!tn_value_put_pair(headers, key, list);
			(void)!tn_value_append(list, tn_value_new_text(map, value, (size_t)(end - value)));
		}
		line = feed;
	}
	(void)!tn_value_put(map, "headers", headers);
}

struct tn_value *payload_value(const struct message *m, struct span topic, bool plain)
{
	struct span payload = message_payload(m);
	struct tn_value *data = NULL, *map;
	bool read = payload.len && !plain && tn_decode("json", payload.data, payload.len, 0, &data) == 0;

	if (!read) {
		tn_value_free(data);
		data = NULL;
	}
	map = tn_value_new_map(data);
	if (!map) {
		tn_value_free(data);
		return NULL;
	}
	if (topic.len)
		value_put_text(map, "msg", topic.data, topic.len);
	if (data)
		(void)!tn_value_put(map, "data", data);
	else if (payload.len && tn_value_put(map, "text", tn_value_new_text(map, payload.data, payload.len)) < 0)
		(void)!tn_value_put(map, "bytes", tn_value_new_bytes(map, payload.data, payload.len));
	if (m->reply.len)
		value_put_text(map, "reply", m->reply.data, m->reply.len);
	if (m->offset)
		(void)!tn_value_put(map, "offset", tn_value_new_uint(map, m->offset));
	if (m->missed)
		(void)!tn_value_put(map, "missed", tn_value_new_uint(map, m->missed));
	if (m->head_len)
		put_headers(map, m->body.data, m->head_len);
	return map;
}

bool value_text(const struct tn_value *value, struct span *text)
{
	*text = (struct span){0};
	if (tn_value_kind(value) == TN_TEXT)
		text->data = tn_value_text(value, &text->len);
	return text->data;
}

bool value_topic(const struct tn_value *value, struct span *topic)
{
	if (tn_value_kind(value) != TN_BYTES)
		return value_text(value, topic);
	topic->data = tn_value_bytes(value, &topic->len);
	return topic->data;
}

static bool bytes_add(struct tn_bytes *bytes, const void *data, size_t len)
{
	if (bytes->len + len > bytes->cap) {
		size_t cap = (bytes->len + len) * 2;
		unsigned char *grown = realloc(bytes->data, cap);

		if (!grown)
			return false;
		bytes->data = grown;
		bytes->cap = cap;
	}
	if (len)
		memcpy(bytes->data + bytes->len, data, len);
	bytes->len += len;
	return true;
}

static bool is_line(struct span text)
{
	return text.data && !memchr(text.data, '\r', text.len) && !memchr(text.data, '\n', text.len);
}

static bool add_header(struct tn_bytes *bytes, struct span key, const struct tn_value *value)
{
	struct span text;

	if (!value_text(value, &text) || !is_line(text))
		return false;
	return bytes_add(bytes, key.data, key.len) && bytes_add(bytes, ": ", 2) &&
	       bytes_add(bytes, text.data, text.len) && bytes_add(bytes, "\r\n", 2);
}

static const char *add_headers(struct tn_bytes *bytes, const struct tn_value *headers)
{
	const struct tn_value *key = tn_value_first(headers);

	if (tn_value_kind(headers) != TN_MAP)
		return "headers: is no map";
	(void)!bytes_add(bytes, HEADERS, strlen(HEADERS));
	while (key) {
		const struct tn_value *value = tn_value_next(headers, key), *item;
		struct span name;
		bool good = value_text(key, &name) && name.len && is_line(name) && !memchr(name.data, ':', name.len);

		if (good && tn_value_kind(value) == TN_ARRAY)
			for (item = tn_value_first(value); item && good; item = tn_value_next(value, item))
				good = add_header(bytes, name, item);
		else if (good)
			good = add_header(bytes, name, value);
		if (!good)
			return "headers: names and values are texts of one line";
		key = tn_value_next(headers, value);
	}
	return bytes_add(bytes, "\r\n", 2) ? NULL : "out of memory";
}

static const char *add_payload(struct body *body, const struct tn_value *map)
{
	const struct tn_value *data = tn_value_get(map, "data"), *bytes = tn_value_get(map, "bytes");
	const struct tn_value *words = tn_value_get(map, "text");
	struct span text = {0};
	struct tn_bytes json = {0};
	bool added = true;

	if (data) {
		if (tn_encode("json", data, 0, &json) < 0)
			return tn_errmsg();
		added = bytes_add(&body->room, json.data, json.len);
		tn_bytes_free(&json);
	} else if (bytes) {
		text.data = tn_value_bytes(bytes, &text.len);
		if (tn_value_kind(bytes) != TN_BYTES)
			return "bytes: are none (JSON has them as {\"$bytes\":...} in base64url)";
		added = bytes_add(&body->room, text.data, text.len);
	} else if (words) {
		if (!value_text(words, &text))
			return "text: is none";
		added = bytes_add(&body->room, text.data, text.len);
	}
	return added ? NULL : "out of memory";
}

const char *payload_read(struct body *body, const struct tn_value *map)
{
	const struct tn_value *headers = tn_value_get(map, "headers");
	const char *why = headers ? add_headers(&body->room, headers) : NULL;

	body->m.head_len = body->room.len;
	if (!why)
		why = add_payload(body, map);
	body->m.body = (struct span){(const char *)body->room.data, body->room.len};
	return why;
}
