#include "json.h"

#include <math.h>
#include <string.h>

#include "clock.h"
#include "output.h"
#include "settings.h"

typedef void (*tap_fn)(const char *line, size_t len);

static void json_escape(struct text *text, unsigned char c)
{
	static const char letters[] = "\"\"\\\\\nn\rr\tt\bb\ff";
	const char *at = c ? strchr(letters, c) : NULL;

	/* The letters that name an escape stand at odd places and are never escaped themselves */
	if (at && (at - letters) % 2 == 0)
		text_add(text, "\\%c", at[1]);
	else
		text_add(text, "\\u%04x", c >= 0x80 ? 0xfffdU : c);
}

void json_string(struct text *text, const void *data, size_t len)
{
	const unsigned char *s = data;
	size_t plain = 0, i = 0;

	text_bytes(text, "\"", 1);
	while (i < len) {
		size_t step = text_utf8(s + i, len - i);

		if (step > 1 || (step == 1 && s[i] >= ' ' && s[i] != '"' && s[i] != '\\' && s[i] != 0x7f)) {
			i += step;
			continue;
		}
		text_bytes(text, s + plain, i - plain);
		json_escape(text, s[i]);
		plain = ++i;
	}
	text_bytes(text, s + plain, len - plain);
	text_bytes(text, "\"", 1);
}

void json_key(struct text *text, const char *key)
{
	char last = text->len > 0 ? text->data[text->len - 1] : '{';

	if (last != '{' && last != '[')
		text_bytes(text, ",", 1);
	if (!key)
		return;
	json_string(text, key, strlen(key));
	text_bytes(text, ":", 1);
}

void json_begin(struct text *text, const char *event)
{
	text_bytes(text, "{", 1);
	if (event)
		json_text(text, "event", event);
}

static _Atomic(tap_fn) taps[JSON_TAPS];
static _Atomic(bool) tapped; /* ever */

void json_tap(enum json_tap who, tap_fn fn)
{
	tapped |= fn != NULL;
	taps[who] = fn;
}

bool json_is_wanted(void)
{
	bool wanted = settings.json;

	for (int i = 0; i < JSON_TAPS && !wanted; i++)
		wanted = taps[i] != NULL;
	return wanted;
}

void json_line(struct text *text)
{
	text_bytes(text, "}", 1);
	for (int i = 0; i < JSON_TAPS; i++) {
		tap_fn fn = taps[i];

		if (fn && !text->failed)
			fn(text->data, text->len);
	}
	if (settings.json || !tapped)
		out_line(text);
	else
		text_free(text);
}

void json_text(struct text *text, const char *key, const char *value)
{
	json_key(text, key);
	if (value)
		json_string(text, value, strlen(value));
	else
		text_add(text, "null");
}

static bool is_utf8(const void *data, size_t len)
{
	const unsigned char *s = data;
	size_t step = 1;

	for (size_t i = 0; i < len && step; i += step)
		step = text_utf8(s + i, len - i);
	return step;
}

static void text_base64(struct text *text, const unsigned char *data, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		uint32_t bits = (uint32_t)data[i] << 16;
		char four[4];

		if (i + 1 < len)
			bits |= (uint32_t)data[i + 1] << 8;
		if (i + 2 < len)
			bits |= data[i + 2];
		for (int n = 0; n < 4; n++)
			four[n] = digits[bits >> (18 - 6 * n) & 63];
		for (size_t n = len - i + 1; n < 4; n++)
			four[n] = '=';
		text_bytes(text, four, 4);
	}
}

void json_bytes(struct text *text, const char *key, const void *data, size_t len)
{
	json_key(text, key);
	json_string(text, data, len);
	if (is_utf8(data, len))
		return;
	text_add(text, ",\"%s_base64\":\"", key);
	text_base64(text, data, len);
	text_bytes(text, "\"", 1);
}

void json_null(struct text *text, const char *key)
{
	json_key(text, key);
	text_add(text, "null");
}

void json_bool(struct text *text, const char *key, bool value)
{
	json_key(text, key);
	text_add(text, value ? "true" : "false");
}

void json_number(struct text *text, const char *key, uint64_t value)
{
	json_key(text, key);
	text_add(text, "%llu", (unsigned long long)value);
}

void json_signed(struct text *text, const char *key, int64_t value)
{
	json_key(text, key);
	text_add(text, "%lld", (long long)value);
}

void json_signed_or_null(struct text *text, const char *key, bool known, int64_t value)
{
	if (known)
		json_signed(text, key, value);
	else
		json_null(text, key);
}

void json_real(struct text *text, const char *key, double value)
{
	if (!isfinite(value)) {
		json_null(text, key);
		return;
	}
	json_key(text, key);
	text_add(text, "%.10g", value);
}

void json_share(struct text *text, const char *key, double value)
{
	json_key(text, key);
	text_add(text, "%.6f", value);
}

void json_ms(struct text *text, const char *key, uint64_t ns)
{
	json_key(text, key);
	text_add(text, "%llu.%03llu", (unsigned long long)(ns / 1000000), (unsigned long long)(ns / 1000 % 1000));
}

void json_time_at(struct text *text, const char *key, uint64_t utc_ns)
{
	json_key(text, key);
	text_bytes(text, "\"", 1);
	text_time(text, utc_ns);
	text_bytes(text, "\"", 1);
}

void json_time(struct text *text, const char *key)
{
	json_time_at(text, key, clock_utc_ns());
}

void json_list(struct text *text, const char *key)
{
	json_key(text, key);
	text_bytes(text, "[", 1);
}

void json_list_end(struct text *text)
{
	text_bytes(text, "]", 1);
}

void json_object(struct text *text, const char *key)
{
	json_key(text, key);
	text_bytes(text, "{", 1);
}

void json_object_end(struct text *text)
{
	text_bytes(text, "}", 1);
}

void json_event(const char *event)
{
	struct text line = {0};

	json_begin(&line, event);
	json_time(&line, "time");
	json_line(&line);
}
