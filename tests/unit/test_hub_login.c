/* Whose password is checked next (cmd/hub/login.c). What a check takes, and loops, are played here. */
#include "common/workers.h"
#include "hub/login.h"
#include "hub/users.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static sem_t begun, wanted, told;
static char checked[16];

bool user_has_password(const char *hash, const char *password)
{
	snprintf(checked, sizeof(checked), "%s", password);
	sem_post(&begun);
	sem_wait(&wanted);
	return strcmp(hash, password) == 0;
}

bool workers_post_to(int index, void (*fn)(void *arg), void *arg)
{
	(void)index;
	fn(arg);
	return true;
}

struct answer {
	int count;
	bool right;
};

static void done(void *arg, bool right)
{
	struct answer *answer = arg;

	answer->count++;
	answer->right = right;
	sem_post(&told);
}

static struct attempt *begin(uint64_t source, const char *password, struct answer *answer)
{
	*answer = (struct answer){0};
	return login_begin(&(struct login_from){0, source}, "right", (struct span){password, strlen(password)}, done,
			   answer);
}

static void expect_next(const char *password)
{
	sem_wait(&begun);
	assert_string_equal(checked, password);
	sem_post(&wanted);
	sem_wait(&told);
}

/* The first is being checked, and 999 more of its source wait when others come. */
static void test_turns(void **state)
{
	static struct answer many[1001], others[4];

	(void)state;
	assert_non_null(begin(1, "a0", &many[0]));
	sem_wait(&begun);
	for (int i = 1; i <= 1000; i++) {
		char text[16];

		snprintf(text, sizeof(text), "a%d", i);
		assert_non_null(begin(1, text, &many[i]));
	}
	assert_null(begin(1, "a1001", &others[3])); /* it has taken all places, and no more */
	assert_int_equal(many[1000].count, 0);
	assert_non_null(begin(2, "b1", &others[0])); /* the last one loses its place */
	sem_wait(&told);
	assert_true(many[1000].count == 1 && !many[1000].right);
	assert_non_null(begin(2, "b2", &others[1]));
	sem_wait(&told);
	assert_non_null(begin(3, "right", &others[2]));
	sem_wait(&told);
	assert_true(many[999].count == 1 && many[998].count == 1 && many[997].count == 0);
	sem_post(&wanted);
	sem_wait(&told);
	expect_next("a1");
	expect_next("b1");
	expect_next("right");
	assert_true(others[2].count == 1 && others[2].right);
	expect_next("a2");
	expect_next("b2");
	expect_next("a3");
	for (int i = 0; i < 1000; i++)
		sem_post(&wanted); /* whatever it takes before it ends */
	login_end();
}

static uint64_t source_of(int family, const char *text)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct tn_addr addr = {.len = family == AF_INET ? sizeof(in) : sizeof(in6)};

	assert_int_equal(inet_pton(family, text, family == AF_INET ? (void *)&in.sin_addr : (void *)&in6.sin6_addr), 1);
	memcpy(addr.bytes, family == AF_INET ? (void *)&in : (void *)&in6, addr.len);
	return login_source(&addr);
}

static void test_sources(void **state)
{
	static const struct tn_addr none;

	(void)state;
	assert_int_equal(login_source(&none), 0);
	assert_int_equal(source_of(AF_INET, "192.0.2.1"), 0xc0000201);
	assert_int_equal(source_of(AF_INET6, "::ffff:192.0.2.1"), 0xc0000201);
	assert_int_equal(source_of(AF_INET6, "2001:db8::1"), source_of(AF_INET6, "2001:db8::ff:2"));
	assert_int_not_equal(source_of(AF_INET6, "2001:db8::1"), source_of(AF_INET6, "2001:db8:0:1::1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_sources),
	};

	sem_init(&begun, 0, 0);
	sem_init(&wanted, 0, 0);
	sem_init(&told, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
