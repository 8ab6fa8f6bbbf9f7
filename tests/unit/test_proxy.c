/* Headers of the PROXY protocol: what is read, what is refused and when, what is written, and the two layers. */
#include "base/err.h"
#include "conn/chain.h"
#include "proxy/header.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(text) (text), sizeof(text) - 1

static struct tni_proxy proxy;

/* On the heap without a byte behind it, so that a sanitizer sees what is read beyond. */
static long read_header(const void *data, size_t len)
{
	static unsigned char *copy;
	long rc;

	free(copy);
	copy = malloc(len ? len : 1);
	assert_non_null(copy);
	memcpy(copy, data, len);
	rc = tni_proxy_read(&proxy, copy, len);
	if (!rc || rc < 0 || !proxy.tlvs_len) {
		free(copy);
		copy = NULL;
	}
	return rc;
}

/* Every beginning of a good header is one that may still become good. */
static void expect_read(const void *data, size_t len, size_t rest)
{
	for (size_t n = 0; n < len - rest; n++)
		if (read_header(data, n) != 0)
			fail_msg("%zu of %zu bytes: %s", n, len, tn_errmsg());
	if (read_header(data, len) != (long)(len - rest))
		fail_msg("%s", tn_errmsg());
}

static void test_version_1(void **state)
{
	static const unsigned char last[16] = {[15] = 1};
	static const unsigned char full[16] = {0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0xab, 0xCD};
	static const unsigned char mapped[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1};

	(void)state;
	expect_read(BYTES("PROXY TCP4 192.0.2.1 198.51.100.255 0 65535\r\nrest"), 4);
	assert_int_equal(proxy.version, 1);
	assert_int_equal(proxy.family, TNI_PROXY_INET);
	assert_false(proxy.local);
	assert_memory_equal(proxy.source.ip, "\xc0\x00\x02\x01", 4);
	assert_memory_equal(proxy.target.ip, "\xc6\x33\x64\xff", 4);
	assert_int_equal(proxy.source.port, 0);
	assert_int_equal(proxy.target.port, 65535);

	expect_read(BYTES("PROXY TCP6 ::1 2001:db8:1:2:3:4:5:ABcd 1 2\r\n"), 0);
	assert_int_equal(proxy.family, TNI_PROXY_INET6);
	assert_memory_equal(proxy.source.ip, last, 16);
	assert_memory_equal(proxy.target.ip, full, 16);
	expect_read(BYTES("PROXY TCP6 ::ffff:192.0.2.1 :: 1 2\r\n"), 0);
	assert_memory_equal(proxy.source.ip, mapped, 16);
	expect_read(BYTES("PROXY TCP6 1:: 0:0:0:0:0:ffff:192.0.2.1 1 2\r\n"), 0);
	assert_int_equal(proxy.source.ip[1], 1);
	assert_memory_equal(proxy.target.ip, mapped, 16);

	expect_read(BYTES("PROXY UNKNOWN\r\nrest"), 4);
	assert_int_equal(proxy.family, TNI_PROXY_UNSPEC);
	expect_read(BYTES("PROXY UNKNOWN ffff:f...f:ffff anything 65535\r\n"), 0);
	/* The longest there is. */
	expect_read(
		BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		      "65535 65535\r\n"),
		0);
}

static void test_version_1_refused(void **state)
{
	static const char *const cases[] = {
		"PROXY\r\n",
		"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY \r\n",
		"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP4\r\n",
		"PROXY TCP4 1.2.3.4\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4  1 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 100000\r\n",
		"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
		"PROXY TCP4 1.2..4 1.2.3.4 1 2\r\n",
		"PROXY TCP4 ::1 ::1 1 2\r\n",
		"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
		"PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n",
		"PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n",
		"PROXY TCP6 1::2::3 ::1 1 2\r\n",
		"PROXY TCP6 1:2:3:4:5:6:7:8:: ::1 1 2\r\n",
		"PROXY TCP6 1:2:3:4::5:6:7:8 ::1 1 2\r\n",
		"PROXY TCP6 12345:: ::1 1 2\r\n",
		"PROXY TCP6 : ::1 1 2\r\n",
		"PROXY TCP6 ::: ::1 1 2\r\n",
		"PROXY TCP6 1: ::1 1 2\r\n",
		"PROXY TCP6 ::g ::1 1 2\r\n",
		"PROXY TCP6 ::1%lo ::1 1 2\r\n",
		"PROXY TCP6 1:2:3:4:5:6:7:1.2.3.4 ::1 1 2\r\n",
		"GET / HTTP/1.1\r\n",
		"P\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (read_header(cases[i], strlen(cases[i])) != TN_EFORMAT)
			fail_msg("taken: %s", cases[i]);
	assert_int_equal(read_header(BYTES("Q")), TN_EFORMAT); /* at once */
	for (size_t len = 0; len <= TNI_PROXY_V1_MAX + 1; len++) {
		char endless[TNI_PROXY_V1_MAX + 1] = "PROXY UNKNOWN ";

		memset(endless + 14, 'x', sizeof(endless) - 14);
		assert_int_equal(read_header(endless, len < sizeof(endless) ? len : sizeof(endless)),
				 len < TNI_PROXY_V1_MAX ? 0 : TN_EFORMAT);
	}
}

static void test_version_2(void **state)
{
	static const char unix_header[16 + 216] = SIGNATURE "\x21\x31\x00\xd8/run/source.sock";
	struct tni_proxy_ssl ssl;
	const unsigned char *value;
	size_t at = 0, len;
	unsigned type;

	(void)state;
	expect_read(BYTES(SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x00\x50\xff\xff"
				    "rest"),
		    4);
	assert_int_equal(proxy.version, 2);
	assert_int_equal(proxy.family, TNI_PROXY_INET);
	assert_false(proxy.datagram);
	assert_memory_equal(proxy.source.ip, "\xc0\x00\x02\x01", 4);
	assert_int_equal(proxy.source.port, 80);
	assert_int_equal(proxy.target.port, 65535);
	assert_int_equal(proxy.tlvs_len, 0);

	expect_read(BYTES(SIGNATURE "\x21\x22\x00\x24"
				    "0123456789abcdefABCDEFGHIJKLMNOP\x01\x02\x03\x04"),
		    0);
	assert_int_equal(proxy.family, TNI_PROXY_INET6);
	assert_true(proxy.datagram);
	assert_memory_equal(proxy.target.ip, "ABCDEFGHIJKLMNOP", 16);
	assert_int_equal(proxy.target.port, 0x0304);

	expect_read(unix_header, sizeof(unix_header), 0);
	assert_int_equal(proxy.family, TNI_PROXY_UNIX);
	assert_string_equal((const char *)proxy.source.path, "/run/source.sock");
	assert_string_equal((const char *)proxy.target.path, "");

	/* LOCAL, whatever else it says; UNSPEC. */
	expect_read(BYTES(SIGNATURE "\x20\x00\x00\x00"), 0);
	assert_true(proxy.local);
	expect_read(BYTES(SIGNATURE "\x20\xff\x00\x03"
				    "abc"),
		    0);
	assert_true(proxy.local);
	assert_int_equal(proxy.family, TNI_PROXY_UNSPEC);
	expect_read(BYTES(SIGNATURE "\x21\x00\x00\x00"), 0);
	assert_false(proxy.local);
	assert_int_equal(proxy.family, TNI_PROXY_UNSPEC);

	/* What stands behind the addresses. */
	expect_read(BYTES(SIGNATURE
			  "\x21\x00\x00\x1a\x01\x00\x02h2\xe0\x00\x00\x20\x00\x0f\x07\x00\x00\x00\x00\x22\x00\x07"
			  "alice\xc3\xa4"),
		    0);
	assert_true(tni_proxy_tlv(proxy.tlvs, proxy.tlvs_len, &at, &type, &value, &len));
	assert_int_equal(type, TN_PROXY_ALPN);
	assert_int_equal(len, 2);
	assert_memory_equal(value, "h2", 2);
	assert_true(tni_proxy_tlv(proxy.tlvs, proxy.tlvs_len, &at, &type, &value, &len));
	assert_int_equal(type, 0xe0);
	assert_int_equal(len, 0);
	assert_true(tni_proxy_tlv(proxy.tlvs, proxy.tlvs_len, &at, &type, &value, &len));
	assert_false(tni_proxy_tlv(proxy.tlvs, proxy.tlvs_len, &at, &type, &value, &len));
	assert_true(tni_proxy_ssl(&proxy, &ssl));
	assert_true(ssl.tls && ssl.has_cert && ssl.verified);
	at = 0;
	assert_true(tni_proxy_tlv(ssl.tlvs, ssl.tlvs_len, &at, &type, &value, &len));
	assert_int_equal(type, TN_PROXY_SSL_CN);
	assert_memory_equal(value, "alice\xc3\xa4", 7);

	/* A certificate that was not found good, and none. */
	expect_read(BYTES(SIGNATURE "\x21\x00\x00\x08\x20\x00\x05\x03\x00\x00\x00\x01"), 0);
	assert_true(tni_proxy_ssl(&proxy, &ssl));
	assert_true(ssl.tls && ssl.has_cert && !ssl.verified);
	expect_read(BYTES(SIGNATURE "\x21\x00\x00\x08\x20\x00\x05\x01\x00\x00\x00\x00"), 0);
	assert_true(tni_proxy_ssl(&proxy, &ssl));
	assert_true(ssl.tls && !ssl.has_cert && !ssl.verified);
}

static void test_version_2_refused(void **state)
{
	static const struct {
		const char *data;
		size_t len;
		const char *words;
	} cases[] = {
		{BYTES(SIGNATURE "\x11"), "version 1"},
		{BYTES(SIGNATURE "\x31"), "version 3"},
		{BYTES(SIGNATURE "\x22"), "command 2"},
		{BYTES(SIGNATURE "\x21\x41"), "0x41"},
		{BYTES(SIGNATURE "\x21\x13"), "0x13"},
		{BYTES(SIGNATURE "\x21\x10"), "0x10"},
		{BYTES(SIGNATURE "\x21\x01"), "0x01"},
		{BYTES(SIGNATURE "\x21\x11\xff\xff"), "longer than"},
		{BYTES(SIGNATURE "\x21\x11\x00\x0b"), "too short"},
		{BYTES(SIGNATURE "\x21\x21\x00\x23"), "too short"},
		{BYTES(SIGNATURE "\x21\x31\x00\xd7"), "too short"},
		{BYTES(SIGNATURE "\x21\x00\x00\x01\x04"), "longer than"},
		{BYTES(SIGNATURE "\x21\x00\x00\x02\x04\x00"), "longer than"},
		{BYTES(SIGNATURE "\x21\x00\x00\x03\x04\x00\x01"), "longer than"},
		{BYTES(SIGNATURE "\x21\x00\x00\x06\x04\x00\x00\x04\xff\xff"), "longer than"},
		{BYTES(SIGNATURE "\x21\x00\x00\x07\x20\x00\x04\x00\x00\x00\x00"), "too short"},
		{BYTES(SIGNATURE "\x21\x00\x00\x0b\x20\x00\x08\x00\x00\x00\x00\x00\x21\x00\x01"), "within"},
		{BYTES(SIGNATURE "\x21\x00\x00\x07\x03\x00\x04\x00\x00\x00\x00"), "checksum"},
		{BYTES(SIGNATURE "\x21\x00\x00\x06\x03\x00\x03\x00\x00\x00"), "checksum"},
		{BYTES("\r\n\r\nQ"), "none"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (read_header(cases[i].data, cases[i].len) != TN_EFORMAT || !strstr(tn_errmsg(), cases[i].words))
			fail_msg("case %zu: %s", i, tn_errmsg());
}

/* What is written is read as it was; a bit that changes on the way is noticed by the checksum. */
static void test_written(void **state)
{
	unsigned char tlvs[100], out[TNI_PROXY_V2_MAX];
	struct tni_proxy sent = {.tlvs = tlvs};
	long n = tni_proxy_put_tlv(tlvs, sizeof(tlvs), 0, TN_PROXY_AUTHORITY, "example.org", 11);

	(void)state;
	n = tni_proxy_put_tlv(tlvs, sizeof(tlvs), (size_t)n, 0xe1, "", 0);
	assert_int_equal(n, 3 + 11 + 3);
	assert_int_equal(tni_proxy_put_tlv(tlvs, sizeof(tlvs), 97, 4, "a", 1), TN_ETOOBIG);
	assert_int_equal(tni_proxy_put_tlv(tlvs, sizeof(tlvs), 97, 4, "", 0), 100);
	memset(sent.target.path, '/', 108);
	for (unsigned i = 0; i < 16; i++) {
		sent.source.ip[i] = (unsigned char)(0xfe - i);
		sent.target.ip[i] = (unsigned char)(9 + i);
	}
	sent.source.port = 1;
	sent.target.port = 65535;
	for (int version = 1; version <= 2; version++) {
		for (int family = TNI_PROXY_UNSPEC; family <= TNI_PROXY_UNIX; family++) {
			size_t ip = family == TNI_PROXY_INET ? 4 : family == TNI_PROXY_INET6 ? 16 : 0;
			size_t path = family == TNI_PROXY_UNIX ? 108 : 0;
			bool fits = version == 2 || family != TNI_PROXY_UNIX;
			long len;

			sent.version = version;
			sent.family = (enum tni_proxy_family)family;
			sent.tlvs_len = version == 2 ? (size_t)n : 0;
			len = tni_proxy_write(&sent, version == 2, out, sizeof(out));
			assert_true(fits ? len > 0 : len == TN_EFORMAT);
			if (!fits)
				continue;
			expect_read(out, (size_t)len, 0);
			assert_int_equal(proxy.version, version);
			assert_int_equal(proxy.family, family);
			assert_memory_equal(proxy.source.ip, sent.source.ip, ip);
			assert_memory_equal(proxy.target.ip, sent.target.ip, ip);
			assert_memory_equal(proxy.target.path, sent.target.path, path);
			assert_true(!ip || (proxy.source.port == 1 && proxy.target.port == 65535));
			assert_int_equal(tni_proxy_write(&sent, version == 2, out, (size_t)len - 1), TN_ETOOBIG);
			for (int bit = 16 * 8; version == 2 && bit < len * 8; bit++) {
				out[bit / 8] ^= (unsigned char)(1 << bit % 8);
				if (bit < (len - 7) * 8 || bit >= (len - 4) * 8)
					assert_int_equal(read_header(out, (size_t)len), TN_EFORMAT);
				out[bit / 8] ^= (unsigned char)(1 << bit % 8);
			}
		}
	}
	sent.version = 1;
	sent.family = TNI_PROXY_INET;
	sent.tlvs_len = 0;
	assert_true(tni_proxy_write(&sent, false, out, sizeof(out)) > 0);
	sent.tlvs_len = 3;
	assert_int_equal(tni_proxy_write(&sent, false, out, sizeof(out)), TN_EFORMAT);
}

/* Through the chain: the header goes first, is taken off at the other end, and both layers leave. */
static void test_layers(void **state)
{
	static const char good[] = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";

	(void)state;
	for (size_t step = 1; step < 100; step += 33) {
		struct tni_chain from, to;
		struct tni_layer *layer;
		struct tni_header header;
		struct tni_mem mem;
		struct tn_buf out;

		tni_mem_init(&mem);
		tni_buf_init(&out, &mem, SIZE_MAX);
		tni_chain_init(&from, &mem);
		tni_chain_init(&to, &mem);
		assert_int_equal(tni_proxy_sender((const unsigned char *)good, sizeof(good) - 1, &layer), 0);
		tni_chain_push(&from, layer);
		assert_int_equal(tni_proxy_reader(&layer), 0);
		tni_chain_push(&to, layer);
		assert_int_equal(tni_chain_open(&from), 0);
		assert_int_equal(tni_chain_open(&to), 0);
		assert_int_equal(tni_buf_append(tni_chain_net(&from, from.bottom), "payload", 7, false), 0);
		while (tni_chain_wire(&from)->head) {
			assert_true(tni_buf_move(tni_chain_in(&to), tni_chain_wire(&from), step) > 0);
			assert_int_equal(tni_chain_up(&to, &out), 0);
		}
		assert_int_equal(layer->ops->query(layer, TNI_ASK_PROXY, &header), 0);
		assert_int_equal(read_header(header.data, header.len), (long)header.len);
		assert_int_equal(proxy.source.port, 1);
		assert_int_equal(out.len, 7);
		tni_buf_clear(&out);
		tni_chain_leave(&from);
		tni_chain_leave(&to);
		assert_null(from.bottom);
		assert_null(to.bottom);
		tni_mem_free(&mem);
	}
}

static void test_stranger(void **state)
{
	struct tni_layer *layer;
	struct tni_header header;
	struct tni_mem mem;
	struct tn_buf in;

	(void)state;
	tni_mem_init(&mem);
	tni_buf_init(&in, &mem, SIZE_MAX);
	assert_int_equal(tni_proxy_reader(&layer), 0);
	assert_int_equal(layer->ops->query(layer, TNI_ASK_PROXY, &header), -EAGAIN);
	assert_int_equal(tni_buf_append(&in, "GET / HTTP/1.1\r\n", 16, false), 0);
	assert_int_equal(layer->ops->up(layer, &in, &in, &in, SIZE_MAX), TN_EFORMAT);
	assert_int_equal(layer->ops->cut(layer), TN_EFORMAT);
	layer->ops->free(layer);
	tni_buf_clear(&in);
	tni_mem_free(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version_1), cmocka_unit_test(test_version_1_refused),
		cmocka_unit_test(test_version_2), cmocka_unit_test(test_version_2_refused),
		cmocka_unit_test(test_written),   cmocka_unit_test(test_layers),
		cmocka_unit_test(test_stranger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
