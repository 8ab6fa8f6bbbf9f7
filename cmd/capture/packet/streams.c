/*
 * Each side of a connection has `next`, the sequence number of the byte that comes next, and a chain of pieces that
 * came ahead of it: in order, never overlapping. Sequence numbers wrap; they are only ever compared by their distance.
 *
 * A hole is given up when the other side has acknowledged what is in it (so it was sent and only the capture lacks it)
 * and some more packets or time have passed, since a capture may show an acknowledgement before what it acknowledges.
 */
#include "streams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "packet.h"

#define NEAR (1 << 30)  /* TCP's largest window */
#define PIECES_MAX 8192 /* of a side: they are searched one by one */
#define CLOSED_MAX 4096 /* kept for a while, so that what still comes of them does not look new */
#define HOLE_PACKETS 16 /* how long a hole that was acknowledged is waited for */
#define HOLE_NS 500000000LL

struct segment {
	struct segment *next;
	uint64_t ns;
	uint32_t seq, len;
	unsigned char data[];
};

struct side {
	struct segment *first, *last;
	unsigned npieces, hole_packets;
	uint64_t hole_ns;
	uint32_t next, first_seq, fin_seq, acked;
	bool synced, began, fin, ended, is_acked; /* began: first_seq is that of its SYN */
};

struct key {
	unsigned char addr[2][16];
	uint16_t port[2];
	uint32_t ip;
};

struct connection {
	struct stream stream; /* first: what callers see */
	struct connection *in_bucket;
	struct connection *newer, *older; /* in the list of the living or that of the closed */
	struct key key;
	size_t held;  /* by the caller */
	bool flipped; /* side 0 is the second of the key */
	bool closed;
	struct side side[2];
};

struct list {
	struct connection *newest, *oldest;
	size_t count;
};

struct streams {
	const struct stream_ops *ops;
	void *arg;
	size_t max, used;
	uint64_t seed, last_id;
	struct connection **buckets;
	size_t nbuckets; /* a power of two */
	struct list living, closed;
	struct streams_counts counts;
};

static int32_t distance(uint32_t to, uint32_t from)
{
	return (int32_t)(to - from);
}

/* ---- the table ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15ULL) * (b ^ 0xd1b54a32d192ed03ULL);

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_of(const struct streams *t, const struct key *key)
{
	uint64_t words[5], hash = t->seed;

	memcpy(words, key, sizeof(words));
	for (size_t i = 0; i < 5; i++)
		hash = mix(hash, words[i] + t->seed);
	return hash;
}

/* Both directions have the same key; returns whether the packet came from the second of the two. */
static bool key_of(const struct packet *p, struct key *key)
{
	size_t len = p->ip == 4 ? 4 : 16;
	int order = memcmp(p->src, p->dst, len);
	bool flip = order > 0 || (order == 0 && p->sport > p->dport);

	memset(key, 0, sizeof(*key));
	memcpy(key->addr[flip], p->src, len);
	memcpy(key->addr[!flip], p->dst, len);
	key->port[flip] = p->sport;
	key->port[!flip] = p->dport;
	key->ip = p->ip;
	return flip;
}

_Static_assert(sizeof(struct key) == 40, "hashed as five words");

static void list_remove(struct list *list, struct connection *e)
{
	*(e->newer ? &e->newer->older : &list->newest) = e->older;
	*(e->older ? &e->older->newer : &list->oldest) = e->newer;
	list->count--;
}

static void list_add(struct list *list, struct connection *e)
{
	e->newer = NULL;
	e->older = list->newest;
	*(list->newest ? &list->newest->newer : &list->oldest) = e;
	list->newest = e;
	list->count++;
}

static struct connection **slot_of(const struct streams *t, const struct key *key)
{
	struct connection **slot = &t->buckets[hash_of(t, key) & (t->nbuckets - 1)];

	while (*slot && memcmp(&(*slot)->key, key, sizeof(*key)) != 0)
		slot = &(*slot)->in_bucket;
	return slot;
}

/* Without memory the chains just get longer. */
static void table_grow(struct streams *t)
{
	size_t nbuckets = t->nbuckets * 2;
	struct connection **old = t->buckets, **grown = calloc(nbuckets, sizeof(struct connection *));

	if (!grown)
		return;
	t->buckets = grown;
	for (size_t i = 0; i < t->nbuckets; i++)
		for (struct connection *e = old[i], *next; e; e = next) {
			struct connection **slot = &grown[hash_of(t, &e->key) & (nbuckets - 1)];

			next = e->in_bucket;
			e->in_bucket = *slot;
			*slot = e;
		}
	t->nbuckets = nbuckets;
	free(old);
}

/* What an entry costs, its place in the table included. */
#define ENTRY_COST (sizeof(struct connection) + 2 * sizeof(struct connection *))

/* One that has been closed. */
static void entry_free(struct streams *t, struct connection *e)
{
	struct connection **slot = slot_of(t, &e->key);

	*slot = e->in_bucket;
	list_remove(&t->closed, e);
	t->used -= ENTRY_COST;
	free(e);
}

static struct connection *entry_new(struct streams *t, const struct packet *p, const struct key *key, bool flip,
				    uint64_t ns)
{
	struct connection *e = calloc(1, sizeof(*e)), **slot;
	bool answer = (p->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);

	if (!e)
		return NULL;
	if (t->living.count + t->closed.count > t->nbuckets)
		table_grow(t);
	e->key = *key;
	e->flipped = flip != answer; /* who answers a SYN has not opened it */
	e->stream.id = ++t->last_id;
	e->stream.ip = p->ip;
	e->stream.joined = !(p->flags & TCP_SYN);
	for (int i = 0; i < 2; i++) {
		memcpy(e->stream.addr[i], key->addr[i ^ e->flipped], sizeof(key->addr[0]));
		e->stream.port[i] = key->port[i ^ e->flipped];
	}
	slot = &t->buckets[hash_of(t, key) & (t->nbuckets - 1)];
	e->in_bucket = *slot;
	*slot = e;
	list_add(&t->living, e);
	t->used += ENTRY_COST;
	t->counts.streams++;
	t->ops->open(t->arg, &e->stream, ns);
	return e;
}

/* ---- one side ---- */

static void deliver(struct streams *t, struct connection *e, int from, uint64_t ns, const void *data, uint32_t len)
{
	e->side[from].next += len;
	t->ops->data(t->arg, &e->stream, from, ns, data, len);
}

/* Hands over the pieces that now are next. */
static void drain(struct streams *t, struct connection *e, int from)
{
	struct side *side = &e->side[from];
	struct segment *piece;

	while ((piece = side->first) && piece->seq == side->next) {
		side->first = piece->next;
		if (!side->first)
			side->last = NULL;
		side->npieces--;
		t->used -= sizeof(*piece) + piece->len;
		deliver(t, e, from, piece->ns, piece->data, piece->len);
		free(piece);
	}
}

/* Gives up what is missing before `to`, or before the first piece that is there. */
static void skip_hole(struct streams *t, struct connection *e, int from, uint64_t ns, uint32_t to)
{
	struct side *side = &e->side[from];
	uint32_t missing;

	if (side->first && distance(side->first->seq, to) < 0)
		to = side->first->seq;
	missing = to - side->next;
	side->next = to;
	t->counts.missing_bytes += missing;
	t->ops->gap(t->arg, &e->stream, from, ns, missing);
	drain(t, e, from);
}

/* Tells the end once all before it has been handed over. */
static void tell_end(struct streams *t, struct connection *e, int from, uint64_t ns)
{
	struct side *side = &e->side[from];

	if (!side->fin || side->ended || side->next != side->fin_seq)
		return;
	side->ended = true;
	t->ops->end(t->arg, &e->stream, from, ns);
}

/* Where a side is known to have come: what was acknowledged, but for the FIN, which takes a number too. */
static uint32_t known_to(const struct side *side)
{
	uint32_t to = side->is_acked && distance(side->acked, side->next) > 0 ? side->acked : side->next;

	return side->fin && distance(to, side->fin_seq) > 0 ? side->fin_seq : to;
}

static void give_up_acked(struct streams *t, struct connection *e, int from, uint64_t ns)
{
	struct side *side = &e->side[from];

	if (known_to(side) == side->next) {
		side->hole_packets = 0;
		return;
	}
	if (side->hole_packets++ == 0)
		side->hole_ns = ns;
	if (side->hole_packets < HOLE_PACKETS && (int64_t)(ns - side->hole_ns) < HOLE_NS)
		return;
	while (known_to(side) != side->next)
		skip_hole(t, e, from, ns, known_to(side));
	side->hole_packets = 0;
}

/* Hands over all that waits, and tells what is missing. */
static void flush(struct streams *t, struct connection *e, int from, uint64_t ns)
{
	struct side *side = &e->side[from];

	while (side->first)
		skip_hole(t, e, from, ns, side->first->seq);
	if (side->fin && distance(side->fin_seq, side->next) > 0)
		skip_hole(t, e, from, ns, side->fin_seq);
	else if (known_to(side) != side->next)
		skip_hole(t, e, from, ns, known_to(side));
	tell_end(t, e, from, ns);
}

static int add_piece(struct streams *t, struct side *side, struct segment *before, uint32_t seq,
		     const unsigned char *data, uint32_t len, uint64_t ns)
{
	struct segment *piece = malloc(sizeof(*piece) + len), **link = before ? &before->next : &side->first;

	if (!piece)
		return -ENOMEM;
	*piece = (struct segment){.next = *link, .ns = ns, .seq = seq, .len = len};
	memcpy(piece->data, data, len);
	*link = piece;
	if (side->last == before)
		side->last = piece;
	side->npieces++;
	t->used += sizeof(*piece) + len;
	return 0;
}

/* How many bytes of a segment a piece that begins at or before it holds too. */
static uint32_t covered(struct streams *t, const struct segment *piece, uint32_t seq, const unsigned char *data,
			uint32_t len)
{
	uint32_t at = seq - piece->seq, both = piece->len - at;

	if (both > len)
		both = len;
	t->counts.overlapping++;
	if (memcmp(piece->data + at, data, both) != 0)
		t->counts.conflicting++;
	return both;
}

/* Puts what of a segment is not there yet between the pieces. What was heard first stays. */
static int insert(struct streams *t, struct side *side, uint32_t seq, const unsigned char *data, uint32_t len,
		  uint64_t ns)
{
	struct segment *before = side->last, *piece;
	uint32_t part;
	int err = 0;

	/* Most often it belongs behind all others */
	if (before && distance(before->seq, seq) > 0)
		for (before = NULL, piece = side->first; piece && distance(piece->seq, seq) <= 0; piece = piece->next)
			before = piece;
	while (len > 0 && err == 0) {
		if (before && distance(seq, before->seq + before->len) < 0) {
			part = covered(t, before, seq, data, len);
		} else {
			piece = before ? before->next : side->first;
			part = piece && piece->seq - seq < len ? piece->seq - seq : len;
			if (part > 0)
				err = add_piece(t, side, before, seq, data, part, ns);
			before = part > 0 ? (before ? before->next : side->first) : piece;
		}
		seq += part;
		data += part;
		len -= part;
		if (len > 0 && before && before->next && before->next->seq == seq)
			before = before->next;
	}
	return err;
}

static bool is_near(const struct side *side, uint32_t seq)
{
	int32_t ahead = distance(seq, side->next);

	return !side->synced || (ahead <= NEAR && ahead >= -NEAR);
}

static int take_data(struct streams *t, struct connection *e, int from, uint32_t seq, const struct packet *p,
		     uint64_t ns)
{
	struct side *side = &e->side[from];
	const unsigned char *data = p->payload;
	uint32_t len = p->payload_cap, old;
	int32_t ahead = distance(seq, side->next);
	int err;

	if (!is_near(side, seq)) {
		t->counts.outside++;
		return 0;
	}
	if (side->fin && distance(seq + len, side->fin_seq) > 0) /* nothing comes behind the end */
		len = distance(side->fin_seq, seq) > 0 ? side->fin_seq - seq : 0;
	if (ahead < 0 && len > 0) {
		old = (uint32_t)-ahead < len ? (uint32_t)-ahead : len;
		t->counts.retransmitted++;
		seq += old;
		data += old;
		len -= old;
	}
	if (len == 0)
		return 0;
	if (seq == side->next && !side->first) {
		deliver(t, e, from, ns, data, len);
		return 0;
	}
	if (seq != side->next)
		t->counts.out_of_order++;
	err = insert(t, side, seq, data, len, ns);
	drain(t, e, from);
	while (side->npieces > PIECES_MAX)
		skip_hole(t, e, from, ns, side->first->seq);
	return err;
}

/* ---- one connection ---- */

static void sync_to(struct side *side, uint32_t next)
{
	side->synced = true;
	side->next = next;
}

/* The other side has told what it has received. */
static void take_ack(struct side *side, uint32_t ack)
{
	if (!side->synced)
		sync_to(side, ack);
	if (distance(ack, side->next) <= 0 || distance(ack, side->next) > NEAR)
		return;
	if (!side->is_acked || distance(ack, side->acked) > 0)
		side->acked = ack;
	side->is_acked = true;
}

static void close_entry(struct streams *t, struct connection *e, uint64_t ns, enum stream_end why)
{
	for (int from = 0; from < 2; from++)
		flush(t, e, from, ns);
	t->ops->close(t->arg, &e->stream, ns, why);
	t->used -= e->held;
	e->held = 0;
	list_remove(&t->living, e);
	e->closed = true;
	list_add(&t->closed, e);
}

static int take_segment(struct streams *t, struct connection *e, int from, const struct packet *p, uint64_t ns)
{
	struct side *side = &e->side[from];
	uint32_t seq = p->seq;
	int err = 0;

	if (p->flags & TCP_SYN) {
		if (!side->synced)
			sync_to(side, seq + 1);
		side->began = true;
		side->first_seq = seq++;
	}
	if (!side->synced && (p->payload_len > 0 || p->flags & TCP_FIN))
		sync_to(side, seq);
	if (p->payload_cap > 0)
		err = take_data(t, e, from, seq, p, ns);
	else if (p->flags & TCP_PSH && p->payload_len == 0 && side->synced && seq == side->next && !side->first)
		t->ops->empty(t->arg, &e->stream, from, ns);
	if (p->flags & TCP_FIN && !side->fin && distance(seq + p->payload_len, side->next) >= 0 &&
	    distance(seq + p->payload_len, side->next) <= NEAR) {
		side->fin = true;
		side->fin_seq = seq + p->payload_len;
	}
	return err;
}

static int entry_packet(struct streams *t, struct connection *e, int from, const struct packet *p, uint64_t ns)
{
	int err;

	list_remove(&t->living, e);
	list_add(&t->living, e);
	if (p->flags & TCP_ACK && !(p->flags & TCP_RST))
		take_ack(&e->side[!from], p->ack);
	err = take_segment(t, e, from, p, ns);
	for (int i = 0; i < 2; i++) {
		give_up_acked(t, e, i, ns);
		tell_end(t, e, i, ns);
	}
	e->stream.reset_by = from;
	if (p->flags & TCP_RST && is_near(&e->side[from], p->seq))
		close_entry(t, e, ns, STREAM_RESET);
	else if (e->side[0].ended && e->side[1].ended)
		close_entry(t, e, ns, STREAM_FINISHED);
	return err;
}

/* Whether a SYN begins a new connection between ports that had one before. */
static bool begins_anew(const struct connection *e, int from, const struct packet *p)
{
	const struct side *side = &e->side[from];

	if ((p->flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
		return false;
	return side->began ? side->first_seq != p->seq : side->synced && side->next != p->seq + 1;
}

static void stay_within(struct streams *t, uint64_t ns)
{
	while ((t->used > t->max || t->closed.count > CLOSED_MAX) && t->closed.oldest)
		/* The oldest has none older, so freeing it makes another the oldest:
		 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		entry_free(t, t->closed.oldest);
	while (t->used > t->max && t->living.oldest) {
		t->counts.let_go++;
		close_entry(t, t->living.oldest, ns, STREAM_LET_GO);
		entry_free(t, t->closed.newest);
	}
}

int streams_packet(struct streams *t, const struct packet *p, uint64_t ns)
{
	struct key key;
	struct connection *e;
	bool flip;
	int err = 0;

	if (p->kind != PACKET_TCP || p->fragment)
		return 0;
	flip = key_of(p, &key);
	e = *slot_of(t, &key);
	if (e && begins_anew(e, flip != e->flipped, p)) {
		if (!e->closed)
			close_entry(t, e, ns, STREAM_REUSED);
		entry_free(t, e);
		e = NULL;
	}
	if (e && e->closed)
		return 0;
	/* What carries nothing begins nothing: the last words of a connection that has gone */
	if (!e && (p->flags & TCP_RST || !(p->flags & TCP_SYN || p->payload_len > 0)))
		return 0;
	if (!e && !(e = entry_new(t, p, &key, flip, ns)))
		return -ENOMEM;
	err = entry_packet(t, e, flip != e->flipped, p, ns);
	stay_within(t, ns);
	return err;
}

/* ---- all of them ---- */

int streams_new(struct streams **out, const struct stream_ops *ops, void *arg, size_t memory_max, uint64_t seed)
{
	struct streams *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	*t = (struct streams){.ops = ops, .arg = arg, .max = memory_max, .seed = seed, .nbuckets = 256};
	t->buckets = calloc(t->nbuckets, sizeof(struct connection *));
	if (!t->buckets) {
		free(t);
		return -ENOMEM;
	}
	*out = t;
	return 0;
}

void streams_hold(struct streams *t, struct stream *stream, size_t bytes)
{
	struct connection *e = (struct connection *)stream;

	t->used = t->used - e->held + bytes;
	e->held = bytes;
}

void streams_over(struct streams *t, uint64_t ns)
{
	while (t->living.oldest)
		close_entry(t, t->living.oldest, ns, STREAM_OVER);
}

const struct streams_counts *streams_counted(const struct streams *t)
{
	return &t->counts;
}

size_t streams_memory(const struct streams *t)
{
	return t->used;
}

static void pieces_free(struct side *side)
{
	for (struct segment *piece = side->first, *next; piece; piece = next) {
		next = piece->next;
		free(piece);
	}
}

void streams_free(struct streams *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->nbuckets; i++)
		for (struct connection *e = t->buckets[i], *next; e; e = next) {
			next = e->in_bucket;
			pieces_free(&e->side[0]);
			pieces_free(&e->side[1]);
			free(e);
		}
	free(t->buckets);
	free(t);
}
