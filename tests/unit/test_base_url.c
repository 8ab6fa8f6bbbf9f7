/* The grammar of endpoint URLs: what it takes apart, what it refuses and where it says the mistake is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/url.h"
#include "tenon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- allocations that fail (link with -Wl,--wrap=malloc) ---- */

static bool no_memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

/* ---- taking apart ---- */

#define NONE (-1)

struct good {
	const char *text, *scheme, *host, *path;
	int port;
	long host_at, port_at, path_at;
};

static const struct good goods[] = {
	/* Every scheme that the house names, in its form. */
	{"tcp://localhost:10000", "tcp", "localhost", "", 10000, 6, 16, 21},
	{"tcp4://127.0.0.1:1", "tcp4", "127.0.0.1", "", 1, 7, 17, 18},
	{"tcp6://[::1]:10000", "tcp6", "::1", "", 10000, 7, 13, 18},
	{"udp://*:0", "udp", "*", "", 0, 6, 8, 9},
	{"udp4://h:65535", "udp4", "h", "", 65535, 7, 9, 14},
	{"udp6://[2001:db8::192.0.2.1]:53", "udp6", "2001:db8::192.0.2.1", "", 53, 7, 29, 31},
	{"mptcp://a.example:80", "mptcp", "a.example", "", 80, 8, 18, 20},
	{"unix:/run/app.sock", "unix", NULL, "/run/app.sock", NONE, NONE, NONE, 5},
	{"unix-dgram:/run/a b", "unix-dgram", NULL, "/run/a b", NONE, NONE, NONE, 11},
	{"unix-seqpacket:/p", "unix-seqpacket", NULL, "/p", NONE, NONE, NONE, 15},
	{"unix:@name", "unix", NULL, "@name", NONE, NONE, NONE, 5},
	{"unix:./relative", "unix", NULL, "./relative", NONE, NONE, NONE, 5},
	{"tls://host:443", "tls", "host", "", 443, 6, 11, 14},
	{"dtls://host:443", "dtls", "host", "", 443, 7, 12, 15},
	{"tls+unix:/path", "tls+unix", NULL, "/path", NONE, NONE, NONE, 9},
	{"raw://192.0.2.1?proto=1", "raw", "192.0.2.1", "", NONE, 6, NONE, 15},
	{"fd:3", "fd", NULL, "3", NONE, NONE, NONE, 3},
	/* Parts that may be left out. */
	{"tcp://", "tcp", "", "", NONE, 6, NONE, 6},
	{"tcp://:80", "tcp", "", "", 80, 6, 7, 9},
	{"tcp:///", "tcp", "", "/", NONE, 6, NONE, 6},
	{"tcp://h", "tcp", "h", "", NONE, 6, NONE, 7},
	{"tcp://h/", "tcp", "h", "/", NONE, 6, NONE, 7},
	{"tcp://h?a", "tcp", "h", "", NONE, 6, NONE, 7},
	{"tcp://h:80/p/q?a", "tcp", "h", "/p/q", 80, 6, 8, 10},
	{"tcp://[::1]", "tcp", "::1", "", NONE, 6, NONE, 11},
	{"tcp://[::1]/x", "tcp", "::1", "/x", NONE, 6, NONE, 11},
	{"tcp://[::1]?a", "tcp", "::1", "", NONE, 6, NONE, 11},
	{"unix:", "unix", NULL, "", NONE, NONE, NONE, 5},
	{"unix:?a", "unix", NULL, "", NONE, NONE, NONE, 5},
	{"unix:/a:b@c[d]=&", "unix", NULL, "/a:b@c[d]=&", NONE, NONE, NONE, 5},
	{"unix:///p", "unix", "", "/p", NONE, 7, NONE, 7},
	{"unix:/p//q", "unix", NULL, "/p//q", NONE, NONE, NONE, 5},
	/* Case, digits, zeros in front. */
	{"TCP://Host:80", "tcp", "Host", "", 80, 6, 11, 13},
	{"a1+-.Z:x", "a1+-.z", NULL, "x", NONE, NONE, NONE, 7},
	{"tcp://h:0000000000000000000000080", "tcp", "h", "", 80, 6, 8, 33},
	{"tcp://h:00", "tcp", "h", "", 0, 6, 8, 10},
	/* Escapes. */
	{"tcp://a%2Eb%3a%2F%5b%40:80", "tcp", "a.b:/[@", "", 80, 6, 24, 26},
	{"unix:%2Frun%2fa%3Fb%25", "unix", NULL, "/run/a?b%", NONE, NONE, NONE, 5},
	{"unix:%2541", "unix", NULL, "%41", NONE, NONE, NONE, 5}, /* once, not twice */
	{"unix:/%0a%7f", "unix", NULL, "/\n\x7f", NONE, NONE, NONE, 5},
	{"unix:/\xc3\xbc%C3%BC", "unix", NULL, "/\xc3\xbc\xc3\xbc", NONE, NONE, NONE, 5},
	{"unix:/+", "unix", NULL, "/+", NONE, NONE, NONE, 5}, /* '+' is no blank here */
	/* IPv6 zones: RFC 6874's %25, and the bare '%' that everybody writes. */
	{"tcp://[fe80::1%25eth0]:80", "tcp", "fe80::1%eth0", "", 80, 6, 23, 25},
	{"tcp://[fe80::1%eth0]:80", "tcp", "fe80::1%eth0", "", 80, 6, 21, 23},
	{"tcp://[fe80::1%2]:80", "tcp", "fe80::1%2", "", 80, 6, 18, 20},
	{"tcp://[fe80::1%ee0]:80", "tcp", "fe80::1%ee0", "", 80, 6, 20, 22}, /* not an escaped 0xee */
	{"tcp://[fe80::1%]:80", "tcp", "fe80::1%", "", 80, 6, 17, 19},
};

static void check_string(const struct good *g, const char *what, const char *want, const char *got)
{
	if (want == got || (want && got && !strcmp(want, got)))
		return;
	fail_msg("%s: %s is %s, not %s", g->text, what, got ? got : "NULL", want ? want : "NULL");
}

static void check_number(const struct good *g, const char *what, long want, long got)
{
	if (want != got)
		fail_msg("%s: %s is %ld, not %ld", g->text, what, got, want);
}

static void test_good(void **state)
{
	struct tni_url url;

	(void)state;
	for (const struct good *g = goods; g < goods + sizeof(goods) / sizeof(goods[0]); g++) {
		if (tni_url_parse(&url, g->text) != 0)
			fail_msg("%s: %s", g->text, tn_errmsg());
		check_string(g, "scheme", g->scheme, url.scheme);
		check_string(g, "host", g->host, url.host);
		check_string(g, "path", g->path, url.path);
		check_number(g, "path_len", (long)strlen(g->path), (long)url.path_len);
		check_number(g, "port", g->port, url.port);
		check_number(g, "host_at", g->host_at, url.host_at);
		check_number(g, "port_at", g->port_at, url.port_at);
		check_number(g, "path_at", g->path_at, url.path_at);
		check_number(g, "nparams", strchr(g->text, '?') != NULL, (long)url.nparams);
		tni_url_free(&url);
	}
}

static void test_params(void **state)
{
	struct tni_url url;

	(void)state;
	assert_int_equal(tni_url_parse(&url, "tcp://h:1?nodelay&linger=&a=b=c&%6Bey=%76%26%3D&q?=x:/?@[y]"), 0);
	assert_int_equal(url.nparams, 5);
	assert_string_equal(url.params[0].key, "nodelay");
	assert_string_equal(url.params[0].value, "on");
	assert_int_equal(url.params[0].key_at, 10);
	assert_int_equal(url.params[0].value_at, 17); /* where it would stand */
	assert_string_equal(url.params[1].key, "linger");
	assert_string_equal(url.params[1].value, "");
	assert_int_equal(url.params[1].key_at, 18);
	assert_int_equal(url.params[1].value_at, 25);
	assert_string_equal(url.params[2].key, "a");
	assert_string_equal(url.params[2].value, "b=c");
	assert_int_equal(url.params[2].key_at, 26);
	assert_int_equal(url.params[2].value_at, 28);
	assert_string_equal(url.params[3].key, "key");
	assert_string_equal(url.params[3].value, "v&=");
	assert_int_equal(url.params[3].key_at, 32);
	assert_int_equal(url.params[3].value_at, 38);
	assert_string_equal(url.params[4].key, "q?");
	assert_string_equal(url.params[4].value, "x:/?@[y]");
	assert_string_equal(tni_url_get(&url, "key"), "v&=");
	assert_string_equal(tni_url_get(&url, "linger"), "");
	assert_null(tni_url_get(&url, "nodela"));
	assert_null(tni_url_get(&url, "Nodelay"));
	assert_null(tni_url_get(&url, ""));
	tni_url_free(&url);
}

static void test_zero_byte_in_path(void **state)
{
	struct tni_url url;

	(void)state;
	assert_int_equal(tni_url_parse(&url, "unix:@a%00b%00?x=1"), 0);
	assert_int_equal(url.path_len, 5);
	assert_memory_equal(url.path, "@a\0b\0", 6);
	assert_string_equal(tni_url_get(&url, "x"), "1");
	tni_url_free(&url);
}

/* Names in the place of a port, and texts without a scheme. */
static void test_places(void **state)
{
	static const char *const places[] = {"localhost:10000", ":10000", "[::1]:http", "h:8x?a=b", "*:0"};
	static const char *const others[] = {"unix:/x", "tcp://h:1", "h:", "h",       "fd:3/", "::1",
					     "[::1]",   "",          ":",  "unix:@x", "h:-1"};
	struct tni_url url;

	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		assert_true(tni_url_is_place(places[i]));
		assert_int_equal(tni_url_parse_place(&url, places[i], "tcp"), 0);
		assert_string_equal(url.scheme, "tcp");
		assert_int_equal(url.host_at, 0);
		tni_url_free(&url);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(tni_url_is_place(others[i]));
	assert_int_equal(tni_url_parse(&url, "tcp://h:http-alt?x"), 0);
	assert_string_equal(url.service, "http-alt");
	assert_int_equal(url.port, -1);
	assert_int_equal(url.port_at, 8);
	assert_int_equal(url.nparams, 1);
	tni_url_free(&url);
}

/* ---- refusing ---- */

struct bad {
	const char *text;
	long at;
	const char *why; /* a part of the message */
};

static const struct bad bads[] = {
	{"", 0, "scheme"},
	{":", 0, "scheme"},
	{"://h:1", 0, "scheme"},
	{"tcp", 3, "scheme"},
	{"localhost", 9, "scheme"},
	{"tcp//h", 3, "scheme"},
	{"1tcp://h", 0, "scheme"},
	{"+tcp://h", 0, "scheme"},
	{"t_cp://h", 1, "scheme"},
	{" tcp://h", 0, "scheme"},
	{"t\xc3\xbc://h", 1, "scheme"},
	{"%74cp://h", 0, "scheme"},
	{"tcp://h:", 8, "port"},
	{"tcp://h:/", 8, "port"},
	{"tcp://h:?a", 8, "port"},
	{"tcp://h:x,", 9, "port"},
	{"tcp://h:8 ", 9, "port"},
	{"tcp://h:-1", 8, "port"},
	{"tcp://h:+1", 8, "port"},
	{"tcp://h:%38", 8, "port"},
	{"tcp://h:80&a", 10, "port"},
	{"tcp://h:65536", 8, "65535"},
	{"tcp://h:99999999999999999999999", 8, "65535"},
	{"tcp://[::1]:65536", 12, "65535"},
	{"tcp://::1:80", 6, "brackets"},
	{"tcp://fe80::1", 10, "brackets"},
	{"tcp://1:2:3", 7, "brackets"},
	{"tcp://[::1", 10, "]"},
	{"tcp://[::1/]:80", 10, "]"},
	{"tcp://[::1?a]", 10, "]"},
	{"tcp://[", 7, "]"},
	{"tcp://[::1]80", 11, "]"},
	{"tcp://[::1]]", 11, "]"},
	{"tcp://a[::1]", 7, "bracket"},
	{"tcp://a]:1", 7, "bracket"},
	{"tcp://u@h:1", 7, "user"},
	{"tcp://@h", 6, "user"},
	{"tcp://%", 6, "hexadecimal"},
	{"tcp://%4", 6, "hexadecimal"},
	{"tcp://ab%4g", 8, "hexadecimal"},
	{"tcp://%g4", 6, "hexadecimal"},
	{"tcp://% 41", 6, "hexadecimal"},
	{"unix:/a%zz", 7, "hexadecimal"},
	{"unix:/a%", 7, "hexadecimal"},
	{"unix:/a?b%2", 9, "hexadecimal"},
	{"unix:/a?b=%2", 10, "hexadecimal"},
	{"tcp://a\nb", 7, "control"},
	{"tcp://[::1\t]", 10, "control"},
	{"unix:/a\x7f", 7, "control"},
	{"unix:/a?\x01=1", 8, "control"},
	{"unix:/a?b=1\r\n", 11, "control"},
	{"tcp://h?", 8, "key"},
	{"tcp://h?=1", 8, "key"},
	{"tcp://h?a&", 10, "key"},
	{"tcp://h?&a", 8, "key"},
	{"tcp://h?a=1&&b=2", 12, "key"},
	{"tcp://h?a=1&a=2", 12, "second"},
	{"tcp://h?a&b&a", 12, "second"},
	{"tcp://h?abc=1&x=2&%61bc=3", 18, "second"}, /* the same once it is decoded */
};

static void check_bad(const char *text, long at, const char *why)
{
	struct tni_url url;
	int rc = tni_url_parse(&url, text);

	if (rc != TN_EURL)
		fail_msg("%s: returned %d, not TN_EURL", text, rc);
	if (tn_errpos() != at)
		fail_msg("%s: position %ld, not %ld (%s)", text, tn_errpos(), at, tn_errmsg());
	if (!strstr(tn_errmsg(), why))
		fail_msg("%s: nothing of '%s' in: %s", text, why, tn_errmsg());
	tni_url_free(&url); /* harmless */
}

static void test_bad(void **state)
{
	char where[32];

	(void)state;
	for (const struct bad *b = bads; b < bads + sizeof(bads) / sizeof(bads[0]); b++) {
		check_bad(b->text, b->at, b->why);
		/* A person is shown the URL and the place as well. */
		snprintf(where, sizeof(where), "byte %ld:", b->at);
		assert_non_null(strstr(tn_errmsg(), where));
		assert_non_null(strstr(tn_errmsg(), b->text));
	}
}

/* Strings end at the first zero byte: a host, key or value behind which more is hidden would be taken for another. */
static void test_zero_byte_elsewhere(void **state)
{
	(void)state;
	check_bad("tcp://localhost%00.example:80", 15, "zero");
	check_bad("tcp://%00:80", 6, "zero");
	check_bad("tcp://h?a%00b=1", 9, "zero");
	check_bad("tcp://h?%00", 8, "zero");
	check_bad("tcp://h?a=%00", 10, "zero");
	check_bad("tcp://h?bindtodevice=eth0%00x", 25, "zero");
}

/* "[]" must not pass for "no host", which means localhost; nor brackets around what is no IPv6 address. */
static void test_brackets_hold_ipv6(void **state)
{
	(void)state;
	check_bad("tcp://[]:80", 7, "IPv6");
	check_bad("tcp://[localhost]:80", 7, "IPv6");
	check_bad("tcp://[127.0.0.1]:80", 7, "IPv6");
}

/* ---- limits ---- */

/* Something behind the struct that nobody may write to, also where no sanitizer watches. */
struct fenced {
	struct tni_url url;
	unsigned char fence[64];
};

static size_t write_keys(char *text, int nkeys)
{
	size_t len = (size_t)sprintf(text, "tcp://h:1");

	for (int i = 0; i < nkeys; i++)
		len += (size_t)sprintf(text + len, "%ck%d=%d", i ? '&' : '?', i, i);
	return len;
}

static void test_most_keys(void **state)
{
	char text[2048], key[16], value[16];
	struct tni_url url;

	(void)state;
	write_keys(text, TNI_URL_PARAMS_MAX);
	assert_int_equal(tni_url_parse(&url, text), 0);
	assert_int_equal(url.nparams, TNI_URL_PARAMS_MAX);
	for (int i = 0; i < TNI_URL_PARAMS_MAX; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		snprintf(value, sizeof(value), "%d", i);
		assert_string_equal(tni_url_get(&url, key), value);
		assert_memory_equal(text + url.params[i].key_at, key, strlen(key));
		assert_memory_equal(text + url.params[i].value_at, value, strlen(value));
	}
	tni_url_free(&url);
}

static void test_too_many_keys(void **state)
{
	struct fenced *fenced = malloc(sizeof(*fenced));
	char text[2048];
	size_t len;

	(void)state;
	len = write_keys(text, TNI_URL_PARAMS_MAX);
	snprintf(text + len, sizeof(text) - len, "&one_more=1");
	memset(fenced->fence, 0xa5, sizeof(fenced->fence));
	assert_int_equal(tni_url_parse(&fenced->url, text), TN_EURL);
	assert_int_equal(tn_errpos(), len + 1);
	assert_non_null(strstr(tn_errmsg(), "too many"));
	for (size_t i = 0; i < sizeof(fenced->fence); i++)
		assert_int_equal(fenced->fence[i], 0xa5);
	free(fenced);
}

static void test_length(void **state)
{
	char text[TNI_URL_LEN_MAX + 2];
	struct tni_url url;

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "unix:/", 6);
	text[TNI_URL_LEN_MAX] = '\0';
	assert_int_equal(tni_url_parse(&url, text), 0);
	assert_int_equal(url.path_len, TNI_URL_LEN_MAX - 5);
	tni_url_free(&url);
	text[TNI_URL_LEN_MAX] = 'x';
	text[TNI_URL_LEN_MAX + 1] = '\0';
	assert_int_equal(tni_url_parse(&url, text), TN_EURL);
	assert_int_equal(tn_errpos(), -1);
	assert_non_null(strstr(tn_errmsg(), "4096"));
	tni_url_free(&url);
}

/* Nothing that a URL is split into needs more memory than was reckoned: the most parts in the fewest bytes. */
static void test_most_parts(void **state)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
	char text[512] = "t:?";
	struct tni_url url;
	size_t len = strlen(text);

	(void)state;
	for (int i = 0; i < TNI_URL_PARAMS_MAX; i++) {
		text[len++] = letters[i];
		text[len++] = i % 2 ? '=' : '&';
		if (i % 2)
			text[len++] = '&';
	}
	text[len - 1] = '\0';
	assert_int_equal(tni_url_parse(&url, text), 0);
	assert_int_equal(url.nparams, TNI_URL_PARAMS_MAX);
	assert_string_equal(url.params[0].value, "on");
	assert_string_equal(url.params[63].value, "");
	tni_url_free(&url);
}

/* However long the URL, the message gets to the point. */
static void test_long_bad_url_says_why(void **state)
{
	char text[TNI_URL_LEN_MAX + 1], path[2995];

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	snprintf(text, sizeof(text), "unix:/%s%%zz", path);
	check_bad(text, 3000, "hexadecimal");
	assert_non_null(strstr(tn_errmsg(), "unix:/xxx"));
	assert_non_null(strstr(tn_errmsg(), "3000"));
}

/* ---- the rest ---- */

static void test_no_memory(void **state)
{
	struct tni_url url;
	int rc;

	(void)state;
	no_memory = true;
	rc = tni_url_parse(&url, "tcp://h:1");
	no_memory = false;
	assert_int_equal(rc, -ENOMEM);
	tni_url_free(&url);
}

static void test_text_is_copied(void **state)
{
	char text[] = "tcp://host:80/p?key=value";
	struct tni_url url;

	(void)state;
	assert_int_equal(tni_url_parse(&url, text), 0);
	memset(text, 'x', sizeof(text) - 1);
	assert_string_equal(url.scheme, "tcp");
	assert_string_equal(url.host, "host");
	assert_string_equal(url.path, "/p");
	assert_string_equal(tni_url_get(&url, "key"), "value");
	tni_url_free(&url);
	tni_url_free(&url);
}

static void test_escaped_path_comes_back(void **state)
{
	char path[255], text[1024] = "unix:";
	struct tni_url url;

	(void)state;
	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = (char)(i + 1);
	tni_url_escape(path, sizeof(path), text + 5, sizeof(text) - 5);
	assert_int_equal(tni_url_parse(&url, text), 0);
	assert_int_equal(url.path_len, sizeof(path));
	assert_memory_equal(url.path, path, sizeof(path));
	tni_url_free(&url);
	tni_url_escape("/a b", 4, text, sizeof(text));
	assert_string_equal(text, "/a%20b");
	tni_url_escape("\0x", 2, text, sizeof(text));
	assert_string_equal(text, "%00x");
	tni_url_escape("/\xff\xc3\xa9\xc2\x9b", 6, text, sizeof(text)); /* no text, text, a terminal's command */
	assert_string_equal(text, "/%ff\xc3\xa9%c2%9b");
	tni_url_escape("/abcdef", 7, text, 6);
	assert_string_equal(text, "/ab");
}

/* Only where it is allowed may a user stand in front of the host. */
static void test_user(void **state)
{
	static const struct {
		const char *text, *user, *password, *host;
		long user_at, host_at;
	} goods_with_user[] = {
		{"socks5://gate:1080", NULL, NULL, "gate", -1, 9},
		{"socks5://me@gate:1080", "me", NULL, "gate", 9, 12},
		{"http://me:se:cret@[::1]:1", "me", "se:cret", "::1", 7, 18},
		{"http://m%40e:%25%3a@gate", "m@e", "%:", "gate", 7, 20},
		{"http://me:@gate/?a=b@c", "me", "", "gate", 7, 11},
		{"http://gate/@x", NULL, NULL, "gate", -1, 7},
		{"http://gate?x=@", NULL, NULL, "gate", -1, 7},
	};
	static const struct {
		const char *text;
		long at;
	} refused[] = {
		{"http://@gate", 7},     {"http://:x@gate", 7},   {"http://a@b@gate", 10},     {"http://a:b@c@d", 12},
		{"http://a%00@gate", 8}, {"http://a%zz@gate", 8}, {"http://a:b\x01@gate", 10},
	};
	struct tni_url url;

	(void)state;
	for (size_t i = 0; i < sizeof(goods_with_user) / sizeof(goods_with_user[0]); i++) {
		if (tni_url_parse_with_user(&url, goods_with_user[i].text) != 0)
			fail_msg("%s: %s", goods_with_user[i].text, tn_errmsg());
		assert_string_equal(url.user ? url.user : "-", goods_with_user[i].user ? goods_with_user[i].user : "-");
		assert_string_equal(url.password ? url.password : "-",
				    goods_with_user[i].password ? goods_with_user[i].password : "-");
		assert_string_equal(url.host, goods_with_user[i].host);
		assert_int_equal(url.user_at, goods_with_user[i].user_at);
		assert_int_equal(url.host_at, goods_with_user[i].host_at);
		tni_url_free(&url);
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		assert_int_equal(tni_url_parse_with_user(&url, refused[i].text), TN_EURL);
		if (tn_errpos() != refused[i].at)
			fail_msg("%s", tn_errmsg());
	}
	assert_int_equal(tni_url_parse(&url, "http://me@gate"), TN_EURL);
	assert_int_equal(tni_url_parse(&url, "http://me:x@gate"), TN_EURL);
}

/* ---- passwords ---- */

static void test_passwords_are_hidden(void **state)
{
	static const struct {
		const char *text, *shown;
	} rows[] = {
		{"socks5h://me:secret@gate:1080", "socks5h://me:******@gate:1080"},
		{"tcp://h:1?via=socks5://me:a@b:c@gate:1,http://u:p@[::1]:8080&idle=3",
		 "tcp://h:1?via=socks5://me:*****@gate:1,http://u:*@[::1]:8080&idle=3"},
		{"via=socks5h%3a%2F%2Fme%3Asecret%40gate", "via=socks5h%3a%2F%2Fme%3A******%40gate"},
		{"bad URL 'http://me:pa?s/s@gate:x': byte 3: a port: x@y",
		 "bad URL 'http://me:******@gate:x': byte 3: a port: x@y"},
		{"http://:secret@h", "http://:******@h"},
		{"via=http://me:a/b@g&bind=unix:@x", "via=http://me:***@g&bind=unix:@x"},
		{"http://me:12@h http://me:34/5@h", "http://me:**@h http://me:34/5@h"}, /* or a port and a path */
		{"tcp://u:12%2F34@h tcp://u:12%2f%3F@h", "tcp://u:*******@h tcp://u:********@h"},
		/* Nothing to hide. */
		{"socks5h://me@gate:1080", "socks5h://me@gate:1080"},
		{"http://me:@gate", "http://me:@gate"},
		{"ws://h:8080/@scope", "ws://h:8080/@scope"},
		{"ws://h/a:b@c", "ws://h/a:b@c"},
		{"tcp://[::1]:80?sni=a@b", "tcp://[::1]:80?sni=a@b"},
		{"tcp://u@[::1]:80?sni=a@b", "tcp://u@[::1]:80?sni=a@b"},
		{"unix:@name", "unix:@name"},
		{"tcp://h:1 was asked by me:you@there", "tcp://h:1 was asked by me:you@there"},
		{"://", "://"},
		{":%3", ":%3"},
		{"", ""},
	};
	char text[200];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text), "%s", rows[i].text);
		assert_ptr_equal(tn_hide_passwords(text), text);
		assert_string_equal(text, rows[i].shown);
	}
}

/* Also where it is cut. */
static void test_passwords_are_not_in_errors(void **state)
{
	char text[700] = "tcp://me:";
	struct tni_url url;

	(void)state;
	assert_int_equal(tni_url_parse(&url, "tcp://me:secret@h:1"), TN_EURL);
	assert_null(strstr(tn_errmsg(), "secret"));
	assert_non_null(strstr(tn_errmsg(), "tcp://me:******@h:1"));
	memset(text + strlen(text), 's', 600);
	strcat(text, "@h:1");
	assert_int_equal(tni_url_parse(&url, text), TN_EURL);
	assert_null(strstr(tn_errmsg(), "sss"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_params),
		cmocka_unit_test(test_zero_byte_in_path),
		cmocka_unit_test(test_escaped_path_comes_back),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_zero_byte_elsewhere),
		cmocka_unit_test(test_brackets_hold_ipv6),
		cmocka_unit_test(test_most_keys),
		cmocka_unit_test(test_too_many_keys),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_most_parts),
		cmocka_unit_test(test_long_bad_url_says_why),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_text_is_copied),
		cmocka_unit_test(test_passwords_are_hidden),
		cmocka_unit_test(test_passwords_are_not_in_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
