/*
 * The bounded queue of slices: the heart of tenon. Bytes (or whole messages) stand in it in order, as pieces of
 * reference counted blocks. Moving, linking and consuming never copy; appending copies into the room behind the last
 * piece where it can.
 */
#ifndef TNI_BASE_BUF_H
#define TNI_BASE_BUF_H

#include "base/pool.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/uio.h>

struct tn_buf {
	struct tni_slice *head;
	struct tni_mem *mem;
	struct tni_slice *tail;
	uint32_t len;
	uint32_t max; /* hard: nothing is ever queued past it */
};

static inline void tni_buf_init(struct tn_buf *buf, struct tni_mem *mem, size_t max)
{
	*buf = (struct tn_buf){.mem = mem, .max = max < UINT32_MAX ? (uint32_t)max : UINT32_MAX};
}

/* A queue for as long as there is something to go through it. NULL without memory. It is given back empty. */
struct tn_buf *tni_buf_new(struct tni_mem *mem, size_t max);
void tni_buf_free(struct tn_buf *buf);

static inline size_t tni_buf_room(const struct tn_buf *buf)
{
	return buf->max > buf->len ? buf->max - buf->len : 0;
}

/* Whether tni_buf_link() of a piece that starts here would only make the last one longer. */
static inline bool tni_buf_goes_on(const struct tn_buf *buf, const struct tni_blk *blk, const unsigned char *data)
{
	const struct tni_slice *tail = buf->tail;

	return tail && tail->blk == blk && tail->data + tail->len == data && !tail->end;
}

/* Drops everything. */
void tni_buf_clear(struct tn_buf *buf);

/*
 * Copies bytes to the end, from one or several pieces. `end` marks them as the end of a message. All or nothing:
 * returns 0, -ENOBUFS when they would pass the maximum, -ENOMEM without memory.
 */
int tni_buf_appendv(struct tn_buf *buf, const struct iovec *iov, int count, bool end);
int tni_buf_append(struct tn_buf *buf, const void *data, size_t len, bool end);

/*
 * Links a piece of a block to the end without copying; takes a reference of its own. A piece that goes on where the
 * last one ends just makes that longer. Returns 0, -ENOBUFS or -ENOMEM.
 */
int tni_buf_link(struct tn_buf *buf, struct tni_blk *blk, unsigned char *data, size_t len, bool end);

/* Puts a slice that already holds its reference at the end. */
static inline void tni_buf_push(struct tn_buf *buf, struct tni_slice *slice)
{
	slice->next = NULL;
	if (buf->tail)
		buf->tail->next = slice;
	else
		buf->head = slice;
	buf->tail = slice;
	buf->len += slice->len;
}

/* The same with a reference that is handed over in every case, as a piece of its own. No maximum. */
static inline int tni_buf_hold(struct tn_buf *buf, struct tni_blk *blk, unsigned char *data, size_t len, bool end)
{
	struct tni_slice *slice = tni_slice_get(buf->mem);

	if (!slice) {
		tni_blk_unref(blk);
		return -ENOMEM;
	}
	*slice = (struct tni_slice){.blk = blk, .data = data, .len = (uint32_t)len, .end = end};
	tni_buf_push(buf, slice);
	return 0;
}

/* The same for a whole received block, whose reference is handed over in every case. No maximum:
 * it is there already. */
int tni_buf_give(struct tn_buf *buf, struct tni_blk *blk);

/* Lets go of a big block that holds little, by copying it to a small one: for what has to wait for its rest. */
void tni_buf_compact(struct tn_buf *buf);

/* Drops the first piece, which there must be. */
static inline void tni_buf_drop(struct tn_buf *buf)
{
	struct tni_slice *slice = buf->head, *next = slice->next;

	buf->head = next;
	if (!next)
		buf->tail = NULL;
	buf->len -= slice->len;
	tni_blk_unref(slice->blk);
	tni_slice_put(buf->mem, slice);
}

/* Drops `len` bytes (at most what there is) from the front. */
void tni_buf_consume(struct tn_buf *buf, size_t len);

/* Moves up to `len` bytes from the front of `from` to the end of `to`; message ends move along. Returns the bytes
 * moved (less when `to` is full), or -ENOMEM with nothing lost. */
long tni_buf_move(struct tn_buf *to, struct tn_buf *from, size_t len);

/* Makes the first `len` bytes lie in one piece. Returns the piece's start, or NULL: less than that is there, or no
 * memory. Copies only when they span pieces; ends of messages inside them are forgotten then. */
unsigned char *tni_buf_pullup(struct tn_buf *buf, size_t len);

/*
 * The same, for those who will ask for more of it when more has come: there is room for as much again, and what lies in
 * one piece already is not copied while there is. So all the calls for one message copy each byte a few times at most.
 */
unsigned char *tni_buf_gather(struct tn_buf *buf, size_t len);

/* The same as tni_buf_pullup(), for those who ask for every message: nearly always it lies in one piece already. */
static inline unsigned char *tni_buf_front(struct tn_buf *buf, size_t len)
{
	return buf->head && buf->head->len >= len ? buf->head->data : tni_buf_pullup(buf, len);
}

/* Bytes of the first message, up to its end; of all there is where that has not come. `mark`, if not NULL: how its end
 * is marked (struct tni_slice); 0: it has not come. */
size_t tni_buf_message(const struct tn_buf *buf, uint32_t *mark);

/* Finds the first byte `c` at or after offset `from`. Returns its offset, or -1. */
long tni_buf_find(const struct tn_buf *buf, int c, size_t from);

/* Finds the first place at or after offset `from` where these bytes (one or more) stand. Returns its offset, or -1. */
long tni_buf_search(const struct tn_buf *buf, const void *bytes, size_t len, size_t from);

/* Describes the front of the queue for sendmsg(2). Returns the number of entries; `total` gets their bytes. */
int tni_buf_iov(const struct tn_buf *buf, struct iovec *iov, int max, size_t *total);

#endif
