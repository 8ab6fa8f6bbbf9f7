#include "codec/bytes.h"

#include <errno.h>
#include <stdlib.h>

int tni_bytes_grow(struct tni_bytes *b, size_t n)
{
	size_t cap = b->cap ? b->cap : 256;
	uint8_t *data;

	if (b->err)
		return b->err;
	if (n > SIZE_MAX / 2 - b->len)
		return b->err = -ENOMEM;
	while (cap - b->len < n)
		cap *= 2;
	data = realloc(b->data, cap);
	if (!data)
		return b->err = -ENOMEM;
	b->data = data;
	b->cap = cap;
	return 0;
}

void tni_bytes_free(struct tni_bytes *b)
{
	free(b->data);
	*b = (struct tni_bytes){0};
}
