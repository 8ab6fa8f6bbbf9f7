/* UTF-8 (RFC 3629): no overlong form, no surrogate, nothing above U+10FFFF. */
#ifndef TNI_BASE_UTF8_H
#define TNI_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes the character that begins at `p` has, of `left` (at least 1) that are there; 0: none begins there. */
size_t tni_utf8_size(const void *p, size_t left);

/* The position of the first byte that does not begin or continue a character, or `len` when all is well. A character
 * cut short is reported at its first byte. */
size_t tni_utf8_check(const void *data, size_t len);

/* Of a text that comes in pieces: the beginning of a character whose rest has not come. All zero at first. */
struct tni_utf8_part {
	unsigned char len, bytes[3];
};

/* Whether the text may go on with these bytes. When it ends, `part->len` must be 0. */
bool tni_utf8_goes_on(struct tni_utf8_part *part, const void *data, size_t len);

/* Writes the character `code` (a Unicode scalar value) to `to`, which holds 4 bytes. Returns how many it took. */
size_t tni_utf8_put(char *to, uint32_t code);

/* Reads one character of a text known to be valid at `*p`, and moves `*p` past it. */
uint32_t tni_utf8_get(const char **p);

#endif
