#include "web/http.h"

#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- characters (RFC 9110 5.6.2, RFC 9112) ---- */

static bool is_tchar(unsigned char c)
{
	return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool tni_http_is_token(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_tchar((unsigned char)p[i]))
			return false;
	return len > 0;
}

static bool is_value_char(unsigned char c)
{
	return c == '\t' || (c >= ' ' && c != 0x7f);
}

bool tni_http_is_value(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_value_char((unsigned char)p[i]))
			return false;
	return true;
}

bool tni_http_is(const struct tni_http_text *text, const char *word)
{
	return text->len == strlen(word) && (!text->len || strncasecmp(text->at, word, text->len) == 0);
}

bool tni_http_equals(const struct tni_http_text *text, const char *word)
{
	return text->len == strlen(word) && (!text->len || memcmp(text->at, word, text->len) == 0);
}

/* ---- reading ---- */

/* So much of what a stranger sent is repeated in words, with what a terminal would act upon left out. */
#define SHOWN_MAX 40

struct shown {
	char text[SHOWN_MAX + 4];
};

static struct shown show(const char *p, size_t len)
{
	struct shown out;
	size_t n = len < SHOWN_MAX ? len : SHOWN_MAX;

	for (size_t i = 0; i < n; i++)
		out.text[i] = p[i] > ' ' && p[i] < 0x7f ? p[i] : p[i] == ' ' ? ' ' : '?';
	memcpy(out.text + n, n < len ? "..." : "\0\0\0", 4);
	return out;
}

#define fails(head, status, ...) ((head)->answer = (status), tni_err(TN_EFORMAT, __VA_ARGS__))

/* One character of `word`: the line begins so or it is no head of this kind. */
static bool can_begin(const char *line, size_t len, const char *word)
{
	size_t n = strlen(word);

	return memcmp(line, word, len < n ? len : n) == 0;
}

static int read_version(struct tni_http *head, const char *p, size_t len)
{
	if (len != 8 || memcmp(p, "HTTP/", 5) != 0 || !isdigit((unsigned char)p[5]) || p[6] != '.' ||
	    !isdigit((unsigned char)p[7]))
		return fails(head, 400, "'%s' is no version of HTTP", show(p, len).text);
	if (p[5] != '1')
		return fails(head, 505, "HTTP/%c.%c: only HTTP/1.1 is spoken here", p[5], p[7]);
	head->minor = p[7] - '0';
	return 0;
}

static int read_request_line(struct tni_http *head, const char *p, size_t len)
{
	const char *target = memchr(p, ' ', len);
	const char *version = target ? memchr(target + 1, ' ', len - (size_t)(target + 1 - p)) : NULL;

	if (!version)
		return fails(head, 400, "'%s' is no request line: method, target and version, one space between",
			     show(p, len).text);
	head->method = (struct tni_http_text){p, (size_t)(target - p)};
	head->target = (struct tni_http_text){target + 1, (size_t)(version - target - 1)};
	if (!tni_http_is_token(head->method.at, head->method.len))
		return fails(head, 400, "'%s' is no method", show(p, head->method.len).text);
	if (!head->target.len)
		return fails(head, 400, "the request has no target");
	for (size_t i = 0; i < head->target.len; i++)
		if (head->target.at[i] <= ' ' || head->target.at[i] >= 0x7f)
			return fails(head, 400, "the target '%s' holds a character that must be escaped",
				     show(head->target.at, head->target.len).text);
	return read_version(head, version + 1, len - (size_t)(version + 1 - p));
}

static int read_status_line(struct tni_http *head, const char *p, size_t len)
{
	int rc = len < 12 ? fails(head, 400, "'%s' is no status line", show(p, len).text) : read_version(head, p, 8);

	if (rc < 0)
		return rc;
	for (int i = 9; i < 12; i++)
		if (!isdigit((unsigned char)p[i]))
			return fails(head, 400, "'%s' is no status line", show(p, len).text);
	head->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + p[11] - '0';
	/* The space behind the status stands also where no words follow; many leave it out. */
	if (p[8] != ' ' || head->status < 100 || (len > 12 && p[12] != ' '))
		return fails(head, 400, "'%s' is no status line", show(p, len).text);
	if (len > 13)
		head->reason = (struct tni_http_text){p + 13, len - 13};
	return tni_http_is_value(head->reason.at, head->reason.len)
		       ? 0
		       : fails(head, 400, "the status line holds a control character");
}

/* Not strndup(3): no string stands here, and a sanitizer that is strict looks for its end. */
char *tni_http_copy(const char *at, size_t len)
{
	char *copy = malloc(len + 1);

	if (copy) {
		memcpy(copy, at, len);
		copy[len] = '\0';
	}
	return copy;
}

void tni_http_trim(struct tni_http_text *text)
{
	while (text->len && (*text->at == ' ' || *text->at == '\t'))
		text->at++, text->len--;
	while (text->len && (text->at[text->len - 1] == ' ' || text->at[text->len - 1] == '\t'))
		text->len--;
}

static int read_field(struct tni_http *head, const char *p, size_t len)
{
	const char *colon = memchr(p, ':', len);
	struct tni_http_field *field = &head->fields[head->nfields];

	if (*p == ' ' || *p == '\t')
		return fails(head, 400, "a field goes on in the next line, which RFC 9112 5.2 has abolished");
	if (!colon)
		return fails(head, 400, "the line '%s' is no field: there is no colon", show(p, len).text);
	if (!tni_http_is_token(p, (size_t)(colon - p)))
		return fails(head, 400, "'%s' is no name of a field", show(p, (size_t)(colon - p)).text);
	if (head->nfields == TNI_HTTP_FIELDS)
		return fails(head, 431, "more than %d fields", TNI_HTTP_FIELDS);
	field->name = (struct tni_http_text){p, (size_t)(colon - p)};
	field->value = (struct tni_http_text){colon + 1, len - (size_t)(colon + 1 - p)};
	if (!tni_http_is_value(field->value.at, field->value.len))
		return fails(head, 400, "the field %s holds a control character",
			     show(field->name.at, field->name.len).text);
	tni_http_trim(&field->value);
	head->nfields++;
	return 0;
}

static int read_length(struct tni_http *head, const struct tni_http_text *value)
{
	uint64_t n = 0;

	if (head->has_length)
		return fails(head, 400, "more than one Content-Length");
	for (size_t i = 0; i < value->len; i++) {
		if (!isdigit((unsigned char)value->at[i]) || n > (UINT64_MAX - 9) / 10)
			return fails(head, 400, "'%s' is no length", show(value->at, value->len).text);
		n = n * 10 + (uint64_t)(value->at[i] - '0');
	}
	if (!value->len)
		return fails(head, 400, "Content-Length is empty");
	head->has_length = true;
	head->length = n;
	return 0;
}

/* Host (RFC 9112 3.2): a name or address and a port; it may be empty. */
static bool is_host(const struct tni_http_text *host)
{
	for (size_t i = 0; i < host->len; i++) {
		unsigned char c = (unsigned char)host->at[i];

		if (!isalnum(c) && (!c || !strchr("-._~%!$&'()*+,;=:[]", c)))
			return false;
	}
	return true;
}

/* What decides where a message ends, or whom it is for, stands once and is understood. */
static int check_fields(struct tni_http *head, enum tni_http_kind kind)
{
	int rc = 0;

	for (int i = 0; i < head->nfields && rc == 0; i++) {
		const struct tni_http_field *field = &head->fields[i];

		if (tni_http_is(&field->name, "Content-Length")) {
			rc = read_length(head, &field->value);
		} else if (tni_http_is(&field->name, "Transfer-Encoding")) {
			if (head->chunked || !tni_http_is(&field->value, "chunked"))
				return fails(head, 400, "the transfer coding '%s' is not understood",
					     show(field->value.at, field->value.len).text);
			head->chunked = true;
		} else if (kind == TNI_REQUEST && tni_http_is(&field->name, "Host")) {
			if (head->host.at)
				return fails(head, 400, "more than one Host");
			head->host = field->value;
			if (!is_host(&head->host))
				return fails(head, 400, "'%s' is no host", show(head->host.at, head->host.len).text);
		}
	}
	if (rc < 0)
		return rc;
	if (head->has_length && head->chunked)
		return fails(head, 400, "a Content-Length and a transfer coding contradict each other");
	if (head->chunked && head->minor == 0)
		return fails(head, 400, "HTTP/1.0 has no transfer codings");
	if (kind == TNI_REQUEST && head->minor > 0 && !head->host.at)
		return fails(head, 400, "there is no Host");
	return 0;
}

/* What has come of a first line that is not whole. */
static int check_beginning(struct tni_http *head, enum tni_http_kind kind, const char *data, size_t len)
{
	size_t n = 0;

	if (kind == TNI_RESPONSE)
		return can_begin(data, len, "HTTP/") ? 0 : fails(head, 400, "'%s' is no HTTP", show(data, len).text);
	while (n < len && is_tchar((unsigned char)data[n]))
		n++;
	if (n < len && (data[n] != ' ' || n == 0))
		return fails(head, 400, "'%s' is no HTTP", show(data, len).text);
	return 0;
}

/* The end of the line that begins at `p`, where its CR stands; NULL: it is not whole. `*bad`: it ends otherwise. */
static const char *line_end(const char *p, const char *end, bool *bad)
{
	const char *lf = memchr(p, '\n', (size_t)(end - p)), *cr = memchr(p, '\r', (size_t)((lf ? lf : end) - p));

	*bad = lf ? cr != lf - 1 || lf == p : cr && cr + 1 != end;
	return lf && !*bad ? cr : NULL;
}

long tni_http_read(struct tni_http *head, enum tni_http_kind kind, const char *data, size_t len)
{
	const char *p = data, *end = data + (len < TNI_HTTP_MAX ? len : TNI_HTTP_MAX), *cr;
	bool bad;
	int rc = 0;

	/* Fields are set when they are read. */
	memset(head, 0, offsetof(struct tni_http, fields));
	head->nfields = 0;
	memset(&head->host, 0, sizeof(*head) - offsetof(struct tni_http, host));
	if (!len)
		return 0;
	rc = check_beginning(head, kind, data, (size_t)(end - data));
	while (rc == 0 && (cr = line_end(p, end, &bad))) {
		if (cr == p && p != data) {
			rc = check_fields(head, kind);
			return rc < 0 ? rc : cr + 2 - data;
		}
		rc = p != data             ? read_field(head, p, (size_t)(cr - p))
		     : kind == TNI_REQUEST ? read_request_line(head, p, (size_t)(cr - p))
					   : read_status_line(head, p, (size_t)(cr - p));
		p = cr + 2;
	}
	if (rc == 0 && bad)
		return fails(head, 400, "a line does not end with CR LF");
	if (rc == 0 && len >= TNI_HTTP_MAX) {
		head->answer = p == data ? 414 : 431;
		return tni_err(TN_ETOOBIG, "the head is longer than %d bytes", TNI_HTTP_MAX);
	}
	return rc;
}

/* ---- asking ---- */

int tni_http_field(const struct tni_http *head, const char *name, struct tni_http_text *value)
{
	int found = 0;

	for (int i = 0; i < head->nfields; i++) {
		if (!tni_http_is(&head->fields[i].name, name))
			continue;
		if (found)
			return tni_err(TN_EFORMAT, "more than one %s", name);
		*value = head->fields[i].value;
		found = 1;
	}
	return found;
}

/* The item that begins at `walk->p`, up to a comma outside of quotation marks. */
static void take_item(struct tni_http_walk *walk, struct tni_http_text *item)
{
	const char *start = walk->p;
	bool quoted = false;

	for (; walk->p < walk->end && (quoted || *walk->p != ','); walk->p++) {
		if (quoted && *walk->p == '\\' && walk->p + 1 < walk->end)
			walk->p++;
		else if (*walk->p == '"')
			quoted = !quoted;
	}
	*item = (struct tni_http_text){start, (size_t)(walk->p - start)};
	tni_http_trim(item);
	walk->p = walk->p < walk->end ? walk->p + 1 : NULL;
}

bool tni_http_item(const struct tni_http *head, const char *name, struct tni_http_walk *walk,
		   struct tni_http_text *item)
{
	while (walk->p || walk->field < head->nfields) {
		if (!walk->p) {
			const struct tni_http_field *field = &head->fields[walk->field++];

			if (!tni_http_is(&field->name, name) || !field->value.len)
				continue;
			walk->p = field->value.at;
			walk->end = field->value.at + field->value.len;
		}
		take_item(walk, item);
		if (item->len)
			return true;
	}
	return false;
}

bool tni_http_has(const struct tni_http *head, const char *name, const char *word)
{
	struct tni_http_walk walk = {0};
	struct tni_http_text item;

	while (tni_http_item(head, name, &walk, &item))
		if (tni_http_is(&item, word))
			return true;
	return false;
}

/* ---- writing ---- */

void tni_http_line(struct tni_http_out *out, const char *fmt, ...)
{
	size_t room = sizeof(out->text) - out->len - 3; /* this line's end and the head's, over the zero byte */
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(out->text + out->len, room, fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= room) {
		out->too_long = true;
		return;
	}
	out->len += (size_t)n;
	memcpy(out->text + out->len, "\r\n", 2);
	out->len += 2;
}

int tni_http_end(struct tni_http_out *out, struct tn_buf *to)
{
	if (out->too_long)
		return tni_err(TN_ETOOBIG, "the head would be longer than %d bytes", TNI_HTTP_MAX);
	memcpy(out->text + out->len, "\r\n", 2);
	return tni_buf_append(to, out->text, out->len + 2, false);
}

const char *tni_http_status(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{101, "Switching Protocols"},
		{200, "OK"},
		{400, "Bad Request"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{407, "Proxy Authentication Required"},
		{408, "Request Timeout"},
		{411, "Length Required"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{417, "Expectation Failed"},
		{421, "Misdirected Request"},
		{426, "Upgrade Required"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "";
}

void tni_http_refuse(struct tn_buf *net, int status, const char *field, const char *words)
{
	struct tni_http_out out = {.len = 0};

	tni_http_line(&out, "HTTP/1.1 %d %s", status, tni_http_status(status));
	if (field)
		tni_http_line(&out, "%s", field);
	tni_http_line(&out, "Content-Type: text/plain; charset=utf-8");
	tni_http_line(&out, "Content-Length: %zu", strlen(words) + 1);
	tni_http_line(&out, "Connection: close");
	if (tni_http_end(&out, net) == 0 && tni_buf_append(net, words, strlen(words), false) == 0)
		(void)tni_buf_append(net, "\n", 1, false);
}
