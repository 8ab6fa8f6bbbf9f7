#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* They come and go with every message, and are of a slice's size. A slice that is out has a block (pool.c). */
union cell {
	struct tni_slice slice;
	struct tn_buf buf;
};

static_assert(sizeof(union cell) == sizeof(struct tni_slice), "a queue fits where a slice does");
static_assert(offsetof(struct tn_buf, mem) == offsetof(struct tni_slice, blk), "one that is out has a pool there");

struct tn_buf *tni_buf_new(struct tni_mem *mem, size_t max)
{
	union cell *cell = (union cell *)tni_slice_get(mem);

	if (!cell)
		return NULL;
	tni_buf_init(&cell->buf, mem, max);
	return &cell->buf;
}

void tni_buf_free(struct tn_buf *buf)
{
	if (buf)
		tni_slice_put(buf->mem, &((union cell *)buf)->slice);
}

void tni_buf_clear(struct tn_buf *buf)
{
	while (buf->head)
		tni_buf_drop(buf);
}

/* Room behind the last slice that nobody else can have written to: the slice must end where the block's use ends. */
static size_t tail_room(const struct tn_buf *buf)
{
	const struct tni_slice *tail = buf->tail;

	if (!tail || tail->end || tail->data + tail->len != tail->blk->data + tail->blk->used)
		return 0;
	return tail->blk->cap - tail->blk->used;
}

static struct tni_slice *new_slice(struct tn_buf *buf, struct tni_blk *blk, unsigned char *data, size_t len, bool end)
{
	struct tni_slice *slice = tni_slice_get(buf->mem);

	if (slice)
		*slice = (struct tni_slice){.blk = blk, .data = data, .len = (uint32_t)len, .end = end};
	return slice;
}

/* The tail's block has more room than tail_room() tells when the tail ends a message: messages share a block. */
static struct tni_blk *block_for(struct tn_buf *buf, size_t len, size_t first)
{
	struct tni_slice *tail = buf->tail;
	struct tni_mem *mem = buf->mem;

	if (tail && !first && !tail->blk->shared && tail->blk->cap - tail->blk->used >= len)
		return tni_blk_ref(tail->blk);
	/* Also behind a short message that is shared: a second one must not take a big block. */
	if (len <= mem->small.cap && (buf->len == 0 || (tail->blk->shared && buf->len <= mem->small.cap)))
		return tni_blk_get(&mem->small);
	if (len <= mem->large.cap)
		return tni_blk_get(&mem->large);
	return tni_blk_new(len);
}

/* Walks through pieces while their bytes are copied to two places. */
struct cursor {
	const struct iovec *iov;
	size_t at;
};

static void copy_in(struct cursor *from, unsigned char *out, size_t len)
{
	while (len) {
		/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): the pieces hold at least `len` */
		size_t part = from->iov->iov_len - from->at;

		if (part > len)
			part = len;
		if (part)
			memcpy(out, (const unsigned char *)from->iov->iov_base + from->at, part);
		out += part;
		len -= part;
		from->at += part;
		if (from->at == from->iov->iov_len) {
			from->iov++;
			from->at = 0;
		}
	}
}

static void grow_tail(struct tn_buf *buf, struct cursor *from, size_t len)
{
	copy_in(from, buf->tail->data + buf->tail->len, len);
	buf->tail->blk->used += (uint32_t)len;
	buf->tail->len += (uint32_t)len;
	buf->len += (uint32_t)len;
}

/* Nothing of it goes on where the last piece ends: nearly all that is put into an empty queue. */
static int append_apart(struct tn_buf *buf, const struct iovec *iov, int count, size_t len, bool end)
{
	struct tni_blk *blk = block_for(buf, len, 0);
	unsigned char *at;

	if (!blk)
		return -ENOMEM;
	at = blk->data + blk->used;
	if (tni_buf_hold(buf, blk, at, len, end) < 0)
		return -ENOMEM;
	blk->used += (uint32_t)len;
	for (const struct iovec *piece = iov; piece < iov + count; at += piece->iov_len, piece++)
		if (piece->iov_len)
			memcpy(at, piece->iov_base, piece->iov_len);
	return 0;
}

static int append_behind(struct tn_buf *buf, const struct iovec *iov, size_t len, size_t first, bool end)
{
	struct cursor from = {.iov = iov};
	struct tni_slice *slice = NULL;
	struct tni_blk *blk;

	if (first > len)
		first = len;
	if (end && !len && buf->tail && !buf->tail->end) {
		buf->tail->end = 1;
		return 0;
	}
	if (len > first || (end && !first)) {
		/* What may fail comes first, so that it is all or nothing. */
		blk = block_for(buf, len - first, first);
		if (!blk)
			return -ENOMEM;
		slice = new_slice(buf, blk, blk->data + blk->used, len - first, end);
		if (!slice) {
			tni_blk_unref(blk);
			return -ENOMEM;
		}
		blk->used += (uint32_t)(len - first);
	}
	if (first)
		grow_tail(buf, &from, first);
	if (slice) {
		copy_in(&from, slice->data, slice->len);
		tni_buf_push(buf, slice);
	} else if (end) {
		buf->tail->end = 1;
	}
	return 0;
}

int tni_buf_appendv(struct tn_buf *buf, const struct iovec *iov, int count, bool end)
{
	size_t first = tail_room(buf), len = count ? iov->iov_len : 0;

	for (int i = 1; i < count; i++)
		len += iov[i].iov_len;
	if (len > tni_buf_room(buf))
		return -ENOBUFS;
	return first || !len ? append_behind(buf, iov, len, first, end) : append_apart(buf, iov, count, len, end);
}

int tni_buf_append(struct tn_buf *buf, const void *data, size_t len, bool end)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	return tni_buf_appendv(buf, &iov, 1, end);
}

int tni_buf_link(struct tn_buf *buf, struct tni_blk *blk, unsigned char *data, size_t len, bool end)
{
	struct tni_slice *slice;

	if (len > tni_buf_room(buf))
		return -ENOBUFS;
	if (tni_buf_goes_on(buf, blk, data)) {
		buf->tail->len += (uint32_t)len;
		buf->tail->end = end;
		buf->len += (uint32_t)len;
		return 0;
	}
	slice = new_slice(buf, blk, data, len, end);
	if (!slice)
		return -ENOMEM;
	tni_blk_ref(blk);
	tni_buf_push(buf, slice);
	return 0;
}

int tni_buf_give(struct tn_buf *buf, struct tni_blk *blk)
{
	return tni_buf_hold(buf, blk, blk->data, blk->used, false);
}

void tni_buf_compact(struct tn_buf *buf)
{
	struct tni_slice *slice = buf->head;
	struct tni_mem *mem = buf->mem;
	struct tni_blk *blk;

	if (!slice || slice->next || slice->blk->cap <= mem->small.cap || slice->len > mem->small.cap / 2)
		return;
	blk = tni_blk_get(&mem->small);
	if (!blk)
		return;
	memcpy(blk->data, slice->data, slice->len);
	blk->used = slice->len;
	tni_blk_unref(slice->blk);
	slice->blk = blk;
	slice->data = blk->data;
}

void tni_buf_consume(struct tn_buf *buf, size_t len)
{
	struct tni_slice *head;

	/* An empty message goes with a call of its own, not with the bytes in front of it. */
	while ((head = buf->head) && len >= head->len) {
		len -= head->len;
		tni_buf_drop(buf);
		if (!len)
			return;
	}
	if (head && len) {
		head->data += len;
		head->len -= (uint32_t)len;
		buf->len -= (uint32_t)len;
	}
}

long tni_buf_move(struct tn_buf *to, struct tn_buf *from, size_t len)
{
	size_t moved = 0;

	if (len > tni_buf_room(to))
		len = tni_buf_room(to);
	while (from->head && moved < len) {
		struct tni_slice *slice = from->head;

		if (slice->len > len - moved) {
			size_t part = len - moved;
			int rc = tni_buf_link(to, slice->blk, slice->data, part, false);

			if (rc < 0)
				return moved ? (long)moved : rc;
			tni_buf_consume(from, part);
			return (long)len;
		}
		from->head = slice->next;
		if (!from->head)
			from->tail = NULL;
		from->len -= slice->len;
		moved += slice->len;
		tni_buf_push(to, slice);
	}
	return (long)moved;
}

/* Copies the front; returns the mark of the message that ends exactly there, or 0. */
static uint32_t copy_out(const struct tn_buf *buf, unsigned char *out, size_t len)
{
	const struct tni_slice *s = buf->head;

	for (;; s = s->next) {
		size_t part = s->len < len ? s->len : len;

		memcpy(out, s->data, part);
		out += part;
		len -= part;
		if (!len)
			return part == s->len ? s->end : 0;
	}
}

/* Copies the first bytes, which do not lie in one piece, to a block with room for `cap`. */
static unsigned char *pull_into(struct tn_buf *buf, size_t len, size_t cap)
{
	struct tni_slice *slice;
	struct tni_blk *blk;

	blk = cap <= buf->mem->large.cap ? tni_blk_get(&buf->mem->large) : tni_blk_new(cap);
	if (!blk)
		return NULL;
	slice = new_slice(buf, blk, blk->data, len, false);
	if (!slice) {
		tni_blk_unref(blk);
		return NULL;
	}
	slice->end = copy_out(buf, blk->data, len);
	blk->used = (uint32_t)len;
	tni_buf_consume(buf, len);
	slice->next = buf->head;
	buf->head = slice;
	if (!buf->tail)
		buf->tail = slice;
	buf->len += (uint32_t)len;
	return slice->data;
}

unsigned char *tni_buf_pullup(struct tn_buf *buf, size_t len)
{
	if (buf->len < len || !buf->head)
		return NULL;
	return buf->head->len >= len ? buf->head->data : pull_into(buf, len, len);
}

/* Room behind the first piece that nobody else can have written to. As tail_room(). */
static size_t head_room(const struct tn_buf *buf)
{
	const struct tni_slice *head = buf->head;

	if (head->end || head->data + head->len != head->blk->data + head->blk->used)
		return 0;
	return head->blk->cap - head->blk->used;
}

unsigned char *tni_buf_gather(struct tn_buf *buf, size_t len)
{
	struct tni_slice *head = buf->head;
	size_t more;

	if (buf->len < len || !head)
		return NULL;
	if (head->len >= len)
		return head->data;
	more = len - head->len;
	if (head_room(buf) < more)
		return pull_into(buf, len, 2 * len);
	/* What follows the head is a queue of its own for a moment. */
	buf->head = head->next;
	buf->len -= head->len;
	head->end = copy_out(buf, head->data + head->len, more);
	tni_buf_consume(buf, more);
	head->next = buf->head;
	head->len = (uint32_t)len;
	head->blk->used += (uint32_t)more;
	buf->head = head;
	if (!buf->tail)
		buf->tail = head;
	buf->len += (uint32_t)len;
	return head->data;
}

size_t tni_buf_message(const struct tn_buf *buf, uint32_t *mark)
{
	const struct tni_slice *s = buf->head;
	size_t len = 0;

	for (; s && !s->end; s = s->next)
		len += s->len;
	if (mark)
		*mark = s ? s->end : 0;
	return s ? len + s->len : len;
}

long tni_buf_find(const struct tn_buf *buf, int c, size_t from)
{
	size_t base = 0;

	for (const struct tni_slice *s = buf->head; s; base += s->len, s = s->next) {
		size_t skip = from > base ? from - base : 0;
		const unsigned char *hit;

		if (skip >= s->len)
			continue;
		hit = memchr(s->data + skip, c, s->len - skip);
		if (hit)
			return (long)(base + (size_t)(hit - s->data));
	}
	return -1;
}

/* The first byte alone is looked for until it deceives: memchr() is the faster, and memmem() never slow. */
static const unsigned char *search_piece(const unsigned char *data, size_t len, const unsigned char *bytes, size_t n)
{
	const unsigned char *hit;

	if (len < n)
		return NULL;
	hit = memchr(data, bytes[0], len - n + 1);
	if (!hit || !memcmp(hit, bytes, n))
		return hit;
	return memmem(hit + 1, len - (size_t)(hit + 1 - data), bytes, n);
}

/* Whether the bytes stand at an offset of a piece, from where they go on into the pieces behind it. */
static bool stands_at(const struct tni_slice *s, size_t at, const unsigned char *bytes, size_t n)
{
	for (; s; s = s->next, at = 0) {
		size_t part = s->len - at < n ? s->len - at : n;

		if (part && memcmp(s->data + at, bytes, part) != 0)
			return false;
		bytes += part;
		n -= part;
		if (!n)
			return true;
	}
	return false;
}

long tni_buf_search(const struct tn_buf *buf, const void *bytes, size_t len, size_t from)
{
	size_t base = 0;

	for (const struct tni_slice *s = buf->head; s; base += s->len, s = s->next) {
		size_t skip = from > base ? from - base : 0;
		const unsigned char *hit;

		if (skip >= s->len)
			continue;
		hit = search_piece(s->data + skip, s->len - skip, bytes, len);
		if (hit)
			return (long)(base + (size_t)(hit - s->data));
		if (s->len >= len && s->len - len + 1 > skip)
			skip = s->len - len + 1;
		for (; skip < s->len; skip++) /* over the end of the piece */
			if (stands_at(s, skip, bytes, len))
				return (long)(base + skip);
	}
	return -1;
}

int tni_buf_iov(const struct tn_buf *buf, struct iovec *iov, int max, size_t *total)
{
	int n = 0;

	*total = 0;
	for (const struct tni_slice *s = buf->head; s && n < max; s = s->next) {
		iov[n++] = (struct iovec){.iov_base = s->data, .iov_len = s->len};
		*total += s->len;
	}
	return n;
}
