/* HTTP as a layer of a server, without a connection: requests become messages, and each rule is broken. */
#include "base/err.h"
#include "web/request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define HEAD "GET /a?b HTTP/1.1\r\nHost: example.org\r\n"

static struct tni_mem mem;
static const char *const hosts[] = {"example.org", NULL};
static const char *const origins[] = {"https://good.example", NULL};
static const struct tni_ws_config config = {
	.server = true, .max = 1000, .hosts = hosts, .own_hosts = true, .origins = origins};

struct end {
	struct tni_layer *layer;
	struct tn_buf in, out, net;
	int err;
	char text[20000]; /* what texts_of() says */
};

static int set_up(void **state)
{
	static struct end end;

	tni_mem_init(&mem);
	end = (struct end){0};
	tni_buf_init(&end.in, &mem, SIZE_MAX);
	tni_buf_init(&end.out, &mem, SIZE_MAX);
	tni_buf_init(&end.net, &mem, SIZE_MAX);
	*state = &end;
	return tni_requests_new(&config, &end.layer);
}

static int tear_down(void **state)
{
	struct end *e = *state;

	e->layer->ops->free(e->layer);
	tni_buf_clear(&e->in);
	tni_buf_clear(&e->out);
	tni_buf_clear(&e->net);
	assert_int_equal(mem.nslices_out, 0);
	tni_mem_free(&mem);
	return 0;
}

/* So much at a time, and at most so much handed up by one step. */
static void feed(struct end *e, const char *data, size_t len, size_t step, size_t max)
{
	for (size_t at = 0; at < len; at += step) {
		assert_int_equal(tni_buf_append(&e->in, data + at, len - at < step ? len - at : step, false), 0);
		for (size_t before = SIZE_MAX; e->err == 0 && before != e->in.len && !e->layer->broken;) {
			before = e->in.len;
			e->err = e->layer->ops->up(e->layer, &e->in, &e->out, &e->net, e->out.len + max);
		}
	}
}

/* Takes a message that was handed up. */
static const char *message(struct end *e)
{
	uint32_t mark;
	size_t len = tni_buf_message(&e->out, &mark);
	const unsigned char *data = tni_buf_pullup(&e->out, len);

	assert_true(mark && len && data && len < sizeof(e->text));
	memcpy(e->text, data, len);
	e->text[len] = '\0';
	tni_buf_consume(&e->out, len);
	return e->text;
}

static const char *answer(struct end *e)
{
	size_t len;

	assert_int_equal(e->layer->ops->shut(e->layer, &e->net), 0);
	len = e->net.len;
	assert_true(len < sizeof(e->text));
	if (len)
		memcpy(e->text, tni_buf_pullup(&e->net, len), len);
	e->text[len] = '\0';
	return e->text;
}

static void test_requests_are_messages(void **state)
{
	static const char first[] = HEAD "\r\n",
			  second[] = "POST /c HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 5\r\n"
				     "\r\nhello",
			  third[] = HEAD "Content-Length: 0\r\n\r\n";
	struct end *e = *state;

	for (size_t step = 1; step < 200; step += 7)
		for (size_t max = 1; max < 200; max += 13) {
			feed(e, first, sizeof(first) - 1, step, max);
			feed(e, second, sizeof(second) - 1, step, max);
			feed(e, third, sizeof(third) - 1, step, max);
			assert_int_equal(e->err, 0);
			assert_string_equal(message(e), first);
			assert_string_equal(message(e), second);
			assert_string_equal(message(e), third);
			assert_int_equal(e->out.len + e->in.len, 0);
			assert_int_equal(e->layer->ops->query(e->layer, TNI_ASK_PART, NULL), 0);
		}
	assert_int_equal(e->layer->ops->cut(e->layer), 0);
	assert_string_equal(answer(e), "");
}

static void test_answers_pass(void **state)
{
	struct end *e = *state;

	assert_int_equal(tni_buf_append(&e->in, "one", 3, true), 0);
	assert_int_equal(tni_buf_append(&e->in, "two", 3, true), 0);
	assert_int_equal(e->layer->ops->down(e->layer, &e->in, &e->net, 4), 0);
	assert_int_equal(e->net.len, 4);
	assert_int_equal(e->layer->ops->down(e->layer, &e->in, &e->net, 4), 0);
	assert_int_equal(e->net.len, 4);
	assert_int_equal(e->layer->ops->down(e->layer, &e->in, &e->net, 100), 0);
	assert_memory_equal(tni_buf_pullup(&e->net, 6), "onetwo", 6);
}

static void test_an_end_within_a_request(void **state)
{
	struct end *e = *state;

	feed(e, HEAD "Content-Length: 5\r\n\r\nhell", strlen(HEAD) + 25, 1000, 1000);
	assert_int_equal(e->layer->ops->query(e->layer, TNI_ASK_PART, NULL), 1);
	assert_int_equal(e->layer->ops->cut(e->layer), TN_ECUT);
	assert_string_equal(answer(e), "");
}

static void test_a_body_has_a_bound(void **state)
{
	struct end *e = *state;
	char body[1000];

	memset(body, 'x', sizeof(body));
	feed(e, HEAD "Content-Length: 1000\r\n\r\n", strlen(HEAD) + 24, 1000, 1000);
	feed(e, body, sizeof(body), 300, 1000);
	assert_int_equal(strlen(message(e)), strlen(HEAD) + 24 + 1000);
	feed(e, HEAD "Content-Length: 1001\r\n\r\n", strlen(HEAD) + 24, 1000, 1000);
	assert_true(e->layer->broken);
	assert_non_null(strstr(answer(e), "HTTP/1.1 413 Content Too Large\r\n"));
}

/* What is refused, the status, and a part of the words. */
static const struct refused {
	const char *request;
	int status;
	const char *words;
} refused[] = {
	{"x\r\n\r\n", 400, "is no HTTP"},
	{"GET / HTTP/1.1\r\n\r\n", 400, "Host"},
	{HEAD "Host: example.org\r\n\r\n", 400, "Host"},
	{HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, "Content-Length"},
	{HEAD "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""},
	{HEAD "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, ""},
	{HEAD "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n", 417, "before the body"},
	{"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "evil.example"},
	{"GET / HTTP/1.1\r\nHost:\r\n\r\n", 421, "''"},
	{HEAD "Origin: https://evil.example\r\n\r\n", 403, "evil.example"},
	{HEAD "Origin: null\r\n\r\n", 403, "null"},
	{HEAD "Origin: https://good.example\r\nOrigin: https://good.example\r\n\r\n", 400, ""},
	{HEAD "Sec-Fetch-Site: cross-site\r\n\r\n", 403, "another site"},
	{HEAD "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n\r\n", 403, "another site"},
};

static void test_rules(void **state)
{
	struct end *e = *state;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const struct refused *r = &refused[i];
		char line[40];

		feed(e, HEAD "\r\n", strlen(HEAD) + 2, 1000, 1000);
		feed(e, r->request, strlen(r->request), 3, 1000);
		assert_int_equal(e->err, 0);
		assert_string_equal(message(e), HEAD "\r\n"); /* what came before is answered */
		assert_int_equal(e->out.len, 0);
		assert_true(e->layer->broken);
		assert_true(e->layer->ops->cut(e->layer) < 0);
		assert_non_null(strstr(tn_errmsg(), r->words));
		snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\n", r->status, tni_http_status(r->status));
		assert_memory_equal(answer(e), line, strlen(line));
		assert_non_null(strstr(e->text, "\r\nConnection: close\r\n"));
		assert_non_null(strstr(e->text, r->words));
		tear_down(state);
		set_up(state);
	}
}

static void test_who_may_ask(void **state)
{
	static const char *const fine[] = {
		HEAD "Origin: https://good.example\r\n\r\n",
		HEAD "Origin: http://example.org\r\n\r\n",
		HEAD "Sec-Fetch-Site: same-origin\r\n\r\n",
		HEAD "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n\r\n",
		HEAD "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n\r\n",
		HEAD "Sec-Fetch-Site: cross-site\r\nOrigin: https://good.example\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
	};
	struct end *e = *state;

	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		feed(e, fine[i], strlen(fine[i]), 1000, 1000);
		assert_string_equal(message(e), fine[i]);
	}
	assert_int_equal(e->err, 0);
}

static void test_what_is_refused_above_is_answered(void **state)
{
	struct end *e = *state;

	tni_err(TN_ETOOBIG, "too long");
	e->layer->ops->refuse(e->layer, TN_ETOOBIG);
	assert_memory_equal(answer(e), "HTTP/1.1 413 ", 13);
	assert_non_null(strstr(e->text, "too long\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_requests_are_messages, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_answers_pass, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_an_end_within_a_request, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_body_has_a_bound, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rules, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_may_ask, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_refused_above_is_answered, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
