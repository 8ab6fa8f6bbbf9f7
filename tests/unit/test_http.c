/* Heads of HTTP/1.1: what is read, what is refused and with which status, and what is written. */
#include "base/err.h"
#include "web/http.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct tni_http head;

/* On the heap without a byte behind it, so that a sanitizer sees what is read beyond. */
static long read_head(enum tni_http_kind kind, const char *data, size_t len)
{
	char *copy = malloc(len ? len : 1);
	long rc;

	assert_non_null(copy);
	memcpy(copy, data, len);
	rc = tni_http_read(&head, kind, copy, len);
	free(copy);
	return rc;
}

#define REQUEST "GET /chat?a=1 HTTP/1.1\r\nHost: example.org:80\r\n"
#define RESPONSE "HTTP/1.1 200 OK\r\n"

static void test_request(void **state)
{
	static const char data[] = REQUEST "X-One:  a b\t\r\nx-two:\r\nContent-Length: 12\r\n\r\nrest";
	struct tni_http_text value;
	long n = tni_http_read(&head, TNI_REQUEST, data, sizeof(data) - 1);

	(void)state;
	assert_int_equal(n, sizeof(data) - 1 - 4);
	assert_true(tni_http_equals(&head.method, "GET"));
	assert_true(tni_http_equals(&head.target, "/chat?a=1"));
	assert_true(tni_http_equals(&head.host, "example.org:80"));
	assert_int_equal(head.minor, 1);
	assert_int_equal(head.nfields, 4);
	assert_int_equal(tni_http_field(&head, "X-ONE", &value), 1);
	assert_true(tni_http_equals(&value, "a b"));
	assert_int_equal(tni_http_field(&head, "X-Two", &value), 1);
	assert_int_equal(value.len, 0);
	assert_int_equal(tni_http_field(&head, "X-Three", &value), 0);
	assert_true(head.has_length);
	assert_int_equal(head.length, 12);
	assert_false(head.chunked);
}

static void test_response(void **state)
{
	static const struct {
		const char *line;
		int status;
		const char *reason;
	} cases[] = {
		{"HTTP/1.1 101 Switching Protocols", 101, "Switching Protocols"},
		{"HTTP/1.0 404 ", 404, ""},
		{"HTTP/1.1 999", 999, ""},
		{"HTTP/1.1 200 \xc3\xa4\ttab", 200, "\xc3\xa4\ttab"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char data[200];
		int n = snprintf(data, sizeof(data), "%s\r\n\r\n", cases[i].line);

		assert_int_equal(tni_http_read(&head, TNI_RESPONSE, data, (size_t)n), n);
		assert_int_equal(head.status, cases[i].status);
		assert_true(tni_http_equals(&head.reason, cases[i].reason));
	}
}

/* Whole or in pieces it is the same: no beginning of a good head is refused, and none is taken for all of it. */
static void test_beginnings(void **state)
{
	static const struct {
		enum tni_http_kind kind;
		const char *data;
	} cases[] = {
		{TNI_REQUEST, REQUEST "A: b\r\n\r\n"},
		{TNI_REQUEST, "OPTIONS * HTTP/1.0\r\n\r\n"},
		{TNI_RESPONSE, RESPONSE "Transfer-Encoding: chunked\r\n\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = strlen(cases[i].data);

		for (size_t n = 0; n < len; n++)
			assert_int_equal(read_head(cases[i].kind, cases[i].data, n), 0);
		assert_int_equal(read_head(cases[i].kind, cases[i].data, len), len);
	}
}

static void test_refused(void **state)
{
	static const struct {
		enum tni_http_kind kind;
		const char *data;
		int answer;
		const char *words;
	} cases[] = {
		{TNI_REQUEST, "\x16\x03\x01\x02", 400, "no HTTP"},
		{TNI_REQUEST, " GET / HTTP/1.1\r\n", 400, "no HTTP"},
		{TNI_REQUEST, "\r\nGET / HTTP/1.1\r\n", 400, "no HTTP"},
		{TNI_REQUEST, "G:T / HTTP/1.1\r\n", 400, "no HTTP"},
		{TNI_REQUEST, "GET  / HTTP/1.1\r\n\r\n", 400, "target"},
		{TNI_REQUEST, "GET /\r\n\r\n", 400, "no request line"},
		{TNI_REQUEST, "GET / HTTP/1.1 \r\n\r\n", 400, "no version"},
		{TNI_REQUEST, "GET / http/1.1\r\n\r\n", 400, "no version"},
		{TNI_REQUEST, "GET / HTTP/2.0\r\n\r\n", 505, "HTTP/2.0"},
		{TNI_REQUEST, "GET /\x01 HTTP/1.1\r\n\r\n", 400, "escaped"},
		{TNI_REQUEST, "GET /\xc3\xa4 HTTP/1.1\r\n\r\n", 400, "escaped"},
		{TNI_REQUEST, "GET / HTTP/1.1\n\r\n", 400, "CR LF"},
		{TNI_REQUEST, "GET / HTTP/1.1\rX\r\n", 400, "CR LF"},
		{TNI_REQUEST, REQUEST "A: b\n\r\n", 400, "CR LF"},
		{TNI_REQUEST, REQUEST "A: b\rc\r\n\r\n", 400, "CR LF"},
		{TNI_REQUEST, REQUEST " folded\r\n\r\n", 400, "abolished"},
		{TNI_REQUEST, REQUEST "A: b\r\n\tfolded\r\n\r\n", 400, "abolished"},
		{TNI_REQUEST, REQUEST "A : b\r\n\r\n", 400, "no name"},
		{TNI_REQUEST, REQUEST ": b\r\n\r\n", 400, "no name"},
		{TNI_REQUEST, REQUEST "A\r\n\r\n", 400, "no colon"},
		{TNI_REQUEST, REQUEST "A: \x01\r\n\r\n", 400, "control"},
		{TNI_REQUEST, REQUEST "A: \x7f\r\n\r\n", 400, "control"},
		{TNI_REQUEST, REQUEST "Host: b\r\n\r\n", 400, "more than one Host"},
		{TNI_REQUEST, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "no host"},
		{TNI_REQUEST, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "no host"},
		{TNI_REQUEST, "GET / HTTP/1.1\r\nHost: user@b\r\n\r\n", 400, "no host"},
		{TNI_REQUEST, "GET / HTTP/1.1\r\nA: b\r\n\r\n", 400, "no Host"},
		{TNI_REQUEST, REQUEST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "more than one"},
		{TNI_REQUEST, REQUEST "Content-Length: 1, 1\r\n\r\n", 400, "no length"},
		{TNI_REQUEST, REQUEST "Content-Length: +1\r\n\r\n", 400, "no length"},
		{TNI_REQUEST, REQUEST "Content-Length: 0x1\r\n\r\n", 400, "no length"},
		{TNI_REQUEST, REQUEST "Content-Length: -1\r\n\r\n", 400, "no length"},
		{TNI_REQUEST, REQUEST "Content-Length:\r\n\r\n", 400, "empty"},
		{TNI_REQUEST, REQUEST "Content-Length: 18446744073709551616\r\n\r\n", 400, "no length"},
		{TNI_REQUEST, REQUEST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "contradict"},
		{TNI_REQUEST, REQUEST "Transfer-Encoding: gzip, chunked\r\n\r\n", 400, "not understood"},
		{TNI_REQUEST, REQUEST "Transfer-Encoding: xchunked\r\n\r\n", 400, "not understood"},
		{TNI_REQUEST, REQUEST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
		 "not understood"},
		{TNI_REQUEST, "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0"},
		{TNI_RESPONSE, "SSH-2.0-OpenSSH", 400, "no HTTP"},
		{TNI_RESPONSE, "HTTP/1.1 20 OK\r\n\r\n", 400, "no status line"},
		{TNI_RESPONSE, "HTTP/1.1 2000\r\n\r\n", 400, "no status line"},
		{TNI_RESPONSE, "HTTP/1.1 099 A\r\n\r\n", 400, "no status line"},
		{TNI_RESPONSE, "HTTP/1.1\t200 A\r\n\r\n", 400, "no status line"},
		{TNI_RESPONSE, "HTTP/1.1 200 a\x01\r\n\r\n", 400, "control"},
		{TNI_RESPONSE, "HTTP/3.0 200 A\r\n\r\n", 505, "HTTP/3.0"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = strlen(cases[i].data);
		long rc = read_head(cases[i].kind, cases[i].data, len);

		if (rc != TN_EFORMAT || head.answer != cases[i].answer || !strstr(tn_errmsg(), cases[i].words))
			fail_msg("case %zu: %ld, answer %d, %s", i, rc, head.answer, tn_errmsg());
	}
}

/* A zero byte ends nothing. */
static void test_zero_bytes(void **state)
{
	static const char in_value[] = REQUEST "A: b\0c\r\n\r\n", in_target[] = "GET /\0 HTTP/1.1\r\n\r\n",
			  in_host[] = "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n";

	(void)state;
	assert_int_equal(read_head(TNI_REQUEST, in_value, sizeof(in_value) - 1), TN_EFORMAT);
	assert_int_equal(read_head(TNI_REQUEST, in_target, sizeof(in_target) - 1), TN_EFORMAT);
	assert_int_equal(read_head(TNI_REQUEST, in_host, sizeof(in_host) - 1), TN_EFORMAT);
}

static void test_bounds(void **state)
{
	char *data = malloc(2 * TNI_HTTP_MAX);
	size_t len = 0;

	(void)state;
	assert_non_null(data);
	len = (size_t)sprintf(data, REQUEST);
	for (int i = 1; i < TNI_HTTP_FIELDS; i++)
		len += (size_t)sprintf(data + len, "A%d: b\r\n", i);
	memcpy(data + len, "\r\n", 2);
	assert_int_equal(read_head(TNI_REQUEST, data, len + 2), len + 2);
	assert_int_equal(head.nfields, TNI_HTTP_FIELDS);
	len += (size_t)sprintf(data + len, "B: c\r\n\r\n");
	assert_int_equal(read_head(TNI_REQUEST, data, len), TN_EFORMAT);
	assert_int_equal(head.answer, 431);

	/* As long as may be, and a byte longer. */
	for (size_t more = 0; more < 2; more++) {
		len = (size_t)sprintf(data, REQUEST "A: ");
		memset(data + len, 'x', TNI_HTTP_MAX + more - 4 - len);
		memcpy(data + TNI_HTTP_MAX + more - 4, "\r\n\r\n", 4);
		assert_int_equal(read_head(TNI_REQUEST, data, TNI_HTTP_MAX + more), more ? TN_ETOOBIG : TNI_HTTP_MAX);
		if (more)
			assert_int_equal(head.answer, 431);
	}
	memset(data, 'G', TNI_HTTP_MAX);
	assert_int_equal(read_head(TNI_REQUEST, data, TNI_HTTP_MAX - 1), 0);
	assert_int_equal(read_head(TNI_REQUEST, data, TNI_HTTP_MAX), TN_ETOOBIG);
	assert_int_equal(head.answer, 414);
	free(data);
}

static void test_lists(void **state)
{
	static const char data[] =
		REQUEST "Connection: keep-alive , Upgrade\r\nconnection:,x,\r\nE: a; b=\"c,d\\\",e\", f\r\n\r\n";
	static const char *const items[] = {"a; b=\"c,d\\\",e\"", "f"};
	struct tni_http_walk walk = {0};
	struct tni_http_text item;
	int n = 0;

	(void)state;
	assert_true(tni_http_read(&head, TNI_REQUEST, data, sizeof(data) - 1) > 0);
	assert_true(tni_http_has(&head, "Connection", "upgrade"));
	assert_true(tni_http_has(&head, "Connection", "keep-alive"));
	assert_true(tni_http_has(&head, "Connection", "x"));
	assert_false(tni_http_has(&head, "Connection", "up"));
	assert_false(tni_http_has(&head, "Connection", ""));
	while (tni_http_item(&head, "e", &walk, &item))
		assert_true(n < 2 && tni_http_equals(&item, items[n++]));
	assert_int_equal(n, 2);
	assert_int_equal(tni_http_field(&head, "Connection", &item), TN_EFORMAT);
}

static void test_written(void **state)
{
	struct tni_http_out *out = calloc(1, sizeof(*out));
	char *long_text = calloc(1, TNI_HTTP_MAX);
	struct tni_mem mem;
	struct tn_buf buf;
	unsigned char *p;

	(void)state;
	assert_true(out && long_text);
	memset(long_text, 'x', TNI_HTTP_MAX - 1);
	tni_mem_init(&mem);
	tni_buf_init(&buf, &mem, SIZE_MAX);
	tni_http_line(out, "HTTP/1.1 %d %s", 426, tni_http_status(426));
	tni_http_line(out, "Upgrade: websocket");
	assert_int_equal(tni_http_end(out, &buf), 0);
	p = tni_buf_pullup(&buf, buf.len);
	assert_int_equal(read_head(TNI_RESPONSE, (char *)p, buf.len), buf.len);
	assert_int_equal(head.status, 426);
	tni_buf_clear(&buf);

	/* As long as can be read again; no byte more. */
	for (int more = 0; more < 2; more++) {
		out->len = 0;
		out->too_long = false;
		tni_http_line(out, "%s", "HTTP/1.1 200 OK");
		tni_http_line(out, "A: %.*s", TNI_HTTP_MAX - 17 - 3 - 4 + more, long_text);
		assert_int_equal(tni_http_end(out, &buf), more ? TN_ETOOBIG : 0);
		assert_int_equal(buf.len, more ? 0 : TNI_HTTP_MAX);
		tni_buf_clear(&buf);
	}
	tni_mem_free(&mem);
	free(long_text);
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request), cmocka_unit_test(test_response),   cmocka_unit_test(test_beginnings),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_zero_bytes), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_lists),   cmocka_unit_test(test_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
