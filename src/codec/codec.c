#include "codec/codec.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const struct tni_codec *const tni_codecs[] = {
#ifdef TNI_HAVE_JSON
	&tni_codec_json,
#endif
#ifdef TNI_HAVE_XML
	&tni_codec_xml,
#endif
#ifdef TNI_HAVE_CBOR
	&tni_codec_cbor,
#endif
#ifdef TNI_HAVE_MSGPACK
	&tni_codec_msgpack,
#endif
	&tni_codec_text,    &tni_codec_raw, NULL,
};

static const struct left_out {
	const char *name, *words;
} left_out[] = {
#ifndef TNI_HAVE_JSON
	{"json", TNI_NOT_BUILT("JSON", "json")},
#endif
#ifndef TNI_HAVE_XML
	{"xml", TNI_NOT_BUILT("XML", "xml")},
#endif
#ifndef TNI_HAVE_CBOR
	{"cbor", TNI_NOT_BUILT("CBOR", "cbor")},
#endif
#ifndef TNI_HAVE_MSGPACK
	{"msgpack", TNI_NOT_BUILT("MessagePack", "msgpack")},
#endif
	{0},
};

/* Not strcmp(): tn_decode() and tn_encode() come here for every message, and most messages are short. */
static bool same_name(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

const struct tni_codec *tni_codec_find(const char *name)
{
	for (size_t i = 0; tni_codecs[i]; i++) {
		if (same_name(tni_codecs[i]->name, name))
			return tni_codecs[i];
	}
	return NULL;
}

const char *tni_codec_left_out(const char *name)
{
	for (const struct left_out *row = left_out; row->name; row++) {
		if (same_name(row->name, name))
			return row->words;
	}
	return NULL;
}

int tni_codec_fail_name(const char *name)
{
	const char *words = tni_codec_left_out(name);

	return words ? tni_err(-EINVAL, "format %s: %s", name, words)
		     : tni_err(-EINVAL, "no such format '%.32s'; there are %s", name, tni_codec_names());
}

const char *tni_codec_names(void)
{
	static _Thread_local char names[128];
	size_t used = 0;

	for (size_t i = 0; tni_codecs[i] && used < sizeof(names); i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i ? " " : "", tni_codecs[i]->name);
	return names;
}

int tni_codec_fail(struct tni_codec_error *err, int code, const char *text, size_t at)
{
	if (err)
		*err = (struct tni_codec_error){.code = code, .text = text, .at = at};
	return code;
}

int tni_codec_fail_text(struct tni_codec_error *err, int code, const char *text, size_t at, const char *data)
{
	size_t line = 1;
	size_t start = 0;

	for (size_t i = 0; err && i < at; i++) {
		if (data[i] == '\n') {
			line++;
			start = i + 1;
		}
	}
	tni_codec_fail(err, code, text, at);
	if (err) {
		err->line = line;
		err->column = at - start + 1;
	}
	return code;
}

#define PLACE_MAX 256

static _Thread_local char place[PLACE_MAX];

void tni_codec_place_begin(void)
{
	place[0] = '\0';
}

const char *tni_codec_place(void)
{
	return place;
}

/* The step into a map: its key, with what a pointer reserves escaped. */
static void key_step(const struct tn_value *key, char *out, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; key->kind == TN_TEXT && i < key->len && n + 3 < cap; i++) {
		char c = key->u.data[i];

		if (c == '~' || c == '/')
			out[n++] = '~';
		out[n++] = c == '~' ? '0' : c == '/' ? '1' : (unsigned char)c < ' ' ? '?' : c;
	}
	out[n] = '\0';
	if (key->kind == TN_INT)
		snprintf(out, cap, "%s%llu", key->flags & TNI_NEGATIVE ? "-" : "",
			 (unsigned long long)key->u.num + (key->flags & TNI_NEGATIVE ? 1 : 0));
	else if (key->kind != TN_TEXT)
		snprintf(out, cap, "?");
}

void tni_codec_place_step(const struct tn_value *container, const struct tn_value *item)
{
	char step[80], before[PLACE_MAX];
	const struct tn_value *previous = NULL;
	unsigned long long index = 0;

	for (const struct tn_value *at = tni_first(container); at && at != item; at = tni_next(container, at)) {
		previous = at;
		index++;
	}
	if (container->kind == TN_MAP)
		key_step(index % 2 ? previous : item, step, sizeof(step));
	else
		snprintf(step, sizeof(step), "%llu", index);
	memcpy(before, place, sizeof(before));
	snprintf(place, sizeof(place), "/%s%.*s", step, (int)(sizeof(place) - strlen(step) - 2), before);
}

int tni_codec_unique(const struct tn_value *map)
{
	const struct tn_value *key;
	int unique = tni_value_unique(map, &key);

	if (unique > 0)
		return 0;
	if (unique < 0)
		return unique;
	tni_codec_place_step(map, key);
	return TN_EDUPKEY;
}

int tni_codec_check_by_decode(const struct tni_codec *codec, const void *data, size_t len,
			      const struct tni_codec_opts *opts, struct tni_codec_error *err)
{
	struct tn_value *v = NULL;
	int code = codec->decode(data, len, opts, &v, err);

	tn_value_free(v);
	return code;
}
