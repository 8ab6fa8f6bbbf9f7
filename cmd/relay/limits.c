#include "limits.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/clock.h"

static void fill(struct bucket *bucket, uint64_t rate, uint64_t now)
{
	int64_t most = (int64_t)(rate / 5 + 1);
	uint64_t passed = bucket->filled_ns && now > bucket->filled_ns ? now - bucket->filled_ns : 0;
	double more = (double)passed * (double)rate / 1e9;

	if (!bucket->filled_ns || more > (double)most - (double)bucket->left)
		bucket->left = most;
	else
		bucket->left += (int64_t)more;
	/* What is less than a byte stays in the time, or else a low rate would never come to one. */
	if (!bucket->filled_ns || more >= 1)
		bucket->filled_ns = now;
}

bool bucket_take(struct bucket *bucket, uint64_t rate, size_t len, uint64_t now)
{
	if (!rate)
		return false;
	fill(bucket, rate, now);
	bucket->left -= (int64_t)len;
	return bucket->left <= 0;
}

bool bucket_has(struct bucket *bucket, uint64_t rate, uint64_t now)
{
	if (!rate)
		return true;
	fill(bucket, rate, now);
	return bucket->left > 0;
}

/* ---- shared by the sessions of an address ---- */

#define BUCKETS 1024

struct share {
	struct share *next;
	uint64_t source;
	unsigned sessions;
	struct bucket in, out;
};

static struct {
	struct share *buckets[BUCKETS];
	pthread_mutex_t lock;
} shares = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct share **place_of(uint64_t source)
{
	struct share **at = &shares.buckets[source % BUCKETS];

	while (*at && (*at)->source != source)
		at = &(*at)->next;
	return at;
}

struct share *share_join(uint64_t source)
{
	struct share **at, *share;

	pthread_mutex_lock(&shares.lock);
	at = place_of(source);
	if (!*at)
		*at = calloc(1, sizeof(**at));
	if (*at) {
		(*at)->source = source;
		(*at)->sessions++;
	}
	share = *at;
	pthread_mutex_unlock(&shares.lock);
	return share;
}

void share_leave(struct share *share)
{
	struct share **at;

	if (!share)
		return;
	pthread_mutex_lock(&shares.lock);
	at = place_of(share->source);
	if (--share->sessions == 0) {
		*at = share->next;
		free(share);
	}
	pthread_mutex_unlock(&shares.lock);
}

bool share_take(struct share *share, bool in, uint64_t rate, size_t len, uint64_t now)
{
	bool empty;

	if (!share)
		return false;
	pthread_mutex_lock(&shares.lock);
	empty = bucket_take(in ? &share->in : &share->out, rate, len, now);
	pthread_mutex_unlock(&shares.lock);
	return empty;
}

bool share_has(struct share *share, bool in, uint64_t rate, uint64_t now)
{
	bool has;

	if (!share)
		return true;
	pthread_mutex_lock(&shares.lock);
	has = bucket_has(in ? &share->in : &share->out, rate, now);
	pthread_mutex_unlock(&shares.lock);
	return has;
}
