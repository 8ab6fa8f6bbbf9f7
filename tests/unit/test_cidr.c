/* Sets of addresses: what is read and refused, and who is in one, compared with a look at each network by itself. */
#include "base/err.h"
#include "net/cidr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static void add(struct tni_cidrs *set, const char *text)
{
	if (tni_cidrs_add(set, text, strlen(text)) != 0)
		fail_msg("%s: %s", text, tn_errmsg());
}

static bool has(const struct tni_cidrs *set, const char *host)
{
	struct tn_addr addr;

	if (tni_addr_literal(&addr, host, 1234) != 0)
		fail_msg("%s", host);
	return tni_cidrs_have(set, &addr);
}

static void test_members(void **state)
{
	struct tn_addr unnamed = {0}, path;
	struct tni_cidrs set = {0};

	(void)state;
	assert_false(has(&set, "192.0.2.1"));
	add(&set, "192.0.2.0/24");
	add(&set, "10.0.0.1");
	add(&set, "2001:db8::/33");
	add(&set, "::1");
	add(&set, "198.51.100.0/24");
	tni_cidrs_sort(&set);
	assert_true(has(&set, "192.0.2.0"));
	assert_true(has(&set, "192.0.2.255"));
	assert_false(has(&set, "192.0.1.255"));
	assert_false(has(&set, "192.0.3.0"));
	assert_true(has(&set, "::ffff:192.0.2.7"));
	assert_true(has(&set, "10.0.0.1"));
	assert_false(has(&set, "10.0.0.2"));
	assert_false(has(&set, "10.0.0.0"));
	assert_true(has(&set, "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff"));
	assert_false(has(&set, "2001:db8:8000::"));
	assert_true(has(&set, "::1"));
	assert_false(has(&set, "::2"));
	assert_false(has(&set, "127.0.0.1"));
	tni_addr_unix(&path, "/run/app.sock", 13);
	assert_false(tni_cidrs_have(&set, &unnamed));
	add(&set, "unix");
	assert_true(tni_cidrs_have(&set, &unnamed));
	assert_true(tni_cidrs_have(&set, &path));
	tni_cidrs_free(&set);
}

/* All of one IP version says nothing of the other. */
static void test_all(void **state)
{
	struct tni_cidrs set = {0};

	(void)state;
	add(&set, "0.0.0.0/0");
	tni_cidrs_sort(&set);
	assert_true(has(&set, "0.0.0.0"));
	assert_true(has(&set, "255.255.255.255"));
	assert_true(has(&set, "::ffff:1.2.3.4"));
	assert_false(has(&set, "::1"));
	tni_cidrs_free(&set);
	add(&set, "::/0");
	tni_cidrs_sort(&set);
	assert_true(has(&set, "::"));
	assert_true(has(&set, "ffff::"));
	assert_false(has(&set, "1.2.3.4"));
	assert_false(has(&set, "::ffff:1.2.3.4"));
	tni_cidrs_free(&set);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {"",
					  "x",
					  "10.0.0.1/8",
					  "10.0.0.0/33",
					  "10.0.0.0/4294967304", /* 2^32 and 8 */
					  "10.0.0.0/",
					  "10.0.0.0/08",
					  "10/8",
					  "10.0.0.0/-1",
					  "::/129",
					  "fe80::1%lo",
					  "[::1]",
					  "1.2.3.4:5",
					  "10.0.0.0/8/8",
					  "Unix",
					  "user:",
					  "group:",
					  "user:no-such-user",
					  "group:-1",
					  "user:4294967295",
					  "10.0.0.0/ 8",
					  " 10.0.0.1",
					  "fd00::1/8"};
	struct tni_cidrs set = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (tni_cidrs_add(&set, bad[i], strlen(bad[i])) != TN_EURL)
			fail_msg("'%s' is taken", bad[i]);
	assert_int_equal(tni_cidrs_add(&set, "10.0.0.1\0", 9), TN_EURL);
	assert_int_equal(set.count, 0);
	tni_cidrs_free(&set);
}

static bool owns(int fd, const char *word, const char *name)
{
	struct tni_cidrs set = {0};
	char text[300];
	bool has;

	snprintf(text, sizeof(text), "%s:%s", word, name);
	add(&set, text);
	has = tni_cidrs_have_owner(&set, fd);
	tni_cidrs_free(&set);
	return has;
}

/* The process at the other end, which is this one, by its numbers and by their names on this system. */
static void test_owners(void **state)
{
	const struct passwd *user = getpwuid(geteuid());
	const struct group *group = getgrgid(getegid());
	char uid[16], gid[16];
	int pair[2];

	(void)state;
	snprintf(uid, sizeof(uid), "%u", geteuid());
	snprintf(gid, sizeof(gid), "%u", getegid());
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_true(owns(pair[0], "user", uid));
	assert_true(owns(pair[0], "group", gid));
	assert_false(owns(pair[0], "user", "4000000000"));
	assert_false(owns(pair[0], "group", "4000000000"));
	if (user)
		assert_true(owns(pair[0], "user", user->pw_name));
	if (group)
		assert_true(owns(pair[0], "group", group->gr_name));
	close(pair[0]);
	close(pair[1]);
}

/* Networks within networks, in any order, against each of them looked at alone. */
static void test_nested(void **state)
{
	struct tni_cidrs all = {0}, one[40] = {0};

	(void)state;
	srand(7);
	for (int i = 0; i < 40; i++) {
		unsigned prefix = 8 + (unsigned)rand() % 25;
		unsigned ip = (0x0a000000U | ((unsigned)rand() & 0xffff)) & (0xffffffffU << (32 - prefix));
		char text[32];

		if (prefix < 17) /* most of them small, or one would have all */
			prefix = 32;
		snprintf(text, sizeof(text), "%u.%u.%u.%u/%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255,
			 prefix);
		add(&all, text);
		add(&one[i], text);
		tni_cidrs_sort(&one[i]);
	}
	tni_cidrs_sort(&all);
	assert_true(all.count < 40);
	for (unsigned ip = 0; ip < 0x10000; ip += 3) {
		bool expected = false;
		char text[32];

		snprintf(text, sizeof(text), "10.0.%u.%u", ip >> 8, ip & 255);
		for (int i = 0; i < 40 && !expected; i++)
			expected = has(&one[i], text);
		if (has(&all, text) != expected)
			fail_msg("%s", text);
	}
	for (int i = 0; i < 40; i++)
		tni_cidrs_free(&one[i]);
	tni_cidrs_free(&all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_members), cmocka_unit_test(test_all),    cmocka_unit_test(test_refused),
		cmocka_unit_test(test_owners),  cmocka_unit_test(test_nested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
