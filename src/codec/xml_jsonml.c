/*
 * JsonML: an element is ["name", {"attribute": "value", ...}, child, ...], without the map where it has no attributes.
 * A child is an element or a text; white space is kept; comments and processing instructions are not. Names are as
 * written.
 */
#include <string.h>

#include "base/utf8.h"
#include "codec/xml.h"

static bool add_text(struct tni_xml *x, const char *text, size_t len)
{
	return tni_xml_took(x, tni_build_data(&x->build, TN_TEXT, text, len));
}

/* What came in pieces, around comments and references, is one text. */
static bool add_chars(struct tni_xml *x)
{
	size_t len = x->chars.len;

	x->chars.len = 0;
	return !len || add_text(x, (const char *)x->chars.data, len);
}

static void XMLCALL on_start(void *ctx, const XML_Char *name, const XML_Char **list)
{
	struct tni_xml *x = ctx;
	struct tni_build *b = &x->build;

	if (x->code || !tni_xml_whole_tag(x, list) || !add_chars(x) ||
	    !tni_xml_took(x, tni_build_open(b, TN_ARRAY, TNI_COUNT_OPEN)))
		return;
	if (!add_text(x, name, strlen(name)) || !*list)
		return;
	if (!tni_xml_took(x, tni_build_open(b, TN_MAP, TNI_COUNT_OPEN)))
		return;
	for (; *list; list++) {
		if (!add_text(x, *list, strlen(*list)))
			return;
	}
	tni_xml_took(x, tni_build_close(b));
}

static void XMLCALL on_end(void *ctx, const XML_Char *name)
{
	struct tni_xml *x = ctx;

	(void)name;
	if (!x->code && add_chars(x))
		tni_xml_took(x, tni_build_close(&x->build));
}

static void XMLCALL on_chars(void *ctx, const XML_Char *text, int len)
{
	struct tni_xml *x = ctx;

	if (x->code)
		return;
	tni_bytes_append(&x->chars, text, (size_t)len);
	tni_xml_took(x, x->chars.err);
}

void tni_xml_jsonml_begin(struct tni_xml *x)
{
	x->build.marks = 0;
	x->build.unique = false; /* expat sees to that */
	XML_SetElementHandler(x->parser, on_start, on_end);
	XML_SetCharacterDataHandler(x->parser, on_chars);
}

/* NameStartChar and NameChar of XML 1.0, fifth edition. */
static bool is_name_start(uint32_t c)
{
	static const uint32_t ranges[][2] = {
		{':', ':'},       {'A', 'Z'},       {'_', '_'},       {'a', 'z'},
		{0xc0, 0xd6},     {0xd8, 0xf6},     {0xf8, 0x2ff},    {0x370, 0x37d},
		{0x37f, 0x1fff},  {0x200c, 0x200d}, {0x2070, 0x218f}, {0x2c00, 0x2fef},
		{0x3001, 0xd7ff}, {0xf900, 0xfdcf}, {0xfdf0, 0xfffd}, {0x10000, 0xeffff},
	};

	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
		if (c >= ranges[i][0] && c <= ranges[i][1])
			return true;
	}
	return false;
}

static bool is_name_part(uint32_t c)
{
	return is_name_start(c) || c == '-' || c == '.' || (c >= '0' && c <= '9') || c == 0xb7 ||
	       (c >= 0x300 && c <= 0x36f) || c == 0x203f || c == 0x2040;
}

static bool is_name(const struct tn_value *v)
{
	const char *p = v->u.data;
	const char *end;

	if (v->kind != TN_TEXT || !v->len)
		return false;
	end = p + v->len;
	if (!is_name_start(tni_utf8_get(&p)))
		return false;
	while (p < end) {
		if (!is_name_part(tni_utf8_get(&p)))
			return false;
	}
	return true;
}

static void append(struct tni_bytes *out, const struct tn_value *text)
{
	tni_bytes_append(out, text->u.data, text->len);
}

static int write_attributes(struct tni_bytes *out, const struct tn_value *map)
{
	const struct tn_value *key;
	int err = tni_codec_unique(map);

	if (err)
		return err;
	for (key = tni_first(map); key; key = tni_next(map, key->next)) {
		const struct tn_value *value = key->next;

		if (!is_name(key) || value->kind != TN_TEXT || !tni_xml_allows(value)) {
			tni_codec_place_step(map, key);
			return TN_EREPR;
		}
		tni_bytes_put(out, ' ');
		append(out, key);
		tni_bytes_literal(out, "=\"");
		tni_xml_write_text(out, value, TNI_XML_ATTRIBUTE, false);
		tni_bytes_put(out, '"');
	}
	return 0;
}

static int write_element(struct tni_bytes *out, const struct tn_value *v, unsigned depth)
{
	const struct tn_value *name = v->kind == TN_ARRAY ? tni_first(v) : NULL;
	const struct tn_value *item;
	int err = 0;

	if (!name || !is_name(name))
		return TN_EREPR;
	if (!depth)
		return TN_EDEPTH;
	tni_bytes_put(out, '<');
	append(out, name);
	item = tni_next(v, name);
	if (item && item->kind == TN_MAP) {
		err = write_attributes(out, item);
		if (err) {
			tni_codec_place_step(v, item);
			return err;
		}
		item = tni_next(v, item);
	}
	if (!item) {
		tni_bytes_literal(out, "/>");
		return err;
	}
	tni_bytes_put(out, '>');
	for (; item; item = tni_next(v, item)) {
		if (item->kind != TN_TEXT)
			err = write_element(out, item, depth - 1);
		else if (tni_xml_allows(item))
			tni_xml_write_text(out, item, TNI_XML_CONTENT, false);
		else
			err = TN_EREPR;
		if (err) {
			tni_codec_place_step(v, item);
			return err;
		}
	}
	tni_bytes_literal(out, "</");
	append(out, name);
	tni_bytes_put(out, '>');
	return err;
}

int tni_xml_jsonml_write(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out)
{
	return write_element(out, v, tni_codec_depth(opts));
}
