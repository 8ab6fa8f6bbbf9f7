/*
 * XML 1.0, read by expat.
 *
 * What a document type declaration says inside the document counts, as XML 1.0 asks of every reader: entities and the
 * defaults of attributes. Nothing outside the document is opened, a reference to what may be declared there is refused,
 * and entities make a document only so much longer.
 */
#include "codec/xml.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "codec/mark.h"
#include "base/utf8.h"

#define PIECE (1 << 30) /* expat counts in int */

/* Each entity may stand in the next, and expat's stack grows with every one of them. HTML has 253. */
#define ENTITIES_MAX 512

/* What entities may make of a document: so much in any case, else so many times its own length. */
#define GROWTH_FREE 65536
#define GROWTH_TIMES 8

/* What an element, a text, a name or a value that declarations make takes beside its bytes. */
#define PART_COST 32

size_t tni_xml_here(const struct tni_xml *x)
{
	XML_Index index = XML_GetCurrentByteIndex(x->parser);

	return index < 0 ? 0 : (size_t)index;
}

void tni_xml_refuse_at(struct tni_xml *x, int code, const char *text, size_t at)
{
	if (x->code)
		return;
	x->code = code;
	x->text = text;
	x->at = at;
	XML_StopParser(x->parser, XML_FALSE);
}

void tni_xml_refuse(struct tni_xml *x, int code, const char *text)
{
	tni_xml_refuse_at(x, code, text, tni_xml_here(x));
}

bool tni_xml_took(struct tni_xml *x, int code)
{
	switch (code) {
	case 0:
		break;
	case TN_EDEPTH:
		tni_xml_refuse(x, code, "nested too deep");
		break;
	case TN_ETOOBIG:
		tni_xml_refuse_at(x, code, "number too large", x->leaf_at);
		break;
	case TN_EDUPKEY:
		tni_xml_refuse_at(x, code, "a key stands twice in one map", x->build.repeated);
		break;
	default:
		tni_xml_refuse_at(x, code, "out of memory", 0);
	}
	return !code;
}

static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *system, const XML_Char *public,
			       int subset)
{
	struct tni_xml *x = ctx;

	(void)name;
	(void)system;
	(void)public;
	(void)subset;
	if (x->strict)
		tni_xml_refuse(x, TN_EREPR, "a document type declaration");
}

static void XMLCALL on_entity(void *ctx, const XML_Char *name, int parameter, const XML_Char *value, int len,
			      const XML_Char *base, const XML_Char *system, const XML_Char *public,
			      const XML_Char *notation)
{
	struct tni_xml *x = ctx;

	(void)name;
	(void)parameter;
	(void)value;
	(void)len;
	(void)base;
	(void)system;
	(void)public;
	(void)notation;
	if (x->entities++ == ENTITIES_MAX)
		tni_xml_refuse(x, TN_ETOOBIG, "more than 512 entities");
}

/* Where there may be a declaration elsewhere, expat skips a reference it cannot resolve. Text is not to vanish. */
static const char skipped[] = "a reference to an entity declared elsewhere";

static void XMLCALL on_skipped(void *ctx, const XML_Char *name, int parameter)
{
	(void)name;
	(void)parameter;
	tni_xml_refuse(ctx, TN_EREPR, skipped);
}

static int XMLCALL on_external(XML_Parser parser, const XML_Char *context, const XML_Char *base, const XML_Char *system,
			       const XML_Char *public)
{
	(void)context;
	(void)base;
	(void)system;
	(void)public;
	tni_xml_refuse(XML_GetUserData(parser), TN_EREPR, "a reference to an external entity");
	return XML_STATUS_ERROR;
}

static int XMLCALL on_not_standalone(void *ctx)
{
	struct tni_xml *x = ctx;

	x->elsewhere = true;
	return XML_STATUS_OK;
}

/* Whether a reference of this name, which ends at its semicolon, is one that needs no declaration. Zero bytes are
 * passed over: they are UTF-16's. */
static bool is_predefined(const char *p, const char *end)
{
	static const char *const names[] = {"amp;", "lt;", "gt;", "quot;", "apos;"};
	char name[6] = "";
	size_t len = 0;

	for (; p < end && len < sizeof name - 1; p++) {
		if (*p)
			name[len++] = *p;
		if (*p == '#' || *p == ';')
			break;
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!strcmp(name, names[i]))
			return true;
	}
	return name[0] == '#';
}

/* The same where the reference stands in an attribute: there expat does not even tell. */
static bool is_whole(struct tni_xml *x, const char *p, const char *end)
{
	while ((p = memchr(p, '&', (size_t)(end - p)))) {
		if (!is_predefined(p + 1, end)) {
			tni_xml_refuse_at(x, TN_EREPR, skipped, (size_t)(p - x->data));
			return false;
		}
		p++;
	}
	return true;
}

/*
 * What declarations make of a tag: its attributes by default, or all of it out of an entity. expat's own limit knows
 * bytes of entities only, and a few bytes can make a value of many parts.
 */
static bool growth_fits(struct tni_xml *x, const char **attributes, bool declared)
{
	size_t made = declared ? 3 * PART_COST : 0; /* with the text in front of it */

	for (attributes += declared ? 0 : XML_GetSpecifiedAttributeCount(x->parser); *attributes; attributes++)
		made += strlen(*attributes) + PART_COST;
	if (made <= x->growth)
		x->growth -= made;
	else
		tni_xml_refuse(x, TN_ETOOBIG, "declarations make too much of the document");
	return !x->code;
}

/* A tag that comes out of an entity is not in the document to be looked at. */
bool tni_xml_whole_tag(struct tni_xml *x, const char **attributes)
{
	const char *p = x->data + tni_xml_here(x);
	int size = XML_GetCurrentByteCount(x->parser);

	if (!growth_fits(x, attributes,
			 size && p[p[0] == '\0'] == '&')) /* there stands the reference; UTF-16: a byte on */
		return false;
	if (!x->elsewhere || !*attributes)
		return true;
	if (size)
		return is_whole(x, p, p + size);
	tni_xml_refuse(x, TN_EREPR, skipped);
	return false;
}

/* The event is the default's text with its quotes; in UTF-16 their end is not looked for. */
static void XMLCALL on_attribute(void *ctx, const XML_Char *element, const XML_Char *name, const XML_Char *type,
				 const XML_Char *value, int required)
{
	struct tni_xml *x = ctx;
	const char *p = x->data + tni_xml_here(x), *end = NULL;

	(void)element;
	(void)name;
	(void)type;
	(void)required;
	if (!value || !x->elsewhere)
		return;
	if ((size_t)(p - x->data) + 1 < x->len && (*p == '"' || *p == '\'') && p[1])
		end = memchr(p + 1, *p, x->len - (size_t)(p + 1 - x->data));
	if (end)
		is_whole(x, p + 1, end);
	else
		tni_xml_refuse(x, TN_EREPR, skipped);
}

/* Where the value of a part of the XML declaration begins; in UTF-16, where the declaration does. */
static size_t declared_at(const struct tni_xml *x, const char *part)
{
	size_t here = tni_xml_here(x), size = (size_t)XML_GetCurrentByteCount(x->parser);
	const char *at = memmem(x->data + here, size, part, strlen(part)), *end = x->data + here + size;

	while (at && at < end && *at != '"' && *at != '\'')
		at++;
	return at && at < end ? (size_t)(at + 1 - x->data) : here;
}

static bool begins_with_mark(const struct tni_xml *x)
{
	return x->len >= 3 && memcmp(x->data, "\xef\xbb\xbf", 3) == 0;
}

/*
 * XML 1.0: the version is "1." and digits. What begins with the byte order mark of UTF-8 is UTF-8 (4.3.3, appendix F):
 * expat believes a declaration that says otherwise. With the marks of UTF-16 it does not.
 */
static void XMLCALL on_declaration(void *ctx, const XML_Char *version, const XML_Char *encoding, int standalone)
{
	struct tni_xml *x = ctx;

	(void)standalone;
	if (strncmp(version, "1.", 2) != 0 || !version[2] || version[2 + strspn(version + 2, "0123456789")])
		tni_xml_refuse_at(x, TN_EFORMAT, "no version of XML 1", declared_at(x, "version"));
	else if (encoding && begins_with_mark(x) && strcasecmp(encoding, "UTF-8") != 0)
		tni_xml_refuse_at(x, TN_EFORMAT, "the byte order mark says UTF-8, and the declaration another encoding",
				  declared_at(x, "encoding"));
}

static bool is_early(enum XML_Error error)
{
	return error == XML_ERROR_NO_ELEMENTS || error == XML_ERROR_UNCLOSED_TOKEN ||
	       error == XML_ERROR_UNCLOSED_CDATA_SECTION || error == XML_ERROR_PARTIAL_CHAR;
}

static int refuse_by_expat(struct tni_xml *x, const char *data, size_t len)
{
	enum XML_Error error = XML_GetErrorCode(x->parser);

	x->text = XML_ErrorString(error);
	x->at = tni_xml_here(x);
	if (error == XML_ERROR_NO_MEMORY)
		return -ENOMEM;
	if (is_early(error) && x->at + 1 < len && (data[x->at] == '&' || data[x->at + 1] == '&') &&
	    memchr(data + x->at, ';', len - x->at)) {
		x->text = "a reference to an entity that is not whole";
		return TN_EFORMAT;
	}
	if (is_early(error)) {
		x->text = "the document ends early";
		x->at = len;
		return TN_ETRUNC;
	}
	switch (error) {
	case XML_ERROR_UNKNOWN_ENCODING:
		return TN_EREPR;
	case XML_ERROR_AMPLIFICATION_LIMIT_BREACH:
		x->text = "entities make too much of the document";
		return TN_ETOOBIG;
	case XML_ERROR_INVALID_TOKEN:
		if (x->at == tni_utf8_check(data, len)) {
			x->text = "not UTF-8";
			return TN_EUTF8;
		}
		return TN_EFORMAT;
	default:
		return TN_EFORMAT;
	}
}

static int parse(struct tni_xml *x, const char *data, size_t len)
{
	size_t at = 0;
	enum XML_Status status;

	do {
		size_t piece = len - at < PIECE ? len - at : PIECE;

		status = XML_Parse(x->parser, data + at, (int)piece, at + piece == len);
		at += piece;
	} while (status == XML_STATUS_OK && at < len);
	if (x->code || x->foreign)
		return x->code;
	return status == XML_STATUS_OK ? 0 : refuse_by_expat(x, data, len);
}

/* Reads the document one way. */
static int read_way(struct tni_xml *x, const char *data, size_t len, bool fn)
{
	int code;

	x->parser = fn ? XML_ParserCreateNS(NULL, TNI_XML_SEPARATOR) : XML_ParserCreate(NULL);
	if (!x->parser)
		return -ENOMEM;
	XML_SetUserData(x->parser, x);
	x->data = data;
	x->len = len;
	x->elsewhere = false;
	x->entities = 0;
	x->growth = (GROWTH_TIMES - 1) * len > GROWTH_FREE ? (GROWTH_TIMES - 1) * len : GROWTH_FREE;
	XML_SetBillionLaughsAttackProtectionActivationThreshold(x->parser, GROWTH_FREE);
	XML_SetBillionLaughsAttackProtectionMaximumAmplification(x->parser, GROWTH_TIMES);
	XML_SetXmlDeclHandler(x->parser, on_declaration);
	XML_SetStartDoctypeDeclHandler(x->parser, on_doctype);
	XML_SetEntityDeclHandler(x->parser, on_entity);
	XML_SetAttlistDeclHandler(x->parser, on_attribute);
	XML_SetExternalEntityRefHandler(x->parser, on_external);
	XML_SetSkippedEntityHandler(x->parser, on_skipped);
	XML_SetNotStandaloneHandler(x->parser, on_not_standalone);
	if (fn)
		tni_xml_fn_begin(x);
	else
		tni_xml_jsonml_begin(x);
	code = parse(x, data, len);
	XML_ParserFree(x->parser);
	return code;
}

/* The root's namespace decides. It is asked of a parser that resolves namespaces; a document without them, or whose
 * root is of another, is read anew, because well-formed XML may use colons as it likes. */
static int read_document(struct tni_xml *x, const char *data, size_t len, bool jsonml)
{
	int code = jsonml ? 0 : read_way(x, data, len, true);

	if (!jsonml && x->began)
		return code;
	x->code = 0;
	x->foreign = false;
	return read_way(x, data, len, false);
}

static int xml_decode(const void *data, size_t len, const struct tni_codec_opts *opts, struct tn_value **out,
		      struct tni_codec_error *err)
{
	struct tni_xml x;
	int code = tni_build_begin(&x.build, opts, TNI_MARKS_TEXT, out);

	if (code)
		return tni_codec_fail(err, code, "out of memory", 0);
	x.strict = tni_codec_strict(opts);
	x.code = 0;
	x.text = "out of memory";
	x.at = 0;
	x.chars = (struct tni_bytes){0};
	x.foreign = false;
	x.began = false;
	x.leaf = NULL;
	x.plain = (struct tni_bytes){0};
	code = read_document(&x, len ? data : "", len, opts && opts->jsonml);
	tni_bytes_free(&x.chars);
	tni_bytes_free(&x.plain);
	if (code)
		tni_codec_fail_text(err, code, x.text, x.at, data);
	return tni_build_end(&x.build, code, out);
}

static int xml_check(const void *data, size_t len, const struct tni_codec_opts *opts, struct tni_codec_error *err)
{
	return tni_codec_check_by_decode(&tni_codec_xml, data, len, opts, err);
}

/* U+FFFE and U+FFFF. */
static bool is_noncharacter(const uint8_t *p, size_t left)
{
	return left >= 3 && p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe;
}

static bool is_control(uint8_t byte)
{
	return byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r';
}

bool tni_xml_allows(const struct tn_value *text)
{
	const uint8_t *p = (const uint8_t *)text->u.data;

	for (size_t i = 0; i < text->len; i++) {
		if (is_control(p[i]) || is_noncharacter(p + i, text->len - i))
			return false;
	}
	return true;
}

/* How a byte is written that does not stand for itself; NULL where it does. */
static const char *reference(uint8_t byte, enum tni_xml_place place)
{
	switch (byte) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '\r':
		return "&#13;";
	case '"':
		return place == TNI_XML_ATTRIBUTE ? "&quot;" : NULL;
	case '\t':
		return place == TNI_XML_ATTRIBUTE ? "&#9;" : NULL;
	case '\n':
		return place != TNI_XML_CONTENT ? "&#10;" : NULL;
	default:
		return NULL;
	}
}

void tni_xml_write_text(struct tni_bytes *out, const struct tn_value *text, enum tni_xml_place place, bool escaped)
{
	static const char hex[] = "0123456789abcdef";
	const uint8_t *p = (const uint8_t *)text->u.data;
	const uint8_t *end = p + text->len;
	const uint8_t *done = p; /* what is before it has been written */

	while (p < end) {
		const char *written = reference(*p, place);
		char code[] = "\\u00xx";
		size_t size = 1;

		if (!written && escaped && *p == '\\') {
			written = "\\\\";
		} else if (!written && escaped && is_control(*p)) {
			code[4] = hex[*p >> 4];
			code[5] = hex[*p & 15];
			written = code;
		} else if (!written && escaped && is_noncharacter(p, (size_t)(end - p))) {
			written = p[2] == 0xbe ? "\\ufffe" : "\\uffff";
			size = 3;
		}
		if (written) {
			tni_bytes_append(out, done, (size_t)(p - done));
			tni_bytes_append(out, written, strlen(written));
			done = p + size;
		}
		p += size;
	}
	tni_bytes_append(out, done, (size_t)(end - done));
}

static int xml_encode(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out)
{
	size_t start = out->len;
	int err = opts && opts->jsonml ? tni_xml_jsonml_write(v, opts, out) : tni_xml_fn_write(v, opts, out);

	if (!err)
		err = out->err;
	if (err)
		out->len = start;
	return err;
}

const struct tni_codec tni_codec_xml = {
	.name = "xml",
	.meaning = "XML 1.0: the XML representation of JSON, or JsonML",
	.kind = TN_FORMAT_VALUES | TN_FORMAT_TEXT | TN_FORMAT_BLANK,
	.decode = xml_decode,
	.encode = xml_encode,
	.check = xml_check,
};
