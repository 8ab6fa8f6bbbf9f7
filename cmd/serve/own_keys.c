#include "own_keys.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "http/percent.h"

/* The bytes without their %XX. What is no such stays: the library says so where it is a part of the rest. */
static char *decoded(const char *text, size_t len)
{
	char *out = malloc(len + 1), *to = out;

	for (size_t i = 0; out && i < len; i++) {
		int byte = percent_byte(text + i, len - i);

		*to++ = byte < 0 ? text[i] : (char)byte;
		i += byte < 0 ? 0 : 2;
	}
	if (out)
		*to = '\0';
	return out;
}

/* Which one a part of the query has; NULL: one of the library's. */
static char **own_key(struct own_keys *keys, const char *part, size_t len, const char **key)
{
	const struct {
		const char *key;
		char **value;
	} own[] = {{"handler", &keys->handler}, {"session", &keys->session}};
	char *name = decoded(part, len), **value = NULL;

	for (size_t i = 0; name && i < sizeof(own) / sizeof(own[0]); i++)
		if (strcmp(name, own[i].key) == 0) {
			*key = own[i].key;
			value = own[i].value;
		}
	free(name);
	return value;
}

static const char *set_value(char **value, const char *part, size_t name_len, size_t len)
{
	if (*value)
		return "this key stands there for the second time";
	*value = name_len < len ? decoded(part + name_len + 1, len - name_len - 1) : strdup("");
	return *value ? NULL : "out of memory";
}

const char *own_keys_take(const char *url, struct own_keys *keys, const char **key)
{
	const char *at = url + strcspn(url, "?"), *why = NULL;
	char separator = '?', *to;

	*key = "handler";
	*keys = (struct own_keys){.url = strdup(url)};
	if (!keys->url)
		return "out of memory";
	to = keys->url + (at - url);
	while (*at && !why) {
		const char *part = at + 1;
		size_t len = strcspn(part, "&"), name_len = strcspn(part, "=&");
		char **value = own_key(keys, part, name_len, key);

		if (value) {
			why = set_value(value, part, name_len, len);
		} else {
			*to++ = separator;
			memcpy(to, part, len);
			to += len;
			separator = '&';
		}
		at = part + len;
	}
	*to = '\0';
	if (why)
		own_keys_free(keys);
	return why;
}

void own_keys_free(struct own_keys *keys)
{
	free(keys->url);
	free(keys->handler);
	free(keys->session);
	*keys = (struct own_keys){0};
}
