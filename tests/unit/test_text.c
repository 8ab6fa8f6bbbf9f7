/* What the command writes for people and in a hurry: numbers, addresses, times, texts of strangers, names of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/emit.h"
#include "common/human.h"
#include "common/series.h"
#include "common/text.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Three digits, and the unit in which they stand after rounding. */
static void test_numbers_for_people(void **state)
{
	static const struct {
		const char *(*write)(double value, char *out, size_t cap);
		double value;
		const char *text;
	} rows[] = {
		{human_count, 0, "0.00"},
		{human_count, 9.994, "9.99"},
		{human_count, 9.995, "10.0"},
		{human_count, 99.94, "99.9"},
		{human_count, 99.95, "100"},
		{human_count, 999.4, "999"},
		{human_count, 999.5, "1.00k"},
		{human_count, 12345, "12.3k"},
		{human_count, 999499, "999k"},
		{human_count, 999500, "1.00M"},
		{human_count, 4.56e6, "4.56M"},
		{human_count, 1e9, "1.00G"},
		{human_count, 2e12, "2.00T"},
		{human_count, 1e15, "1000T"},
		{human_us, 0, "0.00 us"},
		{human_us, 12.3, "12.3 us"},
		{human_us, 999.4, "999 us"},
		{human_us, 999.5, "1.00 ms"},
		{human_us, 4560, "4.56 ms"},
		{human_us, 99950, "100 ms"},
		{human_us, 999499, "999 ms"},
		{human_us, 999500, "1.00 s"},
		{human_us, 61e6, "61.0 s"},
		{human_bytes, 0, "0 B"},
		{human_bytes, 9, "9 B"},
		{human_bytes, 1023.4, "1023 B"},
		{human_bytes, 1023.5, "1.00 KiB"},
		{human_bytes, 10 * 1024, "10.0 KiB"},
		{human_bytes, 100 * 1024, "100 KiB"},
		{human_bytes, 1023.5 * 1024, "1.00 MiB"},
		{human_bytes, 1289748, "1.23 MiB"},
		{human_bytes, 0x1p30, "1.00 GiB"},
		{human_bytes, 0x1p41, "2.00 TiB"},
		{human_bytes, 0x1p50, "1024 TiB"},
		{human_bits, 500, "500 bit"},
		{human_bits, 1000, "1.00 kbit"},
		{human_bits, 92.3e6, "92.3 Mbit"},
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(rows[i].write(rows[i].value, out, sizeof(out)), rows[i].text);
}

#define IS(call, ...)                                          \
	do {                                                   \
		char is[128] = "", should[128], *p = is;       \
		*(call) = '\0';                                \
		snprintf(should, sizeof(should), __VA_ARGS__); \
		assert_string_equal(is, should);               \
	} while (0)

static void test_numbers_in_a_hurry(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 256; n++) {
		IS(emit_byte(p, n), "%u", n);
		IS(emit_2(p, n % 100), "%02u", n % 100);
		IS(emit_hex(p, n, 2), "%02x", n);
	}
	for (uint64_t n = 1; n < UINT64_MAX / 10; n = n * 10 - 1) {
		IS(emit_number(p, n), "%" PRIu64, n);
		IS(emit_number(p, n + 1), "%" PRIu64, n + 1);
	}
	IS(emit_number(p, 0), "0");
	IS(emit_number(p, UINT64_MAX), "%" PRIu64, UINT64_MAX);
	IS(emit_padded(p, 42, 6), "000042");
	IS(emit_padded(p, 999999999, 9), "999999999");
	IS(emit_text(EMIT(p, "a "), "b"), "a b");
	IS(emit_mac(p, (const unsigned char *)"\1\x23\x45\x67\x89\xab"), "01:23:45:67:89:ab");
	IS(emit_ip4(p, (const unsigned char *)"\xc0\xa8\0\x63"), "192.168.0.99");
}

/* As inet_ntop(3), for every set of words that are zero. */
static void test_addresses(void **state)
{
	static const unsigned words[] = {0x1, 0x10, 0xf, 0xff, 0x100, 0xfff, 0x1000, 0xffff};
	unsigned char addr[16];
	char wanted[INET6_ADDRSTRLEN];

	(void)state;
	for (unsigned zero = 0; zero < 256; zero++) {
		for (unsigned i = 0; i < 8; i++) {
			unsigned word = zero >> i & 1 ? 0 : words[(i + zero) % 8];

			addr[2 * i] = (unsigned char)(word >> 8);
			addr[2 * i + 1] = (unsigned char)word;
		}
		inet_ntop(AF_INET6, addr, wanted, sizeof(wanted));
		if ((zero & 0x3f) != 0x3f || (zero & 0x40)) /* inet_ntop(3) has ::a.b.c.d there */
			IS(emit_ip6(p, addr), "%s", wanted);
	}
	IS(emit_ip6(p, (const unsigned char *)"\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1"), "::ffff:127.0.0.1");
	IS(emit_ip6(p, (const unsigned char *)"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"), "::1");
	IS(emit_ip6(p, (const unsigned char *)"\0\1\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1"), "1::ffff:7f00:1");
}

/* What a stranger wrote moves no cursor, and is UTF-8. */
static void test_texts_of_strangers(void **state)
{
	static const struct {
		const char *said, *shown;
	} rows[] = {
		{"", ""},
		{"plain ~", "plain ~"},
		{"\x1b[0m", "\\x1b[0m"},
		{"\x1f\x7f", "\\x1f\\x7f"},
		{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
		{"\xc2\x80\xc2\x9f\xc2\xa0", "\\xc2\\x80\\xc2\\x9f\xc2\xa0"},
		{"\xc1\xbf\xc2\x41", "\\xc1\\xbf\\xc2"
				     "A"},
		{"\xe0\x9f\xbf\xe0\xa0\x80", "\\xe0\\x9f\\xbf\xe0\xa0\x80"},
		{"\xed\x9f\xbf\xed\xa0\x80\xee\x80\x80", "\xed\x9f\xbf\\xed\\xa0\\x80\xee\x80\x80"},
		{"\xf0\x8f\xbf\xbf\xf0\x90\x80\x80", "\\xf0\\x8f\\xbf\\xbf\xf0\x90\x80\x80"},
		{"\xf4\x8f\xbf\xbf\xf4\x90\x80\x80", "\xf4\x8f\xbf\xbf\\xf4\\x90\\x80\\x80"},
		{"\xf8\x88\x80\x80\x80\xff", "\\xf8\\x88\\x80\\x80\\x80\\xff"},
		{"\xe2\x82", "\\xe2\\x82"},
	};
	struct text text = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		text.len = 0;
		text_clean(&text, rows[i].said);
		assert_int_equal(text.len, strlen(rows[i].shown));
		assert_true(!text.len || !memcmp(text.data, rows[i].shown, text.len));
	}
	text.len = 0;
	text_clean(&text, NULL);
	assert_int_equal(text.len, 0);
	text_free(&text);
	assert_null(text.data);
}

static void test_texts_grow(void **state)
{
	struct text text = {0};
	char piece[256];

	(void)state;
	memset(piece, 'x', sizeof(piece));
	text_bytes(&text, piece, sizeof(piece)); /* just as much as there is room for at first */
	text_add(&text, "%s", "");
	for (int i = 0; i < 3000; i++)
		text_add(&text, "%d,", i % 10);
	assert_false(text.failed);
	assert_int_equal(text.len, 256 + 6000);
	assert_memory_equal(text.data + 254, "xx0,1,2,", 8);
	assert_memory_equal(text.data + text.len - 4, "8,9,", 4);
	text.len = 0;
	text_time(&text, 0);
	text_time(&text, UINT64_C(1767225599999999999));
	assert_int_equal(text.len, 48);
	assert_memory_equal(text.data, "1970-01-01T00:00:00.000Z2025-12-31T23:59:59.999Z", 48);
	text_free(&text);
}

static void test_names_of_files_in_a_row(void **state)
{
	static const struct {
		const char *path, *suffix;
		unsigned number;
		const char *name;
	} rows[] = {
		{"trace.pcapng", NULL, 1, "trace.pcapng"},
		{"trace.pcapng", NULL, 2, "trace-2.pcapng"},
		{"trace.pcapng", ".gz", 1, "trace.pcapng.gz"},
		{"trace.pcapng", ".gz", 12, "trace-12.pcapng.gz"},
		{"a.d/trace", NULL, 2, "a.d/trace-2"},
		{"a/.trace", NULL, 2, "a/.trace-2"},
		{"a.b.c", NULL, 3, "a.b-3.c"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct series series = {.path = rows[i].path, .suffix = rows[i].suffix};
		char name[64];

		assert_string_equal(series_name(&series, rows[i].number, name, sizeof(name)), rows[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_for_people), cmocka_unit_test(test_numbers_in_a_hurry),
		cmocka_unit_test(test_addresses),          cmocka_unit_test(test_texts_of_strangers),
		cmocka_unit_test(test_texts_grow),         cmocka_unit_test(test_names_of_files_in_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
