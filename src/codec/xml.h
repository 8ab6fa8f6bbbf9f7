/* What the two ways of XML share: the XML representation of JSON (xml_fn.c) and JsonML (xml_jsonml.c). */
#ifndef TNI_CODEC_XML_H
#define TNI_CODEC_XML_H

#define XML_DTD /* how the library is built; its header shows the limit of what entities make only then */
#include <expat.h>

#include "codec/build.h"
#include "codec/codec.h"

#define TNI_XML_FN "http://www.w3.org/2005/xpath-functions"
#define TNI_XML_SEPARATOR '\n' /* stands between a namespace and a name: no namespace can hold one */

/* One reading of a document. */
struct tni_xml {
	XML_Parser parser;
	const char *data;
	size_t len;
	struct tni_build build;
	bool strict;
	bool elsewhere;    /* there may be declarations outside the document */
	unsigned entities; /* declared so far */
	size_t growth;     /* what declarations may still make of the document, bytes */
	int code;          /* why it was stopped */
	const char *text;
	size_t at;
	struct tni_bytes chars; /* character data not yet added */
	/* xml_fn.c: */
	bool foreign; /* the root is not of its namespace: stopped */
	bool began;
	const struct tni_xml_leaf *leaf; /* the open element that is no container */
	bool escaped;
	size_t leaf_at;
	struct tni_bytes plain; /* unescaped text */
};

/* Notes the first error, at the present event or at `at`, and stops the parser. */
void tni_xml_refuse(struct tni_xml *x, int code, const char *text);
void tni_xml_refuse_at(struct tni_xml *x, int code, const char *text, size_t at);
/* The same for a code from tni_build_*(), unless that is 0. Returns whether it is. */
bool tni_xml_took(struct tni_xml *x, int code);
/* Where the present event begins in the document. */
size_t tni_xml_here(const struct tni_xml *x);

/* Refuses the present start tag if expat has dropped a reference from its attributes, or has added too many. Returns
 * whether it has not. */
bool tni_xml_whole_tag(struct tni_xml *x, const char **attributes);

/* Sets the handlers of one way; the parser of the first is one that resolves namespaces. */
void tni_xml_fn_begin(struct tni_xml *x);
void tni_xml_jsonml_begin(struct tni_xml *x);

int tni_xml_fn_write(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out);
int tni_xml_jsonml_write(const struct tn_value *v, const struct tni_codec_opts *opts, struct tni_bytes *out);

/* Whether every character may stand in XML 1.0. */
bool tni_xml_allows(const struct tn_value *text);
enum tni_xml_place {
	TNI_XML_CONTENT,
	TNI_XML_STRING,    /* content in which a line feed is written &#10;, so that the document is one line */
	TNI_XML_ATTRIBUTE, /* between quotes */
};

/* Writes text for its place. With `escaped` a backslash is doubled and
 * what XML does not allow is written \uXXXX; without, the text must be allowed. */
void tni_xml_write_text(struct tni_bytes *out, const struct tn_value *text, enum tni_xml_place place, bool escaped);

#endif
