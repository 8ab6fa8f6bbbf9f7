/*
 * A reference model of struct tn_buf, and a driver that plays the same operations on both and compares them after each.
 * test_base_buf.c draws the operations from a seed, fuzz/fuzz_buf.c from the fuzzer's bytes.
 *
 * The model is a flat array of bytes with the places where messages end. An end belongs to the byte before it and goes
 * with that byte, or it stands for a message without bytes and goes alone.
 *
 * The includer defines MODEL_CHECK(condition), which does not return when the condition is false.
 */
#ifndef TESTS_UNIT_BUF_MODEL_H
#define TESTS_UNIT_BUF_MODEL_H

#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_CAP ((size_t)512 * 1024)
#define MODEL_ENDS_MAX 2048
#define WORLD_BUFS 3
#define WORLD_HELD 8
#define HELD_COPY 256

struct model_end {
	size_t at;
	bool empty; /* a message without bytes */
};

struct model {
	unsigned char bytes[MODEL_CAP];
	size_t len;
	struct model_end ends[MODEL_ENDS_MAX];
	size_t nends;
};

/* A reference as tn_msg has one: what it shows must never change. */
struct held {
	struct tni_blk *blk;
	const unsigned char *data;
	size_t len;
	unsigned char copy[HELD_COPY];
};

struct world {
	struct tni_mem mem;
	struct tn_buf bufs[WORLD_BUFS];
	struct model models[WORLD_BUFS];
	struct held held[WORLD_HELD];
	uint64_t bytes_seed;
	/* Makes the n-th allocation from now and all later ones fail; -1: none. NULL where that cannot be done. */
	void (*fail_from)(int n);
	bool failing;
};

/* Where the driver's choices come from: bytes, or a seed when `data` is NULL. */
struct source {
	const unsigned char *data;
	size_t left;
	uint64_t seed;
};

static unsigned char model_scratch[MODEL_CAP];

/* splitmix64: any seed will do, 0 as well. */
static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* A number below `bound`; always 0 once the bytes are used up. */
static size_t pick(struct source *src, size_t bound)
{
	size_t value = 0;

	if (!src->data)
		return (size_t)(next_random(&src->seed) % bound);
	for (size_t reach = 1; reach < bound && src->left; reach <<= 8, src->left--)
		value = value << 8 | *src->data++;
	return value % bound;
}

/* Short mostly; now and then around the sizes of the blocks, where the edges are. */
static size_t pick_len(const struct world *w, struct source *src)
{
	size_t small = w->mem.small.cap, large = w->mem.large.cap;

	switch (pick(src, 16)) {
	case 0:
		return 0;
	case 1:
		return small - 4 + pick(src, 8);
	case 2:
		return large - 4 + pick(src, 8);
	case 3:
		return pick(src, large + large / 4);
	case 4:
	case 5:
	case 6:
		return pick(src, small + small / 4);
	default:
		return pick(src, small < 512 ? small / 8 : 64);
	}
}

static void fill(struct world *w, unsigned char *out, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = next_random(&w->bytes_seed);

		memcpy(out + i, &word, len - i < 8 ? len - i : 8);
	}
}

/* ---- the model ---- */

static bool model_is_open(const struct model *m)
{
	return m->len && (!m->nends || m->ends[m->nends - 1].at != m->len);
}

static void model_append(struct model *m, const unsigned char *data, size_t len, bool end)
{
	bool empty = end && !len && !model_is_open(m);

	MODEL_CHECK(m->len + len <= MODEL_CAP && m->nends < MODEL_ENDS_MAX);
	if (len)
		memcpy(m->bytes + m->len, data, len);
	m->len += len;
	if (end)
		m->ends[m->nends++] = (struct model_end){.at = m->len, .empty = empty};
}

/* How many ends go when the first `len` bytes do. */
static size_t model_ends_within(const struct model *m, size_t len)
{
	size_t n = 0;

	while (n < m->nends && (m->ends[n].at < len || (m->ends[n].at == len && !m->ends[n].empty)))
		n++;
	return n;
}

static size_t model_ends_up_to(const struct model *m, size_t len)
{
	size_t n = 0;

	while (n < m->nends && m->ends[n].at <= len)
		n++;
	return n;
}

static void model_drop_ends(struct model *m, size_t nends)
{
	m->nends -= nends;
	memmove(m->ends, m->ends + nends, m->nends * sizeof(m->ends[0]));
}

static void model_cut(struct model *m, size_t len, size_t nends)
{
	model_drop_ends(m, nends);
	m->len -= len;
	memmove(m->bytes, m->bytes + len, m->len);
	for (size_t i = 0; i < m->nends; i++)
		m->ends[i].at -= len;
}

static void model_consume(struct model *m, size_t len)
{
	if (len > m->len)
		model_cut(m, m->len, m->nends);
	else if (len)
		model_cut(m, len, model_ends_within(m, len));
	else if (m->nends && m->ends[0].at == 0)
		model_cut(m, 0, 1); /* nothing of a message without bytes is left once its nothing is consumed */
}

/* `wanted`: what was asked for and has room. When less than that moved, the empty messages in front moved as well. */
static void model_move(struct model *to, struct model *from, size_t moved, size_t wanted)
{
	size_t nends = moved < wanted ? model_ends_up_to(from, moved) : wanted ? model_ends_within(from, moved) : 0;

	MODEL_CHECK(to->len + moved <= MODEL_CAP && to->nends + nends <= MODEL_ENDS_MAX);
	for (size_t i = 0; i < nends; i++)
		to->ends[to->nends++] =
			(struct model_end){.at = to->len + from->ends[i].at, .empty = from->ends[i].empty};
	memcpy(to->bytes + to->len, from->bytes, moved);
	to->len += moved;
	model_cut(from, moved, nends);
}

static long model_find(const struct model *m, int c, size_t from)
{
	for (size_t i = from; i < m->len; i++)
		if (m->bytes[i] == c)
			return (long)i;
	return -1;
}

/* ---- comparing ---- */

static void check_slice(const struct tni_slice *s)
{
	const struct tni_blk *blk = s->blk;

	MODEL_CHECK(blk->refs > 0);
	MODEL_CHECK(blk->used <= blk->cap);
	MODEL_CHECK(s->data >= blk->data && s->data + s->len <= blk->data + blk->used);
	MODEL_CHECK(s->len || s->end); /* a piece that says nothing would be taken for a message */
}

static void check_buf(const struct tn_buf *buf, const struct model *m)
{
	const struct tni_slice *last = NULL;
	size_t at = 0, ends = 0;

	MODEL_CHECK(buf->len == m->len);
	for (const struct tni_slice *s = buf->head; s; last = s, s = s->next) {
		check_slice(s);
		MODEL_CHECK(s->len <= m->len - at);
		MODEL_CHECK(memcmp(s->data, m->bytes + at, s->len) == 0);
		at += s->len;
		if (!s->end)
			continue;
		MODEL_CHECK(ends < m->nends);
		MODEL_CHECK(m->ends[ends].at == at && m->ends[ends].empty == (s->len == 0));
		ends++;
	}
	MODEL_CHECK(buf->tail == last);
	MODEL_CHECK(at == m->len);
	MODEL_CHECK(ends == m->nends);
}

static void check_world(const struct world *w)
{
	for (int i = 0; i < WORLD_BUFS; i++)
		check_buf(&w->bufs[i], &w->models[i]);
	for (int i = 0; i < WORLD_HELD; i++)
		MODEL_CHECK(!w->held[i].blk || !memcmp(w->held[i].data, w->held[i].copy, w->held[i].len));
}

struct reference {
	struct tni_blk *blk;
};

static int by_block(const void *a, const void *b)
{
	const struct reference *x = a, *y = b;

	return x->blk < y->blk ? -1 : x->blk > y->blk;
}

/* Lists every reference there is. */
static size_t list_references(const struct world *w, struct reference *refs, size_t cap)
{
	size_t n = 0;

	for (int i = 0; i < WORLD_BUFS; i++)
		for (const struct tni_slice *s = w->bufs[i].head; s; s = s->next) {
			MODEL_CHECK(n < cap);
			refs[n++].blk = s->blk;
		}
	MODEL_CHECK(n == w->mem.nslices_out);
	for (int i = 0; i < WORLD_HELD; i++)
		if (w->held[i].blk && n < cap)
			refs[n++].blk = w->held[i].blk;
	return n;
}

static void check_pool(const struct tni_pool *pool, uint32_t nout)
{
	uint32_t nfree = 0;

	for (const struct tni_blk *blk = pool->free; blk; blk = blk->next)
		nfree++;
	MODEL_CHECK(nfree == pool->nfree);
	MODEL_CHECK(nout == pool->nout);
}

/* Every reference is counted and every block that is out is referred to. */
static void audit_world(const struct world *w)
{
	static struct reference refs[64 * 1024];
	size_t n = list_references(w, refs, sizeof(refs) / sizeof(refs[0]));
	uint32_t nsmall = 0, nlarge = 0, count;

	qsort(refs, n, sizeof(refs[0]), by_block);
	for (size_t i = 0; i < n; i += count) {
		const struct tni_blk *blk = refs[i].blk;

		for (count = 1; i + count < n && refs[i + count].blk == blk; count++)
			;
		MODEL_CHECK(blk->refs == count);
		nsmall += blk->home == &w->mem.small.home;
		nlarge += blk->home == &w->mem.large.home;
	}
	check_pool(&w->mem.small, nsmall);
	check_pool(&w->mem.large, nlarge);
}

/* ---- operations ---- */

static bool may_append(const struct world *w, int i, size_t len)
{
	return w->models[i].len + len <= MODEL_CAP && w->models[i].nends < MODEL_ENDS_MAX / WORLD_BUFS;
}

/* Nothing, when more was given to the buffer than its maximum. */
static size_t model_room(const struct world *w, int i)
{
	return w->bufs[i].max > w->models[i].len ? w->bufs[i].max - w->models[i].len : 0;
}

/* The model follows when the call says that it worked; it may fail for want of room, and of memory if there is none. */
static bool succeeded(const struct world *w, int i, size_t len, int rc)
{
	if (len > model_room(w, i)) {
		MODEL_CHECK(rc == -ENOBUFS);
		return false;
	}
	MODEL_CHECK(rc == 0 || (rc == -ENOMEM && w->failing));
	return rc == 0;
}

static void do_append(struct world *w, struct source *src, int i)
{
	size_t len = pick_len(w, src);
	bool end = pick(src, 3) == 0;

	if (!may_append(w, i, len))
		return;
	fill(w, model_scratch, len);
	if (succeeded(w, i, len, tni_buf_append(&w->bufs[i], model_scratch, len, end)))
		model_append(&w->models[i], model_scratch, len, end);
}

static void do_appendv(struct world *w, struct source *src, int i)
{
	int count = (int)pick(src, 5);
	bool end = pick(src, 3) == 0;
	struct iovec iov[4] = {0};
	size_t len = 0;

	for (int k = 0; k < count; k++) {
		/* A piece without bytes need not have an address. */
		iov[k].iov_len = pick_len(w, src);
		iov[k].iov_base = iov[k].iov_len ? model_scratch + len : NULL;
		len += iov[k].iov_len;
	}
	if (!may_append(w, i, len))
		return;
	fill(w, model_scratch, len);
	if (succeeded(w, i, len, tni_buf_appendv(&w->bufs[i], iov, count, end)))
		model_append(&w->models[i], model_scratch, len, end);
}

/* Some slice with bytes of some buffer. */
static const struct tni_slice *pick_slice(struct world *w, struct source *src)
{
	const struct tni_slice *s = w->bufs[pick(src, WORLD_BUFS)].head;

	for (size_t skip = pick(src, 8); s && s->next && skip; skip--)
		s = s->next;
	return s && s->len ? s : NULL;
}

static void do_link(struct world *w, struct source *src, int i)
{
	const struct tni_slice *s = pick_slice(w, src);
	struct tni_blk *blk;
	size_t from, len;
	bool end;
	int rc;

	if (!s)
		return;
	blk = s->blk;
	from = pick(src, 2) ? pick(src, s->len) : 0;
	len = pick(src, 2) ? s->len - from : 1 + pick(src, s->len - from);
	end = pick(src, 3) == 0;
	if (!may_append(w, i, len))
		return;
	memcpy(model_scratch, s->data + from, len);
	rc = tni_buf_link(&w->bufs[i], blk, s->data + from, len, end);
	if (succeeded(w, i, len, rc))
		model_append(&w->models[i], model_scratch, len, end);
}

static struct tni_blk *pick_block(struct world *w, struct source *src)
{
	switch (pick(src, 3)) {
	case 0:
		return tni_blk_get(&w->mem.small);
	case 1:
		return tni_blk_get(&w->mem.large);
	default:
		return tni_blk_new(1 + pick(src, 300));
	}
}

static void do_give(struct world *w, struct source *src, int i)
{
	struct tni_blk *blk = pick_block(w, src);
	size_t len;

	if (!blk) {
		MODEL_CHECK(w->failing);
		return;
	}
	len = 1 + pick(src, pick(src, 2) ? blk->cap : (blk->cap < 64 ? blk->cap : 64));
	if (!may_append(w, i, len)) {
		tni_blk_unref(blk);
		return;
	}
	fill(w, blk->data, len);
	memcpy(model_scratch, blk->data, len);
	blk->used = (uint32_t)len;
	if (tni_buf_give(&w->bufs[i], blk) == 0)
		model_append(&w->models[i], model_scratch, len, false);
	else
		MODEL_CHECK(w->failing);
}

static size_t pick_part(struct world *w, struct source *src, int i)
{
	size_t len = w->models[i].len;

	switch (pick(src, 4)) {
	case 0:
		return len;
	case 1:
		return w->bufs[i].head ? w->bufs[i].head->len : 0;
	case 2:
		return pick(src, len + 2); /* one more than there is, too */
	default:
		return pick(src, 40);
	}
}

static void do_consume(struct world *w, struct source *src, int i)
{
	size_t len = pick_part(w, src, i);

	tni_buf_consume(&w->bufs[i], len);
	model_consume(&w->models[i], len);
}

static void do_move(struct world *w, struct source *src, int i)
{
	int k = (i + 1 + (int)pick(src, WORLD_BUFS - 1)) % WORLD_BUFS;
	struct model *to = &w->models[i], *from = &w->models[k];
	size_t wanted = pick(src, 4) ? pick_part(w, src, k) : SIZE_MAX, room, expected;
	long moved;

	if (to->len + from->len > MODEL_CAP || to->nends + from->nends > MODEL_ENDS_MAX)
		return;
	room = model_room(w, i);
	moved = tni_buf_move(&w->bufs[i], &w->bufs[k], wanted);
	if (wanted > room)
		wanted = room;
	expected = wanted < from->len ? wanted : from->len;
	MODEL_CHECK(moved == (long)expected ||
		    (w->failing && (moved == -ENOMEM || (moved > 0 && moved < (long)expected))));
	model_move(to, from, moved < 0 ? 0 : (size_t)moved, wanted);
}

static void do_pullup(struct world *w, struct source *src, int i)
{
	size_t len = pick_part(w, src, i);
	struct model *m = &w->models[i];
	bool had_head = w->bufs[i].head;
	const unsigned char *piece = tni_buf_pullup(&w->bufs[i], len);
	size_t inside = 0;

	if (len > m->len || !had_head) {
		MODEL_CHECK(!piece);
		return;
	}
	if (!piece) {
		MODEL_CHECK(w->failing);
		return;
	}
	MODEL_CHECK(piece == w->bufs[i].head->data && w->bufs[i].head->len >= len);
	/* One piece cannot say that a message ends inside it: those ends are lost, the one right behind it is not. */
	while (inside < m->nends && m->ends[inside].at < len)
		inside++;
	model_drop_ends(m, inside);
}

static void do_find(struct world *w, struct source *src, int i)
{
	int c = (int)pick(src, 256);
	size_t from = pick_part(w, src, i);

	MODEL_CHECK(tni_buf_find(&w->bufs[i], c, from) == model_find(&w->models[i], c, from));
}

static void do_iov(struct world *w, struct source *src, int i)
{
	int max = (int)pick(src, 12), n;
	size_t total = 1, at = 0;
	struct iovec iov[12];

	n = tni_buf_iov(&w->bufs[i], iov, max, &total);
	MODEL_CHECK(n >= 0 && n <= max);
	for (int k = 0; k < n; k++) {
		MODEL_CHECK(iov[k].iov_len <= w->models[i].len - at);
		MODEL_CHECK(memcmp(iov[k].iov_base, w->models[i].bytes + at, iov[k].iov_len) == 0);
		at += iov[k].iov_len;
	}
	MODEL_CHECK(at == total);
	MODEL_CHECK(n == max || total == w->models[i].len);
}

/* Takes and drops references the way a message that is forwarded later does. */
static void do_hold(struct world *w, struct source *src, int i)
{
	struct held *h = &w->held[pick(src, WORLD_HELD)];
	const struct tni_slice *s = pick_slice(w, src);

	(void)i;
	if (h->blk)
		tni_blk_unref(h->blk);
	h->blk = NULL;
	if (!s)
		return;
	h->blk = tni_blk_ref(s->blk);
	h->len = s->len < HELD_COPY ? s->len : HELD_COPY;
	/* The end of the piece, because that is where an appender comes nearest. */
	h->data = s->data + s->len - h->len;
	memcpy(h->copy, h->data, h->len);
}

static void do_compact(struct world *w, struct source *src, int i)
{
	const struct tni_slice *head = w->bufs[i].head;
	bool little = head && !head->next && head->len <= w->mem.small.cap / 2;

	(void)src;
	tni_buf_compact(&w->bufs[i]);
	if (little && !w->failing)
		MODEL_CHECK(w->bufs[i].head->blk->cap <= w->mem.small.cap);
}

static void do_clear(struct world *w, struct source *src, int i)
{
	/* Rarely, so that queues become long. */
	if (pick(src, 16))
		return;
	tni_buf_clear(&w->bufs[i]);
	w->models[i].len = w->models[i].nends = 0;
}

static void do_something(struct world *w, struct source *src)
{
	static void (*const operations[])(struct world *, struct source *, int) = {
		do_append, do_append, do_append, do_append,  do_appendv, do_appendv, do_link,    do_link,
		do_link,   do_give,   do_give,   do_consume, do_consume, do_consume, do_move,    do_move,
		do_pullup, do_pullup, do_find,   do_iov,     do_hold,    do_hold,    do_compact, do_clear,
	};
	int i = (int)pick(src, WORLD_BUFS);

	operations[pick(src, sizeof(operations) / sizeof(operations[0]))](w, src, i);
}

/* ---- without memory ---- */

/* What the pools keep in reserve: put aside while allocations are to fail, or they would hardly ever be asked for. */
struct reserve {
	struct tni_blk *small, *large;
	uint32_t nsmall, nlarge;
	struct tni_slice *slices;
};

static struct reserve hide_reserve(struct tni_mem *mem)
{
	struct reserve r = {mem->small.free, mem->large.free, mem->small.nfree, mem->large.nfree, mem->slices};

	mem->small.free = mem->large.free = NULL;
	mem->small.nfree = mem->large.nfree = 0;
	mem->slices = NULL;
	mem->grown = true; /* nothing is trimmed while some of it is hidden */
	return r;
}

static void return_blocks(struct tni_pool *pool, struct tni_blk *blks, uint32_t n)
{
	struct tni_blk **last = &pool->free;

	while (*last)
		last = &(*last)->next;
	*last = blks;
	pool->nfree += n;
}

static void return_reserve(struct tni_mem *mem, const struct reserve *r)
{
	struct tni_slice **last = &mem->slices;

	while (*last)
		last = &(*last)->next;
	*last = r->slices;
	mem->grown = false;
	return_blocks(&mem->small, r->small, r->nsmall);
	return_blocks(&mem->large, r->large, r->nlarge);
}

/* ---- driving ---- */

/* The blocks may be made smaller than they are in earnest, for more edges in less time. */
static void world_open(struct world *w, uint32_t small_cap, uint32_t large_cap)
{
	size_t max[WORLD_BUFS] = {3 * (size_t)large_cap, large_cap / 4, small_cap / 8};

	tni_mem_init(&w->mem);
	w->mem.small.cap = small_cap;
	w->mem.large.cap = large_cap;
	for (int i = 0; i < WORLD_BUFS; i++) {
		tni_buf_init(&w->bufs[i], &w->mem, max[i]);
		w->models[i].len = w->models[i].nends = 0;
	}
	memset(w->held, 0, sizeof(w->held));
	w->bytes_seed = 0;
	w->failing = false;
}

static void world_step(struct world *w, struct source *src)
{
	struct reserve reserve = {0};

	w->failing = w->fail_from && pick(src, 6) == 0;
	if (w->failing) {
		reserve = hide_reserve(&w->mem);
		w->fail_from((int)pick(src, 3));
	}
	do_something(w, src);
	if (w->failing) {
		w->fail_from(-1);
		return_reserve(&w->mem, &reserve);
	}
	check_world(w);
}

static void world_close(struct world *w)
{
	for (int i = 0; i < WORLD_BUFS; i++)
		tni_buf_clear(&w->bufs[i]);
	for (int i = 0; i < WORLD_HELD; i++)
		if (w->held[i].blk)
			tni_blk_unref(w->held[i].blk);
	MODEL_CHECK(w->mem.nslices_out == 0);
	MODEL_CHECK(w->mem.small.nout == 0);
	MODEL_CHECK(w->mem.large.nout == 0);
	tni_mem_free(&w->mem);
}

#endif
