/*
 * The XML representation of JSON of XPath and XQuery Functions 3.1 (fn:json-to-xml, fn:xml-to-json), by its schema:
 * elements map, array, string, number, boolean and null; key and escaped-key on what stands in a map, escaped on a
 * string. Attributes of other namespaces are passed over, and so are key and escaped-key of the root.
 */
#include <string.h>

#include "codec/json.h"
#include "codec/mark.h"
#include "codec/number.h"
#include "base/utf8.h"
#include "codec/xml.h"

/* An element that is no container: what to do with its text. */
struct tni_xml_leaf {
	const char *name;
	void (*end)(struct tni_xml *x, const char *text, size_t len);
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void trim(const char **text, size_t *len)
{
	while (*len && is_space((*text)[*len - 1]))
		--*len;
	while (*len && is_space(**text)) {
		++*text;
		--*len;
	}
}

/* xs:boolean: 1 or 0; -1 for anything else. */
static int read_boolean(const char *text, size_t len)
{
	trim(&text, &len);
	if ((len == 4 && !memcmp(text, "true", 4)) || (len == 1 && *text == '1'))
		return 1;
	if ((len == 5 && !memcmp(text, "false", 5)) || (len == 1 && *text == '0'))
		return 0;
	return -1;
}

/* The character of a JSON escape that is one letter; 0 if there is none such. */
static char escaped_letter(char c)
{
	static const char letters[] = "\"\\/bfnrt";
	static const char meant[] = "\"\\/\b\f\n\r\t";
	const char *found = c ? strchr(letters, c) : NULL;

	return found ? meant[found - letters] : 0;
}

/* Reads \uXXXX, or two of them for a character beyond U+FFFF, at `p`. Returns how many bytes it took, or a code. */
static int unescape_unicode(struct tni_bytes *out, const char *p, const char *end)
{
	int code = tni_json_hex4(p + 2, (size_t)(end - p) - 2);
	int low;
	char text[4];
	int taken = 6;

	if (code < 0)
		return TN_EFORMAT;
	if (code >= 0xd800 && code <= 0xdfff) {
		if (code >= 0xdc00 || end - p < 12 || p[6] != '\\' || p[7] != 'u')
			return TN_EUTF8;
		low = tni_json_hex4(p + 8, 4);
		if (low < 0xdc00 || low > 0xdfff)
			return TN_EUTF8;
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		taken = 12;
	}
	tni_bytes_append(out, text, tni_utf8_put(text, (uint32_t)code));
	return taken;
}

/* Takes JSON's escapes out of a text. Returns 0, TN_EFORMAT, TN_EUTF8 or -ENOMEM. */
static int unescape(struct tni_bytes *out, const char *p, size_t len)
{
	const char *end = p + len;

	out->len = 0;
	while (p < end) {
		const char *slash = memchr(p, '\\', (size_t)(end - p));
		int taken = 2;

		if (!slash)
			slash = end;
		tni_bytes_append(out, p, (size_t)(slash - p));
		if (slash == end)
			break;
		if (end - slash < 2)
			return TN_EFORMAT;
		if (slash[1] == 'u')
			taken = unescape_unicode(out, slash, end);
		else if (escaped_letter(slash[1]))
			tni_bytes_put(out, (uint8_t)escaped_letter(slash[1]));
		else
			return TN_EFORMAT;
		if (taken < 0)
			return taken;
		p = slash + taken;
	}
	return out->err;
}

static void refuse_escape(struct tni_xml *x, int code, size_t at)
{
	if (code == TN_EUTF8)
		tni_xml_refuse_at(x, code, "half of a surrogate pair", at);
	else if (code == TN_EFORMAT)
		tni_xml_refuse_at(x, code, "an escape that JSON does not have", at);
	else
		tni_xml_took(x, code);
}

/* Adds text, unescaped if so marked. */
static void add_text(struct tni_xml *x, const char *text, size_t len, bool escaped, size_t at)
{
	int code = escaped ? unescape(&x->plain, text, len) : 0;

	if (code) {
		refuse_escape(x, code, at);
		return;
	}
	if (escaped) {
		text = (const char *)x->plain.data;
		len = x->plain.len;
	}
	tni_xml_took(x, tni_build_data(&x->build, TN_TEXT, text, len));
}

static void end_string(struct tni_xml *x, const char *text, size_t len)
{
	add_text(x, text, len, x->escaped, x->leaf_at);
}

static size_t count_digits(const char *p, const char *end)
{
	const char *start = p;

	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return (size_t)(p - start);
}

/* xs:double allows a plus sign, leading zeros, and a point with digits on one side only. Writes the same number as
 * JSON has it, to be read by the same rule: an integer stays one. Returns whether it is a finite xs:double. */
static bool write_as_json(struct tni_bytes *out, const char *p, const char *end)
{
	size_t whole, fraction = 0;

	out->len = 0;
	if (p < end && *p == '-')
		tni_bytes_put(out, '-');
	if (p < end && (*p == '-' || *p == '+'))
		p++;
	whole = count_digits(p, end);
	if (p + whole < end && p[whole] == '.')
		fraction = count_digits(p + whole + 1, end);
	if (!whole && !fraction)
		return false;
	while (whole > 1 && *p == '0') {
		p++;
		whole--;
	}
	if (whole)
		tni_bytes_append(out, p, whole);
	else
		tni_bytes_put(out, '0');
	p += whole;
	if (p < end && *p == '.') {
		if (fraction)
			tni_bytes_append(out, p, fraction + 1);
		p += fraction + 1;
	}
	tni_bytes_append(out, p, (size_t)(end - p));
	return out->err || tni_number_scan((const char *)out->data, out->len) == out->len;
}

static void end_number(struct tni_xml *x, const char *text, size_t len)
{
	trim(&text, &len);
	if (!write_as_json(&x->plain, text, text + len))
		tni_xml_refuse_at(x, TN_EFORMAT, "not a finite number", x->leaf_at);
	else if (tni_xml_took(x, x->plain.err))
		tni_xml_took(x, tni_build_number(&x->build, (const char *)x->plain.data, x->plain.len, x->strict));
}

static void end_boolean(struct tni_xml *x, const char *text, size_t len)
{
	int truth = read_boolean(text, len);

	if (truth < 0)
		tni_xml_refuse_at(x, TN_EFORMAT, "neither true nor false", x->leaf_at);
	else
		tni_xml_took(x, tni_build_bool(&x->build, truth));
}

static void end_null(struct tni_xml *x, const char *text, size_t len)
{
	(void)text;
	if (len)
		tni_xml_refuse_at(x, TN_EFORMAT, "a null element that is not empty", x->leaf_at);
	else
		tni_xml_took(x, tni_build_null(&x->build));
}

static const struct tni_xml_leaf leaves[] = {
	{"string", end_string},
	{"number", end_number},
	{"boolean", end_boolean},
	{"null", end_null},
};

/* The name without the namespace, or NULL when it is of another. */
static const char *local_name(const char *name)
{
	size_t len = sizeof TNI_XML_FN - 1;

	return !strncmp(name, TNI_XML_FN, len) && name[len] == TNI_XML_SEPARATOR ? name + len + 1 : NULL;
}

struct attributes {
	const char *key;
	bool escaped_key;
	bool escaped;
};

static bool read_flag(struct tni_xml *x, const char *value, bool *flag)
{
	int truth = read_boolean(value, strlen(value));

	if (truth < 0)
		tni_xml_refuse(x, TN_EFORMAT, "an attribute that is neither true nor false");
	*flag = truth > 0;
	return truth >= 0;
}

static bool read_attributes(struct tni_xml *x, const char **list, bool string, bool keyed, struct attributes *a)
{
	bool ok = true;

	for (; ok && *list; list += 2) {
		const char *name = list[0];

		if (strchr(name, TNI_XML_SEPARATOR) && !local_name(name))
			continue;
		if (keyed && !strcmp(name, "key"))
			a->key = list[1];
		else if (keyed && !strcmp(name, "escaped-key"))
			ok = read_flag(x, list[1], &a->escaped_key);
		else if (string && !strcmp(name, "escaped"))
			ok = read_flag(x, list[1], &a->escaped);
		else
			ok = false;
		if (!ok)
			tni_xml_refuse(x, TN_EFORMAT, "an attribute that the element cannot have");
	}
	return ok;
}

static const struct tni_xml_leaf *find_leaf(const char *name)
{
	for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
		if (!strcmp(leaves[i].name, name))
			return &leaves[i];
	}
	return NULL;
}

static void begin_value(struct tni_xml *x, const char *name, const char **list)
{
	const struct tn_value *parent = x->build.top;
	bool in_map = parent && parent->kind == TN_MAP;
	const struct tni_xml_leaf *leaf = find_leaf(name);
	struct attributes a = {0};

	if (!leaf && strcmp(name, "map") != 0 && strcmp(name, "array") != 0) {
		tni_xml_refuse(x, TN_EFORMAT, "an element that the XML representation of JSON does not have");
		return;
	}
	if (!read_attributes(x, list, leaf && leaf->end == end_string, in_map || !parent, &a))
		return;
	if (in_map && !a.key) {
		tni_xml_refuse(x, TN_EFORMAT, "an element in a map without a key");
		return;
	}
	x->build.at = tni_xml_here(x);
	if (in_map)
		add_text(x, a.key, strlen(a.key), a.escaped_key, x->build.at);
	if (x->code)
		return;
	x->leaf = leaf;
	x->leaf_at = x->build.at;
	x->escaped = a.escaped;
	x->chars.len = 0;
	if (!leaf)
		tni_xml_took(x, tni_build_open(&x->build, *name == 'm' ? TN_MAP : TN_ARRAY, TNI_COUNT_OPEN));
}

static void XMLCALL on_start(void *ctx, const XML_Char *name, const XML_Char **list)
{
	struct tni_xml *x = ctx;
	const char *local = local_name(name);

	if (x->code || !tni_xml_whole_tag(x, list))
		return;
	if (!x->began && !local) {
		x->foreign = true;
		XML_StopParser(x->parser, XML_FALSE);
		return;
	}
	x->began = true;
	if (!local || x->leaf)
		tni_xml_refuse(x, TN_EFORMAT, "an element that cannot stand here");
	else
		begin_value(x, local, list);
}

static void XMLCALL on_end(void *ctx, const XML_Char *name)
{
	struct tni_xml *x = ctx;
	const struct tni_xml_leaf *leaf = x->leaf;

	(void)name;
	if (x->code || x->foreign)
		return;
	x->leaf = NULL;
	if (leaf)
		leaf->end(x, x->chars.len ? (const char *)x->chars.data : "", x->chars.len);
	else
		tni_xml_took(x, tni_build_close(&x->build));
}

static void XMLCALL on_chars(void *ctx, const XML_Char *text, int len)
{
	struct tni_xml *x = ctx;

	if (x->code)
		return;
	if (x->leaf) {
		tni_bytes_append(&x->chars, text, (size_t)len);
		tni_xml_took(x, x->chars.err);
		return;
	}
	for (int i = 0; i < len; i++) {
		if (!is_space(text[i])) {
			tni_xml_refuse(x, TN_EFORMAT, "text between elements");
			return;
		}
	}
}

void tni_xml_fn_begin(struct tni_xml *x)
{
	x->build.unique = true; /* two equal keys are an error of fn:xml-to-json */
	XML_SetElementHandler(x->parser, on_start, on_end);
	XML_SetCharacterDataHandler(x->parser, on_chars);
}

struct writer {
	struct tni_bytes *out;
	struct tni_marker marker;
	unsigned max_depth;
	bool pretty;
};

static void write_break(struct writer *w, unsigned depth)
{
	if (!w->pretty)
		return;
	tni_bytes_put(w->out, '\n');
	while (depth--)
		tni_bytes_literal(w->out, "  ");
}

static const char *element_name(const struct tn_value *v)
{
	switch ((enum tn_kind)v->kind) {
	case TN_NULL:
		return "null";
	case TN_BOOL:
		return "boolean";
	case TN_TEXT:
		return "string";
	case TN_ARRAY:
		return "array";
	case TN_MAP:
		return "map";
	default:
		return "number";
	}
}

static void write_start(struct writer *w, const struct tn_value *v, const struct tn_value *key, unsigned depth)
{
	const char *name = element_name(v);

	tni_bytes_put(w->out, '<');
	tni_bytes_append(w->out, name, strlen(name));
	if (!depth)
		tni_bytes_literal(w->out, " xmlns=\"" TNI_XML_FN "\"");
	if (key) {
		bool allowed = tni_xml_allows(key);

		if (!allowed)
			tni_bytes_literal(w->out, " escaped-key=\"true\"");
		tni_bytes_literal(w->out, " key=\"");
		tni_xml_write_text(w->out, key, TNI_XML_ATTRIBUTE, !allowed);
		tni_bytes_put(w->out, '"');
	}
	if (v->kind == TN_TEXT && !tni_xml_allows(v))
		tni_bytes_literal(w->out, " escaped=\"true\"");
}

static int write_value(struct writer *w, const struct tn_value *v, const struct tn_value *key, unsigned depth);

static int write_items(struct writer *w, const struct tn_value *v, unsigned depth)
{
	const struct tn_value *item;
	int err;

	for (item = tni_first(v); item; item = tni_next(v, item)) {
		const struct tn_value *key = NULL;

		if (v->kind == TN_MAP) {
			key = item;
			item = item->next;
		}
		write_break(w, depth + 1);
		err = write_value(w, item, key, depth + 1);
		if (err) {
			tni_codec_place_step(v, item);
			return err;
		}
	}
	write_break(w, depth);
	return 0;
}

static int write_content(struct writer *w, const struct tn_value *v, unsigned depth)
{
	switch ((enum tn_kind)v->kind) {
	case TN_TEXT:
		tni_xml_write_text(w->out, v, TNI_XML_STRING, !tni_xml_allows(v));
		return 0;
	case TN_BOOL:
		if (v->u.truth)
			tni_bytes_literal(w->out, "true");
		else
			tni_bytes_literal(w->out, "false");
		return 0;
	case TN_ARRAY:
	case TN_MAP:
		return write_items(w, v, depth);
	default:
		tni_json_write_number(w->out, v);
		return 0;
	}
}

/* An array, a map or a text without anything in it, or null: one tag. */
static bool is_empty(const struct tn_value *v)
{
	return v->kind == TN_NULL || ((v->kind == TN_TEXT || v->kind == TN_ARRAY || v->kind == TN_MAP) && !v->len);
}

/* `depth` counts elements: 0 for the root, whose container is the first level of depth. */
static int write_value(struct writer *w, const struct tn_value *v, const struct tn_value *key, unsigned depth)
{
	const char *name;
	int err = v->kind == TN_MAP ? tni_codec_unique(v) : 0; /* also where its keys are no text and will be marked */

	if (err)
		return err;
	v = tni_mark_write(&w->marker, v, &err);
	if (!v)
		return err;
	if ((v->kind == TN_MAP || v->kind == TN_ARRAY) && depth >= w->max_depth)
		return TN_EDEPTH;
	write_start(w, v, key, depth);
	if (is_empty(v)) {
		tni_bytes_literal(w->out, "/>");
		return 0;
	}
	tni_bytes_put(w->out, '>');
	err = write_content(w, v, depth);
	if (err)
		return err;
	name = element_name(v);
	tni_bytes_literal(w->out, "</");
	tni_bytes_append(w->out, name, strlen(name));
	tni_bytes_put(w->out, '>');
	return 0;
}

int tni_xml_fn_write(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out)
{
	struct writer w = {
		.out = out,
		.marker = tni_marker_begin(TNI_MARKS_TEXT, tni_codec_strict(opts)),
		.max_depth = tni_codec_depth(opts),
		.pretty = opts && opts->pretty,
	};
	int err = write_value(&w, v, NULL, 0);

	tni_marker_end(&w.marker);
	return err;
}
