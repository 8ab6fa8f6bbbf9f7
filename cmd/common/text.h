/* A text that grows. */
#ifndef TENON_TEXT_H
#define TENON_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Without memory it stays as it is, and `failed` is set. */
struct text {
	char *data;
	size_t len, cap;
	bool failed;
};

void text_add(struct text *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_vadd(struct text *text, const char *fmt, va_list ap);
void text_bytes(struct text *text, const void *data, size_t len);

/* Adds a peer's text so that a terminal can show it: control characters and bytes that are not UTF-8 become \xff.
 * NULL: nothing. */
void text_clean(struct text *text, const char *said);
void text_clean_bytes(struct text *text, const void *said, size_t len);
/* A time of day: 2026-01-31T12:34:56.789Z. Since 1970. */
void text_time(struct text *text, uint64_t utc_ns);
void text_free(struct text *text);

/* The length of the UTF-8 sequence that begins here; 0: none does. */
size_t text_utf8(const unsigned char *s, size_t left);

#endif
