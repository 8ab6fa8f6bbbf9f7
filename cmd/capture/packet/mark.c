#include "mark.h"

#include <stdbool.h>
#include <string.h>

#include "tenon.h"

/* The value of name=VALUE in the comment. */
static bool says(const char *comment, size_t len, const char *name, char *value, size_t cap)
{
	const char *at = memmem(comment, len, name, strlen(name)), *end = comment + len;
	size_t n;

	if (!at)
		return false;
	at += strlen(name);
	for (n = 0; at < end && *at != ' ' && *at != ',' && n + 1 < cap; n++)
		value[n] = *at++;
	value[n] = '\0';
	return true;
}

struct mark mark_read(const char *comment, size_t len)
{
	static const struct {
		const char *text;
		enum marked what;
	} words[] = {{"tenon part", MARK_PART}, {"tenon message", MARK_MESSAGE}, {"tenon datagram", MARK_MESSAGE}};
	struct mark mark = {0};
	char kind[16] = "";

	for (size_t i = 0; comment && i < sizeof(words) / sizeof(words[0]); i++)
		if (len >= strlen(words[i].text) && memcmp(comment, words[i].text, strlen(words[i].text)) == 0)
			mark.what = words[i].what;
	if (!mark.what)
		return mark;
	(void)says(comment, len, " format=", mark.format, sizeof(mark.format));
	(void)says(comment, len, " session=", mark.session, sizeof(mark.session));
	if (says(comment, len, " kind=", kind, sizeof(kind)))
		mark.kind = *kind == 't' ? TN_MSG_TEXT : TN_MSG_BINARY;
	return mark;
}
