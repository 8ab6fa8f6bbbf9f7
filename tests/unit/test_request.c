/*
 * What clients ask of a proxy: SOCKS4, 4a, 5 and CONNECT, read whole and cut at every byte, refused and answered; the
 * layer around it; the header of datagrams; ports, users, and addresses that are not everybody's.
 */
#include "base/buf.h"
#include "base/err.h"
#include "base/pool.h"
#include "endpoint/reach.h"
#include "net/cidr.h"
#include "net/special.h"
#include "proxy/gate.h"
#include "relay/first/datagram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static bool knows(const void *arg, const char *user, size_t user_len, const char *password, size_t password_len)
{
	(void)arg;
	return user_len == 5 && !memcmp(user, "alice", 5) && password_len == 6 && !memcmp(password, "se:ret", 6);
}

static const struct tni_request_rules open_to_all, for_users = {.passwords = true, .knows = knows};

struct outcome {
	struct tni_request request;
	long rc; /* of the last step */
	size_t taken, replied;
	unsigned char replies[2 * TNI_REQUEST_REPLY_MAX];
};

/* On the heap without a byte behind it, so that a sanitizer sees what is read beyond. */
static long step(struct outcome *o, const struct tni_request_rules *rules, const unsigned char *data, size_t len)
{
	struct tni_request_reply reply;
	unsigned char *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, data, len);
	o->rc = tni_request_read(&o->request, rules, copy, len, &reply);
	free(copy);
	assert_true(reply.len <= sizeof(o->replies) - o->replied);
	memcpy(o->replies + o->replied, reply.bytes, reply.len);
	o->replied += reply.len;
	return o->rc;
}

/* As it comes: `cut` bytes, then the rest. */
static void read_cut(struct outcome *o, const struct tni_request_rules *rules, const void *data, size_t len, size_t cut)
{
	const unsigned char *bytes = data;

	memset(o, 0, sizeof(*o));
	for (int part = 0; part < 2; part++) {
		size_t end = part ? len : cut;

		while (!o->request.whole && o->taken < end && step(o, rules, bytes + o->taken, end - o->taken) > 0)
			o->taken += (size_t)o->rc;
		if (o->rc < 0)
			return;
	}
}

#define BYTES(text) text, sizeof(text) - 1

static const struct {
	const char *data;
	size_t len, rest;
	const struct tni_request_rules *rules;
	enum tni_request_protocol protocol;
	const char *host;
	int port;
	const char *user;
	bool udp;
	const char *replies;
	size_t replies_len;
} good[] = {
	{BYTES("\4\1\x1f\x90\xc0\0\2\1bob\0rest"), 4, &open_to_all, TNI_REQUEST_SOCKS4, "192.0.2.1", 8080, "bob", false,
	 "", 0},
	{BYTES("\4\1\0\x50\0\0\0\1\0a.example\0"), 0, &open_to_all, TNI_REQUEST_SOCKS4A, "a.example", 80, "", false, "",
	 0},
	{BYTES("\5\1\0\5\1\0\1\x7f\0\0\1\0\x50GET"), 3, &open_to_all, TNI_REQUEST_SOCKS5, "127.0.0.1", 80, "", false,
	 "\5\0", 2},
	{BYTES("\5\2\2\0\5\1\0\3\x09localhost\1\xbb"), 0, &open_to_all, TNI_REQUEST_SOCKS5, "localhost", 443, "", false,
	 "\5\0", 2},
	{BYTES("\5\1\0\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x50"), 0, &open_to_all, TNI_REQUEST_SOCKS5,
	 "2001:db8:0:0:0:0:0:1", 80, "", false, "\5\0", 2},
	{BYTES("\5\1\0\5\3\0\1\0\0\0\0\0\0"), 0, &open_to_all, TNI_REQUEST_SOCKS5, "0.0.0.0", 0, "", true, "\5\0", 2},
	{BYTES("\5\2\0\2\1\5alice\6se:ret\5\1\0\3\1a\0\x50"), 0, &for_users, TNI_REQUEST_SOCKS5, "a", 80, "alice",
	 false, "\5\2\1\0", 4},
	{BYTES("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n\x16"), 1, &open_to_all, TNI_REQUEST_HTTP,
	 "a.example", 443, "", false, "", 0},
	{BYTES("CONNECT [2001:db8::1]:65535 HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), 0, &open_to_all, TNI_REQUEST_HTTP,
	 "2001:db8::1", 65535, "", false, "", 0},
	{BYTES("CONNECT b:1 HTTP/1.1\r\nHost: b\r\nProxy-Authorization: basic YWxpY2U6c2U6cmV0\r\n\r\n"), 0, &for_users,
	 TNI_REQUEST_HTTP, "b", 1, "alice", false, "", 0},
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		for (size_t cut = 0; cut <= good[i].len; cut++) {
			struct outcome o;

			read_cut(&o, good[i].rules, good[i].data, good[i].len, cut);
			if (!o.request.whole)
				fail_msg("case %zu cut at %zu: %ld %s", i, cut, o.rc, tn_errmsg());
			assert_int_equal(o.taken, good[i].len - good[i].rest);
			assert_int_equal(o.request.protocol, good[i].protocol);
			assert_string_equal(o.request.host, good[i].host);
			assert_string_equal(o.request.user, good[i].user);
			assert_int_equal(o.request.port, good[i].port);
			assert_int_equal(o.request.udp, good[i].udp);
			assert_int_equal(o.replied, good[i].replies_len);
			assert_memory_equal(o.replies, good[i].replies, o.replied);
		}
}

#define NO5(code) "\5\0\5" code "\0\1\0\0\0\0\0\0"
#define NO4 "\0\x5b\0\0\0\0\0\0"

static const struct {
	const char *data;
	size_t len;
	const struct tni_request_rules *rules;
	const char *replies;
	size_t replies_len; /* 0: how they begin, as text */
	const char *words;
} bad[] = {
	{BYTES("\x16\3\1"), &open_to_all, "", 0, "TLS"},
	{BYTES("\3"), &open_to_all, "", 0, "neither SOCKS nor HTTP"},
	{BYTES("\0"), &open_to_all, "", 0, "neither SOCKS nor HTTP"},
	{BYTES("\4\2\0\x50\1\2\3\4\0"), &open_to_all, BYTES(NO4), "BIND"},
	{BYTES("\4\7\0\x50\1\2\3\4\0"), &open_to_all, BYTES(NO4), "unknown command"},
	{BYTES("\4\1\0\0\1\2\3\4\0"), &open_to_all, BYTES(NO4), "port 0"},
	{BYTES("\4\1\0\x50\0\0\0\1\0\0"), &open_to_all, BYTES(NO4), "a host that is none"},
	{BYTES("\4\1\0\x50\0\0\0\1\0a/b\0"), &open_to_all, BYTES(NO4), "a host that is none"},
	{BYTES("\4\1\0\x50\1\2\3\4alice\0"), &for_users, BYTES(NO4), "no passwords"},
	{BYTES("\5\0"), &open_to_all, BYTES("\5\xff"), "insists"},
	{BYTES("\5\2\1\2"), &open_to_all, BYTES("\5\xff"), "insists"},
	{BYTES("\5\1\0"), &for_users, BYTES("\5\xff"), "no user and password"},
	{BYTES("\5\1\2\5"), &for_users, BYTES("\5\2"), "version 5"},
	{BYTES("\5\1\2\1\5alice\6secret"), &for_users, BYTES("\5\2\1\1"), "is wrong"},
	{BYTES("\5\1\2\1\0\0"), &for_users, BYTES("\5\2\1\1"), "is wrong"},
	{BYTES("\5\1\2\1\6alice\0\6se:ret"), &for_users, BYTES("\5\2\1\1"), "is wrong"},
	{BYTES("\5\1\0\4"), &open_to_all, BYTES(NO5("\1")), "no request"},
	{BYTES("\5\1\0\5\1\1"), &open_to_all, BYTES(NO5("\1")), "no request"},
	{BYTES("\5\1\0\5\2\0\1\1\2\3\4\0\x50"), &open_to_all, BYTES(NO5("\7")), "BIND"},
	{BYTES("\5\1\0\5\x9\0\1\1\2\3\4\0\x50"), &open_to_all, BYTES(NO5("\7")), "unknown command"},
	{BYTES("\5\1\0\5\1\0\2\0\0"), &open_to_all, BYTES(NO5("\x8")), "kind of address"},
	{BYTES("\5\1\0\5\1\0\3\0\0\x50"), &open_to_all, BYTES(NO5("\1")), "a host that is none"},
	{BYTES("\5\1\0\5\1\0\3\3a\0b\0\x50"), &open_to_all, BYTES(NO5("\1")), "a host that is none"},
	{BYTES("\5\1\0\5\1\0\3\3\xc3\xa4x\0\x50"), &open_to_all, BYTES(NO5("\1")), "a host that is none"},
	{BYTES("\5\1\0\5\1\0\3\6fe80%1\0\x50"), &open_to_all, BYTES(NO5("\1")), "a host that is none"},
	{BYTES("\5\1\0\5\1\0\1\1\2\3\4\0\0"), &open_to_all, BYTES(NO5("\1")), "port 0"},
	{BYTES("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 405 ", 0, "CONNECT alone"},
	{BYTES("connect a:1 HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 405 ", 0, "CONNECT alone"},
	{BYTES("CONNECT a:1 HTTP/1.1\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "no Host"},
	{BYTES("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0,
	 "more than one Host"},
	{BYTES("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0,
	 "no body"},
	{BYTES("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ",
	 0, "no body"},
	{BYTES("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "abolished"},
	{BYTES("CONNECT a:1 HTTP/1.1\nHost: a\n\n"), &open_to_all, "HTTP/1.1 400 ", 0, "CR LF"},
	{BYTES("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "no host:port"},
	{BYTES("CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "no host:port"},
	{BYTES("CONNECT :80 HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "a host that is none"},
	{BYTES("CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "no host:port"},
	{BYTES("CONNECT a:000080 HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "no host:port"},
	{BYTES("CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "port 0"},
	{BYTES("CONNECT ::1:80 HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "no host:port"},
	{BYTES("CONNECT [a]:80 HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "no host:port"},
	{BYTES("CONNECT a@b:80 HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0, "a host that is none"},
	{BYTES("CONNECT a?x=y:80 HTTP/1.1\r\nHost: a\r\n\r\n"), &open_to_all, "HTTP/1.1 400 ", 0,
	 "a host that is none"},
	{BYTES("CONNECT b:1 HTTP/1.1\r\nHost: b\r\n\r\n"), &for_users, "HTTP/1.1 407 ", 0, "no user and password"},
	{BYTES("CONNECT b:1 HTTP/1.1\r\nHost: b\r\nProxy-Authorization: Digest x\r\n\r\n"), &for_users, "HTTP/1.1 407 ",
	 0, "no user and password"},
	{BYTES("CONNECT b:1 HTTP/1.1\r\nHost: b\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"), &for_users,
	 "HTTP/1.1 407 ", 0, "is wrong"},
	{BYTES("CONNECT b:1 HTTP/1.1\r\nHost: b\r\nProxy-Authorization: Basic ====\r\n\r\n"), &for_users,
	 "HTTP/1.1 407 ", 0, "is wrong"},
	{BYTES("CONNECT b:1 HTTP/1.1\r\nHost: b\r\nProxy-Authorization: Basic YWxp Y2U6\r\n\r\n"), &for_users,
	 "HTTP/1.1 407 ", 0, "is wrong"},
	{BYTES("CONNECT b:1 HTTP/1.1\r\nHost: b\r\nProxy-Authorization: Basic YWxpY2U6c2U6cmV0\r\n"
	       "Proxy-Authorization: Basic YWxpY2U6c2U6cmV0\r\n\r\n"),
	 &for_users, "HTTP/1.1 400 ", 0, "more than one Proxy-Authorization"},
};

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (size_t cut = 0; cut <= bad[i].len; cut++) {
			size_t expected = bad[i].replies_len ? bad[i].replies_len : strlen(bad[i].replies);
			struct outcome o;

			read_cut(&o, bad[i].rules, bad[i].data, bad[i].len, cut);
			if (o.rc >= 0 || o.request.whole || !strstr(tn_errmsg(), bad[i].words))
				fail_msg("case %zu cut at %zu: %ld %s", i, cut, o.rc, tn_errmsg());
			assert_true(expected ? o.replied >= expected : !o.replied);
			assert_memory_equal(o.replies, bad[i].replies, expected);
			assert_int_equal(o.request.wrong, strcmp(bad[i].words, "is wrong") == 0);
			if (!bad[i].replies_len && expected)
				assert_non_null(strstr((char *)o.replies, "\r\nConnection: close\r\n"));
		}
}

/* The longest that are allowed, and one byte more. */
static void test_long(void **state)
{
	unsigned char data[600] = {4, 1, 0, 80, 0, 0, 0, 1};
	struct outcome o;

	(void)state;
	memset(data + 8, 'u', 255);
	data[263] = 0;
	memset(data + 264, 'h', 255);
	data[519] = 0;
	read_cut(&o, &open_to_all, data, 520, 0);
	assert_true(o.request.whole);
	assert_int_equal(strlen(o.request.host), 255);
	assert_int_equal(strlen(o.request.user), 255);
	data[519] = 'h';
	read_cut(&o, &open_to_all, data, 521, 0);
	assert_true(o.rc < 0);
	data[263] = 'u';
	read_cut(&o, &open_to_all, data, 264, 0);
	assert_true(o.rc < 0);
	assert_non_null(strstr(tn_errmsg(), "longer than 255"));

	memcpy(data, "\5\1\0\5\1\0\3\xff", 8);
	memset(data + 8, 'h', 255);
	data[263] = 1;
	data[264] = 2;
	read_cut(&o, &open_to_all, data, 265, 100);
	assert_true(o.request.whole);
	assert_int_equal(strlen(o.request.host), 255);
	assert_int_equal(o.request.port, 258);
}

static void test_answers(void **state)
{
	static const unsigned char ip[16] = {192, 0, 2, 1}, ip6[16] = {0x20, 1, [15] = 1};
	static const struct {
		int err, socks5;
		const char *status;
	} codes[] = {
		{-EACCES, 2, "403"},  {-ENETUNREACH, 3, "502"},  {-EHOSTUNREACH, 4, "502"},
		{TN_ENAME, 4, "502"}, {-ECONNREFUSED, 5, "502"}, {-ETIMEDOUT, 6, "504"},
		{-EMFILE, 1, "503"},  {TN_ETLS, 1, "502"},       {-ELOOP, 2, "403"},
	};
	struct tni_request r = {.protocol = TNI_REQUEST_SOCKS5, .host = "a", .port = 1};
	struct tni_request_reply reply;

	(void)state;
	tni_request_answer(&r, 0, ip, 4, 258, &reply);
	assert_int_equal(reply.len, 10);
	assert_memory_equal(reply.bytes, "\5\0\0\1\xc0\0\2\1\1\2", 10);
	tni_request_answer(&r, 0, ip6, 16, 258, &reply);
	assert_int_equal(reply.len, 22);
	assert_memory_equal(reply.bytes, "\5\0\0\4\x20\1", 6);
	r.protocol = TNI_REQUEST_SOCKS4A;
	tni_request_answer(&r, 0, ip, 4, 258, &reply);
	assert_int_equal(reply.len, 8);
	assert_memory_equal(reply.bytes, "\0\x5a\1\2\xc0\0\2\1", 8);
	tni_request_answer(&r, -EACCES, NULL, 0, 0, &reply);
	assert_memory_equal(reply.bytes, NO4, 8);
	r.protocol = TNI_REQUEST_HTTP;
	tni_request_answer(&r, 0, ip, 4, 258, &reply);
	assert_memory_equal(reply.bytes, "HTTP/1.1 200 OK\r\n\r\n", reply.len);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		r.protocol = TNI_REQUEST_SOCKS5;
		tni_request_answer(&r, codes[i].err, NULL, 0, 0, &reply);
		assert_int_equal(reply.bytes[1], codes[i].socks5);
		r.protocol = TNI_REQUEST_HTTP;
		tni_request_answer(&r, codes[i].err, NULL, 0, 0, &reply);
		assert_memory_equal(reply.bytes + 9, codes[i].status, 3);
	}
}

/* ---- the layer ---- */

static struct tni_mem mem;

static void assert_sent(struct tn_buf *net, const char *bytes, size_t len)
{
	assert_int_equal(net->len, len);
	if (len)
		assert_memory_equal(tni_buf_pullup(net, len), bytes, len);
	tni_buf_clear(net);
}

/* What comes before the answer stays where it is; the reply goes first. */
static void test_gate(void **state)
{
	static const char said[] = "\5\1\0\5\1\0\1\1\2\3\4\0\x50hello";
	static const unsigned char ip[4] = {10, 0, 0, 1};
	struct tn_buf in, out, net;
	struct tni_gate_facts facts;
	struct tni_layer *gate;

	(void)state;
	tni_mem_init(&mem);
	tni_buf_init(&in, &mem, SIZE_MAX);
	tni_buf_init(&out, &mem, SIZE_MAX);
	tni_buf_init(&net, &mem, SIZE_MAX);
	assert_int_equal(tni_gate_new(&open_to_all, &gate), 0);
	assert_int_equal(gate->ops->query(gate, TNI_ASK_GATE, &facts), -EOPNOTSUPP);
	for (size_t i = 0; i < sizeof(said) - 1; i++) {
		assert_int_equal(tni_buf_append(&in, said + i, 1, false), 0);
		assert_int_equal(gate->ops->up(gate, &in, &out, &net, 4096), 0);
	}
	assert_true(gate->open && !gate->done);
	assert_int_equal(gate->ops->query(gate, TNI_ASK_GATE, &facts), 0);
	assert_ptr_equal(facts.layer, gate);
	assert_string_equal(facts.request->host, "1.2.3.4");
	assert_int_equal(in.len, 5);
	assert_int_equal(out.len, 0);
	assert_sent(&net, "\5\0", 2);
	assert_int_equal(gate->ops->down(gate, &in, &net, 4096), 0);
	assert_int_equal(net.len, 0);
	assert_int_equal(tni_gate_answer(gate, 0, ip, 4, 80, &net), 0);
	assert_sent(&net, "\5\0\0\1\x0a\0\0\1\0\x50", 10);
	assert_true(gate->done);
	gate->ops->free(gate);
	tni_buf_clear(&in);
	tni_mem_free(&mem);
}

/* A wrong password: nothing is said at once, and what comes meanwhile is dropped. */
static void test_late(void **state)
{
	static const char said[] = "\5\1\2\1\1a\1b";
	struct tn_buf in, out, net;
	struct tni_layer *gate;
	uint64_t due;

	(void)state;
	tni_mem_init(&mem);
	tni_buf_init(&in, &mem, SIZE_MAX);
	tni_buf_init(&out, &mem, SIZE_MAX);
	tni_buf_init(&net, &mem, SIZE_MAX);
	assert_int_equal(tni_gate_new(&for_users, &gate), 0);
	assert_true(gate->ops->due_ns(gate, 1000) == UINT64_MAX);
	assert_int_equal(tni_buf_append(&in, said, sizeof(said) - 1, false), 0);
	assert_int_equal(gate->ops->up(gate, &in, &out, &net, 4096), 0);
	assert_sent(&net, "\5\2", 2);
	assert_int_equal(in.len, 0);
	due = gate->ops->due_ns(gate, 1000);
	assert_true(due > 1000 + 500000000 && due < 1000 + UINT64_C(5000000000));
	assert_true(gate->ops->due_ns(gate, 2000) == due);
	assert_int_equal(tni_buf_append(&in, "\5\1\0", 3, false), 0);
	assert_int_equal(gate->ops->up(gate, &in, &out, &net, 4096), 0);
	assert_int_equal(in.len + net.len, 0);
	assert_int_equal(gate->ops->tick(gate, &net, due), -EACCES);
	assert_sent(&net, "\1\1", 2);
	assert_false(gate->open);
	gate->ops->free(gate);
	tni_mem_free(&mem);
}

/* ---- datagrams ---- */

static void test_datagrams(void **state)
{
	static const unsigned char four[] = "\0\0\0\1\x7f\0\0\1\0\x35hello", name[] = "\0\0\0\3\1a\1\2";
	static const unsigned char six[] = "\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\x35";
	static const unsigned char ip[16] = {127, 0, 0, 1};
	unsigned char out[DATAGRAM_HEADER_MAX];
	char host[256];
	int port;

	(void)state;
	assert_int_equal(datagram_read(four, sizeof(four) - 1, host, sizeof(host), &port), 10);
	assert_string_equal(host, "127.0.0.1");
	assert_int_equal(port, 53);
	assert_int_equal(datagram_read(name, sizeof(name) - 1, host, sizeof(host), &port), 8);
	assert_string_equal(host, "a");
	assert_int_equal(port, 258);
	assert_int_equal(datagram_read(six, sizeof(six) - 1, host, sizeof(host), &port), 22);
	assert_string_equal(host, "0:0:0:0:0:0:0:1");
	for (size_t len = 0; len < 10; len++)
		assert_int_equal(datagram_read(four, len, host, sizeof(host), &port), -1);
	for (size_t len = 0; len < 8; len++)
		assert_int_equal(datagram_read(name, len, host, sizeof(host), &port), -1);
	assert_int_equal(datagram_read((const unsigned char *)"\0\0\1\1\1\2\3\4\0\x35", 10, host, 256, &port), -1);
	assert_int_equal(datagram_read((const unsigned char *)"\0\1\0\1\1\2\3\4\0\x35", 10, host, 256, &port), -1);
	assert_int_equal(datagram_read((const unsigned char *)"\0\0\0\2\1\2\3\4\0\x35", 10, host, 256, &port), -1);
	assert_int_equal(datagram_read((const unsigned char *)"\0\0\0\3\0\0\x35", 7, host, 256, &port), -1);
	assert_int_equal(datagram_read((const unsigned char *)"\0\0\0\3\2a\0\0\x35", 9, host, 256, &port), -1);
	assert_int_equal(datagram_write(out, ip, 4, 53), 10);
	assert_memory_equal(out, four, 10);
	assert_int_equal(datagram_write(out, ip, 16, 53), 22);
	assert_memory_equal(out, "\0\0\0\4\x7f", 5);
}

/* ---- where one may go, and who ---- */

static void test_ports(void **state)
{
	static const char *const none[] = {"",   ",",  "0",    "65536", "1-", "-1",   "5-4",    "a",   "1,",
					   ",1", "1 ", "1--2", "1-2-3", "+1", "0x10", "000001", "1,,2"};
	struct tni_ports ports = {0};

	(void)state;
	assert_true(tni_ports_have(&ports, 1) && tni_ports_have(&ports, 65535));
	assert_int_equal(tni_ports_read(&ports, "443,8000-8002,65535"), 0);
	assert_true(tni_ports_have(&ports, 443) && tni_ports_have(&ports, 8001) && tni_ports_have(&ports, 65535));
	assert_false(tni_ports_have(&ports, 442) || tni_ports_have(&ports, 7999) || tni_ports_have(&ports, 8003));
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		if (tni_ports_read(&ports, none[i]) != TN_EURL && strcmp(none[i], "000001") != 0)
			fail_msg("'%s' was read", none[i]);
}

static bool known(const struct tni_users *users, const char *name, const char *password)
{
	return tni_users_know(users, name, strlen(name), password, strlen(password));
}

static void test_users(void **state)
{
	static const char text[] = "# who\n\nalice:se:ret\r\nbob:b", *const bad_lines[] = {"alice", ":x", "alice:", "",
											   "#"};
	struct tni_users users = {0};
	char longest[300];

	(void)state;
	assert_int_equal(tni_users_read(&users, "f", text, sizeof(text) - 1), 0);
	assert_int_equal(users.count, 2);
	assert_true(known(&users, "alice", "se:ret") && known(&users, "bob", "b"));
	assert_false(known(&users, "alice", "b") || known(&users, "bob", "se:ret") || known(&users, "alice", "se:re"));
	assert_false(known(&users, "alice", "se:rett") || known(&users, "", "") || known(&users, "alice", ""));
	assert_false(tni_users_know(&users, "alice\0", 6, "se:ret", 6));
	memset(longest, 'x', sizeof(longest));
	assert_false(tni_users_know(&users, longest, 300, "b", 1));
	tni_users_free(&users);
	assert_false(known(&users, "alice", "se:ret"));
	for (size_t i = 0; i < sizeof(bad_lines) / sizeof(bad_lines[0]); i++) {
		assert_int_equal(tni_users_read(&users, "f", bad_lines[i], strlen(bad_lines[i])), TN_EFORMAT);
		tni_users_free(&users);
	}
	longest[280] = ':';
	assert_int_equal(tni_users_read(&users, "f", longest, sizeof(longest)), TN_EFORMAT);
	assert_non_null(strstr(tn_errmsg(), "f: line 1: "));
	assert_null(strstr(tn_errmsg(), "xxx"));
	tni_users_free(&users);
}

static void test_any_and_multicast(void **state)
{
	static const struct {
		const char *host;
		bool any, multicast;
	} hosts[] = {
		{"0.0.0.0", true, false},
		{"::", true, false},
		{"::ffff:0.0.0.0", true, false},
		{"0.0.0.1", false, false},
		{"1.0.0.0", false, false},
		{"127.0.0.1", false, false},
		{"::1", false, false},
		{"1::", false, false},
		{"::ffff:0.0.0.1", false, false},
		{"224.0.0.0", false, true},
		{"ff00::", false, true},
		{"::ffff:239.255.255.255", false, true},
		{"239.255.255.255", false, true},
		{"ff02::1", false, true},
		{"::ffff:223.0.0.1", false, false},
		{"223.255.255.255", false, false},
		{"fe80::1", false, false},
		{"240.0.0.0", false, false},
	};
	struct tn_addr addr;

	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		assert_int_equal(tni_addr_literal(&addr, hosts[i].host, 80), 0);
		if (tni_addr_is_any(&addr) != hosts[i].any || tni_addr_is_multicast(&addr) != hosts[i].multicast)
			fail_msg("%s", hosts[i].host);
	}
	tni_addr_unix(&addr, "/run/x", 6);
	assert_false(tni_addr_is_any(&addr) || tni_addr_is_multicast(&addr));
}

/* An IPv6 socket's words for IPv4 become IPv4's; so does the loopback address. Others stay. */
static void test_unmapped(void **state)
{
	static const char *const pairs[][2] = {{"::ffff:192.0.2.1", "192.0.2.1"}, {"::1", "127.0.0.1"},
					       {"192.0.2.1", "192.0.2.1"},        {"::", "::"},
					       {"2001:db8::1", "2001:db8::1"},    {"::192.0.2.1", "::192.0.2.1"}};
	struct tn_addr addr, expected;

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		assert_int_equal(tni_addr_literal(&addr, pairs[i][0], 80), 0);
		assert_int_equal(tni_addr_literal(&expected, pairs[i][1], 80), 0);
		tni_addr_unmap(&addr);
		if (!tni_addr_equal(&addr, &expected))
			fail_msg("%s", pairs[i][0]);
	}
}

static bool is_special(const char *host)
{
	struct tn_addr addr;

	if (tni_addr_literal(&addr, host, 80) != 0)
		fail_msg("%s", host);
	return tni_addr_is_special(&addr);
}

static void test_special(void **state)
{
	static const char *const special[] = {"0.0.0.0",
					      "0.1.2.3",
					      "10.0.0.1",
					      "10.255.255.255",
					      "100.64.0.1",
					      "100.127.255.255",
					      "127.0.0.1",
					      "127.255.255.254",
					      "169.254.169.254",
					      "172.16.0.1",
					      "172.31.255.255",
					      "192.0.0.8",
					      "192.0.2.1",
					      "192.168.0.1",
					      "198.18.0.1",
					      "198.19.255.255",
					      "198.51.100.1",
					      "203.0.113.1",
					      "224.0.0.1",
					      "239.255.255.255",
					      "240.0.0.1",
					      "255.255.255.255",
					      "::",
					      "::1",
					      "::ffff:127.0.0.1",
					      "::ffff:10.0.0.1",
					      "::127.0.0.1",
					      "::8.8.8.8",
					      "64:ff9b::7f00:1",
					      "64:ff9b::a00:1",
					      "64:ff9b:1::1",
					      "100::1",
					      "2001::1",
					      "2001:0:4136:e378::1",
					      "2001:db8::1",
					      "2002:7f00:1::1",
					      "2002:a00:1::1",
					      "2002:c0a8:101::1",
					      "3fff::1",
					      "5f00::1",
					      "fc00::1",
					      "fd12::1",
					      "fe80::1",
					      "fec0::1",
					      "ff02::1",
					      "4000::1"};
	static const char *const public[] = {"1.1.1.1",         "8.8.8.8",         "9.255.255.255",
					     "11.0.0.0",        "100.63.255.255",  "100.128.0.0",
					     "126.255.255.255", "128.0.0.0",       "169.253.255.255",
					     "172.15.255.255",  "172.32.0.0",      "192.167.255.255",
					     "192.169.0.0",     "198.17.255.255",  "198.20.0.0",
					     "223.255.255.255", "::ffff:8.8.8.8",  "64:ff9b::808:808",
					     "2002:808:808::1", "2606:4700::1111", "2001:4860:4860::8888",
					     "2a00::1",         "3ffe::1"};

	(void)state;
	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
		if (!is_special(special[i]))
			fail_msg("%s counts as public", special[i]);
	for (size_t i = 0; i < sizeof(public) / sizeof(public[0]); i++)
		if (is_special(public[i]))
			fail_msg("%s counts as special", public[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),      cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long),      cmocka_unit_test(test_answers),
		cmocka_unit_test(test_gate),      cmocka_unit_test(test_late),
		cmocka_unit_test(test_datagrams), cmocka_unit_test(test_ports),
		cmocka_unit_test(test_users),     cmocka_unit_test(test_any_and_multicast),
		cmocka_unit_test(test_unmapped),  cmocka_unit_test(test_special),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
