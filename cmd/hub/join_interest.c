#include "join_interest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 64

int join_interest_new(struct join_interest *interest, uint64_t seed)
{
	*interest = (struct join_interest){.nbuckets = BUCKETS_MIN};
	interest->topics = topics_new(seed);
	interest->buckets = calloc(BUCKETS_MIN, sizeof(struct join_want *));
	return interest->topics && interest->buckets ? 0 : -ENOMEM;
}

void join_interest_free(struct join_interest *interest)
{
	for (struct join_want *want = interest->oldest, *newer; want; want = newer) {
		newer = want->newer;
		free(want);
	}
	free(interest->buckets);
	topics_free(interest->topics);
	topic_match_free(&interest->match);
	*interest = (struct join_interest){0};
}

static uint64_t hash_of(struct span pattern, struct span group)
{
	uint64_t hash = UINT64_C(1469598103934665603);

	for (size_t i = 0; i < pattern.len; i++)
		hash = (hash ^ (unsigned char)pattern.data[i]) * UINT64_C(1099511628211);
	hash = (hash ^ ' ') * UINT64_C(1099511628211);
	for (size_t i = 0; i < group.len; i++)
		hash = (hash ^ (unsigned char)group.data[i]) * UINT64_C(1099511628211);
	return hash ^ hash >> 29;
}

static bool same(struct span a, struct span b)
{
	return a.len == b.len && (!a.len || memcmp(a.data, b.data, a.len) == 0);
}

static struct join_want **find(struct join_interest *interest, struct span pattern, struct span group, uint64_t hash)
{
	struct join_want **at = &interest->buckets[hash % interest->nbuckets];

	while (*at && ((*at)->hash != hash || !same((*at)->pattern, pattern) || !same((*at)->group, group)))
		at = &(*at)->next;
	return at;
}

/* Without memory the lists are longer. */
static void grow(struct join_interest *interest)
{
	size_t nbuckets = interest->nbuckets * 2;
	struct join_want **buckets = calloc(nbuckets, sizeof(struct join_want *));

	if (!buckets)
		return;
	free(interest->buckets);
	interest->buckets = buckets;
	interest->nbuckets = nbuckets;
	for (struct join_want *want = interest->oldest; want; want = want->newer) {
		want->next = buckets[want->hash % nbuckets];
		buckets[want->hash % nbuckets] = want;
	}
}

static void append(struct join_interest *interest, struct join_want *want)
{
	want->older = interest->newest;
	if (interest->newest)
		interest->newest->newer = want;
	else
		interest->oldest = want;
	interest->newest = want;
	interest->count++;
}

struct join_want *join_interest_add(struct join_interest *interest, struct span pattern, struct span group)
{
	uint64_t hash = hash_of(pattern, group);
	struct join_want **at = find(interest, pattern, group, hash), *want = *at;

	if (want) {
		want->refs++;
		return NULL;
	}
	want = calloc(1, sizeof(*want) + pattern.len + group.len);
	if (!want || topics_add(interest->topics, &want->in, pattern.data, pattern.len, group.data, group.len) < 0) {
		free(want);
		return NULL;
	}
	want->pattern = (struct span){memcpy(want->bytes, pattern.data, pattern.len), pattern.len};
	if (group.len)
		want->group = (struct span){memcpy(want->bytes + pattern.len, group.data, group.len), group.len};
	want->refs = 1;
	want->hash = hash;
	want->sid = ++interest->sids;
	*at = want;
	append(interest, want);
	if (interest->count > interest->nbuckets)
		grow(interest);
	return want;
}

uint64_t join_interest_drop(struct join_interest *interest, struct span pattern, struct span group, bool *grouped)
{
	struct join_want **at = find(interest, pattern, group, hash_of(pattern, group)), *want = *at;
	uint64_t sid;

	if (!want || --want->refs)
		return 0;
	*at = want->next;
	*(want->older ? &want->older->newer : &interest->oldest) = want->newer;
	*(want->newer ? &want->newer->older : &interest->newest) = want->older;
	interest->count--;
	topics_remove(interest->topics, &want->in);
	sid = want->sid;
	*grouped = want->group.len > 0;
	free(want);
	return sid;
}

const struct join_want *join_interest_first(struct join_interest *interest, struct span topic)
{
	const struct topic_match *match = &interest->match;
	const struct join_want *first = NULL;

	if (topics_match(interest->topics, topic.data, topic.len, &interest->match) < 0)
		return NULL;
	for (size_t i = 0; i < match->count && !match->spans[i].group; i++)
		for (uint32_t n = 0; n < match->spans[i].count; n++) {
			const struct join_want *want = (const struct join_want *)match->spans[i].subs[n];

			first = !first || want->sid < first->sid ? want : first;
		}
	return first;
}

const struct join_want *join_interest_named(struct join_interest *interest, struct span topic, uint64_t sid)
{
	const struct topic_match *match = &interest->match;

	if (topics_match(interest->topics, topic.data, topic.len, &interest->match) < 0)
		return NULL;
	for (size_t i = 0; i < match->count; i++)
		for (uint32_t n = 0; n < match->spans[i].count; n++) {
			const struct join_want *want = (const struct join_want *)match->spans[i].subs[n];

			if (want->sid == sid)
				return want;
		}
	return NULL;
}
