/*
 * TCP's numbers counted from the beginning of each direction. The table has a fixed size: with very many connections
 * one may lose its place to another, and is then counted from its next segment.
 */
#include "relative.h"

#include <stdlib.h>
#include <string.h>

#include "packet/packet.h"

#define PLACES 16384 /* a power of two */

/* One direction. Its bytes are hashed and compared, so it has no padding: an assignment need not copy that. */
struct key {
	unsigned char from[16], to[16];
	uint16_t sport, dport, ip;
};

struct place {
	struct key key;
	uint32_t base;
	bool taken;
};

struct relative {
	struct place places[PLACES];
};

int relative_new(struct relative **relative)
{
	*relative = calloc(1, sizeof(**relative));
	return *relative ? 0 : -1;
}

void relative_free(struct relative *relative)
{
	free(relative);
}

static struct place *place_of(struct relative *r, const struct packet *p, bool back)
{
	struct key key;
	uint32_t hash = 2166136261U;
	size_t len = p->ip == 4 ? 4 : 16;
	struct place *place;

	memset(&key, 0, sizeof(key)); /* what an IPv4 address leaves of its place is compared, too */
	key.ip = p->ip;
	memcpy(key.from, back ? p->dst : p->src, len);
	memcpy(key.to, back ? p->src : p->dst, len);
	key.sport = back ? p->dport : p->sport;
	key.dport = back ? p->sport : p->dport;
	for (size_t i = 0; i < sizeof(key); i++)
		hash = (hash ^ ((const unsigned char *)&key)[i]) * 16777619U;
	place = &r->places[(hash ^ hash >> 15) & (PLACES - 1)];
	if (!place->taken || memcmp(&place->key, &key, sizeof(key)) != 0)
		*place = (struct place){.key = key};
	return place;
}

/* The first byte of data is number 1; so is the first that is seen of a direction whose beginning was not. */
void relative_make(struct relative *r, struct packet *p, uint32_t *sack_base)
{
	struct place *forth, *back;

	*sack_base = 0;
	if (p->kind != PACKET_TCP || p->cut || !p->src)
		return;
	forth = place_of(r, p, false);
	if (p->flags & TCP_SYN)
		forth->base = p->seq;
	else if (!forth->taken)
		forth->base = p->seq - 1;
	forth->taken = true;
	p->seq -= forth->base;
	if (!(p->flags & TCP_ACK))
		return;
	back = place_of(r, p, true);
	if (!back->taken)
		back->base = p->ack - 1;
	back->taken = true;
	p->ack -= back->base;
	*sack_base = back->base;
}
