/* web/deflate.h: compressors and decompressors (zlib). */
#include "web/deflate.h"

#include "base/err.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define BITS_MAX 15
#define BITS_MIN \
	9 /* zlib's least. Such a compressor looks back by 512 - 262 bytes: a window of 8 bits holds them, too */
#define TAIL_LEN 4

/* ---- compressors that go round ---- */

struct tni_press {
	z_stream z;
	int bits; /* of a compressor; 0: it decompresses */
};

/* A thread keeps one of each sort for whoever needs it next, until it ends. */
static _Thread_local struct shelf {
	struct tni_press *idle[BITS_MAX + 1];
	bool known; /* to the key whose destructor empties it */
} shelf;

static pthread_key_t shelf_key;
static pthread_once_t shelf_once = PTHREAD_ONCE_INIT;
static bool has_key;

static void press_free(struct tni_press *press)
{
	if (!press)
		return;
	if (press->bits)
		deflateEnd(&press->z);
	else
		inflateEnd(&press->z);
	free(press);
}

static void shelf_empty(void *arg)
{
	struct shelf *own = arg;

	for (int i = 0; i <= BITS_MAX; i++)
		press_free(own->idle[i]);
}

static void make_key(void)
{
	has_key = pthread_key_create(&shelf_key, shelf_empty) == 0;
}

/* Whether what is put there is freed with the thread. */
static bool may_keep(void)
{
	pthread_once(&shelf_once, make_key);
	if (!shelf.known)
		shelf.known = has_key && pthread_setspecific(shelf_key, &shelf) == 0;
	return shelf.known;
}

static struct tni_press *press_get(int bits)
{
	struct tni_press *press = shelf.idle[bits];
	int rc;

	if (press) {
		shelf.idle[bits] = NULL;
		return press;
	}
	press = calloc(1, sizeof(*press));
	if (!press)
		return NULL;
	press->bits = bits;
	rc = bits ? deflateInit2(&press->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -bits, 8, Z_DEFAULT_STRATEGY)
		  : inflateInit2(&press->z, -BITS_MAX);
	if (rc == Z_OK)
		return press;
	free(press);
	return NULL;
}

/* Forgets what it knows of the last message. */
static void press_put(struct tni_press *press)
{
	if (!may_keep() || shelf.idle[press->bits] ||
	    (press->bits ? deflateReset(&press->z) : inflateReset(&press->z)) != Z_OK)
		press_free(press);
	else
		shelf.idle[press->bits] = press;
}

static void let_go(struct tni_press **press)
{
	if (*press)
		press_put(*press);
	*press = NULL;
}

void tni_deflate_rest(struct tni_deflater *d)
{
	if (d->fresh)
		let_go(&d->press);
}

void tni_inflate_rest(struct tni_inflater *d)
{
	if (d->fresh)
		let_go(&d->press);
}

void tni_deflate_free(struct tni_deflater *d)
{
	let_go(&d->press);
}

void tni_inflate_free(struct tni_inflater *d)
{
	let_go(&d->press);
}

/* ---- bytes ---- */

static int no_memory(void)
{
	return tni_err(-ENOMEM, "out of memory");
}

/* Where zlib writes next. */
static struct tni_blk *open_block(z_stream *z, struct tn_buf *out, size_t wanted)
{
	struct tni_blk *blk = tni_blk_get(wanted <= out->mem->small.cap ? &out->mem->small : &out->mem->large);

	if (blk) {
		z->next_out = blk->data;
		z->avail_out = blk->cap < wanted ? blk->cap : (uInt)wanted;
	}
	return blk;
}

static int close_block(z_stream *z, struct tni_blk *blk, struct tn_buf *out)
{
	int rc;

	blk->used = (uint32_t)(z->next_out - blk->data);
	z->next_out = NULL;
	z->avail_out = 0;
	if (blk->used && out->head && blk->used <= 1024) { /* small ones share a block */
		rc = tni_buf_append(out, blk->data, blk->used, false);
		tni_blk_unref(blk);
		return rc;
	}
	if (blk->used)
		return tni_buf_give(out, blk);
	tni_blk_unref(blk);
	return 0;
}

/* Compresses what zlib has been given until it has no more to say. */
static int press_out(z_stream *z, int flush, struct tn_buf *out)
{
	bool more = true;

	while (more) {
		struct tni_blk *blk = open_block(z, out, z->avail_in + z->avail_in / 8 + 64);

		if (!blk)
			return no_memory();
		if (deflate(z, flush) == Z_STREAM_ERROR) {
			tni_blk_unref(blk);
			return no_memory();
		}
		more = z->avail_out == 0;
		if (close_block(z, blk, out) < 0)
			return no_memory();
	}
	return 0;
}

static void drop_tail(struct tn_buf *out, size_t len)
{
	struct tn_buf kept;

	tni_buf_init(&kept, out->mem, SIZE_MAX);
	(void)tni_buf_move(&kept, out, out->len - len);
	tni_buf_clear(out);
	*out = kept;
}

int tni_deflate(struct tni_deflater *d, struct tn_buf *in, size_t len, bool last, struct tn_buf *out)
{
	z_stream *z;
	int rc = 0;

	if (!d->press && !(d->press = press_get(!d->bits ? BITS_MAX : d->bits < BITS_MIN ? BITS_MIN : d->bits)))
		return no_memory();
	z = &d->press->z;
	while (rc == 0 && len) {
		size_t n = in->head->len < len ? in->head->len : len;

		z->next_in = in->head->data;
		z->avail_in = (uInt)n;
		rc = press_out(z, Z_NO_FLUSH, out);
		len -= n;
		tni_buf_consume(in, n);
	}
	if (rc < 0 || !last)
		return rc;
	rc = press_out(z, Z_SYNC_FLUSH, out);
	if (rc == 0)
		drop_tail(out, TAIL_LEN);
	return rc;
}

int tni_inflate(struct tni_inflater *d, const unsigned char *data, size_t len, size_t *taken, struct tn_buf *out,
		size_t max)
{
	z_stream *z;
	int rc = Z_OK;

	*taken = 0;
	if (!d->press && !(d->press = press_get(0)))
		return no_memory();
	z = &d->press->z;
	z->next_in = (unsigned char *)(uintptr_t)data;
	z->avail_in = (uInt)len;
	while (rc == Z_OK && out->len < max) {
		struct tni_blk *blk = open_block(z, out, max - out->len < 4 * len ? max - out->len : 4 * len + 64);

		if (!blk)
			return no_memory();
		rc = inflate(z, Z_SYNC_FLUSH);
		if (rc == Z_STREAM_END)           /* a block that says that it is the last: RFC 7692 7.2.3.5 */
			rc = inflateResetKeep(z); /* what came before it is still referred to */
		if (z->avail_out && !z->avail_in && rc == Z_OK)
			rc = Z_BUF_ERROR; /* nothing is left */
		if (close_block(z, blk, out) < 0)
			return no_memory();
	}
	*taken = len - z->avail_in;
	z->next_in = NULL;
	if (rc == Z_BUF_ERROR)
		return 0;
	return rc == Z_OK          ? 1
	       : rc == Z_MEM_ERROR ? no_memory()
				   : tni_err(TN_EFORMAT, "a message is not compressed well");
}

/* zlib.h: 128 is added at the end of a block, and the rest counts bits of a byte that are left. */
bool tni_inflate_is_whole(const struct tni_inflater *d)
{
	return d->press && d->press->z.data_type == 128;
}
