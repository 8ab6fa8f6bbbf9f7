#include "test_codec.h"

#define NS " xmlns=\"http://www.w3.org/2005/xpath-functions\""

static const struct tni_codec *const xml = &tni_codec_xml;
static const struct tni_codec *const json = &tni_codec_json;
static const struct tni_codec_opts strict = {.strict = true};
static const struct tni_codec_opts jsonml = {.jsonml = true};

/* The XML representation of JSON as it is written, and the JSON. Both ways. */
static void representation_of_json(void **state)
{
	static const struct {
		const char *xml, *json;
	} cases[] = {
		{"<null" NS "/>", "null"},
		{"<boolean" NS ">true</boolean>", "true"},
		{"<number" NS ">-1.5</number>", "-1.5"},
		{"<number" NS ">9007199254740993</number>", "9007199254740993"},
		{"<number" NS ">123456789012345678901234567890</number>", "123456789012345678901234567890"},
		{"<number" NS ">1.5e300</number>", "1.5e300"},
		{"<string" NS "/>", "\"\""},
		{"<string" NS ">&lt;a&gt; &amp; \"b\"\t&#10;&#13;\\</string>", "\"<a> & \\\"b\\\"\\t\\n\\r\\\\\""},
		{"<string" NS " escaped=\"true\">a\\u0000\\\\b\\u001f\"\\uffff</string>",
		 "\"a\\u0000\\\\b\\u001f\\\"\xef\xbf\xbf\""},
		{"<string" NS ">\xf0\x9d\x84\x9e\x7f\xc2\x80</string>", "\"\xf0\x9d\x84\x9e\x7f\xc2\x80\""},
		{"<array" NS "/>", "[]"},
		{"<map" NS "/>", "{}"},
		{"<array" NS "><number>1</number><array/><map/><null/></array>", "[1,[],{},null]"},
		{"<map" NS
		 "><string key=\"a\">x</string><map key=\"\"><null key=\"&lt;&quot;&amp;&#9;&#10;&#13;\"/></map></map>",
		 "{\"a\":\"x\",\"\":{\"<\\\"&\\t\\n\\r\":null}}"},
		{"<map" NS "><array escaped-key=\"true\" key=\"\\u0001\\\\\"/></map>", "{\"\\u0001\\\\\":[]}"},
		{"<map" NS "><string key=\"$bytes\">AQID</string></map>", "{\"$bytes\":\"AQID\"}"},
		{"<map" NS "><array key=\"$map\"><array><number>1</number><number>2</number></array></array></map>",
		 "{\"$map\":[[1,2]]}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		must_convert(xml, cases[i].xml, strlen(cases[i].xml), json, cases[i].json, strlen(cases[i].json));
		must_convert(json, cases[i].json, strlen(cases[i].json), xml, cases[i].xml, strlen(cases[i].xml));
	}
}

/* Other ways to write it. */
static void representation_of_json_is_read_freely(void **state)
{
	static const struct {
		const char *xml, *json;
	} cases[] = {
		{"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><?p i?>\n"
		 "<f:map xmlns:f=\"http://www.w3.org/2005/xpath-functions\">\n"
		 " <!-- c --><f:number key='a'> 1 </f:number>\n <?p i?>\n</f:map>\n<!-- c -->\n",
		 "{\"a\":1}"},
		{"<array" NS "><g:null xmlns:g=\"http://www.w3.org/2005/xpath-functions\"/></array>", "[null]"},
		{"<boolean" NS "> 1\n</boolean>", "true"},
		{"<boolean" NS ">0</boolean>", "false"},
		{"<boolean" NS ">false</boolean>", "false"},
		{"<number" NS ">+007</number>", "7"},
		{"<number" NS ">-00</number>", "-0.0"},
		{"<number" NS ">.5</number>", "0.5"},
		{"<number" NS ">5.</number>", "5"},
		{"<number" NS ">+05.e1</number>", "50.0"},
		{"<number" NS ">1E2</number>", "100.0"},
		{"<number" NS ">1<!-- c -->2</number>", "12"},
		{"<string" NS ">a<![CDATA[<b>]]>&#x63;<!-- c --><?p i?>d</string>", "\"a<b>cd\""},
		{"<string" NS " escaped=\"1\">\\n\\/\\\"\\ud834\\udd1e\"</string>", "\"\\n/\\\"\xf0\x9d\x84\x9e\\\"\""},
		{"<string" NS " escaped=\"false\">\\n</string>", "\"\\\\n\""},
		{"<map" NS "><null key=\"\\n\" escaped-key=\" 0 \"/><null key=\"\\n\" escaped-key=\"true\"/></map>",
		 "{\"\\\\n\":null,\"\\n\":null}"},
		/* key of the root is passed over, and attributes of other namespaces */
		{"<null" NS " key=\"k\" escaped-key=\"true\" xml:lang=\"en\" xmlns:x=\"urn:x\" x:key=\"y\"/>", "null"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		must_convert(xml, cases[i].xml, strlen(cases[i].xml), json, cases[i].json, strlen(cases[i].json));
}

static void other_encodings(void **state)
{
	(void)state;
	must_convert(xml, LITERAL("<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>"), json,
		     LITERAL("[\"a\",\"\xc3\xa9\"]"));
	must_convert(xml, LITERAL("\xff\xfe<\0a\0>\0\xac\x20<\0/\0a\0>\0"), json, LITERAL("[\"a\",\"\xe2\x82\xac\"]"));
	must_convert(xml, LITERAL("\xef\xbb\xbf<a/>"), json, LITERAL("[\"a\"]"));
	must_refuse(xml, LITERAL("<?xml version='1.0' encoding='EBCDIC-X'?><a/>"), NULL, TN_EREPR, 30);
}

static void any_other_xml_is_jsonml(void **state)
{
	static const struct {
		const char *xml, *json;
	} cases[] = {
		{"<a/>", "[\"a\"]"},
		{"<a b=\"1\" c=\"&lt;\"/>", "[\"a\",{\"b\":\"1\",\"c\":\"<\"}]"},
		{"<a>x<b>y</b>z</a>", "[\"a\",\"x\",[\"b\",\"y\"],\"z\"]"},
		{"<a> <b/>\n</a>", "[\"a\",\" \",[\"b\"],\"\\n\"]"},
		{"<p:a xmlns:p=\"u\" p:b=\"c\"><p:d/></p:a>", "[\"p:a\",{\"xmlns:p\":\"u\",\"p:b\":\"c\"},[\"p:d\"]]"},
		/* the root decides, not what is inside */
		{"<a><map" NS "/></a>", "[\"a\",[\"map\",{\"xmlns\":\"http://www.w3.org/2005/xpath-functions\"}]]"},
		/* well-formed, though not in the sense of namespaces */
		{"<u:a>x</u:a>", "[\"u:a\",\"x\"]"},
		{"<a:b:c d:e:f=\"\"/>", "[\"a:b:c\",{\"d:e:f\":\"\"}]"},
		{"<\xc3\xa9/>", "[\"\xc3\xa9\"]"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct tn_value *v = must_decode(xml, cases[i].xml, strlen(cases[i].xml), NULL);

		must_encode(json, v, NULL, cases[i].json, strlen(cases[i].json));
		must_encode(xml, v, &jsonml, cases[i].xml, strlen(cases[i].xml));
		tn_value_free(v);
	}
	/* text that comes in pieces is one; comments and instructions are not kept */
	must_convert(xml, LITERAL("<a>x<!-- c -->y<![CDATA[<z>]]><?p i?>&amp;\r\n</a>"), json,
		     LITERAL("[\"a\",\"xy<z>&\\n\"]"));
}

static void jsonml_when_asked_for(void **state)
{
	struct tn_value *v = must_decode(xml, LITERAL("<map" NS "><null key=\"a\"/></map>"), &jsonml);

	(void)state;
	must_encode(
		json, v, NULL,
		LITERAL("[\"map\",{\"xmlns\":\"http://www.w3.org/2005/xpath-functions\"},[\"null\",{\"key\":\"a\"}]]"));
	tn_value_free(v);
	v = must_decode(json, LITERAL("[\"a\",{\"b\":\"\\t\\n\\r<&>\\\"\"},\"\\t\\n\\r<&>\\\"\"]"), NULL);
	must_encode(xml, v, &jsonml,
		    LITERAL("<a b=\"&#9;&#10;&#13;&lt;&amp;&gt;&quot;\">\t\n&#13;&lt;&amp;&gt;\"</a>"));
	tn_value_free(v);
}

static void what_is_no_jsonml_is_not_written(void **state)
{
	static const struct {
		const char *json;
		int code;
	} cases[] = {
		{"null", TN_EREPR},
		{"\"a\"", TN_EREPR},
		{"[]", TN_EREPR},
		{"{}", TN_EREPR},
		{"[1]", TN_EREPR},
		{"[\"\"]", TN_EREPR},
		{"[\"a b\"]", TN_EREPR},
		{"[\"a><b\"]", TN_EREPR},
		{"[\"1a\"]", TN_EREPR},
		{"[\"-a\"]", TN_EREPR},
		{"[\"a\\u0000\"]", TN_EREPR},
		{"[\"\xc3\x97\"]", TN_EREPR},
		{"[\"a\",1]", TN_EREPR},
		{"[\"a\",\"\\u0001\"]", TN_EREPR},
		{"[\"a\",\"\xef\xbf\xbe\"]", TN_EREPR},
		{"[\"a\",{\"b\":1}]", TN_EREPR},
		{"[\"a\",{\"b c\":\"\"}]", TN_EREPR},
		{"[\"a\",{\"b\":\"\\u0000\"}]", TN_EREPR},
		{"[\"a\",{},{}]", TN_EREPR},
		{"[\"a\",{\"b\":\"\",\"b\":\"\"}]", TN_EDUPKEY},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct tn_value *v = must_decode(json, cases[i].json, strlen(cases[i].json), NULL);

		must_not_encode(xml, v, &jsonml, cases[i].code);
		tn_value_free(v);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *xml;
		int code;
		size_t at;
	} cases[] = {
		{"", TN_ETRUNC, 0},
		{"   ", TN_ETRUNC, 3},
		{"<", TN_ETRUNC, 1},
		{"<a", TN_ETRUNC, 2},
		{"<a>", TN_ETRUNC, 3},
		{"<a>x", TN_ETRUNC, 4},
		{"<a><b></b>", TN_ETRUNC, 10},
		{"<a><![CDATA[x", TN_ETRUNC, 13},
		{"<a><!-- x", TN_ETRUNC, 9},
		{"<a b=\"x", TN_ETRUNC, 7},
		{"x", TN_EFORMAT, 0},
		{"<a/>x", TN_EFORMAT, 4},
		{"<a/><b/>", TN_EFORMAT, 4},
		{"<a></b>", TN_EFORMAT, 5},
		{"<a b='1' b='2'/>", TN_EFORMAT, 9},
		{"<a b=1/>", TN_EFORMAT, 5},
		{"<a>&b;</a>", TN_EFORMAT, 3},
		{"<a>&#0;</a>", TN_EFORMAT, 3},
		{"<a>&#xd800;</a>", TN_EFORMAT, 3},
		{"<a>\x01</a>", TN_EFORMAT, 3},
		{"<a>]]></a>", TN_EFORMAT, 5},
		{"<a><!-- -- --></a>", TN_EFORMAT, 10},
		{"<a>\xff</a>", TN_EUTF8, 3},
		{"<a>\xc0\x80</a>", TN_EUTF8, 3},
		{"<a>\xed\xa0\x80</a>", TN_EUTF8, 3},
		{"<a b='\xf8'/>", TN_EUTF8, 6},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		must_refuse(xml, cases[i].xml, strlen(cases[i].xml), NULL, cases[i].code, cases[i].at);
	must_refuse(xml, LITERAL("<a>\0</a>"), NULL, TN_EFORMAT, 3);
	must_refuse(xml, NULL, 0, NULL, TN_ETRUNC, 0);
}

/* Documents of the namespace that are not of its schema. `@` is where. */
static void not_of_the_schema(void **state)
{
	static const struct {
		const char *xml;
		int code;
	} cases[] = {
		{"@<object" NS "/>", TN_EFORMAT},
		{"<array" NS ">@<a xmlns=\"\"/></array>", TN_EFORMAT},
		{"<array" NS ">@x</array>", TN_EFORMAT},
		{"<map" NS "><null key=\"a\"/>@x</map>", TN_EFORMAT},
		{"<map" NS ">@<null/></map>", TN_EFORMAT},
		{"<array" NS ">@<null key=\"a\"/></array>", TN_EFORMAT},
		{"<array" NS ">@<null escaped=\"true\"/></array>", TN_EFORMAT},
		{"<array" NS ">@<string escaped=\"yes\"/></array>", TN_EFORMAT},
		{"<array" NS ">@<string other=\"\"/></array>", TN_EFORMAT},
		{"<array" NS
		 " xmlns:f=\"http://www.w3.org/2005/xpath-functions\">@<string f:escaped=\"true\"/></array>",
		 TN_EFORMAT},
		{"<array" NS "><string>@<null/></string></array>", TN_EFORMAT},
		{"<array" NS ">@<null>x</null></array>", TN_EFORMAT},
		{"<array" NS ">@<null> </null></array>", TN_EFORMAT},
		{"<array" NS ">@<boolean>yes</boolean></array>", TN_EFORMAT},
		{"<array" NS ">@<boolean/></array>", TN_EFORMAT},
		{"<array" NS ">@<number/></array>", TN_EFORMAT},
		{"<array" NS ">@<number>INF</number></array>", TN_EFORMAT},
		{"<array" NS ">@<number>NaN</number></array>", TN_EFORMAT},
		{"<array" NS ">@<number>0x10</number></array>", TN_EFORMAT},
		{"<array" NS ">@<number>1 2</number></array>", TN_EFORMAT},
		{"<array" NS ">@<number>.</number></array>", TN_EFORMAT},
		{"<array" NS ">@<number>1e</number></array>", TN_EFORMAT},
		{"<array" NS ">@<number>e5</number></array>", TN_EFORMAT},
		{"<array" NS ">@<number>-e5</number></array>", TN_EFORMAT},
		{"<array" NS ">@<number>.e5</number></array>", TN_EFORMAT},
		{"<array" NS ">@<number>--1</number></array>", TN_EFORMAT},
		{"<array" NS ">@<number>1e400</number></array>", TN_ETOOBIG},
		{"<array" NS ">@<string escaped=\"true\">\\x</string></array>", TN_EFORMAT},
		{"<array" NS ">@<string escaped=\"true\">\\</string></array>", TN_EFORMAT},
		{"<array" NS ">@<string escaped=\"true\">\\u12</string></array>", TN_EFORMAT},
		{"<array" NS ">@<string escaped=\"true\">\\ud800</string></array>", TN_EUTF8},
		{"<array" NS ">@<string escaped=\"true\">\\ud800\\u0041</string></array>", TN_EUTF8},
		{"<array" NS ">@<string escaped=\"true\">\\udc00</string></array>", TN_EUTF8},
		/* equal keys, also when written in two ways: an error of fn:xml-to-json */
		{"<map" NS "><null key=\"a\"/>@<null key=\"a\"/></map>", TN_EDUPKEY},
		{"<map" NS "><null key=\"&#10;\"/>@<null escaped-key=\"1\" key=\"\\n\"/></map>", TN_EDUPKEY},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		size_t at = strcspn(cases[i].xml, "@");
		char text[512];

		snprintf(text, sizeof text, "%.*s%s", (int)at, cases[i].xml, cases[i].xml + at + 1);
		must_refuse(xml, text, strlen(text), NULL, cases[i].code, at);
	}
}

/* expat tells of a declaration when it has seen enough of it: the position is anywhere inside. */
static void must_refuse_inside(const char *text, size_t from, const struct tni_codec_opts *opts, int code)
{
	struct tni_codec_error err = {0};
	struct tn_value *v = NULL;

	assert_int_equal(xml->decode(text, strlen(text), opts, &v, &err), code);
	assert_in_range(err.at, from, from + strcspn(text + from, ">") + 1);
	must_refuse(xml, text, strlen(text), opts, code, err.at);
}

static void nothing_outside_is_opened(void **state)
{
	static const struct {
		const char *xml; /* `@` is where that begins which is refused */
		int code;
	} cases[] = {
		{"<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>@&b;</a>", TN_EREPR},
		{"<!DOCTYPE a [<!ENTITY b PUBLIC \"p\" \"http://localhost/\">]><a>@&b;</a>", TN_EREPR},
		{"<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>@<a c=\"&b;\"/>", TN_EFORMAT},
		{"<!DOCTYPE a [<!ENTITY b SYSTEM \"x\"><!ENTITY c \"&b;\">]><a>@&c;</a>", TN_EREPR},
		{"<!DOCTYPE a [<!ENTITY % b \"<!ENTITY c 'd'>\"> %b;]><a>@&c;</a>", TN_EREPR},
		{"<!DOCTYPE a [<!ENTITY % b SYSTEM \"file:///etc/passwd\"> %b;]><a>@&c;</a>", TN_EREPR},
		{"<!DOCTYPE a [<!NOTATION n SYSTEM \"n\"><!ENTITY b SYSTEM \"c\" NDATA n>]><a>@&b;</a>", TN_EFORMAT},
		{"<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a>@&b;</a>", TN_EREPR},
		{"<!DOCTYPE a [%b;]><a>@&c;</a>", TN_EREPR},
		{"<!DOCTYPE a SYSTEM \"x\"><a b=\"&amp;&#99;@&c;\"/>", TN_EREPR},
		{"<!DOCTYPE a SYSTEM \"x\"><a><b/><b c=\"@&amp\"/></a>", TN_EFORMAT},
		{"<!DOCTYPE a SYSTEM \"x\"><a><b/><b c=\"@&ampere;\"/></a>", TN_EREPR},
		{"<!DOCTYPE a SYSTEM \"x\" [<!ENTITY b \"<c d='&e;'/>\">]><a>@&b;</a>", TN_EREPR},
		{"<!DOCTYPE a SYSTEM \"x\" [<!ENTITY b \"&c;\">]><a>@&b;</a>", TN_EREPR},
		{"<!DOCTYPE a SYSTEM \"x\" [@<!ATTLIST a b CDATA \"&c;\">]><a/>", TN_EREPR},
		{"<?xml version='1.0' standalone='yes'?><!DOCTYPE a SYSTEM \"x\">@<a b=\"&c;\"/>", TN_EFORMAT},
		{"<!DOCTYPE a [<!ELEMENT a ANY>]><a>@&b;</a>", TN_EFORMAT},
	};
	static const char *const accepted[] = {
		"<!DOCTYPE a><a/>",
		"<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
		"<!DOCTYPE a PUBLIC \"-//x\" \"http://localhost/\"><a/>",
		"<!DOCTYPE a [<!ELEMENT a ANY><!ATTLIST a b CDATA #IMPLIED>]><a/>",
		"<!DOCTYPE a [<!NOTATION n SYSTEM \"n\"><!-- c --><?p i?>]><a/>",
		"<!DOCTYPE a [<!NOTATION n SYSTEM \"n\"><!ENTITY b SYSTEM \"c\" NDATA n>]><a/>",
		"<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a/>",
		"<!DOCTYPE a [<!ENTITY % b SYSTEM \"file:///etc/passwd\"> %b;]><a/>",
		"<!DOCTYPE a SYSTEM \"x\" [%b;]><a/>",
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		size_t at = strcspn(cases[i].xml, "@");
		char text[512];

		snprintf(text, sizeof text, "%.*s%s", (int)at, cases[i].xml, cases[i].xml + at + 1);
		must_refuse_inside(text, at, NULL, cases[i].code);
		must_refuse_inside(text, at, &jsonml, cases[i].code);
		must_refuse_inside(text, (size_t)(strstr(text, "<!DOCTYPE") - text), &strict, TN_EREPR);
	}
	for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
		must_convert(xml, accepted[i], strlen(accepted[i]), json, LITERAL("[\"a\"]"));
		must_refuse_inside(accepted[i], 0, &strict, TN_EREPR);
	}
}

static void declarations_inside_count(void **state)
{
	static const struct {
		const char *xml;
		const char *json;
	} cases[] = {
		{"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;-&b;</a>", "[\"a\",\"c-c\"]"},
		{"<!DOCTYPE a [<!ENTITY b \"c\"><!ENTITY b \"d\">]><a>&b;</a>", "[\"a\",\"c\"]"},
		{"<!DOCTYPE a [<!ENTITY b \"<c/>\">]><a>&b;</a>", "[\"a\",[\"c\"]]"},
		{"<!DOCTYPE a [<!ENTITY b \"&c;&c;\"><!ENTITY c \"'\">]><a d='&b;'/>", "[\"a\",{\"d\":\"''\"}]"},
		{"<!DOCTYPE a [<!ENTITY b \"&#38;#60;\">]><a>&b;</a>", "[\"a\",\"<\"]"},
		{"<!DOCTYPE a [<!ATTLIST a b CDATA \"c\">]><a/>", "[\"a\",{\"b\":\"c\"}]"},
		{"<!DOCTYPE a [<!ATTLIST a b CDATA #FIXED \"c\">]><a/>", "[\"a\",{\"b\":\"c\"}]"},
		{"<!DOCTYPE a [<!ATTLIST a b CDATA \"c\">]><a b=\"d\"/>", "[\"a\",{\"b\":\"d\"}]"},
		{"<!DOCTYPE a SYSTEM \"x\" [<!ATTLIST a b CDATA \"&lt;c\">]><a/>", "[\"a\",{\"b\":\"<c\"}]"},
		{"<!DOCTYPE a [<!ATTLIST a b NMTOKENS #IMPLIED>]><a b=\" c  d \"/>", "[\"a\",{\"b\":\"c d\"}]"},
		{"<!DOCTYPE array [<!ENTITY b \"<null/>\">]><array" NS ">&b;&b;</array>", "[null,null]"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		must_convert(xml, cases[i].xml, strlen(cases[i].xml), json, cases[i].json, strlen(cases[i].json));
		must_refuse_inside(cases[i].xml, 0, &strict, TN_EREPR);
	}
	must_refuse(xml, LITERAL("<!DOCTYPE a [<!ENTITY b \"<\">]><a>&b;</a>"), NULL, TN_EFORMAT, 33);
	must_refuse(xml, LITERAL("<!DOCTYPE a [<!ENTITY b \"<c>\">]><a>&b;</a>"), NULL, TN_EFORMAT, 35);
	must_refuse(xml, LITERAL("<!DOCTYPE a [<!ENTITY b \"&b;\">]><a>&b;</a>"), NULL, TN_EFORMAT, 35);
}

/* `count` entities, each made of `times` references to the one before it, and a document that uses the last. */
static void put_entities(struct tni_bytes *out, int count, int times, const char *use)
{
	char text[64];

	out->len = 0;
	tni_bytes_literal(out, "<!DOCTYPE a [<!ENTITY e0 \"ha\">");
	for (int i = 1; i < count; i++) {
		tni_bytes_append(out, text, (size_t)snprintf(text, sizeof text, "<!ENTITY e%d \"", i));
		for (int j = 0; j < times; j++)
			tni_bytes_append(out, text, (size_t)snprintf(text, sizeof text, "&e%d;", i - 1));
		tni_bytes_literal(out, "\">");
	}
	tni_bytes_append(out, text, (size_t)snprintf(text, sizeof text, use, count - 1));
}

static void entities_make_little(void **state)
{
	static const char *const uses[] = {"]><a>&e%d;</a>", "]><a b=\"&e%d;\"/>"};
	struct tni_bytes in = {0};
	struct tn_value *v = NULL;
	struct tni_codec_error err;

	(void)state;
	for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
		put_entities(&in, 10, 10, uses[i]); /* the billion of them */
		assert_int_equal(xml->decode(in.data, in.len, NULL, &v, &err), TN_ETOOBIG);
		put_entities(&in, 3, 100, uses[i]); /* some */
		assert_int_equal(xml->decode(in.data, in.len, NULL, &v, &err), 0);
		put_entities(&in, 512, 1, uses[i]); /* a long row, for expat's stack */
		assert_int_equal(xml->decode(in.data, in.len, NULL, &v, &err), 0);
		put_entities(&in, 513, 1, uses[i]);
		assert_int_equal(xml->decode(in.data, in.len, NULL, &v, &err), TN_ETOOBIG);
		tn_value_free(v);
		v = NULL;
	}
	tni_bytes_free(&in);
}

/* In UTF-16 the name of a reference has a zero byte beside each character. */
static void references_in_utf16(void **state)
{
	static const struct {
		const char *xml;
		int code;
	} cases[] = {
		{"<!DOCTYPE a SYSTEM \"x\"><a b=\"&amp;&#99;&quot;&lt;\"/>", 0},
		{"<!DOCTYPE a SYSTEM \"x\"><a b=\"&apos;&gt;\"/>", 0},
		{"<!DOCTYPE a SYSTEM \"x\"><a b=\"&amp;&c;\"/>", TN_EREPR},
		{"<!DOCTYPE a SYSTEM \"x\"><a b=\"&ampere;\"/>", TN_EREPR},
		{"<!DOCTYPE a SYSTEM \"x\"><a b=\"&a.very.long.name.of.an.entity;\"/>", TN_EREPR},
	};
	char wide[512];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (int big = 0; big < 2; big++) {
			size_t len = strlen(cases[i].xml);
			struct tn_value *v = NULL;

			memcpy(wide, big ? "\xfe\xff" : "\xff\xfe", 2);
			memset(wide + 2, 0, 2 * len);
			for (size_t j = 0; j < len; j++)
				wide[2 + 2 * j + (size_t)big] = cases[i].xml[j];
			assert_int_equal(xml->decode(wide, 2 + 2 * len, NULL, &v, NULL), cases[i].code);
			tn_value_free(v);
		}
}

/* `count` times a text. */
static void put_times(struct tni_bytes *out, const char *text, int count)
{
	while (count--)
		tni_bytes_append(out, text, strlen(text));
}

/* An element of four bytes is a value of many more, and a default is in every one of them. */
static void declarations_make_few_parts(void **state)
{
	static const struct {
		const char *declared, *used, *end;
		int few, many;
	} cases[] = {
		{"<!ENTITY x \"<b/><b/><b/><b/><b/><b/><b/><b/><b/><b/>\">]><a>", "&x;", "</a>", 50, 200},
		{"<!ENTITY x \"t<b c=''/>\">]><a>", "&x;", "</a>", 100, 1000},
		{"<!ATTLIST b c CDATA 'd' e CDATA 'f' g CDATA 'h' i CDATA 'j'>]><a>", "<b/>", "</a>", 100, 1000},
		{"<!ATTLIST b c CDATA 'd'>]><a>", "<b e=''/>", "</a>", 100, 5000},
		{"<!ENTITY x \"<b c='' d='' e='' f='' g='' h='' i='' j='' k=''/>\">]><a>", "&x;", "</a>", 50, 120},
	};
	struct tni_bytes in = {0};
	struct tn_value *v = NULL;
	struct tni_codec_error err;

	(void)state;
	for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
		int count = i % 2 ? cases[i / 2].many : cases[i / 2].few;

		in.len = 0;
		tni_bytes_literal(&in, "<!DOCTYPE a [");
		put_times(&in, cases[i / 2].declared, 1);
		put_times(&in, cases[i / 2].used, count);
		put_times(&in, cases[i / 2].end, 1);
		assert_int_equal(xml->decode(in.data, in.len, NULL, &v, &err), i % 2 ? TN_ETOOBIG : 0);
	}
	tn_value_free(v);
	tni_bytes_free(&in);
}

/* What is in the document itself may be of any number of parts. */
static void what_is_not_declared_is_not_counted(void **state)
{
	struct tni_bytes in = {0};

	(void)state;
	tni_bytes_literal(&in, "<!DOCTYPE a [<!ENTITY x \"y\">]><a>");
	put_times(&in, "<b/><c d=''/>", 20000);
	tni_bytes_literal(&in, "</a>");
	tn_value_free(must_decode(xml, in.data, in.len, NULL));
	tni_bytes_free(&in);
}

static void the_version_is_one(void **state)
{
	(void)state;
	must_convert(xml, LITERAL("<?xml version=\"1.1\"?><a/>"), json, LITERAL("[\"a\"]"));
	must_convert(xml, LITERAL("<?xml version='1.10'?><a/>"), json, LITERAL("[\"a\"]"));
	must_refuse(xml, LITERAL("<?xml version=\"2.0\"?><a/>"), NULL, TN_EFORMAT, 15);
	must_refuse(xml, LITERAL("<?xml version=\"100\"?><a/>"), NULL, TN_EFORMAT, 15);
	must_refuse(xml, LITERAL("<?xml version=\"1.\"?><a/>"), NULL, TN_EFORMAT, 15);
	must_refuse(xml, LITERAL("<?xml version=\"1.0a\"?><a/>"), NULL, TN_EFORMAT, 15);
}

static void errors_have_line_and_column(void **state)
{
	struct tni_codec_error err = must_refuse(xml, LITERAL("<a>\n<b>\n  </c>\n</a>"), NULL, TN_EFORMAT, 12);

	(void)state;
	assert_int_equal(err.line, 3);
	assert_int_equal(err.column, 5);
}

static void nesting_is_limited(void **state)
{
	struct tni_bytes in = {0};
	size_t begin;

	(void)state;
	for (int i = 0; i < 129; i++)
		tni_bytes_literal(&in, "<a>");
	must_refuse(xml, in.data, in.len, NULL, TN_EDEPTH, 128 * 3);
	in.len = 0;
	tni_bytes_literal(&in, "<array" NS ">");
	begin = in.len;
	for (int i = 0; i < 127; i++)
		tni_bytes_literal(&in, "<array>");
	for (int i = 0; i < 128; i++)
		tni_bytes_literal(&in, "</array>");
	tn_value_free(must_decode(xml, in.data, in.len, NULL));
	in.len = begin;
	for (int i = 0; i < 50000; i++)
		tni_bytes_literal(&in, "<array>");
	must_refuse(xml, in.data, in.len, NULL, TN_EDEPTH, begin + 127 * 7);
	tni_bytes_free(&in);
}

static void pretty_output(void **state)
{
	static const struct tni_codec_opts pretty = {.pretty = true};
	struct tn_value *v = must_decode(json, LITERAL("{\"a\":[1,{}],\"b\":\" x \"}"), NULL);
	static const char expected[] =
		"<map" NS ">\n  <array key=\"a\">\n    <number>1</number>\n    <map/>\n  </array>\n"
		"  <string key=\"b\"> x </string>\n</map>";

	(void)state;
	must_encode(xml, v, &pretty, expected, sizeof expected - 1);
	must_convert(xml, expected, sizeof expected - 1, json, LITERAL("{\"a\":[1,{}],\"b\":\" x \"}"));
	tn_value_free(v);
}

static void equal_keys_are_not_written(void **state)
{
	struct tn_value *v = must_decode(json, LITERAL("{\"a\":1,\"a\":2}"), NULL);

	(void)state;
	must_not_encode(xml, v, NULL, TN_EDUPKEY);
	tn_value_free(v);
}

/* XML 1.0, 4.3.3 and appendix F: a byte order mark and a declaration that name different encodings. */
static void mark_and_declaration_agree(void **state)
{
	static const char *const others[] = {"iso-8859-1", "ISO-8859-1", "US-ASCII", "us-ascii"};
	static const char utf16[] = "<?xml version='1.0' encoding='utf-8'?><a/>";
	uint8_t wide[2 * sizeof(utf16)] = {0xfe, 0xff};
	char text[100];

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		snprintf(text, sizeof(text), "\xef\xbb\xbf<?xml version='1.0' encoding='%s'?><a>\xc3\xa9</a>",
			 others[i]);
		must_refuse(xml, text, strlen(text), NULL, TN_EFORMAT, 33);
		snprintf(text, sizeof(text), "\xef\xbb\xbf<?xml version='1.0' encoding = \"%s\" ?><a" NS "/>",
			 others[i]);
		must_refuse(xml, text, strlen(text), NULL, TN_EFORMAT, 35);
	}
	must_convert(xml, LITERAL("\xef\xbb\xbf<?xml version='1.0' encoding='utf-8'?><a>\xc3\xa9</a>"), json,
		     LITERAL("[\"a\",\"\xc3\xa9\"]"));
	must_convert(xml, LITERAL("<?xml version='1.0' encoding='iso-8859-1'?><a>\xe9</a>"), json,
		     LITERAL("[\"a\",\"\xc3\xa9\"]"));
	for (size_t i = 0; i < sizeof(utf16) - 1; i++)
		wide[2 + 2 * i + 1] = (uint8_t)utf16[i];
	must_refuse(xml, wide, 2 * sizeof(utf16), NULL, TN_EFORMAT, 62);
	must_refuse(xml, LITERAL("\xef\xbb\xbf<?xml version='1.0' encoding='utf-16'?><a/>"), NULL, TN_EFORMAT, 33);
}

/* JsonML takes names as they are written: see docs/formats.md. */
static void namespaces_are_not_checked(void **state)
{
	(void)state;
	must_convert(xml, LITERAL("<p:a q:b='1'/>"), json, LITERAL("[\"p:a\",{\"q:b\":\"1\"}]"));
	must_convert(xml, LITERAL("<a:b:c/>"), json, LITERAL("[\"a:b:c\"]"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mark_and_declaration_agree),
		cmocka_unit_test(namespaces_are_not_checked),
		cmocka_unit_test(representation_of_json),
		cmocka_unit_test(representation_of_json_is_read_freely),
		cmocka_unit_test(other_encodings),
		cmocka_unit_test(any_other_xml_is_jsonml),
		cmocka_unit_test(jsonml_when_asked_for),
		cmocka_unit_test(what_is_no_jsonml_is_not_written),
		cmocka_unit_test(refused),
		cmocka_unit_test(not_of_the_schema),
		cmocka_unit_test(nothing_outside_is_opened),
		cmocka_unit_test(references_in_utf16),
		cmocka_unit_test(declarations_inside_count),
		cmocka_unit_test(entities_make_little),
		cmocka_unit_test(declarations_make_few_parts),
		cmocka_unit_test(what_is_not_declared_is_not_counted),
		cmocka_unit_test(the_version_is_one),
		cmocka_unit_test(errors_have_line_and_column),
		cmocka_unit_test(nesting_is_limited),
		cmocka_unit_test(pretty_output),
		cmocka_unit_test(equal_keys_are_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
