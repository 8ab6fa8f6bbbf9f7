/* What resolv.conf, nsswitch.conf and hosts say, from texts; the order of addresses. (Beside getaddrinfo:
 * test_names.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/addr.h"
#include "net/idn.h"
#include "net/names.h"
#include "net/order.h"
#include "tenon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The names that are asked for, each followed by a blank. */
static const char *walk(const char *resolv, const char *host)
{
	static char all[4096];
	char name[TNI_NAMES_LEN_MAX];
	struct tni_names names;
	struct tni_names_walk w = {.host = host};
	size_t len = 0;

	assert_int_equal(tni_names_parse(&names, NULL, resolv), 0);
	all[0] = '\0';
	while (tni_names_next(&names, &w, name))
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s ", name);
	tni_names_free(&names);
	return all;
}

static void test_walk(void **state)
{
	(void)state;
	assert_string_equal(walk("search a.test b.test\n", "h"), "h.a.test h.b.test h ");
	assert_string_equal(walk("search a.test b.test\n", "h.x"), "h.x h.x.a.test h.x.b.test ");
	assert_string_equal(walk("search a.test\noptions ndots:2\n", "h.x"), "h.x.a.test h.x ");
	assert_string_equal(walk("search a.test\noptions ndots:0\n", "h"), "h h.a.test ");
	assert_string_equal(walk("search a.test\n", "h."), "h. ");
	assert_string_equal(walk("search .\n", "h"), "h ");
	assert_string_equal(walk("search . a.test\n", "h"), "h h.a.test ");
	assert_string_equal(walk("search a.test\noptions no-tld-query\n", "h"), "h.a.test ");
	assert_string_equal(walk("domain a.test b.test\n", "h"), "h.a.test h ");
	assert_string_equal(walk("search a.test\ndomain b.test\n", "h"), "h.b.test h ");
	assert_string_equal(walk(" search a.test\n#search b.test\nsearch c.test", "h"), "h.c.test h ");
}

static void test_given_up(void **state)
{
	struct tni_names names;
	struct tni_names_walk w = {.host = "h"};
	char name[TNI_NAMES_LEN_MAX];

	(void)state;
	assert_int_equal(tni_names_parse(&names, NULL, "search a.test b.test\n"), 0);
	assert_true(tni_names_next(&names, &w, name));
	w.given_up = true; /* nobody has answered */
	assert_true(tni_names_next(&names, &w, name));
	assert_string_equal(name, "h");
	assert_false(tni_names_next(&names, &w, name));
	tni_names_free(&names);
}

static const char *services(const char *line)
{
	static char all[256];
	char text[256];
	struct tni_names names;
	size_t len = 0;

	snprintf(text, sizeof(text), "passwd: files\nhosts: %s\n", line ? line : "");
	assert_int_equal(tni_names_parse(&names, line ? text : NULL, NULL), 0);
	all[0] = '\0';
	for (int i = 0; i < names.nentries; i++)
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%c%x ", "fdx"[names.entries[i].service],
					names.entries[i].returns);
	tni_names_free(&names);
	return all;
}

static void test_services(void **state)
{
	(void)state;
	assert_string_equal(services(NULL), "f1 d1 ");
	assert_string_equal(services("files dns"), "f1 d1 ");
	assert_string_equal(services("dns [NOTFOUND=return] files # dns"), "d3 f1 ");
	assert_string_equal(services("dns [!UNAVAIL=return] files"), "db f1 ");
	assert_string_equal(services("files [unavail=Return TRYAGAIN=continue] dns"), "f5 d1 ");
	assert_string_equal(services("files mdns4_minimal [NOTFOUND=return] dns"), "f1 x3 d1 ");
	assert_string_equal(services("files [SUCCESS=merge] dns"), "x1 d1 ");
	assert_string_equal(services("files [what] dns"), "x1 d1 ");
	assert_string_equal(services(""), "");
}

static void test_options(void **state)
{
	struct tni_names names;

	(void)state;
	assert_int_equal(tni_names_parse(&names, NULL,
					 "options timeout:3 attempts:9 rotate use-vc edns0\n"
					 "options single-request no-aaaa ndots:99\n"),
			 0);
	assert_int_equal(names.timeout_ms, 3000);
	assert_int_equal(names.attempts, 5);
	assert_int_equal(names.ndots, 15);
	assert_true(names.rotate && names.use_tcp && names.edns && names.one_by_one && names.no_ipv6);
	tni_names_free(&names);
}

static int in_hosts(const char *text, const char *name, int family, struct tn_addr **addrs)
{
	char path[] = "/tmp/tenon-hosts-XXXXXX";
	int fd = mkstemp(path), n;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	*addrs = NULL;
	n = tni_names_in_hosts(path, name, family, 7, addrs);
	unlink(path);
	return n;
}

static void test_hosts(void **state)
{
	static const char text[] =
		"192.0.2.1 a b # c\n::1\tb\n192.0.2.1 b\n300.1.1.1 b\n::ffff:192.0.2.2 b\n192.0.2.3 C";
	struct tn_addr *addrs;
	char out[64];

	(void)state;
	assert_int_equal(in_hosts(text, "B", AF_UNSPEC, &addrs), 3);
	assert_string_equal(tn_addr_text(&addrs[0], out, sizeof(out)), "192.0.2.1:7");
	free(addrs);
	assert_int_equal(in_hosts(text, "b", AF_INET, &addrs), 3); /* ::1 counts as 127.0.0.1, as in glibc */
	assert_string_equal(tn_addr_text(&addrs[1], out, sizeof(out)), "127.0.0.1:7");
	free(addrs);
	assert_int_equal(in_hosts(text, "c", AF_UNSPEC, &addrs), 1);
	free(addrs);
	assert_int_equal(in_hosts(text, "d", AF_UNSPEC, &addrs), 0);
	free(addrs);
	assert_int_equal(tni_names_in_hosts("/nowhere/hosts", "a", AF_UNSPEC, 7, &addrs), -ENOENT);
}

static void test_valid(void **state)
{
	(void)state;
	assert_true(tni_names_is_valid("a-b_c.test."));
	assert_false(tni_names_is_valid("-a.test"));
	assert_false(tni_names_is_valid("a..test"));
	assert_false(tni_names_is_valid(".a"));
	assert_false(tni_names_is_valid("a b"));
	assert_false(tni_names_is_valid("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test"));
}

/* < 0: the first pair comes first. A source of NULL: the address cannot be reached. */
static int compare(const char *to_a, const char *from_a, const char *to_b, const char *from_b)
{
	const char *texts[] = {to_a, from_a, to_b, from_b};
	struct tn_addr addrs[4] = {0};

	for (int i = 0; i < 4; i++)
		if (texts[i])
			assert_int_equal(tni_addr_literal(&addrs[i], texts[i], 0), 0);
	return tni_order_compare(&addrs[0], &addrs[1], &addrs[2], &addrs[3]);
}

/* The examples of RFC 6724, section 10.2, and IPv6 that is not there. */
static void test_order(void **state)
{
	(void)state;
	assert_true(compare("2001:db8:1::1", "2001:db8:1::2", "198.51.100.121", "169.254.13.78") < 0);
	assert_true(compare("198.51.100.121", "198.51.100.117", "2001:db8:1::1", "fe80::1") < 0);
	assert_true(compare("2001:db8:1::1", "2001:db8:1::2", "10.1.2.3", "10.1.2.4") < 0);
	assert_true(compare("fe80::1", "fe80::2", "2001:db8:1::1", "2001:db8:1::2") < 0);
	assert_true(compare("2002:c633:6401::1", "2002:c633:6401::2", "2001:db8:1::1", "2002:c633:6401::2") < 0);
	assert_true(compare("2001:db8:1::1", "2001:db8:1::2", "2002:c633:6401::1", "2002:c633:6401::2") < 0);
	assert_true(compare("192.0.2.1", "192.0.2.2", "2001:db8::1", NULL) < 0);
	assert_true(compare("2001:db8:1::1", "2001:db8:1::2", "2001:db8:3ffe::1", "2001:db8:1::2") < 0);
	assert_int_equal(compare("192.0.2.1", "192.0.2.9", "192.0.2.2", "192.0.2.9"), 0);
}

static void test_letters(void **state)
{
	char out[TNI_IDN_MAX];

	(void)state;
	assert_int_equal(tni_idn_to_ascii("\xff", out, sizeof(out)), TN_EURL);
	if (tni_idn_to_ascii("b\xc3\xbc"
			     "cher.test",
			     out, sizeof(out)) < 0) {
		assert_non_null(strstr(tn_errmsg(), "xn--"));
		return; /* no libidn2 */
	}
	assert_string_equal(out, "xn--bcher-kva.test");
	assert_int_equal(tni_idn_to_ascii("stra\xc3\x9f"
					  "e.test",
					  out, sizeof(out)),
			 0);
	assert_string_equal(out, "xn--strae-oqa.test");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk),    cmocka_unit_test(test_given_up), cmocka_unit_test(test_services),
		cmocka_unit_test(test_options), cmocka_unit_test(test_hosts),    cmocka_unit_test(test_valid),
		cmocka_unit_test(test_order),   cmocka_unit_test(test_letters),
	};

	/* What the machine says for itself is another matter */
	unsetenv("LOCALDOMAIN");
	unsetenv("RES_OPTIONS");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
