/* A client's side of SOCKS4, 4a, SOCKS5 and CONNECT: what is said, what is understood, and in which words it fails. */
#include "base/err.h"
#include "conn/chain.h"
#include "proxy/connect.h"
#include "proxy/via.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BYTES(text) (text), sizeof(text) - 1
#define TURNS 4

/* A proxy's part: it says each answer when the client has said what comes before it. */
struct talk {
	enum tni_via_kind kind;
	const char *host;
	const char *ip;
	size_t ip_len;
	const char *user, *password;
	struct {
		const char *client;
		size_t client_len;
		const char *proxy;
		size_t proxy_len;
	} turns[TURNS];
	int err;           /* 0: what follows is the target's */
	const char *words; /* with err: what the detail holds */
};

struct end {
	struct tni_mem mem;
	struct tni_chain chain;
	struct tni_layer *layer;
	struct tn_buf out;
	int err;
};

static char *copy(const char *text)
{
	char *twin = text ? strdup(text) : NULL;

	assert_true(twin || !text);
	return twin;
}

static void begin(struct end *e, const struct talk *talk)
{
	struct tni_login login = {copy(talk->user), copy(talk->password)};

	tni_mem_init(&e->mem);
	tni_buf_init(&e->out, &e->mem, SIZE_MAX);
	tni_chain_init(&e->chain, &e->mem);
	assert_int_equal(tni_via_new(talk->kind, talk->host, 443, &login, &e->layer), 0);
	assert_null(login.user);
	assert_null(login.password);
	if (talk->ip)
		tni_via_set_address(e->layer, talk->ip, talk->ip_len);
	tni_chain_push(&e->chain, e->layer);
	e->err = tni_chain_open(&e->chain);
}

static void finish(struct end *e)
{
	tni_chain_free(&e->chain);
	tni_buf_clear(&e->out);
	tni_mem_free(&e->mem);
}

static void expect_said(struct end *e, const char *data, size_t len)
{
	struct tn_buf *net = tni_chain_wire(&e->chain);
	const unsigned char *said = len ? tni_buf_pullup(net, len) : NULL;

	assert_int_equal(net->len, len);
	if (len)
		assert_memory_equal(said, data, len);
	tni_buf_clear(net);
}

/* In pieces of at most `step` bytes, each on the heap without a byte behind it. False: it has failed. */
static bool answer(struct end *e, const char *data, size_t len, size_t step)
{
	while (len && e->err == 0) {
		size_t n = len < step ? len : step;

		assert_int_equal(tni_buf_append(tni_chain_in(&e->chain), data, n, false), 0);
		e->err = tni_chain_up(&e->chain, &e->out);
		data += n;
		len -= n;
	}
	return e->err == 0;
}

static void play(const struct talk *talk, size_t step)
{
	struct end e;
	bool goes_on = true;

	begin(&e, talk);
	for (int i = 0; i < TURNS && goes_on && talk->turns[i].client; i++) {
		assert_int_equal(e.err, 0);
		assert_false(e.layer->done);
		expect_said(&e, talk->turns[i].client, talk->turns[i].client_len);
		goes_on = answer(&e, talk->turns[i].proxy, talk->turns[i].proxy_len, step);
	}
	if (e.err != talk->err)
		fail_msg("%s, in steps of %zu: %d (%s)", talk->words ? talk->words : "good", step, e.err, tn_errmsg());
	if (talk->err) {
		if (!strstr(tn_errmsg(), talk->words))
			fail_msg("'%s' is not in '%s'", talk->words, tn_errmsg());
	} else {
		assert_true(e.layer->done);
		assert_int_equal(e.out.len, 5);
		assert_memory_equal(tni_buf_pullup(&e.out, 5), "early", 5);
		tni_chain_leave(&e.chain);
		assert_null(e.chain.bottom);
	}
	finish(&e);
}

static void play_all(const struct talk *talks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t step = 1; step <= 4096; step = step < 8 ? step + 1 : step * 8)
			play(&talks[i], step);
}

#define GREETING "\5\1\0"
#define GREETING_USER "\5\2\0\2"
#define ASK_NAME "\5\1\0\3\13example.org\1\xbb"
#define ASK_IP "\5\1\0\1\300\0\2\1\1\xbb"
#define LONG_ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONG LONG_ LONG_ LONG_ LONG_ LONG_ /* 255 bytes */

static void test_socks5(void **state)
{
	static const struct talk talks[] = {
		{TNI_VIA_SOCKS5H, "example.org",
		 .turns = {{BYTES(GREETING), BYTES("\5\0")}, {BYTES(ASK_NAME), BYTES("\5\0\0\1\1\2\3\4\5\6early")}}},
		{TNI_VIA_SOCKS5H, "example.org",
		 .turns = {{BYTES(GREETING), BYTES("\5\0")},
			   {BYTES(ASK_NAME), BYTES("\5\0\0\4abcdefghijklmnop\5\6early")}}},
		{TNI_VIA_SOCKS5H, "example.org",
		 .turns = {{BYTES(GREETING), BYTES("\5\0")}, {BYTES(ASK_NAME), BYTES("\5\0\0\3\0\5\6early")}}},
		{TNI_VIA_SOCKS5H, LONG,
		 .turns = {{BYTES(GREETING), BYTES("\5\0")},
			   {BYTES("\5\1\0\3\377" LONG "\1\xbb"), BYTES("\5\0\0\3\377" LONG "\5\6early")}}},
		{TNI_VIA_SOCKS5, "example.org", "\300\0\2\1", 4,
		 .turns = {{BYTES(GREETING), BYTES("\5\0")}, {BYTES(ASK_IP), BYTES("\5\0\0\1\1\2\3\4\5\6early")}}},
		{TNI_VIA_SOCKS5, "example.org", "abcdefghijklmnop", 16,
		 .turns = {{BYTES(GREETING), BYTES("\5\0")},
			   {BYTES("\5\1\0\4abcdefghijklmnop\1\xbb"), BYTES("\5\0\0\1\1\2\3\4\5\6early")}}},
		/* The proxy may do without the password; some answer to it with SOCKS' version. */
		{TNI_VIA_SOCKS5H, "example.org", .user = "me", .password = "secret",
		 .turns = {{BYTES(GREETING_USER), BYTES("\5\0")},
			   {BYTES(ASK_NAME), BYTES("\5\0\0\1\1\2\3\4\5\6early")}}},
		{TNI_VIA_SOCKS5H, "example.org", .user = "me", .password = "secret",
		 .turns = {{BYTES(GREETING_USER), BYTES("\5\2")},
			   {BYTES("\1\2me\6secret"), BYTES("\1\0")},
			   {BYTES(ASK_NAME), BYTES("\5\0\0\1\1\2\3\4\5\6early")}}},
		{TNI_VIA_SOCKS5H, "example.org", .user = "me",
		 .turns = {{BYTES(GREETING_USER), BYTES("\5\2")},
			   {BYTES("\1\2me\0"), BYTES("\5\0")},
			   {BYTES(ASK_NAME), BYTES("\5\0\0\1\1\2\3\4\5\6early")}}},
		{TNI_VIA_SOCKS5H, "example.org", .user = LONG, .password = LONG,
		 .turns = {{BYTES(GREETING_USER), BYTES("\5\2")},
			   {BYTES("\1\377" LONG "\377" LONG), BYTES("\1\0")},
			   {BYTES(ASK_NAME), BYTES("\5\0\0\1\1\2\3\4\5\6early")}}},
	};

	(void)state;
	play_all(talks, sizeof(talks) / sizeof(talks[0]));
}

#define SOCKS5_ANSWERS(answer, code, says)                                                                            \
	{                                                                                                             \
		TNI_VIA_SOCKS5H, "example.org",                                                                       \
			.turns = {{BYTES(GREETING), BYTES("\5\0")}, {BYTES(ASK_NAME), BYTES(answer)}}, .err = (code), \
			.words = (says)                                                                               \
	}

static void test_socks5_refused(void **state)
{
	static const struct talk talks[] = {
		SOCKS5_ANSWERS("\5\1", -ECONNREFUSED, "it failed (SOCKS5 reply 1)"),
		SOCKS5_ANSWERS("\5\2\0\1\0\0\0\0\0\0", -EACCES, "its rules do not allow it (SOCKS5 reply 2)"),
		SOCKS5_ANSWERS("\5\3", -ENETUNREACH, "the network is unreachable"),
		SOCKS5_ANSWERS("\5\4", -EHOSTUNREACH, "the host is unreachable"),
		SOCKS5_ANSWERS("\5\5", -ECONNREFUSED, "the target has refused the connection (SOCKS5 reply 5)"),
		SOCKS5_ANSWERS("\5\6", -ETIMEDOUT, "the TTL has expired"),
		SOCKS5_ANSWERS("\5\7", -EOPNOTSUPP, "does not know how to connect"),
		SOCKS5_ANSWERS("\5\10", -EAFNOSUPPORT, "addresses of this kind"),
		SOCKS5_ANSWERS("\5\11", TN_EFORMAT, "SOCKS5 reply 9, which does not exist"),
		SOCKS5_ANSWERS("\5\377", TN_EFORMAT, "SOCKS5 reply 255, which does not exist"),
		SOCKS5_ANSWERS("\4\0", TN_EFORMAT, "byte 4: that is not SOCKS5"),
		SOCKS5_ANSWERS("\5\0\0\2\1", TN_EFORMAT, "address of kind 2"),
		{TNI_VIA_SOCKS5H, "h", .turns = {{BYTES(GREETING), BYTES("HTTP/1.1 400 Bad\r\n")}}, .err = TN_EFORMAT,
		 .words = "answers in HTTP"},
		{TNI_VIA_SOCKS5H, "h", .turns = {{BYTES(GREETING), BYTES("\0")}}, .err = TN_EFORMAT,
		 .words = "byte 0: that is not SOCKS5"},
		{TNI_VIA_SOCKS5H, "h", .turns = {{BYTES(GREETING), BYTES("\5\377")}}, .err = -EACCES,
		 .words = "key auth"},
		{TNI_VIA_SOCKS5H, "h", .turns = {{BYTES(GREETING), BYTES("\5\2")}}, .err = TN_EFORMAT,
		 .words = "method 2, which was not offered"},
		{TNI_VIA_SOCKS5H, "h", .user = "me", .turns = {{BYTES(GREETING_USER), BYTES("\5\1")}},
		 .err = TN_EFORMAT, .words = "method 1, which was not offered"},
		{TNI_VIA_SOCKS5H, "h", .user = "me", .turns = {{BYTES(GREETING_USER), BYTES("\5\377")}}, .err = -EACCES,
		 .words = "takes neither a password nor"},
		{TNI_VIA_SOCKS5H, "h", .user = "me",
		 .turns = {{BYTES(GREETING_USER), BYTES("\5\2")}, {BYTES("\1\2me\0"), BYTES("\1\1")}}, .err = -EACCES,
		 .words = "no password: key auth"},
		{TNI_VIA_SOCKS5H, "h", .user = "me", .password = "x",
		 .turns = {{BYTES(GREETING_USER), BYTES("\5\2")}, {BYTES("\1\2me\1x"), BYTES("\1\377")}},
		 .err = -EACCES, .words = "is wrong (user 'me')"},
		{TNI_VIA_SOCKS5H, "h", .user = "me", .password = "x",
		 .turns = {{BYTES(GREETING_USER), BYTES("\5\2")}, {BYTES("\1\2me\1x"), BYTES("\2\0")}},
		 .err = TN_EFORMAT, .words = "answers to the password with byte 2"},
	};

	(void)state;
	play_all(talks, sizeof(talks) / sizeof(talks[0]));
}

static void test_socks4(void **state)
{
	static const struct talk talks[] = {
		{TNI_VIA_SOCKS4A, "example.org",
		 .turns = {{BYTES("\4\1\1\xbb\0\0\0\1\0example.org\0"), BYTES("\0\132\1\2\3\4\5\6early")}}},
		{TNI_VIA_SOCKS4, "example.org", "\300\0\2\1", 4, .user = "me",
		 .turns = {{BYTES("\4\1\1\xbb\300\0\2\1me\0"), BYTES("\0\132\1\2\3\4\5\6early")}}},
		{TNI_VIA_SOCKS4A, "h", .turns = {{BYTES("\4\1\1\xbb\0\0\0\1\0h\0"), BYTES("\0\133")}},
		 .err = -ECONNREFUSED, .words = "SOCKS4 reply 91"},
		{TNI_VIA_SOCKS4A, "h", .turns = {{BYTES("\4\1\1\xbb\0\0\0\1\0h\0"), BYTES("\0\134\1\2\3\4\5\6")}},
		 .err = -EACCES, .words = "SOCKS4 reply 92"},
		{TNI_VIA_SOCKS4A, "h", .turns = {{BYTES("\4\1\1\xbb\0\0\0\1\0h\0"), BYTES("\0\135")}}, .err = -EACCES,
		 .words = "SOCKS4 reply 93"},
		{TNI_VIA_SOCKS4A, "h", .turns = {{BYTES("\4\1\1\xbb\0\0\0\1\0h\0"), BYTES("\0\136")}},
		 .err = TN_EFORMAT, .words = "SOCKS4 reply 94, which does not exist"},
		{TNI_VIA_SOCKS4A, "h", .turns = {{BYTES("\4\1\1\xbb\0\0\0\1\0h\0"), BYTES("\5\377")}},
		 .err = TN_EFORMAT, .words = "that is not SOCKS4"},
		{TNI_VIA_SOCKS4A, "2001:db8::1", .err = TN_EURL, .words = "SOCKS4 has none"},
		{TNI_VIA_SOCKS4, "h", "abcdefghijklmnop", 16, .err = TN_EURL, .words = "SOCKS4 has none"},
		{TNI_VIA_SOCKS4A, LONG "a", .err = TN_EURL, .words = "more than 255 bytes"},
		{TNI_VIA_SOCKS5H, LONG "a", .err = TN_EURL, .words = "more than 255 bytes"},
		{TNI_VIA_SOCKS5H, "h", .user = LONG "a", .err = TN_EURL, .words = "at most 255 bytes"},
		{TNI_VIA_SOCKS5H, "h", .user = "me", .password = LONG "a", .err = TN_EURL,
		 .words = "at most 255 bytes"},
	};

	(void)state;
	play_all(talks, sizeof(talks) / sizeof(talks[0]));
}

#define ASK_HTTP "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
#define HTTP_ANSWERS(answer, code, says)                                                                 \
	{                                                                                                \
		TNI_VIA_HTTP, "example.org", .turns = {{BYTES(ASK_HTTP), BYTES(answer)}}, .err = (code), \
					     .words = (says)                                             \
	}
#define TEXT "Content-Type: text/plain; charset=utf-8\r\n"

static void test_connect(void **state)
{
	static const struct talk talks[] = {
		HTTP_ANSWERS("HTTP/1.1 200 Connection established\r\n\r\nearly", 0, NULL),
		HTTP_ANSWERS("HTTP/1.0 299\r\nVia: x\r\n\r\nearly", 0, NULL),
		HTTP_ANSWERS("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly", 0, NULL), /* RFC 9110 9.3.6 */
		HTTP_ANSWERS("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\nearly", 0,
			     NULL),
		{TNI_VIA_HTTP, "2001:db8::1",
		 .turns = {{BYTES("CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"),
			    BYTES("HTTP/1.1 200 OK\r\n\r\nearly")}}},
		{TNI_VIA_HTTP, "h", .user = "Aladdin", .password = "open sesame",
		 .turns = {{BYTES("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n"
				  "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"),
			    BYTES("HTTP/1.1 200 OK\r\n\r\nearly")}}},
		{TNI_VIA_HTTP, "h", .password = "t0ken",
		 .turns = {{BYTES("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n"
				  "Proxy-Authorization: Bearer t0ken\r\n\r\n"),
			    BYTES("HTTP/1.1 200 OK\r\n\r\nearly")}}},
	};

	(void)state;
	play_all(talks, sizeof(talks) / sizeof(talks[0]));
}

static void test_connect_refused(void **state)
{
	static const struct talk talks[] = {
		HTTP_ANSWERS("HTTP/1.1 403 Forbidden\r\n\r\n", -EACCES, "answers 403 Forbidden"),
		HTTP_ANSWERS("HTTP/1.1 403 Forbidden\r\n" TEXT "Content-Length: 24\r\n\r\nport 443 is not allowed\n",
			     -EACCES, "answers 403 Forbidden: port 443 is not allowed"),
		HTTP_ANSWERS("HTTP/1.1 502 Bad Gateway\r\n" TEXT "Content-Length: 5\r\n\r\nno...", -EHOSTUNREACH,
			     "answers 502 Bad Gateway: no..."),
		HTTP_ANSWERS("HTTP/1.1 502 Bad Gateway\r\n" TEXT "Transfer-Encoding: chunked\r\n\r\n5\r\nno.\r\n\r\n",
			     -EHOSTUNREACH, "answers 502 Bad Gateway: no."),
		HTTP_ANSWERS("HTTP/1.1 503 Full\r\nContent-Type: text/html\r\n\r\n<html>\n", -EHOSTUNREACH,
			     "answers 503 Full"),
		HTTP_ANSWERS("HTTP/1.1 504 Late\r\n" TEXT "Content-Length: 0\r\n\r\n", -ETIMEDOUT, "answers 504 Late"),
		HTTP_ANSWERS("HTTP/1.1 405\r\n\r\n", -ECONNREFUSED, "answers 405"),
		HTTP_ANSWERS("HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", -ECONNREFUSED,
			     "answers 302 Found, and names another place, which is not followed: http://x/"),
		HTTP_ANSWERS("HTTP/1.1 101 Switching\r\n\r\n", -ECONNREFUSED, "answers 101 Switching"),
		HTTP_ANSWERS("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n", -EACCES,
			     "answers 407 No; key auth names a file with user:password"),
		HTTP_ANSWERS("HTTP/1.1 407 No\r\nProxy-Authenticate: Bearer\r\n\r\n", -EACCES,
			     "key auth names a file with a token"),
		HTTP_ANSWERS("HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\n\r\n", -EACCES,
			     "only Basic and Bearer are spoken here, not Negotiate"),
		{TNI_VIA_HTTP, "h", .user = "a", .password = "b",
		 .turns = {{BYTES("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: Basic YTpi\r\n\r\n"),
			    BYTES("HTTP/1.1 407 No\r\nProxy-Authenticate: Digest x=y, basic realm=\"x\"\r\n\r\n")}},
		 .err = -EACCES, .words = "the password or the token is wrong"},
		HTTP_ANSWERS("\5\0", TN_EFORMAT, "answers in SOCKS, not HTTP"),
		HTTP_ANSWERS("SSH-2.0-x\r\n", TN_EFORMAT, "answers wrongly"),
		HTTP_ANSWERS("HTTP/1.1 200 OK\n\n", TN_EFORMAT, "does not end with CR LF"),
	};

	(void)state;
	play_all(talks, sizeof(talks) / sizeof(talks[0]));
}

/* A head without an end, and an explanation without one. */
static void test_endless(void **state)
{
	static const struct talk http = {.kind = TNI_VIA_HTTP, .host = "example.org"};
	char filler[1024];
	struct end e;

	(void)state;
	memset(filler, 'a', sizeof(filler));
	begin(&e, &http);
	expect_said(&e, BYTES(ASK_HTTP));
	assert_true(answer(&e, BYTES("HTTP/1.1 200 OK\r\nX: "), 4096));
	for (int i = 0; i < 20 && answer(&e, filler, sizeof(filler), 4096); i++)
		assert_true(i < 9);
	assert_int_equal(e.err, TN_ETOOBIG);
	finish(&e);

	begin(&e, &http);
	assert_true(answer(&e, BYTES("HTTP/1.1 500 Oh\r\n" TEXT "\r\n"), 4096));
	assert_false(answer(&e, filler, sizeof(filler), 7));
	assert_int_equal(e.err, -ECONNREFUSED);
	assert_non_null(strstr(tn_errmsg(), "answers 500 Oh: aaaa"));
	finish(&e);
}

/* The proxy ends, or says no more, after each byte. */
static void test_ends(void **state)
{
	static const char good[] = "\5\0\5\0\0\1\1\2\3\4\5\6", refusal[] = "HTTP/1.1 403 No\r\n" TEXT "\r\nnot her";
	static const struct talk socks = {.kind = TNI_VIA_SOCKS5H, .host = "h"};
	static const struct talk http = {.kind = TNI_VIA_HTTP, .host = "example.org"};
	struct tni_words words;
	struct end e;

	(void)state;
	for (size_t n = 0; n < sizeof(good) - 1; n++) {
		begin(&e, &socks);
		assert_true(answer(&e, good, n, 1));
		assert_int_equal(e.layer->ops->query(e.layer, TNI_ASK_SILENCE, &words), 0);
		assert_string_equal(words.text, n ? "has not answered to the end" : "has not answered");
		e.chain.bottom->eof = true;
		assert_int_equal(tni_chain_cut(&e.chain), -ECONNRESET);
		assert_non_null(strstr(tn_errmsg(), n ? "in the middle of its answer" : "without an answer"));
		finish(&e);
	}
	begin(&e, &http);
	assert_true(answer(&e, BYTES(refusal), 4096));
	assert_int_equal(e.layer->ops->query(e.layer, TNI_ASK_SILENCE, &words), 0);
	assert_string_equal(words.text, "answers 403 No");
	e.chain.bottom->eof = true;
	assert_int_equal(tni_chain_cut(&e.chain), -EACCES);
	finish(&e);
}

/* Nothing of a user's reaches the proxy before its answer; three of them, one behind the other. */
static void test_three(void **state)
{
	static const struct {
		enum tni_via_kind kind;
		const char *host;
	} hops[] = {{TNI_VIA_HTTP, "second"}, {TNI_VIA_SOCKS5H, "third"}, {TNI_VIA_SOCKS4A, "target"}};
	static const char answers[] = "HTTP/1.1 200 OK\r\n\r\n\5\0\5\0\0\1\1\2\3\4\5\6\0\132\1\2\3\4\5\6early";
	static const char asked[] = "CONNECT second:443 HTTP/1.1\r\nHost: second:443\r\n\r\n\5\1\0\5\1\0\3\5third\1\xbb"
				    "\4\1\1\xbb\0\0\0\1\0target\0late";

	(void)state;
	for (size_t step = 1; step < 64; step += 31) {
		struct tni_login nobody = {NULL, NULL};
		struct tn_buf late;
		struct end e = {.err = 0};
		size_t said = 0;

		tni_mem_init(&e.mem);
		tni_buf_init(&e.out, &e.mem, SIZE_MAX);
		tni_buf_init(&late, &e.mem, SIZE_MAX);
		tni_chain_init(&e.chain, &e.mem);
		for (size_t i = 0; i < 3; i++) {
			assert_int_equal(tni_via_new(hops[i].kind, hops[i].host, 443, &nobody, &e.layer), 0);
			tni_chain_push(&e.chain, e.layer);
		}
		assert_int_equal(tni_buf_append(&late, "late", 4, false), 0);
		assert_int_equal(tni_chain_open(&e.chain), 0);
		for (size_t at = 0; at < sizeof(answers) - 1; at += step) {
			size_t left = sizeof(answers) - 1 - at;

			assert_int_equal(tni_chain_down(&e.chain, &late, 65536), 0);
			said += tni_chain_wire(&e.chain)->len;
			assert_true(said <= sizeof(asked) - 1);
			if (tni_chain_wire(&e.chain)->len)
				assert_memory_equal(
					tni_buf_pullup(tni_chain_wire(&e.chain), tni_chain_wire(&e.chain)->len),
					asked + said - tni_chain_wire(&e.chain)->len, tni_chain_wire(&e.chain)->len);
			tni_buf_clear(tni_chain_wire(&e.chain));
			assert_true(answer(&e, answers + at, left < step ? left : step, step));
		}
		assert_int_equal(tni_chain_down(&e.chain, &late, 65536), 0);
		assert_true(said == sizeof(asked) - 1 || tni_chain_wire(&e.chain)->len);
		tni_buf_clear(tni_chain_wire(&e.chain));
		assert_int_equal(late.len, 0);
		assert_int_equal(e.out.len, 5);
		tni_chain_leave(&e.chain);
		assert_null(e.chain.bottom);
		finish(&e);
	}
}

/* What a proxy's layers know is not what is asked of the peer: a certificate above all. */
static void test_not_the_peer(void **state)
{
	static const struct talk http = {.kind = TNI_VIA_HTTP, .host = "example.org"};
	struct tni_words words;
	struct end e;

	(void)state;
	begin(&e, &http);
	assert_int_equal(tni_chain_query(&e.chain, TNI_ASK_SILENCE, &words), 0);
	e.layer->hop = 1;
	assert_int_equal(tni_chain_query(&e.chain, TNI_ASK_SILENCE, &words), -EOPNOTSUPP);
	finish(&e);
}

/* SOCKS has no tokens. */
static void test_token(void **state)
{
	struct tni_login token = {NULL, copy("t")};
	struct tni_layer *layer;

	(void)state;
	assert_int_equal(tni_via_new(TNI_VIA_SOCKS5H, "h", 1, &token, &layer), TN_EURL);
	assert_non_null(strstr(tn_errmsg(), "no token"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_socks5),
		cmocka_unit_test(test_socks5_refused),
		cmocka_unit_test(test_socks4),
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_connect_refused),
		cmocka_unit_test(test_endless),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_three),
		cmocka_unit_test(test_not_the_peer),
		cmocka_unit_test(test_token),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
