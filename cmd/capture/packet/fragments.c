#include "fragments.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "packet.h"

#define SLOTS 64
#define HEAD 40             /* room for a header in front of the data: IPv6's is the longer one */
#define DATA_MAX 65535U     /* as IP's lengths have 16 bits */
#define UNIT 8              /* fragments begin at multiples of this */
#define OLD_NS 30000000000U /* after which identifiers are used again (Linux gives up after 30 s, too) */

struct datagram {
	uint8_t ip, proto; /* ip 0: the slot is free */
	uint32_t id;
	unsigned char addr[2][16];
	uint64_t begun_ns, order;
	unsigned char *data; /* HEAD bytes, then what is there */
	uint32_t cap, end;   /* of the data: room, and where the last byte that is there stands */
	uint32_t total;      /* 0: not known before the last fragment */
	uint32_t units;      /* how many are there */
	unsigned char have[DATA_MAX / UNIT / 8 + 1];
};

struct fragments {
	struct datagram slots[SLOTS];
	struct datagram *given; /* handed out: until the next call */
	size_t memory, memory_max;
	uint64_t order;
	struct fragments_counts counts;
};

int fragments_new(struct fragments **out, size_t memory_max)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	(*out)->memory_max = memory_max;
	return 0;
}

/* ---- a datagram ---- */

static bool is_there(const struct datagram *d, uint32_t unit)
{
	return d->have[unit / 8] >> (unit % 8) & 1;
}

static void forget(struct fragments *f, struct datagram *d)
{
	if (d->data)
		f->memory -= HEAD + d->cap;
	free(d->data);
	memset(d, 0, sizeof(*d));
}

/* Without its first fragment it may be one that nobody asked for: a filter of ports lets the other fragments pass. */
static void give_up(struct fragments *f, struct datagram *d, uint64_t *count)
{
	if (is_there(d, 0))
		++*count;
	forget(f, d);
}

static bool is_of(const struct datagram *d, const struct packet *p)
{
	size_t len = p->ip == 4 ? 4 : 16;

	return d->ip == p->ip && d->proto == p->proto && d->id == p->fragment_id && !memcmp(d->addr[0], p->src, len) &&
	       !memcmp(d->addr[1], p->dst, len);
}

/* But for the one that began as number `but`. */
static struct datagram *oldest(struct fragments *f, uint64_t but)
{
	struct datagram *found = NULL;

	for (size_t i = 0; i < SLOTS; i++) {
		struct datagram *d = &f->slots[i];

		if (d->ip && d->order != but && (!found || d->order < found->order))
			found = d;
	}
	return found;
}

static struct datagram *begin(struct fragments *f, const struct packet *p, uint64_t ns)
{
	struct datagram *d = f->slots;
	size_t len = p->ip == 4 ? 4 : 16;

	/* A free slot, or else the oldest datagram's */
	for (size_t i = 1; i < SLOTS && d->ip; i++)
		if (!f->slots[i].ip || f->slots[i].order < d->order)
			d = &f->slots[i];
	if (d->ip)
		give_up(f, d, &f->counts.unfinished);
	*d = (struct datagram){
		.ip = p->ip, .proto = p->proto, .id = p->fragment_id, .begun_ns = ns, .order = f->order++};
	memcpy(d->addr[0], p->src, len);
	memcpy(d->addr[1], p->dst, len);
	return d;
}

static struct datagram *find(struct fragments *f, const struct packet *p, uint64_t ns)
{
	for (struct datagram *d = f->slots; d < f->slots + SLOTS; d++) {
		if (!d->ip || !is_of(d, p))
			continue;
		if (ns <= d->begun_ns + OLD_NS)
			return d;
		give_up(f, d, &f->counts.unfinished);
		break;
	}
	return begin(f, p, ns);
}

/* Room for `end` bytes of data. 0; -ENOMEM; -ENOSPC: it alone would be more than may be. */
static int make_room(struct fragments *f, struct datagram *d, uint32_t end)
{
	uint32_t cap = (end + 4095) & ~4095U;
	size_t more = cap - d->cap + (d->data ? 0 : HEAD);
	struct datagram *other;
	unsigned char *grown;

	if (d->data && end <= d->cap)
		return 0;
	while (f->memory + more > f->memory_max && (other = oldest(f, d->order)))
		give_up(f, other, &f->counts.unfinished);
	if (f->memory + more > f->memory_max)
		return -ENOSPC;
	grown = realloc(d->data, HEAD + (size_t)cap);
	if (!grown)
		return -ENOMEM;
	f->memory += more;
	d->data = grown;
	d->cap = cap;
	return 0;
}

/* ---- a fragment ---- */

/* Whether what is there already of these bytes is the same, and the end where it was said to be. */
static bool agrees(const struct datagram *d, const struct packet *p)
{
	uint32_t end = p->fragment_at + p->ip_len;

	if (d->total && (end > d->total || (!p->more_fragments && end != d->total)))
		return false;
	if (!p->more_fragments && d->end > end)
		return false;
	for (uint32_t at = p->fragment_at; at < end; at += UNIT) {
		uint32_t len = end - at < UNIT ? end - at : UNIT;

		if (is_there(d, at / UNIT) && memcmp(d->data + HEAD + at, p->ip_data + (at - p->fragment_at), len) != 0)
			return false;
	}
	return true;
}

static void put(struct datagram *d, const struct packet *p)
{
	uint32_t end = p->fragment_at + p->ip_len;

	memcpy(d->data + HEAD + p->fragment_at, p->ip_data, p->ip_len);
	for (uint32_t unit = p->fragment_at / UNIT; unit * UNIT < end; unit++) {
		d->units += !is_there(d, unit);
		d->have[unit / 8] |= (unsigned char)(1U << unit % 8);
	}
	if (end > d->end)
		d->end = end;
	if (!p->more_fragments)
		d->total = end;
}

/* A header as if it had never been cut, of the last fragment's. Returns its length. */
static uint32_t write_head(const struct datagram *d, const struct packet *p)
{
	uint32_t head = d->ip == 4 ? 20 : 40, len = d->ip == 4 ? 20 + d->total : d->total;
	unsigned char *at = d->data + HEAD - head;

	memset(at, 0, head);
	if (d->ip == 4) {
		at[0] = 0x45;
		at[1] = p->tos;
		at[2] = (unsigned char)(len >> 8);
		at[3] = (unsigned char)len;
		at[8] = p->ttl;
		at[9] = d->proto;
		memcpy(at + 12, d->addr[0], 4);
		memcpy(at + 16, d->addr[1], 4);
	} else {
		at[0] = (unsigned char)(0x60 | p->tos >> 4);
		at[1] = (unsigned char)(p->tos << 4);
		at[4] = (unsigned char)(len >> 8);
		at[5] = (unsigned char)len;
		at[6] = d->proto;
		at[7] = p->ttl;
		memcpy(at + 8, d->addr, 32);
	}
	return head;
}

/* Captured as a whole, and of a length and at a place that fragments have. */
static bool is_usable(const struct packet *p)
{
	uint32_t most = p->ip == 4 ? DATA_MAX - 20 : DATA_MAX;

	return p->fragment && p->ip_len && p->ip_cap == p->ip_len && (!p->more_fragments || p->ip_len % UNIT == 0) &&
	       p->ip_len <= most && p->fragment_at <= most - p->ip_len;
}

int fragments_take(struct fragments *f, const struct packet *p, uint64_t ns, struct packet *whole)
{
	struct datagram *d;
	uint32_t head;
	int rc;

	if (f->given)
		forget(f, f->given);
	f->given = NULL;
	if (!is_usable(p)) {
		f->counts.unfinished += p->fragment_at == 0;
		return 0;
	}
	d = find(f, p, ns);
	rc = make_room(f, d, p->fragment_at + p->ip_len);
	if (rc < 0) {
		give_up(f, d, &f->counts.unfinished);
		return rc == -ENOMEM ? rc : 0;
	}
	if (!agrees(d, p)) {
		give_up(f, d, &f->counts.conflicting);
		return 0;
	}
	put(d, p);
	if (!d->total || d->units < (d->total + UNIT - 1) / UNIT)
		return 0;
	f->given = d;
	head = write_head(d, p);
	packet_decode_ip(whole, d->data + HEAD - head, head + d->total, head + d->total);
	return 1;
}

/* ---- the end ---- */

const struct fragments_counts *fragments_over(struct fragments *f)
{
	for (struct datagram *d = f->slots; d < f->slots + SLOTS; d++)
		if (d->ip && d != f->given)
			give_up(f, d, &f->counts.unfinished);
	return &f->counts;
}

size_t fragments_memory(const struct fragments *f)
{
	return f->memory;
}

void fragments_free(struct fragments *f)
{
	for (size_t i = 0; f && i < SLOTS; i++)
		free(f->slots[i].data);
	free(f);
}
