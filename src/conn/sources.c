#include "conn/sources.h"

#include "base/random.h"
#include "net/addr.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BITS_MIN 6

struct entry {
	uint64_t source;
	uint32_t held; /* 0: the slot is free */
};

/* Open addressing, at most half full; what leaves closes the gap behind it. */
struct tni_sources {
	pthread_mutex_t lock;
	uint64_t odd; /* random, so that nobody can choose addresses that share a slot */
	struct entry *slots;
	unsigned bits;
	uint32_t count, max;
};

struct tni_sources *tni_sources_new(uint32_t max)
{
	struct tni_sources *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->max = max;
	s->bits = BITS_MIN;
	s->slots = calloc(1U << s->bits, sizeof(*s->slots));
	if (!s->slots || !tni_random(&s->odd, sizeof(s->odd))) {
		free(s->slots);
		free(s);
		return NULL;
	}
	s->odd |= 1;
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void tni_sources_free(struct tni_sources *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s->slots);
	free(s);
}

/* An IPv4 address stands where no IPv6 network is: in ::/32. */
uint64_t tni_source_of(const struct tn_addr *addr)
{
	const struct sockaddr *sa = tn_addr_sockaddr(addr);
	const struct sockaddr_in6 *in6 = (const void *)sa;
	uint64_t source = 0;

	if (addr->len >= sizeof(struct sockaddr_in) && sa->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr);
	if (addr->len < sizeof(*in6) || sa->sa_family != AF_INET6)
		return 0;
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		for (int i = 12; i < 16; i++)
			source = source << 8 | in6->sin6_addr.s6_addr[i];
		return source;
	}
	for (int i = 0; i < 8; i++)
		source = source << 8 | in6->sin6_addr.s6_addr[i];
	return source;
}

/* ---- the table ---- */

static uint32_t slot_of(const struct tni_sources *s, uint64_t source)
{
	return (uint32_t)(source * s->odd >> (64 - s->bits));
}

static uint32_t next_slot(const struct tni_sources *s, uint32_t at)
{
	return (at + 1) & ((1U << s->bits) - 1);
}

/* Where it is, or would be. */
static struct entry *find(const struct tni_sources *s, uint64_t source)
{
	uint32_t at = slot_of(s, source);

	while (s->slots[at].held && s->slots[at].source != source)
		at = next_slot(s, at);
	return &s->slots[at];
}

static bool grow(struct tni_sources *s)
{
	struct entry *old = s->slots, *slots = calloc(2U << s->bits, sizeof(*slots));
	uint32_t nold = 1U << s->bits;

	if (!slots)
		return false;
	s->slots = slots;
	s->bits++;
	for (uint32_t i = 0; i < nold; i++)
		if (old[i].held)
			*find(s, old[i].source) = old[i];
	free(old);
	return true;
}

/* Those behind the gap that could not be found beyond it move into it. */
static void close_gap(struct tni_sources *s, uint32_t gap)
{
	uint32_t mask = (1U << s->bits) - 1;

	for (uint32_t at = next_slot(s, gap); s->slots[at].held; at = next_slot(s, at)) {
		uint32_t home = slot_of(s, s->slots[at].source);

		if (((at - home) & mask) < ((at - gap) & mask))
			continue;
		s->slots[gap] = s->slots[at];
		s->slots[at].held = 0;
		gap = at;
	}
}

static bool enter(struct tni_sources *s, uint64_t source)
{
	struct entry *e = find(s, source);

	if (e->held >= s->max)
		return false;
	if (!e->held) {
		if (2 * (s->count + 1) > 1U << s->bits) {
			if (!grow(s))
				return false;
			e = find(s, source);
		}
		e->source = source;
		s->count++;
	}
	e->held++;
	return true;
}

bool tni_sources_enter(struct tni_sources *s, uint64_t source)
{
	bool entered;

	pthread_mutex_lock(&s->lock);
	entered = enter(s, source);
	pthread_mutex_unlock(&s->lock);
	return entered;
}

void tni_sources_leave(struct tni_sources *s, uint64_t source)
{
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = find(s, source);
	if (e->held && --e->held == 0) {
		s->count--;
		close_gap(s, (uint32_t)(e - s->slots));
	}
	pthread_mutex_unlock(&s->lock);
}

uint32_t tni_sources_count(struct tni_sources *s)
{
	uint32_t count;

	pthread_mutex_lock(&s->lock);
	count = s->count;
	pthread_mutex_unlock(&s->lock);
	return count;
}
