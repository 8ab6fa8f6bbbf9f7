/*
 * Where a text that yajl refuses is wrong: its own positions are loose. This reads the grammar of RFC 8259 once more,
 * byte by byte, and stops at the first byte that cannot stand where it stands.
 */
#include <string.h>

#include "codec/codec.h"
#include "codec/json.h"

struct scan {
	const char *data;
	size_t len, at;
	const char *why; /* NULL: nothing is wrong so far */
	int code;
	unsigned depth;
	bool map[TNI_DEPTH_MAX]; /* whether each open container is an object */
};

static void refuse(struct scan *s, int code, const char *why)
{
	s->code = s->at < s->len || code == TN_EDEPTH ? code : TN_ETRUNC;
	s->why = s->at < s->len || code == TN_EDEPTH ? why : "the text ends early";
}

/* The byte to be looked at; -1 at the end. */
static int peek(const struct scan *s)
{
	return s->at < s->len ? (unsigned char)s->data[s->at] : -1;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static void skip_space(struct scan *s)
{
	while (s->at < s->len && memchr(" \t\n\r", s->data[s->at], 4))
		s->at++;
}

static void skip_word(struct scan *s, const char *word)
{
	for (; *word && !s->why; word++)
		if (peek(s) == *word)
			s->at++;
		else
			refuse(s, TN_EFORMAT, "unexpected character in true, false or null");
}

static void skip_digits(struct scan *s, const char *why)
{
	if (!is_digit(peek(s)))
		refuse(s, TN_EFORMAT, why);
	while (is_digit(peek(s)))
		s->at++;
}

static void skip_number(struct scan *s)
{
	s->at += peek(s) == '-';
	if (peek(s) == '0')
		s->at++;
	else
		skip_digits(s, "a digit must follow the minus sign");
	if (!s->why && peek(s) == '.') {
		s->at++;
		skip_digits(s, "a digit must follow the decimal point");
	}
	if (!s->why && (peek(s) == 'e' || peek(s) == 'E')) {
		s->at++;
		s->at += peek(s) == '+' || peek(s) == '-';
		skip_digits(s, "a digit must follow in the exponent");
	}
}

static void skip_escape(struct scan *s)
{
	int c = peek(s);

	if (c < 0 || !strchr("\"\\/bfnrtu", c) || !c) {
		refuse(s, TN_EFORMAT, "unknown escape in a string");
		return;
	}
	s->at++;
	for (int i = 0; c == 'u' && i < 4 && !s->why; i++) {
		int digit = peek(s);

		if (is_digit(digit) || ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f' && digit > 0))
			s->at++;
		else
			refuse(s, TN_EFORMAT, "four hexadecimal digits must follow \\u");
	}
}

static void skip_string(struct scan *s)
{
	s->at++;
	while (!s->why) {
		int c = peek(s);

		if (c < ' ') { /* the end, too */
			refuse(s, TN_EFORMAT, "control character in a string");
			return;
		}
		s->at++;
		if (c == '"')
			return;
		if (c == '\\')
			skip_escape(s);
	}
}

static void open_container(struct scan *s, unsigned max_depth)
{
	if (s->depth >= max_depth) {
		refuse(s, TN_EDEPTH, "nested too deep");
		return;
	}
	s->map[s->depth++] = s->data[s->at++] == '{';
}

/* A key and its colon. */
static void skip_key(struct scan *s)
{
	skip_space(s);
	if (peek(s) != '"') {
		refuse(s, TN_EFORMAT, "a key in quotes must stand here");
		return;
	}
	skip_string(s);
	if (s->why)
		return;
	skip_space(s);
	if (peek(s) == ':')
		s->at++;
	else
		refuse(s, TN_EFORMAT, "':' must stand here");
}

/* Behind a value: the ends of what it was the last of, and a comma. */
static void leave_value(struct scan *s)
{
	skip_space(s);
	while (s->depth && peek(s) == (s->map[s->depth - 1] ? '}' : ']')) {
		s->at++;
		s->depth--;
		skip_space(s);
	}
	if (!s->depth)
		return;
	if (peek(s) != ',') {
		refuse(s, TN_EFORMAT,
		       s->map[s->depth - 1] ? "',' or '}' must stand here" : "',' or ']' must stand here");
		return;
	}
	s->at++;
	if (s->map[s->depth - 1])
		skip_key(s);
}

/* A value that is no container, or the beginning of one with what stands in front of its first value. Returns whether a
 * value has ended. */
static bool enter_value(struct scan *s, unsigned max_depth)
{
	int c;

	skip_space(s);
	c = peek(s);
	if (c == '{' || c == '[') {
		open_container(s, max_depth);
		if (s->why)
			return false;
		skip_space(s);
		if (peek(s) == (c == '{' ? '}' : ']'))
			return true; /* leave_value() takes it */
		if (c == '{')
			skip_key(s);
		return false;
	}
	if (c == '"')
		skip_string(s);
	else if (c == '-' || is_digit(c))
		skip_number(s);
	else if (c == 't' || c == 'f' || c == 'n')
		skip_word(s, c == 't' ? "true" : c == 'f' ? "false" : "null");
	else
		refuse(s, TN_EFORMAT, "a value must stand here");
	return true;
}

int tni_json_locate(const char *data, size_t len, unsigned max_depth, const char **why, size_t *at)
{
	struct scan s = {.data = data, .len = len};
	bool ended;

	do {
		ended = enter_value(&s, max_depth);
		if (ended && !s.why)
			leave_value(&s);
	} while (!s.why && (!ended || s.depth));
	if (!s.why && s.at < len)
		refuse(&s, TN_EFORMAT, "more after the end of the value");
	*why = s.why;
	*at = s.at;
	return s.code;
}
