/* Bytes that URLs write as %XX (RFC 3986, 2.1). */
#ifndef TENON_HTTP_PERCENT_H
#define TENON_HTTP_PERCENT_H

#include <stddef.h>
#include <string.h>

/* The value of a hexadecimal digit; -1: it is none. */
static inline int percent_digit(char c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)((at - digits) % 16) : -1;
}

/* The byte that the %XX at `text` stands for, of which `left` bytes are there; -1: no such stands there. */
static inline int percent_byte(const char *text, size_t left)
{
	int high = left > 2 && *text == '%' ? percent_digit(text[1]) : -1, low = high < 0 ? -1 : percent_digit(text[2]);

	return low < 0 ? -1 : high * 16 + low;
}

#endif
