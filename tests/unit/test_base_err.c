/* The detail of the last failure, the texts of the codes, and the log's sink. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "tenon.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LONG_TEXT 3000

/* More than any detail holds, and no two parts of it alike. */
static const char *long_text(void)
{
	static char text[LONG_TEXT + 1];

	for (size_t i = 0; i < LONG_TEXT; i++)
		text[i] = (char)('a' + i * 7 % 26);
	return text;
}

/* ---- the detail ---- */

static void test_formats_and_returns_the_code(void **state)
{
	(void)state;
	assert_int_equal(tni_err(TN_EURL, "key '%s': %d of %zu", "max", -5, (size_t)7), TN_EURL);
	assert_string_equal(tn_errmsg(), "key 'max': -5 of 7");
	assert_int_equal(tni_err(-EINVAL, "%s", ""), -EINVAL);
	assert_string_equal(tn_errmsg(), "");
	assert_int_equal(tni_err(-EPIPE, "shorter"), -EPIPE);
	assert_string_equal(tn_errmsg(), "shorter");
	/* A program hands on what it has just read. */
	assert_int_equal(tni_err(-EIO, "%s", tn_errmsg()), -EIO);
	assert_string_equal(tn_errmsg(), "shorter");
	tni_err(-EIO, "%s: no %s", "longer", tn_errmsg());
	assert_string_equal(tn_errmsg(), "longer: no shorter");
}

static void test_position(void **state)
{
	(void)state;
	tni_err(-1, "one");
	assert_int_equal(tn_errpos(), -1);
	tni_err_at(42);
	assert_int_equal(tn_errpos(), 42);
	assert_string_equal(tn_errmsg(), "one");
	tni_err_at(0);
	assert_int_equal(tn_errpos(), 0);
	/* The next failure has its own place, or none. */
	tni_err(-1, "two");
	assert_int_equal(tn_errpos(), -1);
}

static void test_prefix(void **state)
{
	(void)state;
	tni_err(-EACCES, "bind: %s", tn_strerror(-EACCES));
	tni_err_at(3);
	assert_int_equal(tni_err_prefix(TN_EURL, "%s:%d", "tcp", 80), TN_EURL);
	assert_string_equal(tn_errmsg(), "tcp:80: bind: Permission denied");
	assert_int_equal(tn_errpos(), 3); /* it is the same failure, told more fully */
	assert_int_equal(tni_err_prefix(-EACCES, "serve"), -EACCES);
	assert_string_equal(tn_errmsg(), "serve: tcp:80: bind: Permission denied");
	tni_err(-1, "%s", "");
	tni_err_prefix(-1, "alone");
	assert_string_equal(tn_errmsg(), "alone: ");
	tni_err(-1, "100%%");
	tni_err_prefix(-1, "%s", "%d%s%n"); /* what it says is never a format */
	assert_string_equal(tn_errmsg(), "%d%s%n: 100%");
}

/* A text that is too long is cut off behind as much as fits; it never runs over. */
static void test_truncation(void **state)
{
	const char *text = long_text();
	size_t len;

	(void)state;
	assert_int_equal(tni_err(-7, "%s", text), -7);
	len = strlen(tn_errmsg());
	assert_in_range(len, 500, LONG_TEXT - 1);
	assert_memory_equal(tn_errmsg(), text, len);
	/* The prefix goes in front; what is behind gives way. */
	assert_int_equal(tni_err_prefix(-8, "prefix"), -8);
	assert_int_equal(strlen(tn_errmsg()), len);
	assert_memory_equal(tn_errmsg(), "prefix: ", 8);
	assert_memory_equal(tn_errmsg() + 8, text, len - 8);
	for (int i = 0; i < 300; i++)
		tni_err_prefix(-9, "%s", "again");
	assert_int_equal(strlen(tn_errmsg()), len);
	assert_memory_equal(tn_errmsg(), "again: again: ", 14);
}

static void test_long_prefix(void **state)
{
	const char *text = long_text();
	size_t len;

	(void)state;
	tni_err(-1, "%s", text);
	len = strlen(tn_errmsg());
	/* Around the full length, byte by byte. */
	for (size_t n = len - 5; n <= len + 5; n++) {
		size_t kept = n < len ? n : len;

		tni_err(-1, "tail");
		tni_err_at(5);
		assert_int_equal(tni_err_prefix(-2, "%.*s", (int)n, text), -2);
		assert_int_equal(strlen(tn_errmsg()), n + 6 < len ? n + 6 : len);
		assert_memory_equal(tn_errmsg(), text, kept);
		assert_memory_equal(tn_errmsg() + kept, ": tail", len - kept);
		assert_int_equal(tn_errpos(), 5);
	}
}

static void *fail_elsewhere(void *arg)
{
	char *before = arg;

	snprintf(before, 64, "%s|%ld", tn_errmsg(), tn_errpos());
	tni_err(-1, "elsewhere");
	tni_err_at(9);
	return NULL;
}

static void test_one_detail_a_thread(void **state)
{
	char before[64];
	pthread_t thread;

	(void)state;
	tni_err(-1, "here");
	tni_err_at(2);
	assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, before), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_string_equal(before, "|-1"); /* a new thread has not failed yet */
	assert_string_equal(tn_errmsg(), "here");
	assert_int_equal(tn_errpos(), 2);
}

/* ---- the codes ---- */

static const int own_codes[] = {
	TN_EFORMAT,  TN_EDEPTH, TN_ETOOBIG, TN_EUTF8,  TN_ETRUNC, TN_EDUPKEY, TN_EREPR, TN_EURL, TN_ENAME,
	TN_ERESOLVE, TN_EIDLE,  TN_EDRAIN,  TN_ELIMIT, TN_EFULL,  TN_ESTATE,  TN_ECERT, TN_ETLS, TN_ECUT,
};

#define NOWN (sizeof(own_codes) / sizeof(own_codes[0]))

static void test_own_codes_have_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < NOWN; i++) {
		const char *text = tn_strerror(own_codes[i]);

		assert_true(*text);
		assert_string_not_equal(text, "unknown error");
		assert_ptr_equal(tn_strerror(own_codes[i]), text);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(tn_strerror(own_codes[k]), text);
	}
}

static void test_errno_texts(void **state)
{
	(void)state;
	assert_string_equal(tn_strerror(-ECONNREFUSED), "Connection refused");
	assert_string_equal(tn_strerror(-ENOENT), "No such file or directory");
	assert_string_equal(tn_strerror(ENOENT), "No such file or directory");
	assert_string_equal(tn_strerror(0), "no error");
}

/* Whatever the number: a text, constant and never NULL. */
static void test_unknown_codes(void **state)
{
	static const int codes[] = {-4000, -4008, -4019, -4099, -100000, 100000, INT_MAX, -INT_MAX, INT_MIN};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		assert_string_equal(tn_strerror(codes[i]), "unknown error");
	for (int i = -5000; i < 5000; i++)
		assert_non_null(tn_strerror(i));
}

/* ---- the log ---- */

struct sunk {
	int n;
	bool important;
	char text[1024];
};

static void sink(bool important, const char *text, void *arg)
{
	struct sunk *sunk = arg;

	sunk->n++;
	sunk->important = important;
	snprintf(sunk->text, sizeof(sunk->text), "%s", text);
}

static void test_log(void **state)
{
	struct sunk sunk = {0};

	(void)state;
	tni_log(true, "to nobody: %s", "x"); /* no sink is set at first */
	tn_set_log(sink, &sunk);
	tni_log(true, "rcvbuf %d", 5);
	assert_int_equal(sunk.n, 1);
	assert_true(sunk.important);
	assert_string_equal(sunk.text, "rcvbuf 5");
	tni_log(false, "%s", long_text());
	assert_int_equal(sunk.n, 2);
	assert_false(sunk.important);
	assert_in_range(strlen(sunk.text), 200, sizeof(sunk.text) - 1);
	assert_memory_equal(sunk.text, long_text(), strlen(sunk.text));
	tn_set_log(NULL, NULL);
	tni_log(true, "to nobody");
	assert_int_equal(sunk.n, 2);
}

/* A report is no failure and leaves the detail of one alone. */
static void test_log_leaves_the_detail(void **state)
{
	struct sunk sunk = {0};

	(void)state;
	tni_err(-1, "detail");
	tni_err_at(1);
	tn_set_log(sink, &sunk);
	tni_log(true, "report");
	tn_set_log(NULL, NULL);
	assert_string_equal(tn_errmsg(), "detail");
	assert_int_equal(tn_errpos(), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats_and_returns_the_code),
		cmocka_unit_test(test_position),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_long_prefix),
		cmocka_unit_test(test_one_detail_a_thread),
		cmocka_unit_test(test_own_codes_have_texts),
		cmocka_unit_test(test_errno_texts),
		cmocka_unit_test(test_unknown_codes),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_log_leaves_the_detail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
