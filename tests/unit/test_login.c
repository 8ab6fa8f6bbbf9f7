/* Who we are: what a file says of it, and what HTTP is told. */
#include "base/err.h"
#include "web/login.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* On the heap without a byte behind it, so that a sanitizer sees what is read beyond. */
static int read_text(struct tni_login *login, const char *user, const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);
	int rc;

	assert_non_null(copy);
	memcpy(copy, text, len);
	*login = (struct tni_login){NULL, NULL};
	rc = tni_login_read(login, user, "secrets", copy, len);
	free(copy);
	return rc;
}

static void expect(const char *user, const char *text, const char *authorization)
{
	struct tni_login login;
	char *value;

	if (read_text(&login, user, text, strlen(text)) != 0)
		fail_msg("'%s': %s", text, tn_errmsg());
	value = tni_login_authorization(&login);
	assert_non_null(value);
	assert_string_equal(value, authorization);
	free(value);
	tni_login_free(&login);
	assert_null(login.password);
}

/* RFC 7617 2 and 2.1, RFC 6750 2.1. */
static void test_good(void **state)
{
	(void)state;
	expect(NULL, "Aladdin:open sesame\n", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	expect(NULL, "test:123\xc2\xa3", "Basic dGVzdDoxMjPCow==");
	expect(NULL, "a:\r\nb:c\n", "Basic YTo=");
	expect(NULL, "a:b", "Basic YTpi");
	expect(NULL, "ab:c:d", "Basic YWI6Yzpk");
	expect(NULL, "\n# a comment: x\r\n\nmF_9.B5f-4.1JqM\n", "Bearer mF_9.B5f-4.1JqM");
	expect(NULL, "a~b+c/d==", "Bearer a~b+c/d==");
	expect("b", "a:1\nbb:2\nb:3\nb:4\n", "Basic Yjoz");
}

static void test_refused(void **state)
{
	static const struct {
		const char *user, *text;
		size_t len;
		const char *words;
	} cases[] = {
		{NULL, "", 0, "no line user:password, and no token"},
		{NULL, "\n#x\n", 4, "no line user:password, and no token"},
		{NULL, "two words\n", 10, "line 1: it is neither"},
		{NULL, "#\n\nt\xc3\xb6ken\n", 10, "line 3: it is neither"},
		{NULL, ":secret\n", 8, "line 1: before the colon stands a user"},
		{NULL, "a:\x01secret\n", 10, "line 1: it holds a control character"},
		{NULL, "a:b\0c\n", 6, "line 1: it holds a control character"},
		{"me", "you:secret\n", 11, "no line me:PASSWORD"},
		{"me", "me\n", 3, "no line me:PASSWORD"},
	};
	struct tni_login login;
	char *text = malloc(5000);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(read_text(&login, cases[i].user, cases[i].text, cases[i].len), TN_EFORMAT);
		if (!strstr(tn_errmsg(), cases[i].words))
			fail_msg("%zu: %s", i, tn_errmsg());
		assert_null(strstr(tn_errmsg(), "secret:")); /* nothing of the file's is told */
		assert_null(strstr(tn_errmsg(), "two words"));
		assert_null(login.password);
	}
	assert_non_null(text);
	memset(text, 'a', 5000);
	assert_int_equal(read_text(&login, NULL, text, 5000), TN_EFORMAT);
	assert_non_null(strstr(tn_errmsg(), "longer than 4096 bytes"));
	assert_int_equal(read_text(&login, NULL, text, 4096), 0);
	tni_login_free(&login);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
