#include "typed.h"

#include <string.h>

#include "lines.h"

#define CONTROL 0x40 /* between a control character and the letter that stands for it */
#define DELETE 0x7f

/* The line ends on its way in would leave, too. */
static bool is_enter(int byte)
{
	return byte == '\r' || byte == '\n';
}

const char *typed_set_escape(const char *value, void *to)
{
	struct typed *typed = to;
	bool control = value[0] == '^' && value[1] && !value[2];
	int letter = control ? value[1] : 0;

	if (letter >= 'a' && letter <= 'z')
		letter += 'A' - 'a';
	typed->escape_given = true;
	if (strcmp(value, "off") == 0) {
		typed->escape = TYPED_NO_ESCAPE;
		return NULL;
	}
	if (letter != '?' && (letter < '@' || letter > '_'))
		return "is no control character, such as ^] or ^A, nor off";
	typed->escape = letter == '?' ? DELETE : letter - CONTROL;
	return is_enter(typed->escape) ? "is the key Enter, which ends lines" : NULL;
}

const char *typed_escape_text(const struct typed *typed, char text[static 3])
{
	text[0] = '^';
	text[1] = (char)(typed->escape ^ CONTROL);
	text[2] = '\0';
	return text;
}

static int add_with_cr(struct typed *typed, struct lines *lines, const char *data, size_t len)
{
	int err = 0;

	while (len > 0 && err == 0) {
		const char *feed = memchr(data, '\n', len);
		size_t before = feed ? (size_t)(feed - data) : len;

		if (before > 0)
			typed->after_cr = data[before - 1] == '\r';
		err = lines_add(lines, data, before);
		if (feed && err == 0)
			err = typed->after_cr ? lines_add(lines, "\n", 1) : lines_add(lines, "\r\n", 2);
		if (feed)
			typed->after_cr = false;
		before += feed != NULL;
		data += before;
		len -= before;
	}
	return err;
}

int typed_add(struct typed *typed, struct lines *lines, const char *data, size_t len)
{
	const char *escape = typed->escape == TYPED_NO_ESCAPE ? NULL : memchr(data, typed->escape, len);
	size_t before = escape ? (size_t)(escape - data) : len;
	int err = typed->crlf ? add_with_cr(typed, lines, data, before) : lines_add(lines, data, before);

	return err < 0 ? err : escape != NULL;
}
