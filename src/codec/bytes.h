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

#define TNI_SHORT 32

/* memcpy() of at most TNI_SHORT bytes, which keys and texts in messages mostly are: two loads that overlap cost less
 * than a call. */
static inline void tni_copy_short(void *to, const void *from, size_t n)
{
	struct {
		uint64_t half[2];
	} head16, tail16;
	uint64_t head, tail;
	char *t = to;
	const char *f = from;

	if (n > 16) {
		memcpy(&head16, f, 16);
		memcpy(&tail16, f + n - 16, 16);
		memcpy(t, &head16, 16);
		memcpy(t + n - 16, &tail16, 16);
	} else if (n >= 8) {
		memcpy(&head, f, 8);
		memcpy(&tail, f + n - 8, 8);
		memcpy(t, &head, 8);
		memcpy(t + n - 8, &tail, 8);
	} else if (n >= 4) {
		memcpy(&head, f, 4);
		memcpy(&tail, f + n - 4, 4);
		memcpy(t, &head, 4);
		memcpy(t + n - 4, &tail, 4);
	} else if (n) {
		t[0] = f[0];
		t[n / 2] = f[n / 2];
		t[n - 1] = f[n - 1];
	}
}

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
