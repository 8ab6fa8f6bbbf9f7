#include "http.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/uio.h>

#include "percent.h"
#include "tenon.h"

/* What stands behind every response: nothing here is for a cache, or to be taken for another type than is said. */
#define ALWAYS "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"

/* Up to `end`, which begins the rest. */
static struct http_text take(struct http_text *rest, const char *end)
{
	const char *at = memmem(rest->at, rest->len, end, strlen(end));
	struct http_text text = {rest->at, at ? (size_t)(at - rest->at) : rest->len};
	size_t taken = at ? text.len + strlen(end) : text.len;

	rest->at += taken;
	rest->len -= taken;
	return text;
}

/* The field lists this option, in letters of either case (RFC 9110 7.6.1). */
static bool has_option(struct http_text list, const char *option)
{
	while (list.len) {
		struct http_text item = take(&list, ",");

		while (item.len && (*item.at == ' ' || *item.at == '\t'))
			item.at++, item.len--;
		while (item.len && (item.at[item.len - 1] == ' ' || item.at[item.len - 1] == '\t'))
			item.len--;
		if (item.len == strlen(option) && strncasecmp(item.at, option, item.len) == 0)
			return true;
	}
	return false;
}

/* A client that takes us for a proxy says the whole URL, which is understood as its path (RFC 9112 3.2.2). */
static void skip_place(struct http_text *target)
{
	struct http_text rest = *target;
	size_t len;

	if (!target->len || *target->at == '/' || !memmem(target->at, target->len, "://", 3))
		return;
	(void)take(&rest, "://");
	for (len = 0; len < rest.len && rest.at[len] != '/' && rest.at[len] != '?';)
		len++;
	*target = (struct http_text){rest.at + len, rest.len - len};
}

void http_read(const struct tn_msg *msg, struct http_request *request)
{
	struct http_text rest = {msg->data, msg->len}, head = take(&rest, "\r\n\r\n"), line = take(&head, "\r\n"),
			 value;
	struct http_text target;

	request->body = rest;
	request->fields = head;
	request->method = take(&line, " ");
	target = take(&line, " ");
	skip_place(&target);
	request->path = take(&target, "?");
	request->query = target;
	request->last = !http_is(line, "HTTP/1.1");
	if (http_field(request, "Connection", &value))
		request->last |= has_option(value, "close");
}

/* Returns how many bytes it takes in `out`, or -1. */
static int unescape(struct http_text text, char *out, size_t cap)
{
	size_t len = 0;

	for (size_t i = 0; i < text.len; i++) {
		int c = (unsigned char)text.at[i];

		if (c == '%') {
			c = percent_byte(text.at + i, text.len - i);
			i += 2;
		}
		if (c <= 0 || len + 1 >= cap)
			return -1;
		out[len++] = (char)c;
	}
	out[len++] = '\0';
	return (int)len;
}

int http_segments(struct http_text path, char *room, size_t cap, const char **segments, int max)
{
	int count = 0;

	if (!path.len || *path.at != '/' || !cap)
		return -1;
	path.at++, path.len--;
	do {
		bool more = memchr(path.at, '/', path.len) != NULL;
		struct http_text segment = take(&path, "/");
		int len = count < max && segment.len ? unescape(segment, room, cap) : -1;

		if (len < 0)
			return -1;
		segments[count++] = room;
		room += len;
		cap -= (size_t)len;
		if (!more)
			return count;
	} while (1);
}

bool http_is(struct http_text text, const char *word)
{
	return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

bool http_field(const struct http_request *request, const char *name, struct http_text *value)
{
	struct http_text rest = request->fields;

	while (rest.len) {
		*value = take(&rest, "\r\n");
		if (value->len > strlen(name) && strncasecmp(value->at, name, strlen(name)) == 0 &&
		    value->at[strlen(name)] == ':') {
			(void)take(value, ":");
			while (value->len && (*value->at == ' ' || *value->at == '\t'))
				value->at++, value->len--;
			return true;
		}
	}
	return false;
}

static const char *words_of(int status)
{
	static const struct {
		int status;
		const char *words;
	} list[] = {
		{200, "OK"},
		{201, "Created"},
		{204, "No Content"},
		{400, "Bad Request"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{406, "Not Acceptable"},
		{409, "Conflict"},
		{500, "Internal Server Error"},
		{503, "Service Unavailable"},
	};

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (list[i].status == status)
			return list[i].words;
	return "";
}

static int send_pieces(struct tn_conn *conn, struct iovec *iov, int count)
{
	int err = tn_sendv(conn, iov, count);

	if (err < 0)
		tn_close(conn);
	return err;
}

int http_answer(struct tn_conn *conn, const struct http_request *request, const struct http_response *response)
{
	char head[1024];
	int len = snprintf(head, sizeof(head), "HTTP/1.1 %d %s\r\n" ALWAYS "%s%s", response->status,
			   words_of(response->status), response->fields ? response->fields : "",
			   request->last ? "Connection: close\r\n" : "");
	struct iovec iov[2] = {{.iov_base = head},
			       {.iov_base = (void *)(uintptr_t)response->body, .iov_len = response->len}};
	int err;

	if (response->type && len > 0 && len < (int)sizeof(head))
		len += snprintf(head + len, sizeof(head) - (size_t)len, "Content-Type: %s\r\nContent-Length: %zu\r\n",
				response->type, response->len);
	if (len < 0 || len + 2 >= (int)sizeof(head)) {
		tn_close(conn);
		return -ENOBUFS;
	}
	memcpy(head + len, "\r\n", 2);
	iov[0].iov_len = (size_t)len + 2;
	err = send_pieces(conn, iov, response->len && !http_is(request->method, "HEAD") ? 2 : 1);
	if (err >= 0 && request->last)
		tn_close(conn);
	return err < 0 ? err : 0;
}

int http_begin(struct tn_conn *conn, const char *type, const char *fields)
{
	char head[512];
	int len = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\n" ALWAYS "Content-Type: %s\r\n%s\r\n", type,
			   fields ? fields : "");
	struct iovec iov = {.iov_base = head, .iov_len = (size_t)len};

	return send_pieces(conn, &iov, 1);
}

int http_words(struct tn_conn *conn, const struct http_request *request, int status, const char *words)
{
	char body[512];
	int len = snprintf(body, sizeof(body), "%s\n", words);
	struct http_response response = {.status = status,
					 .type = "text/plain; charset=utf-8",
					 .fields = status == 405 ? "Allow: GET, HEAD\r\n" : NULL,
					 .body = body,
					 .len = len < (int)sizeof(body) ? (size_t)len : sizeof(body) - 1};

	return http_answer(conn, request, &response);
}
