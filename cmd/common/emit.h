/* Numbers and addresses as text, where there are millions of them: each writes at `p` and returns what is behind it. */
#ifndef TENON_EMIT_H
#define TENON_EMIT_H

#include <stdint.h>
#include <string.h>

#define EMIT(p, literal) ((char *)mempcpy(p, "" literal, sizeof(literal) - 1)) /* "": nothing but a literal will do */

static inline char *emit_text(char *p, const char *text)
{
	size_t len = strlen(text);

	memcpy(p, text, len);
	return p + len;
}

static inline char *emit_2(char *p, unsigned n)
{
	p[0] = (char)('0' + n / 10);
	p[1] = (char)('0' + n % 10);
	return p + 2;
}

static inline char *emit_number(char *p, uint64_t n)
{
	char digits[20], *d = digits + sizeof(digits);

	do
		*--d = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	memcpy(p, d, (size_t)(digits + sizeof(digits) - d));
	return p + (digits + sizeof(digits) - d);
}

/* With zeros in front, `width` digits. */
static inline char *emit_padded(char *p, uint32_t n, unsigned width)
{
	for (unsigned i = width; i-- > 0; n /= 10)
		p[i] = (char)('0' + n % 10);
	return p + width;
}

static inline char *emit_hex(char *p, uint32_t n, unsigned width)
{
	for (unsigned i = width; i-- > 0; n >>= 4)
		p[i] = "0123456789abcdef"[n & 15];
	return p + width;
}

static inline char *emit_byte(char *p, unsigned n)
{
	if (n >= 100) {
		*p++ = (char)('0' + n / 100);
		return emit_2(p, n % 100);
	}
	if (n >= 10)
		return emit_2(p, n);
	*p++ = (char)('0' + n);
	return p;
}

static inline char *emit_ip4(char *p, const unsigned char *addr)
{
	for (int i = 0; i < 4; i++) {
		p = emit_byte(p, addr[i]);
		*p++ = '.';
	}
	return p - 1;
}

static inline char *emit_mac(char *p, const unsigned char *addr)
{
	for (int i = 0; i < 6; i++) {
		p = emit_hex(p, addr[i], 2);
		*p++ = ':';
	}
	return p - 1;
}

/* RFC 5952 */
char *emit_ip6(char *p, const unsigned char *addr);

#endif
