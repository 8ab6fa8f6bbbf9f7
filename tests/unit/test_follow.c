/* A file that is followed: what is refused, and that nothing of it is left then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../support/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/device.h"
#include "tenon.h"

/* ---- threads that cannot be made (link with -Wl,--wrap=pthread_create) ---- */

static bool no_threads;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	return no_threads ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}

static void refused(const char *path, int err, const char *words)
{
	int before = support_count_fds();

	assert_int_equal(tni_follow_open(path), err);
	if (!strstr(tn_errmsg(), words))
		fail_msg("%s", tn_errmsg());
	assert_int_equal(support_count_fds(), before);
}

static void test_refused(void **state)
{
	char folder[] = "/tmp/tenon-follow-XXXXXX", path[64];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/file", folder);
	refused(path, -ENOENT, path);
	assert_int_equal(mkfifo(path, 0600), 0);
	refused(path, -EINVAL, "only a regular file can be followed");
	unlink(path);
	fd = creat(path, 0600);
	assert_true(fd >= 0);
	close(fd);
	no_threads = true;
	refused(path, -EAGAIN, path);
	no_threads = false;
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
