/* What has changed between two looks at the sockets of a process: tenon inspect --delta. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "inspect/delta.h"

#include <stdio.h>
#include <string.h>

static struct sock *add(struct socks *socks, uint64_t inode, int fd, unsigned cookie)
{
	struct sock *sock = socks_add(socks);

	assert_non_null(sock);
	sock->inode = inode;
	sock->holder.pid = inode ? 7 : 0;
	sock->holder.fd = fd;
	sock->id.idiag_cookie[0] = cookie;
	sock->unread = sock->unsent = sock->drops = 0;
	snprintf(sock->state, sizeof(sock->state), "established");
	return sock;
}

/* Takes the next look, and checks what has changed: for each the sign and the descriptor. */
static void look(struct socks *before, struct socks *now, const char *expected)
{
	char changes[128] = "";

	assert_int_equal(delta_take(before, now), 0);
	for (size_t i = 0; i < now->count; i++)
		snprintf(changes + strlen(changes), sizeof(changes) - strlen(changes), "%c%d ", now->list[i].change,
			 now->list[i].holder.fd);
	assert_string_equal(changes, expected);
	socks_free(now);
	*now = (struct socks){0};
}

static void test_come_change_go(void **state)
{
	struct socks before = {0}, now = {0};

	(void)state;
	add(&now, 11, 5, 1);
	add(&now, 10, 4, 2);
	look(&before, &now, "+4 +5 ");
	add(&now, 10, 4, 2);
	add(&now, 11, 5, 1)->unread = 3;
	add(&now, 12, 6, 3);
	look(&before, &now, "~5 +6 ");
	add(&now, 12, 6, 3);
	add(&now, 11, 5, 1)->unread = 3;
	look(&before, &now, "-4 ");
	look(&before, &now, "-5 -6 ");
	look(&before, &now, "");
	socks_free(&before);
}

/* One that came between the table and the descriptors is asked by its descriptor, and has the table's name later. */
static void test_named_later(void **state)
{
	struct socks before = {0}, now = {0};

	(void)state;
	add(&now, 10, 4, 0)->unread = -1; /* a listener's queue: the table alone knows it */
	look(&before, &now, "+4 ");
	add(&now, 10, 4, 77);
	look(&before, &now, "");
	add(&now, 10, 4, 77)->drops = 1;
	look(&before, &now, "~4 ");
	add(&now, 10, 4, 77)->drops = -1;
	look(&before, &now, "");
	add(&now, 10, 4, 0);
	look(&before, &now, "");
	look(&before, &now, "-4 ");
	socks_free(&before);
}

/* Those that no process has any more are told apart by the table's name alone. */
static void test_without_a_process(void **state)
{
	struct socks before = {0}, now = {0};

	(void)state;
	add(&now, 0, 1, 1);
	add(&now, 0, 1, 2);
	look(&before, &now, "+1 +1 ");
	add(&now, 0, 1, 2);
	add(&now, 0, 1, 3);
	look(&before, &now, "+1 -1 ");
	socks_free(&before);
}

/* The same socket in two descriptors, and a number that another socket has now. */
static void test_descriptors(void **state)
{
	struct socks before = {0}, now = {0};

	(void)state;
	add(&now, 10, 4, 1);
	look(&before, &now, "+4 ");
	add(&now, 10, 4, 1);
	add(&now, 10, 5, 1);
	look(&before, &now, "+5 ");
	add(&now, 12, 4, 9);
	look(&before, &now, "+4 -4 -5 ");
	socks_free(&before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_come_change_go),
		cmocka_unit_test(test_named_later),
		cmocka_unit_test(test_without_a_process),
		cmocka_unit_test(test_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
