/*
 * The tree of topics: who has subscribed to what. Topics are tokens with dots between them (sensors.kitchen.temp); in a
 * pattern `*` stands for any one token, and `>` in the last place for one or more. The time to find a topic's
 * subscribers grows with the topic and with those that match, not with those that do not. Pure: no socket, clock, lock.
 */
#ifndef TENON_HUB_TOPICS_H
#define TENON_HUB_TOPICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOPIC_MAX 4096 /* bytes of a topic or a pattern */
#define TOPIC_TOKENS_MAX (TOPIC_MAX / 2)

struct topics;

/* What a subscription of the program has inside. It lies where it is for as long as it is in the tree. */
struct topic_sub {
	uint32_t node, at; /* the tree's own */
	uint32_t group;    /* 0: none */
};

/* Whether tokens are there, none of which is empty, and no white space; in a pattern: `>` stands in the last place. */
bool topic_is_pattern(const char *text, size_t len);
/* The same, without wildcards. */
bool topic_is_literal(const char *text, size_t len);
/* Whether it may be a queue group's name: one word of a line, dots or not. */
bool topic_is_name(const char *text, size_t len);
/* Whether a pattern takes this topic. Both must be valid. */
bool topic_fits(const char *pattern, size_t pattern_len, const char *topic, size_t len);
/* Whether all that `inner` takes is taken by `outer` too. Both must be valid patterns. */
bool topic_covers(const char *outer, size_t outer_len, const char *inner, size_t len);

/* A hash of what others choose, by a secret of the process: they cannot make two of them meet. Secret: before all else.
 */
void topic_set_secret(uint64_t secret);
uint64_t topic_hash(const char *text, size_t len);

/* NULL: no memory. `seed` is secret, so that nobody can choose tokens that meet in the tables. */
struct topics *topics_new(uint64_t seed);
void topics_free(struct topics *topics);

/* Adds a subscription to a valid pattern; `group` of length 0: it belongs to no queue group. Returns 0 or -ENOMEM. */
int topics_add(struct topics *topics, struct topic_sub *sub, const char *pattern, size_t len, const char *group,
	       size_t group_len);
void topics_remove(struct topics *topics, struct topic_sub *sub);

/* Writes the pattern of a subscription into `out`, which has room for TOPIC_MAX. Returns its length. */
size_t topics_pattern(const struct topics *topics, const struct topic_sub *sub, char *out);

/* A pattern that many have subscribed to: topics_pattern() of `sub` writes it. */
struct topic_busy {
	struct topic_sub sub;
	uint32_t count; /* subscriptions */
};

/* The patterns with the most subscriptions, the busiest first; looks at `limit` nodes of the tree at most. Returns how
 * many of the `cap` in `out` there are. */
size_t topics_busiest(const struct topics *topics, uint32_t limit, struct topic_busy *out, size_t cap);
/* The same for the name of its group, which is as long at most as it was given. 0: it has none. */
size_t topics_group_name(const struct topics *topics, const struct topic_sub *sub, char *out, size_t cap);
/* The number of a group in struct topic_sub; 0: nobody is in one of this name. */
uint32_t topics_group(const struct topics *topics, const char *name, size_t len);

/* Another number after each change of the tree. */
uint64_t topics_version(const struct topics *topics);

/* How many subscriptions there are, and bytes that the tree takes for them (what malloc adds is estimated). */
size_t topics_count(const struct topics *topics);
size_t topics_memory(const struct topics *topics);

/* Subscriptions that stand side by side, all of them without a group, or all of one group. */
struct topic_span {
	struct topic_sub *const *subs;
	uint32_t count, group;
};

/* Who gets a topic. One of these is used again and again. All zero at first. */
struct topic_match {
	struct topic_span *spans;
	size_t count; /* of spans */
	size_t cap;
	struct topic_token *tokens;
	struct topic_sub **single; /* spans of one need a place to point to */
	size_t nsingle, single_cap;
};

/*
 * Finds all subscriptions that a topic matches. What is found stays valid until the tree changes. Spans are sorted by
 * group, none first; a group whose members have subscribed to several patterns has several. Wildcards in a topic are
 * tokens that only wildcards match. What has empty tokens, or is too long, matches nothing.
 * Returns 0 or -ENOMEM.
 */
int topics_match(const struct topics *topics, const char *topic, size_t len, struct topic_match *match);
void topic_match_free(struct topic_match *match);

/*
 * Of the group of span `*span`, the first of this group, the nth member modulo their number. Sets `*span` to the first
 * one behind the group.
 */
struct topic_sub *topic_match_choose(const struct topic_match *match, size_t *span, uint64_t nth);

#endif
