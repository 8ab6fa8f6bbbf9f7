#include "gzip.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tenon.h"

#ifdef TNI_HAVE_ZLIB
#include <zlib.h>

#define ROOM 65536
#define GZIP_BITS (15 + 16) /* the largest window, and gzip's header */
#define MEMORY_LEVEL 8      /* zlib's default */

bool gzip_is_there(void)
{
	return true;
}

/* ---- writing ---- */

struct gzip {
	z_stream z;
	capfile_write_fn *write;
	void *arg;
	bool unflushed;
	unsigned char out[ROOM];
};

int gzip_new(struct gzip **out, capfile_write_fn *write, void *arg)
{
	struct gzip *gzip = calloc(1, sizeof(*gzip));

	*out = gzip;
	if (!gzip)
		return -ENOMEM;
	gzip->write = write;
	gzip->arg = arg;
	/* The fastest: packets do not wait while it is done */
	if (deflateInit2(&gzip->z, Z_BEST_SPEED, Z_DEFLATED, GZIP_BITS, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK)
		return 0;
	free(gzip);
	*out = NULL;
	return -ENOMEM;
}

static int press(struct gzip *gzip, const void *data, size_t len, int how)
{
	int err = 0;

	gzip->z.next_in = (z_const Bytef *)data;
	gzip->z.avail_in = (uInt)len;
	do {
		gzip->z.next_out = gzip->out;
		gzip->z.avail_out = ROOM;
		(void)deflate(&gzip->z, how); /* there is always room, so it has nothing to refuse */
		if (gzip->z.avail_out < ROOM)
			err = gzip->write(gzip->arg, gzip->out, ROOM - gzip->z.avail_out);
	} while (err == 0 && gzip->z.avail_out == 0);
	return err;
}

int gzip_write(struct gzip *gzip, const void *data, size_t len)
{
	gzip->unflushed = true;
	return press(gzip, data, len, Z_NO_FLUSH);
}

int gzip_flush(struct gzip *gzip)
{
	if (!gzip->unflushed)
		return 0;
	gzip->unflushed = false;
	return press(gzip, NULL, 0, Z_SYNC_FLUSH);
}

int gzip_end(struct gzip *gzip)
{
	return press(gzip, NULL, 0, Z_FINISH);
}

void gzip_free(struct gzip *gzip)
{
	if (gzip)
		deflateEnd(&gzip->z);
	free(gzip);
}

/* ---- reading ---- */

struct gunzip {
	z_stream z;
	capfile_read_fn *read;
	void *arg;
	bool packed, known, between; /* between: one member has ended, and another may begin (cat a.gz b.gz) */
	size_t at, len;              /* of `in`, where it is not packed */
	unsigned char in[ROOM];
};

int gunzip_new(struct gunzip **out, capfile_read_fn *read, void *arg)
{
	struct gunzip *gunzip = calloc(1, sizeof(*gunzip));

	*out = gunzip;
	if (!gunzip)
		return -ENOMEM;
	gunzip->read = read;
	gunzip->arg = arg;
	if (inflateInit2(&gunzip->z, GZIP_BITS) == Z_OK)
		return 0;
	free(gunzip);
	*out = NULL;
	return -ENOMEM;
}

void gunzip_free(struct gunzip *gunzip)
{
	if (gunzip)
		inflateEnd(&gunzip->z);
	free(gunzip);
}

/* Its first two bytes say what it is. */
static long look(struct gunzip *g)
{
	while (g->len < 2) {
		long got = g->read(g->arg, g->in + g->len, ROOM - g->len);

		if (got < 0)
			return got;
		if (got == 0)
			break;
		g->len += (size_t)got;
	}
	g->known = true;
	g->packed = g->len >= 2 && g->in[0] == 0x1f && g->in[1] == 0x8b;
	g->z.next_in = g->in;
	g->z.avail_in = (uInt)g->len;
	return 0;
}

static long read_plain(struct gunzip *g, void *buf, size_t len)
{
	size_t part = g->len - g->at < len ? g->len - g->at : len;

	if (!part)
		return g->read(g->arg, buf, len);
	memcpy(buf, g->in + g->at, part);
	g->at += part;
	return (long)part;
}

/* More to inflate. 1; 0: there is none; < 0. */
static long refill(struct gunzip *g)
{
	long got = g->read(g->arg, g->in, ROOM);

	if (got <= 0)
		return got;
	g->z.next_in = g->in;
	g->z.avail_in = (uInt)got;
	return 1;
}

static long read_packed(struct gunzip *g, void *buf, size_t len)
{
	g->z.next_out = buf;
	g->z.avail_out = (uInt)(len < ROOM ? len : ROOM);
	for (uInt room = g->z.avail_out;;) {
		long got = g->z.avail_in ? 1 : refill(g);
		int rc;

		if (got <= 0)
			return got < 0 || g->between ? got : TN_ETRUNC;
		if (g->between && inflateReset(&g->z) != Z_OK)
			return TN_EFORMAT;
		g->between = false;
		rc = inflate(&g->z, Z_NO_FLUSH);
		g->between = rc == Z_STREAM_END;
		if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
			return rc == Z_MEM_ERROR ? -ENOMEM : TN_EFORMAT;
		if (g->z.avail_out < room)
			return (long)(room - g->z.avail_out);
	}
}

long gunzip_read(void *arg, void *buf, size_t len)
{
	struct gunzip *g = arg;
	long err = g->known ? 0 : look(g);

	if (err < 0)
		return err;
	return g->packed ? read_packed(g, buf, len) : read_plain(g, buf, len);
}

#else

bool gzip_is_there(void)
{
	return false;
}

int gzip_new(struct gzip **out, capfile_write_fn *write, void *arg)
{
	(void)write, (void)arg;
	*out = NULL;
	return -ENOSYS;
}

int gzip_write(struct gzip *gzip, const void *data, size_t len)
{
	(void)gzip, (void)data, (void)len;
	return -ENOSYS;
}

int gzip_flush(struct gzip *gzip)
{
	(void)gzip;
	return -ENOSYS;
}

int gzip_end(struct gzip *gzip)
{
	(void)gzip;
	return -ENOSYS;
}

void gzip_free(struct gzip *gzip)
{
	(void)gzip;
}

struct gunzip {
	capfile_read_fn *read;
	void *arg;
};

int gunzip_new(struct gunzip **out, capfile_read_fn *read, void *arg)
{
	struct gunzip *gunzip = calloc(1, sizeof(*gunzip));

	*out = gunzip;
	if (!gunzip)
		return -ENOMEM;
	gunzip->read = read;
	gunzip->arg = arg;
	return 0;
}

void gunzip_free(struct gunzip *gunzip)
{
	free(gunzip);
}

long gunzip_read(void *arg, void *buf, size_t len)
{
	struct gunzip *g = arg;

	return g->read(g->arg, buf, len);
}

#endif
