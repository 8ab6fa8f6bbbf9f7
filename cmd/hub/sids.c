#include "sids.h"

#include <stdlib.h>
#include <string.h>

#define CAP_MIN 4

static uint32_t home(const struct sids *sids, const char *sid, size_t len)
{
	return (uint32_t)topic_hash(sid, len) & (sids->cap - 1);
}

struct subscription *sids_find(const struct sids *sids, const char *sid, size_t len)
{
	struct subscription *sub;

	for (uint32_t i = sids->count ? home(sids, sid, len) : 0; sids->count && (sub = sids->at[i]);
	     i = (i + 1) & (sids->cap - 1))
		if (sub->sid_len == len && memcmp(sub->sid, sid, len) == 0)
			return sub;
	return NULL;
}

static void put(struct sids *sids, struct subscription *sub)
{
	uint32_t i = home(sids, sub->sid, sub->sid_len);

	while (sids->at[i])
		i = (i + 1) & (sids->cap - 1);
	sids->at[i] = sub;
}

bool sids_add(struct sids *sids, struct subscription *sub)
{
	struct sids old = *sids;

	if (sids->count + 1 > sids->cap / 4 * 3) {
		sids->cap = old.cap ? old.cap * 2 : CAP_MIN;
		sids->at = calloc(sids->cap, sizeof(struct subscription *));
		if (!sids->at) {
			*sids = old;
			return false;
		}
		for (uint32_t i = 0; i < old.cap; i++)
			if (old.at[i])
				put(sids, old.at[i]);
		free(old.at);
	}
	put(sids, sub);
	sids->count++;
	return true;
}

void sids_remove(struct sids *sids, const struct subscription *sub)
{
	uint32_t mask = sids->cap - 1, gap = home(sids, sub->sid, sub->sid_len), i;

	while (sids->at[gap] != sub)
		gap = (gap + 1) & mask;
	for (i = (gap + 1) & mask; sids->at[i]; i = (i + 1) & mask) {
		uint32_t its = home(sids, sids->at[i]->sid, sids->at[i]->sid_len);

		if (((i - its) & mask) < ((i - gap) & mask))
			continue;
		sids->at[gap] = sids->at[i];
		gap = i;
	}
	sids->at[gap] = NULL;
	if (!--sids->count)
		sids_free(sids);
}

void sids_free(struct sids *sids)
{
	free(sids->at);
	*sids = (struct sids){0};
}
