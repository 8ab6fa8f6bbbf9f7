/*
 * WebSocket as a layer, without a connection: both roles against each other, each against bytes written down by hand,
 * and each rule of RFC 6455 broken.
 */
#include "base/err.h"
#include "base/shared.h"
#include "base/utf8.h"
#include "web/websocket.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <zlib.h>

#define STEP (256 * 1024)

static struct tni_mem mem;

struct end {
	struct tni_layer *layer;
	struct tn_buf in, net;   /* below */
	struct tn_buf out, send; /* above */
	int err;
};

static const char *const subprotocols[] = {"v2.json", "v1.json", NULL};
static const char *const hosts[] = {"example.org", "[::1]", NULL};
static const char *const origins[] = {"https://good.example", NULL};
static struct tni_ws_config server_config, client_config;

static int set_up(void **state)
{
	(void)state;
	server_config = (struct tni_ws_config){
		.server = true, .max = 1 << 20, .path = "/chat", .hosts = hosts, .origins = origins};
	client_config = (struct tni_ws_config){.max = 1 << 20, .path = "/chat?room=1", .host = "example.org:80"};
	tni_mem_init(&mem);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(mem.nslices_out, 0);
	assert_int_equal(mem.small.nout, 0);
	assert_int_equal(mem.large.nout, 0);
	tni_mem_free(&mem);
	return 0;
}

static void make(struct end *e, const struct tni_ws_config *config)
{
	*e = (struct end){0};
	tni_buf_init(&e->in, &mem, SIZE_MAX);
	tni_buf_init(&e->net, &mem, SIZE_MAX);
	tni_buf_init(&e->out, &mem, SIZE_MAX);
	tni_buf_init(&e->send, &mem, SIZE_MAX);
	assert_int_equal(tni_ws_new(config, e, &e->layer), 0);
	e->err = e->layer->ops->open(e->layer, &e->net);
	assert_int_equal(e->err, 0);
}

static void unmake(struct end *e)
{
	e->layer->ops->free(e->layer);
	tni_buf_clear(&e->in);
	tni_buf_clear(&e->net);
	tni_buf_clear(&e->out);
	tni_buf_clear(&e->send);
}

static void up(struct end *e)
{
	if (e->err == 0)
		e->err = e->layer->ops->up(e->layer, &e->in, &e->out, &e->net, e->out.len + STEP);
	if (e->err == 0 && e->layer->broken) { /* why, and what the peer is told: as the chain does it */
		e->err = e->layer->ops->cut(e->layer);
		assert_true(e->err < 0);
		assert_int_equal(e->layer->ops->shut(e->layer, &e->net), 0);
	}
}

/* Bytes of the peer's, in pieces of `step`. */
static void feed(struct end *e, const void *data, size_t len, size_t step)
{
	for (size_t at = 0; at < len; at += step) {
		size_t n = len - at < step ? len - at : step;

		assert_int_equal(tni_buf_append(&e->in, (const char *)data + at, n, false), 0);
		up(e);
	}
}

static void feed_text(struct end *e, const char *text)
{
	feed(e, text, strlen(text), SIZE_MAX / 2);
}

static bool turn(struct end *from, struct end *to, size_t step)
{
	size_t before = from->send.len + from->net.len;
	long moved;

	if (from->layer->open && from->err == 0)
		from->err = from->layer->ops->down(from->layer, &from->send, &from->net, 64 * 1024);
	moved = tni_buf_move(&to->in, &from->net, step);
	assert_true(moved >= 0);
	up(to);
	return moved > 0 || from->send.len + from->net.len != before;
}

static void settle(struct end *a, struct end *b, size_t step)
{
	while (turn(a, b, step) | turn(b, a, step))
		;
}

/* The next message: what, how long, of which kind. */
static void expect_message(struct end *e, const void *data, size_t len, unsigned mark)
{
	uint32_t end;

	assert_true(e->out.head != NULL);
	assert_int_equal(tni_buf_message(&e->out, &end), len);
	assert_int_not_equal(end, 0);
	if (len) {
		const unsigned char *got = tni_buf_pullup(&e->out, len);

		assert_non_null(got);
		assert_memory_equal(got, data, len);
	}
	assert_int_equal(e->out.head->end, 1 | mark);
	tni_buf_consume(&e->out, len);
}

/* All that the end has put on the wire. */
static void expect_bytes(struct end *e, const void *data, size_t len)
{
	const unsigned char *got;

	assert_int_equal(e->net.len, len);
	if (!len)
		return;
	got = tni_buf_pullup(&e->net, len);
	assert_non_null(got);
	assert_memory_equal(got, data, len);
	tni_buf_consume(&e->net, len);
}

static void expect_text(struct end *e, const char *part)
{
	char *text = calloc(1, e->net.len + 1);
	const unsigned char *got = tni_buf_pullup(&e->net, e->net.len);

	assert_true(text && got);
	memcpy(text, got, e->net.len);
	if (!strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text);
	free(text);
}

static void open_pair(struct end *client, struct end *server, size_t step)
{
	make(client, &client_config);
	make(server, &server_config);
	settle(client, server, step);
	assert_int_equal(client->err, 0);
	assert_int_equal(server->err, 0);
	assert_true(client->layer->open);
	assert_true(server->layer->open);
}

static void close_pair(struct end *client, struct end *server)
{
	unmake(client);
	unmake(server);
}

/* ---- the handshake ---- */

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define ASKS "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
#define GET "GET /chat HTTP/1.1\r\nHost: example.org:8080\r\n"

static void test_sample(void **state)
{
	static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
				     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"; /* RFC 6455 1.3 */
	static const char request[] = GET ASKS KEY "\r\n\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"; /* 5.7 */
	struct end server;

	(void)state;
	for (size_t step = 1; step < 2000; step *= 7) {
		make(&server, &server_config);
		feed(&server, request, sizeof(request) - 1, step);
		assert_int_equal(server.err, 0);
		expect_bytes(&server, answer, sizeof(answer) - 1);
		expect_message(&server, "Hello", 5, TNI_MARK_TEXT);
		unmake(&server);
	}
}

static void test_requests_refused(void **state)
{
	static const struct {
		const char *request, *status, *field, *words;
	} cases[] = {
		{"GET /other HTTP/1.1\r\nHost: example.org\r\n" ASKS KEY "\r\n", "404 Not Found", NULL, "'/other'"},
		{"GET /chat/ HTTP/1.1\r\nHost: example.org\r\n" ASKS KEY "\r\n", "404 Not Found", NULL, "'/chat/'"},
		{"POST /chat HTTP/1.1\r\nHost: example.org\r\n" ASKS KEY "\r\n", "405 Method Not Allowed", "Allow: GET",
		 "GET"},
		{"GET /chat HTTP/1.0\r\nHost: example.org\r\n" ASKS KEY "\r\n", "505 ", NULL, "HTTP/1.1"},
		{"GET /chat HTTP/1.1\r\nHost: evil.example\r\n" ASKS KEY "\r\n", "421 ", NULL, "'evil.example'"},
		{"GET /chat HTTP/1.1\r\nHost:\r\n" ASKS KEY "\r\n", "421 ", NULL, "''"},
		{GET KEY "\r\n", "426 Upgrade Required", "Upgrade: websocket", "no upgrade"},
		{GET "Connection: Upgrade\r\nUpgrade: h2c\r\n" KEY "\r\n", "426 ", "Upgrade: websocket", "no upgrade"},
		{GET "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n" KEY "\r\n", "426 ",
		 "Sec-WebSocket-Version: 13", "13"},
		{GET ASKS "\r\n", "400 ", NULL, "Sec-WebSocket-Key"},
		{GET ASKS "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n\r\n", "400 ", NULL, "16 bytes"},
		{GET ASKS "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSEh\r\n\r\n", "400 ", NULL, "16 bytes"},
		{GET ASKS "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q==\r\n\r\n", "400 ", NULL, "16 bytes"},
		{GET ASKS KEY KEY "\r\n", "400 ", NULL, "more than one"},
		{GET ASKS KEY "Content-Length: 3\r\n\r\n", "400 ", NULL, "body"},
		{GET ASKS KEY "Transfer-Encoding: chunked\r\n\r\n", "400 ", NULL, "body"},
		{GET ASKS KEY "Origin: https://evil.example\r\n\r\n", "403 Forbidden", NULL, "evil.example"},
		{GET ASKS KEY "Origin: null\r\n\r\n", "403 ", NULL, "'null'"},
		{GET ASKS KEY "Origin: http://example.org\r\n\r\n", "403 ", NULL, "example.org"}, /* another port */
		{GET ASKS KEY "Origin: file://example.org:8080\r\n\r\n", "403 ", NULL, "file"},
		{GET ASKS KEY "Origin: https://good.example.evil\r\n\r\n", "403 ", NULL, "evil"},
		{GET "Bad Field: a\r\n\r\n", "400 ", NULL, "no name"},
		{"\x16\x03\x01\x01", "400 ", NULL, "no HTTP"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char line[64];
		struct end server;

		make(&server, &server_config);
		feed_text(&server, cases[i].request);
		if (server.err >= 0 || !strstr(tn_errmsg(), cases[i].words))
			fail_msg("case %zu: %d, %s", i, server.err, tn_errmsg());
		snprintf(line, sizeof(line), "HTTP/1.1 %s", cases[i].status);
		expect_text(&server, line);
		expect_text(&server, "Connection: close\r\n");
		expect_text(&server, cases[i].words);
		if (cases[i].field)
			expect_text(&server, cases[i].field);
		unmake(&server);
	}
}

static void test_requests_taken(void **state)
{
	static const char *const requests[] = {
		GET ASKS KEY "Origin: http://example.org:8080\r\n\r\n",
		GET ASKS KEY "Origin: HTTPS://Example.org:8080\r\n\r\n",
		GET ASKS KEY "Origin: https://good.example\r\n\r\n",
		"GET /chat?a=b HTTP/1.1\r\nHost: [::1]:80\r\n" ASKS KEY "\r\n",
		"GET /chat HTTP/1.1\r\nHost: EXAMPLE.ORG\r\nupgrade: WebSocket\r\nCONNECTION: upgrade\r\n"
		"sec-websocket-version: 13\r\n" KEY "Content-Length: 0\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		struct tni_ws_facts facts;
		struct end server;

		make(&server, &server_config);
		feed_text(&server, requests[i]);
		if (server.err < 0)
			fail_msg("request %zu: %s", i, tn_errmsg());
		assert_true(server.layer->open);
		assert_int_equal(server.layer->ops->query(server.layer, TNI_ASK_WEBSOCKET, &facts), 0);
		assert_string_equal(facts.target, i == 3 ? "/chat?a=b" : "/chat");
		unmake(&server);
	}
}

static void test_subprotocols(void **state)
{
	static const char *const asked[] = {"Sec-WebSocket-Protocol: v1.json, v2.json\r\n",
					    "Sec-WebSocket-Protocol: v1.json\r\nSec-WebSocket-Protocol: v2.json\r\n",
					    "Sec-WebSocket-Protocol: x, v1.json\r\n",
					    "Sec-WebSocket-Protocol: V1.JSON\r\n", ""};
	static const char *const chosen[] = {"v2.json", "v2.json", "v1.json", "", ""};
	struct tni_ws_facts facts;
	struct end client, server;

	(void)state;
	server_config.subprotocols = subprotocols;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		char request[500];

		snprintf(request, sizeof(request), GET ASKS KEY "%s\r\n", asked[i]);
		make(&server, &server_config);
		feed_text(&server, request);
		assert_int_equal(server.err, 0);
		server.layer->ops->query(server.layer, TNI_ASK_WEBSOCKET, &facts);
		assert_string_equal(facts.subprotocol, chosen[i]);
		if (*chosen[i])
			expect_text(&server, chosen[i]);
		unmake(&server);
	}
	client_config.subprotocols = subprotocols + 1;
	open_pair(&client, &server, 1000);
	client.layer->ops->query(client.layer, TNI_ASK_WEBSOCKET, &facts);
	assert_string_equal(facts.subprotocol, "v1.json");
	assert_string_equal(facts.target, "/chat?room=1");
	close_pair(&client, &server);
}

static void test_asked(void **state)
{
	static const char *const fields[] = {"Authorization: Bearer x", "X-Two: 2", NULL};
	struct end client;

	(void)state;
	client_config.fields = fields;
	client_config.origin = "https://good.example";
	make(&client, &client_config);
	expect_text(&client, "GET /chat?room=1 HTTP/1.1\r\nHost: example.org:80\r\n");
	expect_text(&client, "\r\nAuthorization: Bearer x\r\nX-Two: 2\r\n\r\n");
	expect_text(&client, "\r\nOrigin: https://good.example\r\n");
	expect_text(&client, "==\r\nSec-WebSocket-Version: 13\r\n");
	unmake(&client);
}

static void test_answers_refused(void **state)
{
	static const struct {
		const char *answer, *words;
	} cases[] = {
		{"HTTP/1.1 404 Not Found\r\n\r\n", "404 Not Found"},
		{"HTTP/1.1 302 Found\r\nLocation: wss://else/\r\n\r\n", "not followed: wss://else/"},
		{"HTTP/1.1 200 OK\r\n\r\n", "200 OK"},
		{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "another request"},
		{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
		 "another request"},
		{"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "not to websocket"},
		{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", "not to websocket"},
		{"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct end client;

		make(&client, &client_config);
		feed_text(&client, cases[i].answer);
		if (client.err >= 0 || !strstr(tn_errmsg(), cases[i].words))
			fail_msg("case %zu: %d, %s", i, client.err, tn_errmsg());
		assert_false(client.layer->open);
		unmake(&client);
	}
}

/* What a server adds to a right answer without having been asked. */
static void test_not_offered(void **state)
{
	static const char *const fields[] = {"Sec-WebSocket-Extensions: permessage-deflate\r\n",
					     "Sec-WebSocket-Protocol: v3\r\n"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct end client, server;
		unsigned char *answer;
		char changed[500];

		make(&client, &client_config);
		make(&server, &server_config);
		turn(&client, &server, SIZE_MAX);
		answer = tni_buf_pullup(&server.net, server.net.len);
		snprintf(changed, sizeof(changed), "%.*s%s\r\n", (int)server.net.len - 2, (char *)answer, fields[i]);
		feed_text(&client, changed);
		assert_int_equal(client.err, TN_EFORMAT);
		assert_non_null(strstr(tn_errmsg(), "not offered"));
		close_pair(&client, &server);
	}
}

/* ---- messages ---- */

static void test_sizes(void **state)
{
	static const size_t sizes[] = {0,    1,     124,   125,   126,    127,    1023,   1024,
				       1025, 65535, 65536, 70000, 200000, 999999, 1 << 20};
	unsigned char *data = malloc(1 << 20);
	struct end client, server;

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < 1 << 20; i++)
		data[i] = (unsigned char)(i * 7 >> 3) & 0x7f;
	for (size_t step = 1; step < 1000000; step *= 31) {
		open_pair(&client, &server, 1000);
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			if (sizes[i] / step > 20000)
				continue;
			for (int side = 0; side < 2; side++) {
				struct end *from = side ? &server : &client, *to = side ? &client : &server;
				unsigned mark = i % 3 == 0 ? 0 : i % 3 == 1 ? TNI_MARK_TEXT : TNI_MARK_BINARY;

				/* In two pieces, so that a message stands in several blocks. */
				tni_buf_append(&from->send, data, sizes[i] / 2, false);
				tni_buf_append(&from->send, data + sizes[i] / 2, sizes[i] - sizes[i] / 2, true);
				from->send.tail->end |= mark;
				settle(from, to, step);
				assert_int_equal(to->err, 0);
				assert_int_equal(from->send.len, 0);
				expect_message(to, data, sizes[i], mark ? mark : TNI_MARK_BINARY);
			}
		}
		close_pair(&client, &server);
	}
	free(data);
}

/* A burst of short ones, and the default kind. */
static void test_burst(void **state)
{
	struct end client, server;
	char text[16];

	(void)state;
	client_config.text = true;
	open_pair(&client, &server, 1000);
	for (int i = 0; i < 1000; i++)
		tni_buf_append(&client.send, text, (size_t)snprintf(text, sizeof(text), "%d", i), true);
	settle(&client, &server, 4096);
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "%d", i);
		expect_message(&server, text, strlen(text), TNI_MARK_TEXT);
	}
	close_pair(&client, &server);
}

static void open_raw(struct end *e, struct end *helper, bool server)
{
	struct end *client = server ? helper : e, *srv = server ? e : helper;

	open_pair(client, srv, 1000);
}

/* A client whose frames are written by hand: those of a server are not masked. */
static void test_fragments(void **state)
{
	static const unsigned char frames[] = "\x01\x03Hel"
					      "\x89\x02hi" /* a ping within the message */
					      "\x00\x00"
					      "\x80\x02lo"
					      "\x02\x01\xff\x80\x01\xfe";
	static const unsigned char text_in_pieces[] = "\x01\x01\xf0\x00\x01\x9f\x00\x01\x98\x80\x01\x80";
	struct end client, server;

	(void)state;
	for (size_t step = 1; step < 40; step += 3) {
		open_raw(&client, &server, false);
		feed(&client, frames, sizeof(frames) - 1, step);
		assert_int_equal(client.err, 0);
		expect_message(&client, "Hello", 5, TNI_MARK_TEXT);
		expect_message(&client, "\xff\xfe", 2, TNI_MARK_BINARY);
		feed(&client, text_in_pieces, sizeof(text_in_pieces) - 1, step);
		expect_message(&client, "\xf0\x9f\x98\x80", 4, TNI_MARK_TEXT);
		assert_int_equal(client.net.len, 2 + 4 + 2); /* the pong, masked */
		turn(&client, &server, SIZE_MAX);
		assert_int_equal(server.err, 0);
		close_pair(&client, &server);
	}
}

#define M "\x00\x00\x00\x00" /* a mask that changes nothing */

static void test_ping_is_answered(void **state)
{
	struct end client, server;

	(void)state;
	open_raw(&server, &client, true);
	feed(&server,
	     "\x89\x83\x00\x00\x00\x00"
	     "abc",
	     9, 1);
	expect_bytes(&server,
		     "\x8a\x03"
		     "abc",
		     5);
	close_pair(&client, &server);
}

/* However long a message takes to be sent, nothing comes between its bytes, and a ping is answered behind it. */
static void test_ping_within_a_long_message(void **state)
{
	unsigned char *data = calloc(1, 1 << 20);

	(void)state;
	assert_non_null(data);
	for (int side = 0; side < 2; side++) {
		struct end client = {0}, server = {0};
		struct end *from = side ? &server : &client, *to = side ? &client : &server;

		open_pair(&client, &server, 1000);
		tni_buf_append(&from->send, data, 1 << 20, true);
		assert_int_equal(from->layer->ops->down(from->layer, &from->send, &from->net, 1000), 0);
		assert_true(from->send.head != NULL && from->net.len < 200000);
		for (int i = 0; i < 3; i++)
			feed(from, side ? "\x89\x81" M "p" : "\x89\x01p", side ? 7 : 3, 100);
		settle(from, to, 50000);
		assert_int_equal(to->err, 0);
		expect_message(to, data, 1 << 20, TNI_MARK_BINARY);
		assert_null(to->out.head);
		close_pair(&client, &server);
	}
	free(data);
}

/* ---- rules broken ---- */

#define FRAMES(text) (const unsigned char *)(text), sizeof(text) - 1

static void test_broken(void **state)
{
	static const struct {
		const unsigned char *frames;
		size_t len;
		unsigned code;
	} cases[] = {
		{FRAMES("\xc1\x80" M), 1002}, /* reserved bits */
		{FRAMES("\xa1\x80" M), 1002},
		{FRAMES("\x91\x80" M), 1002},
		{FRAMES("\x83\x80" M), 1002}, /* opcodes */
		{FRAMES("\x87\x80" M), 1002},
		{FRAMES("\x8b\x80" M), 1002},
		{FRAMES("\x8f\x80" M), 1002},
		{FRAMES("\x81\x05Hello"), 1002}, /* no mask */
		{FRAMES("\x80\x80" M), 1002},    /* nothing to go on with */
		{FRAMES("\x00\x80" M), 1002},
		{FRAMES("\x01\x80" M "\x81\x80" M), 1002}, /* a message in a message */
		{FRAMES("\x01\x80" M "\x02\x80" M), 1002},
		{FRAMES("\x09\x80" M), 1002}, /* control frames in pieces */
		{FRAMES("\x08\x80" M), 1002},
		{FRAMES("\x89\xfe\x00\x7e" M), 1002}, /* too long */
		{FRAMES("\x88\xfe\x00\x7e" M), 1002},
		{FRAMES("\x82\xfe\x00\x7d" M), 1002}, /* lengths not in the short form */
		{FRAMES("\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff" M), 1002},
		{FRAMES("\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00" M), 1002}, /* 2^63 */
		{FRAMES("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" M), 1009}, /* longer than max */
		{FRAMES("\x82\xff\x00\x00\x00\x00\x00\x10\x00\x01" M), 1009},
		{FRAMES("\x81\x81" M "\xff"), 1007}, /* text */
		{FRAMES("\x81\x81" M "\xc3"), 1007},
		{FRAMES("\x81\x82" M "\xc0\x80"), 1007},
		{FRAMES("\x01\x82" M "\xed\xa0"), 1007}, /* cannot become a character any more */
		{FRAMES("\x01\x81" M "\xf4"
			"\x00\x81" M "\x90"),
		 1007},
		{FRAMES("\x01\x83" M "a\xe2\x82"
			"\x80\x81" M "a"),
		 1007},
		{FRAMES("\x88\x81" M "\x03"), 1002},     /* Close */
		{FRAMES("\x88\x82" M "\x03\xe7"), 1002}, /* 999 */
		{FRAMES("\x88\x82" M "\x03\xec"), 1002}, /* 1004 */
		{FRAMES("\x88\x82" M "\x03\xed"), 1002}, /* 1005 */
		{FRAMES("\x88\x82" M "\x03\xee"), 1002}, /* 1006 */
		{FRAMES("\x88\x82" M "\x03\xf7"), 1002}, /* 1015 */
		{FRAMES("\x88\x82" M "\x07\xd0"), 1002}, /* 2000 */
		{FRAMES("\x88\x82" M "\x0b\xb7"), 1002}, /* 2999 */
		{FRAMES("\x88\x82" M "\x13\x88"), 1002}, /* 5000 */
		{FRAMES("\x88\x83" M "\x03\xe8\xff"), 1007},
		{FRAMES("\x02\x81" M "a\x88\x82" M "\x03\xe8"), 1000}, /* within a message, which is cut */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t step = 1; step < 100; step += 98) {
			unsigned char close[4] = {0x88, 0x02, (unsigned char)(cases[i].code >> 8),
						  (unsigned char)cases[i].code};
			struct end client, server;

			open_raw(&server, &client, true);
			feed(&server, cases[i].frames, cases[i].len, step);
			if (server.err != (cases[i].code == 1009 ? TN_ETOOBIG : TN_EFORMAT) && server.err != TN_ETRUNC)
				fail_msg("case %zu, step %zu: %d", i, step, server.err);
			expect_bytes(&server, close, sizeof(close));
			close_pair(&client, &server);
		}
	}
}

/* What a server may not send to a client. */
static void test_masked_server(void **state)
{
	struct end client, server;

	(void)state;
	open_raw(&client, &server, false);
	feed(&client, "\x81\x80" M, 6, 100);
	assert_int_equal(client.err, TN_EFORMAT);
	assert_int_equal(client.net.len, 8); /* Close with a code, masked */
	close_pair(&client, &server);
}

/* The maximum counts over all pieces of a message, and begins anew with the next. */
static void test_max_over_fragments(void **state)
{
	struct end client, server;

	(void)state;
	client_config.max = 10;
	open_raw(&client, &server, false);
	for (int i = 0; i < 3; i++) {
		feed(&client,
		     FRAMES("\x02\x05"
			    "aaaaa"
			    "\x80\x05"
			    "aaaaa"),
		     3);
		assert_int_equal(client.err, 0);
		expect_message(&client, "aaaaaaaaaa", 10, TNI_MARK_BINARY);
	}
	feed(&client,
	     FRAMES("\x02\x05"
		    "aaaaa"
		    "\x00\x05"
		    "aaaaa"
		    "\x80\x01"
		    "a"),
	     3);
	assert_int_equal(client.err, TN_ETOOBIG);
	close_pair(&client, &server);
}

/* Pieces of one byte do not each hold a block. */
static void test_tiny_fragments(void **state)
{
	struct end client, server;

	(void)state;
	open_raw(&client, &server, false);
	feed(&client, FRAMES("\x02\x00"), 2);
	for (int i = 0; i < 100000; i++)
		feed(&client,
		     FRAMES("\x00\x01z"
			    "\x00\x00"),
		     5);
	assert_int_equal(client.err, 0);
	assert_int_equal(client.out.len, 100000);
	assert_true(mem.small.nout * mem.small.cap + mem.large.nout * mem.large.cap < 400000);
	close_pair(&client, &server);
}

/* However a text is cut, the verdict is that of the whole. */
static void test_text_cut_anywhere(void **state)
{
	static const char *const pieces[] = {
		"a",    "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf",
		"\x80", "\xc0",     "\xed\xa0\x80", "\xf4\x90",         "\xe0\x9f",     "\xf5"};
	unsigned seed = 1;
	struct end client, server;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		unsigned char text[64], frame[64 * 3];
		size_t len = 0, n = 0;
		int good = 1;

		for (int j = 0; j < 6; j++) {
			const char *piece = pieces[rand_r(&seed) % (rand_r(&seed) % 3 ? 6 : 12)];

			memcpy(text + len, piece, strlen(piece));
			len += strlen(piece);
		}
		good = tni_utf8_check(text, len) == len;
		for (size_t at = 0; at < len;) {
			size_t part = 1 + rand_r(&seed) % 4;

			part = part > len - at ? len - at : part;
			frame[n++] = (unsigned char)((at ? 0 : 1) | (at + part == len ? 0x80 : 0));
			frame[n++] = (unsigned char)part;
			memcpy(frame + n, text + at, part);
			n += part;
			at += part;
		}
		open_raw(&client, &server, false);
		feed(&client, frame, n, 1 + rand_r(&seed) % 5);
		assert_int_equal(client.err, good ? 0 : TN_EFORMAT);
		if (good)
			expect_message(&client, text, len, TNI_MARK_TEXT);
		close_pair(&client, &server);
	}
}

/* ---- compressed messages ---- */

static void pack_both(void)
{
	server_config.deflate = client_config.deflate = true;
	client_config.deflate_own.client_bits_known = true;
	server_config.deflate_own.server_fresh = server_config.deflate_own.client_fresh = true;
}

static void test_offers(void **state)
{
	static const struct {
		const char *offer, *answer; /* NULL: none */
	} cases[] = {
		{"permessage-deflate", "permessage-deflate"},
		{"Permessage-Deflate;client_max_window_bits", "permessage-deflate"},
		{"permessage-deflate; client_no_context_takeover; server_no_context_takeover",
		 "permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
		{"permessage-deflate; server_max_window_bits=10", "permessage-deflate; server_max_window_bits=10"},
		{"permessage-deflate; server_max_window_bits=\"9\"", "permessage-deflate; server_max_window_bits=9"},
		{"permessage-deflate; client_max_window_bits=8", "permessage-deflate; client_max_window_bits=8"},
		{"permessage-deflate ; server_max_window_bits=10\t; client_max_window_bits=9 ",
		 "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9"},
		{"permessage-deflate; server_max_window_bits=8", "permessage-deflate; server_max_window_bits=8"},
		{"permessage-deflate; server_max_window_bits=7, permessage-deflate", "permessage-deflate"},
		{"permessage-deflate; server_max_window_bits", NULL},
		{"permessage-deflate; server_max_window_bits=7", NULL},
		{"permessage-deflate; server_max_window_bits=16", NULL},
		{"permessage-deflate; server_max_window_bits=010", NULL},
		{"permessage-deflate; client_max_window_bits=x", NULL},
		{"permessage-deflate; client_max_window_bits=9; client_max_window_bits=9", NULL},
		{"permessage-deflate; client_max_window_bits; client_max_window_bits=9", NULL},
		{"permessage-deflate; server_no_context_takeover=1", NULL},
		{"permessage-deflate; server_no_context_takeover; server_no_context_takeover", NULL},
		{"permessage-deflate; unknown", NULL},
		{"permessage-deflate=1", NULL},
		{"x-webkit-deflate-frame, permessage-deflate", "permessage-deflate"},
		{"", NULL},
	};

	(void)state;
	server_config.deflate = true;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tni_ws_facts facts;
		char request[600], line[200];
		struct end server;

		snprintf(request, sizeof(request), GET ASKS KEY "Sec-WebSocket-Extensions: %s\r\n\r\n", cases[i].offer);
		make(&server, &server_config);
		feed_text(&server, request);
		assert_int_equal(server.err, 0);
		server.layer->ops->query(server.layer, TNI_ASK_WEBSOCKET, &facts);
		if (facts.deflate != (cases[i].answer != NULL))
			fail_msg("case %zu", i);
		if (cases[i].answer) {
			snprintf(line, sizeof(line), "\r\nSec-WebSocket-Extensions: %s\r\n\r\n", cases[i].answer);
			expect_text(&server, line);
		}
		unmake(&server);
	}
}

/* What a client has not offered, or not so. */
static void test_answers_about_deflate(void **state)
{
	static const struct {
		const char *answer;
		bool taken;
	} cases[] = {
		{"permessage-deflate", true},
		{"permessage-deflate; server_max_window_bits=9; client_no_context_takeover", true},
		{"permessage-deflate; client_max_window_bits=8", true},
		{"permessage-deflate; client_max_window_bits", false},
		{"permessage-deflate; server_max_window_bits=7", false},
		{"permessage-deflate; unknown=1", false},
		{"permessage-deflate, permessage-deflate", false},
		{"other", false},
	};

	(void)state;
	client_config.deflate = true;
	client_config.deflate_own.client_bits_known = true;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct end client, server;
		unsigned char *answer;
		char changed[500];

		make(&client, &client_config);
		make(&server, &server_config);
		turn(&client, &server, SIZE_MAX);
		answer = tni_buf_pullup(&server.net, server.net.len);
		snprintf(changed, sizeof(changed), "%.*sSec-WebSocket-Extensions: %s\r\n\r\n", (int)server.net.len - 2,
			 (char *)answer, cases[i].answer);
		feed_text(&client, changed);
		if (client.err != (cases[i].taken ? 0 : TN_EFORMAT))
			fail_msg("case %zu: %s", i, tn_errmsg());
		close_pair(&client, &server);
	}
}

/* The examples of RFC 7692 7.2.3, one after the other in one connection, whole and in pieces. */
static void test_rfc_examples(void **state)
{
	static const unsigned char frames[] = "\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"         /* 7.2.3.1 */
					      "\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00" /* two frames */
					      "\xc1\x05\xf2\x00\x11\x00\x00"                 /* 7.2.3.2: the window */
					      "\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00" /* stored */
					      "\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"
					      "\x81\x05Hello"                             /* not compressed */
					      "\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00"; /* 7.2.3.4: BFINAL */
	struct end client, server;

	(void)state;
	pack_both();
	server_config.deflate_own = (struct tni_deflate_params){0};
	for (size_t step = 1; step < 100; step += 7) {
		open_raw(&client, &server, false);
		feed(&client, frames, sizeof(frames) - 1, step);
		if (client.err)
			fail_msg("%s", tn_errmsg());
		for (int i = 0; i < 7; i++)
			expect_message(&client, "Hello", 5, TNI_MARK_TEXT);
		assert_null(client.out.head);
		close_pair(&client, &server);
	}
}

/* Messages of all sorts in both directions, by all that can be agreed upon. */
static void test_packed_both_ways(void **state)
{
	static const size_t sizes[] = {0, 1, 9, 10, 1000, 65536, 65537, 300000, 1 << 20};
	unsigned char *data = malloc(1 << 20);
	unsigned seed = 3;

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < 1 << 20; i++)
		data[i] = i < 300000 ? (unsigned char)"the same again "[i % 15] : (unsigned char)rand_r(&seed);
	for (int how = 0; how < 16; how++) {
		struct end client, server;

		pack_both();
		server_config.deflate_min = client_config.deflate_min = 10;
		server_config.deflate_own = (struct tni_deflate_params){.server_fresh = how & 1,
									.client_fresh = how & 2,
									.server_bits = how & 4 ? 8 : 0,
									.client_bits = how & 8 ? 10 : 0};
		open_pair(&client, &server, 1000);
		for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
			size_t size = sizes[i / 2], step = how % 5 == 0 && size < 70000 ? 7 : 5000;
			struct end *from = i % 2 ? &server : &client, *to = i % 2 ? &client : &server;

			tni_buf_append(&from->send, data, size / 3, false);
			tni_buf_append(&from->send, data + size / 3, size - size / 3, true);
			settle(from, to, step);
			if (to->err)
				fail_msg("%s", tn_errmsg());
			expect_message(to, data, size, TNI_MARK_BINARY);
		}
		close_pair(&client, &server);
	}
	free(data);
}

static void test_packed_is_smaller(void **state)
{
	struct end client, server;
	unsigned char data[5000];

	(void)state;
	pack_both();
	memset(data, 'x', sizeof(data));
	open_pair(&client, &server, 1000);
	tni_buf_append(&client.send, data, sizeof(data), true);
	assert_int_equal(client.layer->ops->down(client.layer, &client.send, &client.net, 65536), 0);
	assert_true(client.net.len < 100);
	close_pair(&client, &server);
}

/* No compressor makes a window of 256 bytes; what one of 512 makes is read with no more, even where nothing but the
 * window is left of what came before. */
static void test_least_window(void **state)
{
	static unsigned char plain[20000], packed[40000];
	struct tni_deflater deflater = {.bits = 8};
	z_stream z = {0};
	struct tn_buf in, out;
	unsigned seed = 5;

	(void)state;
	for (size_t i = 0; i < sizeof(plain); i++) /* what was 1 to 600 bytes ago, or anything */
		plain[i] = i > 600 && i % 40 ? plain[i - 1 - i / 40 % 600] : (unsigned char)rand_r(&seed);
	tni_buf_init(&in, &mem, SIZE_MAX);
	tni_buf_init(&out, &mem, SIZE_MAX);
	tni_buf_append(&in, plain, sizeof(plain), false);
	assert_int_equal(tni_deflate(&deflater, &in, sizeof(plain), true, &out), 0);
	tni_deflate_free(&deflater);
	z.avail_in = (uInt)out.len;
	z.next_in = packed;
	assert_true(out.len < sizeof(packed));
	memcpy(packed, tni_buf_pullup(&out, out.len), out.len);
	assert_int_equal(inflateInit2(&z, -8), Z_OK);
	for (size_t i = 0; i < sizeof(plain); i++) {
		unsigned char byte;

		z.next_out = &byte;
		z.avail_out = 1;
		assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
		assert_int_equal(byte, plain[i]);
	}
	inflateEnd(&z);
	tni_buf_clear(&in);
	tni_buf_clear(&out);
}

/* ---- shared messages ---- */

static struct tn_shared *shared_of(const unsigned char *data, size_t len)
{
	struct tn_shared *shared = tni_shared_new(len);

	assert_non_null(shared);
	memcpy(shared->blk.data, data, len);
	return shared;
}

/* Queues it, and returns the block in which it stands on the wire. */
static const struct tni_blk *send_shared(struct end *e, struct tn_shared *shared, unsigned mark)
{
	assert_int_equal(e->net.len, 0);
	assert_int_equal(tni_buf_link(&e->send, &shared->blk, shared->blk.data, shared->blk.used, true), 0);
	e->send.tail->end |= mark;
	assert_int_equal(e->layer->ops->down(e->layer, &e->send, &e->net, 65536), 0);
	assert_non_null(e->net.head);
	return e->net.head->blk;
}

/* One frame for all servers that have agreed upon the same; each client finds the message in it. */
static void talk_shared(const unsigned char *data, size_t len, bool one, size_t step)
{
	struct end client[2], server[2];
	const struct tni_blk *wire[2][2];

	for (int i = 0; i < 2; i++)
		open_pair(&client[i], &server[i], 1000);
	for (int round = 0; round < 2; round++) {
		struct tn_shared *shared = shared_of(data, len);

		for (int kind = 0; kind < 2; kind++) {
			unsigned mark = kind ? TNI_MARK_BINARY : TNI_MARK_TEXT;

			for (int i = 0; i < 2; i++) {
				wire[kind][i] = send_shared(&server[i], shared, mark);
				settle(&server[i], &client[i], step);
				expect_message(&client[i], data, len, mark);
				/* What is not shared goes as ever in between. */
				tni_buf_append(&server[i].send, "hello", 5, true);
				settle(&server[i], &client[i], step);
				expect_message(&client[i], "hello", 5, TNI_MARK_BINARY);
			}
			if (one)
				assert_ptr_equal(wire[kind][0], wire[kind][1]);
		}
		if (one)
			assert_ptr_not_equal(wire[0][0], wire[1][0]);
		tni_blk_unref(&shared->blk);
	}
	for (int i = 0; i < 2; i++)
		close_pair(&client[i], &server[i]);
}

static void test_shared(void **state)
{
	static const size_t sizes[] = {1, 125, 126, 1024, 1025, 65535, 65536, 300000};
	unsigned char *data = malloc(300000);

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < 300000; i++)
		data[i] = (unsigned char)"the same again "[i % 15];
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		server_config.deflate = client_config.deflate = false;
		talk_shared(data, sizes[i], true, 5000);
		pack_both();
		talk_shared(data, sizes[i], true, 7);
		server_config.deflate_own.server_bits = 9;
		talk_shared(data, sizes[i], true, 5000);
		/* What a connection has sent before is part of how it compresses: nothing can be shared. */
		server_config.deflate_own.server_fresh = false;
		talk_shared(data, sizes[i], false, 5000);
	}
	free(data);
}

/* Those with other windows have other frames. */
static void test_shared_by_unlike_servers(void **state)
{
	struct end client[3], server[3];
	const struct tni_blk *wire[3];
	unsigned char data[3000];
	struct tn_shared *shared;

	(void)state;
	memset(data, 'x', sizeof(data));
	shared = shared_of(data, sizeof(data));
	for (int i = 0; i < 3; i++) {
		if (i)
			pack_both();
		server_config.deflate_own.server_bits = i == 2 ? 10 : 0;
		open_pair(&client[i], &server[i], 1000);
	}
	for (int i = 0; i < 3; i++) {
		wire[i] = send_shared(&server[i], shared, TNI_MARK_BINARY);
		assert_true(i ? server[i].net.len < 100 : server[i].net.len == sizeof(data) + 4);
		settle(&server[i], &client[i], 100);
		expect_message(&client[i], data, sizeof(data), TNI_MARK_BINARY);
	}
	assert_ptr_not_equal(wire[0], wire[1]);
	assert_ptr_not_equal(wire[1], wire[2]);
	for (int i = 0; i < 3; i++)
		close_pair(&client[i], &server[i]);
	tni_blk_unref(&shared->blk);
}

/* A client's frames are masked: each is its own. */
static void test_shared_by_clients(void **state)
{
	struct end client, server;
	struct tn_shared *shared = shared_of((const unsigned char *)"hello", 5);

	(void)state;
	open_pair(&client, &server, 1000);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(send_shared(&client, shared, TNI_MARK_BINARY)->shared, false);
		settle(&client, &server, 100);
		expect_message(&server, "hello", 5, TNI_MARK_BINARY);
	}
	assert_memory_equal(shared->blk.data, "hello", 5);
	close_pair(&client, &server);
	tni_blk_unref(&shared->blk);
}

/* A few bytes that become many are stopped at the maximum, before there is memory for all of them. */
static void test_bomb(void **state)
{
	struct end client, server;
	unsigned char *zeros = calloc(1, 64 << 20), close[] = {0x88, 0x82};

	(void)state;
	assert_non_null(zeros);
	pack_both();
	client_config.max = 64 << 20;
	open_pair(&client, &server, 1000);
	tni_buf_append(&client.send, zeros, 64 << 20, true);
	for (int i = 0; i < 100000 && (client.send.head || client.net.head) && server.err == 0; i++)
		turn(&client, &server, 4096);
	assert_int_equal(server.err, TN_ETOOBIG);
	assert_true(server.out.len <= (1 << 20) + 300);
	assert_true(server.net.len >= 4);
	assert_int_equal(*tni_buf_pullup(&server.net, 4), close[0]);
	close_pair(&client, &server);
	free(zeros);
}

/* One step hands up no more than it may, and the rest follows by itself. */
static void test_bounded_step(void **state)
{
	struct end client, server;
	unsigned char *zeros = calloc(1, 1 << 20);

	(void)state;
	assert_non_null(zeros);
	pack_both();
	open_pair(&client, &server, 1000);
	tni_buf_append(&client.send, zeros, 1 << 20, true);
	while (client.send.head)
		assert_int_equal(client.layer->ops->down(client.layer, &client.send, &client.net, SIZE_MAX), 0);
	assert_true(tni_buf_move(&server.in, &client.net, SIZE_MAX) > 0);
	for (size_t before = 0; server.out.len < 1 << 20; before = server.out.len) {
		up(&server);
		assert_int_equal(server.err, 0);
		assert_true(server.out.len > before && server.out.len <= before + STEP + 300);
	}
	up(&server);
	expect_message(&server, zeros, 1 << 20, TNI_MARK_BINARY);
	close_pair(&client, &server);
	free(zeros);
}

/* A byte in a frame of its own, compressed, holds no block of its own. */
static void test_packed_pieces_hold_little(void **state)
{
	struct end client, server;

	(void)state;
	pack_both();
	open_raw(&client, &server, false);
	feed(&client,
	     FRAMES("\x42\x07\x00\x02\x00\xfd\xff"
		    "ab"),
	     100);
	for (int i = 0; i < 20000; i++)
		feed(&client,
		     FRAMES("\x00\x06\x00\x01\x00\xfe\xff"
			    "z"),
		     100);
	assert_int_equal(client.err, 0);
	assert_int_equal(client.out.len, 20002);
	assert_true(mem.small.nout * mem.small.cap + mem.large.nout * mem.large.cap < 300000);
	close_pair(&client, &server);
}

static void test_packed_broken(void **state)
{
	static const struct {
		const unsigned char *frames;
		size_t len;
		unsigned code;
	} cases[] = {
		{FRAMES("\xc1\x01\xff"), 1007},                                 /* no such block */
		{FRAMES("\xc1\x05\xf2\x00\x11\x00\x00"), 1007},                 /* goes back behind the beginning */
		{FRAMES("\xc1\x06\xf2\x48\xcd\xc9\xc9\x07"), 1007},             /* not whole */
		{FRAMES("\x41\x03\xf2\x48\xcd\xc0\x04\xc9\xc9\x07\x00"), 1002}, /* RSV1 in the middle */
		{FRAMES("\xc9\x00"), 1002},                                     /* a control frame */
		{FRAMES("\xe1\x00"), 1002},
		{FRAMES("\xc1\x08\x00\x02\x00\xfd\xff\xc3\x28\x00"), 1007}, /* not UTF-8 */
	};

	(void)state;
	pack_both();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t step = 1; step < 100; step += 98) {
			struct end client, server;

			open_raw(&client, &server, false);
			feed(&client, cases[i].frames, cases[i].len, step);
			if (client.err != TN_EFORMAT)
				fail_msg("case %zu, step %zu: %d", i, step, client.err);
			turn(&client, &server, SIZE_MAX);
			assert_int_equal(server.err, -ECONNRESET); /* it has been told what for */
			close_pair(&client, &server);
		}
	}
}

/* ---- the end ---- */

static void expect_facts(struct end *e, int peer_code, const char *reason, int our_code)
{
	struct tni_ws_facts facts;

	assert_int_equal(e->layer->ops->query(e->layer, TNI_ASK_WEBSOCKET, &facts), 0);
	assert_int_equal(facts.peer_code, peer_code);
	assert_string_equal(facts.peer_reason, reason);
	assert_int_equal(facts.our_code, our_code);
}

static void shut(struct end *e)
{
	assert_int_equal(e->layer->ops->shut(e->layer, &e->net), 0);
}

static void test_close(void **state)
{
	struct end client, server;

	(void)state;
	for (size_t step = 1; step < 100; step += 50) {
		open_pair(&client, &server, 1000);
		expect_facts(&server, TNI_WS_ABNORMAL, "", 0);
		assert_int_equal(tni_ws_set_close(client.layer, 3000, "bye \xc3\xa4"), 0);
		tni_buf_append(&client.send, "last", 4, true);
		turn(&client, &server, SIZE_MAX);
		shut(&client);
		settle(&client, &server, step);
		expect_message(&server, "last", 4, TNI_MARK_BINARY);
		assert_true(server.layer->ended);
		expect_facts(&server, 3000, "bye \xc3\xa4", 0);
		tni_buf_append(&server.send, "late", 4, true); /* was on its way */
		turn(&server, &client, SIZE_MAX);
		shut(&server);
		settle(&server, &client, step);
		expect_message(&client, "late", 4, TNI_MARK_BINARY);
		assert_true(client.layer->ended);
		expect_facts(&client, 3000, "", 3000);
		expect_facts(&server, 3000, "bye \xc3\xa4", 3000);
		close_pair(&client, &server);
	}
}

static void test_close_without_code(void **state)
{
	struct end client, server;

	(void)state;
	open_raw(&server, &client, true);
	feed(&server, FRAMES("\x88\x80" M "\x81\x81" M "x"), 100);
	assert_int_equal(server.err, 0);
	assert_true(server.layer->ended);
	assert_null(server.out.head); /* behind Close there is nothing */
	expect_facts(&server, TNI_WS_NO_CODE, "", 0);
	shut(&server);
	expect_bytes(&server, "\x88\x00", 2);
	close_pair(&client, &server);
}

static void test_close_codes(void **state)
{
	static const int good[] = {1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999};
	static const int bad[] = {-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 66536};
	char reason[130];
	struct end client, server;

	(void)state;
	open_pair(&client, &server, 1000);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(tni_ws_set_close(server.layer, good[i], NULL), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(tni_ws_set_close(server.layer, bad[i], NULL), TN_EFORMAT);
	memset(reason, 'x', sizeof(reason));
	reason[124] = '\0';
	assert_int_equal(tni_ws_set_close(server.layer, 4999, reason), TN_EFORMAT);
	assert_int_equal(tni_ws_set_close(server.layer, 4999, "\xff"), TN_EFORMAT);
	reason[123] = '\0';
	assert_int_equal(tni_ws_set_close(server.layer, 4999, reason), 0);
	shut(&server);
	settle(&server, &client, 1000);
	expect_facts(&client, 4999, reason, 0);
	close_pair(&client, &server);
}

static void test_cut(void **state)
{
	struct end client, server;

	(void)state;
	make(&server, &server_config);
	feed_text(&server, "GET /chat");
	assert_int_equal(server.layer->ops->cut(server.layer), TN_EFORMAT);
	unmake(&server);
	make(&client, &client_config);
	assert_int_equal(client.layer->ops->cut(client.layer), -ECONNRESET);
	unmake(&client);
	open_pair(&client, &server, 1000);
	assert_int_equal(client.layer->ops->cut(client.layer), TN_ECUT);
	close_pair(&client, &server);
}

/* ---- time ---- */

#define MS UINT64_C(1000000)

static uint64_t due(struct end *e, uint64_t now_ns)
{
	return e->layer->ops->due_ns(e->layer, now_ns);
}

static int tick(struct end *e, uint64_t now_ns)
{
	return e->layer->ops->tick(e->layer, &e->net, now_ns);
}

static void test_pings(void **state)
{
	struct tni_ws_facts facts;
	struct end client, server;

	(void)state;
	client_config.ping_ns = 10 * MS;
	client_config.dead_ns = 35 * MS;
	open_pair(&client, &server, 1000);
	assert_true(due(&server, 1 * MS) == UINT64_MAX);
	assert_true(due(&client, 100 * MS) == 110 * MS);
	assert_int_equal(tick(&client, 105 * MS), 0);
	assert_int_equal(client.net.len, 0);
	assert_int_equal(tick(&client, 110 * MS), 0);
	assert_int_equal(client.net.len, 6);
	assert_true(due(&client, 110 * MS) == 135 * MS); /* one ping is out: only the end is due */
	settle(&client, &server, 1);
	assert_true(due(&client, 114 * MS) == 114 * MS); /* the pong has come: it is measured */
	assert_int_equal(tick(&client, 114 * MS), 0);
	client.layer->ops->query(client.layer, TNI_ASK_WEBSOCKET, &facts);
	assert_true(facts.round_ns == 4 * MS);
	assert_true(due(&client, 114 * MS) == 124 * MS);

	/* Any traffic shows that the peer is there. */
	feed(&client, FRAMES("\x82\x01z"), 3);
	expect_message(&client, "z", 1, TNI_MARK_BINARY);
	assert_true(due(&client, 120 * MS) == 130 * MS);
	assert_int_equal(tick(&client, 130 * MS), 0);
	assert_int_equal(client.net.len, 6);
	assert_int_equal(tick(&client, 154 * MS), 0);
	assert_int_equal(tick(&client, 155 * MS), -ETIMEDOUT);
	assert_non_null(strstr(tn_errmsg(), "35 ms"));
	close_pair(&client, &server);
}

/* Who does not read hears nothing: only from then on is it the peer's silence. */
static void test_silence_while_nothing_is_read(void **state)
{
	struct end client, server;

	(void)state;
	client_config.ping_ns = 10 * MS;
	client_config.dead_ns = 35 * MS;
	open_pair(&client, &server, 1000);
	assert_true(due(&client, 100 * MS) == 110 * MS);
	client.layer->unread = true;
	assert_true(due(&client, 101 * MS) == UINT64_MAX);
	assert_true(due(&client, 500 * MS) == UINT64_MAX);
	client.layer->unread = false;
	assert_true(due(&client, 600 * MS) == 610 * MS);
	assert_int_equal(tick(&client, 610 * MS), 0);
	assert_int_equal(client.net.len, 6);
	client.layer->unread = true;
	assert_true(due(&client, 611 * MS) == UINT64_MAX);
	client.layer->unread = false;
	assert_true(due(&client, 700 * MS) == 735 * MS);
	assert_int_equal(tick(&client, 735 * MS), -ETIMEDOUT);
	close_pair(&client, &server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sample, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_requests_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_requests_taken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_subprotocols, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_asked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_answers_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_offered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_burst, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_fragments, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ping_is_answered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ping_within_a_long_message, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_packed_pieces_hold_little, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_broken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_masked_server, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_max_over_fragments, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tiny_fragments, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_text_cut_anywhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_offers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_answers_about_deflate, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rfc_examples, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_packed_both_ways, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_packed_is_smaller, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_least_window, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared_by_unlike_servers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared_by_clients, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bomb, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bounded_step, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_packed_broken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_close, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_close_without_code, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_close_codes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pings, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_silence_while_nothing_is_read, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
