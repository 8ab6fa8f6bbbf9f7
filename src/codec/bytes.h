/* A growable run of bytes: what every encoder writes into. */
#ifndef TNI_CODEC_BYTES_H
#define TNI_CODEC_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* All zero is an empty run. The first failure to grow is kept in `err`, and every later call does nothing, so a
 * writer may check once, at its end. */
struct tni_bytes {
	uint8_t *data;
	size_t len;
	size_t cap;
	int err;
};

/* Makes room for `n` more bytes when there is less. Returns 0, or -ENOMEM, which stays in `err`. */
int tni_bytes_grow(struct tni_bytes *b, size_t n);

/* Frees the memory and leaves an empty run, its error forgotten. */
void tni_bytes_free(struct tni_bytes *b);

/* At least `n` writable bytes after the last one, or NULL. Whoever fills them adds to `len`. */
static inline uint8_t *tni_bytes_room(struct tni_bytes *b, size_t n)
{
	if ((b->err || b->cap - b->len < n) && tni_bytes_grow(b, n) < 0)
		return NULL;
	return b->data + b->len;
}

/* Copies `n` bytes to the end. */
static inline void tni_bytes_append(struct tni_bytes *b, const void *data, size_t n)
{
	uint8_t *to = n ? tni_bytes_room(b, n) : NULL;

	if (!to)
		return;
	memcpy(to, data, n);
	b->len += n;
}

static inline void tni_bytes_put(struct tni_bytes *b, uint8_t byte)
{
	uint8_t *to = tni_bytes_room(b, 1);

	if (!to)
		return;
	*to = byte;
	b->len++;
}

/* Appends a text known at compile time. */
#define tni_bytes_literal(b, text) tni_bytes_append((b), (text), sizeof(text) - 1)

#endif
