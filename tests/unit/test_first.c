/* What a client's first bytes say: cmd/relay/first. */
#include "relay/first/first.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- hellos ---- */

static unsigned char hello[FIRST_MAX + 1024];
static size_t hello_len;

static void put(const void *data, size_t len)
{
	memcpy(hello + hello_len, data, len);
	hello_len += len;
}

static void put_number(size_t number, int bytes)
{
	while (bytes--) {
		hello[hello_len++] = (unsigned char)(number >> 8 * bytes);
	}
}

static void put_name(const char *name)
{
	size_t len = strlen(name);

	put_number(0, 2);
	put_number(len + 5, 2);
	put_number(len + 3, 2);
	put_number(0, 1);
	put_number(len, 2);
	put(name, len);
}

static void put_alpn(const char *one, const char *two)
{
	size_t len = strlen(one) + strlen(two) + 2;

	put_number(16, 2);
	put_number(len + 2, 2);
	put_number(len, 2);
	put_number(strlen(one), 1);
	put(one, strlen(one));
	put_number(strlen(two), 1);
	put(two, strlen(two));
}

/* As large as the key share of a post-quantum group. */
static void put_filler(size_t len)
{
	put_number(51, 2);
	put_number(len, 2);
	memset(hello + hello_len, 0, len);
	hello_len += len;
}

static void set_number(size_t at, size_t number, int bytes)
{
	size_t end = hello_len;

	hello_len = at;
	put_number(number, bytes);
	hello_len = end;
}

/* A handshake message without its record. */
static void message_of(const char *name, size_t filler, bool alpn)
{
	size_t extensions;

	hello_len = 0;
	put_number(1, 1);
	put_number(0, 3);
	put_number(0x0303, 2);
	memset(hello + hello_len, 7, 32);
	hello_len += 32;
	put_number(0, 1);
	put_number(2, 2);
	put_number(0x1301, 2);
	put_number(1, 1);
	put_number(0, 1);
	extensions = hello_len;
	put_number(0, 2);
	if (filler)
		put_filler(filler);
	if (name)
		put_name(name);
	if (alpn)
		put_alpn("h2", "http/1.1");
	set_number(extensions, hello_len - extensions - 2, 2);
	set_number(1, hello_len - 4, 3);
}

/* Cuts it into records of so many bytes each. */
static void record_it(size_t each)
{
	static unsigned char message[FIRST_MAX + 1024];
	size_t len = hello_len;

	memcpy(message, hello, len);
	hello_len = 0;
	for (size_t at = 0; at < len; at += each) {
		size_t some = len - at < each ? len - at : each;

		put_number(22, 1);
		put_number(0x0301, 2);
		put_number(some, 2);
		put(message + at, some);
	}
}

static struct first looked_at(size_t len, int wanted)
{
	struct first first;
	unsigned char *exact = malloc(len ? len : 1); /* so that a sanitizer sees what is read behind it */

	assert_non_null(exact);
	memcpy(exact, hello, len);
	assert_int_equal(first_look(exact, len, &first), wanted);
	free(exact);
	return first;
}

static void test_a_hello_in_one_piece(void **state)
{
	struct first first;

	(void)state;
	message_of("Www.Example.ORG", 0, true);
	record_it(16384);
	first = looked_at(hello_len, 1);
	assert_int_equal(first.protocol, FIRST_TLS);
	assert_string_equal(first.server_name, "www.example.org");
	assert_true(first_offers(&first, "h2"));
	assert_true(first_offers(&first, "http/1.1"));
	assert_false(first_offers(&first, "http/1"));
	assert_false(first_offers(&first, ""));
}

/* At every byte it says that more is needed, and how much at least is no more than there will be. */
static void test_a_hello_in_pieces(void **state)
{
	static const size_t records[] = {1, 3, 64, 1000, 16384};

	(void)state;
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		message_of("a.example", 1500, true);
		record_it(records[i]);
		for (size_t len = 0; len < hello_len; len++) {
			struct first first = looked_at(len, 0);

			assert_true(first.need > len && first.need <= hello_len);
		}
		assert_string_equal(looked_at(hello_len, 1).server_name, "a.example");
	}
}

static void test_a_hello_without_a_name(void **state)
{
	struct first first;

	(void)state;
	message_of(NULL, 0, false);
	record_it(16384);
	first = looked_at(hello_len, 1);
	assert_int_equal(first.protocol, FIRST_TLS);
	assert_string_equal(first.server_name, "");
	assert_int_equal(first.alpn_len, 0);
	/* Without extensions at all. */
	hello_len = hello_len - 2;
	set_number(3, hello_len - 5, 2);
	set_number(6, hello_len - 9, 3);
	assert_int_equal(looked_at(hello_len, 1).protocol, FIRST_TLS);
}

static void test_what_is_no_hello(void **state)
{
	(void)state;
	message_of("a.example", 0, false);
	hello[0] = 2;
	record_it(16384);
	assert_int_equal(looked_at(hello_len, 1).protocol, FIRST_OTHER);
	message_of("a.example", 0, false);
	record_it(16384);
	hello[1] = 2;
	assert_int_equal(looked_at(hello_len, 1).protocol, FIRST_OTHER);
	message_of("a\nb", 0, false);
	record_it(16384);
	assert_int_equal(looked_at(hello_len, 1).protocol, FIRST_OTHER);
	message_of("a.example", 0, true);
	set_number(47 + 2, 60000, 2); /* an extension longer than all of them */
	record_it(16384);
	assert_int_equal(looked_at(hello_len, 1).protocol, FIRST_OTHER);
	message_of("a.example", 0, false);
	set_number(1, 0xffffff, 3);
	record_it(16384);
	assert_int_equal(looked_at(hello_len, 1).protocol, FIRST_OTHER);
	/* Empty records. */
	memcpy(hello, "\x16\x03\x01\x00\x00", 5);
	assert_int_equal(looked_at(5, 1).protocol, FIRST_OTHER);
}

static void test_a_name_that_stands_twice(void **state)
{
	size_t extensions = 45;

	(void)state;
	message_of("a.example", 0, false);
	put_name("b.example");
	set_number(extensions, hello_len - extensions - 2, 2);
	set_number(1, hello_len - 4, 3);
	record_it(16384);
	assert_int_equal(looked_at(hello_len, 1).protocol, FIRST_OTHER);
}

static void look(const char *text, int known, enum first_protocol protocol)
{
	struct first first;

	assert_int_equal(first_look((const unsigned char *)text, strlen(text), &first), known);
	if (known)
		assert_int_equal(first.protocol, protocol);
	else
		assert_true(first.need > strlen(text));
}

static void test_other_protocols(void **state)
{
	(void)state;
	look("", 0, FIRST_OTHER);
	look("S", 0, FIRST_OTHER);
	look("SSH", 0, FIRST_OTHER);
	look("SSH-2.0-x", 1, FIRST_SSH);
	look("SSI-2.0-x", 1, FIRST_OTHER);
	look("SEARCH /", 1, FIRST_HTTP);
	look("G", 0, FIRST_OTHER);
	look("GET", 0, FIRST_OTHER);
	look("GET /", 1, FIRST_HTTP);
	look("PRI * HTTP/2.0", 1, FIRST_HTTP);
	look("ABCDEFGHIJKLMNOPQRSTUVWXYZ ", 1, FIRST_OTHER);
	look("AB ", 1, FIRST_OTHER);
	look("get /", 1, FIRST_OTHER);
	look("\x01\x02", 1, FIRST_OTHER);
}

static void test_patterns(void **state)
{
	(void)state;
	assert_true(first_fits("a.example", "A.example") > first_fits("*.example", "a.example"));
	assert_true(first_fits("*.b.example", "a.b.example") > first_fits("*.example", "a.b.example"));
	assert_true(first_fits("*.example", "a.b.example") > 0);
	assert_int_equal(first_fits("*.example", "example"), 0);
	assert_int_equal(first_fits("*.example", ".example"), 0);
	assert_int_equal(first_fits("*.example", "aexample"), 0);
	assert_int_equal(first_fits("a.example", "b.a.example"), 0);
	assert_int_equal(first_fits("", ""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_hello_in_one_piece),
		cmocka_unit_test(test_a_hello_in_pieces),
		cmocka_unit_test(test_a_hello_without_a_name),
		cmocka_unit_test(test_what_is_no_hello),
		cmocka_unit_test(test_a_name_that_stands_twice),
		cmocka_unit_test(test_other_protocols),
		cmocka_unit_test(test_patterns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
