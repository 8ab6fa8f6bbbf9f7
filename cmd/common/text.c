#include "text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"

static bool text_room(struct text *text, size_t more)
{
	size_t cap = text->cap ? text->cap : 256;
	char *grown;

	if (text->failed || more <= text->cap - text->len)
		return !text->failed;
	while (cap - text->len < more)
		cap *= 2;
	grown = realloc(text->data, cap);
	text->failed = !grown;
	if (grown) {
		text->data = grown;
		text->cap = cap;
	}
	return grown;
}

void text_bytes(struct text *text, const void *data, size_t len)
{
	if (len == 0 || !text_room(text, len))
		return;
	memcpy(text->data + text->len, data, len);
	text->len += len;
}

void text_vadd(struct text *text, const char *fmt, va_list ap)
{
	va_list again;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0 || !text_room(text, (size_t)len + 1))
		return;
	vsnprintf(text->data + text->len, (size_t)len + 1, fmt, ap);
	text->len += (size_t)len;
}

void text_add(struct text *text, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text_vadd(text, fmt, ap);
	va_end(ap);
}

void text_time(struct text *text, uint64_t utc_ns)
{
	uint64_t ms = utc_ns / NS_PER_MS;
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;
	char when[32];

	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	text_add(text, "%s.%03uZ", when, (unsigned)(ms % 1000));
}

void text_free(struct text *text)
{
	free(text->data);
	*text = (struct text){0};
}

size_t text_utf8(const unsigned char *s, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xf8 ? 0 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
	uint32_t point;

	if (len <= 1 || len > left)
		return len <= 1 ? len : 0;
	point = s[0] & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (s[i] & 0x3f);
	}
	return point < least[len] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : len;
}

/* One that a terminal takes for a command: C0, DEL, and C1 (U+0080 to U+009F). */
static bool is_control(const unsigned char *s, size_t len)
{
	return len == 1 ? s[0] < ' ' || s[0] == 0x7f : len == 2 && s[0] == 0xc2 && s[1] < 0xa0;
}

void text_clean(struct text *text, const char *said)
{
	if (said)
		text_clean_bytes(text, said, strlen(said));
}

void text_clean_bytes(struct text *text, const void *said, size_t left)
{
	const unsigned char *s = said;
	size_t len;

	for (; left; s += len, left -= len) {
		len = text_utf8(s, left);
		if (len && !is_control(s, len)) {
			text_bytes(text, s, len);
			continue;
		}
		len = len ? len : 1;
		for (size_t i = 0; i < len; i++)
			text_add(text, "\\x%02x", s[i]);
	}
}
