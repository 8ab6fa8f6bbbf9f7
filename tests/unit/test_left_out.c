/* What a build has left out is said in words wherever it is asked for; what it has works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tenon.h"
#include "tenon_hist.h"
#include "tenon_value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_says(const char *what, const char *option)
{
	char words[128];

	snprintf(words, sizeof(words), "this build has no %s (configure it with -D%s=enabled)", what, option);
	if (!strstr(tn_errmsg(), words))
		fail_msg("%s: not in: %s", words, tn_errmsg());
}

/* The line of tn_features() that begins with `name`. */
static const char *feature(const char *name)
{
	for (const char *const *line = tn_features(); *line; line++)
		if (!strncmp(*line, name, strlen(name)))
			return *line;
	fail_msg("no feature %s", name);
	return NULL;
}

static void check_format(bool built, const char *name, const char *what)
{
	char url[64];
	struct tn_value *value = NULL;
	struct tn_bytes bytes = {0};
	struct tn_split *split;

	snprintf(url, sizeof(url), "udp://127.0.0.1:1?format=%s", name);
	assert_int_equal(strstr(feature("formats: "), name) != NULL, built);
	if (built) {
		assert_true(tn_format_kind(name) > 0);
		assert_int_equal(tn_url_check(url, TN_DIAL), 0);
		return;
	}
	assert_int_equal(tn_format_kind(name), -EINVAL);
	assert_says(what, name);
	assert_int_equal(tn_decode(name, "1", 1, 0, &value), -EINVAL);
	assert_null(value);
	assert_says(what, name);
	assert_int_equal(tn_encode(name, NULL, 0, &bytes), -EINVAL);
	assert_says(what, name);
	assert_int_equal(tn_url_check(url, TN_DIAL), TN_EURL);
	assert_int_equal(tn_errpos(), (long)strlen("udp://127.0.0.1:1?format="));
	assert_says(what, name);
	assert_int_equal(tn_split_new(url, &split), TN_EURL);
	assert_says(what, name);
}

static void test_formats(void **state)
{
	bool json = false, xml = false, cbor = false, msgpack = false;

	(void)state;
#ifdef TNI_HAVE_JSON
	json = true;
#endif
#ifdef TNI_HAVE_XML
	xml = true;
#endif
#ifdef TNI_HAVE_CBOR
	cbor = true;
#endif
#ifdef TNI_HAVE_MSGPACK
	msgpack = true;
#endif
	check_format(json, "json", "JSON");
	check_format(xml, "xml", "XML");
	check_format(cbor, "cbor", "CBOR");
	check_format(msgpack, "msgpack", "MessagePack");
	check_format(true, "text", NULL);
	assert_int_equal(tn_format_kind("yaml"), -EINVAL);
	assert_non_null(strstr(tn_errmsg(), "no such format 'yaml'; there are "));
}

static void test_frames(void **state)
{
	static const char *const frames[] = {"head:size=2", "until:a",  "cobs", "slip",
					     "json",        "json-seq", "cbor", "msgpack"};

	(void)state;
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		char url[96];

		snprintf(url, sizeof(url), "tcp://127.0.0.1:1?frame=%s", frames[i]);
#ifdef TNI_HAVE_FRAMES
		assert_int_equal(tn_url_check(url, TN_DIAL), 0);
#else
		assert_int_equal(tn_url_check(url, TN_DIAL), TN_EURL);
		assert_says("such frame", "frames");
#endif
	}
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?frame=u32", TN_DIAL), 0);
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?frame=on", TN_DIAL), TN_EURL);
	assert_non_null(strstr(tn_errmsg(), "no such frame"));
}

static void test_secure_schemes(void **state)
{
	static const char *const urls[] = {"tls://127.0.0.1:1", "dtls://127.0.0.1:1", "wss://127.0.0.1:1",
					   "ws://127.0.0.1:1", "tls+unix:/nowhere"};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
#ifdef TNI_HAVE_TLS
		assert_int_equal(tn_url_check(urls[i], TN_DIAL), 0);
#else
		assert_int_equal(tn_url_check(urls[i], TN_DIAL), TN_EURL);
		assert_says(!strncmp(urls[i], "ws:", 3) ? "WebSocket" : "TLS", "tls");
#endif
	}
#ifndef TNI_HAVE_TLS
	assert_string_equal(feature("tls: "), "tls: not in this build");
#endif
}

/* Keys, each in a URL in which it can stand. */
static void test_keys(void **state)
{
	(void)state;
#ifndef TNI_HAVE_TLS
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?ca=x", TN_DIAL), TN_EURL);
	assert_says("TLS and no WebSocket", "tls");
#endif
#ifdef TNI_HAVE_ACCESS
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?allow=127.0.0.1", TN_SERVE), 0);
#else
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?allow=127.0.0.1", TN_SERVE), TN_EURL);
	assert_says("lists of addresses", "access");
#endif
#ifdef TNI_HAVE_PROXY
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?proxy=v2", TN_DIAL), 0);
#else
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?proxy=v2", TN_DIAL), TN_EURL);
	assert_says("PROXY protocol and knows no proxies", "proxy");
#endif
#ifdef TNI_HAVE_SOCKOPTS
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?cork=on", TN_DIAL), 0);
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?fin=off&setsockopt=6:2:x0102&bind=:1-2", TN_DIAL), 0);
#else
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?bind=:1-2", TN_DIAL), TN_EURL);
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?netns=1", TN_DIAL), TN_EURL);
	assert_says("such option", "sockopts");
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?cork=on", TN_DIAL), TN_EURL);
	assert_says("such option", "sockopts");
#endif
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?nodelay=off&keepalive=on&ttl=9", TN_DIAL), 0);
}

static void test_served_proxies(void **state)
{
	static const char *const urls[] = {"proxy://127.0.0.1:1", "proxy+unix:/run/p", "proxy://[::1]:0?ports=443"};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
#ifdef TNI_HAVE_PROXY
		assert_int_equal(tn_url_check(urls[i], TN_SERVE), 0);
		assert_int_equal(tn_url_check(urls[i], TN_DIAL), TN_EURL);
#else
		assert_int_equal(tn_url_check(urls[i], TN_SERVE), TN_EURL);
		assert_says("proxy", "proxy");
#endif
	}
#ifdef TNI_HAVE_PROXY
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?allow-to=public", TN_DIAL), 0);
#else
	assert_int_equal(tn_url_check("tcp://127.0.0.1:1?allow-to=10.0.0.0/8", TN_DIAL), TN_EURL);
	assert_says("PROXY protocol and knows no proxies", "proxy");
#endif
}

static void test_shared_memory(void **state)
{
	(void)state;
#ifdef TNI_HAVE_SHM
	assert_int_equal(tn_url_check("shm:/run/s?ring=5000", TN_SERVE), 0);
	assert_int_equal(tn_url_check("shm:/run/s?ring=5000", TN_DIAL), TN_EURL);
	assert_int_equal(tn_url_check("shm:/run/s?ring=4095", TN_SERVE), TN_EURL);
	assert_int_equal(tn_url_check("unix:/run/s?ring=64KiB", TN_SERVE), TN_EURL);
	assert_non_null(strstr(tn_errmsg(), "applies to shm endpoints only"));
#else
	assert_int_equal(tn_url_check("shm:@s", TN_SERVE), TN_EURL);
	assert_says("shared memory", "shm");
	assert_int_equal(tn_url_check("unix:/run/s?ring=64KiB", TN_SERVE), TN_EURL);
	assert_says("shared memory", "shm");
#endif
}

static void test_files(void **state)
{
	static const char *const urls[] = {"file:/a", "tty:/dev/ttyS0", "pty:/run/t", "exec:cat"};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
#ifdef TNI_HAVE_FILES
		assert_int_equal(tn_url_check(urls[i], TN_DIAL), 0);
#else
		assert_int_equal(tn_url_check(urls[i], TN_DIAL), TN_EURL);
		assert_says("files, terminals and programs", "files");
#endif
	}
}

static void test_below_the_transports(void **state)
{
	static const char *const urls[] = {"icmp://127.0.0.1", "raw://127.0.0.1?proto=gre", "packet:lo"};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
#ifdef TNI_HAVE_RAW
		assert_int_equal(tn_url_check(urls[i], TN_DIAL), 0);
#else
		assert_int_equal(tn_url_check(urls[i], TN_DIAL), TN_EURL);
		assert_says("raw, icmp and packet", "raw");
#endif
	}
}

static void test_compression(void **state)
{
	struct tn_hist *hist;
	char *text = NULL;

	(void)state;
	assert_int_equal(tn_hist_new(&hist), 0);
#ifdef TNI_HAVE_ZLIB
	assert_int_equal(tn_hist_encode(hist, &text), 0);
	assert_int_equal(tn_hist_decode(hist, text, strlen(text)), 0);
#else
	assert_int_equal(tn_hist_encode(hist, &text), -EOPNOTSUPP);
	assert_null(text);
	assert_says("zlib", "zlib");
	assert_int_equal(tn_hist_decode(hist, "HISTFAAA", 8), -EOPNOTSUPP);
	assert_says("zlib", "zlib");
#ifdef TNI_HAVE_TLS
	assert_int_equal(tn_url_check("ws://127.0.0.1:1", TN_SERVE), 0);
	assert_int_equal(tn_url_check("ws://127.0.0.1:1?deflate=on", TN_SERVE), TN_EURL);
	assert_says("zlib", "zlib");
#endif
#endif
	free(text);
	tn_hist_free(hist);
}

static void test_engines(void **state)
{
	struct tn_loop *loop;

	(void)state;
	assert_int_equal(tn_loop_new(&loop, "nosuch"), -ENOENT);
#ifndef TNI_HAVE_URING
	assert_int_equal(tn_loop_new(&loop, "uring"), -EOPNOTSUPP);
	assert_says("liburing", "uring");
	assert_string_equal(feature("engine uring: "), "engine uring: not in this build");
#endif
	assert_string_equal(feature("engine epoll: "), "engine epoll: yes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_secure_schemes),
		cmocka_unit_test(test_compression),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_served_proxies),
		cmocka_unit_test(test_shared_memory),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_below_the_transports),
		cmocka_unit_test(test_engines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
