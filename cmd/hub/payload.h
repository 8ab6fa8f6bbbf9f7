/* Messages and the maps that the hub's own protocol has for them. */
#ifndef TENON_HUB_PAYLOAD_H
#define TENON_HUB_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "door.h"
#include "tenon_value.h"

/*
 * A map with payload, headers, reply, and `msg` if the topic is given, in a tree of its own. A payload of JSON is its
 * value, or if `plain` its text: not every format can express what JSON can (equal keys). NULL: no memory.
 */
struct tn_value *payload_value(const struct message *m, struct span topic, bool plain);

/* What a map has become; `room` is what its bytes lie in: tn_bytes_free(). All zero at first. */
struct body {
	struct message m;
	struct tn_bytes room;
};

/* Reads payload and headers of a map. Returns why not, or NULL. */
const char *payload_read(struct body *body, const struct tn_value *map);

/* Puts a text, or bytes where it is not UTF-8. */
void value_put_text(struct tn_value *map, const char *key, const char *text, size_t len);
/* Whether a value is a text; where it is. */
bool value_text(const struct tn_value *value, struct span *text);
/* Whether it is what value_put_text() puts: a topic. */
bool value_topic(const struct tn_value *value, struct span *topic);

#endif
