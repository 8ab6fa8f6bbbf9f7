#include "base/utf8.h"

#include <string.h>

#define HIGH_BITS 0x8080808080808080u

/* Plain ASCII is nearly everything that passes here, so it is stepped over a whole word at a time. */
static size_t skip_ascii(const uint8_t *p, size_t at, size_t len)
{
	uint64_t word[4];

	while (len - at >= sizeof word) {
		memcpy(word, p + at, sizeof word);
		if ((word[0] | word[1] | word[2] | word[3]) & HIGH_BITS)
			break;
		at += sizeof word;
	}
	while (len - at >= sizeof word[0]) {
		memcpy(word, p + at, sizeof word[0]);
		if (word[0] & HIGH_BITS)
			break;
		at += sizeof word[0];
	}
	while (at < len && p[at] < 0x80)
		at++;
	return at;
}

static int is_tail(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

/* The same for one that is not ASCII. The second byte's range is what excludes overlong forms,
 * surrogates and the far end. */
static size_t char_size(const uint8_t *p, size_t left)
{
	uint8_t lead = p[0];

	if (lead < 0xc2)
		return 0;
	if (lead < 0xe0)
		return left >= 2 && is_tail(p[1]) ? 2 : 0;
	if (lead < 0xf0) {
		uint8_t low = lead == 0xe0 ? 0xa0 : 0x80;
		uint8_t high = lead == 0xed ? 0x9f : 0xbf;

		return left >= 3 && p[1] >= low && p[1] <= high && is_tail(p[2]) ? 3 : 0;
	}
	if (lead < 0xf5) {
		uint8_t low = lead == 0xf0 ? 0x90 : 0x80;
		uint8_t high = lead == 0xf4 ? 0x8f : 0xbf;

		return left >= 4 && p[1] >= low && p[1] <= high && is_tail(p[2]) && is_tail(p[3]) ? 4 : 0;
	}
	return 0;
}

size_t tni_utf8_size(const void *p, size_t left)
{
	return *(const uint8_t *)p < 0x80 ? 1 : char_size(p, left);
}

size_t tni_utf8_check(const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t at = 0;

	while (at < len) {
		size_t size;

		if (p[at] < 0x80) {
			at = skip_ascii(p, at, len);
			continue;
		}
		size = char_size(p + at, len - at);
		if (!size)
			break;
		at += size;
	}
	return at;
}

/* Whether bytes that are no character can still become one. */
static bool can_become_char(const unsigned char *p, size_t len)
{
	static const unsigned char tails[] = {0x80, 0x90, 0xa0, 0xbf};
	unsigned char whole[4];

	/* The second byte decides about overlong forms and surrogates; all that follow are alike. */
	for (size_t i = 0; i < sizeof(tails) && len < 4; i++) {
		memset(whole, 0x80, sizeof(whole));
		memcpy(whole, p, len);
		if (len == 1)
			whole[1] = tails[i];
		if (tni_utf8_size(whole, sizeof(whole)) > len)
			return true;
	}
	return false;
}

bool tni_utf8_goes_on(struct tni_utf8_part *part, const void *data, size_t len)
{
	const unsigned char *p = data;
	unsigned char whole[4];
	size_t at;

	while (part->len && len) {
		memcpy(whole, part->bytes, part->len);
		whole[part->len] = *p++;
		len--;
		if (tni_utf8_size(whole, part->len + 1U)) {
			part->len = 0;
		} else if (part->len < 3 && can_become_char(whole, part->len + 1U)) {
			part->bytes[part->len] = whole[part->len];
			part->len++;
		} else {
			return false;
		}
	}
	at = tni_utf8_check(p, len);
	if (at == len)
		return true;
	if (len - at > 3 || !can_become_char(p + at, len - at))
		return false;
	part->len = (unsigned char)(len - at);
	memcpy(part->bytes, p + at, part->len);
	return true;
}

size_t tni_utf8_put(char *to, uint32_t code)
{
	if (code < 0x80) {
		to[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		to[0] = (char)(0xc0 | code >> 6);
		to[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		to[0] = (char)(0xe0 | code >> 12);
		to[1] = (char)(0x80 | (code >> 6 & 0x3f));
		to[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | code >> 18);
	to[1] = (char)(0x80 | (code >> 12 & 0x3f));
	to[2] = (char)(0x80 | (code >> 6 & 0x3f));
	to[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

uint32_t tni_utf8_get(const char **at)
{
	const uint8_t *p = (const uint8_t *)*at;
	uint32_t code = p[0];
	size_t tail = code < 0x80 ? 0 : code < 0xe0 ? 1 : code < 0xf0 ? 2 : 3;

	if (tail)
		code &= 0x3fu >> tail;
	for (size_t i = 1; i <= tail; i++)
		code = code << 6 | (p[i] & 0x3f);
	*at += tail + 1;
	return code;
}
