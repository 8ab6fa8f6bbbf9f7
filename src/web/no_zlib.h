/* What stands for web/press.c in a build without zlib, where no two ends agree upon compression: none is reached. */
#ifndef TNI_WEB_NO_ZLIB_H
#define TNI_WEB_NO_ZLIB_H

#include <errno.h>

static inline int tni_deflate(struct tni_deflater *d, struct tn_buf *in, size_t len, bool last, struct tn_buf *out)
{
	(void)d, (void)in, (void)len, (void)last, (void)out;
	return -EOPNOTSUPP;
}

static inline int tni_inflate(struct tni_inflater *d, const unsigned char *data, size_t len, size_t *taken,
			      struct tn_buf *out, size_t max)
{
	(void)d, (void)data, (void)len, (void)out, (void)max;
	*taken = 0;
	return -EOPNOTSUPP;
}

static inline bool tni_inflate_is_whole(const struct tni_inflater *d)
{
	(void)d;
	return true;
}

static inline void tni_deflate_rest(struct tni_deflater *d)
{
	(void)d;
}

static inline void tni_inflate_rest(struct tni_inflater *d)
{
	(void)d;
}

static inline void tni_deflate_free(struct tni_deflater *d)
{
	(void)d;
}

static inline void tni_inflate_free(struct tni_inflater *d)
{
	(void)d;
}

#endif
