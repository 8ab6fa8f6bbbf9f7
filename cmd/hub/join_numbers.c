#include "join_numbers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t nbuckets(const struct join_numbers *numbers)
{
	return numbers->most;
}

int join_numbers_new(struct join_numbers *numbers, size_t most)
{
	*numbers = (struct join_numbers){.most = most};
	numbers->buckets = calloc(most, sizeof(struct join_number *));
	return numbers->buckets ? 0 : -ENOMEM;
}

void join_numbers_free(struct join_numbers *numbers)
{
	for (struct join_number *at = numbers->oldest, *newer; at; at = newer) {
		newer = at->newer;
		free(at);
	}
	free(numbers->buckets);
	*numbers = (struct join_numbers){0};
}

static uint64_t hash_of(struct span text, uint64_t hash)
{
	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(1099511628211);
	return hash ^ hash >> 31;
}

static void detach(struct join_numbers *numbers, struct join_number *entry)
{
	*(entry->older ? &entry->older->newer : &numbers->oldest) = entry->newer;
	*(entry->newer ? &entry->newer->older : &numbers->newest) = entry->older;
}

static void attach(struct join_numbers *numbers, struct join_number *entry)
{
	entry->older = numbers->newest;
	entry->newer = NULL;
	*(numbers->newest ? &numbers->newest->newer : &numbers->oldest) = entry;
	numbers->newest = entry;
}

static void forget_oldest(struct join_numbers *numbers)
{
	struct join_number *entry = numbers->oldest, **at = &numbers->buckets[entry->hash % nbuckets(numbers)];

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	detach(numbers, entry);
	numbers->count--;
	free(entry);
}

/* The entry of a publisher and a topic, as the one that was used last. A new one has epoch 0. */
static struct join_number *entry_of(struct join_numbers *numbers, struct span publisher, struct span topic)
{
	uint64_t hash = hash_of(topic, hash_of(publisher, UINT64_C(1469598103934665603)));
	struct join_number **bucket = &numbers->buckets[hash % nbuckets(numbers)], *entry = *bucket;
	size_t len = publisher.len + topic.len;

	for (; entry; entry = entry->next)
		if (entry->hash == hash && entry->len == len && memcmp(entry->key, topic.data, topic.len) == 0 &&
		    (!publisher.len || memcmp(entry->key + topic.len, publisher.data, publisher.len) == 0))
			break;
	if (entry) {
		detach(numbers, entry);
		attach(numbers, entry);
		return entry;
	}
	if (numbers->count == numbers->most)
		forget_oldest(numbers);
	entry = calloc(1, sizeof(*entry) + len);
	if (!entry)
		return NULL;
	entry->hash = hash;
	entry->len = len;
	memcpy(entry->key, topic.data, topic.len);
	if (publisher.len)
		memcpy(entry->key + topic.len, publisher.data, publisher.len);
	entry->next = *bucket;
	*bucket = entry;
	attach(numbers, entry);
	numbers->count++;
	return entry;
}

bool join_numbers_give(struct join_numbers *numbers, struct span topic, uint64_t clock, uint64_t *epoch,
		       uint64_t *number)
{
	struct join_number *entry = entry_of(numbers, (struct span){0}, topic);

	if (!entry)
		return false;
	if (!entry->epoch) {
		numbers->epochs = clock > numbers->epochs ? clock : numbers->epochs + 1;
		entry->epoch = numbers->epochs;
	}
	*epoch = entry->epoch;
	*number = ++entry->number;
	return true;
}

enum join_seen join_numbers_see(struct join_numbers *numbers, struct span publisher, struct span topic, uint64_t epoch,
				uint64_t number, uint64_t since, uint64_t *missed)
{
	struct join_number *entry = entry_of(numbers, publisher, topic);
	uint64_t expected;

	*missed = 0;
	if (!entry)
		return JOIN_NEXT;
	if (!entry->epoch || entry->at <= since)
		expected = number; /* what came before nobody has asked for */
	else if (epoch != entry->epoch)
		expected = epoch > entry->epoch ? 1 : number + 1;
	else
		expected = entry->number + 1;
	if (number < expected)
		return JOIN_AGAIN;
	entry->epoch = epoch;
	entry->number = number;
	entry->at = ++numbers->uses;
	*missed = number - expected;
	return *missed ? JOIN_GAP : JOIN_NEXT;
}

uint64_t join_numbers_now(const struct join_numbers *numbers)
{
	return numbers->uses;
}
