/*
 * What --topic says of topics: the format of their payloads, and which messages stay: last values and history. Each
 * message that stays has an offset, by which a client goes on where it was cut off. Under a lock of its own.
 */
#ifndef TENON_HUB_HISTORY_H
#define TENON_HUB_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "door.h"

struct kept;

/* PATTERN?history=N&age=DUR&last=on&bytes=SIZE&format=NAME. Returns why not, or NULL. */
const char *history_rule(const char *text);
bool history_any(void);

/* Whether a payload is what its topic's format allows; true where there is none. */
bool history_allows(const struct message *message);
void history_free(void);

/* Keeps a message, and sets its offset, if a rule is there for its topic. */
void history_add(struct message *message, uint64_t now_ns);

/* What of the patterns' topics is kept and wanted, each message once, oldest first, with references of its own. */
struct history_list {
	struct kept **list;
	size_t count, cap;
	bool gap; /* something behind `since` is not there any more */
};

/* Returns 0 or -ENOMEM. The list is the caller's, also then: history_list_free(). */
int history_find(const struct span *patterns, int count, const struct wanted *wanted, uint64_t now_ns,
		 struct history_list *list);
void history_list_free(struct history_list *list);

#endif
