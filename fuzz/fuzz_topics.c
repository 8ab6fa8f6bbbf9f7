/*
 * The tree of topics (cmd/hub/topics): subscriptions come and go as the input says, and what is found is compared with
 * every one of them.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "hub/topics/topics.h"

#define SUBS 32

struct sub {
	struct topic_sub in;
	const char *pattern;
	size_t len;
};

/* The next piece of the input, up to a line feed. */
static const char *piece(const uint8_t **data, size_t *left, size_t *len)
{
	const char *text = (const char *)*data, *end = *left ? memchr(text, '\n', *left) : NULL;

	*len = end ? (size_t)(end - text) : *left;
	*data += *len + (end != NULL);
	*left -= *len + (end != NULL);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct topics *topics = topics_new(size);
	struct topic_match match = {0};
	struct sub subs[SUBS] = {0};
	char text[TOPIC_MAX];
	size_t count = 0;

	CHECK(topics);
	while (size) {
		struct sub *sub = &subs[*data % SUBS];
		bool publishes = *data >= 128, grouped = *data & 64;
		size_t len, expected = 0, found = 0;
		const char *name;

		data++;
		size--;
		name = piece(&data, &size, &len);
		if (!publishes && sub->pattern) {
			CHECK(topics_pattern(topics, &sub->in, text) == sub->len);
			CHECK(memcmp(text, sub->pattern, sub->len) == 0);
			topics_remove(topics, &sub->in);
			sub->pattern = NULL;
			count--;
		} else if (!publishes && topic_is_pattern(name, len)) {
			CHECK(topics_add(topics, &sub->in, name, len, name, grouped) == 0);
			sub->pattern = name;
			sub->len = len;
			count++;
		}
		CHECK(topics_count(topics) == count);
		if (!publishes)
			continue;
		CHECK(topics_match(topics, name, len, &match) == 0);
		for (size_t i = 0; i < match.count; i++)
			found += match.spans[i].count;
		for (size_t i = 0; i < match.count;)
			if (match.spans[i].group)
				CHECK(topic_match_choose(&match, &i, size));
			else
				i++;
		if (!topic_is_literal(name, len))
			continue;
		for (int i = 0; i < SUBS; i++)
			expected += subs[i].pattern && topic_fits(subs[i].pattern, subs[i].len, name, len);
		CHECK(found == expected);
	}
	topic_match_free(&match);
	topics_free(topics);
	return 0;
}
